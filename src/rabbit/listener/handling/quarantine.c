/* SPDX-License-Identifier: MIT */
/* Messages that may kill their process. A message that has come back too often is suspected and moved to a queue of its
 * own, where it is handled while no other handler of its listener runs. The supervisor closes a gate for the lanes of
 * the listener, waits until they rest, and only then consumes from that queue, with a prefetch of 1: so the broker's
 * count there rises only if the process or its connection ends while the message is alone with its handler.
 * docs/internals/listening.md tells why that never ends an innocent message, and always a deadly one.
 *
 * Here is what workers do; the supervisor opens and closes the gate. */
#include "rabbit/listener/handling/quarantine.h"

#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/exhausted.h"
#include "rabbit/listener/handling/memory.h"
#include "rabbit/listener/handling/provenance.h"
#include "rabbit/listener/handling/source.h"

#include <stdio.h>
#include <string.h>

#define MOST_ALONE 2 /* ends of the process while a message was alone: after these no handler gets the message */

/* ---- messages; on workers ---- */

static void log_not_moved(const coney_delivery *delivery, const char *what)
{
    cny_handling *handling = delivery->source->handling;
    cny_log_limited(&handling->log, CNY_LOG_REPUBLISHING, CONEY_LOG_ERROR, cny_original(delivery),
                    "queue '%s': message '%s', which may have ended its process, cannot be moved and %s: %s",
                    handling->spec->options.queue, cny_id_of(cny_original(delivery)), what, coney_last_error());
}

static coney_status declare(cny_handling_context *context, const cny_handling *handling)
{
    const coney_queue queue = {.name = handling->spec->quarantine_queue, .kind = CONEY_QUORUM};
    int64_t deadline = cny_deadline(context->publish_timeout_ms);
    cny_channel *channel;
    coney_status status = cny_channel_open(&channel, context->factory, CONEY_CONSUMING, false, deadline);
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
    cny_handling_context *context = delivery->source->handling->context;
    const cny_handling *handling = delivery->source->handling;
    coney_status status = cny_republish(delivery, queue);
    if (status == CONEY_E_RETURNED && queue == handling->spec->quarantine_queue) {
        status = declare(context, handling);
        if (status == CONEY_OK)
            status = cny_republish(delivery, queue);
    }
    return status;
}

/* If that is not possible, the message is handled among others, as without the option. */
static bool put_in_quarantine(coney_delivery *delivery, int64_t count, coney_outcome *outcome)
{
    cny_source *source = delivery->source;
    cny_handling *handling = source->handling;
    delivery->transfer = CNY_MOVED;
    if (move(delivery, handling->spec->quarantine_queue) != CONEY_OK) {
        delivery->transfer = CNY_NO_TRANSFER;
        log_not_moved(delivery, "is handled among others");
        return false;
    }
    cny_log_limited(
        &handling->log, CNY_LOG_QUARANTINE, CONEY_LOG_WARN, cny_original(delivery),
        "queue '%s': message '%s' has come back %lld times and may have ended its process; it goes to '%s', "
        "to be handled alone",
        handling->spec->options.queue, cny_id_of(cny_original(delivery)), (long long)count,
        handling->spec->quarantine_queue);
    atomic_store(&handling->gate.is_wanted, true);
    cny_source_wake(source);
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
    delivery->transfer = CNY_MOVED;
}

/* How many returns of the message to its queue may have been crashes. */
static int64_t possible_crashes(const coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    int64_t count = cny_returns_here(handling, cny_original(delivery));
    cny_history history;
    if (count > 0 && !delivery->source->is_quarantine &&
        cny_history_of(&handling->memory->histories, cny_original(delivery), &history))
        count -= history.failed + history.survived;
    return count;
}

void cny_note_survival(const coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    bool is_noted = atomic_load(&delivery->arrival->is_failure_counted); /* as a failure */
    if (cny_spec_is_guarded(handling->spec) && delivery->progress != CNY_UNPREPARED && !delivery->fragment && !is_noted)
        cny_history_note(&handling->memory->histories, cny_original(delivery), CNY_HISTORY_SURVIVED, NULL);
}

static coney_outcome outcome_of(cny_disposition disposition)
{
    return disposition == CNY_ACK ? CONEY_ACK : disposition == CNY_REJECT ? CONEY_REJECT : CONEY_REQUEUE;
}

/* A message whose channel is lost comes again, so a copy would be one too many. */
bool cny_guard(coney_delivery *delivery, coney_outcome *outcome)
{
    cny_handling *handling = delivery->source->handling;
    if (!cny_spec_is_guarded(handling->spec) || cny_original(delivery)->defect)
        return false;
    bool is_quarantine = delivery->source->is_quarantine;
    int64_t count = possible_crashes(delivery);
    bool is_ended = is_quarantine ? count >= MOST_ALONE : cny_is_condemned(handling->spec, cny_original(delivery));
    bool is_suspect = !is_quarantine && count >= handling->spec->options.retry.max_crashes;
    if ((is_ended || is_suspect) && !cny_channel_alive(delivery->arrival->channel)) {
        *outcome = CONEY_REQUEUE;
        return true;
    }
    if (!is_ended)
        return is_suspect && put_in_quarantine(delivery, count, outcome);
    note_condemned(delivery);
    if (is_quarantine)
        delivery->transfer = CNY_CONDEMNED;
    *outcome = is_quarantine ? CONEY_REJECT : outcome_of(cny_end_exhausted(delivery));
    return true;
}

bool cny_release(coney_delivery *delivery)
{
    if (delivery->progress != CNY_UNPREPARED)
        delivery->transfer = CNY_NO_TRANSFER;
    else if (delivery->transfer == CNY_NO_TRANSFER)
        delivery->transfer = CNY_MOVED;
    if (move(delivery, delivery->source->handling->spec->options.queue) == CONEY_OK)
        return true;
    log_not_moved(delivery, "waits");
    return false;
}

/* ---- the gate; on workers ---- */

bool cny_quarantine_enter(const cny_source *source)
{
    cny_gate *gate = &source->handling->gate;
    if (!source->handling->spec->quarantine_queue || source->is_quarantine)
        return true;
    atomic_fetch_add(&gate->at_work, 1);
    if (!atomic_load(&gate->is_closed))
        return true;
    cny_quarantine_leave(source);
    return false;
}

void cny_quarantine_leave(const cny_source *source)
{
    cny_gate *gate = &source->handling->gate;
    if (source->handling->spec->quarantine_queue && !source->is_quarantine)
        atomic_fetch_sub(&gate->at_work, 1);
}
