/* SPDX-License-Identifier: MIT */
/* One physical connection as its users see it: asked how it is doing, ended, closed and waited for. Any thread. What
 * happens on the wire is in io.c. */
#include "rabbit/connection/io.h"

#include <string.h>

void cny_connection_forget_password(cny_connection *connection)
{
    if (connection->password)
        explicit_bzero(connection->password, strlen(connection->password));
    cny_free(connection->password);
    connection->password = NULL;
}

static void free_connection(cny_connection *connection)
{
    cny_connection_forget_password(connection);
    cny_free(connection->user);
    cny_free(connection->hosts);
    cny_error_unref(connection->closing.abort);
    cny_wire_free(connection->wire);
    cny_error_unref(connection->reason);
    cny_outbox_free(&connection->outbox);
    cny_free(connection->channels);
    cny_free(connection->closes);
    connection->owner->unref(connection->owner_self);
    pthread_cond_destroy(&connection->changed);
    pthread_mutex_destroy(&connection->lock);
    cny_free(connection);
}

cny_connection *cny_connection_ref(cny_connection *connection)
{
    atomic_fetch_add_explicit(&connection->refs, 1, memory_order_relaxed);
    return connection;
}

void cny_connection_unref(cny_connection *connection)
{
    if (connection && atomic_fetch_sub_explicit(&connection->refs, 1, memory_order_acq_rel) == 1)
        free_connection(connection);
}

void cny_connection_set_state(cny_connection *connection, cny_connection_state state)
{
    connection->state = state;
    connection->has_news = true;
    pthread_cond_broadcast(&connection->changed);
}

cny_connection_state cny_connection_get_state(cny_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    cny_connection_state state = connection->state;
    pthread_mutex_unlock(&connection->lock);
    return state;
}

bool cny_connection_is_dead(cny_connection *connection)
{
    return cny_connection_get_state(connection) == CNY_DEAD;
}

bool cny_connection_is_open(cny_connection *connection)
{
    return cny_connection_get_state(connection) == CNY_OPEN;
}

bool cny_connection_is_over_request(cny_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    bool is_over_request = connection->is_over_request;
    pthread_mutex_unlock(&connection->lock);
    return is_over_request;
}

coney_connection_role cny_connection_role(const cny_connection *connection)
{
    return connection->role;
}

int cny_connection_broker_version(const cny_connection *connection)
{
    return connection->limits.broker_version;
}

const char *cny_connection_user(const cny_connection *connection)
{
    return connection->user;
}

size_t cny_connection_host(cny_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    size_t host = connection->host;
    pthread_mutex_unlock(&connection->lock);
    return host;
}

cny_error *cny_connection_reason(cny_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    cny_error *reason = cny_error_ref(connection->reason);
    pthread_mutex_unlock(&connection->lock);
    return reason;
}

void cny_connection_blocked(cny_connection *connection, char reason[256])
{
    pthread_mutex_lock(&connection->lock);
    memcpy(reason, connection->blocked, sizeof connection->blocked);
    pthread_mutex_unlock(&connection->lock);
}

void cny_connection_abort(cny_connection *connection)
{
    cny_error *reason = cny_error_capture();
    pthread_mutex_lock(&connection->lock);
    if (!connection->closing.abort)
        connection->closing.abort = cny_error_ref(reason);
    pthread_mutex_unlock(&connection->lock);
    cny_error_unref(reason);
    cny_connection_wake(connection);
}

void cny_connection_log_later(cny_connection *connection, const char *sentence)
{
    atomic_store(&connection->deferred_log, sentence);
    atomic_store(&connection->has_news, true);
}

const char *cny_connection_take_deferred_log(cny_connection *connection)
{
    return atomic_exchange(&connection->deferred_log, NULL);
}

void cny_connection_begin_close(cny_connection *connection, int64_t deadline)
{
    cny_wire_interrupt(connection->wire);
    pthread_mutex_lock(&connection->lock);
    connection->closing.is_wanted = true;
    connection->closing.deadline = deadline;
    pthread_mutex_unlock(&connection->lock);
    cny_connection_wake(connection);
}

bool cny_connection_wait_ended(cny_connection *connection, int64_t deadline)
{
    pthread_mutex_lock(&connection->lock);
    bool in_time = true;
    while (!connection->ended && in_time)
        in_time = cny_cond_wait(&connection->changed, &connection->lock, deadline);
    bool ended = connection->ended;
    pthread_mutex_unlock(&connection->lock);
    return ended;
}
