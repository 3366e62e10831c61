/* SPDX-License-Identifier: MIT */
/* Listening: consumer threads that call handlers. (Spring: SimpleMessageListenerContainer and
 * @RabbitListener.) */
#ifndef CONEY_RABBIT_CONTAINER_H
#define CONEY_RABBIT_CONTAINER_H

#include <coney/amqp/converter.h>
#include <coney/amqp/message.h>
#include <coney/amqp/processor.h>
#include <coney/rabbit/connection_factory.h>

CONEY_BEGIN

typedef struct coney_container coney_container;

/* One message on its way through a handler: a view for the handler's call. Keep the message
 * itself with coney_message_ref(). */
typedef struct coney_delivery coney_delivery;

/* What becomes of the message. There is no zero on purpose: a handler says what it means. Any
 * other value is a defect of the handler; it is logged and counts as CONEY_RETRY, so that
 * nothing is lost. */
typedef enum coney_outcome {
    CONEY_ACK = 1, /* done (basic.ack) */
    CONEY_REJECT,  /* never again; it goes to the queue's dead-letter exchange if there is one */
    CONEY_REQUEUE, /* not now; back to the queue */
    CONEY_RETRY,   /* failed; to be tried again, for now by going back to the queue: at once, so one that always fails
                      goes round until the queue's delivery limit ends it */
} coney_outcome;

/* Called on a consumer thread with no Coney lock held. It may take its time; it may use any
 * template or admin, and stop its own container. */
typedef coney_outcome coney_message_handler(coney_delivery *delivery, void *user);

/* Zero means the default. */
typedef struct coney_listener {
    const char *queue;                 /* required */
    coney_message_handler *on_message; /* required */
    void *user;
    const coney_converter *converter; /* makes the payload; NULL: none, the raw message */
    int concurrency;                  /* consumers, each with a thread and a channel; 1 */
    int prefetch;                     /* unacknowledged messages per consumer; 250. Up to 65,535 */
} coney_listener;

/* Zero means the default. */
typedef struct coney_container_options {
    const char *name;         /* names threads and log lines; "container" */
    int start_timeout_ms;     /* 10,000 */
    int shutdown_timeout_ms;  /* for stop, and for the stop in free; 5,000 */
    int recovery_interval_ms; /* before a consumer that the broker refused tries again; 5,000 */
} coney_container_options;

/* Makes a container; options may be NULL. The factory is kept as long as the container lives.
 * CONEY_E_INVALID, CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_new(coney_container **container, coney_connection_factory *factory,
                                           const coney_container_options *options);

/* Registers a listener, copied; any number may be registered before start.
 * CONEY_E_INVALID, CONEY_E_STATE (started), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_listen(coney_container *container, const coney_listener *listener);

/* Adds a processor to those that run on each message before it is converted, on the consumer's thread.
 * What it leaves goes to the handler; the message it discards (NULL) is acknowledged; one it fails for
 * is rejected like one that cannot be converted, after CONEY_E_NO_MEMORY it goes back to the queue.
 * Any time, any thread. The processor is copied but for its user pointer, which is taken, success or
 * failure, and must live as long as a handler may. (Spring: setAfterReceivePostProcessors.)
 * CONEY_E_INVALID (no name, or one that is there already), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_add_after_receive(coney_container *container, const coney_processor *processor);

/* Removes the one of that name; consumers that are running it finish with it.
 * CONEY_E_INVALID (there is none), CONEY_E_NO_MEMORY. */
CONEY_API coney_status coney_container_remove_after_receive(coney_container *container, const char *name);

/* Subscribes every listener; when it returns CONEY_OK all of them are consuming, and from then on
 * they come back by themselves after every loss, as soon as there is a connection and the broker
 * lets them. If one cannot be subscribed at the start, none is left running. May be started again
 * after a stop.
 * CONEY_E_NOT_FOUND (a queue, which one), CONEY_E_ACCESS_REFUSED, CONEY_E_RESOURCE_LOCKED and
 * the other refusals; CONEY_E_STATE (running, or nothing to listen to); the statuses of
 * connecting; CONEY_E_LOST, _TIMEOUT, _CLOSED, _NO_MEMORY, _SYSTEM. */
CONEY_API coney_status coney_container_start(coney_container *container);

/* No new deliveries; handlers work off what was prefetched until shutdown_timeout_ms, then the
 * rest goes back to the queue. Any thread, any number of times; another call waits for the end of
 * the same stop, for as long again. From one of its own handlers it returns at once and the stop completes behind it.
 * CONEY_OK, also if prefetched messages had to go back (the log tells how many); CONEY_E_TIMEOUT: a
 * handler is still running, its message goes back to the queue; CONEY_E_STATE (after fork()). */
CONEY_API coney_status coney_container_stop(coney_container *container);

/* How it is doing: CONEY_OK while every consumer consumes, CONEY_E_STATE if not started or
 * stopped, else why a consumer does not (CONEY_E_LOST, CONEY_E_NOT_FOUND for its queue and so on),
 * with the sentence. It tries again by itself. Any thread. */
CONEY_API coney_status coney_container_check(coney_container *container);

/* Stops, then frees. A handler that outlives the stop keeps what it needs until it returns; its
 * user pointer must live as long. Not from a handler of the container. Takes NULL. */
CONEY_API void coney_container_free(coney_container *container);

/* The message as processors left it, the object the listener's converter made of it (NULL without a converter), the
 * queue. Views for the handler's call. */
CONEY_API coney_message *coney_delivery_message(const coney_delivery *delivery);
CONEY_API const void *coney_delivery_payload(const coney_delivery *delivery);
CONEY_API const char *coney_delivery_queue(const coney_delivery *delivery);

CONEY_END

#endif
