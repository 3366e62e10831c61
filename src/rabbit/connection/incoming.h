/* SPDX-License-Identifier: MIT */
/* What the broker says to channels. I/O thread, under the lock. Private to this folder. */
#ifndef CNY_CONNECTION_INCOMING_H
#define CNY_CONNECTION_INCOMING_H

#include "rabbit/connection/channel.h"

/* The broker has closed the channel of that number. */
coney_status cny_connection_answer_close(cny_connection *connection, uint16_t number);

/* A method for this channel. Takes the message in it. CONEY_E_PROTOCOL: the method makes no sense, and the connection
 * must end. */
coney_status cny_channel_incoming(cny_channel *channel, cny_incoming *incoming);

#endif
