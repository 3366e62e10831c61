/* SPDX-License-Identifier: MIT */
/* A channel that publishes in confirm mode and consumes at the same time, as requests use it: how it begins, who takes
 * what comes, and that each message that was sent has one outcome. */
#include "rabbit/connection/channel.h"
#include "rabbit/factory/factory.h"
#include "support/fault_consumer.h"

#include <stdatomic.h>

enum { LONG_MS = 10000, SHORT_MS = 50, COUNT = 3 };

static const coney_queue replies = {.name = "replies", .exclusive = true, .auto_delete = true, .transient = true};
static cny_channel *channel;
static atomic_int changes, taken;

/* What was told of a message. */
typedef struct outcome {
    atomic_int times;
    coney_status status;
    int broker_code;
} outcome;

static outcome outcomes[COUNT];
static cny_waiter *waiter; /* whom the next message tells */

static void on_outcome(void *user, cny_error *error, cny_waiter **told)
{
    (void)told;
    outcome *one = user;
    one->status = error ? cny_error_view(error)->status : CONEY_OK;
    one->broker_code = error ? cny_error_view(error)->broker_code : 0;
    atomic_fetch_add(&one->times, 1);
}

static void on_change(void *self)
{
    (void)self;
    atomic_fetch_add(&changes, 1);
}

static cny_settlement on_message(void *self, coney_message *message, cny_waiter **told)
{
    (void)self;
    if (waiter)
        cny_waiter_tell_later(waiter, NULL, told);
    atomic_fetch_add(&taken, 1);
    return strcmp(coney_message_body(message), "reject") == 0 ? CNY_SETTLE_REJECT : CNY_SETTLE_ACK;
}

static const cny_watcher watcher = {.on_change = on_change, .on_message = on_message};

static void close_channel(void)
{
    if (channel)
        cny_channel_unwatch(channel);
    cny_channel_close(channel);
    cny_channel_unref(channel);
    channel = NULL;
}

static int teardown(void **state)
{
    cny_alloc_fail_after(-1);
    close_channel();
    cny_waiter_unref(waiter);
    waiter = NULL;
    for (int i = 0; i < COUNT; i++) {
        assert_true(atomic_load(&outcomes[i].times) <= 1);
        atomic_store(&outcomes[i].times, 0);
    }
    atomic_store(&changes, 0);
    atomic_store(&taken, 0);
    return fault_teardown(state);
}

static coney_status subscribe_by(bool no_ack, const coney_queue *temporary, int64_t unblocked_by)
{
    const cny_confirm_options confirms = {.max_unconfirmed = 100, .timeout_ms = -1};
    const cny_subscription what = {.consume = {.queue = "replies", .no_ack = no_ack},
                                   .confirms = &confirms,
                                   .temporary = temporary,
                                   .unblocked_by = unblocked_by};
    return cny_channel_subscribe(&channel, fault.factory, CONEY_PUBLISHING, &what, &watcher);
}

static coney_status subscribe(bool no_ack, const coney_queue *temporary)
{
    return subscribe_by(no_ack, temporary, 0);
}

static void connect_with(cny_script *script)
{
    fault_start(script, NULL);
    fault_expect_status(CONEY_OK, cny_factory_wait_open(fault.factory, CONEY_PUBLISHING, cny_deadline(LONG_MS)));
}

static void consume_with(cny_script *script, bool no_ack)
{
    connect_with(script);
    fault_expect_status(CONEY_OK, subscribe(no_ack, NULL));
    fault_wait_until(cny_channel_is_consuming(channel));
}

static coney_status send_to(int index, const char *exchange)
{
    coney_message *message = fault_message("request");
    const cny_publish publish = {.exchange = exchange,
                                 .routing_key = "key",
                                 .message = message,
                                 .mandatory = true,
                                 .on_outcome = on_outcome,
                                 .user = &outcomes[index]};
    coney_status status = cny_channel_publish(channel, &publish, cny_deadline(LONG_MS));
    coney_message_unref(message);
    return status;
}

static void expect_outcome(int index, coney_status status)
{
    fault_wait_until(atomic_load(&outcomes[index].times) > 0);
    assert_int_equal(atomic_load(&outcomes[index].times), 1);
    assert_int_equal(outcomes[index].status, status);
}

/* ---- how it begins ---- */

static void answer_when_all_is_there(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    amqp_channel_t number = cny_peer_expect(peer, AMQP_CHANNEL_OPEN_METHOD)->channel;
    cny_peer_expect(peer, AMQP_BASIC_QOS_METHOD);
    cny_peer_expect(peer, AMQP_CONFIRM_SELECT_METHOD);
    const amqp_queue_declare_t *declare = cny_peer_expect(peer, AMQP_QUEUE_DECLARE_METHOD)->args;
    cny_peer_check(peer, declare->exclusive && declare->auto_delete && !declare->durable && !declare->passive);
    cny_peer_expect(peer, AMQP_BASIC_CONSUME_METHOD);
    amqp_queue_declare_ok_t declared = {.queue = amqp_cstring_bytes("replies")};
    amqp_basic_consume_ok_t consuming = {.consumer_tag = amqp_cstring_bytes("tag")};
    cny_peer_send(peer, number, AMQP_CHANNEL_OPEN_OK_METHOD, &(amqp_channel_open_ok_t){0});
    cny_peer_send(peer, number, AMQP_BASIC_QOS_OK_METHOD, NULL);
    cny_peer_send(peer, number, AMQP_CONFIRM_SELECT_OK_METHOD, NULL);
    cny_peer_send(peer, number, AMQP_QUEUE_DECLARE_OK_METHOD, &declared);
    cny_peer_send(peer, number, AMQP_BASIC_CONSUME_OK_METHOD, &consuming);
}

static void test_everything_that_it_needs_goes_out_together(void **state)
{
    (void)state;
    connect_with(answer_when_all_is_there);
    fault_expect_status(CONEY_OK, subscribe(true, &replies));
    fault_wait_until(cny_channel_is_consuming(channel));
    cny_broker_wait(fault.broker, 1);
}

static void refuse_the_queue(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t number = cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD)->channel;
    cny_peer_close_channel_over(peer, AMQP_QUEUE_DECLARE_METHOD, number, 403, "ACCESS_REFUSED - no queues for you");
}

static void test_refused_queue_is_told_as_the_end_of_consuming(void **state)
{
    (void)state;
    cny_error *reason = NULL;
    connect_with(refuse_the_queue);
    fault_expect_status(CONEY_OK, subscribe(true, &replies));
    fault_wait_until(!cny_channel_alive(channel));
    assert_int_equal(cny_channel_feed(channel, &reason), CNY_FEED_ENDED);
    fault_expect_status(CONEY_E_ACCESS_REFUSED, cny_error_raise(reason));
    cny_error_unref(reason);
    fault_expect_text("no queues for you");
    assert_true(atomic_load(&changes) > 0);
}

static void stay_silent_until_go(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    cny_peer_stall_until_go(peer);
}

static void test_want_of_memory_leaves_no_channel(void **state)
{
    (void)state;
    int successes = 0;
    connect_with(stay_silent_until_go);
    coney_status status;
    do {
        cny_alloc_fail_after(successes++);
        status = subscribe(true, &replies);
        cny_alloc_fail_after(-1);
        assert_true(status == CONEY_OK || status == CONEY_E_NO_MEMORY);
    } while (status != CONEY_OK);
    assert_true(successes > 2);
    assert_int_equal(channel->number, 1);
    cny_broker_go(fault.broker);
    fault_wait_until(cny_channel_is_consuming(channel));
}

/* ---- while the broker holds back publishers, and does not read what they say ---- */

static void hold_back_publishers_between_two_goes(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_wait_go(peer); /* the connection is open then */
    cny_peer_block(peer, "low on memory");
    cny_peer_wait_go(peer);
    cny_peer_block(peer, NULL);
}

static void connect_to_a_broker_that_holds_back(void)
{
    connect_with(hold_back_publishers_between_two_goes);
    cny_broker_go(fault.broker);
    fault_wait_until(cny_factory_check_blocked(fault.factory) != CONEY_OK);
}

static void test_no_channel_is_opened_while_the_broker_holds_back_publishers(void **state)
{
    (void)state;
    connect_to_a_broker_that_holds_back();
    fault_expect_status(CONEY_E_BLOCKED, subscribe(true, NULL));
    fault_expect_text("low on memory");
    fault_expect_status(CONEY_E_BLOCKED, subscribe_by(true, NULL, cny_deadline(SHORT_MS)));
    cny_broker_go(fault.broker);
    fault_wait_until(cny_factory_check_blocked(fault.factory) == CONEY_OK);
    fault_expect_status(CONEY_OK, subscribe(true, NULL));
    fault_wait_until(cny_channel_is_consuming(channel));
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CHANNEL_OPEN_METHOD), 1);
}

static coney_status subscribe_patiently(void)
{
    return subscribe_by(true, NULL, cny_deadline(LONG_MS));
}

static void test_subscribing_waits_until_the_broker_takes_messages(void **state)
{
    (void)state;
    connect_to_a_broker_that_holds_back();
    fault_in_background(subscribe_patiently);
    assert_false(fault_background_is_over());
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    fault_wait_until(cny_channel_is_consuming(channel));
}

/* A service asks again and again while the broker holds back publishers. */
static void test_requests_that_fail_meanwhile_take_no_channels(void **state)
{
    (void)state;
    connect_to_a_broker_that_holds_back();
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_FAIL});
    coney_message *request = fault_message("request"), *reply;
    for (int i = 0; i < COUNT; i++) {
        fault_expect_status(CONEY_E_BLOCKED,
                            coney_template_send_and_receive(fault.sender, &reply, "service", request, NULL));
        fault_expect_text("low on memory");
    }
    coney_message_unref(request);
    cny_broker_go(fault.broker);
    fault_wait_until(cny_factory_check_blocked(fault.factory) == CONEY_OK);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CHANNEL_OPEN_METHOD), 0);
}

/* ---- what comes ---- */

static void deliver_three(cny_peer *peer)
{
    amqp_channel_t number = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, number, 1, "ack");
    cny_peer_deliver(peer, number, 2, "reject");
    cny_peer_deliver(peer, number, 3, "ack");
}

static void deliver_and_expect_nothing(cny_peer *peer, void *user)
{
    (void)user;
    deliver_three(peer);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void test_watcher_takes_messages_and_settles_nothing_if_none_is_needed(void **state)
{
    (void)state;
    consume_with(deliver_and_expect_nothing, true);
    fault_wait_until(atomic_load(&taken) == COUNT);
    assert_false(cny_channel_has_deliveries(channel));
    close_channel();
    cny_broker_wait(fault.broker, 1);
}

static void deliver_and_expect_settlements(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t number = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, number, 1, "ack");
    fault_expect_ack(peer, 1);
    cny_peer_deliver(peer, number, 2, "reject");
    fault_expect_reject(peer, 2, false);
    cny_peer_deliver(peer, number, 3, "ack");
    fault_expect_ack(peer, 3);
}

static void test_watcher_settles_each_message(void **state)
{
    (void)state;
    consume_with(deliver_and_expect_settlements, false);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(atomic_load(&taken), COUNT);
    assert_false(cny_channel_has_deliveries(channel));
}

static void deliver_on_go(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t number = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer);
    cny_peer_deliver(peer, number, 1, "ack");
}

static void test_thread_that_a_message_tells_is_woken(void **state)
{
    (void)state;
    waiter = cny_waiter_new();
    assert_non_null(waiter);
    consume_with(deliver_on_go, true);
    assert_false(cny_waiter_wait(waiter, cny_deadline(0)));
    cny_broker_go(fault.broker);
    assert_true(cny_waiter_wait(waiter, cny_deadline(LONG_MS)));
    assert_null(cny_waiter_outcome(waiter));
}

static void answer_a_request(cny_peer *peer, void *user)
{
    (void)user;
    const cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t number = publish->channel;
    uint64_t sequence = publish->number;
    cny_peer_deliver(peer, number, 1, "ack"); /* the reply may be faster than the confirm */
    cny_peer_ack(peer, number, sequence, false);
}

static void test_channel_sends_and_consumes_at_the_same_time(void **state)
{
    (void)state;
    consume_with(answer_a_request, true);
    fault_expect_status(CONEY_OK, send_to(0, "exchange"));
    expect_outcome(0, CONEY_OK);
    assert_int_equal(atomic_load(&taken), 1);
}

/* ---- what becomes of what is sent ---- */

static void nack_a_request(cny_peer *peer, void *user)
{
    (void)user;
    const cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_nack(peer, publish->channel, publish->number, false);
}

static void test_nack_is_the_outcome(void **state)
{
    (void)state;
    consume_with(nack_a_request, true);
    fault_expect_status(CONEY_OK, send_to(0, "exchange"));
    expect_outcome(0, CONEY_E_NACKED);
}

static void return_a_request(cny_peer *peer, void *user)
{
    (void)user;
    const cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t number = publish->channel;
    uint64_t sequence = publish->number;
    cny_peer_return(peer, publish, 312, "NO_ROUTE");
    cny_peer_ack(peer, number, sequence, false);
}

static void test_return_is_the_outcome(void **state)
{
    (void)state;
    consume_with(return_a_request, true);
    fault_expect_status(CONEY_OK, send_to(0, "exchange"));
    expect_outcome(0, CONEY_E_RETURNED);
    assert_int_equal(outcomes[0].broker_code, 312);
}

static void take_two(cny_peer *peer, amqp_channel_t *number)
{
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    *number = cny_peer_expect(peer, AMQP_BASIC_PUBLISH_METHOD)->channel;
}

static void refuse_the_second(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t number;
    take_two(peer, &number);
    cny_peer_close_channel_over(peer, AMQP_BASIC_PUBLISH_METHOD, number, 404,
                                "NOT_FOUND - no exchange 'missing' in vhost '/'");
}

static void test_refusal_is_the_outcome_of_the_message_that_it_names(void **state)
{
    (void)state;
    consume_with(refuse_the_second, true);
    fault_expect_status(CONEY_OK, send_to(0, "exchange"));
    fault_expect_status(CONEY_OK, send_to(1, "missing"));
    expect_outcome(0, CONEY_E_LOST);
    expect_outcome(1, CONEY_E_NOT_FOUND);
    assert_int_equal(outcomes[1].broker_code, 404);
    assert_false(cny_channel_is_consuming(channel));
}

static void hang_up_on_two(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t number;
    if (cny_peer_number(peer) > 0)
        return;
    take_two(peer, &number);
    cny_peer_ack(peer, number, 1, false);
    cny_peer_hang_up(peer);
}

static void test_loss_of_the_connection_is_the_outcome_of_what_is_unconfirmed(void **state)
{
    (void)state;
    consume_with(hang_up_on_two, true);
    fault_expect_status(CONEY_OK, send_to(0, "exchange"));
    fault_expect_status(CONEY_OK, send_to(1, "exchange"));
    expect_outcome(0, CONEY_OK);
    expect_outcome(1, CONEY_E_LOST);
}

static void hold_a_request(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void test_close_is_the_outcome_of_what_is_unconfirmed(void **state)
{
    (void)state;
    consume_with(hold_a_request, true);
    fault_expect_status(CONEY_OK, send_to(0, "exchange"));
    cny_channel_close(channel);
    assert_int_equal(atomic_load(&outcomes[0].times), 1); /* when the call returns */
    assert_int_equal(outcomes[0].status, CONEY_E_CLOSED);
}

static void test_message_that_is_not_accepted_has_no_outcome(void **state)
{
    (void)state;
    consume_with(NULL, true);
    cny_channel_close(channel);
    fault_expect_status(CONEY_E_STALE, send_to(0, "exchange"));
    assert_int_equal(atomic_load(&outcomes[0].times), 0);
}

#define channel_test(function) cmocka_unit_test_teardown(function, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        channel_test(test_everything_that_it_needs_goes_out_together),
        channel_test(test_refused_queue_is_told_as_the_end_of_consuming),
        channel_test(test_want_of_memory_leaves_no_channel),
        channel_test(test_no_channel_is_opened_while_the_broker_holds_back_publishers),
        channel_test(test_subscribing_waits_until_the_broker_takes_messages),
        channel_test(test_requests_that_fail_meanwhile_take_no_channels),
        channel_test(test_watcher_takes_messages_and_settles_nothing_if_none_is_needed),
        channel_test(test_watcher_settles_each_message),
        channel_test(test_thread_that_a_message_tells_is_woken),
        channel_test(test_channel_sends_and_consumes_at_the_same_time),
        channel_test(test_nack_is_the_outcome),
        channel_test(test_return_is_the_outcome),
        channel_test(test_refusal_is_the_outcome_of_the_message_that_it_names),
        channel_test(test_loss_of_the_connection_is_the_outcome_of_what_is_unconfirmed),
        channel_test(test_close_is_the_outcome_of_what_is_unconfirmed),
        channel_test(test_message_that_is_not_accepted_has_no_outcome),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
