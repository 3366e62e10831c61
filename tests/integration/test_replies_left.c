/* SPDX-License-Identifier: MIT */
/* Replies that a handler leaves to be sent when its request is acknowledged: by its outcome, or later by
 * coney_delivery_settle(). */
#include "support/listening.h"
#include "support/plain_client.h"

#include <unistd.h>

static const char *replies;

static int setup(void **state)
{
    int status = listening_setup(state);
    replies = listening_make_other_queue("replies");
    return status;
}

/* ---- with the acknowledgement of a handler ---- */

static void leave_reply(coney_delivery *delivery, const char *text)
{
    coney_message *reply = NULL;
    check(coney_message_new(&reply, text, strlen(text), NULL) == CONEY_OK);
    coney_delivery_set_reply(delivery, reply);
}

/* Leaves what the message's text is as a reply, and then does what it says. */
static coney_outcome leave_and_obey(coney_delivery *delivery, void *user)
{
    char text[64];
    leave_reply(delivery, "not this one");
    leave_reply(delivery, listening_text(delivery, text));
    if (strstr(text, "nothing"))
        coney_delivery_set_reply(delivery, NULL);
    return listening_obey(delivery, user);
}

static void test_last_reply_that_is_left_is_sent(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = leave_and_obey, .send_to = replies});
    listening_send_with("ack", &(coney_properties){.message_id = "m-1"});
    plain_expect_reply(replies, "ack", "m-1");
    listening_expect_nothing_left();
}

static void test_reply_may_be_taken_back(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = leave_and_obey, .send_to = replies});
    listening_send("ack:nothing");
    listening_send("ack:something");
    listening_wait_for_calls(2);
    plain_expect_reply(replies, "ack:something", NULL);
}

static void test_reply_that_is_left_is_not_sent_after_a_failure(void **state)
{
    (void)state;
    listening_start(&(coney_listener){
        .on_message = leave_and_obey, .send_to = replies, .retry = {.max_attempts = 2, .first_delay_ms = 2}});
    listening_send("reject");
    listening_send("fail 1");
    listening_wait_for_calls(3);
    plain_expect_reply(replies, "fail 1", NULL);
    test_wait_for_depth(listening.dead, 1);
}

static coney_outcome leave_at_the_first_attempt(coney_delivery *delivery, void *user)
{
    if (coney_delivery_attempt(delivery) == 1)
        leave_reply(delivery, "of the first attempt");
    return listening_obey(delivery, user);
}

static void test_reply_of_an_attempt_that_failed_is_forgotten(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = leave_at_the_first_attempt,
                                      .send_to = replies,
                                      .retry = {.max_attempts = 2, .first_delay_ms = 2}});
    listening_send("fail 1");
    listening_wait_for_calls(2);
    listening_expect_nothing_left();
    test_wait_for_depth(replies, 0);
}

static void test_reply_that_cannot_be_sent_is_a_failure_of_the_request(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = leave_and_obey,
                                      .send_to = "no-such-exchange/key",
                                      .retry = {.max_attempts = 2, .first_delay_ms = 2}});
    listening_send("ack");
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening.count, 2);
    assert_int_equal(listening_statistics().acknowledged, 0);
    assert_int_equal(listening_statistics().failed, 2);
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "no-such-exchange");
}

static void test_request_is_kept_until_its_reply_can_be_sent(void **state)
{
    (void)state;
    const char *full = listening_other_queue("full");
    assert_ok(coney_admin_declare_queue(
        client.admin, &(coney_queue){.name = full, .max_length = 1, .overflow = CONEY_REJECT_PUBLISH}, NULL));
    listening_send_to("", full, "first", NULL);
    listening_start(&(coney_listener){.on_message = leave_and_obey, .send_to = full});
    listening_send("ack");
    listening_wait_for_calls(2); /* the broker has not taken the first reply */
    assert_int_equal(listening_statistics().acknowledged, 0);
    plain_expect_reply(full, "first", NULL);
    plain_expect_reply(full, "ack", NULL);
    listening_expect_nothing_left();
}

/* ---- with a later settlement ---- */

static atomic_int kept_count;
static coney_delivery *kept;
static atomic_int settled_elsewhere;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    kept = coney_delivery_ref(delivery);
    atomic_fetch_add(&kept_count, 1);
    return CONEY_DEFER;
}

static coney_outcome leave_and_keep(coney_delivery *delivery, void *user)
{
    leave_reply(delivery, "a late answer");
    return keep(delivery, user);
}

static void start_manually(coney_message_handler *handler, const char *send_to, coney_listener_retry retry)
{
    kept_count = 0;
    kept = NULL;
    listening_start(&(coney_listener){
        .on_message = handler, .send_to = send_to, .retry = retry, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    listening_send_with("question", &(coney_properties){.message_id = "m-1"});
}

static void keep_one(const char *send_to, coney_listener_retry retry)
{
    start_manually(leave_and_keep, send_to, retry);
    test_wait_for(&kept_count, 1);
}

static void test_reply_that_is_left_is_sent_when_the_request_is_acknowledged_later(void **state)
{
    (void)state;
    keep_one(replies, (coney_listener_retry){0});
    test_wait_for_depth(replies, 0);
    assert_ok(coney_delivery_settle(kept, CONEY_ACK));
    coney_delivery_unref(kept);
    plain_expect_reply(replies, "a late answer", "m-1");
    listening_expect_nothing_left();
}

static void test_reply_that_is_left_is_dropped_when_the_request_is_settled_otherwise(void **state)
{
    (void)state;
    keep_one(replies, (coney_listener_retry){0});
    assert_ok(coney_delivery_settle(kept, CONEY_REJECT));
    coney_delivery_unref(kept);
    test_wait_for_depth(listening.dead, 1);
    listening_stop();
    test_wait_for_depth(replies, 0);
}

static void test_settling_says_that_the_reply_that_was_left_cannot_be_sent(void **state)
{
    (void)state;
    keep_one("no-such-exchange/key", (coney_listener_retry){.max_attempts = 1});
    assert_fails(coney_delivery_settle(kept, CONEY_ACK), CONEY_E_NOT_FOUND, "reply to message 'm-1'");
    assert_true(strstr(coney_last_error(), "no exchange 'no-such-exchange'"));
    assert_fails(coney_delivery_settle(kept, CONEY_ACK), CONEY_E_STATE, "settled already");
    coney_delivery_unref(kept);
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening_statistics().acknowledged, 0);
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "no-such-exchange");
}

static coney_outcome leave_and_settle(coney_delivery *delivery, void *user)
{
    const coney_outcome *said = user;
    leave_reply(delivery, "an early answer");
    check(coney_delivery_settle(delivery, said[0]) == CONEY_OK);
    listening_note(delivery);
    return said[1];
}

static void expect_settled_in_the_handler(coney_outcome settled, coney_outcome returned, uint32_t count)
{
    coney_outcome said[] = {settled, returned};
    listening_start(&(coney_listener){
        .on_message = leave_and_settle, .user = said, .send_to = replies, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    listening_send("question");
    listening_wait_for_calls(1);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(replies, count);
}

static void test_reply_is_sent_once_when_the_handler_settles_and_defers(void **state)
{
    (void)state;
    expect_settled_in_the_handler(CONEY_ACK, CONEY_DEFER, 1);
}

static void test_reply_is_sent_once_when_the_handler_settles_and_acknowledges(void **state)
{
    (void)state;
    expect_settled_in_the_handler(CONEY_ACK, CONEY_ACK, 1);
}

static void test_reply_is_not_sent_when_the_request_was_rejected_before_the_handler_acknowledges(void **state)
{
    (void)state;
    expect_settled_in_the_handler(CONEY_REJECT, CONEY_ACK, 0);
}

static coney_outcome leave_and_acknowledge(coney_delivery *delivery, void *user)
{
    (void)user;
    leave_reply(delivery, "the answer");
    return CONEY_ACK;
}

static void test_reply_is_sent_when_a_manual_handler_acknowledges(void **state)
{
    (void)state;
    start_manually(leave_and_acknowledge, replies, (coney_listener_retry){0});
    plain_expect_reply(replies, "the answer", "m-1");
    listening_expect_nothing_left();
}

static coney_outcome settle_in_another_thread(coney_delivery *delivery, void *user)
{
    leave_and_keep(delivery, user);
    while (!atomic_load(&settled_elsewhere))
        usleep(1000);
    return CONEY_ACK;
}

static void test_reply_is_sent_once_when_another_thread_is_faster_than_the_handler(void **state)
{
    (void)state;
    settled_elsewhere = 0;
    start_manually(settle_in_another_thread, replies, (coney_listener_retry){0});
    test_wait_for(&kept_count, 1);
    assert_ok(coney_delivery_settle(kept, CONEY_ACK));
    settled_elsewhere = 1;
    coney_delivery_unref(kept);
    plain_expect_reply(replies, "a late answer", "m-1");
    listening_expect_nothing_left();
    test_wait_for_depth(replies, 0);
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define reply_test(test) cmocka_unit_test_setup_teardown(test, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        reply_test(test_last_reply_that_is_left_is_sent),
        reply_test(test_reply_may_be_taken_back),
        reply_test(test_reply_that_is_left_is_not_sent_after_a_failure),
        reply_test(test_reply_of_an_attempt_that_failed_is_forgotten),
        reply_test(test_reply_that_cannot_be_sent_is_a_failure_of_the_request),
        reply_test(test_request_is_kept_until_its_reply_can_be_sent),
        reply_test(test_reply_that_is_left_is_sent_when_the_request_is_acknowledged_later),
        reply_test(test_reply_that_is_left_is_dropped_when_the_request_is_settled_otherwise),
        reply_test(test_settling_says_that_the_reply_that_was_left_cannot_be_sent),
        reply_test(test_reply_is_sent_once_when_the_handler_settles_and_defers),
        reply_test(test_reply_is_sent_once_when_the_handler_settles_and_acknowledges),
        reply_test(test_reply_is_not_sent_when_the_request_was_rejected_before_the_handler_acknowledges),
        reply_test(test_reply_is_sent_when_a_manual_handler_acknowledges),
        reply_test(test_reply_is_sent_once_when_another_thread_is_faster_than_the_handler),
    };
    return test_run_with_workers("replies that are left", tests, test_client_setup, teardown);
}
