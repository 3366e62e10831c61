/* SPDX-License-Identifier: MIT */
/* See plain_client.h. One connection, for one thread. */
#include "support/plain_client.h"
#include "support/test_support.h"

#include <stdlib.h>
#include <sys/time.h>

#ifdef CONEY_RABBITMQ_C_OLD_HEADERS
#include <amqp_tcp_socket.h>
#else
#include <rabbitmq-c/tcp_socket.h>
#endif

enum { CHANNEL = 1, PATIENCE_S = 10 };

static amqp_connection_state_t connection;
static bool hears_answers;

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

static const amqp_field_value_t *entry_of(const amqp_table_t *table, const char *name)
{
    for (int i = 0; i < table->num_entries; i++) {
        const amqp_bytes_t key = table->entries[i].key;
        if (key.len == strlen(name) && memcmp(key.bytes, name, key.len) == 0)
            return &table->entries[i].value;
    }
    return NULL;
}

bool plain_broker_is_from(int major, int minor)
{
    if (!connection)
        open_connection();
    const amqp_field_value_t *version = entry_of(amqp_get_server_properties(connection), "version");
    assert_non_null(version);
    int has_major = 0, has_minor = 0;
    char text[16];
    snprintf(text, sizeof text, "%.*s", (int)version->value.bytes.len, (const char *)version->value.bytes.bytes);
    assert_int_equal(sscanf(text, "%d.%d", &has_major, &has_minor), 2);
    return has_major > major || (has_major == major && has_minor >= minor);
}

static uint64_t take(const char *queue, bool no_ack, amqp_message_t *message)
{
    if (!connection)
        open_connection();
    amqp_rpc_reply_t reply = amqp_basic_get(connection, CHANNEL, amqp_cstring_bytes(queue), no_ack);
    expect_normal(reply);
    assert_int_equal(reply.reply.id, AMQP_BASIC_GET_OK_METHOD);
    uint64_t tag = ((const amqp_basic_get_ok_t *)reply.reply.decoded)->delivery_tag;
    expect_normal(amqp_read_message(connection, CHANNEL, message, 0));
    return tag;
}

amqp_message_t plain_get(const char *queue)
{
    amqp_message_t message;
    take(queue, true, &message);
    return message;
}

void plain_return(const char *queue)
{
    amqp_message_t message;
    uint64_t tag = take(queue, false, &message);
    amqp_destroy_message(&message);
    assert_int_equal(amqp_basic_nack(connection, CHANNEL, tag, false, true), AMQP_STATUS_OK);
}

static void hear_answers(void)
{
    amqp_basic_consume(connection, CHANNEL, amqp_cstring_bytes("amq.rabbitmq.reply-to"), amqp_empty_bytes, 0, 1, 0,
                       amqp_empty_table);
    expect_normal(amqp_get_rpc_reply(connection));
    hears_answers = true;
}

void plain_publish(const char *exchange, const char *routing_key, const amqp_basic_properties_t *properties,
                   const char *text)
{
    if (!connection)
        open_connection();
    assert_int_equal(amqp_basic_publish(connection, CHANNEL, amqp_cstring_bytes(exchange),
                                        amqp_cstring_bytes(routing_key), 0, 0, properties, amqp_cstring_bytes(text)),
                     AMQP_STATUS_OK);
}

void plain_ask(const char *queue, const char *text, const char *correlation_id)
{
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_REPLY_TO_FLAG | AMQP_BASIC_CORRELATION_ID_FLAG,
                                          .reply_to = amqp_cstring_bytes("amq.rabbitmq.reply-to"),
                                          .correlation_id = amqp_cstring_bytes(correlation_id)};
    if (!connection)
        open_connection();
    if (!hears_answers)
        hear_answers();
    plain_publish("", queue, &properties, text);
}

amqp_message_t plain_answer(void)
{
    amqp_envelope_t envelope;
    expect_normal(amqp_consume_message(connection, &envelope, &(struct timeval){.tv_sec = PATIENCE_S}, 0));
    amqp_bytes_free(envelope.exchange);
    amqp_bytes_free(envelope.routing_key);
    amqp_bytes_free(envelope.consumer_tag);
    return envelope.message;
}

const amqp_field_value_t *plain_header(const amqp_message_t *message, const char *name)
{
    return message->properties._flags & AMQP_BASIC_HEADERS_FLAG ? entry_of(&message->properties.headers, name) : NULL;
}

void plain_expect_text(amqp_bytes_t bytes, const char *text)
{
    if (bytes.len != strlen(text) || (bytes.len > 0 && memcmp(bytes.bytes, text, bytes.len) != 0))
        fail_msg("'%.*s' is not '%s'", (int)bytes.len, (const char *)bytes.bytes, text);
}

void plain_expect_reply(const char *queue, const char *text, const char *correlation_id)
{
    test_wait_for_depth(queue, 1);
    amqp_message_t reply = plain_get(queue);
    plain_expect_text(reply.body, text);
    if (correlation_id)
        plain_expect_text(reply.properties.correlation_id, correlation_id);
    amqp_destroy_message(&reply);
}

void plain_expect_header(const amqp_message_t *message, const char *name, const char *text)
{
    const amqp_field_value_t *value = plain_header(message, name);
    if (!value || value->kind != AMQP_FIELD_KIND_UTF8)
        fail_msg("header %s is no text", name);
    else
        plain_expect_text(value->value.bytes, text);
}

int64_t plain_number_header(const amqp_message_t *message, const char *name)
{
    const amqp_field_value_t *value = plain_header(message, name);
    switch (value ? (char)value->kind : 0) {
    case AMQP_FIELD_KIND_I64: return value->value.i64;
    case AMQP_FIELD_KIND_I32: return value->value.i32;
    default: fail_msg("header %s is no number", name); return 0;
    }
}

void plain_close(void)
{
    if (!connection)
        return;
    amqp_connection_close(connection, AMQP_REPLY_SUCCESS);
    amqp_destroy_connection(connection);
    connection = NULL;
    hears_answers = false;
}
