/* SPDX-License-Identifier: MIT */
/* The outstanding calls: by the id of each, which its reply brings back, and those of each channel. All under the lock
 * of their cny_rpc. */
#include "rabbit/rpc/parts.h"

#include <string.h>

enum { FIRST_CAPACITY = 64 };

static cny_call **bucket_of(const cny_call_table *calls, uint64_t hash)
{
    return &calls->buckets[hash & (calls->capacity - 1)];
}

static void put(const cny_call_table *calls, cny_call *call)
{
    cny_call **bucket = bucket_of(calls, call->hash);
    call->next_of_hash = *bucket;
    *bucket = call;
}

bool cny_calls_reserve(cny_call_table *calls)
{
    if (calls->count < calls->capacity)
        return true;
    size_t capacity = calls->capacity ? 2 * calls->capacity : FIRST_CAPACITY;
    cny_call_table grown = {.buckets = cny_alloc(capacity * sizeof(cny_call *)), .capacity = capacity};
    if (!grown.buckets)
        return false;
    for (size_t i = 0; i < calls->capacity; i++) {
        for (cny_call *call; (call = calls->buckets[i]); grown.count++) {
            calls->buckets[i] = call->next_of_hash;
            put(&grown, call);
        }
    }
    cny_free(calls->buckets);
    *calls = grown;
    return true;
}

cny_call *cny_calls_any(const cny_call_table *calls, size_t *from)
{
    while (*from < calls->capacity && !calls->buckets[*from])
        ++*from;
    return *from < calls->capacity ? calls->buckets[*from] : NULL;
}

cny_call *cny_calls_find(const cny_call_table *calls, const char *id, size_t size)
{
    if (calls->count == 0)
        return NULL;
    uint64_t hash = cny_hash_keyed(id, size);
    cny_call *call = *bucket_of(calls, hash);
    while (call && (call->hash != hash || strlen(call->id) != size || memcmp(call->id, id, size) != 0))
        call = call->next_of_hash;
    return call;
}

bool cny_calls_add(cny_call_table *calls, cny_call *call)
{
    cny_reply_channel *channel = call->channel;
    if (cny_calls_find(calls, call->id, strlen(call->id)))
        return false;
    put(calls, call);
    calls->count++;
    call->next = NULL;
    call->previous = channel->newest;
    *(channel->newest ? &channel->newest->next : &channel->oldest) = call;
    channel->newest = call;
    return true;
}

void cny_calls_remove(cny_call_table *calls, cny_call *call)
{
    cny_reply_channel *channel = call->channel;
    cny_call **place = bucket_of(calls, call->hash);
    while (*place != call)
        place = &(*place)->next_of_hash;
    *place = call->next_of_hash;
    calls->count--;
    *(call->previous ? &call->previous->next : &channel->oldest) = call->next;
    *(call->next ? &call->next->previous : &channel->newest) = call->previous;
}
