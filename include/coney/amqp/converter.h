/* SPDX-License-Identifier: MIT */
/* Converters turn a program's objects into messages and back. (Spring: MessageConverter.)
 *
 * A converter is a constant that all threads may use at once. Coney has three: bytes and text
 * here, JSON in <coney/amqp/json.h>. A program may bring its own. */
#ifndef CONEY_AMQP_CONVERTER_H
#define CONEY_AMQP_CONVERTER_H

#include <coney/amqp/message.h>
#include <coney/amqp/status.h>

CONEY_BEGIN

typedef struct coney_converter {
    const char *name; /* for errors: "json" */

    /* Makes a message from the object; properties may be NULL, and what they say of content
     * type and encoding wins. Gives the message.
     * CONEY_E_CONVERSION, CONEY_E_INVALID (the properties), CONEY_E_NO_MEMORY. */
    coney_status (*to_message)(coney_message **message, const void *object, const coney_properties *properties);

    /* Makes an object from the message and gives it. CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
    coney_status (*from_message)(void **object, coney_message *message);

    /* Frees what from_message made; takes NULL. */
    void (*free_object)(void *object);
} coney_converter;

/* The object of the bytes converter. From a message: data is NUL-terminated behind size. */
typedef struct coney_bytes {
    const void *data;
    size_t size;
} coney_bytes;

/* Object: coney_bytes. Writes application/octet-stream; reads any message. */
CONEY_API const coney_converter *coney_bytes_converter(void);

/* Object: a C string in UTF-8. Writes text/plain with content encoding UTF-8. Reads text/...,
 * JSON and messages without a content type; refuses what is not UTF-8 or holds a NUL. */
CONEY_API const coney_converter *coney_text_converter(void);

/* For a custom converter: fails the conversion with a sentence, made as by printf, that
 * coney_last_error() and the container's log will show. Returns CONEY_E_CONVERSION. */
CONEY_API coney_status coney_conversion_failed(const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 1, 2)))
#endif
    ;

CONEY_END

#endif
