/* SPDX-License-Identifier: MIT */
/* Trying a failed message again, and what becomes of a message whose attempts are used up. (Spring:
 * RetryInterceptorBuilder, MessageRecoverer.)
 *
 * Options are plain structs in which zero means the default. docs/listening.md explains them with examples. */
#ifndef CONEY_RABBIT_RETRY_H
#define CONEY_RABBIT_RETRY_H

#include <coney/amqp/headers.h>
#include <coney/amqp/queue.h>
#include <coney/rabbit/delivery.h>

CONEY_BEGIN

/* Asks whether a failure is worth another attempt. After false the message is exhausted at once. The error holds the
 * text that the handler gave to coney_delivery_fail(), and its status is CONEY_E_HANDLER, which is retriable. A failure
 * inside Coney, such as a reply that could not be sent, has another status. Runs on a worker thread, or on the thread
 * that calls coney_delivery_settle(); delivery and error are views for the call. */
typedef bool coney_is_retriable_delivery(const coney_delivery *delivery, const coney_error *error, void *user);

/* Decides about a message that is exhausted. The result is what becomes of the message: CONEY_REJECT, CONEY_REQUEUE, or
 * CONEY_ACK if the program has stored the message elsewhere. If max_crashes has ended the message, the message was not
 * converted and its payload is NULL. Threads and views as coney_is_retriable_delivery. (Spring: MessageRecoverer.) */
typedef coney_outcome coney_exhausted_handler(coney_delivery *delivery, const coney_error *error, void *user);

/* The final action for a message that is exhausted, which means that its attempts are used up. */
typedef enum coney_exhausted {
    /* CONEY_EXHAUSTED_PARK with delays_ms, delayed_by_queue or parking_queue; otherwise CONEY_EXHAUSTED_REJECT. */
    CONEY_EXHAUSTED_DEFAULT = 0,

    /* The message goes to the dead-letter exchange of its queue. Without a dead-letter exchange the message is gone.
     * (Spring: RejectAndDontRequeueRecoverer.) */
    CONEY_EXHAUSTED_REJECT,

    /* The message is published to `exchange` with `routing_key`. When the broker has confirmed the copy, the original
     * is acknowledged. (Spring: RepublishMessageRecovererWithConfirms.) */
    CONEY_EXHAUSTED_REPUBLISH,

    /* The message goes back to its queue. (Spring: ImmediateRequeueMessageRecoverer.) */
    CONEY_EXHAUSTED_REQUEUE,

    /* The message is republished to the parking queue. Messages that no handler can get are parked, too. */
    CONEY_EXHAUSTED_PARK,

    /* on_exhausted decides: CONEY_ACK, CONEY_REJECT or CONEY_REQUEUE. */
    CONEY_EXHAUSTED_CALL,
} coney_exhausted;

enum { CONEY_MAX_DELAYS = 16 };

/* The meaning of CONEY_RETRY.
 *
 * Without any of these options the message goes back to the queue. A message that has come again is held back first:
 * for 100 ms, then twice as long each time, up to 5 s. So a handler that always fails does not run at full speed. Each
 * message waits for its own back-off only, and the messages after it are handled meanwhile. A message that waits keeps
 * its place in the prefetch, so when waiting messages take all places, other messages wait, too.
 *
 * With these options:
 *
 * 1. The handler is called again in place, up to max_attempts times in all, with a back-off between the calls. During
 *    the back-off the worker serves other messages. The message stays unacknowledged, and the messages after it on its
 *    lane wait, so order is kept.
 *    With `stateful` the message goes back to the queue instead, after the same back-off, during which the messages
 *    after it are handled. Its attempts are counted across deliveries.
 *    With `delayed_by_queue` the message goes back at once, and the queue itself holds the message back.
 * 2. With `delays_ms` the message then goes through the ladder, one further round for each delay: the message is
 *    published, confirmed, to a queue in which it waits for the delay of the round, and comes back to its queue. No
 *    plugin is needed: for each delay the container declares a queue QUEUE.retry.DELAY, with a time to live and with
 *    dead-lettering back to QUEUE.
 * 3. After the last attempt of the last round the message is exhausted, and `exhausted` decides.
 *
 * A republished copy keeps body and properties of the message, with these exceptions:
 * - the delivery mode: the copy of the final action is persistent. A copy that comes back to its queue, by the ladder
 *   or by quarantine, is transient if the message came as transient, and else persistent;
 * - the user id that the message came with, which no received message keeps when it is sent on;
 * - the expiration, which would lose the message;
 * - the header CC, which would multiply the message.
 *
 * The copy gets the headers x-exception-message, x-original-exchange, x-original-routingKey and CONEY_HEADER_ATTEMPTS.
 * A message that comes back from the ladder has the exchange and the routing key with which it was first received, for
 * coney_message_routing_key(), lanes and processors, too; at the broker its routing key is the queue's name.
 *
 * Headers must fit into one frame, and into 10,000 entries. If there is no room for the headers of the sender and these
 * headers, the copy goes without x-exception-message. If there is still no room, the copy goes without those headers of
 * the sender that do not fit: type headers are put in first, then the headers of a batch and of tracing, then the
 * others in their order. The log tells which headers the copy lacks, and CONEY_HEADER_LEFT_OUT names those of the
 * sender. Large data belongs into the body, not into headers.
 *
 * A message that cannot be republished is not acknowledged but goes back to the queue, and the log says so. If the
 * broker refuses the copy because the copy is larger than the broker allows now, the original is rejected, since it
 * would come again for ever. (Spring: RetryInterceptorBuilder.) */
typedef struct coney_listener_retry {
    /* Attempts in each round. Default: 1; with `stateful`, with `delayed_by_queue` and on a stream 3. */
    int max_attempts;

    /* Before the second attempt, with and without `stateful`. Default: 1,000. */
    int first_delay_ms;

    /* Each further delay is the delay before, times this. Default: 2. */
    double multiplier;

    /* Upper limit of one delay. Default: 10,000. Each delay is shortened by up to half, at random. All delays of a
     * round together, and the time in the prefetch, should be well below the broker's consumer_timeout (30 minutes
     * unless configured), after which the broker closes the channel or cancels the consumer. Attempts in place go on
     * after a loss or a stop for messages with a message id, and begin anew for other messages. */
    int max_delay_ms;

    /* Attempts are counted across deliveries in two ways, and the higher number is taken: by message id, for the last
     * messages that failed (at least 1,000), and by the x-delivery-count of a quorum queue. Not counted are deliveries
     * before the message came here from another queue's dead letters, and deliveries that no handler saw, as far as
     * this process knows of them by message id. A message with neither an id nor a count is exhausted when it fails
     * again. (Spring: stateful retry.) */
    bool stateful;

    /* A message that has come back this often without being settled may be what ends the process in its handler. The
     * message is moved to the queue QUEUE.quarantine, which is declared then, and handled alone: no other handler of
     * this listener runs in this process meanwhile. If its handler returns, the message is acknowledged, or goes back
     * to its queue and begins anew. If the process or its connection has ended twice meanwhile, the message is
     * exhausted without a call of the handler. Needs a quorum queue, which counts; not with CONEY_ACKNOWLEDGE_NONE.
     * Default: max_attempts if `stateful` is set, unless `declare` says that this is no quorum queue; otherwise none.
     * Below 0: none. */
    int max_crashes;

    /* NULL: every failure is worth another attempt. */
    coney_is_retriable_delivery *is_retriable;

    /* The ladder: one delay for each round, ended by a zero. Default: no ladder. */
    int delays_ms[CONEY_MAX_DELAYS];

    /* Type of the ladder's queues and of the parking queue. Default: the default type of the virtual host. For the
     * messages of a quorum queue take CONEY_QUORUM, which loses none between the queues. */
    coney_queue_kind ladder_kind;

    /* Instead of the ladder: a failed message goes back to its queue, a quorum queue with delayed_retry FAILED or ALL,
     * and the queue delivers the message again after its delay. Sets `stateful`, which says how attempts are counted,
     * and with it max_crashes. Not with first_delay_ms, multiplier, max_delay_ms, delays_ms or CONEY_ACKNOWLEDGE_NONE.
     *
     * Needs RabbitMQ 4.3. With an older broker the start fails, and a `declare` with delayed_retry that is added to a
     * running container stops the container, like any declaration that is refused for good. Refused as well if the
     * queue is declared without such a delay, or with a delivery_limit (20 unless set) below max_attempts - 1: by
     * coney_container_listen() if `declare` says so, by the start if a topology of the factory says so. */
    bool delayed_by_queue;

    coney_exhausted exhausted;
    const char *parking_queue;             /* Declared if used. Default: QUEUE.parking. */
    const char *exchange;                  /* Of CONEY_EXHAUSTED_REPUBLISH. Default: "", the default exchange. */
    const char *routing_key;               /* Of CONEY_EXHAUSTED_REPUBLISH. Default, as in Spring: "error." and the
                                              original routing key. */
    coney_exhausted_handler *on_exhausted; /* Of CONEY_EXHAUSTED_CALL. */
} coney_listener_retry;

CONEY_END

#endif
