/* SPDX-License-Identifier: MIT */
/* The state of a connection's slot: what may follow what, and what the program is told of it. Any thread; most
 * functions are called with the factory's lock held. It must not know how connections are made. */
#include "rabbit/factory/parts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const char *cny_role_name(coney_connection_role role)
{
    return role == CONEY_CONSUMING ? "consuming" : "publishing";
}

/* ---- states ---- */

/* Every loss and every failure leads to the next attempt. FAILED follows an attempt only: after the loss of a
 * connection that was open there is always another attempt. */
bool cny_slot_may_follow(cny_slot_state from, cny_slot_state to)
{
    switch (to) {
    case CNY_SLOT_IDLE: return false;
    case CNY_SLOT_BACKING_OFF: return from != CNY_SLOT_CLOSED;
    case CNY_SLOT_CONNECTING: return from == CNY_SLOT_BACKING_OFF;
    case CNY_SLOT_DECLARING: return from == CNY_SLOT_CONNECTING;
    case CNY_SLOT_AWAITING_CONSUMERS: return from == CNY_SLOT_DECLARING;
    case CNY_SLOT_OPEN: return from == CNY_SLOT_DECLARING || from == CNY_SLOT_AWAITING_CONSUMERS;
    case CNY_SLOT_FAILED: return from >= CNY_SLOT_BACKING_OFF && from <= CNY_SLOT_AWAITING_CONSUMERS;
    case CNY_SLOT_CLOSED: return from != CNY_SLOT_CLOSED;
    }
    return false;
}

coney_connection_state cny_slot_public_state(cny_slot_state state)
{
    switch (state) {
    case CNY_SLOT_IDLE: return CONEY_CONNECTION_IDLE;
    case CNY_SLOT_OPEN: return CONEY_CONNECTION_OPEN;
    case CNY_SLOT_FAILED: return CONEY_CONNECTION_FAILED;
    case CNY_SLOT_CLOSED: return CONEY_CONNECTION_CLOSED;
    default: return CONEY_CONNECTION_CONNECTING;
    }
}

bool cny_slot_is_logged_in(cny_slot_state state)
{
    return state >= CNY_SLOT_DECLARING && state <= CNY_SLOT_OPEN;
}

/* ---- describing ---- */

static const char *reason_of(const cny_slot *slot)
{
    return slot->last_error ? cny_error_view(slot->last_error)->text : "none";
}

/* The number of the attempt under way, or of the next one. */
static int current_attempt(const cny_slot *slot)
{
    return slot->attempt + (slot->state == CNY_SLOT_BACKING_OFF);
}

static size_t current_host(const cny_slot *slot)
{
    if (slot->connection)
        return cny_connection_host(slot->connection);
    size_t second = (slot->first_host + 1) % slot->factory->config.uri.host_count;
    return slot->first_host == slot->lost_host ? second : slot->first_host;
}

static void describe_connecting(const cny_slot *slot, char *text, size_t size)
{
    const cny_host *hosts = slot->factory->config.uri.hosts;
    const cny_host *host = &hosts[current_host(slot)];
    bool preparing = slot->connection && cny_connection_get_state(slot->connection) == CNY_OPEN;
    char when[64] = "";
    long long wait_ms = slot->next_attempt - cny_now_ms();
    if (!slot->connection && wait_ms > 0)
        snprintf(when, sizeof when, " in %lld ms", wait_ms);
    char others[64] = "";
    size_t count = slot->factory->config.uri.host_count;
    if (!slot->connection && count > 1)
        snprintf(others, sizeof others, " and %zu more", count - 1);
    snprintf(text, size, "%s %s:%d%s, attempt %d%s, last: %s",
             preparing ? "preparing the connection to" : "connecting to", host->name, host->port, others,
             current_attempt(slot), when, reason_of(slot));
}

static void describe_open(const cny_slot *slot, char *text, size_t size)
{
    const cny_host *host = &slot->factory->config.uri.hosts[cny_connection_host(slot->connection)];
    snprintf(text, size, "open to %s:%d", host->name, host->port);
}

static void describe_blocked(const cny_slot *slot, coney_connection_info *info)
{
    char blocked[256] = "";
    size_t used = strlen(info->text);
    if (slot->connection && slot->state != CNY_SLOT_CLOSED)
        cny_connection_blocked(slot->connection, blocked);
    info->blocked = *blocked;
    if (info->blocked)
        snprintf(info->text + used, sizeof info->text - used, "; the broker holds back publishers: %s", blocked);
}

void cny_slot_describe(const cny_slot *slot, coney_connection_info *info)
{
    const cny_error *reason = slot->state == CNY_SLOT_OPEN ? slot->last_loss : slot->last_error;
    *info = (coney_connection_info){
        .role = slot->role,
        .state = cny_slot_public_state(slot->state),
        .attempt = current_attempt(slot),
        .reason = reason ? cny_error_view(reason)->status : CONEY_OK,
        .times_opened = slot->times_opened,
        .stale_acknowledgements = atomic_load(&slot->factory->stale_acknowledgements[slot->role]),
    };
    if (slot->state == CNY_SLOT_CLOSED)
        info->reason = CONEY_E_CLOSED;
    switch (info->state) {
    case CONEY_CONNECTION_IDLE: snprintf(info->text, sizeof info->text, "not connected, nobody has needed it"); break;
    case CONEY_CONNECTION_CONNECTING: describe_connecting(slot, info->text, sizeof info->text); break;
    case CONEY_CONNECTION_OPEN: describe_open(slot, info->text, sizeof info->text); break;
    case CONEY_CONNECTION_FAILED:
        snprintf(info->text, sizeof info->text,
                 "given up after attempt %d, until coney_connection_factory_connect() is called: %s", slot->attempt,
                 reason_of(slot));
        break;
    case CONEY_CONNECTION_CLOSED: snprintf(info->text, sizeof info->text, "closed by the program"); break;
    }
    describe_blocked(slot, info);
}

/* ---- changing ---- */

void cny_slot_changed(cny_slot *slot)
{
    slot->to_be_logged = true;
    cny_slot_describe(slot, &slot->news);
    cny_tell_connection(slot->factory, &slot->news);
    cny_factory_wake_locked(slot->factory);
}

/* The program sees no difference between the states from the attempt to the use. */
static bool is_news(cny_slot_state state)
{
    return state != CNY_SLOT_CONNECTING && state != CNY_SLOT_DECLARING && state != CNY_SLOT_AWAITING_CONSUMERS;
}

void cny_slot_set_state(cny_slot *slot, cny_slot_state state)
{
    assert(cny_slot_may_follow(slot->state, state));
    slot->state = state;
    if (is_news(state))
        cny_slot_changed(slot);
}

coney_status cny_slot_want(cny_slot *slot)
{
    if (slot->state != CNY_SLOT_IDLE)
        return CONEY_OK;
    coney_status status = cny_factory_start_recovery(slot->factory);
    if (status == CONEY_OK)
        cny_slot_retry(slot);
    return status;
}

void cny_slot_retry(cny_slot *slot)
{
    slot->attempt = slot->state == CNY_SLOT_BACKING_OFF ? slot->attempt : 0;
    slot->delay_ms = 0;
    slot->next_attempt = cny_now_ms();
    cny_slot_set_state(slot, CNY_SLOT_BACKING_OFF);
}

static uint64_t total_blocked_us(const cny_slot *slot)
{
    return slot->blocked_us + (slot->blocked_since ? (uint64_t)(cny_now_us() - slot->blocked_since) : 0);
}

void cny_slot_count_blocked(cny_slot *slot, bool blocked)
{
    slot->blocked_us = total_blocked_us(slot);
    slot->blocked_since = blocked ? cny_now_us() : 0;
}

/* A loss is a warning, and so is a broker that holds back publishers; a connection that opens is not. */
static coney_log_level level_of(const coney_connection_info *news)
{
    bool is_loss = news->state == CONEY_CONNECTION_CONNECTING && news->reason != CONEY_OK;
    if (news->state == CONEY_CONNECTION_FAILED)
        return CONEY_LOG_ERROR;
    return is_loss || news->blocked ? CONEY_LOG_WARN : CONEY_LOG_INFO;
}

void cny_slot_log(const coney_connection_info *news)
{
    cny_log(level_of(news), "%s connection: %s", cny_role_name(news->role), news->text);
}

/* ---- asking ---- */

coney_status coney_connection_factory_info(coney_connection_factory *factory, coney_connection_role role,
                                           coney_connection_info *info)
{
    CNY_DISABLE_CANCEL();
    if (!factory || !info || (unsigned)role >= CNY_ROLE_COUNT)
        return cny_fail(CONEY_E_INVALID, "info: factory or info is NULL, or there is no connection role %d", (int)role);
    coney_status status = cny_factory_check_process(factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&factory->lock);
    cny_slot_describe(&factory->slots[role], info);
    pthread_mutex_unlock(&factory->lock);
    return CONEY_OK;
}

uint64_t cny_factory_blocked_us(coney_connection_factory *factory)
{
    const cny_slot *slot = &factory->slots[CONEY_PUBLISHING];
    pthread_mutex_lock(&factory->lock);
    uint64_t blocked_us = total_blocked_us(slot);
    pthread_mutex_unlock(&factory->lock);
    return blocked_us;
}

coney_status cny_factory_check_blocked(coney_connection_factory *factory)
{
    char blocked[256] = "";
    pthread_mutex_lock(&factory->lock);
    const cny_slot *slot = &factory->slots[CONEY_PUBLISHING];
    if (slot->connection)
        cny_connection_blocked(slot->connection, blocked);
    pthread_mutex_unlock(&factory->lock);
    return *blocked ? cny_fail(CONEY_E_BLOCKED, "the broker holds back publishers: %s", blocked) : CONEY_OK;
}
