/* SPDX-License-Identifier: MIT */
/* The program's credentials provider: asked before each connection and again before its secret ends,
 * which the broker is then told. */
#include "support/fault_fixture.h"
#include "support/test_support.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>

enum { LONG_MS = 10000 };

/* Gives secret-1, secret-2 and so on; the first fails are told by its status. */
static atomic_int asked;
static int fails, fails_from;
static coney_status failure;
static int valid_for_s;
static _Atomic int64_t answered_ms[FAULT_MAX_EVENTS]; /* by number */

static coney_status provide(coney_credentials *credentials, void *user)
{
    static char secrets[FAULT_MAX_EVENTS][24];
    int number = atomic_fetch_add(&asked, 1) + 1;
    if (number <= fails || number >= fails_from)
        return failure;
    snprintf(secrets[number % FAULT_MAX_EVENTS], sizeof *secrets, "secret-%d", number);
    *credentials =
        (coney_credentials){.user = user, .password = secrets[number % FAULT_MAX_EVENTS], .valid_for_s = valid_for_s};
    atomic_store(&answered_ms[number % FAULT_MAX_EVENTS], cny_now_ms());
    return CONEY_OK;
}

static void start(cny_script *script, int failing, coney_status status)
{
    atomic_store(&asked, 0);
    fails = failing;
    fails_from = INT_MAX;
    failure = status;
    valid_for_s = 0;
    const coney_connection_factory_options options = {
        .credentials = provide, .credentials_user = "alice", .recovery = FAULT_QUICK_RECOVERY};
    fault_start(script, &options);
    fault_use_admin(LONG_MS);
}

static coney_status connect_in_the_provider(coney_credentials *credentials, void *status)
{
    (void)credentials;
    *(coney_status *)status = coney_connection_factory_connect(fault.factory);
    return CONEY_E_SYSTEM;
}

static void test_provider_that_connects_is_told_that_it_would_wait_for_itself(void **state)
{
    (void)state;
    coney_status told = CONEY_OK;
    const coney_connection_factory_options options = {
        .credentials = connect_in_the_provider, .credentials_user = &told, .recovery = FAULT_QUICK_RECOVERY};
    fault_start(NULL, &options);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_SYSTEM, coney_connection_factory_connect(fault.factory));
    test_expect_elapsed(began, 0, 1000);
    coney_connection_factory_close(fault.factory);
    assert_int_equal(told, CONEY_E_STATE);
}

static coney_status free_in_the_provider(coney_credentials *credentials, void *container)
{
    (void)credentials;
    coney_container_free(*(coney_container **)container);
    return CONEY_E_SYSTEM;
}

static void test_container_that_the_provider_frees_stays(void **state)
{
    (void)state;
    coney_container *container = NULL;
    const coney_connection_factory_options options = {
        .credentials = free_in_the_provider, .credentials_user = &container, .recovery = FAULT_QUICK_RECOVERY};
    fault_start(NULL, &options);
    test_log_start(CONEY_LOG_ERROR);
    fault_expect_status(CONEY_OK, coney_container_new(&container, fault.factory, NULL));
    fault_expect_status(CONEY_E_SYSTEM, coney_connection_factory_connect(fault.factory));
    coney_connection_factory_close(fault.factory);
    test_log_expect("coney_container_free called by a handler");
    test_log_stop();
    coney_container_free(container);
}

/* --- for a connection --- */

static void expect_login(cny_peer *peer, int number)
{
    char expected[40];
    int size = snprintf(expected, sizeof expected, "%calice%csecret-%d", 0, 0, number);
    cny_peer_method *method = cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
    amqp_bytes_t response = ((amqp_connection_start_ok_t *)method->args)->response;
    cny_peer_check(peer, response.len == (size_t)size && memcmp(response.bytes, expected, response.len) == 0);
    cny_peer_answer(peer, method);
}

static void expect_another_password_each_time(cny_peer *peer, void *user)
{
    (void)user;
    expect_login(peer, cny_peer_number(peer) + 1);
    cny_peer_log_in(peer);
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

static void test_provider_is_asked_before_each_connection(void **state)
{
    (void)state;
    start(expect_another_password_each_time, 0, CONEY_OK);
    for (int times = 1; times <= 3; times++) {
        fault_wait_until(fault_ask() == CONEY_OK);
        assert_int_equal(atomic_load(&asked), times);
        cny_broker_go(fault.broker);
        cny_broker_wait(fault.broker, times);
    }
}

static void test_provider_that_fails_fails_the_attempt_only(void **state)
{
    (void)state;
    start(NULL, 2, CONEY_E_SYSTEM);
    fault_expect_status(CONEY_E_SYSTEM, coney_connection_factory_connect(fault.factory));
    fault_expect_text("the credentials provider answered SYSTEM");
    fault_expect_status(CONEY_OK, fault_ask());
}

static void test_provider_that_refuses_is_a_refused_login(void **state)
{
    (void)state;
    start(NULL, 1, CONEY_E_ACCESS_REFUSED);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).state, CONEY_CONNECTION_FAILED);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 0);
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
}

/* --- while it is open --- */

static void expect_new_secrets(cny_peer *peer, void *user)
{
    (void)user;
    char expected[24];
    expect_login(peer, 1);
    for (int number = 2; number <= 3; number++) {
        cny_peer_method *update = cny_peer_serve_until(peer, CNY_UPDATE_SECRET);
        snprintf(expected, sizeof expected, "secret-%d", number);
        cny_peer_check(peer, strcmp(update->body, expected) == 0);
        cny_peer_answer(peer, update);
    }
}

static void test_secret_that_ends_is_renewed_on_the_open_connection(void **state)
{
    (void)state;
    static cny_heard all[CNY_MAX_HEARD];
    start(expect_new_secrets, 0, CONEY_OK);
    valid_for_s = 1;
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
    int count = cny_broker_heard(fault.broker, all), number = 1;
    for (int i = 0; i < count; i++) {
        if (all[i].id != CNY_UPDATE_SECRET)
            continue;
        int64_t last = atomic_load(&answered_ms[number++]);
        assert_int_in_range(all[i].at_ms - last, 800 - 2, 800 + test_slack_ms(last)); /* four fifths of a second */
    }
    assert_true(number >= 3);
}

/* Answers the publisher, and reads strictly: a secret inside a message fails the test. */
static void expect_a_secret_among_messages(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *update = cny_peer_serve_until(peer, CNY_UPDATE_SECRET);
    cny_peer_check(peer, strcmp(update->body, "secret-2") == 0);
    cny_peer_answer(peer, update);
}

static void test_secret_is_renewed_between_messages_that_stream(void **state)
{
    (void)state;
    static const char body[200 << 10]; /* two frames each */
    coney_message *message;
    start(expect_a_secret_among_messages, 0, CONEY_OK);
    valid_for_s = 1;
    fault_use_template(&(coney_template_options){.max_unconfirmed = 20});
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    coney_status status = CONEY_OK;
    int64_t deadline = cny_now_ms() + LONG_MS;
    while (status == CONEY_OK && cny_broker_count_heard(fault.broker, CNY_UPDATE_SECRET) == 0 &&
           cny_now_ms() < deadline)
        status = coney_template_send_async(fault.sender, "key", message, NULL, NULL, NULL);
    coney_message_unref(message);
    fault_expect_status(CONEY_OK, status);
    cny_broker_wait(fault.broker, 1);
    fault_wait_for_confirms();
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 1);
}

static char huge[5000]; /* more than a frame of 4,096 bytes */

static coney_status provide_a_huge_secret_later(coney_credentials *credentials, void *user)
{
    int number = atomic_fetch_add(&asked, 1) + 1;
    memset(huge, 'x', sizeof huge - 1);
    *credentials = (coney_credentials){
        .user = user, .password = number == 2 ? huge : "secret", .valid_for_s = number == 1 ? 1 : 0};
    return CONEY_OK;
}

static coney_status provide_for_another_user_later(coney_credentials *credentials, void *user)
{
    (void)user;
    int number = atomic_fetch_add(&asked, 1) + 1;
    *credentials = (coney_credentials){
        .user = number == 1 ? "alice" : "bob", .password = "secret", .valid_for_s = number == 1 ? 1 : 0};
    return CONEY_OK;
}

static void expect_a_new_connection(coney_credentials_provider *provider)
{
    const coney_connection_factory_options options = {
        .credentials = provider, .credentials_user = "alice", .recovery = FAULT_QUICK_RECOVERY};
    atomic_store(&asked, 0);
    fault_start_with(&(cny_broker_options){.frame_max = 4096}, &options);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    coney_connection_info info = fault_wait_for_opening(CONEY_CONSUMING, 2);
    assert_int_equal(info.reason, CONEY_E_LOST);
    assert_int_equal(atomic_load(&asked), 3);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_CONNECTION_CLOSE_METHOD) == 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_UPDATE_SECRET), 0);
    fault_expect_status(CONEY_OK, fault_ask());
}

static void test_secret_that_the_connection_cannot_be_told_is_used_for_a_new_one(void **state)
{
    (void)state;
    expect_a_new_connection(provide_a_huge_secret_later);
}

static void test_another_user_gets_a_new_connection(void **state)
{
    (void)state;
    expect_a_new_connection(provide_for_another_user_later);
}

static void test_provider_that_fails_later_does_not_cost_the_open_connection(void **state)
{
    (void)state;
    start(NULL, 0, CONEY_E_SYSTEM);
    valid_for_s = 1;
    fails_from = 2;
    fault_expect_status(CONEY_OK, fault_ask());
    fault_wait_until(atomic_load(&asked) == 2);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_UPDATE_SECRET), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_provider_is_asked_before_each_connection),
        fault_test(test_provider_that_fails_fails_the_attempt_only),
        fault_test(test_provider_that_refuses_is_a_refused_login),
        fault_test(test_secret_that_ends_is_renewed_on_the_open_connection),
        fault_test(test_secret_is_renewed_between_messages_that_stream),
        fault_test(test_secret_that_the_connection_cannot_be_told_is_used_for_a_new_one),
        fault_test(test_another_user_gets_a_new_connection),
        fault_test(test_provider_that_fails_later_does_not_cost_the_open_connection),
        fault_test(test_provider_that_connects_is_told_that_it_would_wait_for_itself),
        fault_test(test_container_that_the_provider_frees_stays),
    };
    return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}
