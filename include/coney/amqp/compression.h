/* SPDX-License-Identifier: MIT */
/* Processors that compress bodies before they are sent and decompress them after they are received.
 * (Spring: GZipPostProcessor, DeflaterPostProcessor, ZipPostProcessor, DelegatingDecompressingPostProcessor.)
 *
 * The format on the wire is Spring's: the content encoding begins with "gzip", "deflate" or "zip", as in "gzip, UTF-8",
 * and the header springAutoDecompress is true. */
#ifndef CONEY_AMQP_COMPRESSION_H
#define CONEY_AMQP_COMPRESSION_H

#include <coney/amqp/processor.h>

CONEY_BEGIN

typedef enum coney_compression {
    CONEY_GZIP,
    CONEY_DEFLATE, /* In zlib's format, as in HTTP. */
    CONEY_ZIP,     /* An archive with one entry, whose name is "amqp". Bodies below 4 GiB. */
} coney_compression;

/* Zero means the default. */
typedef struct coney_compress_options {
    coney_compression compression; /* Default: CONEY_GZIP. */
    int level;                     /* 1 is the fastest, 9 gives the smallest bodies. Default: 1, as in Spring. */
    bool no_auto_decompress;       /* Without the header springAutoDecompress: only receivers that always decompress
                                      do. */
} coney_compress_options;

/* Makes the processor "gzip", "deflate" or "zip". Two such processors compress twice. Options may be NULL. The
 * processor itself fails with CONEY_E_NO_MEMORY, and with CONEY_E_INVALID if the content encoding becomes longer than
 * 255 bytes or the body is too large for a zip archive.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: no such compression or level. */
CONEY_API coney_status coney_compress_processor(coney_processor *processor, const coney_compress_options *options);

#define CONEY_UNLIMITED_BYTES SIZE_MAX

/* Zero means the default. */
typedef struct coney_decompress_options {
    /* Upper limit of a decompressed body, because a small body may become huge. If a body was compressed several times,
     * the bytes of all stages count together. While the message is made, memory holds up to twice max_bytes, in
     * addition to the received message. Default: 100 MiB. No limit: CONEY_UNLIMITED_BYTES. */
    size_t max_bytes;

    /* Decompress with and without the header springAutoDecompress. */
    bool always;
} coney_decompress_options;

/* Makes the processor "decompress". It undoes all gzip, deflate and zip at the front of the content encoding (split at
 * ',' or ':'), at most four, and removes the header springAutoDecompress. A message with another content encoding, or
 * without the header, is not changed. Options may be NULL. The processor itself fails with CONEY_E_NO_MEMORY, and with
 * CONEY_E_CONVERSION if a body is too large, damaged or cut off, or has bytes after its end. So it fails with a zip
 * archive that does not have exactly one entry "amqp", deflated or stored, or that is encrypted, or in zip64.
 * CONEY_OK, CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_decompress_processor(coney_processor *processor, const coney_decompress_options *options);

CONEY_END

#endif
