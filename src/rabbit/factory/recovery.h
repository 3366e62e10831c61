/* SPDX-License-Identifier: MIT */
/* The recovery thread of a factory. */
#ifndef CNY_FACTORY_RECOVERY_H
#define CNY_FACTORY_RECOVERY_H

#include "rabbit/factory/factory.h"

/* The thread's function; the argument is a factory, of which it drops a reference at its end. */
void *cny_recovery_main(void *argument);

/* The delay after one more failure. */
int cny_recovery_delay(const coney_recovery_options *options, int delay_ms);

#endif
