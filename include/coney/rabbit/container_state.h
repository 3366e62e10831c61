/* SPDX-License-Identifier: MIT */
/* How a container is doing: events, health for probes, statistics. (Spring: AmqpEvent and its family, the actuator's
 * health and Micrometer's metrics of a listener.) */
#ifndef CONEY_RABBIT_CONTAINER_STATE_H
#define CONEY_RABBIT_CONTAINER_STATE_H

#include <coney/amqp/status.h>

CONEY_BEGIN

typedef struct coney_container coney_container;

/* ---- events ---- */

typedef enum coney_container_event_kind {
    CONEY_CONTAINER_STARTED = 1, /* by coney_container_start() */
    CONEY_CONTAINER_STOPPED,     /* the last consumer has ended; status tells why if nobody asked for it */
    CONEY_CONSUMER_STARTED,      /* it consumes */
    CONEY_CONSUMER_FAILED,       /* it consumes no more, or cannot begin; status and text tell why. It is told again
                                    with fatal when the connection is given up */
    CONEY_CONSUMER_RESTARTED,    /* it consumes again */
    CONEY_CONSUMER_STOPPED,      /* as was asked, or for want of work */
    CONEY_QUEUE_MISSING,         /* it waits for its queue */
    CONEY_LISTENER_IDLE,         /* for duration_ms nothing has come */
    CONEY_HANDLER_SLOW,          /* one runs for duration_ms already */
    CONEY_MESSAGE_EXHAUSTED,     /* its attempts were used up, or it was parked because no handler can get it, or
                                    passed over on a stream; text tells why and what was done. status is
                                    CONEY_E_HANDLER if the handler failed */
    CONEY_MESSAGE_DISCARDED,     /* no handler can get it, and it was dropped: this listener had rejected it before, and
                                    the broker brought it back when it expired elsewhere */
    CONEY_PUBLISHERS_BLOCKED,    /* the broker holds back publishers, so replies and republished messages wait */
    CONEY_PUBLISHERS_UNBLOCKED,
    CONEY_DECLARATION_NOT_MADE, /* the broker refused a declaration of anybody in the factory; status, code and text
                                   tell which and why. Told once for each connection. (Spring:
                                   DeclarationExceptionEvent) */
    CONEY_MESSAGE_REJECTED,     /* no handler can get it, and it was rejected: it is gone unless its queue has a
                                   dead-letter exchange; text tells why */
} coney_container_event_kind;

typedef struct coney_container_event {
    coney_container_event_kind kind;
    const char *container; /* its name. Texts are views for the call, "" where they do not apply */
    const char *listener_id;
    const char *queue;
    const char *consumer_tag;
    const char *message_id; /* of the message that an event is about; "" if it has none, too */
    coney_status status;    /* CONEY_OK if nothing failed */
    int broker_code;        /* of that failure, such as 404; 0 if the broker did not speak */
    bool fatal;             /* it does not come back by itself: the container stops for it, does not start for it, or
                               its connection was given up */
    int64_t duration_ms;
    const char *text; /* one sentence */
} coney_container_event;

/* Runs on the factory's events thread with no Coney lock held, in the order of what happened. One that takes long
 * delays others; beyond 1,000 that wait, events are dropped. It may stop the container. */
typedef void coney_container_event_callback(const coney_container_event *event, void *user);

/* The constant's name without its prefix, such as "CONSUMER_FAILED". View of static text. */
CONEY_API const char *coney_container_event_name(coney_container_event_kind kind);

/* ---- health ---- */

typedef struct coney_health {
    bool live;           /* false: it will not come back by itself, restart the program: it was given up, or every
                            worker is in a handler that has been slow for as long again */
    bool ready;          /* every consumer that should consume does, and everything that is to be declared in the
                            factory is there */
    coney_status status; /* why not ready; CONEY_OK if it is */
    int consumers;       /* those that consume */
    int wanted;          /* those that should */
    char reason[512];    /* the sentence; "" if ready */
} coney_health;

/* For readiness and liveness probes. A container that was not started, is paused or was stopped is live and not ready.
 * Waits for nothing. Any thread. CONEY_E_INVALID, CONEY_E_STATE (after fork()). */
CONEY_API coney_status coney_container_health(coney_container *container, coney_health *health);

/* ---- statistics ---- */

/* The upper bounds of all but the last bucket of handler times, in microseconds: 100, 1,000 and so on. */
enum { CONEY_HANDLER_TIME_BUCKETS = 7 };

/* Since the listener was registered. (Spring: spring.rabbitmq.listener.) */
typedef struct coney_listener_statistics {
    uint64_t received; /* deliveries taken up by a worker; a batch in Spring's format counts once */
    uint64_t acknowledged;
    uint64_t rejected;    /* never again */
    uint64_t requeued;    /* back to the queue, by outcome or to be tried again */
    uint64_t retried;     /* further attempts in place */
    uint64_t republished; /* to the ladder, the parking queue or as CONEY_EXHAUSTED_REPUBLISH says */
    uint64_t exhausted;   /* as CONEY_MESSAGE_EXHAUSTED */
    uint64_t passed_over; /* of a stream: acknowledged though no handler could handle them, and not parked */
    uint64_t discarded;   /* dropped as CONEY_MESSAGE_DISCARDED */
    uint64_t filtered;    /* acknowledged unhandled, because filter or a processor said so */
    uint64_t failed;      /* calls of a handler with another outcome than CONEY_ACK or CONEY_DEFER */
    uint64_t fatal;       /* no handler could get them */
    uint64_t stale;       /* handled when their channel was gone: they come again */
    uint64_t in_progress; /* now in a handler, waiting for another attempt or to go back, or deferred */
    uint64_t handled;     /* calls of handlers that have returned */
    uint64_t handler_us;  /* how long they took, in all */
    uint64_t handler_times[CONEY_HANDLER_TIME_BUCKETS]; /* how many took up to 100 us, 1 ms, 10 ms, 100 ms, 1 s, 10 s,
                                                           and longer */
} coney_listener_statistics;

typedef enum coney_listener_state {
    CONEY_LISTENER_STOPPED,
    CONEY_LISTENER_STARTING, /* not all consumers consume yet, or again */
    CONEY_LISTENER_RUNNING,
    CONEY_LISTENER_STOPPING, /* what was prefetched is worked off */
} coney_listener_state;

typedef struct coney_listener_info {
    const char *id; /* views for the call */
    const char *group;
    const char *queue;
    coney_listener_state state;
    int consumers; /* those that consume */
    int wanted;    /* those that should */
    coney_listener_statistics statistics;
} coney_listener_info;

/* Calls visit for each listener, in the order in which they were registered, with no lock held. Any thread.
 * CONEY_E_INVALID, CONEY_E_STATE (after fork()), CONEY_E_NO_MEMORY. (Spring: RabbitListenerEndpointRegistry.) */
CONEY_API coney_status coney_container_list(coney_container *container,
                                            void (*visit)(const coney_listener_info *info, void *user), void *user);

/* The statistics of one. CONEY_E_NOT_FOUND (no such id), CONEY_E_INVALID, CONEY_E_STATE (after fork()). */
CONEY_API coney_status coney_container_statistics(coney_container *container, const char *id,
                                                  coney_listener_statistics *statistics);

CONEY_END

#endif
