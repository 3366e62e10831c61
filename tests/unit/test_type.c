/* SPDX-License-Identifier: MIT */
/* C structs from JSON and back: every kind and shape, what is refused and how the refusal reads, and who owns what. */
#include "support/orders.h"
#include "support/test_support.h"

#include "base/base.h"

#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char everything_json[] =
    "{\"yes\":true,\"i8\":-128,\"u8\":255,\"i16\":-32768,\"u16\":65535,\"i32\":-2147483648,\"u32\":4294967295,"
    "\"i64\":-9223372036854775808,\"u64\":18446744073709551615,\"single\":0.1,\"real\":-1e-300,"
    "\"decimal\":\"12.50\",\"text\":\"a\\\"b\\\\c\\n\\u0001\xc3\xa4\",\"chars\":\"seven77\",\"bytes\":\"AAEC/w==\","
    "\"state\":\"PAID\",\"seconds\":-1.500,\"milliseconds\":1764558245678,\"time\":\"2026-12-01T03:04:05.678901234Z\","
    "\"uuid\":\"123e4567-e89b-42d3-a456-426614174000\",\"json\":{\"deep\":[1,2.5,null]},\"raw\":[ 1,  1.00 ],"
    "\"one\":{\"name\":\"Ann\"},\"pointed\":7,\"pointed_struct\":null,\"list\":[1,2,3],\"fixed\":[0.5,1.0,-2.25],"
    "\"some\":[9],\"words\":[\"x\",\"\"],\"customers\":[{\"name\":\"Bob\",\"mail\":\"b@x\"}],"
    "\"map\":{\"k\":\"v\",\"\":\"empty\"},\"colour\":\"red\",\"n\":12345678901}";

static void *decode(const coney_type *type, const char *json)
{
    void *object;
    assert_ok(coney_type_decode(type, &object, json, strlen(json)));
    return object;
}

static char *encode(const coney_type *type, const void *object)
{
    char *json;
    assert_ok(coney_type_encode(type, object, &json, NULL));
    return json;
}

/* Reads, writes, and compares with what is expected. */
static void assert_becomes(const coney_type *type, const char *json, const char *expected)
{
    void *object = decode(type, json);
    char *written = encode(type, object);
    assert_string_equal(written, expected);
    coney_text_free(written);
    coney_object_free(object);
}

static void assert_refused(const coney_type *type, const char *json, const char *why)
{
    void *object = (void *)1;
    assert_fails(coney_type_decode(type, &object, json, strlen(json)), CONEY_E_CONVERSION, why);
    assert_null(object);
}

#define ORDER_START "{\"id\":7,\"state\":\"NEW\",\"customer\":{\"name\":\"Ann\"},\"placedAt\":\"2026-12-01T03:04:05Z\","
#define ORDER_LINES "\"lines\":[{\"sku\":\"carrot\",\"quantity\":2,\"price\":\"1.50\"}]"
#define ORDER ORDER_START ORDER_LINES "}"

/* ---- reading ---- */

static void test_every_kind_is_read(void **state)
{
    (void)state;
    static const uint8_t uuid[16] = {0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x42, 0xd3,
                                     0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00};
    static const float single = 0.1F; /* constants in expressions have more bits on 32-bit processors */
    static const double real = -1e-300;
    everything *read = decode(&everything_type, everything_json);
    assert_true(read->yes);
    assert_int_equal(read->i8, INT8_MIN);
    assert_int_equal(read->u8, UINT8_MAX);
    assert_int_equal(read->i16, INT16_MIN);
    assert_int_equal(read->u16, UINT16_MAX);
    assert_int_equal(read->i32, INT32_MIN);
    assert_true(read->u32 == UINT32_MAX && read->i64 == INT64_MIN && read->u64 == UINT64_MAX);
    assert_true(read->single == single && read->real == real);
    assert_string_equal(read->decimal, "12.50");
    assert_string_equal(read->text, "a\"b\\c\n\001\xc3\xa4");
    assert_string_equal(read->chars, "seven77");
    assert_int_equal(read->bytes.size, 4);
    assert_memory_equal(read->bytes.data, "\0\1\2\xff", 4);
    assert_int_equal(read->state, ORDER_PAID);
    assert_int_equal(read->seconds, -2); /* whole seconds, towards the past */
    assert_int_equal(read->milliseconds, 1764558245678);
    assert_int_equal(read->time.tv_sec, 1796094245);
    assert_int_equal(read->time.tv_nsec, 678901234);
    assert_memory_equal(read->uuid, uuid, sizeof uuid);
    assert_int_equal(json_integer_value(json_array_get(json_object_get(read->json, "deep"), 0)), 1);
    assert_string_equal(read->raw, "[ 1,  1.00 ]");
    assert_string_equal(read->one.name, "Ann");
    assert_null(read->one.mail);
    assert_int_equal(*read->pointed, 7);
    assert_null(read->pointed_struct);
    assert_int_equal(read->list_count, 3);
    assert_int_equal(read->list[2], 3);
    assert_true(read->fixed[2] == -2.25);
    assert_int_equal(read->some_count, 1);
    assert_string_equal(read->words[0], "x");
    assert_string_equal(read->words[1], "");
    assert_null(read->words[2]);
    assert_string_equal(read->customers[0]->mail, "b@x");
    assert_null(read->customers[1]);
    assert_string_equal(coney_map_string(&read->map, "k"), "v");
    assert_string_equal(coney_map_string(&read->map, ""), "empty");
    assert_null(coney_map_string(&read->map, "none"));
    assert_string_equal(json_string_value(json_object_get(read->others, "colour")), "red");
    coney_object_free(read);
}

static void test_what_was_read_is_written_as_it_was(void **state)
{
    (void)state;
    void *first = decode(&everything_type, everything_json);
    char *written = encode(&everything_type, first);
    assert_string_equal(written,
                        "{\"yes\":true,\"i8\":-128,\"u8\":255,\"i16\":-32768,\"u16\":65535,\"i32\":-2147483648,"
                        "\"u32\":4294967295,\"i64\":-9223372036854775808,\"u64\":18446744073709551615,\"single\":0.1,"
                        "\"real\":-1e-300,\"decimal\":\"12.50\",\"text\":\"a\\\"b\\\\c\\n\\u0001\xc3\xa4\","
                        "\"chars\":\"seven77\",\"bytes\":\"AAEC/w==\",\"state\":\"PAID\",\"seconds\":-2,"
                        "\"milliseconds\":1764558245678,\"time\":\"2026-12-01T03:04:05.678901234Z\","
                        "\"uuid\":\"123e4567-e89b-42d3-a456-426614174000\",\"json\":{\"deep\":[1,2.5,null]},"
                        "\"raw\":[ 1,  1.00 ],\"one\":{\"name\":\"Ann\"},\"pointed\":7,\"pointed_struct\":null,"
                        "\"list\":[1,2,3],\"fixed\":[0.5,1.0,-2.25],\"some\":[9],\"words\":[\"x\",\"\"],"
                        "\"customers\":[{\"name\":\"Bob\",\"mail\":\"b@x\"}],\"map\":{\"k\":\"v\",\"\":\"empty\"},"
                        "\"colour\":\"red\",\"n\":12345678901}");
    void *second = decode(&everything_type, written);
    char *again = encode(&everything_type, second);
    assert_string_equal(again, written);
    coney_text_free(again);
    coney_text_free(written);
    coney_object_free(first);
    coney_object_free(second);
}

static void test_members_come_in_any_order_and_the_last_of_a_name_counts(void **state)
{
    (void)state;
    customer *read = decode(&customer_type, " { \"mail\" : \"m\" , \"name\":\"first\",\"na\\u006de\":\"last\" } ");
    assert_string_equal(read->name, "last");
    assert_string_equal(read->mail, "m");
    coney_object_free(read);
}

static void test_optional_fields_may_be_missing_or_null(void **state)
{
    (void)state;
    order *read = decode(&order_type, ORDER);
    assert_false(read->has_weight);
    assert_null(read->note);
    assert_null(read->guest);
    assert_string_equal(read->currency, "EUR");
    coney_object_free(read);
    read =
        decode(&order_type, ORDER_START ORDER_LINES ",\"weight\":null,\"note\":null,\"guest\":null,\"currency\":null}");
    assert_false(read->has_weight);
    assert_null(read->note);
    assert_string_equal(read->currency, "EUR");
    coney_object_free(read);
    read =
        decode(&order_type, ORDER_START ORDER_LINES ",\"weight\":0,\"currency\":\"USD\",\"guest\":{\"name\":\"G\"}}");
    assert_true(read->has_weight);
    assert_string_equal(read->currency, "USD");
    assert_string_equal(read->guest->name, "G");
    coney_object_free(read);
}

static void test_lists_and_maps_may_be_documents(void **state)
{
    (void)state;
    coney_list *list = decode(&orders_type, "[" ORDER "," ORDER "]");
    assert_int_equal(list->count, 2);
    assert_string_equal(((order *)list->items)[1].lines[0].sku, "carrot");
    coney_object_free(list);
    coney_map *map = decode(&orders_by_name_type, "{\"a\":" ORDER "}");
    assert_int_equal(map->count, 1);
    assert_string_equal(map->keys[0], "a");
    assert_int_equal(((order *)map->values)[0].id, 7);
    coney_object_free(map);
    list = decode(&orders_type, "[]");
    assert_int_equal(list->count, 0);
    coney_object_free(list);
}

/* ---- refusals ---- */

static void test_a_wrong_type_names_the_place_and_the_value(void **state)
{
    (void)state;
    static const struct {
        const char *json, *why;
    } all[] = {
        {"{\"id\":\"7\"}", "$.id: expected integer, got \"7\""},
        {"{\"id\":7.5}", "$.id: expected integer, got 7.5"},
        {"{\"id\":1e3}", "$.id: expected integer, got 1e3"},
        {"{\"id\":9223372036854775808}", "$.id: 9223372036854775808 is out of range; CONEY_INT64 holds"},
        {"{\"id\":null}", "$.id: expected integer, got null"},
        {"{\"id\":true}", "$.id: expected integer, got true"},
        {"{\"id\":[]}", "$.id: expected integer, got an array"},
        {"{\"state\":\"LOST\"}", "$.state: \"LOST\" is no name here; these are: NEW, PAID, SHIPPED"},
        {"{\"state\":1}", "$.state: expected name, got 1"},
        {"{\"customer\":[]}", "$.customer: expected an object, got an array"},
        {"{\"customer\":{\"name\":5}}", "$.customer.name: expected string, got 5"},
        {"{\"customer\":{\"name\":\"a name of more than twenty bytes\"}}",
         "$.customer.name: 32 bytes are too many; at"},
        {"{\"customer\":{}}", "$.customer.name: missing"},
        {"{\"lines\":{}}", "$.lines: expected an array, got an object"},
        {"{\"lines\":[{\"quantity\":1},{\"quantity\":\"two\"}]}", "$.lines[0].sku: missing"},
        {"{\"lines\":[{\"quantity\":\"two\"}]}", "$.lines[0].quantity: expected integer, got \"two\""},
        {"{\"lines\":[{\"quantity\":0}]}", "$.lines[0].quantity: 0 is not from 1 to 1000"},
        {"{\"lines\":[{\"sku\":\"\"}]}", "$.lines[0].sku: 0 bytes are too few; at least 1 are required"},
        {"{\"lines\":[{\"sku\":\"longer than it may be\"}]}", "$.lines[0].sku: 21 bytes are too many; at most 11"},
        {"{\"lines\":[{\"price\":\"1,50\"}]}", "$.lines[0].price: expected decimal number, got \"1,50\""},
        {"{\"lines\":[null]}", "$.lines[0]: expected an object, got null"},
        {"{\"placedAt\":\"2026-13-01T00:00:00Z\"}", "$.placedAt: expected a time that exists, got \"2026-13-01T00"},
        {"{\"placedAt\":\"2026-12-01T00:00:00\"}", "$.placedAt: expected a time with a zone"},
        {"{\"placedAt\":1764558245}",
         "$.placedAt: expected a time such as \"2026-12-01T03:04:05Z\" (numbers need `time`"},
        {"{\"weight\":51}", "$.weight: 51 is not from 0 to 50"},
        {"{\"weight\":1e400}", "$.weight: 1e400 is out of range"},
        {"{\"uuid\":\"123e4567e89b42d3a456426614174000\"}", "$.uuid: expected UUID"},
        {"{\"note\":\"a\\u0000b\"}", "$.note: the text contains a NUL"},
        {ORDER_START "\"lines\":[]}", NULL},
        {"[]", "$: expected an object, got an array"},
        {"null", "$: expected an object, got null"},
        {"", "the text is empty"},
        {" ", "invalid JSON at line 1, column 2"},
        {"{\"id\":7", "invalid JSON at line 1, column 8: the text ends, and ',' or '}' is expected"},
        {"{\"id\":\n07}", "invalid JSON at line 2"},
        {ORDER "x", "invalid JSON"},
        {"{\"id\":7,}", "the name of a member is expected"},
        {"{\"id\" 7}", "':' is expected"},
        {"{\"id\":nul}", "invalid JSON"},
        {"{\"note\":\"\\x\"}", "a backslash and no escape after it"},
        {"{\"note\":\"\\ud800\"}", "half of a surrogate pair"},
        {"{\"note\":\"\n\"}", "a control character in a string"},
        {"{\"note\":\"", "the text ends within a string"},
        {"{\"id\":7,\"state\":\"SHIPPED\",\"customer\":{\"name\":\"A\"},\"lines\":[],\"placedAt\":\"2026-12-01T03:"
         "04Z\"}",
         "type 'shop.Order': $: a shipped order has lines"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i].why)
            assert_refused(&order_type, all[i].json, all[i].why);
        else
            coney_object_free(decode(&order_type, all[i].json));
    }
    assert_refused(&orders_type, "[" ORDER ",{\"id\":false}]", "$[1].id: expected integer, got false");
    assert_refused(&orders_by_name_type, "{\"a b\":{\"id\":false}}", "$.a b.id: expected integer, got false");
}

static void test_integers_are_checked_against_their_width(void **state)
{
    (void)state;
    static const struct {
        const char *name, *least, *below, *most, *above;
    } all[] = {
        {"i8", "-128", "-129", "127", "128"},
        {"u8", "0", "-1", "255", "256"},
        {"i16", "-32768", "-32769", "32767", "32768"},
        {"u16", "-0", "-1", "65535", "65536"},
        {"i32", "-2147483648", "-2147483649", "2147483647", "2147483648"},
        {"u32", "0", "-1", "4294967295", "4294967296"},
        {"i64", "-9223372036854775808", "-9223372036854775809", "9223372036854775807", "9223372036854775808"},
        {"u64", "0", "-1", "18446744073709551615", "18446744073709551616"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char json[120], place[40];
        const char *bad[] = {all[i].below, all[i].above, "99999999999999999999999999999999"};
        const char *good[] = {all[i].least, all[i].most};
        snprintf(place, sizeof place, "$.%s: ", all[i].name);
        for (size_t k = 0; k < 3; k++) {
            snprintf(json, sizeof json, "{\"%s\":%s}", all[i].name, bad[k]);
            assert_refused(&everything_type, json, place);
            assert_non_null(strstr(coney_last_error(), "is out of range"));
        }
        for (size_t k = 0; k < 2; k++) { /* the next failure is that other fields are missing */
            snprintf(json, sizeof json, "{\"%s\":%s}", all[i].name, good[k]);
            assert_refused(&everything_type, json, ": missing");
        }
    }
}

static void test_arrays_have_their_size(void **state)
{
    (void)state;
    assert_refused(&everything_type, "{\"fixed\":[1,2]}", "$.fixed: 2 elements are too few; 3 are required");
    assert_refused(&everything_type, "{\"fixed\":[1,2,3,4]}", "$.fixed: more than 3 elements");
    assert_refused(&everything_type, "{\"some\":[1,2,3,4,5]}", "$.some: more than 4 elements");
    assert_refused(&everything_type, "{\"some\":[1,-2]}", "$.some[1]: -2 is out of range");
    assert_refused(&everything_type, "{\"words\":[null]}", "$.words[0]: expected string, got null");
}

static void test_base64_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int size;
    } all[] = {{"", 0},     {"AA==", 1},   {"AA", 1},    {"AAA=", 2},   {"AAA", 2},   {"AAAA", 3},  {"A", -1},
               {"AA=", -1}, {"AA===", -1}, {"A-_A", -1}, {"AA AA", -1}, {"====", -1}, {"AAAAA", -1}};
    static const coney_field fields[] = {CONEY_FIELD(everything, bytes, CONEY_BYTES)};
    static const coney_type type = CONEY_TYPE(NULL, everything, fields);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char json[60];
        snprintf(json, sizeof json, "{\"bytes\":\"%s\"}", all[i].text);
        if (all[i].size < 0) {
            assert_refused(&type, json, "$.bytes: expected base64, got");
            continue;
        }
        everything *read = decode(&type, json);
        assert_int_equal(read->bytes.size, all[i].size);
        coney_object_free(read);
    }
}

static void test_unknown_members_are_ignored_kept_or_refused(void **state)
{
    (void)state;
    static const coney_field fields[] = {CONEY_FIELD(customer, name, CONEY_STRING)};
    static const coney_type strict = CONEY_TYPE("shop.Strict", customer, fields, .refuse_unknown = true);
    coney_object_free(decode(&customer_type, "{\"name\":\"A\",\"colour\":{\"deep\":[1]}}"));
    assert_refused(&strict, "{\"name\":\"A\",\"colour\":1}", "$.colour: no such field in type 'shop.Strict'");
    assert_refused(&customer_type, "{\"name\":\"A\",\"colour\":[1,}", "invalid JSON");
}

static void test_integers_above_those_of_most_clients_need_a_choice(void **state)
{
    (void)state;
    static const struct {
        coney_number_form form;
        const char *written; /* NULL: refused */
    } all[] = {{CONEY_NUMBER_DEFAULT, NULL},
               {CONEY_NUMBER_PLAIN, "{\"u64\":9223372036854775808}"},
               {CONEY_NUMBER_TEXT, "{\"u64\":\"9223372036854775808\"}"},
               {CONEY_NUMBER_LARGE_AS_TEXT, "{\"u64\":\"9223372036854775808\"}"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        coney_field fields[] = {CONEY_FIELD(everything, u64, CONEY_UINT64)};
        fields[0].options.number = all[i].form;
        const coney_type type = CONEY_TYPE(NULL, everything, fields);
        everything large = {.u64 = (uint64_t)INT64_MAX + 1};
        char *json;
        if (!all[i].written) {
            assert_fails(coney_type_encode(&type, &large, &json, NULL), CONEY_E_CONVERSION,
                         "$.u64: 9223372036854775808 is above 9223372036854775807");
            assert_refused(&type, "{\"u64\":\"1\"}", "$.u64: expected integer, got \"1\"");
        } else {
            assert_becomes(&type, all[i].written, all[i].written);
        }
        assert_becomes(&type, "{\"u64\":5}", all[i].form == CONEY_NUMBER_TEXT ? "{\"u64\":\"5\"}" : "{\"u64\":5}");
    }
}

static void test_decimals_keep_all_their_digits(void **state)
{
    (void)state;
    static const coney_field text[] = {CONEY_FIELD(everything, decimal, CONEY_DECIMAL)};
    static const coney_field plain[] = {CONEY_FIELD(everything, decimal, CONEY_DECIMAL, .number = CONEY_NUMBER_PLAIN)};
    static const coney_type as_text = CONEY_TYPE(NULL, everything, text),
                            as_number = CONEY_TYPE(NULL, everything, plain);
    assert_becomes(&as_text, "{\"decimal\":12.50}", "{\"decimal\":\"12.50\"}");
    assert_becomes(&as_number, "{\"decimal\":\"12345678901234567890.1234567890\"}",
                   "{\"decimal\":12345678901234567890.1234567890}");
    everything wrong = {.decimal = (char *)"1,5"};
    char *json;
    assert_fails(coney_type_encode(&as_number, &wrong, &json, NULL), CONEY_E_CONVERSION,
                 "$.decimal: expected decimal number, got \"1,5\"");
}

/* ---- limits ---- */

static void test_documents_over_a_limit_are_refused(void **state)
{
    (void)state;
    assert_ok(coney_json_set_limits(&(coney_json_limits){.max_values = 10, .max_depth = 3}));
    assert_refused(&everything_type, "{\"list\":[1,2,3,4,5,6,7,8,9,10]}", "the JSON holds more than 10 values");
    assert_refused(&everything_type, "{\"colour\":[1,2,3,4,5,6,7,8,9,10]}", "the JSON holds more than 10 values");
    assert_refused(&everything_type, "{\"colour\":[[[1]]]}", "more than 3 levels deep");
    assert_ok(coney_json_set_limits(&(coney_json_limits){.max_bytes = 1000}));
    assert_refused(&orders_type, "[" ORDER "," ORDER "," ORDER "," ORDER "," ORDER "," ORDER "," ORDER "," ORDER "]",
                   "max_bytes");
    assert_ok(coney_json_set_limits(NULL));
}

static void test_deep_documents_do_not_overflow_the_stack(void **state)
{
    (void)state;
    size_t depth = 1000000;
    char *json = malloc(2 * depth + 20);
    assert_non_null(json);
    int begun = snprintf(json, 20, "{\"colour\":");
    memset(json + begun, '[', depth);
    json[(size_t)begun + depth] = '\0';
    assert_refused(&order_type, json, "more than 256 levels deep");
    free(json);
}

/* ---- writing ---- */

static void test_what_cannot_be_written_is_told(void **state)
{
    (void)state;
    char *json;
    order_line line = {.sku = "carrot", .quantity = 1, .price = (char *)"1.50"};
    order wrong = {.state = ORDER_NEW, .lines = &line, .line_count = 1};
    assert_fails(coney_type_encode(&order_type, &wrong, &json, NULL), CONEY_E_CONVERSION,
                 "type 'shop.Order': $.customer.name: missing: the pointer is NULL");
    assert_null(json);
    wrong.customer.name = (char *)"\xff";
    assert_fails(coney_type_encode(&order_type, &wrong, &json, NULL), CONEY_E_CONVERSION,
                 "$.customer.name: the text is not UTF-8 at byte 0");
    wrong.customer.name = (char *)"Ann";
    wrong.state = (order_state)99;
    assert_fails(coney_type_encode(&order_type, &wrong, &json, NULL), CONEY_E_CONVERSION, "$.state: 99 has no name");
    wrong.state = ORDER_NEW;
    line.quantity = 5000;
    assert_fails(coney_type_encode(&order_type, &wrong, &json, NULL), CONEY_E_CONVERSION,
                 "$.lines[0].quantity: 5000 is not from 1 to 1000");
    line.quantity = 1;
    memset(line.sku, 'x', sizeof line.sku);
    assert_fails(coney_type_encode(&order_type, &wrong, &json, NULL), CONEY_E_CONVERSION,
                 "$.lines[0].sku: the text has no NUL within its 12 bytes");
    strcpy(line.sku, "x");
    wrong.has_weight = true;
    wrong.weight = NAN;
    assert_fails(coney_type_encode(&order_type, &wrong, &json, NULL), CONEY_E_CONVERSION, "$.weight: NaN is no number");
    wrong.has_weight = false;
    wrong.lines = NULL;
    assert_fails(coney_type_encode(&order_type, &wrong, &json, NULL), CONEY_E_CONVERSION,
                 "$.lines: missing: the list is NULL, its count is 1");
    wrong.line_count = 0;
    wrong.placed_at = INT64_MAX;
    assert_fails(coney_type_encode(&order_type, &wrong, &json, NULL), CONEY_E_CONVERSION,
                 "$.placedAt: 9223372036854775807 seconds since 1970 are not in the years 0 to 9999");
    wrong.placed_at = 0;
    wrong.state = ORDER_SHIPPED;
    assert_fails(coney_type_encode(&order_type, &wrong, &json, NULL), CONEY_E_CONVERSION,
                 "$: a shipped order has lines");
}

static void test_optional_fields_are_left_out_or_null(void **state)
{
    (void)state;
    order one = {.id = 1, .state = ORDER_NEW, .customer.name = (char *)"Ann", .placed_at = -1};
    char *json = encode(&order_type, &one);
    assert_string_equal(json, "{\"id\":1,\"uuid\":\"00000000-0000-0000-0000-000000000000\",\"state\":\"NEW\","
                              "\"customer\":{\"name\":\"Ann\"},\"lines\":[],\"placedAt\":\"1969-12-31T23:59:59Z\","
                              "\"note\":null}");
    coney_text_free(json);
}

typedef struct node {
    struct node *next;
} node;

static const coney_type node_type;
static const coney_field node_fields[] = {CONEY_POINTER(node, next, CONEY_STRUCT(node_type))};
static const coney_type node_type = CONEY_TYPE("node", node, node_fields);

static void test_types_may_contain_themselves(void **state)
{
    (void)state;
    assert_becomes(&node_type, "{\"next\":{\"next\":null}}", "{\"next\":{\"next\":null}}");
    assert_ok(coney_type_check(&node_type));
    node loop = {.next = &loop};
    char *json;
    assert_fails(coney_type_encode(&node_type, &loop, &json, NULL), CONEY_E_CONVERSION,
                 "does a struct point to itself?");
}

static const double reals[] = {0.0,  -0.0, 1,      -1,  0.1,     0.25,    12.5,    1234.5678, 1e15,       1e16,  1e22,
                               1e23, 1e-7, 5e-324, 0.3, 2.0 / 3, 1.0 / 3, DBL_MAX, DBL_MIN,   123456.789, 1e300, 4.35};

static void test_doubles_are_read_as_they_were_written(void **state)
{
    (void)state;
    static const coney_field fields[] = {CONEY_FIELD(everything, real, CONEY_DOUBLE)};
    static const coney_type type = CONEY_TYPE(NULL, everything, fields);
    for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
        everything one = {.real = reals[i]};
        char *json = encode(&type, &one);
        everything *read = decode(&type, json);
        assert_memory_equal(&read->real, &one.real, sizeof one.real);
        json_t *tree = json_loads(json, 0, NULL);
        assert_true(json_real_value(json_object_get(tree, "real")) == reals[i]);
        json_decref(tree);
        coney_object_free(read);
        coney_text_free(json);
    }
    everything short_one = {.real = 4.35};
    char *json = encode(&type, &short_one);
    assert_string_equal(json, "{\"real\":4.35}");
    coney_text_free(json);
}

/* Makes a locale of its own, because few machines have one with a comma. */
static bool set_comma_locale(void)
{
    char folder[] = "/tmp/coney-locale-XXXXXX", command[200];
    assert_non_null(mkdtemp(folder));
    snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 2>/dev/null", folder);
    bool made = system(command) == 0;
    setenv("LOCPATH", folder, 1);
    made = made && setlocale(LC_ALL, "de_DE.UTF-8");
    unsetenv("LOCPATH");
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) == 0 && made;
}

static void test_locales_with_a_comma_do_no_harm(void **state)
{
    (void)state;
    static const coney_field fields[] = {CONEY_FIELD(everything, real, CONEY_DOUBLE),
                                         CONEY_FIELD(everything, single, CONEY_FLOAT)};
    static const coney_type type = CONEY_TYPE(NULL, everything, fields);
    if (!set_comma_locale())
        test_leave_out("localedef cannot make de_DE here; Debian's package locales has it");
    if (strtod("1.5", NULL) != 1) { /* musl has one decimal point for all locales */
        setlocale(LC_ALL, "C");
        test_leave_out("this C library has no locale with a comma");
    }
    assert_becomes(&type, "{\"real\":1.23456789012345e-10,\"single\":0.1}",
                   "{\"real\":1.23456789012345e-10,\"single\":0.1}");
    setlocale(LC_ALL, "C");
}

/* ---- memory ---- */

static void test_no_memory_is_told_and_nothing_leaks(void **state)
{
    (void)state;
    for (int successes = 0;; successes++) {
        void *object = NULL;
        char *json = NULL;
        cny_alloc_fail_after(successes);
        coney_status status = coney_type_decode(&everything_type, &object, everything_json, strlen(everything_json));
        coney_status written = status == CONEY_OK ? coney_type_encode(&everything_type, object, &json, NULL) : status;
        cny_alloc_fail_after(-1);
        coney_object_free(object);
        coney_text_free(json);
        if (written == CONEY_OK)
            break;
        assert_int_equal(written, CONEY_E_NO_MEMORY);
    }
}

/* ---- tables ---- */

static void test_mistakes_in_tables_are_found(void **state)
{
    (void)state;
    assert_ok(coney_type_check(&order_type));
    assert_ok(coney_type_check(&orders_by_name_type));
    assert_ok(coney_type_check(&everything_type));
    coney_field fields[] = {CONEY_FIELD(customer, name, CONEY_STRING), CONEY_FIELD(customer, mail, CONEY_STRING)};
    const coney_type type = CONEY_TYPE("t", customer, fields);
    fields[1].options.name = "name";
    assert_fails(coney_type_check(&type), CONEY_E_INVALID, "type 't': $.name: a second field has this name in JSON");
    fields[1].options.name = NULL;
    fields[1].size = 3;
    void *object;
    assert_fails(coney_type_check(&type), CONEY_E_INVALID,
                 "field 'mail': the member has 3 bytes, and CONEY_STRING has");
    assert_fails(coney_type_decode(&type, &object, "{\"mail\":\"\"}", 11), CONEY_E_INVALID, "field 'mail'");
    fields[1].size = sizeof(char *);
    fields[1].kind = 99;
    assert_fails(coney_type_check(&type), CONEY_E_INVALID, "field 'mail': 99 is no kind");
    fields[1].kind = CONEY_STRING;
    fields[1].options.has_range = true;
    assert_fails(coney_type_check(&type), CONEY_E_INVALID, "$.mail: CONEY_RANGE is for integers");
    fields[1].options.has_range = false;
    fields[1].offset = sizeof(customer);
    assert_fails(coney_type_check(&type), CONEY_E_INVALID, "$.mail: the member is not within the struct");
}

static void test_schema_describes_the_documents(void **state)
{
    (void)state;
    json_t *schema;
    assert_ok(coney_type_schema(&order_type, &schema));
    json_t *definition = json_object_get(json_object_get(schema, "$defs"), "shop.Order-1");
    json_t *properties = json_object_get(definition, "properties");
    assert_string_equal(json_string_value(json_object_get(schema, "$ref")), "#/$defs/shop.Order-1");
    assert_int_equal(json_object_size(properties), 10);
    assert_int_equal(json_array_size(json_object_get(definition, "required")), 5);
    assert_string_equal(json_string_value(json_object_get(json_object_get(properties, "placedAt"), "format")),
                        "date-time");
    assert_int_equal(json_integer_value(json_object_get(json_object_get(properties, "lines"), "maxItems")), 100);
    const json_t *line = json_object_get(json_object_get(schema, "$defs"), "shop.Line-3");
    const json_t *price = json_object_get(json_object_get(line, "properties"), "price");
    assert_int_equal(json_array_size(json_object_get(price, "type")), 2); /* a number is read, too */
    json_decref(schema);
    assert_ok(coney_type_schema(&everything_type, &schema));
    json_decref(schema);
    assert_ok(coney_type_schema(&node_type, &schema));
    json_decref(schema);
}

/* ---- messages ---- */

static void test_messages_carry_the_headers_of_spring(void **state)
{
    (void)state;
    order one = {.id = 1, .state = ORDER_NEW, .customer.name = (char *)"Ann"};
    coney_list list = {.items = &one, .count = 1};
    const char *key = "k";
    coney_map map = {.keys = &key, .values = &one, .count = 1};
    const struct {
        const coney_type *type;
        const void *object;
        const char *id, *content, *key;
    } all[] = {{&order_type, &one, "shop.Order", NULL, NULL},
               {&orders_type, &list, "java.util.ArrayList", "shop.Order", NULL},
               {&orders_by_name_type, &map, "java.util.HashMap", "shop.Order", "java.lang.String"}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        coney_message *message;
        assert_ok(coney_message_new_object(&message, all[i].type, all[i].object, NULL));
        const coney_properties *properties = coney_message_properties(message);
        assert_string_equal(properties->content_type, "application/json");
        assert_string_equal(properties->content_encoding, "UTF-8");
        assert_string_equal(coney_table_get_string(properties->headers, CONEY_HEADER_TYPE_ID), all[i].id);
        const char *content = coney_table_get_string(properties->headers, CONEY_HEADER_CONTENT_TYPE_ID);
        assert_true(all[i].content ? strcmp(content, all[i].content) == 0 : !content);
        const char *of_keys = coney_table_get_string(properties->headers, CONEY_HEADER_KEY_TYPE_ID);
        assert_true(all[i].key ? strcmp(of_keys, all[i].key) == 0 : !of_keys);
        void *read;
        assert_ok(coney_message_object(&read, message, all[i].type));
        coney_object_free(read);
        coney_message_unref(message);
    }
}

static void test_headers_of_the_program_stay(void **state)
{
    (void)state;
    customer one = {.name = (char *)"Ann"};
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_TYPE_ID, "mine"));
    assert_ok(coney_table_set_int64(headers, "n", 5));
    coney_message *message;
    assert_ok(coney_message_new_object(&message, &customer_type, &one, &(coney_properties){.headers = headers}));
    coney_table_free(headers);
    const coney_table *sent = coney_message_properties(message)->headers;
    assert_int_equal(coney_table_size(sent), 2);
    assert_string_equal(coney_table_get_string(sent, CONEY_HEADER_TYPE_ID), "mine");
    coney_message_unref(message);
}

static void test_charsets_and_content_types_are_those_of_json(void **state)
{
    (void)state;
    coney_message *message;
    void *read;
    customer one = {.name = (char *)"\xc3\xa4"};
    const coney_properties latin = {.content_encoding = "ISO-8859-1"};
    assert_ok(coney_message_new_object(&message, &customer_type, &one, &latin));
    assert_memory_equal(coney_message_body(message), "{\"name\":\"\xe4\"}", 12);
    assert_ok(coney_message_object(&read, message, &customer_type));
    assert_string_equal(((customer *)read)->name, "\xc3\xa4");
    coney_object_free(read);
    coney_message_unref(message);
    assert_ok(coney_message_new(&message, "{}", 2, &(coney_properties){.content_type = "text/plain"}));
    assert_fails(coney_message_object(&read, message, &customer_type), CONEY_E_CONVERSION,
                 "content type 'text/plain' is not JSON");
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_is_read),
        cmocka_unit_test(test_what_was_read_is_written_as_it_was),
        cmocka_unit_test(test_members_come_in_any_order_and_the_last_of_a_name_counts),
        cmocka_unit_test(test_optional_fields_may_be_missing_or_null),
        cmocka_unit_test(test_lists_and_maps_may_be_documents),
        cmocka_unit_test(test_a_wrong_type_names_the_place_and_the_value),
        cmocka_unit_test(test_integers_are_checked_against_their_width),
        cmocka_unit_test(test_arrays_have_their_size),
        cmocka_unit_test(test_base64_is_checked),
        cmocka_unit_test(test_unknown_members_are_ignored_kept_or_refused),
        cmocka_unit_test(test_integers_above_those_of_most_clients_need_a_choice),
        cmocka_unit_test(test_decimals_keep_all_their_digits),
        cmocka_unit_test(test_documents_over_a_limit_are_refused),
        cmocka_unit_test(test_deep_documents_do_not_overflow_the_stack),
        cmocka_unit_test(test_what_cannot_be_written_is_told),
        cmocka_unit_test(test_optional_fields_are_left_out_or_null),
        cmocka_unit_test(test_types_may_contain_themselves),
        cmocka_unit_test(test_doubles_are_read_as_they_were_written),
        cmocka_unit_test(test_locales_with_a_comma_do_no_harm),
        cmocka_unit_test(test_no_memory_is_told_and_nothing_leaks),
        cmocka_unit_test(test_mistakes_in_tables_are_found),
        cmocka_unit_test(test_schema_describes_the_documents),
        cmocka_unit_test(test_messages_carry_the_headers_of_spring),
        cmocka_unit_test(test_headers_of_the_program_stay),
        cmocka_unit_test(test_charsets_and_content_types_are_those_of_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
