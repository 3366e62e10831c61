/* SPDX-License-Identifier: MIT */
/* What the counts of a quorum queue's broker mean, which each release keeps otherwise: what they say of a message that
 * comes by dead-lettering, of one that was given back, and of one that is near the delivery limit. */
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>
#include <unistd.h>

/* ---- rejected, and back by way of a queue in which it waits ---- */

static void declare(const coney_queue *queue)
{
    test_delete_queue(queue->name);
    assert_ok(coney_admin_declare_queue(client.admin, queue, NULL));
}

/* The test's queue is of that kind, and what it rejects comes back soon. */
static coney_queue use_ladder(coney_queue queue, coney_queue_kind waiting)
{
    const char *wait = listening_other_queue("wait");
    queue.name = listening.queue;
    queue.dead_letter_exchange = "";
    queue.dead_letter_routing_key = wait;
    declare(&queue);
    declare(&(coney_queue){.name = wait,
                           .kind = waiting,
                           .message_ttl_ms = 20,
                           .dead_letter_exchange = "",
                           .dead_letter_routing_key = listening.queue});
    return queue;
}

static void expect_each_rejection_once(coney_queue_kind kind, coney_queue_kind waiting)
{
    use_ladder((coney_queue){.kind = kind}, waiting);
    listening_start(&(coney_listener){0});
    listening_send("reject");
    listening_expect_attempts((const int[]){1, 2, 3, 4, 5, 0});
}

static void test_quorum_queue_counts_each_rejection_once_through_a_quorum_queue(void **state)
{
    (void)state;
    expect_each_rejection_once(CONEY_QUORUM, CONEY_QUORUM);
}

static void test_quorum_queue_counts_each_rejection_once_through_a_classic_queue(void **state)
{
    (void)state;
    expect_each_rejection_once(CONEY_QUORUM, CONEY_CLASSIC);
}

static void test_classic_queue_counts_each_rejection_once_through_a_quorum_queue(void **state)
{
    (void)state;
    expect_each_rejection_once(CONEY_CLASSIC, CONEY_QUORUM);
}

static void test_classic_queue_counts_each_rejection_once_through_a_classic_queue(void **state)
{
    (void)state;
    expect_each_rejection_once(CONEY_CLASSIC, CONEY_CLASSIC);
}

/* After a rejection the broker's count begins anew with what comes back to the queue. */
static coney_outcome reject_then_requeue(coney_delivery *delivery, void *user)
{
    (void)user;
    static const coney_outcome outcomes[] = {CONEY_REJECT, CONEY_REJECT, CONEY_REQUEUE, CONEY_ACK};
    int index = listening_note(delivery);
    return index < (int)COUNT_OF(outcomes) ? outcomes[index] : CONEY_ACK;
}

static void test_requeue_after_rejections_counts_beside_them(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_send_dead_letters_back();
    listening_start(&(coney_listener){.on_message = reject_then_requeue});
    listening_send("go");
    listening_expect_attempts((const int[]){1, 2, 3, 4, 0});
}

/* ---- rejected by another queue ---- */

/* The test's queue gets what the other one rejects. */
static const char *use_two_queues(int delivery_limit)
{
    const char *first = listening_other_queue("first");
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    declare(&(coney_queue){.name = first,
                           .kind = CONEY_QUORUM,
                           .delivery_limit = delivery_limit,
                           .dead_letter_exchange = "",
                           .dead_letter_routing_key = listening.queue});
    return first;
}

static coney_container *listen_to(const char *queue, coney_outcome (*handler)(coney_delivery *, void *))
{
    coney_container *container;
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(coney_container_listen(
        container,
        &(coney_listener){.queue = queue, .on_message = handler, .retry = {.stateful = true, .first_delay_ms = 10}}));
    assert_ok(coney_container_start(container));
    return container;
}

static coney_outcome always_fail(coney_delivery *delivery, void *user)
{
    (void)user;
    return coney_delivery_fail(delivery, CONEY_RETRY, "never");
}

static coney_outcome requeue(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    return CONEY_REQUEUE;
}

static void send_with_id(const char *queue)
{
    listening_send_to("", queue, "fail", &(coney_properties){.message_id = "m-1"});
}

static coney_outcome reject(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    return CONEY_REJECT;
}

static void test_rejection_by_another_queue_is_no_attempt(void **state)
{
    (void)state;
    const char *first = use_two_queues(0);
    coney_container *container = listen_to(first, reject);
    listening_start(&(coney_listener){0});
    listening_send_to("", first, "ack", NULL);
    listening_expect_attempts((const int[]){1, 0});
    coney_container_free(container);
}

/* The first queue has counted so much that RabbitMQ 4.3 shows, and none of it is an attempt of the second one. */
static void expect_all_stateful_attempts(const char *first, coney_outcome (*handler)(coney_delivery *, void *))
{
    coney_container *container = listen_to(first, handler);
    listening_start(
        &(coney_listener){.retry = {.stateful = true, .max_attempts = 3, .first_delay_ms = 10, .max_crashes = -1}});
    send_with_id(first);
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening.count, 3);
    coney_container_free(container);
}

static void test_message_that_another_queue_has_rejected_has_all_its_stateful_attempts(void **state)
{
    (void)state;
    expect_all_stateful_attempts(use_two_queues(0), always_fail);
}

static void test_message_that_met_the_limit_of_another_queue_has_all_its_stateful_attempts(void **state)
{
    (void)state;
    expect_all_stateful_attempts(use_two_queues(2), requeue);
}

/* ---- given back by other processes, which nobody here remembers ---- */

static void take_and_return(int times)
{
    for (int i = 0; i < times; i++) {
        test_wait_for_depth(listening.queue, 1);
        plain_return(listening.queue);
    }
    test_wait_for_depth(listening.queue, 1);
}

/* RabbitMQ 4.3 does not count what goes back by basic.nack. Others do, and then the first attempt is the last one. */
static void test_message_that_others_gave_back_by_basic_nack_has_all_its_attempts_if_that_is_not_counted(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    send_with_id(listening.queue);
    take_and_return(3);
    listening_start(
        &(coney_listener){.retry = {.stateful = true, .max_attempts = 3, .first_delay_ms = 10, .max_crashes = -1}});
    test_wait_for_depth(listening.dead, 1);
    if (plain_broker_is_from(4, 3))
        listening_expect_attempts((const int[]){1, 2, 3, 0});
    else
        listening_expect_attempts((const int[]){4, 0});
}

static atomic_int is_held, is_inside;

static coney_outcome hold(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_store(&is_inside, 1);
    while (atomic_load(&is_held))
        usleep(1000);
    return CONEY_STOP;
}

/* The message waits in the prefetch of a container that stops, and goes back with the end of its channel. */
static void stop_another_container(void)
{
    atomic_store(&is_held, 1);
    atomic_store(&is_inside, 0);
    coney_container *container = listen_to(listening.queue, hold);
    test_wait_for(&is_inside, 1);
    test_wait_for_depth(listening.queue, 0);
    atomic_store(&is_held, 0);
    test_wait_for_depth(listening.queue, 2);
    coney_container_free(container);
}

/* Its count is at the limit then, in every release: so it is only suspected, and handled alone. */
static void test_message_that_others_lost_with_their_channels_has_all_its_attempts(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_other_queue("quarantine");
    listening_send("ack: the one in front");
    send_with_id(listening.queue);
    for (int i = 0; i < 3; i++)
        stop_another_container();
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3, .first_delay_ms = 10}});
    test_wait_for_depth(listening.dead, 1);
    assert_true(listening_calls_of("fail") >= 3);
}

/* ---- near the delivery limit ---- */

static void reject_times(coney_queue queue, int times)
{
    test_log_start(CONEY_LOG_WARN);
    queue = use_ladder(queue, CONEY_CLASSIC);
    listening_start(&(coney_listener){.declare = queue.delivery_limit != 0 ? &queue : NULL});
    listening_send_with("reject", &(coney_properties){.message_id = "m-1"});
    listening_wait_for_calls(times);
    listening_stop();
}

static bool counts_on(void)
{
    return plain_broker_is_from(4, 3);
}

static void test_ladder_near_the_declared_limit_is_told_where_rejections_count(void **state)
{
    (void)state;
    reject_times((coney_queue){.kind = CONEY_QUORUM, .delivery_limit = 4}, 6);
    assert_int_equal(test_log_has("message 'm-1' comes by dead-lettering, and the broker has counted 3 returns and "
                                  "rejections of it in all queues; the delivery limit of this queue is 4 unless"),
                     counts_on());
}

static void test_ladder_without_a_limit_is_not_told(void **state)
{
    (void)state;
    reject_times((coney_queue){.kind = CONEY_QUORUM, .delivery_limit = -1}, 22);
    assert_false(test_log_has("delivery limit"));
}

static void test_ladder_near_the_default_limit_is_told_where_rejections_count(void **state)
{
    (void)state;
    reject_times((coney_queue){.kind = CONEY_QUORUM}, 18);
    assert_int_equal(test_log_has("limit of this queue is 20 unless"), counts_on());
    assert_true(test_log_count("limit of this queue") <= 3); /* a line a second */
}

static void test_ladder_far_from_the_limit_is_not_told(void **state)
{
    (void)state;
    reject_times((coney_queue){.kind = CONEY_QUORUM}, 14);
    assert_false(test_log_has("delivery limit"));
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_quorum_queue_counts_each_rejection_once_through_a_quorum_queue),
        listening_test(test_quorum_queue_counts_each_rejection_once_through_a_classic_queue),
        listening_test(test_classic_queue_counts_each_rejection_once_through_a_quorum_queue),
        listening_test(test_classic_queue_counts_each_rejection_once_through_a_classic_queue),
        listening_test(test_requeue_after_rejections_counts_beside_them),
        listening_test(test_rejection_by_another_queue_is_no_attempt),
        listening_test(test_message_that_another_queue_has_rejected_has_all_its_stateful_attempts),
        listening_test(test_message_that_met_the_limit_of_another_queue_has_all_its_stateful_attempts),
        listening_test(test_message_that_others_gave_back_by_basic_nack_has_all_its_attempts_if_that_is_not_counted),
        listening_test(test_message_that_others_lost_with_their_channels_has_all_its_attempts),
        listening_test(test_ladder_near_the_declared_limit_is_told_where_rejections_count),
        listening_test(test_ladder_near_the_default_limit_is_told_where_rejections_count),
        listening_test(test_ladder_without_a_limit_is_not_told),
        listening_test(test_ladder_far_from_the_limit_is_not_told),
    };
    return cmocka_run_group_tests_name("delivery counts", tests, test_client_setup, teardown);
}
