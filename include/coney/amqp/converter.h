/* SPDX-License-Identifier: MIT */
/* Converters turn a program's objects into messages and back. (Spring: MessageConverter.)
 *
 * A converter is constant, so all threads may use it at the same time. Coney has three: bytes and text in this header,
 * JSON in <coney/amqp/json.h>. A program may define further converters. */
#ifndef CONEY_AMQP_CONVERTER_H
#define CONEY_AMQP_CONVERTER_H

#include <coney/amqp/message.h>
#include <coney/amqp/status.h>

CONEY_BEGIN

typedef struct coney_converter {
    const char *name; /* For errors, such as "json". */

    /* Makes a message from the object and gives it. properties may be NULL; their content type and content encoding
     * override those of the converter.
     * - CONEY_OK, CONEY_E_CONVERSION, CONEY_E_NO_MEMORY.
     * - CONEY_E_INVALID: the properties. */
    coney_status (*to_message)(coney_message **message, const void *object, const coney_properties *properties);

    /* Makes an object from the message and gives it.
     * - CONEY_OK, CONEY_E_CONVERSION, CONEY_E_NO_MEMORY.
     * - CONEY_E_INVALID: an argument is NULL. */
    coney_status (*from_message)(void **object, coney_message *message);

    /* Frees an object of from_message. Takes NULL. */
    void (*free_object)(void *object);
} coney_converter;

/* The object of the bytes converter. If it is made from a message, a NUL follows the data. */
typedef struct coney_bytes {
    const void *data;
    size_t size;
} coney_bytes;

/* Asks whether a program can work with an object that was read. Returns CONEY_OK, or another status with a sentence
 * from coney_conversion_failed(). (Spring: @Valid.) */
typedef coney_status coney_validator(const void *object, void *user);

/* Object: coney_bytes. Writes application/octet-stream; reads any message. */
CONEY_API const coney_converter *coney_bytes_converter(void);

/* Object: a C string in UTF-8. Writes text/plain with content encoding UTF-8. Reads text/..., application/json, any
 * +json and messages without a content type. Refuses a body that is not valid in its charset or contains a NUL.
 *
 * The charset of texts and JSON is named by the content encoding, or else by the parameter `charset` of the content
 * type, or else is UTF-8; an empty name counts as none. Bodies in another charset of this system (see iconv -l) are
 * converted from that charset when they are read; and into it when they are written with properties that name it. An
 * unknown charset is CONEY_E_CONVERSION, and so is a compressed body: see <coney/amqp/compression.h>. A byte order mark
 * tells the byte order of UTF-16 and UTF-32, which are big-endian without a mark. (Spring: the same precedence; its
 * SimpleMessageConverter ignores the parameter.) */
CONEY_API const coney_converter *coney_text_converter(void);

/* For the program's own converters, processors and validators: sets the sentence of a failure, made as by printf, which
 * coney_last_error() and the container's log show. Returns CONEY_E_CONVERSION. With a format of NULL the sentence says
 * that no reason was given. */
CONEY_API coney_status coney_conversion_failed(const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 1, 2)))
#endif
    ;

CONEY_END

#endif
