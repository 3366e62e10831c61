/* SPDX-License-Identifier: MIT */
/* Messages that no handler can get, and that the broker brings back after they were rejected, because their
 * dead-letter queue lets them expire into their queue again. x-death tells of that, but anyone can send an x-death. So
 * a message has come back by itself only if this listener has rejected it before, and it was rejected more often since:
 * a count that somebody has sent does not grow by itself. Workers; has a lock of its own. */
#include "rabbit/listener/handling/rejected.h"

#include "rabbit/listener/handling/memory.h"
#include "rabbit/listener/handling/provenance.h"

#include <string.h>

/* Each message has one place, by its hash, which it takes from another message. If more messages go round than there
 * are places, those that still have their place when they come back are dropped. So fewer messages go round the next
 * time. */
#define PLACES 4096

struct cny_rejected {
    uint64_t message; /* 0: none */
    uint64_t count;   /* of rejections, by x-death, when it was rejected last */
};

void cny_rejected_init(cny_rejected_messages *memory)
{
    pthread_mutex_init(&memory->lock, NULL);
}

void cny_rejected_free(cny_rejected_messages *memory)
{
    cny_free(memory->places);
    pthread_mutex_destroy(&memory->lock);
}

/* By this a message is known again, whichever way it came. The fragments of a batch share it. */
static uint64_t identity_of(coney_delivery *delivery)
{
    cny_arrival *arrival = delivery->arrival;
    const coney_message *message = arrival->message;
    const char *id = message->properties.message_id ? message->properties.message_id : "";
    size_t size = message->body ? message->size : 0;
    if (arrival->identity == 0)
        arrival->identity = (cny_hash_keyed(message->body, size) * 31 + cny_hash_keyed(id, strlen(id))) | 1;
    return arrival->identity;
}

/* Whatever number a sender began with, and even if the count wraps. */
static bool has_grown(uint64_t before, uint64_t now)
{
    return now - before - 1 < UINT64_MAX / 2;
}

bool cny_came_back_by_itself(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    uint64_t count;
    if (!cny_expired_after_rejection(handling->spec, cny_original(delivery), &count))
        return false;
    cny_rejected_messages *memory = &handling->memory->rejected;
    uint64_t message = identity_of(delivery);
    pthread_mutex_lock(&memory->lock);
    const struct cny_rejected *place = memory->places ? &memory->places[(message >> 1) % PLACES] : NULL;
    bool came_back = place && place->message == message && has_grown(place->count, count);
    pthread_mutex_unlock(&memory->lock);
    return came_back;
}

/* Without memory the message is rejected once more the next time. */
void cny_note_rejected(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    cny_rejected_messages *memory = &handling->memory->rejected;
    uint64_t message = identity_of(delivery);
    uint64_t count;
    cny_expired_after_rejection(handling->spec, cny_original(delivery), &count);
    pthread_mutex_lock(&memory->lock);
    if (!memory->places)
        memory->places = cny_alloc(PLACES * sizeof *memory->places);
    if (memory->places)
        memory->places[(message >> 1) % PLACES] = (struct cny_rejected){.message = message, .count = count};
    pthread_mutex_unlock(&memory->lock);
}
