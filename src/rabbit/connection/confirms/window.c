/* SPDX-License-Identifier: MIT */
/* The messages of a channel that the broker has neither confirmed nor refused, and how many there may be. They are in a
 * ring by sequence number; beside it are stragglers, which would keep the ring from turning. What becomes of the
 * messages is in outcomes.c. All under the owner's lock. */
#include "rabbit/connection/confirms/window.h"

#include <string.h>

#define FIRST_CAPACITY 64
#define MAX_SPAN 8 /* windows between the oldest message in the ring and the newest */

coney_status cny_confirms_start(cny_confirms *confirms, const cny_confirm_options *options)
{
    confirms->ring = cny_alloc(FIRST_CAPACITY * sizeof *confirms->ring);
    if (!confirms->ring)
        return cny_fail_memory();
    confirms->capacity = FIRST_CAPACITY;
    confirms->max = (size_t)options->max_unconfirmed;
    confirms->resends = options->resends;
    confirms->timeout_ms = options->timeout_ms;
    confirms->first = confirms->next = confirms->return_from = confirms->expire_from = 1; /* as the broker counts */
    return CONEY_OK;
}

void cny_confirms_free(cny_confirms *confirms)
{
    cny_remove_stragglers(confirms, 0, cny_straggler_count(confirms));
    cny_buffer_free(&confirms->stragglers);
    cny_free(confirms->ring);
    cny_error_unref(confirms->unheard);
    cny_error_unref(confirms->failure);
    cny_error_unref(confirms->late);
}

/* ---- stragglers ---- */

cny_straggler *cny_stragglers(const cny_confirms *confirms)
{
    return (cny_straggler *)(void *)confirms->stragglers.data;
}

size_t cny_straggler_count(const cny_confirms *confirms)
{
    return confirms->stragglers.size / sizeof(cny_straggler);
}

size_t cny_confirms_outstanding(const cny_confirms *confirms)
{
    return cny_straggler_count(confirms) + (size_t)(confirms->next - confirms->first);
}

bool cny_confirms_have_all_outcomes(const cny_confirms *confirms)
{
    return cny_confirms_outstanding(confirms) == confirms->expired;
}

cny_confirm *cny_confirms_nth(const cny_confirms *confirms, size_t n)
{
    size_t outside = cny_straggler_count(confirms);
    return n < outside ? &cny_stragglers(confirms)[n].confirm
                       : cny_confirms_at(confirms, confirms->first + (n - outside));
}

size_t cny_find_straggler(const cny_confirms *confirms, uint64_t sequence)
{
    const cny_straggler *all = cny_stragglers(confirms);
    size_t from = 0, to = cny_straggler_count(confirms);
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (all[middle].sequence < sequence)
            from = middle + 1;
        else
            to = middle;
    }
    return from;
}

/* False without memory. */
static bool insert_straggler(cny_confirms *confirms, const cny_straggler *one)
{
    size_t place = cny_find_straggler(confirms, one->sequence), behind = cny_straggler_count(confirms) - place;
    if (!cny_buffer_append(&confirms->stragglers, one, sizeof *one))
        return false;
    cny_straggler *there = cny_stragglers(confirms) + place;
    memmove(there + 1, there, behind * sizeof *there);
    *there = *one;
    return true;
}

void cny_remove_stragglers(cny_confirms *confirms, size_t from, size_t to)
{
    cny_straggler *all = cny_stragglers(confirms);
    size_t count = cny_straggler_count(confirms);
    for (size_t i = from; i < to; i++)
        coney_message_unref(all[i].confirm.message);
    if (to > from)
        memmove(&all[from], &all[to], (count - to) * sizeof *all);
    confirms->stragglers.size -= (to - from) * sizeof *all;
}

void cny_drop_expired(cny_confirms *confirms)
{
    cny_straggler *all = cny_stragglers(confirms);
    size_t count = cny_straggler_count(confirms), kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (all[i].confirm.done)
            coney_message_unref(all[i].confirm.message);
        else
            all[kept++] = all[i];
    }
    confirms->stragglers.size = kept * sizeof *all;
    confirms->expired = 0;
}

/* ---- how many there may be ---- */

/* How many places in the window are taken. A message that the broker is silent about, for example because its queue is
 * stuck, takes one place; the others go on. */
size_t cny_confirms_taken(const cny_confirms *confirms)
{
    return confirms->unfinished + confirms->expired;
}

bool cny_confirms_full(const cny_confirms *confirms)
{
    return confirms->max > 0 && cny_confirms_taken(confirms) >= confirms->max;
}

/* A sender that had to wait goes on when a quarter of the window is free, and not with the first free place. It then
 * fills many places for one wake-up. */
bool cny_window_has_quarter(const cny_confirms *confirms)
{
    return cny_confirms_taken(confirms) < confirms->max - confirms->max / 4;
}

void cny_window_wait(cny_confirms *confirms)
{
    confirms->mode = cny_confirms_full(confirms) ? CNY_WINDOW_FULL : CNY_WINDOW_OPEN;
}

void cny_window_trickle(cny_confirms *confirms)
{
    confirms->mode = CNY_WINDOW_TRICKLE;
    pthread_cond_broadcast(confirms->changed);
}

bool cny_window_lets_go(const cny_confirms *confirms)
{
    bool trickles = confirms->mode == CNY_WINDOW_TRICKLE && !cny_confirms_full(confirms);
    return trickles || cny_window_has_quarter(confirms);
}

/* ---- the ring ---- */

void cny_confirms_advance(cny_confirms *confirms)
{
    while (confirms->first < confirms->next && cny_confirms_at(confirms, confirms->first)->done)
        confirms->first++;
}

bool cny_leave_ring(cny_confirms *confirms, uint64_t sequence)
{
    const cny_straggler left = {.sequence = sequence, .confirm = *cny_confirms_at(confirms, sequence)};
    if (!insert_straggler(confirms, &left))
        return false;
    *cny_confirms_at(confirms, sequence) = (cny_confirm){.done = true};
    cny_confirms_advance(confirms);
    return true;
}

coney_status cny_confirms_reserve(cny_confirms *confirms)
{
    if (confirms->next - confirms->first >= confirms->max * MAX_SPAN && !cny_leave_ring(confirms, confirms->first))
        return cny_fail_memory();
    if (confirms->next - confirms->first < confirms->capacity)
        return CONEY_OK;
    size_t capacity = confirms->capacity * 2;
    cny_confirm *ring = cny_alloc(capacity * sizeof *ring);
    if (!ring)
        return cny_fail_memory();
    for (uint64_t sequence = confirms->first; sequence < confirms->next; sequence++)
        ring[sequence & (capacity - 1)] = *cny_confirms_at(confirms, sequence);
    cny_free(confirms->ring);
    confirms->ring = ring;
    confirms->capacity = capacity;
    return CONEY_OK;
}
