/* SPDX-License-Identifier: MIT */
/* What is measured: read by bench, which compares, and by both sides, which do the work. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include <stdbool.h>
#include <stddef.h>

#define BENCH_WINDOW 2000         /* unconfirmed messages at most, on both sides */
#define BENCH_PREFETCH 250        /* messages a consumer has unacknowledged at most, the same */
#define BENCH_FANOUT "amq.fanout" /* there, without bindings, in a private broker */

typedef enum bench_mode {
    BENCH_ASYNC,     /* confirmed, many under way */
    BENCH_FORGET,    /* not confirmed */
    BENCH_SYNC,      /* confirmed one by one */
    BENCH_JSON,      /* the same, made of an object each */
    BENCH_STARTUP,   /* connect and send one */
    BENCH_IDLE,      /* a publisher and a consumer that do nothing */
    BENCH_CONSUME,   /* handle and acknowledge what bench has put into the queue */
    BENCH_RELAY,     /* the same, and send it on to another queue, confirmed */
    BENCH_LISTENERS, /* many that do nothing; Coney only */
    BENCH_ENCODE,    /* make a message of a struct; without a broker */
    BENCH_DECODE,    /* make a struct of a message; without a broker */
    BENCH_RPC,       /* ask a server, a process of its own, and wait for the reply */
    BENCH_SERVE,     /* that server; no case of its own */
} bench_mode;

typedef struct bench_case {
    const char *name;
    bench_mode mode;
    int body_bytes;
    int threads;   /* on Coney's side; the other has one */
    bool unrouted; /* to an exchange without bindings; otherwise to a queue */
    bool quorum;   /* a quorum queue and persistent messages */
    bool tls;
    int prefetch;    /* BENCH_PREFETCH if 0 */
    int concurrency; /* consumers on Coney's side; the other has one */
    int handler_ms;  /* how long a handler waits, as if for a database */
    bool no_ack;
    int listeners;     /* each on a queue of its own */
    int outstanding;   /* requests at a time, from one thread; 0: one for each thread */
    const char *other; /* the case whose Coney side is the other side; NULL: rabbitmq-c's */
    int lines;         /* of the order that is converted; 0: a parcel, which has ten fields */
} bench_case;

int bench_prefetch(const bench_case *one);

extern const bench_case bench_cases[];
extern const size_t bench_case_count;

/* NULL if there is none of that name. */
const bench_case *bench_case_find(const char *name);

/* Do messages come from outside? Then bench makes the queues, fills and deletes them, so that this is in no figure. */
bool bench_is_fed(const bench_case *one);

/* Is a document converted, without a broker? */
bool bench_is_conversion(const bench_case *one);

#define BENCH_SERVER "rpc-server" /* the case of the server */

/* Of that side, "coney" or "raw". The others are for BENCH_RELAY and BENCH_LISTENERS. */
typedef char bench_queue_name[96];
void bench_queue(bench_queue_name name, const bench_case *one, const char *side);
void bench_relay_queue(bench_queue_name name, const bench_case *one, const char *side);
void bench_listener_queue(bench_queue_name name, const bench_case *one, int number);

#endif
