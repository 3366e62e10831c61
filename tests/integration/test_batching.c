/* SPDX-License-Identifier: MIT */
/* The batching template against a real broker: what is on the wire, when batches go out, and that
 * each message completes once. */
#include "support/elapsed.h"
#include "support/plain_client.h"
#include "support/test_support.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>

typedef struct outcomes {
    atomic_int ok, returned, not_found, closed, other;
} outcomes;

static void count(coney_message *message, const coney_error *error, void *user)
{
    outcomes *all = user;
    check(message && !coney_message_is_batch(message)); /* one's own, not the batch */
    coney_status status = error ? error->status : CONEY_OK;
    atomic_int *counter = status == CONEY_OK            ? &all->ok
                          : status == CONEY_E_RETURNED  ? &all->returned
                          : status == CONEY_E_NOT_FOUND ? &all->not_found
                          : status == CONEY_E_CLOSED    ? &all->closed
                                                        : &all->other;
    atomic_fetch_add(counter, 1);
}

static const char *queue;
static coney_batching_template *batching;

static int setup(void **state)
{
    test_client_setup(state);
    queue = test_name("batching");
    test_make_queue(queue);
    return 0;
}

static int teardown(void **state)
{
    plain_close();
    test_delete_queue(queue);
    return test_client_teardown(state);
}

static int empty_queue(void **state)
{
    (void)state;
    assert_ok(coney_admin_purge_queue(client.admin, queue, NULL));
    return 0;
}

static int end_of_test(void **state)
{
    coney_batching_template_free(batching);
    batching = NULL;
    return test_no_failed_checks(state);
}

static void use(int batch_size, size_t buffer_limit_bytes, int timeout_ms)
{
    assert_ok(coney_batching_template_new(&batching, client.sender,
                                          &(coney_batching_options){.batch_size = batch_size,
                                                                    .buffer_limit_bytes = buffer_limit_bytes,
                                                                    .timeout_ms = timeout_ms}));
}

static void add(const char *routing_key, const char *text, outcomes *seen)
{
    coney_message *message = test_text(text);
    assert_ok(coney_batching_template_send(batching, routing_key, message, NULL, count, seen));
    coney_message_unref(message);
}

/* The next message in the queue is a batch of so many with this body; 1: a plain message. */
static void expect_next(const char *body, size_t size, int messages)
{
    amqp_message_t got = plain_get(queue);
    assert_int_equal(got.body.len, size);
    assert_memory_equal(got.body.bytes, body, size);
    const amqp_field_value_t *format = plain_header(&got, "springBatchFormat");
    const amqp_field_value_t *count_header = plain_header(&got, "amqp_batchSize");
    if (messages == 1) {
        assert_null(format);
        assert_null(count_header);
    } else {
        assert_non_null(format);
        assert_int_equal(format->kind, 'S');
        assert_int_equal(format->value.bytes.len, 13);
        assert_memory_equal(format->value.bytes.bytes, "lengthHeader4", 13);
        assert_non_null(count_header);
        assert_int_equal(count_header->kind, 'I');
        assert_int_equal(count_header->value.i32, messages);
    }
    amqp_destroy_message(&got);
}

#define expect_batch(literal, messages) expect_next(literal, sizeof(literal) - 1, messages)

/* ---- the wire ---- */

static void test_batch_is_on_the_wire_as_springs(void **state)
{
    (void)state;
    outcomes seen = {0};
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "own", "yes"));
    coney_message *first, *second;
    assert_ok(coney_message_new(&first, "foo", 3, &(coney_properties){.headers = headers, .priority = 3}));
    assert_ok(coney_message_new(&second, "quux", 4, &(coney_properties){.priority = 7}));
    use(2, 0, 0);
    assert_ok(coney_batching_template_send(batching, queue, first, NULL, count, &seen));
    assert_ok(coney_batching_template_send(batching, queue, second, NULL, count, &seen));
    test_wait_for(&seen.ok, 2);
    amqp_message_t got = plain_get(queue);
    assert_int_equal(got.body.len, 15);
    assert_memory_equal(got.body.bytes, "\0\0\0\3foo\0\0\0\4quux", 15);
    assert_int_equal(got.properties.headers.num_entries, 3);
    assert_non_null(plain_header(&got, "own"));
    assert_int_equal(plain_header(&got, "springBatchFormat")->kind, 'S');
    assert_int_equal(plain_header(&got, "amqp_batchSize")->kind, 'I');
    assert_int_equal(plain_header(&got, "amqp_batchSize")->value.i32, 2);
    assert_int_equal(got.properties.priority, 3); /* the first one's properties count */
    assert_int_equal(got.properties.delivery_mode, 2);
    amqp_destroy_message(&got);
    coney_table_free(headers);
    coney_message_unref(first);
    coney_message_unref(second);
}

/* ---- when it goes out ---- */

static void test_timeout_sends_a_single_message_plain(void **state)
{
    (void)state;
    outcomes seen = {0};
    use(2, 0, 50);
    add(queue, "foo", &seen);
    test_wait_for(&seen.ok, 1);
    expect_batch("foo", 1);
}

static void test_timeout_begins_again_with_each_message(void **state)
{
    (void)state;
    enum { TIMEOUT_MS = 600 };
    outcomes seen = {0};
    use(10, 0, TIMEOUT_MS);
    add(queue, "a", &seen);
    poll(NULL, 0, TIMEOUT_MS / 3);
    int64_t last = cny_now_ms();
    add(queue, "b", &seen);
    test_wait_for(&seen.ok, 2);
    assert_true(cny_now_ms() - last >= TIMEOUT_MS);
    expect_batch("\0\0\0\1a\0\0\0\1b", 2);
}

static void test_without_timeout_a_message_waits_for_the_flush(void **state)
{
    (void)state;
    outcomes seen = {0};
    use(10, 0, -1);
    add(queue, "a", &seen);
    add(queue, "b", &seen);
    poll(NULL, 0, 100);
    assert_int_equal(seen.ok, 0);
    assert_ok(coney_batching_template_flush(batching));
    assert_ok(coney_template_wait_for_confirms(client.sender, 10000));
    assert_int_equal(seen.ok, 2);
    assert_ok(coney_batching_template_flush(batching)); /* of nothing */
    expect_batch("\0\0\0\1a\0\0\0\1b", 2);
}

static void test_message_beyond_the_limit_sends_what_is_there_first(void **state)
{
    (void)state;
    outcomes seen = {0};
    use(10, 14, 0); /* foo and bar take 7 each */
    add(queue, "foo", &seen);
    add(queue, "barbar", &seen); /* would make 17 */
    test_wait_for(&seen.ok, 1);
    add(queue, "", &seen); /* and 4 make 14, which is the limit */
    test_wait_for(&seen.ok, 3);
    expect_batch("foo", 1);
    expect_batch("\0\0\0\6barbar\0\0\0\0", 2);
}

static void test_message_larger_than_the_limit_goes_alone_and_in_order(void **state)
{
    (void)state;
    outcomes seen = {0};
    use(10, 8, 0);
    add(queue, "a", &seen);
    add(queue, "0123456789", &seen);
    test_wait_for(&seen.ok, 2);
    add(queue, "b", &seen);
    assert_ok(coney_batching_template_flush(batching));
    test_wait_for(&seen.ok, 3);
    expect_batch("a", 1);
    expect_batch("0123456789", 1);
    expect_batch("b", 1);
}

static void test_another_address_sends_what_is_there_first(void **state)
{
    (void)state;
    outcomes seen = {0};
    coney_message *message = test_text("to nobody");
    use(10, 0, 0);
    add(queue, "a", &seen);
    add(queue, "b", &seen);
    add("no-such-queue", "c", &seen);
    test_wait_for(&seen.ok, 2);
    assert_ok(coney_batching_template_send(batching, "no-such-queue", message,
                                           &(coney_send_options){.drop_unroutable = true}, count, &seen));
    test_wait_for(&seen.returned, 1); /* one may be dropped, so it is another address */
    assert_ok(coney_batching_template_send(batching, "no-such-queue", message,
                                           &(coney_send_options){.exchange = "amq.fanout", .drop_unroutable = true},
                                           count, &seen));
    test_wait_for(&seen.ok, 3);
    assert_ok(coney_batching_template_flush(batching));
    test_wait_for(&seen.ok, 4);
    expect_batch("\0\0\0\1a\0\0\0\1b", 2);
    coney_message_unref(message);
}

/* ---- outcomes ---- */

static void test_returned_batch_returns_each_message(void **state)
{
    (void)state;
    outcomes seen = {0};
    use(5, 0, 0);
    for (int i = 0; i < 5; i++)
        add("no-such-queue", "nobody", &seen);
    test_wait_for(&seen.returned, 5);
    assert_int_equal(seen.ok + seen.other, 0);
}

static void test_missing_exchange_is_told_to_each_message(void **state)
{
    (void)state;
    outcomes seen = {0};
    coney_message *message = test_text("lost");
    use(3, 0, 0);
    for (int i = 0; i < 3; i++)
        assert_ok(coney_batching_template_send(batching, queue, message, &(coney_send_options){.exchange = "none"},
                                               count, &seen));
    test_wait_for(&seen.not_found, 3);
    coney_message_unref(message);
}

static void test_failure_without_callback_is_logged(void **state)
{
    (void)state;
    coney_message *message = test_text("nobody");
    test_log_start(CONEY_LOG_WARN);
    use(2, 0, 0);
    for (int i = 0; i < 2; i++)
        assert_ok(coney_batching_template_send(batching, "no-such-queue", message, NULL, NULL, NULL));
    assert_ok(coney_template_wait_for_confirms(client.sender, 10000));
    test_log_stop();
    test_log_expect("2 messages of a batch are not confirmed, and have no callback");
    coney_message_unref(message);
}

static void test_headers_that_fit_no_frame_fail_each_message_once(void **state)
{
    (void)state;
    static char large[200000];
    outcomes seen = {0};
    memset(large, 'h', sizeof large - 1);
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "x", large));
    coney_message *first, *second = test_text("second");
    assert_ok(coney_message_new(&first, "", 0, &(coney_properties){.headers = headers}));
    use(2, 0, 0);
    assert_ok(coney_batching_template_send(batching, queue, first, NULL, count, &seen));
    assert_fails(coney_batching_template_send(batching, queue, second, NULL, count, &seen), CONEY_E_INVALID,
                 "headers do not fit a frame");
    test_wait_for(&seen.other, 1); /* the first; the second's was the status */
    assert_ok(coney_batching_template_send(batching, queue, second, NULL, count, &seen));
    assert_ok(coney_batching_template_flush(batching));
    test_wait_for(&seen.ok, 1);
    assert_int_equal(seen.other, 1);
    coney_table_free(headers);
    coney_message_unref(first);
    coney_message_unref(second);
}

typedef struct chain {
    atomic_int left;
} chain;

static void send_again(coney_message *message, const coney_error *error, void *user)
{
    chain *all = user;
    check(!error);
    if (atomic_fetch_sub(&all->left, 1) > 1)
        check(coney_batching_template_send(batching, queue, message, NULL, send_again, user) == CONEY_OK);
}

static void test_callback_may_send(void **state)
{
    (void)state;
    chain all = {.left = 50};
    coney_message *message = test_text("chain");
    use(1, 0, 0);
    assert_ok(coney_batching_template_send(batching, queue, message, NULL, send_again, &all));
    test_wait_for(&all.left, 0);
    test_wait_for_depth(queue, 50);
    coney_message_unref(message);
}

/* ---- the end ---- */

static void test_free_flushes_and_waits_for_the_callbacks(void **state)
{
    (void)state;
    outcomes seen = {0};
    use(10, 0, 60000);
    add(queue, "a", &seen);
    add(queue, "b", &seen);
    coney_batching_template_free(batching);
    batching = NULL;
    assert_int_equal(seen.ok, 2);
    expect_batch("\0\0\0\1a\0\0\0\1b", 2);
}

static void test_closing_the_factory_flushes(void **state)
{
    (void)state;
    outcomes seen = {0};
    coney_connection_factory *factory;
    coney_template *sender;
    assert_ok(coney_connection_factory_new(&factory, test_uri(), NULL));
    assert_ok(coney_template_new(&sender, factory, NULL));
    assert_ok(coney_batching_template_new(&batching, sender, NULL));
    add(queue, "a", &seen);
    add(queue, "b", &seen);
    assert_ok(coney_connection_factory_close(factory));
    assert_int_equal(seen.ok, 2);
    coney_message *late = test_text("late");
    assert_fails(coney_batching_template_send(batching, queue, late, NULL, count, &seen), CONEY_E_CLOSED, "clos");
    coney_message_unref(late);
    coney_batching_template_free(batching);
    batching = NULL;
    coney_template_free(sender);
    coney_connection_factory_free(factory);
    assert_int_equal(seen.ok, 2);
    expect_batch("\0\0\0\1a\0\0\0\1b", 2);
}

static void test_template_freed_first_closes_what_is_gathered(void **state)
{
    (void)state;
    outcomes seen = {0};
    coney_template *sender;
    assert_ok(coney_template_new(&sender, client.factory, NULL));
    assert_ok(coney_batching_template_new(&batching, sender, NULL));
    add(queue, "a", &seen);
    add(queue, "b", &seen);
    coney_template_free(sender);
    test_log_start(CONEY_LOG_ERROR);
    coney_batching_template_free(batching);
    test_log_stop();
    batching = NULL;
    assert_int_equal(seen.closed, 2);
    test_log_expect("free a batching template");
}

static void free_it(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    check(!error);
    coney_batching_template_free(batching);
    atomic_store((atomic_int *)user, 1);
}

static void test_free_in_a_callback_is_logged_and_not_done(void **state)
{
    (void)state;
    atomic_int called = 0;
    coney_message *message = test_text("free");
    test_log_start(CONEY_LOG_ERROR);
    use(1, 0, 0);
    assert_ok(coney_batching_template_send(batching, queue, message, NULL, free_it, &called));
    test_wait_for(&called, 1);
    test_log_stop();
    test_log_expect("coney_batching_template_free called by a send callback");
    assert_ok(coney_batching_template_send(batching, queue, message, NULL, NULL, NULL));
    coney_message_unref(message);
}

/* ---- threads ---- */

enum { THREADS = 8, SENDS = 400 };

typedef struct sender_thread {
    pthread_t thread;
    int number;
    outcomes *seen;
} sender_thread;

static void *send_many(void *user)
{
    const sender_thread *self = user;
    for (int i = 0; i < SENDS; i++) {
        char text[32];
        coney_message *message;
        int size = snprintf(text, sizeof text, "%d:%d", self->number, i);
        check(coney_message_new(&message, text, (size_t)size, NULL) == CONEY_OK);
        check(coney_batching_template_send(batching, queue, message, NULL, count, self->seen) == CONEY_OK);
        coney_message_unref(message);
    }
    return NULL;
}

/* Of each thread, the number that must come next. */
static coney_status expect_order(coney_message *fragment, size_t index, size_t of, void *user)
{
    int *next = user, thread, number;
    (void)index;
    (void)of;
    assert_int_equal(sscanf(coney_message_body(fragment), "%d:%d", &thread, &number), 2);
    assert_int_equal(number, next[thread]++);
    return CONEY_OK;
}

static size_t take_apart(const amqp_message_t *got, int *next)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "springBatchFormat", "lengthHeader4"));
    bool is_batch = plain_header(got, "springBatchFormat");
    coney_message *message;
    assert_ok(coney_message_new(&message, got->body.bytes, got->body.len,
                                &(coney_properties){.headers = is_batch ? headers : NULL}));
    const amqp_field_value_t *size = plain_header(got, "amqp_batchSize");
    assert_ok(is_batch ? coney_message_debatch(message, expect_order, next) : expect_order(message, 0, 1, next));
    coney_message_unref(message);
    coney_table_free(headers);
    return is_batch ? (size_t)size->value.i32 : 1;
}

static void test_many_threads_keep_their_order_and_each_message_completes_once(void **state)
{
    (void)state;
    sender_thread threads[THREADS];
    outcomes seen = {0};
    int next[THREADS] = {0};
    use(7, 0, 5);
    for (int i = 0; i < THREADS; i++) {
        threads[i] = (sender_thread){.number = i, .seen = &seen};
        assert_int_equal(pthread_create(&threads[i].thread, NULL, send_many, &threads[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i].thread, NULL);
    coney_batching_template_free(batching);
    batching = NULL;
    assert_int_equal(seen.ok, THREADS * SENDS);
    assert_int_equal(seen.other + seen.returned + seen.not_found + seen.closed, 0);
    for (size_t taken = 0; taken < (size_t)THREADS * SENDS;) {
        amqp_message_t got = plain_get(queue);
        taken += take_apart(&got, next);
        amqp_destroy_message(&got);
    }
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], SENDS);
    test_wait_for_depth(queue, 0);
}

/* ---- misuse, and no memory ---- */

static void test_without_memory_a_message_is_added_or_refused_but_never_lost(void **state)
{
    (void)state;
    enum { MOST = 10 };
    outcomes seen = {0};
    int accepted = 0;
    coney_message *message = test_text("scarce");
    use(100, 0, 0);
    for (int successes = 0; successes < MOST; successes++) {
        cny_alloc_fail_after(successes);
        coney_status status = coney_batching_template_send(batching, queue, message, NULL, count, &seen);
        cny_alloc_fail_after(-1);
        accepted += status == CONEY_OK;
        if (status != CONEY_OK)
            assert_int_equal(status, CONEY_E_NO_MEMORY);
        assert_ok(coney_batching_template_flush(batching)); /* so that the next one begins a batch */
        assert_ok(coney_template_wait_for_confirms(client.sender, 10000));
    }
    assert_true(accepted > 0 && accepted < MOST);
    assert_int_equal(seen.ok, accepted);
    test_wait_for_depth(queue, (uint32_t)accepted);
    coney_message_unref(message);
}

static void test_options_are_checked(void **state)
{
    (void)state;
    coney_batching_template *none = NULL;
    assert_fails(coney_batching_template_new(NULL, client.sender, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_batching_template_new(&none, NULL, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_batching_template_new(&none, client.sender, &(coney_batching_options){.batch_size = -1}),
                 CONEY_E_INVALID, "batch_size is -1");
    assert_fails(coney_batching_template_new(&none, client.sender,
                                             &(coney_batching_options){.batch_size = CONEY_MAX_BATCH_SIZE + 1}),
                 CONEY_E_INVALID, "batch_size is 100001");
    assert_null(none);
    assert_fails(coney_batching_template_flush(NULL), CONEY_E_INVALID, "NULL");
    coney_batching_template_free(NULL);
}

static void test_sends_are_checked_before_they_are_added(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    outcomes seen = {0};
    coney_message *pair[] = {test_text("a"), test_text("b")}, *batch;
    assert_ok(coney_message_batch(&batch, pair, 2));
    use(10, 0, 0);
    assert_fails(coney_batching_template_send(NULL, queue, pair[0], NULL, NULL, NULL), CONEY_E_INVALID, "NULL");
    assert_fails(coney_batching_template_send(batching, queue, NULL, NULL, count, &seen), CONEY_E_INVALID,
                 "message is NULL");
    assert_fails(coney_batching_template_send(batching, queue, batch, NULL, count, &seen), CONEY_E_INVALID,
                 "a batch already");
    assert_fails(coney_batching_template_send(batching, name, pair[0], NULL, count, &seen), CONEY_E_INVALID,
                 "routing key");
    assert_fails(
        coney_batching_template_send(batching, queue, pair[0], &(coney_send_options){.exchange = name}, count, &seen),
        CONEY_E_INVALID, "exchange");
    assert_fails(
        coney_batching_template_send(batching, queue, pair[0], &(coney_send_options){.timeout_ms = -1}, count, &seen),
        CONEY_E_INVALID, "timeout_ms is -1");
    assert_fails(coney_batching_template_send(batching, queue, pair[0],
                                              &(coney_send_options){.properties = &(coney_properties){0}}, count,
                                              &seen),
                 CONEY_E_INVALID, "properties belong to the message");
    coney_batching_template_free(batching);
    batching = NULL;
    assert_int_equal(seen.ok + seen.other, 0);
    coney_message_unref(batch);
    coney_message_unref(pair[0]);
    coney_message_unref(pair[1]);
}

int main(void)
{
#define batching_test(test) cmocka_unit_test_setup_teardown(test, empty_queue, end_of_test)
    const struct CMUnitTest tests[] = {
        batching_test(test_batch_is_on_the_wire_as_springs),
        batching_test(test_timeout_sends_a_single_message_plain),
        batching_test(test_timeout_begins_again_with_each_message),
        batching_test(test_without_timeout_a_message_waits_for_the_flush),
        batching_test(test_message_beyond_the_limit_sends_what_is_there_first),
        batching_test(test_message_larger_than_the_limit_goes_alone_and_in_order),
        batching_test(test_another_address_sends_what_is_there_first),
        batching_test(test_returned_batch_returns_each_message),
        batching_test(test_missing_exchange_is_told_to_each_message),
        batching_test(test_failure_without_callback_is_logged),
        batching_test(test_headers_that_fit_no_frame_fail_each_message_once),
        batching_test(test_callback_may_send),
        batching_test(test_free_flushes_and_waits_for_the_callbacks),
        batching_test(test_closing_the_factory_flushes),
        batching_test(test_template_freed_first_closes_what_is_gathered),
        batching_test(test_free_in_a_callback_is_logged_and_not_done),
        batching_test(test_many_threads_keep_their_order_and_each_message_completes_once),
        batching_test(test_without_memory_a_message_is_added_or_refused_but_never_lost),
        batching_test(test_options_are_checked),
        batching_test(test_sends_are_checked_before_they_are_added),
    };
    return cmocka_run_group_tests_name("batching", tests, setup, teardown);
}
