/* SPDX-License-Identifier: MIT */
/* What other rooms may ask of an admin. */
#ifndef CNY_ADMIN_H
#define CNY_ADMIN_H

#include "rabbit/factory/factory.h"

/* A copy of all that was added to the admin and not removed: a topology without things if there is none. NULL without
 * memory. */
coney_topology *cny_admin_topology(coney_admin *admin);

coney_connection_factory *cny_admin_factory(const coney_admin *admin); /* a view */
int cny_admin_timeout_ms(const coney_admin *admin);

#endif
