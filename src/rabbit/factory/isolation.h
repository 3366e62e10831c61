/* SPDX-License-Identifier: MIT */
/* The isolated connection of a factory; see factory.h. Everything here is under the factory's lock. */
#ifndef CNY_FACTORY_ISOLATION_H
#define CNY_FACTORY_ISOLATION_H

#include "rabbit/factory/factory.h"

typedef struct cny_isolation {
    bool is_taken;      /* somebody uses the connection, or waits until it is open */
    bool is_wanted;     /* the recovery thread is to make one */
    bool is_being_made; /* by the recovery thread, which may have let go of the lock */
    bool is_abandoned;  /* while it was being made: nobody waits for it any more */
    cny_connection *connection;
    cny_error *failure; /* why there is none */
} cny_isolation;

/* Makes the isolated connection if somebody wants one. For the recovery thread. */
void cny_isolation_make(coney_connection_factory *factory);

#endif
