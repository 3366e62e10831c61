/* SPDX-License-Identifier: MIT */
/* The counters of a listener: how they are read, and how the time of a handler is counted. Any thread, without a
 * lock, so a reader may see one counter without another that is counted a moment later. */
#include "rabbit/listener/report/report.h"

void cny_count_handler(cny_counters *counters, uint64_t us)
{
    int bucket = 0;
    for (uint64_t bound = 100; us > bound && bucket < CONEY_HANDLER_TIME_BUCKETS - 1; bound *= 10)
        bucket++;
    cny_count(&counters->handled);
    cny_count(&counters->handler_times[bucket]);
    atomic_fetch_add_explicit(&counters->handler_us, us, memory_order_relaxed);
}

void cny_counters_read(coney_listener_statistics *to, const cny_counters *from)
{
    *to = (coney_listener_statistics){
        .received = atomic_load(&from->received),
        .acknowledged = atomic_load(&from->acknowledged),
        .rejected = atomic_load(&from->rejected),
        .requeued = atomic_load(&from->requeued),
        .retried = atomic_load(&from->retried),
        .republished = atomic_load(&from->republished),
        .exhausted = atomic_load(&from->exhausted),
        .passed_over = atomic_load(&from->passed_over),
        .discarded = atomic_load(&from->discarded),
        .filtered = atomic_load(&from->filtered),
        .expired = atomic_load(&from->expired),
        .failed = atomic_load(&from->failed),
        .fatal = atomic_load(&from->fatal),
        .stale = atomic_load(&from->stale),
        .in_progress = atomic_load(&from->in_progress),
        .handled = atomic_load(&from->handled),
        .handler_us = atomic_load(&from->handler_us),
    };
    for (int i = 0; i < CONEY_HANDLER_TIME_BUCKETS; i++)
        to->handler_times[i] = atomic_load(&from->handler_times[i]);
}
