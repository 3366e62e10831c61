/* SPDX-License-Identifier: MIT */
/* Which message the broker means when it closes a channel, of which it tells no more than a sentence for people. Reads
 * texts only, on any thread. */
#include "rabbit/connection/confirms/confirms.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* Whether the text goes on with the value and a quotation mark. In the text a space stands for what may not be shown,
 * as cny_copy_sentence() puts it, and RabbitMQ ends words of more than 255 bytes with "...". */
static bool goes_on_with(const char *text, const char *value)
{
    const char *begin = text;
    bool in_gap = false;
    size_t size;
    for (const char *end = value + strlen(value); value < end; value += size) {
        bool is_shown = cny_text_step(value, (size_t)(end - value), &size);
        if (text > begin && strcmp(text, "...") == 0)
            return true;
        if (!is_shown && !in_gap && text[-1] != ' ' && *text++ != ' ')
            return false;
        in_gap = !is_shown || (in_gap && *value == ' ');
        if (!in_gap && strncmp(text, value, size) != 0)
            return false;
        text += in_gap ? 0 : size;
    }
    return *text == '\'';
}

/* As RabbitMQ 4 shows a name that is not UTF-8: as if it were Latin-1. */
static void recode(char to[2 * CNY_MAX_SHORT_STRING + 1], const char *value)
{
    size_t used = 0, size = strnlen(value, CNY_MAX_SHORT_STRING);
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)value[i];
        if (byte >= 0x80)
            to[used++] = (char)(0xc0 | byte >> 6);
        to[used++] = (char)(byte >= 0x80 ? 0x80 | (byte & 0x3f) : byte);
    }
    to[used] = '\0';
}

/* The text has the words, which end with a quotation mark, and then the value. */
static bool names(const char *text, const char *words, const char *value)
{
    char recoded[2 * CNY_MAX_SHORT_STRING + 1];
    size_t words_size = strlen(words);
    if (!value)
        return false;
    recode(recoded, value);
    for (const char *at = strstr(text, words); at; at = strstr(at + 1, words)) {
        if (goes_on_with(at + words_size, value) || goes_on_with(at + words_size, recoded))
            return true;
    }
    return false;
}

/* "PRECONDITION_FAILED - message size 1001 is larger than configured max size 1000", or without "configured" */
static bool is_over_limit(const char *text, size_t size)
{
    static const char words[] = " max size ";
    const char *limit = strstr(text, "message size ");
    limit = limit ? strstr(limit, words) : NULL;
    return limit && isdigit((unsigned char)limit[sizeof words - 1]) &&
           size > strtoull(limit + sizeof words - 1, NULL, 10);
}

/* The text may name what several messages have: "NOT_FOUND - no exchange 'x' in vhost '/'", "ACCESS_REFUSED - access to
 * topic 'k' in exchange 'x' in vhost '/' refused for user 'u'", "PRECONDITION_FAILED - user_id property set to 'u' but
 * authenticated user was 'v'", "PRECONDITION_FAILED - invalid expiration '99999999999':
 * {value_too_large,99999999999}". */
bool cny_confirm_is_named(const cny_confirm *confirm, const char *text)
{
    static const char topic[] = "access to topic '";
    const char *exchange = cny_confirm_route(confirm), *routing_key = exchange + strlen(exchange) + 1;
    const coney_properties *properties = &confirm->message->properties;
    if (names(text, "exchange '", exchange))
        return !strstr(text, topic) || names(text, topic, routing_key);
    return is_over_limit(text, confirm->message->size) ||
           names(text, "user_id property set to '", properties->user_id) ||
           names(text, "invalid expiration '", properties->expiration);
}
