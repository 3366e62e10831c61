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

/* Called with a copy of each thing of a topology before the admin takes the thing; one of the three is not NULL. The
 * function may change the copy, whose texts must live until the call ends that adds the topology. False: this admin
 * leaves the thing out. On the thread that adds the topology, with no lock held. (Spring: DeclarableCustomizer,
 * shouldDeclare, declaringAdmins.) */
typedef bool coney_declaration_customizer(coney_exchange *exchange, coney_queue *queue, coney_binding *binding,
                                          void *user);

/* Zero means the default. */
typedef struct coney_admin_options {
    /* Copied. NULL: none. */
    const coney_topology *topology;

    /* Only coney_admin_declare() declares the topology. (Spring: autoStartup.) */
    bool no_auto_declare;

    /* What is declared singly, by coney_admin_declare_queue() and so on, is declared again after a loss, until it is
     * deleted with the same admin. (Spring: redeclareManualDeclarations.) */
    bool remember_declarations;

    /* A binding is refused (CONEY_E_INVALID) if neither a topology nor a listener of the factory declares its queue or
     * exchange, unless the name begins with amq. or the topology has the thing as external. Default: the log has one
     * warning that names the thing, when the binding is declared for the first time. */
    bool refuse_unknown_ends;

    /* For one call, connecting included. For a topology the time counts for each answer of the broker, so that a large
     * topology may take longer. Default: 10,000. */
    int timeout_ms;

    coney_declaration_customizer *customize; /* NULL: none. */
    void *customize_user;
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

/* Adds a copy of a topology while the admin runs. It is declared at once if there is a connection, and again after each
 * loss; coney_admin_declare() waits for that. What the admin has already is not added again.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: the topology remembers a failure, or the admin has a thing of that name with other properties.
 *   Then nothing is added. */
CONEY_API coney_status coney_admin_add(coney_admin *admin, const coney_topology *topology);

/* Forget a thing of the admin's topology and, with a queue or exchange, its bindings: they are not declared again.
 * Nothing is deleted at the broker. CONEY_OK, CONEY_E_INVALID; CONEY_E_NOT_FOUND: the topology has no such thing. */
CONEY_API coney_status coney_admin_forget_queue(coney_admin *admin, const char *queue);
CONEY_API coney_status coney_admin_forget_exchange(coney_admin *admin, const char *exchange);
CONEY_API coney_status coney_admin_forget_binding(coney_admin *admin, const coney_binding *binding);

/* Declares the topology, and what is remembered, now: exchanges, queues, bindings. A refusal by the broker is logged,
 * and the other things are declared nevertheless; status and sentence are those of the first refusal, also if the
 * refused thing exists with other properties, but not if its on_refusal is CONEY_REFUSAL_IGNORE. Waits as long as
 * answers come, at most timeout_ms for each, also across a loss of the connection. CONEY_E_TIMEOUT names the first
 * thing without an answer; later things are not waited for. (Spring: initialize.) */
CONEY_API coney_status coney_admin_declare(coney_admin *admin);

/* Declare one thing, or remove one binding. info may be NULL; it tells the name of a queue that the broker has named, or
 * that is anonymous. Exclusive queues belong to the factory's consuming connection, so its containers can consume them.
 * As with Spring, nothing is sent for the default exchange, and for the binding that every queue has to it. */
CONEY_API coney_status coney_admin_declare_queue(coney_admin *admin, const coney_queue *queue, coney_queue_info *info);
CONEY_API coney_status coney_admin_declare_exchange(coney_admin *admin, const coney_exchange *exchange);
CONEY_API coney_status coney_admin_declare_binding(coney_admin *admin, const coney_binding *binding);
CONEY_API coney_status coney_admin_remove_binding(coney_admin *admin, const coney_binding *binding);

/* Forgets everything that remember_declarations keeps. Nothing is deleted. (Spring: resetAllManualDeclarations.)
 * CONEY_OK, CONEY_E_INVALID. */
CONEY_API coney_status coney_admin_forget_remembered(coney_admin *admin);

/* Asks about a queue. info may be NULL. CONEY_E_NOT_FOUND if there is no such queue. (AMQP: queue.declare passive.) */
CONEY_API coney_status coney_admin_queue_info(coney_admin *admin, const char *queue, coney_queue_info *info);

/* Ask whether a queue or an exchange exists. A queue that another connection has exclusively exists. */
CONEY_API coney_status coney_admin_queue_exists(coney_admin *admin, const char *queue, bool *exists);
CONEY_API coney_status coney_admin_exchange_exists(coney_admin *admin, const char *exchange, bool *exists);

/* Delete a queue or an exchange, or the ready messages of a queue. As for the broker, a thing that does not exist
 * counts as deleted. message_count may be NULL; it tells how many ready messages were deleted, without those that
 * consumers have. A queue that a container consumes and that is in an admin's topology is declared again: stop the
 * container first, and call coney_admin_forget_queue(). Deleting the default exchange "" does nothing. A stream cannot
 * be purged: CONEY_E_INVALID if the factory has declared the stream. */
CONEY_API coney_status coney_admin_delete_queue(coney_admin *admin, const char *queue, uint32_t *message_count);
CONEY_API coney_status coney_admin_delete_exchange(coney_admin *admin, const char *exchange);
CONEY_API coney_status coney_admin_purge_queue(coney_admin *admin, const char *queue, uint32_t *message_count);

typedef struct coney_delete_options {
    bool if_unused; /* Only if the queue has no consumers. */
    bool if_empty;  /* Only if the queue has no ready messages. */

    /* The kind of the queue. Default: as the factory has declared the queue. Without a known kind a condition is
     * CONEY_E_INVALID, because RabbitMQ closes the connection over a condition if the queue is a quorum queue. */
    coney_queue_kind kind;
} coney_delete_options;

/* Deletes a queue under conditions; options may be NULL: none. CONEY_E_PRECONDITION_FAILED if one does not hold. The
 * broker checks the conditions of a classic queue in one step with the deletion. For a quorum queue or a stream, Coney
 * asks for the numbers first, and then deletes: a message or a consumer that comes in between is lost. (AMQP:
 * queue.delete if-unused, if-empty.) */
CONEY_API coney_status coney_admin_delete_queue_if(coney_admin *admin, const char *queue,
                                                   const coney_delete_options *options, uint32_t *message_count);

/* CONEY_E_PRECONDITION_FAILED if something is bound to the exchange. (AMQP: exchange.delete if-unused.) */
CONEY_API coney_status coney_admin_delete_exchange_if_unused(coney_admin *admin, const char *exchange);

/* How a purge has ended; error is NULL if it has succeeded, else a view. On the factory's events thread. */
typedef void coney_purge_callback(uint32_t message_count, const coney_error *error, void *user);

/* Purges without waiting. callback may be NULL; then the log tells of a failure. The callback runs unless the factory's
 * close has ended before. The admin may be freed meanwhile. (Spring: purgeQueue(name, noWait).) Statuses:
 * CONEY_OK, CONEY_E_INVALID, CONEY_E_CLOSED, CONEY_E_NO_MEMORY, CONEY_E_SYSTEM; the callback has the others. */
CONEY_API coney_status coney_admin_purge_queue_async(coney_admin *admin, const char *queue,
                                                     coney_purge_callback *callback, void *user);

CONEY_END

#endif
