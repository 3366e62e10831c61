/* SPDX-License-Identifier: MIT */
/* The messages of json_cases.c and value_cases.c as C structs with tables: the Java side sends and checks the same. */
#include "samples.h"

static const char *sample_keys[] = {"bolt", "wheel"};

/* ---- objects, lists and maps ---- */

/* Reads the body as the type that the headers name among all types. */
static coney_content *read_named(coney_message *message, const coney_type *type)
{
    coney_content *content;
    assert_ok(coney_message_content(&content, message, &sample_types));
    assert_int_equal(content->kind, CONEY_CONTENT_OBJECT);
    assert_ptr_equal(content->type, type);
    return content;
}

static void send_object(const char *queue, const coney_type *type, const void *object)
{
    assert_ok(coney_template_send_object(client.sender, queue, type, object, NULL));
}

static void read_order_as(coney_message *message, const coney_type *type)
{
    coney_content *content = read_named(message, type);
    sample_expect_order(content->object);
    coney_content_free(content);
}

static void read_order(coney_message *message, int index)
{
    (void)index;
    read_order_as(message, &sample_order_type);
}

static void send_order(const char *queue)
{
    send_object(queue, &sample_order_type, &sample_order);
}

static void read_order_by_id(coney_message *message, int index)
{
    (void)index;
    read_order_as(message, &sample_order_id_type);
}

static void send_order_by_id(const char *queue)
{
    send_object(queue, &sample_order_id_type, &sample_order);
}

/* The first message of Spring's names no class of the elements: then only the program can know the type. */
static void read_list_of(coney_message *message, int index, const coney_type *type)
{
    const coney_type *named;
    void *object;
    assert_ok(coney_types_find(&sample_types, message, &named));
    assert_ptr_equal(named, index == 0 ? NULL : type);
    assert_ok(coney_message_object(&object, message, type));
    const coney_list *list = object;
    sample_expect_lines(list->items, list->count);
    coney_object_free(object);
}

static void read_lines(coney_message *message, int index)
{
    read_list_of(message, index, &sample_lines_type);
}

static void send_lines(const char *queue)
{
    send_object(queue, &sample_lines_type, &(coney_list){sample_lines, COUNT_OF(sample_lines)});
}

static void read_lines_by_id(coney_message *message, int index)
{
    read_list_of(message, index, &sample_lines_id_type);
}

static void send_lines_by_id(const char *queue)
{
    send_object(queue, &sample_lines_id_type, &(coney_list){sample_lines, COUNT_OF(sample_lines)});
}

static void read_array(coney_message *message, int index)
{
    (void)index;
    coney_content *content = read_named(message, &sample_lines_type);
    const coney_list *list = content->object;
    sample_expect_lines(list->items, list->count);
    coney_content_free(content);
}

static void read_map(coney_message *message, int index)
{
    const coney_type *named;
    void *object;
    assert_ok(coney_types_find(&sample_types, message, &named));
    assert_ptr_equal(named, index == 0 ? NULL : &sample_by_sku_type);
    assert_ok(coney_message_object(&object, message, &sample_by_sku_type));
    const coney_map *map = object;
    sample_expect_lines(map->values, map->count);
    assert_string_equal(map->keys[0], "bolt");
    coney_object_free(object);
}

static void send_map(const char *queue)
{
    send_object(queue, &sample_by_sku_type, &(coney_map){sample_keys, sample_lines, COUNT_OF(sample_lines)});
}

/* ---- times, as texts and as numbers ---- */

typedef struct times {
    struct timespec instant;
    int64_t date, offset; /* milliseconds */
    char *local, *day, *time, *duration;
} times;

static const coney_field times_fields[] = {
    CONEY_FIELD(times, instant, CONEY_TIMESPEC),    CONEY_FIELD(times, date, CONEY_TIMESTAMP_MS),
    CONEY_FIELD(times, offset, CONEY_TIMESTAMP_MS), CONEY_FIELD(times, local, CONEY_STRING),
    CONEY_FIELD(times, day, CONEY_STRING),          CONEY_FIELD(times, time, CONEY_STRING),
    CONEY_FIELD(times, duration, CONEY_STRING),
};
static const coney_type times_type = CONEY_TYPE(OURS "ValueCases$Times", times, times_fields);

/* Jackson's numbers: seconds with nine decimals, but a Date in milliseconds; a date without a zone as an array. */
typedef struct numeric_times {
    struct timespec instant, offset;
    int64_t date; /* milliseconds */
    int32_t day[3];
    double duration;
} numeric_times;

static const coney_field numeric_times_fields[] = {
    CONEY_FIELD(numeric_times, instant, CONEY_TIMESPEC, .time = CONEY_TIME_SECONDS),
    CONEY_FIELD(numeric_times, offset, CONEY_TIMESPEC, .time = CONEY_TIME_SECONDS),
    CONEY_FIELD(numeric_times, date, CONEY_TIMESTAMP_MS, .time = CONEY_TIME_MILLISECONDS),
    CONEY_ARRAY_FIELD(numeric_times, day, CONEY_INT32),
    CONEY_FIELD(numeric_times, duration, CONEY_DOUBLE),
};
static const coney_type numeric_times_type = CONEY_TYPE(OURS "ValueCases$Times", numeric_times, numeric_times_fields);

typedef struct moments {
    struct timespec instant;
    int64_t date;
} moments;

static const coney_field moments_fields[] = {
    CONEY_FIELD(moments, instant, CONEY_TIMESPEC, .time = CONEY_TIME_SECONDS),
    CONEY_FIELD(moments, date, CONEY_TIMESTAMP_MS, .time = CONEY_TIME_MILLISECONDS),
};
static const coney_type moments_type = CONEY_TYPE(OURS "ValueCases$Moments", moments, moments_fields);

static const struct timespec moment = {1700000000, 123456789};
static const int64_t moment_ms = 1700000000123, offset_ms = 1700000000500;

static void read_iso_times(coney_message *message)
{
    void *object;
    assert_ok(coney_message_object(&object, message, &times_type));
    const times *got = object;
    assert_int_equal(got->instant.tv_sec, moment.tv_sec);
    assert_int_equal(got->instant.tv_nsec, moment.tv_nsec);
    assert_int_equal(got->date, moment_ms);
    assert_int_equal(got->offset, offset_ms);
    assert_string_equal(got->local, "2023-11-14T22:13:20");
    assert_string_equal(got->day, "2023-11-14");
    assert_string_equal(got->time, "22:13:20");
    assert_string_equal(got->duration, "PT1M30.5S");
    coney_object_free(object);
}

static void read_numeric_times(coney_message *message)
{
    void *object;
    assert_ok(coney_message_object(&object, message, &numeric_times_type));
    const numeric_times *got = object;
    assert_int_equal(got->instant.tv_sec, moment.tv_sec);
    assert_int_equal(got->instant.tv_nsec, moment.tv_nsec);
    assert_int_equal(got->offset.tv_nsec, 500000000);
    assert_int_equal(got->date, moment_ms);
    assert_int_equal(got->day[0], 2023);
    assert_int_equal(got->day[2], 14);
    assert_true(got->duration == 90.5);
    coney_object_free(object);
}

static void read_times(coney_message *message, int index)
{
    if (index == 0)
        read_iso_times(message);
    else
        read_numeric_times(message);
}

static void send_times(const char *queue)
{
    const times iso = {moment,
                       moment_ms,
                       offset_ms,
                       (char[]){"2023-11-14T22:13:20"},
                       (char[]){"2023-11-14"},
                       (char[]){"22:13:20"},
                       (char[]){"PT1M30.5S"}};
    send_object(queue, &times_type, &iso);
    send_object(queue, &moments_type, &(moments){moment, moment_ms});
}

/* ---- numbers ---- */

typedef struct numbers {
    char *amount, *exact;
    int64_t largest, smallest, odd;
    int32_t number;
    int16_t little;
    int8_t tiny;
    double real;
    float single;
} numbers;

static const coney_field numbers_fields[] = {
    CONEY_FIELD(numbers, amount, CONEY_DECIMAL), CONEY_FIELD(numbers, exact, CONEY_DECIMAL),
    CONEY_FIELD(numbers, largest, CONEY_INT64),  CONEY_FIELD(numbers, smallest, CONEY_INT64),
    CONEY_FIELD(numbers, odd, CONEY_INT64),      CONEY_FIELD(numbers, number, CONEY_INT32),
    CONEY_FIELD(numbers, little, CONEY_INT16),   CONEY_FIELD(numbers, tiny, CONEY_INT8),
    CONEY_FIELD(numbers, real, CONEY_DOUBLE),    CONEY_FIELD(numbers, single, CONEY_FLOAT),
};
static const coney_type numbers_type = CONEY_TYPE(OURS "ValueCases$Numbers", numbers, numbers_fields);

static const numbers sample_numbers = {(char[]){"1234.50"}, (char[]){"1E+2"}, INT64_MAX, INT64_MIN, 9007199254740993,
                                       INT32_MIN,           INT16_MAX,        INT8_MIN,  1e-300,    0.5f};

static void read_numbers(coney_message *message, int index)
{
    (void)index;
    void *object;
    assert_ok(coney_message_object(&object, message, &numbers_type));
    const numbers *got = object;
    assert_string_equal(got->amount, sample_numbers.amount);
    assert_string_equal(got->exact, sample_numbers.exact);
    assert_true(got->largest == INT64_MAX);
    assert_true(got->smallest == INT64_MIN);
    assert_true(got->odd == sample_numbers.odd);
    assert_int_equal(got->number, INT32_MIN);
    assert_int_equal(got->little, INT16_MAX);
    assert_int_equal(got->tiny, INT8_MIN);
    assert_true(got->real == sample_numbers.real);
    assert_true(got->single == sample_numbers.single);
    coney_object_free(object);
}

static void send_numbers(const char *queue)
{
    send_object(queue, &numbers_type, &sample_numbers);
}

typedef struct big {
    char *big, *precise;
} big;

static const coney_field big_fields[] = {
    CONEY_FIELD(big, big, CONEY_DECIMAL, .number = CONEY_NUMBER_PLAIN),
    CONEY_FIELD(big, precise, CONEY_DECIMAL),
};
static const coney_type big_type = CONEY_TYPE(OURS "ValueCases$Big", big, big_fields);
static const big sample_big = {(char[]){"1180591620717411303424"}, (char[]){"12345678901234567890.123456789"}};

static void read_big_numbers(coney_message *message, int index)
{
    (void)index;
    void *object;
    assert_ok(coney_message_object(&object, message, &big_type));
    const big *got = object;
    assert_string_equal(got->big, sample_big.big);
    assert_string_equal(got->precise, sample_big.precise);
    coney_object_free(object);
}

static void send_big_numbers(const char *queue)
{
    send_object(queue, &big_type, &sample_big);
}

/* ---- other values ---- */

enum colour { RED, DARK_BLUE };

typedef struct values {
    uint8_t uuid[16];
    enum colour colour;
    coney_bytes bytes;
    char *present, *absent, *none;
    char letter[5];
    json_t *text; /* It has a NUL, which a C string cannot hold. */
    coney_map nested;
} values;

static const coney_enum_name colours[] = {{"RED", RED}, {"DARK_BLUE", DARK_BLUE}};
static const coney_field values_fields[] = {
    CONEY_FIELD(values, uuid, CONEY_UUID),
    CONEY_FIELD(values, colour, CONEY_ENUM(colours)),
    CONEY_FIELD(values, bytes, CONEY_BYTES),
    CONEY_FIELD(values, present, CONEY_STRING),
    CONEY_FIELD(values, absent, CONEY_STRING, .optional = true),
    CONEY_FIELD(values, none, CONEY_STRING, .optional = true),
    CONEY_FIELD(values, letter, CONEY_CHARS),
    CONEY_FIELD(values, text, CONEY_JSON),
    CONEY_MAP(values, nested, CONEY_JSON),
};
static const coney_type values_type = CONEY_TYPE(OURS "ValueCases$Values", values, values_fields);

static const uint8_t uuid[] = {0x12, 0x3e, 0x45, 0x67, 0xe8, 0x9b, 0x12, 0xd3,
                               0xa4, 0x56, 0x42, 0x66, 0x14, 0x17, 0x40, 0x00};
static const char text[] = "tab\t nul\0 \u00e9 \U0001f680 \u2028 </script>";

static void read_values(coney_message *message, int index)
{
    (void)index;
    void *object;
    assert_ok(coney_message_object(&object, message, &values_type));
    const values *got = object;
    assert_memory_equal(got->uuid, uuid, sizeof uuid);
    assert_int_equal(got->colour, DARK_BLUE);
    assert_int_equal(got->bytes.size, 5);
    assert_memory_equal(got->bytes.data, "\0\1\xff\x7f\x80", 5);
    assert_string_equal(got->present, "here");
    assert_null(got->absent);
    assert_null(got->none);
    assert_string_equal(got->letter, "x");
    assert_int_equal(json_string_length(got->text), sizeof text - 1);
    assert_memory_equal(json_string_value(got->text), text, sizeof text);
    assert_int_equal(got->nested.count, 1);
    assert_string_equal(got->nested.keys[0], "numbers");
    coney_object_free(object);
}

static void send_values(const char *queue)
{
    json_t *nested[] = {json_pack("[i, i, i]", 1, 2, 3)};
    const char *keys[] = {"numbers"};
    values object = {.colour = DARK_BLUE,
                     .bytes = {"\0\1\xff\x7f\x80", 5},
                     .present = (char[]){"here"},
                     .letter = "x",
                     .text = json_stringn(text, sizeof text - 1),
                     .nested = {keys, nested, 1}};
    memcpy(object.uuid, uuid, sizeof uuid);
    send_object(queue, &values_type, &object);
    json_decref(nested[0]);
    json_decref(object.text);
}

const interop_case interop_typed_cases[] = {
    {.name = "typed-object", .read = read_order, .send = send_order},
    {.name = "typed-list", .read = read_lines, .messages = 2, .send = send_lines},
    {.name = "typed-map", .read = read_map, .messages = 2, .send = send_map},
    {.name = "typed-array", .read = read_array, .send = send_lines},
    {.name = "typed-id-mapping", .read = read_order_by_id, .send = send_order_by_id},
    {.name = "typed-id-mapping-list", .read = read_lines_by_id, .messages = 2, .send = send_lines_by_id},
    {.name = "typed-times", .read = read_times, .messages = 2, .send = send_times},
    {.name = "typed-numbers", .read = read_numbers, .send = send_numbers},
    {.name = "typed-big-numbers", .read = read_big_numbers, .send = send_big_numbers},
    {.name = "typed-values", .read = read_values, .send = send_values},
    {0},
};
