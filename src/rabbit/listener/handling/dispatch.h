/* SPDX-License-Identifier: MIT */
/* From a delivery to the outcome of its handler: preparing, and the call. */
#ifndef CNY_HANDLING_DISPATCH_H
#define CNY_HANDLING_DISPATCH_H

#include "rabbit/listener/handling/delivery.h"
#include "rabbit/listener/handling/lane.h"

/* Prepares a delivery and calls its handler. Returns the outcome of the handler, or of what kept the handler from being
 * called. The second function calls the handler of a batch, whose deliveries are prepared already. */
coney_outcome cny_dispatch(coney_delivery *delivery, cny_lane *lane);
void cny_dispatch_batch(coney_delivery **deliveries, size_t count, coney_outcome *outcomes, cny_lane *lane);

/* After cny_dispatch() has left a reply on its way (delivery->sent_reply) and its outcome is known: the last step of
 * the call. Returns the outcome. */
coney_outcome cny_dispatch_end(coney_delivery *delivery, coney_outcome outcome);

/* Processes, filters and converts. False: the delivery is not for a handler, and has that outcome. */
bool cny_prepare(coney_delivery *delivery, coney_outcome *outcome);

#endif
