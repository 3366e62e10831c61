/* SPDX-License-Identifier: MIT */
/* The ladder of retry queues: when a message comes back, what it tells of its way, where it ends, and that nothing is
 * lost on it. */
#include "support/elapsed.h"
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BROKER_SLACK_MS 3000 /* for it to expire, to be dead-lettered and to be delivered */

static const char *first_rung, *second_rung, *parking;
static char exchange[256]; /* bound to the test's queue with "the.key" */

static int setup(void **state)
{
    int status = listening_setup(state);
    first_rung = listening_other_queue("retry.200");
    second_rung = listening_other_queue("retry.400");
    parking = listening_other_queue("parking");
    return status;
}

static void start_with_retry(coney_listener_retry retry)
{
    retry.delays_ms[0] = 200;
    retry.delays_ms[1] = 400;
    listening_start(&(coney_listener){.retry = retry});
}

static amqp_message_t get_parked(void)
{
    test_wait_for_depth(parking, 1);
    return plain_get(parking);
}

static void expect_nothing_left(void)
{
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
    test_wait_for_depth(first_rung, 0);
    test_wait_for_depth(second_rung, 0);
    test_wait_for_depth(parking, 0);
}

/* ---- its queues ---- */

/* The broker refuses to declare a queue again with other arguments. */
static void expect_rung(const char *name, int ttl_ms, coney_queue_kind kind)
{
    coney_table *for_quorum = coney_table_new();
    assert_ok(coney_table_set_string(for_quorum, "x-dead-letter-strategy", "at-least-once"));
    const coney_queue queue = {.name = name,
                               .kind = kind,
                               .message_ttl_ms = ttl_ms,
                               .dead_letter_exchange = "",
                               .dead_letter_routing_key = listening.queue,
                               .overflow = kind == CONEY_QUORUM ? CONEY_REJECT_PUBLISH : CONEY_OVERFLOW_DEFAULT,
                               .arguments = kind == CONEY_QUORUM ? for_quorum : NULL};
    coney_queue other = queue;
    test_wait_for_depth(name, 0); /* it is there */
    assert_ok(coney_admin_declare_queue(client.admin, &queue, NULL));
    other.message_ttl_ms++;
    assert_fails(coney_admin_declare_queue(client.admin, &other, NULL), CONEY_E_PRECONDITION_FAILED, "x-message-ttl");
    coney_table_free(for_quorum);
}

static void expect_queues(coney_queue_kind kind)
{
    start_with_retry((coney_listener_retry){.ladder_kind = kind});
    expect_rung(first_rung, 200, kind);
    expect_rung(second_rung, 400, kind);
    test_wait_for_depth(parking, 0);
    assert_ok(coney_admin_declare_queue(client.admin, &(coney_queue){.name = parking, .kind = kind}, NULL));
}

static void test_classic_queues_are_declared_at_the_start(void **state)
{
    (void)state;
    expect_queues(CONEY_CLASSIC);
}

static void test_quorum_queues_are_declared_at_the_start(void **state)
{
    (void)state;
    expect_queues(CONEY_QUORUM);
}

/* ---- its rounds ---- */

static void expect_round_after(int index, int delay_ms)
{
    int64_t began = listening.calls[index].at_ms;
    int gap_ms = (int)(listening.calls[index + 1].at_ms - began);
    assert_int_in_range(gap_ms, delay_ms - 1, delay_ms + BROKER_SLACK_MS + test_slack_ms(began));
    assert_false(listening.calls[index + 1].redelivered);
}

static void expect_all_rounds(coney_queue_kind kind)
{
    start_with_retry((coney_listener_retry){.ladder_kind = kind});
    listening_send("fail");
    amqp_message_t parked = get_parked();
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    expect_round_after(0, 200);
    expect_round_after(1, 400);
    plain_expect_text(parked.body, "fail");
    plain_expect_header(&parked, "x-exception-message", "no stock for fail");
    plain_expect_header(&parked, "x-original-exchange", "");
    plain_expect_header(&parked, "x-original-routingKey", listening.queue);
    assert_int_equal(plain_number_header(&parked, "x-coney-attempts"), 3);
    assert_int_equal(parked.properties.delivery_mode, AMQP_DELIVERY_PERSISTENT);
    amqp_destroy_message(&parked);
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "is parked after 3 attempts: no stock for fail");
    assert_int_equal(listening_statistics().republished, 3);
    assert_int_equal(listening_statistics().exhausted, 1);
    expect_nothing_left();
}

static void test_message_that_always_fails_is_parked_after_all_rounds_of_a_classic_ladder(void **state)
{
    (void)state;
    expect_all_rounds(CONEY_CLASSIC);
}

static void test_message_that_always_fails_is_parked_after_all_rounds_of_a_quorum_ladder(void **state)
{
    (void)state;
    expect_all_rounds(CONEY_QUORUM);
}

static void test_success_in_the_second_round_ends_it(void **state)
{
    (void)state;
    start_with_retry((coney_listener_retry){0});
    listening_send("fail 1");
    listening_expect_attempts((const int[]){1, 2, 0});
    assert_int_equal(listening_statistics().exhausted, 0);
    expect_nothing_left();
}

static coney_outcome expect_rounds(coney_delivery *delivery, void *user)
{
    const coney_properties *got = coney_message_properties(coney_delivery_message(delivery));
    int round = listening_note(delivery);
    check(coney_table_get_int64(got->headers, CONEY_HEADER_RETRY_COUNT, 0) == round);
    check(coney_table_get_int64(got->headers, CONEY_HEADER_ATTEMPTS, 0) == round);
    if (round > 0) {
        check_text(coney_table_get_string(got->headers, CONEY_HEADER_ORIGINAL_EXCHANGE), (const char *)user);
        check_text(coney_table_get_string(got->headers, CONEY_HEADER_ORIGINAL_ROUTING_KEY), "the.key");
    }
    return CONEY_RETRY;
}

static void bind_to(const char *name)
{
    assert_ok(coney_admin_declare_exchange(client.admin, &(coney_exchange){.name = name}));
    assert_ok(coney_admin_declare_binding(
        client.admin, &(coney_binding){.exchange = name, .destination = listening.queue, .routing_key = "the.key"}));
}

static void test_each_round_tells_how_many_were_before_and_where_it_came_from(void **state)
{
    (void)state;
    snprintf(exchange, sizeof exchange, "%s", test_name("ladder.exchange"));
    bind_to(exchange);
    listening_start(
        &(coney_listener){.on_message = expect_rounds, .user = exchange, .retry = {.delays_ms = {200, 400}}});
    listening_send_to(exchange, "the.key", "fail", NULL);
    amqp_message_t parked = get_parked();
    plain_expect_header(&parked, "x-original-exchange", exchange);
    plain_expect_header(&parked, "x-original-routingKey", "the.key");
    amqp_destroy_message(&parked);
    assert_ok(coney_admin_delete_exchange(client.admin, exchange));
    assert_int_equal(listening.count, 3);
}

/* ---- the original address ---- */

static bool has_original_address(const coney_message *message)
{
    return strcmp(coney_message_exchange(message), exchange) == 0 &&
           strcmp(coney_message_routing_key(message), "the.key") == 0;
}

static coney_status process_with_address(coney_message **message, const char *from, const char *key, void *user)
{
    (void)user;
    check(has_original_address(*message));
    check_text(from, exchange);
    check_text(key, "the.key");
    return CONEY_OK;
}

static coney_outcome fail_with_address(coney_delivery *delivery, void *user)
{
    (void)user;
    listening_note(delivery);
    check(has_original_address(coney_delivery_message(delivery)));
    return CONEY_RETRY;
}

static coney_outcome reject_with_address(coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)error;
    check(fail_with_address(delivery, user) == CONEY_RETRY);
    return CONEY_REJECT;
}

static void start_with_exchange(coney_listener listener)
{
    snprintf(exchange, sizeof exchange, "%s", test_name("ladder.exchange"));
    bind_to(exchange);
    listener.on_message = fail_with_address;
    listener.retry.delays_ms[0] = 200;
    listener.retry.delays_ms[1] = 400;
    listening_start(&listener);
    assert_ok(coney_container_add_after_receive(
        listening.container, &(coney_processor){.name = "address", .process = process_with_address}));
}

static void expect_from_exchange(const char *queue, uint32_t count)
{
    test_wait_for_depth(queue, count);
    amqp_message_t message = plain_get(queue);
    plain_expect_header(&message, "x-original-exchange", exchange);
    plain_expect_header(&message, "x-original-routingKey", "the.key");
    amqp_destroy_message(&message);
    assert_ok(coney_admin_delete_exchange(client.admin, exchange));
}

static void test_each_round_has_the_original_address(void **state)
{
    (void)state;
    start_with_exchange((coney_listener){0});
    listening_send_to(exchange, "the.key", "fail", NULL);
    expect_from_exchange(parking, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

static void test_each_round_on_a_lane_has_the_original_address(void **state)
{
    (void)state;
    start_with_exchange((coney_listener){.lanes = 2});
    listening_send_to(exchange, "the.key", "fail", NULL);
    expect_from_exchange(parking, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

static void test_exhausted_message_has_the_original_address(void **state)
{
    (void)state;
    start_with_exchange(
        (coney_listener){.retry = {.exhausted = CONEY_EXHAUSTED_CALL, .on_exhausted = reject_with_address}});
    listening_send_to(exchange, "the.key", "fail", NULL);
    expect_from_exchange(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 3, 0});
}

static void test_messages_of_a_batch_have_the_original_address_in_each_round(void **state)
{
    (void)state;
    coney_message *messages[2], *batch;
    for (int i = 0; i < 2; i++)
        assert_ok(coney_message_new(&messages[i], "fail", 4, NULL));
    assert_ok(coney_message_batch(&batch, messages, 2));
    start_with_exchange((coney_listener){0});
    assert_ok(coney_template_send(client.sender, "the.key", batch, &(coney_send_options){.exchange = exchange}));
    expect_from_exchange(parking, 2);
    assert_int_equal(listening.count, 6);
    coney_message_unref(batch);
    for (int i = 0; i < 2; i++)
        coney_message_unref(messages[i]);
}

/* As if the message had come from the first rung, but it comes from an exchange, and so does not. */
static void test_original_address_that_a_publisher_wrote_is_not_believed(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new(), *death = coney_table_new();
    coney_array *deaths = coney_array_new();
    assert_ok(coney_table_set_string(death, "queue", first_rung));
    assert_ok(coney_table_set_string(death, "reason", "expired"));
    assert_ok(coney_table_set_int64(death, "count", 1));
    assert_ok(coney_array_append(deaths, &(coney_value){.type = CONEY_TABLE, .as.table = death}));
    assert_ok(coney_table_set_array(headers, "x-death", deaths));
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, 1));
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_ORIGINAL_EXCHANGE, "forged"));
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_ORIGINAL_ROUTING_KEY, "forged.key"));
    start_with_exchange((coney_listener){0});
    listening_send_to(exchange, "the.key", "fail", &(coney_properties){.headers = headers});
    expect_from_exchange(parking, 1);
    assert_int_equal(listening.count, 2); /* the round that it has forged is believed, and is missing */
    coney_table_free(headers);
    coney_table_free(death);
    coney_array_free(deaths);
}

static void test_attempts_in_place_and_rounds_count_together(void **state)
{
    (void)state;
    start_with_retry((coney_listener_retry){.max_attempts = 2, .first_delay_ms = 2});
    listening_send("fail");
    amqp_message_t parked = get_parked();
    listening_expect_attempts((const int[]){1, 2, 3, 4, 5, 6, 0});
    assert_int_equal(plain_number_header(&parked, "x-coney-attempts"), 6);
    amqp_destroy_message(&parked);
}

static void test_stateful_attempts_and_rounds_count_together(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    start_with_retry((coney_listener_retry){.stateful = true, .max_attempts = 2, .ladder_kind = CONEY_QUORUM});
    listening_send("fail");
    amqp_message_t parked = get_parked();
    listening_expect_attempts((const int[]){1, 2, 3, 4, 5, 6, 0});
    assert_int_equal(plain_number_header(&parked, "x-coney-attempts"), 6);
    amqp_destroy_message(&parked);
}

static bool never(const coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)delivery;
    (void)error;
    (void)user;
    return false;
}

static void test_failure_that_is_not_retriable_is_parked_at_once(void **state)
{
    (void)state;
    start_with_retry((coney_listener_retry){.is_retriable = never});
    listening_send("fail");
    amqp_message_t parked = get_parked();
    assert_int_equal(plain_number_header(&parked, "x-coney-attempts"), 1);
    amqp_destroy_message(&parked);
    assert_int_equal(listening.count, 1);
    expect_nothing_left();
}

/* ---- its end ---- */

static void test_last_round_may_end_in_the_dead_letter_exchange(void **state)
{
    (void)state;
    test_make_queue(parking); /* for the teardown alone */
    start_with_retry((coney_listener_retry){.exhausted = CONEY_EXHAUSTED_REJECT});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    test_wait_for_depth(parking, 0);
}

static void test_last_round_may_end_in_the_queue_named_after_the_original_key(void **state)
{
    (void)state;
    snprintf(exchange, sizeof exchange, "%s", test_name("ladder.exchange"));
    bind_to(exchange);
    test_make_queue("error.the.key");
    listening_delete_later("error.the.key");
    start_with_retry((coney_listener_retry){.exhausted = CONEY_EXHAUSTED_REPUBLISH});
    listening_send_to(exchange, "the.key", "fail", NULL);
    test_wait_for_depth("error.the.key", 1);
    assert_ok(coney_admin_delete_exchange(client.admin, exchange));
    assert_int_equal(listening.count, 3);
}

static void test_parking_queue_may_have_another_name(void **state)
{
    (void)state;
    const char *lot = listening_other_queue("lot");
    start_with_retry((coney_listener_retry){.is_retriable = never, .parking_queue = lot});
    listening_send("fail");
    test_wait_for_depth(lot, 1);
}

static void test_parking_needs_no_ladder(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.exhausted = CONEY_EXHAUSTED_PARK}});
    listening_send("fail");
    test_wait_for_depth(parking, 1);
    assert_int_equal(listening.count, 1);
}

/* ---- copies (CC) ---- */

/* To another queue, with a copy for the test's. */
static void send_copy(const char *text)
{
    const char *other = listening_make_other_queue("other");
    coney_value to = coney_value_string(listening.queue);
    coney_table *headers = coney_table_new();
    coney_array *all = coney_array_new();
    coney_value copies = {.type = CONEY_ARRAY, .as.array = all};
    assert_ok(coney_array_append(all, &to));
    assert_ok(coney_table_set(headers, "CC", &copies));
    listening_send_to("", other, text, &(coney_properties){.headers = headers});
    test_wait_for_depth(other, 1);
    coney_array_free(all);
    coney_table_free(headers);
}

static void test_copy_goes_up_the_ladder_alone(void **state)
{
    (void)state;
    start_with_retry((coney_listener_retry){0});
    send_copy("fail 2");
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    expect_round_after(0, 200); /* a copy for the queue itself would be there at once */
    expect_round_after(1, 400);
    expect_nothing_left();
    assert_int_equal(listening.count, 3);
}

static void test_copy_is_parked_alone(void **state)
{
    (void)state;
    start_with_retry((coney_listener_retry){.is_retriable = never});
    send_copy("fail");
    amqp_message_t parked = get_parked();
    assert_null(plain_header(&parked, "CC"));
    amqp_destroy_message(&parked);
    expect_nothing_left();
    assert_int_equal(listening.count, 1);
}

/* ---- what goes wrong ---- */

static void test_rung_that_was_deleted_is_declared_again(void **state)
{
    (void)state;
    start_with_retry((coney_listener_retry){0});
    test_delete_queue(first_rung);
    test_delete_queue(second_rung);
    listening_send("fail 2");
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    assert_false(listening.calls[1].redelivered); /* by way of the rung and not back to the queue */
    expect_rung(first_rung, 200, CONEY_QUEUE_DEFAULT);
    expect_nothing_left();
}

static void test_parking_queue_that_was_deleted_is_declared_again(void **state)
{
    (void)state;
    start_with_retry((coney_listener_retry){.is_retriable = never});
    test_delete_queue(parking);
    listening_send("fail");
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "is parked");
    test_wait_for_depth(parking, 1);
    assert_int_equal(listening.count, 1);
}

static void wait_for_acknowledgement(void)
{
    for (int64_t until = cny_now_ms() + 10000; listening_statistics().acknowledged == 0; usleep(1000))
        assert_true(cny_now_ms() < until);
}

/* Two containers, one after the other: the second one knows the message by its headers only. */
static void test_container_that_ends_between_two_rounds_loses_nothing(void **state)
{
    (void)state;
    start_with_retry((coney_listener_retry){0});
    listening_send("fail");
    wait_for_acknowledgement(); /* else it comes twice, by its rung and by its queue */
    assert_ok(coney_container_stop_with(listening.container, CONEY_STOP_NOW, 0));
    listening_stop();
    test_wait_for_depth(listening.queue, 1);
    start_with_retry((coney_listener_retry){0});
    test_wait_for_depth(parking, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

static void test_rung_that_has_other_arguments_fails_the_start(void **state)
{
    (void)state;
    const coney_listener listener = {
        .queue = listening.queue, .on_message = listening_obey, .retry = {.delays_ms = {200}}};
    assert_ok(
        coney_admin_declare_queue(client.admin, &(coney_queue){.name = first_rung, .message_ttl_ms = 100000}, NULL));
    assert_ok(coney_container_new(&listening.container, client.factory, NULL));
    assert_ok(coney_container_listen(listening.container, &listener));
    assert_fails(coney_container_start(listening.container), CONEY_E_PRECONDITION_FAILED, first_rung);
    assert_non_null(strstr(coney_last_error(), "x-message-ttl"));
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define with_ladder(test) cmocka_unit_test_setup_teardown(test, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        with_ladder(test_classic_queues_are_declared_at_the_start),
        with_ladder(test_quorum_queues_are_declared_at_the_start),
        with_ladder(test_message_that_always_fails_is_parked_after_all_rounds_of_a_classic_ladder),
        with_ladder(test_message_that_always_fails_is_parked_after_all_rounds_of_a_quorum_ladder),
        with_ladder(test_success_in_the_second_round_ends_it),
        with_ladder(test_each_round_tells_how_many_were_before_and_where_it_came_from),
        with_ladder(test_each_round_has_the_original_address),
        with_ladder(test_each_round_on_a_lane_has_the_original_address),
        with_ladder(test_exhausted_message_has_the_original_address),
        with_ladder(test_messages_of_a_batch_have_the_original_address_in_each_round),
        with_ladder(test_original_address_that_a_publisher_wrote_is_not_believed),
        with_ladder(test_attempts_in_place_and_rounds_count_together),
        with_ladder(test_stateful_attempts_and_rounds_count_together),
        with_ladder(test_failure_that_is_not_retriable_is_parked_at_once),
        with_ladder(test_last_round_may_end_in_the_dead_letter_exchange),
        with_ladder(test_last_round_may_end_in_the_queue_named_after_the_original_key),
        with_ladder(test_parking_queue_may_have_another_name),
        with_ladder(test_parking_needs_no_ladder),
        with_ladder(test_copy_goes_up_the_ladder_alone),
        with_ladder(test_copy_is_parked_alone),
        with_ladder(test_rung_that_was_deleted_is_declared_again),
        with_ladder(test_parking_queue_that_was_deleted_is_declared_again),
        with_ladder(test_container_that_ends_between_two_rounds_loses_nothing),
        with_ladder(test_rung_that_has_other_arguments_fails_the_start),
    };
    return test_run_with_workers("ladder", tests, test_client_setup, teardown);
}
