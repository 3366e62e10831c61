/* SPDX-License-Identifier: MIT */
/* The deaths of a message: how often, where and why it was dead-lettered. The broker writes them into the header
 * x-death. (Spring: MessageProperties.getXDeathHeader.)
 *
 *     coney_death death;
 *     size_t position = 0;
 *     while (coney_message_next_death(message, &position, &death))
 *         printf("%s: %s, %lld times\n", death.queue, death.reason, (long long)death.count);
 *
 * A publisher can send such a header, too. An x-death that is no array, an empty array, or an array whose first item is
 * no table was not written by a broker. Coney drops it from each message that is received or made, and logs a warning.
 * A forgery that looks like the broker's cannot be told from it: RabbitMQ 3 adds its deaths to the publisher's, and
 * RabbitMQ 4 shows only its own after the first death. docs/listening.md says what a listener believes. */
#ifndef CONEY_AMQP_DEATH_H
#define CONEY_AMQP_DEATH_H

#include <coney/amqp/message.h>

CONEY_BEGIN

/* The reasons that brokers write. */
#define CONEY_DEATH_REJECTED "rejected"             /* A consumer has rejected the message. */
#define CONEY_DEATH_EXPIRED "expired"               /* Its time to live was over. */
#define CONEY_DEATH_MAXLEN "maxlen"                 /* The queue was full. */
#define CONEY_DEATH_DELIVERY_LIMIT "delivery_limit" /* It came back to a quorum queue too often. */

/* All deaths in one queue for one reason. Texts and array are views that live as long as the message. A text that the
 * header does not have is "", except for original_expiration; a number is 0. */
typedef struct coney_death {
    const char *queue;
    const char *reason;              /* One of the texts above; newer brokers may have others. */
    int64_t count;                   /* How often. Any number, in a forged header also a negative one. */
    const char *exchange;            /* To which the message had been published. */
    const char *routing_key;         /* The first of routing_keys. */
    const coney_array *routing_keys; /* With those of the headers CC and BCC. NULL if there are none. */
    int64_t time;                    /* Of the first death, in seconds since 1970. */
    const char *original_expiration; /* The expiration of the message, which the broker has removed. NULL: none. */
} coney_death;

/* Gives the next death, the latest one first. *position is 0 at first. False, with an empty *death, after the last one,
 * and if the message has none. Items of the header that are no tables are passed over. Any thread. */
CONEY_API bool coney_message_next_death(const coney_message *message, size_t *position, coney_death *death);

CONEY_END

#endif
