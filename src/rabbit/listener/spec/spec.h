/* SPDX-License-Identifier: MIT */
/* A listener as the program has asked for it: its options, checked and with every default, and the queues that it
 * brings. All of that is constant. Only what is known of the listener's own queue may change, whenever somebody in the
 * factory declares the queue or the broker tells of it.
 *
 * Runs on any thread and knows nothing of consumers, messages or the container. */
#ifndef CNY_LISTENER_SPEC_H
#define CNY_LISTENER_SPEC_H

#include "base/base.h"
#include "rabbit/factory/factory.h"

#include <coney/rabbit/container.h>

enum { CNY_MAX_CONSUMERS = 2000 }; /* channels of one connection */

/* What is known of the queue. Any thread. */
typedef struct cny_known_queue {
    atomic_int kind;             /* coney_queue_kind; CONEY_QUEUE_DEFAULT: nobody here knows */
    atomic_bool is_certain;      /* the broker has it as it is declared in the factory */
    atomic_llong delivery_limit; /* as the factory declares it, else the broker's default; below 0: none */
    atomic_bool keeps_order;     /* it serves one consumer at a time, and the next one must not begin too early */
} cny_known_queue;

typedef struct cny_spec {
    /* fixed after cny_spec_init() */
    cny_arena arena;
    coney_listener options;            /* with every default filled in */
    cny_declaration_set *declarations; /* its queue, the ladder, the parking queue; NULL: it brings none of them */
    bool has_retry;                    /* anything of options.retry is set */
    bool has_own_attempts;             /* options.retry.max_attempts is no default */
    coney_types types;                 /* of which a message may name one as its payload's; empty: names do not count */
    int delay_count;
    const char *delay_queues[CONEY_MAX_DELAYS]; /* the ladder */
    const char *quarantine_queue; /* for messages that may kill their process; NULL: the listener is not guarded */
    /* any thread */
    cny_known_queue queue;
} cny_spec;

/* Fills a zeroed one. After a failure it must be freed, too. CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
coney_status cny_spec_init(cny_spec *spec, const coney_listener *options);
void cny_spec_free(cny_spec *spec);

static inline bool cny_acknowledges_nothing(const cny_spec *spec)
{
    return spec->options.acknowledge == CONEY_ACKNOWLEDGE_NONE;
}

static inline bool cny_has_parking_queue(const cny_spec *spec)
{
    return spec->options.retry.exhausted == CONEY_EXHAUSTED_PARK;
}

static inline coney_queue_kind cny_spec_queue_kind(const cny_spec *spec)
{
    return (coney_queue_kind)atomic_load(&spec->queue.kind);
}

/* The queue serves one consumer at a time: an exclusive listener's, or one that is declared with single active
 * consumer. False if nobody here knows the queue. */
static inline bool cny_spec_keeps_order(const cny_spec *spec)
{
    return atomic_load(&spec->queue.keeps_order);
}

/* The queue is a stream: nothing is rejected or given back. False if nobody here knows the queue. */
static inline bool cny_spec_is_stream(const cny_spec *spec)
{
    return cny_spec_queue_kind(spec) == CONEY_STREAM;
}

/* Whether a failed message is tried again, and how often in all. Both depend on whether the queue is a stream, which
 * may be known only later. */
bool cny_spec_has_retry(const cny_spec *spec);
int cny_spec_max_attempts(const cny_spec *spec);

/* Two handlers of lists that were checked take the same messages. */
bool cny_handlers_take_same(const coney_typed_handler *one, const coney_typed_handler *other);

/* Messages that may kill their process are moved to quarantine_queue. Only a quorum queue counts how often a message
 * has come back; the kind of the queue may be known only later. */
bool cny_spec_is_guarded(const cny_spec *spec);

/* Notes what the declarations of the factory, the listener's own and those of admins, say of its queue. Not while one
 * of its consumers is subscribed. CONEY_E_INVALID: the queue is a stream, and the options do not go with one; or it
 * does not delay what has failed, and the options rely on that. */
coney_status cny_spec_learn_queue(cny_spec *spec, coney_connection_factory *factory);

/* How the listener's queues stand: CNY_DECLARATION_WANTED (with an error: it may pass), CNY_DECLARATION_REFUSED, or
 * another state, in which its consumers may subscribe. Gives a reference to the error, NULL if there is none. */
cny_declaration_state cny_spec_declarations(const cny_spec *spec, coney_connection_factory *factory, cny_error **error);

#endif
