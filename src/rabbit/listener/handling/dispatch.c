/* SPDX-License-Identifier: MIT */
/* From a message to an outcome: processors, filter, the handler for its type, converter, validator, and the call. A
 * failure before the call is fatal, for it would come the same way each time: the message is parked if there is a
 * parking queue, else rejected, or dropped if the broker brings it back after that. Runs on a worker with no lock
 * held. */
#include "rabbit/listener/handling/dispatch.h"

#include "rabbit/listener/handling/quarantine.h"
#include "rabbit/listener/handling/rejected.h"
#include "rabbit/listener/handling/reply.h"
#include "rabbit/listener/handling/settle.h"
#include "rabbit/listener/handling/source.h"
#include "rabbit/listener/handling/tries.h"
#include "rabbit/listener/handling/watch.h"

#include <stdio.h>
#include <string.h>

static const coney_listener *options_of(const coney_delivery *delivery)
{
    return &delivery->source->handling->spec->options;
}

/* The program may return any number. The one that means something to Coney alone becomes 0, which is no outcome. */
static coney_outcome of_program(coney_outcome outcome)
{
    return outcome == CNY_UNTRIED ? (coney_outcome)0 : outcome;
}

/* ---- fatal failures ---- */

static bool may_be_parked(const coney_delivery *delivery)
{
    bool is_whole = !cny_original(delivery)->defect; /* else a copy in the parking queue would lack a part */
    return is_whole && cny_has_parking_queue(delivery->source->handling->spec);
}

static coney_outcome ask_error_handler(coney_delivery *delivery, coney_outcome usual)
{
    cny_handling *handling = delivery->source->handling;
    const coney_listener *options = &handling->spec->options;
    if (!options->on_error)
        return usual;
    coney_outcome outcome =
        of_program(options->on_error(delivery, cny_error_view(delivery->failure), usual, options->user));
    if (outcome == CONEY_PARK && cny_original(delivery)->defect)
        return CONEY_REJECT; /* to the dead-letter exchange, because the broker has the whole message */
    if (outcome != CONEY_DEFER)
        return outcome;
    cny_log_limited(&handling->log, CNY_LOG_OUTCOME, CONEY_LOG_ERROR,
                    cny_original(delivery), /* nobody has the delivery, to settle it */
                    "queue '%s': message '%s': on_error returned CONEY_DEFER, which only a handler can; that counts as "
                    "CONEY_RETRY",
                    options->queue, cny_id_of(cny_original(delivery)));
    return CONEY_RETRY;
}

static const char *fate_of(const coney_delivery *delivery, coney_outcome outcome, bool is_usual)
{
    const cny_handling *handling = delivery->source->handling;
    if (outcome == CONEY_REJECT && cny_acknowledges_nothing(handling->spec))
        return "is lost, for its listener acknowledges NONE";
    if (outcome == CONEY_REJECT && cny_original(delivery)->defect && cny_has_parking_queue(handling->spec))
        return "is rejected, not parked, because it is not here whole, and gone unless its queue has a dead-letter "
               "exchange that takes it";
    if (outcome == CONEY_REJECT)
        return "is rejected, and gone unless its queue has a dead-letter exchange that takes it";
    if (outcome == CONEY_ACK && is_usual)
        return "was rejected here before, expired elsewhere and came back by itself; it is dropped, or it would go "
               "round for ever";
    return "is left to the error handler";
}

/* Logs a fatal message, and has an event follow if the message is rejected or dropped. For messages that are parked or
 * passed over exhausted.c does both. */
static void tell_fatal(const coney_delivery *delivery, coney_outcome outcome, bool is_usual)
{
    cny_handling *handling = delivery->source->handling;
    char text[1200];
    snprintf(text, sizeof text, "message '%s' %s: %s", cny_id_of(cny_original(delivery)),
             fate_of(delivery, outcome, is_usual), cny_failure_text(delivery));
    cny_log_limited(&handling->log, CNY_LOG_FATAL, CONEY_LOG_ERROR, cny_original(delivery),
                    "queue '%s': %s; it came with routing key '%s' from exchange '%s'", handling->spec->options.queue,
                    text, cny_original(delivery)->routing_key, cny_original(delivery)->exchange);
    if (outcome != CONEY_REJECT && !(outcome == CONEY_ACK && is_usual))
        return;
    if (outcome == CONEY_ACK)
        cny_count(&handling->counters.discarded);
    cny_tell(delivery->source->handling->context->events,
             &(cny_event){.kind = outcome == CONEY_REJECT ? CONEY_MESSAGE_REJECTED : CONEY_MESSAGE_DISCARDED,
                          .listener = &handling->spec->options,
                          .consumer_tag = coney_delivery_consumer_tag(delivery),
                          .message = cny_original(delivery),
                          .error = delivery->failure,
                          .text = text});
}

/* delivery->failure tells the reason. */
static coney_outcome decide_fatal(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    bool is_stream = cny_spec_is_stream(handling->spec);
    bool came_back = !is_stream && cny_came_back_by_itself(delivery);
    coney_outcome usual = may_be_parked(delivery) ? CONEY_PARK : came_back ? CONEY_ACK : CONEY_REJECT;
    coney_outcome outcome = ask_error_handler(delivery, usual);
    bool is_passed_over = is_stream && outcome == CONEY_REJECT;
    cny_count(&handling->counters.fatal);
    if (outcome == CONEY_REJECT && !is_stream)
        cny_note_rejected(delivery);
    if (outcome != CONEY_PARK && !is_passed_over)
        tell_fatal(delivery, outcome, outcome == usual);
    return outcome;
}

static coney_outcome fail_to_prepare(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    if (coney_last_error_details()->status == CONEY_E_NO_MEMORY) { /* not the message's fault */
        cny_log_limited(&handling->log, CNY_LOG_MEMORY, CONEY_LOG_ERROR, cny_original(delivery),
                        "queue '%s': no memory to convert message '%s'; it goes back", handling->spec->options.queue,
                        cny_id_of(cny_original(delivery)));
        return CNY_UNTRIED;
    }
    cny_error_unref(delivery->failure);
    delivery->failure = cny_error_capture();
    return decide_fatal(delivery);
}

/* ---- preparing ---- */

static const char *type_of(const coney_message *message)
{
    const char *type = coney_table_get_string(message->properties.headers, CONEY_HEADER_TYPE_ID);
    return type ? type : message->properties.type;
}

/* A handler without a type takes what names its payload_type, a list or map. */
static bool takes(const coney_typed_handler *handler, const coney_message *message, const char *type)
{
    const coney_types own = {&handler->payload_type, 1};
    return handler->type ? type && strcmp(handler->type, type) == 0 : cny_types_named(&own, message) != NULL;
}

static coney_status choose_handler(coney_delivery *delivery)
{
    const coney_listener *options = options_of(delivery);
    const char *type = options->handler_count > 0 ? type_of(delivery->message) : NULL;
    for (size_t i = 0; i < options->handler_count; i++) {
        if (takes(&options->handlers[i], delivery->message, type)) {
            delivery->handler = &options->handlers[i];
            return CONEY_OK;
        }
    }
    if (options->on_message || options->on_batch)
        return CONEY_OK;
    return type ? cny_fail(CONEY_E_CONVERSION, "no handler takes type '%.255s', and there is no on_message", type)
                : cny_fail(CONEY_E_CONVERSION,
                           "it has neither a header " CONEY_HEADER_TYPE_ID " nor a type, and there is no "
                           "on_message");
}

/* The type of the payload if no handler of the list and no converter decides. NULL: the content type does. A name that
 * is unknown here is an error if the name is to decide, or if the payload is to be validated. */
static coney_status choose_type(const coney_type **type, const coney_delivery *delivery)
{
    const cny_spec *spec = delivery->source->handling->spec;
    const coney_listener *options = &spec->options;
    *type = options->type;
    if (spec->types.count == 0)
        return CONEY_OK;
    bool must_be_known = options->type_precedence == CONEY_TYPE_ID || options->validator;
    const coney_type *named = cny_types_named(&spec->types, delivery->message);
    if (named)
        *type = named;
    else if (must_be_known && coney_types_find(&spec->types, delivery->message, &named) != CONEY_OK)
        return CONEY_E_CONVERSION;
    return *type || !options->validator
               ? CONEY_OK
               : cny_fail(CONEY_E_CONVERSION,
                          "it names no type in a header " CONEY_HEADER_TYPE_ID ", so the validator cannot check it");
}

static coney_status validate(const coney_delivery *delivery)
{
    const coney_listener *options = options_of(delivery);
    if (!options->validator)
        return CONEY_OK;
    cny_forget_failure();
    coney_status status = options->validator(delivery->payload.object, options->user);
    if (status != CONEY_OK && coney_last_error_details()->status != status)
        cny_fail(status, "the validator returned %s and does not say why", coney_status_name(status));
    return status == CONEY_OK ? status : cny_fail_in("it is not valid");
}

static coney_status convert(coney_delivery *delivery)
{
    const coney_listener *options = options_of(delivery);
    const coney_typed_handler *handler = delivery->handler;
    const coney_converter *converter = handler && handler->converter ? handler->converter : options->converter;
    const coney_type *type = handler ? handler->payload_type : NULL;
    coney_status status = CONEY_OK;
    if (type)
        converter = NULL;
    else if (!converter)
        status = choose_type(&type, delivery);
    if (status == CONEY_OK)
        status = cny_payload_make(&delivery->payload, delivery->message, converter, type);
    if (status != CONEY_OK)
        return cny_fail_in("it cannot be converted");
    return converter || type ? validate(delivery) : CONEY_OK;
}

static bool is_filtered(const coney_delivery *delivery)
{
    const coney_listener *options = options_of(delivery);
    return !delivery->message || (options->filter && !options->filter(delivery->message, options->user));
}

static void tell_lost_death(const coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    cny_log_limited(&handling->log, CNY_LOG_FORGED, CONEY_LOG_WARN, cny_original(delivery),
                    "queue '%s': message '%s' came with a header " CONEY_HEADER_DEATH " that no broker has written; it "
                    "is handled without this header",
                    handling->spec->options.queue, cny_id_of(cny_original(delivery)));
}

static coney_status check_readable(const coney_delivery *delivery)
{
    if (cny_original(delivery)->has_lost_death)
        tell_lost_death(delivery);
    if (cny_original(delivery)->defect)
        return cny_fail(CONEY_E_CONVERSION, "it cannot be read: %s", cny_original(delivery)->defect);
    return delivery->processing == CNY_BROKEN ? cny_error_raise(delivery->failure) : CONEY_OK;
}

/* Removes what an earlier attempt to prepare the delivery has left. */
static void begin_anew(coney_delivery *delivery)
{
    if (delivery->processing == CNY_UNPROCESSED && delivery->message != cny_original(delivery)) {
        coney_message_unref(delivery->message);
        delivery->message = coney_message_ref(cny_original(delivery));
    }
    cny_payload_clear(&delivery->payload);
    delivery->handler = NULL;
}

static coney_status prepare(coney_delivery *delivery, bool *filtered)
{
    begin_anew(delivery);
    coney_status status = check_readable(delivery);
    const coney_message *original = cny_original(delivery);
    if (status == CONEY_OK && delivery->processing == CNY_UNPROCESSED)
        status = cny_processors_run(&delivery->source->handling->context->after_receive, &delivery->message,
                                    original->exchange, original->routing_key);
    if (status != CONEY_OK)
        return status;
    *filtered = is_filtered(delivery);
    if (*filtered)
        return CONEY_OK;
    status = choose_handler(delivery);
    return status == CONEY_OK ? convert(delivery) : status;
}

bool cny_prepare(coney_delivery *delivery, coney_outcome *outcome)
{
    bool filtered = false;
    if (cny_state_of(&delivery->state) != CNY_DELIVERY_TAKEN)
        return true;
    if (cny_guard(delivery, outcome))
        return false;
    coney_status status = prepare(delivery, &filtered);
    if (status == CONEY_OK && !filtered) {
        delivery->progress = CNY_PREPARED;
        cny_state_set(&delivery->state, CNY_DELIVERY_READY);
        *outcome = CONEY_RETRY; /* for a message whose last attempt in place was before a loss */
        return cny_tries_begin(delivery);
    }
    *outcome = CONEY_ACK;
    if (filtered)
        cny_count(&delivery->source->handling->counters.filtered);
    else
        *outcome = fail_to_prepare(delivery);
    return false;
}

/* ---- requests whose senders do not wait any more ---- */

/* Such a request ends as if the broker had dropped it in time: a dead-letter exchange gets it. */
static bool is_expired(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    if (!cny_original(delivery)->properties.reply_to || options_of(delivery)->serve_expired ||
        cny_request_time_left(delivery->arrival->message) != 0)
        return false;
    delivery->is_expired = true;
    cny_count(&handling->counters.expired);
    cny_error_unref(delivery->failure);
    delivery->failure = cny_error_new(CONEY_E_TIMEOUT, 0, "the sender of the request does not wait any more");
    cny_log_limited(&handling->log, CNY_LOG_EXPIRED, CONEY_LOG_WARN, cny_original(delivery),
                    "queue '%s': request '%s' is not handled: its sender does not wait any more",
                    handling->spec->options.queue, cny_id_of(cny_original(delivery)));
    return true;
}

/* ---- calling: one message or a batch, the first and the last step are the same ---- */

static void begin_handling(coney_delivery *delivery)
{
    delivery->progress = CNY_PREPARED;
    if (cny_delivery_is_manual(delivery))
        delivery->channel_number = cny_source_defer(delivery->source);
    coney_delivery_set_reply(delivery, NULL); /* of an attempt that failed */
    cny_error_unref(delivery->failure);
    delivery->failure = NULL;
    cny_delivery_say(delivery, NULL);
    cny_state_set(&delivery->state, CNY_DELIVERY_HANDLING); /* last of all, for then the program may settle it */
}

/* The lane may go on with other messages before the broker has confirmed the reply. */
static bool may_go_on(const coney_delivery *delivery)
{
    const coney_listener *options = options_of(delivery);
    return !options->on_batch && !options->transacted && !cny_delivery_is_manual(delivery) &&
           !delivery->source->is_quarantine;
}

coney_outcome cny_dispatch_end(coney_delivery *delivery, coney_outcome outcome)
{
    if (!cny_delivery_is_manual(delivery)) {
        cny_state_set(&delivery->state, CNY_DELIVERY_RETURNED);
        delivery->progress = outcome == CONEY_ACK ? CNY_SUCCEEDED : CNY_PREPARED;
    }
    if (outcome != CONEY_ACK && outcome != CONEY_DEFER)
        cny_count(&delivery->source->handling->counters.failed);
    return outcome;
}

/* A reply that the handler has left is sent if it succeeds, by the thread that acknowledges. */
static coney_outcome end_handling(coney_delivery *delivery, coney_outcome outcome, cny_lane *lane)
{
    bool is_manual = cny_delivery_is_manual(delivery);
    bool is_replying = outcome == CONEY_ACK && atomic_load(&delivery->reply);
    if (is_replying && may_go_on(delivery)) {
        if (cny_reply_begin(delivery, &outcome, !cny_lane_has_more(lane)))
            return CONEY_ACK; /* cny_dispatch_end() comes later */
    } else if (is_replying && (!is_manual || cny_delivery_take_back(delivery))) {
        cny_send_reply_left(delivery, &outcome);
    }
    return cny_dispatch_end(delivery, outcome);
}

coney_outcome cny_dispatch(coney_delivery *delivery, cny_lane *lane)
{
    const coney_listener *options = options_of(delivery);
    coney_outcome outcome;
    int64_t began = cny_lane_begin_call(lane); /* processors and converters are the program's, too */
    bool handled = cny_prepare(delivery, &outcome);
    if (handled && is_expired(delivery)) {
        handled = false;
        outcome = CONEY_REJECT;
        delivery->progress = CNY_UNPREPARED; /* no handler has had this attempt */
    }
    if (handled) {
        coney_message_handler *handler = delivery->handler ? delivery->handler->on_message : options->on_message;
        begin_handling(delivery);
        outcome = end_handling(delivery, of_program(handler(delivery, options->user)), lane);
    }
    cny_lane_end_call(lane, began, handled);
    return outcome;
}

void cny_dispatch_batch(coney_delivery **deliveries, size_t count, coney_outcome *outcomes, cny_lane *lane)
{
    const coney_listener *options = options_of(deliveries[0]);
    int64_t began = cny_lane_begin_call(lane);
    for (size_t i = 0; i < count; i++)
        begin_handling(deliveries[i]);
    options->on_batch(deliveries, count, outcomes, options->user);
    for (size_t i = 0; i < count; i++)
        outcomes[i] = end_handling(deliveries[i], of_program(outcomes[i]), lane);
    cny_lane_end_call(lane, began, true);
}
