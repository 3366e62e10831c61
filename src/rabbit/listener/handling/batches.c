/* SPDX-License-Identifier: MIT */
/* From what came to what is handled: a message is one delivery, and of a batch in Spring's format each part is one.
 * Runs on the worker of the lane, with no lock held. */
#include "rabbit/listener/handling/batches.h"

#include "rabbit/listener/handling/settle.h"
#include "rabbit/listener/handling/tries.h"
#include "rabbit/listener/handling/watch.h"

#include <coney/amqp/batch.h>

static bool add_item(cny_lane *lane, coney_delivery *delivery)
{
    if (delivery && cny_buffer_append(&lane->items, &delivery, sizeof(coney_delivery *)))
        return true;
    coney_delivery_unref(delivery);
    return false;
}

typedef struct parts {
    cny_lane *lane;
    coney_delivery *whole;
    int earlier_attempts; /* the same for all of them: the headers are not searched for each */
} parts;

static coney_status add_part(coney_message *fragment, size_t index, size_t count, void *user)
{
    const parts *of = user;
    coney_delivery *part = cny_delivery_new(of->lane, fragment, of->earlier_attempts);
    if (!part)
        return cny_fail_memory();
    part->is_processed = true;
    part->whole = coney_delivery_ref(of->whole);
    part->part = (int)index + 1;
    part->last_in_batch = index + 1 == count;
    cny_tries_resume(part);
    if (!add_item(of->lane, part))
        return cny_fail_memory();
    atomic_fetch_add(&of->whole->parts_left, 1);
    return CONEY_OK;
}

static void drop_items_from(cny_lane *lane, size_t size)
{
    coney_delivery **items = (coney_delivery **)(void *)lane->items.data;
    for (size_t i = size / sizeof *items; i < lane->items.size / sizeof *items; i++)
        coney_delivery_unref(items[i]);
    lane->items.size = size;
}

static void note_broken(coney_delivery *whole)
{
    whole->failure = cny_error_capture();
    whole->is_broken = true;
}

/* What was done to a batch when it was sent, compressing it perhaps, is undone before it is taken apart. */
static bool process_whole(const cny_lane *lane, coney_delivery *whole)
{
    const coney_message *origin = whole->origin;
    coney_status status = cny_processors_run(&lane->source->handling->context->after_receive, &whole->message,
                                             origin->exchange, origin->routing_key);
    whole->is_processed = true;
    if (status != CONEY_OK)
        note_broken(whole);
    return status == CONEY_OK && coney_message_is_batch(whole->message);
}

/* What cannot be taken apart stays whole: the dispatcher finds out why. */
static bool take_apart(cny_lane *lane, coney_delivery *whole, int earlier_attempts)
{
    if (!process_whole(lane, whole))
        return add_item(lane, whole);
    const parts of = {.lane = lane, .whole = whole, .earlier_attempts = earlier_attempts};
    size_t before = lane->items.size;
    coney_status status = coney_message_debatch(whole->message, add_part, (void *)(uintptr_t)&of);
    if (status == CONEY_OK) {
        size_t made = (lane->items.size - before) / sizeof(coney_delivery *);
        atomic_fetch_add(&lane->source->in_lanes, (int)made - 1);
        coney_delivery_unref(whole); /* its parts have it */
        return true;
    }
    drop_items_from(lane, before);
    atomic_store(&whole->parts_left, 0);
    if (status == CONEY_E_NO_MEMORY) {
        coney_delivery_unref(whole);
        return false;
    }
    note_broken(whole);
    return add_item(lane, whole);
}

/* The sender of a batch decides how long this takes, so the lane is watched as if its handler ran. */
bool cny_lane_expand(cny_lane *lane, coney_delivery *whole)
{
    int earlier_attempts = whole->earlier_attempts;
    cny_tries_resume(whole);
    if (lane->source->handling->spec->options.keep_batches || whole->origin->defect ||
        !coney_message_is_batch(whole->origin))
        return add_item(lane, whole);
    int64_t began = cny_lane_begin_call(lane);
    bool is_expanded = take_apart(lane, whole, earlier_attempts);
    cny_lane_end_call(lane, began, false);
    return is_expanded;
}
