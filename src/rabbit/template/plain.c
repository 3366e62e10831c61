/* SPDX-License-Identifier: MIT */
/* The channel for messages that are sent and forgotten: not in confirm mode, opened by the first
 * sender, replaced when it is gone. What the broker refuses on it is all that is ever heard of it. */
#include "rabbit/template/template.h"

#define QUIET_MS 1000 /* between two lines about refusals: each message may be one */

/* Under lock: takes a channel that is gone, or gives NULL. Who frees the template has what is left. */
static cny_channel *take_dead(coney_template *sender, cny_error **reason)
{
    cny_channel *dead = sender->plain;
    if (!dead || sender->closed || cny_channel_alive(dead))
        return NULL;
    *reason = cny_channel_reason(dead);
    const coney_error *view = cny_error_view(*reason);
    cny_channel_add_statistics(dead, &sender->ended);
    sender->ended.forgotten_refusals += view->broker_code != 0 && view->status != CONEY_E_LOST;
    sender->plain = NULL;
    return dead;
}

/* Under lock. */
static bool must_log(coney_template *sender, const coney_error *reason)
{
    int64_t now = cny_now_ms();
    if (reason->broker_code == 0 || reason->status == CONEY_E_LOST || now < sender->quiet_until)
        return false;
    sender->quiet_until = now + QUIET_MS;
    return true;
}

void cny_template_check_plain_channel(coney_template *sender)
{
    cny_error *reason = NULL;
    pthread_mutex_lock(&sender->lock);
    cny_channel *dead = take_dead(sender, &reason);
    bool log_it = dead && must_log(sender, cny_error_view(reason));
    pthread_mutex_unlock(&sender->lock);
    if (log_it)
        cny_log(
            CONEY_LOG_WARN,
            "the broker refused a message that was sent and forgotten; others sent at that time may be lost, too: %s",
            cny_error_view(reason)->text);
    cny_error_unref(reason);
    cny_channel_unref(dead);
}

/* Under lock, which is not held meanwhile. */
static coney_status open_plain(coney_template *sender, int64_t deadline)
{
    sender->opening_plain = true;
    int64_t began = cny_now_us();
    pthread_mutex_unlock(&sender->lock);
    cny_channel *made = NULL;
    coney_status status = cny_template_open_channel(sender, &made, false, deadline);
    pthread_mutex_lock(&sender->lock);
    sender->plain = made;
    sender->ended.waited_us += (uint64_t)(cny_now_us() - began);
    sender->opening_plain = false;
    pthread_cond_broadcast(&sender->idle);
    return status;
}

/* Under lock: one thread opens it, the others wait for that no longer than their own deadlines. */
static coney_status make_sure_of_plain(coney_template *sender, int64_t deadline)
{
    bool in_time = true;
    while (sender->opening_plain && !sender->closed && in_time)
        in_time = cny_cond_wait(&sender->idle, &sender->lock, deadline);
    if (sender->closed)
        return cny_fail(CONEY_E_CLOSED, "the template is being freed");
    if (sender->opening_plain)
        return cny_template_no_channel(sender);
    return sender->plain ? CONEY_OK : open_plain(sender, deadline);
}

coney_status cny_template_get_plain_channel(coney_template *sender, cny_channel **channel, int64_t deadline)
{
    coney_status status = cny_factory_check_draining(sender->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&sender->lock);
    if (sender->plain && !cny_channel_alive(sender->plain)) {
        pthread_mutex_unlock(&sender->lock);
        cny_template_check_plain_channel(sender);
        pthread_mutex_lock(&sender->lock);
    }
    status = make_sure_of_plain(sender, deadline);
    if (status == CONEY_OK)
        *channel = cny_channel_ref(sender->plain);
    pthread_mutex_unlock(&sender->lock);
    return status;
}
