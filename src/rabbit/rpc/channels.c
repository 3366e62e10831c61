/* SPDX-License-Identifier: MIT */
/* The channels by which requests go out and replies come in: opened by the first caller who needs one, shared by as
 * many calls as an option says, closed when idle. On the callers' threads and the recovery thread. */
#include "rabbit/rpc/opening.h"

enum { REPAIR_PAUSE_MS = 1000 };

/* ---- consumers that the broker has cancelled, for example because their queue was deleted ---- */

/* Under lock: one of which the I/O thread has told something. */
static cny_reply_channel *next_unchecked(const cny_rpc *rpc)
{
    cny_reply_channel *each = rpc->channels;
    while (each && !atomic_exchange(&each->is_unchecked, false))
        each = each->next;
    return each;
}

static bool is_ended(cny_channel *consumer)
{
    cny_error *reason;
    bool is_ended = cny_channel_feed(consumer, &reason) == CNY_FEED_ENDED || reason;
    cny_error_unref(reason);
    return is_ended;
}

/* Under lock, which is given back meanwhile: another thread may replace the consumer then. */
static void check_consumer(cny_rpc *rpc, cny_reply_channel *channel)
{
    cny_channel *consumer = cny_channel_ref(channel->consumer);
    channel->outstanding++; /* so that it stays */
    cny_rpc_unlock(rpc);
    bool ended = is_ended(consumer);
    if (ended && channel->path != CONEY_REPLY_FIXED_QUEUE)
        cny_reply_channel_end_orphans(channel);
    cny_rpc_lock(rpc);
    channel->is_cancelled = channel->is_cancelled || (ended && channel->consumer == consumer);
    cny_reply_channel_release(channel);
    cny_rpc_unlock(rpc);
    cny_channel_unref(consumer);
    cny_rpc_lock(rpc);
}

/* The same. */
static void check_consumers(cny_rpc *rpc)
{
    cny_reply_channel *channel;
    while (!rpc->opening && (channel = next_unchecked(rpc))) {
        if (channel->consumer)
            check_consumer(rpc, channel);
    }
}

/* ---- choosing ---- */

/* Under lock. */
static bool is_usable(const cny_reply_channel *channel)
{
    return cny_reply_channel_has_consumer(channel) && cny_is_alive(channel->publisher);
}

/* Under lock: the first usable channel with a free place, so that the last ones become idle. Without a limit the one
 * with the fewest calls; NULL: there is none. */
static cny_reply_channel *choose(const cny_rpc *rpc, bool is_limited)
{
    cny_reply_channel *chosen = NULL;
    if (rpc->opening && rpc->options.reply_path == CONEY_REPLY_FIXED_QUEUE)
        return NULL; /* the one channel is being repaired, without the lock */
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
    coney_status status = cny_reply_channel_open(channel, deadline);
    cny_error *error = status == CONEY_OK ? NULL : cny_error_capture();
    if (status != CONEY_OK && !is_repair)
        cny_reply_channel_free(channel);
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
        rpc->has_new_channel = true;
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
    return *found ? CONEY_OK : cny_fail(CONEY_E_CLOSED, "the template is being freed");
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
    if (found) {
        found->outstanding++;
        *channel = found;
        *publisher = cny_channel_ref(found->publisher);
    }
    bool has_new_channel = rpc->has_new_channel;
    rpc->has_new_channel = false;
    cny_rpc_unlock(rpc);
    if (has_new_channel) /* the recovery thread closes it when it is idle */
        cny_factory_wake(rpc->parts.factory);
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
        cny_reply_channel_free(done);
    }
}

/* Replies to confirmed requests may wait in a fixed queue. Waits for nothing: an attempt that fails is followed by
 * another one. */
static int64_t repair_fixed(cny_rpc *rpc, int64_t now)
{
    cny_rpc_lock(rpc);
    cny_reply_channel *fixed = rpc->options.reply_path == CONEY_REPLY_FIXED_QUEUE ? rpc->channels : NULL;
    bool is_needed = fixed && !rpc->opening && !rpc->is_closed && !cny_reply_channel_has_consumer(fixed);
    bool is_due = is_needed && now >= rpc->repair_at;
    if (is_due) {
        rpc->opening = true;
        rpc->repair_at = now + REPAIR_PAUSE_MS;
    }
    int64_t next = is_needed ? rpc->repair_at : INT64_MAX;
    cny_rpc_unlock(rpc);
    if (!is_due)
        return next;
    cny_reply_channel_drop_consumer(fixed);
    bool is_open = cny_reply_channel_subscribe(fixed, 0) == CONEY_OK;
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
        if (!is_fixed && rpc->options.idle_ms >= 0)
            next = cny_sooner(next, (each->outstanding > 0 ? now : each->idle_since) + rpc->options.idle_ms);
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
        cny_reply_channel_free(all);
        all = next;
    }
}
