/* SPDX-License-Identifier: MIT */
/* Which handler gets a message and as what: by its type, through the filter, converted and validated. */
#include "support/listening.h"

/* Handlers note who was called for what. */
typedef struct seen {
    atomic_int orders, notes, others;
    atomic_int sum; /* of the numbers in orders */
} seen;

static coney_outcome take_order(coney_delivery *delivery, void *user)
{
    seen *all = user;
    const json_t *order = coney_delivery_payload(delivery);
    atomic_fetch_add(&all->sum, (int)json_integer_value(json_object_get(order, "n")));
    atomic_fetch_add(&all->orders, 1);
    return CONEY_ACK;
}

static coney_outcome take_note(coney_delivery *delivery, void *user)
{
    check_text((const char *)coney_delivery_payload(delivery), "a note");
    atomic_fetch_add(&((seen *)user)->notes, 1);
    return CONEY_ACK;
}

static coney_outcome take_other(coney_delivery *delivery, void *user)
{
    const coney_bytes *bytes = coney_delivery_payload(delivery); /* no converter is for them */
    check_text((const char *)bytes->data, "anything");
    atomic_fetch_add(&((seen *)user)->others, 1);
    return CONEY_ACK;
}

static void start_with_types(seen *all, coney_message_handler *otherwise)
{
    const coney_typed_handler handlers[] = {
        {.type = "order", .on_message = take_order, .converter = coney_json_converter()},
        {.type = "note", .on_message = take_note, .converter = coney_text_converter()},
    };
    listening_start(&(coney_listener){
        .handlers = handlers, .handler_count = COUNT_OF(handlers), .on_message = otherwise, .user = all});
}

static void send_typed(const char *text, const char *type_header, const char *type)
{
    coney_table *headers = type_header ? coney_table_new() : NULL;
    if (headers)
        assert_ok(coney_table_set_string(headers, "__TypeId__", type_header));
    listening_send_with(text, &(coney_properties){.type = type, .headers = headers});
    coney_table_free(headers);
}

/* ---- types ---- */

static void test_handler_is_chosen_by_the_type_header(void **state)
{
    (void)state;
    seen all = {0};
    start_with_types(&all, NULL);
    send_typed("{\"n\":3}", "order", NULL);
    send_typed("a note", "note", NULL);
    test_wait_for(&all.orders, 1);
    test_wait_for(&all.notes, 1);
    assert_int_equal(all.sum, 3);
}

static void test_handler_is_chosen_by_the_type_property(void **state)
{
    (void)state;
    seen all = {0};
    start_with_types(&all, NULL);
    send_typed("{\"n\":4}", NULL, "order");
    send_typed("a note", NULL, "note");
    test_wait_for(&all.orders, 1);
    test_wait_for(&all.notes, 1);
    assert_int_equal(all.sum, 4);
}

static void test_type_header_wins_over_the_property(void **state)
{
    (void)state;
    seen all = {0};
    start_with_types(&all, NULL);
    send_typed("{\"n\":5}", "order", "note");
    test_wait_for(&all.orders, 1);
    assert_int_equal(all.notes, 0);
}

static void test_other_types_go_to_on_message(void **state)
{
    (void)state;
    seen all = {0};
    start_with_types(&all, take_other);
    send_typed("anything", "invoice", NULL);
    send_typed("anything", NULL, NULL);
    send_typed("a note", "note", NULL);
    test_wait_for(&all.others, 2);
    test_wait_for(&all.notes, 1);
}

static void expect_no_handler(const char *type, const char *words)
{
    seen all = {0};
    start_with_types(&all, NULL);
    test_log_start(CONEY_LOG_ERROR);
    send_typed("{\"n\":1}", type, NULL);
    test_wait_for_depth(listening.dead, 1);
    test_log_expect(words);
    test_log_stop();
    assert_int_equal(listening_statistics().fatal, 1);
    assert_int_equal(all.orders + all.notes, 0);
}

static void test_unknown_type_is_rejected_and_the_log_names_it(void **state)
{
    (void)state;
    expect_no_handler("invoice", "no handler takes type 'invoice'");
}

static void test_no_type_at_all_is_rejected_and_logged(void **state)
{
    (void)state;
    expect_no_handler(NULL, "neither a header __TypeId__ nor a type");
}

static coney_outcome take_text(coney_delivery *delivery, void *user)
{
    check_text((const char *)coney_delivery_payload(delivery), "{\"n\":1}");
    atomic_fetch_add((atomic_int *)user, 1);
    return CONEY_ACK;
}

static void test_handler_without_a_converter_has_that_of_the_listener(void **state)
{
    (void)state;
    atomic_int texts = 0;
    const coney_typed_handler handler = {.type = "order", .on_message = take_text};
    listening_start(&(coney_listener){
        .handlers = &handler, .handler_count = 1, .converter = coney_text_converter(), .user = &texts});
    send_typed("{\"n\":1}", "order", NULL);
    test_wait_for(&texts, 1);
}

/* A retried message goes to its handler again, not through the choice. */
static coney_outcome fail_once(coney_delivery *delivery, void *user)
{
    check(json_is_object((const json_t *)coney_delivery_payload(delivery)));
    return atomic_fetch_add((atomic_int *)user, 1) == 0 ? CONEY_RETRY : CONEY_ACK;
}

static void test_attempts_in_place_have_the_same_payload(void **state)
{
    (void)state;
    atomic_int calls = 0;
    const coney_typed_handler handler = {.type = "order", .on_message = fail_once, .converter = coney_json_converter()};
    listening_start(&(coney_listener){
        .handlers = &handler, .handler_count = 1, .user = &calls, .retry = {.max_attempts = 2, .first_delay_ms = 2}});
    send_typed("{\"n\":1}", "order", NULL);
    test_wait_for(&calls, 2);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

/* ---- filter ---- */

static bool is_red(const coney_message *message, void *user)
{
    (void)user;
    const char *type = coney_message_properties(message)->type;
    return type && strcmp(type, "red") == 0;
}

static void test_filtered_messages_are_acknowledged_and_counted(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.filter = is_red});
    send_typed("ack:blue", NULL, "blue");
    send_typed("ack:none", NULL, NULL);
    send_typed("ack:red", NULL, "red");
    listening_wait_for_calls(1);
    assert_string_equal(listening.calls[0].text, "ack:red");
    assert_int_equal(listening_statistics().filtered, 2);
    assert_int_equal(listening_statistics().fatal, 0);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

static void test_filter_runs_before_the_conversion(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.filter = is_red, .converter = coney_json_converter()});
    send_typed("{ no JSON", NULL, "blue");
    send_typed("\"ack:red\"", NULL, "red");
    listening_wait_for_calls(1);
    assert_int_equal(listening_statistics().filtered, 1);
    assert_int_equal(listening_statistics().fatal, 0);
    listening_stop();
    test_wait_for_depth(listening.dead, 0);
}

static void test_filter_works_with_manual_acknowledgement(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.filter = is_red, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    send_typed("ack:blue", NULL, "blue");
    send_typed("ack:red", NULL, "red");
    listening_wait_for_calls(1);
    assert_int_equal(listening_statistics().filtered, 1);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
}

/* ---- validator ---- */

static coney_status refuse_negative(const void *payload, void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
    json_int_t number = json_integer_value(json_object_get(payload, "n"));
    if (number == 0)
        return CONEY_E_INVALID; /* and does not say why */
    return number > 0 ? CONEY_OK : coney_conversion_failed("n is %d", (int)number);
}

static void start_with_validator(atomic_int *validated)
{
    listening_start(&(coney_listener){.on_message = listening_obey,
                                      .user = validated,
                                      .converter = coney_json_converter(),
                                      .validator = refuse_negative});
}

static void test_valid_payload_reaches_the_handler(void **state)
{
    (void)state;
    atomic_int validated = 0;
    start_with_validator(&validated);
    listening_send("{\"n\":1}");
    listening_wait_for_calls(1);
    assert_int_equal(validated, 1);
}

static void expect_refusal(const char *text, const char *words)
{
    atomic_int validated = 0;
    start_with_validator(&validated);
    test_log_start(CONEY_LOG_ERROR);
    listening_send(text);
    test_wait_for_depth(listening.dead, 1);
    test_log_expect(words);
    test_log_stop();
    assert_int_equal(validated, 1);
    assert_int_equal(listening.count, 0);
    assert_int_equal(listening_statistics().fatal, 1);
}

static void test_what_the_validator_refuses_is_rejected_with_its_sentence(void **state)
{
    (void)state;
    expect_refusal("{\"n\":-7}", "n is -7");
}

static void test_validator_that_does_not_say_why_is_logged_as_such(void **state)
{
    (void)state;
    expect_refusal("{\"n\":0}", "the validator returned INVALID and does not say why");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_handler_is_chosen_by_the_type_header),
        listening_test(test_handler_is_chosen_by_the_type_property),
        listening_test(test_type_header_wins_over_the_property),
        listening_test(test_other_types_go_to_on_message),
        listening_test(test_unknown_type_is_rejected_and_the_log_names_it),
        listening_test(test_no_type_at_all_is_rejected_and_logged),
        listening_test(test_handler_without_a_converter_has_that_of_the_listener),
        listening_test(test_attempts_in_place_have_the_same_payload),
        listening_test(test_filtered_messages_are_acknowledged_and_counted),
        listening_test(test_filter_runs_before_the_conversion),
        listening_test(test_filter_works_with_manual_acknowledgement),
        listening_test(test_valid_payload_reaches_the_handler),
        listening_test(test_what_the_validator_refuses_is_rejected_with_its_sentence),
        listening_test(test_validator_that_does_not_say_why_is_logged_as_such),
    };
    return test_run_with_workers("dispatch", tests, test_client_setup, test_client_teardown);
}
