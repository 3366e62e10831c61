/* SPDX-License-Identifier: MIT */
/* What one thread sends through one template arrives in that order: from several threads at once, asynchronous and
 * synchronous sends mixed, while the network cuts the connection again and again. Messages may arrive twice, since
 * resend_unconfirmed sends them again; what counts is the first time. */
#include "support/proxy.h"
#include "support/test_support.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { THREADS = 4, CUTS = 8, CUT_EVERY_MS = 150, PATIENCE_MS = 60000, SYNCHRONOUS_EVERY = 50, PAUSE_EVERY = 20 };
enum { LEAST = 100 }; /* messages of each thread, however slow the machine is */

static cny_proxy *proxy;
static coney_connection_factory *factory;
static coney_template *sender;
static coney_container *container;
static const char *queue;
static atomic_bool enough;
static atomic_int confirmed;
static int sent[THREADS];
static atomic_int seen[THREADS]; /* all before that number came, in order */

static void count(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)user;
    check(!error);
    if (!error)
        atomic_fetch_add(&confirmed, 1);
}

static coney_status send_one(int thread, int number)
{
    char text[32];
    coney_message *message;
    snprintf(text, sizeof text, "%d %d", thread, number);
    coney_status status = coney_message_new(&message, text, strlen(text), NULL);
    if (status != CONEY_OK)
        return status;
    if (number % SYNCHRONOUS_EVERY == SYNCHRONOUS_EVERY - 1) {
        status = coney_template_send(sender, queue, message, NULL);
        atomic_fetch_add(&confirmed, status == CONEY_OK);
    } else {
        status = coney_template_send_async(sender, queue, message, NULL, count, NULL);
    }
    coney_message_unref(message);
    return status;
}

static void *send_all(void *argument)
{
    int thread = *(int *)argument;
    for (int number = 0; !atomic_load(&enough) || number < LEAST; number++) {
        coney_status status = send_one(thread, number);
        check(status == CONEY_OK);
        if (status != CONEY_OK)
            break;
        sent[thread] = number + 1;
        if (number % PAUSE_EVERY == 0)
            poll(NULL, 0, 1);
    }
    return NULL;
}

static coney_outcome see(coney_delivery *delivery, void *user)
{
    const coney_message *message = coney_delivery_message(delivery);
    char text[32], *end;
    (void)user;
    snprintf(text, sizeof text, "%.*s", (int)coney_message_size(message), (const char *)coney_message_body(message));
    long thread = strtol(text, &end, 10), number = strtol(end, NULL, 10);
    check(number <= atomic_load(&seen[thread])); /* else it overtook one */
    if (number == atomic_load(&seen[thread]))
        atomic_fetch_add(&seen[thread], 1);
    return CONEY_ACK;
}

static void start(coney_flow flow)
{
    char uri[512];
    proxy = cny_proxy_start(test_uri_port());
    test_uri_at(cny_proxy_port(proxy), uri, sizeof uri);
    atomic_store(&enough, false);
    atomic_store(&confirmed, 0);
    for (int i = 0; i < THREADS; i++) {
        sent[i] = 0;
        atomic_store(&seen[i], 0);
    }
    const coney_connection_factory_options client_options = {
        .recovery = {.first_delay_ms = 20, .max_delay_ms = 50},
        .close_timeout_ms = 2000,
    };
    const coney_template_options options = {
        .flow = flow, .resend_unconfirmed = true, .timeout_ms = PATIENCE_MS, .max_unconfirmed = 100};
    assert_ok(coney_connection_factory_new(&factory, uri, &client_options));
    assert_ok(coney_template_new(&sender, factory, &options));
    queue = test_name("order");
    test_make_queue(queue);
}

static int teardown(void **state)
{
    coney_container_free(container);
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    cny_proxy_stop(proxy);
    container = NULL;
    sender = NULL;
    factory = NULL;
    proxy = NULL;
    test_delete_queue(queue);
    return test_no_failed_checks(state);
}

static void send_while_the_connection_is_cut(void)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &numbers[i]), 0);
    }
    for (int i = 0; i < CUTS; i++) {
        poll(NULL, 0, CUT_EVERY_MS);
        cny_proxy_cut(proxy, CNY_BOTH_WAYS);
    }
    poll(NULL, 0, CUT_EVERY_MS);
    atomic_store(&enough, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_ok(coney_template_wait_for_confirms(sender, PATIENCE_MS));
}

static void expect_order(void)
{
    coney_connection_info info;
    const coney_listener listener = {.queue = queue, .on_message = see};
    int all = 0;
    assert_ok(coney_connection_factory_info(factory, CONEY_PUBLISHING, &info));
    assert_int_in_range(info.times_opened, 3, CUTS + 1);
    assert_ok(coney_container_new(&container, client.factory, NULL));
    assert_ok(coney_container_listen(container, &listener));
    assert_ok(coney_container_start(container));
    for (int i = 0; i < THREADS; i++) {
        test_wait_for(&seen[i], sent[i]);
        all += sent[i];
    }
    assert_int_equal(atomic_load(&confirmed), all);
}

static void test_each_threads_messages_arrive_in_order_across_cuts(void **state)
{
    (void)state;
    start(CONEY_FLOW_WAIT);
    send_while_the_connection_is_cut();
    expect_order();
}

static void test_each_threads_stored_messages_arrive_in_order_across_cuts(void **state)
{
    (void)state;
    start(CONEY_FLOW_STORE);
    send_while_the_connection_is_cut();
    expect_order();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_each_threads_messages_arrive_in_order_across_cuts, teardown),
        cmocka_unit_test_teardown(test_each_threads_stored_messages_arrive_in_order_across_cuts, teardown),
    };
    return cmocka_run_group_tests_name("order", tests, test_client_setup, test_client_teardown);
}
