/* SPDX-License-Identifier: MIT */
/* One message on its way through a handler, and what becomes of the message. (Spring: the arguments of a listener
 * method, AcknowledgeMode, and the exceptions that stand for an outcome.) */
#ifndef CONEY_RABBIT_DELIVERY_H
#define CONEY_RABBIT_DELIVERY_H

#include <coney/amqp/content.h>
#include <coney/amqp/message.h>

CONEY_BEGIN

/* A view for the handler's call, unless coney_delivery_ref() keeps the delivery. */
typedef struct coney_delivery coney_delivery;

/* What becomes of the message. No outcome is zero, so that a handler must name one. Any other value is a defect of the
 * handler: it is logged and counts as CONEY_RETRY, so that nothing is lost. A listener of a stream rejects no message
 * and gives no message back: see "streams" in listener.h. */
typedef enum coney_outcome {
    CONEY_ACK = 1, /* Done (AMQP: basic.ack). */
    CONEY_REJECT,  /* Never again: to the queue's dead-letter exchange, or gone without one (AMQP: basic.reject). */
    CONEY_REQUEUE, /* Not now: back to the queue, after a back-off if the message has come again (AMQP: basic.reject
                      with requeue). */
    CONEY_RETRY,   /* Failed, to be tried again as coney_listener_retry says. */
    CONEY_STOP,    /* Back to the queue, and the container stops: no handler here can do this work. */
    CONEY_DEFER,   /* coney_delivery_settle() decides, or has decided. Only with CONEY_ACKNOWLEDGE_MANUAL. */
    CONEY_PARK,    /* Never again: republished to the parking queue of coney_listener_retry, with the reason. Only with
                      a parking queue (CONEY_EXHAUSTED_PARK). */
} coney_outcome;

/* The message as the processors left it. View that lives as long as the delivery. Any thread. */
CONEY_API coney_message *coney_delivery_message(const coney_delivery *delivery);

/* ---- the payload ----
 *
 * What was made of the message, as "payloads" in listener.h tells. These functions are for the handler, for on_error
 * and on_exhausted, and for as long as the delivery is kept. What they give belongs to the delivery: a view that lives
 * as long as the delivery. Any thread.
 *
 * Where there is no such payload they give NULL, and coney_last_error() tells why: the message was not converted, or
 * its body is not what its content type says (CONEY_E_CONVERSION), or it is something else (CONEY_E_CONVERSION).
 * A mistake of the handler is logged, too. CONEY_E_STATE: no handler was to get the message, so there is nothing. */

/* The object that the converter or the type of the listener, or of its handler, has made; or, if there is none of them,
 * a text (const char *), JSON (json_t *) or bytes (const coney_bytes *), as the content type says. */
CONEY_API const void *coney_delivery_payload(const coney_delivery *delivery);

/* The object, if it is of this type: `const order *order = coney_delivery_object(delivery, &order_type)`. */
CONEY_API const void *coney_delivery_object(const coney_delivery *delivery, const coney_type *type);

/* JSON, for json_unpack() and so on: json_incref() keeps it longer than the delivery. */
CONEY_API json_t *coney_delivery_json(const coney_delivery *delivery);

/* A text in UTF-8. */
CONEY_API const char *coney_delivery_text(const coney_delivery *delivery);

/* Any of them, with its kind. NULL for what a converter of the program has made. */
CONEY_API const coney_content *coney_delivery_content(const coney_delivery *delivery);

/* The type of the payload. NULL if the payload is not an object of a type; that is no failure. */
CONEY_API const coney_type *coney_delivery_type(const coney_delivery *delivery);

/* ---- where the message came from ---- */

/* Views and threads as coney_delivery_message(). */
CONEY_API const char *coney_delivery_queue(const coney_delivery *delivery);
CONEY_API const char *coney_delivery_listener_id(const coney_delivery *delivery);
CONEY_API const char *coney_delivery_consumer_tag(const coney_delivery *delivery);

/* The number of this attempt to handle the message, from 1, as far as anybody knows. Any thread. The number is the sum
 * of
 * - attempts in place;
 * - attempts before the ladder (CONEY_HEADER_ATTEMPTS), if the message comes from the ladder;
 * - returns to the queue: the x-delivery-count of a quorum queue, less what this process gave back unhandled; in other
 *   queues 1 if the message is redelivered;
 * - rejections by this queue (x-death), each once.
 * The returns that the broker counts depend on its release:
 * - RabbitMQ 3.10 and 4.0: every return to this quorum queue, after a requeue, a stop or a loss.
 * - RabbitMQ 4.3: requeues by basic.reject and losses of a channel, in this queue and in the quorum queues that
 *   dead-lettered the message. Not counted: basic.nack and consumer time-outs.
 * - Classic queues count nothing in any release.
 * docs/listening.md tells which headers Coney believes. (Spring: the program reads x-delivery-count and x-death.) */
CONEY_API int coney_delivery_attempt(const coney_delivery *delivery);

/* Asks whether this is the last message of a batch in Spring's format. False for a message of no batch. Any thread.
 * (Spring: isLastInBatch.) */
CONEY_API bool coney_delivery_is_last_in_batch(const coney_delivery *delivery);

/* Says why the handler fails, in a sentence made as by printf. The sentence appears in the log, in the error that
 * on_exhausted gets, and in a header of a republished copy. Without this call, or with a NULL format, these tell that
 * the handler gave no reason. The status of the failure is CONEY_E_HANDLER in both cases. Returns `outcome`, so that a
 * handler can `return coney_delivery_fail(delivery, CONEY_RETRY, "no stock of %s", sku);`. In the handler only. */
CONEY_API coney_outcome coney_delivery_fail(coney_delivery *delivery, coney_outcome outcome, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* ---- settling later, with CONEY_ACKNOWLEDGE_MANUAL ---- */

/* Adds a reference, or gives one back. A reference keeps the delivery, its message and its payload after the handler's
 * call. If the last reference goes before the delivery is settled, the message goes back to the queue, and the log says
 * so. Any thread. unref takes NULL. */
CONEY_API coney_delivery *coney_delivery_ref(coney_delivery *delivery);
CONEY_API void coney_delivery_unref(coney_delivery *delivery);

/* Settles the delivery, once. Any thread. (AMQP: basic.ack, basic.reject.)
 * - CONEY_ACK first sends the reply of coney_delivery_set_reply() and waits until the broker has confirmed the reply.
 *   If the reply cannot be sent, this function returns why, and the message is treated as after CONEY_RETRY.
 * - CONEY_RETRY: the message is treated as after the last attempt in place. As with CONEY_PARK, the calling thread may
 *   wait until the message is republished.
 * - CONEY_REQUEUE: the message goes back to its queue. Nothing is held back here: whatever goes back does so at once.
 * - CONEY_DEFER is no settlement.
 * Statuses:
 * - CONEY_OK: the broker will be told as soon as possible.
 * - CONEY_E_STATE: the delivery is settled already; or its handler has returned CONEY_RETRY and is to be called again;
 *   or its listener does not acknowledge MANUAL.
 * - CONEY_E_STALE: the channel is gone, or the broker has cancelled the consumer. The broker is not told, and delivers
 *   the message again unless the queue is gone.
 * - CONEY_E_INVALID: no outcome, or CONEY_PARK without a parking queue.
 * - CONEY_E_NO_MEMORY.
 * - For a reply the statuses of coney_delivery_reply(). */
CONEY_API coney_status coney_delivery_settle(coney_delivery *delivery, coney_outcome outcome);

/* ---- replies ----
 *
 * A reply goes to the request's reply_to ("exchange/routing key" or a queue), or else to the listener's send_to. Its
 * correlation id is the request's correlation id, or else the request's message id.
 *
 * If no queue takes a reply, nobody is told, as in Spring: the requester may have gone. If the broker does not take the
 * reply where a reply_to wants it, the log says so, and the request is done. Otherwise anyone who may publish could
 * have a request handled for ever. The broker does not take a reply when
 * - the exchange does not exist;
 * - the queue refuses the reply, for example because the queue is full;
 * - the reply is too large;
 * - the reply is not confirmed in time although the connection has been open and not blocked all the while.
 * The place in send_to belongs to the program, so each of these is a failure there. A connection that is lost or
 * blocked is a failure in both cases. */

/* Sends a reply and waits until the broker has confirmed the reply. The message is borrowed. In the handler, or as long
 * as the delivery is kept.
 *
 * In the handler of a transacted listener the reply belongs to the transaction, with two exceptions that are sent and
 * confirmed outside it. For a redelivered request whose reply_to names an exchange, because a missing exchange would
 * abort the transaction each time. And to a place that is known to have aborted a transaction.
 * - CONEY_OK.
 * - CONEY_E_INVALID: the request names no place for replies, and neither does the listener.
 * - The statuses of coney_template_send(). */
CONEY_API coney_status coney_delivery_reply(coney_delivery *delivery, coney_message *reply);

/* Converts an object with the listener's reply_converter and sends it like coney_delivery_reply(). The object is
 * borrowed. Statuses as coney_delivery_reply(), and CONEY_E_CONVERSION. */
CONEY_API coney_status coney_delivery_convert_and_reply(coney_delivery *delivery, const void *object);

/* The same with an object of a type, as JSON with Spring's type headers. Statuses as coney_delivery_reply(), and those
 * of coney_message_new_object(). */
CONEY_API coney_status coney_delivery_reply_object(coney_delivery *delivery, const coney_type *type,
                                                   const void *object);

/* Keeps a reply that is sent before the message is acknowledged: when the handler returns CONEY_ACK, or with
 * CONEY_ACKNOWLEDGE_MANUAL by coney_delivery_settle(), whichever comes first. If the reply cannot be sent, the message
 * is treated as after CONEY_RETRY. With any other outcome the reply is dropped. Takes the message; NULL takes an
 * earlier reply back. In the handler, or by whoever keeps the delivery, and before the message is settled. (Spring: a
 * listener method that returns a value.) */
CONEY_API void coney_delivery_set_reply(coney_delivery *delivery, coney_message *reply);

/* Keep a reply that is made of an object, as coney_delivery_set_reply() does: a struct as JSON with Spring's type
 * headers, JSON, a text in UTF-8, or bytes (data may be NULL if size is 0). The object is borrowed. After a failure an
 * earlier reply stays. CONEY_OK, CONEY_E_INVALID, CONEY_E_CONVERSION, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_delivery_set_reply_object(coney_delivery *delivery, const coney_type *type,
                                                       const void *object);
CONEY_API coney_status coney_delivery_set_reply_json(coney_delivery *delivery, const json_t *json);
CONEY_API coney_status coney_delivery_set_reply_text(coney_delivery *delivery, const char *text);
CONEY_API coney_status coney_delivery_set_reply_bytes(coney_delivery *delivery, const void *data, size_t size);

/* Keeps an error reply with this code and a sentence made as by printf; format may be NULL. The sender of the request
 * sees CONEY_E_REMOTE_ERROR. The request is done when the handler returns CONEY_ACK. coney_message_new_error() makes an
 * error reply that says that it is retriable. Statuses as coney_delivery_set_reply_text(). */
CONEY_API coney_status coney_delivery_set_reply_error(coney_delivery *delivery, const char *code, const char *format,
                                                      ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

/* How long the sender of the request still waits, in milliseconds, by CONEY_HEADER_TIMEOUT and the time since the
 * message came here. 0: no longer. -1: the message names no such time or no reply_to. Any thread. */
CONEY_API int64_t coney_delivery_time_left_ms(const coney_delivery *delivery);

/* Publishes within the transaction of a transacted listener. In the handler only, on its thread. The message is sent
 * when the delivery is acknowledged, and not sent with any other outcome. A message that no queue takes is logged when
 * the transaction is committed, and lost, because nothing can be undone then. (Spring: a transacted RabbitTemplate in a
 * transacted container.)
 *
 * The message goes over the consuming connection. While the broker is short of memory or disk, it reads nothing more
 * from a connection that publishes, so all consumers of the factory stand still until the alarm is over. Give a
 * transacted listener that sends much a factory of its own.
 * - CONEY_OK: the message is part of the transaction.
 * - CONEY_E_STATE: the listener is not transacted, or the handler has returned.
 * - CONEY_E_INVALID, CONEY_E_STALE, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_delivery_send(coney_delivery *delivery, const char *exchange, const char *routing_key,
                                           coney_message *message);

CONEY_END

#endif
