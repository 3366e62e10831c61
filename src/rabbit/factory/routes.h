/* SPDX-License-Identifier: MIT */
/* The addresses of synchronous sends that have strikes, as a factory remembers them; see factory.h. */
#ifndef CNY_FACTORY_ROUTES_H
#define CNY_FACTORY_ROUTES_H

#include "rabbit/factory/factory.h"

enum { CNY_MAX_ROUTES = 64 };

typedef struct cny_route {
    bool is_known;
    uint32_t number; /* hash of exchange and routing key */
    cny_strikes strikes;
} cny_route;

typedef struct cny_routes {
    atomic_bool in_use; /* some address has strikes; read by any thread */
    /* under lock, which is taken last */
    pthread_mutex_t lock;
    cny_route all[CNY_MAX_ROUTES];
    size_t next;        /* the oldest, which is forgotten first */
    cny_strikes direct; /* of all direct reply-to addresses together */
} cny_routes;

#endif
