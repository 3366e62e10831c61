/* SPDX-License-Identifier: MIT */
/* The JSON converter, on jansson. (Spring: JacksonJsonMessageConverter.) */
#include <coney/amqp/json.h>

#include "amqp/converter.h"
#include "amqp/json_limits.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool ends_in_plus_json(const char *content_type)
{
    size_t size = strcspn(content_type, "; ");
    return size > 5 && strncasecmp(content_type + size - 5, "+json", 5) == 0;
}

static bool may_be_json(const coney_message *message)
{
    return cny_content_type_unknown(message) || cny_content_type_is(message, CONEY_CONTENT_TYPE_JSON) ||
           cny_content_type_is(message, "text/x-json") || ends_in_plus_json(message->properties.content_type);
}

coney_status coney_message_json_within(json_t **json, coney_message *message, const coney_json_limits *limits)
{
    if (!json || !message)
        return cny_fail(CONEY_E_INVALID, "json or message is NULL");
    if (!may_be_json(message))
        return coney_conversion_failed("content type '%s' is not JSON", message->properties.content_type);
    coney_status status = cny_check_utf8_body(message);
    if (status == CONEY_OK)
        status = cny_json_check_limits((const char *)message->body, message->size, limits);
    if (status != CONEY_OK)
        return status;
    json_error_t error;
    *json = json_loadb((const char *)message->body, message->size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!*json && json_error_code(&error) == json_error_out_of_memory)
        return cny_fail_memory();
    if (!*json)
        return coney_conversion_failed("invalid JSON at line %d, column %d: %s", error.line, error.column, error.text);
    return CONEY_OK;
}

coney_status coney_message_json(json_t **json, coney_message *message)
{
    return coney_message_json_within(json, message, NULL);
}

coney_status coney_message_new_json(coney_message **message, const json_t *json, const coney_properties *properties)
{
    if (!json)
        return cny_fail(CONEY_E_INVALID, "the json object is NULL; did making it fail?");
    if (!message)
        return cny_fail(CONEY_E_INVALID, "message is NULL");
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        return coney_conversion_failed("the object cannot be written as JSON: it holds itself, or memory ran out");
    coney_status status = cny_convert_to(message, text, strlen(text), CONEY_CONTENT_TYPE_JSON, "UTF-8", properties);
    free(text); /* jansson's own allocator */
    return status;
}

static coney_status json_to_message(coney_message **message, const void *object, const coney_properties *properties)
{
    return coney_message_new_json(message, object, properties);
}

static coney_status json_from_message(void **object, coney_message *message)
{
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
