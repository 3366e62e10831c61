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
bool cny_lane_has_replied(const cny_lane *lane); /* the oldest reply is confirmed, or too late */

/* Has the lane run when the newest reply is confirmed, and so, nearly always, all of them. False: it is confirmed. */
bool cny_lane_rest_until_replied(cny_lane *lane);
int64_t cny_lane_replying_until(const cny_lane *lane); /* when the oldest reply is too late; INT64_MAX: there is none */

/* Waits for the oldest reply, and settles its delivery and those after it whose replies are confirmed, too. False
 * without memory: the lane rests. */
bool cny_lane_settle_replying(cny_lane *lane);

/* The same for all, with the first item, which came after them and is decided. Without memory the channel is closed, so
 * that they come again. */
void cny_lane_settle_all_replying(cny_lane *lane);

#endif
