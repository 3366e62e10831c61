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

    /* Makes an object from the message and gives it. CONEY_E_CONVERSION, CONEY_E_INVALID (an argument is NULL),
     * CONEY_E_NO_MEMORY. */
    coney_status (*from_message)(void **object, coney_message *message);

    /* Frees what from_message made; takes NULL. */
    void (*free_object)(void *object);
} coney_converter;

/* The object of the bytes converter. From a message: a NUL follows the size bytes of data. */
typedef struct coney_bytes {
    const void *data;
    size_t size;
} coney_bytes;

/* Object: coney_bytes. Writes application/octet-stream; reads any message. */
CONEY_API const coney_converter *coney_bytes_converter(void);

/* Object: a C string in UTF-8. Writes text/plain with content encoding UTF-8. Reads text/..., JSON (any +json, too) and
 * messages without a content type; refuses what is not in its charset or holds a NUL.
 *
 * The charset of texts and JSON is the one that the content encoding names, else the parameter `charset` of the content
 * type, else UTF-8; an empty one counts as none. Texts in another charset of this system (see iconv -l) are converted:
 * from it to read them, and into it to write them with properties that name it. An unknown charset is
 * CONEY_E_CONVERSION, and so is a compressed body, whose content encoding begins with that of the compression: see
 * <coney/amqp/compression.h>. A byte order mark tells the order of UTF-16 and UTF-32, which is big-endian without one.
 * (Spring: the same order; its SimpleMessageConverter heeds no parameter.) */
CONEY_API const coney_converter *coney_text_converter(void);

/* For a custom converter: fails the conversion with a sentence, made as by printf, that
 * coney_last_error() and the container's log will show. Returns CONEY_E_CONVERSION. A format that is NULL says
 * that there is no reason. */
CONEY_API coney_status coney_conversion_failed(const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 1, 2)))
#endif
    ;

CONEY_END

#endif
