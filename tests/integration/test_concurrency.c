/* SPDX-License-Identifier: MIT */
/* How many consumers there are, as the broker counts them, and what each of them gets: elasticity, prefetch, priority,
 * exclusive and single active consumers, tags and arguments. */
#include "support/test_support.h"

#include "base/base.h"

#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

static char queue[200];
static coney_container *container, *other; /* two, where they compete */

static atomic_int handled[2]; /* by the one, by the other */
static atomic_int permits;    /* handlers that hold need one each */

static int setup(void **state)
{
    static int tests;
    (void)state;
    atomic_store(&handled[0], 0);
    atomic_store(&handled[1], 0);
    atomic_store(&permits, 0);
    snprintf(queue, sizeof queue, "%s.%d", test_name("concurrency"), ++tests);
    test_make_queue(queue);
    return 0;
}

static int teardown(void **state)
{
    atomic_store(&permits, 1000000);
    coney_container_free(container);
    coney_container_free(other);
    container = other = NULL;
    test_log_stop();
    test_delete_queue(queue);
    return test_no_failed_checks(state);
}

/* `user` is one of the counters. */
static coney_outcome count(coney_delivery *delivery, void *user)
{
    (void)delivery;
    atomic_fetch_add((atomic_int *)user, 1);
    return CONEY_ACK;
}

static coney_outcome hold(coney_delivery *delivery, void *user)
{
    (void)delivery;
    atomic_fetch_add((atomic_int *)user, 1);
    for (int left = atomic_load(&permits); left <= 0 || !atomic_compare_exchange_weak(&permits, &left, left - 1);
         left = atomic_load(&permits))
        usleep(1000);
    return CONEY_ACK;
}

static coney_container *make(coney_listener listener, atomic_int *counter)
{
    const coney_container_options options = {
        .name = "tests", .workers = test_workers, .resubscribe_interval_ms = 100, .shutdown_timeout_ms = 8000};
    coney_container *made;
    listener.queue = queue;
    listener.id = "it";
    listener.user = counter;
    if (!listener.on_message)
        listener.on_message = count;
    assert_ok(coney_container_new(&made, client.factory, &options));
    assert_ok(coney_container_listen(made, &listener));
    return made;
}

static void start(coney_listener listener)
{
    container = make(listener, &handled[0]);
    assert_ok(coney_container_start(container));
}

static void start_other(coney_listener listener)
{
    other = make(listener, &handled[1]);
    assert_ok(coney_container_start(other));
}

static uint32_t consumers_now(void)
{
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(client.admin, queue, &info));
    return info.consumer_count;
}

/* ---- how many ---- */

static void test_broker_sees_as_many_consumers_as_asked_for(void **state)
{
    (void)state;
    coney_health health;
    start((coney_listener){.concurrency = 5});
    assert_int_equal(consumers_now(), 5);
    assert_ok(coney_container_health(container, &health));
    assert_int_equal(health.consumers, 5);
    assert_int_equal(health.wanted, 5);
    assert_ok(coney_container_stop(container));
    test_wait_for_consumers(queue, 0);
}

static void test_concurrency_is_one_unless_said_otherwise(void **state)
{
    (void)state;
    start((coney_listener){.concurrency = 0});
    assert_int_equal(consumers_now(), 1);
}

static void test_consumers_follow_set_concurrency(void **state)
{
    (void)state;
    start((coney_listener){.concurrency = 4});
    assert_int_equal(consumers_now(), 4);
    assert_ok(coney_container_set_concurrency(container, "it", 1, 0));
    test_wait_for_consumers(queue, 1);
    assert_ok(coney_container_set_concurrency(container, "it", 2, 0));
    test_wait_for_consumers(queue, 2);
    test_wait_until(coney_container_check(container) == CONEY_OK);
    test_send_numbers(queue, 20);
    test_wait_for(&handled[0], 20);
}

static void test_consumer_too_many_finishes_its_message_and_returns_the_rest(void **state)
{
    (void)state;
    test_send_numbers(queue, 10);
    start((coney_listener){.on_message = hold, .concurrency = 2, .prefetch = 5});
    test_wait_for(&handled[0], 2);
    test_log_start(CONEY_LOG_OFF);
    assert_ok(coney_container_set_concurrency(container, "it", 1, 1));
    atomic_store(&permits, 10);
    test_wait_for(&handled[0], 10); /* none twice */
    test_wait_for_consumers(queue, 1);
    test_wait_for_depth(queue, 0);
    assert_ok(coney_container_stop(container));
    test_wait_for_depth(queue, 0);
    assert_int_equal(handled[0], 10);
}

static void test_set_concurrency_is_checked(void **state)
{
    (void)state;
    start((coney_listener){.concurrency = 1});
    assert_fails(coney_container_set_concurrency(container, "it", 0, 0), CONEY_E_INVALID, "concurrency 0 to 0");
    assert_fails(coney_container_set_concurrency(container, "it", 3, 2), CONEY_E_INVALID, "concurrency 3 to 2");
    assert_fails(coney_container_set_concurrency(container, "it", 1, 2001), CONEY_E_INVALID, "1 to 2000 are");
    assert_fails(coney_container_set_concurrency(container, "he", 1, 0), CONEY_E_NOT_FOUND, "no listener 'he'");
    assert_fails(coney_container_set_concurrency(container, NULL, 1, 0), CONEY_E_INVALID, "NULL");
    assert_int_equal(consumers_now(), 1);
}

/* ---- elasticity ---- */

enum { CYCLE_MS = 20, CYCLES_TO_WATCH = 20 };

static const coney_elasticity quick = {.cycle_ms = CYCLE_MS,
                                       .active_trigger = 2,
                                       .idle_trigger = 2,
                                       .grow_interval_ms = CYCLE_MS,
                                       .shrink_interval_ms = CYCLE_MS};

static void expect_to_stay_at(uint32_t consumers)
{
    for (int64_t until = cny_now_ms() + (int64_t)CYCLES_TO_WATCH * CYCLE_MS; cny_now_ms() < until;)
        assert_int_equal(consumers_now(), consumers);
}

static void test_elastic_listener_grows_under_load_to_its_maximum_and_shrinks_when_idle(void **state)
{
    (void)state;
    start((coney_listener){
        .on_message = hold, .concurrency = 1, .max_concurrency = 3, .elasticity = quick, .prefetch = 1});
    expect_to_stay_at(1); /* idle */
    test_send_numbers(queue, 10);
    test_wait_for_consumers(queue, 3);
    expect_to_stay_at(3);
    atomic_store(&permits, 10);
    test_wait_for(&handled[0], 10);
    test_wait_for_consumers(queue, 1);
    expect_to_stay_at(1);
}

static void test_set_concurrency_makes_a_listener_elastic(void **state)
{
    (void)state;
    start((coney_listener){.on_message = hold, .concurrency = 1, .elasticity = quick, .prefetch = 1});
    test_send_numbers(queue, 10);
    expect_to_stay_at(1);
    assert_ok(coney_container_set_concurrency(container, "it", 1, 2));
    test_wait_for_consumers(queue, 2);
    atomic_store(&permits, 10);
    test_wait_for_consumers(queue, 1);
    test_wait_for(&handled[0], 10);
}

/* ---- prefetch ---- */

static void test_broker_sends_no_more_than_prefetch_unacknowledged(void **state)
{
    (void)state;
    enum { MESSAGES = 10, PREFETCH = 3 };
    test_send_numbers(queue, MESSAGES);
    start((coney_listener){.on_message = hold, .prefetch = PREFETCH});
    for (int done = 0; done < MESSAGES - PREFETCH; done++) {
        test_wait_for(&handled[0], done + 1);
        test_wait_for_depth(queue, (uint32_t)(MESSAGES - PREFETCH - done));
        atomic_fetch_add(&permits, 1);
    }
    atomic_store(&permits, MESSAGES);
    test_wait_for(&handled[0], MESSAGES);
}

static void test_each_consumer_has_a_prefetch_of_its_own(void **state)
{
    (void)state;
    test_send_numbers(queue, 10);
    start((coney_listener){.on_message = hold, .prefetch = 2, .concurrency = 3});
    test_wait_for_depth(queue, 4);
    atomic_store(&permits, 10);
    test_wait_for(&handled[0], 10);
}

/* ---- who gets them ---- */

/* One after another, so that whoever is preferred is free each time. */
static void send_each_when_the_last_is_handled(int count_before, int messages)
{
    for (int i = 1; i <= messages; i++) {
        test_send_numbers(queue, 1);
        test_wait_until(atomic_load(&handled[0]) + atomic_load(&handled[1]) == count_before + i);
    }
}

static void test_consumers_of_a_higher_priority_are_served_first(void **state)
{
    (void)state;
    start((coney_listener){.priority = -5});
    start_other((coney_listener){.priority = 5});
    send_each_when_the_last_is_handled(0, 10);
    assert_int_equal(handled[0], 0);
    assert_int_equal(handled[1], 10);
}

static void test_consumers_of_one_priority_take_turns(void **state)
{
    (void)state;
    start((coney_listener){.prefetch = 10});
    start_other((coney_listener){.prefetch = 10});
    send_each_when_the_last_is_handled(0, 10);
    assert_int_in_range(handled[0], 1, 9);
}

static void test_exclusive_listener_waits_for_another_and_takes_over(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_DEBUG);
    start((coney_listener){.exclusive = true});
    start_other((coney_listener){.exclusive = true});
    assert_fails(coney_container_check(other), CONEY_E_ACCESS_REFUSED, "exclusive");
    send_each_when_the_last_is_handled(0, 5);
    assert_int_equal(handled[0], 5);
    assert_ok(coney_container_stop(container));
    test_wait_until(coney_container_check(other) == CONEY_OK);
    send_each_when_the_last_is_handled(5, 5);
    assert_int_equal(handled[1], 5);
    test_log_expect("debug: container 'tests': consume from queue");
    assert_int_equal(test_log_count("warn: "), 0);
    assert_int_equal(test_log_count("error: "), 0);
}

static void test_exclusive_listener_has_one_consumer(void **state)
{
    (void)state;
    start((coney_listener){.exclusive = true});
    assert_fails(coney_container_set_concurrency(container, "it", 2, 0), CONEY_E_INVALID, "exclusive");
    assert_int_equal(consumers_now(), 1);
}

static void test_single_active_consumer_is_followed_by_another(void **state)
{
    (void)state;
    test_delete_queue(queue);
    assert_ok(
        coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue, .single_active_consumer = true}, NULL));
    start((coney_listener){.prefetch = 10});
    start_other((coney_listener){.prefetch = 10});
    assert_int_equal(consumers_now(), 2);
    send_each_when_the_last_is_handled(0, 10);
    assert_int_equal(handled[0], 10);
    assert_ok(coney_container_stop(container));
    send_each_when_the_last_is_handled(10, 10);
    assert_int_equal(handled[1], 10);
}

/* ---- tags and arguments ---- */

static atomic_int tags_seen[4];

static coney_outcome note_tag(coney_delivery *delivery, void *user)
{
    static const char *const tags[] = {"orders", "orders.1", "orders.2", "orders.3"};
    bool known = false;
    for (size_t i = 0; i < COUNT_OF(tags); i++) {
        if (strcmp(coney_delivery_consumer_tag(delivery), tags[i]) != 0)
            continue;
        known = true;
        atomic_fetch_add(&tags_seen[i], 1);
    }
    check(known);
    atomic_fetch_add((atomic_int *)user, 1);
    return CONEY_ACK;
}

static void expect_tags(int concurrency)
{
    memset((void *)tags_seen, 0, sizeof tags_seen);
    start((coney_listener){
        .on_message = note_tag, .consumer_tag = "orders", .concurrency = concurrency, .prefetch = 100});
    send_each_when_the_last_is_handled(0, 9);
}

static void test_tag_of_a_single_consumer_is_as_said(void **state)
{
    (void)state;
    expect_tags(1);
    assert_int_equal(tags_seen[0], 9);
}

static void test_tags_of_several_consumers_are_numbered(void **state)
{
    (void)state;
    expect_tags(3);
    assert_int_equal(tags_seen[0], 0);
    for (int i = 1; i <= 3; i++)
        assert_int_in_range(tags_seen[i], 1, 9);
}

static void test_arguments_are_passed_on(void **state)
{
    (void)state;
    test_delete_queue(queue);
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = queue, .kind = CONEY_STREAM}, NULL));
    test_send_numbers(queue, 5);
    coney_table *arguments = coney_table_new();
    assert_ok(coney_table_set_string(arguments, "x-stream-offset", "first"));
    container = make((coney_listener){.arguments = arguments}, &handled[0]);
    coney_table_free(arguments); /* they are copied */
    assert_ok(coney_container_start(container));
    test_wait_for(&handled[0], 5); /* without it only what comes from now on */
}

int main(void)
{
#define own_queue(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        own_queue(test_broker_sees_as_many_consumers_as_asked_for),
        own_queue(test_concurrency_is_one_unless_said_otherwise),
        own_queue(test_consumers_follow_set_concurrency),
        own_queue(test_consumer_too_many_finishes_its_message_and_returns_the_rest),
        own_queue(test_set_concurrency_is_checked),
        own_queue(test_elastic_listener_grows_under_load_to_its_maximum_and_shrinks_when_idle),
        own_queue(test_set_concurrency_makes_a_listener_elastic),
        own_queue(test_broker_sends_no_more_than_prefetch_unacknowledged),
        own_queue(test_each_consumer_has_a_prefetch_of_its_own),
        own_queue(test_consumers_of_a_higher_priority_are_served_first),
        own_queue(test_consumers_of_one_priority_take_turns),
        own_queue(test_exclusive_listener_waits_for_another_and_takes_over),
        own_queue(test_exclusive_listener_has_one_consumer),
        own_queue(test_single_active_consumer_is_followed_by_another),
        own_queue(test_tag_of_a_single_consumer_is_as_said),
        own_queue(test_tags_of_several_consumers_are_numbered),
        own_queue(test_arguments_are_passed_on),
    };
    return test_run_with_workers("concurrency", tests, test_client_setup, test_client_teardown);
}
