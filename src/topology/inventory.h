/* SPDX-License-Identifier: MIT */
/* An inventory as those read it who compare it with a topology. */
#ifndef CNY_TOPOLOGY_INVENTORY_H
#define CNY_TOPOLOGY_INVENTORY_H

#include "topology/topology.h"

#include <coney/amqp/inventory.h>

const coney_found_queue *cny_inventory_queues(const coney_inventory *inventory, size_t *count);
const coney_found_exchange *cny_inventory_exchanges(const coney_inventory *inventory, size_t *count);
const coney_binding *cny_inventory_bindings(const coney_inventory *inventory, size_t *count);
const coney_found_consumer *cny_inventory_consumers(const coney_inventory *inventory, size_t *count);

/* NULL: the broker does not have it. */
const coney_found_queue *cny_inventory_find_queue(const coney_inventory *inventory, const char *name);
const coney_found_exchange *cny_inventory_find_exchange(const coney_inventory *inventory, const char *name);
bool cny_inventory_has_binding(const coney_inventory *inventory, const coney_binding *binding);

#endif
