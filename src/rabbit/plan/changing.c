/* SPDX-License-Identifier: MIT */
/* Replaces a queue by one with other arguments. The new queue is bound before the old one is unbound, so no message
 * misses both; what arrives in between comes twice. Every step may have been done before. On threads of the program. */
#include "rabbit/plan/plan.h"

#include "amqp/amqp.h"

#include <string.h>

/* ---- bindings ---- */

/* The bindings of the old queue: those of the topology, and all that the inventory has. */
typedef coney_status binding_function(const cny_applying *one, const coney_binding *binding, const char *new_name);

static coney_status for_each_in(const cny_applying *one, const coney_topology *from, const coney_topology *but,
                                const coney_queue_change *change, binding_function *function)
{
    size_t count = 0;
    const coney_binding *bindings = from ? cny_topology_bindings(from, &count) : NULL;
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < count; i++) {
        bool is_of_queue = !bindings[i].to_exchange && strcmp(bindings[i].destination, change->queue) == 0;
        if (is_of_queue && !(but && cny_topology_has_binding(but, &bindings[i])))
            status = function(one, &bindings[i], change->new_name);
    }
    return status;
}

static coney_status for_each_binding(const cny_applying *one, const coney_queue_change *change,
                                     binding_function *function)
{
    const coney_plan *plan = one->plan;
    coney_status status = for_each_in(one, plan->topology, NULL, change, function);
    return status == CONEY_OK ? for_each_in(one, plan->bindings, plan->topology, change, function) : status;
}

static coney_status bind_new(const cny_applying *one, const coney_binding *binding, const char *new_name)
{
    coney_binding copy = *binding;
    copy.destination = new_name;
    cny_apply_step(one, "bind queue '%s' to exchange '%s' with routing key '%s'", new_name, copy.exchange,
                   copy.routing_key ? copy.routing_key : "");
    coney_status status = coney_admin_declare_binding(one->admin, &copy);
    one->report->bound += status == CONEY_OK;
    return status;
}

static coney_status unbind_old(const cny_applying *one, const coney_binding *binding, const char *unused)
{
    (void)unused;
    cny_apply_step(one, "unbind queue '%s' from exchange '%s' with routing key '%s'", binding->destination,
                   binding->exchange, binding->routing_key ? binding->routing_key : "");
    coney_status status = coney_admin_remove_binding(one->admin, binding);
    one->report->unbound += status == CONEY_OK;
    return status;
}

/* ---- counting what may come twice ---- */

#define SETTLE_MS 200 /* until the numbers of a quorum queue count what it has confirmed */

/* What is in the new queue a moment after the old one has lost its bindings may be in both, unless it was there before.
 * Gives that number; where consumers take messages away, nobody can count. */
static coney_status count_arrived(const cny_applying *one, const char *new_name, uint32_t before, uint64_t *arrived)
{
    coney_queue_info info;
    coney_status status = cny_factory_sleep(one->factory, cny_deadline(SETTLE_MS));
    if (status == CONEY_OK)
        status = coney_admin_queue_info(one->admin, new_name, &info);
    if (status != CONEY_OK)
        return status;
    *arrived = info.message_count > before ? info.message_count - before : 0;
    if (info.consumer_count > 0)
        *arrived = UINT64_MAX;
    return CONEY_OK;
}

/* before: what the new queue had before anything was bound to it. */
static coney_status move_bindings(const cny_applying *one, const coney_queue_change *change, uint32_t before,
                                  uint64_t *arrived)
{
    coney_status status = for_each_binding(one, change, bind_new);
    if (status == CONEY_OK)
        status = for_each_binding(one, change, unbind_old);
    return status == CONEY_OK ? count_arrived(one, change->new_name, before, arrived) : status;
}

/* ---- the old queue ---- */

/* Messages that came through the default exchange while the bindings were moved and the queue was emptied are moved,
 * too, as long as that takes. */
static coney_status empty(const cny_applying *one, const char *queue, const char *new_name)
{
    int64_t deadline = cny_deadline(one->options->drain_timeout_ms);
    for (;;) {
        coney_queue_info info;
        cny_apply_step(one, "move the messages of queue '%s' to queue '%s'", queue, new_name);
        coney_status status = cny_drain(one, queue, new_name, deadline);
        if (status == CONEY_OK)
            status = coney_admin_queue_info(one->admin, queue, &info);
        if (status != CONEY_OK)
            return status;
        if (info.consumer_count > 0)
            return cny_fail(CONEY_E_STATE,
                            "apply: queue '%s' still has %u consumers; move them to queue '%s', and apply again", queue,
                            info.consumer_count, new_name);
        if (info.message_count == 0)
            return CONEY_OK;
        if (cny_now_ms() >= deadline)
            return cny_fail(CONEY_E_STATE,
                            "apply: queue '%s' has %u new messages: somebody sends to it by its name, through the "
                            "default exchange or as dead letters; have them send to queue '%s', and apply again",
                            queue, info.message_count, new_name);
    }
}

static coney_status delete_old(const cny_applying *one, const char *queue, coney_queue_kind kind)
{
    cny_apply_step(one, "delete queue '%s' if it is empty and unused", queue);
    coney_status status = coney_admin_delete_queue_if(
        one->admin, queue,
        &(coney_delete_options){.if_empty = true, .if_unused = true, .kind = cny_kind_to_delete(kind)}, NULL);
    one->report->deleted += status == CONEY_OK;
    return status;
}

/* ---- all steps ---- */

/* What the topology declares for the old queue. If an earlier call was interrupted, the admin has the new one already.
 */
static coney_queue model_of(const cny_applying *one, const coney_queue_change *change)
{
    const coney_queue *old = cny_topology_find_queue(one->plan->topology, change->queue);
    coney_queue copy = *(old ? old : cny_topology_find_queue(one->plan->topology, change->new_name));
    copy.name = change->new_name;
    return copy;
}

static coney_status declare_new(const cny_applying *one, const coney_queue_change *change, coney_queue_info *info)
{
    const coney_queue new = model_of(one, change);
    cny_apply_step(one, "declare queue '%s' with what is declared for queue '%s'", change->new_name, change->queue);
    return coney_admin_declare_queue(one->admin, &new, info);
}

/* From now on the admin declares the new queue and its bindings, and not the old one, also after a loss. */
static coney_status follow(const cny_applying *one, const coney_queue_change *change)
{
    size_t count;
    const coney_queue queue = model_of(one, change);
    const coney_plan_entry *entries = cny_plan_entries(one->plan, &count);
    coney_topology *new = coney_topology_new();
    coney_status status = new ? coney_topology_add_queue(new, &queue) : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < one->plan->expected; i++) {
        coney_binding binding = entries[i].binding;
        if (entries[i].kind != CONEY_DECLARATION_BINDING || binding.to_exchange ||
            strcmp(binding.destination, change->queue) != 0)
            continue;
        binding.destination = change->new_name;
        status = coney_topology_add_binding(new, &binding);
    }
    if (status == CONEY_OK)
        status = coney_admin_add(one->admin, new);
    if (status == CONEY_OK)
        status = coney_admin_forget_queue(one->admin, change->queue);
    coney_topology_free(new);
    return status == CONEY_E_NOT_FOUND ? CONEY_OK : status; /* it was forgotten before */
}

coney_status cny_apply_change(const cny_applying *one, const coney_queue_change *change, coney_queue_kind kind)
{
    bool is_there = false;
    coney_queue_info info;
    uint64_t arrived = 0, moved = one->report->moved;
    coney_status status = declare_new(one, change, &info);
    if (status == CONEY_OK)
        status = follow(one, change);
    if (status == CONEY_OK)
        status = coney_admin_queue_exists(one->admin, change->queue, &is_there);
    if (status == CONEY_OK && !is_there)
        return for_each_binding(one, change, bind_new);
    if (status == CONEY_OK)
        status = move_bindings(one, change, info.message_count, &arrived);
    if (status == CONEY_OK)
        status = empty(one, change->queue, change->new_name);
    moved = one->report->moved - moved; /* what was in both queues was moved, too */
    one->report->may_come_twice += arrived < moved ? arrived : moved;
    return status == CONEY_OK ? delete_old(one, change->queue, kind) : status;
}
