/* SPDX-License-Identifier: MIT */
/* Stored messages, and messages that ended unsent: two lists with counts, under the template's lock. Any thread. */
#include "rabbit/template/store.h"

#include <string.h>

/* ---- one message ---- */

cny_stored *cny_stored_new(coney_template *sender, const cny_publish *publish, size_t bytes)
{
    size_t exchange_size = strlen(publish->exchange) + 1, routing_key_size = strlen(publish->routing_key) + 1;
    cny_stored *one = cny_alloc(sizeof *one + exchange_size + routing_key_size);
    if (!one)
        return NULL;
    one->sender = sender;
    one->message = coney_message_ref(publish->message);
    one->callback = publish->callback;
    one->user = publish->user;
    one->waiter = cny_waiter_ref(publish->waiter);
    one->mandatory = publish->mandatory;
    one->bytes = bytes + sizeof *one;
    one->stored_at = cny_now_ms();
    one->routing_key = one->exchange + exchange_size;
    memcpy(one->exchange, publish->exchange, exchange_size);
    memcpy(one->exchange + exchange_size, publish->routing_key, routing_key_size);
    cny_outcome_awaited();
    return one;
}

void cny_stored_free(cny_stored *one)
{
    cny_outcome_known(); /* or its channel, on which it was sent, counts it */
    coney_message_unref(one->message);
    cny_waiter_unref(one->waiter);
    cny_error_unref(one->error);
    cny_free(one);
}

/* ---- in and out ---- */

static void append(cny_stored **first, cny_stored **last, cny_stored *one)
{
    one->next = NULL;
    if (*first)
        (*last)->next = one;
    else
        *first = one;
    *last = one;
}

void cny_store_put(cny_store *store, cny_stored *one)
{
    one->number = store->next++;
    store->messages++;
    store->bytes += one->bytes;
    append(&store->first, &store->last, one);
}

bool cny_store_has_before(const cny_store *store, uint64_t number)
{
    return store->first && store->first->number < number;
}

static cny_stored *take_first(cny_store *store)
{
    cny_stored *one = store->first;
    store->first = one->next;
    store->messages--;
    store->bytes -= one->bytes;
    return one;
}

void cny_store_sent_first(cny_store *store)
{
    cny_stored_free(take_first(store));
}

void cny_store_end_first(cny_store *store, cny_error *reason)
{
    cny_stored *one = take_first(store);
    one->error = cny_error_ref(reason);
    store->untold++;
    store->untold_bytes += one->bytes;
    store->unfinished++;
    append(&store->ended, &store->last_ended, one);
}

void cny_store_end_round(cny_store *store)
{
    if (!store->first)
        store->was_logged = false;
}

/* ---- limits ---- */

coney_status cny_store_check(const cny_store *store, size_t bytes)
{
    const coney_store_options *limits = store->limits;
    if (store->closed)
        return cny_fail(CONEY_E_CLOSED, "the template or its connection factory is closed");
    if (bytes > limits->max_bytes)
        return cny_fail(CONEY_E_LIMIT, "a message of %zu bytes never fits the store (max_bytes %zu)", bytes,
                        limits->max_bytes);
    if (store->untold > (size_t)limits->max_messages || store->untold_bytes > limits->max_bytes)
        return cny_fail(CONEY_E_LIMIT, "the callbacks of %zu messages that left the store unsent have not run yet",
                        store->untold);
    return CONEY_OK;
}

bool cny_store_fits(const cny_store *store, size_t bytes)
{
    return store->messages < (size_t)store->limits->max_messages && store->bytes + bytes <= store->limits->max_bytes;
}

void cny_store_drop_for(cny_store *store, size_t bytes)
{
    cny_error *reason =
        cny_error_new(CONEY_E_LIMIT, 0,
                      "never sent: dropped from the full store for a newer message (max_messages %d, max_bytes %zu)",
                      store->limits->max_messages, store->limits->max_bytes);
    while (store->first && !cny_store_fits(store, bytes)) {
        cny_store_end_first(store, reason);
        store->dropped++;
    }
    cny_error_unref(reason);
}

int64_t cny_store_next_expiry(const cny_store *store)
{
    int max_age_ms = store->limits->max_age_ms;
    return max_age_ms > 0 && store->first ? store->first->stored_at + max_age_ms : INT64_MAX;
}

void cny_store_expire(cny_store *store, int64_t now, cny_error *reason)
{
    while (store->first && cny_store_next_expiry(store) <= now) {
        cny_store_end_first(store, reason);
        store->expired++;
    }
}

/* ---- the end ---- */

void cny_store_close(cny_store *store, const char *why)
{
    store->closed = true;
    if (!store->first)
        return;
    cny_error *reason = cny_error_new(CONEY_E_CLOSED, 0, "never sent: %s while it was stored", why);
    while (store->first)
        cny_store_end_first(store, reason);
    cny_error_unref(reason);
}

cny_stored *cny_store_take_ended(cny_store *store)
{
    cny_stored *ended = store->ended;
    store->ended = NULL;
    return ended;
}

bool cny_store_begin_telling(cny_store *store, const cny_stored *one, bool heard)
{
    store->untold--;
    store->untold_bytes -= one->bytes;
    bool must_log = !heard && !store->was_logged;
    store->was_logged |= must_log;
    return must_log;
}

void cny_store_end_telling(cny_store *store)
{
    store->unfinished--;
}

bool cny_store_is_finished(const cny_store *store)
{
    return !store->first && store->unfinished == 0;
}

void cny_store_count(const cny_store *store, coney_send_statistics *statistics)
{
    statistics->stored = store->messages;
    statistics->stored_bytes = store->bytes;
    statistics->dropped = store->dropped;
    statistics->expired = store->expired;
}
