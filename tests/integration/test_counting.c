/* SPDX-License-Identifier: MIT */
/* Whom Coney believes when it counts attempts: the broker only about what has come back to this queue, the ladder's
 * headers only about a message that comes from this ladder, and neither for what no handler has seen. */
#include "support/container_fixture.h"
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>
#include <unistd.h>

static coney_table *headers;

static int setup(void **state)
{
    headers = coney_table_new();
    return headers ? listening_setup(state) : -1;
}

static int teardown(void **state)
{
    coney_table_free(headers);
    return listening_teardown(state);
}

static void set_header(const char *name, int64_t value)
{
    assert_ok(coney_table_set_int64(headers, name, value));
}

static void send_with_headers(const char *text)
{
    listening_send_with(text, &(coney_properties){.headers = headers});
}

static void expect_parked(const char *queue, const char *header, int64_t value)
{
    test_wait_for_depth(queue, 1);
    amqp_message_t parked = plain_get(queue);
    assert_int_equal(plain_number_header(&parked, header), value);
    amqp_destroy_message(&parked);
}

/* ---- what the ladder writes ---- */

static void set_death(const char *queue, const char *reason)
{
    coney_array *deaths = coney_array_new();
    coney_table *table = coney_table_new();
    coney_value death = {.type = CONEY_TABLE, .as.table = table}, all = {.type = CONEY_ARRAY, .as.array = deaths};
    assert_ok(coney_table_set_string(table, "queue", queue));
    assert_ok(coney_table_set_string(table, "reason", reason));
    assert_ok(coney_table_set_int64(table, "count", 1));
    assert_ok(coney_array_append(deaths, &death));
    assert_ok(coney_table_set(headers, "x-death", &all));
    coney_table_free(table);
    coney_array_free(deaths);
}

/* It fails its first queue twice, then a handler sends it on with all its headers. */
static coney_outcome fail_twice_and_forward(coney_delivery *delivery, void *user)
{
    if (coney_delivery_attempt(delivery) < 3)
        return CONEY_RETRY;
    coney_message *message = coney_delivery_message(delivery);
    check(coney_table_get_int64(coney_message_properties(message)->headers, CONEY_HEADER_RETRY_COUNT, 0) == 2);
    check(coney_template_send(client.sender, user, message, NULL) == CONEY_OK);
    return CONEY_ACK;
}

static void test_forwarded_message_gets_all_rounds_of_its_next_queue(void **state)
{
    (void)state;
    const char *first = listening_make_other_queue("first");
    const char *const rungs[] = {"first.retry.50", "first.retry.60", "first.parking", "retry.50", "retry.60"};
    for (size_t i = 0; i < COUNT_OF(rungs); i++)
        listening_other_queue(rungs[i]);
    const char *parking = listening_other_queue("parking");
    listening_start(&(coney_listener){.retry = {.delays_ms = {50, 60}}});
    coney_container *before;
    assert_ok(coney_container_new(&before, client.factory, NULL));
    assert_ok(coney_container_listen(before, &(coney_listener){.queue = first,
                                                               .on_message = fail_twice_and_forward,
                                                               .user = listening.queue,
                                                               .retry = {.delays_ms = {50, 60}}}));
    assert_ok(coney_container_start(before));
    listening_send_to("", first, "fail", NULL);
    test_wait_for_depth(parking, 1);
    coney_container_free(before);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

static void start_with_ladder(void)
{
    listening_other_queue("retry.50");
    listening_other_queue("retry.60");
    listening_start(&(coney_listener){.retry = {.delays_ms = {50, 60}}});
}

static void expect_all_rounds(void)
{
    const char *parking = listening_other_queue("parking");
    set_header(CONEY_HEADER_RETRY_COUNT, 2);
    set_header(CONEY_HEADER_ATTEMPTS, 3);
    start_with_ladder();
    send_with_headers("fail");
    test_wait_for_depth(parking, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

static void test_rounds_are_not_believed_without_a_death(void **state)
{
    (void)state;
    expect_all_rounds();
}

static void test_rounds_are_not_believed_beside_the_death_in_a_queue_of_another_ladder(void **state)
{
    (void)state;
    set_death("other.retry.60", "expired");
    expect_all_rounds();
}

static void test_rounds_are_not_believed_beside_the_death_of_another_round(void **state)
{
    (void)state;
    char queue[300];
    snprintf(queue, sizeof queue, "%s.retry.50", listening.queue);
    set_death(queue, "expired");
    expect_all_rounds();
}

static void test_rounds_are_not_believed_beside_another_reason(void **state)
{
    (void)state;
    char queue[300];
    snprintf(queue, sizeof queue, "%s.retry.60", listening.queue);
    set_death(queue, "maxlen");
    expect_all_rounds();
}

/* A person moves it back from there, headers and all. */
static void test_message_that_was_rejected_after_the_ladder_and_is_moved_back_gets_all_rounds_again(void **state)
{
    (void)state;
    listening_other_queue("retry.50");
    listening_start(&(coney_listener){.retry = {.delays_ms = {50}, .exhausted = CONEY_EXHAUSTED_REJECT}});
    listening_send("fail");
    test_wait_for_depth(listening.dead, 1);
    coney_message *message;
    assert_ok(coney_template_receive(client.sender, listening.dead, &message, 5000));
    assert_int_equal(coney_table_get_int64(coney_message_properties(message)->headers, CONEY_HEADER_RETRY_COUNT, 0), 1);
    assert_ok(coney_template_send(client.sender, listening.queue, message, NULL));
    coney_message_unref(message);
    listening_wait_for_calls(4);
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening.count, 4);
}

static void test_parked_message_keeps_the_number_of_its_last_round(void **state)
{
    (void)state;
    const char *parking = listening_other_queue("parking");
    start_with_ladder();
    listening_send("fail");
    expect_parked(parking, CONEY_HEADER_RETRY_COUNT, 2);
}

static void test_parked_message_keeps_a_retry_count_that_others_wrote(void **state)
{
    (void)state;
    const char *parking = listening_other_queue("parking");
    set_header(CONEY_HEADER_RETRY_COUNT, 7);
    listening_start(&(coney_listener){.retry = {.exhausted = CONEY_EXHAUSTED_PARK}});
    send_with_headers("fail");
    expect_parked(parking, CONEY_HEADER_RETRY_COUNT, 7);
}

static void test_republished_message_keeps_a_retry_count_that_others_wrote(void **state)
{
    (void)state;
    const char *elsewhere = listening_make_other_queue("elsewhere");
    set_header(CONEY_HEADER_RETRY_COUNT, 7);
    listening_start(&(coney_listener){.retry = {.exhausted = CONEY_EXHAUSTED_REPUBLISH, .routing_key = elsewhere}});
    send_with_headers("fail");
    expect_parked(elsewhere, CONEY_HEADER_RETRY_COUNT, 7);
}

static void test_message_moved_back_from_the_parking_queue_gets_all_attempts_again(void **state)
{
    (void)state;
    const char *parking = listening_other_queue("parking");
    const coney_properties with_id = {.message_id = "m-1"};
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_other_queue("retry.50");
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 2, .delays_ms = {50}}});
    listening_send_with("fail", &with_id);
    test_wait_for_depth(parking, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 4, 0});
    coney_message *message;
    assert_ok(coney_template_receive(client.sender, parking, &message, 5000));
    assert_ok(coney_template_send(client.sender, listening.queue, message, NULL));
    coney_message_unref(message);
    test_wait_for_depth(parking, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 4, 1, 2, 3, 4, 0});
}

/* ---- what the broker counts ---- */

static void expect_forged_count_unseen(const char *header)
{
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    set_header(header, 3);
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3}});
    send_with_headers("fail");
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
}

static void test_delivery_count_that_came_with_a_first_delivery_is_not_believed(void **state)
{
    (void)state;
    expect_forged_count_unseen("x-delivery-count");
}

static void test_acquired_count_that_came_with_a_message_is_not_believed(void **state)
{
    (void)state;
    expect_forged_count_unseen("x-acquired-count");
}

/* FNV-1a has no key. Of messages with the same lower bits 16 had a place when it found the places. */
static bool shares_bits_by_fnv(const char *id)
{
    uint64_t hash = 14695981039346656037U;
    for (; *id; id++)
        hash = (hash ^ (unsigned char)*id) * 1099511628211U;
    return ((hash ^ hash >> 32) & 0xfff) == 0x123;
}

static void test_ids_that_are_chosen_to_push_each_other_out_get_no_further_attempts(void **state)
{
    (void)state;
    enum { IDS = 24 };
    char id[32];
    listening_start(
        &(coney_listener){.retry = {.stateful = true, .max_attempts = 3, .first_delay_ms = 10, .max_delay_ms = 10}});
    for (int number = 0, found = 0; found < IDS; number++) {
        snprintf(id, sizeof id, "e%d", number);
        if (!shares_bits_by_fnv(id))
            continue;
        listening_send_with("fail", &(coney_properties){.message_id = id});
        found++;
    }
    test_wait_for_depth(listening.dead, IDS);
    assert_int_equal(listening.count, 3 * IDS);
}

static void test_count_on_a_queue_that_is_declared_classic_is_not_believed(void **state)
{
    (void)state;
    set_header("x-delivery-count", 3);
    const coney_queue classic = {.name = listening.queue, .kind = CONEY_CLASSIC};
    test_delete_queue(listening.queue);
    listening_start(&(coney_listener){.declare = &classic});
    send_with_headers("again");
    listening_expect_attempts((const int[]){1, 2, 0});
}

static void test_quorum_queue_that_others_declared_keeps_its_count(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_start(&(coney_listener){0});
    listening_send("fail 3");
    listening_expect_attempts((const int[]){1, 2, 3, 4, 0});
}

/* ---- what no handler saw ---- */

/* While the handler has the first message, the second one waits in the prefetch. */
static atomic_int is_held, is_inside, says; /* the last one: its outcome */

static coney_outcome hold_or_obey(coney_delivery *delivery, void *user)
{
    char text[64];
    if (strcmp(listening_text(delivery, text), "hold") != 0)
        return listening_obey(delivery, user);
    atomic_store(&is_inside, 1);
    while (atomic_load(&is_held))
        usleep(1000);
    atomic_store(&is_inside, 0);
    return (coney_outcome)atomic_load(&says);
}

static void stop_while_the_second_waits(coney_stop_mode mode)
{
    test_wait_for(&is_inside, 1);
    test_wait_for_depth(listening.queue, 0);
    if (mode == CONEY_STOP_NOW) {
        test_stop_in_background(mode, 10000);
        test_wait_for_consumers(listening.queue, 0);
        atomic_store(&is_held, 0);
        assert_ok(test_background_end());
    } else {
        atomic_store(&is_held, 0); /* it says CONEY_STOP */
        test_wait_for_depth(listening.queue, 2);
        assert_ok(coney_container_stop(listening.container));
    }
    test_wait_for_depth(listening.queue, 2);
    test_wait_for(&is_inside, 0);
}

static void expect_all_attempts_after_three(coney_stop_mode mode)
{
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_send("hold");
    listening_send_with("fail", &(coney_properties){.message_id = "m-1"});
    atomic_store(&is_held, 1);
    atomic_store(&says, CONEY_STOP);
    listening_start(&(coney_listener){.on_message = hold_or_obey, .retry = {.stateful = true}});
    here.container = listening.container;
    for (int i = 0; i < 3; i++) {
        stop_while_the_second_waits(mode);
        atomic_store(&is_held, i < 2);
        atomic_store(&says, i < 2 ? CONEY_STOP : CONEY_ACK);
        assert_int_equal(listening.count, 0);
        assert_ok(coney_container_start(listening.container));
    }
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 2, 3, 0});
    assert_int_equal(listening.count, 3);
}

static void test_message_that_three_stops_gave_back_has_all_its_attempts(void **state)
{
    (void)state;
    expect_all_attempts_after_three(CONEY_STOP_FINISH);
}

static void test_message_that_was_lost_with_three_channels_has_all_its_attempts(void **state)
{
    (void)state;
    expect_all_attempts_after_three(CONEY_STOP_NOW);
}

static void expect_attempts_of(const char *text, const int *attempts)
{
    int found = 0;
    for (int i = 0; i < listening.count; i++) {
        if (strcmp(listening.calls[i].text, text) == 0)
            assert_int_equal(listening.calls[i].attempt, attempts[found++]);
    }
    assert_int_equal(attempts[found], 0);
}

/* The handler is inside already when the second message comes, so no lane has taken that. */
static void start_with_one_in_the_feed(int prefetch)
{
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    atomic_store(&is_held, 1);
    atomic_store(&says, CONEY_ACK);
    listening_start(&(coney_listener){.on_message = hold_or_obey, .prefetch = prefetch, .retry = {.stateful = true}});
    here.container = listening.container;
    listening_send("hold");
    test_wait_for(&is_inside, 1);
    listening_send_with("fail", &(coney_properties){.message_id = "m-1"});
}

static void expect_all_attempts(void)
{
    test_wait_for_depth(listening.dead, 1);
    expect_attempts_of("fail", (const int[]){1, 2, 3, 0});
}

static void test_message_in_the_feed_of_a_consumer_that_ends_now_has_all_its_attempts(void **state)
{
    (void)state;
    start_with_one_in_the_feed(0);
    test_wait_for_depth(listening.queue, 0);
    test_stop_in_background(CONEY_STOP_NOW, 10000);
    test_wait_for_consumers(listening.queue, 0);
    atomic_store(&is_held, 0);
    assert_ok(test_background_end());
    assert_ok(coney_container_start(listening.container));
    expect_all_attempts();
}

/* It comes when the acknowledgement of the first one has made room for it. */
static void test_message_that_comes_after_a_stop_has_begun_to_finish_has_all_its_attempts(void **state)
{
    (void)state;
    start_with_one_in_the_feed(1);
    test_wait_for_depth(listening.queue, 1);
    test_stop_in_background(CONEY_STOP_FINISH, 10000);
    test_wait_until(test_health().consumers == 0);
    atomic_store(&is_held, 0);
    assert_ok(test_background_end());
    assert_int_equal(listening.count, 0);
    assert_ok(coney_container_start(listening.container));
    expect_all_attempts();
}

static void test_message_in_the_feed_of_a_lost_consumer_has_all_its_attempts(void **state)
{
    (void)state;
    start_with_one_in_the_feed(0);
    test_wait_for_depth(listening.queue, 0);
    test_kill_connections();
    test_wait_for_depth(listening.queue, 2);
    atomic_store(&is_held, 0);
    expect_all_attempts();
}

static atomic_int stays, is_staying;

static coney_outcome stay_or_hold_or_obey(coney_delivery *delivery, void *user)
{
    char text[64];
    if (strcmp(listening_text(delivery, text), "stay") != 0)
        return hold_or_obey(delivery, user);
    if (coney_message_redelivered(coney_delivery_message(delivery)))
        return CONEY_ACK;
    atomic_store(&is_staying, 1);
    while (atomic_load(&stays))
        usleep(1000);
    atomic_store(&is_staying, 0);
    return CONEY_ACK;
}

/* Each of two consumers has one message in its feed when both are lost, and one comes back before the other. The
 * prefetch keeps the broker from giving the one whose channel it ends last what the other one had. */
static void test_message_that_another_consumer_gets_after_a_loss_has_all_its_attempts(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    atomic_store(&is_held, 1);
    atomic_store(&stays, 1);
    atomic_store(&says, CONEY_ACK);
    listening_start(&(coney_listener){
        .on_message = stay_or_hold_or_obey, .concurrency = 2, .prefetch = 2, .retry = {.stateful = true}});
    here.container = listening.container;
    listening_send("hold");
    listening_send("stay");
    test_wait_for(&is_inside, 1);
    test_wait_for(&is_staying, 1);
    listening_send_with("fail:a", &(coney_properties){.message_id = "m-a"});
    listening_send_with("fail:b", &(coney_properties){.message_id = "m-b"});
    test_wait_for_depth(listening.queue, 0);
    test_kill_connections();
    test_wait_for_depth(listening.queue, 4);
    atomic_store(&is_held, 0);
    test_wait_for_depth(listening.dead, 2);
    atomic_store(&stays, 0);
    expect_attempts_of("fail:a", (const int[]){1, 2, 3, 0});
    expect_attempts_of("fail:b", (const int[]){1, 2, 3, 0});
    test_wait_for(&is_staying, 0);
}

static void fail_batch(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)user;
    for (size_t i = 0; i < count; i++) {
        listening_note(deliveries[i]);
        outcomes[i] = CONEY_RETRY;
    }
}

static void send_batch_of_two(const char *message_id)
{
    coney_message *parts[2], *batch;
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        assert_ok(coney_message_new(&parts[i], "part", 4, &(coney_properties){.message_id = message_id}));
    assert_ok(coney_message_batch(&batch, parts, COUNT_OF(parts)));
    assert_ok(coney_template_send(client.sender, listening.queue, batch, NULL));
    coney_message_unref(batch);
    for (size_t i = 0; i < COUNT_OF(parts); i++)
        coney_message_unref(parts[i]);
}

/* Its parts wait with their lane for more. */
static void test_batch_that_a_stop_gave_back_has_all_its_attempts(void **state)
{
    (void)state;
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_start(&(coney_listener){
        .on_batch = fail_batch, .batch_timeout_ms = 5000, .retry = {.stateful = true, .first_delay_ms = 10}});
    send_batch_of_two("m-1");
    test_wait_until(listening_statistics().received == 1);
    assert_ok(coney_container_stop_with(listening.container, CONEY_STOP_FINISH, 10000));
    assert_int_equal(listening.count, 0);
    assert_ok(coney_container_start(listening.container));
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 1, 2, 2, 3, 3, 0});
}

static atomic_int is_processing;

/* The container is stopped meanwhile. */
static coney_status process_slowly(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message, (void)exchange, (void)routing_key, (void)user;
    if (atomic_fetch_add(&is_processing, 1) == 0)
        usleep(500000);
    return CONEY_OK;
}

/* Its lane is just taking it apart, and so learns of the end of the consumer before it looks at the stop. */
static void test_batch_that_is_not_full_at_a_stop_goes_back(void **state)
{
    (void)state;
    atomic_store(&is_processing, 0);
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_start(&(coney_listener){
        .on_batch = fail_batch, .batch_timeout_ms = 5000, .retry = {.stateful = true, .first_delay_ms = 10}});
    assert_ok(coney_container_add_after_receive(listening.container,
                                                &(coney_processor){.name = "slow", .process = process_slowly}));
    send_batch_of_two("m-1");
    test_wait_for(&is_processing, 1);
    assert_ok(coney_container_stop_with(listening.container, CONEY_STOP_FINISH, 10000));
    assert_int_equal(listening.count, 0);
    assert_ok(coney_container_start(listening.container));
    test_wait_for_depth(listening.dead, 1);
    listening_expect_attempts((const int[]){1, 1, 2, 2, 3, 3, 0});
}

/* ---- acknowledgements that a loss kept from the broker ---- */

/* The message stays in its handler while its connection is lost, so what the handler says reaches nobody. */
static void lose_while_the_handler_stays(void)
{
    test_wait_for(&is_staying, 1);
    test_wait_until(test_health().consumers == 1);
    test_kill_connections();
    test_wait_until(test_health().consumers == 0);
    atomic_store(&stays, 0);
}

static coney_outcome stay_first_or_hold_or_obey(coney_delivery *delivery, void *user)
{
    char text[64];
    bool is_first = strcmp(listening_text(delivery, text), "fail") == 0 && listening.count == 0;
    if (!is_first)
        return hold_or_obey(delivery, user);
    listening_note(delivery);
    atomic_store(&is_staying, 1);
    while (atomic_load(&stays))
        usleep(1000);
    return CONEY_ACK;
}

static void start_staying(coney_outcome (*handler)(coney_delivery *, void *), int max_crashes)
{
    listening_use_queue(&(coney_queue){.kind = CONEY_QUORUM});
    listening_other_queue("quarantine");
    atomic_store(&stays, 1);
    atomic_store(&is_staying, 0);
    listening_start(&(coney_listener){.on_message = handler, .retry = {.stateful = true, .max_crashes = max_crashes}});
    here.container = listening.container;
}

static void test_loss_before_the_handler_is_no_attempt_after_a_stale_acknowledgement(void **state)
{
    (void)state;
    atomic_store(&is_held, 1);
    atomic_store(&says, CONEY_ACK);
    start_staying(stay_first_or_hold_or_obey, -1);
    listening_send("hold");
    test_wait_for(&is_inside, 1);
    listening_send_with("fail", &(coney_properties){.message_id = "m-1"});
    test_wait_for_depth(listening.queue, 0);
    test_kill_connections();
    test_wait_for_depth(listening.queue, 2);
    atomic_store(&is_held, 0);
    lose_while_the_handler_stays();
    expect_all_attempts();
}

static void test_message_whose_acknowledgement_was_stale_is_not_suspected(void **state)
{
    (void)state;
    start_staying(stay_or_hold_or_obey, 1);
    listening_send_with("stay", &(coney_properties){.message_id = "m-1"});
    lose_while_the_handler_stays();
    test_wait_until(listening_statistics().acknowledged == 1);
    assert_int_equal(listening_statistics().stale, 1);
    assert_int_equal(listening_statistics().republished, 0);
}

static int group_teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
#define with_queues(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        with_queues(test_forwarded_message_gets_all_rounds_of_its_next_queue),
        with_queues(test_rounds_are_not_believed_without_a_death),
        with_queues(test_rounds_are_not_believed_beside_the_death_in_a_queue_of_another_ladder),
        with_queues(test_rounds_are_not_believed_beside_the_death_of_another_round),
        with_queues(test_rounds_are_not_believed_beside_another_reason),
        with_queues(test_message_that_was_rejected_after_the_ladder_and_is_moved_back_gets_all_rounds_again),
        with_queues(test_parked_message_keeps_the_number_of_its_last_round),
        with_queues(test_parked_message_keeps_a_retry_count_that_others_wrote),
        with_queues(test_republished_message_keeps_a_retry_count_that_others_wrote),
        with_queues(test_message_moved_back_from_the_parking_queue_gets_all_attempts_again),
        with_queues(test_delivery_count_that_came_with_a_first_delivery_is_not_believed),
        with_queues(test_acquired_count_that_came_with_a_message_is_not_believed),
        with_queues(test_ids_that_are_chosen_to_push_each_other_out_get_no_further_attempts),
        with_queues(test_count_on_a_queue_that_is_declared_classic_is_not_believed),
        with_queues(test_quorum_queue_that_others_declared_keeps_its_count),
        with_queues(test_message_that_three_stops_gave_back_has_all_its_attempts),
        with_queues(test_message_that_was_lost_with_three_channels_has_all_its_attempts),
        with_queues(test_message_in_the_feed_of_a_consumer_that_ends_now_has_all_its_attempts),
        with_queues(test_message_that_comes_after_a_stop_has_begun_to_finish_has_all_its_attempts),
        with_queues(test_message_in_the_feed_of_a_lost_consumer_has_all_its_attempts),
        with_queues(test_message_that_another_consumer_gets_after_a_loss_has_all_its_attempts),
        with_queues(test_batch_that_a_stop_gave_back_has_all_its_attempts),
        with_queues(test_batch_that_is_not_full_at_a_stop_goes_back),
        with_queues(test_loss_before_the_handler_is_no_attempt_after_a_stale_acknowledgement),
        with_queues(test_message_whose_acknowledgement_was_stale_is_not_suspected),
    };
    return cmocka_run_group_tests_name("counting", tests, test_client_setup, group_teardown);
}
