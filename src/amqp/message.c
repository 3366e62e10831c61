/* SPDX-License-Identifier: MIT */
/* Messages: constant once made, reference-counted, and in one allocation with everything they have, but for a body
 * that is shared with another message. Any thread. */
#include "amqp/amqp.h"

#include <string.h>

coney_message *cny_message_alloc(size_t room)
{
    coney_message *message = cny_realloc(NULL, sizeof *message + room);
    if (!message)
        return NULL;
    memset(message, 0, sizeof *message);
    atomic_init(&message->refs, 1);
    message->exchange = "";
    message->routing_key = "";
    message->left_in_queue = -1;
    cny_arena_init(&message->arena, message + 1, room);
    return message;
}

size_t cny_message_weight(const coney_message *message)
{
    size_t weight = 0;
    for (; message; message = message->shares)
        weight += sizeof *message + message->arena.held;
    return weight;
}

/* The properties that are texts, and their names in errors. */
static const struct {
    const char *name;
    size_t offset;
} texts[] = {
    {"content type", offsetof(coney_properties, content_type)},
    {"content encoding", offsetof(coney_properties, content_encoding)},
    {"correlation id", offsetof(coney_properties, correlation_id)},
    {"reply-to", offsetof(coney_properties, reply_to)},
    {"expiration", offsetof(coney_properties, expiration)},
    {"message id", offsetof(coney_properties, message_id)},
    {"type", offsetof(coney_properties, type)},
    {"user id", offsetof(coney_properties, user_id)},
    {"app id", offsetof(coney_properties, app_id)},
    {"cluster id", offsetof(coney_properties, cluster_id)},
};

#define TEXT_COUNT (sizeof texts / sizeof *texts)

static const char *text_at(const coney_properties *properties, size_t index)
{
    const char *text;
    memcpy(&text, (const char *)properties + texts[index].offset, sizeof text);
    return text;
}

static coney_status check_properties(const coney_properties *properties)
{
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        coney_status status = cny_check_short(texts[i].name, text_at(properties, i));
        if (status != CONEY_OK)
            return status;
    }
    const char *expiration = properties->expiration;
    if (expiration && (!*expiration || expiration[strspn(expiration, "0123456789")]))
        return cny_fail(CONEY_E_INVALID, "expiration '%s' is no number of milliseconds", expiration);
    if (properties->delivery_mode < CONEY_DELIVERY_DEFAULT || properties->delivery_mode > CONEY_PERSISTENT)
        return cny_fail(CONEY_E_INVALID, "delivery mode %d is neither transient (1) nor persistent (2)",
                        (int)properties->delivery_mode);
    return CONEY_OK;
}

static void log_forged_death(void)
{
    CNY_DISABLE_CANCEL();
    cny_log(CONEY_LOG_WARN, "a message was made with a header " CONEY_HEADER_DEATH " that is no array of tables; only "
                            "the broker writes this header, so the message goes without it");
}

static bool copy_headers(coney_message *message, const coney_table *headers)
{
    bool has_forged_death = false;
    message->properties.headers = headers ? cny_headers_copy(&message->arena, headers, &has_forged_death) : NULL;
    if (has_forged_death)
        log_forged_death();
    return !headers || message->properties.headers;
}

static bool copy_properties(coney_message *message, const coney_properties *properties)
{
    message->properties = *properties;
    message->properties.has_priority |= properties->priority > 0;
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        const char *copy;
        if (!cny_arena_strdup(&message->arena, &copy, text_at(properties, i)))
            return false;
        memcpy((char *)&message->properties + texts[i].offset, &copy, sizeof copy);
    }
    return copy_headers(message, properties->headers);
}

/* Bytes for the texts. For headers the arena adds chunks. */
static size_t room_for_texts(const coney_properties *properties)
{
    size_t room = 16;
    for (size_t i = 0; i < TEXT_COUNT; i++) {
        const char *text = text_at(properties, i);
        room += text ? strlen(text) + 8 : 0;
    }
    return room;
}

coney_status coney_message_new(coney_message **message, const void *body, size_t size,
                               const coney_properties *properties)
{
    static const coney_properties none;
    if (!properties)
        properties = &none;
    if (message)
        *message = NULL;
    if (!message || (!body && size > 0))
        return cny_fail(CONEY_E_INVALID, "message or body is NULL");
    coney_status status = check_properties(properties);
    if (status != CONEY_OK)
        return status;

    coney_message *made = cny_message_alloc(size + room_for_texts(properties));
    if (!made || !copy_properties(made, properties) ||
        !(made->body = (uint8_t *)cny_arena_copy(&made->arena, body, size))) {
        coney_message_unref(made);
        return cny_fail_memory();
    }
    made->size = size;
    *message = made;
    return CONEY_OK;
}

static void share_body(coney_message *made, coney_message *message)
{
    made->shares = coney_message_ref(message);
    made->body = message->body;
    made->size = message->size;
}

static bool copy_origin(coney_message *made, const coney_message *message)
{
    made->redelivered = message->redelivered;
    made->received_delivery_mode = message->received_delivery_mode;
    made->delivery_tag = message->delivery_tag;
    made->left_in_queue = message->left_in_queue;
    made->arrived_ms = message->arrived_ms;
    return cny_arena_strdup(&made->arena, &made->exchange, message->exchange) &&
           cny_arena_strdup(&made->arena, &made->routing_key, message->routing_key) &&
           cny_arena_strdup(&made->arena, &made->received_user_id, message->received_user_id) &&
           cny_arena_strdup(&made->arena, &made->defect, message->defect);
}

static coney_status make_with(coney_message **copy, coney_message *message, const coney_properties *properties,
                              const void *body, size_t size)
{
    coney_message *made = cny_message_alloc(size + room_for_texts(properties));
    if (!made || !copy_properties(made, properties) || !copy_origin(made, message) ||
        (body && !(made->body = (uint8_t *)cny_arena_copy(&made->arena, body, size)))) {
        coney_message_unref(made);
        return cny_fail_memory();
    }
    made->size = size;
    if (!body)
        share_body(made, message);
    *copy = made;
    return CONEY_OK;
}

coney_status cny_message_with(coney_message **copy, coney_message *message, const coney_properties *properties)
{
    return make_with(copy, message, properties, NULL, 0);
}

coney_status coney_message_with(coney_message **copy, coney_message *message, const coney_properties *properties,
                                const void *body, size_t size)
{
    if (!copy || !message || (!body && size > 0))
        return cny_fail(CONEY_E_INVALID, "copy, message or body is NULL");
    coney_status status = properties ? check_properties(properties) : CONEY_OK;
    return status == CONEY_OK ? make_with(copy, message, properties ? properties : &message->properties, body, size)
                              : status;
}

coney_status coney_message_with_header(coney_message **copy, coney_message *message, const char *name,
                                       const coney_value *value)
{
    if (!copy || !message || !name)
        return cny_fail(CONEY_E_INVALID, "copy, message or name is NULL");
    cny_arena arena = {0};
    coney_properties properties = message->properties;
    coney_table *headers = cny_table_copy_without(&arena, properties.headers, name);
    coney_status status = headers ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK && value)
        status = coney_table_set(headers, name, value);
    properties.headers = headers;
    if (status == CONEY_OK)
        status = cny_message_with(copy, message, &properties);
    cny_arena_free(&arena);
    return status;
}

coney_message *coney_message_ref(coney_message *message)
{
    if (message)
        atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
    return message;
}

void coney_message_unref(coney_message *message)
{
    while (message && atomic_fetch_sub_explicit(&message->refs, 1, memory_order_acq_rel) == 1) {
        coney_message *shared = message->shares;
        cny_arena_free(&message->arena);
        cny_free(message);
        message = shared;
    }
}

const void *coney_message_body(const coney_message *message)
{
    return message ? message->body : NULL;
}

size_t coney_message_size(const coney_message *message)
{
    return message ? message->size : 0;
}

const coney_properties *coney_message_properties(const coney_message *message)
{
    return message ? &message->properties : NULL;
}

const coney_value *coney_message_header(const coney_message *message, const char *name)
{
    return message ? coney_table_get(message->properties.headers, name) : NULL;
}

const char *coney_message_exchange(const coney_message *message)
{
    return message ? message->exchange : NULL;
}

const char *coney_message_routing_key(const coney_message *message)
{
    return message ? message->routing_key : NULL;
}

const char *coney_message_received_user_id(const coney_message *message)
{
    return message ? message->received_user_id : NULL;
}

coney_delivery_mode coney_message_received_delivery_mode(const coney_message *message)
{
    return message ? message->received_delivery_mode : CONEY_DELIVERY_DEFAULT;
}

bool coney_message_redelivered(const coney_message *message)
{
    return message && message->redelivered;
}

uint64_t coney_message_delivery_tag(const coney_message *message)
{
    return message ? message->delivery_tag : 0;
}

int64_t coney_message_count(const coney_message *message)
{
    return message ? message->left_in_queue : -1;
}

/* The plugin makes the number negative when the delay is over. */
int64_t coney_message_received_delay_ms(const coney_message *message)
{
    int64_t delay = message && message->delivery_tag
                        ? coney_table_get_int64(message->properties.headers, CONEY_HEADER_DELAY, 0)
                        : 0;
    return delay >= 0 ? delay : delay > INT64_MIN ? -delay : INT64_MAX;
}

const char *cny_message_id(const coney_message *message)
{
    const char *id = message ? message->properties.message_id : NULL;
    return id && *id ? id : NULL;
}

const char *cny_id_of(const coney_message *message)
{
    const char *id = cny_message_id(message);
    return id ? id : "(without id)";
}
