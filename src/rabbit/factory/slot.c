/* SPDX-License-Identifier: MIT */
/* How a connection of the factory is doing, as the program is told and may ask. */
#include "rabbit/factory/parts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

const char *cny_role_name(coney_connection_role role)
{
    return role == CONEY_CONSUMING ? "consuming" : "publishing";
}

static const char *reason_of(const cny_link *link)
{
    return link->reason ? cny_error_view(link->reason)->text : "none";
}

/* The one under way, or the next. */
static int current_attempt(const cny_link *link)
{
    bool is_waiting = link->state == CONEY_CONNECTION_CONNECTING && !link->connection;
    return link->attempt + is_waiting;
}

static size_t current_host(const cny_link *link)
{
    if (link->connection)
        return cny_connection_host(link->connection);
    size_t second = (link->first_host + 1) % link->factory->config.uri.host_count;
    return link->first_host == link->lost_host ? second : link->first_host;
}

static void describe_connecting(const cny_link *link, char *text, size_t size)
{
    const cny_host *hosts = link->factory->config.uri.hosts;
    const cny_host *host = &hosts[current_host(link)];
    bool preparing = link->connection && cny_connection_get_state(link->connection) == CNY_OPEN;
    char when[64] = "";
    long long wait_ms = link->next_attempt - cny_now_ms();
    if (!link->connection && wait_ms > 0)
        snprintf(when, sizeof when, " in %lld ms", wait_ms);
    char others[64] = "";
    size_t count = link->factory->config.uri.host_count;
    if (!link->connection && count > 1)
        snprintf(others, sizeof others, " and %zu more", count - 1);
    snprintf(text, size, "%s %s:%d%s, attempt %d%s, last: %s",
             preparing ? "preparing the connection to" : "connecting to", host->name, host->port, others,
             current_attempt(link), when, reason_of(link));
}

static void describe_open(const cny_link *link, char *text, size_t size)
{
    const cny_host *host = &link->factory->config.uri.hosts[cny_connection_host(link->connection)];
    snprintf(text, size, "open to %s:%d", host->name, host->port);
}

static void describe_blocked(const cny_link *link, coney_connection_info *info)
{
    char blocked[256] = "";
    size_t used = strlen(info->text);
    if (link->connection && link->state != CONEY_CONNECTION_CLOSED)
        cny_connection_blocked(link->connection, blocked);
    info->blocked = *blocked;
    if (info->blocked)
        snprintf(info->text + used, sizeof info->text - used, "; the broker holds back publishers: %s", blocked);
}

void cny_link_describe(const cny_link *link, coney_connection_info *info)
{
    const cny_error *reason = link->state == CONEY_CONNECTION_OPEN ? link->loss : link->reason;
    *info = (coney_connection_info){
        .role = link->role,
        .state = link->state,
        .attempt = current_attempt(link),
        .reason = reason ? cny_error_view(reason)->status : CONEY_OK,
        .times_opened = link->times_opened,
        .stale_acknowledgements = atomic_load(&link->factory->stale_acknowledgements[link->role]),
    };
    if (link->state == CONEY_CONNECTION_CLOSED)
        info->reason = CONEY_E_CLOSED;
    switch (link->state) {
    case CONEY_CONNECTION_IDLE: snprintf(info->text, sizeof info->text, "not connected, nobody has needed it"); break;
    case CONEY_CONNECTION_CONNECTING: describe_connecting(link, info->text, sizeof info->text); break;
    case CONEY_CONNECTION_OPEN: describe_open(link, info->text, sizeof info->text); break;
    case CONEY_CONNECTION_FAILED:
        snprintf(info->text, sizeof info->text,
                 "given up after attempt %d, until coney_connection_factory_connect() is called: %s", link->attempt,
                 reason_of(link));
        break;
    case CONEY_CONNECTION_CLOSED: snprintf(info->text, sizeof info->text, "closed by the program"); break;
    }
    describe_blocked(link, info);
}

void cny_link_changed(cny_link *link)
{
    link->to_be_logged = true;
    cny_link_describe(link, &link->news);
    cny_tell_connection(link->factory, &link->news);
    cny_factory_wake_locked(link->factory);
}

void cny_link_set_state(cny_link *link, coney_connection_state state)
{
    assert(!link->factory->closed);
    link->state = state;
    cny_link_changed(link);
}

coney_status cny_link_want(cny_link *link)
{
    if (link->state != CONEY_CONNECTION_IDLE)
        return CONEY_OK;
    coney_status status = cny_factory_start_recovery(link->factory);
    if (status == CONEY_OK)
        cny_link_retry(link);
    return status;
}

void cny_link_retry(cny_link *link)
{
    link->attempt = link->state == CONEY_CONNECTION_CONNECTING ? link->attempt : 0;
    link->delay_ms = 0;
    link->next_attempt = cny_now_ms();
    cny_link_set_state(link, CONEY_CONNECTION_CONNECTING);
}

void cny_link_count_blocked(cny_link *link, bool blocked)
{
    int64_t now = cny_now_us();
    if (link->blocked_since)
        link->blocked_us += (uint64_t)(now - link->blocked_since);
    link->blocked_since = blocked ? now : 0;
}

/* Good news are not loud: the loss was, and what is open again is no trouble. */
static coney_log_level level_of(const coney_connection_info *news)
{
    bool is_loss = news->state == CONEY_CONNECTION_CONNECTING && news->reason != CONEY_OK;
    if (news->state == CONEY_CONNECTION_FAILED)
        return CONEY_LOG_ERROR;
    return is_loss || news->blocked ? CONEY_LOG_WARN : CONEY_LOG_INFO;
}

void cny_link_log(const coney_connection_info *news)
{
    cny_log(level_of(news), "%s connection: %s", cny_role_name(news->role), news->text);
}

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
    cny_link_describe(&factory->links[role], info);
    pthread_mutex_unlock(&factory->lock);
    return CONEY_OK;
}

uint64_t cny_factory_blocked_us(coney_connection_factory *factory)
{
    cny_link *link = &factory->links[CONEY_PUBLISHING];
    pthread_mutex_lock(&factory->lock);
    cny_link_count_blocked(link, link->blocked_since);
    uint64_t blocked_us = link->blocked_us;
    pthread_mutex_unlock(&factory->lock);
    return blocked_us;
}

coney_status cny_factory_check_blocked(coney_connection_factory *factory)
{
    char blocked[256] = "";
    pthread_mutex_lock(&factory->lock);
    const cny_link *link = &factory->links[CONEY_PUBLISHING];
    if (link->connection)
        cny_connection_blocked(link->connection, blocked);
    pthread_mutex_unlock(&factory->lock);
    return *blocked ? cny_fail(CONEY_E_BLOCKED, "the broker holds back publishers: %s", blocked) : CONEY_OK;
}
