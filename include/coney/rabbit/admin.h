/* SPDX-License-Identifier: MIT */
/* Declaring, asking about and deleting queues, exchanges and bindings. (Spring: RabbitAdmin.)
 *
 * As long as an admin with a topology lives, the topology is declared: at once if there is a connection, and again
 * after each loss, before consumers resume and publishers go on; exclusive queues on the consuming connection only.
 * What other admins and listeners of the factory bring is declared together with it: all exchanges, then all queues,
 * then all bindings. A binding whose queue or exchange is not there yet is made as soon as anybody in the factory
 * declares that.
 *
 * What the broker refuses is told by the log, coney_connection_factory_options.on_declaration and an event of each
 * container, can be listed with coney_connection_factory_list_declarations(), and makes containers not ready while the
 * thing is not there. A message for an exchange of the topology, or through the default exchange for one of its queues,
 * waits until that exchange and its bindings are declared or finally refused, to the deadline of the send.
 *
 * Every function waits for the broker's answer, at most the admin's timeout. Any thread. The
 * statuses of all of them: CONEY_OK; CONEY_E_INVALID; what the broker refuses
 * (CONEY_E_PRECONDITION_FAILED, _NOT_FOUND, _ACCESS_REFUSED, _RESOURCE_LOCKED, _NOT_ALLOWED,
 * _BROKER) with the thing's name and the broker's text in coney_last_error(); CONEY_E_CONNECT
 * and the other statuses of connecting; CONEY_E_LOST, _TIMEOUT, _CLOSED, _NO_MEMORY. A refusal
 * costs the admin nothing: the next call works. It costs others something only where the broker
 * closes the connection, as RabbitMQ 3 does for an unknown exchange type: it has to recover. */
#ifndef CONEY_RABBIT_ADMIN_H
#define CONEY_RABBIT_ADMIN_H

#include <coney/amqp/topology.h>
#include <coney/rabbit/connection_factory.h>

CONEY_BEGIN

typedef struct coney_admin coney_admin;

/* Zero means the default. */
typedef struct coney_admin_options {
    const coney_topology *topology; /* Copied. NULL: none */
    bool no_auto_declare;           /* The topology is declared by coney_admin_declare() only. */
    int timeout_ms; /* For one call, connecting included; of a topology for each answer of the broker, so
                                       that a large one may take its time. Default: 10,000. */
} coney_admin_options;

typedef struct coney_queue_info {
    char name[256];
    uint32_t message_count; /* ready ones */
    uint32_t consumer_count;
} coney_queue_info;

/* Makes an admin; options may be NULL. The factory is kept as long as the admin lives.
 * CONEY_E_INVALID (a topology that remembers a failure), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_admin_new(coney_admin **admin, coney_connection_factory *factory,
                                       const coney_admin_options *options);
CONEY_API void coney_admin_free(coney_admin *admin);

/* Declares the topology now: exchanges, queues, bindings. What the broker refuses is logged and
 * the rest is declared nevertheless; the status and sentence are those of the first refusal, also if the refused
 * thing is there with other properties. Waits as long as answers come, at most timeout_ms for the next one, across a
 * loss of the connection, too. CONEY_E_TIMEOUT names the first thing that has no answer; the others are not waited for.
 * (Spring: initialize.) */
CONEY_API coney_status coney_admin_declare(coney_admin *admin);

/* Single declarations; info may be NULL and tells the name of a broker-named queue. Exclusive
 * queues belong to the factory's consuming connection, where its containers find them. */
CONEY_API coney_status coney_admin_declare_queue(coney_admin *admin, const coney_queue *queue, coney_queue_info *info);
CONEY_API coney_status coney_admin_declare_exchange(coney_admin *admin, const coney_exchange *exchange);
CONEY_API coney_status coney_admin_declare_binding(coney_admin *admin, const coney_binding *binding);
CONEY_API coney_status coney_admin_remove_binding(coney_admin *admin, const coney_binding *binding);

/* CONEY_E_NOT_FOUND if there is no such queue. info may be NULL. (AMQP: queue.declare passive.) */
CONEY_API coney_status coney_admin_queue_info(coney_admin *admin, const char *queue, coney_queue_info *info);

/* What is not there counts as deleted, as the broker sees it. message_count may be NULL and
 * tells how many ready messages went with the queue; those in consumers' hands are not counted. A
 * queue that a container consumes and an admin's topology holds is declared again: stop the
 * container first. The default exchange "" cannot be deleted: CONEY_E_INVALID. */
CONEY_API coney_status coney_admin_delete_queue(coney_admin *admin, const char *queue, uint32_t *message_count);
CONEY_API coney_status coney_admin_delete_exchange(coney_admin *admin, const char *exchange);
CONEY_API coney_status coney_admin_purge_queue(coney_admin *admin, const char *queue, uint32_t *message_count);

CONEY_END

#endif
