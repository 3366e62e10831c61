/* SPDX-License-Identifier: MIT */
/* Who may act on a delivery: its worker, or the program when the handler has it or has deferred it. */
#include "rabbit/listener/handling/delivery_state.h"
#include "support/test_support.h"

#include <pthread.h>

static cny_delivery_state_now now;

static void expect_claim(cny_delivery_state from, bool succeeds)
{
    cny_state_set(&now, from);
    assert_int_equal(cny_state_claim(&now), succeeds);
    assert_int_equal(cny_state_of(&now), succeeds ? CNY_DELIVERY_SETTLED : from);
}

static void test_the_program_may_settle_while_its_handler_runs_and_after_it_deferred(void **state)
{
    (void)state;
    expect_claim(CNY_DELIVERY_HANDLING, true);
    expect_claim(CNY_DELIVERY_DEFERRED, true);
}

static void test_the_program_may_not_settle_what_the_worker_has(void **state)
{
    (void)state;
    expect_claim(CNY_DELIVERY_TAKEN, false);
    expect_claim(CNY_DELIVERY_READY, false);
    expect_claim(CNY_DELIVERY_RETURNED, false);
    expect_claim(CNY_DELIVERY_DECIDED, false);
}

static void test_nobody_settles_twice(void **state)
{
    (void)state;
    expect_claim(CNY_DELIVERY_SETTLED, false);
}

static void test_the_worker_takes_a_delivery_back_from_its_handler(void **state)
{
    (void)state;
    cny_state_set(&now, CNY_DELIVERY_HANDLING);
    assert_true(cny_state_leave_handling(&now, CNY_DELIVERY_RETURNED));
    assert_int_equal(cny_state_of(&now), CNY_DELIVERY_RETURNED);
}

static void test_the_worker_does_not_take_back_what_is_settled_in_the_handler(void **state)
{
    (void)state;
    cny_state_set(&now, CNY_DELIVERY_HANDLING);
    assert_true(cny_state_claim(&now));
    assert_false(cny_state_leave_handling(&now, CNY_DELIVERY_RETURNED));
    assert_false(cny_state_leave_handling(&now, CNY_DELIVERY_DEFERRED));
    assert_int_equal(cny_state_of(&now), CNY_DELIVERY_SETTLED);
}

static void test_a_deferred_delivery_is_left_to_the_program(void **state)
{
    (void)state;
    cny_state_set(&now, CNY_DELIVERY_HANDLING);
    assert_false(cny_state_is_left(&now));
    assert_true(cny_state_leave_handling(&now, CNY_DELIVERY_DEFERRED));
    assert_true(cny_state_is_left(&now));
    assert_true(cny_state_claim(&now));
    assert_true(cny_state_is_left(&now));
}

static void test_only_what_waits_for_a_handler_is_undecided(void **state)
{
    (void)state;
    for (int one = CNY_DELIVERY_TAKEN; one <= CNY_DELIVERY_SETTLED; one++) {
        cny_state_set(&now, (cny_delivery_state)one);
        assert_int_equal(cny_state_is_undecided(&now), one == CNY_DELIVERY_TAKEN || one == CNY_DELIVERY_READY);
    }
}

/* ---- on several threads ---- */

enum { ROUNDS = 2000 };

static pthread_barrier_t barrier;
static atomic_int claimed;

static void *claim_again_and_again(void *unused)
{
    for (int i = 0; i < ROUNDS; i++) {
        pthread_barrier_wait(&barrier);
        claimed += cny_state_claim(&now);
        pthread_barrier_wait(&barrier);
    }
    return unused;
}

static void test_one_of_those_that_settle_at_the_same_time_succeeds(void **state)
{
    (void)state;
    pthread_t others[2];
    int wrong = 0;
    pthread_barrier_init(&barrier, NULL, 3);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&others[i], NULL, claim_again_and_again, NULL), 0);
    for (int i = 0; i < ROUNDS; i++) {
        cny_state_set(&now, CNY_DELIVERY_HANDLING);
        claimed = 0;
        pthread_barrier_wait(&barrier);
        bool defers = i % 2,
             has_left = cny_state_leave_handling(&now, defers ? CNY_DELIVERY_DEFERRED : CNY_DELIVERY_RETURNED);
        pthread_barrier_wait(&barrier);
        wrong += claimed + (has_left && !defers) != 1; /* what is deferred the others still settle */
    }
    for (int i = 0; i < 2; i++)
        pthread_join(others[i], NULL);
    pthread_barrier_destroy(&barrier);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_program_may_settle_while_its_handler_runs_and_after_it_deferred),
        cmocka_unit_test(test_the_program_may_not_settle_what_the_worker_has),
        cmocka_unit_test(test_nobody_settles_twice),
        cmocka_unit_test(test_the_worker_takes_a_delivery_back_from_its_handler),
        cmocka_unit_test(test_the_worker_does_not_take_back_what_is_settled_in_the_handler),
        cmocka_unit_test(test_a_deferred_delivery_is_left_to_the_program),
        cmocka_unit_test(test_only_what_waits_for_a_handler_is_undecided),
        cmocka_unit_test(test_one_of_those_that_settle_at_the_same_time_succeeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
