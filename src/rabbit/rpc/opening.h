/* SPDX-License-Identifier: MIT */
/* How a channel for replies is opened, and what it consists of. Private to the folder; not under lock unless said
 * otherwise. */
#ifndef CNY_RPC_OPENING_H
#define CNY_RPC_OPENING_H

#include "rabbit/rpc/parts.h"

/* Opens what is missing. A channel that was not open before gets its path, if that is to be found out. */
coney_status cny_reply_channel_open(cny_reply_channel *channel, int64_t deadline);

/* One attempt to consume again from a fixed queue. Waits for nothing if the deadline is 0. */
coney_status cny_reply_channel_subscribe(cny_reply_channel *channel, int64_t deadline);
void cny_reply_channel_drop_consumer(cny_reply_channel *channel);
void cny_reply_channel_free(cny_reply_channel *channel);

bool cny_is_alive(cny_channel *channel);                               /* takes NULL */
bool cny_reply_channel_has_consumer(const cny_reply_channel *channel); /* under lock, or by the thread that opens it */

/* Ends the confirmed calls of the channel, whose replies cannot come any more. Not under the events lock. */
void cny_reply_channel_end_orphans(const cny_reply_channel *channel);

#endif
