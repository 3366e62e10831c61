/* SPDX-License-Identifier: MIT */
/* Writes JSON into a buffer. Private to the folder. Knows nothing of types. */
#ifndef CNY_AMQP_JSON_WRITER_H
#define CNY_AMQP_JSON_WRITER_H

#include "base/base.h"

/* Append. False without memory, and then nothing is appended. */
bool cny_write_raw(cny_buffer *to, const char *text, size_t size);
bool cny_write_string(cny_buffer *to, const char *text, size_t size); /* UTF-8, in quotation marks, escaped */
bool cny_write_unsigned(cny_buffer *to, uint64_t integer);
bool cny_write_base64(cny_buffer *to, const void *bytes, size_t size); /* in quotation marks */

/* A finite number, by the fewest digits that are read as the same number. */
bool cny_write_double(cny_buffer *to, double real);
bool cny_write_float(cny_buffer *to, float real);

static inline bool cny_write_byte(cny_buffer *to, char byte)
{
    if (to->size == to->capacity && !cny_buffer_reserve(to, 1))
        return false;
    to->data[to->size++] = (uint8_t)byte;
    return true;
}

#endif
