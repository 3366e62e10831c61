/* SPDX-License-Identifier: MIT */
/* Writes C structs as JSON, straight into a buffer. Each value is checked before it is written. Any thread; recursion
 * only as deep as the limit of a document, so a struct that points to itself ends with a failure. */
#include "amqp/types.h"

#include "amqp/amqp.h"
#include "amqp/instant.h"
#include "amqp/json_reader.h"
#include "amqp/json_writer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct writer {
    cny_buffer *to;
    const coney_json_limits *limits;
    size_t depth;
    const cny_path *path;
} writer;

static coney_status write_value(writer *out, const coney_field *field, const void *value);
static coney_status write_object(writer *out, const coney_type *type, const void *object);

static coney_status written(bool ok)
{
    return ok ? CONEY_OK : cny_fail_memory();
}

static const char *pointer_at(const void *value)
{
    const char *pointer;
    memcpy(&pointer, value, sizeof pointer);
    return pointer;
}

/* ---- texts ---- */

static coney_status write_text(writer *out, const coney_field *field, const char *text, size_t size)
{
    ptrdiff_t wrong = cny_utf8_error(text, size);
    if (wrong >= 0)
        return cny_path_fail(out->path, "the text is not UTF-8 at byte %td", wrong);
    coney_status status = cny_check_bytes(field, out->path, size);
    return status == CONEY_OK ? written(cny_write_string(out->to, text, size)) : status;
}

static coney_status write_chars(writer *out, const coney_field *field, const char *text)
{
    const char *end = memchr(text, '\0', field->size);
    return end ? write_text(out, field, text, (size_t)(end - text))
               : cny_path_fail(out->path, "the text has no NUL within its %zu bytes", field->size);
}

static coney_status write_bytes(writer *out, const coney_field *field, const coney_bytes *bytes)
{
    if (!bytes->data && bytes->size > 0)
        return cny_path_fail(out->path, "data is NULL, size is %zu", bytes->size);
    coney_status status = cny_check_bytes(field, out->path, bytes->size);
    return status == CONEY_OK ? written(cny_write_base64(out->to, bytes->data, bytes->size)) : status;
}

static coney_status write_enum(writer *out, const coney_field *field, int value)
{
    const char *name = cny_enum_name(field, value);
    return name ? write_text(out, field, name, strlen(name)) : cny_path_fail(out->path, "%d has no name", value);
}

static coney_status write_uuid(writer *out, const uint8_t *uuid)
{
    static const char digits[] = "0123456789abcdef";
    char text[38], *at = text;
    *at++ = '"';
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[uuid[i] >> 4];
        *at++ = digits[uuid[i] & 15];
    }
    *at++ = '"';
    return written(cny_write_raw(out->to, text, (size_t)(at - text)));
}

/* ---- numbers ---- */

static int64_t load_signed(const cny_kind *kind, const void *value)
{
    int8_t one;
    int16_t two;
    int32_t four;
    int64_t eight;
    switch (kind->size) {
    case 1: return memcpy(&one, value, 1), one;
    case 2: return memcpy(&two, value, 2), two;
    case 4: return memcpy(&four, value, 4), four;
    default: return memcpy(&eight, value, 8), eight;
    }
}

static uint64_t load_unsigned(const cny_kind *kind, const void *value)
{
    uint64_t integer = (uint64_t)load_signed(kind, value);
    return kind->size < 8 ? integer & ((UINT64_C(1) << 8 * kind->size) - 1) : integer;
}

static bool put_integer(cny_buffer *to, bool is_negative, uint64_t absolute, bool is_text)
{
    return (!is_text || cny_write_byte(to, '"')) && (!is_negative || cny_write_byte(to, '-')) &&
           cny_write_unsigned(to, absolute) && (!is_text || cny_write_byte(to, '"'));
}

static coney_status write_integer(writer *out, const coney_field *field, const cny_kind *kind, const void *value)
{
    coney_number_form form = field->options.number;
    bool is_negative = kind->is_signed && load_signed(kind, value) < 0;
    uint64_t absolute = is_negative ? 0 - (uint64_t)load_signed(kind, value) : load_unsigned(kind, value);
    coney_status status = cny_check_integer_range(field, out->path, is_negative, absolute);
    if (status != CONEY_OK)
        return status;
    bool is_large = !is_negative && absolute > INT64_MAX;
    if (is_large && form == CONEY_NUMBER_DEFAULT)
        return cny_path_fail(out->path,
                             "%llu is above 9223372036854775807, which many clients cannot read; set `number` of the "
                             "field to CONEY_NUMBER_LARGE_AS_TEXT or CONEY_NUMBER_PLAIN",
                             (unsigned long long)absolute);
    bool is_text = form == CONEY_NUMBER_TEXT || (is_large && form == CONEY_NUMBER_LARGE_AS_TEXT);
    return written(put_integer(out->to, is_negative, absolute, is_text));
}

static coney_status write_real(writer *out, const coney_field *field, const void *value)
{
    bool is_float = field->kind == CONEY_FLOAT, is_text = field->options.number == CONEY_NUMBER_TEXT;
    double real;
    float single;
    memcpy(&single, value, sizeof single);
    if (is_float)
        real = (double)single;
    else
        memcpy(&real, value, sizeof real);
    if (!isfinite(real))
        return cny_path_fail(out->path, "%s is no number in JSON", isnan(real) ? "NaN" : "infinity");
    coney_status status = cny_check_real_range(field, out->path, real);
    if (status != CONEY_OK)
        return status;
    return written((!is_text || cny_write_byte(out->to, '"')) &&
                   (is_float ? cny_write_float(out->to, single) : cny_write_double(out->to, real)) &&
                   (!is_text || cny_write_byte(out->to, '"')));
}

static coney_status write_decimal(writer *out, const coney_field *field, const char *digits)
{
    size_t size = strlen(digits);
    if (!cny_json_is_number(digits, size))
        return cny_path_fail(out->path, "expected decimal number, got \"%.40s\"", digits);
    if (field->options.number != CONEY_NUMBER_PLAIN)
        return write_text(out, field, digits, size);
    coney_status status = cny_check_bytes(field, out->path, size);
    return status == CONEY_OK ? written(cny_write_raw(out->to, digits, size)) : status;
}

/* ---- times ---- */

static struct timespec load_timespec(const coney_field *field, const void *value)
{
    struct timespec time;
    int32_t halves[2];
    if (field->size == CNY_SHORT_TIMESPEC) {
        memcpy(halves, value, sizeof halves);
        return (struct timespec){.tv_sec = halves[0], .tv_nsec = halves[1]};
    }
    memcpy(&time, value, sizeof time);
    return time;
}

static cny_instant load_units(const coney_field *field, const void *value)
{
    int64_t units;
    memcpy(&units, value, sizeof units);
    if (field->kind == CONEY_TIMESTAMP)
        return (cny_instant){.seconds = units};
    int64_t below = (units % 1000 + 1000) % 1000;
    return (cny_instant){.seconds = units / 1000 - (units % 1000 < 0), .nanos = (int32_t)below * 1000000};
}

static coney_status write_time(writer *out, const coney_field *field, const void *value)
{
    char text[CNY_INSTANT_ROOM];
    cny_instant instant;
    if (field->kind == CONEY_TIMESPEC) {
        struct timespec time = load_timespec(field, value);
        if (time.tv_nsec < 0 || time.tv_nsec > 999999999)
            return cny_path_fail(out->path, "tv_nsec is %lld; 0 to 999,999,999 are possible", (long long)time.tv_nsec);
        instant = (cny_instant){.seconds = time.tv_sec, .nanos = (int32_t)time.tv_nsec};
    } else {
        instant = load_units(field, value);
    }
    if (field->options.time == CONEY_TIME_ISO_8601)
        return cny_instant_write(text, &instant)
                   ? written(cny_write_string(out->to, text, strlen(text)))
                   : cny_path_fail(out->path, "%lld seconds since 1970 are not in the years 0 to 9999",
                                   (long long)instant.seconds);
    return cny_instant_to_number(text, &instant, field->options.time == CONEY_TIME_MILLISECONDS)
               ? written(cny_write_raw(out->to, text, strlen(text)))
               : cny_path_fail(out->path, "%lld seconds since 1970 do not fit 64 bits of milliseconds",
                               (long long)instant.seconds);
}

/* ---- any JSON ---- */

typedef struct tree_output {
    cny_buffer *to;
    bool has_no_memory;
} tree_output;

static int append(const char *text, size_t size, void *user)
{
    tree_output *output = user;
    output->has_no_memory = !cny_write_raw(output->to, text, size);
    return output->has_no_memory ? -1 : 0;
}

static coney_status write_tree(writer *out, const json_t *tree)
{
    tree_output output = {.to = out->to};
    if (json_dump_callback(tree, append, &output, JSON_COMPACT | JSON_ENCODE_ANY) == 0)
        return CONEY_OK;
    if (output.has_no_memory)
        return cny_fail_memory();
    return cny_path_fail(out->path, "the json_t cannot be written: it contains itself, or there is no memory");
}

/* The text goes out as it is, so it must be a value. */
static coney_status write_raw_json(writer *out, const char *text)
{
    cny_slice value;
    cny_json_reader reader;
    size_t size = strlen(text);
    ptrdiff_t wrong = cny_utf8_error(text, size);
    if (wrong >= 0)
        return cny_path_fail(out->path, "the text is not UTF-8 at byte %td", wrong);
    cny_json_reader_init(&reader, text, size, out->limits);
    if (cny_json_skip(&reader, &value) != CONEY_OK || cny_json_end(&reader) != CONEY_OK) {
        char where[400];
        cny_path_write(out->path, where, sizeof where);
        return cny_fail_in("%s", where);
    }
    return written(cny_write_raw(out->to, value.data, value.size));
}

/* ---- values ---- */

static coney_status write_pointer_kind(writer *out, const coney_field *field, const void *value)
{
    const char *pointer = pointer_at(value);
    if (!pointer)
        return cny_path_fail(out->path, "missing: the pointer is NULL");
    switch (field->kind) {
    case CONEY_STRING: return write_text(out, field, pointer, strlen(pointer));
    case CONEY_DECIMAL: return write_decimal(out, field, pointer);
    case CONEY_RAW_JSON: return write_raw_json(out, pointer);
    default: return write_tree(out, (const json_t *)(const void *)pointer);
    }
}

static coney_status write_value(writer *out, const coney_field *field, const void *value)
{
    const cny_kind *kind = cny_kind_of(field);
    int number;
    if (kind->is_pointer)
        return write_pointer_kind(out, field, value);
    if (kind->most > 0)
        return write_integer(out, field, kind, value);
    switch (field->kind) {
    case CONEY_STRUCT: return write_object(out, cny_field_type(field), value);
    case CONEY_BOOL:
        return written(*(const bool *)value ? cny_write_raw(out->to, "true", 4) : cny_write_raw(out->to, "false", 5));
    case CONEY_FLOAT:
    case CONEY_DOUBLE: return write_real(out, field, value);
    case CONEY_CHARS: return write_chars(out, field, value);
    case CONEY_BYTES: return write_bytes(out, field, value);
    case CONEY_ENUM: memcpy(&number, value, sizeof number); return write_enum(out, field, number);
    case CONEY_UUID: return write_uuid(out, value);
    default: return write_time(out, field, value);
    }
}

/* ---- lists and maps ---- */

static coney_status enter(writer *out, char bracket)
{
    if (++out->depth > out->limits->max_depth)
        return cny_path_fail(out->path,
                             "more than %zu levels, which is max_depth of coney_json_limits; does a struct point to "
                             "itself?",
                             out->limits->max_depth);
    return written(cny_write_byte(out->to, bracket));
}

static coney_status leave(writer *out, char bracket)
{
    out->depth--;
    return written(cny_write_byte(out->to, bracket));
}

static coney_status write_element(writer *out, const coney_field *field, const char *item, size_t index)
{
    cny_path path = {.parent = out->path, .index = index};
    bool is_pointed = field->shape == CONEY_TERMINATED && field->kind == CONEY_STRUCT;
    out->path = &path;
    coney_status status = written(index == 0 || cny_write_byte(out->to, ','));
    if (status == CONEY_OK)
        status =
            is_pointed ? write_object(out, cny_field_type(field), pointer_at(item)) : write_value(out, field, item);
    out->path = path.parent;
    return status;
}

static size_t stored_count(const coney_field *field, const char *base)
{
    size_t count;
    memcpy(&count, base + field->count_offset, sizeof count);
    return count;
}

/* The list is not NULL if it has no count. */
static size_t count_of(const coney_field *field, const char *base, const char *items)
{
    size_t count = 0;
    if (field->has_count)
        return stored_count(field, base);
    if (field->shape == CONEY_FIXED)
        return field->capacity;
    while (pointer_at(items + count * sizeof(void *)))
        count++;
    return count;
}

static coney_status write_list(writer *out, const coney_field *field, const char *base)
{
    size_t size = cny_field_size(field);
    const char *items = field->shape == CONEY_FIXED ? base + field->offset : pointer_at(base + field->offset);
    size_t count = items || field->has_count ? count_of(field, base, items) : 0;
    if (!items && count > 0)
        return cny_path_fail(out->path, "missing: the list is NULL, its count is %zu", count);
    if (field->shape == CONEY_FIXED && count > field->capacity)
        return cny_path_fail(out->path, "the count is %zu; the array holds %zu", count, field->capacity);
    coney_status status = cny_check_count(field, out->path, count);
    if (status == CONEY_OK)
        status = enter(out, '[');
    for (size_t i = 0; i < count && status == CONEY_OK; i++)
        status = write_element(out, field, items + i * size, i);
    return status == CONEY_OK ? leave(out, ']') : status;
}

static coney_status write_entry(writer *out, const coney_field *field, const char *key, const char *value)
{
    cny_path path = {.parent = out->path, .name = key, .name_size = strlen(key)};
    ptrdiff_t wrong = cny_utf8_error(key, path.name_size);
    if (wrong >= 0)
        return cny_path_fail(out->path, "a key is not UTF-8 at byte %td", wrong);
    out->path = &path;
    coney_status status = written(cny_write_string(out->to, key, path.name_size) && cny_write_byte(out->to, ':'));
    if (status == CONEY_OK)
        status = write_value(out, field, value);
    out->path = path.parent;
    return status;
}

static coney_status write_map(writer *out, const coney_field *field, const coney_map *map)
{
    size_t size = cny_field_size(field);
    if (map->count > 0 && (!map->keys || !map->values))
        return cny_path_fail(out->path, "missing: the keys or values are NULL, the count is %zu", map->count);
    coney_status status = cny_check_count(field, out->path, map->count);
    if (status == CONEY_OK)
        status = enter(out, '{');
    for (size_t i = 0; i < map->count && status == CONEY_OK; i++) {
        if (!map->keys[i])
            return cny_path_fail(out->path, "key %zu is NULL", i);
        status = written(i == 0 || cny_write_byte(out->to, ','));
        if (status == CONEY_OK)
            status = write_entry(out, field, map->keys[i], (const char *)map->values + i * size);
    }
    return status == CONEY_OK ? leave(out, '}') : status;
}

/* ---- fields ---- */

static coney_status write_shape(writer *out, const coney_field *field, const char *base)
{
    switch (field->shape) {
    case CONEY_POINTED: {
        const char *value = pointer_at(base + field->offset);
        return value ? write_value(out, field, value) : written(cny_write_raw(out->to, "null", 4));
    }
    case CONEY_LISTED:
    case CONEY_TERMINATED:
    case CONEY_FIXED: return write_list(out, field, base);
    case CONEY_MAPPED: return write_map(out, field, (const coney_map *)(const void *)(base + field->offset));
    default: return write_value(out, field, base + field->offset);
    }
}

/* Is the field optional, and has it no value in this struct? */
static bool is_absent(const coney_field *field, const char *base)
{
    if (field->options.has > 0)
        return !base[field->options.has - 1];
    return cny_field_is_optional(field) && cny_field_is_null(field, base);
}

static coney_status write_name(writer *out, const char *name, size_t size, bool is_first)
{
    return written((is_first || cny_write_byte(out->to, ',')) && cny_write_string(out->to, name, size) &&
                   cny_write_byte(out->to, ':'));
}

static bool has_field(const coney_type *type, const char *name)
{
    for (size_t i = 0; i < type->field_count; i++) {
        if (type->fields[i].kind != CONEY_UNKNOWN && strcmp(cny_field_name(&type->fields[i]), name) == 0)
            return true;
    }
    return false;
}

/* The members that no field names, among the others. */
static coney_status write_unknown(writer *out, const coney_type *type, const coney_field *field, const char *base,
                                  bool *is_first)
{
    const char *name;
    json_t *tree;
    coney_status status = CONEY_OK;
    const json_t *unknown = (const json_t *)(const void *)pointer_at(base + field->offset);
    if (unknown && !json_is_object(unknown))
        return cny_path_fail(out->path, "the member '%s' has the unknown members, and it is no JSON object",
                             field->member);
    json_object_foreach((json_t *)unknown, name, tree)
    {
        if (has_field(type, name))
            return cny_path_fail(out->path, "'%s' is a field of the type, and in the unknown members, too", name);
        status = write_name(out, name, strlen(name), *is_first);
        *is_first = false;
        if (status == CONEY_OK)
            status = write_tree(out, tree);
        if (status != CONEY_OK)
            return status;
    }
    return status;
}

static coney_status write_field(writer *out, const coney_type *type, const coney_field *field, const char *base,
                                bool *is_first)
{
    const char *name = cny_field_name(field);
    cny_path path = {.parent = out->path, .name = name, .name_size = strlen(name)};
    coney_status status = cny_field_check(field);
    if (status != CONEY_OK)
        return status;
    if (field->kind == CONEY_UNKNOWN)
        return write_unknown(out, type, field, base, is_first);
    bool is_left_out = is_absent(field, base);
    if (is_left_out && !field->options.write_null)
        return CONEY_OK;
    out->path = &path;
    status = write_name(out, name, path.name_size, *is_first);
    *is_first = false;
    if (status == CONEY_OK)
        status = is_left_out ? written(cny_write_raw(out->to, "null", 4)) : write_shape(out, field, base);
    out->path = path.parent;
    return status;
}

static coney_status write_struct(writer *out, const coney_type *type, const void *object)
{
    bool is_first = true;
    coney_status status = enter(out, '{');
    for (size_t i = 0; i < type->field_count && status == CONEY_OK; i++)
        status = write_field(out, type, &type->fields[i], object, &is_first);
    return status == CONEY_OK ? leave(out, '}') : status;
}

static coney_status write_object(writer *out, const coney_type *type, const void *object)
{
    coney_status status = cny_type_check_form(type);
    if (status == CONEY_OK)
        status = cny_type_call_check(type, object, out->path);
    if (status != CONEY_OK)
        return status;
    return type->form == CONEY_OBJECT_FORM ? write_struct(out, type, object) : write_shape(out, &type->element, object);
}

coney_status cny_type_write(const coney_type *type, const void *object, cny_buffer *to, const coney_json_limits *limits)
{
    writer out = {.to = to, .limits = limits};
    return write_object(&out, type, object);
}
