/* SPDX-License-Identifier: MIT */
/* Tables of headers and arguments as JSON, and back: for files, tests and tools that show messages. (Spring: the
 * headers map, which Jackson writes.)
 *
 * Both directions know these forms. A JSON object of a form has one member.
 *
 * - CONEY_VOID is null, CONEY_BOOL true or false, CONEY_ARRAY an array, CONEY_TABLE an object.
 * - An integer of any type is a number, which is read as a CONEY_INT64.
 * - A CONEY_DOUBLE or CONEY_FLOAT is a number with a fraction or an exponent, which is read as a CONEY_DOUBLE. NaN and
 *   the infinities are {"$double": "NaN"}, "Infinity" and "-Infinity".
 * - A CONEY_DECIMAL is {"$decimal": "-12.50"}, with all digits after the point.
 * - A CONEY_STRING is a string, also with NULs in it; if it is not UTF-8, {"$string": "base64"}.
 * - CONEY_BYTES are {"$bytes": "base64"}.
 * - A CONEY_TIMESTAMP is {"$timestamp": 1700000000}.
 * - A table with one entry, whose name begins with $, is {"$table": {"$name": ...}}.
 *
 * The outermost object is always a table, whatever its names. An object with one member that begins with $ and is none
 * of the above is read as a table. */
#ifndef CONEY_AMQP_TABLE_JSON_H
#define CONEY_AMQP_TABLE_JSON_H

#include <coney/amqp/json.h>
#include <coney/amqp/value.h>

CONEY_BEGIN

/* Gives the table as a JSON object: free it with json_decref(). The table is borrowed; NULL is an empty table, as of a
 * message without headers. If a received table has several entries of one name, the first one counts, as it does for
 * coney_table_get(). Any thread.
 * - CONEY_OK, CONEY_E_NO_MEMORY, CONEY_E_INVALID.
 * - CONEY_E_CONVERSION: a name is not UTF-8, which JSON cannot write. The sentence names its place, as in
 *   "$.outer[2]: ...". */
CONEY_API coney_status coney_table_to_json(json_t **json, const coney_table *table);

/* Gives the table that a JSON object describes: free it with coney_table_free(). The object is borrowed. Any thread.
 * - CONEY_OK, CONEY_E_NO_MEMORY, CONEY_E_INVALID.
 * - CONEY_E_CONVERSION: it is no object, a name has over 255 bytes, there are more than CONEY_MAX_NESTING levels or
 *   10,000 entries (more than Coney reads of a message), or the value of a form is wrong. The sentence names the place:
 *   `$.price.$decimal: expected a decimal such as "-12.50", got "1,5"`. */
CONEY_API coney_status coney_table_from_json(coney_table **table, const json_t *json);

CONEY_END

#endif
