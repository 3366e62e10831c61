/* SPDX-License-Identifier: MIT */
/* What a handler holds, and how it is settled: once, on the channel it came by, by its worker or by any thread. Parts
 * of a batch are settled together, when the last one is, as the worst of them. */
#include "rabbit/listener/listener.h"

#include <coney/amqp/json.h>

#include <stdarg.h>
#include <stdio.h>

#define JSON_GROWTH 32 /* bytes in memory for one of an ordinary document */

/* ---- life ---- */

static void release_payload(coney_delivery *delivery)
{
    if (delivery->payload)
        delivery->payload_converter->free_object(delivery->payload);
    delivery->payload = NULL;
}

void cny_delivery_let_go(coney_delivery *delivery)
{
    if (atomic_load_explicit(&delivery->refs, memory_order_acquire) != 1)
        return;
    release_payload(delivery);
    coney_message *made = delivery->message;
    delivery->message = coney_message_ref(delivery->origin);
    coney_message_unref(made);
}

size_t cny_delivery_made_bytes(const coney_delivery *delivery)
{
    const coney_message *message = delivery->message;
    size_t bytes = 0;
    if (!message) /* a processor has discarded it */
        return 0;
    if (delivery->part > 1) /* the first one has counted what they share */
        bytes = message->size;
    else if (delivery->part == 1 || message != delivery->origin)
        bytes = cny_message_weight(message);
    bool is_json = delivery->payload && delivery->payload_converter == coney_json_converter();
    return bytes + (is_json ? JSON_GROWTH * message->size : 0);
}

static void release_contents(coney_delivery *delivery)
{
    release_payload(delivery);
    coney_message_unref(delivery->message);
    coney_message_unref(delivery->origin);
    coney_message_unref(atomic_load(&delivery->reply));
    cny_error_unref(delivery->failure);
    cny_error_unref(atomic_load(&delivery->said));
    cny_channel_unref(delivery->channel);
    coney_delivery_unref(delivery->whole);
    cny_consumer_unref(delivery->consumer);
}

coney_delivery *cny_delivery_new(cny_lane *lane, coney_message *origin, int earlier_attempts)
{
    cny_consumer *consumer = lane->consumer;
    coney_delivery *made = lane->spare ? lane->spare : cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    lane->spare = NULL;
    *made = (coney_delivery){
        .refs = 1,
        .settled = true, /* nobody may yet, but the worker */
        .consumer = cny_consumer_ref(consumer),
        .channel = cny_channel_ref(consumer->channel),
        .origin = coney_message_ref(origin),
        .message = coney_message_ref(origin),
        .earlier_attempts = earlier_attempts,
    };
    cny_count(&consumer->listener->counters.in_progress);
    return made;
}

static void count_end(const coney_delivery *delivery)
{
    atomic_fetch_sub_explicit(&delivery->consumer->listener->counters.in_progress, 1, memory_order_release);
}

void cny_delivery_recycle(cny_lane *lane, coney_delivery *delivery)
{
    if (lane->spare || atomic_load_explicit(&delivery->refs, memory_order_acquire) != 1 || delivery->is_deferred) {
        coney_delivery_unref(delivery);
        return;
    }
    count_end(delivery);
    release_contents(delivery);
    delivery->consumer = NULL;
    lane->spare = delivery;
}

coney_delivery *coney_delivery_ref(coney_delivery *delivery)
{
    if (delivery)
        atomic_fetch_add_explicit(&delivery->refs, 1, memory_order_relaxed);
    return delivery;
}

static bool claim(coney_delivery *delivery)
{
    return !atomic_exchange(&delivery->settled, true);
}

static void end_deferral(const coney_delivery *delivery)
{
    cny_consumer *consumer = delivery->consumer;
    cny_consumer_undefer(consumer, delivery->channel_number);
    if (atomic_load(&consumer->leaving))
        cny_container_attention(consumer->container);
}

bool cny_delivery_claim(coney_delivery *delivery)
{
    if (!claim(delivery))
        return false;
    delivery->is_deferred = false;
    end_deferral(delivery);
    return true;
}

void cny_complain_of_forgotten(const coney_delivery *delivery)
{
    cny_listener *listener = delivery->consumer->listener;
    if (cny_channel_alive(delivery->channel))
        cny_log_limited(&listener->log, CNY_LOG_OUTCOME, CONEY_LOG_ERROR, delivery->origin,
                        "queue '%s': message '%s' was let go without being settled; it goes back",
                        listener->spec.options.queue, cny_id_of(delivery->message));
}

/* The program let go of it without a word. */
static void settle_forgotten(coney_delivery *delivery)
{
    if (!claim(delivery))
        return;
    cny_complain_of_forgotten(delivery);
    delivery->verdict = CONEY_REQUEUE;
    cny_delivery_conclude(delivery, NULL);
    end_deferral(delivery);
}

static bool is_of_process(const coney_delivery *delivery)
{
    return !delivery->consumer || cny_factory_check_process(delivery->consumer->container->factory) == CONEY_OK;
}

void coney_delivery_unref(coney_delivery *delivery)
{
    CNY_DISABLE_CANCEL();
    if (!delivery || !is_of_process(delivery) ||
        atomic_fetch_sub_explicit(&delivery->refs, 1, memory_order_acq_rel) != 1)
        return;
    if (delivery->consumer) {
        if (delivery->is_deferred)
            settle_forgotten(delivery);
        count_end(delivery);
        release_contents(delivery);
    }
    cny_free(delivery);
}

/* ---- what it holds ---- */

coney_message *coney_delivery_message(const coney_delivery *delivery)
{
    return delivery ? delivery->message : NULL;
}

const void *coney_delivery_payload(const coney_delivery *delivery)
{
    return delivery ? delivery->payload : NULL;
}

const char *coney_delivery_queue(const coney_delivery *delivery)
{
    return delivery ? delivery->consumer->listener->spec.options.queue : NULL;
}

const char *coney_delivery_listener_id(const coney_delivery *delivery)
{
    return delivery ? delivery->consumer->listener->spec.options.id : NULL;
}

const char *coney_delivery_consumer_tag(const coney_delivery *delivery)
{
    CNY_DISABLE_CANCEL();
    if (!delivery)
        return NULL;
    return is_of_process(delivery) ? cny_channel_consumer_tag(delivery->channel) : "";
}

int coney_delivery_attempt(const coney_delivery *delivery)
{
    return delivery ? delivery->earlier_attempts + delivery->tries + 1 : 0;
}

bool coney_delivery_is_last_in_batch(const coney_delivery *delivery)
{
    return delivery && delivery->last_in_batch;
}

const char *cny_failure_text(const coney_delivery *delivery)
{
    return delivery->failure ? cny_error_view(delivery->failure)->text : "the handler does not say why";
}

void cny_delivery_say(coney_delivery *delivery, cny_error *failure)
{
    cny_error_unref(atomic_exchange(&delivery->said, failure));
}

void cny_delivery_adopt_failure(coney_delivery *delivery)
{
    cny_error *said = atomic_exchange(&delivery->said, NULL);
    if (!said)
        return;
    cny_error_unref(delivery->failure);
    delivery->failure = said;
}

coney_outcome coney_delivery_fail(coney_delivery *delivery, coney_outcome outcome, const char *format, ...)
{
    CNY_DISABLE_CANCEL();
    char text[1024];
    if (!delivery || !format)
        return outcome;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    cny_delivery_say(delivery, cny_error_new(CONEY_E_HANDLER, 0, "%s", text));
    return outcome;
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
        cny_count(&whole->consumer->listener->counters.stale);
    atomic_store_explicit(&whole->consumer->settled_at, cny_now_ms(), memory_order_relaxed);
    return status;
}

static coney_status tell_broker(coney_delivery *whole, cny_settlement settlement)
{
    const coney_message *origin = whole->origin;
    return note_told(whole, cny_channel_settle_held(whole->channel, origin->delivery_tag, settlement, 1,
                                                    cny_message_weight(origin)));
}

/* Those not sent yet go before anything else, and together at the last; but singly while a message waits before it goes
 * back, for "up to" would cover that. */
static coney_status tell_broker_in_order(coney_delivery *whole, cny_lane *lane, cny_settlement settlement)
{
    const coney_listener *options = &whole->consumer->listener->spec.options;
    if (!lane || options->ack_every == 1 || cny_lane_next_due(lane) < INT64_MAX)
        return tell_broker(whole, settlement);
    if (settlement == CNY_SETTLE_ACK) {
        lane->ack_tag = whole->origin->delivery_tag;
        lane->ack_bytes += cny_message_weight(whole->origin);
        if (lane->acks++ == 0)
            lane->ack_due = cny_deadline(options->ack_after_ms);
        if (lane->acks < (size_t)options->ack_every && (int)lane->acks < cny_channel_prefetch(whole->channel))
            return CONEY_OK; /* the broker does not wait for them */
    }
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
        cny_attempts_forget(&delivery->consumer->listener->attempts, delivery->origin);
}

coney_status cny_delivery_conclude(coney_delivery *delivery, cny_lane *lane)
{
    cny_listener *listener = delivery->consumer->listener;
    coney_delivery *whole = cny_whole(delivery);
    cny_settlement settlement;
    if (!merge(delivery, whole, &settlement))
        return CONEY_OK;
    if (cny_acknowledges_nothing(&listener->spec)) {
        count_settlement(&listener->counters, settlement);
        if (settlement != CNY_SETTLE_ACK)
            cny_log_limited(&listener->log, CNY_LOG_EXHAUSTED, CONEY_LOG_ERROR, whole->origin,
                            "queue '%s': message '%s' is lost: %s, and the listener acknowledges NONE",
                            listener->spec.options.queue, cny_id_of(whole->origin), cny_failure_text(delivery));
        return CONEY_OK;
    }
    coney_status status = tell_broker_in_order(whole, lane, settlement);
    note_end(delivery, settlement, status);
    if (status == CONEY_OK && settlement == CNY_SETTLE_ACK && cny_spec_is_stream(&listener->spec))
        cny_position_pass(&listener->position, whole->channel, whole->origin->delivery_tag);
    if (status != CONEY_E_STALE) /* which is counted as such */
        count_settlement(&listener->counters, settlement);
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
    const coney_listener *options = &delivery->consumer->listener->spec.options;
    if (outcome == CONEY_PARK && !cny_has_parking_queue(&delivery->consumer->listener->spec))
        return cny_fail(CONEY_E_INVALID,
                        "settle a delivery of queue '%s': CONEY_PARK needs a parking queue, and retry has none",
                        options->queue);
    if (outcome != CONEY_PARK && (outcome < CONEY_ACK || outcome > CONEY_STOP))
        return cny_fail(CONEY_E_INVALID, "settle a delivery of queue '%s': %d is no outcome that settles it",
                        options->queue, (int)outcome);
    if (options->acknowledge != CONEY_ACKNOWLEDGE_MANUAL)
        return cny_fail(CONEY_E_STATE, "settle a delivery of queue '%s': its listener does not acknowledge MANUAL",
                        options->queue);
    if (!is_of_process(delivery))
        return CONEY_E_STATE;
    if (!claim(delivery))
        return cny_fail(CONEY_E_STATE, "settle a delivery of queue '%s': it is settled already", options->queue);
    coney_status status = CONEY_OK;
    bool is_suspended = cny_channel_is_suspended(delivery->channel);
    if (is_suspended || !cny_channel_alive(delivery->channel)) {
        cny_count(&delivery->consumer->listener->counters.stale);
        status = cny_fail(CONEY_E_STALE, "settle a delivery of queue '%s': %s", options->queue,
                          is_suspended ? "its consumer was cancelled" : "its channel is gone, it is delivered again");
    } else {
        status = settle(delivery, outcome);
    }
    end_deferral(delivery);
    return status;
}
