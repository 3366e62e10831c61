/* SPDX-License-Identifier: MIT */
/* Headers that brokers and Coney write, written by a publisher. At worst he has his own message parked early: it is not
 * gone without a trace, it ends, and no other message pays. */
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>

enum { FORGED = 50, PATIENT_CALLS = 9, MANY = 300, MOST_REJECTIONS = 4 };

static const char *parking, *rung;

static int setup(void **state)
{
    int status = listening_setup(state);
    parking = listening_other_queue("parking");
    rung = listening_other_queue("retry.50");
    listening_other_queue("quarantine");
    return status;
}

static void add_deaths(coney_array *deaths, const char *queue, const char *reason, int64_t count)
{
    coney_table *one = coney_table_new();
    assert_ok(coney_table_set_string(one, "queue", queue));
    assert_ok(coney_table_set_string(one, "reason", reason));
    assert_ok(coney_table_set_int64(one, "count", count));
    const coney_value value = {.type = CONEY_TABLE, .as.table = one};
    assert_ok(coney_array_append(deaths, &value));
    coney_table_free(one);
}

static void add_death(coney_array *deaths, const char *queue, const char *reason)
{
    add_deaths(deaths, queue, reason, FORGED);
}

/* As if the message had come from that queue, where it had expired, after this queue had rejected it. */
static coney_table *forge(const char *expired_in)
{
    static const char *const counts[] = {"x-delivery-count", CONEY_HEADER_ATTEMPTS, CONEY_HEADER_RETRY_COUNT};
    coney_table *headers = coney_table_new();
    coney_array *deaths = coney_array_new();
    add_death(deaths, expired_in, "expired");
    add_death(deaths, listening.queue, "rejected");
    assert_ok(coney_table_set_array(headers, "x-death", deaths));
    coney_array_free(deaths);
    for (size_t i = 0; i < COUNT_OF(counts); i++)
        assert_ok(coney_table_set_int64(headers, counts[i], FORGED));
    return headers;
}

static void send_with(const char *text, coney_table *headers, const char *id)
{
    listening_send_with(text, &(coney_properties){.headers = headers, .message_id = id});
    coney_table_free(headers);
}

static void send_forged(const char *text, const char *expired_in, const char *id)
{
    coney_table *headers = forge(expired_in);
    send_with(text, headers, id);
}

/* As if RabbitMQ 4.0 had written x-death, and 4.3 had counted. */
static void send_forged_with_acquired(const char *text, const char *id)
{
    coney_table *headers = forge("a.delay.queue");
    assert_ok(coney_table_set_string(headers, "x-last-death-queue", "a.delay.queue"));
    assert_ok(coney_table_set_int64(headers, "x-acquired-count", FORGED));
    send_with(text, headers, id);
}

/* ---- messages that cannot be read ---- */

static void test_unreadable_message_is_dead_lettered_each_time_it_is_published(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    send_forged("{\"n\":", "a.delay.queue", "m-1");
    test_wait_for_depth(listening.dead, 1);
    send_forged("{\"n\":", "a.delay.queue", "m-1");
    test_wait_for_depth(listening.dead, 2);
    assert_int_equal(listening_statistics().discarded, 0);
    assert_int_equal(listening.count, 0);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
}

static void test_unreadable_message_that_then_comes_round_by_itself_ends(void **state)
{
    (void)state;
    listening_send_dead_letters_back();
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    send_forged("{\"n\":", listening.dead, NULL);
    listening_wait_for_event(CONEY_MESSAGE_DISCARDED, "was rejected here before, expired elsewhere and came back");
    listening_wait_for_event(CONEY_MESSAGE_DISCARDED, "invalid JSON");
    assert_true(listening_statistics().rejected >= 1);
    assert_int_equal(listening_statistics().discarded, 1);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

/* The message goes round from here to the dead-letter queue and back, until it is dropped. */
static void expect_end_with(coney_array *deaths)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_array(headers, "x-death", deaths));
    coney_array_free(deaths);
    listening_send_dead_letters_back();
    listening_start(&(coney_listener){.converter = coney_json_converter()});
    send_with("{\"n\":", headers, "m-1");
    listening_wait_for_event(CONEY_MESSAGE_DISCARDED, "invalid JSON");
    assert_int_equal(listening_statistics().discarded, 1);
    assert_int_in_range(listening_statistics().rejected, 1, MOST_REJECTIONS);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, 0);
}

static void add_other_deaths(coney_array *deaths, const char *reason)
{
    char name[32];
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "queue.%d", i);
        add_deaths(deaths, name, reason, 1);
    }
}

static void test_unreadable_message_with_many_rejections_by_other_queues_ends(void **state)
{
    (void)state;
    coney_array *deaths = coney_array_new();
    add_other_deaths(deaths, "rejected");
    expect_end_with(deaths);
}

static void test_unreadable_message_whose_deaths_here_are_after_many_others_ends(void **state)
{
    (void)state;
    coney_array *deaths = coney_array_new();
    add_other_deaths(deaths, "maxlen");
    add_death(deaths, listening.queue, "rejected");
    add_death(deaths, listening.dead, "expired");
    expect_end_with(deaths);
}

static void expect_end_with_count(void **state, int64_t count)
{
    coney_array *deaths = coney_array_new();
    add_deaths(deaths, listening.queue, "rejected", count);
    expect_end_with(deaths);
    listening_teardown(state);
    setup(state);
}

static void test_unreadable_message_with_a_huge_count_of_rejections_ends(void **state)
{
    expect_end_with_count(state, INT32_MAX);
    expect_end_with_count(state, (int64_t)INT32_MAX + 1);
    expect_end_with_count(state, INT64_MAX - 1);
    expect_end_with_count(state, INT64_MAX);
}

static void test_unreadable_message_with_a_negative_count_of_rejections_ends(void **state)
{
    expect_end_with_count(state, -FORGED);
    expect_end_with_count(state, INT64_MIN);
}

/* ---- attempts ---- */

static void expect_parked(const char *text, int least_calls, int most_calls)
{
    test_wait_for_depth(parking, 1);
    amqp_message_t copy = plain_get(parking);
    plain_expect_text(copy.body, text);
    amqp_destroy_message(&copy);
    int calls = listening_calls_of(text);
    if (calls < least_calls || calls > most_calls)
        fail_msg("%d calls", calls);
}

static const coney_listener_retry stateful = {
    .stateful = true, .max_attempts = 3, .first_delay_ms = 2, .max_delay_ms = 5, .exhausted = CONEY_EXHAUSTED_PARK};

/* One redelivery without a count proves that the queue does not count, so that nobody's count is believed any more. */
static void test_queue_that_does_not_count_gives_all_stateful_attempts(void **state)
{
    (void)state;
    coney_listener listener = {.retry = stateful};
    listener.retry.parking_queue = parking;
    listening_start(&listener);
    listening_send_with("again: honest", &(coney_properties){.message_id = "m-1"});
    listening_wait_for_calls(2);
    send_forged("fail: forged", "a.delay.queue", "m-2");
    expect_parked("fail: forged", 3, 3);
    send_forged_with_acquired("fail: forged, too", "m-3");
    expect_parked("fail: forged, too", 3, 3);
    listening_expect_nothing_left();
}

static void use_quorum_queue(void)
{
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM, .delivery_limit = -1});
}

static void test_quorum_queue_gives_all_stateful_attempts(void **state)
{
    (void)state;
    coney_listener listener = {.retry = stateful};
    listener.retry.parking_queue = parking;
    use_quorum_queue();
    listening_start(&listener);
    send_forged("fail: forged", "a.delay.queue", "m-1");
    expect_parked("fail: forged", 3, 3);
    send_forged_with_acquired("fail: forged, too", "m-2");
    expect_parked("fail: forged, too", 3, 3);
    listening_expect_nothing_left();
}

/* Its rejections cannot be more than its broker's count of all that has happened to it. */
static void test_attempts_of_a_message_without_an_id_end(void **state)
{
    (void)state;
    coney_listener listener = {.retry = stateful};
    listener.retry.parking_queue = parking;
    listener.retry.max_crashes = -1;
    use_quorum_queue();
    listening_start(&listener);
    send_forged_with_acquired("fail: forged", NULL);
    expect_parked("fail: forged", 1, PATIENT_CALLS);
    listening_expect_nothing_left();
}

/* As if it came from the last rung: it has the attempts of one round, and the honest one after it those of all. */
static void test_ladder_parks_the_forged_message_early_and_no_other(void **state)
{
    (void)state;
    listening_start(&(coney_listener){
        .retry = {.max_attempts = 2, .first_delay_ms = 2, .delays_ms = {50}, .parking_queue = parking}});
    coney_table *headers = forge(rung);
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_RETRY_COUNT, 1));
    send_with("fail: forged", headers, "m-1");
    expect_parked("fail: forged", 2, 4);
    listening_send_with("fail: honest", &(coney_properties){.message_id = "m-2"});
    expect_parked("fail: honest", 4, 4);
    listening_expect_nothing_left();
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define forged_test(test) cmocka_unit_test_setup_teardown(test, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        forged_test(test_unreadable_message_is_dead_lettered_each_time_it_is_published),
        forged_test(test_unreadable_message_that_then_comes_round_by_itself_ends),
        forged_test(test_unreadable_message_with_many_rejections_by_other_queues_ends),
        forged_test(test_unreadable_message_whose_deaths_here_are_after_many_others_ends),
        forged_test(test_unreadable_message_with_a_huge_count_of_rejections_ends),
        forged_test(test_unreadable_message_with_a_negative_count_of_rejections_ends),
        forged_test(test_queue_that_does_not_count_gives_all_stateful_attempts),
        forged_test(test_quorum_queue_gives_all_stateful_attempts),
        forged_test(test_attempts_of_a_message_without_an_id_end),
        forged_test(test_ladder_parks_the_forged_message_early_and_no_other),
    };
    return test_run_with_workers("forged headers", tests, test_client_setup, teardown);
}
