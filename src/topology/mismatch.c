/* SPDX-License-Identifier: MIT */
/* Reads the broker's sentence about a thing that is there with other properties (406). Any thread. Such as:
 *   PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received the value '5' of type
 *   'long' but current is none
 *   ... inequivalent arg 'type' for exchange 'e' in vhost '/': received 'topic' but current is 'direct' */
#include "topology/fields.h"

#include <stdio.h>
#include <string.h>

static const char *find_last(const char *text, const char *end, const char *words)
{
    const char *found = NULL;
    for (const char *at = text; (at = strstr(at, words)) && at < end; at++)
        found = at;
    return found;
}

/* "none", "'value'" or "the value 'value' of type 'type'" becomes none or value. False if the text is none of these. */
static bool read_value(char value[CNY_VALUE_TEXT], const char *text, const char *end)
{
    static const char before[] = "the value ", after[] = "' of type '";
    if (strncmp(text, "none", 4) == 0) {
        snprintf(value, CNY_VALUE_TEXT, "none");
        return true;
    }
    bool has_type = strncmp(text, before, strlen(before)) == 0;
    const char *type = has_type ? find_last(text, end, after) : NULL;
    text += has_type ? strlen(before) : 0;
    const char *last = type ? type : end - 1;
    while (!type && last > text && *last != '\'')
        last--;
    if (*text != '\'' || last <= text)
        return false;
    snprintf(value, CNY_VALUE_TEXT, "%.*s", (int)(last - text - 1), text + 1);
    return true;
}

/* The names may contain anything, so the last of each mark counts: after it there are only values of the broker's. */
bool cny_read_mismatch(cny_mismatch *mismatch, const char *text)
{
    static const char first[] = "inequivalent arg '", received[] = ": received ", current[] = " but current is ";
    *mismatch = (cny_mismatch){0};
    const char *at = strstr(text, first), *end = text + strlen(text);
    const char *name = at ? at + strlen(first) : NULL, *name_end = name ? strchr(name, '\'') : NULL;
    const char *is = name_end ? find_last(name_end, end, current) : NULL;
    const char *was = is ? find_last(name_end, is, received) : NULL;
    if (!was || (size_t)(name_end - name) >= sizeof mismatch->argument)
        return false;
    snprintf(mismatch->argument, sizeof mismatch->argument, "%.*s", (int)(name_end - name), name);
    const char *existing = is + strlen(current), *existing_end = strstr(existing, "; ");
    return read_value(mismatch->declared, was + strlen(received), is) &&
           read_value(mismatch->existing, existing, existing_end ? existing_end : end);
}

/* ---- the member of the public struct ---- */

static const char *find_field(const cny_typed_field *fields, size_t count, const char *argument)
{
    for (size_t i = 0; i < count; i++) {
        if (fields[i].argument && strcmp(fields[i].argument, argument) == 0)
            return fields[i].field;
    }
    return strcmp(argument, "durable") == 0 ? "transient" : argument;
}

const char *cny_queue_field_of(const coney_queue *queue, const char *argument)
{
    cny_typed_field fields[CNY_QUEUE_FIELDS];
    cny_read_queue_fields(fields, queue);
    return find_field(fields, CNY_QUEUE_FIELDS, argument);
}

const char *cny_exchange_field_of(const coney_exchange *exchange, const char *argument)
{
    cny_typed_field fields[CNY_EXCHANGE_FIELDS];
    cny_read_exchange_fields(fields, exchange);
    return find_field(fields, CNY_EXCHANGE_FIELDS, argument);
}
