/* SPDX-License-Identifier: MIT */
/* rabbitmq-c, wherever this version of it keeps its headers, and what this folder shares. */
#ifndef CNY_WIRE_RABBITMQ_C_H
#define CNY_WIRE_RABBITMQ_C_H

#include "wire/wire.h"

#ifdef CONEY_RABBITMQ_C_OLD_HEADERS
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#else
#include <rabbitmq-c/amqp.h>
#include <rabbitmq-c/framing.h>
#include <rabbitmq-c/tcp_socket.h>
#endif

#define CNY_FRAME_HEADER_BYTES 7
#define CNY_FRAME_OVERHEAD 8 /* header and end octet */
#define CNY_FRAME_MIN 4096   /* AMQP's smallest frame_max */

struct cny_wire {
    /* fixed once connected */
    amqp_connection_state_t state; /* owns the socket */
    int fd;
    cny_wire_limits limits;
    size_t max_message_bytes;
    /* I/O thread only */
    uint8_t *input; /* one frame fits */
    size_t input_size, input_start, input_end;
    amqp_pool_t pool;      /* what rabbitmq-c decodes one frame into */
    cny_buffer assemblies; /* of struct cny_assembly: messages whose frames are not all here */
    bool inherited_frames; /* rabbitmq-c may still hold bytes it read during login */
    /* under lock */
    pthread_mutex_t lock;
    bool interrupted;
    int connecting_fd; /* -1: none */
};

/* cny_<->amqp conversions of tables; the copies live in the arena. NULL without memory. */
bool cny_table_to_amqp(cny_arena *arena, amqp_table_t *to, const coney_table *from);

typedef enum cny_table_result { CNY_TABLE_DONE, CNY_TABLE_TOO_DEEP, CNY_TABLE_NO_MEMORY } cny_table_result;
cny_table_result cny_table_from_amqp(cny_arena *arena, const coney_table **to, const amqp_table_t *from);

/* Drops what has come of messages that will never be whole. */
void cny_assemblies_free(cny_wire *wire);

#endif
