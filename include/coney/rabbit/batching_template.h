/* SPDX-License-Identifier: MIT */
/* Sending many small messages as few large ones. (Spring: BatchingRabbitTemplate with SimpleBatchingStrategy; the
 * format is in coney/amqp/batch.h, and Spring's containers take such a batch apart.)
 *
 * Messages gather in a batch until the batch has batch_size messages or its buffer limit in bytes, until no message was
 * added for timeout_ms, or until it is flushed. Then the batch is sent through the template as one message, with the
 * properties of its first message. A batch of one message is sent as that message. Messages that were gathered and not
 * sent are lost with the process; nobody was told that they were sent.
 *
 * A batch has one exchange and one routing key. A message for another address first sends the current batch, so order
 * is kept; Spring fails instead. A program that sends to several addresses in turn needs a batching template for each
 * address. Every message has a callback of its own, where Spring has correlation data, which bypasses batching. */
#ifndef CONEY_RABBIT_BATCHING_TEMPLATE_H
#define CONEY_RABBIT_BATCHING_TEMPLATE_H

#include <coney/amqp/batch.h>
#include <coney/rabbit/template.h>

CONEY_BEGIN

typedef struct coney_batching_template coney_batching_template;

/* Zero means the default. */
typedef struct coney_batching_options {
    /* Messages of a complete batch, at most CONEY_MAX_BATCH_SIZE. Default: 100. */
    int batch_size;

    /* Each message counts with its body and 4 bytes. A message that would exceed the limit first sends the current
     * batch; a message that is larger than the limit is sent alone. Default: 64 KiB. */
    size_t buffer_limit_bytes;

    /* The batch is sent this long after its last message was added. 0 or less, as in Spring: never by time, so an
     * incomplete batch waits for the flush. */
    int timeout_ms;
} coney_batching_options;

/* Makes a batching template that sends through the template. The template is kept, and its options hold for all sends;
 * several batching templates may share one template. Options are copied; NULL means all defaults. With a timeout_ms the
 * batching template has a thread of its own, which runs the template's processors with the signal mask of the thread
 * that calls this. Any thread.
 * - CONEY_OK, CONEY_E_INVALID, CONEY_E_NO_MEMORY.
 * - CONEY_E_STATE: after fork().
 * - CONEY_E_SYSTEM: no thread could be started. */
CONEY_API coney_status coney_batching_template_new(coney_batching_template **batching, coney_template *sender,
                                                   const coney_batching_options *options);

/* Flushes; waits until the broker has confirmed and all callbacks have returned, at most the template's timeout_ms in
 * all; and frees. If messages are still unconfirmed then, the log says so and their callbacks run later: free the
 * template next, which ends them. The batching template's thread has ended then. A thread that is still sending, for
 * example in a processor, ends later, which the log says, and Coney's code stays loaded until the process ends. No
 * other thread may be in a call on the batching template. Takes NULL. (Spring: stop, which flushes.)
 *
 * Not from a callback, and not from a processor that runs on the batching template's thread: there the call is logged
 * and does nothing. */
CONEY_API void coney_batching_template_free(coney_batching_template *batching);

/* Adds the message, which is kept by reference, to the batch for its exchange and routing key, and sends the batch if
 * the message completes it. Whether unroutable messages are returned, and delay_ms, are part of the address.
 * routing_key, options and on_complete may be NULL. Any thread. The messages that one thread sends arrive in order;
 * except that a message sent from a callback never waits for another thread's send, and may overtake it.
 *
 * The deadline (the timeout_ms of the options, or of the template) counts for waiting until another thread has sent its
 * batch, and for sending the batch that this message completes or replaces. If it passes while that batch is sent, it
 * is the outcome of the messages of that batch.
 *
 * The callback runs once after CONEY_OK, as after coney_template_send_async(), with this message and the outcome of its
 * whole batch, which is confirmed, returned or refused as a whole. If a batch cannot be sent, for example because there
 * is no connection by the deadline, that is the outcome of each of its messages. The callback runs on the events
 * thread; if the events thread has no memory or has ended, it runs on the thread that tried to send. A failure without
 * a callback is logged. Statuses:
 * - CONEY_OK: the message was added.
 * - CONEY_E_INVALID: an argument, or the message is a batch already.
 * - CONEY_E_LIMIT: another thread was still sending its batch at the deadline.
 * - CONEY_E_CLOSED, CONEY_E_STATE, CONEY_E_NO_MEMORY.
 * - If the message completes the batch, the statuses of coney_template_send_async().
 * After any other status than CONEY_OK the callback does not run, and the message was not sent. */
CONEY_API coney_status coney_batching_template_send(coney_batching_template *batching, const char *routing_key,
                                                    coney_message *message, const coney_send_options *options,
                                                    coney_send_callback *on_complete, void *user);

/* Sends the current batch, if there is one, within the template's timeout_ms. Does not wait for the confirm;
 * coney_template_wait_for_confirms() does. Any thread, callbacks included.
 * - CONEY_OK.
 * - CONEY_E_TIMEOUT: another thread is still sending; the batch stays.
 * - The statuses of coney_template_send_async(); each message's callback gets the same status.
 * - CONEY_E_INVALID, CONEY_E_STATE. */
CONEY_API coney_status coney_batching_template_flush(coney_batching_template *batching);

CONEY_END

#endif
