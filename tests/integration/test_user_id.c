/* SPDX-License-Identifier: MIT */
/* The user id of a received message tells who sent that one. It is no property of what this program sends: the broker
 * closes the channel (406) over the id of anybody but the user who is logged in. */
#include "support/listening.h"
#include "support/plain_client.h"

static const char *other;

static int setup(void **state)
{
    int status = listening_setup(state);
    other = listening_make_other_queue("other");
    return status;
}

/* A message that came with the user id "guest"; the caller's. */
static coney_message *receive_one(void)
{
    coney_message *message;
    listening_send_with("text", &(coney_properties){.user_id = "guest", .type = "t", .reply_to = other});
    assert_ok(coney_template_receive(client.sender, listening.queue, &message, TEST_PATIENCE_MS));
    assert_non_null(message);
    return message;
}

/* Takes the message from the other queue and looks at what the wire says; NULL: no user id. */
static void expect_user_id(const char *user_id)
{
    test_wait_for_depth(other, 1);
    amqp_message_t message = plain_get(other);
    bool has_one = message.properties._flags & AMQP_BASIC_USER_ID_FLAG;
    if (has_one && user_id)
        plain_expect_text(message.properties.user_id, user_id);
    amqp_destroy_message(&message);
    assert_int_equal(has_one, user_id != NULL);
}

static void forward(coney_template *sender, coney_message *message, const char *expected)
{
    assert_ok(coney_template_send(sender, other, message, NULL));
    expect_user_id(expected);
}

static void test_received_message_is_forwarded_without_its_user_id(void **state)
{
    (void)state;
    coney_message *message = receive_one();
    assert_string_equal(coney_message_received_user_id(message), "guest");
    forward(client.sender, message, NULL);
    coney_message_unref(message);
}

static void test_copies_of_a_received_message_are_sent_without_its_user_id(void **state)
{
    (void)state;
    coney_message *message = receive_one(), *copy;
    const coney_value value = coney_value_int64(1);
    assert_ok(coney_message_with(&copy, message, NULL, "other", 5));
    forward(client.sender, copy, NULL);
    coney_message_unref(copy);
    assert_ok(coney_message_with_header(&copy, message, "n", &value));
    forward(client.sender, copy, NULL);
    coney_message_unref(copy);
    assert_ok(coney_message_new(&copy, "new", 3, coney_message_properties(message)));
    forward(client.sender, copy, NULL);
    coney_message_unref(copy);
    coney_message_unref(message);
}

static void test_batch_of_received_messages_is_sent_without_their_user_id(void **state)
{
    (void)state;
    coney_message *messages[] = {receive_one(), receive_one()}, *batch;
    assert_ok(coney_message_batch(&batch, messages, COUNT_OF(messages)));
    forward(client.sender, batch, NULL);
    coney_message_unref(batch);
    coney_message_unref(messages[0]);
    coney_message_unref(messages[1]);
}

static void test_batching_template_sends_a_received_message_without_its_user_id(void **state)
{
    (void)state;
    coney_batching_template *batching;
    coney_message *message = receive_one();
    assert_ok(coney_batching_template_new(&batching, client.sender, NULL));
    for (int i = 0; i < 2; i++)
        assert_ok(coney_batching_template_send(batching, other, message, NULL, NULL, NULL));
    assert_ok(coney_batching_template_flush(batching));
    expect_user_id(NULL);
    coney_batching_template_free(batching);
    coney_message_unref(message);
}

static void test_user_id_that_the_program_sets_is_sent_even_if_it_is_the_received_one(void **state)
{
    (void)state;
    coney_message *message = receive_one(), *copy;
    coney_properties properties = *coney_message_properties(message);
    properties.user_id = "guest";
    assert_ok(coney_message_with(&copy, message, &properties, NULL, 0));
    forward(client.sender, copy, "guest");
    coney_message_unref(copy);
    coney_message_unref(message);
}

static void test_user_id_of_the_template_is_set_on_a_received_message(void **state)
{
    (void)state;
    coney_template *sender;
    coney_message *message = receive_one();
    assert_ok(coney_template_new(&sender, client.factory, &(coney_template_options){.user_id = "guest"}));
    forward(sender, message, "guest");
    coney_template_free(sender);
    coney_message_unref(message);
}

/* ---- replies ---- */

static coney_status echo(coney_message *request, coney_message **reply, void *user)
{
    (void)user;
    *reply = coney_message_ref(request);
    return CONEY_OK;
}

static void test_request_that_receive_and_reply_sends_back_goes_without_its_user_id(void **state)
{
    (void)state;
    listening_send_with("question", &(coney_properties){.user_id = "guest", .reply_to = other});
    assert_ok(coney_template_receive_and_reply(client.sender, listening.queue, NULL, NULL, echo, NULL));
    expect_user_id(NULL);
}

static coney_outcome reply_with_the_request(coney_delivery *delivery, void *user)
{
    (void)user;
    check(coney_delivery_reply(delivery, coney_delivery_message(delivery)) == CONEY_OK);
    return CONEY_ACK;
}

static void test_request_that_a_listener_sends_back_goes_without_its_user_id(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = reply_with_the_request});
    listening_send_with("question", &(coney_properties){.user_id = "guest", .reply_to = other, .correlation_id = "c"});
    expect_user_id(NULL);
}

static coney_outcome send_on(coney_delivery *delivery, void *user)
{
    (void)user;
    check(coney_delivery_send(delivery, "", other, coney_delivery_message(delivery)) == CONEY_OK);
    return CONEY_ACK;
}

static void test_transacted_listener_forwards_without_the_user_id(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = send_on, .transacted = true});
    listening_send_with("text", &(coney_properties){.user_id = "guest"});
    expect_user_id(NULL);
}

/* ---- what is reprocessed ---- */

static void test_parked_message_has_no_user_id(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.exhausted = CONEY_EXHAUSTED_PARK, .parking_queue = other}});
    listening_send_with("fail", &(coney_properties){.user_id = "guest"});
    expect_user_id(NULL);
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define user_id_test(function) cmocka_unit_test_setup_teardown(function, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        user_id_test(test_received_message_is_forwarded_without_its_user_id),
        user_id_test(test_copies_of_a_received_message_are_sent_without_its_user_id),
        user_id_test(test_batch_of_received_messages_is_sent_without_their_user_id),
        user_id_test(test_batching_template_sends_a_received_message_without_its_user_id),
        user_id_test(test_user_id_that_the_program_sets_is_sent_even_if_it_is_the_received_one),
        user_id_test(test_user_id_of_the_template_is_set_on_a_received_message),
        user_id_test(test_request_that_receive_and_reply_sends_back_goes_without_its_user_id),
        user_id_test(test_request_that_a_listener_sends_back_goes_without_its_user_id),
        user_id_test(test_transacted_listener_forwards_without_the_user_id),
        user_id_test(test_parked_message_has_no_user_id),
    };
    return cmocka_run_group_tests_name("user id", tests, test_client_setup, teardown);
}
