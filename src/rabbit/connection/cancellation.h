/* SPDX-License-Identifier: MIT */
/* The end of a consumer by basic.cancel, ours or the broker's. Private to this folder; all under the lock of the
 * connection, and on the I/O thread unless said otherwise. */
#ifndef CNY_CONNECTION_CANCELLATION_H
#define CNY_CONNECTION_CANCELLATION_H

#include "rabbit/connection/channel.h"

/* Any thread: asks the broker for no more deliveries. */
void cny_cancellation_ask(cny_channel *channel);

/* The broker's answer to that. CONEY_E_PROTOCOL: it was not asked. */
coney_status cny_cancellation_answered(cny_channel *channel);

/* A call was answered: what waits for that is said now. */
void cny_cancellation_go_on(cny_channel *channel);

/* The broker cancels the consumer. */
void cny_cancellation_begin(cny_channel *channel);

/* Of a channel that asks whether the queue is there: the answer, which is taken then; what is due. */
bool cny_cancellation_take_answer(cny_channel *asking, const cny_incoming *incoming);
void cny_cancellation_run_due(cny_channel *asking, int64_t now);

#endif
