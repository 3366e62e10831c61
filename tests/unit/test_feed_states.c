/* SPDX-License-Identifier: MIT */
/* How consuming goes: which states follow which. */
#include "rabbit/connection/feed_states.h"
#include "support/test_support.h"

static void expect(const cny_feed_states *states, cny_feed_stage stage, cny_feed_intake intake, cny_feed_cancel cancel)
{
    assert_int_equal(stage, states->stage);
    assert_int_equal(intake, states->intake);
    assert_int_equal(cancel, states->cancel);
}

static void test_new_feed_is_idle_and_takes_what_comes(void **state)
{
    (void)state;
    const cny_feed_states states = {0};
    expect(&states, CNY_STAGE_IDLE, CNY_FEED_INTAKE_OPEN, CNY_CANCEL_NONE);
    assert_true(cny_feed_takes(&states));
    assert_false(cny_feed_may_cancel(&states)); /* there is no consumer */
    assert_true(cny_feed_goes_on(&states));
}

static void test_end_of_the_channel_ends_an_opening(void **state)
{
    (void)state;
    cny_feed_states states = {.stage = CNY_STAGE_OPENING};
    cny_feed_close(&states);
    expect(&states, CNY_STAGE_IDLE, CNY_FEED_INTAKE_ENDED, CNY_CANCEL_NONE);
}

static void test_end_of_the_channel_leaves_the_tag_of_a_consumer(void **state)
{
    (void)state;
    cny_feed_states states = {.stage = CNY_STAGE_CONSUMING};
    cny_feed_close(&states);
    expect(&states, CNY_STAGE_CONSUMING, CNY_FEED_INTAKE_ENDED, CNY_CANCEL_NONE);
}

static void test_cancelled_consumer_still_takes_what_is_on_its_way(void **state)
{
    (void)state;
    cny_feed_states states = {.stage = CNY_STAGE_CONSUMING};
    assert_true(cny_feed_may_cancel(&states));
    cny_feed_ask_for_end(&states, false);
    expect(&states, CNY_STAGE_CONSUMING, CNY_FEED_INTAKE_OPEN, CNY_CANCEL_ASKED);
    assert_false(cny_feed_may_cancel(&states));
    assert_false(cny_feed_goes_on(&states));
    cny_feed_stop(&states);
    expect(&states, CNY_STAGE_CONSUMING, CNY_FEED_INTAKE_ENDED, CNY_CANCEL_ASKED);
}

static void test_cancel_that_waits_is_not_forgotten_when_it_is_asked_for_again(void **state)
{
    (void)state;
    cny_feed_states states = {.stage = CNY_STAGE_CONSUMING};
    cny_feed_ask_for_end(&states, true);
    cny_feed_ask_for_end(&states, false);
    expect(&states, CNY_STAGE_CONSUMING, CNY_FEED_INTAKE_OPEN, CNY_CANCEL_WAITS);
    assert_true(cny_feed_is_cancelled(&states));
}

static void test_cancel_before_the_beginning_is_never_said(void **state)
{
    (void)state;
    cny_feed_states states = {.stage = CNY_STAGE_OPENING};
    assert_false(cny_feed_may_cancel(&states));
    cny_feed_ask_for_end(&states, false);
    states.stage = CNY_STAGE_CONSUMING;
    assert_false(cny_feed_may_cancel(&states));
}

static void test_kept_consumer_stays_kept_whatever_ends(void **state)
{
    (void)state;
    cny_feed_states states = {.stage = CNY_STAGE_CONSUMING, .intake = CNY_FEED_INTAKE_KEPT};
    assert_false(cny_feed_takes(&states));
    cny_feed_stop(&states);
    cny_feed_close(&states);
    assert_true(cny_feed_is_kept(&states));
    assert_false(cny_feed_goes_on(&states));
    assert_true(cny_feed_may_cancel(&states)); /* a broker that has cancelled the consumer is told the same */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_feed_is_idle_and_takes_what_comes),
        cmocka_unit_test(test_end_of_the_channel_ends_an_opening),
        cmocka_unit_test(test_end_of_the_channel_leaves_the_tag_of_a_consumer),
        cmocka_unit_test(test_cancelled_consumer_still_takes_what_is_on_its_way),
        cmocka_unit_test(test_cancel_that_waits_is_not_forgotten_when_it_is_asked_for_again),
        cmocka_unit_test(test_cancel_before_the_beginning_is_never_said),
        cmocka_unit_test(test_kept_consumer_stays_kept_whatever_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
