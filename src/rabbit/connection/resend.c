/* SPDX-License-Identifier: MIT */
/* Sends the unconfirmed messages of a dead channel again, through another channel. Any thread, but one at a time for a
 * channel. */
#include "rabbit/connection/publish.h"

#include <string.h>

size_t cny_channel_awaiting_resend(cny_channel *channel)
{
    cny_channel_lock(channel);
    size_t left = channel->confirms.awaiting_resend;
    cny_channel_unlock(channel);
    return left;
}

/* Under lock. */
static coney_status resend_locked(cny_channel *to, const cny_buffer *head, const cny_publish *publish, int64_t deadline)
{
    (void)deadline;
    if (to->reason)
        return cny_fail(CONEY_E_STALE, "the channel is gone: %s", cny_error_view(to->reason)->text);
    if (!cny_connection_has_room(to->connection, cny_publish_size(to, head, publish->message)))
        return cny_fail(CONEY_E_BLOCKED, "there is no room to send a message again yet");
    return cny_publish_append(to, head, publish);
}

/* Under lock. One of the messages made the broker close the channel, and the broker did not say which one. So the
 * messages go one by one: then the next refusal is about the only message there is. */
static coney_status resend_alone_locked(cny_channel *to, const cny_buffer *head, const cny_publish *publish,
                                        int64_t deadline)
{
    if (!to->reason && !cny_confirms_have_all_outcomes(&to->confirms))
        return cny_fail(CONEY_E_BLOCKED, "there is no room to send a message again yet");
    return resend_locked(to, head, publish, deadline);
}

static coney_status resend(cny_channel *to, const cny_confirm *left, bool one_by_one)
{
    const char *route = cny_confirm_route(left);
    const cny_publish publish = {
        .exchange = route,
        .routing_key = route + strlen(route) + 1,
        .message = left->message,
        .mandatory = left->mandatory,
        .synchronous = left->synchronous,
        .callback = left->callback,
        .user = left->user,
        .waiter = left->waiter,
        .sent_us = left->sent_us,
        .strikes = left->strikes,
    };
    return cny_publish_with_head(to, &publish, one_by_one ? resend_alone_locked : resend_locked, 0);
}

bool cny_channel_seeks_poison(cny_channel *channel)
{
    cny_channel_lock(channel);
    bool seeks = channel->confirms.search == CNY_POISON_SOUGHT;
    cny_channel_unlock(channel);
    return seeks;
}

bool cny_channel_has_found_poison(cny_channel *channel)
{
    cny_channel_lock(channel);
    bool has_found = channel->confirms.search == CNY_POISON_FOUND;
    cny_channel_unlock(channel);
    return has_found;
}

void cny_channel_release_from_search(cny_channel *channel)
{
    cny_channel_lock(channel);
    cny_poison_release(&channel->confirms);
    cny_channel_unlock(channel);
}

static cny_confirm *next_left(cny_channel *from, size_t *i)
{
    cny_channel_lock(from);
    cny_confirm *left = cny_confirms_next_to_resend(&from->confirms, i);
    cny_channel_unlock(from);
    return left;
}

/* The oldest message that may be sent. Messages wait while the program is still to declare their exchange or queue.
 * NULL: all wait. */
static cny_confirm *next_to_resend(cny_channel *from)
{
    const cny_connection *connection = from->connection;
    const cny_confirm *waits = NULL; /* the last one that does: the next is often for the same place */
    size_t i = 0;
    for (cny_confirm *left; (left = next_left(from, &i));) {
        const char *route = cny_confirm_route(left);
        if (waits && waits->exchange_hash == left->exchange_hash && waits->routing_key_hash == left->routing_key_hash)
            continue;
        if (connection->owner->may_send(connection->owner_self, route, route + strlen(route) + 1))
            return left;
        waits = left;
    }
    return NULL;
}

/* The entry stays where it is while the locks are not held, because nobody else touches it. */
coney_status cny_channel_resend(cny_channel *to, cny_channel *from)
{
    cny_confirm *left = next_to_resend(from);
    bool one_by_one = cny_channel_seeks_poison(from);
    if (!left)
        return cny_fail(CONEY_E_LIMIT, "what is left waits for its exchange or queue to be declared");
    coney_status status = resend(to, left, one_by_one);
    if (status != CONEY_OK && status != CONEY_E_INVALID)
        return status;
    cny_error *unfit = status == CONEY_OK ? NULL : cny_error_capture(); /* for this connection's frames, perhaps */
    cny_channel_lock(from);
    if (unfit)
        cny_confirms_give_up(&from->confirms, left, unfit);
    else
        cny_confirms_resent(&from->confirms, left);
    cny_channel_unlock(from);
    cny_error_unref(unfit);
    return CONEY_OK;
}

void cny_channel_abandon_resend(cny_channel *channel)
{
    cny_error *reason =
        cny_error_new(CONEY_E_CLOSED, 0, "closed by the program before it could be sent again; the broker may have it");
    size_t i = 0;
    cny_channel_lock(channel);
    for (cny_confirm *left; (left = cny_confirms_next_to_resend(&channel->confirms, &i)); i = 0)
        cny_confirms_give_up(&channel->confirms, left, reason);
    cny_channel_unlock(channel);
    cny_error_unref(reason);
}
