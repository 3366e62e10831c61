/* SPDX-License-Identifier: MIT */
/* A house is a container and its keeper, a thread that stops it now and then, in a way drawn by chance, and starts it
 * again, whoever has stopped it. */
#ifndef CHAOS_HOUSES_H
#define CHAOS_HOUSES_H

#include "chaos/account.h"
#include "chaos/dice.h"

#include <pthread.h>

typedef struct house {
    coney_container_options options;
    coney_container *container;
    pthread_t keeper;
    bool has_keeper;
    dice chance;
    atomic_bool closing;
    /* for print */
    atomic_int_least64_t stops[CONEY_STOP_NOW + 1], late_stops, starts, failed_starts;
    atomic_int_least64_t longest_down_ms, longest_overrun_ms; /* of stops over their timeouts */
} house;

coney_status house_build(house *this, coney_connection_factory *factory); /* its container */
bool house_open(house *this, uint64_t seed); /* starts container and keeper; false with a line on stderr */
void house_close(house *this);

void houses_calm_down(void); /* keepers only start what is stopped */

int64_t house_in_progress(house *this);
void house_print(house *this);
void house_print_state(house *this); /* to stderr */

#endif
