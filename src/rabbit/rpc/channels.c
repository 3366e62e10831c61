/* SPDX-License-Identifier: MIT */
/* The channels by which requests go out and replies come in: opened by the first caller who needs one, shared by as
 * many calls as an option says, closed when idle. On the callers' threads and the recovery thread. */
#include "rabbit/rpc/parts.h"

#include <stdio.h>

#define DIRECT_REPLY_TO "amq.rabbitmq.reply-to"

enum { REPAIR_PAUSE_MS = 1000 };

/* ---- what the I/O thread tells ---- */

static void wake(cny_rpc *rpc)
{
    cny_rpc_lock(rpc);
    rpc->changes++;
    pthread_cond_broadcast(&rpc->changed);
    cny_rpc_unlock(rpc);
}

static uint64_t changes_of(cny_rpc *rpc)
{
    cny_rpc_lock(rpc);
    uint64_t changes = rpc->changes;
    cny_rpc_unlock(rpc);
    return changes;
}

/* False at the deadline. */
static bool wait_for_change(cny_rpc *rpc, uint64_t known, int64_t deadline)
{
    bool in_time = true;
    cny_rpc_lock(rpc);
    while (rpc->changes == known && in_time)
        in_time = cny_cond_wait(&rpc->changed, &rpc->lock, deadline);
    cny_rpc_unlock(rpc);
    return in_time;
}

/* The next confirmed call of the channel, whose reply cannot come any more. Gives a reference. The calls that are not
 * confirmed are told by their confirms. */
static cny_call *next_orphan(const cny_reply_channel *channel)
{
    cny_rpc *rpc = channel->rpc;
    cny_rpc_lock(rpc);
    cny_call *call = channel->oldest;
    while (call && !call->confirmed)
        call = call->next;
    call = call ? cny_call_ref(call) : NULL;
    cny_rpc_unlock(rpc);
    return call;
}

static cny_error *error_of_loss(const cny_rpc *rpc)
{
    if (cny_factory_is_draining(rpc->parts.factory))
        return cny_error_new(CONEY_E_CLOSED, 0, "the connection factory was closed before the reply came");
    return cny_error_new(CONEY_E_LOST, 0,
                         "the channel for the reply was lost; the request was confirmed, and may have been handled");
}

/* The events lock is not held. */
static void end_orphans(const cny_reply_channel *channel)
{
    cny_call *call;
    cny_error *error = error_of_loss(channel->rpc);
    while ((call = next_orphan(channel))) {
        cny_call_end(call, (cny_end){.error = error});
        cny_call_unref(call);
    }
    cny_error_unref(error);
}

/* I/O thread, under the connection's lock. A reply may still come to a fixed queue. */
static void on_change(void *self)
{
    cny_reply_channel *channel = self;
    if (channel->path != CONEY_REPLY_FIXED_QUEUE && channel->consumer && !cny_channel_alive(channel->consumer))
        end_orphans(channel);
    atomic_store(&channel->is_unchecked, true);
    wake(channel->rpc);
}

/* ---- opening ---- */

static void drop(cny_channel **channel)
{
    cny_channel *gone = *channel;
    *channel = NULL;
    if (!gone)
        return;
    cny_channel_close(gone);
    cny_channel_unref(gone);
}

static void drop_consumer(cny_reply_channel *channel)
{
    if (channel->consumer)
        cny_channel_unwatch(channel->consumer);
    drop(&channel->consumer);
}

static void free_channel(cny_reply_channel *channel)
{
    drop_consumer(channel);
    drop(&channel->publisher);
    cny_free(channel);
}

static coney_connection_role role_of(const cny_reply_channel *channel)
{
    return channel->path == CONEY_REPLY_FIXED_QUEUE ? CONEY_CONSUMING : CONEY_PUBLISHING;
}

/* Without confirms of its own for a fixed queue, whose publisher is on the other connection. A broker that holds back
 * publishers would not answer, so the channel is not opened meanwhile. */
static coney_status subscribe(cny_reply_channel *channel, int64_t deadline)
{
    const cny_rpc *rpc = channel->rpc;
    bool is_fixed = channel->path == CONEY_REPLY_FIXED_QUEUE;
    const cny_confirm_options confirms = {.max_unconfirmed = rpc->parts.max_unconfirmed, .timeout_ms = -1};
    const coney_queue temporary = {.name = channel->address, .exclusive = true, .auto_delete = true, .transient = true};
    const cny_subscription what = {
        .consume = {.queue = is_fixed ? rpc->options.reply_queue : channel->address,
                    .no_ack = !is_fixed,
                    .exclusive = is_fixed},
        .confirms = is_fixed ? NULL : &confirms,
        .temporary = channel->path == CONEY_REPLY_TEMPORARY_QUEUE ? &temporary : NULL,
        .unblocked_by = rpc->parts.flow == CONEY_FLOW_FAIL ? 0 : deadline,
    };
    const cny_watcher watcher = {.on_change = on_change, .on_message = cny_reply_arrives, .self = channel};
    return cny_channel_subscribe(&channel->consumer, rpc->parts.factory, role_of(channel), &what, &watcher);
}

/* CONEY_E_STALE: the connection was lost. */
static coney_status raise_end(cny_error *reason)
{
    coney_status status = reason ? cny_error_raise(reason) : cny_fail(CONEY_E_LOST, "the consumer was cancelled");
    cny_error_unref(reason);
    return status == CONEY_E_LOST ? CONEY_E_STALE : status;
}

/* Waits until consuming has begun. */
static coney_status await_consumer(const cny_reply_channel *channel, int64_t deadline)
{
    cny_rpc *rpc = channel->rpc;
    for (bool in_time = true;;) {
        cny_error *reason;
        uint64_t changes = changes_of(rpc);
        cny_feed_state state = cny_channel_feed(channel->consumer, &reason);
        if (state == CNY_FEED_ENDED)
            return raise_end(reason);
        cny_error_unref(reason);
        if (state == CNY_FEED_ON)
            return CONEY_OK;
        if (!in_time && cny_factory_check_blocked(rpc->parts.factory) != CONEY_OK)
            return CONEY_E_BLOCKED;
        if (!in_time)
            return cny_fail(CONEY_E_TIMEOUT, "never sent: the broker has not begun to deliver replies by the deadline");
        in_time = wait_for_change(rpc, changes, deadline);
    }
}

/* One attempt to consume. */
static coney_status begin_to_consume(cny_reply_channel *channel, int64_t deadline)
{
    const cny_rpc *rpc = channel->rpc;
    coney_connection_factory *factory = rpc->parts.factory;
    coney_status status = rpc->parts.flow == CONEY_FLOW_FAIL
                              ? cny_factory_ensure_open(factory, role_of(channel), deadline)
                              : cny_factory_wait_open(factory, role_of(channel), deadline);
    if (status == CONEY_OK && channel->path == CONEY_REPLY_FIXED_QUEUE)
        status = cny_declarations_wait(factory, "", rpc->options.reply_queue, deadline);
    if (status == CONEY_OK)
        status = subscribe(channel, deadline);
    if (status == CONEY_OK)
        status = await_consumer(channel, deadline);
    if (status != CONEY_OK) {
        cny_error *error = cny_error_capture();
        drop_consumer(channel);
        cny_error_raise(error);
        cny_error_unref(error);
    }
    return status;
}

static void set_address(cny_reply_channel *channel)
{
    const cny_rpc *rpc = channel->rpc;
    char uuid[37];
    switch (channel->path) {
    case CONEY_REPLY_TEMPORARY_QUEUE:
        snprintf(channel->address, sizeof channel->address, "coney.reply.%s", cny_uuid(uuid) ? uuid : rpc->name);
        break;
    case CONEY_REPLY_FIXED_QUEUE:
        snprintf(channel->address, sizeof channel->address, "%s", rpc->options.reply_address);
        break;
    default: snprintf(channel->address, sizeof channel->address, DIRECT_REPLY_TO);
    }
}

/* A broker that does not know direct reply-to says that there is no such queue. */
static bool falls_back(cny_reply_channel *channel, coney_status status)
{
    cny_rpc *rpc = channel->rpc;
    if (status != CONEY_E_NOT_FOUND || channel->path != CONEY_REPLY_DIRECT ||
        rpc->options.reply_path != CONEY_REPLY_AUTO)
        return false;
    cny_log(CONEY_LOG_WARN, "requests: the broker has no direct reply-to, so replies come to temporary queues: %s",
            coney_last_error());
    cny_rpc_lock(rpc);
    rpc->is_without_direct = true;
    cny_rpc_unlock(rpc);
    channel->path = CONEY_REPLY_TEMPORARY_QUEUE;
    return true;
}

static coney_status open_consumer(cny_reply_channel *channel, int64_t deadline)
{
    coney_status status;
    do {
        set_address(channel);
        status = begin_to_consume(channel, deadline);
    } while (falls_back(channel, status) || (status == CONEY_E_STALE && cny_now_ms() < deadline));
    if (status == CONEY_E_STALE)
        return cny_fail(CONEY_E_CONNECT, "not sent by the deadline: %s", coney_last_error());
    return status == CONEY_OK
               ? status
               : cny_fail_in(
                     "consume replies from %s '%s'", channel->path == CONEY_REPLY_DIRECT ? "the pseudo-queue" : "queue",
                     channel->path == CONEY_REPLY_FIXED_QUEUE ? channel->rpc->options.reply_queue : channel->address);
}

static coney_status open_publisher(cny_reply_channel *channel, int64_t deadline)
{
    const cny_rpc *rpc = channel->rpc;
    const cny_confirm_options confirms = {.max_unconfirmed = rpc->parts.max_unconfirmed, .timeout_ms = -1};
    coney_status status = cny_channel_open(&channel->publisher, rpc->parts.factory, CONEY_PUBLISHING,
                                           rpc->parts.flow == CONEY_FLOW_FAIL, deadline);
    return status == CONEY_OK ? cny_channel_confirm_select(channel->publisher, &confirms, deadline) : status;
}

static bool is_alive(cny_channel *channel)
{
    return channel && cny_channel_alive(channel);
}

static bool has_consumer(const cny_reply_channel *channel)
{
    return is_alive(channel->consumer) && !channel->is_cancelled;
}

/* Opens what is missing. */
static coney_status open_channel(cny_reply_channel *channel, int64_t deadline)
{
    bool is_fixed = channel->path == CONEY_REPLY_FIXED_QUEUE;
    coney_status status = CONEY_OK;
    if (!has_consumer(channel)) {
        drop_consumer(channel);
        status = open_consumer(channel, deadline);
    }
    if (status == CONEY_OK && !is_fixed)
        channel->publisher = cny_channel_ref(channel->consumer);
    if (status == CONEY_OK && is_fixed && !is_alive(channel->publisher)) {
        drop(&channel->publisher);
        status = open_publisher(channel, deadline);
    }
    return status;
}

/* ---- consumers that the broker has cancelled, for example because their queue was deleted ---- */

/* Under lock: one of which the I/O thread has told something. */
static cny_reply_channel *next_unchecked(const cny_rpc *rpc)
{
    cny_reply_channel *each = rpc->channels;
    while (each && !atomic_exchange(&each->is_unchecked, false))
        each = each->next;
    return each;
}

static bool is_ended(const cny_reply_channel *channel)
{
    cny_error *reason;
    bool is_ended = cny_channel_feed(channel->consumer, &reason) == CNY_FEED_ENDED || reason;
    cny_error_unref(reason);
    return is_ended;
}

/* Under lock, which is given back meanwhile. */
static void check_consumers(cny_rpc *rpc)
{
    cny_reply_channel *channel;
    while (!rpc->opening && (channel = next_unchecked(rpc))) {
        channel->outstanding++; /* so that it stays */
        cny_rpc_unlock(rpc);
        bool ended = channel->consumer && is_ended(channel);
        if (ended && channel->path != CONEY_REPLY_FIXED_QUEUE)
            end_orphans(channel);
        cny_rpc_lock(rpc);
        channel->is_cancelled = channel->is_cancelled || ended;
        cny_reply_channel_release(channel);
    }
}

/* ---- choosing ---- */

/* Under lock. */
static bool is_usable(const cny_reply_channel *channel)
{
    return has_consumer(channel) && is_alive(channel->publisher);
}

/* Under lock: the first usable channel with a free place, so that the last ones become idle. Without a limit the one
 * with the fewest calls; NULL: there is none. */
static cny_reply_channel *choose(const cny_rpc *rpc, bool is_limited)
{
    cny_reply_channel *chosen = NULL;
    bool has_limit = is_limited && rpc->options.reply_path != CONEY_REPLY_FIXED_QUEUE;
    for (cny_reply_channel *each = rpc->channels; each; each = each->next) {
        if (!is_usable(each) || (has_limit && each->outstanding >= (size_t)rpc->options.max_per_channel))
            continue;
        if (is_limited)
            return each;
        if (!chosen || each->outstanding < chosen->outstanding)
            chosen = each;
    }
    return chosen;
}

static cny_reply_channel *new_channel(cny_rpc *rpc)
{
    cny_reply_channel *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    made->rpc = rpc;
    made->path = rpc->options.reply_path;
    if (made->path == CONEY_REPLY_AUTO)
        made->path = rpc->is_without_direct ? CONEY_REPLY_TEMPORARY_QUEUE : CONEY_REPLY_DIRECT;
    return made;
}

/* Under lock, which is given back meanwhile; no other thread opens one. Fixed: the one channel is repaired. */
static coney_status open_one(cny_rpc *rpc, int64_t deadline)
{
    bool is_repair = rpc->options.reply_path == CONEY_REPLY_FIXED_QUEUE && rpc->channels;
    cny_reply_channel *channel = is_repair ? rpc->channels : new_channel(rpc);
    if (!channel)
        return cny_fail_memory();
    rpc->opening = true;
    cny_rpc_unlock(rpc);
    coney_status status = open_channel(channel, deadline);
    cny_error *error = status == CONEY_OK ? NULL : cny_error_capture();
    if (status != CONEY_OK && !is_repair)
        free_channel(channel);
    cny_rpc_lock(rpc);
    rpc->opening = false;
    if (status == CONEY_OK)
        channel->is_cancelled = false;
    if (status == CONEY_OK && !is_repair) {
        cny_reply_channel **last = &rpc->channels;
        while (*last)
            last = &(*last)->next;
        *last = channel;
        channel->idle_since = cny_now_ms();
    }
    rpc->changes++;
    pthread_cond_broadcast(&rpc->changed);
    cny_error_raise(error);
    cny_error_unref(error);
    return status;
}

/* Under lock. A thread opens a channel: waits for that, unless another one is usable, although full. */
static coney_status wait_for_opener(cny_rpc *rpc, int64_t deadline)
{
    while (rpc->opening && !choose(rpc, false)) {
        if (!cny_cond_wait(&rpc->changed, &rpc->lock, deadline))
            return cny_fail(CONEY_E_TIMEOUT, "never sent: another thread has not opened a channel for replies by the "
                                             "deadline");
    }
    return CONEY_OK;
}

/* Under lock. */
static coney_status find_channel(cny_rpc *rpc, cny_reply_channel **found, int64_t deadline)
{
    coney_status status = CONEY_OK;
    check_consumers(rpc);
    while (!rpc->is_closed && !(*found = choose(rpc, true))) {
        if (rpc->opening) {
            status = wait_for_opener(rpc, deadline);
            *found = choose(rpc, false);
        } else {
            status = open_one(rpc, deadline);
            if (status == CONEY_E_LIMIT) /* the connection has no channel left */
                *found = choose(rpc, false);
        }
        if (*found)
            return CONEY_OK;
        if (status != CONEY_OK)
            return status;
    }
    return rpc->is_closed ? cny_fail(CONEY_E_CLOSED, "the template is being freed") : CONEY_OK;
}

/* At the deadline, not under lock: what the channel, of which the last error says that it was not opened, lacks. */
static coney_status tell_hindrance(const cny_rpc *rpc)
{
    coney_connection_factory *factory = rpc->parts.factory;
    cny_error *timeout = cny_error_capture();
    coney_status status = cny_factory_check_blocked(factory);
    if (status == CONEY_OK)
        status = cny_factory_wait_open(factory, CONEY_PUBLISHING, cny_now_ms());
    if (status == CONEY_OK)
        status = cny_error_raise(timeout);
    cny_error_unref(timeout);
    return status;
}

coney_status cny_reply_channel_take(cny_rpc *rpc, cny_reply_channel **channel, cny_channel **publisher,
                                    int64_t deadline)
{
    cny_reply_channel *found = NULL;
    cny_rpc_lock(rpc);
    coney_status status = find_channel(rpc, &found, deadline);
    if (status == CONEY_OK) {
        found->outstanding++;
        *channel = found;
        *publisher = cny_channel_ref(found->publisher);
    }
    cny_rpc_unlock(rpc);
    return status == CONEY_E_TIMEOUT ? tell_hindrance(rpc) : status;
}

/* ---- closing ---- */

static bool is_done(const cny_reply_channel *channel, int64_t now)
{
    int idle_ms = channel->rpc->options.idle_ms;
    if (channel->outstanding > 0 || channel->path == CONEY_REPLY_FIXED_QUEUE)
        return false;
    return !is_usable(channel) || (idle_ms >= 0 && now - channel->idle_since >= idle_ms);
}

/* Under lock: takes one out that is gone or idle. */
static cny_reply_channel *take_done(cny_rpc *rpc, int64_t now)
{
    for (cny_reply_channel **place = &rpc->channels; *place; place = &(*place)->next) {
        cny_reply_channel *channel = *place;
        if (!is_done(channel, now))
            continue;
        *place = channel->next;
        return channel;
    }
    return NULL;
}

static void close_done(cny_rpc *rpc, int64_t now)
{
    for (;;) {
        cny_rpc_lock(rpc);
        cny_reply_channel *done = rpc->is_closed ? NULL : take_done(rpc, now);
        cny_rpc_unlock(rpc);
        if (!done)
            return;
        free_channel(done);
    }
}

/* Replies to confirmed requests may wait in a fixed queue. Waits for nothing: an attempt that fails is followed by
 * another one. */
static int64_t repair_fixed(cny_rpc *rpc, int64_t now)
{
    cny_rpc_lock(rpc);
    cny_reply_channel *fixed = rpc->options.reply_path == CONEY_REPLY_FIXED_QUEUE ? rpc->channels : NULL;
    bool is_needed = fixed && !rpc->opening && !rpc->is_closed && !has_consumer(fixed);
    bool is_due = is_needed && now >= rpc->repair_at;
    if (is_due) {
        rpc->opening = true;
        rpc->repair_at = now + REPAIR_PAUSE_MS;
    }
    int64_t next = is_needed ? rpc->repair_at : INT64_MAX;
    cny_rpc_unlock(rpc);
    if (!is_due)
        return next;
    drop_consumer(fixed);
    bool is_open = subscribe(fixed, 0) == CONEY_OK;
    cny_rpc_lock(rpc);
    rpc->opening = false;
    fixed->is_cancelled = false;
    rpc->changes++;
    pthread_cond_broadcast(&rpc->changed);
    cny_rpc_unlock(rpc);
    return is_open ? INT64_MAX : next;
}

/* When a channel is idle for long enough, or a fixed queue that replies are awaited from is looked at again: nothing
 * wakes this thread when its consumer is cancelled. */
static int64_t next_look(cny_rpc *rpc, int64_t now)
{
    int64_t next = INT64_MAX;
    cny_rpc_lock(rpc);
    for (const cny_reply_channel *each = rpc->channels; each; each = each->next) {
        bool is_fixed = each->path == CONEY_REPLY_FIXED_QUEUE;
        if (is_fixed && each->outstanding > 0)
            next = cny_sooner(next, now + REPAIR_PAUSE_MS);
        if (!is_fixed && each->outstanding == 0 && rpc->options.idle_ms >= 0)
            next = cny_sooner(next, each->idle_since + rpc->options.idle_ms);
    }
    cny_rpc_unlock(rpc);
    return next;
}

int64_t cny_reply_channels_tick(cny_rpc *rpc, int64_t now)
{
    cny_rpc_lock(rpc);
    check_consumers(rpc);
    cny_rpc_unlock(rpc);
    close_done(rpc, now);
    return cny_sooner(repair_fixed(rpc, now), next_look(rpc, now));
}

void cny_reply_channels_close(cny_rpc *rpc)
{
    cny_rpc_lock(rpc);
    cny_reply_channel *all = rpc->channels;
    rpc->channels = NULL;
    cny_rpc_unlock(rpc);
    while (all) {
        cny_reply_channel *next = all->next;
        free_channel(all);
        all = next;
    }
}
