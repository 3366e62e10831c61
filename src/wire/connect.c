/* SPDX-License-Identifier: MIT */
/* From a host name to a logged-in socket, within a deadline for each address.
 *
 * We resolve and connect, because rabbitmq-c would spend the whole budget on the first address
 * that does not answer; rabbitmq-c then speaks AMQP's opening: version, SASL, tuning, virtual
 * host. From there on the bytes are ours. */
#include "wire/rabbitmq_c.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define CHANNEL_MAX 2047 /* what RabbitMQ allows by default */
#define POOL_PAGE_BYTES 8192

cny_wire *cny_wire_new(void)
{
    cny_wire *wire = cny_alloc(sizeof *wire);
    if (!wire)
        return NULL;
    wire->fd = -1;
    wire->connecting_fd = -1;
    init_amqp_pool(&wire->pool, POOL_PAGE_BYTES);
    pthread_mutex_init(&wire->lock, NULL);
    return wire;
}

static void drop_connection(cny_wire *wire)
{
    if (wire->state)
        amqp_destroy_connection(wire->state); /* closes the socket */
    wire->state = NULL;
    wire->fd = -1;
}

void cny_wire_close(cny_wire *wire)
{
    drop_connection(wire);
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
    pthread_mutex_destroy(&wire->lock);
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
    pthread_mutex_lock(&wire->lock);
    wire->interrupted = true;
    if (wire->connecting_fd >= 0)
        shutdown(wire->connecting_fd, SHUT_RDWR);
    pthread_mutex_unlock(&wire->lock);
}

/* Tells the interrupter which socket to shut down, -1 for none any more. */
static coney_status set_connecting(cny_wire *wire, int fd)
{
    pthread_mutex_lock(&wire->lock);
    wire->connecting_fd = fd;
    bool interrupted = wire->interrupted;
    pthread_mutex_unlock(&wire->lock);
    return interrupted ? cny_fail(CONEY_E_CLOSED, "closed while connecting") : CONEY_OK;
}

/* ---- TCP ---- */

static void set_user_timeout(int fd, int timeout_ms)
{
    unsigned int timeout = (unsigned int)timeout_ms;
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
}

static void set_socket_options(int fd, int timeout_ms)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    set_user_timeout(fd, timeout_ms); /* rabbitmq-c's writes during login have no deadline otherwise */
}

static int wait_connected(int fd, int64_t deadline)
{
    for (;;) {
        int64_t left = deadline - cny_now_ms();
        if (left <= 0)
            return ETIMEDOUT;
        struct pollfd poller = {.fd = fd, .events = POLLOUT};
        int ready = poll(&poller, 1, (int)left);
        if (ready < 0 && errno != EINTR)
            return errno;
        if (ready <= 0)
            continue;
        int failure = 0;
        socklen_t size = sizeof failure;
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size);
        if (!failure && (poller.revents & POLLHUP))
            failure = ECONNABORTED; /* shut down by cny_wire_interrupt() */
        return failure;
    }
}

static int connect_until(int fd, const struct addrinfo *address, int64_t deadline)
{
    if (connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return 0;
    return errno == EINPROGRESS || errno == EINTR ? wait_connected(fd, deadline) : errno;
}

/* A connected socket, non-blocking. */
static coney_status open_socket(cny_wire *wire, const cny_wire_target *target, const struct addrinfo *address,
                                int64_t deadline, int *fd)
{
    char numeric[64] = "?";
    getnameinfo(address->ai_addr, address->ai_addrlen, numeric, sizeof numeric, NULL, 0, NI_NUMERICHOST);
    *fd = socket(address->ai_family, address->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, address->ai_protocol);
    if (*fd < 0)
        return cny_fail(CONEY_E_SYSTEM, "cannot open a socket: %s", cny_errno_text(errno));
    set_socket_options(*fd, target->timeout_ms);
    coney_status status = set_connecting(wire, *fd);
    int failure = status == CONEY_OK ? connect_until(*fd, address, deadline) : 0;
    if (failure == ETIMEDOUT)
        status = cny_fail(CONEY_E_TIMEOUT, "cannot connect to %s:%d (%s): no answer within %d ms", target->host,
                          target->port, numeric, target->timeout_ms);
    else if (failure)
        status = cny_fail(CONEY_E_CONNECT, "cannot connect to %s:%d (%s): %s", target->host, target->port, numeric,
                          cny_errno_text(failure));
    if (status != CONEY_OK) {
        set_connecting(wire, -1);
        close(*fd);
    }
    return status;
}

/* ---- login ---- */

static amqp_table_entry_t text_entry(const char *key, const char *text)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
    entry.value.kind = AMQP_FIELD_KIND_UTF8;
    entry.value.value.bytes = amqp_cstring_bytes(text);
    return entry;
}

static amqp_table_entry_t capability(const char *key)
{
    amqp_table_entry_t entry = {.key = amqp_cstring_bytes(key)};
    entry.value.kind = AMQP_FIELD_KIND_BOOLEAN;
    entry.value.value.boolean = 1;
    return entry;
}

static amqp_rpc_reply_t log_in_with(amqp_connection_state_t state, const cny_wire_target *target)
{
    /* Without these the broker never tells of cancelled consumers or of blocking. */
    amqp_table_entry_t capabilities[] = {
        capability("consumer_cancel_notify"),     capability("connection.blocked"),
        capability("publisher_confirms"),         capability("basic.nack"),
        capability("exchange_exchange_bindings"), capability("authentication_failure_close"),
    };
    amqp_table_entry_t properties[] = {
        text_entry("product", "Coney"),
        text_entry("version", CONEY_VERSION),
        text_entry("platform", "C"),
        text_entry("connection_name", target->connection_name),
        {.key = amqp_cstring_bytes("capabilities"), .value = {.kind = AMQP_FIELD_KIND_TABLE}},
    };
    int count = sizeof properties / sizeof *properties;
    properties[count - 1].value.value.table =
        (amqp_table_t){.num_entries = sizeof capabilities / sizeof *capabilities, .entries = capabilities};
    amqp_table_t table = {.num_entries = count, .entries = properties};
    return amqp_login_with_properties(state, target->vhost, CHANNEL_MAX, (int)target->frame_max, target->heartbeat_s,
                                      &table, AMQP_SASL_METHOD_PLAIN, target->user, target->password);
}

static coney_status refused(const cny_wire_target *target, const amqp_method_t *method)
{
    if (method->id != AMQP_CONNECTION_CLOSE_METHOD)
        return cny_fail(CONEY_E_PROTOCOL, "%s:%d answered the login with method %u.%u", target->host, target->port,
                        method->id >> 16, method->id & 0xffffU);
    const amqp_connection_close_t *close = method->decoded;
    return cny_fail_code(cny_reply_status(close->reply_code), close->reply_code,
                         "%s:%d refuses user '%s' on virtual host '%s': %d %.*s", target->host, target->port,
                         target->user, target->vhost, close->reply_code, (int)close->reply_text.len,
                         (const char *)close->reply_text.bytes);
}

static coney_status login_failure(const cny_wire_target *target, const amqp_rpc_reply_t *reply)
{
    if (reply->reply_type == AMQP_RESPONSE_SERVER_EXCEPTION)
        return refused(target, &reply->reply);
    const char *reason = amqp_error_string2(reply->library_error);
    switch (reply->library_error) {
    case AMQP_STATUS_NO_MEMORY: return cny_fail_memory();
    case AMQP_STATUS_TIMEOUT:
        return cny_fail(CONEY_E_TIMEOUT, "%s:%d accepted the connection but did not finish the login within %d ms",
                        target->host, target->port, target->timeout_ms);
    case AMQP_STATUS_CONNECTION_CLOSED:
    case AMQP_STATUS_SOCKET_CLOSED:
    case AMQP_STATUS_SOCKET_ERROR:
        return cny_fail(CONEY_E_CONNECT, "%s:%d closed the connection during login: %s", target->host, target->port,
                        reason);
    default:
        return cny_fail(CONEY_E_PROTOCOL, "%s:%d does not speak AMQP 0-9-1 as expected: %s", target->host, target->port,
                        reason);
    }
}

static struct timeval until(int64_t deadline)
{
    int64_t left = deadline - cny_now_ms();
    if (left < 1)
        left = 1;
    return (struct timeval){.tv_sec = (time_t)(left / 1000), .tv_usec = (suseconds_t)(left % 1000) * 1000};
}

static coney_status take_limits(cny_wire *wire, const cny_wire_target *target)
{
    int channel_max = amqp_get_channel_max(wire->state);
    int frame_max = amqp_get_frame_max(wire->state);
    if (frame_max < CNY_FRAME_MIN)
        return cny_fail(CONEY_E_PROTOCOL, "%s:%d wants frames of at most %d bytes; AMQP needs %d", target->host,
                        target->port, frame_max, CNY_FRAME_MIN);
    wire->limits = (cny_wire_limits){
        .channel_max = (uint16_t)(channel_max > 0 && channel_max < CHANNEL_MAX ? channel_max : CHANNEL_MAX),
        .frame_max = (uint32_t)frame_max,
        .heartbeat_s = amqp_get_heartbeat(wire->state),
    };
    wire->max_message_bytes = target->max_message_bytes;
    wire->inherited_frames = true;
    wire->input_size = (size_t)frame_max + CNY_FRAME_OVERHEAD;
    wire->input_start = wire->input_end = 0;
    cny_free(wire->input);
    wire->input = cny_alloc(wire->input_size);
    return wire->input ? CONEY_OK : cny_fail_memory();
}

/* Takes the socket, success or failure. */
static coney_status log_in(cny_wire *wire, const cny_wire_target *target, int fd, int64_t deadline)
{
    wire->state = amqp_new_connection();
    amqp_socket_t *socket = wire->state ? amqp_tcp_socket_new(wire->state) : NULL;
    if (!socket) {
        set_connecting(wire, -1);
        close(fd);
        return cny_fail_memory();
    }
    amqp_tcp_socket_set_sockfd(socket, fd);
    wire->fd = fd;
    struct timeval limit = until(deadline);
    amqp_set_handshake_timeout(wire->state, &limit);
    amqp_set_rpc_timeout(wire->state, &limit);
    amqp_rpc_reply_t reply = log_in_with(wire->state, target);
    if (reply.reply_type != AMQP_RESPONSE_NORMAL)
        return login_failure(target, &reply);
    set_user_timeout(fd, 0); /* from here on heartbeats tell; a broker that holds us back is not dead */
    return take_limits(wire, target);
}

static coney_status connect_address(cny_wire *wire, const cny_wire_target *target, const struct addrinfo *address)
{
    int64_t deadline = cny_deadline(target->timeout_ms);
    int fd;
    coney_status status = open_socket(wire, target, address, deadline, &fd);
    if (status != CONEY_OK)
        return status;
    status = log_in(wire, target, fd, deadline);
    coney_status interrupted = set_connecting(wire, -1); /* says CLOSED rather than what came of it */
    if (interrupted != CONEY_OK)
        status = interrupted;
    if (status != CONEY_OK)
        drop_connection(wire);
    return status;
}

coney_status cny_wire_connect(cny_wire *wire, const cny_wire_target *target)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    char port[16];
    snprintf(port, sizeof port, "%d", target->port);
    struct addrinfo *addresses;
    int failure = getaddrinfo(target->host, port, &hints, &addresses);
    if (failure)
        return cny_fail(CONEY_E_CONNECT, "cannot resolve host '%s': %s", target->host, gai_strerror(failure));

    coney_status status = CONEY_OK;
    for (const struct addrinfo *address = addresses; address; address = address->ai_next) {
        status = connect_address(wire, target, address);
        bool next_may_do = status == CONEY_E_CONNECT || status == CONEY_E_TIMEOUT || status == CONEY_E_PROTOCOL;
        if (!next_may_do)
            break;
    }
    freeaddrinfo(addresses);
    return status;
}

/* ---- bytes ---- */

coney_status cny_wire_write(cny_wire *wire, const uint8_t *data, size_t size, size_t *written)
{
    ssize_t sent = send(wire->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    *written = sent > 0 ? (size_t)sent : 0;
    if (sent >= 0 || errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
        return CONEY_OK;
    return cny_fail(CONEY_E_LOST, "writing to the broker failed: %s", cny_errno_text(errno));
}

coney_status cny_wire_read(cny_wire *wire, size_t *received)
{
    if (wire->input_start > 0) {
        memmove(wire->input, wire->input + wire->input_start, wire->input_end - wire->input_start);
        wire->input_end -= wire->input_start;
        wire->input_start = 0;
    }
    *received = 0;
    ssize_t got = recv(wire->fd, wire->input + wire->input_end, wire->input_size - wire->input_end, MSG_DONTWAIT);
    if (got == 0)
        return cny_fail(CONEY_E_LOST, "the broker closed the connection without a word");
    if (got < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
        return cny_fail(CONEY_E_LOST, "reading from the broker failed: %s", cny_errno_text(errno));
    if (got > 0) {
        wire->input_end += (size_t)got;
        *received = (size_t)got;
    }
    return CONEY_OK;
}
