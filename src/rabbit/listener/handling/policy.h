/* SPDX-License-Identifier: MIT */
/* What becomes of a message. */
#ifndef CNY_HANDLING_POLICY_H
#define CNY_HANDLING_POLICY_H

#include "rabbit/listener/handling/delivery.h"

/* What becomes of the message by its handler's outcome; CNY_NONE: another attempt in place, after *delay_ms. With
 * may_repeat false there is none. Stateful retry says CNY_REQUEUE and sets *delay_ms, too, which is left alone else. */
cny_disposition cny_decide(coney_delivery *delivery, coney_outcome outcome, bool may_repeat, int *delay_ms);

#endif
