/* SPDX-License-Identifier: MIT */
/* Requests and replies: RpcCases.java and Listeners.java are the other side. */
#include "interop.h"

#include <coney/rabbit/request.h>

#include <stdio.h>
#include <stdlib.h>

#define ANSWER "{'id':'A-17','reason':'answered'}"

/* ---- asking Spring ---- */

typedef struct asked {
    coney_template *asker;
    coney_message *reply;
    coney_status status;
} asked;

static asked ask(const char *service, const coney_rpc_options *rpc, const char *body, const char *content_type,
                 int timeout_ms)
{
    asked one = {0};
    coney_message *request;
    assert_ok(coney_message_new(&request, body, strlen(body), &(coney_properties){.content_type = content_type}));
    assert_ok(coney_template_new(
        &one.asker, client.factory,
        &(coney_template_options){.routing_key = interop_name(service), .rpc = rpc ? *rpc : (coney_rpc_options){0}}));
    one.status = coney_template_send_and_receive(one.asker, &one.reply, NULL, request,
                                                 &(coney_request_options){.timeout_ms = timeout_ms});
    coney_message_unref(request);
    return one;
}

static void finish(asked *one)
{
    coney_message_unref(one->reply);
    coney_template_free(one->asker);
}

static asked ask_json(const char *service, const coney_rpc_options *rpc, int timeout_ms)
{
    json_t *order = interop_json(INTEROP_ORDER);
    char *text = json_dumps(order, JSON_COMPACT);
    asked one = ask(service, rpc, text, "application/json", timeout_ms);
    free(text);
    json_decref(order);
    return one;
}

static void expect_answer(const char *service, const coney_rpc_options *rpc)
{
    asked one = ask_json(service, rpc, interop_patience());
    if (one.status != CONEY_OK)
        fail_msg("%s", coney_last_error());
    interop_expect_header(one.reply, "__TypeId__", "org.coney.interop.Samples$Cancellation");
    interop_expect_json(one.reply, ANSWER);
    finish(&one);
}

static void ask_directly(const char *queue)
{
    (void)queue;
    expect_answer("rpc-direct.spring", NULL);
}

static void ask_by_temporary_queue(const char *queue)
{
    (void)queue;
    expect_answer("rpc-temporary.spring", &(coney_rpc_options){.reply_path = CONEY_REPLY_TEMPORARY_QUEUE});
}

/* The case's own queue. First by its name, then by exchange and routing key. */
static void ask_by_fixed_queue(const char *queue)
{
    char address[300];
    expect_answer("rpc-fixed.spring", &(coney_rpc_options){.reply_queue = queue});
    snprintf(address, sizeof address, "amq.direct/%.255s", queue);
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = "amq.direct", .destination = queue, .routing_key = queue}));
    expect_answer("rpc-fixed.spring", &(coney_rpc_options){.reply_queue = queue, .reply_address = address});
}

static void ask_for_list(const char *queue)
{
    (void)queue;
    asked one = ask_json("rpc-list.spring", NULL, interop_patience());
    assert_int_equal(one.status, CONEY_OK);
    interop_expect_json(one.reply, "[{'id':'A-17','reason':'first'},{'id':'A-17','reason':'second'}]");
    finish(&one);
}

static void ask_for_nothing(const char *queue)
{
    (void)queue;
    asked one = ask_json("rpc-void.spring", NULL, 500);
    assert_int_equal(one.status, CONEY_E_TIMEOUT);
    finish(&one);
}

static void expect_remote_error(asked *one, const char *code, const char *message)
{
    const coney_error *error = coney_last_error_details();
    if (one->status != CONEY_E_REMOTE_ERROR)
        fail_msg("%s: %s", coney_status_name(one->status), coney_last_error());
    assert_string_equal(error->remote_code, code);
    assert_string_equal(error->remote_message, message);
    finish(one);
}

static void ask_for_failure_as_json(const char *queue)
{
    (void)queue;
    asked one = ask_json("rpc-fails-json.spring", NULL, interop_patience());
    expect_remote_error(&one, "java.lang.Throwable", "no stock of A-17");
}

static void ask_for_failure_as_java(const char *queue)
{
    (void)queue;
    asked one = ask("rpc-fails-java.spring", NULL, "bolts", "text/plain", interop_patience());
    expect_remote_error(&one, "java.lang.IllegalStateException", "no stock of bolts");
}

/* ---- serving Spring ---- */

static coney_outcome answer_with_type(coney_delivery *delivery, void *user)
{
    (void)user;
    json_t *answer = interop_json(ANSWER);
    coney_message *reply = NULL;
    coney_table *headers = coney_table_new();
    check(coney_table_set_string(headers, "__TypeId__", "org.coney.interop.Samples$Cancellation") == CONEY_OK);
    check(coney_message_new_json(&reply, answer, &(coney_properties){.headers = headers}) == CONEY_OK);
    coney_delivery_set_reply(delivery, reply);
    coney_table_free(headers);
    json_decref(answer);
    return CONEY_ACK;
}

static void serve_one(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = answer_with_type}, 1);
}

static void serve_three(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = answer_with_type}, 3);
}

static coney_outcome expect_own_id(coney_delivery *delivery, void *user)
{
    check_text(coney_message_properties(coney_delivery_message(delivery))->correlation_id, "c-17");
    return answer_with_type(delivery, user);
}

static void serve_own_id(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = expect_own_id}, 1);
}

static coney_status make_reply(coney_message *request, coney_message **reply, void *user)
{
    (void)request, (void)user;
    json_t *answer = interop_json(ANSWER);
    coney_table *headers = coney_table_new();
    check(coney_table_set_string(headers, "__TypeId__", "org.coney.interop.Samples$Cancellation") == CONEY_OK);
    check(coney_message_new_json(reply, answer, &(coney_properties){.headers = headers}) == CONEY_OK);
    coney_table_free(headers);
    json_decref(answer);
    return CONEY_OK;
}

static void serve_by_key(const char *queue)
{
    bool received;
    const coney_reply_options options = {.timeout_ms = interop_patience(), .correlation_header = "my-key"};
    assert_ok(coney_template_receive_and_reply(client.sender, queue, &options, &received, make_reply, NULL));
    assert_true(received);
}

static coney_outcome answer_by_error(coney_delivery *delivery, void *user)
{
    (void)user;
    check(coney_delivery_set_reply_error(delivery, "OUT_OF_STOCK", "only %d are left", 3) == CONEY_OK);
    return CONEY_ACK;
}

static void serve_errors(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = answer_by_error}, 1);
}

static coney_outcome say_nothing(coney_delivery *delivery, void *user)
{
    (void)delivery, (void)user;
    return CONEY_ACK;
}

static void serve_nothing(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = say_nothing}, 1);
}

const interop_case interop_rpc_cases[] = {
    {.name = "rpc-direct", .serve = ask_directly},
    {.name = "rpc-temporary", .serve = ask_by_temporary_queue},
    {.name = "rpc-fixed", .serve = ask_by_fixed_queue},
    {.name = "rpc-list", .serve = ask_for_list},
    {.name = "rpc-void", .serve = ask_for_nothing},
    {.name = "rpc-fails-json", .serve = ask_for_failure_as_json},
    {.name = "rpc-fails-java", .serve = ask_for_failure_as_java},
    {.name = "rpc-by-fixed-queue", .serve = serve_one},
    {.name = "rpc-by-own-id", .serve = serve_own_id},
    {.name = "rpc-by-key", .serve = serve_by_key},
    {.name = "rpc-error", .serve = serve_errors},
    {.name = "rpc-async", .serve = serve_three},
    {.name = "rpc-async-late", .serve = serve_nothing},
    {0},
};
