/* SPDX-License-Identifier: MIT */
/* What keeps a container's consumers running: the supervisor, which makes, changes and ends them, and the start and the
 * stop of the container. */
#ifndef CNY_LISTENER_CONSUMING_H
#define CNY_LISTENER_CONSUMING_H

#include "rabbit/listener/listener.h"

/* ---- the container ---- */

/* Makes the threads of a container, of which none runs yet. False: no memory. */
bool cny_supervision_init(coney_container *made);

/* Waits until all consumers have begun, or can wait. CONEY_E_STATE, CONEY_E_CLOSED, CONEY_E_TIMEOUT, or what fails the
 * start. */
coney_status cny_container_start(coney_container *container);

/* Ends all consumers. The first function waits for nothing; the second one waits, CONEY_E_TIMEOUT: something is left to
 * the broker. */
void cny_container_begin_stop_by(coney_container *container, coney_stop_mode mode, int64_t deadline);
coney_status cny_container_wait_stopped(coney_container *container, int64_t deadline);

/* After a loss of the consuming connection: nobody needs to wait any longer for consumers. */
bool cny_container_has_resumed(coney_container *container);

/* Under lock: no worker is left that may come back from its handler. */
bool cny_container_is_stuck(const coney_container *container);

/* ---- a listener; under the container's lock ---- */

/* It has a consumer, be it one that consumes its quarantine queue. */
static inline bool cny_listener_has_consumers(const cny_listener *listener)
{
    return listener->consumers || listener->quarantine.consumer;
}

/* Why its consumers do not consume, even if the supervisor has not seen that yet. */
coney_status cny_listener_check(const cny_listener *listener);

/* Why its consumers have not begun that could have by now; a queue that is missing is waited for. CONEY_E_TIMEOUT: the
 * broker has not answered yet. */
coney_status cny_listener_check_started(const cny_listener *listener);

#endif
