/* SPDX-License-Identifier: MIT */
/* One side of a case is a process of its own, so that its CPU time and memory are its own. It says
 * "ready", then answers lines on standard input until they end:
 *   a number   sends, handles or converts as many messages; answers wall and CPU seconds, then the median and the 99th
 *              percentile of a send and the CPU time of a conversion in microseconds (0: not measured)
 *   memory     answers resident and peak resident kilobytes
 *   listen     starts the case's listeners; answers how many threads there are then */
#ifndef BENCH_SIDE_H
#define BENCH_SIDE_H

#include "cases.h"

#include <jansson.h>

typedef struct bench_side {
    /* Connects and makes what the case needs; NULL after printing why not. */
    void *(*open)(const bench_case *one);
    /* Sends that many, and returns when all are confirmed; or consumes that many, and returns when all are handled; or
     * converts that many. each_us, if not NULL, gets the time of each send. */
    bool (*work)(void *self, int messages, double *each_us);
    bool (*convert)(void *self, int objects); /* makes bodies without sending them */
    bool (*listen)(void *self);
    void (*tidy)(void *self); /* unmeasured, after each work: empties the queue, or stops consuming */
    void (*close)(void *self);
} bench_side;

int bench_side_main(int count_of_arguments, char **arguments, const bench_side *side);

/* Ten fields; the caller's. */
json_t *bench_object(void);

double bench_now_us(void);
const char *bench_environment(const char *name, const char *otherwise);

#endif
