/* SPDX-License-Identifier: MIT */
/* What the files of this folder share: the structs behind connection.h. Private to the folder.
 *
 * One lock per connection guards the connection, its channels, their confirms and feeds. The
 * events lock may be taken while it is held, never the other way round. */
#ifndef CNY_CONNECTION_INTERNAL_H
#define CNY_CONNECTION_INTERNAL_H

#include "rabbit/connection/connection.h"
#include "rabbit/connection/uri.h"
#include "wire/wire.h"

/* ---- events: callbacks, in the order in which their causes happened ---- */

typedef struct cny_events cny_events;

typedef struct cny_completion {
    coney_send_callback *callback;
    void *user;
    coney_message *message; /* taken */
    cny_error *error;       /* taken */
    cny_channel *channel;   /* taken; told when the callback has returned */
} cny_completion;

coney_status cny_events_start(cny_events **events);

/* Runs what is queued, then ends the thread. False if a callback has not returned by the deadline;
 * the thread then ends behind it. */
bool cny_events_stop(cny_events *events, int64_t deadline);
void cny_events_unref(cny_events *events); /* takes NULL */
bool cny_events_is_current(cny_events *events);

/* Posts between lock and unlock; one wake-up for all of them. False without memory: the
 * completion is still the caller's. */
void cny_events_lock(cny_events *events);
bool cny_events_post(cny_events *events, const cny_completion *completion);
void cny_events_unlock(cny_events *events);

/* ---- connection ---- */

typedef struct cny_connection cny_connection;

/* What a factory's connections have in common. */
typedef struct cny_connection_config {
    cny_uri uri; /* with every default filled in */
    size_t max_message_bytes;
    size_t max_outbound_bytes;
    int close_timeout_ms;
    const char *names[CNY_ROLE_COUNT]; /* connection_name for each role */
} cny_connection_config;

/* connecting -> open -> closing -> dead; each may skip to dead. */
typedef enum cny_connection_state { CNY_CONNECTING, CNY_OPEN, CNY_CLOSING, CNY_DEAD } cny_connection_state;

struct cny_connection {
    /* fixed after new */
    atomic_uint refs;
    coney_connection_factory *factory; /* a reference, for the sake of config */
    const cny_connection_config *config;
    cny_events *events; /* there as long as the I/O thread has not ended */
    cny_role role;
    int wake_fd;
    cny_wire *wire;
    _Atomic(const char *) remark; /* from any thread, to be logged like state_changed */
    /* fixed once open */
    cny_wire_limits limits;
    /* I/O thread only */
    cny_buffer writing;
    size_t written;
    int64_t last_read_ms;
    int64_t last_write_ms;
    bool streaming;     /* the last read brought something: more is on its way */
    bool state_changed; /* to be logged as soon as no lock is held */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the state, room in outgoing, or blocked */
    cny_connection_state state;
    cny_error *reason; /* why it is dead */
    bool ended;        /* the I/O thread does nothing any more */
    bool io_asleep;    /* wake it after appending */
    bool close_wanted;
    int64_t close_deadline;
    cny_buffer outgoing;
    size_t unwritten; /* bytes of outgoing and writing together */
    int waiting_for_room;
    int waiting_for_answer; /* threads in a call or a synchronous send: reads must not be put off */
    char blocked[256];      /* the broker's reason for holding back publishers, "" if it does not */
    cny_channel **channels; /* by number; NULL where none is */
    size_t channel_capacity;
};

/* Starts the I/O thread, which connects at once. */
coney_status cny_connection_new(cny_connection **connection, coney_connection_factory *factory,
                                const cny_connection_config *config, cny_events *events, cny_role role);
cny_connection *cny_connection_ref(cny_connection *connection);
void cny_connection_unref(cny_connection *connection);
coney_status cny_connection_wait_open(cny_connection *connection, int64_t deadline);
bool cny_connection_is_dead(cny_connection *connection);

/* Asks for an orderly close by the deadline, and waits until the I/O thread has ended. Together
 * they are a close; two steps, so that several connections close at the same time. False if the
 * thread still runs: it is stuck in name resolution, and keeps what it needs. */
void cny_connection_begin_close(cny_connection *connection, int64_t deadline);
bool cny_connection_wait_ended(cny_connection *connection, int64_t deadline);

/* Under lock, I/O thread. The one place where the state changes. */
void cny_connection_set_state(cny_connection *connection, cny_connection_state state);

/* Under lock: after appending to outgoing, counts the bytes and wakes the I/O thread. */
void cny_connection_appended(cny_connection *connection, size_t bytes);

void *cny_connection_io(void *argument); /* the I/O thread; the argument is the connection */

/* ---- channel ---- */

/* usable -> closing -> dead, or usable -> dead; dead is out of the connection's table. */
typedef enum cny_channel_state { CNY_CHANNEL_USABLE, CNY_CHANNEL_CLOSING, CNY_CHANNEL_DEAD } cny_channel_state;

/* A synchronous sender; lives on its stack. */
typedef struct cny_waiter {
    pthread_cond_t told;
    bool done;
    cny_error *error;
} cny_waiter;

/* One publish that the broker has not confirmed. */
typedef struct cny_confirm {
    coney_message *message;
    coney_send_callback *callback;
    void *user;
    cny_waiter *waiter; /* instead of a callback; NULL once it gave up */
    cny_error *returned;
    uint32_t exchange_hash; /* names are not kept, to spare the copy; hashes tell returns apart */
    uint32_t routing_key_hash;
    bool mandatory;
    bool done;
} cny_confirm;

typedef struct cny_confirms {
    cny_confirm *ring; /* by sequence number modulo capacity, a power of two */
    size_t capacity;
    uint64_t first; /* the oldest not done */
    uint64_t next;
    uint64_t return_from; /* returns come in the order of sending: where to look for the next */
    size_t max;           /* 0: confirms are not selected */
    size_t unfinished;    /* not done, or their callback has not returned yet */
    int waiting_senders;  /* for room */
    int waiting_for_end;  /* for nothing to be unfinished */
    cny_error *unheard;   /* the last one logged for want of a callback: once is enough */
} cny_confirms;

typedef struct cny_feed {
    cny_buffer deliveries;  /* of coney_message * */
    bool cancelled;         /* we asked for no more */
    bool ended;             /* no more will come */
    bool waiting;           /* the consumer thread sleeps */
    bool recheck;           /* it should look up, for its deadline has changed */
    char consumer_tag[256]; /* "" while nothing is consumed */
} cny_feed;

struct cny_channel {
    /* fixed after new */
    atomic_uint refs;
    cny_connection *connection;
    uint16_t number;
    /* under the connection's lock */
    cny_channel_state state;
    cny_error *reason;      /* why it is not open any more */
    pthread_cond_t changed; /* anything below */
    uint32_t calling;       /* the method of the call under way, 0 if none */
    uint32_t awaited;       /* its reply; 0 once it is there */
    cny_incoming *reply;
    cny_confirms confirms;
    cny_feed feed;
};

/* Sends the frame of a method and waits for its reply; reply may be NULL. */
coney_status cny_channel_call(cny_channel *channel, const cny_buffer *frame, uint32_t awaited, cny_incoming *reply,
                              int64_t deadline);

coney_status cny_channel_open_on(cny_channel **channel, cny_connection *connection, int64_t deadline);

/* Under lock: closes it, for this reason, unless that has happened. */
void cny_channel_close_locked(cny_channel *channel, cny_error *reason);

/* Under lock, I/O thread: the channel is gone, for this reason. */
void cny_channel_die(cny_channel *channel, cny_error *reason);

/* Under lock, I/O thread: something for this channel. Takes the message in it.
 * CONEY_E_PROTOCOL: it makes no sense, the connection must end. */
coney_status cny_channel_incoming(cny_channel *channel, cny_incoming *incoming);

/* ---- confirms; all under lock ---- */

coney_status cny_confirms_start(cny_confirms *confirms, size_t max);
void cny_confirms_free(cny_confirms *confirms);
bool cny_confirms_full(const cny_confirms *confirms);
bool cny_confirms_have_room(const cny_confirms *confirms); /* enough to let waiting senders go on */
coney_status cny_confirms_reserve(cny_confirms *confirms); /* room for one more */
void cny_confirms_add(cny_channel *channel, const cny_publish *publish, cny_waiter *waiter);
void cny_confirms_forget(cny_channel *channel, const cny_waiter *waiter); /* the sender gave up */

/* I/O thread: the broker's ack or nack, its return, and the end of everything outstanding. */
void cny_confirms_settled(cny_channel *channel, const cny_incoming *incoming);
void cny_confirms_returned(cny_channel *channel, const cny_incoming *incoming);
void cny_confirms_fail(cny_channel *channel, cny_error *reason);

/* Events thread, not under lock: that many callbacks have returned. */
void cny_confirms_finished(cny_channel *channel, size_t count);

#endif
