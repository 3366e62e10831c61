/* SPDX-License-Identifier: MIT */
/* Reads single values of all kinds but structs. Each value is checked completely before it is stored. Any thread. */
#include "amqp/type_reader.h"

#include "amqp/base64.h"
#include "amqp/instant.h"
#include "amqp/json_writer.h"
#include "amqp/numbers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

coney_status cny_fail_object_size(const cny_type_reader *reader)
{
    return coney_conversion_failed("the object takes more than %zu bytes, which is max_bytes of coney_json_limits "
                                   "(coney_json_set_limits)",
                                   reader->json.limits.max_bytes);
}

void *cny_reader_alloc(cny_type_reader *reader, size_t size)
{
    reader->used += size;
    if (size > reader->json.limits.max_bytes || reader->used > reader->json.limits.max_bytes) {
        cny_fail_object_size(reader);
        return NULL;
    }
    void *piece = cny_arena_alloc(&reader->owner->arena, size);
    if (!piece)
        cny_fail_memory();
    return piece;
}

/* ---- failures ---- */

/* Writes the next value for a sentence, shortened: "two", 3.5, an object. */
static void describe(cny_json_reader *json, char *text, size_t room)
{
    char first = cny_json_peek(json);
    if (first == '{' || first == '[') {
        snprintf(text, room, first == '{' ? "an object" : "an array");
        return;
    }
    const char *end = json->at;
    while (end < json->end && end - json->at < 40 &&
           (first == '"' ? end == json->at || *end != '"' : !strchr(" \t\r\n,]}", *end)))
        end++;
    bool is_cut = end - json->at == 40;
    end += !is_cut && first == '"' && end < json->end;
    snprintf(text, room, "%.*s%s", (int)(end - json->at), json->at, is_cut ? "..." : "");
}

/* A document that is no JSON here is told as such. */
coney_status cny_fail_kind(cny_type_reader *reader, const char *expected)
{
    char got[64];
    cny_slice ignored;
    cny_json_reader ahead = reader->json;
    describe(&reader->json, got, sizeof got);
    if (cny_json_skip(&ahead, &ignored) != CONEY_OK)
        return cny_last_status();
    return cny_path_fail(reader->path, "expected %s, got %s", expected, got);
}

/* ---- texts ---- */

/* The size of the string without escapes, which room of string->size bytes has; the bytes of an escaped string are
 * written to the scratch buffer, after what is there. */
static coney_status unescape(cny_type_reader *reader, cny_slice *string)
{
    if (!string->is_escaped)
        return CONEY_OK;
    if (!cny_buffer_reserve(&reader->scratch, string->size))
        return cny_fail_memory();
    char *to = (char *)reader->scratch.data + reader->scratch.size;
    *string = (cny_slice){.data = to, .size = cny_json_unescape(string, to)};
    return CONEY_OK;
}

/* A string without escapes, valid until the next text is read. */
static coney_status read_text(cny_type_reader *reader, const coney_field *field, cny_slice *text)
{
    if (cny_json_peek(&reader->json) != '"')
        return cny_fail_kind(reader, cny_kind_of(field)->expected);
    coney_status status = cny_json_string(&reader->json, text);
    return status == CONEY_OK ? unescape(reader, text) : status;
}

static coney_status check_no_nul(cny_type_reader *reader, const cny_slice *text)
{
    return memchr(text->data, '\0', text->size) ? cny_path_fail(reader->path, "the text contains a NUL") : CONEY_OK;
}

static coney_status copy_text(cny_type_reader *reader, const cny_slice *text, void *to)
{
    char *copy = cny_reader_alloc(reader, text->size + 1);
    if (!copy)
        return cny_last_status();
    if (text->size > 0)
        memcpy(copy, text->data, text->size);
    copy[text->size] = '\0';
    memcpy(to, &copy, sizeof copy);
    return CONEY_OK;
}

/* A string goes straight from the document to the object. */
static coney_status read_string(cny_type_reader *reader, const coney_field *field, void *to)
{
    cny_slice text = {.data = ""};
    if (cny_json_peek(&reader->json) != '"')
        return cny_fail_kind(reader, "string");
    coney_status status = cny_json_string(&reader->json, &text);
    if (status != CONEY_OK)
        return status;
    char *copy = cny_reader_alloc(reader, text.size + 1);
    if (!copy)
        return cny_last_status();
    size_t size = cny_json_unescape(&text, copy);
    copy[size] = '\0';
    if (text.is_escaped && memchr(copy, '\0', size))
        return cny_path_fail(reader->path, "the text contains a NUL");
    memcpy(to, &copy, sizeof copy);
    return cny_check_bytes(field, reader->path, size);
}

static coney_status read_chars(cny_type_reader *reader, const coney_field *field, char *to)
{
    cny_slice text = {.data = ""};
    coney_status status = read_text(reader, field, &text);
    if (status == CONEY_OK)
        status = check_no_nul(reader, &text);
    if (status == CONEY_OK && text.size >= field->size)
        return cny_path_fail(reader->path, "%zu bytes are too many; at most %zu are allowed", text.size,
                             field->size - 1);
    if (status != CONEY_OK)
        return status;
    if (text.size > 0)
        memcpy(to, text.data, text.size);
    return cny_check_bytes(field, reader->path, text.size);
}

static coney_status read_enum(cny_type_reader *reader, const coney_field *field, int *to)
{
    cny_slice text = {.data = ""};
    const coney_enum_name *names = field->of;
    coney_status status = read_text(reader, field, &text);
    if (status != CONEY_OK)
        return status;
    for (size_t i = 0; i < field->of_count; i++) {
        if (strlen(names[i].name) == text.size && memcmp(names[i].name, text.data, text.size) == 0) {
            *to = names[i].value;
            return CONEY_OK;
        }
    }
    char known[200] = "";
    size_t used = 0, i = 0;
    for (; i < field->of_count && used < 150; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%.40s", i ? ", " : "", names[i].name);
    if (i < field->of_count)
        snprintf(known + used, sizeof known - used, ", ...");
    return cny_path_fail(reader->path, "\"%.*s\" is no name here; these are: %s",
                         (int)(text.size < 40 ? text.size : 40), text.data, known);
}

static coney_status read_bytes(cny_type_reader *reader, const coney_field *field, coney_bytes *to)
{
    cny_slice text = {.data = ""};
    coney_status status = read_text(reader, field, &text);
    if (status != CONEY_OK)
        return status;
    uint8_t *bytes = cny_reader_alloc(reader, CNY_BASE64_ROOM(text.size));
    if (!bytes)
        return cny_last_status();
    size_t size = cny_base64_read(bytes, text.data, text.size);
    if (size == SIZE_MAX)
        return cny_path_fail(reader->path, "expected base64, got \"%.*s\"", (int)(text.size < 40 ? text.size : 40),
                             text.data);
    bytes[size] = '\0';
    *to = (coney_bytes){.data = bytes, .size = size};
    return cny_check_bytes(field, reader->path, size);
}

static bool parse_uuid(const cny_slice *text, uint8_t *to)
{
    static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    size_t digits = 0;
    if (text->size != sizeof form - 1)
        return false;
    for (size_t i = 0; i < text->size; i++) {
        int digit = cny_hex_digit(text->data[i]);
        if (form[i] == '-' ? text->data[i] != '-' : digit < 0)
            return false;
        if (form[i] == 'x') {
            to[digits / 2] = (uint8_t)(to[digits / 2] << 4 | digit);
            digits++;
        }
    }
    return true;
}

static coney_status read_uuid(cny_type_reader *reader, const coney_field *field, uint8_t *to)
{
    cny_slice text = {.data = ""};
    coney_status status = read_text(reader, field, &text);
    if (status != CONEY_OK || parse_uuid(&text, to))
        return status;
    return cny_path_fail(reader->path, "expected UUID, got \"%.*s\"", (int)(text.size < 40 ? text.size : 40),
                         text.data);
}

/* ---- numbers ---- */

static bool is_number(char first)
{
    return first == '-' || (first >= '0' && first <= '9');
}

/* A number, or a text of digits if the field allows it. */
static coney_status read_digits(cny_type_reader *reader, const coney_field *field, bool may_be_text, cny_slice *digits)
{
    char first = cny_json_peek(&reader->json);
    if (is_number(first))
        return cny_json_number(&reader->json, digits);
    if (first != '"' || !may_be_text)
        return cny_fail_kind(reader, cny_kind_of(field)->expected);
    cny_json_reader at_value = reader->json;
    coney_status status = read_text(reader, field, digits);
    if (status != CONEY_OK || cny_json_is_number(digits->data, digits->size))
        return status;
    reader->json = at_value;
    return cny_fail_kind(reader, cny_kind_of(field)->expected);
}

static void store_integer(void *to, const cny_kind *kind, uint64_t integer)
{
    switch (kind->size) {
    case 1: *(uint8_t *)to = (uint8_t)integer; break;
    case 2: memcpy(to, &(uint16_t){(uint16_t)integer}, 2); break;
    case 4: memcpy(to, &(uint32_t){(uint32_t)integer}, 4); break;
    default: memcpy(to, &integer, 8); break;
    }
}

static coney_status fail_integer(cny_type_reader *reader, const cny_kind *kind, const cny_slice *digits)
{
    bool is_whole = !memchr(digits->data, '.', digits->size) && !memchr(digits->data, 'e', digits->size) &&
                    !memchr(digits->data, 'E', digits->size);
    int shown = (int)(digits->size < 40 ? digits->size : 40);
    if (!is_whole)
        return cny_path_fail(reader->path, "expected integer, got %.*s", shown, digits->data);
    long long least = kind->is_signed ? -(long long)kind->most - 1 : 0;
    return cny_path_fail(reader->path, "%.*s is out of range; %s holds %lld to %llu", shown, digits->data, kind->name,
                         least, (unsigned long long)kind->most);
}

static coney_status read_integer(cny_type_reader *reader, const coney_field *field, const cny_kind *kind, void *to)
{
    cny_slice digits = {.data = ""};
    coney_number_form form = field->options.number;
    bool may_be_text = form == CONEY_NUMBER_TEXT || form == CONEY_NUMBER_LARGE_AS_TEXT;
    coney_status status = read_digits(reader, field, may_be_text, &digits);
    if (status != CONEY_OK)
        return status;
    bool is_negative = *digits.data == '-';
    uint64_t absolute;
    if (!cny_number_to_uint64(digits.data + is_negative, digits.size - is_negative, &absolute) ||
        absolute > kind->most + (is_negative && kind->is_signed) || (is_negative && !kind->is_signed && absolute > 0))
        return fail_integer(reader, kind, &digits);
    store_integer(to, kind, is_negative ? 0 - absolute : absolute);
    return cny_check_integer_range(field, reader->path, is_negative, absolute);
}

static coney_status read_real(cny_type_reader *reader, const coney_field *field, void *to)
{
    cny_slice digits = {.data = ""};
    coney_status status = read_digits(reader, field, field->options.number == CONEY_NUMBER_TEXT, &digits);
    if (status != CONEY_OK)
        return status;
    double real = cny_number_to_double(digits.data, digits.size);
    /* FLT_MAX and half a step: numbers below are rounded to FLT_MAX, as 3.4028235E38, which is FLT_MAX in Java. */
    static const double least_above_float = 0x1.ffffffp127;
    if (isinf(real) || (field->kind == CONEY_FLOAT && fabs(real) >= least_above_float))
        return cny_path_fail(reader->path, "%.*s is out of range", (int)(digits.size < 40 ? digits.size : 40),
                             digits.data);
    if (field->kind == CONEY_FLOAT)
        memcpy(to, &(float){(float)real}, sizeof(float));
    else
        memcpy(to, &real, sizeof real);
    return cny_check_real_range(field, reader->path, real);
}

static coney_status read_decimal(cny_type_reader *reader, const coney_field *field, void *to)
{
    cny_slice digits = {.data = ""};
    coney_status status = read_digits(reader, field, true, &digits);
    if (status == CONEY_OK)
        status = copy_text(reader, &digits, to);
    return status == CONEY_OK ? cny_check_bytes(field, reader->path, digits.size) : status;
}

/* ---- times ---- */

static coney_status store_timespec(cny_type_reader *reader, const coney_field *field, const cny_instant *instant,
                                   void *to)
{
    struct timespec time = {.tv_sec = (time_t)instant->seconds, .tv_nsec = instant->nanos};
    int32_t halves[] = {(int32_t)instant->seconds, instant->nanos};
    bool is_short = field->size == CNY_SHORT_TIMESPEC;
    if (is_short ? halves[0] != instant->seconds : time.tv_sec != instant->seconds)
        return cny_path_fail(reader->path, "the time does not fit a time_t");
    memcpy(to, is_short ? (void *)halves : &time, is_short ? sizeof halves : sizeof time);
    return CONEY_OK;
}

static coney_status store_instant(cny_type_reader *reader, const coney_field *field, const cny_instant *instant,
                                  void *to)
{
    int64_t value = instant->seconds;
    if (field->kind == CONEY_TIMESPEC)
        return store_timespec(reader, field, instant, to);
    if (field->kind == CONEY_TIMESTAMP_MS && (__builtin_mul_overflow(value, 1000, &value) ||
                                              __builtin_add_overflow(value, instant->nanos / 1000000, &value)))
        return cny_path_fail(reader->path, "the time does not fit 64 bits of milliseconds");
    memcpy(to, &value, sizeof value);
    return CONEY_OK;
}

static coney_status read_time(cny_type_reader *reader, const coney_field *field, void *to)
{
    cny_instant instant;
    cny_slice text = {.data = ""};
    if (is_number(cny_json_peek(&reader->json)) && field->options.time != CONEY_TIME_ISO_8601) {
        bool is_milliseconds = field->options.time == CONEY_TIME_MILLISECONDS;
        coney_status status = cny_json_number(&reader->json, &text);
        if (status != CONEY_OK)
            return status;
        return cny_instant_from_number(&instant, text.data, text.size, is_milliseconds)
                   ? store_instant(reader, field, &instant, to)
                   : cny_path_fail(reader->path, "expected %s since 1970, got %.*s",
                                   is_milliseconds ? "milliseconds" : "seconds", (int)(text.size < 40 ? text.size : 40),
                                   text.data);
    }
    if (cny_json_peek(&reader->json) != '"')
        return cny_fail_kind(reader, "a time such as \"2026-12-01T03:04:05Z\" (numbers need `time` of the field)");
    coney_status status = read_text(reader, field, &text);
    const char *wrong = status == CONEY_OK ? cny_instant_read(&instant, text.data, text.size) : NULL;
    if (wrong)
        return cny_path_fail(reader->path, "expected %s, got \"%.*s\"", wrong, (int)(text.size < 40 ? text.size : 40),
                             text.data);
    return status == CONEY_OK ? store_instant(reader, field, &instant, to) : status;
}

/* ---- any JSON ---- */

typedef struct cny_owned_json {
    struct cny_owned_json *next;
    json_t *tree;
} cny_owned_json;

void cny_owned_jsons_free(cny_owner *owner)
{
    for (cny_owned_json *owned = owner->jsons; owned; owned = owned->next)
        json_decref(owned->tree);
}

coney_status cny_read_tree(cny_type_reader *reader, const cny_slice *text, json_t **tree)
{
    json_error_t error;
    cny_owned_json *owned = cny_reader_alloc(reader, sizeof *owned);
    if (!owned)
        return cny_last_status();
    *tree = json_loadb(text->data, text->size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!*tree && json_error_code(&error) == json_error_out_of_memory)
        return cny_fail_memory();
    if (!*tree)
        return cny_path_fail(reader->path, "%s", error.text);
    *owned = (cny_owned_json){.next = reader->owner->jsons, .tree = *tree};
    reader->owner->jsons = owned;
    return CONEY_OK;
}

static coney_status read_any(cny_type_reader *reader, const coney_field *field, void *to)
{
    cny_slice text = {.data = ""};
    json_t *tree;
    coney_status status = cny_json_skip(&reader->json, &text);
    if (status != CONEY_OK)
        return status;
    if (field->kind == CONEY_RAW_JSON)
        return copy_text(reader, &text, to);
    status = cny_read_tree(reader, &text, &tree);
    if (status == CONEY_OK)
        memcpy(to, &tree, sizeof tree);
    return status;
}

coney_status cny_read_scalar(cny_type_reader *reader, const coney_field *field, void *to)
{
    const cny_kind *kind = cny_kind_of(field);
    if (kind->most > 0)
        return read_integer(reader, field, kind, to);
    switch (field->kind) {
    case CONEY_BOOL:
        if (cny_json_peek(&reader->json) != 't' && cny_json_peek(&reader->json) != 'f')
            return cny_fail_kind(reader, kind->expected);
        return cny_json_bool(&reader->json, to);
    case CONEY_FLOAT:
    case CONEY_DOUBLE: return read_real(reader, field, to);
    case CONEY_DECIMAL: return read_decimal(reader, field, to);
    case CONEY_STRING: return read_string(reader, field, to);
    case CONEY_CHARS: return read_chars(reader, field, to);
    case CONEY_BYTES: return read_bytes(reader, field, to);
    case CONEY_ENUM: return read_enum(reader, field, to);
    case CONEY_UUID: return read_uuid(reader, field, to);
    case CONEY_TIMESTAMP:
    case CONEY_TIMESTAMP_MS:
    case CONEY_TIMESPEC: return read_time(reader, field, to);
    default: return read_any(reader, field, to);
    }
}
