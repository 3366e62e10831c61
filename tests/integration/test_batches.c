/* SPDX-License-Identifier: MIT */
/* Handlers that get several messages at once: how many, when, and an outcome for each of them. */
#include "support/elapsed.h"
#include "support/listening.h"

#include "base/base.h"

enum { LONG_MS = 5000, SHORT_MS = 100, MAX_BATCHES = 50, GROWN = 4096, PARTS = GROWN / 4 };

static atomic_int batches, sizes[MAX_BATCHES];

static void note_batch(size_t count)
{
    int index = atomic_load(&batches);
    check(index < MAX_BATCHES);
    if (index < MAX_BATCHES)
        atomic_store(&sizes[index], (int)count);
    atomic_fetch_add(&batches, 1);
}

/* Does with each message what its text says. */
static void obey_all(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    for (size_t i = 0; i < count; i++) {
        check(outcomes[i] == 0);
        outcomes[i] = listening_obey(deliveries[i], user);
    }
    note_batch(count);
}

static int setup(void **state)
{
    batches = 0;
    return listening_setup(state);
}

static void start(coney_listener listener)
{
    listener.on_batch = listener.on_batch ? listener.on_batch : obey_all;
    listening_start(&listener);
}

static void send_all(const char *const *texts)
{
    for (size_t i = 0; texts[i]; i++)
        listening_send(texts[i]);
}

static void expect_calls(const char *const *texts)
{
    int count = 0;
    while (texts[count])
        count++;
    listening_wait_for_calls(count);
    for (int i = 0; i < count; i++)
        assert_string_equal(listening.calls[i].text, texts[i]);
}

static void expect_left(uint32_t dead)
{
    test_wait_for_depth(listening.dead, dead);
    listening_stop();
    test_wait_for_depth(listening.queue, 0);
    test_wait_for_depth(listening.dead, dead);
}

/* ---- size and time ---- */

static void test_full_batches_do_not_wait(void **state)
{
    (void)state;
    enum { COUNT = 12, SIZE = 4 };
    for (int i = 0; i < COUNT; i++)
        listening_send("ack");
    start((coney_listener){.batch_size = SIZE, .batch_timeout_ms = LONG_MS * 10});
    test_wait_for(&batches, COUNT / SIZE);
    for (int i = 0; i < COUNT / SIZE; i++)
        assert_int_equal(sizes[i], SIZE);
    assert_ok(coney_container_stop(listening.container));
    assert_int_equal(listening_statistics().handled, COUNT / SIZE);
    expect_left(0);
}

static void test_batch_that_does_not_fill_is_handed_over_after_its_time(void **state)
{
    (void)state;
    enum { COUNT = 3, TIMEOUT_MS = 300 };
    int64_t began = cny_now_ms();
    for (int i = 0; i < COUNT; i++)
        listening_send("ack");
    start((coney_listener){.batch_size = 10, .batch_timeout_ms = TIMEOUT_MS});
    int64_t consumes = cny_now_ms();
    test_wait_for(&batches, 1);
    assert_int_equal(sizes[0], COUNT);
    assert_true(listening.calls[0].at_ms - began >= TIMEOUT_MS);
    assert_true(listening.calls[0].at_ms - consumes <= TIMEOUT_MS + test_slack_ms(consumes));
}

static void test_prefetch_is_never_below_the_batch_size(void **state)
{
    (void)state;
    enum { SIZE = 20 };
    for (int i = 0; i < SIZE; i++)
        listening_send("ack");
    start((coney_listener){.batch_size = SIZE, .prefetch = 2, .batch_timeout_ms = LONG_MS * 10});
    test_wait_for(&batches, 1);
    assert_int_equal(sizes[0], SIZE);
}

static void test_messages_of_a_batch_are_in_their_order(void **state)
{
    (void)state;
    static const char *const texts[] = {"ack:a", "ack:b", "ack:c", "ack:d", "ack:e", NULL};
    send_all(texts);
    start((coney_listener){.batch_size = 5, .batch_timeout_ms = LONG_MS});
    expect_calls(texts);
}

/* ---- an outcome for each ---- */

static void test_one_that_is_rejected_goes_alone(void **state)
{
    (void)state;
    send_all((const char *const[]){"ack:a", "reject:b", "ack:c", NULL});
    start((coney_listener){.batch_size = 3});
    expect_left(1);
    assert_int_equal(listening.count, 3);
}

static void test_only_those_that_failed_are_called_again(void **state)
{
    (void)state;
    send_all((const char *const[]){"ack:a", "fail 1:b", "ack:c", "fail 2:d", NULL});
    start((coney_listener){
        .batch_size = 4, .batch_timeout_ms = LONG_MS, .retry = {.max_attempts = 3, .first_delay_ms = 2}});
    expect_calls(
        (const char *const[]){"ack:a", "fail 1:b", "ack:c", "fail 2:d", "fail 1:b", "fail 2:d", "fail 2:d", NULL});
    assert_int_equal(listening.calls[4].attempt, 2);
    assert_int_equal(listening.calls[6].attempt, 3);
    assert_false(listening.calls[6].redelivered);
    expect_left(0);
}

static void test_one_whose_attempts_are_used_up_goes_alone(void **state)
{
    (void)state;
    send_all((const char *const[]){"ack:a", "fail:b", "ack:c", NULL});
    start((coney_listener){
        .batch_size = 3, .batch_timeout_ms = LONG_MS, .retry = {.max_attempts = 2, .first_delay_ms = 2}});
    listening_wait_for_event(CONEY_MESSAGE_EXHAUSTED, "no stock for fail:b");
    expect_left(1);
    assert_int_equal(listening.count, 4);
}

static void forget_the_second(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)user;
    for (size_t i = 0; i < count; i++) {
        bool first_time = listening_note(deliveries[i]) < 3;
        if (i != 1 || !first_time)
            outcomes[i] = CONEY_ACK;
    }
}

static void test_outcome_that_is_left_out_counts_as_retry_and_is_logged(void **state)
{
    (void)state;
    send_all((const char *const[]){"a", "b", "c", NULL});
    test_log_start(CONEY_LOG_ERROR);
    start((coney_listener){.on_batch = forget_the_second,
                           .batch_size = 3,
                           .batch_timeout_ms = LONG_MS,
                           .retry = {.max_attempts = 2, .first_delay_ms = 2}});
    expect_calls((const char *const[]){"a", "b", "c", "b", NULL});
    test_log_expect("the handler returned 0, which is no coney_outcome");
    expect_left(0);
}

/* ---- whole, half and single ones ---- */

static void expect_of_four(const char *const *texts, int calls, uint32_t dead)
{
    send_all(texts);
    start((coney_listener){.batch_size = 4, .batch_timeout_ms = SHORT_MS});
    listening_wait_for_calls(calls);
    expect_left(dead);
    assert_int_equal(listening.count, calls);
    for (int i = 4; i < calls; i++)
        assert_true(listening.calls[i].redelivered);
}

static void test_whole_batch_may_come_again(void **state)
{
    (void)state;
    expect_of_four((const char *const[]){"again:a", "again:b", "again:c", "again:d", NULL}, 8, 0);
}

static void test_half_a_batch_may_come_again(void **state)
{
    (void)state;
    expect_of_four((const char *const[]){"ack:a", "ack:b", "again:c", "again:d", NULL}, 6, 0);
    assert_int_equal(listening_calls_of("again"), 4);
}

static void test_whole_batch_may_be_rejected(void **state)
{
    (void)state;
    expect_of_four((const char *const[]){"reject:a", "reject:b", "reject:c", "reject:d", NULL}, 4, 4);
}

static void test_half_a_batch_may_be_rejected(void **state)
{
    (void)state;
    expect_of_four((const char *const[]){"ack:a", "ack:b", "reject:c", "reject:d", NULL}, 4, 2);
}

static void test_one_may_be_rejected_and_the_rest_come_again(void **state)
{
    (void)state;
    expect_of_four((const char *const[]){"reject:a", "again:b", "again:c", "again:d", NULL}, 7, 1);
}

/* ---- what the handler does not get ---- */

/* With a brake that grows for each of them the second round would take 3.2 s. */
static void test_messages_that_go_back_together_are_held_back_once(void **state)
{
    (void)state;
    enum { HELD_MS = 100, MUCH_MS = 3000 };
    start((coney_listener){.batch_size = 6, .batch_timeout_ms = 300});
    send_all((const char *const[]){"requeue:a", "requeue:b", "requeue:c", "requeue:d", "requeue:e", "requeue:f", NULL});
    listening_wait_for_calls(13);
    int64_t back = listening.calls[6].at_ms;
    assert_int_in_range(listening.calls[12].at_ms - back, HELD_MS - 10, MUCH_MS + test_slack_ms(back));
}

static bool is_wanted(const coney_message *message, void *user)
{
    (void)user;
    return coney_message_size(message) > 0 && *(const char *)coney_message_body(message) != '-';
}

static void test_filter_takes_messages_out_of_a_batch(void **state)
{
    (void)state;
    send_all((const char *const[]){"ack:a", "-", "ack:c", "-", NULL});
    start((coney_listener){.batch_size = 4, .filter = is_wanted});
    expect_calls((const char *const[]){"ack:a", "ack:c", NULL});
    test_wait_for(&batches, 1);
    assert_int_equal(sizes[0], 2);
    assert_int_equal(listening_statistics().filtered, 2);
    expect_left(0);
}

static void test_handler_is_not_called_for_nothing(void **state)
{
    (void)state;
    send_all((const char *const[]){"-", "-", NULL});
    start((coney_listener){.batch_size = 2, .batch_timeout_ms = LONG_MS, .filter = is_wanted});
    listening_send("ack:a");
    listening_send("ack:b");
    test_wait_for(&batches, 1);
    assert_int_equal(sizes[0], 2);
}

static void test_unreadable_one_is_rejected_and_the_rest_handled(void **state)
{
    (void)state;
    send_all((const char *const[]){"ack:a", "\xff", "ack:c", NULL});
    start((coney_listener){.batch_size = 3, .converter = coney_text_converter()});
    expect_calls((const char *const[]){"ack:a", "ack:c", NULL});
    expect_left(1);
}

/* ---- manual ---- */

static atomic_int kept_count;
static coney_delivery *kept[4];

static void keep_all(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)user;
    for (size_t i = 0; i < count; i++) {
        outcomes[i] = CONEY_DEFER;
        kept[i] = coney_delivery_ref(deliveries[i]);
    }
    atomic_store(&kept_count, (int)count);
}

static void test_manual_batch_is_settled_one_by_one(void **state)
{
    (void)state;
    static const coney_outcome outcomes[] = {CONEY_ACK, CONEY_REJECT, CONEY_REJECT, CONEY_ACK};
    kept_count = 0;
    send_all((const char *const[]){"a", "b", "c", "d", NULL});
    start((coney_listener){.on_batch = keep_all, .batch_size = 4, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    test_wait_for(&kept_count, 4);
    for (size_t i = COUNT_OF(outcomes); i-- > 0;) {
        assert_ok(coney_delivery_settle(kept[i], outcomes[i]));
        coney_delivery_unref(kept[i]);
    }
    expect_left(2);
}

/* ---- messages that grow ---- */

static coney_status grow(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    static const char large[GROWN];
    (void)exchange;
    (void)routing_key;
    (void)user;
    return coney_message_with(message, *message, NULL, large, sizeof large);
}

static void count_only(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)deliveries;
    (void)user;
    for (size_t i = 0; i < count; i++)
        outcomes[i] = CONEY_ACK;
    note_batch(count);
}

static int handled_in_batches(int most)
{
    int sum = 0;
    for (int i = 0; i < batches && i < MAX_BATCHES; i++) {
        check(sizes[i] <= most);
        sum += sizes[i];
    }
    return sum;
}

static void start_growing(coney_listener listener)
{
    const coney_container_options options = {.workers = test_workers, .max_held_bytes = (size_t)2 * GROWN};
    const coney_processor processor = {.name = "grow", .process = grow};
    listener.queue = listening.queue;
    listener.on_batch = count_only;
    assert_ok(coney_container_new(&listening.container, client.factory, &options));
    assert_ok(coney_container_add_after_receive(listening.container, &processor));
    assert_ok(coney_container_listen(listening.container, &listener));
    assert_ok(coney_container_start(listening.container));
}

/* A compressed body may become a thousand times as large, and a batch of them would be in memory at once. */
static void test_batch_of_messages_that_grow_is_smaller(void **state)
{
    (void)state;
    enum { COUNT = 12 };
    for (int i = 0; i < COUNT; i++)
        listening_send("grow");
    start_growing((coney_listener){.batch_size = COUNT, .batch_timeout_ms = SHORT_MS});
    test_wait_until(handled_in_batches(3) == COUNT);
}

static void test_batches_that_grow_before_they_are_taken_apart_are_handed_over_sooner(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_BATCH_FORMAT, "lengthHeader4"));
    for (int i = 0; i < COUNT; i++)
        listening_send_with("grow", &(coney_properties){.headers = headers});
    coney_table_free(headers);
    start_growing((coney_listener){.batch_size = PARTS * COUNT, .batch_timeout_ms = LONG_MS * 10});
    test_wait_until(handled_in_batches(3 * PARTS) >= PARTS * (COUNT - 3));
}

/* Its consumer ends, so no more can come. */
static void test_stop_hands_over_a_batch_that_is_not_full(void **state)
{
    (void)state;
    send_all((const char *const[]){"ack:a", "ack:b", NULL});
    start((coney_listener){.batch_size = 10, .batch_timeout_ms = 600000});
    test_wait_for_depth(listening.queue, 0);
    assert_ok(coney_container_stop(listening.container));
    assert_int_equal(listening.count, 2);
    assert_int_equal(batches, 1);
    test_wait_for_depth(listening.queue, 0);
}

int main(void)
{
#define batch_test(test) cmocka_unit_test_setup_teardown(test, setup, listening_teardown)
    const struct CMUnitTest tests[] = {
        batch_test(test_full_batches_do_not_wait),
        batch_test(test_batch_that_does_not_fill_is_handed_over_after_its_time),
        batch_test(test_prefetch_is_never_below_the_batch_size),
        batch_test(test_messages_of_a_batch_are_in_their_order),
        batch_test(test_one_that_is_rejected_goes_alone),
        batch_test(test_only_those_that_failed_are_called_again),
        batch_test(test_one_whose_attempts_are_used_up_goes_alone),
        batch_test(test_outcome_that_is_left_out_counts_as_retry_and_is_logged),
        batch_test(test_whole_batch_may_come_again),
        batch_test(test_half_a_batch_may_come_again),
        batch_test(test_whole_batch_may_be_rejected),
        batch_test(test_half_a_batch_may_be_rejected),
        batch_test(test_one_may_be_rejected_and_the_rest_come_again),
        batch_test(test_messages_that_go_back_together_are_held_back_once),
        batch_test(test_filter_takes_messages_out_of_a_batch),
        batch_test(test_handler_is_not_called_for_nothing),
        batch_test(test_unreadable_one_is_rejected_and_the_rest_handled),
        batch_test(test_manual_batch_is_settled_one_by_one),
        batch_test(test_batch_of_messages_that_grow_is_smaller),
        batch_test(test_batches_that_grow_before_they_are_taken_apart_are_handed_over_sooner),
        batch_test(test_stop_hands_over_a_batch_that_is_not_full),
    };
    return test_run_with_workers("batches", tests, test_client_setup, test_client_teardown);
}
