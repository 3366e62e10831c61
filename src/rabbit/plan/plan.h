/* SPDX-License-Identifier: MIT */
/* What the files of the plan share. The room shows nothing but its public header. */
#ifndef CNY_PLAN_H
#define CNY_PLAN_H

#include "rabbit/admin/admin.h"
#include "topology/inventory.h"
#include "topology/topology.h"

#include <coney/rabbit/plan.h>

struct coney_plan {
    cny_arena arena;
    coney_topology *topology; /* the admin's, when the plan was made */
    coney_topology *declared; /* what all of the factory declare */
    cny_buffer entries;       /* of coney_plan_entry */
    coney_topology *bindings; /* those that the inventory has, whoever declares them; NULL without an inventory */
    size_t expected;          /* entries of the topology; what follows is extra */
};

/* ---- asking.c: passive declarations ---- */

/* Asks the broker for each entry whether the thing is there, and fills in the states. */
coney_status cny_plan_ask(coney_plan *plan, coney_admin *admin);

/* ---- comparing.c: with an inventory ---- */

/* Fills in states and differences, and adds what is extra. CONEY_E_NO_MEMORY. */
coney_status cny_plan_compare(coney_plan *plan, const coney_inventory *inventory);

/* ---- users.c ---- */

/* Fills in who uses the queues that must be replaced. inventory may be NULL. CONEY_E_NO_MEMORY. */
coney_status cny_plan_find_users(coney_plan *plan, coney_connection_factory *factory, const coney_inventory *inventory);

/* ---- steps.c ---- */

typedef struct cny_applying {
    coney_admin *admin;
    coney_connection_factory *factory;
    const coney_plan *plan;
    const coney_apply_options *options;
    coney_apply_report *report;
} cny_applying;

/* Tells a step by log and callback. */
void cny_apply_step(const cny_applying *one, const char *format, ...) CNY_PRINTF(2, 3);

/* ---- changing.c ---- */

/* Replaces a queue. Its kind is that at the broker. */
coney_status cny_apply_change(const cny_applying *one, const coney_queue_change *change, coney_queue_kind kind);

/* ---- draining.c ---- */

/* Moves all messages of a queue to another one by a consumer of its own, and counts them. */
coney_status cny_drain(const cny_applying *applying, const char *queue, const char *to, int64_t deadline);

/* If the kind is not known, the numbers are asked for first, as for a quorum queue, which does no harm to others. */
static inline coney_queue_kind cny_kind_to_delete(coney_queue_kind kind)
{
    return kind == CONEY_QUEUE_DEFAULT ? CONEY_QUORUM : kind;
}

static inline coney_plan_entry *cny_plan_entries(const coney_plan *plan, size_t *count)
{
    *count = plan->entries.size / sizeof(coney_plan_entry);
    return (coney_plan_entry *)(void *)plan->entries.data;
}

#endif
