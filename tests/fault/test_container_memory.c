/* SPDX-License-Identifier: MIT */
/* A container that gets no memory says so, keeps nothing half, and works once there is some. */
#include "support/fault_consumer.h"
#include "support/test_support.h"

#include "base/base.h"

static const coney_container_options all_options = {.name = "named", .workers = 2};

static void test_container_is_made_whole_or_not_at_all(void **state)
{
    (void)state;
    coney_status status = CONEY_E_NO_MEMORY;
    fault_start(NULL, NULL);
    for (int successes = 0; status == CONEY_E_NO_MEMORY; successes++) {
        cny_alloc_fail_after(successes);
        status = coney_container_new(&fault.container, fault.factory, &all_options);
        cny_alloc_fail_after(-1);
        assert_int_equal(fault.container == NULL, status != CONEY_OK);
        assert_int_in_range(successes, 0, 100);
    }
    fault_expect_status(CONEY_OK, status);
}

static coney_status listen_with_everything(void)
{
    coney_table *arguments = coney_table_new();
    static const coney_typed_handler handlers[] = {{.type = "a", .on_message = fault_obey},
                                                   {.type = "b", .on_message = fault_obey}};
    const coney_listener listener = {
        .queue = "orders",
        .id = NULL,
        .group = "group",
        .handlers = handlers,
        .handler_count = COUNT_OF(handlers),
        .consumer_tag = "tag",
        .arguments = arguments,
        .priority = 3,
        .lanes = 3,
        .lane_header = "key",
        .send_to = "replies",
        .retry = {.max_attempts = 3, .delays_ms = {10, 20}},
    };
    coney_status status = coney_container_listen(fault.container, &listener);
    coney_table_free(arguments);
    return status;
}

static void count_listener(const coney_listener_info *info, void *user)
{
    (void)info;
    ++*(int *)user;
}

static int count_listeners(void)
{
    int count = 0;
    fault_expect_status(CONEY_OK, coney_container_list(fault.container, count_listener, &count));
    return count;
}

static void test_listener_is_registered_whole_or_not_at_all(void **state)
{
    (void)state;
    coney_status status = CONEY_E_NO_MEMORY;
    fault_start(NULL, NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, NULL));
    for (int successes = 1; status == CONEY_E_NO_MEMORY; successes++) { /* the first one is for the test's table */
        cny_alloc_fail_after(successes);
        status = listen_with_everything();
        cny_alloc_fail_after(-1);
        assert_int_equal(count_listeners(), status == CONEY_OK);
        assert_int_in_range(successes, 0, 200);
    }
    fault_expect_status(CONEY_OK, status);
}

/* Other threads are without memory, too, so how a start ends is open, but not that the next one succeeds. */
static void test_container_that_had_no_memory_to_start_starts_later(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    const coney_container_options options = {
        .workers = test_workers, .resubscribe_interval_ms = 1, .start_timeout_ms = 30};
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    const coney_listener orders = {.queue = "orders", .on_message = fault_obey, .concurrency = 2};
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &orders));
    for (int successes = 0; successes < 60; successes++) {
        cny_alloc_fail_after(successes);
        coney_status status = coney_container_start(fault.container);
        cny_alloc_fail_after(-1);
        if (status == CONEY_OK)
            fault_expect_status(CONEY_OK, coney_container_stop_with(fault.container, CONEY_STOP_NOW, 10000));
        fault_wait_until(coney_container_start(fault.container) == CONEY_OK);
        fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
        fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_container_is_made_whole_or_not_at_all),
        fault_test(test_listener_is_registered_whole_or_not_at_all),
        fault_test(test_container_that_had_no_memory_to_start_starts_later),
    };
    return test_run_with_workers("containers without memory", tests, NULL, NULL);
}
