/* SPDX-License-Identifier: MIT */
/* The pure encoders: frames as AMQP lays them out, and failures that leave the buffer alone. */
#include "support/test_support.h"
#include "wire/wire.h"

enum { FRAME_MAX = 4096, OVERHEAD = 8, FRAME_END = 0xce };

static uint32_t u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* Checks one frame and returns where the next begins. */
static size_t expect_frame(const cny_buffer *out, size_t at, uint8_t type, uint16_t channel, size_t payload)
{
    assert_true(at + payload + OVERHEAD <= out->size);
    const uint8_t *frame = out->data + at;
    assert_int_equal(frame[0], type);
    assert_int_equal(frame[1] << 8 | frame[2], channel);
    assert_int_equal(u32(frame + 3), payload);
    assert_int_equal(frame[7 + payload], FRAME_END);
    return at + payload + OVERHEAD;
}

static void test_ack_is_one_frame(void **state)
{
    (void)state;
    cny_buffer out = {0};
    assert_ok(cny_encode_ack(&out, 7, 0x0102030405060708, false));
    assert_int_equal(expect_frame(&out, 0, 1, 7, 13), out.size);
    static const uint8_t method[] = {0, 60, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 0};
    assert_memory_equal(out.data + 7, method, sizeof method);
    cny_buffer_free(&out);
}

static void test_reject_and_nack_differ(void **state)
{
    (void)state;
    cny_buffer out = {0};
    assert_ok(cny_encode_reject(&out, 1, 5, true));
    size_t second = expect_frame(&out, 0, 1, 1, 13);
    assert_int_equal(u32(out.data + 7), 0x003c005a);
    assert_int_equal(out.data[7 + 12], 1);
    assert_ok(cny_encode_nack(&out, 1, 5, true, false));
    expect_frame(&out, second, 1, 1, 13);
    assert_int_equal(u32(out.data + second + 7), CNY_BASIC_NACK);
    assert_int_equal(out.data[second + 7 + 12], 1); /* multiple, not requeue */
    cny_buffer_free(&out);
}

static void test_get_wants_an_acknowledgement(void **state)
{
    (void)state;
    cny_buffer out = {0};
    assert_ok(cny_encode_get(&out, 2, "q"));
    static const uint8_t method[] = {0, 60, 0, 70, 0, 0, 1, 'q', 0};
    assert_int_equal(expect_frame(&out, 0, 1, 2, sizeof method), out.size);
    assert_memory_equal(out.data + 7, method, sizeof method);
    cny_buffer_free(&out);
}

static void test_transaction_methods_are_their_numbers(void **state)
{
    (void)state;
    cny_buffer out = {0};
    assert_ok(cny_encode_tx_select(&out, 1));
    assert_ok(cny_encode_tx_commit(&out, 1));
    assert_ok(cny_encode_tx_rollback(&out, 1));
    static const uint32_t methods[] = {0x005a000a, 0x005a0014, 0x005a001e};
    for (size_t i = 0, at = 0; i < COUNT_OF(methods); i++) {
        assert_int_equal(u32(out.data + at + 7), methods[i]);
        at = expect_frame(&out, at, 1, 1, 4);
    }
    cny_buffer_free(&out);
}

static void test_update_secret_is_a_long_and_a_short_string(void **state)
{
    (void)state;
    cny_buffer out = {0};
    assert_ok(cny_encode_update_secret(&out, "hush"));
    assert_int_equal(expect_frame(&out, 0, 1, 0, 4 + 4 + 4 + 1 + 7), out.size);
    assert_memory_equal(out.data + 7, "\0\x0a\0\x46\0\0\0\4hush\7renewed", 20);
    cny_buffer_free(&out);
}

static void test_update_secret_may_be_longer_than_other_methods(void **state)
{
    (void)state;
    char token[5001];
    memset(token, 't', 5000);
    token[5000] = '\0';
    cny_buffer out = {0};
    assert_ok(cny_encode_update_secret(&out, token));
    assert_int_equal(expect_frame(&out, 0, 1, 0, 4 + 4 + 5000 + 1 + 7), out.size);
    cny_buffer_free(&out);
}

static void test_heartbeat_is_eight_bytes(void **state)
{
    (void)state;
    cny_buffer out = {0};
    assert_ok(cny_encode_heartbeat(&out));
    assert_int_equal(expect_frame(&out, 0, 8, 0, 0), 8);
    cny_buffer_free(&out);
}

static void test_body_is_split_at_frame_max(void **state)
{
    (void)state;
    static const struct {
        size_t body, frames;
    } cases[] = {{0, 0}, {1, 1}, {FRAME_MAX - OVERHEAD, 1}, {FRAME_MAX - OVERHEAD + 1, 2}, {20000, 5}};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        char *body = cny_alloc(cases[i].body + 1);
        memset(body, 'b', cases[i].body);
        coney_message *message;
        assert_ok(coney_message_new(&message, body, cases[i].body, NULL));
        cny_buffer out = {0};
        assert_ok(cny_encode_body(&out, 2, FRAME_MAX, message));
        assert_int_equal(out.size, cny_body_frames_size(cases[i].body, FRAME_MAX));
        assert_int_equal(out.size, cases[i].body + cases[i].frames * OVERHEAD);
        size_t at = 0, left = cases[i].body;
        for (size_t frame = 0; frame < cases[i].frames; frame++) {
            size_t payload = left < FRAME_MAX - OVERHEAD ? left : FRAME_MAX - OVERHEAD;
            at = expect_frame(&out, at, 3, 2, payload);
            left -= payload;
        }
        assert_int_equal(at, out.size);
        cny_buffer_free(&out);
        coney_message_unref(message);
        cny_free(body);
    }
}

static void test_publish_is_method_and_header(void **state)
{
    (void)state;
    cny_buffer out = {0};
    coney_message *message = test_text("hello");
    assert_ok(cny_encode_publish(&out, 3, FRAME_MAX, "ex", "key", true, message));
    size_t header = expect_frame(&out, 0, 1, 3, 4 + 2 + 3 + 4 + 1);
    assert_int_equal(out.data[header - 2], 1); /* mandatory */
    assert_int_equal(out.data[header], 2);
    const uint8_t *payload = out.data + header + 7;
    assert_int_equal(u32(payload), 60 << 16);
    assert_int_equal(u32(payload + 8), 5);
    /* content type and delivery mode: 0x9000; the type, 2 */
    assert_int_equal(payload[12] << 8 | payload[13], 0x9000);
    assert_int_equal(payload[14], strlen(CONEY_CONTENT_TYPE_BYTES));
    assert_int_equal(payload[15 + strlen(CONEY_CONTENT_TYPE_BYTES)], CONEY_PERSISTENT);
    coney_message_unref(message);
    cny_buffer_free(&out);
}

/* The flags of a message's properties, and the byte after its empty content type and its delivery mode. */
static void expect_priority(const coney_properties *properties, int flags, int byte)
{
    cny_buffer out = {0};
    coney_message *message;
    assert_ok(coney_message_new(&message, "", 0, properties));
    assert_ok(cny_encode_publish(&out, 1, FRAME_MAX, "", "", false, message));
    const uint8_t *payload = out.data + expect_frame(&out, 0, 1, 1, 4 + 2 + 1 + 1 + 1) + 7;
    assert_int_equal(payload[12] << 8 | payload[13], flags);
    assert_int_equal(payload[16], byte);
    coney_message_unref(message);
    cny_buffer_free(&out);
}

static void test_priority_goes_only_if_there_is_one(void **state)
{
    (void)state;
    expect_priority(&(coney_properties){.content_type = ""}, 0x9000, FRAME_END);
    expect_priority(&(coney_properties){.content_type = "", .priority = 7}, 0x9800, 7);
    expect_priority(&(coney_properties){.content_type = "", .priority = 255}, 0x9800, 255);
    expect_priority(&(coney_properties){.content_type = "", .has_priority = true}, 0x9800, 0);
}

static void test_empty_correlation_id_is_not_sent(void **state)
{
    (void)state;
    cny_buffer out = {0};
    coney_message *message;
    assert_ok(coney_message_new(&message, "", 0, &(coney_properties){.correlation_id = ""}));
    assert_ok(cny_encode_publish(&out, 1, FRAME_MAX, "", "", false, message));
    size_t header = expect_frame(&out, 0, 1, 1, 4 + 2 + 1 + 1 + 1);
    const uint8_t *payload = out.data + header + 7;
    assert_int_equal(payload[12] << 8 | payload[13], 0x9000);
    coney_message_unref(message);
    cny_buffer_free(&out);
}

/* The client of Spring 2.4.10 ends its connection over the field type B. */
static void test_unsigned_bytes_go_as_16_bit_integers(void **state)
{
    (void)state;
    const coney_value largest = {.type = CONEY_UINT8, .as.integer = 255};
    coney_table *headers = coney_table_new();
    coney_array *array = coney_array_new();
    coney_message *message;
    cny_buffer out = {0};
    assert_ok(coney_table_set(headers, "n", &largest));
    assert_ok(coney_array_append(array, &largest));
    assert_ok(coney_table_set_array(headers, "a", array));
    assert_ok(coney_message_new(&message, "", 0, &(coney_properties){.content_type = "", .headers = headers}));
    assert_ok(cny_encode_publish(&out, 1, FRAME_MAX, "", "", false, message));
    static const char expected[] = "\0\0\0\x0f\1ns\0\xff\1aA\0\0\0\3s\0\xff";
    const uint8_t *table = out.data + expect_frame(&out, 0, 1, 1, 4 + 2 + 1 + 1 + 1) + 7 + 15;
    assert_memory_equal(table, expected, sizeof expected - 1);
    coney_message_unref(message);
    coney_array_free(array);
    coney_table_free(headers);
    cny_buffer_free(&out);
}

static coney_message *message_with_header(size_t size)
{
    char *text = cny_alloc(size + 1);
    memset(text, 'h', size);
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "x", text));
    coney_message *message;
    assert_ok(coney_message_new(&message, "", 0, &(coney_properties){.headers = headers}));
    coney_table_free(headers);
    cny_free(text);
    return message;
}

static void test_headers_that_fit_no_frame_leave_the_buffer_alone(void **state)
{
    (void)state;
    cny_buffer out = {0};
    assert_ok(cny_encode_heartbeat(&out));
    coney_message *fits = message_with_header(3900), *large = message_with_header(4100);
    assert_fails(cny_encode_publish(&out, 1, FRAME_MAX, "", "q", false, large), CONEY_E_INVALID,
                 "headers do not fit a frame of 4096 bytes");
    assert_int_equal(out.size, 8);
    assert_ok(cny_encode_publish(&out, 1, FRAME_MAX, "", "q", false, fits));
    coney_message_unref(fits);
    coney_message_unref(large);
    cny_buffer_free(&out);
}

static void test_arguments_that_fit_no_frame_are_refused(void **state)
{
    (void)state;
    char text[5000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    coney_table *arguments = coney_table_new();
    assert_ok(coney_table_set_string(arguments, "x-large", text));
    cny_buffer out = {0};
    const coney_queue queue = {.name = "q", .arguments = arguments};
    assert_fails(cny_encode_queue_declare(&out, 1, FRAME_MAX, &queue, false), CONEY_E_INVALID,
                 "arguments do not fit a frame of 4096 bytes");
    assert_int_equal(out.size, 0);
    assert_ok(cny_encode_queue_declare(&out, 1, 131072, &queue, false));
    coney_table_free(arguments);
    cny_buffer_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ack_is_one_frame),
        cmocka_unit_test(test_reject_and_nack_differ),
        cmocka_unit_test(test_get_wants_an_acknowledgement),
        cmocka_unit_test(test_transaction_methods_are_their_numbers),
        cmocka_unit_test(test_update_secret_is_a_long_and_a_short_string),
        cmocka_unit_test(test_update_secret_may_be_longer_than_other_methods),
        cmocka_unit_test(test_heartbeat_is_eight_bytes),
        cmocka_unit_test(test_body_is_split_at_frame_max),
        cmocka_unit_test(test_publish_is_method_and_header),
        cmocka_unit_test(test_priority_goes_only_if_there_is_one),
        cmocka_unit_test(test_empty_correlation_id_is_not_sent),
        cmocka_unit_test(test_unsigned_bytes_go_as_16_bit_integers),
        cmocka_unit_test(test_headers_that_fit_no_frame_leave_the_buffer_alone),
        cmocka_unit_test(test_arguments_that_fit_no_frame_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
