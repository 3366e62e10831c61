/* SPDX-License-Identifier: MIT */
/* What may go wrong with a broker and the network before it. */
#ifndef CHAOS_FAULTS_H
#define CHAOS_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

/* One fault, drawn: what the seed alone decides. */
typedef struct fault_draw {
    int kind;
    int calm_ms;  /* before it */
    int hold_ms;  /* how long it lasts, at least */
    int number;   /* of a network's fault: bytes, for example */
    int ways;     /* and which way */
    bool patient; /* wait for the client to recover before the next one */
} fault_draw;

void faults_seed(uint64_t seed);
fault_draw faults_draw(void); /* every kind comes once before one comes again */

const char *faults_name(const fault_draw *draw);
bool faults_cut_connections(const fault_draw *draw); /* so the client has to make new ones */

/* Connects the broker of the environment (see tests/support/broker.sh) with a proxy; gives the URI
 * of that. NULL with a line on stderr if there is no such broker. */
const char *faults_start(void);
void faults_stop(void);

/* The fault begins; it is over. False with a line on stderr if the broker does not obey. */
bool faults_begin(const fault_draw *draw);
bool faults_end(const fault_draw *draw);

#endif
