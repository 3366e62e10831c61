/* SPDX-License-Identifier: MIT */
/* Requests beside the other traffic: a server, and callers that wait, that have a callback and that have a handle, over
 * direct reply-to and over a fixed reply queue. Each request must end exactly once, and a reply must be its own. */
#ifndef CHAOS_REQUESTS_H
#define CHAOS_REQUESTS_H

#include <coney/coney.h>

bool requests_start(coney_connection_factory *factory, int64_t minutes);

/* Stops asking, and waits until all requests have ended. False: some have not. */
bool requests_finish(void);
void requests_free(void);
void requests_print(void);

#endif
