/* SPDX-License-Identifier: MIT */
/* The input is a topology's file: Coney's own format or RabbitMQ's definitions. A topology that was read can be written
 * and read again, and is written as the same text. */
#include "support/fuzz.h"

#include <coney/amqp/topology_file.h>

#include <string.h>

static const coney_json_limits limits = {.max_values = 5000, .max_depth = 60};

static bool reads(coney_topology **topology, const char *json, size_t size)
{
    coney_status status = coney_topology_parse(topology, json, size, NULL);
    fuzz_require(status == CONEY_OK || status == CONEY_E_INVALID || status == CONEY_E_NO_MEMORY);
    fuzz_require((status == CONEY_OK) == (*topology != NULL));
    return status == CONEY_OK;
}

static void write_and_read(const coney_topology *topology)
{
    char *first, *second;
    coney_topology *again;
    if (!fuzz_succeeds(coney_topology_to_json(&first, topology)))
        return;
    if (fuzz_succeeds(coney_topology_parse(&again, first, strlen(first), NULL))) {
        if (fuzz_succeeds(coney_topology_to_json(&second, again))) {
            fuzz_require(strcmp(first, second) == 0);
            coney_text_free(second);
        }
        coney_topology_free(again);
    }
    coney_text_free(first);
}

void fuzz_target(const uint8_t *data, size_t size)
{
    coney_topology *topology;
    coney_json_set_limits(&limits);
    if (reads(&topology, (const char *)data, size)) {
        write_and_read(topology);
        coney_topology_free(topology);
    }
}
