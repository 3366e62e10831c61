/* SPDX-License-Identifier: MIT */
/* A wire's life, its interruption and its bytes: what lies between a socket and the rest of this folder,
 * over plain TCP and TLS alike. */
#include "wire/rabbitmq_c.h"
#include "wire/tls.h"

#include <errno.h>
#include <poll.h>
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

/* ---- waiting, and its interruption: closing must not wait for a peer that does not answer ---- */

#define LONGEST_POLL_MS 5000 /* closing descriptors wakes nobody, so that is noticed when the poll ends */

void cny_wire_wake(cny_wire *wire)
{
    if (cny_descriptor_is_ours(&wire->waker))
        send(wire->waker.fd, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT); /* if it is full, it wakes already */
}

void cny_wire_interrupt(cny_wire *wire)
{
    atomic_store(&wire->interrupted, true);
    cny_wire_wake(wire);
}

static coney_status fail_closed_by_others(void)
{
    return cny_fail(CONEY_E_LOST, "another part of the program has closed a descriptor of this connection");
}

/* False if either end of the pair has been closed. */
static bool drain(const cny_wire *wire, short seen)
{
    char wakes[64];
    bool is_whole = !(seen & (POLLNVAL | POLLHUP | POLLERR)) && cny_descriptor_is_ours(&wire->woken);
    if (is_whole && seen)
        recv(wire->woken.fd, wakes, sizeof wakes, MSG_DONTWAIT);
    return is_whole;
}

/* Reading and writing look at the socket themselves, so this function looks only when nothing has come. */
coney_status cny_wire_poll(cny_wire *wire, short events, int timeout_ms, short *seen)
{
    struct pollfd pollers[] = {{.fd = wire->socket.fd, .events = events}, {.fd = wire->woken.fd, .events = POLLIN}};
    bool is_short = timeout_ms >= 0 && timeout_ms < LONGEST_POLL_MS;
    int ready = poll(pollers, 2, is_short ? timeout_ms : LONGEST_POLL_MS);
    short woken = pollers[1].revents; /* nothing, as it was before, if poll fails */
    *seen = pollers[0].revents;
    if (ready < 0 && errno != EINTR)
        return cny_fail(CONEY_E_SYSTEM, "poll failed: %s", cny_errno_text(errno));
    bool is_idle = ready == 0 && (events & POLLIN);
    bool is_lost = (*seen & POLLNVAL) || ((woken || is_idle) && !drain(wire, woken)) ||
                   (is_idle && !cny_descriptor_is_ours(&wire->socket));
    return is_lost ? fail_closed_by_others() : CONEY_OK;
}

coney_status cny_wire_wait(cny_wire *wire, short events, int64_t deadline)
{
    for (;;) {
        short seen;
        int64_t left = deadline - cny_now_ms();
        coney_status status = cny_wire_poll(wire, events, left > 0 ? (int)left : 0, &seen);
        if (atomic_load(&wire->interrupted))
            return cny_fail(CONEY_E_CLOSED, "closed while connecting");
        if (status == CONEY_OK && !cny_descriptor_is_ours(&wire->socket)) /* OpenSSL does not look */
            status = fail_closed_by_others();
        if (status != CONEY_OK) /* the peer has not closed anything */
            return cny_fail(CONEY_E_SYSTEM, "%s", coney_last_error());
        if (left <= 0) /* even if there is something to read: a peer that dribbles has no more time than others */
            return cny_fail(CONEY_E_TIMEOUT, "no answer in time");
        if (seen)
            return CONEY_OK;
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
    *written = 0;
    if (!cny_descriptor_is_ours(&wire->socket))
        return fail_closed_by_others();
    return wire->tls ? cny_tls_write(wire->tls, data, size, written)
                     : write_plain(wire->socket.fd, data, size, written);
}

coney_status cny_wire_write_pieces(cny_wire *wire, const struct iovec *pieces, size_t count, size_t *written)
{
    if (count == 1 || wire->tls)
        return cny_wire_write(wire, pieces->iov_base, pieces->iov_len, written);
    *written = 0;
    if (!cny_descriptor_is_ours(&wire->socket))
        return fail_closed_by_others();
    const struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)pieces,
        .msg_iovlen = (uint16_t)count, /* fits the types of both glibc (size_t) and musl (int) */
    };
    return check_sent(sendmsg(wire->socket.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT), written);
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
    if (!cny_descriptor_is_ours(&wire->socket))
        return fail_closed_by_others();
    if (wire->input_start > 0) {
        memmove(wire->input, wire->input + wire->input_start, wire->input_end - wire->input_start);
        wire->input_end -= wire->input_start;
        wire->input_start = 0;
    }
    uint8_t *room = wire->input + wire->input_end;
    size_t size = wire->input_size - wire->input_end;
    coney_status status =
        wire->tls ? cny_tls_read(wire->tls, room, size, received) : read_plain(wire->socket.fd, room, size, received);
    wire->input_end += *received;
    return status;
}

bool cny_wire_has_input(const cny_wire *wire)
{
    return wire->tls && cny_tls_has_input(wire->tls);
}
