/* SPDX-License-Identifier: MIT */
/* What the program asked of its connections: URI and options, checked, copied, with every default filled in. */
#ifndef CNY_CONNECTION_CONFIG_H
#define CNY_CONNECTION_CONFIG_H

#include "rabbit/connection/uri.h"

#include <coney/rabbit/connection_factory.h>

/* Publishing and consuming have connections of their own, so that a broker that holds back publishers does not stop
 * consumers. */
enum { CNY_ROLE_COUNT = CONEY_PUBLISHING + 1 };

/* What all connections of a factory have in common, with every default filled in. */
typedef struct cny_connection_config {
    cny_arena arena; /* holds the texts */
    cny_uri uri;
    size_t max_message_bytes;
    size_t max_outbound_bytes;
    int close_timeout_ms;
    coney_host_order host_order;
    coney_recovery_options recovery;
    const coney_tls_options *tls; /* NULL: plain TCP */
    coney_sasl_mechanism sasl;
    const coney_table *client_properties;    /* may be NULL */
    coney_credentials_provider *credentials; /* may be NULL */
    void *credentials_user;
    coney_connection_listener *on_connection;   /* may be NULL */
    coney_channel_listener *on_channel;         /* may be NULL */
    coney_declaration_listener *on_declaration; /* may be NULL */
    void *listener_user;
    const char *names[CNY_ROLE_COUNT]; /* connection_name for each role */
    const char *isolated_name;
} cny_connection_config;

/* Checks and copies. The config must be freed, also after a failure. CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
coney_status cny_config_read(cny_connection_config *config, const char *uri,
                             const coney_connection_factory_options *options);
void cny_config_free(cny_connection_config *config);

#endif
