/* SPDX-License-Identifier: MIT */
/* TLS under a wire. Private to this folder; shows nothing of OpenSSL. */
#ifndef CNY_WIRE_TLS_H
#define CNY_WIRE_TLS_H

#include "wire/wire.h"

#define CNY_TLS_RECORD_BYTES 16384 /* the most that one record carries */

typedef struct cny_tls cny_tls;

/* Makes wire->tls and shakes hands over the wire's socket, which is non-blocking. On failure, too, wire->tls is
 * to be freed. CONEY_E_CONNECT (with what was wrong), _TIMEOUT, _CLOSED, _NO_MEMORY, _SYSTEM. */
coney_status cny_tls_open(cny_wire *wire, const cny_wire_target *target, int64_t deadline);
void cny_tls_free(cny_tls *tls, bool may_write); /* sends close_notify if the socket takes it at once; takes NULL */

/* As cny_wire_write(); what was not written must be offered again with the same beginning. */
coney_status cny_tls_write(cny_tls *tls, const uint8_t *data, size_t size, size_t *written);

/* Reads while there is something and room for a whole record, so that OpenSSL keeps nothing back that
 * poll() does not see. With less room than that has_input() tells. */
coney_status cny_tls_read(cny_tls *tls, uint8_t *room, size_t size, size_t *received);
bool cny_tls_has_input(const cny_tls *tls);

#endif
