/* SPDX-License-Identifier: MIT */
/* The reader of JSON accepts what jansson accepts, and refuses what jansson refuses; times as text and as numbers. */
#include "amqp/instant.h"
#include "amqp/json_reader.h"
#include "support/test_support.h"

#include <stdio.h>
#include <stdlib.h>

static const coney_json_limits limits = {.max_values = 100000, .max_depth = 200, .max_bytes = 1 << 20};

static bool we_read(const char *text, size_t size)
{
    cny_json_reader reader;
    cny_slice value;
    cny_json_reader_init(&reader, text, size, &limits);
    return cny_json_skip(&reader, &value) == CONEY_OK && cny_json_end(&reader) == CONEY_OK;
}

/* A number that jansson cannot hold is JSON even so, but what follows is unknown then. */
static bool jansson_differs(const char *text, size_t size, bool ours)
{
    json_error_t error;
    json_t *tree = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    bool differs = tree ? !ours : ours && json_error_code(&error) != json_error_numeric_overflow;
    json_decref(tree);
    return differs;
}

static size_t mutate(char *text, size_t size)
{
    static const char bytes[] = "{}[]\",:0123456789.eE+-tfn\\ u/ax\n\t\001";
    size_t at = (size_t)rand() % size;
    char byte = bytes[(size_t)rand() % (sizeof bytes - 1)];
    switch (rand() % 3) {
    case 0: text[at] = byte; return size;
    case 1: memmove(text + at, text + at + 1, size - at); return size > 1 ? size - 1 : size;
    default:
        memmove(text + at + 1, text + at, size - at);
        text[at] = byte;
        return size + 1;
    }
}

static void test_reader_agrees_with_jansson(void **state)
{
    (void)state;
    static const char *const seeds[] = {
        "{\"a\":[1,2.5e3,-0.1,true,false,null,\"x\\n\\u00e4\\ud83d\\ude00\"],\"b\":{\"c\":{}},\"\":[]}",
        "[0,-0,1E+2,10,\"\\\"\\\\\"]", " 5 ", "\"s\"", "[[[[]]]]"};
    srand(7);
    for (int i = 0; i < 300000; i++) {
        char text[200];
        const char *seed = seeds[rand() % 5];
        size_t size = strlen(seed);
        memcpy(text, seed, size + 1);
        for (int changes = rand() % 4; changes > 0; changes--)
            size = mutate(text, size);
        if (jansson_differs(text, size, we_read(text, size)))
            fail_msg("'%.*s'", (int)size, text);
    }
}

static void test_long_numbers_are_refused(void **state)
{
    (void)state;
    char digits[1100];
    memset(digits, '1', sizeof digits);
    assert_true(we_read(digits, 1000));
    assert_false(we_read(digits, 1001));
    assert_non_null(strstr(coney_last_error(), "a number of more than 1,000 characters"));
}

/* ---- times ---- */

static void test_times_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t seconds;
        int32_t nanos;
    } all[] = {
        {"1970-01-01T00:00:00Z", 0, 0},
        {"2026-12-01T03:04:05.678901234Z", 1796094245, 678901234},
        {"2026-12-01t03:04:05.6789012349z", 1796094245, 678901234},
        {"2026-12-01 04:04:05,5+01:00", 1796094245, 500000000},
        {"2026-12-01T04:04:05+01:00[Europe/Paris]", 1796094245, 0},
        {"2026-11-30T22:04:05-0500", 1796094245, 0},
        {"2026-12-01T03:04Z", 1796094240, 0},
        {"1969-12-31T23:59:59.25Z", -1, 250000000},
        {"0000-01-01T00:00:00Z", INT64_C(-62167219200), 0},
        {"9999-12-31T23:59:59Z", INT64_C(253402300799), 0},
        {"2024-02-29T00:00:00Z", 1709164800, 0},
        {"2016-12-31T23:59:60Z", 1483228800, 0},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        cny_instant instant;
        assert_null(cny_instant_read(&instant, all[i].text, strlen(all[i].text)));
        assert_int_equal(instant.seconds, all[i].seconds);
        assert_int_equal(instant.nanos, all[i].nanos);
    }
}

static void test_wrong_times_are_refused(void **state)
{
    (void)state;
    static const char *const all[] = {"",
                                      "2026",
                                      "2026-12-01",
                                      "2026-12-01T03:04:05",
                                      "2026-12-01T03:04:05.Z",
                                      "2026-12-01T03:04:05+1",
                                      "2026-12-01T03:04:05+19:00",
                                      "2026-12-01T24:00:00Z",
                                      "2026-02-29T00:00:00Z",
                                      "2026-00-01T00:00:00Z",
                                      "2026-12-32T00:00:00Z",
                                      "2026-12-01T03:60:00Z",
                                      "2026-12-01T03:04:61Z",
                                      "26-12-01T03:04:05Z",
                                      "2026-12-01T03:04:05Z ",
                                      "2026-12-01T03:04:05Z[Europe/Paris"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        cny_instant instant;
        assert_non_null(cny_instant_read(&instant, all[i], strlen(all[i])));
    }
}

static void assert_written(int64_t seconds, int32_t nanos, const char *text, const char *in_seconds, const char *in_ms)
{
    char written[CNY_INSTANT_ROOM];
    const cny_instant instant = {seconds, nanos};
    assert_true(cny_instant_write(written, &instant));
    assert_string_equal(written, text);
    assert_true(cny_instant_to_number(written, &instant, false));
    assert_string_equal(written, in_seconds);
    assert_true(cny_instant_to_number(written, &instant, true));
    assert_string_equal(written, in_ms);
}

static void test_times_are_written(void **state)
{
    (void)state;
    assert_written(0, 0, "1970-01-01T00:00:00Z", "0", "0");
    assert_written(1796094245, 678901234, "2026-12-01T03:04:05.678901234Z", "1796094245.678901234", "1796094245678");
    assert_written(1796094245, 678901000, "2026-12-01T03:04:05.678901Z", "1796094245.678901", "1796094245678");
    assert_written(1796094245, 500000000, "2026-12-01T03:04:05.500Z", "1796094245.500", "1796094245500");
    assert_written(-1, 250000000, "1969-12-31T23:59:59.250Z", "-0.750", "-750");
    assert_written(-2, 250000000, "1969-12-31T23:59:58.250Z", "-1.750", "-1750");
    assert_written(INT64_C(-62167219200), 0, "0000-01-01T00:00:00Z", "-62167219200", "-62167219200000");
    assert_written(INT64_C(253402300799), 0, "9999-12-31T23:59:59Z", "253402300799", "253402300799000");
    char text[CNY_INSTANT_ROOM];
    assert_false(cny_instant_write(text, &(cny_instant){.seconds = INT64_C(253402300800)}));
    assert_false(cny_instant_write(text, &(cny_instant){.seconds = INT64_C(-62167219201)}));
    assert_false(cny_instant_to_number(text, &(cny_instant){.seconds = INT64_MAX}, true));
}

static void test_every_day_is_read_as_it_was_written(void **state)
{
    (void)state;
    for (int64_t day = -719528; day <= 2932896; day += 13) {
        char text[CNY_INSTANT_ROOM];
        cny_instant read, instant = {.seconds = day * 86400 + 3661};
        assert_true(cny_instant_write(text, &instant));
        assert_null(cny_instant_read(&read, text, strlen(text)));
        assert_int_equal(read.seconds, instant.seconds);
    }
}

static void test_numbers_are_times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_ms;
        int64_t seconds;
        int32_t nanos;
    } all[] = {{"0", false, 0, 0},
               {"1764558245.678901234", false, 1764558245, 678901234},
               {"-0.75", false, -1, 250000000},
               {"1764558245678", true, 1764558245, 678000000},
               {"-750", true, -1, 250000000},
               {"1.5", true, 0, 1500000},
               {"-9223372036854775808", false, INT64_MIN, 0}};
    cny_instant instant;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        assert_true(cny_instant_from_number(&instant, all[i].text, strlen(all[i].text), all[i].is_ms));
        assert_int_equal(instant.seconds, all[i].seconds);
        assert_int_equal(instant.nanos, all[i].nanos);
    }
    assert_false(cny_instant_from_number(&instant, "1e9", 3, false));
    assert_false(cny_instant_from_number(&instant, "9223372036854775808", 19, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_agrees_with_jansson),
        cmocka_unit_test(test_long_numbers_are_refused),
        cmocka_unit_test(test_times_are_read),
        cmocka_unit_test(test_wrong_times_are_refused),
        cmocka_unit_test(test_times_are_written),
        cmocka_unit_test(test_every_day_is_read_as_it_was_written),
        cmocka_unit_test(test_numbers_are_times),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
