/* SPDX-License-Identifier: MIT */
/* Several declarations by one call: a queue with its dead letters, a super stream. Any thread. */
#include "amqp/amqp.h"
#include "topology/topology.h"

#include <stdio.h>
#include <string.h>

/* The topology remembers this thread's last error. */
static coney_status fail_topology(coney_topology *topology)
{
    if (topology && !topology->failure)
        topology->failure = cny_error_capture();
    return coney_last_error_details()->status;
}

/* Adds all of `part`, which is freed, unless the status says that making it has failed. */
static coney_status add_part(coney_topology *topology, coney_topology *part, coney_status status)
{
    status = status == CONEY_OK ? coney_topology_add_all(topology, part) : fail_topology(topology);
    coney_topology_free(part);
    return status;
}

/* ---- a queue with its bindings ---- */

static coney_status check_keys(const coney_queue_binding *binding)
{
    const coney_exchange *exchange = &binding->exchange;
    bool needs_none = !exchange->custom_type && (exchange->type == CONEY_FANOUT || exchange->type == CONEY_HEADERS);
    if (needs_none || (binding->routing_keys && *binding->routing_keys))
        return CONEY_OK;
    return cny_fail(
        CONEY_E_INVALID,
        "a binding of queue '%s' to exchange '%s' has no routing_keys; give at least one, which may be \"\"",
        binding->queue.name ? binding->queue.name : "", exchange->name);
}

static coney_status bind_keys(coney_topology *part, const coney_queue_binding *binding, const char *queue)
{
    static const char *const none[] = {"", NULL};
    const char *const *keys = binding->routing_keys && *binding->routing_keys ? binding->routing_keys : none;
    coney_status status = CONEY_OK;
    for (; status == CONEY_OK && *keys; keys++)
        status = coney_topology_add_binding(part, &(coney_binding){.exchange = binding->exchange.name,
                                                                   .destination = queue,
                                                                   .routing_key = *keys,
                                                                   .arguments = binding->arguments});
    return status;
}

coney_status coney_topology_add_queue_binding(coney_topology *topology, const coney_queue_binding *binding)
{
    if (!topology || !binding) {
        cny_fail(CONEY_E_INVALID, "add a queue binding: the %s is NULL", topology ? "binding" : "topology");
        return fail_topology(topology);
    }
    coney_topology *part = coney_topology_new();
    coney_status status = part ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK)
        status = cny_exchange_check(&binding->exchange);
    if (status == CONEY_OK)
        status = check_keys(binding);
    if (status == CONEY_OK && !cny_is_of_broker(binding->exchange.name))
        status = coney_topology_add_exchange(part, &binding->exchange);
    if (status == CONEY_OK)
        status = coney_topology_add_queue(part, &binding->queue);
    if (status == CONEY_OK)
        status = bind_keys(part, binding, coney_topology_queue_name(part));
    status = add_part(topology, part, status);
    return status;
}

/* ---- dead letters ---- */

static coney_status check_with_dead_letters(const coney_topology *topology, const coney_queue *queue)
{
    if (!topology)
        return cny_fail(CONEY_E_INVALID, "topology is NULL");
    if (!queue || (!queue->name && !queue->anonymous))
        return cny_fail(CONEY_E_INVALID, "a queue with dead letters: the queue or its name is NULL");
    if (queue->anonymous || queue->external || !*queue->name)
        return cny_fail(CONEY_E_INVALID, "a queue with dead letters needs a name, and must not be external");
    if (queue->dead_letter_exchange)
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': dead_letter_exchange is '%s'; set the exchange in coney_dead_letters instead",
                        queue->name, queue->dead_letter_exchange);
    if (queue->dead_letter_routing_key)
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': dead_letter_routing_key is '%s'; set routing_key in coney_dead_letters instead",
                        queue->name, queue->dead_letter_routing_key);
    return cny_check_name("queue name", queue->name);
}

coney_status coney_topology_add_queue_with_dead_letters(coney_topology *topology, const coney_queue *queue,
                                                        const coney_dead_letters *dead_letters)
{
    static const coney_dead_letters defaults;
    const coney_dead_letters *dead = dead_letters ? dead_letters : &defaults;
    if (check_with_dead_letters(topology, queue) != CONEY_OK)
        return fail_topology(topology);
    char exchange[CONEY_NAME_SIZE + 8], name[CONEY_NAME_SIZE + 8];
    snprintf(exchange, sizeof exchange, "%s.dlx", queue->name);
    snprintf(name, sizeof name, "%s.dlq", queue->name);
    coney_queue first = *queue, second = dead->queue;
    first.dead_letter_exchange = dead->exchange ? dead->exchange : exchange;
    first.dead_letter_routing_key = dead->routing_key ? dead->routing_key : queue->name;
    if (!second.name && !second.anonymous)
        second.name = name;
    if (second.kind == CONEY_QUEUE_DEFAULT && queue->kind == CONEY_QUORUM)
        second.kind = CONEY_QUORUM;
    coney_topology *part = coney_topology_new();
    coney_status status = part ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK)
        status = coney_topology_add_exchange(part, &(coney_exchange){.name = first.dead_letter_exchange});
    if (status == CONEY_OK)
        status = coney_topology_add_queue(part, &first);
    if (status == CONEY_OK)
        status = coney_topology_add_queue(part, &second);
    if (status == CONEY_OK)
        status = coney_topology_bind(part, first.dead_letter_exchange, coney_topology_queue_name(part),
                                     first.dead_letter_routing_key);
    return add_part(topology, part, status);
}

/* ---- super streams ---- */

static coney_status check_super_stream(const coney_topology *topology, const coney_super_stream *stream)
{
    if (!topology || !stream || !stream->name || !*stream->name)
        return cny_fail(CONEY_E_INVALID, "super stream: the topology or the name is missing");
    if (stream->partitions < 1 || stream->partitions > 10000)
        return cny_fail(CONEY_E_INVALID, "super stream '%s': partitions is %d; take 1 to 10,000", stream->name,
                        stream->partitions);
    const coney_queue *each = &stream->stream;
    if (each->name || each->anonymous)
        return cny_fail(CONEY_E_INVALID, "super stream '%s': its streams have a name; leave it out, Coney names them",
                        stream->name);
    if (each->kind != CONEY_QUEUE_DEFAULT && each->kind != CONEY_STREAM)
        return cny_fail(CONEY_E_INVALID, "super stream '%s': kind is set; leave it out, its queues are streams",
                        stream->name);
    if (coney_table_get(each->arguments, "x-queue-type"))
        return cny_fail(CONEY_E_INVALID,
                        "super stream '%s': it has the argument 'x-queue-type'; leave it out, its "
                        "queues are streams",
                        stream->name);
    return CONEY_OK;
}

static coney_status add_partition(coney_topology *part, const coney_super_stream *stream, int number,
                                  coney_table *order)
{
    char name[CONEY_NAME_SIZE + 16], key[16];
    snprintf(name, sizeof name, "%s-%d", stream->name, number);
    snprintf(key, sizeof key, "%d", number);
    coney_queue each = stream->stream;
    each.name = name;
    each.kind = CONEY_STREAM;
    const char *own = stream->routing_keys ? stream->routing_keys[number] : key;
    if (!own)
        return cny_fail(CONEY_E_INVALID,
                        "super stream '%s': routing_keys ends after %d keys, and it has %d partitions; give one for "
                        "each",
                        stream->name, number, stream->partitions);
    const coney_value position = {.type = CONEY_INT32, .as.integer = number};
    coney_status status = coney_topology_add_queue(part, &each);
    if (status == CONEY_OK)
        status = coney_table_set(order, "x-stream-partition-order", &position);
    if (status == CONEY_OK)
        status = coney_topology_add_binding(
            part,
            &(coney_binding){.exchange = stream->name, .destination = name, .routing_key = own, .arguments = order});
    return status;
}

coney_status coney_topology_add_super_stream(coney_topology *topology, const coney_super_stream *stream)
{
    if (check_super_stream(topology, stream) != CONEY_OK)
        return fail_topology(topology);
    coney_topology *part = coney_topology_new();
    coney_table *arguments = coney_table_new(), *order = coney_table_new();
    coney_status status = part && arguments && order ? CONEY_OK : cny_fail_memory();
    if (status == CONEY_OK)
        status = coney_table_set_bool(arguments, "x-super-stream", true);
    if (status == CONEY_OK)
        status = coney_topology_add_exchange(part, &(coney_exchange){.name = stream->name, .arguments = arguments});
    for (int i = 0; status == CONEY_OK && i < stream->partitions; i++)
        status = add_partition(part, stream, i, order);
    coney_table_free(arguments);
    coney_table_free(order);
    return add_part(topology, part, status);
}
