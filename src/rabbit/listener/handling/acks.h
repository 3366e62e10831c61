/* SPDX-License-Identifier: MIT */
/* Acknowledgements that a lane puts together, because one that says "up to" covers all before it. */
#ifndef CNY_HANDLING_ACKS_H
#define CNY_HANDLING_ACKS_H

#include "rabbit/listener/handling/lane.h"

/* The lane puts acknowledgements together. It does not while a message waits before it goes back, because an "up to"
 * would cover that message. */
bool cny_lane_holds_acks(const cny_lane *lane);

/* Adds the acknowledgement of a message to those not sent yet. True: it is time to send them. */
bool cny_lane_add_ack(cny_lane *lane, const coney_message *message);

/* Sends those not sent yet. CONEY_E_STALE, CONEY_E_NO_MEMORY. */
coney_status cny_lane_send_acks(cny_lane *lane);

/* The same, and what follows without memory: the channel is closed, or they would never be acknowledged. While the
 * channel is suspended they stay. The second function: only if they are due. */
void cny_lane_flush_acks(cny_lane *lane);
void cny_lane_flush_due_acks(cny_lane *lane);

#endif
