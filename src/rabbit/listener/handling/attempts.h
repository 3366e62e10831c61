/* SPDX-License-Identifier: MIT */
/* Which attempt to handle a message this is. */
#ifndef CNY_HANDLING_ATTEMPTS_H
#define CNY_HANDLING_ATTEMPTS_H

#include "rabbit/listener/handling/handling.h"

int cny_earlier_attempts(const cny_source *source, const coney_message *message);

/* A copy that this listener made, whose headers tell of the original: back from the ladder, or from quarantine. */
bool cny_is_own_copy(const cny_source *source, const coney_message *message);

/* How often the message has come back, by the broker's count, without the returns that were certainly before the
 * message came to this queue (RabbitMQ 4.3: x-acquired-count begins anew with the first return to a queue), and without
 * those that no handler had. -1: the broker does not count. */
int64_t cny_returns_here(cny_handling *handling, const coney_message *message);

/* RabbitMQ 4.3: the message came by dead-lettering and has not been back to this queue since, as far as its headers
 * tell. Two messages look the same after any number of returns: one that was only rejected by basic.nack, which is not
 * counted, and one whose rejections a publisher has made up. */
bool cny_has_just_come(const coney_message *message);

int64_t cny_redeliveries(cny_handling *handling, const coney_message *message); /* returns, as far as anybody knows */

#endif
