/* SPDX-License-Identifier: MIT */
/* The members of the things in a topology's file. They have the names of the public structs, and the broker's words for
 * enumerations. Any thread. It must not know how a file is read or written. */
#include "topology/file_fields.h"

#include "topology/fields.h"

#include <string.h>

_Static_assert(sizeof(coney_queue_kind) == sizeof(int), "an enumeration is read and written as an int");

static const char *const refusal_words[] = {"warn", "fail", "ignore"};

#define TEXT(member) CNY_FILE_FIELD(coney_queue, TEXT, member)
#define FLAG(member) CNY_FILE_FIELD(coney_queue, FLAG, member)
#define INT(member) CNY_FILE_FIELD(coney_queue, INT, member)
#define INT64(member) CNY_FILE_FIELD(coney_queue, INT64, member)
#define WORDS(member, list) CNY_FILE_WORDS(coney_queue, member, list)

static const cny_file_field queue_fields[] = {
    TEXT(name),
    FLAG(anonymous),
    TEXT(name_prefix),
    CNY_FILE_FIELD(cny_file_queue, TEXT, ref),
    WORDS(kind, cny_queue_kind_words),
    FLAG(transient),
    FLAG(exclusive),
    FLAG(auto_delete),
    FLAG(external),
    WORDS(on_refusal, refusal_words),
    INT64(message_ttl_ms),
    INT64(expires_ms),
    INT64(max_length),
    INT64(max_length_bytes),
    WORDS(overflow, cny_overflow_words),
    TEXT(dead_letter_exchange),
    TEXT(dead_letter_routing_key),
    WORDS(dead_letter_strategy, cny_strategy_words),
    INT(max_priority),
    INT(delivery_limit),
    FLAG(single_active_consumer),
    FLAG(lazy),
    WORDS(leader_locator, cny_locator_words),
    INT(initial_group_size),
    TEXT(max_age),
    INT64(max_segment_size_bytes),
    INT(filter_size_bytes),
    WORDS(delayed_retry, cny_delayed_retry_words),
    INT64(delayed_retry_min_ms),
    INT64(delayed_retry_max_ms),
    INT64(consumer_timeout_ms),
    INT64(consumer_disconnected_timeout_ms),
    CNY_FILE_FIELD(coney_queue, TABLE, arguments),
};

static const cny_file_field exchange_fields[] = {
    CNY_FILE_FIELD(coney_exchange, TEXT, name),
    CNY_FILE_WORDS(coney_exchange, type, cny_exchange_type_words),
    CNY_FILE_FIELD(coney_exchange, TEXT, custom_type),
    CNY_FILE_FIELD(coney_exchange, FLAG, delayed),
    CNY_FILE_FIELD(coney_exchange, FLAG, transient),
    CNY_FILE_FIELD(coney_exchange, FLAG, auto_delete),
    CNY_FILE_FIELD(coney_exchange, FLAG, internal),
    CNY_FILE_FIELD(coney_exchange, FLAG, external),
    CNY_FILE_WORDS(coney_exchange, on_refusal, refusal_words),
    CNY_FILE_FIELD(coney_exchange, TEXT, alternate_exchange),
    CNY_FILE_FIELD(coney_exchange, TEXT, hash_header),
    CNY_FILE_FIELD(coney_exchange, TEXT, hash_property),
    CNY_FILE_FIELD(coney_exchange, TABLE, arguments),
};

static const cny_file_field binding_fields[] = {
    CNY_FILE_FIELD(coney_binding, TEXT, exchange),           CNY_FILE_FIELD(coney_binding, TEXT, destination),
    CNY_FILE_FIELD(cny_file_binding, TEXT, destination_ref), CNY_FILE_FIELD(coney_binding, FLAG, to_exchange),
    CNY_FILE_FIELD(coney_binding, TEXT, routing_key),        CNY_FILE_WORDS(coney_binding, on_refusal, refusal_words),
    CNY_FILE_FIELD(coney_binding, TABLE, arguments),
};

const cny_file_fields cny_file_queues = CNY_FILE_FIELDS("queues", "queue", cny_file_queue, queue_fields);
const cny_file_fields cny_file_exchanges = CNY_FILE_FIELDS("exchanges", "exchange", coney_exchange, exchange_fields);
const cny_file_fields cny_file_bindings = CNY_FILE_FIELDS("bindings", "binding", cny_file_binding, binding_fields);

static bool is_text(const char *text, const char *bytes, size_t size)
{
    return text && strlen(text) == size && memcmp(text, bytes, size) == 0;
}

const cny_file_field *cny_file_field_named(const cny_file_fields *fields, const char *name, size_t size)
{
    for (size_t i = 0; i < fields->count; i++) {
        if (is_text(fields->fields[i].name, name, size))
            return &fields->fields[i];
    }
    return NULL;
}

bool cny_file_word(const cny_file_field *field, const char *word, size_t size, int *value)
{
    for (size_t i = 0; i < field->word_count; i++) {
        *value = (int)i;
        if (is_text(field->words[i], word, size))
            return true;
    }
    return false;
}
