/* SPDX-License-Identifier: MIT */
#include "chaos/bodies.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ID_DIGITS = 12, MAX_BODY = 160000, LARGE_EVERY = 1000 };

static size_t body_size(int64_t id)
{
    size_t more = (size_t)(id * 7919 % 500);
    return ID_DIGITS + more + (id % LARGE_EVERY == 0 ? 150000 : 0);
}

static char letter(int64_t id, size_t at)
{
    return (char)('a' + ((size_t)id + at * 7) % 26);
}

coney_message *make_message(int64_t id)
{
    char body[MAX_BODY];
    size_t size = body_size(id);
    snprintf(body, sizeof body, "%0*" PRId64, ID_DIGITS, id);
    char name[ID_DIGITS + 1];
    memcpy(name, body, sizeof name);
    for (size_t i = ID_DIGITS; i < size; i++)
        body[i] = letter(id, i);
    coney_message *message = NULL;
    coney_table *headers = coney_table_new();
    const coney_properties properties = {.message_id = name, .headers = headers};
    if (!headers || coney_table_set_int64(headers, KEY_HEADER, id % KEYS) != CONEY_OK ||
        coney_message_new(&message, body, size, &properties) != CONEY_OK)
        abort(); /* no memory */
    coney_table_free(headers);
    return message;
}

static bool is_whole(const coney_message *message, int64_t id)
{
    const char *body = coney_message_body(message);
    for (size_t i = ID_DIGITS; i < body_size(id); i++) {
        if (body[i] != letter(id, i))
            return false;
    }
    const coney_properties *properties = coney_message_properties(message);
    return properties->message_id && strtoll(properties->message_id, NULL, 10) == id &&
           coney_table_get_int64(properties->headers, KEY_HEADER, -1) == id % KEYS;
}

int64_t read_message(const coney_message *message)
{
    char digits[ID_DIGITS + 1] = "";
    if (coney_message_size(message) < ID_DIGITS)
        return 0;
    memcpy(digits, coney_message_body(message), ID_DIGITS);
    int64_t id = strtoll(digits, NULL, 10);
    bool known = id >= 1 && coney_message_size(message) == body_size(id);
    return known && is_whole(message, id) ? id : 0;
}
