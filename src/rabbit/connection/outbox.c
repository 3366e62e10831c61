/* SPDX-License-Identifier: MIT */
/* The bytes that are to be written. Any thread waits for room and appends under the lock of the connection. The I/O
 * thread takes all that has gathered and writes it; while that thread sleeps a sender may write. Knows nothing of what
 * the frames say. */
#include "rabbit/connection/channel.h"

#include <string.h>

#define MOST_PIECES 64                          /* for one system call */
#define KEEP_BUFFER_BYTES ((size_t)1024 * 1024) /* a larger buffer is given back after a burst, */
#define BURST_OVER_MS 10000 /* but not before this time: new memory costs more than the copy into it */

/* ---- appending; any thread ---- */

void cny_connection_wake(cny_connection *connection)
{
    cny_wire_wake(connection->wire);
}

void cny_connection_appended(cny_connection *connection, size_t bytes)
{
    connection->outbox.unwritten += bytes;
    if (!connection->outbox.io_asleep)
        return;
    connection->outbox.io_asleep = false;
    cny_connection_wake(connection);
}

#define URGENT_BYTES (CNY_LARGE_BODY - 1) /* a longer write would keep others from the lock */

/* While the I/O thread sleeps it has nothing to write, and it takes the lock before it touches the socket again. So the
 * socket is ours, and outgoing holds only what was just appended, which is too short for a body by reference. The I/O
 * thread writes what the socket does not take now, and finds errors. */
static void write_in_its_place(cny_connection *connection)
{
    size_t written = 0;
    cny_wire_write(connection->wire, connection->outbox.outgoing.bytes.data, connection->outbox.outgoing.bytes.size,
                   &written);
    connection->outbox.last_ack.channel = NULL;
    connection->outbox.unwritten -= written;
    connection->outbox.outgoing.bytes.size -= written;
    memmove(connection->outbox.outgoing.bytes.data, connection->outbox.outgoing.bytes.data + written,
            connection->outbox.outgoing.bytes.size);
}

void cny_connection_appended_urgently(cny_connection *connection, size_t bytes)
{
    bool alone = connection->pacing.waiting_for_answer == 0; /* else the I/O thread writes for several at once */
    bool write_it = connection->outbox.io_asleep && alone && !connection->pacing.is_coalescing &&
                    bytes <= URGENT_BYTES && cny_wire_takes_other_writers(connection->wire);
    if (!write_it) {
        cny_connection_appended(connection, bytes);
        return;
    }
    connection->outbox.unwritten += bytes;
    write_in_its_place(connection);
    if (connection->outbox.outgoing.bytes.size > 0)
        cny_connection_appended(connection, 0);
}

coney_status cny_connection_append(cny_connection *connection, coney_status (*encode)(cny_buffer *))
{
    size_t before = connection->outbox.outgoing.bytes.size;
    coney_status status = encode(&connection->outbox.outgoing.bytes);
    if (status == CONEY_OK)
        cny_connection_appended(connection, connection->outbox.outgoing.bytes.size - before);
    return status;
}

/* ---- room ----
 *
 * A sender that finds no room joins a queue, so that many small messages cannot keep a large one waiting. Each sender
 * has a condition of its own: room wakes the first one, which wakes the next if there is room for that, too. */

typedef struct cny_room_waiter {
    struct cny_room_waiter *next;
    pthread_cond_t turn;
    size_t bytes;
} cny_room_waiter;

/* A message larger than the limit may go alone. */
bool cny_connection_has_room(const cny_connection *connection, size_t bytes)
{
    if (*connection->blocked)
        return false;
    return connection->outbox.unwritten == 0 ||
           connection->outbox.unwritten + bytes <= connection->config->max_outbound_bytes;
}

void cny_connection_room_came(cny_connection *connection)
{
    cny_room_waiter *first = connection->outbox.first_in_queue;
    if (first && cny_connection_has_room(connection, first->bytes))
        pthread_cond_signal(&first->turn);
    if (!first && connection->outbox.room_wanted &&
        cny_connection_has_room(connection, connection->config->max_outbound_bytes / 2)) {
        connection->outbox.room_wanted = false;
        connection->has_news = true;
    }
}

void cny_connection_wake_queue(cny_connection *connection)
{
    for (cny_room_waiter *one = connection->outbox.first_in_queue; one; one = one->next)
        pthread_cond_signal(&one->turn);
}

static void join_queue(cny_connection *connection, cny_room_waiter *waiter)
{
    if (connection->outbox.last_in_queue)
        connection->outbox.last_in_queue->next = waiter;
    else
        connection->outbox.first_in_queue = waiter;
    connection->outbox.last_in_queue = waiter;
}

static void leave_queue(cny_connection *connection, const cny_room_waiter *waiter)
{
    cny_room_waiter *before = NULL, **link = &connection->outbox.first_in_queue;
    for (; *link != waiter; link = &before->next)
        before = *link;
    *link = waiter->next;
    if (connection->outbox.last_in_queue == waiter)
        connection->outbox.last_in_queue = before;
}

coney_status cny_connection_fail_blocked(const cny_connection *connection)
{
    return cny_fail(CONEY_E_BLOCKED, "the broker holds back publishers: %s", connection->blocked);
}

bool cny_channel_wait_and_count(cny_channel *channel, pthread_cond_t *cond, int64_t deadline)
{
    int64_t began = cny_now_us();
    bool in_time = cny_cond_wait(cond, &channel->connection->lock, deadline);
    channel->confirms.statistics.waited_us += (uint64_t)(cny_now_us() - began);
    return in_time;
}

static coney_status no_room(const cny_connection *connection, const char *when)
{
    if (*connection->blocked)
        return cny_connection_fail_blocked(connection);
    return cny_fail(CONEY_E_LIMIT, "%zu bytes are unwritten%s%s (max_outbound_bytes %zu)", connection->outbox.unwritten,
                    when, connection->outbox.first_in_queue ? " and others wait for room" : "",
                    connection->config->max_outbound_bytes);
}

static coney_status queue_for_room(cny_channel *channel, size_t bytes, int64_t deadline)
{
    cny_connection *connection = channel->connection;
    cny_room_waiter waiter = {.bytes = bytes};
    bool in_time = true, fits = false;
    cny_cond_init(&waiter.turn);
    join_queue(connection, &waiter);
    while (!channel->reason && in_time && !fits) {
        in_time = cny_channel_wait_and_count(channel, &waiter.turn, deadline);
        fits = connection->outbox.first_in_queue == &waiter && cny_connection_has_room(connection, bytes);
    }
    leave_queue(connection, &waiter);
    pthread_cond_destroy(&waiter.turn);
    if (channel->reason || fits)
        return CONEY_OK;
    return no_room(connection, " at the deadline");
}

coney_status cny_channel_wait_for_room(cny_channel *channel, size_t bytes, coney_flow flow, int64_t deadline)
{
    cny_connection *connection = channel->connection;
    if (!connection->outbox.first_in_queue && cny_connection_has_room(connection, bytes))
        return CONEY_OK;
    connection->outbox.room_wanted |= flow == CONEY_FLOW_STORE;
    return flow == CONEY_FLOW_WAIT ? queue_for_room(channel, bytes, deadline) : no_room(connection, "");
}

/* ---- writing; I/O thread ---- */

/* Takes all that senders have appended. If there is nothing, notes that the I/O thread sleeps, and returns false. */
static bool take_outgoing(cny_connection *connection)
{
    cny_outbox *outbox = &connection->outbox;
    cny_outbound *writing = &outbox->writing;
    if (outbox->secret_in_writing)
        explicit_bzero(writing->bytes.data, writing->bytes.size);
    cny_outbound_clear(writing);
    if (writing->bytes.capacity / 2 > connection->config->max_outbound_bytes) /* one huge message */
        cny_outbound_free(writing);
    pthread_mutex_lock(&connection->lock);
    outbox->secret_in_writing = outbox->secret.size > 0;
    if (outbox->secret_in_writing) {
        cny_buffer_swap(&writing->bytes, &outbox->secret);
    } else {
        outbox->last_ack.channel = NULL;
        cny_buffer_swap(&writing->bytes, &outbox->outgoing.bytes);
        cny_buffer_swap(&writing->parts, &outbox->outgoing.parts);
    }
    bool taken = writing->bytes.size > 0;
    outbox->io_asleep = !taken;
    pthread_mutex_unlock(&connection->lock);
    return taken;
}

static void count_written(cny_connection *connection, size_t bytes)
{
    cny_outbound_advance(&connection->outbox.writing, bytes);
    connection->outbox.last_write_ms = cny_now_ms();
    pthread_mutex_lock(&connection->lock);
    connection->outbox.unwritten -= bytes;
    cny_connection_room_came(connection);
    pthread_mutex_unlock(&connection->lock);
}

/* Writes until all is written or the socket takes no more. */
coney_status cny_connection_write(cny_connection *connection)
{
    for (;;) {
        struct iovec pieces[MOST_PIECES];
        size_t size, written;
        if (cny_outbound_is_written(&connection->outbox.writing) && !take_outgoing(connection))
            return CONEY_OK;
        size_t count = cny_outbound_gather(&connection->outbox.writing, pieces, MOST_PIECES, &size);
        coney_status status = cny_wire_write_pieces(connection->wire, pieces, count, &written);
        if (status != CONEY_OK)
            return status;
        if (written > 0)
            count_written(connection, written);
        if (written < size)
            return CONEY_OK;
    }
}

static void give_back(cny_buffer *buffer)
{
    if (buffer->size == 0 && buffer->capacity > KEEP_BUFFER_BYTES)
        cny_buffer_free(buffer);
}

void cny_outbox_shrink(cny_outbox *outbox, int64_t now)
{
    if (now - outbox->last_write_ms < BURST_OVER_MS || outbox->unwritten > 0)
        return;
    give_back(&outbox->writing.bytes);
    give_back(&outbox->outgoing.bytes);
}

/* ---- the end, and a secret ---- */

static void wipe(cny_buffer *buffer)
{
    if (buffer->data)
        explicit_bzero(buffer->data, buffer->capacity);
    cny_buffer_free(buffer);
}

void cny_outbox_drop(cny_outbox *outbox)
{
    cny_outbound_free(&outbox->outgoing);
    outbox->unwritten = 0;
}

void cny_outbox_forget_writing(cny_outbox *outbox)
{
    if (outbox->secret_in_writing)
        wipe(&outbox->writing.bytes);
    cny_outbound_free(&outbox->writing);
}

void cny_outbox_free(cny_outbox *outbox)
{
    cny_outbox_drop(outbox);
    wipe(&outbox->secret);
    cny_outbox_forget_writing(outbox);
}

/* The secret has a buffer of its own with room for all of it, so that no copy is left behind when a buffer grows. */
coney_status cny_connection_update_secret(cny_connection *connection, const char *secret)
{
    enum { ROOM_FOR_METHOD = 128 };
    size_t size = strlen(secret) + ROOM_FOR_METHOD;
    coney_status status = CONEY_OK;
    pthread_mutex_lock(&connection->lock);
    if (connection->state != CNY_OPEN || connection->outbox.secret.size > 0) {
        status = cny_fail(CONEY_E_STATE, "the connection is not open, or the last secret is not written yet");
    } else if (size > connection->limits.frame_max) {
        status = cny_fail(CONEY_E_INVALID, "the secret does not fit a frame of %u bytes", connection->limits.frame_max);
    } else {
        wipe(&connection->outbox.secret);
        status = cny_buffer_reserve(&connection->outbox.secret, size) ? CONEY_OK : cny_fail_memory();
        if (status == CONEY_OK)
            status = cny_encode_update_secret(&connection->outbox.secret, secret);
        cny_connection_appended(connection, connection->outbox.secret.size);
    }
    pthread_mutex_unlock(&connection->lock);
    return status;
}
