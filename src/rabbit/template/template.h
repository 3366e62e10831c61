/* SPDX-License-Identifier: MIT */
/* What template.c and channels.c share. Private to the folder. */
#ifndef CNY_TEMPLATE_H
#define CNY_TEMPLATE_H

#include "rabbit/connection/connection.h"

#include <stdatomic.h>

struct coney_template {
    /* fixed after new */
    atomic_uint refs; /* the program's and, for a while, the recovery thread's */
    coney_connection_factory *factory;
    cny_arena arena;
    coney_template_options options; /* with every default filled in */
    /* any thread */
    atomic_bool watched; /* the recovery thread knows when the next confirm is too late */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t idle; /* not busy any more */
    cny_channel *channel;
    cny_channel *plain;          /* not in confirm mode, for what is sent and forgotten */
    bool opening_plain;          /* some thread does, without the lock */
    int64_t quiet_until;         /* nothing is logged of refusals of plain channels */
    bool busy;                   /* some thread opens a channel or sends again, without the lock */
    bool closed;                 /* being freed */
    coney_send_statistics ended; /* what channels counted that are gone, and what is counted here */
    cny_buffer retired; /* of cny_channel *: gone, but with callbacks on their way or messages kept; oldest first */
};

/* Gives a reference to a live channel in confirm mode. */
coney_status cny_template_get_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* The same for one that is not in confirm mode. */
coney_status cny_template_get_plain_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Lets go of a plain channel that is gone, and logs if the broker refused something. */
void cny_template_check_plain_channel(coney_template *sender);

/* Opens one, until the deadline. Sets it on failure, too: to NULL or a dead one. */
coney_status cny_template_open_channel(const coney_template *sender, cny_channel **channel, bool confirms,
                                       int64_t deadline);

/* Under lock, while nobody is busy: messages wait to be sent again. */
bool cny_template_has_kept(const coney_template *sender);

/* Sends what dead channels have kept again; the recovery thread's part. */
bool cny_template_resend(void *self, cny_connection *connection);

/* Gives the channels whose confirms or callbacks may be outstanding, oldest first: references, of
 * cny_channel *. CONEY_E_NO_MEMORY. */
coney_status cny_template_channels(coney_template *sender, cny_buffer *channels);
void cny_template_channels_free(cny_buffer *channels);

/* Ends what has waited for its confirm too long; the recovery thread's part. It sleeps while nothing is
 * outstanding, so every asynchronous send is followed by watch(). */
int64_t cny_template_tend(void *self, int64_t now);
void cny_template_watch(coney_template *sender);

#endif
