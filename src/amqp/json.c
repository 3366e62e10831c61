/* SPDX-License-Identifier: MIT */
/* The JSON converter, by jansson. Any thread. (Spring: JacksonJsonMessageConverter.) */
#include <coney/amqp/json.h>

#include "amqp/converter.h"
#include "amqp/json_limits.h"

#include <stdlib.h>
#include <string.h>

static bool may_be_json(const coney_message *message)
{
    return cny_content_type_unknown(message) || cny_content_type_is_json(message) ||
           cny_content_type_is(message, CONEY_CONTENT_TYPE_JSON_ALT);
}

/* Skips a byte order mark, as Jackson does. */
static coney_status parse(json_t **json, const cny_text *text, const coney_json_limits *limits)
{
    size_t mark = text->size >= 3 && memcmp(text->data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    if (text->size == mark)
        return coney_conversion_failed("the body is empty");
    coney_status status = cny_json_check_limits(text->data + mark, text->size - mark, limits);
    if (status != CONEY_OK)
        return status;
    json_error_t error;
    *json = json_loadb(text->data + mark, text->size - mark, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!*json && json_error_code(&error) == json_error_out_of_memory)
        return cny_fail_memory();
    if (!*json)
        return coney_conversion_failed("invalid JSON at line %d, column %d: %s", error.line, error.column, error.text);
    return CONEY_OK;
}

coney_status cny_json_text(cny_text *text, const coney_message *message)
{
    if (!message)
        return cny_fail(CONEY_E_INVALID, "the message is NULL");
    if (!may_be_json(message))
        return coney_conversion_failed("content type '%s' is not JSON", message->properties.content_type);
    return cny_text_read(text, message);
}

coney_status coney_message_json_within(json_t **json, coney_message *message, const coney_json_limits *limits)
{
    CNY_DISABLE_CANCEL();
    cny_text text = {0};
    if (!json)
        return cny_fail(CONEY_E_INVALID, "json is NULL");
    coney_status status = cny_json_text(&text, message);
    if (status != CONEY_OK)
        return status;
    status = parse(json, &text, limits);
    cny_text_free(&text);
    return status;
}

coney_status coney_message_json(json_t **json, coney_message *message)
{
    CNY_DISABLE_CANCEL();
    return coney_message_json_within(json, message, NULL);
}

coney_status coney_message_new_json(coney_message **message, const json_t *json, const coney_properties *properties)
{
    CNY_DISABLE_CANCEL();
    if (!json)
        return cny_fail(CONEY_E_INVALID, "the json object is NULL; did making it fail?");
    if (!message)
        return cny_fail(CONEY_E_INVALID, "message is NULL");
    if ((unsigned)json_typeof(json) > JSON_NULL)
        return coney_conversion_failed("the object is not a json_t: it begins with %u, which is no type of JSON",
                                       (unsigned)json_typeof(json));
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return coney_conversion_failed("the object cannot be written as JSON: it holds itself, or memory ran out");
    coney_status status = cny_convert_text_to(message, text, CONEY_CONTENT_TYPE_JSON, properties);
    free(text); /* jansson's own allocator */
    return status;
}

static coney_status json_to_message(coney_message **message, const void *object, const coney_properties *properties)
{
    return coney_message_new_json(message, object, properties);
}

static coney_status json_from_message(void **object, coney_message *message)
{
    if (cny_check_from(object, message) != CONEY_OK)
        return CONEY_E_INVALID;
    json_t *json = NULL;
    coney_status status = coney_message_json(&json, message);
    if (status == CONEY_OK)
        *object = json;
    return status;
}

static void free_json(void *object)
{
    json_decref(object);
}

const coney_converter *coney_json_converter(void)
{
    static const coney_converter converter = {"json", json_to_message, json_from_message, free_json};
    return &converter;
}
