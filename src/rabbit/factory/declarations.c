/* SPDX-License-Identifier: MIT */
/* The registry of what is to be declared: the sets that have joined, and the state of each item. Any thread; most
 * functions are called with the factory's lock held. It must not know channels, nor how something is declared. */
#include "rabbit/factory/parts.h"
#include "rabbit/factory/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Spring's: five repetitions after 1 s, 2 s, 4 s, 5 s and 5 s. */
#define FIRST_DELAY_MS 1000
#define FIRST_MAX_DELAY_MS 5000
#define REPETITIONS 5

/* ---- walking; under lock ---- */

static cny_declaration_set **sets_of(const coney_connection_factory *factory, size_t *count)
{
    *count = factory->declarations.sets.size / sizeof(cny_declaration_set *);
    return (cny_declaration_set **)(void *)factory->declarations.sets.data;
}

cny_walk cny_walk_begin(const coney_connection_factory *factory)
{
    cny_walk one = {0};
    one.sets = sets_of(factory, &one.set_count);
    return one;
}

cny_declaration *cny_walk_next(cny_walk *one)
{
    for (; one->set < one->set_count; one->set++, one->item = 0) {
        while (one->item < one->sets[one->set]->count) {
            cny_declaration *item = &one->sets[one->set]->items[one->item++];
            if (!item->is_forgotten)
                return item;
        }
    }
    return NULL;
}

/* ---- states; under lock ---- */

/* Others need not ask without the lock: nothing that is wanted or has failed is in their way. */
static void count_hindering(cny_declarations *all)
{
    atomic_store(&all->hindering, all->counts[CNY_DECLARATION_WANTED] + all->counts[CNY_DECLARATION_FAILED]);
}

void cny_declaration_set_to(coney_connection_factory *factory, cny_declaration *item, cny_declaration_state state)
{
    cny_declarations *all = &factory->declarations;
    if (!item->set->has_joined) { /* the set has left while it was being declared */
        item->state = state;
        return;
    }
    if (state != item->state && (item->state == CNY_DECLARATION_WANTED || item->state == CNY_DECLARATION_FAILED))
        atomic_fetch_add(&all->changes, 1);
    all->counts[item->state]--;
    item->state = state;
    all->counts[state]++;
    count_hindering(all);
}

void cny_declaration_want_now(coney_connection_factory *factory, cny_declaration *item)
{
    if (item->is_forgotten || item->is_external)
        return;
    cny_declaration_set_to(factory, item, CNY_DECLARATION_WANTED);
    cny_error_unref(item->error);
    item->error = NULL;
    item->delay_ms = 0;
    item->due_at = 0;
}

void cny_declaration_want(coney_connection_factory *factory, cny_declaration *item)
{
    if (!cny_must_isolate(&item->strikes))
        cny_declaration_want_now(factory, item);
}

void cny_declaration_delay(cny_declaration *item, int most_ms)
{
    if (item->refusals > 0 && item->refusals <= REPETITIONS && most_ms > FIRST_MAX_DELAY_MS)
        most_ms = FIRST_MAX_DELAY_MS;
    item->delay_ms = cny_backoff(item->delay_ms, FIRST_DELAY_MS, 2, most_ms);
    item->due_at = cny_deadline(item->delay_ms);
}

bool cny_declaration_is_missing(const cny_declaration *item)
{
    return item->state == CNY_DECLARATION_WANTED || item->state == CNY_DECLARATION_REFUSED ||
           item->state == CNY_DECLARATION_FAILED;
}

bool cny_declaration_is_last_attempt(const cny_declaration *item)
{
    return item->on_refusal == CONEY_REFUSAL_FAIL && item->refusals > REPETITIONS;
}

size_t cny_declarations_isolate_wanted(coney_connection_factory *factory)
{
    size_t count = 0;
    cny_walk all = cny_walk_begin(factory);
    for (cny_declaration *item; (item = cny_walk_next(&all));) {
        if (item->state != CNY_DECLARATION_WANTED || cny_must_isolate(&item->strikes))
            continue;
        cny_strikes_isolate(&item->strikes);
        count++;
    }
    return count;
}

/* ---- joining and leaving ---- */

static void count_in(coney_connection_factory *factory, const cny_declaration_set *set, bool in)
{
    for (size_t i = 0; i < set->count; i++)
        factory->declarations.counts[set->items[i].state] += in ? 1 : (size_t)-1;
    count_hindering(&factory->declarations);
}

/* Under lock. */
static coney_status join(coney_connection_factory *factory, cny_declaration_set *set, bool automatic)
{
    if (!cny_buffer_append(&factory->declarations.sets, &set, sizeof(cny_declaration_set *)))
        return cny_fail_memory();
    set->is_automatic = automatic;
    set->has_joined = true;
    cny_declaration_set_ref(set);
    count_in(factory, set, true);
    return CONEY_OK;
}

static void want_all(coney_connection_factory *factory, cny_declaration_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        cny_declaration_want(factory, &set->items[i]);
    cny_factory_wake_locked(factory);
}

coney_status cny_declarations_join(coney_connection_factory *factory, cny_declaration_set *set, bool automatic)
{
    pthread_mutex_lock(&factory->lock);
    coney_status status = join(factory, set, automatic);
    if (status == CONEY_OK && automatic)
        want_all(factory, set);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

/* After a loss that comes before the joining the channel is dead; after a later loss the set is wanted as all are. */
coney_status cny_declarations_join_declared(coney_connection_factory *factory, cny_declaration_set *set,
                                            cny_channel *channel)
{
    pthread_mutex_lock(&factory->lock);
    for (size_t i = 0; i < set->count; i++)
        set->items[i].state = set->items[i].is_external ? CNY_DECLARATION_IDLE : CNY_DECLARATION_DECLARED;
    coney_status status = join(factory, set, true);
    pthread_mutex_unlock(&factory->lock);
    if (status != CONEY_OK || cny_channel_alive(channel))
        return status;
    pthread_mutex_lock(&factory->lock);
    want_all(factory, set);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

void cny_declarations_leave(coney_connection_factory *factory, cny_declaration_set *set)
{
    pthread_mutex_lock(&factory->lock);
    size_t count, kept = 0;
    cny_declaration_set **sets = sets_of(factory, &count);
    for (size_t i = 0; i < count; i++) {
        if (sets[i] != set)
            sets[kept++] = sets[i];
    }
    bool left = kept < count;
    factory->declarations.sets.size = kept * sizeof(cny_declaration_set *);
    if (left) {
        count_in(factory, set, false);
        set->has_joined = false;
        atomic_fetch_add(&factory->declarations.changes, 1);
        cny_factory_wake_locked(factory);
    }
    pthread_mutex_unlock(&factory->lock);
    if (left)
        cny_declaration_set_unref(set);
}

/* ---- forgetting ---- */

/* The item is the thing, or a binding of the thing. */
static bool goes_with(const cny_declaration *item, cny_declaration_kind kind, const void *thing)
{
    bool is_of_queue = item->kind == CNY_DECLARE_QUEUE || item->kind == CNY_DECLARE_QUEUE_BINDING;
    switch (kind) {
    case CNY_DECLARE_QUEUE: return is_of_queue && strcmp(cny_declaration_name(item), thing) == 0;
    case CNY_DECLARE_EXCHANGE:
        return (!is_of_queue && strcmp(cny_declaration_name(item), thing) == 0) ||
               (cny_is_binding(item) && strcmp(cny_binding_source(item), thing) == 0);
    case CNY_DECLARE_EXCHANGE_BINDING:
    case CNY_DECLARE_QUEUE_BINDING: break;
    }
    return cny_is_binding(item) && cny_same_bindings(item->thing, thing);
}

bool cny_declaration_set_forget(coney_connection_factory *factory, cny_declaration_set *set, cny_declaration_kind kind,
                                const void *thing)
{
    bool is_empty = true;
    pthread_mutex_lock(&factory->lock);
    for (size_t i = 0; i < set->count; i++) {
        cny_declaration *item = &set->items[i];
        if (!item->is_forgotten && goes_with(item, kind, thing)) {
            cny_declaration_set_to(factory, item, CNY_DECLARATION_IDLE);
            item->is_forgotten = true;
            cny_error_unref(item->error);
            item->error = NULL;
        }
        is_empty = is_empty && item->is_forgotten;
    }
    pthread_cond_broadcast(&factory->changed);
    pthread_mutex_unlock(&factory->lock);
    return is_empty;
}

/* ---- bindings; under lock ---- */

static int compare_hashes(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;
    return one < other ? -1 : one > other;
}

void cny_declarations_sort_names(uint32_t *names, size_t count)
{
    if (count > 0)
        qsort(names, count, sizeof *names, compare_hashes);
}

bool cny_declarations_has_name(const uint32_t *names, size_t count, uint32_t hash)
{
    return count > 0 && bsearch(&hash, names, count, sizeof *names, compare_hashes);
}

void cny_declarations_want_bindings(coney_connection_factory *factory, const uint32_t *names, size_t count)
{
    cny_walk all = cny_walk_begin(factory);
    for (cny_declaration *item; count > 0 && (item = cny_walk_next(&all));) {
        bool is_as_new = item->state == CNY_DECLARATION_WANTED && !item->error; /* with an error the item has a pause */
        if (!cny_is_binding(item) || is_as_new || item->state == CNY_DECLARATION_IDLE)
            continue;
        if (cny_declarations_has_name(names, count, item->name_hash) ||
            cny_declarations_has_name(names, count, item->source_hash))
            cny_declaration_want(factory, item);
    }
}

/* ---- what is due; under lock ---- */

void cny_declarations_lost(coney_connection_factory *factory, coney_connection_role role)
{
    size_t count;
    cny_declaration_set **sets = sets_of(factory, &count);
    factory->declarations.not_before = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; sets[i]->is_automatic && k < sets[i]->count; k++) {
            cny_declaration *item = &sets[i]->items[k];
            if (role == CONEY_CONSUMING || !item->is_exclusive)
                cny_declaration_want(factory, item);
        }
    }
}

void cny_declarations_given_up(coney_connection_factory *factory)
{
    atomic_fetch_add(&factory->declarations.changes, 1);
}

static bool is_due(const cny_declaration *item, coney_connection_role role, int64_t now)
{
    return cny_declaration_is_missing(item) && item->due_at <= now && (role == CONEY_CONSUMING || !item->is_exclusive);
}

static bool is_for_run(const cny_declaration *item, bool isolated)
{
    return cny_must_isolate(&item->strikes) == isolated && !cny_must_be_alone(&item->strikes);
}

/* The item that was tried longest ago first. Items of the same moment keep the order of their set. */
static int compare_attempts(const void *a, const void *b)
{
    const cny_declaration *one = *(cny_declaration *const *)a, *other = *(cny_declaration *const *)b;
    if (one->tried_at != other->tried_at)
        return one->tried_at < other->tried_at ? -1 : 1;
    return (uintptr_t)one < (uintptr_t)other ? -1 : one != other;
}

bool cny_declarations_collect(const cny_buffer *sets, cny_declaration_kind kind, coney_connection_role role,
                              bool isolated, cny_buffer *items)
{
    cny_declaration_set **all = (cny_declaration_set **)(void *)sets->data;
    int64_t now = cny_now_ms();
    for (size_t i = 0; i < sets->size / sizeof(cny_declaration_set *); i++) {
        for (size_t k = 0; k < all[i]->count; k++) {
            cny_declaration *item = &all[i]->items[k];
            bool is_to_come = item->kind == kind && is_due(item, role, now) && is_for_run(item, isolated);
            if (is_to_come && !cny_buffer_append(items, &item, sizeof(cny_declaration *)))
                return false;
        }
    }
    if (isolated && items->size > 0)
        qsort(items->data, items->size / sizeof(cny_declaration *), sizeof(cny_declaration *), compare_attempts);
    return true;
}

int64_t cny_declarations_next_due(const coney_connection_factory *factory, coney_connection_role role, bool isolated)
{
    const size_t *counts = factory->declarations.counts;
    int64_t next = INT64_MAX;
    if (counts[CNY_DECLARATION_WANTED] + counts[CNY_DECLARATION_REFUSED] + counts[CNY_DECLARATION_FAILED] == 0)
        return next;
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; (item = cny_walk_next(&all));) {
        if (is_due(item, role, INT64_MAX) && cny_must_isolate(&item->strikes) == isolated && item->due_at < next)
            next = item->due_at;
    }
    return next;
}

static bool is_end(const cny_declaration *item, const cny_declaration *binding)
{
    bool is_of_queue = binding->kind == CNY_DECLARE_QUEUE_BINDING;
    return cny_is_named(item, is_of_queue ? CNY_DECLARE_QUEUE : CNY_DECLARE_EXCHANGE, cny_declaration_name(binding),
                        binding->name_hash) ||
           cny_is_named(item, CNY_DECLARE_EXCHANGE, cny_binding_source(binding), binding->source_hash);
}

bool cny_declarations_await_end(coney_connection_factory *factory, const cny_declaration *binding)
{
    bool awaits = false;
    cny_walk all = cny_walk_begin(factory);
    for (cny_declaration *item; (item = cny_walk_next(&all));) {
        if (item->state != CNY_DECLARATION_WANTED || !is_end(item, binding))
            continue;
        awaits = true;
        if (item->error && cny_error_view(item->error)->status == CONEY_E_RESOURCE_LOCKED)
            cny_declaration_want(factory, item);
    }
    return awaits;
}

/* ---- telling ---- */

static void describe_mismatch(const cny_declaration *item, coney_declaration *declaration)
{
    cny_mismatch mismatch;
    if (cny_is_binding(item) || !cny_read_mismatch(&mismatch, declaration->text))
        return;
    const char *field = item->kind == CNY_DECLARE_QUEUE ? cny_queue_field_of(item->thing, mismatch.argument)
                                                        : cny_exchange_field_of(item->thing, mismatch.argument);
    snprintf(declaration->field, sizeof declaration->field, "%s", field);
    snprintf(declaration->declared, sizeof declaration->declared, "%s", mismatch.declared);
    snprintf(declaration->existing, sizeof declaration->existing, "%s", mismatch.existing);
}

void cny_declaration_describe(const cny_declaration *item, coney_declaration *declaration)
{
    static const coney_declaration_state states[CNY_DECLARATION_STATES] = {
        CONEY_DECLARATION_PENDING, CONEY_DECLARATION_PENDING, CONEY_DECLARATION_DECLARED,
        CONEY_DECLARATION_FOUND,   CONEY_DECLARATION_REFUSED, CONEY_DECLARATION_FAILED};
    const coney_error *error = cny_error_view(item->error);
    bool is_binding = cny_is_binding(item);
    const coney_binding *binding = item->thing; /* of no use if it is none */
    *declaration = (coney_declaration){
        .kind = is_binding                           ? CONEY_DECLARATION_BINDING
                : item->kind == CNY_DECLARE_EXCHANGE ? CONEY_DECLARATION_EXCHANGE
                                                     : CONEY_DECLARATION_QUEUE,
        .state = states[item->state],
        .status = error ? error->status : CONEY_OK,
        .broker_code = error ? error->broker_code : 0,
    };
    snprintf(declaration->name, sizeof declaration->name, "%s", cny_declaration_name(item));
    snprintf(declaration->exchange, sizeof declaration->exchange, "%s", is_binding ? binding->exchange : "");
    snprintf(declaration->routing_key, sizeof declaration->routing_key, "%s",
             is_binding && binding->routing_key ? binding->routing_key : "");
    snprintf(declaration->text, sizeof declaration->text, "%s", error ? error->text : "");
    if (error && error->status == CONEY_E_PRECONDITION_FAILED)
        describe_mismatch(item, declaration);
}

coney_status coney_connection_factory_list_declarations(coney_connection_factory *factory,
                                                        coney_declaration_listener *visit, void *user)
{
    CNY_DISABLE_CANCEL();
    if (!factory || !visit)
        return cny_fail(CONEY_E_INVALID, "list declarations: factory or visit is NULL");
    coney_status status = cny_factory_check_process(factory);
    if (status != CONEY_OK)
        return status;
    cny_buffer copies = {0};
    pthread_mutex_lock(&factory->lock);
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; status == CONEY_OK && (item = cny_walk_next(&all));) {
        coney_declaration one;
        if (item->is_external)
            continue;
        cny_declaration_describe(item, &one);
        status = cny_buffer_append(&copies, &one, sizeof one) ? CONEY_OK : cny_fail_memory();
    }
    pthread_mutex_unlock(&factory->lock);
    const coney_declaration *list = (const coney_declaration *)(const void *)copies.data;
    for (size_t i = 0; status == CONEY_OK && i < copies.size / sizeof *list; i++)
        visit(&list[i], user);
    cny_buffer_free(&copies);
    return status;
}

/* Under lock. Two admins may declare a name differently; the broker has decided which counts. */
static coney_status copy_item(coney_topology *copy, const cny_declaration *item)
{
    coney_status status = item->kind == CNY_DECLARE_EXCHANGE ? coney_topology_add_exchange(copy, item->thing)
                          : item->kind == CNY_DECLARE_QUEUE  ? coney_topology_add_queue(copy, item->thing)
                                                             : coney_topology_add_binding(copy, item->thing);
    cny_error_unref(copy->failure);
    copy->failure = NULL;
    return status == CONEY_E_INVALID ? CONEY_OK : status;
}

coney_status cny_declarations_copy(coney_topology **copy, coney_connection_factory *factory)
{
    coney_topology *made = coney_topology_new();
    coney_status status = made ? CONEY_OK : cny_fail_memory();
    pthread_mutex_lock(&factory->lock);
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; made && status == CONEY_OK && (item = cny_walk_next(&all));)
        status = copy_item(made, item);
    pthread_mutex_unlock(&factory->lock);
    if (status != CONEY_OK) {
        coney_topology_free(made);
        made = NULL;
    }
    *copy = made;
    return status;
}

coney_status coney_connection_factory_topology(coney_connection_factory *factory, coney_topology **topology)
{
    CNY_DISABLE_CANCEL();
    if (topology)
        *topology = NULL;
    if (!factory || !topology)
        return cny_fail(CONEY_E_INVALID, "topology of a factory: factory or topology is NULL");
    coney_status status = cny_factory_check_process(factory);
    return status == CONEY_OK ? cny_declarations_copy(topology, factory) : status;
}
