/* SPDX-License-Identifier: MIT */
/* Messages that were rejected and that the broker brings back by itself. */
#ifndef CNY_HANDLING_ROUNDS_H
#define CNY_HANDLING_ROUNDS_H

#include "rabbit/listener/handling/delivery.h"

/* This listener has rejected it, which the second notes, and the broker has brought it back by itself. */
bool cny_came_round(coney_delivery *delivery);
void cny_note_rejected(coney_delivery *delivery);

#endif
