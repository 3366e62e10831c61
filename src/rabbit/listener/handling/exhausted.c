/* SPDX-License-Identifier: MIT */
/* What becomes of a message whose attempts are used up: the next rung of the ladder, or the final action. Whatever is
 * published is confirmed before the original is acknowledged, so a message may be there twice but never not at all.
 * Runs on the thread that settles, with no lock held. */
#include "rabbit/listener/handling/exhausted.h"

#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/publisher.h"

#include <stdio.h>

#define LARGEST_FRAME 131072 /* the largest and the smallest frame size */
#define SMALLEST_FRAME 4096  /* that are agreed with a broker */

/* ---- publishing a copy ---- */

static coney_status publish_copy(coney_delivery *delivery, const char *exchange, const char *routing_key,
                                 cny_copy_form *form)
{
    cny_handling_context *context = delivery->source->handling->context;
    coney_message *copy;
    coney_status status = cny_copy_make(&copy, delivery, form);
    if (status != CONEY_OK)
        return status;
    status = cny_publish_confirmed(context, &context->failed, exchange, routing_key, copy, true);
    coney_message_unref(copy);
    return status;
}

/* The sender of the message may have filled a frame with headers, so that there is no room for those of the copy. In
 * nearly all cases the frame size that was agreed with the broker is the largest. */
static coney_status publish_fitting_copy(coney_delivery *delivery, const char *exchange, const char *routing_key,
                                         cny_copy_form *form)
{
    coney_status status = CONEY_E_INVALID;
    form->fits = true;
    for (form->frame = LARGEST_FRAME; form->frame >= SMALLEST_FRAME && status == CONEY_E_INVALID; form->frame /= 2)
        status = publish_copy(delivery, exchange, routing_key, form);
    if (status != CONEY_E_INVALID)
        return status;
    form->frame = SMALLEST_FRAME;
    form->with_text = false;
    return publish_copy(delivery, exchange, routing_key, form);
}

/* Logs which headers the copy lacks. */
static void tell_left_out(const coney_delivery *delivery, const cny_copy_form *form, bool lacks_reason)
{
    cny_handling *handling = delivery->source->handling;
    if (!lacks_reason && !*form->left_out)
        return;
    cny_log_limited(&handling->log, CNY_LOG_REPUBLISHING, CONEY_LOG_WARN, cny_original(delivery),
                    "queue '%s': the headers of message '%s' leave no room for what is added to them; its copy goes "
                    "without %s%s%s (put large data into the body)",
                    handling->spec->options.queue, cny_id_of(cny_original(delivery)),
                    lacks_reason ? CONEY_HEADER_EXCEPTION_MESSAGE : "", lacks_reason && *form->left_out ? " and " : "",
                    form->left_out);
}

/* If the copy does not fit, first the reason is left out, which is in the log, too, and then headers are. A copy that
 * does not fit even so is unsendable, and so is a copy that the broker refuses because it is too large. */
static coney_status republish(coney_delivery *delivery, const char *exchange, const char *routing_key, int round,
                              bool comes_back)
{
    bool has_reason = delivery->failure || delivery->transfer == CNY_NO_TRANSFER;
    cny_copy_form form = {.round = round, .comes_back = comes_back, .with_text = has_reason};
    coney_status status = publish_copy(delivery, exchange, routing_key, &form);
    if (status == CONEY_E_INVALID) {
        form.with_text = false;
        status = publish_copy(delivery, exchange, routing_key, &form);
    }
    if (status == CONEY_E_INVALID) {
        form.with_text = has_reason;
        status = publish_fitting_copy(delivery, exchange, routing_key, &form);
    }
    if (status == CONEY_OK) {
        cny_count(&delivery->source->handling->counters.republished);
        tell_left_out(delivery, &form, has_reason && !form.with_text);
    }
    delivery->is_unsendable = status == CONEY_E_INVALID || status == CONEY_E_PRECONDITION_FAILED;
    return status;
}

coney_status cny_republish(coney_delivery *delivery, const char *queue)
{
    return republish(delivery, "", queue, 0, true);
}

/* The queue may have been deleted. Then it is declared again, and the copy published once more. */
static coney_status republish_to(coney_delivery *delivery, const char *queue, int round)
{
    cny_handling_context *context = delivery->source->handling->context;
    coney_status status = republish(delivery, "", queue, round, round > 0);
    if (status != CONEY_E_RETURNED)
        return status;
    cny_declarations_restore(context->factory, queue);
    status = cny_declarations_wait(context->factory, "", queue, cny_deadline(context->publish_timeout_ms));
    return status == CONEY_OK ? republish(delivery, "", queue, round, round > 0) : status;
}

static cny_disposition not_republished(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    cny_log_limited(&handling->log, CNY_LOG_REPUBLISHING, CONEY_LOG_ERROR, cny_original(delivery),
                    "queue '%s': message '%s' cannot be republished and %s: %s", handling->spec->options.queue,
                    cny_id_of(cny_original(delivery)), delivery->is_unsendable ? "never will be" : "goes back",
                    coney_last_error());
    return delivery->is_unsendable ? CNY_REJECT : CNY_REQUEUE;
}

/* ---- the ladder ---- */

/* A message that could not be read is complete only at the broker, so a copy cannot be made here. */
static bool is_incomplete(const coney_delivery *delivery)
{
    return cny_original(delivery)->defect != NULL;
}

cny_disposition cny_send_to_retry_queue(coney_delivery *delivery, int round)
{
    const cny_handling *handling = delivery->source->handling;
    if (is_incomplete(delivery))
        return cny_end_exhausted(delivery);
    delivery->is_on_ladder = republish_to(delivery, handling->spec->delay_queues[round], round + 1) == CONEY_OK;
    if (delivery->is_on_ladder)
        return CNY_ACK;
    return delivery->is_unsendable ? cny_end_exhausted(delivery) : not_republished(delivery);
}

/* ---- the final action ---- */

static void tell_exhausted(const coney_delivery *delivery, const char *what)
{
    cny_handling *handling = delivery->source->handling;
    char text[1200], after[40] = "";
    if (delivery->progress != CNY_UNPREPARED || delivery->transfer != CNY_NO_TRANSFER) { /* else no handler has tried */
        int made = cny_attempts_made(delivery);
        snprintf(after, sizeof after, " after %d attempt%s", made, made == 1 ? "" : "s");
    }
    snprintf(text, sizeof text, "message '%s' %s%s: %s", cny_id_of(cny_original(delivery)), what, after,
             cny_failure_text(delivery));
    cny_log_limited(&handling->log, CNY_LOG_EXHAUSTED, CONEY_LOG_WARN, cny_original(delivery), "queue '%s': %s",
                    handling->spec->options.queue, text);
    cny_tell(delivery->source->handling->context->events,
             &(cny_event){.kind = CONEY_MESSAGE_EXHAUSTED,
                          .listener = &handling->spec->options,
                          .consumer_tag = coney_delivery_consumer_tag(delivery),
                          .message = cny_original(delivery),
                          .error = delivery->failure,
                          .text = text});
}

cny_disposition cny_pass_over(coney_delivery *delivery)
{
    char what[64];
    long long offset =
        coney_table_get_int64(cny_original(delivery)->properties.headers, CONEY_HEADER_STREAM_OFFSET, -1);
    snprintf(what, sizeof what, "at offset %lld is passed over", offset);
    cny_count(&delivery->source->handling->counters.passed_over);
    tell_exhausted(delivery, what);
    return CNY_ACK;
}

static cny_disposition republish_elsewhere(coney_delivery *delivery)
{
    const cny_handling *handling = delivery->source->handling;
    const coney_listener_retry *retry = &handling->spec->options.retry;
    char key[CNY_MAX_SHORT_STRING + 8];
    snprintf(key, sizeof key, "error.%.255s", cny_original(delivery)->routing_key);
    key[CNY_MAX_SHORT_STRING] = '\0';
    const char *exchange = retry->exchange ? retry->exchange : "";
    const char *routing_key = retry->routing_key ? retry->routing_key : key;
    return republish(delivery, exchange, routing_key, 0, false) == CONEY_OK ? CNY_ACK : not_republished(delivery);
}

static cny_disposition park(coney_delivery *delivery)
{
    const char *queue = delivery->source->handling->spec->options.retry.parking_queue;
    return republish_to(delivery, queue, 0) == CONEY_OK ? CNY_ACK : not_republished(delivery);
}

/* The program must decide: CONEY_RETRY, for example, is no answer. */
static cny_disposition ask_program(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    const coney_listener *options = &handling->spec->options;
    coney_outcome outcome = options->retry.on_exhausted(delivery, cny_error_view(delivery->failure), options->user);
    cny_delivery_adopt_failure(delivery);
    switch (outcome) {
    case CONEY_ACK: return CNY_ACK;
    case CONEY_REJECT: return CNY_REJECT;
    case CONEY_REQUEUE: return CNY_REQUEUE;
    default: break;
    }
    cny_log_limited(&handling->log, CNY_LOG_OUTCOME, CONEY_LOG_ERROR, cny_original(delivery),
                    "queue '%s': message '%s': on_exhausted returned %d, which is neither CONEY_ACK, CONEY_REJECT nor "
                    "CONEY_REQUEUE; that counts as CONEY_REQUEUE",
                    options->queue, cny_id_of(cny_original(delivery)), (int)outcome);
    return CNY_REQUEUE;
}

static cny_disposition end_exhausted(coney_delivery *delivery, coney_exhausted exhausted)
{
    cny_disposition disposition = CNY_REJECT;
    const char *what = "is rejected";
    if (is_incomplete(delivery) && (exhausted == CONEY_EXHAUSTED_REPUBLISH || exhausted == CONEY_EXHAUSTED_PARK))
        exhausted = CONEY_EXHAUSTED_REJECT,
        what = "is rejected, because it is not here whole to be published elsewhere,";
    switch (exhausted) {
    case CONEY_EXHAUSTED_DEFAULT:
    case CONEY_EXHAUSTED_REJECT: break;
    case CONEY_EXHAUSTED_REPUBLISH: disposition = republish_elsewhere(delivery), what = "is republished"; break;
    case CONEY_EXHAUSTED_REQUEUE: disposition = CNY_REQUEUE, what = "goes back"; break;
    case CONEY_EXHAUSTED_PARK: disposition = park(delivery), what = "is parked"; break;
    case CONEY_EXHAUSTED_CALL: disposition = ask_program(delivery), what = "is left to on_exhausted"; break;
    }
    if (disposition == CNY_REJECT && delivery->is_unsendable)
        what = "can be published nowhere else, and is rejected,";
    if (disposition == CNY_REJECT && cny_spec_is_stream(delivery->source->handling->spec)) {
        cny_count(&delivery->source->handling->counters.exhausted);
        return cny_pass_over(delivery);
    }
    bool may_go_back = exhausted == CONEY_EXHAUSTED_REQUEUE || exhausted == CONEY_EXHAUSTED_CALL;
    bool is_done = disposition != CNY_REQUEUE || may_go_back; /* else it could not be published */
    if (is_done) {
        cny_count(&delivery->source->handling->counters.exhausted);
        tell_exhausted(delivery, what);
    }
    return disposition;
}

cny_disposition cny_end_exhausted(coney_delivery *delivery)
{
    return end_exhausted(delivery, delivery->source->handling->spec->options.retry.exhausted);
}

cny_disposition cny_park(coney_delivery *delivery)
{
    return end_exhausted(delivery, CONEY_EXHAUSTED_PARK);
}
