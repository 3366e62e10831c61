/* SPDX-License-Identifier: MIT */
/* rabbitmq-c, wherever this version of it keeps its headers, and what this folder shares. */
#ifndef CNY_WIRE_RABBITMQ_C_H
#define CNY_WIRE_RABBITMQ_C_H

#include "wire/descriptor.h"
#include "wire/wire.h"

#include <stdatomic.h>

#ifdef CONEY_RABBITMQ_C_OLD_HEADERS
#include <amqp.h>
#include <amqp_framing.h>
#else
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#endif

#define CNY_FRAME_HEADER_BYTES 7
#define CNY_FRAME_MIN 4096          /* AMQP's smallest frame_max */
#define CNY_CONTENT_HEADER_BYTES 14 /* of a content header: class, weight, body size and the flags of the properties */

/* The largest frame_max that is proposed. Until one is agreed frames may be as large, for a token as password may be
 * long. */
#define CNY_LARGEST_FRAME ((size_t)131072)

/* A content header is read up to this, whatever frame_max was agreed, for the broker does not keep to that. */
#define CNY_LARGEST_HEADER_FRAME ((size_t)1024 * 1024)

typedef struct cny_frame {
    uint8_t type;
    uint16_t channel;
    uint8_t *payload; /* in the wire's input, until the next read */
    size_t size;
    size_t rest;       /* of a frame that comes in pieces: the bytes after this one */
    bool is_continued; /* this is not the first piece */
} cny_frame;

struct cny_wire {
    /* fixed after new */
    cny_descriptor waker, woken; /* a pair: what is written to the first ends a poll of the second */
    int pair_error;              /* the errno of socketpair(); 0: there is a pair */
    /* any thread */
    atomic_bool interrupted; /* for ever */
    /* fixed once connected */
    cny_descriptor socket;
    struct cny_tls *tls; /* NULL: plain TCP */
    cny_wire_limits limits;
    size_t max_message_bytes;
    cny_wire_owner owner;
    /* I/O thread only */
    uint8_t *input;
    size_t input_size, input_start, input_end;
    bool in_frame;         /* the next bytes continue a frame that comes in pieces, */
    cny_frame open;        /* this one, of which so much is to come */
    amqp_pool_t pool;      /* what rabbitmq-c decodes one frame into */
    cny_buffer assemblies; /* of struct cny_assembly: messages whose frames are not all here */
};

/* ---- the socket, without TLS ---- */

/* CONEY_E_LOST if another part of the program has closed the socket. The others do not look. */
coney_status cny_socket_check(const cny_wire *wire);

/* As cny_wire_write(), cny_wire_write_pieces() and cny_wire_read(). */
coney_status cny_socket_write(const cny_wire *wire, const uint8_t *data, size_t size, size_t *written);
coney_status cny_socket_write_pieces(const cny_wire *wire, const struct iovec *pieces, size_t count, size_t *written);
coney_status cny_socket_read(const cny_wire *wire, uint8_t *room, size_t size, size_t *received);

/* ---- while connecting ---- */

/* Waits for the socket's events. CONEY_E_TIMEOUT, _CLOSED (interrupted), _SYSTEM (also: others closed the socket). */
coney_status cny_wire_wait(cny_wire *wire, short events, int64_t deadline);

/* Speaks AMQP's opening on the connected socket; sets the limits. CONEY_E_CONNECT, _TIMEOUT,
 * _ACCESS_REFUSED, _NOT_ALLOWED, _PROTOCOL, _CLOSED, _INVALID (client_properties), _NO_MEMORY, _SYSTEM. */
coney_status cny_wire_log_in(cny_wire *wire, const cny_wire_target *target, int64_t deadline);

/* ---- frames ---- */

static inline uint16_t cny_get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static inline uint32_t cny_get_u32(const uint8_t *at)
{
    return (uint32_t)cny_get_u16(at) << 16 | cny_get_u16(at + 2);
}

static inline void cny_put_u16(uint8_t *at, uint16_t number)
{
    at[0] = (uint8_t)(number >> 8);
    at[1] = (uint8_t)number;
}

static inline void cny_put_u32(uint8_t *at, uint32_t number)
{
    cny_put_u16(at, (uint16_t)(number >> 16));
    cny_put_u16(at + 2, (uint16_t)number);
}

/* The first makes the input, of the usual size. The second changes the size to what the frame needs that has begun to
 * come, once no more whole frames can be cut. CONEY_E_NO_MEMORY. */
coney_status cny_wire_make_input(cny_wire *wire);
coney_status cny_wire_fit_input(cny_wire *wire);

/* The next frame of the bytes read, which is whole unless it is one that comes in pieces; none if *have stays false.
 * CONEY_E_PROTOCOL. */
coney_status cny_wire_cut_frame(cny_wire *wire, cny_frame *frame, bool *have);

/* Lets rabbitmq-c decode a method frame into the wire's pool. CONEY_E_PROTOCOL, _NO_MEMORY. */
coney_status cny_wire_decode_method(cny_wire *wire, const cny_frame *frame, uint32_t *id, void **decoded);

/* What the broker says to people, in one line: what may not be shown (see cny_text_step()) becomes one space, with the
 * spaces after it. Spaces elsewhere may be part of a name. */
void cny_copy_sentence(char to[256], amqp_bytes_t from);

/* Appends a method's frame with at most payload_max bytes of payload; an AMQP_STATUS below 0 if
 * they do not suffice or memory is short. */
int cny_append_method(cny_buffer *out, uint16_t channel, amqp_method_number_t id, void *method, size_t payload_max);

/* ---- tables ---- */

/* Conversions of tables to and from rabbitmq-c's; the copies live in the arena. False without memory. */
bool cny_table_to_amqp(cny_arena *arena, amqp_table_t *to, const coney_table *from);

/* A copy of all of it; what a message has must have been pruned. */
bool cny_table_from_amqp(cny_arena *arena, const coney_table **to, const amqp_table_t *from);

/* What was taken out of the headers of a message. */
typedef struct cny_pruned {
    const char *defect;    /* a sentence about what is missing for good; NULL: nothing is */
    bool has_forged_death; /* an x-death that no broker has written, which is no loss */
} cny_pruned;

/* Takes out of the headers in the encoded properties of a message, where they are, what is nested deeper than
 * CONEY_MAX_NESTING, the entries for which there is no room, and a forged x-death. *size becomes the size of what is
 * left. False if the properties cannot be decoded. */
bool cny_prune_headers(uint8_t *properties, size_t *size, cny_pruned *pruned);

/* Drops what has come of messages that will never be whole. */
void cny_assemblies_free(cny_wire *wire);

#endif
