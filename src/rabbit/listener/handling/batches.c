/* SPDX-License-Identifier: MIT */
/* A message that has come is one delivery. A batch in Spring's format is taken apart, and each of its fragments is a
 * delivery. Runs on the worker of the lane, with no lock held. */
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

typedef struct taking {
    cny_lane *lane;
    cny_arrival *arrival; /* that all fragments share */
    int earlier_attempts; /* the same for all of them: the headers are not searched for each */
} taking;

static coney_status add_fragment(coney_message *fragment, size_t index, size_t count, void *user)
{
    const taking *of = user;
    coney_delivery *made = cny_delivery_new_fragment(of->lane, of->arrival, fragment);
    if (!made)
        return cny_fail_memory();
    made->earlier_attempts = of->earlier_attempts;
    made->fragment_number = (int)index + 1;
    made->is_last_fragment = index + 1 == count;
    cny_tries_resume(made);
    if (!add_item(of->lane, made))
        return cny_fail_memory();
    atomic_fetch_add(&of->arrival->fragments_left, 1);
    return CONEY_OK;
}

static void drop_items_from(cny_lane *lane, size_t size)
{
    coney_delivery **items = (coney_delivery **)(void *)lane->items.data;
    for (size_t i = size / sizeof *items; i < lane->items.size / sizeof *items; i++)
        coney_delivery_unref(items[i]);
    lane->items.size = size;
}

static void note_broken(coney_delivery *batch)
{
    batch->failure = cny_error_capture();
    batch->processing = CNY_BROKEN;
}

/* The processors undo what was done to the batch when it was sent, such as compressing it. So they run before the batch
 * is taken apart. */
static bool process_batch(const cny_lane *lane, coney_delivery *batch)
{
    const coney_message *original = cny_original(batch);
    coney_status status = cny_processors_run(&lane->source->handling->context->after_receive, &batch->message,
                                             original->exchange, original->routing_key);
    batch->processing = CNY_PROCESSED;
    if (status != CONEY_OK)
        note_broken(batch);
    return status == CONEY_OK && coney_message_is_batch(batch->message);
}

/* The fragments share an arrival, or there are none. */
static coney_status add_fragments(cny_lane *lane, const coney_delivery *batch, int earlier_attempts)
{
    cny_arrival *shared = cny_arrival_share(batch->arrival, lane->source->handling);
    if (!shared)
        return cny_fail_memory();
    const taking of = {.lane = lane, .arrival = shared, .earlier_attempts = earlier_attempts};
    size_t before = lane->items.size;
    coney_status status = coney_message_debatch(batch->message, add_fragment, (void *)(uintptr_t)&of);
    if (status == CONEY_OK) {
        size_t made = (lane->items.size - before) / sizeof(coney_delivery *);
        atomic_fetch_add(&lane->source->in_lanes, (int)made - 1);
    } else {
        drop_items_from(lane, before);
    }
    cny_arrival_unref(shared); /* its fragments have it */
    return status;
}

/* A batch that cannot be taken apart stays one delivery, for which the dispatcher fails. */
static bool take_apart(cny_lane *lane, coney_delivery *batch, int earlier_attempts)
{
    if (!process_batch(lane, batch))
        return add_item(lane, batch);
    coney_status status = add_fragments(lane, batch, earlier_attempts);
    if (status == CONEY_OK || status == CONEY_E_NO_MEMORY) {
        cny_delivery_recycle(lane, batch);
        return status == CONEY_OK;
    }
    note_broken(batch);
    return add_item(lane, batch);
}

/* The sender of a batch decides how long this takes. So the lane is watched as if its handler ran. */
bool cny_lane_expand(cny_lane *lane, coney_delivery *taken)
{
    int earlier_attempts = taken->earlier_attempts;
    const coney_message *original = cny_original(taken);
    cny_tries_resume(taken);
    if (lane->source->handling->spec->options.keep_batches || original->defect || !coney_message_is_batch(original))
        return add_item(lane, taken);
    int64_t began = cny_lane_begin_call(lane);
    bool is_expanded = take_apart(lane, taken, earlier_attempts);
    cny_lane_end_call(lane, began, false);
    return is_expanded;
}
