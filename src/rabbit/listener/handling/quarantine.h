/* SPDX-License-Identifier: MIT */
/* Messages that may kill their process. */
#ifndef CNY_HANDLING_QUARANTINE_H
#define CNY_HANDLING_QUARANTINE_H

#include "rabbit/listener/handling/delivery.h"

/* Before a handler gets the message: true if none is to, and what becomes of it instead. */
bool cny_guard(coney_delivery *delivery, coney_outcome *outcome);
void cny_note_survival(const coney_delivery *delivery); /* its handler has returned, and it goes back */

/* From quarantine back to its queue, where it begins anew: its handler has returned, or it is condemned. */
bool cny_release(coney_delivery *delivery);

/* A lane handles between the two; false: not now. */
bool cny_quarantine_enter(const cny_source *source);
void cny_quarantine_leave(const cny_source *source);

#endif
