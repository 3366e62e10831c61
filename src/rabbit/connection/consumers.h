/* SPDX-License-Identifier: MIT */
/* Consuming on a channel; see connection.h, which includes this header. */
#ifndef CNY_CONNECTION_CONSUMERS_H
#define CNY_CONNECTION_CONSUMERS_H

#include "rabbit/connection/channels.h"

#include <stdatomic.h>

coney_status cny_channel_consume(cny_channel *channel, const cny_consume *consume, int prefetch, int64_t deadline);

/* Told of a channel by the I/O thread, under the connection's lock: nothing but another thread may be woken. */
typedef struct cny_watcher {
    void (*on_deliveries)(void *self); /* there are some, for the first time since they were taken */
    void (*on_change)(void *self);     /* it consumes, or no more will come */
    void (*on_skipped)(void *self, const coney_message *message); /* goes back unhandled; it lacks its body */
    void *self;
} cny_watcher;

/* What consumers may hold together; it must live until their channels are not watched any more. */
typedef struct cny_holding {
    size_t bound;        /* in bytes; fixed */
    atomic_size_t bytes; /* of deliveries that are not settled */
    atomic_int consumers;
    atomic_bool is_refused; /* the broker closed a channel or the connection over a renewal: there is none any more */
} cny_holding;

/* A consumer that subscribes anew uses its tag with this and a number after it; see renewal.c. */
#define CNY_RENEWED_TAG "~"

typedef struct cny_subscription {
    cny_consume consume;
    int prefetch;
    int first_prefetch; /* if it is renewed: the prefetch that it begins with */
    bool is_renewed;    /* it may subscribe anew with another prefetch, for the sake of its holding */
    bool transacted;
    bool is_stream;       /* which takes acknowledgements only */
    bool is_delayed;      /* its queue holds back what has failed, as RabbitMQ 4.3 can */
    cny_holding *holding; /* NULL: nothing bounds what it holds but its prefetch */
} cny_subscription;

/* Opens a channel that consumes, and waits for nothing: the watcher learns how it went. Gives it. CONEY_E_LIMIT,
 * CONEY_E_INVALID, CONEY_E_NO_MEMORY, or why the connection is gone. */
coney_status cny_channel_subscribe_on(cny_channel **channel, cny_connection *connection, const cny_subscription *what,
                                      const cny_watcher *watcher);
void cny_channel_unwatch(cny_channel *channel); /* once it returns the watcher is not called any more */

typedef enum cny_feed_state {
    CNY_FEED_BEGINNING, /* the broker has not answered yet */
    CNY_FEED_ON,
    CNY_FEED_ENDED, /* no more will come */
} cny_feed_state;

/* How consuming goes; gives why it ended, or is suspended, NULL if it is not or cny_channel_cancel() ended it. */
cny_feed_state cny_channel_feed(cny_channel *channel, cny_error **reason);

/* Consumes, as far as is known. */
bool cny_channel_is_consuming(cny_channel *channel);

/* The consumer's tag. A view as long as the channel consumes. */
const char *cny_channel_consumer_tag(cny_channel *channel);

/* One message of the queue if there is one now, else NULL. Gives it, unacknowledged. */
coney_status cny_channel_get(cny_channel *channel, const char *queue, coney_message **message, int64_t deadline);

/* Asks the broker for no more deliveries; those on their way still come before the end. */
void cny_channel_cancel(cny_channel *channel);

/* Takes no more deliveries, and leaves the consumer to its queue: a queue that serves one consumer at a time gives
 * nothing to the next one before the channel is closed. Then everything goes back together, in its order: what comes
 * from now on, and what is to go back, of which the broker is not told before. */
void cny_channel_keep_consumer(cny_channel *channel);

/* Waits for deliveries and swaps all that are there into the empty batch, as coney_message
 * pointers which are the caller's. When no more will come: CONEY_OK with an empty batch if
 * cny_channel_cancel() ended it, else why it ended. CONEY_E_TIMEOUT. */
coney_status cny_channel_receive(cny_channel *channel, cny_buffer *batch, int64_t deadline);

/* The same without waiting; false if there are none, or they would have to be settled and cannot. */
bool cny_channel_take(cny_channel *channel, cny_buffer *batch);
bool cny_channel_has_deliveries(cny_channel *channel);
bool cny_channel_is_full(cny_channel *channel); /* so that nothing is read until they are taken */

/* What nobody has taken, whether or not it can be settled, into the empty buffer: also what has come while the consumer
 * was kept. The messages are the caller's; tells how many of them, the first ones, came before that. */
size_t cny_channel_take_rest(cny_channel *channel, cny_buffer *rest);

typedef enum cny_settlement {
    CNY_SETTLE_ACK,
    CNY_SETTLE_ACK_UP_TO, /* and all before it */
    CNY_SETTLE_REJECT,
    CNY_SETTLE_REQUEUE,
    CNY_SETTLE_RETURN, /* to the queue, and that is no failure (basic.nack): since RabbitMQ 4.3 only basic.reject counts
                          towards a delivery limit */
} cny_settlement;

/* CONEY_E_STALE if the channel is gone or suspended: nothing was sent, the broker delivers again. */
coney_status cny_channel_settle(cny_channel *channel, uint64_t delivery_tag, cny_settlement settlement);

/* The same of a consumer that has a holding: so many deliveries are settled (one, unless it is CNY_SETTLE_ACK_UP_TO),
 * which held so many bytes together. */
coney_status cny_channel_settle_held(cny_channel *channel, uint64_t delivery_tag, cny_settlement settlement,
                                     size_t count, size_t bytes);

/* How many messages the consumer may have unsettled at present; 0: no limit. */
int cny_channel_prefetch(cny_channel *channel);

#endif
