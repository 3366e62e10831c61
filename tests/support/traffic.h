/* SPDX-License-Identifier: MIT */
/* Traffic across a fault: a publisher that sends numbered messages and a listener on their queue run
 * on threads of their own while the test breaks something; then it is checked that nothing
 * confirmed was lost.
 *
 * There is one at a time, in one static place, so that what comes late finds its place even when a
 * test has failed half way. */
#ifndef CNY_TEST_TRAFFIC_H
#define CNY_TEST_TRAFFIC_H

#include "support/cmocka.h"
#include "support/elapsed.h"

#include <coney/coney.h>

#include <string.h>

/* Zero means the default. */
typedef struct cny_traffic_options {
    const char *queue;     /* "traffic"; declared by the admin on each connection */
    coney_queue_kind kind; /* classic */
    int per_second;        /* 200 */
    int message_bytes;     /* 100 */
    /* first_delay_ms 50, max_delay_ms 500, heartbeat_s 1, connection_timeout_ms 2,000 unless said otherwise */
    coney_connection_factory_options factory;
} cny_traffic_options;

/* Views of what cny_traffic_start() made, for tests to use. The template resends what is unconfirmed. */
typedef struct cny_traffic_client {
    coney_connection_factory *factory;
    coney_admin *admin;
    coney_template *sender;
    coney_container *container;
} cny_traffic_client;

extern cny_traffic_client traffic;

/* Starts, and returns when messages flow; options may be NULL. The queue is emptied first. */
void cny_traffic_start(const char *uri, const cny_traffic_options *options);

/* Waits until so many messages that are sent from now on have been handled, at most that long. */
void cny_traffic_flow(int messages, int patience_ms);

/* Sends nothing until it may again; returns when all that was sent is confirmed and handled. */
void cny_traffic_pause(void);
void cny_traffic_resume(void);

/* Ends sending and checks: every send that was accepted is confirmed, every confirmed one handled (once
 * at least), and the container consumes. Prints what happened. */
void cny_traffic_finish(int patience_ms);

/* Frees everything; the queue is deleted if the broker lets us. A teardown. */
int cny_traffic_teardown(void **state);

/* What was refused, that is, never sent; the longest time without a handled message. */
int cny_traffic_refused(void);
int cny_traffic_longest_gap_ms(void);
void cny_traffic_forget_gaps(void);

/* How a connection is doing; waiting for it to be in a state, or opened so often. */
coney_connection_info cny_traffic_info(coney_connection_role role);
void cny_traffic_wait_for_state(coney_connection_role role, coney_connection_state state, int patience_ms);
void cny_traffic_wait_for_openings(coney_connection_role role, uint64_t times, int patience_ms);

/* Waits until the container's check says so. */
void cny_traffic_wait_for_check(coney_status status, int patience_ms);

/* Waits until each connection was opened so often, for one time more than it was lost. */
void cny_traffic_wait_for_recovery(uint64_t times, int patience_ms);

#endif
