/* SPDX-License-Identifier: MIT */
/* How a delivery is settled: once, on the channel it came by, by its worker or by any thread. Parts of a batch are
 * settled together, when the last one is, as the worst of them. */
#include "rabbit/listener/handling/settle.h"

#include "rabbit/listener/handling/acks.h"
#include "rabbit/listener/handling/memory.h"
#include "rabbit/listener/handling/policy.h"
#include "rabbit/listener/handling/quarantine.h"
#include "rabbit/listener/handling/reply.h"
#include "rabbit/listener/handling/source.h"

/* ---- life ---- */

static void release_contents(coney_delivery *delivery)
{
    cny_delivery_release_payload(delivery);
    coney_message_unref(delivery->message);
    coney_message_unref(delivery->origin);
    coney_message_unref(atomic_load(&delivery->reply));
    cny_error_unref(delivery->failure);
    cny_error_unref(atomic_load(&delivery->said));
    cny_channel_unref(delivery->channel);
    coney_delivery_unref(delivery->whole);
    cny_source_unref(delivery->source);
}

coney_delivery *cny_delivery_new(cny_lane *lane, coney_message *origin, int earlier_attempts)
{
    cny_source *source = lane->source;
    coney_delivery *made = lane->spare ? lane->spare : cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    lane->spare = NULL;
    *made = (coney_delivery){
        .refs = 1,
        .settled = true, /* nobody may yet, but the worker */
        .source = cny_source_ref(source),
        .channel = cny_channel_ref(source->channel),
        .origin = coney_message_ref(origin),
        .message = coney_message_ref(origin),
        .earlier_attempts = earlier_attempts,
    };
    cny_count(&source->handling->counters.in_progress);
    return made;
}

static void count_end(const coney_delivery *delivery)
{
    atomic_fetch_sub_explicit(&delivery->source->handling->counters.in_progress, 1, memory_order_release);
}

void cny_delivery_recycle(cny_lane *lane, coney_delivery *delivery)
{
    if (lane->spare || atomic_load_explicit(&delivery->refs, memory_order_acquire) != 1 || delivery->is_deferred) {
        coney_delivery_unref(delivery);
        return;
    }
    count_end(delivery);
    release_contents(delivery);
    delivery->source = NULL;
    lane->spare = delivery;
}

coney_delivery *coney_delivery_ref(coney_delivery *delivery)
{
    if (delivery)
        atomic_fetch_add_explicit(&delivery->refs, 1, memory_order_relaxed);
    return delivery;
}

/* ---- claiming ---- */

static bool claim(coney_delivery *delivery)
{
    return !atomic_exchange(&delivery->settled, true);
}

static void end_deferral(const coney_delivery *delivery)
{
    cny_source *source = delivery->source;
    cny_source_undefer(source, delivery->channel_number);
    if (atomic_load(&source->leaving))
        cny_source_wake(source);
}

bool cny_delivery_claim(coney_delivery *delivery)
{
    if (!claim(delivery))
        return false;
    delivery->is_deferred = false;
    end_deferral(delivery);
    return true;
}

/* ---- settling ---- */

/* What is said of a whole is the worst that is said of a part. */
static const cny_settlement settlements[] = {CNY_SETTLE_ACK, CNY_SETTLE_RETURN, CNY_SETTLE_REQUEUE, CNY_SETTLE_REJECT};

static int severity(const coney_delivery *part)
{
    switch (part->verdict) {
    case CONEY_ACK: return 0;
    case CONEY_REQUEUE: return part->is_returned ? 1 : 2;
    default: return 3;
    }
}

/* True if that is known with this one. */
static bool merge(const coney_delivery *part, coney_delivery *whole, cny_settlement *settlement)
{
    int worst = atomic_load(&whole->worst);
    int mine = severity(part);
    while (mine > worst && !atomic_compare_exchange_weak(&whole->worst, &worst, mine))
        ;
    if (part != whole && atomic_fetch_sub(&whole->parts_left, 1) != 1)
        return false;
    *settlement = settlements[atomic_load(&whole->worst)];
    return true;
}

static void count_settlement(cny_counters *counters, cny_settlement settlement)
{
    cny_count(settlement == CNY_SETTLE_ACK      ? &counters->acknowledged
              : settlement == CNY_SETTLE_REJECT ? &counters->rejected
                                                : &counters->requeued);
}

/* Without memory to say so the broker must not wait for it. */
static coney_status note_told(coney_delivery *whole, coney_status status)
{
    if (status == CONEY_E_NO_MEMORY)
        cny_channel_close(whole->channel);
    if (status == CONEY_E_STALE)
        cny_count(&whole->source->handling->counters.stale);
    atomic_store_explicit(&whole->source->settled_at, cny_now_ms(), memory_order_relaxed);
    return status;
}

static coney_status tell_broker(coney_delivery *whole, cny_settlement settlement)
{
    const coney_message *origin = whole->origin;
    return note_told(whole, cny_channel_settle_held(whole->channel, origin->delivery_tag, settlement, 1,
                                                    cny_message_weight(origin)));
}

/* Acknowledgements that the lane has put together go before anything else. */
static coney_status tell_broker_in_order(coney_delivery *whole, cny_lane *lane, cny_settlement settlement)
{
    if (!lane || !cny_lane_holds_acks(lane))
        return tell_broker(whole, settlement);
    if (settlement == CNY_SETTLE_ACK && !cny_lane_add_ack(lane, whole->origin))
        return CONEY_OK;
    coney_status status = lane->acks > 0 ? note_told(whole, cny_lane_send_acks(lane)) : CONEY_OK;
    return settlement == CNY_SETTLE_ACK ? status : tell_broker(whole, settlement);
}

/* What did not reach the broker comes again, so what is known of that stays. A message that came for the first time was
 * not known before. */
static void note_end(const coney_delivery *delivery, cny_settlement settlement, coney_status status)
{
    bool is_end = settlement == CNY_SETTLE_ACK || settlement == CNY_SETTLE_REJECT;
    if (is_end && status == CONEY_E_STALE)
        cny_note_survival(delivery);
    else if (is_end && status == CONEY_OK && (delivery->whole || delivery->origin->redelivered))
        cny_history_forget(&delivery->source->handling->memory->histories, delivery->origin);
}

coney_status cny_delivery_conclude(coney_delivery *delivery, cny_lane *lane)
{
    cny_handling *handling = delivery->source->handling;
    coney_delivery *whole = cny_whole(delivery);
    cny_settlement settlement;
    if (!merge(delivery, whole, &settlement))
        return CONEY_OK;
    if (cny_acknowledges_nothing(handling->spec)) {
        count_settlement(&handling->counters, settlement);
        if (settlement != CNY_SETTLE_ACK)
            cny_log_limited(&handling->log, CNY_LOG_EXHAUSTED, CONEY_LOG_ERROR, whole->origin,
                            "queue '%s': message '%s' is lost: %s, and the listener acknowledges NONE",
                            handling->spec->options.queue, cny_id_of(whole->origin), cny_failure_text(delivery));
        return CONEY_OK;
    }
    coney_status status = tell_broker_in_order(whole, lane, settlement);
    note_end(delivery, settlement, status);
    if (status == CONEY_OK && settlement == CNY_SETTLE_ACK && cny_spec_is_stream(handling->spec))
        cny_position_pass(&handling->memory->position, whole->channel, whole->origin->delivery_tag);
    if (status != CONEY_E_STALE) /* which is counted as such */
        count_settlement(&handling->counters, settlement);
    return status;
}

/* The caller has claimed it. */
static coney_status settle(coney_delivery *delivery, coney_outcome outcome)
{
    int delay_ms;
    cny_error *failure = NULL;
    if (outcome == CONEY_ACK && cny_send_reply_left(delivery, &outcome) != CONEY_OK)
        failure = cny_error_capture();
    delivery->verdict = cny_judge(delivery, outcome, false, &delay_ms);
    coney_status status = cny_delivery_conclude(delivery, NULL);
    if (failure)
        status = cny_error_raise(failure);
    cny_error_unref(failure);
    return status;
}

coney_status coney_delivery_settle(coney_delivery *delivery, coney_outcome outcome)
{
    CNY_DISABLE_CANCEL();
    if (!delivery)
        return cny_fail(CONEY_E_INVALID, "settle: the delivery is NULL");
    const coney_listener *options = &delivery->source->handling->spec->options;
    if (outcome == CONEY_PARK && !cny_has_parking_queue(delivery->source->handling->spec))
        return cny_fail(CONEY_E_INVALID,
                        "settle a delivery of queue '%s': CONEY_PARK needs a parking queue, and retry has none",
                        options->queue);
    if (outcome != CONEY_PARK && (outcome < CONEY_ACK || outcome > CONEY_STOP))
        return cny_fail(CONEY_E_INVALID, "settle a delivery of queue '%s': %d is no outcome that settles it",
                        options->queue, (int)outcome);
    if (options->acknowledge != CONEY_ACKNOWLEDGE_MANUAL)
        return cny_fail(CONEY_E_STATE, "settle a delivery of queue '%s': its listener does not acknowledge MANUAL",
                        options->queue);
    if (!cny_delivery_is_of_process(delivery))
        return CONEY_E_STATE;
    if (!claim(delivery))
        return cny_fail(CONEY_E_STATE, "settle a delivery of queue '%s': it is settled already", options->queue);
    coney_status status = CONEY_OK;
    bool is_suspended = cny_channel_is_suspended(delivery->channel);
    if (is_suspended || !cny_channel_alive(delivery->channel)) {
        cny_count(&delivery->source->handling->counters.stale);
        status = cny_fail(CONEY_E_STALE, "settle a delivery of queue '%s': %s", options->queue,
                          is_suspended ? "its consumer was cancelled" : "its channel is gone, it is delivered again");
    } else {
        status = settle(delivery, outcome);
    }
    end_deferral(delivery);
    return status;
}

/* ---- forgotten ---- */

void cny_log_forgotten(const coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    if (cny_channel_alive(delivery->channel))
        cny_log_limited(&handling->log, CNY_LOG_OUTCOME, CONEY_LOG_ERROR, delivery->origin,
                        "queue '%s': message '%s' was let go without being settled; it goes back",
                        handling->spec->options.queue, cny_id_of(delivery->message));
}

/* The program let go of it without a word. */
static void settle_forgotten(coney_delivery *delivery)
{
    if (!claim(delivery))
        return;
    cny_log_forgotten(delivery);
    delivery->verdict = CONEY_REQUEUE;
    cny_delivery_conclude(delivery, NULL);
    end_deferral(delivery);
}

void coney_delivery_unref(coney_delivery *delivery)
{
    CNY_DISABLE_CANCEL();
    if (!delivery || !cny_delivery_is_of_process(delivery) ||
        atomic_fetch_sub_explicit(&delivery->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (delivery->source) {
        if (delivery->is_deferred)
            settle_forgotten(delivery);
        count_end(delivery);
        release_contents(delivery);
    }
    cny_free(delivery);
}
