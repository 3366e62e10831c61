/* SPDX-License-Identifier: MIT */
/* The prefetch of a consumer whose bytes are bounded (holding.c). The prefetch of a running consumer cannot be changed.
 * So a consumer begins with a small one and subscribes anew, on the same channel, when the size of its messages allows
 * another one: basic.qos, basic.consume with another tag and basic.cancel of the old consumer go out together.
 * Unsettled deliveries stay unsettled, and nothing is given back. The new consumer begins before the old one ends,
 * because a queue may be deleted with its last consumer.
 *
 * The broker must not hand out messages to both, because a quorum queue would group them, out of their order. So a
 * consumer subscribes anew only while the old one has no credit: as many deliveries as its prefetch have come, and are
 * not settled on the wire. The broker's count is the same then, because it cannot be higher, and an acknowledgement
 * that would change it comes after the new subscription. With a handler that is faster than the network this moment
 * would not come by itself, so acknowledgements are held back for a short time.
 *
 * Under the lock of the connection, on the I/O thread unless said otherwise. */
#include "rabbit/connection/channel.h"

#include <stdio.h>
#include <string.h>

#define HOLD_BACK_MS                                                                                                   \
    20 /* how long acknowledgements are held back in the first attempt; each further one doubles that, */
#define MOST_DOUBLINGS 4 /* up to this many times */
#define FEWEST_SIZES 64  /* the largest message is remembered for at least this many messages */

typedef struct held_back {
    uint64_t tag;
    cny_settlement settlement;
    size_t count;
} held_back;

bool cny_renewal_init(cny_feed *feed, const cny_subscription *what)
{
    const cny_consume *consume = &what->consume;
    cny_renewal *renewal = &feed->renewal;
    feed->held.is_fixed = !what->is_renewed;
    renewal->ceiling = what->prefetch;
    renewal->is_transacted = what->transacted;
    renewal->consume.arguments = consume->arguments ? cny_table_copy(&renewal->arena, consume->arguments) : NULL;
    return cny_arena_strdup(&renewal->arena, &renewal->consume.queue, consume->queue) &&
           (renewal->consume.arguments || !consume->arguments);
}

int cny_renewal_first_prefetch(const cny_subscription *what)
{
    return what->is_renewed ? what->first_prefetch : what->prefetch;
}

void cny_renewal_free(cny_renewal *renewal)
{
    cny_arena_free(&renewal->arena);
    cny_buffer_free(&renewal->held_back);
}

/* ---- the prefetch that fits ---- */

/* The largest message is remembered for this many messages, and once more for as many. */
static void note_size(cny_feed *feed, size_t bytes)
{
    cny_renewal *renewal = &feed->renewal;
    if (renewal->sizes_left == 0) {
        size_t usual = 4 * (size_t)feed->prefetch;
        renewal->largest_before = renewal->largest;
        renewal->largest = 0;
        renewal->sizes_left = usual > FEWEST_SIZES ? usual : FEWEST_SIZES;
    }
    renewal->sizes_left--;
    if (bytes > renewal->largest)
        renewal->largest = bytes;
}

/* The prefetch changes for two reasons only: too much would be held, or at least twice as much or the whole prefetch
 * that was asked for is possible. It shrinks further than necessary, so that a slightly larger message does not make it
 * shrink again. */
static int fitting_prefetch(const cny_feed *feed)
{
    const cny_renewal *renewal = &feed->renewal;
    const cny_held *held = &feed->held;
    size_t now = (size_t)feed->prefetch, most = (size_t)renewal->ceiling;
    size_t share = cny_held_share(held), room = share > held->bytes ? share - held->bytes : 0;
    size_t largest = renewal->largest > renewal->largest_before ? renewal->largest : renewal->largest_before;
    if (now > share / largest) {
        size_t fitting = cny_lower(share / largest - share / largest / 4, room / largest);
        return fitting > 0 ? (int)fitting : 1;
    }
    size_t fitting = cny_lower(room / largest, most);
    bool grows = fitting >= 2 * now || (fitting == most && most > now);
    return (int)(grows ? fitting : now);
}

/* ---- holding settlements back ---- */

bool cny_renewal_hold_back(cny_feed *feed, uint64_t tag, cny_settlement settlement, size_t count)
{
    const held_back one = {.tag = tag, .settlement = settlement, .count = count};
    return feed->renewal.hold_back_until != 0 && cny_buffer_append(&feed->renewal.held_back, &one, sizeof one);
}

/* Any thread. */
coney_status cny_renewal_flush(cny_channel *channel)
{
    cny_renewal *renewal = &channel->feed.renewal;
    if (renewal->hold_back_until == 0)
        return CONEY_OK;
    cny_buffer settlements = {0};
    renewal->hold_back_until = 0;
    cny_buffer_swap(&renewal->held_back, &settlements);
    const held_back *all = (const held_back *)(const void *)settlements.data;
    coney_status status = CONEY_OK;
    for (size_t i = 0; i < settlements.size / sizeof *all && status == CONEY_OK; i++)
        status = channel->state == CNY_CHANNEL_USABLE
                     ? cny_feed_settle(channel, all[i].tag, all[i].settlement, all[i].count)
                     : CONEY_OK;
    cny_buffer_free(&settlements);
    return status;
}

/* A broker may allow only one consumer on each channel (consumer_max_per_channel), and closes the connection over the
 * second one. */
static void note_refusal(cny_channel *channel, const cny_error *reason)
{
    enum { NOT_ALLOWED = 530, NOT_IMPLEMENTED = 540 };
    const cny_renewal *renewal = &channel->feed.renewal;
    cny_holding *holding = channel->feed.held.holding;
    int code = cny_error_view(reason)->broker_code;
    bool is_refused = renewal->unanswered > 0 && (code == NOT_ALLOWED || code == NOT_IMPLEMENTED);
    if (is_refused && holding && !atomic_exchange(&holding->is_refused, true))
        cny_connection_log_later(channel->connection,
                                 "the broker does not let a consumer subscribe anew with another prefetch, so "
                                 "consumers keep theirs from now on");
}

void cny_renewal_drop(cny_channel *channel, const cny_error *reason)
{
    cny_renewal *renewal = &channel->feed.renewal;
    note_refusal(channel, reason);
    renewal->hold_back_until = channel->feed.held.give_back_at = 0;
    cny_buffer_free(&renewal->held_back);
}

/* ---- subscribing anew ---- */

/* The tag that was asked for, or that the broker chose, with a number. No tag is used twice: a quorum queue of RabbitMQ
 * 3.10 mistakes the new consumer for the old one with the same tag, and the channel's process at the broker crashes. */
static void next_tag(const cny_feed *feed, char tag[256])
{
    snprintf(tag, 256, "%.240s" CNY_RENEWED_TAG "%u", feed->consumer_tag, feed->renewal.count + 1);
}

static coney_status encode_renewal(const cny_channel *channel, int prefetch, const char *tag, cny_buffer *out)
{
    const cny_feed *feed = &channel->feed;
    cny_consume consume = feed->renewal.consume;
    consume.consumer_tag = tag;
    coney_status status = cny_encode_qos(out, channel->number, (uint16_t)prefetch);
    if (status == CONEY_OK)
        status = cny_encode_consume(out, channel->number, channel->connection->limits.frame_max, &consume);
    if (status == CONEY_OK)
        status = cny_encode_cancel(out, channel->number, feed->renewal.tag);
    return status;
}

/* Without memory everything stays as it is. */
static coney_status renew(cny_channel *channel, int prefetch)
{
    cny_connection *connection = channel->connection;
    cny_feed *feed = &channel->feed;
    cny_renewal *renewal = &feed->renewal;
    uint8_t room[1024];
    char tag[256];
    cny_buffer frames;
    cny_buffer_on_stack(&frames, room, sizeof room);
    next_tag(feed, tag);
    if (encode_renewal(channel, prefetch, tag, &frames) == CONEY_OK &&
        cny_buffer_append(&connection->outbox.outgoing.bytes, frames.data, frames.size)) {
        cny_connection_appended(connection, frames.size);
        memcpy(renewal->tag, tag, sizeof tag);
        feed->prefetch = prefetch;
        cny_credit_begin_anew(&feed->credit, feed->last_tag);
        renewal->count++;
        renewal->unanswered = 2;
        renewal->ends++;
        renewal->attempts = 0;
        renewal->deliveries = 0;
    }
    cny_buffer_free(&frames);
    return cny_renewal_flush(channel);
}

/* If the moment does not come in time there is no backlog, or the network is slow. Then the next attempt comes after
 * twice as many deliveries, and takes twice as long. */
static void begin_to_hold_back(cny_channel *channel)
{
    cny_renewal *renewal = &channel->feed.renewal;
    int doublings = renewal->attempts < MOST_DOUBLINGS ? renewal->attempts : MOST_DOUBLINGS;
    renewal->hold_back_until = cny_deadline(HOLD_BACK_MS << doublings);
    renewal->attempts++;
    renewal->deliveries = 0;
    cny_connection_be_due(channel->connection, renewal->hold_back_until);
}

/* RabbitMQ must get no other method while it commits. */
static bool may_renew(const cny_channel *channel)
{
    const cny_feed *feed = &channel->feed;
    return !feed->held.is_fixed && feed->held.holding && feed->renewal.unanswered == 0 &&
           cny_feed_goes_on(&feed->states) && channel->state == CNY_CHANNEL_USABLE && !channel->awaited;
}

static bool may_hold_back(const cny_feed *feed)
{
    const cny_renewal *renewal = &feed->renewal;
    int doublings = renewal->attempts < 2 * MOST_DOUBLINGS ? renewal->attempts : 2 * MOST_DOUBLINGS;
    return !renewal->is_transacted && renewal->hold_back_until == 0 &&
           renewal->deliveries >= (size_t)feed->prefetch << doublings;
}

static coney_status look_for_moment(cny_channel *channel)
{
    cny_feed *feed = &channel->feed;
    int wanted = fitting_prefetch(feed);
    if (wanted == feed->prefetch)
        return cny_renewal_flush(channel);
    if (feed->credit.present >= (size_t)feed->prefetch)
        return renew(channel, wanted);
    if (may_hold_back(feed))
        begin_to_hold_back(channel);
    return CONEY_OK;
}

coney_status cny_renewal_count(cny_channel *channel, size_t bytes)
{
    cny_feed *feed = &channel->feed;
    cny_credit_use(&feed->credit);
    feed->renewal.deliveries++;
    note_size(feed, bytes);
    return may_renew(channel) ? look_for_moment(channel) : CONEY_OK;
}

/* ---- answers, and the clock ---- */

bool cny_renewal_take_answer(cny_feed *feed, const cny_incoming *incoming)
{
    bool is_step = feed->renewal.unanswered > 0 &&
                   (incoming->method == CNY_BASIC_QOS_OK || incoming->method == CNY_BASIC_CONSUME_OK);
    feed->renewal.unanswered -= is_step;
    return is_step;
}

bool cny_renewal_take_end(cny_feed *feed)
{
    bool is_earlier = feed->renewal.ends > 0;
    feed->renewal.ends -= is_earlier;
    return is_earlier;
}

static bool is_due(int64_t at, int64_t now)
{
    return at > 0 && at <= now;
}

coney_status cny_renewal_run_due(cny_channel *channel, int64_t now)
{
    const cny_renewal *renewal = &channel->feed.renewal;
    const cny_held *held = &channel->feed.held;
    coney_status status = is_due(renewal->hold_back_until, now) ? cny_renewal_flush(channel) : CONEY_OK;
    if (status == CONEY_OK && is_due(held->give_back_at, now))
        status = cny_held_give_back(channel);
    cny_connection_be_due(channel->connection, renewal->hold_back_until);
    cny_connection_be_due(channel->connection, held->give_back_at);
    return status;
}
