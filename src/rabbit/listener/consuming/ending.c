/* SPDX-License-Identifier: MIT */
/* How a consumer stops consuming: it is interrupted, works off what has come, and waits to subscribe again; or it is
 * not wanted any more, and ends. On the supervisor, under the container's lock; nothing here waits. */
#include "rabbit/listener/consuming/consumer.h"

#define LINGER_MS 100         /* after the last acknowledgement */
#define RESTORE_AGAIN_MS 1000 /* before a queue is consumed again that is deleted again and again */

/* ---- whether it is to end ---- */

bool cny_consumer_must_end(const cny_consumer *consumer, coney_stop_mode *mode, int64_t *deadline)
{
    const coney_container *container = consumer->container;
    const cny_listener *listener = consumer->listener;
    *deadline = INT64_MAX;
    *mode = CONEY_STOP_DRAIN;
    if (container->state == CNY_CONTAINER_STOPPING) {
        *mode = container->stop.mode;
        *deadline = container->stop.deadline;
    } else if (listener->wish != CNY_LISTENER_STARTED) {
        *mode = listener->stop_mode;
        *deadline = listener->stop_deadline;
    } else if (consumer->is_surplus) {
        *mode = CONEY_STOP_FINISH;
    } else {
        return container->paused;
    }
    return true;
}

/* ---- the lanes learn of it ---- */

bool cny_consumer_has_ended(const cny_consumer *consumer)
{
    cny_error *reason;
    bool ended = cny_channel_feed(consumer->source.channel, &reason) == CNY_FEED_ENDED;
    cny_error_unref(reason);
    return ended;
}

/* Lanes that gather a batch need not wait for more. */
static void tell_lanes_of_end(cny_consumer *consumer)
{
    bool is_news = cny_consumer_has_ended(consumer) && !consumer->told_end;
    if (is_news && consumer->listener->spec.options.on_batch)
        cny_source_raise_intake(&consumer->source, CNY_INTAKE_DRAIN);
    consumer->told_end |= is_news;
}

static bool has_worked_off(cny_consumer *consumer)
{
    cny_channel *channel = consumer->source.channel;
    bool alive = cny_channel_alive(channel);
    return cny_consumer_has_ended(consumer) && cny_source_is_idle(&consumer->source) &&
           !cny_channel_has_deliveries(channel) && (!alive || cny_source_deferred(&consumer->source) == 0);
}

/* ---- interruptions ---- */

/* What is in its feed is delivered again, perhaps to another consumer before the handlers of this one have returned. */
static bool comes_again(const cny_consumer *consumer)
{
    return !cny_acknowledges_nothing(&consumer->listener->spec) && !cny_channel_alive(consumer->source.channel);
}

static void on_loss(cny_consumer *consumer, const cny_error *reason)
{
    coney_status loss = cny_consumer_raise_loss(reason);
    if (loss == CONEY_E_NOT_FOUND)
        cny_handling_restart_stream(&consumer->listener->handling);
    if (cny_consumer_set_last_error(consumer, "was interrupted", false))
        cny_consumer_tell_failed(consumer, false);
    if (comes_again(consumer))
        cny_consumer_give_up_rest(consumer);
    cny_consumer_begin_leaving(consumer, loss);
    cny_source_raise_intake(&consumer->source, CNY_INTAKE_DRAIN);
}

void cny_consumer_detect_loss(cny_consumer *consumer)
{
    cny_error *reason;
    if (cny_channel_feed(consumer->source.channel, &reason) == CNY_FEED_ENDED)
        on_loss(consumer, reason);
    cny_error_unref(reason);
}

/* A consumer that the broker ends again and again must not subscribe at once each time. */
static void leave(cny_consumer *consumer)
{
    const coney_container *container = consumer->container;
    bool is_restored = consumer->loss == CONEY_E_NOT_FOUND &&
                       cny_declarations_restore(container->factory, consumer->listener->spec.options.queue);
    int64_t interval = container->options.resubscribe_interval_ms, now = cny_now_ms();
    if (is_restored && interval > RESTORE_AGAIN_MS)
        interval = RESTORE_AGAIN_MS;
    bool has_just_resumed = consumer->resumed_at > 0 && now < consumer->resumed_at + interval;
    bool must_wait = has_just_resumed && !cny_is_loss(consumer->loss);
    cny_consumer_drop_channel(consumer);
    cny_life_wait(&consumer->life, CNY_CONSUMER_BACKS_OFF, must_wait ? now + interval : 0);
}

/* Its channel may be alive: then what the broker still sends is handled, and deliveries that handlers have deferred may
 * be settled, until the deadline. For handlers that run there is no deadline. */
void cny_consumer_go_on_leaving(cny_consumer *consumer)
{
    if (cny_now_ms() >= consumer->life.deadline && cny_source_is_idle(&consumer->source))
        cny_channel_close(consumer->source.channel);
    tell_lanes_of_end(consumer);
    if (cny_consumer_has_ended(consumer))
        cny_consumer_end_isolation(consumer);
    if (has_worked_off(consumer))
        leave(consumer);
}

/* ---- ending ---- */

void cny_consumer_stop_taking(cny_consumer *consumer)
{
    bool consumes = consumer->life.state == CNY_CONSUMER_CONSUMING;
    if (consumes && !cny_acknowledges_nothing(&consumer->listener->spec))
        cny_channel_keep_consumer(consumer->source.channel);
}

static cny_intake_mode intake_for(coney_stop_mode mode)
{
    switch (mode) {
    case CONEY_STOP_DRAIN: return CNY_INTAKE_DRAIN;
    case CONEY_STOP_FINISH: return CNY_INTAKE_RETURN;
    case CONEY_STOP_NOW: break;
    }
    return CNY_INTAKE_DROP;
}

/* The lanes drop what they have before the broker sees the end of the channel, so that no handler gets a message that
 * another consumer has by then. */
static void raise_intake(cny_consumer *consumer, cny_intake_mode mode)
{
    if (mode != CNY_INTAKE_DROP)
        cny_source_end_feed(&consumer->source, consumer->source.channel, mode);
    cny_source_raise_intake(&consumer->source, mode);
    if (mode == CNY_INTAKE_DROP)
        cny_channel_close(consumer->source.channel);
}

/* A quorum queue of RabbitMQ 4.0 takes acknowledgements that come quickly one after another from the channel bit by
 * bit, and those that it has not taken when the channel ends are lost: the messages are delivered again. No method has
 * an answer that says that all are taken, so the channel stays open for a moment. 0: not, or not any longer. */
static int64_t lingers_until(const cny_consumer *consumer)
{
    int64_t until = atomic_load(&consumer->source.settled_at) + LINGER_MS;
    return cny_now_ms() < until && cny_channel_alive(consumer->source.channel) ? until : 0;
}

bool cny_consumer_go_on_ending(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline)
{
    cny_intake_mode wanted = cny_now_ms() >= deadline ? CNY_INTAKE_DROP : intake_for(mode);
    bool begins = consumer->life.state != CNY_CONSUMER_ENDING;
    if (begins || wanted > cny_intake_now(&consumer->source.intake))
        raise_intake(consumer, wanted);
    tell_lanes_of_end(consumer);
    bool is_through = has_worked_off(consumer);
    int64_t until = is_through ? lingers_until(consumer) : 0;
    cny_life_enter(&consumer->life, CNY_CONSUMER_ENDING, until > 0 ? cny_sooner(deadline, until) : deadline);
    return is_through && until == 0;
}

/* The broker may have sent messages by now, and those of a consumer that acknowledges nothing would be lost. */
static bool awaits_answer(const cny_consumer *consumer, coney_stop_mode mode)
{
    return consumer->life.state == CNY_CONSUMER_SUBSCRIBING && mode != CONEY_STOP_NOW &&
           cny_acknowledges_nothing(&consumer->listener->spec) && !cny_consumer_has_ended(consumer);
}

/* For a consumer that is subscribed, or about to be. True if it has ended. */
static bool end_subscription(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline)
{
    if (awaits_answer(consumer, mode)) {
        cny_life_enter(&consumer->life, CNY_CONSUMER_SUBSCRIBING, cny_sooner(consumer->life.deadline, deadline));
        if (cny_now_ms() < consumer->life.deadline)
            return false;
    }
    bool is_unanswered = consumer->life.state == CNY_CONSUMER_SUBSCRIBING;
    return cny_consumer_go_on_ending(consumer, is_unanswered ? CONEY_STOP_NOW : mode, deadline);
}

bool cny_consumer_end(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline)
{
    coney_container *container = consumer->container;
    bool starts = container->state == CNY_CONTAINER_STARTING;
    bool is_subscribing = consumer->life.state == CNY_CONSUMER_SUBSCRIBING;
    if (is_subscribing && *cny_channel_consumer_tag(consumer->source.channel))
        cny_consumer_on_consuming(consumer); /* its lanes may be at work already */
    if (!starts && !cny_life_waits(&consumer->life) && !end_subscription(consumer, mode, deadline))
        return false;
    if (consumer->has_consumed)
        cny_consumer_tell(consumer, CONEY_CONSUMER_STOPPED, NULL);
    if (starts) /* no worker runs yet */
        cny_consumer_withdraw(consumer);
    int unsettled = cny_consumer_drop_channel(consumer);
    if (container->state == CNY_CONTAINER_STOPPING && mode != CONEY_STOP_NOW)
        container->stop.unsettled += unsettled;
    return true;
}
