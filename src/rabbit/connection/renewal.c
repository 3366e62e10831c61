/* SPDX-License-Identifier: MIT */
/* How much a consumer may hold in bytes. A running consumer's prefetch cannot be changed, so a consumer begins with a
 * small one and subscribes anew, on the same channel, as the size of its messages allows: basic.qos, basic.consume with
 * another tag and basic.cancel of the old one go out together. What is unsettled stays so, and nothing is given back.
 * The new consumer begins before the old one ends, because a queue may be deleted with its last consumer.
 *
 * The broker must not hand out messages to both: a quorum queue would group them, out of their order. So this is done
 * only while the old consumer has no credit, which is when as many deliveries as its prefetch have come and are not
 * settled on the wire. Then the broker's count is the same, for it cannot be higher, and an acknowledgement that would
 * change it comes after the new subscription. With a handler that is faster than the network that moment would not come
 * by itself, so acknowledgements are held back for it a little.
 *
 * A message that does not fit any more is skipped as it comes, and goes back to its queue when there is room for it.
 *
 * Under the connection's lock, on the I/O thread unless said otherwise. */
#include "rabbit/connection/internal.h"

#include <stdio.h>
#include <string.h>

#define HOLD_BACK_MS 20     /* for acknowledgements in the first attempt; twice as long in each further one, */
#define MOST_DOUBLINGS 4    /* up to so many times */
#define FEWEST_SIZES 64     /* how many messages the largest one is remembered for, at least */
#define COMES_AGAIN_MS 1000 /* what went back, unless another consumer gets it */
#define MESSAGE_BYTES 512   /* of one that is skipped, beside what was announced; about */

typedef struct held_back {
    uint64_t tag;
    cny_settlement settlement;
    size_t count;
} held_back;

typedef struct announced {
    uint64_t tag;
    size_t bytes;
} announced;

/* ---- life ---- */

bool cny_renewal_init(cny_renewal *renewal, const cny_subscription *what)
{
    const cny_consume *consume = &what->consume;
    renewal->ceiling = what->prefetch;
    renewal->is_fixed = !what->is_renewed;
    renewal->is_transacted = what->transacted;
    renewal->consume.arguments = consume->arguments ? cny_table_copy(&renewal->arena, consume->arguments) : NULL;
    return cny_arena_strdup(&renewal->arena, &renewal->consume.queue, consume->queue) &&
           (renewal->consume.arguments || !consume->arguments);
}

int cny_renewal_first_prefetch(const cny_subscription *what)
{
    return what->is_renewed ? what->first_prefetch : what->prefetch;
}

void cny_renewal_join(cny_renewal *renewal, cny_holding *holding)
{
    renewal->holding = holding;
    atomic_fetch_add(&holding->consumers, 1);
}

/* Any thread. */
void cny_renewal_leave(cny_channel *channel)
{
    cny_renewal *renewal = &channel->feed.renewal;
    cny_renewal_flush(channel);
    if (!renewal->holding)
        return;
    atomic_fetch_sub(&renewal->holding->bytes, renewal->bytes);
    atomic_fetch_sub(&renewal->holding->consumers, 1);
    renewal->holding = NULL;
}

void cny_renewal_free(cny_renewal *renewal)
{
    cny_arena_free(&renewal->arena);
    cny_buffer_free(&renewal->held_back);
    cny_buffer_free(&renewal->skipped);
    cny_buffer_free(&renewal->coming);
}

/* ---- what fits ---- */

static size_t share_of(const cny_holding *holding)
{
    int consumers = atomic_load_explicit(&holding->consumers, memory_order_relaxed);
    return holding->bound / (size_t)(consumers > 0 ? consumers : 1);
}

static size_t lower(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The largest message is remembered for so many, twice over. */
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

/* It stays as it is but for a reason: too much would be held, or at least twice as much or all that was asked for is
 * possible. It shrinks further than it must, so that it does not shrink again for the next message, a bit larger. */
static int fitting_prefetch(const cny_feed *feed)
{
    const cny_renewal *renewal = &feed->renewal;
    size_t now = (size_t)feed->prefetch, most = (size_t)renewal->ceiling;
    size_t share = share_of(renewal->holding), room = share > renewal->bytes ? share - renewal->bytes : 0;
    size_t largest = renewal->largest > renewal->largest_before ? renewal->largest : renewal->largest_before;
    if (now > share / largest) {
        size_t fitting = lower(share / largest - share / largest / 4, room / largest);
        return fitting > 0 ? (int)fitting : 1;
    }
    size_t fitting = lower(room / largest, most);
    bool grows = fitting >= 2 * now || (fitting == most && most > now);
    return (int)(grows ? fitting : now);
}

/* ---- settling ---- */

/* What is settled on the wire: of how many deliveries the broker thinks that the present consumer has them. */
void cny_renewal_settled(cny_feed *feed, uint64_t tag, cny_settlement settlement, size_t count)
{
    cny_renewal *renewal = &feed->renewal;
    if (settlement != CNY_SETTLE_ACK_UP_TO)
        count = 1;
    size_t earlier = lower(count, renewal->earlier);
    if (tag <= renewal->began_after) {
        renewal->earlier -= earlier;
        return;
    }
    if (settlement == CNY_SETTLE_ACK_UP_TO) { /* of earlier consumers it covers all */
        count -= earlier;
        renewal->earlier = 0;
    }
    renewal->present -= lower(count, renewal->present);
}

bool cny_renewal_hold_back(cny_feed *feed, uint64_t tag, cny_settlement settlement, size_t count)
{
    const held_back one = {.tag = tag, .settlement = settlement, .count = count};
    return feed->renewal.hold_back_until != 0 && cny_buffer_append(&feed->renewal.held_back, &one, sizeof one);
}

static void close_without_memory(cny_channel *channel)
{
    cny_error *reason = cny_error_capture();
    cny_channel_close_locked(channel, reason);
    cny_error_unref(reason);
}

/* Any thread. */
void cny_renewal_flush(cny_channel *channel)
{
    cny_renewal *renewal = &channel->feed.renewal;
    if (renewal->hold_back_until == 0)
        return;
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
    if (status != CONEY_OK) /* the broker would wait for them */
        close_without_memory(channel);
}

/* A broker may allow one consumer for each channel (consumer_max_per_channel), and closes the connection for the
 * second. */
static void note_refusal(cny_channel *channel, const cny_error *reason)
{
    enum { NOT_ALLOWED = 530, NOT_IMPLEMENTED = 540 };
    const cny_renewal *renewal = &channel->feed.renewal;
    int code = cny_error_view(reason)->broker_code;
    bool is_refused = renewal->unanswered > 0 && (code == NOT_ALLOWED || code == NOT_IMPLEMENTED);
    if (is_refused && renewal->holding && !atomic_exchange(&renewal->holding->is_refused, true))
        cny_connection_remark(channel->connection,
                              "the broker does not let a consumer subscribe anew with another prefetch, so "
                              "consumers keep theirs from now on");
}

void cny_renewal_drop(cny_channel *channel, const cny_error *reason)
{
    cny_renewal *renewal = &channel->feed.renewal;
    note_refusal(channel, reason);
    renewal->hold_back_until = renewal->give_back_at = 0;
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
static void renew(cny_channel *channel, int prefetch)
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
        cny_buffer_append(&connection->outgoing.bytes, frames.data, frames.size)) {
        cny_connection_appended(connection, frames.size);
        memcpy(renewal->tag, tag, sizeof tag);
        feed->prefetch = prefetch;
        renewal->began_after = feed->last_tag;
        renewal->earlier += renewal->present;
        renewal->present = 0;
        renewal->count++;
        renewal->unanswered = 2;
        renewal->ends++;
        renewal->attempts = 0;
        renewal->deliveries = 0;
    }
    cny_buffer_free(&frames);
    cny_renewal_flush(channel);
}

/* If the moment does not come in time there is no backlog, or the network is slow: it is tried again after twice as
 * many deliveries, and for twice as long. */
static void begin_to_hold_back(cny_channel *channel)
{
    cny_renewal *renewal = &channel->feed.renewal;
    int doublings = renewal->attempts < MOST_DOUBLINGS ? renewal->attempts : MOST_DOUBLINGS;
    renewal->hold_back_until = cny_deadline(HOLD_BACK_MS << doublings);
    renewal->attempts++;
    renewal->deliveries = 0;
    cny_connection_be_due(channel->connection, renewal->hold_back_until);
}

/* RabbitMQ takes nothing while it commits. */
static bool may_renew(const cny_channel *channel)
{
    const cny_feed *feed = &channel->feed;
    return !feed->renewal.is_fixed && feed->renewal.holding && feed->renewal.unanswered == 0 && !feed->cancelled &&
           !feed->ended && channel->state == CNY_CHANNEL_USABLE && !channel->awaited;
}

static bool may_hold_back(const cny_feed *feed)
{
    const cny_renewal *renewal = &feed->renewal;
    int doublings = renewal->attempts < 2 * MOST_DOUBLINGS ? renewal->attempts : 2 * MOST_DOUBLINGS;
    return !renewal->is_transacted && renewal->hold_back_until == 0 &&
           renewal->deliveries >= (size_t)feed->prefetch << doublings;
}

static void look_for_moment(cny_channel *channel)
{
    cny_feed *feed = &channel->feed;
    int wanted = fitting_prefetch(feed);
    if (wanted == feed->prefetch)
        cny_renewal_flush(channel);
    else if (feed->renewal.present >= (size_t)feed->prefetch)
        renew(channel, wanted);
    else if (may_hold_back(feed))
        begin_to_hold_back(channel);
}

static void take_bytes(cny_renewal *renewal, size_t bytes)
{
    renewal->bytes += bytes;
    atomic_fetch_add_explicit(&renewal->holding->bytes, bytes, memory_order_relaxed);
}

static void release_bytes(cny_renewal *renewal, size_t bytes)
{
    bytes = lower(bytes, renewal->bytes);
    renewal->bytes -= bytes;
    atomic_fetch_sub_explicit(&renewal->holding->bytes, bytes, memory_order_relaxed);
}

static void drop_first(cny_buffer *buffer, size_t count)
{
    size_t size = count * sizeof(announced);
    buffer->size -= size;
    if (buffer->size > 0 && count > 0)
        memmove(buffer->data, buffer->data + size, buffer->size);
}

/* What was reserved for it; what it really holds is known now. */
static void release_coming(cny_renewal *renewal, uint64_t tag)
{
    const announced *first = (const announced *)(const void *)renewal->coming.data;
    if (renewal->coming.size == 0 || first->tag != tag)
        return;
    release_bytes(renewal, first->bytes);
    drop_first(&renewal->coming, 1);
}

static void count_delivery(cny_channel *channel, size_t bytes)
{
    cny_renewal *renewal = &channel->feed.renewal;
    renewal->present++;
    renewal->deliveries++;
    note_size(&channel->feed, bytes);
    if (may_renew(channel))
        look_for_moment(channel);
}

void cny_renewal_delivered(cny_channel *channel, size_t bytes)
{
    cny_renewal *renewal = &channel->feed.renewal;
    if (!renewal->holding)
        return;
    release_coming(renewal, channel->feed.last_tag);
    take_bytes(renewal, bytes);
    count_delivery(channel, bytes);
}

bool cny_renewal_is_step(cny_feed *feed, const cny_incoming *incoming)
{
    bool is_step = feed->renewal.unanswered > 0 &&
                   (incoming->method == CNY_BASIC_QOS_OK || incoming->method == CNY_BASIC_CONSUME_OK);
    feed->renewal.unanswered -= is_step;
    return is_step;
}

bool cny_renewal_is_end_of_earlier(cny_feed *feed)
{
    bool is_earlier = feed->renewal.ends > 0;
    feed->renewal.ends -= is_earlier;
    return is_earlier;
}

/* ---- what does not fit ---- */

/* Of what went back because there was room for it. The broker delivers that before anything else, so nothing else may
 * take the room, or the message would go back again and again, and each time counts as a delivery. */
static size_t returning_bytes(const cny_renewal *renewal)
{
    return renewal->returning > 0 && cny_now_ms() < renewal->returning_until ? renewal->returning : 0;
}

/* A consumer that holds nothing takes one, however large it is. One whose prefetch becomes smaller may hold more until
 * it is. */
static bool is_too_much(const cny_renewal *renewal, size_t bytes, bool redelivered)
{
    const cny_holding *holding = renewal->holding;
    size_t most = renewal->is_fixed ? share_of(holding) : 2 * share_of(holding);
    size_t held = renewal->bytes + (redelivered ? 0 : returning_bytes(renewal));
    return held > 0 && held + bytes > most &&
           atomic_load_explicit(&holding->bytes, memory_order_relaxed) + bytes > holding->bound;
}

static void tell_of_skipping(cny_channel *channel)
{
    cny_renewal *renewal = &channel->feed.renewal;
    if (renewal->is_fixed && !renewal->is_told)
        cny_connection_remark(channel->connection,
                              "a consumer holds as much as max_held_bytes allows, so further messages of its prefetch "
                              "are given back and come again, which counts as a delivery; let its listener declare the "
                              "queue, lower its prefetch, or raise max_held_bytes");
    renewal->is_told = true;
}

bool cny_renewal_admits(cny_channel *channel, const cny_announcement *announcement)
{
    cny_renewal *renewal = &channel->feed.renewal;
    if (!renewal->holding || channel->feed.ended)
        return true;
    uint64_t most = channel->connection->config->max_message_bytes; /* beyond that the body is not kept */
    uint64_t body = announcement->body_bytes <= most ? announcement->body_bytes : 0;
    const announced one = {.tag = announcement->tag,
                           .bytes = (size_t)body + announcement->header_bytes + MESSAGE_BYTES};
    bool is_too_much_now = is_too_much(renewal, one.bytes, announcement->redelivered);
    if (announcement->redelivered)
        renewal->returning -= lower(one.bytes, renewal->returning);
    if (is_too_much_now) {
        tell_of_skipping(channel);
        return !cny_buffer_append(&renewal->skipped, &one, sizeof one);
    }
    if (cny_buffer_append(&renewal->coming, &one, sizeof one))
        take_bytes(renewal, one.bytes);
    return true;
}

static const announced *find_skipped(const cny_renewal *renewal, uint64_t tag)
{
    const announced *all = (const announced *)(const void *)renewal->skipped.data;
    for (size_t i = renewal->skipped.size / sizeof *all; i > 0; i--) {
        if (all[i - 1].tag == tag)
            return &all[i - 1];
    }
    return NULL;
}

bool cny_renewal_has_skipped(const cny_feed *feed, uint64_t tag)
{
    return find_skipped(&feed->renewal, tag) != NULL;
}

/* What went back may come to another consumer, and then this one has nothing to settle: so the rest has a time, too. */
static void plan_to_give_back(cny_channel *channel)
{
    cny_renewal *renewal = &channel->feed.renewal;
    if (renewal->skipped.size == 0 || renewal->bytes > 0)
        return;
    renewal->give_back_at = cny_deadline(COMES_AGAIN_MS);
    cny_connection_be_due(channel->connection, renewal->give_back_at);
}

void cny_renewal_skipped(cny_channel *channel, const coney_message *message)
{
    cny_feed *feed = &channel->feed;
    const announced *one = find_skipped(&feed->renewal, message->delivery_tag);
    if (!one) /* the channel has lost its consumer meanwhile */
        return;
    feed->in_hand++;
    feed->last_tag = message->delivery_tag;
    count_delivery(channel, one->bytes);
    plan_to_give_back(channel);
}

/* Any thread. The first so many. */
static coney_status give_back_first(cny_channel *channel, size_t count)
{
    cny_feed *feed = &channel->feed;
    cny_renewal *renewal = &feed->renewal;
    const announced *all = (const announced *)(const void *)renewal->skipped.data;
    coney_status status = CONEY_OK;
    size_t done = 0;
    renewal->returning = returning_bytes(renewal);
    for (; done < count && all[done].tag <= feed->last_tag && status == CONEY_OK; done++) {
        status = cny_feed_settle(channel, all[done].tag, CNY_SETTLE_RETURN, 1);
        feed->settled_last += all[done].tag == feed->settled_last + 1;
        renewal->returning += all[done].bytes;
    }
    renewal->returning_until = cny_deadline(COMES_AGAIN_MS);
    drop_first(&renewal->skipped, done);
    return status;
}

coney_status cny_renewal_give_back_up_to(cny_channel *channel, uint64_t tag)
{
    const cny_buffer *buffer = &channel->feed.renewal.skipped;
    const announced *all = (const announced *)(const void *)buffer->data;
    size_t count = 0;
    while (count < buffer->size / sizeof *all && all[count].tag <= tag)
        count++;
    return count > 0 ? give_back_first(channel, count) : CONEY_OK;
}

/* If nothing is held and nothing is to come again, at least one, for nothing would be settled any more, after which the
 * others could go back. */
static size_t count_fitting(const cny_renewal *renewal)
{
    const announced *all = (const announced *)(const void *)renewal->skipped.data;
    size_t count = 0, size = renewal->skipped.size / sizeof *all, share = share_of(renewal->holding);
    size_t bytes = renewal->bytes + returning_bytes(renewal);
    for (; count < size && (bytes == 0 || bytes + all[count].bytes <= share); count++)
        bytes += all[count].bytes;
    return count;
}

static void give_back_fitting(cny_channel *channel)
{
    cny_renewal *renewal = &channel->feed.renewal;
    renewal->give_back_at = 0;
    if (renewal->skipped.size == 0 || channel->state != CNY_CHANNEL_USABLE || channel->feed.is_kept)
        return;
    if (give_back_first(channel, count_fitting(renewal)) != CONEY_OK) {
        close_without_memory(channel);
    } else {
        plan_to_give_back(channel);
    }
}

void cny_renewal_released(cny_channel *channel, size_t bytes)
{
    cny_renewal *renewal = &channel->feed.renewal;
    if (!renewal->holding)
        return;
    release_bytes(renewal, bytes);
    give_back_fitting(channel);
}

/* ---- by the clock ---- */

static bool is_due(int64_t at, int64_t now)
{
    return at > 0 && at <= now;
}

void cny_renewal_run_due(cny_channel *channel, int64_t now)
{
    const cny_renewal *renewal = &channel->feed.renewal;
    if (is_due(renewal->hold_back_until, now))
        cny_renewal_flush(channel);
    if (is_due(renewal->give_back_at, now))
        give_back_fitting(channel);
    cny_connection_be_due(channel->connection, renewal->hold_back_until);
    cny_connection_be_due(channel->connection, renewal->give_back_at);
}
