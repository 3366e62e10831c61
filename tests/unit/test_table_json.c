/* SPDX-License-Identifier: MIT */
/* Tables as JSON and back: what each type becomes, what is kept, and the places of mistakes. */
#include "amqp/amqp.h"
#include "support/test_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static coney_table *table;

static int setup(void **state)
{
    (void)state;
    table = coney_table_new();
    return table ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    coney_table_free(table);
    return 0;
}

/* The table as a JSON text, for the caller to free. */
static char *to_text(const coney_table *from)
{
    json_t *json;
    assert_ok(coney_table_to_json(&json, from));
    char *text = json_dumps(json, JSON_COMPACT);
    assert_non_null(text);
    json_decref(json);
    return text;
}

static coney_status from_text(coney_table **read, const char *text)
{
    json_t *json = json_loads(text, JSON_ALLOW_NUL | JSON_DECODE_ANY, NULL);
    assert_non_null(json);
    coney_status status = coney_table_from_json(read, json);
    json_decref(json);
    return status;
}

static bool is_bytes(const coney_value *value)
{
    return value->type == CONEY_STRING || value->type == CONEY_BYTES;
}

static void expect_same(const coney_value *got, const coney_value *expected)
{
    assert_int_equal(got->type, expected->type);
    if (is_bytes(expected)) {
        assert_int_equal(got->as.bytes.size, expected->as.bytes.size);
        assert_memory_equal(got->as.bytes.data, expected->as.bytes.data, expected->as.bytes.size);
        assert_int_equal(got->as.bytes.data[got->as.bytes.size], 0);
    } else if (expected->type == CONEY_DOUBLE && isnan(expected->as.real)) {
        assert_true(isnan(got->as.real));
    } else if (expected->type == CONEY_DOUBLE) {
        assert_true(got->as.real == expected->as.real);
    } else if (expected->type == CONEY_DECIMAL) {
        assert_int_equal(got->as.decimal.mantissa, expected->as.decimal.mantissa);
        assert_int_equal(got->as.decimal.scale, expected->as.decimal.scale);
    } else if (expected->type == CONEY_BOOL) {
        assert_int_equal(got->as.boolean, expected->as.boolean);
    } else if (expected->type != CONEY_VOID) {
        assert_int_equal(got->as.integer, expected->as.integer);
    }
}

/* The value is written as that JSON, which is read as the other value. */
static void expect_form(coney_value value, const char *json, coney_value back)
{
    char expected[600];
    coney_table *read;
    assert_ok(coney_table_set(table, "h", &value));
    char *text = to_text(table);
    snprintf(expected, sizeof expected, "{\"h\":%s}", json);
    assert_string_equal(text, expected);
    assert_ok(from_text(&read, text));
    assert_int_equal(coney_table_size(read), 1);
    expect_same(coney_table_get(read, "h"), &back);
    coney_table_free(read);
    free(text);
}

static coney_value bytes_of(coney_value_type type, const char *data, size_t size)
{
    return (coney_value){.type = type, .as.bytes = {.data = data, .size = size}};
}

/* ---- values ---- */

static void test_values_that_json_knows_are_plain_and_come_back(void **state)
{
    (void)state;
    const coney_value values[] = {
        {.type = CONEY_VOID},
        {.type = CONEY_BOOL, .as.boolean = true},
        {.type = CONEY_BOOL},
        {.type = CONEY_INT64, .as.integer = INT64_MIN},
        {.type = CONEY_DOUBLE, .as.real = 0.25},
        {.type = CONEY_DOUBLE, .as.real = 3},
        bytes_of(CONEY_STRING, "gr\xc3\xbc\xc3\x9f", 6),
        bytes_of(CONEY_STRING, "a\0b", 3),
        bytes_of(CONEY_STRING, "", 0),
    };
    static const char *const forms[] = {
        "null",          "true", "false", "-9223372036854775808", "0.25", "3.0", "\"gr\xc3\xbc\xc3\x9f\"",
        "\"a\\u0000b\"", "\"\""};
    for (size_t i = 0; i < COUNT_OF(values); i++)
        expect_form(values[i], forms[i], values[i]);
}

static void test_integers_of_all_widths_come_back_as_64_bits(void **state)
{
    (void)state;
    static const coney_value_type types[] = {CONEY_INT8,   CONEY_UINT8, CONEY_INT16,
                                             CONEY_UINT16, CONEY_INT32, CONEY_UINT32};
    for (size_t i = 0; i < COUNT_OF(types); i++)
        expect_form((coney_value){.type = types[i], .as.integer = 100}, "100", coney_value_int64(100));
}

static void test_float_comes_back_as_the_same_number(void **state)
{
    (void)state;
    const double real = (double)0.1F;
    coney_table *read;
    assert_ok(coney_table_set(table, "h", &(coney_value){.type = CONEY_FLOAT, .as.real = real}));
    char *text = to_text(table);
    assert_ok(from_text(&read, text));
    expect_same(coney_table_get(read, "h"), &(coney_value){.type = CONEY_DOUBLE, .as.real = real});
    coney_table_free(read);
    free(text);
}

static void test_values_that_json_does_not_know_have_forms(void **state)
{
    (void)state;
    const coney_value values[] = {
        bytes_of(CONEY_BYTES, "\0\xff\1", 3),
        bytes_of(CONEY_BYTES, "", 0),
        bytes_of(CONEY_STRING, "caf\xe9", 4),
        {.type = CONEY_TIMESTAMP, .as.integer = -1},
        {.type = CONEY_TIMESTAMP, .as.integer = INT64_MAX},
        {.type = CONEY_DECIMAL, .as.decimal = {.mantissa = 1250, .scale = 2}},
        {.type = CONEY_DECIMAL, .as.decimal = {.mantissa = -5, .scale = 3}},
        {.type = CONEY_DECIMAL, .as.decimal = {.mantissa = INT32_MIN}},
        {.type = CONEY_DECIMAL, .as.decimal = {.mantissa = 0, .scale = 1}},
        {.type = CONEY_DOUBLE, .as.real = (double)NAN},
        {.type = CONEY_DOUBLE, .as.real = (double)INFINITY},
        {.type = CONEY_DOUBLE, .as.real = -(double)INFINITY},
    };
    static const char *const forms[] = {"{\"$bytes\":\"AP8B\"}",
                                        "{\"$bytes\":\"\"}",
                                        "{\"$string\":\"Y2Fm6Q==\"}",
                                        "{\"$timestamp\":-1}",
                                        "{\"$timestamp\":9223372036854775807}",
                                        "{\"$decimal\":\"12.50\"}",
                                        "{\"$decimal\":\"-0.005\"}",
                                        "{\"$decimal\":\"-2147483648\"}",
                                        "{\"$decimal\":\"0.0\"}",
                                        "{\"$double\":\"NaN\"}",
                                        "{\"$double\":\"Infinity\"}",
                                        "{\"$double\":\"-Infinity\"}"};
    for (size_t i = 0; i < COUNT_OF(values); i++)
        expect_form(values[i], forms[i], values[i]);
}

static void test_decimal_of_the_largest_scale_comes_back(void **state)
{
    (void)state;
    const coney_value value = {.type = CONEY_DECIMAL, .as.decimal = {.mantissa = INT32_MAX, .scale = UINT8_MAX}};
    coney_table *read;
    assert_ok(coney_table_set(table, "h", &value));
    char *text = to_text(table);
    assert_ok(from_text(&read, text));
    expect_same(coney_table_get(read, "h"), &value);
    coney_table_free(read);
    free(text);
}

/* ---- tables and arrays ---- */

static void expect_text_survives(const char *text)
{
    coney_table *read;
    assert_ok(from_text(&read, text));
    char *again = to_text(read);
    assert_string_equal(again, text);
    free(again);
    coney_table_free(read);
}

static void test_tables_and_arrays_come_back_in_their_order(void **state)
{
    (void)state;
    expect_text_survives("{}");
    expect_text_survives("{\"b\":{},\"a\":[],\"c\":[1,[null,{\"x\":[{\"$bytes\":\"AA==\"}]}],\"t\"],\"\":{\"\":1}}");
}

static void test_table_that_looks_like_a_form_comes_back_as_a_table(void **state)
{
    (void)state;
    coney_table *inner = coney_table_new(), *read;
    assert_ok(coney_table_set_string(inner, "$bytes", "AA=="));
    assert_ok(coney_table_set_table(table, "h", inner));
    char *text = to_text(table);
    assert_string_equal(text, "{\"h\":{\"$table\":{\"$bytes\":\"AA==\"}}}");
    assert_ok(from_text(&read, text));
    assert_string_equal(coney_table_get_string(coney_table_get(read, "h")->as.table, "$bytes"), "AA==");
    coney_table_free(read);
    coney_table_free(inner);
    free(text);
    expect_text_survives("{\"h\":{\"$table\":{\"$table\":{\"$table\":{\"$x\":1}}}}}");
    expect_text_survives("{\"h\":{\"$bytes\":\"no form\",\"beside\":1}}");
}

/* A peer can send several entries of one name; one of them is left in JSON. */
static void test_table_that_looks_like_a_form_only_in_json_comes_back_as_a_table(void **state)
{
    (void)state;
    coney_table *inner = coney_table_new();
    assert_true(cny_table_put(inner, "$bytes", (coney_value){.type = CONEY_BOOL, .as.boolean = true}));
    assert_true(cny_table_put(inner, "$bytes", (coney_value){.type = CONEY_VOID}));
    assert_ok(coney_table_set_table(table, "h", inner));
    coney_table_free(inner);
    char *text = to_text(table);
    assert_string_equal(text, "{\"h\":{\"$table\":{\"$bytes\":true}}}");
    expect_text_survives(text);
    free(text);
}

static void test_outermost_object_is_a_table_whatever_its_names(void **state)
{
    (void)state;
    expect_text_survives("{\"$bytes\":\"no base64!\"}");
    expect_text_survives("{\"$table\":5}");
}

static void test_unknown_form_is_a_table(void **state)
{
    (void)state;
    coney_table *read;
    assert_ok(from_text(&read, "{\"h\":{\"$ref\":\"x\"}}"));
    assert_string_equal(coney_table_get_string(coney_table_get(read, "h")->as.table, "$ref"), "x");
    coney_table_free(read);
}

static void test_no_table_is_an_empty_object(void **state)
{
    (void)state;
    char *text = to_text(NULL);
    assert_string_equal(text, "{}");
    free(text);
}

static void test_first_entry_of_a_name_counts(void **state)
{
    (void)state;
    assert_true(cny_table_put(table, "n", coney_value_int64(1)));
    assert_true(cny_table_put(table, "n", coney_value_int64(2)));
    char *text = to_text(table);
    assert_string_equal(text, "{\"n\":1}");
    free(text);
}

static void test_deepest_table_comes_back(void **state)
{
    (void)state;
    char text[2000] = "", *at = text;
    for (int i = 0; i < CONEY_MAX_NESTING - 1; i++)
        at += sprintf(at, "{\"a\":");
    at += sprintf(at, "{}");
    memset(at, '}', CONEY_MAX_NESTING - 1);
    at[CONEY_MAX_NESTING - 1] = '\0';
    expect_text_survives(text);
}

/* ---- what is wrong ---- */

static void expect_wrong(const char *text, const char *words)
{
    coney_table *read = table;
    assert_fails(from_text(&read, text), CONEY_E_CONVERSION, words);
    assert_null(read);
}

static void test_what_is_no_object_is_no_table(void **state)
{
    (void)state;
    expect_wrong("[]", "$: expected an object, got an array");
    expect_wrong("\"text\"", "$: expected an object, got \"text\"");
    expect_wrong("null", "$: expected an object, got null");
}

static void test_wrong_value_of_a_form_is_told_with_its_place(void **state)
{
    (void)state;
    expect_wrong("{\"a\":{\"b\":[0,{\"$bytes\":5}]}}", "$.a.b[1].$bytes: expected base64, got an integer");
    expect_wrong("{\"h\":{\"$bytes\":\"A\"}}", "$.h.$bytes: expected base64, got \"A\"");
    expect_wrong("{\"h\":{\"$string\":\"A*==\"}}", "$.h.$string: expected base64, got \"A*==\"");
    expect_wrong("{\"h\":{\"$timestamp\":1.5}}", "$.h.$timestamp: expected seconds since 1970, got a real");
    expect_wrong("{\"h\":{\"$double\":\"nan\"}}", "$.h.$double: expected \"NaN\"");
    expect_wrong("{\"h\":{\"$double\":1}}", "got an integer");
    expect_wrong("{\"h\":{\"$table\":[]}}", "$.h.$table: expected an object, got an array");
}

static void test_text_that_is_no_decimal_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {"\"\"",
                                        "\"-\"",
                                        "\"1,5\"",
                                        "\"1.\"",
                                        "\".5\"",
                                        "\"+1\"",
                                        "\"1.2.3\"",
                                        "\"1e5\"",
                                        "\" 1\"",
                                        "\"--1\"",
                                        "1.5",
                                        "true",
                                        "\"1.5x\"",
                                        "\"2147483648\"",
                                        "\"-2147483649\"",
                                        "\"99999999999999999999999\""};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        char text[100];
        snprintf(text, sizeof text, "{\"h\":{\"$decimal\":%s}}", texts[i]);
        expect_wrong(text, "$.h.$decimal: expected a decimal such as \"-12.50\"");
    }
}

static void test_decimal_with_too_many_digits_after_the_point_is_refused(void **state)
{
    (void)state;
    char text[400], zeros[260];
    memset(zeros, '0', 256);
    zeros[256] = '\0';
    snprintf(text, sizeof text, "{\"h\":{\"$decimal\":\"0.%s\"}}", zeros);
    expect_wrong(text, "$.h.$decimal: expected a decimal");
}

static void test_name_that_is_too_long_is_refused(void **state)
{
    (void)state;
    char text[400], name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    snprintf(text, sizeof text, "{\"h\":{\"%s\":1}}", name);
    expect_wrong(text, "$.h: the name 'nnn");
    expect_wrong(text, "has 256 bytes; AMQP allows 255");
}

static void test_too_many_levels_are_refused(void **state)
{
    (void)state;
    char text[2000] = "", *at = text;
    for (int i = 0; i < CONEY_MAX_NESTING; i++)
        at += sprintf(at, "{\"a\":");
    at += sprintf(at, "[]");
    memset(at, '}', CONEY_MAX_NESTING);
    at[CONEY_MAX_NESTING] = '\0';
    expect_wrong(text, "nested deeper than 100 levels");
}

static void test_too_many_entries_are_refused(void **state)
{
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        json_t *object = json_object(), *array = json_array();
        coney_table *read;
        json_object_set_new(object, "h", array);
        for (size_t i = 0; i < CNY_MAX_ENTRIES - 1 + more; i++)
            json_array_append_new(array, json_true());
        coney_status status = coney_table_from_json(&read, object);
        json_decref(object);
        if (more)
            assert_fails(status, CONEY_E_CONVERSION, "$.h[9999]: there are more than 10000 entries in all");
        else
            assert_ok(status);
        coney_table_free(read);
    }
}

static void test_name_that_is_not_utf8_is_told_with_its_place(void **state)
{
    (void)state;
    coney_table *inner = coney_table_new();
    json_t *json = (json_t *)table;
    assert_ok(coney_table_set_int64(inner, "n\xff", 1));
    assert_ok(coney_table_set_table(table, "outer", inner));
    assert_fails(coney_table_to_json(&json, table), CONEY_E_CONVERSION, "$.outer: the name 'n?' is not UTF-8");
    assert_null(json);
    coney_table_free(inner);
}

static void test_lack_of_memory_is_told_and_leaks_nothing(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":{\"b\":[{\"$bytes\":\"AAAA\"},{\"$string\":\"/w==\"},[],{\"$table\":{\"$x\":1}}]},"
        "\"c\":{\"$decimal\":\"1.5\"},\"d\":{}}";
    json_t *json = json_loads(text, 0, NULL), *again;
    coney_status status = CONEY_E_NO_MEMORY;
    for (int i = 0; status == CONEY_E_NO_MEMORY; i++) {
        coney_table *read = NULL;
        cny_alloc_fail_after(i);
        status = coney_table_from_json(&read, json);
        cny_alloc_fail_after(-1);
        assert_true((read != NULL) == (status == CONEY_OK));
        coney_table_free(read);
    }
    assert_ok(status);
    coney_table *read;
    assert_ok(coney_table_from_json(&read, json));
    status = CONEY_E_NO_MEMORY;
    for (int i = 0; status == CONEY_E_NO_MEMORY; i++) {
        cny_alloc_fail_after(i);
        status = coney_table_to_json(&again, read);
        cny_alloc_fail_after(-1);
    }
    assert_ok(status);
    assert_true(json_equal(again, json));
    json_decref(again);
    json_decref(json);
    coney_table_free(read);
}

#define table_test(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

static void test_a_form_with_a_nul_in_its_text_is_refused(void **state)
{
    (void)state;
    coney_table *read;
    assert_fails(from_text(&read, "{\"a\":{\"$decimal\":\"1\\u00002\"}}"), CONEY_E_CONVERSION,
                 "$.a.$decimal: expected a decimal");
    assert_fails(from_text(&read, "{\"a\":{\"$double\":\"NaN\\u0000\"}}"), CONEY_E_CONVERSION, "$.a.$double: expected");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_form_with_a_nul_in_its_text_is_refused),
        table_test(test_values_that_json_knows_are_plain_and_come_back),
        table_test(test_integers_of_all_widths_come_back_as_64_bits),
        table_test(test_float_comes_back_as_the_same_number),
        table_test(test_values_that_json_does_not_know_have_forms),
        table_test(test_decimal_of_the_largest_scale_comes_back),
        table_test(test_tables_and_arrays_come_back_in_their_order),
        table_test(test_table_that_looks_like_a_form_comes_back_as_a_table),
        table_test(test_table_that_looks_like_a_form_only_in_json_comes_back_as_a_table),
        table_test(test_outermost_object_is_a_table_whatever_its_names),
        table_test(test_unknown_form_is_a_table),
        table_test(test_no_table_is_an_empty_object),
        table_test(test_first_entry_of_a_name_counts),
        table_test(test_deepest_table_comes_back),
        table_test(test_what_is_no_object_is_no_table),
        table_test(test_wrong_value_of_a_form_is_told_with_its_place),
        table_test(test_text_that_is_no_decimal_is_refused),
        table_test(test_decimal_with_too_many_digits_after_the_point_is_refused),
        table_test(test_name_that_is_too_long_is_refused),
        table_test(test_too_many_levels_are_refused),
        table_test(test_too_many_entries_are_refused),
        table_test(test_name_that_is_not_utf8_is_told_with_its_place),
        table_test(test_lack_of_memory_is_told_and_leaks_nothing),
    };
    return cmocka_run_group_tests_name("table as JSON", tests, NULL, NULL);
}
