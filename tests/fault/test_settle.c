/* SPDX-License-Identifier: MIT */
/* What a container that acknowledges by outcome says to the broker, frame by frame: one acknowledgement for several,
 * failures one by one, and what no handler got. */
#include "support/fault_consumer.h"

#include <poll.h>

enum { SOON_MS = 300, NEVER_MS = 60000 };

static void wait_for_calls(cny_peer *peer, int count)
{
    int64_t deadline = cny_now_ms() + CNY_PATIENCE_MS;
    while (fault_handler_calls() < count && cny_now_ms() < deadline)
        poll(NULL, 0, 2);
    cny_peer_check(peer, fault_handler_calls() == count);
}

/* --- several by one acknowledgement --- */

static void expect_four_then_one(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_cork(peer, true);
    for (uint64_t tag = 1; tag <= 4; tag++)
        cny_peer_deliver(peer, channel, tag, "ack");
    cny_peer_cork(peer, false);
    fault_expect_ack_up_to(peer, 4);
    int64_t began = cny_now_ms();
    cny_peer_deliver(peer, channel, 5, "ack");
    fault_expect_ack_up_to(peer, 5);
    int64_t took = cny_now_ms() - began;
    cny_peer_check(peer, took >= SOON_MS && took < SOON_MS + 2000 + test_slack_ms(began));
}

static void test_ack_every_acks_all_at_once_and_the_rest_after_ack_after_ms(void **state)
{
    (void)state;
    fault_listen(expect_four_then_one, NULL, (coney_listener){.ack_every = 4, .ack_after_ms = SOON_MS});
    cny_broker_wait(fault.broker, 1);
}

static void expect_nothing_before_the_fourth(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    for (uint64_t tag = 1; tag <= 3; tag++)
        cny_peer_deliver(peer, channel, tag, "ack");
    wait_for_calls(peer, 3);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
    cny_peer_deliver(peer, channel, 4, "ack");
    fault_expect_ack_up_to(peer, 4);
}

static void test_ack_every_says_nothing_before_there_are_so_many(void **state)
{
    (void)state;
    fault_listen(expect_nothing_before_the_fourth, NULL, (coney_listener){.ack_every = 4, .ack_after_ms = NEVER_MS});
    cny_broker_wait(fault.broker, 1);
}

static void expect_acks_before_a_failure(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
    cny_peer_deliver(peer, channel, 2, "ack");
    cny_peer_deliver(peer, channel, 3, "reject");
    cny_peer_deliver(peer, channel, 4, "ack");
    cny_peer_deliver(peer, channel, 5, "requeue");
    fault_expect_ack_up_to(peer, 2);
    fault_expect_reject(peer, 3, false);
    fault_expect_ack_up_to(peer, 4);
    fault_expect_reject(peer, 5, true);
}

static void test_failure_comes_after_the_acks_before_it_and_alone(void **state)
{
    (void)state;
    fault_listen(expect_acks_before_a_failure, NULL, (coney_listener){.ack_every = 100, .ack_after_ms = NEVER_MS});
    cny_broker_wait(fault.broker, 1);
}

static void expect_reject_only(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "reject");
    fault_expect_reject(peer, 1, false);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
}

static void test_failure_without_acks_before_it_is_all_that_is_said(void **state)
{
    (void)state;
    fault_listen(expect_reject_only, NULL, (coney_listener){.ack_every = 4, .ack_after_ms = SOON_MS / 2});
    cny_broker_wait(fault.broker, 1);
}

static void expect_acks_at_the_stop(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
    cny_peer_deliver(peer, channel, 2, "ack");
    amqp_basic_ack_t *ack = cny_peer_serve_until(peer, AMQP_BASIC_ACK_METHOD)->args;
    cny_peer_check(peer, ack->delivery_tag == 2 && ack->multiple);
    cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void stop_with_acks_pending(coney_stop_mode mode)
{
    fault_listen(expect_acks_at_the_stop, NULL, (coney_listener){.ack_every = 4, .ack_after_ms = NEVER_MS});
    fault_wait_for_calls(2);
    fault_expect_status(CONEY_OK, coney_container_stop_with(fault.container, mode, 0));
    cny_broker_wait(fault.broker, 1);
}

static void test_stop_sends_the_acks_that_wait(void **state)
{
    (void)state;
    stop_with_acks_pending(CONEY_STOP_DRAIN);
}

static void test_stop_that_gives_back_the_rest_sends_the_acks_that_wait(void **state)
{
    (void)state;
    stop_with_acks_pending(CONEY_STOP_FINISH);
}

/* A lane that always has another message must not forget those that are done. */
static void expect_acks_amid_work(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_cork(peer, true);
    cny_peer_deliver(peer, channel, 1, "ack");
    cny_peer_deliver(peer, channel, 2, "hold");
    cny_peer_deliver(peer, channel, 3, "hold");
    cny_peer_cork(peer, false);
    wait_for_calls(peer, 2);
    poll(NULL, 0, SOON_MS); /* a handler that takes so long */
    fault_let_go();
    fault_expect_ack_up_to(peer, 2);
    cny_peer_check(peer, fault_handler_calls() <= 3);
    fault_let_go();
    fault_expect_ack_up_to(peer, 3);
}

static void test_ack_after_ms_counts_while_other_messages_are_handled(void **state)
{
    (void)state;
    fault_listen(expect_acks_amid_work, NULL, (coney_listener){.ack_every = 100, .ack_after_ms = SOON_MS / 3});
    int64_t began = cny_now_ms();
    cny_broker_wait(fault.broker, 1);
    test_expect_elapsed(began, 0, CNY_PATIENCE_MS / 2); /* a handler that nobody lets go gives up after that */
}

/* --- failures --- */

static void expect_each_failure_alone(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_cork(peer, true);
    for (uint64_t tag = 1; tag <= 20; tag++)
        cny_peer_deliver(peer, channel, tag, tag % 2 ? "reject" : "retry");
    cny_peer_cork(peer, false);
    for (uint64_t tag = 1; tag <= 20; tag++)
        fault_expect_reject(peer, tag, tag % 2 == 0);
}

static void test_failures_that_come_together_are_rejected_one_by_one(void **state)
{
    (void)state;
    fault_listen(expect_each_failure_alone, NULL, (coney_listener){.queue = NULL});
    cny_broker_wait(fault.broker, 1);
}

/* As each one's text says. */
static void obey_all(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    for (size_t i = 0; i < count; i++)
        outcomes[i] = fault_obey(deliveries[i], user);
}

static void expect_each_of_a_batch(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
    cny_peer_deliver(peer, channel, 2, "reject");
    cny_peer_deliver(peer, channel, 3, "requeue");
    cny_peer_deliver(peer, channel, 4, "reject");
    fault_expect_ack(peer, 1);
    fault_expect_reject(peer, 2, false);
    fault_expect_reject(peer, 3, true);
    fault_expect_reject(peer, 4, false);
}

static void test_failures_of_a_batch_are_rejected_one_by_one(void **state)
{
    (void)state;
    fault_listen(expect_each_of_a_batch, NULL,
                 (coney_listener){.on_batch = obey_all, .batch_size = 4, .batch_timeout_ms = NEVER_MS});
    cny_broker_wait(fault.broker, 1);
}

static void expect_no_settlement(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    amqp_channel_t channel = consume->channel;
    cny_peer_check(peer, ((amqp_basic_consume_t *)consume->args)->no_ack);
    cny_peer_answer(peer, consume);
    cny_peer_deliver(peer, channel, 1, "ack");
    cny_peer_deliver(peer, channel, 2, "reject");
    cny_peer_deliver(peer, channel, 3, "requeue");
    cny_peer_deliver(peer, channel, 4, "retry");
    wait_for_calls(peer, 4);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
}

static void test_listener_that_acknowledges_none_settles_nothing(void **state)
{
    (void)state;
    fault_listen(expect_no_settlement, NULL, (coney_listener){.acknowledge = CONEY_ACKNOWLEDGE_NONE});
    cny_broker_wait(fault.broker, 1);
}

/* Some are with the handler, some with the lane and some nowhere yet when the connection goes. */
static void deliver_and_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hold");
    cny_peer_deliver(peer, channel, 2, "ack");
    wait_for_calls(peer, 1);
    cny_peer_deliver(peer, channel, 3, "ack");
    cny_peer_deliver(peer, channel, 4, "ack");
    cny_peer_hang_up(peer);
}

/* They would not come again. */
static void test_messages_that_need_no_acknowledgement_outlive_their_connection(void **state)
{
    (void)state;
    fault_listen(deliver_and_hang_up, NULL, (coney_listener){.acknowledge = CONEY_ACKNOWLEDGE_NONE});
    fault_wait_until(coney_container_check(fault.container) == CONEY_E_LOST);
    fault_let_go();
    fault_wait_for_calls(4);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
}

/* --- lanes --- */

static void deliver_with_key(cny_peer *peer, amqp_channel_t channel, uint64_t tag, const char *key, const char *body)
{
    amqp_table_entry_t entry = {
        .key = amqp_cstring_bytes("key"),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(key)},
    };
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_HEADERS_FLAG,
                                          .headers = {.num_entries = 1, .entries = &entry}};
    cny_peer_deliver_method(peer, channel, tag);
    cny_peer_send_header(peer, channel, strlen(body), &properties);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, body, strlen(body));
}

/* What is handled later but done first must not cover what is not done. */
static void expect_acks_as_lanes_finish(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    deliver_with_key(peer, channel, 1, "a", "hold");
    deliver_with_key(peer, channel, 2, "a", "ack");
    deliver_with_key(peer, channel, 3, "b", "ack");
    fault_expect_ack(peer, 3);
    deliver_with_key(peer, channel, 4, "b", "reject");
    fault_expect_reject(peer, 4, false);
    fault_let_go();
    fault_expect_ack(peer, 1);
    fault_expect_ack(peer, 2);
}

static void test_each_lane_acks_its_own_messages_one_by_one(void **state)
{
    (void)state;
    fault_listen(expect_acks_as_lanes_finish, NULL, (coney_listener){.lanes = 1000, .lane_header = "key"});
    cny_broker_wait(fault.broker, 1);
}

/* One of the handlers has another message behind it. */
static void hold_two_lanes(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    deliver_with_key(peer, channel, 1, "a", "hold");
    deliver_with_key(peer, channel, 2, "a", "ack");
    deliver_with_key(peer, channel, 3, "b", "hold");
}

static void test_stop_that_gives_up_tells_how_many_handlers_run(void **state)
{
    (void)state;
    fault_listen(hold_two_lanes, NULL, (coney_listener){.lanes = 1000, .lane_header = "key"});
    fault_wait_for_calls(2);
    fault_expect_status(CONEY_E_TIMEOUT, coney_container_stop_with(fault.container, CONEY_STOP_DRAIN, SOON_MS));
    fault_expect_text("2 handlers have not returned");
    fault_let_go();
    fault_let_go();
}

/* --- what no handler got --- */

static void expect_the_rest_back(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hold");
    cny_peer_deliver(peer, channel, 2, "ack");
    cny_peer_deliver(peer, channel, 3, "ack");
    cny_peer_wait_go(peer);
    cny_peer_deliver(peer, channel, 4, "ack"); /* nobody told the broker not to */
    fault_let_go();
    fault_expect_ack(peer, 1);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static bool no_consumer_takes_more(void)
{
    coney_health health;
    return coney_container_health(fault.container, &health) == CONEY_OK && health.consumers == 0;
}

static coney_status finish(void)
{
    return coney_container_stop_with(fault.container, CONEY_STOP_FINISH, 0);
}

/* A basic.cancel, or a basic.nack for each of them, would let others overtake them. */
static void test_stop_finish_returns_what_no_handler_got_by_the_end_of_the_channel(void **state)
{
    (void)state;
    fault_listen(expect_the_rest_back, NULL, (coney_listener){.queue = NULL});
    fault_wait_for_calls(1);
    fault_in_background(finish);
    fault_wait_until(no_consumer_takes_more());
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

static void expect_silence_at_the_stop(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hold");
    cny_peer_deliver(peer, channel, 2, "ack");
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD));
    fault_let_go();
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
}

static void test_stop_now_closes_the_channel_and_says_no_more(void **state)
{
    (void)state;
    fault_listen(expect_silence_at_the_stop, NULL, (coney_listener){.queue = NULL});
    fault_wait_for_calls(1);
    fault_expect_status(CONEY_OK, coney_container_stop_with(fault.container, CONEY_STOP_NOW, 0));
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

/* A handler says that nobody here can handle it. */
static coney_outcome give_up(coney_delivery *delivery, void *user)
{
    fault_obey(delivery, user);
    return CONEY_STOP;
}

static void expect_all_back(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_cork(peer, true);
    for (uint64_t tag = 1; tag <= 3; tag++)
        cny_peer_deliver(peer, channel, tag, "ack");
    cny_peer_cork(peer, false);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void test_outcome_stop_returns_its_message_and_those_behind_it(void **state)
{
    (void)state;
    fault_listen(expect_all_back, NULL, (coney_listener){.on_message = give_up});
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 1);
    fault_wait_until(coney_container_check(fault.container) == CONEY_E_STATE);
    fault_expect_text("returned CONEY_STOP");
    assert_int_equal(fault_handler_calls(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_ack_every_acks_all_at_once_and_the_rest_after_ack_after_ms),
        fault_test(test_ack_every_says_nothing_before_there_are_so_many),
        fault_test(test_failure_comes_after_the_acks_before_it_and_alone),
        fault_test(test_failure_without_acks_before_it_is_all_that_is_said),
        fault_test(test_stop_sends_the_acks_that_wait),
        fault_test(test_stop_that_gives_back_the_rest_sends_the_acks_that_wait),
        fault_test(test_ack_after_ms_counts_while_other_messages_are_handled),
        fault_test(test_failures_that_come_together_are_rejected_one_by_one),
        fault_test(test_failures_of_a_batch_are_rejected_one_by_one),
        fault_test(test_listener_that_acknowledges_none_settles_nothing),
        fault_test(test_messages_that_need_no_acknowledgement_outlive_their_connection),
        fault_test(test_each_lane_acks_its_own_messages_one_by_one),
        fault_test(test_stop_that_gives_up_tells_how_many_handlers_run),
        fault_test(test_stop_finish_returns_what_no_handler_got_by_the_end_of_the_channel),
        fault_test(test_stop_now_closes_the_channel_and_says_no_more),
        fault_test(test_outcome_stop_returns_its_message_and_those_behind_it),
    };
    return cmocka_run_group_tests_name("settle", tests, NULL, NULL);
}
