/* SPDX-License-Identifier: MIT */
/* Where the consumer of a stream goes on: at the lowest offset that is not acknowledged, in whatever order messages
 * are. */
#include "support/test_support.h"

#include "rabbit/listener/handling/memory.h"

enum { NO_OFFSET = -1 };

static cny_position position;
static coney_table *arguments;
static const cny_channel *const channel = (const cny_channel *)(const void *)&position; /* only compared */
static uint64_t last_tag;

static int setup(void **state)
{
    (void)state;
    arguments = coney_table_new();
    last_tag = 0;
    assert_ok(coney_table_set_string(arguments, "x-stream-offset", "first"));
    position = (cny_position){0};
    cny_position_init(&position);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cny_position_free(&position);
    coney_table_free(arguments);
    return 0;
}

/* A message with the next delivery tag comes. */
static void take(int64_t offset)
{
    coney_message *message;
    coney_properties properties = {.headers = NULL};
    coney_table *headers = coney_table_new();
    if (offset != NO_OFFSET) {
        assert_ok(coney_table_set_int64(headers, "x-stream-offset", offset));
        properties.headers = headers;
    }
    assert_ok(coney_message_new(&message, "", 0, &properties));
    message->delivery_tag = ++last_tag;
    assert_true(cny_position_take(&position, channel, &message, 1));
    coney_message_unref(message);
    coney_table_free(headers);
}

static void pass(uint64_t tag)
{
    cny_position_pass(&position, channel, tag);
}

/* With which x-stream-offset the consumer would subscribe; its messages begin with tag 1 then. */
static int64_t begin(void)
{
    const coney_table *resumed = arguments;
    cny_arena arena = {0};
    assert_ok(cny_position_begin(&position, &arena, &resumed));
    int64_t offset = coney_table_get_int64(resumed, "x-stream-offset", NO_OFFSET);
    if (offset == NO_OFFSET)
        assert_string_equal(coney_table_get_string(resumed, "x-stream-offset"), "first");
    cny_arena_free(&arena);
    last_tag = 0;
    return offset;
}

static void test_it_begins_as_the_arguments_say(void **state)
{
    (void)state;
    assert_int_equal(begin(), NO_OFFSET);
    assert_int_equal(begin(), NO_OFFSET);
}

static void test_it_goes_on_at_the_first_message_if_none_is_acknowledged(void **state)
{
    (void)state;
    take(100);
    take(101);
    assert_int_equal(begin(), 100);
    assert_int_equal(begin(), 100); /* nothing has come since */
}

static void test_it_goes_on_after_the_last_message_if_all_are_acknowledged(void **state)
{
    (void)state;
    take(100);
    take(107); /* others are filtered out */
    pass(1);
    pass(2);
    assert_int_equal(begin(), 108);
}

static void test_it_goes_on_at_the_lowest_that_is_not_acknowledged(void **state)
{
    (void)state;
    for (int64_t offset = 0; offset < 6; offset++)
        take(offset);
    pass(1);
    pass(5);
    pass(3);
    pass(3); /* once more is nothing */
    pass(77);
    assert_int_equal(begin(), 1);
    take(1);
    take(2);
    pass(2);
    pass(1);
    assert_int_equal(begin(), 3);
}

static void test_acknowledgement_on_an_earlier_channel_counts_for_nothing(void **state)
{
    (void)state;
    take(5);
    assert_int_equal(begin(), 5);
    take(5);
    cny_position_pass(&position, NULL, 1);
    assert_int_equal(begin(), 5);
}

static void test_message_whose_headers_cannot_be_read_is_not_left_out(void **state)
{
    (void)state;
    take(NO_OFFSET);
    assert_int_equal(begin(), NO_OFFSET);
    take(40);
    take(NO_OFFSET);
    take(42);
    pass(1);
    pass(3);
    assert_int_equal(begin(), 41);
}

static void test_stream_that_is_gone_is_read_from_its_beginning(void **state)
{
    (void)state;
    cny_position_restart(&position);
    assert_int_equal(begin(), NO_OFFSET);
    take(8);
    cny_position_restart(&position);
    pass(1); /* what came before the end is still handled */
    assert_int_equal(begin(), 0);
}

/* Many more than the prefetch, while the first of them waits. */
static void test_any_number_may_be_acknowledged_after_one_that_is_not(void **state)
{
    (void)state;
    for (int64_t offset = 0; offset < 20000; offset++) {
        take(offset);
        if (offset != 1)
            pass((uint64_t)offset + 1);
    }
    assert_int_equal(begin(), 1);
}

int main(void)
{
#define position_test(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        position_test(test_it_begins_as_the_arguments_say),
        position_test(test_it_goes_on_at_the_first_message_if_none_is_acknowledged),
        position_test(test_it_goes_on_after_the_last_message_if_all_are_acknowledged),
        position_test(test_it_goes_on_at_the_lowest_that_is_not_acknowledged),
        position_test(test_acknowledgement_on_an_earlier_channel_counts_for_nothing),
        position_test(test_message_whose_headers_cannot_be_read_is_not_left_out),
        position_test(test_stream_that_is_gone_is_read_from_its_beginning),
        position_test(test_any_number_may_be_acknowledged_after_one_that_is_not),
    };
    return cmocka_run_group_tests_name("position", tests, NULL, NULL);
}
