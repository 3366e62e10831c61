/* SPDX-License-Identifier: MIT */
/* A lane takes messages one after another: it makes deliveries of them (of a batch in Spring's format, one for each
 * part), hands them to the dispatcher alone or gathered, and settles them. Whatever it waits for, another
 * attempt or the rest of a batch, it does not wait on its worker: it says when it wants to be run again.
 *
 * Runs on one worker at a time, with no lock held. */
#include "rabbit/listener/handling/lane.h"

#include "rabbit/listener/handling/acks.h"
#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/backoff.h"
#include "rabbit/listener/handling/batches.h"
#include "rabbit/listener/handling/delivery_limit.h"
#include "rabbit/listener/handling/dispatch.h"
#include "rabbit/listener/handling/policy.h"
#include "rabbit/listener/handling/quarantine.h"
#include "rabbit/listener/handling/reply.h"
#include "rabbit/listener/handling/settle.h"
#include "rabbit/listener/handling/source.h"
#include "rabbit/listener/handling/tries.h"

#include <string.h>

#define MEMORY_PAUSE_MS 100 /* before the next message is taken */
#define GATE_MS 10          /* to look again whether messages in quarantine are through, or the channel is suspended */
#define FAIR_STEPS 16       /* before looking whether other lanes wait for a worker */

static const coney_listener *options_of(const cny_lane *lane)
{
    return &lane->source->handling->spec->options;
}

static coney_delivery **items_of(const cny_lane *lane, size_t *count)
{
    coney_delivery **items = (coney_delivery **)(void *)lane->items.data;
    *count = lane->items.size / sizeof *items - lane->first_item;
    return items ? items + lane->first_item : items;
}

static void wait_for(cny_lane *lane, int delay_ms)
{
    int64_t due = cny_deadline(delay_ms);
    if (due > lane->due)
        lane->due = due;
}

/* ---- taking messages ---- */

/* Swaps in what has come; false if there is nothing. */
static bool refill(cny_lane *lane)
{
    cny_source *source = lane->source;
    lane->todo.size = lane->next = 0;
    if (source->lane_count > 1) {
        pthread_mutex_lock(&lane->lock);
        cny_buffer_swap(&lane->todo, &lane->inbox);
        pthread_mutex_unlock(&lane->lock);
        return lane->todo.size > 0;
    }
    return cny_source_take(source, &lane->todo);
}

static coney_message *next_message(cny_lane *lane)
{
    if (lane->next * sizeof(coney_message *) >= lane->todo.size && !refill(lane))
        return NULL;
    return ((coney_message **)(void *)lane->todo.data)[lane->next++];
}

static void count_in_lanes(cny_lane *lane, int change)
{
    atomic_fetch_add(&lane->source->in_lanes, change);
}

static bool take_message(cny_lane *lane)
{
    coney_message *message = next_message(lane);
    if (!message)
        return false;
    cny_warn_of_delivery_limit(lane->source->handling, message);
    coney_delivery *delivery = /* in progress before it is received */
        cny_delivery_new(lane, message, cny_earlier_attempts(lane->source, message));
    cny_count(&lane->source->handling->counters.received);
    cny_count(&lane->source->received);
    if (!delivery || !cny_lane_expand(lane, delivery)) {
        cny_lane_flush_acks(lane);
        cny_return_for_want_of_memory(lane->source, message);
        wait_for(lane, MEMORY_PAUSE_MS);
        count_in_lanes(lane, -1);
    }
    coney_message_unref(message);
    return true;
}

/* No more will come: its consumer ends. */
static bool has_all(const cny_lane *lane)
{
    cny_channel *channel = lane->source->channel;
    return atomic_load(&lane->source->leaving) && !cny_channel_is_consuming(channel) &&
           !cny_channel_has_deliveries(channel);
}

/* What has been made of the items from that one on takes so many bytes. */
static size_t made_since(const cny_lane *lane, size_t first)
{
    size_t count, bytes = 0;
    coney_delivery **items = items_of(lane, &count);
    for (size_t i = first; i < count; i++)
        bytes += cny_delivery_made_bytes(items[i]);
    return bytes;
}

/* Small messages may become large, and a batch takes no more memory for that than unsettled messages may take. */
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
        items_of(lane, &counted);
        if (made >= most_made(lane))
            return true;
    } while (take_message(lane));
    return false;
}

/* Until there is something for a handler; false if that is not now. */
static bool gather(cny_lane *lane)
{
    const coney_listener *options = options_of(lane);
    size_t count, wanted = (size_t)options->batch_size * sizeof(coney_delivery *);
    coney_delivery **items = items_of(lane, &count);
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

/* ---- what becomes of deliveries ---- */

/* When a message that goes back may do so; 0: at once. Without acknowledgements no prefetch limits how many would wait,
 * so none does. */
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

/* Undecided deliveries get another attempt in place. */
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
        wait_for(lane, delay_ms);
    } else {
        cny_state_set(&delivery->state, CNY_DELIVERY_DECIDED);
        decide_time(lane, delivery, delay_ms);
    }
}

/* The outcome of a handler, or of what kept it from being called. */
static void on_outcome(cny_lane *lane, coney_delivery *delivery, coney_outcome outcome)
{
    cny_delivery_state state = cny_state_of(&delivery->state);
    bool is_left = state == CNY_DELIVERY_SETTLED || /* by the program, in its handler */
                   (state == CNY_DELIVERY_HANDLING && !take_back(delivery, &outcome));
    if (!is_left)
        decide(lane, delivery, outcome);
}

static bool is_finished(const coney_delivery *delivery)
{
    return !cny_state_is_undecided(&delivery->state);
}

static void conclude(cny_lane *lane, coney_delivery *delivery)
{
    if (cny_state_is_left(&delivery->state)) {
        count_in_lanes(lane, -1);
        coney_delivery_unref(delivery);
        return;
    }
    cny_delivery_conclude(delivery, lane);
    count_in_lanes(lane, -1);
    cny_delivery_recycle(lane, delivery);
}

/* A message that waits before it goes back leaves the handler to the next one. When the consumer ends, nothing comes
 * round any more, so the message does not wait. Acknowledgements that are not sent yet go first, because an "up to"
 * that is sent later would cover the message. */
static void finish(cny_lane *lane, coney_delivery *delivery)
{
    bool is_left = cny_state_is_left(&delivery->state);
    bool waits = !is_left && delivery->requeue_at > 0 && !atomic_load(&lane->source->leaving);
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
    coney_delivery **items = items_of(lane, &count);
    for (size_t i = 0; i < count; i++) {
        if (is_finished(items[i]))
            finish(lane, items[i]);
        else
            items[kept++] = items[i];
    }
    lane->items.size = kept * sizeof(coney_delivery *);
    return count - kept;
}

/* Of those that are handled one by one nothing is decided behind the first that is not. */
static size_t finish_first(cny_lane *lane)
{
    size_t count, finished = 0;
    coney_delivery **items = items_of(lane, &count);
    for (; finished < count && is_finished(items[finished]); finished++)
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
    if (options_of(lane)->transacted && finished > 0)
        cny_transaction_commit(lane->source);
}

/* Those that are decided go, in their order; the others stay. */
static void finish_at_once(cny_lane *lane)
{
    lane->keeps_decided = false;
    commit(lane, options_of(lane)->on_batch ? finish_any(lane) : finish_first(lane));
}

/* While the channel is suspended all stay. */
static void finish_decided(cny_lane *lane)
{
    if (cny_lane_is_suspended(lane))
        lane->keeps_decided = true;
    else
        finish_at_once(lane);
}

/* The messages that were to wait until then, or less, go back. */
static void release_delayed(cny_lane *lane, int64_t now)
{
    commit(lane, cny_lane_take_due(lane, now, conclude));
}

/* What the handler sent for those it failed for must not stay, whatever becomes of them. With it goes what it sent for
 * the others of the batch, so it is called for them again. */
static void roll_back(cny_lane *lane, size_t handled)
{
    size_t count;
    coney_delivery **items = items_of(lane, &count);
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

/* The handler has returned, for the first so many. Of a transaction a rejection is part, too, so it comes after the
 * rollback. */
static void settle_up(cny_lane *lane, size_t handled)
{
    if (options_of(lane)->transacted)
        roll_back(lane, handled);
    finish_decided(lane);
}

/* ---- handling ---- */

static void handle_one(cny_lane *lane)
{
    size_t count;
    coney_delivery *delivery = items_of(lane, &count)[0];
    on_outcome(lane, delivery, cny_dispatch(delivery, lane));
    settle_up(lane, 1);
}

static bool is_ready(cny_lane *lane, coney_delivery *delivery)
{
    coney_outcome outcome;
    if (is_finished(delivery))
        return false;
    if (cny_prepare(delivery, &outcome))
        return true;
    on_outcome(lane, delivery, outcome);
    return false;
}

/* Moves those that are ready for the handler to the front, where the order stays as it is, and so it does among the
 * others, for which there is room. When what has been made of the first ones takes all the memory that it may, those
 * after them are left for the next batch. */
static size_t prepare_all(cny_lane *lane, coney_delivery **others)
{
    size_t count, ready = 0, other = 0, made = 0;
    coney_delivery **items = items_of(lane, &count);
    for (size_t i = 0; i < count; i++) {
        coney_delivery *delivery = items[i];
        if (made < most_made(lane) && is_ready(lane, delivery)) {
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

/* How many are ready for the handler. Without memory to tell, those that are undecided go back. */
static size_t sort_out(cny_lane *lane)
{
    size_t count, ready = 0;
    coney_delivery **items = items_of(lane, &count);
    coney_delivery **others = cny_alloc(count * sizeof(coney_delivery *));
    if (others) {
        ready = prepare_all(lane, others);
        cny_free(others);
        return ready;
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_finished(items[i]))
            on_outcome(lane, items[i], CNY_UNTRIED);
    }
    return 0;
}

static void handle_batch(cny_lane *lane)
{
    size_t count, ready = sort_out(lane);
    coney_delivery **items = items_of(lane, &count);
    coney_outcome *outcomes = ready > 0 ? cny_alloc(ready * sizeof *outcomes) : NULL;
    lane->gather_until = 0;
    if (outcomes)
        cny_dispatch_batch(items, ready, outcomes, lane);
    for (size_t i = 0; i < ready; i++)
        on_outcome(lane, items[i], outcomes ? outcomes[i] : CNY_UNTRIED);
    cny_free(outcomes);
    settle_up(lane, count);
}

/* ---- giving back ---- */

/* Fragments of a batch stand together, and count once. */
static size_t count_messages(const cny_lane *lane)
{
    size_t count, messages = cny_lane_delayed(lane);
    coney_delivery **items = items_of(lane, &count);
    for (size_t i = 0; i < count; i++)
        messages += i == 0 || items[i]->arrival != items[i - 1]->arrival;
    return messages;
}

/* Fragments of a batch are prepared and handled in their order, so if the first one is here and no handler has had it, none
 * had any of the batch. */
static bool is_unseen(const coney_delivery *delivery)
{
    return delivery->fragment_number <= 1 && cny_state_of(&delivery->state) == CNY_DELIVERY_TAKEN &&
           delivery->tries == 0;
}

static void note_unseen_items(const cny_lane *lane)
{
    size_t count;
    coney_delivery **items = items_of(lane, &count);
    for (size_t i = 0; i < count; i++) {
        if (is_unseen(items[i]))
            cny_note_unseen(lane->source->handling, items[i]->arrival->message);
    }
}

/* What no handler will get any more: by the broker's reckoning it was never tried. Nothing of it stays, even if the
 * channel has just been suspended, so that it counts once. */
static size_t give_back(cny_lane *lane)
{
    note_unseen_items(lane);
    size_t count, returned = count_messages(lane);
    coney_delivery **items = items_of(lane, &count);
    for (size_t i = 0; i < count; i++) {
        if (is_finished(items[i]))
            continue;
        cny_tries_keep(items[i], items[i]->tries);
        items[i]->disposition = CNY_RETURN;
        cny_state_set(&items[i]->state, CNY_DELIVERY_DECIDED);
    }
    lane->due = lane->gather_until = 0;
    finish_at_once(lane);
    release_delayed(lane, INT64_MAX);
    cny_lane_flush_acks(lane);
    for (coney_message *message; (message = next_message(lane)); returned++) {
        cny_note_unseen(lane->source->handling, message);
        cny_return_message(lane->source->channel, message);
        coney_message_unref(message);
        count_in_lanes(lane, -1);
    }
    return returned;
}

/* Their channel is gone, so the broker has them already. */
static void drop_one(cny_lane *lane, coney_delivery *delivery)
{
    if (!is_finished(delivery))
        cny_tries_keep(delivery, delivery->tries);
    count_in_lanes(lane, -1);
    coney_delivery_unref(delivery);
}

static size_t drop(cny_lane *lane)
{
    note_unseen_items(lane);
    size_t count, dropped = count_messages(lane);
    coney_delivery **items = items_of(lane, &count);
    for (size_t i = 0; i < count; i++)
        drop_one(lane, items[i]);
    cny_lane_take_due(lane, INT64_MAX, drop_one);
    lane->items.size = lane->first_item = 0;
    lane->due = lane->gather_until = lane->ack_due = 0;
    lane->acks = lane->ack_bytes = 0;
    for (coney_message *message; (message = next_message(lane)); dropped++) {
        cny_note_unseen(lane->source->handling, message);
        coney_message_unref(message);
        count_in_lanes(lane, -1);
    }
    return dropped;
}

/* ---- running ---- */

/* False while the lane waits for another attempt. At the end of its consumer nothing comes round any more, so nothing
 * waits before it goes back. */
static bool run_due(cny_lane *lane)
{
    int64_t now = cny_now_ms();
    release_delayed(lane, atomic_load(&lane->source->leaving) ? INT64_MAX : now);
    if (now < lane->due)
        return false;
    lane->due = 0;
    return true;
}

/* False if there is nothing to do now. */
static bool step(cny_lane *lane)
{
    cny_source *source = lane->source;
    bool comes_again = !cny_acknowledges_nothing(lane->source->handling->spec);
    int course = atomic_load_explicit(&source->course, memory_order_acquire);
    if (cny_lane_is_suspended(lane)) {
        wait_for(lane, GATE_MS);
        return false;
    }
    if (lane->keeps_decided)
        finish_decided(lane);
    if (course == CNY_COURSE_DROP || (comes_again && !cny_channel_alive(source->channel))) {
        atomic_fetch_add(&source->left_over, drop(lane));
        return false;
    }
    if (comes_again && course == CNY_COURSE_RETURN) {
        atomic_fetch_add(&source->left_over, give_back(lane));
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
    if (has_work && options_of(lane)->on_batch)
        handle_batch(lane);
    else if (has_work)
        handle_one(lane);
    cny_quarantine_leave(source);
    return has_work;
}

static int64_t or_never(int64_t time)
{
    return time > 0 ? time : INT64_MAX;
}

static void plan(cny_lane *lane)
{
    int64_t next = lane->due > 0 ? lane->due : or_never(lane->gather_until);
    next = cny_sooner(next, or_never(lane->ack_due));
    next = cny_sooner(next, cny_lane_next_due(lane));
    if (cny_lane_is_suspended(lane)) /* nothing that is due is done */
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
    for (int steps = 1; step(lane); steps++) {
        cny_lane_flush_due_acks(lane);
        if (steps % FAIR_STEPS == 0 && cny_workers_busy(workers)) {
            cny_workers_schedule(workers, task);
            break;
        }
    }
    if (atomic_load(&lane->source->leaving))
        cny_lane_flush_acks(lane);
    cny_lane_flush_due_acks(lane);
    plan(lane);
}

void cny_lane_clear(cny_lane *lane)
{
    coney_delivery_unref(lane->spare);
    cny_buffer_free(&lane->todo);
    cny_buffer_free(&lane->items);
    cny_buffer_free(&lane->delayed);
    cny_buffer_free(&lane->inbox);
}
