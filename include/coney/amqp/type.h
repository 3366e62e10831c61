/* SPDX-License-Identifier: MIT */
/* Descriptions of C structs, by which Coney reads them from JSON and writes them as JSON. (Spring: the classes that
 * Jackson binds, and their annotations.)
 *
 * A table describes the members of a struct once; the macros are in <coney/amqp/type_macros.h>:
 *
 *     typedef struct order { int64_t id; char *sku; char *total; } order;
 *
 *     static const coney_field order_fields[] = {
 *         CONEY_FIELD(order, id, CONEY_INT64),
 *         CONEY_FIELD(order, sku, CONEY_STRING, .max_size = 40),
 *         CONEY_FIELD(order, total, CONEY_DECIMAL, .optional = true),
 *     };
 *     static const coney_type order_type = CONEY_TYPE("shop.Order", order, order_fields);
 *
 * Types and fields are constant, and must live as long as Coney uses them, so they are usually static. All functions of
 * this header may be called on any thread. Numbers are read and written in the same way in all locales.
 *
 * A document that does not fit its type is CONEY_E_CONVERSION, and the sentence names the place and the value:
 * `$.lines[2].quantity: expected integer, got "two"`. docs/json.md has a complete example. */
#ifndef CONEY_AMQP_TYPE_H
#define CONEY_AMQP_TYPE_H

#include <coney/amqp/converter.h>
#include <coney/amqp/headers.h>
#include <coney/amqp/json.h>
#include <coney/amqp/value.h>

CONEY_BEGIN

/* The kinds of a field that are not AMQP's. These are also kinds, with the type of the member in brackets:
 * CONEY_BOOL (bool), CONEY_INT8, CONEY_UINT8, CONEY_INT16, CONEY_UINT16, CONEY_INT32, CONEY_UINT32, CONEY_INT64 (int8_t
 * and so on), CONEY_FLOAT (float), CONEY_DOUBLE (double), CONEY_STRING (char * or const char *, UTF-8),
 * CONEY_DECIMAL (char *: the digits as text, such as "12.50", which no binary number holds exactly),
 * CONEY_BYTES (coney_bytes; base64 in JSON), CONEY_TIMESTAMP (int64_t: seconds since 1970). */
typedef enum coney_field_kind {
    CONEY_UINT64 = 32,  /* uint64_t; above INT64_MAX see coney_number_form. */
    CONEY_CHARS,        /* char[N]: a text in UTF-8 of at most N - 1 bytes. */
    CONEY_TIMESTAMP_MS, /* int64_t: milliseconds since 1970. */
    CONEY_TIMESPEC,     /* struct timespec: seconds and nanoseconds since 1970. */
    CONEY_UUID,         /* uint8_t[16]; in JSON "123e4567-e89b-42d3-a456-426614174000". */
    CONEY_ENUM,         /* CONEY_ENUM(names): an enum, or an int; the name in JSON. */
    CONEY_STRUCT,       /* CONEY_STRUCT(type): a struct that has a type of its own. */
    CONEY_JSON,         /* json_t *: any JSON. Borrowed when it is written. */
    CONEY_RAW_JSON,     /* char *: the text of any JSON, as it is. */
    CONEY_UNKNOWN,      /* json_t *: an object with the members that no field names. At most one such field. */
} coney_field_kind;

/* The number of a field's values, and where they are. */
typedef enum coney_field_shape {
    CONEY_ONE = 0,    /* CONEY_FIELD: T member */
    CONEY_POINTED,    /* CONEY_POINTER: T *member, NULL if there is no value */
    CONEY_LISTED,     /* CONEY_LIST: T *member and size_t count */
    CONEY_FIXED,      /* CONEY_ARRAY_FIELD: T member[N], all of them; CONEY_COUNTED_ARRAY: at most N */
    CONEY_TERMINATED, /* CONEY_TERMINATED_LIST: char *member[] or struct *member[] with a NULL after the last */
    CONEY_MAPPED,     /* CONEY_MAP: coney_map member */
} coney_field_shape;

/* One name of an enum. */
typedef struct coney_enum_name {
    const char *name;
    int value;
} coney_enum_name;

/* A JSON object whose names are data. keys has `count` texts, and values points to an array of `count` values: char *
 * for CONEY_STRING, structs for CONEY_STRUCT and so on. If a name comes twice, both values are there, and the last one
 * counts. */
typedef struct coney_map {
    const char **keys;
    void *values;
    size_t count;
} coney_map;

/* The elements of a document that is a JSON array, as coney_map has them. */
typedef struct coney_list {
    void *items;
    size_t count;
} coney_list;

/* The form of a number in JSON. Integers and decimals are always read from numbers; from texts as the form says.
 * Jackson reads all forms. A client that has no unsigned integers, as jansson and Java's long, refuses numbers above
 * INT64_MAX, and JavaScript rounds those above 2^53. */
typedef enum coney_number_form {
    CONEY_NUMBER_DEFAULT = 0,   /* Integers: as a number; above INT64_MAX refused. Decimals: as a text. */
    CONEY_NUMBER_PLAIN,         /* As a number, above INT64_MAX and for decimals, too. */
    CONEY_NUMBER_TEXT,          /* As a text, such as "42". Texts are read. */
    CONEY_NUMBER_LARGE_AS_TEXT, /* Integers above INT64_MAX as a text, others as a number. Texts are read. */
} coney_number_form;

/* The form of a time in JSON. ISO 8601 with a zone is always read; a number as the form says. */
typedef enum coney_time_form {
    CONEY_TIME_ISO_8601 = 0, /* "2025-12-01T03:04:05.678Z". Numbers are refused. (Jackson 3: the default.) */
    CONEY_TIME_SECONDS,      /* 1764558245.678 (Jackson 2: the default of Instant.) */
    CONEY_TIME_MILLISECONDS, /* 1764558245678 (Jackson 2: the default of Date.) */
} coney_time_form;

/* In C++, members that an initialiser leaves out are zero, and g++ does not warn of them. */
#if defined(__cplusplus) && __cplusplus >= 201402L
#define CONEY_ZERO_ = {}
#else
#define CONEY_ZERO_
#endif

/* The options of a field; zero means the default. The macros take these as designated initialisers, in this order:
 * `.optional = true, .max_size = 40`. coney_type_check() refuses options that have no effect on their field. */
typedef struct coney_field_options {
    int reserved CONEY_ZERO_; /* 0 */

    /* The name in JSON. Default: the member's name. (Jackson: @JsonProperty.) */
    const char *name CONEY_ZERO_;

    /* The field may be missing or null; the member is 0, NULL or empty then. A pointer, list, map or CONEY_BYTES that
     * is NULL is left out when it is written; an empty one that is not NULL is written. A value that cannot be NULL,
     * such as a number or a struct, is always written, unless `has` says that it is not there. Default: a field that is
     * missing is an error, and so is null, except for CONEY_POINTER. */
    bool optional CONEY_ZERO_;

    /* A field that would be left out is written as null. */
    bool write_null CONEY_ZERO_;

    /* The value of a field that is missing or null, which is optional then. As in JSON, but texts without quotation
     * marks. Not for CONEY_STRUCT, CONEY_JSON, CONEY_RAW_JSON, pointers and lists. */
    const char *default_text CONEY_ZERO_;

    /* CONEY_HAS(struct, member): a bool that says whether the field is there, which is optional then. False leaves the
     * field out when it is written. */
    size_t has CONEY_ZERO_;

    /* CONEY_RANGE(least, most) sets these three, for integers; CONEY_REAL_RANGE(least, most) sets the next three, for
     * CONEY_FLOAT and CONEY_DOUBLE. */
    bool has_range CONEY_ZERO_;
    int64_t least CONEY_ZERO_;
    int64_t most CONEY_ZERO_;
    bool has_real_range CONEY_ZERO_;
    double real_least CONEY_ZERO_;
    double real_most CONEY_ZERO_;

    /* Bytes of a text or of CONEY_BYTES; of a list or map the number of elements, and no limit of its texts. max_size
     * 0: no limit. */
    size_t min_size CONEY_ZERO_;
    size_t max_size CONEY_ZERO_;

    coney_number_form number CONEY_ZERO_;
    coney_time_form time CONEY_ZERO_;
} coney_field_options;

/* A member of a struct. Made by the macros. */
typedef struct coney_field {
    const char *member;
    coney_field_shape shape;
    int kind;       /* a coney_value_type or coney_field_kind */
    const void *of; /* the coney_type of CONEY_STRUCT, the coney_enum_names of CONEY_ENUM */
    size_t of_count;
    size_t offset;
    size_t size;         /* of the member, or of one element */
    size_t count_offset; /* of the number of elements */
    size_t capacity;     /* CONEY_FIXED: the number of elements */
    bool has_count;
    coney_field_options options;
} coney_field;

typedef struct coney_type_options {
    int reserved CONEY_ZERO_; /* 0 */

    /* A member that no field names is an error. Default: it is ignored, as in Spring, or kept if there is a field
     * CONEY_UNKNOWN. */
    bool refuse_unknown CONEY_ZERO_;

    /* Called with each object of this type that was read or is to be written, also within other objects; on the thread
     * that reads or writes, with no Coney lock held. Its status ends the call. NULL: all objects are valid. (Spring:
     * @Valid.) */
    coney_validator *check CONEY_ZERO_;
    void *user CONEY_ZERO_; /* For `check`. */
} coney_type_options;

typedef enum coney_type_form {
    CONEY_OBJECT_FORM = 0, /* CONEY_TYPE: a struct */
    CONEY_LIST_FORM,       /* CONEY_LIST_TYPE: coney_list */
    CONEY_MAP_FORM,        /* CONEY_MAP_TYPE: coney_map */
} coney_type_form;

/* A document. Made by the macros. */
typedef struct coney_type {
    const char *id; /* The header __TypeId__: Spring's class name, or the id of its class mapping. NULL: no header. */
    coney_type_form form;
    size_t size; /* of the struct, coney_list or coney_map */
    const coney_field *fields;
    size_t field_count;
    coney_field element; /* of a list or map */
    coney_type_options options;
} coney_type;

/* The most fields of a type. */
#define CONEY_MAX_FIELDS 1024

/* Reads JSON. *object is given: a struct, coney_list or coney_map as the type says, with everything that it points to,
 * in one piece that coney_object_free() frees. json is UTF-8, need not end with a NUL, and is not kept. The limits of
 * coney_json_set_limits() hold. If a member comes twice, the last one counts. Structs are aligned to 16 bytes.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_CONVERSION: the JSON is wrong, does not fit the type, or exceeds a limit.
 * - CONEY_E_INVALID: an argument is NULL, or the type is wrong.
 * - The status of a `check` that has refused an object. */
CONEY_API coney_status coney_type_decode(const coney_type *type, void **object, const char *json, size_t size);

/* Frees an object that Coney has read. Takes NULL. Not for objects that the program has made. */
CONEY_API void coney_object_free(void *object);

/* Writes an object as compact JSON. *json is given, with a NUL at its end: free it with coney_text_free(). size may be
 * NULL.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_CONVERSION: a required pointer is NULL, or a value is not possible: a text that is not UTF-8, a number out
 *   of its range, NaN, a value that no name of its enum has.
 * - CONEY_E_INVALID: an argument is NULL, or the type is wrong.
 * - The status of a `check` that has refused an object. */
CONEY_API coney_status coney_type_encode(const coney_type *type, const void *object, char **json, size_t *size);

/* Frees a text that Coney has given. Takes NULL. */
CONEY_API void coney_text_free(char *text);

/* Makes a message of an object: application/json with content encoding UTF-8, and with Spring's headers __TypeId__ and,
 * for lists and maps, __ContentTypeId__ and __KeyTypeId__, unless the properties have headers of these names or the
 * type has no id. properties may be NULL. Statuses as coney_type_encode(), and CONEY_E_INVALID for the properties. */
CONEY_API coney_status coney_message_new_object(coney_message **message, const coney_type *type, const void *object,
                                                const coney_properties *properties);

/* Reads the body as this type, by the rules of coney_json_converter() for content types and charsets. Headers are not
 * looked at. Gives *object, for coney_object_free(). Statuses as coney_type_decode(). */
CONEY_API coney_status coney_message_object(void **object, coney_message *message, const coney_type *type);

/* Checks a type, and the types of its fields, without an object: for tests. Finds options without effect and defaults
 * that cannot be read, too. The other functions check only what they use.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: the sentence names the field. */
CONEY_API coney_status coney_type_check(const coney_type *type);

/* Describes the documents of the type as a JSON Schema (draft 2020-12), for documentation and tests. Gives *schema, for
 * json_decref(). CONEY_OK, CONEY_E_NO_MEMORY, CONEY_E_INVALID. */
CONEY_API coney_status coney_type_schema(const coney_type *type, json_t **schema);

/* The value under a key of a map of CONEY_STRING, or NULL. View. */
CONEY_API const char *coney_map_string(const coney_map *map, const char *key);

CONEY_END

#include <coney/amqp/type_macros.h>

#endif
