/* SPDX-License-Identifier: MIT */
/* Connections and channels, as the template, the admin and the container use them.
 *
 * A cny_connection is one physical connection: it connects, opens, and ends once, for one
 * reason. A cny_channel belongs to one connection and ends with it or before it; what ended is
 * never revived, so a channel object is its own generation: an acknowledgement kept for a dead
 * one cannot reach its successor. Recovery makes new ones in the factory.
 *
 * All functions may be called from any thread but the I/O thread, wait at most until their
 * deadline (cny_deadline()), and leave the reason of a failure with coney_last_error(). */
#ifndef CNY_CONNECTION_H
#define CNY_CONNECTION_H

#include "amqp/amqp.h"
#include "rabbit/connection/config.h"
#include "rabbit/connection/confirms/confirms.h"

#include <coney/rabbit/admin.h>
#include <coney/rabbit/connection_factory.h>

typedef struct cny_connection cny_connection;
typedef struct cny_channel cny_channel;
typedef struct cny_events cny_events;

/* ---- one connection, as who makes it and keeps it uses it ---- */

/* What a connection needs of its owner, whom it knows no further. Any thread may call these, with no lock held. */
typedef struct cny_connection_owner {
    void (*ref)(void *self);
    void (*unref)(void *self);
    void (*wake)(void *self); /* there is something to see: its state, a remark, a channel that was closed */
    void (*blocked_changed)(void *self, cny_connection *connection); /* the broker holds back publishers, or no more */
    bool (*may_send)(void *self, const char *exchange, const char *routing_key); /* it is declared, if it is to be */
} cny_connection_owner;

/* What a connection is made of. All of it must live until the connection has ended and the owner is unreferenced. */
typedef struct cny_connection_parts {
    const cny_connection_owner *owner;
    void *self;
    const cny_connection_config *config;
    cny_events *events;
    cny_threads *threads;
    atomic_ullong *stale_acknowledgements; /* counts those that came too late for their connection */
    coney_connection_role role;
    bool is_isolated;  /* see cny_accuse() */
    size_t first_host; /* of the URI's, in the order of which this attempt goes on, */
    size_t lost_host;  /* but for this one, which comes last; CNY_NO_HOST: none was just lost */
} cny_connection_parts;

#define CNY_NO_HOST SIZE_MAX

/* connecting -> open -> closing -> dead; each may skip to dead. */
typedef enum cny_connection_state { CNY_CONNECTING, CNY_OPEN, CNY_CLOSING, CNY_DEAD } cny_connection_state;

/* Starts the I/O thread, which connects at once. It takes the URI's user and password where credentials have none. */
coney_status cny_connection_new(cny_connection **connection, const cny_connection_parts *parts,
                                const coney_credentials *credentials);
cny_connection *cny_connection_ref(cny_connection *connection);
void cny_connection_unref(cny_connection *connection); /* takes NULL */
cny_connection_state cny_connection_get_state(cny_connection *connection);
bool cny_connection_is_open(cny_connection *connection);
bool cny_connection_is_dead(cny_connection *connection);
bool cny_connection_is_over_request(cny_connection *connection); /* the broker closed it for what a channel asked or
                                                                    sent */
coney_connection_role cny_connection_role(const cny_connection *connection);
const char *cny_connection_user(const cny_connection *connection);  /* who is logged in */
size_t cny_connection_host(cny_connection *connection);             /* index of the URI's that is tried or used */
cny_error *cny_connection_reason(cny_connection *connection);       /* why it is dead; gives a reference */
const char *cny_connection_take_remark(cny_connection *connection); /* to be logged, or NULL */
void cny_connection_blocked(cny_connection *connection, char reason[256]); /* "": the broker takes messages */

/* Ends it for what this thread's last error tells. */
void cny_connection_abort(cny_connection *connection);
coney_status cny_connection_update_secret(cny_connection *connection, const char *secret);

/* Asks for an orderly close by the deadline, and waits until the I/O thread has ended. Together
 * they are a close; two steps, so that several connections close at the same time. False if the
 * thread still runs: it is stuck in name resolution, and keeps what it needs. */
void cny_connection_begin_close(cny_connection *connection, int64_t deadline);
bool cny_connection_wait_ended(cny_connection *connection, int64_t deadline);

/* ---- channels ---- */

/* Opens a channel, and gives it. While the broker holds back publishers a publishing one is not opened: CONEY_E_BLOCKED
 * at the deadline; at_once: without waiting for that. */
coney_status cny_channel_open_on(cny_channel **channel, cny_connection *connection, bool at_once, int64_t deadline);
cny_channel *cny_channel_ref(cny_channel *channel);
void cny_channel_unref(cny_channel *channel);

/* Neither closed by us nor by the broker, as far as is known. */
bool cny_channel_alive(cny_channel *channel);

/* The broker has cancelled its consumer, and the reason for that is not known yet (cancellation.c): nothing can be
 * settled now, and what has come waits. Then the channel is gone, or the queue is, and what has come is handled. One
 * that is gone is not suspended: who asks both asks this first. */
bool cny_channel_is_suspended(cny_channel *channel);

/* CONEY_OK if it is alive, else why it is not. */
coney_status cny_channel_check(cny_channel *channel);

/* CONEY_E_INVALID if the broker is older than that (as CNY_BROKER_VERSION() makes it) and would ignore what is named;
 * the sentence ends with the way out. */
coney_status cny_channel_check_release(const cny_channel *channel, int needed, const char *what, const char *way_out);
/* Why it is not alive any more; gives a reference. NULL if it is. */
cny_error *cny_channel_reason(cny_channel *channel);

/* Closes it without waiting for the broker's close-ok; what waits on it fails with
 * CONEY_E_CLOSED, unacknowledged deliveries go back to their queue. Idempotent. */
void cny_channel_close(cny_channel *channel);

/* Closes it and waits for the broker's close-ok, which says that whatever was settled before has got to
 * its queue. Not for a broker that holds back publishers: it does not read. */
void cny_channel_close_and_wait(cny_channel *channel, int64_t deadline);

/* ---- methods with a reply ---- */

coney_status cny_channel_confirm_select(cny_channel *channel, const cny_confirm_options *options, int64_t deadline);

/* Transactions; never on a channel with confirms. After a failure the channel is dead. */
coney_status cny_channel_tx_select(cny_channel *channel, int64_t deadline);
coney_status cny_channel_tx_commit(cny_channel *channel, int64_t deadline);
coney_status cny_channel_tx_rollback(cny_channel *channel, int64_t deadline);

coney_status cny_channel_declare_queue(cny_channel *channel, const coney_queue *queue, bool passive,
                                       coney_queue_info *info, int64_t deadline);
coney_status cny_channel_declare_exchange(cny_channel *channel, const coney_exchange *exchange, int64_t deadline);
coney_status cny_channel_bind(cny_channel *channel, const coney_binding *binding, int64_t deadline);
coney_status cny_channel_unbind(cny_channel *channel, const coney_binding *binding, int64_t deadline);
coney_status cny_channel_delete_queue(cny_channel *channel, const char *queue, uint32_t *messages, int64_t deadline);
coney_status cny_channel_delete_exchange(cny_channel *channel, const char *exchange, int64_t deadline);
coney_status cny_channel_purge(cny_channel *channel, const char *queue, uint32_t *messages, int64_t deadline);

/* What can be declared, in the order in which things are. */
typedef enum cny_declaration_kind {
    CNY_DECLARE_EXCHANGE,
    CNY_DECLARE_QUEUE,
    CNY_DECLARE_EXCHANGE_BINDING,
    CNY_DECLARE_QUEUE_BINDING,
} cny_declaration_kind;

/* Declarations, many on their way at a time; on a channel for nothing else. Sends one and does not wait for its
 * answer; those on their way must be of the same kind. The thing is a coney_exchange, coney_queue or coney_binding.
 * CONEY_E_INVALID, CONEY_E_NO_MEMORY, or why the channel is gone. */
coney_status cny_channel_send_declaration(cny_channel *channel, cny_declaration_kind kind, const void *thing,
                                          bool passive);

/* Waits until no more than so many of them are unanswered, and tells how many are. CONEY_E_TIMEOUT: the oldest has
 * not been answered within timeout_ms after the one before it; else why the channel is gone, over the oldest
 * unanswered one if the broker says so. */
coney_status cny_channel_await_declarations(cny_channel *channel, size_t left, int timeout_ms, size_t *unanswered);

/* ---- publishing, after confirm_select unless said otherwise ---- */

/* Whether it can be sent at all, as far as can be known without a connection, and the bytes that takes.
 * CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
coney_status cny_publish_check(const cny_publish *publish, size_t *bytes);

/* Puts the message on its way; its outcome comes to the callback on the events thread.
 * CONEY_E_STALE: the channel was dead already; CONEY_E_BLOCKED: the broker holds back
 * publishers; CONEY_E_LIMIT: there is no room. Nothing was sent then. */
coney_status cny_channel_publish(cny_channel *channel, const cny_publish *publish, int64_t deadline);

/* The same, and waits for the outcome, which it returns. Callback and waiter are not looked at. */
coney_status cny_channel_publish_and_wait(cny_channel *channel, const cny_publish *publish, int64_t deadline);

/* On a channel without confirms, and that is all anyone will hear of it, but for
 * cny_channel_take_returned(). Callback and waiter are not looked at. Statuses as cny_channel_publish(). */
coney_status cny_channel_publish_unconfirmed(cny_channel *channel, const cny_publish *publish, int64_t deadline);

/* How many messages came back since the last time, on a channel without confirms; gives the reason
 * of the first one, NULL if there is none. */
size_t cny_channel_take_returned(cny_channel *channel, cny_error **first);

/* From now on failures of messages without callback or waiter are counted instead of logged. Taking
 * gives their number since the last time and the one that tells most: a refusal rather than a loss. */
void cny_channel_tally_failures(cny_channel *channel);
size_t cny_channel_take_failures(cny_channel *channel, cny_error **first);
/* How many are unconfirmed, or their callbacks have not returned; finished: none. Waiting tells whether that was
 * reached; for_confirms says so with CONEY_E_TIMEOUT. */
size_t cny_channel_unfinished(cny_channel *channel);
bool cny_channel_finished(cny_channel *channel);
bool cny_channel_wait_until_finished(cny_channel *channel, int64_t deadline);
coney_status cny_channel_wait_for_confirms(cny_channel *channel, int64_t deadline);

/* Waits until the broker has spoken about every message that has not expired; callbacks may run yet. */
bool cny_channel_wait_until_settled(cny_channel *channel, int64_t deadline);

/* Adds what the channel counted. */
void cny_channel_add_statistics(cny_channel *channel, coney_send_statistics *sum);

/* Appends, oldest first, those sent for the first time no later than that. CONEY_E_NO_MEMORY. */
coney_status cny_channel_list_unconfirmed(cny_channel *channel, int64_t until_us, cny_buffer *list, cny_arena *arena);

/* Completes the asynchronous sends that have waited for their confirm too long with CONEY_E_TIMEOUT;
 * returns when the next one will have, INT64_MAX if there is none. */
int64_t cny_channel_expire(cny_channel *channel, int64_t now);

/* How many unconfirmed messages a dead channel has kept. */
size_t cny_channel_kept(cny_channel *channel);

/* Sends the oldest message that `from` kept again, through `to`, which waits for its confirm from
 * then on. Both must not be in use by another cny_channel_resend(). CONEY_E_LIMIT: what is left has to wait until
 * its exchange or queue is declared; CONEY_E_BLOCKED: not now;
 * CONEY_E_STALE: `to` is gone; CONEY_E_NO_MEMORY. */
coney_status cny_channel_resend(cny_channel *to, cny_channel *from);

/* One of the messages that the channel kept made the broker close it, but which it did not say: they
 * are sent again one by one. A channel that found the one acquits those left on others. */
bool cny_channel_is_suspect(cny_channel *channel);
bool cny_channel_found_culprit(cny_channel *channel);
void cny_channel_acquit(cny_channel *channel);

/* Completes what it kept with CONEY_E_CLOSED. */
void cny_channel_abandon_kept(cny_channel *channel);

/* ---- consuming ---- */

coney_status cny_channel_consume(cny_channel *channel, const cny_consume *consume, int prefetch, int64_t deadline);

/* Told of a channel by the I/O thread, under the connection's lock: nothing but another thread may be woken. */
typedef struct cny_watcher {
    void (*on_deliveries)(void *self); /* there are some, for the first time since they were taken */
    void (*on_change)(void *self);     /* it consumes, or no more will come */
    void (*on_skipped)(void *self, const coney_message *message); /* goes back unhandled; it lacks its body */
    void *self;
} cny_watcher;

/* What consumers may hold together; it must live until their channels are not watched any more. */
typedef struct cny_holding {
    size_t bound;        /* in bytes; fixed */
    atomic_size_t bytes; /* of deliveries that are not settled */
    atomic_int consumers;
    atomic_bool is_refused; /* the broker closed a channel or the connection over a renewal: there is none any more */
} cny_holding;

/* A consumer that subscribes anew uses its tag with this and a number after it; see renewal.c. */
#define CNY_RENEWED_TAG "~"

typedef struct cny_subscription {
    cny_consume consume;
    int prefetch;
    int first_prefetch; /* if it is renewed: the prefetch that it begins with */
    bool is_renewed;    /* it may subscribe anew with another prefetch, for the sake of its holding */
    bool transacted;
    bool is_stream;       /* which takes acknowledgements only */
    bool is_delayed;      /* its queue holds back what has failed, as RabbitMQ 4.3 can */
    cny_holding *holding; /* NULL: nothing bounds what it holds but its prefetch */
} cny_subscription;

/* Opens a channel that consumes, and waits for nothing: the watcher learns how it went. Gives it. CONEY_E_LIMIT,
 * CONEY_E_INVALID, CONEY_E_NO_MEMORY, or why the connection is gone. */
coney_status cny_channel_subscribe_on(cny_channel **channel, cny_connection *connection, const cny_subscription *what,
                                      const cny_watcher *watcher);
void cny_channel_unwatch(cny_channel *channel); /* once it returns the watcher is not called any more */

typedef enum cny_feed_state {
    CNY_FEED_BEGINNING, /* the broker has not answered yet */
    CNY_FEED_ON,
    CNY_FEED_ENDED, /* no more will come */
} cny_feed_state;

/* How consuming goes; gives why it ended, or is suspended, NULL if it is not or cny_channel_cancel() ended it. */
cny_feed_state cny_channel_feed(cny_channel *channel, cny_error **reason);

/* Consumes, as far as is known. */
bool cny_channel_is_consuming(cny_channel *channel);

/* The consumer's tag. A view as long as the channel consumes. */
const char *cny_channel_consumer_tag(cny_channel *channel);

/* One message of the queue if there is one now, else NULL. Gives it, unacknowledged. */
coney_status cny_channel_get(cny_channel *channel, const char *queue, coney_message **message, int64_t deadline);

/* Asks the broker for no more deliveries; those on their way still come before the end. */
void cny_channel_cancel(cny_channel *channel);

/* Takes no more deliveries, and leaves the consumer to its queue: a queue that serves one consumer at a time gives
 * nothing to the next one before the channel is closed. Then everything goes back together, in its order: what comes
 * from now on, and what is to go back, of which the broker is not told before. */
void cny_channel_keep_consumer(cny_channel *channel);

/* Waits for deliveries and swaps all that are there into the empty batch, as coney_message
 * pointers which are the caller's. When no more will come: CONEY_OK with an empty batch if
 * cny_channel_cancel() ended it, else why it ended. CONEY_E_TIMEOUT. */
coney_status cny_channel_receive(cny_channel *channel, cny_buffer *batch, int64_t deadline);

/* The same without waiting; false if there are none, or they would have to be settled and cannot. */
bool cny_channel_take(cny_channel *channel, cny_buffer *batch);
bool cny_channel_has_deliveries(cny_channel *channel);
bool cny_channel_is_full(cny_channel *channel); /* so that nothing is read until they are taken */

/* What nobody has taken, whether or not it can be settled, into the empty buffer: also what has come while the consumer
 * was kept. The messages are the caller's; tells how many of them, the first ones, came before that. */
size_t cny_channel_take_rest(cny_channel *channel, cny_buffer *rest);

typedef enum cny_settlement {
    CNY_SETTLE_ACK,
    CNY_SETTLE_ACK_UP_TO, /* and all before it */
    CNY_SETTLE_REJECT,
    CNY_SETTLE_REQUEUE,
    CNY_SETTLE_RETURN, /* to the queue, and that is no failure (basic.nack): since RabbitMQ 4.3 only basic.reject counts
                          towards a delivery limit */
} cny_settlement;

/* CONEY_E_STALE if the channel is gone or suspended: nothing was sent, the broker delivers again. */
coney_status cny_channel_settle(cny_channel *channel, uint64_t delivery_tag, cny_settlement settlement);

/* The same of a consumer that has a holding: so many deliveries are settled (one, unless it is CNY_SETTLE_ACK_UP_TO),
 * which held so many bytes together. */
coney_status cny_channel_settle_held(cny_channel *channel, uint64_t delivery_tag, cny_settlement settlement,
                                     size_t count, size_t bytes);

/* How many messages the consumer may have unsettled at present; 0: no limit. */
int cny_channel_prefetch(cny_channel *channel);

#endif
