/* SPDX-License-Identifier: MIT */
/* basic.cancel from the broker at every moment: whatever it meets, the consumer is consuming again
 * afterwards or has stopped, and nothing hangs. */
#include "support/fault_consumer.h"

enum { LONG_MS = 10000 };

/* After the deed the next consumer is served, and gets a message. */
static void serve_the_next(cny_peer *peer)
{
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
    fault_expect_ack(peer, 1);
}

static void expect_the_next_to_be_served(cny_script *script)
{
    fault_reset_handler();
    fault_start(script, NULL);
    fault_use_container(&(coney_container_options){.resubscribe_interval_ms = LONG_MS}, fault_obey, 1);
    fault_wait_for_calls(1);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
}

static void cancel_before_consume_ok(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    amqp_channel_t channel = consume->channel;
    cny_peer_cancel_consumer(peer, channel);
    cny_peer_send(peer, channel, AMQP_BASIC_CONSUME_OK_METHOD, &(amqp_basic_consume_ok_t){amqp_cstring_bytes("tag")});
    serve_the_next(peer);
}

/* As for a queue that is missing: the container waits for it. */
static void test_cancel_before_consume_ok_is_waited_out(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, fault_start_container(cancel_before_consume_ok, 0, 0));
    fault_expect_status(CONEY_E_NOT_FOUND, coney_container_check(fault.container));
    fault_expect_text("the broker cancelled the consumer");
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    fault_wait_for_calls(1);
}

static void cancel_right_after_consume_ok(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_cork(peer, true);
    cny_peer_answer(peer, consume);
    cny_peer_cancel_consumer(peer, consume->channel);
    cny_peer_cork(peer, false);
    serve_the_next(peer);
}

static void test_cancel_in_the_packet_of_consume_ok_is_survived(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, fault_start_container(cancel_right_after_consume_ok, 0, 0));
    fault_wait_for_calls(1);
}

/* AMQP lets no method stand inside a message on its channel, so the connection ends. */
static void cancel_inside_a_message(cny_peer *peer, bool before_header)
{
    if (cny_peer_number(peer) > 0) {
        serve_the_next(peer);
        return;
    }
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_cork(peer, true);
    cny_peer_deliver_method(peer, channel, 1);
    if (before_header)
        cny_peer_cancel_consumer(peer, channel);
    cny_peer_send_header(peer, channel, 3, NULL);
    if (!before_header)
        cny_peer_cancel_consumer(peer, channel);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "ack", 3);
    cny_peer_cork(peer, false);
    cny_peer_silence(peer, LONG_MS);
}

static void cancel_between_deliver_and_header(cny_peer *peer, void *user)
{
    (void)user;
    cancel_inside_a_message(peer, true);
}

static void cancel_between_header_and_body(cny_peer *peer, void *user)
{
    (void)user;
    cancel_inside_a_message(peer, false);
}

static void test_cancel_between_deliver_and_header_costs_the_connection(void **state)
{
    (void)state;
    expect_the_next_to_be_served(cancel_between_deliver_and_header);
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_E_PROTOCOL);
}

static void test_cancel_between_header_and_body_costs_the_connection(void **state)
{
    (void)state;
    expect_the_next_to_be_served(cancel_between_header_and_body);
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_E_PROTOCOL);
}

static void cancel_twice(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_cork(peer, true);
    cny_peer_cancel_consumer(peer, channel);
    cny_peer_cancel_consumer(peer, channel);
    cny_peer_cork(peer, false);
    serve_the_next(peer);
}

static void test_cancel_said_twice_is_one(void **state)
{
    (void)state;
    expect_the_next_to_be_served(cancel_twice);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_CONSUME_METHOD), 2);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 1);
}

/* What came before it is still handled and acknowledged. */
static void deliver_then_cancel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hold");
    cny_peer_wait_go(peer);
    cny_peer_cancel_consumer(peer, channel);
    cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_OK_METHOD); /* of the channel on which the queue was looked for */
    fault_expect_ack(peer, 1);
    serve_the_next(peer);
}

static void test_cancel_under_a_handler_is_survived(void **state)
{
    (void)state;
    fault_consume(deliver_then_cancel, NULL, 1);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_until(coney_container_check(fault.container) != CONEY_OK);
    fault_let_go();
    fault_wait_for_calls(2);
    cny_broker_wait(fault.broker, 1);
}

/* --- while stopping --- */

static void cancel_instead_of_cancel_ok(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD)->channel;
    cny_peer_cancel_consumer(peer, channel);
}

static void cancel_then_cancel_ok(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *cancel = cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_cork(peer, true);
    cny_peer_cancel_consumer(peer, cancel->channel);
    cny_peer_answer(peer, cancel);
    cny_peer_cork(peer, false);
}

static void cancel_after_cancel_ok(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *cancel = cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD);
    amqp_channel_t channel = cancel->channel;
    cny_peer_cork(peer, true);
    cny_peer_answer(peer, cancel);
    cny_peer_cancel_consumer(peer, channel);
    cny_peer_cork(peer, false);
}

static void expect_quick_stop(cny_script *script)
{
    fault_expect_status(CONEY_OK, fault_start_container(script, 0, 2000));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    test_expect_elapsed(began, 0, 1000);
    fault_expect_status(CONEY_E_STATE, coney_container_check(fault.container));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 1);
}

static void test_cancel_instead_of_cancel_ok_ends_the_stop(void **state)
{
    (void)state;
    expect_quick_stop(cancel_instead_of_cancel_ok);
}

static void test_cancel_before_cancel_ok_ends_the_stop(void **state)
{
    (void)state;
    expect_quick_stop(cancel_then_cancel_ok);
}

static void test_cancel_after_cancel_ok_does_no_harm(void **state)
{
    (void)state;
    expect_quick_stop(cancel_after_cancel_ok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_cancel_before_consume_ok_is_waited_out),
        fault_test(test_cancel_in_the_packet_of_consume_ok_is_survived),
        fault_test(test_cancel_between_deliver_and_header_costs_the_connection),
        fault_test(test_cancel_between_header_and_body_costs_the_connection),
        fault_test(test_cancel_said_twice_is_one),
        fault_test(test_cancel_under_a_handler_is_survived),
        fault_test(test_cancel_instead_of_cancel_ok_ends_the_stop),
        fault_test(test_cancel_before_cancel_ok_ends_the_stop),
        fault_test(test_cancel_after_cancel_ok_does_no_harm),
    };
    return cmocka_run_group_tests_name("cancel", tests, NULL, NULL);
}
