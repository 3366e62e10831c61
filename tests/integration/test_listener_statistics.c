/* SPDX-License-Identifier: MIT */
/* What a listener counts: each scenario makes exactly the numbers it names, and all others stay zero. */
#include "support/container_fixture.h"

#include "base/base.h"

#include <stdio.h>
#include <unistd.h>

static uint64_t in_buckets(const coney_listener_statistics *statistics)
{
    uint64_t sum = 0;
    for (int i = 0; i < CONEY_HANDLER_TIME_BUCKETS; i++)
        sum += statistics->handler_times[i];
    return sum;
}

static bool is_settled(const coney_listener_statistics *expected)
{
    const coney_listener_statistics now = test_statistics(NULL);
    return now.received >= expected->received && in_buckets(&now) >= expected->handled &&
           test_statistics(NULL).in_progress == expected->in_progress;
}

/* Waits until nothing is going on, then compares all but the times. */
static void expect_statistics(const coney_listener_statistics *expected)
{
    test_wait_until(is_settled(expected));
    const coney_listener_statistics got = test_statistics(NULL);
#define expect_same(counter)                                                                                           \
    if (got.counter != expected->counter)                                                                              \
    fail_msg("%s is %llu, not %llu", #counter, (unsigned long long)got.counter, (unsigned long long)expected->counter)
    expect_same(received);
    expect_same(acknowledged);
    expect_same(rejected);
    expect_same(requeued);
    expect_same(retried);
    expect_same(republished);
    expect_same(exhausted);
    expect_same(discarded);
    expect_same(filtered);
    expect_same(failed);
    expect_same(fatal);
    expect_same(stale);
    expect_same(handled);
    assert_int_equal(in_buckets(&got), got.handled);
}

static void start(const coney_listener *listener)
{
    test_use_container(NULL);
    test_listen(listener);
    assert_ok(coney_container_start(here.container));
}

static void send_broken(const char *queue)
{
    coney_message *broken;
    assert_ok(coney_message_new(&broken, "{", 1, &(coney_properties){.content_type = "application/json"}));
    assert_ok(coney_template_send(client.sender, queue, broken, NULL));
    coney_message_unref(broken);
}

/* ---- outcomes ---- */

static void test_nothing_is_counted_before_anything_comes(void **state)
{
    (void)state;
    start(&(coney_listener){.prefetch = 1});
    expect_statistics(&(coney_listener_statistics){0});
    assert_int_equal(test_statistics(NULL).handler_us, 0);
}

static void test_acknowledged_messages(void **state)
{
    (void)state;
    start(&(coney_listener){.concurrency = 2});
    test_send(here.queue, 20);
    expect_statistics(&(coney_listener_statistics){.received = 20, .acknowledged = 20, .handled = 20});
}

static void test_rejected_messages_are_failures_of_the_handler(void **state)
{
    (void)state;
    here.handler.outcome = CONEY_REJECT;
    start(&(coney_listener){.prefetch = 1});
    test_send(here.queue, 3);
    expect_statistics(&(coney_listener_statistics){.received = 3, .rejected = 3, .failed = 3, .handled = 3});
}

static coney_outcome requeue_first(coney_delivery *delivery, void *user)
{
    (void)user;
    return coney_message_redelivered(coney_delivery_message(delivery)) ? CONEY_ACK : CONEY_REQUEUE;
}

static coney_outcome retry_first(coney_delivery *delivery, void *user)
{
    (void)user;
    return coney_message_redelivered(coney_delivery_message(delivery)) ? CONEY_ACK : CONEY_RETRY;
}

static void test_requeued_messages_are_received_again(void **state)
{
    (void)state;
    start(&(coney_listener){.on_message = requeue_first});
    test_send(here.queue, 4);
    expect_statistics(
        &(coney_listener_statistics){.received = 8, .requeued = 4, .acknowledged = 4, .failed = 4, .handled = 8});
}

static void test_retry_without_attempts_in_place_counts_as_requeued(void **state)
{
    (void)state;
    start(&(coney_listener){.on_message = retry_first});
    test_send(here.queue, 2);
    expect_statistics(
        &(coney_listener_statistics){.received = 4, .requeued = 2, .acknowledged = 2, .failed = 2, .handled = 4});
}

/* ---- retry and recovery ---- */

static void test_attempts_in_place_are_retried_and_the_last_one_recovers(void **state)
{
    (void)state;
    here.handler.outcome = CONEY_RETRY;
    start(&(coney_listener){.retry = {.max_attempts = 3, .first_delay_ms = 1}});
    test_send(here.queue, 2);
    expect_statistics(&(coney_listener_statistics){
        .received = 2, .retried = 4, .failed = 6, .handled = 6, .exhausted = 2, .rejected = 2});
}

static void test_message_recovered_elsewhere_is_republished_and_acknowledged(void **state)
{
    (void)state;
    here.handler.outcome = CONEY_RETRY;
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = here.other}, NULL));
    start(&(coney_listener){
        .retry = {.max_attempts = 1, .exhausted = CONEY_EXHAUSTED_REPUBLISH, .routing_key = here.other}});
    test_send(here.queue, 2);
    test_wait_for_depth(here.other, 2);
    expect_statistics(&(coney_listener_statistics){
        .received = 2, .failed = 2, .handled = 2, .exhausted = 2, .republished = 2, .acknowledged = 2});
}

static void test_rounds_of_the_ladder_are_republished_and_received_again(void **state)
{
    (void)state;
    char rung[320];
    snprintf(rung, sizeof rung, "%s.retry.10", here.queue);
    here.handler.outcome = CONEY_RETRY;
    start(&(coney_listener){.retry = {.delays_ms = {10}, .parking_queue = here.other}});
    test_send(here.queue, 1);
    test_wait_for_depth(here.other, 1);
    expect_statistics(&(coney_listener_statistics){
        .received = 2, .failed = 2, .handled = 2, .exhausted = 1, .republished = 2, .acknowledged = 2});
    assert_ok(coney_container_stop(here.container));
    test_delete_queue(rung);
}

/* ---- what no handler gets ---- */

static bool is_for_us(const coney_message *message, void *user)
{
    (void)user;
    return strcmp(coney_message_body(message), "0") == 0;
}

static void test_filtered_messages_are_acknowledged_and_no_handler_is_called(void **state)
{
    (void)state;
    start(&(coney_listener){.filter = is_for_us});
    test_send(here.queue, 5);
    expect_statistics(&(coney_listener_statistics){.received = 5, .filtered = 4, .acknowledged = 5, .handled = 1});
    assert_int_equal(here.handler.calls, 1);
}

static coney_status discard(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)exchange;
    (void)routing_key;
    (void)user;
    *message = NULL;
    return CONEY_OK;
}

static void test_messages_that_a_processor_discards_are_filtered(void **state)
{
    (void)state;
    start(&(coney_listener){.prefetch = 1});
    assert_ok(
        coney_container_add_after_receive(here.container, &(coney_processor){.name = "discard", .process = discard}));
    test_send(here.queue, 3);
    expect_statistics(&(coney_listener_statistics){.received = 3, .filtered = 3, .acknowledged = 3});
}

static void test_unreadable_messages_are_fatal_and_rejected(void **state)
{
    (void)state;
    start(&(coney_listener){.converter = coney_json_converter()});
    send_broken(here.queue);
    send_broken(here.queue);
    expect_statistics(&(coney_listener_statistics){.received = 2, .fatal = 2, .rejected = 2});
}

static void test_unreadable_messages_that_come_round_are_discarded(void **state)
{
    (void)state;
    const coney_queue queue = {.name = here.queue, .dead_letter_exchange = "", .dead_letter_routing_key = here.other};
    const coney_queue dead_letters = {
        .name = here.other, .message_ttl_ms = 1, .dead_letter_exchange = "", .dead_letter_routing_key = here.queue};
    test_delete_queue(here.queue);
    assert_ok(coney_admin_declare_queue(client.admin, &queue, NULL));
    assert_ok(coney_admin_declare_queue(client.admin, &dead_letters, NULL));
    start(&(coney_listener){.converter = coney_json_converter()});
    send_broken(here.queue);
    expect_statistics(
        &(coney_listener_statistics){.received = 2, .fatal = 2, .rejected = 1, .discarded = 1, .acknowledged = 1});
}

/* ---- losses, and what is in progress ---- */

static void test_message_whose_channel_is_gone_is_stale_and_not_acknowledged(void **state)
{
    (void)state;
    here.handler.holds = 1;
    start(&(coney_listener){.prefetch = 10});
    test_send(here.queue, 3);
    test_wait_for(&here.handler.calls, 1);
    test_stop_in_background(CONEY_STOP_NOW, 0);
    test_wait_for_depth(here.queue, 3);
    here.handler.holds = 0;
    assert_ok(test_background_end());
    expect_statistics(&(coney_listener_statistics){.received = 1, .stale = 1, .handled = 1});
    assert_ok(coney_container_start(here.container)); /* it goes on counting */
    expect_statistics(&(coney_listener_statistics){.received = 4, .stale = 1, .handled = 4, .acknowledged = 3});
}

static void test_messages_in_a_handler_are_in_progress(void **state)
{
    (void)state;
    here.handler.holds = 1;
    start(&(coney_listener){.concurrency = 2, .prefetch = 1});
    test_send(here.queue, 2);
    test_wait_for(&here.handler.calls, 2);
    expect_statistics(&(coney_listener_statistics){.received = 2, .in_progress = 2});
    here.handler.holds = 0;
    expect_statistics(&(coney_listener_statistics){.received = 2, .acknowledged = 2, .handled = 2});
}

static void test_message_that_waits_for_another_attempt_is_in_progress(void **state)
{
    (void)state;
    here.handler.outcome = CONEY_RETRY;
    start(&(coney_listener){.retry = {.max_attempts = 2, .first_delay_ms = 10000}});
    test_send(here.queue, 1);
    test_wait_until(test_statistics(NULL).retried == 1);
    expect_statistics(
        &(coney_listener_statistics){.received = 1, .in_progress = 1, .retried = 1, .failed = 1, .handled = 1});
}

enum { DEFERRED = 3 };
static coney_delivery *kept[DEFERRED];

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    test_handler *handler = user;
    kept[handler->calls] = coney_delivery_ref(delivery);
    atomic_fetch_add(&handler->calls, 1);
    return CONEY_DEFER;
}

static void test_deferred_deliveries_are_in_progress_until_they_are_settled_and_let_go(void **state)
{
    (void)state;
    start(&(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    test_send(here.queue, DEFERRED);
    test_wait_for(&here.handler.calls, DEFERRED);
    expect_statistics(&(coney_listener_statistics){.received = 3, .in_progress = 3, .handled = 3});
    static const coney_outcome outcomes[DEFERRED] = {CONEY_ACK, CONEY_REJECT, CONEY_ACK};
    for (int i = 0; i < DEFERRED; i++) {
        assert_ok(coney_delivery_settle(kept[i], outcomes[i]));
        coney_delivery_unref(kept[i]);
    }
    expect_statistics(&(coney_listener_statistics){.received = 3, .acknowledged = 2, .rejected = 1, .handled = 3});
}

/* ---- times ---- */

static coney_outcome take_so_long(coney_delivery *delivery, void *user)
{
    (void)user;
    const int64_t us = strcmp(coney_message_body(coney_delivery_message(delivery)), "0") == 0 ? 2000 : 120000;
    for (int64_t until = cny_now_us() + us; cny_now_us() < until;)
        usleep(500);
    return CONEY_ACK;
}

/* How long a handler takes at least is known, how long at most depends on the machine. */
static void test_handler_times_are_in_their_buckets(void **state)
{
    (void)state;
    start(&(coney_listener){.on_message = take_so_long});
    test_send(here.queue, 2);
    expect_statistics(&(coney_listener_statistics){.received = 2, .acknowledged = 2, .handled = 2});
    const coney_listener_statistics got = test_statistics(NULL);
    assert_int_equal(got.handler_times[0] + got.handler_times[1], 0); /* up to 1 ms */
    assert_true(got.handler_times[4] + got.handler_times[5] >= 1);    /* more than 100 ms */
    assert_true(got.handler_us >= 122000);
}

/* ---- asking ---- */

static void test_two_listeners_of_one_queue_count_for_themselves(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.id = "a"});
    test_listen(&(coney_listener){.id = "b"});
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 20);
    test_wait_until(test_statistics("a").acknowledged + test_statistics("b").acknowledged == 20);
    assert_int_equal(test_statistics("a").acknowledged, 10); /* the broker takes turns */
    assert_ok(coney_container_unlisten(here.container, "a"));
    test_listen(&(coney_listener){.id = "a"});
    assert_int_equal(test_statistics("a").received, 0);
    coney_listener_statistics statistics;
    assert_int_equal(coney_container_statistics(NULL, "a", &statistics), CONEY_E_INVALID);
    assert_int_equal(coney_container_statistics(here.container, NULL, &statistics), CONEY_E_INVALID);
    assert_int_equal(coney_container_statistics(here.container, "a", NULL), CONEY_E_INVALID);
    assert_int_equal(coney_container_list(here.container, NULL, NULL), CONEY_E_INVALID);
}

int main(void)
{
#define statistics_test(test) cmocka_unit_test_setup_teardown(test, test_listening_setup, test_listening_teardown)
    const struct CMUnitTest tests[] = {
        statistics_test(test_nothing_is_counted_before_anything_comes),
        statistics_test(test_acknowledged_messages),
        statistics_test(test_rejected_messages_are_failures_of_the_handler),
        statistics_test(test_requeued_messages_are_received_again),
        statistics_test(test_retry_without_attempts_in_place_counts_as_requeued),
        statistics_test(test_attempts_in_place_are_retried_and_the_last_one_recovers),
        statistics_test(test_message_recovered_elsewhere_is_republished_and_acknowledged),
        statistics_test(test_rounds_of_the_ladder_are_republished_and_received_again),
        statistics_test(test_filtered_messages_are_acknowledged_and_no_handler_is_called),
        statistics_test(test_messages_that_a_processor_discards_are_filtered),
        statistics_test(test_unreadable_messages_are_fatal_and_rejected),
        statistics_test(test_unreadable_messages_that_come_round_are_discarded),
        statistics_test(test_message_whose_channel_is_gone_is_stale_and_not_acknowledged),
        statistics_test(test_messages_in_a_handler_are_in_progress),
        statistics_test(test_message_that_waits_for_another_attempt_is_in_progress),
        statistics_test(test_deferred_deliveries_are_in_progress_until_they_are_settled_and_let_go),
        statistics_test(test_handler_times_are_in_their_buckets),
        statistics_test(test_two_listeners_of_one_queue_count_for_themselves),
    };
    return test_run_with_workers("listener statistics", tests, test_client_setup, test_client_teardown);
}
