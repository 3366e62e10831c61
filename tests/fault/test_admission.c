/* SPDX-License-Identifier: MIT */
/* Messages that belong to nobody: no memory is taken for what a peer only announces, and what was asked for is
 * whole. */
#include "support/fault_consumer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LONG_MS = 10000, LARGE = 20000 };

static const uint64_t mebibyte = UINT64_C(1024) * 1024;

/* Memory that is not touched yet counts, too. */
static uint64_t reserved_memory(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (!file || fscanf(file, "%lu", &pages) != 1)
        abort();
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static const coney_connection_factory_options no_small_limit = {.max_message_bytes = SIZE_MAX / 4};

/* Threads reserve memory for themselves, so what is announced must be much. */
static void expect_less_than_half_more(uint64_t before, uint64_t announced)
{
    uint64_t now = reserved_memory();
    if (now > before + announced / 2)
        fail_msg("%llu MiB more are reserved", (unsigned long long)((now - before) / mebibyte));
}

/* --- announced and never sent --- */

enum { CHANNELS = 100, EACH = 60, ALONE = 1024 }; /* MiB */

static void announce(cny_peer *peer, amqp_channel_t channel, uint64_t size)
{
    cny_peer_deliver_method(peer, channel, 1);
    cny_peer_send_header(peer, channel, size, NULL);
}

static void announce_on_channels_never_opened(cny_peer *peer, void *user)
{
    (void)user;
    const cny_peer_method asked = *cny_peer_serve_until(peer, AMQP_QUEUE_DECLARE_METHOD);
    for (int i = 0; i < CHANNELS; i++)
        announce(peer, (amqp_channel_t)(100 + i), EACH * mebibyte);
    cny_peer_send(peer, asked.channel, AMQP_QUEUE_DECLARE_OK_METHOD,
                  &(amqp_queue_declare_ok_t){.queue = amqp_cstring_bytes("orders")});
}

static void test_nothing_is_reserved_for_messages_on_channels_never_opened(void **state)
{
    (void)state;
    fault_start(announce_on_channels_never_opened, NULL);
    fault_use_admin(LONG_MS);
    uint64_t before = reserved_memory();
    fault_expect_status(CONEY_OK, fault_ask());
    expect_less_than_half_more(before, mebibyte * CHANNELS * EACH);
}

/* The block tells the test that what came before it has been read. */
static void announce_after(cny_peer *peer, void *user)
{
    const amqp_method_number_t *method = user;
    announce(peer, cny_peer_serve_until(peer, *method)->channel, ALONE * mebibyte);
    cny_peer_block(peer, "the message was announced");
    cny_peer_silence(peer, LONG_MS);
}

static void start_announcing_after(amqp_method_number_t method)
{
    static amqp_method_number_t awaited; /* the script's thread outlives this function */
    awaited = method;
    fault_start_with(&(cny_broker_options){.script = announce_after, .user = &awaited}, &no_small_limit);
}

static void test_nothing_is_reserved_for_a_message_on_a_channel_that_is_being_closed(void **state)
{
    (void)state;
    start_announcing_after(AMQP_CHANNEL_CLOSE_METHOD);
    fault_use_admin(LONG_MS);
    uint64_t before = reserved_memory();
    fault_expect_status(CONEY_OK, fault_ask());
    fault_wait_until(fault_info(CONEY_CONSUMING).blocked);
    expect_less_than_half_more(before, ALONE * mebibyte);
}

static void test_nothing_is_reserved_for_a_delivery_without_a_consumer(void **state)
{
    (void)state;
    start_announcing_after(AMQP_BASIC_PUBLISH_METHOD);
    fault_use_template(NULL);
    uint64_t before = reserved_memory();
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
    expect_less_than_half_more(before, ALONE * mebibyte);
}

static void send_return(cny_peer *peer, amqp_channel_t channel, uint64_t size)
{
    amqp_basic_return_t back = {312, amqp_cstring_bytes("NO_ROUTE"), amqp_empty_bytes, amqp_cstring_bytes("key")};
    cny_peer_send(peer, channel, AMQP_BASIC_RETURN_METHOD, &back);
    cny_peer_send_header(peer, channel, size, NULL);
}

static void announce_a_return_of_a_gibibyte(cny_peer *peer, void *user)
{
    (void)user;
    send_return(peer, cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD)->channel, ALONE * mebibyte);
    cny_peer_block(peer, "the return was announced");
    cny_peer_silence(peer, LONG_MS);
}

static void test_nothing_is_reserved_for_a_return_larger_than_anything_sent(void **state)
{
    (void)state;
    fault_start(announce_a_return_of_a_gibibyte, NULL);
    fault_use_template(NULL);
    uint64_t before = reserved_memory();
    fault_expect_status(CONEY_OK, fault_send_async(0, NULL));
    fault_wait_until(fault_info(CONEY_PUBLISHING).blocked);
    expect_less_than_half_more(before, ALONE * mebibyte);
}

/* --- what was sent --- */

static const char large[LARGE + 1];

static void return_more_than_was_sent(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    send_return(peer, publish->channel, LARGE);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, publish->channel, large, LARGE);
    cny_peer_answer(peer, publish);
}

static void test_return_larger_than_anything_sent_is_ignored(void **state)
{
    (void)state;
    fault_start(return_more_than_was_sent, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, fault_send(LONG_MS));
    assert_int_equal(fault_info(CONEY_PUBLISHING).times_opened, 1);
}

static void return_it(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *publish = cny_peer_serve_until(peer, AMQP_BASIC_PUBLISH_METHOD);
    cny_peer_return(peer, publish, 312, "NO_ROUTE");
    cny_peer_answer(peer, publish);
}

static void test_return_of_a_large_message_is_told(void **state)
{
    (void)state;
    coney_message *message;
    fault_start(return_it, NULL);
    fault_use_template(NULL);
    fault_expect_status(CONEY_OK, coney_message_new(&message, large, LARGE, NULL));
    coney_status status = coney_template_send(fault.sender, "key", message, NULL);
    coney_message_unref(message);
    fault_expect_status(CONEY_E_RETURNED, status);
}

/* In one packet, so that the consumer's beginning is read but not handled when its first message is announced. */
static void deliver_with_consume_ok(cny_peer *peer, void *user)
{
    (void)user;
    cny_peer_method *consume = cny_peer_serve_until(peer, AMQP_BASIC_CONSUME_METHOD);
    amqp_channel_t channel = consume->channel;
    cny_peer_cork(peer, true);
    cny_peer_answer(peer, consume);
    announce(peer, channel, LARGE);
    cny_peer_send_frame(peer, AMQP_FRAME_BODY, channel, large, LARGE);
    cny_peer_cork(peer, false);
    fault_expect_ack(peer, 1);
}

static void test_large_delivery_that_comes_with_the_consumers_beginning_is_kept(void **state)
{
    (void)state;
    fault_consume(deliver_with_consume_ok, NULL, 1);
    cny_broker_wait(fault.broker, 1);
    assert_int_equal(fault_handler_calls(), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(test_nothing_is_reserved_for_messages_on_channels_never_opened),
        fault_test(test_nothing_is_reserved_for_a_message_on_a_channel_that_is_being_closed),
        fault_test(test_nothing_is_reserved_for_a_delivery_without_a_consumer),
        fault_test(test_nothing_is_reserved_for_a_return_larger_than_anything_sent),
        fault_test(test_return_larger_than_anything_sent_is_ignored),
        fault_test(test_return_of_a_large_message_is_told),
        fault_test(test_large_delivery_that_comes_with_the_consumers_beginning_is_kept),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
