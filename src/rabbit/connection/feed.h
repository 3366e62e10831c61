/* SPDX-License-Identifier: MIT */
/* What one consumer has on a channel. Private to this folder. */
#ifndef CNY_CONNECTION_FEED_H
#define CNY_CONNECTION_FEED_H

#include "rabbit/connection/feed_states.h"
#include "rabbit/connection/holding.h"
#include "rabbit/connection/renewal.h"
#include "rabbit/connection/settling.h"

struct cny_feed {
    cny_buffer deliveries;  /* of coney_message * */
    cny_buffer late;        /* the same, of what came while it was kept */
    cny_watcher watcher;    /* its functions are NULL if nobody watches */
    atomic_int prefetch;    /* 0: no limit; read by any thread */
    bool no_ack;            /* the broker has forgotten what it sent, so it outlives the channel */
    bool is_stream;         /* nothing is rejected or given back */
    unsigned moment;        /* I/O thread only: the last one that brought something, */
    int in_moment;          /* and how much */
    size_t in_hand;         /* not settled yet */
    uint64_t last_tag;      /* of what came */
    uint64_t settled_up_to; /* all before it are, too */
    uint64_t settled_last;  /* the highest that is settled, or held back */
    bool told;              /* the watcher, of deliveries that were not taken yet */
    size_t bytes;           /* of deliveries */
    bool full;              /* counted in the connection's full_feeds */
    cny_feed_states states;
    bool return_waits;      /* everything is given back when the broker has answered the call under way */
    bool holds_back;        /* while it is kept: something settled goes back then, and the broker was not told */
    cny_error *reason;      /* why the broker ended it, as far as is known; NULL: it did not */
    bool waiting;           /* a thread sleeps in cny_channel_receive() */
    char consumer_tag[256]; /* "" while nothing is consumed; the first one, also after a renewal */
    char queue[256];        /* that is consumed */
    cny_credit credit;
    cny_held held;
    cny_renewal renewal;
};

/* Under the lock of the connection, but for free. */
void cny_feed_free(cny_feed *feed);
void cny_feed_begin(cny_channel *channel, const char *consumer_tag); /* I/O thread: the broker has */
void cny_feed_end(cny_channel *channel);                             /* the channel is gone */
void cny_feed_tell_change(cny_channel *channel);
void cny_feed_set_full(cny_channel *channel, bool full);
void cny_feed_look_if_full(cny_channel *channel); /* I/O thread: and sets it then */

#endif
