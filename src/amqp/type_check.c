/* SPDX-License-Identifier: MIT */
/* Checks tables as a whole, so that a test finds a mistake that no document of today shows. Any thread. */
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

static size_t bytes_within(const coney_field *field)
{
    switch (field->shape) {
    case CONEY_ONE: return cny_field_size(field);
    case CONEY_FIXED: return field->size * field->capacity;
    case CONEY_MAPPED: return sizeof(coney_map);
    default: return sizeof(void *);
    }
}

static bool fits(const coney_type *type, const coney_field *field)
{
    bool has_count = field->has_count && field->shape != CONEY_MAPPED;
    return field->offset + bytes_within(field) <= type->size &&
           (!has_count || field->count_offset + sizeof(size_t) <= type->size) && field->options.has <= type->size;
}

/* A default that cannot be read would be a failure only when the field is missing. */
static coney_status check_default(const coney_field *field, const cny_path *path)
{
    if (!field->options.default_text)
        return CONEY_OK;
    bool has_default = field->shape == CONEY_ONE && field->kind != CONEY_STRUCT && field->kind != CONEY_JSON &&
                       field->kind != CONEY_RAW_JSON && field->kind != CONEY_UNKNOWN;
    return has_default ? CONEY_OK : fail(path, "default_text is for a single text, number, time or bool");
}

static coney_status check_options(const coney_field *field, const cny_path *path)
{
    const coney_field_options *options = &field->options;
    bool is_real = field->kind == CONEY_FLOAT || field->kind == CONEY_DOUBLE;
    if (options->has_range && cny_kind_of(field)->most == 0)
        return fail(path, "CONEY_RANGE is for integers; CONEY_REAL_RANGE is for CONEY_FLOAT and CONEY_DOUBLE");
    if (options->has_real_range && !is_real)
        return fail(path, "CONEY_REAL_RANGE is for CONEY_FLOAT and CONEY_DOUBLE; CONEY_RANGE is for integers");
    if ((options->has_range && options->least > options->most) ||
        (options->has_real_range && !(options->real_least <= options->real_most)))
        return fail(path, "the range is empty");
    if (options->max_size > 0 && options->min_size > options->max_size)
        return fail(path, "min_size is above max_size");
    if ((unsigned)options->number > CONEY_NUMBER_LARGE_AS_TEXT || (unsigned)options->time > CONEY_TIME_MILLISECONDS)
        return fail(path, "number or time is no form");
    return check_default(field, path);
}

static coney_status check_shape(const coney_field *field, const cny_path *path)
{
    const cny_kind *kind = cny_kind_of(field);
    if ((unsigned)field->shape > CONEY_MAPPED)
        return fail(path, "there is no such shape");
    if (field->shape == CONEY_POINTED && kind->is_pointer)
        return fail(path, "CONEY_POINTER is not for kinds that are pointers; CONEY_FIELD with `optional` is");
    if (field->kind == CONEY_UNKNOWN && field->shape != CONEY_ONE)
        return fail(path, "CONEY_UNKNOWN is for CONEY_FIELD");
    bool is_text = field->kind == CONEY_STRING || field->kind == CONEY_DECIMAL || field->kind == CONEY_RAW_JSON;
    if (field->shape == CONEY_TERMINATED && !is_text && field->kind != CONEY_STRUCT)
        return fail(path, "CONEY_TERMINATED_LIST is for texts and CONEY_STRUCT");
    return CONEY_OK;
}

static coney_status check_field(const coney_field *field, const cny_path *path, const nesting *types)
{
    coney_status status = cny_field_check(field);
    if (status != CONEY_OK)
        return status;
    status = check_shape(field, path);
    if (status == CONEY_OK)
        status = check_options(field, path);
    if (status == CONEY_OK && field->kind == CONEY_ENUM)
        status = check_enum(field, path);
    if (status == CONEY_OK && !fits(types->type, field))
        return fail(path, "the member is not within the struct of the type");
    return status == CONEY_OK && field->kind == CONEY_STRUCT ? check_type(cny_field_type(field), path, types) : status;
}

static coney_status check_names(const coney_type *type, size_t index, const cny_path *path)
{
    const coney_field *field = &type->fields[index];
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
