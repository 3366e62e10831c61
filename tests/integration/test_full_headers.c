/* SPDX-License-Identifier: MIT */
/* Messages whose headers fill a frame, or are as many as Coney reads, so that a copy has no room for those that are
 * added. They go their way with fewer headers; before, they went back to the queue for ever, or were lost. */
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>
#include <stdlib.h>

enum { FRAME = 131072, PIECE = 1000, PIECES = 100 };

static const char *parking;

static int setup(void **state)
{
    int status = listening_setup(state);
    parking = listening_other_queue("parking");
    return status;
}

static void set_text(coney_table *headers, const char *name, size_t size)
{
    char *text = calloc(1, size + 1);
    memset(text, 'x', size);
    assert_ok(coney_table_set_string(headers, name, text));
    free(text);
}

static coney_status send_to(const char *queue, coney_table *headers, const char *text)
{
    coney_message *message;
    assert_ok(
        coney_message_new(&message, text, strlen(text), &(coney_properties){.headers = headers, .message_id = "m-1"}));
    coney_status status = coney_template_send(client.sender, queue, message, NULL);
    coney_message_unref(message);
    return status;
}

/* What fits goes to nobody, to find out the size. */
static size_t find_largest(coney_table *headers, const char *name, const char *text)
{
    size_t fits = 0, too_large = FRAME;
    while (too_large - fits > 1) {
        size_t size = fits + (too_large - fits) / 2;
        set_text(headers, name, size);
        coney_status status = send_to("coney.test.nobody", headers, text);
        assert_true(status == CONEY_E_RETURNED || status == CONEY_E_INVALID);
        *(status == CONEY_E_RETURNED ? &fits : &too_large) = size;
    }
    return fits;
}

/* That header becomes as large as a frame allows, with so many bytes free. */
static void send_filled(coney_table *headers, const char *name, const char *text, size_t spare)
{
    set_text(headers, name, find_largest(headers, name, text) - spare);
    assert_ok(send_to(listening.queue, headers, text));
    coney_table_free(headers);
}

static void send_full(coney_table *headers, const char *text)
{
    send_filled(headers, "last", text, 0);
}

static amqp_message_t get_parked(void)
{
    test_wait_for_depth(parking, 1);
    test_wait_until(listening_statistics().acknowledged >= 1);
    assert_int_equal(listening_statistics().requeued, 0);
    listening_expect_nothing_left();
    return plain_get(parking);
}

static void test_message_that_is_to_be_parked_loses_the_header_that_does_not_fit(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.retry = {.max_attempts = 2, .first_delay_ms = 2, .parking_queue = parking}});
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "first", "stays"));
    assert_ok(coney_table_set_string(headers, "__TypeId__", "order"));
    send_full(headers, "fail");
    amqp_message_t copy = get_parked();
    assert_int_equal(listening.count, 2);
    plain_expect_text(copy.properties.message_id, "m-1");
    plain_expect_text(copy.body, "fail");
    plain_expect_header(&copy, "first", "stays");
    plain_expect_header(&copy, "__TypeId__", "order");
    plain_expect_header(&copy, CONEY_HEADER_EXCEPTION_MESSAGE, "no stock for fail");
    plain_expect_header(&copy, CONEY_HEADER_LEFT_OUT, "1 header: last");
    assert_int_equal(plain_number_header(&copy, CONEY_HEADER_ATTEMPTS), 2);
    assert_null(plain_header(&copy, "last"));
    amqp_destroy_message(&copy);
    test_log_expect("message 'm-1' leave no room");
    test_log_expect("1 header: last");
}

/* In their order, as far as they fit. What tells how to read the message fits before all others. (RabbitMQ 4.0 sorts
 * headers by their names.) */
static void test_headers_of_the_sender_stay_in_their_order_as_long_as_they_fit(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.max_attempts = 1, .parking_queue = parking}});
    coney_table *headers = coney_table_new();
    char name[32];
    for (int i = 0; i < PIECES; i++) {
        snprintf(name, sizeof name, "a-piece-%02d", i);
        set_text(headers, name, PIECE);
    }
    set_text(headers, "large", FRAME / 5);
    assert_ok(coney_table_set_string(headers, "small", "stays"));
    assert_ok(coney_table_set_string(headers, "__TypeId__", "order"));
    send_full(headers, "fail");
    amqp_message_t copy = get_parked();
    for (int i = 0; i < PIECES; i++) {
        snprintf(name, sizeof name, "a-piece-%02d", i);
        assert_non_null(plain_header(&copy, name));
    }
    plain_expect_header(&copy, "small", "stays");
    plain_expect_header(&copy, "__TypeId__", "order");
    amqp_destroy_message(&copy);
}

static void test_unreadable_message_is_parked_without_the_header_that_does_not_fit(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.converter = coney_json_converter(), .retry = {.parking_queue = parking}});
    send_full(coney_table_new(), "{\"n\":");
    amqp_message_t copy = get_parked();
    assert_int_equal(listening.count, 0);
    plain_expect_text(copy.body, "{\"n\":");
    plain_expect_header(&copy, CONEY_HEADER_LEFT_OUT, "1 header: last");
    amqp_destroy_message(&copy);
}

static void test_header_that_is_put_in_first_and_does_not_fit_is_named_once(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.max_attempts = 1, .parking_queue = parking}});
    send_filled(coney_table_new(), "__TypeId__", "fail", 0);
    amqp_message_t copy = get_parked();
    plain_expect_header(&copy, CONEY_HEADER_LEFT_OUT, "1 header: __TypeId__");
    amqp_destroy_message(&copy);
}

#define LONG_NAME "a-rather-long-name-of-a-header-"

static coney_table *many_headers(void)
{
    coney_table *headers = coney_table_new();
    char name[64];
    set_text(headers, "a-large", FRAME - 9400);
    for (int i = 0; i < PIECES; i++) {
        snprintf(name, sizeof name, LONG_NAME "%02d", i);
        set_text(headers, name, PIECE / 20);
    }
    return headers;
}

/* "12 headers: NAME, NAME, NAME and 9 more" */
static void expect_whole_names(const char *text)
{
    int total = 0, more = 0, named = 0, used = 0;
    assert_int_equal(sscanf(text, "%d headers: %n", &total, &used), 1);
    const char *at = text + used;
    for (; strncmp(at, LONG_NAME, strlen(LONG_NAME)) == 0; named++) {
        at += strlen(LONG_NAME) + 2;
        at += strncmp(at, ", ", 2) == 0 ? 2 : 0;
    }
    assert_true(named > 0);
    assert_int_equal(sscanf(at, " and %d more%n", &more, &used), 1);
    assert_int_equal(strlen(at), used);
    assert_int_equal(named + more, total);
}

static void copy_left_out(char *text, size_t size, const amqp_message_t *copy)
{
    const amqp_field_value_t *value = plain_header(copy, CONEY_HEADER_LEFT_OUT);
    assert_non_null(value);
    snprintf(text, size, "%.*s", (int)value->value.bytes.len, (const char *)value->value.bytes.bytes);
}

static void test_headers_left_out_are_named_whole_and_the_others_are_counted(void **state)
{
    (void)state;
    char text[512];
    listening_start(&(coney_listener){.retry = {.max_attempts = 1, .parking_queue = parking}});
    send_full(many_headers(), "fail");
    amqp_message_t copy = get_parked();
    copy_left_out(text, sizeof text, &copy);
    amqp_destroy_message(&copy);
    expect_whole_names(text);
}

/* With a smaller frame several copies are made, of which one is published. */
static void test_log_tells_of_the_copy_that_is_published_only(void **state)
{
    (void)state;
    char text[512];
    coney_connection_factory *large = client.factory, *small = NULL;
    assert_ok(
        coney_connection_factory_new(&small, test_uri(), &(coney_connection_factory_options){.frame_max = 16384}));
    test_log_start(CONEY_LOG_WARN);
    client.factory = small;
    listening_start(&(coney_listener){.retry = {.max_attempts = 1, .parking_queue = parking}});
    client.factory = large;
    send_full(many_headers(), "fail");
    amqp_message_t copy = get_parked();
    copy_left_out(text, sizeof text, &copy);
    amqp_destroy_message(&copy);
    coney_connection_factory_free(small);
    assert_int_equal(test_log_count("its copy goes without"), 1);
    test_log_expect(text);
    test_log_expect("put large data into the body");
}

/* There is room for all but the reason. */
static void test_log_tells_that_a_copy_goes_without_its_reason(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.retry = {.max_attempts = 1, .parking_queue = parking}});
    send_filled(coney_table_new(), "last", "fail", 90 + strlen(listening.queue));
    amqp_message_t copy = get_parked();
    assert_non_null(plain_header(&copy, "last"));
    assert_null(plain_header(&copy, CONEY_HEADER_EXCEPTION_MESSAGE));
    assert_null(plain_header(&copy, CONEY_HEADER_LEFT_OUT));
    amqp_destroy_message(&copy);
    test_log_expect("message 'm-1' leave no room");
    test_log_expect("its copy goes without x-exception-message");
}

static void test_message_goes_up_the_ladder_and_is_parked(void **state)
{
    (void)state;
    listening_other_queue("retry.50");
    listening_other_queue("retry.100");
    listening_start(&(coney_listener){.retry = {.max_attempts = 1, .delays_ms = {50, 100}, .parking_queue = parking}});
    send_full(coney_table_new(), "fail");
    listening_wait_for_calls(3);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    amqp_message_t copy = get_parked();
    assert_int_equal(plain_number_header(&copy, CONEY_HEADER_ATTEMPTS), 3);
    amqp_destroy_message(&copy);
}

/* ---- more entries than are read ---- */

enum { ENTRIES = 10000, NESTED = 100 }; /* the most that Coney reads, without those of x-death */

/* The broker adds more when the copy comes from its rung. */
static void expect_to_come_round(coney_table *table, const char *left_out)
{
    listening_other_queue("retry.50");
    listening_start(&(coney_listener){.retry = {.max_attempts = 1, .delays_ms = {50}, .parking_queue = parking}});
    assert_ok(send_to(listening.queue, table, "fail"));
    coney_table_free(table);
    amqp_message_t copy = get_parked();
    listening_expect_attempts((const int[]){1, 2, 0});
    char text[512];
    copy_left_out(text, sizeof text, &copy);
    assert_non_null(strstr(text, left_out));
    amqp_destroy_message(&copy);
}

static void test_message_with_as_many_headers_as_are_read_comes_round(void **state)
{
    (void)state;
    char name[32];
    coney_table *headers = coney_table_new();
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(name, sizeof name, "h%d", i);
        assert_ok(coney_table_set(headers, name, &(coney_value){.type = CONEY_VOID}));
    }
    expect_to_come_round(headers, "32 headers: h");
}

static void test_message_with_as_many_nested_entries_as_are_read_comes_round(void **state)
{
    (void)state;
    char name[32];
    coney_table *headers = coney_table_new();
    coney_array *array = coney_array_new();
    for (int i = 1; i < NESTED; i++)
        assert_ok(coney_array_append(array, &(coney_value){.type = CONEY_VOID}));
    for (int i = 0; i < ENTRIES / NESTED; i++) {
        snprintf(name, sizeof name, "nest-%02d", i);
        assert_ok(coney_table_set(headers, name, &(coney_value){.type = CONEY_ARRAY, .as.array = array}));
    }
    coney_array_free(array);
    expect_to_come_round(headers, "1 header: nest-99");
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define full_test(test) cmocka_unit_test_setup_teardown(test, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        full_test(test_message_that_is_to_be_parked_loses_the_header_that_does_not_fit),
        full_test(test_headers_of_the_sender_stay_in_their_order_as_long_as_they_fit),
        full_test(test_unreadable_message_is_parked_without_the_header_that_does_not_fit),
        full_test(test_header_that_is_put_in_first_and_does_not_fit_is_named_once),
        full_test(test_headers_left_out_are_named_whole_and_the_others_are_counted),
        full_test(test_log_tells_of_the_copy_that_is_published_only),
        full_test(test_log_tells_that_a_copy_goes_without_its_reason),
        full_test(test_message_goes_up_the_ladder_and_is_parked),
        full_test(test_message_with_as_many_headers_as_are_read_comes_round),
        full_test(test_message_with_as_many_nested_entries_as_are_read_comes_round),
    };
    return test_run_with_workers("headers that fill a frame", tests, test_client_setup, teardown);
}
