/* SPDX-License-Identifier: MIT */
/* The life of channels: any thread opens, calls and closes them, the connection's I/O thread ends them. Calls wait for
 * the broker's answer here. All state is under the lock of the connection. Knows nothing of what is published, consumed
 * or answered. */
#include "rabbit/connection/channel.h"

#include <string.h>

/* ---- life ---- */

static void free_channel(cny_channel *channel)
{
    cny_feed_free(&channel->feed);
    cny_confirms_free(&channel->confirms);
    cny_error_unref(channel->reason);
    cny_error_unref(channel->first_returned);
    cny_channel_unref(channel->question.of);
    pthread_cond_destroy(&channel->changed);
    cny_connection_unref(channel->connection);
    cny_free(channel);
}

cny_channel *cny_channel_ref(cny_channel *channel)
{
    atomic_fetch_add_explicit(&channel->refs, 1, memory_order_relaxed);
    return channel;
}

void cny_channel_drop(cny_channel *channel, unsigned count)
{
    if (atomic_fetch_sub_explicit(&channel->refs, count, memory_order_acq_rel) == count)
        free_channel(channel);
}

void cny_channel_unref(cny_channel *channel)
{
    if (channel)
        cny_channel_drop(channel, 1);
}

static coney_status grow_tables(cny_connection *connection, size_t capacity)
{
    size_t before = connection->channel_capacity, more = capacity - before;
    cny_channel **channels = cny_realloc(connection->channels, capacity * sizeof *channels);
    if (!channels)
        return cny_fail_memory();
    connection->channels = channels;
    cny_channel_close_state *closes = cny_realloc(connection->closes, capacity * sizeof *closes);
    if (!closes)
        return cny_fail_memory();
    connection->closes = closes;
    memset(channels + before, 0, more * sizeof *channels);
    memset(closes + before, 0, more * sizeof *closes);
    connection->channel_capacity = capacity;
    return CONEY_OK;
}

/* The lowest free number, so that numbers are used again and the tables stay short. */
static coney_status find_number(cny_connection *connection, uint16_t *number)
{
    for (size_t i = 1; i <= connection->limits.channel_max; i++) {
        bool is_known = i < connection->channel_capacity;
        if (is_known && (connection->channels[i] || connection->closes[i] == CNY_CLOSE_CROSSED))
            continue;
        if (!is_known && grow_tables(connection, i + 15) != CONEY_OK)
            return CONEY_E_NO_MEMORY;
        *number = (uint16_t)i;
        return CONEY_OK;
    }
    return cny_fail(CONEY_E_LIMIT, "all %u channels of the connection are in use", connection->limits.channel_max);
}

static bool has_closing_channel(const cny_connection *connection)
{
    for (size_t i = 1; i < connection->channel_capacity; i++) {
        if (connection->channels[i] && connection->channels[i]->state == CNY_CHANNEL_CLOSING)
            return true;
    }
    return false;
}

/* If all numbers are in use, waits for one that is about to become free; with at_once it does not wait. */
static coney_status take_number(cny_channel *made, bool at_once, int64_t deadline)
{
    cny_connection *connection = made->connection;
    bool in_time = !at_once;
    for (;;) {
        if (connection->state == CNY_DEAD)
            return cny_error_raise(connection->reason);
        if (connection->state != CNY_OPEN)
            return cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
        coney_status status = find_number(connection, &made->number);
        if (status == CONEY_OK) {
            connection->channels[made->number] = made;
            if (made->number > connection->highest_channel)
                connection->highest_channel = made->number;
        }
        if (status != CONEY_E_LIMIT || !in_time || !has_closing_channel(connection))
            return status;
        in_time = cny_cond_wait(&connection->changed, &connection->lock, deadline);
    }
}

cny_channel *cny_channel_new_locked(cny_connection *connection, bool at_once, int64_t deadline)
{
    cny_channel *made = cny_alloc(sizeof *made);
    if (!made) {
        cny_fail_memory();
        return NULL;
    }
    atomic_init(&made->refs, 2); /* the caller's and the connection's table */
    cny_cond_init(&made->changed);
    made->connection = cny_connection_ref(connection);
    if (take_number(made, at_once, deadline) == CONEY_OK)
        return made;
    free_channel(made);
    return NULL;
}

cny_channel *cny_channel_new(cny_connection *connection, bool at_once, int64_t deadline)
{
    pthread_mutex_lock(&connection->lock);
    cny_channel *made = cny_channel_new_locked(connection, at_once, deadline);
    pthread_mutex_unlock(&connection->lock);
    return made;
}

/* A broker that holds back publishers reads nothing from them, so a channel.open would take a number and get no answer.
 * */
coney_status cny_connection_wait_until_unblocked(cny_connection *connection, bool at_once, int64_t deadline)
{
    coney_status status = CONEY_OK;
    bool may_wait = !at_once;
    if (connection->role != CONEY_PUBLISHING)
        return CONEY_OK;
    pthread_mutex_lock(&connection->lock);
    while (*connection->blocked && connection->state == CNY_OPEN && may_wait)
        may_wait = cny_cond_wait(&connection->changed, &connection->lock, deadline);
    if (*connection->blocked && connection->state == CNY_OPEN)
        status = cny_fail(CONEY_E_BLOCKED, "the broker holds back publishers: %s", connection->blocked);
    pthread_mutex_unlock(&connection->lock);
    return status;
}

coney_status cny_channel_open_on(cny_channel **channel, cny_connection *connection, bool at_once, int64_t deadline)
{
    if (cny_connection_wait_until_unblocked(connection, at_once, deadline) != CONEY_OK)
        return CONEY_E_BLOCKED;
    cny_channel *made = cny_channel_new(connection, at_once, deadline);
    if (!made)
        return coney_last_error_details()->status;
    uint8_t room[64];
    cny_buffer frame;
    cny_buffer_on_stack(&frame, room, sizeof room);
    coney_status status = cny_encode_channel_open(&frame, made->number);
    if (status == CONEY_OK)
        status = cny_channel_call(made, &frame, CNY_CHANNEL_OPEN_OK, NULL, deadline);
    cny_buffer_free(&frame);
    if (status != CONEY_OK) {
        if (status == CONEY_E_NO_MEMORY) /* for the frame */
            cny_channel_forget(made);
        cny_channel_close(made);
        cny_channel_unref(made);
        return cny_fail_in("open a channel");
    }
    *channel = made;
    return CONEY_OK;
}

coney_status cny_channel_check(cny_channel *channel)
{
    cny_channel_lock(channel);
    coney_status status = cny_error_raise(channel->reason);
    cny_channel_unlock(channel);
    return status;
}

bool cny_channel_alive(cny_channel *channel)
{
    return !atomic_load_explicit(&channel->gone, memory_order_acquire);
}

bool cny_channel_is_suspended(cny_channel *channel)
{
    return atomic_load_explicit(&channel->suspended, memory_order_acquire);
}

cny_error *cny_channel_reason(cny_channel *channel)
{
    cny_channel_lock(channel);
    cny_error *reason = cny_error_ref(channel->reason);
    cny_channel_unlock(channel);
    return reason;
}

typedef struct channel_notice {
    cny_notice notice;
    coney_channel_listener *listener;
    void *user;
    coney_channel_info info;
} channel_notice;

static void run_notice(cny_notice *notice)
{
    const channel_notice *one = (const channel_notice *)(const void *)notice;
    one->listener(&one->info, one->user);
}

/* Tells the program's listener, if there is one. */
static void tell(const cny_channel *channel, bool open, const cny_error *reason)
{
    const cny_connection *connection = channel->connection;
    channel_notice *one = connection->config->on_channel ? cny_alloc(sizeof *one) : NULL;
    if (!one)
        return;
    one->notice.run = run_notice;
    one->listener = connection->config->on_channel;
    one->user = connection->config->listener_user;
    one->info = (coney_channel_info){.role = connection->role, .number = channel->number, .open = open};
    const coney_error *view = cny_error_view(reason);
    if (view) {
        one->info.reason = view->status;
        one->info.broker_code = view->broker_code;
        strncpy(one->info.text, view->text, sizeof one->info.text - 1);
    }
    cny_events_tell(connection->events, &one->notice);
}

void cny_channel_announce(cny_channel *channel)
{
    channel->announced = true;
    tell(channel, true, NULL);
}

/* Whoever waits on the channel learns the reason. */
static void end_use(cny_channel *channel, cny_error *reason)
{
    if (channel->reason)
        return;
    channel->reason = cny_error_ref(reason);
    atomic_store_explicit(&channel->gone, true, memory_order_release);
    cny_renewal_drop(channel, reason);
    cny_feed_end(channel);
    if (channel->announced)
        tell(channel, false, reason);
    if (channel->confirms.max > 0)
        cny_confirms_fail(&channel->confirms, reason);
    if (channel->question.of)
        channel->question.on_end(channel, reason);
    pthread_cond_broadcast(&channel->changed);
    cny_connection_wake_queue(channel->connection); /* senders of this channel wait there, too */
}

void cny_channel_die(cny_channel *channel, cny_error *reason)
{
    end_use(channel, reason);
    channel->state = CNY_CHANNEL_DEAD;
    channel->connection->channels[channel->number] = NULL;
    pthread_cond_broadcast(&channel->connection->changed); /* somebody may wait for the number */
    cny_channel_unref(channel);
}

void cny_channel_forget(cny_channel *channel)
{
    cny_error *reason = cny_error_capture();
    cny_channel_lock(channel);
    if (channel->state == CNY_CHANNEL_USABLE)
        cny_channel_die(channel, reason);
    cny_channel_unlock(channel);
    cny_error_unref(reason);
}

/* Under lock. There is no memory to tell the broker that a channel ends. It would keep the channel, and wait for
 * acknowledgements, as long as the connection lives, so the connection ends. */
static void abort_for_want_of_memory(cny_connection *connection)
{
    if (!connection->closing.abort)
        connection->closing.abort = cny_error_new(CONEY_E_NO_MEMORY, 0, "no memory to close a channel");
    cny_connection_wake(connection);
}

/* The channel's number stays in use until the broker has confirmed the close, because frames for it may be on their
 * way. */
void cny_channel_close_locked(cny_channel *channel, cny_error *reason)
{
    if (channel->state != CNY_CHANNEL_USABLE)
        return;
    cny_error *no_memory = cny_renewal_flush(channel) == CONEY_OK ? NULL : cny_error_capture();
    channel->state = CNY_CHANNEL_CLOSING;
    end_use(channel, no_memory ? no_memory : reason);
    cny_error_unref(no_memory);
    cny_connection *connection = channel->connection;
    size_t before = connection->outbox.outgoing.bytes.size;
    if (connection->state != CNY_OPEN)
        return;
    if (cny_encode_channel_close(&connection->outbox.outgoing.bytes, channel->number) == CONEY_OK)
        cny_connection_appended(connection, connection->outbox.outgoing.bytes.size - before);
    else
        abort_for_want_of_memory(connection);
}

void cny_channel_close_without_memory(cny_channel *channel)
{
    cny_error *reason = cny_error_capture();
    cny_channel_close_locked(channel, reason);
    cny_error_unref(reason);
}

void cny_channel_close(cny_channel *channel)
{
    if (!channel)
        return;
    cny_channel_lock(channel);
    cny_error *reason = cny_error_ref(channel->feed.reason); /* the broker ended what it was for */
    if (!reason)
        reason = cny_error_new(CONEY_E_CLOSED, 0,
                               channel->confirms.max > 0
                                   ? "closed by the program; what the broker did not confirm it may have"
                                   : "closed, it is not needed any more");
    cny_channel_close_locked(channel, reason);
    cny_channel_unlock(channel);
    cny_error_unref(reason);
}

void cny_channel_close_and_wait(cny_channel *channel, int64_t deadline)
{
    cny_channel_close(channel);
    if (!channel)
        return;
    cny_connection *connection = channel->connection;
    bool in_time = true;
    cny_channel_lock(channel);
    while (channel->state == CNY_CHANNEL_CLOSING && !*connection->blocked && in_time)
        in_time = cny_cond_wait(&connection->changed, &connection->lock, deadline);
    cny_channel_unlock(channel);
}

/* ---- calls ---- */

static uint32_t method_of(const cny_buffer *frame)
{
    const uint8_t *at = frame->data + 7;
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static coney_status append(cny_channel *channel, const cny_buffer *frame)
{
    if (!cny_buffer_append(&channel->connection->outbox.outgoing.bytes, frame->data, frame->size))
        return cny_fail_memory();
    cny_connection_appended_urgently(channel->connection, frame->size);
    return CONEY_OK;
}

/* Waits for the reply of the call that was just sent. After a call without an answer nobody knows the channel's state,
 * so the channel is closed. */
static coney_status wait_for_reply(cny_channel *channel, int64_t deadline)
{
    bool in_time = true;
    channel->connection->pacing.waiting_for_answer++;
    while (channel->awaited && !channel->reason && in_time)
        in_time = cny_cond_wait(&channel->changed, &channel->connection->lock, deadline);
    channel->connection->pacing.waiting_for_answer--;
    if (!channel->awaited)
        return CONEY_OK;
    if (channel->reason)
        return cny_error_raise(channel->reason);
    const char *blocked = channel->connection->blocked;
    coney_status status = cny_fail(CONEY_E_TIMEOUT, "no answer from the broker within the deadline%s%s",
                                   *blocked ? "; it holds back publishers: " : "", blocked);
    cny_error *reason = cny_error_capture();
    cny_channel_close_locked(channel, reason);
    cny_error_unref(reason);
    return status;
}

static coney_status call_locked(cny_channel *channel, const cny_buffer *frame, uint32_t awaited, cny_incoming *reply,
                                int64_t deadline)
{
    bool in_time = true;
    while (channel->calling && !channel->reason && in_time) /* another thread's call */
        in_time = cny_cond_wait(&channel->changed, &channel->connection->lock, deadline);
    if (channel->reason)
        return cny_error_raise(channel->reason);
    if (channel->calling)
        return cny_fail(CONEY_E_TIMEOUT, "another call on the channel did not end within the deadline");
    coney_status status = append(channel, frame);
    if (status != CONEY_OK)
        return status;
    channel->calling = method_of(frame);
    channel->awaited = awaited;
    channel->reply = reply;
    status = wait_for_reply(channel, deadline);
    channel->calling = channel->awaited = 0;
    channel->reply = NULL;
    pthread_cond_broadcast(&channel->changed);
    return status;
}

coney_status cny_channel_call(cny_channel *channel, const cny_buffer *frame, uint32_t awaited, cny_incoming *reply,
                              int64_t deadline)
{
    cny_channel_lock(channel);
    coney_status status = call_locked(channel, frame, awaited, reply, deadline);
    cny_channel_unlock(channel);
    return status;
}

/* The four methods of a subscription go out together. When the broker closes the connection it may drop its answers to
 * the first ones. So each of the four stands for all of them. */
static bool is_of_subscription(uint32_t method)
{
    return method == CNY_CHANNEL_OPEN || method == CNY_BASIC_QOS || method == CNY_TX_SELECT ||
           method == CNY_BASIC_CONSUME;
}

bool cny_channel_may_be_reason(const cny_channel *channel, uint32_t cause)
{
    if (channel->feed.states.stage == CNY_STAGE_OPENING || channel->feed.renewal.unanswered > 0)
        return cause == 0 || is_of_subscription(cause);
    bool is_asked = channel->awaited || channel->series.unanswered > 0;
    return is_asked && (cause == 0 || channel->calling == cause);
}
