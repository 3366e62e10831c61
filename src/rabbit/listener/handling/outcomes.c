/* SPDX-License-Identifier: MIT */
/* What follows the outcome of a handler: another attempt, a delay, or the settlement, and with a transacted listener
 * the rollback or the commit. Runs on the worker of the lane. */
#include "rabbit/listener/handling/outcomes.h"

#include "rabbit/listener/handling/acks.h"
#include "rabbit/listener/handling/backoff.h"
#include "rabbit/listener/handling/policy.h"
#include "rabbit/listener/handling/reply.h"
#include "rabbit/listener/handling/settle.h"
#include "rabbit/listener/handling/source.h"

/* ---- deciding ---- */

/* When a message that goes back may do so; 0: at once. Without acknowledgements no prefetch bounds the number of
 * messages that would wait, so none waits. */
static int64_t time_of_requeue(const cny_lane *lane, const coney_delivery *delivery, int retry_delay_ms)
{
    if (!cny_goes_back(delivery->disposition) || cny_acknowledges_nothing(lane->source->handling->spec))
        return 0;
    int delay_ms = retry_delay_ms >= 0 ? retry_delay_ms : cny_requeue_delay(delivery);
    return delay_ms > 0 ? cny_deadline(delay_ms) : 0;
}

/* A batch that is taken apart waits once, for the first of its fragments that goes back. */
static void decide_time(cny_lane *lane, coney_delivery *delivery, int retry_delay_ms)
{
    cny_arrival *arrival = delivery->arrival;
    if (!cny_goes_back(delivery->disposition) && coney_message_redelivered(arrival->message) && !delivery->fragment)
        cny_backoff_forget(lane->source->handling, arrival->message);
    if (!arrival->was_delayed)
        delivery->requeue_at = time_of_requeue(lane, delivery, retry_delay_ms);
    arrival->was_delayed |= delivery->requeue_at > 0;
}

/* With CONEY_ACKNOWLEDGE_MANUAL its handler has returned. False: it is left to the program. */
static bool take_back(coney_delivery *delivery, coney_outcome *outcome)
{
    bool is_forgotten = *outcome == CONEY_DEFER && atomic_load(&delivery->refs) == 1;
    if (*outcome == CONEY_DEFER && !is_forgotten) {
        cny_state_leave_handling(&delivery->state, CNY_DELIVERY_DEFERRED);
        return false;
    }
    if (!cny_delivery_take_back(delivery))
        return false;
    if (is_forgotten) {
        cny_log_forgotten(delivery);
        *outcome = CONEY_REQUEUE;
    }
    return true;
}

/* A delivery for which there is no disposition gets another attempt in place. */
static void decide(cny_lane *lane, coney_delivery *delivery, coney_outcome outcome)
{
    int delay_ms = -1;
    atomic_store(&lane->deciding, true);
    delivery->disposition = cny_decide(delivery, outcome, true, &delay_ms);
    atomic_store(&lane->deciding, false);
    if (delivery->disposition == CNY_NONE) {
        bool is_prepared = delivery->progress != CNY_UNPREPARED;
        cny_state_set(&delivery->state, is_prepared ? CNY_DELIVERY_READY : CNY_DELIVERY_TAKEN);
        cny_count(&lane->source->handling->counters.retried);
        cny_lane_rest(lane, delay_ms);
    } else {
        cny_state_set(&delivery->state, CNY_DELIVERY_DECIDED);
        decide_time(lane, delivery, delay_ms);
    }
}

/* The outcome of a handler, or of what kept it from being called. */
void cny_lane_on_outcome(cny_lane *lane, coney_delivery *delivery, coney_outcome outcome)
{
    cny_delivery_state state = cny_state_of(&delivery->state);
    bool is_left = state == CNY_DELIVERY_SETTLED || /* by the program, in its handler */
                   (state == CNY_DELIVERY_HANDLING && !take_back(delivery, &outcome));
    if (!is_left)
        decide(lane, delivery, outcome);
}

static void conclude(cny_lane *lane, coney_delivery *delivery)
{
    if (cny_state_is_left(&delivery->state)) {
        cny_lane_count(lane, -1);
        coney_delivery_unref(delivery);
        return;
    }
    cny_delivery_conclude(delivery, lane);
    cny_lane_count(lane, -1);
    cny_delivery_recycle(lane, delivery);
}

/* ---- finishing ---- */

/* A message that waits before it goes back leaves the handler to the next one. When the consumer ends, nothing comes
 * round any more, so the message does not wait. Acknowledgements that are not sent yet go first, because an "up to"
 * that is sent later would cover the message. */
static void finish(cny_lane *lane, coney_delivery *delivery)
{
    bool is_left = cny_state_is_left(&delivery->state);
    bool waits = !is_left && delivery->requeue_at > 0 && !cny_intake_ends(&lane->source->intake);
    if (waits) {
        cny_lane_flush_acks(lane);
        cny_delivery_let_go(delivery);
    }
    if (!waits || !cny_lane_delay(lane, delivery, delivery->requeue_at))
        conclude(lane, delivery);
}

static size_t finish_any(cny_lane *lane)
{
    size_t count, kept = 0;
    coney_delivery **items = cny_lane_items(lane, &count);
    for (size_t i = 0; i < count; i++) {
        if (cny_delivery_is_finished(items[i]))
            finish(lane, items[i]);
        else
            items[kept++] = items[i];
    }
    lane->items.size = kept * sizeof(coney_delivery *);
    return count - kept;
}

/* Deliveries that are handled one by one are decided in their order. */
static size_t finish_first(cny_lane *lane)
{
    size_t count, finished = 0;
    coney_delivery **items = cny_lane_items(lane, &count);
    for (; finished < count && cny_delivery_is_finished(items[finished]); finished++)
        finish(lane, items[finished]);
    lane->first_item += finished;
    if (finished == count)
        lane->items.size = lane->first_item = 0;
    return finished;
}

/* What handlers sent in a transaction is committed with the acknowledgements; after a failure the channel is dead, and
 * the broker delivers again. */
static void commit(cny_lane *lane, size_t finished)
{
    if (cny_lane_options(lane)->transacted && finished > 0)
        cny_transaction_commit(lane->source);
}

/* Those that are decided go, in their order; the others stay. */
void cny_lane_finish_at_once(cny_lane *lane)
{
    lane->keeps_decided = false;
    commit(lane, cny_lane_options(lane)->on_batch ? finish_any(lane) : finish_first(lane));
}

/* While the channel is suspended all stay. */
static void finish_decided(cny_lane *lane)
{
    if (cny_lane_is_suspended(lane))
        lane->keeps_decided = true;
    else
        cny_lane_finish_at_once(lane);
}

void cny_lane_release_delayed(cny_lane *lane, int64_t now)
{
    commit(lane, cny_lane_take_due(lane, now, conclude));
}

/* Messages that a handler has sent for a delivery must not stay if it failed for that. The rollback takes along what
 * the handler sent for other deliveries of the batch, so it is called for these again. */
static void roll_back(cny_lane *lane, size_t handled)
{
    size_t count;
    coney_delivery **items = cny_lane_items(lane, &count);
    bool has_failed = false;
    for (size_t i = 0; i < handled; i++)
        has_failed = has_failed || items[i]->progress == CNY_PREPARED;
    if (!has_failed)
        return;
    cny_transaction_rollback(lane->source);
    for (size_t i = 0; i < handled; i++) {
        if (items[i]->progress != CNY_SUCCEEDED)
            continue;
        items[i]->disposition = CNY_NONE;
        cny_state_set(&items[i]->state, CNY_DELIVERY_READY);
    }
}

/* A rejection is part of the transaction, too, so it comes after the rollback. */
void cny_lane_settle_up(cny_lane *lane, size_t handled)
{
    if (cny_lane_options(lane)->transacted)
        roll_back(lane, handled);
    finish_decided(lane);
}
