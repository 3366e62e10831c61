/* SPDX-License-Identifier: MIT */
/* Messages that stay unacknowledged for longer than the broker's consumer_timeout: each time the broker closes the
 * channel, or cancels the consumer (quorum queues from RabbitMQ 4.3 on). The attempts go on across that, so that they
 * come to an end, and the program is told what to change.
 *
 * The group has a broker of its own, because the time-out is that of all queues. */
#include "support/cluster.h"
#include "support/container_fixture.h"
#include "support/listening.h"
#include "support/plain_client.h"

#include <coney/amqp/batch.h>

#include <stdlib.h>
#include <unistd.h>

enum { TIMEOUT_MS = 1000 };

static cny_cluster *cluster;
/* To look at queues. RabbitMQ 3.10 on a busy machine may close the container's connection (504). */
static coney_connection_factory *looking;

static int start_broker(void **state)
{
    cluster = cny_cluster_start(1);
    cny_cluster_ctl(cluster, 0,
                    "eval 'application:set_env(rabbit, consumer_timeout, 1000), "
                    "application:set_env(rabbit, channel_tick_interval, 100).'");
    setenv("CONEY_TEST_URI", cny_cluster_uri(cluster), 1);
    int result = test_client_setup(state);
    coney_admin_free(client.admin);
    assert_ok(coney_connection_factory_new(&looking, test_uri(), NULL));
    assert_ok(coney_admin_new(&client.admin, looking, &(coney_admin_options){.timeout_ms = TEST_PATIENCE_MS}));
    return result;
}

static int stop_broker(void **state)
{
    int result = test_client_teardown(state);
    coney_connection_factory_free(looking);
    cny_cluster_stop(cluster);
    return result;
}

/* Each back-off is longer than the broker waits. */
#define LONG_BACKOFFS .max_attempts = 3, .first_delay_ms = 4 * TIMEOUT_MS, .multiplier = 1

static const coney_properties with_id = {.message_id = "m-1"};

static void test_attempts_in_place_come_to_an_end(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {LONG_BACKOFFS}});
    listening_send_with("fail", &with_id);
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "after 3 attempts");
    assert_int_equal(listening.count, 3);
}

static void test_attempts_of_each_message_come_to_an_end(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {LONG_BACKOFFS}});
    for (int i = 0; i < 3; i++) {
        const char *id = (const char *[]){"a", "b", "c"}[i];
        listening_send_with(i == 1 ? "ack" : "fail", &(coney_properties){.message_id = id});
    }
    test_wait_for_depth(listening.dead, 2);
    assert_int_equal(listening_calls_of("fail"), 6);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
}

static void test_attempts_of_a_quorum_queue_come_to_an_end(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_start(&(coney_listener){.retry = {LONG_BACKOFFS}});
    listening_send_with("fail", &with_id);
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

/* ---- handlers that take too long ---- */

static coney_outcome fail_too_late(coney_delivery *delivery, void *user)
{
    (void)user;
    listening_note(delivery);
    usleep(3 * TIMEOUT_MS * 1000);
    return CONEY_RETRY;
}

static void test_handler_that_fails_too_late_is_called_max_attempts_times(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = fail_too_late,
                                      .retry = {.max_attempts = 2, .first_delay_ms = 1, .max_delay_ms = 1}});
    listening_send_with("fail", &with_id);
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 0});
    assert_int_equal(listening.count, 2);
}

/* ---- batches ---- */

static void test_attempts_of_the_parts_of_a_batch_come_to_an_end(void **state)
{
    (void)state;
    coney_message *parts[2], *batch;
    for (size_t i = 0; i < COUNT_OF(parts); i++) {
        const char *text = i == 0 ? "ack" : "fail";
        assert_ok(coney_message_new(&parts[i], text, strlen(text), &with_id));
    }
    assert_ok(coney_message_batch(&batch, parts, COUNT_OF(parts)));
    listening_start(&(coney_listener){.retry = {LONG_BACKOFFS}});
    assert_ok(coney_template_send(client.sender, listening.queue, batch, NULL));
    coney_message_unref(batch);
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        coney_message_unref(parts[i]);
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening_calls_of("fail"), 3);
}

/* ---- the count ends with the message ---- */

static void test_message_that_was_recovered_is_forgotten(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {LONG_BACKOFFS}});
    for (int i = 1; i <= 2; i++) {
        listening_send_with("fail", &with_id);
        test_wait_for_depth(listening.dead, (uint32_t)i);
        assert_int_equal(listening.count, 3 * i);
    }
}

/* ---- what is told ---- */

static void test_event_and_log_tell_what_to_change(void **state)
{
    (void)state;
    static const char *const words[] = {"retry.first_delay_ms", "retry.max_delay_ms", "retry.max_attempts", "prefetch",
                                        "consumer_timeout"};
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_start(&(coney_listener){.retry = {LONG_BACKOFFS}});
    listening_send_with("fail", &with_id);
    for (size_t i = 0; i < COUNT_OF(words); i++) {
        listening_wait_for_event(CONEY_CONSUMER_FAILED, words[i]);
        test_log_expect(words[i]);
    }
    listening_wait_for_event(CONEY_CONSUMER_FAILED, "delivery acknowledgement");
}

/* ---- a queue that cancels ---- */

enum { HANDLING_MS = 300, MESSAGES = 8 }; /* what is prefetched with a message takes longer than the broker waits */

static coney_outcome be_slow(coney_delivery *delivery, void *user)
{
    (void)user;
    listening_note(delivery);
    usleep(HANDLING_MS * 1000);
    return CONEY_ACK;
}

static void use_queue_that_cancels(const coney_queue *queue)
{
    if (!plain_broker_is_from(4, 3))
        test_leave_out(OLDER_THAN_4_3);
    listening_use_queue(queue);
}

static void send_all(void)
{
    for (int i = 0; i < MESSAGES; i++) {
        char text[] = {(char)('a' + i), '\0'};
        listening_send_with(text, &(coney_properties){.message_id = text});
    }
}

static bool all_are_acknowledged(void)
{
    coney_listener_statistics now = listening_statistics();
    return now.acknowledged >= MESSAGES && now.in_progress == 0;
}

/* Beside the message at work at the time of the cancel one that is acknowledged right then may come again. */
static void expect_nothing_begun_in_vain(void)
{
    test_wait_until(all_are_acknowledged());
    int cancels = listening_events(CONEY_CONSUMER_FAILED);
    coney_listener_statistics counts = listening_statistics();
    assert_true(cancels > 0);
    assert_true(counts.stale > 0);
    assert_int_equal(counts.acknowledged + counts.stale, listening.count);
    assert_int_in_range(listening.count, MESSAGES + 1, MESSAGES + 2 * cancels);
}

static void test_cancelled_consumer_begins_nothing_that_comes_again(void **state)
{
    (void)state;
    use_queue_that_cancels(&(coney_queue){.kind = CONEY_QUORUM});
    send_all();
    listening_start(&(coney_listener){.on_message = be_slow, .prefetch = MESSAGES});
    listening_wait_for_event(CONEY_CONSUMER_FAILED, "the consumer of a queue that is there");
    expect_nothing_begun_in_vain();
    listening_expect_nothing_left();
}

static void test_cancelled_single_active_consumer_keeps_the_order(void **state)
{
    (void)state;
    use_queue_that_cancels(&(coney_queue){.kind = CONEY_QUORUM, .single_active_consumer = true});
    send_all();
    listening_start(&(coney_listener){.on_message = be_slow, .prefetch = MESSAGES - 2});
    expect_nothing_begun_in_vain();
    for (int i = 1; i < listening.count; i++)
        assert_true(listening.calls[i].text[0] >= listening.calls[i - 1].text[0]);
}

static void test_cancelled_lanes_begin_nothing_that_comes_again(void **state)
{
    (void)state;
    use_queue_that_cancels(&(coney_queue){.kind = CONEY_QUORUM});
    send_all();
    listening_start(&(coney_listener){.on_message = be_slow, .prefetch = MESSAGES, .lanes = 2});
    expect_nothing_begun_in_vain();
}

/* What the queue hands out once it has cancelled its consumer nobody would get, or all of it would count. */
static void test_cancelled_consumer_is_not_the_queues_any_more(void **state)
{
    (void)state;
    use_queue_that_cancels(&(coney_queue){.kind = CONEY_QUORUM});
    send_all();
    listening_start(&(coney_listener){.on_message = be_slow, .prefetch = MESSAGES});
    expect_nothing_begun_in_vain();
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(client.admin, listening.queue, &info));
    assert_int_equal(info.consumer_count, 1);
    for (int i = 0; i < listening.count; i++)
        assert_int_in_range(listening.calls[i].attempt, 1, 2);
}

static coney_delivery *_Atomic deferred;

static coney_outcome defer_the_first(coney_delivery *delivery, void *user)
{
    (void)user;
    if (listening_note(delivery) > 0)
        return CONEY_ACK;
    atomic_store(&deferred, coney_delivery_ref(delivery));
    return CONEY_DEFER;
}

static void test_deferred_delivery_of_a_cancelled_consumer_is_stale(void **state)
{
    (void)state;
    use_queue_that_cancels(&(coney_queue){.kind = CONEY_QUORUM});
    listening_start(&(coney_listener){.on_message = defer_the_first, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    listening_send_with("deferred", &with_id);
    listening_wait_for_calls(2); /* it has come again */
    assert_fails(coney_delivery_settle(atomic_load(&deferred), CONEY_ACK), CONEY_E_STALE, listening.queue);
    coney_delivery_unref(atomic_exchange(&deferred, NULL));
    test_wait_until(listening_statistics().acknowledged == 1);
    assert_int_equal(listening_statistics().stale, 1);
    listening_expect_nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_attempts_in_place_come_to_an_end),
        listening_test(test_attempts_of_each_message_come_to_an_end),
        listening_test(test_attempts_of_a_quorum_queue_come_to_an_end),
        listening_test(test_handler_that_fails_too_late_is_called_max_attempts_times),
        listening_test(test_attempts_of_the_parts_of_a_batch_come_to_an_end),
        listening_test(test_message_that_was_recovered_is_forgotten),
        listening_test(test_event_and_log_tell_what_to_change),
        listening_test(test_cancelled_consumer_begins_nothing_that_comes_again),
        listening_test(test_cancelled_single_active_consumer_keeps_the_order),
        listening_test(test_cancelled_lanes_begin_nothing_that_comes_again),
        listening_test(test_cancelled_consumer_is_not_the_queues_any_more),
        listening_test(test_deferred_delivery_of_a_cancelled_consumer_is_stale),
    };
    if (!cny_cluster_is_possible())
        return test_leave_out_all(COUNT_OF(tests), NO_BROKER_TO_BREAK);
    return cmocka_run_group_tests(tests, start_broker, stop_broker);
}
