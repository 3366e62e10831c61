/* SPDX-License-Identifier: MIT */
/* Requests: messages that are answered by a reply. (Spring: RabbitTemplate.sendAndReceive and convertSendAndReceive,
 * AsyncRabbitTemplate.) docs/rpc.md explains deadlines, failures and serving.
 *
 * A request ends exactly once, with its reply or with an error:
 * - CONEY_E_TIMEOUT: no reply came by the deadline. The request may have been handled, unless the sentence says "never
 *   sent".
 * - CONEY_E_REMOTE_ERROR: the other side answered that it has failed. coney_error has its code and text.
 * - CONEY_E_RETURNED: no queue takes the request (AMQP: 312), told at once.
 * - CONEY_E_NACKED: the queue refuses the request, told at once.
 * - CONEY_E_LOST: connection or channel were lost, and the request may have been handled; its reply cannot come any
 *   more.
 * - CONEY_E_CIRCUIT_OPEN: requests to this address have failed too often; nothing was sent.
 * - CONEY_E_LIMIT: max_outstanding is reached; nothing was sent.
 * - CONEY_E_CANCELLED: the program has cancelled it.
 * - CONEY_E_CLOSED: template or factory were closed meanwhile.
 * - The other statuses of coney_template_send(), such as CONEY_E_NOT_FOUND for a missing exchange: nothing was handled.
 *
 * A handler, a callback and a processor may make requests, too. A synchronous request in a callback of the factory
 * delays the other callbacks. The options of the template count: exchange, processors (those for received messages see
 * the reply), converter, user id; `flow` CONEY_FLOW_STORE counts as CONEY_FLOW_WAIT, because requests are never stored.
 * `retry`, `resend_unconfirmed` and drop_unroutable do not concern requests. */
#ifndef CONEY_RABBIT_REQUEST_H
#define CONEY_RABBIT_REQUEST_H

#include <coney/rabbit/template.h>

CONEY_BEGIN

/* For one request. Zero or NULL means the option of the template. */
typedef struct coney_request_options {
    const char *exchange;               /* "" is the default exchange, not the template's exchange. */
    int timeout_ms;                     /* For all of it. Default: the timeout_ms of coney_rpc_options. */
    const coney_properties *properties; /* Where the call makes the message; a message has properties of its own. */

    /* How often a synchronous request may be sent, if it may be handled more than once without harm. Another attempt
     * follows CONEY_E_TIMEOUT (of an attempt), _LOST, _NACKED, and a CONEY_E_REMOTE_ERROR that says it is retriable,
     * all within timeout_ms. Default: 1. Asynchronous requests are sent once: more is CONEY_E_INVALID. */
    int attempts;
    int attempt_timeout_ms; /* For one attempt. Default: the time that is left, divided by the attempts left. */
    int retry_delay_ms;     /* Before the second attempt; twice as long each time. Default: 100. */
} coney_request_options;

/* ---- and wait ---- */

/* Sends the request and waits for its reply, which is given, for coney_message_unref(). Any thread. routing_key and
 * options may be NULL. After a failure *reply is NULL; only after CONEY_E_REMOTE_ERROR it is the reply that tells of
 * the error. CONEY_OK, CONEY_E_INVALID, CONEY_E_NO_MEMORY, CONEY_E_STATE after fork(), and the errors above. (Spring:
 * sendAndReceive.) */
CONEY_API coney_status coney_template_send_and_receive(coney_template *sender, coney_message **reply,
                                                       const char *routing_key, coney_message *request,
                                                       const coney_request_options *options);

/* The same, with object and result converted by the template's converter: json_t by default. The object is borrowed.
 * *result is given; free it as the converter says. Statuses as above, and CONEY_E_CONVERSION, of the object (nothing
 * was sent) or of the reply. (Spring: convertSendAndReceive.) */
CONEY_API coney_status coney_template_convert_send_and_receive(coney_template *sender, void **result,
                                                               const char *routing_key, const void *object,
                                                               const coney_request_options *options);

/* ---- without waiting: by a callback ---- */

/* Runs once for each accepted request, on the factory's events thread, with no Coney lock held. error is NULL if the
 * reply has come; otherwise reply is NULL, but for CONEY_E_REMOTE_ERROR. Both are views for the call. It may make
 * requests, also through the same template. */
typedef void coney_request_callback(coney_message *reply, const coney_error *error, void *user);

/* Sends the request; the callback hears of its end. Waits only while the connection or a channel is being opened and
 * for room in the outbox, at most timeout_ms. Any thread.
 * - CONEY_OK: the callback will run once.
 * - Any other status: it does not run, and the request was not sent. */
CONEY_API coney_status coney_template_request_async(coney_template *sender, const char *routing_key,
                                                    coney_message *request, const coney_request_options *options,
                                                    coney_request_callback *on_end, void *user);

/* ---- without waiting: by a handle ---- */

/* A request that is on its way, or has ended. Any thread may call these functions, but not during or after
 * coney_request_free(). (Spring: RabbitMessageFuture.) */
typedef struct coney_request coney_request;

/* Sends like coney_template_request_async() and gives a handle, which replaces the callback. */
CONEY_API coney_status coney_template_begin_request(coney_template *sender, coney_request **request,
                                                    const char *routing_key, coney_message *message,
                                                    const coney_request_options *options);

/* Waits until the request has ended, and returns how. With timeout_ms 0 the call does not wait.
 * - CONEY_OK: there is a reply.
 * - An error of the list above, with sentence and details as the thread's last error.
 * - CONEY_E_TIMEOUT while coney_request_is_done() is false: the request has not ended; wait again.
 * - CONEY_E_INVALID.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_request_wait(coney_request *request, int timeout_ms);

/* Waits until one of the requests has ended. They may belong to different templates. NULL elements are left out, so a
 * program may set those to NULL that it has dealt with. *index tells which one; the lowest if there are several.
 * - CONEY_OK: a request has ended; coney_request_wait() tells how.
 * - CONEY_E_TIMEOUT: none has.
 * - CONEY_E_INVALID: there is no element but NULL; or as usual.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_request_wait_any(coney_request *const requests[], size_t count, size_t *index,
                                              int timeout_ms);

/* Waits for all requests of the array with one deadline. No element may be NULL. A count of 0 is CONEY_OK.
 * - CONEY_OK: all have a reply.
 * - Otherwise a status as coney_request_wait(), of the first element of the array that has none; the sentence tells
 *   its index. */
CONEY_API coney_status coney_request_wait_all(coney_request *const requests[], size_t count, int timeout_ms);

/* Asks whether the request has ended. Never waits. False for NULL and after fork(). */
CONEY_API bool coney_request_is_done(coney_request *request);

/* Asks whether the broker has confirmed the request. Never waits. False for NULL and after fork(). (Spring:
 * RabbitFuture.getConfirm.) */
CONEY_API bool coney_request_is_confirmed(coney_request *request);

/* The reply. NULL while there is none, and for NULL. A view that lives as long as the handle; coney_message_ref() keeps
 * it longer. */
CONEY_API coney_message *coney_request_reply(coney_request *request);

/* Why the request has no reply. NULL if it has, while it has not ended, and for NULL. A view that lives as long as the
 * handle. */
CONEY_API const coney_error *coney_request_error(coney_request *request);

/* Ends the request with CONEY_E_CANCELLED, unless it has ended. The server is not told; a reply that comes all the same
 * is a late one. Takes NULL. */
CONEY_API void coney_request_cancel(coney_request *request);

/* Frees the handle at any time. A request that has not ended is cancelled. Takes NULL. */
CONEY_API void coney_request_free(coney_request *request);

/* ---- what is going on ---- */

/* Counts since the template was made, in requests; with `attempts` each attempt is one. replied to in_flight add up to
 * sent. All members are uint64_t. */
typedef struct coney_rpc_statistics {
    uint64_t sent;          /* Accepted for sending. */
    uint64_t replied;       /* A reply came that tells of no error. */
    uint64_t remote_errors; /* CONEY_E_REMOTE_ERROR. */
    uint64_t timed_out;     /* CONEY_E_TIMEOUT. */
    uint64_t returned;      /* CONEY_E_RETURNED. */
    uint64_t nacked;        /* CONEY_E_NACKED. */
    uint64_t lost;          /* CONEY_E_LOST. */
    uint64_t cancelled;     /* CONEY_E_CANCELLED. */
    uint64_t closed;        /* CONEY_E_CLOSED. */
    uint64_t failed;        /* Another status, for example because the exchange does not exist. */
    uint64_t in_flight;     /* Requests that have not ended, now. */

    uint64_t limited;         /* Not sent: CONEY_E_LIMIT, because of max_outstanding. */
    uint64_t circuit_refused; /* Not sent: CONEY_E_CIRCUIT_OPEN. */
    uint64_t circuits_opened; /* How often a circuit has opened. */
    uint64_t circuits_open;   /* Circuits that are not closed, now. */
    uint64_t retried;         /* Attempts after the first. */
    uint64_t late_replies;    /* Replies whose request had ended before. */
    uint64_t foreign_replies; /* Replies without a correlation id, or with one that is not of this template. */
    uint64_t channels;        /* Channels for replies, now. */

    /* Time from sending to the reply: latency[i] counts the requests with 2^i to 2^(i+1) - 1 microseconds, as in
     * coney_send_statistics. */
    uint64_t latency[32];
} coney_rpc_statistics;

/* Copies the counts as they are now. Any thread. CONEY_OK, CONEY_E_INVALID; CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_template_rpc_statistics(coney_template *sender, coney_rpc_statistics *statistics);

/* The circuit of an exchange and routing key, where NULL means the template's. CLOSED also if there is none. Any
 * thread. CONEY_OK, CONEY_E_INVALID; CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_template_circuit(coney_template *sender, const char *exchange, const char *routing_key,
                                              coney_circuit_state *state);

CONEY_END

#endif
