/* SPDX-License-Identifier: MIT */
/* basic.cancel from a broker whose queue is there, as RabbitMQ 4.3 says it to a consumer that acknowledges too late:
 * the client cancels, too, looks for the queue, gives everything back and begins anew. Until it knows whether the queue
 * is there it begins and settles nothing. */
#include "support/fault_cancel.h"

enum { SOON_MS = 300 };

static void time_out(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    cny_peer_answer(peer, fault_expect_question(peer, channel));
    fault_expect_everything_back(peer, channel);
    fault_serve_the_next(peer);
}

/* --- the queue is there --- */

static void consume_until_timed_out(cny_script *script)
{
    fault_consume(script, NULL, 1);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_for_reason(FAULT_EXISTING);
}

static void test_nothing_that_was_prefetched_is_begun(void **state)
{
    (void)state;
    consume_until_timed_out(time_out);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handled("prefetched"), 0);
    assert_int_equal(fault_handled("next"), 1);
}

static void test_handler_at_work_is_stale_and_not_acknowledged(void **state)
{
    (void)state;
    consume_until_timed_out(time_out);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    fault_wait_until(fault_statistics().acknowledged == 1);
    assert_int_equal(fault_statistics().stale, 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).stale_acknowledgements, 1);
}

static void test_reason_tells_what_to_change(void **state)
{
    (void)state;
    consume_until_timed_out(time_out);
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, coney_container_check(fault.container));
    fault_expect_text("'orders'");
    fault_expect_text("delivery acknowledgement");
    fault_expect_text("lower retry.first_delay_ms, retry.max_delay_ms, retry.max_attempts or prefetch");
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
}

/* A queue that is stuck does not answer; one that is gone is missed at once. */
static void never_answer_the_question(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    fault_expect_question(peer, channel);
    fault_expect_everything_back(peer, channel);
    fault_serve_the_next(peer);
}

static void test_queue_that_does_not_answer_is_there(void **state)
{
    (void)state;
    int64_t began = cny_now_ms();
    consume_until_timed_out(never_answer_the_question);
    test_expect_elapsed(began, 5000, 5000 + 1000);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handled("prefetched"), 0);
}

static void may_not_look(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    amqp_channel_t asking = fault_expect_question(peer, channel)->channel;
    cny_peer_send(peer, asking, AMQP_CHANNEL_CLOSE_METHOD,
                  &(amqp_channel_close_t){403, amqp_cstring_bytes("ACCESS_REFUSED - none for user 'guest'"), 0, 0});
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_OK_METHOD);
    fault_expect_everything_back(peer, channel);
    fault_serve_the_next(peer);
}

static void test_queue_that_may_not_be_looked_at_is_there(void **state)
{
    (void)state;
    consume_until_timed_out(may_not_look);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handled("prefetched"), 0);
}

/* --- a queue that is being deleted answers, without messages and consumers --- */

static void find_it_empty_then_missing(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t asking = fault_expect_question(peer, fault_deliver_then_time_out(peer))->channel;
    fault_find_queue(peer, asking, 0);
    cny_peer_check(peer, cny_peer_expect(peer, AMQP_QUEUE_DECLARE_METHOD)->channel == asking);
    cny_peer_close_channel(peer, asking, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
    fault_expect_ack(peer, 1);
    fault_expect_ack(peer, 2);
    fault_serve_the_next(peer);
}

static void test_queue_that_is_being_deleted_is_gone(void **state)
{
    (void)state;
    fault_consume(find_it_empty_then_missing, NULL, 1);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_for_reason("404 NOT_FOUND");
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handled("prefetched"), 1);
}

static void find_it_empty_each_time(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    cny_peer_method *method = fault_expect_question(peer, channel);
    amqp_channel_t asking = method->channel;
    for (; method->id == AMQP_QUEUE_DECLARE_METHOD; method = cny_peer_next(peer))
        fault_find_queue(peer, asking, 0);
    cny_peer_check(peer, method->id == AMQP_BASIC_NACK_METHOD && method->channel == channel);
}

static void test_queue_that_stays_empty_is_there(void **state)
{
    (void)state;
    int64_t began = cny_now_ms();
    consume_until_timed_out(find_it_empty_each_time);
    test_expect_elapsed(began, 1000, 1000 + 500);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handled("prefetched"), 0);
}

/* --- while the client asks --- */

static void answer_late(cny_peer *peer, bool is_there)
{
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    cny_peer_method declare = *fault_expect_question(peer, channel);
    cny_peer_check(peer, !cny_peer_hears(peer, SOON_MS)); /* the handler has returned, and nothing is said */
    cny_peer_check(peer, fault_handler_calls() == 1);
    if (!is_there) {
        cny_peer_close_channel(peer, declare.channel, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
        fault_expect_ack(peer, 1);
        fault_expect_ack(peer, 2);
    } else {
        fault_find_queue(peer, declare.channel, 1);
        fault_expect_everything_back(peer, channel);
    }
    fault_serve_the_next(peer);
}

static void find_it_missing_late(cny_peer *peer, void *user)
{
    (void)user;
    answer_late(peer, false);
}

static void find_it_late(cny_peer *peer, void *user)
{
    (void)user;
    answer_late(peer, true);
}

static void let_the_handler_return_meanwhile(cny_script *script)
{
    fault_consume(script, NULL, 1);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_for_reason(FAULT_IN_QUESTION);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
}

static void test_outcome_meanwhile_is_acknowledged_if_the_queue_is_gone(void **state)
{
    (void)state;
    let_the_handler_return_meanwhile(find_it_missing_late);
    fault_wait_until(fault_statistics().acknowledged == 3);
    assert_int_equal(fault_statistics().stale, 0);
}

static void test_outcome_meanwhile_is_stale_if_the_queue_is_there(void **state)
{
    (void)state;
    let_the_handler_return_meanwhile(find_it_late);
    fault_wait_until(fault_statistics().acknowledged == 1);
    assert_int_equal(fault_statistics().stale, 1);
    assert_int_equal(fault_handled("prefetched"), 0);
}

static void find_it_missing_with_collected_acknowledgements(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "ack");
    cny_peer_deliver(peer, channel, 2, "hold");
    cny_peer_wait_go(peer);
    cny_peer_time_out_consumer(peer, channel);
    amqp_channel_t asking = fault_expect_question(peer, channel)->channel;
    cny_peer_check(peer, !cny_peer_hears(peer, 2 * SOON_MS));
    cny_peer_close_channel(peer, asking, 404, "NOT_FOUND - no queue 'orders' in vhost '/'");
    fault_expect_ack_up_to(peer, 2);
}

static void test_collected_acknowledgements_go_out_if_the_queue_is_gone(void **state)
{
    (void)state;
    fault_listen(find_it_missing_with_collected_acknowledgements, NULL,
                 (coney_listener){.ack_every = 10, .ack_after_ms = SOON_MS});
    fault_wait_for_calls(2);
    cny_broker_go(fault.broker);
    fault_wait_for_reason(FAULT_IN_QUESTION);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_statistics().acknowledged, 2);
    assert_int_equal(fault_info(CONEY_CONSUMING).stale_acknowledgements, 0);
}

static void hang_up_instead_of_an_answer(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0) {
        fault_serve_the_next(peer);
        return;
    }
    fault_expect_question(peer, fault_deliver_then_time_out(peer));
    cny_peer_hang_up(peer);
}

static void test_loss_of_the_connection_meanwhile_is_a_loss(void **state)
{
    (void)state;
    fault_consume(hang_up_instead_of_an_answer, NULL, 1);
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_until(coney_container_check(fault.container) == CONEY_E_LOST);
    fault_let_go();
    fault_wait_for_calls(2);
    assert_int_equal(fault_handled("next"), 1);
}

/* --- no channel is left on which the client could ask --- */

static void time_out_on_the_only_channel(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = fault_deliver_then_time_out(peer);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD));
    fault_expect_everything_back(peer, channel);
    fault_serve_the_next(peer);
}

static void test_queue_that_cannot_be_asked_for_is_there(void **state)
{
    (void)state;
    fault_start_with(&(cny_broker_options){.script = time_out_on_the_only_channel, .channel_max = 1}, NULL);
    fault_use_listener(NULL, (coney_listener){0});
    fault_wait_for_calls(1);
    cny_broker_go(fault.broker);
    fault_wait_for_reason("cannot be asked");
    assert_int_equal(coney_container_check(fault.container), CONEY_E_LIMIT);
    fault_let_go();
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handled("prefetched"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_nothing_that_was_prefetched_is_begun),
        fault_test(test_handler_at_work_is_stale_and_not_acknowledged),
        fault_test(test_reason_tells_what_to_change),
        fault_test(test_queue_that_does_not_answer_is_there),
        fault_test(test_queue_that_may_not_be_looked_at_is_there),
        fault_test(test_queue_that_is_being_deleted_is_gone),
        fault_test(test_queue_that_stays_empty_is_there),
        fault_test(test_outcome_meanwhile_is_acknowledged_if_the_queue_is_gone),
        fault_test(test_outcome_meanwhile_is_stale_if_the_queue_is_there),
        fault_test(test_collected_acknowledgements_go_out_if_the_queue_is_gone),
        fault_test(test_loss_of_the_connection_meanwhile_is_a_loss),
        fault_test(test_queue_that_cannot_be_asked_for_is_there),
    };
    return cmocka_run_group_tests_name("cancel of a consumer whose queue is there", tests, NULL, NULL);
}
