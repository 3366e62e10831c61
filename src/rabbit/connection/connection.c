/* SPDX-License-Identifier: MIT */
/* One physical connection as its users see it: made, waited for, closed. What happens on the
 * wire is in io.c. */
#include "rabbit/connection/internal.h"

#include <string.h>

/* rabbitmq-c 0.11 decodes nested tables by recursion: 100 kB of nested arrays need some 3 MiB. */
#define IO_STACK_BYTES ((size_t)8 * 1024 * 1024)

void cny_connection_forget_password(cny_connection *connection)
{
    if (connection->password)
        explicit_bzero(connection->password, strlen(connection->password));
    cny_free(connection->password);
    connection->password = NULL;
}

static void wipe(cny_buffer *buffer)
{
    if (buffer->data)
        explicit_bzero(buffer->data, buffer->capacity);
    cny_buffer_free(buffer);
}

void cny_connection_forget_writing(cny_connection *connection)
{
    if (connection->secret_in_writing)
        wipe(&connection->writing.bytes);
    cny_outbound_free(&connection->writing);
}

static void free_connection(cny_connection *connection)
{
    cny_connection_forget_password(connection);
    cny_free(connection->user);
    cny_free(connection->hosts);
    cny_error_unref(connection->abort);
    cny_wire_free(connection->wire);
    cny_error_unref(connection->reason);
    cny_outbound_free(&connection->outgoing);
    wipe(&connection->secret);
    cny_connection_forget_writing(connection);
    cny_free(connection->channels);
    cny_free(connection->closes);
    connection->owner->unref(connection->owner_self);
    pthread_cond_destroy(&connection->changed);
    pthread_mutex_destroy(&connection->lock);
    cny_free(connection);
}

static void move_to_the_end(size_t *hosts, size_t count, size_t host)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (hosts[i] != host)
            hosts[kept++] = hosts[i];
    }
    if (kept < count)
        hosts[kept] = host;
}

/* The order in which this attempt goes through the hosts. */
static size_t *order_hosts(const cny_connection_parts *parts)
{
    size_t count = parts->config->uri.host_count;
    size_t *hosts = cny_alloc(count * sizeof *hosts);
    for (size_t i = 0; hosts && i < count; i++)
        hosts[i] = (parts->first_host + i) % count;
    bool shuffles = parts->config->host_order == CONEY_HOSTS_SHUFFLE && !parts->is_isolated;
    for (size_t i = count; hosts && shuffles && i > 1; i--) {
        size_t other = cny_random((uint32_t)i);
        size_t host = hosts[i - 1];
        hosts[i - 1] = hosts[other];
        hosts[other] = host;
    }
    if (hosts)
        move_to_the_end(hosts, count, parts->lost_host);
    return hosts;
}

static bool fill(cny_connection *made, const cny_connection_parts *parts, const coney_credentials *credentials)
{
    const cny_uri *uri = &made->config->uri;
    made->hosts = order_hosts(parts);
    made->user = cny_strdup(credentials->user ? credentials->user : uri->user);
    made->password = cny_strdup(credentials->password ? credentials->password : uri->password);
    made->wire = cny_wire_new();
    return made->hosts && made->user && made->password && made->wire;
}

static coney_status start_io(cny_connection *connection, const cny_connection_parts *parts)
{
    const cny_thread io = {
        .name = "coney-io", .stack_bytes = IO_STACK_BYTES, .run = cny_connection_io, .argument = connection};
    return cny_threads_start(parts->threads, parts->self, &io);
}

coney_status cny_connection_new(cny_connection **connection, const cny_connection_parts *parts,
                                const coney_credentials *credentials)
{
    cny_connection *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 2); /* the caller's and the I/O thread's */
    made->owner = parts->owner;
    made->owner_self = parts->self;
    made->owner->ref(made->owner_self);
    made->config = parts->config;
    made->events = parts->events;
    made->stale_acknowledgements = parts->stale_acknowledgements;
    cny_events_enter(made->events);
    made->role = parts->role;
    made->is_isolated = parts->is_isolated;
    made->due_at = INT64_MAX;
    cny_busy_mutex_init(&made->lock);
    cny_cond_init(&made->changed);
    coney_status status = CONEY_OK;
    if (!fill(made, parts, credentials))
        status = cny_fail_memory();
    else
        status = start_io(made, parts);
    if (status != CONEY_OK) {
        cny_events_leave(made->events);
        free_connection(made);
        return status;
    }
    *connection = made;
    return CONEY_OK;
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
    connection->state_changed = true;
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

void cny_connection_wake(cny_connection *connection)
{
    cny_wire_wake(connection->wire);
}

void cny_connection_appended(cny_connection *connection, size_t bytes)
{
    connection->unwritten += bytes;
    if (!connection->io_asleep)
        return;
    connection->io_asleep = false;
    cny_connection_wake(connection);
}

#define URGENT_BYTES (CNY_LARGE_BODY - 1) /* a longer write would keep others from the lock */

/* While the I/O thread is asleep it has nothing to write, and it takes the lock before it touches the
 * socket again: so the socket is ours, and what was just appended, too short for a body by reference, is all there
 * is. What the socket does not take, and errors, are left to that thread. */
static void write_in_its_place(cny_connection *connection)
{
    size_t written = 0;
    cny_wire_write(connection->wire, connection->outgoing.bytes.data, connection->outgoing.bytes.size, &written);
    connection->last_ack.channel = NULL;
    connection->unwritten -= written;
    connection->outgoing.bytes.size -= written;
    memmove(connection->outgoing.bytes.data, connection->outgoing.bytes.data + written,
            connection->outgoing.bytes.size);
}

void cny_connection_appended_urgently(cny_connection *connection, size_t bytes)
{
    bool alone = connection->waiting_for_answer == 0; /* else the I/O thread writes for several at once */
    bool write_it = connection->io_asleep && alone && !connection->reading_put_off && bytes <= URGENT_BYTES &&
                    cny_wire_takes_other_writers(connection->wire);
    if (!write_it) {
        cny_connection_appended(connection, bytes);
        return;
    }
    connection->unwritten += bytes;
    write_in_its_place(connection);
    if (connection->outgoing.bytes.size > 0)
        cny_connection_appended(connection, 0);
}

void cny_connection_abort(cny_connection *connection)
{
    cny_error *reason = cny_error_capture();
    pthread_mutex_lock(&connection->lock);
    if (!connection->abort)
        connection->abort = cny_error_ref(reason);
    pthread_mutex_unlock(&connection->lock);
    cny_error_unref(reason);
    cny_connection_wake(connection);
}

/* In a buffer of its own, with room for all, so that no copy is left where a buffer grew. */
coney_status cny_connection_update_secret(cny_connection *connection, const char *secret)
{
    enum { ROOM_FOR_METHOD = 128 };
    size_t size = strlen(secret) + ROOM_FOR_METHOD;
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&connection->lock);
    if (connection->state != CNY_OPEN || connection->secret.size > 0) {
        status = cny_fail(CONEY_E_STATE, "the connection is not open, or the last secret is not written yet");
    } else if (size > connection->limits.frame_max) {
        status = cny_fail(CONEY_E_INVALID, "the secret does not fit a frame of %u bytes", connection->limits.frame_max);
    } else {
        wipe(&connection->secret);
        status = cny_buffer_reserve(&connection->secret, size) ? CONEY_OK : cny_fail_memory();
        if (status == CONEY_OK)
            status = cny_encode_update_secret(&connection->secret, secret);
        cny_connection_appended(connection, connection->secret.size);
    }
    pthread_mutex_unlock(&connection->lock);
    return status;
}

void cny_connection_remark(cny_connection *connection, const char *remark)
{
    atomic_store(&connection->remark, remark);
    atomic_store(&connection->has_news, true);
}

const char *cny_connection_take_remark(cny_connection *connection)
{
    return atomic_exchange(&connection->remark, NULL);
}

void cny_connection_begin_close(cny_connection *connection, int64_t deadline)
{
    cny_wire_interrupt(connection->wire);
    pthread_mutex_lock(&connection->lock);
    connection->close_wanted = true;
    connection->close_deadline = deadline;
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
