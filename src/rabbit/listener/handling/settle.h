/* SPDX-License-Identifier: MIT */
/* The life of a delivery, and how it is settled. */
#ifndef CNY_HANDLING_SETTLE_H
#define CNY_HANDLING_SETTLE_H

#include "rabbit/listener/handling/delivery.h"
#include "rabbit/listener/handling/lane.h"

coney_delivery *cny_delivery_new(cny_lane *lane, coney_message *origin, int earlier_attempts); /* borrows the message */
void cny_delivery_recycle(cny_lane *lane, coney_delivery *delivery);                           /* instead of unref */

/* Its verdict is known: the broker is told, when that is so of all parts. lane is NULL on another thread than its
 * worker's. CONEY_E_STALE, CONEY_E_NO_MEMORY. */
coney_status cny_delivery_conclude(coney_delivery *delivery, cny_lane *lane);

/* With CONEY_ACKNOWLEDGE_MANUAL: nobody else may settle it from now on. False if somebody has. */
bool cny_delivery_claim(coney_delivery *delivery);
void cny_log_forgotten(const coney_delivery *delivery); /* let go of without being settled */

#endif
