/* SPDX-License-Identifier: MIT */
/* The container as its threads hold it, and its stop. Threads hold it by reference, so a handler that never returns
 * cannot hold up stop or free. */
#include "rabbit/listener/consuming/consumer.h"
#include "rabbit/listener/consuming/supervisor.h"

#include <stdio.h>

/* ---- references ---- */

static void free_container(coney_container *container)
{
    while (container->listeners) {
        cny_listener *next = container->listeners->next;
        cny_listener_unref(container->listeners);
        container->listeners = next;
    }
    cny_workers_free(container->workers);
    cny_workers_free(container->supervision);
    cny_workers_free(container->isolation);
    cny_handling_context_free(&container->handling);
    cny_error_unref(container->failure);
    cny_buffer_free(&container->deferred_log);
    cny_event_sink_unref(container->events);
    cny_arena_free(&container->arena);
    cny_factory_unref(container->factory);
    pthread_cond_destroy(&container->changed);
    pthread_mutex_destroy(&container->lock);
    cny_free(container);
}

coney_container *cny_container_ref(coney_container *container)
{
    atomic_fetch_add_explicit(&container->refs, 1, memory_order_relaxed);
    return container;
}

void cny_container_unref(coney_container *container)
{
    if (atomic_fetch_sub_explicit(&container->refs, 1, memory_order_acq_rel) == 1)
        free_container(container);
}

bool cny_container_on_internal_thread(coney_container *container)
{
    return cny_workers_is_current(container->workers) || cny_factory_on_events_thread(container->factory);
}

/* ---- stop ---- */

void cny_container_begin_stop(coney_container *container, coney_stop_mode mode, int64_t deadline)
{
    bool starts = container->state == CNY_CONTAINER_STARTING;
    if (starts) /* the call of the start tells it; for the container that is no failure */
        container->start->failure = container->failure ? cny_error_ref(container->failure)
                                                       : cny_error_new(CONEY_E_STATE, 0, "it was stopped meanwhile");
    if (starts || container->state == CNY_CONTAINER_RUNNING) {
        container->state = CNY_CONTAINER_STOPPING;
        container->stop.began = cny_now_ms();
        container->stop.mode = starts ? CONEY_STOP_NOW : mode;
        container->stop.deadline = deadline;
        container->stop.unsettled = 0;
    } else if (container->state == CNY_CONTAINER_STOPPING) {
        if (mode > container->stop.mode)
            container->stop.mode = mode;
        if (deadline < container->stop.deadline)
            container->stop.deadline = deadline;
    }
    pthread_cond_broadcast(&container->changed);
    cny_container_wake(container);
}

void cny_container_stop_over_error(void *self)
{
    coney_container *container = self;
    cny_error *reason = cny_error_capture();
    pthread_mutex_lock(&container->lock);
    if (cny_container_is_under_way(container) && !container->failure)
        container->failure = cny_error_ref(reason);
    cny_container_begin_stop(container, CONEY_STOP_FINISH, cny_deadline(container->options.shutdown_timeout_ms));
    pthread_mutex_unlock(&container->lock);
    cny_log(CONEY_LOG_ERROR, "container '%s' stops: %s", container->options.name, cny_error_view(reason)->text);
    cny_error_unref(reason);
}

/* Under lock, past the deadline: the broker gives what is unacknowledged back to the queue, and the threads end as soon
 * as their handlers return. */
static coney_status abandoned(const coney_container *container)
{
    int handlers = 0, deferred = 0, others = 0;
    const char *queue = "";
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer;
         consumer = cny_next_consumer(consumer)) {
        int handling = cny_source_handling(&consumer->source), unsettled = cny_source_deferred(&consumer->source);
        handlers += handling;
        deferred += unsettled > handling ? unsettled - handling : 0; /* the counter includes those whose handler runs */
        others += handling == 0;
        queue = consumer->listener->spec.options.queue;
    }
    long long waited_ms = container->stop.deadline - container->stop.began;
    char rest[128] = "";
    if (deferred > 0)
        snprintf(rest, sizeof rest, " and %d deliveries are not settled", deferred);
    else if (others > 0)
        snprintf(rest, sizeof rest, " (and %d consumers wait for the broker)", others);
    return cny_fail(CONEY_E_TIMEOUT,
                    "stop container '%s': %d handlers have not returned within %lld ms%s, one of queue '%s'; what they "
                    "have not acknowledged goes back to the queue",
                    container->options.name, handlers, waited_ms, rest, queue);
}

/* Under lock. */
static coney_status check_unsettled(const coney_container *container)
{
    long long waited_ms = container->stop.deadline - container->stop.began;
    if (container->stop.unsettled == 0)
        return CONEY_OK;
    return cny_fail(CONEY_E_TIMEOUT,
                    "stop container '%s': %d deliveries are not settled within %lld ms; they go back to the queue",
                    container->options.name, container->stop.unsettled, waited_ms);
}

coney_status cny_container_wait_stopped(coney_container *container, int64_t deadline)
{
    coney_status status = CONEY_OK;
    bool in_time = true, may_wait = !cny_container_on_internal_thread(container);
    pthread_mutex_lock(&container->lock);
    bool was_over = container->state != CNY_CONTAINER_STOPPING; /* or others have started it again meanwhile */
    unsigned stops = container->stops;
    while (!was_over && container->stops == stops && in_time && may_wait)
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline + CNY_GRACE_MS);
    if (!was_over && container->stops == stops && may_wait)
        status = abandoned(container);
    else if (!was_over && container->stops == stops + 1)
        status = check_unsettled(container);
    pthread_mutex_unlock(&container->lock);
    return status;
}

void cny_container_stop(coney_container *container, coney_stop_mode mode, int64_t deadline)
{
    pthread_mutex_lock(&container->lock);
    cny_container_begin_stop(container, mode, deadline);
    pthread_mutex_unlock(&container->lock);
}

/* ---- whether all have resumed ---- */

/* Publishers do not wait for a consumer whose handler runs or whose message is being republished: it may wait for
 * them. */
static bool has_resumed(const cny_consumer *consumer)
{
    return consumer->life.state == CNY_CONSUMER_ENDING || consumer->outage.has_tried ||
           cny_source_publishing(&consumer->source) > 0 ||
           (consumer->life.state == CNY_CONSUMER_CONSUMING && cny_channel_alive(consumer->source.channel));
}

/* All workers run handlers, which may wait for publishers, so no consumer resumes before. */
static bool has_no_worker_left(const coney_container *container)
{
    int busy = 0;
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer; consumer = cny_next_consumer(consumer))
        busy += cny_source_publishing(&consumer->source);
    return container->options.workers > 0 && busy >= container->options.workers;
}

bool cny_container_has_resumed(coney_container *container)
{
    bool all = true;
    pthread_mutex_lock(&container->lock);
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer; consumer = cny_next_consumer(consumer))
        all = all && (container->state != CNY_CONTAINER_RUNNING || has_resumed(consumer));
    all = all || has_no_worker_left(container);
    pthread_mutex_unlock(&container->lock);
    return all;
}
