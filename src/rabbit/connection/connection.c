/* SPDX-License-Identifier: MIT */
/* One physical connection as its users see it: made, waited for, closed. What happens on the
 * wire is in io.c. */
#include "rabbit/connection/internal.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* rabbitmq-c 0.11 decodes nested tables by recursion: 100 kB of nested arrays need some 3 MiB. */
#define IO_STACK_BYTES ((size_t)8 * 1024 * 1024)

static void free_connection(cny_connection *connection)
{
    if (connection->wake_fd >= 0)
        close(connection->wake_fd);
    cny_wire_free(connection->wire);
    cny_error_unref(connection->reason);
    cny_buffer_free(&connection->outgoing);
    cny_buffer_free(&connection->writing);
    cny_free(connection->channels);
    cny_factory_unref(connection->factory);
    pthread_cond_destroy(&connection->changed);
    pthread_mutex_destroy(&connection->lock);
    cny_free(connection);
}

coney_status cny_connection_new(cny_connection **connection, coney_connection_factory *factory,
                                const cny_connection_config *config, cny_events *events, cny_role role)
{
    cny_connection *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 2); /* the caller's and the I/O thread's */
    made->factory = cny_factory_ref(factory);
    made->config = config;
    made->events = events;
    made->role = role;
    pthread_mutex_init(&made->lock, NULL);
    cny_cond_init(&made->changed);
    made->wire = cny_wire_new();
    made->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    pthread_t io = 0;
    coney_status status = CONEY_OK;
    if (!made->wire)
        status = cny_fail_memory();
    else if (made->wake_fd < 0)
        status = cny_fail(CONEY_E_SYSTEM, "cannot make an eventfd: %s", cny_errno_text(errno));
    else
        status = cny_thread_start(&io, "coney-io", IO_STACK_BYTES, cny_connection_io, made);
    if (status != CONEY_OK) {
        free_connection(made);
        return status;
    }
    pthread_detach(io); /* cny_connection_wait_ended() waits for it, no longer than a deadline */
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

coney_status cny_connection_wait_open(cny_connection *connection, int64_t deadline)
{
    pthread_mutex_lock(&connection->lock);
    bool in_time = true;
    while (connection->state == CNY_CONNECTING && in_time)
        in_time = cny_cond_wait(&connection->changed, &connection->lock, deadline);
    coney_status status = CONEY_OK;
    if (connection->state == CNY_CONNECTING)
        status = cny_fail(CONEY_E_TIMEOUT, "not connected within the deadline; still connecting to %s:%d",
                          connection->config->uri.hosts[0].name, connection->config->uri.hosts[0].port);
    else if (connection->state == CNY_DEAD)
        status = cny_error_raise(connection->reason);
    else if (connection->state == CNY_CLOSING)
        status = cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
    pthread_mutex_unlock(&connection->lock);
    return status;
}

bool cny_connection_is_dead(cny_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    bool dead = connection->state == CNY_DEAD;
    pthread_mutex_unlock(&connection->lock);
    return dead;
}

static void wake_io(cny_connection *connection)
{
    const uint64_t one = 1;
    ssize_t done = write(connection->wake_fd, &one, sizeof one);
    (void)done; /* a full eventfd is a pending wake-up */
}

void cny_connection_appended(cny_connection *connection, size_t bytes)
{
    connection->unwritten += bytes;
    if (!connection->io_asleep)
        return;
    connection->io_asleep = false;
    wake_io(connection);
}

void cny_connection_begin_close(cny_connection *connection, int64_t deadline)
{
    cny_wire_interrupt(connection->wire);
    pthread_mutex_lock(&connection->lock);
    connection->close_wanted = true;
    connection->close_deadline = deadline;
    pthread_mutex_unlock(&connection->lock);
    wake_io(connection);
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
