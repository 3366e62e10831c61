/* SPDX-License-Identifier: MIT */
/* The JSON converter, on jansson. (Spring: JacksonJsonMessageConverter.) */
#ifndef CONEY_AMQP_JSON_H
#define CONEY_AMQP_JSON_H

#include <coney/amqp/converter.h>
#include <jansson.h>

CONEY_BEGIN

/* Limits of a JSON document. They are checked before jansson reads the document, because jansson takes up to 80 times
 * the size of a document in memory. A document over a limit is CONEY_E_CONVERSION; the sentence names the number, the
 * limit and the option. Zero means the default. (Jackson: StreamReadConstraints.)
 *
 * A value takes from 8 bytes (null) to 350 bytes (an empty object that is a member of an object), in addition to its
 * text. At the default limit a document takes at most 600 MiB; an ordinary document of 10 MiB takes 150 to 300 MiB.
 * Each running handler may hold a document.
 *
 * jansson reads, writes and frees documents by recursion. Each level takes about 100 bytes of the thread's stack when
 * it is read, and 350 bytes when it is written. Coney's own threads have stacks of at least 1 MiB, which are enough for
 * any depth; the default is also enough for stacks of 128 KiB (musl). */
typedef struct coney_json_limits {
    size_t max_values; /* Arrays, objects, strings, numbers, true, false and null, without the names of members.
                          Default: 2,000,000, which is more than 10 MiB of ordinary JSON contain. */
    size_t max_depth;  /* Levels of arrays and objects. Default: 256. At most 2,047, which is jansson's limit. */
    size_t max_bytes;  /* Memory of an object of a coney_type, because a list of small values may be a list of large
                          structs. Default: 256 MiB. */
} coney_json_limits;

/* Object: json_t of any JSON type. Writes compact application/json with content encoding UTF-8. Reads application/json,
 * any +json, text/x-json, and, as Spring does, bodies without a content type or with application/octet-stream. The
 * charset is determined as by coney_text_converter(). CONEY_E_CONVERSION: an object with a NaN, or one that can be seen
 * to be no json_t, because it does not begin with a type of JSON; a body that is not JSON in its charset, and the
 * sentence names the place; a document over the limits of coney_json_set_limits(). */
CONEY_API const coney_converter *coney_json_converter(void);

/* Reads the body as JSON, by the same rules. Gives *json: free it with json_decref().
 * CONEY_OK, CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_json(json_t **json, coney_message *message);

/* Reads the body as JSON within these limits, for a converter of a queue that needs limits of its own. NULL means the
 * limits of the process.
 * - CONEY_OK, CONEY_E_CONVERSION, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: the limits. */
CONEY_API coney_status coney_message_json_within(json_t **json, coney_message *message,
                                                 const coney_json_limits *limits);

/* Sets the limits of coney_json_converter() and coney_message_json() for the whole process; NULL restores the defaults.
 * Documents that are being read are not affected. Any thread.
 * - CONEY_OK.
 * - CONEY_E_INVALID: max_depth is above 2,047; nothing is set. */
CONEY_API coney_status coney_json_set_limits(const coney_json_limits *limits);

/* Makes a message from JSON. properties may be NULL. Borrows json, gives the message.
 * - CONEY_OK, CONEY_E_CONVERSION, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: the properties. */
CONEY_API coney_status coney_message_new_json(coney_message **message, const json_t *json,
                                              const coney_properties *properties);

CONEY_END

#endif
