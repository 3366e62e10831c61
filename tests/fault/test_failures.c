/* SPDX-License-Identifier: MIT */
/* Messages that fail while their connection is lost, with a ladder to send them up. */
#include "support/elapsed.h"
#include "support/proxy.h"
#include "support/test_support.h"

#include <poll.h>
#include <stdio.h>

#define QUEUE "failures"
enum { DELAY_MS = 100, SOON_MS = 2000 };

static cny_proxy *proxy;
static coney_connection_factory *factory;
static coney_container *container;
static coney_template *sender;
static atomic_int calls;
static atomic_bool must_notice; /* the handler returns when the loss is known */

static uint64_t times_opened(void)
{
    coney_connection_info info = {0};
    coney_connection_factory_info(factory, CONEY_CONSUMING, &info);
    return info.state == CONEY_CONNECTION_OPEN ? info.times_opened : 0;
}

static coney_outcome lose_connections_and_fail(coney_delivery *delivery, void *user)
{
    (void)delivery, (void)user;
    bool first = atomic_fetch_add(&calls, 1) == 0;
    if (!first)
        return CONEY_ACK;
    cny_proxy_reset(proxy, CNY_BOTH_WAYS);
    while (atomic_load(&must_notice) && times_opened() == 1)
        poll(NULL, 0, 1);
    return CONEY_RETRY;
}

static int setup(void **state)
{
    char uri[512];
    proxy = cny_proxy_start(test_uri_port());
    test_uri_at(cny_proxy_port(proxy), uri, sizeof uri);
    atomic_store(&calls, 0);
    const coney_connection_factory_options quick = {.recovery = {.first_delay_ms = 50}};
    const coney_listener listener = {
        .queue = test_name(QUEUE), .on_message = lose_connections_and_fail, .retry = {.delays_ms = {DELAY_MS}}};
    test_make_queue(listener.queue);
    assert_ok(coney_connection_factory_new(&factory, uri, &quick));
    assert_ok(coney_template_new(&sender, factory, NULL));
    assert_ok(coney_container_new(&container, factory, NULL));
    assert_ok(coney_container_listen(container, &listener));
    assert_ok(coney_container_start(container));
    (void)state;
    return 0;
}

static int teardown(void **state)
{
    coney_template_free(sender);
    coney_container_free(container);
    coney_connection_factory_free(factory);
    cny_proxy_stop(proxy);
    test_delete_queue(test_name(QUEUE));
    test_delete_queue(test_name(QUEUE ".retry.100"));
    test_delete_queue(test_name(QUEUE ".parking"));
    (void)state;
    return 0;
}

/* Not through the proxy, which may be quicker than the confirm. */
static void send_one(bool handler_notices)
{
    coney_message *message = test_text("fails");
    atomic_store(&must_notice, handler_notices);
    assert_ok(coney_template_send(client.sender, test_name(QUEUE), message, NULL));
    coney_message_unref(message);
}

static coney_listener_statistics statistics(void)
{
    coney_listener_statistics counts = {0};
    assert_ok(coney_container_statistics(container, test_name(QUEUE), &counts));
    return counts;
}

/* The message cannot go up the ladder before there is a publishing connection, and consumers come first. */
static void test_message_on_its_way_to_the_ladder_does_not_hold_up_publishers(void **state)
{
    (void)state;
    send_one(false);
    test_wait_until(atomic_load(&calls) >= 1);
    int64_t began = cny_now_ms();
    coney_message *message = test_text("sent after the loss");
    coney_status status;
    do /* what is sent before the loss is known is lost */
        status = coney_template_send(sender, test_name(QUEUE), message, NULL);
    while (status == CONEY_E_LOST);
    coney_message_unref(message);
    assert_ok(status);
    test_expect_elapsed(began, 0, SOON_MS);
}

static void test_message_that_comes_again_is_not_sent_up_the_ladder(void **state)
{
    (void)state;
    send_one(true);
    test_wait_for(&calls, 2);
    while (statistics().acknowledged == 0)
        poll(NULL, 0, 1);
    assert_int_equal(statistics().republished, 0);
    assert_int_equal(atomic_load(&calls), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_message_on_its_way_to_the_ladder_does_not_hold_up_publishers, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_message_that_comes_again_is_not_sent_up_the_ladder, setup, teardown),
    };
    return cmocka_run_group_tests_name("failures", tests, test_client_setup, test_client_teardown);
}
