/* SPDX-License-Identifier: MIT */
/* What unit and integration tests share: cmocka with its headers, checks of statuses that print
 * Coney's sentence, and waiting for things with a deadline. */
#ifndef CNY_TEST_SUPPORT_H
#define CNY_TEST_SUPPORT_H

#include "support/cmocka.h"

#include <coney/coney.h>

#include <stdatomic.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

/* The status and, in the sentence, the words that a reader needs to find the fault. */
#define assert_ok(call) test_expect_ok(call, #call, __FILE__, __LINE__)
#define assert_fails(call, status, words) test_expect_failure(call, status, words, #call, __FILE__, __LINE__)

void test_expect_ok(coney_status got, const char *call, const char *file, int line);
void test_expect_failure(coney_status got, coney_status expected, const char *words, const char *call, const char *file,
                         int line);

/* For handlers and callbacks, where cmocka's assertions would jump across threads: notes a failure,
 * which test_no_failed_checks(), a teardown, then reports. */
#define check(condition) test_check((condition), #condition, __FILE__, __LINE__)
#define check_text(got, expected) check((got) && strcmp((got), (expected)) == 0)

void test_check(bool held, const char *condition, const char *file, int line);
int test_no_failed_checks(void **state);

/* How long a test waits for what must happen: so long that it may fail then, however busy the machine. */
#define TEST_PATIENCE_MS 30000

/* Polls until the counter has that value; fails the test when patience ends. */
void test_wait_for(atomic_int *counter, int value);

/* The same for any condition, which is looked at again and again. */
#define test_wait_until(condition)                                                                                     \
    for (int waited_ms_ = 0; !(condition);)                                                                            \
    test_wait_a_little(&waited_ms_, #condition, __FILE__, __LINE__)
void test_wait_a_little(int *waited_ms, const char *condition, const char *file, int line);

/* Collects log lines, such as "warn: text", instead of printing them; test_log_has() looks for words in them,
 * test_log_count() tells how often they are there. */
void test_log_start(coney_log_level level);
void test_log_stop(void);
bool test_log_has(const char *words);
int test_log_count(const char *words);

/* Waits for the words, because a line is written when no lock is held: what the line tells can be seen earlier. Prints
 * the log and fails the test when patience ends. */
#define test_log_expect(words) test_log_expect_at(words, __FILE__, __LINE__)
void test_log_expect_at(const char *words, const char *file, int line);

/* ---- integration ---- */

/* The broker of this run, from CONEY_TEST_URI; fails the test if that is not set. */
const char *test_uri(void);

/* The port in it, and the same URI with 127.0.0.1 and another one. */
int test_uri_port(void);
void test_uri_at(int port, char *uri, size_t size);

/* A name of this process and test, such as "coney.test.4711.orders". A view until the tenth next. */
const char *test_name(const char *what);

/* Factory, admin and default template for a test group, made and freed by group setup functions. */
typedef struct test_client {
    coney_connection_factory *factory;
    coney_admin *admin;
    coney_template *sender;
} test_client;

extern test_client client;
int test_client_setup(void **state);
int test_client_teardown(void **state);

/* Runs a group of tests of containers twice: with a worker for each lane and with two for all. Their containers must
 * take test_workers for options.workers. Returns the number of failures, for main. */
extern int test_workers;
#define test_run_with_workers(name, tests, setup, teardown)                                                            \
    test_run_group_with_workers(name, tests, COUNT_OF(tests), setup, teardown)
int test_run_group_with_workers(const char *name, const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup,
                                CMFixtureFunction teardown);

/* A durable classic queue (RabbitMQ 4.3 refuses transient ones that are not exclusive), empty, under that name;
 * deleted with test_delete_queue(). */
void test_make_queue(const char *name);
void test_delete_queue(const char *name);

/* Waits until the queue holds that many ready messages. */
void test_wait_for_depth(const char *queue, uint32_t messages);

/* Until the broker counts so many consumers of it. */
void test_wait_for_consumers(const char *queue, uint32_t consumers);

/* Sends that many texts, "0" and so on, to the queue. */
void test_send_numbers(const char *queue, int count);

/* Messages for the caller to unref: a text, and that many bytes of a pattern. */
coney_message *test_text(const char *text);
coney_message *test_pattern(size_t size);
bool test_is_pattern(const coney_message *message);

#endif
