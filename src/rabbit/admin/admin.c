/* SPDX-License-Identifier: MIT */
/* The admin (Spring: RabbitAdmin): its life and its topology, to which the program may add and from which it may
 * remove. The factory declares the topology, together with what others bring. On threads of the program. It must not
 * know how connections come back. */
#include "rabbit/admin/parts.h"
#include "topology/topology.h"

#include <string.h>

#define DEFAULT_TIMEOUT_MS 10000

/* ---- sets ---- */

static cny_declaration_set **sets_in(const cny_buffer *sets, size_t *count)
{
    *count = sets->size / sizeof(cny_declaration_set *);
    return (cny_declaration_set **)(void *)sets->data;
}

/* Under lock, unless nobody has the admin any more: leaves all sets of a list. */
static void leave(coney_admin *admin, cny_buffer *sets)
{
    size_t count;
    cny_declaration_set **all = sets_in(sets, &count);
    for (size_t i = 0; i < count; i++) {
        cny_declarations_leave(admin->factory, all[i]);
        cny_declaration_set_unref(all[i]);
    }
    cny_buffer_free(sets);
}

/* Under lock: takes a topology, also on failure, and has it declared. */
static coney_status join(coney_admin *admin, coney_topology *part)
{
    const cny_set_options options = {.timeout_ms = admin->options.timeout_ms,
                                     .refuses_unknown_ends = admin->options.refuse_unknown_ends};
    cny_declaration_set *set = cny_declaration_set_new(part, &options);
    if (!set || !cny_buffer_reserve(&admin->sets, sizeof(cny_declaration_set *))) {
        cny_declaration_set_unref(set);
        return cny_fail_memory();
    }
    coney_status status = cny_declarations_join(admin->factory, set, !admin->options.no_auto_declare);
    if (status == CONEY_OK)
        cny_buffer_append(&admin->sets, &set, sizeof(cny_declaration_set *));
    else
        cny_declaration_set_unref(set);
    return status;
}

/* ---- the customizer ---- */

static coney_status customize(coney_topology *made, const coney_topology *from, const coney_admin_options *options)
{
    size_t exchanges, queues, bindings;
    const coney_exchange *all_exchanges = cny_topology_exchanges(from, &exchanges);
    const coney_queue *all_queues = cny_topology_queues(from, &queues);
    const coney_binding *all_bindings = cny_topology_bindings(from, &bindings);
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < exchanges; i++) {
        coney_exchange copy = all_exchanges[i];
        if (options->customize(&copy, NULL, NULL, options->customize_user))
            status = coney_topology_add_exchange(made, &copy);
    }
    for (size_t i = 0; status == CONEY_OK && i < queues; i++) {
        coney_queue copy = all_queues[i];
        if (options->customize(NULL, &copy, NULL, options->customize_user))
            status = coney_topology_add_queue(made, &copy);
    }
    for (size_t i = 0; status == CONEY_OK && i < bindings; i++) {
        coney_binding copy = all_bindings[i];
        if (options->customize(NULL, NULL, &copy, options->customize_user))
            status = coney_topology_add_binding(made, &copy);
    }
    return status;
}

/* Gives a copy of a topology, as the customizer leaves it. */
static coney_status copy_topology(coney_topology **copy, const coney_topology *topology,
                                  const coney_admin_options *options)
{
    *copy = NULL;
    if (topology->failure)
        return cny_error_raise(topology->failure);
    if (!options->customize) {
        *copy = cny_topology_copy(topology);
        return *copy ? CONEY_OK : cny_fail_memory();
    }
    coney_topology *made = coney_topology_new();
    coney_status status = made ? customize(made, topology, options) : cny_fail_memory();
    if (status == CONEY_OK)
        *copy = made;
    else
        coney_topology_free(made);
    return status;
}

/* ---- life ---- */

static void free_admin(coney_admin *admin)
{
    leave(admin, &admin->sets);
    leave(admin, &admin->remembered);
    coney_topology_free(admin->topology);
    pthread_mutex_destroy(&admin->lock);
    cny_factory_unref(admin->factory);
    cny_free(admin);
}

void coney_admin_free(coney_admin *admin)
{
    CNY_DISABLE_CANCEL();
    if (admin && cny_factory_check_process(admin->factory) == CONEY_OK)
        free_admin(admin);
}

static coney_admin *make_admin(coney_connection_factory *factory, const coney_admin_options *options)
{
    coney_admin *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    made->factory = cny_factory_ref(factory);
    made->options = *options;
    made->options.topology = NULL;
    if (made->options.timeout_ms == 0)
        made->options.timeout_ms = DEFAULT_TIMEOUT_MS;
    pthread_mutex_init(&made->lock, NULL);
    made->topology = coney_topology_new();
    if (!made->topology) {
        free_admin(made);
        return NULL;
    }
    return made;
}

coney_status coney_admin_new(coney_admin **admin, coney_connection_factory *factory, const coney_admin_options *options)
{
    CNY_DISABLE_CANCEL();
    static const coney_admin_options defaults;
    if (!options)
        options = &defaults;
    if (admin)
        *admin = NULL;
    if (!admin || !factory)
        return cny_fail(CONEY_E_INVALID, "admin: admin or factory is NULL");
    if (options->timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "admin: timeout_ms is %d, which is below 0", options->timeout_ms);
    if (cny_factory_check_process(factory) != CONEY_OK)
        return cny_fail_in("admin");
    coney_admin *made = make_admin(factory, options);
    if (!made)
        return cny_fail_memory();
    coney_status status = options->topology ? coney_admin_add(made, options->topology) : CONEY_OK;
    if (status != CONEY_OK) {
        free_admin(made);
        return cny_fail_in("admin");
    }
    *admin = made;
    return CONEY_OK;
}

/* ---- adding and removing ---- */

/* Under lock: takes a topology, also on failure. */
static coney_status add(coney_admin *admin, coney_topology *more)
{
    coney_topology *part = NULL;
    coney_status status = cny_topology_difference(&part, admin->topology, more);
    coney_topology_free(more);
    if (status != CONEY_OK || cny_topology_is_empty(part)) {
        coney_topology_free(part);
        return status;
    }
    coney_topology *all = cny_topology_copy(admin->topology);
    if (!all || coney_topology_add_all(all, part) != CONEY_OK) { /* only memory can fail */
        coney_topology_free(all);
        coney_topology_free(part);
        return cny_fail_memory();
    }
    status = join(admin, part);
    coney_topology *unused = status == CONEY_OK ? admin->topology : all;
    admin->topology = status == CONEY_OK ? all : admin->topology;
    coney_topology_free(unused);
    return status;
}

coney_status coney_admin_add(coney_admin *admin, const coney_topology *topology)
{
    CNY_DISABLE_CANCEL();
    if (!admin || !topology)
        return cny_fail(CONEY_E_INVALID, "add to an admin: %s is NULL", admin ? "topology" : "admin");
    coney_status status = cny_factory_check_process(admin->factory);
    coney_topology *copy;
    if (status == CONEY_OK)
        status = copy_topology(&copy, topology, &admin->options);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&admin->lock);
    status = add(admin, copy);
    pthread_mutex_unlock(&admin->lock);
    return status;
}

/* Under lock: a set without things leaves. */
static void forget_in(coney_admin *admin, cny_buffer *sets, cny_declaration_kind kind, const void *thing)
{
    size_t count, kept = 0;
    cny_declaration_set **all = sets_in(sets, &count);
    for (size_t i = 0; i < count; i++) {
        if (!cny_declaration_set_forget(admin->factory, all[i], kind, thing)) {
            all[kept++] = all[i];
            continue;
        }
        cny_declarations_leave(admin->factory, all[i]);
        cny_declaration_set_unref(all[i]);
    }
    sets->size = kept * sizeof(cny_declaration_set *);
}

static coney_status forget(coney_admin *admin, cny_declaration_kind kind, const void *thing, const char *name)
{
    static const char *const kinds[] = {"exchange", "queue", "such binding to exchange", "such binding to queue"};
    if (!admin)
        return cny_fail(CONEY_E_INVALID, "forget: the admin is NULL");
    if (!name)
        return cny_fail(CONEY_E_INVALID, "forget: the name is NULL");
    coney_status status = cny_factory_check_process(admin->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&admin->lock);
    bool was_known = kind == CNY_DECLARE_EXCHANGE ? cny_topology_remove_exchange(admin->topology, thing)
                     : kind == CNY_DECLARE_QUEUE  ? cny_topology_remove_queue(admin->topology, thing)
                                                  : cny_topology_remove_binding(admin->topology, thing);
    if (was_known)
        forget_in(admin, &admin->sets, kind, thing);
    coney_topology *copy = was_known ? cny_topology_copy(admin->topology) : NULL;
    if (copy) { /* without the memory of what was removed */
        coney_topology_free(admin->topology);
        admin->topology = copy;
    }
    pthread_mutex_unlock(&admin->lock);
    return was_known ? CONEY_OK
                     : cny_fail(CONEY_E_NOT_FOUND, "forget: the admin's topology has no %s '%s'", kinds[kind], name);
}

coney_status coney_admin_forget_queue(coney_admin *admin, const char *queue)
{
    CNY_DISABLE_CANCEL();
    return forget(admin, CNY_DECLARE_QUEUE, queue, queue);
}

coney_status coney_admin_forget_exchange(coney_admin *admin, const char *exchange)
{
    CNY_DISABLE_CANCEL();
    return forget(admin, CNY_DECLARE_EXCHANGE, exchange, exchange);
}

coney_status coney_admin_forget_binding(coney_admin *admin, const coney_binding *binding)
{
    CNY_DISABLE_CANCEL();
    coney_status status = cny_binding_check(binding);
    return status == CONEY_OK ? forget(admin, cny_binding_kind(binding), binding, binding->destination) : status;
}

/* ---- single declarations that are declared again ---- */

static coney_status add_single(coney_topology *to, cny_declaration_kind kind, const void *thing)
{
    switch (kind) {
    case CNY_DECLARE_EXCHANGE: return coney_topology_add_exchange(to, thing);
    case CNY_DECLARE_QUEUE: return coney_topology_add_queue(to, thing);
    case CNY_DECLARE_EXCHANGE_BINDING:
    case CNY_DECLARE_QUEUE_BINDING: break;
    }
    return coney_topology_add_binding(to, thing);
}

/* Gives a set of one thing. */
static coney_status make_single(cny_declaration_set **set, const coney_admin *admin, cny_declaration_kind kind,
                                const void *thing)
{
    const cny_set_options options = {.timeout_ms = admin->options.timeout_ms};
    coney_topology *single = coney_topology_new();
    coney_status status = single ? add_single(single, kind, thing) : cny_fail_memory();
    if (status != CONEY_OK) {
        coney_topology_free(single);
        return status;
    }
    *set = cny_declaration_set_new(single, &options);
    return *set ? CONEY_OK : cny_fail_memory();
}

/* Under lock: the same thing was declared before. */
static void forget_same(coney_admin *admin, cny_declaration_kind kind, const void *thing)
{
    size_t count;
    cny_declaration_set **all = sets_in(&admin->remembered, &count);
    for (size_t i = 0; i < count; i++) {
        if (!cny_declaration_set_is_of(all[i], kind, thing))
            continue;
        cny_declarations_leave(admin->factory, all[i]);
        cny_declaration_set_unref(all[i]);
        all[i] = all[count - 1];
        admin->remembered.size -= sizeof(cny_declaration_set *);
        return;
    }
}

coney_status cny_admin_remember(coney_admin *admin, cny_declaration_kind kind, const void *thing, cny_channel *channel)
{
    cny_declaration_set *set;
    if (!admin->options.remember_declarations)
        return CONEY_OK;
    coney_status status = make_single(&set, admin, kind, thing);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&admin->lock);
    forget_same(admin, kind, thing);
    status = cny_buffer_reserve(&admin->remembered, sizeof(cny_declaration_set *))
                 ? cny_declarations_join_declared(admin->factory, set, channel)
                 : cny_fail_memory();
    if (status == CONEY_OK)
        cny_buffer_append(&admin->remembered, &set, sizeof(cny_declaration_set *));
    pthread_mutex_unlock(&admin->lock);
    if (status != CONEY_OK)
        cny_declaration_set_unref(set);
    return status;
}

void cny_admin_forget_single(coney_admin *admin, cny_declaration_kind kind, const void *thing)
{
    pthread_mutex_lock(&admin->lock);
    forget_in(admin, &admin->remembered, kind, thing);
    pthread_mutex_unlock(&admin->lock);
}

coney_status coney_admin_forget_remembered(coney_admin *admin)
{
    CNY_DISABLE_CANCEL();
    if (!admin)
        return cny_fail(CONEY_E_INVALID, "forget: the admin is NULL");
    coney_status status = cny_factory_check_process(admin->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&admin->lock);
    leave(admin, &admin->remembered);
    pthread_mutex_unlock(&admin->lock);
    return CONEY_OK;
}

/* ---- declaring now ---- */

/* References to all sets, so that the admin's lock is not held while the broker answers. CONEY_E_NO_MEMORY. */
static coney_status gather_sets(coney_admin *admin, cny_buffer *sets)
{
    size_t count;
    pthread_mutex_lock(&admin->lock);
    bool got = cny_buffer_append(sets, admin->sets.data, admin->sets.size) &&
               cny_buffer_append(sets, admin->remembered.data, admin->remembered.size);
    cny_declaration_set **all = sets_in(sets, &count);
    for (size_t i = 0; i < count; i++)
        cny_declaration_set_ref(all[i]);
    pthread_mutex_unlock(&admin->lock);
    return got ? CONEY_OK : cny_fail_memory();
}

coney_status coney_admin_declare(coney_admin *admin)
{
    CNY_DISABLE_CANCEL();
    if (!admin)
        return cny_fail(CONEY_E_INVALID, "declare: the admin is NULL");
    coney_status status = cny_factory_check_process(admin->factory);
    if (status != CONEY_OK)
        return status;
    cny_buffer sets = {0};
    size_t count;
    status = gather_sets(admin, &sets);
    cny_declaration_set **all = sets_in(&sets, &count);
    if (status == CONEY_OK && count == 0)
        status = cny_fail(CONEY_E_INVALID, "declare: the admin has no topology; give one to coney_admin_new() or to "
                                           "coney_admin_add()");
    if (status == CONEY_OK)
        status = cny_declarations_declare(admin->factory, all, count, admin->options.timeout_ms);
    for (size_t i = 0; i < count; i++)
        cny_declaration_set_unref(all[i]);
    cny_buffer_free(&sets);
    return status;
}

/* ---- for other rooms ---- */

coney_topology *cny_admin_topology(coney_admin *admin)
{
    pthread_mutex_lock(&admin->lock);
    coney_topology *copy = cny_topology_copy(admin->topology);
    pthread_mutex_unlock(&admin->lock);
    return copy;
}

coney_connection_factory *cny_admin_factory(const coney_admin *admin)
{
    return admin->factory;
}

int cny_admin_timeout_ms(const coney_admin *admin)
{
    return admin->options.timeout_ms;
}
