/* SPDX-License-Identifier: MIT */
/* A consumer and its channel: made, subscribed, and dropped again. The supervisor calls, under the container's lock.
 * The I/O thread calls the watcher under its connection's lock, and sets the lanes of the source to work. */
#include "rabbit/listener/consuming/consumer.h"

#include <stdio.h>

/* ---- life ---- */

static void name_consumer(cny_consumer *consumer)
{
    cny_listener *listener = consumer->listener;
    const char *tag = listener->spec.options.consumer_tag;
    if (tag && listener->max == 1)
        snprintf(consumer->tag, sizeof consumer->tag, "%s", tag);
    else if (tag)
        snprintf(consumer->tag, sizeof consumer->tag, "%.240s.%d", tag, ++listener->next_number);
}

static void free_consumer(cny_source *source)
{
    cny_consumer *consumer = (cny_consumer *)(void *)source;
    cny_source_clear(source);
    cny_error_unref(consumer->last_error);
    cny_listener_unref(consumer->listener);
    cny_container_unref(consumer->container);
    cny_free(consumer);
}

cny_consumer *cny_consumer_new(coney_container *container, cny_listener *listener, bool is_quarantine)
{
    cny_consumer *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    if (!cny_source_init(&made->source, &listener->handling, is_quarantine ? 1 : listener->spec.options.lanes)) {
        cny_free(made);
        return NULL;
    }
    made->source.release = free_consumer;
    made->source.is_quarantine = is_quarantine;
    made->container = cny_container_ref(container);
    made->listener = cny_listener_ref(listener);
    if (!is_quarantine)
        name_consumer(made);
    return made;
}

/* ---- waiting and leaving ---- */

void cny_consumer_back_off(cny_consumer *consumer, int64_t retry_at)
{
    bool is_lost = cny_consumer_is_lost(consumer);
    cny_life_wait(&consumer->life, is_lost ? CNY_CONSUMER_AWAITS_CONNECTION : CNY_CONSUMER_BACKS_OFF, retry_at);
}

void cny_consumer_begin_leaving(cny_consumer *consumer, coney_status loss)
{
    int64_t deadline = cny_deadline(consumer->container->options.resubscribe_interval_ms);
    cny_life_enter(&consumer->life, CNY_CONSUMER_LEAVING, deadline);
    consumer->loss = loss;
}

/* ---- subscribing ---- */

static void on_deliveries(void *self)
{
    cny_consumer *consumer = self;
    cny_source_on_deliveries(&consumer->source);
}

static void on_change(void *self)
{
    const cny_consumer *consumer = self;
    cny_container_wake(consumer->container);
}

/* No handler has had the delivery, so it is no attempt. The I/O thread calls this with the connection's lock held. */
static void on_skipped(void *self, const coney_message *message)
{
    const cny_consumer *consumer = self;
    cny_note_unseen(&consumer->listener->handling, message);
}

static coney_status begin(cny_consumer *consumer, cny_subscription what, cny_watcher watcher)
{
    if (!cny_consumer_is_isolated(consumer))
        return cny_channel_subscribe(&consumer->source.channel, consumer->container->factory, CONEY_CONSUMING, &what,
                                     &watcher);
    if (!what.consume.no_ack) { /* what is delivered goes back with the channel, so as little as possible */
        what.prefetch = 1;
        what.holding = NULL;
        what.is_renewed = false;
        watcher.on_deliveries = NULL;
    }
    return cny_channel_subscribe_on(&consumer->source.channel, consumer->isolation.connection, &what, &watcher);
}

/* As many messages as lanes, a batch, or an acknowledgement of several messages need. */
static int first_prefetch(const coney_listener *options)
{
    enum { FIRST = 16 };
    int first = options->lanes > FIRST ? options->lanes : FIRST;
    int together = options->on_batch ? options->batch_size : options->ack_every;
    if (first < together)
        first = together;
    return first < options->prefetch ? first : options->prefetch;
}

/* If the queue had a single active consumer, another consumer might become active while this one subscribes anew. So it
 * must be known that the queue has none. */
static bool is_renewed(const cny_consumer *consumer)
{
    const cny_holding *holding = &consumer->container->holding;
    return atomic_load(&consumer->listener->spec.queue.is_certain) && !atomic_load(&holding->is_refused);
}

/* What bounds the bytes of its deliveries; NULL: only its prefetch bounds them. */
static cny_holding *holding_of(const cny_consumer *consumer)
{
    const cny_listener *listener = consumer->listener;
    cny_holding *holding = &consumer->container->holding;
    bool keeps = cny_acknowledges_nothing(&listener->spec) || cny_spec_keeps_order(&listener->spec) ||
                 cny_spec_is_stream(&listener->spec) || consumer->source.is_quarantine ||
                 listener->spec.options.prefetch == 1;
    return keeps || holding->bound == SIZE_MAX ? NULL : holding;
}

coney_status cny_consumer_subscribe(cny_consumer *consumer)
{
    cny_listener *listener = consumer->listener;
    const coney_listener *options = &listener->spec.options;
    const coney_table *arguments = options->arguments;
    cny_arena arena = {0};
    coney_status status = cny_spec_is_stream(&listener->spec)
                              ? cny_handling_begin_stream(&listener->handling, &arena, &arguments)
                              : CONEY_OK;
    const cny_watcher watcher = {
        .on_deliveries = on_deliveries, .on_change = on_change, .on_skipped = on_skipped, .self = consumer};
    const cny_subscription what = {
        .consume = {.queue = consumer->source.is_quarantine ? listener->spec.quarantine_queue : options->queue,
                    .consumer_tag = *consumer->tag ? consumer->tag : NULL,
                    .no_ack = options->acknowledge == CONEY_ACKNOWLEDGE_NONE,
                    .exclusive = options->exclusive && !consumer->source.is_quarantine,
                    .arguments = arguments},
        .prefetch = consumer->source.is_quarantine ? 1 : options->prefetch,
        .first_prefetch = first_prefetch(options),
        .is_renewed = is_renewed(consumer) && holding_of(consumer),
        .holding = holding_of(consumer),
        .transacted = options->transacted,
        .is_stream = cny_spec_is_stream(&listener->spec),
        .is_delayed = options->retry.delayed_by_queue,
    };
    cny_intake_open(&consumer->source.intake);
    consumer->told_end = false;
    if (status == CONEY_OK)
        status = begin(consumer, what, watcher);
    cny_arena_free(&arena);
    return status;
}

void cny_consumer_give_up_rest(cny_consumer *consumer)
{
    cny_buffer rest = {0};
    size_t before = cny_channel_take_rest(consumer->source.channel, &rest);
    coney_message **messages = (coney_message **)(void *)rest.data;
    size_t count = rest.size / sizeof *messages;
    for (size_t i = 0; i < count; i++) {
        cny_note_unseen(&consumer->listener->handling, messages[i]);
        coney_message_unref(messages[i]);
    }
    /* Without what came after the end: another consumer may have given that back before. */
    atomic_fetch_add(&consumer->source.left_over, before);
    cny_buffer_free(&rest);
}

/* What goes back to the queue when the channel is closed is noted before that, because another consumer may get it at
 * once. */
int cny_consumer_drop_channel(cny_consumer *consumer)
{
    cny_consumer_end_isolation(consumer);
    if (!consumer->source.channel)
        return 0;
    cny_channel_unwatch(consumer->source.channel);
    cny_consumer_give_up_rest(consumer);
    cny_channel_close(consumer->source.channel);
    consumer->listener->left_over += atomic_exchange(&consumer->source.left_over, 0);
    cny_channel_unref(consumer->source.channel);
    consumer->source.channel = NULL;
    return cny_source_forget_deferred(&consumer->source);
}

void cny_consumer_withdraw(cny_consumer *consumer)
{
    cny_consumer_drop_channel(consumer);
    cny_source_withdraw(&consumer->source);
}
