/* SPDX-License-Identifier: MIT */
/* The life of a delivery, and how it is settled: once, on the channel it came by, by its worker or by any thread.
 * Fragments of a batch are settled together, when the last one is, as the worst of them. */
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
    cny_payload_clear(&delivery->payload);
    coney_message_unref(delivery->message);
    coney_message_unref(atomic_load(&delivery->reply));
    cny_error_unref(delivery->failure);
    cny_error_unref(atomic_load(&delivery->said));
    if (delivery->fragment) {
        coney_message_unref(delivery->fragment);
        cny_arrival_unref(delivery->arrival);
    } else {
        coney_message_unref(delivery->own.message);
        cny_channel_unref(delivery->own.channel);
    }
    cny_source_unref(delivery->source);
}

/* A delivery without a message. NULL without memory. */
static coney_delivery *take_empty(cny_lane *lane)
{
    coney_delivery *made = lane->spare ? lane->spare : cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    lane->spare = NULL;
    *made = (coney_delivery){.refs = 1, .state = CNY_DELIVERY_TAKEN, .source = cny_source_ref(lane->source)};
    cny_count(&lane->source->handling->counters.in_progress);
    return made;
}

coney_delivery *cny_delivery_new(cny_lane *lane, coney_message *message, int earlier_attempts)
{
    coney_delivery *made = take_empty(lane);
    if (!made)
        return NULL;
    made->own.channel = cny_channel_ref(lane->source->channel);
    made->own.message = coney_message_ref(message);
    made->arrival = &made->own;
    made->message = coney_message_ref(message);
    made->earlier_attempts = earlier_attempts;
    return made;
}

coney_delivery *cny_delivery_new_fragment(cny_lane *lane, cny_arrival *arrival, coney_message *fragment)
{
    coney_delivery *made = take_empty(lane);
    if (!made)
        return NULL;
    made->arrival = cny_arrival_ref(arrival);
    made->fragment = coney_message_ref(fragment);
    made->message = coney_message_ref(fragment);
    made->processing = CNY_PROCESSED;
    return made;
}

static void count_end(const coney_delivery *delivery)
{
    atomic_fetch_sub_explicit(&delivery->source->handling->counters.in_progress, 1, memory_order_release);
}

void cny_delivery_recycle(cny_lane *lane, coney_delivery *delivery)
{
    if (lane->spare || atomic_load_explicit(&delivery->refs, memory_order_acquire) != 1) {
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

static void end_deferral(const coney_delivery *delivery)
{
    cny_source *source = delivery->source;
    cny_source_undefer(source, delivery->channel_number);
    if (cny_intake_ends(&source->intake))
        cny_source_wake(source);
}

bool cny_delivery_take_back(coney_delivery *delivery)
{
    if (!cny_state_leave_handling(&delivery->state, CNY_DELIVERY_RETURNED))
        return false;
    end_deferral(delivery);
    return true;
}

/* ---- telling the broker ---- */

static cny_settlement settlement_of(cny_disposition disposition)
{
    switch (disposition) {
    case CNY_ACK: return CNY_SETTLE_ACK;
    case CNY_RETURN: return CNY_SETTLE_RETURN;
    case CNY_REQUEUE: return CNY_SETTLE_REQUEUE;
    case CNY_NONE:
    case CNY_REJECT: break;
    }
    return CNY_SETTLE_REJECT;
}

static void count_end_of_arrival(cny_counters *counters, cny_disposition disposition)
{
    cny_count(disposition == CNY_ACK      ? &counters->acknowledged
              : disposition == CNY_REJECT ? &counters->rejected
                                          : &counters->requeued);
}

/* If there is no memory to tell the broker, the broker must not wait: closing the channel gives the message back. */
static coney_status note_told(const coney_delivery *delivery, coney_status status)
{
    if (status == CONEY_E_NO_MEMORY)
        cny_channel_close(delivery->arrival->channel);
    if (status == CONEY_E_STALE)
        cny_count(&delivery->source->handling->counters.stale);
    atomic_store_explicit(&delivery->source->settled_at, cny_now_ms(), memory_order_relaxed);
    return status;
}

static coney_status tell_broker(const coney_delivery *delivery, cny_disposition disposition)
{
    const cny_arrival *arrival = delivery->arrival;
    return note_told(delivery,
                     cny_channel_settle_held(arrival->channel, arrival->message->delivery_tag,
                                             settlement_of(disposition), 1, cny_message_weight(arrival->message)));
}

/* Acknowledgements that the lane has put together go before anything else. */
static coney_status tell_broker_in_order(const coney_delivery *delivery, cny_lane *lane, cny_disposition disposition)
{
    if (!lane || !cny_lane_holds_acks(lane))
        return tell_broker(delivery, disposition);
    if (disposition == CNY_ACK && !cny_lane_add_ack(lane, delivery->arrival->message))
        return CONEY_OK;
    coney_status status = lane->acks > 0 ? note_told(delivery, cny_lane_send_acks(lane)) : CONEY_OK;
    return disposition == CNY_ACK ? status : tell_broker(delivery, disposition);
}

/* If the broker could not be told, the message comes again, and its history stays. A message that came for the first
 * time has no history. */
static void note_end(const coney_delivery *delivery, cny_disposition disposition, coney_status status)
{
    const coney_message *original = cny_original(delivery);
    if (cny_is_final(disposition) && status == CONEY_E_STALE)
        cny_note_survival(delivery);
    else if (cny_is_final(disposition) && status == CONEY_OK && (delivery->fragment || original->redelivered))
        cny_history_forget(&delivery->source->handling->memory->histories, original);
}

/* The broker does not wait for an acknowledgement. */
static void conclude_unacknowledged(const coney_delivery *delivery, cny_disposition disposition)
{
    cny_handling *handling = delivery->source->handling;
    const coney_message *message = delivery->arrival->message;
    count_end_of_arrival(&handling->counters, disposition);
    if (disposition != CNY_ACK)
        cny_log_limited(&handling->log, CNY_LOG_EXHAUSTED, CONEY_LOG_ERROR, message,
                        "queue '%s': message '%s' is lost: %s, and the listener acknowledges NONE",
                        handling->spec->options.queue, cny_id_of(message), cny_failure_text(delivery));
}

coney_status cny_delivery_conclude(coney_delivery *delivery, cny_lane *lane)
{
    cny_handling *handling = delivery->source->handling;
    cny_arrival *arrival = delivery->arrival;
    cny_disposition disposition;
    cny_state_set(&delivery->state, CNY_DELIVERY_SETTLED);
    if (!cny_arrival_decide(arrival, delivery->disposition, &disposition))
        return CONEY_OK;
    if (cny_acknowledges_nothing(handling->spec)) {
        conclude_unacknowledged(delivery, disposition);
        return CONEY_OK;
    }
    coney_status status = tell_broker_in_order(delivery, lane, disposition);
    note_end(delivery, disposition, status);
    if (status == CONEY_OK && disposition == CNY_ACK && cny_spec_is_stream(handling->spec))
        cny_position_pass(&handling->memory->position, arrival->channel, arrival->message->delivery_tag);
    if (status != CONEY_E_STALE) /* which is counted as such */
        count_end_of_arrival(&handling->counters, disposition);
    return status;
}

/* ---- by the program ---- */

/* The caller has claimed it. */
static coney_status settle(coney_delivery *delivery, coney_outcome outcome)
{
    int delay_ms;
    cny_error *failure = NULL;
    if (outcome == CONEY_ACK && cny_send_reply_left(delivery, &outcome) != CONEY_OK)
        failure = cny_error_capture();
    delivery->disposition = cny_decide(delivery, outcome, false, &delay_ms);
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
    if (cny_delivery_check_process(delivery) != CONEY_OK)
        return CONEY_E_STATE;
    if (!cny_state_claim(&delivery->state))
        return cny_fail(CONEY_E_STATE, "settle a delivery of queue '%s': it is settled already", options->queue);
    coney_status status = CONEY_OK;
    bool is_suspended = cny_channel_is_suspended(delivery->arrival->channel);
    if (is_suspended || !cny_channel_alive(delivery->arrival->channel)) {
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
    if (cny_channel_alive(delivery->arrival->channel))
        cny_log_limited(&handling->log, CNY_LOG_OUTCOME, CONEY_LOG_ERROR, cny_original(delivery),
                        "queue '%s': message '%s' was let go without being settled; it goes back",
                        handling->spec->options.queue, cny_id_of(delivery->message));
}

/* The program has let go of a deferred delivery without settling it. */
static void settle_forgotten(coney_delivery *delivery)
{
    if (!cny_state_claim(&delivery->state))
        return;
    cny_log_forgotten(delivery);
    delivery->disposition = CNY_REQUEUE;
    cny_delivery_conclude(delivery, NULL);
    end_deferral(delivery);
}

void coney_delivery_unref(coney_delivery *delivery)
{
    CNY_DISABLE_CANCEL();
    if (!delivery || cny_delivery_check_process(delivery) != CONEY_OK ||
        atomic_fetch_sub_explicit(&delivery->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (delivery->source) {
        settle_forgotten(delivery);
        count_end(delivery);
        release_contents(delivery);
    }
    cny_free(delivery);
}
