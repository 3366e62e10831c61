/* SPDX-License-Identifier: MIT */
/* Consuming on a channel: how it begins, what comes, how it is settled and how it ends. The I/O thread
 * feeds; who takes either waits (cny_channel_receive()) or has a watcher told, which must not wait for anything. */
#include "rabbit/connection/internal.h"

#include <stdio.h>
#include <string.h>

static void free_messages(cny_buffer *buffer)
{
    coney_message **messages = (coney_message **)(void *)buffer->data;
    for (size_t i = 0; i < buffer->size / sizeof *messages; i++)
        coney_message_unref(messages[i]);
    cny_buffer_free(buffer);
}

void cny_feed_free(cny_feed *feed)
{
    free_messages(&feed->deliveries);
    free_messages(&feed->late);
    cny_error_unref(feed->reason);
    cny_renewal_free(&feed->renewal);
}

void cny_feed_tell_change(cny_channel *channel)
{
    const cny_watcher *watcher = &channel->feed.watcher;
    pthread_cond_broadcast(&channel->changed);
    if (watcher->on_change)
        watcher->on_change(watcher->self);
}

/* With a prefetch the broker keeps it short. Without one the bytes stay in the socket, and then at the broker, until
 * somebody takes what is here: other consumers of the connection wait as well, but memory has an end. */
#define FULL_BYTES ((size_t)16 * 1024 * 1024)

static void set_full(cny_channel *channel, bool full)
{
    cny_connection *connection = channel->connection;
    if (channel->feed.full == full)
        return;
    channel->feed.full = full;
    connection->full_feeds += full ? 1 : -1;
    if (full)
        cny_feed_tell_change(channel);
    if (connection->full_feeds == 0)
        cny_connection_wake(connection);
}

/* ---- subscribing ---- */

static coney_status encode_subscription(cny_channel *channel, const cny_subscription *what, cny_buffer *out)
{
    uint16_t number = channel->number;
    coney_status status = what->is_delayed
                              ? cny_channel_check_release(channel, CNY_BROKER_VERSION(4, 3), "retry.delayed_by_queue",
                                                          "wait with retry.delays_ms instead")
                              : CONEY_OK;
    if (status == CONEY_OK)
        status = cny_encode_channel_open(out, number);
    if (status == CONEY_OK)
        status = cny_encode_qos(out, number, (uint16_t)cny_renewal_first_prefetch(what));
    if (status == CONEY_OK && what->transacted)
        status = cny_encode_tx_select(out, number);
    if (status == CONEY_OK)
        status = cny_encode_consume(out, number, channel->connection->limits.frame_max, &what->consume);
    return status;
}

/* All four methods in one go, for a broker answers one after another. The first it refuses closes the channel. */
coney_status cny_channel_subscribe_on(cny_channel **channel, cny_connection *connection, const cny_subscription *what,
                                      const cny_watcher *watcher)
{
    uint8_t room[1024];
    cny_buffer frames;
    cny_channel *made = cny_channel_new(connection, true, 0);
    if (!made)
        return coney_last_error_details()->status;
    cny_buffer_on_stack(&frames, room, sizeof room);
    coney_status status = encode_subscription(made, what, &frames);
    if (status == CONEY_OK && what->holding && !cny_renewal_init(&made->feed.renewal, what))
        status = cny_fail_memory();
    cny_channel_lock(made);
    if (status == CONEY_OK && made->reason)
        status = cny_error_raise(made->reason);
    else if (status == CONEY_OK && !cny_buffer_append(&connection->outgoing.bytes, frames.data, frames.size))
        status = cny_fail_memory();
    if (status == CONEY_OK) {
        *channel = made; /* before the watcher may need it */
        made->feed.watcher = *watcher;
        snprintf(made->feed.queue, sizeof made->feed.queue, "%s", what->consume.queue);
        made->feed.subscribing = true;
        made->feed.prefetch = what->consume.no_ack ? 0 : cny_renewal_first_prefetch(what);
        if (what->holding)
            cny_renewal_join(&made->feed.renewal, what->holding);
        made->feed.no_ack = what->consume.no_ack;
        made->feed.is_stream = what->is_stream;
        cny_connection_appended(connection, frames.size);
    }
    cny_channel_unlock(made);
    cny_buffer_free(&frames);
    if (status == CONEY_OK)
        return CONEY_OK;
    cny_channel_forget(made);
    cny_channel_unref(made);
    return status;
}

void cny_channel_unwatch(cny_channel *channel)
{
    cny_channel_lock(channel);
    channel->feed.watcher = (cny_watcher){0};
    cny_renewal_leave(channel);
    cny_channel_unlock(channel);
}

/* ---- how it goes ---- */

cny_feed_state cny_channel_feed(cny_channel *channel, cny_error **reason)
{
    const cny_feed *feed = &channel->feed;
    cny_feed_state state = CNY_FEED_ON;
    *reason = NULL;
    cny_channel_lock(channel);
    if (feed->ended) {
        state = CNY_FEED_ENDED;
        *reason = cny_error_ref(feed->reason ? feed->reason : channel->reason);
    } else if (feed->reason) {
        *reason = cny_error_ref(feed->reason);
    } else if (!feed->consumer_tag[0]) {
        state = CNY_FEED_BEGINNING;
    }
    cny_channel_unlock(channel);
    return state;
}

bool cny_channel_is_consuming(cny_channel *channel)
{
    cny_channel_lock(channel);
    const cny_feed *feed = &channel->feed;
    bool consuming = !channel->reason && feed->consumer_tag[0] && !feed->ended && !feed->reason;
    cny_channel_unlock(channel);
    return consuming;
}

const char *cny_channel_consumer_tag(cny_channel *channel)
{
    cny_channel_lock(channel); /* it is written once, by the I/O thread */
    const char *tag = channel->feed.consumer_tag[0] ? channel->feed.consumer_tag : "";
    cny_channel_unlock(channel);
    return tag;
}

static void send_cancel(cny_channel *channel)
{
    cny_connection *connection = channel->connection;
    size_t before = connection->outgoing.bytes.size;
    if (cny_encode_cancel(&connection->outgoing.bytes, channel->number, channel->feed.renewal.tag) == CONEY_OK) {
        cny_connection_appended(connection, connection->outgoing.bytes.size - before);
    } else { /* no memory; that ends it as well */
        cny_error *reason = cny_error_capture();
        cny_channel_close_locked(channel, reason);
        cny_error_unref(reason);
    }
}

/* RabbitMQ closes the connection over a method that it reads while it commits a transaction of the channel. */
void cny_feed_cancel(cny_channel *channel)
{
    cny_feed *feed = &channel->feed;
    cny_renewal_flush(channel);
    bool possible = channel->state == CNY_CHANNEL_USABLE && feed->consumer_tag[0] && !feed->cancelled;
    feed->cancelled = true;
    if (possible && channel->awaited)
        feed->cancel_waits = true;
    else if (possible)
        send_cancel(channel);
    pthread_cond_broadcast(&channel->changed);
}

void cny_feed_answered(cny_channel *channel)
{
    cny_feed *feed = &channel->feed;
    if (feed->cancel_waits)
        send_cancel(channel);
    if (feed->return_waits && channel->state == CNY_CHANNEL_USABLE)
        cny_cancellation_give_back(channel);
    feed->cancel_waits = feed->return_waits = false;
}

void cny_channel_cancel(cny_channel *channel)
{
    cny_channel_lock(channel);
    cny_feed_cancel(channel);
    cny_channel_unlock(channel);
}

void cny_channel_keep_consumer(cny_channel *channel)
{
    cny_channel_lock(channel);
    cny_feed *feed = &channel->feed;
    cny_renewal_flush(channel);
    if (!feed->ended && !feed->cancelled) {
        feed->is_kept = feed->ended = true;
        cny_feed_tell_change(channel);
    }
    cny_channel_unlock(channel);
}

/* ---- taking ---- */

coney_status cny_channel_receive(cny_channel *channel, cny_buffer *batch, int64_t deadline)
{
    bool in_time = true;
    cny_channel_lock(channel);
    cny_feed *feed = &channel->feed;
    feed->waiting = true;
    while (feed->deliveries.size == 0 && !feed->ended && in_time)
        in_time = cny_cond_wait(&channel->changed, &channel->connection->lock, deadline);
    feed->waiting = false;
    coney_status status = CONEY_OK;
    if (channel->reason) /* what is left in the feed cannot be acknowledged any more */
        status = cny_error_raise(channel->reason);
    else if (feed->deliveries.size > 0) {
        cny_buffer_swap(&feed->deliveries, batch);
        feed->bytes = 0;
    } else if (feed->ended && feed->reason) { /* what came before the end has been handled */
        status = cny_error_raise(feed->reason);
        cny_channel_close_locked(channel, feed->reason);
    } else if (!feed->ended)
        status = cny_fail(CONEY_E_TIMEOUT, "no delivery within the deadline");
    cny_channel_unlock(channel);
    return status;
}

/* What cannot be settled any more comes again. */
static bool has_takeable(const cny_channel *channel)
{
    return channel->feed.deliveries.size > 0 && (!channel->reason || channel->feed.no_ack);
}

bool cny_channel_take(cny_channel *channel, cny_buffer *batch)
{
    cny_channel_lock(channel);
    cny_feed *feed = &channel->feed;
    feed->told = false;
    if (has_takeable(channel))
        cny_buffer_swap(&feed->deliveries, batch);
    feed->bytes = 0;
    set_full(channel, false);
    cny_channel_unlock(channel);
    return batch->size > 0;
}

int cny_channel_prefetch(cny_channel *channel)
{
    return atomic_load_explicit(&channel->feed.prefetch, memory_order_relaxed);
}

bool cny_channel_is_full(cny_channel *channel)
{
    cny_channel_lock(channel);
    bool full = channel->feed.full;
    cny_channel_unlock(channel);
    return full;
}

bool cny_channel_has_deliveries(cny_channel *channel)
{
    cny_channel_lock(channel);
    bool has = has_takeable(channel);
    cny_channel_unlock(channel);
    return has;
}

size_t cny_channel_take_rest(cny_channel *channel, cny_buffer *rest)
{
    cny_channel_lock(channel);
    cny_feed *feed = &channel->feed;
    size_t before = feed->deliveries.size / sizeof(coney_message *);
    if (feed->late.size > 0 && cny_buffer_append(&feed->deliveries, feed->late.data, feed->late.size))
        feed->late.size = 0;
    cny_buffer_swap(&feed->deliveries, rest);
    feed->bytes = 0;
    set_full(channel, false);
    cny_channel_unlock(channel);
    return before;
}

/* ---- settling ---- */

static coney_status encode_settlement(cny_buffer *out, uint16_t number, uint64_t tag, cny_settlement settlement)
{
    switch (settlement) {
    case CNY_SETTLE_ACK: return cny_encode_ack(out, number, tag, false);
    case CNY_SETTLE_ACK_UP_TO: return cny_encode_ack(out, number, tag, true);
    case CNY_SETTLE_REJECT: return cny_encode_reject(out, number, tag, false);
    case CNY_SETTLE_REQUEUE: return cny_encode_reject(out, number, tag, true);
    case CNY_SETTLE_RETURN: return cny_encode_nack(out, number, tag, false, true);
    }
    return CONEY_OK;
}

#define PILE_BYTES 1024 /* of acknowledgements; the broker must not come to wait for them */

/* While deliveries stream in it is written with the next ones. Else the last one in hand goes at once, for the next
 * delivery may depend on it. */
static void appended_settlement(cny_channel *channel, size_t bytes)
{
    cny_connection *connection = channel->connection;
    if (connection->reading_put_off && connection->unwritten < PILE_BYTES)
        connection->unwritten += bytes;
    else if (channel->feed.in_hand == 0)
        cny_connection_appended_urgently(connection, bytes);
    else
        cny_connection_appended(connection, bytes);
}

/* Keeps count of what is unsettled; true if nothing before the tag is. */
static bool count_settled(cny_feed *feed, uint64_t tag, cny_settlement settlement)
{
    bool is_next = tag == feed->settled_up_to + 1;
    if (settlement == CNY_SETTLE_ACK_UP_TO) {
        feed->settled_up_to = tag;
        feed->in_hand = feed->last_tag > tag ? (size_t)(feed->last_tag - tag) : 0;
    } else {
        feed->settled_up_to += is_next;
        feed->in_hand -= feed->in_hand > 0;
    }
    if (feed->in_hand == 0 && feed->last_tag > feed->settled_up_to)
        feed->settled_up_to = feed->last_tag;
    return is_next;
}

/* An acknowledgement that follows upon the last one, which is not written yet, takes its place and covers both: the
 * broker works less. */
static bool covers_the_last(const cny_channel *channel, uint64_t tag, cny_settlement settlement)
{
    const cny_connection *connection = channel->connection;
    const cny_last_ack *last = &connection->last_ack;
    return settlement == CNY_SETTLE_ACK && connection->reading_put_off && last->channel == channel &&
           last->tag + 1 == tag && last->end == connection->outgoing.bytes.size;
}

coney_status cny_feed_settle(cny_channel *channel, uint64_t tag, cny_settlement settlement, size_t count)
{
    cny_connection *connection = channel->connection;
    cny_buffer *out = &connection->outgoing.bytes;
    if (settlement == CNY_SETTLE_ACK_UP_TO && cny_renewal_give_back_up_to(channel, tag) != CONEY_OK)
        return CONEY_E_NO_MEMORY; /* what was skipped must not be acknowledged with the others */
    cny_renewal_settled(&channel->feed, tag, settlement, count);
    bool is_next = count_settled(&channel->feed, tag, settlement);
    bool covers = is_next && covers_the_last(channel, tag, settlement);
    if (covers)
        out->size = connection->last_ack.begin;
    size_t begin = out->size;
    coney_status status = encode_settlement(out, channel->number, tag, covers ? CNY_SETTLE_ACK_UP_TO : settlement);
    if (status != CONEY_OK)
        return status;
    if (is_next && settlement == CNY_SETTLE_ACK)
        connection->last_ack = (cny_last_ack){.channel = channel, .tag = tag, .begin = begin, .end = out->size};
    if (!covers) /* else it is as long as the one it replaces */
        appended_settlement(channel, out->size - begin);
    return CONEY_OK;
}

static void note_settled(cny_feed *feed, uint64_t tag)
{
    feed->settled_last = feed->settled_last > tag ? feed->settled_last : tag;
}

/* RabbitMQ 3.10 closes the connection for a basic.reject or basic.nack of a stream's message, later releases take it
 * for an acknowledgement. The message comes again when whoever consumes goes on at it, so the channel ends. */
static void end_before(cny_channel *channel, uint64_t tag)
{
    if (channel->feed.ended || channel->feed.cancelled) /* it ends anyway */
        return;
    cny_error *reason =
        cny_error_new(CONEY_E_STATE, 0, "delivery %llu of the stream cannot be handled now, it is to come again",
                      (unsigned long long)tag);
    cny_channel_close_locked(channel, reason);
    cny_error_unref(reason);
}

static bool goes_back(cny_settlement settlement)
{
    return settlement == CNY_SETTLE_RETURN || settlement == CNY_SETTLE_REQUEUE;
}

/* What goes back with the channel's end must not be covered by one acknowledgement of several. Those come in the order
 * of their messages, so each covers what follows upon the last one that is settled. */
static coney_status settle_kept(cny_channel *channel, uint64_t tag, cny_settlement settlement, size_t count)
{
    cny_feed *feed = &channel->feed;
    coney_status status = CONEY_OK;
    feed->holds_back = feed->holds_back || goes_back(settlement) || feed->renewal.skipped.size > 0;
    if (goes_back(settlement))
        return CONEY_OK;
    if (settlement != CNY_SETTLE_ACK_UP_TO || !feed->holds_back)
        return cny_feed_settle(channel, tag, settlement, count);
    for (uint64_t each = feed->settled_last + 1; each <= tag && status == CONEY_OK; each++)
        status = cny_renewal_has_skipped(feed, each) ? CONEY_OK : cny_feed_settle(channel, each, CNY_SETTLE_ACK, 1);
    return status;
}

coney_status cny_channel_settle(cny_channel *channel, uint64_t delivery_tag, cny_settlement settlement)
{
    return cny_channel_settle_held(channel, delivery_tag, settlement, 1, 0);
}

coney_status cny_channel_settle_held(cny_channel *channel, uint64_t delivery_tag, cny_settlement settlement,
                                     size_t count, size_t bytes)
{
    cny_channel_lock(channel);
    cny_connection *connection = channel->connection;
    coney_status status = CONEY_OK;
    cny_renewal_released(channel, bytes); /* first, so that what goes back for it comes again before anything else */
    if (channel->state != CNY_CHANNEL_USABLE || cny_channel_is_suspended(channel)) {
        const cny_error *reason = channel->reason ? channel->reason : channel->feed.reason;
        status = cny_fail(CONEY_E_STALE, "the delivery's channel is gone: %s", cny_error_view(reason)->text);
        atomic_fetch_add(connection->stale_acknowledgements, 1);
    } else if (channel->feed.is_stream && goes_back(settlement)) {
        end_before(channel, delivery_tag);
    } else if (channel->feed.is_kept) {
        status = settle_kept(channel, delivery_tag, settlement, count);
    } else if (!cny_renewal_hold_back(&channel->feed, delivery_tag, settlement, count)) {
        status = cny_feed_settle(channel, delivery_tag, settlement, count);
    }
    note_settled(&channel->feed, delivery_tag);
    cny_channel_unlock(channel);
    return status;
}

/* ---- what the broker says; I/O thread, under lock ---- */

void cny_feed_begin(cny_channel *channel, const char *consumer_tag)
{
    cny_feed *feed = &channel->feed;
    feed->subscribing = false;
    snprintf(feed->consumer_tag, sizeof feed->consumer_tag, "%s", consumer_tag); /* deliveries may follow at once */
    memcpy(feed->renewal.tag, feed->consumer_tag, sizeof feed->renewal.tag);
    cny_feed_tell_change(channel);
}

bool cny_feed_is_step(cny_channel *channel, const cny_incoming *incoming)
{
    switch (incoming->method) {
    case CNY_CHANNEL_OPEN_OK: cny_channel_announce(channel); return true;
    case CNY_BASIC_QOS_OK:
    case CNY_TX_SELECT_OK: return true;
    case CNY_BASIC_CONSUME_OK: cny_feed_begin(channel, incoming->text); return true;
    default: return false;
    }
}

/* Who sees that it is not suspended any more sees that it is gone. */
void cny_feed_end(cny_channel *channel)
{
    cny_feed *feed = &channel->feed;
    if (atomic_exchange_explicit(&channel->suspended, false, memory_order_release)) {
        cny_error_unref(feed->reason); /* the channel's tells more */
        feed->reason = NULL;
    }
    feed->ended = true;
    feed->subscribing = false;
    set_full(channel, false);
    cny_feed_tell_change(channel);
}

coney_status cny_feed_cancelled(cny_channel *channel)
{
    if (cny_renewal_is_end_of_earlier(&channel->feed))
        return CONEY_OK;
    if (!channel->feed.cancelled)
        return cny_fail(CONEY_E_PROTOCOL, "the broker confirmed the end of a consumer that nobody ended");
    if (cny_channel_is_suspended(channel)) /* it ends with the reason */
        return CONEY_OK;
    channel->feed.ended = true;
    cny_feed_tell_change(channel);
    return CONEY_OK;
}

/* The broker sends no more than prefetch before it hears of some. What comes within a moment should be no more than
 * half of that, so that it need not wait for us. */
static void count_delivery(cny_connection *connection, cny_feed *feed)
{
    if (feed->moment != connection->moments)
        feed->in_moment = 0;
    feed->moment = connection->moments;
    connection->deliveries++;
    if (++feed->in_moment > feed->prefetch / 2 && feed->prefetch > 0)
        connection->window_short = true;
}

/* It comes again when the channel is closed. Who watches may want to know which one it was; the prefetch limits how
 * many there are. */
static void keep_late(cny_feed *feed, coney_message *message)
{
    bool is_watched = feed->watcher.on_change != NULL;
    if (!is_watched || !feed->is_kept || !cny_buffer_append(&feed->late, &message, sizeof(coney_message *)))
        coney_message_unref(message);
}

coney_status cny_feed_deliver(cny_channel *channel, coney_message *message)
{
    cny_feed *feed = &channel->feed;
    if (feed->ended) {
        keep_late(feed, message);
        return CONEY_OK;
    }
    if (!feed->consumer_tag[0]) {
        coney_message_unref(message);
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent a delivery on channel %u, which has no consumer",
                        channel->number);
    }
    if (!cny_buffer_append(&feed->deliveries, &message, sizeof(coney_message *))) {
        coney_message_unref(message);
        return cny_fail_memory();
    }
    size_t weight = cny_message_weight(message);
    feed->in_hand++;
    feed->last_tag = message->delivery_tag;
    feed->bytes += weight;
    cny_renewal_delivered(channel, weight);
    if (feed->prefetch == 0 && feed->bytes >= FULL_BYTES)
        set_full(channel, true);
    count_delivery(channel->connection, feed);
    if (feed->watcher.on_deliveries && !feed->told)
        feed->watcher.on_deliveries(feed->watcher.self);
    feed->told = true;
    if (feed->waiting) {
        feed->waiting = false; /* one wake-up for many */
        pthread_cond_broadcast(&channel->changed);
    }
    return CONEY_OK;
}

/* The broker hears nothing of it until there is room for it, or the channel ends: no handler sees this delivery. */
coney_status cny_feed_skip(cny_channel *channel, coney_message *message)
{
    const cny_watcher *watcher = &channel->feed.watcher;
    if (watcher->on_skipped)
        watcher->on_skipped(watcher->self, message);
    cny_renewal_skipped(channel, message);
    coney_message_unref(message);
    return CONEY_OK;
}
