/* SPDX-License-Identifier: MIT */
/* What is measured: read by bench, which compares, and by both sides, which do the work. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include <stdbool.h>
#include <stddef.h>

#define BENCH_WINDOW 2000         /* unconfirmed messages at most, on both sides */
#define BENCH_FANOUT "amq.fanout" /* there, without bindings, in a private broker */

typedef enum bench_mode {
    BENCH_ASYNC,   /* confirmed, many under way */
    BENCH_FORGET,  /* not confirmed */
    BENCH_SYNC,    /* confirmed one by one */
    BENCH_JSON,    /* the same, made of an object each */
    BENCH_STARTUP, /* connect and send one */
    BENCH_IDLE,    /* a publisher and a consumer that do nothing */
} bench_mode;

typedef struct bench_case {
    const char *name;
    bench_mode mode;
    int body_bytes;
    int threads;   /* on Coney's side; the other has one */
    bool unrouted; /* to an exchange without bindings; otherwise to a queue */
    bool quorum;   /* a quorum queue and persistent messages */
    bool tls;
} bench_case;

extern const bench_case bench_cases[];
extern const size_t bench_case_count;

/* NULL if there is none of that name. */
const bench_case *bench_case_find(const char *name);

#endif
