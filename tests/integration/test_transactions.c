/* SPDX-License-Identifier: MIT */
/* Transacted listeners: what a handler sends is there with its acknowledgement, and not at all without it. */
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>
#include <unistd.h>

static const char *target;

static int setup(void **state)
{
    int status = listening_setup(state);
    target = listening_make_other_queue("target");
    return status;
}

static void start(coney_listener listener)
{
    listener.transacted = true;
    listening_start(&listener);
}

static coney_status send_text(coney_delivery *delivery, const char *exchange, const char *routing_key, const char *text)
{
    coney_message *message = NULL;
    check(coney_message_new(&message, text, strlen(text), NULL) == CONEY_OK);
    coney_status status = coney_delivery_send(delivery, exchange, routing_key, message);
    coney_message_unref(message);
    return status;
}

/* Sends the number of the attempt, and then does what the message says. */
static coney_outcome send_and_obey(coney_delivery *delivery, void *user)
{
    char text[64];
    snprintf(text, sizeof text, "attempt %d", coney_delivery_attempt(delivery));
    check(send_text(delivery, "", target, text) == CONEY_OK);
    return listening_obey(delivery, user);
}

static void expect_only(const char *queue, const char *text)
{
    test_wait_for_depth(queue, 1);
    amqp_message_t sent = plain_get(queue);
    plain_expect_text(sent.body, text);
    amqp_destroy_message(&sent);
}

static void expect_left(uint32_t dead)
{
    test_wait_for_depth(listening.dead, dead);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, dead);
    test_wait_for_depth(target, 0);
}

/* ---- together ---- */

static atomic_int proceed;

static coney_outcome send_and_wait(coney_delivery *delivery, void *user)
{
    coney_outcome outcome = send_and_obey(delivery, user);
    while (!atomic_load(&proceed))
        usleep(1000);
    return outcome;
}

static void test_what_is_sent_is_there_with_the_acknowledgement_and_not_before(void **state)
{
    (void)state;
    proceed = 0;
    start((coney_listener){.on_message = send_and_wait});
    listening_send("ack");
    listening_wait_for_calls(1);
    test_wait_for_depth(target, 0);
    proceed = 1;
    expect_only(target, "attempt 1");
    expect_left(0);
}

static void test_several_messages_have_a_transaction_each(void **state)
{
    (void)state;
    start((coney_listener){.on_message = send_and_obey});
    listening_send("ack:a");
    listening_send("reject:b");
    listening_send("ack:c");
    test_wait_for_depth(target, 2);
    assert_ok(coney_admin_purge_queue(client.admin, target, NULL));
    expect_left(1);
}

/* ---- or not at all ---- */

static void test_what_is_sent_vanishes_with_a_rejection(void **state)
{
    (void)state;
    start((coney_listener){.on_message = send_and_obey});
    listening_send("reject");
    expect_left(1);
}

static void test_what_is_sent_vanishes_when_the_message_goes_back(void **state)
{
    (void)state;
    start((coney_listener){.on_message = send_and_obey});
    listening_send("again");
    expect_only(target, "attempt 2");
    assert_true(listening.calls[1].redelivered);
    expect_left(0);
}

static void test_what_is_sent_vanishes_before_another_attempt_in_place(void **state)
{
    (void)state;
    start((coney_listener){.on_message = send_and_obey, .retry = {.max_attempts = 3, .first_delay_ms = 2}});
    listening_send("fail 2");
    expect_only(target, "attempt 3");
    expect_left(0);
}

static void test_what_is_sent_vanishes_when_the_message_is_republished(void **state)
{
    (void)state;
    const char *other = listening_make_other_queue("other");
    start((coney_listener){.on_message = send_and_obey,
                           .retry = {.exhausted = CONEY_EXHAUSTED_REPUBLISH, .routing_key = other}});
    listening_send("fail");
    expect_only(other, "fail");
    expect_left(0);
}

static void test_what_is_sent_vanishes_with_each_round_of_the_ladder(void **state)
{
    (void)state;
    listening_other_queue("retry.50");
    listening_other_queue("parking");
    start((coney_listener){.on_message = send_and_obey, .retry = {.delays_ms = {50}}});
    listening_send("fail 1");
    expect_only(target, "attempt 2");
    expect_left(0);
}

/* ---- replies ---- */

static coney_outcome reply_and_obey(coney_delivery *delivery, void *user)
{
    coney_message *reply = coney_message_ref(coney_delivery_message(delivery));
    check(coney_delivery_reply(delivery, reply) == CONEY_OK);
    coney_message_unref(reply);
    return listening_obey(delivery, user);
}

static void test_reply_is_there_with_the_acknowledgement(void **state)
{
    (void)state;
    start((coney_listener){.on_message = reply_and_obey, .send_to = target});
    listening_send("ack");
    expect_only(target, "ack");
    expect_left(0);
}

static void test_reply_vanishes_with_a_rejection(void **state)
{
    (void)state;
    start((coney_listener){.on_message = reply_and_obey, .send_to = target});
    listening_send("reject");
    expect_left(1);
}

static coney_outcome leave_reply_and_obey(coney_delivery *delivery, void *user)
{
    coney_delivery_set_reply(delivery, coney_message_ref(coney_delivery_message(delivery)));
    return listening_obey(delivery, user);
}

static void test_reply_that_is_left_is_there_with_the_acknowledgement(void **state)
{
    (void)state;
    start((coney_listener){.on_message = leave_reply_and_obey, .send_to = target});
    listening_send("reject");
    listening_send("ack");
    expect_only(target, "ack");
    expect_left(1);
}

/* ---- a commit that fails ---- */

/* The broker closes the channel for what is sent to an exchange that is not there. */
static coney_outcome spoil_the_first(coney_delivery *delivery, void *user)
{
    (void)user;
    char text[64];
    bool is_first = listening_note(delivery) == 0;
    if (is_first)
        check(send_text(delivery, "no-such-exchange", "", "lost") == CONEY_OK);
    coney_status status = send_text(delivery, "", target, listening_text(delivery, text));
    check(status == CONEY_OK || is_first); /* the channel may be gone already */
    return CONEY_ACK;
}

static void test_message_whose_commit_fails_comes_again(void **state)
{
    (void)state;
    start((coney_listener){.on_message = spoil_the_first});
    listening_send("text");
    listening_wait_for_calls(2);
    assert_true(listening.calls[1].redelivered);
    expect_only(target, "text");
    expect_left(0);
}

static coney_outcome send_to_nowhere(coney_delivery *delivery, void *user)
{
    (void)user;
    check(send_text(delivery, "", "no-such-queue", "lost") == CONEY_OK);
    listening_note(delivery);
    return CONEY_ACK;
}

static void test_what_no_queue_takes_is_logged(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    start((coney_listener){.on_message = send_to_nowhere});
    listening_send("text");
    test_log_expect("1 of what was sent in it came back and is lost");
    test_log_expect("no-such-queue");
    expect_left(0);
}

/* ---- when it may be used ---- */

static coney_outcome send_without_transaction(coney_delivery *delivery, void *user)
{
    (void)user;
    coney_message *message = coney_delivery_message(delivery);
    check(coney_delivery_send(delivery, "", target, message) == CONEY_E_STATE);
    check(strstr(coney_last_error(), "the listener is not transacted"));
    listening_note(delivery);
    return CONEY_ACK;
}

static void test_send_needs_a_transacted_listener(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = send_without_transaction});
    listening_send("text");
    listening_wait_for_calls(1);
    expect_left(0);
}

static coney_delivery *kept;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    kept = coney_delivery_ref(delivery);
    listening_note(delivery);
    return CONEY_ACK;
}

static void test_transaction_is_over_when_the_handler_has_returned(void **state)
{
    (void)state;
    start((coney_listener){.on_message = keep, .send_to = target});
    listening_send("text");
    listening_wait_for_calls(1);
    assert_ok(coney_container_stop(listening.container));
    coney_message *message = test_text("late");
    assert_fails(coney_delivery_send(kept, "", target, message), CONEY_E_STATE, "the handler has returned");
    assert_fails(coney_delivery_reply(kept, message), CONEY_E_STATE, "the handler has returned");
    coney_message_unref(message);
    coney_delivery_unref(kept);
    expect_left(0);
}

static coney_outcome send_nonsense(coney_delivery *delivery, void *user)
{
    (void)user;
    coney_message *message = coney_delivery_message(delivery);
    check(coney_delivery_send(delivery, NULL, target, message) == CONEY_E_INVALID);
    check(coney_delivery_send(delivery, "", NULL, message) == CONEY_E_INVALID);
    check(coney_delivery_send(delivery, "", target, NULL) == CONEY_E_INVALID);
    check(coney_delivery_send(delivery, "\xff", target, message) == CONEY_E_INVALID);
    listening_note(delivery);
    return CONEY_ACK;
}

static void test_arguments_of_send_are_checked(void **state)
{
    (void)state;
    start((coney_listener){.on_message = send_nonsense});
    listening_send("text");
    listening_wait_for_calls(1);
    expect_left(0);
}

/* ---- batches ---- */

/* For each message its text and the number of the attempt. */
static void send_and_obey_all(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    for (size_t i = 0; i < count; i++) {
        char text[64];
        check(send_text(deliveries[i], "", target, listening_text(deliveries[i], text)) == CONEY_OK);
        outcomes[i] = listening_obey(deliveries[i], user);
    }
}

static void start_batches(coney_listener_retry retry)
{
    start((coney_listener){.on_batch = send_and_obey_all, .batch_size = 3, .batch_timeout_ms = 50, .retry = retry});
}

static void expect_exactly(const char *const *texts)
{
    uint32_t count = 0;
    while (texts[count])
        count++;
    test_wait_for_depth(target, count);
    for (uint32_t i = 0; i < count; i++) {
        amqp_message_t sent = plain_get(target);
        plain_expect_text(sent.body, texts[i]);
        amqp_destroy_message(&sent);
    }
}

static void test_batch_is_one_transaction(void **state)
{
    (void)state;
    listening_send("ack:a");
    listening_send("ack:b");
    listening_send("ack:c");
    start_batches((coney_listener_retry){0});
    expect_exactly((const char *const[]){"ack:a", "ack:b", "ack:c", NULL});
    expect_left(0);
}

/* The rollback for one takes along what was sent for the others, so they are handled again. */
static void test_rejected_one_does_not_lose_what_the_others_of_its_batch_sent(void **state)
{
    (void)state;
    listening_send("ack:a");
    listening_send("reject:b");
    listening_send("ack:c");
    start_batches((coney_listener_retry){0});
    expect_exactly((const char *const[]){"ack:a", "ack:c", NULL});
    expect_left(1);
}

static void test_failed_one_does_not_lose_what_the_others_of_its_batch_sent(void **state)
{
    (void)state;
    listening_send("ack:a");
    listening_send("fail 1:b");
    listening_send("ack:c");
    start_batches((coney_listener_retry){.max_attempts = 2, .first_delay_ms = 2});
    expect_exactly((const char *const[]){"ack:a", "fail 1:b", "ack:c", NULL});
    expect_left(0);
}

static void test_one_that_goes_back_does_not_lose_what_the_others_of_its_batch_sent(void **state)
{
    (void)state;
    listening_send("ack:a");
    listening_send("again:b");
    listening_send("ack:c");
    start_batches((coney_listener_retry){0});
    listening_wait_for_calls(6);
    test_wait_for_depth(target, 3);
    assert_ok(coney_admin_purge_queue(client.admin, target, NULL));
    expect_left(0);
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define transaction_test(test) cmocka_unit_test_setup_teardown(test, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        transaction_test(test_what_is_sent_is_there_with_the_acknowledgement_and_not_before),
        transaction_test(test_several_messages_have_a_transaction_each),
        transaction_test(test_what_is_sent_vanishes_with_a_rejection),
        transaction_test(test_what_is_sent_vanishes_when_the_message_goes_back),
        transaction_test(test_what_is_sent_vanishes_before_another_attempt_in_place),
        transaction_test(test_what_is_sent_vanishes_when_the_message_is_republished),
        transaction_test(test_what_is_sent_vanishes_with_each_round_of_the_ladder),
        transaction_test(test_reply_is_there_with_the_acknowledgement),
        transaction_test(test_reply_vanishes_with_a_rejection),
        transaction_test(test_reply_that_is_left_is_there_with_the_acknowledgement),
        transaction_test(test_message_whose_commit_fails_comes_again),
        transaction_test(test_what_no_queue_takes_is_logged),
        transaction_test(test_send_needs_a_transacted_listener),
        transaction_test(test_transaction_is_over_when_the_handler_has_returned),
        transaction_test(test_arguments_of_send_are_checked),
        transaction_test(test_batch_is_one_transaction),
        transaction_test(test_rejected_one_does_not_lose_what_the_others_of_its_batch_sent),
        transaction_test(test_failed_one_does_not_lose_what_the_others_of_its_batch_sent),
        transaction_test(test_one_that_goes_back_does_not_lose_what_the_others_of_its_batch_sent),
    };
    return test_run_with_workers("transactions", tests, test_client_setup, teardown);
}
