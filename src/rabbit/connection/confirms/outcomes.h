/* SPDX-License-Identifier: MIT */
/* The end of single messages. Private to this folder; all under the owner's lock. */
#ifndef CNY_CONFIRMS_OUTCOMES_H
#define CNY_CONFIRMS_OUTCOMES_H

#include "rabbit/connection/confirms/confirms.h"

/* Tells the sender the outcome, under the events lock. The error is borrowed; NULL is an ack. A return that came before
 * wins. */
void cny_confirm_finish(cny_confirms *confirms, cny_confirm *confirm, cny_error *error);

/* Its sender is told nothing: another channel does that. */
void cny_confirm_forget(cny_confirms *confirms, cny_confirm *confirm);

/* Wakes those who wait for what has just become true. */
void cny_confirms_wake(cny_confirms *confirms);

uint32_t cny_hash_route_part(const char *text);

#endif
