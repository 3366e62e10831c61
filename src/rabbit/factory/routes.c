/* SPDX-License-Identifier: MIT */
/* Which addresses of synchronous sends have strikes, and how a message for such an address is sent on the isolated
 * connection. Any thread; with a lock of its own. It must not know who sends.
 *
 * An address can come from a request, so it can be forged: a forged direct reply-to address makes the broker's channel
 * crash. Whoever forges one address can forge many. So after two such crashes the first message for each direct
 * reply-to address that is not known to be good goes alone. */
#include "rabbit/factory/parts.h"

#include <string.h>

/* Two addresses with the same number share their strikes, which costs a needless isolated connection at worst. */
static uint32_t number_of(const cny_publish *publish)
{
    return cny_hash(publish->exchange, strlen(publish->exchange)) * 31 +
           cny_hash(publish->routing_key, strlen(publish->routing_key));
}

static bool is_direct(const cny_publish *publish)
{
    static const char prefix[] = "amq.rabbitmq.reply-to.";
    return !*publish->exchange && strncmp(publish->routing_key, prefix, sizeof prefix - 1) == 0;
}

/* Under lock. */
static cny_route *find(cny_routes *routes, uint32_t number)
{
    for (size_t i = 0; i < CNY_MAX_ROUTES; i++) {
        if (routes->all[i].is_known && routes->all[i].number == number)
            return &routes->all[i];
    }
    return NULL;
}

/* Under lock. Forgets the oldest address. */
static cny_route *add(cny_routes *routes, uint32_t number)
{
    cny_route *route = &routes->all[routes->next++ % CNY_MAX_ROUTES];
    *route = (cny_route){.is_known = true, .number = number};
    return route;
}

bool cny_publish_must_isolate(coney_connection_factory *factory, const cny_publish *publish)
{
    cny_routes *routes = &factory->routes;
    if (!atomic_load(&routes->in_use))
        return false;
    pthread_mutex_lock(&routes->lock);
    const cny_route *route = find(routes, number_of(publish));
    bool is_good = route && route->strikes.count == 0;
    bool must_isolate = (route && cny_must_isolate(&route->strikes)) ||
                        (!is_good && is_direct(publish) && cny_must_isolate(&routes->direct));
    pthread_mutex_unlock(&routes->lock);
    return must_isolate;
}

void cny_publish_note_outcome(coney_connection_factory *factory, const cny_publish *publish, coney_status status)
{
    cny_routes *routes = &factory->routes;
    bool is_suspicion = status != CONEY_OK && cny_last_is_suspicion();
    if (!is_suspicion && (status != CONEY_OK || !atomic_load(&routes->in_use)))
        return;
    pthread_mutex_lock(&routes->lock);
    uint32_t number = number_of(publish);
    cny_route *route = find(routes, number);
    if (!route && (is_suspicion || is_direct(publish)))
        route = add(routes, number);
    if (is_suspicion) {
        cny_strike(&route->strikes, cny_now_ms());
        if (is_direct(publish))
            cny_strike(&routes->direct, cny_now_ms());
    } else if (route) {
        cny_strikes_clear(&route->strikes);
    }
    pthread_mutex_unlock(&routes->lock);
    if (is_suspicion)
        atomic_store(&routes->in_use, true);
}

static coney_status publish_on(cny_connection *connection, const cny_publish *publish, int64_t deadline)
{
    const cny_confirm_options confirms = {.max_unconfirmed = 1, .timeout_ms = -1};
    cny_channel *channel;
    coney_status status = cny_channel_open_on(&channel, connection, false, deadline);
    if (status != CONEY_OK)
        return status;
    status = cny_channel_confirm_select(channel, &confirms, deadline);
    if (status == CONEY_OK)
        status = cny_channel_publish_and_wait(channel, publish, deadline);
    cny_channel_close(channel);
    cny_channel_unref(channel);
    return status;
}

/* There was no connection until the deadline, so the broker cannot have the message. */
static coney_status fail_to_connect(void)
{
    cny_error *error = cny_error_capture();
    coney_status status = cny_fail(CONEY_E_CONNECT, "%s", cny_error_view(error)->text);
    cny_error_unref(error);
    return status;
}

coney_status cny_publish_isolated(coney_connection_factory *factory, const cny_publish *publish, int64_t deadline)
{
    cny_connection *connection;
    coney_status status = cny_factory_check_draining(factory);
    if (status == CONEY_OK)
        status = cny_factory_check_blocked(factory);
    if (status == CONEY_OK)
        status = cny_isolated_connection(&connection, factory, deadline);
    if (status != CONEY_OK)
        return status == CONEY_E_TIMEOUT ? fail_to_connect() : status;
    status = publish_on(connection, publish, deadline);
    cny_error *outcome = status == CONEY_OK ? NULL : cny_error_capture();
    cny_publish_note_outcome(factory, publish, status);
    cny_isolated_close(factory, connection);
    cny_error_raise(outcome);
    cny_error_unref(outcome);
    return status;
}
