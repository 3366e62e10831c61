/* SPDX-License-Identifier: MIT */
/* Messages that no handler can get: one delivery, then the dead-letter queue, and no ping-pong if they come back from
 * there; unless the program decides otherwise. */
#include "support/listening.h"

static const coney_properties with_id = {.message_id = "m-1"};
static const coney_properties encoded = {.content_encoding = "klingon", .content_type = "text/plain"};

/* ---- one delivery ---- */

static void expect_rejection(const coney_listener *listener, const char *text, const coney_properties *properties,
                             const char *words)
{
    listening_start(listener);
    test_log_start(CONEY_LOG_ERROR);
    listening_send_with(text, properties);
    test_wait_for_depth(listening.dead, 1);
    test_log_expect(words);
    test_log_stop();
    assert_int_equal(listening.count, 0);
    test_wait_until(listening_statistics().rejected == 1);
    coney_listener_statistics statistics = listening_statistics();
    assert_int_equal(statistics.received, 1);
    assert_int_equal(statistics.fatal, 1);
    assert_int_equal(statistics.rejected, 1);
    assert_int_equal(statistics.discarded, 0);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
}

static void test_bad_json_is_rejected_at_once(void **state)
{
    (void)state;
    expect_rejection(&(coney_listener){.converter = coney_json_converter()}, "{\"n\":", NULL, "invalid JSON");
}

static void test_bad_json_is_rejected_at_once_with_manual_acknowledgement(void **state)
{
    (void)state;
    expect_rejection(&(coney_listener){.converter = coney_json_converter(), .acknowledge = CONEY_ACKNOWLEDGE_MANUAL},
                     "{\"n\":", NULL, "invalid JSON");
}

static void test_unknown_content_encoding_is_rejected_at_once(void **state)
{
    (void)state;
    expect_rejection(&(coney_listener){.converter = coney_text_converter()}, "text", &encoded, "'klingon'");
}

static void test_unknown_content_encoding_is_rejected_at_once_with_manual_acknowledgement(void **state)
{
    (void)state;
    expect_rejection(&(coney_listener){.converter = coney_text_converter(), .acknowledge = CONEY_ACKNOWLEDGE_MANUAL},
                     "text", &encoded, "'klingon'");
}

static void test_unknown_charset_is_rejected_at_once(void **state)
{
    (void)state;
    static const coney_properties klingon = {.content_type = "application/json;charset=klingon"};
    expect_rejection(&(coney_listener){.converter = coney_json_converter()}, "{}", &klingon, "'klingon'");
}

static void test_unreadable_text_is_rejected_at_once(void **state)
{
    (void)state;
    expect_rejection(&(coney_listener){.converter = coney_text_converter()}, "\xff", NULL, "UTF-8");
}

static void test_unreadable_text_is_rejected_at_once_with_manual_acknowledgement(void **state)
{
    (void)state;
    expect_rejection(&(coney_listener){.converter = coney_text_converter(), .acknowledge = CONEY_ACKNOWLEDGE_MANUAL},
                     "\xff", NULL, "UTF-8");
}

static void test_fatal_message_is_not_retried(void **state)
{
    (void)state;
    expect_rejection(
        &(coney_listener){.converter = coney_json_converter(), .retry = {.max_attempts = 5, .first_delay_ms = 5000}},
        "{\"n\":", NULL, "invalid JSON");
}

static void test_log_and_event_tell_which_message_is_gone_and_why(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    test_log_start(CONEY_LOG_ERROR);
    listening_send_with("{\"n\":", &with_id);
    listening_wait_for_event_about(CONEY_MESSAGE_REJECTED, "m-1", "invalid JSON");
    test_log_expect("message 'm-1' is rejected, and gone unless its queue has a dead-letter exchange");
    test_log_stop();
    assert_int_equal(listening_events(CONEY_MESSAGE_REJECTED), 1);
    assert_int_equal(listening_events(CONEY_MESSAGE_DISCARDED), 0);
}

static void test_handler_gets_those_behind_a_fatal_one(void **state)
{
    (void)state;
    test_log_start(CONEY_LOG_ERROR);
    listening_start(&(coney_listener){.converter = coney_text_converter()});
    listening_send("\xff");
    listening_send("ack");
    listening_wait_for_calls(1);
    test_log_stop();
}

/* ---- from the dead-letter queue and back ---- */

static void expect_nothing_left(uint32_t dead)
{
    test_wait_for_depth(listening.dead, dead);
    assert_int_equal(listening.count, 0);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, dead);
}

static void expect_discarded(coney_acknowledge_mode mode)
{
    listening_send_dead_letters_back();
    listening_start(&(coney_listener){.converter = coney_json_converter(), .acknowledge = mode});
    test_log_start(CONEY_LOG_ERROR);
    listening_send_with("{\"n\":", &with_id);
    listening_wait_for_event_about(CONEY_MESSAGE_DISCARDED, "m-1", "invalid JSON");
    test_log_stop();
    coney_listener_statistics statistics = listening_statistics();
    assert_int_equal(statistics.received, 2);
    assert_int_equal(statistics.fatal, 2);
    assert_int_equal(statistics.rejected, 1);
    assert_int_equal(statistics.discarded, 1);
    assert_int_equal(listening_events(CONEY_MESSAGE_DISCARDED), 1);
    assert_int_equal(listening.count, 0);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

static void test_fatal_message_that_came_back_is_dropped_and_told(void **state)
{
    (void)state;
    expect_discarded(CONEY_ACKNOWLEDGE_AUTO);
}

static void test_fatal_message_that_came_back_is_dropped_with_manual_acknowledgement(void **state)
{
    (void)state;
    expect_discarded(CONEY_ACKNOWLEDGE_MANUAL);
}

/* As publishers have messages come later. */
static const char *make_delay_queue(void)
{
    const char *name = listening_other_queue("delay");
    test_delete_queue(name);
    assert_ok(coney_admin_declare_queue(
        client.admin,
        &(coney_queue){
            .name = name, .message_ttl_ms = 20, .dead_letter_exchange = "", .dead_letter_routing_key = listening.queue},
        NULL));
    return name;
}

static void expect_rejected_again(void)
{
    test_wait_for_depth(listening.dead, 1);
    test_wait_until(listening_statistics().rejected == 1); /* counted after it was sent */
    assert_int_equal(listening_statistics().discarded, 0);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
}

static void test_fatal_message_that_a_publisher_delayed_is_rejected(void **state)
{
    (void)state;
    const char *delay = make_delay_queue();
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    listening_send_to("", delay, "{\"n\":", &with_id);
    expect_rejected_again();
}

/* The header x-death as the broker writes it: the newest death first; ended by a NULL. */
typedef struct death {
    const char *queue, *reason;
} death;

static coney_table *headers_with_deaths(const death *deaths)
{
    coney_table *headers = coney_table_new();
    coney_array *all = coney_array_new();
    for (; deaths->queue; deaths++) {
        coney_table *one = coney_table_new();
        assert_ok(coney_table_set_string(one, "queue", deaths->queue));
        assert_ok(coney_table_set_string(one, "reason", deaths->reason));
        assert_ok(coney_table_set_int64(one, "count", 1));
        const coney_value value = {.type = CONEY_TABLE, .as.table = one};
        assert_ok(coney_array_append(all, &value));
        coney_table_free(one);
    }
    assert_ok(coney_table_set_array(headers, "x-death", all));
    coney_array_free(all);
    return headers;
}

static void send_with_deaths(const death *deaths)
{
    coney_table *headers = headers_with_deaths(deaths);
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    listening_send_with("{\"n\":", &(coney_properties){.message_id = "m-1", .headers = headers});
    coney_table_free(headers);
}

/* By a shovel or a consumer that keeps headers. */
static void test_fatal_message_that_an_operator_moved_back_is_rejected_again(void **state)
{
    (void)state;
    send_with_deaths((const death[]){{listening.queue, "rejected"}, {0}});
    expect_rejected_again();
}

static void test_fatal_message_that_an_operator_moved_back_after_a_delay_is_rejected_again(void **state)
{
    (void)state;
    send_with_deaths((const death[]){{listening.queue, "rejected"}, {"a.delay.queue", "expired"}, {0}});
    expect_rejected_again();
}

static void test_fatal_message_that_another_queue_rejected_is_rejected_again(void **state)
{
    (void)state;
    send_with_deaths((const death[]){{"another.queue", "rejected"}, {listening.queue, "rejected"}, {0}});
    expect_rejected_again();
}

static void test_fatal_message_that_another_queue_had_no_room_for_is_rejected_again(void **state)
{
    (void)state;
    send_with_deaths((const death[]){{"another.queue", "maxlen"}, {listening.queue, "rejected"}, {0}});
    expect_rejected_again();
}

static void test_fatal_message_that_expired_here_is_rejected_again(void **state)
{
    (void)state;
    send_with_deaths((const death[]){{listening.queue, "expired"}, {listening.queue, "rejected"}, {0}});
    expect_rejected_again();
}

static void test_fatal_message_that_only_another_queue_rejected_before_its_delay_is_rejected(void **state)
{
    (void)state;
    send_with_deaths((const death[]){{"a.delay.queue", "expired"}, {"another.queue", "rejected"}, {0}});
    expect_rejected_again();
}

/* Anyone can send such headers, so once is not enough. */
static void test_fatal_message_that_only_says_that_it_came_round_is_rejected(void **state)
{
    (void)state;
    send_with_deaths(
        (const death[]){{"a.delay.queue", "expired"}, {"a.full.queue", "maxlen"}, {listening.queue, "rejected"}, {0}});
    expect_rejected_again();
}

/* From the dead-letter queue to another one, and from there back. */
static void test_fatal_message_that_comes_round_by_several_queues_is_dropped(void **state)
{
    (void)state;
    const char *delay = make_delay_queue();
    test_delete_queue(listening.dead);
    assert_ok(coney_admin_declare_queue(
        client.admin,
        &(coney_queue){
            .name = listening.dead, .message_ttl_ms = 20, .dead_letter_exchange = "", .dead_letter_routing_key = delay},
        NULL));
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    listening_send_with("{\"n\":", &with_id);
    listening_wait_for_event(CONEY_MESSAGE_DISCARDED, "invalid JSON");
    expect_nothing_left(0);
}

static coney_outcome reject_the_first(coney_delivery *delivery, void *user)
{
    (void)user;
    return listening_note(delivery) == 0 ? CONEY_REJECT : CONEY_ACK;
}

static void test_readable_message_that_came_back_is_handled_as_its_second_attempt(void **state)
{
    (void)state;
    listening_send_dead_letters_back();
    listening_start(&(coney_listener){.on_message = reject_the_first});
    listening_send("text");
    listening_expect_attempts((const int[]){1, 2, 0});
    assert_false(listening.calls[1].redelivered);
}

/* ---- the program decides ---- */

typedef struct decision {
    coney_outcome first, later; /* what on_error answers */
    coney_outcome usual;        /* what it expects to be proposed for the later ones */
    atomic_int calls;
} decision;

static coney_outcome decide(coney_delivery *delivery, const coney_error *error, coney_outcome outcome, void *user)
{
    decision *made = user;
    bool first = atomic_fetch_add(&made->calls, 1) == 0;
    check(outcome == (first || !made->usual ? CONEY_REJECT : made->usual));
    check(error->status == CONEY_E_CONVERSION);
    check(strstr(error->text, "invalid JSON"));
    check_text(coney_message_properties(coney_delivery_message(delivery))->message_id, "m-1");
    return first ? made->first : made->later;
}

static void start_deciding(decision *made, coney_acknowledge_mode mode, coney_listener_retry retry)
{
    listening_start(&(coney_listener){
        .converter = coney_json_converter(), .user = made, .on_error = decide, .acknowledge = mode, .retry = retry});
    listening_send_with("{\"n\":", &with_id);
}

static void test_on_error_may_acknowledge(void **state)
{
    (void)state;
    decision made = {.first = CONEY_ACK};
    start_deciding(&made, CONEY_ACKNOWLEDGE_AUTO, (coney_listener_retry){0});
    test_wait_for(&made.calls, 1);
    expect_nothing_left(0);
}

static void test_on_error_may_agree(void **state)
{
    (void)state;
    decision made = {.first = CONEY_REJECT};
    start_deciding(&made, CONEY_ACKNOWLEDGE_AUTO, (coney_listener_retry){0});
    expect_nothing_left(1);
    assert_int_equal(made.calls, 1);
}

static void test_on_error_may_requeue(void **state)
{
    (void)state;
    decision made = {.first = CONEY_REQUEUE, .later = CONEY_REJECT};
    start_deciding(&made, CONEY_ACKNOWLEDGE_AUTO, (coney_listener_retry){0});
    expect_nothing_left(1);
    assert_int_equal(made.calls, 2);
}

static void test_on_error_may_requeue_with_manual_acknowledgement(void **state)
{
    (void)state;
    decision made = {.first = CONEY_REQUEUE, .later = CONEY_ACK};
    start_deciding(&made, CONEY_ACKNOWLEDGE_MANUAL, (coney_listener_retry){0});
    test_wait_for(&made.calls, 2);
    expect_nothing_left(0);
}

static void test_on_error_may_have_it_retried(void **state)
{
    (void)state;
    decision made = {.first = CONEY_RETRY, .later = CONEY_RETRY};
    start_deciding(&made, CONEY_ACKNOWLEDGE_AUTO, (coney_listener_retry){.max_attempts = 3, .first_delay_ms = 2});
    expect_nothing_left(1);
    assert_int_equal(made.calls, 3);
}

/* There is nothing that could be settled later, for what it gets is a view for the call. */
static void test_on_error_cannot_defer(void **state)
{
    (void)state;
    decision made = {.first = CONEY_DEFER, .later = CONEY_ACK};
    test_log_start(CONEY_LOG_ERROR);
    start_deciding(&made, CONEY_ACKNOWLEDGE_MANUAL, (coney_listener_retry){0});
    test_wait_for(&made.calls, 2);
    test_log_stop();
    expect_nothing_left(0);
}

static void test_on_error_is_told_that_one_that_came_back_would_be_dropped(void **state)
{
    (void)state;
    decision made = {.first = CONEY_REJECT, .later = CONEY_ACK, .usual = CONEY_ACK};
    listening_send_dead_letters_back();
    start_deciding(&made, CONEY_ACKNOWLEDGE_AUTO, (coney_listener_retry){0});
    listening_wait_for_event(CONEY_MESSAGE_DISCARDED, "invalid JSON");
    assert_int_equal(made.calls, 2);
}

/* ---- what is converted again ---- */

static atomic_int conversions;

/* As one that needs a schema from a server that is not there yet. */
static coney_status fail_to_read_once(void **object, coney_message *message)
{
    if (atomic_fetch_add(&conversions, 1) == 0)
        return coney_conversion_failed("invalid JSON, says the server of schemas");
    return coney_text_converter()->from_message(object, message);
}

static void free_text(void *object)
{
    coney_text_converter()->free_object(object);
}

static coney_status add_a_mark(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)exchange;
    (void)routing_key;
    (void)user;
    check(!coney_message_header(*message, "mark"));
    const coney_value mark = coney_value_string("here");
    return coney_message_with_header(message, *message, "mark", &mark);
}

static void test_conversion_that_is_retried_begins_with_the_message_as_it_came(void **state)
{
    (void)state;
    const coney_converter converter = {
        .name = "sometimes", .from_message = fail_to_read_once, .free_object = free_text};
    decision made = {.first = CONEY_RETRY, .later = CONEY_RETRY};
    conversions = 0;
    listening_start(&(coney_listener){
        .converter = &converter, .user = &made, .on_error = decide, .retry = {.max_attempts = 3, .first_delay_ms = 2}});
    assert_ok(coney_container_add_after_receive(listening.container,
                                                &(coney_processor){.name = "mark", .process = add_a_mark}));
    listening_send_with("ack", &with_id);
    listening_expect_attempts((const int[]){2, 0});
    assert_int_equal(conversions, 2);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_bad_json_is_rejected_at_once),
        listening_test(test_bad_json_is_rejected_at_once_with_manual_acknowledgement),
        listening_test(test_unknown_content_encoding_is_rejected_at_once),
        listening_test(test_unknown_content_encoding_is_rejected_at_once_with_manual_acknowledgement),
        listening_test(test_unknown_charset_is_rejected_at_once),
        listening_test(test_unreadable_text_is_rejected_at_once),
        listening_test(test_unreadable_text_is_rejected_at_once_with_manual_acknowledgement),
        listening_test(test_fatal_message_is_not_retried),
        listening_test(test_log_and_event_tell_which_message_is_gone_and_why),
        listening_test(test_handler_gets_those_behind_a_fatal_one),
        listening_test(test_fatal_message_that_came_back_is_dropped_and_told),
        listening_test(test_fatal_message_that_came_back_is_dropped_with_manual_acknowledgement),
        listening_test(test_fatal_message_that_a_publisher_delayed_is_rejected),
        listening_test(test_fatal_message_that_an_operator_moved_back_is_rejected_again),
        listening_test(test_fatal_message_that_an_operator_moved_back_after_a_delay_is_rejected_again),
        listening_test(test_fatal_message_that_another_queue_rejected_is_rejected_again),
        listening_test(test_fatal_message_that_another_queue_had_no_room_for_is_rejected_again),
        listening_test(test_fatal_message_that_expired_here_is_rejected_again),
        listening_test(test_fatal_message_that_only_another_queue_rejected_before_its_delay_is_rejected),
        listening_test(test_fatal_message_that_only_says_that_it_came_round_is_rejected),
        listening_test(test_fatal_message_that_comes_round_by_several_queues_is_dropped),
        listening_test(test_readable_message_that_came_back_is_handled_as_its_second_attempt),
        listening_test(test_on_error_may_acknowledge),
        listening_test(test_on_error_may_agree),
        listening_test(test_on_error_may_requeue),
        listening_test(test_on_error_may_requeue_with_manual_acknowledgement),
        listening_test(test_on_error_may_have_it_retried),
        listening_test(test_on_error_cannot_defer),
        listening_test(test_on_error_is_told_that_one_that_came_back_would_be_dropped),
        listening_test(test_conversion_that_is_retried_begins_with_the_message_as_it_came),
    };
    return test_run_with_workers("fatal", tests, test_client_setup, test_client_teardown);
}
