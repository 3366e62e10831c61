/* SPDX-License-Identifier: MIT */
/* What is left when the broker closes a connection over a request: a close names no channel, so every request of that
 * kind that was not answered yet is a suspect (cny_error_is_suspicion()). After the second such close a suspect is
 * tried alone, on a third connection of the factory that nobody else uses. A close of that connection is the answer to
 * the suspect, and disturbs nobody. */
#ifndef CNY_CONNECTION_ISOLATION_H
#define CNY_CONNECTION_ISOLATION_H

#include "rabbit/connection/connection.h"

/* ---- how often a request was a suspect ---- */

/* Zeroed at first. The owner guards it. */
typedef struct cny_strikes {
    int count;
    int delay_ms;     /* of the last pause */
    int64_t retry_at; /* not before that time, as cny_now_ms() tells it */
} cny_strikes;

enum { CNY_STRIKES_TO_ISOLATE = 2 };

/* The request was a suspect, or was refused alone. The first two times it may be tried again at once, then after pauses
 * of 1 s, which double up to 30 s. */
void cny_strike(cny_strikes *strikes, int64_t now);
void cny_strikes_clear(cny_strikes *strikes); /* the broker has answered it */

/* From now on it is to be tried alone. */
static inline bool cny_must_isolate(const cny_strikes *strikes)
{
    return strikes->count >= CNY_STRIKES_TO_ISOLATE;
}

/* ---- the isolated connection ---- */

/* Makes the factory's isolated connection and waits until it is open. Gives it: whoever has it uses it alone and ends
 * with cny_isolated_close(). There is one at a time, so callers wait for each other. It logs in as the consuming
 * connection does, at the same host first, and has a name of its own at the broker. Any thread that may wait, but not
 * the recovery thread, which makes it. CONEY_E_TIMEOUT at the deadline, CONEY_E_CLOSED, CONEY_E_NO_MEMORY, CONEY_E_SYSTEM
 * and whatever connecting answers. */
coney_status cny_isolated_connection(cny_connection **connection, coney_connection_factory *factory, int64_t deadline);

/* Closes it, waits a moment for that, and lets the next caller have one. Takes NULL. */
void cny_isolated_close(cny_connection *connection);

#endif
