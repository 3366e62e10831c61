/* SPDX-License-Identifier: MIT */
/* What a lane does with the outcome of a handler: another attempt, a delay, or the settlement. */
#ifndef CNY_HANDLING_OUTCOMES_H
#define CNY_HANDLING_OUTCOMES_H

#include "rabbit/listener/handling/delivery.h"
#include "rabbit/listener/handling/lane.h"

/* The lane has no more to do with the handler of the delivery: the delivery is decided, or left to the program. */
static inline bool cny_delivery_is_finished(const coney_delivery *delivery)
{
    return !cny_state_is_undecided(&delivery->state);
}

/* Takes the outcome of a handler, or of what kept it from being called. */
void cny_lane_on_outcome(cny_lane *lane, coney_delivery *delivery, coney_outcome outcome);

/* Rolls back if a transaction must be, and finishes what is decided. The handler has returned for the first `handled`
 * items. */
void cny_lane_settle_up(cny_lane *lane, size_t handled);

/* Finished items leave the lane, and those that are decided are settled or delayed, even if the channel has just been
 * suspended. */
void cny_lane_finish_at_once(cny_lane *lane);

/* Delayed deliveries whose time has come go back. */
void cny_lane_release_delayed(cny_lane *lane, int64_t now);

#endif
