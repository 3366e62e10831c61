/* SPDX-License-Identifier: MIT */
/* Functions that all converters share: failures, checks of arguments and content types, and calls of converters, which
 * may be the program's. Any thread. */
#include "amqp/converter.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

coney_status coney_conversion_failed(const char *format, ...)
{
    char text[512];
    if (!format)
        return cny_fail(CONEY_E_CONVERSION, "the conversion failed without saying why");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return cny_fail(CONEY_E_CONVERSION, "%s", text);
}

coney_status cny_convert_to(coney_message **message, const void *body, size_t size, const char *content_type,
                            const coney_properties *properties)
{
    coney_properties own = properties ? *properties : (coney_properties){0};
    if (!own.content_type)
        own.content_type = content_type;
    return coney_message_new(message, body, size, &own);
}

coney_status cny_check_from(void **object, const coney_message *message)
{
    return object && message ? CONEY_OK : cny_fail(CONEY_E_INVALID, "convert: object or message is NULL");
}

bool cny_content_type_is(const coney_message *message, const char *type)
{
    const char *given = message->properties.content_type;
    size_t size = strlen(type);
    if (!given || strncasecmp(given, type, size) != 0)
        return false;
    return given[size] == '\0' || given[size] == ';' || given[size] == ' ' || type[size - 1] == '/';
}

bool cny_content_type_unknown(const coney_message *message)
{
    return !message->properties.content_type || cny_content_type_is(message, CONEY_CONTENT_TYPE_BYTES);
}

/* Without its parameters. */
static bool content_type_ends(const coney_message *message, const char *suffix)
{
    const char *given = message->properties.content_type;
    size_t size = given ? strcspn(given, "; ") : 0, suffix_size = strlen(suffix);
    return size > suffix_size && strncasecmp(given + size - suffix_size, suffix, suffix_size) == 0;
}

bool cny_content_type_is_json(const coney_message *message)
{
    return cny_content_type_is(message, CONEY_CONTENT_TYPE_JSON) || content_type_ends(message, "+json");
}

bool cny_content_type_is_xml(const coney_message *message)
{
    return cny_content_type_is(message, CONEY_CONTENT_TYPE_XML) || content_type_ends(message, "+xml");
}

static coney_status with_sentence(const coney_converter *converter, coney_status status)
{
    if (status != CONEY_OK && coney_last_error_details()->status != status)
        cny_fail(status, "converter '%s' failed without saying why", converter->name);
    return status;
}

coney_status cny_to_message(const coney_converter *converter, coney_message **message, const void *object,
                            const coney_properties *properties)
{
    cny_forget_failure();
    return with_sentence(converter, converter->to_message(message, object, properties));
}

coney_status cny_from_message(const coney_converter *converter, void **object, coney_message *message)
{
    cny_forget_failure();
    return with_sentence(converter, converter->from_message(object, message));
}
