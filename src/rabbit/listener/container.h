/* SPDX-License-Identifier: MIT */
/* What container.c and consumer.c share. Private to the folder. */
#ifndef CNY_LISTENER_CONTAINER_H
#define CNY_LISTENER_CONTAINER_H

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

/* One listener's subscription: a channel and the thread that works on it. */
struct cny_consumer {
    /* fixed after start */
    coney_container *container; /* holds a reference */
    const coney_listener *listener;
    cny_channel *channel;
    pthread_t thread;
    /* under the container's lock */
    cny_consumer *next;
};

struct coney_container {
    /* fixed after new */
    atomic_uint refs;
    coney_connection_factory *factory;
    coney_container_options options; /* with every default filled in */
    /* fixed after start */
    cny_arena arena;
    cny_buffer listeners; /* of coney_listener */
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the state or the consumers */
    cny_container_state state;
    cny_consumer *consumers;    /* those whose thread has not ended */
    cny_error *failure;         /* why the first consumer ended that should not have */
    atomic_llong stop_deadline; /* read by consumers between two messages; INT64_MAX: not stopping */
};

void cny_container_unref(coney_container *container);

/* Subscribes; the thread is not running yet. Gives the consumer. */
coney_status cny_consumer_open(cny_consumer **consumer, coney_container *container, const coney_listener *listener,
                               int64_t deadline);
void cny_consumer_free(cny_consumer *consumer); /* one whose thread has ended or never ran; takes NULL */

void *cny_consumer_main(void *argument); /* the thread; the argument is the consumer */

/* The thread's last word to the container; error is NULL after a stop, else taken. */
void cny_container_consumer_ended(cny_consumer *consumer, cny_error *error);

#endif
