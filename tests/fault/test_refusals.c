/* SPDX-License-Identifier: MIT */
/* channel.close in answer to each method that a client sends, and connection.close at each stage: who
 * waits learns the broker's verdict, nobody else loses anything that can be kept, and the next call
 * works. */
#include "support/fault_consumer.h"

enum { LONG_MS = 10000 };

/* Closes the channel of the first such method, as a broker that refuses it. */
static amqp_method_number_t refused;

static void refuse(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    amqp_channel_t channel = cny_peer_serve_until(peer, refused)->channel;
    cny_peer_close_channel_over(peer, refused, channel, 406, "PRECONDITION_FAILED - no reason");
}

static void start_refusing(amqp_method_number_t id)
{
    refused = id;
    fault_reset_handler();
    fault_start(refuse, NULL);
}

static void expect_verdict(coney_status seen)
{
    fault_expect_status(CONEY_E_PRECONDITION_FAILED, seen);
    fault_expect_text("no reason");
    assert_int_equal(coney_last_error_details()->broker_code, 406);
}

static void expect_one_connection(void)
{
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 1);
}

/* --- calls --- */

static coney_status call_refused(coney_status (*call)(void), amqp_method_number_t id)
{
    start_refusing(id);
    fault_use_admin(LONG_MS);
    coney_status first = call();
    expect_verdict(first);
    fault_expect_status(CONEY_OK, call());
    expect_one_connection();
    return first;
}

static coney_status bind(void)
{
    return coney_admin_declare_binding(fault.admin, &(coney_binding){.exchange = "shop", .destination = "orders"});
}

static coney_status unbind(void)
{
    return coney_admin_remove_binding(fault.admin, &(coney_binding){.exchange = "shop", .destination = "orders"});
}

static const coney_binding between_exchanges = {.exchange = "shop", .destination = "audit", .to_exchange = true};

static coney_status bind_exchange(void)
{
    return coney_admin_declare_binding(fault.admin, &between_exchanges);
}

static coney_status unbind_exchange(void)
{
    return coney_admin_remove_binding(fault.admin, &between_exchanges);
}

static coney_status declare_queue(void)
{
    return coney_admin_declare_queue(fault.admin, &(coney_queue){.name = "orders"}, NULL);
}

static coney_status declare_exchange(void)
{
    return coney_admin_declare_exchange(fault.admin, &(coney_exchange){.name = "shop"});
}

static coney_status delete_queue(void)
{
    return coney_admin_delete_queue(fault.admin, "orders", NULL);
}

static coney_status delete_exchange(void)
{
    return coney_admin_delete_exchange(fault.admin, "shop");
}

static coney_status purge(void)
{
    return coney_admin_purge_queue(fault.admin, "orders", NULL);
}

static void test_channel_close_in_answer_to_channel_open(void **state)
{
    (void)state;
    call_refused(fault_ask, AMQP_CHANNEL_OPEN_METHOD);
}

static void test_channel_close_in_answer_to_queue_declare(void **state)
{
    (void)state;
    call_refused(declare_queue, AMQP_QUEUE_DECLARE_METHOD);
}

static void test_channel_close_in_answer_to_exchange_declare(void **state)
{
    (void)state;
    call_refused(declare_exchange, AMQP_EXCHANGE_DECLARE_METHOD);
}

static void test_channel_close_in_answer_to_queue_bind(void **state)
{
    (void)state;
    call_refused(bind, AMQP_QUEUE_BIND_METHOD);
}

static void test_channel_close_in_answer_to_queue_unbind(void **state)
{
    (void)state;
    call_refused(unbind, AMQP_QUEUE_UNBIND_METHOD);
}

static void test_channel_close_in_answer_to_exchange_bind(void **state)
{
    (void)state;
    call_refused(bind_exchange, AMQP_EXCHANGE_BIND_METHOD);
}

static void test_channel_close_in_answer_to_exchange_unbind(void **state)
{
    (void)state;
    call_refused(unbind_exchange, AMQP_EXCHANGE_UNBIND_METHOD);
}

static void test_channel_close_in_answer_to_queue_delete(void **state)
{
    (void)state;
    call_refused(delete_queue, AMQP_QUEUE_DELETE_METHOD);
}

static void test_channel_close_in_answer_to_exchange_delete(void **state)
{
    (void)state;
    call_refused(delete_exchange, AMQP_EXCHANGE_DELETE_METHOD);
}

static void test_channel_close_in_answer_to_queue_purge(void **state)
{
    (void)state;
    call_refused(purge, AMQP_QUEUE_PURGE_METHOD);
}

/* The call has its answer; only the goodbye of its channel crosses. */
static void test_channel_close_in_answer_to_channel_close(void **state)
{
    (void)state;
    start_refusing(AMQP_CHANNEL_CLOSE_METHOD);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    fault_expect_status(CONEY_OK, fault_ask());
    expect_one_connection();
}

/* --- sends --- */

static void expect_send_refused(amqp_method_number_t id)
{
    start_refusing(id);
    fault_use_template(NULL);
    expect_verdict(fault_send(LONG_MS));
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    expect_one_connection();
}

static void test_channel_close_in_answer_to_confirm_select(void **state)
{
    (void)state;
    expect_send_refused(AMQP_CONFIRM_SELECT_METHOD);
}

static void test_channel_close_in_answer_to_basic_publish(void **state)
{
    (void)state;
    expect_send_refused(AMQP_BASIC_PUBLISH_METHOD);
}

/* --- consuming --- */

static void expect_start_refused(amqp_method_number_t id)
{
    refused = id;
    expect_verdict(fault_start_container(refuse, 0, 0));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    expect_one_connection();
}

static void test_channel_close_in_answer_to_basic_qos(void **state)
{
    (void)state;
    expect_start_refused(AMQP_BASIC_QOS_METHOD);
}

static void test_channel_close_in_answer_to_basic_consume(void **state)
{
    (void)state;
    expect_start_refused(AMQP_BASIC_CONSUME_METHOD);
}

/* As RabbitMQ does for a delivery tag it does not know. The user is what the handler is told to do. */
static void refuse_a_settlement(cny_peer *peer, void *user)
{
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, user);
    amqp_channel_t channel = cny_peer_expect(peer, refused)->channel;
    cny_peer_close_channel(peer, channel, 406, "PRECONDITION_FAILED - unknown delivery tag 1");
    cny_peer_deliver(peer, cny_peer_serve_until_consumer(peer), 1, "ack");
    fault_expect_ack(peer, 1);
}

static void expect_settlement_refused(amqp_method_number_t id, char *text)
{
    refused = id;
    fault_reset_handler();
    fault_start_with(&(cny_broker_options){.script = refuse_a_settlement, .user = text}, NULL);
    fault_use_container(NULL, fault_obey, 1);
    fault_wait_for_calls(2);
    fault_wait_until(coney_container_check(fault.container) == CONEY_OK);
    expect_one_connection();
}

static void test_channel_close_in_answer_to_basic_ack(void **state)
{
    (void)state;
    expect_settlement_refused(AMQP_BASIC_ACK_METHOD, "ack");
}

static void test_channel_close_in_answer_to_basic_reject(void **state)
{
    (void)state;
    expect_settlement_refused(AMQP_BASIC_REJECT_METHOD, "reject");
}

static void test_channel_close_in_answer_to_basic_cancel(void **state)
{
    (void)state;
    refused = AMQP_BASIC_CANCEL_METHOD;
    fault_expect_status(CONEY_OK, fault_start_container(refuse, 0, 2000));
    int64_t began = cny_now_ms();
    fault_expect_status(CONEY_OK, coney_container_stop(fault.container));
    test_expect_elapsed(began, 0, 1000);
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
    expect_one_connection();
}

/* --- connection.close at each stage --- */

/* Says no at the first such method, 541 being neither a refused login nor a missing virtual host. */
static void shut_down(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    cny_peer_serve_until(peer, refused);
    cny_peer_close_connection(peer, 541, "INTERNAL_ERROR - not today");
}

/* The attempt fails with the broker's words; the next one works. */
static void expect_login_to_be_repeated(amqp_method_number_t id)
{
    refused = id;
    fault_start(shut_down, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    coney_connection_info info = fault_info(CONEY_CONSUMING);
    assert_int_equal(info.times_opened, 1);
    assert_int_equal(info.reason, CONEY_OK); /* it was never lost */
    static coney_connection_info events[FAULT_MAX_EVENTS];
    fault_expect_status(CONEY_OK, coney_connection_factory_close(fault.factory));
    assert_true(fault_connection_events(CONEY_CONSUMING, events) >= 2);
    assert_int_equal(events[1].reason, CONEY_E_BROKER);
    assert_non_null(strstr(events[1].text, "not today"));
    assert_int_equal(cny_broker_count_heard(fault.broker, CNY_PROTOCOL_HEADER), 2);
}

static void test_connection_close_in_answer_to_the_protocol_header(void **state)
{
    (void)state;
    expect_login_to_be_repeated(CNY_PROTOCOL_HEADER);
}

static void test_connection_close_in_answer_to_start_ok(void **state)
{
    (void)state;
    expect_login_to_be_repeated(AMQP_CONNECTION_START_OK_METHOD);
}

static void test_connection_close_in_answer_to_tune_ok(void **state)
{
    (void)state;
    expect_login_to_be_repeated(AMQP_CONNECTION_TUNE_OK_METHOD);
}

static void test_connection_close_in_answer_to_connection_open(void **state)
{
    (void)state;
    expect_login_to_be_repeated(AMQP_CONNECTION_OPEN_METHOD);
}

static void test_connection_close_in_answer_to_channel_open(void **state)
{
    (void)state;
    refused = AMQP_CHANNEL_OPEN_METHOD;
    fault_start(shut_down, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_OK, fault_ask());
    assert_int_equal(fault_info(CONEY_CONSUMING).times_opened, 2);
}

static void test_connection_close_in_answer_to_a_call(void **state)
{
    (void)state;
    refused = AMQP_QUEUE_DECLARE_METHOD;
    fault_start(shut_down, NULL);
    fault_use_admin(LONG_MS);
    fault_expect_status(CONEY_E_LOST, fault_ask());
    fault_expect_text("INTERNAL_ERROR - not today");
    assert_int_equal(coney_last_error_details()->broker_code, 541);
    fault_expect_status(CONEY_OK, fault_ask());
}

/* RabbitMQ 3 answers so to an unknown exchange type, and says which method it objects to. */
static void blame_the_method(cny_peer *peer, void *user)
{
    (void)user;
    if (cny_peer_number(peer) > 0)
        return;
    amqp_method_number_t id = cny_peer_serve_until(peer, AMQP_EXCHANGE_DECLARE_METHOD)->id;
    cny_peer_check(peer, cny_peer_close_connection_over(peer, id, 503, "COMMAND_INVALID - unknown exchange type"));
}

static void test_connection_close_for_a_call_is_its_verdict(void **state)
{
    (void)state;
    fault_start(blame_the_method, NULL);
    fault_use_admin(LONG_MS);
    coney_status status = declare_exchange();
    assert_int_not_equal(status, CONEY_E_LOST);
    assert_int_equal(coney_last_error_details()->broker_code, 503);
    fault_expect_text("unknown exchange type");
    fault_expect_status(CONEY_OK, fault_ask());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_channel_close_in_answer_to_channel_open),
        fault_test(test_channel_close_in_answer_to_queue_declare),
        fault_test(test_channel_close_in_answer_to_exchange_declare),
        fault_test(test_channel_close_in_answer_to_queue_bind),
        fault_test(test_channel_close_in_answer_to_queue_unbind),
        fault_test(test_channel_close_in_answer_to_exchange_bind),
        fault_test(test_channel_close_in_answer_to_exchange_unbind),
        fault_test(test_channel_close_in_answer_to_queue_delete),
        fault_test(test_channel_close_in_answer_to_exchange_delete),
        fault_test(test_channel_close_in_answer_to_queue_purge),
        fault_test(test_channel_close_in_answer_to_channel_close),
        fault_test(test_channel_close_in_answer_to_confirm_select),
        fault_test(test_channel_close_in_answer_to_basic_publish),
        fault_test(test_channel_close_in_answer_to_basic_qos),
        fault_test(test_channel_close_in_answer_to_basic_consume),
        fault_test(test_channel_close_in_answer_to_basic_ack),
        fault_test(test_channel_close_in_answer_to_basic_reject),
        fault_test(test_channel_close_in_answer_to_basic_cancel),
        fault_test(test_connection_close_in_answer_to_the_protocol_header),
        fault_test(test_connection_close_in_answer_to_start_ok),
        fault_test(test_connection_close_in_answer_to_tune_ok),
        fault_test(test_connection_close_in_answer_to_connection_open),
        fault_test(test_connection_close_in_answer_to_channel_open),
        fault_test(test_connection_close_in_answer_to_a_call),
        fault_test(test_connection_close_for_a_call_is_its_verdict),
    };
    return cmocka_run_group_tests_name("refusals", tests, NULL, NULL);
}
