/* SPDX-License-Identifier: MIT */
/* The deaths of a message, what becomes of an x-death that no broker has written, and retry counts. */
#include "amqp/amqp.h"
#include "support/test_support.h"

static coney_table *headers;
static coney_array *deaths;

static int setup(void **state)
{
    (void)state;
    headers = coney_table_new();
    deaths = coney_array_new();
    test_log_start(CONEY_LOG_WARN);
    return headers && deaths ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    test_log_stop();
    coney_table_free(headers);
    coney_array_free(deaths);
    return 0;
}

static void append_table(const coney_table *table)
{
    assert_ok(coney_array_append(deaths, &(coney_value){.type = CONEY_TABLE, .as.table = table}));
}

static void append_string(coney_array *array, const char *text)
{
    const coney_value value = coney_value_string(text);
    assert_ok(coney_array_append(array, &value));
}

static void append_death(const char *queue, int64_t count)
{
    coney_table *death = coney_table_new();
    assert_ok(coney_table_set_string(death, "queue", queue));
    assert_ok(coney_table_set_int64(death, "count", count));
    append_table(death);
    coney_table_free(death);
}

/* A message with these headers; its x-death is the array unless that is empty. */
static coney_message *make(void)
{
    coney_message *message;
    if (coney_array_size(deaths) > 0)
        assert_ok(coney_table_set_array(headers, CONEY_HEADER_DEATH, deaths));
    assert_ok(coney_message_new(&message, NULL, 0, &(coney_properties){.headers = headers}));
    return message;
}

static void test_death_has_all_that_the_broker_writes(void **state)
{
    (void)state;
    coney_table *table = coney_table_new();
    coney_array *keys = coney_array_new();
    append_string(keys, "order.paid");
    append_string(keys, "audit");
    assert_ok(coney_table_set_string(table, "queue", "orders"));
    assert_ok(coney_table_set_string(table, "reason", CONEY_DEATH_EXPIRED));
    assert_ok(coney_table_set_int64(table, "count", 3));
    assert_ok(coney_table_set_string(table, "exchange", "shop"));
    assert_ok(coney_table_set_array(table, "routing-keys", keys));
    assert_ok(coney_table_set(table, "time", &(coney_value){.type = CONEY_TIMESTAMP, .as.integer = 1700000000}));
    assert_ok(coney_table_set_string(table, "original-expiration", "60000"));
    append_table(table);
    coney_table_free(table);
    coney_array_free(keys);

    coney_message *message = make();
    coney_death death;
    size_t position = 0;
    assert_true(coney_message_next_death(message, &position, &death));
    assert_string_equal(death.queue, "orders");
    assert_string_equal(death.reason, "expired");
    assert_int_equal(death.count, 3);
    assert_string_equal(death.exchange, "shop");
    assert_string_equal(death.routing_key, "order.paid");
    assert_int_equal(coney_array_size(death.routing_keys), 2);
    assert_int_equal(death.time, 1700000000);
    assert_string_equal(death.original_expiration, "60000");
    assert_false(coney_message_next_death(message, &position, &death));
    coney_message_unref(message);
}

static void expect_nothing_in(const coney_death *death)
{
    assert_string_equal(death->queue, "");
    assert_string_equal(death->reason, "");
    assert_int_equal(death->count, 0);
    assert_string_equal(death->exchange, "");
    assert_string_equal(death->routing_key, "");
    assert_int_equal(coney_array_size(death->routing_keys), 0);
    assert_int_equal(death->time, 0);
    assert_null(death->original_expiration);
}

static void test_values_of_other_types_count_as_missing(void **state)
{
    (void)state;
    static const char *const names[] = {
        "queue", "reason", "count", "exchange", "time", "routing-keys", "original-expiration"};
    coney_table *table = coney_table_new();
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_ok(coney_table_set_bool(table, names[i], true));
    append_table(table);
    coney_array *keys = coney_array_new();
    assert_ok(coney_array_append(keys, &(coney_value){.type = CONEY_BOOL}));
    assert_ok(coney_table_set_array(table, "routing-keys", keys));
    append_table(table);
    coney_message *message = make();
    coney_death death;
    size_t position = 0;
    assert_true(coney_message_next_death(message, &position, &death));
    expect_nothing_in(&death);
    assert_true(coney_message_next_death(message, &position, &death));
    assert_string_equal(death.routing_key, "");
    assert_int_equal(coney_array_size(death.routing_keys), 1);
    coney_message_unref(message);
    coney_array_free(keys);
    coney_table_free(table);
}

static void test_deaths_come_in_the_broker_s_order_without_what_is_no_table(void **state)
{
    (void)state;
    append_death("last", 1);
    append_string(deaths, "no table");
    append_death("first", 2);
    append_string(deaths, "no table");
    coney_message *message = make();
    coney_death death;
    size_t position = 0;
    assert_true(coney_message_next_death(message, &position, &death));
    assert_string_equal(death.queue, "last");
    assert_true(coney_message_next_death(message, &position, &death));
    assert_string_equal(death.queue, "first");
    assert_false(coney_message_next_death(message, &position, &death));
    expect_nothing_in(&death);
    assert_false(coney_message_next_death(message, &position, &death));
    coney_message_unref(message);
}

/* ---- forged ones ---- */

static void expect_dropped(void)
{
    coney_message *message = make();
    assert_null(coney_message_header(message, CONEY_HEADER_DEATH));
    assert_string_equal(coney_table_get_string(coney_message_properties(message)->headers, "other"), "stays");
    assert_true(test_log_has("warn: a message was made with a header x-death that is no array of tables"));
    coney_message_unref(message);
}

static void test_message_is_made_without_an_x_death_that_is_no_array(void **state)
{
    (void)state;
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_DEATH, "rejected"));
    assert_ok(coney_table_set_string(headers, "other", "stays"));
    expect_dropped();
}

static void test_message_is_made_without_an_empty_x_death(void **state)
{
    (void)state;
    assert_ok(coney_table_set_array(headers, CONEY_HEADER_DEATH, deaths));
    assert_ok(coney_table_set_string(headers, "other", "stays"));
    expect_dropped();
}

static void test_message_is_made_without_an_x_death_whose_first_item_is_no_table(void **state)
{
    (void)state;
    append_string(deaths, "forged");
    append_death("orders", 1);
    assert_ok(coney_table_set_string(headers, "other", "stays"));
    expect_dropped();
}

static void test_copy_of_a_message_is_made_without_a_forged_x_death(void **state)
{
    (void)state;
    const coney_value value = coney_value_string("forged");
    coney_message *message = make(), *copy;
    assert_ok(coney_message_with_header(&copy, message, CONEY_HEADER_DEATH, &value));
    assert_null(coney_message_header(copy, CONEY_HEADER_DEATH));
    assert_true(test_log_has("x-death"));
    coney_message_unref(copy);
    coney_message_unref(message);
}

static void test_x_death_like_a_broker_s_stays_and_nobody_is_warned(void **state)
{
    (void)state;
    append_death("orders", 1);
    coney_message *message = make();
    assert_non_null(coney_message_header(message, CONEY_HEADER_DEATH));
    assert_false(test_log_has("x-death"));
    coney_message_unref(message);
}

static void test_x_death_inside_another_header_is_no_header(void **state)
{
    (void)state;
    coney_table *inner = coney_table_new();
    assert_ok(coney_table_set_string(inner, CONEY_HEADER_DEATH, "text"));
    assert_ok(coney_table_set_table(headers, "inner", inner));
    coney_message *message = make();
    const coney_value *value = coney_message_header(message, "inner");
    assert_string_equal(coney_table_get_string(value->as.table, CONEY_HEADER_DEATH), "text");
    coney_message_unref(message);
    coney_table_free(inner);
}

/* ---- retry counts ---- */

static void expect_retry_count(int64_t expected)
{
    coney_message *message = make();
    assert_int_equal(coney_message_retry_count(message), expected);
    coney_message_unref(message);
}

static void test_retry_count_is_the_header_or_else_the_count_of_the_latest_death(void **state)
{
    (void)state;
    expect_retry_count(0);
    append_death("last", 4);
    append_death("first", 9);
    expect_retry_count(4);
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, 0));
    expect_retry_count(4);
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, 2));
    expect_retry_count(2);
}

static void test_retry_count_that_a_sender_made_up_is_bounded(void **state)
{
    (void)state;
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, INT64_MAX));
    expect_retry_count(INT32_MAX);
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, -7));
    expect_retry_count(0);
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_RETRY_COUNT, "7"));
    expect_retry_count(0);
    append_death("last", INT64_MIN);
    expect_retry_count(0);
}

static void test_copy_has_the_retry_count_as_a_long_and_none_for_zero(void **state)
{
    (void)state;
    coney_message *message = make(), *counted;
    assert_ok(coney_message_with_retry_count(&counted, message, coney_message_retry_count(message) + 1));
    assert_int_equal(coney_message_header(counted, CONEY_HEADER_RETRY_COUNT)->type, CONEY_INT64);
    assert_int_equal(coney_message_retry_count(counted), 1);
    assert_int_equal(coney_message_retry_count(message), 0);
    coney_message *again = counted;
    assert_ok(coney_message_with_retry_count(&again, counted, 0));
    assert_null(coney_message_header(again, CONEY_HEADER_RETRY_COUNT));
    assert_fails(coney_message_with_retry_count(&again, counted, -1), CONEY_E_INVALID, "the retry count is -1");
    coney_message_unref(again);
    coney_message_unref(counted);
    coney_message_unref(message);
}

#define death_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        death_test(test_death_has_all_that_the_broker_writes),
        death_test(test_values_of_other_types_count_as_missing),
        death_test(test_deaths_come_in_the_broker_s_order_without_what_is_no_table),
        death_test(test_message_is_made_without_an_x_death_that_is_no_array),
        death_test(test_message_is_made_without_an_empty_x_death),
        death_test(test_message_is_made_without_an_x_death_whose_first_item_is_no_table),
        death_test(test_copy_of_a_message_is_made_without_a_forged_x_death),
        death_test(test_x_death_like_a_broker_s_stays_and_nobody_is_warned),
        death_test(test_x_death_inside_another_header_is_no_header),
        death_test(test_retry_count_is_the_header_or_else_the_count_of_the_latest_death),
        death_test(test_retry_count_that_a_sender_made_up_is_bounded),
        death_test(test_copy_has_the_retry_count_as_a_long_and_none_for_zero),
    };
    return cmocka_run_group_tests_name("death", tests, NULL, NULL);
}
