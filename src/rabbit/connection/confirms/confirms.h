/* SPDX-License-Identifier: MIT */
/* Publisher confirms of one channel: which messages the broker has not spoken about yet, and telling each sender the
 * outcome of each message exactly once.
 *
 * This room knows neither connections nor channels. The owner of the confirms, a channel, calls all functions under one
 * lock, unless said otherwise, and is told through cny_confirms_owner. */
#ifndef CNY_CONFIRMS_H
#define CNY_CONFIRMS_H

#include "amqp/amqp.h"

#include <coney/rabbit/confirmation.h>
#include <coney/rabbit/statistics.h>
#include <coney/rabbit/template.h>

#include <pthread.h>

typedef struct cny_events cny_events;
typedef struct cny_incoming cny_incoming;

/* ---- waiting for the outcome of one message, which comes once and stays; any thread, no lock is needed ---- */

typedef struct coney_confirmation cny_waiter;

cny_waiter *cny_waiter_new(void);               /* NULL without memory */
cny_waiter *cny_waiter_ref(cny_waiter *waiter); /* takes NULL */
void cny_waiter_unref(cny_waiter *waiter);      /* takes NULL */

/* Sets the outcome, of which the waiter takes a reference, and wakes. False if nobody wants to know it any more. */
bool cny_waiter_tell(cny_waiter *waiter, cny_error *error);

/* The same, but wakes nobody yet: the waiter is put on the list, with a reference. */
bool cny_waiter_tell_later(cny_waiter *waiter, cny_error *error, cny_waiter **told);
bool cny_waiter_is_of_process(const cny_waiter *waiter);       /* not after fork() */
bool cny_waiter_wait(cny_waiter *waiter, int64_t deadline);    /* false at the deadline */
bool cny_waiter_give_up(cny_waiter *waiter);                   /* false if the outcome has come after all */
const cny_error *cny_waiter_outcome(const cny_waiter *waiter); /* once it has come: NULL is confirmed */

/* I/O thread, not under lock: wakes those on the list that cny_waiter_tell_later() made. Gives their number. */
int cny_waiters_wake(cny_waiter **told);

/* ---- what is sent ---- */

/* Hears the outcome of a message, once; NULL: the broker has confirmed it. Under the lock of the confirms' owner and
 * the events lock, so it may post completions, and must not call the owner. Waiters may be told by
 * cny_waiter_tell_later(), unless told is NULL. The error is borrowed. */
typedef void cny_outcome_function(void *user, cny_error *error, cny_waiter **told);

typedef struct cny_publish {
    const char *exchange;
    const char *routing_key;
    coney_message *message;
    bool mandatory;
    coney_flow flow;  /* _FAIL: now or not at all; _STORE: the same, and the owner is woken when there is room */
    bool synchronous; /* the sender waits, with a deadline of its own */
    coney_send_callback *callback; /* NULL: nobody hears the outcome, or the waiter does */
    void *user;
    cny_waiter *waiter;               /* instead of a callback */
    cny_outcome_function *on_outcome; /* the same, for `user`; no deadline; not if the confirms resend */
    int64_t sent_us;                  /* when it was sent for the first time; 0: this is the first time */
    bool stored;                      /* it comes out of a store, which has limits of its own */
    uint8_t strikes;                  /* see cny_confirm */
} cny_publish;

/* Exchange and routing key fit short_route of cny_confirm. */
bool cny_route_is_short(const cny_publish *publish);

enum { CNY_ROUTE_ROOM = 64 };

/* One publish that the broker has not confirmed. */
typedef struct cny_confirm {
    coney_message *message;
    coney_send_callback *callback;
    void *user;
    cny_waiter *waiter;               /* instead of a callback */
    cny_outcome_function *on_outcome; /* the same */
    cny_error *returned;
    int64_t sent_us;                  /* when it was sent for the first time */
    char *route;                      /* exchange, NUL, routing key; only if these are too long for short_route */
    char short_route[CNY_ROUTE_ROOM]; /* spares nearly every message an allocation */
    uint32_t exchange_hash;           /* the hashes tell most returns apart without a look at names */
    uint32_t routing_key_hash;
    bool mandatory;
    bool synchronous;
    bool done;
    uint8_t
        strikes; /* how often the broker closed the connection over a message while this was the only unconfirmed one of
                        its channel, and other channels had some, too */
} cny_confirm;

const char *cny_confirm_route(const cny_confirm *confirm); /* exchange, NUL, routing key */

/* The broker closed the channel with this sentence: whether the sentence names the message. */
bool cny_confirm_is_named(const cny_confirm *confirm, const char *text);

/* ---- the confirms of a channel ---- */

typedef struct cny_confirm_options {
    int max_unconfirmed;
    int timeout_ms; /* for the confirms of asynchronous sends; below 0: no limit */
    bool resends;   /* messages that a loss leaves unconfirmed await cny_channel_resend() */
} cny_confirm_options;

/* What the confirms need of their owner. All functions but `finished` are called under the lock. */
typedef struct cny_confirms_owner {
    void (*ref)(void *self);                             /* `finished` drops it */
    void (*finished)(void *self, size_t callbacks);      /* see cny_completion */
    void (*has_news)(void *self);                        /* a store has room, or messages await resending */
    void (*log_later)(void *self, const char *sentence); /* a static text, as soon as no lock is held */
} cny_confirms_owner;

/* What the senders who wait know of the window. Each may follow each. */
typedef enum cny_window_mode {
    CNY_WINDOW_OPEN,    /* places are free, and they wait until a quarter of the window is */
    CNY_WINDOW_FULL,    /* no place is free */
    CNY_WINDOW_TRICKLE, /* a quarter does not become free: they take places as these come, until there are none */
} cny_window_mode;

/* The search for a poison message, one that makes the broker close its channel or connection. NONE -> SOUGHT -> FOUND
 * or NONE again. */
typedef enum cny_poison_search {
    CNY_POISON_NONE,   /* no message of this channel can be one, as far as is known */
    CNY_POISON_SOUGHT, /* a message that awaits resending is one, but the broker did not say which one */
    CNY_POISON_FOUND,  /* it was a message of this channel, and is known */
} cny_poison_search;

typedef struct cny_confirms {
    /* fixed once confirms are selected */
    const cny_confirms_owner *owner;
    void *self;
    cny_events *events;
    pthread_cond_t *changed; /* senders, and those who wait for the end, sleep on it */
    size_t max;              /* 0: confirms are not selected */
    bool resends;            /* what a loss leaves is not completed but awaits resending */
    int timeout_ms;          /* below 0: none */
    /* the window: window.c */
    cny_confirm *ring; /* by sequence number modulo capacity, a power of two */
    size_t capacity;
    uint64_t first; /* the oldest not done */
    uint64_t next;
    cny_buffer stragglers; /* of cny_straggler, in order */
    size_t expired;        /* stragglers that are done: they keep their places in the window */
    size_t unfinished;     /* not done, or their callback has not returned yet */
    int waiting_senders;   /* for room */
    cny_window_mode mode;  /* as they know it; of no meaning while nobody waits */
    bool room_wanted;      /* by a store: the owner is told */
    int waiting_for_end;   /* for nothing to be unfinished */
    /* outcomes: outcomes.c, returns.c, deadlines.c */
    cny_waiter **told;    /* while the broker's answer is handled: the senders to be woken afterwards */
    uint64_t return_from; /* where the search for the next return begins: they come in the order of sending */
    uint64_t expire_from; /* in the ring, all messages before this one are done or have no deadline here */
    cny_error *late;      /* the outcome of messages that expire */
    cny_error *unheard;   /* the last error that was logged because there was no callback; each is logged once */
    bool tallied;         /* failures that nobody else hears of are counted in the next two */
    size_t failed;
    cny_error *failure;
    coney_send_statistics statistics; /* also of what is sent without confirms */
    /* the end of the channel: losses.c */
    bool is_over; /* the channel is gone */
    cny_poison_search search;
    size_t awaiting_resend; /* by another channel: all that are not done */
} cny_confirms;

/* Selects confirms. The caller sets owner, self, events and changed before. CONEY_E_NO_MEMORY. */
coney_status cny_confirms_start(cny_confirms *confirms, const cny_confirm_options *options);
void cny_confirms_free(cny_confirms *confirms); /* not under lock */

/* ---- the window ---- */

size_t cny_confirms_taken(const cny_confirms *confirms); /* of max */
bool cny_confirms_full(const cny_confirms *confirms);

/* A sender begins to wait for room, or goes on: for all that wait, the mode becomes what that sender sees. */
void cny_window_wait(cny_confirms *confirms);

/* A sender has seen a free place for a moment in which nothing was confirmed: all that wait may take places. */
void cny_window_trickle(cny_confirms *confirms);
bool cny_window_lets_go(const cny_confirms *confirms); /* a sender who waits */

coney_status cny_confirms_reserve(cny_confirms *confirms); /* room for one more; CONEY_E_NO_MEMORY */

/* A route that is too long for short_route is to be set by the caller. */
cny_confirm *cny_confirms_add(cny_confirms *confirms, const cny_publish *publish);

/* The messages that the broker has neither confirmed nor refused, and some that are done, in the order of sending. */
size_t cny_confirms_outstanding(const cny_confirms *confirms);
cny_confirm *cny_confirms_nth(const cny_confirms *confirms, size_t n);
bool cny_confirms_have_all_outcomes(const cny_confirms *confirms); /* all that have not expired are done */

/* ---- outcomes ---- */

/* I/O thread: the broker's ack or nack, which was read at read_us. Waiters get their outcome now and stand on the list
 * until cny_waiters_wake(). */
void cny_confirms_on_confirm(cny_confirms *confirms, const cny_incoming *incoming, int64_t read_us, cny_waiter **told);

/* I/O thread: a message comes back. */
void cny_confirms_on_return(cny_confirms *confirms, const cny_incoming *incoming, uint32_t frame_max);
cny_error *cny_returned_error(const cny_incoming *incoming); /* gives it */

/* So many callbacks have returned. */
void cny_confirms_callbacks_returned(cny_confirms *confirms, size_t count);

/* Completes with CONEY_E_TIMEOUT the asynchronous sends whose confirm did not come in time. Returns when the next one
 * is due, INT64_MAX if there is none. */
int64_t cny_confirms_expire(cny_confirms *confirms, int64_t now);

/* ---- the end of the channel ---- */

/* The channel is gone, for this reason: everything outstanding is completed, or awaits resending. */
void cny_confirms_fail(cny_confirms *confirms, cny_error *reason);

/* The next message that awaits resending, oldest first; *i begins with 0. NULL: there is no other one. */
cny_confirm *cny_confirms_next_to_resend(const cny_confirms *confirms, size_t *i);
void cny_confirms_resent(cny_confirms *confirms, cny_confirm *confirm); /* another channel has taken it over */
void cny_confirms_give_up(cny_confirms *confirms, cny_confirm *confirm, cny_error *reason); /* it has this outcome */

/* The broker closes the connection, and a message of this channel may be the reason. */
void cny_poison_seek(cny_confirms *confirms);
void cny_poison_release(cny_confirms *confirms); /* another channel's message was the reason */

/* ---- lists and sums ---- */

/* An unconfirmed message, as it was when the list was made. */
typedef struct cny_unconfirmed {
    coney_message *message; /* a reference */
    const char *exchange;   /* in the list's arena */
    const char *routing_key;
    int64_t sent_us;
} cny_unconfirmed;

/* Appends a cny_unconfirmed for each message that was sent for the first time no later than until_us, oldest first.
 * CONEY_E_NO_MEMORY. */
coney_status cny_confirms_list(const cny_confirms *confirms, int64_t until_us, cny_buffer *list, cny_arena *arena);

/* Counts in one of CONEY_LATENCY_BUCKETS. */
void cny_count_latency(uint64_t *buckets, int64_t latency_us);

void cny_statistics_add(coney_send_statistics *sum, const coney_send_statistics *more); /* no lock is needed */

#endif
