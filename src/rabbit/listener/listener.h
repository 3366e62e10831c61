/* SPDX-License-Identifier: MIT */
/* What the files of this folder share. Private to the folder; docs/listening.md tells how they play together.
 *
 * The container's lock may be taken before a connection's, never the other way round. The supervisor alone makes,
 * changes and ends consumers; workers alone touch what is in lanes. */
#ifndef CNY_LISTENER_LISTENER_H
#define CNY_LISTENER_LISTENER_H

#include "amqp/processor.h"
#include "base/workers.h"
#include "rabbit/factory/factory.h"
#include "rabbit/listener/handling/handling.h"
#include "rabbit/listener/report/report.h"
#include "rabbit/listener/spec/spec.h"

#include <coney/rabbit/container.h>

#include <sys/select.h> /* sigset_t; <signal.h> brings too many names */

enum { CNY_GRACE_MS = 50 }; /* for consumers to end by themselves at a deadline */

typedef struct cny_listener cny_listener;
typedef struct cny_consumer cny_consumer;

/* ---- listeners ---- */

/* Of messages that may kill their process: whether they are handled alone just now. The gate is closed but when
 * open. */
typedef enum cny_quarantine_state {
    CNY_QUARANTINE_OPEN,
    CNY_QUARANTINE_CLOSING,
    CNY_QUARANTINE_SUBSCRIBING,
    CNY_QUARANTINE_CONSUMING,
    CNY_QUARANTINE_ENDING,
} cny_quarantine_state;

typedef struct cny_quarantine {
    cny_gate *gate; /* fixed after listen */
    /* under the container's lock */
    cny_quarantine_state state;
    int64_t due;            /* open: to look; else the deadline of the state */
    int64_t quiet_since;    /* consuming */
    cny_consumer *consumer; /* from subscribing on; not in the listener's list */
} cny_quarantine;

struct cny_listener {
    /* fixed after listen */
    atomic_uint refs;
    coney_container *container; /* not a reference: whoever has the listener has the container, too */
    cny_spec spec;
    cny_handling handling; /* what its lanes share */
    /* under the container's lock */
    cny_quarantine quarantine;
    cny_listener *next;
    bool started; /* its consumers are wanted while the container runs */
    bool removed; /* it goes as soon as they have ended */
    int min, max; /* consumers */
    int wanted;   /* between the two */
    cny_consumer *consumers;
    int next_number; /* for a consumer's tag */
    coney_stop_mode stop_mode;
    int64_t stop_deadline;
    int64_t grown_at, shrunk_at, cycle_at;
    int active_cycles;
    int64_t idle_told_at;
    bool has_joined;  /* its declarations are among those of the factory */
    size_t left_over; /* prefetched messages of consumers that have ended, unhandled, which is not said yet */
};

/* Gives a checked copy with all defaults. CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
coney_status cny_listener_new(cny_listener **listener, coney_container *container, const coney_listener *options);
void cny_listener_unref(cny_listener *listener); /* takes NULL */

/* Has its queues declared as long as its consumers are wanted; and not any more. */
void cny_listener_join_declarations(coney_container *container, cny_listener *listener);
void cny_listener_leave_declarations(coney_container *container, cny_listener *listener);

/* ---- consumers ---- */

/* waiting -> subscribing -> consuming -> ending -> gone; a loss leads from the middle two by way of leaving, until
 * its lanes are empty, back to waiting. */
typedef enum cny_consumer_state {
    CNY_CONSUMER_WAITING,
    CNY_CONSUMER_SUBSCRIBING,
    CNY_CONSUMER_CONSUMING,
    CNY_CONSUMER_LEAVING,
    CNY_CONSUMER_ENDING,
} cny_consumer_state;

struct cny_consumer {
    cny_source source; /* what its lanes share */
    /* fixed after new */
    coney_container *container; /* a reference */
    cny_listener *listener;     /* a reference */
    char tag[256];              /* that is asked for; "": the broker's choice */
    /* under the container's lock */
    cny_consumer *next;
    cny_consumer_state state;
    int64_t due;              /* when waiting: to try again; subscribing, ending: the deadline */
    cny_error *trouble;       /* why it does not consume; NULL while it does */
    bool has_tried;           /* to consume, in vain, since the loss */
    bool awaits_declarations; /* it goes on as soon as these have come further */
    bool is_restored;         /* its queue was missing and has been declared again since */
    bool has_consumed;
    bool surplus; /* it is to end */
    bool told_missing;
    bool told_end;      /* its lanes, that nothing more comes */
    int64_t resumed_at; /* 0: never */
    coney_status loss;
    cny_strikes strikes;       /* of its subscription */
    bool awaits_trial;         /* alone: it goes on when it has a connection for that, */
    cny_connection *trial;     /* which is this one; NULL: it is not tried alone */
    bool needs_own_connection; /* the trial is on the consuming connection, for its queue is exclusive to that */
    bool is_refused;        /* the broker closed a connection over nothing but its subscription, or gave that no answer:
                             * that is its trouble */
    uint64_t seen_received; /* for elasticity */
    int idle_cycles;
};

cny_consumer *cny_consumer_new(coney_container *container, cny_listener *listener, bool is_quarantine); /* or NULL */

/* Under the container's lock, supervisor: does what is next for it; true if it has ended. And when to look again. */
bool cny_consumer_tend(cny_consumer *consumer);
int64_t cny_consumer_due(const cny_consumer *consumer);

/* Under the container's lock, supervisor: begins to subscribe. */
coney_status cny_consumer_subscribe(cny_consumer *consumer);

/* Under the container's lock, supervisor: before its channel is closed at once. */
void cny_consumer_stop_taking(cny_consumer *consumer);

/* This thread's last error is why the broker has ended consuming, and what helps where Coney knows that. */
coney_status cny_consumer_raise_loss(const cny_error *reason);

/* What no lane has taken, and will not take any more, is noted as unseen and left over. */
void cny_consumer_give_up_rest(cny_consumer *consumer);

/* One that is idle. Gives how many deliveries were deferred: they are nobody's business any more. */
int cny_consumer_drop_channel(cny_consumer *consumer);

/* One for which no worker has done anything: its channel goes, and with it what has come. */
void cny_consumer_withdraw(cny_consumer *consumer);

/* ---- trials of suspects; the supervisor, under the container's lock ---- */

/* It must be tried alone, and is not yet: it waits from now on. */
bool cny_consumer_awaits_trial(cny_consumer *consumer);

/* On the isolated connection, where it is not to stay. */
bool cny_consumer_is_tried_alone(const cny_consumer *consumer);
void cny_consumer_end_trial(cny_consumer *consumer);    /* if there is one */
void cny_consumer_is_acquitted(cny_consumer *consumer); /* the broker has answered */

/* It could not consume, as this thread's last error tells: it is a suspect, or refused alone, or innocent. The error
 * may be another one then. False: it is to be tried once more, at once. */
bool cny_consumer_note_refusal(cny_consumer *consumer);

void cny_look_at_trials(coney_container *container);
void cny_try_suspects(cny_task *task);

/* ---- the start; under the container's lock ---- */

bool cny_is_loss(coney_status status); /* of the connection: to wait for the next one is all there is to do */
bool cny_consumer_is_lost(const cny_consumer *consumer); /* with its connection */
bool cny_is_refused_exclusive(const coney_error *error);

/* Its trouble may pass, so that a start need not fail for it. */
bool cny_consumer_can_wait(const cny_consumer *consumer);

/* Its trouble fails a start at once. */
bool cny_consumer_is_hopeless(const cny_consumer *consumer);

/* The start waits for it. */
bool cny_consumer_is_awaited(const cny_consumer *consumer);

/* While the container starts: it is not its turn yet. */
bool cny_consumer_lets_others_begin(const cny_consumer *consumer);

/* All consume, or can wait. It is over at once for what makes it fail, a new reference. */
bool cny_start_is_over(const coney_container *container, cny_error **failure);

/* ---- quarantine ---- */

/* The supervisor, under the container's lock: when to be called again. */
int64_t cny_look_at_quarantine(coney_container *container, cny_listener *listener, int64_t now);
bool cny_consumer_ends(const cny_consumer *consumer, coney_stop_mode *mode, int64_t *deadline); /* how it is to */
bool cny_consumer_has_ended(const cny_consumer *consumer);                                      /* its feed */
bool cny_consumer_go_on_ending(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline); /* true: it has */

/* ---- the container ---- */

/* stopped -> starting -> running -> stopping -> stopped; starting may fail, by way of stopping. */
typedef enum cny_container_state {
    CNY_CONTAINER_STOPPED,
    CNY_CONTAINER_STARTING,
    CNY_CONTAINER_RUNNING,
    CNY_CONTAINER_STOPPING,
} cny_container_state;

/* One call of coney_container_start(), on its stack; under the container's lock. */
typedef struct cny_start {
    bool has_started;
    bool has_ended;     /* after a failure: nothing is left running */
    cny_error *failure; /* NULL: it has not failed */
} cny_start;

struct coney_container {
    /* fixed after new */
    atomic_uint refs;
    coney_connection_factory *factory;
    coney_container_options options; /* with every default filled in */
    cny_arena arena;                 /* holds its texts */
    cny_workers *workers;
    cny_workers *supervision; /* one thread, while not stopped */
    cny_task supervisor;
    cny_workers *trials; /* one thread, while a suspect is tried alone */
    cny_task trial;
    cny_handling_context handling;
    /* any thread; have locks of their own */
    cny_holding holding;     /* of consumers that acknowledge */
    atomic_bool has_trouble; /* a consumer waits for a connection, or for something to change */
    cny_event_sink *events;  /* a reference */
    /* supervisor only */
    bool is_connected;  /* when it began to look */
    bool lacks_workers; /* which has been said */
    cny_buffer deferred_log;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the state, or a consumer's */
    cny_container_state state;
    bool paused;
    cny_start *start; /* NULL: nobody waits for it */
    sigset_t signals; /* the mask of the thread that started it, for the workers */
    coney_stop_mode stop_mode;
    int64_t stop_began;
    int64_t stop_deadline;
    unsigned stops;     /* that are over */
    int unsettled;      /* deliveries that the last stop did not wait for any longer */
    cny_error *failure; /* why it stopped, or could not start */
    bool was_blocked;
    cny_listener *listeners;
};

void cny_container_unref(coney_container *container);
coney_container *cny_container_ref(coney_container *container);

/* Has the supervisor look; under any lock. */
static inline void cny_container_attention(coney_container *container)
{
    cny_workers_schedule(container->supervision, &container->supervisor);
}

/* Under lock: no more messages. */
void cny_container_begin_stop(coney_container *container, coney_stop_mode mode, int64_t deadline);

/* A handler said CONEY_STOP: stops after the caller has returned, with this thread's last error as the reason. */
void cny_container_stop_for(void *container);

/* A worker or the events thread of this container, which cannot wait for its end. */
bool cny_container_is_served_here(coney_container *container);

/* Under lock: all consumers, one after another; NULL behind the last. */
cny_consumer *cny_first_consumer(const coney_container *container);
cny_consumer *cny_next_consumer(const cny_consumer *consumer);

/* Under lock. */
cny_listener *cny_container_find(const coney_container *container, const char *id);
bool cny_container_is_under_way(const coney_container *container); /* it runs, or starts */
int cny_listener_count(const cny_listener *listener);              /* consumers that are not to end */
int cny_listener_consuming(const cny_listener *listener);
bool cny_listener_is_wanted(const coney_container *container, const cny_listener *listener);

/* Each returns when to be called again. */
int64_t cny_look_at_load(cny_listener *listener, int64_t now); /* and changes how many consumers are wanted */
int64_t cny_look_for_slow_handlers(const cny_listener *listener, int64_t now);
int64_t cny_look_for_idleness(coney_container *container, cny_listener *listener, int64_t now);

/* Says once, for all consumers that end together, how many messages they left unhandled. */
void cny_tell_left_over(coney_container *container, cny_listener *listener);

#endif
