/* SPDX-License-Identifier: MIT */
/* The kinds of fields, and what is checked and told of a field's value in both directions. Any thread. Knows neither
 * how values are read nor how they are written. */
#include "amqp/types.h"

#include "amqp/json_reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* ---- kinds ---- */

#define INTEGER(name_, type_, signed_, most_)                                                                          \
    {                                                                                                                  \
        .name = (name_), .expected = "integer", .size = sizeof(type_), .is_signed = (signed_), .most = (most_)         \
    }
#define TIME(name_, type_)                                                                                             \
    {                                                                                                                  \
        .name = (name_), .expected = "time", .size = sizeof(type_), .is_text = true                                    \
    }

static const cny_kind kinds[] = {
    [CONEY_BOOL] = {.name = "CONEY_BOOL", .expected = "true or false", .size = sizeof(bool)},
    [CONEY_INT8] = INTEGER("CONEY_INT8", int8_t, true, INT8_MAX),
    [CONEY_UINT8] = INTEGER("CONEY_UINT8", uint8_t, false, UINT8_MAX),
    [CONEY_INT16] = INTEGER("CONEY_INT16", int16_t, true, INT16_MAX),
    [CONEY_UINT16] = INTEGER("CONEY_UINT16", uint16_t, false, UINT16_MAX),
    [CONEY_INT32] = INTEGER("CONEY_INT32", int32_t, true, INT32_MAX),
    [CONEY_UINT32] = INTEGER("CONEY_UINT32", uint32_t, false, UINT32_MAX),
    [CONEY_INT64] = INTEGER("CONEY_INT64", int64_t, true, INT64_MAX),
    [CONEY_UINT64] = INTEGER("CONEY_UINT64", uint64_t, false, UINT64_MAX),
    [CONEY_FLOAT] = {.name = "CONEY_FLOAT", .expected = "number", .size = sizeof(float)},
    [CONEY_DOUBLE] = {.name = "CONEY_DOUBLE", .expected = "number", .size = sizeof(double)},
    [CONEY_DECIMAL] = {.name = "CONEY_DECIMAL",
                       .expected = "decimal number",
                       .size = sizeof(char *),
                       .is_text = true,
                       .is_pointer = true},
    [CONEY_STRING] =
        {.name = "CONEY_STRING", .expected = "string", .size = sizeof(char *), .is_text = true, .is_pointer = true},
    [CONEY_CHARS] = {.name = "CONEY_CHARS", .expected = "string", .is_text = true},
    [CONEY_BYTES] = {.name = "CONEY_BYTES", .expected = "base64", .size = sizeof(coney_bytes), .is_text = true},
    [CONEY_TIMESTAMP] = TIME("CONEY_TIMESTAMP", int64_t),
    [CONEY_TIMESTAMP_MS] = TIME("CONEY_TIMESTAMP_MS", int64_t),
    [CONEY_TIMESPEC] = TIME("CONEY_TIMESPEC", struct timespec),
    [CONEY_UUID] = {.name = "CONEY_UUID", .expected = "UUID", .size = 16, .is_text = true},
    [CONEY_ENUM] = {.name = "CONEY_ENUM", .expected = "name", .size = sizeof(int), .is_text = true},
    [CONEY_STRUCT] = {.name = "CONEY_STRUCT", .expected = "object"},
    [CONEY_JSON] = {.name = "CONEY_JSON", .expected = "value", .size = sizeof(json_t *), .is_pointer = true},
    [CONEY_RAW_JSON] = {.name = "CONEY_RAW_JSON", .expected = "value", .size = sizeof(char *), .is_pointer = true},
    [CONEY_UNKNOWN] = {.name = "CONEY_UNKNOWN", .expected = "object", .size = sizeof(json_t *), .is_pointer = true},
};

const cny_kind *cny_kind_of(const coney_field *field)
{
    static const cny_kind none;
    return (size_t)field->kind < sizeof kinds / sizeof *kinds ? &kinds[field->kind] : &none;
}

size_t cny_field_size(const coney_field *field)
{
    if (field->size > 0)
        return field->size;
    if (field->kind == CONEY_STRUCT)
        return cny_field_type(field) ? cny_field_type(field)->size : 0;
    return cny_kind_of(field)->size;
}

size_t cny_field_bytes(const coney_field *field)
{
    switch (field->shape) {
    case CONEY_ONE: return cny_field_size(field);
    case CONEY_FIXED: return field->size * field->capacity;
    case CONEY_MAPPED: return sizeof(coney_map);
    default: return sizeof(void *);
    }
}

bool cny_field_is_null(const coney_field *field, const void *object)
{
    const char *base = object;
    const void *member = base + field->offset, *pointer;
    const coney_map *map = member;
    const coney_bytes *bytes = member;
    size_t count = 0;
    bool is_pointer = field->shape == CONEY_ONE ? cny_kind_of(field)->is_pointer : field->shape != CONEY_FIXED;
    if (field->shape == CONEY_MAPPED)
        return !map->keys && map->count == 0;
    if (field->shape == CONEY_ONE && field->kind == CONEY_BYTES)
        return !bytes->data && bytes->size == 0;
    if (!is_pointer)
        return false;
    memcpy(&pointer, member, sizeof pointer);
    if (field->shape == CONEY_LISTED)
        memcpy(&count, base + field->count_offset, sizeof count);
    return !pointer && count == 0;
}

bool cny_default_is_text(const coney_field *field)
{
    const char *text = field->options.default_text;
    bool is_number = cny_field_is_time(field) && cny_json_is_number(text, strlen(text));
    return cny_kind_of(field)->is_text && !is_number;
}

/* NULL: the kind can have the shape. */
static const char *shape_mistake(const coney_field *field, const cny_kind *kind)
{
    bool is_text = field->kind == CONEY_STRING || field->kind == CONEY_DECIMAL || field->kind == CONEY_RAW_JSON;
    if ((unsigned)field->shape > CONEY_MAPPED)
        return "there is no such shape";
    if (field->shape == CONEY_POINTED && kind->is_pointer)
        return "CONEY_POINTER is not for kinds that are pointers; use CONEY_FIELD with `optional`";
    if (field->shape != CONEY_ONE && field->kind == CONEY_UNKNOWN)
        return "CONEY_UNKNOWN is for CONEY_FIELD";
    if (field->shape == CONEY_TERMINATED && !is_text && field->kind != CONEY_STRUCT)
        return "CONEY_TERMINATED_LIST is for texts and CONEY_STRUCT";
    return NULL;
}

coney_status cny_field_check(const coney_field *field)
{
    const cny_kind *kind = cny_kind_of(field);
    const char *name = field->member ? field->member : "element";
    const char *mistake = field->shape == CONEY_ONE ? NULL : shape_mistake(field, kind);
    if (!kind->name)
        return cny_fail(CONEY_E_INVALID, "field '%s': %d is no kind", name, field->kind);
    if (mistake)
        return cny_fail(CONEY_E_INVALID, "field '%s': %s", name, mistake);
    if ((field->kind == CONEY_STRUCT || field->kind == CONEY_ENUM) && !field->of)
        return cny_fail(CONEY_E_INVALID, "field '%s': %s names no table", name, kind->name);
    bool is_short_time = field->kind == CONEY_TIMESPEC && field->size == CNY_SHORT_TIMESPEC && sizeof(long) == 4;
    bool points_to_struct = field->shape == CONEY_TERMINATED && field->kind == CONEY_STRUCT;
    size_t right = points_to_struct              ? sizeof(void *)
                   : field->kind == CONEY_STRUCT ? cny_field_type(field)->size
                                                 : kind->size;
    if (right > 0 && field->size > 0 && field->size != right && !is_short_time)
        return cny_fail(CONEY_E_INVALID, "field '%s': the member has %zu bytes, and %s has %zu", name, field->size,
                        kind->name, right);
    return right > 0 || field->size > 0
               ? CONEY_OK
               : cny_fail(CONEY_E_INVALID, "field '%s': %s cannot be the element of a list or map here", name,
                          kind->name);
}

coney_status cny_type_check_form(const coney_type *type)
{
    const char *id = type->id ? type->id : "";
    if (type->form == CONEY_LIST_FORM || type->form == CONEY_MAP_FORM)
        return cny_field_check(&type->element) == CONEY_OK ? CONEY_OK : cny_fail_in("type '%s'", id);
    if (type->form != CONEY_OBJECT_FORM)
        return cny_fail(CONEY_E_INVALID, "type '%s': %d is no form", id, (int)type->form);
    if (type->field_count > CONEY_MAX_FIELDS || (!type->fields && type->field_count > 0))
        return cny_fail(CONEY_E_INVALID, "type '%s' has %zu fields%s; %d are possible", id, type->field_count,
                        type->fields ? "" : " and no table", CONEY_MAX_FIELDS);
    return CONEY_OK;
}

const char *cny_enum_name(const coney_field *field, int value)
{
    const coney_enum_name *names = field->of;
    for (size_t i = 0; i < field->of_count; i++) {
        if (names[i].value == value)
            return names[i].name;
    }
    return NULL;
}

/* ---- paths ---- */

/* Writes the end of the path first, from the end of the room, because the end says most. */
void cny_path_write(const cny_path *path, char *text, size_t room)
{
    char step[300], *at = text + room - 1;
    *at = '\0';
    for (; path; path = path->parent) {
        int size = path->name ? snprintf(step, sizeof step, ".%.*s",
                                         (int)(path->name_size < 255 ? path->name_size : 255), path->name)
                              : snprintf(step, sizeof step, "[%zu]", path->index);
        if (at - text < size + 4)
            break;
        at -= size;
        memcpy(at, step, (size_t)size);
    }
    const char *begin = path ? "..." : "$";
    at -= strlen(begin);
    memcpy(at, begin, strlen(begin));
    memmove(text, at, strlen(at) + 1);
}

coney_status cny_path_fail(const cny_path *path, const char *format, ...)
{
    char where[400], what[400];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    cny_path_write(path, where, sizeof where);
    return cny_fail(CONEY_E_CONVERSION, "%s: %s", where, what);
}

/* ---- checks of values ---- */

coney_status cny_type_call_check(const coney_type *type, const void *object, const cny_path *path)
{
    if (!type->options.check)
        return CONEY_OK;
    cny_forget_failure();
    coney_status status = type->options.check(object, type->options.user);
    if (status == CONEY_OK)
        return CONEY_OK;
    if (coney_last_error_details()->status != status)
        cny_fail(status, "the check of type '%s' returned %s and does not say why", type->id ? type->id : "",
                 coney_status_name(status));
    char where[400];
    cny_path_write(path, where, sizeof where);
    return cny_fail_in("%s", where);
}

coney_status cny_check_integer_range(const coney_field *field, const cny_path *path, bool is_negative, uint64_t integer)
{
    const coney_field_options *options = &field->options;
    const char *sign = is_negative ? "-" : "";
    if (!options->has_range)
        return CONEY_OK;
    int64_t value = is_negative ? (int64_t)(0 - integer) : (int64_t)integer;
    bool is_above_all = !is_negative && integer > INT64_MAX;
    if (!is_above_all && value >= options->least && value <= options->most)
        return CONEY_OK;
    return cny_path_fail(path, "%s%llu is not from %lld to %lld", sign, (unsigned long long)integer,
                         (long long)options->least, (long long)options->most);
}

coney_status cny_check_real_range(const coney_field *field, const cny_path *path, double real)
{
    const coney_field_options *options = &field->options;
    if (!options->has_real_range || (real >= options->real_least && real <= options->real_most))
        return CONEY_OK;
    return cny_path_fail(path, "%g is not from %g to %g", real, options->real_least, options->real_most);
}

static coney_status check_size(const coney_field *field, const cny_path *path, size_t size, const char *unit)
{
    const coney_field_options *options = &field->options;
    if (size < options->min_size)
        return cny_path_fail(path, "%zu %s are too few; at least %zu are required", size, unit, options->min_size);
    if (options->max_size > 0 && size > options->max_size)
        return cny_path_fail(path, "%zu %s are too many; at most %zu are allowed", size, unit, options->max_size);
    return CONEY_OK;
}

coney_status cny_check_bytes(const coney_field *field, const cny_path *path, size_t bytes)
{
    bool is_element = field->shape != CONEY_ONE && field->shape != CONEY_POINTED;
    return is_element ? CONEY_OK : check_size(field, path, bytes, "bytes");
}

coney_status cny_check_count(const coney_field *field, const cny_path *path, size_t count)
{
    return check_size(field, path, count, "elements");
}
