/* SPDX-License-Identifier: MIT */
/* One physical connection and what its I/O thread keeps. Private to this folder.
 *
 * One lock for each connection guards the connection, its channels, their confirms and feeds. It may be taken under the
 * owner's lock, and the events lock under both; never the other way round. */
#ifndef CNY_CONNECTION_IO_H
#define CNY_CONNECTION_IO_H

#include "rabbit/connection/connection.h"
#include "rabbit/connection/outbox.h"
#include "rabbit/connection/pacing.h"
#include "rabbit/events/events.h"
#include "wire/wire.h"

/* What has become of the broker's channel.close on a number. */
typedef enum cny_channel_close_state {
    CNY_CLOSE_NONE,     /* there was none, or a channel was opened since */
    CNY_CLOSE_ANSWERED, /* another one that comes is for the same channel */
    CNY_CLOSE_CROSSED   /* our own close, and is not answered: the number is not used */
} cny_channel_close_state;

/* How the connection is asked to end. Owned by connection.c. */
typedef struct cny_closing {
    bool is_wanted;
    int64_t deadline;
    cny_error *abort; /* end for this reason instead */
} cny_closing;

struct cny_connection {
    /* fixed after new */
    atomic_uint refs;
    const cny_connection_owner *owner;
    void *owner_self; /* a reference */
    const cny_connection_config *config;
    cny_events *events; /* there as long as the I/O thread has not ended */
    atomic_ullong *stale_acknowledgements;
    coney_connection_role role;
    bool is_isolated;
    cny_wire *wire;
    size_t *hosts; /* indices into the URI's, in the order in which they are tried */
    char *user;
    char *password; /* wiped once logged in */
    /* any thread */
    _Atomic(const char *) deferred_log; /* to be logged as soon as no lock is held */
    /* The owner is to be woken as soon as no lock is held: the state has changed, there is a deferred log, the broker
     * has closed a channel, messages await resending, or a store has room. */
    atomic_bool has_news;
    /* fixed once open */
    cny_wire_limits limits;
    /* I/O thread only */
    int64_t last_read_us, last_read_ms; /* the same time */
    cny_waiter *told;                   /* senders to be woken as soon as all that was read is handled */
    /* under lock, but for what outbox.h and pacing.h say otherwise of */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the state, blocked, or a channel is gone */
    cny_outbox outbox;
    cny_pacing pacing;
    cny_closing closing;
    size_t host; /* index of the URI's that is tried or used */
    cny_connection_state state;
    cny_error *reason;               /* why it is dead */
    bool ended;                      /* the I/O thread does nothing any more */
    bool is_over_request;            /* the broker closed it for what a channel asked or sent */
    int64_t due_at;                  /* when one of the channels has something to do */
    char blocked[256];               /* the broker's reason for holding back publishers, "" if it does not */
    cny_channel **channels;          /* by number; NULL where none is */
    cny_channel_close_state *closes; /* by number */
    size_t channel_capacity;
    uint16_t highest_channel; /* that was ever opened */
};

void *cny_connection_io(void *argument); /* the I/O thread; the argument is the connection */

/* Under lock, I/O thread. The one place where the state changes. */
void cny_connection_set_state(cny_connection *connection, cny_connection_state state);

void cny_connection_log_later(cny_connection *connection, const char *sentence); /* static text; any thread */
void cny_connection_forget_password(cny_connection *connection);

/* I/O thread, not under lock: whether a message that begins to come is kept; for cny_wire_owner, self is the
 * connection. */
cny_admission cny_connection_admits(void *self, const cny_announcement *announcement);

/* Under lock, I/O thread: the broker closes the connection. Channels whose requests or messages may be the reason end
 * with an error that is marked (cny_last_is_suspicion()). */
void cny_connection_strike(cny_connection *connection, const cny_incoming *incoming);

/* Under lock: one of the channels has something to do then; 0 is never. */
static inline void cny_connection_be_due(cny_connection *connection, int64_t at)
{
    if (at > 0 && at < connection->due_at)
        connection->due_at = at;
}

/* Under lock: NULL if no channel has that number. */
static inline cny_channel *cny_connection_channel(const cny_connection *connection, uint16_t number)
{
    return number < connection->channel_capacity ? connection->channels[number] : NULL;
}

#endif
