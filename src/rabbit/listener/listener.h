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
#include "rabbit/listener/report/report.h"
#include "rabbit/listener/spec/spec.h"

#include <coney/rabbit/container.h>

#include <sys/select.h> /* sigset_t; <signal.h> brings too many names */

enum { CNY_GRACE_MS = 50 }; /* for consumers to end by themselves at a deadline */

typedef struct cny_listener cny_listener;
typedef struct cny_consumer cny_consumer;
typedef struct cny_lane cny_lane;

/* ---- listeners ---- */

/* What has happened to a message in this process. */
typedef struct cny_history {
    int failed;   /* its handler, with stateful retry */
    int unseen;   /* its channel ended before a handler had it */
    int tries;    /* in place, which failed, before its channel was lost or it was given back */
    int survived; /* its handler returned and it went back */
} cny_history;

typedef enum cny_deed {
    CNY_DEED_FAILED,
    CNY_DEED_GONE_UNSEEN,
    CNY_DEED_SURVIVED,
} cny_deed;

/* The histories of messages that came back, by their ids: the last ones only. */
typedef struct cny_attempts {
    pthread_mutex_t lock; /* below all others */
    struct cny_attempt *kept;
    size_t sets; /* fixed after new */
    uint64_t clock;
} cny_attempts;

/* The messages that no handler could get and that were rejected last. */
typedef struct cny_rounds_memory {
    pthread_mutex_t lock; /* below all others */
    struct cny_rejected *places;
} cny_rounds_memory;

/* How long messages waited last before they went back. */
typedef struct cny_backoffs {
    pthread_mutex_t lock; /* below all others */
    struct cny_backoff_slot *slots;
} cny_backoffs;

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
    /* any thread */
    atomic_bool wanted;    /* there may be a message in that queue */
    atomic_bool is_closed; /* the gate: no lane begins to handle */
    atomic_int at_work;    /* lanes that handle */
    /* under the container's lock */
    cny_quarantine_state state;
    int64_t due;            /* open: to look; else the deadline of the state */
    int64_t quiet_since;    /* consuming */
    cny_consumer *consumer; /* from subscribing on; not in the listener's list */
} cny_quarantine;

/* Where the one consumer of a stream goes on. */
typedef struct cny_position {
    pthread_mutex_t lock;       /* below all others */
    int64_t next;               /* the lowest offset that is not acknowledged; -1: where the listener's arguments say */
    int64_t last;               /* that came; -1: none yet */
    bool is_gone;               /* the stream; another one of its name is read from its beginning */
    const cny_channel *channel; /* by which the messages of places came; only compared */
    struct cny_place *places;   /* those not acknowledged, in their order, from first on */
    size_t first, count, capacity;
} cny_position;

/* Where requests wanted their replies, by hash, when that cost the consumer its transaction: the latest ones. */
enum { CNY_SPOILERS = 64 };

typedef struct cny_spoilers {
    _Atomic uint64_t addresses[CNY_SPOILERS];
    atomic_uint next;
} cny_spoilers;

struct cny_listener {
    /* fixed after listen */
    atomic_uint refs;
    coney_container *container; /* not a reference: whoever has the listener has the container, too */
    cny_spec spec;
    /* any thread */
    cny_counters counters;
    cny_attempts attempts;
    cny_spoilers spoilers;
    cny_rounds_memory rounds;
    cny_position position; /* of a stream */
    cny_quarantine quarantine;
    cny_backoffs backoffs;
    cny_limited_log log;
    atomic_llong last_delivery_ms;
    /* under the container's lock */
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

void cny_position_init(cny_position *position);
void cny_position_free(cny_position *position);

/* Before a consumer subscribes: replaces the arguments of basic.consume, if it must, by a copy in the arena.
 * CONEY_E_NO_MEMORY. */
coney_status cny_position_begin(cny_position *position, cny_arena *arena, const coney_table **arguments);

/* The stream is gone. */
void cny_position_restart(cny_position *position);

/* These have come, in the order of the channel; false without memory. And one of them is acknowledged. */
bool cny_position_take(cny_position *position, const cny_channel *channel, coney_message *const *messages,
                       size_t count);
void cny_position_pass(cny_position *position, const cny_channel *channel, uint64_t tag);

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

/* What lanes do with messages that no handler has yet. */
typedef enum cny_course {
    CNY_COURSE_HANDLE,
    CNY_COURSE_RETURN, /* to the queue */
    CNY_COURSE_DROP,   /* their channel is closed */
} cny_course;

struct cny_lane {
    cny_task task;
    cny_consumer *consumer;
    /* by the worker that runs it */
    cny_buffer todo; /* of coney_message *, from next on */
    size_t next;
    cny_buffer items;   /* of coney_delivery *, that wait for a handler, from first_item on */
    size_t first_item;  /* 0 with on_batch */
    bool keeps_decided; /* items whose verdict is known: the channel was suspended */
    cny_buffer delayed; /* deliveries that wait before they go back to the queue; backoff.c */
    int64_t due;        /* not before; 0: now */
    int64_t gather_until;
    size_t acks;      /* not sent yet, */
    size_t ack_bytes; /* what these messages hold, */
    uint64_t ack_tag; /* and the last of them */
    int64_t ack_due;
    coney_delivery *spare; /* one that may be used again */
    /* under lock; only with several lanes */
    pthread_mutex_t lock; /* below the connection's; none is taken under it */
    cny_buffer inbox;     /* of coney_message * */
    /* any thread */
    atomic_llong handling_since; /* in milliseconds; 0: no handler runs */
    atomic_bool judging;         /* what the handler said, which may take a publishing connection */
    atomic_bool told_slow;
};

struct cny_consumer {
    /* fixed after new */
    cny_task task; /* with several lanes: spreads what comes over them */
    atomic_uint refs;
    coney_container *container; /* a reference */
    cny_listener *listener;     /* a reference */
    char tag[256];              /* that is asked for; "": the broker's choice */
    bool is_quarantine;         /* consumes the messages that are handled alone */
    /* any thread */
    _Atomic uint64_t replied_to; /* the last such place in the transaction that is open; 0: none */
    atomic_int course;           /* cny_course */
    atomic_bool leaving;         /* the supervisor waits for the lanes */
    atomic_int in_lanes;         /* messages taken and not finished */
    atomic_size_t left_over;     /* messages that its lanes gave back or dropped because it ends */
    atomic_ullong received;
    atomic_llong settled_at; /* when the broker was told last what becomes of a message; 0: never */
    atomic_ullong deferred;  /* whose handler has returned, or runs, and which are not settled; in the upper half: by
                               which of its channels they came */
    /* the supervisor and, while it consumes, the worker that runs it */
    cny_buffer taken;
    cny_channel *channel; /* from subscribing on; changed under the container's lock while no lane runs */
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
    /* fixed after new */
    int lane_count;
    cny_lane lanes[];
};

cny_consumer *cny_consumer_new(coney_container *container, cny_listener *listener, bool is_quarantine); /* or NULL */
cny_consumer *cny_consumer_ref(cny_consumer *consumer);
void cny_consumer_unref(cny_consumer *consumer);

/* Under the container's lock, supervisor: does what is next for it; true if it has ended. And when to look again. */
bool cny_consumer_tend(cny_consumer *consumer);
int64_t cny_consumer_due(const cny_consumer *consumer);

/* Under the container's lock, supervisor: begins to subscribe. */
coney_status cny_consumer_subscribe(cny_consumer *consumer);

/* Sets lanes to work on what the course now is. */
void cny_consumer_set_course(cny_consumer *consumer, cny_course course);

/* Under the container's lock, supervisor: before its channel is closed at once. */
void cny_consumer_stop_taking(cny_consumer *consumer);

/* No more deliveries are taken. Those that are here are handled, or go back, before the channel is closed. */
void cny_consumer_end_feed(cny_consumer *consumer, cny_channel *channel, cny_course course);

/* Any thread, ahead of the supervisor: what lies behind a message that stopped the container gets to no handler. */
void cny_consumer_give_up(cny_consumer *consumer, cny_channel *channel);

bool cny_consumer_is_idle(cny_consumer *consumer);         /* no lane runs or has anything */
int cny_consumer_handling(const cny_consumer *consumer);   /* how many handlers run */
int cny_consumer_publishing(const cny_consumer *consumer); /* and that may publish, what follows from outcomes, too */

/* This thread's last error is why the broker has ended consuming, and what helps where Coney knows that. */
coney_status cny_consumer_raise_loss(const cny_error *reason);

/* What no lane has taken, and will not take any more, is noted as unseen and left over. */
void cny_consumer_give_up_rest(cny_consumer *consumer);

/* One that is idle. Gives how many deliveries were deferred: they are nobody's business any more. */
int cny_consumer_drop_channel(cny_consumer *consumer);

/* One for which no worker has done anything: its channel goes, and with it what has come. */
void cny_consumer_withdraw(cny_consumer *consumer);

/* Counts deferred deliveries of the channel there is: one more, which gives what one fewer needs. */
uint32_t cny_consumer_defer(cny_consumer *consumer);
void cny_consumer_undefer(cny_consumer *consumer, uint32_t channel_number);
int cny_consumer_deferred(const cny_consumer *consumer);

/* What has come since it was last asked, into an empty buffer; false if there is nothing. They are in lanes now. */
bool cny_consumer_take(cny_consumer *consumer, cny_buffer *messages);

/* Of messages in lanes: acknowledges those that the lane has not acknowledged yet. */
coney_status cny_lane_send_acks(cny_lane *lane);

/* To its queue, untried. */
void cny_return_message(cny_channel *channel, const coney_message *message);
void cny_return_for_want_of_memory(cny_consumer *consumer, const coney_message *message); /* if that is possible */

/* Adds the delivery, or its parts if it is a batch that is to be taken apart, to the items of the lane. Takes it.
 * False: there is no memory. */
bool cny_lane_expand(cny_lane *lane, coney_delivery *whole);

void cny_lane_run(cny_task *task);
void cny_lane_clear(cny_lane *lane); /* frees what it has; no worker runs it */

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

/* ---- deliveries ---- */

struct coney_delivery {
    atomic_uint refs;
    /* fixed while it has a message */
    cny_consumer *consumer; /* a reference */
    cny_channel *channel;   /* a reference */
    coney_message *origin;  /* as it came */
    coney_delivery *whole;  /* a reference to that of which it is a part; NULL: it is whole */
    int part;               /* of the whole, from 1 */
    bool last_in_batch;
    int earlier_attempts;
    /* by the worker, then by who settles */
    coney_message *message; /* as processors left it */
    void *payload;
    const coney_converter *payload_converter;
    const coney_typed_handler *handler; /* NULL: the listener's */
    cny_error *failure;                 /* as far as is known, without what was said since */
    bool is_processed;                  /* before it came to the dispatcher */
    uint64_t identity;                  /* of a whole, for rounds.c; 0: not known yet */
    bool is_broken;                     /* a batch that cannot be taken apart; failure tells why */
    bool prepared;
    bool is_moved;      /* to or from quarantine, without a call of its handler */
    bool is_condemned;  /* by what came of it in quarantine */
    bool is_unsendable; /* the last copy that was to be published was refused for itself, and will be the next time */
    bool in_handler;
    bool has_succeeded;    /* its handler, when it was called last */
    atomic_int tries;      /* so far */
    coney_outcome verdict; /* what is to become of it; 0: not known yet */
    bool is_left;          /* to whoever settles, who alone may touch the verdict then */
    int64_t requeue_at;    /* when it may go back; 0: at once */
    bool is_returned;      /* nobody has tried: not the message's fault */
    bool is_deferred;      /* counted among its consumer's: */
    uint32_t channel_number;
    /* any thread */
    _Atomic(cny_error *) said;      /* by coney_delivery_fail(), for whoever judges */
    _Atomic(coney_message *) reply; /* left by the handler, for whoever acknowledges */
    atomic_bool settled;            /* by its outcome or coney_delivery_settle() */
    atomic_int parts_left;
    atomic_int worst;       /* of its parts */
    atomic_bool is_counted; /* for stateful retry: that it has failed this time, or one of its parts */
    bool was_delayed;       /* it goes back, and waits or has waited before that, for itself or for a part */
};

coney_delivery *cny_delivery_new(cny_lane *lane, coney_message *origin, int earlier_attempts); /* borrows the message */
void cny_delivery_recycle(cny_lane *lane, coney_delivery *delivery);                           /* instead of unref */

static inline coney_delivery *cny_whole(coney_delivery *delivery)
{
    return delivery->whole ? delivery->whole : delivery;
}

/* The verdict is known and the handler is through: lets go of what has been made of the message, which may take many
 * times the memory of the message, unless the program has a reference. */
void cny_delivery_let_go(coney_delivery *delivery);

/* Memory of what has been made of the message: by processors, and, by a guess, as JSON. */
size_t cny_delivery_made_bytes(const coney_delivery *delivery);

/* Its verdict is known: the broker is told, when that is so of all parts. lane is NULL on another thread than its
 * worker's. CONEY_E_STALE, CONEY_E_NO_MEMORY. */
coney_status cny_delivery_conclude(coney_delivery *delivery, cny_lane *lane);

/* With CONEY_ACKNOWLEDGE_MANUAL: nobody else may settle it from now on. False if somebody has. */
bool cny_delivery_claim(coney_delivery *delivery);
void cny_complain_of_forgotten(const coney_delivery *delivery); /* let go of without being settled */

/* Between these two calls the worker of the lane does what may take long: after slow_handler_ms there is an event.
 * The first returns the time of the beginning, for the second. handled: a handler was called, and the call counts. */
int64_t cny_lane_begin_call(cny_lane *lane);
void cny_lane_end_call(cny_lane *lane, int64_t began, bool handled);

/* Makes it ready for a handler and calls that. The outcome, whoever decided it. */
coney_outcome cny_dispatch(coney_delivery *delivery, cny_lane *lane);
void cny_dispatch_batch(coney_delivery **deliveries, size_t count, coney_outcome *outcomes, cny_lane *lane);

/* Whether it can be handed to a handler; else *outcome tells what becomes of it. */
bool cny_prepare(coney_delivery *delivery, coney_outcome *outcome);

/* By who settles it: what was said of its failure is what is known of it from now on. */
void cny_delivery_adopt_failure(coney_delivery *delivery);
void cny_delivery_say(coney_delivery *delivery, cny_error *failure); /* takes it; any thread */

/* Why it failed, as far as is known. */
const char *cny_failure_text(const coney_delivery *delivery);

/* ---- retry ---- */

int cny_earlier_attempts(const cny_consumer *consumer, const coney_message *message);

/* A copy that this listener made, whose headers tell of the original: back from the ladder, or from quarantine. */
bool cny_is_own_copy(const cny_consumer *consumer, const coney_message *message);

/* How often it has come back to this queue, by the broker's count, without those returns of which this process knows
 * that no handler had it; -1: the broker does not count. RabbitMQ 4.3 counts on when a message leaves its queue by
 * dead-lettering, so there it is how often the message has come back to any queue. */
int64_t cny_returns(cny_listener *listener, const coney_message *message);

/* The same without those that were certainly before the message came to this queue. (RabbitMQ 4.3: x-acquired-count
 * begins anew with the first return to a queue.) */
int64_t cny_returns_here(cny_listener *listener, const coney_message *message);

/* RabbitMQ 4.3: it came by dead-lettering and has not been back to this queue since, as far as its headers tell. What
 * was rejected by basic.nack only, which is not counted, or by nobody but in what a publisher has written, looks the
 * same after any number of returns. */
bool cny_has_just_come(const coney_message *message);
int64_t cny_redeliveries(cny_listener *listener, const coney_message *message); /* returns, as far as anybody knows */

/* The broker's counts, in the headers of a message; RabbitMQ 4.3 alone has the second one. */
#define CNY_HEADER_DELIVERED "x-delivery-count"
#define CNY_HEADER_ACQUIRED "x-acquired-count"

/* Complains of a message that came by dead-lettering if its count is near the delivery limit. Not under a lock. */
void cny_warn_of_delivery_limit(cny_listener *listener, const coney_message *message);
bool cny_was_dead_lettered(const coney_message *message);                   /* by x-death, which anyone can send */
int cny_rounds(const cny_listener *listener, const coney_message *message); /* of its ladder, which it comes from */

/* Whether this queue has rejected it and it has expired elsewhere since; by x-death, which anyone can send. Gives the
 * number of rejections here, whatever a sender has written there, else 0. False for a message that a person, a shovel
 * or a consumer has moved back with its headers, or that a publisher delayed. */
bool cny_is_round(const cny_listener *listener, const coney_message *message, uint64_t *rejections);

/* This listener has rejected it, which the second notes, and the broker has brought it back by itself. */
bool cny_came_round(coney_delivery *delivery);
void cny_note_rejected(coney_delivery *delivery);
void cny_rounds_init(cny_rounds_memory *memory);
void cny_rounds_free(cny_rounds_memory *memory);

/* The verdict on an outcome; 0: another attempt in place, after *delay_ms. With may_repeat false there is none.
 * Stateful retry says CONEY_REQUEUE and sets *delay_ms, too, which is left alone else. */
coney_outcome cny_judge(coney_delivery *delivery, coney_outcome outcome, bool may_repeat, int *delay_ms);

bool cny_attempts_init(cny_attempts *attempts);
void cny_attempts_size_for(cny_attempts *attempts, const coney_listener *options); /* with defaults; before its use */
void cny_attempts_free(cny_attempts *attempts);

/* Adds to the history of the message, which begins anew if the message is not redelivered. Gives what the history is
 * now, unless that is NULL. False: the message has no id to remember. */
bool cny_attempts_note(cny_attempts *attempts, const coney_message *message, cny_deed deed, cny_history *history);
bool cny_attempts_of(cny_attempts *attempts, const coney_message *message, cny_history *history); /* false: none */

/* No handler has had it, and it goes back: so that nobody takes its coming again for an attempt. */
void cny_note_unseen(cny_listener *listener, const coney_message *message);
void cny_attempts_forget(cny_attempts *attempts, const coney_message *message);

/* Attempts in place go on when the message comes again after a loss or a stop: they are kept then, by id, and resumed
 * when a worker takes the message. Else they would never end where a back-off is longer than the broker's
 * consumer_timeout. They are forgotten when it is known what becomes of the message. */
void cny_tries_keep(const coney_delivery *delivery, int tries);
void cny_tries_resume(coney_delivery *delivery);
void cny_tries_forget(const coney_delivery *delivery);

/* The channel was lost while the handler was at the last attempt: the handler is not called again. */
bool cny_tries_are_used_up(coney_delivery *delivery);

bool cny_backoffs_init(cny_backoffs *backoffs);
void cny_backoffs_free(cny_backoffs *backoffs);

/* How long to wait after so many failures, shortened at random. */
int cny_retry_delay(const coney_listener_retry *retry, int64_t failures);

/* How long a message waits that goes back; 0 if it has not come again. It is longer each time, until
 * cny_backoff_forget(). */
int cny_requeue_delay(const coney_delivery *delivery);
void cny_backoff_forget(cny_listener *listener, const coney_message *message);

/* Has it wait in its lane; false without memory. Taking takes those that are due, in their order, the list being
 * theirs still; returns how many. */
bool cny_lane_delay(cny_lane *lane, coney_delivery *delivery, int64_t due);
size_t cny_lane_delayed(const cny_lane *lane);   /* how many wait */
int64_t cny_lane_next_due(const cny_lane *lane); /* INT64_MAX: none */
size_t cny_lane_take_due(cny_lane *lane, int64_t now, void (*take)(cny_lane *lane, coney_delivery *delivery));

/* ---- quarantine ---- */

#define CNY_HEADER_ENDED_BY "x-coney-ended-by" /* the quarantine queue that ended the message */

/* Before a handler gets the message: true if none is to, and what becomes of it instead. */
bool cny_guard(coney_delivery *delivery, coney_outcome *outcome);
void cny_note_survival(const coney_delivery *delivery); /* its handler has returned, and it goes back */

/* From quarantine back to its queue, where it begins anew: its handler has returned, or it is condemned. */
bool cny_release(coney_delivery *delivery);
bool cny_is_condemned(const cny_listener *listener, const coney_message *message);

/* A lane handles between the two; false: not now. */
bool cny_quarantine_enter(const cny_consumer *consumer);
void cny_quarantine_leave(const cny_consumer *consumer);

/* The supervisor, under the container's lock: when to be called again. */
int64_t cny_look_at_quarantine(coney_container *container, cny_listener *listener, int64_t now);
bool cny_consumer_ends(const cny_consumer *consumer, coney_stop_mode *mode, int64_t *deadline); /* how it is to */
bool cny_consumer_has_ended(const cny_consumer *consumer);                                      /* its feed */
bool cny_consumer_go_on_ending(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline); /* true: it has */

#define CNY_MAX_LEFT_OUT 360

/* How the copy of a message is made that is published in its place. */
typedef struct cny_copy_form {
    int round;      /* of the ladder; 0: none */
    bool with_text; /* the reason, as a header */
    bool fits;      /* headers of the sender are left out until all fit a frame of that size; false: all are kept */
    size_t frame;
    char left_out[CNY_MAX_LEFT_OUT]; /* given back: how many headers of the sender are left out, which; "": none */
} cny_copy_form;

/* Gives the copy, and fills left_out; CONEY_E_NO_MEMORY. The second function: the number of attempts that the copy
 * tells of. */
coney_status cny_copy_make(coney_message **copy, coney_delivery *delivery, cny_copy_form *form);
int cny_attempts_made(const coney_delivery *delivery);

/* Sends a copy to a queue, confirmed. The statuses of coney_template_send(). */
coney_status cny_republish(coney_delivery *delivery, const char *queue);

coney_outcome cny_recover(coney_delivery *delivery);          /* attempts are used up: the verdict */
coney_outcome cny_park(coney_delivery *delivery);             /* whatever the recovery is: the same */
coney_outcome cny_pass_over(coney_delivery *delivery);        /* of a stream: acknowledged, counted and told */
coney_outcome cny_climb(coney_delivery *delivery, int round); /* sends it to wait for its next round */

/* The one it had before it went up the ladder. A view. */
const char *cny_original_routing_key(const cny_listener *listener, const coney_message *message);

/* ---- publishing ---- */

typedef struct cny_publisher {
    pthread_mutex_t lock; /* below the container's; not held while anything is waited for */
    cny_channel *channel; /* NULL: none yet */
} cny_publisher;

/* Publishes and waits for the confirm. The statuses of coney_template_send(). */
coney_status cny_container_publish(coney_container *container, cny_publisher *publisher, const char *exchange,
                                   const char *routing_key, coney_message *message, bool mandatory);
void cny_publisher_init(cny_publisher *publisher);
void cny_publisher_free(cny_publisher *publisher);

/* By whoever acknowledges, before that: sends the reply that the handler has left, if there is one. If it cannot be
 * sent, the delivery fails for that. */
coney_status cny_send_reply_left(coney_delivery *delivery, coney_outcome *outcome);

/* On a transacted listener's channel; its worker waits. After a failure the channel is closed, which is logged. */
void cny_transaction_rollback(cny_consumer *consumer);
void cny_transaction_commit(cny_consumer *consumer);

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
    /* any thread; have locks of their own */
    cny_processors after_receive;
    cny_publisher failed; /* for messages that are republished */
    cny_publisher replies;
    cny_publisher exchange_replies; /* to exchanges that requests name: one that does not exist costs the channel */
    cny_holding holding;            /* of consumers that acknowledge */
    atomic_bool has_trouble;        /* a consumer waits for a connection, or for something to change */
    cny_event_sink *events;
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

/* A handler said CONEY_STOP, or something is fatal: stops behind the caller, with this thread's last error as the
 * reason. */
void cny_container_stop_for(coney_container *container);

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
