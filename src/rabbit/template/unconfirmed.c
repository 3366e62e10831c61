/* SPDX-License-Identifier: MIT */
/* The unconfirmed channel, for messages that are sent and forgotten: not in confirm mode, opened by the first sender,
 * replaced when it is gone. Nobody is told what becomes of its messages; only a refusal is logged and counted. Any
 * thread. */
#include "rabbit/template/channels.h"

#define QUIET_MS 1000 /* between two lines in the log, because the broker may refuse each message */

static bool is_refusal(const coney_error *reason)
{
    return reason->broker_code != 0 && reason->status != CONEY_E_LOST;
}

/* Under lock: takes the channel if it is gone, or gives NULL. A closed template keeps it for coney_template_free(). */
static cny_channel *take_dead(coney_template *sender, cny_error **reason)
{
    cny_channel *dead = sender->unconfirmed.channel;
    if (!dead || sender->closed || cny_channel_alive(dead))
        return NULL;
    *reason = cny_channel_reason(dead);
    cny_channel_add_statistics(dead, &sender->ended);
    sender->ended.forgotten_refusals += is_refusal(cny_error_view(*reason));
    sender->unconfirmed.channel = NULL;
    return dead;
}

/* Under lock: at most one refusal in QUIET_MS is logged. */
static bool begin_quiet(coney_template *sender)
{
    int64_t now = cny_now_ms();
    if (now < sender->unconfirmed.quiet_until)
        return false;
    sender->unconfirmed.quiet_until = now + QUIET_MS;
    return true;
}

void cny_template_check_unconfirmed_channel(coney_template *sender)
{
    cny_error *reason = NULL;
    pthread_mutex_lock(&sender->lock);
    cny_channel *dead = take_dead(sender, &reason);
    bool log_it = dead && is_refusal(cny_error_view(reason)) && begin_quiet(sender);
    pthread_mutex_unlock(&sender->lock);
    if (log_it)
        cny_log(
            CONEY_LOG_WARN,
            "the broker refused a message that was sent and forgotten; others sent at that time may be lost, too: %s",
            cny_error_view(reason)->text);
    cny_error_unref(reason);
    cny_channel_unref(dead);
}

/* Under lock, which is not held while the channel is opened. */
static coney_status open_unconfirmed(coney_template *sender, int64_t deadline)
{
    sender->unconfirmed.opening = true;
    int64_t began = cny_now_us();
    pthread_mutex_unlock(&sender->lock);
    cny_channel *made = NULL;
    coney_status status = cny_template_open_channel(sender, &made, false, deadline);
    pthread_mutex_lock(&sender->lock);
    sender->unconfirmed.channel = made;
    sender->ended.waited_us += (uint64_t)(cny_now_us() - began);
    sender->unconfirmed.opening = false;
    pthread_cond_broadcast(&sender->changed);
    return status;
}

/* Under lock: one thread opens the channel, and the others wait for that until their own deadlines. */
static coney_status make_sure_of_channel(coney_template *sender, int64_t deadline)
{
    bool in_time = true;
    while (sender->unconfirmed.opening && !sender->closed && in_time)
        in_time = cny_cond_wait(&sender->changed, &sender->lock, deadline);
    if (sender->closed)
        return cny_fail(CONEY_E_CLOSED, "the template is being freed");
    if (sender->unconfirmed.opening)
        return cny_template_fail_no_channel(sender);
    return sender->unconfirmed.channel ? CONEY_OK : open_unconfirmed(sender, deadline);
}

coney_status cny_template_get_unconfirmed_channel(coney_template *sender, cny_channel **channel, int64_t deadline)
{
    coney_status status = cny_factory_check_draining(sender->factory);
    if (status != CONEY_OK)
        return status;
    pthread_mutex_lock(&sender->lock);
    if (sender->unconfirmed.channel && !cny_channel_alive(sender->unconfirmed.channel)) {
        pthread_mutex_unlock(&sender->lock);
        cny_template_check_unconfirmed_channel(sender);
        pthread_mutex_lock(&sender->lock);
    }
    status = make_sure_of_channel(sender, deadline);
    if (status == CONEY_OK)
        *channel = cny_channel_ref(sender->unconfirmed.channel);
    pthread_mutex_unlock(&sender->lock);
    return status;
}
