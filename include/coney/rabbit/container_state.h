/* SPDX-License-Identifier: MIT */
/* The state of a container: events, health for probes, statistics. (Spring: AmqpEvent and its family, the actuator's
 * health, and Micrometer's metrics of a listener.) */
#ifndef CONEY_RABBIT_CONTAINER_STATE_H
#define CONEY_RABBIT_CONTAINER_STATE_H

#include <coney/amqp/queue.h>
#include <coney/amqp/status.h>

CONEY_BEGIN

typedef struct coney_container coney_container;

/* ---- events ---- */

typedef enum coney_container_event_kind {
    /* coney_container_start() has succeeded. */
    CONEY_CONTAINER_STARTED = 1,

    /* The last consumer has ended. If nobody asked for the stop, status tells the reason. */
    CONEY_CONTAINER_STOPPED,

    /* A consumer consumes. */
    CONEY_CONSUMER_STARTED,

    /* A consumer consumes no more, or cannot begin; status and text tell why. Told again with `fatal` when the
     * connection is given up. */
    CONEY_CONSUMER_FAILED,

    /* A consumer consumes again. */
    CONEY_CONSUMER_RESTARTED,

    /* A consumer has ended because the program asked for it, or because an elastic listener had too little work. */
    CONEY_CONSUMER_STOPPED,

    /* A consumer waits for its queue. */
    CONEY_QUEUE_MISSING,

    /* No message has come for duration_ms. */
    CONEY_LISTENER_IDLE,

    /* A handler has been running for duration_ms. */
    CONEY_HANDLER_SLOW,

    /* The attempts of a message are used up; or a message was parked because no handler can get it; or a message of a
     * stream was passed over. text tells why, and what was done. status is CONEY_E_HANDLER if the handler failed. */
    CONEY_MESSAGE_EXHAUSTED,

    /* A message that no handler can get was dropped: this listener had rejected the message before, and the broker
     * brought it back when it expired in another queue. */
    CONEY_MESSAGE_DISCARDED,

    /* The broker holds back publishers, so replies and republished messages wait. */
    CONEY_PUBLISHERS_BLOCKED,
    CONEY_PUBLISHERS_UNBLOCKED,

    /* The broker refused a declaration, of any admin or listener of the factory; status, broker_code and text tell
     * which and why. Told once for each connection. (Spring: DeclarationExceptionEvent.) */
    CONEY_DECLARATION_NOT_MADE,

    /* A message that no handler can get was rejected; text tells why. It is gone unless its queue has a dead-letter
     * exchange. */
    CONEY_MESSAGE_REJECTED,
} coney_container_event_kind;

/* Texts are views for the call, and "" if they do not apply. */
typedef struct coney_container_event {
    coney_container_event_kind kind;
    const char *container; /* The container's name. */
    const char *listener_id;
    const char *queue;
    const char *consumer_tag;
    const char *message_id; /* Of the message that the event is about; "" as well if the message has no id. */
    coney_status status;    /* CONEY_OK if nothing failed. */
    int broker_code;        /* Of the failure, such as 404; 0 if the broker gave no code. */
    bool fatal;             /* Coney does not try again: the container stops for this reason, or does not start, or the
                               connection of the consumer was given up. */
    int64_t duration_ms;
    const char *text; /* One sentence. */
} coney_container_event;

/* Runs on the factory's events thread with no Coney lock held, in the order in which things happened. A slow callback
 * delays the events after it; when 1,000 events wait, further events are dropped. The callback may stop the
 * container. */
typedef void coney_container_event_callback(const coney_container_event *event, void *user);

/* The constant's name without its prefix, such as "CONSUMER_FAILED". View of static text. */
CONEY_API const char *coney_container_event_name(coney_container_event_kind kind);

/* ---- health ---- */

typedef struct coney_health {
    bool live;           /* False: restart the program. Either nothing comes back by itself, because the connection was
                            given up or a failure has stopped the container; or every worker is in a handler that has
                            been running for more than twice slow_handler_ms. */
    bool ready;          /* Every consumer that should consume does, and everything that admins and listeners of the
                            factory declare is there. */
    coney_status status; /* Why not ready; CONEY_OK if ready. */
    int consumers;       /* Consumers that consume. */
    int wanted;          /* Consumers that should consume. */
    char reason[512];    /* The sentence for status; "" if ready. */
} coney_health;

/* Answers readiness and liveness probes. A container that was not started, is paused or was stopped is live and not
 * ready. Does not wait. Any thread.
 * - CONEY_OK: *health is filled in.
 * - CONEY_E_INVALID.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_container_health(coney_container *container, coney_health *health);

/* ---- statistics ---- */

/* Buckets of coney_listener_statistics.handler_times. */
enum { CONEY_HANDLER_TIME_BUCKETS = 7 };

/* Counts since the listener was registered. (Spring: spring.rabbitmq.listener.) */
typedef struct coney_listener_statistics {
    uint64_t received; /* Deliveries that a worker has taken. A batch in Spring's format counts once. */
    uint64_t acknowledged;
    uint64_t rejected;    /* Never to come again, at least not from this queue. */
    uint64_t requeued;    /* Back to the queue, by outcome or for another attempt. */
    uint64_t retried;     /* Further attempts in place. */
    uint64_t republished; /* To the ladder, to the parking queue, or by CONEY_EXHAUSTED_REPUBLISH. */
    uint64_t exhausted;   /* As CONEY_MESSAGE_EXHAUSTED. */
    uint64_t passed_over; /* Messages of a stream that were acknowledged without being handled or parked. */
    uint64_t discarded;   /* Dropped, as CONEY_MESSAGE_DISCARDED. */
    uint64_t filtered;    /* Acknowledged without a call of the handler, as filter or a processor decided. */
    uint64_t expired;     /* Requests that were rejected because their senders did not wait any more. */
    uint64_t failed;      /* Calls of a handler with another outcome than CONEY_ACK or CONEY_DEFER. */
    uint64_t fatal;       /* Messages that no handler could get. */
    uint64_t stale;       /* Handled after their channel was gone: these messages come again. */
    uint64_t in_progress; /* Now: in a handler, waiting for another attempt or to go back, or deferred. */
    uint64_t handled;     /* Calls of handlers that have returned. */
    uint64_t handler_us;  /* Time of these calls together, in microseconds. */
    uint64_t handler_times[CONEY_HANDLER_TIME_BUCKETS]; /* Calls that took up to 100 us, 1 ms, 10 ms, 100 ms, 1 s, 10 s,
                                                           and longer; each call counts in one bucket. */
} coney_listener_statistics;

typedef enum coney_listener_state {
    CONEY_LISTENER_STOPPED,
    CONEY_LISTENER_STARTING, /* Not all consumers consume yet, or again. */
    CONEY_LISTENER_RUNNING,
    CONEY_LISTENER_STOPPING, /* Prefetched messages are handled. */
} coney_listener_state;

/* Texts are views for the call. */
typedef struct coney_listener_info {
    const char *id;
    const char *group;
    const char *queue;
    coney_listener_state state;
    int consumers; /* Consumers that consume. */
    int wanted;    /* Consumers that should consume. */
    coney_listener_statistics statistics;
} coney_listener_info;

/* Calls visit for each listener, in the order in which they were registered, on this thread with no lock held. Any
 * thread. (Spring: RabbitListenerEndpointRegistry.)
 * - CONEY_OK, CONEY_E_INVALID.
 * - CONEY_E_STATE: after fork().
 * - CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_list(coney_container *container,
                                            void (*visit)(const coney_listener_info *info, void *user), void *user);

/* Copies the name of a listener's queue, such as the name that was made up for an anonymous queue. Any thread.
 * Statuses as coney_container_statistics(). */
CONEY_API coney_status coney_container_queue_name(coney_container *container, const char *id,
                                                  char name[CONEY_NAME_SIZE]);

/* Copies the statistics of one listener. Any thread.
 * - CONEY_OK, CONEY_E_INVALID.
 * - CONEY_E_NOT_FOUND: no such id.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_container_statistics(coney_container *container, const char *id,
                                                  coney_listener_statistics *statistics);

CONEY_END

#endif
