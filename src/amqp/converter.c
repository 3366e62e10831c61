/* SPDX-License-Identifier: MIT */
/* The bytes and the text converter. Any thread. (Spring: SimpleMessageConverter.) */
#include "amqp/converter.h"

#include <string.h>

/* ---- bytes ---- */

static coney_status bytes_to_message(coney_message **message, const void *object, const coney_properties *properties)
{
    const coney_bytes *bytes = object;
    if (!bytes)
        return coney_conversion_failed("the object is NULL; the bytes converter takes a coney_bytes");
    return cny_convert_to(message, bytes->data, bytes->size, CONEY_CONTENT_TYPE_BYTES, properties);
}

static coney_status bytes_from_message(void **object, coney_message *message)
{
    if (cny_check_from(object, message) != CONEY_OK)
        return CONEY_E_INVALID;
    coney_bytes *bytes = cny_realloc(NULL, sizeof *bytes + message->size + 1);
    if (!bytes)
        return cny_fail_memory();
    char *data = (char *)(bytes + 1);
    if (message->size > 0)
        memcpy(data, message->body, message->size);
    data[message->size] = '\0';
    *bytes = (coney_bytes){.data = data, .size = message->size};
    *object = bytes;
    return CONEY_OK;
}

const coney_converter *coney_bytes_converter(void)
{
    static const coney_converter converter = {"bytes", bytes_to_message, bytes_from_message, cny_free};
    return &converter;
}

/* ---- text ---- */

coney_status cny_convert_text_to(coney_message **message, const char *text, const char *content_type,
                                 const coney_properties *properties)
{
    coney_properties own = properties ? *properties : (coney_properties){0};
    cny_text written;
    coney_status status = cny_text_write(&written, text, properties);
    if (status != CONEY_OK)
        return status;
    if (!own.content_type && !own.content_encoding)
        own.content_encoding = "UTF-8";
    status = cny_convert_to(message, written.data, written.size, content_type, &own);
    cny_text_free(&written);
    return status;
}

static coney_status text_to_message(coney_message **message, const void *object, const coney_properties *properties)
{
    const char *text = object;
    if (!text)
        return coney_conversion_failed("the object is NULL; the text converter takes a string");
    ptrdiff_t wrong = cny_utf8_error(text, strlen(text));
    if (wrong >= 0)
        return coney_conversion_failed("the text is not UTF-8 at byte %td", wrong);
    return cny_convert_text_to(message, text, CONEY_CONTENT_TYPE_TEXT, properties);
}

static coney_status text_from_message(void **object, coney_message *message)
{
    if (cny_check_from(object, message) != CONEY_OK)
        return CONEY_E_INVALID;
    bool readable =
        cny_content_type_unknown(message) || cny_content_type_is(message, "text/") || cny_content_type_is_json(message);
    if (!readable)
        return coney_conversion_failed("content type '%s' is no text", message->properties.content_type);
    cny_text text;
    coney_status status = cny_text_read(&text, message);
    if (status != CONEY_OK)
        return status;
    if (memchr(text.data, '\0', text.size))
        status = coney_conversion_failed("the text holds a NUL byte; use the bytes converter");
    else if (!(*object = cny_strdup(text.data)))
        status = cny_fail_memory();
    cny_text_free(&text);
    return status;
}

const coney_converter *coney_text_converter(void)
{
    static const coney_converter converter = {"text", text_to_message, text_from_message, cny_free};
    return &converter;
}
