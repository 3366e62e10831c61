/* SPDX-License-Identifier: MIT */
/* Sending. (Spring: RabbitTemplate with correlated confirms and mandatory.)
 *
 * CONEY_OK means that the broker has taken responsibility for the message. One template may be
 * used from any number of threads at once, from handlers and completion callbacks too. What one
 * thread sends through one template arrives in that order.
 *
 * Without a connection a send waits for one until its deadline; while the broker holds back
 * publishers (a memory or disk alarm), too. coney_flow chooses otherwise. */
#ifndef CONEY_RABBIT_TEMPLATE_H
#define CONEY_RABBIT_TEMPLATE_H

#include <coney/amqp/converter.h>
#include <coney/amqp/message.h>
#include <coney/amqp/processor.h>
#include <coney/rabbit/connection_factory.h>

CONEY_BEGIN

typedef struct coney_template coney_template;

/* What a send does that cannot go at once: there is no connection, the broker holds back publishers, or
 * max_unconfirmed or the factory's max_outbound_bytes is reached. */
typedef enum coney_flow {
    CONEY_FLOW_WAIT = 0, /* waits, to its deadline */

    /* Fails and has sent nothing. CONEY_E_BLOCKED, with the broker's reason; CONEY_E_CONNECT, with the state of
     * the connection and the last reason, also while older messages are sent again (resend_unconfirmed);
     * CONEY_E_LIMIT, with the numbers. Only for the factory's first attempt to connect, which the first send
     * begins, and for a channel to be opened it waits, to its deadline. */
    CONEY_FLOW_FAIL,

    /* Asynchronous sends are stored, in memory, and CONEY_OK is returned; nobody waits, so a sender that is faster
     * than the broker for long fills the store. What is stored goes in order as soon as it can, behind what
     * resend_unconfirmed kept and before newer sends, which are stored, too, as long as anything is; synchronous
     * ones wait behind it, to their deadline. When the connection was given up (a refused login, max_attempts), so
     * that none comes by itself, sends fail with that. */
    CONEY_FLOW_STORE,
} coney_flow;

/* For CONEY_FLOW_STORE. Zero means the default. What is stored counts with body, properties, names and some 100
 * bytes. */
typedef struct coney_store_options {
    int max_messages; /* more are refused with CONEY_E_LIMIT, nothing sent; 10,000 */
    size_t max_bytes; /* the same; 64 MiB */
    int max_age_ms;   /* older ones are not sent but complete with CONEY_E_TIMEOUT; no limit */
    bool drop_oldest; /* instead of refusing: the oldest complete with CONEY_E_LIMIT. While the callbacks of as many
                          as the store holds have not run, new ones are refused all the same */
} coney_store_options;

/* Whether a send that failed so is to be tried again, on the sender's thread with no Coney lock held.
 * The error is a view for the call. */
typedef bool coney_is_retriable(const coney_error *error, void *user);

/* What to do with a message that could not be sent, such as writing it down: on the sender's thread
 * with no Coney lock held. Its status is that of the send; all arguments are views for the call.
 * (Spring: RecoveryCallback.) */
typedef coney_status coney_send_failure_handler(coney_message *message, const char *exchange, const char *routing_key,
                                                const coney_error *error, void *user);

/* Trying synchronous sends again; zero means the default. All attempts and delays together stay within
 * the send's timeout_ms: a delay that would pass it ends them, and so does the factory's close
 * (CONEY_E_CLOSED). Each delay is shortened by up to half, at random. After CONEY_E_LOST the broker may
 * have the message whatever comes of later attempts, so it may arrive twice; after the others it does not
 * have it. (Spring: setRetryTemplate.) */
typedef struct coney_retry_options {
    int max_attempts;                       /* in all; 1, which is none again */
    int first_delay_ms;                     /* 1,000 */
    double multiplier;                      /* 2 */
    int max_delay_ms;                       /* 10,000 */
    coney_is_retriable *is_retriable;       /* error->retriable: CONEY_E_NACKED, _LOST, _BLOCKED, _CONNECT, _LIMIT,
                                         _SYSTEM and _NO_MEMORY, if there is time left */
    coney_send_failure_handler *on_failure; /* called when a send has failed for good, whether it was tried again
                                         or not; not for CONEY_E_INVALID, CONEY_E_STATE or a processor's
                                         failure. NULL: none */
    void *user;                             /* of both */
} coney_retry_options;

/* Zero means the default. */
typedef struct coney_template_options {
    const char *exchange;             /* where sends go; "", the default exchange */
    const char *routing_key;          /* for sends that name none; "" */
    const coney_converter *converter; /* for convert_and_send and receive_and_convert; JSON */
    int timeout_ms;                   /* for a send, connecting included; 10,000 */
    int max_unconfirmed;              /* more makes senders wait, or what flow says; 10,000 */
    int confirm_timeout_ms;           /* an asynchronous send that the broker has not spoken about by then
                                         completes with CONEY_E_TIMEOUT; 30,000, with resend_unconfirmed never;
                                         below 0: never */
    bool drop_unroutable;             /* AMQP's mandatory off: no queue takes it, nobody hears */
    bool resend_unconfirmed;          /* what a loss leaves unconfirmed is kept and sent again, in order and
                                         before newer sends: nothing is lost, some may arrive twice */
    coney_flow flow;                  /* what a send does that cannot go at once; CONEY_FLOW_WAIT */
    coney_store_options store;        /* only with CONEY_FLOW_STORE */
    const char *user_id;              /* for messages whose properties name none; a received message counts as one
                                         without; the broker closes the channel over any but the name logged in with.
                                         NULL: none */
    coney_retry_options retry;        /* of synchronous sends */

    /* For <coney/rabbit/receive.h>. */
    const char *receive_queue;            /* for receives that name no queue; none */
    const coney_table *receive_arguments; /* of the consumer when a receive waits, such as x-priority; none */
} coney_template_options;

/* For one send. Zero or NULL: what the template says. */
typedef struct coney_send_options {
    const char *exchange; /* "" is the default exchange, not the template's */
    int timeout_ms;
    bool drop_unroutable;               /* even if the template does not */
    bool return_unroutable;             /* even if the template drops them; not both */
    int64_t delay_ms;                   /* for an exchange of type x-delayed-message: header x-delay, which only its
                                           plugin heeds; up to 4,294,967,295. (Spring: setDelayLong) */
    const coney_properties *properties; /* for convert_and_send; a message has its own already */
} coney_send_options;

/* Runs once for every accepted asynchronous send, on the factory's events thread, with no Coney
 * lock held. error is NULL if the broker confirmed the message; otherwise its status is
 *   CONEY_E_RETURNED   no queue takes it      CONEY_E_NACKED    the broker could not store it
 *   CONEY_E_NOT_FOUND  no such exchange (any more)   CONEY_E_ACCESS_REFUSED  no permission
 *   CONEY_E_PRECONDITION_FAILED, CONEY_E_BROKER      refused for another reason, in the sentence: larger than the
 *                      broker's max_message_size, for one
 *   CONEY_E_LOST       connection or channel gone: maybe delivered (not with resend_unconfirmed)
 *   CONEY_E_CLOSED     template or factory freed: maybe delivered, unless the text says "never sent"
 *   CONEY_E_TIMEOUT    no word from the broker within confirm_timeout_ms: maybe delivered, not sent again;
 *                      or stored too long: the text says "never sent"
 *   CONEY_E_LIMIT      never sent: dropped from the store
 *   CONEY_E_INVALID    never sent: its headers fit no frame of the connection that came
 * message (what was sent: processors may have changed it) and error are views for the call. It may
 * send, even through the same template. */
typedef void coney_send_callback(coney_message *message, const coney_error *error, void *user);

/* Makes a template; nothing is sent yet. Options are copied, NULL is all defaults. The factory
 * is kept as long as the template lives. Any thread. CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_template_new(coney_template **sender, coney_connection_factory *factory,
                                          const coney_template_options *options);

/* Unconfirmed and stored sends complete with CONEY_E_CLOSED, those that resend_unconfirmed keeps too:
 * wait_for_confirms first. Returns when their callbacks have run; if one takes longer than the
 * template's timeout_ms, the template stays, with a line in the log: free it again when the callback has
 * returned. No other thread may be inside a call on it. Not from a callback. Takes NULL. */
CONEY_API void coney_template_free(coney_template *sender);

/* Sends and waits for the broker's confirm. routing_key and options may be NULL; a routing key that is
 * NULL is the template's, "" is an empty one. Any thread.
 * (AMQP: basic.publish and basic.ack.)
 * CONEY_OK; CONEY_E_INVALID (before anything is sent: a name over 255 bytes, headers that do not
 * fit a frame), and what a processor failed with; CONEY_E_RETURNED, _NACKED, _NOT_FOUND, _ACCESS_REFUSED,
 * _PRECONDITION_FAILED, _BROKER: the broker does not have it; CONEY_E_TIMEOUT, _LOST, _CLOSED: it may have
 * it, and with resend_unconfirmed CONEY_E_TIMEOUT means that it is sent again once there is a
 * connection; CONEY_E_BLOCKED, CONEY_E_LIMIT (max_unconfirmed, max_outbound_bytes), CONEY_E_CONNECT and the
 * other statuses of connecting: nothing was sent, at the deadline or at once; CONEY_E_STATE (after fork());
 * CONEY_E_NO_MEMORY. With the option retry: that of the last attempt, or what on_failure returned. */
CONEY_API coney_status coney_template_send(coney_template *sender, const char *routing_key, coney_message *message,
                                           const coney_send_options *options);

/* Sends without waiting for the confirm; the callback (which may be NULL) tells how it went. It
 * waits while it connects and while max_unconfirmed or max_outbound_bytes is reached (sends from
 * callbacks do not wait for max_unconfirmed, and fail with CONEY_E_LIMIT at 1,000 more), at most timeout_ms;
 * coney_flow chooses otherwise. The message is kept by reference until then. After any status but
 * CONEY_OK the callback does not run and the message was not sent. Statuses as coney_template_send() up
 * to sending. */
CONEY_API coney_status coney_template_send_async(coney_template *sender, const char *routing_key,
                                                 coney_message *message, const coney_send_options *options,
                                                 coney_send_callback *on_complete, void *user);

/* Sends and asks for nothing: no confirm, no return, no outcome. For readings and the like, of which many come
 * and none matters. It waits while it connects and while max_outbound_bytes is reached or the broker holds back
 * publishers, at most timeout_ms; nothing else bounds it. Whatever the flow, it is not stored; with
 * CONEY_FLOW_FAIL it does not wait. CONEY_OK means only that the message waits to be written. It is lost, and
 * nobody is told, if the connection goes, if no queue takes it, if the queue is full; and if the broker refuses
 * the exchange (no such one, no permission), with others sent at that time: that is logged, and counted in
 * coney_send_statistics.forgotten_refusals. A factory that is closed in order writes first what waits.
 * return_unroutable is CONEY_E_INVALID.
 * What one thread forgets arrives in that order, but before or after what it sends otherwise, and
 * coney_template_wait_for_confirms() does not wait for it. Any thread, callbacks and handlers too. Statuses as
 * coney_template_send_async(). (Spring: RabbitTemplate without publisher confirms.) */
CONEY_API coney_status coney_template_send_and_forget(coney_template *sender, const char *routing_key,
                                                      coney_message *message, const coney_send_options *options);

/* Converts the object with the template's converter and sends it like coney_template_send().
 * With the default converter the object is a json_t, which is borrowed.
 * CONEY_E_CONVERSION as well. (Spring: convertAndSend.) */
CONEY_API coney_status coney_template_convert_and_send(coney_template *sender, const char *routing_key,
                                                       const void *object, const coney_send_options *options);

/* Waits until no send is outstanding or stored, which takes a pause of all senders, and all callbacks have
 * returned; with timeout_ms 0 it only looks. A batch that still gathers was not sent: flush it first. Not from a
 * callback.
 * CONEY_OK, CONEY_E_TIMEOUT, CONEY_E_INVALID, CONEY_E_STATE (in a callback), CONEY_E_NO_MEMORY; if messages are
 * kept or stored and the connection was given up, the status of that. */
CONEY_API coney_status coney_template_wait_for_confirms(coney_template *sender, int timeout_ms);

/* Add a processor to those that run on each message before it is sent, or on each that the template
 * receives: on the caller's thread, once for each send. Any time, any thread, while others send; a send
 * goes on with those there were when it began. The processor is copied but for its user pointer,
 * which is taken, success or failure. (Spring: setBeforePublishPostProcessors and so on.)
 * CONEY_E_INVALID (no name, or one that is there already), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_template_add_before_publish(coney_template *sender, const coney_processor *processor);
CONEY_API coney_status coney_template_add_after_receive(coney_template *sender, const coney_processor *processor);

/* Remove the one of that name. Sends that are running it when this returns finish with it.
 * CONEY_E_INVALID (there is none), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_template_remove_before_publish(coney_template *sender, const char *name);
CONEY_API coney_status coney_template_remove_after_receive(coney_template *sender, const char *name);

CONEY_END

#endif
