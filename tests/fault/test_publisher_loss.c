/* SPDX-License-Identifier: MIT */
/* Channels and connections that go away under a publisher: every send that was outstanding
 * completes once, with what can be known, and the next send works. */
#include "support/fault_fixture.h"

enum { LONG_MS = 10000, COUNT = 20 };

/* Reads so many messages without confirming any and returns their channel. */
static amqp_channel_t take_messages(cny_peer *peer, int count)
{
    amqp_channel_t channel = 0;
    for (int i = 0; i < count; i++)
        channel = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD)->channel;
    return channel;
}

/* --- connections --- */

static void shut_down(cny_peer *peer, int after)
{
    if (cny_peer_number(peer) > 0)
        return;
    take_messages(peer, after);
    bool answered = cny_peer_close_connection(peer, 320, "CONNECTION_FORCED - broker forced connection closure");
    cny_peer_check(peer, answered);
}

static void shut_down_after_one(cny_peer *peer, void *user)
{
    (void)user;
    shut_down(peer, 1);
}

static void shut_down_after_all(cny_peer *peer, void *user)
{
    (void)user;
    shut_down(peer, COUNT);
}

static void reset_after_all(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    take_messages(peer, COUNT);
    cny_peer_reset(peer);
}

static void fall_silent_after_all(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    take_messages(peer, COUNT);
    cny_peer_silence(peer, LONG_MS);
}

static void test_shutdown_loses_a_send_that_waits(void **state)
{
    (void)state;
    fault_start(shut_down_after_one, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_LOST, fault_send(LONG_MS));
    assert_int_equal(coney_last_error_details()->broker_code, 320);
    fault_expect_text("broker forced connection closure");
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void expect_all_lost_once(cny_script *script)
{
    fault_start(script, &(coney_connection_factory_options){.heartbeat_s = 1});
    fault_use_template(NULL);
    for (int i = 0; i < COUNT; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
    fault_wait_for_confirms();
    for (int i = 0; i < COUNT; i++)
        fault_expect_completion(i, CONEY_E_LOST);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

static void test_shutdown_loses_each_outstanding_send_once(void **state)
{
    (void)state;
    expect_all_lost_once(shut_down_after_all);
    assert_int_equal(fault_completed(0).broker_code, 320);
}

static void test_reset_loses_each_outstanding_send_once(void **state)
{
    (void)state;
    expect_all_lost_once(reset_after_all);
}

static void test_missing_heartbeats_lose_each_outstanding_send_once(void **state)
{
    (void)state;
    expect_all_lost_once(fall_silent_after_all);
}

static void ack_half_then_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    amqp_channel_t channel = take_messages(peer, COUNT);
    cny_peer_ack(peer, channel, COUNT / 2, true);
    cny_peer_hang_up(peer);
}

static void test_sends_confirmed_before_the_loss_stay_confirmed(void **state)
{
    (void)state;
    fault_start(ack_half_then_hang_up, NULL);
    fault_use_template(NULL);
    for (int i = 0; i < COUNT; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
    fault_wait_for_confirms();
    for (int i = 0; i < COUNT; i++)
        fault_expect_completion(i, i < COUNT / 2 ? CONEY_OK : CONEY_E_LOST);
}

static void hang_up_inside_a_return(cny_peer *peer, void *user)
{
    (void)user;
    amqp_basic_return_t back = {312, amqp_cstring_bytes("NO_ROUTE"), amqp_empty_bytes, amqp_cstring_bytes("key")};
    amqp_channel_t channel = take_messages(peer, 1);
    cny_peer_send(peer, channel, AMQP_BASIC_RETURN_METHOD, &back);
    cny_peer_send_header(peer, channel, 5, NULL);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "he", 2);
    cny_peer_hang_up(peer);
}

static void test_hang_up_inside_a_return_loses_the_send(void **state)
{
    (void)state;
    fault_start(hang_up_inside_a_return, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_LOST, fault_send(LONG_MS));
}

/* --- channels --- */

static void miss_an_exchange(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take_messages(peer, 4);
    cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no exchange 'missing' in vhost '/'");
}

static void test_missing_exchange_is_not_found_for_its_sends_and_lost_for_the_others(void **state)
{
    (void)state;
    fault_start(miss_an_exchange, NULL);
    fault_use_template(NULL);
    for (int i = 0; i < 4; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, i % 2 ? "missing" : "present"));
    fault_wait_for_confirms();
    for (int i = 0; i < 4; i++)
        fault_expect_completion(i, i % 2 ? CONEY_E_NOT_FOUND : CONEY_E_LOST);
    assert_int_equal(fault_completed(1).broker_code, 404);
    assert_non_null(strstr(fault_completed(1).text, "no exchange 'missing'"));
}

static void refuse_four(cny_peer *peer, void *text)
{
    cny_peer_close_channel(peer, take_messages(peer, 4), 404, text);
}

/* Three messages go to an exchange whose name the broker's words hold in another form, and one to another exchange. */
static void expect_not_found_by(const char *text, const char *exchange, const char *other)
{
    fault_start_with(&(cny_broker_options){.script = refuse_four, .user = (void *)(uintptr_t)text}, NULL);
    fault_use_template(NULL);
    for (int i = 0; i < 4; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, i == 2 ? other : exchange));
    fault_wait_for_confirms();
    for (int i = 0; i < 4; i++)
        fault_expect_completion(i, i == 2 ? CONEY_E_LOST : CONEY_E_NOT_FOUND);
}

static void test_missing_exchange_is_known_by_a_name_that_cannot_be_shown(void **state)
{
    (void)state;
    expect_not_found_by("NOT_FOUND - no exchange '\xc2\x9b"
                        "a\xe2\x80\xa8\x1b  b\x7f' in vhost '/'",
                        "\xc2\x9b"
                        "a\xe2\x80\xa8\x1b  b\x7f",
                        "a b");
}

/* The broker's words have 255 bytes at most. */
static void test_missing_exchange_is_known_by_a_name_that_the_broker_cuts(void **state)
{
    (void)state;
    char exchange[256], other[256], text[256];
    memset(exchange, 'x', 255);
    exchange[255] = '\0';
    memcpy(other, exchange, sizeof other);
    other[100] = 'y';
    snprintf(text, sizeof text, "NOT_FOUND - no exchange '%.227s...", exchange);
    expect_not_found_by(text, exchange, other);
}

static coney_message *message_of_size(size_t size)
{
    static const char body[1000];
    coney_message *message;
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, size, NULL));
    return message;
}

static void send_of_size(int index, size_t size)
{
    fault_expect_status(CONEY_OK, fault_send_message_async(index, NULL, message_of_size(size)));
}

/* As RabbitMQ says it with max_message_size, and without. */
static const char *const too_large[] = {
    "PRECONDITION_FAILED - message size 101 is larger than configured max size 100",
    "PRECONDITION_FAILED - message size 101 is larger than max size 100",
};

static void refuse_for_that(cny_peer *peer, void *text)
{
    cny_peer_close_channel(peer, take_messages(peer, 5), 406, text);
}

static void start_refusing(const char *text)
{
    fault_start_with(&(cny_broker_options){.script = refuse_for_that, .user = (void *)(uintptr_t)text}, NULL);
    fault_use_template(NULL);
}

static void expect_refused(int index)
{
    fault_expect_completion(index, CONEY_E_PRECONDITION_FAILED);
    assert_int_equal(fault_completed(index).broker_code, 406);
}

static void test_all_messages_over_the_limit_are_refused_and_the_others_lost(void **state)
{
    (void)state;
    static const size_t sizes[] = {10, 101, 100, 900, 0};
    for (int wording = 0; wording < 2; wording++) {
        start_refusing(too_large[wording]);
        for (int i = 0; i < 5; i++)
            send_of_size(i, sizes[i]);
        fault_wait_for_confirms();
        for (int i = 0; i < 5; i++) {
            if (sizes[i] > 100)
                expect_refused(i);
            else
                fault_expect_completion(i, CONEY_E_LOST);
        }
        fault_teardown(state);
    }
}

static coney_status send_large(void)
{
    coney_message *message = message_of_size(500);
    coney_status status = coney_template_send(fault.sender, "key", message, NULL);
    coney_message_unref(message);
    return status;
}

static void test_synchronous_sender_of_a_message_over_the_limit_is_told(void **state)
{
    (void)state;
    start_refusing(too_large[0]);
    fault_in_background(send_large);
    fault_wait_until(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD) == 1);
    for (int i = 0; i < 4; i++)
        send_of_size(i, 10);
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, fault_background_end());
    fault_expect_text("message size 101");
    fault_wait_for_confirms();
    for (int i = 0; i < 4; i++)
        fault_expect_completion(i, CONEY_E_LOST);
}

static void expect_third_refused(const coney_properties *properties, const coney_properties *others, const char *text)
{
    start_refusing(text);
    for (int i = 0; i < 5; i++) {
        coney_message *message;
        fault_expect_status(CONEY_OK, coney_message_new(&message, "hello", 5, i == 2 ? properties : others));
        fault_expect_status(CONEY_OK, fault_send_message_async(i, NULL, message));
    }
    fault_wait_for_confirms();
    for (int i = 0; i < 5; i++) {
        if (i == 2)
            expect_refused(i);
        else
            fault_expect_completion(i, CONEY_E_LOST);
    }
}

static void test_message_whose_user_id_is_refused_is_told_by_it(void **state)
{
    (void)state;
    expect_third_refused(&(coney_properties){.user_id = "bob"}, &(coney_properties){.user_id = "bobby"},
                         "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'bobby'");
}

static void test_message_whose_expiration_is_refused_is_told_by_it(void **state)
{
    (void)state;
    expect_third_refused(&(coney_properties){.expiration = "99999999999"}, &(coney_properties){.expiration = "9"},
                         "PRECONDITION_FAILED - invalid expiration '99999999999': {value_too_large,99999999999}");
}

static void test_text_that_names_nothing_loses_all(void **state)
{
    (void)state;
    start_refusing("PRECONDITION_FAILED - message size is larger than max size, no exchange '");
    for (int i = 0; i < 5; i++)
        send_of_size(i, 900);
    fault_wait_for_confirms();
    for (int i = 0; i < 5; i++)
        fault_expect_completion(i, CONEY_E_LOST);
}

static void miss_every_exchange(cny_peer *peer, void *user)
{
    (void)user;
    for (int i = 0; i < 2; i++) {
        amqp_channel_t channel = take_messages(peer, 1);
        cny_peer_close_channel(peer, channel, 404, "NOT_FOUND - no exchange 'missing' in vhost '/'");
    }
}

static void test_send_after_a_closed_channel_opens_a_new_one(void **state)
{
    (void)state;
    fault_start(miss_every_exchange, NULL);
    fault_use_template(&(coney_template_options){.exchange = "missing"});
    fault_expect_status(CONEY_E_NOT_FOUND, fault_send(LONG_MS));
    fault_expect_status(CONEY_E_NOT_FOUND, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    cny_broker_wait(fault.broker, 1);
}

static void refuse_access(cny_peer *peer, void *user)
{
    (void)user;
    amqp_channel_t channel = take_messages(peer, 1);
    cny_peer_close_channel(peer, channel, 403,
                           "ACCESS_REFUSED - write access to exchange 'orders' in vhost '/' refused for user 'guest'");
}

static void test_missing_permission_is_access_refused(void **state)
{
    (void)state;
    fault_start(refuse_access, NULL);
    fault_use_template(&(coney_template_options){.exchange = "orders"});
    fault_expect_status(CONEY_E_ACCESS_REFUSED, fault_send(LONG_MS));
    fault_expect_text("write access to exchange 'orders'");
}

static void refuse_confirms(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *select = cny_peer_serve_until(peer, AMQP_CONFIRM_SELECT_METHOD);
    cny_peer_close_channel(peer, select->channel, 540, "NOT_IMPLEMENTED - no confirms here");
}

static void test_broker_without_confirms_refuses_the_send(void **state)
{
    (void)state;
    fault_start(refuse_confirms, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_E_BROKER, fault_send(LONG_MS));
    assert_int_equal(coney_last_error_details()->broker_code, 540);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
}

/* --- the client goes away --- */

static void never_confirm(cny_peer *peer, void *user)
{
    (void)user;
    take_messages(peer, COUNT);
}

static void send_all_unconfirmed(void)
{
    fault_start(never_confirm, NULL);
    fault_use_template(NULL);
    for (int i = 0; i < COUNT; i++)
        fault_expect_status(CONEY_OK, fault_send_async(i, NULL));
    cny_broker_wait(fault.broker, 1);
}

static void test_freeing_the_template_completes_each_send_once_as_closed(void **state)
{
    (void)state;
    send_all_unconfirmed();
    coney_template_free(fault.sender);
    coney_connection_factory_free(fault.factory); /* all callbacks have returned now */
    fault.sender = NULL;
    fault.factory = NULL;
    for (int i = 0; i < COUNT; i++)
        fault_expect_completion(i, CONEY_E_CLOSED);
}

static void test_freeing_the_factory_completes_each_send_once_as_closed(void **state)
{
    (void)state;
    send_all_unconfirmed();
    coney_connection_factory_free(fault.factory);
    fault.factory = NULL;
    fault_wait_for_confirms();
    for (int i = 0; i < COUNT; i++)
        fault_expect_completion(i, CONEY_E_CLOSED);
    fault_expect_status(CONEY_E_CLOSED, fault_send(LONG_MS));
}

/* --- before the channel is ready --- */

static void hang_up_before_confirms_are_selected(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 1)
        return;
    cny_peer_serve_until(peer, AMQP_CONFIRM_SELECT_METHOD);
    cny_peer_hang_up(peer);
}

static void test_loss_before_confirms_are_selected_costs_the_send_nothing(void **state)
{
    (void)state;
    fault_start(hang_up_before_confirms_are_selected, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 3);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 1);
}

static void never_select_confirms(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_serve_until(peer, AMQP_CONFIRM_SELECT_METHOD);
    cny_peer_hang_up(peer);
}

static void test_send_whose_channel_is_lost_each_time_was_not_sent(void **state)
{
    (void)state;
    enum { SHORT_MS = 300 };
    fault_start(never_select_confirms, NULL);
    fault_use_template(NULL);
    int64_t began = cny_now_ms();
    coney_status status = fault_send(SHORT_MS);
    if (status != CONEY_E_TIMEOUT) /* the deadline may come while it waits for an answer */
        assert_int_equal(status, CONEY_E_CONNECT);
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_shutdown_loses_a_send_that_waits),
        fault_test(test_shutdown_loses_each_outstanding_send_once),
        fault_test(test_reset_loses_each_outstanding_send_once),
        fault_test(test_missing_heartbeats_lose_each_outstanding_send_once),
        fault_test(test_sends_confirmed_before_the_loss_stay_confirmed),
        fault_test(test_hang_up_inside_a_return_loses_the_send),
        fault_test(test_missing_exchange_is_not_found_for_its_sends_and_lost_for_the_others),
        fault_test(test_missing_exchange_is_known_by_a_name_that_cannot_be_shown),
        fault_test(test_missing_exchange_is_known_by_a_name_that_the_broker_cuts),
        fault_test(test_all_messages_over_the_limit_are_refused_and_the_others_lost),
        fault_test(test_synchronous_sender_of_a_message_over_the_limit_is_told),
        fault_test(test_message_whose_user_id_is_refused_is_told_by_it),
        fault_test(test_message_whose_expiration_is_refused_is_told_by_it),
        fault_test(test_text_that_names_nothing_loses_all),
        fault_test(test_send_after_a_closed_channel_opens_a_new_one),
        fault_test(test_missing_permission_is_access_refused),
        fault_test(test_loss_before_confirms_are_selected_costs_the_send_nothing),
        fault_test(test_send_whose_channel_is_lost_each_time_was_not_sent),
        fault_test(test_broker_without_confirms_refuses_the_send),
        fault_test(test_freeing_the_template_completes_each_send_once_as_closed),
        fault_test(test_freeing_the_factory_completes_each_send_once_as_closed),
    };
    return cmocka_run_group_tests_name("publisher loss", tests, NULL, NULL);
}
