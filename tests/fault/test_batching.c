/* SPDX-License-Identifier: MIT */
/* Batches whose connection goes away or never comes: each message of them completes once, and no
 * sender waits beyond its own deadline. */
#include "amqp/amqp.h"
#include "support/fault_fixture.h"

#include <coney/rabbit/batching_template.h>

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_MS = 10000, SHORT_MS = 300, COUNT = 5, MAX_SENDS = 32 };

static struct {
    coney_batching_template *batching;
    coney_status status[MAX_SENDS];
    atomic_int completed[MAX_SENDS]; /* how often */
    pthread_t thread[MAX_SENDS];
    atomic_int other; /* the status of a send in a callback or on another thread, -1 before */
    atomic_int late;
    atomic_bool held;
} all;

static int end_of_test(void **state)
{
    atomic_store(&all.held, false);
    coney_batching_template_free(all.batching);
    all.batching = NULL;
    int wrong = fault_teardown(state);
    for (int i = 0; i < MAX_SENDS; i++) {
        if (all.completed[i] > 1)
            print_error("message %d completed %d times\n", i, all.completed[i]);
        wrong |= atomic_exchange(&all.completed[i], 0) > 1;
    }
    return wrong;
}

static void start(cny_script *script, int batch_size, int timeout_ms)
{
    atomic_store(&all.other, -1);
    fault_start(script, &(coney_connection_factory_options){.connection_timeout_ms = LONG_MS});
    fault_use_template(&(coney_template_options){.timeout_ms = SHORT_MS});
    fault_expect_status(CONEY_OK, coney_batching_template_new(
                                      &all.batching, fault.sender,
                                      &(coney_batching_options){.batch_size = batch_size, .timeout_ms = timeout_ms}));
}

/* With room for one unconfirmed message, and a long time to close. */
static void start_narrow(cny_script *script, int batch_size)
{
    atomic_store(&all.other, -1);
    atomic_store(&all.late, -1);
    fault_start(script, &(coney_connection_factory_options){.close_timeout_ms = LONG_MS});
    fault_use_template(&(coney_template_options){.max_unconfirmed = 1});
    fault_expect_status(CONEY_OK, coney_batching_template_new(&all.batching, fault.sender,
                                                              &(coney_batching_options){.batch_size = batch_size}));
}

/* ---- sends, each with the number of its message as its text ---- */

static void record(coney_message *message, const coney_error *error, void *user)
{
    (void)user;
    int index = atoi(coney_message_body(message));
    all.status[index] = error ? error->status : CONEY_OK;
    all.thread[index] = pthread_self();
    atomic_fetch_add(&all.completed[index], 1);
}

static coney_status add_by(int index, const coney_send_options *options, coney_send_callback *callback)
{
    char text[16];
    snprintf(text, sizeof text, "%d", index);
    coney_message *message = fault_message(text);
    coney_status status = coney_batching_template_send(all.batching, "key", message, options, callback, NULL);
    coney_message_unref(message);
    return status;
}

static coney_status add_with(int index, int timeout_ms, coney_send_callback *callback)
{
    return add_by(index, &(coney_send_options){.timeout_ms = timeout_ms}, callback);
}

static coney_status add(int index, int timeout_ms)
{
    return add_with(index, timeout_ms, record);
}

static void add_all(int from, int to)
{
    for (int i = from; i < to; i++)
        fault_expect_status(CONEY_OK, add(i, LONG_MS));
}

static void expect_completed(int from, int to, coney_status status)
{
    for (int i = from; i < to; i++) {
        fault_wait_until(all.completed[i] > 0);
        assert_int_equal(all.completed[i], 1);
        fault_expect_status(status, all.status[i]);
        assert_false(pthread_equal(all.thread[i], pthread_self()));
    }
}

/* ---- losses ---- */

static void reset_after_one(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_reset(peer);
}

static void test_lost_connection_loses_each_message_of_the_batch_once(void **state)
{
    (void)state;
    start(reset_after_one, COUNT, 0);
    add_all(0, COUNT);
    expect_completed(0, COUNT, CONEY_E_LOST);
    add_all(COUNT, 2 * COUNT);
    expect_completed(COUNT, 2 * COUNT, CONEY_OK);
}

/* ---- send options ---- */

/* The first batch is to be dropped if no queue takes it, the second returned, the third delayed as well. */
static void expect_three_kinds(cny_peer *peer, void *user)
{
    (void)user;
    for (int kind = 0; kind < 3; kind++) {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        const amqp_table_t *headers = &publish->properties->headers;
        bool has_headers = publish->properties->_flags & AMQP_BASIC_HEADERS_FLAG, delayed = false;
        for (int i = 0; has_headers && i < headers->num_entries; i++)
            delayed |= headers->entries[i].key.len == 7 && memcmp(headers->entries[i].key.bytes, "x-delay", 7) == 0;
        cny_peer_check(peer, !((amqp_basic_publish_t *)publish->args)->mandatory == (kind == 0));
        cny_peer_check(peer, delayed == (kind == 2));
        cny_peer_answer(peer, publish);
    }
}

static void test_send_options_are_those_of_the_batch_and_others_get_another(void **state)
{
    (void)state;
    const coney_send_options kept = {.return_unroutable = true};
    const coney_send_options delayed = {.return_unroutable = true, .delay_ms = 100};
    fault_start(expect_three_kinds, NULL);
    fault_use_template(&(coney_template_options){.drop_unroutable = true});
    fault_expect_status(CONEY_OK, coney_batching_template_new(&all.batching, fault.sender, NULL));
    fault_expect_status(CONEY_OK, add_by(0, NULL, record));
    fault_expect_status(CONEY_OK, add_by(1, &kept, record));
    fault_expect_status(CONEY_OK, add_by(2, &delayed, record));
    fault_expect_status(CONEY_OK, add_by(3, &delayed, record));
    fault_expect_status(CONEY_OK, coney_batching_template_flush(all.batching));
    expect_completed(0, 4, CONEY_OK);
    cny_broker_wait(fault.broker, 1);
}

static void test_send_options_that_make_no_sense_are_refused(void **state)
{
    (void)state;
    start(NULL, COUNT, 0);
    fault_expect_status(CONEY_E_INVALID,
                        add_by(0, &(coney_send_options){.drop_unroutable = true, .return_unroutable = true}, record));
    fault_expect_text("batching: drop_unroutable and return_unroutable contradict each other");
    fault_expect_status(CONEY_E_INVALID, add_by(0, &(coney_send_options){.delay_ms = -1}, record));
}

static void nack_one(cny_peer *peer, void *user)
{
    (void)user;
    const cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_nack(peer, publish->channel, publish->number, false);
}

static void test_refused_batch_refuses_each_message(void **state)
{
    (void)state;
    start(nack_one, COUNT, 0);
    add_all(0, COUNT);
    expect_completed(0, COUNT, CONEY_E_NACKED);
}

static void refuse_the_second_for_its_size(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    const cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    char text[120];
    snprintf(text, sizeof text, "PRECONDITION_FAILED - message size %zu is larger than max size %zu", publish->size,
             publish->size - 1);
    cny_peer_close_channel(peer, publish->channel, 406, text);
}

static void test_batch_over_the_limit_is_refused_and_its_neighbour_lost(void **state)
{
    (void)state;
    start(refuse_the_second_for_its_size, COUNT, 0);
    add_all(0, 1);
    fault_expect_status(CONEY_OK, coney_batching_template_flush(all.batching));
    add_all(1, 1 + COUNT);
    expect_completed(0, 1, CONEY_E_LOST);
    expect_completed(1, 1 + COUNT, CONEY_E_PRECONDITION_FAILED);
}

/* ---- no connection ---- */

static void say_nothing(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_silence(peer, CNY_PATIENCE_MS);
}

static void test_batch_that_cannot_be_sent_fails_by_the_deadline_of_the_sender_that_completes_it(void **state)
{
    (void)state;
    start(say_nothing, 3, 0);
    add_all(0, 2);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, add(2, SHORT_MS));
    test_expect_elapsed(began, SHORT_MS - 1, SHORT_MS);
    expect_completed(0, 2, CONEY_E_CONNECT);
    assert_int_equal(all.completed[2], 0); /* its status was the answer */
}

static void test_flush_that_fails_tells_the_callbacks_too(void **state)
{
    (void)state;
    start(say_nothing, COUNT, 0);
    add_all(0, 2);
    fault_expect_status(CONEY_E_CONNECT, coney_batching_template_flush(all.batching));
    expect_completed(0, 2, CONEY_E_CONNECT);
    fault_expect_status(CONEY_OK, coney_batching_template_flush(all.batching));
}

static void test_timer_that_cannot_send_tells_the_callbacks(void **state)
{
    (void)state;
    start(say_nothing, COUNT, 20);
    add_all(0, 2);
    expect_completed(0, 2, CONEY_E_CONNECT);
}

static void test_batch_replaced_by_another_address_fails_alone(void **state)
{
    (void)state;
    start(say_nothing, COUNT, 0);
    add_all(0, 2);
    coney_message *message = fault_message("2");
    fault_expect_status(CONEY_OK,
                        coney_batching_template_send(all.batching, "elsewhere", message,
                                                     &(coney_send_options){.timeout_ms = SHORT_MS}, record, NULL));
    coney_message_unref(message);
    expect_completed(0, 2, CONEY_E_CONNECT);
    assert_int_equal(all.completed[2], 0); /* it is in the next batch */
}

/* ---- deadlines ---- */

static coney_status complete_the_batch(void)
{
    return add(1, 4 * SHORT_MS);
}

static void test_others_go_on_while_a_batch_is_being_sent(void **state)
{
    (void)state;
    start(say_nothing, 2, 0);
    add_all(0, 1);
    fault_in_background(complete_the_batch);
    fault_wait_for_state(CONEY_PUBLISHING, CONEY_CONNECTION_CONNECTING); /* so it has the turn */
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, add(2, SHORT_MS));
    test_expect_elapsed(began, 0, 0);
    began = cny_now_ms();
    fault_expect_status(CONEY_E_LIMIT, add(3, SHORT_MS / 3));
    test_expect_elapsed(began, SHORT_MS / 3 - 1, SHORT_MS / 3);
    fault_expect_text("another thread is still sending its batch");
    fault_expect_status(CONEY_E_TIMEOUT, coney_batching_template_flush(all.batching)); /* within the template's */
    fault_expect_status(CONEY_E_CONNECT, fault_background_end());
    expect_completed(0, 1, CONEY_E_CONNECT);
    assert_int_equal(all.completed[1] + all.completed[2] + all.completed[3], 0);
}

static void confirm_the_first_when_told(cny_peer *peer, void *user)
{
    (void)user;
    const cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t channel = publish->channel;
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, channel, 1, false);
}

static void send_one_more(coney_message *message, const coney_error *error, void *user)
{
    record(message, error, user);
    atomic_store(&all.other, (int)add(2, LONG_MS));
}

static coney_status send_into_the_full_window(void)
{
    return add(1, LONG_MS);
}

static void test_callback_does_not_wait_for_a_sender_that_waits_for_callbacks(void **state)
{
    (void)state;
    start_narrow(confirm_the_first_when_told, 1);
    fault_expect_status(CONEY_OK, add_with(0, LONG_MS, send_one_more));
    fault_in_background(send_into_the_full_window);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 1);
    poll(NULL, 0, 50); /* it should wait by now; if it does not yet, less is tested */
    int64_t began = cny_now_ms();
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    fault_wait_until(all.other >= 0);
    test_expect_elapsed(began, 0, LONG_MS / 2);
    assert_int_equal(all.other, CONEY_OK);
    expect_completed(0, 3, CONEY_OK);
}

static void hold(coney_message *message, const coney_error *error, void *user)
{
    record(message, error, user);
    while (atomic_load(&all.held))
        poll(NULL, 0, 2);
}

static void test_failures_whose_callbacks_hang_are_limited(void **state)
{
    (void)state;
    enum { MOST = 20 };
    start(say_nothing, 2, 0);
    atomic_store(&all.held, true);
    int sent = 0;
    for (coney_status status = CONEY_OK; sent < MOST && status != CONEY_E_LIMIT; sent++) {
        fault_expect_status(CONEY_OK, add_with(sent, 1, hold));
        status = add(31, 1); /* completes the batch, which cannot be sent */
        if (status == CONEY_E_LIMIT)
            fault_expect_text("callbacks of 16 failed batches have not returned");
    }
    assert_int_equal(sent, 17);
    atomic_store(&all.held, false);
    expect_completed(0, 16, CONEY_E_CONNECT);
    fault_expect_status(CONEY_E_CONNECT, add(31, 1));
    expect_completed(16, 17, CONEY_E_CONNECT);
}

/* ---- the end ---- */

static void confirm_nothing(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
}

static void *add_three(void *message)
{
    coney_status status = coney_batching_template_send(all.batching, "key", message,
                                                       &(coney_send_options){.timeout_ms = LONG_MS}, record, NULL);
    atomic_store(&all.other, (int)status);
    return NULL;
}

static void *add_five(void *unused)
{
    (void)unused;
    atomic_store(&all.late, (int)add(5, LONG_MS));
    return NULL;
}

static coney_status close_factory(void)
{
    return coney_connection_factory_close(fault.factory);
}

/* The first batch fills the window, the second waits for room there, the third for its turn. */
static void test_batch_that_waits_for_its_turn_is_sent_though_the_factory_closes(void **state)
{
    (void)state;
    pthread_t second, third;
    start_narrow(confirm_the_first_when_told, 2);
    add_all(0, 3);
    coney_message *three = fault_message("3");
    assert_int_equal(pthread_create(&second, NULL, add_three, three), 0);
    fault_wait_until(atomic_load(&three->refs) > 1); /* it has been added, so its sender has the turn */
    add_all(4, 5);
    assert_int_equal(pthread_create(&third, NULL, add_five, NULL), 0);
    poll(NULL, 0, 50); /* it should wait by now; if it does not yet, less is tested */
    fault_in_background(close_factory);
    fault_wait_until(add(9, 1) == CONEY_E_CLOSED);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    pthread_join(second, NULL);
    pthread_join(third, NULL);
    coney_message_unref(three);
    assert_int_equal(all.other, CONEY_OK);
    assert_int_equal(all.late, CONEY_OK);
    expect_completed(0, 6, CONEY_OK);
}

static void test_closing_the_factory_completes_each_message_once(void **state)
{
    (void)state;
    start(confirm_nothing, COUNT, 0);
    add_all(0, COUNT + 2); /* a batch on its way, and two messages that the close sends */
    fault_expect_status(CONEY_E_TIMEOUT, coney_connection_factory_close(fault.factory));
    expect_completed(0, COUNT + 2, CONEY_E_CLOSED);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 2);
    fault_expect_status(CONEY_E_CLOSED, add(COUNT + 2, SHORT_MS));
}

static void test_closing_the_factory_without_connection_completes_what_is_gathered(void **state)
{
    (void)state;
    start(say_nothing, COUNT, LONG_MS);
    add_all(0, 2);
    fault_expect_status(CONEY_E_CONNECT, coney_connection_factory_close(fault.factory));
    expect_completed(0, 2, CONEY_E_CONNECT);
}

static void test_free_without_confirm_ends_by_the_deadline_and_the_callbacks_run_later(void **state)
{
    (void)state;
    start(confirm_nothing, COUNT, LONG_MS);
    add_all(0, COUNT + 2);
    int64_t began = cny_now_ms();
    coney_batching_template_free(all.batching);
    all.batching = NULL;
    test_expect_elapsed(began, SHORT_MS - 1, SHORT_MS);
    assert_int_equal(all.completed[0], 0);
    coney_template_free(fault.sender);
    fault.sender = NULL;
    expect_completed(0, COUNT + 2, CONEY_E_CLOSED);
}

static void test_child_of_fork_answers_state_and_touches_nothing(void **state)
{
    (void)state;
    start(NULL, COUNT, 20000);
    add_all(0, 1);
    coney_message *message = fault_message("1");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        coney_batching_template *none = NULL;
        bool good = coney_batching_template_send(all.batching, "key", message, NULL, NULL, NULL) == CONEY_E_STATE &&
                    coney_batching_template_flush(all.batching) == CONEY_E_STATE &&
                    coney_batching_template_new(&none, fault.sender, NULL) == CONEY_E_STATE;
        coney_batching_template_free(all.batching);
        _exit(good ? 0 : 1);
    }
    int ended = -1;
    assert_int_equal(waitpid(child, &ended, 0), child);
    assert_int_equal(ended, 0);
    coney_message_unref(message);
    fault_expect_status(CONEY_OK, coney_batching_template_flush(all.batching));
    expect_completed(0, 1, CONEY_OK);
}

int main(void)
{
#define batching_test(function) cmocka_unit_test_teardown(function, end_of_test)
    const struct CMUnitTest tests[] = {
        batching_test(test_lost_connection_loses_each_message_of_the_batch_once),
        batching_test(test_send_options_are_those_of_the_batch_and_others_get_another),
        batching_test(test_send_options_that_make_no_sense_are_refused),
        batching_test(test_refused_batch_refuses_each_message),
        batching_test(test_batch_over_the_limit_is_refused_and_its_neighbour_lost),
        batching_test(test_batch_that_cannot_be_sent_fails_by_the_deadline_of_the_sender_that_completes_it),
        batching_test(test_flush_that_fails_tells_the_callbacks_too),
        batching_test(test_timer_that_cannot_send_tells_the_callbacks),
        batching_test(test_batch_replaced_by_another_address_fails_alone),
        batching_test(test_others_go_on_while_a_batch_is_being_sent),
        batching_test(test_callback_does_not_wait_for_a_sender_that_waits_for_callbacks),
        batching_test(test_failures_whose_callbacks_hang_are_limited),
        batching_test(test_batch_that_waits_for_its_turn_is_sent_though_the_factory_closes),
        batching_test(test_closing_the_factory_completes_each_message_once),
        batching_test(test_closing_the_factory_without_connection_completes_what_is_gathered),
        batching_test(test_free_without_confirm_ends_by_the_deadline_and_the_callbacks_run_later),
        batching_test(test_child_of_fork_answers_state_and_touches_nothing),
    };
    return cmocka_run_group_tests_name("batching", tests, NULL, NULL);
}
