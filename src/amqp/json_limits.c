/* SPDX-License-Identifier: MIT */
/* Counts the values and levels of a JSON document before it is parsed, because parsed [[],[],...] and [{},{},...] take
 * 47 and 79 times their size in memory, and each level takes stack. Any thread. */
#include "amqp/json_limits.h"

#include <stdatomic.h>
#include <string.h>

#define DEFAULT_MAX_VALUES 2000000
#define DEFAULT_MAX_DEPTH 256
#define DEFAULT_MAX_BYTES ((size_t)256 << 20)
#define MOST_DEPTH 2047 /* jansson allows 2,048, and counts the values in the innermost level as one more */

static atomic_size_t max_values = DEFAULT_MAX_VALUES; /* of the process */
static atomic_size_t max_depth = DEFAULT_MAX_DEPTH;
static atomic_size_t max_bytes = DEFAULT_MAX_BYTES;

/* ---- counting ---- */

typedef struct census {
    size_t values;
    size_t depth; /* of the place that is read */
    size_t deepest;
} census;

/* The text begins after a quotation mark. Returns its bytes up to the closing quotation mark, that included. */
static size_t rest_of_string(const char *text, size_t size)
{
    for (size_t at = 0; at < size; at++) {
        if (text[at] == '"')
            return at + 1;
        at += text[at] == '\\';
    }
    return size;
}

static void begin_container(census *of)
{
    of->values++;
    if (++of->depth > of->deepest)
        of->deepest = of->depth;
}

/* Exact as long as the text is JSON. After an error the count still never falls, so no such text escapes the limits. */
static census take_census(const char *text, size_t size)
{
    census of = {0};
    bool in_word = false;      /* a number, true, false or null */
    bool after_string = false; /* a ':' now makes that string a name */
    for (size_t at = 0; at < size; at++) {
        bool was_in_word = in_word;
        in_word = false;
        switch (text[at]) {
        case ' ':
        case '\t':
        case '\r':
        case '\n': continue;
        case '"':
            of.values++;
            at += rest_of_string(text + at + 1, size - at - 1);
            after_string = true;
            continue;
        case ':': of.values -= after_string; break;
        case ',': break;
        case '[':
        case '{': begin_container(&of); break;
        case ']':
        case '}': of.depth -= of.depth > 0; break;
        default:
            of.values += !was_in_word;
            in_word = true;
            break;
        }
        after_string = false;
    }
    return of;
}

/* ---- checking ---- */

/* Counts this byte in the text, up to most + 1. */
static size_t count_up_to(const char *text, size_t size, char byte, size_t most)
{
    size_t count = 0;
    const char *end = text + size;
    while (count <= most && (text = memchr(text, byte, (size_t)(end - text))) != NULL) {
        count++;
        text++;
    }
    return count;
}

/* Is the document too small to exceed a limit? A value takes two bytes with its separator, and there are no more levels
 * than opening brackets. Most documents are that small. */
static bool is_small(const char *text, size_t size, size_t most_values, size_t most_levels)
{
    bool is_flat = size <= most_levels ||
                   count_up_to(text, size, '[', most_levels) + count_up_to(text, size, '{', most_levels) <= most_levels;
    return is_flat && size / 2 + 1 <= most_values;
}

static coney_status check_settings(const coney_json_limits *limits)
{
    return limits->max_depth <= MOST_DEPTH
               ? CONEY_OK
               : cny_fail(CONEY_E_INVALID, "max_depth is %zu; jansson reads %d levels at most", limits->max_depth,
                          MOST_DEPTH);
}

coney_status coney_json_set_limits(const coney_json_limits *limits)
{
    static const coney_json_limits defaults;
    if (!limits)
        limits = &defaults;
    coney_status status = check_settings(limits);
    if (status != CONEY_OK)
        return cny_fail_in("coney_json_set_limits");
    atomic_store(&max_values, limits->max_values ? limits->max_values : DEFAULT_MAX_VALUES);
    atomic_store(&max_depth, limits->max_depth ? limits->max_depth : DEFAULT_MAX_DEPTH);
    atomic_store(&max_bytes, limits->max_bytes ? limits->max_bytes : DEFAULT_MAX_BYTES);
    return CONEY_OK;
}

coney_json_limits cny_json_limits(void)
{
    return (coney_json_limits){.max_values = atomic_load(&max_values),
                               .max_depth = atomic_load(&max_depth),
                               .max_bytes = atomic_load(&max_bytes)};
}

coney_status cny_json_check_limits(const char *text, size_t size, const coney_json_limits *limits)
{
    coney_json_limits own = limits ? *limits : cny_json_limits();
    size_t most_values = own.max_values, most_levels = own.max_depth;
    coney_status status = limits ? check_settings(limits) : CONEY_OK;
    if (status != CONEY_OK)
        return status;
    if (most_values == 0)
        most_values = DEFAULT_MAX_VALUES;
    if (most_levels == 0)
        most_levels = DEFAULT_MAX_DEPTH;
    if (is_small(text, size, most_values, most_levels))
        return CONEY_OK;
    const char *setter = limits ? "" : " (coney_json_set_limits)";
    census of = take_census(text, size);
    if (of.values > most_values)
        return coney_conversion_failed("the JSON holds %zu values, and max_values of coney_json_limits allows %zu%s",
                                       of.values, most_values, setter);
    if (of.deepest > most_levels)
        return coney_conversion_failed("the JSON is %zu levels deep, and max_depth of coney_json_limits allows %zu%s",
                                       of.deepest, most_levels, setter);
    return CONEY_OK;
}
