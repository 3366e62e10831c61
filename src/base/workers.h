/* SPDX-License-Identifier: MIT */
/* Threads that run tasks. One thread at a time runs a task, as soon as a thread is free after the task was scheduled,
 * or at a time of its own. Knows nothing of messages.
 *
 * Only the log's lock comes after the workers' lock: tasks may be scheduled under any other lock, and by the I/O
 * thread. */
#ifndef CNY_WORKERS_H
#define CNY_WORKERS_H

#include "base/base.h"

typedef struct cny_workers cny_workers;
typedef struct cny_task cny_task;

typedef enum cny_task_state {
    CNY_TASK_IDLE,
    CNY_TASK_QUEUED,
    CNY_TASK_SLEEPING, /* until it is due */
    CNY_TASK_RUNNING,  /* then idle, or sleeping if it was scheduled for a time */
    CNY_TASK_TO_RERUN, /* running, and then queued: it was scheduled during its run */
} cny_task_state;

struct cny_task {
    /* fixed */
    void (*run)(cny_task *task);
    void (*on_idle)(cny_task *task); /* may be NULL; under the workers' lock, after a run that no other run follows */
    /* under the workers' lock */
    cny_task *next;
    cny_task_state state;
    int64_t due;
};

/* What each thread calls first and last. What tasks use must live from hold to release. */
typedef struct cny_workers_owner {
    const char *name; /* of the threads; a view */
    cny_threads *threads;
    const void *thread_owner; /* who joins the threads */
    void (*hold)(void *self);
    void (*begin)(void *self); /* on the thread */
    void (*release)(void *self);
    void *self;
} cny_workers_owner;

cny_workers *cny_workers_new(const cny_workers_owner *owner); /* NULL without memory */
void cny_workers_free(cny_workers *workers);                  /* after all threads have ended; takes NULL */

/* Sets the number of threads. Surplus threads end when they are free. CONEY_E_SYSTEM: fewer threads run. */
coney_status cny_workers_resize(cny_workers *workers, int threads);

/* With true, no task begins until the call with false. */
void cny_workers_pause(cny_workers *workers, bool pause);

/* Is the calling thread a thread of these workers? */
bool cny_workers_is_current(const cny_workers *workers);

/* Runs the task as soon as a thread is free. */
void cny_workers_schedule(cny_workers *workers, cny_task *task);
void cny_workers_hasten(cny_workers *workers, cny_task *task); /* but not an idle task */

/* Runs the task at this time, unless an earlier run is scheduled. INT64_MAX: never. */
void cny_workers_schedule_at(cny_workers *workers, cny_task *task, int64_t due);

/* Cancels the scheduled run of a task that does not run now. */
void cny_workers_withdraw(cny_workers *workers, cny_task *task);

/* Does the task neither run nor have a scheduled run? */
bool cny_workers_is_idle(cny_workers *workers, const cny_task *task);

/* Between these two the calling thread wakes no worker: it may hold a lock that the worker needs next, and a worker
 * that wakes on the same processor would only wait for that lock. The second function wakes them; not under a lock. */
void cny_workers_hold_wakes(void);
void cny_workers_release_wakes(void);

/* Do tasks wait for a thread? */
bool cny_workers_busy(cny_workers *workers);

#endif
