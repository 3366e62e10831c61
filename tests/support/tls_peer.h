/* SPDX-License-Identifier: MIT */
/* A TLS server on a free port of 127.0.0.1 that a test furnishes with a certificate that a broker should not
 * have, or with demands. It shakes hands, reads a little and hangs up; it speaks no AMQP. */
#ifndef CNY_TEST_TLS_PEER_H
#define CNY_TEST_TLS_PEER_H

#include <stdbool.h>

typedef struct tls_peer tls_peer;

typedef struct tls_peer_options {
    const char *certificate; /* file, PEM, perhaps with a chain; NULL: accepts connections and says nothing */
    const char *key;         /* file */
    const char *authority;   /* file: of the client certificate that it requires; NULL: it asks for none */
    int newest_version;      /* TLS1_1_VERSION, for example; 0: any */
    const char *last_words;  /* says them, then the connection is reset; NULL: it reads a little and hangs up */
} tls_peer_options;

tls_peer *tls_peer_start(const tls_peer_options *options); /* aborts where it cannot */
int tls_peer_port(const tls_peer *peer);

/* How many clients announced that name (SNI) in their greeting; NULL: announced none. */
int tls_peer_count_announced(tls_peer *peer, const char *name);
void tls_peer_stop(tls_peer *peer); /* takes NULL */

#endif
