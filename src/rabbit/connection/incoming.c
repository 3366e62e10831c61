/* SPDX-License-Identifier: MIT */
/* What the broker says to a channel: closes, answers, confirms, returns and deliveries. I/O thread, under the lock of
 * the connection, which is taken once for many methods. Knows nothing of sockets. */
#include "rabbit/connection/incoming.h"
#include "rabbit/connection/cancellation.h"

/* ---- closes ---- */

/* RabbitMQ closes a channel again if another delivery times out before RabbitMQ has read the answer. One answer ends
 * that channel, also when its number is in use again, and RabbitMQ closes the connection over a second answer. */
static bool is_close_answered(const cny_connection *connection, uint16_t number)
{
    return number < connection->channel_capacity && connection->closes[number] == CNY_CLOSE_ANSWERED;
}

coney_status cny_connection_answer_close(cny_connection *connection, uint16_t number)
{
    if (is_close_answered(connection, number))
        return CONEY_OK;
    size_t before = connection->outbox.outgoing.bytes.size;
    coney_status status = cny_encode_channel_close_ok(&connection->outbox.outgoing.bytes, number);
    if (status != CONEY_OK)
        return status;
    cny_connection_appended(connection, connection->outbox.outgoing.bytes.size - before);
    if (number < connection->channel_capacity)
        connection->closes[number] = CNY_CLOSE_ANSWERED;
    return CONEY_OK;
}

static coney_status on_close(cny_channel *channel, const cny_incoming *incoming)
{
    cny_connection *connection = channel->connection;
    if (is_close_answered(connection, channel->number))
        return CONEY_OK;
    coney_status status = cny_connection_answer_close(connection, channel->number);
    if (status != CONEY_OK)
        return status;
    cny_error *reason =
        cny_error_new(cny_reply_status(incoming->code), incoming->code, "%u %s", incoming->code, incoming->text);
    cny_channel_die(channel, reason);
    cny_error_unref(reason);
    connection->has_news = true;
    return CONEY_OK;
}

/* The broker still answers our close. If the broker's own close names no method (a delivery has timed out), RabbitMQ
 * may have read our close first: then the channel is gone, and an answer would cost the connection. If RabbitMQ has not
 * read ours, it waits for an answer, and does not open a channel of that number before. Nothing tells which is the
 * case. So there is no answer, and the number is not used until RabbitMQ closes it again. */
static coney_status on_close_while_closing(cny_channel *channel, const cny_incoming *incoming)
{
    cny_connection *connection = channel->connection;
    if (incoming->cause != 0)
        return cny_connection_answer_close(connection, channel->number);
    if (!is_close_answered(connection, channel->number))
        connection->closes[channel->number] = CNY_CLOSE_CROSSED;
    return CONEY_OK;
}

/* While a channel is closing, everything but the broker's close-ok was said before the broker read our close. */
static coney_status on_incoming_while_closing(cny_channel *channel, cny_incoming *incoming)
{
    coney_message_unref(incoming->message);
    if (incoming->method == CNY_CHANNEL_CLOSE)
        return on_close_while_closing(channel, incoming);
    if (incoming->method == CNY_CHANNEL_CLOSE_OK)
        cny_channel_die(channel, channel->reason);
    return CONEY_OK;
}

/* ---- answers ---- */

static bool is_awaited(const cny_channel *channel, uint32_t method)
{
    return method == channel->awaited || (method == CNY_BASIC_GET_EMPTY && channel->awaited == CNY_BASIC_GET_OK);
}

static bool take_answer_to_subscription(cny_channel *channel, const cny_incoming *incoming)
{
    switch (incoming->method) {
    case CNY_CHANNEL_OPEN_OK: cny_channel_announce(channel); return true;
    case CNY_BASIC_QOS_OK:
    case CNY_TX_SELECT_OK:
    case CNY_CONFIRM_SELECT_OK:
    case CNY_QUEUE_DECLARE_OK: return true;
    case CNY_BASIC_CONSUME_OK: cny_feed_begin(channel, incoming->text); return true;
    default: return false;
    }
}

static coney_status on_reply(cny_channel *channel, const cny_incoming *incoming)
{
    if (channel->feed.states.stage == CNY_STAGE_OPENING && take_answer_to_subscription(channel, incoming))
        return CONEY_OK;
    if (cny_renewal_take_answer(&channel->feed, incoming))
        return CONEY_OK;
    if (channel->question.of && cny_cancellation_take_answer(channel, incoming))
        return CONEY_OK;
    if (cny_series_take_answer(channel, incoming))
        return CONEY_OK;
    if (!is_awaited(channel, incoming->method)) {
        coney_message_unref(incoming->message);
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent method %u.%u on channel %u, which nobody asked for",
                        incoming->method >> 16, incoming->method & 0xffffU, channel->number);
    }
    if (incoming->method == CNY_CHANNEL_OPEN_OK)
        cny_channel_announce(channel);
    if (incoming->method == CNY_BASIC_CONSUME_OK)
        cny_feed_begin(channel, incoming->text);
    if (channel->reply)
        *channel->reply = *incoming;
    channel->awaited = 0;
    cny_cancellation_go_on(channel);
    pthread_cond_broadcast(&channel->changed);
    return CONEY_OK;
}

/* ---- what was sent ---- */

static void on_confirm(cny_channel *channel, const cny_incoming *incoming)
{
    cny_connection *connection = channel->connection;
    cny_confirms_on_confirm(&channel->confirms, incoming, connection->last_read_us, &connection->told);
}

static void on_return(cny_channel *channel, const cny_incoming *incoming)
{
    if (channel->confirms.max > 0)
        cny_confirms_on_return(&channel->confirms, incoming, channel->connection->limits.frame_max);
    else if (channel->returned++ == 0)
        channel->first_returned = cny_returned_error(incoming);
    coney_message_unref(incoming->message);
}

/* ---- deliveries ---- */

/* Counts for the pacing of reads. */
static void count_delivery(cny_pacing *pacing, cny_feed *feed)
{
    if (feed->moment != pacing->moment)
        feed->in_moment = 0;
    feed->moment = pacing->moment;
    cny_pacing_count_delivery(pacing, ++feed->in_moment, feed->prefetch);
}

/* The message comes again when the channel is closed. A watcher may want to know which message that is. The prefetch
 * limits how many there are. */
static void keep_late(cny_feed *feed, coney_message *message)
{
    bool is_watched = feed->watcher.on_change != NULL;
    if (!is_watched || !cny_feed_is_kept(&feed->states) ||
        !cny_buffer_append(&feed->late, &message, sizeof(coney_message *)))
        coney_message_unref(message);
}

static coney_status on_weight(cny_channel *channel, size_t weight)
{
    cny_held_take(&channel->feed.held, channel->feed.last_tag, weight);
    return cny_renewal_count(channel, weight);
}

/* The watcher takes each message, so nothing is fed to anybody. Takes the message. */
static coney_status hand_over(cny_channel *channel, coney_message *message)
{
    cny_feed *feed = &channel->feed;
    coney_status status = CONEY_OK;
    cny_settlement settlement = feed->watcher.on_message(feed->watcher.self, message, &channel->connection->told);
    if (!feed->no_ack) {
        feed->in_hand++;
        feed->last_tag = message->delivery_tag;
        status = cny_feed_settle(channel, message->delivery_tag, settlement, 1);
    }
    coney_message_unref(message);
    return status;
}

/* Takes the message. */
static coney_status on_delivery(cny_channel *channel, coney_message *message)
{
    cny_feed *feed = &channel->feed;
    if (!cny_feed_takes(&feed->states)) {
        keep_late(feed, message);
        return CONEY_OK;
    }
    if (feed->states.stage != CNY_STAGE_CONSUMING) {
        coney_message_unref(message);
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent a delivery on channel %u, which has no consumer",
                        channel->number);
    }
    if (feed->watcher.on_message)
        return hand_over(channel, message);
    if (!cny_buffer_append(&feed->deliveries, &message, sizeof(coney_message *))) {
        coney_message_unref(message);
        return cny_fail_memory();
    }
    size_t weight = cny_message_weight(message);
    feed->in_hand++;
    feed->last_tag = message->delivery_tag;
    feed->bytes += weight;
    if (feed->held.holding && on_weight(channel, weight) != CONEY_OK)
        cny_channel_close_without_memory(channel);
    if (feed->prefetch == 0)
        cny_feed_check_full(channel);
    count_delivery(&channel->connection->pacing, feed);
    if (feed->watcher.on_deliveries && !feed->told)
        feed->watcher.on_deliveries(feed->watcher.self);
    feed->told = true;
    if (feed->waiting) {
        feed->waiting = false; /* one wake-up for many */
        pthread_cond_broadcast(&channel->changed);
    }
    return CONEY_OK;
}

/* The delivery goes back when there is room for it or the channel ends. Until then the broker hears nothing of it. No
 * handler sees it. */
static coney_status on_skipped(cny_channel *channel, coney_message *message)
{
    const cny_watcher *watcher = &channel->feed.watcher;
    if (watcher->on_skipped)
        watcher->on_skipped(watcher->self, message);
    size_t bytes = cny_held_skip(&channel->feed, message->delivery_tag);
    coney_message_unref(message);
    if (bytes > 0 && cny_renewal_count(channel, bytes) != CONEY_OK)
        cny_channel_close_without_memory(channel);
    if (bytes > 0)
        cny_held_plan_to_give_back(channel);
    return CONEY_OK;
}

/* ---- all of it ---- */

/* The method brought a message, which cny_connection_admits() has refused. */
static bool is_not_admitted(const cny_incoming *incoming)
{
    bool is_content = incoming->method == CNY_BASIC_DELIVER || incoming->method == CNY_BASIC_GET_OK ||
                      incoming->method == CNY_BASIC_RETURN;
    return is_content && !incoming->message;
}

static coney_status on_not_admitted(cny_channel *channel, const cny_incoming *incoming)
{
    if (incoming->method == CNY_BASIC_RETURN) {
        cny_connection_log_later(channel->connection,
                                 "the broker returned a message that is larger than any that was sent; it is ignored");
        return CONEY_OK;
    }
    if (incoming->method == CNY_BASIC_DELIVER &&
        !cny_feed_takes(&channel->feed.states)) /* it comes again when the channel is closed */
        return CONEY_OK;
    return cny_fail(CONEY_E_PROTOCOL, "the broker sent a message on channel %u, which has asked for none",
                    channel->number);
}

coney_status cny_channel_incoming(cny_channel *channel, cny_incoming *incoming)
{
    if (incoming->message)
        incoming->message->arrived_ms = channel->connection->last_read_ms;
    if (incoming->method == CNY_CHANNEL_OPEN_OK)
        channel->connection->closes[channel->number] = CNY_CLOSE_NONE;
    if (channel->state == CNY_CHANNEL_CLOSING)
        return on_incoming_while_closing(channel, incoming);
    if (incoming->method == CNY_BASIC_DELIVER && !channel->announced) { /* for an earlier channel of that number */
        coney_message_unref(incoming->message);
        return CONEY_OK;
    }
    if (is_not_admitted(incoming))
        return on_not_admitted(channel, incoming);
    switch (incoming->method) {
    case CNY_BASIC_DELIVER:
        return incoming->lacks_body ? on_skipped(channel, incoming->message) : on_delivery(channel, incoming->message);
    case CNY_BASIC_ACK:
    case CNY_BASIC_NACK: on_confirm(channel, incoming); return CONEY_OK;
    case CNY_BASIC_RETURN: on_return(channel, incoming); return CONEY_OK;
    case CNY_BASIC_CANCEL: cny_cancellation_begin(channel); return CONEY_OK;
    case CNY_BASIC_CANCEL_OK: return cny_cancellation_answered(channel);
    case CNY_CHANNEL_CLOSE: return on_close(channel, incoming);
    default: return on_reply(channel, incoming);
    }
}
