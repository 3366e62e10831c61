/* SPDX-License-Identifier: MIT */
/* Allocation, with a switch that makes it fail; arenas; buffers that grow. Any thread, but an arena or buffer belongs
 * to one thread at a time. */
#include "base/base.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_int successes_left = -1;

void cny_alloc_fail_after(int successes)
{
    atomic_store(&successes_left, successes);
}

static bool may_allocate(void)
{
    int left = atomic_load_explicit(&successes_left, memory_order_relaxed);
    if (left < 0)
        return true;
    if (left == 0)
        return false;
    atomic_store(&successes_left, left - 1);
    return true;
}

void *cny_alloc(size_t size)
{
    return may_allocate() ? calloc(1, size) : NULL;
}

void *cny_realloc(void *memory, size_t size)
{
    return may_allocate() ? realloc(memory, size) : NULL;
}

char *cny_strdup(const char *text)
{
    if (!text)
        return NULL;
    size_t size = strlen(text) + 1;
    char *copy = cny_realloc(NULL, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

void cny_free(void *memory)
{
    free(memory);
}

/* ---- arena ---- */

#define CHUNK_BYTES 1024
#define ALIGNMENT 8

struct cny_chunk {
    struct cny_chunk *next;
};

void cny_arena_init(cny_arena *arena, void *memory, size_t size)
{
    *arena = (cny_arena){.next = memory, .end = memory ? (char *)memory + size : NULL, .held = memory ? size : 0};
}

void cny_arena_free(cny_arena *arena)
{
    while (arena->chunks) {
        struct cny_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        cny_free(chunk);
    }
    *arena = (cny_arena){0};
}

static bool add_chunk(cny_arena *arena, size_t size)
{
    size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
    struct cny_chunk *chunk = cny_realloc(NULL, sizeof *chunk + room);
    if (!chunk)
        return false;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->next = (char *)(chunk + 1);
    arena->end = arena->next + room;
    arena->held += sizeof *chunk + room;
    return true;
}

void *cny_arena_alloc(cny_arena *arena, size_t size)
{
    if (size > SIZE_MAX - CHUNK_BYTES)
        return NULL;
    size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    if ((size_t)(arena->end - arena->next) < size && !add_chunk(arena, size))
        return NULL;
    void *piece = arena->next;
    arena->next += size;
    return piece;
}

char *cny_arena_copy(cny_arena *arena, const void *bytes, size_t size)
{
    char *copy = cny_arena_alloc(arena, size + 1);
    if (!copy)
        return NULL;
    if (size > 0)
        memcpy(copy, bytes, size);
    copy[size] = '\0';
    return copy;
}

bool cny_arena_strdup(cny_arena *arena, const char **copy, const char *text)
{
    *copy = text ? cny_arena_copy(arena, text, strlen(text)) : NULL;
    return !text || *copy;
}

/* ---- buffer ---- */

void cny_buffer_on_stack(cny_buffer *buffer, void *array, size_t capacity)
{
    *buffer = (cny_buffer){.data = array, .capacity = capacity, .borrowed = true};
}

bool cny_buffer_reserve(cny_buffer *buffer, size_t extra)
{
    if (extra <= buffer->capacity - buffer->size)
        return true;
    if (extra > SIZE_MAX / 2 - buffer->size)
        return false;
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : 256;
    while (capacity < buffer->size + extra)
        capacity *= 2;
    uint8_t *data = cny_realloc(buffer->borrowed ? NULL : buffer->data, capacity);
    if (!data)
        return false;
    if (buffer->borrowed && buffer->size > 0)
        memcpy(data, buffer->data, buffer->size);
    buffer->data = data;
    buffer->capacity = capacity;
    buffer->borrowed = false;
    return true;
}

bool cny_buffer_append(cny_buffer *buffer, const void *bytes, size_t size)
{
    if (!cny_buffer_reserve(buffer, size))
        return false;
    if (size > 0)
        memcpy(buffer->data + buffer->size, bytes, size);
    buffer->size += size;
    return true;
}

void cny_buffer_swap(cny_buffer *a, cny_buffer *b)
{
    cny_buffer other = *a;
    *a = *b;
    *b = other;
}

void cny_buffer_free(cny_buffer *buffer)
{
    if (!buffer->borrowed)
        cny_free(buffer->data);
    *buffer = (cny_buffer){0};
}
