/* SPDX-License-Identifier: MIT */
/* Consuming on a channel: how it begins, how it goes, taking deliveries, and its end. Any thread. A thread that takes
 * deliveries either waits (cny_channel_receive()) or is told by a watcher. */
#include "rabbit/connection/cancellation.h"
#include "rabbit/connection/publish.h"

#include <stdio.h>

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
    if (status == CONEY_OK && what->confirms)
        status = cny_encode_confirm_select(out, number);
    if (status == CONEY_OK && what->temporary)
        status = cny_encode_queue_declare(out, number, channel->connection->limits.frame_max, what->temporary, false);
    if (status == CONEY_OK)
        status = cny_encode_consume(out, number, channel->connection->limits.frame_max, &what->consume);
    return status;
}

/* All methods go out together, because the broker answers them one after another. The first one that it refuses
 * closes the channel. */
coney_status cny_channel_subscribe_on(cny_channel **channel, cny_connection *connection, const cny_subscription *what,
                                      const cny_watcher *watcher)
{
    uint8_t room[1024];
    cny_buffer frames;
    if (cny_connection_wait_until_unblocked(connection, what->unblocked_by == 0, what->unblocked_by) != CONEY_OK)
        return CONEY_E_BLOCKED;
    cny_channel *made = cny_channel_new(connection, true, 0);
    if (!made)
        return coney_last_error_details()->status;
    cny_buffer_on_stack(&frames, room, sizeof room);
    coney_status status = encode_subscription(made, what, &frames);
    if (status == CONEY_OK && what->confirms)
        status = cny_channel_start_confirms(made, what->confirms);
    if (status == CONEY_OK && what->holding && !cny_renewal_init(&made->feed, what))
        status = cny_fail_memory();
    cny_channel_lock(made);
    if (status == CONEY_OK && made->reason)
        status = cny_error_raise(made->reason);
    else if (status == CONEY_OK && !cny_buffer_append(&connection->outbox.outgoing.bytes, frames.data, frames.size))
        status = cny_fail_memory();
    if (status == CONEY_OK) {
        *channel = made; /* before the watcher may need it */
        made->feed.watcher = *watcher;
        snprintf(made->feed.queue, sizeof made->feed.queue, "%s", what->consume.queue);
        made->feed.states.stage = CNY_STAGE_OPENING;
        made->feed.prefetch = what->consume.no_ack ? 0 : cny_renewal_first_prefetch(what);
        if (what->holding)
            cny_held_join(&made->feed.held, what->holding);
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
    if (cny_renewal_flush(channel) != CONEY_OK)
        cny_channel_close_without_memory(channel);
    cny_held_leave(&channel->feed.held);
    cny_channel_unlock(channel);
}

/* ---- how it goes ---- */

cny_feed_state cny_channel_feed(cny_channel *channel, cny_error **reason)
{
    const cny_feed *feed = &channel->feed;
    cny_feed_state state = CNY_FEED_ON;
    *reason = NULL;
    cny_channel_lock(channel);
    if (!cny_feed_takes(&feed->states)) {
        state = CNY_FEED_ENDED;
        *reason = cny_error_ref(feed->reason ? feed->reason : channel->reason);
    } else if (feed->reason) {
        *reason = cny_error_ref(feed->reason);
    } else if (feed->states.stage != CNY_STAGE_CONSUMING) {
        state = CNY_FEED_BEGINNING;
    }
    cny_channel_unlock(channel);
    return state;
}

bool cny_channel_is_consuming(cny_channel *channel)
{
    cny_channel_lock(channel);
    const cny_feed *feed = &channel->feed;
    bool consuming =
        !channel->reason && feed->states.stage == CNY_STAGE_CONSUMING && cny_feed_takes(&feed->states) && !feed->reason;
    cny_channel_unlock(channel);
    return consuming;
}

const char *cny_channel_consumer_tag(cny_channel *channel)
{
    cny_channel_lock(channel); /* it is written once, by the I/O thread */
    const char *tag = channel->feed.states.stage == CNY_STAGE_CONSUMING ? channel->feed.consumer_tag : "";
    cny_channel_unlock(channel);
    return tag;
}

int cny_channel_prefetch(cny_channel *channel)
{
    return atomic_load_explicit(&channel->feed.prefetch, memory_order_relaxed);
}

void cny_channel_cancel(cny_channel *channel)
{
    cny_channel_lock(channel);
    cny_cancellation_ask(channel);
    cny_channel_unlock(channel);
}

void cny_channel_keep_consumer(cny_channel *channel)
{
    cny_channel_lock(channel);
    cny_feed *feed = &channel->feed;
    if (cny_renewal_flush(channel) != CONEY_OK)
        cny_channel_close_without_memory(channel);
    if (cny_feed_goes_on(&feed->states)) {
        feed->states.intake = CNY_FEED_INTAKE_KEPT;
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
    while (feed->deliveries.size == 0 && cny_feed_takes(&feed->states) && in_time)
        in_time = cny_cond_wait(&channel->changed, &channel->connection->lock, deadline);
    feed->waiting = false;
    coney_status status = CONEY_OK;
    if (channel->reason) /* what is left in the feed cannot be acknowledged any more */
        status = cny_error_raise(channel->reason);
    else if (feed->deliveries.size > 0) {
        cny_buffer_swap(&feed->deliveries, batch);
        feed->bytes = 0;
    } else if (!cny_feed_takes(&feed->states) && feed->reason) { /* what came before the end has been handled */
        status = cny_error_raise(feed->reason);
        cny_channel_close_locked(channel, feed->reason);
    } else if (cny_feed_takes(&feed->states))
        status = cny_fail(CONEY_E_TIMEOUT, "no delivery within the deadline");
    cny_channel_unlock(channel);
    return status;
}

/* A delivery that cannot be settled any more comes again, so it is not taken. */
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
    cny_feed_set_full(channel, false);
    cny_channel_unlock(channel);
    return batch->size > 0;
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
    cny_feed_set_full(channel, false);
    cny_channel_unlock(channel);
    return before;
}
