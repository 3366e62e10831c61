/* SPDX-License-Identifier: MIT */
/* Circuits: one for each exchange and routing key, closed until requests there fail too often. Without clock and lock:
 * the caller brings both. Private to the folder.
 *
 *     CLOSED -> OPEN -> HALF_OPEN -> CLOSED or OPEN
 *
 * Each change begins a new generation, so the outcome of a request that was admitted earlier changes nothing. */
#ifndef CNY_RPC_CIRCUIT_H
#define CNY_RPC_CIRCUIT_H

#include "base/base.h"

#include <coney/rabbit/rpc_options.h>

enum { CNY_CIRCUIT_BUCKETS = 256, CNY_MOST_CIRCUITS = 10000 };

typedef struct cny_circuit cny_circuit;

typedef struct cny_circuits {
    const coney_circuit_options *options; /* with every default filled in */
    cny_circuit *buckets[CNY_CIRCUIT_BUCKETS];
    cny_circuit *oldest, *newest; /* closed ones that remember failures and that no request uses, by their last use */
    size_t count;
    size_t not_closed;
    uint64_t opened; /* how often one has opened */
} cny_circuits;

/* With which a request was admitted. Zeroed: there is no circuit. */
typedef struct cny_ticket {
    cny_circuit *circuit;
    uint64_t generation;
} cny_ticket;

typedef enum cny_circuit_outcome {
    CNY_CIRCUIT_SUCCESS,
    CNY_CIRCUIT_FAILURE,
    CNY_CIRCUIT_NEITHER, /* it tells nothing: the request was cancelled, or was not sent */
} cny_circuit_outcome;

void cny_circuits_free(cny_circuits *circuits);

/* Admits a request: CONEY_OK, and the ticket must be given back by cny_circuits_note(). CONEY_E_CIRCUIT_OPEN. An open
 * circuit becomes half open when it is time: *changed. If there are too many circuits, `oldest` makes room for a new
 * one; without room or memory there is no circuit, and the request is admitted. */
coney_status cny_circuits_admit(cny_circuits *circuits, const char *exchange, const char *routing_key, int64_t now,
                                cny_ticket *ticket, bool *changed);

/* The request has ended. Borrows the error of a failure. True if the state of the circuit has changed, to *state. */
bool cny_circuits_note(cny_circuits *circuits, cny_ticket *ticket, cny_circuit_outcome outcome, cny_error *error,
                       int64_t now, coney_circuit_state *state);

coney_circuit_state cny_circuits_state(cny_circuits *circuits, const char *exchange, const char *routing_key);

#endif
