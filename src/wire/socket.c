/* SPDX-License-Identifier: MIT */
/* The socket of a wire: waiting for it, the interruption of that wait, and reading and writing without TLS. The I/O
 * thread uses all of it; other threads may wake and interrupt, and write while the I/O thread polls. Knows nothing of
 * frames or TLS. */
#include "wire/rabbitmq_c.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

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

coney_status cny_socket_check(const cny_wire *wire)
{
    return cny_descriptor_is_ours(&wire->socket) ? CONEY_OK : fail_closed_by_others();
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
        if (status == CONEY_OK)
            status = cny_socket_check(wire); /* OpenSSL does not look */
        if (status != CONEY_OK)              /* the peer has not closed anything */
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

coney_status cny_socket_write(const cny_wire *wire, const uint8_t *data, size_t size, size_t *written)
{
    return check_sent(send(wire->socket.fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT), written);
}

coney_status cny_socket_write_pieces(const cny_wire *wire, const struct iovec *pieces, size_t count, size_t *written)
{
    const struct msghdr message = {
        .msg_iov = (struct iovec *)(uintptr_t)pieces,
        .msg_iovlen = (uint16_t)count, /* fits the types of both glibc (size_t) and musl (int) */
    };
    return check_sent(sendmsg(wire->socket.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT), written);
}

coney_status cny_socket_read(const cny_wire *wire, uint8_t *room, size_t size, size_t *received)
{
    ssize_t got = recv(wire->socket.fd, room, size, MSG_DONTWAIT);
    *received = got > 0 ? (size_t)got : 0;
    if (got > 0 || (got < 0 && only_later(errno)))
        return CONEY_OK;
    if (got == 0)
        return cny_fail(CONEY_E_LOST, "the broker closed the connection without a word");
    return cny_fail(CONEY_E_LOST, "reading from the broker failed: %s", cny_errno_text(errno));
}
