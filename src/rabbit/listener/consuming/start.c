/* SPDX-License-Identifier: MIT */
/* The start of a container: what it waits for, what it fails for, and the call that waits. No handler runs before it is
 * over. Under the container's lock, on the supervisor and, the last part, on the caller's thread. */
#include "rabbit/listener/consuming/consumer.h"
#include "rabbit/listener/consuming/supervisor.h"

#include <signal.h>
#include <string.h>

/* The last error may pass, so a start need not fail for it: its queue may be declared later, and an exclusive consumer
 * may end. */
static bool can_wait(const cny_consumer *consumer)
{
    const coney_error *error = cny_error_view(consumer->last_error);
    if (cny_consumer_is_lost(consumer))
        return consumer->container->options.start_without_broker;
    return consumer->isolation.is_refused || consumer->life.state == CNY_CONSUMER_AWAITS_QUEUE ||
           (error->status == CONEY_E_NOT_FOUND && !consumer->listener->spec.options.missing_queue_is_fatal) ||
           error->status == CONEY_E_RESOURCE_LOCKED || cny_is_refused_exclusive(error);
}

/* Only a person can help, so there is no point in waiting for the deadline. A limit may pass: perhaps the channels of
 * the last run are still being closed. A consumer that was interrupted has not been refused; it subscribes again
 * first. */
bool cny_consumer_is_hopeless(const cny_consumer *consumer)
{
    if (consumer->life.state == CNY_CONSUMER_LEAVING)
        return false;
    coney_status status = cny_error_view(consumer->last_error)->status;
    bool may_pass = cny_consumer_is_lost(consumer) || status == CONEY_E_TIMEOUT || status == CONEY_E_NO_MEMORY ||
                    status == CONEY_E_LIMIT;
    return !may_pass && !can_wait(consumer);
}

/* The start waits for it, but not for one that has consumed and was interrupted since: that works off what has come
 * before it resumes, and no worker runs yet. */
static bool is_awaited(const cny_consumer *consumer)
{
    bool may_wait = consumer->last_error && can_wait(consumer);
    return !consumer->has_consumed && !may_wait;
}

/* Deliveries fill the memory that they may take, so nothing more is read before workers take them. */
static bool is_held_up(const coney_container *container)
{
    for (const cny_consumer *one = cny_first_consumer(container); one; one = cny_next_consumer(one)) {
        if (one->source.channel && cny_channel_is_full(one->source.channel))
            return true;
    }
    return false;
}

/* There was no memory for some. */
static bool lacks_consumers(const coney_container *container)
{
    for (const cny_listener *one = container->listeners; one; one = one->next) {
        if (cny_listener_is_wanted(container, one) && cny_listener_count(one) < one->wanted)
            return true;
    }
    return false;
}

bool cny_start_is_over(const coney_container *container, cny_error **failure)
{
    bool held_up = is_held_up(container), over = !lacks_consumers(container);
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer;
         consumer = cny_next_consumer(consumer)) {
        if (consumer->last_error && cny_consumer_is_hopeless(consumer)) {
            *failure = cny_error_ref(consumer->last_error);
            return true;
        }
        bool comes_later = held_up && cny_acknowledges_nothing(&consumer->listener->spec);
        over = over && (comes_later || !is_awaited(consumer));
    }
    return over;
}

/* Only handlers bound what the broker sends to a consumer that acknowledges nothing: its deliveries would come before
 * the broker's answers to the others. */
bool cny_consumer_lets_others_begin(const cny_consumer *consumer)
{
    const coney_container *container = consumer->container;
    if (container->state != CNY_CONTAINER_STARTING || !cny_acknowledges_nothing(&consumer->listener->spec))
        return false;
    for (const cny_consumer *other = cny_first_consumer(container); other; other = cny_next_consumer(other)) {
        bool goes_before =
            !cny_acknowledges_nothing(&other->listener->spec) || other->life.state == CNY_CONSUMER_AWAITS_QUEUE;
        if (goes_before && is_awaited(other))
            return true;
    }
    return false;
}

/* ---- the call; on the caller's thread ---- */

static coney_status enter_starting(coney_container *container, cny_start *start)
{
    const char *name = container->options.name;
    if (container->state == CNY_CONTAINER_STOPPING)
        return cny_fail(CONEY_E_STATE, "container '%s' is still stopping", name);
    if (container->state != CNY_CONTAINER_STOPPED)
        return cny_fail(CONEY_E_STATE, "container '%s' is running", name);
    if (cny_factory_is_draining(container->factory)) /* it has had its containers stopped, and will not again */
        return cny_fail(CONEY_E_CLOSED, "the connection factory is being closed");
    if (!container->listeners)
        return cny_fail(CONEY_E_STATE, "container '%s' has no listeners", name);
    coney_status status = cny_workers_resize(container->supervision, 1);
    if (status != CONEY_OK) {
        cny_workers_resize(container->supervision, 0);
        return status;
    }
    container->state = CNY_CONTAINER_STARTING;
    pthread_sigmask(SIG_SETMASK, NULL, &container->signals);
    cny_workers_pause(container->workers, true);
    cny_error_unref(container->failure);
    container->failure = NULL;
    container->paused = false;
    container->start = start;
    cny_container_wake(container);
    return CONEY_OK;
}

/* Why the container has not started: the reason of the first consumer that has one. NULL: there is none. */
static cny_error *why_not_started(const coney_container *container)
{
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer;
         consumer = cny_next_consumer(consumer)) {
        if (consumer->life.state == CNY_CONSUMER_SUBSCRIBING && is_awaited(consumer))
            return cny_error_new(CONEY_E_TIMEOUT, 0,
                                 "consume from queue '%s': no answer from the broker within the deadline",
                                 consumer->listener->spec.options.queue);
        if (consumer->last_error && is_awaited(consumer))
            return cny_error_ref(consumer->last_error);
        if (consumer->life.state == CNY_CONSUMER_AWAITS_QUEUE && is_awaited(consumer))
            return cny_error_new(CONEY_E_TIMEOUT, 0,
                                 "consume from queue '%s': the broker has not answered its declaration yet",
                                 consumer->listener->spec.options.queue);
    }
    return NULL;
}

static void give_up_start(coney_container *container)
{
    cny_error *reason = why_not_started(container);
    container->failure =
        reason ? reason : cny_error_new(CONEY_E_TIMEOUT, 0, "its consumers have not begun within the deadline");
    cny_container_begin_stop(container, CONEY_STOP_NOW, 0);
}

static coney_status wait_started(coney_container *container, cny_start *start)
{
    int64_t deadline = cny_deadline(container->options.start_timeout_ms);
    bool in_time = true;
    while (!start->has_started && !start->failure && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
    if (start->has_started) /* even if a handler has stopped it since */
        return CONEY_OK;
    if (!start->failure)
        give_up_start(container);
    deadline = cny_deadline(container->options.shutdown_timeout_ms); /* no handler has run */
    in_time = true;
    while (!start->has_ended && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
    if (!start->has_ended) {
        container->start = NULL;
        cny_error_unref(container->failure);
        container->failure = NULL; /* the caller is told */
    }
    coney_status status = cny_error_raise(start->failure);
    cny_error_unref(start->failure);
    return status;
}

coney_status cny_container_start(coney_container *container)
{
    cny_start own = {0};
    if (cny_declarations_check_failed(container->factory) != CONEY_OK)
        return cny_fail_in("start container '%s'", container->options.name);
    pthread_mutex_lock(&container->lock);
    coney_status status = enter_starting(container, &own);
    if (status == CONEY_OK && wait_started(container, &own) != CONEY_OK)
        status = cny_fail_in("start container '%s'", container->options.name);
    pthread_mutex_unlock(&container->lock);
    return status;
}

/* ---- the start of one listener ---- */

coney_status cny_listener_check_started(const cny_listener *listener)
{
    if (!listener->consumers)
        return cny_fail(CONEY_E_TIMEOUT, "the consumers of queue '%s' have not begun", listener->spec.options.queue);
    for (const cny_consumer *consumer = listener->consumers; consumer; consumer = consumer->next) {
        if (consumer->is_surplus)
            continue;
        if (consumer->last_error && !can_wait(consumer))
            return cny_error_raise(consumer->last_error);
        if (!consumer->last_error && consumer->life.state != CNY_CONSUMER_CONSUMING)
            return cny_fail(CONEY_E_TIMEOUT, "no answer from the broker about queue '%s'",
                            listener->spec.options.queue);
    }
    return CONEY_OK;
}
