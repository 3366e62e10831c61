/* SPDX-License-Identifier: MIT */
/* A topology: the queues, exchanges and bindings that a service needs. (Spring: Declarables.)
 *
 * A program fills a topology and hands it to an admin, which copies and declares it. Everything is checked when it is
 * added: lengths, ranges, flags that contradict each other, and a name that is there with other properties. Adding the
 * same thing again changes nothing. A topology remembers its first failure, and coney_admin_new() refuses such a
 * topology, so a program need not check each result.
 *
 * One thread at a time may change a topology. Statuses of all functions that add:
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: the sentence tells the thing, the field, its value and the way out. */
#ifndef CONEY_AMQP_TOPOLOGY_H
#define CONEY_AMQP_TOPOLOGY_H

#include <coney/amqp/exchange.h>
#include <coney/amqp/queue.h>

CONEY_BEGIN

typedef struct coney_topology coney_topology;

/* Gives an empty topology, or NULL if there is no memory. */
CONEY_API coney_topology *coney_topology_new(void);
CONEY_API void coney_topology_free(coney_topology *topology);

/* Add a copy of an exchange, a queue or a binding. */
CONEY_API coney_status coney_topology_add_exchange(coney_topology *topology, const coney_exchange *exchange);
CONEY_API coney_status coney_topology_add_queue(coney_topology *topology, const coney_queue *queue);
CONEY_API coney_status coney_topology_add_binding(coney_topology *topology, const coney_binding *binding);

/* Adds a binding of a queue to an exchange. */
CONEY_API coney_status coney_topology_bind(coney_topology *topology, const char *exchange, const char *queue,
                                           const char *routing_key);

/* The name of the queue that was added last, such as the name that was made up for an anonymous queue. A view, as long
 * as the topology lives; NULL: there is no queue. */
CONEY_API const char *coney_topology_queue_name(const coney_topology *topology);

/* Adds a copy of everything in another topology. */
CONEY_API coney_status coney_topology_add_all(coney_topology *topology, const coney_topology *other);

/* A queue, an exchange and the bindings between them. (Spring: @QueueBinding.) */
typedef struct coney_queue_binding {
    coney_queue queue;
    coney_exchange exchange;         /* Nothing is declared for one that begins with amq. or is external. */
    const char *const *routing_keys; /* A binding for each; the list ends with NULL. Default: "" for a fanout or headers
                                        exchange. Required for the others. */
    const coney_table *arguments;    /* Of each binding. */
} coney_queue_binding;

CONEY_API coney_status coney_topology_add_queue_binding(coney_topology *topology, const coney_queue_binding *binding);

/* Where the dead letters of a queue go. Zero means the default. */
typedef struct coney_dead_letters {
    const char *exchange;    /* A direct exchange, which is added. Default: the queue's name and ".dlx". */
    const char *routing_key; /* Default: the queue's name. */
    coney_queue queue;       /* Default of its name: the queue's name and ".dlq". Default of its kind: CONEY_QUORUM if
                                the queue is a quorum queue, else CONEY_QUEUE_DEFAULT. */
} coney_dead_letters;

/* Adds a queue, the exchange and the queue of its dead letters, and their binding. dead_letters may be NULL for all
 * defaults. The queue itself must not set dead_letter_exchange or dead_letter_routing_key. */
CONEY_API coney_status coney_topology_add_queue_with_dead_letters(coney_topology *topology, const coney_queue *queue,
                                                                  const coney_dead_letters *dead_letters);

/* A stream in partitions: a direct exchange, and a stream with a binding for each partition. (Spring: SuperStream,
 * SuperStreamBuilder.) Zero means the default. */
typedef struct coney_super_stream {
    const char *name;                /* Of the exchange. The streams are name-0, name-1 and so on. */
    int partitions;                  /* At least 1. */
    const char *const *routing_keys; /* One for each partition. Default: "0", "1" and so on. */
    coney_queue stream;              /* Properties of each stream, without a name. */
} coney_super_stream;

CONEY_API coney_status coney_topology_add_super_stream(coney_topology *topology, const coney_super_stream *stream);

CONEY_END

#endif
