/* SPDX-License-Identifier: MIT */
/* The histories of the messages that came back last, by their ids: what has happened to them in this process. Any
 * thread; has a lock of its own. */
#include "rabbit/listener/handling/memory.h"

#include <string.h>

#define SET 16        /* places for ids with the same hash */
#define MIN_KEPT 4096 /* with stateful retry; Spring's cache has 1,000 */
#define MAX_KEPT 65536

struct cny_history_entry {
    uint64_t id;   /* its hash */
    uint64_t used; /* when, as a number that grows; 0: free */
    cny_history history;
};

void cny_histories_init(cny_histories *histories, const coney_listener *options)
{
    uint64_t wanted = 2 * (uint64_t)options->prefetch * (uint64_t)options->max_concurrency;
    histories->sets = (options->retry.stateful ? MIN_KEPT : SET) / SET;
    while (histories->sets * SET < wanted && histories->sets * SET < MAX_KEPT)
        histories->sets *= 2;
    pthread_mutex_init(&histories->lock, NULL);
}

void cny_histories_free(cny_histories *histories)
{
    cny_free(histories->kept);
    pthread_mutex_destroy(&histories->lock);
}

/* The hash is keyed. Else a sender could choose ids of one set, each of which pushes another one out, and no attempt
 * would count. */
static uint64_t hash_of(const char *message_id)
{
    return cny_hash_keyed(message_id, strlen(message_id));
}

/* Under lock. */
static struct cny_history_entry *find(const cny_histories *histories, uint64_t id)
{
    struct cny_history_entry *set = histories->kept ? &histories->kept[id % histories->sets * SET] : NULL;
    for (int i = 0; set && i < SET; i++) {
        if (set[i].used > 0 && set[i].id == id)
            return &set[i];
    }
    return NULL;
}

/* Under lock: in the place of the oldest of its set; NULL without memory. */
static struct cny_history_entry *add(cny_histories *histories, uint64_t id)
{
    if (!histories->kept)
        histories->kept = cny_alloc(histories->sets * SET * sizeof *histories->kept);
    if (!histories->kept)
        return NULL;
    struct cny_history_entry *set = &histories->kept[id % histories->sets * SET], *oldest = set;
    for (int i = 1; i < SET; i++) {
        if (set[i].used < oldest->used)
            oldest = &set[i];
    }
    *oldest = (struct cny_history_entry){.id = id, .used = ++histories->clock};
    return oldest;
}

/* Under lock: the entry of the message, or a new one; NULL without memory. An entry begins anew if it is about an
 * earlier message of that id, or about the same message in another round. */
static struct cny_history_entry *open_for(cny_histories *histories, uint64_t id, const coney_message *message)
{
    struct cny_history_entry *one = find(histories, id);
    if (one && !message->redelivered)
        one->history = (cny_history){0};
    return one ? one : add(histories, id);
}

bool cny_history_note(cny_histories *histories, const coney_message *message, cny_history_event event,
                      cny_history *history)
{
    const char *id = cny_message_id(message);
    if (!id)
        return false;
    pthread_mutex_lock(&histories->lock);
    struct cny_history_entry *one = open_for(histories, hash_of(id), message);
    cny_history now = one ? one->history : (cny_history){0};
    now.failed += event == CNY_HISTORY_FAILED;
    now.unseen += event == CNY_HISTORY_UNSEEN;
    now.survived += event == CNY_HISTORY_SURVIVED;
    if (one)
        one->history = now;
    if (history)
        *history = now;
    pthread_mutex_unlock(&histories->lock);
    return true;
}

bool cny_history_of(cny_histories *histories, const coney_message *message, cny_history *history)
{
    const char *id = cny_message_id(message);
    *history = (cny_history){0};
    if (!id)
        return false;
    pthread_mutex_lock(&histories->lock);
    const struct cny_history_entry *one = find(histories, hash_of(id));
    if (one)
        *history = one->history;
    pthread_mutex_unlock(&histories->lock);
    return one != NULL;
}

void cny_history_forget(cny_histories *histories, const coney_message *message)
{
    const char *id = cny_message_id(message);
    if (!id)
        return;
    pthread_mutex_lock(&histories->lock);
    struct cny_history_entry *one = find(histories, hash_of(id));
    if (one)
        one->used = 0;
    pthread_mutex_unlock(&histories->lock);
}

/* ---- attempts in place ---- */

/* Fragments of a batch share its id, and have attempts of their own. 0: the message has no id. */
static uint64_t id_of(const coney_message *message, int fragment)
{
    const char *id = cny_message_id(message);
    return id ? hash_of(id) + (uint64_t)fragment * 0x9E3779B97F4A7C15U : 0;
}

void cny_history_keep_tries(cny_histories *histories, const coney_message *message, int fragment, int tries)
{
    uint64_t id = id_of(message, fragment);
    if (id == 0)
        return;
    pthread_mutex_lock(&histories->lock);
    struct cny_history_entry *one = open_for(histories, id, message);
    if (one)
        one->history.tries = tries;
    pthread_mutex_unlock(&histories->lock);
}

int cny_history_tries(cny_histories *histories, const coney_message *message, int fragment, bool forget)
{
    uint64_t id = message->redelivered ? id_of(message, fragment) : 0;
    if (id == 0)
        return 0;
    pthread_mutex_lock(&histories->lock);
    struct cny_history_entry *one = find(histories, id);
    int tries = one ? one->history.tries : 0;
    if (one && forget)
        one->history.tries = 0;
    pthread_mutex_unlock(&histories->lock);
    return tries;
}
