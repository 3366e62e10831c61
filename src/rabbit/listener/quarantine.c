/* SPDX-License-Identifier: MIT */
/* Messages that may kill their process. A message that has come back too often is suspected and moved to a queue of its
 * own, where it is handled while no other handler of its listener runs: the supervisor closes a gate for the lanes
 * meanwhile. docs/listening.md tells why that never ends an innocent message, and always a deadly one.
 *
 * On workers. */
#include "rabbit/listener/listener.h"

#include <stdio.h>
#include <string.h>

#define MOST_ALONE 2 /* ends while it was alone, until no handler gets it any more */

/* ---- messages; on workers ---- */

/* Ended in quarantine, and sent back to its queue for the recovery. After that it may have been moved back there from a
 * dead-letter queue, and then it begins anew. */
bool cny_is_condemned(const cny_listener *listener, const coney_message *message)
{
    const char *by = coney_table_get_string(message->properties.headers, CNY_HEADER_ENDED_BY);
    return by && cny_spec_is_guarded(&listener->spec) && strcmp(by, listener->spec.quarantine_queue) == 0 &&
           !coney_message_header(message, "x-death");
}

static void complain_not_moved(const coney_delivery *delivery, const char *what)
{
    cny_listener *listener = delivery->consumer->listener;
    cny_log_limited(&listener->log, CNY_LOG_REPUBLISHING, CONEY_LOG_ERROR, delivery->origin,
                    "queue '%s': message '%s', which may have ended its process, cannot be moved and %s: %s",
                    listener->spec.options.queue, cny_id_of(delivery->origin), what, coney_last_error());
}

static coney_status declare(coney_container *container, const cny_listener *listener)
{
    const coney_queue queue = {.name = listener->spec.quarantine_queue, .kind = CONEY_QUORUM};
    int64_t deadline = cny_deadline(container->options.publish_timeout_ms);
    cny_channel *channel;
    coney_status status = cny_channel_open(&channel, container->factory, CONEY_CONSUMING, false, deadline);
    if (status != CONEY_OK)
        return status;
    status = cny_channel_declare_queue(channel, &queue, false, NULL, deadline);
    cny_channel_close(channel);
    cny_channel_unref(channel);
    return status;
}

/* The queue is declared when the first message needs it. */
static coney_status move(coney_delivery *delivery, const char *queue)
{
    coney_container *container = delivery->consumer->container;
    const cny_listener *listener = delivery->consumer->listener;
    coney_status status = cny_republish(delivery, queue);
    if (status == CONEY_E_RETURNED && queue == listener->spec.quarantine_queue) {
        status = declare(container, listener);
        if (status == CONEY_OK)
            status = cny_republish(delivery, queue);
    }
    return status;
}

/* If that is not possible it is handled among others, as without the option. */
static bool put_in_quarantine(coney_delivery *delivery, int64_t count, coney_outcome *outcome)
{
    cny_consumer *consumer = delivery->consumer;
    cny_listener *listener = consumer->listener;
    delivery->is_moved = true;
    if (move(delivery, listener->spec.quarantine_queue) != CONEY_OK) {
        delivery->is_moved = false;
        complain_not_moved(delivery, "is handled among others");
        return false;
    }
    cny_log_limited(
        &listener->log, CNY_LOG_QUARANTINE, CONEY_LOG_WARN, delivery->origin,
        "queue '%s': message '%s' has come back %lld times and may have ended its process; it goes to '%s', "
        "to be handled alone",
        listener->spec.options.queue, cny_id_of(delivery->origin), (long long)count, listener->spec.quarantine_queue);
    atomic_store(&listener->quarantine.wanted, true);
    cny_container_attention(consumer->container);
    *outcome = CONEY_ACK;
    return true;
}

static void note_condemned(coney_delivery *delivery)
{
    cny_error_unref(delivery->failure);
    delivery->failure = cny_error_new(CONEY_E_HANDLER, 0,
                                      "the process or its connection ended %d times while the handler was alone with "
                                      "this message; no handler gets it any more",
                                      MOST_ALONE);
    delivery->is_moved = true;
}

/* Returns to the queue that may have been crashes. */
static int64_t possible_crashes(const coney_delivery *delivery)
{
    cny_listener *listener = delivery->consumer->listener;
    int64_t count = cny_returns_here(listener, delivery->origin);
    cny_history history;
    if (count > 0 && !delivery->consumer->is_quarantine &&
        cny_attempts_of(&listener->attempts, delivery->origin, &history))
        count -= history.failed + history.survived;
    return count;
}

void cny_note_survival(const coney_delivery *delivery)
{
    cny_listener *listener = delivery->consumer->listener;
    bool is_noted = atomic_load(&delivery->is_counted); /* as a failure */
    if (cny_spec_is_guarded(&listener->spec) && delivery->prepared && !delivery->whole && !is_noted)
        cny_attempts_note(&listener->attempts, delivery->origin, CNY_DEED_SURVIVED, NULL);
}

/* What has lost its channel comes again, so a copy would be one too many. */
bool cny_guard(coney_delivery *delivery, coney_outcome *outcome)
{
    cny_listener *listener = delivery->consumer->listener;
    if (!cny_spec_is_guarded(&listener->spec) || delivery->origin->defect)
        return false;
    bool is_quarantine = delivery->consumer->is_quarantine;
    int64_t count = possible_crashes(delivery);
    bool is_ended = is_quarantine ? count >= MOST_ALONE : cny_is_condemned(listener, delivery->origin);
    bool is_suspect = !is_quarantine && count >= listener->spec.options.retry.max_crashes;
    if ((is_ended || is_suspect) && !cny_channel_alive(delivery->channel)) {
        *outcome = CONEY_REQUEUE;
        return true;
    }
    if (!is_ended)
        return is_suspect && put_in_quarantine(delivery, count, outcome);
    note_condemned(delivery);
    delivery->is_condemned = is_quarantine;
    *outcome = is_quarantine ? CONEY_REJECT : cny_recover(delivery);
    return true;
}

bool cny_release(coney_delivery *delivery)
{
    delivery->is_moved = !delivery->prepared;
    if (move(delivery, delivery->consumer->listener->spec.options.queue) == CONEY_OK)
        return true;
    complain_not_moved(delivery, "waits");
    return false;
}

/* ---- the gate; on workers ---- */

bool cny_quarantine_enter(const cny_consumer *consumer)
{
    cny_quarantine *quarantine = &consumer->listener->quarantine;
    if (!consumer->listener->spec.quarantine_queue || consumer->is_quarantine)
        return true;
    atomic_fetch_add(&quarantine->at_work, 1);
    if (!atomic_load(&quarantine->is_closed))
        return true;
    cny_quarantine_leave(consumer);
    return false;
}

void cny_quarantine_leave(const cny_consumer *consumer)
{
    cny_quarantine *quarantine = &consumer->listener->quarantine;
    if (consumer->listener->spec.quarantine_queue && !consumer->is_quarantine)
        atomic_fetch_sub(&quarantine->at_work, 1);
}
