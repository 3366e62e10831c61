/* SPDX-License-Identifier: MIT */
/* Deliveries of every shape, and what becomes of them: what the handler decides reaches the broker
 * with the right tag. */
#include "support/fault_consumer.h"

/* --- settling --- */

static void deliver_every_outcome(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
    fault_expect_ack(peer, 1);
    cny_peer_deliver(peer, channel, 2, "reject");
    fault_expect_reject(peer, 2, false);
    cny_peer_deliver(peer, channel, 3, "requeue");
    fault_expect_reject(peer, 3, true);
    cny_peer_deliver(peer, channel, 4, "retry");
    fault_expect_reject(peer, 4, true);
    cny_peer_deliver(peer, channel, 5, "nonsense");
    fault_expect_reject(peer, 5, true);
    cny_peer_deliver(peer, channel, UINT64_C(1) << 40, "ack");
    fault_expect_ack(peer, UINT64_C(1) << 40);
}

static void test_each_outcome_reaches_the_broker_with_its_tag(void **state)
{
    (void)state;
    fault_consume(deliver_every_outcome, NULL, 1);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(coney_container_check(fault.container), CONEY_OK);
}

static void deliver_many_then_look(cny_peer *peer, void *user)
{
    (void)user;
    enum { COUNT = 200 };
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    for (uint64_t tag = 1; tag <= COUNT; tag++)
        cny_peer_deliver(peer, channel, tag, tag % 2 ? "ack" : "reject");
    for (uint64_t tag = 1; tag <= COUNT; tag++) {
        if (tag % 2)
            fault_expect_ack(peer, tag);
        else
            fault_expect_reject(peer, tag, false);
    }
}

static void test_one_consumer_settles_in_order(void **state)
{
    (void)state;
    fault_consume(deliver_many_then_look, NULL, 1);
    cny_broker_wait(fault.broker, 1);
}

static void look_at_qos(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *qos = cny_peer_serve_until(peer, AMQP_BASIC_QOS_METHOD);
    cny_peer_check(peer, ((amqp_basic_qos_t *)qos->args)->prefetch_count == 250);
    cny_peer_answer(peer, qos);
    cny_peer_method *consume_method = cny_peer_expect(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_check(peer, !((amqp_basic_consume_t *)consume_method->args)->no_ack);
    cny_peer_answer(peer, consume_method);
}

static void test_prefetch_is_set_before_consuming(void **state)
{
    (void)state;
    fault_consume(look_at_qos, NULL, 1);
    cny_broker_wait(fault.broker, 1);
}

/* --- deliveries of every shape --- */

static void deliver_an_empty_message(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "");
    fault_expect_ack(peer, 1);
}

static void test_message_without_a_body_is_delivered(void **state)
{
    (void)state;
    fault_consume(deliver_an_empty_message, NULL, 1);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

static void deliver_byte_by_byte(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_trickle(peer);
    cny_peer_deliver(peer, channel, 1, "reject");
    fault_expect_reject(peer, 1, false);
}

static void test_delivery_that_comes_byte_by_byte_is_put_together(void **state)
{
    (void)state;
    fault_consume(deliver_byte_by_byte, NULL, 1);
    cny_broker_wait(fault.broker, 1);
}

static void deliver_in_many_frames(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_header(peer, channel, 6, NULL);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "re", 2);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "", 0);
    cny_peer_send_frame(peer, AMQP_FRAME_HEARTBEAT, 0, "", 0);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "j", 1);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "ect", 3);
    fault_expect_reject(peer, 1, false);
}

static void test_body_in_uneven_frames_is_put_together(void **state)
{
    (void)state;
    fault_consume(deliver_in_many_frames, NULL, 1);
    cny_broker_wait(fault.broker, 1);
}

/* Two on one channel: both are read past, and so the one behind them is found. */
static void deliver_messages_over_the_limit(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_header(peer, channel, 11, NULL);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "elev", 4);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "en byte", 7);
    fault_expect_reject(peer, 1, false);
    cny_peer_deliver(peer, channel, 2, "a body of twenty-five byt");
    fault_expect_reject(peer, 2, false);
    cny_peer_deliver(peer, channel, 3, "ten bytes!");
    fault_expect_ack(peer, 3);
}

static void test_message_over_max_message_bytes_is_rejected_and_the_next_is_handled(void **state)
{
    (void)state;
    fault_consume(deliver_messages_over_the_limit, &(coney_connection_factory_options){.max_message_bytes = 10}, 1);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

static void announce_more_than_there_is_memory(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_header(peer, channel, UINT64_C(1) << 62, NULL);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "a beginning", 11);
    cny_peer_close_channel(peer, channel, 504, "changed my mind"); /* the client still hears us */
}

static void test_size_that_is_a_lie_reserves_no_memory(void **state)
{
    (void)state;
    fault_consume(announce_more_than_there_is_memory, NULL, 1);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 0);
}

/* The frames of two channels may alternate, though RabbitMQ does not do it. */
static void deliver_two_interleaved(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t one = cny_peer_serve_until_consumer(peer);
    amqp_channel_t two = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver_method(peer, one, 1);
    cny_peer_deliver_method(peer, two, 1);
    cny_peer_send_header(peer, two, 6, NULL);
    cny_peer_send_header(peer, one, 3, NULL);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, one, "ack", 3);
    cny_peer_check(peer, cny_peer_expect(peer, AMQP_BASIC_ACK_METHOD)->channel == one);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, two, "reject", 6);
    cny_peer_check(peer, cny_peer_expect(peer, AMQP_BASIC_REJECT_METHOD)->channel == two);
}

static void test_interleaved_deliveries_of_two_channels_are_kept_apart(void **state)
{
    (void)state;
    fault_consume(deliver_two_interleaved, NULL, 2);
    cny_broker_wait(fault.broker, 1);
}

enum { DEPTH = 200, LEVEL = 7 };

/* A content header whose headers are DEPTH tables, each the only value of the one around it. */
static size_t make_deep_header(unsigned char *header)
{
    static const unsigned char start[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0x20, 0};
    unsigned char *at = header;
    memcpy(at, start, sizeof start);
    at += sizeof start;
    for (int i = DEPTH; i >= 0; i--) {
        size_t inside = (size_t)i * LEVEL;
        const unsigned char size[] = {0, 0, (unsigned char)(inside >> 8), (unsigned char)inside};
        memcpy(at, size, sizeof size);
        at += sizeof size;
        if (i == 0)
            break;
        memcpy(at, "\1tF", 3);
        at += 3;
    }
    return (size_t)(at - header);
}

static void deliver_deep_headers(cny_peer *peer, void *user)
{
    (void)user;
    unsigned char header[14 + 4 + DEPTH * LEVEL];
    size_t size = make_deep_header(header);
    cny_peer_check(peer, size == sizeof header);
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_frame(peer, AMQP_FRAME_HEADER, channel, header, size);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "ack", 3);
    fault_expect_reject(peer, 1, false);
    cny_peer_deliver(peer, channel, 2, "ack");
    fault_expect_ack(peer, 2);
}

static void test_headers_nested_too_deep_are_rejected_and_the_consumer_goes_on(void **state)
{
    (void)state;
    fault_consume(deliver_deep_headers, NULL, 1);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

static void deliver_mangled_properties(cny_peer *peer, void *user)
{
    (void)user;
    /* class, weight, body size, flags: all set; then a text longer than the frame */
    static const unsigned char header[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xfc, 200, 'x'};
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_frame(peer, AMQP_FRAME_HEADER, channel, header, sizeof header);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "ack", 3);
    fault_expect_reject(peer, 1, false);
    cny_peer_deliver(peer, channel, 2, "ack");
    fault_expect_ack(peer, 2);
}

static void test_properties_that_cannot_be_decoded_are_rejected_and_the_consumer_goes_on(void **state)
{
    (void)state;
    fault_consume(deliver_mangled_properties, NULL, 1);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_each_outcome_reaches_the_broker_with_its_tag),
        fault_test(test_one_consumer_settles_in_order),
        fault_test(test_prefetch_is_set_before_consuming),
        fault_test(test_message_without_a_body_is_delivered),
        fault_test(test_delivery_that_comes_byte_by_byte_is_put_together),
        fault_test(test_message_over_max_message_bytes_is_rejected_and_the_next_is_handled),
        fault_test(test_size_that_is_a_lie_reserves_no_memory),
        fault_test(test_body_in_uneven_frames_is_put_together),
        fault_test(test_interleaved_deliveries_of_two_channels_are_kept_apart),
        fault_test(test_headers_nested_too_deep_are_rejected_and_the_consumer_goes_on),
        fault_test(test_properties_that_cannot_be_decoded_are_rejected_and_the_consumer_goes_on),
    };
    return cmocka_run_group_tests_name("consumer", tests, NULL, NULL);
}
