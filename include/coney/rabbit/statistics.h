/* SPDX-License-Identifier: MIT */
/* What became of a template's messages: counted, and those of which nobody knows yet. (Spring:
 * RabbitTemplate.getUnconfirmedCount and getUnconfirmed; its metrics of channels and confirms.) */
#ifndef CONEY_RABBIT_STATISTICS_H
#define CONEY_RABBIT_STATISTICS_H

#include <coney/rabbit/template.h>

CONEY_BEGIN

enum { CONEY_LATENCY_BUCKETS = 32 };

/* Since the template was made; a scope's messages are counted when it is freed. Every message that was sent is in
 * exactly one of the first eight counts behind sent: they sum up to it. Members are uint64_t only. */
typedef struct coney_send_statistics {
    uint64_t sent;      /* accepted for sending, those sent and forgotten aside */
    uint64_t confirmed; /* the broker has them */
    uint64_t nacked;
    uint64_t returned;
    uint64_t refused; /* with a code: no such exchange, no permission */
    uint64_t lost;
    uint64_t closed;      /* unconfirmed when the program closed template or factory */
    uint64_t timed_out;   /* asynchronous sends that reached confirm_timeout_ms. A synchronous send that its caller
                             gave up is counted by what the broker says later */
    uint64_t unconfirmed; /* nobody knows yet: a gauge */

    uint64_t retried;            /* attempts of synchronous sends behind the first */
    uint64_t resent;             /* how often a message was sent again after a loss */
    uint64_t forgotten;          /* coney_template_send_and_forget(), and sends in transactions: no word about each */
    uint64_t forgotten_refusals; /* how often the broker closed their channel; each may have cost several of them */
    uint64_t stored;             /* in the store of CONEY_FLOW_STORE, now: a gauge; they are not counted as sent yet */
    uint64_t stored_bytes;       /* the same */
    uint64_t dropped;            /* from the store, for newer ones */
    uint64_t expired;            /* in the store, older than its max_age_ms */
    uint64_t bytes;              /* of all that was sent, with AMQP's frames */
    uint64_t waited_us;          /* that senders, together, waited for connection, channel or room, or because the
                                    broker held back publishers: microseconds */
    uint64_t blocked_us;         /* that the broker held back publishers on the factory's connection: microseconds */

    /* How long the confirmed ones waited for their confirm, since they were first sent: latency[i] counts those of
     * 2^i to 2^(i+1) - 1 microseconds; the first one has 0, too, the last one all that are longer. */
    uint64_t latency[CONEY_LATENCY_BUCKETS];
} coney_send_statistics;

/* Fills in the counts as they are now. Cheap: takes a lock or two for a moment, allocates nothing. Any thread.
 * CONEY_OK; CONEY_E_INVALID; CONEY_E_STATE (after fork()). */
CONEY_API coney_status coney_template_statistics(coney_template *sender, coney_send_statistics *statistics);

/* How many messages the broker has not spoken about, coney_send_statistics.unconfirmed. 0 for NULL and after
 * fork(). Any thread. (Spring: getUnconfirmedCount.) */
CONEY_API size_t coney_template_unconfirmed_count(coney_template *sender);

/* A message that the broker has not spoken about. All of it is a view, good for the visitor's call. */
typedef struct coney_unconfirmed {
    coney_message *message;
    const char *exchange;
    const char *routing_key;
    int64_t age_ms; /* since it was first sent */
} coney_unconfirmed;

typedef void coney_unconfirmed_visitor(const coney_unconfirmed *unconfirmed, void *user);

/* Calls the visitor for each unconfirmed message that is at least so old, oldest first, as they were when the
 * call began: on this thread, with no lock held, so it may send. They stay what they are; confirm_timeout_ms
 * ends them. One that is sent again just then may be told twice. Any thread. (Spring: getUnconfirmed(age),
 * which removes them.)
 * CONEY_OK; CONEY_E_INVALID; CONEY_E_STATE (after fork()); CONEY_E_NO_MEMORY: no call was made. */
CONEY_API coney_status coney_template_list_unconfirmed(coney_template *sender, int older_than_ms,
                                                       coney_unconfirmed_visitor *visitor, void *user);

CONEY_END

#endif
