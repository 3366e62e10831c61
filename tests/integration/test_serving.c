/* SPDX-License-Identifier: MIT */
/* Serving requests: what a handler may return, failures that the sender hears of, deadlines, and processors. */
#include "support/answering.h"

#include <pthread.h>
#include <stdio.h>

static coney_message *reply_of(const char *text)
{
    coney_message *request = test_text(text), *reply;
    assert_ok(coney_template_send_and_receive(asker, &reply, NULL, request, NULL));
    coney_message_unref(request);
    return reply;
}

static void expect_reply(const char *text, const char *body, const char *content_type)
{
    coney_message *reply = reply_of(text);
    assert_int_equal(coney_message_size(reply), strlen(body));
    assert_memory_equal(coney_message_body(reply), body, strlen(body));
    assert_string_equal(coney_message_properties(reply)->content_type, content_type);
    coney_message_unref(reply);
}

static void serve(const coney_listener *listener)
{
    listening_start(listener);
    answering_use(NULL);
}

/* ---- what a handler returns ---- */

typedef struct answer {
    int32_t left;
} answer;

static const coney_field answer_fields[] = {CONEY_FIELD(answer, left, CONEY_INT32)};
static const coney_type answer_type = CONEY_TYPE("shop.Answer", answer, answer_fields);

static coney_outcome give_anything(coney_delivery *delivery, void *user)
{
    char text[64];
    (void)user;
    listening_text(delivery, text);
    if (strcmp(text, "object") == 0)
        check(coney_delivery_set_reply_object(delivery, &answer_type, &(answer){.left = 3}) == CONEY_OK);
    if (strcmp(text, "text") == 0)
        check(coney_delivery_set_reply_text(delivery, "three") == CONEY_OK);
    if (strcmp(text, "bytes") == 0)
        check(coney_delivery_set_reply_bytes(delivery, "\1\2\3", 3) == CONEY_OK);
    if (strcmp(text, "json") == 0) {
        json_t *json = json_integer(3);
        check(coney_delivery_set_reply_json(delivery, json) == CONEY_OK);
        json_decref(json);
    }
    return CONEY_ACK;
}

static void test_handler_returns_any_kind_of_value(void **state)
{
    (void)state;
    serve(&(coney_listener){.on_message = give_anything});
    expect_reply("object", "{\"left\":3}", "application/json");
    expect_reply("json", "3", "application/json");
    expect_reply("text", "three", "text/plain");
    expect_reply("bytes", "\1\2\3", "application/octet-stream");
}

static coney_outcome refuse(coney_delivery *delivery, void *user)
{
    (void)user;
    check(coney_delivery_set_reply_error(delivery, "OUT_OF_STOCK", "only %d are left", 3) == CONEY_OK);
    return CONEY_ACK;
}

static void test_handler_returns_an_error(void **state)
{
    (void)state;
    serve(&(coney_listener){.on_message = refuse});
    assert_fails(answering_status("x", 0), CONEY_E_REMOTE_ERROR, "OUT_OF_STOCK: only 3 are left");
    assert_false(coney_last_error_details()->retriable);
    listening_expect_nothing_left();
}

static coney_delivery *kept;
static atomic_int is_kept;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    kept = coney_delivery_ref(delivery);
    atomic_store(&is_kept, 1);
    return CONEY_DEFER;
}

static void *answer_later(void *unused)
{
    (void)unused;
    test_wait_for(&is_kept, 1);
    check(coney_delivery_set_reply_text(kept, "later") == CONEY_OK);
    check(coney_delivery_settle(kept, CONEY_ACK) == CONEY_OK);
    coney_delivery_unref(kept);
    return NULL;
}

static void test_another_thread_may_answer_later(void **state)
{
    (void)state;
    pthread_t thread;
    atomic_store(&is_kept, 0);
    serve(&(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    assert_int_equal(pthread_create(&thread, NULL, answer_later, NULL), 0);
    expect_reply("x", "later", "text/plain");
    pthread_join(thread, NULL);
}

/* ---- failures ---- */

static coney_outcome fail_for_good(coney_delivery *delivery, void *user)
{
    (void)user;
    char text[64];
    listening_note(delivery);
    coney_outcome outcome = strcmp(listening_text(delivery, text), "reject") == 0 ? CONEY_REJECT : CONEY_RETRY;
    return coney_delivery_fail(delivery, outcome, "no stock of %s", text);
}

static void test_sender_hears_of_a_rejection_and_the_request_is_dead_lettered(void **state)
{
    (void)state;
    serve(&(coney_listener){.on_message = fail_for_good, .return_errors = true});
    assert_fails(answering_status("reject", 0), CONEY_E_REMOTE_ERROR, "HANDLER: no stock of reject");
    test_wait_for_depth(listening.dead, 1);
}

static void test_sender_hears_when_the_attempts_are_used_up(void **state)
{
    (void)state;
    serve(&(coney_listener){
        .on_message = fail_for_good, .return_errors = true, .retry = {.max_attempts = 3, .first_delay_ms = 1}});
    assert_fails(answering_status("again", 0), CONEY_E_REMOTE_ERROR, "no stock of again");
    assert_int_equal(listening.count, 3);
    test_wait_for_depth(listening.dead, 1);
}

static void test_sender_hears_that_a_request_cannot_be_converted(void **state)
{
    (void)state;
    serve(&(coney_listener){.on_message = fail_for_good, .type = &answer_type, .return_errors = true});
    coney_message *request, *reply;
    assert_ok(
        coney_message_new(&request, "{\"left\":\"x\"}", 12, &(coney_properties){.content_type = "application/json"}));
    assert_fails(coney_template_send_and_receive(asker, &reply, NULL, request, NULL), CONEY_E_REMOTE_ERROR,
                 "CONVERSION: it cannot be converted: type 'shop.Answer': $.left: expected integer, got \"x\"");
    assert_string_equal(coney_last_error_details()->remote_code, "CONVERSION");
    assert_int_equal(listening.count, 0);
    coney_message_unref(reply);
    coney_message_unref(request);
}

static void test_without_that_the_sender_hears_nothing(void **state)
{
    (void)state;
    serve(&(coney_listener){.on_message = fail_for_good});
    assert_int_equal(answering_status("reject", 200), CONEY_E_TIMEOUT);
}

static coney_outcome requeue_once(coney_delivery *delivery, void *user)
{
    (void)user;
    if (listening_note(delivery) == 0)
        return CONEY_REQUEUE;
    coney_delivery_set_reply_text(delivery, "second");
    return CONEY_ACK;
}

static void test_request_that_comes_again_is_not_answered_by_an_error(void **state)
{
    (void)state;
    serve(&(coney_listener){.on_message = requeue_once, .return_errors = true});
    expect_reply("x", "second", "text/plain");
}

/* ---- deadlines ---- */

static atomic_llong time_left;

static coney_outcome note_time(coney_delivery *delivery, void *user)
{
    (void)user;
    atomic_store(&time_left, coney_delivery_time_left_ms(delivery));
    listening_note(delivery);
    return CONEY_ACK;
}

static void send_with_timeout(coney_value timeout, const char *reply_to)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set(headers, CONEY_HEADER_TIMEOUT, &timeout));
    listening_send_with("x", &(coney_properties){.headers = headers, .reply_to = reply_to});
    coney_table_free(headers);
}

static void test_expired_request_is_dead_lettered_unhandled(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = note_time});
    send_with_timeout(coney_value_int64(0), "somewhere");
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening.count, 0);
    assert_int_equal(listening_statistics().expired, 1);
    assert_int_equal(listening_statistics().rejected, 1);
}

static void test_listener_may_serve_expired_requests(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = note_time, .serve_expired = true});
    send_with_timeout(coney_value_int64(0), "somewhere");
    listening_wait_for_calls(1);
    assert_int_equal(atomic_load(&time_left), 0);
}

static void test_handler_can_ask_for_the_time_left(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = note_time});
    send_with_timeout((coney_value){.type = CONEY_INT32, .as.integer = 60000}, "somewhere");
    listening_wait_for_calls(1);
    assert_int_in_range((int)atomic_load(&time_left), 1, 60000);
}

static void test_what_is_no_time_or_no_request_does_not_expire(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = note_time});
    const coney_value wrong[] = {
        coney_value_int64(-1), coney_value_string("0"), {.type = CONEY_BOOL}, {.type = CONEY_DOUBLE}};
    for (int i = 0; i < (int)COUNT_OF(wrong); i++) {
        send_with_timeout(wrong[i], "somewhere");
        listening_wait_for_calls(i + 1);
        assert_int_equal(atomic_load(&time_left), -1);
    }
    send_with_timeout(coney_value_int64(0), NULL);
    listening_wait_for_calls((int)COUNT_OF(wrong) + 1);
}

/* ---- processors ---- */

static coney_status mark_with_request(coney_message **reply, const coney_delivery *request, void *user)
{
    (void)user;
    char text[64];
    const coney_value value = coney_value_string(listening_text(request, text));
    coney_message *before = *reply;
    check(strcmp(coney_message_properties(before)->correlation_id,
                 coney_message_properties(coney_delivery_message(request))->correlation_id) == 0);
    return coney_message_with_header(reply, before, "request", &value);
}

static coney_status mark_again(coney_message **reply, const char *exchange, const char *routing_key, void *user)
{
    (void)exchange, (void)routing_key, (void)user;
    coney_message *before = *reply;
    check(coney_message_header(before, "request") != NULL);
    const coney_value value = coney_value_string("second");
    return coney_message_with_header(reply, before, "second", &value);
}

static void test_processor_of_replies_sees_the_request_and_comes_first(void **state)
{
    (void)state;
    serve(&(coney_listener){
        .on_message = give_anything, .process_reply = mark_with_request, .reply_processor = {.process = mark_again}});
    coney_message *reply = reply_of("text");
    assert_string_equal(coney_message_header(reply, "request")->as.bytes.data, "text");
    assert_non_null(coney_message_header(reply, "second"));
    coney_message_unref(reply);
}

/* ---- receiving and replying ---- */

static coney_status make_answer(coney_message *request, coney_message **reply, void *user)
{
    (void)request, (void)user;
    *reply = test_text("taken");
    return CONEY_OK;
}

static void test_template_replies_with_the_id_of_a_header(void **state)
{
    (void)state;
    bool received;
    answering_use(&(coney_rpc_options){.correlation_header = "my-id"});
    coney_request *request = answering_begin("x", 0);
    assert_ok(coney_template_receive_and_reply(
        client.sender, listening.queue,
        &(coney_reply_options){.timeout_ms = TEST_PATIENCE_MS, .correlation_header = "my-id"}, &received, make_answer,
        NULL));
    assert_true(received);
    assert_ok(coney_request_wait(request, TEST_PATIENCE_MS));
    coney_request_free(request);
}

static void test_template_does_not_reply_to_an_expired_request(void **state)
{
    (void)state;
    bool received;
    send_with_timeout(coney_value_int64(0), "somewhere");
    assert_fails(coney_template_receive_and_reply(client.sender, listening.queue,
                                                  &(coney_reply_options){.timeout_ms = TEST_PATIENCE_MS}, &received,
                                                  make_answer, NULL),
                 CONEY_E_TIMEOUT, "does not wait any more");
    assert_false(received);
    test_wait_for_depth(listening.dead, 1);
}

static int teardown(void **state)
{
    coney_template_free(asker);
    asker = NULL;
    return listening_teardown(state);
}

int main(void)
{
#define serving_test(function) cmocka_unit_test_setup_teardown(function, listening_setup, teardown)
    const struct CMUnitTest tests[] = {
        serving_test(test_handler_returns_any_kind_of_value),
        serving_test(test_handler_returns_an_error),
        serving_test(test_another_thread_may_answer_later),
        serving_test(test_sender_hears_of_a_rejection_and_the_request_is_dead_lettered),
        serving_test(test_sender_hears_when_the_attempts_are_used_up),
        serving_test(test_sender_hears_that_a_request_cannot_be_converted),
        serving_test(test_without_that_the_sender_hears_nothing),
        serving_test(test_request_that_comes_again_is_not_answered_by_an_error),
        serving_test(test_expired_request_is_dead_lettered_unhandled),
        serving_test(test_listener_may_serve_expired_requests),
        serving_test(test_handler_can_ask_for_the_time_left),
        serving_test(test_what_is_no_time_or_no_request_does_not_expire),
        serving_test(test_processor_of_replies_sees_the_request_and_comes_first),
        serving_test(test_template_replies_with_the_id_of_a_header),
        serving_test(test_template_does_not_reply_to_an_expired_request),
    };
    return cmocka_run_group_tests_name("serving", tests, test_client_setup, test_client_teardown);
}
