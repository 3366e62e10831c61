/* SPDX-License-Identifier: MIT */
/* Messages that may kill their process. */
#ifndef CNY_HANDLING_QUARANTINE_H
#define CNY_HANDLING_QUARANTINE_H

#include "rabbit/listener/handling/delivery.h"

/* Before a handler gets the message. True: no handler is to get it, and the delivery has that outcome. */
bool cny_guard(coney_delivery *delivery, coney_outcome *outcome);
void cny_note_survival(const coney_delivery *delivery); /* its handler has returned, and it goes back */

/* Sends the message from quarantine back to its queue, where it begins anew: its handler has returned, or it is
 * condemned. */
bool cny_release(coney_delivery *delivery);

/* A lane handles between these two calls. False: the gate is closed. */
bool cny_quarantine_enter(const cny_source *source);
void cny_quarantine_leave(const cny_source *source);

#endif
