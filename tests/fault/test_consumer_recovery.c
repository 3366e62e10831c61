/* SPDX-License-Identifier: MIT */
/* Consumers that lose their connection, their channel or their queue consume again; what they had got
 * is forgotten, because the broker delivers it again, and nothing is said on a channel that is gone. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <stdatomic.h>
#include <time.h>

enum { LONG_MS = 10000, INTERVAL_MS = 100 };

static int heard(amqp_method_number_t id)
{
    return cny_broker_count_heard(fault.broker, id);
}

static void wait_for_consumers(int count)
{
    fault_wait_until(heard(AMQP_BASIC_CONSUME_METHOD) == count);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
}

/* --- every kind of end --- */

/* False: the connection has ended, too. */
typedef bool ending(cny_peer *peer, amqp_channel_t channel);

static ending *end_it; /* set before the broker starts */

/* The first consumer ends in that way; the second gets a message, wherever it is. */
static void end_one_then_deliver(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    if (cny_peer_number(peer) == 0) {
        cny_peer_wait_go(peer);
        if (!end_it(peer, channel))
            return;
        channel = cny_peer_serve_until_consumer(peer);
    }
    cny_peer_deliver(peer, channel, 1, "ack");
    fault_expect_ack(peer, 1);
}

/* One that is not refused resumes at once. */
static void expect_resumption(ending *way)
{
    end_it = way;
    fault_reset_handler();
    fault_start(end_one_then_deliver, NULL);
    fault_use_container(&(coney_container_options){.resubscribe_interval_ms = LONG_MS}, fault_obey, 1);
    cny_broker_go(fault.broker);
    fault_wait_for_calls(1);
    wait_for_consumers(2);
}

static bool end_connection(cny_peer *peer, amqp_channel_t channel)
{
    (void)channel;
    cny_peer_check(peer, cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker shuts down"));
    return false;
}

static bool cancel(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_cancel_consumer(peer, channel);
    return true;
}

static bool close_404(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - queue 'orders' in vhost '/' process is stopped");
    return true;
}

static bool close_406(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_close_channel(peer, channel, 406, "PRECONDITION_FAILED - delivery acknowledgement timed out");
    return true;
}

static bool close_403(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_close_channel(peer, channel, 403, "ACCESS_REFUSED - read access refused");
    return true;
}

static void test_consumer_resumes_after_the_loss_of_its_connection(void **state)
{
    (void)state;
    expect_resumption(end_connection);
    assert_int_equal(heard(CNY_PROTOCOL_HEADER), 2);
}

static void test_consumer_resumes_after_channel_close_404(void **state)
{
    (void)state;
    expect_resumption(close_404);
    assert_int_equal(heard(CNY_PROTOCOL_HEADER), 1);
}

static void test_consumer_resumes_after_channel_close_406(void **state)
{
    (void)state;
    expect_resumption(close_406);
    assert_int_equal(heard(CNY_PROTOCOL_HEADER), 1);
}

static void test_consumer_resumes_after_channel_close_403(void **state)
{
    (void)state;
    expect_resumption(close_403);
    assert_int_equal(heard(CNY_PROTOCOL_HEADER), 1);
}

static void test_consumer_resumes_after_basic_cancel(void **state)
{
    (void)state;
    expect_resumption(cancel);
    assert_int_equal(heard(CNY_PROTOCOL_HEADER), 1);
}

/* --- one that is refused --- */

enum { REFUSALS = 3 };

static void miss_the_queue_for_a_while(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_cancel_consumer(peer, channel);
    for (int i = 0; i < REFUSALS; i++) {
        channel = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD)->channel;
        cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
    }
}

static void start_container(cny_script *script, int resubscribe_interval_ms)
{
    fault_reset_handler();
    fault_start(script, NULL);
    fault_use_container(&(coney_container_options){.resubscribe_interval_ms = resubscribe_interval_ms}, fault_obey, 1);
}

static void test_refused_consumer_tries_again_every_resubscribe_interval(void **state)
{
    (void)state;
    static cny_heard all[CNY_MAX_HEARD];
    int64_t consumed_at[CNY_MAX_HEARD];
    start_container(miss_the_queue_for_a_while, INTERVAL_MS);
    cny_broker_go(fault.broker);
    wait_for_consumers(1 + REFUSALS + 1);
    int count = cny_broker_heard(fault.broker, all), consumers = 0;
    for (int i = 0; i < count; i++) {
        if (all[i].id == AMQP_BASIC_CONSUME_METHOD)
            consumed_at[consumers++] = all[i].at_ms;
    }
    for (int i = 2; i < consumers; i++) /* the first time it does so at once */
        assert_int_in_range(consumed_at[i] - consumed_at[i - 1], INTERVAL_MS - 2, INTERVAL_MS + 1000);
}

static void test_check_names_queue_and_reason_while_a_consumer_is_refused(void **state)
{
    (void)state;
    start_container(miss_the_queue_for_a_while, 200);
    assert_int_equal(coney_container_check(fault.container), CONEY_OK);
    cny_broker_go(fault.broker);
    fault_wait_until(coney_container_check(fault.container) == CONEY_E_NOT_FOUND &&
                     strstr(coney_last_error(), "cannot resume yet"));
    fault_expect_text("'orders'");
    fault_expect_text("NOT_FOUND - no queue 'orders' in vhost '/'");
    assert_int_equal(coney_last_error_details()->broker_code, 404);
    wait_for_consumers(1 + REFUSALS + 1);
}

static void miss_the_queue_once(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_cancel_consumer(peer, channel);
    channel = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD)->channel;
    cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
}

static void test_stop_ends_the_waiting_of_a_refused_consumer(void **state)
{
    (void)state;
    start_container(miss_the_queue_once, LONG_MS);
    cny_broker_go(fault.broker);
    fault_wait_until(coney_container_check(fault.container) == CONEY_E_NOT_FOUND &&
                     strstr(coney_last_error(), "cannot resume yet"));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    test_expect_elapsed(began, 0, 0);
}

/* --- what it had got --- */

/* The first connection delivers what the test wants in two steps and hangs up in a third; the second
 * delivers all but the first message again. */
static void deliver_then_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    if (cny_peer_number(peer) == 0) {
        cny_peer_deliver(peer, channel, 1, "hold");
        cny_peer_wait_go(peer);
        cny_peer_deliver(peer, channel, 2, "hold");
        cny_peer_deliver(peer, channel, 3, "b");
        cny_peer_deliver(peer, channel, 4, "c");
        cny_peer_wait_go(peer);
        cny_peer_hang_up(peer);
        return;
    }
    cny_peer_wait_go(peer);
    cny_peer_deliver(peer, channel, 1, "b");
    cny_peer_deliver(peer, channel, 2, "c");
    fault_expect_ack(peer, 1);
    fault_expect_ack(peer, 2);
}

static void start_holding_the_first(void)
{
    fault_consume(deliver_then_hang_up, NULL, 1);
    fault_use_admin(LONG_MS);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, fault_ask()); /* answered behind the deliveries, so they are here */
}

static void lose_the_connection(void)
{
    cny_broker_go(fault.broker);
    fault_wait_for_opening(CONEY_CONSUMING, 2);
}

static void expect_b_and_c_once(void)
{
    wait_for_consumers(2);
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 2);
    assert_int_equal(fault_handled("b"), 1);
    assert_int_equal(fault_handled("c"), 1);
}

static void test_prefetched_deliveries_are_discarded_and_handled_when_they_come_again(void **state)
{
    (void)state;
    start_holding_the_first();
    lose_the_connection();
    fault_let_go();
    expect_b_and_c_once();
    assert_int_equal(fault_handled("hold"), 1);
}

/* The consumer has taken all three out of the channel and works on the first of them. */
static void test_prefetched_deliveries_that_are_in_hand_are_discarded_too(void **state)
{
    (void)state;
    start_holding_the_first();
    fault_let_go();
    fault_wait_for_calls(2);
    lose_the_connection();
    fault_let_go();
    expect_b_and_c_once();
}

static void test_outcome_for_a_lost_connection_is_not_sent_but_counted(void **state)
{
    (void)state;
    start_holding_the_first();
    assert_int_equal(fault_info(CONEY_CONSUMING).stale_acknowledgements, 0);
    lose_the_connection();
    fault_let_go();
    fault_wait_until(fault_info(CONEY_CONSUMING).stale_acknowledgements == 1);
    assert_int_equal(heard(AMQP_BASIC_ACK_METHOD), 0);
    expect_b_and_c_once();
    assert_int_equal(heard(AMQP_BASIC_ACK_METHOD), 2);
    assert_int_equal(fault_info(CONEY_CONSUMING).stale_acknowledgements, 1);
}

static void close_the_channel_under_the_handler(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hold");
    cny_peer_wait_go(peer);
    close_406(peer, channel);
    channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "again");
    fault_expect_ack(peer, 1);
}

/* The new channel has the number and the delivery tag of the old one. */
static void test_outcome_for_a_closed_channel_does_not_reach_its_successor(void **state)
{
    (void)state;
    fault_consume(close_the_channel_under_the_handler, NULL, 1);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_for_end_of_consuming();
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).stale_acknowledgements, 1);
    assert_int_equal(fault_handled("again"), 1);
    assert_int_equal(heard(AMQP_BASIC_ACK_METHOD), 1);
}

/* --- one that the broker ends again and again --- */

enum { CANCELS = 4 };

static void cancel_again_and_again(cny_peer *peer, void *user)
{
    (void)user;
    for (int i = 0; i < CANCELS; i++)
        cny_peer_cancel_consumer(peer, cny_peer_serve_until_consumer(peer));
}

/* The first time it comes back at once, but then only every resubscribe_interval_ms. */
static void test_consumer_that_is_cancelled_each_time_resumes_every_resubscribe_interval(void **state)
{
    (void)state;
    static cny_heard all[CNY_MAX_HEARD];
    int64_t at[CANCELS + 1] = {0};
    int consumed = 0;
    start_container(cancel_again_and_again, INTERVAL_MS);
    wait_for_consumers(CANCELS + 1);
    int count = cny_broker_heard(fault.broker, all);
    for (int i = 0; i < count; i++) {
        if (all[i].id == AMQP_BASIC_CONSUME_METHOD && consumed <= CANCELS)
            at[consumed++] = all[i].at_ms;
    }
    assert_int_equal(consumed, CANCELS + 1);
    for (int i = 2; i <= CANCELS; i++)
        assert_int_in_range(at[i] - at[i - 1], INTERVAL_MS - 2, INTERVAL_MS + 4 * test_slack_ms(at[i - 1]));
}

/* --- whose connection is given up --- */

static atomic_bool lets_in;

static void let_none_in_again(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        cny_peer_serve_until_consumer(peer);
        cny_peer_wait_go(peer);
        cny_peer_hang_up(peer);
    } else if (!atomic_load(&lets_in)) {
        cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
        cny_peer_hang_up(peer);
    }
}

static int64_t cpu_ms(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

/* What is left of the attempts may cost some time at first; whoever does not sleep is never quiet. */
static bool nobody_is_busy(void)
{
    enum { WATCHED_MS = 500 };
    int64_t began = cpu_ms();
    poll(NULL, 0, WATCHED_MS); /* what is measured, not waited for */
    return cpu_ms() - began <= WATCHED_MS / 10;
}

static void test_consumers_of_a_connection_that_is_given_up_wait_until_connect_is_called(void **state)
{
    (void)state;
    const coney_recovery_options recovery = {.first_delay_ms = 5, .max_delay_ms = 10, .max_attempts = 2};
    atomic_store(&lets_in, false);
    fault_reset_handler();
    fault_start(let_none_in_again, &(coney_connection_factory_options){.recovery = recovery});
    fault_use_container(&(coney_container_options){.resubscribe_interval_ms = INTERVAL_MS}, fault_obey, 4);
    cny_broker_go(fault.broker);
    fault_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_FAILED);
    fault_wait_until(nobody_is_busy());
    assert_int_equal(fault_info(CONEY_CONSUMING).state, CONEY_CONNECTION_FAILED);
    atomic_store(&lets_in, true);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    wait_for_consumers(8);
}

/* --- stopping meanwhile --- */

static void hang_up_for_good(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        cny_peer_serve_until_consumer(peer);
        cny_peer_wait_go(peer);
    } else {
        cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    }
    cny_peer_hang_up(peer);
}

static void test_stop_ends_the_waiting_for_a_connection(void **state)
{
    (void)state;
    start_container(hang_up_for_good, LONG_MS);
    cny_broker_go(fault.broker);
    fault_wait_for_info(CONEY_CONSUMING, "attempt 2");
    fault_expect_status(CONEY_E_LOST, coney_container_check(fault.container));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    test_expect_elapsed(began, 0, 2500);
}

static void never_answer_the_second_consumer(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_cancel_consumer(peer, channel);
    cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
}

/* No handler is running, so nothing is in the way of a good stop. */
static void test_stop_ends_the_subscribing_of_a_consumer(void **state)
{
    (void)state;
    fault_expect_status(CONEY_OK, fault_start_container(never_answer_the_second_consumer, 0, 300));
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    test_expect_elapsed(began, 0, 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_consumer_resumes_after_the_loss_of_its_connection),
        fault_test(test_consumer_resumes_after_channel_close_404),
        fault_test(test_consumer_resumes_after_channel_close_406),
        fault_test(test_consumer_resumes_after_channel_close_403),
        fault_test(test_consumer_resumes_after_basic_cancel),
        fault_test(test_refused_consumer_tries_again_every_resubscribe_interval),
        fault_test(test_check_names_queue_and_reason_while_a_consumer_is_refused),
        fault_test(test_stop_ends_the_waiting_of_a_refused_consumer),
        fault_test(test_prefetched_deliveries_are_discarded_and_handled_when_they_come_again),
        fault_test(test_prefetched_deliveries_that_are_in_hand_are_discarded_too),
        fault_test(test_outcome_for_a_lost_connection_is_not_sent_but_counted),
        fault_test(test_outcome_for_a_closed_channel_does_not_reach_its_successor),
        fault_test(test_consumer_that_is_cancelled_each_time_resumes_every_resubscribe_interval),
        fault_test(test_consumers_of_a_connection_that_is_given_up_wait_until_connect_is_called),
        fault_test(test_stop_ends_the_waiting_for_a_connection),
        fault_test(test_stop_ends_the_subscribing_of_a_consumer),
    };
    return cmocka_run_group_tests_name("consumers recover", tests, NULL, NULL);
}
