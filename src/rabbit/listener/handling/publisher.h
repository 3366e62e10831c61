/* SPDX-License-Identifier: MIT */
/* What a container itself publishes: messages that failed, and replies. */
#ifndef CNY_HANDLING_PUBLISHER_H
#define CNY_HANDLING_PUBLISHER_H

#include "rabbit/listener/handling/handling.h"

void cny_publisher_init(cny_publisher *publisher);
void cny_publisher_free(cny_publisher *publisher);

/* A message on its way. Zeroed, but for the message and its address, before it is sent. */
typedef struct cny_publishing {
    cny_publish publish;
    int64_t deadline;
    cny_channel *channel; /* NULL: it was sent on the isolated connection, and the outcome is known */
    cny_waiter *waiter;   /* the caller drops it in the end, also after a failure; may be NULL */
} cny_publishing;

/* Publishes, and does not wait for the confirm. at_once: the caller waits next, so this thread writes the bytes itself
 * if nobody else does. If the status is CONEY_OK, cny_publish_finish() must follow. A message that must go over the
 * isolated connection is waited for. If the message has an on_outcome, that must tell the waiter. */
coney_status cny_publish_begin(const cny_handling_context *context, cny_publisher *publisher, cny_publishing *one,
                               bool at_once);
bool cny_publish_is_done(const cny_publishing *one); /* finishing would not wait; asks the clock */

/* Waits for the confirm. The statuses of coney_template_send(). */
coney_status cny_publish_finish(const cny_handling_context *context, cny_publishing *one);

/* Publishes and waits for the confirm. The statuses of coney_template_send(). */
coney_status cny_publish_confirmed(const cny_handling_context *context, cny_publisher *publisher, const char *exchange,
                                   const char *routing_key, coney_message *message, bool mandatory);

#endif
