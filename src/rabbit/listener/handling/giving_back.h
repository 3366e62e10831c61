/* SPDX-License-Identifier: MIT */
/* What no handler gets any more. */
#ifndef CNY_HANDLING_GIVING_BACK_H
#define CNY_HANDLING_GIVING_BACK_H

#include "rabbit/listener/handling/lane.h"

/* All that the lane has goes back, or is dropped. How many messages that are. */
size_t cny_lane_give_back(cny_lane *lane);
size_t cny_lane_drop(cny_lane *lane);

#endif
