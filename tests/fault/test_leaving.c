/* SPDX-License-Identifier: MIT */
/* Consumers on their way out and in again, and refusals that look alike. */
#include "support/fault_consumer.h"

enum { INTERVAL_MS = 300 };

static int heard(amqp_method_number_t method)
{
    return cny_broker_count_heard(fault.broker, method);
}

/* --- pause and resume --- */

static void deliver_before_the_end(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_method *cancel = cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_wait_go(peer);
    cny_peer_check(peer, !cny_peer_hears(peer, 50)); /* no channel.close, though the consumer is wanted again */
    cny_peer_deliver(peer, channel, 1, "on its way");
    cny_peer_answer(peer, cancel);
    cny_peer_serve_until_consumer(peer);
}

/* Nobody would send again what is on its way to a channel that is closed. */
static void test_resume_leaves_nothing_behind_that_is_on_its_way(void **state)
{
    (void)state;
    fault_listen(deliver_before_the_end, NULL, (coney_listener){.acknowledge = CONEY_ACKNOWLEDGE_NONE});
    fault_expect_status(CONEY_OK, coney_container_pause(fault.container));
    fault_wait_until(heard(AMQP_BASIC_CANCEL_METHOD) == 1);
    fault_expect_status(CONEY_OK, coney_container_resume(fault.container));
    cny_broker_go(fault.broker);
    fault_wait_for_calls(1);
    fault_wait_until(heard(AMQP_BASIC_CONSUME_METHOD) == 2);
}

static void never_confirm_the_end(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until_consumer(peer);
    cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD));
    cny_peer_serve_until_consumer(peer);
}

static void test_end_that_is_never_confirmed_is_not_waited_for_without_end(void **state)
{
    (void)state;
    fault_listen(never_confirm_the_end, &(coney_container_options){.recovery_interval_ms = INTERVAL_MS},
                 (coney_listener){0});
    fault_expect_status(CONEY_OK, coney_container_pause(fault.container));
    fault_wait_until(heard(AMQP_BASIC_CANCEL_METHOD) == 1);
    fault_expect_status(CONEY_OK, coney_container_resume(fault.container));
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK && heard(AMQP_BASIC_CONSUME_METHOD) == 2);
}

/* --- a delivery that nobody settles --- */

static coney_delivery *kept;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    kept = coney_delivery_ref(delivery);
    return CONEY_DEFER;
}

static void deliver_then_cancel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "kept");
    cny_peer_wait_go(peer);
    cny_peer_cancel_consumer(peer, channel);
    cny_peer_serve_until_consumer(peer);
}

static void test_consumer_comes_back_though_a_delivery_is_never_settled(void **state)
{
    (void)state;
    kept = NULL;
    fault_listen(deliver_then_cancel, &(coney_container_options){.recovery_interval_ms = INTERVAL_MS},
                 (coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    coney_listener_statistics statistics = {0};
    fault_wait_until(coney_container_statistics(fault.container, "orders", &statistics) == CONEY_OK &&
                     statistics.handled == 1);
    cny_broker_go(fault.broker);
    fault_wait_until(heard(AMQP_BASIC_CONSUME_METHOD) == 2);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
    fault_expect_status(CONEY_E_STALE, coney_delivery_settle(kept, CONEY_ACK));
    coney_delivery_unref(kept);
}

/* --- refusals --- */

static const char *refusal;

static void refuse(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_close_channel(peer, consume->channel, 403, refusal);
}

static coney_status start_on(const char *queue)
{
    fault_start(refuse, NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, NULL));
    fault_expect_status(
        CONEY_OK, coney_container_listen(fault.container, &(coney_listener){.queue = queue, .on_message = fault_obey}));
    return coney_container_start(fault.container);
}

static void test_name_of_a_queue_does_not_hide_that_permissions_lack(void **state)
{
    (void)state;
    refusal = "ACCESS_REFUSED - read access to queue 'my.exclusive.q' in vhost '/' refused for user 'guest'";
    fault_expect_status(CONEY_E_ACCESS_REFUSED, start_on("my.exclusive.q"));
}

static void test_queue_in_exclusive_use_is_waited_for(void **state)
{
    (void)state;
    refusal = "ACCESS_REFUSED - queue 'orders' in vhost '/' in exclusive use";
    fault_expect_status(CONEY_OK, start_on("orders"));
    fault_expect_status(CONEY_E_ACCESS_REFUSED, coney_container_check(fault.container));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_resume_leaves_nothing_behind_that_is_on_its_way),
        fault_test(test_end_that_is_never_confirmed_is_not_waited_for_without_end),
        fault_test(test_consumer_comes_back_though_a_delivery_is_never_settled),
        fault_test(test_name_of_a_queue_does_not_hide_that_permissions_lack),
        fault_test(test_queue_in_exclusive_use_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
