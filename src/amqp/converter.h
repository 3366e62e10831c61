/* SPDX-License-Identifier: MIT */
/* What converters share. Private to this folder. */
#ifndef CNY_AMQP_CONVERTER_H
#define CNY_AMQP_CONVERTER_H

#include "amqp/amqp.h"

/* A message with this content type and encoding, unless the properties name their own type. */
coney_status cny_convert_to(coney_message **message, const void *body, size_t size, const char *content_type,
                            const char *content_encoding, const coney_properties *properties);

/* Is it this content type, parameters and case apart? "text/" stands for all of its kind. */
bool cny_content_type_is(const coney_message *message, const char *type);

/* Does it say nothing, in the way senders do that set no content type? */
bool cny_content_type_unknown(const coney_message *message);

/* CONEY_E_CONVERSION unless encoding and body are UTF-8. */
coney_status cny_check_utf8_body(const coney_message *message);

#endif
