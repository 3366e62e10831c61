/* SPDX-License-Identifier: MIT */
#include "coney_consumer.h"

#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define WAIT_S 60
#define WORKERS 4 /* for all of many listeners */
#define START_MS 60000

struct coney_consumer {
    const bench_case *one;
    coney_template *sender;
    coney_container *container;
    atomic_int left;
    sem_t all_handled;
};

/* Transient as it came, and as the other side sends it: what is forwarded is persistent otherwise. */
static bool relay(coney_template *sender, coney_message *message)
{
    const coney_properties transient = {.delivery_mode = CONEY_TRANSIENT};
    coney_message *copy = NULL;
    bool done = coney_message_with(&copy, message, &transient, NULL, 0) == CONEY_OK &&
                coney_template_send(sender, NULL, copy, NULL) == CONEY_OK;
    coney_message_unref(copy);
    return done;
}

static coney_outcome handle(coney_delivery *delivery, void *user)
{
    coney_consumer *consumer = user;
    if (consumer->one->handler_ms > 0)
        poll(NULL, 0, consumer->one->handler_ms);
    if (consumer->sender && !relay(consumer->sender, coney_delivery_message(delivery)))
        return CONEY_REQUEUE;
    if (atomic_fetch_sub_explicit(&consumer->left, 1, memory_order_relaxed) == 1)
        sem_post(&consumer->all_handled);
    return CONEY_ACK;
}

coney_consumer *coney_consumer_new(const bench_case *one, coney_connection_factory *factory, coney_template *sender)
{
    bench_queue_name queue;
    coney_consumer *consumer = calloc(1, sizeof *consumer);
    consumer->one = one;
    consumer->sender = sender;
    sem_init(&consumer->all_handled, 0, 0);
    bench_queue(queue, one, "coney");
    const coney_listener listener = {
        .queue = queue,
        .on_message = handle,
        .user = consumer,
        .concurrency = one->concurrency,
        .prefetch = bench_prefetch(one),
        .acknowledge = one->no_ack ? CONEY_ACKNOWLEDGE_NONE : CONEY_ACKNOWLEDGE_AUTO,
    };
    if (coney_container_new(&consumer->container, factory, NULL) == CONEY_OK &&
        coney_container_listen(consumer->container, &listener) == CONEY_OK)
        return consumer;
    coney_consumer_free(consumer);
    return NULL;
}

void coney_consumer_free(coney_consumer *consumer)
{
    if (!consumer)
        return;
    coney_container_free(consumer->container);
    sem_destroy(&consumer->all_handled);
    free(consumer);
}

bool coney_consumer_handle(coney_consumer *consumer, int messages)
{
    struct timespec until;
    atomic_store(&consumer->left, messages);
    if (coney_container_start(consumer->container) != CONEY_OK)
        return false;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_S;
    return sem_timedwait(&consumer->all_handled, &until) == 0;
}

bool coney_consumer_stop(coney_consumer *consumer)
{
    return coney_container_stop(consumer->container) == CONEY_OK;
}

/* ---- many listeners at rest ---- */

static coney_outcome ignore(coney_delivery *delivery, void *user)
{
    (void)delivery;
    (void)user;
    return CONEY_ACK;
}

bool coney_consumer_listen(const bench_case *one, coney_connection_factory *factory, coney_container **container)
{
    const coney_container_options options = {.workers = WORKERS, .start_timeout_ms = START_MS};
    bool done = coney_container_new(container, factory, &options) == CONEY_OK;
    for (int i = 0; done && i < one->listeners; i++) {
        bench_queue_name queue;
        bench_listener_queue(queue, one, i);
        done = coney_container_listen(*container, &(coney_listener){.queue = queue, .on_message = ignore}) == CONEY_OK;
    }
    return done && coney_container_start(*container) == CONEY_OK;
}
