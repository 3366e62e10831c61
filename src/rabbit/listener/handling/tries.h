/* SPDX-License-Identifier: MIT */
/* Attempts in place go on when the message comes again after a loss or a stop: they are kept then, by id, and resumed
 * when a worker takes the message. Else they would never end where a back-off is longer than the broker's
 * consumer_timeout. They are forgotten when it is known what becomes of the message. */
#ifndef CNY_HANDLING_TRIES_H
#define CNY_HANDLING_TRIES_H

#include "rabbit/listener/handling/delivery.h"

void cny_tries_keep(const coney_delivery *delivery, int tries);
void cny_tries_resume(coney_delivery *delivery);
void cny_tries_forget(const coney_delivery *delivery);

/* Before the handler is called. False: all attempts are made, because the channel was lost during the last one. The
 * delivery has failed for that. */
bool cny_tries_begin(coney_delivery *delivery);

#endif
