/* SPDX-License-Identifier: MIT */
/* Several messages in one, in Spring's format, so that either side may be Java. (Spring:
 * SimpleBatchingStrategy and BatchingRabbitTemplate's messages; de-batching of its containers.)
 *
 * The body of a batch is, for each message, its length in four bytes, the highest first, and its
 * body. The properties are those of the first message, with two headers more: springBatchFormat
 * says "lengthHeader4" and amqp_batchSize, a 32-bit integer, how many there are. */
#ifndef CONEY_AMQP_BATCH_H
#define CONEY_AMQP_BATCH_H

#include <coney/amqp/message.h>

CONEY_BEGIN

#define CONEY_HEADER_BATCH_FORMAT "springBatchFormat"
#define CONEY_HEADER_BATCH_SIZE "amqp_batchSize"

/* More messages than this are in no batch, neither made here nor read: what a batch expands to is limited, whoever sent
 * it. For the same reason the headers of a batch that is read, times the number of its messages, may not exceed
 * 256 MiB. */
#define CONEY_MAX_BATCH_SIZE 100000

/* Puts the bodies of the messages into one message with the properties of the first; what the
 * others have as properties is not sent, as in Spring. One message alone stays what it is: *batch
 * is a further reference to it, without batch headers. Gives *batch; messages are borrowed.
 * Any thread.
 * CONEY_E_INVALID (no message, too many, one that is NULL or a batch itself, or a body over 2 GiB),
 * CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_message_batch(coney_message **batch, coney_message *const *messages, size_t count);

/* Whether its headers say that the message is a batch; false for NULL. Any thread. */
CONEY_API bool coney_message_is_batch(const coney_message *message);

/* One message of a batch: the one of this index (from 0) of count, so the last has index + 1 ==
 * count (Spring: lastInBatch). The fragment is a view for the call; whoever wants it longer takes a
 * reference. Any status but CONEY_OK ends the walk. */
typedef coney_status coney_fragment_handler(coney_message *fragment, size_t index, size_t count, void *user);

/* Takes a batch apart and hands each message to the handler, in order, on this thread. All
 * lengths are checked first: of a batch that is broken nothing is handed out. A fragment has the
 * batch's properties without the header springBatchFormat, and the exchange, routing key and
 * redelivered mark with which the batch was received. One is made at a time, so memory is the
 * handler's choice. Any thread.
 * CONEY_OK; CONEY_E_CONVERSION: a length that is negative or goes beyond the body ("insufficient
 * batch data at offset ..."), no message at all, too many, or too many for their headers; CONEY_E_INVALID: an argument
 * is NULL, or the message is no batch; CONEY_E_NO_MEMORY; the status of the handler that ended it. */
CONEY_API coney_status coney_message_debatch(coney_message *batch, coney_fragment_handler *handler, void *user);

CONEY_END

#endif
