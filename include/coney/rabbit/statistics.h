/* SPDX-License-Identifier: MIT */
/* Counts of a template's messages by their outcome, and the list of messages without an outcome. (Spring:
 * RabbitTemplate.getUnconfirmedCount and getUnconfirmed; its metrics of channels and confirms.) */
#ifndef CONEY_RABBIT_STATISTICS_H
#define CONEY_RABBIT_STATISTICS_H

#include <coney/rabbit/template.h>

CONEY_BEGIN

enum { CONEY_LATENCY_BUCKETS = 32 };

/* Counts since the template was made; the messages of a scope are counted when the scope is freed. Every message that
 * was sent is in exactly one of the counts from confirmed to unconfirmed, so these add up to sent. All members are
 * uint64_t. */
typedef struct coney_send_statistics {
    uint64_t sent;        /* Accepted for sending, without coney_template_send_and_forget(). */
    uint64_t confirmed;   /* The broker has them. */
    uint64_t nacked;      /* CONEY_E_NACKED. */
    uint64_t returned;    /* CONEY_E_RETURNED. */
    uint64_t refused;     /* With a code of the broker: no such exchange, no permission. */
    uint64_t lost;        /* CONEY_E_LOST. */
    uint64_t closed;      /* Unconfirmed when the program closed template or factory. */
    uint64_t timed_out;   /* Asynchronous sends that reached confirm_timeout_ms. A synchronous send that has reached its
                             deadline is counted by the outcome that comes later. */
    uint64_t unconfirmed; /* Messages without an outcome, now. */

    uint64_t retried;            /* Attempts of synchronous sends after the first. */
    uint64_t resent;             /* How often a message was sent again after a loss. */
    uint64_t forgotten;          /* coney_template_send_and_forget(), and sends in transactions. */
    uint64_t forgotten_refusals; /* How often the broker closed their channel. Each time may have lost several. */
    uint64_t stored;             /* In the store of CONEY_FLOW_STORE, now. They are not in sent yet. */
    uint64_t stored_bytes;       /* Bytes in the store, now. */
    uint64_t dropped;            /* Dropped from the store for newer messages. */
    uint64_t expired;            /* Older than the max_age_ms of the store. */
    uint64_t bytes;              /* Of everything that was sent, with AMQP's frames. */
    uint64_t waited_us;          /* Time that all senders together waited for connection, channel or room, or because
                                    the broker held back publishers. Microseconds. */
    uint64_t blocked_us;         /* Time that the broker held back publishers on the factory's connection.
                                    Microseconds. */

    /* Time from the first sending of a message to its confirm: latency[i] counts the messages with 2^i to
     * 2^(i+1) - 1 microseconds. The first bucket includes 0; the last bucket has all longer times. */
    uint64_t latency[CONEY_LATENCY_BUCKETS];
} coney_send_statistics;

/* Copies the counts as they are now. Takes a lock or two for a moment and allocates nothing. Any thread.
 * - CONEY_OK, CONEY_E_INVALID.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_template_statistics(coney_template *sender, coney_send_statistics *statistics);

/* Messages without an outcome, as coney_send_statistics.unconfirmed. 0 for NULL and after fork(). Any thread. (Spring:
 * getUnconfirmedCount.) */
CONEY_API size_t coney_template_unconfirmed_count(coney_template *sender);

/* A message that the broker has neither confirmed nor refused. All of it is a view for the visitor's call. */
typedef struct coney_unconfirmed {
    coney_message *message;
    const char *exchange;
    const char *routing_key;
    int64_t age_ms; /* Since the message was first sent. */
} coney_unconfirmed;

typedef void coney_unconfirmed_visitor(const coney_unconfirmed *unconfirmed, void *user);

/* Calls the visitor for each unconfirmed message that is at least older_than_ms old, oldest first, as they were when
 * the call began: on this thread, with no lock held, so the visitor may send. The messages stay unconfirmed until
 * confirm_timeout_ms. A message that is just being sent again may be listed twice. Any thread. (Spring:
 * getUnconfirmed(age), which removes them.)
 * - CONEY_OK, CONEY_E_INVALID.
 * - CONEY_E_STATE: after fork().
 * - CONEY_E_NO_MEMORY: the visitor was not called. */
CONEY_API coney_status coney_template_list_unconfirmed(coney_template *sender, int older_than_ms,
                                                       coney_unconfirmed_visitor *visitor, void *user);

CONEY_END

#endif
