/* SPDX-License-Identifier: MIT */
/* The struct of a factory, which is made of the parts that the other headers of this folder describe. */
#ifndef CNY_FACTORY_PARTS_H
#define CNY_FACTORY_PARTS_H

#include "rabbit/events/events.h"
#include "rabbit/factory/declarations.h"
#include "rabbit/factory/isolation.h"
#include "rabbit/factory/members.h"
#include "rabbit/factory/routes.h"
#include "rabbit/factory/slot.h"

#include <signal.h>

struct coney_connection_factory {
    /* fixed after new */
    atomic_uint refs;
    unsigned fork_count;
    cny_connection_config config;
    cny_events *events;
    atomic_ullong stale_acknowledgements[CNY_ROLE_COUNT];
    cny_routes routes;
    void *(*recover)(void *factory); /* the recovery thread's function */
    sigset_t signals;                /* the mask of the thread that made it */
    cny_threads threads;             /* has a lock of its own */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a slot, or something for the recovery thread to see */
    cny_slot slots[CNY_ROLE_COUNT];
    cny_isolation isolation;
    cny_buffer members;   /* of cny_membership */
    bool recovering;      /* the recovery thread was started */
    bool recovered;       /* and has ended */
    bool is_woken;        /* it should look at everything again */
    cny_buffer spare;     /* room for members, so that close needs no memory */
    bool closing;         /* close was called; by whom it is done does not matter */
    atomic_bool draining; /* only handlers and callbacks may send */
    bool closed;
    bool close_done;
    cny_declarations declarations;
};

/* This thread runs the factory's handlers or callbacks, and cannot wait for their end. */
bool cny_factory_is_internal_thread(coney_connection_factory *factory);

/* Under lock: the recovery thread runs from now on; and it has something to do. */
coney_status cny_factory_start_recovery(coney_connection_factory *factory);
void cny_factory_wake_locked(coney_connection_factory *factory);

/* Tell the program's listener; nothing happens if there is none. Not under the events lock. */
void cny_tell_connection(coney_connection_factory *factory, const coney_connection_info *info);
void cny_tell_declaration(coney_connection_factory *factory, const coney_declaration *declaration);

#endif
