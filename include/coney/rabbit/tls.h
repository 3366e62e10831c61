/* SPDX-License-Identifier: MIT */
/* TLS options of a connection factory whose URI begins with amqps://. (Spring:
 * RabbitConnectionFactoryBean.)
 *
 * Zero is safe: TLS 1.2 at least, the system's certificate authorities, and a server whose
 * certificate must be for the URI's host, by a DNS name or IP address in its subjectAltName. Files
 * are read anew for each connection, so that a renewed certificate needs no restart. */
#ifndef CONEY_RABBIT_TLS_H
#define CONEY_RABBIT_TLS_H

#include <coney/amqp/api.h>

CONEY_BEGIN

/* Copied with its texts by the factory. Zero or NULL means the default. */
typedef struct coney_tls_options {
    const char *ca_file; /* PEM: who is trusted, instead of the system's authorities */
    const char *ca_pem;  /* the same from memory; both together add up */

    /* PEM: revocation lists (CRL), by which every certificate of the server's chain is checked. Each authority that
     * signed one of them needs a list there, the authorities of ca_file included; who is named in ca_file is trusted
     * without being looked up. A revoked certificate, a list that is missing or has expired, and a file that cannot be
     * read fail the attempt with CONEY_E_CONNECT, and the next attempt reads the file again, so lists must be renewed
     * in time. CONEY_E_INVALID together with dangerously_trust_any_server. NULL: nothing is checked, for neither Coney
     * nor OpenSSL fetches lists. */
    const char *crl_file;

    /* The client's certificate, if the broker asks for one (peer verification, SASL EXTERNAL):
     * PEM with its chain, and its key, each from a file or from memory. */
    const char *certificate_file;
    const char *certificate_pem;
    const char *key_file;
    const char *key_pem;
    const char *key_passphrase; /* for an encrypted key; wiped when the factory is gone */

    const char *server_name; /* to verify and to announce (SNI) instead of the URI's host */

    /* Connects to whoever answers: no protection against a man in the middle. For experiments. */
    bool dangerously_trust_any_server;
} coney_tls_options;

CONEY_END

#endif
