/* SPDX-License-Identifier: MIT */
/* Queues, exchanges and bindings to declare. (Spring: Queue, Exchange, Binding, Declarables.)
 *
 * All three are plain structs in which zero means the default. By default queues and exchanges are durable. */
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
    const char *custom_type; /* Instead of type, such as "x-consistent-hash". */
    bool transient;          /* Deleted when the broker restarts. */
    bool auto_delete;        /* Deleted with its last binding. */
    bool internal;           /* Only other exchanges may publish to it. */
    const char *alternate_exchange;
    const coney_table *arguments; /* Any further argument. */
} coney_exchange;

/* Sent as x-queue-type. With zero nothing is sent, so the virtual host's default applies, usually classic; a queue
 * without a name is classic then. */
typedef enum coney_queue_kind {
    CONEY_QUEUE_DEFAULT = 0,
    CONEY_CLASSIC,
    CONEY_QUORUM,
    CONEY_STREAM,
} coney_queue_kind;

typedef enum coney_overflow {
    CONEY_OVERFLOW_DEFAULT = 0, /* The broker's default: drop-head. */
    CONEY_DROP_HEAD,
    CONEY_REJECT_PUBLISH,
    CONEY_REJECT_PUBLISH_DLX,
} coney_overflow;

/* Which returned messages a quorum queue holds back before it delivers them again. Needs RabbitMQ 4.3.
 * A message is returned as failed by CONEY_RETRY, by CONEY_REQUEUE, and by the end of its channel: after a loss, by
 * CONEY_STOP_FINISH, CONEY_STOP_NOW or CONEY_STOP, or when a listener shrinks. A message is returned without a failure
 * by basic.nack: from a consumer that was cancelled, either by a stop which drains or by the broker. */
typedef enum coney_delayed_retry {
    CONEY_DELAYED_RETRY_DEFAULT = 0, /* Not sent: no messages, unless a policy says otherwise. */
    CONEY_DELAYED_RETRY_DISABLED,    /* No messages. */
    CONEY_DELAYED_RETRY_ALL,
    CONEY_DELAYED_RETRY_FAILED,   /* Messages returned as failed, which count towards the delivery limit. */
    CONEY_DELAYED_RETRY_RETURNED, /* Messages returned without a failure. */
} coney_delayed_retry;

typedef struct coney_queue {
    const char *name; /* "": the broker chooses a name. Not in a topology, because that is declared repeatedly. */
    coney_queue_kind kind;
    bool transient;         /* Deleted when the broker restarts. RabbitMQ 4.3 requires `exclusive` as well. */
    bool exclusive;         /* For this connection only, and deleted with it. */
    bool auto_delete;       /* Deleted with its last consumer. */
    int64_t message_ttl_ms; /* This and all times below: at most 4,294,967,295 (49 days). */
    int64_t expires_ms;     /* The queue is deleted after it was unused for this time. */
    int64_t max_length;
    int64_t max_length_bytes;
    coney_overflow overflow;
    /* Rejected and expired messages go to this exchange. "" is the default exchange; NULL: the messages are gone. The
     * broker does not check that the exchange exists; if it does not, the messages are gone. */
    const char *dead_letter_exchange;
    const char *dead_letter_routing_key;
    int max_priority;
    int delivery_limit; /* Quorum queues: how often a message may come back. Default: the broker's. -1: no limit, which
                           is sent to RabbitMQ 4.0 and newer; older releases have no limit unless one is sent. The count
                           of RabbitMQ 4.3 continues through dead-lettering: see docs/listening.md. */
    bool single_active_consumer;

    /* For quorum queues, so kind must be CONEY_QUORUM. If the broker would ignore one of these fields, Coney refuses
     * the declaration (CONEY_E_INVALID), and the sentence says what to do instead. The same settings in `arguments` are
     * not checked. */
    coney_delayed_retry delayed_retry; /* Sent as x-delayed-retry-type. Needs RabbitMQ 4.3. */
    int64_t delayed_retry_min_ms;      /* Required with delayed_retry. A message waits for this time, times its
                                          x-delivery-count if that is above 1. The count includes failures in queues
                                          that have dead-lettered the message. A return without a failure does not
                                          raise the count, so with CONEY_DELAYED_RETRY_RETURNED the time does not
                                          grow. */
    int64_t delayed_retry_max_ms;      /* Upper limit of that time. Default: delayed_retry_min_ms. */
    int64_t consumer_timeout_ms;       /* A message comes again when it was unacknowledged for this time. Needs RabbitMQ
                                          3.12. Default: the broker's, 30 minutes. */
    int64_t consumer_disconnected_timeout_ms; /* The messages of a consumer on a lost node go to other consumers after
                                                 this time. Needs RabbitMQ 4.3. Default: the broker's, 60 s. */

    const coney_table *arguments; /* Any further argument. One that contradicts a field above is CONEY_E_INVALID. */
} coney_queue;

typedef struct coney_binding {
    const char *exchange;    /* The source. */
    const char *destination; /* A queue, or an exchange if to_exchange is set. */
    bool to_exchange;
    const char *routing_key; /* NULL is "". */
    const coney_table *arguments;
} coney_binding;

typedef struct coney_topology coney_topology;

/* Gives an empty topology, or NULL if there is no memory. One thread at a time may change a topology. */
CONEY_API coney_topology *coney_topology_new(void);
CONEY_API void coney_topology_free(coney_topology *topology);

/* Add a copy of an exchange, a queue or a binding. The topology remembers its first failure, and coney_admin_new()
 * refuses such a topology, so a program need not check each result.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: the sentence tells the field, its value and the reason. */
CONEY_API coney_status coney_topology_add_exchange(coney_topology *topology, const coney_exchange *exchange);
CONEY_API coney_status coney_topology_add_queue(coney_topology *topology, const coney_queue *queue);
CONEY_API coney_status coney_topology_add_binding(coney_topology *topology, const coney_binding *binding);

/* Adds a binding of a queue to an exchange. Statuses as coney_topology_add_binding(). */
CONEY_API coney_status coney_topology_bind(coney_topology *topology, const char *exchange, const char *queue,
                                           const char *routing_key);

CONEY_END

#endif
