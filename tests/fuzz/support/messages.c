/* SPDX-License-Identifier: MIT */
/* Reads messages completely, and compares them. */
#include "support/fuzz.h"

#include <coney/amqp/death.h>
#include <coney/amqp/table_json.h>

#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static void read_table(const coney_table *table);

static void read_text(const char *text)
{
    fuzz_require(!text || strlen(text) <= CNY_MAX_SHORT_STRING);
}

static void read_value(const coney_value *value)
{
    fuzz_require(value != NULL);
    switch (value->type) {
    case CONEY_STRING:
    case CONEY_BYTES: fuzz_require(value->as.bytes.data[value->as.bytes.size] == '\0'); break;
    case CONEY_TABLE: read_table(value->as.table); break;
    case CONEY_ARRAY:
        for (size_t i = 0; i < coney_array_size(value->as.array); i++)
            read_value(coney_array_at(value->as.array, i));
        break;
    default: fuzz_require(value->type <= CONEY_TABLE);
    }
}

static void read_table(const coney_table *table)
{
    for (size_t i = 0; i < coney_table_size(table); i++) {
        const char *name = coney_table_name_at(table, i);
        read_text(name);
        read_value(coney_table_value_at(table, i));
        fuzz_require(coney_table_get(table, name) != NULL);
        coney_table_get_string(table, name);
        coney_table_get_int64(table, name, 0);
    }
}

static void read_deaths(const coney_message *message)
{
    coney_death death;
    size_t position = 0;
    while (coney_message_next_death(message, &position, &death)) {
        fuzz_require(death.queue && death.reason && death.exchange && death.routing_key);
        for (size_t i = 0; i < coney_array_size(death.routing_keys); i++)
            read_value(coney_array_at(death.routing_keys, i));
    }
}

/* The line is safe to show, also if it is cut off. */
static void describe(const coney_message *message)
{
    enum { SHORT = 60 };
    char cut[SHORT];
    size_t size = coney_message_describe(message, NULL, 0);
    char *line = fuzz_text(NULL, size);
    fuzz_require(coney_message_describe(message, line, size + 1) == size && strlen(line) == size);
    fuzz_require(coney_message_describe(message, cut, SHORT) == size && strncmp(line, cut, strlen(cut)) == 0);
    fuzz_require(cny_utf8_error(line, size) < 0 && cny_utf8_error(cut, strlen(cut)) < 0);
    for (size_t i = 0; i < size; i++)
        fuzz_require((uint8_t)line[i] >= ' ' && line[i] != 127);
    free(line);
}

void fuzz_read_message(const coney_message *message)
{
    const coney_properties *properties = coney_message_properties(message);
    const char *texts[] = {
        properties->content_type,
        properties->content_encoding,
        properties->correlation_id,
        properties->reply_to,
        properties->expiration,
        properties->message_id,
        properties->type,
        properties->user_id,
        properties->app_id,
        properties->cluster_id,
        coney_message_exchange(message),
        coney_message_routing_key(message),
        coney_message_received_user_id(message),
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        read_text(texts[i]);
    read_table(properties->headers);
    read_deaths(message);
    coney_message_received_delay_ms(message);
    coney_message_retry_count(message);
    describe(message);
    const char *body = coney_message_body(message);
    fuzz_require(body[coney_message_size(message)] == '\0');
}

void fuzz_table_as_json(const coney_table *table)
{
    json_t *json, *json_again;
    coney_table *again;
    coney_status status = coney_table_to_json(&json, table);
    if (status == CONEY_E_CONVERSION || !fuzz_succeeds(status))
        return;
    if (fuzz_succeeds(coney_table_from_json(&again, json))) {
        if (fuzz_succeeds(coney_table_to_json(&json_again, again))) {
            fuzz_require(json_equal(json, json_again));
            json_decref(json_again);
        }
        coney_table_free(again);
    }
    json_decref(json);
}

/* ---- comparing ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* "" counts as not set. */
static bool same_text_or_none(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_table(const coney_table *a, const coney_table *b);
static bool same_array(const coney_array *a, const coney_array *b);

static bool same_value(const coney_value *a, const coney_value *b)
{
    bool is_widened = a->type == CONEY_UINT8 && b->type == CONEY_INT16; /* see CONEY_UINT8 */
    if (a->type != b->type && !is_widened)
        return false;
    switch (a->type) {
    case CONEY_VOID: return true;
    case CONEY_BOOL: return a->as.boolean == b->as.boolean;
    case CONEY_FLOAT:
    case CONEY_DOUBLE: return a->as.real == b->as.real || (a->as.real != a->as.real && b->as.real != b->as.real);
    case CONEY_DECIMAL:
        return a->as.decimal.mantissa == b->as.decimal.mantissa && a->as.decimal.scale == b->as.decimal.scale;
    case CONEY_STRING:
    case CONEY_BYTES:
        return a->as.bytes.size == b->as.bytes.size &&
               memcmp(a->as.bytes.data, b->as.bytes.data, a->as.bytes.size) == 0;
    case CONEY_ARRAY: return same_array(a->as.array, b->as.array);
    case CONEY_TABLE: return same_table(a->as.table, b->as.table);
    default: return a->as.integer == b->as.integer;
    }
}

static bool same_array(const coney_array *a, const coney_array *b)
{
    size_t size = coney_array_size(a);
    bool same = coney_array_size(b) == size;
    for (size_t i = 0; i < size && same; i++)
        same = same_value(coney_array_at(a, i), coney_array_at(b, i));
    return same;
}

static bool same_table(const coney_table *a, const coney_table *b)
{
    size_t size = coney_table_size(a);
    bool same = coney_table_size(b) == size;
    for (size_t i = 0; i < size && same; i++)
        same = strcmp(coney_table_name_at(a, i), coney_table_name_at(b, i)) == 0 &&
               same_value(coney_table_value_at(a, i), coney_table_value_at(b, i));
    return same;
}

bool fuzz_same_properties(const coney_message *a, const coney_message *b)
{
    const coney_properties *one = coney_message_properties(a), *other = coney_message_properties(b);
    return same_text(one->content_encoding, other->content_encoding) &&
           same_text_or_none(one->correlation_id, other->correlation_id) && same_text(one->reply_to, other->reply_to) &&
           same_text(one->expiration, other->expiration) && same_text(one->message_id, other->message_id) &&
           same_text(one->type, other->type) && same_text(one->app_id, other->app_id) &&
           same_text(one->cluster_id, other->cluster_id) && one->timestamp == other->timestamp &&
           one->priority == other->priority && same_table(one->headers, other->headers);
}
