/* SPDX-License-Identifier: MIT */
/* Does what a plan says: declares what is missing, removes what the options name, and has queues replaced. On threads
 * of the program. It must not know how a queue is emptied. */
#include "rabbit/plan/plan.h"

#include "amqp/amqp.h"

#include <string.h>

#define DEFAULT_DRAIN_MS 600000

/* ---- what the options name ---- */

static const coney_plan_entry *find_entry(const coney_plan *plan, coney_declaration_kind kind, const char *name)
{
    size_t count;
    const coney_plan_entry *entries = cny_plan_entries(plan, &count);
    for (size_t i = 0; i < count; i++) {
        if (entries[i].kind == kind && strcmp(entries[i].name, name) == 0)
            return &entries[i];
    }
    return NULL;
}

static const coney_plan_entry *find_binding(const coney_plan *plan, const coney_binding *binding)
{
    size_t count;
    const coney_plan_entry *entries = cny_plan_entries(plan, &count);
    for (size_t i = 0; i < count; i++) {
        if (entries[i].kind == CONEY_DECLARATION_BINDING && cny_same_bindings(&entries[i].binding, binding))
            return &entries[i];
    }
    return NULL;
}

static coney_status check_extra(const coney_plan_entry *entry, const char *what, const char *name)
{
    if (entry && entry->state == CONEY_PLAN_EXTRA)
        return CONEY_OK;
    return cny_fail(CONEY_E_INVALID,
                    "apply: %s '%s' is to be deleted, and the plan says that it is %s; make a plan "
                    "with an inventory that calls it extra",
                    what, name, entry ? coney_plan_state_name(entry->state) : "not there");
}

/* A change that was done before is done again: there is nothing left to do then. */
static coney_status check_change(const coney_plan *plan, const coney_queue_change *change)
{
    if (!change->queue || !change->new_name)
        return cny_fail(CONEY_E_INVALID, "apply: a change needs the queue and its new_name");
    coney_status status = cny_check_name("new_name", change->new_name);
    const coney_plan_entry *entry = find_entry(plan, CONEY_DECLARATION_QUEUE, change->queue);
    if (status != CONEY_OK)
        return cny_fail_in("apply: the change of queue '%.255s'", change->queue);
    if (!*change->new_name || strcmp(change->queue, change->new_name) == 0)
        return cny_fail(CONEY_E_INVALID,
                        "apply: the change of queue '%s' has the new_name '%s'; AMQP renames nothing, so take another",
                        change->queue, change->new_name);
    if (entry && entry->existing == CONEY_STREAM)
        return cny_fail(CONEY_E_INVALID,
                        "apply: queue '%s' is a stream; nothing can be moved out of a stream, so "
                        "declare another one, and let its readers read both",
                        change->queue);
    bool has_begun =
        cny_topology_find_queue(plan->topology, change->new_name) && (!entry || entry->state == CONEY_PLAN_EXTRA);
    if (has_begun) /* an earlier call of this program was interrupted */
        return CONEY_OK;
    if (!entry || entry->state == CONEY_PLAN_EXTRA)
        return cny_fail(CONEY_E_INVALID,
                        "apply: queue '%s' is to be changed, and the admin's topology does not have "
                        "it; it says what the new queue is to be",
                        change->queue);
    if (entry->must_be_replaced || entry->state == CONEY_PLAN_MISSING)
        return CONEY_OK;
    return cny_fail(CONEY_E_INVALID,
                    "apply: queue '%s' is to be changed, and the plan says that it is %s; make a plan "
                    "with an inventory that tells what differs",
                    change->queue, coney_plan_state_name(entry->state));
}

static coney_status check_apart(const coney_queue_change *one, const coney_queue_change *other)
{
    bool are_apart = strcmp(one->queue, other->queue) != 0 && strcmp(one->new_name, other->new_name) != 0 &&
                     strcmp(one->queue, other->new_name) != 0 && strcmp(one->new_name, other->queue) != 0;
    return are_apart ? CONEY_OK
                     : cny_fail(CONEY_E_INVALID, "apply: the changes of queues '%s' and '%s' name a queue twice",
                                one->queue, other->queue);
}

static coney_status check_options(const coney_plan *plan, const coney_apply_options *options)
{
    coney_status status = CONEY_OK;
    if (options->drain_timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "apply: drain_timeout_ms is %d, which is below 0", options->drain_timeout_ms);
    if ((options->change_count > 0 && !options->changes) ||
        (options->remove_binding_count > 0 && !options->remove_bindings))
        return cny_fail(CONEY_E_INVALID, "apply: a list is NULL, and its count is not 0");
    for (const char *const *name = options->delete_queues; status == CONEY_OK && name && *name; name++)
        status = check_extra(find_entry(plan, CONEY_DECLARATION_QUEUE, *name), "queue", *name);
    for (const char *const *name = options->delete_exchanges; status == CONEY_OK && name && *name; name++)
        status = check_extra(find_entry(plan, CONEY_DECLARATION_EXCHANGE, *name), "exchange", *name);
    for (size_t i = 0; status == CONEY_OK && i < options->remove_binding_count; i++) {
        const coney_binding *binding = &options->remove_bindings[i];
        status = cny_binding_check(binding);
        if (status == CONEY_OK)
            status = check_extra(find_binding(plan, binding), "a binding of", binding->destination);
    }
    for (size_t i = 0; status == CONEY_OK && i < options->change_count; i++) {
        status = check_change(plan, &options->changes[i]);
        for (size_t k = 0; status == CONEY_OK && k < i; k++)
            status = check_apart(&options->changes[k], &options->changes[i]);
    }
    return status;
}

/* ---- declaring ---- */

static bool is_changed(const coney_apply_options *options, const char *queue)
{
    for (size_t i = 0; i < options->change_count; i++) {
        if (strcmp(options->changes[i].queue, queue) == 0)
            return true;
    }
    return false;
}

/* A binding that is not known may be there; declaring it again does no harm. */
static bool is_to_declare(const cny_applying *one, const coney_plan_entry *entry)
{
    bool is_binding = entry->kind == CONEY_DECLARATION_BINDING;
    if (entry->state != CONEY_PLAN_MISSING && !(is_binding && entry->state == CONEY_PLAN_UNKNOWN))
        return false;
    bool names_queue = entry->kind == CONEY_DECLARATION_QUEUE || (is_binding && !entry->binding.to_exchange);
    return !names_queue || !is_changed(one->options, entry->name);
}

static coney_status add_entry(const cny_applying *one, coney_topology *to, const coney_plan_entry *entry)
{
    const coney_topology *from = one->plan->topology;
    switch (entry->kind) {
    case CONEY_DECLARATION_EXCHANGE:
        return coney_topology_add_exchange(to, cny_topology_find_exchange(from, entry->name));
    case CONEY_DECLARATION_QUEUE: return coney_topology_add_queue(to, cny_topology_find_queue(from, entry->name));
    case CONEY_DECLARATION_BINDING: break;
    }
    return coney_topology_add_binding(to, &entry->binding);
}

static coney_status fail_external(const cny_applying *one, const coney_plan_entry *entry)
{
    const coney_queue *queue = cny_topology_find_queue(one->plan->topology, entry->name);
    const coney_exchange *exchange = cny_topology_find_exchange(one->plan->topology, entry->name);
    bool is_external = entry->kind == CONEY_DECLARATION_QUEUE
                           ? queue && queue->external
                           : entry->kind == CONEY_DECLARATION_EXCHANGE && exchange && exchange->external;
    return is_external
               ? cny_fail(CONEY_E_NOT_FOUND, "apply: %s, and it is external; its owner has to declare it", entry->text)
               : CONEY_OK;
}

/* An admin of its own declares all of it together, and tells of refusals as any other. */
static coney_status declare_all(const cny_applying *one, const coney_topology *missing)
{
    coney_admin *own;
    coney_status status = coney_admin_new(&own, one->factory,
                                          &(coney_admin_options){.topology = missing,
                                                                 .no_auto_declare = true,
                                                                 .timeout_ms = cny_admin_timeout_ms(one->admin)});
    if (status != CONEY_OK)
        return status;
    status = coney_admin_declare(own);
    coney_admin_free(own);
    return status;
}

static coney_status declare_missing(const cny_applying *one)
{
    size_t count, found = 0;
    const coney_plan_entry *entries = cny_plan_entries(one->plan, &count);
    coney_topology *missing = coney_topology_new();
    coney_status status = missing ? CONEY_OK : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < one->plan->expected; i++) {
        if (!is_to_declare(one, &entries[i]))
            continue;
        status = fail_external(one, &entries[i]);
        if (status != CONEY_OK)
            break;
        if (entries[i].state == CONEY_PLAN_MISSING)
            cny_apply_step(one, "declare: %s", entries[i].text);
        found += entries[i].state == CONEY_PLAN_MISSING;
        status = add_entry(one, missing, &entries[i]);
    }
    if (status == CONEY_OK && !cny_topology_is_empty(missing))
        status = declare_all(one, missing);
    if (status == CONEY_OK)
        one->report->declared += found;
    coney_topology_free(missing);
    return status;
}

/* ---- removing ---- */

static coney_status remove_extras(const cny_applying *one)
{
    const coney_apply_options *options = one->options;
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < options->remove_binding_count; i++) {
        const coney_binding *binding = &options->remove_bindings[i];
        cny_apply_step(one, "unbind '%s' from exchange '%s'", binding->destination, binding->exchange);
        status = coney_admin_remove_binding(one->admin, binding);
        one->report->unbound += status == CONEY_OK;
    }
    for (const char *const *name = options->delete_queues; status == CONEY_OK && name && *name; name++) {
        const coney_plan_entry *entry = find_entry(one->plan, CONEY_DECLARATION_QUEUE, *name);
        cny_apply_step(one, "delete queue '%s' if it is empty and unused", *name);
        status = coney_admin_delete_queue_if(
            one->admin, *name,
            &(coney_delete_options){.if_empty = true, .if_unused = true, .kind = cny_kind_to_delete(entry->existing)},
            NULL);
        one->report->deleted += status == CONEY_OK;
    }
    for (const char *const *name = options->delete_exchanges; status == CONEY_OK && name && *name; name++) {
        cny_apply_step(one, "delete exchange '%s' if it is unused", *name);
        status = coney_admin_delete_exchange_if_unused(one->admin, *name);
        one->report->deleted += status == CONEY_OK;
    }
    return status;
}

/* ---- all ---- */

coney_status coney_admin_apply(coney_admin *admin, const coney_plan *plan, const coney_apply_options *options,
                               coney_apply_report *report)
{
    CNY_DISABLE_CANCEL();
    static const coney_apply_options defaults;
    coney_apply_report unread;
    if (!admin || !plan)
        return cny_fail(CONEY_E_INVALID, "apply: admin or plan is NULL");
    coney_apply_options own = options ? *options : defaults;
    if (own.drain_timeout_ms == 0)
        own.drain_timeout_ms = DEFAULT_DRAIN_MS;
    const cny_applying one = {.admin = admin,
                              .factory = cny_admin_factory(admin),
                              .plan = plan,
                              .options = &own,
                              .report = report ? report : &unread};
    *one.report = (coney_apply_report){0};
    coney_status status = cny_factory_check_process(one.factory);
    if (status == CONEY_OK && cny_factory_on_events_thread(one.factory))
        status = cny_fail(CONEY_E_STATE, "apply: a callback cannot wait for the callbacks of the messages that are "
                                         "moved; call it on another thread");
    if (status == CONEY_OK)
        status = check_options(plan, &own);
    if (status == CONEY_OK)
        status = declare_missing(&one);
    for (size_t i = 0; status == CONEY_OK && i < own.change_count; i++) {
        const coney_plan_entry *entry = find_entry(plan, CONEY_DECLARATION_QUEUE, own.changes[i].queue);
        status = cny_apply_change(&one, &own.changes[i], entry ? entry->existing : CONEY_QUEUE_DEFAULT);
    }
    return status == CONEY_OK ? remove_extras(&one) : status;
}
