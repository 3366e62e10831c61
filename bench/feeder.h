/* SPDX-License-Identifier: MIT */
/* Makes, fills and deletes the queues of a side that consumes. It is bench that does it, so that both sides get the
 * same and neither's figures hold the publishing. With other cases its functions do nothing. All print why they
 * fail. */
#ifndef BENCH_FEEDER_H
#define BENCH_FEEDER_H

#include "cases.h"
#include "raw_publisher.h"

typedef struct feeder {
    const bench_case *one;
    raw_publisher *publisher; /* NULL: the case needs none */
    bench_queue_name queue;
    bench_queue_name relay_queue;
} feeder;

/* For the side "coney" or "raw". */
bool feeder_open(feeder *made, const bench_case *one, const char *side);

/* Puts in that many messages, transient ones, and returns when they are there and the broker is at rest. */
bool feeder_fill(const feeder *filled, int messages);

/* After the side has stopped consuming: that nothing is left, and that all of them were sent on. */
bool feeder_check(const feeder *checked, int messages);

/* Deletes the queues. Takes one that was not opened. */
void feeder_close(feeder *closed);

#endif
