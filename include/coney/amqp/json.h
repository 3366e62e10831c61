/* SPDX-License-Identifier: MIT */
/* The JSON converter, on jansson. (Spring: JacksonJsonMessageConverter.) */
#ifndef CONEY_AMQP_JSON_H
#define CONEY_AMQP_JSON_H

#include <coney/amqp/converter.h>
#include <jansson.h>

CONEY_BEGIN

/* Object: json_t of any JSON type. Writes application/json, content encoding UTF-8, compact.
 * Reads application/json, any +json, text/x-json, and, as Spring does, bodies without a content
 * type or with application/octet-stream. An object with a NaN or a body that is not JSON in
 * UTF-8 is CONEY_E_CONVERSION, and the sentence names the place. */
CONEY_API const coney_converter *coney_json_converter(void);

/* The body as JSON, by the same rules. Gives *json: json_decref() it.
 * CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_json(json_t **json, coney_message *message);

/* A message from JSON; properties may be NULL. Borrows json, gives the message.
 * CONEY_E_CONVERSION, CONEY_E_INVALID (properties), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_new_json(coney_message **message, const json_t *json,
                                              const coney_properties *properties);

CONEY_END

#endif
