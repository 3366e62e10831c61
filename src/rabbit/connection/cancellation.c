/* SPDX-License-Identifier: MIT */
/* The end of a consumer by basic.cancel, ours or the broker's.
 *
 * basic.cancel from the broker gives no reason. If the queue is gone, deliveries that have come are handled, because
 * they do not come again. If the queue is there, there are three possible reasons: the consumer was too slow (a
 * delivery in the prefetch is as old as one that a handler has), the consumer has lost its permission, or the queue has
 * moved. Then all deliveries come again, so no handler may begin with them. A passive declaration tells whether the
 * queue is there. It has a channel of its own, because a missing queue costs the channel. Meanwhile the consumer is
 * suspended.
 *
 * A quorum queue of RabbitMQ 4 cancels its consumers some milliseconds before it is gone. In between it is found,
 * without messages and consumers. So a queue that is found like that is asked for again.
 *
 * RabbitMQ 4.3 keeps a consumer that was too slow, and delivers to it again after its late deliveries are settled. Our
 * own basic.cancel ends that. Its answer is not waited for, because the broker handles the methods of a channel in
 * order.
 *
 * Under the lock of the connection, on the I/O thread unless said otherwise. */
#include "rabbit/connection/cancellation.h"

#define ANSWER_MS 5000
#define PASSING_MS 1000 /* a queue without messages and consumers may be in deletion for this time, */
#define AGAIN_MS 50     /* and is asked for again after this time */

/* ---- ours; any thread ---- */

static void send_cancel(cny_channel *channel)
{
    cny_connection *connection = channel->connection;
    size_t before = connection->outbox.outgoing.bytes.size;
    if (cny_encode_cancel(&connection->outbox.outgoing.bytes, channel->number, channel->feed.renewal.tag) == CONEY_OK) {
        cny_connection_appended(connection, connection->outbox.outgoing.bytes.size - before);
    } else { /* the end of the channel ends the consumer as well */
        cny_channel_close_without_memory(channel);
    }
}

/* RabbitMQ closes the connection over a method that it reads while it commits a transaction of the channel. */
void cny_cancellation_ask(cny_channel *channel)
{
    cny_feed *feed = &channel->feed;
    if (cny_renewal_flush(channel) != CONEY_OK)
        cny_channel_close_without_memory(channel);
    bool is_possible = channel->state == CNY_CHANNEL_USABLE && cny_feed_may_cancel(&feed->states);
    cny_feed_ask_for_end(&feed->states, is_possible && channel->awaited);
    if (is_possible && !channel->awaited)
        send_cancel(channel);
    pthread_cond_broadcast(&channel->changed);
}

/* ---- what it means ---- */

static void set_reason(cny_feed *feed, cny_error *reason)
{
    cny_error_unref(feed->reason);
    feed->reason = reason;
}

/* Deliveries that have come are handled first. Any thread. */
static void end_feed(cny_channel *channel)
{
    atomic_store_explicit(&channel->suspended, false, memory_order_release);
    cny_feed_stop(&channel->feed.states);
    cny_feed_tell_change(channel);
}

/* Gives back all deliveries that are not settled. The broker has taken back those that were too old, and ignores the
 * nack for them. Younger ones would count towards a delivery limit of RabbitMQ 4.3 if they went back with the end of
 * the channel; a nack does not count. Streams take no nack (settle.c). A commit that is under way settles its
 * deliveries, so its answer is waited for. Any thread. */
static void give_back(cny_channel *channel)
{
    cny_connection *connection = channel->connection;
    if (channel->awaited) {
        channel->feed.return_waits = true;
        return;
    }
    size_t before = connection->outbox.outgoing.bytes.size;
    if (!channel->feed.is_stream &&
        cny_encode_nack(&connection->outbox.outgoing.bytes, channel->number, 0, true, true) == CONEY_OK)
        cny_connection_appended(connection, connection->outbox.outgoing.bytes.size - before);
    cny_channel_close_locked(channel, channel->feed.reason);
}

static cny_error *reason_for_missing(const coney_error *answer)
{
    return cny_error_new(CONEY_E_NOT_FOUND, answer->broker_code, "the broker cancelled the consumer: %s", answer->text);
}

static cny_error *reason_for_existing(void)
{
    return cny_error_new(CONEY_E_PRECONDITION_FAILED, 0,
                         "the broker cancelled the consumer of a queue that is there: a delivery acknowledgement has "
                         "timed out (the time in the prefetch counts), the queue has moved, or it may not be read any "
                         "more");
}

/* A consumer that acknowledges nothing has nothing to give back. The end of the connection ends the suspension, too.
 * Takes the reason. Any thread. */
static void end_suspension(cny_channel *channel, bool is_missing, cny_error *reason)
{
    const cny_connection *connection = channel->connection;
    if (!cny_channel_is_suspended(channel) || connection->reason || connection->state != CNY_OPEN) {
        cny_error_unref(reason);
        return;
    }
    set_reason(&channel->feed, reason);
    if (is_missing || channel->feed.no_ack)
        end_feed(channel);
    else
        give_back(channel);
}

/* A queue that is stuck does not answer, and the broker refuses a passive declaration without permission. In both cases
 * the queue is there. Any thread. */
static void on_end(cny_channel *asking, const cny_error *reason)
{
    const coney_error *answer = cny_error_view(reason);
    bool is_missing = answer->status == CONEY_E_NOT_FOUND;
    asking->question.answer_by = asking->question.again_at = 0;
    end_suspension(asking->question.of, is_missing, is_missing ? reason_for_missing(answer) : reason_for_existing());
}

/* ---- asking ---- */

static coney_status encode_question(const cny_channel *asking, const char *name, bool opens, cny_buffer *out)
{
    const coney_queue queue = {.name = name};
    coney_status status = opens ? cny_encode_channel_open(out, asking->number) : CONEY_OK;
    if (status == CONEY_OK)
        status = cny_encode_queue_declare(out, asking->number, asking->connection->limits.frame_max, &queue, true);
    return status;
}

static coney_status send_question(cny_channel *asking, const char *name, bool opens)
{
    cny_connection *connection = asking->connection;
    uint8_t room[512];
    cny_buffer frames;
    cny_buffer_on_stack(&frames, room, sizeof room);
    coney_status status = encode_question(asking, name, opens, &frames);
    if (status == CONEY_OK && !cny_buffer_append(&connection->outbox.outgoing.bytes, frames.data, frames.size))
        status = cny_fail_memory();
    if (status == CONEY_OK)
        cny_connection_appended(connection, frames.size);
    cny_buffer_free(&frames);
    return status;
}

static coney_status ask(cny_channel *channel)
{
    cny_connection *connection = channel->connection;
    cny_channel *asking = cny_channel_new_locked(connection, true, 0);
    if (!asking)
        return coney_last_error_details()->status;
    coney_status status = send_question(asking, channel->feed.queue, true);
    if (status == CONEY_OK) {
        asking->question.of = cny_channel_ref(channel);
        asking->question.on_end = on_end;
        asking->question.asked_at = cny_now_ms();
        asking->question.answer_by = asking->question.asked_at + ANSWER_MS;
        cny_connection_be_due(connection, asking->question.answer_by);
    } else { /* the broker has not heard of it */
        cny_error *reason = cny_error_capture();
        cny_channel_die(asking, reason);
        cny_error_unref(reason);
    }
    cny_channel_unref(asking);
    return status;
}

static void end_question(cny_channel *asking, coney_status status, const char *text)
{
    cny_error *reason = cny_error_new(status, 0, "%s", text);
    cny_channel_close_locked(asking, reason);
    cny_error_unref(reason);
}

static void on_found(cny_channel *asking, const cny_incoming *incoming)
{
    int64_t now = cny_now_ms();
    bool is_in_use = incoming->message_count > 0 || incoming->consumer_count > 0;
    if (is_in_use || now >= asking->question.asked_at + PASSING_MS) {
        end_question(asking, CONEY_E_CLOSED, "closed, the queue is there");
        return;
    }
    asking->question.again_at = now + AGAIN_MS;
    cny_connection_be_due(asking->connection, asking->question.again_at);
}

/* The program's listener is not told of a channel that only asks, so channel.open-ok is not announced
 * (cny_channel_announce()). */
bool cny_cancellation_take_answer(cny_channel *asking, const cny_incoming *incoming)
{
    if (incoming->method == CNY_QUEUE_DECLARE_OK)
        on_found(asking, incoming);
    return incoming->method == CNY_CHANNEL_OPEN_OK || incoming->method == CNY_QUEUE_DECLARE_OK;
}

static void ask_again(cny_channel *asking)
{
    asking->question.again_at = 0;
    if (send_question(asking, asking->question.of->feed.queue, false) != CONEY_OK)
        end_question(asking, CONEY_E_NO_MEMORY, "no memory to ask whether the queue is there");
}

/* While nothing is read the answer cannot come, so its deadline moves. */
void cny_cancellation_run_due(cny_channel *asking, int64_t now)
{
    if (asking->question.answer_by == 0)
        return;
    if (asking->connection->pacing.is_held)
        asking->question.answer_by = now + ANSWER_MS;
    if (asking->question.answer_by <= now)
        end_question(asking, CONEY_E_TIMEOUT, "no answer from the broker whether the queue is there");
    else if (asking->question.again_at > 0 && asking->question.again_at <= now)
        ask_again(asking);
    cny_connection_be_due(asking->connection, asking->question.answer_by);
    cny_connection_be_due(asking->connection, asking->question.again_at);
}

/* ---- the broker's basic.cancel ---- */

static void close_unbegun(cny_channel *channel)
{
    channel->feed.reason =
        cny_error_new(CONEY_E_NOT_FOUND, 0, "the broker cancelled the consumer: it had not begun yet");
    cny_channel_close_locked(channel, channel->feed.reason);
}

/* If there is no free channel or no memory for the question, the queue is taken to be there: then a stream is read on,
 * and deliveries that are given back come again. */
static void suspend(cny_channel *channel)
{
    cny_feed *feed = &channel->feed;
    cny_cancellation_ask(channel);
    if (channel->state != CNY_CHANNEL_USABLE) /* for want of memory */
        return;
    atomic_store_explicit(&channel->suspended, true, memory_order_release);
    feed->reason =
        cny_error_new(CONEY_E_STATE, 0, "the broker cancelled the consumer; whether its queue is there is being asked");
    if (ask(channel) == CONEY_OK) {
        cny_feed_tell_change(channel);
        return;
    }
    end_suspension(channel, false,
                   cny_error_new(coney_last_error_details()->status, 0,
                                 "the broker cancelled the consumer, and whether its queue is there cannot be asked: "
                                 "%s",
                                 coney_last_error()));
}

/* The broker may cancel twice, and its cancel may cross ours. */
void cny_cancellation_begin(cny_channel *channel)
{
    const cny_feed *feed = &channel->feed;
    bool is_over = feed->reason || feed->states.intake == CNY_FEED_INTAKE_ENDED;
    if (is_over)
        return;
    if (feed->states.stage == CNY_STAGE_CONSUMING)
        suspend(channel);
    else
        close_unbegun(channel);
}

/* ---- answers ---- */

void cny_cancellation_go_on(cny_channel *channel)
{
    cny_feed *feed = &channel->feed;
    if (feed->states.cancel == CNY_CANCEL_WAITS) {
        feed->states.cancel = CNY_CANCEL_ASKED;
        send_cancel(channel);
    }
    if (feed->return_waits && channel->state == CNY_CHANNEL_USABLE)
        give_back(channel);
    feed->return_waits = false;
}

coney_status cny_cancellation_answered(cny_channel *channel)
{
    if (cny_renewal_take_end(&channel->feed))
        return CONEY_OK;
    if (!cny_feed_is_cancelled(&channel->feed.states))
        return cny_fail(CONEY_E_PROTOCOL, "the broker confirmed the end of a consumer that nobody ended");
    if (cny_channel_is_suspended(channel)) /* it ends with the reason */
        return CONEY_OK;
    cny_feed_stop(&channel->feed.states);
    cny_feed_tell_change(channel);
    return CONEY_OK;
}
