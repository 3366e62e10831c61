/* SPDX-License-Identifier: MIT */
/* Listening: consumers, and the worker threads that call handlers. (Spring: SimpleMessageListenerContainer,
 * DirectMessageListenerContainer and RabbitListenerEndpointRegistry in one.)
 *
 * A container has any number of listeners, each for one queue, and keeps them consuming: a thread compares
 * the consumers there should be with those there are, and mends what is missing. Any function may be called
 * from any thread, handlers and callbacks included, unless said otherwise. */
#ifndef CONEY_RABBIT_CONTAINER_H
#define CONEY_RABBIT_CONTAINER_H

#include <coney/amqp/processor.h>
#include <coney/rabbit/connection_factory.h>
#include <coney/rabbit/container_state.h>
#include <coney/rabbit/listener.h>

CONEY_BEGIN

/* Zero means the default. */
typedef struct coney_container_options {
    const char *name;            /* names threads and log lines; "container" */
    int workers;                 /* threads that run handlers, shared by all consumers: any number of queues needs no
                                  more. One for each lane of each consumer */
    int start_timeout_ms;        /* 10,000 */
    int shutdown_timeout_ms;     /* for stop, and for the stop in free; 5,000 */
    int resubscribe_interval_ms; /* before a consumer tries again that the broker refused, or ended (a consumer time-out,
                                  for example) within this time after the consumer had resumed; 5,000 */
    int publish_timeout_ms;      /* for replies and republished messages to be confirmed; 10,000 */
    size_t max_held_bytes;     /* memory that unsettled messages of all consumers together may take; 256 MiB. Consumers
                                  of a queue that the factory has declared begin with a prefetch of 16 and subscribe
                                  anew, with the tag TAG~1 and so on, when the size of their messages allows more.
                                  Until earlier messages are settled there may be 16 more than the prefetch. A message
                                  that does not fit goes back to its queue, which counts as a delivery. Not for
                                  listeners that are exclusive, acknowledge NONE or have a prefetch of 1, for streams,
                                  and for queues known to have a single active consumer. SIZE_MAX: no bound. See "What
                                  consumers hold" in docs/listening.md */
    bool start_without_broker; /* start does not fail for want of a connection: consumers begin when there is one */
    coney_container_event_callback *on_event; /* NULL: nobody is told */
    void *event_user;
} coney_container_options;

/* Makes a container; options may be NULL. The factory is kept as long as the container lives.
 * CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_new(coney_container **container, coney_connection_factory *factory,
                                           const coney_container_options *options);

/* Registers a listener, copied. In a container that runs it starts at once, and what keeps it from consuming
 * is told by event, log and health. What would stop the container if it came later stops the container here, too: a
 * declaration of the listener that is refused for good, a missing queue with missing_queue_is_fatal.
 * (Spring: addQueues, registerListenerContainer.)
 * CONEY_E_INVALID (an option, a combination of them, an id that is taken), CONEY_E_STATE (after fork()),
 * CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_listen(coney_container *container, const coney_listener *listener);

/* Ends a listener like coney_container_stop_listener() and forgets it; its id is free at once.
 * (Spring: removeQueues, unregisterListenerContainer.) Statuses as coney_container_stop_listener(). */
CONEY_API coney_status coney_container_unlisten(coney_container *container, const char *id);

/* Adds a processor to those that run on each message before it is converted, on a worker's thread.
 * What it leaves goes to the handler; the message it discards (NULL) is acknowledged; one it fails for
 * is rejected like one that cannot be converted, after CONEY_E_NO_MEMORY it goes back to the queue. A batch meets it
 * before it is taken apart, so what compressed the batch is undone; its messages do not meet it again.
 * Any time. The processor is copied but for its user pointer, which is taken, success or
 * failure, and must live as long as a handler may. (Spring: setAfterReceivePostProcessors.)
 * CONEY_E_INVALID (no name, or one that is there already), CONEY_E_STATE (after fork()), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_add_after_receive(coney_container *container, const coney_processor *processor);

/* Removes the one of that name; workers that are running it finish with it.
 * CONEY_E_INVALID (there is none), CONEY_E_STATE (after fork()), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_remove_after_receive(coney_container *container, const char *name);

/* ---- start ---- */

/* Subscribes every listener but those with no_auto_start, and waits until they consume; no handler runs before.
 * From then on consumers come back by themselves after every loss. Whatever can be waited for afterwards does not
 * fail the start: a queue that is missing (unless missing_queue_is_fatal), an exclusive consumer elsewhere, an
 * exclusive queue of another connection, a NONE listener's turn while 16 MiB wait for another's handler; event, log and
 * health tell of it. On failure nothing is left running. May be started again after a stop. Handlers run with the
 * signal mask of the thread that calls this.
 * CONEY_E_NOT_FOUND (a queue, which one, if that is fatal), CONEY_E_ACCESS_REFUSED and the other refusals;
 * CONEY_E_STATE (running, or nothing to listen to); CONEY_E_CONNECT and the other statuses of connecting, unless
 * start_without_broker; CONEY_E_CLOSED (the factory is, or is being closed); CONEY_E_LIMIT (channels of the
 * connection); CONEY_E_LOST, _TIMEOUT, _NO_MEMORY, _SYSTEM (too few threads). (Spring: start.) */
CONEY_API coney_status coney_container_start(coney_container *container);

/* ---- stop ---- */

typedef enum coney_stop_mode {
    CONEY_STOP_DRAIN = 0, /* what was prefetched is handled first; what deferred deliveries wait for, too. Keeps the
                             order of a queue with single active consumer only if the listener's `declare` or a
                             topology of the factory says that it is one */
    CONEY_STOP_FINISH, /* handlers that run finish and are settled; then the channel is closed without a basic.cancel,
                             and the rest goes back to the queue. Keeps the order of every queue: no other consumer gets
                             the messages after these before. (Spring: forceStop) */
    CONEY_STOP_NOW,    /* all goes back; handlers that run finish, but what they say comes too late */
} coney_stop_mode;

/* Stops, within timeout_ms (0: shutdown_timeout_ms); then what is not handled goes back to the queue in
 * any mode. Any number of times; another call waits for the end of the same stop, and may make it harder. From one of
 * its own handlers or from an event it returns at once and the stop completes behind it (CONEY_CONTAINER_STOPPED).
 * CONEY_OK, also if prefetched messages had to go back (the log tells how many); CONEY_E_TIMEOUT: a
 * handler is still running or a delivery deferred, its message goes back to the queue; CONEY_E_INVALID, CONEY_E_STATE
 * (after fork()). */
CONEY_API coney_status coney_container_stop_with(coney_container *container, coney_stop_mode mode, int timeout_ms);

/* The same with CONEY_STOP_DRAIN and shutdown_timeout_ms. */
CONEY_API coney_status coney_container_stop(coney_container *container);

/* Asks for no more messages, works off what was prefetched, and keeps the container running without consumers;
 * and consumes again. They return at once. Deliveries that are still deferred at the resume keep their consumer from
 * consuming for up to resubscribe_interval_ms, and are CONEY_E_STALE then: they come again. CONEY_E_STATE (not running, or
 * after fork()), CONEY_E_INVALID. */
CONEY_API coney_status coney_container_pause(coney_container *container);
CONEY_API coney_status coney_container_resume(coney_container *container);

/* Stops, then frees. The threads that run its handlers have ended then. A handler that outlives the stop ends later,
 * which the log says. It keeps what it needs until it returns, and Coney's code stays loaded until the process ends;
 * the handler's code and its user pointer must live as long. Not from a handler of the container nor from a callback
 * of the factory, events and the credentials provider included (logged and not done): call coney_container_stop()
 * there, and free on another thread. Two handlers that free each other's container wait for each other until the
 * stop gives up. Takes NULL. */
CONEY_API void coney_container_free(coney_container *container);

/* ---- single listeners, while the container runs ---- */

/* Start one that does not run, or all of a group; they wait until all consumers consume or wait for what may come
 * (their queue, an exclusive consumer's end), at most start_timeout_ms. From a handler or an event, and while the
 * container is paused, they return at once. In a container that is stopped they only say that its start is to start
 * them.
 * CONEY_E_NOT_FOUND (no such id or group), and what coney_container_start() says; CONEY_E_TIMEOUT: they go on
 * trying. */
CONEY_API coney_status coney_container_start_listener(coney_container *container, const char *id);
CONEY_API coney_status coney_container_start_group(coney_container *container, const char *group);

/* Stop one, or all of a group, like CONEY_STOP_DRAIN within shutdown_timeout_ms; after that what is left goes
 * back. From a handler of the container they return at once.
 * CONEY_E_NOT_FOUND, CONEY_E_TIMEOUT (a handler still runs), CONEY_E_INVALID, CONEY_E_STATE (after fork()). Deferred
 * deliveries that are not settled by then go back without a word. */
CONEY_API coney_status coney_container_stop_listener(coney_container *container, const char *id);
CONEY_API coney_status coney_container_stop_group(coney_container *container, const char *group);

/* Changes the number of consumers, and with max above min makes it elastic; 0 for max is min. Consumers too many
 * end like CONEY_STOP_FINISH, between two messages. Returns at once. (Spring: setConcurrentConsumers.)
 * CONEY_E_NOT_FOUND, CONEY_E_INVALID, CONEY_E_STATE (after fork()). */
CONEY_API coney_status coney_container_set_concurrency(coney_container *container, const char *id, int min, int max);

/* How it is doing: CONEY_OK while every consumer consumes, CONEY_E_STATE if not started, paused or
 * stopped, or if a consumer has not begun yet, else why one does not (CONEY_E_LOST, CONEY_E_NOT_FOUND for its queue
 * and so on), with the sentence. It tries again by itself. If the broker has cancelled a consumer: CONEY_E_STATE while
 * it is being asked whether the queue is there, CONEY_E_PRECONDITION_FAILED if it is, CONEY_E_LIMIT if no channel was
 * free for that. */
CONEY_API coney_status coney_container_check(coney_container *container);

CONEY_END

#endif
