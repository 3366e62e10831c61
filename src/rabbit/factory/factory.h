/* SPDX-License-Identifier: MIT */
/* The connection factory, as the template, the admin and the container use it: the place where connections and channels
 * come from, what is declared, and what becomes of a request over which the broker closes connections.
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

/* True on the factory's events thread, on which callbacks run. */
bool cny_factory_on_events_thread(coney_connection_factory *factory);

/* The factory's events thread, as long as the factory exists. */
cny_events *cny_factory_events(coney_connection_factory *factory);

/* Has the callback run on the events thread, with no message. Borrows the error. False without memory, or if the events
 * thread has ended: the callback does not run then. */
bool cny_factory_post(coney_connection_factory *factory, coney_send_callback *callback, cny_error *error, void *user);

/* Makes the calling thread an internal thread of the factory, or of none (NULL): a thread that runs handlers, or sends
 * what was accepted earlier. An internal thread may send while the factory drains, and cannot wait for the factory's
 * end. Returns the factory of which the thread was an internal thread until now. */
const coney_connection_factory *cny_factory_set_internal_thread(const coney_connection_factory *factory);

/* CONEY_E_CLOSED from the beginning of the factory's close on, but not on internal threads and the events thread. */
coney_status cny_factory_check_draining(coney_connection_factory *factory);
bool cny_factory_is_draining(const coney_connection_factory *factory); /* the close has begun */

/* Waits until that time. CONEY_E_CLOSED, at once, when this thread may not send any more. */
coney_status cny_factory_sleep(coney_connection_factory *factory, int64_t until);

/* ---- its connections ---- */

/* Waits until the role's connection can be used. Begins to connect if nobody has needed the connection before.
 * - CONEY_E_CONNECT at the deadline
 * - CONEY_E_BLOCKED at the deadline if the broker holds back publishers
 * - CONEY_E_CLOSED
 * - the status of a connection that was given up, such as that of a refused login */
coney_status cny_factory_wait_open(coney_connection_factory *factory, coney_connection_role role, int64_t deadline);

/* The same, but waits for nothing but the end of the very first attempt to connect: without that nobody could begin. */
coney_status cny_factory_ensure_open(coney_connection_factory *factory, coney_connection_role role, int64_t deadline);

/* Begins to connect if nobody has needed the connection before. Waits for nothing.
 * - CONEY_E_CLOSED
 * - the status of a connection that was given up */
coney_status cny_factory_want(coney_connection_factory *factory, coney_connection_role role);

/* CONEY_OK unless the role's connection was given up; then the status says why. */
coney_status cny_factory_check_given_up(coney_connection_factory *factory, coney_connection_role role);

/* CONEY_E_BLOCKED, with the broker's reason, while the broker holds back publishers. */
coney_status cny_factory_check_blocked(coney_connection_factory *factory);

/* For how long the broker has held back publishers, in total. */
uint64_t cny_factory_blocked_us(coney_connection_factory *factory);

/* The state of the publishing connection before a reply is sent. */
typedef struct cny_reply_watch {
    uint64_t blocked_us;
    uint64_t times_opened; /* more means that the connection was opened again meanwhile */
} cny_reply_watch;

cny_reply_watch cny_factory_watch_reply(coney_connection_factory *factory);

/* The status is that of sending the reply, and this thread's last error. True if the broker would refuse the reply the
 * next time, too:
 * - its exchange does not exist, or this user may not write to the exchange
 * - the queue refuses the reply, or the reply is too large
 * - the broker closes the connection over it
 * - it is not confirmed in time although the connection was open and publishers were not held back all the while
 *
 * A refused login has the same status as a missing permission, and is no such case. */
bool cny_factory_is_reply_refused(coney_connection_factory *factory, const cny_reply_watch *before,
                                  coney_status status);

/* Opens a channel on the role's connection, and gives it. Connects if need be. While the broker holds back publishers
 * no publishing channel is opened: CONEY_E_BLOCKED at the deadline. at_once: waits neither for that nor for a
 * connection, except for the end of the very first attempt to connect. */
coney_status cny_channel_open(cny_channel **channel, coney_connection_factory *factory, coney_connection_role role,
                              bool at_once, int64_t deadline);

/* Opens a channel that consumes on the role's connection, and gives it. Waits for nothing but the subscription's
 * unblocked_by: the watcher is told how consuming begins. Returns the statuses of connecting, CONEY_E_BLOCKED,
 * CONEY_E_LIMIT, CONEY_E_INVALID or CONEY_E_NO_MEMORY. */
coney_status cny_channel_subscribe(cny_channel **channel, coney_connection_factory *factory, coney_connection_role role,
                                   const cny_subscription *subscription, const cny_watcher *watcher);

/* ---- members: templates and containers, which have a part in a factory's recovery and end ----
 *
 * A function may be NULL if it is not needed. The functions are called with no lock held: on_declaration on the thread
 * that declares, find_users on any thread, the last four on the thread that closes the factory, the others on the recovery thread. */

typedef void cny_tell_user(const char *sentence, void *to); /* takes no lock */

typedef struct cny_member {
    void (*ref)(void *self);
    void (*unref)(void *self);

    /* The broker has refused a declaration of any member of the factory. */
    void (*on_declaration)(void *self, const coney_declaration *declaration);

    /* True if the member has tried to resume consuming since the loss. Publishers wait for that. */
    bool (*has_resumed)(void *self);

    /* Sends again what a loss left unconfirmed. False: some is left, so this is called again soon. */
    bool (*resend)(void *self, cny_connection *connection);

    /* Runs due work. Returns when the next work is due, INT64_MAX for never. The member must call cny_factory_wake() if
     * that time becomes earlier. */
    int64_t (*on_tick)(void *self, int64_t now);

    /* Tells in sentences, such as "listener 'a' of container 'b'", what uses the queue by its name. Any thread. */
    void (*find_users)(void *self, const char *queue, cny_tell_user *tell, void *to);

    void (*begin_stop)(void *self, int64_t deadline); /* stops consuming */
    coney_status (*wait_stopped)(void *self, int64_t deadline);
    coney_status (*drain)(void *self, int64_t deadline); /* waits for confirms; the newest member is the first one */
    void (*abandon)(void *self);                         /* the factory is closed, so nothing is sent any more */
} cny_member;

/* Calls tell() for each member that uses a queue by its name. CONEY_E_NO_MEMORY. */
coney_status cny_factory_find_users(coney_connection_factory *factory, const char *queue, cny_tell_user *tell,
                                    void *to);

/* The member must leave before it is freed. CONEY_E_NO_MEMORY. */
coney_status cny_factory_join(coney_connection_factory *factory, const cny_member *member, void *self);
void cny_factory_leave(coney_connection_factory *factory, const void *self);

/* Wakes the recovery thread, which runs all due work. Takes the factory's lock. */
void cny_factory_wake(coney_connection_factory *factory);

/* ---- what is to be declared ---- */

/* What one admin or listener brings: a topology. Reference-counted, because the set may leave while it is declared. */
typedef struct cny_declaration_set cny_declaration_set;

/* wanted -> declared, found, refused or failed; each of these -> wanted. */
typedef enum cny_declaration_state {
    CNY_DECLARATION_IDLE,   /* declared only when coney_admin_declare() asks for it; or external, or forgotten */
    CNY_DECLARATION_WANTED, /* to be declared. It may have an error: the last refusal, which may pass */
    CNY_DECLARATION_DECLARED,
    CNY_DECLARATION_FOUND,   /* the broker has refused the declaration, but the thing is there */
    CNY_DECLARATION_REFUSED, /* the thing is not there; tried again when it is due */
    CNY_DECLARATION_FAILED,  /* the same after all repetitions of a thing with CONEY_REFUSAL_FAIL */
} cny_declaration_state;

typedef struct cny_set_options {
    int timeout_ms;            /* for the broker's answer to each declaration */
    bool refuses_unknown_ends; /* a binding is refused whose queue or exchange nobody in the factory declares */
} cny_set_options;

/* Takes the topology, also on failure. NULL without memory. */
cny_declaration_set *cny_declaration_set_new(coney_topology *topology, const cny_set_options *options);
cny_declaration_set *cny_declaration_set_ref(cny_declaration_set *set);
void cny_declaration_set_unref(cny_declaration_set *set); /* takes NULL */

/* From now on the set is declared, at once if there is a connection; automatic: and on each new connection. leave: the
 * set is forgotten, and nothing is deleted at the broker. CONEY_E_NO_MEMORY. */
coney_status cny_declarations_join(coney_connection_factory *factory, cny_declaration_set *set, bool automatic);
void cny_declarations_leave(coney_connection_factory *factory, cny_declaration_set *set);

/* Joins a set whose things were just declared on the channel. If the channel is dead, they are declared again. */
coney_status cny_declarations_join_declared(coney_connection_factory *factory, cny_declaration_set *set,
                                            cny_channel *channel);

/* Forgets a thing of a set and, if the thing is a queue or an exchange, its bindings in the set. thing: a name, or a
 * coney_binding. True: nothing is left in the set. */
bool cny_declaration_set_forget(coney_connection_factory *factory, cny_declaration_set *set, cny_declaration_kind kind,
                                const void *thing);

/* The first thing of the set is this coney_queue, coney_exchange or coney_binding, by its name. */
bool cny_declaration_set_is_of(const cny_declaration_set *set, cny_declaration_kind kind, const void *thing);

/* Declares the sets now. Waits for as long as answers come, and for each answer at most timeout_ms. Status and sentence
 * are those of the first refusal. */
coney_status cny_declarations_declare(coney_connection_factory *factory, cny_declaration_set *const *sets, size_t count,
                                      int timeout_ms);

/* Gives a copy of everything that the sets declare, each name once. CONEY_E_NO_MEMORY. */
coney_status cny_declarations_copy(coney_topology **copy, coney_connection_factory *factory);

/* The state of a set: WANTED if one of its items is, else REFUSED if one is, else DECLARED. Gives a reference to the
 * error of the first item that is not declared; NULL: there is none, or an answer is still to come. An item that was
 * FOUND counts as declared if accepts() says so; NULL: it does. accepts() is called under the factory's lock. */
typedef bool cny_accepts_found(const char *name, coney_status refusal, void *user);
cny_declaration_state cny_declaration_set_state(coney_connection_factory *factory, const cny_declaration_set *set,
                                                cny_accepts_found *accepts, void *user, cny_error **error);

/* The queue is not there, the broker says: the queue is wanted, and so are its bindings and their exchanges. False if
 * nobody in the factory declares the queue. */
bool cny_declarations_restore(coney_connection_factory *factory, const char *queue);

/* Somebody has declared the queue or exchange: its bindings are wanted. */
void cny_declarations_appeared(coney_connection_factory *factory, cny_declaration_kind kind, const char *name);

/* True if whoever consumes from the queue must wait: the queue or one of its bindings is wanted and not refused yet.
 * Nobody waits for a declaration on the isolated connection, because the queue may be there, unless the queue is
 * exclusive or must_be_there is true. If false, gives a reference to why the queue is not there, if that may pass.
 * NULL: the queue is there, nobody declares it, or it was refused for good. */
bool cny_declarations_awaits(coney_connection_factory *factory, const char *queue, bool must_be_there,
                             cny_error **refusal);

#define CNY_BROKERS_DELIVERY_LIMIT 20 /* of a quorum queue for which nobody sets one, from RabbitMQ 4.0 on */

/* What the declarations of the factory say of a queue. */
typedef struct cny_declared_queue {
    coney_queue_kind kind; /* CONEY_QUEUE_DEFAULT: they do not say */
    bool single_active_consumer;
    bool delays_failures;
    int64_t delivery_limit; /* if they do not say, the broker's; below 0: none */
    bool is_so;             /* the broker has accepted a declaration, so the queue has the declared arguments */
} cny_declared_queue;

/* False if nobody in the factory declares it. */
bool cny_declarations_find_queue(coney_connection_factory *factory, const char *queue, cny_declared_queue *found);

/* Waits until a message may be sent there: until the exchange (for the default exchange the queue) and its bindings, as
 * far as somebody in the factory declares them, are declared or refused for good. At the deadline the status is that of
 * the last refusal, or CONEY_E_CONNECT: nothing was sent. deadline 0: does not wait. */
coney_status cny_declarations_wait(coney_connection_factory *factory, const char *exchange, const char *routing_key,
                                   int64_t deadline);

/* A number that changes whenever a message that had to wait may have become free to go. */
uint64_t cny_declarations_changes(coney_connection_factory *factory);

/* CONEY_OK, or why something that should be there is not. */
coney_status cny_declarations_check(coney_connection_factory *factory);

/* Tells by the log that a queue, which the broker has accepted, may be refused by newer brokers. */
void cny_warn_of_transient_queue(const coney_queue *queue, int broker_version);

/* CONEY_OK, or the refusal of a thing that has failed. */
coney_status cny_declarations_check_failed(coney_connection_factory *factory);

/* ---- requests over which the broker closes connections ----
 *
 * When the broker closes a connection, it names at best the method of the request that it objects to. Each request of
 * that method that had no answer yet may be the reason, and gets a strike (cny_last_is_suspicion()). After two strikes
 * a request goes over the isolated connection, a third connection of the factory that carries nothing else. A close of
 * the isolated connection is the answer to the request, and disturbs nobody. */

/* Zeroed at first. Whoever has the struct guards it. */
typedef struct cny_strikes {
    int count;
    int delay_ms;     /* the last pause */
    int64_t retry_at; /* the request is not tried before this time of cny_now_ms() */
} cny_strikes;

enum {
    CNY_STRIKES_TO_ISOLATE = 2,
    CNY_STRIKES_TO_BE_ALONE = 3, /* one of these on the isolated connection, beside other requests */
};

/* The request may be the reason of a close, or was refused alone. After the first two strikes it may be tried again at
 * once, after later ones it pauses: for 1 s, then twice as long each time, at most 30 s. */
void cny_strike(cny_strikes *strikes, int64_t now);
void cny_strikes_clear(cny_strikes *strikes); /* the broker has answered the request */

/* The request needs no more strikes: it had no answer in time, or requests like it did harm. */
static inline void cny_strikes_isolate(cny_strikes *strikes)
{
    if (strikes->count < CNY_STRIKES_TO_ISOLATE)
        strikes->count = CNY_STRIKES_TO_ISOLATE;
}

/* The request is to be tried on the isolated connection. */
static inline bool cny_must_isolate(const cny_strikes *strikes)
{
    return strikes->count >= CNY_STRIKES_TO_ISOLATE;
}

/* The same, with no other request beside it. */
static inline bool cny_must_be_alone(const cny_strikes *strikes)
{
    return strikes->count >= CNY_STRIKES_TO_BE_ALONE;
}

/* Makes the factory's isolated connection, waits until it is open, and gives it. The caller uses it alone and must end
 * with cny_isolated_close(); other callers wait until then. The connection logs in as the consuming connection does, at
 * the same host first, and has a name of its own at the broker. Not on the recovery thread, which makes the connection.
 * - CONEY_E_TIMEOUT at the deadline
 * - CONEY_E_CLOSED, CONEY_E_NO_MEMORY, CONEY_E_SYSTEM
 * - the status of an attempt to connect */
coney_status cny_isolated_connection(cny_connection **connection, coney_connection_factory *factory, int64_t deadline);

/* Closes the isolated connection, waits a moment for that, and lets the next caller have one. Takes NULL. */
void cny_isolated_close(coney_connection_factory *factory, cny_connection *connection);

/* A synchronous send to the exchange and routing key of this message has two strikes. */
bool cny_publish_must_isolate(coney_connection_factory *factory, const cny_publish *publish);

/* Takes note of the status of a synchronous send, which is this thread's last error. */
void cny_publish_note_outcome(coney_connection_factory *factory, const cny_publish *publish, coney_status status);

/* cny_channel_publish_and_wait() on the isolated connection, so that a close is about this message. The same statuses,
 * those of cny_isolated_connection(), CONEY_E_CLOSED, and CONEY_E_BLOCKED. */
coney_status cny_publish_isolated(coney_connection_factory *factory, const cny_publish *publish, int64_t deadline);

#endif
