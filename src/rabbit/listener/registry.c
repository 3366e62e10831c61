/* SPDX-License-Identifier: MIT */
/* The listeners of a container: added, started, stopped and removed one by one or as a group. (Spring:
 * RabbitListenerEndpointRegistry.) On the program's threads; what must happen to consumers the supervisor does. */
#include "rabbit/listener/consuming/consuming.h"

#include <stdio.h>
#include <string.h>

/* ---- registering ---- */

/* Under lock: the queue's name, or, if that is taken, with a number after it. */
static bool make_id(const coney_container *container, cny_listener *listener)
{
    char id[CNY_MAX_SHORT_STRING + 16];
    snprintf(id, sizeof id, "%s", listener->spec.options.queue);
    for (int n = 2; cny_container_find(container, id); n++)
        snprintf(id, sizeof id, "%s#%d", listener->spec.options.queue, n);
    return cny_arena_strdup(&listener->spec.arena, &listener->spec.options.id, id);
}

/* ---- two listeners of one queue ---- */

static const coney_typed_handler *find_handler(const coney_listener *options, const coney_typed_handler *like)
{
    for (size_t i = 0; i < options->handler_count; i++) {
        if (cny_handlers_take_same(&options->handlers[i], like))
            return &options->handlers[i];
    }
    return NULL;
}

static const void *payload_of(const coney_listener *options, const coney_typed_handler *handler)
{
    if (handler->payload_type)
        return handler->payload_type;
    return handler->converter ? handler->converter : options->converter;
}

/* The options have a handler for each type of the other ones, with the same payload. */
static bool has_handlers_of(const coney_listener *options, const coney_listener *other)
{
    for (size_t i = 0; i < other->handler_count; i++) {
        const coney_typed_handler *theirs = &other->handlers[i], *ours = find_handler(options, theirs);
        if (!ours || payload_of(options, ours) != payload_of(other, theirs))
            return false;
    }
    return true;
}

static bool has_types_of(const coney_types *types, const coney_types *other)
{
    bool all = true;
    for (size_t i = 0; all && i < other->count; i++) {
        all = false;
        for (size_t k = 0; !all && k < types->count; k++)
            all = types->types[k] == other->types[i];
    }
    return all;
}

static bool takes_untyped(const coney_listener *options)
{
    return options->on_message || options->on_batch;
}

/* Messages that are meant for one listener are of no use to the other. */
static bool takes_other_messages(const cny_spec *spec, const cny_spec *others)
{
    const coney_listener *one = &spec->options, *other = &others->options;
    return one->filter != other->filter || one->converter != other->converter || one->type != other->type ||
           one->type_precedence != other->type_precedence || takes_untyped(one) != takes_untyped(other) ||
           !has_types_of(&spec->types, &others->types) || !has_types_of(&others->types, &spec->types) ||
           !has_handlers_of(one, other) || !has_handlers_of(other, one);
}

/* Each consumer of a stream gets all messages, so two listeners do not take any from each other. */
static bool reads_stream(const coney_listener *options)
{
    return options->arguments && coney_table_get(options->arguments, CONEY_HEADER_STREAM_OFFSET);
}

/* Under lock: a listener of the same queue that takes other messages; NULL: none. */
static const cny_listener *find_rival(const coney_container *container, const cny_listener *listener)
{
    const coney_listener *options = &listener->spec.options;
    for (const cny_listener *other = container->listeners; other; other = other->next) {
        bool is_rival = other != listener && other->wish != CNY_LISTENER_REMOVED &&
                        strcmp(other->spec.options.queue, options->queue) == 0 &&
                        takes_other_messages(&other->spec, &listener->spec);
        if (is_rival && !reads_stream(options))
            return other;
    }
    return NULL;
}

/* Under lock. */
static void warn_of_rival(const coney_container *container, const cny_listener *listener, char warning[1024])
{
    const cny_listener *rival = find_rival(container, listener);
    if (rival)
        snprintf(
            warning, 1024,
            "container '%s': listeners '%.255s' and '%.255s' of queue '%s' differ in their converter, types, filter "
            "or handlers, but the broker deals the messages of a queue out in turn, so each listener gets messages "
            "that are meant for the other; use one listener with handlers for all types, or a queue for each",
            container->options.name, rival->spec.options.id, listener->spec.options.id, listener->spec.options.queue);
}

/* ---- adding ---- */

/* Under lock. */
static coney_status add(coney_container *container, cny_listener *listener)
{
    const char *id = listener->spec.options.id;
    if (id && cny_container_find(container, id))
        return cny_fail(CONEY_E_INVALID, "the id '%s' is taken", id);
    if (!id && !make_id(container, listener))
        return cny_fail_memory();
    cny_listener **at = &container->listeners;
    while (*at)
        at = &(*at)->next;
    *at = listener;
    if (container->state != CNY_CONTAINER_STOPPED)
        cny_container_wake(container);
    return CONEY_OK;
}

static const char *queue_of(const coney_listener *listener)
{
    const char *declared = listener->declare && listener->declare->name ? listener->declare->name : "";
    return listener->queue ? listener->queue : declared;
}

coney_status coney_container_listen(coney_container *container, const coney_listener *listener)
{
    CNY_DISABLE_CANCEL();
    if (!container || !listener)
        return cny_fail(CONEY_E_INVALID, "listen: container or listener is NULL");
    coney_status status = cny_factory_check_process(container->factory);
    if (status != CONEY_OK)
        return status;
    cny_listener *made;
    char warning[1024] = "";
    status = cny_listener_new(&made, &container->handling, listener);
    if (status == CONEY_OK) {
        pthread_mutex_lock(&container->lock);
        status = add(container, made);
        if (status == CONEY_OK)
            warn_of_rival(container, made, warning);
        pthread_mutex_unlock(&container->lock);
        if (status != CONEY_OK)
            cny_listener_unref(made);
    }
    if (*warning)
        cny_log(CONEY_LOG_WARN, "%s", warning);
    return status == CONEY_OK ? status : cny_fail_in("listener for queue '%.255s'", queue_of(listener));
}

/* ---- one or several ---- */

/* Which listeners a call is about. */
typedef struct selection {
    const char *id; /* NULL: those of the group */
    const char *group;
    const char *verb;
} selection;

static bool is_selected(const cny_listener *listener, const selection *which)
{
    const char *group = listener->spec.options.group;
    if (listener->wish == CNY_LISTENER_REMOVED)
        return false;
    if (which->id)
        return strcmp(listener->spec.options.id, which->id) == 0;
    return group && which->group && strcmp(group, which->group) == 0;
}

/* Under lock. */
static coney_status for_each(coney_container *container, const selection *which,
                             void (*change)(coney_container *container, cny_listener *listener))
{
    bool any = false;
    for (cny_listener *listener = container->listeners; listener; listener = listener->next) {
        if (!is_selected(listener, which))
            continue;
        any = true;
        change(container, listener);
    }
    cny_container_wake(container);
    return any ? CONEY_OK
               : cny_fail(CONEY_E_NOT_FOUND, "%s: container '%s' has no listener %s '%.255s'", which->verb,
                          container->options.name, which->id ? "with the id" : "in the group",
                          which->id ? which->id : which->group);
}

static coney_status check(const coney_container *container, const selection *which)
{
    if (!container || (!which->id && !which->group))
        return cny_fail(CONEY_E_INVALID, "%s: container, id or group is NULL", which->verb);
    return cny_factory_check_process(container->factory);
}

/* ---- starting ---- */

static void mark_started(coney_container *container, cny_listener *listener)
{
    (void)container;
    listener->wish = CNY_LISTENER_STARTED;
}

/* Under lock: the first reason why a selected listener has not begun, cny_listener_check_started(). */
static coney_status check_started(const coney_container *container, const selection *which)
{
    coney_status status = CONEY_OK;
    for (const cny_listener *one = container->listeners; one && status == CONEY_OK; one = one->next) {
        if (is_selected(one, which))
            status = cny_listener_check_started(one);
    }
    return status;
}

static coney_status start(coney_container *container, const selection *which)
{
    coney_status status = check(container, which);
    if (status != CONEY_OK)
        return status;
    int64_t deadline = cny_deadline(container->options.start_timeout_ms);
    bool in_time = true, may_wait = !cny_container_on_internal_thread(container);
    pthread_mutex_lock(&container->lock);
    bool runs = cny_container_is_under_way(container);
    status = for_each(container, which, mark_started);
    while (status == CONEY_OK && may_wait && cny_container_is_under_way(container) && !container->paused) {
        coney_status so_far = check_started(container, which);
        bool may_come = so_far == CONEY_E_TIMEOUT || cny_is_loss(so_far);
        if (!may_come || !in_time) {
            status = so_far == CONEY_OK ? status : cny_fail_in("%s", which->verb);
            break;
        }
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
    }
    if (status == CONEY_OK && runs && !cny_container_is_under_way(container))
        status = container->failure ? cny_error_raise(container->failure)
                                    : cny_fail(CONEY_E_STATE, "%s: the container was stopped meanwhile", which->verb);
    pthread_mutex_unlock(&container->lock);
    return status;
}

coney_status coney_container_start_listener(coney_container *container, const char *id)
{
    CNY_DISABLE_CANCEL();
    return start(container, &(selection){.id = id, .verb = "start a listener"});
}

coney_status coney_container_start_group(coney_container *container, const char *group)
{
    CNY_DISABLE_CANCEL();
    return start(container, &(selection){.group = group, .verb = "start a group"});
}

/* ---- stopping ---- */

static void mark_stopped(coney_container *container, cny_listener *listener)
{
    listener->wish = CNY_LISTENER_STOPPED;
    listener->stop_mode = CONEY_STOP_DRAIN;
    listener->stop_deadline = cny_deadline(container->options.shutdown_timeout_ms);
}

static void mark_removed(coney_container *container, cny_listener *listener)
{
    mark_stopped(container, listener);
    listener->wish = CNY_LISTENER_REMOVED;
}

/* Under lock. A listener that was removed may be gone from the list already; then it has no consumers. */
static int count_consumers(const coney_container *container, cny_listener *const *listeners, size_t count)
{
    int consumers = 0;
    for (const cny_listener *one = container->listeners; one; one = one->next) {
        for (size_t i = 0; i < count; i++)
            consumers += one == listeners[i] && cny_listener_has_consumers(one) &&
                         one->wish != CNY_LISTENER_STARTED; /* a listener that was started again does not count */
    }
    return consumers;
}

/* Under lock: references to those that are to end. */
static bool remember(const coney_container *container, const selection *which, cny_buffer *listeners)
{
    for (cny_listener *one = container->listeners; one; one = one->next) {
        if (!is_selected(one, which))
            continue;
        if (!cny_buffer_append(listeners, &one, sizeof(cny_listener *)))
            return false;
        cny_listener_ref(one);
    }
    return true;
}

static coney_status wait_for_end(coney_container *container, cny_listener *const *listeners, size_t count)
{
    int64_t deadline = cny_deadline(container->options.shutdown_timeout_ms) + CNY_GRACE_MS;
    bool in_time = !cny_container_on_internal_thread(container);
    if (!in_time)
        return CONEY_OK;
    while (count_consumers(container, listeners, count) > 0 && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
    int left = count_consumers(container, listeners, count);
    return left == 0 ? CONEY_OK
                     : cny_fail(CONEY_E_TIMEOUT, "handlers of %d listeners have not returned within %d ms", left,
                                container->options.shutdown_timeout_ms);
}

static coney_status stop(coney_container *container, const selection *which,
                         void (*mark)(coney_container *container, cny_listener *listener))
{
    coney_status status = check(container, which);
    cny_buffer ending = {0};
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&container->lock);
    if (!remember(container, which, &ending))
        status = cny_fail_memory();
    cny_listener **listeners = (cny_listener **)(void *)ending.data;
    size_t count = ending.size / sizeof *listeners;
    if (status == CONEY_OK)
        status = for_each(container, which, mark);
    if (container->state == CNY_CONTAINER_STOPPED) /* the supervisor does not run */
        cny_container_forget_removed(container);
    if (status == CONEY_OK && wait_for_end(container, listeners, count) != CONEY_OK)
        status = cny_fail_in("%s", which->verb);
    pthread_mutex_unlock(&container->lock);
    for (size_t i = 0; i < count; i++)
        cny_listener_unref(listeners[i]);
    cny_buffer_free(&ending);
    return status;
}

coney_status coney_container_stop_listener(coney_container *container, const char *id)
{
    CNY_DISABLE_CANCEL();
    return stop(container, &(selection){.id = id, .verb = "stop a listener"}, mark_stopped);
}

coney_status coney_container_stop_group(coney_container *container, const char *group)
{
    CNY_DISABLE_CANCEL();
    return stop(container, &(selection){.group = group, .verb = "stop a group"}, mark_stopped);
}

coney_status coney_container_unlisten(coney_container *container, const char *id)
{
    CNY_DISABLE_CANCEL();
    return stop(container, &(selection){.id = id, .verb = "unlisten"}, mark_removed);
}

/* ---- concurrency ---- */

coney_status coney_container_set_concurrency(coney_container *container, const char *id, int min, int max)
{
    CNY_DISABLE_CANCEL();
    const selection which = {.id = id, .verb = "set the concurrency"};
    coney_status status = check(container, &which);
    if (status != CONEY_OK)
        return status;
    if (max == 0)
        max = min;
    if (min < 1 || max < min || max > CNY_MAX_CONSUMERS)
        return cny_fail(CONEY_E_INVALID, "concurrency %d to %d is not possible; 1 to %d are", min, max,
                        CNY_MAX_CONSUMERS);
    pthread_mutex_lock(&container->lock);
    cny_listener *listener = cny_container_find(container, id);
    if (!listener) {
        status = cny_fail(CONEY_E_NOT_FOUND, "container '%s' has no listener '%.255s'", container->options.name, id);
    } else if (listener->spec.options.exclusive && max > 1) {
        status = cny_fail(CONEY_E_INVALID, "listener '%s' is exclusive, so it has one consumer, not %d", id, max);
    } else if (cny_spec_is_stream(&listener->spec) && max > 1) {
        status = cny_fail(CONEY_E_INVALID, "listener '%s' is one of a stream, so it has one consumer, not %d", id, max);
    } else {
        listener->min = min;
        listener->max = max;
        listener->wanted = listener->wanted < min ? min : listener->wanted > max ? max : listener->wanted;
        if (min == max)
            listener->wanted = min;
        cny_container_wake(container);
    }
    pthread_mutex_unlock(&container->lock);
    return status;
}
