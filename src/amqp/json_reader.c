/* SPDX-License-Identifier: MIT */
/* A reader of JSON (RFC 8259) that makes no tree: the values go straight to where they belong, numbers keep all their
 * digits, and a wrong document is refused at the place where it is wrong. Reads nothing that a JSON parser may leave
 * open: no comments, no trailing commas, no NaN. Any thread; recursion only as deep as the limit. */
#include "amqp/json_reader.h"

#include "amqp/amqp.h"
#include "amqp/numbers.h"

#include <coney/amqp/converter.h>

#include <stdio.h>
#include <string.h>

/* ---- places and failures ---- */

static coney_status fail_at(const cny_json_reader *reader, const char *what)
{
    size_t line = 1;
    const char *begin = reader->start;
    for (const char *at = reader->start; at < reader->at; at++) {
        if (*at == '\n') {
            line++;
            begin = at + 1;
        }
    }
    return coney_conversion_failed("invalid JSON at line %zu, column %td: %s", line, reader->at - begin + 1, what);
}

static coney_status fail_expected(const cny_json_reader *reader, const char *what)
{
    char text[64] = "the text ends, and ";
    unsigned char found = (unsigned char)(reader->at < reader->end ? *reader->at : ' ');
    if (found < ' ' || found == 0x7f)
        strcpy(text, "a control character where ");
    else if (found >= 0x80)
        strcpy(text, "no ASCII where ");
    else if (reader->at < reader->end)
        snprintf(text, sizeof text, "'%c' where ", found);
    char sentence[160];
    snprintf(sentence, sizeof sentence, "%s%s is expected", text, what);
    return fail_at(reader, sentence);
}

void cny_json_reader_init(cny_json_reader *reader, const char *json, size_t size, const coney_json_limits *limits)
{
    *reader = (cny_json_reader){.start = json, .at = json, .end = json + size, .limits = *limits};
    if (size >= 3 && memcmp(json, "\xef\xbb\xbf", 3) == 0)
        reader->at += 3;
}

char cny_json_skip_space(cny_json_reader *reader)
{
    while (reader->at < reader->end &&
           (*reader->at == ' ' || *reader->at == '\n' || *reader->at == '\r' || *reader->at == '\t'))
        reader->at++;
    return *(reader->at < reader->end ? reader->at : "");
}

static coney_status count_value(cny_json_reader *reader)
{
    if (++reader->values <= reader->limits.max_values)
        return CONEY_OK;
    return coney_conversion_failed("the JSON holds more than %zu values, which is max_values of coney_json_limits "
                                   "(coney_json_set_limits)",
                                   reader->limits.max_values);
}

coney_status cny_json_end(cny_json_reader *reader)
{
    return cny_json_peek(reader) == '\0' && reader->at == reader->end ? CONEY_OK : fail_expected(reader, "the end");
}

/* ---- strings ---- */

/* Four hexadecimal digits; below 0: these are none. */
static int32_t hex_unit(const char *at, const char *end)
{
    int32_t unit = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = cny_hex_digit(at[i]);
        if (digit < 0)
            return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static bool is_high_surrogate(int32_t unit)
{
    return unit >= 0xd800 && unit < 0xdc00;
}

static bool is_low_surrogate(int32_t unit)
{
    return unit >= 0xdc00 && unit < 0xe000;
}

/* The reader stands at a backslash. */
static coney_status check_escape(cny_json_reader *reader)
{
    if (reader->end - reader->at < 2)
        return fail_at(reader, "the text ends within a string");
    char kind = reader->at[1];
    if (kind != '\0' && strchr("\"\\/bfnrt", kind)) {
        reader->at += 2;
        return CONEY_OK;
    }
    if (kind != 'u')
        return fail_at(reader, "a backslash and no escape after it");
    int32_t unit = hex_unit(reader->at + 2, reader->end);
    if (unit < 0)
        return fail_at(reader, "\\u without four hexadecimal digits");
    bool is_pair = is_high_surrogate(unit) && reader->end - reader->at >= 12 && reader->at[6] == '\\' &&
                   reader->at[7] == 'u' && is_low_surrogate(hex_unit(reader->at + 8, reader->end));
    if (!is_pair && (is_high_surrogate(unit) || is_low_surrogate(unit)))
        return fail_at(reader, "half of a surrogate pair");
    reader->at += is_pair ? 12 : 6;
    return CONEY_OK;
}

/* The reader stands after a quotation mark. */
static coney_status read_string(cny_json_reader *reader, cny_slice *string)
{
    *string = (cny_slice){.data = reader->at};
    for (;;) {
        reader->at += cny_plain_length(reader->at, (size_t)(reader->end - reader->at));
        if (reader->at == reader->end)
            return fail_at(reader, "the text ends within a string");
        if (*reader->at == '"')
            break;
        if (*reader->at != '\\')
            return fail_at(reader, "a control character in a string, which must be escaped");
        string->is_escaped = true;
        coney_status status = check_escape(reader);
        if (status != CONEY_OK)
            return status;
    }
    string->size = (size_t)(reader->at - string->data);
    reader->at++;
    return CONEY_OK;
}

coney_status cny_json_string(cny_json_reader *reader, cny_slice *string)
{
    if (cny_json_peek(reader) != '"')
        return fail_expected(reader, "a string");
    reader->at++;
    coney_status status = count_value(reader);
    return status == CONEY_OK ? read_string(reader, string) : status;
}

static char *put_utf8(char *to, uint32_t character)
{
    if (character < 0x80) {
        *to++ = (char)character;
        return to;
    }
    if (character < 0x800) {
        *to++ = (char)(0xc0 | character >> 6);
    } else {
        if (character < 0x10000) {
            *to++ = (char)(0xe0 | character >> 12);
        } else {
            *to++ = (char)(0xf0 | character >> 18);
            *to++ = (char)(0x80 | (character >> 12 & 0x3f));
        }
        *to++ = (char)(0x80 | (character >> 6 & 0x3f));
    }
    *to++ = (char)(0x80 | (character & 0x3f));
    return to;
}

/* Returns the bytes of the escape, which is at *from, after its character is written. */
static const char *put_escape(const char *from, const char *end, char **to)
{
    static const char escapes[] = "bfnrt", characters[] = "\b\f\n\r\t";
    if (from[1] != 'u') {
        const char *found = strchr(escapes, from[1]);
        *(*to)++ = *(found ? &characters[found - escapes] : &from[1]);
        return from + 2;
    }
    uint32_t unit = (uint32_t)hex_unit(from + 2, end);
    bool is_pair = is_high_surrogate((int32_t)unit);
    if (is_pair)
        unit = 0x10000 + ((unit & 0x3ff) << 10) + ((uint32_t)hex_unit(from + 8, end) & 0x3ff);
    *to = put_utf8(*to, unit);
    return from + (is_pair ? 12 : 6);
}

size_t cny_json_unescape(const cny_slice *string, char *to)
{
    char *begin = to;
    const char *end = string->data + string->size;
    for (const char *at = string->data; at < end;) {
        const char *escape = string->is_escaped ? memchr(at, '\\', (size_t)(end - at)) : NULL;
        size_t plain = (size_t)((escape ? escape : end) - at);
        memcpy(to, at, plain);
        to += plain;
        at = escape ? put_escape(escape, end, &to) : end;
    }
    return (size_t)(to - begin);
}

/* ---- numbers and words ---- */

static const char *skip_digits(const char *at, const char *end)
{
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    return at;
}

/* The digits of a part of a number, which must have some. NULL: it has none. */
static const char *some_digits(const char *at, const char *end)
{
    const char *after = skip_digits(at, end);
    return after > at ? after : NULL;
}

/* The end of the number that begins here; NULL: there is none. */
static const char *end_of_number(const char *at, const char *end)
{
    at += at < end && *at == '-';
    const char *integer = at;
    if (!(at = some_digits(at, end)) || (*integer == '0' && at - integer > 1))
        return NULL;
    if (at < end && *at == '.' && !(at = some_digits(at + 1, end)))
        return NULL;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        at = some_digits(at, end);
    }
    return at;
}

bool cny_json_is_number(const char *text, size_t size)
{
    return size <= CNY_MAX_NUMBER && size > 0 && end_of_number(text, text + size) == text + size;
}

coney_status cny_json_number(cny_json_reader *reader, cny_slice *number)
{
    cny_json_peek(reader);
    const char *after = end_of_number(reader->at, reader->end);
    if (!after)
        return fail_expected(reader, "a value");
    if (after - reader->at > CNY_MAX_NUMBER)
        return fail_at(reader, "a number of more than 1,000 characters");
    *number = (cny_slice){.data = reader->at, .size = (size_t)(after - reader->at)};
    reader->at = after;
    return count_value(reader);
}

static coney_status read_word(cny_json_reader *reader, const char *word)
{
    size_t size = strlen(word);
    if ((size_t)(reader->end - reader->at) < size || memcmp(reader->at, word, size) != 0)
        return fail_expected(reader, "a value");
    reader->at += size;
    return count_value(reader);
}

coney_status cny_json_bool(cny_json_reader *reader, bool *boolean)
{
    *boolean = cny_json_peek(reader) == 't';
    return read_word(reader, *boolean ? "true" : "false");
}

coney_status cny_json_null(cny_json_reader *reader)
{
    cny_json_peek(reader);
    return read_word(reader, "null");
}

/* ---- arrays and objects ---- */

coney_status cny_json_enter(cny_json_reader *reader, char bracket)
{
    if (cny_json_peek(reader) != bracket)
        return fail_expected(reader, bracket == '{' ? "an object" : "an array");
    reader->at++;
    if (++reader->depth > reader->limits.max_depth)
        return coney_conversion_failed("the JSON is more than %zu levels deep, which is max_depth of coney_json_limits "
                                       "(coney_json_set_limits)",
                                       reader->limits.max_depth);
    return count_value(reader);
}

/* Goes to the next element or member, over the comma. */
static coney_status go_on(cny_json_reader *reader, bool is_first, char bracket, bool *more)
{
    char next = cny_json_peek(reader);
    *more = next != bracket;
    if (!*more) {
        reader->at++;
        reader->depth--;
        return CONEY_OK;
    }
    if (is_first)
        return CONEY_OK;
    if (next != ',')
        return fail_expected(reader, bracket == '}' ? "',' or '}'" : "',' or ']'");
    reader->at++;
    return CONEY_OK;
}

coney_status cny_json_next_element(cny_json_reader *reader, bool is_first, bool *more)
{
    return go_on(reader, is_first, ']', more);
}

coney_status cny_json_next_member(cny_json_reader *reader, bool is_first, bool *more, cny_slice *name)
{
    coney_status status = go_on(reader, is_first, '}', more);
    if (status != CONEY_OK || !*more)
        return status;
    if (cny_json_peek(reader) != '"')
        return fail_expected(reader, "the name of a member");
    reader->at++;
    status = read_string(reader, name);
    if (status != CONEY_OK)
        return status;
    if (cny_json_peek(reader) != ':')
        return fail_expected(reader, "':'");
    reader->at++;
    return CONEY_OK;
}

static coney_status skip_value(cny_json_reader *reader);

static coney_status skip_array(cny_json_reader *reader)
{
    bool more = true;
    coney_status status = cny_json_enter(reader, '[');
    for (bool is_first = true; status == CONEY_OK && more; is_first = false) {
        status = cny_json_next_element(reader, is_first, &more);
        if (status == CONEY_OK && more)
            status = skip_value(reader);
    }
    return status;
}

static coney_status skip_object(cny_json_reader *reader)
{
    bool more = true;
    cny_slice name;
    coney_status status = cny_json_enter(reader, '{');
    for (bool is_first = true; status == CONEY_OK && more; is_first = false) {
        status = cny_json_next_member(reader, is_first, &more, &name);
        if (status == CONEY_OK && more)
            status = skip_value(reader);
    }
    return status;
}

static coney_status skip_value(cny_json_reader *reader)
{
    cny_slice ignored;
    bool boolean;
    switch (cny_json_peek(reader)) {
    case '{': return skip_object(reader);
    case '[': return skip_array(reader);
    case '"': return cny_json_string(reader, &ignored);
    case 't':
    case 'f': return cny_json_bool(reader, &boolean);
    case 'n': return cny_json_null(reader);
    default: return cny_json_number(reader, &ignored);
    }
}

coney_status cny_json_skip(cny_json_reader *reader, cny_slice *value)
{
    cny_json_peek(reader);
    const char *begin = reader->at;
    coney_status status = skip_value(reader);
    *value = (cny_slice){.data = begin, .size = (size_t)(reader->at - begin)};
    return status;
}
