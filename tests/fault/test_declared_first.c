/* SPDX-License-Identifier: MIT */
/* Messages for what the program itself is still to declare wait for that; everything else goes on. And what a broker
 * refuses by closing the connection is tried alone. */
#include "support/fault_consumer.h"

#include <stdio.h>

enum { LONG_MS = 10000, SHORT_MS = 300 };

static cny_heard all[CNY_MAX_HEARD];

static int count_heard(amqp_method_number_t id, const char *what)
{
    int count = cny_broker_heard(fault.broker, all), found = 0;
    for (int i = 0; i < count; i++)
        found += all[i].id == id && strcmp(all[i].what, what) == 0;
    return found;
}

static void use_shop(void)
{
    coney_topology *topology = coney_topology_new();
    coney_topology_add_exchange(topology, &(coney_exchange){.name = "shop"});
    coney_topology_add_queue(topology, &(coney_queue){.name = "orders"});
    coney_topology_bind(topology, "shop", "orders", "key");
    coney_status status = coney_admin_new(&fault.admin, fault.factory,
                                          &(coney_admin_options){.topology = topology, .timeout_ms = LONG_MS});
    coney_topology_free(topology);
    fault_expect_status(CONEY_OK, status);
}

static coney_status send_to(const char *exchange, const char *key, int timeout_ms)
{
    coney_message *message = fault_message("hello");
    coney_status status = coney_template_send(fault.sender, key, message,
                                              &(coney_send_options){.exchange = exchange, .timeout_ms = timeout_ms});
    coney_message_unref(message);
    return status;
}

static coney_status send_to_shop(void)
{
    return send_to("shop", "key", LONG_MS);
}

/* --- what may pass --- */

static void refuse(cny_peer *peer, const cny_peer_method *bind)
{
    cny_peer_close_channel(peer, bind->channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
}

static void lock_the_queue_once(cny_peer *peer, void *user)
{
    (void)user;
    static const char reason[] = "RESOURCE_LOCKED - cannot obtain exclusive access";
    const cny_peer_method *declare = cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
    cny_peer_close_channel(peer, declare->channel, 405, reason);
    cny_peer_close_channel(peer, cny_peer_serve_until(peer, AMQP_QUEUE_BIND_METHOD)->channel, 405, reason);
}

static void test_sends_wait_for_the_bindings_of_their_exchange_and_others_do_not(void **state)
{
    (void)state;
    fault_start(lock_the_queue_once, NULL);
    use_shop();
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, send_to("elsewhere", "key", LONG_MS));
    fault_expect_status(CONEY_E_RESOURCE_LOCKED, send_to("shop", "key", SHORT_MS));
    fault_expect_text("not sent, because a binding to 'orders' is not declared yet");
    fault_expect_text("405 RESOURCE_LOCKED");
    fault_expect_status(CONEY_E_RESOURCE_LOCKED, send_to("", "orders", SHORT_MS));
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 1);
    fault_expect_status(CONEY_OK, send_to_shop()); /* it was declared again after a second */
    assert_int_equal(count_heard(AMQP_QUEUE_BIND_METHOD, "orders"), 2);
}

static void test_send_that_must_not_wait_fails_with_the_reason(void **state)
{
    (void)state;
    fault_start(lock_the_queue_once, NULL);
    use_shop();
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_FAIL});
    fault_expect_status(CONEY_OK, send_to("elsewhere", "key", LONG_MS));
    fault_expect_status(CONEY_E_RESOURCE_LOCKED, send_to("shop", "key", LONG_MS));
}

static void test_stored_message_goes_when_its_queue_is_declared(void **state)
{
    (void)state;
    fault_start(lock_the_queue_once, NULL);
    use_shop();
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_STORE});
    fault_expect_status(CONEY_OK, send_to("elsewhere", "key", LONG_MS));
    fault_expect_status(CONEY_OK, fault_send_async(0, "shop"));
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 1);
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_OK);
    assert_int_equal(count_heard(AMQP_QUEUE_DECLARE_METHOD, "orders"), 2);
}

/* A queue whose nodes are frozen, perhaps: no answer comes for it, and the connection is well. */
static void never_answer_for_the_queue(cny_peer *peer, void *user)
{
    (void)user;
    for (;;) {
        const cny_peer_method *method = cny_peer_next(peer);
        if (method->id == AMQP_QUEUE_BIND_METHOD)
            refuse(peer, method);
        else if (method->id != AMQP_QUEUE_DECLARE_METHOD)
            cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            return;
    }
}

static void test_thing_without_an_answer_holds_up_nobody_else(void **state)
{
    (void)state;
    fault_reset_handler();
    fault_start_with(&(cny_broker_options){.script = never_answer_for_the_queue, .may_hang_up = true}, NULL);
    use_shop();
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, NULL));
    fault_expect_status(CONEY_OK, coney_container_listen(
                                      fault.container, &(coney_listener){.queue = "others", .on_message = fault_obey}));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    fault_expect_status(CONEY_OK, send_to("elsewhere", "key", LONG_MS));
    fault_expect_status(CONEY_E_CONNECT, send_to("shop", "key", SHORT_MS));
    fault_expect_text("not sent, because");
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 1);
}

/* --- unconfirmed messages --- */

/* The first connection is lost with three messages unconfirmed; on the second one the queue is locked at first. */
static void lose_three_then_lock(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        for (int i = 0; i < 3; i++)
            cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_hang_up(peer);
    } else {
        lock_the_queue_once(peer, NULL);
    }
}

static void test_unconfirmed_messages_wait_for_their_exchange_and_the_others_are_sent_again(void **state)
{
    (void)state;
    fault_start(lose_three_then_lock, NULL);
    use_shop();
    fault_use_template(&(coney_template_options){.resend_unconfirmed = true});
    fault_expect_status(CONEY_OK, fault_send_async(0, "shop"));
    fault_expect_status(CONEY_OK, fault_send_async(1, "elsewhere"));
    fault_expect_status(CONEY_OK, fault_send_async(2, "shop"));
    fault_wait_until(fault_completed(1).count == 1);
    assert_int_equal(fault_completed(0).count, 0);
    fault_expect_status(CONEY_OK, send_to("elsewhere", "key", LONG_MS)); /* a newer one overtakes those that wait */
    assert_int_equal(fault_completed(0).count, 0);
    fault_wait_for_confirms();
    for (int i = 0; i < 3; i++)
        fault_expect_completion(i, CONEY_OK);
    assert_int_equal(count_heard(AMQP_QUEUE_BIND_METHOD, "orders"), 3); /* once refused */
}

/* --- what closes the connection --- */

/* Without its queue the binding is refused. */
static void close_over_the_queue(cny_peer *peer, void *user)
{
    (void)user;
    for (;;) {
        const cny_peer_method *method = cny_peer_next(peer);
        if (method->id == AMQP_QUEUE_BIND_METHOD)
            refuse(peer, method);
        else if (method->id != AMQP_QUEUE_DECLARE_METHOD)
            cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            return;
        if (method->id == AMQP_QUEUE_DECLARE_METHOD)
            break;
    }
    cny_peer_close_connection_over(peer, AMQP_QUEUE_DECLARE_METHOD, 541, "INTERNAL_ERROR - cluster_not_formed");
}

static void test_queue_that_closes_the_connection_is_tried_alone_and_the_rest_goes_on(void **state)
{
    (void)state;
    fault_reset_handler();
    fault_start(close_over_the_queue, NULL);
    use_shop();
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, NULL));
    fault_expect_status(CONEY_OK, coney_container_listen(
                                      fault.container, &(coney_listener){.queue = "others", .on_message = fault_obey}));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    fault_expect_status(CONEY_OK, send_to("elsewhere", "key", LONG_MS));
    fault_wait_until(count_heard(AMQP_QUEUE_DECLARE_METHOD, "orders") >= 4);
    coney_health health;
    fault_expect_status(CONEY_OK, coney_container_health(fault.container, &health));
    assert_false(health.ready);
    assert_int_equal(health.status, CONEY_E_BROKER);
    assert_non_null(strstr(health.reason, "declare queue 'orders': 541 INTERNAL_ERROR - cluster_not_formed"));
    assert_int_equal(health.consumers, 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 1);
    fault_expect_status(CONEY_E_BROKER, send_to("shop", "key", SHORT_MS));
    fault_expect_text("cluster_not_formed");
}

static void test_start_succeeds_though_the_queue_that_a_listener_brings_closes_the_connection(void **state)
{
    (void)state;
    fault_reset_handler();
    fault_start(close_over_the_queue, NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, NULL));
    fault_expect_status(CONEY_OK, coney_container_listen(
                                      fault.container, &(coney_listener){.queue = "others", .on_message = fault_obey}));
    fault_expect_status(
        CONEY_OK, coney_container_listen(fault.container, &(coney_listener){.declare = &(coney_queue){.name = "orders"},
                                                                            .on_message = fault_obey}));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    coney_health health;
    fault_expect_status(CONEY_OK, coney_container_health(fault.container, &health));
    assert_true(health.live && !health.ready);
    assert_int_equal(health.consumers, 1);
    assert_int_equal(health.status, CONEY_E_BROKER);
    assert_non_null(strstr(health.reason, "cluster_not_formed"));
}

/* Twice, and then it is well. */
static void close_over_the_queue_twice(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) < 2)
        close_over_the_queue(peer, user);
}

static void test_queue_that_did_harm_and_does_no_more_is_declared_with_its_bindings(void **state)
{
    (void)state;
    fault_start(close_over_the_queue_twice, NULL);
    use_shop();
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, send_to_shop());
    assert_true(count_heard(AMQP_QUEUE_BIND_METHOD, "orders") > 0);
}

/* A connection that logs in and is then lost while it is prepared is not what max_attempts counts. */
static void test_failing_to_declare_is_not_failing_to_connect(void **state)
{
    (void)state;
    fault_start(close_over_the_queue, &(coney_connection_factory_options){
                                          .recovery = {.first_delay_ms = 20, .max_delay_ms = 50, .max_attempts = 1}});
    use_shop();
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, send_to("elsewhere", "key", LONG_MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_sends_wait_for_the_bindings_of_their_exchange_and_others_do_not),
        fault_test(test_send_that_must_not_wait_fails_with_the_reason),
        fault_test(test_stored_message_goes_when_its_queue_is_declared),
        fault_test(test_thing_without_an_answer_holds_up_nobody_else),
        fault_test(test_unconfirmed_messages_wait_for_their_exchange_and_the_others_are_sent_again),
        fault_test(test_queue_that_closes_the_connection_is_tried_alone_and_the_rest_goes_on),
        fault_test(test_start_succeeds_though_the_queue_that_a_listener_brings_closes_the_connection),
        fault_test(test_queue_that_did_harm_and_does_no_more_is_declared_with_its_bindings),
        fault_test(test_failing_to_declare_is_not_failing_to_connect),
    };
    return cmocka_run_group_tests_name("declared_first", tests, NULL, NULL);
}
