/* SPDX-License-Identifier: MIT */
/* Requests to a broker that plays a script: one that knows no direct reply-to, and losses at a chosen moment. */
#include "support/fault_consumer.h"

#include <stdio.h>

enum { LONG_MS = 20000 };

static char reply_to[300];

static coney_status ask(coney_message **reply, int timeout_ms)
{
    coney_message *request = fault_message("request");
    coney_status status = coney_template_send_and_receive(fault.sender, reply, "service", request,
                                                          &(coney_request_options){.timeout_ms = timeout_ms});
    coney_message_unref(request);
    return status;
}

static void use_requests(cny_script *script, const coney_rpc_options *rpc)
{
    fault_start(script, NULL);
    fault_use_template(&(coney_template_options){.rpc = *rpc});
}

/* ---- a broker that knows no direct reply-to ---- */

static void refuse_direct_replies(cny_peer *peer)
{
    const cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    cny_peer_close_channel_over(peer, AMQP_BASIC_CONSUME_METHOD, consume->channel, 404,
                                "NOT_FOUND - no queue 'amq.rabbitmq.reply-to' in vhost '/'");
}

static void answer(cny_peer *peer, const cny_peer_method *publish)
{
    amqp_basic_properties_t properties = {._flags = AMQP_BASIC_CORRELATION_ID_FLAG};
    char id[300];
    uint64_t number = publish->number;
    amqp_channel_t channel = publish->channel;
    snprintf(id, sizeof id, "%.*s", (int)publish->properties->correlation_id.len,
             (const char *)publish->properties->correlation_id.bytes);
    snprintf(reply_to, sizeof reply_to, "%.*s", (int)publish->properties->reply_to.len,
             (const char *)publish->properties->reply_to.bytes);
    properties.correlation_id = amqp_cstring_bytes(id);
    cny_peer_ack(peer, channel, number, false);
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_header(peer, channel, 4, &properties);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, "done", 4);
}

static void know_no_direct_replies(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    refuse_direct_replies(peer);
    for (int i = 0; i < 2; i++)
        answer(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD));
}

static void test_broker_without_direct_replies_gets_a_temporary_queue(void **state)
{
    (void)state;
    use_requests(know_no_direct_replies, &(coney_rpc_options){0});
    for (int i = 0; i < 2; i++) {
        coney_message *reply;
        fault_expect_status(CONEY_OK, ask(&reply, LONG_MS));
        assert_memory_equal(reply_to, "coney.reply.", 12);
        coney_message_unref(reply);
    }
    assert_int_equal(cny_broker_count_heard(fault.broker, AMQP_QUEUE_DECLARE_METHOD), 1);
}

static void refuse_only(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    refuse_direct_replies(peer);
}

static void test_direct_reply_path_does_not_fall_back(void **state)
{
    (void)state;
    coney_message *reply;
    use_requests(refuse_only, &(coney_rpc_options){.reply_path = CONEY_REPLY_DIRECT});
    fault_expect_status(CONEY_E_NOT_FOUND, ask(&reply, LONG_MS));
    fault_expect_text("'amq.rabbitmq.reply-to'");
}

/* ---- no connection ---- */

static coney_status ask_in_vain(void)
{
    coney_message *reply;
    return ask(&reply, 300);
}

static void refuse_connections(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_hang_up(peer);
}

static void test_all_who_wait_hear_that_there_is_no_connection(void **state)
{
    (void)state;
    fault_start_with(&(cny_broker_options){.script = refuse_connections, .may_hang_up = true}, NULL);
    fault_use_template(NULL);
    fault_in_background(ask_in_vain);
    fault_expect_status(CONEY_E_CONNECT, ask_in_vain());
    fault_expect_status(CONEY_E_CONNECT, fault_background_end());
}

/* ---- losses ---- */

static void hang_up_before_the_confirm(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    if (cny_peer_number(peer) == 0)
        cny_peer_hang_up(peer);
    else
        answer(peer, publish);
}

static void test_request_that_is_lost_before_its_confirm_ends_at_once(void **state)
{
    (void)state;
    coney_message *reply;
    use_requests(hang_up_before_the_confirm, &(coney_rpc_options){0});
    fault_expect_status(CONEY_E_LOST, ask(&reply, LONG_MS));
    fault_expect_status(CONEY_OK, ask(&reply, LONG_MS));
    coney_message_unref(reply);
}

static void test_lost_request_is_sent_again_if_it_may_be(void **state)
{
    (void)state;
    coney_message *request = fault_message("request"), *reply;
    use_requests(hang_up_before_the_confirm, &(coney_rpc_options){0});
    fault_expect_status(CONEY_OK,
                        coney_template_send_and_receive(
                            fault.sender, &reply, "service", request,
                            &(coney_request_options){.timeout_ms = LONG_MS, .attempts = 2, .retry_delay_ms = 1}));
    coney_message_unref(reply);
    coney_message_unref(request);
}

static void confirm_and_hang_up(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_ack(peer, publish->channel, publish->number, false);
    cny_peer_hang_up(peer);
}

static void test_confirmed_request_whose_reply_cannot_come_ends_at_once(void **state)
{
    (void)state;
    coney_message *reply;
    use_requests(confirm_and_hang_up, &(coney_rpc_options){0});
    fault_expect_status(CONEY_E_LOST, ask(&reply, LONG_MS));
    fault_expect_text("request to exchange '' with routing key 'service'");
}

static void reply_before_the_confirm(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_log_in(peer);
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_cork(peer, true);
    answer(peer, publish); /* confirm, then reply */
    cny_peer_cork(peer, false);
    publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    answer(peer, publish);
    cny_peer_hang_up(peer); /* after the reply: nothing is lost */
}

static void test_reply_wins_over_a_loss_that_comes_after_it(void **state)
{
    (void)state;
    coney_message *reply;
    use_requests(reply_before_the_confirm, &(coney_rpc_options){0});
    for (int i = 0; i < 2; i++) {
        fault_expect_status(CONEY_OK, ask(&reply, LONG_MS));
        coney_message_unref(reply);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_broker_without_direct_replies_gets_a_temporary_queue),
        fault_test(test_direct_reply_path_does_not_fall_back),
        fault_test(test_all_who_wait_hear_that_there_is_no_connection),
        fault_test(test_request_that_is_lost_before_its_confirm_ends_at_once),
        fault_test(test_lost_request_is_sent_again_if_it_may_be),
        fault_test(test_confirmed_request_whose_reply_cannot_come_ends_at_once),
        fault_test(test_reply_wins_over_a_loss_that_comes_after_it),
    };
    return cmocka_run_group_tests_name("requests", tests, NULL, NULL);
}
