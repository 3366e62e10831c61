/* SPDX-License-Identifier: MIT */
/* Streams that zlib compresses and decompresses, and the limit of what decompressing may produce. Any thread; a call
 * has a zlib stream of its own. Knows neither messages nor content encodings. */
#ifndef CNY_DEFLATE_H
#define CNY_DEFLATE_H

#include "base/base.h"

/* The numbers are zlib's (windowBits). */
typedef enum cny_stream_format {
    CNY_GZIP_STREAM = 15 + 16,
    CNY_ZLIB_STREAM = 15,
    CNY_RAW_STREAM = -15, /* without a header and a checksum, as in a zip archive */
} cny_stream_format;

/* The bytes that all stages of a message together may produce. */
typedef struct cny_budget {
    size_t max_bytes;
    size_t spent; /* by earlier stages */
} cny_budget;

/* Fails, because the output of this stage would be larger than the budget. CONEY_E_CONVERSION. */
coney_status cny_too_large(const cny_budget *budget);

/* Appends the compressed bytes. CONEY_E_NO_MEMORY. */
coney_status cny_deflate(cny_buffer *output, const uint8_t *data, size_t size, cny_stream_format format, int level);

/* Decompresses into an empty buffer. *unread becomes the number of bytes after the end of the stream. A gzip stream may
 * have several members, whose contents together are the output. CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
coney_status cny_inflate(cny_buffer *output, const uint8_t *data, size_t size, cny_stream_format format,
                         const cny_budget *budget, size_t *unread);

#endif
