/* SPDX-License-Identifier: MIT */
/* What is under way when its connection goes or the program closes the factory: calls that wait for
 * an answer, for a connection or for room. What templates keep is in test_resend.c, what consumers
 * do is in test_consumer_recovery.c. */
#include "support/fault_consumer.h"

#include <stdio.h>

enum { LONG_MS = 10000, SHORT_MS = 300 };

static coney_status ask_in_background(void)
{
    return fault_ask();
}

/* --- a call that waits for its answer --- */

static void hang_up_when_asked(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
    cny_peer_hang_up(peer);
}

static void test_call_that_waits_is_lost_with_its_connection(void **state)
{
    (void)state;
    fault_start(hang_up_when_asked, NULL);
    fault_use_admin(LONG_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LOST, fault_ask());
    test_expect_elapsed(began, 0, 1000);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_QUEUE_DECLARE_METHOD), 1);
}

static void hang_up_when_consuming(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_hang_up(peer);
}

static void test_starting_container_survives_the_loss_of_its_connection(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, fault_start_container(hang_up_when_consuming, 0, 0));
    fault_expect_status(CONEY_OK, coney_container_check(fault.container));
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 2);
}

static void hang_up_twice_when_a_channel_is_opened(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 1)
        return;
    cny_peer_serve_until(peer, AMQP_CHANNEL_OPEN_METHOD);
    cny_peer_hang_up(peer);
}

static void test_opening_a_channel_is_tried_again_on_the_next_connection(void **state)
{
    (void)state;
    fault_start(hang_up_twice_when_a_channel_is_opened, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 3);
}

static void never_answer(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
}

static void test_closing_the_factory_ends_a_call_that_waits(void **state)
{
    (void)state;
    fault_start(never_answer, NULL);
    fault_use_admin(LONG_MS);
    fault_in_background(ask_in_background);
    cny_broker_wait(fault.broker, 1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    test_expect_elapsed(began, 0, 500);
}

/* --- a call that waits for a connection --- */

static void hang_up_at_once(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_hang_up(peer);
}

static void let_in_nobody(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) < 2)
        hang_up_at_once(peer, user);
    else
        cny_peer_silence(peer, LONG_MS);
}

static void expect_host(void)
{
    char host[32];
    snprintf(host, sizeof host, "127.0.0.1:%d", cny_broker_port(fault.broker));
    fault_expect_text(host);
}

static void test_call_that_waits_for_a_connection_tells_host_attempt_and_reason(void **state)
{
    (void)state;
    fault_start(let_in_nobody, NULL);
    fault_use_admin(SHORT_MS);
    fault_expect_status(CONEY_E_CONNECT, fault_ask());
    fault_wait_for_info(CONEY_CONSUMING, "attempt 3");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_ask());
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    expect_host();
    fault_expect_text("attempt 3");
    fault_expect_text("closed the connection during login");
    assert_true(coney_last_error_details()->retriable);
}

static void shut_down_when_asked(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD));
    cny_peer_wait_go(peer);
    cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker shuts down");
}

/* The broker's last words do not say who it was. */
static void test_call_that_waits_for_the_next_attempt_tells_host_attempt_and_reason(void **state)
{
    (void)state;
    const coney_recovery_options slow = {.first_delay_ms = 20000};
    fault_start(shut_down_when_asked, &(coney_connection_factory_options){.recovery = slow});
    fault_use_admin(SHORT_MS);
    fault_wait_until(fault_ask() == CONEY_OK);
    cny_broker_go(fault.broker);
    fault_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_CONNECTING);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_ask());
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text("attempt 1");
    fault_expect_text("broker shuts down");
    assert_int_equal(coney_last_error_details()->broker_code, 320);
    expect_host();
}

static void test_send_that_waits_for_a_connection_was_not_sent(void **state)
{
    (void)state;
    fault_start(hang_up_at_once, NULL);
    fault_use_template(&(coney_template_options){.timeout_ms = SHORT_MS});
    fault_expect_status(CONEY_E_CONNECT, fault_send_async(0, NULL));
    fault_wait_for_info(CONEY_PUBLISHING, "closed the connection during login");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_send_async(0, NULL));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text("closed the connection during login");
    assert_int_equal(fault_completed(0).count, 0);
}

static void open_no_channel(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CHANNEL_OPEN_METHOD);
    cny_peer_silence(peer, LONG_MS);
}

static void select_no_confirms(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONFIRM_SELECT_METHOD);
    cny_peer_silence(peer, LONG_MS);
}

/* CONEY_E_TIMEOUT would mean that the broker may have it. */
static void expect_not_sent_without_a_channel(cny_script *script)
{
    fault_start(script, NULL);
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    fault_expect_status(CONEY_E_CONNECT, fault_send(SHORT_MS));
    fault_expect_text("no channel was opened by the deadline");
    assert_int_equal(coney_template_unconfirmed_count(fault.sender), 0);
}

static void test_send_whose_channel_is_never_opened_was_not_sent(void **state)
{
    (void)state;
    expect_not_sent_without_a_channel(open_no_channel);
}

static void test_send_whose_channel_gets_no_confirms_was_not_sent(void **state)
{
    (void)state;
    expect_not_sent_without_a_channel(select_no_confirms);
}

static void test_closing_the_factory_ends_a_call_that_waits_for_a_connection(void **state)
{
    (void)state;
    fault_start(hang_up_at_once, NULL);
    fault_use_admin(LONG_MS);
    fault_in_background(ask_in_background);
    fault_wait_for_info(CONEY_CONSUMING, "attempt 3");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    test_expect_elapsed(began, 0, 0);
}

/* --- a send that waits for room --- */

/* The message that is taken makes all others wait. */
static void take_one_then_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

static coney_status send_the_second(void)
{
    return fault_send_async(1, NULL);
}

static void take_one(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
}

static void start_with_one_that_waits(cny_script *script)
{
    fault_start(script, &(coney_connection_factory_options){.close_timeout_ms = SHORT_MS});
    fault_use_template(&(coney_template_options){.max_unconfirmed = 1});
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 1);
    fault_in_background(send_the_second);
}

static void test_send_that_waits_for_room_goes_on_with_the_next_connection(void **state)
{
    (void)state;
    start_with_one_that_waits(take_one_then_hang_up);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_E_LOST);
    fault_expect_completion(1, CONEY_OK);
}

static void test_closing_the_factory_ends_a_send_that_waits_for_room(void **state)
{
    (void)state;
    start_with_one_that_waits(take_one);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_connection_factory_close(fault.factory));
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_completion(0, CONEY_E_CLOSED);
    assert_int_equal(fault_completed(1).count, 0);
}

/* --- a send that waits for bytes to be written --- */

enum { BODY_BYTES = 256 << 10, MOST_BODIES = 200 };

static void stop_reading_then_reset(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_stall_until_go(peer);
    cny_peer_reset(peer);
}

static coney_message *large_message(void)
{
    static char body[BODY_BYTES];
    coney_message *message;
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    return message;
}

static coney_status send_large(void)
{
    return fault_send_message_async(1, NULL, large_message());
}

static coney_status fill_the_outbound_buffer(void)
{
    const coney_send_options options = {.timeout_ms = 1000}; /* the kernel, which tries again, takes none either */
    coney_message *message = large_message();
    coney_status status = CONEY_OK;
    for (int i = 0; status == CONEY_OK && i < MOST_BODIES; i++)
        status = coney_template_send_async(fault.sender, "key", message, &options, NULL, NULL);
    coney_message_unref(message);
    return status;
}

static void test_send_that_waits_for_bytes_goes_on_with_the_next_connection(void **state)
{
    (void)state;
    const coney_connection_factory_options client = {.max_outbound_bytes = BODY_BYTES};
    fault_start_with(&(cny_broker_options){.script = stop_reading_then_reset, .receive_buffer = 65536}, &client);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_expect_status(CONEY_E_LIMIT, fill_the_outbound_buffer());
    fault_in_background(send_large);
    fault_wait_until(fault_send_waits_for_room());
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_E_LOST);
    fault_expect_completion(1, CONEY_OK);
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 2);
}

/* --- unconfirmed messages --- */

static void confirm_while_closing(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD)->channel;
    cny_peer_wait_go(peer);
    cny_peer_silence(peer, SHORT_MS / 2);
    cny_peer_ack(peer, channel, 1, false);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CONNECTION_CLOSE_METHOD));
}

static void test_closing_the_factory_waits_for_confirms(void **state)
{
    (void)state;
    fault_start(confirm_while_closing, &(coney_connection_factory_options){.close_timeout_ms = LONG_MS});
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    cny_broker_go(fault.broker);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    test_expect_elapsed(began, 0, 2000);
    fault_expect_completion(0, CONEY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_call_that_waits_is_lost_with_its_connection),
        fault_test(test_starting_container_survives_the_loss_of_its_connection),
        fault_test(test_opening_a_channel_is_tried_again_on_the_next_connection),
        fault_test(test_closing_the_factory_ends_a_call_that_waits),
        fault_test(test_call_that_waits_for_a_connection_tells_host_attempt_and_reason),
        fault_test(test_call_that_waits_for_the_next_attempt_tells_host_attempt_and_reason),
        fault_test(test_send_that_waits_for_a_connection_was_not_sent),
        fault_test(test_send_whose_channel_is_never_opened_was_not_sent),
        fault_test(test_send_whose_channel_gets_no_confirms_was_not_sent),
        fault_test(test_closing_the_factory_ends_a_call_that_waits_for_a_connection),
        fault_test(test_send_that_waits_for_room_goes_on_with_the_next_connection),
        fault_test(test_closing_the_factory_ends_a_send_that_waits_for_room),
        fault_test(test_send_that_waits_for_bytes_goes_on_with_the_next_connection),
        fault_test(test_closing_the_factory_waits_for_confirms),
    };
    return cmocka_run_group_tests_name("in flight", tests, NULL, NULL);
}
