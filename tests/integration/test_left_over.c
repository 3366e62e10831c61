/* SPDX-License-Identifier: MIT */
/* The log tells how many prefetched messages a stop or a loss left unhandled: all of them, in one line. It is written
 * when the stop returns. */
#include "support/container_fixture.h"

#include <coney/amqp/batch.h>

enum { COUNT = 10 };

static void start_holding(const coney_listener *listener, int inside)
{
    here.handler.holds = 1;
    test_use_container(NULL);
    test_listen(listener);
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, COUNT);
    test_wait_for(&here.handler.inside, inside);
    test_wait_for_depth(here.queue, 0);
    test_log_start(CONEY_LOG_WARN);
}

static void expect_line(const char *words)
{
    assert_int_equal(test_log_count("prefetched messages"), 1);
    test_log_expect(words);
}

/* ---- stops ---- */

static void stop_and_expect(coney_stop_mode mode, uint32_t back_before_the_handler, const char *words)
{
    test_stop_in_background(mode, 0);
    if (back_before_the_handler > 0)
        test_wait_for_depth(here.queue, back_before_the_handler);
    else
        test_wait_until(test_health().consumers == 0); /* at the broker they stay until their handlers return */
    here.handler.holds = 0;
    assert_ok(test_background_end());
    expect_line(words);
}

static void test_stop_now_tells_all_that_goes_back(void **state)
{
    (void)state;
    start_holding(&(coney_listener){0}, 1);
    stop_and_expect(CONEY_STOP_NOW, COUNT, " 9 prefetched messages");
}

static void test_stop_now_tells_all_that_goes_back_from_lanes(void **state)
{
    (void)state;
    start_holding(&(coney_listener){.lanes = 4}, 1);
    stop_and_expect(CONEY_STOP_NOW, COUNT, " 9 prefetched messages");
}

static void test_stop_now_tells_all_that_goes_back_from_several_consumers(void **state)
{
    (void)state;
    start_holding(&(coney_listener){.concurrency = 2}, 2);
    stop_and_expect(CONEY_STOP_NOW, COUNT, " 8 prefetched messages");
}

static void test_stop_that_finishes_tells_all_that_goes_back(void **state)
{
    (void)state;
    start_holding(&(coney_listener){0}, 1);
    stop_and_expect(CONEY_STOP_FINISH, 0, " 9 prefetched messages");
}

static void test_stop_that_finishes_tells_all_that_goes_back_from_several_consumers(void **state)
{
    (void)state;
    start_holding(&(coney_listener){.concurrency = 2}, 2);
    stop_and_expect(CONEY_STOP_FINISH, 0, " 8 prefetched messages");
}

static void test_drain_past_its_deadline_tells_all_that_goes_back(void **state)
{
    (void)state;
    start_holding(&(coney_listener){0}, 1);
    assert_int_equal(coney_container_stop_with(here.container, CONEY_STOP_DRAIN, 100), CONEY_E_TIMEOUT);
    test_wait_for_depth(here.queue, COUNT);
    here.handler.holds = 0;
    assert_ok(coney_container_stop(here.container));
    expect_line(" 9 prefetched messages");
}

static void test_drain_in_time_tells_nothing(void **state)
{
    (void)state;
    start_holding(&(coney_listener){0}, 1);
    here.handler.holds = 0;
    assert_ok(coney_container_stop(here.container));
    assert_int_equal(here.handler.calls, COUNT);
    assert_int_equal(test_log_count("prefetched messages"), 0);
}

static void test_messages_that_are_not_acknowledged_are_told_as_lost(void **state)
{
    (void)state;
    start_holding(&(coney_listener){.acknowledge = CONEY_ACKNOWLEDGE_NONE}, 1);
    test_stop_in_background(CONEY_STOP_NOW, 0);
    test_wait_for_consumers(here.queue, 0);
    here.handler.holds = 0;
    assert_ok(test_background_end());
    expect_line(" 9 prefetched messages");
    test_log_expect("are lost");
}

/* ---- batches ---- */

static void send_batches(int count)
{
    coney_message *parts[5], *batch;
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        parts[i] = test_text("part");
    assert_ok(coney_message_batch(&batch, parts, COUNT_OF(parts)));
    for (int i = 0; i < count; i++)
        assert_ok(coney_template_send(client.sender, here.queue, batch, NULL));
    coney_message_unref(batch);
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        coney_message_unref(parts[i]);
}

static void test_batch_that_is_taken_apart_counts_once(void **state)
{
    (void)state;
    here.handler.holds = 1;
    test_use_container(NULL);
    test_listen(&(coney_listener){0});
    assert_ok(coney_container_start(here.container));
    send_batches(3);
    test_wait_for(&here.handler.inside, 1);
    test_wait_for_depth(here.queue, 0);
    test_log_start(CONEY_LOG_WARN);
    stop_and_expect(CONEY_STOP_FINISH, 0, " 3 prefetched messages");
    test_wait_for_depth(here.queue, 3);
}

/* ---- losses ---- */

static void test_loss_of_the_connection_tells_all_that_goes_back(void **state)
{
    (void)state;
    start_holding(&(coney_listener){0}, 1);
    test_kill_connections();
    test_wait_for_depth(here.queue, COUNT);
    here.handler.holds = 0;
    test_log_expect("prefetched messages");
    expect_line(" 9 prefetched messages");
}

int main(void)
{
#define left_over_test(test) cmocka_unit_test_setup_teardown(test, test_listening_setup, test_listening_teardown)
    const struct CMUnitTest tests[] = {
        left_over_test(test_stop_now_tells_all_that_goes_back),
        left_over_test(test_stop_now_tells_all_that_goes_back_from_lanes),
        left_over_test(test_stop_now_tells_all_that_goes_back_from_several_consumers),
        left_over_test(test_stop_that_finishes_tells_all_that_goes_back),
        left_over_test(test_stop_that_finishes_tells_all_that_goes_back_from_several_consumers),
        left_over_test(test_drain_past_its_deadline_tells_all_that_goes_back),
        left_over_test(test_drain_in_time_tells_nothing),
        left_over_test(test_messages_that_are_not_acknowledged_are_told_as_lost),
        left_over_test(test_batch_that_is_taken_apart_counts_once),
        left_over_test(test_loss_of_the_connection_tells_all_that_goes_back),
    };
    return test_run_with_workers("left over", tests, test_client_setup, test_client_teardown);
}
