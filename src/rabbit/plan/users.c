/* SPDX-License-Identifier: MIT */
/* Who uses a queue by its name, so that it must be moved when another queue takes its place. On threads of the program.
 * It must not know how the members of a factory are made. */
#include "amqp/amqp.h"
#include "rabbit/plan/plan.h"

#include <stdio.h>
#include <string.h>

typedef struct finding {
    coney_plan *plan;
    cny_buffer users; /* of const char * */
    bool is_out_of_memory;
} finding;

static void add_user(const char *sentence, void *to)
{
    finding *one = to;
    const char *copy = NULL;
    if (!cny_arena_strdup(&one->plan->arena, &copy, sentence) ||
        !cny_buffer_append(&one->users, &copy, sizeof(const char *)))
        one->is_out_of_memory = true;
}

/* Through the default exchange, so by the queue's name. Without a routing key a dead letter keeps its own. */
static void find_in_topology(finding *one, const char *queue)
{
    size_t count;
    const coney_queue *queues = cny_topology_queues(one->plan->declared, &count);
    for (size_t i = 0; i < count; i++) {
        const char *exchange = queues[i].dead_letter_exchange, *key = queues[i].dead_letter_routing_key;
        char sentence[600];
        if (!exchange || *exchange || !key || strcmp(key, queue) != 0)
            continue;
        snprintf(sentence, sizeof sentence, "queue '%s', which dead-letters to it", queues[i].name);
        add_user(sentence, one);
    }
}

static void find_in_inventory(finding *one, const coney_inventory *inventory, const char *queue)
{
    size_t count;
    const coney_found_consumer *consumers = cny_inventory_consumers(inventory, &count);
    for (size_t i = 0; i < count; i++) {
        char sentence[900];
        if (strcmp(consumers[i].queue, queue) != 0)
            continue;
        snprintf(sentence, sizeof sentence, "consumer '%.255s' of connection '%.255s'",
                 consumers[i].tag ? consumers[i].tag : "", consumers[i].connection ? consumers[i].connection : "");
        add_user(sentence, one);
    }
}

coney_status cny_plan_find_users(coney_plan *plan, coney_connection_factory *factory, const coney_inventory *inventory)
{
    finding one = {.plan = plan};
    size_t count;
    coney_plan_entry *entries = cny_plan_entries(plan, &count);
    for (size_t i = 0; i < count; i++) {
        coney_plan_entry *entry = &entries[i];
        if (!entry->must_be_replaced)
            continue;
        one.users.size = 0;
        if (cny_factory_find_users(factory, entry->name, add_user, &one) != CONEY_OK)
            one.is_out_of_memory = true;
        find_in_topology(&one, entry->name);
        if (inventory)
            find_in_inventory(&one, inventory, entry->name);
        entry->user_count = one.users.size / sizeof(const char *);
        if (entry->user_count > 0)
            entry->users = (const char *const *)(void *)cny_arena_copy(&plan->arena, one.users.data, one.users.size);
        one.is_out_of_memory |= entry->user_count > 0 && !entry->users;
    }
    cny_buffer_free(&one.users);
    return one.is_out_of_memory ? cny_fail_memory() : CONEY_OK;
}
