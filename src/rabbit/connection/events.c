/* SPDX-License-Identifier: MIT */
/* The events thread of a factory: runs the program's completion callbacks and listeners, one after
 * another, with no lock held. Who has something to tell queues it and never waits for a callback. */
#include "rabbit/connection/internal.h"

#include <signal.h>
#include <string.h>

#define MAX_NOTICES 1000 /* not yet told; beyond them a listener that hangs misses some */

struct cny_events {
    /* fixed after start */
    atomic_uint refs; /* the factory's and the thread's */
    sigset_t signals; /* the thread's mask */
    /* events thread only */
    cny_buffer running;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    cny_buffer queue; /* of cny_completion */
    size_t notices;   /* in queue and running */
    int posters;      /* I/O threads that have not ended */
    bool asleep;
    bool stopping;
    bool ended; /* the thread does nothing any more */
};

static _Thread_local const cny_events *current;

static void run(const cny_completion *completion)
{
    completion->callback(completion->message, cny_error_view(completion->error), completion->user);
    coney_message_unref(completion->message);
    cny_error_unref(completion->error);
}

/* Tells each channel once for a row of its completions. The channel's window opens only after
 * the callbacks have run, so a slow callback slows its senders instead of filling memory. */
static void run_all(const cny_buffer *batch)
{
    const cny_completion *all = (const cny_completion *)(const void *)batch->data;
    size_t count = batch->size / sizeof *all;
    size_t unreported = 0;
    for (size_t i = 0; i < count; i++) {
        run(&all[i]);
        unreported++;
        bool last_of_row = i + 1 == count || all[i + 1].channel != all[i].channel;
        if (last_of_row || unreported == 64) {
            cny_confirms_finished(all[i].channel, unreported);
            unreported = 0;
        }
        cny_channel_unref(all[i].channel);
    }
}

void cny_events_unref(cny_events *events)
{
    if (!events || atomic_fetch_sub_explicit(&events->refs, 1, memory_order_acq_rel) != 1)
        return;
    cny_buffer_free(&events->queue);
    cny_buffer_free(&events->running);
    pthread_cond_destroy(&events->wake);
    pthread_mutex_destroy(&events->lock);
    cny_free(events);
}

static void *events_main(void *argument)
{
    cny_events *events = argument;
    current = events;
    pthread_sigmask(SIG_SETMASK, &events->signals, NULL);
    pthread_mutex_lock(&events->lock);
    while (!events->stopping || events->posters > 0 || events->queue.size > 0) {
        if (events->queue.size == 0) {
            events->asleep = true; /* until cny_events_unlock() or cny_events_stop() */
            pthread_cond_wait(&events->wake, &events->lock);
            continue;
        }
        cny_buffer_swap(&events->queue, &events->running);
        pthread_mutex_unlock(&events->lock);
        run_all(&events->running);
        events->running.size = 0;
        pthread_mutex_lock(&events->lock);
    }
    events->ended = true;
    pthread_cond_broadcast(&events->wake);
    pthread_mutex_unlock(&events->lock);
    cny_events_unref(events);
    return NULL;
}

coney_status cny_events_start(cny_events **events, coney_connection_factory *factory)
{
    cny_events *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 2);
    made->signals = factory->signals;
    cny_busy_mutex_init(&made->lock);
    cny_cond_init(&made->wake);
    const cny_thread thread = {.name = "coney-events", .run = events_main, .argument = made};
    coney_status status = cny_threads_start(&factory->threads, factory, &thread);
    if (status == CONEY_OK)
        *events = made;
    else
        cny_free(made);
    return status;
}

bool cny_events_stop(cny_events *events, int64_t deadline)
{
    bool in_time = true;
    pthread_mutex_lock(&events->lock);
    events->stopping = true;
    events->asleep = false;
    pthread_cond_broadcast(&events->wake);
    while (!events->ended && in_time)
        in_time = cny_cond_wait(&events->wake, &events->lock, deadline);
    bool ended = events->ended;
    pthread_mutex_unlock(&events->lock);
    return ended;
}

void cny_events_enter(cny_events *events)
{
    pthread_mutex_lock(&events->lock);
    events->posters++;
    pthread_mutex_unlock(&events->lock);
}

void cny_events_leave(cny_events *events)
{
    pthread_mutex_lock(&events->lock);
    events->posters--;
    events->asleep = false;
    pthread_cond_broadcast(&events->wake);
    pthread_mutex_unlock(&events->lock);
}

bool cny_events_is_current(const cny_events *events)
{
    return current == events;
}

void cny_events_lock(cny_events *events)
{
    pthread_mutex_lock(&events->lock);
}

bool cny_events_post(cny_events *events, const cny_completion *completion)
{
    return !events->ended && cny_buffer_append(&events->queue, completion, sizeof *completion);
}

void cny_events_unlock(cny_events *events)
{
    bool wake = events->asleep && events->queue.size > 0;
    if (wake)
        events->asleep = false;
    pthread_mutex_unlock(&events->lock);
    if (wake)
        pthread_cond_broadcast(&events->wake); /* cny_events_stop() may wait, too */
}

void cny_events_unlock_quietly(cny_events *events)
{
    pthread_mutex_unlock(&events->lock);
}

void cny_events_wake(cny_events *events)
{
    cny_events_lock(events);
    cny_events_unlock(events);
}

bool cny_factory_post(coney_connection_factory *factory, coney_send_callback *callback, cny_error *error, void *user)
{
    const cny_completion completion = {.callback = callback, .user = user, .error = cny_error_ref(error)};
    cny_events_lock(factory->events);
    bool posted = cny_events_post(factory->events, &completion);
    cny_events_unlock(factory->events);
    if (!posted)
        cny_error_unref(error);
    return posted;
}

/* ---- listeners ---- */

typedef struct notice {
    cny_events *events;
    coney_connection_listener *on_connection;
    coney_channel_listener *on_channel;
    coney_declaration_listener *on_declaration;
    void *user;
    coney_connection_info connection;
    coney_channel_info channel;
    coney_declaration declaration;
} notice;

static void run_notice(coney_message *unused, const coney_error *error, void *user)
{
    (void)unused;
    (void)error;
    notice *one = user;
    if (one->on_connection)
        one->on_connection(&one->connection, one->user);
    else if (one->on_declaration)
        one->on_declaration(&one->declaration, one->user);
    else
        one->on_channel(&one->channel, one->user);
    pthread_mutex_lock(&one->events->lock);
    one->events->notices--;
    pthread_mutex_unlock(&one->events->lock);
    cny_free(one);
}

/* Takes the notice. */
static void post_notice(cny_events *events, notice *one)
{
    one->events = events;
    const cny_completion completion = {.callback = run_notice, .user = one};
    cny_events_lock(events);
    bool posted = events->notices < MAX_NOTICES && !events->ended && cny_events_post(events, &completion);
    events->notices += posted;
    cny_events_unlock(events);
    if (!posted)
        cny_free(one);
}

void cny_tell_connection(coney_connection_factory *factory, const coney_connection_info *info)
{
    const cny_connection_config *config = &factory->config;
    notice *one = config->on_connection ? cny_alloc(sizeof *one) : NULL;
    if (!one)
        return;
    one->on_connection = config->on_connection;
    one->user = config->listener_user;
    one->connection = *info;
    post_notice(factory->events, one);
}

void cny_tell_declaration(coney_connection_factory *factory, const coney_declaration *declaration)
{
    const cny_connection_config *config = &factory->config;
    notice *one = config->on_declaration ? cny_alloc(sizeof *one) : NULL;
    if (!one)
        return;
    one->on_declaration = config->on_declaration;
    one->user = config->listener_user;
    one->declaration = *declaration;
    post_notice(factory->events, one);
}

void cny_tell_channel(cny_channel *channel, bool open, const cny_error *reason)
{
    const cny_connection *connection = channel->connection;
    notice *one = connection->config->on_channel ? cny_alloc(sizeof *one) : NULL;
    if (!one)
        return;
    one->on_channel = connection->config->on_channel;
    one->user = connection->config->listener_user;
    one->channel = (coney_channel_info){.role = connection->role, .number = channel->number, .open = open};
    const coney_error *view = cny_error_view(reason);
    if (view) {
        one->channel.reason = view->status;
        one->channel.broker_code = view->broker_code;
        strncpy(one->channel.text, view->text, sizeof one->channel.text - 1);
    }
    post_notice(connection->events, one);
}
