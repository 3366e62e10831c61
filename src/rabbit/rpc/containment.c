/* SPDX-License-Identifier: MIT */
/* What the circuits make of the calls: asks before a call is sent, hears how it has ended, and tells the program of
 * each change. On the thread of the caller, or the events thread. */
#include "rabbit/rpc/parts.h"

#include <stdio.h>

/* ---- telling of changes ---- */

typedef struct change_notice {
    cny_notice notice;
    coney_circuit_listener *listener;
    void *user;
    coney_circuit_state state;
    bool has_reason;
    coney_error reason; /* whose text is the next member */
    char text[512];
    char exchange[256], routing_key[256];
} change_notice;

static void run_notice(cny_notice *notice)
{
    change_notice *one = (change_notice *)(void *)notice;
    one->reason.text = one->text;
    one->listener(one->exchange, one->routing_key, one->state, one->has_reason ? &one->reason : NULL, one->user);
}

static void tell_listener(const cny_call *call, coney_circuit_state state, const coney_error *reason)
{
    const coney_circuit_options *options = &call->rpc->options.circuit;
    change_notice *one = options->on_change ? cny_alloc(sizeof *one) : NULL;
    if (!one)
        return;
    one->notice.run = run_notice;
    one->listener = options->on_change;
    one->user = options->user;
    one->state = state;
    one->has_reason = reason != NULL;
    if (reason) {
        one->reason = (coney_error){.status = reason->status,
                                    .broker_code = reason->broker_code,
                                    .retriable = reason->retriable,
                                    .fatal = reason->fatal};
        snprintf(one->text, sizeof one->text, "%s", reason->text);
    }
    snprintf(one->exchange, sizeof one->exchange, "%s", call->exchange);
    snprintf(one->routing_key, sizeof one->routing_key, "%s", call->routing_key);
    cny_events_tell(call->rpc->events, &one->notice);
}

static void tell(const cny_call *call, coney_circuit_state state, const cny_error *error)
{
    const coney_error *reason = state == CONEY_CIRCUIT_OPEN ? cny_error_view(error) : NULL;
    static const char *const words[] = {
        [CONEY_CIRCUIT_CLOSED] = "closed again",
        [CONEY_CIRCUIT_OPEN] = "open, so requests fail at once",
        [CONEY_CIRCUIT_HALF_OPEN] = "half open: a request is sent as a probe",
    };
    cny_log(state == CONEY_CIRCUIT_OPEN ? CONEY_LOG_WARN : CONEY_LOG_INFO,
            "the circuit of exchange '%.255s' and routing key '%.255s' is %s%s%s", call->exchange, call->routing_key,
            words[state], reason ? ": " : "", reason ? reason->text : "");
    tell_listener(call, state, reason);
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
        tell(call, CONEY_CIRCUIT_HALF_OPEN, NULL);
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
        tell(call, state, call->error);
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
