/* SPDX-License-Identifier: MIT */
/* A queue of tasks that are due, a list of tasks that sleep, in the order of their times, and threads that take from
 * both. Any thread. Nothing here waits for a worker, so a worker that never returns from a task delays nobody. */
#include "base/workers.h"

#include <stdatomic.h>

#define A_LONG_TIME_MS 3600000

struct cny_workers {
    /* fixed after new */
    cny_workers_owner owner;
    /* any thread */
    atomic_uint refs; /* the owner's, and those of threads that will wake a worker */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    cny_task *first, *last;  /* tasks that are due */
    cny_task *first_sleeper; /* the task that is due next */
    int wanted;              /* threads */
    int threads;             /* threads that have not ended */
    int idle;
    bool paused;  /* no task may begin */
    bool watched; /* an idle thread wakes when the first sleeper is due */
};

static _Thread_local const cny_workers *current;

cny_workers *cny_workers_new(const cny_workers_owner *owner)
{
    cny_workers *made = cny_alloc(sizeof *made);
    if (!made)
        return NULL;
    made->owner = *owner;
    atomic_init(&made->refs, 1);
    cny_busy_mutex_init(&made->lock);
    cny_cond_init(&made->changed);
    return made;
}

void cny_workers_free(cny_workers *workers)
{
    if (!workers || atomic_fetch_sub_explicit(&workers->refs, 1, memory_order_acq_rel) != 1)
        return;
    pthread_cond_destroy(&workers->changed);
    pthread_mutex_destroy(&workers->lock);
    cny_free(workers);
}

bool cny_workers_is_current(const cny_workers *workers)
{
    return current == workers;
}

/* ---- waking; under lock ---- */

enum { MOST_HELD = 16 };

/* The workers that this thread will wake, one thread of them for each time that they stand here. */
static _Thread_local struct {
    bool active;
    size_t count;
    cny_workers *workers[MOST_HELD]; /* references */
} held;

static void wake_one(cny_workers *workers)
{
    if (workers->idle == 0)
        return;
    if (!held.active || held.count == MOST_HELD) {
        pthread_cond_signal(&workers->changed);
        return;
    }
    atomic_fetch_add_explicit(&workers->refs, 1, memory_order_relaxed);
    held.workers[held.count++] = workers;
}

void cny_workers_hold_wakes(void)
{
    held.active = true;
}

void cny_workers_release_wakes(void)
{
    held.active = false;
    for (size_t i = 0; i < held.count; i++) {
        pthread_cond_signal(&held.workers[i]->changed);
        cny_workers_free(held.workers[i]);
    }
    held.count = 0;
}

/* ---- the two lists; under lock ---- */

static void enqueue(cny_workers *workers, cny_task *task)
{
    task->state = CNY_TASK_QUEUED;
    task->next = NULL;
    if (workers->last)
        workers->last->next = task;
    else
        workers->first = task;
    workers->last = task;
    wake_one(workers);
}

static cny_task *dequeue(cny_workers *workers)
{
    cny_task *task = workers->first;
    workers->first = task->next;
    if (!workers->first)
        workers->last = NULL;
    return task;
}

static void put_to_sleep(cny_workers *workers, cny_task *task, int64_t due)
{
    cny_task **at = &workers->first_sleeper;
    while (*at && (*at)->due <= due)
        at = &(*at)->next;
    task->state = CNY_TASK_SLEEPING;
    task->due = due;
    task->next = *at;
    *at = task;
    if (workers->first_sleeper == task) { /* the thread that watches would wake too late */
        workers->watched = false;
        wake_one(workers);
    }
}

static void take_out(cny_task **at, const cny_task *task)
{
    while (*at != task)
        at = &(*at)->next;
    *at = task->next;
}

static void take_out_of_queue(cny_workers *workers, const cny_task *task)
{
    cny_task *before = NULL;
    for (cny_task *one = workers->first; one != task; one = one->next)
        before = one;
    take_out(&workers->first, task);
    if (workers->last == task)
        workers->last = before;
}

static void wake_sleepers(cny_workers *workers)
{
    int64_t now = workers->first_sleeper ? cny_now_ms() : 0;
    while (workers->first_sleeper && workers->first_sleeper->due <= now) {
        cny_task *task = workers->first_sleeper;
        workers->first_sleeper = task->next;
        enqueue(workers, task);
    }
}

/* ---- tasks ---- */

/* Under lock. */
static void make_due(cny_workers *workers, cny_task *task)
{
    if (task->state == CNY_TASK_SLEEPING)
        take_out(&workers->first_sleeper, task);
    if (task->state == CNY_TASK_RUNNING)
        task->state = CNY_TASK_TO_RERUN;
    else if (task->state == CNY_TASK_IDLE || task->state == CNY_TASK_SLEEPING)
        enqueue(workers, task);
}

void cny_workers_schedule(cny_workers *workers, cny_task *task)
{
    pthread_mutex_lock(&workers->lock);
    make_due(workers, task);
    pthread_mutex_unlock(&workers->lock);
}

void cny_workers_hasten(cny_workers *workers, cny_task *task)
{
    pthread_mutex_lock(&workers->lock);
    if (task->state != CNY_TASK_IDLE)
        make_due(workers, task);
    pthread_mutex_unlock(&workers->lock);
}

void cny_workers_schedule_at(cny_workers *workers, cny_task *task, int64_t due)
{
    pthread_mutex_lock(&workers->lock);
    if (task->state == CNY_TASK_SLEEPING && task->due > due) {
        take_out(&workers->first_sleeper, task);
        task->state = CNY_TASK_IDLE;
    }
    if (task->state == CNY_TASK_RUNNING && task->due > due)
        task->due = due;
    else if (task->state == CNY_TASK_IDLE && due < INT64_MAX)
        put_to_sleep(workers, task, due);
    pthread_mutex_unlock(&workers->lock);
}

void cny_workers_withdraw(cny_workers *workers, cny_task *task)
{
    pthread_mutex_lock(&workers->lock);
    if (task->state == CNY_TASK_SLEEPING)
        take_out(&workers->first_sleeper, task);
    else if (task->state == CNY_TASK_QUEUED)
        take_out_of_queue(workers, task);
    task->state = CNY_TASK_IDLE;
    pthread_mutex_unlock(&workers->lock);
}

bool cny_workers_is_idle(cny_workers *workers, const cny_task *task)
{
    pthread_mutex_lock(&workers->lock);
    bool idle = task->state == CNY_TASK_IDLE;
    pthread_mutex_unlock(&workers->lock);
    return idle;
}

bool cny_workers_busy(cny_workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    bool busy = workers->first || (workers->first_sleeper && workers->first_sleeper->due <= cny_now_ms());
    pthread_mutex_unlock(&workers->lock);
    return busy;
}

/* ---- threads ---- */

/* Under lock, which is not held while it runs. */
static void run_next(cny_workers *workers)
{
    cny_task *task = dequeue(workers);
    task->state = CNY_TASK_RUNNING;
    task->due = INT64_MAX;
    pthread_mutex_unlock(&workers->lock);
    task->run(task);
    pthread_mutex_lock(&workers->lock);
    if (task->state == CNY_TASK_TO_RERUN) {
        wake_sleepers(workers); /* those that are due take their turn before this task has another one */
        enqueue(workers, task);
        return;
    }
    task->state = CNY_TASK_IDLE;
    if (task->due < INT64_MAX)
        put_to_sleep(workers, task, task->due);
    if (task->on_idle)
        task->on_idle(task);
}

static void sleep_for_a_task(cny_workers *workers)
{
    bool watch = workers->first_sleeper && !workers->watched;
    int64_t until = watch ? workers->first_sleeper->due : cny_deadline(A_LONG_TIME_MS);
    workers->watched |= watch;
    workers->idle++;
    cny_cond_wait(&workers->changed, &workers->lock, until);
    workers->idle--;
    if (watch)
        workers->watched = false;
}

static void *workers_main(void *argument)
{
    cny_workers *workers = argument;
    const cny_workers_owner owner = workers->owner;
    current = workers;
    owner.begin(owner.self);
    pthread_mutex_lock(&workers->lock);
    while (workers->threads <= workers->wanted) {
        wake_sleepers(workers);
        if (!workers->first || workers->paused) {
            sleep_for_a_task(workers);
            continue;
        }
        if (workers->first_sleeper && !workers->watched)
            wake_one(workers);
        run_next(workers);
    }
    workers->threads--;
    wake_one(workers);
    pthread_mutex_unlock(&workers->lock);
    owner.release(owner.self);
    return NULL;
}

/* Under lock. */
static coney_status add_thread(cny_workers *workers)
{
    const cny_workers_owner *owner = &workers->owner;
    const cny_thread thread = {.name = owner->name, .run = workers_main, .argument = workers};
    owner->hold(owner->self);
    coney_status status = cny_threads_start(owner->threads, owner->thread_owner, &thread);
    workers->threads += status == CONEY_OK;
    if (status != CONEY_OK)
        owner->release(owner->self);
    return status;
}

void cny_workers_pause(cny_workers *workers, bool pause)
{
    pthread_mutex_lock(&workers->lock);
    bool released = workers->paused && !pause;
    workers->paused = pause;
    if (released)
        pthread_cond_broadcast(&workers->changed);
    pthread_mutex_unlock(&workers->lock);
}

coney_status cny_workers_resize(cny_workers *workers, int threads)
{
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&workers->lock);
    workers->wanted = threads;
    while (workers->threads < threads && status == CONEY_OK)
        status = add_thread(workers);
    pthread_cond_broadcast(&workers->changed);
    pthread_mutex_unlock(&workers->lock);
    return status;
}
