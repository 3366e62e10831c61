/* SPDX-License-Identifier: MIT */
/* What the broker may say to what a listener publishes for a message: a reply, or a copy. Whoever may publish chooses
 * where a reply goes and how large a copy is, so no such answer may bring the message back for ever. */
#include "support/fault_consumer.h"

enum { SHORT_MS = 300, LONG_MS = 10000 };

static const char *reply_to;

static coney_outcome answer(coney_delivery *delivery, void *user)
{
    coney_message *reply = NULL;
    if (coney_message_new(&reply, "hello", 5, NULL) != CONEY_OK)
        return CONEY_REJECT;
    coney_delivery_set_reply(delivery, reply);
    return fault_obey(delivery, user);
}

static void deliver_request_on(cny_peer *peer, amqp_channel_t channel, uint64_t tag)
{
    amqp_basic_properties_t properties = {0};
    if (reply_to) {
        properties._flags = AMQP_BASIC_REPLY_TO_FLAG;
        properties.reply_to = amqp_cstring_bytes(reply_to);
    }
    cny_peer_deliver_method(peer, channel, tag);
    cny_peer_send_header(peer, channel, 4, &properties);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "who?", 4);
}

static void deliver_request(cny_peer *peer, uint64_t tag)
{
    deliver_request_on(peer, cny_peer_serve_until_consumer(peer), tag);
}

static void start(cny_script *script, const char *requesters, coney_listener listener)
{
    reply_to = requesters;
    listener.on_message = answer;
    fault_listen(script, &(coney_container_options){.publish_timeout_ms = requesters ? SHORT_MS : LONG_MS}, listener);
    cny_broker_wait(fault.broker, 2);
    assert_int_equal(fault_handler_calls(), 1);
}

static void nack(cny_peer *peer)
{
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_nack(peer, publish->channel, publish->number, false);
}

/* ---- replies to the request's reply_to ---- */

static void expect_done_after_nack(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer)) {
        nack(peer);
    } else {
        deliver_request(peer, 1);
        fault_expect_ack(peer, 1);
    }
}

static void test_request_is_done_if_its_reply_is_nacked(void **state)
{
    (void)state;
    start(expect_done_after_nack, "a.full.queue", (coney_listener){0});
}

static void expect_done_without_confirm(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer)) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_wait_go(peer);
    } else {
        deliver_request(peer, 1);
        fault_expect_ack(peer, 1);
        cny_broker_go(fault.broker);
    }
}

static void test_request_is_done_if_its_reply_is_not_confirmed_in_time(void **state)
{
    (void)state;
    start(expect_done_without_confirm, "a.queue.without.majority", (coney_listener){0});
}

static void expect_return_while_blocked(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer)) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_block(peer, "low on memory");
        cny_peer_wait_go(peer);
    } else {
        deliver_request(peer, 1);
        fault_expect_reject(peer, 1, true);
        cny_broker_go(fault.broker);
    }
}

static void test_request_goes_back_if_its_reply_times_out_while_the_broker_holds_back_publishers(void **state)
{
    (void)state;
    start(expect_return_while_blocked, "replies", (coney_listener){0});
}

static void expect_return_after_block(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer)) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_block(peer, "low on memory");
        cny_peer_silence(peer, SHORT_MS / 3);
        cny_peer_block(peer, NULL);
        cny_peer_wait_go(peer);
    } else {
        deliver_request(peer, 1);
        fault_expect_reject(peer, 1, true);
        cny_broker_go(fault.broker);
    }
}

static void test_request_goes_back_if_the_broker_held_back_publishers_for_a_part_of_the_time(void **state)
{
    (void)state;
    start(expect_return_after_block, "replies", (coney_listener){0});
}

static void lose_the_publisher(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer)) {
        deliver_request(peer, 1);
        fault_expect_reject(peer, 1, true);
    } else if (cny_peer_number(peer) <= 1) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_hang_up(peer);
    }
}

static void test_request_goes_back_if_the_connection_is_lost_before_the_confirm(void **state)
{
    (void)state;
    start(lose_the_publisher, "replies", (coney_listener){0});
}

/* ---- replies to send_to ---- */

static void expect_return_after_nack(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer)) {
        nack(peer);
    } else {
        deliver_request(peer, 1);
        fault_expect_reject(peer, 1, true);
    }
}

static void test_request_goes_back_if_its_reply_to_send_to_is_nacked(void **state)
{
    (void)state;
    start(expect_return_after_nack, NULL, (coney_listener){.send_to = "the.programs.queue"});
}

/* ---- copies ---- */

static void refuse_all_copies(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer)) {
        cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "retry");
        fault_expect_reject(peer, 1, false);
        cny_broker_go(fault.broker);
        return;
    }
    for (int copy = 0; copy < 2; copy++) {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_close_channel(peer, publish->channel, 406,
                               "PRECONDITION_FAILED - message size 5 is larger than configured max size 4");
    }
    cny_peer_wait_go(peer);
}

/* The broker's limit has been lowered since the message came: neither the ladder nor the parking queue can get it. */
static void test_message_whose_copy_is_too_large_for_the_broker_is_rejected(void **state)
{
    (void)state;
    fault_listen(refuse_all_copies, NULL, (coney_listener){.retry = {.max_attempts = 1, .delays_ms = {50}}});
    cny_broker_wait(fault.broker, 2);
    assert_int_equal(fault_handler_calls(), 1);
}

/* ---- several replies ---- */

static void confirm_two_together(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer)) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_method *second = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_ack(peer, second->channel, second->number, true);
    } else {
        amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
        deliver_request_on(peer, channel, 1);
        deliver_request_on(peer, channel, 2);
        fault_expect_ack(peer, 1);
        fault_expect_ack(peer, 2);
    }
}

static void test_next_request_does_not_wait_for_the_confirm_of_a_reply(void **state)
{
    (void)state;
    reply_to = "replies";
    fault_listen(confirm_two_together, &(coney_container_options){.publish_timeout_ms = LONG_MS},
                 (coney_listener){.on_message = answer});
    cny_broker_wait(fault.broker, 2);
    assert_int_equal(fault_handler_calls(), 2);
}

static coney_outcome answer_requests(coney_delivery *delivery, void *user)
{
    bool is_request = coney_message_properties(coney_delivery_message(delivery))->reply_to;
    return is_request ? answer(delivery, user) : fault_obey(delivery, user);
}

static void confirm_after_both(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer)) {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        fault_wait_until(fault_handler_calls() == 2);
        cny_peer_silence(peer, SHORT_MS); /* nothing is acknowledged before the confirm */
        cny_broker_go(fault.broker);
        cny_peer_ack(peer, publish->channel, publish->number, false);
    } else {
        amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
        deliver_request_on(peer, channel, 1);
        reply_to = NULL;
        deliver_request_on(peer, channel, 2);
        cny_peer_stall_until_go(peer);
        fault_expect_ack_up_to(peer, 2);
    }
}

static void test_acknowledgement_of_a_later_message_waits_for_the_confirm_of_a_reply(void **state)
{
    (void)state;
    reply_to = "replies";
    fault_listen(confirm_after_both, &(coney_container_options){.publish_timeout_ms = LONG_MS},
                 (coney_listener){.on_message = answer_requests, .ack_every = 2});
    cny_broker_wait(fault.broker, 2);
    assert_int_equal(fault_handler_calls(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_request_is_done_if_its_reply_is_nacked),
        fault_test(test_next_request_does_not_wait_for_the_confirm_of_a_reply),
        fault_test(test_acknowledgement_of_a_later_message_waits_for_the_confirm_of_a_reply),
        fault_test(test_request_is_done_if_its_reply_is_not_confirmed_in_time),
        fault_test(test_request_goes_back_if_its_reply_times_out_while_the_broker_holds_back_publishers),
        fault_test(test_request_goes_back_if_the_broker_held_back_publishers_for_a_part_of_the_time),
        fault_test(test_request_goes_back_if_the_connection_is_lost_before_the_confirm),
        fault_test(test_request_goes_back_if_its_reply_to_send_to_is_nacked),
        fault_test(test_message_whose_copy_is_too_large_for_the_broker_is_rejected),
    };
    return cmocka_run_group_tests_name("what becomes of replies and copies", tests, NULL, NULL);
}
