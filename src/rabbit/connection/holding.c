/* SPDX-License-Identifier: MIT */
/* How many bytes a consumer holds in deliveries that are not settled. Consumers share a bound. A message that does not
 * fit any more is skipped: it comes without its body, and goes back to its queue when there is room for it.
 *
 * Under the lock of the connection; on the I/O thread unless said otherwise. Knows nothing of the prefetch. */
#include "rabbit/connection/channel.h"

#include <string.h>

#define COMES_AGAIN_MS 1000 /* within this time a message that went back comes again, or another consumer has it */
#define MESSAGE_BYTES 512   /* about what a skipped message needs beside its announced bytes */

typedef struct announced {
    uint64_t tag;
    size_t bytes;
} announced;

/* ---- the bound that is shared; any thread ---- */

size_t cny_held_share(const cny_held *held)
{
    int consumers = atomic_load_explicit(&held->holding->consumers, memory_order_relaxed);
    return held->holding->bound / (size_t)(consumers > 0 ? consumers : 1);
}

void cny_held_join(cny_held *held, cny_holding *holding)
{
    held->holding = holding;
    atomic_fetch_add(&holding->consumers, 1);
}

void cny_held_leave(cny_held *held)
{
    if (!held->holding)
        return;
    atomic_fetch_sub(&held->holding->bytes, held->bytes);
    atomic_fetch_sub(&held->holding->consumers, 1);
    held->holding = NULL;
}

void cny_held_free(cny_held *held)
{
    cny_buffer_free(&held->skipped);
    cny_buffer_free(&held->coming);
}

/* ---- counting ---- */

static void take_bytes(cny_held *held, size_t bytes)
{
    held->bytes += bytes;
    atomic_fetch_add_explicit(&held->holding->bytes, bytes, memory_order_relaxed);
}

static void release_bytes(cny_held *held, size_t bytes)
{
    bytes = cny_lower(bytes, held->bytes);
    held->bytes -= bytes;
    atomic_fetch_sub_explicit(&held->holding->bytes, bytes, memory_order_relaxed);
}

static void drop_first(cny_buffer *buffer, size_t count)
{
    size_t size = count * sizeof(announced);
    buffer->size -= size;
    if (buffer->size > 0 && count > 0)
        memmove(buffer->data, buffer->data + size, buffer->size);
}

/* Releases what was reserved for the delivery, because its real size is known now. */
static void release_coming(cny_held *held, uint64_t tag)
{
    const announced *first = (const announced *)(const void *)held->coming.data;
    if (held->coming.size == 0 || first->tag != tag)
        return;
    release_bytes(held, first->bytes);
    drop_first(&held->coming, 1);
}

void cny_held_take(cny_held *held, uint64_t tag, size_t bytes)
{
    release_coming(held, tag);
    take_bytes(held, bytes);
}

/* ---- what does not fit ---- */

/* The bytes of messages that went back because there was room for them. The broker delivers these before anything else.
 * Other messages must not take the room, or these would go back again and again, and each time counts as a delivery. */
static size_t returning_bytes(const cny_held *held)
{
    return held->returning > 0 && cny_now_ms() < held->returning_until ? held->returning : 0;
}

/* A consumer that holds nothing takes one message, however large it is. A consumer whose prefetch is about to become
 * smaller may hold more until then. */
static bool is_too_much(const cny_held *held, size_t bytes, bool redelivered)
{
    const cny_holding *holding = held->holding;
    size_t most = held->is_fixed ? cny_held_share(held) : 2 * cny_held_share(held);
    size_t bytes_held = held->bytes + (redelivered ? 0 : returning_bytes(held));
    return bytes_held > 0 && bytes_held + bytes > most &&
           atomic_load_explicit(&holding->bytes, memory_order_relaxed) + bytes > holding->bound;
}

static void tell_of_skipping(cny_channel *channel)
{
    cny_held *held = &channel->feed.held;
    if (held->is_fixed && !held->is_told)
        cny_connection_log_later(
            channel->connection,
            "a consumer holds as much as max_held_bytes allows, so further messages of its prefetch "
            "are given back and come again, which counts as a delivery; let its listener declare the "
            "queue, lower its prefetch, or raise max_held_bytes");
    held->is_told = true;
}

bool cny_held_admits(cny_channel *channel, const cny_announcement *announcement)
{
    cny_held *held = &channel->feed.held;
    if (!held->holding || !cny_feed_takes(&channel->feed.states))
        return true;
    uint64_t most = channel->connection->config->max_message_bytes; /* beyond that the body is not kept */
    uint64_t body = announcement->body_bytes <= most ? announcement->body_bytes : 0;
    const announced one = {.tag = announcement->tag,
                           .bytes = (size_t)body + announcement->header_bytes + MESSAGE_BYTES};
    bool is_too_much_now = is_too_much(held, one.bytes, announcement->redelivered);
    if (announcement->redelivered)
        held->returning -= cny_lower(one.bytes, held->returning);
    if (is_too_much_now) {
        tell_of_skipping(channel);
        return !cny_buffer_append(&held->skipped, &one, sizeof one);
    }
    if (cny_buffer_append(&held->coming, &one, sizeof one))
        take_bytes(held, one.bytes);
    return true;
}

static const announced *find_skipped(const cny_held *held, uint64_t tag)
{
    const announced *all = (const announced *)(const void *)held->skipped.data;
    for (size_t i = held->skipped.size / sizeof *all; i > 0; i--) {
        if (all[i - 1].tag == tag)
            return &all[i - 1];
    }
    return NULL;
}

bool cny_held_has_skipped(const cny_held *held, uint64_t tag)
{
    return find_skipped(held, tag) != NULL;
}

/* A message that went back may come to another consumer. Then this one has nothing to settle, after which the next
 * messages would go back. So they also go back after some time. */
void cny_held_plan_to_give_back(cny_channel *channel)
{
    cny_held *held = &channel->feed.held;
    if (held->skipped.size == 0 || held->bytes > 0)
        return;
    held->give_back_at = cny_deadline(COMES_AGAIN_MS);
    cny_connection_be_due(channel->connection, held->give_back_at);
}

size_t cny_held_skip(cny_feed *feed, uint64_t tag)
{
    const announced *one = find_skipped(&feed->held, tag);
    if (!one) /* the channel has lost its consumer meanwhile */
        return 0;
    feed->in_hand++;
    feed->last_tag = tag;
    return one->bytes;
}

/* ---- giving back; any thread ---- */

/* Any thread. Gives back the first `count` messages. */
static coney_status give_back_first(cny_channel *channel, size_t count)
{
    cny_feed *feed = &channel->feed;
    cny_held *held = &feed->held;
    const announced *all = (const announced *)(const void *)held->skipped.data;
    coney_status status = CONEY_OK;
    size_t done = 0;
    held->returning = returning_bytes(held);
    for (; done < count && all[done].tag <= feed->last_tag && status == CONEY_OK; done++) {
        status = cny_settlement_write(channel, all[done].tag, CNY_SETTLE_RETURN, 1);
        feed->settled_last += all[done].tag == feed->settled_last + 1;
        held->returning += all[done].bytes;
    }
    held->returning_until = cny_deadline(COMES_AGAIN_MS);
    drop_first(&held->skipped, done);
    return status;
}

coney_status cny_held_give_back_up_to(cny_channel *channel, uint64_t tag)
{
    const cny_buffer *buffer = &channel->feed.held.skipped;
    const announced *all = (const announced *)(const void *)buffer->data;
    size_t count = 0;
    while (count < buffer->size / sizeof *all && all[count].tag <= tag)
        count++;
    return count > 0 ? give_back_first(channel, count) : CONEY_OK;
}

/* At least one message if nothing is held and none is to come again: then nothing would be settled any more, after
 * which the others could go back. */
static size_t count_fitting(const cny_held *held)
{
    const announced *all = (const announced *)(const void *)held->skipped.data;
    size_t count = 0, size = held->skipped.size / sizeof *all, share = cny_held_share(held);
    size_t bytes = held->bytes + returning_bytes(held);
    for (; count < size && (bytes == 0 || bytes + all[count].bytes <= share); count++)
        bytes += all[count].bytes;
    return count;
}

coney_status cny_held_give_back(cny_channel *channel)
{
    cny_held *held = &channel->feed.held;
    held->give_back_at = 0;
    if (held->skipped.size == 0 || channel->state != CNY_CHANNEL_USABLE || cny_feed_is_kept(&channel->feed.states))
        return CONEY_OK;
    coney_status status = give_back_first(channel, count_fitting(held));
    if (status == CONEY_OK)
        cny_held_plan_to_give_back(channel);
    return status;
}

coney_status cny_held_release(cny_channel *channel, size_t bytes)
{
    cny_held *held = &channel->feed.held;
    if (!held->holding)
        return CONEY_OK;
    release_bytes(held, bytes);
    return cny_held_give_back(channel);
}
