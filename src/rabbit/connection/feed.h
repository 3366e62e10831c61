/* SPDX-License-Identifier: MIT */
/* One consumer of a channel: its deliveries, its states and what is unsettled. Private to this folder; all under the
 * lock of the connection. */
#ifndef CNY_CONNECTION_FEED_H
#define CNY_CONNECTION_FEED_H

#include "rabbit/connection/feed_states.h"
#include "rabbit/connection/holding.h"
#include "rabbit/connection/renewal.h"
#include "rabbit/connection/settling.h"

struct cny_feed {
    cny_buffer deliveries;  /* of coney_message * */
    cny_buffer late;        /* the same, of those that came while the consumer was kept */
    cny_watcher watcher;    /* its functions are NULL if nobody watches */
    atomic_int prefetch;    /* 0: no limit; read by any thread */
    bool no_ack;            /* deliveries need no settlement, so they outlive the channel */
    bool is_stream;         /* nothing can be rejected or given back */
    unsigned moment;        /* I/O thread only: the last moment (pacing.h) that brought deliveries, */
    int in_moment;          /* and how many */
    size_t in_hand;         /* how many deliveries are not settled yet */
    uint64_t last_tag;      /* of the last delivery */
    uint64_t settled_up_to; /* this tag and all before it are settled */
    uint64_t settled_last;  /* the highest tag that is settled, or held back */
    bool told;              /* the watcher knows of deliveries that were not taken yet */
    size_t bytes;           /* of the deliveries that were not taken yet */
    bool full;              /* counted in the connection's full_feeds */
    cny_feed_states states;
    bool return_waits; /* everything is given back when the broker has answered the call under way */
    bool holds_back;   /* a delivery that was settled goes back with the end of a kept consumer, and the broker does not
                               know that yet */
    cny_error *reason; /* why the broker has ended the consumer, as far as is known; NULL: it has not */
    bool waiting;      /* a thread sleeps in cny_channel_receive() */
    char consumer_tag[256]; /* the first one, also after a renewal */
    char queue[256];        /* that is consumed */
    cny_credit credit;
    cny_held held;
    cny_renewal renewal;
};

void cny_feed_free(cny_feed *feed);                                  /* not under lock */
void cny_feed_begin(cny_channel *channel, const char *consumer_tag); /* I/O thread: the broker has begun */
void cny_feed_end(cny_channel *channel);                             /* the channel is gone */
void cny_feed_tell_change(cny_channel *channel);
void cny_feed_set_full(cny_channel *channel, bool full);
void cny_feed_check_full(cny_channel *channel); /* I/O thread, without a prefetch: sets full if it is */

#endif
