/* SPDX-License-Identifier: MIT */
/* Tables as JSON and back. Both directions are recursive; a table has at most CONEY_MAX_NESTING levels. Any thread. */
#include <coney/amqp/table_json.h>

#include "amqp/base64.h"
#include "amqp/decimal.h"
#include "amqp/json_writer.h"
#include "amqp/types.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- to JSON; NULL without memory ---- */

/* Takes the value. */
static json_t *form(const char *name, json_t *value)
{
    json_t *object = json_object();
    if (!object)
        json_decref(value);
    else if (json_object_set_new(object, name, value) == 0)
        return object;
    json_decref(object);
    return NULL;
}

static json_t *base64_form(const char *name, const coney_value *value)
{
    cny_buffer text = {0}; /* in quotation marks */
    bool is_written = cny_write_base64(&text, value->as.bytes.data, value->as.bytes.size);
    json_t *json = is_written ? form(name, json_stringn((const char *)text.data + 1, text.size - 2)) : NULL;
    cny_buffer_free(&text);
    return json;
}

static json_t *real_to_json(double real)
{
    if (isnan(real) || isinf(real))
        return form("$double", json_string(isnan(real) ? "NaN" : real > 0 ? "Infinity" : "-Infinity"));
    return json_real(real);
}

static json_t *decimal_to_json(const coney_value *value)
{
    char text[CNY_DECIMAL_ROOM];
    cny_decimal_write(text, value);
    return form("$decimal", json_string(text));
}

static json_t *string_to_json(const coney_value *value)
{
    const char *text = value->as.bytes.data;
    size_t size = value->as.bytes.size;
    return cny_utf8_error(text, size) < 0 ? json_stringn(text, size) : base64_form("$string", value);
}

static json_t *leaf_to_json(const coney_value *value)
{
    switch (value->type) {
    case CONEY_VOID: return json_null();
    case CONEY_BOOL: return json_boolean(value->as.boolean);
    case CONEY_FLOAT:
    case CONEY_DOUBLE: return real_to_json(value->as.real);
    case CONEY_DECIMAL: return decimal_to_json(value);
    case CONEY_STRING: return string_to_json(value);
    case CONEY_BYTES: return base64_form("$bytes", value);
    case CONEY_TIMESTAMP: return form("$timestamp", json_integer(value->as.integer));
    default: return json_integer(value->as.integer);
    }
}

static coney_status table_to_json(json_t **json, const coney_table *table, const cny_path *path);

static coney_status value_to_json(json_t **json, const coney_value *value, const cny_path *path)
{
    const coney_array *array = value->type == CONEY_ARRAY ? value->as.array : NULL;
    if (value->type == CONEY_TABLE)
        return table_to_json(json, value->as.table, path);
    *json = array ? json_array() : leaf_to_json(value);
    coney_status status = *json ? CONEY_OK : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < coney_array_size(array); i++) {
        json_t *item = NULL;
        status = value_to_json(&item, coney_array_at(array, i), &(cny_path){.parent = path, .index = i});
        if (status != CONEY_OK)
            json_decref(item);
        else if (json_array_append_new(*json, item) != 0)
            status = cny_fail_memory();
    }
    return status;
}

static coney_status add_member(json_t *object, const char *name, const coney_value *value, const cny_path *path)
{
    json_t *member = NULL;
    cny_path at = {.parent = path, .name = name, .name_size = strlen(name)};
    if (cny_utf8_error(name, at.name_size) >= 0)
        return cny_path_fail(path, "the name '%s' is not UTF-8, and JSON cannot have such a name", name);
    if (json_object_get(object, name))
        return CONEY_OK;
    coney_status status = value_to_json(&member, value, &at);
    if (status == CONEY_OK)
        return json_object_set_new(object, name, member) == 0 ? CONEY_OK : cny_fail_memory();
    json_decref(member);
    return status;
}

static coney_status fill_object(json_t *object, const coney_table *table, const cny_path *path)
{
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < coney_table_size(table); i++)
        status = add_member(object, coney_table_name_at(table, i), coney_table_value_at(table, i), path);
    return status;
}

static bool looks_like_a_form(json_t *object)
{
    return json_object_size(object) == 1 && *json_object_iter_key(json_object_iter(object)) == '$';
}

/* A table that would be read as a form is in a form of its own. A table with several entries has one member if they
 * have the same name. */
static coney_status table_to_json(json_t **json, const coney_table *table, const cny_path *path)
{
    *json = json_object();
    coney_status status = *json ? fill_object(*json, table, path) : cny_fail_memory();
    if (status == CONEY_OK && looks_like_a_form(*json) && !(*json = form("$table", *json)))
        status = cny_fail_memory();
    return status;
}

coney_status coney_table_to_json(json_t **json, const coney_table *table)
{
    CNY_DISABLE_CANCEL();
    if (!json)
        return cny_fail(CONEY_E_INVALID, "table to JSON: json is NULL");
    *json = NULL;
    json_t *object = json_object();
    coney_status status = object ? fill_object(object, table, NULL) : cny_fail_memory();
    if (status == CONEY_OK)
        *json = object;
    else
        json_decref(object);
    return status;
}

/* ---- from JSON ---- */

typedef struct reading {
    cny_arena arena; /* has tables, arrays and bytes; texts are views of the JSON */
    size_t entries;
} reading;

static coney_status read_value(reading *it, coney_value *value, const json_t *json, const cny_path *path, int depth);

static coney_status fail_expected(const cny_path *path, const char *expected, const json_t *got)
{
    static const char *const types[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a real",    [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null"};
    if (json_is_string(got))
        return cny_path_fail(path, "expected %s, got \"%.40s\"", expected, json_string_value(got));
    return cny_path_fail(path, "expected %s, got %s", expected, types[json_typeof(got)]);
}

static coney_status count_entry(reading *it, const cny_path *path)
{
    if (it->entries++ < CNY_MAX_ENTRIES)
        return CONEY_OK;
    return cny_path_fail(path, "there are more than %d entries in all", CNY_MAX_ENTRIES);
}

static coney_status check_depth(const cny_path *path, int depth)
{
    return depth <= CONEY_MAX_NESTING ? CONEY_OK
                                      : cny_path_fail(path, "nested deeper than %d levels", CONEY_MAX_NESTING);
}

static coney_status read_member(reading *it, coney_table *table, const char *name, const json_t *json,
                                const cny_path *parent, int depth)
{
    coney_value value;
    cny_path path = {.parent = parent, .name = name, .name_size = strlen(name)};
    if (path.name_size > CNY_MAX_SHORT_STRING)
        return cny_path_fail(parent, "the name '%.40s...' has %zu bytes; AMQP allows %d", name, path.name_size,
                             CNY_MAX_SHORT_STRING);
    coney_status status = count_entry(it, &path);
    if (status == CONEY_OK)
        status = read_value(it, &value, json, &path, depth);
    return status != CONEY_OK || cny_table_put(table, name, value) ? status : cny_fail_memory();
}

static coney_status read_table(reading *it, const coney_table **made, const json_t *json, const cny_path *path,
                               int depth)
{
    const char *name;
    const json_t *member;
    if (!json_is_object(json))
        return fail_expected(path, "an object", json);
    coney_status status = check_depth(path, depth);
    coney_table *table = cny_table_in(&it->arena, 0);
    *made = table;
    if (status == CONEY_OK && !table)
        status = cny_fail_memory();
    json_object_foreach((json_t *)(uintptr_t)json, name, member)
    {
        if (status == CONEY_OK)
            status = read_member(it, table, name, member, path, depth);
    }
    return status;
}

static coney_status read_array(reading *it, const coney_array **made, const json_t *json, const cny_path *path,
                               int depth)
{
    coney_status status = check_depth(path, depth);
    coney_array *array = cny_array_in(&it->arena, 0);
    *made = array;
    if (status == CONEY_OK && !array)
        status = cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < json_array_size(json); i++) {
        coney_value value;
        cny_path at = {.parent = path, .index = i};
        status = count_entry(it, &at);
        if (status == CONEY_OK)
            status = read_value(it, &value, json_array_get(json, i), &at, depth);
        if (status == CONEY_OK && !cny_array_put(array, value))
            status = cny_fail_memory();
    }
    return status;
}

/* ---- forms ---- */

static coney_status read_base64(reading *it, coney_value *value, const json_t *json, const cny_path *path)
{
    size_t text_size = json_string_length(json);
    if (!json_is_string(json))
        return fail_expected(path, "base64", json);
    uint8_t *bytes = cny_arena_alloc(&it->arena, CNY_BASE64_ROOM(text_size));
    if (!bytes)
        return cny_fail_memory();
    size_t size = cny_base64_read(bytes, json_string_value(json), text_size);
    if (size == SIZE_MAX)
        return fail_expected(path, "base64", json);
    value->as.bytes.data = (const char *)bytes;
    value->as.bytes.size = size;
    return CONEY_OK;
}

/* The text, or "" if there is none, or if there is a NUL in it. */
static const char *text_of(const json_t *json)
{
    const char *text = json_is_string(json) ? json_string_value(json) : "";
    return strlen(text) == json_string_length(json) ? text : "";
}

static coney_status read_decimal(coney_value *value, const json_t *json, const cny_path *path)
{
    bool is_read = cny_decimal_read(value, text_of(json));
    return is_read ? CONEY_OK : fail_expected(path, "a decimal such as \"-12.50\"", json);
}

static coney_status read_timestamp(coney_value *value, const json_t *json, const cny_path *path)
{
    value->as.integer = json_integer_value(json);
    return json_is_integer(json) ? CONEY_OK : fail_expected(path, "seconds since 1970", json);
}

static coney_status read_no_number(coney_value *value, const json_t *json, const cny_path *path)
{
    const char *text = text_of(json);
    if (strcmp(text, "NaN") == 0)
        value->as.real = (double)NAN;
    else if (strcmp(text, "Infinity") == 0 || strcmp(text, "-Infinity") == 0)
        value->as.real = *text == '-' ? -(double)INFINITY : (double)INFINITY;
    else
        return fail_expected(path, "\"NaN\", \"Infinity\" or \"-Infinity\"", json);
    return CONEY_OK;
}

/* The type of the form that the object has; CONEY_VOID: it is a table. */
static coney_value_type form_of(const json_t *json, const char **name)
{
    static const struct {
        const char *name;
        coney_value_type type;
    } forms[] = {{"$table", CONEY_TABLE},     {"$bytes", CONEY_BYTES},         {"$string", CONEY_STRING},
                 {"$decimal", CONEY_DECIMAL}, {"$timestamp", CONEY_TIMESTAMP}, {"$double", CONEY_DOUBLE}};
    json_t *object = (json_t *)(uintptr_t)json;
    *name = json_object_size(json) == 1 ? json_object_iter_key(json_object_iter(object)) : NULL;
    for (size_t i = 0; *name && i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(forms[i].name, *name) == 0)
            return forms[i].type;
    }
    return CONEY_VOID;
}

static coney_status read_object(reading *it, coney_value *value, const json_t *json, const cny_path *path, int depth)
{
    const char *name;
    value->type = form_of(json, &name);
    const json_t *inner = value->type == CONEY_VOID ? NULL : json_object_get(json, name);
    cny_path at = {.parent = path, .name = name, .name_size = name ? strlen(name) : 0};
    switch (value->type) {
    case CONEY_TABLE: return read_table(it, &value->as.table, inner, &at, depth + 1);
    case CONEY_BYTES:
    case CONEY_STRING: return read_base64(it, value, inner, &at);
    case CONEY_DECIMAL: return read_decimal(value, inner, &at);
    case CONEY_TIMESTAMP: return read_timestamp(value, inner, &at);
    case CONEY_DOUBLE: return read_no_number(value, inner, &at);
    default: value->type = CONEY_TABLE; return read_table(it, &value->as.table, json, path, depth + 1);
    }
}

static coney_status read_value(reading *it, coney_value *value, const json_t *json, const cny_path *path, int depth)
{
    *value = (coney_value){.type = CONEY_VOID};
    switch (json_typeof(json)) {
    case JSON_OBJECT: return read_object(it, value, json, path, depth);
    case JSON_ARRAY: value->type = CONEY_ARRAY; return read_array(it, &value->as.array, json, path, depth + 1);
    case JSON_STRING:
        value->type = CONEY_STRING;
        value->as.bytes.data = json_string_value(json);
        value->as.bytes.size = json_string_length(json);
        break;
    case JSON_INTEGER: *value = coney_value_int64(json_integer_value(json)); break;
    case JSON_REAL: *value = (coney_value){.type = CONEY_DOUBLE, .as.real = json_real_value(json)}; break;
    case JSON_TRUE:
    case JSON_FALSE: *value = (coney_value){.type = CONEY_BOOL, .as.boolean = json_is_true(json)}; break;
    case JSON_NULL: break;
    }
    return CONEY_OK;
}

/* ---- the outermost object ---- */

static coney_status copy_out(coney_table **copy, const coney_table *table)
{
    *copy = coney_table_new();
    coney_status status = *copy ? CONEY_OK : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < coney_table_size(table); i++)
        status = coney_table_set(*copy, coney_table_name_at(table, i), coney_table_value_at(table, i));
    if (status == CONEY_OK)
        return status;
    coney_table_free(*copy);
    *copy = NULL;
    return status;
}

coney_status coney_table_from_json(coney_table **table, const json_t *json)
{
    CNY_DISABLE_CANCEL();
    if (table)
        *table = NULL;
    if (!table || !json)
        return cny_fail(CONEY_E_INVALID, "table from JSON: table or json is NULL");
    reading it = {0};
    const coney_table *read = NULL;
    coney_status status = read_table(&it, &read, json, NULL, 1);
    if (status == CONEY_OK)
        status = copy_out(table, read);
    cny_arena_free(&it.arena);
    return status;
}
