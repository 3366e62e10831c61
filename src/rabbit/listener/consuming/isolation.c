/* SPDX-License-Identifier: MIT */
/* A consumer over which the broker may close the connection: it was subscribing twice when that happened, or has had no
 * answer once. Such a consumer is *isolated*: it does not subscribe with the others, but on the factory's isolated
 * connection, or, if its queue is exclusive to the consuming connection, there while all others that are to be isolated
 * wait. One that the broker answers is released, and subscribes as usual. Of one that costs the connection again it is
 * known that the refusal is its own: it is tried again after pauses, and disturbs nobody.
 *
 * The supervisor subscribes the consumer as ever. The task below, on a thread of its own that may wait, makes and
 * closes the connection and decides whose turn it is. */
#include "rabbit/listener/consuming/consumer.h"
#include "rabbit/listener/consuming/supervisor.h"

#include <stddef.h>

#define CONNECT_MS 10000
#define TURN_MS 30000
#define RETRY_MS 1000 /* after an attempt that told nothing */

/* ---- the supervisor, under the container's lock ---- */

bool cny_consumer_must_be_isolated(const cny_consumer *consumer)
{
    return cny_must_isolate(&consumer->isolation.strikes) && !consumer->isolation.connection;
}

void cny_consumer_await_isolation(cny_consumer *consumer)
{
    cny_life_wait(&consumer->life, CNY_CONSUMER_AWAITS_ISOLATION, INT64_MAX);
}

void cny_consumer_release(cny_consumer *consumer)
{
    cny_strikes_clear(&consumer->isolation.strikes);
    consumer->isolation.is_refused = consumer->isolation.needs_consuming = false;
}

/* If others use the connection, too, its close is a loss, whatever the broker said: that may have been about them. */
static void note_close(cny_consumer *consumer, bool is_alone)
{
    const coney_error *error = coney_last_error_details();
    cny_strike(&consumer->isolation.strikes, cny_now_ms());
    consumer->isolation.is_refused = is_alone;
    if (!is_alone && error->status != CONEY_E_LOST)
        cny_fail_code(CONEY_E_LOST, error->broker_code, "the broker closed the connection: %s", error->text);
}

/* Without an answer one strike is enough: after a minute RabbitMQ closes the connection because of the consumer, and a
 * second attempt on the same connection would make that take longer. */
static void note_silence(cny_consumer *consumer, bool is_alone)
{
    if (is_alone)
        cny_strike(&consumer->isolation.strikes, cny_now_ms());
    else
        cny_strikes_isolate(&consumer->isolation.strikes);
    consumer->isolation.is_refused = true;
}

bool cny_consumer_note_refusal(cny_consumer *consumer)
{
    cny_consumer_isolation *isolation = &consumer->isolation;
    coney_status status = coney_last_error_details()->status;
    bool is_alone = isolation->connection != NULL;
    if (cny_last_is_suspicion()) {
        note_close(consumer, is_alone);
    } else if (status == CONEY_E_TIMEOUT) {
        note_silence(consumer, is_alone);
    } else if (is_alone && status == CONEY_E_RESOURCE_LOCKED && !isolation->needs_consuming) {
        isolation->needs_consuming = true;
        return false;
    } else if (is_alone && cny_is_loss(status)) {
        isolation->strikes.retry_at = cny_deadline(RETRY_MS);
    } else if (is_alone) {
        cny_consumer_release(consumer);
    }
    return true;
}

static bool awaits_turn(const cny_consumer *consumer)
{
    return consumer->life.state == CNY_CONSUMER_AWAITS_ISOLATION && !consumer->isolation.connection;
}

/* Deliveries of a consumer that acknowledges nothing must be handled, which has to wait during a start. So such a
 * consumer comes last. NULL: no consumer waits for its turn. */
static cny_consumer *next_in_turn(const coney_container *container)
{
    cny_consumer *last = NULL;
    for (cny_consumer *one = cny_first_consumer(container); one; one = cny_next_consumer(one)) {
        if (awaits_turn(one) && !cny_acknowledges_nothing(&one->listener->spec))
            return one;
        if (awaits_turn(one))
            last = one;
    }
    return last;
}

void cny_isolation_on_tick(coney_container *container)
{
    bool is_wanted = next_in_turn(container) != NULL;
    bool is_idle = cny_workers_is_idle(container->isolation, &container->isolator);
    cny_workers_resize(container->isolation, is_wanted || !is_idle ? 1 : 0);
    if (is_wanted && is_idle)
        cny_workers_schedule(container->isolation, &container->isolator);
}

/* ---- the task ---- */

/* Under lock: the broker allows this user no further connection beside the one for consuming, so the consumer cannot be
 * isolated. A start need not wait for it. */
static void note_no_connection(cny_consumer *consumer, const cny_error *failure)
{
    cny_error_raise(failure);
    cny_fail_in("consume from queue '%s', which may cost the connection and must be tried alone",
                consumer->listener->spec.options.queue);
    cny_consumer_forget_last_error(consumer);
    consumer->last_error = cny_error_capture();
    consumer->isolation.is_refused = true;
}

/* Under lock: there is no connection for those that wait for their turn. */
static void put_off(const coney_container *container, const cny_error *failure)
{
    coney_status status = cny_error_view(failure)->status;
    bool is_refused = status == CONEY_E_NOT_ALLOWED || status == CONEY_E_ACCESS_REFUSED;
    for (cny_consumer *one = cny_first_consumer(container); one; one = cny_next_consumer(one)) {
        if (!awaits_turn(one))
            continue;
        if (is_refused)
            note_no_connection(one, failure);
        cny_consumer_back_off(one, cny_deadline(RETRY_MS));
    }
}

/* Under lock. False if the broker may be about to close the connection over the consumer. */
static bool try_alone(coney_container *container, cny_consumer *consumer, cny_connection *connection)
{
    int64_t deadline = cny_deadline(TURN_MS);
    bool in_time = true;
    cny_source_ref(&consumer->source);
    consumer->isolation.connection = cny_connection_ref(connection);
    cny_container_wake(container);
    while (consumer->isolation.connection && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
    bool is_harmless = consumer->isolation.strikes.count == 0 || consumer->isolation.needs_consuming;
    cny_source_unref(&consumer->source);
    return is_harmless;
}

/* One connection serves all consumers, until the broker may close it over one of them. */
void cny_isolation_run(cny_task *task)
{
    coney_container *container = (coney_container *)(void *)((char *)task - offsetof(coney_container, isolator));
    cny_connection *connection;
    coney_status status = cny_isolated_connection(&connection, container->factory, cny_deadline(CONNECT_MS));
    cny_error *failure = status == CONEY_OK ? NULL : cny_error_capture();
    pthread_mutex_lock(&container->lock);
    cny_consumer *consumer;
    bool is_well = !failure;
    if (failure)
        put_off(container, failure);
    while (is_well && cny_connection_is_open(connection) && (consumer = next_in_turn(container)))
        is_well = try_alone(container, consumer, connection);
    pthread_mutex_unlock(&container->lock);
    cny_error_unref(failure);
    cny_isolated_close(container->factory, connection);
    cny_container_wake(container);
}
