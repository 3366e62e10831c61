/* SPDX-License-Identifier: MIT */
/* Replies, and the transactions of a listener. */
#ifndef CNY_HANDLING_REPLY_H
#define CNY_HANDLING_REPLY_H

#include "rabbit/listener/handling/delivery.h"

/* Before the delivery is acknowledged: sends the reply that the handler has left, if there is one. If the reply cannot
 * be sent, the delivery fails for that, and the outcome is CONEY_RETRY. */
coney_status cny_send_reply_left(coney_delivery *delivery, coney_outcome *outcome);

/* On a transacted listener's channel; its worker waits. After a failure the channel is closed, which is logged. */
void cny_transaction_rollback(cny_source *source);
void cny_transaction_commit(cny_source *source);

#endif
