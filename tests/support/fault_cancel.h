/* SPDX-License-Identifier: MIT */
/* For fault tests of basic.cancel: what scripts say and hear when the queue of the cancelled consumer, "orders", is
 * there. */
#ifndef CNY_TEST_FAULT_CANCEL_H
#define CNY_TEST_FAULT_CANCEL_H

#include "support/fault_consumer.h"

/* The first message, "hold", holds its handler, the second is "prefetched"; when the test says go, the consumer is
 * cancelled. Its channel. */
amqp_channel_t fault_deliver_then_time_out(cny_peer *peer);

/* The client cancels, too, and asks whether the queue is there, which is not answered yet. */
cny_peer_method *fault_expect_question(cny_peer *peer, amqp_channel_t channel);
void fault_find_queue(cny_peer *peer, amqp_channel_t asking, uint32_t consumers); /* answers that it is */

void fault_expect_everything_back(cny_peer *peer, amqp_channel_t channel); /* by a basic.nack, and it is closed */
void fault_serve_the_next(cny_peer *peer); /* consumer, which gets and acknowledges "next" */

/* The test's side: until the container's check says these words; what the listener of "orders" has counted. */
#define FAULT_IN_QUESTION "is being asked"
#define FAULT_EXISTING "the consumer of a queue that is there"
void fault_wait_for_reason(const char *words);
coney_listener_statistics fault_statistics(void);

#endif
