/* SPDX-License-Identifier: MIT */
/* Messages that no handler can get, and that the broker brings back after they were rejected, because their
 * dead-letter queue lets them expire into their queue again. x-death tells of that, but anyone can send an x-death. So
 * a message came round only if this listener has rejected it before, and it was rejected more often since: what
 * somebody sends does not grow by itself. Workers; has a lock of its own. */
#include "rabbit/listener/handling/rounds.h"

#include "rabbit/listener/handling/memory.h"
#include "rabbit/listener/handling/provenance.h"

#include <string.h>

/* Each message has one place, by its hash, and takes the place of another. Of more messages than there are places,
 * those that still have theirs when they come back are dropped; so fewer go round the next time. */
#define PLACES 4096

struct cny_rejected {
    uint64_t message; /* 0: none */
    uint64_t count;   /* of rejections, by x-death, when it was rejected last */
};

void cny_rounds_init(cny_rounds_memory *memory)
{
    pthread_mutex_init(&memory->lock, NULL);
}

void cny_rounds_free(cny_rounds_memory *memory)
{
    cny_free(memory->places);
    pthread_mutex_destroy(&memory->lock);
}

/* What makes a message this message, whichever way it came. Of a batch that is taken apart it is asked once. */
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

/* Whatever number a sender began with, and also when the count wraps. */
static bool has_grown(uint64_t before, uint64_t now)
{
    return now - before - 1 < UINT64_MAX / 2;
}

bool cny_came_round(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    uint64_t count;
    if (!cny_is_round(handling->spec, cny_original(delivery), &count))
        return false;
    cny_rounds_memory *memory = &handling->memory->rounds;
    uint64_t message = identity_of(delivery);
    pthread_mutex_lock(&memory->lock);
    const struct cny_rejected *place = memory->places ? &memory->places[(message >> 1) % PLACES] : NULL;
    bool came_round = place && place->message == message && has_grown(place->count, count);
    pthread_mutex_unlock(&memory->lock);
    return came_round;
}

/* Without memory the message is rejected once more the next time. */
void cny_note_rejected(coney_delivery *delivery)
{
    cny_handling *handling = delivery->source->handling;
    cny_rounds_memory *memory = &handling->memory->rounds;
    uint64_t message = identity_of(delivery);
    uint64_t count;
    cny_is_round(handling->spec, cny_original(delivery), &count);
    pthread_mutex_lock(&memory->lock);
    if (!memory->places)
        memory->places = cny_alloc(PLACES * sizeof *memory->places);
    if (memory->places)
        memory->places[(message >> 1) % PLACES] = (struct cny_rejected){.message = message, .count = count};
    pthread_mutex_unlock(&memory->lock);
}
