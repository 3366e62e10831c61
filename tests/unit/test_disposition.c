/* SPDX-License-Identifier: MIT */
/* What becomes of a message: the order of severity. */
#include "rabbit/listener/handling/disposition.h"
#include "support/test_support.h"

static void test_dispositions_are_in_the_order_of_severity(void **state)
{
    (void)state;
    assert_true(CNY_NONE < CNY_ACK);
    assert_true(CNY_ACK < CNY_RETURN);
    assert_true(CNY_RETURN < CNY_REQUEUE);
    assert_true(CNY_REQUEUE < CNY_REJECT);
}

static void test_zeroed_memory_is_undecided(void **state)
{
    (void)state;
    const struct {
        cny_disposition disposition;
    } zeroed = {0};
    assert_int_equal(zeroed.disposition, CNY_NONE);
}

static void test_a_message_goes_back_or_is_at_its_end(void **state)
{
    (void)state;
    assert_false(cny_goes_back(CNY_NONE) || cny_is_final(CNY_NONE));
    assert_true(cny_is_final(CNY_ACK) && !cny_goes_back(CNY_ACK));
    assert_true(cny_goes_back(CNY_RETURN) && !cny_is_final(CNY_RETURN));
    assert_true(cny_goes_back(CNY_REQUEUE) && !cny_is_final(CNY_REQUEUE));
    assert_true(cny_is_final(CNY_REJECT) && !cny_goes_back(CNY_REJECT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dispositions_are_in_the_order_of_severity),
        cmocka_unit_test(test_zeroed_memory_is_undecided),
        cmocka_unit_test(test_a_message_goes_back_or_is_at_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
