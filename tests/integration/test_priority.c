/* SPDX-License-Identifier: MIT */
/* A message has a priority only if its program sets one: a quorum queue of RabbitMQ 4.3 gives those without before
 * those with 0. What is sent on has what it came with. */
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>

enum { NONE = -1 };

static const int priorities[] = {NONE, 0, 9};

static const char *other;

static int setup(void **state)
{
    int status = listening_setup(state);
    other = listening_make_other_queue("other");
    return status;
}

/* ---- one message ---- */

static void publish_plain(const char *queue, const char *text, int priority)
{
    const amqp_basic_properties_t properties = {
        ._flags = priority == NONE ? 0 : AMQP_BASIC_PRIORITY_FLAG,
        .priority = priority == NONE ? 0 : (uint8_t)priority,
    };
    plain_publish("", queue, &properties, text);
}

/* A message that came with that priority; the caller's. */
static coney_message *receive_one(int priority)
{
    coney_message *message;
    publish_plain(listening.queue, "text", priority);
    assert_ok(coney_template_receive(client.sender, listening.queue, &message, TEST_PATIENCE_MS));
    assert_non_null(message);
    return message;
}

/* Takes the message from the other queue and looks at what the wire says. */
static void expect_priority(int priority)
{
    test_wait_for_depth(other, 1);
    amqp_message_t message = plain_get(other);
    bool has_one = message.properties._flags & AMQP_BASIC_PRIORITY_FLAG;
    int got = has_one ? message.properties.priority : NONE;
    amqp_destroy_message(&message);
    assert_int_equal(got, priority);
}

static void test_message_goes_without_a_priority_unless_one_is_set(void **state)
{
    (void)state;
    listening_send_to("", other, "none", NULL);
    expect_priority(NONE);
    listening_send_to("", other, "nine", &(coney_properties){.priority = 9});
    expect_priority(9);
    listening_send_to("", other, "zero", &(coney_properties){.has_priority = true});
    expect_priority(0);
}

static void test_received_message_tells_no_priority_from_priority_0(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(priorities); i++) {
        coney_message *message = receive_one(priorities[i]);
        const coney_properties *properties = coney_message_properties(message);
        assert_int_equal(properties->has_priority ? properties->priority : NONE, priorities[i]);
        coney_message_unref(message);
    }
}

/* ---- what is sent on ---- */

static void forward(coney_message *message, int priority)
{
    assert_ok(coney_template_send(client.sender, other, message, NULL));
    coney_message_unref(message);
    expect_priority(priority);
}

static void test_copies_of_a_received_message_keep_its_priority(void **state)
{
    (void)state;
    const coney_value value = coney_value_int64(1);
    for (size_t i = 0; i < COUNT_OF(priorities); i++) {
        coney_message *message = receive_one(priorities[i]), *copy;
        assert_ok(coney_message_with(&copy, message, NULL, "other", 5));
        forward(copy, priorities[i]);
        assert_ok(coney_message_with_header(&copy, message, "n", &value));
        forward(copy, priorities[i]);
        assert_ok(coney_message_new(&copy, "new", 3, coney_message_properties(message)));
        forward(copy, priorities[i]);
        assert_ok(coney_message_batch(&copy, &message, 1));
        forward(copy, priorities[i]);
        forward(message, priorities[i]);
    }
}

static coney_outcome reply_with_the_request(coney_delivery *delivery, void *user)
{
    (void)user;
    check(coney_delivery_reply(delivery, coney_delivery_message(delivery)) == CONEY_OK);
    return CONEY_ACK;
}

static void test_request_that_a_listener_sends_back_keeps_its_priority(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = reply_with_the_request, .send_to = other});
    for (size_t i = 0; i < COUNT_OF(priorities); i++) {
        publish_plain(listening.queue, "question", priorities[i]);
        expect_priority(priorities[i]);
    }
}

static void test_message_of_the_ladder_is_parked_with_its_priority(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.delays_ms = {20}, .parking_queue = other}});
    for (size_t i = 0; i < COUNT_OF(priorities); i++) {
        publish_plain(listening.queue, "fail", priorities[i]);
        expect_priority(priorities[i]);
    }
    assert_int_equal(atomic_load(&listening.count), 2 * (int)COUNT_OF(priorities));
    listening_other_queue("retry.20");
}

/* ---- the order of a queue ---- */

/* Five messages of Coney's and of another client, in this order. */
static void fill(const char *queue)
{
    publish_plain(queue, "their 0", 0);
    test_wait_for_depth(queue, 1);
    listening_send_to("", queue, "our none", NULL);
    publish_plain(queue, "their none", NONE);
    test_wait_for_depth(queue, 3);
    listening_send_to("", queue, "our 0", &(coney_properties){.has_priority = true});
    listening_send_to("", queue, "our 9", &(coney_properties){.priority = 9});
    test_wait_for_depth(queue, 5);
}

static void expect_order(const coney_queue *kind, const char *const order[5])
{
    listening_use_queue(kind);
    fill(listening.queue);
    for (int i = 0; i < 5; i++) {
        amqp_message_t message = plain_get(listening.queue);
        plain_expect_text(message.body, order[i]);
        amqp_destroy_message(&message);
    }
}

static const char *const as_they_came[] = {"their 0", "our none", "their none", "our 0", "our 9"};
static const char *const none_as_0[] = {"our 9", "their 0", "our none", "their none", "our 0"};
static const char *const none_before_0[] = {"our 9", "our none", "their none", "their 0", "our 0"};

static void test_classic_queue_gives_messages_as_they_came(void **state)
{
    (void)state;
    expect_order(&(coney_queue){.kind = CONEY_CLASSIC}, as_they_came);
}

static void test_classic_queue_with_max_priority_counts_none_as_0(void **state)
{
    (void)state;
    expect_order(&(coney_queue){.kind = CONEY_CLASSIC, .max_priority = 10}, none_as_0);
}

/* RabbitMQ 3 knows no priorities there, RabbitMQ 4.0 two: up to 4, and above. */
static void test_quorum_queue_of_4_3_gives_messages_without_priority_before_those_with_0(void **state)
{
    (void)state;
    expect_order(&(coney_queue){.kind = CONEY_QUORUM}, plain_broker_is_from(4, 3)   ? none_before_0
                                                       : plain_broker_is_from(4, 0) ? none_as_0
                                                                                    : as_they_came);
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define priority_test(function) cmocka_unit_test_setup_teardown(function, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        priority_test(test_message_goes_without_a_priority_unless_one_is_set),
        priority_test(test_received_message_tells_no_priority_from_priority_0),
        priority_test(test_copies_of_a_received_message_keep_its_priority),
        priority_test(test_request_that_a_listener_sends_back_keeps_its_priority),
        priority_test(test_message_of_the_ladder_is_parked_with_its_priority),
        priority_test(test_classic_queue_gives_messages_as_they_came),
        priority_test(test_classic_queue_with_max_priority_counts_none_as_0),
        priority_test(test_quorum_queue_of_4_3_gives_messages_without_priority_before_those_with_0),
    };
    return cmocka_run_group_tests_name("priority", tests, test_client_setup, teardown);
}
