/* SPDX-License-Identifier: MIT */
/* The connection factory: reads its options, and keeps one connection for each role, made when
 * first asked for and made anew when asked for after it died. */
#include "rabbit/connection/internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define DEFAULT_CONNECTION_TIMEOUT_MS 10000
#define DEFAULT_CLOSE_TIMEOUT_MS 5000
#define DEFAULT_HEARTBEAT_S 30
#define DEFAULT_FRAME_MAX 131072
#define SMALLEST_FRAME_MAX 4096
#define DEFAULT_MAX_MESSAGE_BYTES ((size_t)64 * 1024 * 1024)
#define DEFAULT_MAX_OUTBOUND_BYTES ((size_t)16 * 1024 * 1024)

#define GRACE_MS 50 /* for a thread to end after the deadline for closing */

struct coney_connection_factory {
    /* fixed after new */
    atomic_uint refs;
    cny_connection_config config;
    cny_arena arena; /* holds the texts of config */
    cny_events *events;
    /* under lock */
    pthread_mutex_t lock;
    cny_connection *connections[CNY_ROLE_COUNT];
    bool closed;
};

/* ---- options ---- */

static coney_status check_options(const coney_connection_factory_options *options)
{
    if (options->connection_timeout_ms < 0 || options->close_timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "connection_timeout_ms %d or close_timeout_ms %d is below 0",
                        options->connection_timeout_ms, options->close_timeout_ms);
    if (options->heartbeat_s > 3600)
        return cny_fail(CONEY_E_INVALID, "heartbeat_s is %d; 3,600 is the most", options->heartbeat_s);
    bool frame_max_fits = options->frame_max >= SMALLEST_FRAME_MAX && options->frame_max <= DEFAULT_FRAME_MAX;
    if (options->frame_max != 0 && !frame_max_fits)
        return cny_fail(CONEY_E_INVALID, "frame_max is %u; 4,096 to 131,072 are possible", options->frame_max);
    return cny_check_name("connection_name", options->connection_name);
}

/* "program@host#pid" */
static void default_name(char *name, size_t size)
{
    char host[65];
    if (gethostname(host, sizeof host) != 0)
        memcpy(host, "localhost", sizeof "localhost");
    host[sizeof host - 1] = '\0';
    snprintf(name, size, "%.64s@%s#%ld", program_invocation_short_name, host, (long)getpid());
}

/* As Spring does, the publishing connection's name has a suffix. */
static coney_status set_names(coney_connection_factory *factory, const char *given)
{
    char name[160], publisher[CNY_MAX_SHORT_STRING + 16];
    if (!given) {
        default_name(name, sizeof name);
        given = name;
    }
    snprintf(publisher, sizeof publisher, "%s.publisher", given);
    bool copied = cny_arena_strdup(&factory->arena, &factory->config.names[CNY_CONSUMING], given) &&
                  cny_arena_strdup(&factory->arena, &factory->config.names[CNY_PUBLISHING], publisher);
    return copied ? CONEY_OK : cny_fail_memory();
}

static int first_set(int a, int b, int fallback, int unset)
{
    if (a != unset)
        return a;
    return b ? b : fallback;
}

static coney_status configure(coney_connection_factory *factory, const char *uri_text,
                              const coney_connection_factory_options *options)
{
    coney_status status = check_options(options);
    cny_connection_config *config = &factory->config;
    cny_uri *uri = &config->uri;
    if (status == CONEY_OK)
        status = cny_uri_parse(uri, &factory->arena, uri_text);
    if (status != CONEY_OK)
        return status;
    uri->connection_timeout_ms =
        first_set(uri->connection_timeout_ms, options->connection_timeout_ms, DEFAULT_CONNECTION_TIMEOUT_MS, -1);
    uri->frame_max = first_set(uri->frame_max, (int)options->frame_max, DEFAULT_FRAME_MAX, -1);
    uri->heartbeat_s = first_set(uri->heartbeat_s, options->heartbeat_s, DEFAULT_HEARTBEAT_S, -1);
    if (uri->heartbeat_s < 0)
        uri->heartbeat_s = 0;
    config->max_message_bytes = options->max_message_bytes ? options->max_message_bytes : DEFAULT_MAX_MESSAGE_BYTES;
    config->max_outbound_bytes = options->max_outbound_bytes ? options->max_outbound_bytes : DEFAULT_MAX_OUTBOUND_BYTES;
    config->close_timeout_ms = options->close_timeout_ms ? options->close_timeout_ms : DEFAULT_CLOSE_TIMEOUT_MS;
    return set_names(factory, options->connection_name);
}

/* ---- life ---- */

static void free_factory(coney_connection_factory *factory)
{
    cny_events_unref(factory->events);
    cny_arena_free(&factory->arena);
    pthread_mutex_destroy(&factory->lock);
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
    static const coney_connection_factory_options defaults;
    if (!factory)
        return cny_fail(CONEY_E_INVALID, "factory is NULL");
    coney_connection_factory *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    pthread_mutex_init(&made->lock, NULL);
    coney_status status = configure(made, uri, options ? options : &defaults);
    if (status == CONEY_OK)
        status = cny_events_start(&made->events);
    if (status != CONEY_OK) {
        free_factory(made);
        return status;
    }
    *factory = made;
    return CONEY_OK;
}

void coney_connection_factory_free(coney_connection_factory *factory)
{
    if (!factory)
        return;
    int64_t deadline = cny_deadline(factory->config.close_timeout_ms);
    cny_connection *connections[CNY_ROLE_COUNT];
    pthread_mutex_lock(&factory->lock);
    factory->closed = true;
    memcpy(connections, factory->connections, sizeof connections);
    memset(factory->connections, 0, sizeof factory->connections);
    pthread_mutex_unlock(&factory->lock);
    for (int i = 0; i < CNY_ROLE_COUNT; i++) {
        if (connections[i])
            cny_connection_begin_close(connections[i], deadline);
    }
    for (int i = 0; i < CNY_ROLE_COUNT; i++) {
        if (connections[i] && !cny_connection_wait_ended(connections[i], deadline + GRACE_MS))
            cny_log(CONEY_LOG_ERROR,
                    "the factory is freed; a connection's thread, resolving a name perhaps, ends later");
        cny_connection_unref(connections[i]);
    }
    if (!cny_events_stop(factory->events, deadline + GRACE_MS))
        cny_log(CONEY_LOG_ERROR, "the factory is freed; a send callback has not returned yet");
    cny_factory_unref(factory);
}

bool cny_factory_on_events_thread(coney_connection_factory *factory)
{
    return cny_events_is_current(factory->events);
}

/* ---- connections ---- */

/* The role's connection, open. A dead one is replaced by a new attempt; this is the place where
 * recovery will keep one going. */
static coney_status get_connection(cny_connection **connection, coney_connection_factory *factory, cny_role role,
                                   int64_t deadline)
{
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&factory->lock);
    cny_connection **slot = &factory->connections[role];
    if (*slot && cny_connection_is_dead(*slot)) {
        cny_connection_unref(*slot);
        *slot = NULL;
    }
    if (factory->closed)
        status = cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
    else if (!*slot)
        status = cny_connection_new(slot, factory, &factory->config, factory->events, role);
    cny_connection *found = status == CONEY_OK ? cny_connection_ref(*slot) : NULL;
    pthread_mutex_unlock(&factory->lock);
    if (status == CONEY_OK)
        status = cny_connection_wait_open(found, deadline);
    if (status != CONEY_OK) {
        cny_connection_unref(found);
        return status;
    }
    *connection = found;
    return CONEY_OK;
}

coney_status coney_connection_factory_connect(coney_connection_factory *factory)
{
    if (!factory)
        return cny_fail(CONEY_E_INVALID, "factory is NULL");
    /* A little more than all hosts may take, so that the reason is theirs and not this deadline. */
    const cny_uri *uri = &factory->config.uri;
    int64_t deadline = cny_now_ms() + (int64_t)uri->connection_timeout_ms * (int64_t)uri->host_count + 1000;
    coney_status status = CONEY_OK;
    for (int role = 0; status == CONEY_OK && role < CNY_ROLE_COUNT; role++) {
        cny_connection *connection;
        status = get_connection(&connection, factory, (cny_role)role, deadline);
        if (status == CONEY_OK)
            cny_connection_unref(connection);
    }
    return status;
}

coney_status cny_channel_open(cny_channel **channel, coney_connection_factory *factory, cny_role role, int64_t deadline)
{
    cny_connection *connection;
    coney_status status = get_connection(&connection, factory, role, deadline);
    if (status != CONEY_OK)
        return status;
    status = cny_channel_open_on(channel, connection, deadline);
    cny_connection_unref(connection);
    return status;
}
