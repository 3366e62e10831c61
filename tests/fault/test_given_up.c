/* SPDX-License-Identifier: MIT */
/* A container whose connection is given up, because attempts are used up or the login is refused: the program is told
 * that nothing comes back by itself, by an event, by health and by check. */
#include "support/container_fixture.h"
#include "support/fault_consumer.h"

static atomic_bool lets_in;

static void lose_the_first(cny_peer *peer)
{
    cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

static void let_none_in_again(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        lose_the_first(peer);
    } else if (!atomic_load(&lets_in)) {
        cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
        cny_peer_hang_up(peer);
    }
}

static void refuse_logins(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        lose_the_first(peer);
    } else if (!atomic_load(&lets_in)) {
        cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
        cny_peer_close_connection(peer, 403, "ACCESS_REFUSED - Login was refused");
    }
}

static void lose_connection(cny_script *script)
{
    const coney_recovery_options recovery = {.first_delay_ms = 5, .max_delay_ms = 10, .max_attempts = 2};
    atomic_store(&lets_in, false);
    test_forget_events();
    fault_reset_handler();
    fault_start(script, &(coney_connection_factory_options){.recovery = recovery});
    client.factory = fault.factory; /* test_record_event() looks on which thread it runs */
    test_log_start(CONEY_LOG_ERROR);
    fault_use_container(&(coney_container_options){.on_event = test_record_event, .resubscribe_interval_ms = 20},
                        fault_obey, 1);
    cny_broker_go(fault.broker);
}

static int stop_log(void **state)
{
    int result = fault_teardown(state);
    test_log_stop();
    client.factory = NULL;
    return result;
}

#define given_up_test(function) cmocka_unit_test_teardown(function, stop_log)

/* ---- the event ---- */

static void expect_event(coney_status status, const char *why)
{
    test_wait_for_events(CONEY_CONSUMER_FAILED, 2);
    test_event lost = test_event_at(CONEY_CONSUMER_FAILED, 0), final = test_event_at(CONEY_CONSUMER_FAILED, 1);
    assert_int_equal(lost.status, CONEY_E_LOST);
    assert_false(lost.fatal);
    assert_true(final.fatal);
    assert_int_equal(final.status, status);
    assert_string_equal(final.queue, "orders");
    assert_non_null(strstr(final.text, "given up"));
    assert_non_null(strstr(final.text, "coney_connection_factory_connect()"));
    assert_non_null(strstr(final.text, why));
    test_log_expect("given up");
    assert_int_equal(test_count_events(CONEY_CONSUMER_FAILED), 2);
}

static void test_consumers_of_a_connection_that_is_given_up_fail_for_good(void **state)
{
    (void)state;
    lose_connection(let_none_in_again);
    expect_event(CONEY_E_CONNECT, "closed the connection during login");
}

static void test_consumers_whose_login_is_refused_fail_for_good(void **state)
{
    (void)state;
    lose_connection(refuse_logins);
    expect_event(CONEY_E_ACCESS_REFUSED, "Login was refused");
}

/* ---- health and check ---- */

static void expect_health(coney_status status)
{
    coney_health health;
    fault_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_FAILED);
    fault_expect_status(CONEY_OK, coney_container_health(fault.container, &health));
    assert_false(health.live);
    assert_false(health.ready);
    assert_int_equal(health.status, status);
    assert_non_null(strstr(health.reason, "given up"));
    fault_expect_status(status, coney_container_check(fault.container));
    fault_expect_text("given up");
}

static void test_health_and_check_say_that_the_connection_is_given_up(void **state)
{
    (void)state;
    lose_connection(let_none_in_again);
    expect_health(CONEY_E_CONNECT);
}

static void test_health_and_check_say_that_the_login_is_refused(void **state)
{
    (void)state;
    lose_connection(refuse_logins);
    expect_health(CONEY_E_ACCESS_REFUSED);
}

/* ---- the way back ---- */

static void expect_way_back(cny_script *script)
{
    coney_health health;
    lose_connection(script);
    test_wait_for_events(CONEY_CONSUMER_FAILED, 2);
    atomic_store(&lets_in, true);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    test_wait_for_events(CONEY_CONSUMER_RESTARTED, 1);
    fault_expect_status(CONEY_OK, coney_container_health(fault.container, &health));
    assert_true(health.live);
    assert_int_equal(test_count_events(CONEY_CONSUMER_FAILED), 2);
}

static void test_connect_brings_the_consumers_back(void **state)
{
    (void)state;
    expect_way_back(let_none_in_again);
}

static void test_connect_brings_the_consumers_back_after_a_refused_login(void **state)
{
    (void)state;
    expect_way_back(refuse_logins);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        given_up_test(test_consumers_of_a_connection_that_is_given_up_fail_for_good),
        given_up_test(test_consumers_whose_login_is_refused_fail_for_good),
        given_up_test(test_health_and_check_say_that_the_connection_is_given_up),
        given_up_test(test_health_and_check_say_that_the_login_is_refused),
        given_up_test(test_connect_brings_the_consumers_back),
        given_up_test(test_connect_brings_the_consumers_back_after_a_refused_login),
    };
    return cmocka_run_group_tests_name("given up", tests, NULL, NULL);
}
