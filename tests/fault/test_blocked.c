/* SPDX-License-Identifier: MIT */
/* A broker that holds back publishers (connection.blocked): sends wait to their deadlines or fail at
 * once, memory stays bounded, consumers do not notice, and the program is told. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <stdio.h>

enum { LONG_MS = 10000, SHORT_MS = 300 };

static const char reason[] = "low on memory";

/* Blocks after the first message, says more when told and again when told once more. */
static void block(cny_peer *peer)
{
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_block(peer, reason);
    cny_peer_wait_go(peer);
}

static void block_then_unblock(cny_peer *peer, void *user)
{
    (void)user;
    block(peer);
    cny_peer_block(peer, NULL);
}

static void block_then_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    block(peer);
    cny_peer_hang_up(peer);
}

static void start_blocked(cny_script *script, const coney_template_options *options)
{
    fault_start(script, NULL);
    fault_use_template(options);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
}

static coney_status send_in_background(void)
{
    return fault_send(LONG_MS);
}

static void test_send_answers_blocked_at_its_deadline(void **state)
{
    (void)state;
    start_blocked(block_then_unblock, NULL);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_BLOCKED, fault_send(SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text(reason);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 2);
}

static void test_time_of_blocking_is_counted(void **state)
{
    (void)state;
    coney_send_statistics counted;
    start_blocked(block_then_unblock, NULL);
    fault_expect_status(CONEY_E_BLOCKED, fault_send(SHORT_MS));
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &counted));
    assert_true(counted.blocked_us >= SHORT_MS * UINT64_C(1000));
    cny_broker_go(fault.broker);
    fault_wait_until(!fault_info(CONEY_PUBLISHING).blocked);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS)); /* its clock has stopped, too */
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &counted));
    uint64_t in_all = counted.blocked_us;
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &counted));
    assert_int_equal(counted.blocked_us, in_all);
}

static void block_for_ever(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_block(peer, reason);
}

static void test_time_of_blocking_ends_with_the_connection(void **state)
{
    (void)state;
    coney_send_statistics closed, later;
    start_blocked(block_for_ever, NULL);
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &closed));
    poll(NULL, 0, 20);
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &later));
    assert_true(closed.blocked_us > 0);
    assert_int_equal(later.blocked_us, closed.blocked_us);
}

static void test_flow_fail_answers_blocked_at_once(void **state)
{
    (void)state;
    start_blocked(block_then_unblock, &(coney_template_options){.flow = CONEY_FLOW_FAIL});
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_BLOCKED, fault_send(LONG_MS));
    fault_expect_status(CONEY_E_BLOCKED, fault_send_async(0, NULL));
    test_expect_elapsed(began, 0, 0);
    fault_expect_text(reason);
    assert_int_equal(fault_completed(0).count, 0);
    cny_broker_go(fault.broker);
    fault_wait_until(!fault_info(CONEY_PUBLISHING).blocked);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void test_waiting_send_goes_on_when_unblocked(void **state)
{
    (void)state;
    start_blocked(block_then_unblock, NULL);
    fault_in_background(send_in_background);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
}

static void test_waiting_send_goes_on_with_the_next_connection(void **state)
{
    (void)state;
    start_blocked(block_then_hang_up, NULL);
    fault_in_background(send_in_background);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    assert_false(fault_info(CONEY_PUBLISHING).blocked);
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 2);
}

static void block_without_a_reason(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_block(peer, "");
}

static void test_blocked_without_a_reason_is_blocked(void **state)
{
    (void)state;
    start_blocked(block_without_a_reason, NULL);
    fault_expect_status(CONEY_E_BLOCKED, fault_send(SHORT_MS));
    fault_expect_text("it gave no reason");
}

static void test_closing_the_factory_ends_a_send_while_blocked(void **state)
{
    (void)state;
    start_blocked(block_for_ever, NULL);
    fault_in_background(send_in_background);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    test_expect_elapsed(began, 0, 500);
}

static void test_info_and_listeners_tell_of_blocking(void **state)
{
    (void)state;
    static coney_connection_info events[FAULT_MAX_EVENTS];
    start_blocked(block_then_unblock, NULL);
    coney_connection_info info = fault_info(CONEY_PUBLISHING);
    assert_int_equal(info.state, CONEY_CONNECTION_OPEN);
    assert_non_null(strstr(info.text, reason));
    cny_broker_go(fault.broker);
    fault_wait_until(fault_connection_events(CONEY_PUBLISHING, events) == 4);
    assert_false(events[1].blocked);
    assert_true(events[2].blocked);
    assert_int_equal(events[2].state, CONEY_CONNECTION_OPEN);
    assert_non_null(strstr(events[2].text, reason));
    assert_false(events[3].blocked);
    assert_null(strstr(events[3].text, reason));
}

/* --- with messages that a loss has left --- */

/* The next connection is blocked before it is used. */
static void block_the_next_connection(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_hang_up(peer);
        return;
    }
    cny_peer_cork(peer, true);
    cny_peer_log_in(peer);
    cny_peer_block(peer, reason);
    cny_peer_cork(peer, false);
    cny_peer_wait_go(peer);
    cny_peer_block(peer, NULL);
}

static void start_with_one_kept(coney_flow flow)
{
    fault_start(block_the_next_connection, NULL);
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true, .flow = flow});
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_CONNECTION_OPEN_METHOD) == 2);
}

static void test_kept_messages_are_sent_again_when_unblocked(void **state)
{
    (void)state;
    start_with_one_kept(CONEY_FLOW_WAIT);
    fault_in_background(send_in_background);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_OK);
}

static void test_blocking_is_told_while_kept_messages_wait(void **state)
{
    (void)state;
    start_with_one_kept(CONEY_FLOW_WAIT);
    fault_expect_status(CONEY_E_BLOCKED, fault_send(SHORT_MS));
    fault_expect_text(reason);
    assert_true(fault_info(CONEY_PUBLISHING).blocked);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
}

static void test_flow_fail_counts_behind_kept_messages(void **state)
{
    (void)state;
    start_with_one_kept(CONEY_FLOW_FAIL);
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_BLOCKED, fault_send(LONG_MS));
    test_expect_elapsed(began, 0, 0);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
}

/* Its messages are in nobody's way. */
static void test_another_template_is_told_of_blocking_at_once_while_kept_messages_wait(void **state)
{
    (void)state;
    coney_template *kept_by;
    start_with_one_kept(CONEY_FLOW_WAIT);
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
    kept_by = fault.sender;
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_FAIL});
    int64_t began = cny_now_ms();
    coney_status status = fault_send(LONG_MS);
    coney_template_free(fault.sender);
    fault.sender = kept_by;
    fault_expect_status(CONEY_E_BLOCKED, status);
    test_expect_elapsed(began, 0, 0);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
}

static coney_status provide_for_a_second(coney_credentials *credentials, void *user)
{
    (void)user;
    *credentials = (coney_credentials){.user = "alice", .password = "secret", .valid_for_s = 1};
    return CONEY_OK;
}

static void block_until_the_secret_is_renewed(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    if (cny_peer_number(peer) == 0) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_hang_up(peer);
        return;
    }
    cny_peer_block(peer, reason);
    cny_peer_answer(peer, cny_peer_serve_until(peer, CNY_UPDATE_SECRET));
    cny_peer_block(peer, NULL);
}

static void test_credentials_are_renewed_while_kept_messages_wait(void **state)
{
    (void)state;
    const coney_connection_factory_options options = {.credentials = provide_for_a_second};
    fault_start(block_until_the_secret_is_renewed, &options);
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_OK);
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 2);
}

/* --- memory --- */

enum { BODY_BYTES = 64 << 10, OUTBOUND_BYTES = 256 << 10 };

static void test_blocked_sends_take_no_memory(void **state)
{
    (void)state;
    static char body[BODY_BYTES];
    const coney_connection_factory_options client = {.max_outbound_bytes = OUTBOUND_BYTES};
    fault_start(block_then_unblock, &client);
    fault_use_template(&(coney_template_options){.timeout_ms = 20});
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
    for (int i = 0; i < 10; i++) {
        coney_message *message;
        fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
        fault_expect_status(CONEY_E_BLOCKED, fault_send_message_async(i, NULL, message));
    }
    fault_expect_status(CONEY_OK, coney_template_wait_for_confirms(fault.sender, 0));
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 1);
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 1);
}

/* --- consumers --- */

static void block_publishers_and_deliver(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer)) {
        cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
        cny_peer_block(peer, reason);
        return;
    }
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
    fault_expect_ack(peer, 1);
}

static void test_consumers_and_admins_go_on_while_publishers_are_blocked(void **state)
{
    (void)state;
    fault_consume(block_publishers_and_deliver, NULL, 1);
    fault_use_admin(LONG_MS);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
    cny_broker_go(fault.broker);
    fault_wait_for_calls(1);
    cny_broker_wait(fault.broker, 2);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_false(fault_info(CONEY_CONSUMING).blocked);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_send_answers_blocked_at_its_deadline),
        fault_test(test_time_of_blocking_is_counted),
        fault_test(test_time_of_blocking_ends_with_the_connection),
        fault_test(test_flow_fail_answers_blocked_at_once),
        fault_test(test_waiting_send_goes_on_when_unblocked),
        fault_test(test_waiting_send_goes_on_with_the_next_connection),
        fault_test(test_blocked_without_a_reason_is_blocked),
        fault_test(test_closing_the_factory_ends_a_send_while_blocked),
        fault_test(test_info_and_listeners_tell_of_blocking),
        fault_test(test_kept_messages_are_sent_again_when_unblocked),
        fault_test(test_blocking_is_told_while_kept_messages_wait),
        fault_test(test_flow_fail_counts_behind_kept_messages),
        fault_test(test_another_template_is_told_of_blocking_at_once_while_kept_messages_wait),
        fault_test(test_credentials_are_renewed_while_kept_messages_wait),
        fault_test(test_blocked_sends_take_no_memory),
        fault_test(test_consumers_and_admins_go_on_while_publishers_are_blocked),
    };
    return cmocka_run_group_tests_name("blocked", tests, NULL, NULL);
}
