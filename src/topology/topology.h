/* SPDX-License-Identifier: MIT */
/* What a program declares: the checks of queues, exchanges and bindings, their arguments on the wire, topologies. Any
 * thread; knows nothing of a broker. */
#ifndef CNY_TOPOLOGY_H
#define CNY_TOPOLOGY_H

#include "base/base.h"

#include <coney/amqp/topology.h>

/* CONEY_E_INVALID: the sentence tells the thing, the field, its value and the way out. */
coney_status cny_queue_check(const coney_queue *queue);
coney_status cny_exchange_check(const coney_exchange *exchange);
coney_status cny_binding_check(const coney_binding *binding);

/* The binding that every queue has: to the default exchange, by the queue's name. Takes NULL. */
bool cny_binding_is_implicit(const coney_binding *binding);

/* Gives all arguments, including the typed fields of the struct, under the names that the broker knows.
 * CONEY_E_NO_MEMORY. */
coney_status cny_queue_arguments(coney_table **arguments, const coney_queue *queue);
coney_status cny_exchange_arguments(coney_table **arguments, const coney_exchange *exchange);

const char *cny_exchange_type_name(const coney_exchange *exchange); /* as it is declared */

/* The queue as it is declared: an anonymous queue gets a name, which is written into `name`, and its flags.
 * CONEY_E_INVALID, CONEY_E_SYSTEM. */
coney_status cny_queue_resolve(coney_queue *resolved, char name[CONEY_NAME_SIZE], const coney_queue *queue);

enum { CNY_VALUE_TEXT = 300 }; /* of a value in a sentence */

/* What the broker says of a thing that is there with other properties. */
typedef struct cny_mismatch {
    char argument[64]; /* such as "x-max-length", "durable", "type" */
    char declared[CNY_VALUE_TEXT];
    char existing[CNY_VALUE_TEXT];
} cny_mismatch;

/* False if the text is no such sentence. */
bool cny_read_mismatch(cny_mismatch *mismatch, const char *text);

/* The member of the public struct that stands for an argument; the argument itself if there is none. */
const char *cny_queue_field_of(const coney_queue *queue, const char *argument);
const char *cny_exchange_field_of(const coney_exchange *exchange, const char *argument);

/* What the fields or arguments of a declaration say of the queue. CONEY_QUEUE_DEFAULT: they do not name the kind. */
coney_queue_kind cny_queue_kind(const coney_queue *queue);
bool cny_queue_has_single_active_consumer(const coney_queue *queue);
int64_t cny_queue_delivery_limit(const coney_queue *queue, int64_t otherwise); /* below 0: no limit */
bool cny_queue_delays_failures(const coney_queue *queue);

/* The broker has made these: they cannot be declared, but bound. */
static inline bool cny_is_of_broker(const char *name)
{
    return name[0] == 'a' && name[1] == 'm' && name[2] == 'q' && name[3] == '.';
}

/* Finds things by their names: see index.h. */
typedef struct cny_index_slot {
    uint32_t hash;
    uint32_t position; /* counted from 1; 0: the slot is empty */
} cny_index_slot;

typedef struct cny_name_index {
    cny_index_slot *slots;
    size_t capacity; /* a power of two, or 0 */
    size_t count;
} cny_name_index;

/* What a queue was before a name was made up for it. A topology's file has this instead of the name. */
typedef struct cny_anonymous {
    const char *name;   /* that was made up */
    const char *prefix; /* NULL: the default */
    const char *ref;    /* by which a file names the queue; NULL: none */
} cny_anonymous;

struct coney_topology {
    cny_arena arena;
    cny_buffer exchanges; /* of coney_exchange */
    cny_buffer queues;    /* of coney_queue */
    cny_buffer bindings;  /* of coney_binding */
    cny_buffer anonymous; /* of cny_anonymous */
    cny_name_index exchange_index, queue_index, binding_index, anonymous_index, ref_index;
    cny_error *failure; /* the first one */
};

bool cny_same_bindings(const coney_binding *one, const coney_binding *other);

/* A deep copy. NULL without memory. */
coney_topology *cny_topology_copy(const coney_topology *topology);

/* Gives the things of `more` that `known` does not have. CONEY_E_INVALID: a thing has other properties there. */
coney_status cny_topology_difference(coney_topology **part, const coney_topology *known, const coney_topology *more);

bool cny_topology_is_empty(const coney_topology *topology);

/* Remove a thing and, if that is a queue or an exchange, its bindings. False if the topology does not have it. */
bool cny_topology_remove_exchange(coney_topology *topology, const char *name);
bool cny_topology_remove_queue(coney_topology *topology, const char *name);
bool cny_topology_remove_binding(coney_topology *topology, const coney_binding *binding);

const coney_exchange *cny_topology_exchanges(const coney_topology *topology, size_t *count);
const coney_queue *cny_topology_queues(const coney_topology *topology, size_t *count);
const coney_binding *cny_topology_bindings(const coney_topology *topology, size_t *count);

/* NULL: the topology has no such thing. */
const coney_exchange *cny_topology_find_exchange(const coney_topology *topology, const char *name);
const coney_queue *cny_topology_find_queue(const coney_topology *topology, const char *name);
bool cny_topology_has_binding(const coney_topology *topology, const coney_binding *binding);
const cny_anonymous *cny_topology_find_anonymous(const coney_topology *topology, const char *name);
const cny_anonymous *cny_topology_find_ref(const coney_topology *topology, const char *ref);

/* coney_topology_add_queue() of an anonymous queue that a file names by `ref`, which may be NULL. If the topology has
 * the ref already, this queue has none. */
coney_status cny_topology_add_queue_with_ref(coney_topology *topology, const coney_queue *queue, const char *ref);

#endif
