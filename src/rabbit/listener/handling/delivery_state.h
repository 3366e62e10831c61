/* SPDX-License-Identifier: MIT */
/* Where a delivery is between its message's coming and its settlement, and who may act on it.
 *
 *     TAKEN -> READY -> HANDLING -> RETURNED -> DECIDED -> SETTLED
 *              READY <------------- RETURNED                          another attempt in place
 *                       HANDLING -> DEFERRED ------------> SETTLED    whoever has it settles it
 *     TAKEN -------------------------------- -> DECIDED               no handler is to have it
 *
 * A delivery belongs to the worker of its lane, except with CONEY_ACKNOWLEDGE_MANUAL: there the program may settle the
 * delivery from HANDLING on. Whoever moves it out of HANDLING or DEFERRED has claimed it, by one compare-and-swap. */
#ifndef CNY_HANDLING_DELIVERY_STATE_H
#define CNY_HANDLING_DELIVERY_STATE_H

#include <stdatomic.h>
#include <stdbool.h>

typedef enum cny_delivery_state {
    CNY_DELIVERY_TAKEN,    /* no handler can have it yet */
    CNY_DELIVERY_READY,    /* for the handler, the first time or for another attempt */
    CNY_DELIVERY_HANDLING, /* its handler runs */
    CNY_DELIVERY_RETURNED, /* its handler has returned, and the worker decides what becomes of it */
    CNY_DELIVERY_DEFERRED, /* its handler has returned, and whoever has it decides */
    CNY_DELIVERY_DECIDED,  /* it is known what becomes of it, and the broker is not told yet */
    CNY_DELIVERY_SETTLED,  /* by its worker, or claimed by the program */
} cny_delivery_state;

typedef atomic_int cny_delivery_state_now;

static inline cny_delivery_state cny_state_of(const cny_delivery_state_now *now)
{
    return (cny_delivery_state)atomic_load_explicit(now, memory_order_acquire);
}

/* By the worker, while the program may not act. */
static inline void cny_state_set(cny_delivery_state_now *now, cny_delivery_state state)
{
    atomic_store_explicit(now, (int)state, memory_order_release);
}

/* By the worker, when the handler has returned. False: the program has settled the delivery meanwhile. */
static inline bool cny_state_leave_handling(cny_delivery_state_now *now, cny_delivery_state to)
{
    int from = CNY_DELIVERY_HANDLING;
    return atomic_compare_exchange_strong(now, &from, (int)to);
}

/* By the program, on any thread. False: somebody else has settled the delivery, or may. */
static inline bool cny_state_claim(cny_delivery_state_now *now)
{
    int from = atomic_load(now);
    while (from == CNY_DELIVERY_HANDLING || from == CNY_DELIVERY_DEFERRED) {
        if (atomic_compare_exchange_weak(now, &from, CNY_DELIVERY_SETTLED))
            return true;
    }
    return false;
}

/* The worker has not decided yet, and may. */
static inline bool cny_state_is_undecided(const cny_delivery_state_now *now)
{
    cny_delivery_state state = cny_state_of(now);
    return state == CNY_DELIVERY_TAKEN || state == CNY_DELIVERY_READY;
}

/* The program has settled the delivery, or will: the worker lets go of it. To be asked before the worker settles. */
static inline bool cny_state_is_left(const cny_delivery_state_now *now)
{
    cny_delivery_state state = cny_state_of(now);
    return state == CNY_DELIVERY_DEFERRED || state == CNY_DELIVERY_SETTLED;
}

#endif
