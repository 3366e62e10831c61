/* SPDX-License-Identifier: MIT */
/* The recovery thread of a factory. All functions are for who has the factory's lock. */
#ifndef CNY_FACTORY_RECOVERY_H
#define CNY_FACTORY_RECOVERY_H

#include "rabbit/factory/slot.h"

coney_status cny_recovery_want(cny_link *link);
coney_status cny_recovery_start(coney_connection_factory *factory); /* the thread, unless it runs */
void cny_recovery_retry(cny_link *link);                            /* one that has failed for good begins again */

/* Recovery thread: what the program's provider answers; without the lock while it runs. */
coney_status cny_recovery_ask_for_credentials(coney_connection_factory *factory, coney_credentials *credentials);

/* The delay after one more failure. */
int cny_recovery_delay(const coney_recovery_options *options, int delay_ms);

#endif
