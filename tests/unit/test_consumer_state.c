/* SPDX-License-Identifier: MIT */
/* The states of a consumer: what may follow what, and when it is looked at again. */
#include "support/test_support.h"

#include "rabbit/listener/consuming/consumer_state.h"

static const cny_consumer_state waiting[] = {CNY_CONSUMER_BACKS_OFF, CNY_CONSUMER_AWAITS_CONNECTION,
                                             CNY_CONSUMER_AWAITS_QUEUE, CNY_CONSUMER_AWAITS_ISOLATION};
enum { WAITING = sizeof waiting / sizeof *waiting };

static void test_a_new_consumer_tries_at_once(void **state)
{
    (void)state;
    const cny_life life = {0};
    assert_true(cny_life_waits(&life));
    assert_true(cny_life_must_try(&life, 1, false, false));
}

static void test_each_that_waits_may_subscribe_or_wait_for_something_else(void **state)
{
    (void)state;
    for (int i = 0; i < WAITING; i++) {
        assert_true(cny_life_may_follow(waiting[i], CNY_CONSUMER_SUBSCRIBING));
        assert_false(cny_life_may_follow(waiting[i], CNY_CONSUMER_CONSUMING));
        assert_false(cny_life_may_follow(waiting[i], CNY_CONSUMER_LEAVING));
        assert_false(cny_life_may_follow(waiting[i], CNY_CONSUMER_ENDING));
        for (int k = 0; k < WAITING; k++)
            assert_true(cny_life_may_follow(waiting[i], waiting[k]));
    }
}

static void test_one_that_consumes_works_off_before_it_waits(void **state)
{
    (void)state;
    for (int i = 0; i < WAITING; i++) {
        assert_false(cny_life_may_follow(CNY_CONSUMER_CONSUMING, waiting[i]));
        assert_true(cny_life_may_follow(CNY_CONSUMER_LEAVING, waiting[i]));
        assert_true(cny_life_may_follow(CNY_CONSUMER_SUBSCRIBING, waiting[i]));
        assert_false(cny_life_may_follow(CNY_CONSUMER_ENDING, waiting[i]));
    }
    assert_true(cny_life_may_follow(CNY_CONSUMER_CONSUMING, CNY_CONSUMER_LEAVING));
    assert_false(cny_life_may_follow(CNY_CONSUMER_CONSUMING, CNY_CONSUMER_SUBSCRIBING));
    assert_false(cny_life_may_follow(CNY_CONSUMER_LEAVING, CNY_CONSUMER_CONSUMING));
}

static void test_one_that_ends_and_is_wanted_again_leaves_as_after_a_loss(void **state)
{
    (void)state;
    cny_life life = {0};
    cny_life_enter(&life, CNY_CONSUMER_SUBSCRIBING, 100);
    cny_life_enter(&life, CNY_CONSUMER_CONSUMING, 0);
    cny_life_enter(&life, CNY_CONSUMER_ENDING, 200);
    cny_life_enter(&life, CNY_CONSUMER_ENDING, 150);
    cny_life_enter(&life, CNY_CONSUMER_LEAVING, 300);
    cny_life_wait(&life, CNY_CONSUMER_BACKS_OFF, 0);
    assert_true(cny_life_must_try(&life, 1, false, false));
}

static void test_back_off_lasts_until_its_time_and_no_connection_ends_it(void **state)
{
    (void)state;
    cny_life life = {0};
    cny_life_wait(&life, CNY_CONSUMER_BACKS_OFF, 100);
    assert_false(cny_life_must_try(&life, 99, true, true));
    assert_true(cny_life_must_try(&life, 100, false, false));
    assert_int_equal(cny_life_next_look(&life, 1), 100);
    cny_life_wait(&life, CNY_CONSUMER_BACKS_OFF, INT64_MAX);
    assert_false(cny_life_must_try(&life, 1000, true, true));
}

static void test_a_connection_that_is_awaited_is_used_at_once(void **state)
{
    (void)state;
    cny_life life = {0};
    cny_life_wait(&life, CNY_CONSUMER_AWAITS_CONNECTION, 100);
    assert_false(cny_life_must_try(&life, 1, false, true));
    assert_true(cny_life_must_try(&life, 1, true, false));
    assert_true(cny_life_must_try(&life, 100, false, false));
}

static void test_one_that_awaits_its_queue_asks_each_time(void **state)
{
    (void)state;
    cny_life life = {0};
    cny_life_wait(&life, CNY_CONSUMER_AWAITS_QUEUE, 100);
    assert_true(cny_life_must_try(&life, 1, false, false));
    assert_int_equal(cny_life_next_look(&life, 1), 100);
}

static void test_one_that_awaits_isolation_waits_for_its_turn_alone(void **state)
{
    (void)state;
    cny_life life = {0};
    cny_life_wait(&life, CNY_CONSUMER_AWAITS_ISOLATION, INT64_MAX);
    assert_false(cny_life_must_try(&life, 1000, true, false));
    assert_true(cny_life_must_try(&life, 1, false, true));
}

static void test_one_that_subscribes_is_looked_at_when_the_answer_is_late(void **state)
{
    (void)state;
    cny_life life = {0};
    cny_life_enter(&life, CNY_CONSUMER_SUBSCRIBING, 100);
    assert_false(cny_life_waits(&life));
    assert_false(cny_life_must_try(&life, 1000, true, true));
    assert_int_equal(cny_life_next_look(&life, 1), 100);
    assert_int_equal(cny_life_next_look(&life, 1000), 100);
    cny_life_enter(&life, CNY_CONSUMER_CONSUMING, 0);
    assert_true(cny_life_next_look(&life, 1) == INT64_MAX);
}

static void test_past_the_deadline_one_that_leaves_or_ends_is_not_looked_at_again_and_again(void **state)
{
    (void)state;
    const cny_life leaves = {.state = CNY_CONSUMER_LEAVING, .deadline = 100};
    const cny_life ends = {.state = CNY_CONSUMER_ENDING, .deadline = 100};
    assert_int_equal(cny_life_next_look(&leaves, 99), 100);
    assert_true(cny_life_next_look(&leaves, 100) == INT64_MAX);
    assert_int_equal(cny_life_next_look(&ends, 99), 100);
    assert_true(cny_life_next_look(&ends, 100) == INT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_consumer_tries_at_once),
        cmocka_unit_test(test_each_that_waits_may_subscribe_or_wait_for_something_else),
        cmocka_unit_test(test_one_that_consumes_works_off_before_it_waits),
        cmocka_unit_test(test_one_that_ends_and_is_wanted_again_leaves_as_after_a_loss),
        cmocka_unit_test(test_back_off_lasts_until_its_time_and_no_connection_ends_it),
        cmocka_unit_test(test_a_connection_that_is_awaited_is_used_at_once),
        cmocka_unit_test(test_one_that_awaits_its_queue_asks_each_time),
        cmocka_unit_test(test_one_that_awaits_isolation_waits_for_its_turn_alone),
        cmocka_unit_test(test_one_that_subscribes_is_looked_at_when_the_answer_is_late),
        cmocka_unit_test(test_past_the_deadline_one_that_leaves_or_ends_is_not_looked_at_again_and_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
