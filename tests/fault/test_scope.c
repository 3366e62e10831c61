/* SPDX-License-Identifier: MIT */
/* Scopes over a broker that is silent, refuses or goes away: the scope ends, says why and what became of the
 * transaction, and never goes on over another channel. */
#include "support/fault_consumer.h"

#include <stdatomic.h>

enum { LONG_MS = 10000, SHORT_MS = 300 };

static coney_scope *scope;

static int free_scope(void **state)
{
    coney_scope_free(scope);
    scope = NULL;
    return fault_teardown(state);
}

#define scope_test(function) cmocka_unit_test_teardown(function, free_scope)

static coney_status open_scope(coney_scope_mode mode, int timeout_ms)
{
    return coney_scope_new(&scope, fault.sender, &(coney_scope_options){.mode = mode, .timeout_ms = timeout_ms});
}

static void start(cny_script *script, coney_scope_mode mode, int timeout_ms)
{
    fault_start(script, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, open_scope(mode, timeout_ms));
}

static coney_status send(const char *text)
{
    coney_message *message = fault_message(text);
    coney_status status = coney_scope_send(scope, "key", message, NULL);
    coney_message_unref(message);
    return status;
}

static void send_three(void)
{
    for (int i = 0; i < 3; i++)
        fault_expect_status(CONEY_OK, send("hello"));
}

static amqp_channel_t serve_until(cny_peer *peer, amqp_method_number_t id)
{
    return cny_peer_serve_until(peer, id)->channel;
}

static void serve_three(cny_peer *peer)
{
    for (int i = 0; i < 3; i++)
        serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
}

/* ---- limits ---- */

static void confirm_two_when_told(cny_peer *peer, void *user)
{
    (void)user;
    serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t channel = serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, channel, 2, true);
}

static void start_with_room_for_two(coney_flow flow, int timeout_ms)
{
    fault_start(confirm_two_when_told, NULL);
    fault_use_template(&(coney_template_options){.max_unconfirmed = 2, .flow = flow});
    fault_expect_status(CONEY_OK, open_scope(CONEY_SCOPE_CONFIRMED, timeout_ms));
    for (int i = 0; i < 2; i++)
        fault_expect_status(CONEY_OK, send("hello"));
}

static void expect_the_scope_to_go_on(void)
{
    fault_expect_text("max_unconfirmed 2");
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, coney_scope_wait_for_confirms(scope, LONG_MS));
    fault_expect_status(CONEY_OK, send("hello"));
    fault_expect_status(CONEY_OK, coney_scope_wait_for_confirms(scope, LONG_MS));
}

static void test_scope_without_room_waits_to_its_deadline_and_goes_on(void **state)
{
    (void)state;
    start_with_room_for_two(CONEY_FLOW_WAIT, SHORT_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LIMIT, send("hello"));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    expect_the_scope_to_go_on();
}

static void test_scope_without_room_fails_at_once_if_the_template_does(void **state)
{
    (void)state;
    start_with_room_for_two(CONEY_FLOW_FAIL, LONG_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LIMIT, send("hello"));
    test_expect_elapsed(began, 0, 0);
    expect_the_scope_to_go_on();
}

static void block_after_the_first(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_block(peer, "low on memory");
    cny_peer_stall_until_go(peer);
    cny_peer_block(peer, NULL);
}

static void test_scope_while_blocked_tells_so_and_its_commit_is_rolled_back_at_the_deadline(void **state)
{
    (void)state;
    start(block_after_the_first, CONEY_SCOPE_TRANSACTED, SHORT_MS);
    fault_expect_status(CONEY_OK, send("hello"));
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
    fault_expect_status(CONEY_E_BLOCKED, send("hello"));
    fault_expect_status(CONEY_E_TIMEOUT, coney_scope_commit(scope));
    fault_expect_text("low on memory");
    cny_broker_go(fault.broker);
}

/* ---- what is counted ---- */

static void test_messages_of_a_scope_are_counted_when_it_is_freed(void **state)
{
    (void)state;
    coney_send_statistics counted;
    start(NULL, CONEY_SCOPE_CONFIRMED, LONG_MS);
    send_three();
    fault_expect_status(CONEY_OK, coney_scope_wait_for_confirms(scope, LONG_MS));
    coney_scope_free(scope);
    scope = NULL;
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &counted));
    assert_int_equal(counted.sent, 3);
    assert_int_equal(counted.confirmed, 3);
    assert_int_equal(counted.unconfirmed, 0);
}

/* ---- freeing ---- */

enum { LATE_MS = 100 };
static atomic_bool gone_back; /* what was received */

static void put_back_late(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_get_ok(peer, serve_until(peer, AMQP_BASIC_GET_METHOD), 1, NULL, "hello");
    const cny_peer_method *end = cny_peer_serve_until(peer, AMQP_TX_COMMIT_METHOD);
    cny_peer_stall(peer, LATE_MS);
    atomic_store(&gone_back, true);
    cny_peer_answer(peer, end);
}

static void never_put_back(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_get_ok(peer, serve_until(peer, AMQP_BASIC_GET_METHOD), 1, NULL, "hello");
    cny_peer_serve_until(peer, AMQP_TX_COMMIT_METHOD);
    cny_peer_stall_until_go(peer);
}

static void receive_and_free(void)
{
    coney_message *message;
    fault_expect_status(CONEY_OK, coney_scope_receive(scope, "orders", &message));
    assert_non_null(message);
    coney_message_unref(message);
    coney_scope_free(scope);
    scope = NULL;
}

static void test_free_waits_until_what_was_received_has_gone_back(void **state)
{
    (void)state;
    atomic_store(&gone_back, false);
    start(put_back_late, CONEY_SCOPE_TRANSACTED, LONG_MS);
    receive_and_free();
    assert_true(atomic_load(&gone_back));
}

static void test_free_waits_no_longer_than_the_timeout_of_the_scope(void **state)
{
    (void)state;
    start(never_put_back, CONEY_SCOPE_TRANSACTED, SHORT_MS);
    int64_t began = cny_now_ms();
    receive_and_free();
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    cny_broker_go(fault.broker);
}

/* ---- threads ---- */

static void answer_the_commit_when_told(cny_peer *peer, void *user)
{
    (void)user;
    const cny_peer_method *commit = cny_peer_serve_until(peer, AMQP_TX_COMMIT_METHOD);
    amqp_channel_t channel = commit->channel;
    cny_peer_wait_go(peer);
    cny_peer_send(peer, channel, AMQP_TX_COMMIT_OK_METHOD, &(amqp_tx_commit_ok_t){0});
}

static coney_status commit_scope(void)
{
    return coney_scope_commit(scope);
}

static void test_second_thread_is_told(void **state)
{
    (void)state;
    start(answer_the_commit_when_told, CONEY_SCOPE_TRANSACTED, LONG_MS);
    fault_in_background(commit_scope);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_TX_COMMIT_METHOD) == 1);
    fault_expect_status(CONEY_E_STATE, coney_scope_commit(scope));
    fault_expect_text("another thread");
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
}

/* ---- opening ---- */

static void refuse_transactions(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, serve_until(peer, AMQP_TX_SELECT_METHOD), 540, "NOT_IMPLEMENTED");
}

static void test_broker_without_transactions_refuses_the_scope(void **state)
{
    (void)state;
    fault_start(refuse_transactions, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_BROKER, open_scope(CONEY_SCOPE_TRANSACTED, LONG_MS));
    fault_expect_text("open a scope: 540 NOT_IMPLEMENTED");
}

static void say_nothing_to_a_select(cny_peer *peer, void *user)
{
    (void)user;
    serve_until(peer, AMQP_TX_SELECT_METHOD);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void test_opening_has_a_deadline(void **state)
{
    (void)state;
    fault_start(say_nothing_to_a_select, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_TIMEOUT, open_scope(CONEY_SCOPE_TRANSACTED, SHORT_MS));
}

static void test_confirms_and_transactions_never_share_a_channel(void **state)
{
    (void)state;
    start(NULL, CONEY_SCOPE_TRANSACTED, LONG_MS);
    fault_expect_status(CONEY_OK, send("hello"));
    fault_expect_status(CONEY_OK, coney_scope_commit(scope));
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CONFIRM_SELECT_METHOD), 0);
    coney_scope_free(scope);
    fault_expect_status(CONEY_OK, open_scope(CONEY_SCOPE_CONFIRMED, LONG_MS));
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CONFIRM_SELECT_METHOD), 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_TX_SELECT_METHOD), 1);
}

/* ---- confirmed ---- */

static void confirm_when_told(cny_peer *peer, void *user)
{
    (void)user;
    serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    amqp_channel_t channel = serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, channel, 0, true);
}

static void test_wait_that_times_out_may_be_repeated(void **state)
{
    (void)state;
    start(confirm_when_told, CONEY_SCOPE_CONFIRMED, LONG_MS);
    send_three();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_scope_wait_for_confirms(scope, SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, coney_scope_wait_for_confirms(scope, LONG_MS));
}

static void hang_up_after_three(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_hang_up(peer);
}

static void test_loss_is_told_with_the_number_of_messages(void **state)
{
    (void)state;
    start(hang_up_after_three, CONEY_SCOPE_CONFIRMED, LONG_MS);
    send_three();
    fault_expect_status(CONEY_E_LOST, coney_scope_wait_for_confirms(scope, LONG_MS));
    fault_expect_text("2 of 3 messages were not confirmed");
}

static void test_scope_that_has_ended_never_says_that_all_is_confirmed(void **state)
{
    (void)state;
    start(hang_up_after_three, CONEY_SCOPE_CONFIRMED, LONG_MS);
    send_three();
    fault_expect_status(CONEY_E_LOST, coney_scope_wait_for_confirms(scope, LONG_MS));
    fault_expect_status(CONEY_E_LOST, coney_scope_wait_for_confirms(scope, 0));
    fault_expect_text("the scope has ended");
}

static void test_scope_does_not_move_to_the_next_connection(void **state)
{
    (void)state;
    start(hang_up_after_three, CONEY_SCOPE_CONFIRMED, LONG_MS);
    send_three();
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    fault_expect_status(CONEY_E_LOST, send("hello"));
    fault_expect_text("the scope has ended");
    coney_scope_free(scope);
    fault_expect_status(CONEY_OK, open_scope(CONEY_SCOPE_CONFIRMED, LONG_MS));
    send_three();
    fault_expect_status(CONEY_OK, coney_scope_wait_for_confirms(scope, LONG_MS));
}

static void nack_the_second(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_nack(peer, serve_until(peer, AMQP_BASIC_PUBLISH_METHOD), 2, false);
}

static void test_nack_is_told_once(void **state)
{
    (void)state;
    start(nack_the_second, CONEY_SCOPE_CONFIRMED, LONG_MS);
    send_three();
    fault_expect_status(CONEY_E_NACKED, coney_scope_wait_for_confirms(scope, LONG_MS));
    fault_expect_text("1 of 3 messages were not confirmed");
    fault_expect_status(CONEY_OK, coney_scope_wait_for_confirms(scope, LONG_MS));
}

static void refuse_what_is_too_large(cny_peer *peer, void *user)
{
    (void)user;
    serve_three(peer);
    cny_peer_close_channel(peer, serve_until(peer, AMQP_BASIC_PUBLISH_METHOD), 406,
                           "PRECONDITION_FAILED - message size 9 is larger than configured max size 8");
}

static void test_message_over_the_limit_is_told_before_those_that_it_cost(void **state)
{
    (void)state;
    start(refuse_what_is_too_large, CONEY_SCOPE_CONFIRMED, LONG_MS);
    send_three();
    fault_expect_status(CONEY_OK, send("too large"));
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, coney_scope_wait_for_confirms(scope, LONG_MS));
    fault_expect_text("message size 9 is larger");
}

/* ---- transacted ---- */

static void hang_up_before_the_commit(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    serve_three(peer);
    cny_peer_hang_up(peer);
}

static void test_loss_before_the_commit_is_a_rollback(void **state)
{
    (void)state;
    start(hang_up_before_the_commit, CONEY_SCOPE_TRANSACTED, LONG_MS);
    send_three();
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    fault_expect_status(CONEY_E_LOST, coney_scope_commit(scope));
    fault_expect_text("commit: the transaction was rolled back by the broker");
    fault_expect_status(CONEY_E_LOST, send("hello"));
    fault_expect_status(CONEY_E_LOST, coney_scope_rollback(scope));
}

static void hang_up_at_the_commit(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    serve_until(peer, AMQP_TX_COMMIT_METHOD);
    cny_peer_hang_up(peer);
}

static void test_loss_in_the_commit_leaves_its_outcome_unknown(void **state)
{
    (void)state;
    start(hang_up_at_the_commit, CONEY_SCOPE_TRANSACTED, LONG_MS);
    send_three();
    fault_expect_status(CONEY_E_LOST, coney_scope_commit(scope));
    fault_expect_text("commit: its outcome is unknown");
    fault_expect_status(CONEY_E_LOST, coney_scope_commit(scope));
    fault_expect_text("in a commit whose outcome is unknown");
}

static void say_nothing_to_a_commit(cny_peer *peer, void *user)
{
    (void)user;
    serve_until(peer, AMQP_TX_COMMIT_METHOD);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
}

static void test_commit_has_a_deadline(void **state)
{
    (void)state;
    start(say_nothing_to_a_commit, CONEY_SCOPE_TRANSACTED, SHORT_MS);
    send_three();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_scope_commit(scope));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text("its outcome is unknown");
    fault_expect_status(CONEY_E_TIMEOUT, send("hello"));
}

static void refuse_the_commit(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, serve_until(peer, AMQP_TX_COMMIT_METHOD), 406,
                           "PRECONDITION_FAILED - partial tx completion");
}

static void test_refused_commit_may_have_taken_effect_in_part(void **state)
{
    (void)state;
    start(refuse_the_commit, CONEY_SCOPE_TRANSACTED, LONG_MS);
    send_three();
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, coney_scope_commit(scope));
    fault_expect_text("part of the transaction may have taken effect");
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, coney_scope_rollback(scope));
    fault_expect_text("outcome is unknown");
}

static void refuse_the_rollback(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_close_channel(peer, serve_until(peer, AMQP_TX_ROLLBACK_METHOD), 406, "PRECONDITION_FAILED - no reason");
}

static void test_channel_close_in_answer_to_tx_rollback_ends_the_scope_only(void **state)
{
    (void)state;
    start(refuse_the_rollback, CONEY_SCOPE_TRANSACTED, LONG_MS);
    send_three();
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, coney_scope_rollback(scope));
    fault_expect_text("rollback: ");
    fault_expect_text("no reason");
    assert_int_equal(coney_last_error_details()->broker_code, 406);
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, coney_scope_commit(scope));
    fault_expect_text("rolled back by the broker");
    coney_scope_free(scope);
    fault_expect_status(CONEY_OK, open_scope(CONEY_SCOPE_TRANSACTED, LONG_MS));
    send_three();
    fault_expect_status(CONEY_OK, coney_scope_rollback(scope));
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 1);
}

static void return_one_at_the_commit(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_return(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD), 312, "NO_ROUTE");
}

static void test_rollback_forgets_what_came_back(void **state)
{
    (void)state;
    start(return_one_at_the_commit, CONEY_SCOPE_TRANSACTED, LONG_MS);
    fault_expect_status(CONEY_OK, send("hello"));
    fault_expect_status(CONEY_OK, coney_scope_rollback(scope));
    fault_expect_status(CONEY_OK, coney_scope_commit(scope));
}

static void expect_a_rollback_in_order(cny_peer *peer, void *user)
{
    (void)user;
    for (uint64_t tag = 1; tag <= 2; tag++) {
        cny_peer_get_ok(peer, serve_until(peer, AMQP_BASIC_GET_METHOD), tag, NULL, "hello");
        fault_expect_ack(peer, tag);
    }
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_TX_ROLLBACK_METHOD));
    fault_expect_reject(peer, 1, true);
    fault_expect_reject(peer, 2, true);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_TX_COMMIT_METHOD));
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_TX_ROLLBACK_METHOD));
    cny_peer_check(peer, !cny_peer_hears(peer, SHORT_MS / 3));
}

static void test_rollback_requeues_each_message_and_commits_that(void **state)
{
    (void)state;
    start(expect_a_rollback_in_order, CONEY_SCOPE_TRANSACTED, LONG_MS);
    coney_message *message;
    for (int i = 0; i < 2; i++) {
        fault_expect_status(CONEY_OK, coney_scope_receive(scope, "orders", &message));
        coney_message_unref(message);
    }
    fault_expect_status(CONEY_OK, coney_scope_rollback(scope));
    fault_expect_status(CONEY_OK, coney_scope_rollback(scope));
    cny_broker_wait(fault.broker, 1);
}

static void test_closing_the_factory_ends_a_scope(void **state)
{
    (void)state;
    start(NULL, CONEY_SCOPE_TRANSACTED, LONG_MS);
    fault_expect_status(CONEY_OK, send("hello"));
    coney_connection_factory_close(fault.factory);
    fault_expect_status(CONEY_E_CLOSED, coney_scope_commit(scope));
    fault_expect_status(CONEY_E_CLOSED, send("hello"));
    coney_scope *other;
    fault_expect_status(CONEY_E_CLOSED, coney_scope_new(&other, fault.sender, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scope_test(test_scope_without_room_waits_to_its_deadline_and_goes_on),
        scope_test(test_scope_without_room_fails_at_once_if_the_template_does),
        scope_test(test_scope_while_blocked_tells_so_and_its_commit_is_rolled_back_at_the_deadline),
        scope_test(test_messages_of_a_scope_are_counted_when_it_is_freed),
        scope_test(test_free_waits_until_what_was_received_has_gone_back),
        scope_test(test_free_waits_no_longer_than_the_timeout_of_the_scope),
        scope_test(test_second_thread_is_told),
        scope_test(test_broker_without_transactions_refuses_the_scope),
        scope_test(test_opening_has_a_deadline),
        scope_test(test_confirms_and_transactions_never_share_a_channel),
        scope_test(test_wait_that_times_out_may_be_repeated),
        scope_test(test_loss_is_told_with_the_number_of_messages),
        scope_test(test_scope_that_has_ended_never_says_that_all_is_confirmed),
        scope_test(test_scope_does_not_move_to_the_next_connection),
        scope_test(test_nack_is_told_once),
        scope_test(test_message_over_the_limit_is_told_before_those_that_it_cost),
        scope_test(test_loss_before_the_commit_is_a_rollback),
        scope_test(test_loss_in_the_commit_leaves_its_outcome_unknown),
        scope_test(test_commit_has_a_deadline),
        scope_test(test_refused_commit_may_have_taken_effect_in_part),
        scope_test(test_channel_close_in_answer_to_tx_rollback_ends_the_scope_only),
        scope_test(test_rollback_forgets_what_came_back),
        scope_test(test_rollback_requeues_each_message_and_commits_that),
        scope_test(test_closing_the_factory_ends_a_scope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
