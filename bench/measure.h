/* SPDX-License-Identifier: MIT */
/* Side by side measuring: Coney and the best loop one can honestly write with rabbitmq-c alone,
 * in one process, against one broker, in alternating rounds. What counts is the median of the
 * ratios of neighbouring rounds, which a noisy machine hardly moves. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stdbool.h>

/* One side's work: sends or handles that many messages, and returns when all are confirmed. */
typedef bool bench_side(void *user, int messages);

typedef struct bench_case {
    const char *name;
    int messages; /* in each round of each side */
    int rounds;
    bench_side *coney;
    bench_side *raw;
    void (*between)(void *user); /* tidies up after each side, unmeasured; may be NULL */
    void *user;
} bench_case;

/* Runs the case, prints its row, and appends an object to the JSON list (NULL: none). */
bool bench_run(const bench_case *one, const char *json_path);

#endif
