/* SPDX-License-Identifier: MIT */
/* Topologies: copies of queues, exchanges and bindings, each once. One thread at a time. It must not know what is sent
 * for them. */
#include "topology/topology.h"

#include "amqp/amqp.h"
#include "topology/index.h"
#include "topology/same.h"

#include <string.h>

coney_topology *coney_topology_new(void)
{
    return cny_alloc(sizeof(coney_topology));
}

void coney_topology_free(coney_topology *topology)
{
    if (!topology)
        return;
    cny_arena_free(&topology->arena);
    cny_buffer_free(&topology->exchanges);
    cny_buffer_free(&topology->queues);
    cny_buffer_free(&topology->bindings);
    cny_buffer_free(&topology->anonymous);
    cny_index_free(&topology->anonymous_index);
    cny_index_free(&topology->ref_index);
    cny_index_free(&topology->exchange_index);
    cny_index_free(&topology->queue_index);
    cny_index_free(&topology->binding_index);
    cny_error_unref(topology->failure);
    cny_free(topology);
}

/* ---- what is there ---- */

const coney_exchange *cny_topology_exchanges(const coney_topology *topology, size_t *count)
{
    *count = topology->exchanges.size / sizeof(coney_exchange);
    return (const coney_exchange *)(const void *)topology->exchanges.data;
}

const coney_queue *cny_topology_queues(const coney_topology *topology, size_t *count)
{
    *count = topology->queues.size / sizeof(coney_queue);
    return (const coney_queue *)(const void *)topology->queues.data;
}

const coney_binding *cny_topology_bindings(const coney_topology *topology, size_t *count)
{
    *count = topology->bindings.size / sizeof(coney_binding);
    return (const coney_binding *)(const void *)topology->bindings.data;
}

static bool is_exchange(const void *owner, size_t position, const void *name)
{
    size_t count;
    return strcmp(cny_topology_exchanges(owner, &count)[position].name, name) == 0;
}

static bool is_queue(const void *owner, size_t position, const void *name)
{
    size_t count;
    return strcmp(cny_topology_queues(owner, &count)[position].name, name) == 0;
}

static const cny_anonymous *all_anonymous(const coney_topology *topology)
{
    return (const cny_anonymous *)(const void *)topology->anonymous.data;
}

static bool is_anonymous(const void *owner, size_t position, const void *name)
{
    return strcmp(all_anonymous(owner)[position].name, name) == 0;
}

static bool is_ref(const void *owner, size_t position, const void *ref)
{
    return strcmp(all_anonymous(owner)[position].ref, ref) == 0;
}

static bool same_texts(const char *one, const char *other)
{
    return strcmp(one ? one : "", other ? other : "") == 0;
}

bool cny_same_bindings(const coney_binding *one, const coney_binding *other)
{
    return one->to_exchange == other->to_exchange && strcmp(one->exchange, other->exchange) == 0 &&
           strcmp(one->destination, other->destination) == 0 && same_texts(one->routing_key, other->routing_key) &&
           cny_same_tables(one->arguments, other->arguments);
}

static bool is_binding(const void *owner, size_t position, const void *binding)
{
    size_t count;
    return cny_same_bindings(&cny_topology_bindings(owner, &count)[position], binding);
}

static uint32_t hash_text(const char *text)
{
    return text ? (uint32_t)cny_hash_keyed(text, strlen(text)) : 0;
}

static uint32_t hash_binding(const coney_binding *binding)
{
    const char *key = binding->routing_key && *binding->routing_key ? binding->routing_key : NULL;
    return hash_text(binding->exchange) * 31 + hash_text(binding->destination) * 7 + hash_text(key) +
           cny_hash_table(binding->arguments);
}

const coney_exchange *cny_topology_find_exchange(const coney_topology *topology, const char *name)
{
    size_t count, at = cny_index_find(&topology->exchange_index, hash_text(name), is_exchange, topology, name);
    return at == CNY_NOT_FOUND ? NULL : &cny_topology_exchanges(topology, &count)[at];
}

const coney_queue *cny_topology_find_queue(const coney_topology *topology, const char *name)
{
    size_t count, at = cny_index_find(&topology->queue_index, hash_text(name), is_queue, topology, name);
    return at == CNY_NOT_FOUND ? NULL : &cny_topology_queues(topology, &count)[at];
}

const cny_anonymous *cny_topology_find_anonymous(const coney_topology *topology, const char *name)
{
    size_t at = cny_index_find(&topology->anonymous_index, hash_text(name), is_anonymous, topology, name);
    return at == CNY_NOT_FOUND ? NULL : &all_anonymous(topology)[at];
}

const cny_anonymous *cny_topology_find_ref(const coney_topology *topology, const char *ref)
{
    size_t at = cny_index_find(&topology->ref_index, hash_text(ref), is_ref, topology, ref);
    return at == CNY_NOT_FOUND ? NULL : &all_anonymous(topology)[at];
}

bool cny_topology_has_binding(const coney_topology *topology, const coney_binding *binding)
{
    return cny_index_find(&topology->binding_index, hash_binding(binding), is_binding, topology, binding) !=
           CNY_NOT_FOUND;
}

bool cny_topology_is_empty(const coney_topology *topology)
{
    return topology->exchanges.size + topology->queues.size + topology->bindings.size == 0;
}

const char *coney_topology_queue_name(const coney_topology *topology)
{
    size_t count = 0;
    const coney_queue *queues = topology ? cny_topology_queues(topology, &count) : NULL;
    return count > 0 ? queues[count - 1].name : NULL;
}

/* ---- adding ---- */

static coney_status remember(coney_topology *topology, coney_status status)
{
    if (status != CONEY_OK && !topology->failure)
        topology->failure = cny_error_capture();
    return status;
}

static bool copy_table(cny_arena *arena, const coney_table **copy, const coney_table *table)
{
    *copy = table ? cny_table_copy(arena, table) : NULL;
    return !table || *copy;
}

static coney_status append(cny_buffer *things, cny_name_index *index, uint32_t hash, const void *thing, size_t size)
{
    size_t position = things->size / size;
    if (!cny_index_reserve(index) || !cny_buffer_append(things, thing, size))
        return cny_fail_memory();
    cny_index_add(index, hash, position);
    return CONEY_OK;
}

static coney_status copy_exchange(coney_topology *topology, coney_exchange *copy)
{
    cny_arena *arena = &topology->arena;
    bool copied = cny_arena_strdup(arena, &copy->name, copy->name) &&
                  cny_arena_strdup(arena, &copy->custom_type, copy->custom_type) &&
                  cny_arena_strdup(arena, &copy->alternate_exchange, copy->alternate_exchange) &&
                  cny_arena_strdup(arena, &copy->hash_header, copy->hash_header) &&
                  cny_arena_strdup(arena, &copy->hash_property, copy->hash_property) &&
                  copy_table(arena, &copy->arguments, copy->arguments);
    return copied ? CONEY_OK : cny_fail_memory();
}

static coney_status add_exchange(coney_topology *topology, const coney_exchange *exchange)
{
    coney_status status = cny_exchange_check(exchange);
    if (status != CONEY_OK)
        return status;
    coney_exchange copy = *exchange,
                   *there = (coney_exchange *)(uintptr_t)cny_topology_find_exchange(topology, exchange->name);
    if (there && !there->external)
        return exchange->external ? CONEY_OK : cny_check_same_exchange(there, exchange);
    status = copy_exchange(topology, &copy);
    if (status != CONEY_OK)
        return status;
    if (there) {
        *there = copy;
        return CONEY_OK;
    }
    return append(&topology->exchanges, &topology->exchange_index, hash_text(copy.name), &copy, sizeof copy);
}

static coney_status copy_queue(coney_topology *topology, coney_queue *copy)
{
    cny_arena *arena = &topology->arena;
    bool copied = cny_arena_strdup(arena, &copy->name, copy->name) &&
                  cny_arena_strdup(arena, &copy->dead_letter_exchange, copy->dead_letter_exchange) &&
                  cny_arena_strdup(arena, &copy->dead_letter_routing_key, copy->dead_letter_routing_key) &&
                  cny_arena_strdup(arena, &copy->max_age, copy->max_age) &&
                  copy_table(arena, &copy->arguments, copy->arguments);
    return copied ? CONEY_OK : cny_fail_memory();
}

static coney_status check_topology_queue(const coney_queue *queue)
{
    coney_status status = cny_queue_check(queue);
    if (status == CONEY_OK && !queue->anonymous && !*queue->name)
        status = cny_fail(CONEY_E_INVALID, "a topology needs the queue's name: for an empty one the broker makes up "
                                           "another name, so another queue, on each new connection. Name it, set "
                                           "anonymous, or declare it once with coney_admin_declare_queue()");
    return status;
}

static coney_status append_anonymous(coney_topology *topology, const char *name, const char *prefix, const char *ref)
{
    size_t position = topology->anonymous.size / sizeof(cny_anonymous);
    cny_arena *arena = &topology->arena;
    cny_anonymous copy = {.name = name, .ref = ref && cny_topology_find_ref(topology, ref) ? NULL : ref};
    bool copied = cny_arena_strdup(arena, &copy.prefix, prefix) && cny_arena_strdup(arena, &copy.ref, copy.ref);
    if (!copied || !cny_index_reserve(&topology->ref_index))
        return cny_fail_memory();
    coney_status status = append(&topology->anonymous, &topology->anonymous_index, hash_text(name), &copy, sizeof copy);
    if (status == CONEY_OK && copy.ref)
        cny_index_add(&topology->ref_index, hash_text(copy.ref), position);
    return status;
}

/* `was` tells of a queue that has a name now and was anonymous; NULL: the queue tells itself what it is. */
static coney_status add_queue(coney_topology *topology, const coney_queue *queue, const cny_anonymous *was)
{
    char name[CONEY_NAME_SIZE];
    coney_queue copy;
    coney_status status = check_topology_queue(queue);
    if (status == CONEY_OK)
        status = cny_queue_resolve(&copy, name, queue);
    if (status != CONEY_OK)
        return status;
    coney_queue *there = (coney_queue *)(uintptr_t)cny_topology_find_queue(topology, copy.name);
    if (there && !there->external)
        return queue->external ? CONEY_OK : cny_check_same_queue(there, &copy);
    status = copy_queue(topology, &copy);
    if (status != CONEY_OK)
        return status;
    if (there) {
        *there = copy;
        return CONEY_OK;
    }
    if (was || queue->anonymous)
        status = append_anonymous(topology, copy.name, was ? was->prefix : queue->name_prefix, was ? was->ref : NULL);
    if (status != CONEY_OK)
        return status;
    return append(&topology->queues, &topology->queue_index, hash_text(copy.name), &copy, sizeof copy);
}

static coney_status add_binding(coney_topology *topology, const coney_binding *binding)
{
    if (cny_binding_is_implicit(binding))
        return CONEY_OK;
    coney_status status = cny_binding_check(binding);
    if (status != CONEY_OK)
        return status;
    coney_binding copy = *binding;
    uint32_t hash = hash_binding(binding);
    cny_arena *arena = &topology->arena;
    if (cny_topology_has_binding(topology, binding))
        return CONEY_OK;
    bool copied = cny_arena_strdup(arena, &copy.exchange, binding->exchange) &&
                  cny_arena_strdup(arena, &copy.destination, binding->destination) &&
                  cny_arena_strdup(arena, &copy.routing_key, binding->routing_key) &&
                  copy_table(arena, &copy.arguments, binding->arguments);
    return copied ? append(&topology->bindings, &topology->binding_index, hash, &copy, sizeof copy) : cny_fail_memory();
}

coney_status coney_topology_add_exchange(coney_topology *topology, const coney_exchange *exchange)
{
    return topology ? remember(topology, add_exchange(topology, exchange))
                    : cny_fail(CONEY_E_INVALID, "topology is NULL");
}

coney_status coney_topology_add_queue(coney_topology *topology, const coney_queue *queue)
{
    return topology ? remember(topology, add_queue(topology, queue, NULL))
                    : cny_fail(CONEY_E_INVALID, "topology is NULL");
}

coney_status cny_topology_add_queue_with_ref(coney_topology *topology, const coney_queue *queue, const char *ref)
{
    return remember(topology, add_queue(topology, queue, &(cny_anonymous){.prefix = queue->name_prefix, .ref = ref}));
}

coney_status coney_topology_add_binding(coney_topology *topology, const coney_binding *binding)
{
    return topology ? remember(topology, add_binding(topology, binding))
                    : cny_fail(CONEY_E_INVALID, "topology is NULL");
}

coney_status coney_topology_bind(coney_topology *topology, const char *exchange, const char *queue,
                                 const char *routing_key)
{
    return coney_topology_add_binding(
        topology, &(coney_binding){.exchange = exchange, .destination = queue, .routing_key = routing_key});
}

/* ---- whole topologies ---- */

static coney_status add_all(coney_topology *topology, const coney_topology *other)
{
    size_t exchanges, queues, bindings;
    const coney_exchange *all_exchanges = cny_topology_exchanges(other, &exchanges);
    const coney_queue *all_queues = cny_topology_queues(other, &queues);
    const coney_binding *all_bindings = cny_topology_bindings(other, &bindings);
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < exchanges; i++)
        status = add_exchange(topology, &all_exchanges[i]);
    for (size_t i = 0; status == CONEY_OK && i < queues; i++)
        status = add_queue(topology, &all_queues[i], cny_topology_find_anonymous(other, all_queues[i].name));
    for (size_t i = 0; status == CONEY_OK && i < bindings; i++)
        status = add_binding(topology, &all_bindings[i]);
    return status;
}

coney_status coney_topology_add_all(coney_topology *topology, const coney_topology *other)
{
    if (!topology || !other)
        return cny_fail(CONEY_E_INVALID, "add a topology: %s is NULL", topology ? "other" : "topology");
    if (topology == other)
        return CONEY_OK;
    if (other->failure)
        return remember(topology, cny_error_raise(other->failure));
    return remember(topology, add_all(topology, other));
}

static coney_status add_difference(coney_topology *part, const coney_topology *known, const coney_topology *more)
{
    size_t exchanges, queues, bindings;
    const coney_exchange *all_exchanges = cny_topology_exchanges(more, &exchanges);
    const coney_queue *all_queues = cny_topology_queues(more, &queues);
    const coney_binding *all_bindings = cny_topology_bindings(more, &bindings);
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < exchanges; i++) {
        const coney_exchange *one = &all_exchanges[i], *there = cny_topology_find_exchange(known, one->name);
        if (!there || (there->external && !one->external))
            status = add_exchange(part, one);
        else if (!one->external)
            status = cny_check_same_exchange(there, one);
    }
    for (size_t i = 0; status == CONEY_OK && i < queues; i++) {
        const coney_queue *one = &all_queues[i], *there = cny_topology_find_queue(known, one->name);
        if (!there || (there->external && !one->external))
            status = add_queue(part, one, cny_topology_find_anonymous(more, one->name));
        else if (!one->external)
            status = cny_check_same_queue(there, one);
    }
    for (size_t i = 0; status == CONEY_OK && i < bindings; i++) {
        if (!cny_topology_has_binding(known, &all_bindings[i]))
            status = add_binding(part, &all_bindings[i]);
    }
    return status;
}

coney_status cny_topology_difference(coney_topology **part, const coney_topology *known, const coney_topology *more)
{
    coney_topology *made = coney_topology_new();
    coney_status status = made ? add_difference(made, known, more) : cny_fail_memory();
    *part = made;
    if (status != CONEY_OK) {
        coney_topology_free(made);
        *part = NULL;
    }
    return status;
}

coney_topology *cny_topology_copy(const coney_topology *topology)
{
    coney_topology *copy = coney_topology_new();
    if (copy && add_all(copy, topology) == CONEY_OK) /* everything was checked before, so only memory can fail */
        return copy;
    coney_topology_free(copy);
    return NULL;
}

/* ---- removing ---- */

/* Leaves out of a list what is to go. The positions of the rest change. Returns how many have gone. */
typedef bool must_go(const void *thing, const void *what);

static size_t leave_out(cny_buffer *things, size_t size, must_go *goes, const void *what)
{
    size_t count = things->size / size, kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!goes(things->data + i * size, what))
            memmove(things->data + kept++ * size, things->data + i * size, size);
    }
    things->size = kept * size;
    return count - kept;
}

/* There are no more things than before, so there is room. */
static void index_again(coney_topology *topology)
{
    size_t exchanges, queues, bindings;
    const coney_exchange *all_exchanges = cny_topology_exchanges(topology, &exchanges);
    const coney_queue *all_queues = cny_topology_queues(topology, &queues);
    const coney_binding *all_bindings = cny_topology_bindings(topology, &bindings);
    cny_index_clear(&topology->exchange_index);
    cny_index_clear(&topology->queue_index);
    cny_index_clear(&topology->binding_index);
    for (size_t i = 0; i < exchanges; i++)
        cny_index_add(&topology->exchange_index, hash_text(all_exchanges[i].name), i);
    for (size_t i = 0; i < queues; i++)
        cny_index_add(&topology->queue_index, hash_text(all_queues[i].name), i);
    for (size_t i = 0; i < bindings; i++)
        cny_index_add(&topology->binding_index, hash_binding(&all_bindings[i]), i);
    cny_index_clear(&topology->anonymous_index);
    cny_index_clear(&topology->ref_index);
    for (size_t i = 0; i < topology->anonymous.size / sizeof(cny_anonymous); i++) {
        const cny_anonymous *one = &all_anonymous(topology)[i];
        cny_index_add(&topology->anonymous_index, hash_text(one->name), i);
        if (one->ref)
            cny_index_add(&topology->ref_index, hash_text(one->ref), i);
    }
}

static bool is_exchange_named(const void *exchange, const void *name)
{
    return strcmp(((const coney_exchange *)exchange)->name, name) == 0;
}

static bool is_queue_named(const void *queue, const void *name)
{
    return strcmp(((const coney_queue *)queue)->name, name) == 0;
}

static bool was_anonymous(const void *anonymous, const void *name)
{
    return strcmp(((const cny_anonymous *)anonymous)->name, name) == 0;
}

static bool is_bound_exchange(const void *thing, const void *name)
{
    const coney_binding *binding = thing;
    return strcmp(binding->exchange, name) == 0 || (binding->to_exchange && strcmp(binding->destination, name) == 0);
}

static bool is_bound_queue(const void *thing, const void *name)
{
    const coney_binding *binding = thing;
    return !binding->to_exchange && strcmp(binding->destination, name) == 0;
}

static bool is_same_binding(const void *thing, const void *binding)
{
    return cny_same_bindings(thing, binding);
}

bool cny_topology_remove_exchange(coney_topology *topology, const char *name)
{
    size_t gone = leave_out(&topology->exchanges, sizeof(coney_exchange), is_exchange_named, name);
    if (gone > 0)
        leave_out(&topology->bindings, sizeof(coney_binding), is_bound_exchange, name);
    index_again(topology);
    return gone > 0;
}

bool cny_topology_remove_queue(coney_topology *topology, const char *name)
{
    size_t gone = leave_out(&topology->queues, sizeof(coney_queue), is_queue_named, name);
    if (gone > 0)
        leave_out(&topology->bindings, sizeof(coney_binding), is_bound_queue, name);
    leave_out(&topology->anonymous, sizeof(cny_anonymous), was_anonymous, name);
    index_again(topology);
    return gone > 0;
}

bool cny_topology_remove_binding(coney_topology *topology, const coney_binding *binding)
{
    size_t gone = leave_out(&topology->bindings, sizeof(coney_binding), is_same_binding, binding);
    index_again(topology);
    return gone > 0;
}
