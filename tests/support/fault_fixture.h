/* SPDX-License-Identifier: MIT */
/* What the fault tests share: one scripted broker and one client, made on demand and ended by
 * fault_teardown(), and a record of how asynchronous sends completed.
 *
 * Everything lives in one static place, so that a test that fails half way leaves nothing behind
 * that a late callback could miss. */
#ifndef CNY_TEST_FAULT_FIXTURE_H
#define CNY_TEST_FAULT_FIXTURE_H

#include "support/cmocka.h"
#include "support/elapsed.h"
#include "support/scripted_broker.h"

#include <coney/coney.h>

#include <string.h>

enum { FAULT_MAX_SENDS = 1000, FAULT_MAX_EVENTS = 100 };

typedef struct fault_completion {
    int count;
    coney_status status;
    int broker_code;
    char text[256];
    char reply_text[64], exchange[64], routing_key[64]; /* "-" for NULL */
} fault_completion;

/* Views of what fault_start() and the three below made, for tests to use. */
typedef struct fault_fixture {
    cny_broker *broker;
    coney_connection_factory *factory;
    coney_template *sender;
    coney_admin *admin;
    coney_container *container;
} fault_fixture;

extern fault_fixture fault;

/* A unit test with the teardown that every fault test needs. It frees what is left in `fault`,
 * and fails if the broker saw something wrong or a send completed twice. */
#define fault_test(function) cmocka_unit_test_teardown(function, fault_teardown)
int fault_teardown(void **state);

/* Starts a broker and a factory for it; factory_options may be NULL. The close_timeout_ms is 500 if
 * not said otherwise, because a free after many of these tests waits for it. Coney logs nothing,
 * for most of them would make it complain, unless CONEY_TEST_LOG is in the environment. */
void fault_start(cny_script *script, const coney_connection_factory_options *factory_options);
void fault_start_with(const cny_broker_options *options, const coney_connection_factory_options *factory_options);

/* Make fault.sender, fault.admin and fault.container. Options may be NULL. The container listens to
 * the queue "orders" with the handler and is started. */
void fault_use_template(const coney_template_options *options);
void fault_use_admin(int timeout_ms);
void fault_use_container(const coney_container_options *options, coney_message_handler *handler, int concurrency);

/* A message of that text, to be unreferenced by the caller. */
coney_message *fault_message(const char *text);

/* Whether some send waits for room in the outbound buffer of fault.sender's connection. */
bool fault_send_waits_for_room(void);

/* Send through fault.sender; send_async a text that is the index, to an exchange that may be NULL;
 * send_message_async takes the message. */
coney_status fault_send(int timeout_ms);
coney_status fault_send_async(int index, const char *exchange);
coney_status fault_send_message_async(int index, const char *exchange, coney_message *message);

/* Waits for all sends, then checks that the one of this index completed once and so.
 * CONEY_OK stands for confirmed. */
void fault_wait_for_confirms(void);
fault_completion fault_completed(int index);
void fault_expect_completion(int index, coney_status status);

/* coney_admin_queue_info() of "orders", the usual call that waits for an answer. */
coney_status fault_ask(void);

/* Waits until a channel of the consuming connection is gone, and returns why; the sentence is this
 * thread's last one. (The container soon consumes again.) */
coney_status fault_wait_for_end_of_consuming(void);

/* What the factory's listeners were told so far, those of one connection, oldest first: copies, the number
 * returned. They are recorded unless the factory's options have listeners. A connection event off
 * the events thread, which is the thread of the first one, fails the test. */
int fault_connection_events(coney_connection_role role, coney_connection_info events[FAULT_MAX_EVENTS]);
int fault_channel_events(coney_connection_role role, coney_channel_info events[FAULT_MAX_EVENTS]);

/* How the connection is doing; once it has been opened so often and is open; once it has failed so
 * that it is in that state, and once its text has that part. They give up after CNY_PATIENCE_MS. */
coney_connection_info fault_info(coney_connection_role role);
coney_connection_info fault_wait_for_opening(coney_connection_role role, uint64_t times);
coney_connection_info fault_wait_for_state(coney_connection_role role, coney_connection_state state);
coney_connection_info fault_wait_for_info(coney_connection_role role, const char *part);

/* Until the condition holds, or the test fails after CNY_PATIENCE_MS. */
#define fault_wait_until(condition)                                                                                    \
    for (int64_t until_ = cny_now_ms() + CNY_PATIENCE_MS; !(condition);)                                               \
    fault_wait_a_little(until_, #condition, __FILE__, __LINE__)
void fault_wait_a_little(int64_t until_ms, const char *condition, const char *file, int line);

/* Has another thread do it, one at a time; the end is its status, with its sentence as this
 * thread's last error. is_over() looks. A test that ends before the call does closes the factory. */
void fault_in_background(coney_status (*call)(void));
bool fault_background_is_over(void);
coney_status fault_background_end(void);

/* What fault_start() gives the factory where its options say nothing: 20 ms instead of a second. */
#define FAULT_QUICK_RECOVERY                                                                                           \
    {                                                                                                                  \
        .first_delay_ms = 20, .max_delay_ms = 200                                                                      \
    }

/* Assertions that tell the names of statuses and the library's sentence. */
#define fault_expect_status(expected, call) fault_assert_status((expected), (call), #call, __FILE__, __LINE__)
#define fault_expect_text(part) fault_assert_text((part), __FILE__, __LINE__)
void fault_assert_status(coney_status expected, coney_status seen, const char *call, const char *file, int line);
void fault_assert_text(const char *part, const char *file, int line); /* in coney_last_error() */

#endif
