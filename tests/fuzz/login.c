/* SPDX-License-Identifier: MIT */
/* The input is what a server says to a client that logs in; then the server hangs up. The first byte chooses how the
 * client logs in. */
#include "support/fuzz.h"
#include "wire/rabbitmq_c.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PASSWORD "secret"
enum { TIMEOUT_MS = 5000, LARGEST_INPUT = 60000 /* which a socket takes at once */ };

/* False if the system has no more sockets. */
static bool connect_to_input(cny_wire *wire, const uint8_t *data, size_t size)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
        return false;
    wire->socket = cny_descriptor_of(ends[0]);
    bool is_sent = size == 0 || send(ends[1], data, size, MSG_NOSIGNAL) == (ssize_t)size;
    close(ends[1]);
    return is_sent;
}

void fuzz_target(const uint8_t *data, size_t size)
{
    uint8_t choice = fuzz_take(&data, &size);
    const cny_wire_target target = {.host = "broker",
                                    .port = 5672,
                                    .user = choice & 1 ? "guest" : "orders",
                                    .password = PASSWORD,
                                    .vhost = "/",
                                    .connection_name = "fuzz",
                                    .external = choice & 2,
                                    .timeout_ms = TIMEOUT_MS,
                                    .heartbeat_s = choice & 4 ? 60 : 0,
                                    .frame_max = choice & 8 ? CNY_FRAME_MIN : (uint32_t)CNY_LARGEST_FRAME};
    cny_wire *wire = cny_wire_new();
    if (!wire)
        return;
    if (connect_to_input(wire, data, size < LARGEST_INPUT ? size : LARGEST_INPUT) &&
        cny_wire_make_input(wire) == CONEY_OK) {
        coney_status status = cny_wire_log_in(wire, &target, cny_deadline(TIMEOUT_MS));
        cny_wire_limits limits = cny_wire_agreed(wire);
        fuzz_require(status != CONEY_E_TIMEOUT && status != CONEY_E_SYSTEM);
        fuzz_require(status != CONEY_OK || (limits.frame_max >= CNY_FRAME_MIN && limits.channel_max > 0));
        fuzz_require(status == CONEY_OK || *coney_last_error());
        fuzz_require(status == CONEY_OK || memmem(data, size, PASSWORD, strlen(PASSWORD)) ||
                     !strstr(coney_last_error(), PASSWORD));
    }
    cny_wire_free(wire);
}
