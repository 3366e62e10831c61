/* SPDX-License-Identifier: MIT */
/* The events thread of a factory. It runs the program's callbacks and listeners, one after another and in the order in
 * which their causes happened, with no lock held. Who has something for them queues it and never waits for a callback.
 *
 * This room knows neither connections nor channels: a completion brings its owner along. */
#ifndef CNY_EVENTS_H
#define CNY_EVENTS_H

#include "base/base.h"

#include <coney/rabbit/template.h>

#include <signal.h>

typedef struct cny_events cny_events;

/* The outcome of one send, and the callback that is to hear it. */
typedef struct cny_completion {
    coney_send_callback *callback;
    void *user;
    coney_message *message; /* taken */
    cny_error *error;       /* taken */
    /* On the events thread: so many callbacks of this owner have returned. The owner drops as many references.
     * NULL: nobody needs to know. */
    void (*finished)(void *owner, size_t count);
    void *owner;
} cny_completion;

/* Something else to be told to the program. It begins the struct of who has it told, which comes from cny_alloc(). */
typedef struct cny_notice {
    void (*run)(struct cny_notice *notice); /* on the events thread; must not free it */
    cny_events *events;                     /* set by cny_events_tell() */
} cny_notice;

/* The thread belongs to this group and owner, and its callbacks run with this mask of signals. CONEY_E_NO_MEMORY,
 * CONEY_E_SYSTEM. */
coney_status cny_events_start(cny_events **events, cny_threads *threads, const void *owner, const sigset_t *signals);

/* Runs what is queued, then ends the thread. False if a callback has not returned by the deadline; the thread then ends
 * after the callback. */
bool cny_events_stop(cny_events *events, int64_t deadline);
void cny_events_unref(cny_events *events); /* takes NULL */
bool cny_events_is_current(const cny_events *events);

/* The thread does not end between these two: the caller may still post. */
void cny_events_enter(cny_events *events);
void cny_events_leave(cny_events *events);

/* Completions are posted between lock and unlock. Unlock wakes the thread once for all of them. After unlock_quietly
 * the caller must call cny_events_wake(), which an I/O thread does when it has handled all that it read. False without
 * memory: the completion is still the caller's. */
void cny_events_lock(cny_events *events);
bool cny_events_post(cny_events *events, const cny_completion *completion);
void cny_events_unlock(cny_events *events);
void cny_events_unlock_quietly(cny_events *events);
void cny_events_wake(cny_events *events);

/* Takes the notice and has it run. The notice is dropped if the program is too slow to hear so many. Not under the
 * events lock. */
void cny_events_tell(cny_events *events, cny_notice *notice);

#endif
