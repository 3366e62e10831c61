/* SPDX-License-Identifier: MIT */
/* A request as a careful program writes it with rabbitmq-c: the consumer of the replies is on the channel by which the
 * request is sent, and the correlation id tells whose reply it is. The server acknowledges after it has replied. */
#include "raw_rpc.h"

#include "cases.h"
#include "raw_connection.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLY_BYTES 100
#define LOOK_US 100000 /* how often the server looks whether it is to end */

struct raw_rpc {
    amqp_connection_state_t state;
    char queue[256];
    unsigned long requests;
    bool is_server;
    atomic_bool ends;
    pthread_t thread;
};

static raw_rpc *new_raw(const char *uri, const char *queue)
{
    raw_rpc *raw = calloc(1, sizeof *raw);
    snprintf(raw->queue, sizeof raw->queue, "%s", queue);
    raw->state = raw_connect(uri, NULL, 0);
    if (raw->state && amqp_channel_open(raw->state, RAW_CHANNEL) && raw_check_reply(raw->state, "channel.open"))
        return raw;
    raw_rpc_free(raw);
    return NULL;
}

static bool consume(const raw_rpc *raw, const char *queue, bool no_ack)
{
    amqp_basic_consume(raw->state, RAW_CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, no_ack, 0,
                       amqp_empty_table);
    return raw_check_reply(raw->state, "basic.consume");
}

/* ---- the server ---- */

static bool publish(const raw_rpc *raw, amqp_bytes_t routing_key, const amqp_basic_properties_t *properties,
                    amqp_bytes_t body)
{
    int status = amqp_basic_publish(raw->state, RAW_CHANNEL, amqp_empty_bytes, routing_key, 0, 0, properties, body);
    return status == AMQP_STATUS_OK || raw_fail("basic.publish", status);
}

static bool answer(const raw_rpc *raw, const amqp_envelope_t *request)
{
    static char body[REPLY_BYTES];
    const amqp_basic_properties_t *asked = &request->message.properties;
    const amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG,
        .correlation_id = asked->correlation_id,
        .delivery_mode = 1,
    };
    if (!publish(raw, asked->reply_to, &properties, (amqp_bytes_t){.len = sizeof body, .bytes = body}))
        return false;
    int status = amqp_basic_ack(raw->state, RAW_CHANNEL, request->delivery_tag, 0);
    return status == AMQP_STATUS_OK || raw_fail("basic.ack", status);
}

static void *serve(void *argument)
{
    raw_rpc *raw = argument;
    bool done = true;
    while (done && !atomic_load(&raw->ends)) {
        amqp_envelope_t request;
        struct timeval wait = {.tv_usec = LOOK_US};
        amqp_maybe_release_buffers(raw->state);
        amqp_rpc_reply_t reply = amqp_consume_message(raw->state, &request, &wait, 0);
        bool came = reply.reply_type == AMQP_RESPONSE_NORMAL;
        if (!came && reply.library_error != AMQP_STATUS_TIMEOUT)
            done = raw_fail("consume", reply.library_error);
        if (came)
            done = answer(raw, &request);
        if (came)
            amqp_destroy_envelope(&request);
    }
    return NULL;
}

static bool begin_to_serve(raw_rpc *raw)
{
    amqp_queue_declare(raw->state, RAW_CHANNEL, amqp_cstring_bytes(raw->queue), 0, 1, 0, 0, amqp_empty_table);
    if (!raw_check_reply(raw->state, "queue.declare"))
        return false;
    amqp_basic_qos(raw->state, RAW_CHANNEL, 0, BENCH_PREFETCH, 0);
    if (!raw_check_reply(raw->state, "basic.qos") || !consume(raw, raw->queue, false))
        return false;
    raw->is_server = pthread_create(&raw->thread, NULL, serve, raw) == 0;
    return raw->is_server;
}

raw_rpc *raw_rpc_server(const char *uri, const char *queue)
{
    raw_rpc *raw = new_raw(uri, queue);
    if (raw && begin_to_serve(raw))
        return raw;
    raw_rpc_free(raw);
    return NULL;
}

void raw_rpc_free(raw_rpc *raw)
{
    if (!raw)
        return;
    if (raw->is_server) {
        atomic_store(&raw->ends, true);
        pthread_join(raw->thread, NULL);
        amqp_queue_delete(raw->state, RAW_CHANNEL, amqp_cstring_bytes(raw->queue), 0, 0);
    }
    if (raw->state)
        amqp_destroy_connection(raw->state);
    free(raw);
}

/* ---- the caller ---- */

raw_rpc *raw_rpc_caller(const char *uri, const char *queue)
{
    raw_rpc *raw = new_raw(uri, queue);
    if (raw && consume(raw, "amq.rabbitmq.reply-to", true))
        return raw;
    raw_rpc_free(raw);
    return NULL;
}

static bool is_reply(const amqp_envelope_t *envelope, const char *id)
{
    amqp_bytes_t came = envelope->message.properties.correlation_id;
    return came.len == strlen(id) && memcmp(came.bytes, id, came.len) == 0;
}

bool raw_rpc_ask(raw_rpc *raw, const void *body, size_t size)
{
    char id[32];
    snprintf(id, sizeof id, "%lu", ++raw->requests);
    const amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG,
        .reply_to = amqp_cstring_bytes("amq.rabbitmq.reply-to"),
        .correlation_id = amqp_cstring_bytes(id),
        .delivery_mode = 1,
    };
    const amqp_bytes_t bytes = {.len = size, .bytes = (void *)(uintptr_t)body};
    if (!publish(raw, amqp_cstring_bytes(raw->queue), &properties, bytes))
        return false;
    for (bool answered = false; !answered;) {
        amqp_envelope_t envelope;
        amqp_maybe_release_buffers(raw->state);
        amqp_rpc_reply_t reply = amqp_consume_message(raw->state, &envelope, NULL, 0);
        if (reply.reply_type != AMQP_RESPONSE_NORMAL)
            return raw_fail("consume", reply.library_error);
        answered = is_reply(&envelope, id);
        amqp_destroy_envelope(&envelope);
    }
    return true;
}
