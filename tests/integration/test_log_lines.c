/* SPDX-License-Identifier: MIT */
/* Log lines about messages: limited in number, but none of what they would say is lost. */
#include "support/listening.h"

#include <stdio.h>

static void send_bad(int number)
{
    char id[32];
    snprintf(id, sizeof id, "m-%d", number);
    listening_send_with("{\"n\":", &(coney_properties){.message_id = id});
}

static void send_bad_ones(int count)
{
    for (int i = 1; i <= count; i++)
        send_bad(i);
}

static void start_reading_json(void)
{
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.converter = coney_json_converter()});
}

/* ---- many messages ---- */

/* All are there when the first one is read, and are read within the pause. */
static void test_line_names_the_other_messages_that_it_stands_for(void **state)
{
    (void)state;
    send_bad_ones(4);
    start_reading_json();
    test_log_expect("message 'm-4' is rejected");
    test_log_expect("message 'm-1' is rejected");
    test_log_expect("(and 2 other messages before: 'm-2', 'm-3')");
    assert_int_equal(test_log_count("is rejected"), 2);
}

static void test_line_names_at_most_five_other_messages(void **state)
{
    (void)state;
    send_bad_ones(10);
    start_reading_json();
    test_log_expect("message 'm-10' is rejected");
    test_log_expect("(and 8 other messages before: 'm-2', 'm-3', 'm-4', 'm-5', 'm-6', ...)");
}

static void test_messages_without_an_id_are_counted(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++)
        listening_send("{\"n\":");
    start_reading_json();
    test_log_expect("(and 2 other messages before)");
}

static void test_one_other_message_is_singular(void **state)
{
    (void)state;
    send_bad_ones(3);
    start_reading_json();
    test_log_expect("(and 1 other message before: 'm-2')");
}

static void test_next_line_says_nothing_of_what_was_told(void **state)
{
    (void)state;
    send_bad_ones(3);
    start_reading_json();
    test_log_expect("message 'm-3' is rejected");
    send_bad(4);
    test_log_expect("message 'm-4' is rejected");
    assert_int_equal(test_log_count("other message"), 1);
}

/* ---- one message ---- */

static void test_message_that_fails_again_is_no_other_message(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.retry = {.max_attempts = 4, .first_delay_ms = 2}});
    listening_send_with("fail", &(coney_properties){.message_id = "m-1"});
    test_log_expect("message 'm-1' failed at attempt 4");
    assert_false(test_log_has("other message"));
}

static void test_message_without_an_id_that_fails_again_is_no_other_message(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.retry = {.max_attempts = 4, .first_delay_ms = 2}});
    listening_send("fail");
    test_log_expect("failed at attempt 4");
    assert_false(test_log_has("other message"));
}

/* ---- the end ---- */

static void test_stop_writes_what_was_held_back(void **state)
{
    (void)state;
    send_bad_ones(3);
    start_reading_json();
    test_wait_until(listening_statistics().rejected == 3);
    listening_stop();
    test_log_expect("message 'm-3' is rejected");
    test_log_expect("(and 1 other message before: 'm-2')");
}

/* ---- what lines say ---- */

static coney_status refuse_all(const void *payload, void *user)
{
    (void)payload;
    (void)user;
    return coney_conversion_failed("n is missing");
}

static void test_refused_validation_is_not_said_to_be_unreadable(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.converter = coney_json_converter(), .validator = refuse_all});
    listening_send("{}");
    test_log_expect("it is not valid: n is missing");
    assert_false(test_log_has("cannot be read"));
}

/* A line end of C1, a line separator, an override of the direction of reading, a change of colour. */
/* NOLINTBEGIN(misc-misleading-bidirectional) */
#define HOSTILE "x\xc2\x85y\xe2\x80\xa8z\xe2\x80\xaew\x1b[31m\r\nerror: forged"
#define HARMLESS "x?y?z?w?[31m??error: forged"

static void expect_only_harmless(void)
{
    assert_false(test_log_has("\xc2\x85") || test_log_has("\xe2\x80\xa8") || test_log_has("\xe2\x80\xae") ||
                 test_log_has("\x1b") || test_log_has("\nerror: forged"));
}

static void test_hostile_id_and_content_type_are_safe_to_show(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    listening_send_with("{}", &(coney_properties){.message_id = HOSTILE, .content_type = "a/b" HOSTILE});
    test_log_expect("message '" HARMLESS "' is rejected");
    test_log_expect("content type 'a/b" HARMLESS "'");
    expect_only_harmless();
    listening_wait_for_event_about(CONEY_MESSAGE_REJECTED, HOSTILE, "message '" HARMLESS "' is rejected");
}

static coney_outcome quote(coney_delivery *delivery, void *user)
{
    (void)user;
    const coney_message *message = coney_delivery_message(delivery);
    const coney_properties *properties = coney_message_properties(message);
    const char *header = coney_table_get_string(properties->headers, "said");
    return coney_delivery_fail(delivery, CONEY_REJECT, "type '%s', header '%s', body '%s'", properties->type, header,
                               (const char *)coney_message_body(message));
}

static void test_hostile_type_header_and_body_are_safe_to_show(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, "said", HOSTILE));
    test_log_start(CONEY_LOG_WARN);
    listening_start(&(coney_listener){.on_message = quote});
    listening_send_with(HOSTILE, &(coney_properties){.type = HOSTILE, .headers = headers});
    test_log_expect("type '" HARMLESS "', header '" HARMLESS "', body '" HARMLESS "'");
    expect_only_harmless();
    coney_table_free(headers);
}

/* NOLINTEND(misc-misleading-bidirectional) */

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_line_names_the_other_messages_that_it_stands_for),
        listening_test(test_line_names_at_most_five_other_messages),
        listening_test(test_messages_without_an_id_are_counted),
        listening_test(test_one_other_message_is_singular),
        listening_test(test_next_line_says_nothing_of_what_was_told),
        listening_test(test_message_that_fails_again_is_no_other_message),
        listening_test(test_message_without_an_id_that_fails_again_is_no_other_message),
        listening_test(test_stop_writes_what_was_held_back),
        listening_test(test_refused_validation_is_not_said_to_be_unreadable),
        listening_test(test_hostile_id_and_content_type_are_safe_to_show),
        listening_test(test_hostile_type_header_and_body_are_safe_to_show),
    };
    return test_run_with_workers("log lines", tests, test_client_setup, test_client_teardown);
}
