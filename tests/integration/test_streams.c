/* SPDX-License-Identifier: MIT */
/* Listening to a stream: nothing is ever rejected or given back, what fails is passed over or parked, and after a loss
 * the consumer goes on after the last message below which all are acknowledged. */
#include "support/container_fixture.h"
#include "support/listening.h"

#include "base/base.h"

#include <stdio.h>
#include <unistd.h>

static const coney_listener_retry quick = {.first_delay_ms = 1};
static atomic_int holds;
static coney_delivery *_Atomic kept[8]; /* by the digit its text ends with */

/* ---- the stream ---- */

static void make_stream(void)
{
    const coney_queue stream = {.name = listening.queue, .kind = CONEY_STREAM};
    test_delete_queue(listening.queue);
    assert_ok(coney_admin_declare_queue(client.admin, &stream, NULL));
}

static int setup(void **state)
{
    holds = 0;
    listening_setup(state);
    make_stream();
    return 0;
}

static int teardown(void **state)
{
    holds = 0;
    for (size_t i = 0; i < COUNT_OF(kept); i++)
        coney_delivery_unref(atomic_exchange(&kept[i], NULL));
    return listening_teardown(state);
}

static void send_all(const char *const *texts)
{
    for (; *texts; texts++)
        listening_send(*texts);
}

static void expect_texts(const char *const *texts)
{
    int count = 0;
    while (texts[count])
        count++;
    listening_wait_for_calls(count);
    for (int i = 0; i < count; i++)
        assert_string_equal(listening.calls[i].text, texts[i]);
    assert_int_equal(listening.count, count);
}

/* A listener that begins with the first message there is. */
static void start_from(const coney_listener *listener, coney_value offset)
{
    coney_listener made = *listener;
    coney_table *arguments = coney_table_new();
    assert_ok(coney_table_set(arguments, "x-stream-offset", &offset));
    made.arguments = arguments;
    if (!made.retry.first_delay_ms)
        made.retry.first_delay_ms = 1;
    listening_start(&made);
    coney_table_free(arguments);
}

static void start_first(const coney_listener *listener)
{
    start_from(listener, coney_value_string("first"));
}

static int times_opened(void)
{
    coney_connection_info info;
    assert_ok(coney_connection_factory_info(client.factory, CONEY_CONSUMING, &info));
    return (int)info.times_opened;
}

static uint64_t acknowledged(void)
{
    return listening_statistics().acknowledged;
}

#define texts(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- what fails ---- */

static void expect_passed_over(int calls)
{
    int opened = times_opened();
    test_wait_until(acknowledged() == 3);
    coney_listener_statistics statistics = listening_statistics();
    assert_int_equal(listening.count, calls);
    assert_int_equal(statistics.passed_over, 1);
    assert_int_equal(statistics.rejected, 0);
    assert_int_equal(statistics.requeued, 0);
    assert_int_equal(times_opened(), opened);
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "is passed over");
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "offset 1 ");
}

static void test_retry_is_tried_in_place_three_times_then_passed_over(void **state)
{
    (void)state;
    send_all(texts("ack 0", "fail", "ack 2"));
    start_first(&(coney_listener){.queue = NULL});
    expect_texts(texts("ack 0", "fail", "fail", "fail", "ack 2"));
    expect_passed_over(5);
    assert_int_equal(listening.calls[3].attempt, 3);
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "after 3 attempts: no stock for fail");
    assert_int_equal(listening_statistics().exhausted, 1);
}

static void test_requeue_is_tried_in_place_three_times_then_passed_over(void **state)
{
    (void)state;
    send_all(texts("ack 0", "requeue", "ack 2"));
    start_first(&(coney_listener){.queue = NULL});
    expect_texts(texts("ack 0", "requeue", "requeue", "requeue", "ack 2"));
    expect_passed_over(5);
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "the handler returned CONEY_REQUEUE");
}

static void test_requeue_once_is_tried_again(void **state)
{
    (void)state;
    send_all(texts("again", "ack"));
    start_first(&(coney_listener){.queue = NULL});
    expect_texts(texts("again", "again", "ack"));
    assert_int_equal(listening_statistics().passed_over, 0);
}

static void test_max_attempts_is_obeyed(void **state)
{
    (void)state;
    send_all(texts("ack 0", "fail", "ack 2"));
    start_first(&(coney_listener){.retry = {.max_attempts = 2}});
    expect_texts(texts("ack 0", "fail", "fail", "ack 2"));
    expect_passed_over(4);
}

static void test_reject_passes_over_at_once(void **state)
{
    (void)state;
    send_all(texts("ack 0", "reject", "ack 2"));
    start_first(&(coney_listener){.queue = NULL});
    expect_texts(texts("ack 0", "reject", "ack 2"));
    expect_passed_over(3);
}

static bool never(const coney_delivery *delivery, const coney_error *error, void *user)
{
    (void)delivery;
    (void)error;
    (void)user;
    return false;
}

static void test_failure_that_is_not_retriable_is_passed_over_at_once(void **state)
{
    (void)state;
    send_all(texts("ack 0", "fail", "ack 2"));
    start_first(&(coney_listener){.retry = {.is_retriable = never}});
    expect_texts(texts("ack 0", "fail", "ack 2"));
    expect_passed_over(3);
}

static void test_failed_message_is_parked_if_there_is_a_parking_queue(void **state)
{
    (void)state;
    const char *parking = listening_other_queue("parking");
    send_all(texts("ack 0", "fail", "ack 2"));
    start_first(&(coney_listener){.retry = {.parking_queue = parking}});
    expect_texts(texts("ack 0", "fail", "fail", "fail", "ack 2"));
    test_wait_for_depth(parking, 1);
    test_wait_until(acknowledged() == 3);
    assert_int_equal(listening_statistics().passed_over, 0);
}

static coney_status refuse_odd(const void *payload, void *user)
{
    (void)user;
    return strcmp(payload, "odd") == 0 ? coney_conversion_failed("it is odd") : CONEY_OK;
}

static void test_unreadable_message_is_passed_over(void **state)
{
    (void)state;
    send_all(texts("ack 0", "odd", "ack 2"));
    start_first(&(coney_listener){.converter = coney_text_converter(), .validator = refuse_odd});
    expect_texts(texts("ack 0", "ack 2"));
    expect_passed_over(2);
    assert_int_equal(listening_statistics().fatal, 1);
}

static void test_unreadable_message_is_parked_if_there_is_a_parking_queue(void **state)
{
    (void)state;
    const char *parking = listening_other_queue("parking");
    send_all(texts("ack 0", "odd", "ack 2"));
    start_first(&(coney_listener){
        .converter = coney_text_converter(), .validator = refuse_odd, .retry = {.parking_queue = parking}});
    expect_texts(texts("ack 0", "ack 2"));
    test_wait_for_depth(parking, 1);
    test_wait_until(acknowledged() == 3);
}

static coney_outcome stop_first_time(coney_delivery *delivery, void *user)
{
    (void)user;
    int call = listening_note(delivery);
    return call == 1 ? CONEY_STOP : CONEY_ACK;
}

static void test_stop_acknowledges_nothing(void **state)
{
    (void)state;
    send_all(texts("0", "1", "2"));
    start_first(&(coney_listener){.on_message = stop_first_time});
    listening_wait_for_event(CONEY_CONTAINER_STOPPED, "CONEY_STOP");
    assert_int_equal(acknowledged(), 1);
    assert_ok(coney_container_start(listening.container));
    expect_texts(texts("0", "1", "1", "2"));
}

/* ---- where it goes on ---- */

static coney_outcome hold_second(coney_delivery *delivery, void *user)
{
    (void)user;
    int call = listening_note(delivery);
    while (call == 1 && atomic_load(&holds))
        usleep(1000);
    return CONEY_ACK;
}

/* The second message is in its handler when the connection is lost. */
static void lose_while_held(const coney_listener *listener, coney_value offset)
{
    coney_listener made = *listener;
    made.on_message = hold_second;
    holds = 1;
    start_from(&made, offset);
    send_all(texts("0", "1", "2"));
    listening_wait_for_calls(2);
    test_wait_until(acknowledged() == 1);
    test_kill_connections();
    listening_wait_for_event(CONEY_CONSUMER_FAILED, "");
    holds = 0;
}

static void expect_to_go_on_after_a_loss(coney_value offset)
{
    lose_while_held(&(coney_listener){.queue = NULL}, offset);
    expect_texts(texts("0", "1", "1", "2"));
    test_wait_until(acknowledged() == 3);
    assert_int_equal(listening_statistics().stale, 1);
}

static void test_loss_goes_on_after_the_last_acknowledged_and_not_at_the_first(void **state)
{
    (void)state;
    expect_to_go_on_after_a_loss(coney_value_string("first"));
}

static void test_loss_goes_on_after_the_last_acknowledged_and_not_at_the_next(void **state)
{
    (void)state;
    expect_to_go_on_after_a_loss(coney_value_string("next"));
}

/* Here an acknowledgement counts before it is sent. */
static void test_loss_does_not_bring_again_what_waits_to_be_acknowledged_together(void **state)
{
    (void)state;
    lose_while_held(&(coney_listener){.ack_every = 10}, coney_value_int64(0));
    expect_texts(texts("0", "1", "2"));
}

static void test_loss_before_the_first_acknowledgement_goes_on_at_the_first_that_came(void **state)
{
    (void)state;
    holds = 1;
    start_from(&(coney_listener){.on_message = hold_second, .ack_every = 1}, coney_value_string("next"));
    atomic_store(&listening.count, 1); /* so that the first one is held */
    snprintf(listening.calls[0].text, sizeof listening.calls[0].text, "none");
    listening_send("0");
    listening_wait_for_calls(2);
    test_kill_connections();
    listening_wait_for_event(CONEY_CONSUMER_FAILED, "");
    listening_send("1");
    holds = 0;
    expect_texts(texts("none", "0", "0", "1"));
}

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    char text[64];
    listening_text(delivery, text);
    int index = text[strlen(text) - 1] - '0';
    coney_delivery_unref(atomic_exchange(&kept[index], coney_delivery_ref(delivery)));
    listening_note(delivery);
    return CONEY_DEFER;
}

static void test_loss_goes_on_below_what_was_acknowledged_out_of_order(void **state)
{
    (void)state;
    send_all(texts("0", "1", "2", "3"));
    start_first(&(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    listening_wait_for_calls(4);
    assert_ok(coney_delivery_settle(kept[0], CONEY_ACK));
    assert_ok(coney_delivery_settle(kept[3], CONEY_ACK));
    assert_ok(coney_delivery_settle(kept[2], CONEY_ACK));
    test_kill_connections();
    expect_texts(texts("0", "1", "2", "3", "1", "2", "3"));
    assert_ok(coney_delivery_settle(kept[1], CONEY_ACK));
}

static void test_deferred_failure_is_passed_over(void **state)
{
    (void)state;
    send_all(texts("0", "1", "2"));
    start_first(&(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    listening_wait_for_calls(3);
    assert_ok(coney_delivery_settle(kept[0], CONEY_RETRY));
    assert_ok(coney_delivery_settle(kept[1], CONEY_REQUEUE));
    assert_ok(coney_delivery_settle(kept[2], CONEY_REJECT));
    assert_int_equal(listening_statistics().passed_over, 3);
    assert_int_equal(acknowledged(), 3);
}

/* The consumer goes back to it. */
static void test_deferred_delivery_that_is_let_go_comes_again(void **state)
{
    (void)state;
    send_all(texts("0", "1"));
    start_first(&(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    listening_wait_for_calls(2);
    assert_ok(coney_delivery_settle(kept[0], CONEY_ACK));
    coney_delivery_unref(atomic_exchange(&kept[1], NULL));
    expect_texts(texts("0", "1", "1"));
    assert_ok(coney_delivery_settle(kept[1], CONEY_ACK));
    assert_int_equal(acknowledged(), 2);
}

static coney_outcome park(coney_delivery *delivery, void *user)
{
    (void)user;
    listening_note(delivery);
    return CONEY_PARK;
}

/* Its parking queue takes nothing for a while. */
static void test_message_that_cannot_be_parked_is_tried_again_until_it_can(void **state)
{
    (void)state;
    const char *parking = listening_other_queue("parking");
    const coney_queue full = {.name = parking, .max_length = 1, .overflow = CONEY_REJECT_PUBLISH};
    uint32_t count;
    assert_ok(coney_admin_declare_queue(client.admin, &full, NULL));
    listening_send_to("", parking, "it is full", NULL);
    listening_send("0");
    start_first(&(coney_listener){
        .on_message = park, .retry = {.parking_queue = parking, .exhausted = CONEY_EXHAUSTED_PARK, .max_delay_ms = 1}});
    listening_wait_for_calls(3);
    assert_int_equal(acknowledged(), 0);
    assert_ok(coney_admin_purge_queue(client.admin, parking, &count));
    test_wait_until(acknowledged() == 1);
    test_wait_for_depth(parking, 1);
}

static void test_lanes_go_on_below_what_one_of_them_holds(void **state)
{
    (void)state;
    holds = 1;
    start_first(&(coney_listener){.on_message = hold_second, .lanes = 4, .lane_header = "key"});
    for (int i = 0; i < 8; i++) {
        char text[16];
        coney_table *headers = coney_table_new();
        const coney_properties properties = {.headers = headers};
        assert_ok(coney_table_set_int64(headers, "key", i));
        snprintf(text, sizeof text, "%d", i);
        listening_send_with(text, &properties);
        coney_table_free(headers);
    }
    test_wait_until(listening.count >= 6); /* some share the lane of the one that is held */
    char held[64];
    snprintf(held, sizeof held, "%s", listening.calls[1].text);
    test_kill_connections();
    listening_wait_for_event(CONEY_CONSUMER_FAILED, "");
    holds = 0;
    test_wait_until(listening_calls_of(held) == 2);
    for (int i = 0; i < 8; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", i);
        test_wait_until(listening_calls_of(text) >= 1);
    }
}

static void test_container_that_is_started_again_goes_on(void **state)
{
    (void)state;
    send_all(texts("0", "1"));
    start_first(&(coney_listener){.queue = NULL});
    test_wait_until(acknowledged() == 2);
    assert_ok(coney_container_stop(listening.container));
    listening_send("2");
    assert_ok(coney_container_start(listening.container));
    expect_texts(texts("0", "1", "2"));
}

static void test_pause_and_resume_go_on(void **state)
{
    (void)state;
    send_all(texts("0", "1"));
    start_first(&(coney_listener){.queue = NULL});
    test_wait_until(acknowledged() == 2);
    assert_ok(coney_container_pause(listening.container));
    test_wait_for_consumers(listening.queue, 0);
    listening_send("2");
    assert_ok(coney_container_resume(listening.container));
    expect_texts(texts("0", "1", "2"));
}

static void test_stop_that_finishes_goes_on_with_what_was_prefetched(void **state)
{
    (void)state;
    holds = 1;
    send_all(texts("0", "1", "2"));
    start_first(&(coney_listener){.on_message = hold_second});
    listening_wait_for_calls(2);
    test_wait_until(acknowledged() == 1);
    assert_fails(coney_container_stop_with(listening.container, CONEY_STOP_FINISH, 1), CONEY_E_TIMEOUT, "");
    holds = 0;
    assert_ok(coney_container_stop(listening.container));
    assert_ok(coney_container_start(listening.container));
    expect_texts(texts("0", "1", "1", "2"));
}

/* Its offsets begin anew. */
static void test_stream_that_was_deleted_and_made_again_is_read_from_its_beginning(void **state)
{
    (void)state;
    send_all(texts("0", "1"));
    start_from(&(coney_listener){.queue = NULL}, coney_value_string("first"));
    test_wait_until(acknowledged() == 2);
    test_delete_queue(listening.queue);
    listening_wait_for_event(CONEY_CONSUMER_FAILED, "");
    make_stream();
    listening_send("2");
    expect_texts(texts("0", "1", "2"));
}

/* ---- where it begins ---- */

static void expect_to_begin(const coney_value *offset, const char *const *expected)
{
    send_all(texts("0", "1", "2"));
    const coney_queue stream = {.name = listening.queue, .kind = CONEY_STREAM};
    if (offset)
        start_from(&(coney_listener){.queue = NULL}, *offset);
    else
        listening_start(&(coney_listener){.declare = &stream});
    listening_send("3");
    expect_texts(expected);
}

static void test_it_begins_at_an_offset(void **state)
{
    (void)state;
    expect_to_begin(&(coney_value){.type = CONEY_INT64, .as.integer = 1}, texts("1", "2", "3"));
}

static void test_it_begins_at_a_time(void **state)
{
    (void)state;
    expect_to_begin(&(coney_value){.type = CONEY_TIMESTAMP, .as.integer = 1000}, texts("0", "1", "2", "3"));
}

static void test_it_begins_at_an_interval_before_now(void **state)
{
    (void)state;
    expect_to_begin(&(coney_value){.type = CONEY_STRING, .as.bytes = {"1h", 2}}, texts("0", "1", "2", "3"));
}

static void test_it_begins_at_the_next_message_unless_told_otherwise(void **state)
{
    (void)state;
    expect_to_begin(NULL, texts("3"));
}

/* ---- who else ---- */

static void take_all(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    for (size_t i = 0; i < count; i++)
        outcomes[i] = listening_obey(deliveries[i], user);
}

static void test_batch_listener_passes_over_what_fails(void **state)
{
    (void)state;
    send_all(texts("ack 0", "fail", "ack 2"));
    start_first(&(coney_listener){.on_batch = take_all, .batch_size = 3, .batch_timeout_ms = 20});
    test_wait_until(acknowledged() == 3);
    assert_int_equal(listening_calls_of("fail"), 3);
    assert_int_equal(listening_calls_of("ack"), 2);
    assert_int_equal(listening_statistics().passed_over, 1);
}

static coney_outcome hand_on(coney_delivery *delivery, void *user)
{
    check(coney_delivery_send(delivery, "", listening.dead, coney_delivery_message(delivery)) == CONEY_OK);
    return listening_obey(delivery, user);
}

static void test_transacted_listener_sends_for_what_succeeds_only(void **state)
{
    (void)state;
    send_all(texts("ack 0", "fail", "ack 2"));
    start_first(&(coney_listener){.on_message = hand_on, .transacted = true});
    expect_texts(texts("ack 0", "fail", "fail", "fail", "ack 2"));
    test_wait_for_depth(listening.dead, 2);
    assert_int_equal(listening_statistics().passed_over, 1);
    listening_send("ack 3");
    test_wait_until(acknowledged() == 4);
}

static void test_flag_of_the_listener_says_that_it_is_a_stream(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.stream = true, .retry = quick});
    send_all(texts("reject", "ack"));
    expect_texts(texts("reject", "ack"));
    test_wait_until(acknowledged() == 2);
    assert_int_equal(listening_statistics().passed_over, 1);
}

static void test_topology_of_an_admin_says_that_it_is_a_stream(void **state)
{
    (void)state;
    coney_admin *admin;
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = listening.queue, .kind = CONEY_STREAM});
    assert_ok(coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology}));
    coney_topology_free(topology);
    listening_start(&(coney_listener){.prefetch = 10});
    send_all(texts("fail", "reject", "ack"));
    expect_texts(texts("fail", "fail", "fail", "reject", "ack"));
    test_wait_until(acknowledged() == 3);
    assert_int_equal(listening_statistics().passed_over, 2);
    coney_admin_free(admin);
}

static void test_start_fails_if_a_topology_says_that_it_is_a_stream_and_the_options_do_not_go_with_one(void **state)
{
    (void)state;
    coney_admin *admin;
    coney_topology *topology = coney_topology_new();
    coney_topology_add_queue(topology, &(coney_queue){.name = listening.queue, .kind = CONEY_STREAM});
    assert_ok(coney_admin_new(&admin, client.factory, &(coney_admin_options){.topology = topology}));
    coney_topology_free(topology);
    const coney_listener listener = {
        .queue = listening.queue, .on_message = listening_obey, .acknowledge = CONEY_ACKNOWLEDGE_NONE};
    assert_ok(coney_container_new(&listening.container, client.factory, NULL));
    assert_ok(coney_container_listen(listening.container, &listener));
    assert_fails(coney_container_start(listening.container), CONEY_E_INVALID, "a stream is consumed with");
    coney_admin_free(admin);
}

static void test_stream_has_one_consumer(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.stream = true});
    assert_fails(coney_container_set_concurrency(listening.container, "listener", 2, 2), CONEY_E_INVALID, "stream");
}

int main(void)
{
#define stream_test(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        stream_test(test_retry_is_tried_in_place_three_times_then_passed_over),
        stream_test(test_requeue_is_tried_in_place_three_times_then_passed_over),
        stream_test(test_requeue_once_is_tried_again),
        stream_test(test_max_attempts_is_obeyed),
        stream_test(test_reject_passes_over_at_once),
        stream_test(test_failure_that_is_not_retriable_is_passed_over_at_once),
        stream_test(test_failed_message_is_parked_if_there_is_a_parking_queue),
        stream_test(test_unreadable_message_is_passed_over),
        stream_test(test_unreadable_message_is_parked_if_there_is_a_parking_queue),
        stream_test(test_stop_acknowledges_nothing),
        stream_test(test_loss_goes_on_after_the_last_acknowledged_and_not_at_the_first),
        stream_test(test_loss_goes_on_after_the_last_acknowledged_and_not_at_the_next),
        stream_test(test_loss_does_not_bring_again_what_waits_to_be_acknowledged_together),
        stream_test(test_loss_before_the_first_acknowledgement_goes_on_at_the_first_that_came),
        stream_test(test_loss_goes_on_below_what_was_acknowledged_out_of_order),
        stream_test(test_deferred_failure_is_passed_over),
        stream_test(test_deferred_delivery_that_is_let_go_comes_again),
        stream_test(test_message_that_cannot_be_parked_is_tried_again_until_it_can),
        stream_test(test_lanes_go_on_below_what_one_of_them_holds),
        stream_test(test_container_that_is_started_again_goes_on),
        stream_test(test_pause_and_resume_go_on),
        stream_test(test_stop_that_finishes_goes_on_with_what_was_prefetched),
        stream_test(test_stream_that_was_deleted_and_made_again_is_read_from_its_beginning),
        stream_test(test_it_begins_at_an_offset),
        stream_test(test_it_begins_at_a_time),
        stream_test(test_it_begins_at_an_interval_before_now),
        stream_test(test_it_begins_at_the_next_message_unless_told_otherwise),
        stream_test(test_batch_listener_passes_over_what_fails),
        stream_test(test_transacted_listener_sends_for_what_succeeds_only),
        stream_test(test_flag_of_the_listener_says_that_it_is_a_stream),
        stream_test(test_topology_of_an_admin_says_that_it_is_a_stream),
        stream_test(test_start_fails_if_a_topology_says_that_it_is_a_stream_and_the_options_do_not_go_with_one),
        stream_test(test_stream_has_one_consumer),
    };
    return test_run_with_workers("streams", tests, test_client_setup, test_client_teardown);
}
