/* SPDX-License-Identifier: MIT */
/* CONEY_FLOW_STORE: what cannot go now is stored within limits, goes in order when it can, and completes once,
 * whatever becomes of it. */
#include "rabbit/template/template.h"
#include "support/fault_fixture.h"

#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONG_MS = 10000, SHORT_MS = 300, TEN = 10 };

static const char reason[] = "low on memory";

static void use_store(coney_store_options store)
{
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_STORE, .store = store, .timeout_ms = LONG_MS});
}

static void send_some(int from, int to)
{
    for (int i = from; i < to; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
}

static coney_send_statistics counts(void)
{
    coney_send_statistics seen;
    coney_template_statistics(fault.sender, &seen);
    return seen;
}

/* The bodies of all messages that the peer with this number, or later ones, heard: "0 1 2". */
static void expect_heard(int peer, const char *expected)
{
    static cny_heard heard[CNY_MAX_HEARD];
    char text[4096] = "";
    int count = cny_broker_heard(fault.broker, heard);
    for (int i = 0; i < count; i++) {
        if (heard[i].id != AMQP_BASIC_PUBLISH_METHOD || heard[i].peer < peer)
            continue;
        size_t size = strlen(text);
        snprintf(text + size, sizeof text - size, "%s%s", size ? " " : "", heard[i].what);
    }
    assert_string_equal(text, expected);
}

static void expect_all_confirmed(int count)
{
    fault_wait_for_confirms();
    for (int i = 0; i < count; i++)
        fault_expect_completion(i, CONEY_OK);
    assert_int_equal(counts().stored, 0);
    assert_int_equal(counts().stored_bytes, 0);
}

/* --- why it cannot go --- */

static void connect_when_told(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_stall_until_go(peer);
}

static void test_sends_without_a_connection_are_stored_and_go_in_order(void **state)
{
    (void)state;
    fault_start(connect_when_told, NULL);
    use_store((coney_store_options){0});
    int64_t began = cny_now_ms();
    send_some(0, TEN);
    test_expect_elapsed(began, 0, 0);
    assert_int_equal(counts().stored, TEN);
    cny_broker_go(fault.broker);
    expect_all_confirmed(TEN);
    expect_heard(0, "0 1 2 3 4 5 6 7 8 9");
}

static void block(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_block(peer, reason);
    cny_peer_wait_go(peer);
    cny_peer_block(peer, NULL);
}

static void start_blocked_by(cny_script *script, coney_store_options store)
{
    fault_start(script, NULL);
    use_store(store);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
}

static void start_blocked_with(coney_store_options store)
{
    start_blocked_by(block, store);
}

static void test_sends_while_blocked_are_stored_and_go_in_order(void **state)
{
    (void)state;
    start_blocked_with((coney_store_options){0});
    int64_t began = cny_now_ms();
    send_some(0, TEN);
    test_expect_elapsed(began, 0, 0);
    poll(NULL, 0, 50);
    assert_int_equal(counts().stored, TEN);
    expect_heard(0, "hello");
    cny_broker_go(fault.broker);
    expect_all_confirmed(TEN);
    expect_heard(0, "hello 0 1 2 3 4 5 6 7 8 9");
}

static void ack_late(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = 0;
    for (int i = 0; i < 2; i++)
        channel = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD)->channel;
    cny_peer_wait_go(peer);
    cny_peer_ack(peer, channel, 2, true);
}

static void start_with_a_full_window(void)
{
    fault_start(ack_late, NULL);
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_STORE, .max_unconfirmed = 2});
    send_some(0, 2);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 2);
}

static void test_sends_beyond_max_unconfirmed_are_stored_and_go_in_order(void **state)
{
    (void)state;
    start_with_a_full_window();
    send_some(2, TEN);
    poll(NULL, 0, 50);
    assert_int_equal(counts().stored, TEN - 2);
    cny_broker_go(fault.broker);
    expect_all_confirmed(TEN);
    expect_heard(0, "0 1 2 3 4 5 6 7 8 9");
}

static void read_nothing_until_told(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_stall_until_go(peer);
}

static void test_sends_beyond_max_outbound_bytes_are_stored(void **state)
{
    (void)state;
    enum { CHUNK = 64 << 10, CHUNKS = 300 };
    static char body[CHUNK];
    cny_broker_options broker = {.script = read_nothing_until_told, .receive_buffer = CHUNK};
    coney_connection_factory_options client = {.max_outbound_bytes = 1 << 20};
    fault_start_with(&broker, &client);
    use_store((coney_store_options){0});
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    for (int i = 0; i < CHUNKS; i++) {
        coney_message *message;
        snprintf(body, sizeof body, "%d", i);
        fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
        fault_expect_status(CONEY_OK, fault_send_message_async(i, NULL, message));
    }
    assert_int_in_range(counts().stored, 1, CHUNKS);
    assert_int_in_range(counts().stored_bytes, counts().stored * CHUNK, counts().stored * (CHUNK + 1024));
    cny_broker_go(fault.broker);
    expect_all_confirmed(CHUNKS);
}

static void hang_up_and_come_back_slowly(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0) {
        cny_peer_stall(peer, SHORT_MS);
        return;
    }
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_hang_up(peer);
}

static void test_kept_messages_go_before_stored_ones_and_those_before_newer_ones(void **state)
{
    (void)state;
    fault_start(hang_up_and_come_back_slowly, NULL);
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_STORE, .resend_unconfirmed = true});
    send_some(0, 1);
    fault_wait_for_state(CONEY_PUBLISHING, CONEY_CONNECTION_CONNECTING);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 1);
    send_some(1, 4);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    send_some(4, 5);
    expect_all_confirmed(5);
    expect_heard(1, "0 1 2 3 hello 4");
}

/* --- synchronous sends --- */

static coney_status send_in_background(void)
{
    return fault_send(LONG_MS);
}

static void test_synchronous_send_waits_behind_what_is_stored_but_not_for_newer_ones(void **state)
{
    (void)state;
    start_blocked_with((coney_store_options){0});
    send_some(0, 2);
    fault_in_background(send_in_background);
    poll(NULL, 0, 100); /* it waits */
    assert_false(fault_background_is_over());
    send_some(2, TEN);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    expect_all_confirmed(TEN);
}

static void test_synchronous_send_behind_the_store_tells_of_blocking_at_its_deadline(void **state)
{
    (void)state;
    start_blocked_with((coney_store_options){0});
    send_some(0, 1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_BLOCKED, fault_send(SHORT_MS));
    fault_expect_text(reason);
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    cny_broker_go(fault.broker);
    expect_all_confirmed(1);
    expect_heard(0, "hello 0");
}

static void test_synchronous_send_behind_the_store_tells_of_the_connection_at_its_deadline(void **state)
{
    (void)state;
    fault_start(connect_when_told, NULL);
    use_store((coney_store_options){0});
    send_some(0, 1);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, fault_send(SHORT_MS));
    fault_expect_text("connecting to 127.0.0.1");
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    cny_broker_go(fault.broker);
    expect_all_confirmed(1);
    expect_heard(0, "0");
}

static void test_synchronous_send_behind_the_store_gives_up_at_its_deadline_if_the_window_is_full(void **state)
{
    (void)state;
    start_with_a_full_window();
    send_some(2, 4);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LIMIT, fault_send(SHORT_MS));
    fault_expect_text("2 messages are still stored");
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    cny_broker_go(fault.broker);
    expect_all_confirmed(4);
    expect_heard(0, "0 1 2 3");
}

static atomic_int status_in_callback;

static void send_and_wait(coney_message *message, const coney_error *error, void *user)
{
    (void)user;
    (void)error;
    atomic_store(&status_in_callback, (int)coney_template_send(fault.sender, "key", message, NULL));
}

static void ack_the_first_and_then_all(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_wait_go(peer);
    cny_peer_answer(peer, publish);
}

/* The window is full and opens only behind the callback, which must not wait for itself. */
static void test_synchronous_send_from_a_callback_goes_though_messages_are_stored(void **state)
{
    (void)state;
    atomic_store(&status_in_callback, -1);
    fault_start(ack_the_first_and_then_all, NULL);
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_STORE, .max_unconfirmed = 1, .timeout_ms = 2000});
    coney_message *first = fault_message("first");
    fault_expect_status(CONEY_OK, coney_template_send_async(fault.sender, "key", first, NULL, send_and_wait, NULL));
    coney_message_unref(first);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 1);
    send_some(0, 3);
    assert_int_equal(counts().stored, 3);
    cny_broker_go(fault.broker);
    expect_all_confirmed(3);
    assert_int_equal(atomic_load(&status_in_callback), CONEY_OK);
    expect_heard(0, "first 0 1 2 first");
}

/* More than callbacks may send beyond max_unconfirmed: they were accepted before. */
static void test_synchronous_send_from_a_callback_goes_though_very_many_messages_are_stored(void **state)
{
    (void)state;
    enum { VERY_MANY = 1200 };
    atomic_store(&status_in_callback, -1);
    fault_start(ack_the_first_and_then_all, NULL);
    fault_use_template(
        &(coney_template_options){.flow = CONEY_FLOW_STORE, .max_unconfirmed = 1, .timeout_ms = LONG_MS});
    coney_message *message = fault_message("first");
    fault_expect_status(CONEY_OK, coney_template_send_async(fault.sender, "key", message, NULL, send_and_wait, NULL));
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 1);
    for (int i = 0; i < VERY_MANY; i++)
        fault_expect_status(CONEY_OK, coney_template_send_async(fault.sender, "key", message, NULL, NULL, NULL));
    coney_message_unref(message);
    assert_int_equal(counts().stored, VERY_MANY);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    assert_int_equal(atomic_load(&status_in_callback), CONEY_OK);
    assert_int_equal(counts().confirmed, VERY_MANY + 2);
}

/* --- limits --- */

static void test_full_store_refuses_with_the_numbers(void **state)
{
    (void)state;
    start_blocked_with((coney_store_options){.max_messages = 3});
    send_some(0, 3);
    fault_expect_status(CONEY_E_LIMIT, fault_send_async(3, NULL));
    fault_expect_text("3 messages");
    fault_expect_text("max_messages 3");
    cny_broker_go(fault.broker);
    expect_all_confirmed(3);
    assert_int_equal(fault_completed(3).count, 0);
}

static void test_bytes_of_the_store_are_limited_too(void **state)
{
    (void)state;
    static char body[2000];
    start_blocked_with((coney_store_options){.max_bytes = 5000});
    for (int i = 0; i < 3; i++) {
        coney_message *message;
        fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
        fault_expect_status(i < 2 ? CONEY_OK : CONEY_E_LIMIT, fault_send_message_async(i, NULL, message));
    }
    fault_expect_text("max_bytes 5000");
    cny_broker_go(fault.broker);
    expect_all_confirmed(2);
}

static void test_message_larger_than_the_store_is_refused_even_if_it_drops_the_oldest(void **state)
{
    (void)state;
    static char body[6000];
    coney_message *message;
    start_blocked_with((coney_store_options){.max_bytes = 5000, .drop_oldest = true});
    send_some(0, 1);
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    fault_expect_status(CONEY_E_LIMIT, fault_send_message_async(1, NULL, message));
    fault_expect_text("never fits");
    cny_broker_go(fault.broker);
    expect_all_confirmed(1);
}

static void test_drop_oldest_completes_the_oldest_as_never_sent(void **state)
{
    (void)state;
    start_blocked_with((coney_store_options){.max_messages = 3, .drop_oldest = true});
    send_some(0, 5);
    fault_wait_until(fault_completed(1).count == 1);
    fault_expect_completion(0, CONEY_E_LIMIT);
    fault_expect_completion(1, CONEY_E_LIMIT);
    assert_non_null(strstr(fault_completed(0).text, "never sent"));
    assert_int_equal(counts().dropped, 2);
    assert_int_equal(counts().stored, 3);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    for (int i = 2; i < 5; i++)
        fault_expect_completion(i, CONEY_OK);
    expect_heard(0, "hello 2 3 4");
}

static void begin_three(coney_confirmation *begun[3])
{
    coney_message *message = fault_message("begun");
    for (int i = 0; i < 3; i++)
        fault_expect_status(CONEY_OK, coney_template_begin_send(fault.sender, &begun[i], "key", message, NULL));
    coney_message_unref(message);
}

static void free_three(coney_confirmation *begun[3])
{
    for (int i = 0; i < 3; i++)
        coney_confirmation_free(begun[i]);
}

static void test_confirmations_tell_what_becomes_of_stored_messages(void **state)
{
    (void)state;
    coney_confirmation *begun[3];
    start_blocked_with((coney_store_options){.max_messages = 2, .drop_oldest = true});
    begin_three(begun);
    fault_expect_status(CONEY_E_LIMIT, coney_confirmation_wait(begun[0], LONG_MS));
    fault_expect_text("never sent");
    fault_expect_status(CONEY_E_TIMEOUT, coney_confirmation_wait(begun[1], 0));
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, coney_confirmation_wait(begun[1], LONG_MS));
    fault_expect_status(CONEY_OK, coney_confirmation_wait(begun[2], LONG_MS));
    free_three(begun);
}

static void test_confirmations_of_stored_messages_may_be_freed_before(void **state)
{
    (void)state;
    coney_confirmation *begun[3];
    start_blocked_with((coney_store_options){.max_age_ms = SHORT_MS});
    begin_three(begun);
    free_three(begun);
    fault_wait_until(counts().expired == 3);
    assert_int_equal(counts().stored, 0);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    expect_heard(0, "hello");
}

static atomic_bool may_return;
static atomic_int held_calls;

static void hold_on(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)error;
    (void)user;
    atomic_fetch_add(&held_calls, 1);
    for (int64_t end = cny_now_ms() + CNY_PATIENCE_MS; !atomic_load(&may_return) && cny_now_ms() < end;)
        poll(NULL, 0, 2);
}

static void test_callbacks_that_hang_limit_what_is_dropped(void **state)
{
    (void)state;
    int accepted = 0;
    atomic_store(&may_return, false);
    atomic_store(&held_calls, 0);
    start_blocked_with((coney_store_options){.max_messages = 5, .drop_oldest = true});
    coney_message *message = fault_message("held");
    coney_status status = CONEY_OK;
    while (status == CONEY_OK && accepted < 100) {
        status = coney_template_send_async(fault.sender, "key", message, NULL, hold_on, NULL);
        accepted += status == CONEY_OK;
    }
    coney_message_unref(message);
    assert_int_equal(status, CONEY_E_LIMIT);
    assert_int_in_range(accepted, 10, 13);
    atomic_store(&may_return, true);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
    assert_int_equal(atomic_load(&held_calls), accepted);
}

static void hang_up_at_each_message(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_hang_up(peer);
}

/* Each loss makes room for a new channel's window, until nothing finds room for longer than a recovery takes. */
static void expect_an_end_of_losses(coney_flow flow, coney_status expected)
{
    enum { QUIET_MS = 1000, FEWEST = 5, MOST = 12 };
    coney_status status = CONEY_OK;
    int accepted = 0;
    atomic_store(&may_return, false);
    atomic_store(&held_calls, 0);
    fault_start(hang_up_at_each_message, NULL);
    const coney_template_options options = {.flow = flow,
                                            .max_unconfirmed = 1,
                                            .timeout_ms = QUIET_MS,
                                            .store.max_messages = flow == CONEY_FLOW_STORE ? 1 : 0};
    fault_use_template(&options);
    coney_message *message = fault_message("held");
    int64_t last = cny_now_ms(), end = last + CNY_PATIENCE_MS;
    while ((accepted < FEWEST || cny_now_ms() - last < QUIET_MS) && accepted <= MOST && cny_now_ms() < end) {
        status = coney_template_send_async(fault.sender, "key", message, NULL, hold_on, NULL);
        accepted += status == CONEY_OK;
        if (status == CONEY_OK)
            last = cny_now_ms();
        poll(NULL, 0, 5);
    }
    coney_message_unref(message);
    fault_expect_status(expected, status);
    assert_int_in_range(accepted, FEWEST, MOST);
    atomic_store(&may_return, true);
    fault_expect_status(CONEY_OK, coney_template_wait_for_confirms(fault.sender, CNY_PATIENCE_MS));
    assert_int_equal(atomic_load(&held_calls), accepted);
}

static void test_callbacks_that_hang_limit_what_losses_leave_behind(void **state)
{
    (void)state;
    expect_an_end_of_losses(CONEY_FLOW_WAIT, CONEY_E_LIMIT);
}

static void test_callbacks_that_hang_limit_what_leaves_the_store(void **state)
{
    (void)state;
    expect_an_end_of_losses(CONEY_FLOW_STORE, CONEY_E_LIMIT);
}

static void test_too_old_messages_complete_as_never_sent(void **state)
{
    (void)state;
    start_blocked_with((coney_store_options){.max_age_ms = SHORT_MS});
    int64_t began = cny_now_ms();
    send_some(0, 2);
    fault_wait_until(fault_completed(1).count == 1);
    test_expect_elapsed(began, SHORT_MS, SHORT_MS + 50);
    fault_expect_completion(0, CONEY_E_TIMEOUT);
    assert_non_null(strstr(fault_completed(0).text, "never sent"));
    assert_non_null(strstr(fault_completed(0).text, reason));
    assert_int_equal(counts().expired, 2);
    cny_broker_go(fault.broker);
    fault_wait_until(!fault_info(CONEY_PUBLISHING).blocked);
    send_some(2, 3);
    fault_wait_for_confirms();
    expect_heard(0, "hello 2");
}

/* --- what fails all the same --- */

static void test_headers_too_large_are_refused_at_once(void **state)
{
    (void)state;
    coney_table *headers = coney_table_new();
    coney_message *message;
    char *text = calloc(1, 200001);
    memset(text, 'x', 200000);
    start_blocked_with((coney_store_options){0});
    fault_expect_status(CONEY_OK, coney_table_set_string(headers, "large", text));
    fault_expect_status(CONEY_OK, coney_message_new(&message, "x", 1, &(coney_properties){.headers = headers}));
    fault_expect_status(CONEY_E_INVALID, fault_send_message_async(0, NULL, message));
    coney_table_free(headers);
    free(text);
    cny_broker_go(fault.broker);
    fault_wait_for_confirms();
}

static void refuse_the_login(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONNECTION_OPEN_METHOD);
    cny_peer_close_connection(peer, 530, "NOT_ALLOWED - no such virtual host");
}

static void test_refused_login_is_told_instead_of_storing_for_ever(void **state)
{
    (void)state;
    fault_start(refuse_the_login, NULL);
    use_store((coney_store_options){0});
    send_some(0, 1);
    fault_wait_for_state(CONEY_PUBLISHING, CONEY_CONNECTION_FAILED);
    fault_expect_status(CONEY_E_NOT_ALLOWED, fault_send_async(1, NULL));
    fault_expect_text("no such virtual host");
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_NOT_ALLOWED, coney_template_wait_for_confirms(fault.sender, LONG_MS));
    test_expect_elapsed(began, 0, 300);
    coney_template_free(fault.sender);
    fault.sender = NULL;
    fault_expect_completion(0, CONEY_E_CLOSED);
}

static void test_options_of_the_store_are_checked(void **state)
{
    (void)state;
    const coney_template_options bad[] = {
        {.flow = CONEY_FLOW_STORE, .store.max_messages = -1},
        {.flow = CONEY_FLOW_STORE, .store.max_age_ms = -1},
        {.store.max_messages = 5},
        {.flow = CONEY_FLOW_FAIL, .store.drop_oldest = true},
    };
    const char *words[] = {"max_messages is -1", "max_age_ms is -1", "flow is not", "flow is not"};
    fault_start(NULL, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fault_expect_status(CONEY_E_INVALID, coney_template_new(&fault.sender, fault.factory, &bad[i]));
        fault_expect_text(words[i]);
    }
}

/* --- the end --- */

static void test_waiting_for_confirms_covers_the_store(void **state)
{
    (void)state;
    start_blocked_with((coney_store_options){0});
    send_some(0, 2);
    fault_expect_status(CONEY_E_TIMEOUT, coney_template_wait_for_confirms(fault.sender, 0));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_template_wait_for_confirms(fault.sender, SHORT_MS));
    fault_expect_text("stored");
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    cny_broker_go(fault.broker);
    expect_all_confirmed(2);
}

static void block_for_ever(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
    cny_peer_block(peer, reason);
}

static void expect_never_sent(void)
{
    for (int i = 0; i < 2; i++) {
        fault_expect_completion(i, CONEY_E_CLOSED);
        assert_non_null(strstr(fault_completed(i).text, "never sent"));
    }
    expect_heard(0, "hello");
}

static void test_free_completes_what_is_stored_as_never_sent(void **state)
{
    (void)state;
    start_blocked_by(block_for_ever, (coney_store_options){0});
    send_some(0, 2);
    coney_template_free(fault.sender);
    fault.sender = NULL;
    expect_never_sent();
}

static void test_closing_the_factory_waits_for_the_store_then_completes_it_as_never_sent(void **state)
{
    (void)state;
    start_blocked_by(block_for_ever, (coney_store_options){0});
    send_some(0, 2);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_TIMEOUT, coney_connection_factory_close(fault.factory));
    test_expect_elapsed(began, 500, 800);
    expect_never_sent();
    fault_expect_status(CONEY_E_CLOSED, fault_send_async(2, NULL));
}

static void connect_slowly(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_stall(peer, SHORT_MS);
}

static void test_closing_the_factory_sends_what_is_stored_if_it_can(void **state)
{
    (void)state;
    fault_start(connect_slowly, &(coney_connection_factory_options){.close_timeout_ms = 5000});
    use_store((coney_store_options){0});
    send_some(0, TEN);
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    for (int i = 0; i < TEN; i++)
        fault_expect_completion(i, CONEY_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_sends_without_a_connection_are_stored_and_go_in_order),
        fault_test(test_sends_while_blocked_are_stored_and_go_in_order),
        fault_test(test_sends_beyond_max_unconfirmed_are_stored_and_go_in_order),
        fault_test(test_sends_beyond_max_outbound_bytes_are_stored),
        fault_test(test_kept_messages_go_before_stored_ones_and_those_before_newer_ones),
        fault_test(test_synchronous_send_waits_behind_what_is_stored_but_not_for_newer_ones),
        fault_test(test_synchronous_send_behind_the_store_tells_of_blocking_at_its_deadline),
        fault_test(test_synchronous_send_behind_the_store_tells_of_the_connection_at_its_deadline),
        fault_test(test_synchronous_send_behind_the_store_gives_up_at_its_deadline_if_the_window_is_full),
        fault_test(test_synchronous_send_from_a_callback_goes_though_messages_are_stored),
        fault_test(test_synchronous_send_from_a_callback_goes_though_very_many_messages_are_stored),
        fault_test(test_full_store_refuses_with_the_numbers),
        fault_test(test_bytes_of_the_store_are_limited_too),
        fault_test(test_message_larger_than_the_store_is_refused_even_if_it_drops_the_oldest),
        fault_test(test_drop_oldest_completes_the_oldest_as_never_sent),
        fault_test(test_confirmations_tell_what_becomes_of_stored_messages),
        fault_test(test_confirmations_of_stored_messages_may_be_freed_before),
        fault_test(test_callbacks_that_hang_limit_what_is_dropped),
        fault_test(test_callbacks_that_hang_limit_what_losses_leave_behind),
        fault_test(test_callbacks_that_hang_limit_what_leaves_the_store),
        fault_test(test_too_old_messages_complete_as_never_sent),
        fault_test(test_headers_too_large_are_refused_at_once),
        fault_test(test_refused_login_is_told_instead_of_storing_for_ever),
        fault_test(test_options_of_the_store_are_checked),
        fault_test(test_waiting_for_confirms_covers_the_store),
        fault_test(test_free_completes_what_is_stored_as_never_sent),
        fault_test(test_closing_the_factory_waits_for_the_store_then_completes_it_as_never_sent),
        fault_test(test_closing_the_factory_sends_what_is_stored_if_it_can),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
