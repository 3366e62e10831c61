/* SPDX-License-Identifier: MIT */
/* What becomes of each message: the broker's confirm comes on the I/O thread, and its sender is told, once. Under the
 * owner's lock; callbacks go to the events thread. Knows nothing of the channel. */
#include "rabbit/connection/confirms/outcomes.h"
#include "rabbit/connection/confirms/window.h"
#include "rabbit/events/events.h"
#include "wire/wire.h"

#include <string.h>

uint32_t cny_hash_route_part(const char *text)
{
    return cny_hash(text, strlen(text));
}

void cny_confirms_wake(cny_confirms *confirms)
{
    bool place = confirms->waiting_senders > 0 && confirms->mode == CNY_WINDOW_FULL && !cny_confirms_full(confirms);
    bool room = confirms->waiting_senders > 0 && cny_window_has_quarter(confirms);
    if (place)
        confirms->mode = CNY_WINDOW_OPEN;
    bool end = confirms->waiting_for_end > 0 && (confirms->unfinished == 0 || cny_confirms_have_all_outcomes(confirms));
    if (place || room || end)
        pthread_cond_broadcast(confirms->changed);
    if (confirms->room_wanted && cny_window_has_quarter(confirms)) {
        confirms->room_wanted = false;
        confirms->owner->has_news(confirms->self);
    }
}

/* ---- what is sent ---- */

bool cny_route_is_short(const cny_publish *publish)
{
    return strlen(publish->exchange) + strlen(publish->routing_key) + 2 <= CNY_ROUTE_ROOM;
}

cny_confirm *cny_confirms_add(cny_confirms *confirms, const cny_publish *publish)
{
    cny_confirm *added = cny_confirms_at(confirms, confirms->next++);
    *added = (cny_confirm){
        .message = coney_message_ref(publish->message),
        .callback = publish->callback,
        .user = publish->user,
        .waiter = cny_waiter_ref(publish->waiter),
        .on_outcome = publish->on_outcome,
        .sent_us = publish->sent_us ? publish->sent_us : cny_now_us(),
        .exchange_hash = cny_hash_route_part(publish->exchange),
        .routing_key_hash = cny_hash_route_part(publish->routing_key),
        .mandatory = publish->mandatory,
        .synchronous = publish->synchronous,
        .strikes = publish->strikes,
    };
    if (cny_route_is_short(publish))
        memcpy(stpcpy(added->short_route, publish->exchange) + 1, publish->routing_key,
               strlen(publish->routing_key) + 1);
    confirms->unfinished++;
    confirms->statistics.unconfirmed++;
    cny_outcome_awaited();
    if (publish->sent_us)
        confirms->statistics.resent++;
    else
        confirms->statistics.sent++;
    return added;
}

const char *cny_confirm_route(const cny_confirm *confirm)
{
    return confirm->route ? confirm->route : confirm->short_route;
}

/* ---- telling the sender ---- */

/* Stands in for the callback of a send that has none and has failed: somebody should know. */
static void log_unheard(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)user;
    cny_log(CONEY_LOG_WARN,
            "not confirmed, and the sender had no callback or did not wait so long (others like it are not logged but "
            "counted, see coney_template_statistics): %s",
            error->text);
}

static cny_error *with_route(const cny_confirm *confirm, cny_error *error)
{
    const coney_error *view = cny_error_view(error);
    const char *route = cny_confirm_route(confirm);
    return cny_error_new(view->status, view->broker_code, "sent to exchange '%s' with routing key '%s': %s", route,
                         route + strlen(route) + 1, view->text);
}

/* A failure that nobody hears of is logged, but each only once. */
static bool must_log(const cny_confirms *confirms, const cny_error *error)
{
    return error && error != confirms->unheard;
}

static void note_unheard(cny_confirms *confirms, cny_error *error)
{
    cny_error_unref(confirms->unheard);
    confirms->unheard = cny_error_ref(error);
}

/* A refusal tells more than the losses that it brings about, and these may come first. */
static void tally(cny_confirms *confirms, cny_error *error)
{
    if (!error)
        return;
    confirms->failed++;
    if (confirms->failure && cny_error_view(confirms->failure)->status != CONEY_E_LOST)
        return;
    cny_error_ref(error);
    cny_error_unref(confirms->failure);
    confirms->failure = error;
}

static void count_outcome(coney_send_statistics *statistics, const cny_error *error)
{
    statistics->unconfirmed--;
    cny_outcome_known();
    switch (error ? cny_error_view(error)->status : CONEY_OK) {
    case CONEY_OK: statistics->confirmed++; break;
    case CONEY_E_NACKED: statistics->nacked++; break;
    case CONEY_E_RETURNED: statistics->returned++; break;
    case CONEY_E_LOST: statistics->lost++; break;
    case CONEY_E_CLOSED: statistics->closed++; break;
    case CONEY_E_TIMEOUT: statistics->timed_out++; break;
    default: statistics->refused++;
    }
}

/* A sender that wakes sends again at once, and would only wait for the lock. So it is woken after the lock is released.
 * */
static bool tell_waiter(cny_confirms *confirms, cny_waiter *waiter, cny_error *error)
{
    return confirms->told ? cny_waiter_tell_later(waiter, error, confirms->told) : cny_waiter_tell(waiter, error);
}

/* Whoever hears it is no callback of the program. */
static void tell_directly(cny_confirms *confirms, const cny_confirm *confirm, cny_error *error)
{
    confirm->on_outcome(confirm->user, error, confirms->told);
    coney_message_unref(confirm->message);
    confirms->unfinished--;
}

/* Tells the outcome to whoever asked for it. Takes the message of the confirm. */
static void tell(cny_confirms *confirms, cny_confirm *confirm, cny_error *error)
{
    count_outcome(&confirms->statistics, error);
    if (confirm->on_outcome) {
        tell_directly(confirms, confirm, error);
        return;
    }
    bool heard = confirm->callback || (confirm->waiter && tell_waiter(confirms, confirm->waiter, error));
    if (!heard && confirms->tallied) {
        tally(confirms, error);
        heard = true;
    }
    bool log_it = !heard && must_log(confirms, error);
    if (log_it)
        note_unheard(confirms, error);
    if (confirm->callback || log_it) {
        cny_completion completion = {
            .callback = log_it ? log_unheard : confirm->callback,
            .user = confirm->user,
            .message = confirm->message,
            .error = log_it ? with_route(confirm, error) : cny_error_ref(error),
            .finished = confirms->owner->finished,
            .owner = confirms->self,
        };
        if (cny_events_post(confirms->events, &completion)) {
            confirms->owner->ref(confirms->self);
            return;
        }
        confirms->owner->log_later(confirms->self, "out of memory: a send callback is not called");
        cny_error_unref(completion.error);
    }
    coney_message_unref(confirm->message);
    confirms->unfinished--;
}

static void clear(cny_confirm *confirm)
{
    cny_waiter_unref(confirm->waiter);
    cny_free(confirm->route);
    *confirm = (cny_confirm){.done = true};
}

void cny_confirm_finish(cny_confirms *confirms, cny_confirm *confirm, cny_error *error)
{
    cny_error *returned = confirm->returned;
    tell(confirms, confirm, returned ? returned : error);
    cny_error_unref(returned);
    clear(confirm);
}

void cny_confirm_forget(cny_confirms *confirms, cny_confirm *confirm)
{
    coney_message_unref(confirm->message);
    clear(confirm);
    confirms->unfinished--;
    confirms->statistics.unconfirmed--;
    cny_outcome_known();
}

/* ---- what the broker confirms ---- */

void cny_count_latency(uint64_t *buckets, int64_t latency_us)
{
    int bucket = 0;
    while (latency_us > 1 && bucket < CONEY_LATENCY_BUCKETS - 1) {
        latency_us >>= 1;
        bucket++;
    }
    buckets[bucket]++;
}

static void confirm_one(cny_confirms *confirms, cny_confirm *confirm, cny_error *error, int64_t read_us)
{
    if (confirm->done)
        return;
    if (!error && !confirm->returned)
        cny_count_latency(confirms->statistics.latency, read_us - confirm->sent_us);
    cny_confirm_finish(confirms, confirm, error);
}

/* Returns how many there were. */
static size_t confirm_stragglers(cny_confirms *confirms, uint64_t from, uint64_t last, cny_error *error,
                                 int64_t read_us)
{
    cny_straggler *all = cny_stragglers(confirms);
    size_t begin = cny_find_straggler(confirms, from), end = cny_find_straggler(confirms, last + 1);
    for (size_t i = begin; i < end; i++) {
        confirms->expired -= all[i].confirm.done;
        confirm_one(confirms, &all[i].confirm, error, read_us);
    }
    cny_remove_stragglers(confirms, begin, end);
    return end - begin;
}

void cny_confirms_on_confirm(cny_confirms *confirms, const cny_incoming *incoming, int64_t read_us, cny_waiter **told)
{
    uint64_t last = incoming->tag == 0 && incoming->multiple ? confirms->next - 1 : incoming->tag;
    uint64_t from = incoming->multiple ? 0 : last;
    uint64_t sequence = from > confirms->first ? from : confirms->first;
    bool known = last < confirms->next && (incoming->multiple || last >= confirms->first);
    cny_error *error = NULL;
    if (incoming->method == CNY_BASIC_NACK)
        error = cny_error_new(CONEY_E_NACKED, 0,
                              "the broker could not take the message (basic.nack); a full queue that rejects "
                              "publishers, or a failed queue, does that");
    confirms->told = told;
    cny_events_lock(confirms->events);
    if (last < confirms->next && confirm_stragglers(confirms, from, last, error, read_us) > 0)
        known = true;
    for (; last < confirms->next && sequence <= last; sequence++)
        confirm_one(confirms, cny_confirms_at(confirms, sequence), error, read_us);
    cny_events_unlock_quietly(confirms->events);
    confirms->told = NULL;
    cny_error_unref(error);
    if (!known)
        confirms->owner->log_later(confirms->self, "the broker confirmed a message that is not outstanding");
    cny_confirms_advance(confirms);
    cny_confirms_wake(confirms);
}

void cny_confirms_callbacks_returned(cny_confirms *confirms, size_t count)
{
    confirms->unfinished -= count;
    cny_confirms_wake(confirms);
}
