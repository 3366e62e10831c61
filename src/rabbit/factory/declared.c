/* SPDX-License-Identifier: MIT */
/* What members ask and say of declarations: the state of a set; whether a queue is there, or is to be made again;
 * whether a message may be sent. Any thread. It must not know how something is declared. */
#include "rabbit/factory/parts.h"
#include "rabbit/factory/registry.h"

#include <string.h>

#define MOST_EXCHANGES 64 /* that are checked of all that a message may reach */

cny_declaration_state cny_declaration_set_state(coney_connection_factory *factory, const cny_declaration_set *set,
                                                cny_accepts_found *accepts, void *user, cny_error **error)
{
    cny_declaration_state worst = CNY_DECLARATION_DECLARED;
    cny_error *first = NULL;
    bool is_on_its_way = false;
    pthread_mutex_lock(&factory->lock);
    for (size_t i = 0; i < set->count; i++) {
        const cny_declaration *item = &set->items[i];
        bool is_fine = item->state == CNY_DECLARATION_DECLARED || item->is_external || item->is_forgotten ||
                       (item->on_refusal == CONEY_REFUSAL_IGNORE && item->error) ||
                       (item->state == CNY_DECLARATION_FOUND &&
                        (!accepts || accepts(cny_declaration_name(item), cny_error_view(item->error)->status, user)));
        if (is_fine)
            continue;
        bool is_wanted = item->state == CNY_DECLARATION_WANTED || item->state == CNY_DECLARATION_IDLE;
        worst = is_wanted || worst == CNY_DECLARATION_WANTED ? CNY_DECLARATION_WANTED : CNY_DECLARATION_REFUSED;
        is_on_its_way = is_on_its_way || (is_wanted && !item->error);
        if (!first)
            first = item->error;
    }
    *error = first && !is_on_its_way ? cny_error_ref(first) : NULL;
    pthread_mutex_unlock(&factory->lock);
    return worst;
}

/* ---- those who use what is declared ---- */

/* Under lock: the exchanges that bindings of the queue need, too. */
static void want_sources(coney_connection_factory *factory, const char *queue, uint32_t hash)
{
    cny_walk bindings = cny_walk_begin(factory);
    for (cny_declaration *binding; (binding = cny_walk_next(&bindings));) {
        if (!cny_is_named(binding, CNY_DECLARE_QUEUE_BINDING, queue, hash) || binding->state == CNY_DECLARATION_IDLE)
            continue;
        cny_declaration_want(factory, binding);
        cny_walk others = cny_walk_begin(factory);
        for (cny_declaration *item; (item = cny_walk_next(&others));) {
            bool is_source =
                cny_is_named(item, CNY_DECLARE_EXCHANGE, cny_binding_source(binding), binding->source_hash);
            if (is_source && item->state != CNY_DECLARATION_IDLE)
                cny_declaration_want(factory, item);
        }
    }
}

bool cny_declarations_restore(coney_connection_factory *factory, const char *queue)
{
    uint32_t hash = cny_hash_name(queue);
    bool is_known = false;
    pthread_mutex_lock(&factory->lock);
    cny_walk all = cny_walk_begin(factory);
    for (cny_declaration *item; (item = cny_walk_next(&all));) {
        if (!cny_is_named(item, CNY_DECLARE_QUEUE, queue, hash) || item->state == CNY_DECLARATION_IDLE)
            continue;
        cny_declaration_want(factory, item);
        is_known = true;
    }
    if (is_known) {
        want_sources(factory, queue, hash);
        cny_factory_wake_locked(factory);
    }
    pthread_mutex_unlock(&factory->lock);
    return is_known;
}

void cny_declarations_appeared(coney_connection_factory *factory, cny_declaration_kind kind, const char *name)
{
    uint32_t hash = cny_hash_name(name);
    pthread_mutex_lock(&factory->lock);
    cny_declarations_want_bindings(factory, &hash, 1);
    cny_walk all = cny_walk_begin(factory);
    for (cny_declaration *item; (item = cny_walk_next(&all));) {
        if (cny_declaration_is_missing(item) && cny_is_named(item, kind, name, hash))
            cny_declaration_want(factory, item);
    }
    cny_factory_wake_locked(factory);
    pthread_mutex_unlock(&factory->lock);
}

bool cny_declarations_awaits(coney_connection_factory *factory, const char *queue, bool must_be_there,
                             cny_error **refusal)
{
    uint32_t hash = cny_hash_name(queue);
    bool awaits = false;
    *refusal = NULL;
    if (atomic_load(&factory->declarations.hindering) == 0)
        return false;
    pthread_mutex_lock(&factory->lock);
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; !awaits && (item = cny_walk_next(&all));) {
        bool is_queue = cny_is_named(item, CNY_DECLARE_QUEUE, queue, hash);
        bool is_part = is_queue || cny_is_named(item, CNY_DECLARE_QUEUE_BINDING, queue, hash);
        if (item->state != CNY_DECLARATION_WANTED || !is_part)
            continue;
        bool is_needed = is_queue && (must_be_there || item->is_exclusive);
        awaits = !item->error && (is_needed || !cny_must_isolate(&item->strikes));
        if (is_queue && item->error && !*refusal)
            *refusal = cny_error_ref(item->error);
    }
    pthread_mutex_unlock(&factory->lock);
    return awaits;
}

bool cny_declarations_find_queue(coney_connection_factory *factory, const char *queue, cny_declared_queue *found)
{
    uint32_t hash = cny_hash_name(queue);
    bool is_known = false;
    *found = (cny_declared_queue){.delivery_limit = CNY_BROKERS_DELIVERY_LIMIT};
    pthread_mutex_lock(&factory->lock);
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; (item = cny_walk_next(&all));) {
        if (!cny_is_named(item, CNY_DECLARE_QUEUE, queue, hash))
            continue;
        const coney_queue *declared = item->thing;
        is_known = true;
        coney_queue_kind kind = cny_queue_kind(declared);
        found->kind = kind != CONEY_QUEUE_DEFAULT ? kind : found->kind;
        found->single_active_consumer |= cny_queue_has_single_active_consumer(declared);
        found->delays_failures |= cny_queue_delays_failures(declared);
        found->delivery_limit = cny_queue_delivery_limit(declared, found->delivery_limit);
        found->is_so |= item->state == CNY_DECLARATION_DECLARED;
    }
    pthread_mutex_unlock(&factory->lock);
    return is_known;
}

/* ---- sends; under lock ---- */

/* An exclusive queue is made on the consuming connection, and perhaps nobody ever needs that. */
static bool can_be_declared(const coney_connection_factory *factory, const cny_declaration *item)
{
    coney_connection_state state = cny_slot_public_state(factory->slots[CONEY_CONSUMING].state);
    return !item->is_exclusive || state == CONEY_CONNECTION_CONNECTING || state == CONEY_CONNECTION_OPEN;
}

static bool is_hindrance(const coney_connection_factory *factory, const cny_declaration *item)
{
    bool is_ignored = item->on_refusal == CONEY_REFUSAL_IGNORE && item->error;
    return (item->state == CNY_DECLARATION_WANTED && !is_ignored && can_be_declared(factory, item)) ||
           item->state == CNY_DECLARATION_FAILED;
}

static const cny_declaration *find_hindrance_of_queue(const coney_connection_factory *factory, const char *queue)
{
    uint32_t hash = cny_hash_name(queue);
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; (item = cny_walk_next(&all));) {
        if (cny_is_named(item, CNY_DECLARE_QUEUE, queue, hash) && is_hindrance(factory, item))
            return item;
    }
    return NULL;
}

/* The exchanges that a message reaches, each once: they may be bound in a circle, or more than once to each other. */
typedef struct reached {
    const char *names[MOST_EXCHANGES];
    size_t count;
} reached;

static void reach(reached *exchanges, const char *name)
{
    for (size_t i = 0; i < exchanges->count; i++) {
        if (strcmp(exchanges->names[i], name) == 0)
            return;
    }
    if (exchanges->count < MOST_EXCHANGES)
        exchanges->names[exchanges->count++] = name;
}

/* Returns the exchange or one of its bindings if that is wanted. Adds the exchanges that are bound to the exchange. */
static const cny_declaration *find_hindrance_at(const coney_connection_factory *factory, const char *exchange,
                                                reached *exchanges)
{
    uint32_t hash = cny_hash_name(exchange);
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; (item = cny_walk_next(&all));) {
        bool leaves = cny_is_bound_from(item, exchange, hash);
        bool is_part = leaves || cny_is_named(item, CNY_DECLARE_EXCHANGE, exchange, hash);
        if (is_part && is_hindrance(factory, item))
            return item;
        if (leaves && item->kind == CNY_DECLARE_EXCHANGE_BINDING)
            reach(exchanges, cny_declaration_name(item));
    }
    return NULL;
}

/* Returns a declaration without which some queue would miss a message to the exchange; NULL: there is none. */
static const cny_declaration *find_hindrance_of_exchange(const coney_connection_factory *factory, const char *exchange)
{
    reached exchanges = {.names = {exchange}, .count = 1};
    const cny_declaration *found = NULL;
    for (size_t i = 0; !found && i < exchanges.count; i++)
        found = find_hindrance_at(factory, exchanges.names[i], &exchanges);
    return found;
}

/* A binding that waits for its queue or exchange has the error of these. */
static const cny_error *reason_of(const coney_connection_factory *factory, const cny_declaration *hindrance)
{
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; cny_is_binding(hindrance) && (item = cny_walk_next(&all));) {
        bool is_end = cny_is_named(item, CNY_DECLARE_QUEUE, cny_declaration_name(hindrance), hindrance->name_hash) ||
                      cny_is_named(item, CNY_DECLARE_EXCHANGE, cny_binding_source(hindrance), hindrance->source_hash);
        if (is_end && item->error)
            return item->error;
    }
    return hindrance->error;
}

static coney_status fail_for(const coney_connection_factory *factory, const cny_declaration *hindrance)
{
    const coney_error *error = cny_error_view(reason_of(factory, hindrance));
    coney_status status = error ? error->status : CONEY_E_CONNECT;
    if (status == CONEY_E_LOST ||
        status == CONEY_E_TIMEOUT) /* that is the status of the declaration, and the message was not sent */
        status = CONEY_E_CONNECT;
    return cny_fail_code(status, error ? error->broker_code : 0, "not sent, because %s '%s' is not declared yet%s%s",
                         hindrance->kind == CNY_DECLARE_EXCHANGE ? "exchange"
                         : hindrance->kind == CNY_DECLARE_QUEUE  ? "queue"
                                                                 : "a binding to",
                         cny_declaration_name(hindrance), error ? ": " : "", error ? error->text : "");
}

coney_status cny_declarations_wait(coney_connection_factory *factory, const char *exchange, const char *routing_key,
                                   int64_t deadline)
{
    if (atomic_load(&factory->declarations.hindering) == 0)
        return CONEY_OK;
    coney_status status = CONEY_OK;
    bool in_time = deadline > 0;
    pthread_mutex_lock(&factory->lock);
    for (;;) {
        const cny_declaration *hindrance =
            *exchange ? find_hindrance_of_exchange(factory, exchange) : find_hindrance_of_queue(factory, routing_key);
        if (!hindrance)
            break;
        status = cny_factory_check_closed(factory);
        if (status == CONEY_OK)
            status = cny_factory_check_draining(factory);
        if (status == CONEY_OK && (!in_time || hindrance->state == CNY_DECLARATION_FAILED))
            status = fail_for(factory, hindrance);
        if (status != CONEY_OK)
            break;
        in_time = cny_cond_wait(&factory->changed, &factory->lock, deadline);
    }
    pthread_mutex_unlock(&factory->lock);
    return status;
}

uint64_t cny_declarations_changes(coney_connection_factory *factory)
{
    return atomic_load(&factory->declarations.changes);
}

coney_status cny_declarations_check(coney_connection_factory *factory)
{
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&factory->lock);
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; status == CONEY_OK && (item = cny_walk_next(&all));) {
        if (cny_declaration_is_missing(item) && item->error && item->on_refusal != CONEY_REFUSAL_IGNORE)
            status = cny_error_raise(item->error);
    }
    pthread_mutex_unlock(&factory->lock);
    return status;
}

coney_status cny_declarations_check_failed(coney_connection_factory *factory)
{
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&factory->lock);
    bool any = factory->declarations.counts[CNY_DECLARATION_FAILED] > 0;
    cny_walk all = cny_walk_begin(factory);
    for (const cny_declaration *item; any && status == CONEY_OK && (item = cny_walk_next(&all));) {
        if (item->state == CNY_DECLARATION_FAILED)
            status = cny_error_raise(item->error);
    }
    pthread_mutex_unlock(&factory->lock);
    return status;
}
