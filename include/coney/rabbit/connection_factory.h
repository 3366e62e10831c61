/* SPDX-License-Identifier: MIT */
/* The way to a broker: two connections, made on first use. (Spring: CachingConnectionFactory
 * with usePublisherConnection.)
 *
 * One connection publishes and one consumes and declares, so that a broker that holds back
 * publishers never stops a consumer. Each has an I/O thread of its own. */
#ifndef CONEY_RABBIT_CONNECTION_FACTORY_H
#define CONEY_RABBIT_CONNECTION_FACTORY_H

#include <coney/amqp/status.h>

CONEY_BEGIN

typedef struct coney_connection_factory coney_connection_factory;

/* Zero means the default; a value in the URI wins over one here. */
typedef struct coney_connection_factory_options {
    const char *connection_name; /* shown in the management UI; "program@host#pid" */
    int connection_timeout_ms;   /* for one address, until logged in; 10,000 */
    int close_timeout_ms;        /* for free; 5,000 */
    int heartbeat_s;             /* proposed to the broker; 30. Below 0: none */
    uint32_t frame_max;          /* bytes, proposed to the broker; 131,072. RabbitMQ 4.1 wants 8,192 or more */
    size_t max_message_bytes;    /* a larger incoming body ends the connection; 64 MiB */
    size_t max_outbound_bytes;   /* not yet written; more makes senders wait; 16 MiB */
} coney_connection_factory_options;

/* Makes a factory; nothing is connected yet. The URI is
 *   amqp://user:password@host:port/vhost?heartbeat=S&connection_timeout=MS&frame_max=BYTES
 * with %XX for special characters; user and password are guest, the port 5672 and the virtual
 * host "/" if left out; several hosts stand as host1:port1,host2:port2 and are tried in order.
 * Copies uri and options (which may be NULL). Any thread.
 * CONEY_E_INVALID (which part of the URI or which option), CONEY_E_NO_MEMORY, CONEY_E_SYSTEM. */
CONEY_API coney_status coney_connection_factory_new(coney_connection_factory **factory, const char *uri,
                                                    const coney_connection_factory_options *options);

/* Connects both connections now instead of on first use, to learn of a wrong password or host
 * at once. Any thread. These statuses, and CONEY_E_LIMIT when all channels of a connection are in
 * use, are what other headers call the statuses of connecting.
 * CONEY_E_CONNECT, CONEY_E_TIMEOUT, CONEY_E_ACCESS_REFUSED, CONEY_E_NOT_ALLOWED (virtual host),
 * CONEY_E_PROTOCOL, CONEY_E_CLOSED, CONEY_E_NO_MEMORY, CONEY_E_SYSTEM. */
CONEY_API coney_status coney_connection_factory_connect(coney_connection_factory *factory);

/* Closes both connections within close_timeout_ms. Every send that is still unconfirmed
 * completes with CONEY_E_CLOSED, and calls on what was made with the factory answer that too.
 * Stop containers and free templates first. Not from a callback. Takes NULL. */
CONEY_API void coney_connection_factory_free(coney_connection_factory *factory);

CONEY_END

#endif
