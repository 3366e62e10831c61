/* SPDX-License-Identifier: MIT */
/* A wire that is logged in and has no socket: its input comes from memory. */
#ifndef CNY_FUZZ_WIRE_INPUT_H
#define CNY_FUZZ_WIRE_INPUT_H

#include "wire/rabbitmq_c.h"

enum { FUZZ_CHANNELS = 3 };

/* The wire, as if it had read nothing yet. There is one for all inputs, because making a wire takes longer than most
 * inputs do. NULL without memory. */
cny_wire *fuzz_wire(size_t max_message_bytes, cny_wire_owner owner);

/* Adds bytes to what was read, as many as there is room for, and returns their number. A sanitizer of addresses notices
 * if the wire looks at what is after them. */
size_t fuzz_wire_put(cny_wire *wire, const uint8_t *data, size_t size);

/* Adds a whole frame on channel 1. */
void fuzz_wire_put_frame(cny_wire *wire, uint8_t type, const void *payload, size_t size);

/* Adds the method basic.deliver. */
void fuzz_wire_put_deliver(cny_wire *wire);

/* A delivery with these properties, encoded as in a content header, and without a body. Those beyond 16 KiB are left
 * out. NULL without memory. */
coney_message *fuzz_decode_properties(const uint8_t *properties, size_t size);

#endif
