/* SPDX-License-Identifier: MIT */
/* Which attempt a message is by what brokers write, as RabbitMQ 3.10, 4.0 and 4.3 were seen to write it, and by what
 * this process remembers. */
#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/memory.h"
#include "support/test_support.h"

#include <stdlib.h>

static cny_handling_context context;
static cny_spec spec;
static cny_handling handling;
static cny_source source;
static coney_table *headers;
static coney_array *deaths;

static int setup(void **state)
{
    (void)state;
    headers = coney_table_new();
    deaths = coney_array_new();
    spec = (cny_spec){.options = {.queue = "here", .prefetch = 1, .max_concurrency = 1}};
    handling = (cny_handling){0};
    source = (cny_source){.handling = &handling};
    if (!headers || !deaths || !cny_handling_init(&handling, &context, &spec))
        return -1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cny_handling_free(&handling);
    coney_array_free(deaths);
    coney_table_free(headers);
    return 0;
}

/* ---- what the broker has written ---- */

static void set_count(const char *name, int64_t count)
{
    if (count > 0)
        assert_ok(coney_table_set_int64(headers, name, count));
}

/* By RabbitMQ 4.3; 0: the header is not there. */
static void set_counts(int64_t delivery, int64_t acquired)
{
    set_count("x-delivery-count", delivery);
    set_count("x-acquired-count", acquired);
}

static void add_deaths(const char *queue, const char *reason, int64_t count)
{
    coney_table *death = coney_table_new();
    assert_ok(coney_table_set_string(death, "queue", queue));
    assert_ok(coney_table_set_string(death, "reason", reason));
    assert_ok(coney_table_set_int64(death, "count", count));
    const coney_value value = {.type = CONEY_TABLE, .as.table = death};
    assert_ok(coney_array_append(deaths, &value));
    assert_ok(coney_table_set_array(headers, "x-death", deaths));
    coney_table_free(death);
}

static void add_rejections(const char *queue, int64_t count)
{
    add_deaths(queue, "rejected", count);
}

static coney_message *redelivered(void)
{
    coney_message *message;
    const coney_properties properties = {.headers = headers, .message_id = "m-1"};
    assert_ok(coney_message_new(&message, "x", 1, &properties));
    message->redelivered = true;
    return message;
}

static void expect_attempt(int attempt)
{
    coney_message *message = redelivered();
    assert_int_equal(cny_earlier_attempts(&source, message) + 1, attempt);
    coney_message_unref(message);
}

static int64_t returns_here(void)
{
    coney_message *message = redelivered();
    int64_t returns = cny_returns_here(&handling, message);
    coney_message_unref(message);
    return returns;
}

static bool has_just_come(void)
{
    coney_message *message = redelivered();
    bool has = cny_has_just_come(message);
    coney_message_unref(message);
    return has;
}

static void note_unseen(int times)
{
    coney_message *message = redelivered();
    for (int i = 0; i < times; i++)
        cny_note_unseen(&handling, message);
    coney_message_unref(message);
}

/* ---- RabbitMQ 4.3 ---- */

static void test_each_counted_return_is_an_attempt(void **state)
{
    (void)state;
    set_counts(2, 2);
    expect_attempt(3);
}

static void test_what_was_given_back_uncounted_is_no_attempt(void **state)
{
    (void)state;
    set_counts(0, 3);
    expect_attempt(1);
}

/* Of the deliveries that this process gave back, the broker has counted none, and so none may be taken off. */
static void test_failures_after_deliveries_that_were_given_back_uncounted_are_attempts(void **state)
{
    (void)state;
    note_unseen(3);
    set_counts(2, 5);
    expect_attempt(3);
}

static void test_deliveries_that_ended_unseen_with_their_channel_are_no_attempts(void **state)
{
    (void)state;
    note_unseen(3);
    set_counts(4, 4);
    expect_attempt(2);
}

static void test_unseen_deliveries_are_taken_off_as_far_as_they_were_counted(void **state)
{
    (void)state;
    note_unseen(3); /* one of them given back, two lost with their channel */
    set_counts(4, 5);
    expect_attempt(3);
}

static void test_rejections_here_are_not_counted_twice(void **state)
{
    (void)state;
    add_rejections("here", 4);
    set_counts(4, 4);
    expect_attempt(5);
}

static void test_rejections_elsewhere_are_no_attempts_here(void **state)
{
    (void)state;
    add_rejections("elsewhere", 2);
    set_counts(2, 2);
    expect_attempt(1);
}

/* They are not in the broker's count. */
static void test_rejections_here_by_a_basic_nack_are_attempts(void **state)
{
    (void)state;
    add_rejections("here", 3);
    set_counts(1, 1);
    expect_attempt(5);
}

/* Twice back to the queue, rejected, and back here once more. */
static void test_returns_since_the_message_came_are_those_that_the_queue_has_acquired(void **state)
{
    (void)state;
    add_rejections("elsewhere", 1);
    set_counts(4, 1);
    assert_false(has_just_come());
    assert_int_equal(returns_here(), 1);
}

static void test_message_from_dead_letters_has_just_come_if_both_counts_are_the_same(void **state)
{
    (void)state;
    add_rejections("elsewhere", 1);
    set_counts(3, 3);
    assert_true(has_just_come());
}

static void test_message_that_met_the_limit_of_another_queue_has_just_come_if_both_counts_are_the_same(void **state)
{
    (void)state;
    add_deaths("elsewhere", "delivery_limit", 1);
    set_counts(4, 4);
    assert_true(has_just_come());
}

static void test_message_that_only_expired_has_not_just_come(void **state)
{
    (void)state;
    add_deaths("elsewhere", "expired", 1);
    set_counts(4, 4);
    assert_false(has_just_come());
}

static void test_message_that_was_never_rejected_has_not_just_come(void **state)
{
    (void)state;
    set_counts(3, 3);
    assert_false(has_just_come());
    assert_int_equal(returns_here(), 3);
}

/* ---- RabbitMQ 3.10 and 4.0 ---- */

static void test_older_brokers_count_returns_beside_rejections(void **state)
{
    (void)state;
    add_rejections("here", 2);
    set_count("x-delivery-count", 1);
    expect_attempt(4);
    assert_int_equal(returns_here(), 1);
    assert_false(has_just_come());
}

static void test_older_brokers_count_each_delivery_that_was_given_back(void **state)
{
    (void)state;
    note_unseen(3);
    set_count("x-delivery-count", 5);
    expect_attempt(3);
}

static void test_rejections_in_the_count_of_rabbitmq_4_0_are_not_counted_twice(void **state)
{
    (void)state;
    assert_ok(coney_table_set_string(headers, "x-last-death-queue", "wait"));
    add_rejections("here", 2);
    set_count("x-delivery-count", 2);
    expect_attempt(3);
}

/* ---- what a publisher has written ---- */

static void test_more_rejections_than_the_broker_has_counted_are_not_taken_off(void **state)
{
    (void)state;
    add_rejections("elsewhere", 50);
    set_counts(2, 2);
    expect_attempt(3);
}

static void test_attempts_grow_whatever_rejections_a_publisher_has_written(void **state)
{
    (void)state;
    enum { MOST = 40, REJECTIONS = 5 };
    coney_message *message;
    int attempt = 0;
    add_rejections("elsewhere", REJECTIONS);
    for (int returns = 1; returns <= MOST; returns++) {
        set_counts(returns, returns);
        message = redelivered();
        attempt = cny_earlier_attempts(&source, message) + 1;
        coney_message_unref(message);
    }
    assert_int_equal(attempt, MOST - REJECTIONS + 1);
    assert_int_equal(returns_here(), MOST - REJECTIONS);
}

int main(void)
{
#define attempts_test(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        attempts_test(test_each_counted_return_is_an_attempt),
        attempts_test(test_what_was_given_back_uncounted_is_no_attempt),
        attempts_test(test_failures_after_deliveries_that_were_given_back_uncounted_are_attempts),
        attempts_test(test_deliveries_that_ended_unseen_with_their_channel_are_no_attempts),
        attempts_test(test_unseen_deliveries_are_taken_off_as_far_as_they_were_counted),
        attempts_test(test_rejections_here_are_not_counted_twice),
        attempts_test(test_rejections_elsewhere_are_no_attempts_here),
        attempts_test(test_rejections_here_by_a_basic_nack_are_attempts),
        attempts_test(test_returns_since_the_message_came_are_those_that_the_queue_has_acquired),
        attempts_test(test_message_from_dead_letters_has_just_come_if_both_counts_are_the_same),
        attempts_test(test_message_that_met_the_limit_of_another_queue_has_just_come_if_both_counts_are_the_same),
        attempts_test(test_message_that_only_expired_has_not_just_come),
        attempts_test(test_message_that_was_never_rejected_has_not_just_come),
        attempts_test(test_older_brokers_count_returns_beside_rejections),
        attempts_test(test_older_brokers_count_each_delivery_that_was_given_back),
        attempts_test(test_rejections_in_the_count_of_rabbitmq_4_0_are_not_counted_twice),
        attempts_test(test_more_rejections_than_the_broker_has_counted_are_not_taken_off),
        attempts_test(test_attempts_grow_whatever_rejections_a_publisher_has_written),
    };
    return cmocka_run_group_tests_name("attempts", tests, NULL, NULL);
}
