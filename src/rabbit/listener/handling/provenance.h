/* SPDX-License-Identifier: MIT */
/* Where a message comes from, by what its headers tell. */
#ifndef CNY_HANDLING_PROVENANCE_H
#define CNY_HANDLING_PROVENANCE_H

#include "amqp/amqp.h"
#include "rabbit/listener/spec/spec.h"

/* Anyone may send headers, so a larger number counts as this one. */
enum { CNY_MOST_COUNTED = INT32_MAX / 4 };

static inline int64_t cny_bounded_count(int64_t count)
{
    return count < 0 ? 0 : count < CNY_MOST_COUNTED ? count : CNY_MOST_COUNTED;
}

static inline int64_t cny_header_count(const coney_table *headers, const char *name)
{
    return cny_bounded_count(coney_table_get_int64(headers, name, 0));
}

/* How often a queue has rejected the message; NULL: any queue. */
int64_t cny_rejections(const char *queue, const coney_message *message);

/* A queue has rejected the message, or found its count too high: so the broker has counted before it came here. */
bool cny_has_counted_death(const coney_message *message);
bool cny_was_dead_lettered(const coney_message *message); /* by x-death, which anyone can send */

/* The round of the listener's ladder that the message comes from; 0: it does not come from there. */
int cny_ladder_round(const cny_spec *spec, const coney_message *message);

/* Whether the listener's queue has rejected the message and it has expired elsewhere since; by x-death, which anyone
 * can send. Gives the number of rejections here, whatever a sender has written there, else 0. False for a message that
 * a person, a shovel or a consumer has moved back with its headers, or that a publisher delayed. */
bool cny_expired_after_rejection(const cny_spec *spec, const coney_message *message, uint64_t *rejections);

/* Ended in quarantine, and sent back to its queue, where its attempts are used up. */
bool cny_is_condemned(const cny_spec *spec, const coney_message *message);

/* Gives a message that comes back from the ladder, or from quarantine to be ended, the exchange and the routing key
 * with which it was first received: for a worker that has taken the message from the feed and alone holds it. Views of
 * its headers. */
void cny_restore_address(const cny_spec *spec, coney_message *message);

#endif
