/* SPDX-License-Identifier: MIT */
/* Sending again what a dead channel has kept, on another one. Any thread, but one at a time for a channel. */
#include "rabbit/connection/publish.h"

#include <string.h>

size_t cny_channel_kept(cny_channel *channel)
{
    cny_channel_lock(channel);
    size_t kept = channel->confirms.kept;
    cny_channel_unlock(channel);
    return kept;
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

/* Under lock. When one of the messages made the broker close the channel and it did not say which, they go one by one:
 * the next refusal is about the only one there is. */
static coney_status resend_alone_locked(cny_channel *to, const cny_buffer *head, const cny_publish *publish,
                                        int64_t deadline)
{
    if (!to->reason && !cny_confirms_settled_all(&to->confirms))
        return cny_fail(CONEY_E_BLOCKED, "there is no room to send a message again yet");
    return resend_locked(to, head, publish, deadline);
}

static coney_status resend(cny_channel *to, const cny_confirm *kept, bool one_by_one)
{
    const char *route = cny_confirm_route(kept);
    const cny_publish publish = {
        .exchange = route,
        .routing_key = route + strlen(route) + 1,
        .message = kept->message,
        .mandatory = kept->mandatory,
        .synchronous = kept->synchronous,
        .callback = kept->callback,
        .user = kept->user,
        .waiter = kept->waiter,
        .sent_us = kept->sent_us,
        .blamed = kept->blamed,
    };
    return cny_publish_with_head(to, &publish, one_by_one ? resend_alone_locked : resend_locked, 0);
}

bool cny_channel_is_suspect(cny_channel *channel)
{
    cny_channel_lock(channel);
    bool suspect = channel->confirms.suspect;
    cny_channel_unlock(channel);
    return suspect;
}

bool cny_channel_found_culprit(cny_channel *channel)
{
    cny_channel_lock(channel);
    bool found = channel->confirms.found_culprit;
    cny_channel_unlock(channel);
    return found;
}

void cny_channel_acquit(cny_channel *channel)
{
    cny_channel_lock(channel);
    channel->confirms.suspect = false;
    cny_channel_unlock(channel);
}

static cny_confirm *kept_from(cny_channel *from, size_t *i)
{
    cny_channel_lock(from);
    cny_confirm *kept = cny_confirms_kept_from(&from->confirms, i);
    cny_channel_unlock(from);
    return kept;
}

/* The oldest that may go: those wait whose exchange or queue the program is still to declare. NULL: none may. */
static cny_confirm *next_to_resend(cny_channel *from)
{
    const cny_connection *connection = from->connection;
    const cny_confirm *waits = NULL; /* the last one that does: the next is often for the same place */
    size_t i = 0;
    for (cny_confirm *kept; (kept = kept_from(from, &i));) {
        const char *route = cny_confirm_route(kept);
        if (waits && waits->exchange_hash == kept->exchange_hash && waits->routing_key_hash == kept->routing_key_hash)
            continue;
        if (connection->owner->may_send(connection->owner_self, route, route + strlen(route) + 1))
            return kept;
        waits = kept;
    }
    return NULL;
}

/* The kept entry stays where it is while the locks are not held: nobody else touches it. */
coney_status cny_channel_resend(cny_channel *to, cny_channel *from)
{
    cny_confirm *kept = next_to_resend(from);
    bool one_by_one = cny_channel_is_suspect(from);
    if (!kept)
        return cny_fail(CONEY_E_LIMIT, "what is left waits for its exchange or queue to be declared");
    coney_status status = resend(to, kept, one_by_one);
    if (status != CONEY_OK && status != CONEY_E_INVALID)
        return status;
    cny_error *unfit = status == CONEY_OK ? NULL : cny_error_capture(); /* for this connection's frames, perhaps */
    cny_channel_lock(from);
    if (unfit)
        cny_confirms_end_kept(&from->confirms, kept, unfit);
    else
        cny_confirms_taken_over(&from->confirms, kept);
    cny_channel_unlock(from);
    cny_error_unref(unfit);
    return CONEY_OK;
}

void cny_channel_abandon_kept(cny_channel *channel)
{
    cny_error *reason =
        cny_error_new(CONEY_E_CLOSED, 0, "closed by the program before it could be sent again; the broker may have it");
    cny_confirm *kept;
    cny_channel_lock(channel);
    while ((kept = cny_confirms_oldest_kept(&channel->confirms)))
        cny_confirms_end_kept(&channel->confirms, kept, reason);
    cny_channel_unlock(channel);
    cny_error_unref(reason);
}
