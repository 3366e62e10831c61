/* SPDX-License-Identifier: MIT */
/* Writes settlements that others have decided, and counts what is unsettled. Any thread, under the lock of the
 * connection. */
#include "rabbit/connection/settling.h"
#include "rabbit/connection/channel.h"

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

#define PILE_BYTES 1024 /* of acknowledgements may gather; with more the broker might have to wait for them */

/* While deliveries stream in, a settlement is written together with the next ones. Otherwise the settlement of the last
 * unsettled delivery is written at once, because the next delivery may depend on it. */
static void appended_settlement(cny_channel *channel, size_t bytes)
{
    cny_connection *connection = channel->connection;
    if (connection->pacing.is_coalescing && connection->outbox.unwritten < PILE_BYTES)
        connection->outbox.unwritten += bytes;
    else if (channel->feed.in_hand == 0)
        cny_connection_appended_urgently(connection, bytes);
    else
        cny_connection_appended(connection, bytes);
}

/* Counts how many deliveries the broker believes its present consumer to have. */
static void count_for_broker(cny_credit *credit, uint64_t tag, cny_settlement settlement, size_t count)
{
    if (settlement != CNY_SETTLE_ACK_UP_TO)
        count = 1;
    size_t earlier = cny_lower(count, credit->earlier);
    if (tag <= credit->began_after) {
        credit->earlier -= earlier;
        return;
    }
    if (settlement == CNY_SETTLE_ACK_UP_TO) { /* of earlier consumers it covers all */
        count -= earlier;
        credit->earlier = 0;
    }
    credit->present -= cny_lower(count, credit->present);
}

/* Counts what is unsettled. True if all deliveries before the tag are settled. */
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

/* An acknowledgement whose delivery follows that of the last acknowledgement, which is not written yet, replaces it and
 * covers both deliveries: that is less work for the broker. */
static bool covers_the_last(const cny_channel *channel, uint64_t tag, cny_settlement settlement)
{
    const cny_connection *connection = channel->connection;
    const cny_last_ack *last = &connection->outbox.last_ack;
    return settlement == CNY_SETTLE_ACK && connection->pacing.is_coalescing && last->channel == channel &&
           last->tag + 1 == tag && last->end == connection->outbox.outgoing.bytes.size;
}

coney_status cny_settlement_write(cny_channel *channel, uint64_t tag, cny_settlement settlement, size_t count)
{
    cny_connection *connection = channel->connection;
    cny_buffer *out = &connection->outbox.outgoing.bytes;
    count_for_broker(&channel->feed.credit, tag, settlement, count);
    bool is_next = count_settled(&channel->feed, tag, settlement);
    bool covers = is_next && covers_the_last(channel, tag, settlement);
    if (covers)
        out->size = connection->outbox.last_ack.begin;
    size_t begin = out->size;
    coney_status status = encode_settlement(out, channel->number, tag, covers ? CNY_SETTLE_ACK_UP_TO : settlement);
    if (status != CONEY_OK)
        return status;
    if (is_next && settlement == CNY_SETTLE_ACK)
        connection->outbox.last_ack = (cny_last_ack){.channel = channel, .tag = tag, .begin = begin, .end = out->size};
    if (!covers) /* else it is as long as the one it replaces */
        appended_settlement(channel, out->size - begin);
    return CONEY_OK;
}
