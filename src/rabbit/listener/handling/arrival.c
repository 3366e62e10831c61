/* SPDX-License-Identifier: MIT */
/* What the broker has delivered once. The fragments of a batch are handled by one worker, but settled by any thread. */
#include "rabbit/listener/handling/arrival.h"

cny_arrival *cny_arrival_share(const cny_arrival *from, cny_handling *handling)
{
    cny_arrival *shared = cny_alloc(sizeof *shared);
    if (!shared)
        return NULL;
    atomic_init(&shared->refs, 1);
    shared->channel = cny_channel_ref(from->channel);
    shared->message = coney_message_ref(from->message);
    shared->handling = handling;
    cny_count(&handling->counters.in_progress); /* beside its fragments */
    return shared;
}

cny_arrival *cny_arrival_ref(cny_arrival *shared)
{
    atomic_fetch_add_explicit(&shared->refs, 1, memory_order_relaxed);
    return shared;
}

void cny_arrival_unref(cny_arrival *shared)
{
    if (atomic_fetch_sub_explicit(&shared->refs, 1, memory_order_acq_rel) != 1)
        return;
    atomic_fetch_sub_explicit(&shared->handling->counters.in_progress, 1, memory_order_release);
    coney_message_unref(shared->message);
    cny_channel_unref(shared->channel);
    cny_free(shared);
}

bool cny_arrival_decide(cny_arrival *arrival, cny_disposition disposition, cny_disposition *worst)
{
    if (!arrival->handling) {
        *worst = disposition;
        return true;
    }
    int so_far = atomic_load(&arrival->worst);
    while ((int)disposition > so_far && !atomic_compare_exchange_weak(&arrival->worst, &so_far, (int)disposition))
        ;
    if (atomic_fetch_sub(&arrival->fragments_left, 1) != 1)
        return false;
    *worst = (cny_disposition)atomic_load(&arrival->worst);
    return true;
}
