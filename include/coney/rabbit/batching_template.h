/* SPDX-License-Identifier: MIT */
/* Sending many small messages as few large ones. (Spring: BatchingRabbitTemplate with
 * SimpleBatchingStrategy; the format is in coney/amqp/batch.h, Spring's containers take it apart.)
 *
 * Messages gather in one batch until it has batch_size of them or its buffer limit in bytes, until
 * nothing was added for timeout_ms, or until it is flushed; then it goes out through the template as
 * one message, with the properties of the first. A batch of one goes as a plain message. What was
 * gathered and not sent is lost with the process: nobody has been told that it was sent.
 *
 * A batch has one exchange and routing key. Where Spring fails for another one, here the batch there
 * is goes out first, so order is kept; who sends by turns to many addresses needs a batching template
 * for each. Every message has a callback of its own instead of Spring's correlation data, which
 * would bypass batching. */
#ifndef CONEY_RABBIT_BATCHING_TEMPLATE_H
#define CONEY_RABBIT_BATCHING_TEMPLATE_H

#include <coney/amqp/batch.h>
#include <coney/rabbit/template.h>

CONEY_BEGIN

typedef struct coney_batching_template coney_batching_template;

/* Zero means the default. */
typedef struct coney_batching_options {
    int batch_size;            /* messages; 100, at most CONEY_MAX_BATCH_SIZE */
    size_t buffer_limit_bytes; /* 4 and the body for each message; 64 KiB. A message that would go beyond
                                  sends the batch there is first; one larger than the limit goes alone */
    int timeout_ms;            /* after the last message added the batch goes out; 0 or less, as in Spring:
                                  never by time, so what is left over waits for the flush */
} coney_batching_options;

/* Makes a batching template over the template, which it keeps and whose options count for what it
 * sends; several may share one. Options are copied, NULL is all defaults. With a timeout_ms it has
 * a thread of its own, which runs the template's processors with the signal mask of the thread that calls this. Any
 * thread.
 * CONEY_E_INVALID, CONEY_E_STATE (after fork()), CONEY_E_SYSTEM (no thread), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_batching_template_new(coney_batching_template **batching, coney_template *sender,
                                                   const coney_batching_options *options);

/* Flushes, then waits until the broker has confirmed and all callbacks have returned, together as
 * long as the template's timeout_ms; what is not confirmed then is said in the log, and its callbacks
 * run later: free the template next, which ends them. Its thread has ended then; one that is still sending, in a
 * processor perhaps, ends later, which the log says, and Coney's code stays loaded until the process ends. No other
 * thread may be inside a call on it.
 * Not from a callback, nor from a processor that runs on its thread (logged and not done). Takes NULL. (Spring: stop,
 * which flushes.) */
CONEY_API void coney_batching_template_free(coney_batching_template *batching);

/* Adds the message, kept by reference, to the batch for its exchange and routing key, and sends the
 * batch if that completes it. routing_key, options and on_complete may be NULL. Any thread; what one
 * thread sends arrives in that order (but what a callback sends never waits for another thread's
 * send, and may overtake it).
 *
 * After CONEY_OK the callback runs once, as after coney_template_send_async(), with this message and
 * the outcome of its whole batch: confirmed, returned and refused they are together. A batch that
 * cannot be sent (no connection by the deadline, for example) ends so for each message, with the status
 * of the send, also on the events thread; only when that has no memory or has ended, on the
 * thread that tried. A failure without callback is logged.
 * After any other status the callback does not run, and the message was not sent.
 *
 * The deadline (the options' timeout_ms, or the template's) counts for waiting until another thread has
 * sent its batch, and for sending the one that this message completes or replaces; if that one passes,
 * it is the outcome of the messages in it. Whether it is returned if unroutable, and delay_ms, are part of the
 * address.
 * CONEY_E_INVALID (also: the message is a batch already), CONEY_E_LIMIT (no turn by the deadline), CONEY_E_CLOSED,
 * CONEY_E_STATE, CONEY_E_NO_MEMORY; if the message completes the batch, those of
 * coney_template_send_async(). */
CONEY_API coney_status coney_batching_template_send(coney_batching_template *batching, const char *routing_key,
                                                    coney_message *message, const coney_send_options *options,
                                                    coney_send_callback *on_complete, void *user);

/* Sends the batch there is, if any, within the template's timeout_ms (without a timeout_ms of its own, a batch that is
 * not complete waits for this); it does not wait for the confirm:
 * coney_template_wait_for_confirms() does. Any thread, callbacks too.
 * CONEY_OK; CONEY_E_TIMEOUT (another thread is still sending: the batch stays); the statuses of
 * coney_template_send_async(), which each message's callback is told as well; CONEY_E_INVALID,
 * CONEY_E_STATE. */
CONEY_API coney_status coney_batching_template_flush(coney_batching_template *batching);

CONEY_END

#endif
