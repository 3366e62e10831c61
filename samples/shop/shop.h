/* SPDX-License-Identifier: MIT */
/* What the programs of the shop share: the event they talk about, and the life of a service that
 * listens to it. A service is a queue name and a handler; service_run() does the rest. */
#ifndef SHOP_H
#define SHOP_H

#include <coney/coney.h>

#define ORDER_PAID "order.paid"

/* Where events are published. Payment and every service declare it, so any of them may start first. */
extern const coney_exchange shop_events;

/* The event: an order that was paid. A message that does not fit its type never reaches a handler. */
struct order {
    int64_t id;
    char *customer;
    char *item;
    int64_t total_cents;
    char *currency;
};
extern const coney_type order_paid_type;

struct service {
    const char *name;               /* of the program and of its ledger */
    const char *queue;              /* its own, durable: it collects events while the service is away */
    coney_message_handler *on_paid; /* user is this struct, the payload a struct order */
    int concurrency;                /* consumers; 0 is one */
    int prefetch;                   /* messages each may have in hand; 0 is Coney's default */
    int ledger;                     /* set by service_run() */
};

/* What a service needs at the broker: the exchange of the events, its queue, and the binding of the two. */
void shop_add_queue(coney_topology *topology, const char *queue);

/* Listens until SIGTERM or SIGINT and stops cleanly. Returns the program's exit status. */
int service_run(struct service *service);

/* Puts the order on record as handled. The outcome for its message. */
coney_outcome service_handled(const struct service *service, const struct order *order);

/* CONEY_URI, or the broker on this machine. */
const char *shop_uri(void);

/* A whole number that is not negative, such as an option's; false if the text is not one. */
bool parse_number(int64_t *number, const char *text);

#endif
