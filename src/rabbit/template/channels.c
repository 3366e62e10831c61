/* SPDX-License-Identifier: MIT */
/* The channel of a template: opened by the first sender, replaced when it is gone.
 *
 * With resend_unconfirmed, channels that are gone keep what was unconfirmed on them. The recovery
 * thread sends that again on a new channel, oldest first, and senders wait until it is done. */
#include "rabbit/template/template.h"

#include <string.h>

#define RESEND_CHANNEL_TIMEOUT_MS 2000 /* no longer: other connections wait for the recovery thread */
#define LOOK_UP_MS 200
#define ONE_BY_ONE_WAIT_MS 100
#define RESEND_ROUNDS 10
#define MAX_RETIRED 8 /* with callbacks on their way: each has a window of its own, and memory has an end */

/* ---- the channel ---- */

/* What a channel has on it was taken from those that still keep something, so it is older. */
static void insert_retired(coney_template *sender, cny_channel *channel)
{
    size_t count = sender->retired.size / sizeof channel, at = 0;
    cny_buffer_append(&sender->retired, &channel, sizeof channel); /* there is room, see install() */
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    while (at < count && cny_channel_kept(retired[at]) == 0)
        at++;
    memmove(&retired[at + 1], &retired[at], (count - at) * sizeof *retired);
    retired[at] = channel;
}

/* Under lock. The room is for the day when the channel is retired with messages that must not be lost. */
static coney_status install(coney_template *sender, cny_channel *channel)
{
    if (!cny_buffer_reserve(&sender->retired, sizeof channel))
        return cny_fail_memory();
    sender->channel = channel;
    return CONEY_OK;
}

/* The message that made the broker close a channel is known: the others need not go one by one. */
static void acquit_retired(const coney_template *sender)
{
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    for (size_t i = 0; i < sender->retired.size / sizeof *retired; i++)
        cny_channel_acquit(retired[i]);
}

/* Nothing changes on it any more, so its counts are complete. */
static void let_go(coney_template *sender, cny_channel *channel)
{
    cny_channel_add_statistics(channel, &sender->ended);
    cny_channel_unref(channel);
}

/* Under lock: puts a dead channel aside until its callbacks have run and what it kept is sent again,
 * and lets those go that have nothing left. */
static void retire(coney_template *sender)
{
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    size_t kept = 0;
    for (size_t i = 0; i < sender->retired.size / sizeof *retired; i++) {
        if (cny_channel_finished(retired[i]))
            let_go(sender, retired[i]);
        else
            retired[kept++] = retired[i];
    }
    sender->retired.size = kept * sizeof *retired;
    cny_channel *old = sender->channel;
    if (!old || cny_channel_alive(old))
        return;
    sender->channel = NULL;
    if (cny_channel_found_culprit(old))
        acquit_retired(sender);
    if (cny_channel_finished(old))
        let_go(sender, old);
    else
        insert_retired(sender, old);
    sender->kept_waits = false;
}

/* Under lock. */
bool cny_template_has_kept(const coney_template *sender)
{
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    for (size_t i = 0; i < sender->retired.size / sizeof *retired; i++) {
        if (cny_channel_kept(retired[i]) > 0)
            return true;
    }
    return false;
}

/* Under lock. What waits for its exchange or queue to be declared holds up nothing that goes elsewhere. */
static bool has_kept_to_go(const coney_template *sender)
{
    bool all_wait = sender->kept_waits && sender->kept_since == cny_declarations_settled(sender->factory);
    return !all_wait && cny_template_has_kept(sender);
}

static coney_status select_confirms(const coney_template *sender, cny_channel *made, int64_t deadline)
{
    const cny_confirm_options options = {
        .max_unconfirmed = sender->options.max_unconfirmed,
        .timeout_ms = sender->options.confirm_timeout_ms,
        .keep = sender->options.resend_unconfirmed,
    };
    return cny_channel_confirm_select(made, &options, deadline);
}

static void drop(cny_channel *channel)
{
    cny_channel_close(channel);
    cny_channel_unref(channel);
}

/* The broker does not answer; that does not mean that it may have the message. */
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

/* Until there is one: a connection lost meanwhile has cost nothing. */
coney_status cny_template_open_channel(const coney_template *sender, cny_channel **channel, bool confirms,
                                       int64_t deadline)
{
    bool at_once = sender->options.flow == CONEY_FLOW_FAIL;
    for (;;) {
        coney_status status = cny_channel_open(channel, sender->factory, CONEY_PUBLISHING, at_once, deadline);
        if (status == CONEY_OK && confirms)
            status = select_confirms(sender, *channel, deadline);
        if (status == CONEY_E_TIMEOUT)
            return no_channel_in_time(sender);
        if (status != CONEY_E_LOST)
            return status;
        drop(*channel);
        *channel = NULL;
        if (cny_now_ms() >= deadline)
            return cny_fail_code(CONEY_E_CONNECT, coney_last_error_details()->broker_code,
                                 "not connected within the deadline: %s", coney_last_error());
    }
}

/* Under lock, which is not held meanwhile: gives the template a channel. */
static coney_status renew_channel(coney_template *sender, int64_t deadline)
{
    sender->busy = true;
    pthread_mutex_unlock(&sender->lock);
    cny_channel *made = NULL;
    coney_status status = cny_template_open_channel(sender, &made, true, deadline);
    pthread_mutex_lock(&sender->lock);
    if (status == CONEY_OK)
        status = install(sender, made);
    if (status != CONEY_OK)
        drop(made);
    sender->busy = false;
    pthread_cond_broadcast(&sender->idle);
    return status;
}

/* Under lock. */
static bool has_older(const coney_template *sender, uint64_t number)
{
    return has_kept_to_go(sender) || cny_store_has_before(sender, number);
}

/* Under lock. A callback that sends must not wait for callbacks. */
static bool is_swamped(const coney_template *sender)
{
    return !sender->channel && sender->retired.size / sizeof(cny_channel *) >= MAX_RETIRED &&
           !cny_factory_on_events_thread(sender->factory);
}

static coney_status swamped(void)
{
    return cny_fail(CONEY_E_LIMIT, "the callbacks of sends on the last %d channels, which are gone, have not returned",
                    MAX_RETIRED);
}

/* Under lock: nobody is busy, what was kept is sent, and what was stored before that number. Who waits for the last
 * sends it himself: for a callback it goes on although the window is full. */
static bool is_our_turn(coney_template *sender, uint64_t number)
{
    if (sender->closed) /* after that the channels stay as they are */
        return true;
    if (sender->busy)
        return false;
    retire(sender);
    if (has_kept_to_go(sender) || is_swamped(sender))
        return false;
    while (sender->channel && cny_store_has_before(sender, number) && cny_store_flush(sender) == CONEY_OK)
        continue;
    return !cny_store_has_before(sender, number);
}

static bool wait_for_turn(coney_template *sender, uint64_t number, int64_t deadline)
{
    bool in_time = true;
    while (!is_our_turn(sender, number)) {
        if (!in_time)
            return false;
        in_time = cny_cond_wait(&sender->idle, &sender->lock, deadline);
    }
    return true;
}

/* Under lock, which is not held meanwhile: what is older waits for a connection, so its reason is ours. */
static coney_status wait_for_connection(coney_template *sender, uint64_t number, int64_t deadline)
{
    if (!has_older(sender, number))
        return CONEY_OK;
    pthread_mutex_unlock(&sender->lock);
    coney_status status = cny_factory_wait_open(sender->factory, CONEY_PUBLISHING, deadline);
    pthread_mutex_lock(&sender->lock);
    return status;
}

/* Under lock, with CONEY_FLOW_FAIL: whose turn it is not now must not wait for it, but for a channel that another
 * thread opens. */
static coney_status check_hindrance(coney_template *sender, int64_t deadline)
{
    coney_status status = cny_factory_check_blocked(sender->factory);
    if (status == CONEY_OK && has_kept_to_go(sender)) {
        status = cny_factory_check_open(sender->factory, CONEY_PUBLISHING, deadline);
        if (status == CONEY_OK)
            status = cny_fail(CONEY_E_CONNECT, "connected, but older messages are still being sent again");
    }
    return status == CONEY_OK && is_swamped(sender) ? swamped() : status;
}

coney_status cny_template_no_channel(const coney_template *sender)
{
    coney_status status = cny_factory_check_blocked(sender->factory);
    if (status == CONEY_OK)
        status = cny_factory_wait_open(sender->factory, CONEY_PUBLISHING, cny_now_ms());
    return status == CONEY_OK ? cny_fail(CONEY_E_CONNECT, "connected, but no channel was opened by the deadline")
                              : status;
}

/* At the deadline, so that nothing was sent. */
static coney_status not_our_turn(const coney_template *sender, uint64_t number)
{
    coney_status status = cny_factory_check_blocked(sender->factory);
    if (status != CONEY_OK)
        return status;
    if (has_kept_to_go(sender))
        return cny_fail(CONEY_E_CONNECT, "not sent by the deadline: older messages are still to be sent again");
    if (cny_store_has_before(sender, number))
        return cny_fail(CONEY_E_LIMIT, "not sent by the deadline: %zu messages are still stored, older ones first",
                        sender->store.messages);
    return is_swamped(sender) ? swamped() : cny_template_no_channel(sender);
}

/* Under lock: until nothing older is to be sent first, looking up now and then for a connection lost again. */
static coney_status wait_in_line(coney_template *sender, int64_t deadline)
{
    uint64_t number = sender->store.next;
    for (;;) {
        if (is_our_turn(sender, number))
            return CONEY_OK;
        coney_status status = sender->options.flow == CONEY_FLOW_FAIL ? check_hindrance(sender, deadline)
                                                                      : wait_for_connection(sender, number, deadline);
        if (status != CONEY_OK)
            return status;
        int64_t now = cny_now_ms();
        if (wait_for_turn(sender, number, now + LOOK_UP_MS < deadline ? now + LOOK_UP_MS : deadline))
            return CONEY_OK;
        if (now >= deadline)
            return not_our_turn(sender, number);
    }
}

/* Gives a reference to a live channel. One thread opens it, without the lock; the others wait
 * for that no longer than their own deadlines. */
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
    if (sender->closed) /* perhaps meanwhile; free waits for us and closes the channel */
        status = cny_fail(CONEY_E_CLOSED, "the template is being freed");
    if (status == CONEY_OK)
        *channel = cny_channel_ref(sender->channel);
    if (!at_hand)
        sender->ended.waited_us += (uint64_t)(cny_now_us() - began);
    bool must_tell = sender->store.ended;
    pthread_mutex_unlock(&sender->lock);
    if (must_tell)
        cny_store_tell(sender);
    return status;
}

cny_channel *cny_template_channel_for_now(coney_template *sender)
{
    cny_channel *channel = NULL;
    pthread_mutex_lock(&sender->lock);
    if (!sender->closed && !sender->store.first && is_our_turn(sender, 0) && sender->channel)
        channel = cny_channel_ref(sender->channel);
    pthread_mutex_unlock(&sender->lock);
    return channel;
}

/* ---- sending again; recovery thread ---- */

static bool open_channel_on(coney_template *sender, cny_connection *connection)
{
    int64_t deadline = cny_deadline(RESEND_CHANNEL_TIMEOUT_MS);
    cny_channel *made = NULL;
    coney_status status = cny_channel_open_on(&made, connection, true, deadline);
    if (status == CONEY_OK)
        status = select_confirms(sender, made, deadline);
    pthread_mutex_lock(&sender->lock);
    if (status == CONEY_OK)
        status = install(sender, made);
    pthread_mutex_unlock(&sender->lock);
    if (status != CONEY_OK)
        drop(made);
    return status == CONEY_OK;
}

/* Where they go one by one, the next one goes when the last one is settled, and usually other templates' do, too:
 * if the broker closes the connection over one, it should be alone on it. */
static coney_status resend_one(const coney_template *sender, cny_channel *from)
{
    bool one_by_one = cny_channel_is_suspect(from);
    coney_status status = cny_channel_resend(sender->channel, from);
    if (one_by_one)
        cny_channel_wait_until_settled(sender->channel, cny_deadline(ONE_BY_ONE_WAIT_MS));
    return status;
}

/* The thread that is busy alone changes the channel and the list of retired ones. */
static bool resend_to(coney_template *sender, cny_connection *connection)
{
    if (!sender->channel && !open_channel_on(sender, connection))
        return false;
    cny_channel **retired = (cny_channel **)(void *)sender->retired.data;
    for (size_t i = 0; i < sender->retired.size / sizeof *retired; i++) {
        while (cny_channel_kept(retired[i]) > 0) {
            bool one_only = cny_channel_is_suspect(retired[i]); /* others need the recovery thread, too */
            coney_status status = resend_one(sender, retired[i]);
            if (status == CONEY_E_LIMIT) /* what is left there waits for a declaration */
                break;
            if (status != CONEY_OK || one_only)
                return false;
        }
    }
    return true;
}

/* Under lock, which is not held meanwhile. */
static bool while_busy(coney_template *sender, bool (*part)(coney_template *, cny_connection *),
                       cny_connection *connection)
{
    sender->busy = true;
    pthread_mutex_unlock(&sender->lock);
    bool done = part(sender, connection);
    pthread_mutex_lock(&sender->lock);
    sender->busy = false;
    pthread_cond_broadcast(&sender->idle);
    return done;
}

/* Under lock: the next thing on the way to nothing that is kept or stored; false if it cannot be done now. */
static bool resend_some(coney_template *sender, cny_connection *connection)
{
    if (has_kept_to_go(sender)) {
        uint64_t settled = cny_declarations_settled(sender->factory);
        bool done = while_busy(sender, resend_to, connection);
        sender->kept_waits = done;
        sender->kept_since = settled;
        return done;
    }
    if (!sender->channel)
        return !is_swamped(sender) && while_busy(sender, open_channel_on, connection);
    return cny_store_flush(sender) == CONEY_OK;
}

/* Lets senders in between, and after a while the other members have their turn. */
bool cny_template_resend(void *self, cny_connection *connection)
{
    coney_template *sender = self;
    bool left = true, possible = true;
    for (int i = 0; i < RESEND_ROUNDS && left && possible; i++) {
        pthread_mutex_lock(&sender->lock);
        possible = !sender->busy;
        if (possible && !sender->closed)
            retire(sender);
        left = !sender->closed && has_older(sender, UINT64_MAX);
        if (possible && left)
            possible = resend_some(sender, connection);
        left = left && has_older(sender, UINT64_MAX);
        pthread_mutex_unlock(&sender->lock);
    }
    cny_store_tell(sender);
    if (left && possible)
        cny_factory_attention(sender->factory);
    return !left;
}
