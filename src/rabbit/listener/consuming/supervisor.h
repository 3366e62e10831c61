/* SPDX-License-Identifier: MIT */
/* What the supervisor does beside subscribing and ending consumers. Private to the folder. All is under the container's
 * lock; an int64_t that is given back tells when to call again. */
#ifndef CNY_LISTENER_CONSUMING_SUPERVISOR_H
#define CNY_LISTENER_CONSUMING_SUPERVISOR_H

#include "rabbit/listener/consuming/consuming.h"

/* All consumers, one after another; NULL after the last. */
cny_consumer *cny_first_consumer(const coney_container *container);
cny_consumer *cny_next_consumer(const cny_consumer *consumer);

/* Has its queues declared as long as its consumers are wanted; and not any more. */
void cny_listener_join_declarations(coney_container *container, cny_listener *listener);
void cny_listener_leave_declarations(coney_container *container, cny_listener *listener);

/* ---- start and stop ---- */

/* One call of coney_container_start(), on its stack. */
typedef struct cny_start {
    bool has_started;
    bool has_ended;     /* after a failure: nothing is left running */
    cny_error *failure; /* NULL: it has not failed */
} cny_start;

/* All consume, or can wait. It is over at once for what makes it fail, a new reference. */
bool cny_start_is_over(const coney_container *container, cny_error **failure);

/* No more messages. */
void cny_container_begin_stop(coney_container *container, coney_stop_mode mode, int64_t deadline);

/* ---- load.c ---- */

int64_t cny_listener_adapt(cny_listener *listener, int64_t now); /* changes how many consumers are wanted */
int64_t cny_listener_tell_slow(coney_container *container, const cny_listener *listener, int64_t now);
int64_t cny_listener_tell_idle(coney_container *container, cny_listener *listener, int64_t now);

/* Says once, for all consumers that end together, how many messages they left unhandled. */
void cny_listener_tell_left_over(coney_container *container, cny_listener *listener);

/* ---- quarantine.c, isolation.c ---- */

int64_t cny_quarantine_on_tick(coney_container *container, cny_listener *listener, int64_t now);

/* Runs the thread that gives consumers their turn to be isolated, while it is needed. */
void cny_isolation_on_tick(coney_container *container);
void cny_isolation_run(cny_task *task);

#endif
