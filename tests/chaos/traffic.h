/* SPDX-License-Identifier: MIT */
/* The client under test: publishers and listeners that know nothing of the faults around them. */
#ifndef CHAOS_TRAFFIC_H
#define CHAOS_TRAFFIC_H

#include "chaos/account.h"

/* Connects, declares and starts everything; the account is open. False with a line on stderr. */
bool traffic_start(const char *uri, uint64_t seed, int64_t minutes);

/* Ends publishing and waits until nothing is unconfirmed, then until everything confirmed is handled
 * or nothing more comes, and no queue has anything. False with a line on stderr if that did not happen. */
bool traffic_finish(void);
void traffic_free(void);

uint64_t traffic_times_opened(coney_connection_role role);
void traffic_print_state(void); /* to stderr */

#endif
