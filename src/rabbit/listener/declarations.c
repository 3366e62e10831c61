/* SPDX-License-Identifier: MIT */
/* The queues that a listener brings along: its own, if it is told to, the ladder of its retries, and the parking
 * queue. */
#include "rabbit/listener/listener.h"

#include <stddef.h>
#include <stdio.h>

#define DECLARE_MS 5000

/* "orders.retry.5000"; the delay is in the name, so that another delay is another queue and not a queue that was
 * declared otherwise. */
static coney_status name_queue(cny_listener *made, const char **name, const char *suffix)
{
    char text[512];
    snprintf(text, sizeof text, "%s%s", made->options.queue, suffix);
    if (cny_check_name("the name of a queue of the ladder", text) != CONEY_OK)
        return CONEY_E_INVALID;
    return cny_arena_strdup(&made->arena, name, text) ? CONEY_OK : cny_fail_memory();
}

static coney_status name_queues(cny_listener *made)
{
    coney_listener_retry *retry = &made->options.retry;
    coney_status status = CONEY_OK;
    for (int i = 0; i < CONEY_MAX_DELAYS && retry->delays_ms[i] > 0 && status == CONEY_OK; i++) {
        char suffix[32];
        snprintf(suffix, sizeof suffix, ".retry.%d", retry->delays_ms[i]);
        status = name_queue(made, &made->delay_queues[i], suffix);
        made->delay_count = i + 1;
    }
    if (status == CONEY_OK && !retry->parking_queue && retry->recovery == CONEY_RECOVER_PARK)
        status = name_queue(made, &retry->parking_queue, ".parking");
    return status;
}

/* A quorum queue hands on what expires only if told to, and takes no more than it can hand on then. */
static void add_rung(cny_listener *made, int rung, const coney_table *for_quorum)
{
    const coney_listener_retry *retry = &made->options.retry;
    bool is_quorum = retry->ladder_kind == CONEY_QUORUM;
    coney_topology_add_queue(made->declares, &(coney_queue){
                                                 .name = made->delay_queues[rung],
                                                 .kind = retry->ladder_kind,
                                                 .message_ttl_ms = retry->delays_ms[rung],
                                                 .dead_letter_exchange = "",
                                                 .dead_letter_routing_key = made->options.queue,
                                                 .overflow = is_quorum ? CONEY_REJECT_PUBLISH : CONEY_OVERFLOW_DEFAULT,
                                                 .arguments = is_quorum ? for_quorum : NULL,
                                             });
}

/* What the container declares for it. */
static coney_status add_declarations(cny_listener *made, const coney_queue *queue)
{
    const coney_listener_retry *retry = &made->options.retry;
    bool parks = retry->recovery == CONEY_RECOVER_PARK;
    if (!queue && made->delay_count == 0 && !parks)
        return CONEY_OK;
    made->declares = coney_topology_new();
    coney_table *for_quorum = coney_table_new();
    if (!made->declares || !for_quorum) {
        coney_table_free(for_quorum);
        return cny_fail_memory();
    }
    coney_table_set_string(for_quorum, "x-dead-letter-strategy", "at-least-once");
    if (queue)
        coney_topology_add_queue(made->declares, queue);
    for (int i = 0; i < made->delay_count; i++)
        add_rung(made, i, for_quorum);
    if (parks)
        coney_topology_add_queue(made->declares,
                                 &(coney_queue){.name = retry->parking_queue, .kind = retry->ladder_kind});
    coney_table_free(for_quorum);
    return cny_error_raise(made->declares->failure);
}

coney_status cny_listener_plan_declarations(cny_listener *made, const coney_queue *queue)
{
    coney_status status = name_queues(made);
    if (status == CONEY_OK)
        status = add_declarations(made, queue);
    made->must_declare = made->declares != NULL;
    return status;
}

coney_status cny_listener_declare(coney_container *container, const cny_listener *listener, int64_t deadline)
{
    if (!listener->declares)
        return CONEY_OK;
    const coney_queue *queues = (const coney_queue *)(const void *)listener->declares->queues.data;
    cny_channel *channel;
    coney_status status = cny_channel_open(&channel, container->factory, CONEY_CONSUMING, false, deadline);
    if (status != CONEY_OK)
        return status;
    for (size_t i = 0; i < listener->declares->queues.size / sizeof *queues && status == CONEY_OK; i++)
        status = cny_channel_declare_queue(channel, &queues[i], false, NULL, deadline);
    cny_channel_close(channel);
    cny_channel_unref(channel);
    return status;
}

/* ---- for consumers that wait; the supervisor's second thread ---- */

/* Under lock: one whose queue is gone. */
static bool is_any_queue_gone(const coney_container *container)
{
    for (const cny_consumer *consumer = cny_first_consumer(container); consumer;
         consumer = cny_next_consumer(consumer)) {
        if (consumer->declare_first)
            return true;
    }
    return false;
}

/* Under lock: they may try now, whatever came of it. */
static void let_consumers_try(const coney_container *container)
{
    for (cny_consumer *consumer = cny_first_consumer(container); consumer; consumer = cny_next_consumer(consumer))
        consumer->declare_first = false;
}

/* Under lock. */
static cny_listener *next_to_declare(coney_container *container, unsigned round)
{
    for (cny_listener *listener = container->listeners; listener; listener = listener->next) {
        if (listener->must_declare && listener->declared != round && cny_listener_is_wanted(container, listener))
            return listener;
    }
    return NULL;
}

static bool is_final(coney_status status)
{
    return status == CONEY_E_PRECONDITION_FAILED || status == CONEY_E_ACCESS_REFUSED || status == CONEY_E_INVALID ||
           status == CONEY_E_NOT_ALLOWED;
}

/* Under lock. What may pass is tried again: an exclusive queue of a connection whose end the broker has not seen yet,
 * a queue whose node is down. */
static void on_declared(const coney_container *container, cny_listener *listener, coney_status status)
{
    cny_error *failure = status == CONEY_OK ? NULL : cny_error_capture();
    cny_error_unref(listener->refusal);
    cny_error_unref(listener->setback);
    listener->refusal = is_final(status) ? failure : NULL;
    listener->setback = is_final(status) ? NULL : failure;
    listener->must_declare = listener->setback != NULL;
    listener->declare_at = cny_is_loss(status) ? 0 /* the next connection is a new beginning */
                                               : cny_deadline(container->options.recovery_interval_ms);
}

static void declare_for_listeners(coney_container *container)
{
    pthread_mutex_lock(&container->lock);
    unsigned round = ++container->round;
    for (cny_listener *listener; (listener = next_to_declare(container, round));) {
        listener->declared = round;
        atomic_fetch_add(&listener->refs, 1);
        pthread_mutex_unlock(&container->lock);
        coney_status status = cny_listener_declare(container, listener, cny_deadline(DECLARE_MS));
        pthread_mutex_lock(&container->lock);
        on_declared(container, listener, status);
        cny_listener_unref(listener);
    }
    pthread_mutex_unlock(&container->lock);
}

void cny_declare_for_consumers(cny_task *task)
{
    coney_container *container = (coney_container *)(void *)((char *)task - offsetof(coney_container, declarer));
    pthread_mutex_lock(&container->lock);
    bool any_gone = is_any_queue_gone(container);
    pthread_mutex_unlock(&container->lock);
    if (any_gone)
        cny_factory_declare(container->factory, cny_deadline(DECLARE_MS));
    declare_for_listeners(container);
    pthread_mutex_lock(&container->lock);
    if (any_gone)
        let_consumers_try(container);
    pthread_mutex_unlock(&container->lock);
    cny_container_attention(container);
}
