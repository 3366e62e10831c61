/* SPDX-License-Identifier: MIT */
/* What is agreed when a connection is tuned, at its extremes, and headers nested as deep as a frame can
 * hold. */
#include "support/fault_consumer.h"

#include <stdlib.h>

enum { LONG_MS = 10000, SHORT_MS = 100 };

/* --- tune --- */

static amqp_connection_tune_t proposal; /* what the broker's options cannot say: zeroes */
static amqp_connection_tune_ok_t agreed;

static void propose(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_send(peer, 0, AMQP_CONNECTION_TUNE_METHOD, &proposal);
    agreed = *(amqp_connection_tune_ok_t *)cny_peer_expect(peer, AMQP_CONNECTION_TUNE_OK_METHOD)->args;
}

static void start_with_proposal(uint16_t channel_max, uint32_t frame_max, uint16_t heartbeat,
                                const coney_connection_factory_options *options)
{
    proposal = (amqp_connection_tune_t){channel_max, frame_max, heartbeat};
    fault_start(propose, options);
    fault_use_admin(LONG_MS);
}

static void expect_agreement(uint16_t channel_max, uint32_t frame_max, uint16_t heartbeat)
{
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(agreed.channel_max, channel_max);
    assert_int_equal(agreed.frame_max, frame_max);
    assert_int_equal(agreed.heartbeat, heartbeat);
}

static void test_brokers_lower_numbers_count(void **state)
{
    (void)state;
    start_with_proposal(10, 4096, 7, NULL);
    expect_agreement(10, 4096, 7);
}

static void test_brokers_higher_numbers_do_not_count(void **state)
{
    (void)state;
    start_with_proposal(65535, UINT32_MAX, 3600,
                        &(coney_connection_factory_options){.frame_max = 8192, .heartbeat_s = 5});
    expect_agreement(2047, 8192, 5);
}

static void test_heartbeats_can_be_switched_off(void **state)
{
    (void)state;
    start_with_proposal(0, 0, 60, &(coney_connection_factory_options){.heartbeat_s = -1});
    expect_agreement(2047, 131072, 0);
}

static void test_all_channels_in_use_is_a_clear_limit(void **state)
{
    (void)state;
    fault_reset_handler();
    fault_start_with(&(cny_broker_options){.channel_max = 1}, NULL);
    fault_use_container(NULL, fault_obey, 1);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_LIMIT, fault_ask());
    fault_expect_text("all 1 channels of the connection are in use");
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS)); /* it has a connection with a channel of its own */
    fault_expect_status(CONEY_OK, coney_container_check(fault.container));
}

/* The channel of the first question is closed at once, but its number is free with the close-ok only. */
static void answer_the_close_late(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *close = cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_METHOD);
    cny_peer_method late = *close;
    cny_peer_silence(peer, SHORT_MS);
    cny_peer_answer(peer, &late);
}

static void test_channel_number_about_to_be_free_is_waited_for(void **state)
{
    (void)state;
    fault_start_with(&(cny_broker_options){.script = answer_the_close_late, .channel_max = 1}, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, fault_ask());
}

/* --- frames --- */

/* A body frame that is larger than agreed, though its message is allowed. */
static void deliver_in_a_frame_over_frame_max(cny_peer *peer, void *user)
{
    (void)user;
    static const char body[5000];
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_header(peer, channel, sizeof body, NULL);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, body, sizeof body);
    fault_expect_ack(peer, 1);
}

static void consume_from(cny_script *script, uint32_t frame_max)
{
    fault_reset_handler();
    fault_start_with(&(cny_broker_options){.script = script, .frame_max = frame_max}, NULL);
    fault_use_container(NULL, fault_obey, 1);
    cny_broker_wait(fault.broker, 1);
}

static void test_body_frame_over_frame_max_is_read(void **state)
{
    (void)state;
    consume_from(deliver_in_a_frame_over_frame_max, 4096);
    assert_int_equal(fault_handler_calls(), 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

/* Headers with one text, so that the content header has so many bytes. Static, for a script may end at any time. */
enum { MOST_HEADER = 3 << 20 };
static unsigned char header[MOST_HEADER];

static void deliver_with_header(cny_peer *peer, amqp_channel_t channel, uint64_t tag, size_t size)
{
    static const unsigned char start[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x20, 0};
    const size_t table = size - sizeof start - 4, text = table - 7;
    const unsigned char headers[] = {(unsigned char)(table >> 24),
                                     (unsigned char)(table >> 16),
                                     (unsigned char)(table >> 8),
                                     (unsigned char)table,
                                     1,
                                     'f',
                                     'S',
                                     (unsigned char)(text >> 24),
                                     (unsigned char)(text >> 16),
                                     (unsigned char)(text >> 8),
                                     (unsigned char)text};
    memset(header, 'x', size);
    memcpy(header, start, sizeof start);
    memcpy(header + sizeof start, headers, sizeof headers);
    cny_peer_deliver_method(peer, channel, tag);
    cny_peer_send_frame(peer, AMQP_FRAME_HEADER, channel, header, size);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "ack", 3);
}

static void deliver_growing_headers(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    for (uint64_t tag = 1; tag <= 8; tag++) {
        deliver_with_header(peer, channel, tag, (size_t)tag * 131072 - 8);
        fault_expect_ack(peer, tag);
    }
}

static void test_content_headers_up_to_eight_times_frame_max_are_handled(void **state)
{
    (void)state;
    consume_from(deliver_growing_headers, 131072);
    assert_int_equal(fault_handler_calls(), 8);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

static void deliver_too_large_a_header(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    deliver_with_header(peer, channel, 1, MOST_HEADER);
    fault_expect_reject(peer, 1, false);
    cny_peer_deliver(peer, channel, 2, "ack");
    fault_expect_ack(peer, 2);
}

static void test_content_header_over_the_limit_costs_only_its_message(void **state)
{
    (void)state;
    consume_from(deliver_too_large_a_header, 4096);
    assert_int_equal(fault_handler_calls(), 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

/* What we send keeps to what was agreed, whatever came. */
static void test_what_is_sent_keeps_to_frame_max_after_larger_headers_came(void **state)
{
    (void)state;
    consume_from(deliver_growing_headers, 131072);
    coney_table *headers = coney_table_new();
    coney_message *message;
    char *text = calloc(1, 140001);
    memset(text, 'x', 140000);
    coney_status status = coney_table_set_string(headers, "f", text);
    free(text);
    fault_expect_status(CONEY_OK, status);
    status = coney_message_new(&message, "", 0, &(coney_properties){.headers = headers});
    coney_table_free(headers);
    fault_expect_status(CONEY_OK, status);
    fault_use_template(NULL);
    status = coney_template_send(fault.sender, "key", message, NULL);
    coney_message_unref(message);
    fault_expect_status(CONEY_E_INVALID, status);
}

/* Half-filled segments must not wait for more to come, which costs 200 ms. */
static void test_body_of_whole_frames_goes_out_at_once(void **state)
{
    (void)state;
    enum { FRAME_MAX = 4096, FRAMES = 3, TRIES = 5 };
    static const char body[FRAMES * (FRAME_MAX - 8)];
    coney_message *message;
    int64_t fastest = LONG_MS;
    fault_start_with(&(cny_broker_options){.frame_max = FRAME_MAX}, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    coney_status status = CONEY_OK;
    for (int i = 0; i < TRIES && status == CONEY_OK; i++) {
        int64_t began = cny_now_ms();
        status = coney_template_send(fault.sender, "key", message, NULL);
        int64_t elapsed = cny_now_ms() - began;
        elapsed -= test_late_ms(began);
        fastest = elapsed < fastest ? elapsed : fastest;
    }
    coney_message_unref(message);
    fault_expect_status(CONEY_OK, status);
    assert_true(fastest <= 100);
}

static void hang_after_the_header(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    if (cny_peer_number(peer) == 0) {
        cny_peer_deliver_method(peer, channel, 1);
        cny_peer_send_header(peer, channel, 3, NULL);
        cny_peer_silence(peer, LONG_MS);
        return;
    }
    cny_peer_deliver(peer, channel, 1, "ack");
    fault_expect_ack(peer, 1);
}

static void test_header_without_its_body_costs_the_connection_only(void **state)
{
    (void)state;
    fault_consume(hang_after_the_header, &(coney_connection_factory_options){.heartbeat_s = 1}, 1);
    fault_wait_for_calls(1);
    cny_broker_wait(fault.broker, 2);
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_E_LOST);
}

static void return_without_content(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    amqp_basic_return_t back = {312, amqp_cstring_bytes("NO_ROUTE"), amqp_empty_bytes, amqp_cstring_bytes("key")};
    amqp_channel_t channel = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD)->channel;
    cny_peer_cork(peer, true);
    cny_peer_send(peer, channel, AMQP_BASIC_RETURN_METHOD, &back);
    cny_peer_ack(peer, channel, 1, false);
    cny_peer_cork(peer, false);
    cny_peer_silence(peer, LONG_MS);
}

static void test_return_without_content_costs_the_connection(void **state)
{
    (void)state;
    fault_start(return_without_content, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_LOST, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(fault_info(CONEY_PUBLISHING).reason, CONEY_E_PROTOCOL);
}

/* --- depth --- */

/* 20,000 tables, each the only value, under an empty name, of the one around it; or as many arrays. */
enum {
    DEPTH = 20000,
    MOST_DEPTH = 200000,
    TABLE_LEVEL = 6,
    ARRAY_LEVEL = 5,
    DEEP_BYTES = MOST_DEPTH * ARRAY_LEVEL + 32
};

static unsigned char *put(unsigned char *at, const void *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

static unsigned char *put_size(unsigned char *at, size_t size)
{
    const unsigned char bytes[] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16), (unsigned char)(size >> 8),
                                   (unsigned char)size};
    return put(at, bytes, sizeof bytes);
}

/* The table's size, then what is in it. */
static unsigned char *put_deep_tables(unsigned char *at)
{
    for (size_t i = DEPTH; i > 0; i--)
        at = put(put_size(at, i * TABLE_LEVEL), "\0F", 2);
    return put_size(at, 0);
}

static unsigned char *put_arrays(unsigned char *at, size_t depth)
{
    at = put(put_size(at, 3 + 4 + (depth - 1) * ARRAY_LEVEL), "\1aA", 3);
    for (size_t i = depth - 1; i > 0; i--)
        at = put(put_size(at, i * ARRAY_LEVEL), "A", 1);
    return put_size(at, 0);
}

static unsigned char *put_deep_arrays(unsigned char *at)
{
    return put_arrays(at, DEPTH);
}

typedef unsigned char *nest(unsigned char *at);

static nest *const nests[] = {put_deep_tables, put_deep_arrays};

/* Memory that a script that fails may leave behind. */
static unsigned char deep[DEEP_BYTES + 64];

static const unsigned char start_of_header[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x20, 0};

static void deliver_deep(cny_peer *peer, amqp_channel_t channel, uint64_t tag, const unsigned char *end)
{
    cny_peer_deliver_method(peer, channel, tag);
    cny_peer_send_frame(peer, AMQP_FRAME_HEADER, channel, deep, (size_t)(end - deep));
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "ack", 3);
    fault_expect_reject(peer, tag, false);
}

static void deliver_deep_headers(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    for (uint64_t i = 0; i < 2; i++)
        deliver_deep(peer, channel, i + 1, nests[i](put(deep, start_of_header, sizeof start_of_header)));
    cny_peer_deliver(peer, channel, 3, "ack");
    fault_expect_ack(peer, 3);
}

static void test_headers_20000_deep_are_rejected_and_the_consumer_goes_on(void **state)
{
    (void)state;
    fault_consume(deliver_deep_headers, NULL, 1);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

/* More levels than a frame of the agreed size holds, for which the I/O thread's stack is made. */
static void deliver_deeper_headers(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    deliver_deep(peer, channel, 1, put_arrays(put(deep, start_of_header, sizeof start_of_header), MOST_DEPTH));
    cny_peer_deliver(peer, channel, 2, "ack");
    fault_expect_ack(peer, 2);
}

static void test_headers_200000_deep_are_rejected_and_the_consumer_goes_on(void **state)
{
    (void)state;
    fault_consume(deliver_deeper_headers, NULL, 1);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

/* connection.start whose server properties are the user's nest. */
static void greet_deeply(cny_peer *peer, void *user)
{
    static const unsigned char start[] = {0, 10, 0, 10, 0, 9};
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    unsigned char *end = (*(nest *const *)user)(put(deep, start, sizeof start));
    end = put(put_size(end, 5), "PLAIN", 5);
    end = put(put_size(end, 5), "en_US", 5);
    cny_peer_send_frame(peer, AMQP_FRAME_METHOD, 0, deep, (size_t)(end - deep));
}

/* Up to librabbitmq 0.13 such a greeting is decoded; a later one refuses it, and so each attempt ends, but
 * nothing worse happens. */
static void expect_login_or_refusal(nest *const *way)
{
    enum { ATTEMPT_MS = 1000 };
    fault_start_with(&(cny_broker_options){.script = greet_deeply, .user = (void *)(uintptr_t)way}, NULL);
    fault_use_admin(ATTEMPT_MS);
    coney_status status = fault_ask();
    if (status == CONEY_OK) {
        assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 1);
        return;
    }
    fault_expect_status(CONEY_E_CONNECT, status);
    fault_expect_text("does not speak AMQP 0-9-1 as expected: the broker sent a method that cannot be decoded");
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_E_PROTOCOL);
    assert_true(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER) > 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CONNECTION_START_OK_METHOD), 0);
}

static void test_server_properties_20000_tables_deep_do_no_harm(void **state)
{
    (void)state;
    expect_login_or_refusal(&nests[0]);
}

static void test_server_properties_20000_arrays_deep_do_no_harm(void **state)
{
    (void)state;
    expect_login_or_refusal(&nests[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_brokers_lower_numbers_count),
        fault_test(test_brokers_higher_numbers_do_not_count),
        fault_test(test_heartbeats_can_be_switched_off),
        fault_test(test_all_channels_in_use_is_a_clear_limit),
        fault_test(test_channel_number_about_to_be_free_is_waited_for),
        fault_test(test_body_frame_over_frame_max_is_read),
        fault_test(test_content_headers_up_to_eight_times_frame_max_are_handled),
        fault_test(test_content_header_over_the_limit_costs_only_its_message),
        fault_test(test_what_is_sent_keeps_to_frame_max_after_larger_headers_came),
        fault_test(test_body_of_whole_frames_goes_out_at_once),
        fault_test(test_header_without_its_body_costs_the_connection_only),
        fault_test(test_return_without_content_costs_the_connection),
        fault_test(test_headers_20000_deep_are_rejected_and_the_consumer_goes_on),
        fault_test(test_headers_200000_deep_are_rejected_and_the_consumer_goes_on),
        fault_test(test_server_properties_20000_tables_deep_do_no_harm),
        fault_test(test_server_properties_20000_arrays_deep_do_no_harm),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
