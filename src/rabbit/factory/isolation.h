/* SPDX-License-Identifier: MIT */
/* The isolated connection of a factory; see factory.h. Everything here is under the factory's lock. */
#ifndef CNY_FACTORY_ISOLATION_H
#define CNY_FACTORY_ISOLATION_H

#include "rabbit/factory/factory.h"

/* free -> wanted -> being made -> taken -> free, and from each state back to free if nobody waits any more. */
typedef enum cny_isolation_state {
    CNY_ISOLATION_FREE,       /* nobody wants a connection */
    CNY_ISOLATION_WANTED,     /* somebody waits, and the recovery thread is to make a connection */
    CNY_ISOLATION_BEING_MADE, /* by the recovery thread, which may have let go of the lock */
    CNY_ISOLATION_ABANDONED,  /* the same, but nobody waits for the connection any more */
    CNY_ISOLATION_TAKEN,      /* there is a connection, or a failure; somebody waits until it is open, or uses it */
} cny_isolation_state;

typedef struct cny_isolation {
    cny_isolation_state state;
    cny_connection *connection;
    cny_error *failure; /* why there is none */
} cny_isolation;

/* Makes the isolated connection if somebody wants one. For the recovery thread. */
void cny_isolation_make(coney_connection_factory *factory);

#endif
