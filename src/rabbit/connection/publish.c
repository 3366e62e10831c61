/* SPDX-License-Identifier: MIT */
/* Publishing on a channel: waits for room, commits message and confirm number in one step, and waits for the outcome.
 * Any thread. Knows nothing of what the confirms do. */
#include "rabbit/connection/publish.h"

#include <string.h>

#define A_MOMENT_MS 5
#define ROOM_FOR_CALLBACKS 1000 /* messages beyond max_unconfirmed */

/* ---- publishing ---- */

/* Nothing was sent. `when` says whether that was decided at once or at the deadline. */
static coney_status window_is_full(const cny_channel *channel, const char *when)
{
    const cny_confirms *confirms = &channel->confirms;
    if (*channel->connection->blocked)
        return cny_connection_fail_blocked(channel->connection);
    return cny_fail(CONEY_E_LIMIT, "%zu messages are unconfirmed%s (max_unconfirmed %zu)", cny_confirms_taken(confirms),
                    when, confirms->max);
}

/* A callback must not wait for callbacks, so it sends although the window is full. Messages whose number is limited
 * otherwise are always sent: a synchronous send, of which there is one at a time, and a message out of a store. */
static coney_status check_window_of_callback(const cny_channel *channel, const cny_publish *publish)
{
    const cny_confirms *confirms = &channel->confirms;
    bool has_an_end = publish->synchronous || publish->stored;
    return has_an_end || cny_confirms_taken(confirms) < confirms->max + ROOM_FOR_CALLBACKS
               ? CONEY_OK
               : window_is_full(channel, ", by callbacks,");
}

/* Waits until there is room. If there is a free place but no room, and nothing is confirmed for a moment, messages that
 * the broker is silent about may keep room from coming. Then all who wait take places until the window is full again.
 * */
static void wait_for_place(cny_channel *channel, int64_t deadline)
{
    cny_confirms *confirms = &channel->confirms;
    bool in_time = true;
    confirms->waiting_senders++;
    while (!channel->reason && in_time && !cny_window_lets_go(confirms)) {
        size_t taken = cny_confirms_taken(confirms);
        int64_t moment = cny_deadline(A_MOMENT_MS);
        bool must_look = !cny_confirms_full(confirms) && moment < deadline;
        cny_window_wait(confirms);
        in_time = cny_channel_wait_and_count(channel, &channel->changed, must_look ? moment : deadline);
        if (must_look && !in_time && !channel->reason && cny_confirms_taken(confirms) == taken)
            cny_window_trickle(confirms);
        in_time = in_time || must_look;
    }
    confirms->waiting_senders--;
}

static coney_status wait_for_window(cny_channel *channel, const cny_publish *publish, int64_t deadline)
{
    cny_confirms *confirms = &channel->confirms;
    bool others_wait = confirms->waiting_senders > 0 && !cny_window_lets_go(confirms); /* no overtaking */
    bool must_wait = cny_confirms_full(confirms) || others_wait;
    if (channel->reason || !must_wait)
        return CONEY_OK;
    if (cny_events_is_current(channel->connection->events))
        return check_window_of_callback(channel, publish);
    confirms->room_wanted |= publish->flow == CONEY_FLOW_STORE;
    if (publish->flow != CONEY_FLOW_WAIT)
        return window_is_full(channel, "");
    wait_for_place(channel, deadline);
    return channel->reason || !cny_confirms_full(confirms) ? CONEY_OK : window_is_full(channel, " at the deadline");
}

/* The route is needed to send the message again or to name it. NULL if the confirm has room for the route itself. */
static bool copy_long_route(const cny_publish *publish, char **route)
{
    size_t exchange_size = strlen(publish->exchange) + 1, routing_key_size = strlen(publish->routing_key) + 1;
    *route = NULL;
    if (cny_route_is_short(publish))
        return true;
    char *made = cny_alloc(exchange_size + routing_key_size);
    if (!made)
        return false;
    memcpy(made, publish->exchange, exchange_size);
    memcpy(made + exchange_size, publish->routing_key, routing_key_size);
    *route = made;
    return true;
}

size_t cny_publish_size(const cny_channel *channel, const cny_buffer *head, const coney_message *message)
{
    return head->size + cny_body_frames_size(message->size, channel->connection->limits.frame_max);
}

/* Under lock. */
static coney_status append_frames(cny_channel *channel, const cny_buffer *head, const cny_publish *publish,
                                  size_t bytes)
{
    cny_connection *connection = channel->connection;
    cny_outbound *out = &connection->outbox.outgoing;
    uint32_t frame_max = connection->limits.frame_max;
    bool copy = publish->message->size < CNY_LARGE_BODY || !cny_wire_takes_pieces(connection->wire);
    bool reserved = copy ? cny_buffer_reserve(&out->bytes, bytes)
                         : cny_outbound_reserve(out, head->size, publish->message, frame_max);
    if (!reserved)
        return cny_fail_memory();
    cny_buffer_append(&out->bytes, head->data, head->size);
    if (copy)
        cny_encode_body(&out->bytes, channel->number, frame_max, publish->message);
    else
        cny_outbound_add_body(out, channel->number, frame_max, publish->message);
    if (publish->synchronous)
        cny_connection_appended_urgently(connection, bytes);
    else
        cny_connection_appended(connection, bytes);
    channel->confirms.statistics.bytes += bytes;
    if (channel->largest_sent < publish->message->size)
        channel->largest_sent = publish->message->size;
    return CONEY_OK;
}

coney_status cny_publish_append(cny_channel *channel, const cny_buffer *head, const cny_publish *publish)
{
    size_t bytes = cny_publish_size(channel, head, publish->message);
    coney_status status = cny_confirms_reserve(&channel->confirms);
    if (status != CONEY_OK)
        return status;
    char *route;
    if (!copy_long_route(publish, &route))
        return cny_fail_memory();
    status = append_frames(channel, head, publish, bytes);
    if (status == CONEY_OK)
        cny_confirms_add(&channel->confirms, publish)->route = route;
    else
        cny_free(route);
    return status;
}

/* Under lock. Waits for room, then commits. The sequence number and the place in the stream are taken in one step, so
 * they agree for any number of senders. */
static coney_status send_locked(cny_channel *channel, const cny_buffer *head, const cny_publish *publish,
                                int64_t deadline)
{
    size_t bytes = cny_publish_size(channel, head, publish->message);
    coney_status status = wait_for_window(channel, publish, deadline);
    if (status == CONEY_OK && !channel->reason)
        status = cny_channel_wait_for_room(channel, bytes, publish->flow, deadline);
    if (channel->reason)
        status = cny_fail(CONEY_E_STALE, "the channel is gone: %s", cny_error_view(channel->reason)->text);
    if (status == CONEY_OK)
        status = cny_publish_append(channel, head, publish);
    cny_connection_room_came(channel->connection); /* for the next one, which may be smaller */
    return status;
}

static coney_status encode_head(cny_channel *channel, const cny_publish *publish, cny_buffer *head)
{
    return cny_encode_publish(head, channel->number, channel->connection->limits.frame_max, publish->exchange,
                              publish->routing_key, publish->mandatory, publish->message);
}

enum { HEAD_ROOM = 2304 }; /* method and content header of the usual message */

coney_status cny_publish_check(const cny_publish *publish, size_t *bytes)
{
    enum { USUAL_FRAME_MAX = 131072 };
    uint8_t room[HEAD_ROOM];
    cny_buffer head;
    cny_buffer_on_stack(&head, room, sizeof room);
    coney_status status = cny_encode_publish(&head, 1, USUAL_FRAME_MAX, publish->exchange, publish->routing_key,
                                             publish->mandatory, publish->message);
    *bytes = head.size + cny_body_frames_size(publish->message->size, USUAL_FRAME_MAX);
    cny_buffer_free(&head);
    return status;
}

coney_status cny_publish_with_head(cny_channel *channel, const cny_publish *publish, cny_locked_send *send,
                                   int64_t deadline)
{
    uint8_t room[HEAD_ROOM];
    cny_buffer head;
    cny_buffer_on_stack(&head, room, sizeof room);
    coney_status status = encode_head(channel, publish, &head);
    if (status == CONEY_OK) {
        cny_channel_lock(channel);
        status = send(channel, &head, publish, deadline);
        cny_channel_unlock(channel);
    }
    cny_buffer_free(&head);
    return status;
}

coney_status cny_channel_publish(cny_channel *channel, const cny_publish *publish, int64_t deadline)
{
    return cny_publish_with_head(channel, publish, send_locked, deadline);
}

/* Under lock. */
static coney_status send_unconfirmed_locked(cny_channel *channel, const cny_buffer *head, const cny_publish *publish,
                                            int64_t deadline)
{
    size_t bytes = cny_publish_size(channel, head, publish->message);
    coney_status status = cny_channel_wait_for_room(channel, bytes, publish->flow, deadline);
    if (status == CONEY_OK && channel->reason)
        status = cny_fail(CONEY_E_STALE, "the channel is gone: %s", cny_error_view(channel->reason)->text);
    if (status == CONEY_OK)
        status = append_frames(channel, head, publish, bytes);
    channel->confirms.statistics.forgotten += status == CONEY_OK;
    cny_connection_room_came(channel->connection); /* for the next one, which may be smaller */
    return status;
}

coney_status cny_channel_publish_unconfirmed(cny_channel *channel, const cny_publish *publish, int64_t deadline)
{
    return cny_publish_with_head(channel, publish, send_unconfirmed_locked, deadline);
}

static coney_status wait_for_outcome(cny_channel *channel, cny_waiter *waiter, int64_t deadline)
{
    if (cny_waiter_wait(waiter, deadline) || !cny_waiter_give_up(waiter))
        return cny_error_raise(cny_waiter_outcome(waiter));
    char blocked[256];
    cny_connection_blocked(channel->connection, blocked);
    return cny_fail(CONEY_E_TIMEOUT, "the broker did not confirm the message by the deadline; %s%s%s",
                    channel->confirms.resends
                        ? "it may have it, and it is sent again when the connection is lost and back"
                        : "it may have it",
                    *blocked ? "; it holds back publishers: " : "", blocked);
}

coney_status cny_channel_publish_and_wait(cny_channel *channel, const cny_publish *publish, int64_t deadline)
{
    cny_waiter *waiter = cny_waiter_new();
    if (!waiter)
        return cny_fail_memory();
    cny_publish waiting = *publish;
    waiting.callback = NULL;
    waiting.waiter = waiter;
    waiting.synchronous = true;
    uint8_t room[HEAD_ROOM];
    cny_buffer head;
    cny_buffer_on_stack(&head, room, sizeof room);
    coney_status status = encode_head(channel, publish, &head);
    if (status == CONEY_OK) {
        cny_channel_lock(channel);
        status = send_locked(channel, &head, &waiting, deadline);
        channel->connection->pacing.waiting_for_answer += status == CONEY_OK;
        cny_channel_unlock(channel);
        if (status == CONEY_OK) {
            status = wait_for_outcome(channel, waiter, deadline);
            channel->connection->pacing.waiting_for_answer--; /* without the lock: whoever told us may still hold it */
        }
    }
    cny_buffer_free(&head);
    cny_waiter_unref(waiter);
    return status;
}

void cny_channel_await(cny_channel *channel, int threads)
{
    channel->connection->pacing.waiting_for_answer += threads;
}
