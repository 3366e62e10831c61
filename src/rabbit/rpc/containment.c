/* SPDX-License-Identifier: MIT */
/* What the circuits make of the calls: asks before a call is sent, hears how it has ended, and tells the program of
 * each change. On the thread of the caller, or the events thread. */
#include "rabbit/rpc/parts.h"

#include <stdio.h>

/* ---- telling of changes ---- */

typedef struct circuit_change {
    cny_rpc *rpc; /* with a reference to its owner */
    coney_circuit_state state;
    char exchange[256], routing_key[256];
} circuit_change;

static void end_change(circuit_change *change)
{
    cny_rpc *rpc = change->rpc;
    cny_free(change);
    cny_notice_ends(rpc);
    rpc->parts.owner->unref(rpc->parts.self);
}

static void run_change(coney_message *unused, const coney_error *reason, void *user)
{
    (void)unused;
    circuit_change *change = user;
    const coney_circuit_options *options = &change->rpc->options.circuit;
    options->on_change(change->exchange, change->routing_key, change->state, reason, options->user);
    end_change(change);
}

static void tell_listener(const cny_call *call, coney_circuit_state state)
{
    cny_rpc *rpc = call->rpc;
    circuit_change *change = rpc->options.circuit.on_change ? cny_alloc(sizeof *change) : NULL;
    if (!change || !cny_notice_begins(rpc)) {
        cny_free(change);
        return;
    }
    rpc->parts.owner->ref(rpc->parts.self);
    change->rpc = rpc;
    change->state = state;
    snprintf(change->exchange, sizeof change->exchange, "%s", call->exchange);
    snprintf(change->routing_key, sizeof change->routing_key, "%s", call->routing_key);
    const cny_completion completion = {.callback = run_change, .user = change, .error = cny_error_ref(call->error)};
    cny_events_lock(rpc->events);
    bool posted = cny_events_post(rpc->events, &completion);
    cny_events_unlock(rpc->events);
    if (posted)
        return;
    cny_error_unref(completion.error);
    end_change(change);
}

static void tell(const cny_call *call, coney_circuit_state state)
{
    const coney_error *reason = cny_error_view(call->error); /* only a failure changes it to open */
    static const char *const words[] = {
        [CONEY_CIRCUIT_CLOSED] = "closed again",
        [CONEY_CIRCUIT_OPEN] = "open, so requests fail at once",
        [CONEY_CIRCUIT_HALF_OPEN] = "half open: a request is sent as a probe",
    };
    cny_log(state == CONEY_CIRCUIT_OPEN ? CONEY_LOG_WARN : CONEY_LOG_INFO,
            "the circuit of exchange '%.255s' and routing key '%.255s' is %s%s%s", call->exchange, call->routing_key,
            words[state], reason ? ": " : "", reason ? reason->text : "");
    tell_listener(call, state);
}

/* ---- the calls ---- */

static bool has_circuit(const cny_rpc *rpc)
{
    return rpc->options.circuit.max_failures > 0;
}

coney_status cny_circuit_admit(cny_call *call)
{
    cny_rpc *rpc = call->rpc;
    bool changed;
    if (!has_circuit(rpc))
        return CONEY_OK;
    cny_rpc_lock(rpc);
    coney_status status =
        cny_circuits_admit(&rpc->circuits, call->exchange, call->routing_key, cny_now_ms(), &call->ticket, &changed);
    rpc->statistics.circuit_refused += status != CONEY_OK;
    cny_rpc_unlock(rpc);
    if (changed)
        tell(call, CONEY_CIRCUIT_HALF_OPEN);
    return status;
}

static void note(cny_call *call, cny_circuit_outcome outcome)
{
    cny_rpc *rpc = call->rpc;
    coney_circuit_state state;
    cny_rpc_lock(rpc);
    bool changed = cny_circuits_note(&rpc->circuits, &call->ticket, outcome, call->error, cny_now_ms(), &state);
    cny_rpc_unlock(rpc);
    if (changed)
        tell(call, state);
}

static bool is_failure(const cny_rpc *rpc, const coney_error *error)
{
    const coney_circuit_options *options = &rpc->options.circuit;
    if (options->is_failure)
        return options->is_failure(error, options->user);
    switch (error->status) {
    case CONEY_E_TIMEOUT:
    case CONEY_E_REMOTE_ERROR:
    case CONEY_E_RETURNED:
    case CONEY_E_NACKED:
    case CONEY_E_LOST: return true;
    default: return false;
    }
}

static cny_circuit_outcome outcome_of(const cny_call *call)
{
    const coney_error *error = cny_error_view(call->error);
    if (!error)
        return CNY_CIRCUIT_SUCCESS;
    return is_failure(call->rpc, error) ? CNY_CIRCUIT_FAILURE : CNY_CIRCUIT_NEITHER;
}

void cny_circuit_note(cny_call *call)
{
    if (call->ticket.circuit)
        note(call, outcome_of(call));
}

void cny_circuit_forget(cny_call *call)
{
    if (call->ticket.circuit)
        note(call, CNY_CIRCUIT_NEITHER);
}

coney_circuit_state cny_rpc_circuit(cny_rpc *rpc, const char *exchange, const char *routing_key)
{
    cny_rpc_lock(rpc);
    coney_circuit_state state = cny_circuits_state(&rpc->circuits, exchange, routing_key);
    cny_rpc_unlock(rpc);
    return state;
}
