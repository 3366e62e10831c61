/* SPDX-License-Identifier: MIT */
/* Replies: where they go, what they are correlated with, how they are made, and what becomes of a request whose reply
 * cannot be sent. */
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>
#include <unistd.h>

static const char *replies;

static int setup(void **state)
{
    int status = listening_setup(state);
    replies = listening_make_other_queue("replies");
    return status;
}

static coney_status reply_with(coney_delivery *delivery, const char *text, const coney_properties *properties)
{
    coney_message *reply;
    if (coney_message_new(&reply, text, strlen(text), properties) != CONEY_OK)
        return CONEY_E_NO_MEMORY;
    coney_status status = coney_delivery_reply(delivery, reply);
    coney_message_unref(reply);
    return status;
}

static coney_outcome answer(coney_delivery *delivery, void *user)
{
    (void)user;
    listening_note(delivery);
    check(reply_with(delivery, "the answer", NULL) == CONEY_OK);
    return CONEY_ACK;
}

static void bind_replies(const char *exchange)
{
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = exchange, .destination = replies, .routing_key = replies}));
}

/* ---- where to ---- */

static void test_reply_goes_to_the_queue_that_the_request_names(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = answer});
    listening_send_with("question", &(coney_properties){.reply_to = replies});
    plain_expect_reply(replies, "the answer", NULL);
    listening_expect_nothing_left();
}

static void test_reply_goes_to_the_exchange_and_key_that_the_request_names(void **state)
{
    (void)state;
    char address[256];
    snprintf(address, sizeof address, "amq.direct/%.200s", replies);
    bind_replies("amq.direct");
    listening_start(&(coney_listener){.on_message = answer});
    listening_send_with("question", &(coney_properties){.reply_to = address});
    plain_expect_reply(replies, "the answer", NULL);
}

static void test_reply_goes_to_a_requester_without_a_queue(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = answer});
    for (int i = 0; i < 3; i++) {
        char id[32];
        snprintf(id, sizeof id, "question %d", i);
        plain_ask(listening.queue, "question", id);
        amqp_message_t reply = plain_answer();
        plain_expect_text(reply.body, "the answer");
        plain_expect_text(reply.properties.correlation_id, id);
        amqp_destroy_message(&reply);
    }
}

static void test_reply_goes_where_the_listener_says_if_the_request_does_not(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = answer, .send_to = replies});
    listening_send("question");
    plain_expect_reply(replies, "the answer", NULL);
}

static void test_listener_may_name_exchange_and_key(void **state)
{
    (void)state;
    char address[256];
    snprintf(address, sizeof address, "amq.direct/%.200s", replies);
    bind_replies("amq.direct");
    listening_start(&(coney_listener){.on_message = answer, .send_to = address});
    listening_send("question");
    plain_expect_reply(replies, "the answer", NULL);
}

static void test_request_wins_over_the_listener(void **state)
{
    (void)state;
    const char *other = listening_make_other_queue("other");
    listening_start(&(coney_listener){.on_message = answer, .send_to = other});
    listening_send_with("question", &(coney_properties){.reply_to = replies});
    plain_expect_reply(replies, "the answer", NULL);
    test_wait_for_depth(other, 0);
}

static coney_outcome answer_nowhere(coney_delivery *delivery, void *user)
{
    (void)user;
    check(reply_with(delivery, "the answer", NULL) == CONEY_E_INVALID);
    check(strstr(coney_last_error(), "names no reply_to, and its listener no send_to"));
    check(strstr(coney_last_error(), listening.queue));
    listening_note(delivery);
    return CONEY_ACK;
}

static void test_reply_without_an_address_is_invalid(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = answer_nowhere});
    listening_send("question");
    listening_wait_for_calls(1);
    listening_expect_nothing_left();
}

/* ---- correlation ---- */

static void expect_correlation(const coney_properties *request, const char *expected)
{
    coney_properties made = *request;
    made.reply_to = replies;
    listening_start(&(coney_listener){.on_message = answer});
    listening_send_with("question", &made);
    plain_expect_reply(replies, "the answer", expected);
}

static void test_reply_is_correlated_with_the_correlation_id(void **state)
{
    (void)state;
    expect_correlation(&(coney_properties){.correlation_id = "c-1", .message_id = "m-1"}, "c-1");
}

static void test_reply_is_correlated_with_the_message_id_otherwise(void **state)
{
    (void)state;
    expect_correlation(&(coney_properties){.message_id = "m-1"}, "m-1");
}

static void test_empty_correlation_id_counts_as_none(void **state)
{
    (void)state;
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CORRELATION_ID_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                                                    AMQP_BASIC_REPLY_TO_FLAG,
                                          .reply_to = amqp_cstring_bytes(replies),
                                          .message_id = amqp_cstring_bytes("m-1")};
    listening_start(&(coney_listener){.on_message = answer});
    plain_publish("", listening.queue, &properties, "question");
    plain_expect_reply(replies, "the answer", "m-1");
}

static coney_outcome answer_correlated(coney_delivery *delivery, void *user)
{
    (void)user;
    check(reply_with(delivery, "the answer", &(coney_properties){.correlation_id = "mine"}) == CONEY_OK);
    return CONEY_ACK;
}

static void test_reply_keeps_its_own_correlation_id_if_the_request_has_none(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = answer_correlated});
    listening_send_with("question", &(coney_properties){.reply_to = replies});
    plain_expect_reply(replies, "the answer", "mine");
}

/* ---- converted ---- */

static coney_outcome answer_with_json(coney_delivery *delivery, void *user)
{
    (void)user;
    json_t *object = json_pack("{s:i}", "n", 42);
    check(coney_delivery_convert_and_reply(delivery, object) == CONEY_OK);
    json_decref(object);
    return CONEY_ACK;
}

static coney_outcome answer_with_text(coney_delivery *delivery, void *user)
{
    (void)user;
    check(coney_delivery_convert_and_reply(delivery, "a text") == CONEY_OK);
    check(coney_delivery_convert_and_reply(delivery, "\xff") == CONEY_E_CONVERSION);
    return CONEY_ACK;
}

static void expect_converted(const coney_listener *listener, const char *text, const char *content_type)
{
    listening_start(listener);
    listening_send_with("question", &(coney_properties){.reply_to = replies, .content_type = "text/plain"});
    test_wait_for_depth(replies, 1);
    amqp_message_t reply = plain_get(replies);
    plain_expect_text(reply.body, text);
    plain_expect_text(reply.properties.content_type, content_type);
    amqp_destroy_message(&reply);
}

static void test_object_is_sent_as_json_without_a_converter(void **state)
{
    (void)state;
    expect_converted(&(coney_listener){.on_message = answer_with_json}, "{\"n\":42}", "application/json");
}

static void test_object_is_converted_by_the_listeners_converter(void **state)
{
    (void)state;
    expect_converted(&(coney_listener){.on_message = answer_with_text, .converter = coney_text_converter()}, "a text",
                     "text/plain");
}

static void test_object_is_converted_by_the_reply_converter(void **state)
{
    (void)state;
    expect_converted(&(coney_listener){.on_message = answer_with_json,
                                       .converter = coney_text_converter(),
                                       .reply_converter = coney_json_converter()},
                     "{\"n\":42}", "application/json");
}

/* ---- processed ---- */

static coney_status stamp_or_refuse(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    const coney_properties *properties = coney_message_properties(*message);
    check_text(exchange, "");
    check_text(routing_key, replies);
    check_text(properties->correlation_id, "m-1");
    const char *what = user;
    if (strcmp(what, "refuse") == 0)
        return coney_conversion_failed("not this one");
    if (strcmp(what, "discard") == 0) {
        *message = NULL;
        return CONEY_OK;
    }
    const coney_value stamp = coney_value_string(what);
    return coney_message_with_header(message, *message, "stamp", &stamp);
}

static void start_processing(coney_message_handler *handler, const char *what)
{
    listening_start(&(coney_listener){
        .on_message = handler,
        .send_to = replies,
        .reply_processor = {.process = stamp_or_refuse, .user = (void *)(uintptr_t)what},
    });
    listening_send_with("question", &(coney_properties){.message_id = "m-1"});
}

static void test_processor_gets_the_correlated_reply(void **state)
{
    (void)state;
    start_processing(answer, "approved");
    test_wait_for_depth(replies, 1);
    amqp_message_t reply = plain_get(replies);
    plain_expect_header(&reply, "stamp", "approved");
    plain_expect_text(reply.properties.correlation_id, "m-1");
    amqp_destroy_message(&reply);
}

static void test_processor_may_discard_the_reply(void **state)
{
    (void)state;
    start_processing(answer, "discard");
    listening_wait_for_calls(1);
    listening_expect_nothing_left();
    test_wait_for_depth(replies, 0);
}

static coney_outcome answer_refused(coney_delivery *delivery, void *user)
{
    (void)user;
    check(reply_with(delivery, "the answer", NULL) == CONEY_E_CONVERSION);
    check(strstr(coney_last_error(), "not this one"));
    listening_note(delivery);
    return CONEY_ACK;
}

static void test_processor_may_refuse_the_reply(void **state)
{
    (void)state;
    start_processing(answer_refused, "refuse");
    listening_wait_for_calls(1);
    listening_expect_nothing_left();
    test_wait_for_depth(replies, 0);
}

/* ---- who is gone, and who is late ---- */

static void test_missing_reply_queue_is_no_failure(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = answer});
    listening_send_with("question", &(coney_properties){.reply_to = "no-such-queue"});
    listening_wait_for_calls(1);
    listening_expect_nothing_left();
}

static atomic_int asked, requester_is_gone;

static coney_outcome answer_late(coney_delivery *delivery, void *user)
{
    atomic_store(&asked, 1);
    while (!atomic_load(&requester_is_gone))
        usleep(1000);
    return answer(delivery, user);
}

static void test_requester_that_has_left_is_no_failure(void **state)
{
    (void)state;
    asked = requester_is_gone = 0;
    listening_start(&(coney_listener){.on_message = answer_late});
    plain_ask(listening.queue, "question", "c-1");
    test_wait_for(&asked, 1);
    plain_close();
    requester_is_gone = 1;
    listening_wait_for_calls(1);
    listening_expect_nothing_left();
}

static atomic_int kept_count;
static coney_delivery *kept;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    kept = coney_delivery_ref(delivery);
    atomic_fetch_add(&kept_count, 1);
    return CONEY_DEFER;
}

static void test_reply_may_be_sent_later_from_another_thread(void **state)
{
    (void)state;
    kept_count = 0;
    listening_start(&(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    listening_send_with("question", &(coney_properties){.reply_to = replies, .message_id = "m-1"});
    test_wait_for(&kept_count, 1);
    assert_ok(reply_with(kept, "a late answer", NULL));
    assert_ok(coney_delivery_settle(kept, CONEY_ACK));
    coney_delivery_unref(kept);
    plain_expect_reply(replies, "a late answer", "m-1");
    listening_expect_nothing_left();
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define reply_test(test) cmocka_unit_test_setup_teardown(test, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        reply_test(test_reply_goes_to_the_queue_that_the_request_names),
        reply_test(test_reply_goes_to_the_exchange_and_key_that_the_request_names),
        reply_test(test_reply_goes_to_a_requester_without_a_queue),
        reply_test(test_reply_goes_where_the_listener_says_if_the_request_does_not),
        reply_test(test_listener_may_name_exchange_and_key),
        reply_test(test_request_wins_over_the_listener),
        reply_test(test_reply_without_an_address_is_invalid),
        reply_test(test_reply_is_correlated_with_the_correlation_id),
        reply_test(test_reply_is_correlated_with_the_message_id_otherwise),
        reply_test(test_empty_correlation_id_counts_as_none),
        reply_test(test_reply_keeps_its_own_correlation_id_if_the_request_has_none),
        reply_test(test_object_is_sent_as_json_without_a_converter),
        reply_test(test_object_is_converted_by_the_listeners_converter),
        reply_test(test_object_is_converted_by_the_reply_converter),
        reply_test(test_processor_gets_the_correlated_reply),
        reply_test(test_processor_may_discard_the_reply),
        reply_test(test_processor_may_refuse_the_reply),
        reply_test(test_missing_reply_queue_is_no_failure),
        reply_test(test_requester_that_has_left_is_no_failure),
        reply_test(test_reply_may_be_sent_later_from_another_thread),
    };
    return test_run_with_workers("replies", tests, test_client_setup, teardown);
}
