/* SPDX-License-Identifier: MIT */
/* Attempts in place of a listener whose deliveries the program settles. */
#include "support/test_support.h"

#include <poll.h>

#define QUEUE "attempts"
enum { DELAY_MS = 500 };

static coney_container *container;
static _Atomic(coney_delivery *) kept;
static atomic_int calls;

static coney_outcome fail_once(coney_delivery *delivery, void *user)
{
    (void)user;
    if (atomic_load(&calls) == 0)
        atomic_store(&kept, coney_delivery_ref(delivery));
    return atomic_fetch_add(&calls, 1) == 0 ? CONEY_RETRY : CONEY_ACK;
}

static int setup(void **state)
{
    const coney_listener listener = {.queue = test_name(QUEUE),
                                     .on_message = fail_once,
                                     .acknowledge = CONEY_ACKNOWLEDGE_MANUAL,
                                     .retry = {.max_attempts = 2, .first_delay_ms = DELAY_MS}};
    test_make_queue(listener.queue);
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(coney_container_listen(container, &listener));
    assert_ok(coney_container_start(container));
    coney_message *message = test_text("once more");
    assert_ok(coney_template_send(client.sender, listener.queue, message, NULL));
    coney_message_unref(message);
    (void)state;
    return 0;
}

static int teardown(void **state)
{
    coney_delivery_unref(atomic_exchange(&kept, NULL));
    coney_container_free(container);
    test_delete_queue(test_name(QUEUE));
    (void)state;
    return 0;
}

static coney_listener_statistics statistics(void)
{
    coney_listener_statistics counts = {0};
    assert_ok(coney_container_statistics(container, test_name(QUEUE), &counts));
    return counts;
}

static void test_nobody_settles_between_two_attempts(void **state)
{
    (void)state;
    while (statistics().retried == 0)
        poll(NULL, 0, 1);
    assert_fails(coney_delivery_settle(atomic_load(&kept), CONEY_ACK), CONEY_E_STATE, "settled already");
    test_wait_for(&calls, 2);
    assert_ok(coney_container_stop(container));
    assert_int_equal(statistics().acknowledged, 1);
    test_wait_for_depth(test_name(QUEUE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nobody_settles_between_two_attempts, setup, teardown),
    };
    return cmocka_run_group_tests_name("attempts_manual", tests, test_client_setup, test_client_teardown);
}
