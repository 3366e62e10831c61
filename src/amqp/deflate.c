/* SPDX-License-Identifier: MIT */
/* Compresses and decompresses streams by zlib. Any thread. zlib counts in unsigned int, so it gets the bytes in
 * pieces; its memory comes from Coney's allocator. */
#include "amqp/deflate.h"

#include "amqp/amqp.h"

#include <zlib.h>

#define MIN_ROOM 4096
#define MAX_PIECE ((size_t)1 << 30)
#define DEFAULT_MEMORY 8

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

static transfer transfer_of(const uint8_t *data, size_t size, cny_buffer *output, size_t max_output)
{
    return (transfer){
        .stream = {.zalloc = allocate, .zfree = release, .next_in = (z_const Bytef *)data},
        .unread = size,
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

coney_status cny_deflate(cny_buffer *output, const uint8_t *data, size_t size, cny_stream_format format, int level)
{
    transfer one = transfer_of(data, size, output, SIZE_MAX);
    int result = deflateInit2(&one.stream, level, Z_DEFLATED, format, DEFAULT_MEMORY, Z_DEFAULT_STRATEGY);
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

/* ---- decompressing ---- */

coney_status cny_too_large(const cny_budget *budget)
{
    if (budget->spent == 0)
        return coney_conversion_failed("the body would have more than the %zu bytes that max_bytes allows",
                                       budget->max_bytes);
    return coney_conversion_failed("the body and the %zu bytes of the stages before it would have more than the %zu "
                                   "bytes that max_bytes allows",
                                   budget->spent, budget->max_bytes);
}

static coney_status not_readable(const transfer *one, int result)
{
    if (result == Z_OK || result == Z_BUF_ERROR)
        return coney_conversion_failed("the compressed body is cut off");
    return coney_conversion_failed("the compressed body is damaged: %s", result == Z_NEED_DICT ? "it needs a dictionary"
                                                                         : one->stream.msg     ? one->stream.msg
                                                                                           : "zlib does not say why");
}

static coney_status inflate_all(transfer *one, cny_stream_format format, const cny_budget *budget, size_t *unread)
{
    *unread = 0; /* bytes after the end of the last complete member */
    for (;;) {
        size_t before = left(one), written = one->output->size;
        int result;
        if (!step(one, inflate, &result))
            return cny_fail_memory();
        if (one->output->size > one->max_output)
            return cny_too_large(budget);
        bool advanced = left(one) < before || one->output->size > written;
        if (result == Z_STREAM_END) {
            *unread = left(one);
            if (*unread == 0 || format != CNY_GZIP_STREAM || inflateReset(&one->stream) != Z_OK)
                return CONEY_OK;
        } else if ((result != Z_OK && result != Z_BUF_ERROR) || !advanced) {
            bool is_member = *unread == 0 || one->stream.total_out > 0;
            return is_member ? not_readable(one, result) : CONEY_OK;
        }
    }
}

coney_status cny_inflate(cny_buffer *output, const uint8_t *data, size_t size, cny_stream_format format,
                         const cny_budget *budget, size_t *unread)
{
    transfer one = transfer_of(data, size, output, budget->max_bytes - budget->spent);
    if (inflateInit2(&one.stream, format) != Z_OK)
        return cny_fail_memory();
    coney_status status = inflate_all(&one, format, budget, unread);
    inflateEnd(&one.stream);
    return status;
}
