/* SPDX-License-Identifier: MIT */
/* What the broker says: lets rabbitmq-c decode the methods and properties in frames that have been cut (frames.c), and
 * puts the frames of a message together. I/O thread only.
 *
 * Frames are checked here before rabbitmq-c sees them, so a peer can neither make it allocate for
 * channels that do not exist nor feed it a frame larger than Coney reads. Body frames never pass
 * through it: they are copied once, from the read buffer into the message. */
#include "wire/rabbitmq_c.h"

#include <stdio.h>
#include <string.h>

/* A message of which not all frames have come. */
struct cny_assembly {
    uint32_t method; /* deliver, get-ok or return */
    uint16_t channel;
    uint16_t code; /* of a return */
    bool redelivered;
    uint32_t message_count; /* of a get-ok */
    uint64_t tag;
    char text[256];
    char exchange[256];
    char routing_key[256];
    bool has_header;
    bool lacks_body;        /* because the owner does not want it */
    bool is_skipped;        /* its body is not kept, for whatever reason */
    coney_message *message; /* from the content header on; NULL if the owner did not admit it */
    uint64_t announced;     /* bytes of the body */
    uint64_t received;
};

/* ---- helpers ---- */

static void copy_text(char to[256], amqp_bytes_t from)
{
    size_t size = from.len < 255 ? from.len : 255;
    if (size > 0)
        memcpy(to, from.bytes, size);
    to[size] = '\0';
}

void cny_copy_sentence(char to[256], amqp_bytes_t from)
{
    const char *at = from.bytes, *end = at + from.len;
    bool in_gap = true; /* a space stands for all that was skipped */
    size_t used = 0, size;
    for (; at < end; at += size) {
        bool is_shown = cny_text_step(at, (size_t)(end - at), &size);
        if (used + size > 255)
            break;
        if (!is_shown && !in_gap && to[used - 1] != ' ')
            to[used++] = ' ';
        in_gap = !is_shown || (in_gap && *at == ' ');
        if (!in_gap) {
            memcpy(to + used, at, size);
            used += size;
        }
    }
    while (used > 0 && to[used - 1] == ' ')
        used--;
    to[used] = '\0';
}

coney_status cny_reply_status(int code)
{
    switch (code) {
    case 312: return CONEY_E_RETURNED;
    case 320: return CONEY_E_LOST; /* CONNECTION_FORCED: the broker is going down */
    case 403: return CONEY_E_ACCESS_REFUSED;
    case 404: return CONEY_E_NOT_FOUND;
    case 405: return CONEY_E_RESOURCE_LOCKED;
    case 406: return CONEY_E_PRECONDITION_FAILED;
    case 530: return CONEY_E_NOT_ALLOWED;
    default: return CONEY_E_BROKER;
    }
}

/* ---- assembly ---- */

static struct cny_assembly *find_assembly(cny_wire *wire, uint16_t channel)
{
    struct cny_assembly *all = (struct cny_assembly *)(void *)wire->assemblies.data;
    for (size_t i = 0; i < wire->assemblies.size / sizeof *all; i++) {
        if (all[i].channel == channel)
            return &all[i];
    }
    return NULL;
}

static void drop_assembly(cny_wire *wire, struct cny_assembly *assembly)
{
    struct cny_assembly *all = (struct cny_assembly *)(void *)wire->assemblies.data;
    size_t last = wire->assemblies.size / sizeof *all - 1;
    if (assembly != &all[last])
        *assembly = all[last];
    wire->assemblies.size -= sizeof *all;
}

static coney_status start(cny_wire *wire, struct cny_assembly assembly, amqp_bytes_t exchange, amqp_bytes_t routing_key)
{
    copy_text(assembly.exchange, exchange);
    copy_text(assembly.routing_key, routing_key);
    return cny_buffer_append(&wire->assemblies, &assembly, sizeof assembly) ? CONEY_OK : cny_fail_memory();
}

static coney_status start_delivery(cny_wire *wire, uint16_t channel, const amqp_basic_deliver_t *method)
{
    struct cny_assembly assembly = {
        .method = CNY_BASIC_DELIVER,
        .channel = channel,
        .redelivered = method->redelivered != 0,
        .tag = method->delivery_tag,
    };
    return start(wire, assembly, method->exchange, method->routing_key);
}

static coney_status start_get_ok(cny_wire *wire, uint16_t channel, const amqp_basic_get_ok_t *method)
{
    struct cny_assembly assembly = {
        .method = CNY_BASIC_GET_OK,
        .channel = channel,
        .redelivered = method->redelivered != 0,
        .tag = method->delivery_tag,
        .message_count = method->message_count,
    };
    return start(wire, assembly, method->exchange, method->routing_key);
}

static coney_status start_return(cny_wire *wire, uint16_t channel, const amqp_basic_return_t *method)
{
    struct cny_assembly assembly = {.method = CNY_BASIC_RETURN, .channel = channel, .code = method->reply_code};
    cny_copy_sentence(assembly.text, method->reply_text);
    return start(wire, assembly, method->exchange, method->routing_key);
}

/* Hands the message over once its last byte is here. */
static void finish_assembly(cny_wire *wire, struct cny_assembly *assembly, cny_incoming *incoming, bool *complete)
{
    if (assembly->received < assembly->announced)
        return;
    incoming->method = assembly->method;
    incoming->code = assembly->code;
    incoming->tag = assembly->tag;
    incoming->message_count = assembly->message_count;
    memcpy(incoming->text, assembly->text, sizeof incoming->text);
    incoming->lacks_body = assembly->lacks_body;
    incoming->message = assembly->message;
    *complete = true;
    drop_assembly(wire, assembly);
}

static bool set_text(coney_message *message, const char **to, amqp_bytes_t from)
{
    *to = cny_arena_copy(&message->arena, from.bytes, from.len);
    return *to;
}

static bool set_texts(coney_message *message, const amqp_basic_properties_t *from, const char **user_id)
{
    coney_properties *to = &message->properties;
    const struct {
        amqp_flags_t flag;
        const char **to;
        amqp_bytes_t from;
    } texts[] = {
        {AMQP_BASIC_CONTENT_TYPE_FLAG, &to->content_type, from->content_type},
        {AMQP_BASIC_CONTENT_ENCODING_FLAG, &to->content_encoding, from->content_encoding},
        {AMQP_BASIC_CORRELATION_ID_FLAG, &to->correlation_id, from->correlation_id},
        {AMQP_BASIC_REPLY_TO_FLAG, &to->reply_to, from->reply_to},
        {AMQP_BASIC_EXPIRATION_FLAG, &to->expiration, from->expiration},
        {AMQP_BASIC_MESSAGE_ID_FLAG, &to->message_id, from->message_id},
        {AMQP_BASIC_TYPE_FLAG, &to->type, from->type},
        {AMQP_BASIC_USER_ID_FLAG, user_id, from->user_id},
        {AMQP_BASIC_APP_ID_FLAG, &to->app_id, from->app_id},
        {AMQP_BASIC_CLUSTER_ID_FLAG, &to->cluster_id, from->cluster_id},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if ((from->_flags & texts[i].flag) && !set_text(message, texts[i].to, texts[i].from))
            return false;
    }
    return true;
}

/* User id and delivery mode of what others sent are theirs, and are not sent on. What the broker returns is our own,
 * and comes with what we sent. */
static bool set_properties(coney_message *message, const amqp_basic_properties_t *from, bool is_own)
{
    coney_properties *to = &message->properties;
    coney_delivery_mode *mode = is_own ? &to->delivery_mode : &message->received_delivery_mode;
    if (from->_flags & AMQP_BASIC_DELIVERY_MODE_FLAG)
        *mode = from->delivery_mode == CONEY_PERSISTENT ? CONEY_PERSISTENT : CONEY_TRANSIENT;
    to->has_priority = from->_flags & AMQP_BASIC_PRIORITY_FLAG;
    to->priority = to->has_priority ? from->priority : 0;
    if (from->_flags & AMQP_BASIC_TIMESTAMP_FLAG)
        to->timestamp = (int64_t)from->timestamp;
    if (!set_texts(message, from, is_own ? &to->user_id : &message->received_user_id))
        return false;
    return !(from->_flags & AMQP_BASIC_HEADERS_FLAG) ||
           cny_table_from_amqp(&message->arena, &to->headers, &from->headers);
}

/* What can be read of a content header. */
typedef struct reading {
    const amqp_basic_properties_t *properties; /* NULL: they cannot be decoded */
    size_t size;                               /* of these, encoded */
    cny_pruned pruned;
} reading;

/* One allocation holds the usual message; rich headers add chunks to its arena. */
static coney_message *make_message(const struct cny_assembly *assembly, size_t body_size, const reading *read)
{
    size_t exchange = strlen(assembly->exchange), routing_key = strlen(assembly->routing_key);
    coney_message *message = cny_message_alloc(body_size + exchange + routing_key + read->size + 96);
    if (!message)
        return NULL;
    message->delivery_tag = assembly->tag;
    message->redelivered = assembly->redelivered;
    message->exchange = cny_arena_copy(&message->arena, assembly->exchange, exchange);
    message->routing_key = cny_arena_copy(&message->arena, assembly->routing_key, routing_key);
    message->body = cny_arena_alloc(&message->arena, body_size + 1);
    message->size = body_size;
    message->defect = read->pruned.defect;
    message->has_lost_death = read->pruned.has_forged_death;
    if (assembly->method == CNY_BASIC_GET_OK)
        message->left_in_queue = assembly->message_count;
    bool copied = message->exchange && message->routing_key && message->body;
    bool is_own = assembly->method == CNY_BASIC_RETURN;
    if (copied && (!read->properties || set_properties(message, read->properties, is_own))) {
        message->body[body_size] = '\0';
        return message;
    }
    coney_message_unref(message);
    return NULL;
}

/* ---- the three kinds of frames ---- */

#define FIXED_HEADER_BYTES 12 /* of a content header: class, weight and body size; the properties follow */

/* A message too large is handed on without its body: ending the connection would bring it back for ever. Returns have
 * no limit here, for they were not too large for us to send, and only the whole body tells which message came back; the
 * owner, who knows what was sent, admits no others. */
static bool is_too_large(const cny_wire *wire, const struct cny_assembly *assembly)
{
    return assembly->announced > wire->max_message_bytes && assembly->method != CNY_BASIC_RETURN;
}

static bool note(coney_message *message, const char *format, uint64_t bytes, size_t limit)
{
    char text[128];
    int size = snprintf(text, sizeof text, format, (unsigned long long)bytes, limit);
    message->defect = cny_arena_copy(&message->arena, text, (size_t)size);
    return message->defect;
}

static bool note_defects(const cny_wire *wire, const struct cny_assembly *assembly, const cny_frame *header)
{
    if (is_too_large(wire, assembly))
        return note(assembly->message, "its body has %llu bytes; max_message_bytes is %zu", assembly->announced,
                    wire->max_message_bytes);
    return header->rest == 0 || note(assembly->message, "its content header has %llu bytes; Coney reads %zu at most",
                                     header->size + header->rest, CNY_LARGEST_HEADER_FRAME);
}

static cny_admission ask_owner(const cny_wire *wire, const struct cny_assembly *assembly, const cny_frame *header)
{
    size_t read = wire->input_end - wire->input_start;
    const cny_announcement announcement = {
        .method = assembly->method,
        .channel = assembly->channel,
        .tag = assembly->tag,
        .body_bytes = assembly->announced,
        .header_bytes = header->size + header->rest - FIXED_HEADER_BYTES,
        .redelivered = assembly->redelivered,
        .is_here = assembly->announced == 0 || (header->rest == 0 && assembly->announced + CNY_FRAME_OVERHEAD <= read),
    };
    return wire->owner.admits ? wire->owner.admits(wire->owner.self, &announcement) : CNY_ADMITTED;
}

/* Whatever a publisher sends must not end the connection, or the message would come again for ever. Nor must a header
 * that is too large. */
static coney_status read_properties(cny_wire *wire, const cny_frame *header, reading *read)
{
    amqp_bytes_t encoded = {.len = header->size - FIXED_HEADER_BYTES, .bytes = header->payload + FIXED_HEADER_BYTES};
    cny_pruned pruned;
    void *decoded;
    *read = (reading){.pruned.defect = "its properties cannot be decoded"};
    if (header->rest > 0 || !cny_prune_headers(encoded.bytes, &encoded.len, &pruned))
        return CONEY_OK;
    int failure = amqp_decode_properties(AMQP_BASIC_CLASS, &wire->pool, encoded, &decoded);
    if (failure == AMQP_STATUS_NO_MEMORY)
        return cny_fail_memory();
    if (failure >= 0)
        *read = (reading){.properties = decoded, .size = encoded.len, .pruned = pruned};
    return CONEY_OK;
}

static coney_status keep_header(cny_wire *wire, struct cny_assembly *assembly, const cny_frame *header)
{
    reading read;
    coney_status status = read_properties(wire, header, &read);
    if (status != CONEY_OK)
        return status;
    assembly->is_skipped = assembly->lacks_body || is_too_large(wire, assembly);
    if (!assembly->is_skipped && assembly->announced > SIZE_MAX / 4)
        return cny_fail(CONEY_E_PROTOCOL, "the broker announced a message of %llu bytes",
                        (unsigned long long)assembly->announced);
    assembly->message = make_message(assembly, assembly->is_skipped ? 0 : (size_t)assembly->announced, &read);
    return assembly->message && note_defects(wire, assembly, header) ? CONEY_OK : cny_fail_memory();
}

static coney_status on_header(cny_wire *wire, const cny_frame *frame, cny_incoming *incoming, bool *complete)
{
    if (frame->is_continued) /* one that is skipped */
        return CONEY_OK;
    if (frame->size < CNY_CONTENT_HEADER_BYTES || cny_get_u16(frame->payload) != AMQP_BASIC_CLASS)
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent a content header that is none");
    struct cny_assembly *assembly = find_assembly(wire, frame->channel);
    if (!assembly || assembly->has_header)
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent a content header on channel %u that belongs to no message",
                        frame->channel);
    assembly->has_header = true;
    assembly->announced = (uint64_t)cny_get_u32(frame->payload + 4) << 32 | cny_get_u32(frame->payload + 8);
    cny_admission admission = ask_owner(wire, assembly, frame);
    assembly->is_skipped = admission == CNY_REFUSED;
    assembly->lacks_body = admission == CNY_ADMITTED_WITHOUT_BODY;
    coney_status status = assembly->is_skipped ? CONEY_OK : keep_header(wire, assembly, frame);
    if (status == CONEY_OK)
        finish_assembly(wire, assembly, incoming, complete);
    return status;
}

/* The frame's whole size is looked at with its first piece. */
static coney_status on_body(cny_wire *wire, const cny_frame *frame, cny_incoming *incoming, bool *complete)
{
    struct cny_assembly *assembly = find_assembly(wire, frame->channel);
    if (!assembly || !assembly->has_header)
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent a body on channel %u that belongs to no message",
                        frame->channel);
    if (frame->size + frame->rest > assembly->announced - assembly->received)
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent more than the %llu bytes announced for a message",
                        (unsigned long long)assembly->announced);
    if (frame->size > 0 && !assembly->is_skipped)
        memcpy(assembly->message->body + assembly->received, frame->payload, frame->size);
    assembly->received += frame->size;
    finish_assembly(wire, assembly, incoming, complete);
    return CONEY_OK;
}

static coney_status fill_close(cny_incoming *incoming, uint16_t code, amqp_bytes_t text, uint16_t class_id,
                               uint16_t method_id)
{
    incoming->code = code;
    incoming->cause = (uint32_t)class_id << 16 | method_id;
    cny_copy_sentence(incoming->text, text);
    return CONEY_OK;
}

static coney_status fill_tag(cny_incoming *incoming, uint64_t tag, amqp_boolean_t multiple)
{
    incoming->tag = tag;
    incoming->multiple = multiple != 0;
    return CONEY_OK;
}

static coney_status fill_queue(cny_incoming *incoming, const amqp_queue_declare_ok_t *method)
{
    incoming->message_count = method->message_count;
    incoming->consumer_count = method->consumer_count;
    copy_text(incoming->text, method->queue);
    return CONEY_OK;
}

static coney_status unknown_method(uint32_t id)
{
    return cny_fail(CONEY_E_PROTOCOL, "the broker sent method %u.%u, which Coney does not know", id >> 16,
                    id & 0xffffU);
}

/* Everything a method may carry. (void pointers: that is how rabbitmq-c hands methods over.) */
static coney_status fill_method(cny_incoming *incoming, const void *decoded)
{
    switch (incoming->method) {
    case CNY_CONNECTION_CLOSE: {
        const amqp_connection_close_t *close = decoded;
        return fill_close(incoming, close->reply_code, close->reply_text, close->class_id, close->method_id);
    }
    case CNY_CHANNEL_CLOSE: {
        const amqp_channel_close_t *close = decoded;
        return fill_close(incoming, close->reply_code, close->reply_text, close->class_id, close->method_id);
    }
    case CNY_BASIC_ACK: {
        const amqp_basic_ack_t *ack = decoded;
        return fill_tag(incoming, ack->delivery_tag, ack->multiple);
    }
    case CNY_BASIC_NACK: {
        const amqp_basic_nack_t *nack = decoded;
        return fill_tag(incoming, nack->delivery_tag, nack->multiple);
    }
    case CNY_QUEUE_DECLARE_OK: return fill_queue(incoming, decoded);
    case CNY_QUEUE_PURGE_OK: {
        incoming->message_count = ((const amqp_queue_purge_ok_t *)decoded)->message_count;
        return CONEY_OK;
    }
    case CNY_QUEUE_DELETE_OK: {
        incoming->message_count = ((const amqp_queue_delete_ok_t *)decoded)->message_count;
        return CONEY_OK;
    }
    case CNY_BASIC_CONSUME_OK:
        copy_text(incoming->text, ((const amqp_basic_consume_ok_t *)decoded)->consumer_tag);
        break;
    case CNY_BASIC_CANCEL: copy_text(incoming->text, ((const amqp_basic_cancel_t *)decoded)->consumer_tag); break;
    case CNY_CONNECTION_BLOCKED:
        cny_copy_sentence(incoming->text, ((const amqp_connection_blocked_t *)decoded)->reason);
        break;
    case CNY_CONNECTION_CLOSE_OK:
    case CNY_CONNECTION_UNBLOCKED:
    case CNY_CONNECTION_UPDATE_SECRET_OK:
    case CNY_CHANNEL_OPEN_OK:
    case CNY_CHANNEL_CLOSE_OK:
    case CNY_EXCHANGE_DECLARE_OK:
    case CNY_EXCHANGE_DELETE_OK:
    case CNY_EXCHANGE_BIND_OK:
    case CNY_EXCHANGE_UNBIND_OK:
    case CNY_QUEUE_BIND_OK:
    case CNY_QUEUE_UNBIND_OK:
    case CNY_BASIC_QOS_OK:
    case CNY_BASIC_CANCEL_OK:
    case CNY_BASIC_GET_EMPTY:
    case CNY_CONFIRM_SELECT_OK:
    case CNY_TX_SELECT_OK:
    case CNY_TX_COMMIT_OK:
    case CNY_TX_ROLLBACK_OK: break;
    default: return unknown_method(incoming->method);
    }
    return CONEY_OK;
}

static coney_status on_method(cny_wire *wire, uint16_t channel, uint32_t id, const void *decoded,
                              cny_incoming *incoming, bool *complete)
{
    struct cny_assembly *assembly = find_assembly(wire, channel);
    if (assembly && id != CNY_CHANNEL_CLOSE)
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent method %u.%u on channel %u in the middle of a message",
                        id >> 16, id & 0xffffU, channel);
    if (assembly) {
        coney_message_unref(assembly->message);
        drop_assembly(wire, assembly);
    }
    if (id == CNY_BASIC_DELIVER)
        return start_delivery(wire, channel, decoded);
    if (id == CNY_BASIC_GET_OK)
        return start_get_ok(wire, channel, decoded);
    if (id == CNY_BASIC_RETURN)
        return start_return(wire, channel, decoded);
    incoming->method = id;
    *complete = true;
    return fill_method(incoming, decoded);
}

/* ---- frames out of bytes ---- */

coney_status cny_wire_decode_method(cny_wire *wire, const cny_frame *frame, uint32_t *id, void **decoded)
{
    if (frame->size < 4)
        return cny_fail(CONEY_E_PROTOCOL, "the broker sent a method frame of %zu bytes", frame->size);
    *id = cny_get_u32(frame->payload);
    *decoded = NULL;
    if (*id == CNY_CONNECTION_UPDATE_SECRET_OK) /* no arguments; rabbitmq-c knows it from 0.12 on only */
        return CONEY_OK;
    amqp_bytes_t arguments = {.len = frame->size - 4, .bytes = frame->payload + 4};
    int failure = amqp_decode_method(*id, &wire->pool, arguments, decoded);
    if (failure == AMQP_STATUS_UNKNOWN_METHOD)
        return unknown_method(*id);
    if (failure == AMQP_STATUS_NO_MEMORY)
        return cny_fail_memory();
    return failure < 0 ? cny_fail(CONEY_E_PROTOCOL, "the broker sent a method that cannot be decoded: %s",
                                  amqp_error_string2(failure))
                       : CONEY_OK;
}

static coney_status on_raw_method(cny_wire *wire, const cny_frame *frame, cny_incoming *incoming, bool *complete)
{
    uint32_t id = 0;
    void *decoded = NULL;
    coney_status status = cny_wire_decode_method(wire, frame, &id, &decoded);
    return status == CONEY_OK ? on_method(wire, frame->channel, id, decoded, incoming, complete) : status;
}

#define KEEP_POOL_PAGES 16 /* which usual headers do not fill */

/* Recycling keeps all pages that the greediest frame ever needed. */
static void recycle_pool(amqp_pool_t *pool)
{
    if (pool->pages.num_blocks > KEEP_POOL_PAGES)
        empty_amqp_pool(pool);
    else
        recycle_amqp_pool(pool);
}

static coney_status on_frame(cny_wire *wire, const cny_frame *frame, cny_incoming *incoming, bool *complete)
{
    coney_status status = CONEY_OK;
    incoming->channel = frame->channel;
    switch (frame->type) {
    case AMQP_FRAME_METHOD: status = on_raw_method(wire, frame, incoming, complete); break;
    case AMQP_FRAME_HEADER: status = on_header(wire, frame, incoming, complete); break;
    case AMQP_FRAME_BODY: return on_body(wire, frame, incoming, complete);
    default: *complete = true; return CONEY_OK; /* a heartbeat: method 0 */
    }
    recycle_pool(&wire->pool);
    return status;
}

coney_status cny_wire_next(cny_wire *wire, cny_incoming *incoming, bool *complete)
{
    *complete = false;
    memset(incoming, 0, offsetof(cny_incoming, text));
    incoming->text[0] = '\0';
    incoming->message = NULL;
    bool have = true;
    while (have && !*complete) {
        have = false;
        cny_frame frame;
        coney_status status = cny_wire_cut_frame(wire, &frame, &have);
        if (status == CONEY_OK && have)
            status = on_frame(wire, &frame, incoming, complete);
        if (status != CONEY_OK)
            return status;
    }
    return *complete ? CONEY_OK : cny_wire_fit_input(wire);
}

void cny_assemblies_free(cny_wire *wire)
{
    struct cny_assembly *all = (struct cny_assembly *)(void *)wire->assemblies.data;
    for (size_t i = 0; i < wire->assemblies.size / sizeof *all; i++)
        coney_message_unref(all[i].message);
    cny_buffer_free(&wire->assemblies);
}
