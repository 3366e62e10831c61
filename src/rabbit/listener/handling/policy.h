/* SPDX-License-Identifier: MIT */
/* From the outcome of a handler to the disposition of its message. */
#ifndef CNY_HANDLING_POLICY_H
#define CNY_HANDLING_POLICY_H

#include "rabbit/listener/handling/delivery.h"

/* What becomes of the message by the outcome of its handler. CNY_NONE: the handler gets the message again, in place,
 * after *delay_ms; never if may_repeat is false. With CNY_REQUEUE stateful retry sets *delay_ms, too. In all other
 * cases *delay_ms stays as it is. */
cny_disposition cny_decide(coney_delivery *delivery, coney_outcome outcome, bool may_repeat, int *delay_ms);

#endif
