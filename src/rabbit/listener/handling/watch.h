/* SPDX-License-Identifier: MIT */
/* How long handlers run. */
#ifndef CNY_HANDLING_WATCH_H
#define CNY_HANDLING_WATCH_H

#include "rabbit/listener/handling/lane.h"

/* Between these two calls the worker of the lane does what may take long: after slow_handler_ms there is an event.
 * The first returns the time of the beginning, for the second. handled: a handler was called, and the call counts. */
int64_t cny_lane_begin_call(cny_lane *lane);
void cny_lane_end_call(cny_lane *lane, int64_t began, bool handled);

#endif
