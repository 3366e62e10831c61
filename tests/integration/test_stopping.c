/* SPDX-License-Identifier: MIT */
/* The ways in which a container stops, and who may ask for it. */
#include "support/container_fixture.h"
#include "support/elapsed.h"

#include "base/base.h"

/* Its handler holds the first of so many messages, the others are prefetched. */
static void start_holding_for(int messages, int shutdown_timeout_ms)
{
    here.handler.holds = 1;
    test_send(here.queue, messages);
    test_use_container(&(coney_container_options){.shutdown_timeout_ms = shutdown_timeout_ms});
    test_listen(&(coney_listener){.queue = here.queue});
    assert_ok(coney_container_start(here.container));
    test_wait_for(&here.handler.calls, 1);
    test_wait_for_depth(here.queue, 0);
}

static void start_holding(int messages)
{
    start_holding_for(messages, 8000);
}

static void wait_until_stopping(void)
{
    test_wait_for_consumers(here.queue, 0);
    test_health(); /* takes the container's lock: what begins the stop is through with it */
}

/* With CONEY_STOP_FINISH its consumers stay those of the queue until the handler returns. */
static void wait_until_finishing(void)
{
    test_wait_until(test_health().consumers == 0);
    assert_int_equal(test_consumers_at_broker(here.queue), 1);
}

static void expect_it_works_again(void)
{
    int before = here.handler.calls;
    uint32_t left;
    here.handler.holds = 0;
    here.handler.outcome = 0;
    assert_ok(coney_admin_purge_queue(client.admin, here.queue, &left));
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 2);
    test_wait_for(&here.handler.calls, before + 2);
    assert_ok(coney_container_stop(here.container));
    test_wait_for_depth(here.queue, 0);
}

/* ---- modes ---- */

static void test_drain_handles_what_was_prefetched(void **state)
{
    (void)state;
    start_holding(5);
    test_stop_in_background(CONEY_STOP_DRAIN, 0);
    wait_until_stopping();
    assert_int_equal(test_health().status, CONEY_E_STATE);
    assert_false(test_background_is_over());
    here.handler.holds = 0;
    assert_ok(test_background_end());
    assert_int_equal(here.handler.calls, 5);
    test_wait_for_depth(here.queue, 0);
    expect_it_works_again();
}

static void test_finish_ends_the_current_message_and_leaves_the_others_in_the_queue(void **state)
{
    (void)state;
    start_holding(5);
    test_stop_in_background(CONEY_STOP_FINISH, 0);
    wait_until_finishing();
    here.handler.holds = 0;
    assert_ok(test_background_end());
    assert_int_equal(here.handler.calls, 1);
    test_wait_for_depth(here.queue, 4);
    expect_it_works_again();
}

static void test_now_gives_everything_back_before_the_handler_has_returned(void **state)
{
    (void)state;
    start_holding(5);
    test_stop_in_background(CONEY_STOP_NOW, 0);
    test_wait_for_depth(here.queue, 5);
    assert_int_equal(here.handler.inside, 1);
    here.handler.holds = 0;
    assert_ok(test_background_end());
    assert_int_equal(here.handler.calls, 1);
    assert_int_equal(test_statistics(NULL).stale, 1);
    test_wait_for_depth(here.queue, 5);
    expect_it_works_again();
}

static void test_now_without_a_running_handler_returns_at_once(void **state)
{
    (void)state;
    test_start();
    int64_t began = cny_now_ms();
    assert_ok(coney_container_stop_with(here.container, CONEY_STOP_NOW, 0));
    test_expect_elapsed(began, 0, 2000);
    test_wait_for_consumers(here.queue, 0);
}

static void test_deadline_abandons_what_is_not_handled(void **state)
{
    (void)state;
    start_holding(3);
    int64_t began = cny_now_ms();
    assert_fails(coney_container_stop_with(here.container, CONEY_STOP_DRAIN, 100), CONEY_E_TIMEOUT,
                 "1 handlers have not returned within");
    assert_true(cny_now_ms() - began >= 100);
    test_wait_for_depth(here.queue, 3);
    assert_int_equal(here.handler.inside, 1);
    assert_fails(coney_container_start(here.container), CONEY_E_STATE, "still stopping");
    here.handler.holds = 0;
    assert_ok(coney_container_stop(here.container)); /* waits for the rest */
    assert_int_equal(here.handler.calls, 1);
    expect_it_works_again();
}

static void test_second_stop_may_be_harder(void **state)
{
    (void)state;
    start_holding(5);
    test_stop_in_background(CONEY_STOP_DRAIN, 0);
    wait_until_stopping();
    assert_fails(coney_container_stop_with(here.container, CONEY_STOP_NOW, 50), CONEY_E_TIMEOUT,
                 "have not returned within");
    test_wait_for_depth(here.queue, 5);
    here.handler.holds = 0;
    assert_ok(coney_container_stop(here.container));
    (void)test_background_end(); /* its deadline is the sooner one now */
    assert_int_equal(here.handler.calls, 1);
    expect_it_works_again();
}

static void test_second_stop_makes_it_no_softer(void **state)
{
    (void)state;
    start_holding(5);
    test_stop_in_background(CONEY_STOP_FINISH, 0);
    wait_until_finishing();
    assert_fails(coney_container_stop_with(here.container, CONEY_STOP_DRAIN, 50), CONEY_E_TIMEOUT,
                 "have not returned within");
    here.handler.holds = 0;
    assert_ok(coney_container_stop(here.container));
    (void)test_background_end();
    assert_int_equal(here.handler.calls, 1);
    test_wait_for_depth(here.queue, 5);
}

static void test_stop_is_idempotent(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.prefetch = 1});
    assert_ok(coney_container_stop(here.container)); /* never started */
    assert_ok(coney_container_start(here.container));
    for (int mode = CONEY_STOP_DRAIN; mode <= CONEY_STOP_NOW; mode++) {
        assert_ok(coney_container_stop_with(here.container, (coney_stop_mode)mode, 0));
        assert_ok(coney_container_stop(here.container));
    }
    test_wait_for_events(CONEY_CONTAINER_STOPPED, 1);
    assert_ok(coney_container_start(here.container));
    assert_ok(coney_container_stop(here.container));
    test_wait_for_events(CONEY_CONTAINER_STOPPED, 2);
    assert_int_equal(test_count_events(CONEY_CONTAINER_STOPPED), 2);
    assert_fails(coney_container_stop_with(here.container, (coney_stop_mode)3, 0), CONEY_E_INVALID, "mode is 3");
    assert_fails(coney_container_stop_with(here.container, CONEY_STOP_NOW, -1), CONEY_E_INVALID, "timeout_ms -1");
    assert_int_equal(coney_container_stop(NULL), CONEY_E_INVALID);
}

/* ---- from inside ---- */

static coney_outcome stop_inside(coney_delivery *delivery, void *user)
{
    (void)delivery;
    test_handler *handler = user;
    int64_t began = cny_now_ms();
    check(coney_container_stop(here.container) == CONEY_OK);
    check(cny_now_ms() - began < 3000); /* the time of a stop that waits for this handler is 5,000 */
    atomic_fetch_add(&handler->calls, 1);
    return CONEY_ACK;
}

static void test_stop_in_a_handler_returns_and_completes_behind_it(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.on_message = stop_inside});
    for (int round = 1; round <= 3; round++) {
        assert_ok(coney_container_start(here.container));
        test_send(here.queue, 1);
        test_wait_for_events(CONEY_CONTAINER_STOPPED, round);
        assert_int_equal(here.handler.calls, round);
        assert_int_equal(test_event_at(CONEY_CONTAINER_STOPPED, round - 1).status, CONEY_OK);
    }
    test_wait_for_depth(here.queue, 0);
}

static void stop_when_started(const coney_container_event *event, void *user)
{
    atomic_int *stops = user;
    if (event->kind == CONEY_CONSUMER_STARTED) {
        check(coney_container_stop(here.container) == CONEY_OK);
        atomic_fetch_add(stops, 1);
    }
    test_record_event(event, NULL);
}

static void test_stop_in_an_event_returns_and_completes_behind_it(void **state)
{
    (void)state;
    static atomic_int stops;
    stops = 0;
    test_use_container(&(coney_container_options){.on_event = stop_when_started, .event_user = &stops});
    test_listen(&(coney_listener){.prefetch = 1});
    coney_status status = coney_container_start(here.container); /* the event may come before it returns */
    assert_true(status == CONEY_OK || status == CONEY_E_STATE);
    test_wait_for_events(CONEY_CONTAINER_STOPPED, 1);
    assert_int_equal(stops, 1);
    assert_int_equal(test_consumers_at_broker(here.queue), 0);
}

static void test_outcome_stop_puts_the_message_back_and_stops_the_container(void **state)
{
    (void)state;
    here.handler.outcome = CONEY_STOP;
    here.handler.holds = 1;
    test_start();
    test_send(here.queue, 3);
    test_wait_for_depth(here.queue, 0);
    here.handler.holds = 0;
    test_wait_for_events(CONEY_CONTAINER_STOPPED, 1);
    test_event event = test_event_at(CONEY_CONTAINER_STOPPED, 0);
    assert_int_equal(event.status, CONEY_E_STATE);
    assert_true(event.fatal);
    assert_non_null(strstr(event.text, "returned CONEY_STOP"));
    assert_int_equal(here.handler.calls, 1);
    test_wait_for_depth(here.queue, 3);
    coney_health health = test_health();
    assert_false(health.live);
    assert_non_null(strstr(health.reason, "returned CONEY_STOP"));
    expect_it_works_again();
}

/* ---- a handler that hangs ---- */

/* Freed meanwhile: what the handler needs goes when it returns, which a sanitizer sees. */
static void test_handler_that_hangs_holds_up_neither_stop_nor_free(void **state)
{
    (void)state;
    start_holding_for(2, 300);
    assert_fails(coney_container_stop_with(here.container, CONEY_STOP_FINISH, 50), CONEY_E_TIMEOUT,
                 "have not returned");
    coney_health health = test_health();
    assert_false(health.ready);
    assert_non_null(strstr(health.reason, "stopping"));
    test_log_start(CONEY_LOG_ERROR);
    coney_container *freed = here.container;
    here.container = NULL;
    int64_t began = cny_now_ms();
    coney_container_free(freed);
    test_expect_elapsed(began, 0, 300 + 2000);
    assert_int_equal(here.handler.inside, 1);
    test_log_expect("have not returned");
    test_wait_for_depth(here.queue, 2);
    here.handler.holds = 0;
    test_wait_until(here.handler.inside == 0);
    assert_int_equal(here.handler.calls, 1);
}

static atomic_int is_gone, told_when_gone;

static void tell_unless_gone(const coney_container_event *event, void *user)
{
    (void)event;
    (void)user;
    if (is_gone)
        atomic_fetch_add(&told_when_gone, 1);
}

/* What its callback works on may be gone with the container. */
static void test_nothing_is_told_of_a_container_that_was_freed(void **state)
{
    (void)state;
    is_gone = told_when_gone = 0;
    here.handler.holds = 1;
    test_send(here.queue, 1);
    test_use_container(&(coney_container_options){.shutdown_timeout_ms = 50, .on_event = tell_unless_gone});
    test_listen(&(coney_listener){.prefetch = 1});
    assert_ok(coney_container_start(here.container));
    test_wait_for(&here.handler.calls, 1);
    test_log_start(CONEY_LOG_OFF);
    coney_container *freed = here.container;
    here.container = NULL;
    coney_container_free(freed);
    is_gone = 1;
    here.handler.holds = 0;
    test_wait_until(here.handler.inside == 0);
    test_client_teardown(state); /* ends the events thread when all is told */
    test_client_setup(state);
    assert_int_equal(told_when_gone, 0);
}

/* ---- deferred deliveries ---- */

static coney_delivery *kept;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    test_handler *handler = user;
    kept = coney_delivery_ref(delivery);
    atomic_fetch_add(&handler->calls, 1);
    return CONEY_DEFER;
}

static void start_deferring(void)
{
    test_use_container(&(coney_container_options){.shutdown_timeout_ms = 8000});
    test_listen(&(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 1);
    test_wait_for(&here.handler.calls, 1);
}

static void test_drain_waits_for_a_deferred_delivery(void **state)
{
    (void)state;
    start_deferring();
    test_stop_in_background(CONEY_STOP_DRAIN, 0);
    wait_until_stopping();
    assert_false(test_background_is_over());
    assert_ok(coney_delivery_settle(kept, CONEY_ACK));
    coney_delivery_unref(kept);
    assert_ok(test_background_end());
    test_wait_for_depth(here.queue, 0);
}

static void test_delivery_that_is_settled_after_the_stop_is_stale(void **state)
{
    (void)state;
    start_deferring();
    assert_fails(coney_container_stop_with(here.container, CONEY_STOP_DRAIN, 50), CONEY_E_TIMEOUT,
                 "1 deliveries are not settled");
    test_wait_for_depth(here.queue, 1);
    assert_fails(coney_delivery_settle(kept, CONEY_ACK), CONEY_E_STALE, here.queue);
    coney_delivery_unref(kept);
    test_wait_until(coney_container_stop(here.container) == CONEY_OK);
    assert_int_equal(test_statistics(NULL).stale, 1);
    test_wait_for_depth(here.queue, 1);
}

int main(void)
{
#define stopping_test(test) cmocka_unit_test_setup_teardown(test, test_listening_setup, test_listening_teardown)
    const struct CMUnitTest tests[] = {
        stopping_test(test_drain_handles_what_was_prefetched),
        stopping_test(test_finish_ends_the_current_message_and_leaves_the_others_in_the_queue),
        stopping_test(test_now_gives_everything_back_before_the_handler_has_returned),
        stopping_test(test_now_without_a_running_handler_returns_at_once),
        stopping_test(test_deadline_abandons_what_is_not_handled),
        stopping_test(test_second_stop_may_be_harder),
        stopping_test(test_second_stop_makes_it_no_softer),
        stopping_test(test_stop_is_idempotent),
        stopping_test(test_stop_in_a_handler_returns_and_completes_behind_it),
        stopping_test(test_stop_in_an_event_returns_and_completes_behind_it),
        stopping_test(test_outcome_stop_puts_the_message_back_and_stops_the_container),
        stopping_test(test_handler_that_hangs_holds_up_neither_stop_nor_free),
        stopping_test(test_nothing_is_told_of_a_container_that_was_freed),
        stopping_test(test_drain_waits_for_a_deferred_delivery),
        stopping_test(test_delivery_that_is_settled_after_the_stop_is_stale),
    };
    return test_run_with_workers("stopping", tests, test_client_setup, test_client_teardown);
}
