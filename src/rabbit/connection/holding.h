/* SPDX-License-Identifier: MIT */
/* How many bytes a consumer holds. Private to this folder; all under the lock of the connection. */
#ifndef CNY_CONNECTION_HOLDING_H
#define CNY_CONNECTION_HOLDING_H

#include "rabbit/connection/settling.h"
#include "wire/wire.h"

typedef struct cny_feed cny_feed;

/* Owned by holding.c. */
typedef struct cny_held {
    cny_holding *holding;    /* NULL: nothing but the prefetch bounds the consumer */
    bool is_fixed;           /* the consumer does not subscribe anew; set by renewal.c */
    bool is_told;            /* that the consumer does not keep all that comes */
    size_t bytes;            /* of unsettled deliveries */
    cny_buffer coming;       /* deliveries that are admitted; what they announce is counted already */
    cny_buffer skipped;      /* deliveries that did not fit, and are to go back */
    size_t returning;        /* bytes of those that went back and may come again at once */
    int64_t returning_until; /* after that they have come to somebody else */
    int64_t give_back_at;    /* 0: when something is settled, or there is nothing to give back */
} cny_held;

void cny_held_join(cny_held *held, cny_holding *holding);
void cny_held_leave(cny_held *held);
void cny_held_free(cny_held *held);          /* not under lock */
size_t cny_held_share(const cny_held *held); /* of the bound */

/* I/O thread: whether there is room for a delivery. If there is none, the delivery comes without its body. */
bool cny_held_admits(cny_channel *channel, const cny_announcement *announcement);

/* I/O thread: a delivery has come that holds so many bytes. */
void cny_held_take(cny_held *held, uint64_t tag, size_t bytes);

/* I/O thread: a delivery has come without its body, which has so many bytes. 0: it is none of this consumer's. */
size_t cny_held_skip(cny_feed *feed, uint64_t tag);
bool cny_held_has_skipped(const cny_held *held, uint64_t tag); /* any thread: and it is not back yet */

/* Any thread. So many bytes are not held any more, and what fits now goes back to the queue; the latter; when it will.
 * CONEY_E_NO_MEMORY: the channel must be closed, for the broker would wait for settlements. */
coney_status cny_held_release(cny_channel *channel, size_t bytes);
coney_status cny_held_give_back(cny_channel *channel);
void cny_held_plan_to_give_back(cny_channel *channel);
coney_status cny_held_give_back_up_to(cny_channel *channel, uint64_t tag);

/* Any thread: settles so many on the wire, whoever has decided that. What was skipped before must not be acknowledged
 * with the others. CONEY_E_NO_MEMORY. */
static inline coney_status cny_feed_settle(cny_channel *channel, uint64_t tag, cny_settlement settlement, size_t count)
{
    if (settlement == CNY_SETTLE_ACK_UP_TO && cny_held_give_back_up_to(channel, tag) != CONEY_OK)
        return CONEY_E_NO_MEMORY;
    return cny_settlement_write(channel, tag, settlement, count);
}

#endif
