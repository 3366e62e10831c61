/* SPDX-License-Identifier: MIT */
/* Handlers that do what handlers should not: they fail, hang, stop their container, and settle late and on other
 * threads. Only what they acknowledge goes on the account as handled. */
#ifndef CHAOS_HANDLERS_H
#define CHAOS_HANDLERS_H

#include "chaos/account.h"

typedef struct handler_user {
    int queue;
    coney_container *container; /* the handler's own */
} handler_user;

coney_outcome handle(coney_delivery *delivery, void *user);          /* of AUTO listeners; user is a handler_user */
coney_outcome handle_manually(coney_delivery *delivery, void *user); /* of MANUAL ones */
coney_outcome handle_in_lane(coney_delivery *delivery, void *user);  /* of one consumer with lanes by KEY_HEADER */

/* Threads that settle what handle_manually() leaves to them. Stop: they settle what is left, and end. */
bool handlers_start(uint64_t seed);
void handlers_stop(void);

void handlers_calm_down(void); /* from now on they only do what is right */

void handlers_print(void); /* how they behaved */

#endif
