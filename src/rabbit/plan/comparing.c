/* SPDX-License-Identifier: MIT */
/* Compares a topology with an inventory: properties, arguments, policies, bindings, and what is in no topology. On
 * threads of the program. It must not know where the inventory comes from. */
#include "amqp/amqp.h"
#include "rabbit/plan/plan.h"
#include "topology/fields.h"
#include "topology/same.h"

#include <stdio.h>
#include <string.h>

/* ---- differences ---- */

typedef struct comparing {
    coney_plan *plan;
    cny_buffer differences; /* of the entry at hand */
    bool has_own;           /* one of them is the thing's own, and not from a policy */
    bool is_out_of_memory;
} comparing;

static const char *copy_text(comparing *one, const char *text)
{
    const char *copy = NULL;
    if (!cny_arena_strdup(&one->plan->arena, &copy, text))
        one->is_out_of_memory = true;
    return copy;
}

static void note(comparing *one, const char *field, const char *declared, const char *existing, const char *policy)
{
    const coney_difference difference = {.field = copy_text(one, field),
                                         .declared = copy_text(one, declared),
                                         .existing = copy_text(one, existing),
                                         .policy = copy_text(one, policy)};
    if (!cny_buffer_append(&one->differences, &difference, sizeof difference))
        one->is_out_of_memory = true;
    one->has_own |= !policy;
}

static void compare_flag(comparing *one, const char *field, bool declared, bool existing)
{
    if (declared != existing)
        note(one, field, declared ? "true" : "false", existing ? "true" : "false", NULL);
}

static void note_values(comparing *one, const char *field, const coney_value *declared, const coney_value *existing,
                        const char *policy)
{
    static const coney_value none = {.type = CONEY_VOID};
    char declared_text[CNY_VALUE_TEXT], existing_text[CNY_VALUE_TEXT];
    cny_describe_value(declared ? declared : &none, declared_text);
    cny_describe_value(existing ? existing : &none, existing_text);
    note(one, field, declared_text, existing_text, policy);
}

typedef const char *field_function(const void *thing, const char *argument);

static const char *queue_field(const void *queue, const char *argument)
{
    return cny_queue_field_of(queue, argument);
}

static const char *exchange_field(const void *exchange, const char *argument)
{
    return cny_exchange_field_of(exchange, argument);
}

/* may_have: an argument that the broker adds by itself. */
static void compare_arguments(comparing *one, const void *thing, field_function *field_of, const coney_table *declared,
                              const coney_table *existing, const char *may_have)
{
    for (size_t i = 0; i < coney_table_size(declared); i++) {
        const char *argument = coney_table_name_at(declared, i);
        const coney_value *value = coney_table_value_at(declared, i), *there = coney_table_get(existing, argument);
        bool is_no_limit = !there && strcmp(argument, "x-delivery-limit") == 0 && value->as.integer < 0;
        if (!is_no_limit && (!there || !cny_same_values(value, there))) /* older brokers are sent no -1 */
            note_values(one, field_of(thing, argument), value, there, NULL);
    }
    for (size_t i = 0; i < coney_table_size(existing); i++) {
        const char *argument = coney_table_name_at(existing, i);
        if (!coney_table_get(declared, argument) && (!may_have || strcmp(argument, may_have) != 0))
            note_values(one, field_of(thing, argument), NULL, coney_table_value_at(existing, i), NULL);
    }
}

/* Of a limit in an argument and one in a policy the broker takes the lower one. Otherwise the argument counts. */
static bool is_overruled(const coney_value *declared, const coney_value *by_policy)
{
    bool are_numbers = declared && declared->type >= CONEY_INT8 && declared->type <= CONEY_INT64 &&
                       by_policy->type >= CONEY_INT8 && by_policy->type <= CONEY_INT64;
    if (!declared)
        return true;
    if (are_numbers && (by_policy->as.integer < 0 || declared->as.integer < 0)) /* below 0: no limit */
        return by_policy->as.integer >= 0;
    return are_numbers && by_policy->as.integer < declared->as.integer;
}

static void compare_policy(comparing *one, const void *thing, field_function *field_of, const coney_table *declared,
                           const coney_found_policy *policy, const char *prefix)
{
    const char *name = policy->name ? policy->name : policy->operator_name;
    for (size_t i = 0; name && i < coney_table_size(policy->settings); i++) {
        char argument[CONEY_NAME_SIZE];
        const char *setting = coney_table_name_at(policy->settings, i);
        snprintf(argument, sizeof argument, "%s%s", prefix, setting);
        const coney_value *value = coney_table_value_at(policy->settings, i);
        const coney_value *own = coney_table_get(declared, argument);
        if (is_overruled(own, value))
            note_values(one, field_of(thing, argument), own, value, name);
    }
}

/* Moves the differences to the entry. */
static void conclude(comparing *one, coney_plan_entry *entry)
{
    entry->difference_count = one->differences.size / sizeof(coney_difference);
    entry->state = entry->difference_count > 0 ? CONEY_PLAN_DIFFERENT : CONEY_PLAN_SAME;
    entry->must_be_replaced = entry->kind == CONEY_DECLARATION_QUEUE && one->has_own;
    if (entry->difference_count > 0) {
        entry->differences = (const coney_difference *)(void *)cny_arena_copy(&one->plan->arena, one->differences.data,
                                                                              one->differences.size);
        one->is_out_of_memory |= !entry->differences;
    }
    one->differences.size = 0;
    one->has_own = false;
}

/* ---- things ---- */

static coney_queue_kind kind_of(const coney_found_queue *found)
{
    const char *type = found->type ? found->type : coney_table_get_string(found->arguments, "x-queue-type");
    return !type                          ? CONEY_QUEUE_DEFAULT
           : strcmp(type, "classic") == 0 ? CONEY_CLASSIC
           : strcmp(type, "quorum") == 0  ? CONEY_QUORUM
           : strcmp(type, "stream") == 0  ? CONEY_STREAM
                                          : CONEY_QUEUE_DEFAULT;
}

static coney_status compare_queue(comparing *one, coney_plan_entry *entry, const coney_inventory *inventory)
{
    const coney_queue *queue = cny_topology_find_queue(one->plan->topology, entry->name);
    const coney_found_queue *found = cny_inventory_find_queue(inventory, entry->name);
    entry->state = found ? CONEY_PLAN_THERE : CONEY_PLAN_MISSING;
    entry->existing = found ? kind_of(found) : CONEY_QUEUE_DEFAULT;
    if (!found || queue->external)
        return CONEY_OK;
    coney_table *arguments;
    coney_status status = cny_queue_arguments(&arguments, queue);
    if (status != CONEY_OK)
        return status;
    compare_flag(one, "transient", queue->transient, !found->durable);
    compare_flag(one, "exclusive", queue->exclusive, found->exclusive);
    compare_flag(one, "auto_delete", queue->auto_delete, found->auto_delete);
    /* Newer brokers add the type; declared again without one, such a queue is the same. */
    compare_arguments(one, queue, queue_field, arguments, found->arguments,
                      queue->kind == CONEY_QUEUE_DEFAULT ? "x-queue-type" : NULL);
    compare_policy(one, queue, queue_field, arguments, &found->policy, "x-");
    coney_table_free(arguments);
    conclude(one, entry);
    return CONEY_OK;
}

static coney_status compare_exchange(comparing *one, coney_plan_entry *entry, const coney_inventory *inventory)
{
    const coney_exchange *exchange = cny_topology_find_exchange(one->plan->topology, entry->name);
    const coney_found_exchange *found = cny_inventory_find_exchange(inventory, entry->name);
    entry->state = found ? CONEY_PLAN_THERE : CONEY_PLAN_MISSING;
    if (!found || exchange->external)
        return CONEY_OK;
    coney_table *arguments;
    coney_status status = cny_exchange_arguments(&arguments, exchange);
    if (status != CONEY_OK)
        return status;
    const char *type = cny_exchange_type_name(exchange);
    if (strcmp(type, found->type) != 0)
        note(one, "type", type, found->type, NULL);
    compare_flag(one, "transient", exchange->transient, !found->durable);
    compare_flag(one, "auto_delete", exchange->auto_delete, found->auto_delete);
    compare_flag(one, "internal", exchange->internal, found->internal);
    compare_arguments(one, exchange, exchange_field, arguments, found->arguments, NULL);
    compare_policy(one, exchange, exchange_field, arguments, &found->policy, "");
    coney_table_free(arguments);
    conclude(one, entry);
    return CONEY_OK;
}

/* ---- what is extra ---- */

static coney_status add_extra(comparing *one, const coney_plan_entry *entry)
{
    coney_plan_entry copy = *entry;
    const coney_binding *binding = &entry->binding;
    copy.state = CONEY_PLAN_EXTRA;
    copy.name = copy_text(one, entry->name);
    copy.binding.exchange = copy_text(one, binding->exchange);
    copy.binding.destination = copy_text(one, binding->destination);
    copy.binding.routing_key = copy_text(one, binding->routing_key);
    copy.binding.arguments = binding->arguments ? cny_table_copy(&one->plan->arena, binding->arguments) : NULL;
    one->is_out_of_memory |= binding->arguments && !copy.binding.arguments;
    return cny_buffer_append(&one->plan->entries, &copy, sizeof copy) ? CONEY_OK : cny_fail_memory();
}

static bool is_known_exchange(const coney_plan *plan, const char *name)
{
    return !*name || cny_is_of_broker(name) || cny_topology_find_exchange(plan->declared, name);
}

/* A queue that is another connection's is no business of a plan. */
static bool is_shared(const coney_found_queue *queue)
{
    return !queue->exclusive && !cny_is_of_broker(queue->name);
}

/* From a known exchange to a known one, or to any queue. */
static bool is_extra_binding(const coney_plan *plan, const coney_inventory *inventory, const coney_binding *binding)
{
    const coney_found_queue *queue = cny_inventory_find_queue(inventory, binding->destination);
    bool has_ends = is_known_exchange(plan, binding->exchange) &&
                    (binding->to_exchange ? is_known_exchange(plan, binding->destination) : queue && is_shared(queue));
    return has_ends && !cny_topology_has_binding(plan->declared, binding);
}

static coney_status add_extras(comparing *one, const coney_inventory *inventory)
{
    size_t exchanges, queues, bindings;
    const coney_found_exchange *all_exchanges = cny_inventory_exchanges(inventory, &exchanges);
    const coney_found_queue *all_queues = cny_inventory_queues(inventory, &queues);
    const coney_binding *all_bindings = cny_inventory_bindings(inventory, &bindings);
    const coney_topology *declared = one->plan->declared;
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < exchanges; i++) {
        const char *name = all_exchanges[i].name;
        if (!is_known_exchange(one->plan, name))
            status = add_extra(one, &(coney_plan_entry){.kind = CONEY_DECLARATION_EXCHANGE, .name = name});
    }
    for (size_t i = 0; status == CONEY_OK && i < queues; i++) {
        const coney_found_queue *queue = &all_queues[i];
        if (is_shared(queue) && !cny_topology_find_queue(declared, queue->name))
            status = add_extra(
                one,
                &(coney_plan_entry){.kind = CONEY_DECLARATION_QUEUE, .name = queue->name, .existing = kind_of(queue)});
    }
    for (size_t i = 0; status == CONEY_OK && i < bindings; i++) {
        if (is_extra_binding(one->plan, inventory, &all_bindings[i]))
            status = add_extra(one, &(coney_plan_entry){.kind = CONEY_DECLARATION_BINDING,
                                                        .name = all_bindings[i].destination,
                                                        .binding = all_bindings[i]});
    }
    return status;
}

/* ---- all ---- */

/* A queue that is replaced keeps all its bindings, also those that nobody here knows of. */
static coney_status keep_bindings(coney_plan *plan, const coney_inventory *inventory)
{
    size_t count;
    const coney_binding *bindings = cny_inventory_bindings(inventory, &count);
    plan->bindings = coney_topology_new();
    coney_status status = plan->bindings ? CONEY_OK : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < count; i++)
        status = coney_topology_add_binding(plan->bindings, &bindings[i]);
    return status;
}

coney_status cny_plan_compare(coney_plan *plan, const coney_inventory *inventory)
{
    comparing one = {.plan = plan};
    size_t count;
    coney_plan_entry *entries = cny_plan_entries(plan, &count);
    coney_status status = keep_bindings(plan, inventory);
    for (size_t i = 0; status == CONEY_OK && i < count; i++) {
        if (entries[i].kind == CONEY_DECLARATION_QUEUE)
            status = compare_queue(&one, &entries[i], inventory);
        else if (entries[i].kind == CONEY_DECLARATION_EXCHANGE)
            status = compare_exchange(&one, &entries[i], inventory);
        else
            entries[i].state =
                cny_inventory_has_binding(inventory, &entries[i].binding) ? CONEY_PLAN_SAME : CONEY_PLAN_MISSING;
    }
    if (status == CONEY_OK)
        status = add_extras(&one, inventory);
    cny_buffer_free(&one.differences);
    return status == CONEY_OK && one.is_out_of_memory ? cny_fail_memory() : status;
}
