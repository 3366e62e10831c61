/* SPDX-License-Identifier: MIT */
/* Receiving through the template from a real broker: looking, waiting, converting, replying. */
#include "support/plain_client.h"
#include "support/test_support.h"

#include <coney/amqp/json.h>

#include <poll.h>
#include <pthread.h>
#include <stdio.h>

static const char *queue, *replies;

static int setup(void **state)
{
    test_client_setup(state);
    queue = test_name("receive");
    replies = test_name("replies");
    test_make_queue(queue);
    test_make_queue(replies);
    return 0;
}

static int teardown(void **state)
{
    test_delete_queue(queue);
    test_delete_queue(replies);
    return test_client_teardown(state);
}

static int empty_queues(void **state)
{
    (void)state;
    assert_ok(coney_admin_purge_queue(client.admin, queue, NULL));
    assert_ok(coney_admin_purge_queue(client.admin, replies, NULL));
    return test_no_failed_checks(state);
}

static void send_text(const char *to, const char *text)
{
    coney_message *message = test_text(text);
    assert_ok(coney_template_send(client.sender, to, message, NULL));
    coney_message_unref(message);
}

static void expect_text(const char *from, int timeout_ms, const char *text)
{
    coney_message *message = NULL;
    assert_ok(coney_template_receive(client.sender, from, &message, timeout_ms));
    assert_non_null(message);
    assert_string_equal(coney_message_body(message), text);
    coney_message_unref(message);
}

static void expect_nothing(const char *from, int timeout_ms)
{
    coney_message *message = (coney_message *)&message;
    assert_ok(coney_template_receive(client.sender, from, &message, timeout_ms));
    assert_null(message);
}

/* ---- looking and waiting ---- */

static void test_looking_takes_what_is_there_then_nothing(void **state)
{
    (void)state;
    send_text(queue, "1");
    send_text(queue, "2");
    expect_text(queue, 0, "1");
    expect_text(queue, 0, "2");
    expect_nothing(queue, 0);
    test_wait_for_depth(queue, 0);
}

static void test_received_messages_are_acknowledged(void **state)
{
    (void)state;
    coney_template *other;
    assert_ok(coney_template_new(&other, client.factory, NULL));
    coney_message *message;
    for (int i = 0; i < 2; i++) {
        send_text(queue, "once");
        assert_ok(coney_template_receive(other, queue, &message, i * 5000));
        assert_string_equal(coney_message_body(message), "once");
        assert_string_equal(coney_message_routing_key(message), queue);
        assert_false(coney_message_redelivered(message));
        coney_message_unref(message);
    }
    coney_template_free(other); /* its channels are closed: what is not acknowledged would come back */
    expect_nothing(queue, 300);
}

static void test_waiting_takes_what_is_there_at_once(void **state)
{
    (void)state;
    send_text(queue, "1");
    send_text(queue, "2");
    expect_text(queue, 5000, "1");
    test_wait_for_depth(queue, 1);
    expect_text(queue, 5000, "2");
    expect_nothing(queue, 50);
}

static void *send_late(void *unused)
{
    (void)unused;
    poll(NULL, 0, 150);
    coney_message *message = test_text("late");
    check(coney_template_send(client.sender, queue, message, NULL) == CONEY_OK);
    coney_message_unref(message);
    return NULL;
}

static void test_waiting_takes_what_comes_meanwhile(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_late, NULL), 0);
    expect_text(queue, 9000, "late");
    pthread_join(thread, NULL);
}

static void test_message_after_the_time_out_stays_in_its_queue(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        expect_nothing(queue, 20);
        send_text(queue, "patient");
        test_wait_for_depth(queue, 1);
        assert_ok(coney_admin_purge_queue(client.admin, queue, NULL));
    }
}

static void test_large_message_is_received_whole(void **state)
{
    (void)state;
    coney_message *sent = test_pattern(1000000), *message;
    for (int i = 0; i < 2; i++) {
        assert_ok(coney_template_send(client.sender, queue, sent, NULL));
        assert_ok(coney_template_receive(client.sender, queue, &message, i * 5000));
        assert_int_equal(coney_message_size(message), 1000000);
        assert_true(test_is_pattern(message));
        coney_message_unref(message);
    }
    coney_message_unref(sent);
}

/* ---- what is wrong ---- */

static void test_missing_queue_is_404_and_the_next_receive_works(void **state)
{
    (void)state;
    coney_message *message;
    for (int timeout_ms = 0; timeout_ms < 300; timeout_ms += 200) {
        assert_fails(coney_template_receive(client.sender, "none", &message, timeout_ms), CONEY_E_NOT_FOUND,
                     "no queue 'none'");
        assert_int_equal(coney_last_error_details()->broker_code, 404);
        assert_null(message);
        send_text(queue, "hello");
        expect_text(queue, 0, "hello");
    }
}

static void test_receive_without_a_queue_says_what_to_do(void **state)
{
    (void)state;
    coney_message *message;
    assert_fails(coney_template_receive(client.sender, NULL, &message, 0), CONEY_E_INVALID, "receive_queue");
    assert_fails(coney_template_receive(client.sender, "", &message, 0), CONEY_E_INVALID, "receive_queue");
}

static void test_wrong_arguments_are_refused(void **state)
{
    (void)state;
    char name[257];
    memset(name, 'n', 256);
    name[256] = '\0';
    coney_message *message;
    void *object;
    assert_fails(coney_template_receive(NULL, queue, &message, 0), CONEY_E_INVALID, "template is NULL");
    assert_fails(coney_template_receive(client.sender, queue, NULL, 0), CONEY_E_INVALID, "message is NULL");
    assert_fails(coney_template_receive(client.sender, queue, &message, -1), CONEY_E_INVALID, "timeout_ms is -1");
    assert_fails(coney_template_receive(client.sender, name, &message, 0), CONEY_E_INVALID, "256 bytes");
    assert_fails(coney_template_receive_and_convert(client.sender, queue, NULL, 0), CONEY_E_INVALID, "object is NULL");
    assert_fails(coney_template_receive_and_convert(NULL, queue, &object, 0), CONEY_E_INVALID, "template is NULL");
    assert_fails(coney_template_receive_and_reply(client.sender, queue, NULL, NULL, NULL, NULL), CONEY_E_INVALID,
                 "callback is NULL");
    coney_template *other;
    assert_fails(coney_template_new(&other, client.factory, &(coney_template_options){.receive_queue = name}),
                 CONEY_E_INVALID, "receive_queue");
}

static void test_template_has_a_queue_to_receive_from(void **state)
{
    (void)state;
    coney_template *other;
    coney_message *message;
    assert_ok(coney_template_new(&other, client.factory, &(coney_template_options){.receive_queue = queue}));
    send_text(queue, "mine");
    assert_ok(coney_template_receive(other, NULL, &message, 0));
    assert_string_equal(coney_message_body(message), "mine");
    coney_message_unref(message);
    coney_template_free(other);
}

/* ---- converting ---- */

static void test_object_is_converted(void **state)
{
    (void)state;
    json_t *sent = json_pack("{s:i}", "amount", 3), *object;
    assert_ok(coney_template_convert_and_send(client.sender, queue, sent, NULL));
    assert_ok(coney_template_receive_and_convert(client.sender, queue, (void **)&object, 5000));
    assert_true(json_equal(sent, object));
    json_decref(sent);
    json_decref(object);
    assert_ok(coney_template_receive_and_convert(client.sender, queue, (void **)&object, 0));
    assert_null(object);
}

static void test_what_cannot_be_converted_is_rejected(void **state)
{
    (void)state;
    send_text(queue, "{no json");
    void *object;
    assert_fails(coney_template_receive_and_convert(client.sender, queue, &object, 0), CONEY_E_CONVERSION,
                 "convert from json");
    assert_null(object);
    expect_nothing(queue, 200);
}

/* ---- threads ---- */

enum { THREADS = 6, EACH = 50 };

static void *receive_some(void *counter)
{
    for (int i = 0; i < EACH; i++) {
        coney_message *message = NULL;
        check(coney_template_receive(client.sender, queue, &message, i % 2 ? 9000 : 0) == CONEY_OK);
        if (message)
            atomic_fetch_add((atomic_int *)counter, 1);
        else
            i--;
        coney_message_unref(message);
    }
    return NULL;
}

static void test_threads_receive_each_message_once(void **state)
{
    (void)state;
    atomic_int received = 0;
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS * EACH; i++)
        send_text(queue, "x");
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, receive_some, &received), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(received, THREADS * EACH);
    expect_nothing(queue, 0);
}

/* ---- replying ---- */

static coney_status reply_hello(coney_message *request, coney_message **reply, void *user)
{
    *(int *)user += 1;
    check_text((const char *)coney_message_body(request), "who?");
    return coney_message_new(reply, "hello", 5, &(coney_properties){.type = "greeting", .correlation_id = "own"});
}

static coney_status reply_nothing(coney_message *request, coney_message **reply, void *user)
{
    (void)request;
    (void)reply;
    *(int *)user += 1;
    return CONEY_OK;
}

static coney_status fail_to_reply(coney_message *request, coney_message **reply, void *user)
{
    (void)request;
    *(int *)user += 1;
    coney_message_new(reply, "unsent", 6, NULL);
    return coney_conversion_failed("the clerk is ill");
}

static void ask(const coney_properties *properties)
{
    coney_message *message;
    assert_ok(coney_message_new(&message, "who?", 4, properties));
    assert_ok(coney_template_send(client.sender, queue, message, NULL));
    coney_message_unref(message);
}

static coney_status answer_with(coney_reply_callback *callback, int *calls, bool *received,
                                const coney_reply_options *options)
{
    return coney_template_receive_and_reply(client.sender, queue, options, received, callback, calls);
}

static void expect_reply(const char *correlation_id)
{
    coney_message *message;
    assert_ok(coney_template_receive(client.sender, replies, &message, 0));
    assert_non_null(message);
    assert_string_equal(coney_message_body(message), "hello");
    assert_string_equal(coney_message_properties(message)->type, "greeting");
    assert_string_equal(coney_message_properties(message)->correlation_id, correlation_id);
    coney_message_unref(message);
}

static void test_reply_goes_where_the_request_says(void **state)
{
    (void)state;
    int calls = 0;
    bool received = false;
    ask(&(coney_properties){.reply_to = replies, .correlation_id = "c-1", .message_id = "m-1"});
    assert_ok(answer_with(reply_hello, &calls, &received, NULL));
    assert_true(received);
    expect_reply("c-1");
    expect_nothing(queue, 0);
}

static void test_reply_has_the_message_id_without_a_correlation_id(void **state)
{
    (void)state;
    int calls = 0;
    char to[300];
    snprintf(to, sizeof to, "amq.direct/%s", replies);
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = "amq.direct", .destination = replies, .routing_key = replies}));
    ask(&(coney_properties){.reply_to = to, .message_id = "m-1"});
    assert_ok(answer_with(reply_hello, &calls, NULL, &(coney_reply_options){.timeout_ms = 5000}));
    expect_reply("m-1");
}

static void test_reply_goes_where_the_options_say_if_the_request_does_not(void **state)
{
    (void)state;
    int calls = 0;
    ask(NULL);
    assert_ok(answer_with(reply_hello, &calls, NULL, &(coney_reply_options){.exchange = "", .routing_key = replies}));
    expect_reply("own");
}

static void test_nobody_knows_where_the_reply_goes(void **state)
{
    (void)state;
    int calls = 0;
    ask(NULL);
    assert_fails(answer_with(reply_hello, &calls, NULL, NULL), CONEY_E_INVALID, "names no reply_to");
    expect_text(queue, 0, "who?");
}

static void test_no_request_is_no_error(void **state)
{
    (void)state;
    int calls = 0;
    bool received = true;
    assert_ok(answer_with(reply_hello, &calls, &received, NULL));
    assert_false(received);
    received = true;
    assert_ok(answer_with(reply_hello, &calls, &received, &(coney_reply_options){.timeout_ms = 20}));
    assert_false(received);
    assert_int_equal(calls, 0);
}

static void test_request_without_a_reply_is_done(void **state)
{
    (void)state;
    int calls = 0;
    ask(&(coney_properties){.reply_to = replies});
    assert_ok(answer_with(reply_nothing, &calls, NULL, NULL));
    assert_int_equal(calls, 1);
    expect_nothing(queue, 100);
    expect_nothing(replies, 0);
}

static void test_failing_callback_puts_the_request_back(void **state)
{
    (void)state;
    int calls = 0;
    bool received = false;
    ask(&(coney_properties){.reply_to = replies});
    for (int i = 0; i < 2; i++) {
        assert_fails(answer_with(fail_to_reply, &calls, &received, &(coney_reply_options){.timeout_ms = 5000}),
                     CONEY_E_CONVERSION, "the clerk is ill");
        assert_true(received);
    }
    assert_int_equal(calls, 2);
    expect_nothing(replies, 0);
    expect_text(queue, 5000, "who?");
}

/* ---- replies that nobody takes ---- */

static void test_reply_to_a_requester_that_is_gone_is_dropped(void **state)
{
    (void)state;
    int calls = 0;
    bool received = false;
    ask(&(coney_properties){.reply_to = "gone"});
    assert_ok(answer_with(reply_hello, &calls, &received, NULL));
    assert_true(received);
    expect_nothing(queue, 100);
}

static void test_reply_to_a_requester_that_is_gone_is_returned_if_wanted(void **state)
{
    (void)state;
    int calls = 0;
    ask(&(coney_properties){.reply_to = "gone"});
    assert_fails(answer_with(reply_hello, &calls, NULL, &(coney_reply_options){.return_unroutable = true}),
                 CONEY_E_RETURNED, "routing key 'gone'");
    expect_text(queue, 5000, "who?");
}

static void test_reply_to_the_options_queue_that_is_gone_is_returned_unless_dropped(void **state)
{
    (void)state;
    int calls = 0;
    ask(NULL);
    assert_fails(
        answer_with(reply_hello, &calls, NULL, &(coney_reply_options){.exchange = "", .routing_key = "options.gone"}),
        CONEY_E_RETURNED, "routing key 'options.gone'");
    test_wait_for_depth(queue, 1);
    assert_ok(
        answer_with(reply_hello, &calls, NULL,
                    &(coney_reply_options){.exchange = "", .routing_key = "options.gone", .drop_unroutable = true}));
    expect_nothing(queue, 100);
}

static void test_reply_to_a_requesters_exchange_that_does_not_exist_reaches_nobody(void **state)
{
    (void)state;
    int calls = 0;
    ask(&(coney_properties){.reply_to = "no-such-exchange/key", .message_id = "m-1"});
    test_log_start(CONEY_LOG_WARN);
    assert_ok(answer_with(reply_hello, &calls, NULL, NULL));
    test_log_expect("the reply to message 'm-1' reaches nobody");
    test_log_expect("no exchange 'no-such-exchange'");
    test_log_stop();
    expect_nothing(queue, 100);
}

static void test_reply_to_a_requesters_exchange_that_does_not_exist_fails_if_wanted(void **state)
{
    (void)state;
    int calls = 0;
    ask(&(coney_properties){.reply_to = "no-such-exchange/key"});
    assert_fails(answer_with(reply_hello, &calls, NULL, &(coney_reply_options){.return_unroutable = true}),
                 CONEY_E_NOT_FOUND, "no exchange 'no-such-exchange'");
    expect_text(queue, 5000, "who?");
}

static void test_reply_to_the_options_exchange_that_does_not_exist_puts_the_request_back(void **state)
{
    (void)state;
    int calls = 0;
    ask(NULL);
    assert_fails(answer_with(reply_hello, &calls, NULL,
                             &(coney_reply_options){.exchange = "no-such-exchange", .drop_unroutable = true}),
                 CONEY_E_NOT_FOUND, "no exchange 'no-such-exchange'");
    expect_text(queue, 5000, "who?");
}

/* As another client may send it: a name that Coney cannot send to. */
static void test_reply_to_a_requesters_name_that_is_not_utf8_reaches_nobody(void **state)
{
    (void)state;
    int calls = 0;
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_REPLY_TO_FLAG, .reply_to = amqp_cstring_bytes("\xff")};
    plain_publish("", queue, &properties, "who?");
    plain_close();
    test_log_start(CONEY_LOG_WARN);
    assert_ok(answer_with(reply_hello, &calls, NULL, &(coney_reply_options){.timeout_ms = 5000}));
    assert_int_equal(calls, 1);
    test_log_expect("reaches nobody");
    test_log_expect("routing key is not UTF-8");
    test_log_stop();
    expect_nothing(queue, 100);
}

static void test_reply_cannot_be_dropped_and_returned(void **state)
{
    (void)state;
    int calls = 0;
    bool received = true;
    ask(&(coney_properties){.reply_to = replies});
    assert_fails(answer_with(reply_hello, &calls, &received,
                             &(coney_reply_options){.drop_unroutable = true, .return_unroutable = true}),
                 CONEY_E_INVALID, "drop_unroutable and return_unroutable contradict each other");
    assert_false(received);
    assert_int_equal(calls, 0);
    expect_text(queue, 0, "who?");
}

#define receive_test(function) cmocka_unit_test_teardown(function, empty_queues)

int main(void)
{
    const struct CMUnitTest tests[] = {
        receive_test(test_looking_takes_what_is_there_then_nothing),
        receive_test(test_received_messages_are_acknowledged),
        receive_test(test_waiting_takes_what_is_there_at_once),
        receive_test(test_waiting_takes_what_comes_meanwhile),
        receive_test(test_message_after_the_time_out_stays_in_its_queue),
        receive_test(test_large_message_is_received_whole),
        receive_test(test_missing_queue_is_404_and_the_next_receive_works),
        receive_test(test_receive_without_a_queue_says_what_to_do),
        receive_test(test_wrong_arguments_are_refused),
        receive_test(test_template_has_a_queue_to_receive_from),
        receive_test(test_object_is_converted),
        receive_test(test_what_cannot_be_converted_is_rejected),
        receive_test(test_threads_receive_each_message_once),
        receive_test(test_reply_goes_where_the_request_says),
        receive_test(test_reply_has_the_message_id_without_a_correlation_id),
        receive_test(test_reply_goes_where_the_options_say_if_the_request_does_not),
        receive_test(test_nobody_knows_where_the_reply_goes),
        receive_test(test_no_request_is_no_error),
        receive_test(test_request_without_a_reply_is_done),
        receive_test(test_failing_callback_puts_the_request_back),
        receive_test(test_reply_to_a_requester_that_is_gone_is_dropped),
        receive_test(test_reply_to_a_requester_that_is_gone_is_returned_if_wanted),
        receive_test(test_reply_to_the_options_queue_that_is_gone_is_returned_unless_dropped),
        receive_test(test_reply_to_a_requesters_exchange_that_does_not_exist_reaches_nobody),
        receive_test(test_reply_to_a_requesters_exchange_that_does_not_exist_fails_if_wanted),
        receive_test(test_reply_to_the_options_exchange_that_does_not_exist_puts_the_request_back),
        receive_test(test_reply_to_a_requesters_name_that_is_not_utf8_reaches_nobody),
        receive_test(test_reply_cannot_be_dropped_and_returned),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
