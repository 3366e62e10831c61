/* SPDX-License-Identifier: MIT */
/* Threads that run tasks. A task is run by one thread at a time, as soon as a thread is free after it was
 * scheduled, or at a time of its own. Knows nothing of messages.
 *
 * The lock is below all others but the log's: tasks may be scheduled under any, by the I/O thread, too. */
#ifndef CNY_WORKERS_H
#define CNY_WORKERS_H

#include "base/base.h"

typedef struct cny_workers cny_workers;
typedef struct cny_task cny_task;

typedef enum cny_task_state { CNY_TASK_IDLE, CNY_TASK_QUEUED, CNY_TASK_SLEEPING, CNY_TASK_RUNNING } cny_task_state;

struct cny_task {
    /* fixed */
    void (*run)(cny_task *task);
    void (*on_idle)(cny_task *task); /* may be NULL; under the workers' lock: it has run and is not to run again yet */
    /* under the workers' lock */
    cny_task *next;
    cny_task_state state;
    int64_t due;
    bool again; /* scheduled while it ran */
};

/* What each thread does first and last. hold and release also keep alive what tasks use. */
typedef struct cny_workers_owner {
    const char *name; /* of the threads; a view */
    cny_threads *threads;
    const void *thread_owner; /* who joins them */
    void (*hold)(void *self);
    void (*begin)(void *self); /* on the thread */
    void (*release)(void *self);
    void *self;
} cny_workers_owner;

cny_workers *cny_workers_new(const cny_workers_owner *owner); /* NULL without memory */
void cny_workers_free(cny_workers *workers);                  /* none of whose threads runs; takes NULL */

/* So many threads from now on. Those too many end when they are free. CONEY_E_SYSTEM: fewer than that run. */
coney_status cny_workers_resize(cny_workers *workers, int threads);

/* While they are held they run nothing. */
void cny_workers_hold(cny_workers *workers, bool hold);

/* Is this one of them? */
bool cny_workers_is_current(const cny_workers *workers);

/* Runs it as soon as may be; and no later than then, unless that is INT64_MAX. */
void cny_workers_schedule(cny_workers *workers, cny_task *task);
void cny_workers_hasten(cny_workers *workers, cny_task *task); /* one that is idle stays so */
void cny_workers_schedule_at(cny_workers *workers, cny_task *task, int64_t due);

/* One that does not run now, and is not to any more. */
void cny_workers_withdraw(cny_workers *workers, cny_task *task);

/* It neither runs nor is to run by itself. */
bool cny_workers_is_idle(cny_workers *workers, const cny_task *task);

/* Others wait for a thread. */
bool cny_workers_busy(cny_workers *workers);

#endif
