/* SPDX-License-Identifier: MIT */
/* What the program is told of a container when it asks: health, statistics and the list of listeners. On the program's
 * threads; nothing is waited for. */
#include "rabbit/listener/consuming/consuming.h"

#include <stdio.h>
#include <string.h>

/* ---- health ---- */

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
        if (cny_listener_is_wanted(container, listener) && cny_listener_check(listener) != CONEY_OK)
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
    bool stuck = cny_container_is_stuck(container);
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

/* ---- one listener ---- */

coney_status coney_container_queue_name(coney_container *container, const char *id, char name[CONEY_NAME_SIZE])
{
    CNY_DISABLE_CANCEL();
    if (!container || !id || !name)
        return cny_fail(CONEY_E_INVALID, "queue name: container, id or name is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&container->lock);
    const cny_listener *listener = cny_container_find(container, id);
    if (listener)
        snprintf(name, CONEY_NAME_SIZE, "%s", listener->spec.options.queue);
    pthread_mutex_unlock(&container->lock);
    return listener
               ? CONEY_OK
               : cny_fail(CONEY_E_NOT_FOUND, "container '%s' has no listener '%.255s'", container->options.name, id);
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
        cny_counters_read(statistics, &listener->handling.counters);
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
    cny_counters_read(&one.info.statistics, &listener->handling.counters);
    if (!cny_buffer_append(entries, &one, sizeof one))
        return false;
    cny_listener_ref(listener);
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
        got_all = listener->wish == CNY_LISTENER_REMOVED || add_entry(container, listener, &entries);
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
