/* SPDX-License-Identifier: MIT */
/* A listener that brings its queue along. */
#include "support/listening.h"

#include <poll.h>

static coney_status start(const coney_queue *queue, const coney_container_options *options)
{
    const coney_listener listener = {.declare = queue, .on_message = listening_obey};
    assert_ok(coney_container_new(&listening.container, client.factory, options));
    assert_ok(coney_container_listen(listening.container, &listener));
    return coney_container_start(listening.container);
}

static void test_queue_is_declared_before_it_is_consumed(void **state)
{
    (void)state;
    test_delete_queue(listening.queue);
    const coney_queue queue = {.name = listening.queue, .max_length = 100};
    assert_ok(start(&queue, NULL));
    assert_ok(coney_container_check(listening.container));
    assert_fails(coney_admin_declare_queue(client.admin, &(coney_queue){.name = listening.queue}, NULL),
                 CONEY_E_PRECONDITION_FAILED, "x-max-length");
}

static void test_queue_that_is_there_otherwise_fails_the_start(void **state)
{
    (void)state;
    const coney_queue queue = {.name = listening.queue, .max_length = 100};
    assert_fails(start(&queue, NULL), CONEY_E_PRECONDITION_FAILED, listening.queue);
    assert_non_null(strstr(coney_last_error(), "inequivalent arg"));
    assert_fails(coney_container_check(listening.container), CONEY_E_STATE, "not running");
}

/* ---- a queue that is deleted ---- */

static atomic_bool is_deleted;

static coney_outcome wait_for_the_end(coney_delivery *delivery, void *user)
{
    (void)user;
    listening_note(delivery);
    for (int i = 0; i < TEST_PATIENCE_MS && !atomic_load(&is_deleted); i++)
        poll(NULL, 0, 1);
    return CONEY_ACK;
}

static void expect_prefetched_to_be_handled(coney_queue_kind kind)
{
    enum { MESSAGES = 5 };
    atomic_store(&is_deleted, false);
    listening_use_queue(&(coney_queue){.kind = kind});
    for (int i = 0; i < MESSAGES; i++)
        listening_send("ack");
    listening_start(&(coney_listener){.on_message = wait_for_the_end});
    listening_wait_for_calls(1);
    test_wait_for_depth(listening.queue, 0);
    test_delete_queue(listening.queue);
    atomic_store(&is_deleted, true);
    listening_wait_for_calls(MESSAGES);
    test_wait_until(listening_statistics().acknowledged == MESSAGES);
    assert_int_equal(listening_statistics().stale, 0);
    listening_wait_for_event(CONEY_CONSUMER_FAILED, "404 NOT_FOUND");
}

static void test_what_was_prefetched_of_a_deleted_queue_is_handled(void **state)
{
    (void)state;
    expect_prefetched_to_be_handled(CONEY_CLASSIC);
}

static void test_what_was_prefetched_of_a_deleted_quorum_queue_is_handled(void **state)
{
    (void)state;
    expect_prefetched_to_be_handled(CONEY_QUORUM);
}

static bool has_failed(void)
{
    coney_health health;
    return coney_container_health(listening.container, &health) == CONEY_OK && !health.live &&
           health.status == CONEY_E_PRECONDITION_FAILED;
}

/* It would never come right by itself, so the container does not go on trying. */
static void test_queue_that_becomes_another_stops_the_container(void **state)
{
    (void)state;
    test_delete_queue(listening.queue);
    const coney_queue queue = {.name = listening.queue, .max_length = 100};
    assert_ok(start(&queue, &(coney_container_options){.resubscribe_interval_ms = 300}));
    assert_ok(coney_container_pause(listening.container));
    test_wait_for_consumers(listening.queue, 0);
    test_delete_queue(listening.queue);
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = listening.queue}, NULL));
    assert_ok(coney_container_resume(listening.container));
    test_wait_until(has_failed());
}

static bool is_consumed(void)
{
    coney_queue_info info;
    return coney_admin_queue_info(client.admin, listening.queue, &info) == CONEY_OK && info.consumer_count == 1;
}

static void test_queue_that_was_deleted_is_declared_again(void **state)
{
    (void)state;
    test_delete_queue(listening.queue);
    const coney_queue queue = {.name = listening.queue, .max_length = 100};
    assert_ok(start(&queue, &(coney_container_options){.resubscribe_interval_ms = 300}));
    test_delete_queue(listening.queue);
    test_wait_until(is_consumed());
    test_wait_until(coney_container_check(listening.container) == CONEY_OK);
}

static bool is_ready(void)
{
    coney_health health;
    return coney_container_health(listening.container, &health) == CONEY_OK && health.ready;
}

static void expect_locked(void)
{
    coney_health health;
    assert_ok(coney_container_health(listening.container, &health));
    assert_true(health.live && !health.ready);
    assert_int_equal(health.status, CONEY_E_RESOURCE_LOCKED);
    assert_non_null(strstr(health.reason, "RESOURCE_LOCKED"));
}

static void hold_queue(const coney_queue *queue, coney_connection_factory **factory, coney_admin **admin)
{
    assert_ok(coney_connection_factory_new(factory, test_uri(), NULL));
    assert_ok(coney_admin_new(admin, *factory, NULL));
    assert_ok(coney_admin_declare_queue(*admin, queue, NULL));
}

/* Such as one of this program's last run, whose end the broker has not seen yet. */
static void test_exclusive_queue_of_another_connection_is_waited_for(void **state)
{
    (void)state;
    coney_connection_factory *factory;
    coney_admin *admin;
    const coney_queue queue = {.name = listening.queue, .exclusive = true};
    test_delete_queue(listening.queue);
    hold_queue(&queue, &factory, &admin);
    assert_ok(start(&queue, &(coney_container_options){.resubscribe_interval_ms = 300}));
    expect_locked();
    coney_admin_free(admin);
    coney_connection_factory_free(factory);
    test_wait_until(is_ready());
    listening_stop();
}

static void test_declaration_of_another_queue_is_refused(void **state)
{
    (void)state;
    const coney_queue queue = {.name = "other"};
    const coney_listener listener = {.queue = listening.queue, .declare = &queue, .on_message = listening_obey};
    assert_ok(coney_container_new(&listening.container, client.factory, NULL));
    assert_fails(coney_container_listen(listening.container, &listener), CONEY_E_INVALID, "declare is another queue");
}

static void test_declaration_that_cannot_be_is_refused(void **state)
{
    (void)state;
    const coney_queue queue = {.name = listening.queue, .message_ttl_ms = -5};
    const coney_listener listener = {.declare = &queue, .on_message = listening_obey};
    assert_ok(coney_container_new(&listening.container, client.factory, NULL));
    assert_fails(coney_container_listen(listening.container, &listener), CONEY_E_INVALID, "-5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_queue_is_declared_before_it_is_consumed),
        listening_test(test_queue_that_is_there_otherwise_fails_the_start),
        listening_test(test_queue_that_becomes_another_stops_the_container),
        listening_test(test_queue_that_was_deleted_is_declared_again),
        listening_test(test_exclusive_queue_of_another_connection_is_waited_for),
        listening_test(test_declaration_of_another_queue_is_refused),
        listening_test(test_declaration_that_cannot_be_is_refused),
        listening_test(test_what_was_prefetched_of_a_deleted_queue_is_handled),
        listening_test(test_what_was_prefetched_of_a_deleted_quorum_queue_is_handled),
    };
    return cmocka_run_group_tests_name("queue of a listener", tests, test_client_setup, test_client_teardown);
}
