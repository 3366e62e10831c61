/* SPDX-License-Identifier: MIT */
/* Measures how long handlers run. The questions about slow handlers are in handling.h. */
#ifndef CNY_HANDLING_WATCH_H
#define CNY_HANDLING_WATCH_H

#include "rabbit/listener/handling/lane.h"

/* Between these two calls the worker of the lane runs the program's code, or what else may take long: after
 * slow_handler_ms there is an event. The first call returns the time, for the second one. handled: a handler was
 * called, whose time counts. */
int64_t cny_lane_begin_call(cny_lane *lane);
void cny_lane_end_call(cny_lane *lane, int64_t began, bool handled);

#endif
