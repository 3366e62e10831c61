/* SPDX-License-Identifier: MIT */
/* How much a listener has to do: whether it should have more consumers or fewer, whether handlers are slow, whether
 * nothing comes, and what its consumers have left unhandled. On the supervisor, under the container's lock; each
 * function gives the time of its next call. */
#include "rabbit/listener/consuming/consumer.h"
#include "rabbit/listener/consuming/supervisor.h"

/* ---- elasticity ---- */

static void count_idle_cycles(cny_consumer *consumer)
{
    unsigned long long received = atomic_load(&consumer->source.received);
    bool has_messages = atomic_load(&consumer->source.in_lanes) > 0 || /* or they wait for a worker: */
                        (consumer->source.channel && cny_channel_has_deliveries(consumer->source.channel));
    bool idle = received == consumer->seen_received && !has_messages;
    consumer->seen_received = received;
    consumer->idle_cycles = idle ? consumer->idle_cycles + 1 : 0;
}

static void grow(cny_listener *listener, bool all_busy, int64_t now)
{
    const coney_elasticity *how = &listener->spec.options.elasticity;
    listener->load.active_cycles = all_busy ? listener->load.active_cycles + 1 : 0;
    bool may = listener->wanted < listener->max && now - listener->load.grown_at >= how->grow_interval_ms;
    if (listener->load.active_cycles <= how->active_trigger || !may)
        return;
    listener->wanted++;
    listener->load.grown_at = now;
    listener->load.active_cycles = 0;
}

static void shrink(cny_listener *listener, cny_consumer *idle, int64_t now)
{
    const coney_elasticity *how = &listener->spec.options.elasticity;
    if (!idle || listener->wanted <= listener->min || now - listener->load.shrunk_at < how->shrink_interval_ms)
        return;
    idle->is_surplus = true;
    listener->wanted--;
    listener->load.shrunk_at = now;
}

/* Works once a cycle, and returns when the next cycle ends. */
int64_t cny_listener_adapt(cny_listener *listener, int64_t now)
{
    const coney_elasticity *how = &listener->spec.options.elasticity;
    if (listener->min >= listener->max)
        return INT64_MAX;
    if (now < listener->load.cycle_at)
        return listener->load.cycle_at;
    listener->load.cycle_at = now + how->cycle_ms;
    cny_consumer *idle = NULL;
    bool all_busy = true;
    for (cny_consumer *consumer = listener->consumers; consumer; consumer = consumer->next) {
        count_idle_cycles(consumer);
        all_busy = all_busy && atomic_load(&consumer->source.in_lanes) > 0;
        if (consumer->idle_cycles > how->idle_trigger && !consumer->is_surplus)
            idle = consumer;
    }
    grow(listener, all_busy && listener->consumers, now);
    shrink(listener, idle, now);
    return listener->load.cycle_at;
}

/* ---- handlers that are slow, listeners that are idle ---- */

/* A handler may begin at any time, so this is called more often than a handler may last. */
int64_t cny_listener_tell_slow(coney_container *container, const cny_listener *listener, int64_t now)
{
    int slow_ms = listener->spec.options.slow_handler_ms;
    if (slow_ms < 0 || !listener->consumers)
        return INT64_MAX;
    int64_t next = now + (slow_ms < 40 ? 10 : slow_ms / 4);
    for (cny_consumer *consumer = listener->consumers; consumer; consumer = consumer->next) {
        if (consumer->source.channel)
            next = cny_sooner(next, cny_source_tell_slow(&consumer->source, &container->deferred_log, now));
    }
    return next;
}

static bool is_at_work(const cny_listener *listener)
{
    bool works = false;
    for (const cny_consumer *consumer = listener->consumers; consumer; consumer = consumer->next)
        works = works || atomic_load(&consumer->source.in_lanes) > 0;
    return works;
}

int64_t cny_listener_tell_idle(coney_container *container, cny_listener *listener, int64_t now)
{
    int idle_ms = listener->spec.options.idle_event_ms;
    if (idle_ms == 0 || cny_listener_consuming(listener) == 0)
        return INT64_MAX;
    int64_t last = atomic_load(&listener->handling.last_delivery_ms);
    if (is_at_work(listener))
        atomic_store(&listener->handling.last_delivery_ms, last = now);
    int64_t from = listener->load.idle_told_at > last ? listener->load.idle_told_at : last;
    if (now - from < idle_ms)
        return from + idle_ms;
    listener->load.idle_told_at = now;
    cny_tell(container->events, &(cny_event){.kind = CONEY_LISTENER_IDLE,
                                             .listener = &listener->spec.options,
                                             .duration_ms = now - last,
                                             .text = "nothing has come"});
    return now + idle_ms;
}

/* ---- what is left over ---- */

void cny_listener_tell_left_over(coney_container *container, cny_listener *listener)
{
    for (const cny_consumer *consumer = listener->consumers; consumer; consumer = consumer->next) {
        if (consumer->life.state == CNY_CONSUMER_LEAVING || consumer->life.state == CNY_CONSUMER_ENDING)
            return;
    }
    if (listener->left_over > 0)
        cny_defer_log(&container->deferred_log, CONEY_LOG_WARN,
                      "container '%s': %zu prefetched messages of queue '%s' are not handled, they %s",
                      container->options.name, listener->left_over, listener->spec.options.queue,
                      cny_acknowledges_nothing(&listener->spec) ? "are lost" : "go back");
    listener->left_over = 0;
}

/* ---- handlers that do not return ---- */

bool cny_container_is_stuck(const coney_container *container)
{
    int64_t now = cny_now_ms();
    int lanes = 0, stuck = 0;
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer;
         consumer = cny_next_consumer(consumer)) {
        lanes += consumer->source.lane_count;
        stuck += cny_source_stuck(&consumer->source, now);
    }
    int workers = container->options.workers;
    return stuck > 0 && stuck >= (workers > 0 && workers < lanes ? workers : lanes);
}
