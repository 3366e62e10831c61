/* SPDX-License-Identifier: MIT */
/* The delays between attempts to connect, before the random part is taken off, and those of suspects. */
#include "rabbit/factory/factory.h"
#include "rabbit/factory/recovery.h"
#include "support/test_support.h"

#include <limits.h>

static int nth_delay(const coney_recovery_options *options, int n)
{
    int delay_ms = 0;
    while (n-- > 0)
        delay_ms = cny_recovery_delay(options, delay_ms);
    return delay_ms;
}

static void test_first_delay_is_the_options_first(void **state)
{
    (void)state;
    const coney_recovery_options options = {.first_delay_ms = 1000, .max_delay_ms = 30000, .multiplier = 2};
    assert_int_equal(nth_delay(&options, 1), 1000);
}

static void test_delay_is_multiplied_after_each_failure(void **state)
{
    (void)state;
    const coney_recovery_options options = {.first_delay_ms = 1000, .max_delay_ms = 30000, .multiplier = 2};
    assert_int_equal(nth_delay(&options, 2), 2000);
    assert_int_equal(nth_delay(&options, 5), 16000);
    const coney_recovery_options gentle = {.first_delay_ms = 100, .max_delay_ms = 1000, .multiplier = 1.5};
    assert_int_equal(nth_delay(&gentle, 3), 225);
}

static void test_delay_stays_at_the_maximum(void **state)
{
    (void)state;
    const coney_recovery_options options = {.first_delay_ms = 1000, .max_delay_ms = 30000, .multiplier = 2};
    assert_int_equal(nth_delay(&options, 6), 30000);
    assert_int_equal(nth_delay(&options, 1000), 30000);
}

static void test_multiplier_of_one_keeps_the_delay(void **state)
{
    (void)state;
    const coney_recovery_options options = {.first_delay_ms = 50, .max_delay_ms = 30000, .multiplier = 1};
    assert_int_equal(nth_delay(&options, 100), 50);
}

static void test_largest_numbers_do_not_overflow(void **state)
{
    (void)state;
    const coney_recovery_options options = {.first_delay_ms = 1, .max_delay_ms = INT_MAX, .multiplier = 1e300};
    assert_int_equal(nth_delay(&options, 2), INT_MAX);
    assert_int_equal(nth_delay(&options, 3), INT_MAX);
}

static void test_second_strike_isolates_at_once_and_later_ones_after_pauses(void **state)
{
    (void)state;
    cny_strikes strikes = {0};
    cny_strike(&strikes, 100);
    assert_false(cny_must_isolate(&strikes));
    assert_int_equal(strikes.retry_at, 100);
    cny_strike(&strikes, 200);
    assert_true(cny_must_isolate(&strikes));
    assert_int_equal(strikes.retry_at, 200);
    const int pauses_ms[] = {1000, 2000, 4000, 8000, 16000, 30000, 30000};
    for (size_t i = 0; i < COUNT_OF(pauses_ms); i++) {
        cny_strike(&strikes, 300);
        assert_int_equal(strikes.retry_at, 300 + pauses_ms[i]);
    }
    cny_strikes_clear(&strikes);
    assert_false(cny_must_isolate(&strikes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_delay_is_the_options_first),
        cmocka_unit_test(test_delay_is_multiplied_after_each_failure),
        cmocka_unit_test(test_delay_stays_at_the_maximum),
        cmocka_unit_test(test_multiplier_of_one_keeps_the_delay),
        cmocka_unit_test(test_largest_numbers_do_not_overflow),
        cmocka_unit_test(test_second_strike_isolates_at_once_and_later_ones_after_pauses),
    };
    return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
