/* SPDX-License-Identifier: MIT */
/* Connections and channels, as the rooms above use them: connections here, channels in channels.h, consumers in
 * consumers.h.
 *
 * A cny_connection is one physical connection: it connects, opens, and ends once, for one reason. A cny_channel belongs
 * to one connection and ends with it or before. What has ended is never revived, so each channel object is a generation
 * of its own: an acknowledgement for a dead channel cannot reach the next one. The owner makes new connections.
 *
 * All functions may be called from any thread but the I/O thread, wait at most until their deadline (cny_deadline()),
 * and leave the reason of a failure with coney_last_error(). */
#ifndef CNY_CONNECTION_H
#define CNY_CONNECTION_H

#include "amqp/amqp.h"
#include "rabbit/connection/channels.h"
#include "rabbit/connection/config.h"
#include "rabbit/connection/consumers.h"

#include <coney/rabbit/connection_factory.h>

typedef struct cny_events cny_events;

/* ---- one connection, as who makes it and keeps it uses it ---- */

/* What a connection needs of its owner, of which it knows nothing else. Any thread may call these functions, with no
 * lock held. */
typedef struct cny_connection_owner {
    void (*ref)(void *self);
    void (*unref)(void *self);
    void (*wake)(void *self); /* the state has changed, there is a deferred log, or another thing to look at */
    void (*blocked_changed)(
        void *self, cny_connection *connection); /* the broker holds back publishers now, or does not any more */
    bool (*may_send)(void *self, const char *exchange,
                     const char *routing_key); /* exchange or queue are not still to be declared */
} cny_connection_owner;

/* What a connection is made of. All of it must live until the connection has ended and has dropped its reference to the
 * owner. */
typedef struct cny_connection_parts {
    const cny_connection_owner *owner;
    void *self;
    const cny_connection_config *config;
    cny_events *events;
    cny_threads *threads;
    atomic_ullong *stale_acknowledgements; /* how many came too late for their connection */
    coney_connection_role role;
    bool is_isolated; /* see cny_connection_strike() */
    size_t
        first_host;   /* index of the URI's host that this attempt begins with; the others follow in the URI's order, */
    size_t lost_host; /* but this one, which was just lost, comes last; CNY_NO_HOST: none was lost */
} cny_connection_parts;

#define CNY_NO_HOST SIZE_MAX

/* connecting -> open -> closing -> dead; each may skip to dead. */
typedef enum cny_connection_state { CNY_CONNECTING, CNY_OPEN, CNY_CLOSING, CNY_DEAD } cny_connection_state;

/* Starts the I/O thread, which connects at once. Where the credentials have no user or password, those of the URI
 * count. */
coney_status cny_connection_new(cny_connection **connection, const cny_connection_parts *parts,
                                const coney_credentials *credentials);
cny_connection *cny_connection_ref(cny_connection *connection);
void cny_connection_unref(cny_connection *connection); /* takes NULL */
cny_connection_state cny_connection_get_state(cny_connection *connection);
bool cny_connection_is_open(cny_connection *connection);
bool cny_connection_is_dead(cny_connection *connection);
bool cny_connection_is_over_request(cny_connection *connection); /* the broker closed it over what a channel asked or
                                                                    sent */
coney_connection_role cny_connection_role(const cny_connection *connection);
int cny_connection_broker_version(const cny_connection *connection); /* once it is open; see CNY_BROKER_VERSION() */
const char *cny_connection_user(const cny_connection *connection);   /* who is logged in */
size_t cny_connection_host(cny_connection *connection);              /* index of the URI's that is tried or used */
cny_error *cny_connection_reason(cny_connection *connection);        /* why it is dead; gives a reference */
const char *cny_connection_take_deferred_log(cny_connection *connection);  /* to be logged, or NULL */
void cny_connection_blocked(cny_connection *connection, char reason[256]); /* "": the broker takes messages */

/* Ends the connection. This thread's last error becomes the reason. */
void cny_connection_abort(cny_connection *connection);
coney_status cny_connection_update_secret(cny_connection *connection, const char *secret);

/* The first asks for an orderly close by the deadline, the second waits until the I/O thread has ended. There are two,
 * so that several connections close at the same time. False if the thread still runs: it is stuck in name resolution,
 * and keeps what it needs. */
void cny_connection_begin_close(cny_connection *connection, int64_t deadline);
bool cny_connection_wait_ended(cny_connection *connection, int64_t deadline);

#endif
