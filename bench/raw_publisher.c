/* SPDX-License-Identifier: MIT */
/* The best publishing loop that rabbitmq-c's calls allow: pipelined confirms in a window, acks
 * read when the window is full, many from one read, as many as free a quarter of it. */
#include "raw_publisher.h"

#include "raw_connection.h"

#include <stdint.h>
#include <stdlib.h>

struct raw_publisher {
    amqp_connection_state_t state;
    uint64_t sent;
    uint64_t confirmed;
};

static bool open_channel(const raw_publisher *raw, bool confirms)
{
    if (amqp_channel_open(raw->state, RAW_CHANNEL) && confirms)
        amqp_confirm_select(raw->state, RAW_CHANNEL);
    return raw_check_reply(raw->state, "channel.open or confirm.select");
}

raw_publisher *raw_publisher_new(const char *uri, const char *ca_file, int tls_port, bool confirms)
{
    raw_publisher *raw = calloc(1, sizeof *raw);
    raw->state = raw_connect(uri, ca_file, tls_port);
    if (raw->state && open_channel(raw, confirms))
        return raw;
    raw_publisher_free(raw);
    return NULL;
}

void raw_publisher_free(raw_publisher *raw)
{
    if (!raw)
        return;
    if (raw->state)
        amqp_destroy_connection(raw->state);
    free(raw);
}

bool raw_publisher_declare_queue(raw_publisher *raw, const char *name, bool quorum)
{
    amqp_table_entry_t kind = {
        .key = amqp_cstring_bytes("x-queue-type"),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("quorum")},
    };
    amqp_table_t arguments = {.num_entries = quorum ? 1 : 0, .entries = &kind};
    amqp_queue_declare(raw->state, RAW_CHANNEL, amqp_cstring_bytes(name), 0, 1, 0, 0, arguments);
    return raw_check_reply(raw->state, "queue.declare");
}

bool raw_publisher_purge(raw_publisher *raw, const char *queue, int *removed)
{
    const amqp_queue_purge_ok_t *ok = amqp_queue_purge(raw->state, RAW_CHANNEL, amqp_cstring_bytes(queue));
    if (ok && removed)
        *removed = (int)ok->message_count;
    return raw_check_reply(raw->state, "queue.purge");
}

bool raw_publisher_delete(raw_publisher *raw, const char *queue)
{
    amqp_queue_delete(raw->state, RAW_CHANNEL, amqp_cstring_bytes(queue), 0, 0);
    return raw_check_reply(raw->state, "queue.delete");
}

/* Reads frames until no more than that many messages are unconfirmed. */
static bool await_confirms(raw_publisher *raw, uint64_t unconfirmed)
{
    while (raw->sent - raw->confirmed > unconfirmed) {
        amqp_frame_t frame;
        amqp_maybe_release_buffers(raw->state);
        int status = amqp_simple_wait_frame(raw->state, &frame);
        if (status != AMQP_STATUS_OK)
            return raw_fail("read", status);
        if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
            return raw_fail("a frame that is no ack", AMQP_STATUS_UNEXPECTED_STATE);
        const amqp_basic_ack_t *ack = frame.payload.method.decoded;
        raw->confirmed = ack->multiple ? ack->delivery_tag : raw->confirmed + 1;
    }
    return true;
}

static bool publish(raw_publisher *raw, const raw_target *target, const void *body, size_t size)
{
    const amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG,
        .content_type = amqp_cstring_bytes("application/octet-stream"),
        .delivery_mode = target->persistent ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT,
    };
    amqp_bytes_t bytes = {.len = size, .bytes = (void *)body};
    int status = amqp_basic_publish(raw->state, RAW_CHANNEL, amqp_cstring_bytes(target->exchange),
                                    amqp_cstring_bytes(target->routing_key), target->mandatory, 0, &properties, bytes);
    raw->sent++;
    return status == AMQP_STATUS_OK || raw_fail("publish", status);
}

bool raw_publisher_send(raw_publisher *raw, const raw_target *target, const void *body, size_t size, int messages,
                        int window)
{
    bool done = true;
    for (int i = 0; done && i < messages; i++) {
        if (raw->sent - raw->confirmed >= (uint64_t)window)
            done = await_confirms(raw, (uint64_t)window - (uint64_t)window / 4);
        done = done && publish(raw, target, body, size);
    }
    return done && await_confirms(raw, 0);
}

bool raw_publisher_send_and_forget(raw_publisher *raw, const raw_target *target, const void *body, size_t size,
                                   int messages)
{
    bool done = true;
    for (int i = 0; done && i < messages; i++)
        done = publish(raw, target, body, size);
    amqp_basic_qos(raw->state, RAW_CHANNEL, 0, 0, 0);
    return done && raw_check_reply(raw->state, "basic.qos");
}
