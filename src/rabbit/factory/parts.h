/* SPDX-License-Identifier: MIT */
/* The struct of a factory. Its parts are described in the other headers of this folder. */
#ifndef CNY_FACTORY_PARTS_H
#define CNY_FACTORY_PARTS_H

#include "rabbit/events/events.h"
#include "rabbit/factory/declarations.h"
#include "rabbit/factory/isolation.h"
#include "rabbit/factory/members.h"
#include "rabbit/factory/routes.h"
#include "rabbit/factory/slot.h"

#include <signal.h>

/* serving -> draining -> closed -> ended. Changes under the lock. Senders read it without the lock. */
typedef enum cny_factory_phase {
    CNY_FACTORY_SERVING,
    CNY_FACTORY_DRAINING, /* the close has begun, and only handlers and callbacks may send */
    CNY_FACTORY_CLOSED,   /* everything answers CONEY_E_CLOSED, and nothing connects */
    CNY_FACTORY_ENDED,    /* the close is over; a thread that was too late may still run */
} cny_factory_phase;

/* The recovery thread is started when a connection is needed for the first time. */
typedef enum cny_recovery_state { CNY_RECOVERY_NONE, CNY_RECOVERY_RUNNING, CNY_RECOVERY_ENDED } cny_recovery_state;

struct coney_connection_factory {
    /* fixed after new */
    atomic_uint refs;
    unsigned fork_count;
    cny_connection_config config;
    cny_events *events;
    atomic_ullong stale_acknowledgements[CNY_ROLE_COUNT];
    cny_routes routes;
    void *(*recover)(void *factory); /* the recovery thread's function */
    sigset_t signals;                /* the mask of the thread that made the factory */
    cny_threads threads;             /* has a lock of its own */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything below */
    cny_slot slots[CNY_ROLE_COUNT];
    cny_isolation isolation;
    cny_buffer members; /* of cny_membership */
    cny_buffer spare;   /* room for as many members, so that close needs no memory */
    _Atomic(cny_factory_phase) phase;
    cny_recovery_state recovery;
    bool is_woken; /* the recovery thread runs all due work before it sleeps again */
    cny_declarations declarations;
};

/* Under lock: everything answers CONEY_E_CLOSED, as check does, and nothing connects. */
static inline bool cny_factory_is_closed(const coney_connection_factory *factory)
{
    return atomic_load_explicit(&factory->phase, memory_order_relaxed) >= CNY_FACTORY_CLOSED;
}

coney_status cny_factory_check_closed(const coney_connection_factory *factory);

/* Under lock: the next phase begins, and everybody who waits is told. */
void cny_factory_enter_phase(coney_connection_factory *factory, cny_factory_phase phase);

/* This thread runs handlers or callbacks of the factory, and cannot wait for their end. */
bool cny_factory_is_internal_thread(coney_connection_factory *factory);

/* Under lock: starts the recovery thread unless it was started before; wakes the recovery thread, and everybody who
 * waits for a change. */
coney_status cny_factory_start_recovery(coney_connection_factory *factory);
void cny_factory_wake_locked(coney_connection_factory *factory);

/* Has the program's listener told, if there is one. Not under the events lock. */
void cny_tell_connection(coney_connection_factory *factory, const coney_connection_info *info);
void cny_tell_declaration(coney_connection_factory *factory, const coney_declaration *declaration);

#endif
