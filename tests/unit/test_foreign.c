/* SPDX-License-Identifier: MIT */
/* What other clients may send: whatever can be read of it can be set again, and goes out byte for byte. */
#include "support/test_support.h"
#include "wire/rabbitmq_c.h"

enum { FRAME_MAX = 131072, ROUNDS = 300, MAX_LEVELS = 4 };

/* ---- chance, the same in every run ---- */

static uint64_t seed;

static uint32_t dice(uint32_t sides)
{
    seed = seed * 6364136223846793005U + 1442695040888963407U;
    return (uint32_t)(seed >> 33) % sides;
}

/* ---- bytes as another client would write them, and as Coney is to send them ---- */

typedef struct both {
    cny_buffer received, expected;
} both;

static void put(cny_buffer *to, const void *bytes, size_t size)
{
    assert_true(cny_buffer_append(to, bytes, size));
}

static void put_both(both *to, const void *bytes, size_t size)
{
    put(&to->received, bytes, size);
    put(&to->expected, bytes, size);
}

static void put_u8(both *to, uint8_t number)
{
    put_both(to, &number, 1);
}

static void put_u32(cny_buffer *to, uint32_t number)
{
    const uint8_t bytes[] = {(uint8_t)(number >> 24), (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number};
    put(to, bytes, sizeof bytes);
}

static void put_any(both *to, size_t size)
{
    while (size-- > 0)
        put_u8(to, (uint8_t)dice(256));
}

/* Any bytes but NUL, which AMQP does not allow there. */
static void put_short(both *to, uint8_t size)
{
    put_u8(to, size);
    while (size-- > 0)
        put_u8(to, (uint8_t)(1 + dice(255)));
}

static void put_long(both *to, const both *text)
{
    put_u32(&to->received, (uint32_t)text->received.size);
    put_u32(&to->expected, (uint32_t)text->expected.size);
    put(&to->received, text->received.data, text->received.size);
    put(&to->expected, text->expected.data, text->expected.size);
}

static void free_both(both *one)
{
    cny_buffer_free(&one->received);
    cny_buffer_free(&one->expected);
}

static void put_table(both *to, int levels);
static void put_items(both *to, int levels);

static void put_real(both *to, bool is_double)
{
    put_u8(to, (uint8_t)(dice(2) ? 0xc0 : 0x40)); /* no NaN, which a processor may change */
    put_any(to, is_double ? 7 : 3);
}

static void put_content(both *to, char kind, int levels)
{
    both text = {0};
    switch (kind) {
    case 't': put_u8(to, (uint8_t)dice(2)); break;
    case 'b': put_any(to, 1); break;
    case 's':
    case 'u': put_any(to, 2); break;
    case 'I':
    case 'i': put_any(to, 4); break;
    case 'l':
    case 'T': put_any(to, 8); break;
    case 'D': put_any(to, 5); break;
    case 'f':
    case 'd': put_real(to, kind == 'd'); break;
    case 'S':
    case 'x': put_any(&text, dice(20)), put_long(to, &text); break;
    case 'A': put_items(to, levels - 1); break;
    case 'F': put_table(to, levels - 1); break;
    default: break;
    }
    free_both(&text);
}

/* Two kinds go out as another one that holds the same number. */
static void put_value(both *to, int levels)
{
    static const char kinds[] = "VtbsuIilTDfdSxBLAF";
    char kind = kinds[dice(sizeof kinds - (levels > 0 ? 1 : 3))];
    uint8_t number = (uint8_t)dice(256);
    const uint8_t received[] = {'B', number}, expected[] = {'s', 0, number};
    if (kind == 'B') {
        put(&to->received, received, sizeof received);
        put(&to->expected, expected, sizeof expected);
    } else if (kind == 'L') {
        put(&to->received, "L", 1);
        put(&to->expected, "l", 1);
        put_any(to, 8);
    } else {
        put_u8(to, (uint8_t)kind);
        put_content(to, kind, levels);
    }
}

static void put_items(both *to, int levels)
{
    both items = {0};
    for (uint32_t count = dice(5); count > 0; count--)
        put_value(&items, levels);
    put_long(to, &items);
    free_both(&items);
}

static void put_table(both *to, int levels)
{
    both entries = {0};
    for (uint32_t count = dice(6); count > 0; count--) {
        uint8_t size = (uint8_t)dice(20);
        put_u8(&entries, (uint8_t)(size + 1));
        put_u8(&entries, (uint8_t)count); /* so no two names are alike */
        for (; size > 0; size--)
            put_u8(&entries, (uint8_t)(1 + dice(255)));
        put_value(&entries, levels);
    }
    put_long(to, &entries);
    free_both(&entries);
}

/* A content header with all properties but the user id, which is not sent on. Nor is the delivery mode: what is sent is
 * persistent. */
static void put_header(both *to)
{
    static const uint8_t fixed[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xec};
    put_both(to, fixed, sizeof fixed);
    put_short(to, (uint8_t)dice(256)); /* content type and encoding */
    put_short(to, (uint8_t)dice(256));
    put_table(to, MAX_LEVELS);
    put(&to->received, (const uint8_t[]){(uint8_t)(1 + dice(2))}, 1);
    put(&to->expected, (const uint8_t[]){CONEY_PERSISTENT}, 1);
    put_u8(to, (uint8_t)dice(256));
    put_short(to, (uint8_t)(1 + dice(255))); /* correlation id, reply-to, expiration, message id */
    put_short(to, (uint8_t)dice(256));
    put_both(to, "\00560000", 6);
    put_short(to, (uint8_t)dice(256));
    put_u8(to, (uint8_t)(dice(2) ? 0xff : 0x01)); /* a timestamp before 1970, and one after */
    put_any(to, 7);
    put_short(to, (uint8_t)dice(256)); /* type, app id, cluster id */
    put_short(to, (uint8_t)dice(256));
    put_short(to, (uint8_t)dice(256));
}

/* ---- reading and sending ---- */

static cny_wire *wire;

static int start(void **state)
{
    (void)state;
    wire = cny_wire_new();
    wire->limits = (cny_wire_limits){.channel_max = 1, .frame_max = FRAME_MAX};
    wire->input = cny_alloc((size_t)2 * FRAME_MAX);
    wire->max_message_bytes = 1;
    return 0;
}

static int finish(void **state)
{
    (void)state;
    cny_wire_free(wire);
    return 0;
}

static void feed(uint8_t type, const void *payload, size_t size)
{
    cny_buffer frame = {0};
    put(&frame, (const uint8_t[]){type, 0, 1}, 3);
    put_u32(&frame, (uint32_t)size);
    put(&frame, payload, size);
    put(&frame, (const uint8_t[]){AMQP_FRAME_END}, 1);
    memcpy(wire->input + wire->input_end, frame.data, frame.size);
    wire->input_end += frame.size;
    cny_buffer_free(&frame);
}

static coney_message *receive(const cny_buffer *header)
{
    static const uint8_t deliver[] = {0, 60, 0, 60, 1, 't', 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 'e', 1, 'k'};
    cny_incoming incoming;
    bool complete;
    wire->input_start = wire->input_end = 0;
    feed(AMQP_FRAME_METHOD, deliver, sizeof deliver);
    feed(AMQP_FRAME_HEADER, header->data, header->size);
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_true(complete);
    assert_null(incoming.message->defect);
    return incoming.message;
}

/* The frame of the method is as long as the one with empty names is. */
static void expect_sent(coney_message *message, const cny_buffer *header)
{
    enum { METHOD_FRAME = 4 + 2 + 1 + 1 + 1 + CNY_FRAME_OVERHEAD };
    cny_buffer out = {0};
    assert_ok(cny_encode_publish(&out, 1, FRAME_MAX, "", "", false, message));
    assert_int_equal(out.size, METHOD_FRAME + header->size + CNY_FRAME_OVERHEAD);
    assert_memory_equal(out.data + METHOD_FRAME + CNY_FRAME_HEADER_BYTES, header->data, header->size);
    cny_buffer_free(&out);
}

static void with_foreign_messages(void (*look_at)(coney_message *message, const cny_buffer *expected))
{
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        both header = {0};
        seed = round;
        put_header(&header);
        coney_message *message = receive(&header.received);
        look_at(message, &header.expected);
        coney_message_unref(message);
        free_both(&header);
    }
}

static void test_what_was_received_goes_out_byte_for_byte(void **state)
{
    (void)state;
    with_foreign_messages(expect_sent);
}

/* ---- setting ---- */

static coney_table *set_again(const coney_table *table);

static coney_array *append_again(const coney_array *array)
{
    coney_array *again = coney_array_new();
    for (size_t i = 0; i < coney_array_size(array); i++)
        assert_ok(coney_array_append(again, coney_array_at(array, i)));
    return again;
}

static void set_value_again(coney_table *again, const char *name, const coney_value *value)
{
    coney_table *table = value->type == CONEY_TABLE ? set_again(value->as.table) : NULL;
    coney_array *array = value->type == CONEY_ARRAY ? append_again(value->as.array) : NULL;
    if (table)
        assert_ok(coney_table_set_table(again, name, table));
    else if (array)
        assert_ok(coney_table_set_array(again, name, array));
    else
        assert_ok(coney_table_set(again, name, value));
    coney_table_free(table);
    coney_array_free(array);
}

static coney_table *set_again(const coney_table *table)
{
    coney_table *again = coney_table_new();
    for (size_t i = 0; i < coney_table_size(table); i++)
        set_value_again(again, coney_table_name_at(table, i), coney_table_value_at(table, i));
    return again;
}

static void make_again(coney_message *message, const cny_buffer *expected)
{
    coney_properties properties = *coney_message_properties(message);
    coney_table *headers = set_again(properties.headers);
    coney_message *made;
    properties.headers = headers;
    assert_ok(coney_message_new(&made, NULL, 0, &properties));
    expect_sent(made, expected);
    coney_message_unref(made);
    assert_ok(coney_message_with(&made, message, &properties, NULL, 0));
    expect_sent(made, expected);
    coney_message_unref(made);
    coney_table_free(headers);
}

static void test_what_was_received_can_be_set_and_goes_out_byte_for_byte(void **state)
{
    (void)state;
    with_foreign_messages(make_again);
}

static void set_each_header(coney_message *message, const cny_buffer *expected)
{
    const coney_table *headers = coney_message_properties(message)->headers;
    coney_message *made;
    (void)expected;
    for (size_t i = 0; i < coney_table_size(headers); i++) {
        const char *name = coney_table_name_at(headers, i);
        assert_ok(coney_message_with_header(&made, message, name, coney_table_value_at(headers, i)));
        assert_int_equal(coney_message_header(made, name)->type, coney_table_value_at(headers, i)->type);
        coney_message_unref(made);
    }
}

static void test_each_received_header_can_be_set_on_a_message(void **state)
{
    (void)state;
    with_foreign_messages(set_each_header);
}

/* The deepest that is read: a header of one level fewer than a table may have. */
static void test_deepest_header_that_is_read_can_be_set(void **state)
{
    (void)state;
    both table = {0};
    put_long(&table, &(both){0});
    for (int i = 1; i < CONEY_MAX_NESTING; i++) {
        both outer = {0};
        put_both(&outer, "\1nF", 3);
        put_both(&outer, table.received.data, table.received.size);
        free_both(&table);
        put_long(&table, &outer);
        free_both(&outer);
    }
    both header = {0};
    static const uint8_t fixed[] = {0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0};
    put_both(&header, fixed, sizeof fixed);
    put_both(&header, table.received.data, table.received.size);
    coney_message *message = receive(&header.received);
    set_each_header(message, NULL);
    coney_message_unref(message);
    free_both(&header);
    free_both(&table);
}

int main(void)
{
#define foreign_test(function) cmocka_unit_test_setup_teardown(function, start, finish)
    const struct CMUnitTest tests[] = {
        foreign_test(test_what_was_received_goes_out_byte_for_byte),
        foreign_test(test_what_was_received_can_be_set_and_goes_out_byte_for_byte),
        foreign_test(test_each_received_header_can_be_set_on_a_message),
        foreign_test(test_deepest_header_that_is_read_can_be_set),
    };
    return cmocka_run_group_tests_name("foreign", tests, NULL, NULL);
}
