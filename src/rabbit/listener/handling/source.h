/* SPDX-License-Identifier: MIT */
/* What the lanes of a consumer share, for the files of this folder. */
#ifndef CNY_HANDLING_SOURCE_H
#define CNY_HANDLING_SOURCE_H

#include "rabbit/listener/handling/lane.h"

/* Has the supervisor look. Under any lock. */
static inline void cny_source_wake(const cny_source *source)
{
    const cny_handling_context *context = source->handling->context;
    context->wake(context->self);
}

/* Any thread, before the supervisor acts: no handler gets the messages after one that has stopped the container. */
void cny_source_give_up(cny_source *source, cny_channel *channel);

/* Counts the deferred deliveries of the source's channel: one more, and one fewer. The first function gives the number
 * of the channel, for the second. */
uint32_t cny_source_defer(cny_source *source);
void cny_source_undefer(cny_source *source, uint32_t channel_number);

/* Moves the messages that have come into an empty buffer, and counts them as in lanes. False: none has come. */
bool cny_source_take(cny_source *source, cny_buffer *messages);

coney_message *cny_lane_next_message(cny_lane *lane); /* a reference; NULL if nothing has come */
bool cny_lane_has_more(cny_lane *lane);               /* a message or a fragment after the first item */

/* The message goes back to its queue, untried; the second function logs that, and loses the message if nothing is
 * acknowledged. */
void cny_return_message(cny_channel *channel, const coney_message *message);
void cny_return_for_want_of_memory(cny_source *source, const coney_message *message);

#endif
