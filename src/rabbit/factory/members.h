/* SPDX-License-Identifier: MIT */
/* The members of a factory; see cny_member in factory.h. */
#ifndef CNY_FACTORY_MEMBERS_H
#define CNY_FACTORY_MEMBERS_H

#include "rabbit/factory/factory.h"

typedef struct cny_membership {
    const cny_member *member;
    void *self;
} cny_membership;

/* Under the factory's lock: appends references to all members, so that they can be called without the lock. False
 * without memory. */
bool cny_factory_members(coney_connection_factory *factory, cny_buffer *members);

/* Not under a lock: drops the references. */
void cny_members_free(cny_buffer *members);

static inline const cny_membership *cny_memberships(const cny_buffer *members, size_t *count)
{
    *count = members->size / sizeof(cny_membership);
    return (const cny_membership *)(const void *)members->data;
}

#endif
