/* SPDX-License-Identifier: MIT */
/* The obedient handler runs on consumer threads; what it shares with the test is atomic. */
#include "support/fault_consumer.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static atomic_int calls;
static atomic_int let_go;

enum { MAX_TEXTS = 1000 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char texts[MAX_TEXTS][32];
static int text_count;

static void note_text(const char *text)
{
    pthread_mutex_lock(&lock);
    if (text_count < MAX_TEXTS)
        snprintf(texts[text_count++], sizeof *texts, "%s", text);
    pthread_mutex_unlock(&lock);
}

int fault_handled(const char *text)
{
    int count = 0;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < text_count; i++)
        count += strcmp(texts[i], text) == 0;
    pthread_mutex_unlock(&lock);
    return count;
}

static void hold(void)
{
    int64_t deadline = cny_now_ms() + CNY_PATIENCE_MS;
    int left = 0;
    while (cny_now_ms() < deadline) {
        left = atomic_load(&let_go);
        if (left > 0 && atomic_compare_exchange_strong(&let_go, &left, left - 1))
            return;
        poll(NULL, 0, 2);
    }
}

coney_outcome fault_obey(coney_delivery *delivery, void *user)
{
    (void)user;
    const char *text = coney_message_body(coney_delivery_message(delivery));
    note_text(text);
    atomic_fetch_add(&calls, 1);
    if (strcmp(text, "reject") == 0)
        return CONEY_REJECT;
    if (strcmp(text, "requeue") == 0)
        return CONEY_REQUEUE;
    if (strcmp(text, "retry") == 0)
        return CONEY_RETRY;
    if (strcmp(text, "nonsense") == 0)
        return (coney_outcome)77;
    if (strcmp(text, "hold") == 0)
        hold();
    return CONEY_ACK;
}

void fault_reset_handler(void)
{
    atomic_store(&calls, 0);
    atomic_store(&let_go, 0);
    pthread_mutex_lock(&lock);
    text_count = 0;
    pthread_mutex_unlock(&lock);
}

void fault_consume(cny_script *script, const coney_connection_factory_options *options, int concurrency)
{
    fault_reset_handler();
    fault_start(script, options);
    fault_use_container(NULL, fault_obey, concurrency);
}

coney_status fault_start_container(cny_script *script, int start_timeout_ms, int shutdown_timeout_ms)
{
    coney_container_options options = {.start_timeout_ms = start_timeout_ms,
                                       .shutdown_timeout_ms = shutdown_timeout_ms};
    coney_listener orders = {.queue = "orders", .on_message = fault_obey};
    fault_reset_handler();
    fault_start(script, NULL);
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, &options));
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &orders));
    return coney_container_start(fault.container);
}

void fault_use_listener(const coney_container_options *options, coney_listener listener)
{
    if (!listener.on_message && !listener.on_batch)
        listener.on_message = fault_obey;
    if (!listener.queue)
        listener.queue = "orders";
    fault_reset_handler();
    fault_expect_status(CONEY_OK, coney_container_new(&fault.container, fault.factory, options));
    fault_expect_status(CONEY_OK, coney_container_listen(fault.container, &listener));
    fault_expect_status(CONEY_OK, coney_container_start(fault.container));
}

void fault_listen(cny_script *script, const coney_container_options *options, coney_listener listener)
{
    fault_start(script, NULL);
    fault_use_listener(options, listener);
}

int fault_handler_calls(void)
{
    return atomic_load(&calls);
}

void fault_wait_for_calls(int count)
{
    int64_t deadline = cny_now_ms() + CNY_PATIENCE_MS;
    while (fault_handler_calls() < count && cny_now_ms() < deadline)
        poll(NULL, 0, 2);
    assert_int_equal(fault_handler_calls(), count);
}

void fault_let_go(void)
{
    atomic_fetch_add(&let_go, 1);
}

void fault_expect_ack(cny_peer *peer, uint64_t tag)
{
    amqp_basic_ack_t *ack = cny_peer_expect(peer, AMQP_BASIC_ACK_METHOD)->args;
    cny_peer_check(peer, ack->delivery_tag == tag && !ack->multiple);
}

void fault_expect_ack_up_to(cny_peer *peer, uint64_t tag)
{
    amqp_basic_ack_t *ack = cny_peer_expect(peer, AMQP_BASIC_ACK_METHOD)->args;
    cny_peer_check(peer, ack->delivery_tag == tag && ack->multiple);
}

void fault_expect_reject(cny_peer *peer, uint64_t tag, bool requeue)
{
    amqp_basic_reject_t *reject = cny_peer_expect(peer, AMQP_BASIC_REJECT_METHOD)->args;
    cny_peer_check(peer, reject->delivery_tag == tag);
    cny_peer_check(peer, reject->requeue == requeue);
}
