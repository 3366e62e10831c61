/* SPDX-License-Identifier: MIT */
/* Addresses as texts, by Spring's rules, and the correlation of replies. */
#include "amqp/amqp.h"
#include "support/test_support.h"

#include <stdio.h>

static void expect_address(const char *text, const char *exchange, const char *routing_key)
{
    coney_address address;
    assert_ok(coney_address_parse(&address, text));
    assert_string_equal(address.exchange, exchange);
    assert_string_equal(address.routing_key, routing_key);
}

static void test_name_without_a_slash_is_a_queue(void **state)
{
    (void)state;
    expect_address("orders", "", "orders");
    expect_address("order.paid#*", "", "order.paid#*");
    expect_address("amqp:orders", "", "amqp:orders");
}

static void test_empty_text_and_white_space_are_an_empty_address(void **state)
{
    (void)state;
    expect_address("", "", "");
    expect_address(" ", "", "");
    expect_address(" \t\n", "", "");
    expect_address(" orders", "", " orders");
}

static void test_slash_at_the_beginning_alone_is_left_out(void **state)
{
    (void)state;
    expect_address("/orders", "", "orders");
    expect_address("/", "", "");
}

static void test_name_before_the_first_slash_is_the_exchange(void **state)
{
    (void)state;
    expect_address("x/key", "x", "key");
    expect_address("x/key/of/more", "x", "key/of/more");
    expect_address("x/", "x", "");
    expect_address("x//key", "x", "/key");
    expect_address("//key", "", "/key");
    expect_address("/a/b", "", "a/b");
}

static void test_scheme_is_left_out(void **state)
{
    (void)state;
    expect_address("direct://x/key", "x", "key");
    expect_address("amqp:///orders", "", "orders");
    expect_address("://x/key", "x", "key");
    expect_address("a/b://x/key", "x", "key");
    expect_address("a://b://x/key/more", "x", "key/more");
    expect_address("amqp:////orders", "", "/orders");
}

static void test_name_alone_after_a_scheme_is_an_exchange(void **state)
{
    (void)state;
    expect_address("amqp://x", "x", "");
    expect_address("amqp://", "", "");
}

static void test_names_of_255_bytes_are_read_and_longer_ones_refused(void **state)
{
    (void)state;
    char text[600], name[257];
    coney_address address;
    memset(name, 'n', sizeof name);
    name[255] = '\0';
    snprintf(text, sizeof text, "x://%s/%s", name, name);
    expect_address(text, name, name);
    name[255] = 'n', name[256] = '\0';
    snprintf(text, sizeof text, "%s/key", name);
    assert_fails(coney_address_parse(&address, text), CONEY_E_INVALID, "the exchange has 256 bytes; AMQP allows 255");
    assert_string_equal(address.exchange, "");
    assert_fails(coney_address_parse(&address, name), CONEY_E_INVALID, "the routing key has 256 bytes");
    address.exchange[0] = 'x';
    assert_fails(coney_address_parse(&address, NULL), CONEY_E_INVALID, "text is NULL");
    assert_string_equal(address.exchange, "");
}

static void test_pseudo_queue_for_replies_is_direct_whatever_its_token_holds(void **state)
{
    (void)state;
    cny_address address;
    expect_address("amq.rabbitmq.reply-to", "", "amq.rabbitmq.reply-to");
    cny_address_parse(&address, "amq.rabbitmq.reply-to.token/with://slashes");
    assert_true(address.is_direct);
    assert_string_equal(address.exchange, "");
    assert_string_equal(address.routing_key, "amq.rabbitmq.reply-to.token/with://slashes");
    cny_address_parse(&address, "x/amq.rabbitmq.reply-to");
    assert_false(address.is_direct);
}

static void test_address_is_printed_as_spring_prints_it(void **state)
{
    (void)state;
    static const char *const texts[][2] = {{"x/key", "x/key"}, {"orders", "/orders"}, {"amqp://x", "x/"}, {"", "/"}};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        coney_address address;
        char text[520];
        assert_ok(coney_address_parse(&address, texts[i][0]));
        assert_int_equal(coney_address_format(&address, text, sizeof text), strlen(texts[i][1]));
        assert_string_equal(text, texts[i][1]);
    }
}

static void test_printed_address_is_cut_to_the_buffer(void **state)
{
    (void)state;
    coney_address address;
    char text[4] = "zzz";
    assert_ok(coney_address_parse(&address, "shop/paid"));
    assert_int_equal(coney_address_format(&address, NULL, 0), 9);
    assert_int_equal(coney_address_format(&address, text, sizeof text), 9);
    assert_string_equal(text, "sho");
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
        cmocka_unit_test(test_empty_text_and_white_space_are_an_empty_address),
        cmocka_unit_test(test_slash_at_the_beginning_alone_is_left_out),
        cmocka_unit_test(test_name_before_the_first_slash_is_the_exchange),
        cmocka_unit_test(test_scheme_is_left_out),
        cmocka_unit_test(test_name_alone_after_a_scheme_is_an_exchange),
        cmocka_unit_test(test_names_of_255_bytes_are_read_and_longer_ones_refused),
        cmocka_unit_test(test_address_is_printed_as_spring_prints_it),
        cmocka_unit_test(test_printed_address_is_cut_to_the_buffer),
        cmocka_unit_test(test_pseudo_queue_for_replies_is_direct_whatever_its_token_holds),
        cmocka_unit_test(test_empty_ids_of_a_request_count_as_none),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
