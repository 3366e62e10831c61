/* SPDX-License-Identifier: MIT */
/* What the program is told of a container: events on the events thread, health, statistics, and log lines that wait
 * until no lock is held. */
#include "rabbit/listener/listener.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX_NOTICES 1000

/* ---- the log ---- */

typedef struct line {
    coney_log_level level;
    char text[4096];
} line;

void cny_container_remark(coney_container *container, coney_log_level level, const char *format, ...)
{
    line one = {.level = level};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(one.text, sizeof one.text, format, arguments);
    va_end(arguments);
    cny_buffer_append(&container->remarks, &one, sizeof one);
}

void cny_write_remarks(cny_buffer *remarks)
{
    const line *lines = (const line *)(const void *)remarks->data;
    for (size_t i = 0; i < remarks->size / sizeof *lines; i++)
        cny_log(lines[i].level, "%s", lines[i].text);
    cny_buffer_free(remarks);
}

/* ---- events ---- */

typedef struct notice {
    coney_container *container; /* a reference */
    coney_container_event event;
    cny_arena arena; /* holds its texts */
} notice;

const char *coney_container_event_name(coney_container_event_kind kind)
{
    switch (kind) {
    case CONEY_CONTAINER_STARTED: return "CONTAINER_STARTED";
    case CONEY_CONTAINER_STOPPED: return "CONTAINER_STOPPED";
    case CONEY_CONSUMER_STARTED: return "CONSUMER_STARTED";
    case CONEY_CONSUMER_FAILED: return "CONSUMER_FAILED";
    case CONEY_CONSUMER_RESTARTED: return "CONSUMER_RESTARTED";
    case CONEY_CONSUMER_STOPPED: return "CONSUMER_STOPPED";
    case CONEY_QUEUE_MISSING: return "QUEUE_MISSING";
    case CONEY_LISTENER_IDLE: return "LISTENER_IDLE";
    case CONEY_HANDLER_SLOW: return "HANDLER_SLOW";
    case CONEY_MESSAGE_EXHAUSTED: return "MESSAGE_EXHAUSTED";
    case CONEY_MESSAGE_REJECTED: return "MESSAGE_REJECTED";
    case CONEY_MESSAGE_DISCARDED: return "MESSAGE_DISCARDED";
    case CONEY_PUBLISHERS_BLOCKED: return "PUBLISHERS_BLOCKED";
    case CONEY_PUBLISHERS_UNBLOCKED: return "PUBLISHERS_UNBLOCKED";
    case CONEY_DECLARATION_NOT_MADE: return "DECLARATION_NOT_MADE";
    }
    return "unknown";
}

static void free_notice(notice *one)
{
    coney_container *container = one->container;
    cny_arena_free(&one->arena);
    cny_free(one);
    pthread_mutex_lock(&container->lock);
    if (atomic_fetch_sub(&container->notices, 1) == 1)
        pthread_cond_broadcast(&container->changed);
    pthread_mutex_unlock(&container->lock);
    cny_container_unref(container);
}

static void run_notice(coney_message *unused, const coney_error *none, void *user)
{
    (void)unused;
    (void)none;
    notice *one = user;
    int dropped = atomic_exchange(&one->container->dropped, 0);
    if (dropped > 0)
        cny_log(CONEY_LOG_WARN, "container '%s': on_event is too slow, %d events were dropped",
                one->container->options.name, dropped);
    if (atomic_load(&one->container->silence) < 2)
        one->container->options.on_event(&one->event, one->container->options.event_user);
    free_notice(one);
}

static bool fill_notice(notice *one, const cny_event *event)
{
    const coney_listener *options = event->listener ? &event->listener->options : NULL;
    const coney_error *error = cny_error_view(event->error);
    const char *text = event->text ? event->text : error ? error->text : "";
    const char *id = event->message ? event->message->properties.message_id : NULL;
    one->event = (coney_container_event){
        .kind = event->kind,
        .container = one->container->options.name,
        .status = error ? error->status : CONEY_OK,
        .broker_code = error ? error->broker_code : 0,
        .fatal = event->fatal,
        .duration_ms = event->duration_ms,
    };
    char *safe = cny_arena_copy(&one->arena, text, strlen(text)); /* it may quote the message */
    if (!safe)
        return false;
    cny_text_make_safe(safe);
    one->event.text = safe;
    return cny_arena_strdup(&one->arena, &one->event.listener_id, options ? options->id : "") &&
           cny_arena_strdup(&one->arena, &one->event.queue, options ? options->queue : "") &&
           cny_arena_strdup(&one->arena, &one->event.consumer_tag, event->consumer_tag ? event->consumer_tag : "") &&
           cny_arena_strdup(&one->arena, &one->event.message_id, id ? id : "");
}

/* Under the container's lock, perhaps, so nothing here may take it. */
static void abandon_notice(notice *one)
{
    coney_container *container = one->container;
    cny_arena_free(&one->arena);
    cny_free(one);
    atomic_fetch_sub(&container->notices, 1);
    cny_container_unref(container); /* never the last one: the caller has one */
}

void cny_tell(coney_container *container, const cny_event *event)
{
    bool is_of_many = event->listener != NULL; /* of the container itself there are few, and it stops only once */
    if (!container->options.on_event || atomic_load(&container->silence))
        return;
    if (is_of_many && atomic_load(&container->notices) >= MAX_NOTICES) {
        atomic_fetch_add(&container->dropped, 1);
        return;
    }
    notice *one = cny_alloc(sizeof *one);
    if (!one)
        return;
    one->container = cny_container_ref(container);
    atomic_fetch_add(&container->notices, 1);
    if (!fill_notice(one, event) || !cny_factory_post(container->factory, run_notice, NULL, one))
        abandon_notice(one);
}

bool cny_container_wait_told(coney_container *container, int64_t deadline)
{
    bool in_time = true;
    pthread_mutex_lock(&container->lock);
    while (atomic_load(&container->notices) > 0 && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
    bool told = atomic_load(&container->notices) == 0;
    pthread_mutex_unlock(&container->lock);
    return told;
}

/* ---- health ---- */

static bool is_consuming(const cny_consumer *consumer)
{
    return consumer->state == CNY_CONSUMER_CONSUMING && cny_channel_is_consuming(consumer->channel);
}

int cny_listener_consuming(const cny_listener *listener)
{
    int count = 0;
    for (const cny_consumer *consumer = listener->consumers; consumer; consumer = consumer->next)
        count += !consumer->surplus && is_consuming(consumer);
    return count;
}

/* Why it does not consume, even if the supervisor has not seen that yet. */
static coney_status check_consumer(const cny_consumer *consumer)
{
    const char *queue = consumer->listener->options.queue;
    if (consumer->trouble)
        return cny_error_raise(consumer->trouble);
    if (consumer->surplus || is_consuming(consumer))
        return CONEY_OK;
    if (consumer->state != CNY_CONSUMER_CONSUMING)
        return cny_fail(CONEY_E_STATE, "a consumer of queue '%s' has not begun yet", queue);
    cny_error *reason;
    cny_channel_feed(consumer->channel, &reason);
    if (cny_error_raise(reason) == CONEY_OK)
        cny_fail(CONEY_E_STATE, "a handler stops its container"); /* which begins to, in a moment */
    cny_error_unref(reason);
    return cny_fail_in("a consumer of queue '%s' was interrupted", queue);
}

static coney_status check_listener(const cny_listener *listener)
{
    int count = 0;
    coney_status status = CONEY_OK;
    for (const cny_consumer *consumer = listener->consumers; consumer && status == CONEY_OK;
         consumer = consumer->next) {
        count += !consumer->surplus;
        status = check_consumer(consumer);
    }
    if (status == CONEY_OK && count < listener->wanted)
        status = cny_fail(CONEY_E_STATE, "a consumer of queue '%s' has not begun yet", listener->options.queue);
    return status;
}

static bool is_stuck(const cny_lane *lane, int slow_ms, int64_t now)
{
    int64_t since = atomic_load(&lane->handling_since);
    return slow_ms > 0 && since > 0 && now - since > 2 * (int64_t)slow_ms;
}

/* Under lock: is there a worker left that may come back? */
static bool all_are_stuck(const coney_container *container)
{
    int64_t now = cny_now_ms();
    int lanes = 0, stuck = 0;
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer;
         consumer = cny_next_consumer(consumer)) {
        lanes += consumer->lane_count;
        for (int i = 0; i < consumer->lane_count; i++)
            stuck += is_stuck(&consumer->lanes[i], consumer->listener->options.slow_handler_ms, now);
    }
    int workers = container->options.workers;
    return stuck > 0 && stuck >= (workers > 0 && workers < lanes ? workers : lanes);
}

/* Under lock: whether its consumers may come back by themselves. */
static coney_status check_given_up(const coney_container *container)
{
    bool runs = container->state == CNY_CONTAINER_RUNNING;
    if (!runs || cny_factory_check_given_up(container->factory, CONEY_CONSUMING) == CONEY_OK)
        return CONEY_OK;
    return cny_fail_in("container '%s'", container->options.name);
}

/* Under lock. */
static coney_status check(const coney_container *container)
{
    if (container->failure)
        return cny_error_raise(container->failure);
    coney_status status = check_given_up(container);
    if (status != CONEY_OK)
        return status;
    if (container->state != CNY_CONTAINER_RUNNING)
        return cny_fail(CONEY_E_STATE, "container '%s' is %s", container->options.name,
                        container->state == CNY_CONTAINER_STOPPING   ? "stopping"
                        : container->state == CNY_CONTAINER_STARTING ? "starting"
                                                                     : "not running");
    if (container->paused)
        return cny_fail(CONEY_E_STATE, "container '%s' is paused", container->options.name);
    for (const cny_listener *listener = container->listeners; listener; listener = listener->next) {
        if (cny_listener_is_wanted(container, listener) && check_listener(listener) != CONEY_OK)
            return cny_fail_in("container '%s'", container->options.name);
    }
    return CONEY_OK;
}

coney_status coney_container_check(coney_container *container)
{
    CNY_DISABLE_CANCEL();
    if (!container)
        return cny_fail(CONEY_E_INVALID, "check: the container is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&container->lock);
    status = check(container);
    pthread_mutex_unlock(&container->lock);
    return status == CONEY_OK ? cny_declarations_check(container->factory) : status;
}

coney_status coney_container_health(coney_container *container, coney_health *health)
{
    CNY_DISABLE_CANCEL();
    if (!container || !health)
        return cny_fail(CONEY_E_INVALID, "health: container or health is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    *health = (coney_health){.status = CONEY_OK};
    pthread_mutex_lock(&container->lock);
    bool stuck = all_are_stuck(container);
    health->live = !stuck && check_given_up(container) == CONEY_OK && !container->failure;
    health->status = stuck ? cny_fail(CONEY_E_TIMEOUT, "container '%s': no handler returns", container->options.name)
                           : check(container);
    for (const cny_listener *listener = container->listeners; listener; listener = listener->next) {
        health->consumers += cny_listener_consuming(listener);
        health->wanted += cny_listener_is_wanted(container, listener) ? listener->wanted : 0;
    }
    pthread_mutex_unlock(&container->lock);
    if (health->status == CONEY_OK)
        health->status = cny_declarations_check(container->factory);
    health->ready = health->status == CONEY_OK;
    if (!health->ready)
        snprintf(health->reason, sizeof health->reason, "%s", coney_last_error());
    return CONEY_OK;
}

/* ---- statistics ---- */

void cny_count_handler(cny_counters *counters, uint64_t us)
{
    int bucket = 0;
    for (uint64_t bound = 100; us > bound && bucket < CONEY_HANDLER_TIME_BUCKETS - 1; bound *= 10)
        bucket++;
    cny_count(&counters->handled);
    cny_count(&counters->handler_times[bucket]);
    atomic_fetch_add_explicit(&counters->handler_us, us, memory_order_relaxed);
}

static void read_counters(coney_listener_statistics *to, const cny_counters *from)
{
    *to = (coney_listener_statistics){
        .received = atomic_load(&from->received),
        .acknowledged = atomic_load(&from->acknowledged),
        .rejected = atomic_load(&from->rejected),
        .requeued = atomic_load(&from->requeued),
        .retried = atomic_load(&from->retried),
        .republished = atomic_load(&from->republished),
        .exhausted = atomic_load(&from->exhausted),
        .passed_over = atomic_load(&from->passed_over),
        .discarded = atomic_load(&from->discarded),
        .filtered = atomic_load(&from->filtered),
        .failed = atomic_load(&from->failed),
        .fatal = atomic_load(&from->fatal),
        .stale = atomic_load(&from->stale),
        .in_progress = atomic_load(&from->in_progress),
        .handled = atomic_load(&from->handled),
        .handler_us = atomic_load(&from->handler_us),
    };
    for (int i = 0; i < CONEY_HANDLER_TIME_BUCKETS; i++)
        to->handler_times[i] = atomic_load(&from->handler_times[i]);
}

coney_status coney_container_statistics(coney_container *container, const char *id,
                                        coney_listener_statistics *statistics)
{
    CNY_DISABLE_CANCEL();
    if (!container || !id || !statistics)
        return cny_fail(CONEY_E_INVALID, "statistics: container, id or statistics is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&container->lock);
    const cny_listener *listener = cny_container_find(container, id);
    if (listener)
        read_counters(statistics, &listener->counters);
    else
        status = cny_fail(CONEY_E_NOT_FOUND, "container '%s' has no listener '%.255s'", container->options.name, id);
    pthread_mutex_unlock(&container->lock);
    return status;
}

/* ---- the list ---- */

static coney_listener_state state_of(const coney_container *container, const cny_listener *listener, int consuming)
{
    if (!cny_listener_is_wanted(container, listener))
        return listener->consumers ? CONEY_LISTENER_STOPPING : CONEY_LISTENER_STOPPED;
    return consuming < listener->wanted ? CONEY_LISTENER_STARTING : CONEY_LISTENER_RUNNING;
}

typedef struct entry {
    cny_listener *listener; /* a reference */
    coney_listener_info info;
} entry;

/* Under lock. */
static bool add_entry(const coney_container *container, cny_listener *listener, cny_buffer *entries)
{
    bool wanted = cny_listener_is_wanted(container, listener);
    entry one = {.listener = listener,
                 .info = {.id = listener->options.id,
                          .group = listener->options.group ? listener->options.group : "",
                          .queue = listener->options.queue,
                          .consumers = cny_listener_consuming(listener),
                          .wanted = wanted ? listener->wanted : 0}};
    one.info.state = state_of(container, listener, one.info.consumers);
    read_counters(&one.info.statistics, &listener->counters);
    if (!cny_buffer_append(entries, &one, sizeof one))
        return false;
    atomic_fetch_add(&listener->refs, 1);
    return true;
}

coney_status coney_container_list(coney_container *container,
                                  void (*visit)(const coney_listener_info *info, void *user), void *user)
{
    CNY_DISABLE_CANCEL();
    if (!container || !visit)
        return cny_fail(CONEY_E_INVALID, "list: container or visit is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    cny_buffer entries = {0};
    bool got_all = true;
    pthread_mutex_lock(&container->lock);
    for (cny_listener *listener = container->listeners; listener && got_all; listener = listener->next)
        got_all = listener->removed || add_entry(container, listener, &entries);
    pthread_mutex_unlock(&container->lock);
    const entry *all = (const entry *)(const void *)entries.data;
    for (size_t i = 0; i < entries.size / sizeof *all; i++) {
        if (got_all)
            visit(&all[i].info, user);
        cny_listener_unref(all[i].listener);
    }
    cny_buffer_free(&entries);
    return got_all ? CONEY_OK : cny_fail_memory();
}
