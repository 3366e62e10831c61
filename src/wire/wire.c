/* SPDX-License-Identifier: MIT */
/* A wire's life, its interruption and its bytes: what lies between a socket and the rest of this folder,
 * over plain TCP and TLS alike. */
#include "wire/rabbitmq_c.h"
#include "wire/tls.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define POOL_PAGE_BYTES 8192

/* ---- life ---- */

cny_wire *cny_wire_new(void)
{
    cny_wire *wire = cny_alloc(sizeof *wire);
    if (!wire)
        return NULL;
    wire->fd = -1;
    wire->interrupt_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC); /* connecting tells if there is none */
    init_amqp_pool(&wire->pool, POOL_PAGE_BYTES);
    return wire;
}

void cny_wire_close(cny_wire *wire)
{
    cny_tls_free(wire->tls);
    wire->tls = NULL;
    if (wire->fd >= 0) {
        shutdown(wire->fd, SHUT_RDWR); /* a forked child's copy would keep the connection open */
        close(wire->fd);
    }
    wire->fd = -1;
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
    if (wire->interrupt_fd >= 0)
        close(wire->interrupt_fd);
    cny_free(wire);
}

cny_wire_limits cny_wire_agreed(const cny_wire *wire)
{
    return wire->limits;
}

int cny_wire_fd(const cny_wire *wire)
{
    return wire->fd;
}

/* ---- interruption: closing must not wait for a peer that does not answer ---- */

void cny_wire_interrupt(cny_wire *wire)
{
    const uint64_t one = 1;
    ssize_t done = write(wire->interrupt_fd, &one, sizeof one);
    (void)done; /* a full eventfd is an interruption already */
}

coney_status cny_wire_wait(cny_wire *wire, short events, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline - cny_now_ms();
        struct pollfd pollers[] = {{.fd = wire->interrupt_fd, .events = POLLIN}, {.fd = wire->fd, .events = events}};
        int ready = poll(pollers, 2, left > 0 ? (int)left : 0);
        if (ready > 0 && pollers[0].revents)
            return cny_fail(CONEY_E_CLOSED, "closed while connecting");
        if (left <= 0) /* even if there is something to read: a peer that dribbles has no more time than others */
            return cny_fail(CONEY_E_TIMEOUT, "no answer in time");
        if (ready > 0)
            return CONEY_OK;
        if (ready < 0 && errno != EINTR)
            return cny_fail(CONEY_E_SYSTEM, "poll failed: %s", cny_errno_text(errno));
    }
}

/* ---- bytes ---- */

static bool only_later(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

static coney_status check_sent(ssize_t sent, size_t *written)
{
    *written = sent > 0 ? (size_t)sent : 0;
    if (sent >= 0 || only_later(errno))
        return CONEY_OK;
    return cny_fail(CONEY_E_LOST, "writing to the broker failed: %s", cny_errno_text(errno));
}

static coney_status write_plain(int fd, const uint8_t *data, size_t size, size_t *written)
{
    return check_sent(send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT), written);
}

static coney_status read_plain(int fd, uint8_t *room, size_t size, size_t *received)
{
    ssize_t got = recv(fd, room, size, MSG_DONTWAIT);
    *received = got > 0 ? (size_t)got : 0;
    if (got > 0 || (got < 0 && only_later(errno)))
        return CONEY_OK;
    if (got == 0)
        return cny_fail(CONEY_E_LOST, "the broker closed the connection without a word");
    return cny_fail(CONEY_E_LOST, "reading from the broker failed: %s", cny_errno_text(errno));
}

coney_status cny_wire_write(cny_wire *wire, const uint8_t *data, size_t size, size_t *written)
{
    return wire->tls ? cny_tls_write(wire->tls, data, size, written) : write_plain(wire->fd, data, size, written);
}

coney_status cny_wire_write_pieces(cny_wire *wire, const struct iovec *pieces, size_t count, size_t *written)
{
    if (count == 1 || wire->tls)
        return cny_wire_write(wire, pieces->iov_base, pieces->iov_len, written);
    const struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)pieces, .msg_iovlen = count};
    return check_sent(sendmsg(wire->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT), written);
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
    if (wire->input_start > 0) {
        memmove(wire->input, wire->input + wire->input_start, wire->input_end - wire->input_start);
        wire->input_end -= wire->input_start;
        wire->input_start = 0;
    }
    uint8_t *room = wire->input + wire->input_end;
    size_t size = wire->input_size - wire->input_end;
    coney_status status =
        wire->tls ? cny_tls_read(wire->tls, room, size, received) : read_plain(wire->fd, room, size, received);
    wire->input_end += *received;
    return status;
}

bool cny_wire_has_input(const cny_wire *wire)
{
    return wire->tls && cny_tls_has_input(wire->tls);
}
