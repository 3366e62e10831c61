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

/* ---- publishing ---- */

static coney_status fail_send(const cny_publish *publish)
{
    return cny_fail_in("send to exchange '%.255s' with routing key '%.255s'", publish->exchange, publish->routing_key);
}

/* A channel that died before anything was sent is replaced. */
static coney_status publish_with_others(const cny_handling_context *context, cny_publisher *publisher,
                                        cny_publishing *one)
{
    coney_status status;
    do {
        status = get_channel(context, publisher, &one->channel, one->deadline);
        if (status != CONEY_OK)
            return status;
        status = cny_channel_publish(one->channel, &one->publish, one->deadline);
        if (status == CONEY_OK) {
            cny_channel_await(one->channel, 1);
            return CONEY_OK;
        }
        cny_channel_unref(one->channel);
        one->channel = NULL;
    } while (status == CONEY_E_STALE && cny_now_ms() < one->deadline);
    cny_publish_note_outcome(context->factory, &one->publish, status);
    return status;
}

coney_status cny_publish_begin(const cny_handling_context *context, cny_publisher *publisher, cny_publishing *one,
                               bool at_once)
{
    coney_status status;
    one->deadline = cny_deadline(context->publish_timeout_ms);
    if (cny_publish_must_isolate(context->factory, &one->publish)) {
        status = cny_publish_isolated(context->factory, &one->publish, one->deadline);
        return status == CONEY_OK ? status : fail_send(&one->publish);
    }
    one->waiter = cny_waiter_new();
    if (!one->waiter)
        return cny_fail_memory();
    one->publish.waiter = one->publish.on_outcome ? NULL : one->waiter;
    one->publish.synchronous = at_once;
    status = publish_with_others(context, publisher, one);
    return status == CONEY_OK ? status : fail_send(&one->publish);
}

bool cny_publish_is_done(const cny_publishing *one)
{
    return !one->channel || cny_waiter_wait(one->waiter, 0) || cny_now_ms() >= one->deadline;
}

static coney_status wait_for_outcome(const cny_handling_context *context, const cny_publishing *one)
{
    static const char unconfirmed[] = "the broker did not confirm the message by the deadline; it may have it";
    if (cny_waiter_wait(one->waiter, one->deadline) || !cny_waiter_give_up(one->waiter))
        return cny_error_raise(cny_waiter_outcome(one->waiter));
    return cny_factory_check_blocked(context->factory) == CONEY_OK
               ? cny_fail(CONEY_E_TIMEOUT, "%s", unconfirmed)
               : cny_fail(CONEY_E_TIMEOUT, "%s; %s", unconfirmed, coney_last_error());
}

coney_status cny_publish_finish(const cny_handling_context *context, cny_publishing *one)
{
    if (!one->channel)
        return CONEY_OK;
    coney_status status = wait_for_outcome(context, one);
    cny_channel_await(one->channel, -1);
    cny_publish_note_outcome(context->factory, &one->publish, status);
    cny_channel_unref(one->channel);
    return status == CONEY_OK ? status : fail_send(&one->publish);
}

coney_status cny_publish_confirmed(const cny_handling_context *context, cny_publisher *publisher, const char *exchange,
                                   const char *routing_key, coney_message *message, bool mandatory)
{
    cny_publishing one = {
        .publish = {.exchange = exchange, .routing_key = routing_key, .message = message, .mandatory = mandatory}};
    coney_status status = cny_publish_begin(context, publisher, &one, true);
    if (status == CONEY_OK)
        status = cny_publish_finish(context, &one);
    cny_waiter_unref(one.waiter);
    return status;
}
