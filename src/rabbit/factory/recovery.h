/* SPDX-License-Identifier: MIT */
/* The recovery thread of a factory. */
#ifndef CNY_FACTORY_RECOVERY_H
#define CNY_FACTORY_RECOVERY_H

#include "rabbit/factory/factory.h"

/* The function of the thread. The argument is a reference to the factory, which the thread drops at its end. */
void *cny_recovery_main(void *argument);

/* The delay before the next attempt, after this one before the last attempt. */
int cny_recovery_delay(const coney_recovery_options *options, int delay_ms);

#endif
