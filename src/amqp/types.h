/* SPDX-License-Identifier: MIT */
/* Kinds, sizes, names, and paths for errors: shared by the reading, writing, checking and describing of C structs.
 * Private to the folder. */
#ifndef CNY_AMQP_TYPES_H
#define CNY_AMQP_TYPES_H

#include "base/base.h"

#include <coney/amqp/type.h>

/* ---- kinds ---- */

typedef struct cny_kind {
    const char *name;     /* "CONEY_INT32"; NULL: there is no such kind */
    const char *expected; /* what the JSON must be: "integer" */
    size_t size;          /* of the member; 0: the field tells */
    bool is_signed;       /* with `most`: an integer */
    uint64_t most;        /* the largest integer; 0: no integer */
    bool is_text;         /* usually a string in JSON */
    bool is_pointer;      /* the member is a pointer, so NULL is no value */
} cny_kind;

const cny_kind *cny_kind_of(const coney_field *field); /* its name is NULL if the field's kind is no kind */

/* The size of one value of the field. 0: the field does not say, which is a mistake in it. */
size_t cny_field_size(const coney_field *field);

/* The bytes of the whole member within the struct. */
size_t cny_field_bytes(const coney_field *field);

static inline const char *cny_field_name(const coney_field *field)
{
    return field->options.name ? field->options.name : field->member;
}

static inline bool cny_field_is_optional(const coney_field *field)
{
    return field->options.optional || field->options.default_text || field->options.has > 0;
}

static inline bool cny_field_is_time(const coney_field *field)
{
    return field->kind == CONEY_TIMESTAMP || field->kind == CONEY_TIMESTAMP_MS || field->kind == CONEY_TIMESPEC;
}

static inline const coney_type *cny_field_type(const coney_field *field)
{
    return field->of;
}

/* Is the member a pointer that is NULL, or a list, map or CONEY_BYTES that is NULL and says that it is empty? */
bool cny_field_is_null(const coney_field *field, const void *object);

/* Is the default a string in JSON? Numbers, which times may be, true and false are none. */
bool cny_default_is_text(const coney_field *field);

/* The name of an enum's value, NULL if it has none. */
const char *cny_enum_name(const coney_field *field, int value);

/* The id of the elements of a list or map: that of their type, or the name of a Java class. NULL: no id. */
const char *cny_java_class(const coney_field *element);

/* Checks what reading and writing rely on: the size of a field, and that its kind can have its shape.
 * CONEY_E_INVALID. */
coney_status cny_field_check(const coney_field *field);

/* The size of a struct timespec in a program of 32 bits without _TIME_BITS=64, which Coney is compiled with. */
enum { CNY_SHORT_TIMESPEC = 8 };

/* Checks the number of fields of a struct, or the element of a list or map. CONEY_E_INVALID. */
coney_status cny_type_check_form(const coney_type *type);

/* ---- paths: where in a document something is wrong ---- */

typedef struct cny_path {
    const struct cny_path *parent;
    const char *name; /* need not end with a NUL; NULL: an index */
    size_t name_size;
    size_t index;
} cny_path;

/* Writes "$.lines[2].quantity". NULL: "$". The first names are left out if there is too little room. */
void cny_path_write(const cny_path *path, char *text, size_t room);

/* CONEY_E_CONVERSION with the path in front: "$.lines[2].quantity: expected ...". */
coney_status cny_path_fail(const cny_path *path, const char *format, ...) CNY_PRINTF(2, 3);

/* Calls the type's check of an object, and puts the path in front of what it says. */
coney_status cny_type_call_check(const coney_type *type, const void *object, const cny_path *path);

/* Checks a number against the field's range, and sizes against its limits. The limits of a list or map are for the
 * number of its elements, and not for the bytes of each element. */
coney_status cny_check_integer_range(const coney_field *field, const cny_path *path, bool is_negative,
                                     uint64_t integer);
coney_status cny_check_real_range(const coney_field *field, const cny_path *path, double real);
coney_status cny_check_bytes(const coney_field *field, const cny_path *path, size_t bytes);
coney_status cny_check_count(const coney_field *field, const cny_path *path, size_t count);

/* ---- reading and writing ---- */

/* Gives an object, for coney_object_free(). The JSON must be UTF-8. */
coney_status cny_type_read(const coney_type *type, void **object, const char *json, size_t size,
                           const coney_json_limits *limits);

/* Appends the object to the buffer as JSON. */
coney_status cny_type_write(const coney_type *type, const void *object, cny_buffer *to,
                            const coney_json_limits *limits);

#endif
