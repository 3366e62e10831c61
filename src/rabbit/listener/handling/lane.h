/* SPDX-License-Identifier: MIT */
/* A lane: a queue of messages that are handled one after another. */
#ifndef CNY_HANDLING_LANE_H
#define CNY_HANDLING_LANE_H

#include "rabbit/listener/handling/handling.h"

struct cny_lane {
    cny_task task; /* the first member, so that the task of a lane is the lane */
    cny_source *source;
    /* by the worker that runs it */
    cny_buffer todo; /* of coney_message *, from next on */
    size_t next;
    cny_buffer items;      /* of coney_delivery *, from first_item on */
    size_t first_item;     /* 0 with on_batch */
    bool keeps_decided;    /* some items are decided: the channel was suspended */
    cny_buffer replying;   /* deliveries whose replies are on their way, in the order of their handling; replying.c */
    cny_buffer delayed;    /* deliveries that wait before they go back to the queue; delayed.c */
    int64_t due;           /* the lane rests until then; 0: it does not */
    int64_t gather_until;  /* for a batch; 0: none has begun */
    size_t acks;           /* acknowledgements that are put together and not sent yet */
    size_t ack_bytes;      /* memory of their messages */
    uint64_t ack_tag;      /* the last of their delivery tags */
    int64_t ack_due;       /* when they are sent; 0: there are none */
    coney_delivery *spare; /* a recycled delivery; may be NULL */
    /* under lock; only with several lanes */
    pthread_mutex_t lock; /* below the connection's lock; no other lock is taken under it */
    cny_buffer inbox;     /* of coney_message * */
    /* any thread */
    atomic_llong handling_since; /* in milliseconds; 0: no handler runs */
    atomic_bool deciding;        /* acts on an outcome, which may take a publishing connection */
    atomic_bool told_slow;
};

void cny_lane_run(cny_task *task);
void cny_lane_clear(cny_lane *lane); /* frees what it has; no worker runs it */

static inline const coney_listener *cny_lane_options(const cny_lane *lane)
{
    return &lane->source->handling->spec->options;
}

/* The deliveries that the lane has for its handler, or has decided, but not those that are delayed. */
static inline coney_delivery **cny_lane_items(const cny_lane *lane, size_t *count)
{
    coney_delivery **items = (coney_delivery **)(void *)lane->items.data;
    *count = lane->items.size / sizeof *items - lane->first_item;
    return items ? items + lane->first_item : items;
}

static inline void cny_lane_count(cny_lane *lane, int more_messages)
{
    atomic_fetch_add(&lane->source->in_lanes, more_messages);
}

/* Has the lane rest before its next step. */
static inline void cny_lane_rest(cny_lane *lane, int delay_ms)
{
    int64_t due = cny_deadline(delay_ms);
    if (due > lane->due)
        lane->due = due;
}

/* The broker has cancelled the consumer, and may have given the messages to others. */
static inline bool cny_lane_is_suspended(const cny_lane *lane)
{
    return !cny_acknowledges_nothing(lane->source->handling->spec) && cny_channel_is_suspended(lane->source->channel);
}

/* ---- deliveries that wait before they go back ---- */

/* The first function has a delivery wait; false without memory. The last one hands the deliveries that are due to the
 * function, in their order, before it removes them from the list, and returns their number. */
bool cny_lane_delay(cny_lane *lane, coney_delivery *delivery, int64_t due);
size_t cny_lane_delayed(const cny_lane *lane);   /* how many wait */
int64_t cny_lane_next_due(const cny_lane *lane); /* INT64_MAX: none */
size_t cny_lane_take_due(cny_lane *lane, int64_t now, void (*take)(cny_lane *lane, coney_delivery *delivery));

#endif
