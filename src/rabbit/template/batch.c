/* SPDX-License-Identifier: MIT */
/* A batch: gathers messages with their callbacks, is sent as one message, and tells its outcome. On the thread that
 * uses the batch. No lock is held while a batch is sent and while its callbacks run. */
#include "rabbit/template/batch.h"

typedef struct receiver {
    coney_send_callback *callback;
    void *user;
} receiver;

static coney_message **messages_of(const cny_batch *batch)
{
    return (coney_message **)(void *)batch->messages.data;
}

void cny_batch_free(cny_batch *batch)
{
    if (!batch)
        return;
    for (size_t i = 0; i < cny_batch_count(batch); i++)
        coney_message_unref(messages_of(batch)[i]);
    cny_buffer_free(&batch->messages);
    cny_buffer_free(&batch->receivers);
    cny_free(batch->exchange);
    cny_free(batch->routing_key);
    cny_free(batch);
}

cny_batch *cny_batch_new(const cny_addition *first)
{
    cny_batch *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    made->mandatory = first->mandatory;
    made->delay_ms = first->delay_ms;
    made->exchange = cny_strdup(first->exchange);
    made->routing_key = cny_strdup(first->routing_key);
    if (made->exchange && made->routing_key && cny_batch_add(made, first))
        return made;
    cny_batch_free(made);
    return NULL;
}

/* ---- gathering ---- */

bool cny_batch_add(cny_batch *batch, const cny_addition *more)
{
    const receiver own = {.callback = more->callback, .user = more->user};
    if (!cny_buffer_reserve(&batch->messages, sizeof more->message) ||
        !cny_buffer_reserve(&batch->receivers, sizeof own))
        return false;
    batch->bytes = cny_batch_bytes_with(batch, more);
    coney_message_ref(more->message);
    cny_buffer_append(&batch->messages, &more->message, sizeof more->message);
    cny_buffer_append(&batch->receivers, &own, sizeof own);
    return true;
}

void cny_batch_remove_last(cny_batch *batch)
{
    coney_message *last = messages_of(batch)[cny_batch_count(batch) - 1];
    batch->bytes -= CNY_BATCH_LENGTH_BYTES + coney_message_size(last);
    coney_message_unref(last);
    batch->messages.size -= sizeof last;
    batch->receivers.size -= sizeof(receiver);
}

/* ---- the end ---- */

coney_status cny_batch_send(cny_batch *batch, coney_template *sender, coney_send_callback *on_complete,
                            int64_t deadline)
{
    int64_t left_ms = deadline - cny_now_ms();
    const coney_send_options options = {
        .exchange = batch->exchange,
        .timeout_ms = left_ms > 0 ? (int)left_ms : 1,
        .drop_unroutable = !batch->mandatory,
        .return_unroutable = batch->mandatory,
        .delay_ms = batch->delay_ms,
    };
    coney_message *whole;
    coney_status status = coney_message_batch(&whole, messages_of(batch), cny_batch_count(batch));
    if (status != CONEY_OK)
        return status;
    status = coney_template_send_async(sender, batch->routing_key, whole, &options, on_complete, batch);
    coney_message_unref(whole);
    return status;
}

void cny_batch_tell(const cny_batch *batch, const coney_error *error)
{
    const receiver *receivers = (const receiver *)(const void *)batch->receivers.data;
    size_t unheard = 0;
    for (size_t i = 0; i < cny_batch_count(batch); i++) {
        if (receivers[i].callback)
            receivers[i].callback(messages_of(batch)[i], error, receivers[i].user);
        else
            unheard++;
    }
    if (error && unheard > 0)
        cny_log(CONEY_LOG_WARN, "%zu messages of a batch are not confirmed, and have no callback: %s", unheard,
                error->text);
}
