/* SPDX-License-Identifier: MIT */
/* Publisher confirms of one channel: which messages the broker has not spoken about yet, and
 * telling each sender the outcome of each message exactly once. All under the connection's lock.
 *
 * A return names no sequence number. It is matched by what makes it right for any mix of routes:
 * returns come in the order of sending and before their ack, and carry the message. */
#include "rabbit/connection/internal.h"

#include <string.h>

#define FIRST_CAPACITY 64

static cny_confirm *at(const cny_confirms *confirms, uint64_t sequence)
{
    return &confirms->ring[sequence & (confirms->capacity - 1)];
}

static uint32_t hash_bytes(const char *text, size_t size)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619U;
    return hash;
}

static uint32_t hash_text(const char *text)
{
    return hash_bytes(text, strlen(text));
}

coney_status cny_confirms_start(cny_confirms *confirms, size_t max, bool keep)
{
    confirms->ring = cny_alloc(FIRST_CAPACITY * sizeof *confirms->ring);
    if (!confirms->ring)
        return cny_fail_memory();
    confirms->capacity = FIRST_CAPACITY;
    confirms->max = max;
    confirms->keep = keep;
    confirms->first = confirms->next = confirms->return_from = 1; /* as the broker counts */
    return CONEY_OK;
}

void cny_confirms_free(cny_confirms *confirms)
{
    cny_free(confirms->ring);
    cny_error_unref(confirms->unheard);
}

bool cny_confirms_full(const cny_confirms *confirms)
{
    return confirms->unfinished >= confirms->max || confirms->next - confirms->first >= confirms->max;
}

/* A sender that had to wait goes on with a quarter of the window free, not with one place: it
 * then fills many places for one wake-up. */
bool cny_confirms_have_room(const cny_confirms *confirms)
{
    size_t enough = confirms->max - confirms->max / 4;
    return confirms->unfinished < enough && confirms->next - confirms->first < enough;
}

static void wake_waiting(cny_channel *channel)
{
    const cny_confirms *confirms = &channel->confirms;
    bool room = confirms->waiting_senders > 0 && cny_confirms_have_room(confirms);
    bool end = confirms->waiting_for_end > 0 && confirms->unfinished == 0;
    if (room || end)
        pthread_cond_broadcast(&channel->changed);
}

coney_status cny_confirms_reserve(cny_confirms *confirms)
{
    if (confirms->next - confirms->first < confirms->capacity)
        return CONEY_OK;
    cny_confirms bigger = *confirms;
    bigger.capacity *= 2;
    bigger.ring = cny_alloc(bigger.capacity * sizeof *bigger.ring);
    if (!bigger.ring)
        return cny_fail_memory();
    for (uint64_t sequence = confirms->first; sequence < confirms->next; sequence++)
        *at(&bigger, sequence) = *at(confirms, sequence);
    cny_free(confirms->ring);
    *confirms = bigger;
    return CONEY_OK;
}

cny_confirm *cny_confirms_add(cny_channel *channel, const cny_publish *publish, cny_waiter *waiter)
{
    cny_confirms *confirms = &channel->confirms;
    cny_confirm *added = at(confirms, confirms->next++);
    *added = (cny_confirm){
        .message = coney_message_ref(publish->message),
        .callback = waiter ? NULL : publish->callback,
        .user = publish->user,
        .waiter = cny_waiter_ref(waiter),
        .exchange_hash = hash_text(publish->exchange),
        .routing_key_hash = hash_text(publish->routing_key),
        .mandatory = publish->mandatory,
    };
    confirms->unfinished++;
    return added;
}

/* ---- waiters ---- */

cny_waiter *cny_waiter_new(void)
{
    cny_waiter *waiter = cny_alloc(sizeof *waiter);
    if (!waiter)
        return NULL;
    atomic_init(&waiter->refs, 1);
    pthread_mutex_init(&waiter->lock, NULL);
    cny_cond_init(&waiter->told);
    return waiter;
}

cny_waiter *cny_waiter_ref(cny_waiter *waiter)
{
    if (waiter)
        atomic_fetch_add_explicit(&waiter->refs, 1, memory_order_relaxed);
    return waiter;
}

void cny_waiter_unref(cny_waiter *waiter)
{
    if (!waiter || atomic_fetch_sub_explicit(&waiter->refs, 1, memory_order_acq_rel) != 1)
        return;
    cny_error_unref(waiter->error);
    pthread_cond_destroy(&waiter->told);
    pthread_mutex_destroy(&waiter->lock);
    cny_free(waiter);
}

/* A sender that wakes sends again at once, and would only wait for the lock: so not under it. */
static void wake_later(cny_connection *connection, cny_waiter *waiter)
{
    waiter->next_told = connection->told;
    connection->told = cny_waiter_ref(waiter);
}

void cny_waiters_wake(cny_waiter **told)
{
    while (*told) {
        cny_waiter *waiter = *told;
        *told = waiter->next_told;
        pthread_cond_signal(&waiter->told);
        cny_waiter_unref(waiter);
    }
}

/* False if nobody waits any more. */
static bool tell_waiter(cny_connection *connection, cny_waiter *waiter, cny_error *error)
{
    pthread_mutex_lock(&waiter->lock);
    bool there = !waiter->gone;
    waiter->error = cny_error_ref(error);
    waiter->done = true;
    pthread_mutex_unlock(&waiter->lock);
    if (connection->settling)
        wake_later(connection, waiter);
    else
        pthread_cond_signal(&waiter->told);
    return there;
}

bool cny_waiter_wait(cny_waiter *waiter, int64_t deadline)
{
    bool in_time = true;
    pthread_mutex_lock(&waiter->lock);
    while (!waiter->done && in_time)
        in_time = cny_cond_wait(&waiter->told, &waiter->lock, deadline);
    bool done = waiter->done;
    waiter->gone = !done;
    pthread_mutex_unlock(&waiter->lock);
    return done;
}

/* ---- outcomes ---- */

/* Stands in for the callback of a send that has none and failed: somebody should know. */
static void log_unheard(coney_message *message, const coney_error *error, void *user)
{
    (void)message;
    (void)user;
    cny_log(CONEY_LOG_WARN, "not confirmed, and the sender had no callback or did not wait so long: %s", error->text);
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

/* Hands the outcome to whoever asked. Takes the confirm's message. */
static void tell(cny_channel *channel, cny_confirm *confirm, cny_error *error)
{
    bool heard = confirm->callback || (confirm->waiter && tell_waiter(channel->connection, confirm->waiter, error));
    bool log_it = !heard && must_log(&channel->confirms, error);
    if (confirm->callback || log_it) {
        cny_completion completion = {
            .callback = log_it ? log_unheard : confirm->callback,
            .user = confirm->user,
            .message = confirm->message,
            .error = cny_error_ref(error),
            .channel = cny_channel_ref(channel),
        };
        if (cny_events_post(channel->connection->events, &completion))
            return;
        cny_connection_remark(channel->connection, "out of memory: a send callback is not called");
        cny_error_unref(completion.error);
        cny_channel_unref(completion.channel);
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

static void advance(cny_confirms *confirms)
{
    while (confirms->first < confirms->next && at(confirms, confirms->first)->done)
        confirms->first++;
    if (confirms->return_from < confirms->first)
        confirms->return_from = confirms->first;
}

void cny_confirms_settled(cny_channel *channel, const cny_incoming *incoming)
{
    cny_confirms *confirms = &channel->confirms;
    uint64_t last = incoming->tag == 0 && incoming->multiple ? confirms->next - 1 : incoming->tag;
    uint64_t sequence = incoming->multiple ? confirms->first : last;
    if (last >= confirms->next || sequence < confirms->first) {
        cny_connection_remark(channel->connection, "the broker confirmed a message that is not outstanding");
        return;
    }
    cny_error *error = NULL;
    if (incoming->method == CNY_BASIC_NACK)
        error = cny_error_new(CONEY_E_NACKED, 0,
                              "the broker could not take the message (basic.nack); a full queue that rejects "
                              "publishers, or a failed queue, does that");
    channel->connection->settling = true;
    cny_events_lock(channel->connection->events);
    for (; sequence <= last; sequence++) {
        if (!at(confirms, sequence)->done)
            finish(channel, at(confirms, sequence), error);
    }
    cny_events_unlock(channel->connection->events);
    channel->connection->settling = false;
    cny_error_unref(error);
    advance(confirms);
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

/* The sequence number of the message that came back, 0 if none is like it. */
static uint64_t find_returned(const cny_channel *channel, const coney_message *message, bool strictly)
{
    const cny_confirms *confirms = &channel->confirms;
    uint32_t exchange_hash = hash_text(message->exchange);
    uint32_t routing_key_hash = hash_text(message->routing_key);
    for (uint64_t sequence = confirms->return_from; sequence < confirms->next; sequence++) {
        const cny_confirm *confirm = at(confirms, sequence);
        bool match = !confirm->done && confirm->mandatory && confirm->exchange_hash == exchange_hash &&
                     confirm->routing_key_hash == routing_key_hash && same_body(confirm->message, message);
        if (match && (!strictly || same_properties(channel, confirm->message, message)))
            return sequence;
    }
    return 0;
}

void cny_confirms_returned(cny_channel *channel, const cny_incoming *incoming)
{
    cny_confirms *confirms = &channel->confirms;
    uint64_t sequence = find_returned(channel, incoming->message, true);
    if (sequence == 0) /* something between us and the broker may have touched the properties */
        sequence = find_returned(channel, incoming->message, false);
    if (sequence == 0) {
        cny_connection_remark(channel->connection, "the broker returned a message that is not outstanding");
        return;
    }
    at(confirms, sequence)->returned = cny_error_new(
        CONEY_E_RETURNED, incoming->code, "%u %s: no queue takes a message for exchange '%s' with routing key '%s'",
        incoming->code, incoming->text, incoming->message->exchange, incoming->message->routing_key);
    confirms->return_from = sequence + 1;
}

/* Channel exceptions name the exchange in quotes: "NOT_FOUND - no exchange 'x' in vhost '/'". */
static uint32_t hash_of_named_exchange(const char *text)
{
    const char *from = strstr(text, "exchange '");
    const char *to = from ? strchr(from + 10, '\'') : NULL;
    return to ? hash_bytes(from + 10, (size_t)(to - from - 10)) : 0;
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

/* A refusal by the broker concerns the messages for the exchange it names, or the only message
 * there is; of the others nobody knows. Any other reason is no refusal. */
void cny_confirms_fail(cny_channel *channel, cny_error *reason)
{
    cny_confirms *confirms = &channel->confirms;
    const coney_error *view = cny_error_view(reason);
    bool refusal = view->broker_code != 0 && view->status != CONEY_E_LOST;
    uint32_t refused_exchange = hash_of_named_exchange(view->text);
    bool alone = confirms->next - confirms->first == 1;
    confirms->suspect = refusal;
    cny_error *unknown = unknown_outcome(reason);
    cny_events_lock(channel->connection->events);
    for (uint64_t sequence = confirms->first; sequence < confirms->next; sequence++) {
        cny_confirm *confirm = at(confirms, sequence);
        bool concerned = alone || (refused_exchange != 0 && confirm->exchange_hash == refused_exchange);
        if (confirm->done)
            continue;
        if (refusal && concerned) {
            finish(channel, confirm, reason);
            confirms->suspect = false;
            confirms->found_culprit = true;
        } else if (is_kept(confirms, reason)) {
            keep(confirms, confirm);
        } else {
            finish(channel, confirm, unknown);
        }
    }
    cny_events_unlock(channel->connection->events);
    cny_error_unref(unknown);
    advance(confirms);
    wake_waiting(channel);
    if (confirms->kept > 0)
        channel->connection->has_news = true;
}

cny_confirm *cny_confirms_oldest_kept(cny_channel *channel)
{
    cny_confirms *confirms = &channel->confirms;
    return confirms->kept > 0 ? at(confirms, confirms->first) : NULL; /* all that is not done is kept */
}

void cny_confirms_end_kept(cny_channel *channel, cny_confirm *confirm, cny_error *reason)
{
    cny_events_lock(channel->connection->events);
    finish(channel, confirm, reason);
    cny_events_unlock(channel->connection->events);
    channel->confirms.kept--;
    advance(&channel->confirms);
    wake_waiting(channel);
}

void cny_confirms_taken_over(cny_channel *channel, cny_confirm *confirm)
{
    coney_message_unref(confirm->message);
    clear(confirm);
    channel->confirms.unfinished--;
    channel->confirms.kept--;
    advance(&channel->confirms);
    wake_waiting(channel);
}

void cny_confirms_finished(cny_channel *channel, size_t count)
{
    if (!channel)
        return;
    pthread_mutex_t *lock = &channel->connection->lock;
    pthread_mutex_lock(lock);
    channel->confirms.unfinished -= count;
    wake_waiting(channel);
    pthread_mutex_unlock(lock);
}
