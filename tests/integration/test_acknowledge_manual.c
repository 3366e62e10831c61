/* SPDX-License-Identifier: MIT */
/* CONEY_ACKNOWLEDGE_MANUAL on a real broker: the program settles when and where it likes, once. */
#include "support/elapsed.h"
#include "support/proxy.h"
#include "support/test_support.h"

#include "base/base.h"

#include <pthread.h>
#include <stdio.h>

static char queue[200], dead_queue[256];
static coney_container *container;
static coney_connection_factory *far_factory; /* behind the proxy */
static cny_proxy *proxy;
static _Atomic(coney_delivery *) kept; /* the last one that was deferred */
static atomic_int handled, again, deferred;
static _Atomic(coney_outcome) outcome; /* CONEY_DEFER keeps */

static int setup(void **state)
{
    static int tests;
    (void)state;
    atomic_store(&handled, 0);
    atomic_store(&again, 0);
    atomic_store(&deferred, 0);
    atomic_store(&outcome, CONEY_DEFER);
    snprintf(queue, sizeof queue, "%s.%d", test_name("manual"), ++tests);
    snprintf(dead_queue, sizeof dead_queue, "%s.dead", queue);
    test_make_queue(dead_queue);
    const coney_queue options = {.name = queue, .dead_letter_exchange = "", .dead_letter_routing_key = dead_queue};
    assert_ok(coney_admin_declare_queue(client.admin, &options, NULL));
    return 0;
}

static int teardown(void **state)
{
    coney_delivery_unref(atomic_exchange(&kept, NULL));
    coney_container_free(container);
    coney_connection_factory_free(far_factory);
    cny_proxy_stop(proxy);
    container = NULL;
    far_factory = NULL;
    proxy = NULL;
    test_log_stop();
    test_delete_queue(queue);
    test_delete_queue(dead_queue);
    return test_no_failed_checks(state);
}

/* What comes again is acknowledged. */
static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)user;
    bool is_again = coney_message_redelivered(coney_delivery_message(delivery));
    bool keeps = atomic_load(&outcome) == CONEY_DEFER && !is_again;
    if (keeps)
        coney_delivery_unref(atomic_exchange(&kept, coney_delivery_ref(delivery)));
    atomic_fetch_add(&handled, 1);
    atomic_fetch_add(&again, is_again);
    atomic_fetch_add(&deferred, keeps);
    return is_again ? CONEY_ACK : atomic_load(&outcome);
}

static void start_with(coney_connection_factory *factory, coney_message_handler *handler, coney_acknowledge_mode mode,
                       int shutdown_timeout_ms)
{
    const coney_container_options options = {
        .name = "tests", .workers = test_workers, .shutdown_timeout_ms = shutdown_timeout_ms};
    const coney_listener listener = {.queue = queue, .on_message = handler, .acknowledge = mode};
    assert_ok(coney_container_new(&container, factory, &options));
    assert_ok(coney_container_listen(container, &listener));
    assert_ok(coney_container_start(container));
}

static void start(coney_message_handler *handler, int shutdown_timeout_ms)
{
    start_with(client.factory, handler, CONEY_ACKNOWLEDGE_MANUAL, shutdown_timeout_ms);
}

static void stop_and_expect(uint32_t left, uint32_t dead)
{
    assert_ok(coney_container_stop(container));
    test_wait_for_consumers(queue, 0);
    test_wait_for_depth(queue, left);
    test_wait_for_depth(dead_queue, dead);
}

/* ---- by the program ---- */

static void *settle_kept(void *status)
{
    *(coney_status *)status = coney_delivery_settle(atomic_load(&kept), CONEY_ACK);
    return NULL;
}

static void test_any_thread_settles(void **state)
{
    (void)state;
    pthread_t thread;
    coney_status status = CONEY_E_STATE;
    test_send_numbers(queue, 1);
    start(handle, 0);
    test_wait_for(&deferred, 1);
    assert_int_equal(pthread_create(&thread, NULL, settle_kept, &status), 0);
    pthread_join(thread, NULL);
    assert_int_equal(status, CONEY_OK);
    stop_and_expect(0, 0);
}

static atomic_bool settling_is_over;

/* Hands each over to a thread that settles it at once, often before the handler has returned. */
static coney_outcome hand_over(coney_delivery *delivery, void *user)
{
    coney_delivery *none = NULL;
    (void)user;
    coney_delivery_ref(delivery);
    while (!atomic_compare_exchange_weak(&kept, &none, delivery))
        none = NULL;
    return CONEY_DEFER;
}

static void *settle_all(void *count)
{
    for (int left = *(int *)count; left > 0;) {
        coney_delivery *delivery = atomic_exchange(&kept, NULL);
        if (!delivery)
            continue;
        check(coney_delivery_settle(delivery, CONEY_ACK) == CONEY_OK);
        coney_delivery_unref(delivery);
        left--;
    }
    return NULL;
}

static void test_settling_while_the_handler_returns_counts(void **state)
{
    (void)state;
    pthread_t thread;
    int count = 300;
    coney_listener_statistics statistics;
    test_send_numbers(queue, count);
    assert_int_equal(pthread_create(&thread, NULL, settle_all, &count), 0);
    start(hand_over, 0);
    pthread_join(thread, NULL);
    stop_and_expect(0, 0);
    assert_ok(coney_container_statistics(container, queue, &statistics));
    assert_int_equal(statistics.acknowledged, 300);
}

/* The handler gives up waiting just when the thread settles: one of the two decides. */
static coney_outcome hand_over_and_fail(coney_delivery *delivery, void *user)
{
    hand_over(delivery, user);
    return coney_delivery_fail(delivery, CONEY_REJECT, "no answer about '%s'", coney_delivery_queue(delivery));
}

static void *settle_late(void *unused)
{
    while (!atomic_load(&settling_is_over)) {
        coney_delivery *delivery = atomic_exchange(&kept, NULL);
        if (!delivery)
            continue;
        coney_status status = coney_delivery_settle(delivery, coney_delivery_fail(delivery, CONEY_REJECT, "late"));
        check(status == CONEY_OK || status == CONEY_E_STATE);
        coney_delivery_unref(delivery);
    }
    return unused;
}

static void test_handler_and_another_thread_may_settle_at_once(void **state)
{
    (void)state;
    enum { COUNT = 300 };
    pthread_t thread;
    test_log_start(CONEY_LOG_OFF);
    atomic_store(&settling_is_over, false);
    test_send_numbers(queue, COUNT);
    assert_int_equal(pthread_create(&thread, NULL, settle_late, NULL), 0);
    start(hand_over_and_fail, 0);
    test_wait_for_depth(dead_queue, COUNT);
    atomic_store(&settling_is_over, true);
    pthread_join(thread, NULL);
    stop_and_expect(0, COUNT);
}

static coney_outcome forget(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_fetch_add(&deferred, 1);
    return CONEY_DEFER; /* and has no reference */
}

static void test_forgotten_delivery_does_not_go_round_at_full_speed(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    int64_t began = cny_now_ms();
    test_send_numbers(queue, 1);
    start(forget, 0);
    test_wait_until(atomic_load(&deferred) >= 4);
    assert_true(cny_now_ms() - began >= 100 + 200 - 20); /* before the third and the fourth */
    test_log_expect("let go without being settled");
    assert_ok(coney_container_stop_with(container, CONEY_STOP_FINISH, 0));
    test_wait_for_depth(queue, 1);
}

static void test_second_settlement_is_refused(void **state)
{
    (void)state;
    test_send_numbers(queue, 1);
    start(handle, 0);
    test_wait_for(&deferred, 1);
    assert_ok(coney_delivery_settle(kept, CONEY_REJECT));
    assert_fails(coney_delivery_settle(kept, CONEY_ACK), CONEY_E_STATE, "settled already");
    stop_and_expect(0, 1);
}

static void test_settled_with_requeue_comes_again(void **state)
{
    (void)state;
    test_send_numbers(queue, 1);
    start(handle, 0);
    test_wait_for(&deferred, 1);
    assert_ok(coney_delivery_settle(kept, CONEY_REQUEUE));
    test_wait_for(&again, 1);
    stop_and_expect(0, 0);
}

static void test_settled_with_stop_goes_back_and_stops_the_container(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_OFF);
    test_send_numbers(queue, 1);
    start(handle, 0);
    test_wait_for(&deferred, 1);
    assert_ok(coney_delivery_settle(kept, CONEY_STOP));
    test_wait_until(coney_container_check(container) == CONEY_E_STATE);
    stop_and_expect(1, 0);
}

static coney_outcome try_to_settle(coney_delivery *delivery, void *user)
{
    (void)user;
    check(coney_delivery_settle(delivery, CONEY_REJECT) == CONEY_E_STATE);
    check(strstr(coney_last_error(), "does not acknowledge MANUAL"));
    check(strstr(coney_last_error(), queue));
    atomic_fetch_add(&handled, 1);
    return CONEY_ACK;
}

static void test_listener_with_auto_refuses_settling(void **state)
{
    (void)state;
    test_send_numbers(queue, 1);
    start_with(client.factory, try_to_settle, CONEY_ACKNOWLEDGE_AUTO, 0);
    test_wait_for(&handled, 1);
    stop_and_expect(0, 0);
}

static void test_listener_with_none_refuses_settling(void **state)
{
    (void)state;
    test_send_numbers(queue, 1);
    start_with(client.factory, try_to_settle, CONEY_ACKNOWLEDGE_NONE, 0);
    test_wait_for(&handled, 1);
    stop_and_expect(0, 0);
}

static void test_settling_what_came_by_a_lost_connection_is_stale(void **state)
{
    (void)state;
    char uri[256];
    proxy = cny_proxy_start(test_uri_port());
    test_uri_at(cny_proxy_port(proxy), uri, sizeof uri);
    test_log_start(CONEY_LOG_OFF);
    assert_ok(coney_connection_factory_new(&far_factory, uri, NULL));
    test_send_numbers(queue, 1);
    start_with(far_factory, handle, CONEY_ACKNOWLEDGE_MANUAL, 0);
    test_wait_for(&deferred, 1);
    cny_proxy_reset(proxy, CNY_BOTH_WAYS);
    test_wait_for(&again, 1);
    assert_fails(coney_delivery_settle(kept, CONEY_REJECT), CONEY_E_STALE, queue);
    coney_delivery_unref(atomic_exchange(&kept, NULL));
    stop_and_expect(0, 0);
}

/* ---- by the handler, and by nobody ---- */

static void test_returned_ack_settles(void **state)
{
    (void)state;
    outcome = CONEY_ACK;
    test_send_numbers(queue, 3);
    start(handle, 0);
    test_wait_for(&handled, 3);
    stop_and_expect(0, 0);
}

static void test_returned_reject_settles(void **state)
{
    (void)state;
    outcome = CONEY_REJECT;
    test_send_numbers(queue, 3);
    start(handle, 0);
    test_wait_for_depth(dead_queue, 3);
    stop_and_expect(0, 3);
}

static coney_outcome defer_and_forget(coney_delivery *delivery, void *user)
{
    (void)user;
    atomic_fetch_add(&handled, 1);
    return coney_message_redelivered(coney_delivery_message(delivery)) ? CONEY_ACK : CONEY_DEFER;
}

static void test_delivery_that_nobody_keeps_goes_back_and_the_log_says_so(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    test_send_numbers(queue, 1);
    start(defer_and_forget, 0);
    test_wait_for(&handled, 2);
    test_log_expect("was let go without being settled; it goes back");
    stop_and_expect(0, 0);
}

static void test_delivery_that_is_let_go_later_goes_back(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_OFF);
    test_send_numbers(queue, 1);
    start(handle, 0);
    test_wait_for(&deferred, 1);
    coney_delivery_unref(atomic_exchange(&kept, NULL));
    test_wait_for(&again, 1);
    stop_and_expect(0, 0);
}

static void test_message_outlives_its_handler_with_the_delivery(void **state)
{
    (void)state;
    test_send_numbers(queue, 1);
    start(handle, 0);
    test_wait_for(&deferred, 1);
    assert_string_equal(coney_message_body(coney_delivery_message(kept)), "0");
    assert_string_equal(coney_delivery_queue(kept), queue);
    assert_string_equal(coney_delivery_listener_id(kept), queue);
    assert_ok(coney_delivery_settle(kept, CONEY_ACK));
    stop_and_expect(0, 0);
}

/* ---- a queue that is deleted ---- */

static void test_deferred_delivery_of_a_deleted_queue_does_not_hold_up_the_next_consumer(void **state)
{
    (void)state;
    const coney_container_options options = {
        .workers = test_workers, .resubscribe_interval_ms = 300, .shutdown_timeout_ms = 8000};
    const coney_listener listener = {.queue = queue, .on_message = handle, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL};
    test_log_start(CONEY_LOG_OFF);
    test_send_numbers(queue, 1);
    assert_ok(coney_container_new(&container, client.factory, &options));
    assert_ok(coney_container_listen(container, &listener));
    assert_ok(coney_container_start(container));
    test_wait_for(&deferred, 1);
    coney_delivery *first = coney_delivery_ref(kept);
    test_delete_queue(queue);
    test_make_queue(queue);
    atomic_store(&outcome, CONEY_ACK);
    test_send_numbers(queue, 1);
    test_wait_for(&handled, 2);
    coney_status status = coney_delivery_settle(first, CONEY_ACK);
    coney_delivery_unref(first);
    assert_int_equal(status, CONEY_E_STALE);
    stop_and_expect(0, 0);
}

/* ---- stopping ---- */

static void *stop_container(void *status)
{
    *(coney_status *)status = coney_container_stop(container);
    return NULL;
}

static void test_stop_waits_until_the_deferred_is_settled(void **state)
{
    (void)state;
    pthread_t thread;
    coney_status status = CONEY_E_STATE;
    test_send_numbers(queue, 1);
    start(handle, 8000);
    test_wait_for(&deferred, 1);
    assert_int_equal(pthread_create(&thread, NULL, stop_container, &status), 0);
    test_wait_for_consumers(queue, 0);
    assert_ok(coney_delivery_settle(kept, CONEY_ACK));
    pthread_join(thread, NULL);
    assert_int_equal(status, CONEY_OK);
    stop_and_expect(0, 0);
}

static void test_stop_returns_the_deferred_at_its_deadline(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_OFF);
    test_send_numbers(queue, 1);
    start(handle, 200);
    test_wait_for(&deferred, 1);
    int64_t began = cny_now_ms();
    assert_fails(coney_container_stop(container), CONEY_E_TIMEOUT, "not settled");
    test_expect_elapsed(began, 200, 2000);
    test_wait_for_depth(queue, 1);
    assert_fails(coney_delivery_settle(kept, CONEY_ACK), CONEY_E_STALE, queue);
}

int main(void)
{
#define own_queues(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        own_queues(test_any_thread_settles),
        own_queues(test_settling_while_the_handler_returns_counts),
        own_queues(test_handler_and_another_thread_may_settle_at_once),
        own_queues(test_forgotten_delivery_does_not_go_round_at_full_speed),
        own_queues(test_second_settlement_is_refused),
        own_queues(test_settled_with_requeue_comes_again),
        own_queues(test_settled_with_stop_goes_back_and_stops_the_container),
        own_queues(test_listener_with_auto_refuses_settling),
        own_queues(test_listener_with_none_refuses_settling),
        own_queues(test_settling_what_came_by_a_lost_connection_is_stale),
        own_queues(test_returned_ack_settles),
        own_queues(test_returned_reject_settles),
        own_queues(test_delivery_that_nobody_keeps_goes_back_and_the_log_says_so),
        own_queues(test_delivery_that_is_let_go_later_goes_back),
        own_queues(test_message_outlives_its_handler_with_the_delivery),
        own_queues(test_deferred_delivery_of_a_deleted_queue_does_not_hold_up_the_next_consumer),
        own_queues(test_stop_waits_until_the_deferred_is_settled),
        own_queues(test_stop_returns_the_deferred_at_its_deadline),
    };
    return test_run_with_workers("acknowledge, manual", tests, test_client_setup, test_client_teardown);
}
