/* SPDX-License-Identifier: MIT */
/* What template.c, channels.c and batching.c share. Private to the folder. */
#ifndef CNY_TEMPLATE_H
#define CNY_TEMPLATE_H

#include "rabbit/connection/connection.h"

#include <stdatomic.h>

struct coney_template {
    /* fixed after new */
    atomic_uint refs; /* the program's, its batching templates' and, for a while, the recovery thread's */
    coney_connection_factory *factory;
    cny_arena arena;
    coney_template_options options; /* with every default filled in */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t idle; /* not busy any more */
    cny_channel *channel;
    bool busy;          /* some thread opens a channel or sends again, without the lock */
    bool closed;        /* being freed */
    cny_buffer retired; /* of cny_channel *: gone, but with callbacks on their way or messages kept; oldest first */
};

void cny_template_ref(void *self);
void cny_template_unref(void *self);

/* Gives a reference to a live channel in confirm mode. */
coney_status cny_template_get_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Under lock, while nobody is busy: messages wait to be sent again. */
bool cny_template_has_kept(const coney_template *sender);

/* Sends what dead channels have kept again; the recovery thread's part. */
bool cny_template_resend(void *self, cny_connection *connection);

#endif
