/* SPDX-License-Identifier: MIT */
/* One subscription: its channel, and the lanes its messages go through. The supervisor makes and ends it; the
 * I/O thread sets its lanes to work; workers run them. */
#include "rabbit/listener/listener.h"

#include <stdio.h>
#include <string.h>

/* ---- life ---- */

static void spread(cny_task *task);
static void on_idle(cny_task *task);

static void init_lane(cny_lane *lane, cny_consumer *consumer)
{
    lane->consumer = consumer;
    lane->task.run = cny_lane_run;
    lane->task.on_idle = on_idle;
    pthread_mutex_init(&lane->lock, NULL);
}

static void name_consumer(cny_consumer *consumer)
{
    cny_listener *listener = consumer->listener;
    const char *tag = listener->spec.options.consumer_tag;
    if (tag && listener->max == 1)
        snprintf(consumer->tag, sizeof consumer->tag, "%s", tag);
    else if (tag)
        snprintf(consumer->tag, sizeof consumer->tag, "%.240s.%d", tag, ++listener->next_number);
}

cny_consumer *cny_consumer_new(coney_container *container, cny_listener *listener, bool is_quarantine)
{
    int lanes = is_quarantine ? 1 : listener->spec.options.lanes;
    cny_consumer *made = cny_alloc(sizeof *made + (size_t)lanes * sizeof *made->lanes);
    if (!made)
        return NULL;
    atomic_init(&made->refs, 1);
    made->container = cny_container_ref(container);
    atomic_fetch_add(&listener->refs, 1);
    made->listener = listener;
    made->task.run = spread;
    made->task.on_idle = on_idle;
    made->lane_count = lanes;
    for (int i = 0; i < lanes; i++)
        init_lane(&made->lanes[i], made);
    made->is_quarantine = is_quarantine;
    if (!is_quarantine)
        name_consumer(made);
    return made;
}

cny_consumer *cny_consumer_ref(cny_consumer *consumer)
{
    atomic_fetch_add_explicit(&consumer->refs, 1, memory_order_relaxed);
    return consumer;
}

void cny_consumer_unref(cny_consumer *consumer)
{
    if (atomic_fetch_sub_explicit(&consumer->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (int i = 0; i < consumer->lane_count; i++) {
        cny_lane_clear(&consumer->lanes[i]);
        pthread_mutex_destroy(&consumer->lanes[i].lock);
    }
    cny_buffer_free(&consumer->taken);
    cny_channel_unref(consumer->channel);
    cny_error_unref(consumer->trouble);
    cny_listener_unref(consumer->listener);
    cny_container_unref(consumer->container);
    cny_free(consumer);
}

/* ---- deferred deliveries ---- */

uint32_t cny_consumer_defer(cny_consumer *consumer)
{
    return (uint32_t)(atomic_fetch_add(&consumer->deferred, 1) >> 32);
}

void cny_consumer_undefer(cny_consumer *consumer, uint32_t channel_number)
{
    unsigned long long deferred = atomic_load(&consumer->deferred);
    while (deferred >> 32 == channel_number &&
           !atomic_compare_exchange_weak(&consumer->deferred, &deferred, deferred - 1))
        ;
}

int cny_consumer_deferred(const cny_consumer *consumer)
{
    return (int)(uint32_t)atomic_load(&consumer->deferred);
}

/* The broker delivers them again. */
static int forget_deferred(cny_consumer *consumer)
{
    unsigned long long deferred = atomic_load(&consumer->deferred);
    while (!atomic_compare_exchange_weak(&consumer->deferred, &deferred, ((deferred >> 32) + 1) << 32))
        ;
    return (int)(uint32_t)deferred;
}

/* ---- subscribing ---- */

static bool has_many_lanes(const cny_consumer *consumer)
{
    return consumer->lane_count > 1;
}

static void on_deliveries(void *self)
{
    cny_consumer *consumer = self;
    cny_task *task = has_many_lanes(consumer) ? &consumer->task : &consumer->lanes[0].task;
    cny_workers_schedule(consumer->container->workers, task);
}

static void on_change(void *self)
{
    const cny_consumer *consumer = self;
    cny_container_attention(consumer->container);
}

/* A delivery that no handler saw, so it is no attempt. Under the connection's lock. */
static void on_skipped(void *self, const coney_message *message)
{
    const cny_consumer *consumer = self;
    cny_note_unseen(consumer->listener, message);
}

static coney_status begin(cny_consumer *consumer, cny_subscription what, cny_watcher watcher)
{
    if (!cny_consumer_is_tried_alone(consumer))
        return cny_channel_subscribe(&consumer->channel, consumer->container->factory, &what, &watcher);
    if (!what.consume.no_ack) { /* what comes goes back with the channel: as few as may be */
        what.prefetch = 1;
        what.holding = NULL;
        what.is_renewed = false;
        watcher.on_deliveries = NULL;
    }
    return cny_channel_subscribe_on(&consumer->channel, consumer->trial, &what, &watcher);
}

/* What lanes, batches and acknowledgements of several need comes at once. */
static int first_prefetch(const coney_listener *options)
{
    enum { FIRST = 16 };
    int first = options->lanes > FIRST ? options->lanes : FIRST;
    int together = options->on_batch ? options->batch_size : options->ack_every;
    if (first < together)
        first = together;
    return first < options->prefetch ? first : options->prefetch;
}

/* A queue may have a single active consumer, and then a new consumer may find another one in its way: so it must be
 * known that this queue has not. */
static bool is_renewed(const cny_consumer *consumer)
{
    const cny_holding *holding = &consumer->container->holding;
    return atomic_load(&consumer->listener->spec.queue.is_certain) && !atomic_load(&holding->is_refused);
}

/* NULL: nothing but its prefetch bounds it. */
static cny_holding *holding_of(const cny_consumer *consumer)
{
    const cny_listener *listener = consumer->listener;
    cny_holding *holding = &consumer->container->holding;
    bool keeps = cny_acknowledges_nothing(&listener->spec) || cny_spec_keeps_order(&listener->spec) ||
                 cny_spec_is_stream(&listener->spec) || consumer->is_quarantine || listener->spec.options.prefetch == 1;
    return keeps || holding->bound == SIZE_MAX ? NULL : holding;
}

coney_status cny_consumer_subscribe(cny_consumer *consumer)
{
    cny_listener *listener = consumer->listener;
    const coney_listener *options = &listener->spec.options;
    const coney_table *arguments = options->arguments;
    cny_arena arena = {0};
    coney_status status =
        cny_spec_is_stream(&listener->spec) ? cny_position_begin(&listener->position, &arena, &arguments) : CONEY_OK;
    const cny_watcher watcher = {
        .on_deliveries = on_deliveries, .on_change = on_change, .on_skipped = on_skipped, .self = consumer};
    const cny_subscription what = {
        .consume = {.queue = consumer->is_quarantine ? listener->spec.quarantine_queue : options->queue,
                    .consumer_tag = *consumer->tag ? consumer->tag : NULL,
                    .no_ack = options->acknowledge == CONEY_ACKNOWLEDGE_NONE,
                    .exclusive = options->exclusive && !consumer->is_quarantine,
                    .arguments = arguments},
        .prefetch = consumer->is_quarantine ? 1 : options->prefetch,
        .first_prefetch = first_prefetch(options),
        .is_renewed = is_renewed(consumer) && holding_of(consumer),
        .holding = holding_of(consumer),
        .transacted = options->transacted,
        .is_stream = cny_spec_is_stream(&listener->spec),
        .is_delayed = options->retry.delayed_by_queue,
    };
    atomic_store(&consumer->course, CNY_COURSE_HANDLE);
    atomic_store(&consumer->leaving, false);
    if (status == CONEY_OK)
        status = begin(consumer, what, watcher);
    cny_arena_free(&arena);
    return status;
}

void cny_consumer_give_up_rest(cny_consumer *consumer)
{
    cny_buffer rest = {0};
    size_t before = cny_channel_take_rest(consumer->channel, &rest);
    coney_message **messages = (coney_message **)(void *)rest.data;
    size_t count = rest.size / sizeof *messages;
    for (size_t i = 0; i < count; i++) {
        cny_note_unseen(consumer->listener, messages[i]);
        coney_message_unref(messages[i]);
    }
    atomic_fetch_add(&consumer->left_over, before); /* what came later another consumer may have given back before */
    cny_buffer_free(&rest);
}

/* What goes back with the channel is noted before another consumer can get it. */
int cny_consumer_drop_channel(cny_consumer *consumer)
{
    cny_consumer_end_trial(consumer);
    if (!consumer->channel)
        return 0;
    cny_channel_unwatch(consumer->channel);
    cny_consumer_give_up_rest(consumer);
    cny_channel_close(consumer->channel);
    consumer->listener->left_over += atomic_exchange(&consumer->left_over, 0);
    cny_channel_unref(consumer->channel);
    consumer->channel = NULL;
    return forget_deferred(consumer);
}

void cny_consumer_withdraw(cny_consumer *consumer)
{
    cny_workers *workers = consumer->container->workers;
    cny_consumer_drop_channel(consumer);
    cny_workers_withdraw(workers, &consumer->task);
    for (int i = 0; i < consumer->lane_count; i++)
        cny_workers_withdraw(workers, &consumer->lanes[i].task);
}

/* (Broker: consumer_timeout, 30 minutes.) It happens again with each such message, so the program is told what
 * helps. */
coney_status cny_consumer_raise_loss(const cny_error *reason)
{
    coney_status status = cny_error_raise(reason);
    const char *text = coney_last_error();
    if (!strstr(text, "delivery acknowledgement") || !strstr(text, "timed out"))
        return status;
    return cny_fail_code(status, coney_last_error_details()->broker_code,
                         "%s; so that messages are acknowledged in time, lower retry.first_delay_ms, "
                         "retry.max_delay_ms, retry.max_attempts or prefetch, or raise the broker's consumer_timeout",
                         text);
}

/* ---- the lanes ---- */

/* Under the workers' lock. */
static void on_idle(cny_task *task)
{
    const cny_lane *lane = (const cny_lane *)(const void *)task;
    const cny_consumer *consumer = task->run == spread ? (const cny_consumer *)(const void *)task : lane->consumer;
    if (atomic_load(&consumer->leaving))
        cny_container_attention(consumer->container);
}

void cny_consumer_set_course(cny_consumer *consumer, cny_course course)
{
    cny_workers *workers = consumer->container->workers;
    atomic_store(&consumer->course, (int)course);
    atomic_store(&consumer->leaving, true);
    if (has_many_lanes(consumer))
        cny_workers_hasten(workers, &consumer->task);
    for (int i = 0; i < consumer->lane_count; i++)
        cny_workers_hasten(workers, &consumer->lanes[i].task);
}

/* A basic.cancel would let the next consumer of a queue with single active consumer begin after what is here, before
 * that is handled or back. Only a consumer that acknowledges nothing needs one: what the broker sends to it is lost
 * unless it is handled, so the broker must stop. */
void cny_consumer_end_feed(cny_consumer *consumer, cny_channel *channel, cny_course course)
{
    const cny_listener *listener = consumer->listener;
    bool may_keep = course == CNY_COURSE_RETURN || cny_spec_keeps_order(&listener->spec);
    if (may_keep && !cny_acknowledges_nothing(&listener->spec) && !consumer->is_quarantine)
        cny_channel_keep_consumer(channel);
    else
        cny_channel_cancel(channel);
}

void cny_consumer_give_up(cny_consumer *consumer, cny_channel *channel)
{
    int handles = CNY_COURSE_HANDLE;
    cny_consumer_end_feed(consumer, channel, CNY_COURSE_RETURN);
    atomic_compare_exchange_strong(&consumer->course, &handles, CNY_COURSE_RETURN);
}

bool cny_consumer_is_idle(cny_consumer *consumer)
{
    cny_workers *workers = consumer->container->workers;
    bool idle = atomic_load(&consumer->in_lanes) == 0 && cny_workers_is_idle(workers, &consumer->task);
    for (int i = 0; idle && i < consumer->lane_count; i++)
        idle = cny_workers_is_idle(workers, &consumer->lanes[i].task);
    return idle;
}

int cny_consumer_handling(const cny_consumer *consumer)
{
    int handling = 0;
    for (int i = 0; i < consumer->lane_count; i++)
        handling += atomic_load(&consumer->lanes[i].handling_since) != 0;
    return handling;
}

int cny_consumer_publishing(const cny_consumer *consumer)
{
    int count = 0;
    for (int i = 0; i < consumer->lane_count; i++)
        count += atomic_load(&consumer->lanes[i].judging) || atomic_load(&consumer->lanes[i].handling_since) != 0;
    return count;
}

void cny_return_message(cny_channel *channel, const coney_message *message)
{
    size_t bytes = cny_message_weight(message);
    if (cny_channel_settle_held(channel, message->delivery_tag, CNY_SETTLE_RETURN, 1, bytes) == CONEY_E_NO_MEMORY)
        cny_channel_close(channel); /* else the broker would wait for it */
}

void cny_return_for_want_of_memory(cny_consumer *consumer, const coney_message *message)
{
    const char *queue = consumer->listener->spec.options.queue;
    bool is_lost = cny_acknowledges_nothing(&consumer->listener->spec);
    cny_log_limited(&consumer->listener->log, CNY_LOG_MEMORY, CONEY_LOG_ERROR, message,
                    "queue '%s': no memory to handle message '%s'; it %s", queue, cny_id_of(message),
                    is_lost ? "is lost" : "goes back");
    if (!is_lost)
        cny_return_message(consumer->channel, message);
}

/* ---- taking messages ---- */

bool cny_consumer_take(cny_consumer *consumer, cny_buffer *messages)
{
    if (!consumer->channel || !cny_channel_take(consumer->channel, messages))
        return false;
    size_t count = messages->size / sizeof(coney_message *);
    coney_message **all = (coney_message **)(void *)messages->data;
    atomic_fetch_add(&consumer->in_lanes, (int)count);
    if (cny_spec_is_stream(&consumer->listener->spec) &&
        !cny_position_take(&consumer->listener->position, consumer->channel, all, count))
        cny_channel_close(consumer->channel); /* so that they come again */
    return true;
}

/* ---- spreading messages over lanes ---- */

static uint32_t hash_of_header(const coney_message *message, const char *name)
{
    const coney_value *value = coney_message_header(message, name);
    if (!value)
        return 0;
    if (value->type == CONEY_STRING || value->type == CONEY_BYTES)
        return cny_hash(value->as.bytes.data, value->as.bytes.size);
    int64_t number = value->type == CONEY_BOOL ? value->as.boolean : value->as.integer;
    return value->type <= CONEY_INT64 || value->type == CONEY_TIMESTAMP ? cny_hash(&number, sizeof number) : 0;
}

static cny_lane *lane_of(cny_consumer *consumer, const coney_message *message)
{
    const char *header = consumer->listener->spec.options.lane_header;
    const char *key = cny_original_routing_key(consumer->listener, message); /* back from the ladder to the same */
    uint32_t value = header ? hash_of_header(message, header) : cny_hash(key, strlen(key));
    return &consumer->lanes[value % (uint32_t)consumer->lane_count];
}

/* Without memory for it a message goes back to the queue, where its turn comes again. */
static void put_on_lane(cny_consumer *consumer, coney_message *message)
{
    cny_lane *lane = lane_of(consumer, message);
    pthread_mutex_lock(&lane->lock);
    bool put = cny_buffer_append(&lane->inbox, &message, sizeof(coney_message *));
    pthread_mutex_unlock(&lane->lock);
    if (put) {
        cny_workers_schedule(consumer->container->workers, &lane->task);
        return;
    }
    cny_return_for_want_of_memory(consumer, message);
    atomic_fetch_sub(&consumer->in_lanes, 1);
    coney_message_unref(message);
}

static void spread(cny_task *task)
{
    cny_consumer *consumer = (cny_consumer *)(void *)task;
    if (!cny_consumer_take(consumer, &consumer->taken))
        return;
    coney_message **messages = (coney_message **)(void *)consumer->taken.data;
    size_t count = consumer->taken.size / sizeof *messages;
    for (size_t i = 0; i < count; i++)
        put_on_lane(consumer, messages[i]);
    consumer->taken.size = 0;
}
