/* SPDX-License-Identifier: MIT */
/* One byte for each id holds what has happened to it. Who sets a bit learns what was there before,
 * so every counter is moved by exactly one thread. */
#include "chaos/account.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

enum { CONFIRMED = 1, FAILED = 2, REFUSED = 4, TRIED = 8, HANDLED = 16 };
enum { STATUSES = CONEY_E_REMOTE_ERROR + 1, WATCH_MS = 10, SHOWN_IDS = 10 };

typedef atomic_int_least64_t counter;

static atomic_uchar *marks;
static int64_t last_id;
static counter next_id, confirmed, refused, handled, duplicates, waiting;
static counter failed[STATUSES];
static counter calls[QUEUES];
static counter last_call_ms;

static counter answered_twice, handled_though_refused, corrupt, surprises;

static pthread_t watcher;
static atomic_bool closing;
static counter longest_silence_ms, longest_wait_ms; /* the watcher's */

void sleep_ms(int ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
}

/* ---- the life of a message ---- */

int64_t account_publish(void)
{
    int64_t id = atomic_fetch_add(&next_id, 1) + 1;
    return id <= last_id ? id : 0;
}

static unsigned char mark(int64_t id, unsigned char bit)
{
    return atomic_fetch_or(&marks[id], bit);
}

void account_complete(int64_t id, coney_status status)
{
    unsigned char before = mark(id, status == CONEY_OK ? CONFIRMED : FAILED);
    if (before & (CONFIRMED | FAILED))
        atomic_fetch_add(&answered_twice, 1);
    else if (status != CONEY_OK)
        atomic_fetch_add(&failed[status], 1);
    else {
        atomic_fetch_add(&confirmed, 1);
        if (!(before & HANDLED))
            atomic_fetch_add(&waiting, 1);
    }
}

void account_refuse(int64_t id, coney_status status)
{
    account_complete(id, status);
    atomic_fetch_add(&refused, 1);
    if (mark(id, REFUSED) & TRIED)
        atomic_fetch_add(&handled_though_refused, 1);
}

void account_try(int64_t id)
{
    if ((mark(id, TRIED) & (REFUSED | TRIED)) == REFUSED)
        atomic_fetch_add(&handled_though_refused, 1);
}

void account_handle(int64_t id, int queue)
{
    unsigned char before = mark(id, HANDLED);
    if (before & HANDLED)
        atomic_fetch_add(&duplicates, 1);
    else {
        atomic_fetch_add(&handled, 1);
        if (before & CONFIRMED)
            atomic_fetch_sub(&waiting, 1);
    }
    atomic_store(&last_call_ms, cny_now_ms());
    atomic_fetch_add(&calls[queue], 1);
}

void account_corrupt(void)
{
    atomic_fetch_add(&corrupt, 1);
}

void account_surprise(const char *what)
{
    if (atomic_fetch_add(&surprises, 1) < SHOWN_IDS)
        fprintf(stderr, "\nchaos: %s\n", what);
}

int64_t account_waiting(void)
{
    return atomic_load(&waiting);
}

int64_t account_handler_calls(int queue)
{
    return atomic_load(&calls[queue]);
}

static int64_t larger(int64_t one, int64_t other)
{
    return one > other ? one : other;
}

/* Silence is no handler running, whatever the reason; a wait is silence while the broker has messages. */
static void *watch(void *unused)
{
    int64_t idle_ms = cny_now_ms(); /* when it had none */
    while (!atomic_load(&closing)) {
        int64_t now = cny_now_ms();
        int64_t call_ms = atomic_load(&last_call_ms);
        if (atomic_load(&waiting) <= 0)
            idle_ms = now;
        if (call_ms > 0)
            longest_silence_ms = larger(longest_silence_ms, now - call_ms);
        longest_wait_ms = larger(longest_wait_ms, now - larger(call_ms, idle_ms));
        sleep_ms(WATCH_MS);
    }
    return unused;
}

bool account_open(int64_t ids)
{
    last_id = ids;
    marks = calloc((size_t)ids + 1, sizeof *marks);
    return marks && pthread_create(&watcher, NULL, watch, NULL) == 0;
}

void account_close(void)
{
    atomic_store(&closing, true);
    pthread_join(watcher, NULL);
    free(marks);
}

/* ---- the end ---- */

static int64_t published(void)
{
    int64_t ids = atomic_load(&next_id);
    return ids < last_id ? ids : last_id;
}

static bool is_lost(int64_t id)
{
    return (atomic_load(&marks[id]) & (CONFIRMED | HANDLED)) == CONFIRMED;
}

static int64_t count_lost(void)
{
    int64_t lost = 0;
    for (int64_t id = 1; id <= published(); id++)
        lost += is_lost(id);
    return lost;
}

static int64_t count_failed(void)
{
    int64_t sum = 0;
    for (int i = 0; i < STATUSES; i++)
        sum += atomic_load(&failed[i]);
    return sum;
}

static void print_failed(void)
{
    printf("  failed      %9" PRId64, count_failed());
    for (int i = 0; i < STATUSES; i++) {
        if (atomic_load(&failed[i]))
            printf("  %s %" PRId64, coney_status_name((coney_status)i), atomic_load(&failed[i]));
    }
    printf("\n");
}

static void print_lost(int64_t lost)
{
    printf("  lost        %9" PRId64, lost);
    int shown = 0;
    for (int64_t id = 1; id <= published() && shown < SHOWN_IDS; id++) {
        if (is_lost(id))
            printf("%s %" PRId64, shown++ ? "," : "  ids", id);
    }
    printf("%s\n", lost > shown ? " ..." : "");
}

int64_t account_print(void)
{
    struct rusage usage;
    int64_t lost = count_lost();
    getrusage(RUSAGE_SELF, &usage);
    printf("  published   %9" PRId64 "\n", published());
    printf("  confirmed   %9" PRId64 "\n", atomic_load(&confirmed));
    print_failed();
    printf("  handled     %9" PRId64 "\n", atomic_load(&handled));
    printf("  duplicates  %9" PRId64 "\n", atomic_load(&duplicates));
    print_lost(lost);
    printf("  longest time without a handled message %.2f s, with confirmed ones waiting %.2f s\n",
           (double)longest_silence_ms / 1000, (double)longest_wait_ms / 1000);
    printf("  peak memory %ld MB\n", usage.ru_maxrss / 1024);
    return lost;
}

static bool never(int64_t count, const char *what)
{
    if (count)
        fprintf(stderr, "chaos: %" PRId64 " %s\n", count, what);
    return count == 0;
}

bool account_possible(void)
{
    int64_t unanswered = published() - atomic_load(&confirmed) - count_failed();
    bool possible = never(unanswered, "sends were never answered");
    possible &= never(atomic_load(&answered_twice), "sends were answered twice");
    possible &= never(atomic_load(&handled_though_refused),
                      "messages arrived although their sends said that they did not leave");
    possible &= never(atomic_load(&corrupt), "messages arrived that nobody had sent in that form");
    possible &= never(atomic_load(&surprises), "other things that must not be");
    return possible;
}

void account_print_last_line(void)
{
    printf("confirmed %" PRId64 " handled %" PRId64 " duplicates %" PRId64 " lost %" PRId64 "\n",
           atomic_load(&confirmed), atomic_load(&handled), atomic_load(&duplicates), count_lost());
}
