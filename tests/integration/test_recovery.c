/* SPDX-License-Identifier: MIT */
/* Messages whose attempts are used up are published elsewhere, and only then acknowledged: what goes over the wire, as
 * a client sees it that is not Coney, and that nothing is lost if it goes wrong. */
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>
#include <stdlib.h>

static const coney_listener_retry republish = {.exhausted = CONEY_EXHAUSTED_REPUBLISH};

static const char *make_error_queue(const char *routing_key, char name[256])
{
    snprintf(name, 256, "error.%.200s", routing_key);
    listening_delete_later(name);
    test_make_queue(name);
    return name;
}

/* The one message in the queue, to be freed with amqp_destroy_message(). */
static amqp_message_t get_only(const char *queue)
{
    test_wait_for_depth(queue, 1);
    return plain_get(queue);
}

static void expect_acknowledged(void)
{
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

/* ---- on the wire ---- */

static void test_copy_goes_to_the_queue_named_after_the_routing_key(void **state)
{
    (void)state;
    char error_queue[256];
    make_error_queue(listening.queue, error_queue);
    listening_start(&(coney_listener){.retry = republish});
    listening_send("fail");
    amqp_message_t copy = get_only(error_queue);
    plain_expect_text(copy.body, "fail");
    plain_expect_header(&copy, "x-exception-message", "no stock for fail");
    plain_expect_header(&copy, "x-original-exchange", "");
    plain_expect_header(&copy, "x-original-routingKey", listening.queue);
    assert_int_equal(plain_number_header(&copy, "x-coney-attempts"), 1);
    amqp_destroy_message(&copy);
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "is republished");
    assert_int_equal(listening_statistics().republished, 1);
    assert_int_equal(listening_statistics().exhausted, 1);
    expect_acknowledged();
}

static void test_original_exchange_and_key_are_those_of_the_publisher(void **state)
{
    (void)state;
    char exchange[256], key[256], error_queue[256];
    snprintf(exchange, sizeof exchange, "%s", test_name("recovery.exchange"));
    snprintf(key, sizeof key, "%s", test_name("recovery.key"));
    assert_ok(coney_admin_declare_exchange(client.admin, &(coney_exchange){.name = exchange}));
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = exchange, .destination = listening.queue, .routing_key = key}));
    make_error_queue(key, error_queue);
    listening_start(&(coney_listener){.retry = republish});
    listening_send_to(exchange, key, "fail", NULL);
    amqp_message_t copy = get_only(error_queue);
    plain_expect_header(&copy, "x-original-exchange", exchange);
    plain_expect_header(&copy, "x-original-routingKey", key);
    amqp_destroy_message(&copy);
    assert_ok(coney_admin_delete_exchange(client.admin, exchange));
}

static void test_exchange_and_key_may_be_given(void **state)
{
    (void)state;
    const char *target = listening_make_other_queue("target");
    listening_start(&(coney_listener){
        .retry = {.exhausted = CONEY_EXHAUSTED_REPUBLISH, .exchange = "amq.direct", .routing_key = target}});
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = "amq.direct", .destination = target, .routing_key = target}));
    listening_send("fail");
    amqp_message_t copy = get_only(target);
    plain_expect_text(copy.body, "fail");
    amqp_destroy_message(&copy);
    expect_acknowledged();
}

/* A queue that the copy is sent to by its name. */
static const char *start_with_target(const coney_listener *listener)
{
    const char *target = listening_make_other_queue("target");
    coney_listener made = *listener;
    made.retry.exhausted = CONEY_EXHAUSTED_REPUBLISH;
    made.retry.routing_key = target;
    listening_start(&made);
    return target;
}

static void test_copy_keeps_body_and_properties(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "colour", "red"));
    const char *target = start_with_target(&(coney_listener){0});
    listening_send_with("fail", &(coney_properties){.content_type = "a/b",
                                                    .content_encoding = "c",
                                                    .correlation_id = "d",
                                                    .reply_to = "e",
                                                    .message_id = "f",
                                                    .type = "g",
                                                    .app_id = "h",
                                                    .priority = 3,
                                                    .timestamp = 1700000000,
                                                    .headers = headers});
    amqp_message_t copy = get_only(target);
    const amqp_basic_properties_t *got = &copy.properties;
    plain_expect_text(copy.body, "fail");
    plain_expect_text(got->content_type, "a/b");
    plain_expect_text(got->content_encoding, "c");
    plain_expect_text(got->correlation_id, "d");
    plain_expect_text(got->reply_to, "e");
    plain_expect_text(got->message_id, "f");
    plain_expect_text(got->type, "g");
    plain_expect_text(got->app_id, "h");
    assert_int_equal(got->priority, 3);
    assert_int_equal(got->timestamp, 1700000000);
    plain_expect_header(&copy, "colour", "red");
    amqp_destroy_message(&copy);
    coney_table_free(headers);
}

static void test_copy_is_persistent_and_without_expiration_and_user(void **state)
{
    (void)state;
    const char *target = start_with_target(&(coney_listener){0});
    listening_send_with(
        "fail", &(coney_properties){.delivery_mode = CONEY_TRANSIENT, .expiration = "60000", .user_id = "guest"});
    amqp_message_t copy = get_only(target);
    assert_int_equal(copy.properties.delivery_mode, AMQP_DELIVERY_PERSISTENT);
    assert_int_equal(copy.properties._flags & (AMQP_BASIC_EXPIRATION_FLAG | AMQP_BASIC_USER_ID_FLAG), 0);
    amqp_destroy_message(&copy);
}

static coney_outcome expect_death(coney_delivery *delivery, void *user)
{
    (void)user;
    check(coney_message_header(coney_delivery_message(delivery), "x-death"));
    check(coney_message_header(coney_delivery_message(delivery), "x-first-death-queue"));
    return coney_delivery_fail(delivery, CONEY_RETRY, "dead once");
}

static void test_what_the_broker_noted_of_deaths_is_left_out(void **state)
{
    (void)state;
    static const char *const names[] = {"x-death", "x-first-death-queue", "x-first-death-exchange",
                                        "x-first-death-reason"};
    const char *delay = listening_other_queue("delay");
    assert_ok(coney_admin_declare_queue(
        client.admin,
        &(coney_queue){
            .name = delay, .message_ttl_ms = 1, .dead_letter_exchange = "", .dead_letter_routing_key = listening.queue},
        NULL));
    const char *target = start_with_target(&(coney_listener){.on_message = expect_death});
    listening_send_to("", delay, "fail", NULL);
    amqp_message_t copy = get_only(target);
    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_null(plain_header(&copy, names[i]));
    plain_expect_header(&copy, "x-exception-message", "dead once");
    amqp_destroy_message(&copy);
}

/* ---- headers as large as a frame ---- */

static coney_outcome fail_at_length(coney_delivery *delivery, void *user)
{
    (void)user;
    return coney_delivery_fail(delivery, CONEY_RETRY, "%0900d", 1);
}

static void send_with_large_header(size_t size)
{
    coney_table *headers = coney_table_new();
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'x', size);
    text[size] = '\0';
    assert_ok(coney_table_set_string(headers, "large", text));
    listening_send_with("fail", &(coney_properties){.headers = headers});
    free(text);
    coney_table_free(headers);
}

static void expect_copy_with_large_header(size_t size, bool with_text)
{
    const char *target = start_with_target(&(coney_listener){.on_message = fail_at_length});
    send_with_large_header(size);
    amqp_message_t copy = get_only(target);
    const amqp_field_value_t *large = plain_header(&copy, "large");
    assert_non_null(large);
    assert_int_equal(large->value.bytes.len, size);
    assert_int_equal(plain_header(&copy, "x-exception-message") != NULL, with_text);
    plain_expect_header(&copy, "x-original-routingKey", listening.queue);
    amqp_destroy_message(&copy);
    expect_acknowledged();
}

static void test_headers_that_fit_a_frame_with_the_text_keep_it(void **state)
{
    (void)state;
    expect_copy_with_large_header(131072 - 1500, true);
}

static void test_headers_that_fit_a_frame_only_without_the_text_lose_it(void **state)
{
    (void)state;
    expect_copy_with_large_header(131072 - 500, false);
}

/* Of two-byte characters behind one of one byte, so that the thousandth byte is the first half of one. */
static coney_outcome fail_in_umlauts(coney_delivery *delivery, void *user)
{
    (void)user;
    char text[1020] = "o";
    for (size_t i = 1; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xb6", 3);
    return coney_delivery_fail(delivery, CONEY_RETRY, "%s", text);
}

static void test_text_that_is_too_long_is_cut_between_characters(void **state)
{
    (void)state;
    const char *target = start_with_target(&(coney_listener){.on_message = fail_in_umlauts});
    listening_send("fail");
    amqp_message_t copy = get_only(target);
    const amqp_field_value_t *text = plain_header(&copy, "x-exception-message");
    assert_non_null(text);
    assert_int_equal(text->value.bytes.len, 999);
    amqp_destroy_message(&copy);
}

/* ---- what goes wrong ---- */

static void test_original_stays_when_no_queue_takes_the_copy(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    listening_start(&(coney_listener){.retry = republish});
    listening_send_with("fail", &(coney_properties){.message_id = "m-1"});
    listening_wait_for_calls(2);
    assert_true(listening.calls[1].redelivered);
    test_log_expect("message 'm-1' cannot be republished and goes back");
    test_log_stop();
    assert_int_equal(listening_statistics().republished, 0);
    assert_int_equal(listening_statistics().exhausted, 0);
    assert_int_equal(listening_statistics().acknowledged, 0);
    listening_stop();
    test_wait_for_depth(listening.queue, 1);
}

static void test_original_stays_until_the_target_takes_the_copy(void **state)
{
    (void)state;
    const char *full = listening_other_queue("full");
    assert_ok(coney_admin_declare_queue(
        client.admin, &(coney_queue){.name = full, .max_length = 1, .overflow = CONEY_REJECT_PUBLISH}, NULL));
    listening_send_to("", full, "first", NULL);
    test_log_start(CONEY_LOG_ERROR);
    listening_start(&(coney_listener){.retry = {.exhausted = CONEY_EXHAUSTED_REPUBLISH, .routing_key = full}});
    listening_send("fail");
    listening_wait_for_calls(2);
    assert_true(listening.calls[1].redelivered);
    assert_int_equal(listening_statistics().acknowledged, 0);
    test_log_stop();
    amqp_message_t first = plain_get(full);
    plain_expect_text(first.body, "first");
    amqp_destroy_message(&first);
    amqp_message_t copy = get_only(full);
    plain_expect_text(copy.body, "fail");
    amqp_destroy_message(&copy);
    expect_acknowledged();
}

static void test_missing_exchange_leaves_the_original(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    listening_start(&(coney_listener){
        .retry = {.exhausted = CONEY_EXHAUSTED_REPUBLISH, .exchange = "no-such-exchange", .routing_key = "key"}});
    listening_send("fail");
    listening_wait_for_calls(2);
    test_log_expect("no-such-exchange");
    test_log_stop();
    listening_stop();
    test_wait_for_depth(listening.queue, 1);
}

static void test_parking_queue_alone_is_reason_to_park(void **state)
{
    (void)state;
    const char *parked = listening_other_queue("parked");
    listening_start(&(coney_listener){.retry = {.parking_queue = parked}});
    listening_send("fail");
    amqp_message_t copy = get_only(parked);
    plain_expect_text(copy.body, "fail");
    amqp_destroy_message(&copy);
    expect_acknowledged();
}

static atomic_int attempt_when_exhausted;

static coney_outcome note_attempt(coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)error;
    (void)user;
    atomic_store(&attempt_when_exhausted, coney_delivery_attempt(delivery));
    return CONEY_ACK;
}

static void test_on_exhausted_is_part_of_the_last_attempt(void **state)
{
    (void)state;
    listening_start(&(coney_listener){
        .retry = {
            .max_attempts = 2, .first_delay_ms = 1, .exhausted = CONEY_EXHAUSTED_CALL, .on_exhausted = note_attempt}});
    listening_send("fail");
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "after 2 attempts");
    assert_int_equal(attempt_when_exhausted, 2);
    expect_acknowledged();
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_copy_goes_to_the_queue_named_after_the_routing_key),
        listening_test(test_original_exchange_and_key_are_those_of_the_publisher),
        listening_test(test_exchange_and_key_may_be_given),
        listening_test(test_copy_keeps_body_and_properties),
        listening_test(test_copy_is_persistent_and_without_expiration_and_user),
        listening_test(test_what_the_broker_noted_of_deaths_is_left_out),
        listening_test(test_headers_that_fit_a_frame_with_the_text_keep_it),
        listening_test(test_headers_that_fit_a_frame_only_without_the_text_lose_it),
        listening_test(test_text_that_is_too_long_is_cut_between_characters),
        listening_test(test_original_stays_when_no_queue_takes_the_copy),
        listening_test(test_original_stays_until_the_target_takes_the_copy),
        listening_test(test_missing_exchange_leaves_the_original),
        listening_test(test_parking_queue_alone_is_reason_to_park),
        listening_test(test_on_exhausted_is_part_of_the_last_attempt),
    };
    return test_run_with_workers("recovery", tests, test_client_setup, teardown);
}
