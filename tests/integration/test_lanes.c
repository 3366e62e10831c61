/* SPDX-License-Identifier: MIT */
/* Order and parallelism: within a queue, within a key of a listener with lanes, and with few workers for many
 * queues. */
#include "support/test_support.h"

#include "base/base.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { KEYS = 16, PER_KEY = 25, LANES = 4, QUEUES = 50, PER_QUEUE = 20 };
enum { OWN_LANES = 16 }; /* the keys 0 to 9 get one each */

static char queue[200], exchange[256];
static coney_container *container;

static struct {
    atomic_int handled;
    atomic_int of_key[KEYS]; /* so many in a row */
    atomic_int inside, most_inside;
    atomic_int failures; /* of key 0 */
    atomic_bool holds;
} seen;

/* Messages to the exchange get to the queue by any routing key. */
static int setup(void **state)
{
    static int tests;
    (void)state;
    memset((void *)&seen, 0, sizeof seen);
    snprintf(queue, sizeof queue, "%s.%d", test_name("lanes"), ++tests);
    snprintf(exchange, sizeof exchange, "%s.in", queue);
    test_make_queue(queue);
    assert_ok(coney_admin_declare_exchange(client.admin, &(coney_exchange){.name = exchange, .type = CONEY_FANOUT}));
    assert_ok(coney_admin_declare_binding(client.admin, &(coney_binding){.exchange = exchange, .destination = queue}));
    return 0;
}

static int teardown(void **state)
{
    atomic_store(&seen.holds, false);
    coney_container_free(container);
    container = NULL;
    test_log_stop();
    assert_ok(coney_admin_delete_exchange(client.admin, exchange));
    test_delete_queue(queue);
    return test_no_failed_checks(state);
}

static void start(coney_listener listener)
{
    const coney_container_options options = {.workers = test_workers, .shutdown_timeout_ms = 8000};
    listener.queue = queue;
    assert_ok(coney_container_new(&container, client.factory, &options));
    assert_ok(coney_container_listen(container, &listener));
    assert_ok(coney_container_start(container));
}

/* The text is "KEY NUMBER"; the key is the routing key or, if one is named, a header. */
static void send_one(int key, int number, const char *header)
{
    char text[32], name[16];
    coney_table *headers = coney_table_new();
    coney_message *message;
    snprintf(text, sizeof text, "%d %d", key, number);
    snprintf(name, sizeof name, "key-%d", key);
    if (header)
        assert_ok(coney_table_set_string(headers, header, name));
    assert_ok(coney_message_new(&message, text, strlen(text), &(coney_properties){.headers = headers}));
    assert_ok(coney_template_send(client.sender, header ? "all the same" : name, message,
                                  &(coney_send_options){.exchange = exchange}));
    coney_message_unref(message);
    coney_table_free(headers);
}

static void send_all(const char *header)
{
    for (int number = 0; number < PER_KEY; number++) {
        for (int key = 0; key < KEYS; key++)
            send_one(key, number, header);
    }
}

static int key_of(const coney_delivery *delivery, int *number)
{
    char *rest;
    long key = strtol(coney_message_body(coney_delivery_message(delivery)), &rest, 10);
    *number = (int)strtol(rest, NULL, 10);
    check(key >= 0 && key < KEYS);
    return (int)key % KEYS;
}

static void note_inside(void)
{
    int now = atomic_fetch_add(&seen.inside, 1) + 1, most = atomic_load(&seen.most_inside);
    while (now > most && !atomic_compare_exchange_weak(&seen.most_inside, &most, now))
        ;
}

/* Until another one is in here, too: they run in parallel, or this fails. */
static void wait_for_company(void)
{
    for (int64_t until = cny_now_ms() + 5000; atomic_load(&seen.most_inside) < 2 && cny_now_ms() < until;)
        usleep(500);
    check(atomic_load(&seen.most_inside) >= 2);
}

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    (void)user;
    int number, key = key_of(delivery, &number);
    note_inside();
    if (number == 0)
        wait_for_company();
    sched_yield(); /* the worker that comes off second must have the chance to be the first */
    check(atomic_load(&seen.of_key[key]) == number);
    atomic_fetch_add(&seen.of_key[key], 1);
    atomic_fetch_sub(&seen.inside, 1);
    atomic_fetch_add(&seen.handled, 1);
    return CONEY_ACK;
}

static void expect_order_and_overlap(void)
{
    test_wait_for(&seen.handled, KEYS * PER_KEY);
    assert_int_in_range(seen.most_inside, 2, LANES);
    assert_ok(coney_container_stop(container));
    test_wait_for_depth(queue, 0);
}

static void test_lanes_keep_the_order_of_each_routing_key_and_run_in_parallel(void **state)
{
    (void)state;
    start((coney_listener){.on_message = handle, .lanes = LANES});
    send_all(NULL);
    expect_order_and_overlap();
}

static void test_lanes_keep_the_order_of_each_header_and_run_in_parallel(void **state)
{
    (void)state;
    start((coney_listener){.on_message = handle, .lanes = LANES, .lane_header = "customer"});
    send_all("customer");
    expect_order_and_overlap();
}

static coney_outcome handle_alone(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    note_inside();
    usleep(1000);
    atomic_fetch_sub(&seen.inside, 1);
    atomic_fetch_add(&seen.handled, 1);
    return CONEY_ACK;
}

static void test_messages_without_the_lane_header_have_one_lane_in_common(void **state)
{
    (void)state;
    start((coney_listener){.on_message = handle_alone, .lanes = LANES, .lane_header = "customer"});
    for (int key = 0; key < KEYS; key++)
        send_one(key, 0, "another header");
    test_wait_for(&seen.handled, KEYS);
    assert_int_equal(seen.most_inside, 1);
}

static void test_one_lane_handles_one_message_at_a_time(void **state)
{
    (void)state;
    start((coney_listener){.on_message = handle_alone});
    for (int key = 0; key < KEYS; key++)
        send_one(key, 0, NULL);
    test_wait_for(&seen.handled, KEYS);
    assert_int_equal(seen.most_inside, 1);
}

static uint64_t acknowledged(void)
{
    coney_listener_statistics counts;
    assert_ok(coney_container_statistics(container, queue, &counts));
    return counts.acknowledged;
}

/* Key 0 waits inside; the others are done, and acknowledged each for itself. */
static coney_outcome hold_key_0(coney_delivery *delivery, void *user)
{
    (void)user;
    int number;
    if (key_of(delivery, &number) > 0) {
        atomic_fetch_add(&seen.handled, 1);
        return CONEY_ACK;
    }
    atomic_fetch_add(&seen.failures, 1);
    while (atomic_load(&seen.holds))
        usleep(1000);
    return CONEY_ACK;
}

static void test_ack_of_one_lane_does_not_cover_what_another_still_handles(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_OFF);
    seen.holds = true;
    start((coney_listener){.on_message = hold_key_0, .lanes = OWN_LANES});
    for (int key = 0; key < 5; key++)
        send_one(key, 0, NULL);
    test_wait_until(acknowledged() == 4);
    test_wait_for(&seen.failures, 1);
    assert_fails(coney_container_stop_with(container, CONEY_STOP_NOW, 50), CONEY_E_TIMEOUT, "1 handlers");
    test_wait_for_depth(queue, 1); /* the one that was held, only */
}

static coney_outcome fail_key_0(coney_delivery *delivery, void *user)
{
    (void)user;
    int number;
    if (key_of(delivery, &number) == 0) {
        atomic_fetch_add(&seen.failures, 1);
        return CONEY_RETRY;
    }
    atomic_fetch_add(&seen.handled, 1);
    return CONEY_ACK;
}

static void test_back_off_of_a_failing_key_does_not_hold_up_other_keys(void **state)
{
    (void)state;
    enum { OTHERS = 9 };
    test_log_start(CONEY_LOG_OFF);
    start((coney_listener){.on_message = fail_key_0,
                           .lanes = OWN_LANES,
                           .retry = {.max_attempts = 2, .first_delay_ms = 60000, .max_delay_ms = 60000}});
    send_one(0, 0, NULL);
    test_wait_for(&seen.failures, 1);
    for (int i = 1; i <= OTHERS; i++)
        send_one(i, 0, NULL);
    test_wait_for(&seen.handled, OTHERS);
    assert_int_equal(seen.failures, 1);
    assert_ok(coney_container_stop_with(container, CONEY_STOP_FINISH, 0));
    test_wait_for_depth(queue, 1);
}

/* More failing keys than workers: a back-off that kept its worker would leave none. */
static coney_outcome fail_most(coney_delivery *delivery, void *user)
{
    (void)user;
    int number;
    if (key_of(delivery, &number) < 8) {
        atomic_fetch_add(&seen.failures, 1);
        return CONEY_RETRY;
    }
    atomic_fetch_add(&seen.handled, 1);
    return CONEY_ACK;
}

static void test_back_off_gives_its_worker_back(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_OFF);
    start((coney_listener){.on_message = fail_most,
                           .lanes = OWN_LANES,
                           .retry = {.max_attempts = 2, .first_delay_ms = 60000, .max_delay_ms = 60000}});
    for (int key = 0; key < 8; key++)
        send_one(key, 0, NULL);
    test_wait_for(&seen.failures, 8);
    send_one(8, 0, NULL);
    test_wait_for(&seen.handled, 1);
    assert_ok(coney_container_stop_with(container, CONEY_STOP_FINISH, 0));
    test_wait_for_depth(queue, 8);
}

/* ---- back from the ladder ---- */

/* The first message of each key fails when it comes for the first time; the second one of key 0 is held. */
static coney_outcome fail_first_hold_second(coney_delivery *delivery, void *user)
{
    (void)user;
    int number, key = key_of(delivery, &number);
    bool fails = number == 0 && coney_delivery_attempt(delivery) == 1;
    if (key == 0)
        note_inside();
    while (number == 1 && atomic_load(&seen.holds))
        usleep(1000);
    if (key == 0)
        atomic_fetch_sub(&seen.inside, 1);
    atomic_fetch_add(&seen.of_key[key], !fails);
    return fails ? CONEY_RETRY : CONEY_ACK;
}

static uint64_t count_republished(void)
{
    coney_listener_statistics counts;
    assert_ok(coney_container_statistics(container, queue, &counts));
    return counts.republished;
}

static void delete_ladder(void)
{
    char name[256];
    snprintf(name, sizeof name, "%s.retry.200", queue);
    test_delete_queue(name);
    snprintf(name, sizeof name, "%s.parking", queue);
    test_delete_queue(name);
}

/* Behind it comes one of another key, which is handled: so it is there. */
static void test_message_that_comes_back_from_the_ladder_waits_in_the_lane_of_its_key(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_OFF);
    seen.holds = true;
    send_one(0, 0, NULL);
    send_one(0, 1, NULL);
    start((coney_listener){.on_message = fail_first_hold_second, .lanes = OWN_LANES, .retry = {.delays_ms = {200}}});
    test_wait_until(count_republished() == 1);
    send_one(1, 0, NULL);
    test_wait_for(&seen.of_key[1], 1);
    assert_int_equal(seen.inside, 1);
    atomic_store(&seen.holds, false);
    test_wait_for(&seen.of_key[0], 2);
    assert_int_equal(seen.most_inside, 1);
    assert_ok(coney_container_stop(container));
    delete_ladder();
}

/* ---- many queues, few workers ---- */

static atomic_int next_of[QUEUES];

static coney_outcome expect_next(coney_delivery *delivery, void *user)
{
    atomic_int *next = user;
    check(strtol(coney_message_body(coney_delivery_message(delivery)), NULL, 10) == atomic_load(next));
    atomic_fetch_add(next, 1);
    atomic_fetch_add(&seen.handled, 1);
    return CONEY_ACK;
}

static int count_threads(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (const struct dirent *entry; tasks && (entry = readdir(tasks));)
        count += entry->d_name[0] != '.';
    if (tasks)
        closedir(tasks);
    return count;
}

static void listen_to_all(char names[QUEUES][200])
{
    assert_ok(coney_container_new(&container, client.factory, &(coney_container_options){.workers = 2}));
    for (int i = 0; i < QUEUES; i++) {
        snprintf(names[i], sizeof names[i], "%.180s.%d", queue, i);
        test_make_queue(names[i]);
        atomic_store(&next_of[i], 0);
        assert_ok(coney_container_listen(
            container, &(coney_listener){.queue = names[i], .on_message = expect_next, .user = &next_of[i]}));
    }
}

static void test_two_workers_serve_fifty_queues_in_order(void **state)
{
    (void)state;
    enum { WORKERS = 2, SUPERVISOR = 1, OF_THE_CONNECTION = 4 };
    static char names[QUEUES][200];
    listen_to_all(names);
    int before = count_threads();
    assert_ok(coney_container_start(container));
    for (int i = 0; i < QUEUES; i++)
        test_send_numbers(names[i], PER_QUEUE);
    assert_int_in_range(count_threads(), 1, before + WORKERS + SUPERVISOR + OF_THE_CONNECTION);
    test_wait_for(&seen.handled, QUEUES * PER_QUEUE);
    assert_ok(coney_container_stop(container));
    for (int i = 0; i < QUEUES; i++) {
        assert_int_equal(next_of[i], PER_QUEUE);
        test_wait_for_depth(names[i], 0);
        test_delete_queue(names[i]);
    }
}

int main(void)
{
#define own_queue(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        own_queue(test_lanes_keep_the_order_of_each_routing_key_and_run_in_parallel),
        own_queue(test_lanes_keep_the_order_of_each_header_and_run_in_parallel),
        own_queue(test_messages_without_the_lane_header_have_one_lane_in_common),
        own_queue(test_one_lane_handles_one_message_at_a_time),
        own_queue(test_ack_of_one_lane_does_not_cover_what_another_still_handles),
        own_queue(test_back_off_of_a_failing_key_does_not_hold_up_other_keys),
        own_queue(test_back_off_gives_its_worker_back),
        own_queue(test_message_that_comes_back_from_the_ladder_waits_in_the_lane_of_its_key),
        own_queue(test_two_workers_serve_fifty_queues_in_order),
    };
    return test_run_with_workers("lanes", tests, test_client_setup, test_client_teardown);
}
