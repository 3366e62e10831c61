/* SPDX-License-Identifier: MIT */
/* Processors that compress and decompress bodies, as the content encoding says. Any thread. Knows the names of the
 * formats, and leaves their bytes to deflate.c and zip.c. */
#include "amqp/amqp.h"
#include "amqp/zip.h"

#include <coney/amqp/compression.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_MAX_BYTES ((size_t)100 << 20) /* Spring's */
#define MAX_STAGES 4
#define BEST_SPEED 1 /* zlib's lowest level */

static const char *const names[] = {[CONEY_GZIP] = "gzip", [CONEY_DEFLATE] = "deflate", [CONEY_ZIP] = "zip"};
enum { COMPRESSIONS = sizeof names / sizeof names[0] };

/* ---- compressing ---- */

static coney_status compress_body(const coney_message *message, const coney_compress_options *options,
                                  cny_buffer *output)
{
    if (options->compression == CONEY_ZIP)
        return cny_zip(output, message->body, message->size, options->level);
    return cny_deflate(output, message->body, message->size,
                       options->compression == CONEY_GZIP ? CNY_GZIP_STREAM : CNY_ZLIB_STREAM, options->level);
}

/* Replaces the message by one with this body and content encoding, and with or without the header that has Spring's
 * receivers decompress. */
static coney_status recode(coney_message **message, const cny_buffer *body, const char *encoding, bool flag)
{
    static const coney_value yes = {.type = CONEY_BOOL, .as.boolean = true};
    cny_arena arena = {0};
    coney_properties properties = (*message)->properties;
    coney_table *headers = cny_table_copy_without(&arena, properties.headers, CONEY_HEADER_AUTO_DECOMPRESS);
    coney_status status = headers ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK && flag)
        status = coney_table_set(headers, CONEY_HEADER_AUTO_DECOMPRESS, &yes);
    properties.headers = headers;
    properties.content_encoding = encoding;
    if (status == CONEY_OK)
        status =
            coney_message_with(message, *message, &properties, body->data ? (const void *)body->data : "", body->size);
    cny_arena_free(&arena);
    return status;
}

static coney_status compress_message(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)exchange;
    (void)routing_key;
    const coney_compress_options *options = user;
    const char *before = (*message)->properties.content_encoding;
    char encoding[CNY_MAX_SHORT_STRING + 16]; /* a text that is too long is refused with the message */
    snprintf(encoding, sizeof encoding, "%s%s%s", names[options->compression], before && *before ? ", " : "",
             before ? before : "");
    cny_buffer body = {0};
    coney_status status = compress_body(*message, options, &body);
    if (status == CONEY_OK)
        status = recode(message, &body, encoding, !options->no_auto_decompress);
    cny_buffer_free(&body);
    return status;
}

coney_status coney_compress_processor(coney_processor *processor, const coney_compress_options *options)
{
    static const coney_compress_options defaults;
    if (!options)
        options = &defaults;
    if (!processor)
        return cny_fail(CONEY_E_INVALID, "the processor is NULL");
    if ((unsigned)options->compression >= COMPRESSIONS)
        return cny_fail(CONEY_E_INVALID, "%d is no coney_compression", (int)options->compression);
    if (options->level < 0 || options->level > 9)
        return cny_fail(CONEY_E_INVALID, "the level of compression is %d; 1 to 9 are possible", options->level);
    coney_compress_options *own = cny_alloc(sizeof *own);
    if (!own)
        return cny_fail_memory();
    *own = *options;
    if (own->level == 0)
        own->level = BEST_SPEED;
    *processor = (coney_processor){
        .name = names[own->compression], .process = compress_message, .user = own, .free_user = cny_free};
    return CONEY_OK;
}

/* ---- decompressing ---- */

static coney_status decompress_body(const coney_message *message, coney_compression compression,
                                    const cny_budget *budget, cny_buffer *output)
{
    const uint8_t *body = message->body;
    size_t unread = 0;
    coney_status status =
        compression == CONEY_ZIP
            ? cny_unzip(output, body, message->size, budget, &unread)
            : cny_inflate(output, body, message->size, compression == CONEY_GZIP ? CNY_GZIP_STREAM : CNY_ZLIB_STREAM,
                          budget, &unread);
    if (status != CONEY_OK || unread == 0)
        return status;
    return coney_conversion_failed("%zu bytes follow the end of the compressed body", unread);
}

/* Finds the compression of this name. False: there is none. */
static bool find_compression(coney_compression *compression, const char *name, size_t size)
{
    for (unsigned i = 0; i < COMPRESSIONS; i++) {
        if (size == strlen(names[i]) && strncasecmp(name, names[i], size) == 0) {
            *compression = (coney_compression)i;
            return true;
        }
    }
    return false;
}

/* Decompresses one stage. `rest` is the content encoding after that stage. Both texts are views into the message. */
static coney_status decompress_stage(coney_message **message, const char *encoding, const char *rest,
                                     coney_compression compression, cny_budget *budget)
{
    cny_buffer body = {0};
    coney_status status = decompress_body(*message, compression, budget, &body);
    budget->spent += status == CONEY_OK ? body.size : 0;
    if (status == CONEY_OK)
        status = recode(message, &body, *rest ? rest : NULL, false);
    else if (status == CONEY_E_CONVERSION)
        cny_fail_in("content encoding '%s'", encoding);
    cny_buffer_free(&body);
    return status;
}

/* Decompresses the first stage of the content encoding. *done: there was none. */
static coney_status decompress_next(coney_message **message, cny_budget *budget, int stage, bool *done)
{
    const char *encoding = (*message)->properties.content_encoding;
    if (!encoding)
        encoding = "";
    size_t size = strcspn(encoding, ",:");
    const char *rest = encoding + size + strspn(encoding + size, ",: ");
    while (size > 0 && encoding[size - 1] == ' ')
        size--;
    coney_compression compression;
    *done = !find_compression(&compression, encoding, size);
    if (*done)
        return CONEY_OK;
    if (stage == MAX_STAGES)
        return coney_conversion_failed("the body is compressed more than %d times, and still '%s'", MAX_STAGES,
                                       encoding);
    return decompress_stage(message, encoding, rest, compression, budget);
}

static bool wants_to_be_decompressed(const coney_message *message)
{
    const coney_value *flag = coney_message_header(message, CONEY_HEADER_AUTO_DECOMPRESS);
    return flag && flag->type == CONEY_BOOL && flag->as.boolean;
}

/* Frees the results between the stages; the message that came in is its owner's. */
static coney_status decompress_message(coney_message **message, const char *exchange, const char *routing_key,
                                       void *user)
{
    (void)exchange;
    (void)routing_key;
    const coney_decompress_options *options = user;
    if (!options->always && !wants_to_be_decompressed(*message))
        return CONEY_OK;
    coney_message *result = coney_message_ref(*message);
    coney_status status = CONEY_OK;
    cny_budget budget = {.max_bytes = options->max_bytes};
    bool done = false;
    for (int stage = 0; status == CONEY_OK && !done; stage++) {
        coney_message *before = result;
        status = decompress_next(&result, &budget, stage, &done);
        if (result != before)
            coney_message_unref(before);
    }
    if (status == CONEY_OK && result != *message)
        *message = result;
    else
        coney_message_unref(result);
    return status;
}

coney_status coney_decompress_processor(coney_processor *processor, const coney_decompress_options *options)
{
    static const coney_decompress_options defaults;
    if (!options)
        options = &defaults;
    if (!processor)
        return cny_fail(CONEY_E_INVALID, "the processor is NULL");
    coney_decompress_options *own = cny_alloc(sizeof *own);
    if (!own)
        return cny_fail_memory();
    *own = *options;
    if (own->max_bytes == 0)
        own->max_bytes = DEFAULT_MAX_BYTES;
    *processor =
        (coney_processor){.name = "decompress", .process = decompress_message, .user = own, .free_user = cny_free};
    return CONEY_OK;
}
