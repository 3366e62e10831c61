/* SPDX-License-Identifier: MIT */
/* The deliveries of one consumer that nobody has taken yet, and telling its watcher. Under the lock of the connection.
 * Knows neither subscribing nor settling. */
#include "rabbit/connection/channel.h"

#include <stdio.h>
#include <string.h>

static void free_messages(cny_buffer *buffer)
{
    coney_message **messages = (coney_message **)(void *)buffer->data;
    for (size_t i = 0; i < buffer->size / sizeof *messages; i++)
        coney_message_unref(messages[i]);
    cny_buffer_free(buffer);
}

void cny_feed_free(cny_feed *feed)
{
    free_messages(&feed->deliveries);
    free_messages(&feed->late);
    cny_error_unref(feed->reason);
    cny_renewal_free(&feed->renewal);
    cny_held_free(&feed->held);
}

void cny_feed_tell_change(cny_channel *channel)
{
    const cny_watcher *watcher = &channel->feed.watcher;
    pthread_cond_broadcast(&channel->changed);
    if (watcher->on_change)
        watcher->on_change(watcher->self);
}

/* With a prefetch the broker keeps the feed short. Without one, deliveries stay in the socket, and then at the broker,
 * until somebody takes what is here. Other consumers of the connection wait as well, but memory has an end. */
#define FULL_BYTES ((size_t)16 * 1024 * 1024)

void cny_feed_set_full(cny_channel *channel, bool full)
{
    cny_connection *connection = channel->connection;
    if (channel->feed.full == full)
        return;
    channel->feed.full = full;
    connection->pacing.full_feeds += full ? 1 : -1;
    if (full)
        cny_feed_tell_change(channel);
    if (connection->pacing.full_feeds == 0)
        cny_connection_wake(connection);
}

void cny_feed_check_full(cny_channel *channel)
{
    if (channel->feed.bytes >= FULL_BYTES)
        cny_feed_set_full(channel, true);
}

void cny_feed_begin(cny_channel *channel, const char *consumer_tag)
{
    cny_feed *feed = &channel->feed;
    feed->states.stage = *consumer_tag ? CNY_STAGE_CONSUMING : CNY_STAGE_IDLE;
    snprintf(feed->consumer_tag, sizeof feed->consumer_tag, "%s", consumer_tag); /* deliveries may follow at once */
    memcpy(feed->renewal.tag, feed->consumer_tag, sizeof feed->renewal.tag);
    cny_feed_tell_change(channel);
}

/* Who sees that it is not suspended any more sees that it is gone. */
void cny_feed_end(cny_channel *channel)
{
    cny_feed *feed = &channel->feed;
    if (atomic_exchange_explicit(&channel->suspended, false, memory_order_release)) {
        cny_error_unref(feed->reason); /* the channel's tells more */
        feed->reason = NULL;
    }
    cny_feed_close(&feed->states);
    cny_feed_set_full(channel, false);
    cny_feed_tell_change(channel);
}
