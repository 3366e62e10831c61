/* SPDX-License-Identifier: MIT */
/* A hash table of positions with open addressing. A topology of 10,000 queues looks for each name when it is added, so
 * a search along the list would take minutes. One thread at a time. */
#include "topology/index.h"

enum { FIRST_CAPACITY = 16 };

static const cny_index_slot *slot_at(const cny_name_index *index, size_t at)
{
    return &index->slots[at & (index->capacity - 1)];
}

size_t cny_index_find(const cny_name_index *index, uint32_t hash, cny_index_is *is, const void *owner,
                      const void *wanted)
{
    for (size_t at = hash; index->capacity > 0 && slot_at(index, at)->position > 0; at++) {
        const cny_index_slot *slot = slot_at(index, at);
        if (slot->hash == hash && is(owner, slot->position - 1, wanted))
            return slot->position - 1;
    }
    return CNY_NOT_FOUND;
}

bool cny_index_reserve(cny_name_index *index)
{
    if ((index->count + 1) * 2 <= index->capacity)
        return true;
    cny_name_index larger = {.capacity = index->capacity ? index->capacity * 2 : FIRST_CAPACITY};
    larger.slots = cny_alloc(larger.capacity * sizeof *larger.slots);
    if (!larger.slots)
        return false;
    for (size_t i = 0; i < index->capacity; i++) {
        if (index->slots[i].position > 0)
            cny_index_add(&larger, index->slots[i].hash, index->slots[i].position - 1);
    }
    cny_index_free(index);
    *index = larger;
    return true;
}

void cny_index_add(cny_name_index *index, uint32_t hash, size_t position)
{
    size_t at = hash & (index->capacity - 1);
    while (index->slots[at].position > 0)
        at = (at + 1) & (index->capacity - 1);
    index->slots[at] = (cny_index_slot){.hash = hash, .position = (uint32_t)position + 1};
    index->count++;
}

void cny_index_clear(cny_name_index *index)
{
    for (size_t i = 0; i < index->capacity; i++)
        index->slots[i] = (cny_index_slot){0};
    index->count = 0;
}

void cny_index_free(cny_name_index *index)
{
    cny_free(index->slots);
    *index = (cny_name_index){0};
}
