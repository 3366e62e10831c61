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

/* Gives a channel that consumes. */
static coney_status subscribe(cny_consumer *consumer, cny_channel **channel, int64_t deadline)
{
    const coney_listener *listener = consumer->listener;
    cny_channel *made;
    coney_status status = cny_channel_open(&made, consumer->container->factory, CONEY_CONSUMING, false, deadline);
    if (status != CONEY_OK)
        return status;
    cny_container_consumer_subscribing(consumer, made);
    status = cny_channel_consume(made, listener->queue, listener->prefetch, NULL, deadline);
    cny_container_consumer_subscribing(consumer, NULL);
    if (status != CONEY_OK) {
        cny_channel_close(made);
        cny_channel_unref(made);
        return status;
    }
    *channel = made;
    return CONEY_OK;
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
    coney_status status = subscribe(made, &made->channel, deadline);
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
    cny_error_unref(consumer->trouble);
    cny_container_unref(consumer->container);
    cny_free(consumer);
}

/* ---- one message ---- */

static void settle(const cny_consumer *consumer, const coney_message *message, cny_settlement settlement)
{
    coney_status status = cny_channel_settle(consumer->channel, message, settlement);
    if (status == CONEY_OK)
        return;
    /* A dead channel is no loss: the broker delivers again. A live one that does not hear of the message would
     * soon have no more to deliver. */
    cny_log(status == CONEY_E_STALE ? CONEY_LOG_DEBUG : CONEY_LOG_WARN, "queue '%s': not acknowledged: %s",
            consumer->listener->queue, coney_last_error());
    if (status != CONEY_E_STALE)
        cny_channel_close(consumer->channel);
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

/* Makes what the handler gets; a message that a processor discards becomes NULL. */
static coney_status prepare(const cny_consumer *consumer, coney_delivery *delivery)
{
    const coney_converter *converter = consumer->listener->converter;
    const coney_message *message = delivery->message;
    coney_status status = cny_processors_run(&consumer->container->after_receive, &delivery->message, message->exchange,
                                             message->routing_key);
    if (status != CONEY_OK || !delivery->message || !converter)
        return status;
    return cny_from_message(converter, &delivery->payload, delivery->message);
}

static cny_settlement call_handler(const cny_consumer *consumer, coney_delivery *delivery)
{
    const coney_listener *listener = consumer->listener;
    coney_outcome outcome = listener->on_message(delivery, listener->user);
    if (listener->converter)
        listener->converter->free_object(delivery->payload);
    return settlement_for(consumer, outcome);
}

/* What is settled is the message as it came, whatever processors made of it. */
static void handle_readable(cny_consumer *consumer, const coney_message *message, coney_delivery *delivery)
{
    cny_settlement settlement = CNY_SETTLE_ACK;
    atomic_store(&consumer->handling, true);
    coney_status status = prepare(consumer, delivery);
    if (status == CONEY_OK && delivery->message)
        settlement = call_handler(consumer, delivery);
    atomic_store(&consumer->handling, false);
    if (status == CONEY_E_NO_MEMORY) { /* not the message's fault */
        cny_log(CONEY_LOG_ERROR, "queue '%s': no memory to convert a message; it goes back", delivery->queue);
        settlement = CNY_SETTLE_REQUEUE;
    } else if (status != CONEY_OK) {
        reject_unreadable(consumer, message, coney_last_error());
        return;
    }
    settle(consumer, message, settlement);
}

static void handle(cny_consumer *consumer, coney_message *message)
{
    if (message->defect) {
        reject_unreadable(consumer, message, message->defect);
        return;
    }
    coney_delivery delivery = {.message = coney_message_ref(message), .queue = consumer->listener->queue};
    handle_readable(consumer, message, &delivery);
    coney_message_unref(delivery.message);
}

/* ---- consuming ---- */

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

static void handle_all(cny_consumer *consumer, cny_buffer *batch)
{
    coney_message **messages = (coney_message **)(void *)batch->data;
    size_t left_over = 0;
    for (size_t i = 0; i < batch->size / sizeof *messages; i++) {
        if (may_go_on(consumer) && cny_channel_alive(consumer->channel))
            handle(consumer, messages[i]);
        else
            left_over++; /* the broker delivers it again */
        coney_message_unref(messages[i]);
    }
    batch->size = 0;
    if (left_over > 0)
        cny_log(CONEY_LOG_WARN, "container '%s': %zu prefetched messages of queue '%s' are not handled, they go back",
                consumer->container->options.name, left_over, consumer->listener->queue);
}

/* Until a stop or the loss of the channel; CONEY_OK is a stop. */
static coney_status consume(cny_consumer *consumer, cny_buffer *batch)
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

/* ---- after a loss ---- */

enum { LOOK_UP_MS = 200, SUBSCRIBE_MS = 5000 };

/* As long as it takes, but no longer than until a stop: then CONEY_E_STATE. */
static coney_status wait_for_connection(const cny_consumer *consumer)
{
    coney_connection_factory *factory = consumer->container->factory;
    while (stop_deadline(consumer) == INT64_MAX) {
        coney_status status = cny_factory_wait_open(factory, CONEY_CONSUMING, cny_deadline(LOOK_UP_MS));
        if (status != CONEY_E_CONNECT || cny_factory_has_given_up(factory, CONEY_CONSUMING))
            return status;
    }
    return cny_fail(CONEY_E_STATE, "the container is stopping");
}

/* A queue that is gone comes back if it is in an admin's topology. */
static coney_status resume(cny_consumer *consumer, cny_channel **channel, bool declare_first)
{
    coney_status status = wait_for_connection(consumer);
    if (status == CONEY_OK && declare_first)
        status = cny_factory_declare(consumer->container->factory, cny_deadline(SUBSCRIBE_MS));
    return status == CONEY_OK ? subscribe(consumer, channel, cny_deadline(SUBSCRIBE_MS)) : status;
}

/* The connection is gone again, and waiting for the next one is all there is to do. */
static bool may_retry_at_once(const cny_consumer *consumer, coney_status status)
{
    bool is_loss = status == CONEY_E_LOST || status == CONEY_E_CONNECT;
    return is_loss && !cny_factory_has_given_up(consumer->container->factory, CONEY_CONSUMING);
}

/* One that the broker ends again and again must not come back at once each time. */
static bool must_wait_first(const cny_consumer *consumer, coney_status loss)
{
    int64_t interval = consumer->container->options.recovery_interval_ms;
    bool has_just_resumed = consumer->resumed_at > 0 && cny_now_ms() < consumer->resumed_at + interval;
    return has_just_resumed && !may_retry_at_once(consumer, loss);
}

/* Until it consumes again; the status is this thread's last one if that is not to be. */
static coney_status recover(cny_consumer *consumer, coney_status loss)
{
    cny_container_consumer_lost(consumer);
    if (must_wait_first(consumer, loss) && !cny_container_wait_to_retry(consumer->container))
        return cny_fail(CONEY_E_STATE, "the container is stopping");
    for (coney_status status = loss;;) {
        cny_channel *channel = NULL;
        status = resume(consumer, &channel, status == CONEY_E_NOT_FOUND);
        if (status == CONEY_OK) {
            consumer->resumed_at = cny_now_ms();
            cny_container_consumer_resumed(consumer, channel);
            return CONEY_OK;
        }
        if (status == CONEY_E_CLOSED || stop_deadline(consumer) != INT64_MAX)
            return status;
        cny_container_consumer_failed(consumer);
        if (!may_retry_at_once(consumer, status) && !cny_container_wait_to_retry(consumer->container))
            return cny_fail(CONEY_E_STATE, "the container is stopping");
    }
}

/* ---- the thread ---- */

void *cny_consumer_main(void *argument)
{
    cny_consumer *consumer = argument;
    cny_buffer batch = {0};
    cny_factory_serve_on_this_thread(consumer->container->factory);
    coney_status status;
    do {
        status = consume(consumer, &batch);
    } while (status != CONEY_OK && recover(consumer, status) == CONEY_OK);
    if (status != CONEY_OK)
        cny_fail_in("a consumer of queue '%s' ended", consumer->listener->queue);
    cny_error *error = status == CONEY_OK ? NULL : cny_error_capture();
    cny_buffer_free(&batch);
    cny_channel_close(consumer->channel);
    cny_container_consumer_ended(consumer, error);
    cny_consumer_free(consumer);
    return NULL;
}
