/* SPDX-License-Identifier: MIT */
/* What a broker has, as somebody has read it: copies in an arena, found by their names. One thread at a time. */
#include "topology/inventory.h"

#include "amqp/amqp.h"
#include "topology/index.h"

#include <string.h>

struct coney_inventory {
    cny_arena arena;
    cny_buffer queues;    /* of coney_found_queue */
    cny_buffer exchanges; /* of coney_found_exchange */
    cny_buffer consumers; /* of coney_found_consumer */
    cny_name_index queue_index, exchange_index;
    coney_topology *bindings; /* a topology of nothing but bindings, which finds them */
};

coney_inventory *coney_inventory_new(void)
{
    coney_inventory *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    made->bindings = coney_topology_new();
    if (made->bindings)
        return made;
    cny_free(made);
    return NULL;
}

void coney_inventory_free(coney_inventory *inventory)
{
    if (!inventory)
        return;
    cny_arena_free(&inventory->arena);
    cny_buffer_free(&inventory->queues);
    cny_buffer_free(&inventory->exchanges);
    cny_buffer_free(&inventory->consumers);
    cny_index_free(&inventory->queue_index);
    cny_index_free(&inventory->exchange_index);
    coney_topology_free(inventory->bindings);
    cny_free(inventory);
}

/* ---- reading ---- */

const coney_found_queue *cny_inventory_queues(const coney_inventory *inventory, size_t *count)
{
    *count = inventory->queues.size / sizeof(coney_found_queue);
    return (const coney_found_queue *)(const void *)inventory->queues.data;
}

const coney_found_exchange *cny_inventory_exchanges(const coney_inventory *inventory, size_t *count)
{
    *count = inventory->exchanges.size / sizeof(coney_found_exchange);
    return (const coney_found_exchange *)(const void *)inventory->exchanges.data;
}

const coney_binding *cny_inventory_bindings(const coney_inventory *inventory, size_t *count)
{
    return cny_topology_bindings(inventory->bindings, count);
}

const coney_found_consumer *cny_inventory_consumers(const coney_inventory *inventory, size_t *count)
{
    *count = inventory->consumers.size / sizeof(coney_found_consumer);
    return (const coney_found_consumer *)(const void *)inventory->consumers.data;
}

static uint32_t hash_name(const char *name)
{
    return (uint32_t)cny_hash_keyed(name, strlen(name));
}

static bool is_queue(const void *owner, size_t position, const void *name)
{
    size_t count;
    return strcmp(cny_inventory_queues(owner, &count)[position].name, name) == 0;
}

static bool is_exchange(const void *owner, size_t position, const void *name)
{
    size_t count;
    return strcmp(cny_inventory_exchanges(owner, &count)[position].name, name) == 0;
}

const coney_found_queue *cny_inventory_find_queue(const coney_inventory *inventory, const char *name)
{
    size_t count, at = cny_index_find(&inventory->queue_index, hash_name(name), is_queue, inventory, name);
    return at == CNY_NOT_FOUND ? NULL : &cny_inventory_queues(inventory, &count)[at];
}

const coney_found_exchange *cny_inventory_find_exchange(const coney_inventory *inventory, const char *name)
{
    size_t count, at = cny_index_find(&inventory->exchange_index, hash_name(name), is_exchange, inventory, name);
    return at == CNY_NOT_FOUND ? NULL : &cny_inventory_exchanges(inventory, &count)[at];
}

bool cny_inventory_has_binding(const coney_inventory *inventory, const coney_binding *binding)
{
    return cny_topology_has_binding(inventory->bindings, binding);
}

/* ---- adding ---- */

static bool copy_table(cny_arena *arena, const coney_table **copy)
{
    const coney_table *table = *copy;
    *copy = table ? cny_table_copy(arena, table) : NULL;
    return !table || *copy;
}

static bool copy_policy(cny_arena *arena, coney_found_policy *copy)
{
    return cny_arena_strdup(arena, &copy->name, copy->name) &&
           cny_arena_strdup(arena, &copy->operator_name, copy->operator_name) && copy_table(arena, &copy->settings);
}

static coney_status append(cny_buffer *things, cny_name_index *index, const char *name, const void *thing, size_t size)
{
    size_t position = things->size / size;
    if (!cny_index_reserve(index) || !cny_buffer_append(things, thing, size))
        return cny_fail_memory();
    cny_index_add(index, hash_name(name), position);
    return CONEY_OK;
}

coney_status coney_inventory_add_queue(coney_inventory *inventory, const coney_found_queue *queue)
{
    if (!inventory || !queue || !queue->name)
        return cny_fail(CONEY_E_INVALID, "inventory: the inventory, the queue or its name is NULL");
    coney_found_queue copy = *queue;
    cny_arena *arena = &inventory->arena;
    if (cny_inventory_find_queue(inventory, queue->name))
        return CONEY_OK;
    bool copied = cny_arena_strdup(arena, &copy.name, queue->name) &&
                  cny_arena_strdup(arena, &copy.type, queue->type) && copy_table(arena, &copy.arguments) &&
                  copy_policy(arena, &copy.policy);
    return copied ? append(&inventory->queues, &inventory->queue_index, copy.name, &copy, sizeof copy)
                  : cny_fail_memory();
}

coney_status coney_inventory_add_exchange(coney_inventory *inventory, const coney_found_exchange *exchange)
{
    if (!inventory || !exchange || !exchange->name || !exchange->type)
        return cny_fail(CONEY_E_INVALID, "inventory: the inventory, the exchange, its name or its type is NULL");
    coney_found_exchange copy = *exchange;
    cny_arena *arena = &inventory->arena;
    if (cny_inventory_find_exchange(inventory, exchange->name))
        return CONEY_OK;
    bool copied = cny_arena_strdup(arena, &copy.name, exchange->name) &&
                  cny_arena_strdup(arena, &copy.type, exchange->type) && copy_table(arena, &copy.arguments) &&
                  copy_policy(arena, &copy.policy);
    return copied ? append(&inventory->exchanges, &inventory->exchange_index, copy.name, &copy, sizeof copy)
                  : cny_fail_memory();
}

/* The bindings that every queue has to the default exchange are no news. */
coney_status coney_inventory_add_binding(coney_inventory *inventory, const coney_binding *binding)
{
    if (!inventory || !binding || !binding->exchange || !binding->destination)
        return cny_fail(CONEY_E_INVALID, "inventory: the inventory, the binding or one of its ends is NULL");
    return *binding->exchange ? coney_topology_add_binding(inventory->bindings, binding) : CONEY_OK;
}

coney_status coney_inventory_add_consumer(coney_inventory *inventory, const coney_found_consumer *consumer)
{
    if (!inventory || !consumer || !consumer->queue)
        return cny_fail(CONEY_E_INVALID, "inventory: the inventory, the consumer or its queue is NULL");
    coney_found_consumer copy = *consumer;
    cny_arena *arena = &inventory->arena;
    bool copied = cny_arena_strdup(arena, &copy.queue, consumer->queue) &&
                  cny_arena_strdup(arena, &copy.tag, consumer->tag) &&
                  cny_arena_strdup(arena, &copy.connection, consumer->connection) &&
                  cny_buffer_append(&inventory->consumers, &copy, sizeof copy);
    return copied ? CONEY_OK : cny_fail_memory();
}
