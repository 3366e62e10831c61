/* SPDX-License-Identifier: MIT */
/* Several messages in one message, in Spring's format, so that either side may be Java. (Spring:
 * SimpleBatchingStrategy, the messages of BatchingRabbitTemplate, and the de-batching of its containers.)
 *
 * The body of a batch has, for each message, the length of its body in four bytes, the highest byte first, and then the
 * body. The properties are those of the first message, with two additional headers: springBatchFormat is
 * "lengthHeader4", and amqp_batchSize, a 32-bit integer, is the number of messages. */
#ifndef CONEY_AMQP_BATCH_H
#define CONEY_AMQP_BATCH_H

#include <coney/amqp/message.h>

CONEY_BEGIN

/* Upper limit of the messages in a batch, both when a batch is made and when it is read, so that a small message cannot
 * expand without limit. For the same reason the size of the headers of a batch that is read, times the number of its
 * messages, may not exceed 256 MiB. */
#define CONEY_MAX_BATCH_SIZE 100000

/* Puts the bodies of the messages into one message with the properties of the first message; the properties of the
 * other messages are not sent, as in Spring. For a single message *batch is another reference to that message, without
 * batch headers. Gives *batch; messages are borrowed. Any thread.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: no message, too many messages, a message that is NULL or itself a batch, or a body over 2 GiB. */
CONEY_API coney_status coney_message_batch(coney_message **batch, coney_message *const *messages, size_t count);

/* Asks whether the headers say that the message is a batch. False for NULL. Any thread. */
CONEY_API bool coney_message_is_batch(const coney_message *message);

/* Handles one message of a batch, called a fragment. index counts from 0, so the last message has index + 1 == count
 * (Spring: lastInBatch). The fragment is a view for the call; take a reference to keep it. Any status but CONEY_OK ends
 * coney_message_debatch(). */
typedef coney_status coney_fragment_handler(coney_message *fragment, size_t index, size_t count, void *user);

/* Takes a batch apart and calls the handler for each fragment, in order, on this thread. All lengths are checked first,
 * so the handler is not called for a damaged batch. A fragment has the properties of the batch without the header
 * springBatchFormat, and the exchange, routing key, redelivered flag, delivery mode and so on with which the batch
 * came. Only one fragment exists at a time, unless the handler keeps references. Any thread.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_CONVERSION: a length is negative or exceeds the body ("insufficient batch data at offset ..."), or there is
 *   no message, or there are too many messages, alone or together with their headers.
 * - CONEY_E_INVALID: an argument is NULL, or the message is no batch.
 * - The status of the handler that ended the call. */
CONEY_API coney_status coney_message_debatch(coney_message *batch, coney_fragment_handler *handler, void *user);

CONEY_END

#endif
