/* SPDX-License-Identifier: MIT */
/* While deliveries stream in, acknowledgements that wait to be written become one. Whatever becomes of them, each
 * message is acknowledged once, and none that no handler has acknowledged. */
#include "support/fault_consumer.h"

#include <stdatomic.h>

enum { BURSTS = 50, BURST = 100 };

/* The next acknowledgement: of the one after up_to, or of several from there on. */
static uint64_t expect_more_acks(cny_peer *peer, uint64_t up_to)
{
    const amqp_basic_ack_t *ack = cny_peer_expect(peer, AMQP_BASIC_ACK_METHOD)->args;
    cny_peer_check(peer, ack->multiple ? ack->delivery_tag > up_to + 1 : ack->delivery_tag == up_to + 1);
    return ack->delivery_tag;
}

static void deliver_in_bursts(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    uint64_t tag = 0, up_to = 0;
    for (int i = 0; i < BURSTS; i++) {
        cny_peer_cork(peer, true);
        for (int n = 0; n < BURST; n++)
            cny_peer_deliver(peer, channel, ++tag, "ack");
        cny_peer_cork(peer, false);
        while (up_to < tag)
            up_to = expect_more_acks(peer, up_to);
    }
    cny_peer_check(peer, up_to == tag);
}

static void test_each_message_of_a_burst_is_acknowledged_once(void **state)
{
    (void)state;
    fault_listen(deliver_in_bursts, NULL, (coney_listener){0});
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), BURSTS * BURST);
}

/* All before the failure are acknowledged before it, and it is not among them. */
static void deliver_with_a_failure(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_cork(peer, true);
    for (uint64_t tag = 1; tag <= BURST; tag++)
        cny_peer_deliver(peer, channel, tag, tag == BURST / 2 ? "reject" : "ack");
    cny_peer_cork(peer, false);
    uint64_t up_to = 0;
    while (up_to < BURST / 2 - 1)
        up_to = expect_more_acks(peer, up_to);
    cny_peer_check(peer, up_to == BURST / 2 - 1);
    fault_expect_reject(peer, BURST / 2, false);
    for (up_to = BURST / 2; up_to < BURST;)
        up_to = expect_more_acks(peer, up_to);
}

static void test_failure_in_a_burst_is_rejected_alone(void **state)
{
    (void)state;
    fault_listen(deliver_with_a_failure, NULL, (coney_listener){0});
    cny_broker_wait(fault.broker, 1);
}

static atomic_bool others_are_acknowledged;

static void deliver_around_one_that_is_held(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "held");
    cny_peer_cork(peer, true);
    for (uint64_t tag = 2; tag <= BURST; tag++)
        cny_peer_deliver(peer, channel, tag, "ack");
    cny_peer_cork(peer, false);
    bool seen[BURST + 1] = {false};
    for (int acks = 2; acks <= BURST; acks++) {
        const amqp_basic_ack_t *ack = cny_peer_expect(peer, AMQP_BASIC_ACK_METHOD)->args;
        cny_peer_check(peer, !ack->multiple && ack->delivery_tag >= 2 && ack->delivery_tag <= BURST);
        cny_peer_check(peer, !seen[ack->delivery_tag]);
        seen[ack->delivery_tag] = true;
    }
    atomic_store(&others_are_acknowledged, true);
    fault_expect_ack(peer, 1);
}

static coney_delivery *kept;

static coney_outcome keep_the_first(coney_delivery *delivery, void *user)
{
    (void)user;
    if (strcmp(coney_message_body(coney_delivery_message(delivery)), "held") != 0)
        return CONEY_ACK;
    kept = coney_delivery_ref(delivery);
    return CONEY_DEFER;
}

static void test_acknowledgements_do_not_cover_one_that_is_not_settled(void **state)
{
    (void)state;
    atomic_store(&others_are_acknowledged, false);
    fault_listen(deliver_around_one_that_is_held, NULL,
                 (coney_listener){.on_message = keep_the_first, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    fault_wait_until(atomic_load(&others_are_acknowledged));
    fault_expect_status(CONEY_OK, coney_delivery_settle(kept, CONEY_ACK));
    coney_delivery_unref(kept);
    cny_broker_wait(fault.broker, 1);
}

/* The third message waits before it goes back, so "up to" a later one would acknowledge it. */
static void deliver_around_one_that_goes_back(cny_peer *peer, void *user)
{
    (void)user;
    enum { DELAYED = 3, LAST = 8 };
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    for (uint64_t tag = 1; tag <= LAST; tag++)
        cny_peer_deliver(peer, channel, tag, tag == DELAYED ? "retry" : "ack");
    fault_expect_ack_up_to(peer, DELAYED - 1);
    for (uint64_t tag = DELAYED + 1; tag <= LAST; tag++)
        fault_expect_ack(peer, tag);
    fault_expect_reject(peer, DELAYED, true);
    const uint64_t last_of_all = UINT64_C(2) * LAST;
    for (uint64_t tag = LAST + 1; tag <= last_of_all; tag++)
        cny_peer_deliver(peer, channel, tag, "ack");
    fault_expect_ack_up_to(peer, last_of_all);
}

static void test_acknowledgement_of_several_does_not_cover_one_that_waits_before_it_goes_back(void **state)
{
    (void)state;
    enum { LONG_MS = 600000, DELAY_MS = 3000 };
    fault_listen(deliver_around_one_that_goes_back, NULL,
                 (coney_listener){.ack_every = 8,
                                  .ack_after_ms = LONG_MS,
                                  .retry = {.stateful = true, .max_crashes = -1, .first_delay_ms = DELAY_MS}});
    cny_broker_wait(fault.broker, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_each_message_of_a_burst_is_acknowledged_once),
        fault_test(test_failure_in_a_burst_is_rejected_alone),
        fault_test(test_acknowledgements_do_not_cover_one_that_is_not_settled),
        fault_test(test_acknowledgement_of_several_does_not_cover_one_that_waits_before_it_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
