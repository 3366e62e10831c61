/* SPDX-License-Identifier: MIT */
/* The input is the body of a batch. Its fragments must be all of it, and a batch that is made of them must be the same
 * again. */
#include "support/fuzz.h"

#include <coney/amqp/batch.h>
#include <coney/amqp/headers.h>

#include <string.h>

enum { MOST_KEPT = 64 };

/* What the handler has seen. */
typedef struct seen {
    const uint8_t *body;
    size_t size;
    size_t at;    /* where the next fragment begins */
    size_t count; /* fragments that came */
    coney_message *kept[MOST_KEPT];
} seen;

static coney_status on_fragment(coney_message *fragment, size_t index, size_t count, void *user)
{
    seen *all = user;
    size_t size = coney_message_size(fragment);
    fuzz_require(index == all->count && index < count);
    fuzz_require(size <= all->size - all->at - 4);
    fuzz_require(memcmp(coney_message_body(fragment), all->body + all->at + 4, size) == 0);
    fuzz_require(!coney_message_is_batch(fragment));
    fuzz_read_message(fragment);
    if (all->count < MOST_KEPT)
        all->kept[all->count] = coney_message_ref(fragment);
    all->count++;
    all->at += 4 + size;
    return CONEY_OK;
}

static coney_message *make_batch(const uint8_t *body, size_t size)
{
    coney_message *batch = NULL;
    coney_table *headers = coney_table_new();
    if (headers &&
        coney_table_set_string(headers, CONEY_HEADER_BATCH_FORMAT, CONEY_BATCH_FORMAT_LENGTH_HEADER4) == CONEY_OK &&
        coney_table_set_string(headers, "other", "stays") == CONEY_OK &&
        coney_message_new(&batch, body, size, &(coney_properties){.headers = headers, .type = "order"}) != CONEY_OK)
        batch = NULL;
    coney_table_free(headers);
    return batch;
}

static void batch_again(const seen *all)
{
    coney_message *again;
    if (all->count < 2 || all->count > MOST_KEPT ||
        !fuzz_succeeds(coney_message_batch(&again, (coney_message *const *)all->kept, all->count)))
        return;
    fuzz_require(coney_message_size(again) == all->size);
    fuzz_require(memcmp(coney_message_body(again), all->body, all->size) == 0);
    coney_message_unref(again);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    coney_message *batch = make_batch(data, size);
    if (!batch)
        return;
    seen all = {.body = data, .size = size};
    coney_status status = coney_message_debatch(batch, on_fragment, &all);
    fuzz_require(status == CONEY_OK || status == CONEY_E_CONVERSION || status == CONEY_E_NO_MEMORY);
    fuzz_require(status != CONEY_E_CONVERSION || all.count == 0);
    fuzz_require(status != CONEY_OK || all.at == size);
    coney_message_unref(batch); /* the fragments live longer */
    if (status == CONEY_OK)
        batch_again(&all);
    for (size_t i = 0; i < all.count && i < MOST_KEPT; i++)
        coney_message_unref(all.kept[i]);
}
