/* SPDX-License-Identifier: MIT */
/* The monotonic clock, conditions that wait by it, the count of forks, and random numbers. Any thread. */
#include "base/base.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/random.h>
#include <time.h>

int64_t cny_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int64_t cny_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t cny_deadline(int timeout_ms)
{
    return cny_now_ms() + timeout_ms;
}

int64_t cny_deadline_about(int timeout_ms)
{
    struct timespec now;
#ifdef CLOCK_MONOTONIC_COARSE
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
#else
    clock_gettime(CLOCK_MONOTONIC, &now);
#endif
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + timeout_ms + CNY_COARSE_MS;
}

void cny_busy_mutex_init(pthread_mutex_t *mutex)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
#ifdef __GLIBC__ /* spins a moment before it sleeps */
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

bool cny_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    if (pthread_condattr_init(&attributes) != 0)
        return false;
    bool done =
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0 && pthread_cond_init(cond, &attributes) == 0;
    pthread_condattr_destroy(&attributes);
    return done;
}

bool cny_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, int64_t deadline)
{
    struct timespec until = {.tv_sec = (time_t)(deadline / 1000), .tv_nsec = (long)(deadline % 1000) * 1000000};
    return pthread_cond_timedwait(cond, mutex, &until) != ETIMEDOUT;
}

static atomic_uint forks;

static void count_fork(void)
{
    atomic_fetch_add(&forks, 1);
    cny_outcomes_forget();
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, count_fork);
}

unsigned cny_fork_count(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    return atomic_load_explicit(&forks, memory_order_relaxed);
}

uint32_t cny_random(uint32_t below)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, GRND_NONBLOCK) != sizeof random)
        random = (uint32_t)cny_now_ms() *
                 2654435761U; /* early at boot there are none; the time is enough to spread clients */
    return (uint32_t)(((uint64_t)random * below) >> 32);
}
