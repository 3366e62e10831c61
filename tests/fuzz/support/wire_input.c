/* SPDX-License-Identifier: MIT */
/* Puts bytes where the wire would have read them to (cny_wire_read()). */
#include "support/wire_input.h"

#include "support/fuzz.h"

#include <string.h>

#if __has_include(<sanitizer/asan_interface.h>)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, size) ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(start, size) ((void)0)
#endif

cny_wire *fuzz_wire(size_t max_message_bytes, cny_wire_owner owner)
{
    static cny_wire *wire;
    static size_t usual_size;
    if (!wire)
        wire = cny_wire_new();
    if (!wire)
        return NULL;
    cny_assemblies_free(wire);
    if ((!wire->input || wire->input_size != usual_size) && cny_wire_make_input(wire) != CONEY_OK)
        return NULL;
    usual_size = wire->input_size;
    wire->input_start = wire->input_end = 0;
    wire->in_frame = false;
    wire->limits = (cny_wire_limits){.channel_max = FUZZ_CHANNELS, .frame_max = CNY_FRAME_MIN};
    wire->max_message_bytes = max_message_bytes;
    wire->owner = owner;
    return wire;
}

size_t fuzz_wire_put(cny_wire *wire, const uint8_t *data, size_t size)
{
    size_t kept = wire->input_end - wire->input_start, room = wire->input_size - kept;
    size_t taken = size < room ? size : room;
    ASAN_UNPOISON_MEMORY_REGION(wire->input, wire->input_size);
    memmove(wire->input, wire->input + wire->input_start, kept);
    if (taken > 0)
        memcpy(wire->input + kept, data, taken);
    wire->input_start = 0;
    wire->input_end = kept + taken;
    ASAN_POISON_MEMORY_REGION(wire->input + wire->input_end, room - taken);
    return taken;
}

void fuzz_wire_put_frame(cny_wire *wire, uint8_t type, const void *payload, size_t size)
{
    static const uint8_t end = AMQP_FRAME_END;
    uint8_t head[CNY_FRAME_HEADER_BYTES] = {type, 0, 1};
    cny_put_u32(head + 3, (uint32_t)size);
    size_t put = fuzz_wire_put(wire, head, sizeof head);
    put += fuzz_wire_put(wire, payload, size);
    put += fuzz_wire_put(wire, &end, 1);
    fuzz_require(put == size + CNY_FRAME_OVERHEAD);
}

void fuzz_wire_put_deliver(cny_wire *wire)
{
    static const uint8_t deliver[] = {0, 60, 0, 60, 1, 't', 0, 0, 0, 0, 0, 0, 0, 7, 0, 1, 'e', 1, 'k'};
    fuzz_wire_put_frame(wire, AMQP_FRAME_METHOD, deliver, sizeof deliver);
}

coney_message *fuzz_decode_properties(const uint8_t *properties, size_t size)
{
    enum { FLAGS = 2, MAX_PROPERTIES = 1 << 14 };
    static const uint8_t prefix[CNY_CONTENT_HEADER_BYTES - FLAGS] = {0, 60}; /* class, weight and an empty body */
    uint8_t payload[sizeof prefix + MAX_PROPERTIES] = {0};
    cny_wire *wire = fuzz_wire(0, (cny_wire_owner){0});
    if (!wire)
        return NULL;
    size = size < MAX_PROPERTIES ? size : MAX_PROPERTIES;
    memcpy(payload, prefix, sizeof prefix);
    if (size > 0)
        memcpy(payload + sizeof prefix, properties, size);
    size = size < FLAGS ? FLAGS : size;
    fuzz_wire_put_deliver(wire);
    fuzz_wire_put_frame(wire, AMQP_FRAME_HEADER, payload, sizeof prefix + size);
    cny_incoming incoming;
    bool complete;
    bool succeeds = fuzz_succeeds(cny_wire_next(wire, &incoming, &complete));
    fuzz_require(!succeeds || (complete && incoming.message));
    return succeeds ? incoming.message : NULL;
}
