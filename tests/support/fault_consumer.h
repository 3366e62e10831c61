/* SPDX-License-Identifier: MIT */
/* For fault tests of consumers: a handler that does what the message's text says ("ack", "reject",
 * "requeue", "retry", "nonsense" or "hold", which acks once fault_let_go() is called, that many times
 * for that many; all others are acked), containers that use it, and what a script expects to come of it. */
#ifndef CNY_TEST_FAULT_CONSUMER_H
#define CNY_TEST_FAULT_CONSUMER_H

#include "support/fault_fixture.h"

/* Start a broker and a container on the queue "orders"; the first one insists on success. */
void fault_consume(cny_script *script, const coney_connection_factory_options *options, int concurrency);
coney_status fault_start_container(cny_script *script, int start_timeout_ms, int shutdown_timeout_ms);

/* The same with a listener of the test's own; without a handler it gets the obedient one, without a queue "orders". */
void fault_listen(cny_script *script, const coney_container_options *options, coney_listener listener);
void fault_use_listener(const coney_container_options *options, coney_listener listener); /* with a broker that runs */

void fault_reset_handler(void); /* all of those do it; for tests that start otherwise */
int fault_handler_calls(void);
void fault_wait_for_calls(int count);
int fault_handled(const char *text); /* how many such messages the handler was called for */
void fault_let_go(void);
coney_outcome fault_obey(coney_delivery *delivery, void *user); /* the handler, for fault_use_container() */

/* The next thing the client says is this settlement, of one delivery but for ack_up_to. */
void fault_expect_ack(cny_peer *peer, uint64_t tag);
void fault_expect_ack_up_to(cny_peer *peer, uint64_t tag);
void fault_expect_reject(cny_peer *peer, uint64_t tag, bool requeue);

#endif
