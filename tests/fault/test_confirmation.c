/* SPDX-License-Identifier: MIT */
/* Confirmations: one outcome for each message, whenever it is asked for and from whatever thread, or
 * never; and "not known yet" is told from every outcome. */
#include "support/fault_fixture.h"

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SHORT_MS = 200, LONG_MS = 10000, COUNT = 4 };

static coney_confirmation *begun[COUNT];

static int teardown(void **state)
{
    for (int i = 0; i < COUNT; i++) {
        coney_confirmation_free(begun[i]);
        begun[i] = NULL;
    }
    return fault_teardown(state);
}

static coney_status begin(int index)
{
    char text[16];
    snprintf(text, sizeof text, "%d", index);
    coney_message *message = fault_message(text);
    coney_status status = coney_template_begin_send(fault.sender, &begun[index], "key", message, NULL);
    coney_message_unref(message);
    return status;
}

static void start(cny_script *script, const coney_template_options *options)
{
    fault_start(script, NULL);
    fault_use_template(options);
    for (int i = 0; i < COUNT; i++)
        fault_expect_status(CONEY_OK, begin(i));
}

static cny_peer_method *take(cny_peer *peer, int count)
{
    cny_peer_method *publish = NULL;
    for (int i = 0; i < count; i++)
        publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    return publish;
}

/* Acks the first two, nacks the third, returns the fourth. */
static void speak_of_each(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *last = take(peer, COUNT);
    amqp_channel_t channel = last->channel;
    cny_peer_return(peer, last, 312, "NO_ROUTE");
    cny_peer_ack(peer, channel, 2, true);
    cny_peer_nack(peer, channel, 3, false);
    cny_peer_ack(peer, channel, 4, false);
}

static void test_each_tells_the_outcome_of_its_message(void **state)
{
    (void)state;
    start(speak_of_each, NULL);
    fault_expect_status(CONEY_E_RETURNED, coney_confirmation_wait(begun[3], LONG_MS));
    assert_string_equal(coney_last_error_details()->routing_key, "key");
    fault_expect_status(CONEY_OK, coney_confirmation_wait(begun[0], 0));
    fault_expect_status(CONEY_OK, coney_confirmation_wait(begun[1], 0));
    fault_expect_status(CONEY_E_NACKED, coney_confirmation_wait(begun[2], 0));
    fault_expect_status(CONEY_E_NACKED, coney_confirmation_wait(begun[2], 0)); /* it stays */
    assert_null(coney_confirmation_error(begun[0]));
    assert_int_equal(coney_confirmation_error(begun[3])->status, CONEY_E_RETURNED);
    assert_string_equal(coney_confirmation_error(begun[3])->reply_text, "NO_ROUTE");
}

static void test_waiting_for_all_tells_the_first_that_failed(void **state)
{
    (void)state;
    start(speak_of_each, NULL);
    fault_expect_status(CONEY_E_NACKED, coney_confirmation_wait_all(begun, COUNT, LONG_MS));
    fault_expect_text("confirmation 2 of 4");
    fault_expect_status(CONEY_OK, coney_confirmation_wait_all(begun, 2, 0));
    fault_expect_status(CONEY_OK, coney_confirmation_wait_all(NULL, 0, 0));
}

static void ack_when_told(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take(peer, COUNT)->channel;
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, channel, COUNT, true);
}

static void test_not_known_yet_is_no_outcome(void **state)
{
    (void)state;
    start(ack_when_told, NULL);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_confirmation_wait(begun[0], SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text("not known yet");
    assert_false(coney_confirmation_is_done(begun[0]));
    assert_null(coney_confirmation_error(begun[0]));
    fault_expect_status(CONEY_E_TIMEOUT, coney_confirmation_wait_all(begun, COUNT, 0));
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, coney_confirmation_wait_all(begun, COUNT, LONG_MS));
    assert_true(coney_confirmation_is_done(begun[0]));
}

static void test_deadline_of_confirms_is_an_outcome(void **state)
{
    (void)state;
    start(ack_when_told, &(coney_template_options){.confirm_timeout_ms = SHORT_MS});
    fault_expect_status(CONEY_E_TIMEOUT, coney_confirmation_wait_all(begun, COUNT, LONG_MS));
    fault_expect_text("confirm_timeout_ms");
    assert_true(coney_confirmation_is_done(begun[0]));
    assert_int_equal(coney_confirmation_error(begun[0])->status, CONEY_E_TIMEOUT);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_confirmation_wait(begun[0], 0));
}

static void test_freed_before_the_outcome_costs_nothing(void **state)
{
    (void)state;
    start(ack_when_told, NULL);
    for (int i = 0; i < COUNT; i++) {
        coney_confirmation_free(begun[i]);
        begun[i] = NULL;
    }
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
}

static void test_it_outlives_its_template_and_factory(void **state)
{
    (void)state;
    start(ack_when_told, &(coney_template_options){.timeout_ms = SHORT_MS});
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    coney_template_free(fault.sender);
    fault.sender = NULL;
    coney_connection_factory_free(fault.factory);
    fault.factory = NULL;
    fault_expect_status(CONEY_OK, coney_confirmation_wait_all(begun, COUNT, 0));
}

static void hang_up_then_confirm(cny_peer *peer, void *user)
{
    (void)user;
    take(peer, COUNT);
    if (cny_peer_number(peer) == 0)
        cny_peer_hang_up(peer);
    else
        cny_peer_ack(peer, 1, COUNT, true);
}

static void test_loss_is_an_outcome(void **state)
{
    (void)state;
    fault_start(hang_up_then_confirm, NULL);
    fault_use_template(NULL);
    for (int i = 0; i < COUNT; i++)
        fault_expect_status(CONEY_OK, begin(i));
    fault_expect_status(CONEY_E_LOST, coney_confirmation_wait_all(begun, COUNT, LONG_MS));
    for (int i = 0; i < COUNT; i++) {
        coney_confirmation_free(begun[i]);
        fault_expect_status(CONEY_OK, begin(i));
    }
    fault_expect_status(CONEY_OK, coney_confirmation_wait_all(begun, COUNT, LONG_MS));
}

static void test_it_goes_along_when_its_message_is_sent_again(void **state)
{
    (void)state;
    start(hang_up_then_confirm, &(coney_template_options){.resend_unconfirmed = true});
    fault_expect_status(CONEY_OK, coney_confirmation_wait_all(begun, COUNT, LONG_MS));
}

static void test_misuse_is_told(void **state)
{
    (void)state;
    start(ack_when_told, NULL);
    fault_expect_status(CONEY_E_INVALID, coney_confirmation_wait(NULL, 0));
    fault_expect_status(CONEY_E_INVALID, coney_confirmation_wait(begun[0], -1));
    fault_expect_text("-1");
    fault_expect_status(CONEY_E_INVALID, coney_confirmation_wait_all(NULL, 1, 0));
    fault_expect_status(CONEY_E_INVALID, coney_confirmation_wait_all((coney_confirmation *[]){begun[0], NULL}, 2, 0));
    fault_expect_text("1 of 2");
    fault_expect_status(CONEY_E_INVALID, coney_template_begin_send(fault.sender, NULL, "key", NULL, NULL));
    coney_confirmation *none = begun[0];
    fault_expect_status(CONEY_E_INVALID, coney_template_begin_send(fault.sender, &none, "key", NULL, NULL));
    assert_null(none);
    assert_false(coney_confirmation_is_done(NULL));
    assert_null(coney_confirmation_error(NULL));
    coney_confirmation_free(NULL);
    cny_broker_go(fault.broker);
}

static void test_child_of_fork_cannot_wait(void **state)
{
    (void)state;
    start(ack_when_told, NULL);
    pid_t child = fork();
    if (child == 0) {
        coney_status status = coney_confirmation_wait(begun[0], LONG_MS);
        coney_confirmation_free(begun[0]);
        _exit(status == CONEY_E_STATE && !coney_confirmation_is_done(begun[1]) ? 0 : 1);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    cny_broker_go(fault.broker);
}

/* --- from a callback --- */

enum { FORMS = 5 };
static coney_status in_callback[FORMS];

static void send_in_every_form(coney_message *message, const coney_error *error, void *user)
{
    (void)error;
    (void)user;
    in_callback[0] = coney_template_send(fault.sender, "key", message, NULL);
    in_callback[1] = coney_template_send_async(fault.sender, "key", message, NULL, NULL, NULL);
    coney_confirmation *confirmation;
    in_callback[2] = coney_template_begin_send(fault.sender, &confirmation, "key", message, NULL);
    in_callback[3] = coney_confirmation_wait(confirmation, LONG_MS);
    coney_confirmation_free(confirmation);
    in_callback[4] = coney_template_send_and_forget(fault.sender, "key", message, NULL);
}

static void test_callback_may_send_in_every_form_and_wait(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    fault_use_template(&(coney_template_options){.max_unconfirmed = 1});
    coney_message *message = fault_message("hello");
    fault_expect_status(CONEY_OK,
                        coney_template_send_async(fault.sender, "key", message, NULL, send_in_every_form, NULL));
    coney_message_unref(message);
    fault_wait_for_confirms();
    for (int i = 0; i < FORMS; i++)
        fault_expect_status(CONEY_OK, in_callback[i]);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 5);
}

#define confirmation_test(function) cmocka_unit_test_teardown(function, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        confirmation_test(test_each_tells_the_outcome_of_its_message),
        confirmation_test(test_waiting_for_all_tells_the_first_that_failed),
        confirmation_test(test_not_known_yet_is_no_outcome),
        confirmation_test(test_deadline_of_confirms_is_an_outcome),
        confirmation_test(test_freed_before_the_outcome_costs_nothing),
        confirmation_test(test_it_outlives_its_template_and_factory),
        confirmation_test(test_loss_is_an_outcome),
        confirmation_test(test_it_goes_along_when_its_message_is_sent_again),
        confirmation_test(test_misuse_is_told),
        confirmation_test(test_child_of_fork_cannot_wait),
        confirmation_test(test_callback_may_send_in_every_form_and_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
