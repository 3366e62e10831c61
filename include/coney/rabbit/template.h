/* SPDX-License-Identifier: MIT */
/* Sending. (Spring: RabbitTemplate with correlated confirms and mandatory.)
 *
 * CONEY_OK means that the broker has taken responsibility for the message. Any number of threads may use one template
 * at the same time, handlers and completion callbacks included. Messages that one thread sends through one template
 * arrive in the order of sending.
 *
 * Without a connection a send waits for a connection, at most until its deadline, and so does a send while the broker
 * holds back publishers (because of a memory or disk alarm). coney_flow chooses another behaviour. */
#ifndef CONEY_RABBIT_TEMPLATE_H
#define CONEY_RABBIT_TEMPLATE_H

#include <coney/amqp/content.h>
#include <coney/amqp/converter.h>
#include <coney/amqp/message.h>
#include <coney/amqp/processor.h>
#include <coney/rabbit/connection_factory.h>
#include <coney/rabbit/rpc_options.h>

CONEY_BEGIN

typedef struct coney_template coney_template;

/* ---- options ---- */

/* What a send does that cannot go at once, because there is no connection, because the broker holds back publishers, or
 * because max_unconfirmed or the factory's max_outbound_bytes is reached. */
typedef enum coney_flow {
    /* The send waits until its deadline. */
    CONEY_FLOW_WAIT = 0,

    /* The send fails at once, and nothing was sent:
     * - CONEY_E_BLOCKED: the broker holds back publishers; the sentence has the broker's reason.
     * - CONEY_E_CONNECT: no connection, or older messages are being sent again (resend_unconfirmed); the sentence has
     *   the state of the connection and the last reason.
     * - CONEY_E_LIMIT: the sentence has the numbers.
     * Two things are waited for even so, until the deadline: the factory's first attempt to connect, which the first
     * send begins, and the opening of a channel. */
    CONEY_FLOW_FAIL,

    /* An asynchronous send is stored in memory and returns CONEY_OK at once. Nobody waits, so a sender that is faster
     * than the broker for long fills the store. Stored messages are sent in order as soon as possible, after the
     * messages that resend_unconfirmed keeps. While any message is stored, newer asynchronous sends are stored, too,
     * and a synchronous send waits until the messages before it are sent, at most until its deadline. If the connection
     * was given up (after a refused login, or after max_attempts), no connection comes by itself, so sends fail with
     * that reason. */
    CONEY_FLOW_STORE,
} coney_flow;

/* For CONEY_FLOW_STORE. Zero means the default. A stored message counts with its body, properties and names, and some
 * 100 bytes. */
typedef struct coney_store_options {
    int max_messages; /* Further messages are refused with CONEY_E_LIMIT, and not sent. Default: 10,000. */
    size_t max_bytes; /* The same for the bytes of all stored messages. Default: 64 MiB. */
    int max_age_ms;   /* An older message completes with CONEY_E_TIMEOUT, and is not sent. Default: no limit. */
    bool drop_oldest; /* Instead of refusing a new message: the oldest messages complete with CONEY_E_LIMIT. New
                         messages are refused even so while as many dropped messages as the store may hold wait for
                         their callbacks. */
} coney_store_options;

/* Asks whether a send that has failed with this error is to be tried again. Runs on the sender's thread with no Coney
 * lock held. The error is a view for the call. */
typedef bool coney_is_retriable(const coney_error *error, void *user);

/* Handles a message that could not be sent, for example by writing it to a file. Runs on the sender's thread with no
 * Coney lock held. The result becomes the status of the send. All arguments are views for the call. (Spring:
 * RecoveryCallback.) */
typedef coney_status coney_send_failure_handler(coney_message *message, const char *exchange, const char *routing_key,
                                                const coney_error *error, void *user);

/* Retry of synchronous sends; zero means the default. All attempts and delays together stay within the send's
 * timeout_ms: a delay that would pass the deadline ends the attempts, and so does the factory's close (CONEY_E_CLOSED).
 * Each delay is shortened by up to half, at random. After CONEY_E_LOST the broker may have the message whatever becomes
 * of later attempts, so the message may arrive twice; after the other retriable statuses the broker does not have the
 * message. (Spring: setRetryTemplate.) */
typedef struct coney_retry_options {
    int max_attempts;   /* Default: 1, so nothing is tried again. */
    int first_delay_ms; /* Default: 1,000. */
    double multiplier;  /* Default: 2. */
    int max_delay_ms;   /* Default: 10,000. */

    /* Default: error->retriable, which is true for CONEY_E_NACKED, _LOST, _BLOCKED, _CONNECT, _LIMIT, _SYSTEM and
     * _NO_MEMORY. */
    coney_is_retriable *is_retriable;

    /* Called when a send has failed for good, with and without further attempts, but not for CONEY_E_INVALID,
     * CONEY_E_STATE or the failure of a processor. Default: none. */
    coney_send_failure_handler *on_failure;

    void *user; /* For both functions. */
} coney_retry_options;

/* Zero means the default. */
typedef struct coney_template_options {
    /* Where sends go. Default: "", the default exchange. */
    const char *exchange;

    /* For sends that name no routing key. Default: "". */
    const char *routing_key;

    /* For convert_and_send and receive_and_convert. Default: JSON. */
    const coney_converter *converter;

    /* What coney_template_receive_content() may make of a message that names its type. Each type has an id of its own.
     * The array is copied, the types must live as long as the template. Default: none. (Spring: idClassMapping.) */
    coney_types types;

    /* For one send, connecting included. Default: 10,000. */
    int timeout_ms;

    /* Upper limit of messages without a confirm. At the limit senders wait, or do what `flow` says. Default: 10,000. */
    int max_unconfirmed;

    /* An asynchronous send for which the broker has sent no confirm by then completes with CONEY_E_TIMEOUT. Default:
     * 30,000; with resend_unconfirmed no limit. Below 0: no limit. */
    int confirm_timeout_ms;

    /* A message that no queue takes is dropped, and nobody is told (AMQP: mandatory off). */
    bool drop_unroutable;

    /* Messages that are unconfirmed when the connection is lost are kept and sent again, in order and before newer
     * sends. Nothing is lost; some messages may arrive twice. */
    bool resend_unconfirmed;

    /* Default: CONEY_FLOW_WAIT. */
    coney_flow flow;

    /* Only with CONEY_FLOW_STORE. */
    coney_store_options store;

    /* For messages whose properties name no user id, which includes every received message that is sent on. The broker
     * closes the channel over any other name than the name that the connection has logged in with. NULL: none. */
    const char *user_id;

    /* A message without a message id gets a random one, a UUID, when it is sent, by the processor "message-id"
     * (coney_message_id_processor()). A listener with `stateful` retry, for example, counts attempts by the message id.
     * (Spring: createMessageIds, of a converter.) */
    bool create_message_ids;

    /* For synchronous sends. */
    coney_retry_options retry;

    /* For requests (request.h): where replies come to, limits, the circuit. */
    coney_rpc_options rpc;

    /* For receives (receive.h) that name no queue. Default: none. */
    const char *receive_queue;

    /* Arguments of the consumer when a receive waits, such as x-priority. Default: none. */
    const coney_table *receive_arguments;
} coney_template_options;

/* For one send. Zero or NULL means the option of the template. */
typedef struct coney_send_options {
    const char *exchange; /* "" is the default exchange, not the template's exchange. */
    int timeout_ms;
    bool drop_unroutable;   /* Even if the template does not. */
    bool return_unroutable; /* Even if the template drops unroutable messages. Not with drop_unroutable. */

    /* For an exchange of type x-delayed-message, whose plugin reads the header x-delay. At most 4,294,967,295. (Spring:
     * setDelayLong.) */
    int64_t delay_ms;

    const coney_properties *properties; /* Where the call makes the message; a message has properties of its own. */
} coney_send_options;

/* ---- life ---- */

/* Makes a template; nothing is sent yet. Options are copied; NULL means all defaults. The factory is kept as long as
 * the template lives. Any thread. CONEY_OK, CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_template_new(coney_template **sender, coney_connection_factory *factory,
                                          const coney_template_options *options);

/* Frees the template. Unconfirmed and stored messages complete with CONEY_E_CLOSED, and so do messages that
 * resend_unconfirmed keeps; call coney_template_wait_for_confirms() first to avoid that. Returns after their callbacks
 * have run. If a callback takes longer than the template's timeout_ms, the template stays and the log says so: free the
 * template again after the callback has returned. No other thread may be in a call on the template. Not from a
 * callback. Takes NULL. */
CONEY_API void coney_template_free(coney_template *sender);

/* ---- sending ---- */

/* Sends and waits for the broker's confirm. routing_key and options may be NULL. A routing key of NULL is the
 * template's; "" is an empty routing key. Any thread. (AMQP: basic.publish and basic.ack.)
 * - CONEY_OK: the broker has the message.
 * - CONEY_E_INVALID: nothing was sent, for example because a name has over 255 bytes or the headers do not fit a frame.
 * - The status of a processor that failed: nothing was sent.
 * - CONEY_E_RETURNED, _NACKED, _NOT_FOUND, _ACCESS_REFUSED, _PRECONDITION_FAILED, _BROKER: the broker does not have the
 *   message. coney_send_callback explains these statuses.
 * - CONEY_E_TIMEOUT, _LOST, _CLOSED: the broker may have the message. With resend_unconfirmed the message is sent again
 *   after CONEY_E_TIMEOUT, as soon as there is a connection.
 * - CONEY_E_BLOCKED, CONEY_E_LIMIT (max_unconfirmed, max_outbound_bytes), CONEY_E_CONNECT and the other statuses of
 *   connecting: nothing was sent, at the deadline or at once.
 * - CONEY_E_STATE: after fork().
 * - CONEY_E_NO_MEMORY.
 * With the option `retry` the status is that of the last attempt, or the result of on_failure. */
CONEY_API coney_status coney_template_send(coney_template *sender, const char *routing_key, coney_message *message,
                                           const coney_send_options *options);

/* Runs once for each accepted asynchronous send, on the factory's events thread, with no Coney lock held. It may send,
 * also through the same template. message (as processors have left it) and error are views for the call. error is NULL
 * if the broker has confirmed the message; otherwise its status is
 * - CONEY_E_RETURNED: no queue takes the message.
 * - CONEY_E_NACKED: the broker could not store the message.
 * - CONEY_E_NOT_FOUND: the exchange does not exist, or exists no more.
 * - CONEY_E_ACCESS_REFUSED: this user may not write to the exchange.
 * - CONEY_E_PRECONDITION_FAILED, CONEY_E_BROKER: refused for another reason, which the sentence tells, such as a
 *   message that is larger than the broker's max_message_size.
 * - CONEY_E_LOST: the connection or channel is gone, and the broker may have the message (not with resend_unconfirmed).
 * - CONEY_E_CLOSED: the template or factory was freed; the broker may have the message unless the text says "never
 *   sent".
 * - CONEY_E_TIMEOUT: no confirm within confirm_timeout_ms; the broker may have the message, and it is not sent again.
 *   If the text says "never sent", the message was stored for too long.
 * - CONEY_E_LIMIT: dropped from the store, never sent.
 * - CONEY_E_INVALID: never sent, because the headers fit no frame of the connection that came after. */
typedef void coney_send_callback(coney_message *message, const coney_error *error, void *user);

/* Sends without waiting for the confirm; the callback, which may be NULL, gets the outcome. Waits while the connection
 * is being made and while max_unconfirmed or max_outbound_bytes is reached, at most timeout_ms; coney_flow chooses
 * otherwise. A send from a callback does not wait for max_unconfirmed; it fails with CONEY_E_LIMIT at 1,000 messages
 * more. The message is kept by reference until its outcome is known. Any thread.
 * - CONEY_OK: the callback will run once.
 * - Any other status: the callback does not run, and the message was not sent. The statuses are those of
 *   coney_template_send() for a message that was not sent. */
CONEY_API coney_status coney_template_send_async(coney_template *sender, const char *routing_key,
                                                 coney_message *message, const coney_send_options *options,
                                                 coney_send_callback *on_complete, void *user);

/* Sends without a confirm, a return or an outcome, for frequent messages of little value. Waits while the connection is
 * being made, while max_outbound_bytes is reached and while the broker holds back publishers, at most timeout_ms; with
 * CONEY_FLOW_FAIL it does not wait. There is no other limit, and messages are never stored. Any thread, callbacks and
 * handlers included. (Spring: RabbitTemplate without publisher confirms.)
 *
 * The message is lost, and nobody is told, if the connection is lost, if no queue takes the message, or if the queue is
 * full. If the broker refuses the exchange (it does not exist, or this user may not write to it), other messages that
 * are sent at that time are lost as well; that is logged, and counted in coney_send_statistics.forgotten_refusals.
 * coney_connection_factory_close() first writes the messages that wait to be written.
 *
 * The messages that one thread sends by this function arrive in order, but before or after its other messages.
 * coney_template_wait_for_confirms() does not wait for them.
 * - CONEY_OK: the message waits to be written.
 * - CONEY_E_INVALID: return_unroutable is set, or as coney_template_send().
 * - The other statuses of coney_template_send_async(). */
CONEY_API coney_status coney_template_send_and_forget(coney_template *sender, const char *routing_key,
                                                      coney_message *message, const coney_send_options *options);

/* Converts the object with the template's converter and sends the message like coney_template_send(). The object is
 * borrowed, and must be what the converter takes: a json_t for the default converter, a text or a coney_bytes for the
 * others. Neither the compiler nor, in most cases, the converter can tell another object, so <coney/rabbit/typed.h> has
 * a function for each kind. (Spring: convertAndSend.) Statuses as coney_template_send(), and CONEY_E_CONVERSION, also
 * for an object that is NULL or that can be seen to be no json_t (CONEY_E_INVALID: the json_t is NULL). */
CONEY_API coney_status coney_template_convert_and_send(coney_template *sender, const char *routing_key,
                                                       const void *object, const coney_send_options *options);

/* Waits until no message is unconfirmed or stored and all callbacks have returned. That takes a pause of all senders.
 * With timeout_ms 0 the call does not wait. A batch that a batching template still gathers is not waited for: flush it
 * first. Not from a callback.
 * - CONEY_OK, CONEY_E_TIMEOUT, CONEY_E_INVALID, CONEY_E_NO_MEMORY.
 * - CONEY_E_STATE: in a callback, or after fork().
 * - The reason why the connection was given up, if messages are kept or stored. */
CONEY_API coney_status coney_template_wait_for_confirms(coney_template *sender, int timeout_ms);

/* ---- processors ---- */

/* Add a processor that runs on each message before the message is sent, or on each message that the template receives:
 * on the caller's thread, once for each send. Any thread, at any time, while others send; a send that has begun
 * continues with the processors of its beginning. The processor is copied, except for its user pointer, which is taken,
 * success or failure. (Spring: setBeforePublishPostProcessors and so on.)
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: the processor has no name, or a name that is taken. */
CONEY_API coney_status coney_template_add_before_publish(coney_template *sender, const coney_processor *processor);
CONEY_API coney_status coney_template_add_after_receive(coney_template *sender, const coney_processor *processor);

/* Remove the processor of that name. Sends that are running the processor finish the call.
 * - CONEY_OK, CONEY_E_NO_MEMORY.
 * - CONEY_E_INVALID: there is no such processor. */
CONEY_API coney_status coney_template_remove_before_publish(coney_template *sender, const char *name);
CONEY_API coney_status coney_template_remove_after_receive(coney_template *sender, const char *name);

CONEY_END

#endif
