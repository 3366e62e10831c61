/* SPDX-License-Identifier: MIT */
/* A delivery: a message, or a fragment of a batch, on its way through handling. */
#ifndef CNY_HANDLING_DELIVERY_H
#define CNY_HANDLING_DELIVERY_H

#include "rabbit/listener/handling/arrival.h"
#include "rabbit/listener/handling/delivery_state.h"
#include "rabbit/listener/handling/handling.h"
#include "rabbit/listener/handling/payload.h"

typedef struct cny_sent_reply cny_sent_reply;

/* How far the handling of a delivery has come. */
typedef enum cny_progress {
    CNY_UNPREPARED,
    CNY_PREPARED,  /* ready for its handler; or its handler has failed */
    CNY_SUCCEEDED, /* the last call of its handler has returned CONEY_ACK */
} cny_progress;

/* Whether processors have seen the message. A batch is processed before it is taken apart, its fragments are not. */
typedef enum cny_processing {
    CNY_UNPROCESSED,
    CNY_PROCESSED, /* before the delivery came to the dispatcher: as a batch */
    CNY_BROKEN,    /* a batch that was processed and cannot be taken apart; failure tells why */
} cny_processing;

/* Whether the message has changed between its queue and the quarantine queue, in place of a call of its handler. */
typedef enum cny_transfer {
    CNY_NO_TRANSFER,
    CNY_MOVED,     /* to or from the quarantine queue */
    CNY_CONDEMNED, /* from the quarantine queue, and no handler gets it any more */
} cny_transfer;

struct coney_delivery {
    atomic_uint refs;
    cny_delivery_state_now state;
    /* fixed while it has a message */
    cny_source *source;      /* a reference */
    cny_arrival *arrival;    /* its own; of a fragment, a reference to that of the batch */
    coney_message *fragment; /* a reference; NULL: the message has not come in a batch */
    int fragment_number;     /* from 1 */
    bool is_last_fragment;
    int earlier_attempts;
    /* by the worker, then by the thread that settles it */
    cny_arrival own;
    coney_message *message; /* as processors left it */
    cny_payload payload;
    const coney_typed_handler *handler; /* NULL: the listener's */
    cny_sent_reply *sent_reply;         /* on its way, reply.c; NULL: there is none */
    cny_error *failure;                 /* the reason, without what the program has said since */
    cny_processing processing;
    cny_progress progress;
    cny_transfer transfer;
    cny_disposition disposition;
    bool is_expired;         /* a request whose sender does not wait any more */
    bool is_on_ladder;       /* its copy waits for the next round */
    bool is_unsendable;      /* its last copy was refused for itself, and the next copy will be, too */
    int64_t requeue_at;      /* when it may go back; 0: at once */
    uint32_t channel_number; /* with MANUAL: by which of the source's channels it is counted as deferred */
    /* any thread */
    atomic_int tries;               /* attempts in place that have failed */
    _Atomic(cny_error *) said;      /* by coney_delivery_fail(), for the thread that decides */
    _Atomic(coney_message *) reply; /* left by the handler, for the thread that acknowledges */
};

/* An outcome of Coney's own: there was no memory to call the handler, which is not the message's fault. */
#define CNY_UNTRIED ((coney_outcome)INT32_MIN)

/* The message as it came, before processors. */
static inline coney_message *cny_original(const coney_delivery *delivery)
{
    return delivery->fragment ? delivery->fragment : delivery->arrival->message;
}

/* The program may settle the delivery, on any thread, from the call of its handler on. */
static inline bool cny_delivery_is_manual(const coney_delivery *delivery)
{
    return delivery->source->handling->spec->options.acknowledge == CONEY_ACKNOWLEDGE_MANUAL;
}

/* CONEY_E_STATE in a child of fork(), where nothing can be done with a delivery. */
coney_status cny_delivery_check_process(const coney_delivery *delivery);

/* For a delivery whose disposition is known and whose handler has returned: frees what was made of the message, which
 * may take many times the memory of the message. Does nothing while the program has a reference. */
void cny_delivery_let_go(coney_delivery *delivery);

/* Memory of what has been made of the message: by processors, and, by a guess, as JSON. */
size_t cny_delivery_made_bytes(const coney_delivery *delivery);

/* Any thread says why the delivery fails, and gives the error away. The thread that decides what becomes of the
 * delivery adopts the error as the failure of the delivery. */
void cny_delivery_say(coney_delivery *delivery, cny_error *failure);
void cny_delivery_adopt_failure(coney_delivery *delivery);

/* The failure, for a sentence. */
const char *cny_failure_text(const coney_delivery *delivery);

#endif
