/* SPDX-License-Identifier: MIT */
/* The JSON converter, on jansson. (Spring: JacksonJsonMessageConverter.) */
#ifndef CONEY_AMQP_JSON_H
#define CONEY_AMQP_JSON_H

#include <coney/amqp/converter.h>
#include <jansson.h>

CONEY_BEGIN

/* What a document may hold, counted before jansson reads it, because it takes up to 80 times its size in memory then.
 * A document beyond a limit is CONEY_E_CONVERSION; the sentence names what it holds, the limit and the option. Zero
 * means the default. (Jackson: StreamReadConstraints.)
 *
 * A value takes from 8 bytes (null) to 350 (an empty object, which is a member of one), besides the text itself: at the
 * default limit a document takes 600 MiB at worst, and an ordinary one of 10 MiB 150 to 300 MiB. Each handler at work
 * may hold one.
 *
 * jansson reads, writes and frees documents by recursion. For each level reading takes about 100 bytes of the thread's
 * stack and writing 350. Coney's own threads have 1 MiB at least, so any depth fits there; the default also fits
 * threads that have 128 KiB (musl). */
typedef struct coney_json_limits {
    size_t max_values; /* arrays, objects, strings, numbers, true, false, null; names of members are not counted.
                          2,000,000, which is more than 10 MiB of ordinary JSON hold */
    size_t max_depth;  /* arrays and objects within each other; 256. jansson reads 2,047 at most */
} coney_json_limits;

/* Object: json_t of any JSON type. Writes application/json, content encoding UTF-8, compact.
 * Reads application/json, any +json, text/x-json, and, as Spring does, bodies without a content
 * type or with application/octet-stream. The charset is found as by coney_text_converter(). An object
 * with a NaN or a body that is not JSON in its charset is CONEY_E_CONVERSION, and the sentence names
 * the place. So is a document beyond coney_json_set_limits(). */
CONEY_API const coney_converter *coney_json_converter(void);

/* The body as JSON, by the same rules. Gives *json: json_decref() it.
 * CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_json(json_t **json, coney_message *message);

/* The same within limits of its own, for a converter whose queue needs others than the process. Limits may be NULL:
 * those of the process.
 * CONEY_E_CONVERSION, CONEY_E_INVALID (the limits), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_json_within(json_t **json, coney_message *message,
                                                 const coney_json_limits *limits);

/* Sets the limits of coney_json_converter() and coney_message_json() for the whole process; NULL: the defaults again.
 * Documents that are being read are not affected. Any thread.
 * CONEY_E_INVALID (max_depth above 2,047; nothing is set). */
CONEY_API coney_status coney_json_set_limits(const coney_json_limits *limits);

/* A message from JSON; properties may be NULL. Borrows json, gives the message.
 * CONEY_E_CONVERSION, CONEY_E_INVALID (properties), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_new_json(coney_message **message, const json_t *json,
                                              const coney_properties *properties);

CONEY_END

#endif
