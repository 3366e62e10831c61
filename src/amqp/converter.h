/* SPDX-License-Identifier: MIT */
/* What converters share. Private to this folder. */
#ifndef CNY_AMQP_CONVERTER_H
#define CNY_AMQP_CONVERTER_H

#include "amqp/amqp.h"

/* What a converter reads from and where the object goes. CONEY_E_INVALID: one of them is NULL. */
coney_status cny_check_from(void **object, const coney_message *message);

/* A message with this content type, unless the properties name their own. */
coney_status cny_convert_to(coney_message **message, const void *body, size_t size, const char *content_type,
                            const coney_properties *properties);

/* The same with a text in UTF-8, in the charset that the properties name. */
coney_status cny_convert_text_to(coney_message **message, const char *text, const char *content_type,
                                 const coney_properties *properties);

/* Is it this content type, parameters and case apart? "text/" stands for all of its kind. */
bool cny_content_type_is(const coney_message *message, const char *type);

/* Does it say nothing, in the way senders do that set no content type? */
bool cny_content_type_unknown(const coney_message *message);

/* JSON or anything +json? */
bool cny_content_type_is_json(const coney_message *message);

/* ---- charsets: the one that the content encoding names, else the content type's parameter, else UTF-8 ---- */

typedef struct cny_text {
    const char *data; /* a view of what was given, or of what it was converted to */
    size_t size;
    cny_buffer converted;
} cny_text;

/* The body as UTF-8, checked, with a NUL after it; and a text of UTF-8 as it is to be sent with those properties, which
 * may be NULL. To be freed after CONEY_OK. CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
coney_status cny_text_read(cny_text *text, const coney_message *message);
coney_status cny_text_write(cny_text *text, const char *utf8, const coney_properties *properties);
void cny_text_free(cny_text *text);

#endif
