/* SPDX-License-Identifier: MIT */
/* Values as Jackson writes and reads them: ValueCases.java is the other side. */
#include "interop.h"

#define OURS "org.coney.interop.ValueCases$"

static json_t *read_json(coney_message *message)
{
    json_t *json;
    assert_ok(coney_message_json(&json, message));
    return json;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (!text)
        fail_msg("%s is no text", name);
    return text;
}

static double number_of(const json_t *object, const char *name)
{
    if (!json_is_number(json_object_get(object, name)))
        fail_msg("%s is no number", name);
    return json_number_value(json_object_get(object, name));
}

static int64_t integer_of(const json_t *object, const char *name)
{
    if (!json_is_integer(json_object_get(object, name)))
        fail_msg("%s is no integer", name);
    return json_integer_value(json_object_get(object, name));
}

/* ---- times ---- */

/* Spring Boot's way: ISO 8601. Jackson's way before version 3: numbers of seconds, of milliseconds, and arrays. */
static void read_times(coney_message *message, int index)
{
    json_t *times = read_json(message);
    if (index == 0) {
        assert_string_equal(text_of(times, "instant"), "2023-11-14T22:13:20.123456789Z");
        assert_memory_equal(text_of(times, "date"), "2023-11-14T22:13:20.123", 23); /* then Z, +00:00 or +0000 */
        assert_memory_equal(text_of(times, "offset"), "2023-11-14T23:13:20.5+01:00", 27);
        assert_string_equal(text_of(times, "local"), "2023-11-14T22:13:20");
        assert_string_equal(text_of(times, "day"), "2023-11-14");
        assert_string_equal(text_of(times, "time"), "22:13:20");
        assert_string_equal(text_of(times, "duration"), "PT1M30.5S");
    } else {
        assert_true(number_of(times, "instant") == (double)1700000000.123456789); /* constants may have more bits */
        assert_int_equal(integer_of(times, "date"), 1700000000123);
        assert_int_equal(json_array_size(json_object_get(times, "day")), 3);
        assert_true(number_of(times, "duration") == 90.5);
    }
    json_decref(times);
}

static void send_times(const char *queue)
{
    interop_send_json(queue,
                      "{'instant':'2023-11-14T22:13:20.123456789Z','date':'2023-11-14T22:13:20.123Z',"
                      "'offset':'2023-11-14T23:13:20.5+01:00','local':'2023-11-14T22:13:20','day':'2023-11-14',"
                      "'time':'22:13:20','duration':'PT1M30.5S'}",
                      OURS "Times");
    interop_send_json(queue, "{'instant':1700000000,'date':1700000000123}", OURS "Moments");
}

/* ---- numbers ---- */

static void read_numbers(coney_message *message, int index)
{
    (void)index;
    json_t *numbers = read_json(message);
    assert_true(number_of(numbers, "amount") == 1234.5);
    assert_true(number_of(numbers, "exact") == 100);
    assert_int_equal(integer_of(numbers, "largest"), INT64_MAX);
    assert_int_equal(integer_of(numbers, "smallest"), INT64_MIN);
    assert_int_equal(integer_of(numbers, "odd"), 9007199254740993);
    assert_int_equal(integer_of(numbers, "number"), INT32_MIN);
    assert_int_equal(integer_of(numbers, "little"), INT16_MAX);
    assert_int_equal(integer_of(numbers, "tiny"), INT8_MIN);
    assert_true(number_of(numbers, "real") == (double)1e-300);
    assert_true(number_of(numbers, "single") == 0.5);
    json_decref(numbers);
}

static void send_text(const char *queue, const char *json, const char *type)
{
    coney_message *message;
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "__TypeId__", type));
    assert_ok(coney_message_new(
        &message, json, strlen(json),
        &(coney_properties){.content_type = "application/json", .content_encoding = "UTF-8", .headers = headers}));
    coney_table_free(headers);
    interop_send(queue, message);
}

static void send_numbers(const char *queue)
{
    send_text(queue,
              "{\"amount\":1234.50,\"exact\":1E+2,\"largest\":9223372036854775807,\"smallest\":-9223372036854775808,"
              "\"odd\":9007199254740993,\"number\":-2147483648,\"little\":32767,\"tiny\":-128,\"real\":1e-300,"
              "\"single\":0.5}",
              OURS "Numbers");
}

/* jansson has no type for these, and no number is changed in silence. */
static void read_big_numbers(coney_message *message, int index)
{
    (void)index;
    json_t *json;
    assert_fails(coney_message_json(&json, message), CONEY_E_CONVERSION, "too big integer");
}

static void send_big_numbers(const char *queue)
{
    send_text(queue, "{\"big\":1180591620717411303424,\"precise\":12345678901234567890.123456789}", OURS "Big");
}

/* ---- other values ---- */

static const char text[] = "tab\t nul\0 \u00e9 \U0001f680 \u2028 </script>";

static void read_values(coney_message *message, int index)
{
    (void)index;
    json_t *values = read_json(message);
    const json_t *read_text = json_object_get(values, "text");
    assert_string_equal(text_of(values, "uuid"), "123e4567-e89b-12d3-a456-426614174000");
    assert_string_equal(text_of(values, "colour"), "DARK_BLUE");
    assert_string_equal(text_of(values, "bytes"), "AAH/f4A=");
    assert_string_equal(text_of(values, "present"), "here");
    assert_true(json_is_null(json_object_get(values, "absent")));
    assert_true(json_is_null(json_object_get(values, "none")));
    assert_string_equal(text_of(values, "letter"), "x");
    assert_int_equal(json_string_length(read_text), sizeof text - 1);
    assert_memory_equal(json_string_value(read_text), text, sizeof text);
    assert_int_equal(json_array_size(json_object_get(json_object_get(values, "nested"), "numbers")), 3);
    json_decref(values);
}

static void send_values(const char *queue)
{
    interop_send_json(queue,
                      "{'uuid':'123e4567-e89b-12d3-a456-426614174000','colour':'DARK_BLUE','bytes':'AAH/f4A=',"
                      "'present':'here','none':null,'letter':'x','text':'tab\\t nul\\u0000 \u00e9 \U0001f680 \u2028 "
                      "</script>','nested':{'numbers':[1,2,3]}}",
                      OURS "Values");
}

const interop_case interop_value_cases[] = {
    {.name = "json-times", .read = read_times, .messages = 2, .send = send_times},
    {.name = "json-numbers", .read = read_numbers, .send = send_numbers},
    {.name = "json-big-numbers", .read = read_big_numbers, .send = send_big_numbers},
    {.name = "json-values", .read = read_values, .send = send_values},
    {0},
};
