/* SPDX-License-Identifier: MIT */
/* The input is JSON for a table of headers. The table can be written as JSON and read again, and is the same. */
#include "support/fuzz.h"

#include <coney/amqp/table_json.h>

enum { MAX_DEPTH = 200 };

static void read_table(const json_t *json)
{
    coney_table *table;
    coney_status status = coney_table_from_json(&table, json);
    fuzz_require(status == CONEY_OK || status == CONEY_E_CONVERSION || status == CONEY_E_NO_MEMORY);
    if (status != CONEY_OK)
        return;
    fuzz_table_as_json(table);
    coney_table_free(table);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    json_t *json;
    coney_message *message;
    const coney_json_limits limits = {.max_depth = MAX_DEPTH};
    if (!fuzz_succeeds(coney_message_new(&message, data, size, NULL)))
        return;
    if (coney_message_json_within(&json, message, &limits) == CONEY_OK) {
        read_table(json);
        json_decref(json);
    }
    coney_message_unref(message);
}
