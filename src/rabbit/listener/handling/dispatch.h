/* SPDX-License-Identifier: MIT */
/* From a message to an outcome. */
#ifndef CNY_HANDLING_DISPATCH_H
#define CNY_HANDLING_DISPATCH_H

#include "rabbit/listener/handling/delivery.h"
#include "rabbit/listener/handling/lane.h"

/* Makes it ready for a handler and calls that. The outcome, whoever decided it. */
coney_outcome cny_dispatch(coney_delivery *delivery, cny_lane *lane);
void cny_dispatch_batch(coney_delivery **deliveries, size_t count, coney_outcome *outcomes, cny_lane *lane);

/* Whether it can be handed to a handler; else *outcome tells what becomes of it. */
bool cny_prepare(coney_delivery *delivery, coney_outcome *outcome);

#endif
