/* SPDX-License-Identifier: MIT */
/* How many entries the headers of a message may have, and what a message that has come really holds in memory: a void
 * takes one byte of a frame and much more than that here. */
#include "support/test_support.h"
#include "wire/rabbitmq_c.h"

enum { MOST = 10000, FRAME_MAX = 131072 };

static cny_wire *wire;
static cny_buffer table; /* the encoded headers */

static int start(void **state)
{
    (void)state;
    wire = cny_wire_new();
    wire->limits = (cny_wire_limits){.channel_max = 1, .frame_max = FRAME_MAX};
    wire->max_message_bytes = FRAME_MAX;
    wire->input = cny_alloc(2 * (size_t)FRAME_MAX);
    return 0;
}

static int finish(void **state)
{
    (void)state;
    cny_buffer_free(&table);
    cny_wire_free(wire);
    return 0;
}

/* ---- encoding ---- */

static void put(const void *bytes, size_t size)
{
    assert_true(cny_buffer_append(&table, bytes, size));
}

static void put_u32(size_t number)
{
    const uint8_t bytes[] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
    put(bytes, sizeof bytes);
}

static void put_name(const char *name)
{
    const uint8_t size = (uint8_t)strlen(name);
    put(&size, 1);
    put(name, size);
}

static void put_voids(const char *name, size_t count)
{
    put_name(name);
    put("A", 1);
    put_u32(count);
    for (size_t i = 0; i < count; i++)
        put("V", 1);
}

/* Begins with a table, as the broker's x-death does. */
static void put_deaths(size_t count)
{
    put_name("x-death");
    put("A", 1);
    put_u32(5 + count - 1);
    put("F\0\0\0\0", 5);
    for (size_t i = 1; i < count; i++)
        put("V", 1);
}

static void put_true(const char *name)
{
    put_name(name);
    put("t\1", 2);
}

/* An array of arrays, each of them empty. */
static void put_empty_arrays(const char *name, size_t count)
{
    put_name(name);
    put("A", 1);
    put_u32(5 * count);
    for (size_t i = 0; i < count; i++)
        put("A\0\0\0\0", 5);
}

static void feed(uint8_t type, const void *payload, size_t size)
{
    uint8_t *at = wire->input + wire->input_end;
    const uint8_t header[] = {type,         0, 1, (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8),
                              (uint8_t)size};
    memcpy(at, header, sizeof header);
    memcpy(at + sizeof header, payload, size);
    at[sizeof header + size] = AMQP_FRAME_END;
    wire->input_end += size + CNY_FRAME_OVERHEAD;
}

/* The delivery of a message without a body that has these headers. */
static coney_message *deliver(void)
{
    static const uint8_t method[] = {0, 60, 0, 60, 1, 't', 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 'e', 1, 'k'};
    static const uint8_t head[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0};
    cny_buffer header = {0}, entries = table;
    table = (cny_buffer){0};
    put(head, sizeof head);
    put_u32(entries.size);
    put(entries.data, entries.size);
    cny_buffer_swap(&header, &table);
    feed(AMQP_FRAME_METHOD, method, sizeof method);
    feed(AMQP_FRAME_HEADER, header.data, header.size);
    cny_buffer_free(&entries);
    cny_buffer_free(&header);
    cny_incoming incoming;
    bool complete;
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_true(complete);
    assert_non_null(incoming.message);
    return incoming.message;
}

/* ---- the limit ---- */

static void test_as_many_entries_as_allowed_are_read(void **state)
{
    (void)state;
    put_voids("many", MOST - 1); /* which is an entry, too */
    coney_message *message = deliver();
    assert_null(message->defect);
    assert_int_equal(coney_array_size(coney_message_header(message, "many")->as.array), MOST - 1);
    coney_message_unref(message);
}

static void test_message_with_more_entries_is_unreadable(void **state)
{
    (void)state;
    put_voids("many", MOST);
    coney_message *message = deliver();
    assert_non_null(message->defect);
    assert_string_equal(message->defect, "its headers have more than 10000 entries");
    assert_int_equal(coney_array_size(coney_message_header(message, "many")->as.array), MOST - 1);
    coney_message_unref(message);
}

static void test_names_without_end_are_entries(void **state)
{
    (void)state;
    for (int i = 0; i <= MOST; i++)
        put_true("name");
    coney_message *message = deliver();
    assert_non_null(message->defect);
    assert_string_equal(message->defect, "its headers have more than 10000 entries");
    assert_int_equal(coney_table_size(message->properties.headers), MOST);
    coney_message_unref(message);
}

static void test_first_headers_and_x_death_stay_readable(void **state)
{
    (void)state;
    put_true("first");
    put_empty_arrays("many", MOST);
    put_true("later");
    put_deaths(3);
    coney_message *message = deliver();
    assert_non_null(message->defect);
    assert_non_null(coney_message_header(message, "first"));
    assert_int_equal(coney_array_size(coney_message_header(message, "many")->as.array), MOST - 2);
    assert_null(coney_message_header(message, "later"));
    assert_int_equal(coney_array_size(coney_message_header(message, "x-death")->as.array), 3);
    coney_message_unref(message);
}

/* The broker adds it to what a publisher was allowed to send. */
static void test_x_death_takes_no_room_from_other_headers(void **state)
{
    (void)state;
    put_deaths(3);
    put_voids("many", MOST - 1);
    coney_message *message = deliver();
    assert_null(message->defect);
    assert_int_equal(coney_array_size(coney_message_header(message, "many")->as.array), MOST - 1);
    coney_message_unref(message);
}

/* The broker's latest deaths are the first ones. */
static void test_first_deaths_of_more_than_may_be_stay_readable(void **state)
{
    (void)state;
    put_true("first");
    put_deaths(2 * (size_t)MOST);
    put_deaths(MOST);
    coney_message *message = deliver();
    assert_non_null(message->defect);
    assert_non_null(coney_message_header(message, "first"));
    assert_int_equal(coney_table_size(message->properties.headers), 2);
    assert_int_equal(coney_array_size(coney_message_header(message, "x-death")->as.array), MOST - 1);
    coney_message_unref(message);
}

/* ---- what it holds ---- */

static void test_message_weighs_what_its_headers_take_in_memory(void **state)
{
    (void)state;
    put_voids("many", MOST - 1);
    coney_message *message = deliver();
    assert_int_in_range(cny_message_weight(message), MOST * sizeof(coney_value),
                        2 * (size_t)MOST * sizeof(coney_value));
    coney_message_unref(message);
}

static void test_unreadable_message_weighs_what_is_read_of_it(void **state)
{
    (void)state;
    put_true("first");
    put_voids("many", 100000);
    coney_message *message = deliver();
    assert_int_in_range(cny_message_weight(message), 0, 2 * (size_t)MOST * sizeof(coney_value));
    coney_message_unref(message);
}

static void test_message_made_here_weighs_its_body_and_what_it_shares(void **state)
{
    (void)state;
    enum { BODY = 5000 };
    static const char body[BODY];
    coney_message *message, *copy;
    assert_ok(coney_message_new(&message, body, sizeof body, NULL));
    assert_int_in_range(cny_message_weight(message), BODY, BODY + 1024);
    assert_ok(coney_message_with(&copy, message, NULL, NULL, 0));
    assert_int_in_range(cny_message_weight(copy), BODY, BODY + 2048);
    coney_message_unref(copy);
    coney_message_unref(message);
}

/* ---- what decoding leaves behind ---- */

static void test_memory_for_decoding_is_given_back(void **state)
{
    (void)state;
    for (int i = 0; i < 13000; i++) /* tables of one entry each, which go into small pieces of memory */
        put("\1nF\0\0\0\3\1xV", 10);
    coney_message_unref(deliver());
    assert_int_in_range(wire->pool.pages.num_blocks, 0, 32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_as_many_entries_as_allowed_are_read, start, finish),
        cmocka_unit_test_setup_teardown(test_message_with_more_entries_is_unreadable, start, finish),
        cmocka_unit_test_setup_teardown(test_names_without_end_are_entries, start, finish),
        cmocka_unit_test_setup_teardown(test_first_headers_and_x_death_stay_readable, start, finish),
        cmocka_unit_test_setup_teardown(test_x_death_takes_no_room_from_other_headers, start, finish),
        cmocka_unit_test_setup_teardown(test_first_deaths_of_more_than_may_be_stay_readable, start, finish),
        cmocka_unit_test_setup_teardown(test_message_weighs_what_its_headers_take_in_memory, start, finish),
        cmocka_unit_test_setup_teardown(test_unreadable_message_weighs_what_is_read_of_it, start, finish),
        cmocka_unit_test_setup_teardown(test_message_made_here_weighs_its_body_and_what_it_shares, start, finish),
        cmocka_unit_test_setup_teardown(test_memory_for_decoding_is_given_back, start, finish),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
