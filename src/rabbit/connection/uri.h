/* SPDX-License-Identifier: MIT */
/* amqp:// and amqps:// URIs. Private to this folder. */
#ifndef CNY_URI_H
#define CNY_URI_H

#include "base/base.h"

typedef struct cny_host {
    const char *name;
    int port;
} cny_host;

typedef struct cny_uri {
    bool tls; /* amqps */
    cny_host *hosts;
    size_t host_count;
    const char *user;
    const char *password; /* always in the arena, so that it can be wiped */
    const char *vhost;
    int heartbeat_s;           /* -1 where the URI says nothing */
    int connection_timeout_ms; /* -1 */
    int frame_max;             /* -1 */
} cny_uri;

/* Parses strictly; everything is put into the arena. CONEY_E_INVALID names the part that is
 * wrong and never shows the password. CONEY_E_NO_MEMORY. */
coney_status cny_uri_parse(cny_uri *uri, cny_arena *arena, const char *text);

#endif
