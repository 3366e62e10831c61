/* SPDX-License-Identifier: MIT */
/* A queue to declare. (Spring: Queue, QueueBuilder, AnonymousQueue. AMQP: queue.declare.)
 *
 * Zero means the default, so `(coney_queue){.name = "orders"}` is a durable queue. Every field that goes to the broker
 * as an argument has the name and the type there that Spring's builders send, so both may declare the same queue. */
#ifndef CONEY_AMQP_QUEUE_H
#define CONEY_AMQP_QUEUE_H

#include <coney/amqp/status.h>
#include <coney/amqp/value.h>

CONEY_BEGIN

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
    CONEY_REJECT_PUBLISH_DLX, /* Classic queues only. */
} coney_overflow;

/* How a quorum queue dead-letters. */
typedef enum coney_dead_letter_strategy {
    CONEY_DEAD_LETTER_DEFAULT = 0, /* The broker's default: at-most-once. */
    CONEY_DEAD_LETTER_AT_MOST_ONCE,
    CONEY_DEAD_LETTER_AT_LEAST_ONCE, /* Requires the overflow CONEY_REJECT_PUBLISH, and a dead_letter_exchange. */
} coney_dead_letter_strategy;

/* On which node of a cluster the leader of a new queue is placed. */
typedef enum coney_leader_locator {
    CONEY_LEADER_DEFAULT = 0, /* The broker's default. */
    CONEY_LEADER_CLIENT_LOCAL,
    CONEY_LEADER_BALANCED,
    CONEY_LEADER_RANDOM,      /* Deprecated by RabbitMQ. */
    CONEY_LEADER_MIN_MASTERS, /* Deprecated by RabbitMQ. */
} coney_leader_locator;

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

/* What the broker's refusal of a declaration means. Each refusal is told by the log and by
 * coney_connection_factory_options.on_declaration, and the declaration is repeated after 1 s, 2 s, 4 s, 5 s and 5 s,
 * and then after pauses of up to 30 s. (Spring: ignoreDeclarationExceptions.) */
typedef enum coney_on_refusal {
    /* The other things are declared. Containers are not ready while the thing is missing. */
    CONEY_REFUSAL_WARN = 0,

    /* As WARN; and when the five repetitions were refused, too, the containers of the factory stop, and sends that need
     * the thing fail with the broker's status, until a later repetition succeeds. */
    CONEY_REFUSAL_FAIL,

    /* Nobody waits for the thing, containers are ready without the thing, coney_admin_declare() does not fail, and the
     * log line has the level INFO. */
    CONEY_REFUSAL_IGNORE,
} coney_on_refusal;

typedef struct coney_queue {
    /* "": the broker chooses a name. Not in a topology, because that is declared repeatedly: see `anonymous`. */
    const char *name;

    /* The queue of one process: leave out `name`. Coney makes up a name when the queue is added or declared, and the
     * queue keeps the name after a reconnect, so its bindings and consumers come back. The queue is exclusive, is
     * deleted with its last consumer, and does not survive the broker. coney_topology_queue_name() tells the name.
     * (Spring: AnonymousQueue.) */
    bool anonymous;
    const char *name_prefix; /* Of an anonymous queue's name, before 22 random characters. Default: "spring.gen-". */

    coney_queue_kind kind;
    bool transient;   /* Deleted when the broker restarts. From RabbitMQ 4.3 on `exclusive` is required as well. */
    bool exclusive;   /* For this connection only, and deleted with it. Classic queues only. */
    bool auto_delete; /* Deleted with its last consumer. Classic queues only. */
    bool external;    /* Somebody else declares the queue. In a topology the queue can be named by bindings, and a plan
                         looks for it. (Spring: suppressDeclaration.) */
    coney_on_refusal on_refusal;

    int64_t message_ttl_ms; /* This and all times below: at most 4,294,967,295 (49 days). */
    int64_t expires_ms;     /* The queue is deleted after it was unused for this time. */
    int64_t max_length;
    int64_t max_length_bytes;
    coney_overflow overflow;

    /* Rejected and expired messages go to this exchange. "" is the default exchange; NULL: the messages are gone. The
     * broker does not check that the exchange exists; if it does not, the messages are gone. */
    const char *dead_letter_exchange;
    const char *dead_letter_routing_key;
    coney_dead_letter_strategy dead_letter_strategy; /* Quorum queues. */

    int max_priority;   /* Classic queues: priorities from 0 to this one, at most 255. */
    int delivery_limit; /* Quorum queues: how often a message may come back. Default: the broker's. -1: no limit, which
                           is sent to RabbitMQ 4.0 and newer; older releases have no limit unless one is sent. The count
                           of RabbitMQ 4.3 continues through dead-lettering: see docs/listening.md. */
    bool single_active_consumer;
    bool lazy; /* Classic queues: x-queue-mode lazy, which RabbitMQ ignores from 3.12 on. */

    coney_leader_locator leader_locator;
    int initial_group_size; /* Replicas of a new quorum queue or stream. Default: the broker's. */

    /* Streams. */
    const char *max_age;            /* Such as "7D": a number and one of Y, M, D, h, m, s. */
    int64_t max_segment_size_bytes; /* At most 3,000,000,000. Default: the broker's, 500,000,000. */
    int filter_size_bytes;          /* Of the filter of each chunk: 16 to 255. Default: the broker's, 16. */

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

enum { CONEY_NAME_SIZE = 256 }; /* Of the longest name of a queue or exchange, with its end. */

/* Makes up a name of a queue: the prefix, which may be NULL for "spring.gen-", and 22 random characters, the
 * URL-safe base64 form of a UUID. Any thread. (Spring: Base64UrlNamingStrategy.)
 * - CONEY_OK
 * - CONEY_E_INVALID: the prefix is longer than 233 bytes or no UTF-8
 * - CONEY_E_SYSTEM: the machine gives no random bytes */
CONEY_API coney_status coney_queue_make_name(char name[CONEY_NAME_SIZE], const char *prefix);

CONEY_END

#endif
