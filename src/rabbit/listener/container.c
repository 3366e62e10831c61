/* SPDX-License-Identifier: MIT */
/* The container as the program and its factory hold it: made, started, stopped, freed. What keeps its consumers
 * running is the supervisor. Threads hold the container by reference, so a handler that never returns cannot hold up
 * stop or free. */
#include "rabbit/listener/listener.h"

#include <signal.h>
#include <stdio.h>

#define DEFAULT_START_TIMEOUT_MS 10000
#define DEFAULT_SHUTDOWN_TIMEOUT_MS 5000
#define DEFAULT_RECOVERY_INTERVAL_MS 5000 /* Spring's */
#define DEFAULT_PUBLISH_TIMEOUT_MS 10000
#define DEFAULT_MAX_HELD_BYTES ((size_t)256 * 1024 * 1024)

/* ---- life ---- */

static void free_container(coney_container *container)
{
    while (container->listeners) {
        cny_listener *next = container->listeners->next;
        cny_listener_unref(container->listeners);
        container->listeners = next;
    }
    cny_workers_free(container->workers);
    cny_workers_free(container->supervision);
    cny_workers_free(container->trials);
    cny_publisher_free(&container->failed);
    cny_publisher_free(&container->replies);
    cny_publisher_free(&container->exchange_replies);
    cny_error_unref(container->failure);
    cny_buffer_free(&container->deferred_log);
    cny_event_sink_unref(container->events);
    cny_processors_free(&container->after_receive);
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
    cny_factory_serve_on_this_thread(container->factory);
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

static bool has_resumed(void *self);
static int64_t tend(void *self, int64_t now);
static void begin_stop_for_factory(void *self, int64_t deadline);
static coney_status wait_stopped(void *self, int64_t deadline);
static void begin_stop_by(coney_container *container, coney_stop_mode mode, int64_t deadline);

static void on_declaration(void *self, const coney_declaration *declaration);

static const cny_member membership = {
    .ref = hold,
    .unref = release,
    .on_declaration = on_declaration,
    .has_resumed = has_resumed,
    .tend = tend,
    .begin_stop = begin_stop_for_factory,
    .wait_stopped = wait_stopped,
};

static coney_status check_options(const coney_container_options *options)
{
    const struct {
        const char *what;
        int value, most;
    } all[] = {
        {"workers", options->workers, CNY_MAX_CONSUMERS},
        {"start_timeout_ms", options->start_timeout_ms, INT32_MAX},
        {"shutdown_timeout_ms", options->shutdown_timeout_ms, INT32_MAX},
        {"resubscribe_interval_ms", options->resubscribe_interval_ms, INT32_MAX},
        {"publish_timeout_ms", options->publish_timeout_ms, INT32_MAX},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].value < 0 || all[i].value > all[i].most)
            return cny_fail(CONEY_E_INVALID, "container: %s is %d; 0 (the default) to %d are possible", all[i].what,
                            all[i].value, all[i].most);
    }
    return CONEY_OK;
}

static void set_defaults(coney_container_options *options)
{
    if (options->start_timeout_ms == 0)
        options->start_timeout_ms = DEFAULT_START_TIMEOUT_MS;
    if (options->shutdown_timeout_ms == 0)
        options->shutdown_timeout_ms = DEFAULT_SHUTDOWN_TIMEOUT_MS;
    if (options->resubscribe_interval_ms == 0)
        options->resubscribe_interval_ms = DEFAULT_RECOVERY_INTERVAL_MS;
    if (options->publish_timeout_ms == 0)
        options->publish_timeout_ms = DEFAULT_PUBLISH_TIMEOUT_MS;
    if (options->max_held_bytes == 0)
        options->max_held_bytes = DEFAULT_MAX_HELD_BYTES;
}

static coney_status make_parts(coney_container *made, const char *name)
{
    if (!cny_arena_strdup(&made->arena, &made->options.name, name ? name : "container"))
        return cny_fail_memory();
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
    made->supervisor.run = cny_supervise;
    owner.name = "coney-trial";
    owner.thread_owner = made->factory; /* it may wait for a connection, which only the factory's end cuts short */
    made->trials = cny_workers_new(&owner);
    made->trial.run = cny_try_suspects;
    made->events = cny_event_sink_new(made->factory, &made->options);
    return made->workers && made->supervision && made->trials && made->events
               ? cny_factory_join(made->factory, &membership, made)
               : cny_fail_memory();
}

coney_status coney_container_new(coney_container **container, coney_connection_factory *factory,
                                 const coney_container_options *options)
{
    CNY_DISABLE_CANCEL();
    static const coney_container_options defaults;
    if (!options)
        options = &defaults;
    if (container)
        *container = NULL;
    if (!container || !factory)
        return cny_fail(CONEY_E_INVALID, "container: container or factory is NULL");
    coney_status status = check_options(options);
    if (status == CONEY_OK)
        status = cny_factory_check_process(factory);
    if (status != CONEY_OK)
        return status;
    coney_container *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    made->factory = cny_factory_ref(factory);
    pthread_mutex_init(&made->lock, NULL);
    cny_publisher_init(&made->failed);
    cny_publisher_init(&made->replies);
    cny_publisher_init(&made->exchange_replies);
    cny_cond_init(&made->changed);
    cny_processors_init(&made->after_receive);
    made->options = *options;
    set_defaults(&made->options);
    made->holding.bound = made->options.max_held_bytes;
    status = make_parts(made, options->name);
    if (status != CONEY_OK) {
        free_container(made);
        return status;
    }
    *container = made;
    return CONEY_OK;
}

/* Those of a container that is stopped are about to end. */
static void join_threads(coney_container *container)
{
    pthread_mutex_lock(&container->lock);
    bool is_stopped = container->state == CNY_CONTAINER_STOPPED;
    pthread_mutex_unlock(&container->lock);
    cny_threads_join(cny_factory_threads(container->factory), container,
                     cny_deadline(is_stopped ? container->options.shutdown_timeout_ms : 0));
}

void coney_container_free(coney_container *container)
{
    CNY_DISABLE_CANCEL();
    if (!container || cny_factory_check_process(container->factory) != CONEY_OK)
        return;
    coney_connection_factory *factory = container->factory;
    if (cny_container_is_served_here(container) || cny_threads_is_current(cny_factory_threads(factory), factory)) {
        cny_log(CONEY_LOG_ERROR,
                "coney_container_free called by a handler of container '%s' or by a callback: the container is not "
                "freed; stop it here and free it on another thread",
                container->options.name);
        return;
    }
    bool had_its_time = cny_factory_check_draining(container->factory) != CONEY_OK;
    if (had_its_time)
        begin_stop_by(container, CONEY_STOP_NOW, cny_now_ms());
    coney_status status = had_its_time ? wait_stopped(container, cny_now_ms()) : coney_container_stop(container);
    if (status != CONEY_OK)
        cny_log(CONEY_LOG_ERROR, "%s", coney_last_error());
    join_threads(container);
    cny_factory_leave(container->factory, container);
    if (!cny_event_sink_close(container->events, cny_deadline(container->options.shutdown_timeout_ms)))
        cny_log(CONEY_LOG_ERROR, "container '%s' is freed while its events are still being told",
                container->options.name);
    cny_container_unref(container);
}

void cny_container_attention(coney_container *container)
{
    cny_workers_schedule(container->supervision, &container->supervisor);
}

bool cny_container_is_served_here(coney_container *container)
{
    return cny_workers_is_current(container->workers) || cny_factory_on_events_thread(container->factory);
}

/* ---- processors ---- */

coney_status coney_container_add_after_receive(coney_container *container, const coney_processor *processor)
{
    CNY_DISABLE_CANCEL();
    if (!container || !processor)
        return cny_fail(CONEY_E_INVALID, "container: container or processor is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    status = cny_processors_add(&container->after_receive, processor);
    return status == CONEY_OK ? CONEY_OK : cny_fail_in("container '%.255s'", container->options.name);
}

coney_status coney_container_remove_after_receive(coney_container *container, const char *name)
{
    CNY_DISABLE_CANCEL();
    if (!container)
        return cny_fail(CONEY_E_INVALID, "container: container is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    status = cny_processors_remove(&container->after_receive, name);
    return status == CONEY_OK ? CONEY_OK : cny_fail_in("container '%.255s'", container->options.name);
}

/* ---- start ---- */

bool cny_container_is_under_way(const coney_container *container)
{
    return container->state == CNY_CONTAINER_RUNNING || container->state == CNY_CONTAINER_STARTING;
}

/* Under lock. */
static coney_status enter_starting(coney_container *container, cny_start *start)
{
    const char *name = container->options.name;
    if (container->state == CNY_CONTAINER_STOPPING)
        return cny_fail(CONEY_E_STATE, "container '%s' is still stopping", name);
    if (container->state != CNY_CONTAINER_STOPPED)
        return cny_fail(CONEY_E_STATE, "container '%s' is running", name);
    if (cny_factory_is_draining(container->factory)) /* which has had its containers stopped, and does not come again */
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
    cny_workers_hold(container->workers, true);
    cny_error_unref(container->failure);
    container->failure = NULL;
    container->paused = false;
    container->start = start;
    cny_container_attention(container);
    return CONEY_OK;
}

/* Under lock: what keeps it from having started. Gives the first that is not well, or NULL. */
static cny_error *why_not_started(const coney_container *container)
{
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer;
         consumer = cny_next_consumer(consumer)) {
        if (consumer->state == CNY_CONSUMER_SUBSCRIBING && cny_consumer_is_awaited(consumer))
            return cny_error_new(CONEY_E_TIMEOUT, 0,
                                 "consume from queue '%s': no answer from the broker within the deadline",
                                 consumer->listener->spec.options.queue);
        if (consumer->trouble && cny_consumer_is_awaited(consumer))
            return cny_error_ref(consumer->trouble);
        if (consumer->awaits_declarations && cny_consumer_is_awaited(consumer))
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

/* Under lock. */
static coney_status wait_started(coney_container *container, cny_start *start)
{
    int64_t deadline = cny_deadline(container->options.start_timeout_ms);
    bool in_time = true;
    while (!start->has_started && !start->failure && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
    if (start->has_started) /* whatever a handler has said since */
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
        container->failure = NULL; /* it is told here */
    }
    coney_status status = cny_error_raise(start->failure);
    cny_error_unref(start->failure);
    return status;
}

coney_status coney_container_start(coney_container *container)
{
    CNY_DISABLE_CANCEL();
    if (!container)
        return cny_fail(CONEY_E_INVALID, "start: the container is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    cny_start own = {0};
    pthread_mutex_lock(&container->lock);
    status = enter_starting(container, &own);
    if (status == CONEY_OK && wait_started(container, &own) != CONEY_OK)
        status = cny_fail_in("start container '%s'", container->options.name);
    pthread_mutex_unlock(&container->lock);
    return status;
}

/* ---- stop ---- */

void cny_container_begin_stop(coney_container *container, coney_stop_mode mode, int64_t deadline)
{
    bool starts = container->state == CNY_CONTAINER_STARTING;
    if (starts) /* whoever asked for the end knows: that is no failure of the container */
        container->start->failure = container->failure ? cny_error_ref(container->failure)
                                                       : cny_error_new(CONEY_E_STATE, 0, "it was stopped meanwhile");
    if (starts || container->state == CNY_CONTAINER_RUNNING) {
        container->state = CNY_CONTAINER_STOPPING;
        container->stop_began = cny_now_ms();
        container->stop_mode = starts ? CONEY_STOP_NOW : mode;
        container->stop_deadline = deadline;
        container->unsettled = 0;
    } else if (container->state == CNY_CONTAINER_STOPPING) {
        if (mode > container->stop_mode)
            container->stop_mode = mode;
        if (deadline < container->stop_deadline)
            container->stop_deadline = deadline;
    }
    pthread_cond_broadcast(&container->changed);
    cny_container_attention(container);
}

void cny_container_stop_for(coney_container *container)
{
    cny_error *reason = cny_error_capture();
    pthread_mutex_lock(&container->lock);
    if (container->state == CNY_CONTAINER_RUNNING && !container->failure)
        container->failure = cny_error_ref(reason);
    cny_container_begin_stop(container, CONEY_STOP_FINISH, cny_deadline(container->options.shutdown_timeout_ms));
    pthread_mutex_unlock(&container->lock);
    cny_log(CONEY_LOG_ERROR, "container '%s' stops: %s", container->options.name, cny_error_view(reason)->text);
    cny_error_unref(reason);
}

/* Under lock, past the deadline: what is unacknowledged goes back to the queue; the threads end as soon as their
 * handlers return. */
static coney_status abandoned(const coney_container *container)
{
    int handlers = 0, deferred = 0, others = 0;
    const char *queue = "";
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer;
         consumer = cny_next_consumer(consumer)) {
        int handling = cny_consumer_handling(consumer), unsettled = cny_consumer_deferred(consumer);
        handlers += handling;
        deferred += unsettled > handling ? unsettled - handling : 0; /* those in a handler count as well */
        others += handling == 0;
        queue = consumer->listener->spec.options.queue;
    }
    long long waited_ms = container->stop_deadline - container->stop_began;
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
    long long waited_ms = container->stop_deadline - container->stop_began;
    if (container->unsettled == 0)
        return CONEY_OK;
    return cny_fail(CONEY_E_TIMEOUT,
                    "stop container '%s': %d deliveries are not settled within %lld ms; they go back to the queue",
                    container->options.name, container->unsettled, waited_ms);
}

static coney_status wait_stopped(void *self, int64_t deadline)
{
    coney_container *container = self;
    coney_status status = CONEY_OK;
    bool in_time = true, may_wait = !cny_container_is_served_here(container);
    pthread_mutex_lock(&container->lock);
    bool was_over = container->state != CNY_CONTAINER_STOPPING; /* or it was started again meanwhile, by others */
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

static void begin_stop_by(coney_container *container, coney_stop_mode mode, int64_t deadline)
{
    pthread_mutex_lock(&container->lock);
    cny_container_begin_stop(container, mode, deadline);
    pthread_mutex_unlock(&container->lock);
}

coney_status coney_container_stop_with(coney_container *container, coney_stop_mode mode, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!container)
        return cny_fail(CONEY_E_INVALID, "stop: the container is NULL");
    if ((unsigned)mode > CONEY_STOP_NOW || timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "stop container '%s': mode is %d, timeout_ms %d", container->options.name,
                        (int)mode, timeout_ms);
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    int64_t deadline = cny_deadline(timeout_ms ? timeout_ms : container->options.shutdown_timeout_ms);
    begin_stop_by(container, mode, deadline);
    return wait_stopped(container, deadline);
}

coney_status coney_container_stop(coney_container *container)
{
    CNY_DISABLE_CANCEL();
    return coney_container_stop_with(container, CONEY_STOP_DRAIN, 0);
}

/* The factory closes: within what is left of its time. */
static void begin_stop_for_factory(void *self, int64_t deadline)
{
    coney_container *container = self;
    int64_t own = cny_deadline(container->options.shutdown_timeout_ms);
    begin_stop_by(container, CONEY_STOP_DRAIN, own < deadline ? own : deadline);
}

/* ---- pause ---- */

static coney_status set_paused(coney_container *container, bool paused, const char *what)
{
    if (!container)
        return cny_fail(CONEY_E_INVALID, "%s: the container is NULL", what);
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&container->lock);
    if (container->state != CNY_CONTAINER_RUNNING) {
        status = cny_fail(CONEY_E_STATE, "%s container '%s': it is not running", what, container->options.name);
    } else {
        container->paused = paused;
        cny_container_attention(container);
    }
    pthread_mutex_unlock(&container->lock);
    return status;
}

coney_status coney_container_pause(coney_container *container)
{
    CNY_DISABLE_CANCEL();
    return set_paused(container, true, "pause");
}

coney_status coney_container_resume(coney_container *container)
{
    CNY_DISABLE_CANCEL();
    return set_paused(container, false, "resume");
}

/* ---- for the recovery thread ---- */

static bool has_blocking_changed(coney_container *container)
{
    bool blocked = cny_factory_check_blocked(container->factory) != CONEY_OK;
    pthread_mutex_lock(&container->lock);
    bool changed = container->state != CNY_CONTAINER_STOPPED && blocked != container->was_blocked;
    pthread_mutex_unlock(&container->lock);
    return changed;
}

/* Something has changed, a connection has come perhaps. */
static int64_t tend(void *self, int64_t now)
{
    (void)now;
    coney_container *container = self;
    if (atomic_load(&container->has_trouble) || has_blocking_changed(container))
        cny_container_attention(container);
    return INT64_MAX;
}

static void on_declaration(void *self, const coney_declaration *declaration)
{
    coney_container *container = self;
    cny_error *error = cny_error_new(declaration->status, declaration->broker_code, "%s", declaration->text);
    cny_tell(container->events, &(cny_event){.kind = CONEY_DECLARATION_NOT_MADE, .error = error});
    cny_error_unref(error);
}

/* Publishers do not wait for a consumer in a handler, or on the way to the ladder: it may wait for them. */
static bool is_back(const cny_consumer *consumer)
{
    return consumer->state == CNY_CONSUMER_ENDING || consumer->has_tried || cny_consumer_publishing(consumer) > 0 ||
           (consumer->state == CNY_CONSUMER_CONSUMING && cny_channel_alive(consumer->channel));
}

/* All workers are in handlers, which may wait for publishers: no consumer gets on before. */
static bool has_no_worker_left(const coney_container *container)
{
    int busy = 0;
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer; consumer = cny_next_consumer(consumer))
        busy += cny_consumer_publishing(consumer);
    return container->options.workers > 0 && busy >= container->options.workers;
}

static bool has_resumed(void *self)
{
    coney_container *container = self;
    bool all = true;
    pthread_mutex_lock(&container->lock);
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer; consumer = cny_next_consumer(consumer))
        all = all && (container->state != CNY_CONTAINER_RUNNING || is_back(consumer));
    all = all || has_no_worker_left(container);
    pthread_mutex_unlock(&container->lock);
    return all;
}
