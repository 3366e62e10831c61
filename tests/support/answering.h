/* SPDX-License-Identifier: MIT */
/* What the integration tests of requests share: a server that does what the text of a request says, on the queue of
 * listening.h, and templates that ask it. */
#ifndef CNY_TEST_ANSWERING_H
#define CNY_TEST_ANSWERING_H

#include "support/listening.h"

/* A test with a server. Its requests:
 *   "echo TEXT"   is answered by TEXT
 *   "error CODE"  by an error reply
 *   "nothing"     not at all
 *   "hold"        not at all, until answering_answer_held() */
#define answering_test(function) cmocka_unit_test_setup_teardown(function, answering_setup, answering_teardown)
int answering_setup(void **state);
int answering_teardown(void **state);

/* The template that asks, freed by the teardown; with these options, of which NULL means the defaults. */
extern coney_template *asker;
void answering_use(const coney_rpc_options *options);

/* How many requests the server has seen, and the last one: a reference that lives until the next one. */
extern atomic_int answering_seen;
coney_message *answering_last(void);

/* Waits for so many held requests, then answers them with this text, the last one first. */
void answering_answer_held(int count, const char *text);

/* Asks the server, and gives the text of the reply: a view until the next call. NULL after a failure. */
const char *answering_ask(const char *text, int timeout_ms);
coney_status answering_status(const char *text, int timeout_ms);

/* Sends a request without waiting for its end. */
coney_request *answering_begin(const char *text, int timeout_ms);
coney_rpc_statistics answering_statistics(void);

#endif
