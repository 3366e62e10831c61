/* SPDX-License-Identifier: MIT */
/* The input is a content type, the end of a line, and a body. The body is read as JSON and as text, by the charset that
 * the content type names. JSON that was read can be written and read again, and is the same. */
#include "support/fuzz.h"

#include <coney/amqp/json.h>

#include <stdlib.h>
#include <string.h>

static const coney_json_limits limits = {.max_values = 2000, .max_depth = 60};

static void write_and_read(const json_t *json)
{
    coney_message *message;
    json_t *again;
    if (!fuzz_succeeds(coney_message_new_json(&message, json, NULL)))
        return;
    if (fuzz_succeeds(coney_message_json_within(&again, message, &limits))) {
        fuzz_require(json_equal(json, again));
        json_decref(again);
    }
    coney_message_unref(message);
}

static void read_json(coney_message *message)
{
    json_t *json;
    coney_status status = coney_message_json_within(&json, message, &limits);
    fuzz_require(status == CONEY_OK || status == CONEY_E_CONVERSION || status == CONEY_E_NO_MEMORY);
    if (status != CONEY_OK)
        return;
    write_and_read(json);
    json_decref(json);
}

static void read_text(coney_message *message)
{
    void *text;
    const coney_converter *converter = coney_text_converter();
    coney_status status = converter->from_message(&text, message);
    fuzz_require(status == CONEY_OK || status == CONEY_E_CONVERSION || status == CONEY_E_NO_MEMORY);
    if (status != CONEY_OK)
        return;
    fuzz_require(cny_utf8_error(text, strlen(text)) < 0);
    converter->free_object(text);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    const uint8_t *line_end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t type_size = line_end ? (size_t)(line_end - data) : 0, body_at = line_end ? type_size + 1 : 0;
    char *type = fuzz_text(data, type_size);
    coney_message *message;
    if (strlen(type) <= CNY_MAX_SHORT_STRING &&
        fuzz_succeeds(
            coney_message_new(&message, data + body_at, size - body_at, &(coney_properties){.content_type = type}))) {
        read_json(message);
        read_text(message);
        coney_message_unref(message);
    }
    free(type);
}
