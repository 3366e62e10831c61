/* SPDX-License-Identifier: MIT */
/* What the lanes of a consumer share: its channel, references, and the count of deliveries that are not settled. Any
 * thread, but for taking messages, which the worker does that runs the source. */
#include "rabbit/listener/handling/source.h"

#include "rabbit/listener/handling/memory.h"

cny_source *cny_source_ref(cny_source *source)
{
    atomic_fetch_add_explicit(&source->refs, 1, memory_order_relaxed);
    return source;
}

void cny_source_unref(cny_source *source)
{
    if (atomic_fetch_sub_explicit(&source->refs, 1, memory_order_acq_rel) == 1)
        source->release(source);
}

/* ---- deferred deliveries ---- */

uint32_t cny_source_defer(cny_source *source)
{
    return (uint32_t)(atomic_fetch_add(&source->deferred, 1) >> 32);
}

void cny_source_undefer(cny_source *source, uint32_t channel_number)
{
    unsigned long long deferred = atomic_load(&source->deferred);
    while (deferred >> 32 == channel_number &&
           !atomic_compare_exchange_weak(&source->deferred, &deferred, deferred - 1))
        ;
}

int cny_source_deferred(const cny_source *source)
{
    return (int)(uint32_t)atomic_load(&source->deferred);
}

int cny_source_forget_deferred(cny_source *source)
{
    unsigned long long deferred = atomic_load(&source->deferred);
    while (!atomic_compare_exchange_weak(&source->deferred, &deferred, ((deferred >> 32) + 1) << 32))
        ;
    return (int)(uint32_t)deferred;
}

/* ---- taking messages ---- */

bool cny_source_take(cny_source *source, cny_buffer *messages)
{
    if (!source->channel || !cny_channel_take(source->channel, messages))
        return false;
    size_t count = messages->size / sizeof(coney_message *);
    coney_message **all = (coney_message **)(void *)messages->data;
    atomic_fetch_add(&source->in_lanes, (int)count);
    if (cny_spec_is_stream(source->handling->spec) &&
        !cny_position_take(&source->handling->memory->position, source->channel, all, count))
        cny_channel_close(source->channel); /* so that they come again */
    return true;
}

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

static bool has_message(cny_lane *lane)
{
    return lane->next * sizeof(coney_message *) < lane->todo.size || refill(lane);
}

coney_message *cny_lane_next_message(cny_lane *lane)
{
    return has_message(lane) ? ((coney_message **)(void *)lane->todo.data)[lane->next++] : NULL;
}

bool cny_lane_has_more(cny_lane *lane)
{
    size_t items;
    cny_lane_items(lane, &items);
    return items > 1 || has_message(lane);
}

/* ---- giving back ---- */

/* On a queue with single active consumer, a basic.cancel would let the next consumer begin with the messages after
 * those that are here, before these are handled or back. Only a consumer that acknowledges nothing needs a
 * basic.cancel: the broker must stop sending, because each message that is not handled is lost. */
void cny_source_end_feed(const cny_source *source, cny_channel *channel, cny_intake_mode mode)
{
    const cny_handling *handling = source->handling;
    bool may_keep = mode == CNY_INTAKE_RETURN || cny_spec_keeps_order(handling->spec);
    if (may_keep && !cny_acknowledges_nothing(handling->spec) && !source->is_quarantine)
        cny_channel_keep_consumer(channel);
    else
        cny_channel_cancel(channel);
}

void cny_source_give_up(cny_source *source, cny_channel *channel)
{
    cny_source_end_feed(source, channel, CNY_INTAKE_RETURN);
    cny_intake_raise(&source->intake, CNY_INTAKE_RETURN);
}

void cny_return_message(cny_channel *channel, const coney_message *message)
{
    size_t bytes = cny_message_weight(message);
    if (cny_channel_settle_held(channel, message->delivery_tag, CNY_SETTLE_RETURN, 1, bytes) == CONEY_E_NO_MEMORY)
        cny_channel_close(channel); /* else the broker would wait for it */
}

void cny_return_for_want_of_memory(cny_source *source, const coney_message *message)
{
    const char *queue = source->handling->spec->options.queue;
    bool is_lost = cny_acknowledges_nothing(source->handling->spec);
    cny_log_limited(&source->handling->log, CNY_LOG_MEMORY, CONEY_LOG_ERROR, message,
                    "queue '%s': no memory to handle message '%s'; it %s", queue, cny_id_of(message),
                    is_lost ? "is lost" : "goes back");
    if (!is_lost)
        cny_return_message(source->channel, message);
}
