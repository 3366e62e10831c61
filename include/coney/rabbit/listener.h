/* SPDX-License-Identifier: MIT */
/* The description of a listener: which queue it consumes, which handler gets the messages, how many messages are
 * handled at a time, and what becomes of failures. (Spring: @RabbitListener, the endpoint and its container's
 * properties.)
 *
 * Options are plain structs in which zero means the default. */
#ifndef CONEY_RABBIT_LISTENER_H
#define CONEY_RABBIT_LISTENER_H

#include <coney/amqp/content.h>
#include <coney/amqp/converter.h>
#include <coney/amqp/message.h>
#include <coney/amqp/processor.h>
#include <coney/amqp/topology.h>
#include <coney/rabbit/delivery.h>
#include <coney/rabbit/retry.h>

CONEY_BEGIN

/* ---- handlers ----
 *
 * Unless said otherwise all of these functions run on a worker thread of the container, with no Coney lock held. They
 * may take their time, use any template or admin, and stop their own container. `user` is the listener's. In C++ no
 * function that Coney calls may let an exception out: see docs/cpp.md. */

/* Handles one message. The delivery is a view for the call, unless coney_delivery_ref() keeps it. */
typedef coney_outcome coney_message_handler(coney_delivery *delivery, void *user);

/* Changes a reply, or replaces it by another message in *reply, for which it gives a reference; NULL discards the
 * reply. The request is a view for the call. Runs on the thread that sends the reply, with no Coney lock held. Any
 * status but CONEY_OK is a failure of the request. */
typedef coney_status coney_reply_processor(coney_message **reply, const coney_delivery *request, void *user);

/* Handles several messages. `outcomes` has one place for each delivery, in the order of the deliveries. Each place is
 * zero before the call, which is no outcome: a place that is still zero after the call is a defect of the handler and
 * counts as CONEY_RETRY. (Spring: BatchMessageListener.) */
typedef void coney_batch_handler(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user);

/* The handler for the messages of one type. The type of a message is its header __TypeId__, or, without that header,
 * its property `type`. (Spring: @RabbitHandler.) */
typedef struct coney_typed_handler {
    /* Required without payload_type. Default: the messages that name payload_type, as coney_types tells. */
    const char *type;

    coney_message_handler *on_message; /* Required. */

    /* The payload of this handler; at most one of the two. Default: the type of the listener's `types` whose id is
     * `type`; if there is none, as the listener says. payload_type is borrowed for the life of the container. */
    const coney_converter *converter;
    const coney_type *payload_type;
} coney_typed_handler;

/* Who chooses the type of a payload. (Spring: Jackson2JavaTypeMapper.TypePrecedence.) */
typedef enum coney_type_precedence {
    CONEY_TYPE_INFERRED = 0, /* The listener: its `type`, whatever the message names. */
    CONEY_TYPE_ID,           /* The header __TypeId__, among `types`, `type` and the payload_types of the handlers. */
} coney_type_precedence;

/* Asks whether the message is for this listener. A message for which the filter returns false is acknowledged and
 * counted as filtered. The filter runs before the message is converted. */
typedef bool coney_message_filter(const coney_message *message, void *user);

/* Decides about a message that no handler can get: the message cannot be read, converted or validated, or no handler
 * takes its type. `outcome` is Coney's default. Return it to accept it, or return another outcome to override it.
 * delivery and error are views for the call. Coney's default is
 * - CONEY_PARK if the listener has a parking queue (CONEY_EXHAUSTED_PARK): the message is republished there, with the
 *   reason;
 * - else CONEY_ACK, which drops the message, if the message came back by itself: this listener has rejected the
 *   message before, the message expired in another queue, and the broker brought it back. Such a message would go
 *   round for ever. Headers alone are no proof, because a publisher can write them. A message that a person, a shovel
 *   or a consumer moves back from the dead-letter queue did not come back by itself, and neither did a message from a
 *   delay queue of its publisher;
 * - else CONEY_REJECT.
 * A message that could not be read (too large, or headers nested too deep or with more than 10,000 entries) is not
 * complete here, so it cannot be republished: CONEY_PARK rejects it. (Spring: ConditionalRejectingErrorHandler,
 * RabbitListenerErrorHandler.) */
typedef coney_outcome coney_error_handler(coney_delivery *delivery, const coney_error *error, coney_outcome outcome,
                                          void *user);

/* ---- concurrency ---- */

/* When a listener with a max_concurrency starts or ends a consumer. Coney checks once in each cycle. After more than
 * active_trigger cycles in a row in which every consumer was busy, one consumer is started. After more than
 * idle_trigger cycles in a row in which a consumer was idle, one consumer ends. (Spring: setConsecutiveActiveTrigger
 * and so on.) */
typedef struct coney_elasticity {
    int cycle_ms;           /* Default: 1,000. */
    int active_trigger;     /* Cycles. Default: 10. */
    int idle_trigger;       /* Cycles. Default: 10. */
    int grow_interval_ms;   /* Shortest time between two starts. Default: 10,000. */
    int shrink_interval_ms; /* Shortest time between two ends. Default: 60,000. */
} coney_elasticity;

/* ---- acknowledgement ---- */

typedef enum coney_acknowledge_mode {
    /* The outcome that the handler returns decides. */
    CONEY_ACKNOWLEDGE_AUTO = 0,

    /* coney_delivery_settle() decides, on any thread, at any time; the handler returns CONEY_DEFER then. Any other
     * outcome that the handler returns settles the message if it is not settled yet. */
    CONEY_ACKNOWLEDGE_MANUAL,

    /* The broker forgets a message when it has sent the message (AMQP: no-ack). Messages that are not handled when the
     * process ends are lost, and so are messages for which the handler fails. Faster, for frequent readings of little
     * value. When 16 MiB wait for the handler, nothing more is read from the consuming connection, so the handler must
     * not wait for that connection: it must not call an admin or receive with a template. */
    CONEY_ACKNOWLEDGE_NONE,
} coney_acknowledge_mode;

/* ---- streams ----
 *
 * A listener of a stream has one consumer. It rejects no message and gives no message back:
 * - CONEY_RETRY and CONEY_REQUEUE: the message is tried again in place, max_attempts times in all (3 by default). Then
 *   it is parked if `retry` has a parking queue, and passed over otherwise.
 * - CONEY_REJECT: the message is passed over at once.
 * - A message that no handler can get is parked if `retry` has a parking queue, and passed over otherwise.
 * - CONEY_STOP: nothing is acknowledged.
 * A message that is passed over is acknowledged, counted (passed_over), logged, and told by CONEY_MESSAGE_EXHAUSTED.
 *
 * The argument x-stream-offset says where the first consumer begins: the text first, last, next (the default) or an
 * interval such as 10m; an offset; or a timestamp. From then on, as long as the listener lives, a consumer continues at
 * the lowest offset that is not acknowledged, after a loss, a pause and a stop.
 *
 * Refused: CONEY_ACKNOWLEDGE_NONE, exclusive, priority, more than one consumer, retry.delays_ms, retry.stateful,
 * retry.delayed_by_queue, CONEY_EXHAUSTED_REQUEUE. */

/* ---- payloads ----
 *
 * What coney_delivery_payload() gives to a handler. The first of these that applies decides:
 * 1. the converter or payload_type of the handler in `handlers` that the message's type has chosen;
 * 2. the listener's converter;
 * 3. with CONEY_TYPE_ID, or without `type`: the type that the message names in its header __TypeId__, by the rules of
 *    coney_types_find(). With CONEY_TYPE_ID a name that is not known here is a conversion error, and a message without
 *    a name has `type`;
 * 4. the listener's `type`, and headers are ignored;
 * 5. the content type: a text is const char *, JSON is json_t *, anything else is coney_bytes *. This payload is made
 *    when a handler first asks, so a handler that reads the message only does not pay for it.
 * A converter or a type runs before the handler, and a message that does not fit is fatal: see coney_error_handler.
 * A struct is read from JSON. The content type may be missing then, or application/octet-stream, which Spring writes
 * for each message that does not say better. (Spring: the parameter type of a listener method; the class mapper.) */

/* ---- the listener ---- */

typedef struct coney_listener {
    /* Required, unless `declare` or `bindings` names the queue. */
    const char *queue;

    /* The container declares this queue on each connection, before the consumers begin. Copied. A queue that exists
     * with other properties fails the start, or stops the container. (Spring: queuesToDeclare, mismatchedQueuesFatal.)
     * The queue may be anonymous: coney_container_queue_name() tells its name. NULL: the queue is declared elsewhere,
     * for example by an admin. */
    const coney_queue *declare;

    /* What else the listener needs: exchanges, and bindings of its queue to them. All are declared as `declare` is.
     * Copied. The first one may also bring the queue, instead of `declare`; without a name, if `queue` names none, the
     * queue is anonymous. The queues of the others are left out, or are the same. (Spring: bindings of
     * @RabbitListener, @QueueBinding.) */
    const coney_queue_binding *bindings;
    size_t binding_count;

    /* The queue is a stream that is declared elsewhere: see "streams" above. Not needed if `declare` or a topology of
     * the factory says so, or if an argument has a name that begins with x-stream-. */
    bool stream;

    /* Name of this listener in the log, and for functions that take an id. Default: the queue's name; if that is taken,
     * the name followed by "#2", "#3" and so on. */
    const char *id;

    /* For functions that take a group. Default: none. */
    const char *group;

    /* Set one of on_message, on_batch and handlers. With handlers, on_message may be set, too: it gets the messages of
     * types that no handler of the list takes. */
    coney_message_handler *on_message;
    coney_batch_handler *on_batch;
    const coney_typed_handler *handlers;
    size_t handler_count;
    void *user; /* Must live as long as a handler may run. */

    const coney_converter *converter; /* Makes the payload. NULL: see "payloads" above. */

    /* The payload is this struct, list or map. Borrowed for the life of the container. Not with a converter. */
    const coney_type *type;

    /* The types that messages may name. The array is copied, the types are borrowed for the life of the container. Not
     * with a converter; with `type` only if type_precedence is CONEY_TYPE_ID. */
    coney_types types;
    coney_type_precedence type_precedence;

    coney_message_filter *filter; /* NULL: all messages are for this listener. */

    /* Needs a converter or a type for every message, and is called with the object. A refused payload counts as a
     * message that cannot be converted, and so does a message that names no type if `types` are all there is. NULL: all
     * payloads are valid. */
    coney_validator *validator;

    coney_error_handler *on_error; /* NULL: Coney's default, see coney_error_handler. */

    /* Consumers, each with a channel of its own. Default: 1. */
    int concurrency;

    /* Upper limit when the listener grows. Default: `concurrency`, so the listener does not grow. */
    int max_concurrency;
    coney_elasticity elasticity;

    /* Upper limit of the unacknowledged messages of one consumer, up to 65,535 (AMQP: basic.qos). Default: 250, as in
     * Spring, which suits quick handlers. A handler that takes a second should have less, because a message that waits
     * in one consumer cannot go to another consumer. Values below batch_size or ack_every are raised to these. A
     * consumer of a declared queue begins with a lower prefetch, and with large messages it stays lower: see
     * max_held_bytes of the container. */
    int prefetch;

    /* How many messages of one consumer are handled at a time, up to 1,000. The messages of one key are handled one
     * after another. Default: 1, so all messages of a consumer are handled one after another. */
    int lanes;

    /* The key of a message is the value of this header; messages without the header share one key. Default: the key is
     * the routing key. */
    const char *lane_header;

    coney_acknowledge_mode acknowledge;

    /* Acknowledges this many messages by one frame. Default: 1. While a message is held back before it returns to the
     * queue, the messages after it are acknowledged singly. Not with MANUAL, NONE, lanes, on_batch or transacted.
     * (Spring: messagesPerAck.) */
    int ack_every;

    /* An acknowledgement waits at most this long for ack_every; if a handler is running then, until the handler
     * returns. Default: 1,000. (Spring: ackTimeout.) */
    int ack_after_ms;

    /* The broker commits what coney_delivery_send() and the replies send together with the acknowledgement, or rolls it
     * back together. If a batch is taken apart, each of its messages is a transaction. (Spring: channelTransacted.) */
    bool transacted;

    /* Upper limit of the messages in one call of on_batch. Default: 100. */
    int batch_size;

    /* on_batch waits at most this long for further messages. Default: 1,000. */
    int batch_timeout_ms;

    /* A batch in Spring's format goes to the handler as one message. Default: the handler gets the messages of the
     * batch one by one (on_batch: all of them in one call, which may be more than batch_size); if one of them goes back
     * or is rejected, the whole batch is. */
    bool keep_batches;

    /* The broker serves consumers of a higher priority first (x-priority). Default: 0. */
    int priority;

    /* The consumer is the only consumer of its queue, and waits until that is possible. */
    bool exclusive;

    /* With concurrency followed by ".1", ".2" and so on. Default: the broker chooses. */
    const char *consumer_tag;

    /* Further arguments of basic.consume, such as x-stream-offset. Copied. */
    const coney_table *arguments;

    coney_listener_retry retry;

    /* Replies go here if the request names no reply_to: "exchange/routing key" or "queue". (Spring: @SendTo.) */
    const char *send_to;

    /* For replies. Default: `converter`; without one, JSON. */
    const coney_converter *reply_converter;

    /* Runs on each reply before reply_processor does, and sees the request, too; with the listener's `user`. Default:
     * none. (Spring: ReplyPostProcessor.) */
    coney_reply_processor *process_reply;

    /* Runs on each reply before the reply is sent. Only its process and user are used. */
    coney_processor reply_processor;

    /* A request whose handling has failed for good (it was rejected, its attempts are used up, it cannot be converted)
     * is answered by an error reply with the failure, if it names a reply_to. Then it goes its usual way, for example
     * to a dead-letter exchange. Default: the sender hears nothing, and waits until its deadline. (Spring:
     * returnExceptions, which acknowledges the request.) */
    bool return_errors;

    /* A request whose sender does not wait any more (CONEY_HEADER_TIMEOUT, counted from its arrival here) is handled
     * all the same. Default: it is rejected before its handler is called, as the broker would have dropped it in its
     * queue, and counted as expired. A message without reply_to is no request. */
    bool serve_expired;

    /* If the queue is missing, the start fails, or the container stops. Default: the listener waits until the queue is
     * there. (Spring: missingQueuesFatal.) */
    bool missing_queue_is_fatal;

    /* Only coney_container_start_listener() and coney_container_start_group() start this listener. */
    bool no_auto_start;

    /* An event (CONEY_LISTENER_IDLE) each time no message has come and no handler has run for this time. Default: no
     * event. */
    int idle_event_ms;

    /* An event (CONEY_HANDLER_SLOW) when a handler, or taking a batch apart, has run for this time. Default: 30,000.
     * Below 0: no event. */
    int slow_handler_ms;
} coney_listener;

CONEY_END

#endif
