/* SPDX-License-Identifier: MIT */
/* A client that is not Coney: plain rabbitmq-c, to see what is on the wire. */
#ifndef CNY_TEST_PLAIN_CLIENT_H
#define CNY_TEST_PLAIN_CLIENT_H

#include "support/scripted_broker.h"

/* Takes the next message from the queue (AMQP: basic.get, acknowledged); fails the test if there is
 * none. To be freed with amqp_destroy_message(). */
amqp_message_t plain_get(const char *queue);

/* The header of that name; NULL if there is none. A view. */
const amqp_field_value_t *plain_header(const amqp_message_t *message, const char *name);

/* Ends its connection, which the first plain_get() has made. */
void plain_close(void);

#endif
