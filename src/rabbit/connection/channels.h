/* SPDX-License-Identifier: MIT */
/* Channels: opened, called, used for publishing and closed; see connection.h, which includes this header. */
#ifndef CNY_CONNECTION_CHANNELS_H
#define CNY_CONNECTION_CHANNELS_H

#include "amqp/amqp.h"
#include "rabbit/connection/confirms/confirms.h"
#include "topology/topology.h"

#include <coney/rabbit/admin.h>

typedef struct cny_connection cny_connection;
typedef struct cny_channel cny_channel;

/* ---- life ---- */

/* Opens a channel, and gives it. While the broker holds back publishers a publishing one is not opened: CONEY_E_BLOCKED
 * at the deadline; at_once: without waiting for that. */
coney_status cny_channel_open_on(cny_channel **channel, cny_connection *connection, bool at_once, int64_t deadline);
cny_channel *cny_channel_ref(cny_channel *channel);
void cny_channel_unref(cny_channel *channel);

/* Neither we nor the broker have closed the channel, as far as is known. */
bool cny_channel_alive(cny_channel *channel);

/* The broker has cancelled the channel's consumer, and the reason is not known yet (cancellation.c). Nothing can be
 * settled now, and the deliveries that have come wait. Later either the channel is gone, or the queue is gone and the
 * deliveries are handled. A channel that is gone is not suspended, so a caller who asks both must ask this first. */
bool cny_channel_is_suspended(cny_channel *channel);

/* CONEY_OK if the channel is alive, else the reason why it is not. */
coney_status cny_channel_check(cny_channel *channel);

int cny_channel_broker_version(const cny_channel *channel);

/* CONEY_E_INVALID if the broker's version is below the needed one (see CNY_BROKER_VERSION()) and the broker would
 * ignore `what`. The sentence of the error ends with the way out. */
coney_status cny_channel_check_release(const cny_channel *channel, int needed, const char *what, const char *way_out);

/* Why the channel is not alive any more; gives a reference. NULL: it is alive. */
cny_error *cny_channel_reason(cny_channel *channel);

/* Closes the channel and does not wait for the broker's close-ok. Calls that wait on the channel fail with
 * CONEY_E_CLOSED, and unacknowledged deliveries go back to their queue. A second call does nothing. */
void cny_channel_close(cny_channel *channel);

/* Closes the channel and waits for the broker's close-ok: then all settlements have reached the queue. A broker that
 * holds back publishers does not read, so its close-ok is not waited for. */
void cny_channel_close_and_wait(cny_channel *channel, int64_t deadline);

/* ---- methods with a reply ---- */

coney_status cny_channel_confirm_select(cny_channel *channel, const cny_confirm_options *options, int64_t deadline);

/* Transactions. The channel must not have confirms. After a failure the channel is dead. */
coney_status cny_channel_tx_select(cny_channel *channel, int64_t deadline);
coney_status cny_channel_tx_commit(cny_channel *channel, int64_t deadline);
coney_status cny_channel_tx_rollback(cny_channel *channel, int64_t deadline);

coney_status cny_channel_declare_queue(cny_channel *channel, const coney_queue *queue, bool passive,
                                       coney_queue_info *info, int64_t deadline);
coney_status cny_channel_declare_exchange(cny_channel *channel, const coney_exchange *exchange, bool passive,
                                          int64_t deadline);
coney_status cny_channel_bind(cny_channel *channel, const coney_binding *binding, int64_t deadline);
coney_status cny_channel_unbind(cny_channel *channel, const coney_binding *binding, int64_t deadline);
coney_status cny_channel_delete_queue(cny_channel *channel, const char *queue, const coney_delete_options *options,
                                      uint32_t *messages, int64_t deadline);
coney_status cny_channel_delete_exchange(cny_channel *channel, const char *exchange, bool if_unused, int64_t deadline);
coney_status cny_channel_purge(cny_channel *channel, const char *queue, uint32_t *messages, int64_t deadline);

/* What can be declared, in the order in which it is declared. */
typedef enum cny_declaration_kind {
    CNY_DECLARE_EXCHANGE,
    CNY_DECLARE_QUEUE,
    CNY_DECLARE_EXCHANGE_BINDING,
    CNY_DECLARE_QUEUE_BINDING,
} cny_declaration_kind;

static inline cny_declaration_kind cny_binding_kind(const coney_binding *binding)
{
    return binding->to_exchange ? CNY_DECLARE_EXCHANGE_BINDING : CNY_DECLARE_QUEUE_BINDING;
}

/* Sends a declaration and does not wait for the answer, so that many are on their way at a time. The channel must be
 * used for nothing else, and all declarations on their way must be of one kind. The thing is a coney_exchange,
 * coney_queue or coney_binding. CONEY_E_INVALID, CONEY_E_NO_MEMORY, or why the channel is gone. */
coney_status cny_channel_send_declaration(cny_channel *channel, cny_declaration_kind kind, const void *thing,
                                          bool passive);

/* Waits until at most `left` declarations are unanswered, and tells how many are. CONEY_E_TIMEOUT: the oldest one was
 * not answered within timeout_ms after the one before it. Another status: why the channel is gone; if the broker has
 * closed the channel, the oldest unanswered declaration is the reason. */
coney_status cny_channel_await_declarations(cny_channel *channel, size_t left, int timeout_ms, size_t *unanswered);

/* ---- publishing, after confirm_select unless said otherwise ---- */

/* Whether the message can be sent at all, as far as that is known without a connection, and how many bytes it takes.
 * CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
coney_status cny_publish_check(const cny_publish *publish, size_t *bytes);

/* Puts the message on its way. Its outcome comes to the callback, on the events thread. If the status is none of
 * CONEY_OK, nothing was sent: CONEY_E_STALE: the channel was dead already; CONEY_E_BLOCKED: the broker holds back
 * publishers; CONEY_E_LIMIT: there was no room; CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
coney_status cny_channel_publish(cny_channel *channel, const cny_publish *publish, int64_t deadline);

/* The same, but waits for the outcome and returns it. Callback and waiter do not count. */
coney_status cny_channel_publish_and_wait(cny_channel *channel, const cny_publish *publish, int64_t deadline);

/* The same on a channel without confirms: there is no outcome, but see cny_channel_take_returned(). Callback and waiter
 * do not count. */
coney_status cny_channel_publish_unconfirmed(cny_channel *channel, const cny_publish *publish, int64_t deadline);

/* A thread more (1) or less (-1) waits for something that comes by the channel's connection: meanwhile reads are not
 * coalesced. Any thread, no lock is needed. */
void cny_channel_await(cny_channel *channel, int threads);

/* On a channel without confirms: how many messages came back since the last call. Gives the reason of the first one,
 * NULL if none came back. */
size_t cny_channel_take_returned(cny_channel *channel, cny_error **first);

/* From now on failures of messages without callback or waiter are counted and not logged. The second function returns
 * their number since its last call, and gives the error that tells most: a refusal rather than a loss. */
void cny_channel_tally_failures(cny_channel *channel);
size_t cny_channel_take_failures(cny_channel *channel, cny_error **first);

/* How many messages are unfinished: they are unconfirmed, or their callbacks have not returned. Waiting until there is
 * none tells whether that was reached by the deadline; for_confirms answers CONEY_E_TIMEOUT if not. */
size_t cny_channel_unfinished(cny_channel *channel);
bool cny_channel_finished(cny_channel *channel);
bool cny_channel_wait_until_finished(cny_channel *channel, int64_t deadline);
coney_status cny_channel_wait_for_confirms(cny_channel *channel, int64_t deadline);

/* Waits until the broker has confirmed or refused every message that has not expired. Callbacks may still run then. */
bool cny_channel_wait_for_outcomes(cny_channel *channel, int64_t deadline);

/* Adds the counts of the channel to the sum. */
void cny_channel_add_statistics(cny_channel *channel, coney_send_statistics *sum);

/* Appends a cny_unconfirmed for each message that was sent for the first time no later than until_us, oldest first.
 * CONEY_E_NO_MEMORY. */
coney_status cny_channel_list_unconfirmed(cny_channel *channel, int64_t until_us, cny_buffer *list, cny_arena *arena);

/* Completes with CONEY_E_TIMEOUT the asynchronous sends whose confirm did not come in time. Returns when the next one
 * is due, INT64_MAX if there is none. */
int64_t cny_channel_expire(cny_channel *channel, int64_t now);

/* How many unconfirmed messages of a dead channel await being sent again. */
size_t cny_channel_awaiting_resend(cny_channel *channel);

/* Sends the oldest of these messages of `from` again, through `to`, which waits for the confirm from then on. No other
 * thread may call this for one of the two channels at the same time.
 * CONEY_E_LIMIT: all messages that are left wait until their exchange or queue is declared;
 * CONEY_E_BLOCKED: not now, try again later;
 * CONEY_E_STALE: `to` is gone;
 * CONEY_E_NO_MEMORY. */
coney_status cny_channel_resend(cny_channel *to, cny_channel *from);

/* One of the messages that await resending made the broker close the channel, but the broker did not say which one. So
 * the messages are sent again one by one. When a channel has found the message, the others are released. */
bool cny_channel_seeks_poison(cny_channel *channel);
bool cny_channel_has_found_poison(cny_channel *channel);
void cny_channel_release_from_search(cny_channel *channel);

/* Completes all messages that await resending with CONEY_E_CLOSED. */
void cny_channel_abandon_resend(cny_channel *channel);

#endif
