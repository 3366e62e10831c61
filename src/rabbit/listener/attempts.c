/* SPDX-License-Identifier: MIT */
/* Which attempt to handle a message this is. Three witnesses know something: headers that the broker writes, headers
 * that the ladder writes, which are believed only if the broker says that the message comes from there, and a memory
 * by message id of what has happened to messages in this process. */
#include "rabbit/listener/listener.h"

#include <string.h>

#define MOST (INT32_MAX / 4) /* a larger number of attempts counts as this: anyone may send headers */
#define SET 16               /* places for ids with the same hash */
#define MIN_KEPT 4096        /* with stateful retry; Spring's cache has 1,000 */
#define MAX_KEPT 65536

/* ---- headers ---- */

static int64_t count_in(const coney_table *headers, const char *name)
{
    int64_t count = coney_table_get_int64(headers, name, 0);
    return count < 0 ? 0 : count < MOST ? count : MOST;
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

static bool is_rejection(const coney_table *death, const char *queue)
{
    return (!queue || is_text(coney_table_get_string(death, "queue"), queue)) &&
           is_text(coney_table_get_string(death, "reason"), "rejected");
}

/* By this queue; by any if it is NULL. All entries are read: whoever sends a message may put any number of them before
 * the broker's, and of a message that can be read there are no more than its headers may have entries. */
static int64_t rejections(const char *queue, const coney_message *message)
{
    const coney_array *deaths = deaths_of(message);
    size_t entries = coney_array_size(deaths);
    int64_t count = 0;
    for (size_t i = 0; i < entries; i++) {
        const coney_table *death = death_at(deaths, i);
        if (is_rejection(death, queue))
            count += count_in(death, "count");
    }
    return count < MOST ? count : MOST;
}

/* A queue has rejected it, or found its count too high: so the broker has counted before the message came here. */
static bool has_counted_death(const coney_message *message)
{
    const coney_array *deaths = deaths_of(message);
    bool has = false;
    for (size_t i = 0; i < coney_array_size(deaths) && !has; i++) {
        const coney_table *death = death_at(deaths, i);
        has = is_rejection(death, NULL) || is_text(coney_table_get_string(death, "reason"), "delivery_limit");
    }
    return has;
}

/* The death that has brought the message here: the broker puts the latest one first. */
static const coney_table *latest_death(const coney_message *message)
{
    const coney_array *deaths = deaths_of(message);
    return deaths && coney_array_size(deaths) > 0 ? death_at(deaths, 0) : NULL;
}

bool cny_was_dead_lettered(const coney_message *message)
{
    return latest_death(message) != NULL;
}

static bool has_expired(const coney_table *death)
{
    return is_text(coney_table_get_string(death, "reason"), "expired");
}

/* A message that was rejected after the ladder, or forwarded to another queue, begins anew there. */
static bool comes_from(const coney_message *message, const char *delay_queue)
{
    const coney_table *latest = latest_death(message);
    return is_text(coney_table_get_string(latest, "queue"), delay_queue) && has_expired(latest);
}

int cny_rounds(const cny_listener *listener, const coney_message *message)
{
    int64_t round = count_in(message->properties.headers, CONEY_HEADER_RETRY_COUNT);
    bool is_ours =
        round > 0 && round <= listener->spec.delay_count && comes_from(message, listener->spec.delay_queues[round - 1]);
    return is_ours ? (int)round : 0;
}

/* The sum may wrap, as the broker's own count does after INT64_MAX. */
bool cny_is_round(const cny_listener *listener, const coney_message *message, uint64_t *rejections)
{
    const char *queue = listener->spec.options.queue;
    const coney_table *latest = latest_death(message);
    const coney_array *deaths = deaths_of(message);
    bool is_round = false;
    *rejections = 0;
    if (!has_expired(latest) || is_text(coney_table_get_string(latest, "queue"), queue))
        return false;
    for (size_t i = 0; i < coney_array_size(deaths); i++) {
        const coney_table *death = death_at(deaths, i);
        if (is_rejection(death, queue)) {
            is_round = true;
            *rejections += (uint64_t)coney_table_get_int64(death, "count", 0);
        }
    }
    return is_round;
}

/* ---- the broker's count ---- */

/* A quorum queue counts each message that comes back to it, so a redelivery without a count proves that the queue is
 * no quorum queue. Without this, a count that a publisher has written himself would be believed as soon as his message
 * comes back, on a classic queue of which nobody says what it is. */
static void note_no_count(cny_listener *listener)
{
    int unknown = CONEY_QUEUE_DEFAULT;
    atomic_compare_exchange_strong(&listener->spec.queue.kind, &unknown, CONEY_CLASSIC);
}

/* How often the message has come back to this queue, by the count of a quorum queue; -1: nobody has counted. Who sends
 * a message may send such a header, too, but the broker replaces that when the message comes back.
 *
 * A rejected message keeps its count when it is dead-lettered. RabbitMQ 3.10 starts anew when it comes to its next
 * queue. RabbitMQ 4.0 starts anew there, too, but shows the number of rejections until the message comes back for the
 * first time. RabbitMQ 4.3, the only one with x-acquired-count, goes on counting, so rejections by any queue are a part
 * of its count: if there are more of them, the broker has not written them, or they were made by basic.nack. */
static int64_t counted_returns(cny_listener *listener, const coney_message *message)
{
    const coney_table *headers = message->properties.headers;
    bool has_acquired = coney_table_get(headers, CNY_HEADER_ACQUIRED) != NULL;
    if (!message->redelivered || cny_spec_queue_kind(&listener->spec) == CONEY_CLASSIC)
        return -1;
    if (!has_acquired && !coney_table_get(headers, CNY_HEADER_DELIVERED)) {
        note_no_count(listener);
        return -1;
    }
    int64_t count = count_in(headers, CNY_HEADER_DELIVERED);
    int64_t here = rejections(listener->spec.options.queue, message), anywhere = rejections(NULL, message);
    if (has_acquired)
        return count >= anywhere ? count - anywhere : count;
    bool is_of_4_0 = coney_table_get(headers, "x-last-death-queue") != NULL;
    return is_of_4_0 && count > 0 && (count == here || count == anywhere) ? 0 : count;
}

/* ---- the memory ---- */

struct cny_attempt {
    uint64_t id;   /* its hash */
    uint64_t used; /* when, as a number that grows; 0: free */
    cny_history history;
};

bool cny_attempts_init(cny_attempts *attempts)
{
    return pthread_mutex_init(&attempts->lock, NULL) == 0;
}

void cny_attempts_size_for(cny_attempts *attempts, const coney_listener *options)
{
    uint64_t wanted = 2 * (uint64_t)options->prefetch * (uint64_t)options->max_concurrency;
    attempts->sets = (options->retry.stateful ? MIN_KEPT : SET) / SET;
    while (attempts->sets * SET < wanted && attempts->sets * SET < MAX_KEPT)
        attempts->sets *= 2;
}

void cny_attempts_free(cny_attempts *attempts)
{
    cny_free(attempts->kept);
    pthread_mutex_destroy(&attempts->lock);
}

/* Keyed, or a sender could choose ids of one set, of which each pushes another one out, so that no attempt counts. */
static uint64_t hash_of(const char *message_id)
{
    return cny_hash_keyed(message_id, strlen(message_id));
}

/* Under lock. */
static struct cny_attempt *find(const cny_attempts *attempts, uint64_t id)
{
    struct cny_attempt *set = attempts->kept ? &attempts->kept[id % attempts->sets * SET] : NULL;
    for (int i = 0; set && i < SET; i++) {
        if (set[i].used > 0 && set[i].id == id)
            return &set[i];
    }
    return NULL;
}

/* Under lock: in the place of the oldest of its set; NULL without memory. */
static struct cny_attempt *add(cny_attempts *attempts, uint64_t id)
{
    if (!attempts->kept)
        attempts->kept = cny_alloc(attempts->sets * SET * sizeof *attempts->kept);
    if (!attempts->kept)
        return NULL;
    struct cny_attempt *set = &attempts->kept[id % attempts->sets * SET], *oldest = set;
    for (int i = 1; i < SET; i++) {
        if (set[i].used < oldest->used)
            oldest = &set[i];
    }
    *oldest = (struct cny_attempt){.id = id, .used = ++attempts->clock};
    return oldest;
}

/* Under lock: the one there is, begun anew if it is about an earlier message of that id, or about the same in another
 * round; or a new one; NULL without memory. */
static struct cny_attempt *open_for(cny_attempts *attempts, uint64_t id, const coney_message *message)
{
    struct cny_attempt *one = find(attempts, id);
    if (one && !message->redelivered)
        one->history = (cny_history){0};
    return one ? one : add(attempts, id);
}

bool cny_attempts_note(cny_attempts *attempts, const coney_message *message, cny_deed deed, cny_history *history)
{
    const char *id = cny_message_id(message);
    if (!id)
        return false;
    pthread_mutex_lock(&attempts->lock);
    struct cny_attempt *one = open_for(attempts, hash_of(id), message);
    cny_history now = one ? one->history : (cny_history){0};
    now.failed += deed == CNY_DEED_FAILED;
    now.unseen += deed == CNY_DEED_GONE_UNSEEN;
    now.survived += deed == CNY_DEED_SURVIVED;
    if (one)
        one->history = now;
    if (history)
        *history = now;
    pthread_mutex_unlock(&attempts->lock);
    return true;
}

void cny_note_unseen(cny_listener *listener, const coney_message *message)
{
    if (!cny_acknowledges_nothing(&listener->spec))
        cny_attempts_note(&listener->attempts, message, CNY_DEED_GONE_UNSEEN, NULL);
}

bool cny_attempts_of(cny_attempts *attempts, const coney_message *message, cny_history *history)
{
    const char *id = cny_message_id(message);
    *history = (cny_history){0};
    if (!id)
        return false;
    pthread_mutex_lock(&attempts->lock);
    const struct cny_attempt *one = find(attempts, hash_of(id));
    if (one)
        *history = one->history;
    pthread_mutex_unlock(&attempts->lock);
    return one != NULL;
}

void cny_attempts_forget(cny_attempts *attempts, const coney_message *message)
{
    const char *id = cny_message_id(message);
    if (!id)
        return;
    pthread_mutex_lock(&attempts->lock);
    struct cny_attempt *one = find(attempts, hash_of(id));
    if (one)
        one->used = 0;
    pthread_mutex_unlock(&attempts->lock);
}

/* ---- attempts in place across a loss ---- */

/* Parts of a batch share its id, and have attempts of their own. 0: it has no id. */
static uint64_t id_of(const coney_delivery *delivery)
{
    const char *id = cny_message_id(delivery->origin);
    return id ? hash_of(id) + (uint64_t)delivery->part * 0x9E3779B97F4A7C15U : 0;
}

static bool tries_in_place(const cny_listener *listener)
{
    const coney_listener_retry *retry = &listener->spec.options.retry;
    return !retry->stateful && cny_spec_max_attempts(&listener->spec) > 1 && !cny_acknowledges_nothing(&listener->spec);
}

void cny_tries_keep(const coney_delivery *delivery, int tries)
{
    cny_listener *listener = delivery->consumer->listener;
    cny_attempts *attempts = &listener->attempts;
    uint64_t id = tries > 0 && tries_in_place(listener) ? id_of(delivery) : 0;
    if (id == 0)
        return;
    pthread_mutex_lock(&attempts->lock);
    struct cny_attempt *one = open_for(attempts, id, delivery->origin);
    if (one)
        one->history.tries = tries;
    pthread_mutex_unlock(&attempts->lock);
}

/* Of the message, or of this part of a batch. With forget they begin anew the next time. */
static int kept_tries(const coney_delivery *delivery, bool forget)
{
    cny_attempts *attempts = &delivery->consumer->listener->attempts;
    uint64_t id = delivery->origin->redelivered ? id_of(delivery) : 0;
    if (id == 0)
        return 0;
    pthread_mutex_lock(&attempts->lock);
    struct cny_attempt *one = find(attempts, id);
    int tries = one ? one->history.tries : 0;
    if (one && forget)
        one->history.tries = 0;
    pthread_mutex_unlock(&attempts->lock);
    return tries;
}

/* The broker counts the redelivery that followed upon these attempts. */
void cny_tries_resume(coney_delivery *delivery)
{
    cny_listener *listener = delivery->consumer->listener;
    int tries = tries_in_place(listener) ? kept_tries(delivery, false) : 0;
    if (tries == 0)
        return;
    int64_t counted = cny_redeliveries(listener, delivery->origin);
    delivery->earlier_attempts -= counted < tries ? (int)counted : tries;
    delivery->tries = tries;
}

void cny_tries_forget(const coney_delivery *delivery)
{
    kept_tries(delivery, true);
}

bool cny_tries_are_used_up(coney_delivery *delivery)
{
    int most = cny_spec_max_attempts(&delivery->consumer->listener->spec);
    if (delivery->tries < most || delivery->tries == 0)
        return false;
    delivery->tries = most - 1;
    if (!delivery->failure)
        delivery->failure = cny_error_new(CONEY_E_LOST, 0, "its channel was lost during the last attempt");
    return true;
}

/* ---- all together ---- */

/* Returns that RabbitMQ 4.3 has not counted, since the message came to this queue: by basic.nack and by a consumer's
 * time-out. Older releases count all of them. */
static int64_t uncounted_returns(const coney_message *message)
{
    const coney_table *headers = message->properties.headers;
    int64_t uncounted = count_in(headers, CNY_HEADER_ACQUIRED) - count_in(headers, CNY_HEADER_DELIVERED);
    return uncounted > 0 ? uncounted : 0;
}

/* What went back from this process unhandled was no attempt. What went back from other processes may have been one, so
 * that is counted. */
int64_t cny_returns(cny_listener *listener, const coney_message *message)
{
    int64_t count = counted_returns(listener, message);
    cny_history history;
    if (count <= 0 || !cny_attempts_of(&listener->attempts, message, &history))
        return count;
    int64_t unseen = history.unseen - uncounted_returns(message);
    return unseen <= 0 ? count : count > unseen ? count - unseen : 0;
}

int64_t cny_returns_here(cny_listener *listener, const coney_message *message)
{
    int64_t count = cny_returns(listener, message);
    int64_t acquired = count_in(message->properties.headers, CNY_HEADER_ACQUIRED);
    return acquired > 0 && acquired < count ? acquired : count;
}

bool cny_has_just_come(const coney_message *message)
{
    int64_t acquired = count_in(message->properties.headers, CNY_HEADER_ACQUIRED);
    return acquired > 0 && acquired == count_in(message->properties.headers, CNY_HEADER_DELIVERED) &&
           has_counted_death(message);
}

int64_t cny_redeliveries(cny_listener *listener, const coney_message *message)
{
    int64_t count = cny_returns(listener, message);
    cny_history history;
    bool is_known = message->redelivered && cny_attempts_of(&listener->attempts, message, &history);
    if (is_known && listener->spec.options.retry.stateful)
        return count > history.failed ? count : history.failed;
    return count >= 0 ? count : message->redelivered;
}

bool cny_is_own_copy(const cny_consumer *consumer, const coney_message *message)
{
    return consumer->is_quarantine || cny_rounds(consumer->listener, message) > 0 ||
           cny_is_condemned(consumer->listener, message);
}

int cny_earlier_attempts(const cny_consumer *consumer, const coney_message *message)
{
    cny_listener *listener = consumer->listener;
    int round = cny_rounds(listener, message);
    int64_t before =
        cny_is_own_copy(consumer, message) ? count_in(message->properties.headers, CONEY_HEADER_ATTEMPTS) : 0;
    if (before < round)
        before = round;
    int64_t count = before + cny_redeliveries(listener, message) + rejections(listener->spec.options.queue, message);
    return count < MOST ? (int)count : MOST;
}
