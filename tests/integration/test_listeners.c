/* SPDX-License-Identifier: MIT */
/* The listeners of a container: their ids and groups, registered and removed, started and stopped one by one. */
#include "support/container_fixture.h"
#include "support/elapsed.h"

#include "base/base.h"

#include <pthread.h>
#include <stdio.h>

enum { MAX_LISTED = 10 };

typedef struct listing {
    int count;
    struct {
        char id[300], group[64], queue[300];
        coney_listener_state state;
        int consumers, wanted;
    } at[MAX_LISTED];
} listing;

static void note(const coney_listener_info *info, void *user)
{
    listing *all = user;
    if (all->count == MAX_LISTED)
        return;
    snprintf(all->at[all->count].id, sizeof all->at->id, "%s", info->id);
    snprintf(all->at[all->count].group, sizeof all->at->group, "%s", info->group);
    snprintf(all->at[all->count].queue, sizeof all->at->queue, "%s", info->queue);
    all->at[all->count].state = info->state;
    all->at[all->count].consumers = info->consumers;
    all->at[all->count++].wanted = info->wanted;
}

static listing list(void)
{
    listing all = {.count = 0};
    assert_ok(coney_container_list(here.container, note, &all));
    return all;
}

static coney_listener_state state_of(const char *id)
{
    listing all = list();
    for (int i = 0; i < all.count; i++) {
        if (strcmp(all.at[i].id, id) == 0)
            return all.at[i].state;
    }
    fail_msg("no listener '%s'", id);
    return CONEY_LISTENER_STOPPED;
}

static void make_other_queue(void)
{
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = here.other}, NULL));
}

/* ---- ids and the list ---- */

static void test_ids_are_the_queue_with_a_number_behind_it_if_taken(void **state)
{
    (void)state;
    char second[320], third[320];
    snprintf(second, sizeof second, "%s#2", here.queue);
    snprintf(third, sizeof third, "%s#3", here.queue);
    test_use_container(NULL);
    test_listen(&(coney_listener){.prefetch = 1});
    test_listen(&(coney_listener){.prefetch = 1});
    test_listen(&(coney_listener){.id = "own"});
    test_listen(&(coney_listener){.prefetch = 1});
    listing all = list();
    assert_int_equal(all.count, 4);
    assert_string_equal(all.at[0].id, here.queue);
    assert_string_equal(all.at[1].id, second);
    assert_string_equal(all.at[2].id, "own");
    assert_string_equal(all.at[3].id, third);
    assert_string_equal(all.at[2].queue, here.queue);
    assert_string_equal(all.at[2].group, "");
}

static void test_id_that_is_taken_is_refused_and_free_once_it_is_removed(void **state)
{
    (void)state;
    coney_listener listener = {.queue = here.queue, .id = "one", .on_message = test_handle, .user = &here.handler};
    test_use_container(NULL);
    assert_ok(coney_container_listen(here.container, &listener));
    assert_fails(coney_container_listen(here.container, &listener), CONEY_E_INVALID, "the id 'one' is taken");
    assert_ok(coney_container_unlisten(here.container, "one"));
    assert_fails(coney_container_unlisten(here.container, "one"), CONEY_E_NOT_FOUND, "'one'");
    assert_ok(coney_container_listen(here.container, &listener));
    assert_int_equal(list().count, 1);
}

static void test_list_tells_states_in_the_order_of_registration(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.id = "runs", .group = "g", .concurrency = 3});
    test_listen(&(coney_listener){.id = "waits", .queue = here.other});
    test_listen(&(coney_listener){.id = "rests", .no_auto_start = true});
    assert_int_equal(list().at[0].state, CONEY_LISTENER_STOPPED);
    assert_int_equal(list().at[0].wanted, 0);
    assert_ok(coney_container_start(here.container));
    listing all = list();
    assert_int_equal(all.count, 3);
    assert_string_equal(all.at[0].group, "g");
    assert_int_equal(all.at[0].state, CONEY_LISTENER_RUNNING);
    assert_int_equal(all.at[0].consumers, 3);
    assert_int_equal(all.at[0].wanted, 3);
    assert_int_equal(all.at[1].state, CONEY_LISTENER_STARTING);
    assert_int_equal(all.at[1].consumers, 0);
    assert_int_equal(all.at[1].wanted, 1);
    assert_int_equal(all.at[2].state, CONEY_LISTENER_STOPPED);
    assert_int_equal(all.at[2].wanted, 0);
}

static void test_functions_that_name_a_listener_refuse_one_that_does_not_exist(void **state)
{
    (void)state;
    coney_listener_statistics statistics;
    test_start();
    assert_fails(coney_container_start_listener(here.container, "x"), CONEY_E_NOT_FOUND, "'x'");
    assert_fails(coney_container_stop_listener(here.container, "x"), CONEY_E_NOT_FOUND, "'x'");
    assert_fails(coney_container_start_group(here.container, "x"), CONEY_E_NOT_FOUND, "in the group 'x'");
    assert_fails(coney_container_stop_group(here.container, "x"), CONEY_E_NOT_FOUND, "in the group 'x'");
    assert_fails(coney_container_unlisten(here.container, "x"), CONEY_E_NOT_FOUND, "'x'");
    assert_fails(coney_container_set_concurrency(here.container, "x", 1, 1), CONEY_E_NOT_FOUND, "'x'");
    assert_fails(coney_container_statistics(here.container, "x", &statistics), CONEY_E_NOT_FOUND, "'x'");
    assert_fails(coney_container_start_listener(here.container, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_container_start_group(here.container, NULL), CONEY_E_INVALID, "NULL");
    assert_ok(coney_container_check(here.container));
}

/* ---- at run time ---- */

static void test_listen_at_run_time_consumes_and_unlisten_ends_it(void **state)
{
    (void)state;
    make_other_queue();
    test_start();
    for (int round = 1; round <= 3; round++) {
        test_listen(&(coney_listener){.queue = here.other, .concurrency = 2});
        test_wait_until(test_consumers_at_broker(here.other) == 2);
        test_send(here.other, 5);
        test_wait_for(&here.handler.calls, round * 5);
        assert_ok(coney_container_unlisten(here.container, here.other));
        test_wait_until(test_consumers_at_broker(here.other) == 0);
        assert_int_equal(list().count, 1);
    }
    assert_ok(coney_container_check(here.container));
    assert_int_equal(test_consumers_at_broker(here.queue), 1);
}

static void *unlisten_other(void *unused)
{
    (void)unused;
    check(coney_container_unlisten(here.container, here.other) == CONEY_OK);
    return NULL;
}

/* Its id is free meanwhile, so the successor has it already. */
static void test_removed_listener_works_off_what_was_prefetched(void **state)
{
    (void)state;
    pthread_t thread;
    make_other_queue();
    here.handler.holds = 1;
    test_start();
    test_listen(&(coney_listener){.queue = here.other});
    test_send(here.other, 6);
    test_wait_for(&here.handler.calls, 1);
    test_wait_for_depth(here.other, 0);
    assert_int_equal(pthread_create(&thread, NULL, unlisten_other, NULL), 0);
    test_wait_until(list().count == 1);
    test_listen(&(coney_listener){.queue = here.other});
    assert_int_equal(list().count, 2);
    assert_int_equal(test_statistics(here.other).received, 0);
    here.handler.holds = 0;
    pthread_join(thread, NULL);
    assert_int_equal(here.handler.calls, 6);
    test_send(here.other, 2);
    test_wait_for(&here.handler.calls, 8);
    assert_int_equal(here.handler.redelivered, 0);
}

static void test_listener_that_hangs_is_removed_at_the_deadline(void **state)
{
    (void)state;
    here.handler.holds = 1;
    test_use_container(&(coney_container_options){.shutdown_timeout_ms = 100});
    test_listen(&(coney_listener){.prefetch = 10});
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 3);
    test_wait_for(&here.handler.calls, 1);
    assert_fails(coney_container_unlisten(here.container, here.queue), CONEY_E_TIMEOUT,
                 "have not returned within 100 ms");
    assert_int_equal(list().count, 0);
    test_wait_for_depth(here.queue, 3);
    here.handler.holds = 0;
    test_wait_until(here.handler.inside == 0);
    assert_int_equal(here.handler.calls, 1);
}

/* Nothing can be asked of the broker then, and nothing need be. */
static void test_listeners_come_and_go_while_the_connection_is_lost(void **state)
{
    (void)state;
    char uri[256];
    coney_connection_factory *nowhere;
    coney_container *container;
    test_uri_at(1, uri, sizeof uri);
    assert_ok(coney_connection_factory_new(&nowhere, uri, NULL));
    assert_ok(coney_container_new(&container, nowhere, &(coney_container_options){.start_without_broker = true}));
    const coney_listener first = {.queue = here.queue, .on_message = test_handle};
    assert_ok(coney_container_listen(container, &first));
    assert_ok(coney_container_start(container));
    int64_t began = cny_now_ms();
    for (int i = 0; i < 5; i++) {
        assert_ok(coney_container_listen(container, &(coney_listener){.queue = here.other, .on_message = test_handle}));
        assert_ok(coney_container_unlisten(container, here.other));
        assert_ok(coney_container_stop_listener(container, here.queue));
    }
    assert_ok(coney_container_unlisten(container, here.queue));
    test_expect_elapsed(began, 0, 2000);
    assert_ok(coney_container_listen(container, &first));
    test_wait_until(coney_container_check(container) == CONEY_E_CONNECT);
    coney_container_free(container);
    coney_connection_factory_free(nowhere);
}

/* Two containers, say of two programs. */
static void test_exclusive_listener_waits_and_takes_over(void **state)
{
    (void)state;
    coney_container *owner;
    const coney_listener exclusive = {
        .queue = here.queue, .on_message = test_handle, .user = &here.handler, .exclusive = true};
    assert_ok(coney_container_new(&owner, client.factory, &(coney_container_options){.workers = test_workers}));
    assert_ok(coney_container_listen(owner, &exclusive));
    assert_ok(coney_container_start(owner));
    test_use_container(&(coney_container_options){.resubscribe_interval_ms = 50});
    test_listen(&exclusive);
    assert_ok(coney_container_start(here.container));
    assert_int_equal(test_health().status, CONEY_E_ACCESS_REFUSED);
    coney_container_free(owner);
    test_wait_until(test_health().ready);
    test_send(here.queue, 3);
    test_wait_for(&here.handler.calls, 3);
}

/* ---- one by one ---- */

static void test_listener_without_auto_start_is_started_by_id(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.no_auto_start = true});
    assert_ok(coney_container_start(here.container));
    assert_ok(coney_container_check(here.container));
    assert_int_equal(test_consumers_at_broker(here.queue), 0);
    test_send(here.queue, 2);
    for (int round = 1; round <= 3; round++) {
        assert_ok(coney_container_start_listener(here.container, here.queue));
        assert_ok(coney_container_start_listener(here.container, here.queue));
        assert_int_equal(test_consumers_at_broker(here.queue), 1);
        assert_int_equal(state_of(here.queue), CONEY_LISTENER_RUNNING);
        test_wait_for(&here.handler.calls, round * 2);
        assert_ok(coney_container_stop_listener(here.container, here.queue));
        assert_ok(coney_container_stop_listener(here.container, here.queue));
        assert_int_equal(test_consumers_at_broker(here.queue), 0);
        assert_int_equal(state_of(here.queue), CONEY_LISTENER_STOPPED);
        test_send(here.queue, 2);
    }
    test_wait_for_depth(here.queue, 2);
    assert_ok(coney_container_check(here.container));
}

static void test_start_of_a_listener_whose_missing_queue_is_fatal_tells_so(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.queue = here.queue});
    test_listen(&(coney_listener){.queue = here.other, .missing_queue_is_fatal = true, .no_auto_start = true});
    assert_ok(coney_container_start(here.container));
    assert_fails(coney_container_start_listener(here.container, here.other), CONEY_E_NOT_FOUND, here.other);
}

static void test_what_is_said_to_a_stopped_container_counts_at_its_start(void **state)
{
    (void)state;
    make_other_queue();
    test_use_container(NULL);
    test_listen(&(coney_listener){.no_auto_start = true});
    test_listen(&(coney_listener){.queue = here.other});
    assert_ok(coney_container_start_listener(here.container, here.queue));
    assert_ok(coney_container_stop_listener(here.container, here.other));
    assert_int_equal(test_consumers_at_broker(here.queue), 0);
    assert_ok(coney_container_start(here.container));
    assert_int_equal(test_consumers_at_broker(here.queue), 1);
    assert_int_equal(test_consumers_at_broker(here.other), 0);
}

static void test_groups_start_and_stop_together(void **state)
{
    (void)state;
    make_other_queue();
    test_use_container(NULL);
    test_listen(&(coney_listener){.id = "a", .group = "g", .no_auto_start = true});
    test_listen(&(coney_listener){.id = "b", .queue = here.other, .group = "g", .no_auto_start = true});
    test_listen(&(coney_listener){.id = "c", .group = "h"});
    test_listen(&(coney_listener){.id = "d"});
    assert_ok(coney_container_start(here.container));
    assert_int_equal(test_consumers_at_broker(here.queue), 2);
    assert_ok(coney_container_start_group(here.container, "g"));
    assert_int_equal(test_consumers_at_broker(here.queue), 3);
    assert_int_equal(test_consumers_at_broker(here.other), 1);
    assert_ok(coney_container_stop_group(here.container, "g"));
    assert_int_equal(state_of("a"), CONEY_LISTENER_STOPPED);
    assert_int_equal(state_of("b"), CONEY_LISTENER_STOPPED);
    assert_int_equal(state_of("c"), CONEY_LISTENER_RUNNING);
    assert_int_equal(state_of("d"), CONEY_LISTENER_RUNNING);
    assert_int_equal(test_consumers_at_broker(here.queue), 2);
    assert_int_equal(test_consumers_at_broker(here.other), 0);
}

static void test_start_of_a_listener_whose_queue_is_missing_does_not_fail(void **state)
{
    (void)state;
    test_use_container(&(coney_container_options){.resubscribe_interval_ms = 50});
    test_listen(&(coney_listener){.queue = here.other, .no_auto_start = true});
    assert_ok(coney_container_start(here.container));
    assert_ok(coney_container_start_listener(here.container, here.other));
    assert_int_equal(state_of(here.other), CONEY_LISTENER_STARTING);
    make_other_queue();
    test_wait_until(state_of(here.other) == CONEY_LISTENER_RUNNING);
}

static void test_state_is_stopping_while_prefetched_messages_are_worked_off(void **state)
{
    (void)state;
    here.handler.holds = 1;
    test_start();
    test_send(here.queue, 1);
    test_wait_for(&here.handler.calls, 1);
    assert_ok(coney_container_pause(here.container));
    assert_int_equal(state_of(here.queue), CONEY_LISTENER_STOPPING);
    here.handler.holds = 0;
    test_wait_until(state_of(here.queue) == CONEY_LISTENER_STOPPED);
}

static coney_outcome stop_own_listener(coney_delivery *delivery, void *user)
{
    test_handler *handler = user;
    check(coney_container_stop_listener(here.container, coney_delivery_listener_id(delivery)) == CONEY_OK);
    atomic_fetch_add(&handler->calls, 1);
    return CONEY_ACK;
}

static void test_handler_may_stop_its_own_listener(void **state)
{
    (void)state;
    test_use_container(NULL);
    test_listen(&(coney_listener){.on_message = stop_own_listener});
    assert_ok(coney_container_start(here.container));
    test_send(here.queue, 1);
    test_wait_for(&here.handler.calls, 1);
    test_wait_until(state_of(here.queue) == CONEY_LISTENER_STOPPED);
    assert_int_equal(test_consumers_at_broker(here.queue), 0);
}

/* ---- concurrency ---- */

static void test_consumers_follow_the_concurrency(void **state)
{
    (void)state;
    static const int numbers[] = {4, 1, 2, 7, 3};
    test_start();
    for (size_t i = 0; i < COUNT_OF(numbers); i++) {
        assert_ok(coney_container_set_concurrency(here.container, here.queue, numbers[i], 0));
        test_wait_until(test_consumers_at_broker(here.queue) == numbers[i] && test_health().ready);
        assert_int_equal(test_health().wanted, numbers[i]);
        test_send(here.queue, 10);
        test_wait_for(&here.handler.calls, ((int)i + 1) * 10);
    }
    assert_fails(coney_container_set_concurrency(here.container, here.queue, 0, 0), CONEY_E_INVALID, "0 to 0");
    assert_fails(coney_container_set_concurrency(here.container, here.queue, 3, 2), CONEY_E_INVALID, "3 to 2");
    assert_int_equal(here.handler.redelivered, 0);
}

int main(void)
{
#define listeners_test(test) cmocka_unit_test_setup_teardown(test, test_listening_setup, test_listening_teardown)
    const struct CMUnitTest tests[] = {
        listeners_test(test_ids_are_the_queue_with_a_number_behind_it_if_taken),
        listeners_test(test_id_that_is_taken_is_refused_and_free_once_it_is_removed),
        listeners_test(test_list_tells_states_in_the_order_of_registration),
        listeners_test(test_functions_that_name_a_listener_refuse_one_that_does_not_exist),
        listeners_test(test_listen_at_run_time_consumes_and_unlisten_ends_it),
        listeners_test(test_removed_listener_works_off_what_was_prefetched),
        listeners_test(test_listener_that_hangs_is_removed_at_the_deadline),
        listeners_test(test_listeners_come_and_go_while_the_connection_is_lost),
        listeners_test(test_exclusive_listener_waits_and_takes_over),
        listeners_test(test_listener_without_auto_start_is_started_by_id),
        listeners_test(test_start_of_a_listener_whose_missing_queue_is_fatal_tells_so),
        listeners_test(test_what_is_said_to_a_stopped_container_counts_at_its_start),
        listeners_test(test_groups_start_and_stop_together),
        listeners_test(test_start_of_a_listener_whose_queue_is_missing_does_not_fail),
        listeners_test(test_state_is_stopping_while_prefetched_messages_are_worked_off),
        listeners_test(test_handler_may_stop_its_own_listener),
        listeners_test(test_consumers_follow_the_concurrency),
    };
    return test_run_with_workers("listeners", tests, test_client_setup, test_client_teardown);
}
