/* SPDX-License-Identifier: MIT */
/* The prefetch of a consumer whose bytes are bounded, and subscribing anew with another one. Private to this folder;
 * all under the lock of the connection. */
#ifndef CNY_CONNECTION_RENEWAL_H
#define CNY_CONNECTION_RENEWAL_H

#include "rabbit/connection/consumers.h"
#include "wire/wire.h"

typedef struct cny_feed cny_feed;

/* Owned by renewal.c. */
typedef struct cny_renewal {
    cny_arena arena;     /* holds the texts of the next */
    cny_consume consume; /* but for the tag */
    bool is_transacted;
    int ceiling;                    /* the prefetch that was asked for */
    char tag[256];                  /* of the present consumer, the one that the broker serves */
    int unanswered;                 /* methods of the last renewal */
    int ends;                       /* of consumers before it that are not confirmed */
    size_t largest, largest_before; /* bytes of a recent delivery */
    size_t sizes_left;              /* deliveries until the largest is the one before */
    size_t deliveries;              /* since the last attempt to hold back, or the renewal */
    int attempts;                   /* since the renewal */
    int64_t hold_back_until;        /* 0: nothing is held back */
    cny_buffer held_back;           /* settlements */
    unsigned count;                 /* of renewals, for their tags */
} cny_renewal;

bool cny_renewal_init(cny_feed *feed, const cny_subscription *what); /* not under lock; false without memory */
int cny_renewal_first_prefetch(const cny_subscription *what);
void cny_renewal_free(cny_renewal *renewal); /* not under lock */

/* Without memory the functions that give a status answer CONEY_E_NO_MEMORY. The caller must close the channel then, for
 * the broker would wait for settlements. */

/* I/O thread: a delivery of so many bytes has come. It may be the moment to subscribe anew. */
coney_status cny_renewal_count(cny_channel *channel, size_t bytes);

/* I/O thread: the answer to a renewal; the end of a consumer that another one has followed. */
bool cny_renewal_take_answer(cny_feed *feed, const cny_incoming *incoming);
bool cny_renewal_take_end(cny_feed *feed);
coney_status cny_renewal_run_due(cny_channel *channel, int64_t now); /* the same thread: what is due */

/* Any thread. Makes a settlement wait; false: it need not wait, or cannot. Then: writes what waits; drops what waits,
 * because the channel is gone, for this reason. */
bool cny_renewal_hold_back(cny_feed *feed, uint64_t tag, cny_settlement settlement, size_t count);
coney_status cny_renewal_flush(cny_channel *channel);
void cny_renewal_drop(cny_channel *channel, const cny_error *reason);

#endif
