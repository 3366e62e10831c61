/* SPDX-License-Identifier: MIT */
/* The best consuming loop that rabbitmq-c's calls allow. It takes the frames of a message itself, because
 * amqp_consume_message() and amqp_read_message() copy names, properties and body, and allocate a pool for each. */
#include "raw_consumer.h"

#include "raw_connection.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct raw_consumer {
    amqp_connection_state_t state;
    bool no_ack;
    char *gathered; /* the body of a message of several frames */
    size_t room;
};

raw_consumer *raw_consumer_new(const char *uri, const char *ca_file, int tls_port)
{
    raw_consumer *raw = calloc(1, sizeof *raw);
    raw->state = raw_connect(uri, ca_file, tls_port);
    if (raw->state)
        return raw;
    raw_consumer_free(raw);
    return NULL;
}

void raw_consumer_free(raw_consumer *raw)
{
    if (!raw)
        return;
    if (raw->state)
        amqp_destroy_connection(raw->state);
    free(raw->gathered);
    free(raw);
}

bool raw_consumer_subscribe(raw_consumer *raw, const char *queue, int prefetch, bool no_ack)
{
    raw->no_ack = no_ack;
    if (amqp_channel_open(raw->state, RAW_CHANNEL) && amqp_basic_qos(raw->state, RAW_CHANNEL, 0, (uint16_t)prefetch, 0))
        amqp_basic_consume(raw->state, RAW_CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, no_ack, 0,
                           amqp_empty_table);
    return raw_check_reply(raw->state, "basic.consume");
}

bool raw_consumer_unsubscribe(raw_consumer *raw)
{
    amqp_rpc_reply_t reply = amqp_channel_close(raw->state, RAW_CHANNEL, AMQP_REPLY_SUCCESS);
    return reply.reply_type == AMQP_RESPONSE_NORMAL || raw_fail("channel.close", reply.library_error);
}

static bool read_frame(const raw_consumer *raw, int type, amqp_frame_t *frame)
{
    int status = amqp_simple_wait_frame(raw->state, frame);
    if (status != AMQP_STATUS_OK)
        return raw_fail("read", status);
    return frame->frame_type == type || raw_fail("a frame out of place", AMQP_STATUS_UNEXPECTED_STATE);
}

static bool gather(raw_consumer *raw, amqp_bytes_t part, amqp_bytes_t *body)
{
    if (body->len > raw->room) {
        free(raw->gathered);
        raw->gathered = malloc(body->len);
        raw->room = body->len;
    }
    size_t have = part.len;
    memcpy(raw->gathered, part.bytes, part.len);
    while (have < body->len) {
        amqp_frame_t frame;
        if (!read_frame(raw, AMQP_FRAME_BODY, &frame))
            return false;
        memcpy(raw->gathered + have, frame.payload.body_fragment.bytes, frame.payload.body_fragment.len);
        have += frame.payload.body_fragment.len;
    }
    body->bytes = raw->gathered;
    return true;
}

/* A body of one frame stays where it was read. */
static bool read_body(raw_consumer *raw, size_t size, amqp_bytes_t *body)
{
    amqp_frame_t frame;
    *body = (amqp_bytes_t){.len = size};
    if (size == 0)
        return true;
    if (!read_frame(raw, AMQP_FRAME_BODY, &frame))
        return false;
    if (frame.payload.body_fragment.len < size)
        return gather(raw, frame.payload.body_fragment, body);
    *body = frame.payload.body_fragment;
    return true;
}

static bool read_message(raw_consumer *raw, uint64_t *delivery_tag, amqp_bytes_t *body)
{
    amqp_frame_t frame;
    amqp_maybe_release_buffers_on_channel(raw->state, RAW_CHANNEL);
    if (!read_frame(raw, AMQP_FRAME_METHOD, &frame))
        return false;
    if (frame.payload.method.id != AMQP_BASIC_DELIVER_METHOD)
        return raw_fail("a method that is no delivery", AMQP_STATUS_UNEXPECTED_STATE);
    *delivery_tag = ((const amqp_basic_deliver_t *)frame.payload.method.decoded)->delivery_tag;
    return read_frame(raw, AMQP_FRAME_HEADER, &frame) &&
           read_body(raw, (size_t)frame.payload.properties.body_size, body);
}

bool raw_consumer_handle(raw_consumer *raw, int messages, raw_handler *handle, void *user)
{
    for (int i = 0; i < messages; i++) {
        uint64_t delivery_tag = 0;
        amqp_bytes_t body = amqp_empty_bytes;
        if (!read_message(raw, &delivery_tag, &body) || !handle(body.bytes, body.len, user))
            return false;
        int status = raw->no_ack ? AMQP_STATUS_OK : amqp_basic_ack(raw->state, RAW_CHANNEL, delivery_tag, 0);
        if (status != AMQP_STATUS_OK)
            return raw_fail("basic.ack", status);
    }
    return true;
}
