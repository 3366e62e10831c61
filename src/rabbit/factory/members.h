/* SPDX-License-Identifier: MIT */
/* The members of a factory: see cny_member. All is under the factory's lock, but for free. */
#ifndef CNY_FACTORY_MEMBERS_H
#define CNY_FACTORY_MEMBERS_H

#include "rabbit/factory/factory.h"

typedef struct cny_membership {
    const cny_member *member;
    void *self;
} cny_membership;

/* References to all members, for calling them without the lock; false without memory. */
bool cny_factory_members(coney_connection_factory *factory, cny_buffer *members);
void cny_members_free(cny_buffer *members);

#endif
