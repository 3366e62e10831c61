/* SPDX-License-Identifier: MIT */
/* A listener with its consumers: made, counted, found. */
#include "rabbit/listener/listener.h"

static bool init_locks(cny_listener *made)
{
    if (!cny_attempts_init(&made->attempts))
        return false;
    if (!cny_backoffs_init(&made->backoffs)) {
        cny_attempts_free(&made->attempts);
        return false;
    }
    if (cny_limited_log_init(&made->log))
        return true;
    cny_attempts_free(&made->attempts);
    cny_backoffs_free(&made->backoffs);
    return false;
}

coney_status cny_listener_new(cny_listener **listener, const coney_listener *options)
{
    cny_listener *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    if (!init_locks(made)) {
        cny_free(made);
        return cny_fail_memory();
    }
    cny_position_init(&made->position);
    cny_rounds_init(&made->rounds);
    coney_status status = cny_spec_init(&made->spec, options);
    if (status != CONEY_OK) {
        cny_listener_unref(made);
        return status;
    }
    cny_attempts_size_for(&made->attempts, &made->spec.options);
    atomic_init(&made->quarantine.wanted, made->spec.quarantine_queue != NULL);
    made->min = made->wanted = made->spec.options.concurrency;
    made->max = made->spec.options.max_concurrency;
    made->started = !options->no_auto_start;
    *listener = made;
    return CONEY_OK;
}

void cny_listener_unref(cny_listener *listener)
{
    if (!listener || atomic_fetch_sub_explicit(&listener->refs, 1, memory_order_acq_rel) != 1)
        return;
    cny_attempts_free(&listener->attempts);
    cny_backoffs_free(&listener->backoffs);
    cny_limited_log_free(&listener->log);
    cny_position_free(&listener->position);
    cny_rounds_free(&listener->rounds);
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
