/* SPDX-License-Identifier: MIT */
/* Everything that is to be declared at the broker, whoever brings it: admins bring topologies, listeners their queues.
 *
 * The registry of a factory knows how each thing stands. A thing is wanted from the moment it is brought, after each
 * loss of a connection, and when somebody finds it missing; whatever is wanted and due is declared in one order:
 * exchanges, queues, bindings. declaring.c does that, on a thread of its own, because it waits for answers.
 *
 * A binding depends on its queue and its exchange: when one of these is declared, by whomever, its bindings are wanted
 * again, because a queue that had to be made again has none.
 *
 * All state is under the factory's lock. Functions without a comment may be called from any thread. */
#ifndef CNY_FACTORY_DECLARATIONS_H
#define CNY_FACTORY_DECLARATIONS_H

#include "rabbit/factory/factory.h"

enum { CNY_DECLARATION_KINDS = CNY_DECLARE_QUEUE_BINDING + 1 };

enum { CNY_DECLARATION_STATES = CNY_DECLARATION_REFUSED + 1 };

/* One thing of a set. */
typedef struct cny_declaration {
    /* fixed after new */
    const cny_declaration_set *set;
    cny_declaration_kind kind;
    const void *thing;    /* coney_exchange, coney_queue or coney_binding, in the set's topology */
    uint32_t name_hash;   /* of the queue or exchange, of a binding's destination */
    uint32_t source_hash; /* of a binding's exchange */
    bool is_exclusive;    /* an exclusive queue or a binding to one: of the consuming connection */
    int timeout_ms;       /* for the broker's answer */
    /* under the factory's lock */
    cny_error *refusal; /* until it is known whether the thing is there all the same */
    cny_declaration_state state;
    cny_error *error; /* the broker's refusal; NULL: there was none */
    cny_error *told; /* the last refusal that the program was told of: the same as error, or an earlier one. NULL: none,
                         or the program was told that it is over */
    int delay_ms;    /* before the next attempt */
    int64_t due_at;  /* not tried before */
    int64_t tried_at; /* when the last attempt failed; 0: none has */
    /* From the second one on the thing is declared on the isolated connection, from the third one on alone there. */
    cny_strikes strikes;
} cny_declaration;

struct cny_declaration_set {
    atomic_uint refs;
    coney_topology *topology;
    bool is_automatic; /* wanted on each new connection, not only when asked for */
    /* under the factory's lock */
    bool has_joined; /* it is one of the registry's */
    int callers;     /* of cny_declarations_declare() that wait for it */
    /* fixed after new */
    size_t count;
    cny_declaration items[];
};

/* A factory's registry; under its lock. */
typedef struct cny_declarations {
    cny_buffer sets;                       /* of cny_declaration_set *, references */
    size_t counts[CNY_DECLARATION_STATES]; /* of all items */
    atomic_size_t wanted;                  /* the same as counts[CNY_DECLARATION_WANTED], for a look without the lock */
    atomic_ullong changes;                 /* see cny_declarations_changes() */
    int64_t not_before;                    /* when the next run may begin: the last one could not go on */
    bool running;                          /* something is being declared */
    bool isolating;                        /* suspects are being declared on a connection of their own */
    uint64_t answers;                      /* of the broker, ever */
    int64_t answered_at;                   /* when the last one came, or the run began */
} cny_declarations;

/* ---- for recovery; under the factory's lock ---- */

void cny_declarations_free(cny_declarations *declarations);

/* A connection of that role was lost that the recovery thread has seen open: what it may have taken along is wanted. */
void cny_declarations_lost(coney_connection_factory *factory, coney_connection_role role);

/* A connection was given up: nobody waits for what it alone could declare. */
void cny_declarations_given_up(coney_connection_factory *factory);

/* Something is being declared, or is due and can be declared by a connection of that role. */
bool cny_declarations_are_under_way(const coney_connection_factory *factory, coney_connection_role role);

/* Begins what is due; returns when the next thing will be. */
int64_t cny_declarations_run_due(coney_connection_factory *factory);

#endif
