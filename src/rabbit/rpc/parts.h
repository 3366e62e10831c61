/* SPDX-License-Identifier: MIT */
/* The structs of this room and their owners. Private to the folder.
 *
 * One lock for all calls of a template. It is the innermost lock: the I/O thread takes it under its connection's lock
 * and the events lock, and nothing is called under it. */
#ifndef CNY_RPC_PARTS_H
#define CNY_RPC_PARTS_H

#include "rabbit/events/events.h"
#include "rabbit/rpc/circuit.h"
#include "rabbit/rpc/rpc.h"

#include <coney/amqp/headers.h>
#include <coney/amqp/remote_error.h>

#include <stdatomic.h>

typedef struct cny_reply_channel cny_reply_channel;

/* OUTSTANDING -> ENDED -> FINISHING -> FINISHED. */
typedef enum cny_call_state {
    CNY_CALL_OUTSTANDING,
    CNY_CALL_ENDED,     /* it has its reply or error, but nobody has looked at the reply */
    CNY_CALL_FINISHING, /* a thread runs processors on the reply */
    CNY_CALL_FINISHED,  /* reply and error stay as they are */
} cny_call_state;

struct coney_request {
    /* fixed after new */
    atomic_uint refs; /* the program's, that of the table while it is outstanding, and that of its confirm */
    unsigned fork_count;
    cny_rpc *rpc; /* its owner is referenced */
    coney_request_callback *callback;
    void *user;
    cny_waiter *waiter;      /* NULL: there is a callback */
    coney_message *original; /* a reference; NULL: there is nothing to restore */
    const char *exchange;    /* these three behind the struct */
    const char *routing_key;
    const char *id;
    uint64_t hash; /* of the id */
    int64_t deadline;
    bool synchronous;
    /* by the thread that sends it and waits */
    cny_channel *awaited; /* a reference; NULL: nobody waits, or not yet */
    /* under the rpc's lock */
    cny_call_state state;
    bool confirmed;
    int64_t sent_us;
    cny_reply_channel *channel; /* while it is outstanding and sent */
    struct coney_request *next_of_hash;
    struct coney_request *next, *previous; /* of the calls of its channel */
    /* by the thread that ends it, then by the one that finishes it */
    coney_message *reply;
    cny_error *error;
    cny_ticket ticket; /* of its circuit; of no circuit when that has heard how the call ended */
};

/* Where replies come in. Direct reply-to and a temporary queue: one channel for both ways, which ends once. A fixed
 * queue: a consumer and a publisher, each of which is replaced when it is gone. */
struct cny_reply_channel {
    /* fixed after new */
    cny_rpc *rpc;
    coney_reply_path path; /* not AUTO */
    char address[256];     /* what requests say in reply_to */
    /* any thread */
    atomic_bool is_unchecked; /* the I/O thread has told something of its consumer */
    /* by the thread that opens it, and then under lock */
    cny_channel *consumer;
    cny_channel *publisher;
    /* under lock */
    cny_reply_channel *next;
    size_t outstanding; /* calls, and threads that use it */
    bool is_cancelled;  /* the broker has ended its consumer, but not the channel */
    cny_call *oldest, *newest;
    int64_t idle_since;
};

typedef struct cny_call_table {
    cny_call **buckets;
    size_t capacity; /* a power of two */
    size_t count;
} cny_call_table;

struct cny_rpc {
    /* fixed after new */
    cny_rpc_parts parts;
    cny_events *events;
    cny_arena arena;
    coney_rpc_options options; /* with every default filled in */
    char name[37];             /* a UUID, with which the ids of its calls begin */
    atomic_ullong last_number; /* of a call */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below */
    cny_call_table calls;
    cny_reply_channel *channels;
    uint64_t changes;       /* how often a channel has changed */
    bool opening;           /* a thread opens or repairs a channel */
    bool has_new_channel;   /* since the recovery thread was woken for that */
    bool is_without_direct; /* the broker does not know direct reply-to */
    bool is_closed;
    size_t untold;       /* callbacks that have not returned, and calls that the events thread is to finish */
    size_t notices;      /* of late replies and of circuits, which have not been told */
    int64_t tick_at;     /* when the recovery thread comes, at the latest */
    int64_t late_log_at; /* events thread: when a late reply may be logged again */
    cny_circuits circuits;
    int64_t repair_at; /* when a fixed queue is subscribed to again */

    coney_rpc_statistics statistics;
};

/* ---- table.c: all under lock ---- */

bool cny_calls_reserve(cny_call_table *calls);             /* room for one more; false without memory */
bool cny_calls_add(cny_call_table *calls, cny_call *call); /* false: a call has this id */
void cny_calls_remove(cny_call_table *calls, cny_call *call);
cny_call *cny_calls_find(const cny_call_table *calls, const char *id, size_t size);
cny_call *cny_calls_any(const cny_call_table *calls, size_t *from); /* *from begins with 0; NULL: there is none */

/* ---- notices.c ---- */

/* Of a late reply or a circuit, for the events thread. False: it is not to be told, because the template is closed or
 * the program is too slow to hear so many. The closing waits for the end of those that have begun. */
bool cny_notice_begins(cny_rpc *rpc);
void cny_notice_ends(cny_rpc *rpc); /* whoever tells it holds a reference to the template or a call */

/* ---- calls.c ---- */

static inline cny_call *cny_call_ref(cny_call *call)
{
    atomic_fetch_add_explicit(&call->refs, 1, memory_order_relaxed);
    return call;
}

/* NULL without memory. */
cny_call *cny_call_new(cny_rpc *rpc, const cny_call_request *request, const char *id);

/* What a call is to end with; one of the two is NULL. Both are borrowed. */
typedef struct cny_end {
    coney_message *reply;
    cny_error *error;
} cny_end;

/* Ends the call, unless it has ended: then false. The first one is for a caller who holds the events lock, and may
 * hold the lock of a connection; told as for cny_waiter_tell_later(), or NULL. */
bool cny_call_end_under_events(cny_call *call, cny_end end, cny_waiter **told);
bool cny_call_end(cny_call *call, cny_end end);

/* Takes a call back that was not sent. False: it has ended meanwhile. */
bool cny_call_withdraw(cny_call *call);

/* Makes sure that reply and error stay as they are from now on. */
void cny_call_finish(cny_call *call);

/* Waits until one of the calls that exist has ended. For any number of rpcs. */
void cny_calls_wait_for_any(bool (*has_ended)(void *context), void *context, int64_t deadline);

/* ---- channels.c ---- */

/* Finds or opens a usable channel, on which one more call counts as outstanding, and gives a reference to the channel
 * for publishing. */
coney_status cny_reply_channel_take(cny_rpc *rpc, cny_reply_channel **channel, cny_channel **publisher,
                                    int64_t deadline);
int64_t cny_reply_channels_tick(cny_rpc *rpc, int64_t now);
void cny_reply_channels_close(cny_rpc *rpc); /* when no thread uses one any more */

/* ---- replies.c: I/O thread, under the connection's lock ---- */

cny_settlement cny_reply_arrives(void *channel, coney_message *message, cny_waiter **told);

/* ---- containment.c ---- */

/* Before the call is sent. CONEY_E_CIRCUIT_OPEN. */
coney_status cny_circuit_admit(cny_call *call);
void cny_circuit_note(cny_call *call);   /* it has ended, and its error stays as it is */
void cny_circuit_forget(cny_call *call); /* it was not sent after all */

/* ---- waiting.c ---- */

/* Ends the asynchronous calls whose deadline has passed. Returns when the next one is due. */
int64_t cny_calls_expire(cny_rpc *rpc, int64_t now);

/* ---- sending.c ---- */

/* Gives a copy of the message that says where its reply is to go and by when. *id is the call's. */
coney_status cny_request_make(const cny_rpc *rpc, coney_message **made, coney_message *message, const char *reply_to,
                              const char *id, int64_t deadline);

/* Under lock: a call fewer uses the channel. */
static inline void cny_reply_channel_release(cny_reply_channel *channel)
{
    if (--channel->outstanding > 0)
        return;
    channel->idle_since = cny_now_ms();
    pthread_cond_broadcast(&channel->rpc->changed);
}

static inline void cny_rpc_lock(cny_rpc *rpc)
{
    pthread_mutex_lock(&rpc->lock);
}

static inline void cny_rpc_unlock(cny_rpc *rpc)
{
    pthread_mutex_unlock(&rpc->lock);
}

#endif
