/* SPDX-License-Identifier: MIT */
/* How consuming begins and ends: cancelled, closed or left in silence by the broker, stopped by the
 * program. The container says why it ended, keeps its deadlines, and settles nothing on a channel
 * that is gone. */
#include "support/fault_consumer.h"

enum { LONG_MS = 10000 };

/* --- the end of consuming --- */

static void cancel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_cancel_consumer(peer, channel);
}

static void close_channel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_close_channel(peer, channel, 406, "PRECONDITION_FAILED - delivery acknowledgement timed out");
}

static void send_a_header_then_nothing(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_header(peer, channel, 5, NULL);
    cny_peer_silence(peer, LONG_MS);
}

static void expect_end(cny_script *script, coney_status status, const char *text)
{
    fault_consume(script, &(coney_connection_factory_options){.heartbeat_s = 1}, 1);
    assert_int_equal(coney_container_check(fault.container), CONEY_OK);
    cny_broker_go(fault.broker);
    fault_expect_status(status, fault_wait_for_end_of_consuming());
    fault_expect_text(text);
}

static void test_cancellation_by_the_broker_is_reported(void **state)
{
    (void)state;
    expect_end(cancel, CONEY_E_NOT_FOUND, "cancel");
}

static void test_channel_closed_by_the_broker_is_reported_in_its_words(void **state)
{
    (void)state;
    expect_end(close_channel, CONEY_E_PRECONDITION_FAILED, "delivery acknowledgement timed out");
}

static void test_header_then_silence_is_reported_as_lost(void **state)
{
    (void)state;
    expect_end(send_a_header_then_nothing, CONEY_E_LOST, "heartbeat");
    assert_int_equal(fault_handler_calls(), 0);
}

/* The scripted broker fails the test if the ack comes on the channel it closed. */
static void close_the_channel_under_a_handler(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hold");
    cny_peer_wait_go(peer);
    cny_peer_close_channel(peer, channel, 406, "PRECONDITION_FAILED - delivery acknowledgement timed out");
}

static void test_outcome_for_a_closed_channel_is_not_sent(void **state)
{
    (void)state;
    fault_consume(close_the_channel_under_a_handler, NULL, 1);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 1);
    fault_let_go();
    assert_int_equal(coney_container_stop(fault.container), CONEY_OK);
}

/* --- starting and stopping --- */

static void miss_the_queue(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *method = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_close_channel(peer, method->channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
}

static void test_start_on_a_missing_queue_waits_for_it_and_may_be_repeated(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, fault_start_container(miss_the_queue, 0, 0));
    fault_expect_status(CONEY_E_NOT_FOUND, coney_container_check(fault.container));
    fault_expect_text("no queue 'orders'");
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    fault_expect_status(CONEY_OK, coney_container_check(fault.container));
}

static void refuse_permission(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *method = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_close_channel(
        peer, method->channel, 403,
        "ACCESS_REFUSED - read access to queue 'my.exclusive.q' in vhost '/' refused for user 'guest'");
}

/* The word is in its name only. */
static void test_start_on_a_queue_called_exclusive_that_may_not_be_read_fails(void **state)
{
    (void)state;
    fault_expect_status(CONEY_E_ACCESS_REFUSED, fault_start_container(refuse_permission, 0, 0));
    fault_expect_text("my.exclusive.q");
    fault_expect_status(CONEY_E_STATE, coney_container_check(fault.container));
}

static void refuse_because_of_another_consumer(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *method = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_close_channel(peer, method->channel, 403, "ACCESS_REFUSED - queue 'orders' in vhost '/' in exclusive use");
}

static void test_start_on_a_queue_in_exclusive_use_waits_for_it(void **state)
{
    (void)state;
    fault_listen(refuse_because_of_another_consumer, &(coney_container_options){.resubscribe_interval_ms = 50},
                 (coney_listener){.exclusive = true});
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_CONSUME_METHOD), 2);
}

static void never_answer_consume(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
}

static void test_start_that_is_never_answered_times_out(void **state)
{
    (void)state;
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, fault_start_container(never_answer_consume, 300, 300));
    test_expect_elapsed(began, 300, 300 + 500);
}

static void never_answer_cancel(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_silence(peer, LONG_MS);
}

static void test_stop_returns_though_cancel_is_never_answered(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, fault_start_container(never_answer_cancel, 0, 300));
    enum { GRACE_MS = 50 };
    int64_t began = cny_now_ms();
    coney_status status = coney_container_stop(fault.container);
    if (status != CONEY_E_TIMEOUT || test_late_ms(began) < GRACE_MS) /* no handler is running */
        fault_expect_status(CONEY_OK, status);
    test_expect_elapsed(began, 300, 300 + 500);
}

static void deliver_before_cancel_ok(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_method *cancel_method = cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_deliver(peer, channel, 1, "ack");
    cny_peer_answer(peer, cancel_method);
    fault_expect_ack(peer, 1);
}

static void test_stop_works_off_what_comes_before_the_end_of_consuming(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, fault_start_container(deliver_before_cancel_ok, 0, 0));
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

static void deliver_after_close(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_method *close = cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_METHOD);
    cny_peer_deliver(peer, channel, 1, "ack");
    cny_peer_answer(peer, close);
    cny_peer_serve_until_consumer(peer);
}

static void test_delivery_that_crosses_the_close_of_its_channel_is_ignored(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, fault_start_container(deliver_after_close, 0, 0));
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 0);
}

static void deliver_what_holds(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hold");
    cny_peer_deliver(peer, channel, 2, "ack");
    cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void test_stop_leaves_a_handler_behind_at_its_deadline(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, fault_start_container(deliver_what_holds, 0, 300));
    fault_wait_for_calls(1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_container_stop(fault.container));
    test_expect_elapsed(began, 300, 300 + 500);
    cny_broker_wait(fault.broker, 1);
    fault_let_go();
    fault_wait_until(coney_container_stop(fault.container) == CONEY_OK);
    assert_int_equal(fault_handler_calls(), 1); /* the second one is not begun */
}

/* --- what RabbitMQ 4.0 needs --- */

static void deliver_when_told(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
}

static int64_t when_heard(amqp_method_number_t id)
{
    static cny_heard all[CNY_MAX_HEARD];
    int count = cny_broker_heard(fault.broker, all);
    for (int i = 0; i < count; i++) {
        if (all[i].id == id)
            return all[i].at_ms;
    }
    fail_msg("the client has not said %s", amqp_method_name(id));
    return 0;
}

static void expect_a_moment_before_the_close(coney_stop_mode mode)
{
    enum { MOMENT_MS = 100 };
    fault_consume(deliver_when_told, NULL, 1);
    int64_t before_the_ack = cny_now_ms();
    cny_broker_go(fault.broker);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_ACK_METHOD) == 1);
    fault_expect_status(CONEY_OK, coney_container_stop_with(fault.container, mode, LONG_MS));
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_CHANNEL_CLOSE_METHOD) == 1);
    assert_true(when_heard(AMQP_CHANNEL_CLOSE_METHOD) - before_the_ack >= MOMENT_MS);
}

static void test_stop_that_drains_closes_the_channel_a_moment_after_the_last_acknowledgement(void **state)
{
    (void)state;
    expect_a_moment_before_the_close(CONEY_STOP_DRAIN);
}

static void test_stop_that_finishes_closes_the_channel_a_moment_after_the_last_acknowledgement(void **state)
{
    (void)state;
    expect_a_moment_before_the_close(CONEY_STOP_FINISH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_cancellation_by_the_broker_is_reported),
        fault_test(test_channel_closed_by_the_broker_is_reported_in_its_words),
        fault_test(test_header_then_silence_is_reported_as_lost),
        fault_test(test_outcome_for_a_closed_channel_is_not_sent),
        fault_test(test_start_on_a_missing_queue_waits_for_it_and_may_be_repeated),
        fault_test(test_start_on_a_queue_called_exclusive_that_may_not_be_read_fails),
        fault_test(test_start_on_a_queue_in_exclusive_use_waits_for_it),
        fault_test(test_start_that_is_never_answered_times_out),
        fault_test(test_stop_returns_though_cancel_is_never_answered),
        fault_test(test_stop_works_off_what_comes_before_the_end_of_consuming),
        fault_test(test_delivery_that_crosses_the_close_of_its_channel_is_ignored),
        fault_test(test_stop_leaves_a_handler_behind_at_its_deadline),
        fault_test(test_stop_that_drains_closes_the_channel_a_moment_after_the_last_acknowledgement),
        fault_test(test_stop_that_finishes_closes_the_channel_a_moment_after_the_last_acknowledgement),
    };
    return cmocka_run_group_tests_name("consumer's end", tests, NULL, NULL);
}
