/* SPDX-License-Identifier: MIT */
/* What a container that leaves settling to the program says to the broker, frame by frame: each message once, on the
 * channel it came by, and nothing when that is gone. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <stdatomic.h>

enum { SOON_MS = 300, MAX_KEPT = 4 };

static _Atomic(coney_delivery *) kept[MAX_KEPT];
static atomic_int kept_count;
static atomic_bool settled;

static int release_kept(void **state)
{
    for (int i = 0; i < MAX_KEPT; i++)
        coney_delivery_unref(atomic_exchange(&kept[i], NULL));
    atomic_store(&kept_count, 0);
    atomic_store(&settled, false);
    return fault_teardown(state);
}

/* "keep" is kept for the test to settle, "forget" is not, others are told apart by the obedient handler. */
static coney_outcome keep(coney_delivery *delivery, void *user)
{
    const char *text = coney_message_body(coney_delivery_message(delivery));
    coney_outcome outcome = fault_obey(delivery, user);
    if (strcmp(text, "keep") != 0)
        return strcmp(text, "forget") == 0 ? CONEY_DEFER : outcome;
    atomic_store(&kept[atomic_load(&kept_count)], coney_delivery_ref(delivery));
    atomic_fetch_add(&kept_count, 1);
    return CONEY_DEFER;
}

static void listen_with(cny_script *script, coney_message_handler *handler, int shutdown_timeout_ms)
{
    fault_listen(script, &(coney_container_options){.shutdown_timeout_ms = shutdown_timeout_ms},
                 (coney_listener){.on_message = handler, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
}

static coney_delivery *wait_for_kept(int count)
{
    fault_wait_until(atomic_load(&kept_count) == count);
    return atomic_load(&kept[count - 1]);
}

static void wait_until_settled(cny_peer *peer)
{
    int64_t deadline = cny_now_ms() + CNY_PATIENCE_MS;
    while (!atomic_load(&settled) && cny_now_ms() < deadline)
        poll(NULL, 0, 2);
    cny_peer_check(peer, atomic_load(&settled));
}

/* --- by the program --- */

static void expect_each_as_settled(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    for (uint64_t tag = 1; tag <= 4; tag++)
        cny_peer_deliver(peer, channel, tag, "keep");
    fault_expect_ack(peer, 3);
    fault_expect_reject(peer, 1, false);
    fault_expect_reject(peer, 4, true);
    fault_expect_reject(peer, 2, true);
}

static void test_each_is_settled_alone_in_the_order_of_the_calls(void **state)
{
    (void)state;
    listen_with(expect_each_as_settled, keep, 0);
    wait_for_kept(4);
    fault_expect_status(CONEY_OK, coney_delivery_settle(kept[2], CONEY_ACK));
    fault_expect_status(CONEY_OK, coney_delivery_settle(kept[0], CONEY_REJECT));
    fault_expect_status(CONEY_OK, coney_delivery_settle(kept[3], CONEY_REQUEUE));
    fault_expect_status(CONEY_OK, coney_delivery_settle(kept[1], CONEY_RETRY));
    cny_broker_wait(fault.broker, 1);
}

static void expect_one_ack(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "keep");
    fault_expect_ack(peer, 1);
    wait_until_settled(peer);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
}

static void test_what_is_settled_already_is_not_settled_again(void **state)
{
    (void)state;
    listen_with(expect_one_ack, keep, 0);
    coney_delivery *delivery = wait_for_kept(1);
    fault_expect_status(CONEY_OK, coney_delivery_settle(delivery, CONEY_ACK));
    fault_expect_status(CONEY_E_STATE, coney_delivery_settle(delivery, CONEY_REJECT));
    fault_expect_text("settled already");
    atomic_store(&settled, true);
    cny_broker_wait(fault.broker, 1);
}

static void test_defer_and_nonsense_settle_nothing(void **state)
{
    (void)state;
    listen_with(expect_one_ack, keep, 0);
    coney_delivery *delivery = wait_for_kept(1);
    fault_expect_status(CONEY_E_INVALID, coney_delivery_settle(delivery, CONEY_DEFER));
    fault_expect_status(CONEY_E_INVALID, coney_delivery_settle(delivery, (coney_outcome)0));
    fault_expect_status(CONEY_E_INVALID, coney_delivery_settle(delivery, (coney_outcome)42));
    fault_expect_text("42");
    fault_expect_status(CONEY_OK, coney_delivery_settle(delivery, CONEY_ACK));
    atomic_store(&settled, true);
    cny_broker_wait(fault.broker, 1);
}

/* --- by nobody else --- */

static atomic_int refused_calls;

static coney_status refuse(const void *payload, void *user)
{
    (void)payload;
    (void)user;
    return CONEY_E_CONVERSION;
}

static coney_outcome settle_in_on_error(coney_delivery *delivery, const coney_error *error, coney_outcome outcome,
                                        void *user)
{
    (void)error;
    (void)user;
    if (coney_delivery_settle(delivery, CONEY_ACK) == CONEY_E_STATE)
        atomic_fetch_add(&refused_calls, 1);
    return outcome;
}

static void expect_one_reject(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "invalid");
    fault_expect_reject(peer, 1, false);
    cny_peer_deliver(peer, channel, 2, "invalid");
    fault_expect_reject(peer, 2, false);
}

/* What it returns is the outcome. The second message shows that nothing else is said of the first. */
static void test_on_error_does_not_settle(void **state)
{
    (void)state;
    atomic_store(&refused_calls, 0);
    fault_listen(expect_one_reject, NULL,
                 (coney_listener){.converter = coney_text_converter(),
                                  .validator = refuse,
                                  .on_error = settle_in_on_error,
                                  .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(refused_calls, 2);
    assert_int_equal(fault_handler_calls(), 0);
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container)); /* nothing is in progress any more */
}

/* --- by the handler --- */

static void expect_returned_outcomes(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
    fault_expect_ack(peer, 1);
    cny_peer_deliver(peer, channel, 2, "reject");
    fault_expect_reject(peer, 2, false);
    cny_peer_deliver(peer, channel, 3, "requeue");
    fault_expect_reject(peer, 3, true);
    cny_peer_deliver(peer, channel, 4, "nonsense");
    fault_expect_reject(peer, 4, true);
}

static void test_outcome_that_the_handler_returns_settles(void **state)
{
    (void)state;
    listen_with(expect_returned_outcomes, keep, 0);
    cny_broker_wait(fault.broker, 1);
}

static coney_outcome ack_then_return_reject(coney_delivery *delivery, void *user)
{
    (void)user;
    if (coney_delivery_settle(delivery, CONEY_ACK) != CONEY_OK)
        return CONEY_REQUEUE;
    return CONEY_REJECT;
}

static void expect_acks_only(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "text");
    cny_peer_deliver(peer, channel, 2, "text");
    fault_expect_ack(peer, 1);
    fault_expect_ack(peer, 2);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
}

static void test_what_the_handler_settled_its_outcome_does_not_change(void **state)
{
    (void)state;
    listen_with(expect_acks_only, ack_then_return_reject, 0);
    cny_broker_wait(fault.broker, 1);
}

static void expect_the_forgotten_back(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "forget");
    fault_expect_reject(peer, 1, true);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
}

static void test_delivery_that_nobody_keeps_goes_back(void **state)
{
    (void)state;
    listen_with(expect_the_forgotten_back, keep, 0);
    cny_broker_wait(fault.broker, 1);
}

/* --- when the channel is gone --- */

/* The new channel has no message to be settled, and the scripted broker fails the test for one on the old. */
static void expect_silence_on_the_next_channel(cny_peer *peer)
{
    cny_peer_serve_until_consumer(peer);
    wait_until_settled(peer);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
}

static void close_the_channel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "keep");
    cny_peer_deliver(peer, channel, 2, "keep");
    cny_peer_wait_go(peer);
    cny_peer_close_channel(peer, channel, 406, "PRECONDITION_FAILED - delivery acknowledgement timed out");
    expect_silence_on_the_next_channel(peer);
}

static void lose_the_connection(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0) {
        expect_silence_on_the_next_channel(peer);
        return;
    }
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "keep");
    cny_peer_deliver(peer, channel, 2, "keep");
    cny_peer_wait_go(peer);
    cny_peer_reset(peer);
}

static void expect_stale(cny_script *script, int scripts)
{
    listen_with(script, keep, 0);
    wait_for_kept(2);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_wait_for_end_of_consuming() == CONEY_OK ? CONEY_E_TIMEOUT : CONEY_OK);
    fault_expect_status(CONEY_E_STALE, coney_delivery_settle(kept[0], CONEY_ACK));
    fault_expect_text("orders");
    coney_delivery_unref(atomic_exchange(&kept[1], NULL)); /* nor is one that is let go */
    atomic_store(&settled, true);
    cny_broker_wait(fault.broker, scripts);
}

static void test_settling_after_the_channel_was_closed_is_stale_and_sends_nothing(void **state)
{
    (void)state;
    expect_stale(close_the_channel, 1);
}

static void test_settling_after_the_connection_was_lost_is_stale_and_sends_nothing(void **state)
{
    (void)state;
    expect_stale(lose_the_connection, 2);
}

static void test_stop_does_not_wait_for_what_is_delivered_again(void **state)
{
    (void)state;
    listen_with(close_the_channel, keep, 5000);
    wait_for_kept(2);
    cny_broker_go(fault.broker);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CONSUME_METHOD) == 2);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
    int64_t began = cny_now_ms();
    atomic_store(&settled, true);
    cny_broker_wait(fault.broker, 1);
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    test_expect_elapsed(began, 0, 3000);
}

/* --- at the stop --- */

static void expect_ack_before_the_end(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "keep");
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD));
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
    atomic_store(&settled, true);
    fault_expect_ack(peer, 1);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static coney_status stop_container(void)
{
    return coney_container_stop(fault.container);
}

static void test_stop_waits_for_what_is_deferred(void **state)
{
    (void)state;
    listen_with(expect_ack_before_the_end, keep, 5000);
    coney_delivery *delivery = wait_for_kept(1);
    fault_in_background(stop_container);
    fault_wait_until(atomic_load(&settled));
    assert_false(fault_background_is_over());
    fault_expect_status(CONEY_OK, coney_delivery_settle(delivery, CONEY_ACK));
    fault_expect_status(CONEY_OK, fault_background_end());
    cny_broker_wait(fault.broker, 1);
}

static void expect_only_the_end(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "keep");
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD));
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD));
    wait_until_settled(peer);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
}

static void test_what_is_deferred_goes_back_at_the_stops_deadline(void **state)
{
    (void)state;
    listen_with(expect_only_the_end, keep, SOON_MS);
    coney_delivery *delivery = wait_for_kept(1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_container_stop(fault.container));
    fault_expect_text("1 deliveries are not settled");
    test_expect_elapsed(began, SOON_MS, SOON_MS + 1000);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_CHANNEL_CLOSE_METHOD) == 1);
    fault_expect_status(CONEY_E_STALE, coney_delivery_settle(delivery, CONEY_ACK));
    atomic_store(&settled, true);
    cny_broker_wait(fault.broker, 1);
}

int main(void)
{
#define manual_test(function) cmocka_unit_test_teardown(function, release_kept)
    const struct CMUnitTest tests[] = {
        manual_test(test_each_is_settled_alone_in_the_order_of_the_calls),
        manual_test(test_what_is_settled_already_is_not_settled_again),
        manual_test(test_defer_and_nonsense_settle_nothing),
        manual_test(test_on_error_does_not_settle),
        manual_test(test_outcome_that_the_handler_returns_settles),
        manual_test(test_what_the_handler_settled_its_outcome_does_not_change),
        manual_test(test_delivery_that_nobody_keeps_goes_back),
        manual_test(test_settling_after_the_channel_was_closed_is_stale_and_sends_nothing),
        manual_test(test_settling_after_the_connection_was_lost_is_stale_and_sends_nothing),
        manual_test(test_stop_does_not_wait_for_what_is_delivered_again),
        manual_test(test_stop_waits_for_what_is_deferred),
        manual_test(test_what_is_deferred_goes_back_at_the_stops_deadline),
    };
    return cmocka_run_group_tests_name("settle, manual", tests, NULL, NULL);
}
