/* SPDX-License-Identifier: MIT */
/* A wire's life and its bytes, over plain TCP (socket.c) and TLS (tls.c) alike. The I/O thread makes and uses it; see
 * wire.h for what other threads may do. Knows nothing of frames. */
#include "wire/rabbitmq_c.h"
#include "wire/tls.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define POOL_PAGE_BYTES 8192

/* ---- life ---- */

/* Not a pipe, because writing to a broken one raises SIGPIPE, and not an eventfd (see descriptor.h). */
static void make_pair(cny_wire *wire)
{
    int pair[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0)
        wire->pair_error = errno;
    wire->waker = cny_descriptor_of(pair[0]);
    wire->woken = cny_descriptor_of(pair[1]);
}

cny_wire *cny_wire_new(void)
{
    cny_wire *wire = cny_alloc(sizeof *wire);
    if (!wire)
        return NULL;
    wire->socket.fd = -1;
    make_pair(wire);
    init_amqp_pool(&wire->pool, POOL_PAGE_BYTES);
    return wire;
}

void cny_wire_close(cny_wire *wire)
{
    bool is_ours = cny_descriptor_is_ours(&wire->socket);
    cny_tls_free(wire->tls, is_ours);
    wire->tls = NULL;
    if (is_ours)
        shutdown(wire->socket.fd, SHUT_RDWR); /* a forked child's copy would keep the connection open */
    cny_descriptor_close(&wire->socket);
    cny_assemblies_free(wire);
    empty_amqp_pool(&wire->pool);
    cny_free(wire->input);
    wire->input = NULL;
}

void cny_wire_free(cny_wire *wire)
{
    if (!wire)
        return;
    cny_wire_close(wire);
    cny_descriptor_close(&wire->waker);
    cny_descriptor_close(&wire->woken);
    cny_free(wire);
}

cny_wire_limits cny_wire_agreed(const cny_wire *wire)
{
    return wire->limits;
}

/* ---- bytes ---- */

coney_status cny_wire_write(cny_wire *wire, const uint8_t *data, size_t size, size_t *written)
{
    *written = 0;
    if (cny_socket_check(wire) != CONEY_OK)
        return CONEY_E_LOST;
    return wire->tls ? cny_tls_write(wire->tls, data, size, written) : cny_socket_write(wire, data, size, written);
}

coney_status cny_wire_write_pieces(cny_wire *wire, const struct iovec *pieces, size_t count, size_t *written)
{
    if (count == 1 || wire->tls)
        return cny_wire_write(wire, pieces->iov_base, pieces->iov_len, written);
    *written = 0;
    if (cny_socket_check(wire) != CONEY_OK)
        return CONEY_E_LOST;
    return cny_socket_write_pieces(wire, pieces, count, written);
}

bool cny_wire_takes_pieces(const cny_wire *wire)
{
    return !wire->tls;
}

bool cny_wire_takes_other_writers(const cny_wire *wire)
{
    return !wire->tls;
}

coney_status cny_wire_read(cny_wire *wire, size_t *received)
{
    *received = 0;
    if (cny_socket_check(wire) != CONEY_OK)
        return CONEY_E_LOST;
    if (wire->input_start > 0) {
        memmove(wire->input, wire->input + wire->input_start, wire->input_end - wire->input_start);
        wire->input_end -= wire->input_start;
        wire->input_start = 0;
    }
    uint8_t *room = wire->input + wire->input_end;
    size_t size = wire->input_size - wire->input_end;
    coney_status status =
        wire->tls ? cny_tls_read(wire->tls, room, size, received) : cny_socket_read(wire, room, size, received);
    wire->input_end += *received;
    return status;
}

bool cny_wire_has_input(const cny_wire *wire)
{
    return wire->tls && cny_tls_has_input(wire->tls);
}
