/* SPDX-License-Identifier: MIT */
/* Properties and headers: PropertyCases.java is the other side. */
#include "interop.h"

enum { TIME = 1700000000 };
#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

/* ---- properties ---- */

static void read_all(coney_message *message, int index)
{
    (void)index;
    const coney_properties *got = coney_message_properties(message);
    assert_int_equal(coney_message_size(message), 3);
    assert_memory_equal(coney_message_body(message), "all", 3);
    assert_string_equal(got->content_type, "text/plain");
    assert_string_equal(got->content_encoding, "UTF-8");
    assert_int_equal(coney_message_received_delivery_mode(message), CONEY_TRANSIENT);
    assert_int_equal(got->delivery_mode, CONEY_DELIVERY_DEFAULT);
    assert_int_equal(got->priority, 7);
    assert_string_equal(got->correlation_id, "correlation");
    assert_string_equal(got->reply_to, "exchange/key");
    assert_string_equal(got->expiration, "600000");
    assert_string_equal(got->message_id, "id");
    assert_int_equal(got->timestamp, TIME);
    assert_string_equal(got->type, "type");
    assert_string_equal(coney_message_received_user_id(message), "guest");
    assert_null(got->user_id);
    assert_string_equal(got->app_id, "app");
    assert_string_equal(got->cluster_id, "cluster");
    interop_expect_header(message, "header", "value");
}

static void send_all(const char *queue)
{
    coney_message *message;
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "header", "value"));
    assert_ok(coney_message_new(&message, "all", 3,
                                &(coney_properties){.content_type = "text/plain",
                                                    .content_encoding = "UTF-8",
                                                    .headers = headers,
                                                    .delivery_mode = CONEY_TRANSIENT,
                                                    .priority = 7,
                                                    .correlation_id = "correlation",
                                                    .reply_to = "exchange/key",
                                                    .expiration = "600000",
                                                    .message_id = "id",
                                                    .timestamp = TIME,
                                                    .type = "type",
                                                    .user_id = "guest",
                                                    .app_id = "app",
                                                    .cluster_id = "cluster"}));
    coney_table_free(headers);
    interop_send(queue, message);
}

static void read_defaults(coney_message *message, int index)
{
    (void)index;
    const coney_properties *got = coney_message_properties(message);
    assert_int_equal(coney_message_size(message), 0);
    assert_string_equal(got->content_type, "application/octet-stream");
    assert_int_equal(coney_message_received_delivery_mode(message), CONEY_PERSISTENT);
    assert_true(got->has_priority);
    assert_int_equal(got->priority, 0);
    assert_int_equal(coney_table_size(got->headers), 0);
    assert_null(got->content_encoding);
    assert_null(got->correlation_id);
    assert_null(got->message_id);
    assert_int_equal(got->timestamp, 0);
}

static void send_defaults(const char *queue)
{
    coney_message *message;
    assert_ok(coney_message_new(&message, NULL, 0, NULL));
    interop_send(queue, message);
}

/* ---- headers ---- */

static int64_t integer_header(const coney_message *message, const char *name, coney_value_type type)
{
    return interop_header(message, name, type)->as.integer;
}

static void expect_nested_headers(const coney_message *message)
{
    const coney_array *list = interop_header(message, "list", CONEY_ARRAY)->as.array;
    assert_int_equal(coney_array_size(list), 3);
    assert_int_equal(coney_array_at(list, 0)->as.integer, 1);
    assert_string_equal(coney_array_at(list, 1)->as.bytes.data, "two");
    assert_int_equal(coney_array_at(list, 2)->type, CONEY_VOID);
    const coney_value *inner = coney_table_get(interop_header(message, "table", CONEY_TABLE)->as.table, "inner");
    assert_int_equal(coney_table_get_int64(inner->as.table, "deep", 0), 1);
}

static void read_headers(coney_message *message, int index)
{
    (void)index;
    assert_true(interop_header(message, "bool", CONEY_BOOL)->as.boolean);
    assert_int_equal(integer_header(message, "byte", CONEY_INT8), INT8_MIN);
    assert_int_equal(integer_header(message, "short", CONEY_INT16), INT16_MIN);
    assert_int_equal(integer_header(message, "int", CONEY_INT32), INT32_MIN);
    assert_int_equal(integer_header(message, "long", CONEY_INT64), INT64_MIN);
    assert_true(interop_header(message, "float", CONEY_FLOAT)->as.real == 0.5);
    assert_true(interop_header(message, "double", CONEY_DOUBLE)->as.real ==
                (double)0.1); /* constants may have more bits */
    const coney_value *decimal = interop_header(message, "decimal", CONEY_DECIMAL);
    assert_int_equal(decimal->as.decimal.mantissa, 12345);
    assert_int_equal(decimal->as.decimal.scale, 2);
    interop_expect_header(message, "string", INTEROP_TEXT);
    const coney_value *bytes = interop_header(message, "bytes", CONEY_BYTES);
    assert_int_equal(bytes->as.bytes.size, 3);
    assert_memory_equal(bytes->as.bytes.data, "\0\1\xff", 3);
    assert_int_equal(integer_header(message, "time", CONEY_TIMESTAMP), TIME);
    expect_nested_headers(message);
    interop_header(message, "null", CONEY_VOID);
    interop_expect_header(message, "uuid", "00000000-0000-0001-0000-000000000002");
}

static const struct {
    const char *name;
    coney_value value;
} simple[] = {
    {"bool", {.type = CONEY_BOOL, .as.boolean = true}},
    {"int8", {.type = CONEY_INT8, .as.integer = INT8_MIN}},
    {"uint8", {.type = CONEY_UINT8, .as.integer = UINT8_MAX}},
    {"int16", {.type = CONEY_INT16, .as.integer = INT16_MIN}},
    {"uint16", {.type = CONEY_UINT16, .as.integer = UINT16_MAX}},
    {"int32", {.type = CONEY_INT32, .as.integer = INT32_MIN}},
    {"uint32", {.type = CONEY_UINT32, .as.integer = UINT32_MAX}},
    {"int64", {.type = CONEY_INT64, .as.integer = INT64_MIN}},
    {"float", {.type = CONEY_FLOAT, .as.real = 0.5}},
    {"double", {.type = CONEY_DOUBLE, .as.real = 0.1}},
    {"decimal", {.type = CONEY_DECIMAL, .as.decimal = {.mantissa = 12345, .scale = 2}}},
    {"bytes", {.type = CONEY_BYTES, .as.bytes = {.data = "\0\1\xff", .size = 3}}},
    {"time", {.type = CONEY_TIMESTAMP, .as.integer = TIME}},
    {"null", {.type = CONEY_VOID}},
};

static void send_with_headers(const char *queue, coney_table *headers)
{
    coney_message *message;
    assert_ok(coney_message_new(&message, NULL, 0, &(coney_properties){.headers = headers}));
    coney_table_free(headers);
    interop_send(queue, message);
}

static void send_headers(const char *queue)
{
    coney_table *headers = coney_table_new(), *table = coney_table_new(), *inner = coney_table_new();
    coney_array *list = coney_array_new();
    for (size_t i = 0; i < COUNT_OF(simple); i++)
        assert_ok(coney_table_set(headers, simple[i].name, &simple[i].value));
    assert_ok(coney_table_set_string(headers, "string", INTEROP_TEXT));
    const coney_value one = coney_value_int64(1), two = coney_value_string("two"), none = {.type = CONEY_VOID};
    assert_ok(coney_array_append(list, &one));
    assert_ok(coney_array_append(list, &two));
    assert_ok(coney_array_append(list, &none));
    assert_ok(coney_table_set_array(headers, "list", list));
    assert_ok(coney_table_set_int64(inner, "deep", 1));
    assert_ok(coney_table_set_table(table, "inner", inner));
    assert_ok(coney_table_set_table(headers, "table", table));
    coney_array_free(list);
    coney_table_free(inner);
    coney_table_free(table);
    send_with_headers(queue, headers);
}

static const char *long_text(void)
{
    static char text[5001];
    memset(text, 'x', sizeof text - 1);
    return text;
}

static coney_array *list_of(const coney_value *value)
{
    coney_array *list = coney_array_new();
    assert_ok(coney_array_append(list, value));
    return list;
}

static void read_long(coney_message *message, int index)
{
    (void)index;
    interop_expect_header(message, "long", long_text());
    const coney_array *lists = interop_header(message, "lists", CONEY_ARRAY)->as.array;
    const coney_value *deep = coney_array_at(coney_array_at(coney_array_at(lists, 0)->as.array, 0)->as.array, 0);
    assert_string_equal(deep->as.bytes.data, "deep");
    const coney_value *list = coney_table_get(coney_array_at(lists, 1)->as.table, "list");
    assert_true(coney_array_at(list->as.array, 0)->as.boolean);
}

static void send_long(const char *queue)
{
    coney_table *headers = coney_table_new(), *table = coney_table_new();
    const coney_value deep = coney_value_string("deep"), yes = {.type = CONEY_BOOL, .as.boolean = true};
    coney_array *inmost = list_of(&deep), *list = list_of(&yes);
    coney_array *inner = list_of(&(coney_value){.type = CONEY_ARRAY, .as.array = inmost});
    coney_array *lists = list_of(&(coney_value){.type = CONEY_ARRAY, .as.array = inner});
    assert_ok(coney_table_set_array(table, "list", list));
    assert_ok(coney_array_append(lists, &(coney_value){.type = CONEY_TABLE, .as.table = table}));
    assert_ok(coney_table_set_array(headers, "lists", lists));
    assert_ok(coney_table_set_string(headers, "long", long_text()));
    coney_array_free(inmost);
    coney_array_free(inner);
    coney_array_free(list);
    coney_array_free(lists);
    coney_table_free(table);
    send_with_headers(queue, headers);
}

/* ---- single headers and properties with a meaning ---- */

static void read_id(coney_message *message, int index)
{
    (void)index;
    const char *id = coney_message_properties(message)->message_id;
    assert_int_equal(strlen(id), 36);
    assert_int_equal(id[14], '4'); /* version of the UUID */
}

static void send_id(const char *queue)
{
    coney_message *message = test_text("with an id");
    interop_process(&message, coney_message_id_processor());
    interop_send(queue, message);
}

static void read_delay(coney_message *message, int index)
{
    (void)index;
    assert_int_equal(coney_message_received_delay_ms(message), 5000);
}

static void send_delay(const char *queue)
{
    coney_message *message = test_text("later");
    assert_ok(coney_template_send(client.sender, queue, message, &(coney_send_options){.delay_ms = 5000}));
    coney_message_unref(message);
}

static void read_retry_count(coney_message *message, int index)
{
    (void)index;
    assert_int_equal(coney_message_retry_count(message), 2);
}

static void send_retry_count(const char *queue)
{
    coney_message *message, *first = test_text("tried twice");
    assert_ok(coney_message_with_retry_count(&message, first, 2));
    coney_message_unref(first);
    interop_send(queue, message);
}

static void read_trace(coney_message *message, int index)
{
    (void)index;
    interop_expect_header(message, "traceparent", TRACE);
    interop_expect_header(message, "tracestate", "coney=1");
}

static void send_trace(const char *queue)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "traceparent", TRACE));
    assert_ok(coney_table_set_string(headers, "tracestate", "coney=1"));
    send_with_headers(queue, headers);
}

const interop_case interop_property_cases[] = {
    {.name = "properties-all", .read = read_all, .send = send_all},
    {.name = "properties-defaults", .read = read_defaults, .send = send_defaults},
    {.name = "headers-every-type", .read = read_headers, .send = send_headers},
    {.name = "headers-long-and-nested", .read = read_long, .send = send_long},
    {.name = "message-ids", .read = read_id, .send = send_id},
    {.name = "delay", .read = read_delay, .send = send_delay},
    {.name = "retry-count", .read = read_retry_count, .send = send_retry_count},
    {.name = "trace", .read = read_trace, .send = send_trace},
    {0},
};
