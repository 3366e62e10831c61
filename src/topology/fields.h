/* SPDX-License-Identifier: MIT */
/* The fields of queues and exchanges that go to the broker as arguments. */
#ifndef CNY_TOPOLOGY_FIELDS_H
#define CNY_TOPOLOGY_FIELDS_H

#include "topology/topology.h"

typedef struct cny_typed_field {
    const char *field; /* in the public struct */
    const char *argument;
    coney_value value; /* CONEY_VOID: not set */
} cny_typed_field;

/* The broker's words for the values of the enumerations. */
extern const char *const cny_queue_kind_words[CONEY_STREAM + 1];
extern const char *const cny_overflow_words[CONEY_REJECT_PUBLISH_DLX + 1];
extern const char *const cny_strategy_words[CONEY_DEAD_LETTER_AT_LEAST_ONCE + 1];
extern const char *const cny_locator_words[CONEY_LEADER_MIN_MASTERS + 1];
extern const char *const cny_delayed_retry_words[CONEY_DELAYED_RETRY_RETURNED + 1];
extern const char *const cny_exchange_type_words[CONEY_CONSISTENT_HASH + 1];

coney_status cny_check_anonymous(const coney_queue *queue); /* what is special in one. CONEY_E_INVALID */

enum { CNY_QUEUE_FIELDS = 23, CNY_EXCHANGE_FIELDS = 4 };

void cny_read_queue_fields(cny_typed_field fields[CNY_QUEUE_FIELDS], const coney_queue *queue);
void cny_read_exchange_fields(cny_typed_field fields[CNY_EXCHANGE_FIELDS], const coney_exchange *exchange);

/* Writes a value for a sentence: 'text', true, 5, none. */
void cny_describe_value(const coney_value *value, char text[CNY_VALUE_TEXT]);

/* Refuses an argument that contradicts its field, because one of the two would be ignored without a word. Integers of
 * all widths are equal. CONEY_E_INVALID. */
coney_status cny_check_arguments(const char *thing, const char *name, const coney_table *arguments,
                                 const cny_typed_field *fields, size_t count);

/* Gives the given arguments and those of the fields. CONEY_E_NO_MEMORY. */
coney_status cny_make_arguments(coney_table **arguments, const coney_table *given, const cny_typed_field *fields,
                                size_t count);

#endif
