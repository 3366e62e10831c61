/* SPDX-License-Identifier: MIT */
/* Everybody on stage: payment, the three services, and the broker between them. */
#ifndef SHOP_DEMO_CAST_H
#define SHOP_DEMO_CAST_H

#include <coney/coney.h>

#include "process.h"
#include "tally.h"

enum { ORDERS, WAREHOUSE, NOTIFY, SERVICES };

struct actor {
    const char *name;
    const char *queue; /* NULL for payment */
    struct process process;
    struct tally tally;
    bool away;      /* on purpose: its end is no failure */
    bool consuming; /* the broker has a consumer of it */
    int64_t waiting;

    /* In this act. */
    int64_t handled_before;
    int64_t most_waiting;
    int64_t done_ms; /* when it had handled all; -1: not yet */
};

struct cast {
    char directory[128]; /* ledgers and logs */
    coney_connection_factory *factory;
    coney_admin *admin;
    struct actor payment;
    struct actor services[SERVICES];
    bool interrupted;
};

/* Every function that may fail returns false with a line on stderr, unless it was interrupted. */

/* Connects, makes the directory and removes what an earlier run left on the broker. Order ids run
 * up to last_id. */
bool cast_init(struct cast *cast, int64_t last_id);

/* Ends all processes, cleans the broker, and removes the directory unless it is to be kept. */
void cast_free(struct cast *cast, bool keep_directory);

bool cast_start(struct actor *actor, const char *const arguments[]);
bool cast_stop(struct actor *actor);

/* Waits until every service consumes from its queue. */
bool cast_await_services(struct cast *cast);

/* Reads ledgers and queues. Fails if someone ended who should not have. */
bool cast_observe(struct cast *cast);

/* Lets time pass. False if SIGINT or SIGTERM came. */
bool cast_wait(struct cast *cast, int ms);

int64_t now_ms(void);

#endif
