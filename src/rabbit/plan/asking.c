/* SPDX-License-Identifier: MIT */
/* Asks the broker by passive declarations whether things are there. Each answer is waited for, and a missing thing
 * costs its channel, so several threads ask, each on a channel of its own: the time is that of the round trips. It must
 * not know arguments, of which passive declarations tell nothing. */
#include "amqp/amqp.h"
#include "rabbit/plan/plan.h"

#include <pthread.h>

#define MOST_THREADS 40 /* a thousand missing things at 50 ms take 25 times two round trips then */

typedef struct asking {
    /* fixed */
    coney_plan *plan;
    coney_connection_factory *factory;
    int timeout_ms;
    /* under lock */
    pthread_mutex_t lock;
    size_t next;
    cny_error *failure; /* the first one; then nobody goes on */
} asking;

/* NULL: there is nothing left to do. Bindings cannot be asked for. */
static coney_plan_entry *take_next(asking *one)
{
    size_t count;
    coney_plan_entry *entries = cny_plan_entries(one->plan, &count), *taken = NULL;
    pthread_mutex_lock(&one->lock);
    while (!taken && !one->failure && one->next < count) {
        coney_plan_entry *entry = &entries[one->next++];
        if (entry->kind != CONEY_DECLARATION_BINDING)
            taken = entry;
    }
    pthread_mutex_unlock(&one->lock);
    return taken;
}

static bool is_over(asking *one)
{
    size_t count;
    cny_plan_entries(one->plan, &count);
    pthread_mutex_lock(&one->lock);
    bool over = one->failure || one->next >= count;
    pthread_mutex_unlock(&one->lock);
    return over;
}

/* This thread's last error is why asking ends. */
static void fail(asking *one)
{
    pthread_mutex_lock(&one->lock);
    if (!one->failure)
        one->failure = cny_error_capture();
    pthread_mutex_unlock(&one->lock);
}

static coney_status ask(cny_channel *channel, const coney_plan_entry *entry, int64_t deadline)
{
    return entry->kind == CONEY_DECLARATION_QUEUE
               ? cny_channel_declare_queue(channel, &(coney_queue){.name = entry->name}, true, NULL, deadline)
               : cny_channel_declare_exchange(channel, &(coney_exchange){.name = entry->name}, true, deadline);
}

/* False if the answer says nothing about the thing. A queue that another connection has exclusively is there. */
static bool note_answer(coney_plan_entry *entry, coney_status status)
{
    switch (status) {
    case CONEY_OK:
    case CONEY_E_RESOURCE_LOCKED: entry->state = CONEY_PLAN_THERE; return true;
    case CONEY_E_NOT_FOUND: entry->state = CONEY_PLAN_MISSING; return true;
    case CONEY_E_ACCESS_REFUSED: entry->state = CONEY_PLAN_UNKNOWN; return true;
    default: return false;
    }
}

static void drop(cny_channel **channel)
{
    if (!*channel)
        return;
    cny_channel_close(*channel);
    cny_channel_unref(*channel);
    *channel = NULL;
}

/* Asks for as long as there is something to ask and a channel. */
static coney_status ask_some(asking *one)
{
    cny_channel *channel = NULL;
    while (!is_over(one)) {
        int64_t deadline = cny_deadline(one->timeout_ms);
        coney_status status =
            channel ? CONEY_OK : cny_channel_open(&channel, one->factory, CONEY_CONSUMING, false, deadline);
        if (status != CONEY_OK)
            return status;
        coney_plan_entry *entry = take_next(one);
        if (!entry)
            break;
        status = ask(channel, entry, deadline);
        if (!note_answer(entry, status))
            fail(one);
        if (status != CONEY_OK)
            drop(&channel);
    }
    drop(&channel);
    return CONEY_OK;
}

/* If there are not enough channels, others go on. */
static void *help(void *argument)
{
    asking *one = argument;
    if (ask_some(one) != CONEY_OK && coney_last_error_details()->status != CONEY_E_LIMIT)
        fail(one);
    return NULL;
}

coney_status cny_plan_ask(coney_plan *plan, coney_admin *admin)
{
    asking one = {.plan = plan, .factory = cny_admin_factory(admin), .timeout_ms = cny_admin_timeout_ms(admin)};
    pthread_t threads[MOST_THREADS];
    const cny_thread thread = {.name = "coney-plan", .run = help, .argument = &one};
    size_t count, started = 0;
    cny_plan_entries(plan, &count);
    pthread_mutex_init(&one.lock, NULL);
    coney_status status = CONEY_OK;
    while (status == CONEY_OK && started < MOST_THREADS && started < count) {
        status = cny_thread_start(&threads[started], &thread);
        started += status == CONEY_OK;
    }
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    if (ask_some(&one) != CONEY_OK) /* for what is left, if threads or channels were missing */
        fail(&one);
    pthread_mutex_destroy(&one.lock);
    status = one.failure ? cny_error_raise(one.failure) : CONEY_OK;
    cny_error_unref(one.failure);
    return status;
}
