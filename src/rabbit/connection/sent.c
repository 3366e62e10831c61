/* SPDX-License-Identifier: MIT */
/* What has become of the messages that were sent on a channel: waiting for their outcomes, counts and lists. Any
 * thread; each function takes the lock of the connection. Knows nothing of how a message is sent. */
#include "rabbit/connection/publish.h"

/* ---- for the confirms of the channel ---- */

static void ref(void *self)
{
    cny_channel_ref(self);
}

/* Events thread, not under lock. */
static void finished(void *self, size_t callbacks)
{
    cny_channel *channel = self;
    cny_connection *connection = channel->connection;
    cny_channel_lock(channel);
    cny_confirms_callbacks_returned(&channel->confirms, callbacks);
    cny_channel_unlock(channel);
    if (atomic_load(&connection->has_news) && atomic_exchange(&connection->has_news, false)) /* the I/O thread sleeps */
        connection->owner->wake(connection->owner_self);
    cny_channel_drop(channel, (unsigned)callbacks);
}

static void has_news(void *self)
{
    const cny_channel *channel = self;
    channel->connection->has_news = true;
}

static void log_later(void *self, const char *sentence)
{
    const cny_channel *channel = self;
    cny_connection_log_later(channel->connection, sentence);
}

static const cny_confirms_owner owner_of_confirms = {
    .ref = ref, .finished = finished, .has_news = has_news, .log_later = log_later};

coney_status cny_channel_start_confirms(cny_channel *channel, const cny_confirm_options *options)
{
    cny_confirms *confirms = &channel->confirms;
    cny_channel_lock(channel);
    confirms->owner = &owner_of_confirms;
    confirms->self = channel;
    confirms->events = channel->connection->events;
    confirms->changed = &channel->changed;
    coney_status status = cny_confirms_start(confirms, options);
    cny_channel_unlock(channel);
    return status;
}

/* ---- for those who send ---- */

size_t cny_channel_unfinished(cny_channel *channel)
{
    cny_channel_lock(channel);
    size_t unfinished = channel->confirms.unfinished;
    cny_channel_unlock(channel);
    return unfinished;
}

bool cny_channel_finished(cny_channel *channel)
{
    return cny_channel_unfinished(channel) == 0;
}

static bool is_finished(const cny_confirms *confirms)
{
    return confirms->unfinished == 0;
}

static bool wait_until(cny_channel *channel, bool (*is_so)(const cny_confirms *confirms), int64_t deadline)
{
    bool in_time = true;
    cny_channel_lock(channel);
    channel->confirms.waiting_for_end++;
    while (!is_so(&channel->confirms) && in_time)
        in_time = cny_cond_wait(&channel->changed, &channel->connection->lock, deadline);
    channel->confirms.waiting_for_end--;
    bool reached = is_so(&channel->confirms);
    cny_channel_unlock(channel);
    return reached;
}

bool cny_channel_wait_for_outcomes(cny_channel *channel, int64_t deadline)
{
    return wait_until(channel, cny_confirms_have_all_outcomes, deadline);
}

bool cny_channel_wait_until_finished(cny_channel *channel, int64_t deadline)
{
    return wait_until(channel, is_finished, deadline);
}

coney_status cny_channel_wait_for_confirms(cny_channel *channel, int64_t deadline)
{
    if (cny_channel_wait_until_finished(channel, deadline))
        return CONEY_OK;
    return cny_fail(CONEY_E_TIMEOUT,
                    "%zu sends are not complete, or their callbacks have not returned, at the deadline",
                    cny_channel_unfinished(channel));
}

/* Under lock. */
static size_t take_tally(size_t *count, cny_error **kept, cny_error **first)
{
    size_t taken = *count;
    *first = *kept;
    *kept = NULL;
    *count = 0;
    return taken;
}

size_t cny_channel_take_returned(cny_channel *channel, cny_error **first)
{
    cny_channel_lock(channel);
    size_t count = take_tally(&channel->returned, &channel->first_returned, first);
    cny_channel_unlock(channel);
    return count;
}

void cny_channel_tally_failures(cny_channel *channel)
{
    cny_channel_lock(channel);
    channel->confirms.tallied = true;
    cny_channel_unlock(channel);
}

size_t cny_channel_take_failures(cny_channel *channel, cny_error **first)
{
    cny_channel_lock(channel);
    size_t count = take_tally(&channel->confirms.failed, &channel->confirms.failure, first);
    cny_channel_unlock(channel);
    return count;
}

int64_t cny_channel_expire(cny_channel *channel, int64_t now)
{
    cny_channel_lock(channel);
    int64_t next = cny_confirms_expire(&channel->confirms, now);
    cny_channel_unlock(channel);
    return next;
}

void cny_channel_add_statistics(cny_channel *channel, coney_send_statistics *sum)
{
    cny_channel_lock(channel);
    cny_statistics_add(sum, &channel->confirms.statistics);
    cny_channel_unlock(channel);
}

coney_status cny_channel_list_unconfirmed(cny_channel *channel, int64_t until_us, cny_buffer *list, cny_arena *arena)
{
    cny_channel_lock(channel);
    coney_status status = cny_confirms_list(&channel->confirms, until_us, list, arena);
    cny_channel_unlock(channel);
    return status;
}
