/* SPDX-License-Identifier: MIT */
/* What is next for one consumer: it subscribes, tries again, is interrupted, works off what came, ends. The supervisor
 * asks whenever something has happened or is due, under the container's lock; nothing here waits. */
#include "rabbit/listener/consuming/consumer.h"

#include <string.h>

#define LINGER_MS 100         /* after the last acknowledgement */
#define RESTORE_AGAIN_MS 1000 /* before a queue that goes again and again is consumed again */

/* ---- whether it is to end ---- */

/* How a consumer is to end; false if it is not to. */
bool cny_consumer_ends(const cny_consumer *consumer, coney_stop_mode *mode, int64_t *deadline)
{
    const coney_container *container = consumer->container;
    const cny_listener *listener = consumer->listener;
    *deadline = INT64_MAX;
    *mode = CONEY_STOP_DRAIN;
    if (container->state == CNY_CONTAINER_STOPPING) {
        *mode = container->stop_mode;
        *deadline = container->stop_deadline;
    } else if (!listener->started || listener->removed) {
        *mode = listener->stop_mode;
        *deadline = listener->stop_deadline;
    } else if (consumer->surplus) {
        *mode = CONEY_STOP_FINISH;
    } else {
        return container->paused;
    }
    return true;
}

/* ---- losses ---- */

/* What is in its feed, and another consumer may get it before the handlers of this one have returned. */
static bool comes_again(const cny_consumer *consumer)
{
    return !cny_acknowledges_nothing(&consumer->listener->spec) && !cny_channel_alive(consumer->source.channel);
}

static void look_for_loss(cny_consumer *consumer)
{
    cny_error *reason;
    if (cny_channel_feed(consumer->source.channel, &reason) == CNY_FEED_ENDED) {
        consumer->loss = cny_consumer_raise_loss(reason);
        consumer->has_tried = false;
        if (consumer->loss == CONEY_E_NOT_FOUND)
            cny_handling_restart_stream(&consumer->listener->handling);
        if (cny_consumer_set_trouble(consumer, "was interrupted", false))
            cny_consumer_tell_failed(consumer, false);
        if (comes_again(consumer))
            cny_consumer_give_up_rest(consumer);
        cny_consumer_begin_leaving(consumer);
        cny_source_set_course(&consumer->source, CNY_COURSE_HANDLE);
    }
    cny_error_unref(reason);
}

bool cny_consumer_has_ended(const cny_consumer *consumer)
{
    cny_error *reason;
    bool ended = cny_channel_feed(consumer->source.channel, &reason) == CNY_FEED_ENDED;
    cny_error_unref(reason);
    return ended;
}

static bool has_worked_off(cny_consumer *consumer)
{
    bool alive = cny_channel_alive(consumer->source.channel);
    return cny_source_is_idle(&consumer->source) && !cny_channel_has_deliveries(consumer->source.channel) &&
           (!alive || cny_source_deferred(&consumer->source) == 0);
}

/* One that the broker ends again and again must not come back at once each time. */
static void leave(cny_consumer *consumer)
{
    const coney_container *container = consumer->container;
    bool is_restored_now = consumer->loss == CONEY_E_NOT_FOUND &&
                           cny_declarations_restore(container->factory, consumer->listener->spec.options.queue);
    int64_t interval = container->options.resubscribe_interval_ms;
    if (is_restored_now && interval > RESTORE_AGAIN_MS)
        interval = RESTORE_AGAIN_MS;
    bool has_just_resumed = consumer->resumed_at > 0 && cny_now_ms() < consumer->resumed_at + interval;
    bool must_wait = has_just_resumed && !cny_is_loss(consumer->loss);
    cny_consumer_drop_channel(consumer);
    cny_consumer_wait_until(consumer, must_wait ? cny_now_ms() + interval : 0);
}

/* Lanes that gather a batch need not wait for more. Gives whether it has. */
static bool tell_end(cny_consumer *consumer)
{
    bool ended = cny_consumer_has_ended(consumer);
    if (ended && !consumer->told_end && consumer->listener->spec.options.on_batch)
        cny_source_set_course(&consumer->source, (cny_course)atomic_load(&consumer->source.course));
    consumer->told_end = ended;
    return ended;
}

/* Its channel may be alive: what the broker still sends is handled, and what handlers have deferred settled. But that
 * is not waited for without end, as handlers are. */
static void go_on_leaving(cny_consumer *consumer)
{
    if (cny_now_ms() >= consumer->due && cny_source_is_idle(&consumer->source))
        cny_channel_close(consumer->source.channel);
    bool has_ended_by_now = tell_end(consumer);
    if (has_ended_by_now)
        cny_consumer_end_trial(consumer);
    if (has_ended_by_now && has_worked_off(consumer))
        leave(consumer);
}

/* ---- ending ---- */

void cny_consumer_stop_taking(cny_consumer *consumer)
{
    if (consumer->state == CNY_CONSUMER_CONSUMING && !cny_acknowledges_nothing(&consumer->listener->spec))
        cny_channel_keep_consumer(consumer->source.channel);
}

static cny_course course_for(coney_stop_mode mode)
{
    switch (mode) {
    case CONEY_STOP_DRAIN: return CNY_COURSE_HANDLE;
    case CONEY_STOP_FINISH: return CNY_COURSE_RETURN;
    case CONEY_STOP_NOW: break;
    }
    return CNY_COURSE_DROP;
}

/* Once the broker sees the end of the channel no handler gets what is here. */
static void set_course(cny_consumer *consumer, cny_course course)
{
    if (course != CNY_COURSE_DROP)
        cny_source_end_feed(&consumer->source, consumer->source.channel, course);
    cny_source_set_course(&consumer->source, course);
    if (course == CNY_COURSE_DROP)
        cny_channel_close(consumer->source.channel);
}

/* A quorum queue of RabbitMQ 4.0 takes acknowledgements that come quickly one after another from the channel bit by
 * bit, and those that it has not taken when the channel ends are lost: the messages are delivered again. No method has
 * an answer that says that all are taken, so the channel stays open for a moment. */
static bool has_lingered(cny_consumer *consumer)
{
    int64_t until = atomic_load(&consumer->source.settled_at) + LINGER_MS;
    if (cny_now_ms() >= until || !cny_channel_alive(consumer->source.channel))
        return true;
    consumer->due = cny_sooner(consumer->due, until);
    return false;
}

/* A stop may become harder while it lasts. True once it has ended. */
bool cny_consumer_go_on_ending(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline)
{
    cny_course wanted = cny_now_ms() >= deadline ? CNY_COURSE_DROP : course_for(mode);
    bool begins = consumer->state != CNY_CONSUMER_ENDING;
    if (begins || (int)wanted > atomic_load(&consumer->source.course))
        set_course(consumer, wanted);
    consumer->state = CNY_CONSUMER_ENDING;
    consumer->due = deadline;
    return tell_end(consumer) && has_worked_off(consumer) && has_lingered(consumer);
}

/* What the broker has sent by now to one that acknowledges nothing would be lost. */
static bool waits_for_answer(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline)
{
    bool waits = consumer->state == CNY_CONSUMER_SUBSCRIBING && mode != CONEY_STOP_NOW &&
                 cny_acknowledges_nothing(&consumer->listener->spec) &&
                 consumer->container->state != CNY_CONTAINER_STARTING && !cny_consumer_has_ended(consumer);
    consumer->due = waits ? cny_sooner(consumer->due, deadline) : consumer->due;
    return waits && cny_now_ms() < consumer->due;
}

/* True once it has. */
static bool end(cny_consumer *consumer, coney_stop_mode mode, int64_t deadline)
{
    if (consumer->state == CNY_CONSUMER_SUBSCRIBING && *cny_channel_consumer_tag(consumer->source.channel))
        cny_consumer_on_consuming(consumer); /* its lanes may be at work already */
    if (waits_for_answer(consumer, mode, deadline))
        return false;
    if (consumer->state == CNY_CONSUMER_SUBSCRIBING)
        mode = CONEY_STOP_NOW;
    bool starts = consumer->container->state == CNY_CONTAINER_STARTING;
    if (!starts && consumer->state != CNY_CONSUMER_WAITING && !cny_consumer_go_on_ending(consumer, mode, deadline))
        return false;
    if (consumer->has_consumed)
        cny_consumer_tell(consumer, CONEY_CONSUMER_STOPPED, NULL);
    if (starts) /* no worker runs yet */
        cny_consumer_withdraw(consumer);
    int unsettled = cny_consumer_drop_channel(consumer);
    if (consumer->container->state == CNY_CONTAINER_STOPPING && mode != CONEY_STOP_NOW)
        consumer->container->unsettled += unsettled;
    return true;
}

/* ---- one consumer ---- */

/* What is next for it; true if it has ended. */
bool cny_consumer_tend(cny_consumer *consumer)
{
    coney_stop_mode mode;
    int64_t deadline;
    if (cny_consumer_ends(consumer, &mode, &deadline))
        return end(consumer, mode, deadline);
    if (consumer->state == CNY_CONSUMER_CONSUMING)
        look_for_loss(consumer);
    if (consumer->state == CNY_CONSUMER_ENDING) { /* it was to end, but is wanted again: as after a loss */
        cny_consumer_begin_leaving(consumer);
        consumer->loss = CONEY_E_LOST;
    }
    if (consumer->state == CNY_CONSUMER_LEAVING)
        go_on_leaving(consumer);
    if (cny_consumer_is_due(consumer)) {
        cny_consumer_begin_to_subscribe(consumer);
        if (consumer->state == CNY_CONSUMER_WAITING) /* whoever is next need not wait for it */
            cny_consumer_end_trial(consumer);
    }
    if (consumer->state == CNY_CONSUMER_SUBSCRIBING)
        cny_consumer_look_at_subscription(consumer);
    return false;
}

int64_t cny_consumer_due(const cny_consumer *consumer)
{
    bool may_be_over = consumer->state == CNY_CONSUMER_ENDING || consumer->state == CNY_CONSUMER_LEAVING;
    bool has_due = consumer->state != CNY_CONSUMER_CONSUMING && !(may_be_over && cny_now_ms() >= consumer->due);
    return has_due ? consumer->due : INT64_MAX;
}
