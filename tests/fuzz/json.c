/* SPDX-License-Identifier: MIT */
/* The input is a content type, which '|' and the id of a struct's type may follow, the end of a line, and a body. The
 * body is read as JSON, as text, and as what it says it is, by the charset that the content type names. JSON that was
 * read can be written and read again, and is the same. */
#include "support/fuzz.h"

#include <coney/amqp/content.h>
#include <coney/amqp/json.h>

#include "support/orders.h"

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

static void check_content(const coney_content *content)
{
    fuzz_require(!content->text == (content->kind != CONEY_CONTENT_TEXT));
    fuzz_require(!content->json == (content->kind != CONEY_CONTENT_JSON));
    fuzz_require(!content->bytes.data == (content->kind != CONEY_CONTENT_BYTES));
    fuzz_require(!content->object == (content->kind != CONEY_CONTENT_OBJECT));
    fuzz_require(!content->text || cny_utf8_error(content->text, strlen(content->text)) < 0);
}

static void read_content(coney_message *message)
{
    static const coney_type *const known[] = {&order_type, &orders_type, &orders_by_name_type, &customer_type};
    static const coney_types types = {.types = known, .count = sizeof known / sizeof *known};
    coney_content *content;
    coney_status status = coney_message_content(&content, message, &types);
    fuzz_require(status == CONEY_OK || status == CONEY_E_CONVERSION || status == CONEY_E_NO_MEMORY);
    if (status != CONEY_OK)
        return;
    check_content(content);
    coney_content_free(content);
}

static coney_status make_message(coney_message **message, char *type, const uint8_t *body, size_t size)
{
    char *id = strchr(type, '|');
    coney_table *headers = coney_table_new();
    coney_status status = headers ? CONEY_OK : CONEY_E_NO_MEMORY;
    if (id)
        *id++ = '\0';
    if (id && status == CONEY_OK)
        status = coney_table_set_string(headers, CONEY_HEADER_TYPE_ID, id);
    if (status == CONEY_OK)
        status = coney_message_new(message, body, size, &(coney_properties){.content_type = type, .headers = headers});
    coney_table_free(headers);
    return status;
}

void fuzz_target(const uint8_t *data, size_t size)
{
    const uint8_t *line_end = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t type_size = line_end ? (size_t)(line_end - data) : 0, body_at = line_end ? type_size + 1 : 0;
    char *type = fuzz_text(data, type_size);
    coney_message *message = NULL;
    coney_json_set_limits(&limits);
    if (strlen(type) <= CNY_MAX_SHORT_STRING &&
        fuzz_succeeds(make_message(&message, type, data + body_at, size - body_at))) {
        read_json(message);
        read_text(message);
        read_content(message);
        coney_message_unref(message);
    }
    free(type);
}
