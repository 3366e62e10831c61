/* SPDX-License-Identifier: MIT */
/* Who may be to blame when the broker closes a connection. What becomes of suspects is up to those who asked: messages
 * are sent again one by one, requests are tried alone (isolation.h). I/O thread, under the connection's lock. */
#include "rabbit/connection/channel.h"

#include <stdio.h>

#define ENOUGH_BLAME 3

/* The broker closes the connection over a request. Which one it does not say, at best its method. */
typedef struct refusal {
    cny_connection *connection;
    uint32_t method;      /* 0: it did not even say that */
    size_t suspects;      /* requests and messages that it may have objected to */
    cny_error *verdict;   /* for whom it must be about */
    cny_error *suspicion; /* for whom it may be about: a loss like any other, but marked */
} refusal;

static bool is_about_messages(const refusal *one)
{
    return one->method == 0 || one->method == CNY_BASIC_PUBLISH;
}

static size_t count_outstanding(const cny_channel *channel)
{
    return channel->confirms.max > 0 ? cny_confirms_outstanding(&channel->confirms)
                                     : channel->confirms.statistics.forgotten > 0; /* who knows */
}

static void count_suspects(refusal *one)
{
    const cny_connection *connection = one->connection;
    for (size_t i = 0; i < connection->channel_capacity; i++) {
        const cny_channel *channel = connection->channels[i];
        if (!channel)
            continue;
        one->suspects += cny_channel_is_suspect_of(channel, one->method);
        one->suspects += is_about_messages(one) ? count_outstanding(channel) : 0;
    }
}

/* Where the broker names no method something else may have gone wrong, unless the suspect was isolated. */
static bool is_alone(const refusal *one)
{
    return one->suspects == 1 && one->connection->is_isolated;
}

/* If the method is named, all such requests learn the verdict: they are few, and were refused together. */
static void accuse_requests(const refusal *one)
{
    const cny_connection *connection = one->connection;
    bool is_known = one->method != 0 || is_alone(one);
    for (size_t i = 0; i < connection->channel_capacity; i++) {
        cny_channel *channel = connection->channels[i];
        if (channel && cny_channel_is_suspect_of(channel, one->method))
            cny_channel_die(channel, is_known ? one->verdict : one->suspicion);
    }
}

/* A message would end the connection again whenever it came again. It was the only one on its way, or it is the only
 * one on its channel for the third time: it has its verdict. Else those that are kept are sent again one by one. */
static void accuse_messages(const refusal *one)
{
    const cny_connection *connection = one->connection;
    bool is_known = one->method != 0 ? one->suspects == 1 : is_alone(one);
    for (size_t i = 0; i < connection->channel_capacity; i++) {
        cny_channel *channel = connection->channels[i];
        if (!channel || channel->confirms.max == 0)
            continue;
        channel->confirms.suspect = true;
        size_t outstanding = cny_confirms_outstanding(&channel->confirms);
        if (outstanding == 1 && (is_known || ++cny_confirms_nth(&channel->confirms, 0)->blamed == ENOUGH_BLAME))
            cny_channel_die(channel, one->verdict);
        else if (outstanding > 0)
            cny_channel_die(channel, one->suspicion);
    }
}

/* 320 says that the broker is going down, and a connection may end for something that was no request. */
static bool is_over_request(const cny_incoming *incoming)
{
    const int forced = 320, first_of_connection = 500;
    return incoming->code != forced && (incoming->code >= first_of_connection || incoming->cause != 0);
}

void cny_accuse(cny_connection *connection, const cny_incoming *incoming)
{
    if (!is_over_request(incoming))
        return;
    refusal one = {.connection = connection, .method = incoming->cause};
    connection->is_over_request = true;
    char text[sizeof incoming->text + 64];
    snprintf(text, sizeof text, "%u %s", incoming->code, incoming->text);
    one.verdict = cny_error_new_suspicion(cny_reply_status(incoming->code), incoming->code, text);
    snprintf(text, sizeof text, "the broker closed the connection: %u %s", incoming->code, incoming->text);
    one.suspicion = cny_error_new_suspicion(CONEY_E_LOST, incoming->code, text);
    count_suspects(&one);
    accuse_requests(&one);
    if (is_about_messages(&one))
        accuse_messages(&one);
    cny_error_unref(one.verdict);
    cny_error_unref(one.suspicion);
}
