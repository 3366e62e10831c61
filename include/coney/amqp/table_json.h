/* SPDX-License-Identifier: MIT */
/* Tables of headers and arguments as JSON, and back: for files, tests and tools that show messages. (Spring: the
 * headers map, which Jackson writes.)
 *
 * Both directions know these forms. A JSON object of a form has one member.
 *
 * | value | JSON | read back as | |---|---|---| | CONEY_VOID | null | the same | | CONEY_BOOL | true, false | the same
 * | | all integer types | a number | CONEY_INT64 with the same number | | CONEY_DOUBLE | a number with a fraction or an
 * exponent | the same | | CONEY_FLOAT | the same | CONEY_DOUBLE with the same number | | a CONEY_FLOAT or CONEY_DOUBLE
 * that is no number | {"$double": "NaN"}, "Infinity", "-Infinity" | CONEY_DOUBLE | | CONEY_DECIMAL | {"$decimal":
 * "-12.50"} | the same, with all digits after the point | | CONEY_STRING | a string | the same, also with NULs in it |
 * | a CONEY_STRING that is not UTF-8 | {"$string": "base64"} | the same | | CONEY_BYTES | {"$bytes": "base64"} | the
 * same | | CONEY_TIMESTAMP | {"$timestamp": 1700000000} | the same | | CONEY_ARRAY | an array | the same | |
 * CONEY_TABLE | an object | the same | | a table with one entry, whose name begins with $ | {"$table": {"$name": ...}}
 * | the same |
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
