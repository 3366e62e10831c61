/* SPDX-License-Identifier: MIT */
/* What lanes do with messages: the mode only rises, until there is a new channel. */
#include "support/test_support.h"

#include "rabbit/listener/handling/intake.h"

#include <pthread.h>

static void test_a_new_one_is_open(void **state)
{
    (void)state;
    const cny_intake intake = {0};
    assert_int_equal(cny_intake_now(&intake), CNY_INTAKE_OPEN);
    assert_false(cny_intake_ends(&intake));
}

static void test_each_mode_may_be_raised_to_each_above_it(void **state)
{
    (void)state;
    for (int from = CNY_INTAKE_OPEN; from <= CNY_INTAKE_DROP; from++) {
        for (int to = from; to <= CNY_INTAKE_DROP; to++) {
            cny_intake intake = {0};
            cny_intake_raise(&intake, (cny_intake_mode)from);
            cny_intake_raise(&intake, (cny_intake_mode)to);
            assert_int_equal(cny_intake_now(&intake), to);
            assert_true(cny_intake_ends(&intake) == (to > CNY_INTAKE_OPEN));
        }
    }
}

static void test_no_mode_falls(void **state)
{
    (void)state;
    for (int from = CNY_INTAKE_OPEN; from <= CNY_INTAKE_DROP; from++) {
        for (int to = CNY_INTAKE_OPEN; to < from; to++) {
            cny_intake intake = {0};
            cny_intake_raise(&intake, (cny_intake_mode)from);
            cny_intake_raise(&intake, (cny_intake_mode)to);
            assert_int_equal(cny_intake_now(&intake), from);
        }
    }
}

static void test_a_new_channel_opens_it_again(void **state)
{
    (void)state;
    cny_intake intake = {0};
    cny_intake_raise(&intake, CNY_INTAKE_DROP);
    cny_intake_open(&intake);
    assert_int_equal(cny_intake_now(&intake), CNY_INTAKE_OPEN);
}

enum { ROUNDS = 2000 };

static cny_intake shared;

static void *raise_to(void *mode)
{
    for (int i = 0; i < ROUNDS; i++)
        cny_intake_raise(&shared, *(const cny_intake_mode *)mode);
    return NULL;
}

static void test_of_several_threads_the_one_that_wants_least_wins(void **state)
{
    (void)state;
    static cny_intake_mode modes[] = {CNY_INTAKE_DRAIN, CNY_INTAKE_DROP, CNY_INTAKE_RETURN};
    enum { THREADS = sizeof modes / sizeof *modes };
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, raise_to, &modes[i]), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(cny_intake_now(&shared), CNY_INTAKE_DROP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_new_one_is_open),
        cmocka_unit_test(test_each_mode_may_be_raised_to_each_above_it),
        cmocka_unit_test(test_no_mode_falls),
        cmocka_unit_test(test_a_new_channel_opens_it_again),
        cmocka_unit_test(test_of_several_threads_the_one_that_wants_least_wins),
    };
    return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}
