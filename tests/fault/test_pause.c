/* SPDX-License-Identifier: MIT */
/* A consumer that is paused and resumed before the broker has confirmed the end of it: what is under way is handled,
 * for with CONEY_ACKNOWLEDGE_NONE it would not come again, and a broker that never confirms is not waited for without
 * end. */
#include "support/fault_consumer.h"

#include <stdio.h>

enum { SOON_MS = 300, LONG_MS = 60000 };

static void pause_and_resume(cny_script *script, int resubscribe_interval_ms)
{
    fault_listen(script, &(coney_container_options){.resubscribe_interval_ms = resubscribe_interval_ms},
                 (coney_listener){.acknowledge = CONEY_ACKNOWLEDGE_NONE});
    fault_expect_status(CONEY_OK, coney_container_pause(fault.container));
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CANCEL_METHOD) == 1);
    fault_expect_status(CONEY_OK, coney_container_resume(fault.container));
}

/* --- cancel-ok comes late --- */

static amqp_channel_t serve_until_cancel(cny_peer *peer, char tag[256])
{
    const cny_peer_method *method = cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD);
    const amqp_basic_cancel_t *cancel = method->args;
    snprintf(tag, 256, "%.*s", (int)cancel->consumer_tag.len, (const char *)cancel->consumer_tag.bytes);
    return method->channel;
}

static void deliver_after_cancel(cny_peer *peer, void *user)
{
    (void)user;
    char tag[256];
    amqp_channel_t channel = serve_until_cancel(peer, tag);
    amqp_basic_cancel_ok_t ok = {amqp_cstring_bytes(tag)};
    cny_peer_wait_go(peer);
    cny_peer_deliver(peer, channel, 1, "under way");
    cny_peer_deliver(peer, channel, 2, "under way");
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
    cny_peer_send(peer, channel, AMQP_BASIC_CANCEL_OK_METHOD, &ok);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD));
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "after");
}

static void test_channel_is_not_closed_before_the_consumer_has_ended(void **state)
{
    (void)state;
    pause_and_resume(deliver_after_cancel, LONG_MS);
    cny_broker_go(fault.broker);
    fault_wait_for_calls(3);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handled("under way"), 2);
    assert_int_equal(fault_handled("after"), 1);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
}

/* --- handlers take longer than the interval --- */

static void deliver_before_cancel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hold");
    cny_peer_deliver(peer, channel, 2, "prefetched");
    cny_peer_deliver(peer, channel, 3, "prefetched");
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD));
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
    fault_let_go();
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD));
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "after");
}

static void test_what_was_prefetched_is_handled_however_long_handlers_take(void **state)
{
    (void)state;
    pause_and_resume(deliver_before_cancel, SOON_MS / 3);
    fault_wait_for_calls(4);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handled("prefetched"), 2);
    assert_int_equal(fault_handled("after"), 1);
}

/* --- cancel-ok never comes --- */

static void never_answer_cancel(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD));
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "after");
}

static void test_broker_that_never_confirms_is_left_after_the_recovery_interval(void **state)
{
    (void)state;
    int64_t began = cny_now_ms();
    pause_and_resume(never_answer_cancel, SOON_MS);
    fault_wait_for_calls(1);
    test_expect_elapsed(began, SOON_MS, 3 * SOON_MS);
    cny_broker_wait(fault.broker, 1);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_channel_is_not_closed_before_the_consumer_has_ended),
        fault_test(test_what_was_prefetched_is_handled_however_long_handlers_take),
        fault_test(test_broker_that_never_confirms_is_left_after_the_recovery_interval),
    };
    return cmocka_run_group_tests_name("pause", tests, NULL, NULL);
}
