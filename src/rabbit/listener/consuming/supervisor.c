/* SPDX-License-Identifier: MIT */
/* The supervisor: whenever something has happened or is due, it compares what is wanted with what is there, and does
 * the next thing. It makes, subscribes and ends consumers, and takes the container from starting to running and from
 * stopping to stopped. A thread of its own runs it, under the container's lock; it waits for nothing. */
#include "rabbit/listener/consuming/supervisor.h"
#include "rabbit/listener/consuming/consumer.h"

#include <signal.h>
#include <stddef.h>

#define TICK_MS 5000 /* between two runs at most */

/* ---- a listener's consumers ---- */

/* The youngest are the first to go. */
static void adjust_count(coney_container *container, cny_listener *listener)
{
    int there = cny_listener_count(listener);
    for (cny_consumer *consumer = listener->consumers; consumer && there > listener->wanted;
         consumer = consumer->next) {
        there -= !consumer->is_surplus;
        consumer->is_surplus = true;
    }
    for (; there < listener->wanted; there++) {
        cny_consumer *made = cny_consumer_new(container, listener, false);
        if (!made) {
            cny_defer_log(&container->deferred_log, CONEY_LOG_ERROR,
                          "container '%s': no memory for another consumer of queue '%s'", container->options.name,
                          listener->spec.options.queue);
            return;
        }
        made->next = listener->consumers;
        listener->consumers = made;
    }
}

/* ---- one consumer ---- */

/* Does what is next for the consumer; true if it has ended. */
static bool consumer_on_tick(cny_consumer *consumer)
{
    cny_life *life = &consumer->life;
    coney_stop_mode mode;
    int64_t deadline;
    if (cny_consumer_must_end(consumer, &mode, &deadline))
        return cny_consumer_end(consumer, mode, deadline);
    if (life->state == CNY_CONSUMER_CONSUMING)
        cny_consumer_detect_loss(consumer);
    if (life->state == CNY_CONSUMER_ENDING) /* it is wanted again, and goes on as after a loss */
        cny_consumer_begin_leaving(consumer, CONEY_E_LOST);
    if (life->state == CNY_CONSUMER_LEAVING)
        cny_consumer_go_on_leaving(consumer);
    if (cny_life_must_try(life, cny_now_ms(), consumer->container->is_connected, consumer->isolation.connection)) {
        cny_consumer_try_to_subscribe(consumer);
        if (cny_life_waits(life)) /* its turn is over: the next consumer need not wait */
            cny_consumer_end_isolation(consumer);
    }
    if (life->state == CNY_CONSUMER_SUBSCRIBING)
        cny_consumer_take_answer(consumer);
    return false;
}

/* ---- one listener ---- */

static int64_t consumers_on_tick(cny_listener *listener)
{
    int64_t next = INT64_MAX;
    for (cny_consumer **at = &listener->consumers; *at;) {
        cny_consumer *consumer = *at;
        if (consumer_on_tick(consumer)) {
            *at = consumer->next;
            cny_source_unref(&consumer->source);
            continue;
        }
        next = cny_sooner(next, cny_life_next_look(&consumer->life, cny_now_ms()));
        at = &consumer->next;
    }
    return next;
}

static int64_t adjust_consumers(coney_container *container, cny_listener *listener)
{
    bool may_grow = container->state == CNY_CONTAINER_RUNNING;
    int64_t next = may_grow ? cny_listener_adapt(listener, cny_now_ms()) : INT64_MAX;
    if (cny_listener_is_wanted(container, listener)) {
        cny_listener_join_declarations(container, listener);
        adjust_count(container, listener);
    }
    return next;
}

static int64_t listener_on_tick(coney_container *container, cny_listener *listener)
{
    int64_t now = cny_now_ms();
    int64_t next = consumers_on_tick(listener);
    next = cny_sooner(next, cny_quarantine_on_tick(container, listener, now));
    cny_listener_tell_left_over(container, listener);
    next = cny_sooner(
        next, cny_limited_log_write(&listener->handling.log, &container->deferred_log, now, !listener->consumers));
    if (!listener->consumers && !cny_listener_is_wanted(container, listener))
        cny_listener_leave_declarations(container, listener);
    next = cny_sooner(next, cny_listener_tell_slow(container, listener, now));
    return cny_sooner(next, cny_listener_tell_idle(container, listener, now));
}

/* ---- the container ---- */

static int count_lanes(const coney_container *container)
{
    int lanes = 0;
    for (const cny_listener *listener = container->listeners; listener; listener = listener->next)
        lanes += listener->quarantine.consumer != NULL;
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer; consumer = cny_next_consumer(consumer))
        lanes += consumer->source.lane_count;
    return lanes;
}

static coney_status resize_workers(coney_container *container)
{
    int lanes = count_lanes(container), workers = container->options.workers;
    if (workers == 0 || workers > lanes)
        workers = lanes;
    return cny_workers_resize(container->workers, workers < CNY_MAX_CONSUMERS ? workers : CNY_MAX_CONSUMERS);
}

static void check_start(coney_container *container)
{
    cny_error *failure = NULL;
    if (!cny_start_is_over(container, &failure))
        return;
    if (!failure && resize_workers(container) != CONEY_OK)
        failure = cny_error_capture();
    if (failure) {
        container->failure = failure;
        cny_container_begin_stop(container, CONEY_STOP_NOW, 0);
        return;
    }
    container->state = CNY_CONTAINER_RUNNING;
    cny_container_wake(container); /* from now on it adapts to its load */
    container->start->has_started = true;
    container->start = NULL;
    cny_tell(container->events, &(cny_event){.kind = CONEY_CONTAINER_STARTED});
}

static void adjust_workers(coney_container *container)
{
    cny_workers_pause(container->workers, false);
    bool lacks = resize_workers(container) != CONEY_OK;
    if (lacks && !container->lacks_workers)
        cny_defer_log(&container->deferred_log, CONEY_LOG_ERROR, "container '%s' has fewer workers than it should: %s",
                      container->options.name, coney_last_error());
    container->lacks_workers = lacks;
}

static void check_end(coney_container *container)
{
    if (container->state != CNY_CONTAINER_STOPPING || count_lanes(container) > 0)
        return;
    /* The log is written first: a caller that waits for the end finds there what led to it. */
    if (container->deferred_log.size > 0) {
        cny_container_wake(container);
        return;
    }
    container->state = CNY_CONTAINER_STOPPED;
    container->stops++;
    cny_workers_resize(container->supervision, 0);
    cny_tell(container->events, &(cny_event){.kind = CONEY_CONTAINER_STOPPED,
                                             .error = container->failure,
                                             .fatal = container->failure != NULL});
    if (!container->start)
        return;
    container->start->has_ended = true; /* the call that started it tells the failure */
    container->start = NULL;
    cny_error_unref(container->failure);
    container->failure = NULL;
}

static void tell_blocking(coney_container *container)
{
    bool blocked = cny_factory_check_blocked(container->factory) != CONEY_OK;
    if (blocked == container->was_blocked)
        return;
    container->was_blocked = blocked;
    cny_tell(container->events, &(cny_event){.kind = blocked ? CONEY_PUBLISHERS_BLOCKED : CONEY_PUBLISHERS_UNBLOCKED,
                                             .text = blocked ? coney_last_error() : ""});
}

/* What goes back when one channel is closed would be delivered to the next consumer, which ends a moment later, and so
 * count twice. */
static void stop_taking(const coney_container *container)
{
    if (container->state != CNY_CONTAINER_STOPPING || container->stop.mode != CONEY_STOP_NOW)
        return;
    for (cny_consumer *consumer = cny_first_consumer(container); consumer; consumer = cny_next_consumer(consumer))
        cny_consumer_stop_taking(consumer);
}

static int64_t run_due_work(coney_container *container)
{
    int64_t next = cny_deadline(TICK_MS);
    bool has_waiting = false;
    container->is_connected = cny_factory_ensure_open(container->factory, CONEY_CONSUMING, 0) == CONEY_OK;
    for (cny_listener *listener = container->listeners; listener; listener = listener->next)
        next = cny_sooner(next, adjust_consumers(container, listener));
    stop_taking(container);
    /* From here on all consumers exist. */
    for (cny_listener *listener = container->listeners; listener; listener = listener->next)
        next = cny_sooner(next, listener_on_tick(container, listener));
    bool starts = container->state == CNY_CONTAINER_STARTING;
    if (starts)
        check_start(container);
    tell_blocking(container);
    cny_container_forget_removed(container);
    if (!starts || container->state == CNY_CONTAINER_RUNNING) /* no handler runs before the start is over */
        adjust_workers(container);
    cny_isolation_on_tick(container);
    check_end(container);
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer; consumer = cny_next_consumer(consumer))
        has_waiting = has_waiting || cny_life_waits(&consumer->life);
    atomic_store(&container->has_waiting, has_waiting);
    pthread_cond_broadcast(&container->changed);
    return container->state == CNY_CONTAINER_STOPPED ? INT64_MAX : next;
}

/* ---- the task ---- */

static void supervise(cny_task *task)
{
    coney_container *container = (coney_container *)(void *)((char *)task - offsetof(coney_container, supervisor));
    cny_buffer deferred = {0};
    pthread_mutex_lock(&container->lock);
    int64_t next = run_due_work(container);
    cny_buffer_swap(&container->deferred_log, &deferred);
    pthread_mutex_unlock(&container->lock);
    cny_write_deferred_log(&deferred);
    cny_workers_schedule_at(container->supervision, task, next);
}

/* ---- its threads ---- */

static void hold(void *self)
{
    cny_container_ref(self);
}

static void release(void *self)
{
    cny_container_unref(self);
}

static void begin_internal(void *self)
{
    const coney_container *container = self;
    cny_factory_set_internal_thread(container->factory);
}

static void begin_worker(void *self)
{
    coney_container *container = self;
    begin_internal(container);
    pthread_mutex_lock(&container->lock);
    sigset_t signals = container->signals;
    pthread_mutex_unlock(&container->lock);
    pthread_sigmask(SIG_SETMASK, &signals, NULL);
}

bool cny_supervision_init(coney_container *made)
{
    cny_workers_owner owner = {
        .name = made->options.name,
        .threads = cny_factory_threads(made->factory),
        .thread_owner = made,
        .hold = hold,
        .begin = begin_worker,
        .release = release,
        .self = made,
    };
    made->workers = cny_workers_new(&owner);
    owner.begin = begin_internal;
    owner.name = "coney-listen";
    made->supervision = cny_workers_new(&owner);
    made->supervisor.run = supervise;
    owner.name = "coney-trial";
    owner.thread_owner = made->factory; /* it may wait for a connection, which only the factory's end cuts short */
    made->isolation = cny_workers_new(&owner);
    made->isolator.run = cny_isolation_run;
    return made->workers && made->supervision && made->isolation;
}
