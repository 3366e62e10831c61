/* SPDX-License-Identifier: MIT */
/* Which of the broker's messages are kept. The wire asks at each content header, before it takes memory for the
 * message. A message that belongs to no channel, consumer or request is skipped as it comes. I/O thread only. */
#include "rabbit/connection/channel.h"

/* A smaller message that has been read with all of its body is kept without a look: it holds no memory while the rest
 * is awaited. Its receiver looks at it under the lock, which is taken once for many messages. */
#define ASKED_FROM_BYTES 4096

/* The answer that begins the consumer may have been read together with this delivery, and not be handled yet. */
static bool may_consume(const cny_channel *channel)
{
    const cny_feed *feed = &channel->feed;
    return feed->states.stage != CNY_STAGE_IDLE || channel->awaited == CNY_BASIC_CONSUME_OK;
}

/* A delivery after the end of the feed comes again when the channel is closed. A consumer that is kept gets it
 * nevertheless, to know which message that will be. */
static cny_admission admit_delivery(cny_channel *channel, const cny_announcement *announcement)
{
    if (!may_consume(channel) || channel->feed.states.intake == CNY_FEED_INTAKE_ENDED)
        return CNY_REFUSED;
    return cny_held_admits(channel, announcement) ? CNY_ADMITTED : CNY_ADMITTED_WITHOUT_BODY;
}

/* Only the whole body tells which message a return is about. A body larger than any that was sent here is none of ours.
 * */
static bool admits_return(const cny_channel *channel, const cny_announcement *announcement)
{
    return announcement->body_bytes <= channel->largest_sent;
}

/* Under lock. */
static cny_admission admit(cny_channel *channel, const cny_announcement *announcement)
{
    if (channel->state != CNY_CHANNEL_USABLE)
        return CNY_REFUSED;
    switch (announcement->method) {
    case CNY_BASIC_DELIVER: return admit_delivery(channel, announcement);
    case CNY_BASIC_GET_OK: return channel->awaited == CNY_BASIC_GET_OK ? CNY_ADMITTED : CNY_REFUSED;
    default: return admits_return(channel, announcement) ? CNY_ADMITTED : CNY_REFUSED;
    }
}

cny_admission cny_connection_admits(void *self, const cny_announcement *announcement)
{
    cny_connection *connection = self;
    if (announcement->is_here && announcement->body_bytes + announcement->header_bytes < ASKED_FROM_BYTES)
        return CNY_ADMITTED;
    pthread_mutex_lock(&connection->lock);
    cny_channel *channel = cny_connection_channel(connection, announcement->channel);
    cny_admission admission = channel ? admit(channel, announcement) : CNY_REFUSED;
    pthread_mutex_unlock(&connection->lock);
    return admission;
}
