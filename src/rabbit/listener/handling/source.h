/* SPDX-License-Identifier: MIT */
/* What the lanes of a consumer share. */
#ifndef CNY_HANDLING_SOURCE_H
#define CNY_HANDLING_SOURCE_H

#include "rabbit/listener/handling/lane.h"

/* Has the supervisor look. Under any lock. */
static inline void cny_source_wake(const cny_source *source)
{
    const cny_handling_context *context = source->handling->context;
    context->wake(context->self);
}

/* Any thread, ahead of the supervisor: what lies behind a message that stopped the container gets to no handler. */
void cny_source_give_up(cny_source *source, cny_channel *channel);

/* Counts deferred deliveries of the channel there is: one more, which gives what one fewer needs. */
uint32_t cny_source_defer(cny_source *source);
void cny_source_undefer(cny_source *source, uint32_t channel_number);

/* What has come since it was last asked, into an empty buffer; false if there is nothing. They are in lanes now. */
bool cny_source_take(cny_source *source, cny_buffer *messages);

coney_message *cny_lane_next_message(cny_lane *lane); /* a reference; NULL if nothing has come */

/* To its queue, untried. */
void cny_return_message(cny_channel *channel, const coney_message *message);
void cny_return_for_want_of_memory(cny_source *source, const coney_message *message); /* if that is possible */

#endif
