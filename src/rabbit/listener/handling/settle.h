/* SPDX-License-Identifier: MIT */
/* The life of a delivery from its message to its settlement. */
#ifndef CNY_HANDLING_SETTLE_H
#define CNY_HANDLING_SETTLE_H

#include "rabbit/listener/handling/delivery.h"
#include "rabbit/listener/handling/lane.h"

/* Both borrow the message; NULL without memory. The lane keeps one delivery that is recycled, instead of unref, for the
 * next message. */
coney_delivery *cny_delivery_new(cny_lane *lane, coney_message *message, int earlier_attempts);
coney_delivery *cny_delivery_new_fragment(cny_lane *lane, cny_arrival *arrival, coney_message *fragment);
void cny_delivery_recycle(cny_lane *lane, coney_delivery *delivery);

/* The disposition of the delivery is known. The broker is told as soon as the dispositions of all fragments of its
 * batch are known. lane is NULL on every thread but the worker of the lane. CONEY_E_STALE, CONEY_E_NO_MEMORY. */
coney_status cny_delivery_conclude(coney_delivery *delivery, cny_lane *lane);

/* With CONEY_ACKNOWLEDGE_MANUAL, when the handler has returned: from now on the program may not settle the delivery.
 * False: the program has settled it already. */
bool cny_delivery_take_back(coney_delivery *delivery);
void cny_log_forgotten(const coney_delivery *delivery); /* the program has let go of it without settling it */

#endif
