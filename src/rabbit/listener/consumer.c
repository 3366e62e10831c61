/* SPDX-License-Identifier: MIT */
/* One consumer: takes deliveries, calls the handler, and tells the broker what became of them.
 * All of it runs on the consumer's own thread, with no lock held. */
#include "rabbit/listener/container.h"

struct coney_delivery {
    coney_message *message;
    void *payload;
    const char *queue;
};

coney_message *coney_delivery_message(const coney_delivery *delivery)
{
    return delivery->message;
}

const void *coney_delivery_payload(const coney_delivery *delivery)
{
    return delivery->payload;
}

const char *coney_delivery_queue(const coney_delivery *delivery)
{
    return delivery->queue;
}

coney_status cny_consumer_open(cny_consumer **consumer, coney_container *container, const coney_listener *listener,
                               int64_t deadline)
{
    cny_consumer *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_fetch_add(&container->refs, 1);
    made->container = container;
    made->listener = listener;
    coney_status status = cny_channel_open(&made->channel, container->factory, CNY_CONSUMING, deadline);
    if (status == CONEY_OK)
        status = cny_channel_consume(made->channel, listener->queue, listener->prefetch, deadline);
    if (status != CONEY_OK) {
        cny_consumer_free(made);
        return status;
    }
    *consumer = made;
    return CONEY_OK;
}

void cny_consumer_free(cny_consumer *consumer)
{
    if (!consumer)
        return;
    cny_channel_close(consumer->channel);
    cny_channel_unref(consumer->channel);
    cny_container_unref(consumer->container);
    cny_free(consumer);
}

/* ---- one message ---- */

static void settle(const cny_consumer *consumer, const coney_message *message, cny_settlement settlement)
{
    /* A dead channel is no loss: the broker delivers again. */
    if (cny_channel_settle(consumer->channel, message, settlement) != CONEY_OK)
        cny_log(CONEY_LOG_DEBUG, "queue '%s': not acknowledged: %s", consumer->listener->queue, coney_last_error());
}

/* Rejects for good what no later delivery could read either. It goes to the dead-letter exchange
 * if the queue has one. */
static void reject_unreadable(const cny_consumer *consumer, const coney_message *message, const char *reason)
{
    const char *id = message->properties.message_id;
    cny_log(CONEY_LOG_ERROR, "queue '%s': message '%s' is rejected, it cannot be read: %s", consumer->listener->queue,
            id ? id : "(without id)", reason);
    settle(consumer, message, CNY_SETTLE_REJECT);
}

static cny_settlement settlement_for(const cny_consumer *consumer, coney_outcome outcome)
{
    switch (outcome) {
    case CONEY_ACK: return CNY_SETTLE_ACK;
    case CONEY_REJECT: return CNY_SETTLE_REJECT;
    case CONEY_REQUEUE:
    case CONEY_RETRY: return CNY_SETTLE_REQUEUE;
    }
    cny_log(CONEY_LOG_ERROR,
            "queue '%s': the handler returned %d, which is no coney_outcome; the message goes back to the queue",
            consumer->listener->queue, (int)outcome);
    return CNY_SETTLE_REQUEUE;
}

static void handle(const cny_consumer *consumer, coney_message *message)
{
    const coney_listener *listener = consumer->listener;
    const coney_converter *converter = listener->converter;
    if (message->defect) {
        reject_unreadable(consumer, message, message->defect);
        return;
    }
    coney_delivery delivery = {.message = message, .queue = listener->queue};
    coney_status status = converter ? cny_from_message(converter, &delivery.payload, message) : CONEY_OK;
    if (status == CONEY_E_NO_MEMORY) { /* not the message's fault */
        cny_log(CONEY_LOG_ERROR, "queue '%s': no memory to convert a message; it goes back", listener->queue);
        settle(consumer, message, CNY_SETTLE_REQUEUE);
        return;
    }
    if (status != CONEY_OK) {
        reject_unreadable(consumer, message, coney_last_error());
        return;
    }
    coney_outcome outcome = listener->on_message(&delivery, listener->user);
    if (converter)
        converter->free_object(delivery.payload);
    settle(consumer, message, settlement_for(consumer, outcome));
}

/* ---- the thread ---- */

static int64_t stop_deadline(const cny_consumer *consumer)
{
    return atomic_load_explicit(&consumer->container->stop_deadline, memory_order_relaxed);
}

/* Past the deadline of a stop what is left is not handled: closing the channel returns it. */
static bool may_go_on(const cny_consumer *consumer)
{
    int64_t deadline = stop_deadline(consumer);
    return deadline == INT64_MAX || cny_now_ms() < deadline;
}

static void handle_all(const cny_consumer *consumer, cny_buffer *batch)
{
    coney_message **messages = (coney_message **)(void *)batch->data;
    for (size_t i = 0; i < batch->size / sizeof *messages; i++) {
        if (may_go_on(consumer))
            handle(consumer, messages[i]);
        coney_message_unref(messages[i]);
    }
    batch->size = 0;
}

/* Until a stop or the loss of the channel; CONEY_OK is a stop. */
static coney_status consume(const cny_consumer *consumer, cny_buffer *batch)
{
    enum { A_WHILE_MS = 3600000 };
    for (;;) {
        int64_t until = cny_deadline(A_WHILE_MS), stop = stop_deadline(consumer);
        coney_status status = cny_channel_receive(consumer->channel, batch, stop < until ? stop : until);
        bool nothing_more = status == CONEY_OK && batch->size == 0;
        if (nothing_more || (status != CONEY_OK && status != CONEY_E_TIMEOUT))
            return status;
        handle_all(consumer, batch);
        if (!may_go_on(consumer))
            return CONEY_OK;
    }
}

void *cny_consumer_main(void *argument)
{
    cny_consumer *consumer = argument;
    cny_buffer batch = {0};
    coney_status status = consume(consumer, &batch);
    if (status != CONEY_OK)
        cny_fail_in("a consumer of queue '%s' ended", consumer->listener->queue);
    cny_error *error = status == CONEY_OK ? NULL : cny_error_capture();
    cny_buffer_free(&batch);
    cny_channel_close(consumer->channel);
    cny_container_consumer_ended(consumer, error);
    cny_consumer_free(consumer);
    return NULL;
}
