/* SPDX-License-Identifier: MIT */
/* What a broker may say to a publisher, in good and bad order: acks, nacks, returns, acks of nothing,
 * no acks. Every send hears exactly what became of its own message. */
#include "support/fault_fixture.h"

enum { LONG_MS = 10000, SHORT_MS = 300 };

static cny_peer_method *serve_until_publish(cny_peer *peer)
{
    return cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
}

/* Reads so many messages without confirming any and returns their channel. */
static amqp_channel_t take_messages(cny_peer *peer, int count)
{
    amqp_channel_t channel = 0;
    for (int i = 0; i < count; i++) {
        cny_peer_method *publish = serve_until_publish(peer);
        cny_peer_check(peer, publish->number == (uint64_t)i + 1);
        channel = publish->channel;
    }
    return channel;
}

static void send_three_async(void)
{
    for (int i = 0; i < 3; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
    fault_wait_for_confirms();
}

/* --- nacks and returns --- */

static void nack(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_nack(peer, take_messages(peer, 1), 1, false);
}

static void test_nack_fails_the_send(void **state)
{
    (void)state;
    fault_start(nack, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_NACKED, fault_send(LONG_MS));
    assert_true(coney_last_error_details()->retriable);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void nack_two_of_three(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take_messages(peer, 3);
    cny_peer_nack(peer, channel, 2, true);
    cny_peer_ack(peer, channel, 3, false);
}

static void test_multiple_nack_fails_those_up_to_its_number(void **state)
{
    (void)state;
    fault_start(nack_two_of_three, NULL);
    fault_use_template(NULL);
    send_three_async();
    fault_expect_completion(0, CONEY_E_NACKED);
    fault_expect_completion(1, CONEY_E_NACKED);
    fault_expect_completion(2, CONEY_OK);
}

static void return_and_ack(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = serve_until_publish(peer);
    cny_peer_check(peer, ((amqp_basic_publish_t *)publish->args)->mandatory);
    cny_peer_return(peer, publish, 312, "NO_ROUTE");
    cny_peer_ack(peer, publish->channel, publish->number, false);
}

static void test_return_before_the_ack_fails_the_send_with_code_and_text(void **state)
{
    (void)state;
    fault_start(return_and_ack, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_RETURNED, fault_send(LONG_MS));
    assert_int_equal(coney_last_error_details()->broker_code, 312);
    assert_string_equal(coney_last_error_details()->reply_text, "NO_ROUTE");
    assert_string_equal(coney_last_error_details()->exchange, "");
    assert_string_equal(coney_last_error_details()->routing_key, "key");
    fault_expect_text("NO_ROUTE");
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void expect_returned(const char *exchange, const char *text)
{
    fault_start(return_and_ack, NULL);
    fault_use_template(&(coney_template_options){.exchange = exchange});
    fault_expect_status(CONEY_E_RETURNED, fault_send(LONG_MS));
    fault_expect_text(text);
    fault_expect_text("if such messages may be dropped, set drop_unroutable");
}

static void test_return_says_that_no_binding_takes_the_message(void **state)
{
    (void)state;
    expect_returned("orders",
                    "312 NO_ROUTE: no binding of exchange 'orders' takes the message (routing key 'key'); if");
}

static void test_return_from_the_default_exchange_says_that_there_is_no_such_queue(void **state)
{
    (void)state;
    expect_returned(NULL,
                    "312 NO_ROUTE: no binding of the default exchange takes the message (routing key 'key'): there "
                    "is no queue of that name; if");
}

/* Returns the second of three, then confirms all at once, as RabbitMQ may. */
static void return_the_second(cny_peer *peer, void *user)
{
    (void)user;
    for (int i = 0; i < 3; i++) {
        cny_peer_method *publish = serve_until_publish(peer);
        if (publish->number == 2)
            cny_peer_return(peer, publish, 312, "NO_ROUTE");
        if (publish->number == 3)
            cny_peer_ack(peer, publish->channel, 3, true);
    }
}

static void test_return_is_matched_to_its_own_send(void **state)
{
    (void)state;
    fault_start(return_the_second, NULL);
    fault_use_template(NULL);
    send_three_async();
    fault_expect_completion(0, CONEY_OK);
    fault_expect_completion(1, CONEY_E_RETURNED);
    fault_expect_completion(2, CONEY_OK);
}

static void test_callback_learns_where_a_returned_message_was_to_go(void **state)
{
    (void)state;
    fault_start(return_the_second, NULL);
    fault_use_template(NULL);
    for (int i = 0; i < 3; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, "orders"));
    fault_wait_for_confirms();
    fault_completion returned = fault_completed(1);
    assert_int_equal(returned.broker_code, 312);
    assert_string_equal(returned.reply_text, "NO_ROUTE");
    assert_string_equal(returned.exchange, "orders");
    assert_string_equal(returned.routing_key, "key");
}

/* As through a headers exchange, which takes only some of them. */
static void test_returns_of_messages_that_differ_in_headers_only_are_told_apart(void **state)
{
    (void)state;
    fault_start(return_the_second, NULL);
    fault_use_template(NULL);
    for (int i = 0; i < 3; i++) {
        coney_message *message;
        coney_table *headers = coney_table_new();
        fault_expect_status(CONEY_OK, coney_table_set_int64(headers, "number", i));
        fault_expect_status(CONEY_OK, coney_message_new(&message, "same", 4, &(coney_properties){.headers = headers}));
        coney_table_free(headers);
        fault_expect_status(CONEY_OK, fault_send_message_async(i, NULL, message));
    }
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_OK);
    fault_expect_completion(1, CONEY_E_RETURNED);
    fault_expect_completion(2, CONEY_OK);
}

/* --- acks of every kind --- */

static void ack_three_at_once(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_ack(peer, take_messages(peer, 3), 3, true);
}

static void ack_all_by_zero(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_ack(peer, take_messages(peer, 3), 0, true);
}

static void ack_backwards(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take_messages(peer, 3);
    for (uint64_t number = 3; number > 0; number--)
        cny_peer_ack(peer, channel, number, false);
}

static void expect_three_confirmed(cny_script *script)
{
    fault_start(script, NULL);
    fault_use_template(NULL);
    send_three_async();
    for (int i = 0; i < 3; i++)
        fault_expect_completion(i, CONEY_OK);
}

static void test_multiple_ack_confirms_all_up_to_its_number(void **state)
{
    (void)state;
    expect_three_confirmed(ack_three_at_once);
}

static void test_multiple_ack_of_zero_confirms_all(void **state)
{
    (void)state;
    expect_three_confirmed(ack_all_by_zero);
}

static void test_acks_may_come_in_any_order(void **state)
{
    (void)state;
    expect_three_confirmed(ack_backwards);
}

/* Everything a broker may not say, before there is a message; then it refuses the first one, which
 * a client that believed any of it would take for confirmed. */
static void ack_before_there_is_a_message(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *select = cny_peer_serve_until(peer, AMQP_CONFIRM_SELECT_METHOD);
    cny_peer_ack(peer, select->channel, 1, false);
    cny_peer_ack(peer, select->channel, 99, true);
    cny_peer_ack(peer, select->channel, 0, true);
    cny_peer_ack(peer, select->channel, 0, false);
    cny_peer_ack(peer, select->channel, UINT64_MAX, true);
    cny_peer_answer(peer, select);
    cny_peer_nack(peer, take_messages(peer, 1), 1, false);
}

static void test_acks_of_nothing_do_no_harm(void **state)
{
    (void)state;
    fault_start(ack_before_there_is_a_message, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_NACKED, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void ack_the_first_again_and_again(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take_messages(peer, 3);
    cny_peer_ack(peer, channel, 99, false);
    cny_peer_ack(peer, channel, 1, false);
    cny_peer_ack(peer, channel, 1, false);
    cny_peer_nack(peer, channel, 1, false);
    cny_peer_ack(peer, channel, 1, true);
    cny_peer_ack(peer, channel, 2, true);
    cny_peer_nack(peer, channel, 3, true);
}

static void test_acks_said_twice_do_no_harm(void **state)
{
    (void)state;
    fault_start(ack_the_first_again_and_again, NULL);
    fault_use_template(NULL);
    send_three_async();
    fault_expect_completion(0, CONEY_OK);
    fault_expect_completion(1, CONEY_OK);
    fault_expect_completion(2, CONEY_E_NACKED);
}

/* --- no acks --- */

static void ack_only_the_second(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take_messages(peer, 2);
    cny_peer_ack(peer, channel, 2, false);
    cny_peer_nack(peer, channel, 1, false); /* too late */
}

static void test_send_without_an_ack_times_out_and_the_next_one_works(void **state)
{
    (void)state;
    fault_start(ack_only_the_second, NULL);
    fault_use_template(NULL);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, fault_send(SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void ack_when_told(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take_messages(peer, 2);
    cny_peer_wait_go(peer); /* would confirm a third one */
    cny_peer_ack(peer, channel, 2, true);
}

static void test_max_unconfirmed_makes_a_send_wait_until_its_deadline(void **state)
{
    (void)state;
    fault_start(ack_when_told, NULL);
    fault_use_template(&(coney_template_options){.max_unconfirmed = 2, .timeout_ms = SHORT_MS});
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_expect_status(CONEY_OK, fault_send_async(1, NULL));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LIMIT, fault_send_async(2, NULL));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_OK);
    fault_expect_completion(1, CONEY_OK);
    assert_int_equal(fault_completed(2).count, 0);
    fault_expect_status(CONEY_OK, fault_send_async(3, NULL));
}

static void ack_the_first_after_a_while(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take_messages(peer, 1);
    cny_peer_silence(peer, SHORT_MS);
    cny_peer_ack(peer, channel, 1, false);
}

static void test_an_ack_lets_a_send_that_waits_go_on(void **state)
{
    (void)state;
    fault_start(ack_the_first_after_a_while, NULL);
    fault_use_template(&(coney_template_options){.max_unconfirmed = 1, .timeout_ms = LONG_MS});
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_expect_status(CONEY_OK, fault_send_async(1, NULL));
    test_expect_elapsed(began, SHORT_MS / 2, 2000);
    fault_wait_for_confirms();
    fault_expect_completion(1, CONEY_OK);
}

/* --- a peer that stops reading --- */

enum { BODY_BYTES = 64 << 10, OUTBOUND_BYTES = 1 << 20, KERNEL_BYTES = 8 << 20 };

static void stop_reading(cny_peer *peer, void *user)
{
    (void)user;
    take_messages(peer, 1);
    cny_peer_stall(peer, 30000);
}

static coney_status send_large(coney_message *message)
{
    coney_send_options options = {.timeout_ms = SHORT_MS};
    return coney_template_send_async(fault.sender, "key", message, &options, NULL, NULL);
}

static void test_sends_wait_at_max_outbound_bytes_if_the_peer_stops_reading(void **state)
{
    (void)state;
    static char body[BODY_BYTES];
    coney_message *message;
    cny_broker_options broker = {.script = stop_reading, .receive_buffer = BODY_BYTES};
    coney_connection_factory_options client = {.max_outbound_bytes = OUTBOUND_BYTES, .close_timeout_ms = 300};
    fault_start_with(&broker, &client);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    size_t accepted = 0;
    int64_t began = cny_now_ms();
    coney_status status = send_large(message);
    while (status == CONEY_OK && accepted <= OUTBOUND_BYTES + KERNEL_BYTES) {
        accepted += sizeof body;
        began = cny_now_ms();
        status = send_large(message);
    }
    coney_message_unref(message);
    fault_expect_status(CONEY_E_LIMIT, status);
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    assert_int_in_range(accepted, OUTBOUND_BYTES / 2, OUTBOUND_BYTES + KERNEL_BYTES);
}

static void test_free_does_not_wait_for_a_peer_that_stopped_reading(void **state)
{
    test_sends_wait_at_max_outbound_bytes_if_the_peer_stops_reading(state);
    int64_t began = cny_now_ms();
    coney_template_free(fault.sender);
    coney_connection_factory_free(fault.factory);
    fault.sender = NULL;
    fault.factory = NULL;
    test_expect_elapsed(began, 0, 300 + 500);
}

/* --- what was agreed --- */

static void check_a_large_message(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = serve_until_publish(peer); /* refuses frames larger than agreed */
    cny_peer_check(peer, publish->size == 20000);
    for (size_t i = 0; i < publish->size; i++)
        cny_peer_check(peer, publish->body[i] == (char)('a' + i % 26));
    cny_peer_answer(peer, publish);
}

static void test_large_message_keeps_to_the_brokers_frame_max(void **state)
{
    (void)state;
    char body[20000];
    coney_message *message;
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (char)('a' + i % 26);
    fault_start_with(&(cny_broker_options){.script = check_a_large_message, .frame_max = 4096}, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    coney_status status = coney_template_send(fault.sender, "key", message, NULL);
    coney_message_unref(message);
    fault_expect_status(CONEY_OK, status);
}

/* --- blocked --- */

static void block_then_unblock(cny_peer *peer, void *user)
{
    (void)user;
    amqp_connection_blocked_t blocked = {.reason = amqp_cstring_bytes("low on memory")};
    amqp_channel_t channel = take_messages(peer, 1);
    cny_peer_send(peer, 0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
    cny_peer_wait_go(peer); /* the first send times out */
    cny_peer_send(peer, 0, AMQP_CONNECTION_UNBLOCKED_METHOD, NULL);
    cny_peer_ack(peer, channel, 1, false);
}

static void test_send_to_a_broker_that_blocks_tells_its_reason_at_the_deadline(void **state)
{
    (void)state;
    fault_start(block_then_unblock, NULL);
    fault_use_template(NULL);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, fault_send(SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text("holds back publishers: low on memory");
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void block_and_close_the_channel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_connection_blocked_t blocked = {.reason = amqp_cstring_bytes("low on memory")};
    amqp_channel_t channel = take_messages(peer, 1);
    cny_peer_send(peer, 0, AMQP_CONNECTION_BLOCKED_METHOD, &blocked);
    cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no exchange");
    cny_peer_wait_go(peer);
    cny_peer_send(peer, 0, AMQP_CONNECTION_UNBLOCKED_METHOD, NULL);
}

static void test_no_channel_is_opened_while_the_broker_blocks(void **state)
{
    (void)state;
    fault_start(block_and_close_the_channel, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_NOT_FOUND, fault_send(LONG_MS));
    fault_expect_status(CONEY_E_BLOCKED, fault_send(SHORT_MS));
    fault_expect_text("holds back publishers: low on memory");
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

/* --- odd returns --- */

static void return_without_a_code(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t channel = publish->channel;
    cny_peer_return(peer, publish, 0, "");
    cny_peer_ack(peer, channel, 1, false);
}

static void test_return_without_a_code_is_a_return(void **state)
{
    (void)state;
    fault_start(return_without_a_code, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_RETURNED, fault_send(LONG_MS));
}

static void return_one(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t channel = publish->channel;
    cny_peer_return(peer, publish, 312, "NO_ROUTE");
    cny_peer_ack(peer, channel, 1, false);
}

static void test_return_larger_than_max_message_bytes_is_a_return(void **state)
{
    (void)state;
    fault_start(return_one, &(coney_connection_factory_options){.max_message_bytes = 1});
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_RETURNED, fault_send(LONG_MS));
}

static void deliver_to_a_publisher(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_deliver(peer, publish->channel, 1, "for nobody");
    cny_peer_silence(peer, LONG_MS);
}

static void test_delivery_to_a_publisher_ends_the_connection(void **state)
{
    (void)state;
    fault_start(deliver_to_a_publisher, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_LOST, fault_send(LONG_MS));
    fault_expect_text("on channel 1, which has "); /* "no consumer"; or "asked for none", if the body comes late */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_nack_fails_the_send),
        fault_test(test_multiple_nack_fails_those_up_to_its_number),
        fault_test(test_return_before_the_ack_fails_the_send_with_code_and_text),
        fault_test(test_return_says_that_no_binding_takes_the_message),
        fault_test(test_return_from_the_default_exchange_says_that_there_is_no_such_queue),
        fault_test(test_return_is_matched_to_its_own_send),
        fault_test(test_callback_learns_where_a_returned_message_was_to_go),
        fault_test(test_returns_of_messages_that_differ_in_headers_only_are_told_apart),
        fault_test(test_multiple_ack_confirms_all_up_to_its_number),
        fault_test(test_multiple_ack_of_zero_confirms_all),
        fault_test(test_acks_may_come_in_any_order),
        fault_test(test_acks_of_nothing_do_no_harm),
        fault_test(test_acks_said_twice_do_no_harm),
        fault_test(test_send_without_an_ack_times_out_and_the_next_one_works),
        fault_test(test_max_unconfirmed_makes_a_send_wait_until_its_deadline),
        fault_test(test_an_ack_lets_a_send_that_waits_go_on),
        fault_test(test_sends_wait_at_max_outbound_bytes_if_the_peer_stops_reading),
        fault_test(test_free_does_not_wait_for_a_peer_that_stopped_reading),
        fault_test(test_large_message_keeps_to_the_brokers_frame_max),
        fault_test(test_send_to_a_broker_that_blocks_tells_its_reason_at_the_deadline),
        fault_test(test_no_channel_is_opened_while_the_broker_blocks),
        fault_test(test_return_without_a_code_is_a_return),
        fault_test(test_return_larger_than_max_message_bytes_is_a_return),
        fault_test(test_delivery_to_a_publisher_ends_the_connection),
    };
    return cmocka_run_group_tests_name("publisher", tests, NULL, NULL);
}
