/* SPDX-License-Identifier: MIT */
/* What a container itself publishes: messages that failed, and replies. */
#ifndef CNY_HANDLING_PUBLISHER_H
#define CNY_HANDLING_PUBLISHER_H

#include "rabbit/listener/handling/handling.h"

void cny_publisher_init(cny_publisher *publisher);
void cny_publisher_free(cny_publisher *publisher);

/* Publishes and waits for the confirm. The statuses of coney_template_send(). */
coney_status cny_publish_confirmed(const cny_handling_context *context, cny_publisher *publisher, const char *exchange,
                                   const char *routing_key, coney_message *message, bool mandatory);

#endif
