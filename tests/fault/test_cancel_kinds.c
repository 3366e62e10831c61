/* SPDX-License-Identifier: MIT */
/* basic.cancel from a broker whose queue is there: what each kind of listener does with what has come, and what stops
 * do that meet such a cancel. */
#include "support/fault_cancel.h"

#include <stdatomic.h>

enum { LONG_MS = 10000, SOON_MS = 300 };

/* --- each kind of listener --- */

static _Atomic(coney_delivery *) kept;

static int release_kept(void **state)
{
    coney_delivery_unref(atomic_exchange(&kept, NULL));
    return fault_teardown(state);
}

/* The first one is kept for the test to settle. */
static coney_outcome keep(coney_delivery *delivery, void *user)
{
    fault_obey(delivery, user);
    if (atomic_load(&kept))
        return CONEY_ACK;
    atomic_store(&kept, coney_delivery_ref(delivery));
    return CONEY_DEFER;
}

static cny_peer_method *time_out_what_is_kept(cny_peer *peer, amqp_channel_t *channel)
{
    *channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, *channel, 1, "keep");
    cny_peer_wait_go(peer);
    cny_peer_time_out_consumer(peer, *channel);
    return fault_expect_question(peer, *channel);
}

static void answer_about_what_is_kept(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel;
    cny_peer_answer(peer, time_out_what_is_kept(peer, &channel));
    fault_expect_everything_back(peer, channel);
}

static void find_missing_what_is_kept(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel, asking = time_out_what_is_kept(peer, &channel)->channel;
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
    cny_peer_wait_go(peer);
    cny_peer_close_channel(peer, asking, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
    cny_peer_check(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD)->channel == channel);
}

static bool is_given_back(void)
{
    return cny_broker_count_heard(fault.broker, AMQP_BASIC_NACK_METHOD) == 1;
}

static void listen_and_keep(cny_script *script)
{
    fault_listen(script, NULL, (coney_listener){.on_message = keep, .acknowledge = CONEY_ACKNOWLEDGE_MANUAL});
    fault_wait_until(atomic_load(&kept) != NULL);
    cny_broker_go(fault.broker);
}

static void expect_stale(const char *words)
{
    fault_expect_status(CONEY_E_STALE, coney_delivery_settle(atomic_load(&kept), CONEY_ACK));
    fault_expect_text(words);
    assert_int_equal(fault_statistics().stale, 1);
    assert_int_equal(fault_statistics().acknowledged, 0);
}

static void test_deferred_delivery_is_stale(void **state)
{
    (void)state;
    listen_and_keep(answer_about_what_is_kept);
    fault_wait_until(is_given_back());
    expect_stale("it is delivered again");
    cny_broker_wait(fault.broker, 1);
}

/* Whether it comes again is not known yet. */
static void test_deferred_delivery_that_is_settled_while_the_client_asks_is_stale(void **state)
{
    (void)state;
    listen_and_keep(find_missing_what_is_kept);
    fault_wait_for_reason(FAULT_IN_QUESTION);
    expect_stale("its consumer was cancelled");
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_statistics().stale, 1);
}

/* The broker has forgotten what it sent, so it is handled, and there is nothing to give back. */
static void time_out_one_that_acknowledges_nothing(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    cny_peer_answer(peer, fault_expect_question(peer, channel));
    cny_peer_serve_until_consumer(peer);
}

static void test_listener_that_acknowledges_nothing_handles_all(void **state)
{
    (void)state;
    fault_listen(time_out_one_that_acknowledges_nothing, NULL, (coney_listener){.acknowledge = CONEY_ACKNOWLEDGE_NONE});
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_for_reason(FAULT_EXISTING);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handled("prefetched"), 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_NACK_METHOD), 0);
}

/* The end of the channel is the end of the transaction. */
static void time_out_a_transaction(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    cny_peer_answer(peer, fault_expect_question(peer, channel));
    fault_expect_everything_back(peer, channel);
    cny_peer_serve_until_consumer(peer);
}

static void test_transaction_is_not_committed(void **state)
{
    (void)state;
    fault_listen(time_out_a_transaction, NULL, (coney_listener){.transacted = true});
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_for_reason(FAULT_EXISTING);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_TX_COMMIT_METHOD), 0);
    assert_int_equal(fault_statistics().stale, 1);
}

static void expect_commit(cny_peer *peer, cny_peer_method *commit)
{
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
    fault_expect_ack(peer, 1);
    *commit = *cny_peer_expect(peer, AMQP_TX_COMMIT_METHOD);
}

/* RabbitMQ closes the connection over a method that comes while it commits. */
static void time_out_in_a_commit(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method commit;
    expect_commit(peer, &commit);
    cny_peer_time_out_consumer(peer, commit.channel);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_OPEN_METHOD));
    amqp_channel_t asking = cny_peer_expect(peer, AMQP_QUEUE_DECLARE_METHOD)->channel;
    fault_find_queue(peer, asking, 1);
    cny_peer_method *close = cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
    cny_peer_check(peer, close->channel == asking);
    cny_peer_answer(peer, close);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
    cny_peer_answer(peer, &commit);
    cny_peer_check(peer, cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD)->channel == commit.channel);
    fault_expect_everything_back(peer, commit.channel);
    cny_peer_serve_until_consumer(peer);
}

static void test_commit_is_answered_before_the_consumer_is_cancelled_and_all_goes_back(void **state)
{
    (void)state;
    fault_listen(time_out_in_a_commit, NULL, (coney_listener){.transacted = true});
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_statistics().acknowledged, 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

static void handle_batch(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user)
{
    for (size_t i = 0; i < count; i++)
        outcomes[i] = fault_obey(deliveries[i], user);
}

static void time_out_a_batch(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "first");
    cny_peer_deliver(peer, channel, 2, "hold");
    cny_peer_deliver(peer, channel, 3, "prefetched");
    cny_peer_wait_go(peer);
    cny_peer_time_out_consumer(peer, channel);
    cny_peer_answer(peer, fault_expect_question(peer, channel));
    fault_expect_everything_back(peer, channel);
    cny_peer_serve_until_consumer(peer);
}

static void test_batch_at_work_is_stale_and_the_next_is_not_begun(void **state)
{
    (void)state;
    fault_listen(time_out_a_batch, NULL, (coney_listener){.on_batch = handle_batch, .batch_size = 2});
    fault_wait_for_calls(2);
    cny_broker_go(fault.broker);
    fault_wait_for_reason(FAULT_EXISTING);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_statistics().stale, 2);
    assert_int_equal(fault_handled("prefetched"), 0);
}

static void deliver_from_stream(cny_peer *peer, amqp_channel_t channel, uint64_t tag, int64_t offset)
{
    amqp_table_entry_t header = {.key = amqp_cstring_bytes("x-stream-offset"),
                                 .value = {.kind = AMQP_FIELD_KIND_I64, .value.i64 = offset}};
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = {1, &header}};
    cny_peer_deliver_method(peer, channel, tag);
    cny_peer_send_header(peer, channel, 3, &properties);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "ack", 3);
}

static amqp_channel_t deliver_then_time_out_a_stream(cny_peer *peer)
{
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    deliver_from_stream(peer, channel, 1, 7);
    fault_expect_ack(peer, 1);
    cny_peer_time_out_consumer(peer, channel);
    return channel;
}

static void expect_consumer_where_it_was(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_method *method = cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
    cny_peer_check(peer, method->channel == channel);
    cny_peer_answer(peer, method);
    method = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    amqp_table_t arguments = ((const amqp_basic_consume_t *)method->args)->arguments;
    cny_peer_check(peer, arguments.num_entries == 1 && arguments.entries[0].value.value.i64 == 8);
}

static void time_out_a_stream(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = deliver_then_time_out_a_stream(peer);
    cny_peer_answer(peer, fault_expect_question(peer, channel));
    expect_consumer_where_it_was(peer, channel);
}

static void test_consumer_of_a_stream_goes_on_where_it_was(void **state)
{
    (void)state;
    fault_listen(time_out_a_stream, NULL, (coney_listener){.stream = true});
    cny_broker_wait(fault.broker, 1);
}

static void time_out_a_stream_on_the_only_channel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = deliver_then_time_out_a_stream(peer);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD));
    expect_consumer_where_it_was(peer, channel);
}

static void test_consumer_of_a_stream_that_cannot_be_asked_for_goes_on_where_it_was(void **state)
{
    (void)state;
    fault_start_with(&(cny_broker_options){.script = time_out_a_stream_on_the_only_channel, .channel_max = 1}, NULL);
    fault_use_listener(NULL, (coney_listener){.stream = true});
    cny_broker_wait(fault.broker, 1);
}

/* --- stops --- */

static coney_stop_mode mode;

static coney_status stop_container(void)
{
    return coney_container_stop_with(fault.container, mode, LONG_MS);
}

static void time_out_then_stop(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    cny_peer_method declare = *fault_expect_question(peer, channel);
    cny_peer_wait_go(peer);
    fault_find_queue(peer, declare.channel, 1);
    fault_expect_everything_back(peer, channel);
}

static bool is_stopping(void)
{
    return coney_container_check(fault.container) == CONEY_E_STATE && !strstr(coney_last_error(), FAULT_IN_QUESTION);
}

static void expect_stop_after_the_answer(coney_stop_mode how)
{
    mode = how;
    fault_consume(time_out_then_stop, NULL, 1);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_for_reason(FAULT_IN_QUESTION);
    fault_in_background(stop_container);
    fault_wait_until(is_stopping());
    fault_let_go();
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

static void test_stop_that_drains_waits_for_the_answer_and_gives_everything_back(void **state)
{
    (void)state;
    expect_stop_after_the_answer(CONEY_STOP_DRAIN);
}

static void test_stop_that_finishes_waits_for_the_answer_and_gives_everything_back(void **state)
{
    (void)state;
    expect_stop_after_the_answer(CONEY_STOP_FINISH);
}

static void never_answer_before_the_stop(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    fault_expect_question(peer, channel);
    cny_peer_check(peer, cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD)->channel == channel);
}

static void test_stop_keeps_its_deadline_while_the_client_asks(void **state)
{
    (void)state;
    fault_consume(never_answer_before_the_stop, NULL, 1);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_for_reason(FAULT_IN_QUESTION);
    fault_let_go();
    int64_t began = cny_now_ms();
    coney_container_stop_with(fault.container, CONEY_STOP_DRAIN, SOON_MS);
    test_expect_elapsed(began, SOON_MS, SOON_MS + 500);
    assert_int_equal(fault_handler_calls(), 1);
}

static void stop_in_a_commit(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method commit;
    expect_commit(peer, &commit);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS));
    cny_peer_answer(peer, &commit);
    cny_peer_check(peer, cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD)->channel == commit.channel);
}

static void test_stop_cancels_when_the_commit_is_answered(void **state)
{
    (void)state;
    mode = CONEY_STOP_DRAIN;
    fault_listen(stop_in_a_commit, NULL, (coney_listener){.transacted = true});
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_TX_COMMIT_METHOD) == 1);
    fault_in_background(stop_container);
    cny_broker_wait(fault.broker, 1);
}

/* The stop has sent no basic.cancel, so the consumer is still the queue's. */
static void test_stop_that_finishes_is_told_of_a_timeout(void **state)
{
    (void)state;
    mode = CONEY_STOP_FINISH;
    fault_consume(time_out_then_stop, NULL, 1);
    fault_wait_for_calls(1);
    fault_in_background(stop_container);
    fault_wait_until(is_stopping());
    cny_broker_go(fault.broker);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_QUEUE_DECLARE_METHOD) == 1);
    cny_broker_go(fault.broker);
    fault_wait_until(is_given_back());
    fault_let_go();
    fault_expect_status(CONEY_OK, fault_background_end());
    assert_int_equal(fault_statistics().stale, 1);
    assert_int_equal(fault_statistics().acknowledged, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_deferred_delivery_is_stale, release_kept),
        cmocka_unit_test_teardown(test_deferred_delivery_that_is_settled_while_the_client_asks_is_stale, release_kept),
        fault_test(test_listener_that_acknowledges_nothing_handles_all),
        fault_test(test_transaction_is_not_committed),
        fault_test(test_commit_is_answered_before_the_consumer_is_cancelled_and_all_goes_back),
        fault_test(test_batch_at_work_is_stale_and_the_next_is_not_begun),
        fault_test(test_consumer_of_a_stream_goes_on_where_it_was),
        fault_test(test_consumer_of_a_stream_that_cannot_be_asked_for_goes_on_where_it_was),
        fault_test(test_stop_that_drains_waits_for_the_answer_and_gives_everything_back),
        fault_test(test_stop_that_finishes_waits_for_the_answer_and_gives_everything_back),
        fault_test(test_stop_keeps_its_deadline_while_the_client_asks),
        fault_test(test_stop_cancels_when_the_commit_is_answered),
        fault_test(test_stop_that_finishes_is_told_of_a_timeout),
    };
    return cmocka_run_group_tests_name("cancel of each kind of listener", tests, NULL, NULL);
}
