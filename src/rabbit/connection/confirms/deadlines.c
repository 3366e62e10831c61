/* SPDX-License-Identifier: MIT */
/* The deadline of asynchronous sends: a message whose confirm does not come in time is completed, but the broker may
 * still speak about it. Recovery thread, under the owner's lock. */
#include "rabbit/connection/confirms/outcomes.h"
#include "rabbit/connection/confirms/window.h"
#include "rabbit/events/events.h"

/* One error for all messages, so that it is logged once if nobody hears it. */
static cny_error *late(cny_confirms *confirms)
{
    if (!confirms->late)
        confirms->late =
            cny_error_new(CONEY_E_TIMEOUT, 0,
                          "the broker did not confirm the message within %d ms (confirm_timeout_ms); it may have it%s",
                          confirms->timeout_ms, confirms->resends ? ", and it is not sent again after this" : "");
    return confirms->late;
}

/* The broker may still confirm or return the message, so the message keeps its place in the window. If it may be
 * returned it is kept, too, to tell its return from that of an equal message. On a dead channel it is done. */
static void expire(cny_confirms *confirms, cny_confirm *confirm)
{
    bool is_over = confirms->is_over;
    cny_confirm left = {
        .message = !is_over && confirm->mandatory ? coney_message_ref(confirm->message) : NULL,
        .exchange_hash = confirm->exchange_hash,
        .routing_key_hash = confirm->routing_key_hash,
        .mandatory = confirm->mandatory,
        .done = true,
    };
    confirms->awaiting_resend -= is_over;
    confirms->expired += !is_over;
    cny_confirm_finish(confirms, confirm, late(confirms));
    *confirm = left;
}

/* Who waits, or hears the outcome directly, has a deadline of their own. */
static int64_t due_at(const cny_confirms *confirms, const cny_confirm *confirm)
{
    bool never = confirm->done || confirm->synchronous || confirm->on_outcome;
    return never ? INT64_MAX : confirm->sent_us / 1000 + confirms->timeout_ms;
}

static int64_t expire_stragglers(cny_confirms *confirms, int64_t now)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < cny_straggler_count(confirms); i++) {
        cny_confirm *confirm = &cny_stragglers(confirms)[i].confirm;
        int64_t due = due_at(confirms, confirm);
        if (due <= now)
            expire(confirms, confirm);
        else if (due < next)
            next = due;
    }
    return next;
}

/* In the order of age. On a live channel an expired message moves out of the ring; on a dead one it need not. */
static int64_t expire_in_ring(cny_confirms *confirms, int64_t now)
{
    if (confirms->expire_from < confirms->first)
        confirms->expire_from = confirms->first;
    for (; confirms->expire_from < confirms->next; confirms->expire_from++) {
        int64_t due = due_at(confirms, cny_confirms_at(confirms, confirms->expire_from));
        if (due == INT64_MAX)
            continue;
        if (due > now)
            return due;
        if (confirms->is_over)
            expire(confirms, cny_confirms_at(confirms, confirms->expire_from));
        else if (cny_leave_ring(confirms, confirms->expire_from))
            expire(confirms, &cny_stragglers(confirms)[cny_find_straggler(confirms, confirms->expire_from)].confirm);
        else
            return due;
    }
    return INT64_MAX;
}

int64_t cny_confirms_expire(cny_confirms *confirms, int64_t now)
{
    if (confirms->timeout_ms <= 0)
        return INT64_MAX;
    cny_events_lock(confirms->events);
    int64_t next_in_ring = expire_in_ring(confirms, now), next = expire_stragglers(confirms, now);
    cny_events_unlock(confirms->events);
    cny_confirms_advance(confirms);
    cny_confirms_wake(confirms);
    return next_in_ring < next ? next_in_ring : next;
}
