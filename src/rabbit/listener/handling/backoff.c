/* SPDX-License-Identifier: MIT */
/* How long a message waits before it goes back to its queue. Each message has a back-off of its own, which grows with
 * each time it comes again and fails. A listener remembers the back-offs of the messages that came last.
 *
 * Any thread; the memory has a lock of its own. Here is not known how a lane waits: see delayed.c. */
#include "rabbit/listener/handling/backoff.h"

#include "rabbit/listener/handling/attempts.h"
#include "rabbit/listener/handling/memory.h"

#include <string.h>

#define FIRST_MS 100
#define LONGEST_MS 5000
#define HASHED_BYTES 4096 /* of a body, at most */

/* ---- the memory ---- */

#define SLOTS 1024
#define FORGOTTEN_MS 10000 /* after the end of a slot's last back-off */

/* What is remembered of a message. Messages that cannot be told apart share a slot, and so do the few messages with the
 * same hash. Their back-off grows by one step when the first of them comes again, and not by one for each of them. */
struct cny_backoff_slot {
    uint32_t identity;
    int times;
    int64_t until; /* the end of the back-off that the last step began */
};

void cny_backoffs_init(cny_backoffs *backoffs)
{
    pthread_mutex_init(&backoffs->lock, NULL);
}

void cny_backoffs_free(cny_backoffs *backoffs)
{
    cny_free(backoffs->slots);
    pthread_mutex_destroy(&backoffs->lock);
}

/* A message without an id is known by its body and its routing key. */
static uint32_t identity_of(const coney_message *message)
{
    const char *id = cny_message_id(message);
    if (id)
        return (uint32_t)cny_hash_keyed(id, strlen(id));
    size_t size = coney_message_size(message);
    uint64_t hash = cny_hash_keyed(coney_message_body(message), size < HASHED_BYTES ? size : HASHED_BYTES);
    const char *key = message->routing_key;
    return (uint32_t)(hash ^ cny_hash_keyed(key, strlen(key)) ^ size);
}

/* Under lock: the next back-off. The broker may have counted more redeliveries than this process knows. */
static int next_delay(struct cny_backoff_slot *slot, uint32_t identity, int counted)
{
    int64_t now = cny_now_ms();
    bool waits = now < slot->until; /* another message of this slot has begun the step */
    if (now >= slot->until + FORGOTTEN_MS)
        *slot = (struct cny_backoff_slot){.identity = identity};
    if (!waits && cny_backoff_after(slot->times, FIRST_MS, 2, LONGEST_MS) < LONGEST_MS)
        slot->times++;
    int delay_ms = cny_backoff_after(slot->times > counted ? slot->times : counted, FIRST_MS, 2, LONGEST_MS);
    if (!waits)
        slot->until = now + delay_ms;
    return delay_ms;
}

static int requeue_delay(cny_handling *handling, const coney_message *message)
{
    cny_backoffs *backoffs = &handling->memory->backoffs;
    struct cny_backoff_slot fresh = {0};
    uint32_t identity = identity_of(message);
    int64_t counted = cny_redeliveries(handling, message);
    pthread_mutex_lock(&backoffs->lock);
    if (!backoffs->slots)
        backoffs->slots = cny_alloc(SLOTS * sizeof *backoffs->slots);
    struct cny_backoff_slot *slot = backoffs->slots ? &backoffs->slots[identity % SLOTS] : &fresh;
    int delay_ms = next_delay(slot, identity, counted < INT32_MAX ? (int)counted : INT32_MAX);
    pthread_mutex_unlock(&backoffs->lock);
    return delay_ms;
}

void cny_backoff_forget(cny_handling *handling, const coney_message *message)
{
    cny_backoffs *backoffs = &handling->memory->backoffs;
    pthread_mutex_lock(&backoffs->lock);
    if (backoffs->slots) {
        uint32_t identity = identity_of(message);
        struct cny_backoff_slot *slot = &backoffs->slots[identity % SLOTS];
        if (slot->identity == identity)
            *slot = (struct cny_backoff_slot){0};
    }
    pthread_mutex_unlock(&backoffs->lock);
}

/* ---- delays ---- */

int cny_retry_delay(const coney_listener_retry *retry, int64_t failures)
{
    int times = failures < INT32_MAX ? (int)failures : INT32_MAX;
    return cny_jitter(cny_backoff_after(times, retry->first_delay_ms, retry->multiplier, retry->max_delay_ms));
}

int cny_requeue_delay(const coney_delivery *delivery)
{
    bool has_come_again = coney_message_redelivered(cny_original(delivery)) || delivery->earlier_attempts > 0;
    cny_handling *handling = delivery->source->handling;
    bool waits_here = has_come_again && !handling->spec->options.retry.delayed_by_queue;
    return waits_here ? requeue_delay(handling, delivery->arrival->message) : 0;
}
