/* SPDX-License-Identifier: MIT */
/* Synchronous requests: what the server sees, how they end, and late replies. */
#include "support/answering.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the reply ---- */

static void test_request_is_answered(void **state)
{
    (void)state;
    answering_use(NULL);
    assert_string_equal(answering_ask("echo one", 0), "one");
    assert_string_equal(answering_ask("echo two", 0), "two");
    coney_rpc_statistics statistics = answering_statistics();
    assert_int_equal(statistics.sent, 2);
    assert_int_equal(statistics.replied, 2);
    assert_int_equal(statistics.in_flight, 0);
    assert_int_equal(statistics.channels, 1);
}

static void test_server_sees_reply_address_id_and_deadline(void **state)
{
    (void)state;
    answering_use(NULL);
    assert_non_null(answering_ask("echo x", 20000));
    const coney_properties *seen = coney_message_properties(answering_last());
    assert_memory_equal(seen->reply_to, "amq.rabbitmq.reply-to.", 22);
    assert_true(seen->correlation_id && *seen->correlation_id);
    assert_int_in_range(atoi(seen->expiration), 10000, 20000);
    const coney_value *timeout = coney_message_header(answering_last(), CONEY_HEADER_TIMEOUT);
    assert_int_equal(timeout->type, CONEY_INT64);
    assert_int_in_range(timeout->as.integer, 10000, 20000);
}

static void test_deadline_may_be_hidden(void **state)
{
    (void)state;
    answering_use(&(coney_rpc_options){.hide_deadline = true});
    assert_non_null(answering_ask("echo x", 0));
    assert_null(coney_message_properties(answering_last())->expiration);
    assert_null(coney_message_header(answering_last(), CONEY_HEADER_TIMEOUT));
}

static void test_hidden_deadline_of_a_request_that_is_passed_on_does_not_travel(void **state)
{
    (void)state;
    coney_message *request, *reply;
    const coney_value other = coney_value_int64(1);
    coney_message *plain = test_text("echo x");
    answering_use(&(coney_rpc_options){.hide_deadline = true});
    assert_ok(coney_message_with_header(&request, plain, CONEY_HEADER_TIMEOUT, &other));
    assert_ok(coney_template_send_and_receive(asker, &reply, NULL, request, NULL));
    assert_null(coney_message_header(answering_last(), CONEY_HEADER_TIMEOUT));
    coney_message_unref(reply);
    coney_message_unref(request);
    coney_message_unref(plain);
}

static void test_channel_of_synchronous_requests_is_closed_when_idle(void **state)
{
    (void)state;
    answering_use(&(coney_rpc_options){.idle_ms = 50});
    assert_non_null(answering_ask("echo x", 0));
    test_wait_until(answering_statistics().channels == 0);
}

static void test_shorter_expiration_of_the_program_stays(void **state)
{
    (void)state;
    coney_message *request, *reply;
    answering_use(NULL);
    assert_ok(coney_message_new(&request, "echo x", 6, &(coney_properties){.expiration = "4000"}));
    assert_ok(coney_template_send_and_receive(asker, &reply, NULL, request, NULL));
    assert_string_equal(coney_message_properties(answering_last())->expiration, "4000");
    coney_message_unref(reply);
    coney_message_unref(request);
}

static void test_json_is_converted_both_ways(void **state)
{
    (void)state;
    answering_use(NULL);
    json_t *result;
    json_t *text = json_string("not an object of the server");
    assert_fails(coney_template_request_json(asker, &result, NULL, text, &(coney_request_options){.timeout_ms = 300}),
                 CONEY_E_TIMEOUT, "no reply within");
    assert_null(result);
    json_decref(text);
}

/* ---- how a request ends without a reply ---- */

static void test_unroutable_request_ends_at_once(void **state)
{
    (void)state;
    answering_use(NULL);
    coney_message *request = test_text("echo x"), *reply;
    assert_fails(coney_template_send_and_receive(asker, &reply, test_name("nobody"), request,
                                                 &(coney_request_options){.timeout_ms = TEST_PATIENCE_MS}),
                 CONEY_E_RETURNED, "nobody");
    assert_int_equal(coney_last_error_details()->broker_code, 312);
    assert_null(reply);
    assert_int_equal(answering_statistics().returned, 1);
    coney_message_unref(request);
}

static void test_request_to_missing_exchange_ends_at_once(void **state)
{
    (void)state;
    answering_use(NULL);
    coney_message *request = test_text("echo x"), *reply;
    assert_fails(coney_template_send_and_receive(
                     asker, &reply, NULL, request,
                     &(coney_request_options){.exchange = "coney.test.missing", .timeout_ms = TEST_PATIENCE_MS}),
                 CONEY_E_NOT_FOUND, "no exchange 'coney.test.missing'");
    coney_message_unref(request);
    assert_string_equal(answering_ask("echo again", 0), "again");
}

static void test_request_that_its_queue_refuses_ends_at_once(void **state)
{
    (void)state;
    const char *full = listening_other_queue("full");
    coney_table *arguments = coney_table_new();
    const coney_value none = coney_value_int64(0), reject = coney_value_string("reject-publish");
    assert_ok(coney_table_set(arguments, "x-max-length", &none));
    assert_ok(coney_table_set(arguments, "x-overflow", &reject));
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = full, .arguments = arguments}, NULL));
    coney_table_free(arguments);
    answering_use(NULL);
    coney_message *request = test_text("echo x"), *reply;
    assert_fails(coney_template_send_and_receive(asker, &reply, full, request,
                                                 &(coney_request_options){.timeout_ms = TEST_PATIENCE_MS}),
                 CONEY_E_NACKED, full);
    coney_message_unref(request);
    assert_int_equal(answering_statistics().nacked, 1);
}

static void test_error_reply_is_an_error_with_code_and_text(void **state)
{
    (void)state;
    answering_use(NULL);
    assert_fails(answering_status("error OUT_OF_STOCK", 0), CONEY_E_REMOTE_ERROR, "as asked for");
    const coney_error *error = coney_last_error_details();
    assert_string_equal(error->remote_code, "OUT_OF_STOCK");
    assert_string_equal(error->remote_message, "as asked for");
    assert_true(error->retriable);
    coney_rpc_statistics statistics = answering_statistics();
    assert_int_equal(statistics.remote_errors, 1);
    assert_int_equal(statistics.replied, 0);
}

static void test_request_without_a_reply_times_out(void **state)
{
    (void)state;
    answering_use(NULL);
    assert_fails(answering_status("nothing", 200), CONEY_E_TIMEOUT, "the broker has confirmed the request");
    assert_int_equal(answering_statistics().timed_out, 1);
}

/* ---- late replies ---- */

static atomic_int late_count;
static char late_text[300];
static coney_status late_status;

static void on_late(coney_message *reply, const coney_error *error, void *user)
{
    check(user == &late_count);
    check(coney_message_size(reply) == 4);
    snprintf(late_text, sizeof late_text, "%s", error->text);
    late_status = error->status;
    atomic_fetch_add(&late_count, 1);
}

static void test_late_reply_is_handed_out_and_answers_no_other_request(void **state)
{
    (void)state;
    atomic_store(&late_count, 0);
    answering_use(&(coney_rpc_options){.on_late_reply = on_late, .user = &late_count});
    assert_int_equal(answering_status("hold", 100), CONEY_E_TIMEOUT);
    answering_answer_held(1, "late");
    test_wait_for(&late_count, 1);
    assert_int_equal(late_status, CONEY_E_TIMEOUT);
    assert_non_null(strstr(late_text, "after the end of its request"));
    assert_string_equal(answering_ask("echo next", 0), "next");
    assert_int_equal(answering_statistics().late_replies, 1);
}

static void test_reply_with_a_foreign_id_is_handed_out(void **state)
{
    (void)state;
    atomic_store(&late_count, 0);
    answering_use(&(coney_rpc_options){.on_late_reply = on_late, .user = &late_count});
    coney_request *request = answering_begin("hold", 0);
    test_wait_for(&answering_seen, 1);
    coney_message *reply;
    assert_ok(coney_message_new(&reply, "evil", 4, &(coney_properties){.correlation_id = "guessed"}));
    assert_ok(coney_template_send(client.sender, coney_message_properties(answering_last())->reply_to, reply,
                                  &(coney_send_options){.drop_unroutable = true}));
    coney_message_unref(reply);
    test_wait_for(&late_count, 1);
    assert_int_equal(late_status, CONEY_E_INVALID);
    assert_false(coney_request_is_done(request));
    answering_answer_held(1, "good");
    assert_ok(coney_request_wait(request, TEST_PATIENCE_MS));
    assert_int_equal(answering_statistics().foreign_replies, 1);
    coney_request_free(request);
}

/* ---- ids ---- */

static void test_ids_of_the_program_come_back_with_the_reply(void **state)
{
    (void)state;
    coney_message *request, *reply;
    answering_use(NULL);
    assert_ok(coney_message_new(&request, "echo x", 6,
                                &(coney_properties){.correlation_id = "outer", .reply_to = "outer.replies"}));
    assert_ok(coney_template_send_and_receive(asker, &reply, NULL, request, NULL));
    assert_string_not_equal(coney_message_properties(answering_last())->correlation_id, "outer");
    assert_string_equal(coney_message_properties(reply)->correlation_id, "outer");
    assert_string_equal(coney_message_properties(reply)->reply_to, "outer.replies");
    coney_message_unref(reply);
    coney_message_unref(request);
}

static void test_id_of_the_program_reaches_the_server_if_asked_for(void **state)
{
    (void)state;
    coney_message *request, *reply;
    coney_request *first;
    answering_use(&(coney_rpc_options){.keep_correlation_id = true});
    assert_ok(coney_message_new(&request, "hold", 4, &(coney_properties){.correlation_id = "order 17"}));
    assert_ok(coney_template_begin_request(asker, &first, NULL, request, NULL));
    assert_fails(coney_template_send_and_receive(asker, &reply, NULL, request, NULL), CONEY_E_INVALID, "order 17");
    test_wait_for(&answering_seen, 1);
    assert_string_equal(coney_message_properties(answering_last())->correlation_id, "order 17");
    answering_answer_held(1, "good");
    assert_ok(coney_request_wait(first, TEST_PATIENCE_MS));
    assert_string_equal(coney_message_properties(coney_request_reply(first))->correlation_id, "order 17");
    coney_request_free(first);
    coney_message_unref(request);
}

/* ---- limits and mistakes ---- */

static void test_limit_of_outstanding_requests_is_kept(void **state)
{
    (void)state;
    answering_use(&(coney_rpc_options){.max_outstanding = 1});
    coney_request *first = answering_begin("hold", 0);
    assert_fails(answering_status("echo x", 0), CONEY_E_LIMIT, "max_outstanding 1");
    answering_answer_held(1, "good");
    assert_ok(coney_request_wait(first, TEST_PATIENCE_MS));
    coney_request_free(first);
    assert_string_equal(answering_ask("echo x", 0), "x");
    assert_int_equal(answering_statistics().limited, 1);
}

static void test_wrong_options_are_told(void **state)
{
    (void)state;
    coney_template *made;
    const struct {
        coney_rpc_options options;
        const char *words;
    } cases[] = {
        {{.timeout_ms = -1}, "rpc.timeout_ms is -1"},
        {{.max_per_channel = -2}, "rpc.max_per_channel is -2"},
        {{.reply_path = (coney_reply_path)9}, "rpc.reply_path is 9"},
        {{.reply_path = CONEY_REPLY_FIXED_QUEUE}, "no rpc.reply_queue"},
        {{.reply_path = CONEY_REPLY_DIRECT, .reply_queue = "replies"}, "'replies'"},
        {{.reply_address = "here/there"}, "'here/there'"},
        {{.circuit.open_ms = 5}, "max_failures is 0"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++)
        assert_fails(coney_template_new(&made, client.factory, &(coney_template_options){.rpc = cases[i].options}),
                     CONEY_E_INVALID, cases[i].words);
}

static void test_wrong_options_of_a_request_are_told(void **state)
{
    (void)state;
    coney_message *request = test_text("echo x"), *reply;
    coney_request *handle;
    answering_use(NULL);
    assert_fails(
        coney_template_send_and_receive(asker, &reply, NULL, request, &(coney_request_options){.timeout_ms = -5}),
        CONEY_E_INVALID, "timeout_ms is -5");
    assert_fails(coney_template_begin_request(asker, &handle, NULL, request, &(coney_request_options){.attempts = 2}),
                 CONEY_E_INVALID, "attempts is 2");
    coney_message_unref(request);
}

/* ---- attempts ---- */

static void test_request_is_sent_again_within_its_deadline(void **state)
{
    (void)state;
    coney_message *request = test_text("error BUSY"), *reply;
    answering_use(NULL);
    assert_fails(coney_template_send_and_receive(
                     asker, &reply, NULL, request,
                     &(coney_request_options){.attempts = 3, .retry_delay_ms = 1, .timeout_ms = TEST_PATIENCE_MS}),
                 CONEY_E_REMOTE_ERROR, "BUSY");
    assert_non_null(reply);
    coney_message_unref(reply);
    coney_message_unref(request);
    assert_int_equal(atomic_load(&answering_seen), 3);
    assert_int_equal(answering_statistics().retried, 2);
}

static void test_attempts_share_the_time(void **state)
{
    (void)state;
    coney_message *request = test_text("nothing"), *reply;
    answering_use(NULL);
    assert_fails(coney_template_send_and_receive(
                     asker, &reply, NULL, request,
                     &(coney_request_options){.attempts = 3, .retry_delay_ms = 1, .timeout_ms = 600}),
                 CONEY_E_TIMEOUT, "no reply within");
    assert_int_equal(answering_statistics().timed_out, 3);
    coney_message_unref(request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        answering_test(test_request_is_answered),
        answering_test(test_server_sees_reply_address_id_and_deadline),
        answering_test(test_deadline_may_be_hidden),
        answering_test(test_hidden_deadline_of_a_request_that_is_passed_on_does_not_travel),
        answering_test(test_channel_of_synchronous_requests_is_closed_when_idle),
        answering_test(test_shorter_expiration_of_the_program_stays),
        answering_test(test_json_is_converted_both_ways),
        answering_test(test_unroutable_request_ends_at_once),
        answering_test(test_request_to_missing_exchange_ends_at_once),
        answering_test(test_request_that_its_queue_refuses_ends_at_once),
        answering_test(test_error_reply_is_an_error_with_code_and_text),
        answering_test(test_request_without_a_reply_times_out),
        answering_test(test_late_reply_is_handed_out_and_answers_no_other_request),
        answering_test(test_reply_with_a_foreign_id_is_handed_out),
        answering_test(test_ids_of_the_program_come_back_with_the_reply),
        answering_test(test_id_of_the_program_reaches_the_server_if_asked_for),
        answering_test(test_limit_of_outstanding_requests_is_kept),
        answering_test(test_wrong_options_are_told),
        answering_test(test_wrong_options_of_a_request_are_told),
        answering_test(test_request_is_sent_again_within_its_deadline),
        answering_test(test_attempts_share_the_time),
    };
    return cmocka_run_group_tests_name("requests", tests, test_client_setup, test_client_teardown);
}
