/* SPDX-License-Identifier: MIT */
/* What the broker has delivered once: one message, which is settled once. */
#ifndef CNY_HANDLING_ARRIVAL_H
#define CNY_HANDLING_ARRIVAL_H

#include "rabbit/listener/handling/disposition.h"
#include "rabbit/listener/handling/handling.h"

/* A delivery has an arrival in its own struct, but the fragments of a batch share an arrival. */
typedef struct cny_arrival {
    /* fixed while the arrival has a message */
    cny_channel *channel;   /* a reference: by which the message came, and is settled */
    coney_message *message; /* a reference: as it came, with the delivery tag */
    cny_handling *handling; /* counts a shared arrival as in progress; NULL: it is embedded */
    /* any thread */
    atomic_bool is_failure_counted; /* for stateful retry: it has failed this time, or one of its fragments has */
    atomic_uint refs;               /* this and the next two: of a shared arrival */
    atomic_int fragments_left;      /* the undecided ones */
    atomic_int worst;               /* cny_disposition, of the others */
    /* by the worker of the lane */
    bool was_delayed;  /* it goes back, and waits or has waited before that, for itself or for a fragment */
    uint64_t identity; /* for rejected.c; 0: not known yet */
} cny_arrival;

/* Of a batch, for its fragments: takes over channel and message of another arrival. NULL without memory. */
cny_arrival *cny_arrival_share(const cny_arrival *from, cny_handling *handling);
cny_arrival *cny_arrival_ref(cny_arrival *shared);
void cny_arrival_unref(cny_arrival *shared);

/* A delivery of the arrival is decided. If it is the last one, the arrival is decided: true, and the worst disposition
 * of all of its deliveries. */
bool cny_arrival_decide(cny_arrival *arrival, cny_disposition disposition, cny_disposition *worst);

#endif
