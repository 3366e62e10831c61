/* SPDX-License-Identifier: MIT */
/* What the integration tests of a listener share: a queue with a dead-letter queue for each test, one container with
 * one listener, its events, and a handler that does what the message's text says and notes each of its calls. */
#ifndef CNY_TEST_LISTENING_H
#define CNY_TEST_LISTENING_H

#include "support/test_support.h"

enum { LISTENING_MAX_CALLS = 200 };

typedef struct listening_call {
    char text[64];
    int attempt;
    bool redelivered;
    int64_t at_ms; /* cny_now_ms() */
} listening_call;

typedef struct listening_fixture {
    char queue[256], dead[256];
    coney_container *container;
    atomic_int count; /* of calls */
    listening_call calls[LISTENING_MAX_CALLS];
} listening_fixture;

extern listening_fixture listening;

/* A test with queues of its own, during which Coney logs nothing unless CONEY_TEST_LOG is in the environment.
 * The teardown ends what the test has left running, deletes all queues, and fails the test if a check() has not held.
 * The group's fixtures are test_client_setup() and test_client_teardown(). */
#define listening_test(function) cmocka_unit_test_setup_teardown(function, listening_setup, listening_teardown)
int listening_setup(void **state);
int listening_teardown(void **state);

/* The test's queue is another one from now on, with the same dead-letter queue; its name is filled in. */
void listening_use_queue(const coney_queue *queue);

/* Whatever is in the dead-letter queue from now on goes back to the test's queue soon. */
void listening_send_dead_letters_back(void);

/* "QUEUE.suffix", which the teardown deletes; whoever needs it declares it. A view until the test is over. */
const char *listening_other_queue(const char *suffix);
const char *listening_make_other_queue(const char *suffix);

/* The teardown deletes a queue of that name, too. */
void listening_delete_later(const char *queue);

/* Makes and starts a container whose listener has the test's queue and the id "listener", and listening_obey() unless
 * there is another handler. */
void listening_start(const coney_listener *listener);
void listening_stop(void);

/* Stops it; neither the test's queue nor its dead-letter queue has a message then. */
void listening_expect_nothing_left(void);
coney_listener_statistics listening_statistics(void);

/* Sends a text to the test's queue; and with properties. */
void listening_send(const char *text);
void listening_send_with(const char *text, const coney_properties *properties);
void listening_send_to(const char *exchange, const char *routing_key, const char *text,
                       const coney_properties *properties);

/* Notes a call: its index. */
int listening_note(const coney_delivery *delivery);

/* How many calls were there with a text that begins so; what the text of the delivery is. */
int listening_calls_of(const char *text);
const char *listening_text(const coney_delivery *delivery, char text[64]);

/* Does what the text begins with: "ack", "reject", "requeue", "again" (requeue the first time), "fail" (always),
 * "fail 2" (the first two times). All failures are CONEY_RETRY and say "no stock for TEXT". */
coney_outcome listening_obey(coney_delivery *delivery, void *user);

/* Waits until the handler has been called so often; fails if these are not the attempt numbers, ended by a zero. */
void listening_wait_for_calls(int count);
void listening_expect_attempts(const int *attempts);

/* Until an event of the kind with these words in its text was told; how many of the kind were. */
void listening_wait_for_event(coney_container_event_kind kind, const char *words);
void listening_wait_for_event_about(coney_container_event_kind kind, const char *message_id, const char *words);
int listening_events(coney_container_event_kind kind);

#endif
