/* SPDX-License-Identifier: MIT */
/* Where the messages of a channel are until the broker has spoken about them. Private to this folder; all under the
 * owner's lock. */
#ifndef CNY_CONFIRMS_WINDOW_H
#define CNY_CONFIRMS_WINDOW_H

#include "rabbit/connection/confirms/confirms.h"

/* One that has left the ring, so that it turns: the broker is silent about it while it confirms later ones. Done
 * if its sender was told that the confirm did not come in time; it still may, and so may its message. */
typedef struct cny_straggler {
    uint64_t sequence;
    cny_confirm confirm;
} cny_straggler;

static inline cny_confirm *cny_confirms_at(const cny_confirms *confirms, uint64_t sequence) /* in the ring */
{
    return &confirms->ring[sequence & (confirms->capacity - 1)];
}

bool cny_window_has_quarter(const cny_confirms *confirms); /* enough to let waiting senders go on */

void cny_confirms_advance(cny_confirms *confirms); /* past those that are done */

/* Makes it a straggler; false without memory. */
bool cny_leave_ring(cny_confirms *confirms, uint64_t sequence);
cny_straggler *cny_stragglers(const cny_confirms *confirms);
size_t cny_straggler_count(const cny_confirms *confirms);
size_t cny_find_straggler(const cny_confirms *confirms, uint64_t sequence); /* the first not sent before that */
void cny_remove_stragglers(cny_confirms *confirms, size_t from, size_t to); /* which are done */
void cny_drop_expired(cny_confirms *confirms);                              /* nobody will speak of them any more */

#endif
