/* SPDX-License-Identifier: MIT */
/* Queues, exchanges and bindings to declare. (Spring: Queue, Exchange, Binding, Declarables.)
 *
 * All three are plain structs in which zero means the default, and the default is durable. */
#ifndef CONEY_AMQP_TOPOLOGY_H
#define CONEY_AMQP_TOPOLOGY_H

#include <coney/amqp/status.h>
#include <coney/amqp/value.h>

CONEY_BEGIN

typedef enum coney_exchange_type {
    CONEY_DIRECT = 0,
    CONEY_TOPIC,
    CONEY_FANOUT,
    CONEY_HEADERS,
} coney_exchange_type;

typedef struct coney_exchange {
    const char *name;
    coney_exchange_type type;
    const char *custom_type; /* instead of type, such as "x-consistent-hash" */
    bool transient;          /* gone when the broker restarts */
    bool auto_delete;        /* gone with its last binding */
    bool internal;           /* only other exchanges may publish to it */
    const char *alternate_exchange;
    const coney_table *arguments; /* any other argument */
} coney_exchange;

/* Sent as x-queue-type. Zero sends nothing: the virtual host's default, usually classic. A queue without a name is
 * classic then. */
typedef enum coney_queue_kind {
    CONEY_QUEUE_DEFAULT = 0,
    CONEY_CLASSIC,
    CONEY_QUORUM,
    CONEY_STREAM,
} coney_queue_kind;

typedef enum coney_overflow {
    CONEY_OVERFLOW_DEFAULT = 0, /* the broker's: drop-head */
    CONEY_DROP_HEAD,
    CONEY_REJECT_PUBLISH,
    CONEY_REJECT_PUBLISH_DLX,
} coney_overflow;

/* Which messages that come back a quorum queue holds back before it delivers them again. Needs RabbitMQ 4.3. A failure
 * is CONEY_RETRY, CONEY_REQUEUE, or the end of the channel that a message is unacknowledged on: by a loss, by
 * CONEY_STOP_FINISH, CONEY_STOP_NOW or CONEY_STOP, or because a listener shrinks. No failure is what goes back by
 * basic.nack: from a consumer that a stop which drains, or the broker, has cancelled. */
typedef enum coney_delayed_retry {
    CONEY_DELAYED_RETRY_DEFAULT = 0, /* not sent: none, unless a policy says otherwise */
    CONEY_DELAYED_RETRY_DISABLED,    /* none */
    CONEY_DELAYED_RETRY_ALL,
    CONEY_DELAYED_RETRY_FAILED,   /* those that count towards the delivery limit */
    CONEY_DELAYED_RETRY_RETURNED, /* the others */
} coney_delayed_retry;

typedef struct coney_queue {
    const char *name; /* "" lets the broker make one up; not in a topology, which is declared again and again */
    coney_queue_kind kind;
    bool transient;         /* gone when the broker restarts; RabbitMQ 4.3 wants exclusive with it */
    bool exclusive;         /* this connection's only, gone with it */
    bool auto_delete;       /* gone with its last consumer */
    int64_t message_ttl_ms; /* This and all times below: 4,294,967,295 (49 days) at most. */
    int64_t expires_ms;     /* unused for so long, it goes */
    int64_t max_length;
    int64_t max_length_bytes;
    coney_overflow overflow;
    /* Where rejected and expired messages go: "" is the default exchange, NULL nowhere. The broker
     * does not check that it exists; if it does not, they are gone. */
    const char *dead_letter_exchange;
    const char *dead_letter_routing_key;
    int max_priority;
    int delivery_limit; /* Quorum queues: how often a message may come back. Default: the broker's. -1: no limit,
                           which RabbitMQ 4.0 and newer are told; older ones have none, and are sent nothing.
                           RabbitMQ 4.3 counts on through dead-lettering: see docs/listening.md. */
    bool single_active_consumer;

    /* For quorum queues, so kind must be CONEY_QUORUM. A broker that would ignore one of these fields does not get the
     * declaration: it is refused (CONEY_E_INVALID), and the sentence says what to do instead. In `arguments` nobody
     * looks for that. */
    coney_delayed_retry delayed_retry; /* sent as x-delayed-retry-type; needs RabbitMQ 4.3 */
    int64_t delayed_retry_min_ms;      /* Required with delayed_retry. A message waits for so long, times its
                                          x-delivery-count if that is above 1. That counts failures in the queues that
                                          dead-lettered the message, too, and does not grow by what is no failure, so
                                          with CONEY_DELAYED_RETRY_RETURNED the time does not grow. */
    int64_t delayed_retry_max_ms;      /* It waits no longer than that. Default: always delayed_retry_min_ms. */
    int64_t consumer_timeout_ms;       /* A message that is unacknowledged for so long comes again. Needs RabbitMQ
                                          3.12. Default: the broker's, 30 minutes. */
    int64_t consumer_disconnected_timeout_ms; /* When the node of a consumer is lost, its messages go to others after
                                                 so long. Needs RabbitMQ 4.3. Default: the broker's, 60 s. */

    const coney_table *arguments; /* any other argument; one that contradicts a field above is CONEY_E_INVALID */
} coney_queue;

typedef struct coney_binding {
    const char *exchange;    /* the source */
    const char *destination; /* a queue, or an exchange if to_exchange is set */
    bool to_exchange;
    const char *routing_key; /* NULL is "" */
    const coney_table *arguments;
} coney_binding;

typedef struct coney_topology coney_topology;

/* Gives an empty topology, NULL without memory. One thread at a time may change it. */
CONEY_API coney_topology *coney_topology_new(void);
CONEY_API void coney_topology_free(coney_topology *topology);

/* Adds a copy. Each returns CONEY_OK, CONEY_E_INVALID (which field, which value, why) or
 * CONEY_E_NO_MEMORY; the topology also remembers its first failure, and an admin refuses a
 * topology with one, so these results need not be looked at one by one. */
CONEY_API coney_status coney_topology_add_exchange(coney_topology *topology, const coney_exchange *exchange);
CONEY_API coney_status coney_topology_add_queue(coney_topology *topology, const coney_queue *queue);
CONEY_API coney_status coney_topology_add_binding(coney_topology *topology, const coney_binding *binding);

/* Binds a queue to an exchange: add_binding for the usual case. */
CONEY_API coney_status coney_topology_bind(coney_topology *topology, const char *exchange, const char *queue,
                                           const char *routing_key);

CONEY_END

#endif
