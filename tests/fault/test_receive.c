/* SPDX-License-Identifier: MIT */
/* Receiving through the template from a broker that is late, silent, refuses or goes away: every call
 * ends in time, says why, and a message is acknowledged only when it is held. */
#include "support/fault_consumer.h"

#include <stdatomic.h>

enum { LONG_MS = 10000, SHORT_MS = 300 };

static coney_status receive(int timeout_ms, coney_message **message)
{
    return coney_template_receive(fault.sender, "orders", message, timeout_ms);
}

/* Nothing may come with a failure. */
static coney_status receive_nothing(int timeout_ms)
{
    coney_message *message = (coney_message *)&message;
    coney_status status = receive(timeout_ms, &message);
    assert_null(message);
    return status;
}

static void expect_message(int timeout_ms, const char *text)
{
    coney_message *message;
    fault_expect_status(CONEY_OK, receive(timeout_ms, &message));
    assert_non_null(message);
    assert_string_equal(coney_message_body(message), text);
    coney_message_unref(message);
}

static void start(cny_script *script, int timeout_ms)
{
    fault_start(script, NULL);
    fault_use_template(&(coney_template_options){.timeout_ms = timeout_ms});
}

static amqp_channel_t serve_until_get(cny_peer *peer)
{
    return cny_peer_serve_until(peer, AMQP_BASIC_GET_METHOD)->channel;
}

/* ---- looking ---- */

static void hand_out_one_by_one(cny_peer *peer, void *user)
{
    (void)user;
    for (uint64_t tag = 1; tag <= 3; tag++) {
        amqp_channel_t channel = serve_until_get(peer);
        cny_peer_get_ok(peer, channel, tag, NULL, "hello");
        fault_expect_ack(peer, tag);
    }
}

static void test_message_is_acknowledged_and_the_channel_used_again(void **state)
{
    (void)state;
    start(hand_out_one_by_one, LONG_MS);
    for (int i = 0; i < 3; i++)
        expect_message(0, "hello");
    fault_expect_status(CONEY_OK, receive_nothing(0));
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CHANNEL_OPEN_METHOD), 1);
}

static void hand_out_an_empty_one(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_get_ok(peer, serve_until_get(peer), 1, NULL, "");
    fault_expect_ack(peer, 1);
}

static void test_empty_body_is_a_message(void **state)
{
    (void)state;
    start(hand_out_an_empty_one, LONG_MS);
    expect_message(0, "");
}

static void say_nothing_to_a_get(cny_peer *peer, void *user)
{
    (void)user;
    serve_until_get(peer);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void say_half_a_message(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_get_ok(peer, serve_until_get(peer), 1, NULL, NULL);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void expect_deadline_then_the_next_works(cny_script *script)
{
    start(script, SHORT_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, receive_nothing(0));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text("receive from queue 'orders'");
    fault_expect_status(CONEY_OK, receive_nothing(0));
}

static void test_silence_fails_a_get_by_its_deadline(void **state)
{
    (void)state;
    expect_deadline_then_the_next_works(say_nothing_to_a_get);
}

static void test_get_ok_without_its_message_fails_by_the_deadline(void **state)
{
    (void)state;
    expect_deadline_then_the_next_works(say_half_a_message);
}

static void answer_late(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = serve_until_get(peer);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
    cny_peer_get_ok(peer, channel, 1, NULL, "late");
    cny_peer_send(peer, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, NULL);
    cny_peer_get_ok(peer, serve_until_get(peer), 1, NULL, "again");
    fault_expect_ack(peer, 1);
}

static void test_message_that_comes_too_late_is_not_taken_for_the_next(void **state)
{
    (void)state;
    start(answer_late, SHORT_MS);
    fault_expect_status(CONEY_E_TIMEOUT, receive_nothing(0));
    expect_message(0, "again");
}

static void refuse(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, serve_until_get(peer), 403, "ACCESS_REFUSED - access to queue 'orders' refused");
}

static void test_refusal_is_told_and_the_next_receive_has_a_new_channel(void **state)
{
    (void)state;
    start(refuse, LONG_MS);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, receive_nothing(0));
    fault_expect_text("receive from queue 'orders': 403");
    fault_expect_status(CONEY_OK, receive_nothing(0));
}

static void close_the_idle_channel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = serve_until_get(peer);
    cny_peer_send(peer, channel, AMQP_BASIC_GET_EMPTY_METHOD, &(amqp_basic_get_empty_t){{0, NULL}});
    cny_peer_wait_go(peer);
    cny_peer_close_channel(peer, channel, 541, "INTERNAL_ERROR");
}

static void test_idle_channel_that_has_died_is_replaced(void **state)
{
    (void)state;
    start(close_the_idle_channel, LONG_MS);
    fault_expect_status(CONEY_OK, receive_nothing(0));
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_E_BROKER, fault_wait_for_end_of_consuming());
    fault_expect_status(CONEY_OK, receive_nothing(0));
}

static void hang_up_at_a_get(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    serve_until_get(peer);
    cny_peer_hang_up(peer);
}

static void test_loss_ends_a_get_and_the_next_waits_for_the_connection(void **state)
{
    (void)state;
    start(hang_up_at_a_get, LONG_MS);
    fault_expect_status(CONEY_E_LOST, receive_nothing(0));
    fault_expect_status(CONEY_OK, receive_nothing(0));
}

static void hand_out_too_much(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_get_ok(peer, serve_until_get(peer), 7, NULL, "far too much");
    fault_expect_reject(peer, 7, false);
}

static void test_message_over_max_message_bytes_is_rejected(void **state)
{
    (void)state;
    fault_start(hand_out_too_much, &(coney_connection_factory_options){.max_message_bytes = 4});
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_CONVERSION, receive_nothing(0));
    fault_expect_text("max_message_bytes is 4");
    fault_expect_status(CONEY_OK, receive_nothing(0));
}

static void hand_out_text(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_get_ok(peer, serve_until_get(peer), 7, NULL, "{no json");
    fault_expect_reject(peer, 7, false);
}

static void test_what_cannot_be_converted_is_rejected_and_not_acknowledged(void **state)
{
    (void)state;
    start(hand_out_text, LONG_MS);
    void *object = state;
    fault_expect_status(CONEY_E_CONVERSION, coney_template_receive_and_convert(fault.sender, "orders", &object, 0));
    assert_null(object);
    cny_broker_wait(fault.broker, 1);
}

/* ---- waiting ---- */

static void deliver_one(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *qos = cny_peer_serve_until(peer, AMQP_BASIC_QOS_METHOD);
    cny_peer_check(peer, ((amqp_basic_qos_t *)qos->args)->prefetch_count == 1);
    cny_peer_answer(peer, qos);
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "hello");
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD));
    fault_expect_ack(peer, 1);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD));
}

static void test_consumer_is_cancelled_before_its_message_is_acknowledged(void **state)
{
    (void)state;
    start(deliver_one, LONG_MS);
    expect_message(LONG_MS, "hello");
    cny_broker_wait(fault.broker, 1);
}

static void deliver_after_the_cancel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_deliver(peer, channel, 1, "just in time");
    cny_peer_send(peer, channel, AMQP_BASIC_CANCEL_OK_METHOD, &(amqp_basic_cancel_ok_t){amqp_cstring_bytes("tag")});
    fault_expect_ack(peer, 1);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD));
}

/* Else it would be on its way back when the caller looks again. */
static void test_message_that_comes_before_its_consumer_has_ended_is_received(void **state)
{
    (void)state;
    start(deliver_after_the_cancel, LONG_MS);
    int64_t began = cny_now_ms();
    expect_message(SHORT_MS, "just in time");
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    cny_broker_wait(fault.broker, 1);
}

static void say_nothing_to_a_cancel(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until_consumer(peer);
    cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void test_consumer_whose_end_is_not_confirmed_is_not_waited_for_any_longer(void **state)
{
    (void)state;
    start(say_nothing_to_a_cancel, SHORT_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, receive_nothing(SHORT_MS));
    test_expect_elapsed(began, 2 * SHORT_MS, 2 * SHORT_MS);
}

static void expect_the_priority(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *method = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    const amqp_basic_consume_t *consume = method->args;
    cny_peer_check(peer, consume->arguments.num_entries == 1 && !consume->no_ack);
    const amqp_table_entry_t *first = &consume->arguments.entries[0];
    cny_peer_check(peer, memcmp(first->key.bytes, "x-priority", first->key.len) == 0);
    cny_peer_answer(peer, method);
    cny_peer_deliver(peer, method->channel, 1, "hello");
}

static void test_consumer_has_the_arguments_of_the_template(void **state)
{
    (void)state;
    coney_table *arguments = coney_table_new();
    fault_expect_status(CONEY_OK, coney_table_set_int64(arguments, "x-priority", 9));
    fault_start(expect_the_priority, NULL);
    fault_use_template(&(coney_template_options){.receive_arguments = arguments});
    coney_table_free(arguments);
    expect_message(LONG_MS, "hello");
}

static void say_nothing_to_a_consume(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void test_subscription_without_an_answer_fails_by_the_deadline(void **state)
{
    (void)state;
    start(say_nothing_to_a_consume, SHORT_MS);
    fault_expect_status(CONEY_E_TIMEOUT, receive_nothing(LONG_MS));
    fault_expect_text("consume from queue 'orders'");
}

static void have_no_queue(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD)->channel;
    cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
}

static void test_missing_queue_is_told_when_waiting(void **state)
{
    (void)state;
    start(have_no_queue, LONG_MS);
    fault_expect_status(CONEY_E_NOT_FOUND, receive_nothing(LONG_MS));
    fault_expect_text("404 NOT_FOUND");
}

static void cancel_the_consumer(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_cancel_consumer(peer, cny_peer_serve_until_consumer(peer));
}

static void test_queue_deleted_while_waiting_ends_the_wait(void **state)
{
    (void)state;
    start(cancel_the_consumer, LONG_MS);
    fault_expect_status(CONEY_E_NOT_FOUND, receive_nothing(LONG_MS));
    fault_expect_text("the broker cancelled the consumer");
}

static void time_out_the_consumer(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_time_out_consumer(peer, cny_peer_serve_until_consumer(peer));
}

static void test_consumer_cancelled_while_waiting_ends_the_wait_though_the_queue_is_there(void **state)
{
    (void)state;
    start(time_out_the_consumer, LONG_MS);
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, receive_nothing(LONG_MS));
    fault_expect_text("the broker cancelled the consumer of a queue that is there");
}

static void hang_up_at_a_consumer(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until_consumer(peer);
    cny_peer_hang_up(peer);
}

static void test_loss_ends_the_wait(void **state)
{
    (void)state;
    start(hang_up_at_a_consumer, LONG_MS);
    fault_expect_status(CONEY_E_LOST, receive_nothing(LONG_MS));
}

static coney_status wait_for_message(void)
{
    coney_message *message;
    return receive(LONG_MS, &message);
}

static void test_closing_the_factory_ends_the_wait(void **state)
{
    (void)state;
    start(NULL, LONG_MS);
    fault_in_background(wait_for_message);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CONSUME_METHOD) == 1);
    coney_connection_factory_close(fault.factory);
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    fault_expect_status(CONEY_E_CLOSED, receive_nothing(0));
}

/* ---- replying ---- */

static const char *reply_to;
static const char *mandatory_says;

static void hand_out_a_request(cny_peer *peer)
{
    amqp_basic_properties_t properties = {0};
    if (reply_to)
        properties =
            (amqp_basic_properties_t){._flags = AMQP_BASIC_REPLY_TO_FLAG, .reply_to = amqp_cstring_bytes(reply_to)};
    cny_peer_get_ok(peer, serve_until_get(peer), 1, &properties, "who?");
}

static bool is_acknowledged(void)
{
    return cny_broker_count_heard(fault.broker, AMQP_BASIC_ACK_METHOD) > 0;
}

static void confirm_late(cny_peer *peer)
{
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    mandatory_says = ((amqp_basic_publish_t *)publish->args)->mandatory ? "mandatory" : "optional";
    cny_peer_silence(peer, SHORT_MS);
    cny_peer_check(peer, !is_acknowledged());
    cny_peer_ack(peer, publish->channel, 1, false);
}

static void expect_a_reply(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer)) {
        hand_out_a_request(peer);
        fault_expect_ack(peer, 1);
    } else {
        confirm_late(peer);
    }
}

static coney_status hello(coney_message *request, coney_message **reply, void *user)
{
    (void)request;
    (void)user;
    return coney_message_new(reply, "hello", 5, NULL);
}

static coney_status reply_by(coney_reply_callback *callback)
{
    return coney_template_receive_and_reply(fault.sender, "orders", NULL, NULL, callback, NULL);
}

static void expect_reply_with(const char *to, const coney_reply_options *options, const char *expected)
{
    reply_to = to;
    start(expect_a_reply, LONG_MS);
    fault_expect_status(CONEY_OK, coney_template_receive_and_reply(fault.sender, "orders", options, NULL, hello, NULL));
    cny_broker_wait(fault.broker, 2);
    assert_string_equal(mandatory_says, expected);
}

static void expect_reply(const char *to, const char *expected)
{
    expect_reply_with(to, NULL, expected);
}

static void test_request_is_acknowledged_when_the_reply_is_confirmed(void **state)
{
    (void)state;
    expect_reply("replies", "optional");
}

static const coney_reply_options returned = {.return_unroutable = true};

static void test_reply_is_mandatory_if_its_return_is_wanted(void **state)
{
    (void)state;
    expect_reply_with("replies", &returned, "mandatory");
}

static void test_direct_reply_to_counts_as_unroutable_so_nobody_asks(void **state)
{
    (void)state;
    expect_reply_with("amq.rabbitmq.reply-to.g1h2AA/x==", &returned, "optional");
}

static void nack_the_reply(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer)) {
        hand_out_a_request(peer);
        fault_expect_reject(peer, 1, true);
    } else {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_nack(peer, publish->channel, publish->number, false);
    }
}

static void expect_nack(const char *requesters, const coney_reply_options *options)
{
    reply_to = requesters;
    start(nack_the_reply, LONG_MS);
    fault_expect_status(CONEY_E_NACKED,
                        coney_template_receive_and_reply(fault.sender, "orders", options, NULL, hello, NULL));
    fault_expect_text("reply: send to exchange '' with routing key 'replies'");
    cny_broker_wait(fault.broker, 2);
}

static void test_request_goes_back_if_its_reply_is_nacked_and_that_is_wanted(void **state)
{
    (void)state;
    expect_nack("replies", &returned);
}

static void test_request_goes_back_if_its_reply_to_an_own_address_is_nacked(void **state)
{
    (void)state;
    expect_nack(NULL, &(coney_reply_options){.exchange = "", .routing_key = "replies"});
}

static void nack_the_reply_for_good(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer)) {
        hand_out_a_request(peer);
        fault_expect_ack(peer, 1);
    } else {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_nack(peer, publish->channel, publish->number, false);
    }
}

static void test_request_is_done_if_its_reply_is_nacked(void **state)
{
    (void)state;
    reply_to = "replies";
    start(nack_the_reply_for_good, LONG_MS);
    fault_expect_status(CONEY_OK, reply_by(hello));
    cny_broker_wait(fault.broker, 2);
}

static void ignore_the_reply(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer)) {
        hand_out_a_request(peer);
        fault_expect_ack(peer, 1);
        cny_broker_go(fault.broker);
    } else {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_wait_go(peer);
    }
}

static void test_request_is_done_if_its_reply_is_not_confirmed_in_time(void **state)
{
    (void)state;
    reply_to = "replies";
    start(ignore_the_reply, 5 * SHORT_MS);
    fault_expect_status(CONEY_OK, reply_by(hello));
    cny_broker_wait(fault.broker, 2);
}

static void refuse_the_publishers_login(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) == 0) {
        cny_peer_log_in(peer);
        hand_out_a_request(peer);
        fault_expect_reject(peer, 1, true);
    } else {
        cny_peer_serve_until(peer, AMQP_CONNECTION_START_OK_METHOD);
        cny_peer_close_connection(peer, 403, "ACCESS_REFUSED - Login was refused");
    }
}

/* As an exchange that the user may not write to: the same code. */
static void test_refused_login_is_not_taken_for_a_requester_that_is_gone(void **state)
{
    (void)state;
    reply_to = "exchange/key";
    start(refuse_the_publishers_login, LONG_MS);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, reply_by(hello));
    fault_expect_text("Login was refused");
    cny_broker_wait(fault.broker, 2);
}

enum { LATE_MS = 100 };
static atomic_bool gone_back;

static void take_back_late(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer))
        return;
    hand_out_a_request(peer);
    fault_expect_reject(peer, 1, true);
    const cny_peer_method *end = cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
    cny_peer_stall(peer, LATE_MS);
    atomic_store(&gone_back, true);
    cny_peer_answer(peer, end);
}

static coney_status fail_to_reply(coney_message *request, coney_message **reply, void *user)
{
    (void)request;
    (void)reply;
    (void)user;
    return CONEY_E_CONVERSION;
}

static void test_failed_reply_is_told_when_its_request_has_gone_back(void **state)
{
    (void)state;
    atomic_store(&gone_back, false);
    start(take_back_late, LONG_MS);
    fault_expect_status(CONEY_E_CONVERSION, reply_by(fail_to_reply));
    assert_true(atomic_load(&gone_back));
}

static void close_the_requests_channel(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer))
        return;
    amqp_channel_t channel = serve_until_get(peer);
    cny_peer_get_ok(peer, channel, 1, NULL, "who?");
    cny_peer_wait_go(peer);
    cny_peer_close_channel(peer, channel, 406, "PRECONDITION_FAILED - delivery acknowledgement timed out");
}

static coney_status take_too_long(coney_message *request, coney_message **reply, void *user)
{
    (void)request;
    (void)reply;
    (void)user;
    cny_broker_go(fault.broker);
    fault_wait_for_end_of_consuming();
    return CONEY_OK;
}

static void test_request_whose_channel_is_gone_comes_again(void **state)
{
    (void)state;
    start(close_the_requests_channel, LONG_MS);
    fault_expect_status(CONEY_E_LOST, reply_by(take_too_long));
    fault_expect_text("the message is delivered again");
    fault_expect_status(CONEY_OK, receive_nothing(0));
}

/* ---- publishers that are held back ---- */

static void block_publishers(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer)) {
        cny_peer_get_ok(peer, serve_until_get(peer), 1, NULL, "hello");
        fault_expect_ack(peer, 1);
    } else {
        cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
        cny_peer_block(peer, "low on memory");
    }
}

static void test_receives_go_on_while_publishers_are_blocked(void **state)
{
    (void)state;
    start(block_publishers, LONG_MS);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
    expect_message(0, "hello");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_message_is_acknowledged_and_the_channel_used_again),
        fault_test(test_empty_body_is_a_message),
        fault_test(test_silence_fails_a_get_by_its_deadline),
        fault_test(test_get_ok_without_its_message_fails_by_the_deadline),
        fault_test(test_message_that_comes_too_late_is_not_taken_for_the_next),
        fault_test(test_refusal_is_told_and_the_next_receive_has_a_new_channel),
        fault_test(test_idle_channel_that_has_died_is_replaced),
        fault_test(test_loss_ends_a_get_and_the_next_waits_for_the_connection),
        fault_test(test_message_over_max_message_bytes_is_rejected),
        fault_test(test_what_cannot_be_converted_is_rejected_and_not_acknowledged),
        fault_test(test_consumer_is_cancelled_before_its_message_is_acknowledged),
        fault_test(test_message_that_comes_before_its_consumer_has_ended_is_received),
        fault_test(test_consumer_whose_end_is_not_confirmed_is_not_waited_for_any_longer),
        fault_test(test_consumer_has_the_arguments_of_the_template),
        fault_test(test_subscription_without_an_answer_fails_by_the_deadline),
        fault_test(test_missing_queue_is_told_when_waiting),
        fault_test(test_queue_deleted_while_waiting_ends_the_wait),
        fault_test(test_consumer_cancelled_while_waiting_ends_the_wait_though_the_queue_is_there),
        fault_test(test_loss_ends_the_wait),
        fault_test(test_closing_the_factory_ends_the_wait),
        fault_test(test_request_is_acknowledged_when_the_reply_is_confirmed),
        fault_test(test_reply_is_mandatory_if_its_return_is_wanted),
        fault_test(test_direct_reply_to_counts_as_unroutable_so_nobody_asks),
        fault_test(test_refused_login_is_not_taken_for_a_requester_that_is_gone),
        fault_test(test_request_goes_back_if_its_reply_is_nacked_and_that_is_wanted),
        fault_test(test_request_goes_back_if_its_reply_to_an_own_address_is_nacked),
        fault_test(test_request_is_done_if_its_reply_is_nacked),
        fault_test(test_request_is_done_if_its_reply_is_not_confirmed_in_time),
        fault_test(test_failed_reply_is_told_when_its_request_has_gone_back),
        fault_test(test_request_whose_channel_is_gone_comes_again),
        fault_test(test_receives_go_on_while_publishers_are_blocked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
