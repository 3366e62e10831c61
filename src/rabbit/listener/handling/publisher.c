/* SPDX-License-Identifier: MIT */
/* What a container itself publishes goes through confirmed channels, which are opened when they are needed and replaced
 * when they are gone: one for messages that failed, one for replies, and one for replies to exchanges. A request can
 * name an exchange that does not exist, which costs the channel. Any thread; it waits for the confirm. */
#include "rabbit/listener/handling/publisher.h"

#define MAX_UNCONFIRMED 10000

void cny_publisher_init(cny_publisher *publisher)
{
    pthread_mutex_init(&publisher->lock, NULL);
}

void cny_publisher_free(cny_publisher *publisher)
{
    cny_channel_close(publisher->channel);
    cny_channel_unref(publisher->channel);
    pthread_mutex_destroy(&publisher->lock);
}

/* Gives a reference to one that is alive, NULL if there is none. */
static cny_channel *current_channel(cny_publisher *publisher)
{
    cny_channel *dead = NULL, *channel = NULL;
    pthread_mutex_lock(&publisher->lock);
    if (publisher->channel && !cny_channel_alive(publisher->channel)) {
        dead = publisher->channel;
        publisher->channel = NULL;
    }
    if (publisher->channel)
        channel = cny_channel_ref(publisher->channel);
    pthread_mutex_unlock(&publisher->lock);
    cny_channel_unref(dead);
    return channel;
}

/* Two threads may open one at the same time; the first one's is used. */
static cny_channel *keep_first(cny_publisher *publisher, cny_channel *made)
{
    cny_channel *surplus = NULL;
    pthread_mutex_lock(&publisher->lock);
    if (publisher->channel)
        surplus = made;
    else
        publisher->channel = made;
    cny_channel *kept = cny_channel_ref(publisher->channel);
    pthread_mutex_unlock(&publisher->lock);
    cny_channel_close(surplus);
    cny_channel_unref(surplus);
    return kept;
}

static coney_status get_channel(const cny_handling_context *context, cny_publisher *publisher, cny_channel **channel,
                                int64_t deadline)
{
    *channel = current_channel(publisher);
    if (*channel)
        return CONEY_OK;
    const cny_confirm_options confirms = {.max_unconfirmed = MAX_UNCONFIRMED, .timeout_ms = -1};
    cny_channel *made;
    coney_status status = cny_channel_open(&made, context->factory, CONEY_PUBLISHING, false, deadline);
    if (status != CONEY_OK)
        return status;
    status = cny_channel_confirm_select(made, &confirms, deadline);
    if (status != CONEY_OK) {
        cny_channel_close(made);
        cny_channel_unref(made);
        return status;
    }
    *channel = keep_first(publisher, made);
    return CONEY_OK;
}

static coney_status publish_with_others(const cny_handling_context *context, cny_publisher *publisher,
                                        const cny_publish *publish, int64_t deadline)
{
    coney_status status;
    do { /* a channel that died before anything was sent is replaced */
        cny_channel *channel;
        status = get_channel(context, publisher, &channel, deadline);
        if (status != CONEY_OK)
            return status;
        status = cny_channel_publish_and_wait(channel, publish, deadline);
        cny_channel_unref(channel);
    } while (status == CONEY_E_STALE && cny_now_ms() < deadline);
    cny_publish_note_outcome(context->factory, publish, status);
    return status;
}

coney_status cny_publish_confirmed(const cny_handling_context *context, cny_publisher *publisher, const char *exchange,
                                   const char *routing_key, coney_message *message, bool mandatory)
{
    int64_t deadline = cny_deadline(context->publish_timeout_ms);
    const cny_publish publish = {
        .exchange = exchange, .routing_key = routing_key, .message = message, .mandatory = mandatory};
    coney_status status = cny_publish_must_isolate(context->factory, &publish)
                              ? cny_publish_isolated(context->factory, &publish, deadline)
                              : publish_with_others(context, publisher, &publish, deadline);
    return status == CONEY_OK
               ? status
               : cny_fail_in("send to exchange '%.255s' with routing key '%.255s'", exchange, routing_key);
}
