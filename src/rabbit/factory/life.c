/* SPDX-License-Identifier: MIT */
/* What every file of this folder and everybody who has a factory needs: references, the kind of the calling thread, the
 * phase of the factory, waking its recovery thread, and waiting. Any thread. It must not know how connections are made
 * or what is declared, but for freeing. */
#include "rabbit/factory/parts.h"

#include <assert.h>

/* ---- references ---- */

static void free_factory(coney_connection_factory *factory)
{
    for (int role = 0; role < CNY_ROLE_COUNT; role++) {
        cny_error_unref(factory->slots[role].last_error);
        cny_error_unref(factory->slots[role].last_loss);
    }
    cny_declarations_free(&factory->declarations);
    cny_buffer_free(&factory->members);
    cny_buffer_free(&factory->spare);
    cny_events_unref(factory->events);
    cny_config_free(&factory->config);
    cny_threads_free(&factory->threads);
    pthread_cond_destroy(&factory->changed);
    pthread_mutex_destroy(&factory->lock);
    pthread_mutex_destroy(&factory->routes.lock);
    cny_free(factory);
}

coney_connection_factory *cny_factory_ref(coney_connection_factory *factory)
{
    atomic_fetch_add_explicit(&factory->refs, 1, memory_order_relaxed);
    return factory;
}

void cny_factory_unref(coney_connection_factory *factory)
{
    if (factory && atomic_fetch_sub_explicit(&factory->refs, 1, memory_order_acq_rel) == 1)
        free_factory(factory);
}

/* ---- processes and threads ---- */

coney_status cny_factory_check_process(const coney_connection_factory *factory)
{
    if (factory->fork_count == cny_fork_count())
        return CONEY_OK;
    return cny_fail(CONEY_E_STATE, "the connection factory belongs to the parent process; make one after fork()");
}

static _Thread_local const coney_connection_factory *served;

const coney_connection_factory *cny_factory_set_internal_thread(const coney_connection_factory *factory)
{
    const coney_connection_factory *before = served;
    served = factory;
    return before;
}

bool cny_factory_is_internal_thread(coney_connection_factory *factory)
{
    return served == factory || cny_factory_on_events_thread(factory);
}

bool cny_factory_on_events_thread(coney_connection_factory *factory)
{
    return cny_events_is_current(factory->events);
}

cny_threads *cny_factory_threads(coney_connection_factory *factory)
{
    return &factory->threads;
}

coney_status cny_factory_start_recovery(coney_connection_factory *factory)
{
    if (factory->recovery != CNY_RECOVERY_NONE)
        return CONEY_OK;
    const cny_thread thread = {.name = "coney-recovery", .run = factory->recover, .argument = cny_factory_ref(factory)};
    coney_status status = cny_threads_start(&factory->threads, factory, &thread);
    if (status == CONEY_OK)
        factory->recovery = CNY_RECOVERY_RUNNING;
    else
        cny_factory_unref(factory);
    return status;
}

/* ---- waking and waiting ---- */

void cny_factory_wake_locked(coney_connection_factory *factory)
{
    factory->is_woken = true;
    pthread_cond_broadcast(&factory->changed);
}

void cny_factory_wake(coney_connection_factory *factory)
{
    pthread_mutex_lock(&factory->lock);
    cny_factory_wake_locked(factory);
    pthread_mutex_unlock(&factory->lock);
}

/* ---- phases ---- */

void cny_factory_enter_phase(coney_connection_factory *factory, cny_factory_phase phase)
{
    assert(phase == factory->phase + 1);
    atomic_store(&factory->phase, phase);
    pthread_cond_broadcast(&factory->changed);
}

coney_status cny_factory_check_closed(const coney_connection_factory *factory)
{
    return cny_factory_is_closed(factory) ? cny_fail(CONEY_E_CLOSED, "the connection factory is closed") : CONEY_OK;
}

bool cny_factory_is_draining(const coney_connection_factory *factory)
{
    return atomic_load(&factory->phase) >= CNY_FACTORY_DRAINING;
}

coney_status cny_factory_check_draining(coney_connection_factory *factory)
{
    return cny_factory_is_draining(factory) && !cny_factory_is_internal_thread(factory)
               ? cny_fail(CONEY_E_CLOSED, "the connection factory is being closed")
               : CONEY_OK;
}

coney_status cny_factory_sleep(coney_connection_factory *factory, int64_t until)
{
    coney_status status = CONEY_OK;
    bool in_time = true;
    pthread_mutex_lock(&factory->lock);
    while (status == CONEY_OK && in_time) {
        status = cny_factory_check_closed(factory);
        if (status == CONEY_OK)
            status = cny_factory_check_draining(factory);
        if (status == CONEY_OK)
            in_time = cny_cond_wait(&factory->changed, &factory->lock, until);
    }
    pthread_mutex_unlock(&factory->lock);
    return status;
}
