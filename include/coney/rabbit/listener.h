/* SPDX-License-Identifier: MIT */
/* What a container does with the messages of one queue: which handler, how many at a time, what becomes of
 * failures. (Spring: @RabbitListener, the endpoint and its container's properties.)
 *
 * Options are plain structs in which zero means the default. */
#ifndef CONEY_RABBIT_LISTENER_H
#define CONEY_RABBIT_LISTENER_H

#include <coney/amqp/converter.h>
#include <coney/amqp/message.h>
#include <coney/amqp/processor.h>
#include <coney/amqp/topology.h>
#include <coney/rabbit/delivery.h>

CONEY_BEGIN

/* ---- handlers ----
 *
 * All run on one of the container's worker threads with no Coney lock held, unless said otherwise. They may take
 * their time, use any template or admin, and stop their own container. `user` is the listener's. In C++ no callback of
 * Coney's may let an exception out: see docs/cpp.md. */

/* Handles one message. */
typedef coney_outcome coney_message_handler(coney_delivery *delivery, void *user);

/* Handles several: outcomes has a place for each, in their order, and is all zero, which is no outcome: a place that
 * stays so is a defect of the handler and counts as CONEY_RETRY. (Spring: BatchMessageListener.) */
typedef void coney_batch_handler(coney_delivery *const *deliveries, size_t count, coney_outcome *outcomes, void *user);

/* The handler for the messages of one type: those whose header __TypeId__, or else whose property type, is this.
 * (Spring: @RabbitHandler.) */
typedef struct coney_typed_handler {
    const char *type;                  /* required */
    coney_message_handler *on_message; /* required */
    const coney_converter *converter;  /* NULL: the listener's */
} coney_typed_handler;

/* Whether the message is for this listener; one that is not is acknowledged and counted, nothing else. It runs
 * before the message is converted. */
typedef bool coney_message_filter(const coney_message *message, void *user);

/* Whether a converted payload is one the handler can work with: CONEY_OK, or a status with a sentence from
 * coney_conversion_failed(). What is refused is as fatal as what cannot be converted. (Spring: @Valid.) */
typedef coney_status coney_validator(const void *payload, void *user);

/* Decides about a message that no handler gets, because it cannot be read, converted or validated, or no handler
 * takes its type. `outcome` is what Coney would do; the answer is what is done. delivery and error are views for the
 * call. Coney's outcome is
 * - CONEY_PARK if the listener has a parking queue (CONEY_EXHAUSTED_PARK): it is republished there, with the reason;
 * - else CONEY_ACK if the message came back by itself: this listener has rejected it, it expired in another queue, and
 *   the broker brought it back. It is dropped, or it would go round for ever. The headers alone prove nothing, for a
 *   publisher can write them. What a person, a shovel or a consumer moves
 *   back from the dead-letter queue is not meant by that, nor what a publisher's delay queue brings;
 * - else CONEY_REJECT.
 * A message that could not be read (too large, headers nested too deep or with more than 10,000 entries) is not here
 * whole, so it is rejected where it would be republished. (Spring: ConditionalRejectingErrorHandler,
 * RabbitListenerErrorHandler.) */
typedef coney_outcome coney_error_handler(coney_delivery *delivery, const coney_error *error, coney_outcome outcome,
                                          void *user);

/* ---- retry ---- */

/* Whether a failure is worth another attempt; false makes the message exhausted at once. The error holds the text that
 * the handler gave coney_delivery_fail(), and its status is CONEY_E_HANDLER, which is retriable. A failure of Coney's
 * own, such as a reply that could not be sent, has another status. Views for the call. */
typedef bool coney_is_retriable_delivery(const coney_delivery *delivery, const coney_error *error, void *user);

/* Decides about a message that is exhausted: returns what becomes of it, CONEY_ACK if the program has it in good
 * hands. A message that max_crashes has ended was not converted: its payload is NULL. (Spring: MessageRecoverer.) */
typedef coney_outcome coney_exhausted_handler(coney_delivery *delivery, const coney_error *error, void *user);

/* What becomes of a message that is exhausted: its attempts are used up. */
typedef enum coney_exhausted {
    CONEY_EXHAUSTED_DEFAULT = 0, /* CONEY_EXHAUSTED_PARK with delays_ms, delayed_by_queue or parking_queue, else
                                  CONEY_EXHAUSTED_REJECT */
    CONEY_EXHAUSTED_REJECT,      /* to the queue's dead-letter exchange; gone if it has none. (Spring:
                                  RejectAndDontRequeueRecoverer) */
    CONEY_EXHAUSTED_REPUBLISH,   /* sent elsewhere, and acknowledged when that is confirmed. (Spring:
                                  RepublishMessageRecovererWithConfirms) */
    CONEY_EXHAUSTED_REQUEUE,     /* back to the queue. (Spring: ImmediateRequeueMessageRecoverer) */
    CONEY_EXHAUSTED_PARK,        /* republished to the parking queue, and so is what no handler can get */
    CONEY_EXHAUSTED_CALL,        /* what on_exhausted returns: CONEY_ACK, CONEY_REJECT or CONEY_REQUEUE */
} coney_exhausted;

enum { CONEY_MAX_DELAYS = 16 };

/* What CONEY_RETRY means. Without any of it the message goes back to the queue; one that has come again is held
 * back before, for 100 ms, then twice as long each time up to 5 s, so that a handler that always fails does not go
 * round at full speed. Each message waits for its own back-off only, and those after it are handled meanwhile; but it
 * keeps its place in the prefetch, so when all places are taken by messages that wait, the others wait, too. With it:
 *
 * 1. The handler is called again in place, up to max_attempts times in all, with a back-off in between, during which
 *    the worker serves others; the message stays unacknowledged, and those behind it on its lane wait, so order is
 *    kept. With `stateful` it goes back to the queue instead, after the same back-off, in which those behind it are
 *    handled, and its attempts are counted across deliveries.
 *    With delayed_by_queue it goes back at once, and the queue itself holds it back.
 * 2. With delays_ms it then goes through as many further rounds: it is published, confirmed, to a queue where it
 *    waits for the first delay, then the second and so on, and comes back to its queue. No plugin is needed: the
 *    container declares QUEUE.retry.DELAY for each delay, with a TTL and dead-lettering back to QUEUE.
 * 3. After the last attempt of the last round the message is exhausted, and `exhausted` decides.
 *
 * What is republished is persistent and keeps its properties and body, but for three: the user id that it came with
 * (which nothing that is received and sent on keeps), the expiration, which would lose it, and the header CC, which
 * would multiply it. It gets the headers x-exception-message, x-original-exchange and x-original-routingKey: from the
 * ladder it comes back with the queue's name as its routing key. CONEY_HEADER_ATTEMPTS counts its attempts. If those
 * leave no room for all headers of the sender, in a frame or among 10,000 entries, the copy goes without
 * x-exception-message, or else without those headers of the sender that do not fit: the type headers, those of a
 * batch and of tracing are put in first, then the others in their order. The log tells what the copy goes without,
 * and CONEY_HEADER_LEFT_OUT names the headers of the sender among that. Large data belongs into the body, not into
 * headers. A message that cannot be
 * republished goes back to the queue, is not acknowledged, and the log says so; but if the copy is refused for itself,
 * because it is larger than the broker allows now, the original is rejected, since it would come again for ever.
 * (Spring: RetryInterceptorBuilder.) */
typedef struct coney_listener_retry {
    int max_attempts;   /* in each round; 1, with stateful, delayed_by_queue or on a stream 3 */
    int first_delay_ms; /* before the second attempt, stateful or not; 1,000 */
    double multiplier;  /* 2 */
    int max_delay_ms;   /* 10,000; each delay is shortened by up to half, at random. All delays of a round together,
                           and the time in the prefetch, should be well below the broker's consumer_timeout, which
                           is 30 minutes: past that the broker closes the channel or cancels the consumer. Attempts
                           in place go on after a loss or a stop for messages with an id, and begin anew for others */
    bool stateful;      /* Attempts are counted across deliveries: by message id, for the last messages that failed (at
                           least 1,000), and by the x-delivery-count of a quorum queue; the higher number is taken. Not
                           counted are deliveries before the message came here from another queue's dead letters, and
                           those of which this process knows, by message id, that no handler saw them. A message with
                           neither an id nor a count is exhausted when it fails again. (Spring: stateful retry) */
    int max_crashes;    /* A message that has come back this often without being settled may be what ends the process in
                           its handler. It is moved to the queue QUEUE.quarantine, which is declared then, and handled
                           alone: no other handler of this listener runs in this process meanwhile. What its handler
                           returns from is acknowledged, or goes back to its queue and begins anew. When the process
                           or its connection has ended twice meanwhile, the message is exhausted without a call of
                           the handler. Needs a quorum queue, which counts; not with CONEY_ACKNOWLEDGE_NONE. Default:
                           max_attempts if `stateful` is set, unless declare says that this is no quorum queue; else
                           none. Below 0: none */
    coney_is_retriable_delivery *is_retriable; /* every failure is */

    int delays_ms[CONEY_MAX_DELAYS]; /* the ladder, ended by a zero; none */
    coney_queue_kind ladder_kind;    /* of its queues and the parking queue; the virtual host's default. For a
                                        quorum queue's messages take CONEY_QUORUM, which loses none between them */
    bool delayed_by_queue;           /* Instead of the ladder: a failed message goes back, and its queue, a quorum queue
                                        with delayed_retry FAILED or ALL, delivers it again after the queue's delay.
                                        Sets `stateful`, which says how attempts are counted, and with it max_crashes.
                                        Needs RabbitMQ 4.3; with an older broker the start fails, and a `declare` with
                                        delayed_retry that is added to a running container stops it, as any declaration
                                        that is refused for good. Refused if the queue
                                        is declared without such a delay, or with a delivery_limit (20 unless set) below
                                        max_attempts - 1: by coney_container_listen() if `declare` says so, by the start
                                        if a topology of the factory does. Not with first_delay_ms, multiplier,
                                        max_delay_ms, delays_ms or CONEY_ACKNOWLEDGE_NONE */

    coney_exhausted exhausted;
    const char *parking_queue;             /* declared if used; QUEUE.parking */
    const char *exchange;                  /* CONEY_EXHAUSTED_REPUBLISH; "", the default exchange */
    const char *routing_key;               /* the same; "error." and the original routing key, as in Spring */
    coney_exhausted_handler *on_exhausted; /* CONEY_EXHAUSTED_CALL */
} coney_listener_retry;

/* How often it was tried before this publishing, and after how many rounds of the ladder (Spring's name). Both count
 * for a message that comes from the ladder's queue of that round, by the broker's x-death; elsewhere they are only
 * there to be read, and so a message that is forwarded, or moved back from the parking queue, begins anew. */
#define CONEY_HEADER_ATTEMPTS "x-coney-attempts"

/* Which headers of the sender a copy lacks, because they left no room in a frame: a text such as "1 header: NAME" or
 * "12 headers: NAME, NAME and 10 more". At most 300 bytes of names are there, each name whole. */
#define CONEY_HEADER_LEFT_OUT "x-coney-left-out"
#define CONEY_HEADER_RETRY_COUNT "retry-count"
#define CONEY_HEADER_EXCEPTION_MESSAGE "x-exception-message"
#define CONEY_HEADER_ORIGINAL_EXCHANGE "x-original-exchange"
#define CONEY_HEADER_ORIGINAL_ROUTING_KEY "x-original-routingKey"

/* ---- concurrency ---- */

/* When an elastic listener grows and shrinks, one consumer at a time: it looks once a cycle; growing takes more
 * than active_trigger cycles in a row in which every consumer was at work, shrinking more than idle_trigger in
 * which one was not. (Spring: setConsecutiveActiveTrigger and so on.) */
typedef struct coney_elasticity {
    int cycle_ms;           /* 1,000 */
    int active_trigger;     /* 10 */
    int idle_trigger;       /* 10 */
    int grow_interval_ms;   /* at least between two starts; 10,000 */
    int shrink_interval_ms; /* at least between two ends; 60,000 */
} coney_elasticity;

/* ---- acknowledgement ---- */

typedef enum coney_acknowledge_mode {
    CONEY_ACKNOWLEDGE_AUTO = 0, /* the handler's outcome decides */
    CONEY_ACKNOWLEDGE_MANUAL,   /* coney_delivery_settle() decides, on any thread, at any time; the handler returns
                                   CONEY_DEFER then. Any other outcome it returns settles what is not settled yet */
    CONEY_ACKNOWLEDGE_NONE,     /* the broker forgets a message when it has sent it: what is not handled then is lost,
                                   and so is what a handler fails for. Faster, for readings of which many come. When
                                   16 MiB wait for the handler, nothing more is read from the consuming connection, so
                                   the handler must not wait for that: for an admin, or a template that receives */
} coney_acknowledge_mode;

/* ---- streams ----
 *
 * A listener of a stream has one consumer and rejects nothing, nor gives it back. CONEY_RETRY and CONEY_REQUEUE are
 * tried again in place, max_attempts times in all (3 by default); then the message is parked if retry has a parking
 * queue, else acknowledged, counted as passed_over, logged, and told by CONEY_MESSAGE_EXHAUSTED. CONEY_REJECT passes
 * it over at once, and so does what keeps it from the handler, or parks it. CONEY_STOP acknowledges nothing.
 *
 * The argument x-stream-offset says where the first consumer begins: the text first, last, next (the default) or an
 * interval such as 10m; an offset, or a timestamp. From then on, after a loss, a pause and a stop, too, it goes on at
 * the lowest offset that is not acknowledged, as long as the listener lives.
 *
 * Refused: CONEY_ACKNOWLEDGE_NONE, exclusive, priority, more than one consumer, retry.delays_ms, retry.stateful,
 * retry.delayed_by_queue, CONEY_EXHAUSTED_REQUEUE. */

/* ---- the listener ---- */

typedef struct coney_listener {
    const char *queue;          /* required, unless declare names it */
    const coney_queue *declare; /* the queue, for the container to declare before its consumers begin, on each
                                   connection; copied. One that is there otherwise fails the start, or stops the
                                   container. (Spring: queuesToDeclare, mismatchedQueuesFatal.) NULL: others declare
                                   it, an admin perhaps */
    bool stream;       /* the queue is a stream that others declare: see "streams" above. Not needed if `declare` or a
                          topology of the factory says so, or an argument whose name begins with x-stream- */
    const char *id;    /* for the functions that name a listener, and for the log; the queue's name, with "#2" and so
                          on behind it if that is taken */
    const char *group; /* for those that name a group; none */

    /* on_message, on_batch or handlers; on_message may stand beside handlers. */
    coney_message_handler *on_message; /* with handlers: of the types that none of them takes */
    coney_batch_handler *on_batch;
    const coney_typed_handler *handlers;
    size_t handler_count;
    void *user;                       /* must live as long as a handler may */
    const coney_converter *converter; /* makes the payload; NULL: none, the raw message */
    coney_message_filter *filter;     /* NULL: all are for this listener */
    coney_validator *validator;       /* needs a converter for all that can come; NULL: all payloads are valid */
    coney_error_handler *on_error;    /* NULL: as coney_error_handler says */

    int concurrency;     /* consumers, each with a channel; 1 */
    int max_concurrency; /* grows up to so many; concurrency, which is none */
    coney_elasticity elasticity;
    int prefetch;            /* messages a consumer has unacknowledged at most; 250, as in Spring: plenty for
                                quick handlers. A consumer of a declared queue begins with fewer, and large
                                messages get fewer: see max_held_bytes of the container. A handler that takes
                                a second should have less, for what waits in one consumer no other one gets.
                                Up to 65,535; raised to batch_size or ack_every if below */
    int lanes;               /* messages of one consumer are handled so many at a time, and those of one key one
                                after another. Up to 1,000; 1: all of them one after another */
    const char *lane_header; /* the key is this header; the routing key. Without the header: one common key */

    coney_acknowledge_mode acknowledge;
    int ack_every;    /* acknowledges so many at once, by one frame; 1. While a message is held back before it returns
                         to the queue, those after it are acknowledged singly. Not with MANUAL, NONE, lanes, on_batch or
                         transacted. (Spring: messagesPerAck) */
    int ack_after_ms; /* but none later than that, or than the handler at work then returns; 1,000.
                         (Spring: ackTimeout) */
    bool transacted;  /* what coney_delivery_send() and the replies send is committed together with the
                         acknowledgement, or rolled back with it. Of a batch that is taken apart each message is a
                         transaction. (Spring: channelTransacted) */

    int batch_size;       /* on_batch gets up to so many; 100 */
    int batch_timeout_ms; /* and waits no longer than that for the rest; 1,000 */
    bool keep_batches;    /* a batch in Spring's format is handed over as it is. Else the handler gets its
                             messages one by one (on_batch: all of them, which may be more than batch_size),
                             and the whole goes back or is rejected if one of them does */

    int priority;                 /* consumers of a higher one are served first (x-priority); 0 */
    bool exclusive;               /* the only consumer of its queue, or waits until it can be */
    const char *consumer_tag;     /* with concurrency ".1" and so on behind it; the broker's choice */
    const coney_table *arguments; /* any other argument of basic.consume, such as x-stream-offset; copied */

    coney_listener_retry retry;

    const char *send_to;                    /* where replies go to requests that name no reply_to:
                                               "exchange/routing key" or "queue". (Spring: @SendTo) */
    const coney_converter *reply_converter; /* the converter; JSON without one */
    coney_processor reply_processor;        /* runs on each reply before it is sent; only its process and user count */

    bool missing_queue_is_fatal; /* start fails, or the container stops, instead of waiting for it to come. (Spring:
                                    missingQueuesFatal) */
    bool no_auto_start;          /* only coney_container_start_listener() starts it */
    int idle_event_ms;           /* an event each time nothing has come, and no handler run, for so long; none */
    int slow_handler_ms;         /* an event when a handler, or taking a batch apart, has run for so long; 30,000, below
                                    0: none */
} coney_listener;

CONEY_END

#endif
