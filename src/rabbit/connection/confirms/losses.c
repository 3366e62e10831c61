/* SPDX-License-Identifier: MIT */
/* What the end of a channel means for what is unconfirmed on it: the broker refused a message, or nobody knows whether
 * it has the message, which is then completed as lost or sent again through another channel. Under the owner's lock. */
#include "rabbit/connection/confirms/outcomes.h"
#include "rabbit/connection/confirms/window.h"
#include "rabbit/events/events.h"

/* The outcome for senders whose message the broker may or may not have. */
static cny_error *unknown_outcome(cny_error *reason)
{
    const coney_error *view = cny_error_view(reason);
    if (view->status == CONEY_E_LOST || view->status == CONEY_E_CLOSED)
        return cny_error_ref(reason);
    return cny_error_new(CONEY_E_LOST, view->broker_code, "the channel was closed before the message was confirmed: %s",
                         view->text);
}

/* What a loss leaves is sent again through another channel, unless the program wanted the end. */
static bool may_resend(const cny_confirms *confirms, const cny_error *reason)
{
    return confirms->resends && cny_error_view(reason)->status != CONEY_E_CLOSED;
}

static void await_resend(cny_confirms *confirms, cny_confirm *confirm)
{
    cny_error_unref(confirm->returned);
    confirm->returned = NULL; /* the broker will say so again */
    confirms->awaiting_resend++;
}

void cny_poison_seek(cny_confirms *confirms)
{
    confirms->search = CNY_POISON_SOUGHT;
}

void cny_poison_release(cny_confirms *confirms)
{
    if (confirms->search == CNY_POISON_SOUGHT)
        confirms->search = CNY_POISON_NONE;
}

/* The end of a channel, and what it means for a message. */
typedef struct ending {
    cny_confirms *confirms;
    cny_error *reason;
    cny_error *unknown;
    bool is_refusal;
    bool alone; /* the message */
} ending;

static void end_one(const ending *end, cny_confirm *confirm)
{
    cny_confirms *confirms = end->confirms;
    if (confirm->done)
        return;
    if (end->is_refusal && (end->alone || cny_confirm_is_named(confirm, cny_error_view(end->reason)->text))) {
        cny_confirm_finish(confirms, confirm, end->reason);
        confirms->search = CNY_POISON_FOUND;
    } else if (may_resend(confirms, end->reason)) {
        await_resend(confirms, confirm);
    } else {
        cny_confirm_finish(confirms, confirm, end->unknown);
    }
}

/* A refusal by the broker concerns the messages that it names, or the only message there is. Nobody knows about the
 * others. Any other reason is no refusal. */
void cny_confirms_fail(cny_confirms *confirms, cny_error *reason)
{
    const coney_error *view = cny_error_view(reason);
    const ending end = {
        .confirms = confirms,
        .reason = reason,
        .unknown = unknown_outcome(reason),
        .is_refusal = view->broker_code != 0 && view->status != CONEY_E_LOST,
        .alone = cny_confirms_outstanding(confirms) == 1,
    };
    confirms->is_over = true;
    if (end.is_refusal)
        cny_poison_seek(confirms);
    cny_events_lock(confirms->events);
    for (size_t i = 0; i < cny_confirms_outstanding(confirms); i++)
        end_one(&end, cny_confirms_nth(confirms, i));
    cny_events_unlock(confirms->events);
    cny_error_unref(end.unknown);
    cny_drop_expired(confirms);
    cny_confirms_advance(confirms);
    cny_confirms_wake(confirms);
    if (confirms->awaiting_resend > 0)
        confirms->owner->has_news(confirms->self);
}

cny_confirm *cny_confirms_next_to_resend(const cny_confirms *confirms, size_t *i)
{
    size_t count = confirms->awaiting_resend > 0 ? cny_confirms_outstanding(confirms) : 0;
    while (*i < count && cny_confirms_nth(confirms, *i)->done)
        ++*i;
    return *i < count ? cny_confirms_nth(confirms, (*i)++) : NULL;
}

/* One message less awaits resending. */
static void go_on(cny_confirms *confirms)
{
    confirms->awaiting_resend--;
    cny_confirms_advance(confirms);
    cny_confirms_wake(confirms);
}

void cny_confirms_give_up(cny_confirms *confirms, cny_confirm *confirm, cny_error *reason)
{
    cny_events_lock(confirms->events);
    cny_confirm_finish(confirms, confirm, reason);
    cny_events_unlock(confirms->events);
    go_on(confirms);
}

void cny_confirms_resent(cny_confirms *confirms, cny_confirm *confirm)
{
    cny_confirm_forget(confirms, confirm);
    go_on(confirms);
}
