/* SPDX-License-Identifier: MIT */
/* What Spring has sent, as recorded by `./dev interop --record`: the bytes go through the decoder as if a broker had
 * sent them, and the C side of tests/interop checks the messages. It needs neither Java nor a broker. */
#include "interop/c/interop.h"
#include "wire/rabbitmq_c.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_TESTS = 300, MAX_FRAME = 60000 };

/* One message of a file, in binary. */
typedef struct recorded {
    char name[200]; /* The test's. */
    const interop_case *one;
    int index;
    uint8_t *properties, *body;
    size_t properties_size, body_size;
} recorded;

static recorded all[MAX_TESTS];
static size_t count;

/* ---- files ---- */

static const interop_case *find_case(const char *name)
{
    for (const interop_case *const *table = interop_tables; *table; table++) {
        for (const interop_case *one = *table; one->name; one++) {
            if (strcmp(one->name, name) == 0 && one->read)
                return one;
        }
    }
    return NULL;
}

static uint8_t *from_hex(const char *hex, size_t *size)
{
    size_t digits = strspn(hex, "0123456789abcdef");
    uint8_t *bytes = malloc(digits / 2 + 1);
    *size = digits / 2;
    for (size_t i = 0; bytes && i < *size; i++) {
        const char pair[] = {hex[2 * i], hex[2 * i + 1], '\0'};
        bytes[i] = (uint8_t)strtoul(pair, NULL, 16);
    }
    return bytes;
}

/* Reads a file that record.c has written. */
static bool read_file(const char *line_of_spring)
{
    char path[500], name[100];
    char *line = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s.hex", CONEY_TEST_RECORDED, line_of_spring);
    FILE *file = fopen(path, "r");
    recorded *now = NULL;
    while (file && getline(&line, &size, file) > 0 && count < MAX_TESTS) {
        int index;
        if (sscanf(line, "message %99s %d", name, &index) == 2) {
            now = &all[count++];
            *now = (recorded){.one = find_case(name), .index = index};
            snprintf(now->name, sizeof now->name, "%s %s %d", line_of_spring, name, index);
        } else if (now && strncmp(line, "properties ", 11) == 0) {
            now->properties = from_hex(line + 11, &now->properties_size);
        } else if (now && strncmp(line, "body ", 5) == 0) {
            now->body = from_hex(line + 5, &now->body_size);
        }
    }
    free(line);
    if (!file || fclose(file) != 0 || !now)
        fprintf(stderr, "there is nothing recorded in %s\n", path);
    return now != NULL;
}

/* ---- frames ---- */

static void feed(cny_wire *wire, uint8_t type, const void *payload, size_t size)
{
    uint8_t *at = wire->input + wire->input_end;
    const uint8_t header[] = {type, 0, 1, 0, 0, (uint8_t)(size >> 8), (uint8_t)size};
    assert_true(size <= MAX_FRAME && wire->input_end + size + CNY_FRAME_OVERHEAD <= wire->input_size);
    memcpy(at, header, sizeof header);
    if (size > 0)
        memcpy(at + sizeof header, payload, size);
    at[sizeof header + size] = AMQP_FRAME_END;
    wire->input_end += size + CNY_FRAME_OVERHEAD;
}

static void feed_message(cny_wire *wire, const recorded *message)
{
    static const uint8_t method[] = {0, 60, 0, 60, 1, 't', 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 1, 'q'};
    uint8_t header[MAX_FRAME] = {0, 60, 0, 0, 0, 0, 0, 0};
    assert_true(12 + message->properties_size <= sizeof header && message->body_size <= MAX_FRAME);
    header[10] = (uint8_t)(message->body_size >> 8);
    header[11] = (uint8_t)message->body_size;
    memcpy(header + 12, message->properties, message->properties_size);
    feed(wire, AMQP_FRAME_METHOD, method, sizeof method);
    feed(wire, AMQP_FRAME_HEADER, header, 12 + message->properties_size);
    if (message->body_size > 0)
        feed(wire, AMQP_FRAME_BODY, message->body, message->body_size);
}

static void test_message_is_read_like_the_one_from_the_broker(void **state)
{
    const recorded *message = *state;
    cny_incoming incoming;
    bool complete;
    cny_wire *wire = cny_wire_new();
    wire->limits = (cny_wire_limits){.channel_max = 1, .frame_max = 131072};
    wire->max_message_bytes = 1000000;
    assert_ok(cny_wire_make_input(wire));
    feed_message(wire, message);
    assert_ok(cny_wire_next(wire, &incoming, &complete));
    assert_true(complete);
    assert_non_null(incoming.message);
    if (message->one)
        message->one->read(incoming.message, message->index);
    else
        fail_msg("the suite has no case of this name: run ./dev interop --record");
    coney_message_unref(incoming.message);
    cny_wire_free(wire);
}

/* A case that was added and not recorded would be left out in silence. */
static void test_all_cases_are_recorded(void **state)
{
    (void)state;
    size_t expected = 0;
    for (const interop_case *const *table = interop_tables; *table; table++) {
        for (const interop_case *one = *table; one->name; one++) {
            if (one->read && !one->is_answer)
                expected += one->messages ? (size_t)one->messages : 1;
        }
    }
    assert_int_equal(count, 3 * expected);
}

int main(void)
{
    static struct CMUnitTest tests[MAX_TESTS + 1];
    if (!read_file("2.4") || !read_file("3.2") || !read_file("4.1"))
        return 1;
    for (size_t i = 0; i < count; i++)
        tests[i] =
            (struct CMUnitTest){all[i].name, test_message_is_read_like_the_one_from_the_broker, NULL, NULL, &all[i]};
    tests[count] = (struct CMUnitTest)cmocka_unit_test(test_all_cases_are_recorded);
    int failures = _cmocka_run_group_tests("recorded", tests, count + 1, NULL, NULL);
    for (size_t i = 0; i < count; i++) {
        free(all[i].properties);
        free(all[i].body);
    }
    return failures;
}
