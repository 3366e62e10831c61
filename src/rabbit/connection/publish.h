/* SPDX-License-Identifier: MIT */
/* What publish.c, resend.c and sent.c share. Private to this folder. */
#ifndef CNY_CONNECTION_PUBLISH_H
#define CNY_CONNECTION_PUBLISH_H

#include "rabbit/connection/channel.h"

/* Begins to keep confirms for the channel; the broker is not told. Not under lock. CONEY_E_NO_MEMORY. */
coney_status cny_channel_start_confirms(cny_channel *channel, const cny_confirm_options *options);

/* Encodes method and content header, and calls `send` with them under the lock. */
typedef coney_status cny_locked_send(cny_channel *channel, const cny_buffer *head, const cny_publish *publish,
                                     int64_t deadline);
coney_status cny_publish_with_head(cny_channel *channel, const cny_publish *publish, cny_locked_send *send,
                                   int64_t deadline);

/* The first tells how many bytes the message takes; the second commits it together with its sequence number. */
size_t cny_publish_size(const cny_channel *channel, const cny_buffer *head, const coney_message *message);
coney_status cny_publish_append(cny_channel *channel, const cny_buffer *head, const cny_publish *publish);

#endif
