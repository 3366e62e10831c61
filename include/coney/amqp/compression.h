/* SPDX-License-Identifier: MIT */
/* Processors that compress bodies before they are sent and decompress them after they are received.
 * (Spring: GZipPostProcessor, DeflaterPostProcessor, DelegatingDecompressingPostProcessor.)
 *
 * On the wire they are Spring's: the content encoding begins with "gzip" or "deflate", as in
 * "gzip, UTF-8", and the header springAutoDecompress is true. Spring's zip (an archive of one file)
 * is not understood. */
#ifndef CONEY_AMQP_COMPRESSION_H
#define CONEY_AMQP_COMPRESSION_H

#include <coney/amqp/processor.h>

CONEY_BEGIN

typedef enum coney_compression {
    CONEY_GZIP,
    CONEY_DEFLATE, /* in zlib's format, as in HTTP */
} coney_compression;

/* Zero means the default. */
typedef struct coney_compress_options {
    coney_compression compression; /* gzip */
    int level;                     /* 1 is fastest, 9 smallest; 1, as Spring */
    bool no_auto_decompress;       /* leave out the header: receivers decompress only if they always do */
} coney_compress_options;

/* Makes the processor "gzip" or "deflate". Two of them compress twice. Options may be NULL. It fails
 * with CONEY_E_INVALID if the longer content encoding has over 255 bytes, CONEY_E_NO_MEMORY.
 * CONEY_E_INVALID (no such compression or level), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_compress_processor(coney_processor *processor, const coney_compress_options *options);

#define CONEY_UNLIMITED_BYTES SIZE_MAX

/* Zero means the default. */
typedef struct coney_decompress_options {
    size_t max_bytes; /* a body that becomes larger fails, for a small one may become huge; 100 MiB. What the stages of
                         a chain produce counts together. While the message is made from the body there may be twice as
                         many bytes in memory, besides the message that came. No limit: CONEY_UNLIMITED_BYTES */
    bool always;      /* whatever the header springAutoDecompress says */
} coney_decompress_options;

/* Makes the processor "decompress". It takes gzip and deflate off the front of the content encoding
 * (split at ',' or ':'), as many as there are but no more than four, and takes the header away. A message
 * with another encoding, or without the header, stays as it is. Options may be NULL.
 * It fails with CONEY_E_CONVERSION: too large, damaged, cut off, bytes after the end, zip;
 * CONEY_E_NO_MEMORY.
 * CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_decompress_processor(coney_processor *processor, const coney_decompress_options *options);

CONEY_END

#endif
