/* SPDX-License-Identifier: MIT */
/* How long handlers run: their lanes note when, the supervisor looks. */
#include "rabbit/listener/handling/watch.h"

/* ---- on the worker of the lane ---- */

int64_t cny_lane_begin_call(cny_lane *lane)
{
    int64_t now = cny_now_us();
    atomic_store_explicit(&lane->handling_since, now / 1000, memory_order_relaxed);
    return now;
}

void cny_lane_end_call(cny_lane *lane, int64_t began, bool handled)
{
    cny_handling *handling = lane->source->handling;
    int64_t now = cny_now_us();
    atomic_store_explicit(&lane->handling_since, 0, memory_order_relaxed);
    atomic_store_explicit(&lane->told_slow, false, memory_order_relaxed);
    atomic_store_explicit(&handling->last_delivery_ms, now / 1000, memory_order_relaxed);
    if (handled)
        cny_count_handler(&handling->counters, (uint64_t)(now - began));
}

/* ---- on the supervisor ---- */

int cny_source_handling(const cny_source *source)
{
    int handling = 0;
    for (int i = 0; i < source->lane_count; i++)
        handling += atomic_load(&source->lanes[i].handling_since) != 0;
    return handling;
}

int cny_source_publishing(const cny_source *source)
{
    int count = 0;
    for (int i = 0; i < source->lane_count; i++)
        count += atomic_load(&source->lanes[i].deciding) || atomic_load(&source->lanes[i].handling_since) != 0;
    return count;
}

static int64_t began_at(const cny_lane *lane)
{
    return atomic_load(&lane->handling_since);
}

int cny_source_stuck(const cny_source *source, int64_t now)
{
    int slow_ms = source->handling->spec->options.slow_handler_ms, stuck = 0;
    for (int i = 0; i < source->lane_count; i++) {
        int64_t since = began_at(&source->lanes[i]);
        stuck += slow_ms > 0 && since > 0 && now - since > 2 * (int64_t)slow_ms;
    }
    return stuck;
}

static void tell_slow(const cny_source *source, cny_buffer *deferred_log, int64_t duration_ms)
{
    const cny_handling *handling = source->handling;
    const coney_listener *options = &handling->spec->options;
    cny_defer_log(deferred_log, CONEY_LOG_WARN, "container '%s': a handler of queue '%s' has been running for %lld ms",
                  handling->context->name, options->queue, (long long)duration_ms);
    cny_tell(handling->context->events, &(cny_event){.kind = CONEY_HANDLER_SLOW,
                                                     .listener = options,
                                                     .consumer_tag = cny_channel_consumer_tag(source->channel),
                                                     .duration_ms = duration_ms,
                                                     .text = "a handler is slow"});
}

int64_t cny_source_tell_slow(cny_source *source, cny_buffer *deferred_log, int64_t now)
{
    int slow_ms = source->handling->spec->options.slow_handler_ms;
    int64_t next = INT64_MAX;
    for (int i = 0; i < source->lane_count; i++) {
        cny_lane *lane = &source->lanes[i];
        int64_t since = began_at(lane);
        if (since == 0 || atomic_load(&lane->told_slow))
            continue;
        if (now - since < slow_ms) {
            next = cny_sooner(next, since + slow_ms);
            continue;
        }
        atomic_store(&lane->told_slow, true);
        tell_slow(source, deferred_log, now - since);
    }
    return next;
}
