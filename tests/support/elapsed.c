/* SPDX-License-Identifier: MIT */
#include "support/elapsed.h"
#include "support/cmocka.h"

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLACK_MS 400
#else
#define SLACK_MS 100
#endif
#define BUSY_SLACK_MS (SLACK_MS + 300)

enum { NAP_MS = 5, MAX_NAPS = 16384 }; /* the last so many that were too long, or on a busy machine */

static struct {
    pthread_mutex_t lock;
    int64_t began; /* the nap that has not ended */
    size_t count;
    struct {
        int64_t ended_at;
        int late_us;
    } naps[MAX_NAPS];
} seen = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int processors(void)
{
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

/* Threads of the whole machine that want to run just now, without this one; 0 if that is not known. */
static int count_runnable(void)
{
    char text[128] = "";
    int runnable = 0, fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    return got > 0 && sscanf(text, "%*s %*s %*s %d/", &runnable) == 1 ? runnable - 1 : 0;
}

/* What a thread that always wants to run waits for its turn in that time, when others do, too. */
static int waited_us(int64_t ms, int runnable, int count)
{
    return runnable > 0 && runnable > count ? (int)(ms * 1000 * (runnable - count) / runnable) : 0;
}

/* Under lock. */
static int overslept_ms(int64_t now)
{
    int late_ms = (int)(now - seen.began) - NAP_MS - 1;
    return late_ms > 0 ? late_ms : 0;
}

static void *sleep_and_see(void *unused)
{
    int count = processors();
    for (;;) {
        poll(NULL, 0, NAP_MS);
        int runnable = count_runnable();
        pthread_mutex_lock(&seen.lock);
        int64_t now = cny_now_ms();
        int late_us = overslept_ms(now) * 1000 + waited_us(now - seen.began, runnable, count);
        if (late_us > 0) {
            seen.naps[seen.count % MAX_NAPS].ended_at = now;
            seen.naps[seen.count % MAX_NAPS].late_us = late_us;
            seen.count++;
        }
        seen.began = now;
        pthread_mutex_unlock(&seen.lock);
    }
    return unused;
}

static void __attribute__((constructor)) start(void)
{
    pthread_t thread;
    seen.began = cny_now_ms();
    if (cny_thread_start(&thread, &(cny_thread){.name = "test-lateness", .run = sleep_and_see}) != CONEY_OK)
        abort();
    pthread_detach(thread);
}

int test_late_ms(int64_t since_ms)
{
    pthread_mutex_lock(&seen.lock);
    int64_t late_us = (int64_t)overslept_ms(cny_now_ms()) * 1000; /* the sleeper may be the last to wake */
    size_t oldest = seen.count > MAX_NAPS ? seen.count - MAX_NAPS : 0;
    for (size_t i = seen.count; i > oldest && seen.naps[(i - 1) % MAX_NAPS].ended_at > since_ms; i--)
        late_us += seen.naps[(i - 1) % MAX_NAPS].late_us;
    pthread_mutex_unlock(&seen.lock);
    return (int)(late_us / 1000);
}

/* Threads that work wait for their turn longer than one that sleeps. */
static bool is_busy(void)
{
    double load;
    return getloadavg(&load, 1) == 1 && load > processors();
}

int test_slack_ms(int64_t since_ms)
{
    return (is_busy() ? BUSY_SLACK_MS : SLACK_MS) + test_late_ms(since_ms);
}

void test_expect_elapsed(int64_t since_ms, int at_least_ms, int at_most_ms)
{
    int elapsed = (int)(cny_now_ms() - since_ms), slack = test_slack_ms(since_ms);
    if (elapsed < at_least_ms || elapsed > at_most_ms + slack)
        fail_msg("it took %d ms, not %d to %d (and %d); the last error: %s", elapsed, at_least_ms, at_most_ms, slack,
                 coney_last_error());
}
