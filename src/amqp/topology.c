/* SPDX-License-Identifier: MIT */
/* Queues, exchanges and bindings: their checks, their arguments on the wire (names and integer
 * types as Spring's builders send them, so that both declare the same thing), and topologies. */
#include "amqp/amqp.h"

#include <string.h>

/* ---- checks ---- */

static coney_status check_not_negative(const char *queue, const char *field, int64_t number)
{
    if (number >= 0)
        return CONEY_OK;
    return cny_fail(CONEY_E_INVALID, "queue '%s': %s is %lld, which is below 0", queue, field, (long long)number);
}

static coney_status check_queue_numbers(const coney_queue *queue)
{
    const struct {
        const char *field;
        int64_t number;
    } numbers[] = {
        {"message_ttl_ms", queue->message_ttl_ms}, {"expires_ms", queue->expires_ms},
        {"max_length", queue->max_length},         {"max_length_bytes", queue->max_length_bytes},
        {"max_priority", queue->max_priority},     {"delivery_limit", queue->delivery_limit},
    };
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < sizeof numbers / sizeof *numbers; i++)
        status = check_not_negative(queue->name, numbers[i].field, numbers[i].number);
    return status;
}

coney_status cny_queue_check(const coney_queue *queue)
{
    if (!queue || !queue->name)
        return cny_fail(CONEY_E_INVALID, "queue: the name is NULL; use \"\" to let the broker choose one");
    coney_status status = cny_check_name("queue name", queue->name);
    if (status == CONEY_OK)
        status = check_queue_numbers(queue);
    if (status != CONEY_OK)
        return status;
    if (queue->kind < CONEY_QUEUE_DEFAULT || queue->kind > CONEY_STREAM)
        return cny_fail(CONEY_E_INVALID, "queue '%s': %d is no coney_queue_kind", queue->name, (int)queue->kind);
    if (queue->overflow < CONEY_OVERFLOW_DEFAULT || queue->overflow > CONEY_REJECT_PUBLISH_DLX)
        return cny_fail(CONEY_E_INVALID, "queue '%s': %d is no coney_overflow", queue->name, (int)queue->overflow);
    if (queue->max_priority > 255)
        return cny_fail(CONEY_E_INVALID, "queue '%s': max_priority is %d; AMQP allows 255", queue->name,
                        queue->max_priority);
    if (queue->dead_letter_routing_key && !queue->dead_letter_exchange)
        return cny_fail(CONEY_E_INVALID, "queue '%s': dead_letter_routing_key needs a dead_letter_exchange",
                        queue->name);
    return CONEY_OK;
}

coney_status cny_exchange_check(const coney_exchange *exchange)
{
    if (!exchange || !exchange->name || !*exchange->name)
        return cny_fail(CONEY_E_INVALID, "exchange: it needs a name; the default exchange \"\" is always there");
    if (!exchange->custom_type && (exchange->type < CONEY_DIRECT || exchange->type > CONEY_HEADERS))
        return cny_fail(CONEY_E_INVALID, "exchange '%s': %d is no coney_exchange_type", exchange->name,
                        (int)exchange->type);
    coney_status status = cny_check_name("exchange name", exchange->name);
    return status == CONEY_OK ? cny_check_name("exchange type", exchange->custom_type) : status;
}

coney_status cny_binding_check(const coney_binding *binding)
{
    if (!binding || !binding->exchange || !binding->destination)
        return cny_fail(CONEY_E_INVALID, "binding: exchange or destination is NULL");
    if (!*binding->exchange)
        return cny_fail(CONEY_E_INVALID,
                        "binding to '%s': nothing can be bound to the default exchange; every queue already is, "
                        "by its name",
                        binding->destination);
    coney_status status = cny_check_name("exchange name", binding->exchange);
    if (status == CONEY_OK)
        status = cny_check_name("destination name", binding->destination);
    return status == CONEY_OK ? cny_check_name("routing key", binding->routing_key) : status;
}

/* ---- arguments ---- */

static coney_status set_text(coney_table *table, const char *name, const char *text)
{
    return text ? coney_table_set_string(table, name, text) : CONEY_OK;
}

/* Zero means not set. Spring sends 32 bits where its builder takes an int. */
static coney_status set_number(coney_table *table, const char *name, int64_t number, coney_value_type type)
{
    if (number == 0)
        return CONEY_OK;
    coney_value value = {.type = number > INT32_MAX ? CONEY_INT64 : type, .as.integer = number};
    return coney_table_set(table, name, &value);
}

static coney_table *start_arguments(const coney_table *given)
{
    coney_table *table = coney_table_new();
    for (size_t i = 0; table && i < coney_table_size(given); i++) {
        if (coney_table_set(table, coney_table_name_at(given, i), coney_table_value_at(given, i)) != CONEY_OK) {
            coney_table_free(table);
            return NULL;
        }
    }
    return table;
}

static coney_status finish_arguments(coney_table **arguments, coney_table *table, coney_status status)
{
    if (status != CONEY_OK) {
        coney_table_free(table);
        return status;
    }
    *arguments = table;
    return CONEY_OK;
}

coney_status cny_queue_arguments(coney_table **arguments, const coney_queue *queue)
{
    static const char *const kinds[] = {NULL, "classic", "quorum", "stream"};
    static const char *const overflows[] = {NULL, "drop-head", "reject-publish", "reject-publish-dlx"};
    const struct {
        const char *name, *text;
    } texts[] = {
        {"x-queue-type", kinds[queue->kind]},
        {"x-overflow", overflows[queue->overflow]},
        {"x-dead-letter-exchange", queue->dead_letter_exchange},
        {"x-dead-letter-routing-key", queue->dead_letter_routing_key},
    };
    const struct {
        const char *name;
        int64_t number;
        coney_value_type type;
    } numbers[] = {
        {"x-message-ttl", queue->message_ttl_ms, CONEY_INT32},
        {"x-expires", queue->expires_ms, CONEY_INT32},
        {"x-max-length", queue->max_length, CONEY_INT64},
        {"x-max-length-bytes", queue->max_length_bytes, CONEY_INT32},
        {"x-max-priority", queue->max_priority, CONEY_INT32},
        {"x-delivery-limit", queue->delivery_limit, CONEY_INT32},
    };
    coney_table *table = start_arguments(queue->arguments);
    if (!table)
        return cny_fail_memory();
    coney_status status = CONEY_OK;
    for (size_t i = 0; status == CONEY_OK && i < sizeof texts / sizeof *texts; i++)
        status = set_text(table, texts[i].name, texts[i].text);
    for (size_t i = 0; status == CONEY_OK && i < sizeof numbers / sizeof *numbers; i++)
        status = set_number(table, numbers[i].name, numbers[i].number, numbers[i].type);
    if (status == CONEY_OK && queue->single_active_consumer)
        status = coney_table_set_bool(table, "x-single-active-consumer", true);
    return finish_arguments(arguments, table, status);
}

coney_status cny_exchange_arguments(coney_table **arguments, const coney_exchange *exchange)
{
    coney_table *table = start_arguments(exchange->arguments);
    if (!table)
        return cny_fail_memory();
    return finish_arguments(arguments, table, set_text(table, "alternate-exchange", exchange->alternate_exchange));
}

const char *cny_exchange_type_name(const coney_exchange *exchange)
{
    static const char *const names[] = {"direct", "topic", "fanout", "headers"};
    return exchange->custom_type ? exchange->custom_type : names[exchange->type];
}

/* ---- topology ---- */

coney_topology *coney_topology_new(void)
{
    return cny_alloc(sizeof(coney_topology));
}

void coney_topology_free(coney_topology *topology)
{
    if (!topology)
        return;
    cny_arena_free(&topology->arena);
    cny_buffer_free(&topology->exchanges);
    cny_buffer_free(&topology->queues);
    cny_buffer_free(&topology->bindings);
    cny_error_unref(topology->failure);
    cny_free(topology);
}

static coney_status remember(coney_topology *topology, coney_status status)
{
    if (status != CONEY_OK && !topology->failure)
        topology->failure = cny_error_capture();
    return status;
}

static bool copy_table(cny_arena *arena, const coney_table **copy, const coney_table *table)
{
    *copy = table ? cny_table_copy(arena, table) : NULL;
    return !table || *copy;
}

coney_status coney_topology_add_exchange(coney_topology *topology, const coney_exchange *exchange)
{
    if (!topology)
        return cny_fail(CONEY_E_INVALID, "topology is NULL");
    coney_status status = cny_exchange_check(exchange);
    if (status != CONEY_OK)
        return remember(topology, status);
    coney_exchange copy = *exchange;
    cny_arena *arena = &topology->arena;
    bool copied = cny_arena_strdup(arena, &copy.name, exchange->name) &&
                  cny_arena_strdup(arena, &copy.custom_type, exchange->custom_type) &&
                  cny_arena_strdup(arena, &copy.alternate_exchange, exchange->alternate_exchange) &&
                  copy_table(arena, &copy.arguments, exchange->arguments) &&
                  cny_buffer_append(&topology->exchanges, &copy, sizeof copy);
    return copied ? CONEY_OK : remember(topology, cny_fail_memory());
}

coney_status coney_topology_add_queue(coney_topology *topology, const coney_queue *queue)
{
    if (!topology)
        return cny_fail(CONEY_E_INVALID, "topology is NULL");
    coney_status status = cny_queue_check(queue);
    if (status != CONEY_OK)
        return remember(topology, status);
    coney_queue copy = *queue;
    cny_arena *arena = &topology->arena;
    bool copied = cny_arena_strdup(arena, &copy.name, queue->name) &&
                  cny_arena_strdup(arena, &copy.dead_letter_exchange, queue->dead_letter_exchange) &&
                  cny_arena_strdup(arena, &copy.dead_letter_routing_key, queue->dead_letter_routing_key) &&
                  copy_table(arena, &copy.arguments, queue->arguments) &&
                  cny_buffer_append(&topology->queues, &copy, sizeof copy);
    return copied ? CONEY_OK : remember(topology, cny_fail_memory());
}

coney_status coney_topology_add_binding(coney_topology *topology, const coney_binding *binding)
{
    if (!topology)
        return cny_fail(CONEY_E_INVALID, "topology is NULL");
    coney_status status = cny_binding_check(binding);
    if (status != CONEY_OK)
        return remember(topology, status);
    coney_binding copy = *binding;
    cny_arena *arena = &topology->arena;
    bool copied = cny_arena_strdup(arena, &copy.exchange, binding->exchange) &&
                  cny_arena_strdup(arena, &copy.destination, binding->destination) &&
                  cny_arena_strdup(arena, &copy.routing_key, binding->routing_key) &&
                  copy_table(arena, &copy.arguments, binding->arguments) &&
                  cny_buffer_append(&topology->bindings, &copy, sizeof copy);
    return copied ? CONEY_OK : remember(topology, cny_fail_memory());
}

coney_status coney_topology_bind(coney_topology *topology, const char *exchange, const char *queue,
                                 const char *routing_key)
{
    return coney_topology_add_binding(
        topology, &(coney_binding){.exchange = exchange, .destination = queue, .routing_key = routing_key});
}

coney_topology *cny_topology_copy(const coney_topology *topology)
{
    coney_topology *copy = coney_topology_new();
    if (!copy)
        return NULL;
    const coney_exchange *exchanges = (const coney_exchange *)(const void *)topology->exchanges.data;
    const coney_queue *queues = (const coney_queue *)(const void *)topology->queues.data;
    const coney_binding *bindings = (const coney_binding *)(const void *)topology->bindings.data;
    for (size_t i = 0; i < topology->exchanges.size / sizeof *exchanges; i++)
        coney_topology_add_exchange(copy, &exchanges[i]);
    for (size_t i = 0; i < topology->queues.size / sizeof *queues; i++)
        coney_topology_add_queue(copy, &queues[i]);
    for (size_t i = 0; i < topology->bindings.size / sizeof *bindings; i++)
        coney_topology_add_binding(copy, &bindings[i]);
    if (copy->failure) { /* all were checked before: only memory can be short */
        coney_topology_free(copy);
        return NULL;
    }
    return copy;
}
