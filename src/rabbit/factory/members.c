/* SPDX-License-Identifier: MIT */
/* Templates and containers join a factory, and leave it. Any thread. It must not know what members do. */
#include "rabbit/factory/parts.h"

coney_status cny_factory_join(coney_connection_factory *factory, const cny_member *member, void *self)
{
    const cny_membership one = {.member = member, .self = self};
    pthread_mutex_lock(&factory->lock);
    bool joined = cny_buffer_reserve(&factory->spare, factory->members.size + sizeof one) &&
                  cny_buffer_append(&factory->members, &one, sizeof one);
    pthread_mutex_unlock(&factory->lock);
    return joined ? CONEY_OK : cny_fail_memory();
}

void cny_factory_leave(coney_connection_factory *factory, const void *self)
{
    pthread_mutex_lock(&factory->lock);
    cny_membership *all = (cny_membership *)(void *)factory->members.data;
    size_t count = factory->members.size / sizeof *all, kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (all[i].self != self)
            all[kept++] = all[i];
    }
    factory->members.size = kept * sizeof *all;
    pthread_mutex_unlock(&factory->lock);
}

bool cny_factory_members(coney_connection_factory *factory, cny_buffer *members)
{
    size_t count;
    const cny_membership *all = cny_memberships(&factory->members, &count);
    if (!cny_buffer_append(members, all, factory->members.size))
        return false;
    for (size_t i = 0; i < count; i++)
        all[i].member->ref(all[i].self);
    return true;
}

void cny_members_free(cny_buffer *members)
{
    size_t count;
    const cny_membership *all = cny_memberships(members, &count);
    for (size_t i = 0; i < count; i++)
        all[i].member->unref(all[i].self);
    cny_buffer_free(members);
}

coney_status cny_factory_find_users(coney_connection_factory *factory, const char *queue, cny_tell_user *tell, void *to)
{
    cny_buffer members = {0};
    size_t count;
    pthread_mutex_lock(&factory->lock);
    bool got = cny_factory_members(factory, &members);
    pthread_mutex_unlock(&factory->lock);
    const cny_membership *all = cny_memberships(&members, &count);
    for (size_t i = 0; got && i < count; i++) {
        if (all[i].member->find_users)
            all[i].member->find_users(all[i].self, queue, tell, to);
    }
    cny_members_free(&members);
    return got ? CONEY_OK : cny_fail_memory();
}
