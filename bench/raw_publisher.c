/* SPDX-License-Identifier: MIT */
/* The best publishing loop that rabbitmq-c's calls allow: pipelined confirms in a window, acks
 * read when the window is full, many from one read, as many as free a quarter of it. */
#include "raw_publisher.h"

#ifdef CONEY_RABBITMQ_C_OLD_HEADERS
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#else
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/ssl_socket.h>
#include <rabbitmq-c/tcp_socket.h>
#endif

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL 1

struct raw_publisher {
    amqp_connection_state_t state;
    uint64_t sent;
    uint64_t confirmed;
};

static bool fail(const char *what, int status)
{
    fprintf(stderr, "raw: %s: %s\n", what, amqp_error_string2(status));
    return false;
}

/* By TLS to "localhost", because 0.11 compares no IP addresses. */
static amqp_socket_t *new_socket(const raw_publisher *raw, const char *ca_file)
{
    if (!ca_file)
        return amqp_tcp_socket_new(raw->state);
    amqp_socket_t *socket = amqp_ssl_socket_new(raw->state);
    if (socket && amqp_ssl_socket_set_cacert(socket, ca_file) != AMQP_STATUS_OK)
        return NULL;
    return socket;
}

static bool connect_to(const raw_publisher *raw, const char *uri, const char *ca_file, int tls_port)
{
    char *copy = strdup(uri); /* amqp_parse_url writes into it */
    struct amqp_connection_info info;
    amqp_default_connection_info(&info);
    size_t end = strlen(copy);
    if (end > 0 && copy[end - 1] == '/') /* it would mean the virtual host "" */
        copy[end - 1] = '\0';
    bool done = amqp_parse_url(copy, &info) == AMQP_STATUS_OK;
    amqp_socket_t *socket = done ? new_socket(raw, ca_file) : NULL;
    int status = socket ? amqp_socket_open(socket, ca_file ? "localhost" : info.host, ca_file ? tls_port : info.port)
                        : AMQP_STATUS_BAD_URL;
    done = status == AMQP_STATUS_OK || fail("connect", status);
    if (done)
        done = amqp_login(raw->state, info.vhost, 0, AMQP_DEFAULT_FRAME_SIZE, 0, AMQP_SASL_METHOD_PLAIN, info.user,
                          info.password)
                   .reply_type == AMQP_RESPONSE_NORMAL;
    free(copy);
    return done && amqp_channel_open(raw->state, CHANNEL);
}

raw_publisher *raw_publisher_new(const char *uri, const char *ca_file, int tls_port, bool confirms)
{
    raw_publisher *raw = calloc(1, sizeof *raw);
    raw->state = amqp_new_connection();
    if (connect_to(raw, uri, ca_file, tls_port) && (!confirms || amqp_confirm_select(raw->state, CHANNEL)))
        return raw;
    fprintf(stderr, "raw: cannot log in\n");
    raw_publisher_free(raw);
    return NULL;
}

void raw_publisher_free(raw_publisher *raw)
{
    if (!raw)
        return;
    amqp_destroy_connection(raw->state);
    free(raw);
}

static bool check_reply(const raw_publisher *raw, const char *what)
{
    if (amqp_get_rpc_reply(raw->state).reply_type == AMQP_RESPONSE_NORMAL)
        return true;
    fprintf(stderr, "raw: %s was refused\n", what);
    return false;
}

bool raw_publisher_declare_queue(raw_publisher *raw, const char *name, bool quorum)
{
    amqp_table_entry_t kind = {
        .key = amqp_cstring_bytes("x-queue-type"),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes("quorum")},
    };
    amqp_table_t arguments = {.num_entries = quorum ? 1 : 0, .entries = &kind};
    amqp_queue_declare(raw->state, CHANNEL, amqp_cstring_bytes(name), 0, 1, 0, 0, arguments);
    return check_reply(raw, "queue.declare");
}

bool raw_publisher_purge(raw_publisher *raw, const char *queue)
{
    amqp_queue_purge(raw->state, CHANNEL, amqp_cstring_bytes(queue));
    return check_reply(raw, "queue.purge");
}

bool raw_publisher_delete(raw_publisher *raw, const char *queue)
{
    amqp_queue_delete(raw->state, CHANNEL, amqp_cstring_bytes(queue), 0, 0);
    return check_reply(raw, "queue.delete");
}

bool raw_publisher_consume(raw_publisher *raw, const char *queue)
{
    amqp_basic_qos(raw->state, CHANNEL, 0, 250, 0);
    amqp_basic_consume(raw->state, CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
    return check_reply(raw, "basic.consume");
}

/* Reads frames until no more than that many messages are unconfirmed. */
static bool await_confirms(raw_publisher *raw, uint64_t unconfirmed)
{
    while (raw->sent - raw->confirmed > unconfirmed) {
        amqp_frame_t frame;
        amqp_maybe_release_buffers(raw->state);
        int status = amqp_simple_wait_frame(raw->state, &frame);
        if (status != AMQP_STATUS_OK)
            return fail("read", status);
        if (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD)
            return fail("a frame that is no ack", AMQP_STATUS_UNEXPECTED_STATE);
        const amqp_basic_ack_t *ack = frame.payload.method.decoded;
        raw->confirmed = ack->multiple ? ack->delivery_tag : raw->confirmed + 1;
    }
    return true;
}

static bool publish(raw_publisher *raw, const raw_target *target, const void *body, size_t size)
{
    const amqp_basic_properties_t properties = {
        ._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_PRIORITY_FLAG,
        .content_type = amqp_cstring_bytes("application/octet-stream"),
        .delivery_mode = target->persistent ? AMQP_DELIVERY_PERSISTENT : AMQP_DELIVERY_NONPERSISTENT,
    };
    amqp_bytes_t bytes = {.len = size, .bytes = (void *)body};
    int status = amqp_basic_publish(raw->state, CHANNEL, amqp_cstring_bytes(target->exchange),
                                    amqp_cstring_bytes(target->routing_key), target->mandatory, 0, &properties, bytes);
    raw->sent++;
    return status == AMQP_STATUS_OK || fail("publish", status);
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
    amqp_basic_qos(raw->state, CHANNEL, 0, 0, 0);
    return done && check_reply(raw, "basic.qos");
}
