/* SPDX-License-Identifier: MIT */
/* What is left when the broker closes a connection over a request: a close names no channel, so every request of that
 * kind that was not answered yet is a suspect (cny_error_is_suspicion()). After the second such close a suspect is
 * tried alone, on a third connection of the factory that nobody else uses. A close of that connection is the answer to
 * the suspect, and disturbs nobody. */
#ifndef CNY_FACTORY_ISOLATION_H
#define CNY_FACTORY_ISOLATION_H

#include "rabbit/connection/connection.h"
#include "rabbit/factory/strikes.h"

/* ---- synchronous sends ---- */

/* Messages for that exchange and routing key were suspects twice. */
bool cny_publish_must_isolate(coney_connection_factory *factory, const cny_publish *publish);

/* How one went, of which this thread's last error tells. */
void cny_publish_note(coney_connection_factory *factory, const cny_publish *publish, coney_status status);

/* Instead of cny_channel_publish_and_wait(): on the isolated connection, so that a refusal is this message's. The same
 * statuses, those of cny_isolated_connection(), and CONEY_E_CLOSED and CONEY_E_BLOCKED as for any other send. */
coney_status cny_publish_isolated(coney_connection_factory *factory, const cny_publish *publish, int64_t deadline);

/* ---- the isolated connection ---- */

/* Makes the factory's isolated connection and waits until it is open. Gives it: whoever has it uses it alone and ends
 * with cny_isolated_close(). There is one at a time, so callers wait for each other. It logs in as the consuming
 * connection does, at the same host first, and has a name of its own at the broker. Any thread that may wait, but not
 * the recovery thread, which makes it. CONEY_E_TIMEOUT at the deadline, CONEY_E_CLOSED, CONEY_E_NO_MEMORY,
 * CONEY_E_SYSTEM and whatever connecting answers. */
coney_status cny_isolated_connection(cny_connection **connection, coney_connection_factory *factory, int64_t deadline);

/* Closes it, waits a moment for that, and lets the next caller have one. Takes NULL. */
void cny_isolated_close(cny_connection *connection);

#endif
