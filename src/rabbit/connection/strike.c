/* SPDX-License-Identifier: MIT */
/* Finds the channels whose requests or messages may be the reason when the broker closes the connection over one. What
 * follows is up to those who sent them: messages are sent again one by one, requests are tried on an isolated
 * connection. I/O thread, under the lock of the connection. */
#include "rabbit/connection/channel.h"

#include <stdio.h>

#define STRIKES_OF_POISON 3

/* The broker closes the connection over a request or message. It does not say over which one; at best it names the
 * method. */
typedef struct objection {
    cny_connection *connection;
    uint32_t method;      /* 0: it did not even say that */
    size_t candidates;    /* requests and messages that it may have objected to */
    cny_error *refusal;   /* for those that it must be about */
    cny_error *suspicion; /* for those that it may be about: a loss like any other, but marked */
} objection;

static bool is_about_messages(const objection *one)
{
    return one->method == 0 || one->method == CNY_BASIC_PUBLISH;
}

static size_t count_outstanding(const cny_channel *channel)
{
    return channel->confirms.max > 0 ? cny_confirms_outstanding(&channel->confirms)
                                     : channel->confirms.statistics.forgotten > 0; /* who knows */
}

static void count_candidates(objection *one)
{
    const cny_connection *connection = one->connection;
    for (size_t i = 0; i < connection->channel_capacity; i++) {
        const cny_channel *channel = connection->channels[i];
        if (!channel)
            continue;
        one->candidates += cny_channel_may_be_reason(channel, one->method);
        one->candidates += is_about_messages(one) ? count_outstanding(channel) : 0;
    }
}

/* If the broker names no method something else may have gone wrong, unless the connection is isolated. */
static bool is_alone(const objection *one)
{
    return one->candidates == 1 && one->connection->is_isolated;
}

/* If the method is named, all such requests learn of the refusal, because they are few and were refused together. */
static void end_requests(const objection *one)
{
    const cny_connection *connection = one->connection;
    bool is_known = one->method != 0 || is_alone(one);
    for (size_t i = 0; i < connection->channel_capacity; i++) {
        cny_channel *channel = connection->channels[i];
        if (channel && cny_channel_may_be_reason(channel, one->method))
            cny_channel_die(channel, is_known ? one->refusal : one->suspicion);
    }
}

/* A poison message would end the connection each time it is sent again. It is known if it was the only message on its
 * way, or was the only one on its channel for the third time. Otherwise the messages that await resending are sent
 * again one by one. */
static void end_messages(const objection *one)
{
    const cny_connection *connection = one->connection;
    bool is_known = one->method != 0 ? one->candidates == 1 : is_alone(one);
    for (size_t i = 0; i < connection->channel_capacity; i++) {
        cny_channel *channel = connection->channels[i];
        if (!channel || channel->confirms.max == 0)
            continue;
        cny_poison_seek(&channel->confirms);
        size_t outstanding = cny_confirms_outstanding(&channel->confirms);
        if (outstanding == 1 && (is_known || ++cny_confirms_nth(&channel->confirms, 0)->strikes == STRIKES_OF_POISON))
            cny_channel_die(channel, one->refusal);
        else if (outstanding > 0)
            cny_channel_die(channel, one->suspicion);
    }
}

/* 320 says that the broker is going down. And a connection may end for a reason that is no request. */
static bool is_over_request(const cny_incoming *incoming)
{
    const int forced = 320, first_of_connection = 500;
    return incoming->code != forced && (incoming->code >= first_of_connection || incoming->cause != 0);
}

void cny_connection_strike(cny_connection *connection, const cny_incoming *incoming)
{
    if (!is_over_request(incoming))
        return;
    objection one = {.connection = connection, .method = incoming->cause};
    connection->is_over_request = true;
    char text[sizeof incoming->text + 64];
    snprintf(text, sizeof text, "%u %s", incoming->code, incoming->text);
    one.refusal = cny_error_new_suspicion(cny_reply_status(incoming->code), incoming->code, text);
    snprintf(text, sizeof text, "the broker closed the connection: %u %s", incoming->code, incoming->text);
    one.suspicion = cny_error_new_suspicion(CONEY_E_LOST, incoming->code, text);
    count_candidates(&one);
    end_requests(&one);
    if (is_about_messages(&one))
        end_messages(&one);
    cny_error_unref(one.refusal);
    cny_error_unref(one.suspicion);
}
