/* SPDX-License-Identifier: MIT */
/* How often a message has failed, by its headers x-death and retry-count. Anyone can send these headers, so a value of
 * any type may stand anywhere in them. Any thread. */
#include <coney/amqp/death.h>

#include "amqp/amqp.h"

static const char *text_in(const coney_table *table, const char *name)
{
    const char *text = coney_table_get_string(table, name);
    return text ? text : "";
}

static void read_death(coney_death *death, const coney_table *from)
{
    const coney_value *keys = coney_table_get(from, "routing-keys");
    const coney_value *first = keys && keys->type == CONEY_ARRAY ? coney_array_at(keys->as.array, 0) : NULL;
    *death = (coney_death){
        .queue = text_in(from, "queue"),
        .reason = text_in(from, "reason"),
        .count = coney_table_get_int64(from, "count", 0),
        .exchange = text_in(from, "exchange"),
        .routing_key = first && first->type == CONEY_STRING ? first->as.bytes.data : "",
        .routing_keys = first ? keys->as.array : NULL,
        .time = coney_table_get_int64(from, "time", 0),
        .original_expiration = coney_table_get_string(from, "original-expiration"),
    };
}

bool coney_message_next_death(const coney_message *message, size_t *position, coney_death *death)
{
    const coney_value *deaths = coney_message_header(message, CONEY_HEADER_DEATH);
    const coney_value *item = NULL;
    if (!death || !position)
        return false;
    while (deaths && deaths->type == CONEY_ARRAY && (item = coney_array_at(deaths->as.array, *position))) {
        ++*position;
        if (item->type == CONEY_TABLE) {
            read_death(death, item->as.table);
            return true;
        }
    }
    *death = (coney_death){.queue = "", .reason = "", .exchange = "", .routing_key = ""};
    return false;
}

/* ---- retry counts ---- */

static int64_t bounded(int64_t count)
{
    return count < 0 ? 0 : count < INT32_MAX ? count : INT32_MAX;
}

int64_t coney_message_retry_count(const coney_message *message)
{
    if (!message)
        return 0;
    int64_t count = bounded(coney_table_get_int64(message->properties.headers, CONEY_HEADER_RETRY_COUNT, 0));
    coney_death latest;
    if (count == 0 && coney_message_next_death(message, &(size_t){0}, &latest))
        count = bounded(latest.count);
    return count;
}

coney_status coney_message_with_retry_count(coney_message **copy, coney_message *message, int64_t count)
{
    const coney_value value = coney_value_int64(count);
    if (count < 0)
        return cny_fail(CONEY_E_INVALID, "the retry count is %lld; it cannot be below 0", (long long)count);
    return coney_message_with_header(copy, message, CONEY_HEADER_RETRY_COUNT, count > 0 ? &value : NULL);
}
