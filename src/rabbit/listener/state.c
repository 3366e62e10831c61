/* SPDX-License-Identifier: MIT */
/* What the program is told of a container when it asks: health, statistics and the list of listeners. */
#include "rabbit/listener/listener.h"

#include <stdio.h>
#include <string.h>

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
    const char *queue = consumer->listener->spec.options.queue;
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
        status = cny_fail(CONEY_E_STATE, "a consumer of queue '%s' has not begun yet", listener->spec.options.queue);
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
            stuck += is_stuck(&consumer->lanes[i], consumer->listener->spec.options.slow_handler_ms, now);
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
        cny_counters_read(statistics, &listener->counters);
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
                 .info = {.id = listener->spec.options.id,
                          .group = listener->spec.options.group ? listener->spec.options.group : "",
                          .queue = listener->spec.options.queue,
                          .consumers = cny_listener_consuming(listener),
                          .wanted = wanted ? listener->wanted : 0}};
    one.info.state = state_of(container, listener, one.info.consumers);
    cny_counters_read(&one.info.statistics, &listener->counters);
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
