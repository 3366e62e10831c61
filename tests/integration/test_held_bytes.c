/* SPDX-License-Identifier: MIT */
/* What consumers hold is bounded in bytes, so they begin with a small prefetch and subscribe anew: nothing is lost by
 * that, nothing comes twice, and the order stays. */
#include "rabbit/listener/consuming/consuming.h"
#include "support/listening.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MESSAGES = 3000, MIB = 1024 * 1024 };

static atomic_int handled, out_of_order, redelivered, holds, large_handled;
static atomic_size_t most_held;

static void forget(void)
{
    atomic_store(&handled, 0);
    atomic_store(&out_of_order, 0);
    atomic_store(&redelivered, 0);
    atomic_store(&large_handled, 0);
    atomic_store(&holds, 0);
    atomic_store(&most_held, 0);
}

static void hold(void)
{
    while (atomic_load(&holds))
        usleep(1000);
}

/* The listener declares it, so that it is known not to have a single active consumer. */
static coney_queue declared;

static void use(coney_queue queue)
{
    listening_use_queue(&queue);
    declared = queue;
    declared.name = listening.queue;
    declared.dead_letter_exchange = "";
    declared.dead_letter_routing_key = listening.dead;
}

static void use_queue(coney_queue_kind kind)
{
    use((coney_queue){.kind = kind});
}

static uint32_t depth(void)
{
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(client.admin, listening.queue, &info));
    return info.message_count;
}

/* ---- order ---- */

static coney_outcome expect_next(coney_delivery *delivery, void *user)
{
    (void)user;
    const coney_message *message = coney_delivery_message(delivery);
    int next = atomic_load(&handled);
    if (atoi(coney_message_body(message)) != next)
        atomic_fetch_add(&out_of_order, 1);
    if (coney_message_redelivered(message))
        atomic_fetch_add(&redelivered, 1);
    atomic_store(&handled, next + 1);
    return CONEY_ACK;
}

static void expect_order(coney_listener listener)
{
    forget();
    test_send_numbers(listening.queue, MESSAGES);
    listener.on_message = expect_next;
    listener.declare = &declared;
    listening_start(&listener);
    test_wait_for(&handled, MESSAGES);
    listening_expect_nothing_left();
    assert_int_equal(handled, MESSAGES);
    assert_int_equal(out_of_order, 0);
    assert_int_equal(redelivered, 0);
}

static void test_order_of_a_classic_queue_stays(void **state)
{
    (void)state;
    use_queue(CONEY_CLASSIC);
    expect_order((coney_listener){0});
}

static void test_order_of_a_quorum_queue_stays(void **state)
{
    (void)state;
    use_queue(CONEY_QUORUM);
    expect_order((coney_listener){0});
}

static void test_order_stays_when_several_are_acknowledged_at_once(void **state)
{
    (void)state;
    use_queue(CONEY_QUORUM);
    expect_order((coney_listener){.ack_every = 7});
}

static void test_order_stays_in_transactions(void **state)
{
    (void)state;
    use_queue(CONEY_CLASSIC);
    expect_order((coney_listener){.transacted = true});
}

/* ---- growing ---- */

static coney_outcome count_then_hold(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    enum { PASSING = 50 };
    if (atomic_fetch_add(&handled, 1) >= PASSING)
        hold();
    return CONEY_ACK;
}

static void test_consumer_of_small_messages_grows_to_its_prefetch(void **state)
{
    (void)state;
    enum { COUNT = 1000, PREFETCH = 250, FIRST = 16 };
    forget();
    use_queue(CONEY_CLASSIC);
    atomic_store(&holds, 1);
    test_send_numbers(listening.queue, COUNT);
    listening_start(&(coney_listener){.on_message = count_then_hold, .declare = &declared});
    test_wait_until(depth() <= COUNT - PREFETCH - 50);
    assert_int_in_range(depth(), COUNT - PREFETCH - FIRST - 51, COUNT - PREFETCH - 50);
    atomic_store(&holds, 0);
    test_wait_for(&handled, COUNT);
}

static void test_queue_that_goes_with_its_last_consumer_survives(void **state)
{
    (void)state;
    forget();
    use((coney_queue){.auto_delete = true});
    test_send_numbers(listening.queue, MESSAGES);
    listening_start(&(coney_listener){.on_message = expect_next, .declare = &declared});
    test_wait_for(&handled, MESSAGES);
    test_send_numbers(listening.queue, 1);
    test_wait_for(&handled, MESSAGES + 1);
    assert_int_equal(redelivered, 0);
    assert_int_equal(listening_events(CONEY_CONSUMER_FAILED), 0);
}

/* ---- the bound ---- */

static void send_pattern(size_t size, int count)
{
    coney_message *message = test_pattern(size);
    for (int i = 0; i < count; i++)
        assert_ok(coney_template_send(client.sender, listening.queue, message, NULL));
    coney_message_unref(message);
}

static void start_bounded(bool is_declared, size_t bound, const coney_listener *listener)
{
    coney_listener copy = *listener;
    copy.queue = listening.queue;
    copy.declare = is_declared ? &declared : NULL;
    assert_ok(
        coney_container_new(&listening.container, client.factory, &(coney_container_options){.max_held_bytes = bound}));
    assert_ok(coney_container_listen(listening.container, &copy));
    assert_ok(coney_container_start(listening.container));
}

static coney_outcome hold_each(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    hold();
    atomic_fetch_add(&handled, 1);
    return CONEY_ACK;
}

static void expect_to_hold_no_more_than_the_bound(bool is_declared)
{
    enum { COUNT = 100, SIZE = MIB / 2, BOUND = 16 * MIB };
    forget();
    use_queue(CONEY_CLASSIC);
    atomic_store(&holds, 1);
    send_pattern(SIZE, COUNT);
    start_bounded(is_declared, BOUND, &(coney_listener){.on_message = hold_each});
    test_wait_until(depth() <= COUNT - 16);
    usleep(200000); /* for more to come, if there is more */
    assert_int_in_range(atomic_load(&listening.container->holding.bytes), 16 * (size_t)SIZE, BOUND);
    atomic_store(&holds, 0);
    test_wait_for(&handled, COUNT);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
}

static void test_consumers_hold_no_more_than_the_bound(void **state)
{
    (void)state;
    expect_to_hold_no_more_than_the_bound(true);
}

static void test_consumers_of_a_queue_that_nobody_declares_hold_no_more_than_the_bound(void **state)
{
    (void)state;
    expect_to_hold_no_more_than_the_bound(false);
}

/* ---- small messages, then large ones ---- */

enum { SMALL = 300, LARGE = 40, LARGE_BYTES = 4 * MIB, BOUND = 16 * MIB };

static coney_outcome hold_large(coney_delivery *delivery, void *user)
{
    (void)user;
    size_t held = atomic_load(&listening.container->holding.bytes);
    bool is_large = coney_message_size(coney_delivery_message(delivery)) == LARGE_BYTES;
    if (is_large)
        hold();
    if (held > atomic_load(&most_held))
        atomic_store(&most_held, held);
    atomic_fetch_add(&large_handled, is_large);
    atomic_fetch_add(&handled, 1);
    return CONEY_ACK;
}

/* The consumer has its full prefetch when the large ones come. None of them is handled twice, or lost. */
static void attack(coney_queue_kind kind, bool is_declared)
{
    forget();
    use_queue(kind);
    atomic_store(&holds, 1);
    test_send_numbers(listening.queue, SMALL);
    send_pattern(LARGE_BYTES, LARGE);
    start_bounded(is_declared, BOUND, &(coney_listener){.on_message = hold_large});
    test_wait_for(&handled, SMALL);
    usleep(500000); /* for large ones to come, as many as do */
    size_t held = atomic_load(&listening.container->holding.bytes);
    assert_int_in_range(held, LARGE_BYTES, 2 * (size_t)BOUND + LARGE_BYTES);
    atomic_store(&holds, 0);
    test_wait_for(&handled, SMALL + LARGE);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    assert_int_equal(handled, SMALL + LARGE);
    assert_int_equal(large_handled, LARGE);
    assert_int_in_range(most_held, LARGE_BYTES, 2 * (size_t)BOUND + LARGE_BYTES);
}

static void test_large_messages_after_small_ones_are_bounded_on_a_classic_queue(void **state)
{
    (void)state;
    attack(CONEY_CLASSIC, true);
}

static void test_large_messages_after_small_ones_are_bounded_on_a_quorum_queue(void **state)
{
    (void)state;
    attack(CONEY_QUORUM, true);
}

static void test_large_messages_of_a_queue_that_nobody_declares_are_bounded(void **state)
{
    (void)state;
    attack(CONEY_QUORUM, false);
}

/* ---- what is given back for want of room ---- */

enum { TIGHT = 1200000, HEAVY = 40, HEAVY_BYTES = 400000 };

static void send_heavy(void)
{
    static const char body[HEAVY_BYTES];
    for (int i = 0; i < HEAVY; i++) {
        char id[32];
        coney_message *message;
        snprintf(id, sizeof id, "heavy-%d", i);
        assert_ok(coney_message_new(&message, body, sizeof body, &(coney_properties){.message_id = id}));
        assert_ok(coney_template_send(client.sender, listening.queue, message, NULL));
        coney_message_unref(message);
    }
}

static uint64_t times_opened(void)
{
    coney_connection_info info;
    assert_ok(coney_connection_factory_info(client.factory, CONEY_CONSUMING, &info));
    return info.times_opened;
}

static void use_queue_with_limit(int deliveries)
{
    use((coney_queue){.kind = CONEY_QUORUM, .delivery_limit = deliveries});
}

static void expect_all_handled(void)
{
    test_wait_for(&handled, HEAVY);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    assert_int_equal(handled, HEAVY);
    test_wait_for_depth(listening.dead, 0);
}

/* Each goes back once, which a delivery limit of 3 allows. */
static void test_message_that_does_not_fit_goes_back_once(void **state)
{
    (void)state;
    forget();
    use_queue_with_limit(3);
    send_heavy();
    start_bounded(false, HEAVY_BYTES * 3 / 2, &(coney_listener){.prefetch = HEAVY, .on_message = hold_each});
    expect_all_handled();
}

static coney_outcome fail_each(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_fetch_add(&handled, 1);
    return CONEY_RETRY;
}

static void expect_all_attempts(bool is_declared)
{
    forget();
    use_queue_with_limit(0);
    send_heavy();
    start_bounded(is_declared, TIGHT,
                  &(coney_listener){.prefetch = HEAVY,
                                    .on_message = fail_each,
                                    .retry = {.stateful = true, .max_attempts = 3, .first_delay_ms = 1}});
    test_wait_for_depth(listening.dead, HEAVY);
    assert_int_equal(handled, 3 * HEAVY);
}

static void test_message_that_does_not_fit_has_all_its_attempts(void **state)
{
    (void)state;
    expect_all_attempts(false);
}

static void test_message_of_a_declared_queue_that_does_not_fit_has_all_its_attempts(void **state)
{
    (void)state;
    expect_all_attempts(true);
}

/* RabbitMQ 3.10 closed the connection with 541 when a tag was used again. */
static void test_prefetch_of_a_quorum_queue_changes_again_and_again(void **state)
{
    (void)state;
    enum { ROUNDS = 3, LIGHT = 200, MANY = 60 };
    forget();
    use_queue(CONEY_QUORUM);
    for (int i = 0; i < ROUNDS; i++) {
        test_send_numbers(listening.queue, LIGHT);
        send_pattern(HEAVY_BYTES, MANY);
    }
    uint64_t before = times_opened();
    start_bounded(true, TIGHT, &(coney_listener){.prefetch = 50, .on_message = hold_each});
    test_wait_for(&handled, ROUNDS * (LIGHT + MANY));
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    assert_int_equal(times_opened(), before);
    assert_int_equal(handled, ROUNDS * (LIGHT + MANY));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_order_of_a_classic_queue_stays),
        listening_test(test_order_of_a_quorum_queue_stays),
        listening_test(test_order_stays_when_several_are_acknowledged_at_once),
        listening_test(test_order_stays_in_transactions),
        listening_test(test_consumer_of_small_messages_grows_to_its_prefetch),
        listening_test(test_queue_that_goes_with_its_last_consumer_survives),
        listening_test(test_consumers_hold_no_more_than_the_bound),
        listening_test(test_large_messages_after_small_ones_are_bounded_on_a_classic_queue),
        listening_test(test_consumers_of_a_queue_that_nobody_declares_hold_no_more_than_the_bound),
        listening_test(test_large_messages_after_small_ones_are_bounded_on_a_quorum_queue),
        listening_test(test_large_messages_of_a_queue_that_nobody_declares_are_bounded),
        listening_test(test_message_that_does_not_fit_goes_back_once),
        listening_test(test_message_that_does_not_fit_has_all_its_attempts),
        listening_test(test_message_of_a_declared_queue_that_does_not_fit_has_all_its_attempts),
        listening_test(test_prefetch_of_a_quorum_queue_changes_again_and_again),
    };
    return cmocka_run_group_tests_name("held bytes", tests, test_client_setup, test_client_teardown);
}
