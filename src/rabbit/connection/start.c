/* SPDX-License-Identifier: MIT */
/* How a connection is made: the order in which it tries its hosts, and its I/O thread, which connects at once. Any
 * thread. Knows nothing of what happens on the wire. */
#include "rabbit/connection/io.h"

/* rabbitmq-c 0.11 decodes nested tables by recursion: 100 kB of nested arrays need some 3 MiB. */
#define IO_STACK_BYTES ((size_t)8 * 1024 * 1024)

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
    const cny_thread io = {.name = "coney-io",
                           .stack_bytes = IO_STACK_BYTES,
                           .run = cny_connection_io,
                           .argument = cny_connection_ref(connection)};
    coney_status status = cny_threads_start(parts->threads, parts->self, &io);
    if (status != CONEY_OK)
        cny_connection_unref(connection);
    return status;
}

coney_status cny_connection_new(cny_connection **connection, const cny_connection_parts *parts,
                                const coney_credentials *credentials)
{
    cny_connection *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
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
        cny_connection_unref(made);
        return status;
    }
    *connection = made;
    return CONEY_OK;
}
