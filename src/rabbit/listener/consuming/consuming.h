/* SPDX-License-Identifier: MIT */
/* A container with its listeners, and what keeps their consumers running: the supervisor, which makes, changes and ends
 * them, the start, and the stop. The public functions above look at listeners through what is declared here; consumers
 * are not shown.
 *
 * The container's lock may be taken before a connection's, never the other way round, and nothing is waited for under
 * it. The supervisor alone makes, changes and ends consumers. */
#ifndef CNY_LISTENER_CONSUMING_H
#define CNY_LISTENER_CONSUMING_H

#include "base/workers.h"
#include "rabbit/listener/handling/handling.h"
#include "rabbit/listener/report/report.h"
#include "rabbit/listener/spec/spec.h"

#include <coney/rabbit/container.h>

#include <sys/select.h> /* sigset_t; <signal.h> brings too many names */

enum { CNY_GRACE_MS = 50 }; /* for consumers to end by themselves at a deadline */

typedef struct cny_consumer cny_consumer;

/* ---- a listener with its consumers ---- */

/* What the program wants of a listener while its container runs. */
typedef enum cny_listener_wish {
    CNY_LISTENER_STOPPED,
    CNY_LISTENER_STARTED,
    CNY_LISTENER_REMOVED, /* it goes as soon as its consumers have ended */
} cny_listener_wish;

/* Whether messages that may kill their process are handled just now. In all states but the first the gate of the lanes
 * is closed. */
typedef enum cny_quarantine_state {
    CNY_QUARANTINE_OPEN,
    CNY_QUARANTINE_CLOSING,
    CNY_QUARANTINE_SUBSCRIBING,
    CNY_QUARANTINE_CONSUMING,
    CNY_QUARANTINE_ENDING,
} cny_quarantine_state;

/* By quarantine.c. */
typedef struct cny_quarantine {
    cny_gate *gate; /* of the lanes; fixed after new */
    cny_quarantine_state state;
    int64_t due;            /* open: when to subscribe to the queue; else the deadline of the state */
    int64_t quiet_since;    /* consuming */
    cny_consumer *consumer; /* from subscribing on; not in the listener's list */
} cny_quarantine;

/* By load.c. */
typedef struct cny_load {
    int64_t grown_at, shrunk_at, cycle_at;
    int active_cycles;
    int64_t idle_told_at;
} cny_load;

typedef struct cny_listener {
    /* fixed after new */
    atomic_uint refs;
    cny_spec spec;
    cny_handling handling; /* what its lanes share */
    /* under the container's lock */
    struct cny_listener *next;
    cny_listener_wish wish;
    coney_stop_mode stop_mode; /* when it is not started any more: how its consumers end, */
    int64_t stop_deadline;     /* and by when */
    int min, max;              /* consumers */
    int wanted;                /* between the two */
    /* under the container's lock, by the supervisor */
    cny_consumer *consumers;
    int next_number;  /* for a consumer's tag */
    bool has_joined;  /* its declarations are among those of the factory */
    size_t left_over; /* prefetched messages of consumers that have ended, unhandled, which is not said yet */
    cny_load load;
    cny_quarantine quarantine;
} cny_listener;

/* Gives a checked copy with all defaults. Borrows the context. CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
coney_status cny_listener_new(cny_listener **listener, cny_handling_context *context, const coney_listener *options);
cny_listener *cny_listener_ref(cny_listener *listener);
void cny_listener_unref(cny_listener *listener); /* takes NULL */

/* ---- the container ---- */

/* stopped -> starting -> running -> stopping -> stopped; starting may fail, by way of stopping. */
typedef enum cny_container_state {
    CNY_CONTAINER_STOPPED,
    CNY_CONTAINER_STARTING,
    CNY_CONTAINER_RUNNING,
    CNY_CONTAINER_STOPPING,
} cny_container_state;

typedef struct cny_stop {
    coney_stop_mode mode;
    int64_t began, deadline;
    int unsettled; /* deliveries that were not settled at the deadline */
} cny_stop;

struct coney_container {
    /* fixed after new */
    atomic_uint refs;
    coney_connection_factory *factory; /* a reference */
    coney_container_options options;   /* with every default filled in */
    cny_arena arena;                   /* holds its texts */
    cny_event_sink *events;            /* a reference */
    cny_handling_context handling;
    cny_workers *workers;
    cny_workers *supervision; /* one thread, while not stopped */
    cny_task supervisor;
    cny_workers *isolation; /* one thread, while consumers are isolated */
    cny_task isolator;
    /* any thread */
    cny_holding holding;     /* of consumers that acknowledge; it has a lock of its own */
    atomic_bool has_waiting; /* a consumer waits for a connection, or for something to change */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the state, or a consumer's */
    cny_listener *listeners;
    cny_container_state state;
    bool paused;
    struct cny_start *start; /* the call that waits for the start; NULL: none does */
    sigset_t signals;        /* the mask of the thread that started it, for the workers */
    cny_stop stop;           /* the current stop, or the last one */
    unsigned stops;          /* how many stops are over */
    cny_error *failure;      /* why it stopped, or could not start */
    /* under lock, by the supervisor */
    bool is_connected;  /* the consuming connection was open when the supervisor began to run */
    bool was_blocked;   /* publishers, by the broker, as far as the program was told */
    bool lacks_workers; /* which has been said */
    cny_buffer deferred_log;
};

/* Makes the threads of a container that is new, of which none runs yet. False: no memory. */
bool cny_supervision_init(coney_container *made);

coney_container *cny_container_ref(coney_container *container);
void cny_container_unref(coney_container *container);

/* Wakes the supervisor; under any lock. */
static inline void cny_container_wake(coney_container *container)
{
    cny_workers_schedule(container->supervision, &container->supervisor);
}

/* This thread is a worker or the events thread of the container, which cannot wait for its end. */
bool cny_container_on_internal_thread(coney_container *container);

/* ---- start and stop ---- */

/* Waits until all consumers have begun, or can wait. CONEY_E_STATE, CONEY_E_CLOSED, CONEY_E_TIMEOUT, or what fails the
 * start. */
coney_status cny_container_start(coney_container *container);

/* The first function ends all consumers and waits for nothing. The second waits until they have ended; CONEY_E_TIMEOUT:
 * something is left to the broker. */
void cny_container_stop(coney_container *container, coney_stop_mode mode, int64_t deadline);
coney_status cny_container_wait_stopped(coney_container *container, int64_t deadline);

/* A handler said CONEY_STOP, or a declaration has failed for good: stops after the caller has returned, with this
 * thread's last error as the reason. */
void cny_container_stop_over_error(void *self);

/* After a loss of the consuming connection: nobody needs to wait for consumers any longer. */
bool cny_container_has_resumed(coney_container *container);

/* ---- what can be asked; under the container's lock ---- */

static inline bool cny_container_is_under_way(const coney_container *container) /* it runs, or starts */
{
    return container->state == CNY_CONTAINER_RUNNING || container->state == CNY_CONTAINER_STARTING;
}

/* No worker is left that may come back from its handler. */
bool cny_container_is_stuck(const coney_container *container);
cny_listener *cny_container_find(const coney_container *container, const char *id); /* NULL: none */
void cny_container_forget_removed(coney_container *container); /* those whose consumers have ended */

/* Its consumers are to run. */
bool cny_listener_is_wanted(const coney_container *container, const cny_listener *listener);

/* It has a consumer, be it one that consumes its quarantine queue. */
static inline bool cny_listener_has_consumers(const cny_listener *listener)
{
    return listener->consumers || listener->quarantine.consumer;
}

/* How many of its consumers are not to end, and how many of these consume. */
int cny_listener_count(const cny_listener *listener);
int cny_listener_consuming(const cny_listener *listener);

/* Why its consumers do not consume, even if the supervisor has not seen that yet. */
coney_status cny_listener_check(const cny_listener *listener);

/* Why its consumers have not begun that could have by now; a queue that is missing is waited for. CONEY_E_TIMEOUT: the
 * broker has not answered yet. */
coney_status cny_listener_check_started(const cny_listener *listener);

/* Of the connection: to wait for the next one is all there is to do. */
static inline bool cny_is_loss(coney_status status)
{
    return status == CONEY_E_LOST || status == CONEY_E_CONNECT;
}

#endif
