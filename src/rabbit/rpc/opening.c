/* SPDX-License-Identifier: MIT */
/* Opens a channel for replies: subscribes to the queue of its path, falls back to a temporary queue, opens the
 * publisher of a fixed queue; and what the I/O thread tells of the channel. On the callers' threads and the recovery
 * thread, one at a time for each template. */
#include "rabbit/rpc/opening.h"

#include <stdio.h>

#define DIRECT_REPLY_TO "amq.rabbitmq.reply-to"

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
void cny_reply_channel_end_orphans(const cny_reply_channel *channel)
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
        cny_reply_channel_end_orphans(channel);
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

void cny_reply_channel_drop_consumer(cny_reply_channel *channel)
{
    if (channel->consumer)
        cny_channel_unwatch(channel->consumer);
    drop(&channel->consumer);
}

void cny_reply_channel_free(cny_reply_channel *channel)
{
    cny_reply_channel_drop_consumer(channel);
    drop(&channel->publisher);
    cny_free(channel);
}

static coney_connection_role role_of(const cny_reply_channel *channel)
{
    return channel->path == CONEY_REPLY_FIXED_QUEUE ? CONEY_CONSUMING : CONEY_PUBLISHING;
}

/* Without confirms of its own for a fixed queue, whose publisher is on the other connection. A broker that holds back
 * publishers would not answer, so the channel is not opened meanwhile. */
coney_status cny_reply_channel_subscribe(cny_reply_channel *channel, int64_t deadline)
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
        status = cny_reply_channel_subscribe(channel, deadline);
    if (status == CONEY_OK)
        status = await_consumer(channel, deadline);
    if (status != CONEY_OK) {
        cny_error *error = cny_error_capture();
        cny_reply_channel_drop_consumer(channel);
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

bool cny_is_alive(cny_channel *channel)
{
    return channel && cny_channel_alive(channel);
}

bool cny_reply_channel_has_consumer(const cny_reply_channel *channel)
{
    return cny_is_alive(channel->consumer) && !channel->is_cancelled;
}

/* Opens what is missing. */
coney_status cny_reply_channel_open(cny_reply_channel *channel, int64_t deadline)
{
    bool is_fixed = channel->path == CONEY_REPLY_FIXED_QUEUE;
    coney_status status = CONEY_OK;
    if (!cny_reply_channel_has_consumer(channel)) {
        cny_reply_channel_drop_consumer(channel);
        status = open_consumer(channel, deadline);
    }
    if (status == CONEY_OK && !is_fixed)
        channel->publisher = cny_channel_ref(channel->consumer);
    if (status == CONEY_OK && is_fixed && !cny_is_alive(channel->publisher)) {
        drop(&channel->publisher);
        status = open_publisher(channel, deadline);
    }
    return status;
}
