/* SPDX-License-Identifier: MIT */
/* C structs as JSON at the edges: members that come twice, sizes of lists and of their texts, the largest numbers,
 * values that the program has left half empty, and options that do nothing. */
#include "support/test_support.h"

#include "base/base.h"

#include <coney/amqp/type.h>

#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct part {
    char *name;
    char *note;
} part;

typedef struct box {
    char code[8];
    int32_t number;
    bool has_number;
    part inner;
    int32_t *pointed;
    int32_t some[4];
    size_t some_count;
    char **words;
    size_t word_count;
    coney_map map;
    coney_bytes bytes;
    struct timespec time;
    float single;
    json_t *others;
} box;

static const coney_field part_fields[] = {
    CONEY_FIELD(part, name, CONEY_STRING),
    CONEY_FIELD(part, note, CONEY_STRING, .optional = true),
};
static const coney_type part_type = CONEY_TYPE(NULL, part, part_fields);

static const coney_field box_fields[] = {
    CONEY_FIELD(box, code, CONEY_CHARS, .optional = true),
    CONEY_FIELD(box, number, CONEY_INT32, .has = CONEY_HAS(box, has_number)),
    CONEY_FIELD(box, inner, CONEY_STRUCT(part_type), .optional = true),
    CONEY_POINTER(box, pointed, CONEY_INT32, .optional = true),
    CONEY_COUNTED_ARRAY(box, some, some_count, CONEY_INT32, .optional = true),
    CONEY_LIST(box, words, word_count, CONEY_STRING, .optional = true, .min_size = 2, .max_size = 3),
    CONEY_MAP(box, map, CONEY_STRING, .optional = true, .max_size = 2),
    CONEY_FIELD(box, bytes, CONEY_BYTES, .optional = true),
    CONEY_FIELD(box, single, CONEY_FLOAT, .optional = true),
    CONEY_FIELD(box, others, CONEY_UNKNOWN),
};
static const coney_type box_type = CONEY_TYPE(NULL, box, box_fields);

static box *decode(const char *json)
{
    void *object;
    assert_ok(coney_type_decode(&box_type, &object, json, strlen(json)));
    return object;
}

static void assert_refused(const char *json, const char *why)
{
    void *object;
    assert_fails(coney_type_decode(&box_type, &object, json, strlen(json)), CONEY_E_CONVERSION, why);
}

static void assert_not_written(const coney_type *type, const void *object, const char *why)
{
    char *json;
    assert_fails(coney_type_encode(type, object, &json, NULL), CONEY_E_CONVERSION, why);
    assert_null(json);
}

/* ---- members that come twice ---- */

static void test_the_second_text_of_an_array_leaves_nothing_of_the_first(void **state)
{
    (void)state;
    box *read = decode("{\"code\":\"abcdef\",\"code\":\"x\"}");
    assert_string_equal(read->code, "x");
    coney_object_free(read);
}

static void test_the_second_struct_leaves_nothing_of_the_first(void **state)
{
    (void)state;
    box *read = decode("{\"inner\":{\"name\":\"a\",\"note\":\"b\"},\"inner\":{\"name\":\"c\"}}");
    assert_string_equal(read->inner.name, "c");
    assert_null(read->inner.note);
    coney_object_free(read);
}

static void test_null_after_a_value_leaves_nothing_of_the_value(void **state)
{
    (void)state;
    box *read = decode("{\"number\":5,\"number\":null,\"pointed\":7,\"pointed\":null,\"some\":[1,2],\"some\":null,"
                       "\"words\":[\"a\",\"b\"],\"words\":null}");
    assert_int_equal(read->number, 0);
    assert_false(read->has_number);
    assert_null(read->pointed);
    assert_int_equal(read->some[0], 0);
    assert_int_equal(read->some_count, 0);
    assert_null(read->words);
    assert_int_equal(read->word_count, 0);
    coney_object_free(read);
}

/* ---- sizes ---- */

static void test_sizes_of_a_list_are_not_those_of_its_texts(void **state)
{
    (void)state;
    box *read = decode(
        "{\"inner\":{\"name\":\"\"},\"words\":[\"\",\"longer than three\"],\"map\":{\"k\":\"longer than two\"}}");
    char *json;
    assert_ok(coney_type_encode(&box_type, read, &json, NULL));
    assert_non_null(strstr(json, "\"words\":[\"\",\"longer than three\"],\"map\":{\"k\":\"longer than two\"}"));
    coney_text_free(json);
    coney_object_free(read);
    assert_refused("{\"words\":[\"a\"]}", "$.words: 1 elements are too few; at least 2 are required");
    assert_refused("{\"map\":{\"a\":\"\",\"b\":\"\",\"c\":\"\"}}", "$.map: 3 elements are too many");
}

/* ---- numbers ---- */

static void test_the_largest_float_is_read_as_java_writes_it(void **state)
{
    (void)state;
    box *read = decode("{\"inner\":{\"name\":\"\"},\"single\":3.4028235E38}");
    assert_true(read->single == FLT_MAX);
    char *json;
    assert_ok(coney_type_encode(&box_type, read, &json, NULL));
    box *again = decode(json);
    assert_true(again->single == FLT_MAX);
    coney_text_free(json);
    coney_object_free(again);
    coney_object_free(read);
    assert_refused("{\"single\":-3.4028236E38}", "$.single: -3.4028236E38 is out of range");
}

/* ---- values that are half there ---- */

static void test_a_map_without_keys_and_bytes_without_data_are_not_left_out_if_they_have_a_size(void **state)
{
    (void)state;
    box one = {.inner.name = "", .map = {.count = 3}};
    assert_not_written(&box_type, &one, "$.map: missing: the keys or values are NULL, the count is 3");
    box two = {.inner.name = "", .bytes = {.size = 4}};
    assert_not_written(&box_type, &two, "$.bytes: data is NULL, size is 4");
}

static void test_unknown_members_that_are_no_object_are_refused(void **state)
{
    (void)state;
    box one = {.inner.name = "", .others = json_pack("[i]", 1)};
    assert_not_written(&box_type, &one, "$: the member 'others' has the unknown members, and it is no JSON object");
    json_decref(one.others);
}

static void test_nanoseconds_above_32_bits_are_refused(void **state)
{
    (void)state;
    static const coney_field fields[] = {CONEY_FIELD(box, time, CONEY_TIMESPEC)};
    static const coney_type type = CONEY_TYPE(NULL, box, fields);
    if (sizeof(long) < 8)
        return;
    box one = {0};
    one.time.tv_nsec = (long)5000000000LL;
    assert_not_written(&type, &one, "$.time: tv_nsec is 5000000000; 0 to 999,999,999 are possible");
}

/* ---- times ---- */

static void test_a_fraction_follows_seconds_only(void **state)
{
    (void)state;
    static const coney_field fields[] = {CONEY_FIELD(box, time, CONEY_TIMESPEC)};
    static const coney_type type = CONEY_TYPE(NULL, box, fields);
    static const char json[] = "{\"time\":\"2026-12-01T03:04.5Z\"}";
    void *object;
    assert_fails(coney_type_decode(&type, &object, json, strlen(json)), CONEY_E_CONVERSION,
                 "$.time: expected a time such as \"2026-12-01T03:04:05Z\"");
}

/* ---- no JSON ---- */

static void test_a_control_character_outside_a_string_is_named(void **state)
{
    (void)state;
    void *object;
    assert_fails(coney_type_decode(&box_type, &object, "{\"number\":\0}", 12), CONEY_E_CONVERSION,
                 "invalid JSON at line 1, column 11: a control character where a value is expected");
}

/* ---- memory ---- */

static void test_no_memory_for_the_text_of_a_tree_is_told_as_such(void **state)
{
    (void)state;
    static const coney_field fields[] = {CONEY_FIELD(box, others, CONEY_JSON)};
    static const coney_type type = CONEY_TYPE(NULL, box, fields);
    char text[10001] = "";
    memset(text, 'x', sizeof text - 1);
    box one = {.others = json_pack("{s:s}", "name", text)};
    coney_status status = CONEY_E_NO_MEMORY;
    for (int successes = 0; status == CONEY_E_NO_MEMORY; successes++) {
        char *json = NULL;
        cny_alloc_fail_after(successes);
        status = coney_type_encode(&type, &one, &json, NULL);
        cny_alloc_fail_after(-1);
        coney_text_free(json);
    }
    assert_int_equal(status, CONEY_OK);
    json_decref(one.others);
}

/* ---- alignment ---- */

typedef struct wide {
    _Alignas(16) int32_t number;
} wide;

static coney_status check_alignment(const void *object, void *user)
{
    (void)user;
    return (uintptr_t)object % 16 == 0 ? CONEY_OK : coney_conversion_failed("not aligned");
}

static void test_the_check_of_an_element_finds_an_aligned_struct(void **state)
{
    (void)state;
    static const coney_field fields[] = {CONEY_FIELD(wide, number, CONEY_INT32)};
    static const coney_type type = CONEY_TYPE(NULL, wide, fields, .check = check_alignment);
    static const coney_type map_type = CONEY_MAP_TYPE(NULL, CONEY_STRUCT(type));
    static const char json[] = "{\"a\":{\"number\":1},\"b\":{\"number\":2}}";
    void *object;
    assert_ok(coney_type_decode(&map_type, &object, json, strlen(json)));
    const coney_map *map = object;
    assert_string_equal(map->keys[1], "b");
    assert_int_equal(((const wide *)map->values)[1].number, 2);
    coney_object_free(object);
}

/* ---- names ---- */

static void test_names_of_an_enum_that_are_not_shown_are_told(void **state)
{
    (void)state;
    static coney_enum_name names[30];
    static char texts[30][32];
    for (int i = 0; i < 30; i++) {
        snprintf(texts[i], sizeof texts[i], "NAME_NUMBER_%d", i);
        names[i] = (coney_enum_name){texts[i], i};
    }
    static const coney_field fields[] = {CONEY_FIELD(box, number, CONEY_ENUM(names))};
    static const coney_type type = CONEY_TYPE(NULL, box, fields);
    void *object;
    assert_fails(coney_type_decode(&type, &object, "{\"number\":\"X\"}", 14), CONEY_E_CONVERSION,
                 "\"X\" is no name here; these are: NAME_NUMBER_0, ");
    assert_non_null(strstr(coney_last_error(), "NAME_NUMBER_9, NAME_NUMBER_10, ..."));
}

/* ---- schemas ---- */

static void test_the_default_of_a_time_in_seconds_is_a_number_in_its_schema(void **state)
{
    (void)state;
    static const coney_field fields[] = {
        CONEY_FIELD(box, time, CONEY_TIMESPEC, .default_text = "0", .time = CONEY_TIME_SECONDS)};
    static const coney_type type = CONEY_TYPE("t", box, fields);
    json_t *schema;
    assert_ok(coney_type_schema(&type, &schema));
    char *text = json_dumps(schema, JSON_COMPACT);
    assert_non_null(strstr(text, "\"default\":0"));
    free(text);
    json_decref(schema);
}

/* ---- options that do nothing ---- */

static void assert_check_fails(coney_field field, const char *why)
{
    const coney_type type = {.form = CONEY_OBJECT_FORM, .size = sizeof(box), .fields = &field, .field_count = 1};
    assert_fails(coney_type_check(&type), CONEY_E_INVALID, why);
}

static void test_options_that_do_nothing_are_refused(void **state)
{
    (void)state;
    assert_check_fails((coney_field)CONEY_FIELD(box, number, CONEY_INT32, .max_size = 3),
                       "$.number: min_size and max_size are for texts, CONEY_BYTES, lists and maps");
    assert_check_fails((coney_field)CONEY_FIELD(box, number, CONEY_INT32, .time = CONEY_TIME_SECONDS),
                       "$.number: `time` is for times");
    assert_check_fails((coney_field)CONEY_FIELD(part, name, CONEY_STRING, .number = CONEY_NUMBER_TEXT),
                       "$.name: `number` is for numbers");
    assert_check_fails((coney_field)CONEY_FIELD(box, single, CONEY_FLOAT, .number = CONEY_NUMBER_LARGE_AS_TEXT),
                       "$.single: CONEY_NUMBER_LARGE_AS_TEXT is for integers");
    assert_check_fails((coney_field)CONEY_FIELD(box, number, CONEY_INT32, .optional = true, .write_null = true),
                       "$.number: write_null is for optional");
    assert_check_fails((coney_field)CONEY_FIELD(part, name, CONEY_STRING, .write_null = true),
                       "$.name: write_null is for optional");
    assert_check_fails((coney_field)CONEY_FIELD(box, number, CONEY_INT32, .least = 1, .most = 2),
                       "$.number: least and most need has_range");
    assert_check_fails((coney_field)CONEY_FIELD(box, single, CONEY_FLOAT, .real_most = 2),
                       "$.single: real_least and real_most need has_real_range");
    assert_check_fails((coney_field)CONEY_FIELD(box, others, CONEY_UNKNOWN, .name = "x"),
                       "$.x: CONEY_UNKNOWN has no name in JSON");
}

static void test_types_that_refuse_and_keep_unknown_members_are_refused(void **state)
{
    (void)state;
    coney_type type = box_type;
    type.options.refuse_unknown = true;
    assert_fails(coney_type_check(&type), CONEY_E_INVALID,
                 "$.others: CONEY_UNKNOWN keeps members that refuse_unknown refuses");
    type = (coney_type)CONEY_LIST_TYPE("l", CONEY_INT32, .refuse_unknown = true);
    assert_fails(coney_type_check(&type), CONEY_E_INVALID, "type 'l': $: refuse_unknown is for structs");
}

static void test_names_that_are_not_utf8_are_refused(void **state)
{
    (void)state;
    assert_check_fails((coney_field)CONEY_FIELD(box, number, CONEY_INT32, .name = "a\xff"), "the name is not UTF-8");
}

static void test_defaults_that_cannot_be_read_are_found_by_the_check(void **state)
{
    (void)state;
    assert_check_fails((coney_field)CONEY_FIELD(box, number, CONEY_INT32, .default_text = "ten"), "the default: ");
    assert_check_fails((coney_field)CONEY_FIELD(box, number, CONEY_INT32, .default_text = "10", CONEY_RANGE(1, 9)),
                       "the default: $.number: 10 is not from 1 to 9");
    assert_check_fails((coney_field)CONEY_FIELD(box, code, CONEY_CHARS, .default_text = "too long"),
                       "the default: $.code: 8 bytes are too many");
}

/* The list has a NULL after its last pointer, which numbers cannot have. */
static void test_shapes_are_checked_before_an_object_is_read_or_written(void **state)
{
    (void)state;
    static int32_t numbers[] = {1, 2};
    box one = {.pointed = numbers};
    const coney_field field = CONEY_TERMINATED_LIST(box, pointed, CONEY_INT32);
    const coney_type type = {.form = CONEY_OBJECT_FORM, .size = sizeof(box), .fields = &field, .field_count = 1};
    char *json;
    void *object;
    assert_fails(coney_type_encode(&type, &one, &json, NULL), CONEY_E_INVALID,
                 "field 'pointed': CONEY_TERMINATED_LIST is for texts and CONEY_STRUCT");
    assert_fails(coney_type_decode(&type, &object, "{\"pointed\":[1]}", 15), CONEY_E_INVALID, "field 'pointed'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_second_text_of_an_array_leaves_nothing_of_the_first),
        cmocka_unit_test(test_the_second_struct_leaves_nothing_of_the_first),
        cmocka_unit_test(test_null_after_a_value_leaves_nothing_of_the_value),
        cmocka_unit_test(test_sizes_of_a_list_are_not_those_of_its_texts),
        cmocka_unit_test(test_the_largest_float_is_read_as_java_writes_it),
        cmocka_unit_test(test_a_map_without_keys_and_bytes_without_data_are_not_left_out_if_they_have_a_size),
        cmocka_unit_test(test_unknown_members_that_are_no_object_are_refused),
        cmocka_unit_test(test_nanoseconds_above_32_bits_are_refused),
        cmocka_unit_test(test_a_fraction_follows_seconds_only),
        cmocka_unit_test(test_a_control_character_outside_a_string_is_named),
        cmocka_unit_test(test_no_memory_for_the_text_of_a_tree_is_told_as_such),
        cmocka_unit_test(test_the_check_of_an_element_finds_an_aligned_struct),
        cmocka_unit_test(test_names_of_an_enum_that_are_not_shown_are_told),
        cmocka_unit_test(test_the_default_of_a_time_in_seconds_is_a_number_in_its_schema),
        cmocka_unit_test(test_options_that_do_nothing_are_refused),
        cmocka_unit_test(test_types_that_refuse_and_keep_unknown_members_are_refused),
        cmocka_unit_test(test_names_that_are_not_utf8_are_refused),
        cmocka_unit_test(test_defaults_that_cannot_be_read_are_found_by_the_check),
        cmocka_unit_test(test_shapes_are_checked_before_an_object_is_read_or_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
