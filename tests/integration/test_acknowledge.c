/* SPDX-License-Identifier: MIT */
/* Acknowledging on a real broker: by the handler's outcome, by the program, or not at all. */
#include "support/elapsed.h"
#include "support/test_support.h"

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>

enum { MANY = 300 };

static char queue[200], dead_queue[256];
static coney_container *container;

/* What handlers do and have seen; reset for each test. */
static struct {
    _Atomic(coney_outcome) outcome, later_outcome; /* later: of what comes again; 0: the same */
    atomic_int handled, again;
    atomic_int times[MANY]; /* each number was handled so often */
    atomic_int stopped, stopped_fatally;
} seen;

static int setup(void **state)
{
    static int tests;
    (void)state;
    memset((void *)&seen, 0, sizeof seen);
    atomic_store(&seen.outcome, CONEY_ACK);
    snprintf(queue, sizeof queue, "%s.%d", test_name("acknowledge"), ++tests);
    snprintf(dead_queue, sizeof dead_queue, "%s.dead", queue);
    test_make_queue(dead_queue);
    const coney_queue options = {.name = queue, .dead_letter_exchange = "", .dead_letter_routing_key = dead_queue};
    assert_ok(coney_admin_declare_queue(client.admin, &options, NULL));
    return 0;
}

static int teardown(void **state)
{
    coney_container_free(container);
    container = NULL;
    test_log_stop();
    test_delete_queue(queue);
    test_delete_queue(dead_queue);
    return test_no_failed_checks(state);
}

static void on_event(const coney_container_event *event, void *user)
{
    (void)user;
    if (event->kind != CONEY_CONTAINER_STOPPED)
        return;
    if (event->fatal) {
        check(event->status == CONEY_E_STATE);
        check(strstr(event->text, "nobody here can"));
        atomic_fetch_add(&seen.stopped_fatally, 1);
    }
    atomic_fetch_add(&seen.stopped, 1);
}

static void start(coney_listener listener, int shutdown_timeout_ms)
{
    const coney_container_options options = {
        .name = "tests", .workers = test_workers, .shutdown_timeout_ms = shutdown_timeout_ms, .on_event = on_event};
    listener.queue = queue;
    listener.id = "it";
    assert_ok(coney_container_new(&container, client.factory, &options));
    assert_ok(coney_container_listen(container, &listener));
    assert_ok(coney_container_start(container));
}

/* Nothing is left, neither ready nor, once the consumers are gone, unacknowledged. */
static void stop_and_expect_empty(void)
{
    assert_ok(coney_container_stop(container));
    test_wait_for_consumers(queue, 0);
    test_wait_for_depth(queue, 0);
}

static coney_listener_statistics statistics(void)
{
    coney_listener_statistics now;
    assert_ok(coney_container_statistics(container, "it", &now));
    return now;
}

/* ---- AUTO ---- */

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)user;
    const coney_message *message = coney_delivery_message(delivery);
    long number = strtol(coney_message_body(message), NULL, 10);
    check(number >= 0 && number < MANY);
    atomic_fetch_add(&seen.times[number], 1);
    bool again = coney_message_redelivered(message);
    coney_outcome later = atomic_load(&seen.later_outcome);
    coney_outcome outcome = again && later ? later : atomic_load(&seen.outcome);
    if (again)
        atomic_fetch_add(&seen.again, 1);
    atomic_fetch_add(&seen.handled, 1);
    return outcome == CONEY_STOP ? coney_delivery_fail(delivery, outcome, "nobody here can") : outcome;
}

static void test_ack_takes_messages_off_the_queue(void **state)
{
    (void)state;
    test_send_numbers(queue, 5);
    start((coney_listener){.on_message = handle}, 0);
    test_wait_for(&seen.handled, 5);
    stop_and_expect_empty();
    test_wait_for_depth(dead_queue, 0);
    assert_int_equal(seen.again, 0);
}

static void test_reject_sends_messages_to_the_dead_letter_exchange(void **state)
{
    (void)state;
    seen.outcome = CONEY_REJECT;
    test_send_numbers(queue, 5);
    start((coney_listener){.on_message = handle}, 0);
    test_wait_for_depth(dead_queue, 5);
    stop_and_expect_empty();
    assert_int_equal(seen.handled, 5);
    assert_int_equal(statistics().rejected, 5);
}

static void expect_second_delivery(coney_outcome first)
{
    seen.outcome = first;
    seen.later_outcome = CONEY_ACK;
    test_send_numbers(queue, 5);
    start((coney_listener){.on_message = handle}, 0);
    test_wait_for(&seen.again, 5);
    stop_and_expect_empty();
    assert_int_equal(seen.handled, 10);
    for (int i = 0; i < 5; i++)
        assert_int_equal(seen.times[i], 2);
    test_wait_for_depth(dead_queue, 0);
    assert_int_equal(statistics().requeued, 5);
}

static void test_requeue_delivers_again(void **state)
{
    (void)state;
    expect_second_delivery(CONEY_REQUEUE);
}

static void test_retry_without_options_delivers_again(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    expect_second_delivery(CONEY_RETRY);
}

static void test_stop_puts_all_back_and_stops_the_container(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    start((coney_listener){.on_message = handle}, 0);
    seen.outcome = CONEY_STOP;
    test_send_numbers(queue, 5);
    test_wait_for_consumers(queue, 0);
    test_wait_for(&seen.stopped, 1);
    test_wait_for_depth(queue, 5);
    assert_int_equal(seen.stopped_fatally, 1);
    test_log_expect("nobody here can");
    assert_int_equal(seen.handled, 1); /* those behind it get to no handler */
}

static void test_health_tells_of_the_outcome_stop_until_the_next_start(void **state)
{
    (void)state;
    coney_health health;
    test_log_start(CONEY_LOG_OFF);
    start((coney_listener){.on_message = handle}, 0);
    seen.outcome = CONEY_STOP;
    test_send_numbers(queue, 1);
    test_wait_for(&seen.stopped, 1);
    assert_ok(coney_container_health(container, &health));
    assert_false(health.live);
    assert_false(health.ready);
    assert_int_equal(health.status, CONEY_E_STATE);
    assert_non_null(strstr(health.reason, "nobody here can"));
    assert_fails(coney_container_check(container), CONEY_E_STATE, "CONEY_STOP");
    seen.outcome = CONEY_ACK;
    assert_ok(coney_container_start(container));
    assert_ok(coney_container_check(container));
    test_wait_for(&seen.handled, 2);
    stop_and_expect_empty();
}

static void test_acks_sent_together_cover_every_message(void **state)
{
    (void)state;
    test_send_numbers(queue, 10);
    start((coney_listener){.on_message = handle, .ack_every = 4, .ack_after_ms = 100, .prefetch = 4}, 0);
    test_wait_for(&seen.handled, 10); /* needs acknowledgements, for the broker sends four at most */
    stop_and_expect_empty();
    assert_int_equal(seen.again, 0);
    assert_int_equal(statistics().acknowledged, 10);
}

/* ---- what comes again and again ---- */

static void expect_brake(coney_outcome outcome)
{
    enum {
        TIMES = 5,
        AT_LEAST_MS = 600,
        MARGIN_MS = 20
    }; /* 100, 200 and 400 of them, between the second and the last */
    test_log_start(CONEY_LOG_INFO);
    seen.outcome = outcome;
    test_send_numbers(queue, 1);
    int64_t began = cny_now_ms();
    start((coney_listener){.on_message = handle}, 0);
    test_wait_until(atomic_load(&seen.handled) >= TIMES);
    test_expect_elapsed(began, AT_LEAST_MS - MARGIN_MS, 5000);
    assert_int_in_range(test_log_count("message '(without id)'"), 0, 2 + (cny_now_ms() - began) / 1000);
    assert_int_equal(test_log_count("error: "), 0);
    assert_ok(coney_container_stop_with(container, CONEY_STOP_FINISH, 0));
    test_wait_for_depth(queue, 1);
}

static void test_message_requeued_each_time_does_not_go_round_at_full_speed(void **state)
{
    (void)state;
    expect_brake(CONEY_REQUEUE);
}

static void test_message_failing_each_time_does_not_go_round_at_full_speed(void **state)
{
    (void)state;
    expect_brake(CONEY_RETRY);
}

static void test_message_of_a_listener_with_lanes_does_not_go_round_at_full_speed(void **state)
{
    (void)state;
    enum { TIMES = 5 };
    seen.outcome = CONEY_REQUEUE;
    test_send_numbers(queue, 1);
    int64_t began = cny_now_ms();
    start((coney_listener){.on_message = handle, .lanes = 4}, 0);
    test_wait_until(atomic_load(&seen.handled) >= TIMES);
    test_expect_elapsed(began, 580, 5000);
}

/* ---- every mode, few and many messages, one consumer and four ---- */

static coney_outcome handle_and_settle(coney_delivery *delivery, void *user)
{
    handle(delivery, user);
    check(coney_delivery_settle(delivery, CONEY_ACK) == CONEY_OK);
    return CONEY_DEFER;
}

static void expect_each_once(coney_listener listener)
{
    static const int counts[] = {1, 10, MANY}, concurrencies[] = {1, 4};
    for (size_t i = 0; i < COUNT_OF(counts) * COUNT_OF(concurrencies); i++) {
        int count = counts[i / COUNT_OF(concurrencies)];
        memset((void *)&seen.times, 0, sizeof seen.times);
        atomic_store(&seen.handled, 0);
        listener.concurrency = concurrencies[i % COUNT_OF(concurrencies)];
        start(listener, 0);
        test_send_numbers(queue, count);
        test_wait_for(&seen.handled, count);
        stop_and_expect_empty();
        assert_int_equal(seen.handled, count);
        for (int k = 0; k < count; k++)
            assert_int_equal(seen.times[k], 1);
        assert_int_equal(statistics().acknowledged, count);
        coney_container_free(container);
        container = NULL;
    }
    test_wait_for_depth(dead_queue, 0);
}

static void test_each_is_handled_once_with_auto(void **state)
{
    (void)state;
    expect_each_once((coney_listener){.on_message = handle});
}

static void test_each_is_handled_once_with_auto_and_transactions(void **state)
{
    (void)state;
    expect_each_once((coney_listener){.on_message = handle, .transacted = true});
}

static void test_each_is_handled_once_with_auto_and_acks_together(void **state)
{
    (void)state;
    expect_each_once((coney_listener){.on_message = handle, .ack_every = 7});
}

static void test_each_is_handled_once_with_auto_and_lanes(void **state)
{
    (void)state;
    expect_each_once((coney_listener){.on_message = handle, .lanes = 3});
}

static void test_each_is_handled_once_with_manual(void **state)
{
    (void)state;
    expect_each_once((coney_listener){.on_message = handle_and_settle, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
}

static void test_each_is_handled_once_with_manual_and_outcomes(void **state)
{
    (void)state;
    expect_each_once((coney_listener){.on_message = handle, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
}

static void test_each_is_handled_once_with_none(void **state)
{
    (void)state;
    expect_each_once((coney_listener){.on_message = handle, .acknowledge = CONEY_ACKNOWLEDGE_NONE});
}

static void test_what_fails_is_lost_with_none_and_the_log_says_so(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    seen.outcome = CONEY_REQUEUE;
    start((coney_listener){.on_message = handle, .acknowledge = CONEY_ACKNOWLEDGE_NONE}, 0);
    test_send_numbers(queue, 3);
    test_wait_for(&seen.handled, 3);
    stop_and_expect_empty();
    test_wait_for_depth(dead_queue, 0);
    test_log_expect("is lost");
}

int main(void)
{
#define own_queues(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        own_queues(test_ack_takes_messages_off_the_queue),
        own_queues(test_reject_sends_messages_to_the_dead_letter_exchange),
        own_queues(test_requeue_delivers_again),
        own_queues(test_retry_without_options_delivers_again),
        own_queues(test_stop_puts_all_back_and_stops_the_container),
        own_queues(test_health_tells_of_the_outcome_stop_until_the_next_start),
        own_queues(test_acks_sent_together_cover_every_message),
        own_queues(test_message_requeued_each_time_does_not_go_round_at_full_speed),
        own_queues(test_message_failing_each_time_does_not_go_round_at_full_speed),
        own_queues(test_message_of_a_listener_with_lanes_does_not_go_round_at_full_speed),
        own_queues(test_each_is_handled_once_with_auto),
        own_queues(test_each_is_handled_once_with_auto_and_transactions),
        own_queues(test_each_is_handled_once_with_auto_and_acks_together),
        own_queues(test_each_is_handled_once_with_auto_and_lanes),
        own_queues(test_each_is_handled_once_with_manual),
        own_queues(test_each_is_handled_once_with_manual_and_outcomes),
        own_queues(test_each_is_handled_once_with_none),
        own_queues(test_what_fails_is_lost_with_none_and_the_log_says_so),
    };
    return test_run_with_workers("acknowledge", tests, test_client_setup, test_client_teardown);
}
