/* SPDX-License-Identifier: MIT */
/* Settles deliveries as consumers ask for it: at once, later, or not at all if the consumer is kept or reads a stream.
 * Any thread. Knows nothing of how a settlement is written. */
#include "rabbit/connection/channel.h"

static void note_settled(cny_feed *feed, uint64_t tag)
{
    feed->settled_last = feed->settled_last > tag ? feed->settled_last : tag;
}

/* RabbitMQ 3.10 closes the connection over a basic.reject or basic.nack for a message of a stream; later releases take
 * it for an acknowledgement. So the channel ends, and the message comes again when the stream is read on from it. */
static void end_before(cny_channel *channel, uint64_t tag)
{
    if (!cny_feed_goes_on(&channel->feed.states)) /* it ends anyway */
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

/* One acknowledgement of several deliveries must not cover a delivery that goes back with the end of the channel. Such
 * acknowledgements come in the order of their messages, so each one covers the deliveries after the last one that is
 * settled. */
static coney_status settle_kept(cny_channel *channel, uint64_t tag, cny_settlement settlement, size_t count)
{
    cny_feed *feed = &channel->feed;
    coney_status status = CONEY_OK;
    feed->holds_back = feed->holds_back || goes_back(settlement) || feed->held.skipped.size > 0;
    if (goes_back(settlement))
        return CONEY_OK;
    if (settlement != CNY_SETTLE_ACK_UP_TO || !feed->holds_back)
        return cny_feed_settle(channel, tag, settlement, count);
    for (uint64_t each = feed->settled_last + 1; each <= tag && status == CONEY_OK; each++)
        status = cny_held_has_skipped(&feed->held, each) ? CONEY_OK : cny_feed_settle(channel, each, CNY_SETTLE_ACK, 1);
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
    /* first, so that what goes back for it comes again before anything else */
    if (cny_held_release(channel, bytes) != CONEY_OK)
        cny_channel_close_without_memory(channel);
    if (channel->state != CNY_CHANNEL_USABLE || cny_channel_is_suspended(channel)) {
        const cny_error *reason = channel->reason ? channel->reason : channel->feed.reason;
        status = cny_fail(CONEY_E_STALE, "the delivery's channel is gone: %s", cny_error_view(reason)->text);
        atomic_fetch_add(connection->stale_acknowledgements, 1);
    } else if (channel->feed.is_stream && goes_back(settlement)) {
        end_before(channel, delivery_tag);
    } else if (cny_feed_is_kept(&channel->feed.states)) {
        status = settle_kept(channel, delivery_tag, settlement, count);
    } else if (!cny_renewal_hold_back(&channel->feed, delivery_tag, settlement, count)) {
        status = cny_feed_settle(channel, delivery_tag, settlement, count);
    }
    note_settled(&channel->feed, delivery_tag);
    cny_channel_unlock(channel);
    return status;
}
