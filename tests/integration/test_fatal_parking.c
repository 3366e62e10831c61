/* SPDX-License-Identifier: MIT */
/* Messages that no handler can get, with a listener that has a parking queue: they are parked with the reason, whatever
 * it is, as long as they are here whole. */
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>

static const char *parking;

static int setup(void **state)
{
    int status = listening_setup(state);
    parking = listening_other_queue("parking");
    return status;
}

static coney_listener parking_listener(void)
{
    return (coney_listener){.converter = coney_json_converter(), .retry = {.parking_queue = parking}};
}

static void send_text(const char *text)
{
    listening_send_with(text, &(coney_properties){.message_id = "m-1"});
}

/* Whole, and with words of the reason. */
static void expect_parked(const char *text, const char *words)
{
    test_wait_for_depth(parking, 1);
    amqp_message_t copy = plain_get(parking);
    plain_expect_text(copy.body, text);
    plain_expect_text(copy.properties.message_id, "m-1");
    const amqp_field_value_t *reason = plain_header(&copy, CONEY_HEADER_EXCEPTION_MESSAGE);
    assert_non_null(reason);
    char told[500];
    snprintf(told, sizeof told, "%.*s", (int)reason->value.bytes.len, (const char *)reason->value.bytes.bytes);
    if (!strstr(told, words))
        fail_msg("'%s' does not say '%s'", told, words);
    amqp_destroy_message(&copy);
    test_wait_until(listening_statistics().acknowledged == 1);
    assert_int_equal(listening_statistics().rejected, 0);
    assert_int_equal(listening_statistics().fatal, 1);
    assert_int_equal(listening_statistics().republished, 1);
    assert_int_equal(listening.count, 0);
    listening_expect_nothing_left();
}

static void expect_only_rejected(void)
{
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening_statistics().republished, 0);
    assert_int_equal(listening.count, 0);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(parking, 0);
}

/* ---- why ---- */

static void test_message_that_cannot_be_converted_is_parked(void **state)
{
    (void)state;
    coney_listener listener = parking_listener();
    listening_start(&listener);
    send_text("{\"n\":");
    expect_parked("{\"n\":", "it cannot be converted: invalid JSON");
}

static coney_status refuse_all(const void *payload, void *user)
{
    (void)payload;
    (void)user;
    return coney_conversion_failed("n is missing");
}

static void test_message_that_is_not_valid_is_parked(void **state)
{
    (void)state;
    coney_listener listener = parking_listener();
    listener.validator = refuse_all;
    listening_start(&listener);
    send_text("{}");
    expect_parked("{}", "it is not valid: n is missing");
}

static void test_message_of_a_type_that_no_handler_takes_is_parked(void **state)
{
    (void)state;
    const coney_typed_handler order = {.type = "order", .on_message = listening_obey};
    coney_listener listener = parking_listener();
    listener.handlers = &order;
    listener.handler_count = 1;
    listening_start(&listener);
    listening_send_with("{}", &(coney_properties){.message_id = "m-1", .type = "invoice"});
    expect_parked("{}", "no handler takes type 'invoice'");
}

static coney_status fail_to_decrypt(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message;
    (void)exchange;
    (void)routing_key;
    (void)user;
    return coney_conversion_failed("no key");
}

static void test_message_that_a_processor_fails_for_is_parked_as_it_came(void **state)
{
    (void)state;
    coney_listener listener = parking_listener();
    listening_start(&listener);
    assert_ok(coney_container_add_after_receive(listening.container,
                                                &(coney_processor){.name = "decrypt", .process = fail_to_decrypt}));
    send_text("{}");
    expect_parked("{}", "processor 'decrypt': no key");
}

static void test_batch_that_cannot_be_taken_apart_is_parked_whole(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    coney_listener listener = parking_listener();
    assert_ok(coney_table_set_string(headers, "springBatchFormat", "lengthHeader4"));
    listening_start(&listener);
    listening_send_with("no batch", &(coney_properties){.message_id = "m-1", .headers = headers});
    coney_table_free(headers);
    expect_parked("no batch", "batch data");
}

static void test_message_is_parked_by_a_ladder_without_waiting_on_it(void **state)
{
    (void)state;
    listening_other_queue("retry.600000");
    listening_start(
        &(coney_listener){.converter = coney_json_converter(), .retry = {.max_attempts = 5, .delays_ms = {600000}}});
    send_text("{\"n\":");
    expect_parked("{\"n\":", "invalid JSON");
}

static void expect_parked_in_mode(coney_acknowledge_mode mode)
{
    coney_listener listener = parking_listener();
    listener.acknowledge = mode;
    listening_start(&listener);
    send_text("{\"n\":");
    expect_parked("{\"n\":", "invalid JSON");
}

static void test_message_is_parked_with_manual_acknowledgement(void **state)
{
    (void)state;
    expect_parked_in_mode(CONEY_ACKNOWLEDGE_MANUAL);
}

static void test_message_is_parked_without_acknowledgement(void **state)
{
    (void)state;
    expect_parked_in_mode(CONEY_ACKNOWLEDGE_NONE);
}

/* ---- from the dead-letter queue ---- */

static void test_message_that_came_round_is_parked(void **state)
{
    (void)state;
    test_delete_queue(listening.dead);
    assert_ok(coney_admin_declare_queue(client.admin,
                                        &(coney_queue){.name = listening.dead,
                                                       .message_ttl_ms = 300,
                                                       .dead_letter_exchange = "",
                                                       .dead_letter_routing_key = listening.queue},
                                        NULL));
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    send_text("{\"n\":");
    test_wait_until(listening_statistics().rejected == 1);
    listening_stop();
    test_wait_for_depth(listening.queue, 1);
    coney_listener listener = parking_listener();
    listening_start(&listener);
    expect_parked("{\"n\":", "invalid JSON");
}

/* ---- what cannot be parked ---- */

static void test_message_that_is_not_here_whole_is_rejected(void **state)
{
    (void)state;
    const coney_connection_factory_options small = {.max_message_bytes = 4};
    coney_connection_factory *usual = client.factory, *own;
    assert_ok(coney_connection_factory_new(&own, test_uri(), &small));
    client.factory = own;
    coney_listener listener = parking_listener();
    listening_start(&listener);
    client.factory = usual;
    send_text("0123456789");
    listening_wait_for_event(CONEY_MESSAGE_REJECTED, "is rejected, not parked, because it is not here whole, and gone");
    expect_only_rejected();
    coney_connection_factory_free(own);
}

static void test_message_goes_back_until_it_can_be_parked(void **state)
{
    (void)state;
    coney_listener listener = parking_listener();
    listening_start(&listener);
    test_delete_queue(parking); /* in its place one that has no room */
    assert_ok(coney_admin_declare_queue(
        client.admin, &(coney_queue){.name = parking, .max_length = 1, .overflow = CONEY_REJECT_PUBLISH}, NULL));
    listening_send_to("", parking, "first", NULL);
    send_text("{\"n\":");
    test_wait_until(listening_statistics().requeued > 0);
    plain_expect_reply(parking, "first", NULL);
    test_wait_for_depth(parking, 1);
    listening_expect_nothing_left();
}

static void test_event_tells_which_message_was_parked_and_why(void **state)
{
    (void)state;
    coney_listener listener = parking_listener();
    listening_start(&listener);
    send_text("{\"n\":");
    listening_wait_for_event_about(CONEY_MESSAGE_EXHAUSTED, "m-1", "is parked: it cannot be converted: invalid JSON");
}

/* ---- the program decides ---- */

typedef struct decision {
    coney_outcome answer; /* 0: as was proposed */
    coney_outcome proposed;
    atomic_int calls;
} decision;

static coney_outcome decide(coney_delivery *delivery, const coney_error *error, coney_outcome outcome, void *user)
{
    (void)delivery;
    (void)error;
    decision *made = user;
    made->proposed = outcome;
    atomic_fetch_add(&made->calls, 1);
    return made->answer ? made->answer : outcome;
}

static void decide_about(decision *made, coney_listener *listener)
{
    listener->user = made;
    listener->on_error = decide;
    listening_start(listener);
    send_text("{\"n\":");
    test_wait_until(made->calls > 0);
}

static void test_on_error_may_agree_to_parking(void **state)
{
    (void)state;
    decision made = {0};
    coney_listener listener = parking_listener();
    decide_about(&made, &listener);
    expect_parked("{\"n\":", "invalid JSON");
    assert_int_equal(made.proposed, CONEY_PARK);
}

static void test_on_error_may_reject_instead_of_parking(void **state)
{
    (void)state;
    decision made = {.answer = CONEY_REJECT};
    coney_listener listener = parking_listener();
    decide_about(&made, &listener);
    listening_wait_for_event_about(CONEY_MESSAGE_REJECTED, "m-1", "invalid JSON");
    expect_only_rejected();
}

static void test_on_error_may_acknowledge_instead_of_parking(void **state)
{
    (void)state;
    decision made = {.answer = CONEY_ACK};
    coney_listener listener = parking_listener();
    decide_about(&made, &listener);
    listening_expect_nothing_left();
    test_wait_for_depth(parking, 0);
}

static void test_on_error_may_have_it_tried_again_before_it_is_parked(void **state)
{
    (void)state;
    decision made = {.answer = CONEY_RETRY};
    coney_listener listener = parking_listener();
    listener.retry.max_attempts = 3;
    listener.retry.first_delay_ms = 2;
    decide_about(&made, &listener);
    test_wait_for_depth(parking, 1);
    assert_int_equal(made.calls, 3);
    listening_expect_nothing_left();
}

static void test_on_error_cannot_park_without_a_parking_queue(void **state)
{
    (void)state;
    decision made = {.answer = CONEY_PARK};
    test_log_start(CONEY_LOG_ERROR);
    decide_about(&made, &(coney_listener){.converter = coney_json_converter(), .retry.max_attempts = 2});
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(made.proposed, CONEY_REJECT);
    test_log_expect("message 'm-1': CONEY_PARK needs a parking queue");
    test_log_stop();
}

/* ---- handlers may park, too ---- */

static coney_outcome park(coney_delivery *delivery, void *user)
{
    (void)user;
    return coney_delivery_fail(delivery, CONEY_PARK, "the customer is unknown");
}

static void test_handler_may_park(void **state)
{
    (void)state;
    coney_listener listener = {.on_message = park, .retry = {.max_attempts = 5, .parking_queue = parking}};
    listening_start(&listener);
    send_text("hello");
    listening_wait_for_event_about(CONEY_MESSAGE_EXHAUSTED, "m-1",
                                   "is parked after 1 attempt: the customer is unknown");
    test_wait_for_depth(parking, 1);
    listening_expect_nothing_left();
}

static _Atomic(coney_delivery *) kept;

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    atomic_store(&kept, coney_delivery_ref(delivery));
    return CONEY_DEFER;
}

static void keep_one(coney_listener_retry retry)
{
    kept = NULL;
    listening_start(&(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL, .retry = retry});
    send_text("hello");
    test_wait_until(kept != NULL);
}

static void test_message_may_be_parked_later(void **state)
{
    (void)state;
    keep_one((coney_listener_retry){.parking_queue = parking});
    assert_ok(coney_delivery_settle(kept, CONEY_PARK));
    coney_delivery_unref(kept);
    test_wait_for_depth(parking, 1);
    listening_expect_nothing_left();
}

static void test_message_cannot_be_parked_later_without_a_parking_queue(void **state)
{
    (void)state;
    keep_one((coney_listener_retry){0});
    assert_fails(coney_delivery_settle(kept, CONEY_PARK), CONEY_E_INVALID, "CONEY_PARK needs a parking queue");
    assert_ok(coney_delivery_settle(kept, CONEY_ACK));
    coney_delivery_unref(kept);
    listening_expect_nothing_left();
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define parking_test(test) cmocka_unit_test_setup_teardown(test, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        parking_test(test_message_that_cannot_be_converted_is_parked),
        parking_test(test_message_that_is_not_valid_is_parked),
        parking_test(test_message_of_a_type_that_no_handler_takes_is_parked),
        parking_test(test_message_that_a_processor_fails_for_is_parked_as_it_came),
        parking_test(test_batch_that_cannot_be_taken_apart_is_parked_whole),
        parking_test(test_message_is_parked_by_a_ladder_without_waiting_on_it),
        parking_test(test_message_is_parked_with_manual_acknowledgement),
        parking_test(test_message_is_parked_without_acknowledgement),
        parking_test(test_message_that_came_round_is_parked),
        parking_test(test_message_that_is_not_here_whole_is_rejected),
        parking_test(test_message_goes_back_until_it_can_be_parked),
        parking_test(test_event_tells_which_message_was_parked_and_why),
        parking_test(test_on_error_may_agree_to_parking),
        parking_test(test_on_error_may_reject_instead_of_parking),
        parking_test(test_on_error_may_acknowledge_instead_of_parking),
        parking_test(test_on_error_may_have_it_tried_again_before_it_is_parked),
        parking_test(test_on_error_cannot_park_without_a_parking_queue),
        parking_test(test_handler_may_park),
        parking_test(test_message_may_be_parked_later),
        parking_test(test_message_cannot_be_parked_later_without_a_parking_queue),
    };
    return test_run_with_workers("fatal, parking", tests, test_client_setup, teardown);
}
