/* SPDX-License-Identifier: MIT */
/* The log's sink is the program's code and may take its time, so it never runs on an I/O thread,
 * whatever there is to tell. */
#include "support/fault_fixture.h"

#include <pthread.h>
#include <stdio.h>

enum { LONG_MS = 10000, MAX_LINES = 500 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char lines[MAX_LINES][200];
static int line_count, io_line_count;

static void note_line(coney_log_level level, const char *text, void *user)
{
    (void)user;
    char thread[16] = "";
    pthread_getname_np(pthread_self(), thread, sizeof thread);
    pthread_mutex_lock(&lock);
    if (line_count < MAX_LINES)
        snprintf(lines[line_count++], sizeof *lines, "%s: %s", coney_log_level_name(level), text);
    if (strncmp(thread, "coney-io", 8) == 0) {
        io_line_count++;
        print_error("logged on an I/O thread: %s\n", text);
    }
    pthread_mutex_unlock(&lock);
}

static int count_logged(const char *part)
{
    int found = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < line_count; i++)
        found += strstr(lines[i], part) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

static bool was_logged(const char *part)
{
    return count_logged(part) > 0;
}

static void log_everything(void)
{
    pthread_mutex_lock(&lock);
    line_count = io_line_count = 0;
    pthread_mutex_unlock(&lock);
    coney_log_set_sink(note_line, NULL);
    coney_log_set_level(CONEY_LOG_DEBUG);
}

/* Afterwards no thread is left that could log. */
static int expect_none_on_an_io_thread(void **state)
{
    int failed = fault_teardown(state);
    coney_log_set_sink(NULL, NULL);
    return failed || io_line_count > 0;
}

static void start(cny_script *script)
{
    fault_start(script, NULL);
    log_everything();
    fault_use_template(NULL);
}

/* --- what the broker says --- */

static const char reason[] = "low on memory";

static void block_for_a_moment(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_block(peer, reason);
    cny_peer_wait_go(peer);
    cny_peer_block(peer, NULL);
}

static void test_blocking_is_not_logged_on_an_io_thread(void **state)
{
    (void)state;
    start(block_for_a_moment);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(was_logged(reason));
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void confirm_what_was_never_sent(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_ack(peer, publish->channel, 99, false);
    cny_peer_answer(peer, publish);
}

static void test_unknown_confirm_is_not_logged_on_an_io_thread(void **state)
{
    (void)state;
    start(confirm_what_was_never_sent);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(was_logged("confirmed a message that is not outstanding"));
}

static void return_what_was_never_sent(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_basic_publish_t *args = publish->args;
    args->routing_key = amqp_cstring_bytes("another");
    cny_peer_return(peer, publish, 312, "NO_ROUTE");
    cny_peer_answer(peer, publish);
}

static void test_unknown_return_is_not_logged_on_an_io_thread(void **state)
{
    (void)state;
    start(return_what_was_never_sent);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(was_logged("returned a message that is not outstanding"));
}

/* --- the end of a connection --- */

static void lose_some_in_every_way(cny_peer *peer, void *user)
{
    (void)user;
    int number = cny_peer_number(peer);
    if (number < 4)
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    if (number == 0)
        cny_peer_hang_up(peer);
    if (number == 1)
        cny_peer_reset(peer);
    if (number == 2)
        cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker shuts down");
    if (number == 3) {
        cny_peer_send_bytes(peer, "\7garbage garbage garbage", 24);
        cny_peer_silence(peer, LONG_MS);
    }
}

static void test_losses_are_not_logged_on_an_io_thread(void **state)
{
    (void)state;
    start(lose_some_in_every_way);
    for (int i = 0; i < 4; i++)
        fault_expect_status(CONEY_E_LOST, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(was_logged("broker shuts down"));
}

/* --- good news --- */

static void hang_up_the_first(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_hang_up(peer);
}

static void test_loss_is_a_warning_and_the_return_is_not(void **state)
{
    (void)state;
    start(hang_up_the_first);
    fault_expect_status(CONEY_E_LOST, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(count_logged("info: publishing connection: open to") == 2);
    assert_true(was_logged("warn: publishing connection: connecting to"));
    assert_false(was_logged("warn: publishing connection: open to"));
}

static void lose_the_first_consumer(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until_consumer(peer);
    cny_peer_hang_up(peer);
}

static coney_outcome acknowledge(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    return CONEY_ACK;
}

static void test_consumer_that_has_resumed_is_no_warning(void **state)
{
    (void)state;
    start(lose_the_first_consumer);
    fault_use_container(NULL, acknowledge, 1);
    fault_wait_until(was_logged("has resumed"));
    assert_true(was_logged("info: container 'container': a consumer of queue 'orders' has resumed"));
}

static void test_blocking_is_a_warning_and_its_end_is_not(void **state)
{
    (void)state;
    start(block_for_a_moment);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(was_logged("warn: publishing connection: open to"));
    cny_broker_go(fault.broker);
    fault_wait_until(count_logged("info: publishing connection: open to") == 2);
    assert_int_equal(count_logged("warn: "), 1);
}

/* --- several hosts --- */

static cny_broker *first_host;

static int stop_both_hosts(void **state)
{
    int failed = expect_none_on_an_io_thread(state);
    cny_broker *broker = first_host;
    first_host = NULL;
    cny_broker_stop(broker);
    return failed;
}

static void hang_up_at_once(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, CNY_PROTOCOL_HEADER);
    cny_peer_hang_up(peer);
}

static void test_hosts_that_fail_are_not_logged_on_an_io_thread(void **state)
{
    (void)state;
    char uri[80];
    first_host = cny_broker_start(&(cny_broker_options){.script = hang_up_at_once});
    fault.broker = cny_broker_start(&(cny_broker_options){0});
    snprintf(uri, sizeof uri, "amqp://127.0.0.1:%d,127.0.0.1:%d", cny_broker_port(first_host),
             cny_broker_port(fault.broker));
    log_everything();
    const coney_connection_factory_options options = {.close_timeout_ms = 500};
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, uri, &options));
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(was_logged("publishing connection: open to"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_blocking_is_not_logged_on_an_io_thread, expect_none_on_an_io_thread),
        cmocka_unit_test_teardown(test_unknown_confirm_is_not_logged_on_an_io_thread, expect_none_on_an_io_thread),
        cmocka_unit_test_teardown(test_unknown_return_is_not_logged_on_an_io_thread, expect_none_on_an_io_thread),
        cmocka_unit_test_teardown(test_losses_are_not_logged_on_an_io_thread, expect_none_on_an_io_thread),
        cmocka_unit_test_teardown(test_loss_is_a_warning_and_the_return_is_not, expect_none_on_an_io_thread),
        cmocka_unit_test_teardown(test_consumer_that_has_resumed_is_no_warning, expect_none_on_an_io_thread),
        cmocka_unit_test_teardown(test_blocking_is_a_warning_and_its_end_is_not, expect_none_on_an_io_thread),
        cmocka_unit_test_teardown(test_hosts_that_fail_are_not_logged_on_an_io_thread, stop_both_hosts),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
