/* SPDX-License-Identifier: MIT */
/* A consumer whose subscription twice was a suspect when the broker closed the connection (factory/factory.h), or
 * once had no answer, is not subscribed with the others any more, but tried alone: on the factory's isolated
 * connection, or, if its queue is exclusive to the consuming connection, there while all other suspects wait. A
 * consumer that the broker answers is innocent, and subscribes as usual. Of one that costs the connection again it is
 * known that the refusal is its own: it is tried again after pauses, and nobody else notices.
 *
 * The supervisor tends the consumer as ever. The task below, on a thread of its own that may wait, makes and closes the
 * connection and decides whose turn it is. */
#include "rabbit/listener/listener.h"

#include <stddef.h>

#define CONNECT_MS 10000
#define TRIAL_MS 30000
#define RETRY_MS 1000 /* after a trial that told nothing */

/* ---- the supervisor, under the container's lock ---- */

bool cny_consumer_awaits_trial(cny_consumer *consumer)
{
    consumer->awaits_trial = cny_must_isolate(&consumer->strikes) && !consumer->trial;
    if (consumer->awaits_trial)
        consumer->due = INT64_MAX;
    return consumer->awaits_trial;
}

bool cny_consumer_is_tried_alone(const cny_consumer *consumer)
{
    return consumer->trial && !consumer->needs_own_connection;
}

void cny_consumer_end_trial(cny_consumer *consumer)
{
    cny_connection_unref(consumer->trial);
    consumer->trial = NULL;
}

void cny_consumer_is_acquitted(cny_consumer *consumer)
{
    cny_strikes_clear(&consumer->strikes);
    consumer->is_refused = consumer->needs_own_connection = false;
}

/* A close of the connection that others use as well is a loss, whatever the broker said: it may have been about
 * them. */
static void note_suspicion(cny_consumer *consumer, bool is_alone)
{
    const coney_error *error = coney_last_error_details();
    cny_strike(&consumer->strikes, cny_now_ms());
    consumer->is_refused = is_alone;
    if (!is_alone && error->status != CONEY_E_LOST)
        cny_fail_code(CONEY_E_LOST, error->broker_code, "the broker closed the connection: %s", error->text);
}

/* A consumer without an answer is no mere suspect. After a minute RabbitMQ closes the connection over it, and a second
 * attempt on the same connection would make that take longer. */
static void note_silence(cny_consumer *consumer, bool is_alone)
{
    if (is_alone)
        cny_strike(&consumer->strikes, cny_now_ms());
    else
        cny_strikes_isolate(&consumer->strikes);
    consumer->is_refused = true;
}

bool cny_consumer_note_refusal(cny_consumer *consumer)
{
    coney_status status = coney_last_error_details()->status;
    bool is_alone = consumer->trial != NULL;
    if (cny_last_is_suspicion()) {
        note_suspicion(consumer, is_alone);
    } else if (status == CONEY_E_TIMEOUT) {
        note_silence(consumer, is_alone);
    } else if (is_alone && status == CONEY_E_RESOURCE_LOCKED && !consumer->needs_own_connection) {
        consumer->needs_own_connection = true;
        return false;
    } else if (is_alone && cny_is_loss(status)) {
        consumer->strikes.retry_at = cny_deadline(RETRY_MS);
    } else if (is_alone) {
        cny_consumer_is_acquitted(consumer);
    }
    return true;
}

/* Somebody waits for its turn. */
static bool is_trial_wanted(const coney_container *container)
{
    for (const cny_consumer *one = cny_first_consumer(container); one; one = cny_next_consumer(one)) {
        if (one->awaits_trial)
            return true;
    }
    return false;
}

void cny_look_at_trials(coney_container *container)
{
    bool is_wanted = is_trial_wanted(container);
    bool is_idle = cny_workers_is_idle(container->trials, &container->trial);
    cny_workers_resize(container->trials, is_wanted || !is_idle ? 1 : 0);
    if (is_wanted && is_idle)
        cny_workers_schedule(container->trials, &container->trial);
}

/* ---- the task ---- */

/* Under lock. What a consumer that acknowledges nothing is sent must be handled, which during a start has to wait: so
 * those come last. */
static cny_consumer *next_suspect(const coney_container *container)
{
    cny_consumer *last = NULL;
    for (cny_consumer *one = cny_first_consumer(container); one; one = cny_next_consumer(one)) {
        if (one->awaits_trial && !cny_acknowledges_nothing(&one->listener->spec))
            return one;
        if (one->awaits_trial)
            last = one;
    }
    return last;
}

/* Under lock: with the consuming connection, which is there, this user has as many as it may. So the consumer's trouble
 * is that it cannot be tried, and a start need not wait for it. */
static void note_no_trial(cny_consumer *consumer, const cny_error *failure)
{
    cny_error_raise(failure);
    cny_fail_in("consume from queue '%s', which may cost the connection and must be tried alone",
                consumer->listener->spec.options.queue);
    cny_error_unref(consumer->trouble);
    consumer->trouble = cny_error_capture();
    consumer->is_refused = true;
}

/* Under lock: there is no connection for them. */
static void put_off(const coney_container *container, const cny_error *failure)
{
    coney_status status = cny_error_view(failure)->status;
    bool is_refused = status == CONEY_E_NOT_ALLOWED || status == CONEY_E_ACCESS_REFUSED;
    for (cny_consumer *one = cny_first_consumer(container); one; one = cny_next_consumer(one)) {
        if (!one->awaits_trial)
            continue;
        one->awaits_trial = false;
        one->due = cny_deadline(RETRY_MS);
        if (is_refused)
            note_no_trial(one, failure);
    }
}

/* Under lock. False if the broker may be about to close the connection over the consumer. */
static bool try_alone(coney_container *container, cny_consumer *consumer, cny_connection *connection)
{
    int64_t deadline = cny_deadline(TRIAL_MS);
    bool in_time = true;
    cny_source_ref(&consumer->source);
    consumer->awaits_trial = false;
    consumer->trial = cny_connection_ref(connection);
    cny_container_attention(container);
    while (consumer->trial && in_time)
        in_time = cny_cond_wait(&container->changed, &container->lock, deadline);
    bool is_harmless = consumer->strikes.count == 0 || consumer->needs_own_connection;
    cny_source_unref(&consumer->source);
    return is_harmless;
}

/* One connection serves until one of them does harm. */
void cny_try_suspects(cny_task *task)
{
    coney_container *container = (coney_container *)(void *)((char *)task - offsetof(coney_container, trial));
    cny_connection *connection;
    coney_status status = cny_isolated_connection(&connection, container->factory, cny_deadline(CONNECT_MS));
    cny_error *failure = status == CONEY_OK ? NULL : cny_error_capture();
    pthread_mutex_lock(&container->lock);
    cny_consumer *consumer;
    bool is_well = !failure;
    if (failure)
        put_off(container, failure);
    while (is_well && cny_connection_is_open(connection) && (consumer = next_suspect(container)))
        is_well = try_alone(container, consumer, connection);
    pthread_mutex_unlock(&container->lock);
    cny_error_unref(failure);
    cny_isolated_close(container->factory, connection);
    cny_container_attention(container);
}
