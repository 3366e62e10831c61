/* SPDX-License-Identifier: MIT */
/* Tells of messages that ended in the store unsent: calls their callbacks, on the events thread, and wakes their
 * waiters. Called on any thread, without the template's lock. */
#include "rabbit/template/unsent.h"

/* ---- telling ---- */

/* The message does not count any more while its callback runs, because the callback may send. */
static bool begin_telling(const cny_stored *one, bool heard)
{
    pthread_mutex_lock(&one->sender->lock);
    bool must_log = cny_store_begin_telling(&one->sender->store, one, heard);
    pthread_mutex_unlock(&one->sender->lock);
    return must_log;
}

static void finish(cny_stored *one)
{
    coney_template *sender = one->sender;
    cny_stored_free(one);
    pthread_mutex_lock(&sender->lock);
    cny_store_end_telling(&sender->store);
    pthread_cond_broadcast(&sender->changed);
    pthread_mutex_unlock(&sender->lock);
    cny_template_unref(sender);
}

/* On the events thread. A coney_send_callback. */
static void call_back(coney_message *none, const coney_error *error, void *user)
{
    cny_stored *one = user;
    (void)none;
    if (begin_telling(one, one->callback))
        cny_log(CONEY_LOG_WARN, "a stored message had no callback to tell: %s", error->text);
    if (one->callback)
        one->callback(one->message, error, one->user);
    finish(one);
}

static void wake_waiter(cny_stored *one)
{
    if (begin_telling(one, cny_waiter_tell(one->waiter, one->error)))
        cny_log(CONEY_LOG_WARN, "a stored message had nobody to tell: %s", cny_error_view(one->error)->text);
    finish(one);
}

static void post(cny_stored *one)
{
    if (cny_factory_post(one->sender->factory, call_back, one->error, one))
        return;
    cny_log(CONEY_LOG_ERROR, "out of memory, or too late: a send callback is not called: %s",
            cny_error_view(one->error)->text);
    begin_telling(one, true); /* logged already */
    finish(one);
}

void cny_template_tell_unsent(coney_template *sender)
{
    pthread_mutex_lock(&sender->lock);
    cny_stored *ended = cny_store_take_ended(&sender->store);
    pthread_mutex_unlock(&sender->lock);
    while (ended) {
        cny_stored *one = ended;
        ended = one->next;
        cny_template_ref(sender); /* until its callback has returned */
        if (one->waiter)
            wake_waiter(one);
        else
            post(one);
    }
}

/* ---- what is too old ---- */

static int64_t next_expiry(coney_template *sender)
{
    pthread_mutex_lock(&sender->lock);
    int64_t next = cny_store_next_expiry(&sender->store);
    pthread_mutex_unlock(&sender->lock);
    return next;
}

int64_t cny_template_expire_stored(coney_template *sender, int64_t now)
{
    int64_t next = next_expiry(sender);
    if (next > now)
        return next;
    coney_connection_info info = {0};
    coney_connection_factory_info(sender->factory, CONEY_PUBLISHING, &info);
    cny_error *reason = cny_error_new(CONEY_E_TIMEOUT, 0, "never sent: stored for more than %d ms (max_age_ms); %.255s",
                                      sender->options.store.max_age_ms, info.text);
    pthread_mutex_lock(&sender->lock);
    cny_store_expire(&sender->store, now, reason);
    pthread_cond_broadcast(&sender->changed); /* senders wait until older messages have left the store */
    pthread_mutex_unlock(&sender->lock);
    cny_error_unref(reason);
    cny_template_tell_unsent(sender);
    return next_expiry(sender);
}

bool cny_template_wait_store_finished(coney_template *sender, int64_t deadline)
{
    const cny_store *store = &sender->store;
    bool in_time = true;
    pthread_mutex_lock(&sender->lock);
    while (!cny_store_is_finished(store) && in_time)
        in_time = cny_cond_wait(&sender->changed, &sender->lock, deadline);
    bool finished = cny_store_is_finished(store);
    pthread_mutex_unlock(&sender->lock);
    return finished;
}
