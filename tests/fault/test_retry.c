/* SPDX-License-Identifier: MIT */
/* Trying synchronous sends again: which, how often, when it ends, and what the program does then. */
#include "rabbit/template/template.h"
#include "support/fault_fixture.h"

#include <stdio.h>

enum { LONG_MS = 10000 };

static void use_retry(coney_retry_options retry)
{
    if (retry.first_delay_ms == 0)
        retry.first_delay_ms = 10;
    fault_use_template(&(coney_template_options){.retry = retry});
}

static void expect_attempts(int count)
{
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), count);
    coney_send_statistics statistics;
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &statistics));
    assert_int_equal(statistics.retried, count - 1);
}

/* ---- scripts: what becomes of the first messages; later ones are confirmed ---- */

static void nack(cny_peer *peer, int count)
{
    bool publishes = cny_peer_log_in(peer);
    for (int i = 0; publishes && i < count; i++) {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_nack(peer, publish->channel, publish->number, false);
    }
}

static void nack_one(cny_peer *peer, void *user)
{
    (void)user;
    nack(peer, 1);
}

static void nack_two(cny_peer *peer, void *user)
{
    (void)user;
    nack(peer, 2);
}

static void nack_three(cny_peer *peer, void *user)
{
    (void)user;
    nack(peer, 3);
}

static void return_one(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_return(peer, publish, 312, "NO_ROUTE");
    cny_peer_ack(peer, publish->channel, publish->number, false);
}

static void lose_the_first(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer) && cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 0) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_hang_up(peer);
    }
}

/* ---- trying again ---- */

static void test_nacked_message_is_sent_again(void **state)
{
    (void)state;
    fault_start(nack_one, NULL);
    use_retry((coney_retry_options){.max_attempts = 3});
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    expect_attempts(2);
}

static void test_lost_message_is_sent_again_on_the_next_connection(void **state)
{
    (void)state;
    fault_start(lose_the_first, NULL);
    use_retry((coney_retry_options){.max_attempts = 2});
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    expect_attempts(2);
}

static void test_attempts_are_limited_and_told(void **state)
{
    (void)state;
    fault_start(nack_two, NULL);
    use_retry((coney_retry_options){.max_attempts = 2});
    fault_expect_status(CONEY_E_NACKED, fault_send(LONG_MS));
    fault_expect_text("2 of 2 attempts made");
    expect_attempts(2);
}

static void test_without_the_option_nothing_is_tried_again(void **state)
{
    (void)state;
    fault_start(nack_one, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_NACKED, fault_send(LONG_MS));
    assert_null(strstr(coney_last_error(), "attempts"));
    expect_attempts(1);
}

static void test_asynchronous_send_is_not_tried_again(void **state)
{
    (void)state;
    fault_start(nack_one, NULL);
    use_retry((coney_retry_options){.max_attempts = 3});
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_E_NACKED);
    expect_attempts(1);
}

static void test_delays_grow_up_to_the_longest(void **state)
{
    (void)state;
    fault_start(nack_three, NULL);
    use_retry((coney_retry_options){.max_attempts = 4, .first_delay_ms = 100, .multiplier = 4, .max_delay_ms = 200});
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    test_expect_elapsed(began, (100 + 200 + 200) / 2, 100 + 200 + 200);
}

static void test_delay_that_would_pass_the_deadline_ends_the_retry(void **state)
{
    (void)state;
    fault_start(nack_one, NULL);
    use_retry((coney_retry_options){.max_attempts = 3, .first_delay_ms = 4000});
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_NACKED, fault_send(1900));
    test_expect_elapsed(began, 0, 0);
    fault_expect_text("1 of 3 attempts made");
    expect_attempts(1);
}

/* ---- which errors ---- */

static void test_returned_message_is_not_sent_again(void **state)
{
    (void)state;
    fault_start(return_one, NULL);
    use_retry((coney_retry_options){.max_attempts = 3});
    fault_expect_status(CONEY_E_RETURNED, fault_send(LONG_MS));
    expect_attempts(1);
}

static bool returned_only(const coney_error *error, void *user)
{
    *(int *)user += 1;
    coney_conversion_failed("the predicate's own"); /* must not be told as the send's error */
    return error->status == CONEY_E_RETURNED && error->broker_code == 312;
}

static void test_program_may_decide_what_is_sent_again(void **state)
{
    (void)state;
    int asked = 0;
    fault_start(return_one, NULL);
    use_retry((coney_retry_options){.max_attempts = 3, .is_retriable = returned_only, .user = &asked});
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(asked, 1);
    expect_attempts(2);
}

static void test_program_may_decide_what_is_not_sent_again(void **state)
{
    (void)state;
    int asked = 0;
    fault_start(nack_one, NULL);
    use_retry((coney_retry_options){.max_attempts = 3, .is_retriable = returned_only, .user = &asked});
    fault_expect_status(CONEY_E_NACKED, fault_send(LONG_MS));
    assert_null(strstr(coney_last_error(), "the predicate's own"));
    assert_int_equal(asked, 1);
    expect_attempts(1);
}

/* ---- recovering ---- */

static struct {
    int calls;
    coney_status error;
    coney_status answer;
    bool says_why;
    char body[16], exchange[16], routing_key[16], text[256];
} recovery;

static coney_status recover(coney_message *message, const char *exchange, const char *routing_key,
                            const coney_error *error, void *user)
{
    (void)user;
    recovery.calls++;
    recovery.error = error->status;
    snprintf(recovery.body, sizeof recovery.body, "%s", (const char *)coney_message_body(message));
    snprintf(recovery.exchange, sizeof recovery.exchange, "%s", exchange);
    snprintf(recovery.routing_key, sizeof recovery.routing_key, "%s", routing_key);
    if (recovery.says_why)
        coney_conversion_failed("no disk");
    snprintf(recovery.text, sizeof recovery.text, "%s", error->text);
    return recovery.answer;
}

static void use_recovery(coney_status answer, bool says_why, int attempts)
{
    memset(&recovery, 0, sizeof recovery);
    recovery.answer = answer;
    recovery.says_why = says_why;
    use_retry((coney_retry_options){.max_attempts = attempts, .on_failure = recover});
}

static void test_on_failure_gets_message_and_error_once_and_decides(void **state)
{
    (void)state;
    fault_start(nack_three, NULL);
    use_recovery(CONEY_OK, false, 3);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(recovery.calls, 1);
    assert_int_equal(recovery.error, CONEY_E_NACKED);
    assert_string_equal(recovery.body, "hello");
    assert_string_equal(recovery.exchange, "");
    assert_string_equal(recovery.routing_key, "key");
    assert_non_null(strstr(recovery.text, "3 of 3 attempts made"));
    expect_attempts(3);
}

static void test_on_failure_needs_no_retry(void **state)
{
    (void)state;
    fault_start(return_one, NULL);
    use_recovery(CONEY_OK, false, 0);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(recovery.error, CONEY_E_RETURNED);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(recovery.calls, 1);
}

static void test_status_of_on_failure_is_the_sends(void **state)
{
    (void)state;
    fault_start(nack_two, NULL);
    use_recovery(CONEY_E_NACKED, false, 1);
    fault_expect_status(CONEY_E_NACKED, fault_send(LONG_MS));
    fault_expect_text("the recovery callback answered NACKED to:");
    recovery.answer = CONEY_E_CONVERSION;
    recovery.says_why = true;
    fault_expect_status(CONEY_E_CONVERSION, fault_send(LONG_MS));
    fault_expect_text("no disk");
    fault_expect_text("routing key 'key'");
}

static void test_misuse_is_not_recovered(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    use_recovery(CONEY_OK, false, 3);
    fault_expect_status(CONEY_E_INVALID, coney_template_send(fault.sender, "key", NULL, NULL));
    assert_int_equal(recovery.calls, 0);
}

/* ---- the end ---- */

static atomic_bool has_failed;

/* The first attempt has failed and the delay is about to begin. */
static bool note_failure(const coney_error *error, void *user)
{
    (void)error;
    (void)user;
    atomic_store(&has_failed, true);
    return true;
}

static coney_status send_patiently(void)
{
    return fault_send(30000);
}

static void test_close_ends_the_delay(void **state)
{
    (void)state;
    fault_start(nack_one, NULL);
    atomic_store(&has_failed, false);
    use_retry((coney_retry_options){.max_attempts = 2, .first_delay_ms = 20000, .is_retriable = note_failure});
    fault_in_background(send_patiently);
    fault_wait_until(atomic_load(&has_failed));
    int64_t began = cny_now_ms();
    coney_connection_factory_close(fault.factory);
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    fault_expect_text("before another attempt after:");
    test_expect_elapsed(began, 0, 5000);
}

static void expect_refused(coney_retry_options retry, const char *words)
{
    coney_template *sender;
    fault_expect_status(CONEY_E_INVALID,
                        coney_template_new(&sender, fault.factory, &(coney_template_options){.retry = retry}));
    fault_expect_text(words);
}

static void test_wrong_options_are_refused(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    expect_refused((coney_retry_options){.max_attempts = -1}, "retry.max_attempts is -1");
    expect_refused((coney_retry_options){.first_delay_ms = -2}, "retry.first_delay_ms is -2");
    expect_refused((coney_retry_options){.max_delay_ms = -3}, "retry.max_delay_ms is -3");
    expect_refused((coney_retry_options){.multiplier = 0.5}, "retry.multiplier is 0.5");
    expect_refused((coney_retry_options){.first_delay_ms = 9, .max_delay_ms = 8}, "max_delay_ms 8 is below");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_nacked_message_is_sent_again),
        fault_test(test_lost_message_is_sent_again_on_the_next_connection),
        fault_test(test_attempts_are_limited_and_told),
        fault_test(test_without_the_option_nothing_is_tried_again),
        fault_test(test_asynchronous_send_is_not_tried_again),
        fault_test(test_delays_grow_up_to_the_longest),
        fault_test(test_delay_that_would_pass_the_deadline_ends_the_retry),
        fault_test(test_returned_message_is_not_sent_again),
        fault_test(test_program_may_decide_what_is_sent_again),
        fault_test(test_program_may_decide_what_is_not_sent_again),
        fault_test(test_on_failure_gets_message_and_error_once_and_decides),
        fault_test(test_on_failure_needs_no_retry),
        fault_test(test_status_of_on_failure_is_the_sends),
        fault_test(test_misuse_is_not_recovered),
        fault_test(test_close_ends_the_delay),
        fault_test(test_wrong_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
