/* SPDX-License-Identifier: MIT */
/* What a handler holds. */
#ifndef CNY_HANDLING_DELIVERY_H
#define CNY_HANDLING_DELIVERY_H

#include "rabbit/listener/handling/handling.h"

struct coney_delivery {
    atomic_uint refs;
    /* fixed while it has a message */
    cny_source *source;    /* a reference */
    cny_channel *channel;  /* a reference */
    coney_message *origin; /* as it came */
    coney_delivery *whole; /* a reference to that of which it is a part; NULL: it is whole */
    int part;              /* of the whole, from 1 */
    bool last_in_batch;
    int earlier_attempts;
    /* by the worker, then by who settles */
    coney_message *message; /* as processors left it */
    void *payload;
    const coney_converter *payload_converter;
    const coney_typed_handler *handler; /* NULL: the listener's */
    cny_error *failure;                 /* as far as is known, without what was said since */
    bool is_processed;                  /* before it came to the dispatcher */
    uint64_t identity;                  /* of a whole, for rounds.c; 0: not known yet */
    bool is_broken;                     /* a batch that cannot be taken apart; failure tells why */
    bool prepared;
    bool is_moved;      /* to or from quarantine, without a call of its handler */
    bool is_condemned;  /* by what came of it in quarantine */
    bool is_unsendable; /* the last copy that was to be published was refused for itself, and will be the next time */
    bool in_handler;
    bool has_succeeded;    /* its handler, when it was called last */
    atomic_int tries;      /* so far */
    coney_outcome verdict; /* what is to become of it; 0: not known yet */
    bool is_left;          /* to whoever settles, who alone may touch the verdict then */
    int64_t requeue_at;    /* when it may go back; 0: at once */
    bool is_returned;      /* nobody has tried: not the message's fault */
    bool is_deferred;      /* counted among its consumer's: */
    uint32_t channel_number;
    /* any thread */
    _Atomic(cny_error *) said;      /* by coney_delivery_fail(), for whoever judges */
    _Atomic(coney_message *) reply; /* left by the handler, for whoever acknowledges */
    atomic_bool settled;            /* by its outcome or coney_delivery_settle() */
    atomic_int parts_left;
    atomic_int worst;       /* of its parts */
    atomic_bool is_counted; /* for stateful retry: that it has failed this time, or one of its parts */
    bool was_delayed;       /* it goes back, and waits or has waited before that, for itself or for a part */
};

static inline coney_delivery *cny_whole(coney_delivery *delivery)
{
    return delivery->whole ? delivery->whole : delivery;
}

/* In a child of fork() nothing can be done with a delivery. */
bool cny_delivery_is_of_process(const coney_delivery *delivery);

void cny_delivery_release_payload(coney_delivery *delivery);

/* The verdict is known and the handler is through: lets go of what has been made of the message, which may take many
 * times the memory of the message, unless the program has a reference. */
void cny_delivery_let_go(coney_delivery *delivery);

/* Memory of what has been made of the message: by processors, and, by a guess, as JSON. */
size_t cny_delivery_made_bytes(const coney_delivery *delivery);

/* By who settles it: what was said of its failure is what is known of it from now on. */
void cny_delivery_adopt_failure(coney_delivery *delivery);
void cny_delivery_say(coney_delivery *delivery, cny_error *failure); /* takes it; any thread */

/* Why it failed, as far as is known. */
const char *cny_failure_text(const coney_delivery *delivery);

#endif
