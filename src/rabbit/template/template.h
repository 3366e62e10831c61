/* SPDX-License-Identifier: MIT */
/* What template.c, channels.c and store.c share. Private to the folder. */
#ifndef CNY_TEMPLATE_H
#define CNY_TEMPLATE_H

#include "rabbit/connection/connection.h"

#include <stdatomic.h>

/* What CONEY_FLOW_STORE has stored; in store.c, all under the template's lock. */
typedef struct cny_store {
    struct cny_stored *first, *last;
    struct cny_stored *ended, *last_ended; /* will not be sent; who lets go of the lock tells, with cny_store_tell() */
    uint64_t next;                         /* they are numbered in the order of sending */
    size_t messages, bytes;
    size_t telling, telling_bytes; /* of ended ones, until their callbacks are called */
    size_t unfinished;             /* until their callbacks have returned */
    uint64_t dropped, expired;     /* ever */
    bool unheard;                  /* an end was logged for want of a callback: once is enough until it is empty */
    bool closed;
} cny_store;

typedef struct cny_store_counts {
    size_t messages, bytes;
    uint64_t dropped, expired;
} cny_store_counts;

struct coney_template {
    /* fixed after new */
    atomic_uint refs; /* the program's and, for a while, the recovery thread's */
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
    cny_store store;
};

void cny_template_ref(void *self);
void cny_template_unref(void *self);

/* Gives a reference to a live channel in confirm mode. */
coney_status cny_template_get_channel(coney_template *sender, cny_channel **channel, int64_t deadline);

/* Under lock, while nobody is busy: messages wait to be sent again. */
bool cny_template_has_kept(const coney_template *sender);

/* Gives a reference to the channel if a message may be sent on it now, else NULL. Waits for nothing. */
cny_channel *cny_template_channel_for_now(coney_template *sender);

/* Sends what dead channels have kept again, then what is stored; the recovery thread's part. */
bool cny_template_resend(void *self, cny_connection *connection);

/* ---- the store ---- */

/* Sends now or stores. publish->flow is CONEY_FLOW_STORE. */
coney_status cny_store_send(coney_template *sender, const cny_publish *publish);

/* Under lock: is something stored that came before that number? */
bool cny_store_has_before(const coney_template *sender, uint64_t number);

/* Under lock, on a channel on which nothing older is to be sent again: sends some of what is stored. Not CONEY_OK: why
 * the next one cannot go. */
coney_status cny_store_flush(coney_template *sender);

/* Under lock: what is stored, and what comes, ends with CONEY_E_CLOSED. */
void cny_store_close(coney_template *sender, const char *why);

/* Not under lock: has those told that have ended. */
void cny_store_tell(coney_template *sender);

int64_t cny_store_expire(void *self, int64_t now); /* cny_member.tend */

/* Nothing is stored, and all callbacks have returned. */
bool cny_store_wait_finished(coney_template *sender, int64_t deadline);

void cny_store_count(coney_template *sender, cny_store_counts *counts);

#endif
