/* SPDX-License-Identifier: MIT */
#include "chaos/settlers.h"

#include "chaos/dice.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { SETTLERS = 2, TICK_MS = 2, MOST_LATE_MS = 3000 };
enum { OUT_OF = 100000, FAILED = 300, REQUEUED = 300, LET_GO = 100, STOPPED = 10, TWICE = 1000 };

typedef struct task {
    struct task *next;
    coney_delivery *delivery;
    int64_t id;
    int queue;
    int64_t due_ms;
} task;

static pthread_t threads[SETTLERS];
static int started;
static dice chance;
static atomic_bool calm, closing;
static atomic_int_least64_t settled, stale, let_go;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static task *tasks; /* under lock */

/* One in fifty waits, so that most are not behind those. */
static int draw_delay(void)
{
    return !atomic_load(&calm) && dice_between(&chance, 1, 50) == 1 ? dice_between(&chance, 0, MOST_LATE_MS) : 0;
}

void settle_later(coney_delivery *delivery, int64_t id, int queue)
{
    task *made = malloc(sizeof *made);
    if (!made)
        abort();
    *made = (task){
        .delivery = coney_delivery_ref(delivery), .id = id, .queue = queue, .due_ms = cny_now_ms() + draw_delay()};
    pthread_mutex_lock(&lock);
    made->next = tasks;
    tasks = made;
    pthread_mutex_unlock(&lock);
}

static task *take_due(void)
{
    int64_t now = cny_now_ms();
    pthread_mutex_lock(&lock);
    task **at = &tasks;
    while (*at && (*at)->due_ms > now)
        at = &(*at)->next;
    task *taken = *at;
    if (taken)
        *at = taken->next;
    pthread_mutex_unlock(&lock);
    return taken;
}

/* 0: let it go. */
static coney_outcome draw_outcome(void)
{
    if (atomic_load(&calm))
        return CONEY_ACK;
    int number = dice_between(&chance, 0, OUT_OF - 1);
    if ((number -= FAILED) < 0)
        return CONEY_RETRY;
    if ((number -= REQUEUED) < 0)
        return CONEY_REQUEUE;
    if ((number -= STOPPED) < 0)
        return CONEY_STOP;
    return number < LET_GO ? (coney_outcome)0 : CONEY_ACK;
}

static void settle(const task *what, coney_outcome outcome)
{
    coney_status status = coney_delivery_settle(what->delivery, outcome);
    if (status == CONEY_E_STALE)
        atomic_fetch_add(&stale, 1);
    else if (status != CONEY_OK)
        account_surprise(coney_last_error());
    else if (outcome == CONEY_ACK)
        account_handle(what->id, what->queue);
    atomic_fetch_add(&settled, 1);
    if (dice_between(&chance, 1, OUT_OF) <= TWICE && coney_delivery_settle(what->delivery, CONEY_ACK) != CONEY_E_STATE)
        account_surprise("a delivery was settled twice");
}

static void finish(task *what)
{
    coney_outcome outcome = draw_outcome();
    if (outcome)
        settle(what, outcome);
    else
        atomic_fetch_add(&let_go, 1);
    coney_delivery_unref(what->delivery);
    free(what);
}

static void *run(void *unused)
{
    while (!atomic_load(&closing)) {
        for (task *next; (next = take_due());)
            finish(next);
        sleep_ms(TICK_MS);
    }
    return unused;
}

bool settlers_start(uint64_t seed)
{
    atomic_store(&chance.state, seed);
    while (started < SETTLERS && pthread_create(&threads[started], NULL, run, NULL) == 0)
        started++;
    return started == SETTLERS;
}

void settlers_stop(void)
{
    atomic_store(&closing, true);
    while (started > 0)
        pthread_join(threads[--started], NULL);
    for (task *next; (next = tasks);) {
        tasks = next->next;
        finish(next);
    }
}

void settlers_calm_down(void)
{
    atomic_store(&calm, true);
}

void settlers_print(void)
{
    printf("  settled elsewhere %" PRId64 ", stale %" PRId64 ", let go %" PRId64 "\n", atomic_load(&settled),
           atomic_load(&stale), atomic_load(&let_go));
}
