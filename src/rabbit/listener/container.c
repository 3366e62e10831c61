/* SPDX-License-Identifier: MIT */
/* The listener container: registers listeners, subscribes them all or none, and stops them
 * within a deadline. Consumer threads are detached and keep the container alive by reference, so
 * that a handler that never returns cannot hold up stop or free. (Spring:
 * SimpleMessageListenerContainer.) */
#include "rabbit/listener/container.h"

#include <stdio.h>
#include <string.h>

#define DEFAULT_PREFETCH 250 /* Spring's */
#define DEFAULT_START_TIMEOUT_MS 10000
#define DEFAULT_SHUTDOWN_TIMEOUT_MS 5000
#define DEFAULT_RECOVERY_INTERVAL_MS 5000 /* Spring's */
#define GRACE_MS 50                       /* for consumers to end by themselves at the deadline */
#define MAX_CONCURRENCY 2000              /* channels of one connection */

/* ---- life ---- */

static void free_container(coney_container *container)
{
    cny_error_unref(container->failure);
    cny_buffer_free(&container->listeners);
    cny_processors_free(&container->after_receive);
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

static void ref_container(void *self)
{
    coney_container *container = self;
    atomic_fetch_add_explicit(&container->refs, 1, memory_order_relaxed);
}

static void unref_container(void *self)
{
    cny_container_unref(self);
}

static bool has_resumed(void *self);
static void begin_stop_for_factory(void *self, int64_t deadline);
static coney_status wait_stopped(void *self, int64_t deadline);

static const cny_member membership = {
    .ref = ref_container,
    .unref = unref_container,
    .has_resumed = has_resumed,
    .begin_stop = begin_stop_for_factory,
    .wait_stopped = wait_stopped,
};

coney_status coney_container_new(coney_container **container, coney_connection_factory *factory,
                                 const coney_container_options *options)
{
    static const coney_container_options defaults;
    if (!options)
        options = &defaults;
    if (container)
        *container = NULL;
    if (!container || !factory)
        return cny_fail(CONEY_E_INVALID, "container: container or factory is NULL");
    if (options->start_timeout_ms < 0 || options->shutdown_timeout_ms < 0 || options->recovery_interval_ms < 0)
        return cny_fail(CONEY_E_INVALID,
                        "container: start_timeout_ms %d, shutdown_timeout_ms %d or recovery_interval_ms %d is below 0",
                        options->start_timeout_ms, options->shutdown_timeout_ms, options->recovery_interval_ms);
    coney_status status = cny_factory_check_process(factory);
    if (status != CONEY_OK)
        return status;
    coney_container *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    atomic_init(&made->stop_deadline, INT64_MAX);
    made->factory = cny_factory_ref(factory);
    pthread_mutex_init(&made->lock, NULL);
    cny_cond_init(&made->changed);
    cny_processors_init(&made->after_receive);
    made->options = *options;
    if (made->options.start_timeout_ms == 0)
        made->options.start_timeout_ms = DEFAULT_START_TIMEOUT_MS;
    if (made->options.shutdown_timeout_ms == 0)
        made->options.shutdown_timeout_ms = DEFAULT_SHUTDOWN_TIMEOUT_MS;
    if (made->options.recovery_interval_ms == 0)
        made->options.recovery_interval_ms = DEFAULT_RECOVERY_INTERVAL_MS;
    if (!cny_arena_strdup(&made->arena, &made->options.name, options->name ? options->name : "container"))
        status = cny_fail_memory();
    else
        status = cny_factory_join(factory, &membership, made);
    if (status != CONEY_OK) {
        free_container(made);
        return status;
    }
    *container = made;
    return CONEY_OK;
}

void coney_container_free(coney_container *container)
{
    if (!container || cny_factory_check_process(container->factory) != CONEY_OK)
        return;
    bool had_its_time = cny_factory_check_draining(container->factory) != CONEY_OK;
    coney_status status = had_its_time ? wait_stopped(container, cny_now_ms()) : coney_container_stop(container);
    if (status != CONEY_OK)
        cny_log(CONEY_LOG_ERROR, "%s", coney_last_error());
    cny_factory_leave(container->factory, container);
    cny_container_unref(container);
}

/* ---- processors ---- */

coney_status coney_container_add_after_receive(coney_container *container, const coney_processor *processor)
{
    if (!container || !processor)
        return cny_fail(CONEY_E_INVALID, "container: container or processor is NULL");
    coney_status status = cny_processors_add(&container->after_receive, processor);
    return status == CONEY_OK ? CONEY_OK : cny_fail_in("container '%.255s'", container->options.name);
}

coney_status coney_container_remove_after_receive(coney_container *container, const char *name)
{
    if (!container)
        return cny_fail(CONEY_E_INVALID, "container: container is NULL");
    coney_status status = cny_processors_remove(&container->after_receive, name);
    return status == CONEY_OK ? CONEY_OK : cny_fail_in("container '%.255s'", container->options.name);
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
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
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
        container->stop_wanted = false;
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

static coney_status check_stop(coney_container *container)
{
    pthread_mutex_lock(&container->lock);
    bool stop_wanted = container->stop_wanted;
    pthread_mutex_unlock(&container->lock);
    return stop_wanted ? cny_fail(CONEY_E_STATE, "it was stopped meanwhile") : CONEY_OK;
}

/* Subscribes every listener as often as it wants. Deliveries wait in the channels; no handler
 * runs before all are subscribed. */
static coney_status open_all(coney_container *container, cny_consumer **consumers, int64_t deadline)
{
    const coney_listener *listeners = (const coney_listener *)(const void *)container->listeners.data;
    size_t count = container->listeners.size / sizeof *listeners;
    coney_status status = CONEY_OK;
    *consumers = NULL;
    for (size_t i = 0; i < count; i++) {
        for (int n = 0; status == CONEY_OK && n < listeners[i].concurrency; n++) {
            cny_consumer *consumer;
            status = cny_consumer_open(&consumer, container, &listeners[i], deadline);
            if (status != CONEY_OK)
                break;
            consumer->next = *consumers;
            *consumers = consumer;
            status = check_stop(container);
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
    coney_status status = cny_factory_check_process(container->factory);
    if (status == CONEY_OK)
        status = enter_starting(container);
    if (status != CONEY_OK)
        return status;
    cny_consumer *consumers;
    status = open_all(container, &consumers, cny_deadline(container->options.start_timeout_ms));
    pthread_mutex_lock(&container->lock);
    if (status == CONEY_OK && container->stop_wanted)
        status = cny_fail(CONEY_E_STATE, "it was stopped meanwhile");
    else if (status == CONEY_OK)
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

/* Under lock: asks the broker for no more. What it sent before is still handled. One that is
 * starting gives up. */
static void begin_stop(coney_container *container, int64_t deadline)
{
    container->stop_wanted = true;
    pthread_cond_broadcast(&container->changed); /* for those who wait to retry */
    if (container->state != CNY_CONTAINER_RUNNING)
        return;
    container->state = container->consumers ? CNY_CONTAINER_STOPPING : CNY_CONTAINER_STOPPED;
    container->stop_began = cny_now_ms();
    atomic_store(&container->stop_deadline, deadline);
    for (cny_consumer *consumer = container->consumers; consumer; consumer = consumer->next) {
        cny_channel_cancel(consumer->channel);
        cny_channel_close(consumer->subscribing);
    }
}

/* Under lock, past the deadline: what is unacknowledged goes back to the queue now; the threads
 * end as soon as their handlers return. */
static coney_status abandon(coney_container *container)
{
    int handlers = 0, others = 0;
    const char *queue = "";
    for (cny_consumer *consumer = container->consumers; consumer; consumer = consumer->next) {
        bool handling = atomic_load(&consumer->handling);
        handlers += handling;
        others += !handling;
        queue = consumer->listener->queue;
        cny_channel_close(consumer->channel);
    }
    long long waited_ms = atomic_load(&container->stop_deadline) - container->stop_began;
    char rest[64] = "";
    if (others > 0)
        snprintf(rest, sizeof rest, " (and %d consumers wait for the broker)", others);
    return cny_fail(CONEY_E_TIMEOUT,
                    "stop container '%s': %d handlers have not returned within %lld ms%s, one of queue '%s'; what they "
                    "have not acknowledged goes back to the queue",
                    container->options.name, handlers, waited_ms, rest, queue);
}

static coney_status wait_stopped(void *self, int64_t deadline)
{
    coney_container *container = self;
    coney_status status = CONEY_OK;
    bool in_time = true;
    pthread_mutex_lock(&container->lock);
    while (container->state == CNY_CONTAINER_STARTING && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
    if (container->state == CNY_CONTAINER_STARTING)
        status = cny_fail(CONEY_E_TIMEOUT, "stop container '%s': it is still starting", container->options.name);
    while (!is_own_thread(container) && container->consumers && in_time) /* a handler cannot wait for itself */
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline + GRACE_MS);
    if (!is_own_thread(container) && container->consumers)
        status = abandon(container);
    pthread_mutex_unlock(&container->lock);
    return status;
}

static void begin_stop_by(coney_container *container, int64_t deadline)
{
    pthread_mutex_lock(&container->lock);
    begin_stop(container, deadline);
    pthread_mutex_unlock(&container->lock);
}

coney_status coney_container_stop(coney_container *container)
{
    if (!container)
        return cny_fail(CONEY_E_INVALID, "stop: the container is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    int64_t deadline = cny_deadline(container->options.shutdown_timeout_ms);
    begin_stop_by(container, deadline);
    return wait_stopped(container, deadline);
}

/* The factory closes: within what is left of its time. */
static void begin_stop_for_factory(void *self, int64_t deadline)
{
    coney_container *container = self;
    int64_t own = cny_deadline(container->options.shutdown_timeout_ms);
    begin_stop_by(container, own < deadline ? own : deadline);
}

/* ---- what the consumers' threads tell ---- */

static cny_error *trouble_of(const cny_consumer *consumer, const char *what)
{
    cny_fail_in("container '%s': a consumer of queue '%s' %s", consumer->container->options.name,
                consumer->listener->queue, what);
    return cny_error_capture();
}

static void set_trouble(cny_consumer *consumer, const char *what, bool has_tried)
{
    coney_container *container = consumer->container;
    cny_error *trouble = trouble_of(consumer, what);
    cny_error *before;
    pthread_mutex_lock(&container->lock);
    before = consumer->trouble;
    consumer->trouble = trouble;
    consumer->has_tried = has_tried;
    cny_error_ref(trouble); /* for the log, in case the consumer goes away */
    pthread_mutex_unlock(&container->lock);
    bool known = before && strcmp(cny_error_view(before)->text, cny_error_view(trouble)->text) == 0;
    cny_error_unref(before);
    cny_log(known ? CONEY_LOG_DEBUG : CONEY_LOG_WARN, "%s", cny_error_view(trouble)->text);
    cny_error_unref(trouble);
}

void cny_container_consumer_lost(cny_consumer *consumer)
{
    set_trouble(consumer, "was interrupted", false);
}

void cny_container_consumer_subscribing(cny_consumer *consumer, cny_channel *channel)
{
    coney_container *container = consumer->container;
    pthread_mutex_lock(&container->lock);
    consumer->subscribing = channel;
    if (container->state == CNY_CONTAINER_STOPPING)
        cny_channel_close(channel);
    pthread_mutex_unlock(&container->lock);
}

void cny_container_consumer_failed(cny_consumer *consumer)
{
    set_trouble(consumer, "cannot resume yet", true);
}

void cny_container_consumer_resumed(cny_consumer *consumer, cny_channel *channel)
{
    coney_container *container = consumer->container;
    pthread_mutex_lock(&container->lock);
    cny_channel *old = consumer->channel;
    consumer->channel = channel;
    cny_error_unref(consumer->trouble);
    consumer->trouble = NULL;
    consumer->has_tried = false;
    if (container->state == CNY_CONTAINER_STOPPING)
        cny_channel_cancel(channel);
    pthread_mutex_unlock(&container->lock);
    cny_channel_unref(old);
    cny_log(CONEY_LOG_WARN, "container '%s': a consumer of queue '%s' has resumed", container->options.name,
            consumer->listener->queue);
}

bool cny_container_wait_to_retry(coney_container *container)
{
    int64_t until = cny_deadline(container->options.recovery_interval_ms);
    bool in_time = true;
    pthread_mutex_lock(&container->lock);
    while (container->state != CNY_CONTAINER_STOPPING && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, until);
    bool stopping = container->state == CNY_CONTAINER_STOPPING;
    pthread_mutex_unlock(&container->lock);
    return !stopping;
}

/* A consumer in a handler is not waited for: the handler may be about to publish. */
static bool has_resumed(void *self)
{
    coney_container *container = self;
    bool all = true;
    pthread_mutex_lock(&container->lock);
    for (const cny_consumer *consumer = container->consumers; consumer; consumer = consumer->next)
        all = all && (cny_channel_alive(consumer->channel) || consumer->has_tried || atomic_load(&consumer->handling));
    pthread_mutex_unlock(&container->lock);
    return all;
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

/* Under lock. */
static coney_status check_consumers(const coney_container *container)
{
    for (const cny_consumer *consumer = container->consumers; consumer; consumer = consumer->next) {
        if (consumer->trouble)
            return cny_error_raise(consumer->trouble);
        if (!cny_channel_is_consuming(consumer->channel))
            return cny_fail(CONEY_E_LOST, "a consumer of queue '%s' has just been interrupted",
                            consumer->listener->queue);
    }
    return CONEY_OK;
}

coney_status coney_container_check(coney_container *container)
{
    if (!container)
        return cny_fail(CONEY_E_INVALID, "check: the container is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&container->lock);
    if (container->state != CNY_CONTAINER_RUNNING)
        status = cny_fail(CONEY_E_STATE, "container '%s' is %s", container->options.name,
                          container->state == CNY_CONTAINER_STOPPING ? "stopping" : "not running");
    else if (container->failure)
        status = cny_error_raise(container->failure);
    else
        status = check_consumers(container);
    pthread_mutex_unlock(&container->lock);
    return status;
}
