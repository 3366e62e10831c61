/* SPDX-License-Identifier: MIT */
/* From a host name to a logged-in socket: resolves, and tries each address until its own deadline, so
 * that one that does not answer cannot spend the time of the others. TLS is in tls.c, AMQP's opening
 * in login.c. Every wait but that for the resolver ends at once when the wire is interrupted. */
#include "wire/rabbitmq_c.h"
#include "wire/tls.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static coney_status wait_connected(cny_wire *wire, int64_t deadline, int *failure)
{
    socklen_t size = sizeof *failure;
    coney_status status = cny_wire_wait(wire, POLLOUT, deadline);
    if (status == CONEY_OK)
        getsockopt(wire->socket.fd, SOL_SOCKET, SO_ERROR, failure, &size);
    return status;
}

static coney_status connect_socket(cny_wire *wire, const cny_wire_target *target, const struct addrinfo *address,
                                   int64_t deadline)
{
    int failure = connect(wire->socket.fd, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    coney_status status = CONEY_OK;
    if (failure == EINPROGRESS || failure == EINTR)
        status = wait_connected(wire, deadline, &failure);
    if (status != CONEY_OK && status != CONEY_E_TIMEOUT)
        return status;
    char numeric[64] = "?";
    getnameinfo(address->ai_addr, address->ai_addrlen, numeric, sizeof numeric, NULL, 0, NI_NUMERICHOST);
    if (status == CONEY_E_TIMEOUT || failure == ETIMEDOUT)
        return cny_fail(CONEY_E_TIMEOUT, "cannot connect to %s:%d (%s): no answer within %d ms", target->host,
                        target->port, numeric, target->timeout_ms);
    if (failure)
        return cny_fail(CONEY_E_CONNECT, "cannot connect to %s:%d (%s): %s", target->host, target->port, numeric,
                        cny_errno_text(failure));
    return CONEY_OK;
}

static coney_status open_socket(cny_wire *wire, const struct addrinfo *address)
{
    int on = 1;
    wire->socket = cny_descriptor_of(
        socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol));
    if (wire->socket.fd < 0)
        return cny_fail(CONEY_E_SYSTEM, "cannot open a socket: %s", cny_errno_text(errno));
    setsockopt(wire->socket.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(wire->socket.fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    return CONEY_OK;
}

static coney_status connect_address(cny_wire *wire, const cny_wire_target *target, const struct addrinfo *address)
{
    int64_t deadline = cny_deadline(target->timeout_ms);
    coney_status status = open_socket(wire, address);
    if (status == CONEY_OK)
        status = connect_socket(wire, target, address, deadline);
    if (status == CONEY_OK && target->tls)
        status = cny_tls_open(wire, target, deadline);
    if (status == CONEY_OK)
        status = cny_wire_log_in(wire, target, deadline);
    if (status != CONEY_OK)
        cny_wire_close(wire);
    return status;
}

bool cny_is_refused_login(const coney_error *error)
{
    return error->status == CONEY_E_ACCESS_REFUSED ||
           (error->status == CONEY_E_NOT_ALLOWED && !strstr(error->text, "connection limit ("));
}

/* Most that a node refuses, such as a virtual host that is down there, another node may grant. */
bool cny_wire_next_may_do(void)
{
    const coney_error *error = coney_last_error_details();
    bool ours =
        error->status == CONEY_E_CLOSED || error->status == CONEY_E_INVALID || error->status == CONEY_E_NO_MEMORY;
    return !ours && !cny_is_refused_login(error);
}

/* The resolver has no deadline, so it is not asked once the wire is interrupted. */
static coney_status check_wire(const cny_wire *wire)
{
    if (wire->pair_error)
        return cny_fail(CONEY_E_SYSTEM, "cannot make a pair of sockets: %s", cny_errno_text(wire->pair_error));
    return atomic_load(&wire->interrupted) ? cny_fail(CONEY_E_CLOSED, "closed while connecting") : CONEY_OK;
}

/* Numbers need no resolver. Names are resolved without AI_ADDRCONFIG, which leaves out the loopback of a family that
 * the machine has no other address of. A host with a colon is no name, but an address of IPv6 with an unknown zone. */
static int resolve(const cny_wire_target *target, struct addrinfo **addresses)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
    char port[16];
    snprintf(port, sizeof port, "%d", target->port);
    errno = 0; /* lacks_descriptors() looks at it */
    int failure = getaddrinfo(target->host, port, &hints, addresses);
    if (failure != EAI_NONAME || strchr(target->host, ':'))
        return failure;
    hints.ai_flags = 0;
    return getaddrinfo(target->host, port, &hints, addresses);
}

/* A resolver that cannot open a file or socket may report that, or that the host or zone is unknown. */
static bool lacks_descriptors(void)
{
    int fd = errno == EMFILE || errno == ENFILE ? -1 : socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        close(fd);
    return fd < 0 && (errno == EMFILE || errno == ENFILE);
}

static coney_status fail_to_resolve(const cny_wire_target *target, int failure)
{
    if (failure == EAI_MEMORY)
        return cny_fail_memory();
    bool is_system = failure == EAI_SYSTEM || lacks_descriptors();
    return cny_fail(is_system ? CONEY_E_SYSTEM : CONEY_E_CONNECT, "cannot resolve host '%s': %s", target->host,
                    is_system ? cny_errno_text(errno) : gai_strerror(failure));
}

coney_status cny_wire_connect(cny_wire *wire, const cny_wire_target *target)
{
    coney_status status = check_wire(wire);
    if (status != CONEY_OK)
        return status;
    struct addrinfo *addresses;
    int failure = resolve(target, &addresses);
    if (failure)
        return fail_to_resolve(target, failure);

    for (const struct addrinfo *address = addresses; address; address = address->ai_next) {
        status = connect_address(wire, target, address);
        if (status == CONEY_OK || !cny_wire_next_may_do())
            break;
    }
    freeaddrinfo(addresses);
    return status;
}
