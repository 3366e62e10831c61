/* SPDX-License-Identifier: MIT */
/* Structs from and to JSON as one writes it with jansson by hand: no value of a wrong type passes, a problem is told
 * with its place, and a struct owns everything that it points to. */
#ifndef BENCH_JSON_BY_HAND_H
#define BENCH_JSON_BY_HAND_H

#include "documents.h"

typedef char json_problem[160];

/* Reads an order, for order_free(). NULL after describing the problem. */
order *order_from_json(const void *text, size_t size, json_problem problem);

/* Writes an order, for free(). NULL if memory ran out or a text is not UTF-8. */
char *order_to_json(const order *from);

void order_free(order *freed);

/* The same for parcels. */
parcel *parcel_from_json(const void *text, size_t size, json_problem problem);
char *parcel_to_json(const parcel *from);
void parcel_free(parcel *freed);

#endif
