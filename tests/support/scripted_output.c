/* SPDX-License-Identifier: MIT */
/* What the scripted broker says: bytes, frames, methods, content, polite answers and farewells. */
#include "support/scripted_peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void cny_peer_send_bytes(cny_peer *peer, const void *bytes, size_t size)
{
    const unsigned char *at = bytes;
    int64_t deadline = cny_now_ms() + CNY_PATIENCE_MS;
    while (size > 0) {
        if (peer->fd < 0)
            cny_peer_leave(peer, "the client hung up");
        ssize_t n = send(peer->fd, at, peer->trickle ? 1 : size, MSG_NOSIGNAL);
        if (n >= 0) {
            at += n;
            size -= (size_t)n;
        } else if (errno == EAGAIN) {
            if (cny_peer_await(peer, POLLOUT, deadline, -1) == CNY_PEER_LATE)
                cny_peer_fail(peer, "the client does not read what is sent to it");
        } else if (errno != EINTR) {
            cny_peer_leave(peer, "the client hung up");
        }
    }
}

void cny_peer_trickle(cny_peer *peer)
{
    peer->trickle = true;
}

void cny_peer_cork(cny_peer *peer, bool on)
{
    int cork = on;
    setsockopt(peer->fd, IPPROTO_TCP, TCP_CORK, &cork, sizeof cork);
}

static void put(unsigned char *at, uint64_t value, int size)
{
    for (int i = 0; i < size; i++)
        at[i] = (unsigned char)(value >> (8 * (size - 1 - i)));
}

void cny_peer_send_frame(cny_peer *peer, uint8_t type, amqp_channel_t channel, const void *payload, size_t size)
{
    unsigned char *frame = amqp_pool_alloc(&peer->pool, size + 8); /* a failing send jumps over a free() */
    if (!frame)
        cny_peer_fail(peer, "out of memory");
    frame[0] = type;
    put(frame + 1, channel, 2);
    put(frame + 3, size, 4);
    memcpy(frame + 7, payload, size);
    frame[size + 7] = CNY_FRAME_END;
    cny_peer_send_bytes(peer, frame, size + 8); /* at once: a client may hang up at the first wrong octet */
}

/* Makes the method's frame in peer->output and returns its size. */
static size_t make_method_frame(cny_peer *peer, amqp_channel_t channel, amqp_method_number_t id, void *args)
{
    uint64_t nothing[16] = {0};
    amqp_bytes_t room = {sizeof peer->output - 12, peer->output + 11};
    int size = amqp_encode_method(id, args ? args : nothing, room);
    if (size < 0)
        cny_peer_fail(peer, "the script's %s cannot be encoded: %s", cny_method_name(id), amqp_error_string2(size));
    peer->output[0] = AMQP_FRAME_METHOD;
    put(peer->output + 1, channel, 2);
    put(peer->output + 3, (uint64_t)size + 4, 4);
    put(peer->output + 7, id, 4);
    peer->output[size + 11] = CNY_FRAME_END;
    return (size_t)size + 12;
}

void cny_peer_send(cny_peer *peer, amqp_channel_t channel, amqp_method_number_t id, void *args)
{
    cny_peer_send_bytes(peer, peer->output, make_method_frame(peer, channel, id, args));
}

void cny_peer_send_half(cny_peer *peer, amqp_channel_t channel, amqp_method_number_t id, void *args)
{
    peer->mute = true; /* a heartbeat would be read as the other half */
    cny_peer_send_bytes(peer, peer->output, make_method_frame(peer, channel, id, args) / 2);
}

void cny_peer_send_header(cny_peer *peer, amqp_channel_t channel, uint64_t size, amqp_basic_properties_t *properties)
{
    amqp_basic_properties_t none = {0};
    amqp_bytes_t room = {sizeof peer->output - 12, peer->output + 12};
    int n = amqp_encode_properties(AMQP_BASIC_CLASS, properties ? properties : &none, room);
    if (n < 0)
        cny_peer_fail(peer, "the script's properties cannot be encoded: %s", amqp_error_string2(n));
    put(peer->output, AMQP_BASIC_CLASS, 2);
    put(peer->output + 2, 0, 2);
    put(peer->output + 4, size, 8);
    cny_peer_send_frame(peer, AMQP_FRAME_HEADER, channel, peer->output, (size_t)n + 12);
}

static void send_content(cny_peer *peer, amqp_channel_t channel, amqp_basic_properties_t *properties, const char *body,
                         size_t size)
{
    cny_peer_send_header(peer, channel, size, properties);
    for (size_t most = peer->frame_max - 8; size > 0;) {
        size_t part = size < most ? size : most;
        cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, body, part);
        body += part;
        size -= part;
    }
}

void cny_peer_ack(cny_peer *peer, amqp_channel_t channel, uint64_t number, bool multiple)
{
    cny_peer_send(peer, channel, AMQP_BASIC_ACK_METHOD, &(amqp_basic_ack_t){number, multiple});
}

void cny_peer_nack(cny_peer *peer, amqp_channel_t channel, uint64_t number, bool multiple)
{
    cny_peer_send(peer, channel, AMQP_BASIC_NACK_METHOD, &(amqp_basic_nack_t){number, multiple, false});
}

void cny_peer_return(cny_peer *peer, const cny_peer_method *publish, uint16_t code, const char *text)
{
    amqp_basic_publish_t *args = publish->args;
    amqp_basic_return_t back = {code, amqp_cstring_bytes(text), args->exchange, args->routing_key};
    cny_peer_send(peer, publish->channel, AMQP_BASIC_RETURN_METHOD, &back);
    send_content(peer, publish->channel, publish->properties, publish->body, publish->size);
}

void cny_peer_deliver_method(cny_peer *peer, amqp_channel_t channel, uint64_t tag)
{
    amqp_basic_deliver_t deliver = {amqp_cstring_bytes(peer->channels[channel].consumer_tag), tag, false,
                                    amqp_cstring_bytes("exchange"), amqp_cstring_bytes("key")};
    cny_peer_send(peer, channel, AMQP_BASIC_DELIVER_METHOD, &deliver);
}

void cny_peer_deliver(cny_peer *peer, amqp_channel_t channel, uint64_t tag, const char *body)
{
    cny_peer_deliver_method(peer, channel, tag);
    send_content(peer, channel, NULL, body, strlen(body));
}

void cny_peer_get_ok(cny_peer *peer, amqp_channel_t channel, uint64_t tag, amqp_basic_properties_t *properties,
                     const char *body)
{
    amqp_basic_get_ok_t get_ok = {tag, false, amqp_cstring_bytes("exchange"), amqp_cstring_bytes("key"), 0};
    cny_peer_send(peer, channel, AMQP_BASIC_GET_OK_METHOD, &get_ok);
    if (body)
        send_content(peer, channel, properties, body, strlen(body));
}

void cny_peer_time_out_consumer(cny_peer *peer, amqp_channel_t channel)
{
    amqp_basic_cancel_t cancel = {amqp_cstring_bytes(peer->channels[channel].consumer_tag), true};
    cny_peer_send(peer, channel, AMQP_BASIC_CANCEL_METHOD, &cancel);
}

void cny_peer_cancel_consumer(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_time_out_consumer(peer, channel);
    peer->is_missing = true;
}

void cny_peer_block(cny_peer *peer, const char *reason)
{
    amqp_connection_blocked_t blocked = {amqp_cstring_bytes(reason ? reason : "")};
    cny_peer_send(peer, 0, reason ? AMQP_CONNECTION_BLOCKED_METHOD : AMQP_CONNECTION_UNBLOCKED_METHOD, &blocked);
}

static void send_start(cny_peer *peer)
{
    static const char *const names[] = {"publisher_confirms", "exchange_exchange_bindings",
                                        "basic.nack",         "consumer_cancel_notify",
                                        "connection.blocked", "authentication_failure_close"};
    amqp_table_entry_t capabilities[6];
    for (int i = 0; i < 6; i++) {
        capabilities[i] = (amqp_table_entry_t){.key = amqp_cstring_bytes(names[i])};
        capabilities[i].value.kind = AMQP_FIELD_KIND_BOOLEAN;
        capabilities[i].value.value.boolean = 1;
    }
    amqp_table_entry_t properties[] = {{.key = amqp_cstring_bytes("capabilities")},
                                       {.key = amqp_cstring_bytes("product")}};
    properties[0].value.kind = AMQP_FIELD_KIND_TABLE;
    properties[0].value.value.table = (amqp_table_t){6, capabilities};
    properties[1].value.kind = AMQP_FIELD_KIND_UTF8;
    properties[1].value.value.bytes = amqp_cstring_bytes("scripted broker");
    amqp_connection_start_t start = {
        0, 9, {2, properties}, amqp_cstring_bytes("AMQPLAIN PLAIN"), amqp_cstring_bytes("en_US")};
    cny_peer_send(peer, 0, AMQP_CONNECTION_START_METHOD, &start);
}

static void answer_update_secret(cny_peer *peer)
{
    static const unsigned char update_secret_ok[] = {0, 10, 0, 71};
    cny_peer_send_frame(peer, AMQP_FRAME_METHOD, 0, update_secret_ok, sizeof update_secret_ok);
}

static void answer_connection(cny_peer *peer, const cny_peer_method *method)
{
    const cny_broker_options *options = peer->options;
    switch (method->id) {
    case CNY_PROTOCOL_HEADER: send_start(peer); break;
    case AMQP_CONNECTION_START_OK_METHOD: {
        amqp_connection_tune_t tune = {options->channel_max, options->frame_max, options->heartbeat_s};
        cny_peer_send(peer, 0, AMQP_CONNECTION_TUNE_METHOD, &tune);
        break;
    }
    case AMQP_CONNECTION_OPEN_METHOD:
        cny_peer_send(peer, 0, AMQP_CONNECTION_OPEN_OK_METHOD, NULL);
        peer->logged_in = true;
        break;
    case AMQP_CONNECTION_CLOSE_METHOD: cny_peer_send(peer, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, NULL); break;
    case CNY_UPDATE_SECRET: answer_update_secret(peer); break;
    case AMQP_CONNECTION_TUNE_OK_METHOD:
    case AMQP_CONNECTION_CLOSE_OK_METHOD: break;
    default: cny_peer_fail(peer, "the client sent %s on channel 0", cny_method_name(method->id));
    }
}

static void begin_to_close_channel(cny_peer *peer, amqp_method_number_t cause, amqp_channel_t channel, uint16_t code,
                                   const char *text)
{
    amqp_channel_close_t args = {code, amqp_cstring_bytes(text), (uint16_t)(cause >> 16), (uint16_t)cause};
    cny_peer_send(peer, channel, AMQP_CHANNEL_CLOSE_METHOD, &args);
    peer->channels[channel].closing = true;
}

static void answer_declare(cny_peer *peer, const cny_peer_method *method)
{
    amqp_queue_declare_t *declare = method->args;
    if (declare->passive && peer->is_missing) {
        peer->is_missing = false;
        begin_to_close_channel(peer, method->id, method->channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
        return;
    }
    amqp_queue_declare_ok_t ok = {.queue = declare->queue.len ? declare->queue : amqp_cstring_bytes("amq.gen-scripted"),
                                  .consumer_count = (uint32_t)declare->passive};
    if (!declare->nowait)
        cny_peer_send(peer, method->channel, AMQP_QUEUE_DECLARE_OK_METHOD, &ok);
}

static void answer_consume(cny_peer *peer, const cny_peer_method *method)
{
    amqp_basic_consume_ok_t ok = {amqp_cstring_bytes(peer->channels[method->channel].consumer_tag)};
    if (!((amqp_basic_consume_t *)method->args)->nowait)
        cny_peer_send(peer, method->channel, AMQP_BASIC_CONSUME_OK_METHOD, &ok);
}

static void answer_cancel(cny_peer *peer, const cny_peer_method *method)
{
    amqp_basic_cancel_t *cancel = method->args;
    amqp_basic_cancel_ok_t ok = {cancel->consumer_tag};
    if (!cancel->nowait)
        cny_peer_send(peer, method->channel, AMQP_BASIC_CANCEL_OK_METHOD, &ok);
}

/* The answer that has no fields worth filling; 0 if the method wants none. In RabbitMQ's numbering
 * every -ok is its request plus one. */
static amqp_method_number_t plain_answer(const cny_peer_method *method)
{
    void *args = method->args;
    switch (method->id) {
    case AMQP_CHANNEL_OPEN_METHOD:
    case AMQP_CHANNEL_CLOSE_METHOD:
    case AMQP_BASIC_QOS_METHOD:
    case AMQP_BASIC_RECOVER_METHOD:
    case AMQP_TX_SELECT_METHOD:
    case AMQP_TX_COMMIT_METHOD:
    case AMQP_TX_ROLLBACK_METHOD:
    case AMQP_QUEUE_UNBIND_METHOD: return method->id + 1;
    case AMQP_CONFIRM_SELECT_METHOD: return ((amqp_confirm_select_t *)args)->nowait ? 0 : method->id + 1;
    case AMQP_QUEUE_BIND_METHOD: return ((amqp_queue_bind_t *)args)->nowait ? 0 : method->id + 1;
    case AMQP_QUEUE_PURGE_METHOD: return ((amqp_queue_purge_t *)args)->nowait ? 0 : method->id + 1;
    case AMQP_QUEUE_DELETE_METHOD: return ((amqp_queue_delete_t *)args)->nowait ? 0 : method->id + 1;
    case AMQP_EXCHANGE_DECLARE_METHOD: return ((amqp_exchange_declare_t *)args)->nowait ? 0 : method->id + 1;
    case AMQP_EXCHANGE_DELETE_METHOD: return ((amqp_exchange_delete_t *)args)->nowait ? 0 : method->id + 1;
    case AMQP_EXCHANGE_BIND_METHOD: return ((amqp_exchange_bind_t *)args)->nowait ? 0 : method->id + 1;
    case AMQP_EXCHANGE_UNBIND_METHOD: /* the one exception */
        return ((amqp_exchange_unbind_t *)args)->nowait ? 0 : AMQP_EXCHANGE_UNBIND_OK_METHOD;
    case AMQP_BASIC_GET_METHOD: return AMQP_BASIC_GET_EMPTY_METHOD;
    default: return 0;
    }
}

void cny_peer_answer(cny_peer *peer, const cny_peer_method *method)
{
    if (method->channel == 0) {
        answer_connection(peer, method);
    } else if (method->id == AMQP_QUEUE_DECLARE_METHOD) {
        answer_declare(peer, method);
    } else if (method->id == AMQP_BASIC_CONSUME_METHOD) {
        answer_consume(peer, method);
    } else if (method->id == AMQP_BASIC_CANCEL_METHOD) {
        answer_cancel(peer, method);
    } else if (method->number > 0) {
        cny_peer_ack(peer, method->channel, method->number, false);
    } else if (plain_answer(method) != 0) {
        cny_peer_send(peer, method->channel, plain_answer(method), NULL);
    }
}

void cny_peer_close_channel(cny_peer *peer, amqp_channel_t channel, uint16_t code, const char *text)
{
    cny_peer_close_channel_over(peer, 0, channel, code, text);
}

void cny_peer_close_channel_over(cny_peer *peer, amqp_method_number_t cause, amqp_channel_t channel, uint16_t code,
                                 const char *text)
{
    begin_to_close_channel(peer, cause, channel, code, text);
    while (cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_OK_METHOD)->channel != channel)
        ;
}

bool cny_peer_close_connection(cny_peer *peer, uint16_t code, const char *text)
{
    return cny_peer_close_connection_over(peer, 0, code, text);
}

bool cny_peer_close_connection_over(cny_peer *peer, amqp_method_number_t cause, uint16_t code, const char *text)
{
    amqp_connection_close_t args = {code, amqp_cstring_bytes(text), (uint16_t)(cause >> 16), (uint16_t)cause};
    cny_peer_send(peer, 0, AMQP_CONNECTION_CLOSE_METHOD, &args);
    peer->closing = true;
    peer->waiting_for = "connection.close-ok";
    cny_peer_event seen = cny_peer_read(peer, cny_now_ms() + CNY_PATIENCE_MS, -1, false);
    if (seen == CNY_PEER_LATE)
        cny_peer_fail(peer, "the client neither answers connection.close nor hangs up");
    return seen == CNY_PEER_READY && peer->method.id == AMQP_CONNECTION_CLOSE_OK_METHOD;
}

void cny_peer_hang_up(cny_peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
}

void cny_peer_reset(cny_peer *peer)
{
    struct linger at_once = {1, 0};
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    cny_peer_hang_up(peer);
}
