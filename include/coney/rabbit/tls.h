/* SPDX-License-Identifier: MIT */
/* TLS options of a connection factory whose URI begins with amqps://. (Spring:
 * RabbitConnectionFactoryBean.)
 *
 * The defaults are safe: TLS 1.2 at least, the system's certificate authorities, and a server certificate that must
 * name the URI's host, by a DNS name or an IP address in its subjectAltName. Files are read for each connection, so
 * that a renewed certificate needs no restart. */
#ifndef CONEY_RABBIT_TLS_H
#define CONEY_RABBIT_TLS_H

#include <coney/amqp/api.h>

CONEY_BEGIN

/* Copied with its texts by the factory. Zero or NULL means the default. */
typedef struct coney_tls_options {
    const char *ca_file; /* PEM: trusted authorities, instead of the system's. */
    const char *ca_pem;  /* The same from memory. With both, the authorities of both are trusted. */

    /* PEM: revocation lists (CRL), against which every certificate of the server's chain is checked. Each authority
     * that signed one of them needs a list in this file, the authorities of ca_file included. A certificate that is
     * itself in ca_file is trusted without being checked. The attempt to connect fails with CONEY_E_CONNECT over a
     * revoked certificate, a list that is missing or has expired, and a file that cannot be read. The next attempt
     * reads the file again, so renew lists in time. CONEY_E_INVALID together with dangerously_trust_any_server. NULL:
     * nothing is checked, because neither Coney nor OpenSSL fetches lists. */
    const char *crl_file;

    /* The client's certificate with its chain, and its key, if the broker asks for them (peer verification, SASL
     * EXTERNAL): PEM, each from a file or from memory. */
    const char *certificate_file;
    const char *certificate_pem;
    const char *key_file;
    const char *key_pem;
    const char *key_passphrase; /* For an encrypted key. Wiped from memory when the factory is freed. */

    const char *server_name; /* Verified and announced (SNI) instead of the URI's host. */

    /* Connects to any server: no protection against a man in the middle. For experiments. */
    bool dangerously_trust_any_server;
} coney_tls_options;

CONEY_END

#endif
