/* SPDX-License-Identifier: MIT */
/* The listener container: registers listeners, subscribes them all or none, and stops them
 * within a deadline. Consumer threads are detached and keep the container alive by reference, so
 * that a handler that never returns cannot hold up stop or free. (Spring:
 * SimpleMessageListenerContainer.) */
#include "rabbit/listener/container.h"

#include <string.h>

#define DEFAULT_PREFETCH 250 /* Spring's */
#define DEFAULT_START_TIMEOUT_MS 10000
#define DEFAULT_SHUTDOWN_TIMEOUT_MS 5000
#define GRACE_MS 50          /* for consumers to end by themselves at the deadline */
#define MAX_CONCURRENCY 2000 /* channels of one connection */

/* ---- life ---- */

static void free_container(coney_container *container)
{
    cny_error_unref(container->failure);
    cny_buffer_free(&container->listeners);
    cny_arena_free(&container->arena);
    cny_factory_unref(container->factory);
    pthread_cond_destroy(&container->changed);
    pthread_mutex_destroy(&container->lock);
    cny_free(container);
}

void cny_container_unref(coney_container *container)
{
    if (atomic_fetch_sub_explicit(&container->refs, 1, memory_order_acq_rel) == 1)
        free_container(container);
}

coney_status coney_container_new(coney_container **container, coney_connection_factory *factory,
                                 const coney_container_options *options)
{
    static const coney_container_options defaults;
    if (!options)
        options = &defaults;
    if (!container || !factory)
        return cny_fail(CONEY_E_INVALID, "container: container or factory is NULL");
    if (options->start_timeout_ms < 0 || options->shutdown_timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "container: start_timeout_ms %d or shutdown_timeout_ms %d is below 0",
                        options->start_timeout_ms, options->shutdown_timeout_ms);
    coney_container *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    atomic_init(&made->stop_deadline, INT64_MAX);
    made->factory = cny_factory_ref(factory);
    pthread_mutex_init(&made->lock, NULL);
    cny_cond_init(&made->changed);
    made->options = *options;
    if (made->options.start_timeout_ms == 0)
        made->options.start_timeout_ms = DEFAULT_START_TIMEOUT_MS;
    if (made->options.shutdown_timeout_ms == 0)
        made->options.shutdown_timeout_ms = DEFAULT_SHUTDOWN_TIMEOUT_MS;
    if (!cny_arena_strdup(&made->arena, &made->options.name, options->name ? options->name : "container")) {
        free_container(made);
        return cny_fail_memory();
    }
    *container = made;
    return CONEY_OK;
}

void coney_container_free(coney_container *container)
{
    if (!container)
        return;
    if (coney_container_stop(container) != CONEY_OK)
        cny_log(CONEY_LOG_ERROR, "%s", coney_last_error());
    cny_container_unref(container);
}

/* ---- listeners ---- */

static coney_status check_listener(const coney_listener *listener)
{
    if (!listener->queue || !*listener->queue)
        return cny_fail(CONEY_E_INVALID, "the queue is not named");
    if (!listener->on_message)
        return cny_fail(CONEY_E_INVALID, "on_message is NULL");
    if (listener->concurrency < 0 || listener->concurrency > MAX_CONCURRENCY)
        return cny_fail(CONEY_E_INVALID, "concurrency is %d; 1 to %d are possible", listener->concurrency,
                        MAX_CONCURRENCY);
    if (listener->prefetch < 0 || listener->prefetch > UINT16_MAX)
        return cny_fail(CONEY_E_INVALID, "prefetch is %d; 1 to 65,535 are possible", listener->prefetch);
    return cny_check_name("queue name", listener->queue);
}

coney_status coney_container_listen(coney_container *container, const coney_listener *listener)
{
    if (!container || !listener)
        return cny_fail(CONEY_E_INVALID, "listen: container or listener is NULL");
    if (check_listener(listener) != CONEY_OK)
        return cny_fail_in("listener for queue '%.255s'", listener->queue ? listener->queue : "");
    coney_listener copy = *listener;
    if (copy.concurrency == 0)
        copy.concurrency = 1;
    if (copy.prefetch == 0)
        copy.prefetch = DEFAULT_PREFETCH;
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&container->lock);
    if (container->state != CNY_CONTAINER_STOPPED)
        status = cny_fail(CONEY_E_STATE, "listener for queue '%s': the container is running", listener->queue);
    else if (!cny_arena_strdup(&container->arena, &copy.queue, listener->queue) ||
             !cny_buffer_append(&container->listeners, &copy, sizeof copy))
        status = cny_fail_memory();
    pthread_mutex_unlock(&container->lock);
    return status;
}

/* ---- start ---- */

static coney_status enter_starting(coney_container *container)
{
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&container->lock);
    if (container->state == CNY_CONTAINER_STOPPING)
        status = cny_fail(CONEY_E_STATE, "container '%s' is still stopping", container->options.name);
    else if (container->state != CNY_CONTAINER_STOPPED)
        status = cny_fail(CONEY_E_STATE, "container '%s' is running%s", container->options.name,
                          container->failure ? ", but has lost consumers; stop it, then start it" : "");
    else if (container->listeners.size == 0)
        status = cny_fail(CONEY_E_STATE, "container '%s' has no listeners", container->options.name);
    if (status == CONEY_OK) {
        container->state = CNY_CONTAINER_STARTING;
        cny_error_unref(container->failure);
        container->failure = NULL;
        atomic_store(&container->stop_deadline, INT64_MAX);
    }
    pthread_mutex_unlock(&container->lock);
    return status;
}

static void free_list(cny_consumer *consumers)
{
    while (consumers) {
        cny_consumer *next = consumers->next;
        cny_consumer_free(consumers);
        consumers = next;
    }
}

/* Subscribes every listener as often as it wants. Deliveries wait in the channels; no handler
 * runs before all are subscribed. */
static coney_status open_all(coney_container *container, cny_consumer **consumers, int64_t deadline)
{
    const coney_listener *listeners = (const coney_listener *)(const void *)container->listeners.data;
    coney_status status = CONEY_OK;
    *consumers = NULL;
    for (size_t i = 0; i < container->listeners.size / sizeof *listeners; i++) {
        for (int n = 0; status == CONEY_OK && n < listeners[i].concurrency; n++) {
            cny_consumer *consumer;
            status = cny_consumer_open(&consumer, container, &listeners[i], deadline);
            if (status != CONEY_OK)
                break;
            consumer->next = *consumers;
            *consumers = consumer;
        }
    }
    if (status != CONEY_OK) {
        free_list(*consumers);
        *consumers = NULL;
    }
    return status;
}

/* Under lock, which keeps the new threads from ending before they are all in the list. Threads
 * that cannot be started leave their consumers in *rest. */
static coney_status run_all(coney_container *container, cny_consumer **rest)
{
    coney_status status = CONEY_OK;
    while (*rest && status == CONEY_OK) {
        cny_consumer *consumer = *rest;
        status = cny_thread_start(&consumer->thread, container->options.name, 0, cny_consumer_main, consumer);
        if (status != CONEY_OK)
            break;
        *rest = consumer->next;
        consumer->next = container->consumers;
        container->consumers = consumer;
        pthread_detach(consumer->thread);
    }
    return status;
}

coney_status coney_container_start(coney_container *container)
{
    if (!container)
        return cny_fail(CONEY_E_INVALID, "start: the container is NULL");
    coney_status status = enter_starting(container);
    if (status != CONEY_OK)
        return status;
    cny_consumer *consumers;
    status = open_all(container, &consumers, cny_deadline(container->options.start_timeout_ms));
    pthread_mutex_lock(&container->lock);
    if (status == CONEY_OK)
        status = run_all(container, &consumers);
    bool some_run = container->consumers;
    container->state = status == CONEY_OK || some_run ? CNY_CONTAINER_RUNNING : CNY_CONTAINER_STOPPED;
    pthread_cond_broadcast(&container->changed);
    pthread_mutex_unlock(&container->lock);
    if (status == CONEY_OK)
        return CONEY_OK;
    cny_error *failure = cny_error_capture();
    free_list(consumers);
    if (some_run)
        coney_container_stop(container);
    cny_error_raise(failure);
    cny_error_unref(failure);
    return cny_fail_in("start container '%s'", container->options.name);
}

/* ---- stop ---- */

static bool is_own_thread(const coney_container *container)
{
    for (const cny_consumer *consumer = container->consumers; consumer; consumer = consumer->next) {
        if (pthread_equal(consumer->thread, pthread_self()))
            return true;
    }
    return false;
}

/* Under lock: asks the broker for no more. What it sent before is still handled. */
static void begin_stop(coney_container *container)
{
    container->state = container->consumers ? CNY_CONTAINER_STOPPING : CNY_CONTAINER_STOPPED;
    atomic_store(&container->stop_deadline, cny_deadline(container->options.shutdown_timeout_ms));
    for (cny_consumer *consumer = container->consumers; consumer; consumer = consumer->next)
        cny_channel_cancel(consumer->channel);
}

/* Under lock, past the deadline: what is unacknowledged goes back to the queue now; the threads
 * end as soon as their handlers return. */
static coney_status abandon(coney_container *container)
{
    size_t count = 0;
    const char *queue = "";
    for (cny_consumer *consumer = container->consumers; consumer; consumer = consumer->next) {
        queue = consumer->listener->queue;
        cny_channel_close(consumer->channel);
        count++;
    }
    return cny_fail(CONEY_E_TIMEOUT,
                    "stop container '%s': %zu handlers have not returned within %d ms, one of queue '%s'; what they "
                    "have not acknowledged goes back to the queue",
                    container->options.name, count, container->options.shutdown_timeout_ms, queue);
}

coney_status coney_container_stop(coney_container *container)
{
    if (!container)
        return cny_fail(CONEY_E_INVALID, "stop: the container is NULL");
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&container->lock);
    bool in_time = true;
    int64_t started_by = cny_deadline(container->options.start_timeout_ms);
    while (container->state == CNY_CONTAINER_STARTING && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, started_by);
    if (container->state == CNY_CONTAINER_STARTING)
        status = cny_fail(CONEY_E_TIMEOUT, "stop container '%s': it is still starting", container->options.name);
    else if (container->state == CNY_CONTAINER_RUNNING)
        begin_stop(container);
    if (!is_own_thread(container)) { /* a handler cannot wait for itself */
        int64_t deadline = cny_deadline(container->options.shutdown_timeout_ms + GRACE_MS);
        in_time = true;
        while (container->consumers && in_time)
            in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
        if (container->consumers)
            status = abandon(container);
    }
    pthread_mutex_unlock(&container->lock);
    return status;
}

static void forget(coney_container *container, const cny_consumer *consumer)
{
    cny_consumer **at = &container->consumers;
    while (*at != consumer)
        at = &(*at)->next;
    *at = consumer->next;
}

void cny_container_consumer_ended(cny_consumer *consumer, cny_error *error)
{
    coney_container *container = consumer->container;
    pthread_mutex_lock(&container->lock);
    bool expected = container->state == CNY_CONTAINER_STOPPING;
    forget(container, consumer);
    if (expected && !container->consumers)
        container->state = CNY_CONTAINER_STOPPED;
    if (!expected && error && !container->failure)
        container->failure = cny_error_ref(error);
    pthread_cond_broadcast(&container->changed);
    pthread_mutex_unlock(&container->lock);
    if (!expected && error)
        cny_log(CONEY_LOG_ERROR, "container '%s': %s", container->options.name, cny_error_view(error)->text);
    cny_error_unref(error);
}

coney_status coney_container_check(coney_container *container)
{
    if (!container)
        return cny_fail(CONEY_E_INVALID, "check: the container is NULL");
    pthread_mutex_lock(&container->lock);
    coney_status status = CONEY_OK;
    if (container->state != CNY_CONTAINER_RUNNING)
        status = cny_fail(CONEY_E_STATE, "container '%s' is %s", container->options.name,
                          container->state == CNY_CONTAINER_STOPPING ? "stopping" : "not running");
    else if (container->failure)
        status = cny_error_raise(container->failure);
    pthread_mutex_unlock(&container->lock);
    return status;
}
