/* SPDX-License-Identifier: MIT */
/* Publisher confirms of one channel: which messages the broker has not spoken about yet, and
 * telling each sender the outcome of each message exactly once. All under the connection's lock.
 *
 * A return names no sequence number. It is matched by what makes it right for any mix of routes:
 * returns come in the order of sending and before their ack, and carry the message. */
#include "rabbit/connection/internal.h"

#include <string.h>

static uint32_t hash_text(const char *text)
{
    return cny_hash(text, strlen(text));
}

static void wake_waiting(cny_channel *channel)
{
    cny_confirms *confirms = &channel->confirms;
    bool place = confirms->waiting_senders > 0 && !confirms->place_told && !cny_confirms_full(confirms);
    bool room = confirms->waiting_senders > 0 && cny_confirms_have_room(confirms);
    confirms->place_told |= place;
    bool end = confirms->waiting_for_end > 0 && (confirms->unfinished == 0 || cny_confirms_settled_all(confirms));
    if (place || room || end)
        pthread_cond_broadcast(&channel->changed);
    if (confirms->room_wanted && cny_confirms_have_room(confirms)) {
        confirms->room_wanted = false;
        channel->connection->has_news = true;
    }
}

bool cny_route_is_short(const cny_publish *publish)
{
    return strlen(publish->exchange) + strlen(publish->routing_key) + 2 <= CNY_ROUTE_ROOM;
}

cny_confirm *cny_confirms_add(cny_channel *channel, const cny_publish *publish)
{
    cny_confirms *confirms = &channel->confirms;
    cny_confirm *added = cny_confirms_at(confirms, confirms->next++);
    *added = (cny_confirm){
        .message = coney_message_ref(publish->message),
        .callback = publish->callback,
        .user = publish->user,
        .waiter = cny_waiter_ref(publish->waiter),
        .sent_us = publish->sent_us ? publish->sent_us : cny_now_us(),
        .exchange_hash = hash_text(publish->exchange),
        .routing_key_hash = hash_text(publish->routing_key),
        .mandatory = publish->mandatory,
        .synchronous = publish->synchronous,
        .blamed = publish->blamed,
    };
    if (cny_route_is_short(publish))
        memcpy(stpcpy(added->short_route, publish->exchange) + 1, publish->routing_key,
               strlen(publish->routing_key) + 1);
    confirms->unfinished++;
    channel->statistics.unconfirmed++;
    cny_outcome_awaited();
    if (publish->sent_us)
        channel->statistics.resent++;
    else
        channel->statistics.sent++;
    return added;
}

const char *cny_confirm_route(const cny_confirm *confirm)
{
    return confirm->route ? confirm->route : confirm->short_route;
}

/* ---- outcomes ---- */

/* Stands in for the callback of a send that has none and failed: somebody should know. */
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

/* Has a failure that nobody hears of logged, but each only once. */
static bool must_log(cny_confirms *confirms, cny_error *error)
{
    if (!error || error == confirms->unheard)
        return false;
    cny_error_unref(confirms->unheard);
    confirms->unheard = cny_error_ref(error);
    return true;
}

/* A refusal tells more than the losses it brings about, which may come first. */
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

/* A sender that wakes sends again at once, and would only wait for the lock: so not under it. */
static bool tell_waiter(cny_connection *connection, cny_waiter *waiter, cny_error *error)
{
    if (!connection->settling)
        return cny_waiter_tell(waiter, error);
    waiter->next_told = connection->told;
    connection->told = cny_waiter_ref(waiter);
    return cny_waiter_set(waiter, error);
}

/* Hands the outcome to whoever asked. Takes the confirm's message. */
static void tell(cny_channel *channel, cny_confirm *confirm, cny_error *error)
{
    count_outcome(&channel->statistics, error);
    bool heard = confirm->callback || (confirm->waiter && tell_waiter(channel->connection, confirm->waiter, error));
    if (!heard && channel->confirms.tallied) {
        tally(&channel->confirms, error);
        heard = true;
    }
    bool log_it = !heard && must_log(&channel->confirms, error);
    if (confirm->callback || log_it) {
        cny_completion completion = {
            .callback = log_it ? log_unheard : confirm->callback,
            .user = confirm->user,
            .message = confirm->message,
            .error = log_it ? with_route(confirm, error) : cny_error_ref(error),
            .finished = cny_channel_callbacks_returned,
            .owner = cny_channel_ref(channel),
        };
        if (cny_events_post(channel->connection->events, &completion))
            return;
        cny_connection_remark(channel->connection, "out of memory: a send callback is not called");
        cny_error_unref(completion.error);
        cny_channel_unref(channel);
    }
    coney_message_unref(confirm->message);
    channel->confirms.unfinished--;
}

static void clear(cny_confirm *confirm)
{
    cny_waiter_unref(confirm->waiter);
    cny_free(confirm->route);
    *confirm = (cny_confirm){.done = true};
}

/* error is borrowed; NULL is an ack. A return that came before wins. */
static void finish(cny_channel *channel, cny_confirm *confirm, cny_error *error)
{
    cny_error *returned = confirm->returned;
    tell(channel, confirm, returned ? returned : error);
    cny_error_unref(returned);
    clear(confirm);
}

static void count_latency(coney_send_statistics *statistics, int64_t latency_us)
{
    int bucket = 0;
    while (latency_us > 1 && bucket < CONEY_LATENCY_BUCKETS - 1) {
        latency_us >>= 1;
        bucket++;
    }
    statistics->latency[bucket]++;
}

static void settle(cny_channel *channel, cny_confirm *confirm, cny_error *error, int64_t read_us)
{
    if (confirm->done)
        return;
    if (!error && !confirm->returned)
        count_latency(&channel->statistics, read_us - confirm->sent_us);
    finish(channel, confirm, error);
}

/* Tells how many there were. */
static size_t settle_stragglers(cny_channel *channel, uint64_t from, uint64_t last, cny_error *error)
{
    cny_confirms *confirms = &channel->confirms;
    cny_straggler *all = cny_stragglers(confirms);
    size_t begin = cny_find_straggler(confirms, from), end = cny_find_straggler(confirms, last + 1);
    for (size_t i = begin; i < end; i++) {
        confirms->expired -= all[i].confirm.done;
        settle(channel, &all[i].confirm, error, channel->connection->last_read_us);
    }
    cny_remove_stragglers(confirms, begin, end);
    return end - begin;
}

void cny_confirms_settled(cny_channel *channel, const cny_incoming *incoming)
{
    cny_confirms *confirms = &channel->confirms;
    uint64_t last = incoming->tag == 0 && incoming->multiple ? confirms->next - 1 : incoming->tag;
    uint64_t from = incoming->multiple ? 0 : last;
    uint64_t sequence = from > confirms->first ? from : confirms->first;
    bool known = last < confirms->next && (incoming->multiple || last >= confirms->first);
    cny_error *error = NULL;
    if (incoming->method == CNY_BASIC_NACK)
        error = cny_error_new(CONEY_E_NACKED, 0,
                              "the broker could not take the message (basic.nack); a full queue that rejects "
                              "publishers, or a failed queue, does that");
    channel->connection->settling = true;
    cny_events_lock(channel->connection->events);
    if (last < confirms->next && settle_stragglers(channel, from, last, error) > 0)
        known = true;
    for (; last < confirms->next && sequence <= last; sequence++)
        settle(channel, cny_confirms_at(confirms, sequence), error, channel->connection->last_read_us);
    cny_events_unlock_quietly(channel->connection->events);
    channel->connection->settling = false;
    cny_error_unref(error);
    if (!known)
        cny_connection_remark(channel->connection, "the broker confirmed a message that is not outstanding");
    cny_confirms_advance(confirms);
    wake_waiting(channel);
}

static bool same_body(const coney_message *a, const coney_message *b)
{
    return a->size == b->size && memcmp(a->body, b->body, a->size) == 0;
}

/* The broker returns properties as they came, so they encode to the same bytes again. */
static bool same_properties(const cny_channel *channel, const coney_message *a, const coney_message *b)
{
    uint32_t frame_max = channel->connection->limits.frame_max;
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
    const cny_channel *channel;
    const coney_message *message;
    uint32_t exchange_hash;
    uint32_t routing_key_hash;
    bool strictly; /* in its properties, too */
} returned;

static bool is_same(const returned *one, const cny_confirm *confirm)
{
    return confirm->message && confirm->mandatory && confirm->exchange_hash == one->exchange_hash &&
           confirm->routing_key_hash == one->routing_key_hash && same_body(confirm->message, one->message) &&
           (!one->strictly || same_properties(one->channel, confirm->message, one->message));
}

static cny_confirm *find_among_stragglers(const returned *one, uint64_t *sequence)
{
    const cny_confirms *confirms = &one->channel->confirms;
    cny_straggler *all = cny_stragglers(confirms);
    for (size_t i = cny_find_straggler(confirms, confirms->return_from); i < cny_straggler_count(confirms); i++) {
        *sequence = all[i].sequence;
        if (is_same(one, &all[i].confirm))
            return &all[i].confirm;
    }
    *sequence = UINT64_MAX;
    return NULL;
}

/* The first one from return_from on; NULL if none is like it. */
static cny_confirm *find_returned(const returned *one, uint64_t *sequence)
{
    const cny_confirms *confirms = &one->channel->confirms;
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

void cny_confirms_returned(cny_channel *channel, const cny_incoming *incoming)
{
    cny_confirms *confirms = &channel->confirms;
    returned one = {
        .channel = channel,
        .message = incoming->message,
        .exchange_hash = hash_text(incoming->message->exchange),
        .routing_key_hash = hash_text(incoming->message->routing_key),
        .strictly = true,
    };
    uint64_t sequence;
    cny_confirm *confirm = find_returned(&one, &sequence);
    one.strictly = false;
    if (!confirm) /* something between us and the broker may have touched the properties */
        confirm = find_returned(&one, &sequence);
    if (!confirm) {
        cny_connection_remark(channel->connection, "the broker returned a message that is not outstanding");
        return;
    }
    confirms->return_from = sequence + 1;
    if (!confirm->done) /* else it has expired */
        confirm->returned = cny_returned_error(incoming);
}

/* What the senders learn whose message may or may not have been taken. */
static cny_error *unknown_outcome(cny_error *reason)
{
    const coney_error *view = cny_error_view(reason);
    if (view->status == CONEY_E_LOST || view->status == CONEY_E_CLOSED)
        return cny_error_ref(reason);
    return cny_error_new(CONEY_E_LOST, view->broker_code, "the channel was closed before the message was confirmed: %s",
                         view->text);
}

/* What a loss leaves is kept for another channel, unless the program wanted the end. */
static bool is_kept(const cny_confirms *confirms, const cny_error *reason)
{
    return confirms->keep && cny_error_view(reason)->status != CONEY_E_CLOSED;
}

static void keep(cny_confirms *confirms, cny_confirm *confirm)
{
    cny_error_unref(confirm->returned);
    confirm->returned = NULL; /* the broker will say so again */
    confirms->kept++;
}

/* The end of a channel, and what it means for a message. */
typedef struct ending {
    cny_channel *channel;
    cny_error *reason;
    cny_error *unknown;
    bool is_refusal;
    bool alone; /* the message */
} ending;

static void end_one(const ending *end, cny_confirm *confirm)
{
    cny_confirms *confirms = &end->channel->confirms;
    if (confirm->done)
        return;
    if (end->is_refusal && (end->alone || cny_confirm_is_named(confirm, cny_error_view(end->reason)->text))) {
        finish(end->channel, confirm, end->reason);
        confirms->suspect = false;
        confirms->found_culprit = true;
    } else if (is_kept(confirms, end->reason)) {
        keep(confirms, confirm);
    } else {
        finish(end->channel, confirm, end->unknown);
    }
}

/* A refusal by the broker concerns the messages it names, or the only message there is; of the others nobody
 * knows. Any other reason is no refusal. */
void cny_confirms_fail(cny_channel *channel, cny_error *reason)
{
    cny_confirms *confirms = &channel->confirms;
    const coney_error *view = cny_error_view(reason);
    const ending end = {
        .channel = channel,
        .reason = reason,
        .unknown = unknown_outcome(reason),
        .is_refusal = view->broker_code != 0 && view->status != CONEY_E_LOST,
        .alone = cny_confirms_outstanding(confirms) == 1,
    };
    confirms->suspect |= end.is_refusal;
    cny_events_lock(channel->connection->events);
    for (size_t i = 0; i < cny_confirms_outstanding(confirms); i++)
        end_one(&end, cny_confirms_nth(confirms, i));
    cny_events_unlock(channel->connection->events);
    cny_error_unref(end.unknown);
    cny_drop_expired(confirms);
    cny_confirms_advance(confirms);
    wake_waiting(channel);
    if (confirms->kept > 0)
        channel->connection->has_news = true;
}

/* All that is not done is kept. */
cny_confirm *cny_confirms_kept_from(cny_channel *channel, size_t *i)
{
    const cny_confirms *confirms = &channel->confirms;
    size_t count = confirms->kept > 0 ? cny_confirms_outstanding(confirms) : 0;
    while (*i < count && cny_confirms_nth(confirms, *i)->done)
        ++*i;
    return *i < count ? cny_confirms_nth(confirms, (*i)++) : NULL;
}

cny_confirm *cny_confirms_oldest_kept(cny_channel *channel)
{
    size_t i = 0;
    return cny_confirms_kept_from(channel, &i);
}

void cny_confirms_end_kept(cny_channel *channel, cny_confirm *confirm, cny_error *reason)
{
    cny_events_lock(channel->connection->events);
    finish(channel, confirm, reason);
    cny_events_unlock(channel->connection->events);
    channel->confirms.kept--;
    cny_confirms_advance(&channel->confirms);
    wake_waiting(channel);
}

void cny_confirms_taken_over(cny_channel *channel, cny_confirm *confirm)
{
    coney_message_unref(confirm->message);
    clear(confirm);
    channel->confirms.unfinished--;
    channel->confirms.kept--;
    channel->statistics.unconfirmed--;
    cny_outcome_known(); /* of this sending: the message was sent again */
    cny_confirms_advance(&channel->confirms);
    wake_waiting(channel);
}

/* ---- the deadline ---- */

/* One for all, so that it is logged once if nobody hears it. */
static cny_error *late(cny_confirms *confirms)
{
    if (!confirms->late)
        confirms->late =
            cny_error_new(CONEY_E_TIMEOUT, 0,
                          "the broker did not confirm the message within %d ms (confirm_timeout_ms); it may have it%s",
                          confirms->timeout_ms, confirms->keep ? ", and it is not sent again after this" : "");
    return confirms->late;
}

/* The broker may still speak about it, so it stays in the window, and its message, if it may be returned, to tell
 * the return from that of a message like it. On a dead channel it is just over. */
static void expire(cny_channel *channel, cny_confirm *confirm)
{
    cny_confirms *confirms = &channel->confirms;
    bool dead = channel->reason != NULL;
    cny_confirm left = {
        .message = !dead && confirm->mandatory ? coney_message_ref(confirm->message) : NULL,
        .exchange_hash = confirm->exchange_hash,
        .routing_key_hash = confirm->routing_key_hash,
        .mandatory = confirm->mandatory,
        .done = true,
    };
    confirms->kept -= dead;
    confirms->expired += !dead;
    finish(channel, confirm, late(confirms));
    *confirm = left;
}

static int64_t due_at(const cny_confirms *confirms, const cny_confirm *confirm)
{
    return confirm->done || confirm->synchronous ? INT64_MAX : confirm->sent_us / 1000 + confirms->timeout_ms;
}

static int64_t expire_stragglers(cny_channel *channel, int64_t now)
{
    const cny_confirms *confirms = &channel->confirms;
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < cny_straggler_count(confirms); i++) {
        cny_confirm *confirm = &cny_stragglers(confirms)[i].confirm;
        int64_t due = due_at(confirms, confirm);
        if (due <= now)
            expire(channel, confirm);
        else if (due < next)
            next = due;
    }
    return next;
}

/* In the order of age. Only on a live channel does it go on outside the ring. */
static int64_t expire_in_ring(cny_channel *channel, int64_t now)
{
    cny_confirms *confirms = &channel->confirms;
    if (confirms->expire_from < confirms->first)
        confirms->expire_from = confirms->first;
    for (; confirms->expire_from < confirms->next; confirms->expire_from++) {
        int64_t due = due_at(confirms, cny_confirms_at(confirms, confirms->expire_from));
        if (due == INT64_MAX)
            continue;
        if (due > now)
            return due;
        if (channel->reason)
            expire(channel, cny_confirms_at(confirms, confirms->expire_from));
        else if (cny_leave_ring(confirms, confirms->expire_from))
            expire(channel, &cny_stragglers(confirms)[cny_find_straggler(confirms, confirms->expire_from)].confirm);
        else
            return due;
    }
    return INT64_MAX;
}

int64_t cny_channel_expire(cny_channel *channel, int64_t now)
{
    int64_t next = INT64_MAX;
    cny_channel_lock(channel);
    if (channel->confirms.timeout_ms > 0) {
        cny_events_lock(channel->connection->events);
        int64_t next_in_ring = expire_in_ring(channel, now);
        next = expire_stragglers(channel, now);
        next = next_in_ring < next ? next_in_ring : next;
        cny_events_unlock(channel->connection->events);
        cny_confirms_advance(&channel->confirms);
        wake_waiting(channel);
    }
    cny_channel_unlock(channel);
    return next;
}

void cny_confirms_returned_callbacks(cny_channel *channel, size_t count)
{
    channel->confirms.unfinished -= count;
    wake_waiting(channel);
}
