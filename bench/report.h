/* SPDX-License-Identifier: MIT */
/* From the rounds of a case to a row and an object. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "cases.h"

#include <jansson.h>

#define BENCH_ROUNDS 7

/* What one round of one side measured; 0: it did not. */
typedef struct bench_sample {
    double rate;   /* messages a second */
    double cpu_us; /* for each message, of all threads, user and system; the broker's is not in it */
    double p50_us;
    double p99_us;
    double conversion_us; /* CPU for each message, too */
    double rss_kb;        /* when idle */
    double peak_rss_kb;   /* so far */
    double threads;
    double rss_per_listener_kb;
} bench_sample;

/* From now on rows tell the lowest and the highest of the CPU ratios, too. */
void bench_report_spread(void);

/* Prints the medians and gives an object of them; of ratios, those of neighbouring rounds. What only Coney has
 * measured has no ratio. */
json_t *bench_report(const bench_case *one, const bench_sample *coney, const bench_sample *raw, int rounds);

#endif
