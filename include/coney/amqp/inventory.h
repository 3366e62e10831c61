/* SPDX-License-Identifier: MIT */
/* What a virtual host of a broker has, as somebody has read it there: usually coney_management_read(), over the
 * management API. AMQP itself tells only whether a thing is there. coney_admin_plan() compares an inventory with a
 * topology.
 *
 * One thread at a time may change an inventory. Everything that is added is copied. Statuses of all functions that add:
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: a name is NULL. */
#ifndef CONEY_AMQP_INVENTORY_H
#define CONEY_AMQP_INVENTORY_H

#include <coney/amqp/exchange.h>
#include <coney/amqp/queue.h>

CONEY_BEGIN

/* The policies that are in force for a queue or an exchange. A policy's settings are arguments without "x-". */
typedef struct coney_found_policy {
    const char *name;            /* NULL: no policy applies. */
    const char *operator_name;   /* Of the operator policy; NULL: none applies. */
    const coney_table *settings; /* Of both, as they are in force. May be NULL. */
} coney_found_policy;

typedef struct coney_found_queue {
    const char *name;
    const char *type; /* "classic", "quorum", "stream"; NULL: not known. */
    bool durable;
    bool exclusive;
    bool auto_delete;
    const coney_table *arguments; /* May be NULL. */
    coney_found_policy policy;
    int64_t message_count;  /* -1: not known. */
    int64_t consumer_count; /* -1: not known. */
} coney_found_queue;

typedef struct coney_found_exchange {
    const char *name;
    const char *type;
    bool durable;
    bool auto_delete;
    bool internal;
    const coney_table *arguments; /* May be NULL. */
    coney_found_policy policy;
} coney_found_exchange;

typedef struct coney_found_consumer {
    const char *queue;
    const char *tag;
    const char *connection; /* The name that the connection has given itself, else the broker's name for it. */
} coney_found_consumer;

typedef struct coney_inventory coney_inventory;

/* Gives an empty inventory, or NULL if there is no memory. */
CONEY_API coney_inventory *coney_inventory_new(void);
CONEY_API void coney_inventory_free(coney_inventory *inventory);

CONEY_API coney_status coney_inventory_add_queue(coney_inventory *inventory, const coney_found_queue *queue);
CONEY_API coney_status coney_inventory_add_exchange(coney_inventory *inventory, const coney_found_exchange *exchange);
CONEY_API coney_status coney_inventory_add_binding(coney_inventory *inventory, const coney_binding *binding);
CONEY_API coney_status coney_inventory_add_consumer(coney_inventory *inventory, const coney_found_consumer *consumer);

CONEY_END

#endif
