/* SPDX-License-Identifier: MIT */
/* Listening: consumers, and the worker threads that call handlers. (Spring: SimpleMessageListenerContainer,
 * DirectMessageListenerContainer and RabbitListenerEndpointRegistry in one.)
 *
 * A container has any number of listeners, each for one queue. A thread of the container compares the consumers that
 * should exist with the consumers that do, and starts what is missing. Unless said otherwise any thread may call these
 * functions, handlers and callbacks included. */
#ifndef CONEY_RABBIT_CONTAINER_H
#define CONEY_RABBIT_CONTAINER_H

#include <coney/amqp/processor.h>
#include <coney/rabbit/connection_factory.h>
#include <coney/rabbit/container_state.h>
#include <coney/rabbit/listener.h>

CONEY_BEGIN

/* Zero means the default. */
typedef struct coney_container_options {
    /* For threads and log lines. Default: "container". */
    const char *name;

    /* Threads that run the handlers of all consumers: four threads are enough for a thousand queues. Default: one
     * thread for each lane of each consumer. */
    int workers;

    /* For coney_container_start() and the start of single listeners. Default: 10,000. */
    int start_timeout_ms;

    /* For a stop, and for the stop in coney_container_free(). Default: 5,000. */
    int shutdown_timeout_ms;

    /* Pause before a consumer subscribes again that the broker has refused, or that the broker has ended (for example
     * over a consumer time-out) within this time after the consumer had resumed. Default: 5,000. */
    int resubscribe_interval_ms;

    /* For replies and republished messages to be confirmed. Default: 10,000. */
    int publish_timeout_ms;

    /* Memory that the unsettled messages of all consumers together may take. Default: 256 MiB. SIZE_MAX: no limit.
     * Consumers of a queue that the factory has declared begin with a prefetch of 16. When the size of their messages
     * allows a higher one, they subscribe again with the tag TAG~1, TAG~2 and so on; until earlier messages are
     * settled, such a consumer may have 16 messages more than its prefetch. A message for which there is no memory left
     * goes back to its queue, which counts as a delivery. The limit does not hold for listeners that are exclusive,
     * acknowledge NONE or have a prefetch of 1, for streams, and for queues known to have a single active consumer. See
     * "What consumers hold" in docs/listening.md. */
    size_t max_held_bytes;

    /* The start does not fail without a connection: consumers begin when there is a connection. */
    bool start_without_broker;

    /* NULL: no events. */
    coney_container_event_callback *on_event;
    void *event_user;
} coney_container_options;

/* Makes a container. options may be NULL. The factory is kept as long as the container lives.
 * CONEY_OK, CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_new(coney_container **container, coney_connection_factory *factory,
                                           const coney_container_options *options);

/* Registers a listener, which is copied. In a running container the listener starts at once; what keeps it from
 * consuming is told by event, log and health. A running container stops if a declaration of the listener is refused for
 * good, or if its queue is missing and missing_queue_is_fatal is set. (Spring: addQueues, registerListenerContainer.)
 * - CONEY_OK.
 * - CONEY_E_INVALID: an option, a combination of options, or an id that is taken.
 * - CONEY_E_STATE: after fork().
 * - CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_listen(coney_container *container, const coney_listener *listener);

/* Stops a listener like coney_container_stop_listener() and removes it. Its id is free at once. (Spring: removeQueues,
 * unregisterListenerContainer.) Statuses as coney_container_stop_listener(). */
CONEY_API coney_status coney_container_unlisten(coney_container *container, const char *id);

/* Adds a processor that runs on each message before the message is converted, on a worker thread. At any time. (Spring:
 * setAfterReceivePostProcessors.)
 * - A message that the processor replaces by NULL is acknowledged, without a call of the handler.
 * - A message for which the processor fails is rejected like a message that cannot be converted. After
 *   CONEY_E_NO_MEMORY the message goes back to the queue.
 * - A batch is processed before it is taken apart, so a compressed batch is decompressed. The messages of the batch are
 *   not processed again.
 * The processor is copied, except for its user pointer, which is taken, success or failure, and must live as long as a
 * handler may run.
 * - CONEY_OK.
 * - CONEY_E_INVALID: the processor has no name, or a name that is taken.
 * - CONEY_E_STATE: after fork().
 * - CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_add_after_receive(coney_container *container, const coney_processor *processor);

/* Removes the processor of that name. Workers that are running the processor finish the call.
 * - CONEY_OK.
 * - CONEY_E_INVALID: there is no such processor.
 * - CONEY_E_STATE: after fork().
 * - CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_remove_after_receive(coney_container *container, const char *name);

/* ---- start ---- */

/* Subscribes every listener without no_auto_start, and waits until they consume; no handler runs before. From then on
 * consumers subscribe again by themselves after every loss. Handlers run with the signal mask of the thread that calls
 * this. After a stop a container may be started again. (Spring: start.)
 *
 * The start does not fail for these reasons, which may pass; event, log and health tell of them:
 * - a missing queue, unless missing_queue_is_fatal is set;
 * - an exclusive consumer elsewhere, or an exclusive queue of another connection;
 * - a NONE listener that is not subscribed while 16 MiB of deliveries wait for the workers of another listener.
 *
 * After a failure nothing is left running. Statuses:
 * - CONEY_OK: all listeners consume, or wait for one of the above.
 * - CONEY_E_NOT_FOUND: a queue is missing and missing_queue_is_fatal is set; the sentence names the queue.
 * - CONEY_E_ACCESS_REFUSED and the other refusals.
 * - CONEY_E_STATE: the container runs, or has no listener, or after fork().
 * - CONEY_E_CONNECT and the other statuses of connecting, unless start_without_broker is set.
 * - CONEY_E_CLOSED: the factory is closed, or is being closed.
 * - CONEY_E_LIMIT: the connection has no channel left.
 * - CONEY_E_SYSTEM: the system has too few threads.
 * - CONEY_E_LOST, CONEY_E_TIMEOUT, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_start(coney_container *container);

/* ---- stop ---- */

typedef enum coney_stop_mode {
    /* Prefetched messages are handled first, and deferred deliveries are waited for. The order of a queue with a single
     * active consumer is kept only if the listener's `declare` or a topology of the factory says that the queue has
     * one. */
    CONEY_STOP_DRAIN = 0,

    /* Running handlers finish and their messages are settled. Then the channel is closed without a basic.cancel, and
     * the other messages go back to the queue. Keeps the order of every queue, because no other consumer gets the
     * messages after these before these. (Spring: forceStop.) */
    CONEY_STOP_FINISH,

    /* All messages go back to the queue. Running handlers finish, but their outcome comes too late. */
    CONEY_STOP_NOW,
} coney_stop_mode;

/* Stops within timeout_ms (0: shutdown_timeout_ms). At the deadline the messages that are not handled go back to the
 * queue in any mode. May be called any number of times: a further call waits for the end of the same stop, and its mode
 * counts if it is a harder one. From a handler of this container or from an event the call returns at once, and the
 * stop completes later (CONEY_CONTAINER_STOPPED).
 * - CONEY_OK, also if prefetched messages had to go back; the log tells how many.
 * - CONEY_E_TIMEOUT: a handler is still running, or a delivery is deferred; its message goes back to the queue.
 * - CONEY_E_INVALID.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_container_stop_with(coney_container *container, coney_stop_mode mode, int timeout_ms);

/* coney_container_stop_with() with CONEY_STOP_DRAIN and shutdown_timeout_ms. */
CONEY_API coney_status coney_container_stop(coney_container *container);

/* coney_container_pause() ends all consumers after the prefetched messages are handled, and the container keeps
 * running. coney_container_resume() subscribes again. Both return at once. A delivery that is still deferred at the
 * resume keeps its consumer waiting for up to resubscribe_interval_ms; then the delivery is CONEY_E_STALE and the
 * message comes again.
 * - CONEY_OK.
 * - CONEY_E_STATE: the container does not run, or after fork().
 * - CONEY_E_INVALID. */
CONEY_API coney_status coney_container_pause(coney_container *container);
CONEY_API coney_status coney_container_resume(coney_container *container);

/* Stops the container, waits for its threads, and frees it. A handler that is still running after the stop ends later,
 * which the log says: what the handler needs is kept until it returns, and Coney's code stays loaded until the process
 * ends; the handler's code and its user pointer must stay as long. Takes NULL.
 *
 * Not from a handler of this container, and not from a callback of the factory, events and the credentials provider
 * included: there the call is logged and does nothing. Call coney_container_stop() there, and free on another thread.
 * Two handlers that free each other's container wait for each other until the stop gives up. */
CONEY_API void coney_container_free(coney_container *container);

/* ---- single listeners of a running container ---- */

/* Start a listener that does not run, or all listeners of a group. They wait, at most start_timeout_ms, until all
 * consumers consume or wait for what may come: their queue, or the end of an exclusive consumer. From a handler or an
 * event, and while the container is paused, they return at once. In a stopped container they only note that the next
 * start of the container starts these listeners.
 * - CONEY_OK.
 * - CONEY_E_NOT_FOUND: no such id or group.
 * - CONEY_E_TIMEOUT: the consumers keep trying.
 * - The statuses of coney_container_start(). */
CONEY_API coney_status coney_container_start_listener(coney_container *container, const char *id);
CONEY_API coney_status coney_container_start_group(coney_container *container, const char *group);

/* Stop a listener, or all listeners of a group, like CONEY_STOP_DRAIN within shutdown_timeout_ms. Then the remaining
 * messages go back, deferred deliveries included, without a line in the log. From a handler of the container they
 * return at once.
 * - CONEY_OK.
 * - CONEY_E_NOT_FOUND: no such id or group.
 * - CONEY_E_TIMEOUT: a handler is still running.
 * - CONEY_E_INVALID.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_container_stop_listener(coney_container *container, const char *id);
CONEY_API coney_status coney_container_stop_group(coney_container *container, const char *group);

/* Changes `concurrency` (min) and `max_concurrency` (max) of a listener. A max of 0 stands for min. Surplus consumers
 * end like CONEY_STOP_FINISH, between two messages. Returns at once. (Spring: setConcurrentConsumers.)
 * - CONEY_OK, CONEY_E_INVALID.
 * - CONEY_E_NOT_FOUND: no such id.
 * - CONEY_E_STATE: after fork(). */
CONEY_API coney_status coney_container_set_concurrency(coney_container *container, const char *id, int min, int max);

/* Asks whether every consumer consumes. If not, the status and the sentence are the reason of one consumer; the
 * container tries again by itself.
 * - CONEY_OK: every consumer consumes.
 * - CONEY_E_STATE: the container was not started, is paused or was stopped; or a consumer has not begun yet; or the
 *   broker has cancelled a consumer and Coney is asking whether the queue exists.
 * - CONEY_E_PRECONDITION_FAILED: the broker has cancelled a consumer, and the queue exists.
 * - CONEY_E_LIMIT: the broker has cancelled a consumer, and no channel was free to ask about the queue.
 * - CONEY_E_NOT_FOUND (the queue), CONEY_E_LOST and other statuses: why a consumer does not consume. */
CONEY_API coney_status coney_container_check(coney_container *container);

CONEY_END

#endif
