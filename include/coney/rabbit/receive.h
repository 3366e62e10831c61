/* SPDX-License-Identifier: MIT */
/* Receiving one message at a time, without a container. (Spring: RabbitTemplate's receive methods.)
 *
 * For programs that look now and then; whoever wants all messages as they come uses a container,
 * which costs no round trip for each. Receives use the factory's consuming connection, so a broker that
 * holds back publishers does not stop them. Any thread, any number at once; each call that runs at
 * the same time has a channel of its own.
 *
 * A message is acknowledged when Coney holds it, so nothing is lost on the way; one whose acknowledgement is
 * lost with the connection comes again, redelivered. What can never be read (CONEY_E_CONVERSION) is
 * rejected, as in a container: it goes to the queue's dead-letter exchange if there is one.
 *
 * All wait for a connection, and for each of the broker's answers, at most the template's timeout_ms;
 * a wait for a message comes on top and begins when the broker has taken the subscription. */
#ifndef CONEY_RABBIT_RECEIVE_H
#define CONEY_RABBIT_RECEIVE_H

#include <coney/rabbit/template.h>

CONEY_BEGIN

/* Takes one message from the queue (NULL: the template's receive_queue) and acknowledges it. *message is given;
 * it is NULL if there is none. With timeout_ms 0 it only looks (AMQP: basic.get), else it waits so long
 * (basic.qos 1, basic.consume, basic.cancel), and takes a message that arrives before the broker has confirmed the
 * end of the consumer.
 * CONEY_OK, also if there is none; CONEY_E_INVALID (no queue, a timeout below 0); CONEY_E_NOT_FOUND (the
 * queue), _ACCESS_REFUSED, _RESOURCE_LOCKED and the other refusals; CONEY_E_CONVERSION (the message cannot be
 * read and is rejected); CONEY_E_LOST (a message goes back), _TIMEOUT, _CONNECT and the other statuses of
 * connecting; CONEY_E_LIMIT (no channel is free), _CLOSED, _STATE (after fork()), _NO_MEMORY. */
CONEY_API coney_status coney_template_receive(coney_template *sender, const char *queue, coney_message **message,
                                              int timeout_ms);

/* The same, and converts with the template's converter before it acknowledges. *object is given, to be freed
 * as the converter says (json_decref() with the default one); NULL if there is no message. What cannot be
 * converted is rejected: CONEY_E_CONVERSION. (Spring: receiveAndConvert.) */
CONEY_API coney_status coney_template_receive_and_convert(coney_template *sender, const char *queue, void **object,
                                                          int timeout_ms);

/* Makes the reply to a request, on the thread that called coney_template_receive_and_reply() and with no lock
 * held. *reply, NULL at the call, is taken; left NULL there is no reply. The request is a view for the call. Any
 * status but CONEY_OK is a failure: the request goes back to its queue. */
typedef coney_status coney_reply_callback(coney_message *request, coney_message **reply, void *user);

/* Zero means the default. */
typedef struct coney_reply_options {
    int timeout_ms;       /* how long to wait for a request; 0 only looks */
    const char *exchange; /* where replies go to requests that name no reply_to; the template's */
    const char *routing_key;
    bool drop_unroutable;   /* a reply to that exchange which no queue takes is dropped, and its request is done */
    bool return_unroutable; /* a reply to the request's reply_to which nobody can get is a failure, and the request
                               goes back. Not with drop_unroutable */
} coney_reply_options;

/* Takes one request and sends the reply that the callback makes. It goes to the request's reply_to ("queue", or
 * "exchange/routing key"), with the request's correlation_id, or its message_id if it has none or an empty one. The
 * request is acknowledged when the broker has confirmed the reply; if callback or reply fail, it is back in its queue
 * when the call returns, and the next call may get it again and reply twice. *received, which may be NULL, tells
 * whether there was a request. queue and options may be NULL. (Spring: receiveAndReply.)
 *
 * As in a container nobody hears of a reply that cannot reach its requester, who may have gone: if no queue takes a
 * reply to a reply_to, the reply is dropped; if the broker does not take a reply there (the exchange does not exist,
 * this user may not write to it, the queue refuses the reply, the reply is too large, or it is not confirmed in time
 * although the connection has been open and not blocked all the while), the log says so; and the request is done. With
 * return_unroutable both are failures. A reply to the exchange of the options, or of the template, is a failure in both
 * cases; with drop_unroutable (here or in the template) it is dropped if no queue takes it.
 * CONEY_OK, also if there is none; what the callback returned; the statuses of coney_template_receive() and
 * coney_template_send(): CONEY_E_RETURNED says that the queue for the reply is gone; CONEY_E_INVALID: nobody says
 * where the reply goes, or drop_unroutable and return_unroutable are both set; CONEY_E_LOST: the reply was sent, but
 * the request comes again. */
CONEY_API coney_status coney_template_receive_and_reply(coney_template *sender, const char *queue,
                                                        const coney_reply_options *options, bool *received,
                                                        coney_reply_callback *callback, void *user);

CONEY_END

#endif
