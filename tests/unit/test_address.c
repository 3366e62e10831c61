/* SPDX-License-Identifier: MIT */
/* Addresses of replies: "queue" or "exchange/routing key", perhaps with a scheme in front. */
#include "amqp/amqp.h"
#include "support/test_support.h"

static void expect_address(const char *text, const char *exchange, const char *routing_key)
{
    cny_address address;
    cny_address_parse(&address, text);
    assert_string_equal(address.exchange, exchange);
    assert_string_equal(address.routing_key, routing_key);
    assert_false(address.is_direct);
}

static void test_name_without_a_slash_is_a_queue(void **state)
{
    (void)state;
    expect_address("orders", "", "orders");
    expect_address("", "", "");
}

static void test_name_before_the_first_slash_is_the_exchange(void **state)
{
    (void)state;
    expect_address("x/key", "x", "key");
    expect_address("x/key/of/more", "x", "key/of/more");
    expect_address("x/", "x", "");
    expect_address("/orders", "", "orders");
}

static void test_scheme_is_left_out(void **state)
{
    (void)state;
    expect_address("direct://x/key", "x", "key");
    expect_address("amqp:///orders", "", "orders");
}

static void test_name_alone_behind_a_scheme_is_an_exchange(void **state)
{
    (void)state;
    expect_address("amqp://x", "x", "");
    expect_address("amqp://", "", "");
}

static void test_exchange_is_cut_to_what_amqp_can_say(void **state)
{
    (void)state;
    char text[400];
    cny_address address;
    memset(text, 'x', sizeof text);
    memcpy(text, "amqp://", 7);
    text[sizeof text - 1] = '\0';
    cny_address_parse(&address, text);
    assert_int_equal(strlen(address.exchange), 255);
    assert_string_equal(address.routing_key, "");
}

static void test_pseudo_queue_for_replies_is_direct_whatever_its_token_holds(void **state)
{
    (void)state;
    cny_address address;
    cny_address_parse(&address, "amq.rabbitmq.reply-to.token/with://slashes");
    assert_true(address.is_direct);
    assert_string_equal(address.exchange, "");
    assert_string_equal(address.routing_key, "amq.rabbitmq.reply-to.token/with://slashes");
}

static void expect_correlation(const coney_properties *of_request, const char *of_reply, const char *expected)
{
    coney_message *request, *reply, *correlated;
    assert_ok(coney_message_new(&request, NULL, 0, of_request));
    assert_ok(coney_message_new(&reply, NULL, 0, &(coney_properties){.correlation_id = of_reply}));
    assert_ok(cny_correlate(&correlated, request, reply));
    assert_string_equal(coney_message_properties(correlated)->correlation_id, expected);
    coney_message_unref(correlated);
    coney_message_unref(reply);
    coney_message_unref(request);
}

static void test_empty_ids_of_a_request_count_as_none(void **state)
{
    (void)state;
    expect_correlation(&(coney_properties){.correlation_id = "", .message_id = "m-1"}, "own", "m-1");
    expect_correlation(&(coney_properties){.correlation_id = "", .message_id = ""}, "own", "own");
    expect_correlation(&(coney_properties){.message_id = ""}, "own", "own");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_name_without_a_slash_is_a_queue),
        cmocka_unit_test(test_name_before_the_first_slash_is_the_exchange),
        cmocka_unit_test(test_scheme_is_left_out),
        cmocka_unit_test(test_name_alone_behind_a_scheme_is_an_exchange),
        cmocka_unit_test(test_exchange_is_cut_to_what_amqp_can_say),
        cmocka_unit_test(test_pseudo_queue_for_replies_is_direct_whatever_its_token_holds),
        cmocka_unit_test(test_empty_ids_of_a_request_count_as_none),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
