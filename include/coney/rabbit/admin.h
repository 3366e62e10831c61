/* SPDX-License-Identifier: MIT */
/* Declaring, asking about and deleting queues, exchanges and bindings. (Spring: RabbitAdmin.)
 *
 * As long as an admin with a topology lives, its topology is declared: at once if there is a connection, and again
 * after each loss, before consumers resume and publishers continue. Exclusive queues are declared on the consuming
 * connection only. The topologies of all admins and the queues of all listeners of the factory are declared together:
 * all exchanges, then all queues, then all bindings. A binding whose queue or exchange is missing is made as soon as
 * any admin or listener of the factory declares the missing thing.
 *
 * A refusal by the broker is told by the log, by coney_connection_factory_options.on_declaration and by an event of
 * each container, and can be listed with coney_connection_factory_list_declarations(). While the thing is missing,
 * containers are not ready. A message for an exchange of the topology, or for one of its queues through the default
 * exchange, waits until the exchange and its bindings are declared or finally refused, at most until the deadline of
 * the send.
 *
 * Any thread. Every function waits for the broker's answer, at most the admin's timeout. Statuses of all functions:
 * - CONEY_OK, CONEY_E_INVALID, CONEY_E_LOST, CONEY_E_TIMEOUT, CONEY_E_CLOSED, CONEY_E_NO_MEMORY.
 * - CONEY_E_PRECONDITION_FAILED, _NOT_FOUND, _ACCESS_REFUSED, _RESOURCE_LOCKED, _NOT_ALLOWED, _BROKER: the broker has
 *   refused; coney_last_error() has the thing's name and the broker's text.
 * - CONEY_E_CONNECT and the other statuses of connecting.
 * After a refusal the admin can be used further. A refusal affects others only if the broker closes the connection, as
 * RabbitMQ 3 does over an unknown exchange type: the connection has to recover then. */
#ifndef CONEY_RABBIT_ADMIN_H
#define CONEY_RABBIT_ADMIN_H

#include <coney/amqp/topology.h>
#include <coney/rabbit/connection_factory.h>

CONEY_BEGIN

typedef struct coney_admin coney_admin;

/* Zero means the default. */
typedef struct coney_admin_options {
    /* Copied. NULL: none. */
    const coney_topology *topology;

    /* Only coney_admin_declare() declares the topology. */
    bool no_auto_declare;

    /* For one call, connecting included. For a topology the time counts for each answer of the broker, so that a large
     * topology may take longer. Default: 10,000. */
    int timeout_ms;
} coney_admin_options;

typedef struct coney_queue_info {
    char name[256];
    uint32_t message_count; /* Ready messages, without those that consumers have. */
    uint32_t consumer_count;
} coney_queue_info;

/* Makes an admin; options may be NULL. The factory is kept as long as the admin lives.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: an argument or option, or a topology that remembers a failure. */
CONEY_API coney_status coney_admin_new(coney_admin **admin, coney_connection_factory *factory,
                                       const coney_admin_options *options);
CONEY_API void coney_admin_free(coney_admin *admin);

/* Declares the topology now: exchanges, queues, bindings. A refusal by the broker is logged, and the other things are
 * declared nevertheless; status and sentence are those of the first refusal, also if the refused thing exists with
 * other properties. Waits as long as answers come, at most timeout_ms for each, also across a loss of the connection.
 * CONEY_E_TIMEOUT names the first thing without an answer; later things are not waited for. (Spring: initialize.) */
CONEY_API coney_status coney_admin_declare(coney_admin *admin);

/* Declare one thing, or remove one binding. info may be NULL; it tells the name of a queue that the broker has named.
 * Exclusive queues belong to the factory's consuming connection, so its containers can consume them. */
CONEY_API coney_status coney_admin_declare_queue(coney_admin *admin, const coney_queue *queue, coney_queue_info *info);
CONEY_API coney_status coney_admin_declare_exchange(coney_admin *admin, const coney_exchange *exchange);
CONEY_API coney_status coney_admin_declare_binding(coney_admin *admin, const coney_binding *binding);
CONEY_API coney_status coney_admin_remove_binding(coney_admin *admin, const coney_binding *binding);

/* Asks about a queue. info may be NULL. CONEY_E_NOT_FOUND if there is no such queue. (AMQP: queue.declare passive.) */
CONEY_API coney_status coney_admin_queue_info(coney_admin *admin, const char *queue, coney_queue_info *info);

/* Delete a queue or an exchange, or the ready messages of a queue. As for the broker, a thing that does not exist
 * counts as deleted. message_count may be NULL; it tells how many ready messages were deleted, without those that
 * consumers have. A queue that a container consumes and that is in an admin's topology is declared again: stop the
 * container first. The default exchange "" cannot be deleted: CONEY_E_INVALID. */
CONEY_API coney_status coney_admin_delete_queue(coney_admin *admin, const char *queue, uint32_t *message_count);
CONEY_API coney_status coney_admin_delete_exchange(coney_admin *admin, const char *exchange);
CONEY_API coney_status coney_admin_purge_queue(coney_admin *admin, const char *queue, uint32_t *message_count);

CONEY_END

#endif
