/* SPDX-License-Identifier: MIT */
/* Peers that break the protocol. Whatever they send, the connection ends at once with
 * CONEY_E_PROTOCOL and a sentence that says what was wrong, for a call that waits and for a
 * consumer alike; nothing is read beyond its bounds and nothing waits for bytes that are a lie. The
 * next connection works. */
#include "support/fault_fixture.h"

#include <stdlib.h>

enum { LONG_MS = 10000 };

static cny_peer_method *serve_until_asked(cny_peer *peer)
{
    return cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
}

static cny_script *misdeed;

static void misbehave_once(cny_peer *peer, void *user)
{
    if (cny_peer_number(peer) == 0)
        misdeed(peer, user);
}

static void start(cny_script *script)
{
    misdeed = script;
    fault_start(misbehave_once, NULL);
}

static void expect_protocol_error_when_asking(cny_script *script, const char *text)
{
    start(script);
    fault_use_admin(LONG_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_PROTOCOL, fault_ask());
    fault_expect_text(text);
    test_expect_elapsed(began, 0, 1000);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).reason, CONEY_E_PROTOCOL);
}

static coney_outcome must_not_be_called(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    print_error("the handler was called\n");
    abort();
}

static void expect_protocol_error_when_consuming(cny_script *script, const char *text)
{
    start(script);
    fault_use_container(NULL, must_not_be_called, 1);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_E_PROTOCOL, fault_wait_for_end_of_consuming());
    fault_expect_text(text);
    fault_wait_for_opening(CONEY_CONSUMING, 2);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
}

/* --- bytes and frames --- */

static void send_garbage(cny_peer *peer, void *user)
{
    (void)user;
    static const char garbage[] = "this is a line of text, and AMQP it is not\r\n";
    serve_until_asked(peer);
    cny_peer_send_bytes(peer, garbage, sizeof garbage - 1);
    cny_peer_silence(peer, LONG_MS);
}

static void test_garbage_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(send_garbage, "type");
}

static void announce_a_gigabyte(cny_peer *peer, void *user)
{
    (void)user;
    static const unsigned char head[] = {AMQP_FRAME_METHOD, 0, 1, 0x40, 0, 0, 0};
    serve_until_asked(peer);
    cny_peer_send_bytes(peer, head, sizeof head);
    cny_peer_silence(peer, LONG_MS);
}

static void test_frame_larger_than_agreed_is_a_protocol_error_before_it_comes(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(announce_a_gigabyte, "1073741832");
}

static void end_a_frame_wrongly(cny_peer *peer, void *user)
{
    (void)user;
    static const unsigned char frame[] = {AMQP_FRAME_METHOD, 0, 1, 0, 0, 0, 4, 0, 60, 0, 11, 0xCD};
    serve_until_asked(peer);
    cny_peer_send_bytes(peer, frame, sizeof frame);
    cny_peer_silence(peer, LONG_MS);
}

static void test_frame_without_its_end_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(end_a_frame_wrongly, "end");
}

static void send_a_frame_of_unknown_type(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_send_frame(peer, 7, serve_until_asked(peer)->channel, "abcd", 4);
    cny_peer_silence(peer, LONG_MS);
}

static void test_frame_of_unknown_type_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(send_a_frame_of_unknown_type, "type 7");
}

/* --- methods --- */

static void send_an_unknown_method(cny_peer *peer, void *user)
{
    (void)user;
    static const unsigned char method[] = {0, 60, 3, 231, 0, 0};
    cny_peer_send_frame(peer, AMQP_FRAME_METHOD, serve_until_asked(peer)->channel, method, sizeof method);
    cny_peer_silence(peer, LONG_MS);
}

static void test_unknown_method_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(send_an_unknown_method, "60.999");
}

static void send_a_method_cut_short(cny_peer *peer, void *user)
{
    (void)user;
    static const unsigned char declare_ok[] = {0, 50, 0, 11, 200, 'o', 'r'};
    cny_peer_send_frame(peer, AMQP_FRAME_METHOD, serve_until_asked(peer)->channel, declare_ok, sizeof declare_ok);
    cny_peer_silence(peer, LONG_MS);
}

static void test_method_cut_short_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(send_a_method_cut_short, "decode");
}

static void send_a_method_frame_of_two_bytes(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_send_frame(peer, AMQP_FRAME_METHOD, serve_until_asked(peer)->channel, "ab", 2);
    cny_peer_silence(peer, LONG_MS);
}

static void test_frame_too_short_for_a_method_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(send_a_method_frame_of_two_bytes, "2 bytes");
}

static void answer_another_question(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *asked = serve_until_asked(peer);
    cny_peer_send(peer, asked->channel, AMQP_BASIC_QOS_OK_METHOD, NULL);
    cny_peer_silence(peer, LONG_MS);
}

static void test_answer_to_another_question_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(answer_another_question, "60.11");
}

static void answer_on_a_channel_never_opened(cny_peer *peer, void *user)
{
    (void)user;
    amqp_queue_declare_ok_t declare_ok = {.queue = amqp_cstring_bytes("orders")};
    serve_until_asked(peer);
    cny_peer_send(peer, 9, AMQP_QUEUE_DECLARE_OK_METHOD, &declare_ok);
    cny_peer_silence(peer, LONG_MS);
}

static void test_frame_on_a_channel_never_opened_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(answer_on_a_channel_never_opened, "channel 9");
}

/* --- content --- */

static void send_a_body_out_of_nowhere(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "body", 4);
    cny_peer_silence(peer, LONG_MS);
}

static void test_body_without_a_delivery_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_consuming(send_a_body_out_of_nowhere, "body");
}

static void send_a_header_out_of_nowhere(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_send_header(peer, channel, 4, NULL);
    cny_peer_silence(peer, LONG_MS);
}

static void test_header_without_a_delivery_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_consuming(send_a_header_out_of_nowhere, "header");
}

static void deliver_more_than_announced(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_header(peer, channel, 6, NULL);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "four", 4);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "four", 4);
    cny_peer_silence(peer, LONG_MS);
}

static void test_body_larger_than_announced_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_consuming(deliver_more_than_announced, "6 bytes");
}

static void deliver_twice_without_content(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_deliver_method(peer, channel, 2);
    cny_peer_silence(peer, LONG_MS);
}

static void test_delivery_inside_a_delivery_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_consuming(deliver_twice_without_content, "middle");
}

static void deliver_on_a_channel_never_opened(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_cork(peer, true); /* so that we have said all when the client hangs up */
    cny_peer_deliver(peer, 9, 1, "body");
    cny_peer_cork(peer, false);
    cny_peer_silence(peer, LONG_MS);
}

static void test_delivery_on_a_channel_never_opened_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_consuming(deliver_on_a_channel_never_opened, "channel 9");
}

static void hand_out_what_nobody_got(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *asked = serve_until_asked(peer);
    amqp_basic_get_ok_t get_ok = {.delivery_tag = 1, .message_count = 3};
    amqp_channel_t channel = asked->channel;
    cny_peer_cork(peer, true);
    cny_peer_send(peer, channel, AMQP_BASIC_GET_OK_METHOD, &get_ok);
    cny_peer_send_header(peer, channel, 4, NULL);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "body", 4);
    cny_peer_cork(peer, false);
    cny_peer_silence(peer, LONG_MS);
}

static void test_message_that_nobody_asked_for_is_a_protocol_error(void **state)
{
    (void)state;
    expect_protocol_error_when_asking(hand_out_what_nobody_got, "60.71");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_garbage_is_a_protocol_error),
        fault_test(test_frame_larger_than_agreed_is_a_protocol_error_before_it_comes),
        fault_test(test_frame_without_its_end_is_a_protocol_error),
        fault_test(test_frame_of_unknown_type_is_a_protocol_error),
        fault_test(test_unknown_method_is_a_protocol_error),
        fault_test(test_method_cut_short_is_a_protocol_error),
        fault_test(test_frame_too_short_for_a_method_is_a_protocol_error),
        fault_test(test_answer_to_another_question_is_a_protocol_error),
        fault_test(test_frame_on_a_channel_never_opened_is_a_protocol_error),
        fault_test(test_body_without_a_delivery_is_a_protocol_error),
        fault_test(test_header_without_a_delivery_is_a_protocol_error),
        fault_test(test_body_larger_than_announced_is_a_protocol_error),
        fault_test(test_delivery_inside_a_delivery_is_a_protocol_error),
        fault_test(test_delivery_on_a_channel_never_opened_is_a_protocol_error),
        fault_test(test_message_that_nobody_asked_for_is_a_protocol_error),
    };
    return cmocka_run_group_tests_name("protocol", tests, NULL, NULL);
}
