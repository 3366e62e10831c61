/* SPDX-License-Identifier: MIT */
/* When the I/O thread reads. Private to this folder.
 *
 * While confirms of asynchronous sends or deliveries stream in, reading each as it comes would cost two thread switches
 * for a handful of messages. So reads are coalesced: the next one is put off by a millisecond, as network cards put off
 * interrupts, unless somebody waits for an answer. Of writing only acknowledgements are put off with it.
 *
 * While a feed is full nothing is read at all. */
#ifndef CNY_CONNECTION_PACING_H
#define CNY_CONNECTION_PACING_H

#include "rabbit/connection/channels.h"

#include <stdatomic.h>

enum { CNY_COALESCING_MS = 1 };

typedef enum cny_reading {
    CNY_READ_NOW,   /* as soon as there is something */
    CNY_READ_SOON,  /* after CNY_COALESCING_MS: reads are coalesced */
    CNY_READ_LATER, /* a feed is full; whoever takes it wakes the I/O thread */
} cny_reading;

/* Owned by pacing.c, but for the first two. */
typedef struct cny_pacing {
    atomic_int waiting_for_answer; /* any thread: how many threads are in a call or a synchronous send */
    /* under the connection's lock */
    int full_feeds;     /* nothing is read until they are taken */
    bool is_coalescing; /* the I/O thread must be woken to read an answer at once */
    /* I/O thread only */
    bool is_streaming; /* the last read brought something: more is on its way */
    bool is_held;      /* a feed was full */
    int64_t moment_ms; /* a moment is the millisecond of the last read; */
    unsigned moment;   /* its number */
    int deliveries;    /* in this moment */
    bool window_short; /* a consumer may have to acknowledge some before more can come */
} cny_pacing;

/* I/O thread, without the lock: decides when to read, and notes that for cny_pacing.is_coalescing. */
cny_reading cny_pacing_decide(cny_connection *connection);

/* I/O thread. What comes within a millisecond counts together: TLS hands it out in small pieces. */
void cny_pacing_begin_read(cny_pacing *pacing);

/* I/O thread: one consumer has had so many deliveries in this moment. The broker sends no more than the prefetch before
 * it hears of some. What comes within a moment should be no more than half of that, so that the broker need not wait
 * for us. */
static inline void cny_pacing_count_delivery(cny_pacing *pacing, int in_moment, int prefetch)
{
    pacing->deliveries++;
    if (in_moment > prefetch / 2 && prefetch > 0)
        pacing->window_short = true;
}

#endif
