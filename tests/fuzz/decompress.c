/* SPDX-License-Identifier: MIT */
/* The input is a compressed body, after four bytes that choose its content encoding, the limit of its size, and a place
 * for damage. It is decompressed; then it is compressed and damaged in that place: it must be refused, or come back as
 * it was. */
#include "support/fuzz.h"

#include <coney/amqp/compression.h>

#include <string.h>

static const char *const encodings[] = {"gzip",         "deflate",           "zip",
                                        "gzip, gzip",   "deflate:zip",       "zip, deflate, UTF-8",
                                        "ZIP ,gzip",    "gzip, zip, gzip",   "deflate, deflate, deflate, deflate",
                                        "zip, zip:zip", "gzip, gzip, gzip,", "UTF-8"};
enum { ENCODINGS = sizeof encodings / sizeof *encodings, MAX_COMPRESSED = 1 << 16 };

/* Puts the result in place of the message, and frees the processor. */
static coney_status apply(coney_message **message, coney_processor *processor)
{
    coney_message *before = *message;
    coney_status status = processor->process(message, "", "", processor->user);
    if (*message != before)
        coney_message_unref(before);
    coney_processor_free(processor);
    return status;
}

static coney_status decompress(coney_message **message, size_t max_bytes)
{
    coney_processor processor;
    const coney_decompress_options options = {.always = true, .max_bytes = max_bytes};
    coney_status status = coney_decompress_processor(&processor, &options);
    return status == CONEY_OK ? apply(message, &processor) : status;
}

static void decompress_input(const uint8_t *data, size_t size, const char *encoding, size_t max_bytes)
{
    coney_message *message;
    if (!fuzz_succeeds(coney_message_new(&message, data, size, &(coney_properties){.content_encoding = encoding})))
        return;
    coney_status status = decompress(&message, max_bytes);
    fuzz_require(status == CONEY_OK || status == CONEY_E_CONVERSION || status == CONEY_E_NO_MEMORY);
    fuzz_require(status != CONEY_OK || strcmp(encoding, "UTF-8") == 0 || coney_message_size(message) <= max_bytes);
    fuzz_read_message(message);
    coney_message_unref(message);
}

/* A copy of the message with one byte changed. */
static coney_message *damage(coney_message *message, size_t at, uint8_t by)
{
    uint8_t body[MAX_COMPRESSED];
    size_t size = coney_message_size(message);
    coney_message *damaged;
    if (size == 0 || size > sizeof body)
        return NULL;
    memcpy(body, coney_message_body(message), size);
    body[at % size] ^= by;
    return fuzz_succeeds(coney_message_with(&damaged, message, NULL, body, size)) ? damaged : NULL;
}

static void compress_input(const uint8_t *data, size_t size, const coney_compress_options *options, size_t at,
                           uint8_t by)
{
    coney_message *message;
    coney_processor processor;
    if (!fuzz_succeeds(coney_message_new(&message, data, size, NULL)))
        return;
    if (fuzz_succeeds(coney_compress_processor(&processor, options)) && fuzz_succeeds(apply(&message, &processor))) {
        coney_message *damaged = damage(message, at, by);
        coney_status status = damaged ? decompress(&damaged, size + 1) : CONEY_E_NO_MEMORY;
        fuzz_require(by != 0 || status == CONEY_OK || status == CONEY_E_NO_MEMORY);
        fuzz_require(status != CONEY_OK ||
                     (coney_message_size(damaged) == size && memcmp(coney_message_body(damaged), data, size) == 0));
        coney_message_unref(damaged);
    }
    coney_message_unref(message);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    const char *encoding = encodings[fuzz_take(&data, &size) % ENCODINGS];
    uint8_t limit = fuzz_take(&data, &size), at = fuzz_take(&data, &size), by = fuzz_take(&data, &size);
    decompress_input(data, size, encoding, 1 + (size_t)limit * 256);
    if (size < MAX_COMPRESSED / 2)
        compress_input(data, size, &(coney_compress_options){.compression = (coney_compression)(limit % 3)}, at, by);
}
