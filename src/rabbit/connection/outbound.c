/* SPDX-License-Identifier: MIT */
/* A stream of frames in which large bodies stand as references, because a copy of them would cost more than all the
 * rest of a publish. Not thread-safe: for a thread that has the connection's lock, or has taken the whole stream. */
#include "rabbit/connection/outbound.h"

/* A piece of a body belongs into the stream after the byte at `at`. */
typedef struct body_part {
    size_t at;
    const uint8_t *data;
    size_t size;
    coney_message *message; /* a reference */
} body_part;

static body_part *parts_of(const cny_outbound *outbound)
{
    return (body_part *)(void *)outbound->parts.data;
}

static size_t part_count(const cny_outbound *outbound)
{
    return outbound->parts.size / sizeof(body_part);
}

bool cny_outbound_reserve(cny_outbound *outbound, size_t head_size, const coney_message *message, uint32_t frame_max)
{
    size_t frames = cny_body_frame_count(message->size, frame_max);
    return cny_buffer_reserve(&outbound->bytes, head_size + frames * CNY_FRAME_OVERHEAD) &&
           cny_buffer_reserve(&outbound->parts, frames * sizeof(body_part));
}

void cny_outbound_add_body(cny_outbound *outbound, uint16_t channel, uint32_t frame_max, coney_message *message)
{
    size_t payload_max = frame_max - CNY_FRAME_OVERHEAD;
    for (size_t from = 0; from < message->size;) {
        size_t size = message->size - from < payload_max ? message->size - from : payload_max;
        cny_encode_body_head(&outbound->bytes, channel, size);
        const body_part part = {
            .at = outbound->bytes.size,
            .data = message->body + from,
            .size = size,
            .message = coney_message_ref(message),
        };
        cny_buffer_append(&outbound->parts, &part, sizeof part); /* there is room, see reserve() */
        cny_encode_frame_end(&outbound->bytes);
        from += size;
    }
}

bool cny_outbound_is_written(const cny_outbound *outbound)
{
    return outbound->written == outbound->bytes.size && outbound->parts_written == part_count(outbound);
}

size_t cny_outbound_gather(const cny_outbound *outbound, struct iovec *pieces, size_t most, size_t *size)
{
    const body_part *parts = parts_of(outbound);
    size_t at = outbound->written, part = outbound->parts_written, within = outbound->part_written, count = 0;
    *size = 0;
    while (count < most && (at < outbound->bytes.size || part < part_count(outbound))) {
        bool is_part = part < part_count(outbound) && parts[part].at == at;
        size_t until = part < part_count(outbound) ? parts[part].at : outbound->bytes.size;
        const uint8_t *data = is_part ? parts[part].data + within : outbound->bytes.data + at;
        size_t length = is_part ? parts[part].size - within : until - at;
        pieces[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = length};
        *size += length;
        at = is_part ? at : until;
        part += is_part;
        within = 0;
    }
    return count;
}

void cny_outbound_advance(cny_outbound *outbound, size_t bytes)
{
    while (bytes > 0) {
        struct iovec piece;
        size_t size;
        cny_outbound_gather(outbound, &piece, 1, &size);
        size_t done = bytes < size ? bytes : size;
        bool is_part = outbound->parts_written < part_count(outbound) &&
                       parts_of(outbound)[outbound->parts_written].at == outbound->written;
        if (!is_part)
            outbound->written += done;
        else if (done < size)
            outbound->part_written += done;
        else {
            outbound->part_written = 0;
            outbound->parts_written++;
        }
        bytes -= done;
    }
}

void cny_outbound_clear(cny_outbound *outbound)
{
    for (size_t i = 0; i < part_count(outbound); i++)
        coney_message_unref(parts_of(outbound)[i].message);
    outbound->parts.size = outbound->bytes.size = 0;
    outbound->written = outbound->parts_written = outbound->part_written = 0;
}

void cny_outbound_free(cny_outbound *outbound)
{
    cny_outbound_clear(outbound);
    cny_buffer_free(&outbound->bytes);
    cny_buffer_free(&outbound->parts);
}
