/* SPDX-License-Identifier: MIT */
/* The I/O thread of a connection: connects, then moves bytes until the connection ends. It alone reads and decodes. It
 * runs none of the program's code and blocks on nothing but its poll and, while connecting, on name resolution. Knows
 * nothing of what the broker says to channels. */
#include "base/workers.h"
#include "rabbit/connection/cancellation.h"
#include "rabbit/connection/incoming.h"

#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#define FAREWELL_MS 250
#define BATCH 32 /* of what the broker said is handled together */

/* ---- news ---- */

/* Wakes the owner if something was noticed while a lock was held. The owner also writes the log for this thread,
 * because the log's sink is the program's code and may block. */
static void tell_owner(cny_connection *connection)
{
    if (atomic_exchange(&connection->has_news, false))
        connection->owner->wake(connection->owner_self);
}

/* ---- connecting ---- */

static coney_status connect_to(cny_connection *connection, size_t host)
{
    const cny_connection_config *config = connection->config;
    const cny_wire_target target = {
        .host = config->uri.hosts[host].name,
        .port = config->uri.hosts[host].port,
        .user = connection->user,
        .password = connection->password,
        .vhost = config->uri.vhost,
        .connection_name = connection->is_isolated ? config->isolated_name : config->names[connection->role],
        .client_properties = config->client_properties,
        .tls = config->tls,
        .external = config->sasl == CONEY_SASL_EXTERNAL,
        .timeout_ms = config->uri.connection_timeout_ms,
        .heartbeat_s = config->uri.heartbeat_s,
        .frame_max = (uint32_t)config->uri.frame_max,
        .max_message_bytes = config->max_message_bytes,
        .owner = {.self = connection, .admits = cny_connection_admits},
    };
    pthread_mutex_lock(&connection->lock);
    connection->host = host;
    pthread_mutex_unlock(&connection->lock);
    return cny_wire_connect(connection->wire, &target);
}

/* If no host can be connected to, the status is that of the last one, and the error tells what each of them said. */
static coney_status connect_to_first_host(cny_connection *connection)
{
    size_t count = connection->config->uri.host_count;
    char before[512] = "";
    coney_status status = CONEY_OK;
    for (size_t i = 0; i < count; i++) {
        status = connect_to(connection, connection->hosts[i]);
        if (status == CONEY_OK || !cny_wire_next_may_do())
            break;
        size_t used = strlen(before);
        if (i + 1 < count)
            snprintf(before + used, sizeof before - used, "%.150s; ", coney_last_error());
    }
    return status == CONEY_OK || !*before
               ? status
               : cny_fail_code(status, coney_last_error_details()->broker_code, "%s%s", before, coney_last_error());
}

static coney_status open_connection(cny_connection *connection)
{
    coney_status status = connect_to_first_host(connection);
    cny_connection_forget_password(connection);
    if (status != CONEY_OK)
        return status;
    connection->last_read_us = cny_now_us();
    connection->last_read_ms = connection->outbox.last_write_ms = connection->last_read_us / 1000;
    pthread_mutex_lock(&connection->lock);
    connection->limits = cny_wire_agreed(connection->wire);
    cny_connection_set_state(connection, CNY_OPEN);
    pthread_mutex_unlock(&connection->lock);
    tell_owner(connection);
    return CONEY_OK;
}

/* ---- the end ---- */

/* Under lock. From here on nobody is given this connection, and whatever waits for it fails with the reason, which is
 * taken. */
static void declare_dead(cny_connection *connection, cny_error *reason)
{
    connection->reason = reason;
    for (size_t i = 0; i < connection->channel_capacity; i++) {
        if (connection->channels[i])
            cny_channel_die(connection->channels[i], reason);
    }
    cny_connection_set_state(connection, CNY_DEAD);
}

/* This thread's last error tells what has ended the connection. */
static void end_connection(cny_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    if (connection->state == CNY_CLOSING)
        cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
    if (connection->state != CNY_DEAD)
        declare_dead(connection, cny_error_capture());
    cny_outbox_drop(&connection->outbox);
    pthread_mutex_unlock(&connection->lock);
    cny_outbox_forget_writing(&connection->outbox);
    tell_owner(connection);
    cny_wire_close(connection->wire);
}

/* ---- reading ---- */

/* The broker ends the connection. Channels whose requests or messages it may have objected to learn that; all others
 * learn that they have lost the connection. */
static coney_status on_connection_close(cny_connection *connection, const cny_incoming *incoming)
{
    coney_status status = cny_fail_code(CONEY_E_LOST, incoming->code, "the broker closed the connection: %u %s",
                                        incoming->code, incoming->text);
    pthread_mutex_lock(&connection->lock);
    cny_connection_append(connection, cny_encode_connection_close_ok);
    cny_connection_strike(connection, incoming);
    if (connection->state == CNY_OPEN)
        declare_dead(connection, cny_error_capture());
    pthread_mutex_unlock(&connection->lock);
    cny_connection_write(connection); /* as much of the close-ok as the socket takes */
    return status;
}

static void on_blocked(cny_connection *connection, const char *reason)
{
    pthread_mutex_lock(&connection->lock);
    memcpy(connection->blocked, reason, strlen(reason) + 1);
    pthread_cond_broadcast(&connection->changed);
    cny_connection_room_came(connection);
    pthread_mutex_unlock(&connection->lock);
    connection->owner->blocked_changed(connection->owner_self, connection);
}

/* Under lock. The channel may be gone already although the broker closes it, too: this happens when the acknowledgement
 * time-out of a delivery meets our close. RabbitMQ then ignores whatever comes for that number until it has an answer.
 * And until RabbitMQ has read the answer to its own close it may go on delivering; 3.10 does so after a transaction
 * that a queue has refused. */
static coney_status on_channel_incoming(cny_connection *connection, cny_incoming *incoming)
{
    cny_channel *channel = cny_connection_channel(connection, incoming->channel);
    if (channel)
        return cny_channel_incoming(channel, incoming);
    if (incoming->method == CNY_CHANNEL_CLOSE && incoming->channel > 0)
        return cny_connection_answer_close(connection, incoming->channel);
    coney_message_unref(incoming->message);
    if (incoming->method == CNY_BASIC_DELIVER && incoming->channel <= connection->highest_channel)
        return CONEY_OK; /* it comes again */
    return cny_fail(CONEY_E_PROTOCOL, "the broker sent method %u.%u on channel %u, which is not open",
                    incoming->method >> 16, incoming->method & 0xffffU, incoming->channel);
}

static coney_status on_connection_incoming(cny_connection *connection, const cny_incoming *incoming)
{
    switch (incoming->method) {
    case CNY_CONNECTION_CLOSE: return on_connection_close(connection, incoming);
    case CNY_CONNECTION_CLOSE_OK: return cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
    case CNY_CONNECTION_BLOCKED:
        on_blocked(connection, *incoming->text ? incoming->text : "it gave no reason");
        return CONEY_OK;
    case CNY_CONNECTION_UNBLOCKED: on_blocked(connection, ""); return CONEY_OK;
    case CNY_CONNECTION_UPDATE_SECRET_OK:
    case 0: return CONEY_OK; /* a heartbeat */
    default:
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent method %u.%u, which nobody asked for",
                        incoming->method >> 16, incoming->method & 0xffffU);
    }
}

static bool is_for_connection(const cny_incoming *incoming)
{
    const uint32_t connection_class = 10;
    return incoming->method == 0 || incoming->method >> 16 == connection_class;
}

/* All methods for channels are handled under one lock, because senders contend for it. Only the last method may be for
 * the connection. Takes all messages. */
static coney_status on_batch(cny_connection *connection, cny_incoming *batch, size_t count)
{
    coney_status status = CONEY_OK;
    size_t at = 0;
    cny_workers_hold_wakes();
    pthread_mutex_lock(&connection->lock);
    for (; at < count && status == CONEY_OK && !is_for_connection(&batch[at]); at++)
        status = on_channel_incoming(connection, &batch[at]);
    connection->pacing.is_held = connection->pacing.full_feeds > 0;
    pthread_mutex_unlock(&connection->lock);
    cny_workers_release_wakes();
    if (at < count && status == CONEY_OK)
        status = on_connection_incoming(connection, &batch[at++]);
    for (; at < count; at++)
        coney_message_unref(batch[at].message);
    return status;
}

/* Reads methods up to and including the first one for the connection, which may end the connection. */
static coney_status next_batch(cny_connection *connection, cny_incoming batch[BATCH], size_t *count, bool *complete)
{
    *complete = true;
    for (*count = 0; *count < BATCH; ++*count) {
        if (*count > 0 && is_for_connection(&batch[*count - 1]))
            return CONEY_OK;
        coney_status status = cny_wire_next(connection->wire, &batch[*count], complete);
        if (status != CONEY_OK || !*complete)
            return status;
    }
    return CONEY_OK;
}

/* A sender that has waited for a confirm sends again at once. If there are two or more, one write for all of them pays;
 * the broker, too, does better with several messages at a time. */
static void let_senders_run(void)
{
    for (int i = 0; i < 3; i++)
        sched_yield();
}

static coney_status handle_input(cny_connection *connection)
{
    cny_incoming batch[BATCH];
    size_t count;
    bool complete;
    coney_status status;
    do {
        cny_error *broken = NULL; /* what came before it is still good */
        if (next_batch(connection, batch, &count, &complete) != CONEY_OK)
            broken = cny_error_capture();
        status = on_batch(connection, batch, count);
        if (status == CONEY_OK)
            status = cny_error_raise(broken);
        cny_error_unref(broken);
    } while (status == CONEY_OK && complete);
    cny_events_wake(connection->events);
    if (cny_waiters_wake(&connection->told) > 1)
        let_senders_run();
    return status;
}

/* ---- time ---- */

/* Under lock: has all channels do what is due. */
static void run_due(cny_connection *connection, int64_t now)
{
    connection->due_at = INT64_MAX;
    for (size_t i = 1; i < connection->channel_capacity; i++) {
        cny_channel *channel = connection->channels[i];
        if (!channel)
            continue;
        if (cny_renewal_run_due(channel, now) != CONEY_OK)
            cny_channel_close_without_memory(channel);
        cny_cancellation_run_due(channel, now);
    }
}

/* After half a heartbeat interval without writing a heartbeat is due. After two intervals without reading the broker is
 * lost. */
static coney_status keep_time(cny_connection *connection)
{
    int64_t now = cny_now_ms();
    int heartbeat_ms = connection->limits.heartbeat_s * 1000;
    if (connection->pacing.is_held) /* nobody listened */
        connection->last_read_ms = now;
    if (heartbeat_ms > 0 && now - connection->last_read_ms >= 2 * (int64_t)heartbeat_ms)
        return cny_fail(CONEY_E_LOST, "no sign of life from the broker for %lld ms (heartbeat %d s)",
                        (long long)(now - connection->last_read_ms), connection->limits.heartbeat_s);
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&connection->lock);
    cny_outbox_shrink(&connection->outbox, now);
    if (now >= connection->due_at)
        run_due(connection, now);
    if (connection->state == CNY_CLOSING && now >= connection->closing.deadline)
        status = cny_fail(CONEY_E_CLOSED, "the connection factory is closed (the broker did not answer in time)");
    else if (heartbeat_ms > 0 && now - connection->outbox.last_write_ms >= heartbeat_ms / 2 &&
             connection->outbox.unwritten == 0)
        status = cny_connection_append(connection, cny_encode_heartbeat);
    pthread_mutex_unlock(&connection->lock);
    return status;
}

static int next_timeout(cny_connection *connection)
{
    int64_t at = INT64_MAX;
    int heartbeat_ms = connection->limits.heartbeat_s * 1000;
    if (heartbeat_ms > 0) {
        at = connection->last_read_ms + 2 * (int64_t)heartbeat_ms;
        if (!cny_outbox_has_begun(&connection->outbox))
            at = cny_sooner(at, connection->outbox.last_write_ms + heartbeat_ms / 2);
    }
    pthread_mutex_lock(&connection->lock);
    if (connection->state == CNY_CLOSING)
        at = cny_sooner(at, connection->closing.deadline);
    at = cny_sooner(at, connection->due_at);
    pthread_mutex_unlock(&connection->lock);
    if (at == INT64_MAX)
        return -1;
    int64_t left = at - cny_now_ms();
    return left > 0 ? (int)cny_sooner(left, 60000) : 0;
}

/* ---- the loop ---- */

/* Begins to close when asked to: all who wait learn it now, and the broker next. An abort is a failure at once, and the
 * broker is told if the socket takes that. */
static coney_status begin_closing(cny_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    bool aborted = connection->closing.abort != NULL;
    if (aborted && connection->state == CNY_OPEN)
        cny_connection_append(connection, cny_encode_connection_close);
    if (!aborted && connection->closing.is_wanted && connection->state == CNY_OPEN) {
        cny_connection_set_state(connection, CNY_CLOSING);
        cny_error *reason = cny_error_new(CONEY_E_CLOSED, 0, "the connection factory is closed");
        for (size_t i = 0; i < connection->channel_capacity; i++) {
            if (connection->channels[i])
                cny_channel_close_locked(connection->channels[i], reason);
        }
        cny_error_unref(reason);
        cny_connection_append(connection, cny_encode_connection_close);
        if (*connection->blocked) /* the broker reads nothing from us, so there will be no answer */
            connection->closing.deadline = cny_sooner(connection->closing.deadline, cny_deadline(FAREWELL_MS));
    }
    pthread_mutex_unlock(&connection->lock);
    if (!aborted)
        return CONEY_OK;
    cny_connection_write(connection);
    return cny_error_raise(connection->closing.abort);
}

/* Senders need not wake this thread while it works: it looks for their bytes before it sleeps. */
static void mark_awake(cny_connection *connection)
{
    pthread_mutex_lock(&connection->lock);
    connection->outbox.io_asleep = false;
    connection->pacing.is_coalescing = false;
    pthread_mutex_unlock(&connection->lock);
}

/* Sleeps until there is something to read or write, a sender wakes this thread, or time is up. */
static coney_status wait_for_work(cny_connection *connection, bool *readable)
{
    cny_reading reading = cny_pacing_decide(connection);
    short events = reading == CNY_READ_NOW ? POLLIN : 0, seen = 0;
    if (cny_outbox_has_begun(&connection->outbox))
        events |= POLLOUT;
    bool waiting_input = reading == CNY_READ_NOW && cny_wire_has_input(connection->wire);
    int timeout = reading == CNY_READ_SOON ? CNY_COALESCING_MS : next_timeout(connection);
    coney_status status = cny_wire_poll(connection->wire, events, waiting_input ? 0 : timeout, &seen);
    mark_awake(connection);
    bool has_input = seen & (POLLIN | POLLERR | POLLHUP);
    *readable =
        has_input || waiting_input || (reading == CNY_READ_SOON && cny_pacing_decide(connection) == CNY_READ_NOW);
    return status;
}

static coney_status read_input(cny_connection *connection)
{
    cny_pacing_begin_read(&connection->pacing);
    size_t received;
    coney_status status = cny_wire_read(connection->wire, &received);
    connection->pacing.is_streaming = received > 0;
    if (received > 0) {
        connection->last_read_us = cny_now_us();
        connection->last_read_ms = connection->last_read_us / 1000;
    }
    return status == CONEY_OK ? handle_input(connection) : status;
}

/* A write has failed, for example because the broker has hung up. What the broker said before may still be there to be
 * read: confirms, and why it ended the connection, which tells more than the failed write. */
static coney_status read_last_words(cny_connection *connection)
{
    cny_error *loss = cny_error_capture();
    int64_t deadline = cny_deadline(FAREWELL_MS);
    coney_status status;
    do {
        status = read_input(connection);
    } while (status == CONEY_OK && connection->pacing.is_streaming && cny_now_ms() < deadline);
    if (cny_connection_get_state(connection) != CNY_DEAD)
        status = cny_error_raise(loss);
    cny_error_unref(loss);
    return status;
}

static coney_status write_all(cny_connection *connection)
{
    coney_status status = cny_connection_write(connection);
    return status == CONEY_E_LOST ? read_last_words(connection) : status;
}

static coney_status wait_and_read(cny_connection *connection)
{
    bool readable = false;
    coney_status status = wait_for_work(connection, &readable);
    return status == CONEY_OK && readable ? read_input(connection) : status;
}

/* Runs until the connection ends. The status tells why, and is never CONEY_OK. */
static coney_status serve(cny_connection *connection)
{
    coney_status status = handle_input(connection); /* what came along with the login */
    while (status == CONEY_OK) {
        status = begin_closing(connection);
        if (status == CONEY_OK)
            status = write_all(connection);
        if (status == CONEY_OK)
            status = wait_and_read(connection);
        if (status == CONEY_OK)
            status = keep_time(connection);
        tell_owner(connection);
    }
    return status;
}

void *cny_connection_io(void *argument)
{
    cny_connection *connection = argument;
    if (open_connection(connection) == CONEY_OK)
        serve(connection);
    end_connection(connection);
    pthread_mutex_lock(&connection->lock);
    cny_events_leave(connection->events);
    connection->ended = true;
    pthread_cond_broadcast(&connection->changed);
    pthread_mutex_unlock(&connection->lock);
    cny_connection_unref(connection);
    return NULL;
}
