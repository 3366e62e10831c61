/* SPDX-License-Identifier: MIT */
/* The isolated connection of a factory, as those use it who try a suspect alone. */
#include "rabbit/factory/factory.h"
#include "support/fault_fixture.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

enum { LONG_MS = 10000, SHORT_MS = 50 };

static cny_connection *isolated;

static int teardown(void **state)
{
    cny_isolated_close(fault.factory, isolated);
    isolated = NULL;
    return fault_teardown(state);
}

#define isolation_test(function) cmocka_unit_test_teardown(function, teardown)

static void get_isolated(void)
{
    fault_expect_status(CONEY_OK, cny_isolated_connection(&isolated, fault.factory, cny_deadline(LONG_MS)));
}

static void close_isolated(void)
{
    cny_isolated_close(fault.factory, isolated);
    isolated = NULL;
}

static int connections(void)
{
    return cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER);
}

static void test_isolated_connection_is_one_of_its_own(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    get_isolated();
    assert_int_equal(connections(), 2);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
    cny_channel *channel;
    fault_expect_status(CONEY_OK, cny_channel_open_on(&channel, isolated, false, cny_deadline(LONG_MS)));
    cny_channel_close(channel);
    cny_channel_unref(channel);
    close_isolated();
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

static void test_factory_that_never_connected_has_one(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    get_isolated();
    assert_int_equal(connections(), 1);
}

static void test_one_at_a_time_until_the_deadline(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    get_isolated();
    cny_connection *another;
    fault_expect_status(CONEY_E_TIMEOUT, cny_isolated_connection(&another, fault.factory, cny_deadline(SHORT_MS)));
    assert_null(another);
    close_isolated();
    get_isolated();
    assert_int_equal(connections(), 2);
}

static coney_status get_and_close(void)
{
    cny_connection *mine;
    coney_status status = cny_isolated_connection(&mine, fault.factory, cny_deadline(LONG_MS));
    cny_isolated_close(fault.factory, mine);
    return status;
}

static void test_next_one_waits_for_its_turn(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    get_isolated();
    fault_in_background(get_and_close);
    assert_false(fault_background_is_over());
    close_isolated();
    fault_expect_status(CONEY_OK, fault_background_end());
}

static void test_close_of_the_factory_ends_the_wait(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    get_isolated();
    fault_in_background(get_and_close);
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    close_isolated();
    fault_expect_status(CONEY_E_CLOSED, get_and_close());
}

static void stay_silent_at_login(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_expect(peer, CNY_PROTOCOL_HEADER);
    cny_peer_silence(peer, LONG_MS);
}

static void test_broker_that_is_silent_at_login_costs_the_deadline(void **state)
{
    (void)state;
    fault_start(stay_silent_at_login, NULL);
    cny_connection *another;
    fault_expect_status(CONEY_E_TIMEOUT, cny_isolated_connection(&another, fault.factory, cny_deadline(SHORT_MS)));
    fault_expect_text("open an isolated connection");
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
}

static void hang_up_on_login(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_expect(peer, CNY_PROTOCOL_HEADER);
    cny_peer_hang_up(peer);
}

static void test_failed_attempt_is_told_and_the_next_one_may_do(void **state)
{
    (void)state;
    fault_start(hang_up_on_login, NULL);
    cny_connection *another;
    assert_int_not_equal(cny_isolated_connection(&another, fault.factory, cny_deadline(LONG_MS)), CONEY_OK);
    fault_expect_text("open an isolated connection");
    assert_int_not_equal(cny_isolated_connection(&another, fault.factory, cny_deadline(LONG_MS)), CONEY_OK);
    assert_int_equal(connections(), 2);
}

/* ---- credentials ---- */

static atomic_int asked, holds;
static pthread_t asked_by;

static coney_status provide(coney_credentials *credentials, void *user)
{
    (void)user;
    asked_by = pthread_self();
    atomic_fetch_add(&asked, 1);
    fault_wait_until(!atomic_load(&holds));
    *credentials = (coney_credentials){.user = "alice", .password = "secret"};
    return CONEY_OK;
}

static void start_with_provider(void)
{
    atomic_store(&asked, 0);
    fault_start(NULL, &(coney_connection_factory_options){.credentials = provide});
}

static void test_provider_is_asked_on_the_recovery_thread(void **state)
{
    (void)state;
    start_with_provider();
    get_isolated();
    assert_int_equal(asked, 1);
    assert_false(pthread_equal(asked_by, pthread_self()));
}

static void test_provider_that_takes_its_time_is_not_waited_for(void **state)
{
    (void)state;
    start_with_provider();
    atomic_store(&holds, 1);
    cny_connection *another;
    fault_expect_status(CONEY_E_TIMEOUT, cny_isolated_connection(&another, fault.factory, cny_deadline(SHORT_MS)));
    atomic_store(&holds, 0);
    get_isolated();
    assert_int_equal(asked, 2);
    assert_int_equal(connections(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        isolation_test(test_isolated_connection_is_one_of_its_own),
        isolation_test(test_factory_that_never_connected_has_one),
        isolation_test(test_one_at_a_time_until_the_deadline),
        isolation_test(test_next_one_waits_for_its_turn),
        isolation_test(test_close_of_the_factory_ends_the_wait),
        isolation_test(test_broker_that_is_silent_at_login_costs_the_deadline),
        isolation_test(test_failed_attempt_is_told_and_the_next_one_may_do),
        isolation_test(test_provider_is_asked_on_the_recovery_thread),
        isolation_test(test_provider_that_takes_its_time_is_not_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
