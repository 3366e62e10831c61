/* SPDX-License-Identifier: MIT */
/* Checks tables as a whole, so that a test finds a mistake that no document of today shows. Any thread. */
#include "amqp/amqp.h"
#include "amqp/json_limits.h"
#include "amqp/types.h"

#include <string.h>

/* The types around a field. A type may contain itself, by a pointer or a list, and is checked once then. */
typedef struct nesting {
    const struct nesting *outer;
    const coney_type *type;
} nesting;

static coney_status check_type(const coney_type *type, const cny_path *path, const nesting *outer);

static bool is_within(const nesting *types, const coney_type *type)
{
    while (types && types->type != type)
        types = types->outer;
    return types;
}

static coney_status fail(const cny_path *path, const char *what)
{
    char where[400];
    cny_path_write(path, where, sizeof where);
    return cny_fail(CONEY_E_INVALID, "%s: %s", where, what);
}

static coney_status check_enum(const coney_field *field, const cny_path *path)
{
    const coney_enum_name *names = field->of;
    for (size_t i = 0; i < field->of_count; i++) {
        if (!names[i].name)
            return fail(path, "a name of the enum is NULL");
        for (size_t k = 0; k < i; k++) {
            if (strcmp(names[i].name, names[k].name) == 0)
                return fail(path, "a name of the enum stands twice in its table");
        }
    }
    return CONEY_OK;
}

static bool fits(const coney_type *type, const coney_field *field)
{
    bool has_count = field->has_count && field->shape != CONEY_MAPPED;
    return field->offset + cny_field_bytes(field) <= type->size &&
           (!has_count || field->count_offset + sizeof(size_t) <= type->size) && field->options.has <= type->size;
}

/* Reads a document that has no member. */
static coney_status read_default(const coney_type *type, const coney_field *field)
{
    void *object;
    coney_json_limits limits = cny_json_limits();
    const coney_type only = {.form = CONEY_OBJECT_FORM, .size = type->size, .fields = field, .field_count = 1};
    coney_status status = cny_type_read(&only, &object, "{}", 2, &limits);
    if (status == CONEY_OK)
        coney_object_free(object);
    return status;
}

/* A default that cannot be read would be a failure only when the field is missing. */
static coney_status check_default(const coney_type *type, const coney_field *field, const cny_path *path)
{
    if (!field->options.default_text)
        return CONEY_OK;
    if (field->shape != CONEY_ONE || field->kind == CONEY_STRUCT || field->kind == CONEY_JSON ||
        field->kind == CONEY_RAW_JSON)
        return fail(path, "default_text is for a single text, number, time or bool");
    coney_status status = read_default(type, field);
    return status == CONEY_E_CONVERSION ? cny_fail(CONEY_E_INVALID, "%s", coney_last_error()) : status;
}

static coney_status check_ranges(const coney_field *field, const cny_path *path)
{
    const coney_field_options *options = &field->options;
    bool is_real = field->kind == CONEY_FLOAT || field->kind == CONEY_DOUBLE;
    if (options->has_range && cny_kind_of(field)->most == 0)
        return fail(path, "CONEY_RANGE is for integers; CONEY_REAL_RANGE is for CONEY_FLOAT and CONEY_DOUBLE");
    if (options->has_real_range && !is_real)
        return fail(path, "CONEY_REAL_RANGE is for CONEY_FLOAT and CONEY_DOUBLE; CONEY_RANGE is for integers");
    if (!options->has_range && (options->least != 0 || options->most != 0))
        return fail(path, "least and most need has_range");
    if (!options->has_real_range &&
        (options->real_least < 0 || options->real_least > 0 || options->real_most < 0 || options->real_most > 0))
        return fail(path, "real_least and real_most need has_real_range");
    if ((options->has_range && options->least > options->most) ||
        (options->has_real_range && !(options->real_least <= options->real_most)))
        return fail(path, "the range is empty");
    return CONEY_OK;
}

static coney_status check_sizes(const coney_field *field, const cny_path *path)
{
    size_t min_size = field->options.min_size, max_size = field->options.max_size;
    bool is_one = field->shape == CONEY_ONE || field->shape == CONEY_POINTED;
    bool has_size = !is_one || field->kind == CONEY_STRING || field->kind == CONEY_CHARS ||
                    field->kind == CONEY_DECIMAL || field->kind == CONEY_BYTES;
    if (!has_size && (min_size > 0 || max_size > 0))
        return fail(path, "min_size and max_size are for texts, CONEY_BYTES, lists and maps");
    if (max_size > 0 && min_size > max_size)
        return fail(path, "min_size is above max_size");
    if ((field->shape == CONEY_FIXED && min_size > field->capacity) ||
        (is_one && field->kind == CONEY_CHARS && min_size >= field->size))
        return fail(path, "min_size is more than the array can hold");
    return CONEY_OK;
}

static coney_status check_forms(const coney_field *field, const cny_path *path)
{
    coney_number_form number = field->options.number;
    bool is_integer = cny_kind_of(field)->most > 0;
    bool is_number =
        is_integer || field->kind == CONEY_FLOAT || field->kind == CONEY_DOUBLE || field->kind == CONEY_DECIMAL;
    if ((unsigned)number > CONEY_NUMBER_LARGE_AS_TEXT || (unsigned)field->options.time > CONEY_TIME_MILLISECONDS)
        return fail(path, "number or time is no form");
    if (number != CONEY_NUMBER_DEFAULT && !is_number)
        return fail(path, "`number` is for numbers");
    if (number == CONEY_NUMBER_LARGE_AS_TEXT && !is_integer)
        return fail(path, "CONEY_NUMBER_LARGE_AS_TEXT is for integers");
    if (field->options.time != CONEY_TIME_ISO_8601 && !cny_field_is_time(field))
        return fail(path, "`time` is for times");
    return CONEY_OK;
}

/* Can a value of this member say that there is none? */
static bool may_be_absent(const coney_field *field)
{
    bool is_null = field->shape == CONEY_ONE ? cny_kind_of(field)->is_pointer || field->kind == CONEY_BYTES
                                             : field->shape != CONEY_FIXED;
    return field->options.has > 0 || (is_null && cny_field_is_optional(field));
}

static coney_status check_options(const coney_type *type, const coney_field *field, const cny_path *path)
{
    const coney_field_options *options = &field->options;
    bool is_more_than_optional = options->name || options->write_null || options->default_text || options->has > 0;
    if (field->kind == CONEY_UNKNOWN && is_more_than_optional)
        return fail(path, "CONEY_UNKNOWN has no name in JSON, no default, no `has` and no write_null");
    if (options->write_null && !may_be_absent(field))
        return fail(path,
                    "write_null is for optional pointers, lists, maps and CONEY_BYTES, and for fields with `has`");
    coney_status status = check_ranges(field, path);
    if (status == CONEY_OK)
        status = check_sizes(field, path);
    if (status == CONEY_OK)
        status = check_forms(field, path);
    return status == CONEY_OK ? check_default(type, field, path) : status;
}

static coney_status check_field(const coney_field *field, const cny_path *path, const nesting *types)
{
    coney_status status = cny_field_check(field);
    if (status != CONEY_OK)
        return status;
    status = field->kind == CONEY_ENUM ? check_enum(field, path) : CONEY_OK;
    if (status == CONEY_OK && !fits(types->type, field))
        return fail(path, "the member is not within the struct of the type");
    if (status == CONEY_OK)
        status = check_options(types->type, field, path);
    return status == CONEY_OK && field->kind == CONEY_STRUCT ? check_type(cny_field_type(field), path, types) : status;
}

static coney_status check_names(const coney_type *type, size_t index, const cny_path *path)
{
    const coney_field *field = &type->fields[index];
    if (cny_utf8_error(cny_field_name(field), path->name_size) >= 0)
        return fail(path, "the name is not UTF-8");
    if (field->kind == CONEY_UNKNOWN && type->options.refuse_unknown)
        return fail(path, "CONEY_UNKNOWN keeps members that refuse_unknown refuses");
    for (size_t k = 0; k < index; k++) {
        bool both_keep = field->kind == CONEY_UNKNOWN && type->fields[k].kind == CONEY_UNKNOWN;
        if (both_keep)
            return fail(path, "a second field is CONEY_UNKNOWN");
        if (strcmp(cny_field_name(&type->fields[k]), cny_field_name(field)) == 0)
            return fail(path, "a second field has this name in JSON");
    }
    return CONEY_OK;
}

static coney_status check_fields(const coney_type *type, const cny_path *parent, const nesting *types)
{
    for (size_t i = 0; i < type->field_count; i++) {
        const coney_field *field = &type->fields[i];
        if (!field->member && !field->options.name)
            return cny_fail(CONEY_E_INVALID, "field %zu has no name", i);
        const char *name = cny_field_name(field);
        cny_path path = {.parent = parent, .name = name, .name_size = strlen(name)};
        coney_status status = check_names(type, i, &path);
        if (status == CONEY_OK)
            status = check_field(field, &path, types);
        if (status != CONEY_OK)
            return status;
    }
    return CONEY_OK;
}

static coney_status check_type(const coney_type *type, const cny_path *path, const nesting *outer)
{
    nesting types = {.outer = outer, .type = type};
    if (is_within(outer, type))
        return CONEY_OK;
    coney_status status = cny_type_check_form(type);
    if (status == CONEY_OK && type->size == 0)
        return fail(path, "the size of the type is 0");
    if (status == CONEY_OK && type->form != CONEY_OBJECT_FORM && type->options.refuse_unknown)
        return fail(path, "refuse_unknown is for structs");
    if (status != CONEY_OK)
        return status;
    return type->form == CONEY_OBJECT_FORM ? check_fields(type, path, &types)
                                           : check_field(&type->element, path, &types);
}

coney_status coney_type_check(const coney_type *type)
{
    CNY_DISABLE_CANCEL();
    if (!type)
        return cny_fail(CONEY_E_INVALID, "the type is NULL");
    coney_status status = check_type(type, NULL, NULL);
    return status == CONEY_OK || !type->id ? status : cny_fail_in("type '%.255s'", type->id);
}
