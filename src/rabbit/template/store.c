/* SPDX-License-Identifier: MIT */
/* The store of a template with CONEY_FLOW_STORE: asynchronous sends that cannot go now, oldest first. Senders on any
 * thread fill it; the recovery thread empties it (channels.c), and so does a synchronous sender who waits behind it.
 *
 * A stored message is sent, and from then on the channel's affair, or ends here: dropped, too old, or closed. Its
 * callback then runs on the events thread; until it does, it counts, so that dropping cannot fill memory either. */
#include "rabbit/template/template.h"

#include <string.h>

#define AT_ONCE 100 /* sent before others get the lock */

typedef struct cny_stored {
    struct cny_stored *next;
    coney_template *sender;
    coney_message *message; /* a reference */
    coney_send_callback *callback;
    void *user;
    cny_waiter *waiter; /* instead of a callback */
    cny_error *error;   /* why it has ended */
    uint64_t number;
    int64_t stored_at;
    size_t bytes;
    bool mandatory;
    const char *routing_key;
    char exchange[]; /* and behind its NUL the routing key */
} cny_stored;

static void free_stored(cny_stored *one)
{
    cny_outcome_known(); /* or awaited by the channel */
    coney_message_unref(one->message);
    cny_waiter_unref(one->waiter);
    cny_error_unref(one->error);
    cny_free(one);
}

/* NULL without memory. */
static cny_stored *new_stored(coney_template *sender, const cny_publish *publish, size_t bytes)
{
    size_t exchange_size = strlen(publish->exchange) + 1, routing_key_size = strlen(publish->routing_key) + 1;
    cny_stored *one = cny_alloc(sizeof *one + exchange_size + routing_key_size);
    if (!one)
        return NULL;
    one->sender = sender;
    one->message = coney_message_ref(publish->message);
    one->callback = publish->callback;
    one->user = publish->user;
    one->waiter = cny_waiter_ref(publish->waiter);
    one->mandatory = publish->mandatory;
    one->bytes = bytes + sizeof *one;
    one->stored_at = cny_now_ms();
    one->routing_key = one->exchange + exchange_size;
    memcpy(one->exchange, publish->exchange, exchange_size);
    memcpy(one->exchange + exchange_size, publish->routing_key, routing_key_size);
    cny_outcome_awaited();
    return one;
}

static void append(cny_stored **first, cny_stored **last, cny_stored *one)
{
    one->next = NULL;
    if (*first)
        (*last)->next = one;
    else
        *first = one;
    *last = one;
}

/* ---- all under lock ---- */

bool cny_store_has_before(const coney_template *sender, uint64_t number)
{
    return sender->store.first && sender->store.first->number < number;
}

static cny_stored *take_first(cny_store *store)
{
    cny_stored *one = store->first;
    store->first = one->next;
    store->messages--;
    store->bytes -= one->bytes;
    return one;
}

/* It will not be sent, for this reason. */
static void end_first(coney_template *sender, cny_error *reason)
{
    cny_store *store = &sender->store;
    cny_stored *one = take_first(store);
    one->error = cny_error_ref(reason);
    store->telling++;
    store->telling_bytes += one->bytes;
    store->unfinished++;
    append(&store->ended, &store->last_ended, one);
}

static bool fits(const coney_template *sender, size_t bytes)
{
    const coney_store_options *options = &sender->options.store;
    return sender->store.messages < (size_t)options->max_messages && sender->store.bytes + bytes <= options->max_bytes;
}

static coney_status store_is_full(const coney_template *sender)
{
    const coney_store_options *options = &sender->options.store;
    coney_connection_info info = {0};
    coney_connection_factory_info(sender->factory, CONEY_PUBLISHING, &info);
    return cny_fail(
        CONEY_E_LIMIT,
        "the store is full: %zu messages, %zu bytes (max_messages %d, max_bytes %zu); the connection: %.255s",
        sender->store.messages, sender->store.bytes, options->max_messages, options->max_bytes, info.text);
}

/* Those whose callbacks are still to come take memory like those that are stored. */
static coney_status check_telling(const coney_template *sender)
{
    const coney_store_options *options = &sender->options.store;
    if (sender->store.telling <= (size_t)options->max_messages && sender->store.telling_bytes <= options->max_bytes)
        return CONEY_OK;
    return cny_fail(CONEY_E_LIMIT, "the callbacks of %zu messages that left the store unsent have not run yet",
                    sender->store.telling);
}

static coney_status make_room(coney_template *sender, size_t bytes)
{
    const coney_store_options *options = &sender->options.store;
    if (sender->closed || sender->store.closed)
        return cny_fail(CONEY_E_CLOSED, "the template or its connection factory is closed");
    if (bytes > options->max_bytes)
        return cny_fail(CONEY_E_LIMIT, "a message of %zu bytes never fits the store (max_bytes %zu)", bytes,
                        options->max_bytes);
    coney_status status = check_telling(sender);
    if (status != CONEY_OK || fits(sender, bytes))
        return status;
    if (!options->drop_oldest)
        return store_is_full(sender);
    cny_error *reason =
        cny_error_new(CONEY_E_LIMIT, 0,
                      "never sent: dropped from the full store for a newer message (max_messages %d, max_bytes %zu)",
                      options->max_messages, options->max_bytes);
    while (sender->store.first && !fits(sender, bytes)) {
        end_first(sender, reason);
        sender->store.dropped++;
    }
    cny_error_unref(reason);
    return CONEY_OK;
}

static coney_status send_first(coney_template *sender)
{
    const cny_stored *one = sender->store.first;
    coney_status status = cny_declarations_wait(sender->factory, one->exchange, one->routing_key, 0);
    if (status != CONEY_OK)
        return status;
    const cny_publish publish = {
        .exchange = one->exchange,
        .routing_key = one->routing_key,
        .message = one->message,
        .mandatory = one->mandatory,
        .flow = CONEY_FLOW_STORE,
        .stored = true,
        .callback = one->callback,
        .user = one->user,
        .waiter = one->waiter,
    };
    return cny_channel_publish(sender->channel, &publish, 0);
}

/* Publishing under the lock waits for nothing, and keeps the order without more ado. */
coney_status cny_store_flush(coney_template *sender)
{
    cny_store *store = &sender->store;
    coney_status status = CONEY_OK;
    for (int i = 0; i < AT_ONCE && store->first && status == CONEY_OK; i++) {
        status = send_first(sender);
        if (status == CONEY_OK) {
            free_stored(take_first(store));
            cny_template_watch(sender);
        }
        if (status != CONEY_E_INVALID)
            continue;
        cny_error *unfit = cny_error_capture(); /* for this connection's frames */
        end_first(sender, unfit);
        cny_error_unref(unfit);
        status = CONEY_OK;
    }
    if (!store->first)
        store->unheard = false;
    pthread_cond_broadcast(&sender->idle);
    return status;
}

void cny_store_close(coney_template *sender, const char *why)
{
    sender->store.closed = true;
    if (!sender->store.first)
        return;
    cny_error *reason = cny_error_new(CONEY_E_CLOSED, 0, "never sent: %s while it was stored", why);
    while (sender->store.first)
        end_first(sender, reason);
    cny_error_unref(reason);
}

/* ---- telling ---- */

static void finish(cny_stored *one)
{
    coney_template *sender = one->sender;
    free_stored(one);
    pthread_mutex_lock(&sender->lock);
    sender->store.unfinished--;
    pthread_cond_broadcast(&sender->idle);
    pthread_mutex_unlock(&sender->lock);
    cny_template_unref(sender);
}

/* While its callback runs it does not count any more: that may send. True if nobody hears of it, nor should the log. */
static bool begin_telling(const cny_stored *one, bool heard)
{
    cny_store *store = &one->sender->store;
    pthread_mutex_lock(&one->sender->lock);
    store->telling--;
    store->telling_bytes -= one->bytes;
    bool in_vain = !heard && store->unheard;
    store->unheard |= !heard;
    pthread_mutex_unlock(&one->sender->lock);
    return in_vain;
}

/* On the events thread. */
static void tell_one(coney_message *none, const coney_error *error, void *user)
{
    cny_stored *one = user;
    (void)none;
    bool in_vain = begin_telling(one, one->callback);
    if (one->callback)
        one->callback(one->message, error, one->user);
    else if (!in_vain)
        cny_log(CONEY_LOG_WARN, "a stored message had no callback to tell: %s", error->text);
    finish(one);
}

void cny_store_tell(coney_template *sender)
{
    pthread_mutex_lock(&sender->lock);
    cny_stored *ended = sender->store.ended;
    sender->store.ended = NULL;
    pthread_mutex_unlock(&sender->lock);
    while (ended) {
        cny_stored *one = ended;
        ended = one->next;
        cny_template_ref(sender); /* until its callback has returned */
        if (one->waiter) {
            bool heard = cny_waiter_tell(one->waiter, one->error);
            if (!begin_telling(one, heard) && !heard)
                cny_log(CONEY_LOG_WARN, "a stored message had nobody to tell: %s", cny_error_view(one->error)->text);
            finish(one);
            continue;
        }
        if (cny_factory_post(sender->factory, tell_one, one->error, one))
            continue;
        cny_log(CONEY_LOG_ERROR, "out of memory, or too late: a send callback is not called: %s",
                cny_error_view(one->error)->text);
        begin_telling(one, true); /* logged already */
        finish(one);
    }
}

/* ---- the calls ---- */

static coney_status store(coney_template *sender, const cny_publish *publish)
{
    size_t bytes;
    coney_status status = cny_publish_check(publish, &bytes);
    if (status == CONEY_OK)
        status = cny_factory_want(sender->factory, CONEY_PUBLISHING); /* a refused login nobody waits out */
    if (status != CONEY_OK)
        return status;
    cny_stored *one = new_stored(sender, publish, bytes);
    if (!one)
        return cny_fail_memory();
    pthread_mutex_lock(&sender->lock);
    bool first = !sender->store.first;
    status = make_room(sender, one->bytes);
    if (status == CONEY_OK) {
        one->number = sender->store.next++;
        sender->store.messages++;
        sender->store.bytes += one->bytes;
        append(&sender->store.first, &sender->store.last, one);
    }
    pthread_mutex_unlock(&sender->lock);
    if (status != CONEY_OK)
        free_stored(one);
    else if (first)
        cny_factory_attention(sender->factory);
    return status;
}

coney_status cny_store_send(coney_template *sender, const cny_publish *publish)
{
    coney_status status = cny_factory_check_draining(sender->factory);
    if (status != CONEY_OK)
        return status;
    cny_publish now_or_later = *publish;
    now_or_later.flow = CONEY_FLOW_STORE;
    cny_channel *channel = cny_template_channel_for_now(sender);
    if (channel) {
        bool is_declared =
            cny_declarations_wait(sender->factory, publish->exchange, publish->routing_key, 0) == CONEY_OK;
        status = is_declared ? cny_channel_publish(channel, &now_or_later, 0) : CONEY_E_BLOCKED;
        cny_channel_unref(channel);
        if (status != CONEY_E_BLOCKED && status != CONEY_E_LIMIT && status != CONEY_E_STALE)
            return status;
    }
    status = store(sender, publish);
    if (status == CONEY_OK)
        cny_store_tell(sender);
    return status;
}

/* Under lock: when the oldest is too old. */
static int64_t next_expiry(const coney_template *sender)
{
    int max_age_ms = sender->options.store.max_age_ms;
    return max_age_ms > 0 && sender->store.first ? sender->store.first->stored_at + max_age_ms : INT64_MAX;
}

static void expire_all(coney_template *sender, int64_t now)
{
    int max_age_ms = sender->options.store.max_age_ms;
    coney_connection_info info = {0};
    coney_connection_factory_info(sender->factory, CONEY_PUBLISHING, &info);
    cny_error *reason = cny_error_new(CONEY_E_TIMEOUT, 0, "never sent: stored for more than %d ms (max_age_ms); %.255s",
                                      max_age_ms, info.text);
    pthread_mutex_lock(&sender->lock);
    while (sender->store.first && next_expiry(sender) <= now) {
        end_first(sender, reason);
        sender->store.expired++;
    }
    pthread_cond_broadcast(&sender->idle); /* for senders behind them */
    pthread_mutex_unlock(&sender->lock);
    cny_error_unref(reason);
    cny_store_tell(sender);
}

static int64_t look_up_expiry(coney_template *sender)
{
    pthread_mutex_lock(&sender->lock);
    int64_t next = next_expiry(sender);
    pthread_mutex_unlock(&sender->lock);
    return next;
}

int64_t cny_store_expire(coney_template *sender, int64_t now)
{
    int64_t next = look_up_expiry(sender);
    if (next > now)
        return next;
    expire_all(sender, now);
    return look_up_expiry(sender);
}

bool cny_store_wait_finished(coney_template *sender, int64_t deadline)
{
    const cny_store *store = &sender->store;
    bool in_time = true;
    pthread_mutex_lock(&sender->lock);
    while ((store->first || store->unfinished > 0) && in_time)
        in_time = cny_cond_wait(&sender->idle, &sender->lock, deadline);
    bool finished = !store->first && store->unfinished == 0;
    pthread_mutex_unlock(&sender->lock);
    return finished;
}

void cny_store_count(const coney_template *sender, coney_send_statistics *statistics)
{
    const cny_store *store = &sender->store;
    statistics->stored = store->messages;
    statistics->stored_bytes = store->bytes;
    statistics->dropped = store->dropped;
    statistics->expired = store->expired;
}
