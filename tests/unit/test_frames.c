/* SPDX-License-Identifier: MIT */
/* Frames of all sizes, read from a socket in pieces as small as one byte. */
#include "support/test_support.h"
#include "wire/rabbitmq_c.h"

#include <sys/socket.h>
#include <unistd.h>

#define MIB ((size_t)1024 * 1024)

enum { FRAME_MAX = 4096, CHUNK = 50000, MAX_MESSAGES = 4 };

static cny_wire *wire;
static int broker; /* the other end of the wire's socket */
static size_t usual_input, largest_input;
static coney_message *messages[MAX_MESSAGES];
static int message_count;

static int start(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    wire = cny_wire_new();
    wire->socket = cny_descriptor_of(ends[0]);
    broker = ends[1];
    wire->limits = (cny_wire_limits){.channel_max = 1, .frame_max = FRAME_MAX};
    wire->max_message_bytes = 64 * MIB;
    assert_ok(cny_wire_make_input(wire));
    usual_input = largest_input = wire->input_size;
    return 0;
}

static int finish(void **state)
{
    (void)state;
    for (int i = 0; i < message_count; i++)
        coney_message_unref(messages[i]);
    message_count = 0;
    cny_wire_free(wire);
    close(broker);
    return 0;
}

/* ---- what the broker says ---- */

/* Everything that can be told of what was read. */
static coney_status take_all(void)
{
    cny_incoming incoming;
    bool complete = true;
    while (complete) {
        coney_status status = cny_wire_next(wire, &incoming, &complete);
        if (status != CONEY_OK)
            return status;
        if (incoming.message)
            messages[message_count++] = incoming.message;
        largest_input = wire->input_size > largest_input ? wire->input_size : largest_input;
    }
    return CONEY_OK;
}

static coney_status say_in(size_t chunk, const uint8_t *bytes, size_t size)
{
    coney_status status = CONEY_OK;
    for (size_t at = 0; at < size && status == CONEY_OK;) {
        size_t part = size - at < chunk ? size - at : chunk, received = 0;
        assert_int_equal(write(broker, bytes + at, part), part);
        for (size_t left = part; left > 0 && status == CONEY_OK; left -= received) {
            status = cny_wire_read(wire, &received);
            if (status == CONEY_OK)
                status = take_all();
        }
        at += part;
    }
    return status;
}

static uint8_t *put_u32(uint8_t *at, size_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
    return at + 4;
}

/* Makes a frame of so many bytes of payload, which is to be filled in; to be freed. */
static uint8_t *make_frame(uint8_t type, size_t size)
{
    uint8_t *frame = cny_alloc(size + CNY_FRAME_OVERHEAD);
    frame[0] = type;
    frame[2] = 1;
    put_u32(frame + 3, size);
    frame[size + CNY_FRAME_HEADER_BYTES] = AMQP_FRAME_END;
    return frame;
}

static coney_status say_frame(size_t chunk, uint8_t *frame)
{
    size_t size = cny_get_u32(frame + 3) + CNY_FRAME_OVERHEAD;
    coney_status status = say_in(chunk, frame, size);
    cny_free(frame);
    return status;
}

static coney_status say_deliver(void)
{
    static const uint8_t deliver[] = {0, 60, 0, 60, 1, 't', 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 'e', 1, 'k'};
    uint8_t *frame = make_frame(AMQP_FRAME_METHOD, sizeof deliver);
    memcpy(frame + CNY_FRAME_HEADER_BYTES, deliver, sizeof deliver);
    return say_frame(CHUNK, frame);
}

/* A content header whose only property is a table with one text, and which has so many bytes. */
static uint8_t *make_header(size_t body_size, size_t size)
{
    enum { WITHOUT_TEXT = 14 + 4 + 2 + 1 + 4 };
    uint8_t *frame = make_frame(AMQP_FRAME_HEADER, size), *at = frame + CNY_FRAME_HEADER_BYTES;
    at[1] = 60;
    put_u32(at + 8, body_size);
    at[12] = 0x20; /* headers */
    at = put_u32(at + 14, size - 14 - 4);
    at[0] = 1;
    at[1] = 'f';
    at[2] = 'S';
    at = put_u32(at + 3, size - WITHOUT_TEXT);
    memset(at, 'x', size - WITHOUT_TEXT);
    return frame;
}

static coney_status say_header(size_t body_size, size_t size)
{
    return say_frame(CHUNK, make_header(body_size, size));
}

static coney_status say_body(size_t chunk, const void *body, size_t size)
{
    uint8_t *frame = make_frame(AMQP_FRAME_BODY, size);
    memcpy(frame + CNY_FRAME_HEADER_BYTES, body, size);
    return say_frame(chunk, frame);
}

static void expect_whole_message_after(void)
{
    int before = message_count;
    assert_ok(say_deliver());
    assert_ok(say_header(4, 40));
    assert_ok(say_body(CHUNK, "text", 4));
    assert_int_equal(message_count, before + 1);
    assert_memory_equal(messages[before]->body, "text", 4);
    assert_null(messages[before]->defect);
}

/* ---- bodies ---- */

static void test_message_that_comes_byte_by_byte_is_whole(void **state)
{
    (void)state;
    assert_ok(say_deliver());
    assert_ok(say_frame(1, make_header(10, 40)));
    assert_ok(say_body(1, "ten ", 4));
    assert_ok(say_body(1, "", 0));
    assert_ok(say_body(1, "bytes!", 6));
    assert_int_equal(message_count, 1);
    assert_memory_equal(messages[0]->body, "ten bytes!", sizeof "ten bytes!");
    assert_null(messages[0]->defect);
}

static void test_body_frame_of_any_size_is_read(void **state)
{
    (void)state;
    const size_t size = 5 * MIB;
    char *body = cny_alloc(size);
    for (size_t i = 0; i < size; i++)
        body[i] = (char)(i * 7 >> 3);
    assert_ok(say_deliver());
    assert_ok(say_header(size, 40));
    assert_ok(say_body(CHUNK, body, size));
    assert_int_equal(message_count, 1);
    assert_memory_equal(messages[0]->body, body, size);
    cny_free(body);
    assert_int_equal(largest_input, usual_input);
    expect_whole_message_after();
}

/* Else a handler could see a message whose frame turns out to be none. */
static void test_message_is_not_whole_before_the_end_of_its_last_frame(void **state)
{
    (void)state;
    static const uint8_t body[] = {AMQP_FRAME_BODY, 0, 1, 0, 0, 0, 4, 't', 'e', 'x', 't', AMQP_FRAME_END};
    assert_ok(say_deliver());
    assert_ok(say_header(4, 40));
    assert_ok(say_in(CHUNK, body, sizeof body - 1));
    assert_int_equal(message_count, 0);
    assert_ok(say_in(CHUNK, body + sizeof body - 1, 1));
    assert_int_equal(message_count, 1);
}

static void test_body_frame_without_its_end_is_an_error(void **state)
{
    (void)state;
    static const uint8_t body[] = {AMQP_FRAME_BODY, 0, 1, 0, 0, 0, 4, 't', 'e', 'x', 't', 'x'};
    assert_ok(say_deliver());
    assert_ok(say_header(4, 40));
    assert_fails(say_in(3, body, sizeof body), CONEY_E_PROTOCOL, "without its end octet");
    assert_int_equal(message_count, 0);
}

static void test_body_frame_larger_than_its_message_is_an_error_at_once(void **state)
{
    (void)state;
    static const uint8_t body[] = {AMQP_FRAME_BODY, 0, 1, 0x40, 0, 0, 0, 't'};
    assert_ok(say_deliver());
    assert_ok(say_header(4, 40));
    assert_fails(say_in(CHUNK, body, sizeof body), CONEY_E_PROTOCOL, "more than the 4 bytes announced");
}

/* ---- content headers ---- */

static size_t size_of_text(const coney_message *message)
{
    const char *text = coney_table_get_string(message->properties.headers, "f");
    return text ? strlen(text) : 0;
}

static void test_content_header_larger_than_agreed_is_read(void **state)
{
    (void)state;
    assert_ok(say_deliver());
    assert_ok(say_header(0, 1000000));
    assert_int_equal(message_count, 1);
    assert_int_equal(size_of_text(messages[0]), 1000000 - 25);
    assert_null(messages[0]->defect);
}

static void test_content_header_at_the_limit_is_read(void **state)
{
    (void)state;
    assert_ok(say_deliver());
    assert_ok(say_header(0, CNY_LARGEST_HEADER_FRAME - CNY_FRAME_OVERHEAD));
    assert_int_equal(message_count, 1);
    assert_null(messages[0]->defect);
    assert_non_null(messages[0]->properties.headers);
}

static void test_input_shrinks_after_a_large_content_header(void **state)
{
    (void)state;
    assert_ok(say_deliver());
    assert_ok(say_header(0, 1000000));
    assert_true(largest_input > usual_input);
    assert_int_equal(wire->input_size, usual_input);
    expect_whole_message_after();
}

static void test_input_does_not_grow_for_what_is_here_already(void **state)
{
    (void)state;
    assert_ok(say_deliver());
    assert_ok(say_header(0, 100000));
    assert_int_equal(message_count, 1);
    assert_int_equal(largest_input, usual_input);
}

static void test_content_header_over_the_limit_costs_only_its_message(void **state)
{
    (void)state;
    assert_ok(say_deliver());
    assert_ok(say_header(4, 3 * MIB));
    assert_ok(say_body(CHUNK, "text", 4));
    assert_int_equal(message_count, 1);
    assert_string_equal(messages[0]->defect, "its content header has 3145728 bytes; Coney reads 1048576 at most");
    assert_int_equal(messages[0]->delivery_tag, 7);
    assert_string_equal(messages[0]->routing_key, "k");
    assert_null(messages[0]->properties.headers);
    assert_int_equal(largest_input, usual_input);
    expect_whole_message_after();
}

static void test_content_header_over_the_limit_may_come_byte_by_byte(void **state)
{
    (void)state;
    enum { BEGINNING = 100 };
    uint8_t *header = make_header(0, 2 * MIB);
    assert_ok(say_deliver());
    assert_ok(say_in(1, header, BEGINNING));
    assert_ok(say_in(CHUNK, header + BEGINNING, 2 * MIB + CNY_FRAME_OVERHEAD - BEGINNING));
    cny_free(header);
    assert_int_equal(message_count, 1);
    assert_non_null(messages[0]->defect);
    expect_whole_message_after();
}

static void test_content_header_over_the_limit_without_its_end_is_an_error(void **state)
{
    (void)state;
    uint8_t *header = make_header(0, 2 * MIB);
    header[2 * MIB + CNY_FRAME_HEADER_BYTES] = 'x';
    assert_ok(say_deliver());
    assert_fails(say_frame(CHUNK, header), CONEY_E_PROTOCOL, "without its end octet");
}

/* ---- methods ---- */

static void test_method_over_the_limit_is_an_error_before_it_comes(void **state)
{
    (void)state;
    static const uint8_t head[] = {AMQP_FRAME_METHOD, 0, 1, 0, 0x10, 0, 0};
    assert_fails(say_in(CHUNK, head, sizeof head), CONEY_E_PROTOCOL,
                 "a frame of 1048584 bytes; Coney reads 131072 at most");
    assert_int_equal(wire->input_size, usual_input);
}

static void test_no_memory_for_a_large_content_header_is_told(void **state)
{
    (void)state;
    uint8_t *header = make_header(0, 1000000);
    assert_ok(say_deliver());
    cny_alloc_fail_after(0);
    coney_status status = say_in(CHUNK, header, CHUNK);
    cny_alloc_fail_after(-1);
    cny_free(header);
    assert_fails(status, CONEY_E_NO_MEMORY, "memory");
}

int main(void)
{
#define frames_test(function) cmocka_unit_test_setup_teardown(function, start, finish)
    const struct CMUnitTest tests[] = {
        frames_test(test_message_that_comes_byte_by_byte_is_whole),
        frames_test(test_body_frame_of_any_size_is_read),
        frames_test(test_message_is_not_whole_before_the_end_of_its_last_frame),
        frames_test(test_body_frame_without_its_end_is_an_error),
        frames_test(test_body_frame_larger_than_its_message_is_an_error_at_once),
        frames_test(test_content_header_larger_than_agreed_is_read),
        frames_test(test_content_header_at_the_limit_is_read),
        frames_test(test_input_shrinks_after_a_large_content_header),
        frames_test(test_input_does_not_grow_for_what_is_here_already),
        frames_test(test_content_header_over_the_limit_costs_only_its_message),
        frames_test(test_content_header_over_the_limit_may_come_byte_by_byte),
        frames_test(test_content_header_over_the_limit_without_its_end_is_an_error),
        frames_test(test_method_over_the_limit_is_an_error_before_it_comes),
        frames_test(test_no_memory_for_a_large_content_header_is_told),
    };
    return cmocka_run_group_tests_name("frames", tests, NULL, NULL);
}
