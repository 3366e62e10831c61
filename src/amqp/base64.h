/* SPDX-License-Identifier: MIT */
/* Base64 (RFC 4648, the alphabet with + and /). Private to the folder; json_writer.h writes it. */
#ifndef CNY_AMQP_BASE64_H
#define CNY_AMQP_BASE64_H

#include "base/base.h"

/* Room for the bytes of a text of this size. */
#define CNY_BASE64_ROOM(size) ((size) / 4 * 3 + 4)

/* Returns the number of bytes, SIZE_MAX if the text is no base64. The padding may be missing, but not wrong. */
size_t cny_base64_read(uint8_t *to, const char *text, size_t text_size);

#endif
