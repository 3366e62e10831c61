/* SPDX-License-Identifier: MIT */
/* A set: the topology that one admin or listener brings, and an item for each thing in it. Any thread. It must not know
 * the registry. */
#include "rabbit/factory/registry.h"
#include "topology/topology.h"

#include <string.h>

/* ---- names ---- */

uint32_t cny_hash_name(const char *name)
{
    return cny_hash(name, strlen(name));
}

bool cny_is_binding(const cny_declaration *item)
{
    return item->kind == CNY_DECLARE_EXCHANGE_BINDING || item->kind == CNY_DECLARE_QUEUE_BINDING;
}

const char *cny_declaration_name(const cny_declaration *item)
{
    switch (item->kind) {
    case CNY_DECLARE_EXCHANGE: return ((const coney_exchange *)item->thing)->name;
    case CNY_DECLARE_QUEUE: return ((const coney_queue *)item->thing)->name;
    case CNY_DECLARE_EXCHANGE_BINDING:
    case CNY_DECLARE_QUEUE_BINDING: break;
    }
    return ((const coney_binding *)item->thing)->destination;
}

const char *cny_binding_source(const cny_declaration *binding)
{
    return ((const coney_binding *)binding->thing)->exchange;
}

bool cny_is_named(const cny_declaration *item, cny_declaration_kind kind, const char *name, uint32_t hash)
{
    return item->kind == kind && item->name_hash == hash && strcmp(cny_declaration_name(item), name) == 0;
}

bool cny_is_bound_from(const cny_declaration *item, const char *exchange, uint32_t hash)
{
    return cny_is_binding(item) && item->source_hash == hash && strcmp(cny_binding_source(item), exchange) == 0;
}

/* ---- sets ---- */

static cny_declaration *add_item(cny_declaration_set *set, cny_declaration_kind kind, const void *thing,
                                 const char *name)
{
    cny_declaration *item = &set->items[set->count++];
    *item = (cny_declaration){.set = set, .kind = kind, .thing = thing, .name_hash = cny_hash_name(name)};
    return item;
}

static bool is_exclusive_queue(const cny_declaration_set *set, const char *name)
{
    uint32_t hash = cny_hash_name(name);
    for (size_t i = 0; i < set->count; i++) {
        const cny_declaration *item = &set->items[i];
        if (item->is_exclusive && cny_is_named(item, CNY_DECLARE_QUEUE, name, hash))
            return true;
    }
    return false;
}

static void fill(cny_declaration_set *set)
{
    size_t count;
    const coney_exchange *exchanges = cny_topology_exchanges(set->topology, &count);
    for (size_t i = 0; i < count; i++) {
        cny_declaration *item = add_item(set, CNY_DECLARE_EXCHANGE, &exchanges[i], exchanges[i].name);
        item->is_external = exchanges[i].external;
        item->on_refusal = exchanges[i].on_refusal;
    }
    const coney_queue *queues = cny_topology_queues(set->topology, &count);
    bool any_exclusive = false;
    for (size_t i = 0; i < count; i++) {
        cny_declaration *item = add_item(set, CNY_DECLARE_QUEUE, &queues[i], queues[i].name);
        item->is_exclusive = queues[i].exclusive;
        item->is_external = queues[i].external || cny_is_of_broker(queues[i].name);
        item->on_refusal = queues[i].on_refusal;
        any_exclusive = any_exclusive || queues[i].exclusive;
    }
    const coney_binding *bindings = cny_topology_bindings(set->topology, &count);
    for (size_t i = 0; i < count; i++) {
        const coney_binding *one = &bindings[i];
        bool to_exclusive = any_exclusive && !one->to_exchange && is_exclusive_queue(set, one->destination);
        cny_declaration *item = add_item(
            set, one->to_exchange ? CNY_DECLARE_EXCHANGE_BINDING : CNY_DECLARE_QUEUE_BINDING, one, one->destination);
        item->on_refusal = one->on_refusal;
        item->source_hash = cny_hash_name(one->exchange);
        item->is_exclusive = to_exclusive;
    }
}

cny_declaration_set *cny_declaration_set_new(coney_topology *topology, const cny_set_options *options)
{
    size_t exchanges, queues, bindings;
    cny_topology_exchanges(topology, &exchanges);
    cny_topology_queues(topology, &queues);
    cny_topology_bindings(topology, &bindings);
    size_t count = exchanges + queues + bindings;
    cny_declaration_set *made = cny_alloc(sizeof *made + count * sizeof *made->items);
    if (!made) {
        coney_topology_free(topology);
        return NULL;
    }
    atomic_init(&made->refs, 1);
    made->topology = topology;
    made->refuses_unknown_ends = options->refuses_unknown_ends;
    fill(made);
    for (size_t i = 0; i < count; i++)
        made->items[i].timeout_ms = options->timeout_ms;
    return made;
}

bool cny_declaration_set_is_of(const cny_declaration_set *set, cny_declaration_kind kind, const void *thing)
{
    const cny_declaration *item = set->count > 0 ? &set->items[0] : NULL;
    if (!item || item->kind != kind)
        return false;
    if (cny_is_binding(item))
        return cny_same_bindings(item->thing, thing);
    const char *name =
        kind == CNY_DECLARE_QUEUE ? ((const coney_queue *)thing)->name : ((const coney_exchange *)thing)->name;
    return strcmp(cny_declaration_name(item), name) == 0;
}

cny_declaration_set *cny_declaration_set_ref(cny_declaration_set *set)
{
    atomic_fetch_add_explicit(&set->refs, 1, memory_order_relaxed);
    return set;
}

void cny_declaration_set_unref(cny_declaration_set *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < set->count; i++) {
        cny_error_unref(set->items[i].error);
        cny_error_unref(set->items[i].pending_refusal);
        cny_error_unref(set->items[i].told);
    }
    coney_topology_free(set->topology);
    cny_free(set);
}

void cny_declarations_free(cny_declarations *declarations)
{
    cny_declaration_set **sets = (cny_declaration_set **)(void *)declarations->sets.data;
    for (size_t i = 0; i < declarations->sets.size / sizeof(cny_declaration_set *); i++)
        cny_declaration_set_unref(sets[i]);
    cny_buffer_free(&declarations->sets);
}
