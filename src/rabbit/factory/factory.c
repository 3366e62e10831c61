/* SPDX-License-Identifier: MIT */
/* The connection factory as the program sees it: made and asked how it is doing; and as the
 * template, the admin and the container see it: the place where connections come from. What keeps
 * them coming is in recovery.c, their end in close.c. */
#include "rabbit/connection/internal.h"

#include <stdio.h>
#include <string.h>

#define LOOK_UP_MS 100
#define MOST_ADDRESSES 8 /* of a name, that connect() waits for */

/* ---- life ---- */

static void free_factory(coney_connection_factory *factory)
{
    for (int role = 0; role < CNY_ROLE_COUNT; role++) {
        cny_error_unref(factory->links[role].reason);
        cny_error_unref(factory->links[role].loss);
    }
    cny_declarations_free(&factory->declarations);
    cny_buffer_free(&factory->members);
    cny_buffer_free(&factory->spare);
    cny_events_unref(factory->events);
    cny_config_free(&factory->config);
    cny_threads_free(&factory->threads);
    pthread_cond_destroy(&factory->changed);
    pthread_mutex_destroy(&factory->lock);
    pthread_mutex_destroy(&factory->routes.lock);
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
    CNY_DISABLE_CANCEL();
    static const coney_connection_factory_options defaults;
    if (!factory)
        return cny_fail(CONEY_E_INVALID, "factory is NULL");
    *factory = NULL;
    coney_connection_factory *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    made->fork_count = cny_fork_count();
    pthread_sigmask(SIG_SETMASK, NULL, &made->signals);
    cny_threads_init(&made->threads);
    pthread_mutex_init(&made->lock, NULL);
    pthread_mutex_init(&made->routes.lock, NULL);
    cny_cond_init(&made->changed);
    for (int role = 0; role < CNY_ROLE_COUNT; role++)
        made->links[role] = (cny_link){
            .factory = made, .role = (coney_connection_role)role, .refresh_at = INT64_MAX, .lost_host = CNY_NO_HOST};
    coney_status status = cny_config_read(&made->config, uri, options ? options : &defaults);
    if (status == CONEY_OK)
        status = cny_events_start(&made->events, &made->threads, made, &made->signals);
    if (status != CONEY_OK) {
        free_factory(made);
        return status;
    }
    *factory = made;
    return CONEY_OK;
}

coney_status cny_factory_check_process(const coney_connection_factory *factory)
{
    if (factory->fork_count == cny_fork_count())
        return CONEY_OK;
    return cny_fail(CONEY_E_STATE, "the connection factory belongs to the parent process; make one after fork()");
}

static _Thread_local const coney_connection_factory *served;

const coney_connection_factory *cny_factory_serve_on_this_thread(const coney_connection_factory *factory)
{
    const coney_connection_factory *before = served;
    served = factory;
    return before;
}

bool cny_factory_is_served_here(coney_connection_factory *factory)
{
    return served == factory || cny_factory_on_events_thread(factory);
}

bool cny_factory_on_events_thread(coney_connection_factory *factory)
{
    return cny_events_is_current(factory->events);
}

cny_threads *cny_factory_threads(coney_connection_factory *factory)
{
    return &factory->threads;
}

void cny_factory_attention(coney_connection_factory *factory)
{
    pthread_mutex_lock(&factory->lock);
    factory->attention = true;
    pthread_cond_broadcast(&factory->changed);
    pthread_mutex_unlock(&factory->lock);
}

/* ---- members ---- */

coney_status cny_factory_join(coney_connection_factory *factory, const cny_member *member, void *self)
{
    const cny_membership one = {.member = member, .self = self};
    pthread_mutex_lock(&factory->lock);
    bool joined = cny_buffer_reserve(&factory->spare, factory->members.size + sizeof one) &&
                  cny_buffer_append(&factory->members, &one, sizeof one);
    pthread_mutex_unlock(&factory->lock);
    return joined ? CONEY_OK : cny_fail_memory();
}

void cny_factory_leave(coney_connection_factory *factory, const void *self)
{
    pthread_mutex_lock(&factory->lock);
    cny_membership *all = (cny_membership *)(void *)factory->members.data;
    size_t count = factory->members.size / sizeof *all, kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (all[i].self != self)
            all[kept++] = all[i];
    }
    factory->members.size = kept * sizeof *all;
    pthread_mutex_unlock(&factory->lock);
}

/* ---- how it is doing ---- */

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

void cny_link_changed(cny_link *link)
{
    link->to_be_logged = true;
    cny_link_describe(link, &link->news);
    cny_tell_connection(link->factory, &link->news);
    link->factory->attention = true;
    pthread_cond_broadcast(&link->factory->changed);
}

void cny_link_count_blocked(cny_link *link, bool blocked)
{
    int64_t now = cny_now_us();
    if (link->blocked_since)
        link->blocked_us += (uint64_t)(now - link->blocked_since);
    link->blocked_since = blocked ? now : 0;
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

void cny_factory_blocked_changed(cny_connection *connection)
{
    coney_connection_factory *factory = connection->factory;
    cny_link *link = &factory->links[connection->role];
    char blocked[256];
    pthread_mutex_lock(&factory->lock);
    if (link->connection == connection && !factory->closed) {
        cny_connection_blocked(connection, blocked);
        cny_link_count_blocked(link, *blocked);
        cny_link_changed(link);
    }
    pthread_mutex_unlock(&factory->lock);
}

/* Good news are not loud: the loss was, and what is open again is no trouble. */
static coney_log_level level_of(const coney_connection_info *news)
{
    bool is_loss = news->state == CONEY_CONNECTION_CONNECTING && news->reason != CONEY_OK;
    if (news->state == CONEY_CONNECTION_FAILED)
        return CONEY_LOG_ERROR;
    return is_loss || news->blocked ? CONEY_LOG_WARN : CONEY_LOG_INFO;
}

void cny_factory_log(const coney_connection_info *news)
{
    cny_log(level_of(news), "%s connection: %s", cny_role_name(news->role), news->text);
}

/* ---- connections ---- */

/* Under lock. */
static coney_status not_open(const cny_link *link, bool at_once)
{
    const char *when = at_once ? "not connected" : "not connected within the deadline";
    int code = link->reason ? cny_error_view(link->reason)->broker_code : 0;
    coney_connection_info info;
    cny_link_describe(link, &info);
    if (link->state != CONEY_CONNECTION_OPEN)
        return cny_fail_code(info.blocked ? CONEY_E_BLOCKED : CONEY_E_CONNECT, code, "%s: %s", when, info.text);
    cny_error *loss = cny_connection_reason(link->connection); /* which the recovery thread has not seen yet */
    code = cny_error_view(loss)->broker_code;
    coney_status status =
        cny_fail_code(CONEY_E_CONNECT, code, "%s: it has just been lost: %s", when, cny_error_view(loss)->text);
    cny_error_unref(loss);
    return status;
}

/* Under lock. */
static coney_status given_up(const cny_link *link)
{
    const coney_error *reason = cny_error_view(link->reason);
    coney_connection_info info;
    cny_link_describe(link, &info);
    return cny_fail_code(reason->status, reason->broker_code, "%s", info.text);
}

/* Under lock: waits until the link can be used; at_once: but only for the first attempt ever, for else nobody
 * could begin. */
static coney_status wait_open(cny_link *link, bool at_once, int64_t deadline)
{
    coney_connection_factory *factory = link->factory;
    if (factory->closed)
        return cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
    coney_status status = cny_recovery_want(link);
    if (status != CONEY_OK)
        return status;
    bool in_time = true;
    while (!factory->closed && link->state != CONEY_CONNECTION_FAILED) {
        if (link->state == CONEY_CONNECTION_OPEN && !cny_connection_is_dead(link->connection))
            return CONEY_OK;
        if (!in_time || (at_once && (link->times_opened > 0 || link->failures > 0 || link->blocked_since)))
            break;
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
    }
    if (factory->closed)
        return cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
    if (link->state == CONEY_CONNECTION_FAILED)
        return given_up(link);
    return not_open(link, at_once && in_time);
}

coney_status cny_factory_wait_open(coney_connection_factory *factory, coney_connection_role role, int64_t deadline)
{
    pthread_mutex_lock(&factory->lock);
    coney_status status = wait_open(&factory->links[role], false, deadline);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

coney_status cny_factory_want(coney_connection_factory *factory, coney_connection_role role)
{
    coney_status status;
    cny_link *link = &factory->links[role];
    pthread_mutex_lock(&factory->lock);
    if (factory->closed)
        status = cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
    else if (link->state == CONEY_CONNECTION_FAILED)
        status = given_up(link);
    else
        status = cny_recovery_want(link);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

coney_status cny_factory_check_open(coney_connection_factory *factory, coney_connection_role role, int64_t deadline)
{
    pthread_mutex_lock(&factory->lock);
    coney_status status = wait_open(&factory->links[role], true, deadline);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

coney_status cny_factory_check_given_up(coney_connection_factory *factory, coney_connection_role role)
{
    const cny_link *link = &factory->links[role];
    pthread_mutex_lock(&factory->lock);
    coney_status status = link->state == CONEY_CONNECTION_FAILED ? given_up(link) : CONEY_OK;
    pthread_mutex_unlock(&factory->lock);
    return status;
}

cny_reply_watch cny_factory_watch_reply(coney_connection_factory *factory)
{
    const cny_link *link = &factory->links[CONEY_PUBLISHING];
    cny_reply_watch now = {.blocked_us = cny_factory_blocked_us(factory)};
    pthread_mutex_lock(&factory->lock);
    now.times_opened = link->times_opened + (link->state != CONEY_CONNECTION_OPEN); /* the reply opens it */
    pthread_mutex_unlock(&factory->lock);
    return now;
}

bool cny_factory_is_reply_refused(coney_connection_factory *factory, const cny_reply_watch *before, coney_status status)
{
    const cny_link *link = &factory->links[CONEY_PUBLISHING];
    uint64_t blocked_us = cny_factory_blocked_us(factory);
    pthread_mutex_lock(&factory->lock);
    bool is_open = link->state == CONEY_CONNECTION_OPEN;
    bool was_open = is_open && link->times_opened <= before->times_opened && blocked_us == before->blocked_us;
    pthread_mutex_unlock(&factory->lock);
    switch (status) {
    case CONEY_E_NACKED:
    case CONEY_E_PRECONDITION_FAILED: return true;
    case CONEY_E_NOT_FOUND:
    case CONEY_E_ACCESS_REFUSED: return is_open;
    case CONEY_E_TIMEOUT: return was_open;
    case CONEY_E_BROKER: return cny_last_is_suspicion(); /* alone, on the isolated connection */
    default: return false;
    }
}

coney_status cny_factory_check_draining(coney_connection_factory *factory)
{
    return atomic_load(&factory->draining) && !cny_factory_is_served_here(factory)
               ? cny_fail(CONEY_E_CLOSED, "the connection factory is being closed")
               : CONEY_OK;
}

bool cny_factory_is_draining(const coney_connection_factory *factory)
{
    return atomic_load(&factory->draining);
}

coney_status cny_factory_sleep(coney_connection_factory *factory, int64_t until)
{
    coney_status status = CONEY_OK;
    bool in_time = true;
    pthread_mutex_lock(&factory->lock);
    while (status == CONEY_OK && in_time) {
        status = factory->closed ? cny_fail(CONEY_E_CLOSED, "the connection factory is closed")
                                 : cny_factory_check_draining(factory);
        if (status == CONEY_OK)
            in_time = cny_cond_wait(&factory->changed, &factory->lock, until);
    }
    pthread_mutex_unlock(&factory->lock);
    return status;
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

coney_status cny_factory_get_connection(cny_connection **connection, coney_connection_factory *factory,
                                        coney_connection_role role, bool at_once, int64_t deadline)
{
    pthread_mutex_lock(&factory->lock);
    coney_status status = wait_open(&factory->links[role], at_once, deadline);
    if (status == CONEY_OK)
        *connection = cny_connection_ref(factory->links[role].connection);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

/* Opening has no effect that could be lost, so it is tried again on the next connection. */
coney_status cny_channel_open(cny_channel **channel, coney_connection_factory *factory, coney_connection_role role,
                              bool at_once, int64_t deadline)
{
    coney_status status;
    bool lost;
    do {
        cny_connection *connection;
        status = cny_factory_get_connection(&connection, factory, role, at_once, deadline);
        if (status != CONEY_OK)
            return status;
        status = cny_channel_open_on(channel, connection, at_once, deadline);
        lost = status != CONEY_OK && cny_connection_is_dead(connection);
        cny_connection_unref(connection);
    } while (lost && cny_now_ms() < deadline);
    if (lost) /* it would have come back */
        status = cny_fail_code(CONEY_E_CONNECT, coney_last_error_details()->broker_code,
                               "not connected within the deadline: %s", coney_last_error());
    return status;
}

/* Under lock. Each address has its own time, and a name may have several. */
static bool is_any_connecting(const coney_connection_factory *factory)
{
    for (int role = 0; role < CNY_ROLE_COUNT; role++) {
        cny_connection *connection = factory->links[role].connection;
        if (connection && cny_connection_get_state(connection) == CNY_CONNECTING)
            return true;
    }
    return false;
}

/* Under lock: waits until both links are open or an attempt of one has failed since. */
static coney_status wait_for_attempts(coney_connection_factory *factory, const uint64_t *failures, int64_t deadline,
                                      int64_t latest)
{
    bool in_time = true;
    for (;;) {
        int open = 0;
        for (int role = 0; role < CNY_ROLE_COUNT; role++) {
            const cny_link *link = &factory->links[role];
            open += link->state == CONEY_CONNECTION_OPEN;
            if (!factory->closed && link->failures > failures[role])
                return cny_error_raise(link->reason);
        }
        if (factory->closed)
            return cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
        if (open == CNY_ROLE_COUNT)
            return CONEY_OK;
        if (!in_time && cny_now_ms() < latest && is_any_connecting(factory)) {
            deadline = cny_deadline(LOOK_UP_MS);
        } else if (!in_time) {
            coney_connection_info info;
            bool publishing = factory->links[CONEY_CONSUMING].state == CONEY_CONNECTION_OPEN;
            cny_link_describe(&factory->links[publishing ? CONEY_PUBLISHING : CONEY_CONSUMING], &info);
            return cny_fail(CONEY_E_TIMEOUT, "not connected within the connection timeouts of all hosts: %s",
                            info.text);
        }
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
    /* A little more than all hosts may take, so that the reason is theirs and not this deadline's. */
    const cny_uri *uri = &factory->config.uri;
    int64_t all_hosts_ms = (int64_t)uri->connection_timeout_ms * (int64_t)uri->host_count;
    int64_t deadline = cny_now_ms() + all_hosts_ms + 1000;
    int64_t latest = deadline + (MOST_ADDRESSES - 1) * all_hosts_ms;
    uint64_t failures[CNY_ROLE_COUNT];
    pthread_mutex_lock(&factory->lock);
    for (int role = 0; role < CNY_ROLE_COUNT; role++) {
        cny_link *link = &factory->links[role];
        failures[role] = link->failures;
        bool is_waiting = link->state == CONEY_CONNECTION_CONNECTING && !link->connection;
        if ((link->state == CONEY_CONNECTION_FAILED || is_waiting) && !factory->closed)
            cny_recovery_retry(link);
        else if (status == CONEY_OK && !factory->closed)
            status = cny_recovery_want(link);
    }
    if (status == CONEY_OK)
        status = wait_for_attempts(factory, failures, deadline, latest);
    pthread_mutex_unlock(&factory->lock);
    return status;
}
