/* SPDX-License-Identifier: MIT */
/* The isolated connection of a factory. The recovery thread makes the connection, because no other thread runs the
 * program's credentials provider. The thread that wants the connection waits until it is open, uses it and closes it.
 * Closing the factory closes it as well. It must not know what is tried on the connection. */
#include "rabbit/factory/connecting.h"
#include "rabbit/factory/parts.h"

#define CLOSE_MS 1000

/* Under lock: nobody has the connection any more. */
static void end(coney_connection_factory *factory)
{
    cny_isolation *isolation = &factory->isolation;
    cny_connection_unref(isolation->connection);
    cny_error_unref(isolation->failure);
    *isolation = (cny_isolation){0};
    pthread_cond_broadcast(&factory->changed);
}

/* ---- making it: the recovery thread, with the factory's lock held ---- */

/* To the host of the consuming connection, because another node might not refuse the request. */
static coney_status connect(coney_connection_factory *factory, const coney_credentials *credentials)
{
    const cny_slot *consuming = &factory->slots[CONEY_CONSUMING];
    const cny_connection_parts parts = {
        .role = CONEY_CONSUMING,
        .is_isolated = true,
        .first_host = consuming->connection ? cny_connection_host(consuming->connection) : consuming->first_host,
        .lost_host = CNY_NO_HOST,
    };
    return cny_factory_begin_to_connect(factory, &factory->isolation.connection, parts, credentials);
}

static coney_status make(coney_connection_factory *factory)
{
    cny_isolation *isolation = &factory->isolation;
    coney_credentials credentials = {0};
    coney_status status = cny_factory_ask_for_credentials(factory, &credentials);
    if (status != CONEY_OK || isolation->state == CNY_ISOLATION_ABANDONED || cny_factory_is_closed(factory))
        return status;
    return connect(factory, &credentials);
}

void cny_isolation_make(coney_connection_factory *factory)
{
    cny_isolation *isolation = &factory->isolation;
    if (isolation->state != CNY_ISOLATION_WANTED)
        return;
    isolation->state = CNY_ISOLATION_BEING_MADE;
    if (make(factory) != CONEY_OK)
        isolation->failure = cny_error_capture();
    if (isolation->state == CNY_ISOLATION_ABANDONED)
        end(factory);
    else
        isolation->state = CNY_ISOLATION_TAKEN;
    pthread_cond_broadcast(&factory->changed);
}

/* ---- using it ---- */

/* Under lock. */
static coney_status take_turn(coney_connection_factory *factory, int64_t deadline)
{
    cny_isolation *isolation = &factory->isolation;
    bool in_time = true;
    while (isolation->state != CNY_ISOLATION_FREE && !cny_factory_is_closed(factory) && in_time)
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
    if (cny_factory_is_closed(factory))
        return cny_factory_check_closed(factory);
    if (isolation->state != CNY_ISOLATION_FREE)
        return cny_fail(CONEY_E_TIMEOUT, "the isolated connection was in use until the deadline");
    coney_status status = cny_factory_start_recovery(factory);
    if (status != CONEY_OK)
        return status;
    isolation->state = CNY_ISOLATION_WANTED;
    cny_factory_wake_locked(factory);
    return CONEY_OK;
}

/* Under lock: CONEY_OK, or why there will be no open connection. */
static coney_status check(const coney_connection_factory *factory)
{
    const cny_isolation *isolation = &factory->isolation;
    if (cny_factory_is_closed(factory))
        return cny_factory_check_closed(factory);
    if (isolation->failure)
        return cny_error_raise(isolation->failure);
    if (!isolation->connection || !cny_connection_is_dead(isolation->connection))
        return CONEY_OK;
    cny_error *reason = cny_connection_reason(isolation->connection);
    coney_status status = cny_error_raise(reason);
    cny_error_unref(reason);
    return status;
}

/* Under lock. */
static coney_status wait_until_open(coney_connection_factory *factory, int64_t deadline)
{
    const cny_isolation *isolation = &factory->isolation;
    bool in_time = true;
    coney_status status;
    while ((status = check(factory)) == CONEY_OK) {
        if (isolation->connection && cny_connection_is_open(isolation->connection))
            return CONEY_OK;
        if (!in_time)
            return cny_fail(CONEY_E_TIMEOUT, "the isolated connection was not open within the deadline");
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
    }
    return status;
}

/* Under lock. */
static void give_up(coney_connection_factory *factory)
{
    cny_isolation *isolation = &factory->isolation;
    if (isolation->connection)
        cny_connection_begin_close(isolation->connection, cny_now_ms());
    if (isolation->state == CNY_ISOLATION_BEING_MADE)
        isolation->state = CNY_ISOLATION_ABANDONED;
    else
        end(factory);
}

coney_status cny_isolated_connection(cny_connection **connection, coney_connection_factory *factory, int64_t deadline)
{
    *connection = NULL;
    pthread_mutex_lock(&factory->lock);
    coney_status status = take_turn(factory, deadline);
    if (status == CONEY_OK) {
        status = wait_until_open(factory, deadline);
        if (status == CONEY_OK)
            *connection = cny_connection_ref(factory->isolation.connection);
        else
            give_up(factory);
    }
    pthread_mutex_unlock(&factory->lock);
    return status == CONEY_OK ? status : cny_fail_in("open an isolated connection");
}

void cny_isolated_close(coney_connection_factory *factory, cny_connection *connection)
{
    if (!connection)
        return;
    int64_t deadline = cny_deadline(CLOSE_MS);
    cny_connection_begin_close(connection, deadline);
    cny_connection_wait_ended(connection, deadline);
    pthread_mutex_lock(&factory->lock);
    end(factory);
    pthread_mutex_unlock(&factory->lock);
    cny_connection_unref(connection);
}
