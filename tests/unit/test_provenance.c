/* SPDX-License-Identifier: MIT */
/* The original exchange and routing key of a message that comes back from the ladder, and when its headers are not
 * believed. */
#include "rabbit/listener/handling/provenance.h"
#include "support/test_support.h"

#include <string.h>

#define QUEUE "orders"
#define FIRST_RUNG "orders.retry.200"
#define QUARANTINE "orders.quarantine"

static cny_spec spec;
static coney_table *headers;
static const char *exchange, *routing_key;

/* A message as the broker hands it on from the first rung. */
static int setup(void **state)
{
    (void)state;
    spec = (cny_spec){.options = {.queue = QUEUE},
                      .delay_count = 2,
                      .delay_queues = {FIRST_RUNG, "orders.retry.400"},
                      .quarantine_queue = QUARANTINE};
    atomic_store(&spec.queue.kind, CONEY_QUORUM);
    headers = coney_table_new();
    exchange = "";
    routing_key = QUEUE;
    return headers && coney_table_set_string(headers, CONEY_HEADER_ORIGINAL_EXCHANGE, "shop") == CONEY_OK &&
                   coney_table_set_string(headers, CONEY_HEADER_ORIGINAL_ROUTING_KEY, "order.paid") == CONEY_OK &&
                   coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, 1) == CONEY_OK
               ? 0
               : -1;
}

static int teardown(void **state)
{
    (void)state;
    coney_table_free(headers);
    return 0;
}

static void set_death(const char *queue, const char *reason)
{
    coney_table *death = coney_table_new();
    coney_array *deaths = coney_array_new();
    assert_ok(coney_table_set_string(death, "queue", queue));
    assert_ok(coney_table_set_string(death, "reason", reason));
    assert_ok(coney_array_append(deaths, &(coney_value){.type = CONEY_TABLE, .as.table = death}));
    assert_ok(coney_table_set_array(headers, "x-death", deaths));
    coney_array_free(deaths);
    coney_table_free(death);
}

static void expect_address(const char *expected_exchange, const char *expected_key)
{
    coney_message *message;
    assert_ok(coney_message_new(&message, NULL, 0, &(coney_properties){.headers = headers}));
    message->exchange = exchange;
    message->routing_key = routing_key;
    cny_restore_address(&spec, message);
    assert_string_equal(coney_message_exchange(message), expected_exchange);
    assert_string_equal(coney_message_routing_key(message), expected_key);
    cny_restore_address(&spec, message); /* twice is as good as once */
    assert_string_equal(coney_message_routing_key(message), expected_key);
    coney_message_unref(message);
}

static void test_message_from_the_ladder_has_its_original_address(void **state)
{
    (void)state;
    set_death(FIRST_RUNG, "expired");
    expect_address("shop", "order.paid");
}

static void test_default_exchange_is_an_original_exchange(void **state)
{
    (void)state;
    set_death(FIRST_RUNG, "expired");
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_ORIGINAL_EXCHANGE, ""));
    expect_address("", "order.paid");
}

static void test_message_without_a_death_keeps_its_address(void **state)
{
    (void)state;
    expect_address("", QUEUE);
}

static void test_message_with_the_death_of_another_queue_keeps_its_address(void **state)
{
    (void)state;
    set_death("others.retry.200", "expired");
    expect_address("", QUEUE);
}

static void test_message_with_the_death_of_another_round_keeps_its_address(void **state)
{
    (void)state;
    set_death(FIRST_RUNG, "expired");
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, 2));
    expect_address("", QUEUE);
}

static void test_message_with_another_reason_keeps_its_address(void **state)
{
    (void)state;
    set_death(FIRST_RUNG, "maxlen");
    expect_address("", QUEUE);
}

static void test_message_from_an_exchange_keeps_its_address(void **state)
{
    (void)state;
    set_death(FIRST_RUNG, "expired");
    exchange = "topics";
    expect_address("topics", QUEUE);
}

static void test_message_for_another_queue_keeps_its_address(void **state)
{
    (void)state;
    set_death(FIRST_RUNG, "expired");
    routing_key = "copies";
    expect_address("", "copies");
}

static void test_message_without_original_headers_keeps_its_address(void **state)
{
    (void)state;
    set_death(FIRST_RUNG, "expired");
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_ORIGINAL_ROUTING_KEY, 7));
    expect_address("", QUEUE);
}

static void test_original_key_that_is_too_long_is_not_believed(void **state)
{
    (void)state;
    char key[CNY_MAX_SHORT_STRING + 2];
    memset(key, 'k', sizeof key - 1);
    key[sizeof key - 1] = '\0';
    set_death(FIRST_RUNG, "expired");
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_ORIGINAL_ROUTING_KEY, key));
    expect_address("", QUEUE);
}

static void test_message_that_ended_in_quarantine_has_its_original_address(void **state)
{
    (void)state;
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_ENDED_BY, QUARANTINE));
    expect_address("shop", "order.paid");
}

static void test_message_that_ended_in_quarantine_and_died_since_keeps_its_address(void **state)
{
    (void)state;
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_ENDED_BY, QUARANTINE));
    set_death("dead", "expired");
    expect_address("", QUEUE);
}

int main(void)
{
#define with_message(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_message(test_message_from_the_ladder_has_its_original_address),
        with_message(test_default_exchange_is_an_original_exchange),
        with_message(test_message_without_a_death_keeps_its_address),
        with_message(test_message_with_the_death_of_another_queue_keeps_its_address),
        with_message(test_message_with_the_death_of_another_round_keeps_its_address),
        with_message(test_message_with_another_reason_keeps_its_address),
        with_message(test_message_from_an_exchange_keeps_its_address),
        with_message(test_message_for_another_queue_keeps_its_address),
        with_message(test_message_without_original_headers_keeps_its_address),
        with_message(test_original_key_that_is_too_long_is_not_believed),
        with_message(test_message_that_ended_in_quarantine_has_its_original_address),
        with_message(test_message_that_ended_in_quarantine_and_died_since_keeps_its_address),
    };
    return cmocka_run_group_tests_name("provenance", tests, NULL, NULL);
}
