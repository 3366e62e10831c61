/* SPDX-License-Identifier: MIT */
/* What becomes of a message, by the outcome of its handler. Most outcomes are what they say. CONEY_RETRY goes first
 * through the attempts in place, or across deliveries, then up the ladder, and at last to the final action. Runs on the
 * thread that settles. */
#include "rabbit/listener/handling/policy.h"

#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/backoff.h"
#include "rabbit/listener/handling/exhausted.h"
#include "rabbit/listener/handling/memory.h"
#include "rabbit/listener/handling/provenance.h"
#include "rabbit/listener/handling/quarantine.h"
#include "rabbit/listener/handling/reply.h"
#include "rabbit/listener/handling/source.h"
#include "rabbit/listener/handling/tries.h"

#define RELEASE_AGAIN_MS 1000

/* ---- stateful ---- */

/* A batch that is taken apart goes back as one message, so it counts once for each time it came. */
static bool note_failure(coney_delivery *delivery, cny_history *history)
{
    cny_histories *histories = &delivery->source->handling->memory->histories;
    if (!atomic_exchange(&delivery->arrival->is_failure_counted, true))
        return cny_history_note(histories, cny_original(delivery), CNY_HISTORY_FAILED, history);
    bool is_known = cny_history_of(histories, cny_original(delivery), history);
    if (is_known && history->failed == 0)
        history->failed = 1;
    return is_known;
}

/* Counts this failure, and returns how often the message has failed since it came to the queue; 0: nobody can tell. The
 * broker's count survives this process, and knows of other processes. A publisher can make a message look as if it had
 * just come, but cannot change the memory of this process. */
static int64_t count_failure(coney_delivery *delivery)
{
    const coney_message *message = cny_original(delivery);
    int64_t counted = cny_returns_here(delivery->source->handling, message) + 1;
    cny_history history;
    if (!note_failure(delivery, &history))
        return counted > 0 || message->redelivered ? counted : 1;
    return history.failed > counted || cny_has_just_come(message) ? history.failed : counted;
}

/* Before a copy goes elsewhere. Fragments share the id of the batch, which is forgotten when the batch is settled. */
static void forget_unless_fragment(const coney_delivery *delivery)
{
    cny_tries_forget(delivery);
    if (!delivery->fragment)
        cny_history_forget(&delivery->source->handling->memory->histories, cny_original(delivery));
}

/* False: the attempts are used up, or nobody can count them. */
static bool redeliver(coney_delivery *delivery, int *delay_ms)
{
    const coney_listener_retry *retry = &delivery->source->handling->spec->options.retry;
    int64_t count = count_failure(delivery);
    bool may = count > 0 && count < retry->max_attempts;
    if (may && !retry->delayed_by_queue)
        *delay_ms = cny_retry_delay(retry, count);
    return may;
}

/* ---- deciding ---- */

static bool is_retriable(const coney_delivery *delivery)
{
    const coney_listener *options = &delivery->source->handling->spec->options;
    return !options->retry.is_retriable ||
           options->retry.is_retriable(delivery, cny_error_view(delivery->failure), options->user);
}

/* So that is_retriable and on_exhausted get an error in any case. */
static void need_failure(coney_delivery *delivery, const char *outcome)
{
    if (!delivery->failure)
        delivery->failure = cny_error_new(CONEY_E_HANDLER, 0, "the handler returned %s", outcome);
}

/* The channel of the delivery is gone, so the message comes again, and a copy would be one too many. */
static bool comes_again(const coney_delivery *delivery)
{
    return !cny_acknowledges_nothing(delivery->source->handling->spec) &&
           !cny_channel_alive(delivery->arrival->channel);
}

static cny_disposition try_again(coney_delivery *delivery, int *delay_ms)
{
    *delay_ms = cny_retry_delay(&delivery->source->handling->spec->options.retry, ++delivery->tries);
    return CNY_NONE;
}

static cny_disposition decide_failure(coney_delivery *delivery, coney_outcome outcome, bool may_repeat, int *delay_ms)
{
    const cny_handling *handling = delivery->source->handling;
    const coney_listener_retry *retry = &handling->spec->options.retry;
    if (!cny_spec_has_retry(handling->spec))
        return CNY_REQUEUE;
    need_failure(delivery, outcome == CONEY_REQUEUE ? "CONEY_REQUEUE" : "CONEY_RETRY");
    bool retriable = is_retriable(delivery);
    if (retriable && retry->stateful && redeliver(delivery, delay_ms))
        return CNY_REQUEUE;
    if (retriable && !retry->stateful && may_repeat && delivery->tries + 1 < cny_spec_max_attempts(handling->spec))
        return try_again(delivery, delay_ms);
    if (comes_again(delivery)) {
        cny_tries_keep(delivery, delivery->tries + 1);
        return CNY_REQUEUE;
    }
    forget_unless_fragment(delivery);
    int round = cny_ladder_round(handling->spec, cny_original(delivery));
    if (retriable && round < handling->spec->delay_count)
        return cny_send_to_retry_queue(delivery, round);
    return cny_end_exhausted(delivery);
}

static cny_disposition park(coney_delivery *delivery)
{
    if (comes_again(delivery))
        return CNY_REQUEUE;
    forget_unless_fragment(delivery);
    need_failure(delivery, "CONEY_PARK");
    return cny_park(delivery);
}

static cny_disposition pass_over(coney_delivery *delivery)
{
    if (comes_again(delivery))
        return CNY_REQUEUE;
    need_failure(delivery, "CONEY_REJECT");
    return cny_pass_over(delivery);
}

/* A stream takes nothing back: a message that cannot be parked either is tried again in place until it can. */
static cny_disposition decide_on_stream(coney_delivery *delivery, coney_outcome outcome, bool may_repeat, int *delay_ms)
{
    if (outcome == CNY_UNTRIED && may_repeat) {
        *delay_ms = delivery->source->handling->spec->options.retry.first_delay_ms;
        return CNY_NONE;
    }
    cny_disposition disposition = outcome == CONEY_PARK     ? park(delivery)
                                  : outcome == CONEY_REJECT ? pass_over(delivery)
                                                            : decide_failure(delivery, outcome, may_repeat, delay_ms);
    bool may_try_again = disposition == CNY_REQUEUE && may_repeat && cny_channel_alive(delivery->arrival->channel);
    return may_try_again ? try_again(delivery, delay_ms) : disposition;
}

static void log_failure(const coney_delivery *delivery, coney_outcome outcome)
{
    cny_handling *handling = delivery->source->handling;
    bool is_stream = cny_spec_is_stream(handling->spec);
    const char *what = outcome == CONEY_RETRY || is_stream ? "failed"
                       : outcome == CONEY_REJECT           ? "is rejected"
                                                           : "goes back";
    bool is_told = outcome == CONEY_PARK ||
                   (delivery->progress == CNY_UNPREPARED && outcome != CONEY_RETRY); /* by the code that decides */
    if (is_told || (!delivery->failure && outcome != CONEY_RETRY))
        return;
    cny_log_limited(&handling->log, CNY_LOG_FAILURE, CONEY_LOG_WARN, cny_original(delivery),
                    "queue '%s': message '%s' %s at attempt %d: %s", handling->spec->options.queue,
                    cny_id_of(cny_original(delivery)), what, coney_delivery_attempt(delivery),
                    cny_failure_text(delivery));
}

static cny_disposition stop_container(coney_delivery *delivery)
{
    const cny_handling *handling = delivery->source->handling;
    cny_fail(CONEY_E_STATE, "the handler of queue '%s' returned CONEY_STOP%s%s", handling->spec->options.queue,
             delivery->failure ? ": " : "", delivery->failure ? cny_error_view(delivery->failure)->text : "");
    const cny_handling_context *context = delivery->source->handling->context;
    context->stop(context->self);
    cny_source_give_up(delivery->source, delivery->arrival->channel);
    return CNY_RETURN;
}

/* Either the handler has returned, so the message is harmless, or the message is condemned. Whatever the outcome is,
 * the message goes to its own queue. If it cannot be sent there, it waits here, because giving it back would count. */
static cny_disposition decide_in_quarantine(coney_delivery *delivery, coney_outcome outcome, bool may_repeat,
                                            int *delay_ms)
{
    if (comes_again(delivery))
        return CNY_REQUEUE;
    bool is_released = cny_release(delivery);
    if (outcome == CONEY_STOP)
        stop_container(delivery);
    *delay_ms = RELEASE_AGAIN_MS;
    if (is_released)
        return CNY_ACK;
    if (delivery->is_unsendable)
        return CNY_REJECT;
    return may_repeat ? CNY_NONE : outcome == CONEY_STOP ? CNY_RETURN : CNY_REQUEUE;
}

static bool is_outcome(const coney_delivery *delivery, coney_outcome outcome)
{
    const coney_outcome last = cny_delivery_is_manual(delivery) ? CONEY_DEFER : CONEY_STOP;
    if (outcome == CNY_UNTRIED)
        return true;
    return outcome == CONEY_PARK ? cny_has_parking_queue(delivery->source->handling->spec)
                                 : outcome >= CONEY_ACK && outcome <= last;
}

static void log_wrong_outcome(const coney_delivery *delivery, coney_outcome outcome)
{
    cny_handling *handling = delivery->source->handling;
    const char *queue = handling->spec->options.queue, *id = cny_id_of(cny_original(delivery));
    if (outcome == CONEY_PARK) /* of a handler or of on_error */
        cny_log_limited(
            &handling->log, CNY_LOG_OUTCOME, CONEY_LOG_ERROR, cny_original(delivery),
            "queue '%s': message '%s': CONEY_PARK needs a parking queue, and retry has none; that counts as "
            "CONEY_RETRY",
            queue, id);
    else
        cny_log_limited(
            &handling->log, CNY_LOG_OUTCOME, CONEY_LOG_ERROR, cny_original(delivery),
            "queue '%s': message '%s': the handler returned %d, which is no coney_outcome%s; that counts as "
            "CONEY_RETRY",
            queue, id, (int)outcome, outcome == CONEY_DEFER ? " of a listener that acknowledges AUTO or NONE" : "");
}

static cny_disposition decide(coney_delivery *delivery, coney_outcome outcome, bool may_repeat, int *delay_ms)
{
    if (delivery->source->is_quarantine && outcome != CONEY_ACK)
        return decide_in_quarantine(delivery, outcome, may_repeat, delay_ms);
    if (outcome == CONEY_STOP)
        return stop_container(delivery);
    if (cny_spec_is_stream(delivery->source->handling->spec) && outcome != CONEY_ACK)
        return decide_on_stream(delivery, outcome, may_repeat, delay_ms);
    if (outcome == CONEY_RETRY)
        return decide_failure(delivery, outcome, may_repeat, delay_ms);
    if (outcome == CONEY_PARK)
        return park(delivery);
    if (outcome == CONEY_REQUEUE)
        return CNY_REQUEUE;
    if (outcome == CNY_UNTRIED)
        return CNY_RETURN;
    if (cny_original(delivery)->redelivered)
        cny_tries_forget(delivery);
    return outcome == CONEY_ACK ? CNY_ACK : CNY_REJECT;
}

/* The message has failed, and does not come again. */
static bool has_failed_for_good(const coney_delivery *delivery, coney_outcome outcome, cny_disposition disposition)
{
    bool is_over = disposition == CNY_ACK || disposition == CNY_REJECT;
    return is_over && outcome != CONEY_ACK && !delivery->is_on_ladder && !delivery->is_expired &&
           !delivery->source->is_quarantine;
}

cny_disposition cny_decide(coney_delivery *delivery, coney_outcome outcome, bool may_repeat, int *delay_ms)
{
    cny_delivery_adopt_failure(delivery);
    if (!is_outcome(delivery, outcome)) {
        log_wrong_outcome(delivery, outcome);
        outcome = CONEY_RETRY;
    } else if (outcome != CONEY_ACK) {
        log_failure(delivery, outcome);
    }
    cny_disposition disposition = decide(delivery, outcome, may_repeat, delay_ms);
    if (delivery->source->handling->spec->options.return_errors && has_failed_for_good(delivery, outcome, disposition))
        cny_reply_with_failure(delivery);
    if (cny_goes_back(disposition))
        cny_note_survival(delivery);
    return disposition;
}
