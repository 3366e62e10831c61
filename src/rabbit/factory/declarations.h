/* SPDX-License-Identifier: MIT */
/* What is to be declared at the broker, whoever brings it: admins bring topologies, listeners bring queues.
 *
 * A factory has a registry, which knows the state of each thing. A thing is wanted when it is brought, after each loss
 * of a connection, and when somebody finds it missing. Whatever is wanted and due is declared in one order: exchanges,
 * queues, bindings.
 *
 * A binding depends on its queue and its exchange. When one of these is declared, by whomever, the binding is wanted
 * again, because a queue that had to be made again has no bindings.
 *
 * From below to above: declaration_set.c (what does not change), declarations.c (states), declared.c (what others may
 * ask), outcomes.c and declaring.c (one run over what is due), runs.c (when a run begins), declare.c (a caller
 * waits). */
#ifndef CNY_FACTORY_DECLARATIONS_H
#define CNY_FACTORY_DECLARATIONS_H

#include "rabbit/factory/factory.h"

enum { CNY_DECLARATION_KINDS = CNY_DECLARE_QUEUE_BINDING + 1 };

enum { CNY_DECLARATION_STATES = CNY_DECLARATION_FAILED + 1 };

/* One thing of a set. */
typedef struct cny_declaration {
    /* fixed after new */
    const cny_declaration_set *set;
    cny_declaration_kind kind;
    const void *thing;    /* coney_exchange, coney_queue or coney_binding, in the set's topology */
    uint32_t name_hash;   /* of the queue or exchange; of a binding's destination */
    uint32_t source_hash; /* of a binding's exchange */
    bool is_exclusive;    /* an exclusive queue or a binding to one: only the consuming connection declares it */
    bool is_external;     /* somebody else declares it */
    coney_on_refusal on_refusal;
    int timeout_ms; /* for the broker's answer */
    /* under the factory's lock */
    cny_declaration_state state;
    bool is_forgotten;          /* the program has removed it from its admin */
    bool was_checked;           /* what is told once of a declared thing was told */
    int refusals;               /* since the last success */
    cny_error *error;           /* the broker's last refusal; NULL: there was none */
    cny_error *told;            /* the refusal that the program was told of last, which is error or an earlier one.
                                   NULL: none, or the program was told that it is over */
    cny_error *pending_refusal; /* until a passive declaration has told whether the thing is there all the same */
    int delay_ms;               /* before the next attempt */
    int64_t due_at;             /* the next attempt is not made before */
    int64_t tried_at;           /* when the last attempt failed; 0: none has */
    cny_strikes strikes;
} cny_declaration;

struct cny_declaration_set {
    atomic_uint refs;
    coney_topology *topology;
    /* under the factory's lock */
    bool is_automatic;         /* wanted on each new connection, not only when asked for */
    bool has_joined;           /* the registry has it */
    bool refuses_unknown_ends; /* of its bindings; else the log tells of them */
    int callers;               /* of cny_declarations_declare() that wait for it */
    /* fixed after new */
    size_t count;
    cny_declaration items[];
};

/* A factory's registry. Under the factory's lock. */
typedef struct cny_declarations {
    cny_buffer sets;                       /* of cny_declaration_set *, references */
    size_t counts[CNY_DECLARATION_STATES]; /* of all items, by state */
    atomic_size_t hindering;               /* wanted or failed items, for those who ask without the lock */
    atomic_ullong changes;                 /* see cny_declarations_changes() */
    int64_t not_before;                    /* the next run does not begin before: the last one could not go on */
    bool is_running;                       /* a run is under way, */
    bool is_isolating;                     /* and one on the isolated connection */
    uint64_t answers;                      /* of the broker, in total */
    int64_t answered_at;                   /* when the last answer came, or the run began */
} cny_declarations;

void cny_declarations_free(cny_declarations *declarations);

/* ---- for recovery; under the factory's lock ---- */

/* A connection of that role was lost after its login: whatever may have gone with it is wanted. */
void cny_declarations_lost(coney_connection_factory *factory, coney_connection_role role);

/* A connection was given up: nobody waits any more for what only that connection could declare. */
void cny_declarations_given_up(coney_connection_factory *factory);

/* Something is being declared, or is due and can be declared by a connection of that role. */
bool cny_declarations_are_under_way(const coney_connection_factory *factory, coney_connection_role role);

/* Begins a run if something is due. Returns when the next thing will be due. */
int64_t cny_declarations_run_due(coney_connection_factory *factory);

#endif
