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

#include "amqp/amqp.h"
#include "rabbit/factory/strikes.h"

#include <coney/rabbit/connection_factory.h>

/* In the order in which things are declared. */
typedef enum cny_declaration_kind {
    CNY_DECLARE_EXCHANGE,
    CNY_DECLARE_QUEUE,
    CNY_DECLARE_EXCHANGE_BINDING,
    CNY_DECLARE_QUEUE_BINDING,
} cny_declaration_kind;

enum { CNY_DECLARATION_KINDS = CNY_DECLARE_QUEUE_BINDING + 1 };

/* wanted -> declared, found or refused; each of these -> wanted. */
typedef enum cny_declaration_state {
    CNY_DECLARATION_IDLE,   /* declared only when coney_admin_declare() asks for it */
    CNY_DECLARATION_WANTED, /* with an error: the last refusal, which may pass */
    CNY_DECLARATION_DECLARED,
    CNY_DECLARATION_FOUND,   /* refused, but it is there */
    CNY_DECLARATION_REFUSED, /* refused, and it is not there; tried again when it is due */
} cny_declaration_state;

enum { CNY_DECLARATION_STATES = CNY_DECLARATION_REFUSED + 1 };

/* One thing of a set. */
typedef struct cny_declaration {
    /* fixed after new */
    const struct cny_declaration_set *set;
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
    bool is_told;     /* the error is, to the program */
    cny_error *told;  /* the last refusal that was; NULL: there was none, or it was told that it is over */
    int delay_ms;     /* before the next attempt */
    int64_t due_at;   /* not tried before */
    int64_t tried_at; /* when the last attempt failed; 0: none has */
    /* From the second one on the thing is declared on the isolated connection, from the third one on alone there. */
    cny_strikes strikes;
} cny_declaration;

/* What one admin or listener brings. Reference-counted, because it may leave while it is being declared. */
typedef struct cny_declaration_set {
    atomic_uint refs;
    coney_topology *topology;
    bool is_automatic; /* wanted on each new connection, not only when asked for */
    /* under the factory's lock */
    bool has_joined; /* it is one of the registry's */
    int callers;     /* of cny_declarations_declare() that wait for it */
    /* fixed after new */
    size_t count;
    cny_declaration items[];
} cny_declaration_set;

/* Takes the topology, on failure, too. NULL without memory. */
cny_declaration_set *cny_declaration_set_new(coney_topology *topology, int timeout_ms);
cny_declaration_set *cny_declaration_set_ref(cny_declaration_set *set);
void cny_declaration_set_unref(cny_declaration_set *set); /* takes NULL */

/* A factory's registry; under its lock. */
typedef struct cny_declarations {
    cny_buffer sets;                       /* of cny_declaration_set *, references */
    size_t counts[CNY_DECLARATION_STATES]; /* of all items */
    atomic_size_t wanted;                  /* the same as counts[CNY_DECLARATION_WANTED], for a look without the lock */
    atomic_ullong settled;                 /* changes when messages that had to wait may go */
    int64_t not_before;                    /* when the next run may begin: the last one could not go on */
    bool running;                          /* something is being declared */
    bool isolating;                        /* suspects are being declared on a connection of their own */
    uint64_t answers;                      /* of the broker, ever */
    int64_t answered_at;                   /* when the last one came, or the run began */
} cny_declarations;

/* ---- for those who bring something ---- */

/* From now on the set's things are declared, at once if there is a connection; automatic: on each new one.
 * CONEY_E_NO_MEMORY. leave: they are forgotten, not deleted. */
coney_status cny_declarations_join(coney_connection_factory *factory, cny_declaration_set *set, bool automatic);
void cny_declarations_leave(coney_connection_factory *factory, cny_declaration_set *set);

/* Declares the set now. Waits, as long as answers come, at most timeout_ms for one. The status and sentence are those
 * of the first refusal. */
coney_status cny_declarations_declare(coney_connection_factory *factory, cny_declaration_set *set, int timeout_ms);

/* How the items of a set stand: wanted as long as one is, refused if one is and none is wanted. Gives a reference to
 * the error of the first item that is not declared; NULL if there is none, or if an answer is still to come. accepts
 * decides about those that are found. */
typedef bool cny_accepts_found(const cny_declaration *item, void *user);
cny_declaration_state cny_declaration_set_state(coney_connection_factory *factory, const cny_declaration_set *set,
                                                cny_accepts_found *accepts, void *user, cny_error **error);

/* ---- for those who use what is declared ---- */

/* The broker says that the queue is not there: it is wanted, with its bindings and their exchanges. False if nobody
 * in the factory declares it. */
bool cny_declarations_restore(coney_connection_factory *factory, const char *queue);

/* Somebody has declared the queue or exchange: its bindings are wanted. */
void cny_declarations_appeared(coney_connection_factory *factory, cny_declaration_kind kind, const char *name);

/* The queue or one of its bindings is wanted, and the broker has not refused it. A suspect is not awaited, for it may
 * be there; but the queue is if it is exclusive, or if must_be_there. Else gives a reference to why the queue is not
 * there, if that may pass; NULL: it is there, or nobody declares it, or it was refused for good. */
bool cny_declarations_awaits(coney_connection_factory *factory, const char *queue, bool must_be_there,
                             cny_error **refusal);

#define CNY_BROKERS_DELIVERY_LIMIT 20 /* of a quorum queue for which nobody sets one, from RabbitMQ 4.0 on */

/* What the declarations of the factory say of a queue. */
typedef struct cny_declared_queue {
    coney_queue_kind kind; /* CONEY_QUEUE_DEFAULT: they do not say */
    bool single_active_consumer;
    bool delays_failures;
    int64_t delivery_limit; /* if they do not say, the broker's; below 0: none */
    bool is_so;             /* the broker has taken a declaration of it, so its arguments are those that are declared */
} cny_declared_queue;

/* False if nobody in the factory declares it. */
bool cny_declarations_find_queue(coney_connection_factory *factory, const char *queue, cny_declared_queue *found);

/* Waits until a message may go there: until the exchange (for the default exchange the queue) and the bindings of it
 * that somebody in the factory declares are declared or finally refused. At the deadline the status is that of the
 * refusal, CONEY_E_CONNECT if there was none: nothing was sent. deadline 0: only looks. */
coney_status cny_declarations_wait(coney_connection_factory *factory, const char *exchange, const char *routing_key,
                                   int64_t deadline);

/* Changes when a message that had to wait may go. */
uint64_t cny_declarations_settled(coney_connection_factory *factory);

/* CONEY_OK, or why something that should be there is not. */
coney_status cny_declarations_check(coney_connection_factory *factory);

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
