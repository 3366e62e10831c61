/* SPDX-License-Identifier: MIT */
/* A channel and its life. Private to this folder. */
#ifndef CNY_CONNECTION_CHANNEL_H
#define CNY_CONNECTION_CHANNEL_H

#include "rabbit/connection/feed.h"
#include "rabbit/connection/io.h"

/* usable -> closing -> dead, or usable -> dead; dead is out of the connection's table. */
typedef enum cny_channel_state { CNY_CHANNEL_USABLE, CNY_CHANNEL_CLOSING, CNY_CHANNEL_DEAD } cny_channel_state;

/* Declarations that were sent and are not answered yet, all of one kind: the broker answers them in their order. */
typedef struct cny_series {
    uint32_t reply; /* the method of their answers */
    size_t unanswered;
    size_t wake_at;      /* the thread that waits is woken when so few are unanswered */
    int64_t answered_ms; /* when the last answer came, or the first declaration was sent */
} cny_series;

/* A channel may ask whether the queue of a cancelled consumer is there. Owned by cancellation.c. */
typedef struct cny_question {
    cny_channel *of; /* a reference to the channel of that consumer; NULL: there is no question */
    void (*on_end)(cny_channel *asking, const cny_error *reason); /* the channel that asks is gone, for this reason */
    int64_t asked_at;                                             /* when it was asked for the first time */
    int64_t again_at;                                             /* when it is asked again; 0: an answer is awaited */
    int64_t answer_by;                                            /* 0: it is answered */
} cny_question;

struct cny_channel {
    /* fixed after new */
    atomic_uint refs;
    cny_connection *connection;
    uint16_t number;
    /* any thread */
    atomic_bool gone;      /* the channel is not alive any more */
    atomic_bool suspended; /* the broker has cancelled its consumer, and the reason for that is not known yet */
    /* under the connection's lock */
    cny_channel_state state;
    cny_error *reason;      /* why the channel is not alive any more; NULL: it is */
    bool announced;         /* the broker has opened it, and the program's listener was told */
    pthread_cond_t changed; /* anything below */
    uint32_t calling;       /* the method of the call under way, 0 if none */
    uint32_t awaited;       /* its reply; 0 once it is there */
    cny_incoming *reply;
    cny_series series;
    cny_confirms confirms;
    size_t largest_sent; /* bytes of the largest body */
    size_t returned;     /* without confirms: how many messages came back, and why the first one did */
    cny_error *first_returned;
    cny_feed feed;
    cny_question question; /* of a channel that was opened for that */
};

static inline void cny_channel_lock(cny_channel *channel)
{
    pthread_mutex_lock(&channel->connection->lock);
}

static inline void cny_channel_unlock(cny_channel *channel)
{
    pthread_mutex_unlock(&channel->connection->lock);
}

/* Drops so many references. */
void cny_channel_drop(cny_channel *channel, unsigned count);

/* Sends the frame of a method and waits for its reply; reply may be NULL. */
coney_status cny_channel_call(cny_channel *channel, const cny_buffer *frame, uint32_t awaited, cny_incoming *reply,
                              int64_t deadline);

/* Under lock: closes the channel for this reason, unless it is closed already. */
void cny_channel_close_locked(cny_channel *channel, cny_error *reason);

/* Under lock: closes the channel because there was no memory to tell the broker something that it waits for. This
 * thread's last error is the reason. */
void cny_channel_close_without_memory(cny_channel *channel);

/* Under lock, I/O thread: the channel is gone, for this reason. */
void cny_channel_die(cny_channel *channel, cny_error *reason);

/* Under lock. The broker closes the connection over this method (0: it names none): whether the channel has such a
 * request that was not answered. Publishes do not count. */
bool cny_channel_may_be_reason(const cny_channel *channel, uint32_t cause);

/* Not under lock, and instead of close for a channel that the broker has not heard of. This thread's last error is the
 * reason. */
void cny_channel_forget(cny_channel *channel);

/* Under lock, I/O thread: takes the answer to the oldest declaration on its way. False if it is none. */
bool cny_series_take_answer(cny_channel *channel, const cny_incoming *incoming);

/* Not under lock: waits until a channel may be opened; at_once: looks only. CONEY_E_BLOCKED: the broker holds back
 * publishers, and this is a publishing connection. */
coney_status cny_connection_wait_until_unblocked(cny_connection *connection, bool at_once, int64_t deadline);

/* NULL on failure, and this thread's last error tells why. The second function is called under lock. */
cny_channel *cny_channel_new(cny_connection *connection, bool at_once, int64_t deadline);
cny_channel *cny_channel_new_locked(cny_connection *connection, bool at_once, int64_t deadline);
void cny_channel_announce(cny_channel *channel); /* under lock: the broker has opened it */

#endif
