/* SPDX-License-Identifier: MIT */
/* Two containers, one with a worker for each lane and one with three for all, that listen to five queues. Each has a
 * thread that stops it in every way at random, and starts it again whoever has stopped it. */
#ifndef CHAOS_LISTENING_H
#define CHAOS_LISTENING_H

#include "chaos/account.h"

#define EXCHANGE "chaos"

const char *queue_name(int queue);

/* Declares and starts it all. False with a line on stderr. */
bool listening_start(coney_connection_factory *factory, uint64_t seed);

/* From now on nobody stops a container, and handlers do only what is right. */
void listening_calm_down(void);

/* Until no queue has messages, ready or in hands, those of the ladder included. False with a line on stderr. */
bool listening_wait_until_empty(int timeout_ms);
void listening_free(void);

void listening_print(void);       /* what the containers went through */
void listening_print_state(void); /* to stderr */

#endif
