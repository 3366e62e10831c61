/* SPDX-License-Identifier: MIT */
/* A connection that is lost comes back, whatever ended it; how the attempts follow one another, what
 * the program is told meanwhile, and when the factory gives up. */
#include "support/fault_fixture.h"

#include <stdio.h>

enum { LONG_MS = 10000 };

static cny_peer_method *serve_until_asked(cny_peer *peer)
{
    return cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
}

static void expect_part(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" does not say \"%s\"", text, part);
}

/* --- every kind of loss --- */

/* The first connection answers one question, then waits for the test. */
static bool is_to_be_lost(cny_peer *peer)
{
    if (cny_peer_number(peer) > 0)
        return false;
    cny_peer_answer(peer, serve_until_asked(peer));
    cny_peer_wait_go(peer);
    return true;
}

static void shut_down(cny_peer *peer, void *user)
{
    (void)user;
    if (is_to_be_lost(peer))
        cny_peer_check(peer, cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker shuts down"));
}

static void hang_up(cny_peer *peer, void *user)
{
    (void)user;
    if (is_to_be_lost(peer))
        cny_peer_hang_up(peer);
}

static void reset(cny_peer *peer, void *user)
{
    (void)user;
    if (is_to_be_lost(peer))
        cny_peer_reset(peer);
}

static void fall_silent(cny_peer *peer, void *user)
{
    (void)user;
    if (is_to_be_lost(peer))
        cny_peer_silence(peer, LONG_MS);
}

static void send_garbage(cny_peer *peer, void *user)
{
    (void)user;
    if (!is_to_be_lost(peer))
        return;
    cny_peer_send_bytes(peer, "\7garbage garbage garbage", 24);
    cny_peer_silence(peer, LONG_MS);
}

static void expect_comeback(cny_script *script, coney_status reason)
{
    fault_start(script, &(coney_connection_factory_options){.heartbeat_s = 1});
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_OK);
    cny_broker_go(fault.broker);
    coney_connection_info info = fault_wait_for_opening(CONEY_CONSUMING, 2);
    assert_int_equal(info.times_opened, 2);
    assert_int_equal(info.attempt, 0);
    assert_int_equal(info.reason, reason);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_PUBLISHING).state, CONEY_CONNECTION_IDLE);
}

static void test_connection_comes_back_after_connection_close(void **state)
{
    (void)state;
    expect_comeback(shut_down, CONEY_E_LOST);
}

static void test_connection_comes_back_after_a_hang_up(void **state)
{
    (void)state;
    expect_comeback(hang_up, CONEY_E_LOST);
}

static void test_connection_comes_back_after_a_reset(void **state)
{
    (void)state;
    expect_comeback(reset, CONEY_E_LOST);
}

static void test_connection_comes_back_after_silence(void **state)
{
    (void)state;
    expect_comeback(fall_silent, CONEY_E_LOST);
}

static void test_connection_comes_back_after_garbage(void **state)
{
    (void)state;
    expect_comeback(send_garbage, CONEY_E_PROTOCOL);
}

static void lose_the_publisher(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer) && cny_peer_number(peer) < 2) {
        cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
        cny_peer_hang_up(peer);
    }
}

static void test_loss_of_one_connection_leaves_the_other_alone(void **state)
{
    (void)state;
    fault_start(lose_the_publisher, NULL);
    fault_use_admin(LONG_MS);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

/* --- what the program is told --- */

/* Three connections end: the first once it is used, two during login; the fourth is let in when the
 * test says so. */
static void come_back_at_the_third_attempt(cny_peer *peer, void *user)
{
    int number = cny_peer_number(peer);
    if (number == 0)
        shut_down(peer, user);
    if (number == 1 || number == 2) {
        cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
        cny_peer_hang_up(peer);
    }
    if (number == 3) {
        cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
        cny_peer_wait_go(peer);
        cny_peer_send(peer, 0, AMQP_CONNECTION_OPEN_OK_METHOD, NULL);
    }
}

static void test_info_tells_host_attempt_and_last_reason(void **state)
{
    (void)state;
    char host[48];
    fault_start(come_back_at_the_third_attempt, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    snprintf(host, sizeof host, "open to 127.0.0.1:%d", cny_broker_port(fault.broker));
    assert_string_equal(fault_info(CONEY_CONSUMING).text, host);
    cny_broker_go(fault.broker);
    coney_connection_info info = fault_wait_for_info(CONEY_CONSUMING, "attempt 3, last: ");
    snprintf(host, sizeof host, "connecting to 127.0.0.1:%d, attempt 3", cny_broker_port(fault.broker));
    expect_part(info.text, host);
    expect_part(info.text, "closed the connection during login");
    assert_int_equal(info.attempt, 3);
    assert_int_equal(info.state, CONEY_CONNECTION_CONNECTING);
    assert_int_equal(info.reason, CONEY_E_CONNECT);
    assert_int_equal(info.times_opened, 1);
    cny_broker_go(fault.broker);
    fault_wait_for_opening(CONEY_CONSUMING, 2);
}

static void test_connection_events_come_in_order_on_one_thread(void **state)
{
    (void)state;
    static coney_connection_info events[FAULT_MAX_EVENTS];
    static const struct {
        coney_connection_state state;
        coney_status reason;
    } expected[] = {
        {CONEY_CONNECTION_CONNECTING, CONEY_OK},        {CONEY_CONNECTION_OPEN, CONEY_OK},
        {CONEY_CONNECTION_CONNECTING, CONEY_E_LOST},    {CONEY_CONNECTION_CONNECTING, CONEY_E_CONNECT},
        {CONEY_CONNECTION_CONNECTING, CONEY_E_CONNECT}, {CONEY_CONNECTION_OPEN, CONEY_E_LOST},
        {CONEY_CONNECTION_CLOSED, CONEY_E_CLOSED},
    };
    enum { EXPECTED = sizeof expected / sizeof *expected };
    fault_start(come_back_at_the_third_attempt, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_go(fault.broker);
    cny_broker_go(fault.broker);
    fault_wait_for_opening(CONEY_CONSUMING, 2);
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    assert_int_equal(fault_connection_events(CONEY_CONSUMING, events), EXPECTED);
    for (int i = 0; i < EXPECTED; i++) {
        assert_int_equal(events[i].state, expected[i].state);
        assert_int_equal(events[i].reason, expected[i].reason);
    }
    assert_int_equal(events[1].times_opened, 1);
    assert_int_equal(events[5].times_opened, 2);
    expect_part(events[2].text, "broker shuts down");
}

static void refuse_then_shut_down(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_close_channel(peer, serve_until_asked(peer)->channel, 404, "NOT_FOUND - no queue 'orders'");
    serve_until_asked(peer);
    cny_peer_check(peer, cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker shuts down"));
}

/* The third channel is the program's to close. */
static void test_channel_events_tell_opening_and_end(void **state)
{
    (void)state;
    static coney_channel_info events[FAULT_MAX_EVENTS];
    static const struct {
        bool open;
        coney_status reason;
        int broker_code;
    } expected[] = {{true, CONEY_OK, 0}, {false, CONEY_E_NOT_FOUND, 404},
                    {true, CONEY_OK, 0}, {false, CONEY_E_LOST, 320},
                    {true, CONEY_OK, 0}, {false, CONEY_E_CLOSED, 0}};
    enum { EXPECTED = sizeof expected / sizeof *expected };
    fault_start(refuse_then_shut_down, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_NOT_FOUND, fault_ask());
    fault_expect_status(CONEY_E_LOST, fault_ask());
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    assert_int_equal(fault_channel_events(CONEY_CONSUMING, events), EXPECTED);
    for (int i = 0; i < EXPECTED; i++) {
        assert_int_equal(events[i].open, expected[i].open);
        assert_int_equal(events[i].reason, expected[i].reason);
        assert_int_equal(events[i].broker_code, expected[i].broker_code);
        assert_int_equal(events[i].number, 1);
    }
    expect_part(events[1].text, "no queue 'orders'");
}

/* --- how attempts follow one another --- */

enum { ATTEMPTS = 6 };

static void let_none_in_at_first(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) >= ATTEMPTS)
        return;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_hang_up(peer);
}

/* Each delay may be shorter by up to a half. */
static void expect_delays(const int *delays, int count)
{
    static cny_heard heard[CNY_MAX_HEARD];
    int64_t last = 0;
    int said = cny_broker_heard(fault.broker, heard), attempt = 0;
    for (int i = 0; i < said && attempt <= count; i++) {
        if (heard[i].id != CNY_PROTOCOL_HEADER)
            continue;
        int64_t gap = heard[i].at_ms - last;
        if (attempt > 0 && (gap < delays[attempt - 1] / 2 - 2 || gap > delays[attempt - 1] + 4 * test_slack_ms(last)))
            fail_msg("attempt %d came %d ms after the one before, not %d to %d", attempt + 1, (int)gap,
                     delays[attempt - 1] / 2, delays[attempt - 1]);
        last = heard[i].at_ms;
        attempt++;
    }
    assert_int_equal(attempt, count + 1);
}

static void test_delay_between_attempts_grows_up_to_its_maximum(void **state)
{
    (void)state;
    const coney_recovery_options recovery = {.first_delay_ms = 50, .multiplier = 2, .max_delay_ms = 200};
    fault_start(let_none_in_at_first, &(coney_connection_factory_options){.recovery = recovery});
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    expect_delays((const int[ATTEMPTS]){50, 100, 200, 200, 200, 200}, ATTEMPTS);
}

/* Two connections are open, the second for so long; before it there is a failure. */
static void fail_once_in_between(cny_peer *peer, void *open_for_ms)
{
    int number = cny_peer_number(peer);
    if (number == 1)
        cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    if (number == 0 || number == 2)
        cny_peer_answer(peer, serve_until_asked(peer));
    if (number == 2)
        cny_peer_silence(peer, *(int *)open_for_ms);
    if (number < 3)
        cny_peer_hang_up(peer);
}

static void fail_in_between(int *open_for_ms)
{
    const coney_recovery_options recovery = {.first_delay_ms = 50, .multiplier = 3, .max_delay_ms = 1000};
    fault_start_with(&(cny_broker_options){.script = fail_once_in_between, .user = open_for_ms},
                     &(coney_connection_factory_options){.recovery = recovery});
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, fault_ask());
    fault_wait_for_opening(CONEY_CONSUMING, 3);
}

static void test_delay_begins_anew_once_the_connection_was_open(void **state)
{
    (void)state;
    static int longer_than_the_delay = 200;
    fail_in_between(&longer_than_the_delay);
    expect_delays((const int[]){50, 150, 200 + 50}, 3);
}

/* Else a message that the broker cannot stand, for one, would have it connect all the time. */
static void test_delay_grows_on_if_the_connection_was_open_for_a_moment_only(void **state)
{
    (void)state;
    static int no_time;
    fail_in_between(&no_time);
    expect_delays((const int[]){50, 150, 450}, 3);
}

static void let_none_in(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_hang_up(peer);
}

static void test_factory_gives_up_after_max_attempts(void **state)
{
    (void)state;
    const coney_recovery_options recovery = {.first_delay_ms = 5, .max_delay_ms = 10, .max_attempts = 3};
    fault_start(let_none_in, &(coney_connection_factory_options){.recovery = recovery});
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_CONNECT, fault_ask());
    fault_expect_text("closed the connection during login");
    coney_connection_info info = fault_info(CONEY_CONSUMING);
    assert_int_equal(info.state, CONEY_CONNECTION_FAILED);
    assert_int_equal(info.attempt, 3);
    expect_part(info.text, "given up after attempt 3");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_ask());
    test_expect_elapsed(began, 0, 0);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 3);
}

static void let_in_from_the_fourth_on(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) < 3)
        let_none_in(peer, user);
}

static void test_connect_tries_again_after_giving_up(void **state)
{
    (void)state;
    const coney_recovery_options recovery = {.first_delay_ms = 5, .max_delay_ms = 10, .max_attempts = 3};
    fault_start(let_in_from_the_fourth_on, &(coney_connection_factory_options){.recovery = recovery});
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_CONNECT, fault_ask());
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    fault_expect_status(CONEY_OK, fault_ask());
}

static void let_none_of_the_first_two_in(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) < 2)
        let_none_in(peer, user);
}

static void test_connect_does_not_wait_for_a_back_off(void **state)
{
    (void)state;
    const coney_recovery_options recovery = {.first_delay_ms = 60000, .max_delay_ms = 60000};
    fault_start(let_none_of_the_first_two_in, &(coney_connection_factory_options){.recovery = recovery});
    fault_expect_status(CONEY_E_CONNECT, coney_connection_factory_connect(fault.factory));
    fault_wait_for_info(CONEY_CONSUMING, "attempt 2 in ");
    fault_wait_for_info(CONEY_PUBLISHING, "attempt 2 in ");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    test_expect_elapsed(began, 0, 1000);
}

/* Takes five seconds, which is as long as publishers wait for consumers. */
static void leave_the_consuming_login_unanswered(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *start_ok = cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    if (cny_peer_publishes(peer))
        cny_peer_answer(peer, start_ok);
    else
        cny_peer_silence(peer, LONG_MS);
}

static coney_status ask(void)
{
    return fault_ask();
}

static void test_senders_wait_for_a_consuming_login_that_hangs_five_seconds_at_most(void **state)
{
    (void)state;
    fault_start(leave_the_consuming_login_unanswered,
                &(coney_connection_factory_options){.connection_timeout_ms = 20000});
    fault_use_admin(LONG_MS);
    fault_use_template(NULL);
    fault_in_background(ask);
    fault_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_CONNECTING);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    test_expect_elapsed(began, 4500, 5500);
    assert_int_equal(fault_info(CONEY_CONSUMING).state, CONEY_CONNECTION_CONNECTING);
    assert_int_equal(fault_info(CONEY_CONSUMING).attempt, 1);
}

/* --- a refused login --- */

/* Refused as often as the user number says. */
static void refuse_password(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) >= *(int *)user)
        return;
    cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    cny_peer_close_connection(peer, 403, "ACCESS_REFUSED - Login was refused");
}

static void refuse_vhost(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) >= *(int *)user)
        return;
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_close_connection(peer, 530, "NOT_ALLOWED - vhost nowhere not found");
}

static void refuse_for_the_limit(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) >= *(int *)user)
        return;
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_close_connection(
        peer, 530, "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached");
}

static void start_refused(cny_script *script, int times, bool retry)
{
    static int count;
    count = times;
    const coney_recovery_options recovery = {.first_delay_ms = 10, .max_delay_ms = 20, .retry_refused_login = retry};
    fault_start_with(&(cny_broker_options){.script = script, .user = &count},
                     &(coney_connection_factory_options){.recovery = recovery});
    fault_use_admin(LONG_MS);
    fault_use_template(NULL);
}

static void expect_refusal(coney_status status, const char *text)
{
    for (int i = 0; i < 3; i++) {
        int64_t began = cny_now_ms();
        fault_expect_status(status, fault_ask());
        fault_expect_text(text);
        fault_expect_text("until coney_connection_factory_connect() is called");
        test_expect_elapsed(began, 0, 0);
    }
    assert_int_equal(fault_info(CONEY_CONSUMING).state, CONEY_CONNECTION_FAILED);
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, status);
    expect_part(fault_info(CONEY_CONSUMING).text, text);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 1);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void test_refused_password_fails_at_once_until_connect_is_called(void **state)
{
    (void)state;
    start_refused(refuse_password, 1, false);
    expect_refusal(CONEY_E_ACCESS_REFUSED, "ACCESS_REFUSED - Login was refused");
}

static void test_missing_virtual_host_fails_at_once_until_connect_is_called(void **state)
{
    (void)state;
    start_refused(refuse_vhost, 1, false);
    expect_refusal(CONEY_E_NOT_ALLOWED, "NOT_ALLOWED - vhost nowhere not found");
}

static void test_retry_refused_login_tries_on(void **state)
{
    (void)state;
    start_refused(refuse_password, 3, true);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 4);
}

static void test_reached_connection_limit_is_tried_again(void **state)
{
    (void)state;
    start_refused(refuse_for_the_limit, 3, false);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 4);
}

/* The limit is in the name, not in the broker's sentence. */
static void test_missing_virtual_host_with_limit_in_its_name_fails_at_once(void **state)
{
    (void)state;
    static int always = 1000;
    char uri[64];
    fault.broker = cny_broker_start(&(cny_broker_options){.script = refuse_vhost, .user = &always});
    snprintf(uri, sizeof uri, "amqp://127.0.0.1:%d/limits", cny_broker_port(fault.broker));
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, uri, NULL));
    fault_use_admin(2000);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_NOT_ALLOWED, fault_ask());
    test_expect_elapsed(began, 0, 1000);
}

/* A factory that was open and whose password was changed meanwhile. */
static void refuse_the_second_login(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) == 0)
        shut_down(peer, user);
    if (cny_peer_number(peer) == 1) {
        cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
        cny_peer_close_connection(peer, 403, "ACCESS_REFUSED - Login was refused");
    }
}

static void test_login_refused_while_recovering_fails_the_connection(void **state)
{
    (void)state;
    fault_start(refuse_the_second_login, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_go(fault.broker);
    fault_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_FAILED);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, fault_ask());
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    fault_expect_status(CONEY_OK, fault_ask());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_connection_comes_back_after_connection_close),
        fault_test(test_connection_comes_back_after_a_hang_up),
        fault_test(test_connection_comes_back_after_a_reset),
        fault_test(test_connection_comes_back_after_silence),
        fault_test(test_connection_comes_back_after_garbage),
        fault_test(test_loss_of_one_connection_leaves_the_other_alone),
        fault_test(test_info_tells_host_attempt_and_last_reason),
        fault_test(test_connection_events_come_in_order_on_one_thread),
        fault_test(test_channel_events_tell_opening_and_end),
        fault_test(test_delay_between_attempts_grows_up_to_its_maximum),
        fault_test(test_delay_begins_anew_once_the_connection_was_open),
        fault_test(test_delay_grows_on_if_the_connection_was_open_for_a_moment_only),
        fault_test(test_factory_gives_up_after_max_attempts),
        fault_test(test_connect_tries_again_after_giving_up),
        fault_test(test_connect_does_not_wait_for_a_back_off),
        fault_test(test_senders_wait_for_a_consuming_login_that_hangs_five_seconds_at_most),
        fault_test(test_refused_password_fails_at_once_until_connect_is_called),
        fault_test(test_missing_virtual_host_fails_at_once_until_connect_is_called),
        fault_test(test_retry_refused_login_tries_on),
        fault_test(test_reached_connection_limit_is_tried_again),
        fault_test(test_missing_virtual_host_with_limit_in_its_name_fails_at_once),
        fault_test(test_login_refused_while_recovering_fails_the_connection),
    };
    return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}
