/* SPDX-License-Identifier: MIT */
/* The body of a message as what its sender says it is: a text, JSON, bytes, or a struct that a type describes.
 * (Spring: ContentTypeDelegatingMessageConverter, SimpleMessageConverter, the class mapper's __TypeId__.) */
#ifndef CONEY_AMQP_CONTENT_H
#define CONEY_AMQP_CONTENT_H

#include <coney/amqp/type.h>

CONEY_BEGIN

/* A registry: the types that a message may name in its header __TypeId__. Only these are ever made, so a sender cannot
 * choose what is made of its message. The array and its types must live as long as Coney uses them. (Spring:
 * idClassMapping and trusted packages.)
 *
 * The header chooses the type with this id. If the message has __ContentTypeId__, too, its sender has sent a
 * collection, or with __KeyTypeId__ a map; the header names a Java class such as "java.util.ArrayList" then, and the
 * list or map type is chosen by the id of its elements. An array, such as "[Lshop.Order;", is a list, too. Three things
 * say no more than "an object" or "a list" and count as no header: "Hashtable" and java.util.Map's classes without
 * __ContentTypeId__; a class of java.util with the __ContentTypeId__ java.lang.Object, which is what Spring's
 * convertAndSend() writes for every list and map; and an empty id. */
typedef struct coney_types {
    const coney_type *const *types;
    size_t count;
} coney_types;

/* Finds the type that the message names. *type is a view, and NULL if the message names none. Any thread.
 * - CONEY_OK.
 * - CONEY_E_CONVERSION: the message names a type that is not here; the sentence has its id.
 * - CONEY_E_INVALID: an argument or an entry of the types is NULL. */
CONEY_API coney_status coney_types_find(const coney_types *types, const coney_message *message,
                                        const coney_type **type);

typedef enum coney_content_kind {
    CONEY_CONTENT_TEXT = 1,
    CONEY_CONTENT_JSON,
    CONEY_CONTENT_BYTES,
    CONEY_CONTENT_OBJECT,
} coney_content_kind;

/* A converted body. The kind tells which member is set; the others are NULL or empty. */
typedef struct coney_content {
    coney_content_kind kind;
    const char *text;       /* UTF-8 */
    json_t *json;           /* borrowed: use json_incref() to keep it */
    coney_bytes bytes;      /* with a NUL after them */
    const void *object;     /* as `type` says */
    const coney_type *type; /* of the object */
} coney_content;

/* Converts the body:
 * - an object, if the message names one of the types (NULL: there are no types);
 * - a text, if the content type begins with "text/" and is not text/x-json;
 * - JSON, if it is application/json, text/x-json or ends with +json;
 * - else bytes, also without a content type.
 * Gives *content, which is freed in one piece by coney_content_free(). Any thread.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_CONVERSION: the message names a type that is not among the types, or the body is not what the message says.
 * - CONEY_E_INVALID: an argument is NULL, or the type is wrong. */
CONEY_API coney_status coney_message_content(coney_content **content, coney_message *message, const coney_types *types);

/* Takes NULL. */
CONEY_API void coney_content_free(coney_content *content);

CONEY_END

#endif
