/* SPDX-License-Identifier: MIT */
/* What Coney says, as frames appended to a buffer. Pure functions: they know no socket and no
 * connection, so that a message that cannot be encoded fails before a byte is sent. */
#include "wire/rabbitmq_c.h"

#include <string.h>

#define METHOD_ROOM 1024         /* enough for any method without a table */
#define UPDATE_SECRET 0x000a0046 /* connection.update-secret */

static amqp_bytes_t bytes(const char *text)
{
    return text ? (amqp_bytes_t){.len = strlen(text), .bytes = (void *)(uintptr_t)text} : amqp_empty_bytes;
}

static void put_frame_header(uint8_t *at, uint8_t type, uint16_t channel, size_t payload)
{
    at[0] = type;
    cny_put_u16(at + 1, channel);
    cny_put_u32(at + 3, (uint32_t)payload);
}

/* Completes the frame whose payload begins after seven free bytes at the buffer's end. */
static void finish_frame(cny_buffer *out, uint8_t type, uint16_t channel, size_t payload)
{
    uint8_t *frame = out->data + out->size;
    put_frame_header(frame, type, channel, payload);
    frame[CNY_FRAME_HEADER_BYTES + payload] = AMQP_FRAME_END;
    out->size += payload + CNY_FRAME_OVERHEAD;
}

int cny_append_method(cny_buffer *out, uint16_t channel, amqp_method_number_t id, void *method, size_t payload_max)
{
    if (!cny_buffer_reserve(out, payload_max + CNY_FRAME_OVERHEAD))
        return AMQP_STATUS_NO_MEMORY;
    uint8_t *payload = out->data + out->size + CNY_FRAME_HEADER_BYTES;
    cny_put_u32(payload, id);
    int size = amqp_encode_method(id, method, (amqp_bytes_t){.len = payload_max - 4, .bytes = payload + 4});
    if (size >= 0)
        finish_frame(out, AMQP_FRAME_METHOD, channel, (size_t)size + 4);
    return size;
}

static coney_status encode_method(cny_buffer *out, uint16_t channel, amqp_method_number_t id, void *method)
{
    int size = cny_append_method(out, channel, id, method, METHOD_ROOM);
    if (size >= 0)
        return CONEY_OK;
    if (size == AMQP_STATUS_NO_MEMORY)
        return cny_fail_memory();
    return cny_fail(CONEY_E_INVALID, "a name is longer than 255 bytes");
}

/* The same for methods with arguments, which may need a whole frame. */
static coney_status encode_with_table(cny_buffer *out, uint16_t channel, uint32_t frame_max, amqp_method_number_t id,
                                      void *method)
{
    int size = cny_append_method(out, channel, id, method, METHOD_ROOM);
    if (size < 0 && size != AMQP_STATUS_NO_MEMORY)
        size = cny_append_method(out, channel, id, method, frame_max - CNY_FRAME_OVERHEAD);
    if (size >= 0)
        return CONEY_OK;
    if (size == AMQP_STATUS_NO_MEMORY)
        return cny_fail_memory();
    return cny_fail(CONEY_E_INVALID, "the arguments do not fit a frame of %u bytes", frame_max);
}

/* ---- connection and channel ---- */

coney_status cny_encode_heartbeat(cny_buffer *out)
{
    if (!cny_buffer_reserve(out, CNY_FRAME_OVERHEAD))
        return cny_fail_memory();
    finish_frame(out, AMQP_FRAME_HEARTBEAT, 0, 0);
    return CONEY_OK;
}

coney_status cny_encode_connection_close(cny_buffer *out)
{
    amqp_connection_close_t method = {.reply_code = AMQP_REPLY_SUCCESS, .reply_text = bytes("closed by the client")};
    return encode_method(out, 0, AMQP_CONNECTION_CLOSE_METHOD, &method);
}

coney_status cny_encode_connection_close_ok(cny_buffer *out)
{
    amqp_connection_close_ok_t method = {0};
    return encode_method(out, 0, AMQP_CONNECTION_CLOSE_OK_METHOD, &method);
}

/* By hand: rabbitmq-c knows this method from 0.12 on only. */
coney_status cny_encode_update_secret(cny_buffer *out, const char *secret)
{
    static const char reason[] = "renewed";
    enum { REASON = sizeof reason - 1 };
    amqp_bytes_t text = bytes(secret);
    size_t size = text.len, payload = 4 + 4 + size + 1 + REASON;
    if (size > UINT32_MAX / 2)
        return cny_fail(CONEY_E_INVALID, "a secret of %zu bytes is too long", size);
    if (!cny_buffer_reserve(out, payload + CNY_FRAME_OVERHEAD))
        return cny_fail_memory();
    uint8_t *at = out->data + out->size + CNY_FRAME_HEADER_BYTES;
    cny_put_u32(at, UPDATE_SECRET);
    cny_put_u32(at + 4, (uint32_t)size);
    memcpy(at + 8, text.bytes, size);
    at[8 + size] = REASON;
    memcpy(at + 9 + size, reason, REASON);
    finish_frame(out, AMQP_FRAME_METHOD, 0, payload);
    return CONEY_OK;
}

coney_status cny_encode_channel_open(cny_buffer *out, uint16_t channel)
{
    amqp_channel_open_t method = {0};
    return encode_method(out, channel, AMQP_CHANNEL_OPEN_METHOD, &method);
}

coney_status cny_encode_channel_close(cny_buffer *out, uint16_t channel)
{
    amqp_channel_close_t method = {.reply_code = AMQP_REPLY_SUCCESS, .reply_text = bytes("closed by the client")};
    return encode_method(out, channel, AMQP_CHANNEL_CLOSE_METHOD, &method);
}

coney_status cny_encode_channel_close_ok(cny_buffer *out, uint16_t channel)
{
    amqp_channel_close_ok_t method = {0};
    return encode_method(out, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, &method);
}

coney_status cny_encode_confirm_select(cny_buffer *out, uint16_t channel)
{
    amqp_confirm_select_t method = {0};
    return encode_method(out, channel, AMQP_CONFIRM_SELECT_METHOD, &method);
}

coney_status cny_encode_tx_select(cny_buffer *out, uint16_t channel)
{
    amqp_tx_select_t method = {0};
    return encode_method(out, channel, AMQP_TX_SELECT_METHOD, &method);
}

coney_status cny_encode_tx_commit(cny_buffer *out, uint16_t channel)
{
    amqp_tx_commit_t method = {0};
    return encode_method(out, channel, AMQP_TX_COMMIT_METHOD, &method);
}

coney_status cny_encode_tx_rollback(cny_buffer *out, uint16_t channel)
{
    amqp_tx_rollback_t method = {0};
    return encode_method(out, channel, AMQP_TX_ROLLBACK_METHOD, &method);
}

/* ---- declarations ---- */

/* Encodes a method whose arguments are the table; filled in through the pointer. */
static coney_status encode_arguments(cny_buffer *out, uint16_t channel, uint32_t frame_max, amqp_method_number_t id,
                                     void *method, amqp_table_t *arguments, const coney_table *table)
{
    cny_arena arena;
    _Alignas(max_align_t) char room[1024];
    cny_arena_init(&arena, room, sizeof room);
    coney_status status = cny_table_to_amqp(&arena, arguments, table)
                              ? encode_with_table(out, channel, frame_max, id, method)
                              : cny_fail_memory();
    cny_arena_free(&arena);
    return status;
}

coney_status cny_encode_queue_declare(cny_buffer *out, uint16_t channel, uint32_t frame_max, const coney_queue *queue,
                                      bool passive)
{
    coney_table *arguments;
    coney_status status = cny_queue_arguments(&arguments, queue);
    if (status != CONEY_OK)
        return status;
    amqp_queue_declare_t method = {
        .queue = bytes(queue->name),
        .passive = passive,
        .durable = !queue->transient,
        .exclusive = queue->exclusive,
        .auto_delete = queue->auto_delete,
    };
    status =
        encode_arguments(out, channel, frame_max, AMQP_QUEUE_DECLARE_METHOD, &method, &method.arguments, arguments);
    coney_table_free(arguments);
    return status;
}

coney_status cny_encode_exchange_declare(cny_buffer *out, uint16_t channel, uint32_t frame_max,
                                         const coney_exchange *exchange, bool passive)
{
    coney_table *arguments;
    coney_status status = cny_exchange_arguments(&arguments, exchange);
    if (status != CONEY_OK)
        return status;
    amqp_exchange_declare_t method = {
        .exchange = bytes(exchange->name),
        .type = bytes(cny_exchange_type_name(exchange)),
        .passive = passive,
        .durable = !exchange->transient,
        .auto_delete = exchange->auto_delete,
        .internal = exchange->internal,
    };
    status =
        encode_arguments(out, channel, frame_max, AMQP_EXCHANGE_DECLARE_METHOD, &method, &method.arguments, arguments);
    coney_table_free(arguments);
    return status;
}

coney_status cny_encode_bind(cny_buffer *out, uint16_t channel, uint32_t frame_max, const coney_binding *binding)
{
    if (binding->to_exchange) {
        amqp_exchange_bind_t method = {.destination = bytes(binding->destination),
                                       .source = bytes(binding->exchange),
                                       .routing_key = bytes(binding->routing_key)};
        return encode_arguments(out, channel, frame_max, AMQP_EXCHANGE_BIND_METHOD, &method, &method.arguments,
                                binding->arguments);
    }
    amqp_queue_bind_t method = {.queue = bytes(binding->destination),
                                .exchange = bytes(binding->exchange),
                                .routing_key = bytes(binding->routing_key)};
    return encode_arguments(out, channel, frame_max, AMQP_QUEUE_BIND_METHOD, &method, &method.arguments,
                            binding->arguments);
}

coney_status cny_encode_unbind(cny_buffer *out, uint16_t channel, uint32_t frame_max, const coney_binding *binding)
{
    if (binding->to_exchange) {
        amqp_exchange_unbind_t method = {.destination = bytes(binding->destination),
                                         .source = bytes(binding->exchange),
                                         .routing_key = bytes(binding->routing_key)};
        return encode_arguments(out, channel, frame_max, AMQP_EXCHANGE_UNBIND_METHOD, &method, &method.arguments,
                                binding->arguments);
    }
    amqp_queue_unbind_t method = {.queue = bytes(binding->destination),
                                  .exchange = bytes(binding->exchange),
                                  .routing_key = bytes(binding->routing_key)};
    return encode_arguments(out, channel, frame_max, AMQP_QUEUE_UNBIND_METHOD, &method, &method.arguments,
                            binding->arguments);
}

coney_status cny_encode_queue_purge(cny_buffer *out, uint16_t channel, const char *queue)
{
    amqp_queue_purge_t method = {.queue = bytes(queue)};
    return encode_method(out, channel, AMQP_QUEUE_PURGE_METHOD, &method);
}

coney_status cny_encode_queue_delete(cny_buffer *out, uint16_t channel, const char *queue, bool if_unused,
                                     bool if_empty)
{
    amqp_queue_delete_t method = {.queue = bytes(queue), .if_unused = if_unused, .if_empty = if_empty};
    return encode_method(out, channel, AMQP_QUEUE_DELETE_METHOD, &method);
}

coney_status cny_encode_exchange_delete(cny_buffer *out, uint16_t channel, const char *exchange, bool if_unused)
{
    amqp_exchange_delete_t method = {.exchange = bytes(exchange), .if_unused = if_unused};
    return encode_method(out, channel, AMQP_EXCHANGE_DELETE_METHOD, &method);
}

/* ---- consuming ---- */

coney_status cny_encode_qos(cny_buffer *out, uint16_t channel, uint16_t prefetch)
{
    amqp_basic_qos_t method = {.prefetch_count = prefetch};
    return encode_method(out, channel, AMQP_BASIC_QOS_METHOD, &method);
}

coney_status cny_encode_consume(cny_buffer *out, uint16_t channel, uint32_t frame_max, const cny_consume *consume)
{
    amqp_basic_consume_t method = {
        .queue = bytes(consume->queue),
        .consumer_tag = bytes(consume->consumer_tag),
        .no_ack = consume->no_ack,
        .exclusive = consume->exclusive,
    };
    return encode_arguments(out, channel, frame_max, AMQP_BASIC_CONSUME_METHOD, &method, &method.arguments,
                            consume->arguments);
}

coney_status cny_encode_get(cny_buffer *out, uint16_t channel, const char *queue)
{
    amqp_basic_get_t method = {.queue = bytes(queue)};
    return encode_method(out, channel, AMQP_BASIC_GET_METHOD, &method);
}

coney_status cny_encode_cancel(cny_buffer *out, uint16_t channel, const char *consumer_tag)
{
    amqp_basic_cancel_t method = {.consumer_tag = bytes(consumer_tag)};
    return encode_method(out, channel, AMQP_BASIC_CANCEL_METHOD, &method);
}

coney_status cny_encode_ack(cny_buffer *out, uint16_t channel, uint64_t tag, bool multiple)
{
    amqp_basic_ack_t method = {.delivery_tag = tag, .multiple = multiple};
    return encode_method(out, channel, AMQP_BASIC_ACK_METHOD, &method);
}

coney_status cny_encode_reject(cny_buffer *out, uint16_t channel, uint64_t tag, bool requeue)
{
    amqp_basic_reject_t method = {.delivery_tag = tag, .requeue = requeue};
    return encode_method(out, channel, AMQP_BASIC_REJECT_METHOD, &method);
}

coney_status cny_encode_nack(cny_buffer *out, uint16_t channel, uint64_t tag, bool multiple, bool requeue)
{
    amqp_basic_nack_t method = {.delivery_tag = tag, .multiple = multiple, .requeue = requeue};
    return encode_method(out, channel, AMQP_BASIC_NACK_METHOD, &method);
}

/* ---- publishing ---- */

static void set_text(amqp_basic_properties_t *to, amqp_bytes_t *field, amqp_flags_t flag, const char *text)
{
    if (!text)
        return;
    *field = bytes(text);
    to->_flags |= flag;
}

/* Everything but the headers. Type and delivery mode always go, as with Spring. */
static void fill_properties(amqp_basic_properties_t *to, const coney_properties *from)
{
    *to = (amqp_basic_properties_t){
        ._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | (from->has_priority ? AMQP_BASIC_PRIORITY_FLAG : 0),
        .delivery_mode = from->delivery_mode == CONEY_TRANSIENT ? CONEY_TRANSIENT : CONEY_PERSISTENT,
        .priority = from->priority,
    };
    set_text(to, &to->content_type, AMQP_BASIC_CONTENT_TYPE_FLAG,
             from->content_type ? from->content_type : CONEY_CONTENT_TYPE_BYTES);
    set_text(to, &to->content_encoding, AMQP_BASIC_CONTENT_ENCODING_FLAG, from->content_encoding);
    if (from->correlation_id && *from->correlation_id) /* an empty one is none, as with Spring */
        set_text(to, &to->correlation_id, AMQP_BASIC_CORRELATION_ID_FLAG, from->correlation_id);
    set_text(to, &to->reply_to, AMQP_BASIC_REPLY_TO_FLAG, from->reply_to);
    set_text(to, &to->expiration, AMQP_BASIC_EXPIRATION_FLAG, from->expiration);
    set_text(to, &to->message_id, AMQP_BASIC_MESSAGE_ID_FLAG, from->message_id);
    set_text(to, &to->type, AMQP_BASIC_TYPE_FLAG, from->type);
    set_text(to, &to->user_id, AMQP_BASIC_USER_ID_FLAG, from->user_id);
    set_text(to, &to->app_id, AMQP_BASIC_APP_ID_FLAG, from->app_id);
    set_text(to, &to->cluster_id, AMQP_BASIC_CLUSTER_ID_FLAG, from->cluster_id);
    if (from->timestamp != 0) {
        to->timestamp = (uint64_t)from->timestamp;
        to->_flags |= AMQP_BASIC_TIMESTAMP_FLAG;
    }
}

/* Content header: class, weight, body size, properties. They may not be split over frames. */
static int try_header(cny_buffer *out, uint16_t channel, size_t body_size, amqp_basic_properties_t *properties,
                      size_t payload_max)
{
    enum { FIXED = 12 };
    if (!cny_buffer_reserve(out, payload_max + CNY_FRAME_OVERHEAD))
        return AMQP_STATUS_NO_MEMORY;
    uint8_t *payload = out->data + out->size + CNY_FRAME_HEADER_BYTES;
    cny_put_u16(payload, AMQP_BASIC_CLASS);
    cny_put_u16(payload + 2, 0);
    cny_put_u32(payload + 4, (uint32_t)((uint64_t)body_size >> 32));
    cny_put_u32(payload + 8, (uint32_t)body_size);
    amqp_bytes_t room = {.len = payload_max - FIXED, .bytes = payload + FIXED};
    int size = amqp_encode_properties(AMQP_BASIC_CLASS, properties, room);
    if (size >= 0)
        finish_frame(out, AMQP_FRAME_HEADER, channel, (size_t)size + FIXED);
    return size;
}

static coney_status encode_header(cny_buffer *out, uint16_t channel, uint32_t frame_max, size_t body_size,
                                  amqp_basic_properties_t *properties)
{
    int size = try_header(out, channel, body_size, properties, METHOD_ROOM);
    if (size < 0 && size != AMQP_STATUS_NO_MEMORY)
        size = try_header(out, channel, body_size, properties, frame_max - CNY_FRAME_OVERHEAD);
    if (size >= 0)
        return CONEY_OK;
    if (size == AMQP_STATUS_NO_MEMORY)
        return cny_fail_memory();
    return cny_fail(CONEY_E_INVALID,
                    "the message's headers do not fit a frame of %u bytes, and AMQP cannot split them; put large "
                    "data into the body",
                    frame_max);
}

coney_status cny_encode_publish(cny_buffer *out, uint16_t channel, uint32_t frame_max, const char *exchange,
                                const char *routing_key, bool mandatory, const coney_message *message)
{
    size_t before = out->size;
    amqp_basic_publish_t method = {
        .exchange = bytes(exchange), .routing_key = bytes(routing_key), .mandatory = mandatory};
    coney_status status = encode_method(out, channel, AMQP_BASIC_PUBLISH_METHOD, &method);
    if (status != CONEY_OK)
        return status;

    amqp_basic_properties_t properties;
    fill_properties(&properties, &message->properties);
    cny_arena arena;
    _Alignas(max_align_t) char room[1024];
    cny_arena_init(&arena, room, sizeof room);
    if (message->properties.headers) {
        properties._flags |= AMQP_BASIC_HEADERS_FLAG;
        if (!cny_table_to_amqp(&arena, &properties.headers, message->properties.headers))
            status = cny_fail_memory();
    }
    if (status == CONEY_OK)
        status = encode_header(out, channel, frame_max, message->size, &properties);
    cny_arena_free(&arena);
    if (status != CONEY_OK)
        out->size = before;
    return status;
}

size_t cny_body_frame_count(size_t body_size, uint32_t frame_max)
{
    size_t payload_max = frame_max - CNY_FRAME_OVERHEAD;
    return (body_size + payload_max - 1) / payload_max; /* an empty body has none */
}

size_t cny_body_frames_size(size_t body_size, uint32_t frame_max)
{
    return body_size + cny_body_frame_count(body_size, frame_max) * CNY_FRAME_OVERHEAD;
}

void cny_encode_body_head(cny_buffer *out, uint16_t channel, size_t size)
{
    put_frame_header(out->data + out->size, AMQP_FRAME_BODY, channel, size);
    out->size += CNY_FRAME_HEADER_BYTES;
}

void cny_encode_frame_end(cny_buffer *out)
{
    out->data[out->size++] = AMQP_FRAME_END;
}

coney_status cny_encode_body(cny_buffer *out, uint16_t channel, uint32_t frame_max, const coney_message *message)
{
    size_t payload_max = frame_max - CNY_FRAME_OVERHEAD;
    if (!cny_buffer_reserve(out, cny_body_frames_size(message->size, frame_max)))
        return cny_fail_memory();
    for (size_t at = 0; at < message->size;) {
        size_t payload = message->size - at < payload_max ? message->size - at : payload_max;
        memcpy(out->data + out->size + CNY_FRAME_HEADER_BYTES, message->body + at, payload);
        finish_frame(out, AMQP_FRAME_BODY, channel, payload);
        at += payload;
    }
    return CONEY_OK;
}
