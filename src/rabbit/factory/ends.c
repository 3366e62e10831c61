/* SPDX-License-Identifier: MIT */
/* Finds the bindings whose queue or exchange nobody in the factory declares: perhaps a name is misspelt. On the thread
 * of a run. It must not know when something is sent. */
#include "rabbit/factory/declaring.h"
#include "rabbit/factory/parts.h"

#include <string.h>

/* ---- ends of bindings ---- */

/* Hashes of the names of all exchanges, and of all queues, that somebody in the factory declares or knows of. */
typedef struct known_names {
    cny_buffer exchanges, queues; /* of uint32_t, sorted */
} known_names;

static void sort(cny_buffer *names)
{
    cny_declarations_sort_names((uint32_t *)(void *)names->data, names->size / sizeof(uint32_t));
}

/* Under lock. False without memory. */
static bool gather_names(const coney_connection_factory *factory, known_names *known)
{
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; (item = cny_walk_next(&all));) {
        cny_buffer *to = item->kind == CNY_DECLARE_EXCHANGE ? &known->exchanges : &known->queues;
        if (!cny_is_binding(item) && !cny_buffer_append(to, &item->name_hash, sizeof item->name_hash))
            return false;
    }
    sort(&known->exchanges);
    sort(&known->queues);
    return true;
}

static bool is_known(const cny_buffer *names, const char *name, uint32_t hash)
{
    return cny_is_of_broker(name) ||
           cny_declarations_has_name((const uint32_t *)(const void *)names->data, names->size / sizeof(uint32_t), hash);
}

/* Sets this thread's last error if nobody declares an end of the binding. */
static bool has_unknown_end(const known_names *known, const cny_declaration *item)
{
    const coney_binding *binding = item->thing;
    bool has_source = is_known(&known->exchanges, binding->exchange, item->source_hash);
    const cny_buffer *destinations = binding->to_exchange ? &known->exchanges : &known->queues;
    if (has_source && is_known(destinations, binding->destination, item->name_hash))
        return false;
    bool is_exchange = !has_source || binding->to_exchange;
    const char *kind = is_exchange ? "exchange" : "queue";
    cny_fail(CONEY_E_INVALID,
             "neither a topology nor a listener of this factory declares %s '%s', so the binding waits for somebody "
             "else to do so; add the %s to the topology, with external set if that is meant",
             kind, has_source ? binding->destination : binding->exchange, kind);
    return true;
}

static void tell_unknown_end(cny_run *one, cny_declaration *item)
{
    const coney_binding *binding = item->thing;
    if (item->set->refuses_unknown_ends)
        cny_run_refused(one, item);
    else
        cny_log(CONEY_LOG_WARN, "bind %s '%s' to exchange '%s' with routing key '%s': %s",
                binding->to_exchange ? "exchange" : "queue", binding->destination, binding->exchange,
                binding->routing_key ? binding->routing_key : "", coney_last_error());
}

/* Under lock: gives the bindings that are wanted and were not checked yet. A binding that was refused is checked each
 * time. False without memory. */
static bool gather_unchecked(cny_run *one, cny_buffer *items)
{
    cny_declaration_set **sets = (cny_declaration_set **)(void *)one->sets.data;
    for (size_t i = 0; i < one->sets.size / sizeof(cny_declaration_set *); i++) {
        for (size_t k = 0; k < sets[i]->count; k++) {
            cny_declaration *item = &sets[i]->items[k];
            bool is_due = cny_declaration_is_missing(item) && item->due_at <= cny_now_ms();
            if (!cny_is_binding(item) || item->was_checked || !is_due)
                continue;
            if (!cny_buffer_append(items, &item, sizeof(cny_declaration *)))
                return false;
            item->was_checked = !sets[i]->refuses_unknown_ends;
        }
    }
    return true;
}

void cny_run_check_ends(cny_run *one)
{
    known_names known = {0};
    cny_buffer items = {0};
    pthread_mutex_lock(&one->factory->lock);
    bool can_check = gather_unchecked(one, &items) && items.size > 0 && gather_names(one->factory, &known);
    pthread_mutex_unlock(&one->factory->lock);
    cny_declaration **all = (cny_declaration **)(void *)items.data;
    for (size_t i = 0; can_check && i < items.size / sizeof(cny_declaration *); i++) {
        if (has_unknown_end(&known, all[i]))
            tell_unknown_end(one, all[i]);
    }
    cny_buffer_free(&known.exchanges);
    cny_buffer_free(&known.queues);
    cny_buffer_free(&items);
}
