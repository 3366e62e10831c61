/* SPDX-License-Identifier: MIT */
/* Batches in Spring's format are taken apart for the handler, and settled as one when their last message is. */
#include "support/elapsed.h"
#include "support/listening.h"
#include "support/plain_client.h"

#include <stdio.h>

enum { MAX_FRAGMENTS = 8 };

static coney_message *make_batch(const char *const *texts, const coney_properties *properties)
{
    coney_message *fragments[MAX_FRAGMENTS] = {0}, *batch;
    size_t count = 0;
    for (; texts[count]; count++)
        assert_ok(coney_message_new(&fragments[count], texts[count], strlen(texts[count]), properties));
    assert_ok(coney_message_batch(&batch, fragments, count));
    while (count > 0)
        coney_message_unref(fragments[--count]);
    return batch;
}

static void send_batch_with(const char *const *texts, const coney_properties *properties)
{
    coney_message *batch = make_batch(texts, properties);
    assert_ok(coney_template_send(client.sender, listening.queue, batch, NULL));
    coney_message_unref(batch);
}

static void send_batch(const char *const *texts)
{
    send_batch_with(texts, NULL);
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

/* ---- one by one ---- */

static coney_outcome expect_fragment(coney_delivery *delivery, void *user)
{
    const coney_message *message = coney_delivery_message(delivery);
    int index = listening_note(delivery);
    check(coney_delivery_is_last_in_batch(delivery) == (index == 2));
    check(!coney_message_is_batch(message));
    check_text(coney_message_routing_key(message), listening.queue);
    (void)user;
    return CONEY_ACK;
}

static void test_fragments_come_in_order_and_the_last_says_so(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = expect_fragment});
    send_batch((const char *const[]){"a", "b", "c", NULL});
    listening_send("single");
    expect_calls((const char *const[]){"a", "b", "c", "single", NULL});
    assert_int_equal(listening_statistics().received, 2);
    expect_left(0);
}

static void test_batch_is_acknowledged_once(void **state)
{
    (void)state;
    listening_start(&(coney_listener){0});
    send_batch((const char *const[]){"ack:a", "ack:b", "ack:c", NULL});
    send_batch((const char *const[]){"ack:d", "ack:e", NULL});
    listening_wait_for_calls(5);
    assert_ok(coney_container_stop(listening.container));
    assert_int_equal(listening_statistics().acknowledged, 2);
    expect_left(0);
}

static void test_batch_is_acknowledged_together_with_others(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.ack_every = 3});
    send_batch((const char *const[]){"ack:a", "ack:b", NULL});
    send_batch((const char *const[]){"ack:c", "reject:d", NULL});
    listening_send("ack:e");
    listening_wait_for_calls(5);
    expect_left(1);
}

static void test_fragment_that_is_rejected_rejects_the_whole(void **state)
{
    (void)state;
    listening_start(&(coney_listener){0});
    send_batch((const char *const[]){"ack:a", "reject:b", "ack:c", NULL});
    listening_wait_for_calls(3);
    test_wait_for_depth(listening.dead, 1);
    amqp_message_t whole = plain_get(listening.dead);
    plain_expect_header(&whole, CONEY_HEADER_BATCH_FORMAT, "lengthHeader4");
    assert_int_equal(plain_number_header(&whole, CONEY_HEADER_BATCH_SIZE), 3);
    amqp_destroy_message(&whole);
    test_wait_until(listening_statistics().rejected == 1);
    expect_left(0);
}

static void test_fragment_that_goes_back_takes_the_whole_with_it(void **state)
{
    (void)state;
    listening_start(&(coney_listener){0});
    send_batch((const char *const[]){"ack:a", "again:b", "ack:c", NULL});
    expect_calls((const char *const[]){"ack:a", "again:b", "ack:c", "ack:a", "again:b", "ack:c", NULL});
    assert_true(listening.calls[3].redelivered);
    expect_left(0);
}

static void test_rejecting_outweighs_going_back(void **state)
{
    (void)state;
    listening_start(&(coney_listener){0});
    send_batch((const char *const[]){"again:a", "reject:b", "again:c", NULL});
    test_wait_for_depth(listening.dead, 1);
    expect_left(1);
    assert_int_equal(listening.count, 3);
}

static void test_fragment_that_fails_is_tried_again_before_the_next(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.max_attempts = 3, .first_delay_ms = 2}});
    send_batch((const char *const[]){"ack:a", "fail 2:b", "ack:c", NULL});
    expect_calls((const char *const[]){"ack:a", "fail 2:b", "fail 2:b", "fail 2:b", "ack:c", NULL});
    assert_int_equal(listening.calls[3].attempt, 3);
    assert_int_equal(listening.calls[4].attempt, 1);
    expect_left(0);
}

static void test_fragment_is_republished_alone_and_the_whole_acknowledged(void **state)
{
    (void)state;
    const char *target = listening_make_other_queue("target");
    listening_start(&(coney_listener){.retry = {.exhausted = CONEY_EXHAUSTED_REPUBLISH, .routing_key = target}});
    send_batch((const char *const[]){"ack:a", "fail:b", "ack:c", NULL});
    listening_wait_for_calls(3);
    test_wait_for_depth(target, 1);
    amqp_message_t copy = plain_get(target);
    plain_expect_text(copy.body, "fail:b");
    assert_null(plain_header(&copy, CONEY_HEADER_BATCH_FORMAT));
    plain_expect_header(&copy, "x-exception-message", "no stock for fail:b");
    amqp_destroy_message(&copy);
    expect_left(0);
}

static void test_unreadable_fragment_rejects_the_whole(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.converter = coney_text_converter()});
    send_batch((const char *const[]){"ack:a", "\xff", "ack:c", NULL});
    expect_calls((const char *const[]){"ack:a", "ack:c", NULL});
    expect_left(1);
}

/* ---- all at once ---- */

static atomic_int batch_size;

static void obey_all(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    for (size_t i = 0; i < count; i++) {
        check(coney_delivery_is_last_in_batch(deliveries[i]) == (count > 1 && i + 1 == count));
        outcomes[i] = listening_obey(deliveries[i], user);
    }
    atomic_store(&batch_size, (int)count);
}

static void test_batch_handler_gets_all_fragments_even_beyond_its_size(void **state)
{
    (void)state;
    batch_size = 0;
    listening_start(&(coney_listener){.on_batch = obey_all, .batch_size = 2});
    send_batch((const char *const[]){"ack:a", "ack:b", "ack:c", "ack:d", "ack:e", NULL});
    test_wait_for(&batch_size, 5);
    expect_left(0);
}

static void test_batch_handler_that_rejects_a_fragment_rejects_the_whole(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_batch = obey_all, .batch_size = 3});
    send_batch((const char *const[]){"ack:a", "reject:b", "ack:c", NULL});
    expect_left(1);
    assert_int_equal(listening.count, 3);
}

/* ---- not taken apart ---- */

static coney_outcome expect_whole(coney_delivery *delivery, void *user)
{
    check(coney_message_is_batch(coney_delivery_message(delivery)));
    check(!coney_delivery_is_last_in_batch(delivery));
    atomic_fetch_add((atomic_int *)user, 1);
    return CONEY_ACK;
}

static void test_batches_may_be_kept(void **state)
{
    (void)state;
    atomic_int calls = 0;
    listening_start(&(coney_listener){.on_message = expect_whole, .user = &calls, .keep_batches = true});
    send_batch((const char *const[]){"a", "b", NULL});
    test_wait_for(&calls, 1);
    expect_left(0);
    assert_int_equal(calls, 1);
}

/* One whose first length is beyond its end. */
static void send_broken_batch(void)
{
    coney_table *headers = coney_table_new();
    assert_ok(coney_table_set_string(headers, CONEY_HEADER_BATCH_FORMAT, "lengthHeader4"));
    assert_ok(coney_table_set_int64(headers, CONEY_HEADER_BATCH_SIZE, 2));
    listening_send_with("not a length", &(coney_properties){.headers = headers});
    coney_table_free(headers);
}

static void expect_broken_batch_is_rejected(const coney_listener *listener)
{
    listening_start(listener);
    test_log_start(CONEY_LOG_ERROR);
    send_broken_batch();
    test_wait_for_depth(listening.dead, 1);
    test_log_expect("insufficient batch data");
    assert_int_equal(listening_statistics().fatal, 1);
    listening_send("ack"); /* it stood in nobody's way */
    listening_wait_for_calls(1);
    expect_left(1);
}

static void test_broken_batch_is_rejected(void **state)
{
    (void)state;
    expect_broken_batch_is_rejected(&(coney_listener){0});
}

static void test_broken_batch_is_rejected_by_a_batch_listener(void **state)
{
    (void)state;
    expect_broken_batch_is_rejected(&(coney_listener){.on_batch = obey_all, .batch_size = 1});
}

static void test_broken_batch_is_rejected_with_manual_acknowledgement(void **state)
{
    (void)state;
    expect_broken_batch_is_rejected(&(coney_listener){.acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
}

/* ---- manual ---- */

static atomic_int kept_count;
static coney_delivery *kept[MAX_FRAGMENTS];

static coney_outcome keep(coney_delivery *delivery, void *user)
{
    (void)user;
    kept[kept_count] = coney_delivery_ref(delivery);
    atomic_fetch_add(&kept_count, 1);
    return CONEY_DEFER;
}

static void keep_three(void)
{
    kept_count = 0;
    listening_start(&(coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    send_batch((const char *const[]){"a", "b", "c", NULL});
    test_wait_for(&kept_count, 3);
}

static void settle(int index, coney_outcome outcome)
{
    assert_ok(coney_delivery_settle(kept[index], outcome));
    coney_delivery_unref(kept[index]);
}

static void test_whole_is_acknowledged_with_the_last_fragment_that_is_settled(void **state)
{
    (void)state;
    keep_three();
    settle(1, CONEY_ACK);
    settle(2, CONEY_ACK);
    assert_int_equal(listening_statistics().acknowledged, 0);
    settle(0, CONEY_ACK);
    assert_int_equal(listening_statistics().acknowledged, 1);
    expect_left(0);
}

static void test_whole_is_rejected_with_the_last_fragment_that_is_settled(void **state)
{
    (void)state;
    keep_three();
    settle(0, CONEY_REJECT);
    settle(1, CONEY_ACK);
    assert_int_equal(listening_statistics().rejected, 0);
    settle(2, CONEY_ACK);
    expect_left(1);
}

static void test_whole_comes_again_if_a_fragment_was_not_settled(void **state)
{
    (void)state;
    keep_three();
    settle(0, CONEY_ACK);
    settle(1, CONEY_ACK);
    assert_ok(coney_container_stop_with(listening.container, CONEY_STOP_NOW, 0));
    test_wait_for_depth(listening.queue, 1);
    assert_fails(coney_delivery_settle(kept[2], CONEY_ACK), CONEY_E_STALE, listening.queue);
    coney_delivery_unref(kept[2]);
}

/* ---- attempts ---- */

static const coney_properties with_id = {.message_id = "m-1"};

static void test_stateful_retry_counts_a_fragment_whatever_becomes_of_another(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3}});
    send_batch_with((const char *const[]){"fail:a", "ack:b", NULL}, &with_id);
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening_calls_of("fail:a"), 3);
}

static void test_stateful_retry_counts_a_batch_once_each_time_it_comes(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.retry = {.stateful = true, .max_attempts = 3}});
    send_batch_with((const char *const[]){"fail:a", "fail 2:b", NULL}, &with_id);
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(listening_calls_of("fail:a"), 3);
    assert_int_equal(listening_calls_of("fail 2:b"), 3);
}

/* With one for each fragment the second round would take 100 + 200 + 400 + 800 + 1600 + 3200 ms. */
static void test_batch_that_goes_back_is_held_back_once(void **state)
{
    (void)state;
    enum { HELD_MS = 100, MUCH_MS = 3000 };
    listening_start(&(coney_listener){0});
    send_batch((const char *const[]){"fail:a", "fail:b", "fail:c", "fail:d", "fail:e", "fail:f", NULL});
    listening_wait_for_calls(13);
    int64_t back = listening.calls[6].at_ms;
    assert_int_in_range(listening.calls[12].at_ms - back, HELD_MS - 10, MUCH_MS + test_slack_ms(back));
}

/* ---- on the way ---- */

/* What a processor did to it when it was sent is undone first. */
static void test_compressed_batch_is_taken_apart(void **state)
{
    (void)state;
    coney_processor compress, decompress;
    assert_ok(coney_compress_processor(&compress, NULL));
    assert_ok(coney_decompress_processor(&decompress, NULL));
    coney_template *sender;
    assert_ok(coney_template_new(&sender, client.factory, NULL));
    assert_ok(coney_template_add_before_publish(sender, &compress));
    listening_start(&(coney_listener){0});
    assert_ok(coney_container_add_after_receive(listening.container, &decompress));
    coney_message *batch = make_batch((const char *const[]){"ack:a", "ack:b", NULL}, NULL);
    assert_ok(coney_template_send(sender, listening.queue, batch, NULL));
    coney_message_unref(batch);
    coney_template_free(sender);
    expect_calls((const char *const[]){"ack:a", "ack:b", NULL});
    expect_left(0);
}

static atomic_int processed;

static coney_status fail_once(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message;
    (void)exchange;
    (void)routing_key;
    (void)user;
    return atomic_fetch_add(&processed, 1) == 0 ? coney_conversion_failed("not this one") : CONEY_OK;
}

/* It is not handed over whole instead, to a handler that expects its messages. */
static void test_batch_that_a_processor_fails_for_is_rejected(void **state)
{
    (void)state;
    atomic_store(&processed, 0);
    listening_start(&(coney_listener){0});
    assert_ok(coney_container_add_after_receive(listening.container,
                                                &(coney_processor){.name = "fails once", .process = fail_once}));
    send_batch((const char *const[]){"ack:a", "ack:b", NULL});
    test_wait_for_depth(listening.dead, 1);
    assert_int_equal(processed, 1);
    assert_int_equal(listening.count, 0);
}

static coney_outcome acknowledge(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    return CONEY_ACK;
}

/* In a time that is proportional to their number: half a minute if it were to its square. */
static void test_large_batch_is_taken_apart_quickly(void **state)
{
    (void)state;
    enum { MUCH_MS = 10000 };
    static coney_message *fragments[CONEY_MAX_BATCH_SIZE];
    coney_message *one = test_text("x"), *batch;
    for (int i = 0; i < CONEY_MAX_BATCH_SIZE; i++)
        fragments[i] = one;
    assert_ok(coney_message_batch(&batch, fragments, CONEY_MAX_BATCH_SIZE));
    listening_start(&(coney_listener){.on_message = acknowledge});
    assert_ok(coney_template_send(client.sender, listening.queue, batch, NULL));
    coney_message_unref(batch);
    coney_message_unref(one);
    int64_t began = cny_now_ms();
    test_wait_until(listening_statistics().acknowledged == 1);
    test_expect_elapsed(began, 0, MUCH_MS);
}

/* ---- batches of somebody hostile ---- */

enum { HOSTILE_MS = 5000 };

static coney_message *make_empty_fragments(size_t fragments, int headers)
{
    static const uint8_t body[4 * CONEY_MAX_BATCH_SIZE];
    coney_table *table = coney_table_new();
    for (int i = 0; i < headers; i++) {
        char name[16];
        snprintf(name, sizeof name, "h%d", i);
        assert_ok(coney_table_set(table, name, &(coney_value){.type = CONEY_VOID}));
    }
    assert_ok(coney_table_set_string(table, CONEY_HEADER_BATCH_FORMAT, "lengthHeader4"));
    coney_message *batch;
    assert_ok(coney_message_new(&batch, body, 4 * fragments, &(coney_properties){.headers = table}));
    coney_table_free(table);
    return batch;
}

static void send_empty_fragments(size_t fragments, int headers)
{
    coney_message *batch = make_empty_fragments(fragments, headers);
    assert_ok(coney_template_send(client.sender, listening.queue, batch, NULL));
    coney_message_unref(batch);
}

/* 470 KB that held a worker for half a minute and more, since each fragment searched all headers. */
static void test_many_fragments_with_many_headers_are_rejected_at_once(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = acknowledge});
    int64_t began = cny_now_ms();
    send_empty_fragments(CONEY_MAX_BATCH_SIZE, 9900);
    listening_send("ack");
    listening_wait_for_event(CONEY_MESSAGE_REJECTED, "each of which would have its");
    test_wait_until(listening_statistics().acknowledged == 1);
    test_expect_elapsed(began, 0, HOSTILE_MS);
    expect_left(1);
}

static void test_many_fragments_with_some_headers_take_time_in_proportion(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.on_message = acknowledge});
    int64_t began = cny_now_ms();
    send_empty_fragments(25000, 1500);
    test_wait_until(listening_statistics().handled == 25000);
    test_expect_elapsed(began, 0, HOSTILE_MS);
    expect_left(0);
}

static void acknowledge_all(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    (void)deliveries;
    (void)user;
    for (size_t i = 0; i < count; i++)
        outcomes[i] = CONEY_ACK;
}

static bool takes_every_second(const coney_message *message, void *user)
{
    (void)message;
    return atomic_fetch_add((atomic_int *)user, 1) % 2 == 1;
}

/* Each fragment that the filter lets through goes before all those that it has held back. */
static void test_filtering_many_fragments_takes_time_in_proportion(void **state)
{
    (void)state;
    static atomic_int seen;
    atomic_store(&seen, 0);
    listening_start(&(coney_listener){.on_batch = acknowledge_all, .filter = takes_every_second, .user = &seen});
    int64_t began = cny_now_ms();
    send_empty_fragments(CONEY_MAX_BATCH_SIZE, 0);
    test_wait_until(listening_statistics().acknowledged == 1);
    test_expect_elapsed(began, 0, HOSTILE_MS);
    assert_int_equal(listening_statistics().filtered, CONEY_MAX_BATCH_SIZE / 2);
    expect_left(0);
}

static coney_status take_long(coney_message **message, const char *exchange, const char *routing_key, void *user)
{
    (void)message;
    (void)exchange;
    (void)routing_key;
    test_wait_until(listening_events(CONEY_HANDLER_SLOW) > 0);
    (void)user;
    return CONEY_OK;
}

static void test_taking_a_batch_apart_for_long_is_told(void **state)
{
    (void)state;
    listening_start(&(coney_listener){.slow_handler_ms = 20});
    assert_ok(coney_container_add_after_receive(listening.container,
                                                &(coney_processor){.name = "takes long", .process = take_long}));
    send_batch((const char *const[]){"ack:a", "ack:b", NULL});
    listening_wait_for_calls(2);
    assert_int_equal(listening_events(CONEY_HANDLER_SLOW), 1);
    expect_left(0);
}

static int teardown(void **state)
{
    plain_close();
    return test_client_teardown(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        listening_test(test_fragments_come_in_order_and_the_last_says_so),
        listening_test(test_batch_is_acknowledged_once),
        listening_test(test_batch_is_acknowledged_together_with_others),
        listening_test(test_fragment_that_is_rejected_rejects_the_whole),
        listening_test(test_fragment_that_goes_back_takes_the_whole_with_it),
        listening_test(test_rejecting_outweighs_going_back),
        listening_test(test_fragment_that_fails_is_tried_again_before_the_next),
        listening_test(test_fragment_is_republished_alone_and_the_whole_acknowledged),
        listening_test(test_unreadable_fragment_rejects_the_whole),
        listening_test(test_batch_handler_gets_all_fragments_even_beyond_its_size),
        listening_test(test_batch_handler_that_rejects_a_fragment_rejects_the_whole),
        listening_test(test_batches_may_be_kept),
        listening_test(test_broken_batch_is_rejected),
        listening_test(test_broken_batch_is_rejected_by_a_batch_listener),
        listening_test(test_broken_batch_is_rejected_with_manual_acknowledgement),
        listening_test(test_whole_is_acknowledged_with_the_last_fragment_that_is_settled),
        listening_test(test_whole_is_rejected_with_the_last_fragment_that_is_settled),
        listening_test(test_whole_comes_again_if_a_fragment_was_not_settled),
        listening_test(test_stateful_retry_counts_a_fragment_whatever_becomes_of_another),
        listening_test(test_stateful_retry_counts_a_batch_once_each_time_it_comes),
        listening_test(test_batch_that_goes_back_is_held_back_once),
        listening_test(test_compressed_batch_is_taken_apart),
        listening_test(test_batch_that_a_processor_fails_for_is_rejected),
        listening_test(test_large_batch_is_taken_apart_quickly),
        listening_test(test_many_fragments_with_many_headers_are_rejected_at_once),
        listening_test(test_many_fragments_with_some_headers_take_time_in_proportion),
        listening_test(test_filtering_many_fragments_takes_time_in_proportion),
        listening_test(test_taking_a_batch_apart_for_long_is_told),
    };
    return test_run_with_workers("debatching", tests, test_client_setup, teardown);
}
