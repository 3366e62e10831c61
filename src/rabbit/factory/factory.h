/* SPDX-License-Identifier: MIT */
/* The connection factory, as the template, the admin and the container use it: the place where connections and channels
 * come from, what is declared, and what happens to a request over which the broker closes connections.
 *
 * All functions may be called from any thread but an I/O thread. They wait at most until their deadline
 * (cny_deadline()), and leave the reason of a failure with coney_last_error(). */
#ifndef CNY_FACTORY_H
#define CNY_FACTORY_H

#include "rabbit/connection/connection.h"

#include <coney/rabbit/connection_factory.h>

/* ---- the factory ---- */

coney_connection_factory *cny_factory_ref(coney_connection_factory *factory);
void cny_factory_unref(coney_connection_factory *factory);

/* CONEY_E_STATE in a child of fork(), where neither threads nor locks of the factory are of use. */
coney_status cny_factory_check_process(const coney_connection_factory *factory);

/* The group of all threads that run for the factory and its members. Closing the factory joins them. */
cny_threads *cny_factory_threads(coney_connection_factory *factory);

/* Is this the factory's events thread, on which callbacks run? */
bool cny_factory_on_events_thread(coney_connection_factory *factory);

/* Has the callback run on the events thread, with no message. False without memory, or if that
 * thread has ended: it does not run. error is borrowed. */
bool cny_factory_post(coney_connection_factory *factory, coney_send_callback *callback, cny_error *error, void *user);

/* This thread runs handlers, or sends what was taken on before: it may send while the factory drains, and
 * cannot wait for its end. Returns what it served before. */
const coney_connection_factory *cny_factory_set_internal_thread(const coney_connection_factory *factory);

/* CONEY_E_CLOSED once the factory's close has begun: only handlers and callbacks may send then. */
coney_status cny_factory_check_draining(coney_connection_factory *factory);
bool cny_factory_is_draining(const coney_connection_factory *factory); /* on whatever thread */

/* Waits until then, or until this thread may not send any more: CONEY_E_CLOSED. */
coney_status cny_factory_sleep(coney_connection_factory *factory, int64_t until);

/* ---- its connections ---- */

/* Waits until the role's connection can be used; starts connecting if nobody needed it before.
 * CONEY_E_CONNECT at the deadline, CONEY_E_CLOSED, and what a refused login said. */
coney_status cny_factory_wait_open(coney_connection_factory *factory, coney_connection_role role, int64_t deadline);

/* Has it connected if nobody needed it before; waits for nothing. CONEY_E_CLOSED, and what a refused login
 * said. */
coney_status cny_factory_want(coney_connection_factory *factory, coney_connection_role role);

/* cny_factory_wait_open() without waiting, but for the end of the first attempt there ever was. */
coney_status cny_factory_ensure_open(coney_connection_factory *factory, coney_connection_role role, int64_t deadline);

/* Whether the role's connection may still come back by itself; else why it was given up. */
coney_status cny_factory_check_given_up(coney_connection_factory *factory, coney_connection_role role);

/* CONEY_E_BLOCKED, with the broker's reason, while it holds back publishers. */
coney_status cny_factory_check_blocked(coney_connection_factory *factory);

/* How long it has done so, ever. */
uint64_t cny_factory_blocked_us(coney_connection_factory *factory);

/* How the publishing connection was before a reply. */
typedef struct cny_reply_watch {
    uint64_t blocked_us;
    uint64_t times_opened; /* that it may have been opened afterwards */
} cny_reply_watch;

cny_reply_watch cny_factory_watch_reply(coney_connection_factory *factory);

/* Whether this status of a send, the thread's last error, means that the broker does not take the reply where the
 * request wants it, and would not the next time: its exchange does not exist, this user may not write to it, the queue
 * refuses it, or it is too large; the broker closes the connection over it; or it is not confirmed in time although the
 * connection has been open, and the broker has not held back publishers, all the while. A refused login has the same
 * status as a missing permission. */
bool cny_factory_is_reply_refused(coney_connection_factory *factory, const cny_reply_watch *before,
                                  coney_status status);

/* Opens a channel on the factory's connection for the role, connecting if need be. Gives it.
 * While the broker holds back publishers a publishing one is not opened: CONEY_E_BLOCKED at the
 * deadline. at_once: neither for that nor, but for the first attempt, for a connection is waited. */
coney_status cny_channel_open(cny_channel **channel, coney_connection_factory *factory, coney_connection_role role,
                              bool at_once, int64_t deadline);

/* Opens a channel that consumes, and waits for nothing: the watcher learns how it went. Gives it. CONEY_E_CONNECT
 * and the other statuses of connecting, CONEY_E_LIMIT, CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
coney_status cny_channel_subscribe(cny_channel **channel, coney_connection_factory *factory,
                                   const cny_subscription *subscription, const cny_watcher *watcher);

/* ---- members: what lives on a factory and has a part in its recovery and its end ----
 *
 * Functions that are NULL are not needed. They are called with no lock held, by the recovery
 * thread but for on_declaration, and the last four, which the thread that closes the
 * factory calls. */

typedef struct cny_member {
    void (*ref)(void *self);
    void (*unref)(void *self);

    /* A declaration was refused, whoever wants it. On the thread that declares. */
    void (*on_declaration)(void *self, const coney_declaration *declaration);

    /* Has it tried to resume consuming since the loss? Publishers wait for that. */
    bool (*has_resumed)(void *self);

    /* Sends what a loss left unconfirmed again. False: not all yet, ask again soon. */
    bool (*resend)(void *self, cny_connection *connection);

    /* Does what is due; returns when the next thing is, INT64_MAX for never. It must ask for attention if that
     * becomes sooner. */
    int64_t (*tend)(void *self, int64_t now);

    void (*begin_stop)(void *self, int64_t deadline); /* consuming */
    coney_status (*wait_stopped)(void *self, int64_t deadline);
    coney_status (*drain)(void *self, int64_t deadline); /* what is sent gets confirmed; members made last first */
    void (*abandon)(void *self);                         /* the factory is closed: no more hope */
} cny_member;

/* Has the recovery thread look at everything again. Takes the factory's lock. */
void cny_factory_wake(coney_connection_factory *factory);

/* The member must leave before it goes away. CONEY_E_NO_MEMORY. */
coney_status cny_factory_join(coney_connection_factory *factory, const cny_member *member, void *self);
void cny_factory_leave(coney_connection_factory *factory, const void *self);

/* ---- what is to be declared ---- */

/* What one admin or listener brings. Reference-counted, because it may leave while it is being declared. */
typedef struct cny_declaration_set cny_declaration_set;

/* How a thing stands: wanted -> declared, found or refused; each of these -> wanted. */
typedef enum cny_declaration_state {
    CNY_DECLARATION_IDLE,   /* declared only when coney_admin_declare() asks for it */
    CNY_DECLARATION_WANTED, /* with an error: the last refusal, which may pass */
    CNY_DECLARATION_DECLARED,
    CNY_DECLARATION_FOUND,   /* refused, but it is there */
    CNY_DECLARATION_REFUSED, /* refused, and it is not there; tried again when it is due */
} cny_declaration_state;

/* Takes the topology, on failure, too. NULL without memory. */
cny_declaration_set *cny_declaration_set_new(coney_topology *topology, int timeout_ms);
cny_declaration_set *cny_declaration_set_ref(cny_declaration_set *set);
void cny_declaration_set_unref(cny_declaration_set *set); /* takes NULL */

/* From now on the set's things are declared, at once if there is a connection; automatic: on each new one.
 * CONEY_E_NO_MEMORY. leave: they are forgotten, not deleted. */
coney_status cny_declarations_join(coney_connection_factory *factory, cny_declaration_set *set, bool automatic);
void cny_declarations_leave(coney_connection_factory *factory, cny_declaration_set *set);

/* Declares the set now. Waits, as long as answers come, at most timeout_ms for one. The status and sentence are those
 * of the first refusal. */
coney_status cny_declarations_declare(coney_connection_factory *factory, cny_declaration_set *set, int timeout_ms);

/* How the items of a set stand: wanted as long as one is, refused if one is and none is wanted. Gives a reference to
 * the error of the first item that is not declared; NULL if there is none, or if an answer is still to come. accepts
 * decides about those that are found, by their names and the status of the refusal; under the factory's lock. */
typedef bool cny_accepts_found(const char *name, coney_status refusal, void *user);
cny_declaration_state cny_declaration_set_state(coney_connection_factory *factory, const cny_declaration_set *set,
                                                cny_accepts_found *accepts, void *user, cny_error **error);

/* The broker says that the queue is not there: it is wanted, with its bindings and their exchanges. False if nobody
 * in the factory declares it. */
bool cny_declarations_restore(coney_connection_factory *factory, const char *queue);

/* Somebody has declared the queue or exchange: its bindings are wanted. */
void cny_declarations_appeared(coney_connection_factory *factory, cny_declaration_kind kind, const char *name);

/* The queue or one of its bindings is wanted, and the broker has not refused it. A suspect is not awaited, for it may
 * be there; but the queue is if it is exclusive, or if must_be_there. Else gives a reference to why the queue is not
 * there, if that may pass; NULL: it is there, or nobody declares it, or it was refused for good. */
bool cny_declarations_awaits(coney_connection_factory *factory, const char *queue, bool must_be_there,
                             cny_error **refusal);

#define CNY_BROKERS_DELIVERY_LIMIT 20 /* of a quorum queue for which nobody sets one, from RabbitMQ 4.0 on */

/* What the declarations of the factory say of a queue. */
typedef struct cny_declared_queue {
    coney_queue_kind kind; /* CONEY_QUEUE_DEFAULT: they do not say */
    bool single_active_consumer;
    bool delays_failures;
    int64_t delivery_limit; /* if they do not say, the broker's; below 0: none */
    bool is_so;             /* the broker has taken a declaration of it, so its arguments are those that are declared */
} cny_declared_queue;

/* False if nobody in the factory declares it. */
bool cny_declarations_find_queue(coney_connection_factory *factory, const char *queue, cny_declared_queue *found);

/* Waits until a message may go there: until the exchange (for the default exchange the queue) and the bindings of it
 * that somebody in the factory declares are declared or finally refused. At the deadline the status is that of the
 * refusal, CONEY_E_CONNECT if there was none: nothing was sent. deadline 0: only looks. */
coney_status cny_declarations_wait(coney_connection_factory *factory, const char *exchange, const char *routing_key,
                                   int64_t deadline);

/* Changes when a message that had to wait may go. */
uint64_t cny_declarations_settled(coney_connection_factory *factory);

/* CONEY_OK, or why something that should be there is not. */
coney_status cny_declarations_check(coney_connection_factory *factory);

/* ---- requests over which the broker closes connections ----
 *
 * The broker's close of a connection names no channel, so every request of that kind that was not answered yet is a
 * suspect (cny_error_is_suspicion()). After the second such close a suspect is tried alone, on a third connection of
 * the factory that nobody else uses. A close of that connection is the answer to the suspect, and disturbs nobody. */

/* How often a request was a suspect: the broker closed the connection while the request was not answered yet, or gave
 * no answer in time and may still close the connection over that. Zeroed at first. The owner guards it. */
typedef struct cny_strikes {
    int count;
    int delay_ms;     /* of the last pause */
    int64_t retry_at; /* not before that time, as cny_now_ms() tells it */
} cny_strikes;

/* The request was a suspect, or was refused alone. The first two times it may be tried again at once, then after pauses
 * of 1 s, which double up to 30 s. */
void cny_strike(cny_strikes *strikes, int64_t now);
void cny_strikes_clear(cny_strikes *strikes); /* the broker has answered it */

enum {
    CNY_STRIKES_TO_ISOLATE = 2,
    CNY_STRIKES_TO_BE_ALONE = 3, /* one of these on the isolated connection, beside others */
};

/* No more strikes are needed: the request had no answer, or others like it did harm. */
static inline void cny_strikes_isolate(cny_strikes *strikes)
{
    if (strikes->count < CNY_STRIKES_TO_ISOLATE)
        strikes->count = CNY_STRIKES_TO_ISOLATE;
}

/* From now on it is to be tried on the isolated connection. */
static inline bool cny_must_isolate(const cny_strikes *strikes)
{
    return strikes->count >= CNY_STRIKES_TO_ISOLATE;
}

/* From now on it is to be tried there with no other request beside it. */
static inline bool cny_must_be_alone(const cny_strikes *strikes)
{
    return strikes->count >= CNY_STRIKES_TO_BE_ALONE;
}

/* Makes the factory's isolated connection and waits until it is open. Gives it: whoever has it uses it alone and ends
 * with cny_isolated_close(). There is one at a time, so callers wait for each other. It logs in as the consuming
 * connection does, at the same host first, and has a name of its own at the broker. Any thread that may wait, but not
 * the recovery thread, which makes it. CONEY_E_TIMEOUT at the deadline, CONEY_E_CLOSED, CONEY_E_NO_MEMORY,
 * CONEY_E_SYSTEM and whatever connecting answers. */
coney_status cny_isolated_connection(cny_connection **connection, coney_connection_factory *factory, int64_t deadline);

/* Closes it, waits a moment for that, and lets the next caller have one. Takes NULL. */
void cny_isolated_close(coney_connection_factory *factory, cny_connection *connection);

/* For synchronous sends. Messages for that exchange and routing key were suspects twice. */
bool cny_publish_must_isolate(coney_connection_factory *factory, const cny_publish *publish);

/* How one went, of which this thread's last error tells. */
void cny_publish_note(coney_connection_factory *factory, const cny_publish *publish, coney_status status);

/* Instead of cny_channel_publish_and_wait(): on the isolated connection, so that a refusal is this message's. The same
 * statuses, those of cny_isolated_connection(), and CONEY_E_CLOSED and CONEY_E_BLOCKED as for any other send. */
coney_status cny_publish_isolated(coney_connection_factory *factory, const cny_publish *publish, int64_t deadline);

#endif
