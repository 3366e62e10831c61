/* SPDX-License-Identifier: MIT */
/* One consumer, for the files that subscribe it, supervise it and end it. All under the container's lock, by the
 * supervisor. Private to the folder. */
#ifndef CNY_LISTENER_CONSUMING_CONSUMER_H
#define CNY_LISTENER_CONSUMING_CONSUMER_H

#include "rabbit/listener/consuming/consuming.h"

/* ---- what is told of it ---- */

void cny_consumer_tell(const cny_consumer *consumer, coney_container_event_kind kind, const cny_error *error);
void cny_consumer_tell_failed(const cny_consumer *consumer, bool fatal);

/* This thread's last error is why it does not consume. True if that is news: said once for each reason, and only if the
 * connection, which has a log and events of its own, does not come back by itself. */
bool cny_consumer_set_trouble(cny_consumer *consumer, const char *what, bool given_up);

/* ---- subscribing ---- */

void cny_consumer_wait_until(cny_consumer *consumer, int64_t due);
bool cny_consumer_is_due(const cny_consumer *consumer); /* to try to consume */
void cny_consumer_begin_to_subscribe(cny_consumer *consumer);
void cny_consumer_look_at_subscription(cny_consumer *consumer); /* whether the broker has answered */
void cny_consumer_on_consuming(cny_consumer *consumer);

/* What came before the end is worked off, unless its channel is gone. */
void cny_consumer_begin_leaving(cny_consumer *consumer);

#endif
