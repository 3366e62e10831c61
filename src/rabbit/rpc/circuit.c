/* SPDX-License-Identifier: MIT */
/* The states of circuits. Pure but for memory: under the caller's lock, at the caller's time. */
#include "rabbit/rpc/circuit.h"

#include <string.h>

struct cny_circuit {
    cny_circuit *next;
    uint32_t hash;
    coney_circuit_state state;
    uint64_t generation; /* of the state */
    size_t users;        /* tickets */
    bool is_unused;      /* in the list of those */
    cny_circuit *older, *newer;
    int failures;  /* closed: one after another */
    int probes;    /* half open: on their way */
    int successes; /* half open */
    int64_t opened_at;
    cny_error *reason; /* for which it was opened last; NULL: never */
    const char *routing_key;
    char exchange[]; /* NUL, routing key, NUL */
};

/* ---- finding ---- */

static uint32_t hash_of(const char *exchange, const char *routing_key)
{
    return (uint32_t)(cny_hash_keyed(exchange, strlen(exchange)) * 31 +
                      cny_hash_keyed(routing_key, strlen(routing_key)));
}

static cny_circuit **place_of(cny_circuits *circuits, const char *exchange, const char *routing_key, uint32_t hash)
{
    cny_circuit **place = &circuits->buckets[hash % CNY_CIRCUIT_BUCKETS];
    while (*place && ((*place)->hash != hash || strcmp((*place)->exchange, exchange) != 0 ||
                      strcmp((*place)->routing_key, routing_key) != 0))
        place = &(*place)->next;
    return place;
}

static cny_circuit *make(const char *exchange, const char *routing_key, uint32_t hash)
{
    size_t exchange_size = strlen(exchange) + 1, key_size = strlen(routing_key) + 1;
    cny_circuit *made = cny_alloc(sizeof *made + exchange_size + key_size);
    if (!made)
        return NULL;
    made->hash = hash;
    memcpy(made->exchange, exchange, exchange_size);
    made->routing_key = memcpy(made->exchange + exchange_size, routing_key, key_size);
    return made;
}

static void free_circuit(cny_circuit *circuit)
{
    cny_error_unref(circuit->reason);
    cny_free(circuit);
}

static void remove_circuit(cny_circuits *circuits, cny_circuit *circuit)
{
    *place_of(circuits, circuit->exchange, circuit->routing_key, circuit->hash) = circuit->next;
    circuits->count--;
    free_circuit(circuit);
}

/* ---- those that no request uses ---- */

static void put_aside(cny_circuits *circuits, cny_circuit *circuit)
{
    circuit->is_unused = true;
    circuit->newer = NULL;
    circuit->older = circuits->newest;
    *(circuits->newest ? &circuits->newest->newer : &circuits->oldest) = circuit;
    circuits->newest = circuit;
}

static void take_up(cny_circuits *circuits, cny_circuit *circuit)
{
    if (!circuit->is_unused)
        return;
    circuit->is_unused = false;
    *(circuit->older ? &circuit->older->newer : &circuits->oldest) = circuit->newer;
    *(circuit->newer ? &circuit->newer->older : &circuits->newest) = circuit->older;
}

/* A circuit that remembers nothing need not be kept; a closed one that remembers failures is, if there is room. */
static void put_back(cny_circuits *circuits, cny_circuit *circuit)
{
    if (circuit->users > 0 || circuit->state != CONEY_CIRCUIT_CLOSED)
        return;
    if (circuit->failures > 0)
        put_aside(circuits, circuit);
    else
        remove_circuit(circuits, circuit);
}

static bool make_room(cny_circuits *circuits)
{
    cny_circuit *oldest = circuits->oldest;
    if (circuits->count >= CNY_MOST_CIRCUITS && oldest) {
        take_up(circuits, oldest);
        remove_circuit(circuits, oldest);
    }
    return circuits->count < CNY_MOST_CIRCUITS;
}

static cny_circuit *find_or_make(cny_circuits *circuits, const char *exchange, const char *routing_key)
{
    uint32_t hash = hash_of(exchange, routing_key);
    cny_circuit *found = *place_of(circuits, exchange, routing_key, hash);
    if (found || !make_room(circuits))
        return found;
    cny_circuit *made = make(exchange, routing_key, hash);
    if (!made)
        return NULL;
    *place_of(circuits, exchange, routing_key, hash) = made; /* at the end of its bucket */
    circuits->count++;
    return made;
}

void cny_circuits_free(cny_circuits *circuits)
{
    for (size_t i = 0; i < CNY_CIRCUIT_BUCKETS; i++) {
        for (cny_circuit *circuit; (circuit = circuits->buckets[i]);) {
            circuits->buckets[i] = circuit->next;
            free_circuit(circuit);
        }
    }
}

/* ---- states ---- */

static void enter(cny_circuits *circuits, cny_circuit *circuit, coney_circuit_state state)
{
    circuits->not_closed += state != CONEY_CIRCUIT_CLOSED;
    circuits->not_closed -= circuit->state != CONEY_CIRCUIT_CLOSED;
    circuits->opened += state == CONEY_CIRCUIT_OPEN;
    circuit->state = state;
    circuit->generation++;
    circuit->failures = circuit->probes = circuit->successes = 0;
}

static coney_status fail_open(const cny_circuits *circuits, const cny_circuit *circuit, int64_t now)
{
    int64_t left_ms = circuit->opened_at + circuits->options->open_ms - now;
    const char *reason = circuit->reason ? cny_error_view(circuit->reason)->text : "";
    if (circuit->state == CONEY_CIRCUIT_OPEN)
        return cny_fail(CONEY_E_CIRCUIT_OPEN, "never sent: the circuit is open for another %lld ms, after: %s",
                        (long long)left_ms, reason);
    return cny_fail(CONEY_E_CIRCUIT_OPEN, "never sent: the circuit is half open, and its probes are on their way; %s",
                    reason);
}

coney_status cny_circuits_admit(cny_circuits *circuits, const char *exchange, const char *routing_key, int64_t now,
                                cny_ticket *ticket, bool *changed)
{
    const coney_circuit_options *options = circuits->options;
    *ticket = (cny_ticket){0};
    *changed = false;
    cny_circuit *circuit = find_or_make(circuits, exchange, routing_key);
    if (!circuit)
        return CONEY_OK;
    if (circuit->state == CONEY_CIRCUIT_OPEN && now >= circuit->opened_at + options->open_ms) {
        enter(circuits, circuit, CONEY_CIRCUIT_HALF_OPEN);
        *changed = true;
    }
    bool is_probe = circuit->state == CONEY_CIRCUIT_HALF_OPEN;
    bool has_place = circuit->probes + circuit->successes < options->probes;
    if (circuit->state == CONEY_CIRCUIT_OPEN || (is_probe && !has_place))
        return fail_open(circuits, circuit, now);
    circuit->probes += is_probe;
    take_up(circuits, circuit);
    circuit->users++;
    *ticket = (cny_ticket){.circuit = circuit, .generation = circuit->generation};
    return CONEY_OK;
}

static void open_for(cny_circuits *circuits, cny_circuit *circuit, cny_error *error, int64_t now)
{
    cny_error_ref(error);
    cny_error_unref(circuit->reason);
    circuit->reason = error;
    circuit->opened_at = now;
    enter(circuits, circuit, CONEY_CIRCUIT_OPEN);
}

static void note_closed(cny_circuits *circuits, cny_circuit *circuit, cny_circuit_outcome outcome, cny_error *error,
                        int64_t now)
{
    if (outcome == CNY_CIRCUIT_SUCCESS)
        circuit->failures = 0;
    else if (outcome == CNY_CIRCUIT_FAILURE && ++circuit->failures >= circuits->options->max_failures)
        open_for(circuits, circuit, error, now);
}

static void note_probe(cny_circuits *circuits, cny_circuit *circuit, cny_circuit_outcome outcome, cny_error *error,
                       int64_t now)
{
    circuit->probes--;
    circuit->successes += outcome == CNY_CIRCUIT_SUCCESS;
    if (outcome == CNY_CIRCUIT_FAILURE)
        open_for(circuits, circuit, error, now);
    else if (circuit->successes >= circuits->options->probes)
        enter(circuits, circuit, CONEY_CIRCUIT_CLOSED);
}

bool cny_circuits_note(cny_circuits *circuits, cny_ticket *ticket, cny_circuit_outcome outcome, cny_error *error,
                       int64_t now, coney_circuit_state *state)
{
    cny_circuit *circuit = ticket->circuit;
    if (!circuit)
        return false;
    uint64_t generation = circuit->generation;
    bool counts = ticket->generation == generation;
    *ticket = (cny_ticket){0};
    circuit->users--;
    if (counts && circuit->state == CONEY_CIRCUIT_CLOSED)
        note_closed(circuits, circuit, outcome, error, now);
    else if (counts && circuit->state == CONEY_CIRCUIT_HALF_OPEN)
        note_probe(circuits, circuit, outcome, error, now);
    *state = circuit->state;
    bool changed = circuit->generation != generation;
    put_back(circuits, circuit);
    return changed;
}

coney_circuit_state cny_circuits_state(cny_circuits *circuits, const char *exchange, const char *routing_key)
{
    uint32_t hash = hash_of(exchange, routing_key);
    const cny_circuit *circuit = *place_of(circuits, exchange, routing_key, hash);
    return circuit ? circuit->state : CONEY_CIRCUIT_CLOSED;
}
