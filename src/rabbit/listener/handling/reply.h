/* SPDX-License-Identifier: MIT */
/* Replies, and the transactions of a listener. */
#ifndef CNY_HANDLING_REPLY_H
#define CNY_HANDLING_REPLY_H

#include "rabbit/listener/handling/delivery.h"

/* Before the delivery is acknowledged: sends the reply that the handler has left, if there is one. If the reply cannot
 * be sent, the delivery fails for that, and the outcome is CONEY_RETRY. */
coney_status cny_send_reply_left(coney_delivery *delivery, coney_outcome *outcome);

/* The same for a lane that has other things to do: the reply of a handler that has succeeded is sent, and not waited
 * for. at_once: the lane has nothing else at hand. False: it was not sent, or its outcome is known; the outcome of the
 * delivery may have changed. True: cny_reply_finish(), which waits, gives the outcome. Not in a transaction. */
bool cny_reply_begin(coney_delivery *delivery, coney_outcome *outcome, bool at_once);
bool cny_reply_is_done(const coney_delivery *delivery); /* finishing would not wait; asks the clock */

/* Has the lane scheduled when the broker has answered. False: it has. */
bool cny_reply_wake_lane(const coney_delivery *delivery, cny_lane *lane);
int64_t cny_reply_deadline(const coney_delivery *delivery); /* when finishing does not wait any more */
coney_outcome cny_reply_finish(coney_delivery *delivery);

/* For the option return_errors: tells the sender of a request why handling has failed for good. If the reply cannot be
 * sent, that is logged. */
void cny_reply_with_failure(coney_delivery *delivery);

/* On a transacted listener's channel; its worker waits. After a failure the channel is closed, which is logged. */
void cny_transaction_rollback(cny_source *source);
void cny_transaction_commit(cny_source *source);

#endif
