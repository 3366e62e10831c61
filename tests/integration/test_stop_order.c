/* SPDX-License-Identifier: MIT */
/* A queue that only one consumer at a time gets messages of: whatever ends that consumer, the next one goes on where
 * it has stopped. Two containers listen to one queue; both note what their handlers get, in one list. */
#include "support/test_support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MESSAGES = 60, PREFETCH = 20, MAX_CALLS = 200 };

static struct {
    char queue[256];
    coney_queue_kind kind;
    coney_container *first, *second;
    atomic_int holds, calls;
    atomic_int numbers[MAX_CALLS];
    coney_delivery *_Atomic deferred;
} here;

/* ---- the handlers ---- */

static void note(const coney_delivery *delivery)
{
    const coney_message *message = coney_delivery_message(delivery);
    char text[32];
    snprintf(text, sizeof text, "%.*s", (int)coney_message_size(message), (const char *)coney_message_body(message));
    int place = atomic_load(&here.calls);
    check(place < MAX_CALLS);
    if (place < MAX_CALLS)
        atomic_store(&here.numbers[place], (int)strtol(text, NULL, 10));
    atomic_fetch_add(&here.calls, 1);
}

/* Holds the third message. */
static coney_outcome hold_third(coney_delivery *delivery, void *user)
{
    (void)user;
    note(delivery);
    while (atomic_load(&here.calls) == 3 && atomic_load(&here.holds))
        usleep(1000);
    return CONEY_ACK;
}

static coney_outcome stop_at_third(coney_delivery *delivery, void *user)
{
    (void)user;
    note(delivery);
    return atomic_load(&here.calls) == 3 ? CONEY_STOP : CONEY_ACK;
}

static coney_outcome requeue_third(coney_delivery *delivery, void *user)
{
    (void)user;
    note(delivery);
    while (atomic_load(&here.calls) == 3 && atomic_load(&here.holds))
        usleep(1000);
    return atomic_load(&here.calls) == 3 ? CONEY_REQUEUE : CONEY_ACK;
}

static coney_outcome defer_third(coney_delivery *delivery, void *user)
{
    (void)user;
    note(delivery);
    if (atomic_load(&here.calls) != 3)
        return CONEY_ACK;
    atomic_store(&here.deferred, coney_delivery_ref(delivery));
    while (atomic_load(&here.holds))
        usleep(1000);
    return CONEY_DEFER;
}

/* Holds the batch that has the third message. */
static void hold_batch(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)user;
    for (size_t i = 0; i < count; i++) {
        note(deliveries[i]);
        outcomes[i] = CONEY_ACK;
    }
    while (atomic_load(&here.calls) == 3 && atomic_load(&here.holds))
        usleep(1000);
}

static coney_outcome take(coney_delivery *delivery, void *user)
{
    (void)user;
    note(delivery);
    return CONEY_ACK;
}

/* ---- the containers ---- */

static coney_queue shared_queue(void)
{
    return (coney_queue){.name = here.queue, .kind = here.kind, .single_active_consumer = true};
}

static coney_container *start(const coney_listener *listener)
{
    coney_listener made = *listener;
    coney_container *container;
    made.queue = here.queue;
    made.id = "one";
    assert_ok(coney_container_new(
        &container, client.factory,
        &(coney_container_options){.shutdown_timeout_ms = TEST_PATIENCE_MS, .resubscribe_interval_ms = 20}));
    assert_ok(coney_container_listen(container, &made));
    assert_ok(coney_container_start(container));
    return container;
}

/* The first container's listener has the third message in its handler and others prefetched, the second one waits. */
static void begin(const coney_listener *listener)
{
    here.first = start(listener);
    here.second = start(&(coney_listener){.on_message = take, .exclusive = listener->exclusive, .prefetch = PREFETCH});
    test_send_numbers(here.queue, MESSAGES);
    test_wait_until(here.calls >= 3);
}

static void expect_order(void)
{
    test_wait_until(here.calls >= MESSAGES);
    for (int i = 0; i < MESSAGES; i++)
        assert_int_equal(here.numbers[i], i);
    test_wait_for_depth(here.queue, 0);
    assert_int_equal(here.calls, MESSAGES);
}

/* The third message comes twice. */
static void expect_order_with_third_again(void)
{
    test_wait_until(here.calls >= MESSAGES + 1);
    for (int i = 0; i < MESSAGES; i++)
        assert_int_equal(here.numbers[i < 3 ? i : i + 1], i);
    assert_int_equal(here.numbers[3], 2);
}

/* And until the broker has had every opportunity to give the second container a message. */
static void wait_until_stopping(void)
{
    coney_health health;
    coney_queue_info info;
    test_wait_until(coney_container_health(here.first, &health) == CONEY_OK && health.consumers == 0);
    for (int i = 0; i < 100; i++)
        assert_ok(coney_admin_queue_info(client.admin, here.queue, &info));
    assert_int_equal(here.calls, 3);
}

static int setup_queue(coney_queue_kind kind, bool single)
{
    static int number;
    char what[32];
    snprintf(what, sizeof what, "stop-order.%d", ++number);
    memset(&here, 0, sizeof here);
    here.holds = 1;
    here.kind = kind;
    snprintf(here.queue, sizeof here.queue, "%s", test_name(what));
    coney_queue queue = shared_queue();
    queue.single_active_consumer = single;
    return coney_admin_declare_queue(client.admin, &queue, NULL) == CONEY_OK ? 0 : -1;
}

static int setup_classic(void **state)
{
    (void)state;
    return setup_queue(CONEY_CLASSIC, true);
}

static int setup_quorum(void **state)
{
    (void)state;
    return setup_queue(CONEY_QUORUM, true);
}

/* RabbitMQ 3.10 lets a quorum queue have several exclusive consumers. */
static int setup_exclusive(void **state)
{
    (void)state;
    return setup_queue(CONEY_CLASSIC, false);
}

static int teardown(void **state)
{
    here.holds = 0;
    coney_delivery_unref(atomic_exchange(&here.deferred, NULL));
    coney_container_free(here.first);
    coney_container_free(here.second);
    test_delete_queue(here.queue);
    return test_no_failed_checks(state);
}

/* ---- stops ---- */

/* Whoever stops meanwhile. */
static atomic_int stop_mode, stop_status;

static void *stop_first(void *unused)
{
    (void)unused;
    atomic_store(&stop_status, (int)coney_container_stop_with(here.first, (coney_stop_mode)atomic_load(&stop_mode), 0));
    return NULL;
}

static void stop_while_held(coney_stop_mode mode)
{
    pthread_t thread;
    atomic_store(&stop_mode, (int)mode);
    assert_int_equal(pthread_create(&thread, NULL, stop_first, NULL), 0);
    wait_until_stopping();
    here.holds = 0;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stop_status, CONEY_OK);
}

static void test_finish_keeps_order(void **state)
{
    (void)state;
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH});
    stop_while_held(CONEY_STOP_FINISH);
    expect_order();
}

static void test_finish_keeps_order_of_a_message_that_is_requeued(void **state)
{
    (void)state;
    begin(&(coney_listener){.on_message = requeue_third, .prefetch = PREFETCH});
    stop_while_held(CONEY_STOP_FINISH);
    expect_order_with_third_again();
}

static void test_finish_keeps_order_of_acknowledgements_sent_together(void **state)
{
    (void)state;
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH, .ack_every = 10});
    stop_while_held(CONEY_STOP_FINISH);
    expect_order();
}

static void test_finish_keeps_order_of_lanes_with_one_key(void **state)
{
    (void)state;
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH, .lanes = 3});
    stop_while_held(CONEY_STOP_FINISH);
    expect_order();
}

static void test_finish_keeps_order_of_batches(void **state)
{
    (void)state;
    begin(&(coney_listener){.on_batch = hold_batch, .prefetch = PREFETCH, .batch_size = 3});
    stop_while_held(CONEY_STOP_FINISH);
    expect_order();
}

static void test_finish_keeps_order_of_an_exclusive_consumer(void **state)
{
    (void)state;
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH, .exclusive = true});
    stop_while_held(CONEY_STOP_FINISH);
    expect_order();
}

static void test_finish_waits_for_a_deferred_delivery_and_keeps_order(void **state)
{
    (void)state;
    begin(&(coney_listener){.on_message = defer_third, .prefetch = PREFETCH, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    pthread_t thread;
    atomic_store(&stop_mode, CONEY_STOP_FINISH);
    assert_int_equal(pthread_create(&thread, NULL, stop_first, NULL), 0);
    wait_until_stopping();
    here.holds = 0;
    assert_ok(coney_delivery_settle(atomic_load(&here.deferred), CONEY_ACK));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stop_status, CONEY_OK);
    expect_order();
}

static void test_drain_keeps_order_of_a_queue_that_the_listener_declares(void **state)
{
    (void)state;
    coney_queue queue = shared_queue();
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH, .declare = &queue});
    stop_while_held(CONEY_STOP_DRAIN);
    expect_order();
}

static void test_drain_keeps_order_of_a_queue_that_an_admin_declares(void **state)
{
    (void)state;
    coney_admin *admin;
    coney_topology *topology = coney_topology_new();
    const coney_queue queue = shared_queue();
    coney_topology_add_queue(topology, &queue);
    assert_ok(coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology}));
    coney_topology_free(topology);
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH});
    stop_while_held(CONEY_STOP_DRAIN);
    expect_order();
    coney_admin_free(admin);
}

static void test_drain_keeps_order_of_an_exclusive_consumer(void **state)
{
    (void)state;
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH, .exclusive = true});
    stop_while_held(CONEY_STOP_DRAIN);
    expect_order();
}

/* An acknowledgement of several must not cover the one among them that goes back. */
static void test_drain_loses_no_message_that_is_requeued_among_acknowledgements_sent_together(void **state)
{
    (void)state;
    coney_queue queue = shared_queue();
    here.first =
        start(&(coney_listener){.on_message = requeue_third, .prefetch = PREFETCH, .ack_every = 10, .declare = &queue});
    test_send_numbers(here.queue, 6);
    test_wait_until(here.calls >= 3);
    test_wait_for_depth(here.queue, 0);
    stop_while_held(CONEY_STOP_DRAIN);
    assert_int_equal(here.calls, 6);
    test_wait_for_depth(here.queue, 1);
}

static void test_outcome_stop_keeps_order(void **state)
{
    (void)state;
    begin(&(coney_listener){.on_message = stop_at_third, .prefetch = PREFETCH});
    expect_order_with_third_again();
}

static void test_pause_keeps_order(void **state)
{
    (void)state;
    coney_queue queue = shared_queue();
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH, .declare = &queue});
    assert_ok(coney_container_pause(here.first));
    wait_until_stopping();
    here.holds = 0;
    expect_order();
}

static void test_pause_and_resume_keep_order(void **state)
{
    (void)state;
    coney_queue queue = shared_queue();
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH, .declare = &queue});
    assert_ok(coney_container_pause(here.first));
    wait_until_stopping();
    assert_ok(coney_container_resume(here.first));
    here.holds = 0;
    expect_order();
}

static void *unlisten_first(void *unused)
{
    (void)unused;
    atomic_store(&stop_status, (int)coney_container_unlisten(here.first, "one"));
    return NULL;
}

static void test_unlisten_keeps_order(void **state)
{
    (void)state;
    coney_queue queue = shared_queue();
    begin(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH, .declare = &queue});
    pthread_t thread;
    coney_listener_statistics statistics;
    assert_int_equal(pthread_create(&thread, NULL, unlisten_first, NULL), 0);
    test_wait_until(coney_container_statistics(here.first, "one", &statistics) == CONEY_E_NOT_FOUND);
    wait_until_stopping();
    here.holds = 0;
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stop_status, CONEY_OK);
    expect_order();
}

/* Whichever of the two is the active one. */
static void test_shrinking_keeps_order(void **state)
{
    (void)state;
    here.first = start(&(coney_listener){.on_message = hold_third, .prefetch = PREFETCH, .concurrency = 2});
    test_send_numbers(here.queue, MESSAGES);
    test_wait_until(here.calls >= 3);
    assert_ok(coney_container_set_concurrency(here.first, "one", 1, 1));
    here.holds = 0;
    expect_order();
    test_wait_for_consumers(here.queue, 1);
}

int main(void)
{
#define order_tests(test)                                                                                              \
    {#test " (classic)", test, setup_classic, teardown, NULL},                                                         \
    {                                                                                                                  \
#test " (quorum)", test, setup_quorum, teardown, NULL                                                          \
    }
#define exclusive_test(test) cmocka_unit_test_setup_teardown(test, setup_exclusive, teardown)
    const struct CMUnitTest tests[] = {
        order_tests(test_finish_keeps_order),
        order_tests(test_finish_keeps_order_of_a_message_that_is_requeued),
        order_tests(test_finish_keeps_order_of_acknowledgements_sent_together),
        order_tests(test_finish_keeps_order_of_lanes_with_one_key),
        order_tests(test_finish_keeps_order_of_batches),
        order_tests(test_finish_waits_for_a_deferred_delivery_and_keeps_order),
        order_tests(test_drain_keeps_order_of_a_queue_that_the_listener_declares),
        order_tests(test_drain_keeps_order_of_a_queue_that_an_admin_declares),
        order_tests(test_drain_loses_no_message_that_is_requeued_among_acknowledgements_sent_together),
        order_tests(test_outcome_stop_keeps_order),
        order_tests(test_pause_keeps_order),
        order_tests(test_pause_and_resume_keep_order),
        order_tests(test_unlisten_keeps_order),
        order_tests(test_shrinking_keeps_order),
        exclusive_test(test_finish_keeps_order_of_an_exclusive_consumer),
        exclusive_test(test_drain_keeps_order_of_an_exclusive_consumer),
    };
    return cmocka_run_group_tests_name("stop_order", tests, test_client_setup, test_client_teardown);
}
