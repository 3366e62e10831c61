/* SPDX-License-Identifier: MIT */
/* Messages as one line for a log. */
#include "amqp/amqp.h"
#include "support/test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static char text[2000];

/* Describes the message, which is the callee's to free, into memory that ends with the line. */
static const char *describe(coney_message *message)
{
    size_t size = coney_message_describe(message, NULL, 0);
    assert_true(size < sizeof text);
    memset(text, 'x', sizeof text);
    assert_int_equal(coney_message_describe(message, text, size + 1), size);
    assert_int_equal(strlen(text), size);
    coney_message_unref(message);
    return text;
}

static coney_message *make(const void *body, size_t size, const coney_properties *properties)
{
    coney_message *message;
    assert_ok(coney_message_new(&message, body, size, properties));
    return message;
}

static const char *describe_body(const char *content_type, const void *body, size_t size)
{
    return describe(make(body, size, &(coney_properties){.content_type = content_type}));
}

static const char *describe_header(coney_value value)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set(headers, "h", &value));
    const char *line = describe(make(NULL, 0, &(coney_properties){.headers = headers}));
    coney_table_free(headers);
    return line;
}

/* ---- bodies ---- */

static void test_message_without_anything_is_its_size(void **state)
{
    (void)state;
    assert_string_equal(describe(make(NULL, 0, NULL)), "body (0 bytes)");
    assert_string_equal(describe(make("\1", 1, NULL)), "body (1 byte)");
}

static void test_bodies_of_text_json_and_xml_are_shown(void **state)
{
    (void)state;
    assert_string_equal(describe_body("text/plain", "hi", 2), "body 'hi' (2 bytes), content_type 'text/plain'");
    assert_string_equal(describe_body("application/json", "{}", 2),
                        "body '{}' (2 bytes), content_type 'application/json'");
    static const char *const types[] = {"text/html; charset=UTF-8", "application/vnd.shop+json", "application/XML",
                                        "application/soap+xml;v=1"};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_non_null(strstr(describe_body(types[i], "<a/>", 4), "body '<a/>' (4 bytes)"));
}

static void test_other_bodies_are_their_size(void **state)
{
    (void)state;
    static const char *const types[] = {"application/octet-stream", "image/png", "application/xmlish", "json", NULL};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        assert_memory_equal(describe_body(types[i], "hidden", 6), "body (6 bytes)", 14);
}

static void test_text_that_is_not_utf8_is_shown_as_its_size(void **state)
{
    (void)state;
    assert_memory_equal(describe_body("text/plain", "\x1f\x8b\x08\xff\xff\xff\xff", 7), "body (7 bytes)", 14);
    assert_memory_equal(describe_body("text/plain", "\0h\0i", 4), "body (4 bytes)", 14);
}

static void test_long_body_is_cut_between_two_characters(void **state)
{
    (void)state;
    char body[] = "1234567890123456789012345678901234567890123456789\xe2\x82\xac and more";
    const char *line = describe_body("text/plain", body, sizeof body - 1);
    assert_memory_equal(line, "body '1234567890123456789012345678901234567890123456789'... (61 bytes),", 70);
    body[49] = '0', body[50] = '0', body[51] = '0';
    line = describe_body("text/plain", body, 50);
    assert_memory_equal(line, "body '12345678901234567890123456789012345678901234567890' (50 bytes),", 68);
}

static void test_control_characters_are_made_safe(void **state)
{
    (void)state;
    assert_memory_equal(describe_body("text/plain", "a\nb\x1b[2Jc\xe2\x80\xa8", 11), "body 'a?b?[2Jc?' (11 bytes)", 27);
    assert_non_null(strstr(describe(make("", 0, &(coney_properties){.message_id = "m\r\n1"})), "message_id 'm??1'"));
}

/* ---- properties ---- */

static void test_all_properties_that_are_set_are_named(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_int64(headers, "tries", 2));
    assert_ok(coney_table_set_string(headers, "by", "web"));
    const coney_properties properties = {.content_type = "a/b",
                                         .content_encoding = "gzip",
                                         .headers = headers,
                                         .delivery_mode = CONEY_TRANSIENT,
                                         .has_priority = true,
                                         .correlation_id = "c",
                                         .reply_to = "r",
                                         .expiration = "60000",
                                         .message_id = "m",
                                         .timestamp = 1700000000,
                                         .type = "t",
                                         .user_id = "u",
                                         .app_id = "p",
                                         .cluster_id = "k"};
    assert_string_equal(describe(make("abc", 3, &properties)),
                        "body (3 bytes), content_type 'a/b', content_encoding 'gzip', delivery_mode transient, "
                        "priority 0, correlation_id 'c', reply_to 'r', expiration '60000', message_id 'm', timestamp "
                        "2023-11-14T22:13:20Z, type 't', user_id 'u', app_id 'p', cluster_id 'k', headers {tries: 2, "
                        "by: 'web'}");
    coney_table_free(headers);
}

static void test_received_message_tells_what_it_came_with(void **state)
{
    (void)state;
    coney_message *message = make(NULL, 0, NULL);
    message->exchange = "shop";
    message->routing_key = "order.paid";
    message->received_user_id = "bob";
    message->received_delivery_mode = CONEY_PERSISTENT;
    message->redelivered = true;
    message->delivery_tag = 7;
    message->left_in_queue = 3;
    message->defect = "its headers are nested too deep";
    assert_string_equal(describe(message),
                        "body (0 bytes), received from exchange 'shop' with routing key 'order.paid', "
                        "received_user_id 'bob', received_delivery_mode persistent, redelivered, delivery_tag 7, "
                        "count 3, unreadable: 'its headers are nested too deep'");
}

/* ---- headers ---- */

static void test_values_of_all_types_are_shown(void **state)
{
    (void)state;
    static const struct {
        coney_value value;
        const char *shown;
    } cases[] = {
        {{.type = CONEY_VOID}, "void"},
        {{.type = CONEY_BOOL, .as.boolean = true}, "true"},
        {{.type = CONEY_INT8, .as.integer = -128}, "-128"},
        {{.type = CONEY_UINT32, .as.integer = 4294967295}, "4294967295"},
        {{.type = CONEY_INT64, .as.integer = INT64_MIN}, "-9223372036854775808"},
        {{.type = CONEY_FLOAT, .as.real = 0.1F}, "0.1"},
        {{.type = CONEY_DOUBLE, .as.real = -2.5}, "-2.5"},
        {{.type = CONEY_DOUBLE, .as.real = 1e300}, "1e+300"},
        {{.type = CONEY_DECIMAL, .as.decimal = {.mantissa = 1250, .scale = 2}}, "12.50"},
        {{.type = CONEY_DECIMAL, .as.decimal = {.mantissa = -5, .scale = 3}}, "-0.005"},
        {{.type = CONEY_DECIMAL, .as.decimal = {.mantissa = INT32_MIN}}, "-2147483648"},
        {{.type = CONEY_BYTES, .as.bytes = {.data = "\1\2", .size = 2}}, "(2 bytes)"},
        {{.type = CONEY_TIMESTAMP, .as.integer = -1}, "1969-12-31T23:59:59Z"},
        {{.type = CONEY_TIMESTAMP, .as.integer = INT64_MAX}, "9223372036854775807"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char expected[100];
        snprintf(expected, sizeof expected, "body (0 bytes), headers {h: %s}", cases[i].shown);
        assert_string_equal(describe_header(cases[i].value), expected);
    }
}

static void test_numbers_that_are_none_are_named(void **state)
{
    (void)state;
    assert_non_null(strstr(describe_header((coney_value){.type = CONEY_DOUBLE, .as.real = (double)NAN}), "h: NaN}"));
    assert_non_null(
        strstr(describe_header((coney_value){.type = CONEY_DOUBLE, .as.real = -(double)INFINITY}), "h: -Infinity}"));
}

static void test_smallest_decimal_fits(void **state)
{
    (void)state;
    const coney_value value = {.type = CONEY_DECIMAL, .as.decimal = {.mantissa = INT32_MIN, .scale = UINT8_MAX}};
    const char *line = describe_header(value);
    assert_non_null(strstr(line, "h: -0.000000"));
    assert_non_null(strstr(line, "0002147483648}"));
}

static void test_tables_and_arrays_are_shown_with_what_is_in_them(void **state)
{
    (void)state;
    coney_table *inner = coney_table_new();
    coney_array *array = coney_array_new();
    assert_ok(coney_table_set_bool(inner, "a", false));
    assert_ok(coney_table_set_table(inner, "b", inner));
    assert_ok(coney_array_append(array, &(coney_value){.type = CONEY_TABLE, .as.table = inner}));
    assert_ok(coney_array_append(array, &(coney_value){.type = CONEY_VOID}));
    assert_string_equal(describe_header((coney_value){.type = CONEY_ARRAY, .as.array = array}),
                        "body (0 bytes), headers {h: [{a: false, b: {a: false}}, void]}");
    coney_array_free(array);
    coney_table_free(inner);
}

static void test_long_text_of_a_header_is_cut(void **state)
{
    (void)state;
    char long_text[200];
    memset(long_text, 'a', sizeof long_text);
    long_text[199] = '\0';
    const char *line = describe_header(coney_value_string(long_text));
    assert_non_null(strstr(line, "aaaaa'... (199 bytes)}"));
    assert_int_equal(strlen(line), strlen("body (0 bytes), headers {h: '") + 50 + strlen("'... (199 bytes)}"));
}

/* ---- the buffer ---- */

static void test_line_is_cut_between_two_characters_at_every_size(void **state)
{
    (void)state;
    coney_message *message = make("\xe2\x82\xac\xe2\x82\xac", 6, &(coney_properties){.content_type = "text/plain"});
    size_t whole = coney_message_describe(message, NULL, 0);
    for (size_t size = 1; size <= whole + 1; size++) {
        char *room = malloc(size);
        assert_non_null(room);
        assert_int_equal(coney_message_describe(message, room, size), whole);
        assert_true(strlen(room) < size && strlen(room) + 20 > size);
        assert_int_equal(cny_utf8_error(room, strlen(room)), -1);
        free(room);
    }
    coney_message_unref(message);
}

static void test_nothing_is_allocated(void **state)
{
    (void)state;
    coney_message *message = make("x", 1, &(coney_properties){.content_type = "text/plain", .timestamp = 5});
    cny_alloc_fail_after(0);
    size_t size = coney_message_describe(message, text, sizeof text);
    cny_alloc_fail_after(-1);
    assert_int_equal(size, strlen(text));
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_message_without_anything_is_its_size),
        cmocka_unit_test(test_bodies_of_text_json_and_xml_are_shown),
        cmocka_unit_test(test_other_bodies_are_their_size),
        cmocka_unit_test(test_text_that_is_not_utf8_is_shown_as_its_size),
        cmocka_unit_test(test_long_body_is_cut_between_two_characters),
        cmocka_unit_test(test_control_characters_are_made_safe),
        cmocka_unit_test(test_all_properties_that_are_set_are_named),
        cmocka_unit_test(test_received_message_tells_what_it_came_with),
        cmocka_unit_test(test_values_of_all_types_are_shown),
        cmocka_unit_test(test_numbers_that_are_none_are_named),
        cmocka_unit_test(test_smallest_decimal_fits),
        cmocka_unit_test(test_tables_and_arrays_are_shown_with_what_is_in_them),
        cmocka_unit_test(test_long_text_of_a_header_is_cut),
        cmocka_unit_test(test_line_is_cut_between_two_characters_at_every_size),
        cmocka_unit_test(test_nothing_is_allocated),
    };
    return cmocka_run_group_tests_name("describe", tests, NULL, NULL);
}
