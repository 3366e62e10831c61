/* SPDX-License-Identifier: MIT */
/* Describes types as JSON Schema (draft 2020-12). Each struct is a definition of its own, so types may contain
 * themselves. Any thread. */
#include "amqp/types.h"

#include <stdio.h>
#include <string.h>

typedef struct schema {
    json_t *definitions;
    cny_buffer types; /* of const coney_type *: those that have a definition */
} schema;

static json_t *describe_type(schema *of, const coney_type *type);

/* jansson's functions take NULL as a failure that was told before, and the caller finds it in the end. */
static json_t *with(json_t *object, const char *name, json_t *value)
{
    if (object && value && json_object_set_new(object, name, value) == 0)
        return object;
    if (!object || !value)
        json_decref(value);
    json_decref(object);
    return NULL;
}

static json_t *of_type(const char *name)
{
    return with(json_object(), "type", json_string(name));
}

/* A pattern holds for texts only. */
static json_t *of_number_or_text(const char *number, const char *pattern)
{
    return with(with(json_object(), "type", json_pack("[s, s]", number, "string")), "pattern", json_string(pattern));
}

/* ---- values ---- */

/* JSON has no integers above INT64_MAX in jansson, so such a limit is left out. */
static json_t *describe_integer(const coney_field *field, const cny_kind *kind)
{
    const coney_field_options *options = &field->options;
    if (options->number == CONEY_NUMBER_TEXT)
        return of_number_or_text("integer", "^-?[0-9]+$");
    json_int_t least = kind->is_signed ? -(json_int_t)kind->most - 1 : 0;
    json_t *made = with(of_type("integer"), "minimum", json_integer(options->has_range ? options->least : least));
    if (options->has_range || kind->most <= INT64_MAX)
        made = with(made, "maximum", json_integer(options->has_range ? options->most : (json_int_t)kind->most));
    if (options->number == CONEY_NUMBER_LARGE_AS_TEXT && made)
        made =
            with(json_object(), "anyOf", json_pack("[o, {s:s, s:s}]", made, "type", "string", "pattern", "^[0-9]+$"));
    return made;
}

static json_t *describe_real(const coney_field *field)
{
    const coney_field_options *options = &field->options;
    json_t *made = options->number == CONEY_NUMBER_TEXT ? of_number_or_text("number", "^-?[0-9]") : of_type("number");
    if (options->has_real_range)
        made = with(with(made, "minimum", json_real(options->real_least)), "maximum", json_real(options->real_most));
    return made;
}

/* Lengths in a schema are characters, and at most as many as bytes. */
static json_t *describe_text(const coney_field *field)
{
    const coney_field_options *options = &field->options;
    json_t *made = of_type("string");
    size_t most = field->kind == CONEY_CHARS ? field->size - 1 : options->max_size;
    if (field->kind == CONEY_CHARS && options->max_size > 0 && options->max_size < most)
        most = options->max_size;
    if (most > 0)
        made = with(made, "maxLength", json_integer((json_int_t)most));
    if (options->min_size > 0)
        made = with(made, "minLength", json_integer(1));
    return made;
}

static json_t *describe_enum(const coney_field *field)
{
    const coney_enum_name *names = field->of;
    json_t *all = json_array();
    for (size_t i = 0; i < field->of_count; i++)
        json_array_append_new(all, json_string(names[i].name));
    return with(json_object(), "enum", all);
}

static json_t *describe_time(const coney_field *field)
{
    if (field->options.time == CONEY_TIME_ISO_8601)
        return with(of_type("string"), "format", json_string("date-time"));
    return of_type(field->options.time == CONEY_TIME_SECONDS && field->kind != CONEY_TIMESTAMP ? "number" : "integer");
}

/* A decimal is read from both forms, whichever is written. */
static json_t *describe_decimal(void)
{
    return of_number_or_text("number", "^-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?$");
}

static json_t *describe_value(schema *of, const coney_field *field)
{
    const cny_kind *kind = cny_kind_of(field);
    if (kind->most > 0)
        return describe_integer(field, kind);
    switch (field->kind) {
    case CONEY_STRUCT: return describe_type(of, cny_field_type(field));
    case CONEY_BOOL: return of_type("boolean");
    case CONEY_FLOAT:
    case CONEY_DOUBLE: return describe_real(field);
    case CONEY_DECIMAL: return describe_decimal();
    case CONEY_STRING:
    case CONEY_CHARS: return describe_text(field);
    case CONEY_BYTES: return with(of_type("string"), "contentEncoding", json_string("base64"));
    case CONEY_UUID: return with(of_type("string"), "format", json_string("uuid"));
    case CONEY_ENUM: return describe_enum(field);
    case CONEY_TIMESTAMP:
    case CONEY_TIMESTAMP_MS:
    case CONEY_TIMESPEC: return describe_time(field);
    default: return json_object(); /* any JSON */
    }
}

/* ---- fields ---- */

static json_t *with_sizes(json_t *made, const coney_field *field, const char *least, const char *most)
{
    size_t min = field->options.min_size, max = field->options.max_size;
    if (field->shape == CONEY_FIXED && (max == 0 || max > field->capacity))
        max = field->capacity;
    if (field->shape == CONEY_FIXED && !field->has_count)
        min = field->capacity;
    if (min > 0)
        made = with(made, least, json_integer((json_int_t)min));
    return max > 0 ? with(made, most, json_integer((json_int_t)max)) : made;
}

static json_t *describe_shape(schema *of, const coney_field *field)
{
    coney_field one = *field;
    one.options.min_size = one.options.max_size = 0; /* these are the list's */
    switch (field->shape) {
    case CONEY_LISTED:
    case CONEY_TERMINATED:
    case CONEY_FIXED:
        return with_sizes(with(of_type("array"), "items", describe_value(of, &one)), field, "minItems", "maxItems");
    case CONEY_MAPPED:
        return with_sizes(with(of_type("object"), "additionalProperties", describe_value(of, &one)), field,
                          "minProperties", "maxProperties");
    default: return describe_value(of, field);
    }
}

static json_t *describe_default(const coney_field *field)
{
    const char *text = field->options.default_text;
    json_t *plain = cny_default_is_text(field) ? NULL : json_loads(text, JSON_DECODE_ANY, NULL);
    return plain ? plain : json_string(text);
}

static json_t *describe_field(schema *of, const coney_field *field)
{
    json_t *made = describe_shape(of, field);
    if (field->options.default_text)
        made = with(made, "default", describe_default(field));
    bool may_be_null = field->shape == CONEY_POINTED || cny_field_is_optional(field);
    if (may_be_null && made && json_object_size(made) > 0)
        made = with(json_object(), "anyOf", json_pack("[o, {s:s}]", made, "type", "null"));
    return made;
}

/* ---- types ---- */

static json_t *describe_struct(schema *of, const coney_type *type)
{
    json_t *properties = json_object(), *required = json_array();
    for (size_t i = 0; i < type->field_count; i++) {
        const coney_field *field = &type->fields[i];
        if (field->kind == CONEY_UNKNOWN)
            continue;
        properties = with(properties, cny_field_name(field), describe_field(of, field));
        if (!cny_field_is_optional(field))
            json_array_append_new(required, json_string(cny_field_name(field)));
    }
    json_t *made = with(of_type("object"), "properties", properties);
    if (json_array_size(required) > 0)
        made = with(made, "required", required);
    else
        json_decref(required);
    return type->options.refuse_unknown ? with(made, "additionalProperties", json_false()) : made;
}

static bool has_definition(const schema *of, const coney_type *type, size_t *index)
{
    const coney_type *const *types = (const coney_type *const *)(const void *)of->types.data;
    size_t count = of->types.size / sizeof *types;
    for (*index = 0; *index < count; ++*index) {
        if (types[*index] == type)
            return true;
    }
    return false;
}

/* A reference to the definition, which is made when the type is found first. */
static json_t *describe_type(schema *of, const coney_type *type)
{
    size_t index;
    char name[300], reference[320];
    if (type->form != CONEY_OBJECT_FORM)
        return describe_shape(of, &type->element);
    bool is_known = has_definition(of, type, &index);
    const char *id = type->id && !strpbrk(type->id, "/~%# ") ? type->id : "type";
    snprintf(name, sizeof name, "%.250s-%zu", id, index + 1);
    snprintf(reference, sizeof reference, "#/$defs/%s", name);
    if (!is_known && !cny_buffer_append(&of->types, &type, sizeof type))
        return NULL;
    json_t *made = is_known ? NULL : describe_struct(of, type);
    if (!is_known && (!made || json_object_set_new(of->definitions, name, made) != 0))
        return NULL;
    return with(json_object(), "$ref", json_string(reference));
}

coney_status coney_type_schema(const coney_type *type, json_t **result)
{
    CNY_DISABLE_CANCEL();
    if (!result)
        return cny_fail(CONEY_E_INVALID, "the variable for the result is NULL");
    *result = NULL;
    coney_status status = coney_type_check(type);
    if (status != CONEY_OK)
        return status;
    schema of = {.definitions = json_object()};
    json_t *made = describe_type(&of, type);
    made = with(made, "$schema", json_string("https://json-schema.org/draft/2020-12/schema"));
    if (type->id)
        made = with(made, "title", json_string(type->id));
    if (json_object_size(of.definitions) > 0)
        made = with(made, "$defs", json_incref(of.definitions));
    json_decref(of.definitions);
    cny_buffer_free(&of.types);
    *result = made;
    return made ? CONEY_OK : cny_fail_memory();
}
