/* SPDX-License-Identifier: MIT */
/* How a consumer comes to consume: a connection and what is declared for it come first, then it subscribes, and then
 * the broker answers. Whatever keeps it from that is told once, and tried again. On the supervisor, under the
 * container's lock; nothing here waits. */
#include "rabbit/listener/consuming/consumer.h"
#include "rabbit/listener/consuming/supervisor.h"

#define SUBSCRIBE_MS 5000 /* for the broker's answer */
#define RECHECK_MS 1000   /* of the connection and the declarations, should nobody wake the supervisor */
#define RECHECK_OTHERS_MS 10

/* ---- refusals ---- */

/* One of the queues that its listener brings exists with other properties, or cannot be declared. */
static bool is_refused_for_good(const cny_consumer *consumer)
{
    cny_error *error;
    cny_declaration_state state =
        cny_spec_declarations(&consumer->listener->spec, consumer->container->factory, &error);
    cny_error_unref(error);
    return state == CNY_DECLARATION_REFUSED;
}

/* The container stops because of the last error, or does not even start. */
static bool stops_container(const cny_consumer *consumer)
{
    const coney_listener *options = &consumer->listener->spec.options;
    if (consumer->container->state == CNY_CONTAINER_STARTING)
        return cny_consumer_is_hopeless(consumer);
    bool is_missing = cny_error_view(consumer->last_error)->status == CONEY_E_NOT_FOUND;
    return is_refused_for_good(consumer) || (is_missing && options->missing_queue_is_fatal);
}

static void fail_for_good(coney_container *container, const cny_consumer *consumer)
{
    if (!container->failure)
        container->failure = cny_error_ref(consumer->last_error);
    cny_container_begin_stop(container, CONEY_STOP_FINISH, cny_deadline(container->options.shutdown_timeout_ms));
}

/* If this thread's last error is a missing queue, its text says what can be done. */
static void explain_missing(const cny_consumer *consumer)
{
    const coney_error *error = coney_last_error_details();
    if (error->status == CONEY_E_NOT_FOUND && !consumer->listener->spec.options.missing_queue_is_fatal)
        cny_fail_code(error->status, error->broker_code,
                      "%s; it is waited for (the listener's declare, or an admin's topology, has it declared; with "
                      "missing_queue_is_fatal the container fails instead)",
                      error->text);
}

static int64_t time_of_retry(const cny_consumer *consumer, coney_status status)
{
    if (status == CONEY_E_CLOSED)
        return INT64_MAX;
    if (cny_is_loss(status))
        return cny_deadline(RECHECK_MS);
    if (cny_must_isolate(&consumer->isolation.strikes))
        return consumer->isolation.strikes.retry_at;
    return cny_deadline(consumer->container->options.resubscribe_interval_ms);
}

/* A consumer that awaits its queue stays in that state: everything is declared again on a new connection. */
static void wait_for_retry(cny_consumer *consumer, coney_status status)
{
    int64_t retry_at = time_of_retry(consumer, status);
    if (consumer->life.state == CNY_CONSUMER_AWAITS_QUEUE)
        cny_life_wait(&consumer->life, CNY_CONSUMER_AWAITS_QUEUE, retry_at);
    else
        cny_consumer_back_off(consumer, retry_at);
}

/* This thread's last error tells why it cannot consume. */
static void on_refused(cny_consumer *consumer)
{
    coney_container *container = consumer->container;
    bool given_up =
        cny_factory_check_given_up(container->factory, CONEY_CONSUMING) != CONEY_OK; /* its error tells more */
    coney_status status = coney_last_error_details()->status;
    explain_missing(consumer);
    bool is_news = cny_consumer_set_last_error(consumer, given_up ? "cannot resume" : "cannot resume yet", given_up);
    bool stops = stops_container(consumer);
    if (is_news)
        cny_consumer_tell_failed(consumer, stops || given_up || status == CONEY_E_CLOSED);
    consumer->outage.has_tried = status != CONEY_E_CONNECT;
    wait_for_retry(consumer, status);
    bool is_missing = status == CONEY_E_NOT_FOUND;
    if (is_missing && !consumer->outage.told_missing)
        cny_consumer_tell(consumer, CONEY_QUEUE_MISSING, consumer->last_error);
    consumer->outage.told_missing |= is_missing;
    if (stops && container->state == CNY_CONTAINER_RUNNING)
        fail_for_good(container, consumer);
}

/* ---- what comes first ---- */

/* The connection is open now, so a missing connection is no longer why the consumer does not consume. */
static void forget_missing_connection(cny_consumer *consumer)
{
    if (consumer->last_error && cny_error_view(consumer->last_error)->status == CONEY_E_CONNECT)
        cny_consumer_forget_last_error(consumer);
}

/* The state of what is declared for the consumer: what its listener brings, and its queue if others bring that. Gives a
 * reference to the broker's error; NULL if there is none, or while an answer is awaited. */
static cny_declaration_state check_declarations(const cny_consumer *consumer, cny_error **error)
{
    const coney_listener *options = &consumer->listener->spec.options;
    coney_connection_factory *factory = consumer->container->factory;
    cny_error *refusal;
    cny_declaration_state state = cny_spec_declarations(&consumer->listener->spec, factory, error);
    bool is_on_its_way = cny_declarations_awaits(factory, options->queue, options->missing_queue_is_fatal, &refusal);
    if (is_on_its_way) {
        cny_error_unref(*error);
        *error = NULL;
        state = CNY_DECLARATION_WANTED;
    } else if (refusal && state == CNY_DECLARATION_DECLARED) { /* others bring the queue */
        *error = cny_error_ref(refusal);
        state = CNY_DECLARATION_WANTED;
    }
    cny_error_unref(refusal);
    return state;
}

/* False if what is declared for the consumer is not ready. A refusal is the reason why the consumer cannot begin. */
static bool pass_declarations(cny_consumer *consumer)
{
    cny_error *error;
    cny_declaration_state state = check_declarations(consumer, &error);
    bool is_wanted = state == CNY_DECLARATION_WANTED, is_ready = !is_wanted && state != CNY_DECLARATION_REFUSED;
    cny_life_wait(&consumer->life, is_wanted ? CNY_CONSUMER_AWAITS_QUEUE : CNY_CONSUMER_BACKS_OFF,
                  is_wanted ? cny_deadline(RECHECK_MS) : 0);
    if (is_wanted && !error)
        forget_missing_connection(consumer);
    if (!is_ready && error) {
        cny_error_raise(error);
        on_refused(consumer);
    }
    cny_error_unref(error);
    return is_ready;
}

static void subscribe(cny_consumer *consumer)
{
    cny_spec *spec = &consumer->listener->spec;
    coney_status status = cny_spec_learn_queue(spec, consumer->container->factory);
    if (status == CONEY_OK)
        status = cny_consumer_subscribe(consumer);
    if (status == CONEY_OK) {
        cny_life_enter(&consumer->life, CNY_CONSUMER_SUBSCRIBING, cny_deadline(SUBSCRIBE_MS));
        return;
    }
    if (cny_consumer_note_refusal(consumer))
        on_refused(consumer);
    cny_consumer_end_isolation(consumer);
}

void cny_consumer_try_to_subscribe(cny_consumer *consumer)
{
    if (cny_factory_ensure_open(consumer->container->factory, CONEY_CONSUMING, 0) != CONEY_OK)
        on_refused(consumer);
    else if (!pass_declarations(consumer))
        return;
    else if (cny_consumer_lets_others_begin(consumer))
        cny_consumer_back_off(consumer, cny_deadline(RECHECK_OTHERS_MS));
    else if (cny_consumer_must_be_isolated(consumer))
        cny_consumer_await_isolation(consumer);
    else
        subscribe(consumer);
}

/* A queue that somebody in the factory declares was deleted, perhaps with its last consumer: it is declared again, with
 * its bindings, and the consumer tries at once. Only once, because the queue may be deleted each time. False if nobody
 * declares it. */
static bool restore_queue(cny_consumer *consumer)
{
    bool may_help = !consumer->outage.has_restored && coney_last_error_details()->status == CONEY_E_NOT_FOUND;
    bool has_restored =
        may_help && cny_declarations_restore(consumer->container->factory, consumer->listener->spec.options.queue);
    consumer->outage.has_restored = has_restored;
    if (has_restored)
        cny_life_wait(&consumer->life, CNY_CONSUMER_AWAITS_QUEUE, cny_deadline(RECHECK_MS));
    return has_restored;
}

/* ---- the answer ---- */

void cny_consumer_on_consuming(cny_consumer *consumer)
{
    coney_container *container = consumer->container;
    const coney_error *error = cny_error_view(consumer->last_error);
    bool again = consumer->has_consumed, was_told = error && error->status != CONEY_E_CONNECT;
    cny_life_enter(&consumer->life, CNY_CONSUMER_CONSUMING, 0);
    atomic_store(&consumer->listener->handling.last_delivery_ms, cny_now_ms()); /* idleness begins anew */
    if (again)
        consumer->resumed_at = cny_now_ms();
    if (again || was_told) {
        bool is_quiet = !again && cny_is_refused_exclusive(error);
        cny_defer_log(&container->deferred_log, is_quiet ? CONEY_LOG_DEBUG : CONEY_LOG_INFO,
                      "container '%s': a consumer of queue '%s' has resumed", container->options.name,
                      consumer->listener->spec.options.queue);
    }
    consumer->has_consumed = true;
    consumer->outage = (cny_outage){0};
    cny_consumer_release(consumer);
    cny_consumer_forget_last_error(consumer);
    cny_consumer_tell(consumer, again ? CONEY_CONSUMER_RESTARTED : CONEY_CONSUMER_STARTED, NULL);
}

/* This thread's last error tells why. */
static void on_no_subscription(cny_consumer *consumer)
{
    bool is_over = cny_consumer_note_refusal(consumer);
    cny_consumer_drop_channel(consumer);
    if (!is_over) /* it waits now, before the isolated connection is closed because nobody needs it */
        cny_consumer_await_isolation(consumer);
    else if (!restore_queue(consumer))
        on_refused(consumer);
    cny_container_wake(consumer->container);
}

/* If the answer came at the last moment, lanes may be at work. */
static void on_no_answer(cny_consumer *consumer)
{
    cny_channel_close(consumer->source.channel);
    if (*cny_channel_consumer_tag(consumer->source.channel)) {
        cny_consumer_on_consuming(consumer);
        cny_container_wake(consumer->container);
        return;
    }
    cny_fail(CONEY_E_TIMEOUT, "no answer from the broker within the deadline");
    on_no_subscription(consumer);
}

/* The broker accepts a consumer that was isolated, which is to go on with the others. What the broker has sent
 * meanwhile goes back to the queue, or, if that is impossible, is handled first. */
static void on_harmless(cny_consumer *consumer)
{
    if (cny_acknowledges_nothing(&consumer->listener->spec)) {
        cny_consumer_on_consuming(consumer);
        cny_consumer_begin_leaving(consumer, CONEY_E_LOST);
        cny_channel_cancel(consumer->source.channel);
        cny_source_raise_intake(&consumer->source, CNY_INTAKE_DRAIN);
    } else {
        cny_consumer_release(consumer);
        cny_consumer_drop_channel(consumer);
        cny_life_wait(&consumer->life, CNY_CONSUMER_BACKS_OFF, 0);
    }
    cny_container_wake(consumer->container);
}

void cny_consumer_take_answer(cny_consumer *consumer)
{
    cny_error *reason;
    cny_feed_state state = cny_channel_feed(consumer->source.channel, &reason);
    bool has_begun = /* does not change now */
        state != CNY_FEED_BEGINNING && *cny_channel_consumer_tag(consumer->source.channel);
    if (has_begun && cny_consumer_is_isolated(consumer)) {
        on_harmless(consumer);
    } else if (has_begun) {
        cny_consumer_on_consuming(consumer);
        cny_consumer_end_isolation(consumer);
        if (state == CNY_FEED_ENDED) /* already; that it has begun is told all the same */
            cny_container_wake(consumer->container);
    } else if (state == CNY_FEED_ENDED) {
        if (cny_error_raise(reason) == CONEY_E_NOT_FOUND)
            cny_handling_restart_stream(&consumer->listener->handling);
        on_no_subscription(consumer);
    } else if (cny_now_ms() >= consumer->life.deadline) {
        on_no_answer(consumer);
    }
    cny_error_unref(reason);
}
