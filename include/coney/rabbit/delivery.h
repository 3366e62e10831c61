/* SPDX-License-Identifier: MIT */
/* One message on its way through a handler, and how it ends. (Spring: the arguments of a listener method,
 * AcknowledgeMode and the exceptions that mean an outcome.) */
#ifndef CONEY_RABBIT_DELIVERY_H
#define CONEY_RABBIT_DELIVERY_H

#include <coney/amqp/message.h>

CONEY_BEGIN

/* A view for the handler's call, unless it is kept with coney_delivery_ref(). */
typedef struct coney_delivery coney_delivery;

/* What becomes of the message. There is no zero on purpose: a handler says what it means. Any
 * other value is a defect of the handler; it is logged and counts as CONEY_RETRY, so that
 * nothing is lost. On a stream nothing is rejected or goes back: see "streams" in listener.h. */
typedef enum coney_outcome {
    CONEY_ACK = 1, /* done (basic.ack) */
    CONEY_REJECT,  /* never again; it goes to the queue's dead-letter exchange if there is one (basic.reject) */
    CONEY_REQUEUE, /* not now; back to the queue, after a back-off if it has come again (basic.reject, requeue) */
    CONEY_RETRY,   /* failed, to be tried again: what coney_listener_retry says */
    CONEY_STOP,    /* back to the queue, and the container stops: nobody here can handle this */
    CONEY_DEFER,   /* only with CONEY_ACKNOWLEDGE_MANUAL: coney_delivery_settle() tells, or has told */
    CONEY_PARK,    /* never again; republished, with the reason, to the parking queue of coney_listener_retry. Only if
                      that has one: CONEY_EXHAUSTED_PARK */
} coney_outcome;

/* The message as processors left it; the object the listener's converter made of it (NULL without a converter);
 * where it came from. Views that live as long as the delivery. Any thread. */
CONEY_API coney_message *coney_delivery_message(const coney_delivery *delivery);
CONEY_API const void *coney_delivery_payload(const coney_delivery *delivery);
CONEY_API const char *coney_delivery_queue(const coney_delivery *delivery);
CONEY_API const char *coney_delivery_listener_id(const coney_delivery *delivery);
CONEY_API const char *coney_delivery_consumer_tag(const coney_delivery *delivery);

/* Which attempt to handle it this is, as far as anybody knows, from 1. It counts attempts in place; those before the
 * ladder (CONEY_HEADER_ATTEMPTS, of a message that comes from there); returns to the queue (x-delivery-count of a
 * quorum queue without what this process gave back unhandled, else once for redelivered); and rejections by this queue
 * (x-death), each once. What the broker counts as a return depends on its release:
 * - RabbitMQ 3.10 and 4.0: all that comes back to this quorum queue after a requeue, a stop or a loss.
 * - RabbitMQ 4.3: requeues by basic.reject and losses of a channel, in this queue and in the quorum queues that
 *   dead-lettered the message. Not counted: basic.nack and consumer time-outs.
 * - Classic queues: nothing, in any release; a redelivery counts once.
 * docs/listening.md tells which headers are believed when. Any thread. (Spring: x-delivery-count and x-death are read
 * by the program.) */
CONEY_API int coney_delivery_attempt(const coney_delivery *delivery);

/* Part of a batch in Spring's format: its last one? False for all others. (Spring: isLastInBatch.) */
CONEY_API bool coney_delivery_is_last_in_batch(const coney_delivery *delivery);

/* Says why the handler fails, in a sentence made as by printf, for the log, on_exhausted and the header of what is
 * republished; without it, or with NULL, these say that the handler does not say why. The status of the failure is
 * CONEY_E_HANDLER either way. Returns the outcome, so that a handler can
 * `return coney_delivery_fail(delivery, CONEY_RETRY, "no stock of %s", sku);`. In the handler only. */
CONEY_API coney_outcome coney_delivery_fail(coney_delivery *delivery, coney_outcome outcome, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* ---- settling later; with CONEY_ACKNOWLEDGE_MANUAL ---- */

/* One more reference, one fewer: keeps the delivery, its message and payload beyond the handler's call. One that is
 * let go without having been settled goes back to the queue, and the log says so. Any thread; unref takes NULL. */
CONEY_API coney_delivery *coney_delivery_ref(coney_delivery *delivery);
CONEY_API void coney_delivery_unref(coney_delivery *delivery);

/* Settles it, once. CONEY_RETRY goes the way of a handler's whose attempts in place are used up, so this thread may
 * wait until the message is republished, as with CONEY_PARK; what goes back is not held back here. CONEY_DEFER is no
 * settlement. CONEY_ACK first sends the reply of coney_delivery_set_reply() and waits until the broker has confirmed
 * it; if the reply cannot be sent, this answers why, and the message goes the way of CONEY_RETRY. Any thread.
 * CONEY_OK: the broker is told, as fast as it can be; CONEY_E_STATE: it is settled already, its handler has returned
 * CONEY_RETRY and is to be called again, or its listener acknowledges otherwise; CONEY_E_STALE: its channel is gone,
 * or the broker has cancelled its consumer; the broker is not told, and delivers it again unless its queue is gone;
 * CONEY_E_INVALID (no outcome, or CONEY_PARK without a parking queue), CONEY_E_NO_MEMORY; for a reply the statuses of
 * coney_delivery_reply().
 * (AMQP: basic.ack, basic.reject.) */
CONEY_API coney_status coney_delivery_settle(coney_delivery *delivery, coney_outcome outcome);

/* ---- replies ----
 *
 * A reply goes to the request's reply_to ("exchange/routing key" or a queue), or else to the listener's send_to; its
 * correlation id is the request's, or else the request's message id. Like in Spring nobody hears if no queue takes
 * it: who asked may have gone. Nor does anybody if the broker does not take the reply where a reply_to wants it: the
 * exchange does not exist, the queue refuses the reply (it is full, for example), the reply is too large, or it is not
 * confirmed in time although the connection has been open and not blocked all the while. The log says so, and the
 * request is done: otherwise whoever may publish could have it handled for ever. What send_to names is the program's
 * own, so there each of these is a failure, and so is a connection that is lost or blocked. */

/* Sends a reply and waits until it is confirmed. The message is borrowed. In the handler, or as long as the delivery
 * is kept. With a transacted listener it goes, in the handler only, with the transaction; but to an exchange that a
 * redelivered request names, which may be what ended the transaction before, and to a place that is known to have ended
 * one, on its own and confirmed.
 * CONEY_E_INVALID: the request says nowhere where to; the statuses of coney_template_send(). */
CONEY_API coney_status coney_delivery_reply(coney_delivery *delivery, coney_message *reply);

/* The same with an object, for the listener's reply_converter; CONEY_E_CONVERSION as well. */
CONEY_API coney_status coney_delivery_convert_and_reply(coney_delivery *delivery, const void *object);

/* The reply to be sent before the message is acknowledged: when the handler returns CONEY_ACK, or with
 * CONEY_ACKNOWLEDGE_MANUAL by coney_delivery_settle(), whichever comes first. If the reply cannot be sent, that is
 * CONEY_RETRY; if the message is settled otherwise, the reply is dropped. Takes the message, or NULL for none after
 * all. In the handler only, and before the message is settled. (Spring: a listener method that returns a value.) */
CONEY_API void coney_delivery_set_reply(coney_delivery *delivery, coney_message *reply);

/* Publishes with a transacted listener's transaction: in the handler only, on its thread. It is sent when the message
 * is acknowledged, and not at all when it is not. What no queue takes is logged when the transaction is committed, and
 * lost: nothing can be undone then. It goes over the consuming connection, which has a price: while the broker is short
 * of memory or disk it reads nothing more from that, so all consumers of the factory stand still until it is over. Give
 * a transacted listener that sends much a factory of its own. (Spring: a transacted RabbitTemplate in a transacted
 * container.)
 * CONEY_E_STATE: the listener is not transacted, or the handler has returned; CONEY_E_INVALID, CONEY_E_STALE,
 * CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_delivery_send(coney_delivery *delivery, const char *exchange, const char *routing_key,
                                           coney_message *message);

CONEY_END

#endif
