/* SPDX-License-Identifier: MIT */
/* What the broker has delivered once is settled once: a message as its only delivery, a batch as the worst of its
 * fragments, when it is known of all of them. */
#include "rabbit/listener/handling/arrival.h"
#include "support/test_support.h"

static cny_handling handling;
static cny_arrival single, shared;

static int setup(void **state)
{
    (void)state;
    single = (cny_arrival){0};
    shared = (cny_arrival){.handling = &handling};
    return 0;
}

static void expect_worst(cny_arrival *arrival, cny_disposition decided, cny_disposition expected)
{
    cny_disposition worst = CNY_NONE;
    assert_true(cny_arrival_decide(arrival, decided, &worst));
    assert_int_equal(worst, expected);
}

static void expect_more_to_come(cny_disposition decided)
{
    cny_disposition worst;
    assert_false(cny_arrival_decide(&shared, decided, &worst));
}

static void test_a_single_delivery_decides_its_arrival(void **state)
{
    (void)state;
    expect_worst(&single, CNY_RETURN, CNY_RETURN);
}

static void test_a_batch_is_decided_with_its_last_fragment(void **state)
{
    (void)state;
    shared.fragments_left = 3;
    expect_more_to_come(CNY_ACK);
    expect_more_to_come(CNY_ACK);
    expect_worst(&shared, CNY_ACK, CNY_ACK);
}

static void test_the_worst_of_the_fragments_holds_for_the_batch(void **state)
{
    (void)state;
    shared.fragments_left = 4;
    expect_more_to_come(CNY_RETURN);
    expect_more_to_come(CNY_REQUEUE);
    expect_more_to_come(CNY_ACK);
    expect_worst(&shared, CNY_RETURN, CNY_REQUEUE);
}

static void test_a_fragment_that_is_rejected_rejects_the_batch(void **state)
{
    (void)state;
    shared.fragments_left = 2;
    expect_more_to_come(CNY_REJECT);
    expect_worst(&shared, CNY_REQUEUE, CNY_REJECT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_a_single_delivery_decides_its_arrival, setup),
        cmocka_unit_test_setup(test_a_batch_is_decided_with_its_last_fragment, setup),
        cmocka_unit_test_setup(test_the_worst_of_the_fragments_holds_for_the_batch, setup),
        cmocka_unit_test_setup(test_a_fragment_that_is_rejected_rejects_the_batch, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
