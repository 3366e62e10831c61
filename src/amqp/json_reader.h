/* SPDX-License-Identifier: MIT */
/* Reads a JSON text from front to back, without making a tree. Knows nothing of types.
 *
 * A reader stands before a value or, within arrays and objects, where a next function takes it. After a failure it must
 * not be used any more; `at` is then the place of the failure. */
#ifndef CNY_AMQP_JSON_READER_H
#define CNY_AMQP_JSON_READER_H

#include "base/base.h"

#include <coney/amqp/json.h>

typedef struct cny_json_reader {
    const char *start;
    const char *at;
    const char *end;
    size_t values; /* read so far */
    size_t depth;  /* arrays and objects around the place */
    coney_json_limits limits;
} cny_json_reader;

/* A piece of the text. A string without its quotation marks, as it is escaped. */
typedef struct cny_slice {
    const char *data;
    size_t size;
    bool is_escaped; /* contains a backslash */
} cny_slice;

/* The text must be UTF-8. A byte order mark is skipped. */
void cny_json_reader_init(cny_json_reader *reader, const char *json, size_t size, const coney_json_limits *limits);

char cny_json_skip_space(cny_json_reader *reader);

/* The first byte of the next value, which tells its type: '{', '[', '"', '-', a digit, 't', 'f' or 'n'. Any other byte
 * is no JSON; 0: the text ends. */
static inline char cny_json_peek(cny_json_reader *reader)
{
    if (reader->at < reader->end && (unsigned char)*reader->at > ' ')
        return *reader->at;
    return cny_json_skip_space(reader);
}

/* Read a value. CONEY_E_CONVERSION with a sentence that names the place in the text: it is no JSON, or a limit is
 * exceeded. */
coney_status cny_json_string(cny_json_reader *reader, cny_slice *string);
coney_status cny_json_number(cny_json_reader *reader, cny_slice *number);
coney_status cny_json_bool(cny_json_reader *reader, bool *boolean);
coney_status cny_json_null(cny_json_reader *reader);
coney_status cny_json_skip(cny_json_reader *reader, cny_slice *value); /* gives the text of any value */

/* Enter an array or an object, and go on to its next element or member; *more is false after the last. */
coney_status cny_json_enter(cny_json_reader *reader, char bracket);
coney_status cny_json_next_element(cny_json_reader *reader, bool is_first, bool *more);
coney_status cny_json_next_member(cny_json_reader *reader, bool is_first, bool *more, cny_slice *name);

/* The document has ended: only white space follows. */
coney_status cny_json_end(cny_json_reader *reader);

/* Is the whole text one JSON number, of at most CNY_MAX_NUMBER characters? */
bool cny_json_is_number(const char *text, size_t size);

/* Writes the string without escapes into room for string->size bytes. Returns the number of bytes. */
size_t cny_json_unescape(const cny_slice *string, char *to);

#endif
