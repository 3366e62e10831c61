/* SPDX-License-Identifier: MIT */
/* Zip archives of one entry with the name "amqp", which is what Spring makes of a body. Any thread. */
#ifndef CNY_ZIP_H
#define CNY_ZIP_H

#include "amqp/deflate.h"

/* Makes an archive in an empty buffer. CONEY_E_INVALID: the body has 4 GiB or more; CONEY_E_NO_MEMORY. */
coney_status cny_zip(cny_buffer *output, const uint8_t *data, size_t size, int level);

/* Gives the content of the entry in an empty buffer. *unread becomes the number of bytes after the end of the archive.
 * CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
coney_status cny_unzip(cny_buffer *output, const uint8_t *data, size_t size, const cny_budget *budget, size_t *unread);

#endif
