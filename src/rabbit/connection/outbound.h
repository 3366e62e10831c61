/* SPDX-License-Identifier: MIT */
/* What is to be written: frames, and large bodies by reference. Not thread-safe. Private to this folder. */
#ifndef CNY_CONNECTION_OUTBOUND_H
#define CNY_CONNECTION_OUTBOUND_H

#include "wire/wire.h"

typedef struct cny_outbound {
    cny_buffer bytes;
    cny_buffer parts;     /* large bodies, which belong between the bytes */
    size_t written;       /* how many of the bytes are written, */
    size_t parts_written; /* how many parts, */
    size_t part_written;  /* and how many bytes of the next part */
} cny_outbound;

enum { CNY_LARGE_BODY = 16 * 1024 }; /* a body of this size and more is not copied */

/* Makes room for head_size bytes, which the caller appends, and the frames of one body after them. False without
 * memory. */
bool cny_outbound_reserve(cny_outbound *outbound, size_t head_size, const coney_message *message, uint32_t frame_max);
void cny_outbound_add_body(cny_outbound *outbound, uint16_t channel, uint32_t frame_max, coney_message *message);
bool cny_outbound_is_written(const cny_outbound *outbound);

/* The first gives the next pieces to be written, and their size together. The second notes that so many bytes are
 * written. */
size_t cny_outbound_gather(const cny_outbound *outbound, struct iovec *pieces, size_t most, size_t *size);
void cny_outbound_advance(cny_outbound *outbound, size_t bytes);
void cny_outbound_clear(cny_outbound *outbound); /* its memory stays */
void cny_outbound_free(cny_outbound *outbound);

#endif
