/* SPDX-License-Identifier: MIT */
/* The broker adds headers to a message and sends its content header in one frame, be that larger than was agreed. Such
 * messages are handled as others are, and cost nobody a connection. */
#include "base/base.h"
#include "support/listening.h"
#include "wire/wire.h"

#include <stdlib.h>

enum { FRAME_MAX = 131072 };

/* ---- headers that leave so many bytes of a frame free ---- */

static size_t header_frame_size(const coney_properties *properties)
{
    coney_message *message;
    cny_buffer frames = {0};
    assert_ok(coney_message_new(&message, "", 0, properties));
    assert_ok(cny_encode_publish(&frames, 1, FRAME_MAX, "", "", true, message));
    coney_message_unref(message);
    size_t method_size = (size_t)frames.data[5] << 8 | frames.data[6];
    size_t size = frames.size - method_size - CNY_FRAME_OVERHEAD;
    cny_buffer_free(&frames);
    return size;
}

static void fill(coney_table *headers, size_t size)
{
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    coney_status status = coney_table_set_string(headers, "fill", text);
    free(text);
    assert_ok(status);
}

static size_t filled; /* bytes */

static void send_with_free(const char *text, size_t bytes)
{
    coney_table *headers = coney_table_new();
    coney_properties properties = {.headers = headers, .message_id = "m-1"};
    fill(headers, 0);
    filled = FRAME_MAX - bytes - header_frame_size(&properties);
    fill(headers, filled);
    assert_int_equal(header_frame_size(&properties), FRAME_MAX - bytes);
    listening_send_with(text, &properties);
    coney_table_free(headers);
}

/* ---- others on the same connection ---- */

static coney_container *others;
static atomic_int neighbours, buried;
static uint64_t opened_before;
static char neighbour[300];

static uint64_t times_opened(void)
{
    coney_connection_info info;
    assert_ok(coney_connection_factory_info(client.factory, CONEY_CONSUMING, &info));
    return info.times_opened;
}

static coney_outcome count_neighbour(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_fetch_add(&neighbours, 1);
    return CONEY_ACK;
}

/* It comes whole, with what the broker tells of its death. */
static coney_outcome bury(coney_delivery *delivery, void *user)
{
    (void)user;
    const coney_properties *properties = coney_message_properties(coney_delivery_message(delivery));
    const char *text = coney_table_get_string(properties->headers, "fill");
    check(text && strlen(text) == filled);
    check(coney_table_get(properties->headers, "x-death") != NULL);
    atomic_fetch_add(&buried, 1);
    return CONEY_ACK;
}

static void start_others(void)
{
    const coney_listener listeners[] = {{.queue = neighbour, .on_message = count_neighbour},
                                        {.queue = listening.dead, .on_message = bury}};
    assert_ok(coney_container_new(&others, client.factory, NULL));
    assert_ok(coney_container_listen(others, &listeners[0]));
    assert_ok(coney_container_listen(others, &listeners[1]));
    assert_ok(coney_container_start(others));
    test_wait_for_consumers(neighbour, 1);
    opened_before = times_opened();
}

static void expect_others_undisturbed(void)
{
    assert_int_equal(times_opened(), opened_before);
    assert_int_equal(atomic_load(&neighbours), 0);
    test_send_numbers(neighbour, 1);
    test_wait_for(&neighbours, 1);
}

static int setup(void **state)
{
    int failed = listening_setup(state);
    snprintf(neighbour, sizeof neighbour, "%s", listening_make_other_queue("neighbour"));
    atomic_store(&neighbours, 0);
    atomic_store(&buried, 0);
    return failed;
}

static int teardown(void **state)
{
    listening_stop();
    coney_container_free(others);
    others = NULL;
    return listening_teardown(state);
}

/* ---- who adds headers ---- */

/* There is room for Coney's headers, and none for the x-death that the broker adds when the delay is over. */
static void test_message_that_outgrows_a_frame_on_a_ladder_is_tried_again(void **state)
{
    (void)state;
    listening_other_queue("retry.200");
    listening_other_queue("parking");
    listening_start(&(coney_listener){.retry = {.delays_ms = {200}}});
    start_others();
    send_with_free("fail 1", 300);
    listening_expect_attempts((const int[]){1, 2, 0});
    test_wait_until(listening_statistics().acknowledged >= 1 && listening_statistics().in_progress == 0);
    expect_others_undisturbed();
    listening_expect_nothing_left();
    assert_int_equal(listening.count, 2);
}

static void test_dead_letter_that_outgrew_a_frame_is_handled(void **state)
{
    (void)state;
    listening_start(&(coney_listener){0});
    start_others();
    send_with_free("reject", 100);
    test_wait_for(&buried, 1);
    expect_others_undisturbed();
    listening_expect_nothing_left();
    assert_int_equal(listening.count, 1);
}

/* A redelivery has an x-delivery-count, for which there is no room already. */
static void test_message_that_outgrows_a_frame_reaches_its_delivery_limit(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM, .delivery_limit = 2});
    listening_start(&(coney_listener){0});
    start_others();
    send_with_free("requeue", 10);
    test_wait_for(&buried, 1);
    expect_others_undisturbed();
    listening_expect_nothing_left();
    assert_int_equal(listening.count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_message_that_outgrows_a_frame_on_a_ladder_is_tried_again, setup, teardown),
        cmocka_unit_test_setup_teardown(test_dead_letter_that_outgrew_a_frame_is_handled, setup, teardown),
        cmocka_unit_test_setup_teardown(test_message_that_outgrows_a_frame_reaches_its_delivery_limit, setup, teardown),
    };
    return test_run_with_workers("large headers", tests, test_client_setup, test_client_teardown);
}
