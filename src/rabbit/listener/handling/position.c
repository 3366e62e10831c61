/* SPDX-License-Identifier: MIT */
/* Where the one consumer of a stream goes on after a loss: at the lowest offset that is not acknowledged. A stream
 * keeps its messages, so an acknowledgement only asks for more of them. */
#include "rabbit/listener/handling/memory.h"

#include <string.h>

/* A message that is not acknowledged. */
struct cny_place {
    uint64_t tag;
    int64_t offset; /* UNKNOWN: its headers cannot be read, and no message came before */
};

#define UNKNOWN (-1)

void cny_position_init(cny_position *position)
{
    position->next = position->last = UNKNOWN;
    pthread_mutex_init(&position->lock, NULL);
}

void cny_position_free(cny_position *position)
{
    cny_free(position->places);
    pthread_mutex_destroy(&position->lock);
}

void cny_position_restart(cny_position *position)
{
    pthread_mutex_lock(&position->lock);
    position->is_gone = true;
    pthread_mutex_unlock(&position->lock);
}

static int64_t forget_places(cny_position *position)
{
    pthread_mutex_lock(&position->lock);
    if (position->is_gone && position->next != UNKNOWN)
        position->next = 0;
    int64_t next = position->next;
    position->is_gone = false;
    position->last = next == UNKNOWN ? UNKNOWN : next - 1;
    position->first = position->count = 0;
    position->channel = NULL;
    pthread_mutex_unlock(&position->lock);
    return next;
}

coney_status cny_position_begin(cny_position *position, cny_arena *arena, const coney_table **arguments)
{
    int64_t next = forget_places(position);
    if (next == UNKNOWN)
        return CONEY_OK;
    coney_table *resumed = cny_table_copy(arena, *arguments);
    if (!resumed || coney_table_set_int64(resumed, CONEY_HEADER_STREAM_OFFSET, next) != CONEY_OK)
        return cny_fail_memory();
    *arguments = resumed;
    return CONEY_OK;
}

static void update(cny_position *position)
{
    bool any = position->count > 0;
    int64_t after = position->last == UNKNOWN ? UNKNOWN : position->last + 1;
    position->next = any ? position->places[position->first].offset : after;
}

/* Makes room for more places. A stream delivers together what it has written together, so there may be more messages
 * than the prefetch. */
static bool reserve(cny_position *position, size_t more)
{
    if (position->first + position->count + more <= position->capacity)
        return true;
    size_t wanted = position->count + more;
    if (wanted * 2 > position->capacity) {
        struct cny_place *places = cny_realloc(position->places, wanted * 2 * sizeof *places);
        if (!places)
            return false;
        position->places = places;
        position->capacity = wanted * 2;
    }
    memmove(position->places, position->places + position->first, position->count * sizeof *position->places);
    position->first = 0;
    return true;
}

static void add_place(cny_position *position, const coney_message *message)
{
    int64_t after = position->last == UNKNOWN ? UNKNOWN : position->last + 1;
    int64_t offset = coney_table_get_int64(message->properties.headers, CONEY_HEADER_STREAM_OFFSET, after);
    position->last = offset;
    position->places[position->first + position->count++] = (struct cny_place){message->delivery_tag, offset};
}

bool cny_position_take(cny_position *position, const cny_channel *channel, coney_message *const *messages, size_t count)
{
    pthread_mutex_lock(&position->lock);
    position->channel = channel;
    bool has_room = reserve(position, count);
    for (size_t i = 0; i < count && has_room; i++)
        add_place(position, messages[i]);
    if (has_room)
        update(position);
    pthread_mutex_unlock(&position->lock);
    return has_room;
}

/* Delivery tags rise. */
static struct cny_place *find(const cny_position *position, uint64_t tag)
{
    struct cny_place *low = position->places + position->first, *end = low + position->count, *high = end;
    while (low < high) {
        struct cny_place *middle = low + (high - low) / 2;
        if (middle->tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    return low < end && low->tag == tag ? low : NULL;
}

void cny_position_pass(cny_position *position, const cny_channel *channel, uint64_t tag)
{
    pthread_mutex_lock(&position->lock);
    bool is_current = position->channel == channel && position->count > 0;
    struct cny_place *place = is_current ? find(position, tag) : NULL;
    if (place) {
        struct cny_place *first = position->places + position->first;
        memmove(first + 1, first, (size_t)(place - first) * sizeof *first);
        position->first++;
        position->count--;
        update(position);
    }
    pthread_mutex_unlock(&position->lock);
}
