/* SPDX-License-Identifier: MIT */
/* A batch: messages for one address that go out as one message, each with a callback of its own. One thread at a time
 * uses a batch. Knows nothing of threads and of the batching template. Private to the folder. */
#ifndef CNY_TEMPLATE_BATCH_H
#define CNY_TEMPLATE_BATCH_H

#include "base/base.h"

#include <coney/rabbit/batching_template.h>

#include <string.h>

enum { CNY_BATCH_LENGTH_BYTES = 4 }; /* what the format adds to each body */

typedef struct cny_batch {
    coney_batching_template *owner; /* a reference, from the release on */
    char *exchange;
    char *routing_key;
    bool mandatory;
    int64_t delay_ms;
    bool failed;          /* could not be sent, and its callbacks have not all returned */
    cny_buffer messages;  /* of coney_message *, references */
    cny_buffer receivers; /* a callback for each message */
    size_t bytes;         /* of the body that the batch will have */
} cny_batch;

/* What a send adds to a batch. Everything is borrowed. */
typedef struct cny_addition {
    const char *exchange;
    const char *routing_key;
    bool mandatory;
    int64_t delay_ms;
    coney_message *message;
    coney_send_callback *callback; /* may be NULL */
    void *user;
} cny_addition;

/* A batch for the same address, with this message. NULL without memory. */
cny_batch *cny_batch_new(const cny_addition *first);
void cny_batch_free(cny_batch *batch); /* takes NULL */

bool cny_batch_add(cny_batch *batch, const cny_addition *more); /* false without memory: nothing is changed */
void cny_batch_remove_last(cny_batch *batch);

/* Sends the batch as one message; its outcome comes to on_complete, with the batch as user. */
coney_status cny_batch_send(cny_batch *batch, coney_template *sender, coney_send_callback *on_complete,
                            int64_t deadline);

/* Calls each message's callback with the outcome of the batch. Logs a failure if a message has no callback for it. */
void cny_batch_tell(const cny_batch *batch, const coney_error *error);

/* NULL has none. */
static inline size_t cny_batch_count(const cny_batch *batch)
{
    return batch ? batch->messages.size / sizeof(coney_message *) : 0;
}

static inline bool cny_batch_has_address(const cny_batch *batch, const cny_addition *more)
{
    return batch->mandatory == more->mandatory && batch->delay_ms == more->delay_ms &&
           strcmp(batch->exchange, more->exchange) == 0 && strcmp(batch->routing_key, more->routing_key) == 0;
}

/* The bytes of the batch, which may be NULL, with this message added. */
static inline size_t cny_batch_bytes_with(const cny_batch *batch, const cny_addition *more)
{
    return (batch ? batch->bytes : 0) + CNY_BATCH_LENGTH_BYTES + coney_message_size(more->message);
}

#endif
