/* SPDX-License-Identifier: MIT */
/* What may happen to a connection that is up, seen by a call that waits for its answer: the answer
 * never comes, comes late or in pieces, or the broker goes away. */
#include "support/fault_fixture.h"

#include <pthread.h>

enum { CALL_MS = 300, LONG_MS = 10000 };

static const coney_connection_factory_options one_second_heartbeat = {.heartbeat_s = 1};

/* The deed is done when the client asks for its queue. */
static cny_peer_method *serve_until_asked(cny_peer *peer)
{
    return cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
}

static amqp_queue_declare_ok_t declare_ok = {.queue = {6, "orders"}};

/* --- silence --- */

static void never_answer(cny_peer *peer, void *user)
{
    (void)user;
    serve_until_asked(peer);
}

static void answer_by_half_and_fall_silent(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *asked = serve_until_asked(peer);
    cny_peer_send_half(peer, asked->channel, AMQP_QUEUE_DECLARE_OK_METHOD, &declare_ok);
    cny_peer_silence(peer, LONG_MS);
}

static void test_half_a_frame_then_silence_fails_by_the_calls_deadline(void **state)
{
    (void)state;
    fault_start(answer_by_half_and_fall_silent, NULL);
    fault_use_admin(CALL_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, fault_ask());
    test_expect_elapsed(began, CALL_MS, CALL_MS);
}

static void test_half_a_frame_then_silence_fails_by_heartbeat(void **state)
{
    (void)state;
    fault_start(answer_by_half_and_fall_silent, &one_second_heartbeat);
    fault_use_admin(LONG_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LOST, fault_ask());
    test_expect_elapsed(began, 1500, 3000);
    fault_expect_text("heartbeat");
}

static void fall_silent(cny_peer *peer, void *user)
{
    (void)user;
    serve_until_asked(peer);
    cny_peer_silence(peer, LONG_MS);
}

static void test_missing_heartbeats_lose_the_connection_within_about_two_intervals(void **state)
{
    (void)state;
    fault_start(fall_silent, &one_second_heartbeat);
    fault_use_admin(LONG_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LOST, fault_ask());
    test_expect_elapsed(began, 1500, 3000);
    fault_expect_text("heartbeat");
}

static void test_heartbeats_alone_keep_the_connection_but_answer_no_call(void **state)
{
    (void)state;
    fault_start(never_answer, &one_second_heartbeat);
    fault_use_admin(3500);
    fault_expect_status(CONEY_E_TIMEOUT, fault_ask());
}

static void listen_for_heartbeats(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, serve_until_asked(peer));
    cny_peer_serve_until_heartbeat(peer);
    int64_t began = cny_now_ms();
    for (int i = 0; i < 3; i++) {
        int64_t last = cny_now_ms();
        cny_peer_serve_until_heartbeat(peer);
        cny_peer_check(peer, cny_now_ms() - last <= 700 + test_slack_ms(last));
    }
    cny_peer_check(peer,
                   cny_now_ms() - began >= INT64_C(3) * 350); /* all together: one that is heard late is no fault */
}

static void test_idle_client_sends_heartbeats_at_half_the_interval(void **state)
{
    (void)state;
    fault_start(listen_for_heartbeats, &one_second_heartbeat);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
}

static void test_brokers_shorter_heartbeat_counts(void **state)
{
    (void)state;
    fault_start_with(&(cny_broker_options){.script = listen_for_heartbeats, .heartbeat_s = 1}, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
}

static void never_open_a_channel(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CHANNEL_OPEN_METHOD);
    cny_peer_silence(peer, LONG_MS);
}

static void test_channel_that_is_never_opened_times_out(void **state)
{
    (void)state;
    fault_start(never_open_a_channel, &(coney_connection_factory_options){.close_timeout_ms = 300});
    fault_use_admin(CALL_MS);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, fault_ask());
    test_expect_elapsed(began, CALL_MS, CALL_MS);
}

/* --- late, wrong and refusing answers --- */

/* Whatever the client does after it gave up, the old answer is what it hears first. */
static void answer_when_nobody_listens(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = serve_until_asked(peer)->channel;
    cny_peer_method *next = cny_peer_next(peer);
    cny_peer_send(peer, channel, AMQP_QUEUE_DECLARE_OK_METHOD, &declare_ok);
    cny_peer_answer(peer, next);
}

static void test_late_answer_is_not_taken_for_that_of_the_next_call(void **state)
{
    (void)state;
    coney_queue_info info;
    fault_start(answer_when_nobody_listens, NULL);
    fault_use_admin(CALL_MS);
    fault_expect_status(CONEY_E_TIMEOUT, fault_ask());
    fault_expect_status(CONEY_OK, coney_admin_queue_info(fault.admin, "invoices", &info));
    assert_string_equal(info.name, "invoices");
}

static void refuse_one_declaration(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *asked = serve_until_asked(peer);
    cny_peer_close_channel(peer, asked->channel, 406, "PRECONDITION_FAILED - inequivalent arg 'durable'");
}

static void test_refusal_has_the_brokers_words_and_costs_nothing_else(void **state)
{
    (void)state;
    fault_start(refuse_one_declaration, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, fault_ask());
    fault_expect_text("orders");
    fault_expect_text("inequivalent arg 'durable'");
    assert_int_equal(coney_last_error_details()->broker_code, 406);
    fault_expect_status(CONEY_OK, fault_ask());
}

static void answer_byte_by_byte(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_trickle(peer);
    cny_peer_answer(peer, serve_until_asked(peer));
}

static void test_answer_that_comes_byte_by_byte_is_put_together(void **state)
{
    (void)state;
    fault_start(answer_byte_by_byte, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
}

/* The client closes its channel while the broker does over a method, too; both answer. Until the answer to its
 * own close is there, the client must not take the number for a new channel. */
static void close_the_channel_that_is_being_closed(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, serve_until_asked(peer));
    amqp_channel_t channel = cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_METHOD)->channel;
    cny_peer_close_channel_over(peer, AMQP_BASIC_ACK_METHOD, channel, 406, "PRECONDITION_FAILED - for no reason");
    cny_peer_method *next = cny_peer_next(peer);
    cny_peer_check(peer, next->channel != channel);
    cny_peer_send(peer, channel, AMQP_CHANNEL_CLOSE_OK_METHOD, NULL);
    cny_peer_answer(peer, next);
}

static void test_closes_of_one_channel_that_cross_do_no_harm(void **state)
{
    (void)state;
    fault_start(close_the_channel_that_is_being_closed, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
}

/* --- the broker goes away --- */

static void hang_up_in_the_middle_of_the_answer(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_method *asked = serve_until_asked(peer);
    cny_peer_send_half(peer, asked->channel, AMQP_QUEUE_DECLARE_OK_METHOD, &declare_ok);
    cny_peer_hang_up(peer);
}

static void test_hang_up_in_the_middle_of_an_answer_is_a_lost_connection(void **state)
{
    (void)state;
    fault_start(hang_up_in_the_middle_of_the_answer, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_LOST, fault_ask());
    assert_true(coney_last_error_details()->retriable);
}

static void test_call_after_a_lost_connection_uses_a_new_one(void **state)
{
    (void)state;
    fault_start(hang_up_in_the_middle_of_the_answer, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_LOST, fault_ask());
    fault_expect_status(CONEY_OK, fault_ask());
}

static void reset_connection(cny_peer *peer, void *user)
{
    (void)user;
    serve_until_asked(peer);
    cny_peer_reset(peer);
}

static void test_reset_is_a_lost_connection(void **state)
{
    (void)state;
    fault_start(reset_connection, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_LOST, fault_ask());
}

static void shut_down(cny_peer *peer, void *user)
{
    (void)user;
    serve_until_asked(peer);
    bool answered = cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker forced connection closure");
    cny_peer_check(peer, answered);
}

static void test_broker_that_shuts_down_is_a_lost_connection_with_code_and_text(void **state)
{
    (void)state;
    fault_start(shut_down, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_LOST, fault_ask());
    fault_expect_text("broker forced connection closure");
    assert_int_equal(coney_last_error_details()->broker_code, 320);
    cny_broker_wait(fault.broker, 1);
}

/* --- the client goes away --- */

static void never_answer_close(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_CLOSE_METHOD);
    cny_peer_silence(peer, LONG_MS);
}

static void test_free_returns_though_close_is_never_answered(void **state)
{
    (void)state;
    fault_start(never_answer_close, &(coney_connection_factory_options){.close_timeout_ms = 300});
    fault_expect_status(CONEY_OK, coney_connection_factory_connect(fault.factory));
    int64_t began = cny_now_ms();
    coney_connection_factory_free(fault.factory);
    fault.factory = NULL;
    test_expect_elapsed(began, 0, 300 + 500);
}

static void *ask_in_vain(void *arg)
{
    coney_status *status = arg;
    *status = fault_ask();
    return NULL;
}

static void test_free_ends_a_call_that_waits(void **state)
{
    (void)state;
    pthread_t caller;
    coney_status status = CONEY_OK;
    fault_start(never_answer, NULL);
    fault_use_admin(LONG_MS);
    assert_int_equal(pthread_create(&caller, NULL, ask_in_vain, &status), 0);
    cny_broker_wait(fault.broker, 1);
    coney_connection_factory_free(fault.factory);
    fault.factory = NULL;
    pthread_join(caller, NULL);
    fault_expect_status(CONEY_E_CLOSED, status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_half_a_frame_then_silence_fails_by_the_calls_deadline),
        fault_test(test_half_a_frame_then_silence_fails_by_heartbeat),
        fault_test(test_missing_heartbeats_lose_the_connection_within_about_two_intervals),
        fault_test(test_heartbeats_alone_keep_the_connection_but_answer_no_call),
        fault_test(test_idle_client_sends_heartbeats_at_half_the_interval),
        fault_test(test_brokers_shorter_heartbeat_counts),
        fault_test(test_channel_that_is_never_opened_times_out),
        fault_test(test_late_answer_is_not_taken_for_that_of_the_next_call),
        fault_test(test_refusal_has_the_brokers_words_and_costs_nothing_else),
        fault_test(test_closes_of_one_channel_that_cross_do_no_harm),
        fault_test(test_answer_that_comes_byte_by_byte_is_put_together),
        fault_test(test_hang_up_in_the_middle_of_an_answer_is_a_lost_connection),
        fault_test(test_call_after_a_lost_connection_uses_a_new_one),
        fault_test(test_reset_is_a_lost_connection),
        fault_test(test_broker_that_shuts_down_is_a_lost_connection_with_code_and_text),
        fault_test(test_free_returns_though_close_is_never_answered),
        fault_test(test_free_ends_a_call_that_waits),
    };
    return cmocka_run_group_tests_name("steady state", tests, NULL, NULL);
}
