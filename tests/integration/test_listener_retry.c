/* SPDX-License-Identifier: MIT */
/* CONEY_RETRY on a real broker: attempts in place, attempts across deliveries, and the recoveries that publish
 * nothing. */
#include "support/elapsed.h"
#include "support/listening.h"

#include <stdio.h>

#define REPEATED_AT_ONCE .first_delay_ms = 2, .max_delay_ms = 2

static const coney_properties with_id = {.message_id = "m-1"};

/* ---- in place ---- */

static void test_attempts_follow_in_place_after_growing_delays(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.max_attempts = 4, .first_delay_ms = 100, .multiplier = 2}});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 4, 0});
    for (int i = 0, delay_ms = 100; i < 3; i++, delay_ms *= 2) {
        int64_t began = listening.calls[i].at_ms;
        int gap_ms = (int)(listening.calls[i + 1].at_ms - began);
        assert_int_in_range(gap_ms, delay_ms / 2, delay_ms + test_slack_ms(began));
        assert_false(listening.calls[i + 1].redelivered);
    }
    test_wait_until(listening_statistics().rejected == 1);
    coney_listener_statistics statistics = listening_statistics();
    assert_int_equal(statistics.received, 1);
    assert_int_equal(statistics.retried, 3);
    assert_int_equal(statistics.failed, 4);
    assert_int_equal(statistics.exhausted, 1);
    assert_int_equal(statistics.rejected, 1);
}

static void test_delays_are_capped_and_shortened_at_random(void **state)
{
    (void)state;
    enum { ATTEMPTS = 25, FIRST_MS = 20, CAP_MS = 60 };
    int shortest_ms = CAP_MS;
    listening_start(&(coney_listener){
        .retry = {.max_attempts = ATTEMPTS, .first_delay_ms = FIRST_MS, .multiplier = 10, .max_delay_ms = CAP_MS}});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    listening_wait_for_calls(ATTEMPTS);
    for (int i = 1; i + 1 < ATTEMPTS; i++) {
        int64_t began = listening.calls[i].at_ms;
        int gap_ms = (int)(listening.calls[i + 1].at_ms - began);
        assert_int_in_range(gap_ms, CAP_MS / 2, CAP_MS + test_slack_ms(began));
        if (gap_ms < shortest_ms)
            shortest_ms = gap_ms;
    }
    assert_true(shortest_ms < CAP_MS - 5);
}

static void expect_three_attempts_around_a_stop(coney_stop_mode mode)
{
    listening_start(&(coney_listener){.retry = {.max_attempts = 3, .first_delay_ms = 400, .max_delay_ms = 400}});
    listening_send_with("fail", &with_id);
    test_wait_until(listening_statistics().retried == 1);
    assert_ok(coney_container_stop_with(listening.container, mode, 10000));
    assert_ok(coney_container_start(listening.container));
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    assert_int_equal(listening.count, 3);
}

static void test_attempts_in_place_go_on_after_a_stop_that_finishes(void **state)
{
    (void)state;
    expect_three_attempts_around_a_stop(CONEY_STOP_FINISH);
}

static void test_attempts_in_place_go_on_after_a_stop_now(void **state)
{
    (void)state;
    expect_three_attempts_around_a_stop(CONEY_STOP_NOW);
}

static void test_success_in_place_acknowledges(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.max_attempts = 3, REPEATED_AT_ONCE}});
    listening_send("fail 2");
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

static void test_those_behind_a_waiting_message_keep_their_place(void **state)
{
    (void)state;
    static const char *const expected[] = {"fail 2:a", "fail 2:a", "fail 2:a", "ack:b", "ack:c"};
    listening_start(&(coney_listener){.retry = {.max_attempts = 3, .first_delay_ms = 50}});
    listening_send("fail 2:a");
    listening_send("ack:b");
    listening_send("ack:c");
    listening_wait_for_calls(COUNT_OF(expected));
    for (size_t i = 0; i < COUNT_OF(expected); i++)
        assert_string_equal(listening.calls[i].text, expected[i]);
}

static void test_other_consumers_are_served_while_a_message_waits(void **state)
{
    (void)state;
    enum { OTHERS = 20 };
    const char *other = listening_make_other_queue("other");
    const coney_container_options options = {.workers = test_workers ? 1 : 0};
    const coney_listener listeners[] = {
        {.queue = listening.queue, .on_message = listening_obey, .retry = {.max_attempts = 2, .first_delay_ms = 6000}},
        {.queue = other, .on_message = listening_obey},
    };
    assert_ok(coney_container_new(&listening.container, client.factory, &options));
    for (size_t i = 0; i < COUNT_OF(listeners); i++)
        assert_ok(coney_container_listen(listening.container, &listeners[i]));
    assert_ok(coney_container_start(listening.container));
    listening_send("fail");
    listening_wait_for_calls(1);
    coney_message *message = test_text("ack");
    for (int i = 0; i < OTHERS; i++)
        assert_ok(coney_template_send(client.sender, other, message, NULL));
    coney_message_unref(message);
    listening_wait_for_calls(1 + OTHERS);
    assert_int_equal(listening_calls_of("fail"), 1);
}

/* ---- what failures say ---- */

static atomic_int predicate_calls;

static bool never(const coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)user;
    check(coney_delivery_attempt(delivery) == 1);
    check_text(error->text, "no stock for fail");
    atomic_fetch_add(&predicate_calls, 1);
    return false;
}

static void test_failure_that_is_not_retriable_goes_to_the_recovery_at_once(void **state)
{
    (void)state;
    predicate_calls = 0;
    listening_start(&(coney_listener){.retry = {.max_attempts = 5, .first_delay_ms = 5000, .is_retriable = never}});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening.count, 1);
    assert_int_equal(predicate_calls, 1);
}

static coney_outcome fail_silently(coney_delivery *delivery, void *user)
{
    (void)user;
    listening_note(delivery);
    return CONEY_RETRY;
}

static coney_outcome expect_default_text(coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)delivery;
    (void)user;
    check_text(error->text, "the handler returned CONEY_RETRY");
    return CONEY_REJECT;
}

static void test_handler_that_does_not_say_why_has_a_default_text(void **state)
{
    (void)state;
    listening_start(
        &(coney_listener){.on_message = fail_silently,
                          .retry = {.exhausted = CONEY_EXHAUSTED_CALL, .on_exhausted = expect_default_text}});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
}

static bool if_retriable_and_of_the_handler(const coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)delivery;
    (void)user;
    check(error->status == CONEY_E_HANDLER);
    check(!error->fatal);
    return error->retriable;
}

static void expect_status_of_handler(coney_message_handler *handler)
{
    listening_start(&(coney_listener){
        .on_message = handler,
        .retry = {.max_attempts = 2, REPEATED_AT_ONCE, .is_retriable = if_retriable_and_of_the_handler},
    });
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 0});
}

static void test_failure_that_a_handler_explains_has_a_status_of_its_own(void **state)
{
    (void)state;
    expect_status_of_handler(listening_obey);
}

static void test_failure_that_a_handler_does_not_explain_has_the_same_status(void **state)
{
    (void)state;
    expect_status_of_handler(fail_silently);
}

/* ---- recovery ---- */

static coney_outcome decide_as_told(coney_delivery *delivery, const coney_error *error, void *user)
{
    atomic_int *calls = user;
    char text[64], expected[96];
    snprintf(expected, sizeof expected, "no stock for %s", listening_text(delivery, text));
    check_text(error->text, expected);
    if (strstr(text, "requeue"))
        return atomic_fetch_add(calls, 1) == 0 ? CONEY_REQUEUE : CONEY_ACK;
    if (strstr(text, "undecided"))
        return atomic_fetch_add(calls, 1) == 0 ? CONEY_RETRY : CONEY_ACK;
    return strstr(text, "reject") ? CONEY_REJECT : CONEY_ACK;
}

static void start_with_on_exhausted(atomic_int *requeued)
{
    listening_start(&(coney_listener){
        .user = requeued,
        .retry = {
            .max_attempts = 2, REPEATED_AT_ONCE, .exhausted = CONEY_EXHAUSTED_CALL, .on_exhausted = decide_as_told}});
}

static void test_failure_text_reaches_on_exhausted_and_the_event(void **state)
{
    (void)state;
    atomic_int unused = 0;
    start_with_on_exhausted(&unused);
    listening_send_with("fail", &with_id);
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "'m-1'");
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "no stock for fail");
    assert_int_equal(listening_events(CONEY_MESSAGE_EXHAUSTED), 1);
}

static void test_on_exhausted_may_acknowledge(void **state)
{
    (void)state;
    atomic_int unused = 0;
    start_with_on_exhausted(&unused);
    listening_send("fail");
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "");
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
    assert_int_equal(listening.count, 2);
}

static void test_on_exhausted_may_reject(void **state)
{
    (void)state;
    atomic_int unused = 0;
    start_with_on_exhausted(&unused);
    listening_send("fail:reject");
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening.count, 2);
}

static void test_on_exhausted_may_requeue(void **state)
{
    (void)state;
    atomic_int requeued = 0;
    start_with_on_exhausted(&requeued);
    listening_send("fail:requeue");
    listening_wait_for_calls(4);
    assert_false(listening.calls[1].redelivered);
    assert_true(listening.calls[2].redelivered);
    test_wait_for(&requeued, 2);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
}

static void test_on_exhausted_that_decides_nothing_is_told_and_the_message_goes_back(void **state)
{
    (void)state;
    atomic_int undecided = 0;
    test_log_start(CONEY_LOG_ERROR);
    start_with_on_exhausted(&undecided);
    listening_send("fail:undecided");
    test_wait_for(&undecided, 2);
    listening_stop();
    test_log_stop();
    test_log_expect("on_exhausted returned 4");
    test_log_expect("counts as CONEY_REQUEUE");
    test_wait_for_depth(listening.queue, 0);
}

static void test_recovery_requeue_begins_anew(void **state)
{
    (void)state;
    listening_start(
        &(coney_listener){.retry = {.max_attempts = 2, REPEATED_AT_ONCE, .exhausted = CONEY_EXHAUSTED_REQUEUE}});
    listening_send("fail 3");
    listening_expect_attempts((const int[]){1, 2, 2, 3, 0}); /* nobody counts but the redelivered mark */
    assert_false(listening.calls[1].redelivered);
    assert_true(listening.calls[2].redelivered);
    assert_int_equal(listening_statistics().exhausted, 1);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

/* ---- stateful ---- */

static void test_stateful_attempts_are_redeliveries_counted_by_message_id(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.stateful = true}});
    listening_send_with("fail", &with_id);
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    assert_true(listening.calls[1].redelivered);
    assert_true(listening.calls[2].redelivered);
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "after 3 attempts");
    assert_int_equal(listening_statistics().retried, 0);
    assert_int_equal(listening_statistics().requeued, 2);
}

static void test_stateful_counts_each_id_for_itself(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 2}});
    listening_send_with("fail:a", &(coney_properties){.message_id = "a"});
    listening_send_with("fail 1:b", &(coney_properties){.message_id = "b"});
    test_wait_for_depth(listening.dead, 1);
    listening_wait_for_calls(4);
    assert_int_equal(listening_calls_of("fail:a"), 2);
    assert_int_equal(listening_calls_of("fail 1:b"), 2);
}

static void test_stateful_message_without_id_is_recovered_when_it_comes_again(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 10}});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening.count, 2);
}

static void test_stateful_on_a_quorum_queue_needs_no_message_id(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3}});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

static void test_stateful_success_forgets_the_count(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3}});
    listening_send_with("fail 2:first", &with_id);
    listening_wait_for_calls(3);
    listening_send_with("fail 2:second", &with_id);
    listening_expect_attempts((const int[]){1, 2, 3, 1, 2, 3, 0});
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

/* The first message is given up at its second attempt. */
static bool first_is_final(const coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)error;
    (void)user;
    char text[64];
    return !strstr(listening_text(delivery, text), "first") || listening_calls_of(text) < 2;
}

static void test_stateful_recovery_forgets_the_count(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3, .is_retriable = first_is_final}});
    listening_send_with("fail:first", &with_id);
    test_wait_for_depth(listening.dead, 1);
    listening_send_with("fail 2:second", &with_id);
    listening_expect_attempts((const int[]){1, 2, 1, 2, 3, 0});
    listening_stop();
    test_wait_for_depth(listening.dead, 1);
}

/* ---- what anyone may claim ---- */

static void append_death(coney_array *deaths, int64_t count)
{
    coney_table *table = coney_table_new();
    coney_value death = {.type = CONEY_TABLE, .as.table = table};
    assert_ok(coney_table_set_string(table, "queue", listening.queue));
    assert_ok(coney_table_set_string(table, "reason", "rejected"));
    assert_ok(coney_table_set_int64(table, "count", count));
    assert_ok(coney_array_append(deaths, &death));
    coney_table_free(table);
}

static void test_forged_deaths_do_not_make_the_attempt_overflow(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    coney_array *all = coney_array_new();
    coney_value deaths = {.type = CONEY_ARRAY, .as.array = all};
    for (int i = 0; i < 5; i++)
        append_death(all, INT32_MAX / 4 - 1);
    assert_ok(coney_table_set(headers, "x-death", &deaths));
    listening_start(&(coney_listener){0});
    listening_send_with("ack", &(coney_properties){.headers = headers});
    listening_wait_for_calls(1);
    assert_int_equal(listening.calls[0].attempt, INT32_MAX / 4 + 1);
    coney_array_free(all);
    coney_table_free(headers);
}

/* ---- without any retry ---- */

static void test_without_retry_a_failure_that_comes_again_is_held_back_longer_each_time(void **state)
{
    (void)state;
    listening_start(&(coney_listener){0});
    listening_send("fail 4");
    listening_wait_for_calls(5);
    for (int i = 1, held_ms = 100; i < 4; i++, held_ms *= 2) {
        int64_t began = listening.calls[i].at_ms;
        int gap_ms = (int)(listening.calls[i + 1].at_ms - began);
        assert_int_in_range(gap_ms, held_ms - 1, held_ms + test_slack_ms(began));
        assert_true(listening.calls[i].redelivered);
    }
}

static void expect_delivery_limit(const char *text)
{
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM, .delivery_limit = 2});
    listening_start(&(coney_listener){0});
    listening_send(text);
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

static void test_delivery_limit_ends_failing_in_the_dead_letter_queue(void **state)
{
    (void)state;
    expect_delivery_limit("fail");
}

static void test_delivery_limit_ends_requeueing_in_the_dead_letter_queue(void **state)
{
    (void)state;
    expect_delivery_limit("requeue");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_attempts_follow_in_place_after_growing_delays),
        listening_test(test_delays_are_capped_and_shortened_at_random),
        listening_test(test_attempts_in_place_go_on_after_a_stop_that_finishes),
        listening_test(test_attempts_in_place_go_on_after_a_stop_now),
        listening_test(test_success_in_place_acknowledges),
        listening_test(test_those_behind_a_waiting_message_keep_their_place),
        listening_test(test_other_consumers_are_served_while_a_message_waits),
        listening_test(test_failure_that_is_not_retriable_goes_to_the_recovery_at_once),
        listening_test(test_handler_that_does_not_say_why_has_a_default_text),
        listening_test(test_failure_that_a_handler_explains_has_a_status_of_its_own),
        listening_test(test_failure_that_a_handler_does_not_explain_has_the_same_status),
        listening_test(test_failure_text_reaches_on_exhausted_and_the_event),
        listening_test(test_on_exhausted_may_acknowledge),
        listening_test(test_on_exhausted_may_reject),
        listening_test(test_on_exhausted_may_requeue),
        listening_test(test_on_exhausted_that_decides_nothing_is_told_and_the_message_goes_back),
        listening_test(test_recovery_requeue_begins_anew),
        listening_test(test_stateful_attempts_are_redeliveries_counted_by_message_id),
        listening_test(test_stateful_counts_each_id_for_itself),
        listening_test(test_stateful_message_without_id_is_recovered_when_it_comes_again),
        listening_test(test_stateful_on_a_quorum_queue_needs_no_message_id),
        listening_test(test_stateful_success_forgets_the_count),
        listening_test(test_stateful_recovery_forgets_the_count),
        listening_test(test_forged_deaths_do_not_make_the_attempt_overflow),
        listening_test(test_without_retry_a_failure_that_comes_again_is_held_back_longer_each_time),
        listening_test(test_delivery_limit_ends_failing_in_the_dead_letter_queue),
        listening_test(test_delivery_limit_ends_requeueing_in_the_dead_letter_queue),
    };
    return test_run_with_workers("retry", tests, test_client_setup, test_client_teardown);
}
