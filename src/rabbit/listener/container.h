/* SPDX-License-Identifier: MIT */
/* What container.c and consumer.c share. Private to the folder. */
#ifndef CNY_LISTENER_CONTAINER_H
#define CNY_LISTENER_CONTAINER_H

#include "amqp/processor.h"
#include "rabbit/connection/connection.h"

#include <coney/rabbit/container.h>

typedef struct cny_consumer cny_consumer;

/* stopped -> starting -> running -> stopping -> stopped; starting may fail back to stopped. */
typedef enum cny_container_state {
    CNY_CONTAINER_STOPPED,
    CNY_CONTAINER_STARTING,
    CNY_CONTAINER_RUNNING,
    CNY_CONTAINER_STOPPING,
} cny_container_state;

/* One listener's subscription: a channel, renewed after each loss, and the thread that works on it. */
struct cny_consumer {
    /* fixed after start */
    coney_container *container; /* holds a reference */
    const coney_listener *listener;
    pthread_t thread;
    /* the consumer's thread only */
    int64_t resumed_at; /* 0: never */
    /* any thread */
    atomic_bool handling; /* in the program's processors, converter or handler */
    /* under the container's lock; only the consumer's thread changes the first four */
    cny_channel *channel;
    cny_channel *subscribing; /* the next one, while it waits for the broker */
    cny_error *trouble;       /* why it does not consume; NULL while it does */
    bool has_tried;           /* to resume, in vain, since the loss */
    cny_consumer *next;
};

struct coney_container {
    /* fixed after new */
    atomic_uint refs;
    coney_connection_factory *factory;
    coney_container_options options; /* with every default filled in */
    /* any thread; has a lock of its own */
    cny_processors after_receive;
    /* fixed after start */
    cny_arena arena;
    cny_buffer listeners; /* of coney_listener */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the state or the consumers */
    cny_container_state state;
    bool stop_wanted; /* since the start */
    int64_t stop_began;
    cny_consumer *consumers;    /* those whose thread has not ended */
    cny_error *failure;         /* why a consumer ended that should not have */
    atomic_llong stop_deadline; /* read by consumers between two messages; INT64_MAX: not stopping */
};

void cny_container_unref(coney_container *container);

/* Subscribes; the thread is not running yet. Gives the consumer. */
coney_status cny_consumer_open(cny_consumer **consumer, coney_container *container, const coney_listener *listener,
                               int64_t deadline);
void cny_consumer_free(cny_consumer *consumer); /* one whose thread has ended or never ran; takes NULL */

void *cny_consumer_main(void *argument); /* the thread; the argument is the consumer */

/* What its thread tells the container: it lost its channel, for what this thread's last error tells;
 * waits for the broker on this one; could not resume; resumed on this one, which is taken; ended,
 * with NULL after a stop, else with this error, which is taken. */
void cny_container_consumer_lost(cny_consumer *consumer);
void cny_container_consumer_subscribing(cny_consumer *consumer, cny_channel *channel); /* NULL: no more */
void cny_container_consumer_failed(cny_consumer *consumer);
void cny_container_consumer_resumed(cny_consumer *consumer, cny_channel *channel);
void cny_container_consumer_ended(cny_consumer *consumer, cny_error *error);

/* Waits for the recovery interval; false if the container is stopping. */
bool cny_container_wait_to_retry(coney_container *container);

#endif
