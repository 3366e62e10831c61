/* SPDX-License-Identifier: MIT */
/* The channel of a template: opened by the first sender, replaced when it is gone. On the threads of senders and on
 * the recovery thread.
 *
 * Older messages go first. With resend_unconfirmed the recovery thread sends again what was unconfirmed on channels
 * that are gone (resend.c), and stored messages follow; a sender waits for both. */
#include "rabbit/template/channels.h"
#include "rabbit/template/unsent.h"

#include <string.h>

#define POLL_MS 200
#define AT_ONCE 100   /* stored messages that are sent before other threads get the lock */
#define MAX_RETIRED 8 /* bounds the memory: each channel has a window of messages whose callbacks have not returned */

/* ---- the channel ---- */

/* Reserves the room for the time when the channel is retired, because its messages must not be lost then. */
coney_status cny_template_install_channel(coney_template *sender, cny_channel *channel)
{
    if (!cny_buffer_reserve(&sender->retired, sizeof channel))
        return cny_fail_memory();
    sender->channel = channel;
    return CONEY_OK;
}

coney_status cny_template_select_confirms(const coney_template *sender, cny_channel *made, int64_t deadline)
{
    const cny_confirm_options options = {
        .max_unconfirmed = sender->options.max_unconfirmed,
        .timeout_ms = sender->options.confirm_timeout_ms,
        .resends = sender->options.resend_unconfirmed,
    };
    return cny_channel_confirm_select(made, &options, deadline);
}

void cny_template_drop_channel(cny_channel *channel)
{
    cny_channel_close(channel);
    cny_channel_unref(channel);
}

/* The broker has not answered. CONEY_E_TIMEOUT would mean that it may have the message, so this has another status. */
static coney_status no_channel_in_time(const coney_template *sender)
{
    cny_error *silence = cny_error_capture();
    coney_status status = cny_factory_check_blocked(sender->factory);
    if (status == CONEY_OK)
        status = cny_fail(CONEY_E_CONNECT, "connected, but no channel was opened by the deadline: %s",
                          cny_error_view(silence)->text);
    cny_error_unref(silence);
    return status;
}

/* Tries again after the loss of a connection, because no message has been sent on it. */
coney_status cny_template_open_channel(const coney_template *sender, cny_channel **channel, bool confirms,
                                       int64_t deadline)
{
    bool at_once = sender->options.flow == CONEY_FLOW_FAIL;
    for (;;) {
        coney_status status = cny_channel_open(channel, sender->factory, CONEY_PUBLISHING, at_once, deadline);
        if (status == CONEY_OK && confirms)
            status = cny_template_select_confirms(sender, *channel, deadline);
        if (status == CONEY_E_TIMEOUT)
            return no_channel_in_time(sender);
        if (status != CONEY_E_LOST)
            return status;
        cny_template_drop_channel(*channel);
        *channel = NULL;
        if (cny_now_ms() >= deadline)
            return cny_fail_code(CONEY_E_CONNECT, coney_last_error_details()->broker_code,
                                 "not connected within the deadline: %s", coney_last_error());
    }
}

/* Under lock, which is not held while the channel is opened. */
static coney_status renew_channel(coney_template *sender, int64_t deadline)
{
    sender->busy = true;
    pthread_mutex_unlock(&sender->lock);
    cny_channel *made = NULL;
    coney_status status = cny_template_open_channel(sender, &made, true, deadline);
    pthread_mutex_lock(&sender->lock);
    if (status == CONEY_OK)
        status = cny_template_install_channel(sender, made);
    if (status != CONEY_OK)
        cny_template_drop_channel(made);
    sender->busy = false;
    pthread_cond_broadcast(&sender->changed);
    return status;
}

/* ---- channels that are gone; under lock ---- */

/* While messages await resending, the channel carries only messages that were taken from retired channels. So these are
 * older than the messages that are left there. */
static void insert(coney_template *sender, cny_channel *channel)
{
    size_t at = 0;
    cny_buffer_append(&sender->retired, &channel, sizeof channel); /* install_channel() has reserved the room */
    size_t count;
    cny_channel **retired = cny_retired(sender, &count);
    while (at < count - 1 && cny_channel_awaiting_resend(retired[at]) == 0)
        at++;
    memmove(&retired[at + 1], &retired[at], (count - 1 - at) * sizeof *retired);
    retired[at] = channel;
}

/* The poison message, over which the broker closes channels, is known: the others need not be sent one by one. */
static void release_all(const coney_template *sender)
{
    size_t count;
    cny_channel **retired = cny_retired(sender, &count);
    for (size_t i = 0; i < count; i++)
        cny_channel_release_from_search(retired[i]);
}

/* Nothing changes on the channel any more, so its counts are complete. */
static void let_go(coney_template *sender, cny_channel *channel)
{
    cny_channel_add_statistics(channel, &sender->ended);
    cny_channel_unref(channel);
}

static void let_finished_go(coney_template *sender)
{
    size_t count, left = 0;
    cny_channel **retired = cny_retired(sender, &count);
    for (size_t i = 0; i < count; i++) {
        if (cny_channel_finished(retired[i]))
            let_go(sender, retired[i]);
        else
            retired[left++] = retired[i];
    }
    sender->retired.size = left * sizeof *retired;
}

void cny_template_retire(coney_template *sender)
{
    let_finished_go(sender);
    cny_channel *old = sender->channel;
    if (!old || cny_channel_alive(old))
        return;
    sender->channel = NULL;
    if (cny_channel_has_found_poison(old))
        release_all(sender);
    if (cny_channel_finished(old))
        let_go(sender, old);
    else
        insert(sender, old);
    sender->awaits_declarations = false;
}

bool cny_template_awaits_resend(const coney_template *sender)
{
    size_t count;
    cny_channel **retired = cny_retired(sender, &count);
    for (size_t i = 0; i < count; i++) {
        if (cny_channel_awaiting_resend(retired[i]) > 0)
            return true;
    }
    return false;
}

bool cny_template_can_resend(const coney_template *sender)
{
    bool must_wait =
        sender->awaits_declarations && sender->declarations_known == cny_declarations_changes(sender->factory);
    return !must_wait && cny_template_awaits_resend(sender);
}

/* On the events thread there are never too many: a callback that sends must not wait for callbacks. */
bool cny_template_has_too_many_retired(const coney_template *sender)
{
    return !sender->channel && sender->retired.size / sizeof(cny_channel *) >= MAX_RETIRED &&
           !cny_factory_on_events_thread(sender->factory);
}

static coney_status fail_too_many_retired(void)
{
    return cny_fail(CONEY_E_LIMIT, "the callbacks of sends on the last %d channels, which are gone, have not returned",
                    MAX_RETIRED);
}

void cny_template_abandon_resend(const coney_template *sender)
{
    size_t count;
    cny_channel **retired = cny_retired(sender, &count);
    for (size_t i = 0; i < count; i++)
        cny_channel_abandon_resend(retired[i]);
    if (sender->channel)
        cny_channel_abandon_resend(sender->channel);
}

/* ---- what is stored; under lock ---- */

static coney_status send_first_stored(coney_template *sender)
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

/* The first message does not fit the frames of this connection. */
static void end_unfit(coney_template *sender)
{
    cny_error *unfit = cny_error_capture();
    cny_store_end_first(&sender->store, unfit);
    cny_error_unref(unfit);
}

/* Publishes under the lock, which keeps the order; with the deadline 0 that waits for nothing. */
coney_status cny_template_send_stored(coney_template *sender)
{
    cny_store *store = &sender->store;
    coney_status status = CONEY_OK;
    for (int i = 0; i < AT_ONCE && store->first && status == CONEY_OK; i++) {
        status = send_first_stored(sender);
        if (status == CONEY_OK) {
            cny_store_sent_first(store);
            cny_template_watch(sender);
        } else if (status == CONEY_E_INVALID) {
            end_unfit(sender);
            status = CONEY_OK;
        }
    }
    cny_store_end_round(store);
    pthread_cond_broadcast(&sender->changed);
    return status;
}

/* ---- whose turn it is; under lock ---- */

bool cny_template_has_older(const coney_template *sender, uint64_t number)
{
    return cny_template_can_resend(sender) || cny_store_has_before(&sender->store, number);
}

/* Does what this thread can do to get its turn. True: nothing is left that must go before a message of this number. A
 * sender that waits for stored messages sends them: in a callback it may go beyond the window, and the recovery thread
 * may not. Once the template is closed nobody waits, because the channels stay as they are. */
static bool take_turn(coney_template *sender, uint64_t number)
{
    if (sender->closed)
        return true;
    if (sender->busy)
        return false;
    cny_template_retire(sender);
    if (cny_template_can_resend(sender) || cny_template_has_too_many_retired(sender))
        return false;
    while (sender->channel && cny_store_has_before(&sender->store, number) &&
           cny_template_send_stored(sender) == CONEY_OK)
        continue;
    return !cny_store_has_before(&sender->store, number);
}

static bool wait_for_turn(coney_template *sender, uint64_t number, int64_t deadline)
{
    bool in_time = true, is_ours = take_turn(sender, number);
    while (!is_ours && in_time) {
        in_time = cny_cond_wait(&sender->changed, &sender->lock, deadline);
        is_ours = take_turn(sender, number);
    }
    return is_ours;
}

/* Not under the lock while it waits. If older messages wait for a connection, so does this one, and for the same
 * reason. */
static coney_status wait_for_connection(coney_template *sender, uint64_t number, int64_t deadline)
{
    if (!cny_template_has_older(sender, number))
        return CONEY_OK;
    pthread_mutex_unlock(&sender->lock);
    coney_status status = cny_factory_wait_open(sender->factory, CONEY_PUBLISHING, deadline);
    pthread_mutex_lock(&sender->lock);
    return status;
}

/* With CONEY_FLOW_FAIL a sender waits for nothing but a channel that another thread opens. This is why it is not its
 * turn now. */
static coney_status check_hindrance(coney_template *sender, int64_t deadline)
{
    coney_status status = cny_factory_check_blocked(sender->factory);
    if (status == CONEY_OK && cny_template_can_resend(sender)) {
        status = cny_factory_ensure_open(sender->factory, CONEY_PUBLISHING, deadline);
        if (status == CONEY_OK)
            status = cny_fail(CONEY_E_CONNECT, "connected, but older messages are still being sent again");
    }
    return status == CONEY_OK && cny_template_has_too_many_retired(sender) ? fail_too_many_retired() : status;
}

coney_status cny_template_fail_no_channel(const coney_template *sender)
{
    coney_status status = cny_factory_check_blocked(sender->factory);
    if (status == CONEY_OK)
        status = cny_factory_wait_open(sender->factory, CONEY_PUBLISHING, cny_now_ms());
    return status == CONEY_OK ? cny_fail(CONEY_E_CONNECT, "connected, but no channel was opened by the deadline")
                              : status;
}

/* Why it is not this sender's turn at the deadline. Nothing was sent. */
static coney_status not_our_turn(const coney_template *sender, uint64_t number)
{
    coney_status status = cny_factory_check_blocked(sender->factory);
    if (status != CONEY_OK)
        return status;
    if (cny_template_can_resend(sender))
        return cny_fail(CONEY_E_CONNECT, "not sent by the deadline: older messages are still to be sent again");
    if (cny_store_has_before(&sender->store, number))
        return cny_fail(CONEY_E_LIMIT, "not sent by the deadline: %zu messages are still stored, older ones first",
                        sender->store.messages);
    return cny_template_has_too_many_retired(sender) ? fail_too_many_retired() : cny_template_fail_no_channel(sender);
}

/* Waits until nothing older must be sent first. Checks the connection every POLL_MS: it may be lost again. */
static coney_status wait_in_line(coney_template *sender, int64_t deadline)
{
    uint64_t number = sender->store.next;
    for (;;) {
        if (take_turn(sender, number))
            return CONEY_OK;
        coney_status status = sender->options.flow == CONEY_FLOW_FAIL ? check_hindrance(sender, deadline)
                                                                      : wait_for_connection(sender, number, deadline);
        if (status != CONEY_OK)
            return status;
        int64_t now = cny_now_ms();
        if (wait_for_turn(sender, number, now + POLL_MS < deadline ? now + POLL_MS : deadline))
            return CONEY_OK;
        if (now >= deadline)
            return not_our_turn(sender, number);
    }
}

/* ---- the calls ---- */

coney_status cny_template_get_channel(coney_template *sender, cny_channel **channel, int64_t deadline)
{
    coney_status status = cny_factory_check_draining(sender->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&sender->lock);
    bool at_hand = sender->channel && cny_channel_alive(sender->channel);
    int64_t began = at_hand ? 0 : cny_now_us();
    status = wait_in_line(sender, deadline);
    if (status == CONEY_OK && !sender->closed && !sender->channel)
        status = renew_channel(sender, deadline);
    if (sender->closed) /* free waits for this thread, and closes the channel then */
        status = cny_fail(CONEY_E_CLOSED, "the template is being freed");
    if (status == CONEY_OK)
        *channel = cny_channel_ref(sender->channel);
    if (!at_hand)
        sender->ended.waited_us += (uint64_t)(cny_now_us() - began);
    bool must_tell = sender->store.ended;
    pthread_mutex_unlock(&sender->lock);
    if (must_tell)
        cny_template_tell_unsent(sender);
    return status;
}

cny_channel *cny_template_channel_for_now(coney_template *sender)
{
    cny_channel *channel = NULL;
    pthread_mutex_lock(&sender->lock);
    if (!sender->closed && !sender->store.first && take_turn(sender, 0) && sender->channel)
        channel = cny_channel_ref(sender->channel);
    pthread_mutex_unlock(&sender->lock);
    return channel;
}

coney_status cny_template_channels(coney_template *sender, cny_buffer *channels)
{
    size_t count;
    pthread_mutex_lock(&sender->lock);
    cny_channel **retired = cny_retired(sender, &count);
    bool reserved = cny_buffer_reserve(channels, (count + 1) * sizeof *retired);
    for (size_t i = 0; reserved && i < count; i++) {
        cny_channel_ref(retired[i]);
        cny_buffer_append(channels, &retired[i], sizeof *retired);
    }
    if (reserved && sender->channel) {
        cny_channel_ref(sender->channel);
        cny_buffer_append(channels, &sender->channel, sizeof *retired);
    }
    pthread_mutex_unlock(&sender->lock);
    return reserved ? CONEY_OK : cny_fail_memory();
}

void cny_template_channels_free(cny_buffer *channels)
{
    cny_channel **all = (cny_channel **)(void *)channels->data;
    for (size_t i = 0; i < channels->size / sizeof *all; i++)
        cny_channel_unref(all[i]);
    cny_buffer_free(channels);
}
