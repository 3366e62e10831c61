/* SPDX-License-Identifier: MIT */
/* The outbound buffer with bodies that are not copied: whatever so much at a time is written, the stream is the one
 * that copying makes. */
#include "rabbit/connection/outbound.h"
#include "support/test_support.h"

#include <string.h>

enum { FRAME_MAX = 4096, MOST = 5, CHANNEL = 3 };

static cny_outbound out;
static cny_buffer expected, seen;

static int setup(void **state)
{
    (void)state;
    out = (cny_outbound){0};
    expected = seen = (cny_buffer){0};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cny_outbound_free(&out);
    cny_buffer_free(&expected);
    cny_buffer_free(&seen);
    return 0;
}

static void add_heartbeat(void)
{
    assert_ok(cny_encode_heartbeat(&out.bytes));
    assert_ok(cny_encode_heartbeat(&expected));
}

static void add_body(size_t size)
{
    static const uint8_t head[20] = "method and header";
    static char body[3 * FRAME_MAX];
    for (size_t i = 0; i < size; i++)
        body[i] = (char)('a' + (i + size) % 26);
    coney_message *message;
    assert_ok(coney_message_new(&message, body, size, NULL));
    assert_true(cny_outbound_reserve(&out, sizeof head, message, FRAME_MAX));
    assert_true(cny_buffer_append(&out.bytes, head, sizeof head));
    assert_true(cny_buffer_append(&expected, head, sizeof head));
    cny_outbound_add_body(&out, CHANNEL, FRAME_MAX, message);
    assert_ok(cny_encode_body(&expected, CHANNEL, FRAME_MAX, message));
    coney_message_unref(message); /* the outbound buffer has its own references */
}

/* As a socket that takes so many bytes at most each time. */
static void write_by(size_t most)
{
    while (!cny_outbound_is_written(&out)) {
        struct iovec pieces[MOST];
        size_t size, taken = 0;
        size_t count = cny_outbound_gather(&out, pieces, MOST, &size);
        assert_int_in_range(count, 1, MOST);
        for (size_t i = 0; i < count && taken < most; i++) {
            size_t length = pieces[i].iov_len < most - taken ? pieces[i].iov_len : most - taken;
            assert_true(length > 0);
            assert_true(cny_buffer_append(&seen, pieces[i].iov_base, length));
            taken += length;
        }
        cny_outbound_advance(&out, taken);
    }
    assert_int_equal(seen.size, expected.size);
    assert_memory_equal(seen.data, expected.data, seen.size);
}

static void test_stream_is_the_same_whatever_the_socket_takes(void **state)
{
    static const size_t takes[] = {1, 2, 7, 8, 9, 4095, 4096, 4097, 5000, 100000};
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        setup(state);
        add_heartbeat();
        add_body(1);
        add_body((size_t)3 * FRAME_MAX);
        add_heartbeat();
        add_body(FRAME_MAX - CNY_FRAME_OVERHEAD);
        write_by(takes[i]);
        teardown(state);
    }
}

static void test_body_may_come_first_and_last(void **state)
{
    (void)state;
    add_body((size_t)2 * FRAME_MAX);
    add_body(10);
    write_by(1000);
}

static void test_cleared_buffer_begins_anew(void **state)
{
    (void)state;
    add_body(10);
    cny_outbound_advance(&out, 9);
    cny_outbound_clear(&out);
    assert_true(cny_outbound_is_written(&out));
    expected.size = 0;
    add_heartbeat();
    add_body(20);
    write_by(3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stream_is_the_same_whatever_the_socket_takes),
        cmocka_unit_test_setup_teardown(test_body_may_come_first_and_last, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cleared_buffer_begins_anew, setup, teardown),
    };
    return cmocka_run_group_tests_name("outbound", tests, NULL, NULL);
}
