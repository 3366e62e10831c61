/* SPDX-License-Identifier: MIT */
/* The fault tests' fixture. Completions arrive on the client's events thread and are kept under a
 * lock. */
#include "support/fault_fixture.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

fault_fixture fault;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static fault_completion completions[FAULT_MAX_SENDS];
static int indices[FAULT_MAX_SENDS]; /* their addresses are the callbacks' user */

void fault_start(cny_script *script, const coney_connection_factory_options *factory_options)
{
    fault_start_with(&(cny_broker_options){.script = script}, factory_options);
}

void fault_start_with(const cny_broker_options *options, const coney_connection_factory_options *factory_options)
{
    coney_log_set_level(getenv("CONEY_TEST_LOG") ? CONEY_LOG_DEBUG : CONEY_LOG_OFF);
    fault.broker = cny_broker_start(options);
    coney_connection_factory_options client = {0};
    if (factory_options)
        client = *factory_options;
    if (client.close_timeout_ms == 0)
        client.close_timeout_ms = 500;
    fault_expect_status(CONEY_OK, coney_connection_factory_new(&fault.factory, cny_broker_uri(fault.broker), &client));
}

static int twice_completed(void)
{
    int twice = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < FAULT_MAX_SENDS; i++) {
        if (completions[i].count > 1)
            print_error("send %d completed %d times\n", i, completions[i].count);
        twice |= completions[i].count > 1;
        completions[i] = (fault_completion){0};
    }
    pthread_mutex_unlock(&lock);
    return twice;
}

int fault_teardown(void **state)
{
    (void)state;
    fault_fixture ended = fault;
    fault = (fault_fixture){0};
    coney_container_free(ended.container);
    coney_template_free(ended.sender);
    coney_admin_free(ended.admin);
    coney_connection_factory_free(ended.factory);
    int twice = twice_completed();
    cny_broker_stop(ended.broker);
    return twice;
}

void fault_use_template(const coney_template_options *options)
{
    fault_expect_status(CONEY_OK, coney_template_new(&fault.sender, fault.factory, options));
}

void fault_use_admin(int timeout_ms)
{
    coney_admin_options options = {.timeout_ms = timeout_ms};
    fault_expect_status(CONEY_OK, coney_admin_new(&fault.admin, fault.factory, &options));
}

void fault_use_container(const coney_container_options *options, coney_message_handler *handler, int concurrency)
{
    coney_listener orders = {.queue = "orders", .on_message = handler, .concurrency = concurrency};
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, options));
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &orders));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
}

coney_message *fault_message(const char *text)
{
    coney_message *message;
    fault_expect_status(CONEY_OK, coney_message_new(&message, text, strlen(text), NULL));
    return message;
}

coney_status fault_send(int timeout_ms)
{
    coney_message *message = fault_message("hello");
    coney_send_options options = {.timeout_ms = timeout_ms};
    coney_status status = coney_template_send(fault.sender, "key", message, &options);
    coney_message_unref(message);
    return status;
}

static void record(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    pthread_mutex_lock(&lock);
    fault_completion *completion = &completions[(int *)user - indices];
    completion->count++;
    completion->status = error ? error->status : CONEY_OK;
    completion->broker_code = error ? error->broker_code : 0;
    snprintf(completion->text, sizeof completion->text, "%s", error ? error->text : "");
    pthread_mutex_unlock(&lock);
}

coney_status fault_send_message_async(int index, const char *exchange, coney_message *message)
{
    coney_send_options options = {.exchange = exchange};
    coney_status status = coney_template_send_async(fault.sender, "key", message, &options, record, &indices[index]);
    coney_message_unref(message);
    return status;
}

coney_status fault_send_async(int index, const char *exchange)
{
    char text[16];
    snprintf(text, sizeof text, "%d", index);
    return fault_send_message_async(index, exchange, fault_message(text));
}

void fault_wait_for_confirms(void)
{
    fault_expect_status(CONEY_OK, coney_template_wait_for_confirms(fault.sender, CNY_PATIENCE_MS));
}

fault_completion fault_completed(int index)
{
    pthread_mutex_lock(&lock);
    fault_completion completion = completions[index];
    pthread_mutex_unlock(&lock);
    return completion;
}

void fault_expect_completion(int index, coney_status status)
{
    fault_completion completion = fault_completed(index);
    if (completion.count != 1 || completion.status != status)
        fail_msg("send %d: completed %d times, as %s (%s), not once as %s", index, completion.count,
                 coney_status_name(completion.status), completion.text, coney_status_name(status));
}

coney_status fault_ask(void)
{
    coney_queue_info info;
    return coney_admin_queue_info(fault.admin, "orders", &info);
}

coney_status fault_wait_for_end_of_consuming(void)
{
    int64_t deadline = cny_broker_now_ms() + CNY_PATIENCE_MS;
    coney_status status = CONEY_OK;
    while (status == CONEY_OK && cny_broker_now_ms() < deadline) {
        status = coney_container_check(fault.container);
        poll(NULL, 0, 2); /* there is nothing to wait on */
    }
    return status;
}

void fault_assert_status(coney_status expected, coney_status seen, const char *call, const char *file, int line)
{
    if (seen == expected)
        return;
    print_error("%s is %s (\"%s\"), not %s\n", call, coney_status_name(seen), coney_last_error(),
                coney_status_name(expected));
    _fail(file, line);
}

void fault_assert_text(const char *part, const char *file, int line)
{
    if (strstr(coney_last_error(), part))
        return;
    print_error("\"%s\" does not say \"%s\"\n", coney_last_error(), part);
    _fail(file, line);
}

void fault_expect_elapsed(int64_t since_ms, int at_least_ms, int at_most_ms)
{
    int64_t elapsed = cny_broker_now_ms() - since_ms;
    if (elapsed < at_least_ms || elapsed > at_most_ms)
        fail_msg("it took %d ms, not %d to %d", (int)elapsed, at_least_ms, at_most_ms);
}
