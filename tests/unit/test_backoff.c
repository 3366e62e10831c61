/* SPDX-License-Identifier: MIT */
/* Delays that grow: their checks, their defaults, and the delays before the random part is taken off. */
#include "base/base.h"
#include "support/test_support.h"

#include <limits.h>
#include <math.h>

static void test_wrong_option_is_named_with_its_struct(void **state)
{
    (void)state;
    assert_int_equal(cny_backoff_check("retry", 0, 0, 0), CONEY_OK);
    assert_int_equal(cny_backoff_check("retry", 5, 1, 5), CONEY_OK);
    assert_int_equal(cny_backoff_check("retry", -1, 0, 0), CONEY_E_INVALID);
    assert_string_equal(coney_last_error(), "retry.first_delay_ms is -1, below 0");
    assert_int_equal(cny_backoff_check("retry", 0, 0, -2), CONEY_E_INVALID);
    assert_string_equal(coney_last_error(), "retry.max_delay_ms is -2, below 0");
    assert_int_equal(cny_backoff_check("retry", 20, 0, 10), CONEY_E_INVALID);
    assert_string_equal(coney_last_error(), "retry.max_delay_ms 10 is below retry.first_delay_ms 20");
    assert_int_equal(cny_backoff_check("retry", 0, 0.5, 0), CONEY_E_INVALID);
    assert_string_equal(coney_last_error(), "retry.multiplier is 0.5; 1 is the least");
    assert_int_equal(cny_backoff_check("retry", 0, (double)NAN, 0), CONEY_E_INVALID);
}

static void test_defaults_fill_in_what_is_0_and_keep_the_first_delay_below_the_longest(void **state)
{
    (void)state;
    static const struct {
        int first_ms, max_ms, first_filled, max_filled;
    } cases[] = {{0, 0, 1000, 5000}, {60000, 0, 60000, 60000}, {0, 50, 50, 50}, {7, 70, 7, 70}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int first_ms = cases[i].first_ms, max_ms = cases[i].max_ms;
        double multiplier = 0;
        cny_backoff_set_defaults(&first_ms, &multiplier, &max_ms, 5000);
        assert_int_equal(first_ms, cases[i].first_filled);
        assert_int_equal(max_ms, cases[i].max_filled);
        assert_true(multiplier == 2);
    }
}

static void test_delay_after_many_failures_is_the_longest(void **state)
{
    (void)state;
    static const struct {
        int failures, delay_ms;
    } cases[] = {{0, 0}, {1, 100}, {2, 200}, {3, 400}, {4, 500}, {INT_MAX, 500}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(cny_backoff_after(cases[i].failures, 100, 2, 500), cases[i].delay_ms);
    assert_int_equal(cny_backoff_after(INT_MAX, 100, 1, 500), 100);
    assert_int_equal(cny_backoff_after(1, 600, 2, 500), 500);
}

static void test_jitter_shortens_by_up_to_a_half(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++) {
        int delay_ms = cny_jitter(100);
        assert_true(delay_ms >= 50 && delay_ms <= 100);
    }
    assert_int_equal(cny_jitter(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_option_is_named_with_its_struct),
        cmocka_unit_test(test_defaults_fill_in_what_is_0_and_keep_the_first_delay_below_the_longest),
        cmocka_unit_test(test_delay_after_many_failures_is_the_longest),
        cmocka_unit_test(test_jitter_shortens_by_up_to_a_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
