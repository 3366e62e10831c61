/* SPDX-License-Identifier: MIT */
/* Waits for the outcome of one message, for a synchronous sender or the holder of a confirmation. The outcome comes
 * once, from the I/O or the recovery thread, and stays. */
#include "rabbit/connection/confirms/outcomes.h"

#include <stdatomic.h>

/* It has a lock of its own, under all others, because its message may be sent again on another connection. */
struct coney_confirmation {
    /* fixed after new */
    atomic_uint refs; /* the waiting thread's and the confirm's */
    unsigned fork_count;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t told;
    bool done;
    bool gone;             /* nobody wants to know any more */
    cny_error *error;      /* fixed once done */
    cny_waiter *next_told; /* I/O thread only: on the list of those that are to be woken, with a reference */
};

cny_waiter *cny_waiter_new(void)
{
    cny_waiter *waiter = cny_alloc(sizeof *waiter);
    if (!waiter)
        return NULL;
    atomic_init(&waiter->refs, 1);
    waiter->fork_count = cny_fork_count();
    pthread_mutex_init(&waiter->lock, NULL);
    cny_cond_init(&waiter->told);
    return waiter;
}

cny_waiter *cny_waiter_ref(cny_waiter *waiter)
{
    if (waiter)
        atomic_fetch_add_explicit(&waiter->refs, 1, memory_order_relaxed);
    return waiter;
}

void cny_waiter_unref(cny_waiter *waiter)
{
    if (!waiter || atomic_fetch_sub_explicit(&waiter->refs, 1, memory_order_acq_rel) != 1)
        return;
    cny_error_unref(waiter->error);
    pthread_cond_destroy(&waiter->told);
    pthread_mutex_destroy(&waiter->lock);
    cny_free(waiter);
}

static bool set(cny_waiter *waiter, cny_error *error)
{
    pthread_mutex_lock(&waiter->lock);
    bool there = !waiter->gone;
    waiter->error = cny_error_ref(error);
    waiter->done = true;
    pthread_mutex_unlock(&waiter->lock);
    return there;
}

bool cny_waiter_tell(cny_waiter *waiter, cny_error *error)
{
    bool there = set(waiter, error);
    pthread_cond_broadcast(&waiter->told);
    return there;
}

bool cny_waiter_tell_later(cny_waiter *waiter, cny_error *error, cny_waiter **told)
{
    waiter->next_told = *told;
    *told = cny_waiter_ref(waiter);
    return set(waiter, error);
}

int cny_waiters_wake(cny_waiter **told)
{
    int count = 0;
    for (; *told; count++) {
        cny_waiter *waiter = *told;
        *told = waiter->next_told;
        pthread_cond_broadcast(&waiter->told);
        cny_waiter_unref(waiter);
    }
    return count;
}

bool cny_waiter_wait(cny_waiter *waiter, int64_t deadline)
{
    bool in_time = true;
    pthread_mutex_lock(&waiter->lock);
    while (!waiter->done && in_time)
        in_time = cny_cond_wait(&waiter->told, &waiter->lock, deadline);
    bool done = waiter->done;
    pthread_mutex_unlock(&waiter->lock);
    return done;
}

bool cny_waiter_is_of_process(const cny_waiter *waiter)
{
    return waiter->fork_count == cny_fork_count();
}

const cny_error *cny_waiter_outcome(const cny_waiter *waiter)
{
    return waiter->error;
}

bool cny_waiter_give_up(cny_waiter *waiter)
{
    pthread_mutex_lock(&waiter->lock);
    waiter->gone = !waiter->done;
    bool gone = waiter->gone;
    pthread_mutex_unlock(&waiter->lock);
    return gone;
}
