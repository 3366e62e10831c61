/* SPDX-License-Identifier: MIT */
/* AMQP field values, arrays and tables: message headers and declaration arguments.
 * (Spring: the headers and arguments maps.)
 *
 * Tables and arrays copy the values that are put into them, so two tables never share a value. One thread at a time may
 * change a table or an array; any number of threads may read one while no thread changes it. */
#ifndef CONEY_AMQP_VALUE_H
#define CONEY_AMQP_VALUE_H

#include <coney/amqp/status.h>

CONEY_BEGIN

/* Upper limit for the levels of tables and arrays in each other. */
#define CONEY_MAX_NESTING 100

typedef enum coney_value_type {
    CONEY_VOID,
    CONEY_BOOL,
    CONEY_INT8,
    CONEY_UINT8, /* Sent as CONEY_INT16, because the Java client of Spring 2.4 ends its connection over a uint8. */
    CONEY_INT16,
    CONEY_UINT16,
    CONEY_INT32,
    CONEY_UINT32,
    CONEY_INT64,
    CONEY_FLOAT,
    CONEY_DOUBLE,
    CONEY_DECIMAL,
    CONEY_STRING, /* UTF-8. Received strings may contain any bytes, and may be set and sent again. */
    CONEY_BYTES,
    CONEY_TIMESTAMP, /* Seconds since 1970, negative before. */
    CONEY_ARRAY,
    CONEY_TABLE,
} coney_value_type;

typedef struct coney_table coney_table;
typedef struct coney_array coney_array;

/* One field value. The type tells which member is used. Pointers in a value that was read from a table are views that
 * live as long as the table; strings are NUL-terminated there. */
typedef struct coney_value {
    coney_value_type type;
    union {
        bool boolean;
        int64_t integer; /* All integer types, and CONEY_TIMESTAMP. */
        double real;     /* CONEY_FLOAT and CONEY_DOUBLE. */
        struct {
            int32_t mantissa;
            uint8_t scale; /* Digits after the decimal point. */
        } decimal;
        struct {
            const char *data;
            size_t size;
        } bytes; /* CONEY_STRING and CONEY_BYTES. */
        const coney_array *array;
        const coney_table *table;
    } as;
} coney_value;

/* Make a value, for functions that take a coney_value. The text is borrowed by the value. */
CONEY_API coney_value coney_value_string(const char *text);
CONEY_API coney_value coney_value_int64(int64_t integer);

/* Gives an empty table, or NULL if there is no memory. */
CONEY_API coney_table *coney_table_new(void);
CONEY_API void coney_table_free(coney_table *table);

/* Puts a copy of the value under the name, in place of an earlier value, whose memory is freed with the table. Names
 * and strings may contain any bytes, so all received values can be set.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: a name over 255 bytes, an integer that does not fit its type, or too many levels. */
CONEY_API coney_status coney_table_set(coney_table *table, const char *name, const coney_value *value);

/* coney_table_set() for the usual types, with the same statuses. */
CONEY_API coney_status coney_table_set_string(coney_table *table, const char *name, const char *text);
CONEY_API coney_status coney_table_set_int64(coney_table *table, const char *name, int64_t integer);
CONEY_API coney_status coney_table_set_bool(coney_table *table, const char *name, bool boolean);
CONEY_API coney_status coney_table_set_double(coney_table *table, const char *name, double real);
CONEY_API coney_status coney_table_set_table(coney_table *table, const char *name, const coney_table *inner);
CONEY_API coney_status coney_table_set_array(coney_table *table, const char *name, const coney_array *inner);

/* The value under a name, or NULL if there is none. The table may be NULL. View. */
CONEY_API const coney_value *coney_table_get(const coney_table *table, const char *name);

/* The text under a name, or NULL if there is no value of type CONEY_STRING. View. */
CONEY_API const char *coney_table_get_string(const coney_table *table, const char *name);

/* The number under a name, or the fallback if there is no value of an integer type or CONEY_TIMESTAMP. */
CONEY_API int64_t coney_table_get_int64(const coney_table *table, const char *name, int64_t fallback);

/* Read a table in the order in which its names were first set. NULL counts as an empty table. Views. */
CONEY_API size_t coney_table_size(const coney_table *table);
CONEY_API const char *coney_table_name_at(const coney_table *table, size_t index);
CONEY_API const coney_value *coney_table_value_at(const coney_table *table, size_t index);

/* Gives an empty array, or NULL if there is no memory. */
CONEY_API coney_array *coney_array_new(void);
CONEY_API void coney_array_free(coney_array *array);

/* Appends a copy of the value. Statuses as coney_table_set(). */
CONEY_API coney_status coney_array_append(coney_array *array, const coney_value *value);
CONEY_API size_t coney_array_size(const coney_array *array);
CONEY_API const coney_value *coney_array_at(const coney_array *array, size_t index); /* View. */

CONEY_END

#endif
