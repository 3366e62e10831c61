/* SPDX-License-Identifier: MIT */
/* Messages that were rejected and that the broker brings back by itself. */
#ifndef CNY_HANDLING_REJECTED_H
#define CNY_HANDLING_REJECTED_H

#include "rabbit/listener/handling/delivery.h"

/* This listener has rejected the message, which the second function notes, and the broker has brought it back. */
bool cny_came_back_by_itself(coney_delivery *delivery);
void cny_note_rejected(coney_delivery *delivery);

#endif
