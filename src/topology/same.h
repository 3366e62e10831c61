/* SPDX-License-Identifier: MIT */
/* Whether two values, or two declarations of one thing, are the same. */
#ifndef CNY_TOPOLOGY_SAME_H
#define CNY_TOPOLOGY_SAME_H

#include "topology/topology.h"

/* Integers of all widths are equal, as they are for the broker. Tables may be NULL, which is empty. */
bool cny_same_values(const coney_value *one, const coney_value *other);
bool cny_same_tables(const coney_table *one, const coney_table *other);

/* The same for tables that are the same. Nobody outside can choose different tables that have the same hash. */
uint32_t cny_hash_table(const coney_table *table);

/* CONEY_E_INVALID: the sentence tells what differs. */
coney_status cny_check_same_queue(const coney_queue *old, const coney_queue *new);
coney_status cny_check_same_exchange(const coney_exchange *old, const coney_exchange *new);

#endif
