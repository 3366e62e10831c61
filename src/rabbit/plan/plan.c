/* SPDX-License-Identifier: MIT */
/* Making a plan, and what it says to people. On threads of the program. It must not know how the broker is asked. */
#include "rabbit/plan/plan.h"

#include "amqp/amqp.h"

#include <stdio.h>
#include <string.h>

const char *coney_plan_state_name(coney_plan_state state)
{
    static const char *const names[] = {"UNKNOWN", "MISSING", "THERE", "SAME", "DIFFERENT", "EXTRA"};
    return (size_t)state < sizeof names / sizeof *names ? names[state] : "?";
}

/* ---- the entries of the topology ---- */

static bool add_entry(coney_plan *plan, const coney_plan_entry *entry)
{
    return cny_buffer_append(&plan->entries, entry, sizeof *entry);
}

static coney_status add_entries(coney_plan *plan)
{
    size_t exchanges, queues, bindings;
    const coney_exchange *all_exchanges = cny_topology_exchanges(plan->topology, &exchanges);
    const coney_queue *all_queues = cny_topology_queues(plan->topology, &queues);
    const coney_binding *all_bindings = cny_topology_bindings(plan->topology, &bindings);
    bool added = true;
    for (size_t i = 0; added && i < exchanges; i++)
        added = add_entry(plan, &(coney_plan_entry){.kind = CONEY_DECLARATION_EXCHANGE, .name = all_exchanges[i].name});
    for (size_t i = 0; added && i < queues; i++)
        added = add_entry(plan, &(coney_plan_entry){.kind = CONEY_DECLARATION_QUEUE, .name = all_queues[i].name});
    for (size_t i = 0; added && i < bindings; i++)
        added = add_entry(plan, &(coney_plan_entry){.kind = CONEY_DECLARATION_BINDING,
                                                    .name = all_bindings[i].destination,
                                                    .binding = all_bindings[i]});
    plan->expected = exchanges + queues + bindings;
    return added ? CONEY_OK : cny_fail_memory();
}

/* ---- sentences ---- */

static void describe_thing(const coney_plan_entry *entry, char *text, size_t size)
{
    const coney_binding *binding = &entry->binding;
    if (entry->kind == CONEY_DECLARATION_BINDING)
        snprintf(text, size, "binding of %s '%s' to exchange '%s' with routing key '%s'",
                 binding->to_exchange ? "exchange" : "queue", binding->destination, binding->exchange,
                 binding->routing_key ? binding->routing_key : "");
    else
        snprintf(text, size, "%s '%s'", entry->kind == CONEY_DECLARATION_QUEUE ? "queue" : "exchange", entry->name);
}

static bool append_text(cny_buffer *to, const char *text)
{
    return cny_buffer_append(to, text, strlen(text));
}

static bool append_difference(cny_buffer *to, const coney_difference *one)
{
    char text[1024];
    snprintf(text, sizeof text, "%s is %s in the topology and %s at the broker", one->field, one->declared,
             one->existing);
    bool added = append_text(to, text);
    if (added && one->policy) {
        snprintf(text, sizeof text, " (policy '%s')", one->policy);
        added = append_text(to, text);
    }
    return added;
}

static bool append_sentence(cny_buffer *to, const coney_plan_entry *entry)
{
    static const char *const ends[] = {" is unknown: the broker does not tell",
                                       " is missing",
                                       " is there",
                                       " is the same",
                                       " is different: ",
                                       " is extra"};
    char text[1024];
    describe_thing(entry, text, sizeof text);
    bool added = append_text(to, text) && append_text(to, ends[entry->state]);
    for (size_t i = 0; added && i < entry->difference_count; i++)
        added = (i == 0 || append_text(to, "; ")) && append_difference(to, &entry->differences[i]);
    if (added && entry->must_be_replaced)
        added = append_text(to, ". Its arguments cannot be changed; coney_admin_apply() can replace the queue");
    return added;
}

static coney_status write_sentences(coney_plan *plan)
{
    size_t count;
    coney_plan_entry *entries = cny_plan_entries(plan, &count);
    cny_buffer text = {0};
    bool written = true;
    for (size_t i = 0; written && i < count; i++) {
        text.size = 0;
        written = append_sentence(&text, &entries[i]);
        entries[i].text = written ? cny_arena_copy(&plan->arena, text.data, text.size) : NULL;
        written = entries[i].text != NULL;
    }
    cny_buffer_free(&text);
    return written ? CONEY_OK : cny_fail_memory();
}

/* ---- making ---- */

void coney_plan_free(coney_plan *plan)
{
    if (!plan)
        return;
    cny_buffer_free(&plan->entries);
    coney_topology_free(plan->topology);
    coney_topology_free(plan->declared);
    coney_topology_free(plan->bindings);
    cny_arena_free(&plan->arena);
    cny_free(plan);
}

static coney_status make(coney_plan *plan, coney_admin *admin, const coney_inventory *inventory)
{
    coney_connection_factory *factory = cny_admin_factory(admin);
    plan->topology = cny_admin_topology(admin);
    if (!plan->topology)
        return cny_fail_memory();
    coney_status status = cny_declarations_copy(&plan->declared, factory);
    if (status == CONEY_OK)
        status = add_entries(plan);
    if (status == CONEY_OK)
        status = inventory ? cny_plan_compare(plan, inventory) : cny_plan_ask(plan, admin);
    if (status == CONEY_OK)
        status = cny_plan_find_users(plan, factory, inventory);
    return status == CONEY_OK ? write_sentences(plan) : status;
}

coney_status coney_admin_plan(coney_plan **plan, coney_admin *admin, const coney_inventory *inventory)
{
    CNY_DISABLE_CANCEL();
    if (plan)
        *plan = NULL;
    if (!plan || !admin)
        return cny_fail(CONEY_E_INVALID, "plan: plan or admin is NULL");
    coney_status status = cny_factory_check_process(cny_admin_factory(admin));
    if (status != CONEY_OK)
        return status;
    coney_plan *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    status = make(made, admin, inventory);
    if (status != CONEY_OK) {
        coney_plan_free(made);
        return cny_fail_in("plan");
    }
    *plan = made;
    return CONEY_OK;
}

/* ---- reading ---- */

size_t coney_plan_size(const coney_plan *plan)
{
    size_t count = 0;
    if (plan)
        cny_plan_entries(plan, &count);
    return count;
}

const coney_plan_entry *coney_plan_at(const coney_plan *plan, size_t index)
{
    size_t count = 0;
    const coney_plan_entry *entries = plan ? cny_plan_entries(plan, &count) : NULL;
    return index < count ? &entries[index] : NULL;
}

static bool needs_nothing(const coney_plan_entry *entry)
{
    return entry->state == CONEY_PLAN_SAME || entry->state == CONEY_PLAN_THERE;
}

static bool append_line(cny_buffer *to, const char *before, const char *text)
{
    return append_text(to, before) && append_text(to, text) && append_text(to, "\n");
}

static bool append_entry(cny_buffer *to, const coney_plan_entry *entry)
{
    bool added = append_line(to, "", entry->text);
    for (size_t i = 0; added && i < entry->user_count; i++)
        added = append_line(to, "    must be moved: ", entry->users[i]);
    if (added && entry->must_be_replaced)
        added = append_line(to, "    ",
                            "programs elsewhere that send to the queue through the default exchange "
                            "cannot be seen from here");
    return added;
}

static bool append_summary(cny_buffer *to, const coney_plan *plan)
{
    size_t count, counts[CONEY_PLAN_EXTRA + 1] = {0};
    const coney_plan_entry *entries = cny_plan_entries(plan, &count);
    char text[200];
    for (size_t i = 0; i < count; i++)
        counts[entries[i].state]++;
    snprintf(text, sizeof text, "%zu same, %zu there, %zu missing, %zu different, %zu extra, %zu unknown\n",
             counts[CONEY_PLAN_SAME], counts[CONEY_PLAN_THERE], counts[CONEY_PLAN_MISSING],
             counts[CONEY_PLAN_DIFFERENT], counts[CONEY_PLAN_EXTRA], counts[CONEY_PLAN_UNKNOWN]);
    return append_text(to, text);
}

static char *take_text(const cny_buffer *written)
{
    char *text = cny_alloc(written->size);
    if (text)
        memcpy(text, written->data, written->size);
    return text;
}

coney_status coney_plan_text(const coney_plan *plan, char **text)
{
    CNY_DISABLE_CANCEL();
    if (text)
        *text = NULL;
    if (!plan || !text)
        return cny_fail(CONEY_E_INVALID, "plan text: plan or text is NULL");
    cny_buffer written = {0};
    size_t count;
    const coney_plan_entry *entries = cny_plan_entries(plan, &count);
    bool added = true;
    for (size_t i = 0; added && i < count; i++)
        added = needs_nothing(&entries[i]) || append_entry(&written, &entries[i]);
    added = added && append_summary(&written, plan) && cny_buffer_append(&written, "", 1);
    *text = added ? take_text(&written) : NULL;
    cny_buffer_free(&written);
    return *text ? CONEY_OK : cny_fail_memory();
}
