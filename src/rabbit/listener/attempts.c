/* SPDX-License-Identifier: MIT */
/* Which attempt to handle a message this is: what headers tell, and for stateful retry a memory of the ids of those
 * that failed last. */
#include "rabbit/listener/listener.h"

#include <string.h>

#define MOST (INT32_MAX / 4) /* attempts that are believed: anyone may send headers */
#define KEPT 1000            /* Spring's cache of stateful retries */

/* ---- headers ---- */

static int64_t count_in(const coney_table *headers, const char *name)
{
    int64_t count = coney_table_get_int64(headers, name, 0);
    return count > 0 && count < MOST ? count : 0;
}

static bool is_text(const char *text, const char *expected)
{
    return text && strcmp(text, expected) == 0;
}

/* The entry for one queue and reason. (Broker: a dead-lettered message.) */
static const coney_table *death_at(const coney_array *deaths, size_t index)
{
    const coney_value *value = coney_array_at(deaths, index);
    return value->type == CONEY_TABLE ? value->as.table : NULL;
}

static const coney_array *deaths_of(const coney_message *message)
{
    const coney_value *value = coney_message_header(message, "x-death");
    return value && value->type == CONEY_ARRAY ? value->as.array : NULL;
}

static int64_t rejections(const char *queue, const coney_message *message)
{
    const coney_array *deaths = deaths_of(message);
    int64_t count = 0;
    for (size_t i = 0; deaths && i < coney_array_size(deaths); i++) {
        const coney_table *death = death_at(deaths, i);
        if (is_text(coney_table_get_string(death, "queue"), queue) &&
            is_text(coney_table_get_string(death, "reason"), "rejected"))
            count += count_in(death, "count");
    }
    return count;
}

int cny_rounds(const coney_message *message)
{
    return (int)count_in(message->properties.headers, CONEY_HEADER_RETRY_COUNT);
}

static bool is_of_ladder(const cny_listener *listener, const char *queue)
{
    for (int i = 0; i < listener->delay_count; i++) {
        if (is_text(queue, listener->delay_queues[i]))
            return true;
    }
    return false;
}

bool cny_came_from_dead_letters(const cny_listener *listener, const coney_message *message)
{
    const coney_array *deaths = deaths_of(message);
    for (size_t i = 0; deaths && i < coney_array_size(deaths); i++) {
        if (!is_of_ladder(listener, coney_table_get_string(death_at(deaths, i), "queue")))
            return true;
    }
    return false;
}

/* ---- the memory ---- */

struct cny_attempt {
    char message_id[CNY_MAX_SHORT_STRING + 1];
    int count; /* 0: free */
};

bool cny_attempts_init(cny_attempts *attempts)
{
    return pthread_mutex_init(&attempts->lock, NULL) == 0;
}

void cny_attempts_free(cny_attempts *attempts)
{
    cny_free(attempts->kept);
    pthread_mutex_destroy(&attempts->lock);
}

/* Under lock. */
static struct cny_attempt *find(const cny_attempts *attempts, const char *message_id)
{
    for (size_t i = 0; attempts->kept && i < KEPT; i++) {
        if (attempts->kept[i].count > 0 && strcmp(attempts->kept[i].message_id, message_id) == 0)
            return &attempts->kept[i];
    }
    return NULL;
}

/* Under lock: in the place of the oldest; NULL without memory. */
static struct cny_attempt *add(cny_attempts *attempts, const char *message_id)
{
    if (!attempts->kept)
        attempts->kept = cny_alloc(KEPT * sizeof *attempts->kept);
    if (!attempts->kept)
        return NULL;
    struct cny_attempt *one = &attempts->kept[attempts->next++ % KEPT];
    one->count = 0;
    memcpy(one->message_id, message_id, strlen(message_id) + 1);
    return one;
}

int cny_attempts_add(cny_attempts *attempts, const char *message_id)
{
    pthread_mutex_lock(&attempts->lock);
    struct cny_attempt *one = find(attempts, message_id);
    if (!one)
        one = add(attempts, message_id);
    int count = one ? ++one->count : 1;
    pthread_mutex_unlock(&attempts->lock);
    return count;
}

void cny_attempts_forget(cny_attempts *attempts, const char *message_id)
{
    pthread_mutex_lock(&attempts->lock);
    struct cny_attempt *one = find(attempts, message_id);
    if (one)
        one->count = 0;
    pthread_mutex_unlock(&attempts->lock);
}

/* Since it was delivered for the first time. */
int cny_attempts_of(cny_attempts *attempts, const char *message_id)
{
    pthread_mutex_lock(&attempts->lock);
    const struct cny_attempt *one = find(attempts, message_id);
    int count = one ? one->count : 0;
    pthread_mutex_unlock(&attempts->lock);
    return count;
}

/* ---- both together ---- */

const char *cny_countable_id(const coney_message *message)
{
    const char *id = message->properties.message_id;
    return id && *id ? id : NULL; /* some clients send an empty one with each message */
}

int64_t cny_redeliveries(cny_listener *listener, const coney_message *message)
{
    const coney_table *headers = message->properties.headers;
    if (coney_table_get(headers, "x-acquired-count"))
        return count_in(headers, "x-acquired-count");
    if (coney_table_get(headers, "x-delivery-count"))
        return count_in(headers, "x-delivery-count");
    const char *id = cny_countable_id(message);
    int64_t count =
        message->redelivered && listener->options.retry.stateful && id ? cny_attempts_of(&listener->attempts, id) : 0;
    return count > 0 ? count : message->redelivered;
}

int cny_earlier_attempts(cny_listener *listener, const coney_message *message)
{
    const coney_table *headers = message->properties.headers;
    int64_t before = coney_table_get(headers, CONEY_HEADER_ATTEMPTS) ? count_in(headers, CONEY_HEADER_ATTEMPTS)
                                                                     : cny_rounds(message);
    int64_t count = before + cny_redeliveries(listener, message) + rejections(listener->options.queue, message);
    return count < MOST ? (int)count : MOST;
}
