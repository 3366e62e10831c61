/* SPDX-License-Identifier: MIT */
/* The life of a template: new, a member of its factory, drained, abandoned, freed. On the calling thread; the recovery
 * thread calls on_tick(). */
#include "rabbit/template/channels.h"
#include "rabbit/template/options.h"
#include "rabbit/template/processors.h"
#include "rabbit/template/unsent.h"

#include <string.h>

#define POLL_MS 200
#define AGAIN_MS 10

/* ---- the deadline of confirms and of what is stored ---- */

static int64_t expire_on_all(coney_template *sender, int64_t now)
{
    cny_buffer channels = {0};
    int64_t next = INT64_MAX;
    if (cny_template_channels(sender, &channels) != CONEY_OK)
        return now + AGAIN_MS;
    cny_channel **all = (cny_channel **)(void *)channels.data;
    for (size_t i = 0; i < channels.size / sizeof *all; i++) {
        int64_t due = cny_channel_expire(all[i], now);
        next = due < next ? due : next;
    }
    cny_template_channels_free(&channels);
    return next;
}

/* `watched` is false during the search: a message that is sent meanwhile is found here, or its sender finds `watched`
 * false and wakes the recovery thread. */
static int64_t on_tick(void *self, int64_t now)
{
    coney_template *sender = self;
    cny_template_check_unconfirmed_channel(sender);
    int64_t next_stored = cny_template_expire_stored(sender, now);
    int64_t next_request = cny_rpc_tick(sender->rpc, now);
    next_stored = cny_sooner(next_stored, next_request);
    if (sender->options.confirm_timeout_ms < 0)
        return next_stored;
    atomic_store(&sender->watched, false);
    int64_t next = expire_on_all(sender, now);
    if (next < INT64_MAX)
        atomic_store(&sender->watched, true);
    return next < next_stored ? next : next_stored;
}

/* ---- waiting and the end ---- */

/* Waits for all channels that exist now. */
static coney_status wait_for_channels(coney_template *sender, int64_t deadline)
{
    cny_buffer channels = {0};
    coney_status status = cny_template_channels(sender, &channels);
    cny_channel **all = (cny_channel **)(void *)channels.data;
    for (size_t i = 0; status == CONEY_OK && i < channels.size / sizeof *all; i++)
        status = cny_channel_wait_for_confirms(all[i], deadline);
    cny_template_channels_free(&channels);
    return status;
}

/* Does no message move from channel to channel, and is none left on a channel or in the store? */
static bool is_drained(coney_template *sender)
{
    size_t count;
    pthread_mutex_lock(&sender->lock);
    cny_channel **retired = cny_retired(sender, &count);
    bool drained = !sender->busy && cny_store_is_finished(&sender->store) &&
                   (!sender->channel || cny_channel_finished(sender->channel));
    for (size_t i = 0; i < count; i++)
        drained = drained && cny_channel_finished(retired[i]);
    pthread_mutex_unlock(&sender->lock);
    return drained;
}

/* False if a thread still opens a channel or sends again at the deadline. */
static bool wait_until_idle(coney_template *sender, int64_t deadline)
{
    bool in_time = true;
    pthread_mutex_lock(&sender->lock);
    while ((sender->busy || sender->unconfirmed.opening) && in_time)
        in_time = cny_cond_wait(&sender->changed, &sender->lock, deadline);
    bool idle = !sender->busy && !sender->unconfirmed.opening;
    pthread_mutex_unlock(&sender->lock);
    return idle;
}

/* Nobody need wait for messages that await resending or are stored if the connection does not come back by itself. */
static coney_status check_can_drain(coney_template *sender)
{
    pthread_mutex_lock(&sender->lock);
    bool needs_connection = sender->store.first || (!sender->busy && cny_template_awaits_resend(sender));
    pthread_mutex_unlock(&sender->lock);
    if (!needs_connection || cny_factory_check_given_up(sender->factory, CONEY_PUBLISHING) == CONEY_OK)
        return CONEY_OK;
    return cny_fail_in("messages await resending or are stored, but the connection was given up");
}

/* Checks every POLL_MS, because messages may move to another channel. */
static coney_status drain(coney_template *sender, int64_t deadline)
{
    for (;;) {
        coney_status status = check_can_drain(sender);
        if (status != CONEY_OK)
            return status;
        int64_t now = cny_now_ms(), soon = now + POLL_MS < deadline ? now + POLL_MS : deadline;
        wait_until_idle(sender, soon);
        cny_template_wait_store_finished(sender, soon);
        status = wait_for_channels(sender, soon);
        if (status == CONEY_OK && is_drained(sender))
            return CONEY_OK;
        if (now >= deadline)
            return status == CONEY_OK
                       ? cny_fail(CONEY_E_TIMEOUT, "messages are still stored or to be sent again at the deadline; see "
                                                   "stored and unconfirmed of coney_template_statistics()")
                       : status;
        if (status != CONEY_OK && status != CONEY_E_TIMEOUT)
            return status;
    }
}

coney_status coney_template_wait_for_confirms(coney_template *sender, int timeout_ms)
{
    CNY_DISABLE_CANCEL();
    if (!sender)
        return cny_fail(CONEY_E_INVALID, "wait for confirms: the template is NULL");
    if (timeout_ms < 0)
        return cny_fail(CONEY_E_INVALID, "wait for confirms: timeout_ms is %d, which is below 0", timeout_ms);
    coney_status status = cny_factory_check_process(sender->factory);
    if (status != CONEY_OK)
        return status;
    if (cny_factory_on_events_thread(sender->factory))
        return cny_fail(CONEY_E_STATE, "wait for confirms: a send callback cannot wait for send callbacks");
    return drain(sender, cny_deadline(timeout_ms));
}

/* After this nobody gets a channel, so the channels stay as they are. False if a thread is still busy with them at the
 * deadline, or a callback of a message that ended in the store has not returned. */
static bool refuse_senders(coney_template *sender, int64_t deadline)
{
    pthread_mutex_lock(&sender->lock);
    sender->closed = true;
    cny_store_close(&sender->store, "the template was freed");
    pthread_cond_broadcast(&sender->changed);
    pthread_mutex_unlock(&sender->lock);
    cny_template_tell_unsent(sender);
    bool idle = wait_until_idle(sender, deadline);
    return cny_template_wait_store_finished(sender, deadline) && idle;
}

/* As a member of the factory. */
static coney_status drain_all(void *self, int64_t deadline)
{
    coney_template *sender = self;
    coney_status status = cny_rpc_drain(sender->rpc, deadline);
    cny_error *error = status == CONEY_OK ? NULL : cny_error_capture();
    if (drain(sender, deadline) == CONEY_OK)
        status = cny_error_raise(error);
    else
        status = coney_last_error_details()->status;
    cny_error_unref(error);
    return status;
}

/* The factory is closed, so no thread is busy here any more, unless the recovery thread hangs. */
static void abandon(void *self)
{
    coney_template *sender = self;
    cny_rpc_abandon(sender->rpc, "the connection factory was closed");
    pthread_mutex_lock(&sender->lock);
    if (!sender->busy)
        cny_template_abandon_resend(sender);
    cny_store_close(&sender->store, "the connection factory was closed");
    pthread_cond_broadcast(&sender->changed); /* senders wait until nothing awaits resending */
    pthread_mutex_unlock(&sender->lock);
    cny_template_tell_unsent(sender);
}

/* Completes what is unconfirmed with CONEY_E_CLOSED, and waits until the callbacks have returned. */
static bool close_channels(coney_template *sender, int64_t deadline)
{
    size_t count;
    cny_channel **retired = cny_retired(sender, &count);
    bool finished = true;
    cny_channel_close(sender->channel);
    cny_channel_close(sender->unconfirmed.channel);
    cny_template_abandon_resend(sender);
    for (size_t i = 0; i < count; i++)
        finished = finished && cny_channel_wait_for_confirms(retired[i], deadline) == CONEY_OK;
    return finished && (!sender->channel || cny_channel_wait_for_confirms(sender->channel, deadline) == CONEY_OK);
}

void coney_template_free(coney_template *sender)
{
    CNY_DISABLE_CANCEL();
    if (!sender || cny_factory_check_process(sender->factory) != CONEY_OK)
        return;
    if (cny_factory_on_events_thread(sender->factory)) {
        cny_log(CONEY_LOG_ERROR, "coney_template_free called by a send callback: the template is not freed");
        return;
    }
    int64_t deadline = cny_deadline(sender->options.timeout_ms);
    cny_factory_leave(sender->factory, sender);
    if (!cny_rpc_close(sender->rpc, deadline)) {
        cny_log(CONEY_LOG_ERROR, "a callback of a request did not return within %d ms: its template is not freed",
                sender->options.timeout_ms);
        return;
    }
    if (!refuse_senders(sender, deadline) || !close_channels(sender, deadline)) {
        /* the callback may still use the template */
        cny_log(CONEY_LOG_ERROR, "a send callback did not return within %d ms: its template is not freed",
                sender->options.timeout_ms);
        return;
    }
    cny_template_unref(sender);
}

/* ---- the beginning ---- */

static void find_users(void *self, const char *queue, cny_tell_user *tell, void *to)
{
    const coney_template *sender = self;
    const coney_template_options *options = &sender->options;
    bool is_default = !options->exchange || !*options->exchange;
    if (is_default && options->routing_key && strcmp(options->routing_key, queue) == 0)
        tell("a template of this program, which sends to it by its default routing key", to);
    if (options->rpc.reply_queue && strcmp(options->rpc.reply_queue, queue) == 0)
        tell("a template of this program, which receives replies from it", to);
}

static const cny_member membership = {
    .ref = cny_template_ref,
    .unref = cny_template_unref,
    .find_users = find_users,
    .resend = cny_template_resend,
    .on_tick = on_tick,
    .drain = drain_all,
    .abandon = abandon,
};

static coney_status receive_reply(void *self, coney_message **reply)
{
    return cny_template_process_received(self, reply);
}

static const cny_rpc_owner owner_of_requests = {
    .ref = cny_template_ref, .unref = cny_template_unref, .receive = receive_reply};

static coney_status make_rpc(coney_template *sender, const coney_rpc_options *options)
{
    const cny_rpc_parts parts = {.factory = sender->factory,
                                 .owner = &owner_of_requests,
                                 .self = sender,
                                 .max_unconfirmed = sender->options.max_unconfirmed,
                                 .flow = sender->options.flow};
    return cny_rpc_new(&sender->rpc, &parts, options);
}

coney_status coney_template_new(coney_template **sender, coney_connection_factory *factory,
                                const coney_template_options *options)
{
    CNY_DISABLE_CANCEL();
    static const coney_template_options defaults;
    if (!options)
        options = &defaults;
    if (sender)
        *sender = NULL;
    if (!sender || !factory)
        return cny_fail(CONEY_E_INVALID, "template: sender or factory is NULL");
    if (cny_template_check_options(options) != CONEY_OK)
        return cny_fail_in("template");
    if (cny_factory_check_process(factory) != CONEY_OK)
        return CONEY_E_STATE;
    coney_template *made = cny_alloc(sizeof *made);
    if (!made)
        return cny_fail_memory();
    atomic_init(&made->refs, 1);
    atomic_init(&made->watched, false);
    made->factory = cny_factory_ref(factory);
    made->blocked_us_before = cny_factory_blocked_us(factory);
    pthread_mutex_init(&made->lock, NULL);
    cny_cond_init(&made->changed);
    made->store.limits = &made->options.store;
    cny_processors_init(&made->before_publish);
    cny_processors_init(&made->after_receive);
    coney_status status = cny_template_copy_options(made, options);
    if (status == CONEY_OK)
        status = make_rpc(made, &options->rpc);
    if (status == CONEY_OK)
        status = cny_factory_join(factory, &membership, made);
    if (status != CONEY_OK) {
        cny_template_unref(made);
        return status;
    }
    *sender = made;
    return CONEY_OK;
}
