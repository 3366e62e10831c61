/* SPDX-License-Identifier: MIT */
/* Sends again what was unconfirmed on retired channels, oldest first, and then what is stored. On the recovery thread,
 * while senders wait for their turn. */
#include "rabbit/template/channels.h"
#include "rabbit/template/unsent.h"

#define RESEND_CHANNEL_TIMEOUT_MS 2000 /* not longer, because other connections need the recovery thread */
#define ONE_BY_ONE_WAIT_MS 100
#define RESEND_ROUNDS 10

static bool open_channel_on(coney_template *sender, cny_connection *connection)
{
    int64_t deadline = cny_deadline(RESEND_CHANNEL_TIMEOUT_MS);
    cny_channel *made = NULL;
    coney_status status = cny_channel_open_on(&made, connection, true, deadline);
    if (status == CONEY_OK)
        status = cny_template_select_confirms(sender, made, deadline);
    pthread_mutex_lock(&sender->lock);
    if (status == CONEY_OK)
        status = cny_template_install_channel(sender, made);
    pthread_mutex_unlock(&sender->lock);
    if (status != CONEY_OK)
        cny_template_drop_channel(made);
    return status == CONEY_OK;
}

/* If messages are sent one by one to find a poison message, the next message waits until this one has its outcome, and
 * usually those of other templates wait, too: if the broker closes the connection over a message, that message should
 * be the only unconfirmed one. */
static coney_status resend_one(const coney_template *sender, cny_channel *from)
{
    bool one_by_one = cny_channel_seeks_poison(from);
    coney_status status = cny_channel_resend(sender->channel, from);
    if (one_by_one)
        cny_channel_wait_for_outcomes(sender->channel, cny_deadline(ONE_BY_ONE_WAIT_MS));
    return status;
}

/* Not under lock: only the thread that is busy changes the channel and the list of retired ones. */
static bool resend_to(coney_template *sender, cny_connection *connection)
{
    if (!sender->channel && !open_channel_on(sender, connection))
        return false;
    size_t count;
    cny_channel **retired = cny_retired(sender, &count);
    for (size_t i = 0; i < count; i++) {
        while (cny_channel_awaiting_resend(retired[i]) > 0) {
            bool one_only =
                cny_channel_seeks_poison(retired[i]); /* because other members need the recovery thread, too */
            coney_status status = resend_one(sender, retired[i]);
            if (status == CONEY_E_LIMIT) /* the rest of this channel waits for a declaration */
                break;
            if (status != CONEY_OK || one_only)
                return false;
        }
    }
    return true;
}

/* Under lock, which is not held while the part runs. */
static bool while_busy(coney_template *sender, bool (*part)(coney_template *, cny_connection *),
                       cny_connection *connection)
{
    sender->busy = true;
    pthread_mutex_unlock(&sender->lock);
    bool done = part(sender, connection);
    pthread_mutex_lock(&sender->lock);
    sender->busy = false;
    pthread_cond_broadcast(&sender->changed);
    return done;
}

/* Under lock: does the next step of what is to be sent again or is stored. False if the step cannot be done now. */
static bool resend_some(coney_template *sender, cny_connection *connection)
{
    if (cny_template_can_resend(sender)) {
        uint64_t changes = cny_declarations_changes(sender->factory);
        bool done = while_busy(sender, resend_to, connection);
        sender->awaits_declarations = done;
        sender->declarations_known = changes;
        return done;
    }
    if (!sender->channel)
        return !cny_template_has_too_many_retired(sender) && while_busy(sender, open_channel_on, connection);
    return cny_template_send_stored(sender) == CONEY_OK;
}

/* Senders get the lock between the rounds, and the other members of the factory get their turn after RESEND_ROUNDS. */
bool cny_template_resend(void *self, cny_connection *connection)
{
    coney_template *sender = self;
    bool left = true, possible = true;
    for (int i = 0; i < RESEND_ROUNDS && left && possible; i++) {
        pthread_mutex_lock(&sender->lock);
        possible = !sender->busy;
        if (possible && !sender->closed)
            cny_template_retire(sender);
        left = !sender->closed && cny_template_has_older(sender, UINT64_MAX);
        if (possible && left)
            possible = resend_some(sender, connection);
        left = left && cny_template_has_older(sender, UINT64_MAX);
        pthread_mutex_unlock(&sender->lock);
    }
    cny_template_tell_unsent(sender);
    if (left && possible)
        cny_factory_wake(sender->factory);
    return !left;
}
