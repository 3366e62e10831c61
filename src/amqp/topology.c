/* SPDX-License-Identifier: MIT */
/* Queues, exchanges and bindings: their checks, their arguments on the wire, and topologies. Any thread. Arguments
 * have the names and integer types of Spring's builders, so that Coney and Spring declare the same thing. */
#include "amqp/amqp.h"

#include <stdio.h>
#include <string.h>

/* ---- typed fields and their arguments ---- */

/* A field of a declaration that goes to the broker as an argument. */
typedef struct typed_field {
    const char *field; /* in the public struct */
    const char *argument;
    coney_value value; /* CONEY_VOID: not set */
} typed_field;

static coney_value text_or_none(const char *text)
{
    return text ? coney_value_string(text) : (coney_value){.type = CONEY_VOID};
}

/* 0: not set. Spring sends 32 bits if its builder takes an int. */
static coney_value number_or_none(int64_t number, coney_value_type type)
{
    if (number == 0)
        return (coney_value){.type = CONEY_VOID};
    return (coney_value){.type = number > INT32_MAX ? CONEY_INT64 : type, .as.integer = number};
}

enum { QUEUE_FIELDS = 16, FIRST_QUORUM_FIELD = 11 };

static void read_queue_fields(typed_field fields[QUEUE_FIELDS], const coney_queue *queue)
{
    static const char *const kinds[] = {NULL, "classic", "quorum", "stream"};
    static const char *const delayed_retries[] = {NULL, "disabled", "all", "failed", "returned"};
    static const char *const overflows[] = {NULL, "drop-head", "reject-publish", "reject-publish-dlx"};
    const typed_field all[QUEUE_FIELDS] = {
        {"kind", "x-queue-type", text_or_none(kinds[queue->kind])},
        {"overflow", "x-overflow", text_or_none(overflows[queue->overflow])},
        {"dead_letter_exchange", "x-dead-letter-exchange", text_or_none(queue->dead_letter_exchange)},
        {"dead_letter_routing_key", "x-dead-letter-routing-key", text_or_none(queue->dead_letter_routing_key)},
        {"message_ttl_ms", "x-message-ttl", number_or_none(queue->message_ttl_ms, CONEY_INT32)},
        {"expires_ms", "x-expires", number_or_none(queue->expires_ms, CONEY_INT32)},
        {"max_length", "x-max-length", number_or_none(queue->max_length, CONEY_INT64)},
        {"max_length_bytes", "x-max-length-bytes", number_or_none(queue->max_length_bytes, CONEY_INT32)},
        {"max_priority", "x-max-priority", number_or_none(queue->max_priority, CONEY_INT32)},
        {"delivery_limit", "x-delivery-limit", number_or_none(queue->delivery_limit, CONEY_INT32)},
        {"single_active_consumer",
         "x-single-active-consumer",
         {.type = queue->single_active_consumer ? CONEY_BOOL : CONEY_VOID, .as.boolean = true}},
        {"delayed_retry", "x-delayed-retry-type", text_or_none(delayed_retries[queue->delayed_retry])},
        {"delayed_retry_min_ms", "x-delayed-retry-min", number_or_none(queue->delayed_retry_min_ms, CONEY_INT32)},
        {"delayed_retry_max_ms", "x-delayed-retry-max", number_or_none(queue->delayed_retry_max_ms, CONEY_INT32)},
        {"consumer_timeout_ms", "x-consumer-timeout", number_or_none(queue->consumer_timeout_ms, CONEY_INT32)},
        {"consumer_disconnected_timeout_ms", "x-consumer-disconnected-timeout",
         number_or_none(queue->consumer_disconnected_timeout_ms, CONEY_INT32)},
    };
    memcpy(fields, all, sizeof all);
}

static typed_field alternate_exchange_of(const coney_exchange *exchange)
{
    return (typed_field){"alternate_exchange", "alternate-exchange", text_or_none(exchange->alternate_exchange)};
}

static void describe_value(const coney_value *value, char *text, size_t size)
{
    if (value->type == CONEY_STRING || value->type == CONEY_BYTES)
        snprintf(text, size, "'%.*s'", (int)(value->as.bytes.size < 255 ? value->as.bytes.size : 255),
                 value->as.bytes.data);
    else if (value->type == CONEY_BOOL)
        snprintf(text, size, "%s", value->as.boolean ? "true" : "false");
    else if (value->type <= CONEY_INT64 && value->type != CONEY_VOID)
        snprintf(text, size, "%lld", (long long)value->as.integer);
    else
        snprintf(text, size, "a value of another type");
}

/* Refuses an argument that contradicts its field, because one of the two would be ignored without a word. Integers of
 * all widths are equal. */
static coney_status check_arguments(const char *thing, const char *name, const coney_table *arguments,
                                    const typed_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const coney_value *given = coney_table_get(arguments, fields[i].argument);
        char field_text[300], given_text[300];
        if (!given || fields[i].value.type == CONEY_VOID)
            continue;
        describe_value(&fields[i].value, field_text, sizeof field_text);
        describe_value(given, given_text, sizeof given_text);
        if (strcmp(field_text, given_text) != 0)
            return cny_fail(CONEY_E_INVALID, "%s '%s': %s is %s, but its argument '%s' is %s; set one of the two",
                            thing, name, fields[i].field, field_text, fields[i].argument, given_text);
    }
    return CONEY_OK;
}

/* ---- checks ---- */

/* 49 days. RabbitMQ refuses a longer time to live or expiry, and longer times of other kinds can make its queues
 * crash. */
#define MOST_MS UINT32_MAX

static coney_status check_queue_numbers(const coney_queue *queue)
{
    const struct {
        const char *field;
        int64_t number, least, most;
    } numbers[] = {
        {"message_ttl_ms", queue->message_ttl_ms, 0, MOST_MS},
        {"expires_ms", queue->expires_ms, 0, MOST_MS},
        {"max_length", queue->max_length, 0, INT64_MAX},
        {"max_length_bytes", queue->max_length_bytes, 0, INT64_MAX},
        {"max_priority", queue->max_priority, 0, INT64_MAX},
        {"delivery_limit", queue->delivery_limit, -1, INT64_MAX},
        {"delayed_retry_min_ms", queue->delayed_retry_min_ms, 0, MOST_MS},
        {"delayed_retry_max_ms", queue->delayed_retry_max_ms, 0, MOST_MS},
        {"consumer_timeout_ms", queue->consumer_timeout_ms, 0, MOST_MS},
        {"consumer_disconnected_timeout_ms", queue->consumer_disconnected_timeout_ms, 0, MOST_MS},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (numbers[i].number < numbers[i].least)
            return cny_fail(CONEY_E_INVALID, "queue '%s': %s is %lld, which is below %lld", queue->name,
                            numbers[i].field, (long long)numbers[i].number, (long long)numbers[i].least);
        if (numbers[i].number > numbers[i].most)
            return cny_fail(CONEY_E_INVALID, "queue '%s': %s is %lld, which is above %lld", queue->name,
                            numbers[i].field, (long long)numbers[i].number, (long long)numbers[i].most);
    }
    return CONEY_OK;
}

/* RabbitMQ accepts settings that delay nothing. */
static coney_status check_delayed_retry(const coney_queue *queue)
{
    int64_t min_ms = queue->delayed_retry_min_ms, max_ms = queue->delayed_retry_max_ms;
    if (queue->delayed_retry > CONEY_DELAYED_RETRY_DISABLED && min_ms == 0)
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': delayed_retry_min_ms is 0, so the broker would delay nothing; set it to the "
                        "shortest delay",
                        queue->name);
    if (queue->delayed_retry <= CONEY_DELAYED_RETRY_DISABLED && (min_ms > 0 || max_ms > 0))
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': %s is %lld, and delayed_retry is %s; take CONEY_DELAYED_RETRY_FAILED", queue->name,
                        min_ms > 0 ? "delayed_retry_min_ms" : "delayed_retry_max_ms",
                        (long long)(min_ms > 0 ? min_ms : max_ms),
                        queue->delayed_retry ? "CONEY_DELAYED_RETRY_DISABLED" : "not set");
    if (max_ms > 0 && max_ms < min_ms)
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': delayed_retry_max_ms is %lld, which is below delayed_retry_min_ms, %lld",
                        queue->name, (long long)max_ms, (long long)min_ms);
    return CONEY_OK;
}

/* The declaration must name the kind of queue, because RabbitMQ 4.3 refuses these arguments for other queues, and older
 * brokers ignore them. */
static coney_status check_quorum_fields(const coney_queue *queue)
{
    typed_field fields[QUEUE_FIELDS];
    read_queue_fields(fields, queue);
    for (size_t i = FIRST_QUORUM_FIELD; i < QUEUE_FIELDS && cny_queue_kind(queue) != CONEY_QUORUM; i++) {
        char text[300];
        if (fields[i].value.type == CONEY_VOID)
            continue;
        describe_value(&fields[i].value, text, sizeof text);
        return cny_fail(CONEY_E_INVALID,
                        "queue '%s': %s is %s, which is for quorum queues only; set kind to CONEY_QUORUM", queue->name,
                        fields[i].field, text);
    }
    return check_delayed_retry(queue);
}

static coney_status check_queue_arguments(const coney_queue *queue)
{
    typed_field fields[QUEUE_FIELDS];
    read_queue_fields(fields, queue);
    return check_arguments("queue", queue->name, queue->arguments, fields, QUEUE_FIELDS);
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
    if (queue->delayed_retry < CONEY_DELAYED_RETRY_DEFAULT || queue->delayed_retry > CONEY_DELAYED_RETRY_RETURNED)
        return cny_fail(CONEY_E_INVALID, "queue '%s': %d is no coney_delayed_retry", queue->name,
                        (int)queue->delayed_retry);
    if (queue->max_priority > 255)
        return cny_fail(CONEY_E_INVALID, "queue '%s': max_priority is %d; AMQP allows 255", queue->name,
                        queue->max_priority);
    status = cny_check_name("dead_letter_exchange", queue->dead_letter_exchange);
    if (status == CONEY_OK)
        status = cny_check_name("dead_letter_routing_key", queue->dead_letter_routing_key);
    if (status != CONEY_OK)
        return cny_fail_in("queue '%s'", queue->name);
    if (queue->dead_letter_routing_key && !queue->dead_letter_exchange)
        return cny_fail(CONEY_E_INVALID, "queue '%s': dead_letter_routing_key needs a dead_letter_exchange",
                        queue->name);
    status = check_quorum_fields(queue);
    return status == CONEY_OK ? check_queue_arguments(queue) : status;
}

coney_status cny_exchange_check(const coney_exchange *exchange)
{
    if (!exchange || !exchange->name || !*exchange->name)
        return cny_fail(CONEY_E_INVALID, "exchange: it needs a name; the default exchange \"\" is always there");
    if (!exchange->custom_type && (exchange->type < CONEY_DIRECT || exchange->type > CONEY_HEADERS))
        return cny_fail(CONEY_E_INVALID, "exchange '%s': %d is no coney_exchange_type", exchange->name,
                        (int)exchange->type);
    coney_status status = cny_check_name("exchange name", exchange->name);
    if (status == CONEY_OK)
        status = cny_check_name("exchange type", exchange->custom_type);
    if (status == CONEY_OK)
        status = cny_check_name("alternate_exchange", exchange->alternate_exchange);
    const typed_field alternate = alternate_exchange_of(exchange);
    return status == CONEY_OK ? check_arguments("exchange", exchange->name, exchange->arguments, &alternate, 1)
                              : status;
}

coney_status cny_binding_check(const coney_binding *binding)
{
    if (!binding || !binding->exchange || !binding->destination)
        return cny_fail(CONEY_E_INVALID, "binding: exchange or destination is NULL");
    if (!*binding->destination)
        return cny_fail(CONEY_E_INVALID,
                        "binding to exchange '%s': the destination is empty; the broker would bind the queue that was "
                        "declared last on the channel, whichever that is",
                        binding->exchange);
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

static coney_status make_arguments(coney_table **arguments, const coney_table *given, const typed_field *fields,
                                   size_t count)
{
    coney_table *table = coney_table_new();
    coney_status status = table ? CONEY_OK : cny_fail_memory();
    for (size_t i = 0; status == CONEY_OK && i < coney_table_size(given); i++)
        status = coney_table_set(table, coney_table_name_at(given, i), coney_table_value_at(given, i));
    for (size_t i = 0; status == CONEY_OK && i < count; i++) {
        if (fields[i].value.type != CONEY_VOID)
            status = coney_table_set(table, fields[i].argument, &fields[i].value);
    }
    if (status == CONEY_OK)
        *arguments = table;
    else
        coney_table_free(table);
    return status;
}

/* RabbitMQ chooses names for classic queues only, and refuses a declaration with neither name nor kind if the default
 * of the virtual host is another kind. */
static bool must_say_classic(const coney_queue *queue)
{
    return !*queue->name && queue->kind == CONEY_QUEUE_DEFAULT && !coney_table_get(queue->arguments, "x-queue-type");
}

coney_status cny_queue_arguments(coney_table **arguments, const coney_queue *queue)
{
    typed_field fields[QUEUE_FIELDS];
    coney_queue copy = *queue;
    if (must_say_classic(queue))
        copy.kind = CONEY_CLASSIC;
    read_queue_fields(fields, &copy);
    return make_arguments(arguments, queue->arguments, fields, QUEUE_FIELDS);
}

coney_status cny_exchange_arguments(coney_table **arguments, const coney_exchange *exchange)
{
    const typed_field alternate = alternate_exchange_of(exchange);
    return make_arguments(arguments, exchange->arguments, &alternate, 1);
}

/* ---- what a declaration says ---- */

static coney_queue_kind kind_by_argument(const coney_queue *queue)
{
    const char *type = coney_table_get_string(queue->arguments, "x-queue-type");
    return !type                         ? CONEY_QUEUE_DEFAULT
           : strcmp(type, "quorum") == 0 ? CONEY_QUORUM
           : strcmp(type, "stream") == 0 ? CONEY_STREAM
                                         : CONEY_CLASSIC;
}

/* A queue that is not durable, or is deleted with its connection or its consumers, is a classic queue in any virtual
 * host. */
coney_queue_kind cny_queue_kind(const coney_queue *queue)
{
    if (queue->kind != CONEY_QUEUE_DEFAULT)
        return queue->kind;
    coney_queue_kind kind = kind_by_argument(queue);
    bool is_classic = queue->transient || queue->exclusive || queue->auto_delete || queue->max_priority > 0;
    return kind == CONEY_QUEUE_DEFAULT && is_classic ? CONEY_CLASSIC : kind;
}

bool cny_queue_has_single_active_consumer(const coney_queue *queue)
{
    const coney_value *argument = coney_table_get(queue->arguments, "x-single-active-consumer");
    return queue->single_active_consumer || (argument && argument->type == CONEY_BOOL && argument->as.boolean);
}

int64_t cny_queue_delivery_limit(const coney_queue *queue, int64_t otherwise)
{
    return queue->delivery_limit != 0 ? queue->delivery_limit
                                      : coney_table_get_int64(queue->arguments, "x-delivery-limit", otherwise);
}

/* Arguments are not checked here. Without a shortest delay the broker treats any type as "disabled". */
bool cny_queue_delays_failures(const coney_queue *queue)
{
    const char *argument = coney_table_get_string(queue->arguments, "x-delayed-retry-type");
    bool is_argument = argument && (strcmp(argument, "all") == 0 || strcmp(argument, "failed") == 0);
    bool has_delay = coney_table_get_int64(queue->arguments, "x-delayed-retry-min", 0) > 0;
    return (is_argument && has_delay) || queue->delayed_retry == CONEY_DELAYED_RETRY_ALL ||
           queue->delayed_retry == CONEY_DELAYED_RETRY_FAILED;
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
    if (status == CONEY_OK && !*queue->name)
        status = cny_fail(CONEY_E_INVALID, "a topology needs the queue's name: for an empty one the broker makes up "
                                           "another name, so another queue, on each new connection. Name it, or "
                                           "declare it once with coney_admin_declare_queue()");
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
    if (copy->failure) { /* everything was checked before, so only memory can have failed */
        coney_topology_free(copy);
        return NULL;
    }
    return copy;
}
