/* SPDX-License-Identifier: MIT */
/* Waits until a connection of the factory is open, and opens channels on it. On threads of the program and of members;
 * the recovery thread makes the connections meanwhile. It must not know how. */
#include "rabbit/factory/parts.h"

#define POLL_MS 100
#define MOST_ADDRESSES 8 /* of a host, for which connect() waits */

/* ---- connections ---- */

/* Under lock. */
static coney_status fail_not_open(const cny_slot *slot, bool at_once)
{
    const char *when = at_once ? "not connected" : "not connected within the deadline";
    int code = slot->last_error ? cny_error_view(slot->last_error)->broker_code : 0;
    coney_connection_info info;
    cny_slot_describe(slot, &info);
    if (slot->state != CNY_SLOT_OPEN)
        return cny_fail_code(info.blocked ? CONEY_E_BLOCKED : CONEY_E_CONNECT, code, "%s: %s", when, info.text);
    cny_error *loss = cny_connection_reason(slot->connection); /* the recovery thread has not seen it yet */
    code = cny_error_view(loss)->broker_code;
    coney_status status =
        cny_fail_code(CONEY_E_CONNECT, code, "%s: it has just been lost: %s", when, cny_error_view(loss)->text);
    cny_error_unref(loss);
    return status;
}

/* Under lock. */
static coney_status fail_given_up(const cny_slot *slot)
{
    const coney_error *reason = cny_error_view(slot->last_error);
    coney_connection_info info;
    cny_slot_describe(slot, &info);
    return cny_fail_code(reason->status, reason->broker_code, "%s", info.text);
}

/* Under lock: waits until the slot can be used. at_once: waits for nothing but the end of the very first attempt. */
static coney_status wait_open(cny_slot *slot, bool at_once, int64_t deadline)
{
    coney_connection_factory *factory = slot->factory;
    coney_status status = cny_factory_check_closed(factory);
    if (status == CONEY_OK)
        status = cny_slot_want(slot);
    if (status != CONEY_OK)
        return status;
    bool in_time = true;
    while (!cny_factory_is_closed(factory) && slot->state != CNY_SLOT_FAILED) {
        if (slot->state == CNY_SLOT_OPEN && !cny_connection_is_dead(slot->connection))
            return CONEY_OK;
        if (!in_time || (at_once && (slot->times_opened > 0 || slot->failures > 0 || slot->blocked_since)))
            break;
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
    }
    if (cny_factory_is_closed(factory))
        return cny_factory_check_closed(factory);
    if (slot->state == CNY_SLOT_FAILED)
        return fail_given_up(slot);
    return fail_not_open(slot, at_once && in_time);
}

coney_status cny_factory_wait_open(coney_connection_factory *factory, coney_connection_role role, int64_t deadline)
{
    pthread_mutex_lock(&factory->lock);
    coney_status status = wait_open(&factory->slots[role], false, deadline);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

coney_status cny_factory_want(coney_connection_factory *factory, coney_connection_role role)
{
    cny_slot *slot = &factory->slots[role];
    pthread_mutex_lock(&factory->lock);
    coney_status status = cny_factory_check_closed(factory);
    if (status == CONEY_OK)
        status = slot->state == CNY_SLOT_FAILED ? fail_given_up(slot) : cny_slot_want(slot);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

coney_status cny_factory_ensure_open(coney_connection_factory *factory, coney_connection_role role, int64_t deadline)
{
    pthread_mutex_lock(&factory->lock);
    coney_status status = wait_open(&factory->slots[role], true, deadline);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

coney_status cny_factory_check_given_up(coney_connection_factory *factory, coney_connection_role role)
{
    const cny_slot *slot = &factory->slots[role];
    pthread_mutex_lock(&factory->lock);
    coney_status status = slot->state == CNY_SLOT_FAILED ? fail_given_up(slot) : CONEY_OK;
    pthread_mutex_unlock(&factory->lock);
    return status;
}

static coney_status get_connection(cny_connection **connection, coney_connection_factory *factory,
                                   coney_connection_role role, bool at_once, int64_t deadline)
{
    pthread_mutex_lock(&factory->lock);
    coney_status status = wait_open(&factory->slots[role], at_once, deadline);
    if (status == CONEY_OK)
        *connection = cny_connection_ref(factory->slots[role].connection);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

/* Opening a channel has no effect that could be lost, so it is tried again on the next connection. */
coney_status cny_channel_open(cny_channel **channel, coney_connection_factory *factory, coney_connection_role role,
                              bool at_once, int64_t deadline)
{
    coney_status status;
    bool lost;
    do {
        cny_connection *connection;
        status = get_connection(&connection, factory, role, at_once, deadline);
        if (status != CONEY_OK)
            return status;
        status = cny_channel_open_on(channel, connection, at_once, deadline);
        lost = status != CONEY_OK && cny_connection_is_dead(connection);
        cny_connection_unref(connection);
    } while (lost && cny_now_ms() < deadline);
    if (lost) /* the next connection did not come in time */
        status = cny_fail_code(CONEY_E_CONNECT, coney_last_error_details()->broker_code,
                               "not connected within the deadline: %s", coney_last_error());
    return status;
}

coney_status cny_channel_subscribe(cny_channel **channel, coney_connection_factory *factory, coney_connection_role role,
                                   const cny_subscription *subscription, const cny_watcher *watcher)
{
    cny_connection *connection;
    coney_status status = get_connection(&connection, factory, role, true, 0);
    if (status != CONEY_OK)
        return status;
    status = cny_channel_subscribe_on(channel, connection, subscription, watcher);
    if (status != CONEY_OK && cny_connection_is_dead(connection)) /* there will be another one */
        status = cny_fail_code(CONEY_E_CONNECT, coney_last_error_details()->broker_code, "not connected: %s",
                               coney_last_error());
    cny_connection_unref(connection);
    return status;
}

/* ---- replies ---- */

cny_reply_watch cny_factory_watch_reply(coney_connection_factory *factory)
{
    const cny_slot *slot = &factory->slots[CONEY_PUBLISHING];
    cny_reply_watch now = {.blocked_us = cny_factory_blocked_us(factory)};
    pthread_mutex_lock(&factory->lock);
    now.times_opened = slot->times_opened + (slot->state != CNY_SLOT_OPEN); /* sending the reply opens the connection */
    pthread_mutex_unlock(&factory->lock);
    return now;
}

bool cny_factory_is_reply_refused(coney_connection_factory *factory, const cny_reply_watch *before, coney_status status)
{
    const cny_slot *slot = &factory->slots[CONEY_PUBLISHING];
    uint64_t blocked_us = cny_factory_blocked_us(factory);
    pthread_mutex_lock(&factory->lock);
    bool is_open = slot->state == CNY_SLOT_OPEN;
    bool was_open = is_open && slot->times_opened <= before->times_opened && blocked_us == before->blocked_us;
    pthread_mutex_unlock(&factory->lock);
    switch (status) {
    case CONEY_E_NACKED:
    case CONEY_E_PRECONDITION_FAILED: return true;
    case CONEY_E_NOT_FOUND:
    case CONEY_E_ACCESS_REFUSED: return is_open;
    case CONEY_E_TIMEOUT: return was_open;
    case CONEY_E_BROKER: return cny_last_is_suspicion(); /* the reply was alone on the isolated connection */
    default: return false;
    }
}

/* ---- connecting at once ---- */

/* Under lock. Each address has its own connection timeout, and a host may have several addresses. */
static bool is_any_connecting(const coney_connection_factory *factory)
{
    for (int role = 0; role < CNY_ROLE_COUNT; role++) {
        cny_connection *connection = factory->slots[role].connection;
        if (connection && cny_connection_get_state(connection) == CNY_CONNECTING)
            return true;
    }
    return false;
}

/* Under lock. */
static coney_status fail_in_time(const coney_connection_factory *factory)
{
    coney_connection_info info;
    bool is_consuming_open = factory->slots[CONEY_CONSUMING].state == CNY_SLOT_OPEN;
    cny_slot_describe(&factory->slots[is_consuming_open ? CONEY_PUBLISHING : CONEY_CONSUMING], &info);
    return cny_fail(CONEY_E_TIMEOUT, "not connected within the connection timeouts of all hosts: %s", info.text);
}

/* Under lock: waits until both slots are open or one has had another failure. */
static coney_status wait_for_attempts(coney_connection_factory *factory, const uint64_t *failures, int64_t deadline,
                                      int64_t latest)
{
    bool in_time = true;
    for (;;) {
        int open = 0;
        for (int role = 0; role < CNY_ROLE_COUNT; role++) {
            const cny_slot *slot = &factory->slots[role];
            open += slot->state == CNY_SLOT_OPEN;
            if (!cny_factory_is_closed(factory) && slot->failures > failures[role])
                return cny_error_raise(slot->last_error);
        }
        if (cny_factory_is_closed(factory))
            return cny_factory_check_closed(factory);
        if (open == CNY_ROLE_COUNT)
            return CONEY_OK;
        if (!in_time && (cny_now_ms() >= latest || !is_any_connecting(factory)))
            return fail_in_time(factory);
        if (!in_time)
            deadline = cny_deadline(POLL_MS);
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
    }
}

coney_status coney_connection_factory_connect(coney_connection_factory *factory)
{
    CNY_DISABLE_CANCEL();
    if (!factory)
        return cny_fail(CONEY_E_INVALID, "factory is NULL");
    coney_status status = cny_factory_check_process(factory);
    if (status != CONEY_OK)
        return status;
    if (cny_threads_is_current(&factory->threads, factory) && !cny_factory_on_events_thread(factory))
        return cny_fail(CONEY_E_STATE,
                        "connect: the credentials provider cannot wait for the connection that waits for "
                        "its answer");
    /* A little longer than all hosts may take, so that the error is that of a host and not of this deadline. */
    const cny_uri *uri = &factory->config.uri;
    int64_t all_hosts_ms = (int64_t)uri->connection_timeout_ms * (int64_t)uri->host_count;
    int64_t deadline = cny_now_ms() + all_hosts_ms + 1000;
    int64_t latest = deadline + (MOST_ADDRESSES - 1) * all_hosts_ms;
    uint64_t failures[CNY_ROLE_COUNT];
    pthread_mutex_lock(&factory->lock);
    for (int role = 0; role < CNY_ROLE_COUNT; role++) {
        cny_slot *slot = &factory->slots[role];
        failures[role] = slot->failures;
        if ((slot->state == CNY_SLOT_FAILED || slot->state == CNY_SLOT_BACKING_OFF) && !cny_factory_is_closed(factory))
            cny_slot_retry(slot);
        else if (status == CONEY_OK && !cny_factory_is_closed(factory))
            status = cny_slot_want(slot);
    }
    if (status == CONEY_OK)
        status = wait_for_attempts(factory, failures, deadline, latest);
    pthread_mutex_unlock(&factory->lock);
    return status;
}
