/* SPDX-License-Identifier: MIT */
/* Frames out of the bytes that the broker sends. I/O thread only.
 *
 * The broker need not keep to the agreed frame_max: RabbitMQ adds headers to a message (x-death, x-delivery-count) and
 * sends its content header in one frame, however large that becomes. So what is read has limits of its own, and only
 * what we send keeps to frame_max. A body comes in pieces, as it is read. A method and a content header must be here
 * whole: for a content header the input grows, and shrinks again; one that is too large is skipped in pieces. */
#include "wire/rabbitmq_c.h"
#include "wire/tls.h"

#include <assert.h>
#include <string.h>

/* The largest frame that can be agreed fits, and a TLS record after most of it. */
#define INPUT_BYTES (CNY_LARGEST_FRAME + CNY_TLS_RECORD_BYTES)

/* ---- the input ---- */

static coney_status resize(cny_wire *wire, size_t size)
{
    size_t kept = wire->input_end - wire->input_start;
    assert(kept <= size);
    uint8_t *made = cny_realloc(NULL, size);
    if (!made)
        return cny_fail_memory();
    if (kept > 0)
        memcpy(made, wire->input + wire->input_start, kept);
    cny_free(wire->input);
    wire->input = made;
    wire->input_size = size;
    wire->input_start = 0;
    wire->input_end = kept;
    return CONEY_OK;
}

coney_status cny_wire_make_input(cny_wire *wire)
{
    wire->input_start = wire->input_end = 0;
    wire->in_frame = false;
    return resize(wire, INPUT_BYTES);
}

static bool comes_in_pieces(uint8_t type, size_t size)
{
    return type == AMQP_FRAME_BODY ||
           (type == AMQP_FRAME_HEADER && size > CNY_LARGEST_HEADER_FRAME - CNY_FRAME_OVERHEAD);
}

/* What has begun to come must fit whole, or else its end could never be read. */
static size_t wanted_input(const cny_wire *wire)
{
    const uint8_t *at = wire->input + wire->input_start;
    if (wire->in_frame || wire->input_end - wire->input_start < CNY_FRAME_HEADER_BYTES)
        return INPUT_BYTES;
    size_t size = cny_get_u32(at + 3), wanted = size + CNY_FRAME_OVERHEAD + CNY_TLS_RECORD_BYTES;
    return comes_in_pieces(at[0], size) || wanted < INPUT_BYTES ? INPUT_BYTES : wanted;
}

coney_status cny_wire_fit_input(cny_wire *wire)
{
    size_t wanted = wanted_input(wire);
    if (wanted == wire->input_size)
        return CONEY_OK;
    coney_status status = resize(wire, wanted);
    return wanted > wire->input_size ? status : CONEY_OK; /* one that is too large still does */
}

/* ---- frames ---- */

static coney_status check_frame(const cny_wire *wire, const cny_frame *frame)
{
    bool known = frame->type == AMQP_FRAME_METHOD || frame->type == AMQP_FRAME_HEADER ||
                 frame->type == AMQP_FRAME_BODY || frame->type == AMQP_FRAME_HEARTBEAT;
    if (!known)
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent a frame of type %u, which AMQP does not have", frame->type);
    if (frame->channel > wire->limits.channel_max)
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent a frame on channel %u; %u is the highest agreed",
                        frame->channel, wire->limits.channel_max);
    size_t limit = frame->type == AMQP_FRAME_HEADER ? CNY_LARGEST_HEADER_FRAME : CNY_LARGEST_FRAME;
    if (!comes_in_pieces(frame->type, frame->size) && frame->size > limit - CNY_FRAME_OVERHEAD)
        return cny_fail(CONEY_E_PROTOCOL,
                        "the broker sent a frame of %zu bytes; Coney reads %zu at most. RabbitMQ sends none so large: "
                        "look at what answers at the address, and at proxies in between",
                        frame->size + CNY_FRAME_OVERHEAD, limit);
    return CONEY_OK;
}

static coney_status check_end(const cny_frame *frame)
{
    return frame->payload[frame->size] == AMQP_FRAME_END
               ? CONEY_OK
               : cny_fail(CONEY_E_PROTOCOL, "the broker sent a frame without its end octet");
}

/* As much of the open frame as is here. Its last byte waits for the end octet, so that no message is whole before its
 * last frame is. */
static coney_status cut_piece(cny_wire *wire, cny_frame *frame, bool *have)
{
    cny_frame *open = &wire->open;
    size_t here = wire->input_end - wire->input_start;
    bool is_last = here > open->rest;
    if (here == 0 || (here == 1 && open->rest == 1))
        return CONEY_OK;
    *frame = *open;
    frame->payload = wire->input + wire->input_start;
    frame->size = is_last ? open->rest : here == open->rest ? here - 1 : here;
    frame->rest = open->rest - frame->size;
    wire->input_start += frame->size + is_last;
    open->rest = frame->rest;
    open->is_continued = true;
    wire->in_frame = !is_last;
    *have = true;
    return is_last ? check_end(frame) : CONEY_OK;
}

/* The first piece of a content header must have what is in front of the properties. */
static coney_status open_frame(cny_wire *wire, cny_frame *frame, bool *have)
{
    size_t here = wire->input_end - wire->input_start;
    if (frame->type == AMQP_FRAME_HEADER && here < CNY_FRAME_HEADER_BYTES + CNY_CONTENT_HEADER_BYTES)
        return CONEY_OK;
    wire->open = *frame;
    wire->open.rest = frame->size;
    wire->in_frame = true;
    wire->input_start += CNY_FRAME_HEADER_BYTES;
    return cut_piece(wire, frame, have);
}

coney_status cny_wire_cut_frame(cny_wire *wire, cny_frame *frame, bool *have)
{
    uint8_t *at = wire->input + wire->input_start;
    size_t here = wire->input_end - wire->input_start;
    if (wire->in_frame)
        return cut_piece(wire, frame, have);
    if (here < CNY_FRAME_HEADER_BYTES)
        return CONEY_OK;
    *frame = (cny_frame){.type = at[0],
                         .channel = cny_get_u16(at + 1),
                         .payload = at + CNY_FRAME_HEADER_BYTES,
                         .size = cny_get_u32(at + 3)};
    coney_status status = check_frame(wire, frame);
    if (status != CONEY_OK)
        return status;
    if (comes_in_pieces(frame->type, frame->size))
        return open_frame(wire, frame, have);
    if (here < frame->size + CNY_FRAME_OVERHEAD)
        return CONEY_OK;
    wire->input_start += frame->size + CNY_FRAME_OVERHEAD;
    *have = true;
    return check_end(frame);
}
