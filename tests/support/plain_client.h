/* SPDX-License-Identifier: MIT */
/* A client that is not Coney: plain rabbitmq-c, to see what is on the wire. */
#ifndef CNY_TEST_PLAIN_CLIENT_H
#define CNY_TEST_PLAIN_CLIENT_H

#include "support/scripted_broker.h"

/* Takes the next message from the queue (AMQP: basic.get, acknowledged); fails the test if there is
 * none. To be freed with amqp_destroy_message(). */
amqp_message_t plain_get(const char *queue);

/* Takes the next message from the queue and gives it back by basic.nack. */
void plain_return(const char *queue);

/* The header of that name; NULL if there is none. A view. */
const amqp_field_value_t *plain_header(const amqp_message_t *message, const char *name);

/* Publishes what Coney itself would not, unconfirmed. */
void plain_publish(const char *exchange, const char *routing_key, const amqp_basic_properties_t *properties,
                   const char *text);

/* Asks a question whose answer comes by the pseudo queue amq.rabbitmq.reply-to; waits for the answer, to be freed with
 * amqp_destroy_message(). */
void plain_ask(const char *queue, const char *text, const char *correlation_id);
amqp_message_t plain_answer(void);

/* Fail the test unless the header is that text, or a number, which is returned; or those bytes are that text. */
void plain_expect_header(const amqp_message_t *message, const char *name, const char *text);
int64_t plain_number_header(const amqp_message_t *message, const char *name);
void plain_expect_text(amqp_bytes_t bytes, const char *text);

/* Waits for the only message of the queue and takes it; with a correlation id, unless that is NULL. */
void plain_expect_reply(const char *queue, const char *text, const char *correlation_id);

/* The broker of this run is RabbitMQ of that version, or newer. */
bool plain_broker_is_from(int major, int minor);

/* Ends its connection, which the first call has made. */
void plain_close(void);

#endif
