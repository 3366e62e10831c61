/* SPDX-License-Identifier: MIT */
/* How the requests of a template are made, and how the failure of those who serve them is contained. <coney/rabbit/
 * request.h> has the requests themselves. (Spring: RabbitTemplate's reply address, reply timeout, correlation key and
 * so on. Limit and circuit are what Resilience4j adds to a Spring service.) */
#ifndef CONEY_RABBIT_RPC_OPTIONS_H
#define CONEY_RABBIT_RPC_OPTIONS_H

#include <coney/amqp/message.h>

CONEY_BEGIN

/* Where replies come to. */
typedef enum coney_reply_path {
    /* Direct reply-to: RabbitMQ hands replies to the channel that sent the request, without a queue. If the broker does
     * not know that (404), a temporary queue. */
    CONEY_REPLY_AUTO,

    /* Direct reply-to; a broker without it refuses every request with CONEY_E_NOT_FOUND. */
    CONEY_REPLY_DIRECT,

    /* A queue that the template declares for each of its reply channels: exclusive, and gone with the channel. */
    CONEY_REPLY_TEMPORARY_QUEUE,

    /* reply_queue, which must exist, or be declared by an admin of the factory. */
    CONEY_REPLY_FIXED_QUEUE,
} coney_reply_path;

/* ---- the circuit ---- */

/* CLOSED -> OPEN -> HALF_OPEN -> CLOSED or OPEN again. */
typedef enum coney_circuit_state {
    CONEY_CIRCUIT_CLOSED,    /* Requests are sent. */
    CONEY_CIRCUIT_OPEN,      /* Requests fail at once with CONEY_E_CIRCUIT_OPEN, and are not sent. */
    CONEY_CIRCUIT_HALF_OPEN, /* Some requests are sent, as probes; the others fail as if it were open. */
} coney_circuit_state;

/* Asks whether a request that has ended with this error counts against its circuit. The error is a view for the call.
 * Runs with no Coney lock held, on the thread of the caller or the events thread. It must return soon. */
typedef bool coney_is_circuit_failure(const coney_error *error, void *user);

/* Hears that a circuit has changed: on the factory's events thread, with no Coney lock held. The reason is the error
 * that opened the circuit, else NULL. All arguments are views for the call. */
typedef void coney_circuit_listener(const char *exchange, const char *routing_key, coney_circuit_state state,
                                    const coney_error *reason, void *user);

/* A circuit for each exchange and routing key that requests are sent to, so that one service that fails does not stop
 * requests to the others. Zero means the default. */
typedef struct coney_circuit_options {
    int max_failures; /* So many failures, one after another, open the circuit. Default: 0, which is no circuit. */
    int open_ms;      /* So long the circuit is open before it lets probes through. Default: 10,000. */
    int probes;       /* So many probes may be on their way at a time, and so many must succeed before the circuit is
                         closed. One that fails opens the circuit again. Default: 1. */

    /* Default: CONEY_E_TIMEOUT, _REMOTE_ERROR, _RETURNED, _NACKED and _LOST count. */
    coney_is_circuit_failure *is_failure;
    coney_circuit_listener *on_change; /* Default: none; the log says it, too. */
    void *user;                        /* For both functions. */
} coney_circuit_options;

/* ---- all of it ---- */

/* Hears of a reply that no request awaits: on the factory's events thread, with no Coney lock held. error says why:
 * CONEY_E_TIMEOUT: the request has ended before (at its deadline, or because it was cancelled), or it has had its
 * reply; CONEY_E_INVALID: the reply has no correlation id, or one that this template has not given. Both are views for
 * the call. */
typedef void coney_late_reply_callback(coney_message *reply, const coney_error *error, void *user);

/* Zero means the default. */
typedef struct coney_rpc_options {
    /* For one request, from the call to the reply, connecting included. Default: 5,000. */
    int timeout_ms;

    /* Default: CONEY_REPLY_FIXED_QUEUE if there is a reply_queue, else CONEY_REPLY_AUTO. */
    coney_reply_path reply_path;

    /* The queue of CONEY_REPLY_FIXED_QUEUE. Each template needs a queue of its own, and consumes from it exclusively.
     * A reply that no request awaits is rejected, so that the dead-letter exchange of the queue gets it. */
    const char *reply_queue;

    /* What requests say where replies are to go, if that is not the queue's name: "exchange/routing key". The program
     * binds the queue there. Default: reply_queue. */
    const char *reply_address;

    /* One channel carries so many requests at a time; with more outstanding another channel is opened. Not with a fixed
     * queue, which needs one channel only. Default: 1,000. */
    int max_per_channel;

    /* A channel without requests is closed after so long. Below 0: never. Default: 60,000. */
    int idle_ms;

    /* Name of a header that carries the correlation id, for servers that give back a header rather than the property.
     * The property is left to the program then. Default: the property correlation_id. (Spring: correlationKey.) */
    const char *correlation_header;

    /* A request that has a correlation id keeps it, so it must be unique among the requests of this template that have
     * not ended. Default: each request gets an id of its own, and the reply is given back with the correlation id and
     * reply_to that the program's message had. (Spring: userCorrelationId.) */
    bool keep_correlation_id;

    /* The request does not say how long its caller waits: neither by the property `expiration`, with which the broker
     * drops a request that has waited too long, nor by CONEY_HEADER_TIMEOUT. */
    bool hide_deadline;

    /* At most so many requests may be outstanding; one more fails at once with CONEY_E_LIMIT. Default: 10,000. (A
     * bulkhead.) */
    int max_outstanding;

    coney_circuit_options circuit;

    coney_late_reply_callback *on_late_reply; /* Default: none; they are counted, and logged now and then. */
    void *user;                               /* For on_late_reply. */
} coney_rpc_options;

CONEY_END

#endif
