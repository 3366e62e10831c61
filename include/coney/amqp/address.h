/* SPDX-License-Identifier: MIT */
/* Addresses as texts: "exchange/routing key", as in the property reply_to. (Spring: Address, getReplyToAddress.) */
#ifndef CONEY_AMQP_ADDRESS_H
#define CONEY_AMQP_ADDRESS_H

#include <coney/amqp/status.h>

CONEY_BEGIN

/* The default exchange is "", and there the routing key is the name of a queue. */
typedef struct coney_address {
    char exchange[256];
    char routing_key[256];
} coney_address;

/* Reads an address, by Spring's rules:
 *
 * - An empty text, or white space: exchange and routing key are "".
 * - A text that begins with amq.rabbitmq.reply-to (direct reply-to): the exchange is "", the routing key the text.
 * - A text without a slash, or with a slash as its first character only: the exchange is "", the routing key the text
 *   without that slash.
 * - Every other text: "scheme://" is left out (of several, all up to the last one). The exchange is the text before the
 *   first slash that is left, the routing key the text after that slash.
 *
 * So "orders" and "/orders" are a queue, "shop/order.paid" an exchange and a routing key, "shop/" an exchange with an
 * empty routing key, and "amqp://shop" is "shop/". The text is borrowed. Any thread.
 * - CONEY_OK.
 * - CONEY_E_INVALID: an argument is NULL, or exchange or routing key have over 255 bytes, which AMQP does not allow;
 *   *address is "" and "". */
CONEY_API coney_status coney_address_parse(coney_address *address, const char *text);

/* Writes "exchange/routing key" into the buffer, as Spring prints an address, and coney_address_parse() reads it again
 * unless a name has a slash or looks like a scheme. Works as snprintf(): returns the length of the whole text without
 * its NUL; a text that does not fit size is cut off, with a NUL after it. buffer may be NULL if size is 0. NULL for the
 * address is "". Any thread. */
CONEY_API size_t coney_address_format(const coney_address *address, char *buffer, size_t size);

CONEY_END

#endif
