/* SPDX-License-Identifier: MIT */
/* Sending to a real broker: outcomes, limits, many threads. */
#include "support/test_support.h"

#include <pthread.h>

typedef struct outcomes {
    atomic_int ok, returned, not_found, lost, other;
} outcomes;

static void count(coney_message *message, const coney_error *error, void *user)
{
    outcomes *all = user;
    check(message);
    coney_status status = error ? error->status : CONEY_OK;
    atomic_int *counter = status == CONEY_OK            ? &all->ok
                          : status == CONEY_E_RETURNED  ? &all->returned
                          : status == CONEY_E_NOT_FOUND ? &all->not_found
                          : status == CONEY_E_LOST      ? &all->lost
                                                        : &all->other;
    atomic_fetch_add(counter, 1);
}

static const char *queue;

static int setup(void **state)
{
    test_client_setup(state);
    queue = test_name("template");
    test_make_queue(queue);
    return 0;
}

static int teardown(void **state)
{
    test_delete_queue(queue);
    return test_client_teardown(state);
}

static int empty_queue(void **state)
{
    (void)state;
    assert_ok(coney_admin_purge_queue(client.admin, queue, NULL));
    return 0;
}

static void test_send_is_ok_when_the_broker_has_it(void **state)
{
    (void)state;
    coney_message *message = test_text("hello");
    assert_ok(coney_template_send(client.sender, queue, message, NULL));
    test_wait_for_depth(queue, 1);
    coney_message_unref(message);
}

static void test_unroutable_message_is_returned(void **state)
{
    (void)state;
    coney_message *message = test_text("nobody");
    assert_fails(coney_template_send(client.sender, "no-such-queue", message, NULL), CONEY_E_RETURNED, "NO_ROUTE");
    assert_int_equal(coney_last_error_details()->broker_code, 312);
    assert_non_null(strstr(coney_last_error(), "routing key 'no-such-queue'"));
    coney_message_unref(message);
}

static void test_unroutable_message_may_be_dropped_by_name(void **state)
{
    (void)state;
    coney_message *message = test_text("nobody");
    assert_ok(
        coney_template_send(client.sender, "no-such-queue", message, &(coney_send_options){.drop_unroutable = true}));
    coney_message_unref(message);
}

static void test_confirmations_tell_ack_and_return_of_their_messages(void **state)
{
    (void)state;
    coney_confirmation *routed, *unroutable;
    coney_message *message = test_text("hello");
    assert_ok(coney_template_begin_send(client.sender, &unroutable, "no-such-queue", message, NULL));
    assert_ok(coney_template_begin_send(client.sender, &routed, queue, message, NULL));
    assert_ok(coney_confirmation_wait(routed, 10000));
    assert_fails(coney_confirmation_wait(unroutable, 10000), CONEY_E_RETURNED, "NO_ROUTE");
    const coney_error *error = coney_confirmation_error(unroutable);
    assert_int_equal(error->broker_code, 312);
    assert_string_equal(error->reply_text, "NO_ROUTE");
    assert_string_equal(error->exchange, "");
    assert_string_equal(error->routing_key, "no-such-queue");
    coney_confirmation_free(routed);
    coney_confirmation_free(unroutable);
    coney_message_unref(message);
}

static void test_forgotten_messages_arrive_and_a_missing_exchange_costs_their_channel_only(void **state)
{
    (void)state;
    enum { FORGOTTEN = 100 };
    coney_send_statistics before, now;
    coney_message *message = test_text("hello");
    assert_ok(coney_template_statistics(client.sender, &before));
    for (int i = 0; i < FORGOTTEN; i++)
        assert_ok(coney_template_send_and_forget(client.sender, queue, message, NULL));
    test_wait_for_depth(queue, FORGOTTEN);
    assert_ok(coney_template_send_and_forget(client.sender, queue, message, &(coney_send_options){.exchange = "none"}));
    do {
        assert_ok(coney_template_send(client.sender, queue, message, NULL));
        assert_ok(coney_template_statistics(client.sender, &now));
    } while (now.forgotten_refusals == before.forgotten_refusals && now.sent < before.sent + 10000);
    assert_int_equal(now.forgotten_refusals, before.forgotten_refusals + 1);
    assert_int_equal(now.forgotten, before.forgotten + FORGOTTEN + 1);
    assert_ok(coney_template_send_and_forget(client.sender, queue, message, NULL));
    test_wait_for_depth(queue, (uint32_t)(FORGOTTEN + now.sent - before.sent + 1));
    coney_message_unref(message);
}

static void test_send_to_missing_exchange_reports_404_and_the_next_send_works(void **state)
{
    (void)state;
    coney_message *message = test_text("hello");
    for (int i = 0; i < 3; i++) {
        assert_fails(coney_template_send(client.sender, queue, message, &(coney_send_options){.exchange = "none"}),
                     CONEY_E_NOT_FOUND, "no exchange 'none'");
        assert_int_equal(coney_last_error_details()->broker_code, 404);
        assert_ok(coney_template_send(client.sender, queue, message, NULL));
    }
    test_wait_for_depth(queue, 3);
    coney_message_unref(message);
}

static void test_bad_names_fail_before_anything_is_sent(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    coney_message *message = test_text("hello");
    assert_fails(coney_template_send(client.sender, name, message, NULL), CONEY_E_INVALID, "routing key");
    assert_fails(coney_template_send(client.sender, "k", message, &(coney_send_options){.exchange = name}),
                 CONEY_E_INVALID, "has 256 bytes");
    assert_fails(coney_template_send(client.sender, "\xff", message, NULL), CONEY_E_INVALID, "not UTF-8");
    assert_fails(coney_template_send(client.sender, queue, NULL, NULL), CONEY_E_INVALID, "message is NULL");
    assert_fails(coney_template_send(client.sender, queue, message, &(coney_send_options){.timeout_ms = -1}),
                 CONEY_E_INVALID, "timeout_ms is -1");
    name[255] = '\0';
    assert_int_equal(coney_template_send(client.sender, name, message, NULL), CONEY_E_RETURNED);
    coney_message_unref(message);
}

static void test_headers_too_large_fail_and_the_connection_goes_on(void **state)
{
    (void)state;
    static char large[200000];
    memset(large, 'h', sizeof large - 1);
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "x", large));
    coney_message *message, *small = test_text("small");
    assert_ok(coney_message_new(&message, "", 0, &(coney_properties){.headers = headers}));
    assert_ok(coney_template_send(client.sender, queue, small, NULL));
    assert_fails(coney_template_send(client.sender, queue, message, NULL), CONEY_E_INVALID,
                 "headers do not fit a frame");
    assert_ok(coney_template_send(client.sender, queue, small, NULL));
    test_wait_for_depth(queue, 2);
    coney_table_free(headers);
    coney_message_unref(message);
    coney_message_unref(small);
}

static void test_async_send_completes_exactly_once(void **state)
{
    (void)state;
    enum { EACH = 300 };
    outcomes seen = {0};
    coney_message *message = test_text("async");
    for (int i = 0; i < EACH; i++) {
        assert_ok(coney_template_send_async(client.sender, queue, message, NULL, count, &seen));
        assert_ok(coney_template_send_async(client.sender, "no-such-queue", message, NULL, count, &seen));
    }
    assert_ok(coney_template_wait_for_confirms(client.sender, 10000));
    assert_int_equal(seen.ok, EACH);
    assert_int_equal(seen.returned, EACH);
    assert_int_equal(seen.lost + seen.not_found + seen.other, 0);
    test_wait_for_depth(queue, EACH);
    coney_message_unref(message);
}

static void send_again(coney_message *message, const coney_error *error, void *user)
{
    check(!error);
    atomic_int *left = user;
    if (atomic_fetch_sub(left, 1) > 1)
        check(coney_template_send_async(client.sender, queue, message, NULL, send_again, user) == CONEY_OK);
}

static void test_callback_may_send(void **state)
{
    (void)state;
    atomic_int left = 50;
    coney_message *message = test_text("chain");
    assert_ok(coney_template_send_async(client.sender, queue, message, NULL, send_again, &left));
    test_wait_for(&left, 0);
    test_wait_for_depth(queue, 50);
    coney_message_unref(message);
}

static void test_window_of_one_still_lets_everything_through(void **state)
{
    (void)state;
    coney_template *narrow;
    outcomes seen = {0};
    coney_message *message = test_text("one by one");
    assert_ok(coney_template_new(&narrow, client.factory, &(coney_template_options){.max_unconfirmed = 1}));
    for (int i = 0; i < 50; i++)
        assert_ok(coney_template_send_async(narrow, queue, message, NULL, count, &seen));
    assert_ok(coney_template_wait_for_confirms(narrow, 10000));
    assert_int_equal(seen.ok, 50);
    coney_template_free(narrow);
    coney_message_unref(message);
}

static void test_free_completes_what_is_outstanding(void **state)
{
    (void)state;
    coney_template *hasty;
    outcomes seen = {0};
    const char *own_queue = test_name("hasty"); /* some arrive after this test */
    coney_message *message = test_text("hasty");
    test_make_queue(own_queue);
    assert_ok(coney_template_new(&hasty, client.factory, NULL));
    for (int i = 0; i < 1000; i++)
        assert_ok(coney_template_send_async(hasty, own_queue, message, NULL, count, &seen));
    coney_template_free(hasty);
    assert_int_equal(seen.ok + seen.other, 1000);
    coney_message_unref(message);
    test_delete_queue(own_queue);
}

static void test_ten_megabytes_and_nothing_are_taken(void **state)
{
    (void)state;
    coney_message *large = test_pattern((size_t)10 * 1024 * 1024), *empty = test_pattern(0);
    assert_ok(coney_template_send(client.sender, queue, large, NULL));
    assert_ok(coney_template_send(client.sender, queue, empty, NULL));
    test_wait_for_depth(queue, 2);
    coney_message_unref(large);
    coney_message_unref(empty);
}

typedef struct resender {
    coney_template *sender;
    const char *queue;
    atomic_int calls;
} resender;

static void send_again_come_what_may(coney_message *message, const coney_error *error, void *user)
{
    resender *self = user;
    (void)error;
    atomic_fetch_add(&self->calls, 1);
    coney_template_send_async(self->sender, self->queue, message, NULL, send_again_come_what_may, user);
}

static void test_free_ends_callbacks_that_always_send_again(void **state)
{
    (void)state;
    resender self = {.queue = test_name("again")}; /* some arrive after this test */
    coney_message *message = test_text("again and again");
    test_make_queue(self.queue);
    assert_ok(coney_template_new(&self.sender, client.factory, NULL));
    for (int i = 0; i < 50; i++)
        assert_ok(coney_template_send_async(self.sender, self.queue, message, NULL, send_again_come_what_may, &self));
    coney_template_free(self.sender);
    int calls = self.calls;
    assert_true(calls >= 50);
    assert_ok(coney_template_send(client.sender, queue, message, NULL));
    assert_int_equal(self.calls, calls);
    coney_message_unref(message);
    test_delete_queue(self.queue);
}

static coney_status fail_silently(coney_message **message, const void *object, const coney_properties *properties)
{
    (void)message;
    (void)object;
    (void)properties;
    return CONEY_E_CONVERSION;
}

static void test_a_converter_that_fails_without_a_word_sends_nothing(void **state)
{
    (void)state;
    const coney_converter silent = {.name = "silent", .to_message = fail_silently};
    coney_template *own;
    assert_ok(coney_template_new(&own, client.factory, &(coney_template_options){.converter = &silent}));
    assert_fails(coney_template_convert_and_send(own, queue, "object", NULL), CONEY_E_CONVERSION,
                 "converter 'silent' failed without saying why");
    coney_template_free(own);
}

enum { THREADS = 16, SENDS = 100 };

static void *send_mixed(void *user)
{
    outcomes *seen = user;
    coney_message *message = test_text("mixed");
    for (int i = 0; i < SENDS; i++) {
        coney_status status = coney_template_send(client.sender, i % 2 ? queue : "no-such-queue", message, NULL);
        atomic_fetch_add(status == CONEY_OK           ? &seen->ok
                         : status == CONEY_E_RETURNED ? &seen->returned
                                                      : &seen->other,
                         1);
        status = coney_template_send_async(client.sender, i % 2 ? "no-such-queue" : queue, message, NULL, count, seen);
        check(status == CONEY_OK);
    }
    coney_message_unref(message);
    return NULL;
}

static void test_sixteen_threads_share_a_template(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    outcomes seen = {0};
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, send_mixed, &seen), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_ok(coney_template_wait_for_confirms(client.sender, 10000));
    assert_int_equal(seen.ok, THREADS * SENDS);
    assert_int_equal(seen.returned, THREADS * SENDS);
    assert_int_equal(seen.other + seen.lost + seen.not_found, 0);
    test_wait_for_depth(queue, THREADS * SENDS);
}

static void test_convert_and_send_writes_json(void **state)
{
    (void)state;
    json_t *json = json_pack("{s:i}", "id", 1), *real = json_real(1.5);
    assert_ok(coney_template_convert_and_send(client.sender, queue, json, NULL));
    assert_ok(coney_template_convert_and_send(client.sender, queue, real, NULL));
    assert_fails(coney_template_convert_and_send(client.sender, queue, NULL, NULL), CONEY_E_INVALID, "json");
    test_wait_for_depth(queue, 2);
    json_decref(json);
    json_decref(real);
}

static void test_options_are_checked(void **state)
{
    (void)state;
    coney_template *none;
    assert_fails(coney_template_new(&none, NULL, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_template_new(&none, client.factory, &(coney_template_options){.timeout_ms = -5}),
                 CONEY_E_INVALID, "timeout_ms is -5");
    assert_fails(coney_template_new(&none, client.factory, &(coney_template_options){.max_unconfirmed = -1}),
                 CONEY_E_INVALID, "max_unconfirmed is -1");
    assert_fails(coney_template_new(&none, client.factory, &(coney_template_options){.exchange = "\xff"}),
                 CONEY_E_INVALID, "exchange is not UTF-8");
}

int main(void)
{
#define with_empty_queue(test) cmocka_unit_test_setup_teardown(test, empty_queue, test_no_failed_checks)
    const struct CMUnitTest tests[] = {
        with_empty_queue(test_send_is_ok_when_the_broker_has_it),
        with_empty_queue(test_unroutable_message_is_returned),
        with_empty_queue(test_unroutable_message_may_be_dropped_by_name),
        with_empty_queue(test_confirmations_tell_ack_and_return_of_their_messages),
        with_empty_queue(test_forgotten_messages_arrive_and_a_missing_exchange_costs_their_channel_only),
        with_empty_queue(test_send_to_missing_exchange_reports_404_and_the_next_send_works),
        with_empty_queue(test_bad_names_fail_before_anything_is_sent),
        with_empty_queue(test_headers_too_large_fail_and_the_connection_goes_on),
        with_empty_queue(test_async_send_completes_exactly_once),
        with_empty_queue(test_callback_may_send),
        with_empty_queue(test_window_of_one_still_lets_everything_through),
        with_empty_queue(test_free_completes_what_is_outstanding),
        with_empty_queue(test_free_ends_callbacks_that_always_send_again),
        with_empty_queue(test_a_converter_that_fails_without_a_word_sends_nothing),
        with_empty_queue(test_ten_megabytes_and_nothing_are_taken),
        with_empty_queue(test_sixteen_threads_share_a_template),
        with_empty_queue(test_convert_and_send_writes_json),
        with_empty_queue(test_options_are_checked),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
