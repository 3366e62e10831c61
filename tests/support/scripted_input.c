/* SPDX-License-Identifier: MIT */
/* What the scripted broker hears: bytes into frames, frames into methods with their content.
 *
 * It is stricter than RabbitMQ: a frame that is too large, out of order or on a channel that is not
 * open fails the test, even after the script has returned. */
#include "support/scripted_peer.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_BODY = 64 << 20 };

typedef struct frame {
    uint8_t type;
    amqp_channel_t channel;
    amqp_bytes_t payload; /* in the peer's pool */
} frame;

static void keep_heart_beating(cny_peer *peer)
{
    static const unsigned char heartbeat[] = {AMQP_FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, CNY_FRAME_END};
    if (peer->heartbeat_ms == 0 || peer->mute || peer->fd < 0 || cny_now_ms() < peer->next_heartbeat)
        return;
    (void)send(peer->fd, heartbeat, sizeof heartbeat, MSG_NOSIGNAL); /* the reader notices what is wrong */
    peer->next_heartbeat = cny_now_ms() + peer->heartbeat_ms;
}

/* Heartbeats go out only while we read, so that none lands inside a frame. */
cny_peer_event cny_peer_await(cny_peer *peer, short events, int64_t deadline, int signal)
{
    for (;;) {
        if (events & POLLIN)
            keep_heart_beating(peer);
        int64_t now = cny_now_ms();
        int64_t left = deadline - now;
        if (left <= 0)
            return CNY_PEER_LATE;
        if (peer->heartbeat_ms > 0 && left > peer->heartbeat_ms / 2)
            left = peer->heartbeat_ms / 2;
        struct pollfd fds[] = {{peer->wake, POLLIN, 0}, {peer->fd, events, 0}, {signal, POLLIN, 0}};
        if (poll(fds, 3, left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
            cny_peer_fail(peer, "poll: %s", strerror(errno));
        if (fds[2].revents) /* first: what the client says after the signal is for what follows it */
            return CNY_PEER_SIGNALLED;
        bool stopping = fds[0].revents && peer->last_reads-- <= 0;
        if (fds[1].revents && !stopping)
            return CNY_PEER_READY;
        if (fds[0].revents)
            cny_peer_leave(peer, "the test ended");
    }
}

static cny_peer_event read_some(cny_peer *peer, int64_t deadline, int signal)
{
    if (peer->fd < 0)
        return CNY_PEER_GONE;
    cny_peer_event seen = cny_peer_await(peer, POLLIN, deadline, signal);
    if (seen != CNY_PEER_READY)
        return seen;
    if (peer->input_capacity - peer->input_size < 65536) {
        peer->input_capacity = peer->input_capacity * 2 + 65536;
        peer->input = realloc(peer->input, peer->input_capacity);
        if (!peer->input)
            abort();
    }
    ssize_t n = recv(peer->fd, peer->input + peer->input_size, peer->input_capacity - peer->input_size, 0);
    if (n > 0)
        peer->input_size += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        return CNY_PEER_GONE;
    return CNY_PEER_READY;
}

static bool is_signalled(int signal)
{
    struct pollfd one = {signal, POLLIN, 0};
    return signal >= 0 && poll(&one, 1, 0) > 0;
}

/* Looks at the signal when the bytes are there, too: they may have come after it. */
static cny_peer_event fill_input(cny_peer *peer, size_t size, int64_t deadline, int signal)
{
    while (peer->input_size < size) {
        cny_peer_event seen = read_some(peer, deadline, signal);
        if (seen != CNY_PEER_READY)
            return seen;
    }
    return is_signalled(signal) ? CNY_PEER_SIGNALLED : CNY_PEER_READY;
}

static void consume_input(cny_peer *peer, size_t size)
{
    peer->input_size -= size;
    memmove(peer->input, peer->input + size, peer->input_size);
}

static uint32_t get_u32(const unsigned char *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint16_t get_u16(const unsigned char *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static amqp_bytes_t pool_copy(cny_peer *peer, const void *data, size_t size)
{
    amqp_bytes_t copy = {size, amqp_pool_alloc(&peer->pool, size + 1)};
    if (!copy.bytes)
        abort();
    memcpy(copy.bytes, data, size);
    ((char *)copy.bytes)[size] = '\0';
    return copy;
}

static cny_peer_event read_frame(cny_peer *peer, int64_t deadline, int signal, frame *read)
{
    cny_peer_event seen = fill_input(peer, 7, deadline, signal);
    if (seen != CNY_PEER_READY)
        return seen;
    size_t size = get_u32(peer->input + 3);
    if (size + 8 > peer->frame_max)
        cny_peer_fail(peer, "the client sent a frame of %zu bytes, %u were agreed", size + 8, peer->frame_max);
    seen = fill_input(peer, size + 8, deadline, signal);
    if (seen != CNY_PEER_READY)
        return seen;
    if (peer->input[size + 7] != CNY_FRAME_END)
        cny_peer_fail(peer, "the client sent a frame that ends in 0x%02x", peer->input[size + 7]);
    read->type = peer->input[0];
    read->channel = get_u16(peer->input + 1);
    read->payload = pool_copy(peer, peer->input + 7, size);
    consume_input(peer, size + 8);
    if (read->channel >= CNY_PEER_CHANNELS)
        cny_peer_fail(peer, "the client uses channel %u", read->channel);
    peer->in_heartbeat = read->type == AMQP_FRAME_HEARTBEAT;
    return CNY_PEER_READY;
}

static frame expect_frame(cny_peer *peer, uint8_t type, amqp_channel_t channel, int64_t deadline)
{
    for (;;) {
        frame read = {0};
        cny_peer_event seen = read_frame(peer, deadline, -1, &read);
        if (seen == CNY_PEER_GONE)
            cny_peer_leave(peer, "the client hung up");
        if (seen == CNY_PEER_LATE)
            cny_peer_fail(peer, "a frame of type %u does not follow basic.publish", type);
        if (read.type == AMQP_FRAME_HEARTBEAT)
            continue;
        if (read.type != type || read.channel != channel)
            cny_peer_fail(peer, "a frame of type %u on channel %u stands where one of type %u on channel %u belongs",
                          read.type, read.channel, type, channel);
        return read;
    }
}

static void read_content(cny_peer *peer, cny_peer_method *publish, int64_t deadline)
{
    frame header = expect_frame(peer, AMQP_FRAME_HEADER, publish->channel, deadline);
    unsigned char *at = header.payload.bytes;
    if (header.payload.len < 14)
        cny_peer_fail(peer, "a content header of %zu bytes", header.payload.len);
    uint64_t size = (uint64_t)get_u32(at + 4) << 32 | get_u32(at + 8);
    if (size > MAX_BODY)
        cny_peer_fail(peer, "a body of %llu bytes", (unsigned long long)size);
    publish->size = (size_t)size;
    void *properties;
    amqp_bytes_t encoded = {header.payload.len - 12, at + 12};
    if (amqp_decode_properties(get_u16(at), &peer->pool, encoded, &properties) < 0)
        cny_peer_fail(peer, "the client sent properties that cannot be decoded");
    publish->properties = properties;
    char *body = amqp_pool_alloc(&peer->pool, publish->size + 1);
    if (!body)
        abort();
    size_t have = 0;
    while (have < publish->size) {
        frame part = expect_frame(peer, AMQP_FRAME_BODY, publish->channel, deadline);
        if (part.payload.len > publish->size - have)
            cny_peer_fail(peer, "the client sent a body larger than it announced");
        memcpy(body + have, part.payload.bytes, part.payload.len);
        have += part.payload.len;
    }
    body[have] = '\0';
    publish->body = body;
}

static void note_tuning(cny_peer *peer, const amqp_connection_tune_ok_t *tuned)
{
    if (tuned->frame_max == 0 || tuned->frame_max > peer->frame_max)
        cny_peer_fail(peer, "the client wants frames of %u bytes, at most %u were offered", tuned->frame_max,
                      peer->frame_max);
    peer->frame_max = tuned->frame_max;
    peer->heartbeat_ms = tuned->heartbeat * 500;
    peer->next_heartbeat = cny_now_ms() + peer->heartbeat_ms;
}

static bool equals(amqp_bytes_t bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.bytes, text, bytes.len) == 0;
}

/* Coney's publishing and isolated connections have names of their own. */
static bool is_named(const amqp_connection_start_ok_t *start_ok, const char *suffix)
{
    const size_t size = strlen(suffix);
    for (int i = 0; i < start_ok->client_properties.num_entries; i++) {
        const amqp_table_entry_t *entry = &start_ok->client_properties.entries[i];
        amqp_bytes_t name = entry->value.value.bytes;
        if (equals(entry->key, "connection_name"))
            return name.len > size && memcmp((char *)name.bytes + name.len - size, suffix, size) == 0;
    }
    return false;
}

/* What a method changes here, whoever answers it. */
static void note(cny_peer *peer, cny_peer_method *method)
{
    cny_peer_channel *on = &peer->channels[method->channel];
    bool both_closed = on->closing && method->id == AMQP_CHANNEL_CLOSE_OK_METHOD;
    if (method->channel > 0 && !both_closed && on->open == (method->id == AMQP_CHANNEL_OPEN_METHOD))
        cny_peer_fail(peer, "%s on channel %u, which is %s", cny_method_name(method->id), method->channel,
                      on->open ? "open already" : "not open");
    switch (method->id) {
    case AMQP_CONNECTION_START_OK_METHOD:
        peer->publishes = is_named(method->args, ".publisher");
        peer->is_isolated = is_named(method->args, ".isolated");
        break;
    case AMQP_CONNECTION_TUNE_OK_METHOD: note_tuning(peer, method->args); break;
    case AMQP_CHANNEL_OPEN_METHOD: *on = (cny_peer_channel){.open = true}; break;
    case AMQP_CHANNEL_CLOSE_METHOD:
    case AMQP_CHANNEL_CLOSE_OK_METHOD: on->open = on->closing = false; break;
    case AMQP_CONFIRM_SELECT_METHOD: on->confirming = true; break;
    case AMQP_BASIC_PUBLISH_METHOD: method->number = on->confirming ? ++on->published : 0; break;
    case AMQP_BASIC_CONSUME_METHOD: {
        amqp_bytes_t tag = ((amqp_basic_consume_t *)method->args)->consumer_tag;
        if (tag.len > 0)
            snprintf(on->consumer_tag, sizeof on->consumer_tag, "%.*s", (int)tag.len, (char *)tag.bytes);
        else
            snprintf(on->consumer_tag, sizeof on->consumer_tag, "amq.ctag-%u", method->channel);
        break;
    }
    default: break;
    }
}

/* After our own close only the answer counts, as the specification says. */
static bool is_ignored(const cny_peer *peer, const cny_peer_method *method)
{
    if (peer->closing)
        return method->id != AMQP_CONNECTION_CLOSE_METHOD && method->id != AMQP_CONNECTION_CLOSE_OK_METHOD;
    return peer->channels[method->channel].closing && method->id != AMQP_CHANNEL_CLOSE_METHOD &&
           method->id != AMQP_CHANNEL_CLOSE_OK_METHOD;
}

static cny_peer_event read_greeting(cny_peer *peer, int64_t deadline, int signal)
{
    cny_peer_event seen = fill_input(peer, 8, deadline, signal);
    if (seen != CNY_PEER_READY)
        return seen;
    if (memcmp(peer->input, "AMQP\0\0\x09\x01", 8) != 0)
        cny_peer_fail(peer, "the client does not begin with the header of AMQP 0-9-1");
    consume_input(peer, 8);
    peer->greeted = true;
    peer->method = (cny_peer_method){.id = CNY_PROTOCOL_HEADER};
    cny_peer_heard(peer, &peer->method);
    return CNY_PEER_READY;
}

/* The new secret, and why. */
static void decode_update_secret(cny_peer *peer, cny_peer_method *method, amqp_bytes_t encoded)
{
    const unsigned char *at = encoded.bytes;
    method->size = encoded.len > 4 ? get_u32(at) : SIZE_MAX;
    if (method->size > encoded.len - 5)
        cny_peer_fail(peer, "connection.update-secret cannot be decoded");
    method->body = pool_copy(peer, at + 4, method->size).bytes;
}

static void decode_method(cny_peer *peer, cny_peer_method *method, amqp_bytes_t payload)
{
    method->id = get_u32(payload.bytes);
    amqp_bytes_t encoded = {payload.len - 4, (char *)payload.bytes + 4};
    if (method->id == CNY_UPDATE_SECRET)
        decode_update_secret(peer, method, encoded);
    else if (amqp_decode_method(method->id, &peer->pool, encoded, &method->args) < 0)
        cny_peer_fail(peer, "%s (0x%08x) cannot be decoded", cny_method_name(method->id), method->id);
}

cny_peer_event cny_peer_read(cny_peer *peer, int64_t deadline, int signal, bool want_heartbeat)
{
    recycle_amqp_pool(&peer->pool);
    if (!peer->greeted)
        return read_greeting(peer, deadline, signal);
    for (;;) {
        frame read = {0};
        cny_peer_event seen = read_frame(peer, deadline, signal, &read);
        if (seen != CNY_PEER_READY)
            return seen;
        cny_peer_method *method = &peer->method;
        *method = (cny_peer_method){.channel = read.channel};
        if (read.type == AMQP_FRAME_HEARTBEAT && want_heartbeat)
            return CNY_PEER_READY;
        if (read.type == AMQP_FRAME_HEARTBEAT)
            continue;
        if (read.type != AMQP_FRAME_METHOD || read.payload.len < 4)
            cny_peer_fail(peer, "a frame of type %u on channel %u stands where a method belongs", read.type,
                          read.channel);
        decode_method(peer, method, read.payload);
        if (method->id == AMQP_BASIC_PUBLISH_METHOD)
            read_content(peer, method, deadline);
        if (is_ignored(peer, method))
            continue;
        note(peer, method);
        cny_peer_heard(peer, method);
        return CNY_PEER_READY;
    }
}

static int64_t patience(const cny_peer *peer)
{
    return peer->may_end ? INT64_MAX : cny_now_ms() + CNY_PATIENCE_MS;
}

static cny_peer_method *next_wanted(cny_peer *peer, const char *wanted)
{
    peer->waiting_for = wanted;
    cny_peer_event seen = cny_peer_read(peer, patience(peer), -1, false);
    if (seen == CNY_PEER_GONE)
        cny_peer_leave(peer, "the client hung up");
    if (seen == CNY_PEER_LATE)
        cny_peer_fail(peer, "%s does not come", wanted);
    return &peer->method;
}

cny_peer_method *cny_peer_next(cny_peer *peer)
{
    return next_wanted(peer, "a method");
}

bool cny_peer_hears(cny_peer *peer, int ms)
{
    return peer->input_size > 0 || cny_peer_await(peer, POLLIN, cny_now_ms() + ms, -1) == CNY_PEER_READY;
}

cny_peer_method *cny_peer_expect(cny_peer *peer, amqp_method_number_t id)
{
    cny_peer_method *method = next_wanted(peer, cny_method_name(id));
    if (method->id == AMQP_CONNECTION_CLOSE_METHOD && id != method->id && peer->number > 0)
        cny_peer_end(peer); /* a client that came back may find the test over */
    if (method->id != id)
        cny_peer_fail(peer, "the client sent %s on channel %u, %s was expected", cny_method_name(method->id),
                      method->channel, cny_method_name(id));
    return method;
}

cny_peer_method *cny_peer_serve_until(cny_peer *peer, amqp_method_number_t id)
{
    for (;;) {
        cny_peer_method *method = next_wanted(peer, cny_method_name(id));
        if (method->id == id)
            return method;
        cny_peer_answer(peer, method);
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD && peer->number > 0)
            cny_peer_end(peer); /* a client that came back may find the test over */
        if (method->id == AMQP_CONNECTION_CLOSE_METHOD)
            cny_peer_fail(peer, "the client closed the connection while the script waited for %s", cny_method_name(id));
    }
}

bool cny_peer_log_in(cny_peer *peer)
{
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD));
    return peer->publishes;
}

amqp_channel_t cny_peer_serve_until_consumer(cny_peer *peer)
{
    cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_answer(peer, consume);
    return consume->channel;
}

static void begin_waiting_for_go(cny_peer *peer)
{
    peer->waiting_for = "cny_broker_go()";
    peer->may_end = peer->number > 0; /* a client that came back may find the test over */
}

/* Whether the wait has ended so; another end than going on ends the script. */
static bool is_go(cny_peer *peer, cny_peer_event seen)
{
    uint64_t one;
    if (seen == CNY_PEER_LATE && peer->may_end)
        cny_peer_leave(peer, "the test does not call cny_broker_go()");
    if (seen == CNY_PEER_LATE)
        cny_peer_fail(peer, "the test does not call cny_broker_go()");
    if (seen == CNY_PEER_GONE)
        cny_peer_leave(peer, "the client hung up");
    if (seen != CNY_PEER_SIGNALLED || read(peer->go, &one, sizeof one) != sizeof one)
        return false;
    peer->may_end = false;
    return true;
}

void cny_peer_wait_go(cny_peer *peer)
{
    begin_waiting_for_go(peer);
    for (;;) {
        cny_peer_event seen = cny_peer_read(peer, cny_now_ms() + CNY_PATIENCE_MS, peer->go, false);
        if (is_go(peer, seen))
            return;
        if (seen == CNY_PEER_READY)
            cny_peer_answer(peer, &peer->method);
    }
}

void cny_peer_stall_until_go(cny_peer *peer)
{
    const int64_t deadline = cny_now_ms() + CNY_PATIENCE_MS;
    cny_peer_event seen;
    begin_waiting_for_go(peer);
    do {
        seen = cny_peer_await(peer, 0, deadline, peer->go);
    } while (!is_go(peer, seen == CNY_PEER_READY ? CNY_PEER_GONE : seen)); /* only a hang-up makes it ready */
}

void cny_peer_serve_until_heartbeat(cny_peer *peer)
{
    peer->waiting_for = "a heartbeat";
    for (;;) {
        cny_peer_event seen = cny_peer_read(peer, patience(peer), -1, true);
        if (seen == CNY_PEER_GONE)
            cny_peer_leave(peer, "the client hung up");
        if (seen == CNY_PEER_LATE)
            cny_peer_fail(peer, "no heartbeat comes");
        if (peer->in_heartbeat)
            return;
        cny_peer_answer(peer, &peer->method);
    }
}

bool cny_peer_silence(cny_peer *peer, int ms)
{
    int64_t deadline = cny_now_ms() + ms;
    cny_peer_event seen;
    frame ignored;
    peer->mute = peer->may_end = true;
    do {
        recycle_amqp_pool(&peer->pool);
        seen = peer->greeted ? read_frame(peer, deadline, -1, &ignored) : read_greeting(peer, deadline, -1);
    } while (seen == CNY_PEER_READY);
    peer->may_end = false;
    return seen != CNY_PEER_GONE;
}

void cny_peer_stall(cny_peer *peer, int ms)
{
    peer->mute = peer->may_end = true;
    cny_peer_await(peer, 0, cny_now_ms() + ms, -1);
    peer->may_end = false;
}
