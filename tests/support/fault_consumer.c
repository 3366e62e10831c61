/* SPDX-License-Identifier: MIT */
/* The obedient handler runs on consumer threads; what it shares with the test is atomic. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <stdatomic.h>

static atomic_int calls;
static atomic_bool held;

static coney_outcome obey(coney_delivery *delivery, void *user)
{
    (void)user;
    const char *text = coney_message_body(coney_delivery_message(delivery));
    atomic_fetch_add(&calls, 1);
    if (strcmp(text, "reject") == 0)
        return CONEY_REJECT;
    if (strcmp(text, "requeue") == 0)
        return CONEY_REQUEUE;
    if (strcmp(text, "retry") == 0)
        return CONEY_RETRY;
    if (strcmp(text, "nonsense") == 0)
        return (coney_outcome)77;
    int64_t deadline = cny_broker_now_ms() + CNY_PATIENCE_MS;
    while (strcmp(text, "hold") == 0 && atomic_load(&held) && cny_broker_now_ms() < deadline)
        poll(NULL, 0, 2);
    return CONEY_ACK;
}

static void reset_handler(void)
{
    atomic_store(&calls, 0);
    atomic_store(&held, true);
}

void fault_consume(cny_script *script, const coney_connection_factory_options *options, int concurrency)
{
    reset_handler();
    fault_start(script, options);
    fault_use_container(NULL, obey, concurrency);
}

coney_status fault_start_container(cny_script *script, int start_timeout_ms, int shutdown_timeout_ms)
{
    coney_container_options options = {.start_timeout_ms = start_timeout_ms,
                                       .shutdown_timeout_ms = shutdown_timeout_ms};
    coney_listener orders = {.queue = "orders", .on_message = obey};
    reset_handler();
    fault_start(script, NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &orders));
    return coney_container_start(fault.container);
}

int fault_handler_calls(void)
{
    return atomic_load(&calls);
}

void fault_wait_for_calls(int count)
{
    int64_t deadline = cny_broker_now_ms() + CNY_PATIENCE_MS;
    while (fault_handler_calls() < count && cny_broker_now_ms() < deadline)
        poll(NULL, 0, 2);
    assert_int_equal(fault_handler_calls(), count);
}

void fault_let_go(void)
{
    atomic_store(&held, false);
}

void fault_expect_ack(cny_peer *peer, uint64_t tag)
{
    amqp_basic_ack_t *ack = cny_peer_expect(peer, AMQP_BASIC_ACK_METHOD)->args;
    cny_peer_check(peer, ack->delivery_tag == tag && !ack->multiple);
}

void fault_expect_reject(cny_peer *peer, uint64_t tag, bool requeue)
{
    amqp_basic_reject_t *reject = cny_peer_expect(peer, AMQP_BASIC_REJECT_METHOD)->args;
    cny_peer_check(peer, reject->delivery_tag == tag);
    cny_peer_check(peer, reject->requeue == requeue);
}
