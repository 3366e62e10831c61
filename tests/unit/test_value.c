/* SPDX-License-Identifier: MIT */
/* Tables, arrays and their values. */
#include "amqp/amqp.h"
#include "support/elapsed.h"
#include "support/test_support.h"

static void test_table_keeps_every_type(void **state)
{
    (void)state;
    coney_table *inner = coney_table_new();
    assert_ok(coney_table_set_string(inner, "deep", "value"));
    coney_array *array = coney_array_new();
    coney_value number = coney_value_int64(7), text = coney_value_string("seven");
    assert_ok(coney_array_append(array, &number));
    assert_ok(coney_array_append(array, &text));

    coney_table *table = coney_table_new();
    assert_ok(coney_table_set(table, "void", &(coney_value){.type = CONEY_VOID}));
    assert_ok(coney_table_set_bool(table, "bool", true));
    assert_ok(coney_table_set(table, "int8", &(coney_value){.type = CONEY_INT8, .as.integer = -128}));
    assert_ok(coney_table_set(table, "uint32", &(coney_value){.type = CONEY_UINT32, .as.integer = UINT32_MAX}));
    assert_ok(coney_table_set_int64(table, "int64", INT64_MIN));
    assert_ok(coney_table_set_double(table, "double", 1.5));
    assert_ok(coney_table_set(table, "decimal",
                              &(coney_value){.type = CONEY_DECIMAL, .as.decimal = {.mantissa = -125, .scale = 2}}));
    assert_ok(coney_table_set(table, "bytes",
                              &(coney_value){.type = CONEY_BYTES, .as.bytes = {.data = "\0\xff", .size = 2}}));
    assert_ok(coney_table_set_table(table, "table", inner));
    assert_ok(coney_table_set_array(table, "array", array));
    coney_table_free(inner); /* copied */
    coney_array_free(array);

    assert_int_equal(coney_table_size(table), 10);
    assert_int_equal(coney_table_get(table, "void")->type, CONEY_VOID);
    assert_true(coney_table_get(table, "bool")->as.boolean);
    assert_int_equal(coney_table_get_int64(table, "int8", 0), -128);
    assert_int_equal(coney_table_get_int64(table, "uint32", 0), UINT32_MAX);
    assert_int_equal(coney_table_get_int64(table, "int64", 0), INT64_MIN);
    assert_true(coney_table_get(table, "double")->as.real == 1.5);
    assert_int_equal(coney_table_get(table, "decimal")->as.decimal.mantissa, -125);
    assert_int_equal(coney_table_get(table, "bytes")->as.bytes.size, 2);
    assert_string_equal(coney_table_get_string(coney_table_get(table, "table")->as.table, "deep"), "value");
    const coney_array *copy = coney_table_get(table, "array")->as.array;
    assert_int_equal(coney_array_size(copy), 2);
    assert_string_equal(coney_array_at(copy, 1)->as.bytes.data, "seven");
    coney_table_free(table);
}

static void test_setting_again_replaces(void **state)
{
    (void)state;
    coney_table *table = coney_table_new();
    assert_ok(coney_table_set_string(table, "a", "old"));
    assert_ok(coney_table_set_int64(table, "b", 1));
    assert_ok(coney_table_set_string(table, "a", "new"));
    assert_int_equal(coney_table_size(table), 2);
    assert_string_equal(coney_table_name_at(table, 0), "a");
    assert_string_equal(coney_table_get_string(table, "a"), "new");
    coney_table_free(table);
}

static void test_what_is_missing_or_of_another_type_is_told(void **state)
{
    (void)state;
    coney_table *table = coney_table_new();
    assert_ok(coney_table_set_int64(table, "number", 1));
    assert_null(coney_table_get(table, "none"));
    assert_null(coney_table_get(NULL, "none"));
    assert_null(coney_table_get_string(table, "number"));
    assert_int_equal(coney_table_get_int64(table, "none", -5), -5);
    assert_null(coney_table_value_at(table, 1));
    coney_table_free(table);
}

static void test_strings_and_names_may_hold_any_bytes(void **state)
{
    (void)state;
    static const char *const texts[] = {"a\x80", "\xc3", "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82"};
    coney_table *table = coney_table_new();
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        assert_ok(coney_table_set_string(table, texts[i], texts[i]));
        assert_string_equal(coney_table_get_string(table, texts[i]), texts[i]);
    }
    assert_ok(
        coney_table_set(table, "nul", &(coney_value){.type = CONEY_STRING, .as.bytes = {.data = "a\0b", .size = 3}}));
    assert_int_equal(coney_table_get(table, "nul")->as.bytes.size, 3);
    coney_table_free(table);
}

static void test_dates_may_be_before_1970(void **state)
{
    (void)state;
    coney_table *table = coney_table_new();
    assert_ok(coney_table_set(table, "born", &(coney_value){.type = CONEY_TIMESTAMP, .as.integer = INT64_MIN}));
    assert_int_equal(coney_table_get_int64(table, "born", 0), INT64_MIN);
    coney_table_free(table);
}

static void test_integers_must_fit_their_type(void **state)
{
    (void)state;
    static const coney_value wrong[] = {
        {.type = CONEY_INT8, .as.integer = 128},        {.type = CONEY_UINT8, .as.integer = -1},
        {.type = CONEY_INT16, .as.integer = 40000},     {.type = CONEY_UINT16, .as.integer = 65536},
        {.type = CONEY_INT32, .as.integer = 1LL << 31}, {.type = CONEY_UINT32, .as.integer = 1LL << 32},
    };
    coney_table *table = coney_table_new();
    for (size_t i = 0; i < COUNT_OF(wrong); i++)
        assert_fails(coney_table_set(table, "n", &wrong[i]), CONEY_E_INVALID, "does not fit its type");
    assert_int_equal(coney_table_size(table), 0);
    coney_table_free(table);
}

static void test_names_are_checked(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    coney_table *table = coney_table_new();
    assert_fails(coney_table_set_int64(table, name, 1), CONEY_E_INVALID, "has 256 bytes; AMQP allows 255");
    name[255] = '\0';
    assert_ok(coney_table_set_int64(table, name, 1));
    assert_fails(coney_table_set_string(table, "n", NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_table_set_table(table, "n", NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_table_set(table, "n", &(coney_value){.type = (coney_value_type)99}), CONEY_E_INVALID,
                 "99 is no value type");
    coney_table_free(table);
}

static void test_nesting_is_limited(void **state)
{
    (void)state;
    coney_table *table = coney_table_new();
    for (int depth = 1; depth < CONEY_MAX_NESTING; depth++) {
        coney_table *outer = coney_table_new();
        assert_ok(coney_table_set_table(outer, "in", table));
        coney_table_free(table);
        table = outer;
    }
    coney_table *outer = coney_table_new();
    assert_fails(coney_table_set_table(outer, "in", table), CONEY_E_INVALID, "nested deeper than 100 levels");
    coney_table_free(outer);
    coney_table_free(table);
}

/* ---- tables of a size that only somebody hostile sends ---- */

enum { MANY_ENTRIES = 60000, MUCH_MS = 3000 };

static const char *numbered(char name[16], int number)
{
    snprintf(name, 16, "h%d", number);
    return name;
}

/* Half a minute and more if each entry were compared with each other one. */
static void test_setting_many_entries_takes_time_in_proportion(void **state)
{
    (void)state;
    char name[16];
    int64_t began = cny_now_ms();
    coney_table *table = coney_table_new();
    for (int i = 0; i < MANY_ENTRIES; i++)
        assert_ok(coney_table_set_int64(table, numbered(name, i), i));
    for (int i = 0; i < MANY_ENTRIES; i++)
        assert_ok(coney_table_set_int64(table, numbered(name, i), i + 1));
    assert_int_equal(coney_table_size(table), MANY_ENTRIES);
    for (int i = 0; i < MANY_ENTRIES; i++)
        assert_int_equal(coney_table_get_int64(table, numbered(name, i), 0), i + 1);
    assert_null(coney_table_get(table, "none of them"));
    test_expect_elapsed(began, 0, MUCH_MS);
    coney_table_free(table);
}

static void test_first_of_several_entries_of_a_name_is_found(void **state)
{
    (void)state;
    char name[16], names[40][16];
    coney_table *table = coney_table_new();
    for (int i = 0; i < 40; i++)
        assert_true(cny_table_put(table, numbered(names[i], i % 20), coney_value_int64(i)));
    for (int i = 0; i < 20; i++)
        assert_int_equal(coney_table_get_int64(table, numbered(name, i), -1), i);
    coney_table_free(table);
}

static void test_copy_of_many_entries_finds_them(void **state)
{
    (void)state;
    char name[16];
    cny_arena arena = {0};
    coney_table *table = coney_table_new();
    for (int i = 0; i < 100; i++)
        assert_ok(coney_table_set_int64(table, numbered(name, i), i));
    coney_table *copy = cny_table_copy_without(&arena, table, "h7");
    coney_table_free(table);
    for (int i = 0; i < 100; i++)
        assert_int_equal(coney_table_get_int64(copy, numbered(name, i), -1), i == 7 ? -1 : i);
    cny_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_keeps_every_type),
        cmocka_unit_test(test_setting_again_replaces),
        cmocka_unit_test(test_what_is_missing_or_of_another_type_is_told),
        cmocka_unit_test(test_strings_and_names_may_hold_any_bytes),
        cmocka_unit_test(test_dates_may_be_before_1970),
        cmocka_unit_test(test_integers_must_fit_their_type),
        cmocka_unit_test(test_names_are_checked),
        cmocka_unit_test(test_nesting_is_limited),
        cmocka_unit_test(test_setting_many_entries_takes_time_in_proportion),
        cmocka_unit_test(test_first_of_several_entries_of_a_name_is_found),
        cmocka_unit_test(test_copy_of_many_entries_finds_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
