/* SPDX-License-Identifier: MIT */
/* How long a message waits for another attempt, and before it goes back. */
#ifndef CNY_HANDLING_BACKOFF_H
#define CNY_HANDLING_BACKOFF_H

#include "rabbit/listener/handling/delivery.h"

/* Before another attempt in place, after that number of failures; shortened at random. */
int cny_retry_delay(const coney_listener_retry *retry, int64_t failures);

/* Before the message goes back to its queue; 0 if it has not come again. It is longer each time, until
 * cny_backoff_forget(). */
int cny_requeue_delay(const coney_delivery *delivery);
void cny_backoff_forget(cny_handling *handling, const coney_message *message);

#endif
