/* SPDX-License-Identifier: MIT */
/* How a consumer comes to consume: its connection and what is declared for it come first, then it subscribes, and then
 * the broker answers. What keeps it from consuming is told once, and tried again. The supervisor calls, under the
 * container's lock; nothing here waits. */
#include "rabbit/listener/consuming/consumer.h"

#include <string.h>

#define SUBSCRIBE_MS 5000 /* for the broker's answer */
#define LOOK_FOR_CONNECTION_MS 1000
#define LOOK_FOR_OTHERS_MS 10

/* ---- what is told ---- */

static const char *tag_of(const cny_consumer *consumer)
{
    return consumer->source.channel ? cny_channel_consumer_tag(consumer->source.channel) : consumer->tag;
}

void cny_consumer_tell(const cny_consumer *consumer, coney_container_event_kind kind, const cny_error *error)
{
    cny_tell(consumer->container->events, &(cny_event){.kind = kind,
                                                       .listener = &consumer->listener->spec.options,
                                                       .consumer_tag = tag_of(consumer),
                                                       .error = error});
}

/* One of the queues that its listener brings is there otherwise, or cannot be. */
static bool is_refused_for_good(const cny_consumer *consumer)
{
    cny_error *error;
    cny_declaration_state state =
        cny_spec_declarations(&consumer->listener->spec, consumer->container->factory, &error);
    cny_error_unref(error);
    return state == CNY_DECLARATION_REFUSED;
}

/* The container stops for its trouble, or does not even start. */
static bool stops_container(const cny_consumer *consumer)
{
    const coney_listener *options = &consumer->listener->spec.options;
    if (consumer->container->state == CNY_CONTAINER_STARTING)
        return cny_consumer_is_hopeless(consumer);
    bool is_missing = cny_error_view(consumer->trouble)->status == CONEY_E_NOT_FOUND;
    return is_refused_for_good(consumer) || (is_missing && options->missing_queue_is_fatal);
}

void cny_consumer_tell_failed(const cny_consumer *consumer, bool fatal)
{
    const cny_error *trouble = consumer->trouble;
    const coney_error *view = cny_error_view(trouble);
    coney_log_level level = cny_is_refused_exclusive(view) ? CONEY_LOG_DEBUG : fatal ? CONEY_LOG_ERROR : CONEY_LOG_WARN;
    cny_defer_log(&consumer->container->deferred_log, level, "container '%s': %s", consumer->container->options.name,
                  view->text);
    cny_tell(consumer->container->events, &(cny_event){.kind = CONEY_CONSUMER_FAILED,
                                                       .listener = &consumer->listener->spec.options,
                                                       .consumer_tag = tag_of(consumer),
                                                       .error = trouble,
                                                       .fatal = fatal});
}

/* This thread's last error is why it does not consume. True if that is news: said once for each reason, and only if the
 * connection, which has a log and events of its own, does not come back by itself. */
bool cny_consumer_set_trouble(cny_consumer *consumer, const char *what, bool given_up)
{
    const char *queue = consumer->listener->spec.options.queue;
    if (consumer->has_consumed)
        cny_fail_in("a consumer of queue '%s' %s", queue, what);
    else
        cny_fail_in("consume from queue '%s'", queue);
    cny_error *trouble = cny_error_capture();
    const coney_error *view = cny_error_view(trouble), *before = cny_error_view(consumer->trouble);
    bool tells_more = before && (before->status == CONEY_E_LOST || consumer->is_refused);
    bool is_of_connection = view->status == CONEY_E_CONNECT && !given_up;
    if (is_of_connection && tells_more) {
        cny_error_unref(trouble);
        return false;
    }
    bool known = before && strcmp(before->text, view->text) == 0;
    cny_error_unref(consumer->trouble);
    consumer->trouble = trouble;
    return !known && !is_of_connection;
}

/* ---- subscribing ---- */

void cny_consumer_wait_until(cny_consumer *consumer, int64_t due)
{
    consumer->state = CNY_CONSUMER_WAITING;
    consumer->due = due;
}

static void fail_for_good(coney_container *container, const cny_consumer *consumer)
{
    if (!container->failure)
        container->failure = cny_error_ref(consumer->trouble);
    cny_container_begin_stop(container, CONEY_STOP_FINISH, cny_deadline(container->options.shutdown_timeout_ms));
}

/* A queue that somebody in the factory declares was deleted, or went with its last consumer: it is declared again, with
 * its bindings, and tried at once. Only once, for it may go each time. */
static bool is_restored(cny_consumer *consumer)
{
    bool may_help = !consumer->is_restored && coney_last_error_details()->status == CONEY_E_NOT_FOUND;
    consumer->is_restored =
        may_help && cny_declarations_restore(consumer->container->factory, consumer->listener->spec.options.queue);
    if (!consumer->is_restored)
        return false;
    consumer->awaits_declarations = true;
    cny_consumer_wait_until(consumer, cny_deadline(LOOK_FOR_CONNECTION_MS));
    return true;
}

/* This thread's last error, a missing queue, comes with what may be done about it. */
static void explain_missing(const cny_consumer *consumer)
{
    const coney_error *error = coney_last_error_details();
    if (error->status == CONEY_E_NOT_FOUND && !consumer->listener->spec.options.missing_queue_is_fatal)
        cny_fail_code(error->status, error->broker_code,
                      "%s; it is waited for (the listener's declare, or an admin's topology, has it declared; with "
                      "missing_queue_is_fatal the container fails instead)",
                      error->text);
}

/* This thread's last error tells why it cannot consume. */
static void on_refused(cny_consumer *consumer)
{
    coney_container *container = consumer->container;
    bool given_up = cny_factory_check_given_up(container->factory, CONEY_CONSUMING) != CONEY_OK; /* which tells more */
    coney_status status = coney_last_error_details()->status;
    explain_missing(consumer);
    bool is_news = cny_consumer_set_trouble(consumer, given_up ? "cannot resume" : "cannot resume yet", given_up);
    bool stops = stops_container(consumer);
    if (is_news)
        cny_consumer_tell_failed(consumer, stops || given_up || status == CONEY_E_CLOSED);
    consumer->has_tried = status != CONEY_E_CONNECT;
    if (status == CONEY_E_CLOSED)
        cny_consumer_wait_until(consumer, INT64_MAX);
    else if (cny_is_loss(status))
        cny_consumer_wait_until(consumer, cny_deadline(LOOK_FOR_CONNECTION_MS));
    else if (cny_must_isolate(&consumer->strikes))
        cny_consumer_wait_until(consumer, consumer->strikes.retry_at);
    else
        cny_consumer_wait_until(consumer, cny_deadline(container->options.resubscribe_interval_ms));
    bool is_missing = status == CONEY_E_NOT_FOUND;
    if (is_missing && !consumer->told_missing)
        cny_consumer_tell(consumer, CONEY_QUEUE_MISSING, consumer->trouble);
    consumer->told_missing |= is_missing;
    if (stops && container->state == CNY_CONTAINER_RUNNING)
        fail_for_good(container, consumer);
}

/* To try to consume. */
bool cny_consumer_is_due(const cny_consumer *consumer)
{
    if (consumer->state != CNY_CONSUMER_WAITING)
        return false;
    bool is_back = cny_consumer_is_lost(consumer) && consumer->container->is_connected && !consumer->awaits_trial;
    return cny_now_ms() >= consumer->due || consumer->awaits_declarations || is_back || consumer->trial;
}

static void subscribe(cny_consumer *consumer)
{
    consumer->awaits_declarations = false;
    if (cny_consumer_awaits_trial(consumer))
        return;
    coney_status status = cny_spec_learn_queue(&consumer->listener->spec, consumer->container->factory);
    if (status == CONEY_OK)
        status = cny_consumer_subscribe(consumer);
    if (status == CONEY_OK) {
        consumer->state = CNY_CONSUMER_SUBSCRIBING;
        consumer->due = cny_deadline(SUBSCRIBE_MS);
    } else {
        if (cny_consumer_note_refusal(consumer))
            on_refused(consumer);
        cny_consumer_end_trial(consumer);
    }
}

/* The connection is there now, so that the consumer has none is not its trouble any more. */
static void forget_missing_connection(cny_consumer *consumer)
{
    if (!consumer->trouble || cny_error_view(consumer->trouble)->status != CONEY_E_CONNECT)
        return;
    cny_error_unref(consumer->trouble);
    consumer->trouble = NULL;
}

/* What its listener brings, and what others declare for its queue, comes first. True if the consumer has to wait for
 * that; what was refused for good is why it cannot begin. */
static bool waits_for_declarations(cny_consumer *consumer)
{
    cny_error *error, *refusal;
    cny_declaration_state state =
        cny_spec_declarations(&consumer->listener->spec, consumer->container->factory, &error);
    const coney_listener *options = &consumer->listener->spec.options;
    bool is_on_its_way = cny_declarations_awaits(consumer->container->factory, options->queue,
                                                 options->missing_queue_is_fatal, &refusal) ||
                         (state == CNY_DECLARATION_WANTED && !error);
    if (refusal && state == CNY_DECLARATION_DECLARED) { /* others bring the queue */
        state = CNY_DECLARATION_WANTED;
        error = cny_error_ref(refusal);
    }
    cny_error_unref(refusal);
    consumer->awaits_declarations = is_on_its_way || state == CNY_DECLARATION_WANTED;
    if (is_on_its_way) {
        consumer->due = cny_deadline(LOOK_FOR_CONNECTION_MS);
        forget_missing_connection(consumer);
    } else if (error && state != CNY_DECLARATION_DECLARED) {
        cny_error_raise(error);
        on_refused(consumer);
    }
    cny_error_unref(error);
    return is_on_its_way || state == CNY_DECLARATION_WANTED || state == CNY_DECLARATION_REFUSED;
}

void cny_consumer_begin_to_subscribe(cny_consumer *consumer)
{
    if (cny_factory_ensure_open(consumer->container->factory, CONEY_CONSUMING, 0) != CONEY_OK)
        on_refused(consumer);
    else if (waits_for_declarations(consumer))
        return;
    else if (cny_consumer_lets_others_begin(consumer))
        consumer->due = cny_deadline(LOOK_FOR_OTHERS_MS);
    else
        subscribe(consumer);
}

void cny_consumer_on_consuming(cny_consumer *consumer)
{
    coney_container *container = consumer->container;
    bool again = consumer->has_consumed;
    consumer->state = CNY_CONSUMER_CONSUMING;
    bool was_told = consumer->trouble && cny_error_view(consumer->trouble)->status != CONEY_E_CONNECT;
    atomic_store(&consumer->listener->handling.last_delivery_ms, cny_now_ms()); /* idleness begins anew */
    if (again)
        consumer->resumed_at = cny_now_ms();
    if (again || was_told) {
        bool is_quiet = !again && cny_is_refused_exclusive(cny_error_view(consumer->trouble));
        cny_defer_log(&container->deferred_log, is_quiet ? CONEY_LOG_DEBUG : CONEY_LOG_INFO,
                      "container '%s': a consumer of queue '%s' has resumed", container->options.name,
                      consumer->listener->spec.options.queue);
    }
    consumer->has_consumed = true;
    consumer->has_tried = consumer->told_missing = consumer->is_restored = false;
    cny_consumer_is_acquitted(consumer);
    cny_error_unref(consumer->trouble);
    consumer->trouble = NULL;
    cny_consumer_tell(consumer, again ? CONEY_CONSUMER_RESTARTED : CONEY_CONSUMER_STARTED, NULL);
}

/* This thread's last error tells why. */
static void on_no_subscription(cny_consumer *consumer)
{
    bool is_over = cny_consumer_note_refusal(consumer);
    cny_consumer_drop_channel(consumer);
    if (!is_over) {
        cny_consumer_wait_until(consumer, 0);
        cny_consumer_awaits_trial(consumer); /* now, before the isolated connection is closed for want of suspects */
    } else if (!is_restored(consumer)) {
        on_refused(consumer);
    }
    cny_container_attention(consumer->container);
}

/* If it came at the last moment after all, lanes may be at work. */
static void on_no_answer(cny_consumer *consumer)
{
    cny_channel_close(consumer->source.channel);
    if (*cny_channel_consumer_tag(consumer->source.channel)) {
        cny_consumer_on_consuming(consumer);
        cny_container_attention(consumer->container);
        return;
    }
    cny_fail(CONEY_E_TIMEOUT, "no answer from the broker within the deadline");
    on_no_subscription(consumer);
}

/* What came before the end is worked off, unless its channel is gone. */
void cny_consumer_begin_leaving(cny_consumer *consumer)
{
    consumer->state = CNY_CONSUMER_LEAVING;
    consumer->due = cny_deadline(consumer->container->options.resubscribe_interval_ms);
}

/* It is to go on with the others. What the broker has sent meanwhile goes back to the queue, or, if that is impossible,
 * is handled first. */
static void on_innocent(cny_consumer *consumer)
{
    if (cny_acknowledges_nothing(&consumer->listener->spec)) {
        cny_consumer_on_consuming(consumer);
        cny_consumer_begin_leaving(consumer);
        consumer->loss = CONEY_E_LOST;
        cny_channel_cancel(consumer->source.channel);
        cny_source_set_course(&consumer->source, CNY_COURSE_HANDLE);
    } else {
        cny_consumer_is_acquitted(consumer);
        cny_consumer_drop_channel(consumer);
        cny_consumer_wait_until(consumer, 0);
    }
    cny_container_attention(consumer->container);
}

/* Whether the broker has answered. */
void cny_consumer_look_at_subscription(cny_consumer *consumer)
{
    cny_error *reason;
    cny_feed_state state = cny_channel_feed(consumer->source.channel, &reason);
    bool has_begun =
        state != CNY_FEED_BEGINNING && *cny_channel_consumer_tag(consumer->source.channel); /* does not change now */
    if (has_begun && cny_consumer_is_tried_alone(consumer)) {
        on_innocent(consumer);
    } else if (has_begun) {
        cny_consumer_on_consuming(consumer);
        cny_consumer_end_trial(consumer);
        if (state == CNY_FEED_ENDED) /* already; a start was a start all the same */
            cny_container_attention(consumer->container);
    } else if (state == CNY_FEED_ENDED) {
        if (cny_error_raise(reason) == CONEY_E_NOT_FOUND)
            cny_handling_restart_stream(&consumer->listener->handling);
        on_no_subscription(consumer);
    } else if (cny_now_ms() >= consumer->due) {
        on_no_answer(consumer);
    }
    cny_error_unref(reason);
}
