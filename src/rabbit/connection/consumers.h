/* SPDX-License-Identifier: MIT */
/* Consuming on a channel; see connection.h, which includes this header. */
#ifndef CNY_CONNECTION_CONSUMERS_H
#define CNY_CONNECTION_CONSUMERS_H

#include "rabbit/connection/channels.h"

#include <stdatomic.h>

coney_status cny_channel_consume(cny_channel *channel, const cny_consume *consume, int prefetch, int64_t deadline);

typedef enum cny_settlement {
    CNY_SETTLE_ACK,
    CNY_SETTLE_ACK_UP_TO, /* this delivery and all before it */
    CNY_SETTLE_REJECT,
    CNY_SETTLE_REQUEUE,
    CNY_SETTLE_RETURN, /* to the queue, which is no failure (basic.nack): since RabbitMQ 4.3 only basic.reject counts
                          towards a delivery limit */
} cny_settlement;

/* The I/O thread calls this with the connection's lock held. A function may wake another thread; it must not block or
 * call the channel. */
typedef struct cny_watcher {
    void (*on_deliveries)(void *self); /* the first delivery has come since deliveries were taken */
    void (*on_change)(void *self);     /* the channel consumes now, or no more deliveries will come */
    void (*on_skipped)(void *self, const coney_message *message); /* it lacks its body, and goes back unhandled */
    /* If it is set, it takes the place of the feed: hears of each message, which is settled by the result unless the
     * consumer needs no acknowledgement. Waiters may be told by cny_waiter_tell_later(). */
    cny_settlement (*on_message)(void *self, coney_message *message, cny_waiter **told);
    void *self;
} cny_watcher;

/* How much some consumers may hold together. It must live until none of their channels is watched any more. */
typedef struct cny_holding {
    size_t bound;        /* in bytes; fixed */
    atomic_size_t bytes; /* of deliveries that are not settled */
    atomic_int consumers;
    atomic_bool
        is_refused; /* the broker has closed a channel or the connection over a renewal, so none is tried again */
} cny_holding;

/* A consumer that subscribes anew appends this and a number to its tag; see renewal.c. */
#define CNY_RENEWED_TAG "~"

typedef struct cny_subscription {
    cny_consume consume;
    int prefetch;
    int first_prefetch; /* the prefetch that a consumer with is_renewed begins with */
    bool is_renewed;    /* the consumer may subscribe anew with another prefetch, for the sake of its holding */
    bool transacted;
    const cny_confirm_options *confirms; /* the channel publishes, too, in confirm mode; NULL: it does not */
    const coney_queue *temporary;        /* is declared on the channel first; NULL: nothing is */
    int64_t unblocked_by;                /* on a publishing connection, while the broker holds back publishers: waits so
                                            long; 0: not at all */
    bool is_stream;                      /* the queue is a stream, which takes acknowledgements only */
    bool is_delayed;                     /* the queue delays failed messages, as RabbitMQ 4.3 can */
    cny_holding *holding;                /* NULL: only the prefetch bounds how much the consumer holds */
} cny_subscription;

/* Opens a channel that consumes, and gives it. Waits for nothing but unblocked_by: the watcher learns how it went.
 * CONEY_E_BLOCKED, CONEY_E_LIMIT, CONEY_E_INVALID, CONEY_E_NO_MEMORY, or why the connection is gone. */
coney_status cny_channel_subscribe_on(cny_channel **channel, cny_connection *connection, const cny_subscription *what,
                                      const cny_watcher *watcher);
void cny_channel_unwatch(cny_channel *channel); /* after it has returned the watcher is not called any more */

typedef enum cny_feed_state {
    CNY_FEED_BEGINNING, /* the broker has not answered yet */
    CNY_FEED_ON,
    CNY_FEED_ENDED, /* no more will come */
} cny_feed_state;

/* How consuming goes. Gives the reason if it has ended or is suspended; NULL if cny_channel_cancel() has ended it. */
cny_feed_state cny_channel_feed(cny_channel *channel, cny_error **reason);

/* The channel consumes, as far as is known. */
bool cny_channel_is_consuming(cny_channel *channel);

/* The consumer's tag, "" while the channel does not consume. A view, valid as long as the channel lives. */
const char *cny_channel_consumer_tag(cny_channel *channel);

/* Gives one message of the queue, unacknowledged; NULL if there is none now. */
coney_status cny_channel_get(cny_channel *channel, const char *queue, coney_message **message, int64_t deadline);

/* Tells the broker that no more deliveries are wanted. Those on their way still come before the end. */
void cny_channel_cancel(cny_channel *channel);

/* Takes no more deliveries, but lets the queue keep the consumer: a queue that serves one consumer at a time delivers
 * nothing to the next one before this channel is closed. With the close everything goes back together, in its order:
 * deliveries that come from now on, and those that are to go back, of which the broker is not told before. */
void cny_channel_keep_consumer(cny_channel *channel);

/* Waits for deliveries and swaps all that are there into the empty batch, as coney_message pointers. The messages are
 * the caller's. When no more will come: CONEY_OK with an empty batch if cny_channel_cancel() has ended consuming, else
 * why it has ended. CONEY_E_TIMEOUT. */
coney_status cny_channel_receive(cny_channel *channel, cny_buffer *batch, int64_t deadline);

/* The same without waiting. False if there are no deliveries, or if they cannot be settled any more and would have to
 * be. */
bool cny_channel_take(cny_channel *channel, cny_buffer *batch);
bool cny_channel_has_deliveries(cny_channel *channel);
bool cny_channel_is_full(cny_channel *channel); /* the connection is not read until the deliveries are taken */

/* Swaps all deliveries that nobody has taken into the empty buffer, whether or not they can be settled, also those that
 * have come while the consumer was kept. The messages are the caller's. Returns how many of them came before that; they
 * stand first. */
size_t cny_channel_take_rest(cny_channel *channel, cny_buffer *rest);

/* CONEY_E_STALE: the channel is gone or suspended; nothing was sent, and the broker delivers the message again. */
coney_status cny_channel_settle(cny_channel *channel, uint64_t delivery_tag, cny_settlement settlement);

/* The same for a consumer that has a holding. Together the settled deliveries held so many bytes; the count is 1,
 * unless the settlement is CNY_SETTLE_ACK_UP_TO. */
coney_status cny_channel_settle_held(cny_channel *channel, uint64_t delivery_tag, cny_settlement settlement,
                                     size_t count, size_t bytes);

/* How many unsettled messages the consumer may have at present; 0: no limit. */
int cny_channel_prefetch(cny_channel *channel);

#endif
