/* SPDX-License-Identifier: MIT */
/* See test_support.h. */
#include "support/test_support.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define LOG_BYTES 65536

void test_expect_ok(coney_status got, const char *call, const char *file, int line)
{
    if (got == CONEY_OK)
        return;
    print_error("%s: %s: %s\n", call, coney_status_name(got), coney_last_error());
    _fail(file, line);
}

void test_expect_failure(coney_status got, coney_status expected, const char *words, const char *call, const char *file,
                         int line)
{
    if (got == expected && strstr(coney_last_error(), words) && coney_last_error_details()->status == got)
        return;
    print_error("%s: %s (%s), not %s with '%s'\n", call, coney_status_name(got), coney_last_error(),
                coney_status_name(expected), words);
    _fail(file, line);
}

static atomic_int failed_checks;

void test_check(bool held, const char *condition, const char *file, int line)
{
    if (held)
        return;
    print_error("%s:%d: does not hold: %s\n", file, line, condition);
    atomic_fetch_add(&failed_checks, 1);
}

int test_no_failed_checks(void **state)
{
    (void)state;
    return atomic_exchange(&failed_checks, 0) == 0 ? 0 : -1;
}

static bool poll_once(int *waited_ms)
{
    const struct timespec tick = {.tv_nsec = 2000000};
    nanosleep(&tick, NULL);
    *waited_ms += 2;
    return *waited_ms < TEST_PATIENCE_MS;
}

void test_wait_for(atomic_int *counter, int value)
{
    int waited_ms = 0;
    while (atomic_load(counter) != value) {
        if (!poll_once(&waited_ms))
            fail_msg("waited for %d, got %d", value, atomic_load(counter));
    }
}

void test_wait_a_little(int *waited_ms, const char *condition, const char *file, int line)
{
    if (poll_once(waited_ms))
        return;
    print_error("waited in vain for: %s\n", condition);
    _fail(file, line);
}

/* ---- log ---- */

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[LOG_BYTES];
static size_t log_size;

static void collect(coney_log_level level, const char *text, void *user)
{
    (void)user;
    pthread_mutex_lock(&log_lock);
    int added = snprintf(log_text + log_size, LOG_BYTES - log_size, "%s: %s\n", coney_log_level_name(level), text);
    if (added > 0 && log_size + (size_t)added < LOG_BYTES)
        log_size += (size_t)added;
    pthread_mutex_unlock(&log_lock);
}

void test_log_start(coney_log_level level)
{
    pthread_mutex_lock(&log_lock);
    log_size = 0;
    log_text[0] = '\0';
    pthread_mutex_unlock(&log_lock);
    coney_log_set_sink(collect, NULL);
    coney_log_set_level(level);
}

void test_log_stop(void)
{
    coney_log_set_sink(NULL, NULL);
    coney_log_set_level(CONEY_LOG_WARN);
}

int test_log_count(const char *words)
{
    int count = 0;
    pthread_mutex_lock(&log_lock);
    for (const char *at = log_text; (at = strstr(at, words)); at++)
        count++;
    pthread_mutex_unlock(&log_lock);
    return count;
}

bool test_log_has(const char *words)
{
    return test_log_count(words) > 0;
}

void test_log_expect_at(const char *words, const char *file, int line)
{
    int waited_ms = 0;
    while (!test_log_has(words) && poll_once(&waited_ms))
        continue;
    if (test_log_has(words))
        return;
    print_error("'%s' is not in the log:\n%s", words, log_text);
    _fail(file, line);
}

int test_leave_out_all(size_t tests, const char *why)
{
    for (size_t i = 0; i < tests; i++)
        print_message(TEST_LEFT_OUT "%s\n", why);
    return 77;
}

/* ---- integration ---- */

test_client client;

const char *test_uri(void)
{
    const char *uri = getenv("CONEY_TEST_URI");
    if (!uri)
        fail_msg("CONEY_TEST_URI is not set; run the tests with ./dev test integration");
    return uri;
}

static const char *host_in_uri(void)
{
    const char *credentials = strstr(test_uri(), "//") + 2, *at = strchr(credentials, '@');
    return at ? at + 1 : credentials;
}

int test_uri_port(void)
{
    const char *host = host_in_uri(), *path = strchr(host, '/'), *colon = strchr(host, ':');
    return colon && (!path || colon < path) ? (int)strtol(colon + 1, NULL, 10) : 5672;
}

void test_uri_at(int port, char *uri, size_t size)
{
    const char *whole = test_uri(), *host = host_in_uri(), *path = strchr(host, '/');
    snprintf(uri, size, "%.*s127.0.0.1:%d%s", (int)(host - whole), whole, port, path ? path : "");
}

const char *test_name(const char *what)
{
    static char names[10][256];
    static int next;
    char *name = names[next++ % 10];
    snprintf(name, sizeof names[0], "coney.test.%ld.%s", (long)getpid(), what);
    return name;
}

int test_client_setup(void **state)
{
    (void)state;
    assert_ok(coney_connection_factory_new(&client.factory, test_uri(), NULL));
    assert_ok(coney_admin_new(&client.admin, client.factory, &(coney_admin_options){.timeout_ms = TEST_PATIENCE_MS}));
    assert_ok(
        coney_template_new(&client.sender, client.factory, &(coney_template_options){.timeout_ms = TEST_PATIENCE_MS}));
    return 0;
}

int test_client_teardown(void **state)
{
    (void)state;
    coney_template_free(client.sender);
    coney_admin_free(client.admin);
    coney_connection_factory_free(client.factory);
    client = (test_client){0};
    return 0;
}

int test_workers;

int test_run_group_with_workers(const char *name, const struct CMUnitTest *tests, size_t count, CMFixtureFunction setup,
                                CMFixtureFunction teardown)
{
    static const int arrangements[] = {0, 2};
    int failures = 0;
    for (size_t i = 0; i < COUNT_OF(arrangements); i++) {
        char group[256];
        snprintf(group, sizeof group, "%s, %s", name, arrangements[i] ? "two workers for all" : "a worker for each");
        test_workers = arrangements[i];
        print_message("%s\n", group);
        failures += _cmocka_run_group_tests(group, tests, count, setup, teardown);
    }
    return failures;
}

void test_make_queue(const char *name)
{
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = name}, NULL));
    assert_ok(coney_admin_purge_queue(client.admin, name, NULL));
}

void test_delete_queue(const char *name)
{
    assert_ok(coney_admin_delete_queue(client.admin, name, NULL));
}

void test_wait_for_depth(const char *queue, uint32_t messages)
{
    int waited_ms = 0;
    coney_queue_info info;
    do {
        assert_ok(coney_admin_queue_info(client.admin, queue, &info));
    } while (info.message_count != messages && poll_once(&waited_ms));
    assert_int_equal(info.message_count, messages);
}

void test_wait_for_consumers(const char *queue, uint32_t consumers)
{
    int waited_ms = 0;
    coney_queue_info info;
    do {
        assert_ok(coney_admin_queue_info(client.admin, queue, &info));
    } while (info.consumer_count != consumers && poll_once(&waited_ms));
    assert_int_equal(info.consumer_count, consumers);
}

static void count_failure(coney_message *message, const coney_error *error, void *failures)
{
    (void)message;
    if (error)
        atomic_fetch_add((atomic_int *)failures, 1);
}

/* All are confirmed together: one by one they would take a turn of the broker each. */
void test_send_numbers(const char *queue, int count)
{
    static atomic_int failures; /* a send may outlive a test that fails */
    atomic_store(&failures, 0);
    for (int i = 0; i < count; i++) {
        char number[16];
        snprintf(number, sizeof number, "%d", i);
        coney_message *message = test_text(number);
        assert_ok(coney_template_send_async(client.sender, queue, message, NULL, count_failure, &failures));
        coney_message_unref(message);
    }
    assert_ok(coney_template_wait_for_confirms(client.sender, TEST_PATIENCE_MS));
    assert_int_equal(failures, 0);
}

coney_message *test_text(const char *text)
{
    coney_message *message;
    assert_ok(coney_message_new(&message, text, strlen(text), NULL));
    return message;
}

static char pattern_at(size_t index)
{
    return (char)(index * 31 >> 3);
}

coney_message *test_pattern(size_t size)
{
    coney_message *message;
    char *body = malloc(size + 1);
    assert_non_null(body);
    for (size_t i = 0; i < size; i++)
        body[i] = pattern_at(i);
    assert_ok(coney_message_new(&message, body, size, NULL));
    free(body);
    return message;
}

bool test_is_pattern(const coney_message *message)
{
    const char *body = coney_message_body(message);
    for (size_t i = 0; i < coney_message_size(message); i++) {
        if (body[i] != pattern_at(i))
            return false;
    }
    return true;
}
