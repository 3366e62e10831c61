/* SPDX-License-Identifier: MIT */
/* The end of a factory: stops consuming, waits for confirms, closes the connections and ends the threads, all within
 * its deadline and a moment of grace. On the thread that closes or frees the factory. It must not know what members
 * are. */
#include "rabbit/factory/parts.h"

#define GRACE_MS 90 /* after the deadline, for what comes last: close keeps its deadline to 100 ms */

/* One close of a factory. */
typedef struct closing {
    coney_connection_factory *factory;
    int64_t deadline;
    int64_t latest; /* the deadline and the moment of grace */
    cny_buffer members;
    cny_connection *connections[CNY_ROLE_COUNT + 1]; /* the last one is the isolated one */
    cny_error *first_error;                          /* what did not end in time; close returns it */
} closing;

static void note_error(closing *one, coney_status status)
{
    if (status != CONEY_OK && !one->first_error)
        one->first_error = cny_error_capture();
}

/* All containers stop at the same time, and meanwhile their handlers may send. */
static void stop_containers(closing *one)
{
    size_t count;
    const cny_membership *all = cny_memberships(&one->members, &count);
    for (size_t i = 0; i < count; i++) {
        if (all[i].member->begin_stop)
            all[i].member->begin_stop(all[i].self, one->deadline);
    }
    for (size_t i = 0; i < count; i++) {
        if (all[i].member->wait_stopped)
            note_error(one, all[i].member->wait_stopped(all[i].self, one->deadline));
    }
}

/* The newest template first, because it may send through an older one. */
static void drain_templates(closing *one)
{
    size_t count;
    const cny_membership *all = cny_memberships(&one->members, &count);
    for (size_t i = count; i-- > 0;) {
        if (all[i].member->drain)
            note_error(one, all[i].member->drain(all[i].self, one->deadline));
    }
}

/* False: another thread closes the factory. */
static bool begin(closing *one)
{
    coney_connection_factory *factory = one->factory;
    pthread_mutex_lock(&factory->lock);
    bool is_first = factory->phase == CNY_FACTORY_SERVING;
    if (is_first) {
        cny_factory_enter_phase(factory, CNY_FACTORY_DRAINING); /* wakes those who wait and may not send any more */
        cny_buffer_swap(&one->members, &factory->spare);
        cny_factory_members(factory, &one->members); /* the spare has room */
    }
    pthread_mutex_unlock(&factory->lock);
    return is_first;
}

static void tell_done(coney_connection_factory *factory)
{
    pthread_mutex_lock(&factory->lock);
    cny_factory_enter_phase(factory, CNY_FACTORY_ENDED);
    pthread_mutex_unlock(&factory->lock);
}

/* From now on everything answers CONEY_E_CLOSED, and nothing connects. */
static void declare_closed(closing *one)
{
    coney_connection_factory *factory = one->factory;
    pthread_mutex_lock(&factory->lock);
    cny_factory_enter_phase(factory, CNY_FACTORY_CLOSED);
    for (int role = 0; role < CNY_ROLE_COUNT; role++) {
        cny_slot *slot = &factory->slots[role];
        cny_slot_count_blocked(slot, false);
        cny_slot_set_state(slot, CNY_SLOT_CLOSED);
        one->connections[role] = slot->connection ? cny_connection_ref(slot->connection) : NULL;
    }
    cny_connection *isolated = factory->isolation.connection;
    one->connections[CNY_ROLE_COUNT] = isolated ? cny_connection_ref(isolated) : NULL;
    pthread_mutex_unlock(&factory->lock);
}

static void close_connections(closing *one)
{
    for (int i = 0; i <= CNY_ROLE_COUNT; i++) {
        if (one->connections[i])
            cny_connection_begin_close(one->connections[i], one->deadline);
    }
    for (int i = 0; i <= CNY_ROLE_COUNT; i++) {
        if (one->connections[i] && !cny_connection_wait_ended(one->connections[i], one->latest))
            note_error(one, cny_fail(CONEY_E_TIMEOUT,
                                     "the thread of the %s connection, resolving a name perhaps, ends later",
                                     i < CNY_ROLE_COUNT ? cny_role_name((coney_connection_role)i) : "isolated"));
        cny_connection_unref(one->connections[i]);
    }
}

static bool is_recovering(const coney_connection_factory *factory)
{
    const cny_declarations *declarations = &factory->declarations;
    return declarations->is_running || declarations->is_isolating || factory->recovery == CNY_RECOVERY_RUNNING;
}

static void end_recovery(closing *one)
{
    coney_connection_factory *factory = one->factory;
    bool in_time = true;
    pthread_mutex_lock(&factory->lock);
    while (is_recovering(factory) && in_time)
        in_time = cny_cond_wait(&factory->changed, &factory->lock, one->latest);
    bool ended = !is_recovering(factory);
    pthread_mutex_unlock(&factory->lock);
    if (!ended)
        note_error(one,
                   cny_fail(CONEY_E_TIMEOUT, "the recovery thread, in the credentials provider perhaps, ends later"));
}

static void abandon_rest(closing *one)
{
    size_t count;
    const cny_membership *all = cny_memberships(&one->members, &count);
    for (size_t i = 0; i < count; i++) {
        if (all[i].member->abandon)
            all[i].member->abandon(all[i].self);
    }
}

static coney_status close_now(closing *one)
{
    coney_connection_factory *factory = one->factory;
    stop_containers(one);
    drain_templates(one);
    declare_closed(one);
    close_connections(one);
    end_recovery(one);
    abandon_rest(one);
    for (int role = 0; role < CNY_ROLE_COUNT; role++)
        cny_slot_log(&factory->slots[role].news); /* the news do not change any more */
    if (!cny_events_stop(factory->events, one->latest))
        note_error(one, cny_fail(CONEY_E_TIMEOUT, "a callback has not returned yet"));
    cny_threads_join(&factory->threads, NULL, one->latest);
    cny_members_free(&one->members);
    tell_done(factory);
    coney_status status = cny_error_raise(one->first_error);
    cny_error_unref(one->first_error);
    return status == CONEY_OK ? status : cny_fail_in("close the connection factory");
}

static coney_status wait_for_the_other_close(coney_connection_factory *factory)
{
    int64_t deadline = cny_deadline(factory->config.close_timeout_ms + GRACE_MS);
    bool in_time = true;
    pthread_mutex_lock(&factory->lock);
    while (factory->phase != CNY_FACTORY_ENDED && in_time)
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
    bool ended = factory->phase == CNY_FACTORY_ENDED;
    pthread_mutex_unlock(&factory->lock);
    return ended ? CONEY_OK : cny_fail(CONEY_E_TIMEOUT, "another close of the factory has not ended yet");
}

coney_status coney_connection_factory_close(coney_connection_factory *factory)
{
    CNY_DISABLE_CANCEL();
    if (!factory)
        return cny_fail(CONEY_E_INVALID, "factory is NULL");
    coney_status status = cny_factory_check_process(factory);
    if (status != CONEY_OK)
        return status;
    if (cny_factory_is_internal_thread(factory))
        return cny_fail(CONEY_E_STATE,
                        "close the connection factory: a callback or handler cannot wait for its own end");
    closing one = {.factory = factory, .deadline = cny_deadline(factory->config.close_timeout_ms)};
    one.latest = one.deadline + GRACE_MS;
    return begin(&one) ? close_now(&one) : wait_for_the_other_close(factory);
}

void coney_connection_factory_free(coney_connection_factory *factory)
{
    CNY_DISABLE_CANCEL();
    if (!factory || cny_factory_check_process(factory) != CONEY_OK)
        return;
    coney_status status = coney_connection_factory_close(factory);
    if (status != CONEY_OK)
        cny_log(CONEY_LOG_ERROR, "%s%s", coney_last_error(),
                status == CONEY_E_STATE ? "; the connection factory is not freed" : "");
    if (status != CONEY_E_STATE) /* called on a thread where it must not be: the factory stays */
        cny_factory_unref(factory);
}
