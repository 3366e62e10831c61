/* SPDX-License-Identifier: MIT */
/* What can be wrong with a listener's options: ranges, what excludes what, and options that would do nothing. Pure
 * functions, on any thread. */
#include "rabbit/listener/spec/checks.h"

#include <string.h>

#define MAX_LANES 1000

static coney_status check_range(const char *what, int value, int least, int most)
{
    if (value >= least && value <= most)
        return CONEY_OK;
    return cny_fail(CONEY_E_INVALID, "%s is %d; %d to %d are possible", what, value, least, most);
}

static coney_status check_numbers(const coney_listener *listener)
{
    const struct {
        const char *what;
        int value, most;
    } all[] = {
        {"concurrency", listener->concurrency, CNY_MAX_CONSUMERS},
        {"max_concurrency", listener->max_concurrency, CNY_MAX_CONSUMERS},
        {"prefetch", listener->prefetch, UINT16_MAX},
        {"lanes", listener->lanes, MAX_LANES},
        {"ack_every", listener->ack_every, UINT16_MAX},
        {"ack_after_ms", listener->ack_after_ms, INT32_MAX},
        {"batch_size", listener->batch_size, UINT16_MAX},
        {"batch_timeout_ms", listener->batch_timeout_ms, INT32_MAX},
        {"idle_event_ms", listener->idle_event_ms, INT32_MAX},
        {"elasticity.cycle_ms", listener->elasticity.cycle_ms, INT32_MAX},
        {"elasticity.active_trigger", listener->elasticity.active_trigger, INT32_MAX},
        {"elasticity.idle_trigger", listener->elasticity.idle_trigger, INT32_MAX},
        {"elasticity.grow_interval_ms", listener->elasticity.grow_interval_ms, INT32_MAX},
        {"elasticity.shrink_interval_ms", listener->elasticity.shrink_interval_ms, INT32_MAX},
        {"retry.max_attempts", listener->retry.max_attempts, INT32_MAX},
        {"retry.first_delay_ms", listener->retry.first_delay_ms, INT32_MAX},
        {"retry.max_delay_ms", listener->retry.max_delay_ms, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (check_range(all[i].what, all[i].value, 0, all[i].most) != CONEY_OK)
            return CONEY_E_INVALID;
    }
    if (listener->max_concurrency > 0 && listener->max_concurrency < listener->concurrency)
        return cny_fail(CONEY_E_INVALID, "max_concurrency %d is below concurrency %d", listener->max_concurrency,
                        listener->concurrency);
    double multiplier = listener->retry.multiplier;
    return multiplier == 0 || (multiplier >= 1 && multiplier <= 1000)
               ? CONEY_OK
               : cny_fail(CONEY_E_INVALID, "retry.multiplier is %g; 1 to 1,000 are possible", multiplier);
}

/* Options that exclude each other. */
static coney_status check_combinations(const coney_listener *listener)
{
    bool is_none = listener->acknowledge == CONEY_ACKNOWLEDGE_NONE;
    bool is_manual = listener->acknowledge == CONEY_ACKNOWLEDGE_MANUAL;
    if ((unsigned)listener->acknowledge > CONEY_ACKNOWLEDGE_NONE)
        return cny_fail(CONEY_E_INVALID, "acknowledge is %d, which is no coney_acknowledge_mode",
                        (int)listener->acknowledge);
    if (listener->exclusive && (listener->concurrency > 1 || listener->max_concurrency > 1))
        return cny_fail(CONEY_E_INVALID,
                        "an exclusive listener has one consumer; concurrency is %d, max_concurrency %d",
                        listener->concurrency, listener->max_concurrency);
    if (listener->transacted && (is_none || is_manual))
        return cny_fail(CONEY_E_INVALID, "acknowledge is %s; transacted goes with CONEY_ACKNOWLEDGE_AUTO only",
                        is_none ? "CONEY_ACKNOWLEDGE_NONE" : "CONEY_ACKNOWLEDGE_MANUAL");
    if (listener->transacted && listener->lanes > 1)
        return cny_fail(CONEY_E_INVALID,
                        "a transacted listener has one lane for each consumer, not %d; take a higher "
                        "concurrency",
                        listener->lanes);
    if (listener->ack_every > 1 &&
        (is_manual || is_none || listener->transacted || listener->lanes > 1 || listener->on_batch))
        return cny_fail(
            CONEY_E_INVALID,
            "ack_every is %d; that goes with AUTO, one lane, on_message and no transactions only: one acknowledgement "
            "covers all before it",
            listener->ack_every);
    if (listener->lanes > 1 && listener->on_batch)
        return cny_fail(CONEY_E_INVALID, "on_batch has one lane for each consumer, not %d", listener->lanes);
    if (listener->lanes > 1 && is_none)
        return cny_fail(CONEY_E_INVALID,
                        "acknowledge NONE goes with one lane, not %d: nothing would bound what waits for the others",
                        listener->lanes);
    if (listener->lanes <= 1 && listener->lane_header)
        return cny_fail(CONEY_E_INVALID, "lane_header '%.255s' goes with lanes only", listener->lane_header);
    if (!listener->on_batch && (listener->batch_size > 0 || listener->batch_timeout_ms > 0))
        return cny_fail(CONEY_E_INVALID, "batch_size %d and batch_timeout_ms %d go with on_batch only",
                        listener->batch_size, listener->batch_timeout_ms);
    if (is_none && listener->retry.stateful)
        return cny_fail(CONEY_E_INVALID, "retry.%s counts redeliveries, and with NONE there are none",
                        listener->retry.delayed_by_queue ? "delayed_by_queue" : "stateful");
    return CONEY_OK;
}

/* An option that would do nothing is a mistake, which may lose messages. */
static coney_status check_effect(const coney_listener_retry *retry, bool is_stream)
{
    bool tries_again = retry->max_attempts > 1 || (is_stream && retry->max_attempts == 0);
    bool has_ladder = retry->delays_ms[0] != 0;
    bool parks = retry->exhausted == CONEY_EXHAUSTED_PARK || retry->exhausted == CONEY_EXHAUSTED_DEFAULT;
    if (retry->parking_queue && !parks)
        return cny_fail(CONEY_E_INVALID, "retry.parking_queue is '%.255s', and retry.exhausted does not park",
                        retry->parking_queue);
    if (retry->is_retriable && !tries_again && !retry->stateful && !has_ladder)
        return cny_fail(CONEY_E_INVALID, "retry.is_retriable has nothing to decide without max_attempts above 1, "
                                         "stateful or delays_ms");
    bool has_delays = retry->first_delay_ms || retry->multiplier != 0 || retry->max_delay_ms;
    bool tries_once = retry->max_attempts == 1 || (retry->max_attempts == 0 && !retry->stateful && !is_stream);
    if (has_delays && tries_once)
        return cny_fail(CONEY_E_INVALID,
                        "retry.first_delay_ms, multiplier and max_delay_ms are for the time between attempts; "
                        "max_attempts is %d, so there is one attempt; take more, or stateful",
                        retry->max_attempts);
    return CONEY_OK;
}

int cny_default_attempts(const coney_listener_retry *retry)
{
    return retry->stateful ? 3 : 1;
}

/* The broker drops a message that is over its delivery limit, unless the queue has a dead-letter exchange. */
coney_status cny_check_delaying_queue(const coney_listener *options, bool delays_failures, int64_t delivery_limit)
{
    const coney_listener_retry *retry = &options->retry;
    int attempts = retry->max_attempts ? retry->max_attempts : cny_default_attempts(retry);
    if (!retry->delayed_by_queue)
        return CONEY_OK;
    if (!delays_failures)
        return cny_fail(CONEY_E_INVALID,
                        "retry.delayed_by_queue: the queue '%s' is declared here without a delay for what has failed; "
                        "set its delayed_retry to CONEY_DELAYED_RETRY_FAILED, or take retry.delays_ms",
                        options->queue);
    return delivery_limit < 0 || attempts - 1 <= delivery_limit
               ? CONEY_OK
               : cny_fail(CONEY_E_INVALID,
                          "retry.max_attempts is %d, and the queue '%s' lets a message come back %lld times, so the "
                          "broker would end the message before; set delivery_limit of the queue to %d or more",
                          attempts, options->queue, (long long)delivery_limit, attempts - 1);
}

static coney_status check_delayed_by_queue(const coney_listener *listener)
{
    const coney_listener_retry *retry = &listener->retry;
    if (!retry->delayed_by_queue)
        return CONEY_OK;
    if (retry->max_attempts == 1)
        return cny_fail(CONEY_E_INVALID, "retry.delayed_by_queue is for the time between attempts; max_attempts is 1");
    if (retry->first_delay_ms || retry->multiplier != 0 || retry->max_delay_ms || retry->delays_ms[0])
        return cny_fail(CONEY_E_INVALID,
                        "retry.delayed_by_queue goes without first_delay_ms, multiplier, max_delay_ms and delays_ms: "
                        "the queue's delayed_retry_min_ms and delayed_retry_max_ms say how long a message waits");
    const coney_queue *declared = listener->declare;
    return declared ? cny_check_delaying_queue(listener, cny_queue_delays_failures(declared),
                                               cny_queue_delivery_limit(declared, CNY_BROKERS_DELIVERY_LIMIT))
                    : CONEY_OK;
}

static coney_status check_retry(const coney_listener_retry *retry, bool is_stream)
{
    if ((unsigned)retry->exhausted > CONEY_EXHAUSTED_CALL)
        return cny_fail(CONEY_E_INVALID, "retry.exhausted is %d, which is no coney_exhausted", (int)retry->exhausted);
    if ((retry->exhausted == CONEY_EXHAUSTED_CALL) != (retry->on_exhausted != NULL))
        return cny_fail(CONEY_E_INVALID,
                        "retry.on_exhausted goes with retry.exhausted CONEY_EXHAUSTED_CALL, and only with it");
    if (retry->exhausted != CONEY_EXHAUSTED_REPUBLISH && (retry->exchange || retry->routing_key))
        return cny_fail(CONEY_E_INVALID, "retry.exchange and retry.routing_key go with CONEY_EXHAUSTED_REPUBLISH only");
    if ((unsigned)retry->ladder_kind > CONEY_QUORUM)
        return cny_fail(CONEY_E_INVALID, "retry.ladder_kind is %d; queues of the ladder are classic or quorum queues",
                        (int)retry->ladder_kind);
    for (int i = 0; i < CONEY_MAX_DELAYS && retry->delays_ms[i] != 0; i++) {
        if (retry->delays_ms[i] < 0)
            return cny_fail(CONEY_E_INVALID, "retry.delays_ms[%d] is %d; a delay is positive, and a zero ends them", i,
                            retry->delays_ms[i]);
    }
    if (check_effect(retry, is_stream) != CONEY_OK)
        return CONEY_E_INVALID;
    if (cny_check_name("retry.exchange", retry->exchange) != CONEY_OK ||
        cny_check_name("retry.routing_key", retry->routing_key) != CONEY_OK)
        return CONEY_E_INVALID;
    return cny_check_name("retry.parking_queue", retry->parking_queue);
}

static coney_status check_queue(const coney_listener *listener)
{
    const char *declared = listener->declare ? listener->declare->name : NULL;
    if (!listener->queue || !*listener->queue)
        return cny_fail(CONEY_E_INVALID, "the queue is not named; set queue or declare");
    if (listener->declare && (!declared || strcmp(declared, listener->queue) != 0))
        return cny_fail(CONEY_E_INVALID, "declare is another queue, '%.255s'", declared ? declared : "");
    const char *parking = listener->retry.parking_queue;
    if (parking && strcmp(parking, listener->queue) == 0)
        return cny_fail(CONEY_E_INVALID,
                        "retry.parking_queue is the listener's own queue '%.255s'; what is parked would come again, "
                        "at once and for ever",
                        parking);
    return CONEY_OK;
}

coney_status cny_check_listener(const coney_listener *listener)
{
    if (check_queue(listener) != CONEY_OK)
        return CONEY_E_INVALID;
    const struct {
        const char *what, *text;
    } names[] = {{"queue name", listener->queue},
                 {"id", listener->id},
                 {"group", listener->group},
                 {"consumer_tag", listener->consumer_tag},
                 {"lane_header", listener->lane_header},
                 {"send_to", listener->send_to}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (cny_check_name(names[i].what, names[i].text) != CONEY_OK)
            return CONEY_E_INVALID;
    }
    if (listener->send_to && !*listener->send_to)
        return cny_fail(CONEY_E_INVALID, "send_to is empty: no queue takes replies to it");
    coney_status status = cny_check_handlers(listener);
    if (status == CONEY_OK)
        status = check_numbers(listener);
    if (status == CONEY_OK)
        status = check_combinations(listener);
    if (status == CONEY_OK)
        status = check_delayed_by_queue(listener);
    bool is_stream = cny_is_stream(listener);
    if (status == CONEY_OK && is_stream)
        status = cny_check_stream(listener);
    return status == CONEY_OK ? check_retry(&listener->retry, is_stream) : status;
}
