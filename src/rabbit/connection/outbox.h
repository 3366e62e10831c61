/* SPDX-License-Identifier: MIT */
/* What senders have appended and the I/O thread writes, and the senders who wait for room. Private to this folder. All
 * under the connection's lock unless said otherwise. */
#ifndef CNY_CONNECTION_OUTBOX_H
#define CNY_CONNECTION_OUTBOX_H

#include "rabbit/connection/channels.h"
#include "rabbit/connection/outbound.h"

/* The last basic.ack in outgoing, and where. */
typedef struct cny_last_ack {
    const cny_channel *channel; /* NULL: none */
    uint64_t tag;
    size_t begin, end;
} cny_last_ack;

/* Owned by outbox.c. Others append to outgoing; settling.c owns last_ack. */
typedef struct cny_outbox {
    /* under lock */
    cny_outbound outgoing;
    cny_last_ack last_ack;
    cny_buffer secret; /* a frame of its own, so that it can be wiped */
    size_t unwritten;  /* bytes of outgoing and writing together */
    bool io_asleep;    /* the I/O thread has nothing to write, must be woken, and takes the lock before it goes on */
    bool room_wanted;  /* by a store: the owner is woken */
    struct cny_room_waiter *first_in_queue, *last_in_queue; /* senders who wait for room in outgoing */
    /* I/O thread only */
    cny_outbound writing;
    bool secret_in_writing;
    int64_t last_write_ms;
} cny_outbox;

/* After appending to outgoing: counts the bytes and wakes the I/O thread. */
void cny_connection_appended(cny_connection *connection, size_t bytes);

/* The same for a thread that goes on to wait for the answer: if the I/O thread sleeps, this one writes in its place,
 * which spares a switch of threads. */
void cny_connection_appended_urgently(cny_connection *connection, size_t bytes);

/* Encodes a method into outgoing. CONEY_E_NO_MEMORY. */
coney_status cny_connection_append(cny_connection *connection, coney_status (*encode)(cny_buffer *));

void cny_connection_wake(cny_connection *connection); /* the I/O thread; no lock is needed */

/* ---- room ---- */

/* There is room for so many bytes. A message larger than the limit may go alone. */
bool cny_connection_has_room(const cny_connection *connection, size_t bytes);

/* Returns when there is room or the channel is gone. Waits only if the flow says so. CONEY_E_LIMIT, CONEY_E_BLOCKED. */
coney_status cny_channel_wait_for_room(cny_channel *channel, size_t bytes, coney_flow flow, int64_t deadline);

/* Waits on a condition, and counts for how long a sender of the channel waits. False at the deadline. */
bool cny_channel_wait_and_count(cny_channel *channel, pthread_cond_t *cond, int64_t deadline);

coney_status cny_connection_fail_blocked(const cny_connection *connection); /* CONEY_E_BLOCKED, and why */

/* Lets the sender whose turn it is look whether there is room now; and all of them, for a channel that is gone. */
void cny_connection_room_came(cny_connection *connection);
void cny_connection_wake_queue(cny_connection *connection);

/* ---- writing; I/O thread, not under lock unless said otherwise ---- */

/* Writes until all is written or the socket takes no more. CONEY_E_LOST. */
coney_status cny_connection_write(cny_connection *connection);

static inline bool cny_outbox_has_begun(const cny_outbox *outbox) /* to write what is not all written */
{
    return !cny_outbound_is_written(&outbox->writing);
}

void cny_outbox_shrink(cny_outbox *outbox, int64_t now); /* under lock: some time after a burst */
void cny_outbox_drop(cny_outbox *outbox);                /* under lock: nothing more is written */
void cny_outbox_forget_writing(cny_outbox *outbox);      /* the same of what was taken; wipes a secret */
void cny_outbox_free(cny_outbox *outbox);                /* nobody else has it */

#endif
