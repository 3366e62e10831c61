/* SPDX-License-Identifier: MIT */
/* What the files of this folder share: the structs behind connection.h. Private to the folder.
 *
 * One lock per connection guards the connection, its channels, their confirms and feeds. It may
 * be taken under the factory's lock, the events lock under both; never the other way round. */
#ifndef CNY_CONNECTION_INTERNAL_H
#define CNY_CONNECTION_INTERNAL_H

#include "rabbit/connection/connection.h"
#include "rabbit/events/events.h"
#include "wire/wire.h"

/* ---- outbound ---- */

typedef struct cny_outbound {
    cny_buffer bytes;
    cny_buffer parts;     /* large bodies, which stand between them */
    size_t written;       /* of bytes */
    size_t parts_written; /* whole ones */
    size_t part_written;  /* bytes of the next one */
} cny_outbound;

enum { CNY_LARGE_BODY = 16 * 1024 }; /* from here on a body is not copied */

/* Makes room for the frames of one body behind so many bytes, which the caller appends; false without memory. */
bool cny_outbound_reserve(cny_outbound *outbound, size_t head_size, const coney_message *message, uint32_t frame_max);
void cny_outbound_add_body(cny_outbound *outbound, uint16_t channel, uint32_t frame_max, coney_message *message);
bool cny_outbound_is_written(const cny_outbound *outbound);

/* The next pieces to be written, and their size together; and when so many of those bytes are. */
size_t cny_outbound_gather(const cny_outbound *outbound, struct iovec *pieces, size_t most, size_t *size);
void cny_outbound_advance(cny_outbound *outbound, size_t bytes);
void cny_outbound_clear(cny_outbound *outbound); /* its memory stays */
void cny_outbound_free(cny_outbound *outbound);

/* ---- connection ---- */

/* The last basic.ack in outgoing, and where. */
typedef struct cny_last_ack {
    const struct cny_channel *channel; /* NULL: none */
    uint64_t tag;
    size_t begin, end;
} cny_last_ack;

/* What has become of the broker's channel.close on a number. */
typedef enum cny_channel_close_state {
    CNY_CLOSE_NONE,     /* there was none, or a channel was opened since */
    CNY_CLOSE_ANSWERED, /* another one that comes is for the same channel */
    CNY_CLOSE_CROSSED   /* our own close, and is not answered: the number is not used */
} cny_channel_close_state;

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
    char *password;                /* wiped once logged in */
    _Atomic(const char *) remark;  /* from any thread, to be logged as soon as no lock is held */
    atomic_bool has_news;          /* from any thread: any of the above, a channel was closed by the broker or kept
                                      messages, or a store has room */
    atomic_int waiting_for_answer; /* threads in a call or a synchronous send: reads must not be put off */
    /* fixed once open */
    cny_wire_limits limits;
    /* I/O thread only */
    cny_outbound writing;
    int64_t last_read_us, last_read_ms; /* the same time */
    int64_t last_write_ms;
    bool streaming; /* the last read brought something: more is on its way */
    int64_t moment_ms;
    unsigned moments;
    int deliveries;     /* in this moment */
    bool window_short;  /* a consumer may have to acknowledge some before more can come */
    bool held;          /* nothing is read until a feed that is full is taken */
    bool state_changed; /* the recovery thread is told as soon as no lock is held */
    bool secret_in_writing;
    cny_waiter *told; /* senders to be woken as soon as all that was read is handled */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the state, blocked, or a channel is gone */
    size_t host;            /* index of the URI's that is tried or used */
    cny_error *abort;       /* end for this reason */
    cny_buffer secret;      /* a frame of its own, so that it can be wiped */
    cny_connection_state state;
    cny_error *reason;    /* why it is dead */
    bool ended;           /* the I/O thread does nothing any more */
    bool io_asleep;       /* wake it after appending: it has nothing to write, and takes this lock first */
    bool reading_put_off; /* until it has slept a little: it must be woken to read an answer at once */
    bool close_wanted;
    int64_t close_deadline;
    bool is_over_request; /* the broker closed it for what a channel asked or sent */
    cny_outbound outgoing;
    cny_last_ack last_ack;
    size_t unwritten;                                       /* bytes of outgoing and writing together */
    struct cny_room_waiter *first_in_queue, *last_in_queue; /* senders who wait for room in outgoing */
    bool room_wanted;                                       /* by a store: the recovery thread is told */
    int full_feeds;                                         /* nothing more is read until they are taken */
    int64_t due_at;                                         /* when one of the channels has something to do */
    char blocked[256];               /* the broker's reason for holding back publishers, "" if it does not */
    cny_channel **channels;          /* by number; NULL where none is */
    cny_channel_close_state *closes; /* by number */
    size_t channel_capacity;
    uint16_t highest_channel; /* that was ever opened */
};

void cny_connection_remark(cny_connection *connection, const char *remark); /* static text; any thread */

void cny_connection_forget_password(cny_connection *connection);
void cny_connection_forget_writing(cny_connection *connection); /* I/O thread, or nobody else has it */

/* Under lock, I/O thread. The one place where the state changes. */
void cny_connection_set_state(cny_connection *connection, cny_connection_state state);

/* Under lock: after appending to outgoing, counts the bytes and wakes the I/O thread. */
void cny_connection_appended(cny_connection *connection, size_t bytes);

/* Wakes the I/O thread. */
void cny_connection_wake(cny_connection *connection);

/* The same for a thread that goes on to wait for the answer: if the I/O thread sleeps, this one writes in its
 * place, which spares a switch of threads. */
void cny_connection_appended_urgently(cny_connection *connection, size_t bytes);

/* Under lock: lets the sender whose turn it is look whether there is room now; and all of them, for a channel
 * that is gone. */
void cny_connection_room_came(cny_connection *connection);
void cny_connection_wake_queue(cny_connection *connection);

/* Under lock: NULL if no channel has that number. */
static inline cny_channel *cny_connection_channel(const cny_connection *connection, uint16_t number)
{
    return number < connection->channel_capacity ? connection->channels[number] : NULL;
}

/* I/O thread, not under lock: whether a message that begins to come is kept; for cny_wire_owner, self is the
 * connection. */
cny_admission cny_connection_admits(void *self, const cny_announcement *announcement);

void *cny_connection_io(void *argument); /* the I/O thread; the argument is the connection */

/* ---- channel ---- */

/* usable -> closing -> dead, or usable -> dead; dead is out of the connection's table. */
typedef enum cny_channel_state { CNY_CHANNEL_USABLE, CNY_CHANNEL_CLOSING, CNY_CHANNEL_DEAD } cny_channel_state;

/* How much a consumer may hold, and its subscribing anew for that; see renewal.c. */
typedef struct cny_renewal {
    cny_holding *holding; /* NULL: nothing but its prefetch bounds it */
    cny_arena arena;      /* holds the texts of the next */
    cny_consume consume;  /* but for the tag */
    bool is_fixed;        /* it does not subscribe anew */
    bool is_told;         /* that it does not keep all that comes */
    bool is_transacted;
    int ceiling;                    /* the prefetch that was asked for */
    char tag[256];                  /* of the present consumer, the one that the broker serves */
    size_t present;                 /* deliveries of the present consumer that are not settled on the wire, */
    size_t earlier;                 /* and of those before it */
    uint64_t began_after;           /* the last delivery of those */
    int unanswered;                 /* methods of the last renewal */
    int ends;                       /* of consumers before it that are not confirmed */
    size_t bytes;                   /* of unsettled deliveries */
    size_t largest, largest_before; /* bytes of a recent delivery */
    size_t sizes_left;              /* deliveries until the largest is the one before */
    size_t deliveries;              /* since the last attempt to hold back, or the renewal */
    int attempts;                   /* since the renewal */
    int64_t hold_back_until;        /* 0: nothing is held back */
    cny_buffer held_back;           /* settlements */
    cny_buffer coming;              /* deliveries that are admitted; what they announce is counted already */
    cny_buffer skipped;             /* deliveries that did not fit, and are to go back */
    size_t returning;               /* bytes of those that went back and may come again at once */
    int64_t returning_until;        /* after that they have come to somebody else */
    int64_t give_back_at;           /* 0: when something is settled, or there is nothing to give back */
    unsigned count;                 /* of renewals, for their tags */
} cny_renewal;

typedef struct cny_feed {
    cny_buffer deliveries;  /* of coney_message * */
    cny_buffer late;        /* the same, of what came while it was kept */
    cny_watcher watcher;    /* its functions are NULL if nobody watches */
    atomic_int prefetch;    /* 0: no limit; read by any thread */
    bool no_ack;            /* the broker has forgotten what it sent, so it outlives the channel */
    bool is_stream;         /* nothing is rejected or given back */
    unsigned moment;        /* I/O thread only: the last one that brought something, */
    int in_moment;          /* and how much */
    size_t in_hand;         /* not settled yet */
    uint64_t last_tag;      /* of what came */
    uint64_t settled_up_to; /* all before it are, too */
    uint64_t settled_last;  /* the highest that is settled, or held back */
    bool told;              /* the watcher, of deliveries that were not taken yet */
    size_t bytes;           /* of deliveries */
    bool full;              /* counted in the connection's full_feeds */
    bool subscribing;       /* the answers to cny_channel_subscribe() have not come */
    bool cancelled;         /* we asked for no more */
    bool cancel_waits;      /* and the broker is told so when it has answered the call under way; */
    bool return_waits;      /* the same of giving everything back */
    bool is_kept;           /* we take no more, but the consumer stays the queue's until the channel is closed */
    bool holds_back;        /* while it is kept: something settled goes back then, and the broker was not told */
    bool ended;             /* no more will come */
    cny_error *reason;      /* why the broker ended it, as far as is known; NULL: it did not */
    bool waiting;           /* a thread sleeps in cny_channel_receive() */
    char consumer_tag[256]; /* "" while nothing is consumed; the first one, also after a renewal */
    char queue[256];        /* that is consumed */
    cny_renewal renewal;
} cny_feed;

/* Declarations that were sent and are not answered yet, all of one kind: the broker answers them in their order. */
typedef struct cny_series {
    uint32_t reply; /* the method of their answers */
    size_t unanswered;
    size_t wake_at;      /* so few unanswered ones wake who waits for them */
    int64_t answered_ms; /* when the last answer came, or the first was sent */
} cny_series;

/* Whether the queue of a cancelled consumer is there. */
typedef struct cny_question {
    cny_channel *of;   /* a reference to the channel of that consumer; NULL: there is no question */
    int64_t asked_at;  /* for the first time; */
    int64_t again_at;  /* 0: an answer is awaited */
    int64_t answer_by; /* the deadline; 0: it is answered */
} cny_question;

struct cny_channel {
    /* fixed after new */
    atomic_uint refs;
    cny_connection *connection;
    uint16_t number;
    /* any thread */
    atomic_bool gone;      /* has a reason */
    atomic_bool suspended; /* the broker has cancelled its consumer, and the reason for that is not known yet */
    /* under the connection's lock */
    cny_channel_state state;
    cny_error *reason;      /* why it is not open any more */
    bool announced;         /* the broker has opened it, and the program's listener was told */
    pthread_cond_t changed; /* anything below */
    uint32_t calling;       /* the method of the call under way, 0 if none */
    uint32_t awaited;       /* its reply; 0 once it is there */
    cny_incoming *reply;
    cny_series series;
    cny_confirms confirms;
    size_t largest_sent; /* bytes of the largest body */
    size_t returned;     /* without confirms: messages that came back, and why the first one did */
    cny_error *first_returned;
    cny_feed feed;
    cny_question question; /* for which the channel was opened */
};

static inline void cny_channel_lock(cny_channel *channel)
{
    pthread_mutex_lock(&channel->connection->lock);
}

static inline void cny_channel_unlock(cny_channel *channel)
{
    pthread_mutex_unlock(&channel->connection->lock);
}

/* Under lock, I/O thread: the broker closes the connection. Channels whose requests or messages may be the reason end
 * with an error that is marked (cny_error_is_suspicion()). */
void cny_accuse(cny_connection *connection, const cny_incoming *incoming);

/* Drops so many references. */
void cny_channel_drop(cny_channel *channel, unsigned count);

/* ---- publishing; under lock, but for with_head ---- */

/* Selects confirms for the channel, but the broker does not know that yet. Not under lock. CONEY_E_NO_MEMORY. */
coney_status cny_channel_start_confirms(cny_channel *channel, const cny_confirm_options *options);

/* Encodes method and content header, and has them sent under the lock. */
typedef coney_status cny_locked_send(cny_channel *channel, const cny_buffer *head, const cny_publish *publish,
                                     int64_t deadline);
coney_status cny_publish_with_head(cny_channel *channel, const cny_publish *publish, cny_locked_send *send,
                                   int64_t deadline);

/* The bytes that it takes with its body; and commits it, in one step with its sequence number. */
size_t cny_publish_size(const cny_channel *channel, const cny_buffer *head, const coney_message *message);
coney_status cny_publish_append(cny_channel *channel, const cny_buffer *head, const cny_publish *publish);

/* The outbound buffer has room for so many bytes. */
bool cny_connection_has_room(const cny_connection *connection, size_t bytes);

/* Sends the frame of a method and waits for its reply; reply may be NULL. */
coney_status cny_channel_call(cny_channel *channel, const cny_buffer *frame, uint32_t awaited, cny_incoming *reply,
                              int64_t deadline);

/* Under lock, I/O thread: has all channels do what is due. And under lock: one of them has something to do then; 0 is
 * never. */
void cny_channels_run_due(cny_connection *connection, int64_t now);
static inline void cny_connection_be_due(cny_connection *connection, int64_t at)
{
    if (at > 0 && at < connection->due_at)
        connection->due_at = at;
}

/* Under lock, I/O thread: the broker has closed the channel of that number. */
coney_status cny_connection_answer_close(cny_connection *connection, uint16_t number);

/* Under lock: closes it, for this reason, unless that has happened. */
void cny_channel_close_locked(cny_channel *channel, cny_error *reason);

/* Under lock, I/O thread: the channel is gone, for this reason. */
void cny_channel_die(cny_channel *channel, cny_error *reason);

/* Under lock: the broker closes the connection over this method (0: it names none), and an answer to such a request of
 * this channel has not come. Publishes are not looked at. */
bool cny_channel_is_suspect_of(const cny_channel *channel, uint32_t cause);

/* Instead of close, without the lock: one that the broker has not heard of; this thread's last error tells why. */
void cny_channel_forget(cny_channel *channel);

/* Under lock, I/O thread: something for this channel. Takes the message in it.
 * CONEY_E_PROTOCOL: it makes no sense, the connection must end. */
coney_status cny_channel_incoming(cny_channel *channel, cny_incoming *incoming);

/* Under lock, I/O thread: the answer to the oldest declaration on its way; the answer is taken then. */
bool cny_series_is_step(cny_channel *channel, const cny_incoming *incoming);

/* NULL with the reason as this thread's last error. The second one under lock. */
cny_channel *cny_channel_new(cny_connection *connection, bool at_once, int64_t deadline);
cny_channel *cny_channel_new_locked(cny_connection *connection, bool at_once, int64_t deadline);
void cny_channel_announce(cny_channel *channel); /* under lock: the broker has opened it */

/* ---- the feed of a channel; under lock, but for free, and on the I/O thread, but for end ---- */

void cny_feed_free(cny_feed *feed);
void cny_feed_end(cny_channel *channel);                                   /* the channel is gone */
bool cny_feed_is_step(cny_channel *channel, const cny_incoming *incoming); /* of subscribing; it is taken then */
void cny_feed_begin(cny_channel *channel, const char *consumer_tag);
coney_status cny_feed_deliver(cny_channel *channel, coney_message *message); /* which is taken */
coney_status cny_feed_skip(cny_channel *channel, coney_message *message);    /* the same; it lacks its body */
coney_status cny_feed_cancelled(cny_channel *channel);                       /* as we asked */
void cny_feed_cancel(cny_channel *channel);                                  /* any thread: asks for no more */
void cny_feed_answered(cny_channel *channel);                                /* a call; what waits for that is said */
void cny_feed_tell_change(cny_channel *channel);                             /* any thread */

/* Settles so many on the wire, whoever has decided that; any thread. */
coney_status cny_feed_settle(cny_channel *channel, uint64_t tag, cny_settlement settlement, size_t count);

/* ---- a consumer that the broker cancels; under lock, and on the I/O thread but for ended ---- */

void cny_cancellation_begin(cny_channel *channel);

/* Of a channel that asks: the answer, which is taken then; its end, for this reason; what is due. */
bool cny_cancellation_is_step(cny_channel *asking, const cny_incoming *incoming);
void cny_cancellation_ended(cny_channel *asking, const cny_error *reason);
void cny_cancellation_run_due(cny_channel *asking, int64_t now);
void cny_cancellation_give_back(cny_channel *channel); /* everything, and closes it; any thread */

/* ---- the renewal of a subscription; under lock ---- */

bool cny_renewal_init(cny_renewal *renewal, const cny_subscription *what); /* not under lock; false without memory */
int cny_renewal_first_prefetch(const cny_subscription *what);
void cny_renewal_free(cny_renewal *renewal); /* the same */
void cny_renewal_join(cny_renewal *renewal, cny_holding *holding);
void cny_renewal_leave(cny_channel *channel); /* it stays as it is from now on */

/* I/O thread: a delivery has come that holds so many bytes. */
void cny_renewal_delivered(cny_channel *channel, size_t bytes);

/* I/O thread: whether there is room for a delivery. If there is none, the delivery comes without its body, and the
 * second function counts it. */
bool cny_renewal_admits(cny_channel *channel, const cny_announcement *announcement);
void cny_renewal_skipped(cny_channel *channel, const coney_message *message);
bool cny_renewal_has_skipped(const cny_feed *feed, uint64_t tag); /* any thread: and it is not back yet */

/* I/O thread: the answer to a renewal; the end of a consumer that another one has followed. */
bool cny_renewal_is_step(cny_feed *feed, const cny_incoming *incoming);
bool cny_renewal_is_end_of_earlier(cny_feed *feed);
void cny_renewal_run_due(cny_channel *channel, int64_t now); /* the same thread: what is due */

/* Any thread. Makes a settlement wait; false: it need not wait, or cannot. Then: writes what waits; drops it, because
 * the channel is gone, for this reason. */
bool cny_renewal_hold_back(cny_feed *feed, uint64_t tag, cny_settlement settlement, size_t count);
void cny_renewal_flush(cny_channel *channel);
void cny_renewal_drop(cny_channel *channel, const cny_error *reason);

/* Any thread. Counts a settlement that is written; counts bytes that are not held any more; gives back what was skipped
 * up to a tag. */
void cny_renewal_settled(cny_feed *feed, uint64_t tag, cny_settlement settlement, size_t count);
void cny_renewal_released(cny_channel *channel, size_t bytes);
coney_status cny_renewal_give_back_up_to(cny_channel *channel, uint64_t tag);

#endif
