/* SPDX-License-Identifier: MIT */
/* Pictures of a topology: for Graphviz, and as text for terminals. Both show the same, in an order that depends on
 * nothing but the topology. */
#ifndef CONEY_AMQP_TOPOLOGY_PICTURE_H
#define CONEY_AMQP_TOPOLOGY_PICTURE_H

#include <coney/amqp/topology.h>

CONEY_BEGIN

/* Who listens. A coney_listener_info, which coney_container_list() gives, has id and queue. */
typedef struct coney_picture_listener {
    const char *id;
    const char *queue;
    int concurrency;     /* 0: not shown. */
    int max_concurrency; /* 0: the listener does not grow. */
} coney_picture_listener;

/* Zero means the default. */
typedef struct coney_picture_options {
    const char *title;                       /* Default: none. */
    const coney_picture_listener *listeners; /* Borrowed for the call. */
    size_t listener_count;
} coney_picture_options;

/* Gives the source of a picture for Graphviz, such as `dot -Tsvg`: exchanges with their types, bindings with their keys,
 * queues by kind with their limits, dead-letter paths, alternate exchanges, listeners. Names may contain anything. The
 * text is UTF-8 and is to be freed with coney_text_free(). options may be NULL. Any thread.
 * CONEY_OK, CONEY_E_NO_MEMORY; CONEY_E_INVALID: a NULL, or the topology remembers a failure. */
CONEY_API coney_status coney_topology_dot(char **dot, const coney_topology *topology,
                                          const coney_picture_options *options);

/* Gives the same as a table for people. Ownership, thread and statuses as coney_topology_dot(). */
CONEY_API coney_status coney_topology_table(char **text, const coney_topology *topology,
                                            const coney_picture_options *options);

CONEY_END

#endif
