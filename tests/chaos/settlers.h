/* SPDX-License-Identifier: MIT */
/* Threads that settle deliveries in place of their handlers: mostly at once and well, sometimes late, as failed, or
 * not at all. */
#ifndef CHAOS_SETTLERS_H
#define CHAOS_SETTLERS_H

#include "chaos/account.h"

bool settlers_start(uint64_t seed);
void settlers_stop(void);
void settlers_calm_down(void);
void settlers_print(void);

void settle_later(coney_delivery *delivery, int64_t id, int queue); /* takes a reference of its own */

#endif
