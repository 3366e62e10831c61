/* SPDX-License-Identifier: MIT */
/* What the files of this folder share: the checks of a listener's options, and the planning of its queues. */
#ifndef CNY_LISTENER_SPEC_CHECKS_H
#define CNY_LISTENER_SPEC_CHECKS_H

#include "rabbit/listener/spec/spec.h"

/* All that can be checked before anything is known from the broker. CONEY_E_INVALID. */
coney_status cny_check_listener(const coney_listener *listener);

/* The handlers, and which payloads they get. CONEY_E_INVALID. */
coney_status cny_check_handlers(const coney_listener *listener);

/* The handler's own type of payload, given or found by its name among the listener's types. NULL: it has none. */
const coney_type *cny_payload_type(const coney_listener *listener, const coney_typed_handler *handler);

/* The type of the messages that the handler takes. NULL: those that name its payload_type, a list or map. */
const char *cny_handled_type(const coney_typed_handler *handler);

/* Whether the options say that the queue is a stream, and whether they go with one. CONEY_E_INVALID. */
bool cny_is_stream(const coney_listener *options);
coney_status cny_check_stream(const coney_listener *options);

/* Whether retry.delayed_by_queue, if it is set, goes with what a declaration says of the queue. CONEY_E_INVALID. */
coney_status cny_check_delaying_queue(const coney_listener *options, bool delays_failures, int64_t delivery_limit);
int cny_default_attempts(const coney_listener_retry *retry); /* max_attempts, if the program does not say */

/* The queue that a listener brings, under the name that it has from now on. */
typedef struct cny_own_queue {
    coney_queue queue;
    char name[CONEY_NAME_SIZE]; /* of an anonymous queue */
} cny_own_queue;

/* Fills in what `declare` or `bindings` say of the queue: options->queue names it then, and options->declare is the
 * queue in `own`, or NULL if the listener brings none. CONEY_E_INVALID, CONEY_E_SYSTEM. */
coney_status cny_resolve_queue(coney_listener *options, cny_own_queue *own);

/* Names the queues that the listener brings, of which the given one, which may be NULL, is its own, and gathers its
 * bindings. CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
coney_status cny_plan_declarations(cny_spec *made, const coney_listener *options);

#endif
