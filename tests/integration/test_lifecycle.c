/* SPDX-License-Identifier: MIT */
/* A container starts, waits for queues, pauses, and starts again. */
#include "support/container_fixture.h"

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const coney_container_options quick = {.resubscribe_interval_ms = 50, .shutdown_timeout_ms = 8000};

static void make_other_queue(void)
{
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = here.other}, NULL));
}

/* ---- starting ---- */

static void test_no_handler_runs_before_all_consume(void **state)
{
    (void)state;
    test_send(here.queue, 3);
    test_use_container(NULL);
    test_listen(&(coney_listener){.concurrency = 2});
    test_listen(&(coney_listener){.queue = here.other, .missing_queue_is_fatal = true});
    assert_fails(coney_container_start(here.container), CONEY_E_NOT_FOUND, here.other);
    assert_int_equal(here.handler.calls, 0);
    test_wait_for_consumers(here.queue, 0);
    test_wait_for_depth(here.queue, 3);
}

static void test_start_that_failed_can_be_tried_again(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.queue = here.other, .missing_queue_is_fatal = true});
    assert_fails(coney_container_start(here.container), CONEY_E_NOT_FOUND, here.other);
    assert_int_equal(coney_last_error_details()->broker_code, 404);
    test_wait_for_events(CONEY_CONSUMER_FAILED, 1);
    assert_true(test_event_at(CONEY_CONSUMER_FAILED, 0).fatal);
    assert_true(test_health().live);
    make_other_queue();
    assert_ok(coney_container_start(here.container));
    test_send(here.other, 1);
    test_wait_for(&here.handler.calls, 1);
}

static void test_start_fails_if_the_user_may_not_read_the_queue(void **state)
{
    (void)state;
    char uri[256];
    coney_connection_factory *factory;
    coney_container *container;
    test_rabbitmqctl("add_user coney-writer secret");
    test_rabbitmqctl("set_permissions coney-writer '.*' '.*' '^$'");
    snprintf(uri, sizeof uri, "amqp://coney-writer:secret@127.0.0.1:%d/", test_uri_port());
    assert_ok(coney_connection_factory_new(&factory, uri, NULL));
    assert_ok(coney_container_new(&container, factory, NULL));
    assert_ok(coney_container_listen(container, &(coney_listener){.queue = here.queue, .on_message = test_handle}));
    coney_status status = coney_container_start(container);
    bool names_queue = strstr(coney_last_error(), here.queue);
    coney_container_free(container);
    coney_connection_factory_free(factory);
    test_rabbitmqctl("delete_user coney-writer");
    assert_int_equal(status, CONEY_E_ACCESS_REFUSED);
    assert_true(names_queue);
}

static void test_start_without_listeners_or_while_running_is_refused(void **state)
{
    (void)state;
    test_use_container(NULL);
    assert_fails(coney_container_start(here.container), CONEY_E_STATE, "no listeners");
    test_listen(&(coney_listener){.prefetch = 1});
    assert_ok(coney_container_start(here.container));
    assert_fails(coney_container_start(here.container), CONEY_E_STATE, "is running");
    assert_int_equal(test_consumers_at_broker(here.queue), 1);
}

static void test_server_named_queue_is_refused(void **state)
{
    (void)state;
    test_use_container(NULL);
    assert_fails(coney_container_listen(here.container, &(coney_listener){.queue = "", .on_message = test_handle}),
                 CONEY_E_INVALID, "the queue is not named");
}

/* ---- queues that are missing ---- */

static void test_missing_queue_is_waited_for(void **state)
{
    (void)state;
    test_use_container(&quick);
    test_listen(&(coney_listener){.queue = here.other});
    assert_ok(coney_container_start(here.container));
    coney_health health = test_health();
    assert_true(health.live);
    assert_false(health.ready);
    assert_int_equal(health.status, CONEY_E_NOT_FOUND);
    assert_non_null(strstr(health.reason, here.other));
    assert_int_equal(health.consumers, 0);
    assert_int_equal(health.wanted, 1);
    make_other_queue();
    test_wait_until(test_health().ready);
    test_send(here.other, 1);
    test_wait_for(&here.handler.calls, 1);
    test_wait_for_events(CONEY_CONSUMER_STARTED, 1);
    assert_int_equal(test_count_events(CONEY_QUEUE_MISSING), 1);
}

static void expect_ways_out(const char *text)
{
    static const char *const words[] = {"waited for", "listener's declare", "admin's topology",
                                        "missing_queue_is_fatal"};
    for (size_t i = 0; i < COUNT_OF(words); i++)
        assert_non_null(strstr(text, words[i]));
}

static void test_missing_queue_is_told_with_the_ways_to_declare_it(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    test_use_container(&quick);
    test_listen(&(coney_listener){.queue = here.other});
    assert_ok(coney_container_start(here.container));
    test_wait_for_events(CONEY_QUEUE_MISSING, 1);
    expect_ways_out(test_event_at(CONEY_QUEUE_MISSING, 0).text);
    expect_ways_out(test_health().reason);
    test_log_expect("missing_queue_is_fatal");
    test_log_stop();
}

static void test_missing_queue_is_told_once_however_often_it_is_looked_for(void **state)
{
    (void)state;
    test_use_container(&(coney_container_options){.resubscribe_interval_ms = 5});
    test_listen(&(coney_listener){.queue = here.other});
    assert_ok(coney_container_start(here.container));
    test_listen(&(coney_listener){.queue = here.queue, .idle_event_ms = 100}); /* a clock for the others */
    test_wait_for_events(CONEY_LISTENER_IDLE, 3);
    assert_int_equal(test_count_events(CONEY_QUEUE_MISSING), 1);
    test_event event = test_event_at(CONEY_QUEUE_MISSING, 0);
    assert_string_equal(event.queue, here.other);
    assert_string_equal(event.listener_id, here.other);
    assert_int_equal(event.status, CONEY_E_NOT_FOUND);
    assert_int_equal(event.broker_code, 404);
}

static void test_missing_queue_keeps_no_other_listener_from_consuming(void **state)
{
    (void)state;
    test_use_container(&quick);
    test_listen(&(coney_listener){.queue = here.other, .concurrency = 3});
    test_listen(&(coney_listener){.concurrency = 2});
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 20);
    test_wait_for(&here.handler.calls, 20);
    coney_health health = test_health();
    assert_int_equal(health.consumers, 2);
    assert_int_equal(health.wanted, 5);
    make_other_queue();
    test_wait_until(test_health().consumers == 5);
    assert_int_equal(test_consumers_at_broker(here.other), 3);
}

static void test_queue_that_is_deleted_and_made_again_is_consumed_again(void **state)
{
    (void)state;
    test_use_container(&quick);
    test_listen(&(coney_listener){.concurrency = 2});
    assert_ok(coney_container_start(here.container));
    for (int round = 1; round <= 3; round++) {
        test_delete_queue(here.queue);
        test_wait_until(coney_container_check(here.container) == CONEY_E_NOT_FOUND);
        test_make_queue(here.queue);
        test_wait_until(coney_container_check(here.container) == CONEY_OK);
        test_send(here.queue, 4);
        test_wait_for(&here.handler.calls, round * 4);
    }
    assert_int_equal(test_consumers_at_broker(here.queue), 2);
    test_wait_for_events(CONEY_CONSUMER_RESTARTED, 6);
}

/* Nobody but the container notices that it is gone. */
static void test_deleted_queue_of_a_topology_is_declared_again(void **state)
{
    (void)state;
    coney_admin *admin;
    coney_topology *topology = coney_topology_new();
    assert_ok(coney_topology_add_queue(topology, &(coney_queue){.name = here.other}));
    assert_ok(coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology}));
    coney_topology_free(topology);
    test_use_container(&quick);
    test_listen(&(coney_listener){.queue = here.other});
    assert_ok(coney_container_start(here.container));
    test_wait_for_events(CONEY_CONSUMER_STARTED, 1);
    for (int round = 1; round <= 3; round++) {
        test_delete_queue(here.other);
        test_wait_for_events(CONEY_CONSUMER_RESTARTED, round);
    }
    test_send(here.other, 1);
    test_wait_for(&here.handler.calls, 1);
    assert_ok(coney_container_stop(here.container)); /* before the topology goes */
    coney_admin_free(admin);
}

static void test_running_container_stops_if_a_queue_goes_that_is_fatal(void **state)
{
    (void)state;
    test_use_container(&quick);
    test_listen(&(coney_listener){.missing_queue_is_fatal = true});
    assert_ok(coney_container_start(here.container));
    test_delete_queue(here.queue);
    test_wait_for_events(CONEY_CONTAINER_STOPPED, 1);
    test_event event = test_event_at(CONEY_CONTAINER_STOPPED, 0);
    assert_int_equal(event.status, CONEY_E_NOT_FOUND);
    assert_true(event.fatal);
    assert_non_null(strstr(event.text, here.queue));
    assert_false(test_event_at(CONEY_CONSUMER_FAILED, 0).fatal); /* the queue might be declared again */
    assert_true(test_event_at(CONEY_CONSUMER_FAILED, 1).fatal);
    coney_health health = test_health();
    assert_false(health.live);
    assert_int_equal(health.status, CONEY_E_NOT_FOUND);
    test_make_queue(here.queue);
    assert_ok(coney_container_start(here.container));
    assert_true(test_health().ready);
}

/* ---- pausing ---- */

static void test_pause_leaves_messages_in_the_queue_and_resume_takes_them(void **state)
{
    (void)state;
    test_start();
    for (int round = 1; round <= 3; round++) {
        assert_ok(coney_container_pause(here.container));
        test_wait_until(test_consumers_at_broker(here.queue) == 0);
        coney_health health = test_health();
        assert_true(health.live);
        assert_false(health.ready);
        assert_int_equal(health.status, CONEY_E_STATE);
        assert_non_null(strstr(health.reason, "paused"));
        test_send(here.queue, 5);
        test_wait_for_depth(here.queue, 5);
        assert_int_equal(here.handler.calls, (round - 1) * 5);
        assert_ok(coney_container_resume(here.container));
        test_wait_for(&here.handler.calls, round * 5);
        test_wait_until(coney_container_check(here.container) == CONEY_OK);
    }
}

static void test_pause_works_off_what_was_prefetched(void **state)
{
    (void)state;
    here.handler.holds = 1;
    test_start();
    test_send(here.queue, 10);
    test_wait_for(&here.handler.calls, 1);
    test_wait_for_depth(here.queue, 0);
    assert_ok(coney_container_pause(here.container));
    test_wait_until(test_consumers_at_broker(here.queue) == 0);
    here.handler.holds = 0;
    test_wait_for(&here.handler.calls, 10);
    test_wait_for_events(CONEY_CONSUMER_STOPPED, 1);
    test_wait_for_depth(here.queue, 0);
    assert_int_equal(here.handler.redelivered, 0);
}

static void test_resume_while_a_pause_is_under_way_consumes_again(void **state)
{
    (void)state;
    here.handler.holds = 1;
    test_start();
    test_send(here.queue, 3);
    test_wait_for(&here.handler.calls, 1);
    assert_ok(coney_container_pause(here.container));
    test_wait_until(test_consumers_at_broker(here.queue) == 0);
    assert_ok(coney_container_resume(here.container));
    here.handler.holds = 0;
    test_wait_until(test_health().ready);
    test_send(here.queue, 3);
    test_wait_until(here.handler.calls >= 6);
    test_wait_for_depth(here.queue, 0);
}

static void test_pause_needs_a_container_that_runs(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.prefetch = 1});
    assert_fails(coney_container_pause(here.container), CONEY_E_STATE, "not running");
    assert_fails(coney_container_resume(here.container), CONEY_E_STATE, "not running");
    assert_ok(coney_container_start(here.container));
    assert_ok(coney_container_pause(here.container));
    assert_ok(coney_container_stop(here.container));
    assert_ok(coney_container_start(here.container)); /* the pause has gone with the stop */
    assert_ok(coney_container_check(here.container));
    assert_int_equal(coney_container_pause(NULL), CONEY_E_INVALID);
}

/* ---- stopped and started all the time ---- */

static coney_outcome count_each(coney_delivery *delivery, void *user)
{
    atomic_int *counts = user;
    const coney_message *message = coney_delivery_message(delivery);
    int number = 0;
    check(sscanf(coney_message_body(message), "%d", &number) == 1); /* NOLINT(cert-err34-c): our own */
    atomic_fetch_add(&counts[number], 1);
    return CONEY_ACK;
}

enum { MANY = 10000 };

static bool has_all(const atomic_int counts[MANY])
{
    int missing = 0;
    for (int i = 0; i < MANY; i++)
        missing += counts[i] == 0;
    return missing == 0;
}

static void send_many(void)
{
    for (int i = 0; i < MANY; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        coney_message *message = test_text(text);
        assert_ok(coney_template_send_async(client.sender, here.queue, message, NULL, NULL, NULL));
        coney_message_unref(message);
    }
    assert_ok(coney_template_wait_for_confirms(client.sender, 10000));
}

static void test_ten_thousand_messages_survive_stops_and_starts(void **state)
{
    (void)state;
    enum { ROUNDS = 30 };
    static atomic_int counts[MANY];
    unsigned random = 4711;
    memset(counts, 0, sizeof counts);
    send_many();
    test_use_container(&quick);
    test_listen(&(coney_listener){.on_message = count_each, .user = counts, .concurrency = 3});
    for (int round = 0; round < ROUNDS; round++) {
        assert_ok(coney_container_start(here.container));
        usleep((unsigned)rand_r(&random) % 8000); /* it is stopped at any point of its work */
        assert_ok(coney_container_stop_with(here.container, (coney_stop_mode)(rand_r(&random) % 3), 0));
    }
    assert_ok(coney_container_start(here.container));
    test_wait_until(has_all(counts));
    assert_ok(coney_container_stop(here.container));
    test_wait_for_depth(here.queue, 0);
}

int main(void)
{
#define lifecycle_test(test) cmocka_unit_test_setup_teardown(test, test_listening_setup, test_listening_teardown)
    const struct CMUnitTest tests[] = {
        lifecycle_test(test_no_handler_runs_before_all_consume),
        lifecycle_test(test_start_that_failed_can_be_tried_again),
        lifecycle_test(test_start_fails_if_the_user_may_not_read_the_queue),
        lifecycle_test(test_start_without_listeners_or_while_running_is_refused),
        lifecycle_test(test_server_named_queue_is_refused),
        lifecycle_test(test_missing_queue_is_waited_for),
        lifecycle_test(test_missing_queue_is_told_with_the_ways_to_declare_it),
        lifecycle_test(test_missing_queue_is_told_once_however_often_it_is_looked_for),
        lifecycle_test(test_missing_queue_keeps_no_other_listener_from_consuming),
        lifecycle_test(test_queue_that_is_deleted_and_made_again_is_consumed_again),
        lifecycle_test(test_deleted_queue_of_a_topology_is_declared_again),
        lifecycle_test(test_running_container_stops_if_a_queue_goes_that_is_fatal),
        lifecycle_test(test_pause_leaves_messages_in_the_queue_and_resume_takes_them),
        lifecycle_test(test_pause_works_off_what_was_prefetched),
        lifecycle_test(test_resume_while_a_pause_is_under_way_consumes_again),
        lifecycle_test(test_pause_needs_a_container_that_runs),
        lifecycle_test(test_ten_thousand_messages_survive_stops_and_starts),
    };
    return test_run_with_workers("lifecycle", tests, test_client_setup, test_client_teardown);
}
