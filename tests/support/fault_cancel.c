/* SPDX-License-Identifier: MIT */
/* All but the last two run on the thread of a connection (scripted_broker.h). */
#include "support/fault_cancel.h"

cny_peer_method *fault_expect_question(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_method *method = cny_peer_expect(peer, AMQP_BASIC_CANCEL_METHOD);
    cny_peer_check(peer, method->channel == channel);
    cny_peer_answer(peer, method);
    cny_peer_answer(peer, cny_peer_expect(peer, AMQP_CHANNEL_OPEN_METHOD));
    method = cny_peer_expect(peer, AMQP_QUEUE_DECLARE_METHOD);
    const amqp_queue_declare_t *declare = method->args;
    cny_peer_check(peer, declare->passive && declare->queue.len == 6 && memcmp(declare->queue.bytes, "orders", 6) == 0);
    cny_peer_check(peer, method->channel != channel);
    return method;
}

void fault_find_queue(cny_peer *peer, amqp_channel_t asking, uint32_t consumers)
{
    amqp_queue_declare_ok_t ok = {.queue = amqp_cstring_bytes("orders"), .consumer_count = consumers};
    cny_peer_send(peer, asking, AMQP_QUEUE_DECLARE_OK_METHOD, &ok);
}

void fault_expect_everything_back(cny_peer *peer, amqp_channel_t channel)
{
    cny_peer_method *method = cny_peer_expect(peer, AMQP_BASIC_NACK_METHOD);
    const amqp_basic_nack_t *nack = method->args;
    cny_peer_check(peer, method->channel == channel);
    cny_peer_check(peer, nack->delivery_tag == 0 && nack->multiple && nack->requeue);
    method = cny_peer_expect(peer, AMQP_CHANNEL_CLOSE_METHOD);
    cny_peer_check(peer, method->channel == channel);
    cny_peer_answer(peer, method);
}

void fault_serve_the_next(cny_peer *peer)
{
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "next");
    fault_expect_ack(peer, 1);
}

amqp_channel_t fault_deliver_then_time_out(cny_peer *peer)
{
    amqp_channel_t channel = cny_peer_serve_until_consumer(peer);
    cny_peer_deliver(peer, channel, 1, "hold");
    cny_peer_deliver(peer, channel, 2, "prefetched");
    cny_peer_wait_go(peer);
    cny_peer_time_out_consumer(peer, channel);
    return channel;
}

void fault_wait_for_reason(const char *words)
{
    fault_wait_until(coney_container_check(fault.container) != CONEY_OK && strstr(coney_last_error(), words));
}

coney_listener_statistics fault_statistics(void)
{
    coney_listener_statistics counts;
    fault_expect_status(CONEY_OK, coney_container_statistics(fault.container, "orders", &counts));
    return counts;
}
