/* SPDX-License-Identifier: MIT */
/* Addresses of synchronous sends that were suspects, as a factory remembers them; see factory.h. */
#ifndef CNY_FACTORY_ROUTES_H
#define CNY_FACTORY_ROUTES_H

#include "rabbit/factory/factory.h"

enum { CNY_MAX_ROUTES = 64 };

typedef struct cny_route {
    bool is_known;
    uint32_t number; /* of exchange and routing key */
    cny_strikes strikes;
} cny_route;

typedef struct cny_routes {
    atomic_bool in_use; /* any thread */
    /* under lock, which is below all others */
    pthread_mutex_t lock;
    cny_route all[CNY_MAX_ROUTES];
    size_t next;        /* to be forgotten */
    cny_strikes direct; /* of all direct reply-to addresses together */
} cny_routes;

#endif
