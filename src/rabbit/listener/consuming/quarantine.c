/* SPDX-License-Identifier: MIT */
/* The consumer of messages that may kill their process. The supervisor closes a gate for the lanes of the listener,
 * waits until they rest, and only then consumes from the quarantine queue, with a prefetch of 1: so the broker's count
 * there rises only if the process or its connection ends while the message is alone with its handler.
 * docs/internals/listening.md tells why that never ends an innocent message, and always a deadly one.
 *
 * On the supervisor, under the container's lock. */
#include "rabbit/listener/consuming/consumer.h"
#include "rabbit/listener/consuming/supervisor.h"

#define PATIENCE_MS 30000 /* for each of: closing the gate, handling messages alone, ending that */
#define SUBSCRIBE_MS 5000 /* for the broker's answer */
#define QUIET_MS 100      /* without a message: the queue is empty */
#define TICK_MS 10        /* while the gate is closed */
#define RECHECK_MS 60000  /* another process may have left a message in the queue */

static void enter_state(cny_quarantine *quarantine, cny_quarantine_state state, int64_t due)
{
    quarantine->state = state;
    quarantine->due = due;
    atomic_store(&quarantine->gate->is_closed, state != CNY_QUARANTINE_OPEN);
}

/* Until a lane has moved a message to the queue, or, if there is a delay, at the latest after that. */
static void open_gate(cny_quarantine *quarantine, int delay_ms)
{
    enter_state(quarantine, CNY_QUARANTINE_OPEN, delay_ms > 0 ? cny_deadline(delay_ms) : INT64_MAX);
}

static void drop(cny_quarantine *quarantine)
{
    if (quarantine->consumer) {
        cny_consumer_drop_channel(quarantine->consumer);
        cny_source_unref(&quarantine->consumer->source);
    }
    quarantine->consumer = NULL;
}

/* Handlers run, or deliveries that they have deferred are not settled. */
static bool is_at_work(const cny_listener *listener)
{
    bool at_work = atomic_load(&listener->handling.gate.at_work) > 0;
    for (const cny_consumer *consumer = listener->consumers; consumer && !at_work; consumer = consumer->next)
        at_work = cny_source_deferred(&consumer->source) > 0;
    return at_work;
}

static void begin(cny_quarantine *quarantine, cny_listener *listener, int64_t now)
{
    bool is_due = atomic_load(&quarantine->gate->is_wanted) || now >= quarantine->due;
    if (!is_due || cny_listener_consuming(listener) == 0)
        return;
    atomic_store(&quarantine->gate->is_wanted, false);
    enter_state(quarantine, CNY_QUARANTINE_CLOSING, now + PATIENCE_MS);
}

static void close_gate(coney_container *container, cny_listener *listener, int64_t now)
{
    cny_quarantine *quarantine = &listener->quarantine;
    if (is_at_work(listener)) {
        if (now >= quarantine->due)
            open_gate(quarantine, RECHECK_MS);
        return;
    }
    quarantine->consumer = cny_consumer_new(container, listener, true);
    if (quarantine->consumer && cny_consumer_subscribe(quarantine->consumer) == CONEY_OK) {
        cny_life_enter(&quarantine->consumer->life, CNY_CONSUMER_SUBSCRIBING, now + SUBSCRIBE_MS);
        enter_state(quarantine, CNY_QUARANTINE_SUBSCRIBING, now + SUBSCRIBE_MS);
        return;
    }
    drop(quarantine);
    open_gate(quarantine, RECHECK_MS);
}

/* As long as no message has been moved there the queue does not exist, which is the usual case. */
static void take_answer(cny_quarantine *quarantine, int64_t now)
{
    cny_channel *channel = quarantine->consumer->source.channel;
    cny_error *reason;
    cny_feed_state state = cny_channel_feed(channel, &reason);
    bool is_missing = reason && cny_error_view(reason)->status == CONEY_E_NOT_FOUND;
    cny_error_unref(reason);
    if (state != CNY_FEED_BEGINNING && *cny_channel_consumer_tag(channel)) {
        quarantine->quiet_since = now;
        cny_life_enter(&quarantine->consumer->life, CNY_CONSUMER_CONSUMING, 0);
        enter_state(quarantine, CNY_QUARANTINE_CONSUMING, now + PATIENCE_MS);
    } else if (state == CNY_FEED_ENDED) {
        drop(quarantine);
        open_gate(quarantine, is_missing ? 0 : RECHECK_MS);
    } else if (now >= quarantine->due) {
        cny_channel_close(channel);
    }
}

/* Notes whether it rests, and since when. */
static void watch_rest(cny_quarantine *quarantine, int64_t now)
{
    cny_consumer *consumer = quarantine->consumer;
    uint64_t received = atomic_load(&consumer->source.received);
    bool rests = cny_source_is_idle(&consumer->source) && !cny_channel_has_deliveries(consumer->source.channel) &&
                 cny_source_deferred(&consumer->source) == 0;
    if (!rests || received != consumer->seen_received)
        quarantine->quiet_since = now;
    consumer->seen_received = received;
}

static void check_end(cny_quarantine *quarantine, int64_t now)
{
    bool has_more = now >= quarantine->due;
    bool is_lost = cny_consumer_has_ended(quarantine->consumer);
    watch_rest(quarantine, now);
    if (!has_more && !is_lost && now < quarantine->quiet_since + QUIET_MS)
        return;
    if (has_more || is_lost)
        atomic_store(&quarantine->gate->is_wanted, true);
    enter_state(quarantine, CNY_QUARANTINE_ENDING, now + PATIENCE_MS);
}

/* A handler that takes its time does not keep the other lanes waiting for ever. */
static void go_on_ending(cny_quarantine *quarantine, int64_t now)
{
    coney_stop_mode mode = CONEY_STOP_DRAIN;
    int64_t deadline = INT64_MAX;
    bool stops = cny_consumer_must_end(quarantine->consumer, &mode, &deadline);
    bool has_begun = *cny_channel_consumer_tag(quarantine->consumer->source.channel);
    if (!has_begun)
        mode = CONEY_STOP_NOW;
    else if (mode == CONEY_STOP_FINISH) /* the message is handled, because the broker would count its return */
        mode = CONEY_STOP_DRAIN;
    if (cny_consumer_go_on_ending(quarantine->consumer, mode, deadline)) {
        drop(quarantine);
        open_gate(quarantine, RECHECK_MS);
    } else if (!stops && now >= quarantine->due) {
        atomic_store(&quarantine->gate->is_closed, false);
    }
}

static bool is_under_way(const cny_quarantine *quarantine)
{
    return quarantine->state == CNY_QUARANTINE_SUBSCRIBING || quarantine->state == CNY_QUARANTINE_CONSUMING;
}

int64_t cny_quarantine_on_tick(coney_container *container, cny_listener *listener, int64_t now)
{
    cny_quarantine *quarantine = &listener->quarantine;
    bool may_run = container->state == CNY_CONTAINER_RUNNING && cny_listener_is_wanted(container, listener);
    if (!listener->spec.quarantine_queue ||
        (quarantine->state == CNY_QUARANTINE_OPEN && !cny_spec_is_guarded(&listener->spec)))
        return INT64_MAX;
    if (!may_run && quarantine->state == CNY_QUARANTINE_CLOSING)
        open_gate(quarantine, RECHECK_MS);
    if (!may_run && is_under_way(quarantine))
        enter_state(quarantine, CNY_QUARANTINE_ENDING, now + PATIENCE_MS);
    if (may_run && quarantine->state == CNY_QUARANTINE_OPEN)
        begin(quarantine, listener, now);
    switch (quarantine->state) {
    case CNY_QUARANTINE_OPEN: break;
    case CNY_QUARANTINE_CLOSING: close_gate(container, listener, now); break;
    case CNY_QUARANTINE_SUBSCRIBING: take_answer(quarantine, now); break;
    case CNY_QUARANTINE_CONSUMING: check_end(quarantine, now); break;
    case CNY_QUARANTINE_ENDING: go_on_ending(quarantine, now); break;
    }
    if (quarantine->state == CNY_QUARANTINE_OPEN)
        return may_run && atomic_load(&quarantine->gate->is_wanted) ? now + TICK_MS
               : may_run                                            ? quarantine->due
                                                                    : INT64_MAX;
    return now + TICK_MS;
}
