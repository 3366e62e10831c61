/* SPDX-License-Identifier: MIT */
/* Functions that converters share. Private to the folder. */
#ifndef CNY_AMQP_CONVERTER_H
#define CNY_AMQP_CONVERTER_H

#include "amqp/amqp.h"

/* Checks the arguments of a from_message(). CONEY_E_INVALID: one of them is NULL. */
coney_status cny_check_from(void **object, const coney_message *message);

/* Makes a message with this content type, unless the properties name another. */
coney_status cny_convert_to(coney_message **message, const void *body, size_t size, const char *content_type,
                            const coney_properties *properties);

/* The same with a UTF-8 text as the body, in the charset that the properties name. */
coney_status cny_convert_text_to(coney_message **message, const char *text, const char *content_type,
                                 const coney_properties *properties);

/* Does the message have this content type? Parameters and case are ignored, and "text/" stands for all types of its
 * kind. */
bool cny_content_type_is(const coney_message *message, const char *type);

/* Does the message have no content type, or the one for bytes, which senders set that do not know better? */
bool cny_content_type_unknown(const coney_message *message);

/* Is the content type that of JSON, or does it end with +json? */
bool cny_content_type_is_json(const coney_message *message);
bool cny_content_type_is_xml(const coney_message *message); /* the same with +xml */

/* ---- charsets: content encoding, else the content type's parameter, else UTF-8 ---- */

typedef struct cny_text {
    const char *data; /* a view of the text that was given, or of `converted` */
    size_t size;
    cny_buffer converted;
} cny_text;

/* read: gives the body as UTF-8, checked, with a NUL after it. write: gives a UTF-8 text in the charset of the
 * properties, which may be NULL. The caller frees the text after CONEY_OK. CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
coney_status cny_text_read(cny_text *text, const coney_message *message);
coney_status cny_text_write(cny_text *text, const char *utf8, const coney_properties *properties);
void cny_text_free(cny_text *text);

/* cny_text_read() of a message whose content type is JSON, or says nothing. The message may be NULL. CONEY_E_INVALID,
 * CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
coney_status cny_json_text(cny_text *text, const coney_message *message);

#endif
