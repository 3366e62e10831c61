/* SPDX-License-Identifier: MIT */
/* See plain_client.h. One connection, for one thread. */
#include "support/plain_client.h"
#include "support/test_support.h"

#include <stdlib.h>

#ifdef CONEY_RABBITMQ_C_OLD_HEADERS
#include <amqp_tcp_socket.h>
#else
#include <rabbitmq-c/tcp_socket.h>
#endif

enum { CHANNEL = 1 };

static amqp_connection_state_t connection;

static void expect_normal(amqp_rpc_reply_t reply)
{
    assert_int_equal(reply.reply_type, AMQP_RESPONSE_NORMAL);
}

static void open_connection(void)
{
    struct amqp_connection_info info;
    char *uri = strdup(test_uri());
    assert_int_equal(amqp_parse_url(uri, &info), AMQP_STATUS_OK);
    connection = amqp_new_connection();
    assert_int_equal(amqp_socket_open(amqp_tcp_socket_new(connection), info.host, info.port), AMQP_STATUS_OK);
    expect_normal(amqp_login(connection, *info.vhost ? info.vhost : "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN,
                             info.user, info.password));
    amqp_channel_open(connection, CHANNEL);
    expect_normal(amqp_get_rpc_reply(connection));
    free(uri);
}

amqp_message_t plain_get(const char *queue)
{
    if (!connection)
        open_connection();
    amqp_rpc_reply_t reply = amqp_basic_get(connection, CHANNEL, amqp_cstring_bytes(queue), 1);
    expect_normal(reply);
    assert_int_equal(reply.reply.id, AMQP_BASIC_GET_OK_METHOD);
    amqp_message_t message;
    expect_normal(amqp_read_message(connection, CHANNEL, &message, 0));
    return message;
}

const amqp_field_value_t *plain_header(const amqp_message_t *message, const char *name)
{
    const amqp_table_t *headers = &message->properties.headers;
    for (int i = 0; message->properties._flags & AMQP_BASIC_HEADERS_FLAG && i < headers->num_entries; i++) {
        if (headers->entries[i].key.len == strlen(name) &&
            memcmp(headers->entries[i].key.bytes, name, strlen(name)) == 0)
            return &headers->entries[i].value;
    }
    return NULL;
}

void plain_close(void)
{
    if (!connection)
        return;
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
    connection = NULL;
}
