/* SPDX-License-Identifier: MIT */
/* A factory is made, freed, and asked for what is about all of it. What keeps connections coming is in recovery.c, the
 * end of a factory in close.c. */
#include "rabbit/factory/parts.h"

/* ---- life ---- */

static void free_factory(coney_connection_factory *factory)
{
    for (int role = 0; role < CNY_ROLE_COUNT; role++) {
        cny_error_unref(factory->links[role].reason);
        cny_error_unref(factory->links[role].loss);
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

coney_status coney_connection_factory_new(coney_connection_factory **factory, const char *uri,
                                          const coney_connection_factory_options *options)
{
    CNY_DISABLE_CANCEL();
    static const coney_connection_factory_options defaults;
    if (!factory)
        return cny_fail(CONEY_E_INVALID, "factory is NULL");
    *factory = NULL;
    coney_connection_factory *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    made->fork_count = cny_fork_count();
    pthread_sigmask(SIG_SETMASK, NULL, &made->signals);
    cny_threads_init(&made->threads);
    pthread_mutex_init(&made->lock, NULL);
    pthread_mutex_init(&made->routes.lock, NULL);
    cny_cond_init(&made->changed);
    for (int role = 0; role < CNY_ROLE_COUNT; role++)
        made->links[role] = (cny_link){
            .factory = made, .role = (coney_connection_role)role, .refresh_at = INT64_MAX, .lost_host = CNY_NO_HOST};
    coney_status status = cny_config_read(&made->config, uri, options ? options : &defaults);
    if (status == CONEY_OK)
        status = cny_events_start(&made->events, &made->threads, made, &made->signals);
    if (status != CONEY_OK) {
        free_factory(made);
        return status;
    }
    *factory = made;
    return CONEY_OK;
}

coney_status cny_factory_check_process(const coney_connection_factory *factory)
{
    if (factory->fork_count == cny_fork_count())
        return CONEY_OK;
    return cny_fail(CONEY_E_STATE, "the connection factory belongs to the parent process; make one after fork()");
}

static _Thread_local const coney_connection_factory *served;

const coney_connection_factory *cny_factory_serve_on_this_thread(const coney_connection_factory *factory)
{
    const coney_connection_factory *before = served;
    served = factory;
    return before;
}

bool cny_factory_is_served_here(coney_connection_factory *factory)
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

void cny_factory_attention(coney_connection_factory *factory)
{
    pthread_mutex_lock(&factory->lock);
    factory->attention = true;
    pthread_cond_broadcast(&factory->changed);
    pthread_mutex_unlock(&factory->lock);
}

/* ---- its close has begun ---- */

coney_status cny_factory_check_draining(coney_connection_factory *factory)
{
    return atomic_load(&factory->draining) && !cny_factory_is_served_here(factory)
               ? cny_fail(CONEY_E_CLOSED, "the connection factory is being closed")
               : CONEY_OK;
}

bool cny_factory_is_draining(const coney_connection_factory *factory)
{
    return atomic_load(&factory->draining);
}

coney_status cny_factory_sleep(coney_connection_factory *factory, int64_t until)
{
    coney_status status = CONEY_OK;
    bool in_time = true;
    pthread_mutex_lock(&factory->lock);
    while (status == CONEY_OK && in_time) {
        status = factory->closed ? cny_fail(CONEY_E_CLOSED, "the connection factory is closed")
                                 : cny_factory_check_draining(factory);
        if (status == CONEY_OK)
            in_time = cny_cond_wait(&factory->changed, &factory->lock, until);
    }
    pthread_mutex_unlock(&factory->lock);
    return status;
}

/* ---- the owner of its connections ---- */

static void ref_owner(void *self)
{
    cny_factory_ref(self);
}

static void unref_owner(void *self)
{
    cny_factory_unref(self);
}

static void wake_owner(void *self)
{
    cny_factory_attention(self);
}

static void blocked_changed(void *self, cny_connection *connection)
{
    coney_connection_factory *factory = self;
    cny_link *link = &factory->links[cny_connection_role(connection)];
    char blocked[256];
    pthread_mutex_lock(&factory->lock);
    if (link->connection == connection && !factory->closed) {
        cny_connection_blocked(connection, blocked);
        cny_link_count_blocked(link, *blocked);
        cny_link_changed(link);
    }
    pthread_mutex_unlock(&factory->lock);
}

static bool may_send(void *self, const char *exchange, const char *routing_key)
{
    return cny_declarations_wait(self, exchange, routing_key, 0) == CONEY_OK;
}

static const cny_connection_owner owner = {
    .ref = ref_owner,
    .unref = unref_owner,
    .wake = wake_owner,
    .blocked_changed = blocked_changed,
    .may_send = may_send,
};

coney_status cny_factory_begin_to_connect(coney_connection_factory *factory, cny_connection **connection,
                                          cny_connection_parts parts, const coney_credentials *credentials)
{
    parts.owner = &owner;
    parts.self = factory;
    parts.config = &factory->config;
    parts.events = factory->events;
    parts.threads = &factory->threads;
    parts.stale_acknowledgements = &factory->stale_acknowledgements[parts.role];
    return cny_connection_new(connection, &parts, credentials);
}
