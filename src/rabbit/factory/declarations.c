/* SPDX-License-Identifier: MIT */
/* The registry of what is to be declared: who brings it, how each thing stands, and what that means for those who
 * consume and send. declaring.c talks to the broker. */
#include "rabbit/connection/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_EXCHANGES_IN_A_ROW 16 /* bound to each other, that are looked at */

/* ---- sets ---- */

static uint32_t hash_of(const char *text)
{
    return cny_hash(text, strlen(text));
}

static const coney_exchange *exchanges_of(const coney_topology *topology, size_t *count)
{
    *count = topology->exchanges.size / sizeof(coney_exchange);
    return (const coney_exchange *)(const void *)topology->exchanges.data;
}

static const coney_queue *queues_of(const coney_topology *topology, size_t *count)
{
    *count = topology->queues.size / sizeof(coney_queue);
    return (const coney_queue *)(const void *)topology->queues.data;
}

static const coney_binding *bindings_of(const coney_topology *topology, size_t *count)
{
    *count = topology->bindings.size / sizeof(coney_binding);
    return (const coney_binding *)(const void *)topology->bindings.data;
}

static cny_declaration *add_item(cny_declaration_set *set, cny_declaration_kind kind, const void *thing,
                                 const char *name)
{
    cny_declaration *item = &set->items[set->count++];
    *item = (cny_declaration){.set = set, .kind = kind, .thing = thing, .name_hash = hash_of(name)};
    return item;
}

static bool is_exclusive_queue(const cny_declaration_set *set, const char *name)
{
    uint32_t hash = hash_of(name);
    for (size_t i = 0; i < set->count; i++) {
        const cny_declaration *item = &set->items[i];
        if (item->is_exclusive && item->name_hash == hash &&
            strcmp(((const coney_queue *)item->thing)->name, name) == 0)
            return true;
    }
    return false;
}

static void fill(cny_declaration_set *set)
{
    size_t count;
    const coney_exchange *exchanges = exchanges_of(set->topology, &count);
    for (size_t i = 0; i < count; i++)
        add_item(set, CNY_DECLARE_EXCHANGE, &exchanges[i], exchanges[i].name);
    const coney_queue *queues = queues_of(set->topology, &count);
    bool any_exclusive = false;
    for (size_t i = 0; i < count; i++) {
        add_item(set, CNY_DECLARE_QUEUE, &queues[i], queues[i].name)->is_exclusive = queues[i].exclusive;
        any_exclusive = any_exclusive || queues[i].exclusive;
    }
    const coney_binding *bindings = bindings_of(set->topology, &count);
    for (size_t i = 0; i < count; i++) {
        const coney_binding *one = &bindings[i];
        bool to_exclusive = any_exclusive && !one->to_exchange && is_exclusive_queue(set, one->destination);
        cny_declaration *item = add_item(
            set, one->to_exchange ? CNY_DECLARE_EXCHANGE_BINDING : CNY_DECLARE_QUEUE_BINDING, one, one->destination);
        item->source_hash = hash_of(one->exchange);
        item->is_exclusive = to_exclusive;
    }
}

cny_declaration_set *cny_declaration_set_new(coney_topology *topology, int timeout_ms)
{
    size_t exchanges, queues, bindings;
    exchanges_of(topology, &exchanges);
    queues_of(topology, &queues);
    bindings_of(topology, &bindings);
    size_t count = exchanges + queues + bindings;
    cny_declaration_set *made = cny_alloc(sizeof *made + count * sizeof *made->items);
    if (!made) {
        coney_topology_free(topology);
        return NULL;
    }
    atomic_init(&made->refs, 1);
    made->topology = topology;
    fill(made);
    for (size_t i = 0; i < count; i++)
        made->items[i].timeout_ms = timeout_ms;
    return made;
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
        cny_error_unref(set->items[i].refusal);
    }
    coney_topology_free(set->topology);
    cny_free(set);
}

/* ---- walking; under lock ---- */

static cny_declaration_set **sets_of(const coney_connection_factory *factory, size_t *count)
{
    *count = factory->declarations.sets.size / sizeof(cny_declaration_set *);
    return (cny_declaration_set **)(void *)factory->declarations.sets.data;
}

/* All items of all sets, one after another. */
typedef struct walk {
    cny_declaration_set **sets;
    size_t set_count, set, item;
} walk;

static walk begin_walk(const coney_connection_factory *factory)
{
    walk one = {0};
    one.sets = sets_of(factory, &one.set_count);
    return one;
}

static cny_declaration *next_item(walk *one)
{
    for (; one->set < one->set_count; one->set++, one->item = 0) {
        if (one->item < one->sets[one->set]->count)
            return &one->sets[one->set]->items[one->item++];
    }
    return NULL;
}

static bool is_binding(const cny_declaration *item)
{
    return item->kind == CNY_DECLARE_EXCHANGE_BINDING || item->kind == CNY_DECLARE_QUEUE_BINDING;
}

static const char *name_of(const cny_declaration *item)
{
    switch (item->kind) {
    case CNY_DECLARE_EXCHANGE: return ((const coney_exchange *)item->thing)->name;
    case CNY_DECLARE_QUEUE: return ((const coney_queue *)item->thing)->name;
    case CNY_DECLARE_EXCHANGE_BINDING:
    case CNY_DECLARE_QUEUE_BINDING: break;
    }
    return ((const coney_binding *)item->thing)->destination;
}

static const char *source_of(const cny_declaration *binding)
{
    return ((const coney_binding *)binding->thing)->exchange;
}

static bool is_named(const cny_declaration *item, cny_declaration_kind kind, const char *name, uint32_t hash)
{
    return item->kind == kind && item->name_hash == hash && strcmp(name_of(item), name) == 0;
}

static bool is_bound_from(const cny_declaration *item, const char *exchange, uint32_t hash)
{
    return is_binding(item) && item->source_hash == hash && strcmp(source_of(item), exchange) == 0;
}

/* ---- states; under lock ---- */

void cny_declaration_set_to(coney_connection_factory *factory, cny_declaration *item, cny_declaration_state state)
{
    cny_declarations *all = &factory->declarations;
    if (!item->set->has_joined) { /* it left while it was being declared */
        item->state = state;
        return;
    }
    if (item->state == CNY_DECLARATION_WANTED && state != CNY_DECLARATION_WANTED)
        atomic_fetch_add(&all->settled, 1);
    all->counts[item->state]--;
    item->state = state;
    all->counts[state]++;
    atomic_store(&all->wanted, all->counts[CNY_DECLARATION_WANTED]);
}

/* At once, as if it had never been tried; but one over which connections were lost keeps its pauses. */
static void want(coney_connection_factory *factory, cny_declaration *item)
{
    if (cny_must_isolate(&item->strikes))
        return;
    cny_declaration_set_to(factory, item, CNY_DECLARATION_WANTED);
    cny_error_unref(item->error);
    item->error = NULL;
    item->is_told = false;
    item->delay_ms = 0;
    item->due_at = 0;
}

static void attend(coney_connection_factory *factory)
{
    factory->attention = true;
    pthread_cond_broadcast(&factory->changed);
}

/* ---- those who bring something ---- */

static void count_in(coney_connection_factory *factory, const cny_declaration_set *set, bool in)
{
    for (size_t i = 0; i < set->count; i++)
        factory->declarations.counts[set->items[i].state] += in ? 1 : (size_t)-1;
    atomic_store(&factory->declarations.wanted, factory->declarations.counts[CNY_DECLARATION_WANTED]);
}

coney_status cny_declarations_join(coney_connection_factory *factory, cny_declaration_set *set, bool automatic)
{
    pthread_mutex_lock(&factory->lock);
    bool joined = cny_buffer_append(&factory->declarations.sets, &set, sizeof(cny_declaration_set *));
    if (joined) {
        set->is_automatic = automatic;
        set->has_joined = true;
        cny_declaration_set_ref(set);
        count_in(factory, set, true);
        for (size_t i = 0; automatic && i < set->count; i++)
            want(factory, &set->items[i]);
        attend(factory);
    }
    pthread_mutex_unlock(&factory->lock);
    return joined ? CONEY_OK : cny_fail_memory();
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
        attend(factory);
    }
    pthread_mutex_unlock(&factory->lock);
    if (left)
        cny_declaration_set_unref(set);
}

void cny_declarations_free(cny_declarations *declarations)
{
    cny_declaration_set **sets = (cny_declaration_set **)(void *)declarations->sets.data;
    for (size_t i = 0; i < declarations->sets.size / sizeof(cny_declaration_set *); i++)
        cny_declaration_set_unref(sets[i]);
    cny_buffer_free(&declarations->sets);
}

/* Under lock: the broker has answered for each item, or will not soon. */
static bool is_answered(const cny_declaration_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i].state == CNY_DECLARATION_WANTED && !set->items[i].error)
            return false;
    }
    return true;
}

static coney_status first_refusal(const cny_declaration_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        if (set->items[i].error)
            return cny_error_raise(set->items[i].error);
    }
    return CONEY_OK;
}

/* Under lock: until all is answered, as long as answers come. */
static coney_status wait_until_answered(coney_connection_factory *factory, const cny_declaration_set *set,
                                        int timeout_ms)
{
    uint64_t answers = factory->declarations.answers;
    int64_t deadline = cny_deadline(timeout_ms);
    bool in_time = true;
    while (!is_answered(set) && in_time && !factory->closed) {
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
        if (answers == factory->declarations.answers)
            continue;
        answers = factory->declarations.answers;
        deadline = cny_deadline(timeout_ms);
        in_time = true;
    }
    if (factory->closed)
        return cny_fail(CONEY_E_CLOSED, "the connection factory is closed");
    return is_answered(set) ? first_refusal(set)
                            : cny_fail(CONEY_E_TIMEOUT, "declare: no answer from the broker within %d ms", timeout_ms);
}

coney_status cny_declarations_declare(coney_connection_factory *factory, cny_declaration_set *set, int timeout_ms)
{
    pthread_mutex_lock(&factory->lock);
    for (size_t i = 0; i < set->count; i++)
        want(factory, &set->items[i]);
    attend(factory);
    pthread_mutex_unlock(&factory->lock);
    coney_status status = cny_factory_wait_open(factory, CONEY_CONSUMING, cny_deadline(timeout_ms));
    pthread_mutex_lock(&factory->lock);
    if (status == CONEY_OK)
        status = wait_until_answered(factory, set, timeout_ms);
    for (size_t i = 0; !set->is_automatic && i < set->count; i++)
        cny_declaration_set_to(factory, &set->items[i], CNY_DECLARATION_IDLE);
    pthread_mutex_unlock(&factory->lock);
    return status;
}

cny_declaration_state cny_declaration_set_state(coney_connection_factory *factory, const cny_declaration_set *set,
                                                cny_accepts_found *accepts, void *user, cny_error **error)
{
    cny_declaration_state worst = CNY_DECLARATION_DECLARED;
    cny_error *first = NULL;
    pthread_mutex_lock(&factory->lock);
    for (size_t i = 0; i < set->count; i++) {
        const cny_declaration *item = &set->items[i];
        bool is_fine = item->state == CNY_DECLARATION_DECLARED ||
                       (item->state == CNY_DECLARATION_FOUND && (!accepts || accepts(item, user)));
        if (is_fine)
            continue;
        bool is_wanted = item->state == CNY_DECLARATION_WANTED || item->state == CNY_DECLARATION_IDLE;
        worst = is_wanted || worst == CNY_DECLARATION_WANTED ? CNY_DECLARATION_WANTED : CNY_DECLARATION_REFUSED;
        if (!first)
            first = item->error;
    }
    *error = first ? cny_error_ref(first) : NULL;
    pthread_mutex_unlock(&factory->lock);
    return worst;
}

/* ---- those who use what is declared ---- */

/* Under lock: the exchanges that bindings of the queue need, too. */
static void want_sources(coney_connection_factory *factory, const char *queue, uint32_t hash)
{
    walk bindings = begin_walk(factory);
    for (cny_declaration *binding; (binding = next_item(&bindings));) {
        if (!is_named(binding, CNY_DECLARE_QUEUE_BINDING, queue, hash) || binding->state == CNY_DECLARATION_IDLE)
            continue;
        want(factory, binding);
        walk others = begin_walk(factory);
        for (cny_declaration *item; (item = next_item(&others));) {
            bool is_source = is_named(item, CNY_DECLARE_EXCHANGE, source_of(binding), binding->source_hash);
            if (is_source && item->state != CNY_DECLARATION_IDLE)
                want(factory, item);
        }
    }
}

bool cny_declarations_restore(coney_connection_factory *factory, const char *queue)
{
    uint32_t hash = hash_of(queue);
    bool is_known = false;
    pthread_mutex_lock(&factory->lock);
    walk all = begin_walk(factory);
    for (cny_declaration *item; (item = next_item(&all));) {
        if (!is_named(item, CNY_DECLARE_QUEUE, queue, hash) || item->state == CNY_DECLARATION_IDLE)
            continue;
        want(factory, item);
        is_known = true;
    }
    if (is_known) {
        want_sources(factory, queue, hash);
        attend(factory);
    }
    pthread_mutex_unlock(&factory->lock);
    return is_known;
}

static int compare_hashes(const void *a, const void *b)
{
    uint32_t one = *(const uint32_t *)a, other = *(const uint32_t *)b;
    return one < other ? -1 : one > other;
}

void cny_declarations_want_bindings(coney_connection_factory *factory, const uint32_t *names, size_t count)
{
    walk all = begin_walk(factory);
    for (cny_declaration *item; count > 0 && (item = next_item(&all));) {
        if (!is_binding(item) || item->state == CNY_DECLARATION_WANTED || item->state == CNY_DECLARATION_IDLE)
            continue;
        if (bsearch(&item->name_hash, names, count, sizeof *names, compare_hashes) ||
            bsearch(&item->source_hash, names, count, sizeof *names, compare_hashes))
            want(factory, item);
    }
}

void cny_declarations_sort_names(uint32_t *names, size_t count)
{
    if (count > 0)
        qsort(names, count, sizeof *names, compare_hashes);
}

void cny_declarations_appeared(coney_connection_factory *factory, cny_declaration_kind kind, const char *name)
{
    uint32_t hash = hash_of(name);
    pthread_mutex_lock(&factory->lock);
    cny_declarations_want_bindings(factory, &hash, 1);
    walk all = begin_walk(factory);
    for (cny_declaration *item; (item = next_item(&all));) {
        bool is_missing = item->state == CNY_DECLARATION_REFUSED || item->state == CNY_DECLARATION_WANTED;
        if (is_missing && is_named(item, kind, name, hash))
            want(factory, item);
    }
    attend(factory);
    pthread_mutex_unlock(&factory->lock);
}

bool cny_declarations_awaits(coney_connection_factory *factory, const char *queue)
{
    uint32_t hash = hash_of(queue);
    bool awaits = false;
    if (atomic_load(&factory->declarations.wanted) == 0)
        return false;
    pthread_mutex_lock(&factory->lock);
    walk all = begin_walk(factory);
    for (const cny_declaration *item; !awaits && (item = next_item(&all));)
        awaits =
            item->state == CNY_DECLARATION_WANTED && !item->error &&
            (is_named(item, CNY_DECLARE_QUEUE, queue, hash) || is_named(item, CNY_DECLARE_QUEUE_BINDING, queue, hash));
    pthread_mutex_unlock(&factory->lock);
    return awaits;
}

bool cny_declarations_find_queue(coney_connection_factory *factory, const char *queue, cny_declared_queue *found)
{
    uint32_t hash = hash_of(queue);
    bool is_known = false;
    *found = (cny_declared_queue){.kind = CONEY_QUEUE_DEFAULT};
    pthread_mutex_lock(&factory->lock);
    walk all = begin_walk(factory);
    for (const cny_declaration *item; (item = next_item(&all));) {
        if (!is_named(item, CNY_DECLARE_QUEUE, queue, hash))
            continue;
        const coney_queue *declared = item->thing;
        is_known = true;
        coney_queue_kind kind = cny_queue_kind(declared);
        found->kind = kind != CONEY_QUEUE_DEFAULT ? kind : found->kind;
        found->single_active_consumer |= cny_queue_has_single_active_consumer(declared);
    }
    pthread_mutex_unlock(&factory->lock);
    return is_known;
}

/* ---- sends; under lock ---- */

/* An exclusive queue is made on the consuming connection, which nobody may ever need. */
static bool may_come(const coney_connection_factory *factory, const cny_declaration *item)
{
    coney_connection_state state = factory->links[CONEY_CONSUMING].state;
    return !item->is_exclusive || state == CONEY_CONNECTION_CONNECTING || state == CONEY_CONNECTION_OPEN;
}

static const cny_declaration *find_hindrance_of_queue(const coney_connection_factory *factory, const char *queue)
{
    uint32_t hash = hash_of(queue);
    walk all = begin_walk(factory);
    for (const cny_declaration *item; (item = next_item(&all));) {
        if (item->state == CNY_DECLARATION_WANTED && is_named(item, CNY_DECLARE_QUEUE, queue, hash) &&
            may_come(factory, item))
            return item;
    }
    return NULL;
}

/* What keeps a message to the exchange from all queues that are to get it: the exchange, a binding of it, or one of
 * those of an exchange that is bound to it. */
static const cny_declaration *find_hindrance_of_exchange(const coney_connection_factory *factory, const char *exchange,
                                                         int depth)
{
    uint32_t hash = hash_of(exchange);
    const cny_declaration *found = NULL;
    walk all = begin_walk(factory);
    for (const cny_declaration *item; !found && (item = next_item(&all));) {
        bool leaves = is_bound_from(item, exchange, hash);
        bool is_part = leaves || is_named(item, CNY_DECLARE_EXCHANGE, exchange, hash);
        if (is_part && item->state == CNY_DECLARATION_WANTED && may_come(factory, item))
            found = item;
        else if (leaves && item->kind == CNY_DECLARE_EXCHANGE_BINDING && depth < MOST_EXCHANGES_IN_A_ROW)
            found = find_hindrance_of_exchange(factory, name_of(item), depth + 1);
    }
    return found;
}

/* The reason of a binding that waits for its queue or exchange is that of these. */
static const cny_error *reason_of(const coney_connection_factory *factory, const cny_declaration *hindrance)
{
    walk all = begin_walk(factory);
    for (const cny_declaration *item; is_binding(hindrance) && (item = next_item(&all));) {
        bool is_end = is_named(item, CNY_DECLARE_QUEUE, name_of(hindrance), hindrance->name_hash) ||
                      is_named(item, CNY_DECLARE_EXCHANGE, source_of(hindrance), hindrance->source_hash);
        if (is_end && item->error)
            return item->error;
    }
    return hindrance->error;
}

static coney_status fail_for(const coney_connection_factory *factory, const cny_declaration *hindrance)
{
    const coney_error *error = cny_error_view(reason_of(factory, hindrance));
    coney_status status = error ? error->status : CONEY_E_CONNECT;
    if (status == CONEY_E_LOST || status == CONEY_E_TIMEOUT) /* of the declaration; the message was not sent */
        status = CONEY_E_CONNECT;
    return cny_fail_code(status, error ? error->broker_code : 0, "not sent, because %s '%s' is not declared yet%s%s",
                         hindrance->kind == CNY_DECLARE_EXCHANGE ? "exchange"
                         : hindrance->kind == CNY_DECLARE_QUEUE  ? "queue"
                                                                 : "a binding to",
                         name_of(hindrance), error ? ": " : "", error ? error->text : "");
}

coney_status cny_declarations_wait(coney_connection_factory *factory, const char *exchange, const char *routing_key,
                                   int64_t deadline)
{
    if (atomic_load(&factory->declarations.wanted) == 0)
        return CONEY_OK;
    coney_status status = CONEY_OK;
    bool in_time = deadline > 0;
    pthread_mutex_lock(&factory->lock);
    for (;;) {
        const cny_declaration *hindrance = *exchange ? find_hindrance_of_exchange(factory, exchange, 0)
                                                     : find_hindrance_of_queue(factory, routing_key);
        if (!hindrance)
            break;
        status = factory->closed ? cny_fail(CONEY_E_CLOSED, "the connection factory is closed")
                                 : cny_factory_check_draining(factory);
        if (status == CONEY_OK && !in_time)
            status = fail_for(factory, hindrance);
        if (status != CONEY_OK)
            break;
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
    }
    pthread_mutex_unlock(&factory->lock);
    return status;
}

uint64_t cny_declarations_settled(coney_connection_factory *factory)
{
    return atomic_load(&factory->declarations.settled);
}

coney_status cny_declarations_check(coney_connection_factory *factory)
{
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&factory->lock);
    walk all = begin_walk(factory);
    for (const cny_declaration *item; status == CONEY_OK && (item = next_item(&all));) {
        bool is_missing = item->state == CNY_DECLARATION_WANTED || item->state == CNY_DECLARATION_REFUSED;
        if (is_missing && item->error)
            status = cny_error_raise(item->error);
    }
    pthread_mutex_unlock(&factory->lock);
    return status;
}

/* ---- for recovery and declaring.c; under lock ---- */

void cny_declarations_lost(coney_connection_factory *factory, coney_connection_role role)
{
    size_t count;
    cny_declaration_set **sets = sets_of(factory, &count);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; sets[i]->is_automatic && k < sets[i]->count; k++) {
            cny_declaration *item = &sets[i]->items[k];
            if (role == CONEY_CONSUMING || !item->is_exclusive)
                want(factory, item);
        }
    }
}

static bool is_due(const cny_declaration *item, coney_connection_role role, int64_t now)
{
    bool is_missing = item->state == CNY_DECLARATION_WANTED || item->state == CNY_DECLARATION_REFUSED;
    return is_missing && item->due_at <= now && (role == CONEY_CONSUMING || !item->is_exclusive);
}

bool cny_declarations_collect(const cny_buffer *sets, cny_declaration_kind kind, coney_connection_role role,
                              cny_buffer *items)
{
    cny_declaration_set **all = (cny_declaration_set **)(void *)sets->data;
    int64_t now = cny_now_ms();
    for (size_t i = 0; i < sets->size / sizeof(cny_declaration_set *); i++) {
        for (size_t k = 0; k < all[i]->count; k++) {
            cny_declaration *item = &all[i]->items[k];
            bool is_to_come = item->kind == kind && is_due(item, role, now) && !cny_must_isolate(&item->strikes);
            if (is_to_come && !cny_buffer_append(items, &item, sizeof(cny_declaration *)))
                return false;
        }
    }
    return true;
}

int64_t cny_declarations_next_due(const coney_connection_factory *factory, coney_connection_role role, bool isolated)
{
    const size_t *counts = factory->declarations.counts;
    int64_t next = INT64_MAX;
    if (counts[CNY_DECLARATION_WANTED] + counts[CNY_DECLARATION_REFUSED] == 0)
        return next;
    walk all = begin_walk(factory);
    for (const cny_declaration *item; (item = next_item(&all));) {
        if (is_due(item, role, INT64_MAX) && cny_must_isolate(&item->strikes) == isolated && item->due_at < next)
            next = item->due_at;
    }
    return next;
}

bool cny_declarations_have_wanted_end(const coney_connection_factory *factory, const coney_binding *binding)
{
    uint32_t name = hash_of(binding->destination), source = hash_of(binding->exchange);
    cny_declaration_kind kind = binding->to_exchange ? CNY_DECLARE_EXCHANGE : CNY_DECLARE_QUEUE;
    walk all = begin_walk(factory);
    for (const cny_declaration *item; (item = next_item(&all));) {
        bool is_end = is_named(item, kind, binding->destination, name) ||
                      is_named(item, CNY_DECLARE_EXCHANGE, binding->exchange, source);
        if (is_end && item->state == CNY_DECLARATION_WANTED)
            return true;
    }
    return false;
}

/* ---- telling ---- */

void cny_declaration_describe(const cny_declaration *item, coney_declaration *declaration)
{
    static const coney_declaration_state states[CNY_DECLARATION_STATES] = {
        CONEY_DECLARATION_PENDING, CONEY_DECLARATION_PENDING, CONEY_DECLARATION_DECLARED, CONEY_DECLARATION_FOUND,
        CONEY_DECLARATION_REFUSED};
    const coney_error *error = cny_error_view(item->error);
    const coney_binding *binding = is_binding(item) ? item->thing : NULL;
    *declaration = (coney_declaration){
        .kind = binding                              ? CONEY_DECLARATION_BINDING
                : item->kind == CNY_DECLARE_EXCHANGE ? CONEY_DECLARATION_EXCHANGE
                                                     : CONEY_DECLARATION_QUEUE,
        .state = states[item->state],
        .status = error ? error->status : CONEY_OK,
        .broker_code = error ? error->broker_code : 0,
    };
    snprintf(declaration->name, sizeof declaration->name, "%s", name_of(item));
    snprintf(declaration->exchange, sizeof declaration->exchange, "%s", binding ? binding->exchange : "");
    snprintf(declaration->routing_key, sizeof declaration->routing_key, "%s",
             binding && binding->routing_key ? binding->routing_key : "");
    snprintf(declaration->text, sizeof declaration->text, "%s", error ? error->text : "");
}

coney_status coney_connection_factory_list_declarations(coney_connection_factory *factory,
                                                        coney_declaration_listener *visit, void *user)
{
    if (!factory || !visit)
        return cny_fail(CONEY_E_INVALID, "list declarations: factory or visit is NULL");
    coney_status status = cny_factory_check_process(factory);
    if (status != CONEY_OK)
        return status;
    cny_buffer copies = {0};
    pthread_mutex_lock(&factory->lock);
    walk all = begin_walk(factory);
    for (const cny_declaration *item; status == CONEY_OK && (item = next_item(&all));) {
        coney_declaration one;
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
