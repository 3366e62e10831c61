/* SPDX-License-Identifier: MIT */
/* The events thread and its queue. Any thread posts; the events thread runs the callbacks, and tells the owners of
 * completions in rows. */
#include "rabbit/events/events.h"

#include <stdatomic.h>

#define MAX_NOTICES 1000 /* that the program has not heard yet; a listener that hangs misses those beyond them */
#define LONGEST_ROW 64   /* after so many callbacks of one owner the owner learns that they have returned */

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

/* Tells each owner once for a row of its completions. A channel's window opens only after the callbacks have run, so a
 * slow callback slows its senders instead of filling memory. */
static void run_all(const cny_buffer *batch)
{
    const cny_completion *all = (const cny_completion *)(const void *)batch->data;
    size_t count = batch->size / sizeof *all;
    size_t row = 0;
    for (size_t i = 0; i < count; i++) {
        run(&all[i]);
        row++;
        bool is_last = i + 1 == count || all[i + 1].owner != all[i].owner || row == LONGEST_ROW;
        if (!is_last)
            continue;
        if (all[i].finished)
            all[i].finished(all[i].owner, row);
        row = 0;
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

coney_status cny_events_start(cny_events **events, cny_threads *threads, const void *owner, const sigset_t *signals)
{
    cny_events *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 2);
    made->signals = *signals;
    cny_busy_mutex_init(&made->lock);
    cny_cond_init(&made->wake);
    const cny_thread thread = {.name = "coney-events", .run = events_main, .argument = made};
    coney_status status = cny_threads_start(threads, owner, &thread);
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

/* ---- notices ---- */

static void run_notice(coney_message *unused, const coney_error *error, void *user)
{
    (void)unused;
    (void)error;
    cny_notice *notice = user;
    cny_events *events = notice->events;
    notice->run(notice);
    pthread_mutex_lock(&events->lock);
    events->notices--;
    pthread_mutex_unlock(&events->lock);
    cny_free(notice);
}

void cny_events_tell(cny_events *events, cny_notice *notice)
{
    notice->events = events;
    const cny_completion completion = {.callback = run_notice, .user = notice};
    cny_events_lock(events);
    bool posted = events->notices < MAX_NOTICES && cny_events_post(events, &completion);
    events->notices += posted;
    cny_events_unlock(events);
    if (!posted)
        cny_free(notice);
}
