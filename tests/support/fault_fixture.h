/* SPDX-License-Identifier: MIT */
/* What the fault tests share: one scripted broker and one client, made on demand and ended by
 * fault_teardown(), and a record of how asynchronous sends completed.
 *
 * Everything lives in one static place, so that a test that fails half way leaves nothing behind
 * that a late callback could miss. */
#ifndef CNY_TEST_FAULT_FIXTURE_H
#define CNY_TEST_FAULT_FIXTURE_H

#include "support/scripted_broker.h"

#include <coney/coney.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* How late a call may be after its deadline. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define FAULT_SLACK_MS 400
#else
#define FAULT_SLACK_MS 100
#endif

enum { FAULT_MAX_SENDS = 1000 };

typedef struct fault_completion {
    int count;
    coney_status status;
    int broker_code;
    char text[256];
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

/* Polls container_check until it is not CONEY_OK and returns that. */
coney_status fault_wait_for_end_of_consuming(void);

/* Assertions that tell the names of statuses and the library's sentence. */
#define fault_expect_status(expected, call) fault_assert_status((expected), (call), #call, __FILE__, __LINE__)
#define fault_expect_text(part) fault_assert_text((part), __FILE__, __LINE__)
void fault_assert_status(coney_status expected, coney_status seen, const char *call, const char *file, int line);
void fault_assert_text(const char *part, const char *file, int line); /* in coney_last_error() */

/* That since then at least and at most so many milliseconds have passed. */
void fault_expect_elapsed(int64_t since_ms, int at_least_ms, int at_most_ms);

#endif
