/* SPDX-License-Identifier: MIT */
/* Deliveries of a lane whose handlers have succeeded and whose replies the broker has not confirmed yet: the lane goes
 * on with other messages meanwhile. */
#ifndef CNY_HANDLING_REPLYING_H
#define CNY_HANDLING_REPLYING_H

#include "rabbit/listener/handling/lane.h"

/* Puts the first item aside. False without memory. */
bool cny_lane_put_aside(cny_lane *lane);

/* So many replies are on their way that the lane waits for some. */
bool cny_lane_has_enough_replying(const cny_lane *lane);

/* Waits for the oldest reply, and settles its delivery and those after it whose replies are confirmed, too. False
 * without memory: the lane rests. */
bool cny_lane_settle_replying(cny_lane *lane);

#endif
