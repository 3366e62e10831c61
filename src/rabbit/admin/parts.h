/* SPDX-License-Identifier: MIT */
/* What the files of the admin share. */
#ifndef CNY_ADMIN_PARTS_H
#define CNY_ADMIN_PARTS_H

#include "rabbit/admin/admin.h"
#include "rabbit/factory/factory.h"

#include <pthread.h>

struct coney_admin {
    /* fixed after new */
    coney_connection_factory *factory;
    coney_admin_options options; /* without its topology */
    /* under lock; a thread that has it may take the factory's lock */
    pthread_mutex_t lock;
    coney_topology *topology; /* all that was added and not removed */
    cny_buffer sets;          /* of cny_declaration_set *: what was added together; references */
    cny_buffer remembered;    /* the same, of single declarations */
};

/* ---- admin.c: single declarations that are declared again ---- */

/* The thing was declared on the channel a moment ago. Does nothing if the admin does not remember. CONEY_E_NO_MEMORY. */
coney_status cny_admin_remember(coney_admin *admin, cny_declaration_kind kind, const void *thing, cny_channel *channel);

/* Forgets a single declaration and, of a queue or exchange, its bindings. thing: a name, or a coney_binding. */
void cny_admin_forget_single(coney_admin *admin, cny_declaration_kind kind, const void *thing);

#endif
