/* SPDX-License-Identifier: MIT */
/* Finds the message that a return is about. A return names no sequence number. Three things identify the message for
 * any mix of routes: returns come in the order of sending, they come before their ack, and they carry the message. I/O
 * thread, under the owner's lock. Knows nothing of what becomes of the message. */
#include "rabbit/connection/confirms/outcomes.h"
#include "rabbit/connection/confirms/window.h"
#include "wire/wire.h"

#include <string.h>

static bool same_body(const coney_message *a, const coney_message *b)
{
    return a->size == b->size && memcmp(a->body, b->body, a->size) == 0;
}

/* The broker returns properties as they came, so they encode to the same bytes again. */
static bool same_properties(uint32_t frame_max, const coney_message *a, const coney_message *b)
{
    cny_buffer one = {0}, other = {0};
    bool same = cny_encode_publish(&one, 1, frame_max, "", "", false, a) == CONEY_OK &&
                cny_encode_publish(&other, 1, frame_max, "", "", false, b) == CONEY_OK && one.size == other.size &&
                memcmp(one.data, other.data, one.size) == 0;
    cny_buffer_free(&one);
    cny_buffer_free(&other);
    return same;
}

/* A message that came back, and what it is compared with. */
typedef struct returned {
    const cny_confirms *confirms;
    uint32_t frame_max;
    const coney_message *message;
    uint32_t exchange_hash;
    uint32_t routing_key_hash;
    bool strictly; /* in its properties, too */
} returned;

static bool is_same(const returned *one, const cny_confirm *confirm)
{
    return confirm->message && confirm->mandatory && confirm->exchange_hash == one->exchange_hash &&
           confirm->routing_key_hash == one->routing_key_hash && same_body(confirm->message, one->message) &&
           (!one->strictly || same_properties(one->frame_max, confirm->message, one->message));
}

static cny_confirm *find_among_stragglers(const returned *one, uint64_t *sequence)
{
    const cny_confirms *confirms = one->confirms;
    cny_straggler *all = cny_stragglers(confirms);
    for (size_t i = cny_find_straggler(confirms, confirms->return_from); i < cny_straggler_count(confirms); i++) {
        *sequence = all[i].sequence;
        if (is_same(one, &all[i].confirm))
            return &all[i].confirm;
    }
    *sequence = UINT64_MAX;
    return NULL;
}

/* The first such message from return_from on; NULL if there is none. */
static cny_confirm *find_returned(const returned *one, uint64_t *sequence)
{
    const cny_confirms *confirms = one->confirms;
    uint64_t first = confirms->return_from > confirms->first ? confirms->return_from : confirms->first;
    cny_confirm *found = find_among_stragglers(one, sequence);
    for (uint64_t at_ring = first; at_ring < confirms->next && at_ring < *sequence; at_ring++) {
        if (!is_same(one, cny_confirms_at(confirms, at_ring)))
            continue;
        *sequence = at_ring;
        return cny_confirms_at(confirms, at_ring);
    }
    return found;
}

cny_error *cny_returned_error(const cny_incoming *incoming)
{
    return cny_error_new_return(incoming->code, incoming->text, incoming->message->exchange,
                                incoming->message->routing_key);
}

void cny_confirms_on_return(cny_confirms *confirms, const cny_incoming *incoming, uint32_t frame_max)
{
    returned one = {
        .confirms = confirms,
        .frame_max = frame_max,
        .message = incoming->message,
        .exchange_hash = cny_hash_route_part(incoming->message->exchange),
        .routing_key_hash = cny_hash_route_part(incoming->message->routing_key),
        .strictly = true,
    };
    uint64_t sequence;
    cny_confirm *confirm = find_returned(&one, &sequence);
    one.strictly = false;
    if (!confirm) /* something between us and the broker may have touched the properties */
        confirm = find_returned(&one, &sequence);
    if (!confirm) {
        confirms->owner->log_later(confirms->self, "the broker returned a message that is not outstanding");
        return;
    }
    confirms->return_from = sequence + 1;
    if (!confirm->done) /* else it has expired */
        confirm->returned = cny_returned_error(incoming);
}
