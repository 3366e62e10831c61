/* SPDX-License-Identifier: MIT */
/* What a send does that cannot go at once: CONEY_FLOW_FAIL fails and says why, and nobody is overtaken for ever
 * who waits for room. That CONEY_FLOW_WAIT waits is in test_publisher.c and test_blocked.c. */
#include "support/fault_fixture.h"

#include <poll.h>
#include <stdatomic.h>

enum { LONG_MS = 10000, SHORT_MS = 300, IN_VAIN_MS = 1000, CHUNK = 64 << 10, OUTBOUND_BYTES = 1 << 20, MANY = 400 };

static void use_template_that_fails(void)
{
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_FAIL, .timeout_ms = LONG_MS, .max_unconfirmed = 2});
}

static void test_unknown_flow_is_refused(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    fault_expect_status(CONEY_E_INVALID, coney_template_new(&fault.sender, fault.factory,
                                                            &(coney_template_options){.flow = (coney_flow)7}));
    fault_expect_text("flow is 7");
}

/* --- no connection --- */

static void test_first_send_connects(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    use_template_that_fails();
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

/* Nobody listens there any more. */
static void test_first_send_fails_with_the_first_attempt(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    cny_broker_stop(fault.broker);
    fault.broker = NULL;
    use_template_that_fails();
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_send(LONG_MS));
    fault_expect_text("Connection refused");
    fault_expect_status(CONEY_E_CONNECT, fault_send_async(0, NULL));
    test_expect_elapsed(began, 0, 500);
    assert_int_equal(fault_completed(0).count, 0);
}

static void hang_up_then_say_nothing(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        cny_peer_silence(peer, LONG_MS);
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_wait_go(peer);
    cny_peer_hang_up(peer);
}

static void lose_the_connection(const coney_template_options *options)
{
    fault_start(hang_up_then_say_nothing, NULL);
    fault_use_template(options);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    cny_broker_go(fault.broker);
    fault_wait_for_state(CONEY_PUBLISHING, CONEY_CONNECTION_CONNECTING);
}

static void test_send_without_a_connection_fails_at_once_and_tells_its_state(void **state)
{
    (void)state;
    lose_the_connection(&(coney_template_options){.flow = CONEY_FLOW_FAIL});
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_send(LONG_MS));
    fault_expect_text("not connected: connecting to 127.0.0.1");
    fault_expect_text("last: ");
    fault_expect_status(CONEY_E_CONNECT, fault_send_async(0, NULL));
    test_expect_elapsed(began, 0, 0);
}

static void hang_up_at_each_message(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        cny_peer_silence(peer, LONG_MS);
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_hang_up(peer);
}

static void test_send_behind_kept_messages_fails_at_once(void **state)
{
    (void)state;
    fault_start(hang_up_at_each_message, NULL);
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_FAIL, .resend_unconfirmed = true});
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_wait_for_state(CONEY_PUBLISHING, CONEY_CONNECTION_CONNECTING);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_send(LONG_MS));
    test_expect_elapsed(began, 0, 0);
}

/* --- limits --- */

static void take_all_and_ack_late(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = 0;
    for (int i = 0; i < 2; i++)
        channel = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD)->channel;
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, channel, 2, true);
}

static void test_send_fails_at_once_at_max_unconfirmed_and_tells_the_numbers(void **state)
{
    (void)state;
    fault_start(take_all_and_ack_late, NULL);
    use_template_that_fails();
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_expect_status(CONEY_OK, fault_send_async(1, NULL));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LIMIT, fault_send_async(2, NULL));
    fault_expect_text("2 messages are unconfirmed (max_unconfirmed 2)");
    fault_expect_status(CONEY_E_LIMIT, fault_send(LONG_MS));
    test_expect_elapsed(began, 0, 0);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    fault_expect_status(CONEY_OK, fault_send_async(3, NULL));
    fault_wait_for_confirms();
    fault_expect_completion(3, CONEY_OK);
    assert_int_equal(fault_completed(2).count, 0);
}

static void read_nothing_until_told(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_stall_until_go(peer);
}

static coney_status send_bytes(size_t size, int timeout_ms)
{
    static char body[OUTBOUND_BYTES];
    coney_message *message;
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, size, NULL));
    const coney_send_options options = {.timeout_ms = timeout_ms};
    coney_status status = coney_template_send_async(fault.sender, "key", message, &options, NULL, NULL);
    coney_message_unref(message);
    return status;
}

/* Until no more chunks find room, for so long that the kernel, which tries again, takes none either; the last
 * one's status. */
static coney_status fill_the_outbound_buffer(coney_flow flow)
{
    enum { QUIET_MS = 1000 };
    cny_broker_options broker = {.script = read_nothing_until_told, .receive_buffer = CHUNK};
    coney_connection_factory_options client = {.max_outbound_bytes = OUTBOUND_BYTES};
    coney_status status = CONEY_OK;
    fault_start_with(&broker, &client);
    fault_use_template(&(coney_template_options){.flow = flow});
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    int64_t last = cny_now_ms();
    for (int sent = 0; sent < MANY && cny_now_ms() - last < QUIET_MS; poll(NULL, 0, status == CONEY_OK ? 0 : 2)) {
        status = send_bytes(CHUNK, 20);
        if (status == CONEY_OK) {
            sent++;
            last = cny_now_ms();
        }
    }
    return status;
}

static void test_send_fails_at_once_at_max_outbound_bytes_and_tells_the_numbers(void **state)
{
    (void)state;
    fault_expect_status(CONEY_E_LIMIT, fill_the_outbound_buffer(CONEY_FLOW_FAIL));
    fault_expect_text("max_outbound_bytes 1048576");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LIMIT, send_bytes(CHUNK, LONG_MS));
    test_expect_elapsed(began, 0, 0);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
}

static coney_status send_large(void)
{
    static char body[OUTBOUND_BYTES / 2];
    coney_message *message;
    memcpy(body, "large", sizeof "large");
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    return fault_send_message_async(0, NULL, message);
}

static void test_small_messages_do_not_overtake_a_large_one_that_waits_for_room(void **state)
{
    (void)state;
    static cny_heard heard[CNY_MAX_HEARD];
    fault_expect_status(CONEY_E_LIMIT, fill_the_outbound_buffer(CONEY_FLOW_WAIT));
    fault_in_background(send_large);
    fault_wait_until(fault_send_waits_for_room());
    fault_expect_status(CONEY_E_LIMIT, send_bytes(1, SHORT_MS)); /* there is room for that one */
    assert_false(fault_background_is_over());
    cny_broker_go(fault.broker);
    for (int i = 1; i <= 100; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
    fault_expect_status(CONEY_OK, fault_background_end());
    fault_wait_for_confirms();
    int count = cny_broker_heard(fault.broker, heard), large = 0, small = 0;
    for (int i = 0; i < count; i++) {
        if (heard[i].id == AMQP_BASIC_PUBLISH_METHOD && strncmp(heard[i].what, "large", 5) == 0)
            large = i;
        if (heard[i].id == AMQP_BASIC_PUBLISH_METHOD && strcmp(heard[i].what, "1") == 0)
            small = i;
    }
    assert_int_in_range(large, 1, small);
}

/* The one that waits at the front must not hold up the others when it gives up. */
static coney_status send_large_in_vain(void)
{
    return send_bytes(OUTBOUND_BYTES, IN_VAIN_MS);
}

static void test_one_that_gives_up_waiting_for_room_lets_the_next_one_go(void **state)
{
    (void)state;
    fault_expect_status(CONEY_E_LIMIT, fill_the_outbound_buffer(CONEY_FLOW_WAIT));
    fault_in_background(send_large_in_vain);
    fault_wait_until(fault_send_waits_for_room() || fault_background_is_over());
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, fault_send_async(1, NULL)); /* there is room for that one */
    test_expect_elapsed(began, 0, IN_VAIN_MS);
    fault_expect_status(CONEY_E_LIMIT, fault_background_end());
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
}

/* --- a window of which most is stuck --- */

enum { STUCK = 90, STUCK_WINDOW = 100, PASSING = 300 }; /* a quarter of the window never comes */

static void confirm_all_but_the_first(cny_peer *peer, void *user)
{
    (void)user;
    for (int i = 0; i < STUCK + 2 * PASSING; i++) {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        if (publish->number > STUCK)
            cny_peer_ack(peer, publish->channel, publish->number, false);
    }
}

static coney_status send_them(void)
{
    coney_status status = CONEY_OK;
    for (int i = STUCK; i < STUCK + PASSING && status == CONEY_OK; i++)
        status = fault_send_async(i, NULL);
    return status;
}

/* Of two threads, neither waits long: with a window in full use there would be room now and then. */
static void test_window_that_is_mostly_stuck_lets_messages_pass(void **state)
{
    (void)state;
    fault_start(confirm_all_but_the_first, NULL);
    fault_use_template(&(coney_template_options){.max_unconfirmed = STUCK_WINDOW});
    for (int i = 0; i < STUCK; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
    int64_t began = cny_now_ms();
    fault_in_background(send_them);
    for (int i = STUCK + PASSING; i < STUCK + 2 * PASSING; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
    fault_expect_status(CONEY_OK, fault_background_end());
    test_expect_elapsed(began, 0, PASSING * 5); /* 10 messages pass at a time, not one in 5 ms */
    fault_wait_until(coney_template_unconfirmed_count(fault.sender) == STUCK);
}

/* --- callbacks that send more than completes --- */

static atomic_int sent_by_callbacks;
static _Atomic(coney_status) last_of_callbacks;

static void send_two(coney_message *message, const coney_error *error, void *user)
{
    (void)error;
    for (int i = 0; i < 2 && atomic_load(&last_of_callbacks) == CONEY_OK; i++) {
        coney_status status = coney_template_send_async(user, "key", message, NULL, send_two, user);
        atomic_fetch_add(&sent_by_callbacks, status == CONEY_OK);
        atomic_store(&last_of_callbacks, status);
    }
}

static void test_callbacks_cannot_send_without_end(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    fault_use_template(&(coney_template_options){.max_unconfirmed = 1});
    atomic_store(&sent_by_callbacks, 0);
    atomic_store(&last_of_callbacks, CONEY_OK);
    coney_message *message = fault_message("hello");
    coney_status status = coney_template_send_async(fault.sender, "key", message, NULL, send_two, fault.sender);
    coney_message_unref(message);
    fault_expect_status(CONEY_OK, status);
    fault_wait_until(atomic_load(&last_of_callbacks) != CONEY_OK);
    fault_wait_for_confirms();
    fault_expect_status(CONEY_E_LIMIT, atomic_load(&last_of_callbacks));
    assert_true(atomic_load(&sent_by_callbacks) >= 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_unknown_flow_is_refused),
        fault_test(test_first_send_connects),
        fault_test(test_first_send_fails_with_the_first_attempt),
        fault_test(test_send_without_a_connection_fails_at_once_and_tells_its_state),
        fault_test(test_send_behind_kept_messages_fails_at_once),
        fault_test(test_send_fails_at_once_at_max_unconfirmed_and_tells_the_numbers),
        fault_test(test_send_fails_at_once_at_max_outbound_bytes_and_tells_the_numbers),
        fault_test(test_small_messages_do_not_overtake_a_large_one_that_waits_for_room),
        fault_test(test_one_that_gives_up_waiting_for_room_lets_the_next_one_go),
        fault_test(test_window_that_is_mostly_stuck_lets_messages_pass),
        fault_test(test_callbacks_cannot_send_without_end),
    };
    return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
