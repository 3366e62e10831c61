/* SPDX-License-Identifier: MIT */
/* What a broker says is told in one line, wherever it is told: its line ends, other control characters and
 * what turns the reading order around are spaces in sentences, events and log lines. */
#include "support/fault_fixture.h"

enum { LONG_MS = 10000 };

#define SAID                                                                                                           \
    "\nPRECONDITION_FAILED - what\r\n\tthe \x1b[1mbroker\x7f  says of 'a  b'\xc2\x85\xe2\x80\xa8\xe2\x80\xae\xff\n"
#define TOLD "PRECONDITION_FAILED - what the [1mbroker says of 'a  b'"

static void expect_told(const char *text)
{
    if (!strstr(text, TOLD) || strpbrk(text, "\r\n\t\x1b\x7f\xc2\xe2\xff?") || text[strlen(text) - 1] == ' ')
        fail_msg("\"%s\"", text);
}

static void refuse_the_login(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_close_connection(peer, 530, SAID);
}

static void test_refused_login_is_told_in_one_line(void **state)
{
    (void)state;
    fault_start(refuse_the_login, NULL);
    fault_expect_status(CONEY_E_NOT_ALLOWED, coney_connection_factory_connect(fault.factory));
    expect_told(coney_last_error());
}

static void close_the_channel(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD)->channel, 406, SAID);
}

static void test_closed_channel_is_told_in_one_line(void **state)
{
    (void)state;
    fault_start(close_the_channel, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, fault_ask());
    expect_told(coney_last_error());
    coney_channel_info events[FAULT_MAX_EVENTS];
    fault_wait_until(fault_channel_events(CONEY_CONSUMING, events) >= 2);
    expect_told(events[1].text);
}

static void close_the_connection(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
    if (cny_peer_number(peer) == 0)
        cny_peer_close_connection(peer, 320, SAID);
}

static void test_closed_connection_is_told_in_one_line(void **state)
{
    (void)state;
    fault_start(close_the_connection,
                &(coney_connection_factory_options){.recovery = {.first_delay_ms = LONG_MS, .max_delay_ms = LONG_MS}});
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_LOST, fault_ask());
    expect_told(coney_last_error());
    expect_told(fault_wait_for_state(CONEY_CONSUMING, CONEY_CONNECTION_CONNECTING).text);
}

static void return_the_message(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t channel = publish->channel;
    cny_peer_return(peer, publish, 312, SAID);
    cny_peer_ack(peer, channel, 1, false);
}

static void test_returned_message_is_told_in_one_line(void **state)
{
    (void)state;
    fault_start(return_the_message, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_RETURNED, fault_send(LONG_MS));
    expect_told(coney_last_error());
    expect_told(coney_last_error_details()->reply_text);
}

static void block(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer))
        cny_peer_block(peer, SAID);
}

static void test_reason_for_blocking_is_told_in_one_line(void **state)
{
    (void)state;
    fault_start(block, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_BLOCKED, fault_send(500));
    expect_told(coney_last_error());
    expect_told(fault_info(CONEY_PUBLISHING).text);
}

static void block_with_line_ends_only(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer))
        cny_peer_block(peer, "\r\n");
}

static void test_reason_of_line_ends_only_blocks(void **state)
{
    (void)state;
    fault_start(block_with_line_ends_only, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_BLOCKED, fault_send(500));
    fault_expect_text("it gave no reason");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_refused_login_is_told_in_one_line),       fault_test(test_closed_channel_is_told_in_one_line),
        fault_test(test_closed_connection_is_told_in_one_line),   fault_test(test_returned_message_is_told_in_one_line),
        fault_test(test_reason_for_blocking_is_told_in_one_line), fault_test(test_reason_of_line_ends_only_blocks),
    };
    return cmocka_run_group_tests_name("broker texts", tests, NULL, NULL);
}
