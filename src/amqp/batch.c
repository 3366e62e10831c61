/* SPDX-License-Identifier: MIT */
/* Spring's batch format: makes one message of many bodies, and fragments of such a message. Any thread.
 *
 * A batch from outside is checked as a whole before the first fragment is made, and its fragments share its properties,
 * so that a small batch cannot take much memory. */
#include "amqp/amqp.h"

#include <coney/amqp/batch.h>

#include <assert.h>
#include <string.h>

#define LENGTH_BYTES 4
#define MAX_HEADER_BYTES (256U << 20) /* of all fragments together, because each may be sent on with its headers */

/* A table in the arena that borrows all entries but the one of this name, with room for `more` entries. */
static coney_table *headers_without(cny_arena *arena, const coney_table *headers, const char *name, size_t more)
{
    size_t count = coney_table_size(headers);
    coney_table *rest = cny_table_in(arena, count + more);
    for (size_t i = 0; rest && i < count; i++) {
        const char *each = coney_table_name_at(headers, i);
        if (strcmp(each, name) != 0)
            cny_table_put(rest, each, *coney_table_value_at(headers, i)); /* there is room */
    }
    return rest;
}

bool coney_message_is_batch(const coney_message *message)
{
    const char *format =
        message ? coney_table_get_string(message->properties.headers, CONEY_HEADER_BATCH_FORMAT) : NULL;
    return format && strcmp(format, CONEY_BATCH_FORMAT_LENGTH_HEADER4) == 0;
}

/* ---- many into one ---- */

static coney_status check_messages(coney_message *const *messages, size_t count)
{
    if (count == 0 || count > CONEY_MAX_BATCH_SIZE)
        return cny_fail(CONEY_E_INVALID, "batch: %zu messages; a batch has 1 to %d", count, CONEY_MAX_BATCH_SIZE);
    for (size_t i = 0; i < count; i++) {
        if (!messages[i])
            return cny_fail(CONEY_E_INVALID, "batch: message %zu is NULL", i);
        if (messages[i]->size > INT32_MAX)
            return cny_fail(CONEY_E_INVALID, "batch: message %zu has %zu bytes; the format allows %d", i,
                            messages[i]->size, INT32_MAX);
        if (count > 1 && coney_message_is_batch(messages[i]))
            return cny_fail(
                CONEY_E_INVALID,
                "batch: message %zu is a batch itself (header " CONEY_HEADER_BATCH_FORMAT "); batches do not nest", i);
    }
    return CONEY_OK;
}

/* A message with the first message's properties, the two headers of the format, and an empty body. */
static coney_status start_batch(coney_message **batch, const coney_message *first, size_t count)
{
    cny_arena arena = {0};
    coney_properties properties = first->properties;
    coney_table *headers = headers_without(&arena, properties.headers, CONEY_HEADER_BATCH_SIZE, 2);
    coney_value size = {.type = CONEY_INT32, .as.integer = (int64_t)count}; /* Java's Integer */
    properties.headers = headers;
    coney_status status = CONEY_E_NO_MEMORY;
    if (headers &&
        cny_table_put(headers, CONEY_HEADER_BATCH_FORMAT, coney_value_string(CONEY_BATCH_FORMAT_LENGTH_HEADER4)) &&
        cny_table_put(headers, CONEY_HEADER_BATCH_SIZE, size))
        status = coney_message_new(batch, NULL, 0, &properties);
    else
        cny_fail_memory();
    cny_arena_free(&arena);
    return status;
}

static bool put_bodies(coney_message *batch, coney_message *const *messages, size_t count)
{
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        if (messages[i]->size > SIZE_MAX / 2 - LENGTH_BYTES - size)
            return false;
        size += LENGTH_BYTES + messages[i]->size;
    }
    uint8_t *at = cny_arena_alloc(&batch->arena, size + 1);
    if (!at)
        return false;
    batch->body = at;
    batch->size = size;
    for (size_t i = 0; i < count; i++) {
        size_t length = messages[i]->size;
        const uint8_t header[LENGTH_BYTES] = {(uint8_t)(length >> 24), (uint8_t)(length >> 16), (uint8_t)(length >> 8),
                                              (uint8_t)length};
        memcpy(at, header, sizeof header);
        memcpy(at + LENGTH_BYTES, messages[i]->body, length);
        at += LENGTH_BYTES + length;
    }
    *at = '\0';
    return true;
}

coney_status coney_message_batch(coney_message **batch, coney_message *const *messages, size_t count)
{
    if (!batch || !messages)
        return cny_fail(CONEY_E_INVALID, "batch: batch or messages is NULL");
    coney_status status = check_messages(messages, count);
    if (status != CONEY_OK)
        return status;
    if (count == 1) {
        *batch = coney_message_ref(messages[0]);
        return CONEY_OK;
    }
    coney_message *made;
    status = start_batch(&made, messages[0], count);
    if (status != CONEY_OK)
        return cny_fail_in("batch");
    if (!put_bodies(made, messages, count)) {
        coney_message_unref(made);
        return cny_fail_memory();
    }
    *batch = made;
    return CONEY_OK;
}

/* ---- one into many ---- */

static size_t length_at(const uint8_t *at)
{
    return (size_t)at[0] << 24 | (size_t)at[1] << 16 | (size_t)at[2] << 8 | at[3];
}

static coney_status insufficient(const coney_message *batch, size_t index, size_t offset)
{
    size_t rest = batch->size - offset;
    if (rest < LENGTH_BYTES)
        return cny_fail(CONEY_E_CONVERSION,
                        "insufficient batch data at offset %zu: %zu bytes are left, the length of fragment %zu has %d",
                        offset, rest, index, LENGTH_BYTES);
    return cny_fail(CONEY_E_CONVERSION,
                    "insufficient batch data at offset %zu: fragment %zu has %lld bytes, %zu are left", offset, index,
                    (long long)(int32_t)length_at(batch->body + offset), rest - LENGTH_BYTES);
}

/* Java would read a length above INT32_MAX as negative. */
static coney_status count_fragments(const coney_message *batch, size_t *count)
{
    size_t offset = 0, found = 0;
    while (offset < batch->size) {
        size_t rest = batch->size - offset;
        size_t length = rest < LENGTH_BYTES ? 0 : length_at(batch->body + offset);
        if (rest < LENGTH_BYTES || length > INT32_MAX || length > rest - LENGTH_BYTES)
            return insufficient(batch, found, offset);
        if (++found > CONEY_MAX_BATCH_SIZE)
            return cny_fail(CONEY_E_CONVERSION, "the batch has more than %d messages", CONEY_MAX_BATCH_SIZE);
        offset += LENGTH_BYTES + length;
    }
    if (found == 0)
        return cny_fail(CONEY_E_CONVERSION, "insufficient batch data: the body is empty");
    *count = found;
    return CONEY_OK;
}

static coney_status check_expansion(const coney_message *batch, size_t count)
{
    size_t size = cny_table_wire_size(batch->properties.headers);
    assert(count > 0);
    if (size <= MAX_HEADER_BYTES / count)
        return CONEY_OK;
    return cny_fail(
        CONEY_E_CONVERSION,
        "the batch has %zu messages, each of which would have its %zu bytes of headers; %u bytes of headers "
        "in all are the limit",
        count, size, MAX_HEADER_BYTES);
}

/* A message that has what all fragments share, and a reference to the batch. */
static coney_message *make_common(coney_message *batch)
{
    coney_message *common = cny_message_alloc(512);
    if (!common)
        return NULL;
    common->properties = batch->properties;
    common->properties.headers =
        headers_without(&common->arena, batch->properties.headers, CONEY_HEADER_BATCH_FORMAT, 0);
    common->shares = coney_message_ref(batch);
    if (common->properties.headers)
        return common;
    coney_message_unref(common);
    return NULL;
}

/* The body is a copy, because a NUL follows each body. */
static coney_message *make_fragment(coney_message *common, const coney_message *batch, const uint8_t *body, size_t size)
{
    coney_message *fragment = cny_message_alloc(size + 16);
    if (!fragment)
        return NULL;
    fragment->shares = coney_message_ref(common);
    fragment->properties = common->properties;
    fragment->exchange = batch->exchange;
    fragment->routing_key = batch->routing_key;
    fragment->received_user_id = batch->received_user_id;
    fragment->received_delivery_mode = batch->received_delivery_mode;
    fragment->redelivered = batch->redelivered;
    fragment->delivery_tag = batch->delivery_tag;
    fragment->left_in_queue = batch->left_in_queue;
    fragment->size = size;
    fragment->body = (uint8_t *)cny_arena_copy(&fragment->arena, body, size);
    if (fragment->body)
        return fragment;
    coney_message_unref(fragment);
    return NULL;
}

static coney_status hand_out(coney_message *common, coney_message *batch, size_t count, coney_fragment_handler *handler,
                             void *user)
{
    coney_status status = CONEY_OK;
    const uint8_t *at = batch->body;
    for (size_t i = 0; i < count && status == CONEY_OK; i++) {
        size_t size = length_at(at);
        coney_message *fragment = make_fragment(common, batch, at + LENGTH_BYTES, size);
        if (!fragment)
            return cny_fail_memory();
        cny_forget_failure();
        status = handler(fragment, i, count, user);
        coney_message_unref(fragment);
        if (status != CONEY_OK && coney_last_error_details()->status != status)
            cny_fail(status, "debatch: the handler answered %s to fragment %zu of %zu", coney_status_name(status), i,
                     count);
        at += LENGTH_BYTES + size;
    }
    return status;
}

coney_status coney_message_debatch(coney_message *batch, coney_fragment_handler *handler, void *user)
{
    CNY_DISABLE_CANCEL();
    if (!batch || !handler)
        return cny_fail(CONEY_E_INVALID, "debatch: batch or handler is NULL");
    if (!coney_message_is_batch(batch))
        return cny_fail(CONEY_E_INVALID, "debatch: the message is no batch: no header " CONEY_HEADER_BATCH_FORMAT
                                         " says " CONEY_BATCH_FORMAT_LENGTH_HEADER4);
    size_t count = 0;
    coney_status status = count_fragments(batch, &count);
    if (status == CONEY_OK)
        status = check_expansion(batch, count);
    if (status != CONEY_OK)
        return status;
    coney_message *common = make_common(batch);
    if (!common)
        return cny_fail_memory();
    status = hand_out(common, batch, count, handler, user);
    coney_message_unref(common);
    return status;
}
