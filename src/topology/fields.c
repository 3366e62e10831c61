/* SPDX-License-Identifier: MIT */
/* The fields of queues and exchanges that go to the broker as arguments. Arguments have the names and integer types of
 * Spring's builders, so that Coney and Spring declare the same thing. Any thread. */
#include "topology/fields.h"

#include <stdio.h>
#include <string.h>

/* NULL: the default, for which nothing is sent. */
const char *const cny_queue_kind_words[] = {NULL, "classic", "quorum", "stream"};
const char *const cny_overflow_words[] = {NULL, "drop-head", "reject-publish", "reject-publish-dlx"};
const char *const cny_strategy_words[] = {NULL, "at-most-once", "at-least-once"};
const char *const cny_locator_words[] = {NULL, "client-local", "balanced", "random", "min-masters"};
const char *const cny_delayed_retry_words[] = {NULL, "disabled", "all", "failed", "returned"};
const char *const cny_exchange_type_words[] = {"direct", "topic", "fanout", "headers", "x-consistent-hash"};

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

static coney_value true_or_none(bool flag)
{
    return (coney_value){.type = flag ? CONEY_BOOL : CONEY_VOID, .as.boolean = flag};
}

/* Quorum queues and streams have different names for the number of their replicas. */
static const char *group_size_argument(const coney_queue *queue)
{
    return queue->kind == CONEY_STREAM ? "x-initial-cluster-size" : "x-quorum-initial-group-size";
}

void cny_read_queue_fields(cny_typed_field fields[CNY_QUEUE_FIELDS], const coney_queue *queue)
{
    const cny_typed_field all[CNY_QUEUE_FIELDS] = {
        {"kind", "x-queue-type", text_or_none(cny_queue_kind_words[queue->kind])},
        {"message_ttl_ms", "x-message-ttl", number_or_none(queue->message_ttl_ms, CONEY_INT32)},
        {"expires_ms", "x-expires", number_or_none(queue->expires_ms, CONEY_INT32)},
        {"max_length", "x-max-length", number_or_none(queue->max_length, CONEY_INT64)},
        {"max_length_bytes", "x-max-length-bytes", number_or_none(queue->max_length_bytes, CONEY_INT32)},
        {"overflow", "x-overflow", text_or_none(cny_overflow_words[queue->overflow])},
        {"dead_letter_exchange", "x-dead-letter-exchange", text_or_none(queue->dead_letter_exchange)},
        {"dead_letter_routing_key", "x-dead-letter-routing-key", text_or_none(queue->dead_letter_routing_key)},
        {"dead_letter_strategy", "x-dead-letter-strategy",
         text_or_none(cny_strategy_words[queue->dead_letter_strategy])},
        {"max_priority", "x-max-priority", number_or_none(queue->max_priority, CONEY_INT32)},
        {"delivery_limit", "x-delivery-limit", number_or_none(queue->delivery_limit, CONEY_INT32)},
        {"single_active_consumer", "x-single-active-consumer", true_or_none(queue->single_active_consumer)},
        {"lazy", "x-queue-mode", text_or_none(queue->lazy ? "lazy" : NULL)},
        {"leader_locator", "x-queue-leader-locator", text_or_none(cny_locator_words[queue->leader_locator])},
        {"initial_group_size", group_size_argument(queue), number_or_none(queue->initial_group_size, CONEY_INT32)},
        {"max_age", "x-max-age", text_or_none(queue->max_age)},
        {"max_segment_size_bytes", "x-stream-max-segment-size-bytes",
         number_or_none(queue->max_segment_size_bytes, CONEY_INT32)},
        {"filter_size_bytes", "x-stream-filter-size-bytes", number_or_none(queue->filter_size_bytes, CONEY_INT32)},
        {"delayed_retry", "x-delayed-retry-type", text_or_none(cny_delayed_retry_words[queue->delayed_retry])},
        {"delayed_retry_min_ms", "x-delayed-retry-min", number_or_none(queue->delayed_retry_min_ms, CONEY_INT32)},
        {"delayed_retry_max_ms", "x-delayed-retry-max", number_or_none(queue->delayed_retry_max_ms, CONEY_INT32)},
        {"consumer_timeout_ms", "x-consumer-timeout", number_or_none(queue->consumer_timeout_ms, CONEY_INT32)},
        {"consumer_disconnected_timeout_ms", "x-consumer-disconnected-timeout",
         number_or_none(queue->consumer_disconnected_timeout_ms, CONEY_INT32)},
    };
    memcpy(fields, all, sizeof all);
}

static const char *plain_type_name(const coney_exchange *exchange)
{
    return exchange->custom_type ? exchange->custom_type : cny_exchange_type_words[exchange->type];
}

const char *cny_exchange_type_name(const coney_exchange *exchange)
{
    return exchange->delayed ? "x-delayed-message" : plain_type_name(exchange);
}

void cny_read_exchange_fields(cny_typed_field fields[CNY_EXCHANGE_FIELDS], const coney_exchange *exchange)
{
    const cny_typed_field all[CNY_EXCHANGE_FIELDS] = {
        {"alternate_exchange", "alternate-exchange", text_or_none(exchange->alternate_exchange)},
        {"delayed", "x-delayed-type", text_or_none(exchange->delayed ? plain_type_name(exchange) : NULL)},
        {"hash_header", "hash-header", text_or_none(exchange->hash_header)},
        {"hash_property", "hash-property", text_or_none(exchange->hash_property)},
    };
    memcpy(fields, all, sizeof all);
}

void cny_describe_value(const coney_value *value, char text[CNY_VALUE_TEXT])
{
    if (value->type == CONEY_STRING || value->type == CONEY_BYTES)
        snprintf(text, CNY_VALUE_TEXT, "'%.*s'", (int)(value->as.bytes.size < 255 ? value->as.bytes.size : 255),
                 (const char *)value->as.bytes.data);
    else if (value->type == CONEY_BOOL)
        snprintf(text, CNY_VALUE_TEXT, "%s", value->as.boolean ? "true" : "false");
    else if (value->type == CONEY_VOID)
        snprintf(text, CNY_VALUE_TEXT, "none");
    else if (value->type <= CONEY_INT64)
        snprintf(text, CNY_VALUE_TEXT, "%lld", (long long)value->as.integer);
    else
        snprintf(text, CNY_VALUE_TEXT, "a value of another type");
}

coney_status cny_check_arguments(const char *thing, const char *name, const coney_table *arguments,
                                 const cny_typed_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const coney_value *given = fields[i].argument ? coney_table_get(arguments, fields[i].argument) : NULL;
        char field_text[CNY_VALUE_TEXT], given_text[CNY_VALUE_TEXT];
        if (!given || fields[i].value.type == CONEY_VOID)
            continue;
        cny_describe_value(&fields[i].value, field_text);
        cny_describe_value(given, given_text);
        if (strcmp(field_text, given_text) != 0)
            return cny_fail(CONEY_E_INVALID, "%s '%s': %s is %s, but its argument '%s' is %s; set one of the two",
                            thing, name, fields[i].field, field_text, fields[i].argument, given_text);
    }
    return CONEY_OK;
}

coney_status cny_make_arguments(coney_table **arguments, const coney_table *given, const cny_typed_field *fields,
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
