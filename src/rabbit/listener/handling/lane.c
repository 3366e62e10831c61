/* SPDX-License-Identifier: MIT */
/* A lane takes messages one after another, makes deliveries of them, and hands these to the dispatcher, alone or
 * gathered. Whatever a lane waits for, another attempt or the rest of a batch, it does not wait on its worker: it says
 * when it wants to be run again.
 *
 * Runs on one worker at a time, with no lock held. */
#include "rabbit/listener/handling/lane.h"

#include "rabbit/listener/handling/acks.h"
#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/batches.h"
#include "rabbit/listener/handling/delivery_limit.h"
#include "rabbit/listener/handling/dispatch.h"
#include "rabbit/listener/handling/giving_back.h"
#include "rabbit/listener/handling/outcomes.h"
#include "rabbit/listener/handling/provenance.h"
#include "rabbit/listener/handling/quarantine.h"
#include "rabbit/listener/handling/reply.h"
#include "rabbit/listener/handling/replying.h"
#include "rabbit/listener/handling/settle.h"
#include "rabbit/listener/handling/source.h"

#include <string.h>

#define MEMORY_PAUSE_MS 100 /* before the next message is taken */
#define GATE_MS 10          /* to look again, while the gate is closed or the channel is suspended */
#define FAIR_STEPS 16       /* to look again whether other lanes wait for a worker */

/* ---- taking messages ---- */

static bool take_message(cny_lane *lane)
{
    coney_message *message = cny_lane_next_message(lane);
    if (!message)
        return false;
    cny_warn_of_delivery_limit(lane->source->handling, message);
    int earlier_attempts = cny_earlier_attempts(lane->source, message);
    if (earlier_attempts > 0) /* else the message does not come from the ladder */
        cny_restore_address(lane->source->handling->spec, message);
    /* A message counts as in progress before it counts as received. */
    coney_delivery *delivery = cny_delivery_new(lane, message, earlier_attempts);
    cny_count(&lane->source->handling->counters.received);
    cny_count(&lane->source->received);
    if (!delivery || !cny_lane_expand(lane, delivery)) {
        cny_lane_flush_acks(lane);
        cny_return_for_want_of_memory(lane->source, message);
        cny_lane_rest(lane, MEMORY_PAUSE_MS);
        cny_lane_count(lane, -1);
    }
    coney_message_unref(message);
    return true;
}

/* The consumer ends, no more messages will come, and those that are here are handled before that. */
static bool has_all(const cny_lane *lane)
{
    cny_channel *channel = lane->source->channel;
    cny_intake_mode mode = cny_intake_now(&lane->source->intake);
    bool drains = mode == CNY_INTAKE_DRAIN ||
                  (mode == CNY_INTAKE_RETURN && cny_acknowledges_nothing(lane->source->handling->spec));
    return drains && !cny_channel_is_consuming(channel) && !cny_channel_has_deliveries(channel);
}

/* The memory of what has been made of the items, from that item on. */
static size_t made_since(const cny_lane *lane, size_t first)
{
    size_t count, bytes = 0;
    coney_delivery **items = cny_lane_items(lane, &count);
    for (size_t i = first; i < count; i++)
        bytes += cny_delivery_made_bytes(items[i]);
    return bytes;
}

/* The objects made of small messages may be large. Those of a batch take no more memory than unsettled messages may. */
static size_t most_made(const cny_lane *lane)
{
    return lane->source->handling->context->max_held_bytes;
}

/* Takes messages for a batch; true if it is full. */
static bool fill(cny_lane *lane, size_t wanted)
{
    size_t made = 0, counted = 0;
    do {
        if (lane->items.size >= wanted)
            return true;
        made += made_since(lane, counted);
        cny_lane_items(lane, &counted);
        if (made >= most_made(lane))
            return true;
    } while (take_message(lane));
    return false;
}

/* Takes messages until there is enough for a call of the handler. False: there is not, for now. */
static bool gather(cny_lane *lane)
{
    const coney_listener *options = cny_lane_options(lane);
    size_t count, wanted = (size_t)options->batch_size * sizeof(coney_delivery *);
    coney_delivery **items = cny_lane_items(lane, &count);
    if (count > 0 && items[0]->tries > 0) /* another attempt waits for nobody */
        return true;
    if (!options->on_batch) {
        while (lane->items.size == 0 && take_message(lane))
            ;
        return lane->items.size > 0;
    }
    if (fill(lane, wanted) || lane->items.size == 0)
        return lane->items.size > 0;
    int64_t now = cny_now_ms();
    if (lane->gather_until == 0)
        lane->gather_until = now + options->batch_timeout_ms;
    return now >= lane->gather_until || has_all(lane);
}

/* ---- handling ---- */

static void handle_one(cny_lane *lane)
{
    size_t count;
    coney_delivery *delivery = cny_lane_items(lane, &count)[0];
    coney_outcome outcome = cny_dispatch(delivery, lane);
    if (delivery->sent_reply && cny_lane_put_aside(lane))
        return;
    if (delivery->sent_reply)
        outcome = cny_dispatch_end(delivery, cny_reply_finish(delivery));
    cny_lane_on_outcome(lane, delivery, outcome);
    cny_lane_settle_all_replying(lane); /* in their order: an acknowledgement may cover all before it */
    cny_lane_settle_up(lane, 1);
}

/* False: no handler is to have the delivery. */
static bool make_ready(cny_lane *lane, coney_delivery *delivery)
{
    coney_outcome outcome;
    if (cny_delivery_is_finished(delivery))
        return false;
    if (cny_prepare(delivery, &outcome))
        return true;
    cny_lane_on_outcome(lane, delivery, outcome);
    return false;
}

/* Moves the deliveries that are ready for the handler to the front, and returns their number. The order of these stays,
 * and so does the order of the others, for which the caller has brought room. When the objects made of the first ones
 * take all the memory that they may, the deliveries after them are left for the next batch. */
static size_t prepare_all(cny_lane *lane, coney_delivery **others)
{
    size_t count, ready = 0, other = 0, made = 0;
    coney_delivery **items = cny_lane_items(lane, &count);
    for (size_t i = 0; i < count; i++) {
        coney_delivery *delivery = items[i];
        if (made < most_made(lane) && make_ready(lane, delivery)) {
            items[ready++] = delivery;
            made += cny_delivery_made_bytes(delivery);
        } else {
            others[other++] = delivery;
        }
    }
    if (other > 0)
        memcpy(items + ready, others, other * sizeof(coney_delivery *));
    return ready;
}

/* Returns how many deliveries are ready for the handler. Without memory the undecided ones go back. */
static size_t sort_out(cny_lane *lane)
{
    size_t count, ready = 0;
    coney_delivery **items = cny_lane_items(lane, &count);
    coney_delivery **others = cny_alloc(count * sizeof(coney_delivery *));
    if (others) {
        ready = prepare_all(lane, others);
        cny_free(others);
        return ready;
    }
    for (size_t i = 0; i < count; i++) {
        if (!cny_delivery_is_finished(items[i]))
            cny_lane_on_outcome(lane, items[i], CNY_UNTRIED);
    }
    return 0;
}

static void handle_batch(cny_lane *lane)
{
    size_t count, ready = sort_out(lane);
    coney_delivery **items = cny_lane_items(lane, &count);
    coney_outcome *outcomes = ready > 0 ? cny_alloc(ready * sizeof *outcomes) : NULL;
    lane->gather_until = 0;
    if (outcomes)
        cny_dispatch_batch(items, ready, outcomes, lane);
    for (size_t i = 0; i < ready; i++)
        cny_lane_on_outcome(lane, items[i], outcomes ? outcomes[i] : CNY_UNTRIED);
    cny_free(outcomes);
    cny_lane_settle_up(lane, count);
}

/* ---- running ---- */

/* False while the lane waits for another attempt. At the end of the consumer its messages go to others, so none of them
 * waits before it goes back. */
static bool run_due(cny_lane *lane)
{
    int64_t now = cny_now_ms();
    cny_lane_release_delayed(lane, cny_intake_ends(&lane->source->intake) ? INT64_MAX : now);
    if (now < lane->due)
        return false;
    lane->due = 0;
    return true;
}

/* Does the next thing. False: there is nothing to do now. */
static bool step(cny_lane *lane)
{
    cny_source *source = lane->source;
    bool comes_again = !cny_acknowledges_nothing(lane->source->handling->spec);
    cny_intake_mode mode = cny_intake_now(&source->intake);
    if (cny_lane_is_suspended(lane)) {
        cny_lane_rest(lane, GATE_MS);
        return false;
    }
    if (lane->keeps_decided) /* and none may stay, or the handler would get it once more */
        cny_lane_finish_at_once(lane);
    if (mode == CNY_INTAKE_DROP || (comes_again && !cny_channel_alive(source->channel))) {
        atomic_fetch_add(&source->left_over, cny_lane_drop(lane));
        return false;
    }
    if (comes_again && mode == CNY_INTAKE_RETURN) {
        atomic_fetch_add(&source->left_over, cny_lane_give_back(lane));
        return false;
    }
    bool waits = lane->due > 0 || cny_lane_delayed(lane) > 0; /* else the clock is not asked for each message */
    if (waits && !run_due(lane))
        return false;
    if (!cny_quarantine_enter(source)) {
        lane->due = cny_deadline(GATE_MS);
        return false;
    }
    bool has_work = gather(lane);
    if (has_work && cny_lane_options(lane)->on_batch)
        handle_batch(lane);
    else if (has_work)
        handle_one(lane);
    cny_quarantine_leave(source);
    return has_work;
}

/* Something other than the next handler comes next, so nothing may be left between handler and settlement. */
static bool must_settle_replying(cny_lane *lane)
{
    return cny_lane_has_enough_replying(lane) || lane->due > 0 || cny_lane_is_suspended(lane) ||
           cny_intake_ends(&lane->source->intake) || !cny_channel_alive(lane->source->channel);
}

/* Deliveries whose replies are confirmed are settled first. With nothing at hand the lane rests until all replies are
 * confirmed. */
static bool step_or_settle(cny_lane *lane)
{
    size_t count;
    if (lane->replying.size == 0)
        return step(lane);
    if (must_settle_replying(lane) || cny_lane_has_replied(lane))
        return cny_lane_settle_replying(lane);
    cny_lane_items(lane, &count);
    if (count > 0 || cny_lane_has_more(lane))
        return step(lane);
    return !cny_lane_rest_until_replied(lane);
}

static int64_t or_never(int64_t time)
{
    return time > 0 ? time : INT64_MAX;
}

static void plan(cny_lane *lane)
{
    int64_t next = lane->due > 0 ? lane->due : or_never(lane->gather_until);
    next = cny_sooner(next, or_never(lane->ack_due));
    next = cny_sooner(next, cny_lane_replying_until(lane));
    next = cny_sooner(next, cny_lane_next_due(lane));
    if (cny_lane_is_suspended(lane)) /* the lane does nothing, even if it is due */
        next = cny_deadline(GATE_MS);
    if (next < INT64_MAX)
        cny_workers_schedule_at(lane->source->handling->context->workers, &lane->task, next);
}

void cny_lane_run(cny_task *task)
{
    cny_lane *lane = (cny_lane *)(void *)task;
    cny_workers *workers = lane->source->handling->context->workers;
    if (!lane->source->channel)
        return;
    for (int steps = 1; step_or_settle(lane); steps++) {
        cny_lane_flush_due_acks(lane);
        if (steps % FAIR_STEPS == 0 && cny_workers_busy(workers)) {
            cny_workers_schedule(workers, task);
            break;
        }
    }
    if (cny_intake_ends(&lane->source->intake))
        cny_lane_flush_acks(lane);
    cny_lane_flush_due_acks(lane);
    plan(lane);
}

void cny_lane_clear(cny_lane *lane)
{
    coney_delivery_unref(lane->spare);
    cny_buffer_free(&lane->todo);
    cny_buffer_free(&lane->items);
    cny_buffer_free(&lane->replying);
    cny_buffer_free(&lane->delayed);
    cny_buffer_free(&lane->inbox);
}
