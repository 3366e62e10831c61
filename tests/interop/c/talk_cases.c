/* SPDX-License-Identifier: MIT */
/* Cases with several steps, and with the broker between the two sides: TalkCases.java is the other side. */
#include "interop.h"

#define ORDER "{'id':'A-17','customer':null,'lines':[],'total':1,'note':null}"

/* ---- replies ---- */

static coney_message *answer_to(coney_message *request)
{
    json_t *order, *answer;
    coney_message *reply;
    check(coney_message_json(&order, request) == CONEY_OK);
    answer = json_pack("{s:O, s:s}", "id", json_object_get(order, "id"), "reason", "answered");
    coney_table *headers = coney_table_new();
    check(coney_table_set_string(headers, "__TypeId__", "org.coney.interop.Samples$Cancellation") == CONEY_OK);
    check(coney_message_new_json(&reply, answer, &(coney_properties){.headers = headers}) == CONEY_OK);
    coney_table_free(headers);
    json_decref(answer);
    json_decref(order);
    return reply;
}

static coney_outcome on_request(coney_delivery *delivery, void *user)
{
    (void)user;
    coney_delivery_set_reply(delivery, answer_to(coney_delivery_message(delivery)));
    return CONEY_ACK;
}

static void serve_requests(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = on_request}, 2);
}

static void serve_request_by_exchange(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue, .on_message = on_request}, 1);
}

static coney_status make_reply(coney_message *request, coney_message **reply, void *user)
{
    (void)user;
    *reply = answer_to(request);
    return CONEY_OK;
}

static void serve_requests_one_by_one(const char *queue)
{
    for (int i = 0; i < 2; i++) {
        bool received;
        const coney_reply_options options = {.timeout_ms = interop_patience()};
        assert_ok(coney_template_receive_and_reply(client.sender, queue, &options, &received, make_reply, NULL));
        assert_true(received);
    }
}

static void read_reply(coney_message *message, int index)
{
    (void)index;
    assert_string_equal(coney_message_properties(message)->correlation_id, "c-17");
    interop_expect_header(message, "__TypeId__", "org.coney.interop.Samples$Cancellation");
    interop_expect_json(message, "{'id':'A-17','reason':'answered'}");
}

static void send_request(const char *queue)
{
    coney_message *message;
    json_t *order = interop_json(ORDER);
    assert_ok(coney_message_new_json(
        &message, order,
        &(coney_properties){.reply_to = interop_name("reply-by-spring.coney"), .correlation_id = "c-17"}));
    json_decref(order);
    interop_send(queue, message);
}

/* ---- dead letters ---- */

static void expect_death(coney_message *message, const char *queue)
{
    coney_death death;
    size_t position = 0;
    assert_true(coney_message_next_death(message, &position, &death));
    assert_string_equal(death.reason, CONEY_DEATH_REJECTED);
    assert_string_equal(death.queue, interop_name(queue));
    assert_int_equal(death.count, 1);
    assert_false(coney_message_next_death(message, &position, &death));
}

static void read_death(coney_message *message, int index)
{
    (void)index;
    assert_int_equal(coney_message_size(message), strlen("reject me"));
    expect_death(message, "dead-letter-by-spring.work");
}

static void send_to_be_rejected(const char *queue)
{
    (void)queue;
    interop_declare_dead_lettering("dead-letter-by-spring.work", "dead-letter-by-spring.coney");
    interop_send(interop_name("dead-letter-by-spring.work"), test_text("reject me"));
}

static void read_unreadable(coney_message *message, int index)
{
    (void)index;
    expect_death(message, "unreadable-by-spring.work");
}

static void send_unreadable(const char *queue)
{
    (void)queue;
    coney_message *message;
    interop_declare_dead_lettering("unreadable-by-spring.work", "unreadable-by-spring.coney");
    assert_ok(coney_message_new(&message, "{\"id\":", 6, &(coney_properties){.content_type = "application/json"}));
    interop_send(interop_name("unreadable-by-spring.work"), message);
}

static coney_outcome reject(coney_delivery *delivery, void *user)
{
    (void)user;
    return coney_delivery_fail(delivery, CONEY_REJECT, "not this");
}

static void serve_rejecting(const char *queue)
{
    (void)queue;
    interop_declare_dead_lettering("dead-letter-by-coney.work", "dead-letter-by-coney.spring");
    interop_listen(&(coney_listener){.queue = interop_name("dead-letter-by-coney.work"), .on_message = reject}, 1);
}

static coney_outcome not_called(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    test_check(false, "the body was read", __FILE__, __LINE__);
    return CONEY_ACK;
}

static void serve_unreadable(const char *queue)
{
    (void)queue;
    interop_declare_dead_lettering("unreadable-by-coney.work", "unreadable-by-coney.spring");
    interop_listen(&(coney_listener){.queue = interop_name("unreadable-by-coney.work"),
                                     .on_message = not_called,
                                     .converter = coney_json_converter()},
                   1);
}

/* ---- sent on ---- */

static void serve_forwarding(const char *queue)
{
    coney_message *message;
    assert_ok(coney_template_receive(client.sender, queue, &message, interop_patience()));
    assert_non_null(message);
    assert_string_equal(coney_message_received_user_id(message), "guest");
    assert_int_equal(coney_message_received_delivery_mode(message), CONEY_TRANSIENT);
    interop_send(interop_name("forwarded-by-coney.spring"), message);
}

/* ---- republished with the reason ---- */

static void read_republished(coney_message *message, int index)
{
    (void)index;
    interop_expect_header(message, CONEY_HEADER_EXCEPTION_MESSAGE, "no stock");
    interop_expect_header(message, CONEY_HEADER_ORIGINAL_EXCHANGE, "orders");
    interop_expect_header(message, CONEY_HEADER_ORIGINAL_ROUTING_KEY, "orders.new");
    interop_expect_header(message, "own", "kept");
    assert_int_equal(coney_message_received_delivery_mode(message), CONEY_PERSISTENT);
}

static coney_outcome fail_for_good(coney_delivery *delivery, void *user)
{
    (void)user;
    return coney_delivery_fail(delivery, CONEY_RETRY, "no stock of bolts");
}

static void serve_failing(const char *queue)
{
    interop_listen(&(coney_listener){.queue = queue,
                                     .on_message = fail_for_good,
                                     .retry = {.max_attempts = 1,
                                               .exhausted = CONEY_EXHAUSTED_REPUBLISH,
                                               .routing_key = interop_name("republished-by-coney.spring")}},
                   1);
}

/* ---- things that both sides declare ---- */

static void send_declared(const char *queue)
{
    interop_declare(interop_name("coney-first."));
    interop_send(queue, test_text("declared"));
}

static void serve_declared(const char *queue)
{
    coney_message *message;
    assert_ok(coney_template_receive(client.sender, queue, &message, interop_patience()));
    assert_non_null(message);
    coney_message_unref(message);
    interop_declare(interop_name("spring-first."));
}

const interop_case interop_talk_cases[] = {
    {.name = "reply-by-listener", .serve = serve_requests},
    {.name = "reply-by-receive-and-reply", .serve = serve_requests_one_by_one},
    {.name = "reply-to-exchange", .serve = serve_request_by_exchange},
    {.name = "reply-by-spring", .read = read_reply, .is_answer = true, .send = send_request},
    {.name = "dead-letter-by-spring", .read = read_death, .is_answer = true, .send = send_to_be_rejected},
    {.name = "dead-letter-by-coney", .serve = serve_rejecting},
    {.name = "unreadable-by-spring", .read = read_unreadable, .is_answer = true, .send = send_unreadable},
    {.name = "unreadable-by-coney", .serve = serve_unreadable},
    {.name = "forwarded-by-coney", .serve = serve_forwarding},
    {.name = "republished-by-spring", .read = read_republished},
    {.name = "republished-by-coney", .serve = serve_failing},
    {.name = "declared", .serve = serve_declared, .send = send_declared},
    {0},
};
