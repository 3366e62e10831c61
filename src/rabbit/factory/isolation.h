/* SPDX-License-Identifier: MIT */
/* The isolated connection of a factory; see factory.h. All is under the factory's lock. */
#ifndef CNY_FACTORY_ISOLATION_H
#define CNY_FACTORY_ISOLATION_H

#include "rabbit/factory/factory.h"

typedef struct cny_isolation {
    bool is_taken;      /* somebody uses it, or waits until it is open */
    bool is_wanted;     /* the recovery thread is to make it */
    bool is_being_made; /* the recovery thread may be without the lock */
    bool is_abandoned;  /* while it was being made: nobody waits for it any more */
    cny_connection *connection;
    cny_error *failure; /* why there is none */
} cny_isolation;

/* Recovery thread: makes the isolated connection if somebody wants it. */
void cny_isolation_make(coney_connection_factory *factory);

#endif
