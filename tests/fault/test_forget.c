/* SPDX-License-Identifier: MIT */
/* What is sent and forgotten: it goes on a channel of its own that is not in confirm mode, and what goes wrong
 * with it costs no other message. */
#include "support/fault_fixture.h"

#include <stdatomic.h>

enum { SHORT_MS = 300, LATE_MS = 2500, LONG_MS = 10000 };

static coney_status forget_message(const char *exchange, coney_message *message, int timeout_ms)
{
    coney_send_options options = {.exchange = exchange, .timeout_ms = timeout_ms};
    coney_status status = coney_template_send_and_forget(fault.sender, "key", message, &options);
    coney_message_unref(message);
    return status;
}

static coney_status forget_to(const char *exchange, int timeout_ms)
{
    return forget_message(exchange, fault_message("hello"), timeout_ms);
}

static coney_send_statistics statistics(void)
{
    coney_send_statistics now;
    fault_expect_status(CONEY_OK, coney_template_statistics(fault.sender, &now));
    return now;
}

static int published(void)
{
    return cny_broker_count_heard(fault.broker, AMQP_BASIC_PUBLISH_METHOD);
}

static void expect_three_without_mandatory(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer))
        return;
    for (int i = 0; i < 3; i++) {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_check(peer, !((amqp_basic_publish_t *)publish->args)->mandatory);
    }
}

static void test_messages_go_without_confirms_and_mandatory(void **state)
{
    (void)state;
    fault_start(expect_three_without_mandatory, NULL);
    fault_use_template(NULL);
    for (int i = 0; i < 3; i++)
        fault_expect_status(CONEY_OK, forget_to(NULL, 0));
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CONFIRM_SELECT_METHOD), 0);
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_CHANNEL_OPEN_METHOD), 1);
    assert_int_equal(statistics().forgotten, 3);
    assert_int_equal(statistics().sent, 0);
    fault_expect_status(CONEY_OK, coney_template_wait_for_confirms(fault.sender, 0));
}

/* --- refusals --- */

static void refuse_missing(cny_peer *peer, void *user)
{
    (void)user;
    for (;;) {
        cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        amqp_bytes_t exchange = ((amqp_basic_publish_t *)publish->args)->exchange;
        if (exchange.len > 0)
            break;
        cny_peer_answer(peer, publish);
    }
    cny_peer_close_channel(peer, 2, 404, "NOT_FOUND - no exchange 'missing' in vhost '/'");
}

static atomic_int logged;

static void count_refusals(coney_log_level level, const char *text, void *user)
{
    (void)level;
    (void)user;
    if (strstr(text, "sent and forgotten") && strstr(text, "no exchange 'missing'"))
        atomic_fetch_add(&logged, 1);
}

static void test_refusal_is_logged_and_counted_and_costs_no_confirmed_message(void **state)
{
    (void)state;
    fault_start(refuse_missing, NULL);
    fault_use_template(NULL);
    coney_log_set_sink(count_refusals, NULL);
    coney_log_set_level(CONEY_LOG_WARN);
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_expect_status(CONEY_OK, forget_to("missing", 0));
    fault_wait_until(atomic_load(&logged) == 1);
    assert_int_equal(statistics().forgotten_refusals, 1);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, forget_to(NULL, 0));
    fault_wait_until(published() == 4);
    fault_wait_for_confirms();
    fault_expect_completion(0, CONEY_OK);
    assert_int_equal(statistics().forgotten, 2);
    coney_log_set_level(CONEY_LOG_OFF);
    coney_log_set_sink(NULL, NULL);
}

/* --- losses, limits, the end --- */

static void hang_up_on_the_first(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_hang_up(peer);
}

static void test_after_a_loss_it_goes_on_with_a_new_channel(void **state)
{
    (void)state;
    fault_start(hang_up_on_the_first, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, forget_to(NULL, 0));
    fault_wait_for_opening(CONEY_PUBLISHING, 2);
    fault_expect_status(CONEY_OK, forget_to(NULL, 0));
    fault_wait_until(published() == 2);
    assert_int_equal(statistics().forgotten_refusals, 0);
}

static void block(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer))
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_block(peer, "low on memory");
    cny_peer_wait_go(peer);
    cny_peer_block(peer, NULL);
}

static void test_while_the_broker_holds_back_publishers_it_waits_until_its_deadline(void **state)
{
    (void)state;
    fault_start(block, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, forget_to(NULL, 0));
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_BLOCKED, forget_to(NULL, SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
    fault_expect_text("low on memory");
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, forget_to(NULL, 0));
    fault_wait_until(published() == 2);
}

enum { CHUNK = 64 << 10, OUTBOUND_BYTES = 1 << 20, MOST_CHUNKS = 400 };

static void read_again_when_told(cny_peer *peer, void *user)
{
    (void)user;
    if (!cny_peer_log_in(peer))
        return;
    cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_stall_until_go(peer);
}

static coney_status forget_chunk(int timeout_ms)
{
    static const char body[CHUNK];
    coney_message *message;
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    return forget_message(NULL, message, timeout_ms);
}

/* Until there is no room for a chunk, and will be none before the peer reads. */
static void fill_the_outbound_buffer(void)
{
    const cny_broker_options broker = {.script = read_again_when_told, .receive_buffer = CHUNK};
    fault_start_with(&broker, &(coney_connection_factory_options){.max_outbound_bytes = OUTBOUND_BYTES});
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, forget_to(NULL, 0));
    coney_status status = CONEY_OK;
    for (int i = 0; i < MOST_CHUNKS && status == CONEY_OK; i++)
        status = forget_chunk(SHORT_MS);
    fault_expect_status(CONEY_E_LIMIT, status);
}

static void test_while_there_is_no_room_it_waits_until_its_deadline(void **state)
{
    (void)state;
    fill_the_outbound_buffer();
    const uint64_t forgotten = statistics().forgotten;
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_LIMIT, forget_chunk(SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, LATE_MS);
    fault_expect_text("max_outbound_bytes 1048576");
    assert_int_equal(statistics().forgotten, forgotten);
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, forget_to(NULL, LONG_MS));
    fault_wait_until((uint64_t)published() > forgotten);
    static cny_heard heard[CNY_MAX_HEARD]; /* the last one comes right behind those that found room */
    int count = cny_broker_heard(fault.broker, heard);
    assert_string_equal(heard[count - 1].what, "hello");
    assert_int_equal(published(), forgotten + 1);
}

static atomic_bool is_forgetting;

static coney_status forget_patiently(void)
{
    atomic_store(&is_forgetting, true);
    return forget_chunk(LONG_MS);
}

static void test_it_goes_on_when_room_comes(void **state)
{
    (void)state;
    fill_the_outbound_buffer();
    const coney_send_statistics before = statistics();
    atomic_store(&is_forgetting, false);
    fault_in_background(forget_patiently);
    fault_wait_until(atomic_load(&is_forgetting));
    fault_expect_status(CONEY_E_LIMIT, forget_chunk(SHORT_MS)); /* while the other one waits on */
    assert_false(fault_background_is_over());
    int64_t began = cny_now_ms();
    cny_broker_go(fault.broker);
    fault_expect_status(CONEY_OK, fault_background_end());
    test_expect_elapsed(began, 0, LATE_MS); /* not at its deadline */
    fault_wait_until((uint64_t)published() == before.forgotten + 1);
    assert_true(statistics().waited_us > before.waited_us);
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 1);
}

static coney_status forget_the_largest_in_vain(void)
{
    static const char body[OUTBOUND_BYTES];
    coney_message *message;
    fault_expect_status(CONEY_OK, coney_message_new(&message, body, sizeof body, NULL));
    atomic_store(&is_forgetting, true);
    return forget_message(NULL, message, 2 * SHORT_MS);
}

static void test_one_that_gives_up_waiting_for_room_lets_the_next_one_go(void **state)
{
    (void)state;
    fill_the_outbound_buffer();
    atomic_store(&is_forgetting, false);
    fault_in_background(forget_the_largest_in_vain);
    fault_wait_until(atomic_load(&is_forgetting));
    fault_expect_status(CONEY_OK, forget_to(NULL, LONG_MS)); /* there is room for that one */
    fault_expect_status(CONEY_E_LIMIT, fault_background_end());
    cny_broker_go(fault.broker);
}

static void test_what_is_forgotten_is_never_stored(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    cny_broker_stop(fault.broker);
    fault.broker = NULL;
    fault_use_template(&(coney_template_options){.flow = CONEY_FLOW_STORE});
    fault_expect_status(CONEY_E_CONNECT, forget_to(NULL, SHORT_MS));
    assert_int_equal(statistics().stored, 0);
}

static void test_return_of_what_is_forgotten_cannot_be_asked_for(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    coney_message *message = fault_message("hello");
    coney_status status =
        coney_template_send_and_forget(fault.sender, "key", message, &(coney_send_options){.return_unroutable = true});
    coney_message_unref(message);
    fault_expect_status(CONEY_E_INVALID, status);
    fault_expect_text("return_unroutable");
}

static void read_late(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_log_in(peer)) {
        cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
        cny_peer_stall(peer, SHORT_MS);
    }
}

enum { MANY = 500 };

static void test_closing_writes_what_waits(void **state)
{
    (void)state;
    fault_start(read_late, &(coney_connection_factory_options){.close_timeout_ms = LONG_MS});
    fault_use_template(NULL);
    for (int i = 0; i < MANY; i++)
        fault_expect_status(CONEY_OK, forget_to(NULL, 0));
    coney_connection_factory_close(fault.factory);
    assert_int_equal(published(), MANY);
    fault_expect_status(CONEY_E_CLOSED, forget_to(NULL, 0));
}

static void test_without_a_broker_it_ends_at_its_deadline(void **state)
{
    (void)state;
    fault_start(hang_up_on_the_first, NULL);
    fault_use_template(NULL);
    cny_broker_stop(fault.broker);
    fault.broker = NULL;
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_E_CONNECT, forget_to(NULL, SHORT_MS));
    test_expect_elapsed(began, SHORT_MS, SHORT_MS);
}

static void test_misuse_is_told(void **state)
{
    (void)state;
    fault_start(NULL, NULL);
    fault_use_template(NULL);
    coney_message *message = fault_message("hello");
    fault_expect_status(CONEY_E_INVALID, coney_template_send_and_forget(NULL, "key", message, NULL));
    fault_expect_status(CONEY_E_INVALID, coney_template_send_and_forget(fault.sender, "key", NULL, NULL));
    char name[300];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    fault_expect_status(CONEY_E_INVALID, coney_template_send_and_forget(fault.sender, name, message, NULL));
    coney_message_unref(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_messages_go_without_confirms_and_mandatory),
        fault_test(test_refusal_is_logged_and_counted_and_costs_no_confirmed_message),
        fault_test(test_after_a_loss_it_goes_on_with_a_new_channel),
        fault_test(test_while_the_broker_holds_back_publishers_it_waits_until_its_deadline),
        fault_test(test_while_there_is_no_room_it_waits_until_its_deadline),
        fault_test(test_it_goes_on_when_room_comes),
        fault_test(test_what_is_forgotten_is_never_stored),
        fault_test(test_return_of_what_is_forgotten_cannot_be_asked_for),
        fault_test(test_one_that_gives_up_waiting_for_room_lets_the_next_one_go),
        fault_test(test_closing_writes_what_waits),
        fault_test(test_without_a_broker_it_ends_at_its_deadline),
        fault_test(test_misuse_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
