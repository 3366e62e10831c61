/* SPDX-License-Identifier: MIT */
/* Templates with resend_unconfirmed: what a loss leaves unconfirmed is kept and sent again, in order
 * and before newer messages, until the broker has spoken about each or the program ends it. */
#include "support/fault_fixture.h"

#include <stdio.h>
#include <stdlib.h>

enum { LONG_MS = 10000, SHORT_MS = 300, CLOSE_MS = 1000 };

/* Reads messages whose bodies are these numbers, in that order, and confirms none. */
static amqp_channel_t take(cny_peer *peer, int first, int last)
{
    cny_peer_method *publish = NULL;
    for (int i = first; i <= last; i++) {
        publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        if (atoi(publish->body) != i)
            cny_peer_fail(peer, "message %s came, %d was expected", publish->body, i);
    }
    return publish ? publish->channel : 0;
}

static void take_and_confirm(cny_peer *peer, int first, int last)
{
    for (int i = first; i <= last; i++)
        cny_peer_ack(peer, take(peer, i, i), (uint64_t)(i - first) + 1, false);
}

static void start(cny_script *script)
{
    fault_start(script, NULL);
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
}

static void send_messages(int count)
{
    for (int i = 0; i < count; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
}

static void expect_confirmed(int count)
{
    fault_wait_for_confirms();
    for (int i = 0; i < count; i++)
        fault_expect_completion(i, CONEY_OK);
}

static int connections(void)
{
    return cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER);
}

/* --- after the loss of the connection --- */

/* The second connection is not open before the test says so. */
static void lose_five_then_confirm_six(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        take(peer, 0, 4);
        cny_peer_hang_up(peer);
        return;
    }
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_wait_go(peer);
    cny_peer_send(peer, 0, AMQP_CONNECTION_OPEN_OK_METHOD, NULL);
    take_and_confirm(peer, 0, 5);
}

static coney_status send_the_sixth(void)
{
    return fault_send_async(5, NULL);
}

static void test_unconfirmed_messages_are_sent_again_in_order_and_before_newer_ones(void **state)
{
    (void)state;
    start(lose_five_then_confirm_six);
    send_messages(5);
    fault_wait_for_info(CONEY_PUBLISHING, "attempt 1");
    fault_in_background(send_the_sixth);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    cny_broker_wait(fault.broker, 2);
    expect_confirmed(6);
    assert_int_equal(connections(), 2);
}

static void confirm_two_of_five_then_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        cny_peer_ack(peer, take(peer, 0, 4), 2, true);
        cny_peer_hang_up(peer);
        return;
    }
    take_and_confirm(peer, 2, 4);
}

static void test_confirmed_messages_are_not_sent_again(void **state)
{
    (void)state;
    start(confirm_two_of_five_then_hang_up);
    send_messages(5);
    cny_broker_wait(fault.broker, 2);
    expect_confirmed(5);
}

static void return_and_hang_up_then_return_again(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 1)
        return;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t channel = publish->channel;
    cny_peer_return(peer, publish, 312, "NO_ROUTE");
    if (cny_peer_number(peer) == 0)
        cny_peer_hang_up(peer);
    else
        cny_peer_ack(peer, channel, 1, false);
}

static void test_message_returned_before_the_loss_is_returned_once(void **state)
{
    (void)state;
    start(return_and_hang_up_then_return_again);
    send_messages(1);
    cny_broker_wait(fault.broker, 2);
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_E_RETURNED);
}

/* The user is the method that the broker says it is for. */
static void close_the_connection_after_three(cny_peer *peer, void *user)
{
    const amqp_method_number_t *blamed = user;
    if (cny_peer_number(peer) == 0) {
        take(peer, 0, 2);
        cny_peer_check(peer, cny_peer_close_connection_over(peer, *blamed, 541, "INTERNAL_ERROR - not today"));
    } else {
        take_and_confirm(peer, 0, 3);
    }
}

static void expect_recovery_from_a_close(amqp_method_number_t blamed)
{
    fault_start_with(&(cny_broker_options){.script = close_the_connection_after_three, .user = &blamed}, NULL);
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    send_messages(3);
    assert_int_equal(fault_wait_for_opening(CONEY_PUBLISHING, 2).reason, CONEY_E_LOST);
    fault_expect_status(CONEY_OK, fault_send_async(3, NULL));
    cny_broker_wait(fault.broker, 2);
    expect_confirmed(4);
    assert_int_equal(connections(), 2);
}

static void test_messages_are_sent_again_after_connection_close_in_answer_to_basic_publish(void **state)
{
    (void)state;
    expect_recovery_from_a_close(0);
}

static void test_messages_are_sent_again_after_connection_close_that_blames_basic_publish(void **state)
{
    (void)state;
    expect_recovery_from_a_close(AMQP_BASIC_PUBLISH_METHOD);
}

static void lose_one(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_hang_up(peer);
}

static void test_synchronous_sender_gets_its_confirm_after_the_loss(void **state)
{
    (void)state;
    start(lose_one);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(connections(), 2);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 2);
}

static void lose_one_and_open_late(cny_peer *peer, void *user)
{
    lose_one(peer, user);
    if (cny_peer_number(peer) == 0)
        return;
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_wait_go(peer);
    cny_peer_send(peer, 0, AMQP_CONNECTION_OPEN_OK_METHOD, NULL);
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_check(peer, strcmp(publish->body, "hello") == 0);
    cny_peer_answer(peer, publish);
}

static void test_message_of_a_sender_that_gave_up_is_sent_again_all_the_same(void **state)
{
    (void)state;
    start(lose_one_and_open_late);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, fault_send(SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 2);
    fault_wait_for_confirms();
}

/* --- several losses --- */

static void lose_again_and_again(cny_peer *peer, void *user)
{
    (void)user;
    static const int last_taken[] = {4, 1, 4, 0};
    int number = cny_peer_number(peer);
    if (number < 4) {
        take(peer, 0, last_taken[number]);
        cny_peer_reset(peer);
    } else {
        take_and_confirm(peer, 0, 4);
    }
}

static void test_messages_survive_several_losses_in_order(void **state)
{
    (void)state;
    start(lose_again_and_again);
    send_messages(5);
    cny_broker_wait(fault.broker, 5);
    expect_confirmed(5);
}

/* The one of the three that is sent again before the connection goes must not end up behind the two
 * that still waited. */
static void refuse_some_one_then_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0) {
        take_and_confirm(peer, 0, 2);
        return;
    }
    cny_peer_close_channel(peer, take(peer, 0, 2), 406, "PRECONDITION_FAILED - for no reason");
    take(peer, 0, 0);
    cny_peer_hang_up(peer);
}

static void test_loss_while_sending_again_keeps_the_order(void **state)
{
    (void)state;
    start(refuse_some_one_then_hang_up);
    send_messages(3);
    cny_broker_wait(fault.broker, 2);
    expect_confirmed(3);
}

/* --- while there is no connection --- */

static void lose_one_then_refuse_the_login(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        take(peer, 0, 0);
        cny_peer_hang_up(peer);
    } else if (cny_peer_number(peer) == 1) {
        cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
        cny_peer_close_connection(peer, 403, "ACCESS_REFUSED - Login was refused");
    } else if (cny_peer_log_in(peer)) {
        take_and_confirm(peer, 0, 1);
    }
}

static void start_with_one_kept_and_no_login(void)
{
    start(lose_one_then_refuse_the_login);
    send_messages(1);
    fault_wait_for_state(CONEY_PUBLISHING, CONEY_CONNECTION_FAILED);
}

static void test_messages_are_kept_until_connect_is_called_after_a_refused_login(void **state)
{
    (void)state;
    start_with_one_kept_and_no_login();
    assert_int_equal(fault_completed(0).count, 0);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    fault_expect_status(CONEY_OK, fault_send_async(1, NULL));
    expect_confirmed(2);
}

static void test_send_behind_kept_messages_fails_at_once_after_a_refused_login(void **state)
{
    (void)state;
    start_with_one_kept_and_no_login();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_ACCESS_REFUSED, fault_send(2000));
    fault_expect_text("Login was refused");
    test_expect_elapsed(began, 0, 0);
}

/* --- after the loss of the channel only --- */

static void miss_an_exchange(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, take(peer, 0, 4), 404, "NOT_FOUND - no exchange 'missing' in vhost '/'");
    cny_peer_ack(peer, take(peer, 0, 1), 2, true);
    cny_peer_ack(peer, take(peer, 3, 4), 4, true);
}

static void test_refused_message_ends_with_the_verdict_and_the_others_are_sent_again(void **state)
{
    (void)state;
    start(miss_an_exchange);
    for (int i = 0; i < 5; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, i == 2 ? "missing" : "present"));
    cny_broker_wait(fault.broker, 1);
    fault_wait_for_confirms();
    for (int i = 0; i < 5; i++)
        fault_expect_completion(i, i == 2 ? CONEY_E_NOT_FOUND : CONEY_OK);
    assert_int_equal(fault_completed(2).broker_code, 404);
    assert_int_equal(connections(), 1);
}

static void refuse_what_is_too_large(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, take(peer, 0, 4), 406,
                           "PRECONDITION_FAILED - message size 1001 is larger than configured max size 1000");
    cny_peer_ack(peer, take(peer, 0, 0), 1, false);
    cny_peer_ack(peer, take(peer, 2, 2), 2, false);
    cny_peer_ack(peer, take(peer, 4, 4), 3, false);
}

static void test_messages_over_the_limit_end_with_the_verdict_and_the_others_are_sent_again(void **state)
{
    (void)state;
    start(refuse_what_is_too_large);
    for (int i = 0; i < 5; i++) {
        char text[1002] = "";
        memset(text, ' ', i % 2 ? 1001 : 1000);
        text[0] = (char)('0' + i);
        fault_expect_status(CONEY_OK, fault_send_message_async(i, NULL, fault_message(text)));
    }
    cny_broker_wait(fault.broker, 1);
    fault_wait_for_confirms();
    for (int i = 0; i < 5; i++)
        fault_expect_completion(i, i % 2 ? CONEY_E_PRECONDITION_FAILED : CONEY_OK);
    assert_int_equal(connections(), 1);
}

static void refuse_a_topic(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, take(peer, 0, 2), 403,
                           "ACCESS_REFUSED - access to topic 'secret' in exchange 'events' in vhost '/' refused for "
                           "user 'guest'");
    cny_peer_ack(peer, take(peer, 0, 0), 1, false);
    cny_peer_ack(peer, take(peer, 2, 2), 2, false);
}

static void send_with_key(int number, const char *routing_key)
{
    char text[8];
    snprintf(text, sizeof text, "%d", number);
    coney_message *message = fault_message(text);
    const coney_send_options options = {.exchange = "events"};
    fault_expect_status(CONEY_OK, coney_template_send_async(fault.sender, routing_key, message, &options, NULL, NULL));
    coney_message_unref(message);
}

static void test_refused_topic_concerns_messages_with_its_routing_key_only(void **state)
{
    (void)state;
    coney_send_statistics counted;
    start(refuse_a_topic);
    send_with_key(0, "public");
    send_with_key(1, "secret");
    send_with_key(2, "public");
    cny_broker_wait(fault.broker, 1);
    fault_wait_for_confirms();
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &counted));
    assert_int_equal(counted.confirmed, 2);
    assert_int_equal(counted.refused, 1);
    assert_int_equal(connections(), 1);
}

/* Does not say which of the messages it cannot stand. */
static void stumble_over_the_third(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, take(peer, 0, 4), 406, "PRECONDITION_FAILED - invalid expiration 'x'");
    take_and_confirm(peer, 0, 1);
    cny_peer_close_channel(peer, take(peer, 2, 2), 406, "PRECONDITION_FAILED - invalid expiration 'x'");
    take_and_confirm(peer, 3, 4);
}

static void test_culprit_that_is_not_named_is_found_and_the_others_are_delivered(void **state)
{
    (void)state;
    start(stumble_over_the_third);
    send_messages(5);
    cny_broker_wait(fault.broker, 1);
    fault_wait_for_confirms();
    for (int i = 0; i < 5; i++)
        fault_expect_completion(i, i == 2 ? CONEY_E_PRECONDITION_FAILED : CONEY_OK);
    assert_int_equal(connections(), 1);
}

static void close_over_a_message(cny_peer *peer)
{
    cny_peer_close_connection_over(peer, AMQP_BASIC_PUBLISH_METHOD, 541, "INTERNAL_ERROR");
}

static void fall_over_the_second(cny_peer *peer, void *user)
{
    (void)user;
    switch (cny_peer_number(peer)) {
    case 0:
        take(peer, 0, 2);
        close_over_a_message(peer);
        break;
    case 1:
        take_and_confirm(peer, 0, 0);
        take(peer, 1, 1);
        close_over_a_message(peer);
        break;
    default: take_and_confirm(peer, 2, 2);
    }
}

static void test_message_that_costs_the_connection_is_found_and_not_sent_for_ever(void **state)
{
    (void)state;
    start(fall_over_the_second);
    send_messages(3);
    cny_broker_wait(fault.broker, 3);
    fault_wait_for_confirms();
    for (int i = 0; i < 3; i++)
        fault_expect_completion(i, i == 1 ? CONEY_E_BROKER : CONEY_OK);
    assert_int_equal(fault_completed(1).broker_code, 541);
    assert_int_equal(connections(), 3);
}

enum { WINDOW = 4, SPANS = 40 }; /* messages; ten windows */

/* Says nothing of the first message and confirms all others, until the connection is lost. */
static void leave_the_first_unconfirmed(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0) {
        take_and_confirm(peer, 0, 0);
        return;
    }
    take(peer, 0, 0);
    for (int i = 1; i <= SPANS; i++)
        cny_peer_ack(peer, take(peer, i, i), (uint64_t)i + 1, false);
    cny_peer_hang_up(peer);
}

static void test_message_that_nothing_is_said_about_holds_up_no_others_and_is_sent_again(void **state)
{
    (void)state;
    fault_start(leave_the_first_unconfirmed, NULL);
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true, .max_unconfirmed = WINDOW});
    send_messages(SPANS + 1);
    cny_broker_wait(fault.broker, 2);
    expect_confirmed(SPANS + 1);
    assert_int_equal(connections(), 2);
}

enum { MANY = 300 };

/* Confirms none of the rest before it has all of it. */
static void stumble_over_the_third_of_many(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, take(peer, 0, MANY - 1), 406, "PRECONDITION_FAILED - invalid expiration 'x'");
    take_and_confirm(peer, 0, 1);
    cny_peer_close_channel(peer, take(peer, 2, 2), 406, "PRECONDITION_FAILED - invalid expiration 'x'");
    cny_peer_ack(peer, take(peer, 3, MANY - 1), MANY - 3, true);
}

static void test_messages_go_one_by_one_only_until_the_culprit_is_found(void **state)
{
    (void)state;
    start(stumble_over_the_third_of_many);
    send_messages(MANY);
    int64_t began = cny_now_ms();
    cny_broker_wait(fault.broker, 1);
    fault_wait_for_confirms();
    test_expect_elapsed(began, 0, 1000);
    for (int i = 0; i < MANY; i++)
        fault_expect_completion(i, i == 2 ? CONEY_E_PRECONDITION_FAILED : CONEY_OK);
}

/* --- two templates --- */

static coney_template *other;

static int teardown_both(void **state)
{
    coney_template_free(other);
    other = NULL;
    return fault_teardown(state);
}

static void swap_templates(void)
{
    coney_template *sender = fault.sender;
    fault.sender = other;
    other = sender;
}

/* Those of the first template, 0 to 2, are to go one by one, but their first is not confirmed before those
 * of the second, 10 and 11, have come. */
static void leave_the_first_of_one_by_one_unconfirmed(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        amqp_channel_t suspect = take(peer, 0, 2);
        take(peer, 10, 11);
        cny_peer_close_channel(peer, suspect, 406, "PRECONDITION_FAILED - invalid expiration 'x'");
        take(peer, 0, 0);
        cny_peer_hang_up(peer);
        return;
    }
    amqp_channel_t one_by_one = take(peer, 0, 0);
    cny_peer_ack(peer, take(peer, 10, 11), 2, true);
    cny_peer_ack(peer, one_by_one, 1, false);
    take(peer, 1, 1);
    cny_peer_ack(peer, one_by_one, 2, false);
    take(peer, 2, 2);
    cny_peer_ack(peer, one_by_one, 3, false);
}

static void test_messages_that_go_one_by_one_do_not_hold_up_another_template(void **state)
{
    (void)state;
    start(leave_the_first_of_one_by_one_unconfirmed);
    send_messages(3);
    swap_templates();
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    for (int i = 10; i <= 11; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
    cny_broker_wait(fault.broker, 2);
    fault_wait_for_confirms();
    swap_templates();
    expect_confirmed(3);
    fault_expect_completion(10, CONEY_OK);
    fault_expect_completion(11, CONEY_OK);
    assert_int_equal(connections(), 2);
}

/* The other template's messages are on their way, too, each time that the first one's costs the connection. */
static void fall_over_one_of_two(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) >= 3)
        return;
    for (int i = 0; i < 2; i++)
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    close_over_a_message(peer);
}

static void test_message_that_costs_the_connection_is_found_beside_other_traffic(void **state)
{
    (void)state;
    start(fall_over_one_of_two);
    send_messages(1);
    swap_templates();
    fault_use_template(NULL);
    for (int i = 10; i < 13; i++) {
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
        fault_wait_until(fault_completed(i).count == 1);
        fault_expect_completion(i, CONEY_E_LOST);
    }
    swap_templates();
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_E_BROKER);
    static cny_heard heard[CNY_MAX_HEARD];
    int count = cny_broker_heard(fault.broker, heard), sent = 0;
    for (int i = 0; i < count; i++)
        sent += heard[i].id == AMQP_BASIC_PUBLISH_METHOD && strcmp(heard[i].what, "0") == 0;
    assert_int_equal(sent, 3);
}

/* --- the program ends it --- */

static void lose_three_for_good(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0)
        take(peer, 0, 2);
    else
        cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_hang_up(peer);
}

static void start_losing_three(void)
{
    fault_start(lose_three_for_good, &(coney_connection_factory_options){.close_timeout_ms = SHORT_MS});
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    send_messages(3);
    fault_wait_for_info(CONEY_PUBLISHING, "attempt 2");
}

static void expect_three_closed(void)
{
    for (int i = 0; i < 3; i++)
        fault_expect_completion(i, CONEY_E_CLOSED);
}

static void test_closing_the_factory_ends_kept_messages_once_as_closed(void **state)
{
    (void)state;
    start_losing_three();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_connection_factory_close(fault.factory));
    fault_expect_text("3 sends are not complete");
    test_expect_elapsed(began, 0, SHORT_MS);
    expect_three_closed();
    coney_template_free(fault.sender);
    fault.sender = NULL;
    expect_three_closed();
}

static void test_send_behind_kept_messages_tells_attempt_and_reason_at_its_deadline(void **state)
{
    (void)state;
    start_losing_three();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_send(SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text("attempt");
    fault_expect_text("closed the connection during login");
}

static void test_freeing_the_template_ends_kept_messages_once_as_closed(void **state)
{
    (void)state;
    start_losing_three();
    int64_t began = cny_now_ms();
    coney_template_free(fault.sender);
    fault.sender = NULL;
    test_expect_elapsed(began, 0, 0);
    expect_three_closed();
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    expect_three_closed();
}

static coney_status send_synchronously(void)
{
    return fault_send(LONG_MS);
}

static void expect_background_closed(void)
{
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_connection_factory_close(fault.factory));
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    test_expect_elapsed(began, 0, SHORT_MS);
}

/* It waits for its turn, behind the kept ones. */
static void test_closing_the_factory_ends_a_send_behind_kept_messages(void **state)
{
    (void)state;
    start_losing_three();
    fault_in_background(send_synchronously);
    expect_background_closed();
}

static void lose_one_for_good(cny_peer *peer, void *user)
{
    lose_one(peer, user);
    if (cny_peer_number(peer) > 0) {
        cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
        cny_peer_hang_up(peer);
    }
}

static void test_closing_the_factory_ends_a_synchronous_sender_whose_message_is_kept(void **state)
{
    (void)state;
    fault_start(lose_one_for_good, &(coney_connection_factory_options){.close_timeout_ms = SHORT_MS});
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    fault_in_background(send_synchronously);
    fault_wait_for_info(CONEY_PUBLISHING, "attempt 2");
    expect_background_closed();
}

/* Sent again, but the confirm comes only when the factory closes already, and not at all. */
static void confirm_two_while_closing(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        take(peer, 0, 2);
        cny_peer_hang_up(peer);
        return;
    }
    amqp_channel_t channel = take(peer, 0, 2);
    cny_peer_wait_go(peer);
    cny_peer_silence(peer, CLOSE_MS / 10);
    cny_peer_ack(peer, channel, 2, true);
}

static void test_close_waits_for_what_is_sent_again(void **state)
{
    (void)state;
    fault_start(confirm_two_while_closing, &(coney_connection_factory_options){.close_timeout_ms = CLOSE_MS});
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    send_messages(3);
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 6);
    cny_broker_go(fault.broker);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_connection_factory_close(fault.factory));
    test_expect_elapsed(began, CLOSE_MS, CLOSE_MS);
    fault_expect_completion(0, CONEY_OK);
    fault_expect_completion(1, CONEY_OK);
    fault_expect_completion(2, CONEY_E_CLOSED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_unconfirmed_messages_are_sent_again_in_order_and_before_newer_ones),
        fault_test(test_confirmed_messages_are_not_sent_again),
        fault_test(test_message_returned_before_the_loss_is_returned_once),
        fault_test(test_messages_are_sent_again_after_connection_close_in_answer_to_basic_publish),
        fault_test(test_messages_are_sent_again_after_connection_close_that_blames_basic_publish),
        fault_test(test_synchronous_sender_gets_its_confirm_after_the_loss),
        fault_test(test_message_of_a_sender_that_gave_up_is_sent_again_all_the_same),
        fault_test(test_messages_survive_several_losses_in_order),
        fault_test(test_loss_while_sending_again_keeps_the_order),
        fault_test(test_messages_are_kept_until_connect_is_called_after_a_refused_login),
        fault_test(test_send_behind_kept_messages_fails_at_once_after_a_refused_login),
        fault_test(test_send_behind_kept_messages_tells_attempt_and_reason_at_its_deadline),
        fault_test(test_refused_message_ends_with_the_verdict_and_the_others_are_sent_again),
        fault_test(test_messages_over_the_limit_end_with_the_verdict_and_the_others_are_sent_again),
        fault_test(test_refused_topic_concerns_messages_with_its_routing_key_only),
        fault_test(test_culprit_that_is_not_named_is_found_and_the_others_are_delivered),
        fault_test(test_message_that_costs_the_connection_is_found_and_not_sent_for_ever),
        fault_test(test_message_that_nothing_is_said_about_holds_up_no_others_and_is_sent_again),
        fault_test(test_messages_go_one_by_one_only_until_the_culprit_is_found),
        cmocka_unit_test_teardown(test_messages_that_go_one_by_one_do_not_hold_up_another_template, teardown_both),
        cmocka_unit_test_teardown(test_message_that_costs_the_connection_is_found_beside_other_traffic, teardown_both),
        fault_test(test_closing_the_factory_ends_kept_messages_once_as_closed),
        fault_test(test_freeing_the_template_ends_kept_messages_once_as_closed),
        fault_test(test_closing_the_factory_ends_a_send_behind_kept_messages),
        fault_test(test_closing_the_factory_ends_a_synchronous_sender_whose_message_is_kept),
        fault_test(test_close_waits_for_what_is_sent_again),
    };
    return cmocka_run_group_tests_name("resend", tests, NULL, NULL);
}
