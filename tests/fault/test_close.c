/* SPDX-License-Identifier: MIT */
/* coney_connection_factory_close(): what is under way may end, within the timeout; afterwards there is
 * nothing but CONEY_E_CLOSED, and nothing connects. How the sends end is in test_in_flight.c and
 * test_resend.c. */
#include "support/fault_consumer.h"

#include <stdatomic.h>

enum { LONG_MS = 10000, SHORT_MS = 300 };

static cny_heard all[CNY_MAX_HEARD];

static coney_status close_factory(void)
{
    return coney_connection_factory_close(fault.factory);
}

/* Where the method stands in what was heard of consumers or publishers; -1 if nowhere. */
static int position(bool publishing, amqp_method_number_t id)
{
    int count = cny_broker_heard(fault.broker, all);
    for (int i = 0; i < count; i++) {
        if (all[i].publishing == publishing && all[i].id == id)
            return i;
    }
    return -1;
}

/* --- handlers --- */

static void deliver_hold(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer))
        return;
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "hold");
}

static void start_handler(int close_timeout_ms, coney_message_handler *handler)
{
    fault_reset_handler();
    fault_start(deliver_hold, &(coney_connection_factory_options){.close_timeout_ms = close_timeout_ms});
    fault_use_template(NULL);
    fault_use_container(NULL, handler, 1);
}

static void test_handler_finishes_and_is_acknowledged_before_the_connection_closes(void **state)
{
    (void)state;
    start_handler(LONG_MS, fault_obey);
    fault_wait_for_calls(1);
    fault_in_background(close_factory);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CANCEL_METHOD) == 1);
    assert_false(fault_background_is_over());
    fault_let_go();
    fault_expect_status(CONEY_OK, fault_background_end());
    int acked = position(false, AMQP_BASIC_ACK_METHOD), closed = position(false, AMQP_CONNECTION_CLOSE_METHOD);
    assert_true(acked >= 0 && closed > acked);
}

static coney_outcome obey_then_send(coney_delivery *delivery, void *user)
{
    coney_outcome outcome = fault_obey(delivery, user);
    return fault_send(LONG_MS) == CONEY_OK ? outcome : CONEY_REJECT;
}

static void test_handler_may_still_send_while_the_factory_closes(void **state)
{
    (void)state;
    start_handler(LONG_MS, obey_then_send);
    fault_wait_for_calls(1);
    fault_in_background(close_factory);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_CANCEL_METHOD) == 1);
    fault_let_go();
    fault_expect_status(CONEY_OK, fault_background_end());
    int sent = position(true, AMQP_BASIC_PUBLISH_METHOD), acked = position(false, AMQP_BASIC_ACK_METHOD);
    assert_true(sent >= 0 && acked > sent);
}

static void test_handler_that_outlives_the_timeout_is_told_and_its_message_goes_back(void **state)
{
    (void)state;
    start_handler(SHORT_MS, fault_obey);
    fault_wait_for_calls(1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, close_factory());
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text("close the connection factory");
    fault_expect_text("1 handlers have not returned");
    fault_expect_text("'orders'");
    fault_let_go();
    fault_wait_until(fault_info(CONEY_CONSUMING).stale_acknowledgements == 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_ACK_METHOD), 0);
}

static atomic_int seen_in_handler;

static coney_outcome close_in_handler(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    atomic_store(&seen_in_handler, (int)close_factory());
    return CONEY_ACK;
}

static void test_close_in_a_handler_is_refused(void **state)
{
    (void)state;
    atomic_store(&seen_in_handler, -1);
    start_handler(SHORT_MS, close_in_handler);
    fault_wait_until(atomic_load(&seen_in_handler) != -1);
    assert_int_equal(atomic_load(&seen_in_handler), CONEY_E_STATE);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

/* --- callbacks --- */

static atomic_int seen_in_callback;

static void close_in_callback(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)error;
    (void)user;
    atomic_store(&seen_in_callback, (int)close_factory());
}

static void test_close_in_a_callback_is_refused(void **state)
{
    (void)state;
    atomic_store(&seen_in_callback, -1);
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    coney_message *message = fault_message("hello");
    coney_status status = coney_template_send_async(fault.sender, "key", message, NULL, close_in_callback, NULL);
    coney_message_unref(message);
    fault_expect_status(CONEY_OK, status);
    fault_wait_until(atomic_load(&seen_in_callback) != -1);
    assert_int_equal(atomic_load(&seen_in_callback), CONEY_E_STATE);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void close_in_listener(const coney_connection_info *info, void *user)
{
    (void)user;
    if (info->state == CONEY_CONNECTION_OPEN)
        atomic_store(&seen_in_callback, (int)close_factory());
}

static void test_close_in_a_listener_is_refused(void **state)
{
    (void)state;
    atomic_store(&seen_in_callback, -1);
    fault_start(NULL, &(coney_connection_factory_options){.on_connection = close_in_listener});
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    fault_wait_until(atomic_load(&seen_in_callback) != -1);
    assert_int_equal(atomic_load(&seen_in_callback), CONEY_E_STATE);
}

static void hold_up(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)error;
    (void)user;
    fault_wait_until(atomic_load(&seen_in_callback) == 1);
}

static void test_callback_that_outlives_the_timeout_is_told(void **state)
{
    (void)state;
    static coney_connection_info events[FAULT_MAX_EVENTS];
    atomic_store(&seen_in_callback, 0);
    fault_start(NULL, &(coney_connection_factory_options){.close_timeout_ms = SHORT_MS});
    fault_use_template(NULL);
    coney_message *message = fault_message("hello");
    coney_status status = coney_template_send_async(fault.sender, "key", message, NULL, hold_up, NULL);
    coney_message_unref(message);
    fault_expect_status(CONEY_OK, status);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, close_factory());
    test_expect_elapsed(began, SHORT_MS, SHORT_MS + 500);
    fault_expect_text("their callbacks have not returned");
    atomic_store(&seen_in_callback, 1);
    fault_wait_until(fault_connection_events(CONEY_CONSUMING, events) == 1); /* what was queued behind it */
}

/* Under AddressSanitizer this shows that nothing is left. */
static void test_template_that_a_callback_held_up_may_be_freed_again(void **state)
{
    (void)state;
    atomic_store(&seen_in_callback, 0);
    fault_start(NULL, NULL);
    fault_use_template(&(coney_template_options){.timeout_ms = SHORT_MS});
    coney_message *message = fault_message("hello");
    fault_expect_status(CONEY_OK, coney_template_send_async(fault.sender, "key", message, NULL, hold_up, NULL));
    coney_message_unref(message);
    int64_t began = cny_now_ms();
    coney_template_free(fault.sender); /* it stays */
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_status(CONEY_E_CLOSED, fault_send(SHORT_MS));
    atomic_store(&seen_in_callback, 1);
    coney_template_free(fault.sender);
    fault.sender = NULL;
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_CHANNEL_CLOSE_METHOD) == 1);
}

/* --- afterwards --- */

static void expect_all_closed(void)
{
    coney_connection_info info;
    coney_message *message = fault_message("hello");
    fault_expect_status(CONEY_E_CLOSED, fault_ask());
    fault_expect_status(CONEY_E_CLOSED, fault_send(LONG_MS));
    fault_expect_status(CONEY_E_CLOSED, fault_send_message_async(0, NULL, message));
    fault_expect_status(CONEY_E_CLOSED, coney_connection_factory_connect(fault.factory));
    fault_expect_status(CONEY_E_CLOSED, coney_container_start(fault.container));
    for (int role = CONEY_CONSUMING; role <= CONEY_PUBLISHING; role++) {
        fault_expect_status(CONEY_OK, coney_connection_factory_info(fault.factory, (coney_connection_role)role, &info));
        assert_int_equal(info.state, CONEY_CONNECTION_CLOSED);
    }
    fault_expect_status(CONEY_OK, coney_template_wait_for_confirms(fault.sender, 0));
    fault_expect_status(CONEY_OK, close_factory());
}

static void use_everything(void)
{
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    fault_reset_handler();
    fault_use_container(NULL, fault_obey, 1);
}

static void test_after_the_close_all_calls_answer_closed_and_nothing_connects(void **state)
{
    (void)state;
    use_everything();
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, close_factory());
    int64_t began = cny_now_ms();
    expect_all_closed();
    test_expect_elapsed(began, 0, 0);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 2);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CONNECTION_CLOSE_METHOD), 2);
}

static void test_factory_that_was_never_used_closes(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, close_factory());
    fault_expect_status(CONEY_E_CLOSED, fault_ask());
    fault_expect_status(CONEY_E_CLOSED, fault_send(LONG_MS));
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 0);
}

static void test_close_on_two_threads_closes_once(void **state)
{
    (void)state;
    use_everything();
    fault_in_background(close_factory);
    fault_expect_status(CONEY_OK, close_factory());
    fault_expect_status(CONEY_OK, fault_background_end());
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CONNECTION_CLOSE_METHOD), 1);
}

static void test_members_may_be_freed_after_the_factory(void **state)
{
    (void)state;
    use_everything();
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    coney_connection_factory_free(fault.factory);
    fault.factory = NULL;
    fault_expect_status(CONEY_E_CLOSED, fault_ask());
    fault_expect_status(CONEY_E_CLOSED, fault_send(LONG_MS));
}

/* --- meanwhile --- */

static void say_nothing(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_silence(peer, LONG_MS);
}

static void say_nothing_once_open(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    cny_peer_silence(peer, LONG_MS);
}

static coney_status ask(void)
{
    return fault_ask();
}

/* A connection's thread has a grace of 50 ms behind the deadline, which a machine may be late by. */
static void expect_quick_close(coney_connection_state state, coney_status status)
{
    enum { GRACE_MS = 50 };
    fault_use_admin(LONG_MS);
    fault_in_background(ask);
    fault_wait_for_state(CONEY_CONSUMING, state);
    int64_t began = cny_now_ms();
    coney_status seen = close_factory();
    if (seen == CONEY_E_TIMEOUT && test_late_ms(began) >= GRACE_MS)
        fault_expect_text("ends later");
    else
        fault_expect_status(status, seen);
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    test_expect_elapsed(began, 0, SHORT_MS);
}

static void test_close_does_not_wait_for_a_login(void **state)
{
    (void)state;
    fault_start(say_nothing, &(coney_connection_factory_options){.close_timeout_ms = SHORT_MS});
    expect_quick_close(CONEY_CONNECTION_CONNECTING, CONEY_OK);
}

static void test_close_does_not_wait_for_a_back_off(void **state)
{
    (void)state;
    const coney_recovery_options slow = {.first_delay_ms = 20000};
    fault_start_with(&(cny_broker_options){0},
                     &(coney_connection_factory_options){.close_timeout_ms = SHORT_MS, .recovery = slow});
    cny_broker_stop(fault.broker);
    fault.broker = NULL;
    fault_use_admin(LONG_MS);
    fault_in_background(ask);
    fault_wait_for_info(CONEY_CONSUMING, "attempt 2 in ");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, close_factory());
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    test_expect_elapsed(began, 0, 0);
}

static void test_close_does_not_wait_for_a_peer_that_is_silent(void **state)
{
    (void)state;
    fault_start(say_nothing_once_open, &(coney_connection_factory_options){.close_timeout_ms = SHORT_MS});
    expect_quick_close(CONEY_CONNECTION_OPEN, CONEY_OK);
}

static void never_answer_a_declaration(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_EXCHANGE_DECLARE_METHOD);
}

static void test_close_does_not_wait_for_the_topology(void **state)
{
    (void)state;
    fault_start(never_answer_a_declaration, &(coney_connection_factory_options){.close_timeout_ms = SHORT_MS});
    coney_topology *topology = coney_topology_new();
    fault_expect_status(CONEY_OK, coney_topology_add_exchange(topology, &(coney_exchange){.name = "shop"}));
    coney_status status = coney_admin_new(&fault.admin, fault.factory, &(coney_admin_options){.topology = topology});
    coney_topology_free(topology);
    fault_expect_status(CONEY_OK, status);
    fault_in_background(ask);
    cny_broker_wait(fault.broker, 1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, close_factory());
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    test_expect_elapsed(began, 0, SHORT_MS);
}

static coney_status provider_status;
static atomic_bool provider_was_asked, provider_may_return;

static coney_status hang(coney_credentials *credentials, void *user)
{
    (void)credentials;
    (void)user;
    atomic_store(&provider_was_asked, true);
    fault_wait_until(atomic_load(&provider_may_return));
    return provider_status;
}

static void test_close_tells_of_a_credentials_provider_that_hangs(void **state)
{
    (void)state;
    atomic_store(&provider_may_return, false);
    const coney_connection_factory_options options = {.close_timeout_ms = SHORT_MS, .credentials = hang};
    fault_start(NULL, &options);
    fault_use_admin(LONG_MS);
    fault_in_background(ask);
    fault_wait_until(atomic_load(&provider_was_asked));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, close_factory());
    fault_expect_status(CONEY_E_CLOSED, fault_background_end());
    test_expect_elapsed(began, SHORT_MS, SHORT_MS + 500);
    atomic_store(&provider_may_return, true);
}

/* --- a channel that both sides close --- */

#define TIMED_OUT "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out"

/* RabbitMQ does that when an unacknowledged delivery is too old at that moment. It takes no frame for that number
 * before it has an answer. */
static void close_it_as_well(cny_peer *peer, void *user)
{
    (void)user;
    const cny_peer_method *close = cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_METHOD);
    amqp_channel_t channel = close->channel;
    cny_peer_answer(peer, close);
    cny_peer_close_channel(peer, channel, 406, TIMED_OUT);
}

static void test_close_of_a_channel_that_is_closed_already_is_answered_and_costs_nothing(void **state)
{
    (void)state;
    fault_start(close_it_as_well, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

/* RabbitMQ 3.10 does that when a transaction was refused by a queue, which anybody can bring about who asks for a reply
 * to such a queue. */
static void deliver_after_the_close(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_wait_go(peer); /* the container has started */
    cny_peer_close_channel(peer, channel, 406, "PRECONDITION_FAILED - partial tx completion");
    for (uint64_t tag = 1; tag <= 3; tag++)
        cny_peer_deliver(peer, channel, tag, "late");
}

static void test_deliveries_after_the_broker_has_closed_their_channel_cost_nothing(void **state)
{
    (void)state;
    fault_start(deliver_after_the_close, NULL);
    fault_reset_handler();
    fault_use_container(NULL, fault_obey, 1);
    fault_use_admin(LONG_MS);
    cny_broker_go(fault.broker);
    cny_broker_wait(fault.broker, 1);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

static void say_close(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_send(peer, channel, AMQP_CHANNEL_CLOSE_METHOD,
                  &(amqp_channel_close_t){406, amqp_cstring_bytes(TIMED_OUT), 0, 0});
}

/* So does RabbitMQ when a delivery times out after it has read the client's close: with its answer the channel is gone.
 * Or it has closed the channel before, and waits for an answer, until which it takes no channel of that number. */
static amqp_channel_t close_it_before_the_answer(cny_peer *peer)
{
    const cny_peer_method close = *cny_peer_serve_until(peer, AMQP_CHANNEL_CLOSE_METHOD);
    cny_peer_cork(peer, true);
    say_close(peer, close.channel);
    cny_peer_answer(peer, &close);
    cny_peer_cork(peer, false);
    return close.channel;
}

static void close_it_before_the_answer_only(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = close_it_before_the_answer(peer);
    cny_peer_method *open = cny_peer_expect(peer, AMQP_CHANNEL_OPEN_METHOD);
    cny_peer_check(peer, open->channel != channel);
    cny_peer_answer(peer, open);
}

static void expect_two_answers_on_one_connection(cny_script *script)
{
    fault_start(script, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

static void test_close_that_crosses_ours_for_a_timeout_is_not_answered_and_its_number_not_used(void **state)
{
    (void)state;
    expect_two_answers_on_one_connection(close_it_before_the_answer_only);
}

static void close_it_before_the_answer_and_again(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = close_it_before_the_answer(peer);
    cny_peer_close_channel(peer, channel, 406, TIMED_OUT);
}

static void test_close_that_crosses_ours_is_answered_when_it_comes_again(void **state)
{
    (void)state;
    expect_two_answers_on_one_connection(close_it_before_the_answer_and_again);
}

static void close_it_twice(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD)->channel;
    cny_peer_cork(peer, true);
    say_close(peer, channel);
    say_close(peer, channel);
    cny_peer_cork(peer, false);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_OK_METHOD);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_OPEN_METHOD));
}

static void close_it_again_when_its_number_is_in_use(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD)->channel;
    say_close(peer, channel);
    cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_OK_METHOD);
    cny_peer_method *open = cny_peer_expect(peer, AMQP_CHANNEL_OPEN_METHOD);
    cny_peer_check(peer, open->channel == channel);
    say_close(peer, channel);
    cny_peer_answer(peer, open);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_QUEUE_DECLARE_METHOD));
}

static void expect_one_answer_to_two_closes(cny_script *script)
{
    fault_start(script, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, fault_ask());
    fault_expect_status(CONEY_OK, fault_ask());
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CHANNEL_CLOSE_OK_METHOD), 1);
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 1);
}

static void test_channel_that_is_closed_twice_is_answered_once(void **state)
{
    (void)state;
    expect_one_answer_to_two_closes(close_it_twice);
}

static void test_second_close_is_not_for_the_next_channel_of_that_number(void **state)
{
    (void)state;
    expect_one_answer_to_two_closes(close_it_again_when_its_number_is_in_use);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_handler_finishes_and_is_acknowledged_before_the_connection_closes),
        fault_test(test_handler_may_still_send_while_the_factory_closes),
        fault_test(test_handler_that_outlives_the_timeout_is_told_and_its_message_goes_back),
        fault_test(test_close_in_a_handler_is_refused),
        fault_test(test_close_in_a_callback_is_refused),
        fault_test(test_close_in_a_listener_is_refused),
        fault_test(test_callback_that_outlives_the_timeout_is_told),
        fault_test(test_template_that_a_callback_held_up_may_be_freed_again),
        fault_test(test_after_the_close_all_calls_answer_closed_and_nothing_connects),
        fault_test(test_factory_that_was_never_used_closes),
        fault_test(test_close_on_two_threads_closes_once),
        fault_test(test_members_may_be_freed_after_the_factory),
        fault_test(test_close_does_not_wait_for_a_login),
        fault_test(test_close_does_not_wait_for_a_back_off),
        fault_test(test_close_does_not_wait_for_a_peer_that_is_silent),
        fault_test(test_close_does_not_wait_for_the_topology),
        fault_test(test_close_tells_of_a_credentials_provider_that_hangs),
        fault_test(test_close_of_a_channel_that_is_closed_already_is_answered_and_costs_nothing),
        fault_test(test_close_that_crosses_ours_for_a_timeout_is_not_answered_and_its_number_not_used),
        fault_test(test_close_that_crosses_ours_is_answered_when_it_comes_again),
        fault_test(test_channel_that_is_closed_twice_is_answered_once),
        fault_test(test_second_close_is_not_for_the_next_channel_of_that_number),
        fault_test(test_deliveries_after_the_broker_has_closed_their_channel_cost_nothing),
    };
    return cmocka_run_group_tests_name("close", tests, NULL, NULL);
}
