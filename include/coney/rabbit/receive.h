/* SPDX-License-Identifier: MIT */
/* Receiving one message at a time, without a container. (Spring: the receive methods of RabbitTemplate.)
 *
 * For programs that take a message now and then. A program that wants all messages as they come uses a container, which
 * needs no round trip for each message. Receives use the factory's consuming connection, so a broker that holds back
 * publishers does not stop them. Any thread; any number of calls at the same time, each with a channel of its own.
 *
 * A message is acknowledged when Coney has received it completely, so no message is lost on the way. If the
 * acknowledgement is lost with the connection, the message comes again, marked as redelivered. A message that can never
 * be read (CONEY_E_CONVERSION) is rejected, as in a container: it goes to the queue's dead-letter exchange, or is gone
 * without one.
 *
 * Each call waits for a connection, and for each of the broker's answers, at most the template's timeout_ms. The wait
 * for a message is added to that, and begins when the broker has accepted the subscription. */
#ifndef CONEY_RABBIT_RECEIVE_H
#define CONEY_RABBIT_RECEIVE_H

#include <coney/rabbit/template.h>

CONEY_BEGIN

/* Takes one message from the queue (NULL: the template's receive_queue) and acknowledges it. *message is given; it is
 * NULL if there is no message. With timeout_ms 0 the call takes a message that is ready and does not wait (AMQP:
 * basic.get). Otherwise it waits up to timeout_ms (AMQP: basic.qos 1, basic.consume, basic.cancel), and also takes a
 * message that arrives before the broker has confirmed the end of the consumer.
 * - CONEY_OK, also if there is no message.
 * - CONEY_E_INVALID: no queue, or a timeout below 0.
 * - CONEY_E_NOT_FOUND (the queue), CONEY_E_ACCESS_REFUSED, CONEY_E_RESOURCE_LOCKED and the other refusals.
 * - CONEY_E_CONVERSION: the message cannot be read and is rejected.
 * - CONEY_E_LOST: a message that was on its way goes back to its queue.
 * - CONEY_E_LIMIT: no channel is free.
 * - CONEY_E_STATE: after fork().
 * - CONEY_E_TIMEOUT, CONEY_E_CLOSED, CONEY_E_NO_MEMORY, CONEY_E_CONNECT and the other statuses of connecting. */
CONEY_API coney_status coney_template_receive(coney_template *sender, const char *queue, coney_message **message,
                                              int timeout_ms);

/* Takes a message like coney_template_receive(), and converts it with the template's converter before the message is
 * acknowledged. *object is given, and NULL if there is no message; free it as the converter says, with json_decref()
 * for the default converter. (Spring: receiveAndConvert.) Statuses as coney_template_receive();
 * - CONEY_E_CONVERSION: the message cannot be read or converted, and is rejected. */
CONEY_API coney_status coney_template_receive_and_convert(coney_template *sender, const char *queue, void **object,
                                                          int timeout_ms);

/* Makes the reply to a request, on the thread that called coney_template_receive_and_reply() and with no lock held. The
 * callback writes the reply to *reply, which is NULL before and taken after the call; NULL means no reply. The request
 * is a view for the call. Any status but CONEY_OK is a failure: the request goes back to its queue. */
typedef coney_status coney_reply_callback(coney_message *request, coney_message **reply, void *user);

/* Zero means the default. */
typedef struct coney_reply_options {
    int timeout_ms;       /* How long to wait for a request. Default: 0, which does not wait. */
    const char *exchange; /* Replies go here if the request names no reply_to. Default: the template's exchange. */
    const char *routing_key;

    /* Name of a header of the request that is copied to the reply instead of the correlation id. Default: none.
     * (Spring: correlationKey.) */
    const char *correlation_header;
    bool drop_unroutable;   /* If no queue takes a reply to that exchange, the reply is dropped and its request is
                               done. */
    bool return_unroutable; /* If the reply to the request's reply_to reaches nobody, that is a failure, and the request
                               goes back. Not with drop_unroutable. */
} coney_reply_options;

/* Takes one request, has the callback make the reply, and sends the reply to the request's reply_to ("queue", or
 * "exchange/routing key"). The correlation id of the reply is the request's correlation id, or the request's message id
 * if the correlation id is missing or empty. The request is acknowledged when the broker has confirmed the reply. If
 * callback or reply fail, the request is back in its queue when the call returns; the next call may get the request
 * again and reply twice. *received tells whether there was a request; received, queue and options may be NULL. (Spring:
 * receiveAndReply.)
 *
 * The requester may have gone, so nobody is told, as in a container, of a reply to a reply_to that reaches nobody:
 * - If no queue takes the reply, the reply is dropped and the request is done.
 * - If the broker does not take the reply, the log says so and the request is done. That is: the exchange does not
 *   exist; this user may not write to it; the queue refuses the reply; the reply is too large; or the reply is not
 *   confirmed in time although the connection has been open and not blocked all the while.
 * With return_unroutable both are failures. A reply to the exchange of the options, or of the template, is a failure in
 * both cases; with drop_unroutable, here or in the template, the reply is dropped if no queue takes it.
 *
 * - CONEY_OK, also if there is no request.
 * - CONEY_E_TIMEOUT: the sender of the request does not wait any more (CONEY_HEADER_TIMEOUT), so the request was
 *   rejected; *received is false.
 * - The status that the callback returned.
 * - CONEY_E_RETURNED: the queue for the reply is gone.
 * - CONEY_E_INVALID: neither request nor options nor template name a place for the reply; or drop_unroutable and
 *   return_unroutable are both set; or as below.
 * - CONEY_E_LOST: the reply was sent, but the request comes again; or as below.
 * - The other statuses of coney_template_receive() and coney_template_send(). */
CONEY_API coney_status coney_template_receive_and_reply(coney_template *sender, const char *queue,
                                                        const coney_reply_options *options, bool *received,
                                                        coney_reply_callback *callback, void *user);

CONEY_END

#endif
