/* SPDX-License-Identifier: MIT */
/* The deadline of confirms: what the broker has not spoken about by then completes once, with
 * CONEY_E_TIMEOUT, whatever comes later. */
#include "support/fault_fixture.h"

#include <stdio.h>
#include <stdlib.h>

enum { TIMEOUT_MS = 200, AMPLE_MS = 2000, LONG_MS = 10000 }; /* ample where something must come in time */

static int timeout_ms;

static void start(cny_script *script, int ms, bool resend)
{
    timeout_ms = ms;
    fault_start(script, NULL);
    fault_use_template(&(coney_template_options){.confirm_timeout_ms = ms, .resend_unconfirmed = resend});
}

static void send_messages(int from, int to)
{
    for (int i = from; i <= to; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
}

static cny_peer_method *take(cny_peer *peer, int count)
{
    cny_peer_method *publish = NULL;
    for (int i = 0; i < count; i++)
        publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    return publish;
}

static void expect_late(int index)
{
    char words[64];
    snprintf(words, sizeof words, "%d ms (confirm_timeout_ms)", timeout_ms);
    fault_expect_completion(index, CONEY_E_TIMEOUT);
    assert_non_null(strstr(fault_completed(index).text, words));
}

/* --- on an open channel --- */

static void take_three_and_wait(cny_peer *peer, void *user)
{
    (void)user;
    take(peer, 3);
    cny_peer_wait_go(peer);
}

static void test_sends_that_are_not_confirmed_in_time_complete_with_timeout(void **state)
{
    (void)state;
    start(take_three_and_wait, TIMEOUT_MS, false);
    int64_t began = cny_now_ms();
    send_messages(0, 2);
    fault_wait_for_confirms();
    test_expect_elapsed(began, TIMEOUT_MS, TIMEOUT_MS + 100);
    for (int i = 0; i < 3; i++)
        expect_late(i);
    cny_broker_go(fault.broker);
}

/* Acks one in time, the rest when it is too late, then the next message. */
static void ack_late(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take(peer, 3)->channel;
    cny_peer_ack(peer, channel, 2, false);
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, channel, 3, true);
    take(peer, 1);
    cny_peer_ack(peer, channel, 4, false);
}

static void test_late_ack_is_ignored_and_the_next_is_matched(void **state)
{
    (void)state;
    start(ack_late, AMPLE_MS, false);
    send_messages(0, 2);
    fault_wait_for_confirms();
    cny_broker_go(fault.broker);
    send_messages(3, 3);
    fault_wait_for_confirms();
    expect_late(0);
    fault_expect_completion(1, CONEY_OK);
    expect_late(2);
    fault_expect_completion(3, CONEY_OK);
}

/* Two messages alike; the return of the first comes after its time, and must not hit the second. */
static void return_late(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method first = *take(peer, 1);
    cny_peer_wait_go(peer);
    cny_peer_method *second = take(peer, 1);
    cny_peer_return(peer, second, 312, "NO_ROUTE");
    cny_peer_ack(peer, second->channel, first.number, false);
    cny_peer_ack(peer, second->channel, second->number, false);
}

static void test_late_return_is_not_taken_for_that_of_a_message_alike(void **state)
{
    (void)state;
    start(return_late, AMPLE_MS, false);
    fault_expect_status(CONEY_OK, fault_send_message_async(0, NULL, fault_message("same")));
    fault_wait_for_confirms();
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_send_message_async(1, NULL, fault_message("same")));
    fault_wait_for_confirms();
    expect_late(0);
    fault_expect_completion(1, CONEY_OK);
}

static void return_and_never_ack(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_return(peer, take(peer, 1), 312, "NO_ROUTE");
    cny_peer_wait_go(peer);
}

static void test_returned_message_whose_ack_never_comes_is_told_as_returned(void **state)
{
    (void)state;
    start(return_and_never_ack, AMPLE_MS, false);
    send_messages(0, 0);
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_E_RETURNED);
    cny_broker_go(fault.broker);
}

static void test_places_of_expired_messages_stay_taken(void **state)
{
    (void)state;
    fault_start(take_three_and_wait, NULL);
    fault_use_template(&(coney_template_options){.confirm_timeout_ms = TIMEOUT_MS, .max_unconfirmed = 3});
    send_messages(0, 2);
    fault_wait_for_confirms();
    fault_expect_status(CONEY_E_LIMIT, fault_send(TIMEOUT_MS));
    fault_expect_text("max_unconfirmed 3");
    cny_broker_go(fault.broker);
}

enum { WINDOW = 4, TEN_WINDOWS = 10 * WINDOW };

/* Says nothing of the first, acks all others. */
static void ignore_the_first(cny_peer *peer, void *user)
{
    (void)user;
    for (int i = 0; i <= TEN_WINDOWS; i++) {
        cny_peer_method *publish = take(peer, 1);
        if (publish->number > 1)
            cny_peer_ack(peer, publish->channel, publish->number, false);
    }
}

static void test_message_that_nothing_is_said_about_takes_one_place_only(void **state)
{
    (void)state;
    fault_start(ignore_the_first, NULL);
    fault_use_template(&(coney_template_options){.confirm_timeout_ms = LONG_MS, .max_unconfirmed = WINDOW});
    send_messages(0, 0);
    for (int i = 0; i < TEN_WINDOWS; i++)
        fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(coney_template_unconfirmed_count(fault.sender), 1);
}

static void test_synchronous_send_that_nothing_is_said_about_takes_one_place_only(void **state)
{
    (void)state;
    fault_start(ignore_the_first, NULL);
    fault_use_template(&(coney_template_options){.max_unconfirmed = WINDOW});
    coney_status status;
    do /* nothing is sent before there is a channel */
        status = fault_send(50);
    while (status == CONEY_E_CONNECT);
    fault_expect_status(CONEY_E_TIMEOUT, status);
    for (int i = 0; i < TEN_WINDOWS; i++)
        fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(coney_template_unconfirmed_count(fault.sender), 1);
}

/* Says nothing of the first until it has acked all others. */
static void ack_the_first_last(cny_peer *peer, void *user)
{
    ignore_the_first(peer, user);
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, 1, 1, false);
}

static void test_ack_that_comes_ten_windows_late_is_heard(void **state)
{
    (void)state;
    fault_start(ack_the_first_last, NULL);
    fault_use_template(&(coney_template_options){.max_unconfirmed = WINDOW});
    send_messages(0, TEN_WINDOWS);
    fault_wait_until(coney_template_unconfirmed_count(fault.sender) == 1);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    for (int i = 0; i <= TEN_WINDOWS; i++)
        fault_expect_completion(i, CONEY_OK);
}

/* It has left the ring before its time is over. */
static void test_message_overtaken_by_ten_windows_still_expires(void **state)
{
    (void)state;
    fault_start(ack_the_first_last, NULL);
    fault_use_template(&(coney_template_options){.max_unconfirmed = WINDOW, .confirm_timeout_ms = 3000});
    send_messages(0, TEN_WINDOWS);
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_E_TIMEOUT);
    for (int i = 1; i <= TEN_WINDOWS; i++)
        fault_expect_completion(i, CONEY_OK);
    cny_broker_go(fault.broker);
}

static void ack_after_three_times_the_timeout(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = take(peer, 1);
    amqp_channel_t channel = publish->channel;
    cny_peer_silence(peer, 3 * TIMEOUT_MS);
    cny_peer_ack(peer, channel, 1, false);
}

static void test_synchronous_send_keeps_its_own_deadline(void **state)
{
    (void)state;
    start(ack_after_three_times_the_timeout, TIMEOUT_MS, false);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    test_expect_elapsed(began, 3 * TIMEOUT_MS, LONG_MS / 2);
}

static void test_timeout_below_zero_means_none(void **state)
{
    (void)state;
    fault_start(take_three_and_wait, NULL);
    fault_use_template(&(coney_template_options){.confirm_timeout_ms = -1});
    send_messages(0, 2);
    fault_expect_status(CONEY_E_TIMEOUT, coney_template_wait_for_confirms(fault.sender, 2 * TIMEOUT_MS));
    assert_int_equal(fault_completed(0).count, 0);
    cny_broker_go(fault.broker);
}

/* --- with losses --- */

static void take_two_and_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    take(peer, 2);
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

static void test_expired_messages_are_not_completed_again_by_a_loss(void **state)
{
    (void)state;
    start(take_two_and_hang_up, TIMEOUT_MS, false);
    send_messages(0, 1);
    fault_wait_for_confirms();
    cny_broker_go(fault.broker);
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    expect_late(0);
    expect_late(1);
}

static void test_expired_messages_are_not_sent_again(void **state)
{
    (void)state;
    start(take_two_and_hang_up, AMPLE_MS, true);
    send_messages(0, 1);
    fault_wait_for_confirms();
    cny_broker_go(fault.broker);
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    send_messages(2, 2);
    fault_wait_for_confirms();
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 3);
    expect_late(0);
    fault_expect_completion(2, CONEY_OK);
}

static void lose_two_and_open_late(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        take(peer, 2);
        cny_peer_hang_up(peer);
        return;
    }
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_wait_go(peer);
    cny_peer_send(peer, 0, AMQP_CONNECTION_OPEN_OK_METHOD, NULL);
}

static void test_kept_messages_expire_while_there_is_no_connection(void **state)
{
    (void)state;
    start(lose_two_and_open_late, AMPLE_MS, true);
    int64_t began = cny_now_ms();
    send_messages(0, 1);
    fault_wait_for_confirms();
    test_expect_elapsed(began, AMPLE_MS, AMPLE_MS + 100);
    cny_broker_go(fault.broker);
    send_messages(2, 2);
    fault_wait_for_confirms();
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 3);
    expect_late(0);
    expect_late(1);
    fault_expect_completion(2, CONEY_OK);
}

/* The second connection comes when half the time is over, and confirms nothing either. */
static void lose_one_and_take_it_again_late(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        take(peer, 1);
        cny_peer_silence(peer, AMPLE_MS / 2);
        cny_peer_hang_up(peer);
        return;
    }
    take(peer, 1);
    cny_peer_wait_go(peer);
}

static void test_message_that_is_sent_again_keeps_its_deadline(void **state)
{
    (void)state;
    start(lose_one_and_take_it_again_late, AMPLE_MS, true);
    int64_t began = cny_now_ms();
    send_messages(0, 0);
    fault_wait_for_confirms();
    test_expect_elapsed(began, AMPLE_MS, AMPLE_MS + 100);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 2);
    expect_late(0);
    cny_broker_go(fault.broker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_sends_that_are_not_confirmed_in_time_complete_with_timeout),
        fault_test(test_late_ack_is_ignored_and_the_next_is_matched),
        fault_test(test_late_return_is_not_taken_for_that_of_a_message_alike),
        fault_test(test_returned_message_whose_ack_never_comes_is_told_as_returned),
        fault_test(test_places_of_expired_messages_stay_taken),
        fault_test(test_message_that_nothing_is_said_about_takes_one_place_only),
        fault_test(test_synchronous_send_that_nothing_is_said_about_takes_one_place_only),
        fault_test(test_ack_that_comes_ten_windows_late_is_heard),
        fault_test(test_message_overtaken_by_ten_windows_still_expires),
        fault_test(test_synchronous_send_keeps_its_own_deadline),
        fault_test(test_timeout_below_zero_means_none),
        fault_test(test_expired_messages_are_not_completed_again_by_a_loss),
        fault_test(test_expired_messages_are_not_sent_again),
        fault_test(test_kept_messages_expire_while_there_is_no_connection),
        fault_test(test_message_that_is_sent_again_keeps_its_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
