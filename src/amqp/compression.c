/* SPDX-License-Identifier: MIT */
/* Processors that compress and decompress, by zlib, which only this file uses. Any thread; each message has a zlib
 * stream of its own. */
#include "amqp/amqp.h"

#include <coney/amqp/compression.h>

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <zlib.h>

#define AUTO_DECOMPRESS "springAutoDecompress"
#define DEFAULT_MAX_BYTES ((size_t)100 << 20) /* Spring's */
#define MAX_STAGES 4
#define MIN_ROOM 4096
#define MAX_PIECE ((size_t)1 << 30) /* zlib counts in unsigned int */
#define GZIP_WINDOW (15 + 16)
#define ZLIB_WINDOW 15
#define DEFAULT_MEMORY 8

/* ---- streams ---- */

static void *allocate(void *unused, unsigned count, unsigned size)
{
    (void)unused;
    return cny_alloc((size_t)count * size);
}

static void release(void *unused, void *memory)
{
    (void)unused;
    cny_free(memory);
}

/* The input that is left, and the output. */
typedef struct transfer {
    z_stream stream;
    size_t unread; /* bytes that the stream has not been given yet */
    cny_buffer *output;
    size_t max_output; /* one byte more may be written, to show that the limit is exceeded */
} transfer;

static transfer transfer_of(const coney_message *message, cny_buffer *output, size_t max_output)
{
    return (transfer){
        .stream = {.zalloc = allocate, .zfree = release, .next_in = message->body},
        .unread = message->size,
        .output = output,
        .max_output = max_output,
    };
}

static size_t left(const transfer *one)
{
    return one->unread + one->stream.avail_in;
}

/* Calls zlib once, with as much input and room as unsigned int can count. False without memory. */
static bool step(transfer *one, int (*function)(z_stream *stream, int flush), int *result)
{
    z_stream *stream = &one->stream;
    cny_buffer *output = one->output;
    if (!cny_buffer_reserve(output, MIN_ROOM))
        return false;
    if (stream->avail_in == 0) {
        stream->avail_in = (uInt)(one->unread < MAX_PIECE ? one->unread : MAX_PIECE);
        one->unread -= stream->avail_in;
    }
    size_t room = output->capacity - output->size;
    size_t allowed = one->max_output - output->size; /* the output is not larger than max_output yet */
    if (room > allowed && allowed < SIZE_MAX)
        room = allowed + 1;
    stream->next_out = output->data + output->size;
    stream->avail_out = (uInt)(room < MAX_PIECE ? room : MAX_PIECE);
    *result = function(stream, one->unread == 0 ? Z_FINISH : Z_NO_FLUSH);
    output->size = (size_t)(stream->next_out - output->data);
    return *result != Z_MEM_ERROR;
}

/* ---- compressing ---- */

static const char *name_of(coney_compression compression)
{
    return compression == CONEY_GZIP ? "gzip" : "deflate";
}

static int window_of(coney_compression compression)
{
    return compression == CONEY_GZIP ? GZIP_WINDOW : ZLIB_WINDOW;
}

static coney_status compress_body(const coney_message *message, const coney_compress_options *options,
                                  cny_buffer *output)
{
    transfer one = transfer_of(message, output, CONEY_UNLIMITED_BYTES);
    int result = deflateInit2(&one.stream, options->level, Z_DEFLATED, window_of(options->compression), DEFAULT_MEMORY,
                              Z_DEFAULT_STRATEGY);
    if (result != Z_OK)
        return cny_fail_memory();
    do {
        if (!step(&one, deflate, &result))
            result = Z_MEM_ERROR;
    } while (result == Z_OK || result == Z_BUF_ERROR); /* both mean that zlib needs more room */
    deflateEnd(&one.stream);
    if (result == Z_MEM_ERROR)
        return cny_fail_memory();
    return result == Z_STREAM_END ? CONEY_OK : coney_conversion_failed("zlib cannot compress the body: %d", result);
}

/* Replaces the message by one with this body and content encoding, and with or without the header that has Spring's
 * receivers decompress. */
static coney_status recode(coney_message **message, const cny_buffer *body, const char *encoding, bool flag)
{
    static const coney_value yes = {.type = CONEY_BOOL, .as.boolean = true};
    cny_arena arena = {0};
    coney_properties properties = (*message)->properties;
    coney_table *headers = cny_table_copy_without(&arena, properties.headers, AUTO_DECOMPRESS);
    coney_status status = headers ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK && flag)
        status = coney_table_set(headers, AUTO_DECOMPRESS, &yes);
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
    snprintf(encoding, sizeof encoding, "%s%s%s", name_of(options->compression), before && *before ? ", " : "",
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
    if (options->compression != CONEY_GZIP && options->compression != CONEY_DEFLATE)
        return cny_fail(CONEY_E_INVALID, "%d is no coney_compression", (int)options->compression);
    if (options->level < 0 || options->level > 9)
        return cny_fail(CONEY_E_INVALID, "the level of compression is %d; 1 to 9 are possible", options->level);
    coney_compress_options *own = cny_alloc(sizeof *own);
    if (!own)
        return cny_fail_memory();
    *own = *options;
    if (own->level == 0)
        own->level = Z_BEST_SPEED;
    *processor = (coney_processor){
        .name = name_of(own->compression), .process = compress_message, .user = own, .free_user = cny_free};
    return CONEY_OK;
}

/* ---- decompressing ---- */

/* The bytes that all stages of a message together may produce. */
typedef struct budget {
    size_t max_bytes;
    size_t spent; /* by earlier stages */
} budget;

static coney_status too_large(const budget *allowed)
{
    if (allowed->spent == 0)
        return coney_conversion_failed("the body would have more than the %zu bytes that max_bytes allows",
                                       allowed->max_bytes);
    return coney_conversion_failed("the body and the %zu bytes of the stages before it would have more than the %zu "
                                   "bytes that max_bytes allows",
                                   allowed->spent, allowed->max_bytes);
}

static coney_status trailing_bytes(size_t count)
{
    return coney_conversion_failed("%zu bytes follow the end of the compressed body", count);
}

static coney_status not_readable(const transfer *one, int result)
{
    if (result == Z_OK || result == Z_BUF_ERROR)
        return coney_conversion_failed("the compressed body is cut off");
    return coney_conversion_failed("the compressed body is damaged: %s", result == Z_NEED_DICT ? "it needs a dictionary"
                                                                         : one->stream.msg     ? one->stream.msg
                                                                                           : "zlib does not say why");
}

/* A gzip body may have several members; all of them together are the body. */
static coney_status inflate_all(transfer *one, coney_compression compression, const budget *allowed)
{
    size_t after_last = 0; /* bytes after the end of the last complete member */
    for (;;) {
        size_t unread = left(one), written = one->output->size;
        int result;
        if (!step(one, inflate, &result))
            return cny_fail_memory();
        if (one->output->size > one->max_output)
            return too_large(allowed);
        bool advanced = left(one) < unread || one->output->size > written;
        if (result == Z_STREAM_END) {
            after_last = left(one);
            if (after_last == 0)
                return CONEY_OK;
            if (compression != CONEY_GZIP || inflateReset(&one->stream) != Z_OK)
                return trailing_bytes(after_last);
        } else if ((result != Z_OK && result != Z_BUF_ERROR) || !advanced) {
            bool is_member = after_last == 0 || one->stream.total_out > 0;
            return is_member ? not_readable(one, result) : trailing_bytes(after_last);
        }
    }
}

static coney_status decompress_body(const coney_message *message, coney_compression compression, const budget *allowed,
                                    cny_buffer *output)
{
    transfer one = transfer_of(message, output, allowed->max_bytes - allowed->spent);
    if (inflateInit2(&one.stream, window_of(compression)) != Z_OK)
        return cny_fail_memory();
    coney_status status = inflate_all(&one, compression, allowed);
    inflateEnd(&one.stream);
    return status;
}

static bool is_first(const char *encoding, size_t size, const char *name)
{
    return size == strlen(name) && strncasecmp(encoding, name, size) == 0;
}

/* Decompresses one stage. `rest` is the content encoding after that stage. Both texts are views into the message. */
static coney_status decompress_stage(coney_message **message, const char *encoding, const char *rest,
                                     coney_compression compression, budget *allowed)
{
    cny_buffer body = {0};
    coney_status status = decompress_body(*message, compression, allowed, &body);
    allowed->spent += status == CONEY_OK ? body.size : 0;
    if (status == CONEY_OK)
        status = recode(message, &body, *rest ? rest : NULL, false);
    else if (status == CONEY_E_CONVERSION)
        cny_fail_in("content encoding '%s'", encoding);
    cny_buffer_free(&body);
    return status;
}

/* Decompresses the first stage of the content encoding. *done: there was none. */
static coney_status decompress_next(coney_message **message, budget *allowed, int stage, bool *done)
{
    const char *encoding = (*message)->properties.content_encoding;
    if (!encoding)
        encoding = "";
    size_t size = strcspn(encoding, ",:");
    const char *rest = encoding + size + strspn(encoding + size, ",: ");
    while (size > 0 && encoding[size - 1] == ' ')
        size--;
    if (is_first(encoding, size, "zip"))
        return coney_conversion_failed("content encoding '%s' begins with zip, which is not supported; senders may use "
                                       "gzip or deflate",
                                       encoding);
    *done = !is_first(encoding, size, "gzip") && !is_first(encoding, size, "deflate");
    if (*done)
        return CONEY_OK;
    if (stage == MAX_STAGES)
        return coney_conversion_failed("the body is compressed more than %d times, and still '%s'", MAX_STAGES,
                                       encoding);
    return decompress_stage(message, encoding, rest, is_first(encoding, size, "gzip") ? CONEY_GZIP : CONEY_DEFLATE,
                            allowed);
}

static bool wants_to_be_decompressed(const coney_message *message)
{
    const coney_value *flag = coney_message_header(message, AUTO_DECOMPRESS);
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
    budget allowed = {.max_bytes = options->max_bytes};
    bool done = false;
    for (int stage = 0; status == CONEY_OK && !done; stage++) {
        coney_message *before = result;
        status = decompress_next(&result, &allowed, stage, &done);
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
