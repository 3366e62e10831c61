/* SPDX-License-Identifier: MIT */
/* Which of several hosts is tried when. */
#include "support/fault_fixture.h"

#include <stdio.h>
#include <stdlib.h>

enum { HOSTS = 3, LONG_MS = 10000, RUNS = 30 };

static cny_broker *brokers[HOSTS];
static coney_recovery_options recovery;
static char first_loss[1024]; /* of the consuming connection, as it was told; there before the next opening is */

static int setup_brokers(void **state)
{
    (void)state;
    recovery = (coney_recovery_options)FAULT_QUICK_RECOVERY;
    *first_loss = '\0';
    coney_log_set_level(CONEY_LOG_OFF);
    return 0;
}

static int teardown_brokers(void **state)
{
    int failed = fault_teardown(state);
    for (int i = 0; i < HOSTS; i++) {
        cny_broker *broker = brokers[i];
        brokers[i] = NULL;
        cny_broker_stop(broker);
    }
    return failed;
}

/* Ends each connection once the test says so. */
static void hang_up_when_told(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD));
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

static void hang_up_at_once(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_hang_up(peer);
}

static void hang_up_the_first_when_told(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) == 0)
        hang_up_when_told(peer, user);
}

static void hang_up_the_first_when_told_then_all_at_once(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) == 0)
        hang_up_when_told(peer, user);
    else
        hang_up_at_once(peer, user);
}

static void refuse_password(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_close_connection(peer, 403, "ACCESS_REFUSED - Login was refused");
}

/* What is wrong with this node only. */

static void fail_inside(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_close_connection(peer, 541, "INTERNAL_ERROR - access to vhost '/' refused: vhost '/' is down");
}

static void refuse_for_the_nodes_limit(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_close_connection(peer, 530, "NOT_ALLOWED - connection refused: node connection limit (5) is reached");
}

static void shut_down_during_login(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker shuts down");
}

/* And with all of them. */
static void miss_the_vhost(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_close_connection(peer, 530, "NOT_ALLOWED - vhost / not found");
}

static void note_first_loss(const coney_connection_info *info, void *user)
{
    (void)user;
    bool is_loss = info->state == CONEY_CONNECTION_CONNECTING && info->reason != CONEY_OK;
    if (is_loss && info->role == CONEY_CONSUMING && !*first_loss)
        memcpy(first_loss, info->text, sizeof first_loss);
}

static void use_hosts(coney_host_order order, cny_script *first, cny_script *second, cny_script *third)
{
    char uri[128];
    cny_script *const scripts[] = {first, second, third};
    const coney_connection_factory_options options = {
        .host_order = order, .close_timeout_ms = 500, .recovery = recovery, .on_connection = note_first_loss};
    for (int i = 0; i < HOSTS; i++)
        brokers[i] = cny_broker_start(&(cny_broker_options){.script = scripts[i]});
    snprintf(uri, sizeof uri, "amqp://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d", cny_broker_port(brokers[0]),
             cny_broker_port(brokers[1]), cny_broker_port(brokers[2]));
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, uri, &options));
    fault_use_admin(LONG_MS);
}

/* Too slowly for the test, once there is a pause. */
static void use_hosts_slowly(cny_script *first, cny_script *second, cny_script *third)
{
    recovery = (coney_recovery_options){.first_delay_ms = LONG_MS * 10, .max_delay_ms = LONG_MS * 20};
    use_hosts(CONEY_HOSTS_IN_ORDER, first, second, third);
}

static void expect_connections(int first, int second, int third)
{
    assert_int_equal(cny_broker_count_heard(brokers[0], CNY_PROTOCOL_HEADER), first);
    assert_int_equal(cny_broker_count_heard(brokers[1], CNY_PROTOCOL_HEADER), second);
    assert_int_equal(cny_broker_count_heard(brokers[2], CNY_PROTOCOL_HEADER), third);
}

static void lose_connection_to(int host, uint64_t times_opened)
{
    cny_broker_go(brokers[host]);
    fault_wait_for_opening(CONEY_CONSUMING, times_opened);
    fault_expect_status(CONEY_OK, fault_ask());
}

static int host_in_use(void)
{
    char text[48];
    for (int i = 0; i < HOSTS; i++) {
        snprintf(text, sizeof text, "open to 127.0.0.1:%d", cny_broker_port(brokers[i]));
        if (strcmp(fault_info(CONEY_CONSUMING).text, text) == 0)
            return i;
    }
    fail_msg("%s", fault_info(CONEY_CONSUMING).text);
    return -1;
}

/* Half of it, for a part of it is random. */
static void expect_pause_of_the_first_delay(const char *attempt)
{
    const char *text = fault_wait_for_info(CONEY_CONSUMING, attempt).text;
    long wait_ms = strtol(strstr(text, attempt) + strlen(attempt), NULL, 10);
    assert_int_in_range(wait_ms, recovery.first_delay_ms / 2 - LONG_MS, recovery.first_delay_ms);
}

static void test_hosts_in_order_begin_with_the_first_but_for_the_one_just_lost(void **state)
{
    (void)state;
    use_hosts(CONEY_HOSTS_IN_ORDER, hang_up_when_told, hang_up_when_told, hang_up_when_told);
    fault_expect_status(CONEY_OK, fault_ask());
    lose_connection_to(0, 2);
    expect_connections(1, 1, 0);
    lose_connection_to(1, 3);
    expect_connections(2, 1, 0);
}

static int connections_of(int host)
{
    return cny_broker_count_heard(brokers[host], CNY_PROTOCOL_HEADER);
}

static bool all_were_used_twice(void)
{
    return connections_of(0) > 1 && connections_of(1) > 1 && connections_of(2) > 1;
}

/* That 30 losses are not enough happens by chance once in millions of runs. */
static void test_shuffled_hosts_end_with_the_one_just_lost(void **state)
{
    (void)state;
    use_hosts(CONEY_HOSTS_SHUFFLE, hang_up_when_told, hang_up_when_told, hang_up_when_told);
    fault_expect_status(CONEY_OK, fault_ask());
    for (uint64_t times = 2; times < RUNS && !all_were_used_twice(); times++) {
        int in_use = host_in_use(), before = connections_of(in_use);
        lose_connection_to(in_use, times);
        assert_int_equal(connections_of(in_use), before);
    }
    assert_true(all_were_used_twice());
}

static void test_lost_host_is_tried_again_in_the_same_attempt_if_no_other_answers(void **state)
{
    (void)state;
    use_hosts(CONEY_HOSTS_IN_ORDER, hang_up_the_first_when_told, hang_up_at_once, hang_up_at_once);
    fault_expect_status(CONEY_OK, fault_ask());
    lose_connection_to(0, 2);
    expect_connections(2, 1, 1);
}

static void test_first_attempt_after_a_loss_does_not_wait_where_there_is_another_host(void **state)
{
    (void)state;
    use_hosts_slowly(hang_up_when_told, NULL, NULL);
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_go(brokers[0]);
    fault_wait_for_opening(CONEY_CONSUMING, 2);
    expect_connections(1, 1, 0);
}

static void test_pauses_begin_when_all_hosts_were_tried(void **state)
{
    (void)state;
    use_hosts_slowly(hang_up_the_first_when_told_then_all_at_once, hang_up_at_once, hang_up_at_once);
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_go(brokers[0]);
    expect_pause_of_the_first_delay("attempt 2 in ");
    expect_connections(2, 1, 1);
}

/* A broker that ends each connection as soon as it is used is not asked for one after another. */
static void test_connection_that_is_lost_at_once_again_waits(void **state)
{
    (void)state;
    use_hosts_slowly(hang_up_when_told, hang_up_when_told, hang_up_when_told);
    fault_expect_status(CONEY_OK, fault_ask());
    lose_connection_to(0, 2);
    cny_broker_go(brokers[1]);
    expect_pause_of_the_first_delay("attempt 1 in ");
    expect_connections(1, 1, 0);
}

static void test_one_attempt_goes_through_all_hosts(void **state)
{
    (void)state;
    use_hosts(CONEY_HOSTS_IN_ORDER, hang_up_at_once, hang_up_at_once, NULL);
    fault_expect_status(CONEY_OK, fault_ask());
    expect_connections(1, 1, 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_OK); /* no attempt has failed */
}

static void test_refused_login_is_not_tried_on_the_other_hosts(void **state)
{
    (void)state;
    use_hosts(CONEY_HOSTS_IN_ORDER, refuse_password, NULL, NULL);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, fault_ask());
    expect_connections(1, 0, 0);
}

static void test_missing_virtual_host_is_not_looked_for_on_the_other_hosts(void **state)
{
    (void)state;
    use_hosts(CONEY_HOSTS_IN_ORDER, miss_the_vhost, NULL, NULL);
    fault_expect_status(CONEY_E_NOT_ALLOWED, fault_ask());
    expect_connections(1, 0, 0);
}

static void expect_the_second_in_the_same_attempt(cny_script *first)
{
    use_hosts(CONEY_HOSTS_IN_ORDER, first, NULL, NULL);
    fault_expect_status(CONEY_OK, fault_ask());
    expect_connections(1, 1, 0);
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_OK); /* no attempt has failed */
}

static void test_host_with_an_internal_error_is_followed_by_the_next(void **state)
{
    (void)state;
    expect_the_second_in_the_same_attempt(fail_inside);
}

static void test_host_at_its_connection_limit_is_followed_by_the_next(void **state)
{
    (void)state;
    expect_the_second_in_the_same_attempt(refuse_for_the_nodes_limit);
}

static void test_host_that_shuts_down_during_login_is_followed_by_the_next(void **state)
{
    (void)state;
    expect_the_second_in_the_same_attempt(shut_down_during_login);
}

static void test_hosts_in_rotation_begin_behind_the_last_that_worked(void **state)
{
    (void)state;
    use_hosts(CONEY_HOSTS_ROTATE, hang_up_when_told, hang_up_when_told, hang_up_when_told);
    fault_expect_status(CONEY_OK, fault_ask());
    expect_connections(1, 0, 0);
    lose_connection_to(0, 2);
    expect_connections(1, 1, 0);
    lose_connection_to(1, 3);
    expect_connections(1, 1, 1);
    lose_connection_to(2, 4);
    expect_connections(2, 1, 1);
}

/* A rotation that skips a host that is down. */
static void test_rotation_goes_on_behind_the_host_that_worked_not_the_one_tried(void **state)
{
    (void)state;
    use_hosts(CONEY_HOSTS_ROTATE, hang_up_at_once, hang_up_when_told, NULL);
    fault_expect_status(CONEY_OK, fault_ask());
    expect_connections(1, 1, 0);
    lose_connection_to(1, 2);
    expect_connections(1, 1, 1);
}

/* All three are first some time: that it fails by chance happens once in 60,000 runs. */
static void test_shuffled_hosts_begin_with_any(void **state)
{
    (void)state;
    use_hosts(CONEY_HOSTS_SHUFFLE, NULL, NULL, NULL);
    char uri[128];
    snprintf(uri, sizeof uri, "amqp://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d", cny_broker_port(brokers[0]),
             cny_broker_port(brokers[1]), cny_broker_port(brokers[2]));
    for (int i = 0; i < RUNS / 2; i++) { /* two connections each */
        coney_connection_factory *factory;
        const coney_connection_factory_options options = {.host_order = CONEY_HOSTS_SHUFFLE, .close_timeout_ms = 500};
        fault_expect_status(CONEY_OK, coney_connection_factory_new(&factory, uri, &options));
        coney_status status = coney_connection_factory_connect(factory);
        coney_connection_factory_free(factory);
        fault_expect_status(CONEY_OK, status);
    }
    for (int i = 0; i < HOSTS; i++)
        assert_true(cny_broker_count_heard(brokers[i], CNY_PROTOCOL_HEADER) > 0);
}

static void test_loss_is_told_with_the_host_that_is_tried_next(void **state)
{
    (void)state;
    char next[80];
    use_hosts(CONEY_HOSTS_IN_ORDER, hang_up_when_told, NULL, NULL);
    fault_expect_status(CONEY_OK, fault_ask());
    lose_connection_to(0, 2);
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory)); /* nothing is told any more */
    snprintf(next, sizeof next, "connecting to 127.0.0.1:%d and 2 more, attempt 1 in ", cny_broker_port(brokers[1]));
    if (!strstr(first_loss, next))
        fail_msg("'%s' does not say '%s'", first_loss, next);
}

static void test_info_names_the_host_in_use(void **state)
{
    (void)state;
    char host[48];
    use_hosts(CONEY_HOSTS_IN_ORDER, hang_up_at_once, NULL, NULL);
    fault_expect_status(CONEY_OK, fault_ask());
    snprintf(host, sizeof host, "open to 127.0.0.1:%d", cny_broker_port(brokers[1]));
    assert_string_equal(fault_info(CONEY_CONSUMING).text, host);
}

#define hosts_test(function) cmocka_unit_test_setup_teardown(function, setup_brokers, teardown_brokers)

int main(void)
{
    const struct CMUnitTest tests[] = {
        hosts_test(test_hosts_in_order_begin_with_the_first_but_for_the_one_just_lost),
        hosts_test(test_shuffled_hosts_end_with_the_one_just_lost),
        hosts_test(test_lost_host_is_tried_again_in_the_same_attempt_if_no_other_answers),
        hosts_test(test_first_attempt_after_a_loss_does_not_wait_where_there_is_another_host),
        hosts_test(test_pauses_begin_when_all_hosts_were_tried),
        hosts_test(test_connection_that_is_lost_at_once_again_waits),
        hosts_test(test_one_attempt_goes_through_all_hosts),
        hosts_test(test_refused_login_is_not_tried_on_the_other_hosts),
        hosts_test(test_missing_virtual_host_is_not_looked_for_on_the_other_hosts),
        hosts_test(test_host_with_an_internal_error_is_followed_by_the_next),
        hosts_test(test_host_at_its_connection_limit_is_followed_by_the_next),
        hosts_test(test_host_that_shuts_down_during_login_is_followed_by_the_next),
        hosts_test(test_hosts_in_rotation_begin_behind_the_last_that_worked),
        hosts_test(test_rotation_goes_on_behind_the_host_that_worked_not_the_one_tried),
        hosts_test(test_shuffled_hosts_begin_with_any),
        hosts_test(test_loss_is_told_with_the_host_that_is_tried_next),
        hosts_test(test_info_names_the_host_in_use),
    };
    return cmocka_run_group_tests_name("hosts", tests, NULL, NULL);
}
