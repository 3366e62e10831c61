/* SPDX-License-Identifier: MIT */
/* How consuming goes: what the broker does, what we take, and whether we have asked for the end. These three are
 * independent. Private to this folder. */
#ifndef CNY_CONNECTION_FEED_STATES_H
#define CNY_CONNECTION_FEED_STATES_H

#include <stdbool.h>

/* IDLE -> OPENING -> CONSUMING, or IDLE -> CONSUMING; OPENING -> IDLE with the end of the channel. */
typedef enum cny_feed_stage {
    CNY_STAGE_IDLE,      /* the channel does not consume */
    CNY_STAGE_OPENING,   /* the answers to cny_channel_subscribe_on() have not all come */
    CNY_STAGE_CONSUMING, /* the broker has begun, and told the consumer's tag */
} cny_feed_stage;

/* OPEN -> KEPT or ENDED. */
typedef enum cny_feed_intake {
    CNY_FEED_INTAKE_OPEN,  /* what comes is taken */
    CNY_FEED_INTAKE_KEPT,  /* nothing is taken, but the consumer stays the queue's until the channel is closed */
    CNY_FEED_INTAKE_ENDED, /* nothing more will come */
} cny_feed_intake;

/* NONE -> ASKED, or NONE -> WAITS -> ASKED. */
typedef enum cny_feed_cancel {
    CNY_CANCEL_NONE,
    CNY_CANCEL_WAITS, /* the broker is told as soon as it has answered the call under way */
    CNY_CANCEL_ASKED, /* there is no consumer, or the broker was told; what is on its way still comes */
} cny_feed_cancel;

typedef struct cny_feed_states {
    cny_feed_stage stage;
    cny_feed_intake intake;
    cny_feed_cancel cancel;
} cny_feed_states;

static inline bool cny_feed_takes(const cny_feed_states *states)
{
    return states->intake == CNY_FEED_INTAKE_OPEN;
}

static inline bool cny_feed_is_kept(const cny_feed_states *states)
{
    return states->intake == CNY_FEED_INTAKE_KEPT;
}

static inline bool cny_feed_is_cancelled(const cny_feed_states *states)
{
    return states->cancel != CNY_CANCEL_NONE;
}

/* No more will come. One that is kept stays so: what is settled goes back with the end of its channel. */
static inline void cny_feed_stop(cny_feed_states *states)
{
    if (states->intake == CNY_FEED_INTAKE_OPEN)
        states->intake = CNY_FEED_INTAKE_ENDED;
}

/* The channel is gone. */
static inline void cny_feed_close(cny_feed_states *states)
{
    cny_feed_stop(states);
    if (states->stage == CNY_STAGE_OPENING)
        states->stage = CNY_STAGE_IDLE;
}

static inline bool cny_feed_goes_on(const cny_feed_states *states)
{
    return states->intake == CNY_FEED_INTAKE_OPEN && states->cancel == CNY_CANCEL_NONE;
}

/* The broker is to be told that no more is wanted. */
static inline bool cny_feed_may_cancel(const cny_feed_states *states)
{
    return states->stage == CNY_STAGE_CONSUMING && states->cancel == CNY_CANCEL_NONE;
}

static inline void cny_feed_ask_for_end(cny_feed_states *states, bool waits)
{
    if (states->cancel == CNY_CANCEL_NONE)
        states->cancel = waits ? CNY_CANCEL_WAITS : CNY_CANCEL_ASKED;
}

#endif
