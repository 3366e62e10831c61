/* SPDX-License-Identifier: MIT */
/* A consumer begins with a small prefetch and subscribes anew, on the same channel, when it knows how large its
 * messages are: what it says to the broker, in which order, and what becomes of it when the broker does not go
 * along. */
#include "support/fault_consumer.h"
#include "support/test_support.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>

enum { FIRST = 16, USUAL = 250, SOON_MS = 10 };

/* Its queue must be known not to have a single active consumer. */
static void listen_to_declared(cny_script *script, const coney_container_options *options, coney_listener listener)
{
    static const coney_queue orders = {.name = "orders"};
    listener.declare = &orders;
    fault_listen(script, options, listener);
}

/* Until the script has returned. */
static void play(cny_script *script, coney_listener listener)
{
    listen_to_declared(script, NULL, listener);
    cny_broker_wait(fault.broker, 1);
}

/* ---- what scripts expect ---- */

static void expect_qos(cny_peer *peer, int prefetch)
{
    cny_peer_method *method = cny_peer_expect(peer, AMQP_BASIC_QOS_METHOD);
    const amqp_basic_qos_t *qos = method->args;
    cny_peer_check(peer, qos->prefetch_count == prefetch && !qos->global);
    cny_peer_answer(peer, method);
}

static bool is_text(amqp_bytes_t bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.bytes, text, bytes.len) == 0;
}

static void expect_consume(cny_peer *peer, const char *tag)
{
    cny_peer_method *method = cny_peer_expect(peer, AMQP_BASIC_CONSUME_METHOD);
    const amqp_basic_consume_t *consume = method->args;
    cny_peer_check(peer, is_text(consume->consumer_tag, tag) && is_text(consume->queue, "orders"));
    cny_peer_answer(peer, method);
}

static void expect_cancel(cny_peer *peer, const char *tag)
{
    cny_peer_method *method = cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_check(peer, is_text(((const amqp_basic_cancel_t *)method->args)->consumer_tag, tag));
    cny_peer_answer(peer, method);
}

/* The new consumer begins before the old one ends, or a queue that is deleted with its last consumer would go. */
static void expect_renewal(cny_peer *peer, int prefetch, const char *tag, const char *old_tag)
{
    expect_qos(peer, prefetch);
    expect_consume(peer, tag);
    expect_cancel(peer, old_tag);
}

static amqp_channel_t begin_with(cny_peer *peer, int prefetch)
{
    cny_peer_method *qos = cny_peer_serve_until(peer, AMQP_BASIC_QOS_METHOD);
    cny_peer_check(peer, ((amqp_basic_qos_t *)qos->args)->prefetch_count == prefetch);
    cny_peer_answer(peer, qos);
    return cny_peer_serve_until_consumer(peer);
}

static void deliver_together(cny_peer *peer, amqp_channel_t channel, uint64_t from, uint64_t to, const char *text)
{
    cny_peer_cork(peer, true);
    for (uint64_t tag = from; tag <= to; tag++)
        cny_peer_deliver(peer, channel, tag, text);
    cny_peer_cork(peer, false);
}

/* Of one message each, or of several. */
static void expect_acks_up_to(cny_peer *peer, uint64_t from, uint64_t to)
{
    while (from <= to) {
        const amqp_basic_ack_t *ack = cny_peer_expect(peer, AMQP_BASIC_ACK_METHOD)->args;
        cny_peer_check(peer, ack->multiple ? ack->delivery_tag >= from : ack->delivery_tag == from);
        from = ack->delivery_tag + 1;
    }
    cny_peer_check(peer, from == to + 1);
}

static void deliver_singly(cny_peer *peer, amqp_channel_t channel, uint64_t to)
{
    for (uint64_t tag = 1; tag <= to; tag++) {
        cny_peer_deliver(peer, channel, tag, "ack");
        fault_expect_ack(peer, tag);
    }
}

/* ---- growing ---- */

static void grow_from_a_backlog(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FIRST);
    deliver_together(peer, channel, 1, FIRST, "ack");
    expect_renewal(peer, USUAL, "orders~1", "orders");
    expect_acks_up_to(peer, 1, FIRST);
    deliver_together(peer, channel, FIRST + 1, FIRST + USUAL, "ack");
    expect_acks_up_to(peer, FIRST + 1, FIRST + USUAL);
}

static void test_consumer_subscribes_anew_before_it_acknowledges(void **state)
{
    (void)state;
    play(grow_from_a_backlog, (coney_listener){.consumer_tag = "orders"});
    assert_int_equal(fault_handler_calls(), FIRST + USUAL);
    fault_expect_status(CONEY_OK, coney_container_check(fault.container));
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
}

static char seen_tag[64];

static coney_outcome note_tag(coney_delivery *delivery, void *user)
{
    (void)user;
    snprintf(seen_tag, sizeof seen_tag, "%s", coney_delivery_consumer_tag(delivery));
    return CONEY_ACK;
}

static void test_program_sees_the_tag_that_it_asked_for(void **state)
{
    (void)state;
    play(grow_from_a_backlog, (coney_listener){.consumer_tag = "orders", .on_message = note_tag});
    assert_string_equal(seen_tag, "orders");
}

static void grow_with_a_tag_of_the_brokers(cny_peer *peer, void *user)
{
    (void)user;
    char first[64], second[64];
    amqp_channel_t channel = begin_with(peer, FIRST);
    snprintf(first, sizeof first, "amq.ctag-%u", channel);
    snprintf(second, sizeof second, "amq.ctag-%u~1", channel);
    deliver_together(peer, channel, 1, FIRST, "ack");
    expect_renewal(peer, USUAL, second, first);
    expect_acks_up_to(peer, 1, FIRST);
}

static void test_tag_that_the_broker_chose_serves_as_well(void **state)
{
    (void)state;
    play(grow_with_a_tag_of_the_brokers, (coney_listener){0});
}

/* No backlog, as far as the consumer can see: each message is acknowledged before the next one comes. So it waits a
 * little with an acknowledgement, and now there is one. */
static void grow_while_acknowledgements_are_held_back(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FIRST);
    deliver_singly(peer, channel, FIRST - 1);
    int64_t began = cny_now_ms();
    cny_peer_deliver(peer, channel, FIRST, "ack");
    deliver_together(peer, channel, FIRST + 1, 2 * FIRST - 1, "ack");
    if (cny_now_ms() - began >= SOON_MS) /* this machine was too busy for what is to be seen */
        return;
    expect_renewal(peer, USUAL, "orders~1", "orders");
    expect_acks_up_to(peer, FIRST, 2 * FIRST - 1);
}

static void test_acknowledgements_are_held_back_for_the_moment_to_come(void **state)
{
    (void)state;
    play(grow_while_acknowledgements_are_held_back, (coney_listener){.consumer_tag = "orders"});
}

static void deliver_one_after_another(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FIRST);
    for (uint64_t tag = 1; tag <= (uint64_t)20 * FIRST; tag++) {
        cny_peer_deliver(peer, channel, tag, tag % 10 == 0 ? "reject" : "ack");
        if (tag % 10 == 0)
            fault_expect_reject(peer, tag, false);
        else
            fault_expect_ack(peer, tag);
    }
}

static void test_what_is_held_back_is_written_although_nothing_more_comes(void **state)
{
    (void)state;
    play(deliver_one_after_another, (coney_listener){0});
}

/* The 16th message begins the holding back, and the stop comes before its end or after it. */
static void stop_while_acknowledgements_are_held_back(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FIRST);
    deliver_singly(peer, channel, FIRST);
}

static void test_stop_writes_what_is_held_back(void **state)
{
    (void)state;
    for (int mode = CONEY_STOP_DRAIN; mode <= CONEY_STOP_FINISH; mode++) {
        listen_to_declared(stop_while_acknowledgements_are_held_back, NULL, (coney_listener){0});
        fault_wait_for_calls(FIRST);
        fault_expect_status(CONEY_OK, coney_container_stop_with(fault.container, (coney_stop_mode)mode, 0));
        cny_broker_wait(fault.broker, 1);
        assert_int_equal(fault_teardown(state), 0);
    }
}

/* ---- who begins with what ---- */

static int begun_with;

static void note_first_prefetch(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *qos = cny_peer_serve_until(peer, AMQP_BASIC_QOS_METHOD);
    begun_with = ((amqp_basic_qos_t *)qos->args)->prefetch_count;
    cny_peer_answer(peer, qos);
    cny_peer_serve_until_consumer(peer);
}

static void expect_to_begin_with(int prefetch, coney_listener listener, size_t max_held_bytes)
{
    listen_to_declared(note_first_prefetch, &(coney_container_options){.max_held_bytes = max_held_bytes}, listener);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(begun_with, prefetch);
    assert_int_equal(fault_teardown(NULL), 0);
}

static void test_listener_that_cannot_change_has_its_prefetch_from_the_beginning(void **state)
{
    (void)state;
    expect_to_begin_with(USUAL, (coney_listener){.exclusive = true}, 0);
    expect_to_begin_with(1, (coney_listener){.prefetch = 1}, 0);
    expect_to_begin_with(USUAL, (coney_listener){0}, SIZE_MAX);
}

static void test_consumer_of_a_queue_that_nobody_declares_has_its_prefetch_from_the_beginning(void **state)
{
    (void)state;
    fault_listen(note_first_prefetch, NULL, (coney_listener){0});
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(begun_with, USUAL);
}

/* What is there was declared by others, who may have asked for a single active consumer. */
static void forbid_to_declare(cny_peer *peer, void *user)
{
    cny_peer_close_channel(peer, cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD)->channel, 403,
                           "ACCESS_REFUSED - access to queue 'orders' in vhost '/' refused for user 'guest'");
    note_first_prefetch(peer, user);
}

static void test_consumer_of_a_queue_that_is_there_but_not_as_declared_has_its_prefetch_from_the_beginning(void **state)
{
    (void)state;
    play(forbid_to_declare, (coney_listener){0});
    assert_int_equal(begun_with, USUAL);
}

static void test_first_prefetch_is_enough_for_what_belongs_together(void **state)
{
    (void)state;
    expect_to_begin_with(5, (coney_listener){.prefetch = 5}, 0);
    expect_to_begin_with(40, (coney_listener){.lanes = 40}, 0);
    expect_to_begin_with(50, (coney_listener){.ack_every = 50}, 0);
}

/* ---- too much ---- */

enum { LARGE = 100000, BOUND = 160000, FEW = 4 };

static char large[LARGE + 1];

/* It goes back before the acknowledgement that makes room for it, so that it comes again before anything else. */
static void expect_return(cny_peer *peer, uint64_t tag)
{
    const amqp_basic_nack_t *nack = cny_peer_expect(peer, AMQP_BASIC_NACK_METHOD)->args;
    cny_peer_check(peer, nack->delivery_tag == tag && nack->requeue && !nack->multiple);
}

static void deliver_more_than_fits(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FEW);
    deliver_together(peer, channel, 1, FEW, large);
    expect_renewal(peer, 1, "orders~1", "orders");
    expect_acks_up_to(peer, 1, FEW - 2);
    expect_return(peer, FEW);
    fault_expect_ack(peer, FEW - 1);
    cny_peer_deliver(peer, channel, FEW + 1, large);
    fault_expect_ack(peer, FEW + 1);
}

static coney_outcome hold_until_go(coney_delivery *delivery, void *user)
{
    atomic_bool *go = user;
    (void)delivery;
    while (!atomic_load(go))
        poll(NULL, 0, 1);
    return CONEY_ACK;
}

/* Until the broker has been told of the smaller prefetch. */
static void hold_large_messages(cny_script *script, coney_listener listener)
{
    static atomic_bool go;
    memset(large, 'x', LARGE);
    atomic_store(&go, false);
    listener.on_message = hold_until_go;
    listener.user = &go;
    listen_to_declared(script, &(coney_container_options){.max_held_bytes = BOUND}, listener);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CANCEL_METHOD) == 1);
    atomic_store(&go, true);
    cny_broker_wait(fault.broker, 1);
}

static void test_message_that_does_not_fit_goes_back_when_nothing_is_held(void **state)
{
    (void)state;
    hold_large_messages(deliver_more_than_fits, (coney_listener){.prefetch = FEW, .consumer_tag = "orders"});
}

/* A prefetch that does not change: what does not fit goes back all the same. */
static void deliver_more_than_fits_without_renewal(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FEW);
    cny_peer_wait_go(peer);
    deliver_together(peer, channel, 1, 2, large);
    expect_return(peer, 2);
    fault_expect_ack(peer, 1);
}

static void test_consumer_that_keeps_its_prefetch_gives_back_what_does_not_fit(void **state)
{
    (void)state;
    static atomic_bool go;
    memset(large, 'x', LARGE);
    atomic_store(&go, false);
    fault_listen(deliver_more_than_fits_without_renewal, &(coney_container_options){.max_held_bytes = BOUND},
                 (coney_listener){.prefetch = FEW, .on_message = hold_until_go, .user = &go});
    test_log_start(CONEY_LOG_WARN);
    cny_broker_go(fault.broker);
    fault_wait_until(test_log_has("are given back and come again"));
    atomic_store(&go, true);
    cny_broker_wait(fault.broker, 1);
    test_log_stop();
}

/* The first two are acknowledged together, and the third one, which has been skipped, must not be covered. */
static void deliver_more_than_fits_with_ack_every(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FEW);
    deliver_together(peer, channel, 1, FEW, large);
    cny_peer_deliver(peer, channel, FEW + 1, "small");
    bool is_back = false;
    for (uint64_t up_to = 0; up_to < FEW + 1;) {
        cny_peer_method *method = cny_peer_next(peer);
        if (method->id == AMQP_BASIC_NACK_METHOD) {
            cny_peer_check(peer, ((amqp_basic_nack_t *)method->args)->delivery_tag == FEW);
            is_back = true;
        } else if (method->id == AMQP_BASIC_ACK_METHOD) {
            const amqp_basic_ack_t *ack = method->args;
            up_to = ack->delivery_tag;
            cny_peer_check(peer, up_to < FEW || is_back);
        } else {
            cny_peer_answer(peer, method);
        }
    }
}

static void test_acknowledgement_of_several_does_not_cover_what_was_skipped(void **state)
{
    (void)state;
    hold_large_messages(deliver_more_than_fits_with_ack_every, (coney_listener){.prefetch = FEW, .ack_every = FEW});
}

/* ---- a broker that does not go along ---- */

static void serve_the_next(cny_peer *peer)
{
    amqp_channel_t channel = begin_with(peer, FIRST);
    cny_peer_deliver(peer, channel, 1, "ack");
    fault_expect_ack(peer, 1);
}

static void refuse_the_new_consumer(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FIRST);
    deliver_together(peer, channel, 1, FIRST, "ack");
    cny_peer_expect(peer, AMQP_BASIC_QOS_METHOD);
    cny_peer_expect(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
    serve_the_next(peer);
}

static void test_consumer_that_is_refused_anew_begins_again(void **state)
{
    (void)state;
    listen_to_declared(refuse_the_new_consumer, &(coney_container_options){.resubscribe_interval_ms = 50},
                       (coney_listener){0});
    cny_broker_wait(fault.broker, 1);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
}

/* As with consumer_max_per_channel = 1. Afterwards every consumer has its prefetch from the beginning. */
static void refuse_a_second_consumer(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0) {
        begin_with(peer, USUAL);
        return;
    }
    amqp_channel_t channel = begin_with(peer, FIRST);
    deliver_together(peer, channel, 1, FIRST, "ack");
    cny_peer_expect(peer, AMQP_BASIC_QOS_METHOD);
    cny_peer_expect(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_close_connection_over(peer, AMQP_BASIC_CONSUME_METHOD, 530,
                                   "NOT_ALLOWED - reached maximum (1) of consumers per channel");
}

static void test_broker_that_allows_no_second_consumer_is_asked_once(void **state)
{
    (void)state;
    listen_to_declared(refuse_a_second_consumer, NULL, (coney_listener){0});
    cny_broker_wait(fault.broker, 2);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
}

static void cancel_after_renewal(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FIRST);
    deliver_together(peer, channel, 1, FIRST, "ack");
    expect_renewal(peer, USUAL, "orders~1", "orders");
    expect_acks_up_to(peer, 1, FIRST);
    cny_peer_cancel_consumer(peer, channel);
    const amqp_basic_cancel_t *answer = cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD)->args;
    cny_peer_check(peer, is_text(answer->consumer_tag, "orders~1"));
    serve_the_next(peer);
}

static void test_renewed_consumer_that_the_broker_cancels_begins_again(void **state)
{
    (void)state;
    listen_to_declared(cancel_after_renewal, &(coney_container_options){.resubscribe_interval_ms = 50},
                       (coney_listener){.consumer_tag = "orders"});
    cny_broker_wait(fault.broker, 1);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
}

/* The stop ends the new consumer although the broker has answered nothing yet. */
static void stop_during_renewal(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = begin_with(peer, FIRST);
    deliver_together(peer, channel, 1, FIRST, "ack");
    cny_peer_expect(peer, AMQP_BASIC_QOS_METHOD);
    cny_peer_expect(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD);
    expect_acks_up_to(peer, 1, FIRST);
    cny_peer_method *cancel = cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_check(peer, is_text(((const amqp_basic_cancel_t *)cancel->args)->consumer_tag, "orders~1"));
    cny_peer_send(peer, channel, AMQP_BASIC_QOS_OK_METHOD, NULL);
    cny_peer_send(peer, channel, AMQP_BASIC_CONSUME_OK_METHOD,
                  &(amqp_basic_consume_ok_t){amqp_cstring_bytes("orders~1")});
    cny_peer_send(peer, channel, AMQP_BASIC_CANCEL_OK_METHOD, &(amqp_basic_cancel_ok_t){amqp_cstring_bytes("orders")});
    cny_peer_deliver(peer, channel, FIRST + 1, "ack");
    fault_expect_ack(peer, FIRST + 1);
    cny_peer_send(peer, channel, AMQP_BASIC_CANCEL_OK_METHOD,
                  &(amqp_basic_cancel_ok_t){amqp_cstring_bytes("orders~1")});
}

static void test_stop_during_a_renewal_waits_for_the_end_of_the_new_consumer(void **state)
{
    (void)state;
    listen_to_declared(stop_during_renewal, NULL, (coney_listener){.consumer_tag = "orders"});
    fault_wait_for_calls(FIRST);
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), FIRST + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_consumer_subscribes_anew_before_it_acknowledges),
        fault_test(test_program_sees_the_tag_that_it_asked_for),
        fault_test(test_tag_that_the_broker_chose_serves_as_well),
        fault_test(test_acknowledgements_are_held_back_for_the_moment_to_come),
        fault_test(test_what_is_held_back_is_written_although_nothing_more_comes),
        fault_test(test_stop_writes_what_is_held_back),
        fault_test(test_listener_that_cannot_change_has_its_prefetch_from_the_beginning),
        fault_test(test_consumer_of_a_queue_that_nobody_declares_has_its_prefetch_from_the_beginning),
        fault_test(test_consumer_of_a_queue_that_is_there_but_not_as_declared_has_its_prefetch_from_the_beginning),
        fault_test(test_first_prefetch_is_enough_for_what_belongs_together),
        fault_test(test_message_that_does_not_fit_goes_back_when_nothing_is_held),
        fault_test(test_consumer_that_keeps_its_prefetch_gives_back_what_does_not_fit),
        fault_test(test_acknowledgement_of_several_does_not_cover_what_was_skipped),
        fault_test(test_consumer_that_is_refused_anew_begins_again),
        fault_test(test_broker_that_allows_no_second_consumer_is_asked_once),
        fault_test(test_renewed_consumer_that_the_broker_cancels_begins_again),
        fault_test(test_stop_during_a_renewal_waits_for_the_end_of_the_new_consumer),
    };
    return cmocka_run_group_tests_name("renewal", tests, NULL, NULL);
}
