/* SPDX-License-Identifier: MIT */
/* A bad network between the client and a real broker, while messages flow: nothing confirmed is lost,
 * and everything goes on when the network is good again. */
#include "support/proxy.h"
#include "support/test_support.h"
#include "support/traffic.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { MESSAGES = 40, PATIENCE_MS = 60000, NOTICED_MS = 3000, CALL_MS = 400 };

static cny_proxy *proxy;

static void start_with(cny_traffic_options options)
{
    char uri[512];
    proxy = cny_proxy_start(test_uri_port());
    test_uri_at(cny_proxy_port(proxy), uri, sizeof uri);
    options.queue = test_name("proxy");
    cny_traffic_start(uri, &options);
}

static int setup(void **state)
{
    (void)state;
    start_with((cny_traffic_options){0});
    return 0;
}

static int teardown(void **state)
{
    if (proxy)
        cny_proxy_pass(proxy, CNY_BOTH_WAYS);
    cny_traffic_teardown(state);
    cny_proxy_stop(proxy);
    proxy = NULL;
    return 0;
}

static void expect_flow_again(void)
{
    cny_traffic_flow(MESSAGES, PATIENCE_MS);
    cny_traffic_finish(PATIENCE_MS);
}

/* The reason is that of the loss, not of attempts that failed afterwards. */
static void expect_recovery(void)
{
    cny_traffic_wait_for_recovery(2, PATIENCE_MS);
    expect_flow_again();
    assert_int_equal(cny_traffic_info(CONEY_CONSUMING).reason, CONEY_E_LOST);
    assert_int_equal(cny_traffic_info(CONEY_PUBLISHING).reason, CONEY_E_LOST);
}

/* --- connections end --- */

static void test_cut_both_ways_is_recovered_from(void **state)
{
    (void)state;
    cny_proxy_cut(proxy, CNY_BOTH_WAYS);
    expect_recovery();
}

static void test_cut_toward_the_client_is_recovered_from(void **state)
{
    (void)state;
    cny_proxy_cut(proxy, CNY_TO_CLIENT);
    expect_recovery();
}

static void test_cut_toward_the_broker_is_recovered_from(void **state)
{
    (void)state;
    cny_proxy_cut(proxy, CNY_TO_BROKER);
    expect_recovery();
}

static void test_reset_both_ways_is_recovered_from(void **state)
{
    (void)state;
    cny_proxy_reset(proxy, CNY_BOTH_WAYS);
    expect_recovery();
}

static void test_reset_that_the_broker_does_not_see_is_recovered_from(void **state)
{
    (void)state;
    cny_proxy_reset(proxy, CNY_TO_CLIENT);
    expect_recovery();
}

static void test_reset_that_the_client_does_not_see_is_noticed_by_heartbeats(void **state)
{
    (void)state;
    int64_t start = cny_now_ms();
    cny_proxy_reset(proxy, CNY_TO_BROKER);
    cny_traffic_wait_for_recovery(2, PATIENCE_MS);
    test_expect_elapsed(start, 0, NOTICED_MS);
    expect_recovery();
}

static void test_ten_cuts_in_a_row_lose_nothing(void **state)
{
    (void)state;
    for (uint64_t times = 2; times <= 11; times++) {
        cny_proxy_cut(proxy, CNY_BOTH_WAYS);
        cny_traffic_wait_for_recovery(times, PATIENCE_MS);
    }
    expect_recovery();
    assert_int_equal(cny_traffic_refused(), 0); /* all sends had time to wait for a connection */
}

static void test_refused_connections_are_tried_until_one_is_accepted(void **state)
{
    (void)state;
    cny_proxy_refuse(proxy);
    cny_proxy_reset(proxy, CNY_BOTH_WAYS);
    int64_t deadline = cny_now_ms() + PATIENCE_MS;
    while (cny_traffic_info(CONEY_PUBLISHING).attempt < 3 && cny_now_ms() < deadline)
        poll(NULL, 0, 2);
    coney_connection_info info = cny_traffic_info(CONEY_PUBLISHING);
    assert_int_equal(info.state, CONEY_CONNECTION_CONNECTING);
    assert_true(info.attempt >= 3);
    assert_int_equal(info.reason, CONEY_E_CONNECT);
    assert_non_null(strstr(info.text, "Connection refused"));
    assert_int_not_equal(coney_container_check(traffic.container), CONEY_OK);
    cny_proxy_listen(proxy);
    expect_recovery();
}

/* --- frames are torn --- */

static uint64_t all_openings(void)
{
    return cny_traffic_info(CONEY_CONSUMING).times_opened + cny_traffic_info(CONEY_PUBLISHING).times_opened;
}

/* When the traffic rests, the next bytes of a way are the beginning of a frame, a heartbeat's at
 * least, and a cut behind byte 3 is within its head. The larger ones are in a message's frames or, on the
 * way to the client, in confirms. */
static void tear_frames(cny_way way)
{
    static const size_t places[] = {3, 7, 10, 30, 60, 100, 300, 700};
    for (size_t i = 0; i < COUNT_OF(places); i++) {
        uint64_t openings = all_openings();
        cny_traffic_pause();
        cny_proxy_cut_after(proxy, way, places[i]);
        cny_traffic_resume();
        int64_t deadline = cny_now_ms() + PATIENCE_MS;
        while (all_openings() == openings && cny_now_ms() < deadline)
            poll(NULL, 0, 2);
        assert_true(all_openings() > openings);
        cny_traffic_flow(10, PATIENCE_MS);
    }
    expect_flow_again();
}

static void test_frames_torn_on_the_way_to_the_broker_lose_nothing(void **state)
{
    (void)state;
    tear_frames(CNY_TO_BROKER);
}

static void test_frames_torn_on_the_way_to_the_client_lose_nothing(void **state)
{
    (void)state;
    tear_frames(CNY_TO_CLIENT);
}

/* A body of many frames, of which only some pass. */
static void test_large_message_torn_in_its_body_is_sent_again(void **state)
{
    (void)state;
    coney_message *large = test_pattern((size_t)600 * 1024);
    coney_admin_delete_queue(traffic.admin, test_name("proxy.large"), NULL);
    assert_ok(coney_admin_declare_queue(traffic.admin, &(coney_queue){.name = test_name("proxy.large")}, NULL));
    cny_traffic_pause();
    cny_proxy_cut_after(proxy, CNY_TO_BROKER, (size_t)300 * 1024);
    assert_ok(coney_template_send(traffic.sender, test_name("proxy.large"), large, NULL));
    assert_int_equal(cny_traffic_info(CONEY_PUBLISHING).times_opened, 2);
    coney_queue_info info;
    assert_ok(coney_admin_queue_info(traffic.admin, test_name("proxy.large"), &info));
    assert_int_equal(info.message_count, 1);
    assert_ok(coney_admin_delete_queue(traffic.admin, test_name("proxy.large"), NULL));
    coney_message_unref(large);
    cny_traffic_resume();
    expect_flow_again();
}

/* --- bytes vanish --- */

static void expect_black_hole_noticed(cny_way ways)
{
    int64_t start = cny_now_ms();
    cny_proxy_black_hole(proxy, ways);
    cny_traffic_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_CONNECTING, PATIENCE_MS);
    cny_traffic_wait_for_state(CONEY_PUBLISHING, CONEY_CONNECTION_CONNECTING, PATIENCE_MS);
    test_expect_elapsed(start, 0, NOTICED_MS);
}

static void test_black_hole_is_noticed_and_recovered_from(void **state)
{
    (void)state;
    expect_black_hole_noticed(CNY_BOTH_WAYS);
    cny_proxy_pass(proxy, CNY_BOTH_WAYS);
    expect_recovery();
}

static void test_black_hole_toward_the_client_is_noticed_and_recovered_from(void **state)
{
    (void)state;
    expect_black_hole_noticed(CNY_TO_CLIENT);
    cny_proxy_pass(proxy, CNY_BOTH_WAYS);
    expect_recovery();
}

/* The broker misses our heartbeats and ends the connections. */
static void test_black_hole_toward_the_broker_is_recovered_from(void **state)
{
    (void)state;
    cny_proxy_black_hole(proxy, CNY_TO_BROKER);
    cny_traffic_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_CONNECTING, PATIENCE_MS);
    cny_traffic_wait_for_state(CONEY_PUBLISHING, CONEY_CONNECTION_CONNECTING, PATIENCE_MS);
    cny_proxy_pass(proxy, CNY_BOTH_WAYS);
    expect_recovery();
}

static void expect_end_at(int64_t start, int at_most_ms, coney_status status)
{
    assert_int_not_equal(status, CONEY_OK);
    test_expect_elapsed(start, 0, at_most_ms);
}

/* From the first call, for which all seems well, to those that find no connection. */
static void test_calls_into_a_black_hole_keep_their_deadlines(void **state)
{
    (void)state;
    coney_message *message = test_text("-1");
    coney_template *plain;
    coney_admin *admin;
    coney_queue_info info;
    assert_ok(coney_template_new(&plain, traffic.factory, &(coney_template_options){.timeout_ms = CALL_MS}));
    assert_ok(coney_admin_new(&admin, traffic.factory, &(coney_admin_options){.timeout_ms = CALL_MS}));
    coney_send_options options = {.timeout_ms = CALL_MS};
    cny_proxy_black_hole(proxy, CNY_BOTH_WAYS);
    for (int i = 0; i < 5; i++) {
        int64_t start = cny_now_ms();
        expect_end_at(start, CALL_MS, coney_template_send(plain, test_name("proxy"), message, NULL));
        start = cny_now_ms();
        expect_end_at(start, CALL_MS, coney_template_send(traffic.sender, test_name("proxy"), message, &options));
        start = cny_now_ms();
        expect_end_at(start, CALL_MS, coney_admin_queue_info(admin, test_name("proxy"), &info));
    }
    cny_proxy_pass(proxy, CNY_BOTH_WAYS);
    coney_message_unref(message);
    coney_admin_free(admin);
    coney_template_free(plain);
    expect_flow_again();
}

static void test_close_in_a_black_hole_keeps_its_deadline(void **state)
{
    (void)state;
    cny_proxy_black_hole(proxy, CNY_BOTH_WAYS);
    int64_t start = cny_now_ms();
    coney_status status = coney_connection_factory_close(traffic.factory);
    expect_end_at(start, 1000, status == CONEY_OK ? CONEY_E_TIMEOUT : status); /* OK if all was confirmed before */
}

/* --- the network is slow --- */

/* Connections that are there bear it, and so does connecting. */
static void expect_slowness_borne(void)
{
    cny_traffic_flow(MESSAGES, PATIENCE_MS);
    assert_int_equal(cny_traffic_info(CONEY_CONSUMING).times_opened, 1);
    assert_int_equal(cny_traffic_info(CONEY_PUBLISHING).times_opened, 1);
    cny_proxy_reset(proxy, CNY_BOTH_WAYS);
    expect_recovery();
    assert_int_equal(cny_traffic_info(CONEY_CONSUMING).times_opened, 2);
    assert_int_equal(cny_traffic_info(CONEY_PUBLISHING).times_opened, 2);
}

static int start_for_slow_network(void **state)
{
    (void)state;
    start_with((cny_traffic_options){.per_second = 50, .factory = {.connection_timeout_ms = 8000, .heartbeat_s = 5}});
    return 0;
}

static void test_one_byte_at_a_time_loses_nothing(void **state)
{
    (void)state;
    cny_proxy_trickle(proxy, CNY_BOTH_WAYS);
    expect_slowness_borne();
}

static void test_delay_of_200_ms_loses_nothing(void **state)
{
    (void)state;
    cny_proxy_delay(proxy, CNY_BOTH_WAYS, 200);
    expect_slowness_borne();
}

static void test_20_kilobytes_a_second_lose_nothing(void **state)
{
    (void)state;
    cny_proxy_rate(proxy, CNY_BOTH_WAYS, 20000);
    expect_slowness_borne();
}

int main(void)
{
#define across(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
#define slowly(test) cmocka_unit_test_setup_teardown(test, start_for_slow_network, teardown)
    const struct CMUnitTest tests[] = {
        across(test_cut_both_ways_is_recovered_from),
        across(test_cut_toward_the_client_is_recovered_from),
        across(test_cut_toward_the_broker_is_recovered_from),
        across(test_reset_both_ways_is_recovered_from),
        across(test_reset_that_the_broker_does_not_see_is_recovered_from),
        across(test_reset_that_the_client_does_not_see_is_noticed_by_heartbeats),
        across(test_ten_cuts_in_a_row_lose_nothing),
        across(test_refused_connections_are_tried_until_one_is_accepted),
        across(test_frames_torn_on_the_way_to_the_broker_lose_nothing),
        across(test_frames_torn_on_the_way_to_the_client_lose_nothing),
        across(test_large_message_torn_in_its_body_is_sent_again),
        across(test_black_hole_is_noticed_and_recovered_from),
        across(test_black_hole_toward_the_client_is_noticed_and_recovered_from),
        across(test_black_hole_toward_the_broker_is_recovered_from),
        across(test_calls_into_a_black_hole_keep_their_deadlines),
        across(test_close_in_a_black_hole_keeps_its_deadline),
        slowly(test_one_byte_at_a_time_loses_nothing),
        slowly(test_delay_of_200_ms_loses_nothing),
        slowly(test_20_kilobytes_a_second_lose_nothing),
    };
    return cmocka_run_group_tests_name("proxy", tests, NULL, NULL);
}
