/* SPDX-License-Identifier: MIT */
/* The container as the program and its factory hold it: options, new, free, start, stop, pause. On the program's
 * threads and, for the factory, on its recovery thread. What keeps consumers running is the supervisor. */
#include "rabbit/listener/consuming/consuming.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_START_TIMEOUT_MS 10000
#define DEFAULT_SHUTDOWN_TIMEOUT_MS 5000
#define DEFAULT_RESUBSCRIBE_INTERVAL_MS 5000 /* Spring's */
#define DEFAULT_PUBLISH_TIMEOUT_MS 10000
#define DEFAULT_MAX_HELD_BYTES ((size_t)256 * 1024 * 1024)

/* ---- options ---- */

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
        options->resubscribe_interval_ms = DEFAULT_RESUBSCRIBE_INTERVAL_MS;
    if (options->publish_timeout_ms == 0)
        options->publish_timeout_ms = DEFAULT_PUBLISH_TIMEOUT_MS;
    if (options->max_held_bytes == 0)
        options->max_held_bytes = DEFAULT_MAX_HELD_BYTES;
}

/* ---- for the factory ---- */

static void hold(void *self)
{
    cny_container_ref(self);
}

static void release(void *self)
{
    cny_container_unref(self);
}

static bool has_blocking_changed(coney_container *container)
{
    bool blocked = cny_factory_check_blocked(container->factory) != CONEY_OK;
    pthread_mutex_lock(&container->lock);
    bool changed = container->state != CNY_CONTAINER_STOPPED && blocked != container->was_blocked;
    pthread_mutex_unlock(&container->lock);
    return changed;
}

/* Something has changed; perhaps a connection is open now. */
static int64_t on_tick(void *self, int64_t now)
{
    (void)now;
    coney_container *container = self;
    if (atomic_load(&container->has_waiting) || has_blocking_changed(container))
        cny_container_wake(container);
    return INT64_MAX;
}

static void on_declaration(void *self, const coney_declaration *declaration)
{
    coney_container *container = self;
    cny_error *error = cny_error_new(declaration->status, declaration->broker_code, "%s", declaration->text);
    cny_tell(container->events, &(cny_event){.kind = CONEY_DECLARATION_NOT_MADE, .error = error});
    if (declaration->state == CONEY_DECLARATION_FAILED) {
        cny_error_raise(error);
        cny_container_stop_over_error(container);
    }
    cny_error_unref(error);
}

static void tell_user(const coney_container *container, const cny_listener *listener, const char *how,
                      cny_tell_user *tell, void *to)
{
    char sentence[700];
    snprintf(sentence, sizeof sentence, "listener '%.255s' of container '%.255s'%s", listener->spec.options.id,
             container->options.name, how);
    tell(sentence, to);
}

static void find_users(void *self, const char *queue, cny_tell_user *tell, void *to)
{
    coney_container *container = self;
    pthread_mutex_lock(&container->lock);
    for (const cny_listener *listener = container->listeners; listener; listener = listener->next) {
        const coney_listener *options = &listener->spec.options;
        if (strcmp(options->queue, queue) == 0)
            tell_user(container, listener, ", which consumes it", tell, to);
        if (options->send_to && strcmp(options->send_to, queue) == 0)
            tell_user(container, listener, ", which sends replies to it (send_to)", tell, to);
        if (options->retry.parking_queue && strcmp(options->retry.parking_queue, queue) == 0)
            tell_user(container, listener, ", which parks messages in it", tell, to);
    }
    pthread_mutex_unlock(&container->lock);
}

static bool has_resumed(void *self)
{
    return cny_container_has_resumed(self);
}

/* The factory closes: the container has until the earlier one of its own deadline and the factory's. */
static void begin_stop_for_factory(void *self, int64_t deadline)
{
    coney_container *container = self;
    int64_t own = cny_deadline(container->options.shutdown_timeout_ms);
    cny_container_stop(container, CONEY_STOP_DRAIN, own < deadline ? own : deadline);
}

static coney_status wait_stopped(void *self, int64_t deadline)
{
    return cny_container_wait_stopped(self, deadline);
}

static const cny_member membership = {
    .ref = hold,
    .unref = release,
    .on_declaration = on_declaration,
    .has_resumed = has_resumed,
    .on_tick = on_tick,
    .find_users = find_users,
    .begin_stop = begin_stop_for_factory,
    .wait_stopped = wait_stopped,
};

/* ---- life ---- */

static void wake_supervisor(void *self)
{
    cny_container_wake(self);
}

static void fill_context(cny_handling_context *context, coney_container *owner)
{
    context->factory = owner->factory;
    context->name = owner->options.name;
    context->publish_timeout_ms = owner->options.publish_timeout_ms;
    context->max_held_bytes = owner->options.max_held_bytes;
    context->workers = owner->workers;
    context->events = owner->events;
    context->wake = wake_supervisor;
    context->stop = cny_container_stop_over_error;
    context->self = owner;
}

static coney_status make_parts(coney_container *made, const char *name)
{
    if (!cny_arena_strdup(&made->arena, &made->options.name, name ? name : "container"))
        return cny_fail_memory();
    made->events = cny_event_sink_new(made->factory, &made->options);
    if (!made->events || !cny_supervision_init(made))
        return cny_fail_memory();
    fill_context(&made->handling, made);
    return cny_factory_join(made->factory, &membership, made);
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
    cny_handling_context_init(&made->handling);
    cny_cond_init(&made->changed);
    made->options = *options;
    set_defaults(&made->options);
    made->holding.bound = made->options.max_held_bytes;
    status = make_parts(made, options->name);
    if (status != CONEY_OK) {
        cny_container_unref(made);
        return status;
    }
    *container = made;
    return CONEY_OK;
}

/* The threads of a container that is stopped are about to end, so they are waited for. */
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
    if (cny_container_on_internal_thread(container) || cny_threads_is_current(cny_factory_threads(factory), factory)) {
        cny_log(CONEY_LOG_ERROR,
                "coney_container_free called by a handler of container '%s' or by a callback: the container is not "
                "freed; stop it here and free it on another thread",
                container->options.name);
        return;
    }
    bool had_its_time = cny_factory_check_draining(container->factory) != CONEY_OK;
    if (had_its_time)
        cny_container_stop(container, CONEY_STOP_NOW, cny_now_ms());
    coney_status status =
        had_its_time ? cny_container_wait_stopped(container, cny_now_ms()) : coney_container_stop(container);
    if (status != CONEY_OK)
        cny_log(CONEY_LOG_ERROR, "%s", coney_last_error());
    join_threads(container);
    cny_factory_leave(container->factory, container);
    if (!cny_event_sink_close(container->events, cny_deadline(container->options.shutdown_timeout_ms)))
        cny_log(CONEY_LOG_ERROR, "container '%s' is freed while its events are still being told",
                container->options.name);
    cny_container_unref(container);
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
    status = cny_processors_add(&container->handling.after_receive, processor);
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
    status = cny_processors_remove(&container->handling.after_receive, name);
    return status == CONEY_OK ? CONEY_OK : cny_fail_in("container '%.255s'", container->options.name);
}

/* ---- start, stop, pause ---- */

coney_status coney_container_start(coney_container *container)
{
    CNY_DISABLE_CANCEL();
    if (!container)
        return cny_fail(CONEY_E_INVALID, "start: the container is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    return cny_container_start(container);
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
    cny_container_stop(container, mode, deadline);
    return cny_container_wait_stopped(container, deadline);
}

coney_status coney_container_stop(coney_container *container)
{
    CNY_DISABLE_CANCEL();
    return coney_container_stop_with(container, CONEY_STOP_DRAIN, 0);
}

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
        cny_container_wake(container);
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
