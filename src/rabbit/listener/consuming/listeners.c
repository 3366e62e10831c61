/* SPDX-License-Identifier: MIT */
/* A listener with its consumers: made and freed, found, counted, and checked. On any thread that has the container's
 * lock. */
#include "rabbit/listener/consuming/consumer.h"
#include "rabbit/listener/consuming/supervisor.h"

#include <string.h>

coney_status cny_listener_new(cny_listener **listener, cny_handling_context *context, const coney_listener *options)
{
    cny_listener *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    made->quarantine.gate = &made->handling.gate;
    coney_status status = cny_spec_init(&made->spec, options);
    if (status == CONEY_OK && !cny_handling_init(&made->handling, context, &made->spec))
        status = cny_fail_memory();
    if (status != CONEY_OK) {
        cny_listener_unref(made);
        return status;
    }
    made->min = made->wanted = made->spec.options.concurrency;
    made->max = made->spec.options.max_concurrency;
    made->wish = options->no_auto_start ? CNY_LISTENER_STOPPED : CNY_LISTENER_STARTED;
    *listener = made;
    return CONEY_OK;
}

cny_listener *cny_listener_ref(cny_listener *listener)
{
    atomic_fetch_add(&listener->refs, 1);
    return listener;
}

void cny_listener_unref(cny_listener *listener)
{
    if (!listener || atomic_fetch_sub_explicit(&listener->refs, 1, memory_order_acq_rel) != 1)
        return;
    cny_handling_free(&listener->handling);
    cny_spec_free(&listener->spec);
    cny_free(listener);
}

/* ---- its declarations ---- */

void cny_listener_join_declarations(coney_container *container, cny_listener *listener)
{
    if (listener->spec.declarations && !listener->has_joined)
        listener->has_joined = cny_declarations_join(container->factory, listener->spec.declarations, true) == CONEY_OK;
}

void cny_listener_leave_declarations(coney_container *container, cny_listener *listener)
{
    if (listener->has_joined)
        cny_declarations_leave(container->factory, listener->spec.declarations);
    listener->has_joined = false;
}

/* ---- one after another; under the container's lock ---- */

static cny_consumer *first_from(const cny_listener *listener)
{
    while (listener && !listener->consumers)
        listener = listener->next;
    return listener ? listener->consumers : NULL;
}

cny_consumer *cny_first_consumer(const coney_container *container)
{
    return first_from(container->listeners);
}

cny_consumer *cny_next_consumer(const cny_consumer *consumer)
{
    return consumer->next ? consumer->next : first_from(consumer->listener->next);
}

cny_listener *cny_container_find(const coney_container *container, const char *id)
{
    for (cny_listener *listener = container->listeners; listener; listener = listener->next) {
        if (listener->wish != CNY_LISTENER_REMOVED && strcmp(listener->spec.options.id, id) == 0)
            return listener;
    }
    return NULL;
}

void cny_container_forget_removed(coney_container *container)
{
    for (cny_listener **at = &container->listeners; *at;) {
        cny_listener *listener = *at;
        if (listener->wish != CNY_LISTENER_REMOVED || cny_listener_has_consumers(listener)) {
            at = &listener->next;
            continue;
        }
        *at = listener->next;
        cny_listener_unref(listener);
    }
}

/* ---- who is wanted, and who is there; under the container's lock ---- */

bool cny_listener_is_wanted(const coney_container *container, const cny_listener *listener)
{
    return cny_container_is_under_way(container) && !container->paused && listener->wish == CNY_LISTENER_STARTED;
}

int cny_listener_count(const cny_listener *listener)
{
    int count = 0;
    for (const cny_consumer *consumer = listener->consumers; consumer; consumer = consumer->next)
        count += !consumer->is_surplus;
    return count;
}

static bool is_consuming(const cny_consumer *consumer)
{
    return consumer->life.state == CNY_CONSUMER_CONSUMING && cny_channel_is_consuming(consumer->source.channel);
}

int cny_listener_consuming(const cny_listener *listener)
{
    int count = 0;
    for (const cny_consumer *consumer = listener->consumers; consumer; consumer = consumer->next)
        count += !consumer->is_surplus && is_consuming(consumer);
    return count;
}

/* Why the consumer does not consume, even if the supervisor has not seen that yet. */
static coney_status check_consumer(const cny_consumer *consumer)
{
    const char *queue = consumer->listener->spec.options.queue;
    if (consumer->last_error)
        return cny_error_raise(consumer->last_error);
    if (consumer->is_surplus || is_consuming(consumer))
        return CONEY_OK;
    if (consumer->life.state != CNY_CONSUMER_CONSUMING)
        return cny_fail(CONEY_E_STATE, "a consumer of queue '%s' has not begun yet", queue);
    cny_error *reason;
    cny_channel_feed(consumer->source.channel, &reason);
    if (cny_error_raise(reason) == CONEY_OK)
        cny_fail(CONEY_E_STATE, "a handler stops its container"); /* which begins to, in a moment */
    cny_error_unref(reason);
    return cny_fail_in("a consumer of queue '%s' was interrupted", queue);
}

coney_status cny_listener_check(const cny_listener *listener)
{
    int count = 0;
    coney_status status = CONEY_OK;
    for (const cny_consumer *consumer = listener->consumers; consumer && status == CONEY_OK;
         consumer = consumer->next) {
        count += !consumer->is_surplus;
        status = check_consumer(consumer);
    }
    if (status == CONEY_OK && count < listener->wanted)
        status = cny_fail(CONEY_E_STATE, "a consumer of queue '%s' has not begun yet", listener->spec.options.queue);
    return status;
}
