/* SPDX-License-Identifier: MIT */
/* What the broker tells of a received message besides its properties, and what becomes of that when the message is sent
 * on. */
#include "support/listening.h"
#include "support/plain_client.h"

static const char *other;

static int setup(void **state)
{
    int status = listening_setup(state);
    other = listening_make_other_queue("other");
    return status;
}

static coney_message *receive_from(const char *queue)
{
    coney_message *message;
    assert_ok(coney_template_receive(client.sender, queue, &message, TEST_PATIENCE_MS));
    assert_non_null(message);
    return message;
}

static void send_transient(const char *text)
{
    listening_send_with(text, &(coney_properties){.delivery_mode = CONEY_TRANSIENT, .reply_to = other});
}

/* Takes the message from the queue and looks at what the wire says. */
static void expect_mode(const char *queue, coney_delivery_mode mode)
{
    test_wait_for_depth(queue, 1);
    amqp_message_t message = plain_get(queue);
    int got = message.properties.delivery_mode;
    amqp_destroy_message(&message);
    assert_int_equal(got, mode);
}

/* ---- delivery mode ---- */

static void test_received_mode_is_what_the_sender_has_sent(void **state)
{
    (void)state;
    send_transient("t");
    listening_send("p");
    plain_publish("", listening.queue, &(amqp_basic_properties_t){0}, "without");
    static const coney_delivery_mode modes[] = {CONEY_TRANSIENT, CONEY_PERSISTENT, CONEY_DELIVERY_DEFAULT};
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        coney_message *message = receive_from(listening.queue);
        assert_int_equal(coney_message_received_delivery_mode(message), modes[i]);
        assert_int_equal(coney_message_properties(message)->delivery_mode, CONEY_DELIVERY_DEFAULT);
        coney_message_unref(message);
    }
}

static void test_transient_message_is_forwarded_as_persistent(void **state)
{
    (void)state;
    send_transient("t");
    coney_message *message = receive_from(listening.queue);
    assert_ok(coney_template_send(client.sender, other, message, NULL));
    expect_mode(other, CONEY_PERSISTENT);
    coney_message_unref(message);
}

static void test_copy_is_sent_with_the_mode_that_the_program_sets(void **state)
{
    (void)state;
    send_transient("t");
    coney_message *message = receive_from(listening.queue), *copy;
    coney_properties properties = *coney_message_properties(message);
    properties.delivery_mode = coney_message_received_delivery_mode(message);
    assert_ok(coney_message_with(&copy, message, &properties, NULL, 0));
    assert_int_equal(coney_message_received_delivery_mode(copy), CONEY_TRANSIENT);
    assert_ok(coney_template_send(client.sender, other, copy, NULL));
    expect_mode(other, CONEY_TRANSIENT);
    coney_message_unref(copy);
    coney_message_unref(message);
}

static coney_outcome reply_with_the_request(coney_delivery *delivery, void *user)
{
    (void)user;
    check(coney_delivery_reply(delivery, coney_delivery_message(delivery)) == CONEY_OK);
    return CONEY_ACK;
}

static void test_transient_request_that_is_sent_back_is_a_persistent_reply(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = reply_with_the_request});
    send_transient("question");
    expect_mode(other, CONEY_PERSISTENT);
}

static coney_status expect_transient(coney_message *fragment, size_t index, size_t count, void *user)
{
    (void)index, (void)count, (void)user;
    check(coney_message_received_delivery_mode(fragment) == CONEY_TRANSIENT);
    check(coney_message_delivery_tag(fragment) > 0);
    return CONEY_OK;
}

static void test_fragments_have_the_received_mode_of_their_batch(void **state)
{
    (void)state;
    const coney_properties properties = {.delivery_mode = CONEY_TRANSIENT};
    coney_message *one, *batch;
    assert_ok(coney_message_new(&one, "1", 1, &properties));
    assert_ok(coney_message_batch(&batch, (coney_message *[]){one, one}, 2));
    assert_ok(coney_template_send(client.sender, listening.queue, batch, NULL));
    coney_message_unref(batch);
    coney_message_unref(one);
    batch = receive_from(listening.queue);
    assert_ok(coney_message_debatch(batch, expect_transient, NULL));
    coney_message_unref(batch);
}

static void test_transient_messages_that_are_batched_and_sent_on_are_persistent(void **state)
{
    (void)state;
    send_transient("1");
    send_transient("2");
    coney_message *messages[] = {receive_from(listening.queue), receive_from(listening.queue)}, *batch;
    assert_ok(coney_message_batch(&batch, messages, COUNT_OF(messages)));
    assert_ok(coney_template_send(client.sender, other, batch, NULL));
    expect_mode(other, CONEY_PERSISTENT);
    coney_message_unref(batch);
    coney_message_unref(messages[0]);
    coney_message_unref(messages[1]);
}

/* The modes with which a message comes before and after the ladder. */
static atomic_int modes_seen[3];

static coney_outcome fail_and_note_mode(coney_delivery *delivery, void *user)
{
    (void)user;
    atomic_fetch_add(&modes_seen[coney_message_received_delivery_mode(coney_delivery_message(delivery))], 1);
    return coney_delivery_fail(delivery, CONEY_RETRY, "no stock");
}

static void start_with_a_ladder(void)
{
    memset(modes_seen, 0, sizeof modes_seen);
    listening_other_queue("retry.100");
    listening_other_queue("parking");
    listening_start(&(coney_listener){.on_message = fail_and_note_mode, .retry = {.delays_ms = {100}}});
}

static void expect_parked_as_persistent(void)
{
    char parking[300];
    snprintf(parking, sizeof parking, "%s.parking", listening.queue);
    expect_mode(parking, CONEY_PERSISTENT);
}

static void test_transient_message_stays_transient_on_the_ladder_and_is_parked_as_persistent(void **state)
{
    (void)state;
    start_with_a_ladder();
    send_transient("t");
    expect_parked_as_persistent();
    assert_int_equal(atomic_load(&modes_seen[CONEY_TRANSIENT]), 2);
}

static void test_message_without_a_mode_is_persistent_on_the_ladder(void **state)
{
    (void)state;
    start_with_a_ladder();
    plain_publish("", listening.queue, &(amqp_basic_properties_t){0}, "without");
    expect_parked_as_persistent();
    assert_int_equal(atomic_load(&modes_seen[CONEY_DELIVERY_DEFAULT]), 1);
    assert_int_equal(atomic_load(&modes_seen[CONEY_PERSISTENT]), 1);
}

/* ---- counts, tags, delays ---- */

static void test_receive_that_does_not_wait_tells_how_many_messages_are_left(void **state)
{
    (void)state;
    coney_message *message;
    test_send_numbers(listening.queue, 3);
    test_wait_for_depth(listening.queue, 3);
    for (int left = 2; left >= 0; left--) {
        assert_ok(coney_template_receive(client.sender, listening.queue, &message, 0));
        assert_int_equal(coney_message_count(message), left);
        assert_true(coney_message_delivery_tag(message) > 0);
        coney_message_unref(message);
    }
}

static void test_receive_that_waits_knows_no_count(void **state)
{
    (void)state;
    test_send_numbers(listening.queue, 1);
    coney_message *message = receive_from(listening.queue);
    assert_int_equal(coney_message_count(message), -1);
    assert_true(coney_message_delivery_tag(message) > 0);
    coney_message_unref(message);
}

static void test_received_delay_is_the_header_without_its_sign(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    coney_message *message;
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_DELAY, -5000));
    assert_ok(coney_message_new(&message, NULL, 0, &(coney_properties){.headers = headers}));
    assert_int_equal(coney_message_received_delay_ms(message), 0);
    assert_ok(coney_template_send(client.sender, listening.queue, message, NULL));
    coney_message_unref(message);
    message = receive_from(listening.queue);
    assert_int_equal(coney_message_received_delay_ms(message), 5000);
    assert_int_equal(coney_table_get_int64(coney_message_properties(message)->headers, CONEY_HEADER_DELAY, 0), -5000);
    coney_message_unref(message);
    coney_table_free(headers);
}

/* ---- x-death ---- */

static void test_real_deaths_come_with_all_that_the_broker_knows(void **state)
{
    (void)state;
    listening_send_with("reject", &(coney_properties){.message_id = "m-1"});
    listening_start(&(coney_listener){0});
    test_wait_for_depth(listening.dead, 1);
    listening_stop();
    coney_message *message = receive_from(listening.dead);
    coney_death death;
    size_t position = 0;
    assert_true(coney_message_next_death(message, &position, &death));
    assert_string_equal(death.queue, listening.queue);
    assert_string_equal(death.reason, CONEY_DEATH_REJECTED);
    assert_int_equal(death.count, 1);
    assert_string_equal(death.exchange, "");
    assert_string_equal(death.routing_key, listening.queue);
    assert_true(death.time > 1600000000);
    assert_null(death.original_expiration);
    assert_false(coney_message_next_death(message, &position, &death));
    assert_int_equal(coney_message_retry_count(message), 1);
    coney_message_unref(message);
}

/* Sent by a client that lets a program forge. */
static void send_forged(const char *text)
{
    amqp_table_entry_t entries[] = {{.key = amqp_cstring_bytes("x-death"), .value.kind = AMQP_FIELD_KIND_UTF8},
                                    {.key = amqp_cstring_bytes("n"), .value.kind = AMQP_FIELD_KIND_I32}};
    entries[0].value.value.bytes = amqp_cstring_bytes("forged");
    plain_publish("", listening.queue,
                  &(amqp_basic_properties_t){._flags = AMQP_BASIC_HEADERS_FLAG,
                                             .headers = {.num_entries = COUNT_OF(entries), .entries = entries}},
                  text);
}

static void test_received_message_lacks_a_forged_x_death_and_the_log_says_so(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    send_forged("text");
    coney_message *message = receive_from(listening.queue);
    assert_null(coney_message_header(message, "x-death"));
    assert_non_null(coney_message_header(message, "n"));
    test_log_expect("warn: receive: message '(without id)' came with a header x-death that no broker has written");
    coney_message_unref(message);
}

static coney_outcome expect_no_death(coney_delivery *delivery, void *user)
{
    const coney_message *message = coney_delivery_message(delivery);
    check(!coney_message_header(message, "x-death"));
    check(coney_message_header(message, "n"));
    atomic_fetch_add((atomic_int *)user, 1);
    return CONEY_ACK;
}

static void test_listener_handles_messages_without_a_forged_x_death_and_warns_in_a_limited_way(void **state)
{
    (void)state;
    atomic_int handled = 0;
    test_log_start(CONEY_LOG_WARN);
    for (int i = 0; i < 50; i++)
        send_forged("text");
    test_wait_for_depth(listening.queue, 50);
    listening_start(&(coney_listener){.on_message = expect_no_death, .user = &handled});
    test_wait_for(&handled, 50);
    listening_stop();
    test_log_expect("came with a header x-death that no broker has written; it is handled without this header");
    assert_true(test_log_count("x-death") < 10);
}

#define properties_test(function) cmocka_unit_test_setup_teardown(function, setup, listening_teardown)

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        properties_test(test_received_mode_is_what_the_sender_has_sent),
        properties_test(test_transient_message_is_forwarded_as_persistent),
        properties_test(test_copy_is_sent_with_the_mode_that_the_program_sets),
        properties_test(test_transient_request_that_is_sent_back_is_a_persistent_reply),
        properties_test(test_fragments_have_the_received_mode_of_their_batch),
        properties_test(test_transient_messages_that_are_batched_and_sent_on_are_persistent),
        properties_test(test_transient_message_stays_transient_on_the_ladder_and_is_parked_as_persistent),
        properties_test(test_message_without_a_mode_is_persistent_on_the_ladder),
        properties_test(test_receive_that_does_not_wait_tells_how_many_messages_are_left),
        properties_test(test_receive_that_waits_knows_no_count),
        properties_test(test_received_delay_is_the_header_without_its_sign),
        properties_test(test_real_deaths_come_with_all_that_the_broker_knows),
        properties_test(test_received_message_lacks_a_forged_x_death_and_the_log_says_so),
        properties_test(test_listener_handles_messages_without_a_forged_x_death_and_warns_in_a_limited_way),
    };
    return cmocka_run_group_tests_name("properties", tests, test_client_setup, teardown);
}
