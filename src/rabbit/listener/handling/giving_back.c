/* SPDX-License-Identifier: MIT */
/* The end of a consumer: what no handler gets any more goes back to the queue, or is dropped because its channel is
 * gone. Runs on the worker of the lane. */
#include "rabbit/listener/handling/giving_back.h"

#include "rabbit/listener/handling/acks.h"
#include "rabbit/listener/handling/outcomes.h"
#include "rabbit/listener/handling/source.h"
#include "rabbit/listener/handling/tries.h"

/* Fragments of a batch stand together, and count once. */
static size_t count_messages(const cny_lane *lane)
{
    size_t count, messages = cny_lane_delayed(lane);
    coney_delivery **items = cny_lane_items(lane, &count);
    for (size_t i = 0; i < count; i++)
        messages += i == 0 || items[i]->arrival != items[i - 1]->arrival;
    return messages;
}

/* Fragments of a batch are prepared and handled in their order. So if the first one is here and no handler has had it,
 * no handler has had any of the batch. */
static bool is_unseen(const coney_delivery *delivery)
{
    return delivery->fragment_number <= 1 && cny_state_of(&delivery->state) == CNY_DELIVERY_TAKEN &&
           delivery->tries == 0;
}

static void note_unseen_items(const cny_lane *lane)
{
    size_t count;
    coney_delivery **items = cny_lane_items(lane, &count);
    for (size_t i = 0; i < count; i++) {
        if (is_unseen(items[i]))
            cny_note_unseen(lane->source->handling, items[i]->arrival->message);
    }
}

/* What no handler will get any more: by the broker's reckoning it was never tried. Nothing of it stays, even if the
 * channel has just been suspended, so that it counts once. */
size_t cny_lane_give_back(cny_lane *lane)
{
    note_unseen_items(lane);
    size_t count, returned = count_messages(lane);
    coney_delivery **items = cny_lane_items(lane, &count);
    for (size_t i = 0; i < count; i++) {
        if (cny_delivery_is_finished(items[i]))
            continue;
        cny_tries_keep(items[i], items[i]->tries);
        items[i]->disposition = CNY_RETURN;
        cny_state_set(&items[i]->state, CNY_DELIVERY_DECIDED);
    }
    lane->due = lane->gather_until = 0;
    cny_lane_finish_at_once(lane);
    cny_lane_release_delayed(lane, INT64_MAX);
    cny_lane_flush_acks(lane);
    for (coney_message *message; (message = cny_lane_next_message(lane)); returned++) {
        cny_note_unseen(lane->source->handling, message);
        cny_return_message(lane->source->channel, message);
        coney_message_unref(message);
        cny_lane_count(lane, -1);
    }
    return returned;
}

/* Their channel is gone, so the broker has them already. */
static void drop_one(cny_lane *lane, coney_delivery *delivery)
{
    if (!cny_delivery_is_finished(delivery))
        cny_tries_keep(delivery, delivery->tries);
    cny_lane_count(lane, -1);
    coney_delivery_unref(delivery);
}

size_t cny_lane_drop(cny_lane *lane)
{
    note_unseen_items(lane);
    size_t count, dropped = count_messages(lane);
    coney_delivery **items = cny_lane_items(lane, &count);
    for (size_t i = 0; i < count; i++)
        drop_one(lane, items[i]);
    cny_lane_take_due(lane, INT64_MAX, drop_one);
    lane->items.size = lane->first_item = 0;
    lane->due = lane->gather_until = lane->ack_due = 0;
    lane->acks = lane->ack_bytes = 0;
    for (coney_message *message; (message = cny_lane_next_message(lane)); dropped++) {
        cny_note_unseen(lane->source->handling, message);
        coney_message_unref(message);
        cny_lane_count(lane, -1);
    }
    return dropped;
}
