/* SPDX-License-Identifier: MIT */
/* Messages that go back to their queue, or are dropped, because their consumer ends. */
#ifndef CNY_HANDLING_GIVING_BACK_H
#define CNY_HANDLING_GIVING_BACK_H

#include "rabbit/listener/handling/lane.h"

/* Gives back, or drops, all messages of the lane, and returns their number. */
size_t cny_lane_give_back(cny_lane *lane);
size_t cny_lane_drop(cny_lane *lane);

#endif
