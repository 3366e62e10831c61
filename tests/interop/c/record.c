/* SPDX-License-Identifier: MIT */
/* Takes what Spring has sent from the queues and writes it to a file: see record.h. It uses rabbitmq-c alone, because
 * Coney keeps no raw bytes. One thread. */
#include "record.h"

#include "interop.h"
#include "wire/rabbitmq_c.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#ifdef CONEY_RABBITMQ_C_OLD_HEADERS
#include <amqp_tcp_socket.h>
#else
#include <rabbitmq-c/tcp_socket.h>
#endif

enum { CHANNEL = 1, FRAME_MAX = 131072 };

static amqp_connection_state_t open_connection(void)
{
    struct amqp_connection_info info;
    char *uri = strdup(test_uri());
    assert_int_equal(amqp_parse_url(uri, &info), AMQP_STATUS_OK);
    amqp_connection_state_t connection = amqp_new_connection();
    assert_int_equal(amqp_socket_open(amqp_tcp_socket_new(connection), info.host, info.port), AMQP_STATUS_OK);
    amqp_rpc_reply_t reply = amqp_login(connection, *info.vhost ? info.vhost : "/", 0, FRAME_MAX, 0,
                                        AMQP_SASL_METHOD_PLAIN, info.user, info.password);
    assert_int_equal(reply.reply_type, AMQP_RESPONSE_NORMAL);
    assert_non_null(amqp_channel_open(connection, CHANNEL));
    free(uri);
    return connection;
}

/* Asks for a message again and again, because Spring may not have sent it yet. */
static void take(amqp_connection_state_t connection, const char *queue)
{
    const struct timespec tick = {.tv_nsec = 10000000};
    for (int left = interop_patience(); left > 0; left -= 10) {
        amqp_rpc_reply_t reply = amqp_basic_get(connection, CHANNEL, amqp_cstring_bytes(queue), true);
        assert_int_equal(reply.reply_type, AMQP_RESPONSE_NORMAL);
        if (reply.reply.id == AMQP_BASIC_GET_OK_METHOD)
            return;
        nanosleep(&tick, NULL);
    }
    fail_msg("no message came to %s", queue);
}

static void write_hex(FILE *file, amqp_bytes_t bytes)
{
    const uint8_t *data = bytes.bytes;
    for (size_t i = 0; i < bytes.len; i++)
        fprintf(file, "%02x", data[i]);
}

static void write_message(FILE *file, amqp_connection_state_t connection)
{
    amqp_frame_t frame;
    assert_int_equal(amqp_simple_wait_frame(connection, &frame), AMQP_STATUS_OK);
    assert_int_equal(frame.frame_type, AMQP_FRAME_HEADER);
    uint64_t left = frame.payload.properties.body_size;
    fputs("properties ", file);
    write_hex(file, frame.payload.properties.raw);
    fputs("\nbody ", file);
    while (left > 0) {
        assert_int_equal(amqp_simple_wait_frame(connection, &frame), AMQP_STATUS_OK);
        assert_int_equal(frame.frame_type, AMQP_FRAME_BODY);
        write_hex(file, frame.payload.body_fragment);
        left -= frame.payload.body_fragment.len;
    }
    fputs("\n", file);
}

static void record_case(FILE *file, amqp_connection_state_t connection, const interop_case *one)
{
    char name[200];
    snprintf(name, sizeof name, "%s.coney", one->name);
    for (int i = 0; i < one->messages || i == 0; i++) {
        fprintf(file, "message %s %d\n", one->name, i);
        take(connection, interop_name(name));
        write_message(file, connection);
        amqp_maybe_release_buffers(connection);
    }
}

void interop_record(void **state)
{
    FILE *file = fopen(*state, "w");
    assert_non_null(file);
    amqp_connection_state_t connection = open_connection();
    for (const interop_case *const *table = interop_tables; *table; table++) {
        for (const interop_case *one = *table; one->name; one++) {
            if (one->read && !one->is_answer)
                record_case(file, connection, one);
        }
    }
    amqp_destroy_connection(connection);
    assert_int_equal(fclose(file), 0);
}
