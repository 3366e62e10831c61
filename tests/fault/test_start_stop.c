/* SPDX-License-Identifier: MIT */
/* Starts and stops that cross each other, or something else: each tells what became of it, and none waits for what it
 * need not. */
#include "base/base.h"
#include "support/fault_consumer.h"
#include "support/test_support.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

enum { NEVER_MS = 60000, AT_ONCE_MS = 1500, INTERVAL_MS = 20 };

static coney_health health(void)
{
    coney_health now;
    fault_expect_status(CONEY_OK, coney_container_health(fault.container, &now));
    return now;
}

static void make_container(const coney_container_options *options)
{
    fault_reset_handler();
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, options));
}

static void listen_with(coney_listener listener)
{
    listener.on_message = fault_obey;
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &listener));
}

static void listen_to(const char *queue)
{
    listen_with((coney_listener){.queue = queue});
}

static coney_status start(void)
{
    return coney_container_start(fault.container);
}

static coney_status stop_container(void)
{
    return coney_container_stop(fault.container);
}

static void wait_until_heard(amqp_method_number_t id, int count)
{
    fault_wait_until(cny_broker_count_heard(fault.broker, id) == count);
}

static int consuming(void)
{
    coney_health health = {.consumers = -1};
    fault_expect_status(CONEY_OK, coney_container_health(fault.container, &health));
    return health.consumers;
}

/* ---- scripts ---- */

static void hold_one(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "hold");
}

static void hold_two(cny_peer *peer, void *user)
{
    hold_one(peer, user);
    hold_one(peer, user);
}

static void answer_the_first_only(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until_consumer(peer);
    cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
}

/* Of two listeners, "a" and "b", the second gets no answer. */
static void start_one_of_two(coney_container_event_callback *on_event, int start_timeout_ms)
{
    fault_start(answer_the_first_only, NULL);
    make_container(&(coney_container_options){.on_event = on_event, .start_timeout_ms = start_timeout_ms});
    listen_to("a");
    listen_to("b");
    fault_in_background(start);
    fault_wait_until(health().consumers == 1);
}

/* ---- what a start says ---- */

static void refuse_all(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *method;
    do {
        method = cny_peer_next(peer);
        if (method->id == AMQP_BASIC_CONSUME_METHOD)
            cny_peer_close_channel(peer, method->channel, 403, "ACCESS_REFUSED - to queue 'orders'");
        else
            cny_peer_answer(peer, method);
    } while (method->id != AMQP_CONNECTION_CLOSE_METHOD);
}

enum { STARTS = 1000 };

static atomic_int successes, refusals;

static void *start_often(void *unused)
{
    while (atomic_load(&refusals) < STARTS && atomic_load(&successes) == 0) {
        coney_status status = start();
        atomic_fetch_add(&successes, status == CONEY_OK);
        atomic_fetch_add(&refusals, status == CONEY_E_ACCESS_REFUSED);
    }
    return unused;
}

static void test_failed_start_does_not_say_ok_when_others_start_too(void **state)
{
    (void)state;
    pthread_t other;
    fault_start(refuse_all, NULL);
    make_container(NULL);
    listen_to("orders");
    pthread_create(&other, NULL, start_often, NULL);
    start_often(NULL);
    pthread_join(other, NULL);
    assert_int_equal(successes, 0);
}

static void miss_one_and_ignore_one(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t missing = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD)->channel;
    cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_close_channel(peer, missing, 404, "NOT_FOUND - no queue 'missing' in vhost '/'");
}

static void test_start_fails_for_what_it_waited_for(void **state)
{
    (void)state;
    fault_start(miss_one_and_ignore_one, NULL);
    make_container(&(coney_container_options){.start_timeout_ms = 500});
    listen_to("missing");
    listen_to("silent");
    fault_expect_status(CONEY_E_TIMEOUT, start());
    fault_expect_text("'silent'");
}

static void test_start_that_says_ok_has_all_consumers(void **state)
{
    (void)state;
    enum { TRIES = 40 };
    fault_start(NULL, NULL);
    make_container(&(coney_container_options){.resubscribe_interval_ms = NEVER_MS, .start_timeout_ms = 100});
    listen_with((coney_listener){.queue = "orders", .concurrency = 2});
    fault_expect_status(CONEY_OK, start()); /* connects */
    fault_expect_status(CONEY_OK, stop_container());
    for (int allocations = 0; allocations < TRIES; allocations++) {
        cny_alloc_fail_after(allocations);
        coney_status status = start();
        cny_alloc_fail_after(-1);
        assert_true(status != CONEY_OK || health().ready);
        fault_wait_until(status == CONEY_OK || start() == CONEY_OK);
        fault_expect_status(CONEY_OK, coney_container_stop_with(fault.container, CONEY_STOP_NOW, 0));
    }
}

enum { MANY = 30, ROOM_KB = 200 * 1024 };

static void deliver_to_each(cny_peer *peer, void *user)
{
    (void)user;
    for (int i = 0; i < MANY; i++)
        cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "some");
}

static rlim_t address_space_kb(void)
{
    char line[256];
    long kb = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        sscanf(line, "VmSize: %ld", &kb);
    if (status)
        fclose(status);
    return (rlim_t)kb;
}

static void test_no_handler_runs_if_there_are_too_few_threads_to_start(void **state)
{
    (void)state;
    struct rlimit before, less;
    fault_start(deliver_to_each, NULL);
    make_container(NULL);
    listen_with((coney_listener){.queue = "orders", .concurrency = MANY});
    fault_use_admin(0);
    fault_expect_status(CONEY_OK, fault_ask()); /* connects: its threads are there */
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    less = before;
    less.rlim_cur = (address_space_kb() + ROOM_KB) * 1024;
    assert_int_equal(setrlimit(RLIMIT_AS, &less), 0);
    coney_status status = start();
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    assert_int_equal(status, CONEY_E_SYSTEM);
    assert_int_equal(fault_handler_calls(), 0);
}

/* ---- starting again ---- */

static void refuse_the_first_declaration(cny_peer *peer, void *user)
{
    const char *text = user;
    cny_peer_method *declare = cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
    cny_peer_close_channel(peer, declare->channel, (uint16_t)atoi(text), text);
}

static void expect_second_start_to_declare(char *refusal, coney_status first)
{
    fault_start_with(&(cny_broker_options){.script = refuse_the_first_declaration, .user = refusal}, NULL);
    make_container(&(coney_container_options){.resubscribe_interval_ms = NEVER_MS});
    listen_with((coney_listener){.declare = &(coney_queue){.name = "orders"}});
    fault_expect_status(first, start());
    assert_true(first != CONEY_OK || !health().ready);
    fault_expect_status(CONEY_OK, stop_container());
    fault_expect_status(CONEY_OK, start());
    assert_true(health().ready);
}

static void test_start_declares_what_could_not_be_declared_in_the_last_run(void **state)
{
    (void)state;
    static char locked[] = "405 RESOURCE_LOCKED - cannot obtain exclusive access";
    expect_second_start_to_declare(locked, CONEY_OK);
}

static void test_start_declares_what_made_the_last_one_fail(void **state)
{
    (void)state;
    static char broken[] = "530 NOT_ALLOWED";
    expect_second_start_to_declare(broken, CONEY_E_NOT_ALLOWED);
}

static void close_slowly(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method close = *cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_METHOD);
    cny_peer_silence(peer, 3 * INTERVAL_MS);
    cny_peer_answer(peer, &close);
}

static void test_start_waits_for_channels_of_the_last_run_that_are_being_closed(void **state)
{
    (void)state;
    fault_start_with(&(cny_broker_options){.channel_max = 1, .script = close_slowly}, NULL);
    make_container(&(coney_container_options){.resubscribe_interval_ms = INTERVAL_MS});
    listen_to("orders");
    fault_expect_status(CONEY_OK, start());
    fault_expect_status(CONEY_OK, stop_container());
    fault_expect_status(CONEY_OK, start());
}

/* ---- stops that cross starts ---- */

static void answer_every_other(cny_peer *peer, void *user)
{
    (void)user;
    bool answers = true;
    cny_peer_method *method;
    do {
        method = cny_peer_next(peer);
        bool consumes = method->id == AMQP_BASIC_CONSUME_METHOD;
        if (!consumes || answers)
            cny_peer_answer(peer, method);
        answers = answers != consumes;
    } while (method->id != AMQP_CONNECTION_CLOSE_METHOD);
}

static atomic_bool enough;

static void *start_again_and_again(void *unused)
{
    while (!atomic_load(&enough))
        (void)start();
    return unused;
}

static void test_stop_is_over_although_others_start_again(void **state)
{
    (void)state;
    enum { STOPS = 8, START_MS = 1000 };
    pthread_t other;
    atomic_store(&enough, false);
    fault_start(answer_every_other, NULL);
    make_container(&(coney_container_options){.start_timeout_ms = START_MS});
    listen_to("orders");
    pthread_create(&other, NULL, start_again_and_again, NULL);
    for (int i = 0; i < STOPS; i++) {
        fault_wait_until(health().ready);
        int64_t began = cny_now_ms();
        fault_expect_status(CONEY_OK, stop_container());
        test_expect_elapsed(began, 0, START_MS / 2);
    }
    atomic_store(&enough, true);
    pthread_join(other, NULL);
}

static atomic_int stopped_status, stopped_fatal;

static void note_stop(const coney_container_event *event, void *user)
{
    (void)user;
    if (event->kind != CONEY_CONTAINER_STOPPED)
        return;
    atomic_store(&stopped_fatal, event->fatal);
    atomic_store(&stopped_status, (int)event->status);
}

static void test_stop_of_a_start_is_told_as_one_that_was_asked_for(void **state)
{
    (void)state;
    atomic_store(&stopped_status, -1);
    start_one_of_two(note_stop, NEVER_MS);
    fault_expect_status(CONEY_OK, stop_container());
    fault_expect_status(CONEY_E_STATE, fault_background_end());
    fault_wait_until(atomic_load(&stopped_status) == CONEY_OK);
    assert_false(stopped_fatal);
}

static coney_status close_factory(void)
{
    return coney_connection_factory_close(fault.factory);
}

static void test_container_does_not_start_while_the_factory_closes(void **state)
{
    (void)state;
    coney_container *late;
    fault_start(hold_one, &(coney_connection_factory_options){.close_timeout_ms = NEVER_MS});
    make_container(NULL);
    listen_to("orders");
    fault_expect_status(CONEY_OK, start());
    fault_wait_for_calls(1);
    fault_expect_status(CONEY_OK, coney_container_new(&late, fault.factory, NULL));
    fault_expect_status(CONEY_OK,
                        coney_container_listen(late, &(coney_listener){.queue = "others", .on_message = fault_obey}));
    fault_in_background(close_factory);
    wait_until_heard(AMQP_BASIC_CANCEL_METHOD, 1);
    fault_expect_status(CONEY_E_CLOSED, coney_container_start(late));
    fault_let_go();
    fault_expect_status(CONEY_OK, fault_background_end());
    coney_container_free(late);
}

/* ---- single listeners ---- */

static void test_start_of_a_listener_does_not_wait_for_a_consumer_that_goes(void **state)
{
    (void)state;
    fault_listen(hold_two, &(coney_container_options){.start_timeout_ms = 1000}, (coney_listener){.concurrency = 2});
    fault_wait_for_calls(2);
    fault_expect_status(CONEY_OK, coney_container_set_concurrency(fault.container, "orders", 1, 1));
    fault_wait_until(consuming() == 1);
    fault_expect_status(CONEY_OK, coney_container_start_listener(fault.container, "orders"));
    fault_let_go();
    fault_let_go();
}

static void test_start_of_a_listener_waits_while_the_container_starts(void **state)
{
    (void)state;
    start_one_of_two(NULL, 500);
    assert_int_not_equal(coney_container_start_listener(fault.container, "b"), CONEY_OK);
    fault_expect_status(CONEY_E_TIMEOUT, fault_background_end());
}

static coney_status stop_orders(void)
{
    return coney_container_stop_listener(fault.container, "orders");
}

static void test_stop_of_a_listener_is_over_although_it_is_started_again(void **state)
{
    (void)state;
    fault_listen(hold_one, NULL, (coney_listener){.queue = NULL});
    fault_wait_for_calls(1);
    fault_in_background(stop_orders);
    wait_until_heard(AMQP_BASIC_CANCEL_METHOD, 1);
    fault_let_go();
    fault_expect_status(CONEY_OK, coney_container_start_listener(fault.container, "orders"));
    fault_expect_status(CONEY_OK, fault_background_end());
}

static char started_tag[64], stopped_tag[64];
static atomic_bool has_stopped;

static void note_tags(const coney_container_event *event, void *user)
{
    (void)user;
    if (event->kind == CONEY_CONSUMER_STARTED)
        snprintf(started_tag, sizeof started_tag, "%s", event->consumer_tag);
    if (event->kind == CONEY_CONSUMER_STOPPED)
        snprintf(stopped_tag, sizeof stopped_tag, "%s", event->consumer_tag);
    atomic_store(&has_stopped, event->kind == CONEY_CONSUMER_STOPPED || atomic_load(&has_stopped));
}

static void test_event_of_the_end_names_the_consumer_while_the_container_starts(void **state)
{
    (void)state;
    atomic_store(&has_stopped, false);
    start_one_of_two(note_tags, NEVER_MS);
    fault_expect_status(CONEY_OK, coney_container_unlisten(fault.container, "a"));
    fault_wait_until(atomic_load(&has_stopped));
    fault_expect_status(CONEY_OK, stop_container());
    fault_expect_status(CONEY_E_STATE, fault_background_end());
    assert_string_not_equal(started_tag, "");
    assert_string_equal(started_tag, stopped_tag);
}

static void test_listener_with_nothing_to_do_ends_while_the_only_worker_is_busy(void **state)
{
    (void)state;
    fault_start(hold_one, NULL);
    make_container(&(coney_container_options){.workers = 1, .shutdown_timeout_ms = 3000});
    listen_to("a");
    listen_to("b");
    fault_expect_status(CONEY_OK, start());
    fault_wait_for_calls(1);
    fault_expect_status(CONEY_OK, coney_container_stop_listener(fault.container, "b"));
    fault_let_go();
}

static void test_elastic_listener_grows_as_soon_as_it_may(void **state)
{
    (void)state;
    int64_t began = cny_now_ms();
    fault_listen(hold_two, NULL,
                 (coney_listener){.max_concurrency = 2,
                                  .elasticity = {.cycle_ms = 10, .active_trigger = 1, .grow_interval_ms = 1}});
    fault_wait_for_calls(2);
    test_expect_elapsed(began, 0, AT_ONCE_MS);
    fault_let_go();
    fault_let_go();
}

/* ---- what lanes have in hand ---- */

static void cancel_when_told(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "some");
    cny_peer_method cancel = *cny_peer_serve_until(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_wait_go(peer);
    amqp_basic_cancel_ok_t ok = {amqp_cstring_bytes("consumer")};
    cny_peer_send(peer, cancel.channel, AMQP_BASIC_CANCEL_OK_METHOD, &ok);
}

static void acknowledge_all(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)deliveries;
    (void)user;
    for (size_t i = 0; i < count; i++)
        outcomes[i] = CONEY_ACK;
}

static bool has_received_one(void)
{
    coney_listener_statistics statistics;
    fault_expect_status(CONEY_OK, coney_container_statistics(fault.container, "orders", &statistics));
    return statistics.received == 1;
}

static void test_resume_does_not_wait_for_the_rest_of_a_batch(void **state)
{
    (void)state;
    enum { NOTICED_MS = 100 };
    fault_listen(cancel_when_told, NULL, (coney_listener){.on_batch = acknowledge_all, .batch_timeout_ms = NEVER_MS});
    fault_wait_until(has_received_one());
    fault_expect_status(CONEY_OK, coney_container_pause(fault.container));
    wait_until_heard(AMQP_BASIC_CANCEL_METHOD, 1);
    fault_expect_status(CONEY_OK, coney_container_resume(fault.container));
    poll(NULL, 0, NOTICED_MS); /* by the supervisor, before the broker's answer */
    cny_broker_go(fault.broker);
    fault_wait_until(health().ready);
}

static void deliver_again(cny_peer *peer, amqp_channel_t channel, uint64_t tag)
{
    static const char body[] = "requeue";
    amqp_basic_deliver_t deliver = {amqp_cstring_bytes("consumer"), tag, true, amqp_cstring_bytes(""),
                                    amqp_cstring_bytes("orders")};
    amqp_basic_properties_t none = {0};
    cny_peer_send(peer, channel, AMQP_BASIC_DELIVER_METHOD, &deliver);
    cny_peer_send_header(peer, channel, strlen(body), &none);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, body, strlen(body));
}

enum { ROUNDS = 6 }; /* the last one is held back for more than three seconds */

static void deliver_in_rounds(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    for (uint64_t tag = 1; tag < ROUNDS; tag++) {
        deliver_again(peer, channel, tag);
        cny_peer_serve_until(peer, AMQP_BASIC_REJECT_METHOD);
    }
    deliver_again(peer, channel, ROUNDS);
}

static void test_stop_does_not_wait_for_a_message_that_is_only_held_back(void **state)
{
    (void)state;
    fault_listen(deliver_in_rounds, NULL, (coney_listener){.queue = NULL});
    fault_wait_for_calls(ROUNDS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, stop_container());
    test_expect_elapsed(began, 0, AT_ONCE_MS);
    wait_until_heard(AMQP_BASIC_REJECT_METHOD, ROUNDS);
}

/* ---- without acknowledgements ---- */

static void answer_the_second_late(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until_consumer(peer);
    cny_peer_method second = *cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_silence(peer, 10 * INTERVAL_MS);
    amqp_basic_consume_ok_t ok = {amqp_cstring_bytes("late")};
    cny_peer_send(peer, second.channel, AMQP_BASIC_CONSUME_OK_METHOD, &ok);
    cny_peer_deliver(peer, second.channel, 1, "late");
}

static void test_stop_loses_nothing_of_a_consumer_that_is_about_to_begin(void **state)
{
    (void)state;
    fault_start(answer_the_second_late, NULL);
    make_container(NULL);
    listen_to("a");
    fault_expect_status(CONEY_OK, start());
    listen_with((coney_listener){.queue = "b", .acknowledge = CONEY_ACKNOWLEDGE_NONE});
    wait_until_heard(AMQP_BASIC_CONSUME_METHOD, 2);
    fault_expect_status(CONEY_OK, stop_container());
    assert_int_equal(fault_handled("late"), 1);
}

enum { BIG = 1024 * 1024, FULL = 17 }; /* more than 16 MiB are not read */

static void flood_the_first_before_the_second_begins(cny_peer *peer, void *user)
{
    (void)user;
    static char big[BIG + 1];
    memset(big, 'x', BIG);
    amqp_channel_t first = cny_peer_serve_until_consumer(peer);
    cny_peer_method second = *cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    for (uint64_t tag = 1; tag <= FULL; tag++)
        cny_peer_deliver(peer, first, tag, big);
    amqp_basic_consume_ok_t ok = {amqp_cstring_bytes("late")};
    cny_peer_send(peer, second.channel, AMQP_BASIC_CONSUME_OK_METHOD, &ok);
}

static void test_start_is_not_held_up_by_one_that_is_flooded(void **state)
{
    (void)state;
    fault_start(flood_the_first_before_the_second_begins, NULL);
    make_container(NULL);
    listen_with((coney_listener){.queue = "a", .acknowledge = CONEY_ACKNOWLEDGE_NONE});
    listen_with((coney_listener){.queue = "b", .acknowledge = CONEY_ACKNOWLEDGE_NONE});
    fault_expect_status(CONEY_OK, start());
    fault_wait_for_calls(FULL);
    fault_wait_until(health().ready);
}

/* ---- publishers ---- */

static atomic_bool in_handler, lost;
static atomic_llong send_ms;

static coney_outcome send_after_the_loss(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_store(&in_handler, true);
    while (!atomic_load(&lost))
        poll(NULL, 0, 2);
    int64_t began = cny_now_ms();
    coney_status status = fault_send(NEVER_MS);
    atomic_store(&send_ms, status == CONEY_OK ? cny_now_ms() - began : NEVER_MS);
    return CONEY_ACK;
}

static void lose_both_connections(cny_peer *peer, void *user)
{
    (void)user;
    bool publishes = cny_peer_log_in(peer);
    if (cny_peer_number(peer) > 1)
        return;
    if (!publishes) {
        amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
        cny_peer_serve_until_consumer(peer);
        cny_peer_deliver(peer, channel, 1, "send");
    }
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

static void test_publishers_do_not_wait_for_a_consumer_without_a_worker(void **state)
{
    (void)state;
    atomic_store(&in_handler, false);
    atomic_store(&lost, false);
    atomic_store(&send_ms, -1);
    fault_start(lose_both_connections, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(0));
    make_container(&(coney_container_options){.workers = 1});
    const coney_listener sends = {.queue = "a", .on_message = send_after_the_loss};
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &sends));
    listen_to("b");
    fault_expect_status(CONEY_OK, start());
    fault_wait_until(atomic_load(&in_handler));
    cny_broker_go(fault.broker);
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 2);
    fault_wait_for_opening(CONEY_CONSUMING, 2);
    atomic_store(&lost, true);
    fault_wait_until(atomic_load(&send_ms) >= 0);
    assert_int_in_range(atomic_load(&send_ms), 0, AT_ONCE_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_failed_start_does_not_say_ok_when_others_start_too),
        fault_test(test_start_fails_for_what_it_waited_for),
        fault_test(test_start_that_says_ok_has_all_consumers),
        fault_test(test_no_handler_runs_if_there_are_too_few_threads_to_start),
        fault_test(test_start_declares_what_could_not_be_declared_in_the_last_run),
        fault_test(test_start_declares_what_made_the_last_one_fail),
        fault_test(test_start_waits_for_channels_of_the_last_run_that_are_being_closed),
        fault_test(test_stop_is_over_although_others_start_again),
        fault_test(test_stop_of_a_start_is_told_as_one_that_was_asked_for),
        fault_test(test_container_does_not_start_while_the_factory_closes),
        fault_test(test_start_of_a_listener_does_not_wait_for_a_consumer_that_goes),
        fault_test(test_start_of_a_listener_waits_while_the_container_starts),
        fault_test(test_stop_of_a_listener_is_over_although_it_is_started_again),
        fault_test(test_event_of_the_end_names_the_consumer_while_the_container_starts),
        fault_test(test_listener_with_nothing_to_do_ends_while_the_only_worker_is_busy),
        fault_test(test_elastic_listener_grows_as_soon_as_it_may),
        fault_test(test_resume_does_not_wait_for_the_rest_of_a_batch),
        fault_test(test_stop_does_not_wait_for_a_message_that_is_only_held_back),
        fault_test(test_stop_loses_nothing_of_a_consumer_that_is_about_to_begin),
        fault_test(test_start_is_not_held_up_by_one_that_is_flooded),
        fault_test(test_publishers_do_not_wait_for_a_consumer_without_a_worker),
    };
    return cmocka_run_group_tests_name("start and stop", tests, NULL, NULL);
}
