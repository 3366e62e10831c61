/* SPDX-License-Identifier: MIT */
/* Channels: opened, called, used for publishing and closed; see connection.h, which includes this header. */
#ifndef CNY_CONNECTION_CHANNELS_H
#define CNY_CONNECTION_CHANNELS_H

#include "amqp/amqp.h"
#include "rabbit/connection/confirms/confirms.h"

#include <coney/rabbit/admin.h>

typedef struct cny_connection cny_connection;
typedef struct cny_channel cny_channel;

/* ---- life ---- */

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

/* How many unconfirmed messages of a dead channel await being sent again. */
size_t cny_channel_awaiting_resend(cny_channel *channel);

/* Sends the oldest of these messages of `from` again, through `to`, which waits for its confirm from
 * then on. Both must not be in use by another cny_channel_resend(). CONEY_E_LIMIT: what is left has to wait until
 * its exchange or queue is declared; CONEY_E_BLOCKED: not now;
 * CONEY_E_STALE: `to` is gone; CONEY_E_NO_MEMORY. */
coney_status cny_channel_resend(cny_channel *to, cny_channel *from);

/* One of the messages that await resending made the broker close the channel, but the broker did not say which one. So
 * the messages are sent again one by one. When a channel has found the message, the others are released. */
bool cny_channel_seeks_poison(cny_channel *channel);
bool cny_channel_has_found_poison(cny_channel *channel);
void cny_channel_release_from_search(cny_channel *channel);

/* Completes what awaits resending with CONEY_E_CLOSED. */
void cny_channel_abandon_resend(cny_channel *channel);

#endif
