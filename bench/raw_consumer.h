/* SPDX-License-Identifier: MIT */
/* Consuming with rabbitmq-c's own calls: the yardstick. All functions print why they fail. */
#ifndef BENCH_RAW_CONSUMER_H
#define BENCH_RAW_CONSUMER_H

#include <stdbool.h>
#include <stddef.h>

typedef struct raw_consumer raw_consumer;

/* Gets the body of a message, a view for the call. */
typedef bool raw_handler(const void *body, size_t size, void *user);

/* Connects as raw_publisher_new() does. */
raw_consumer *raw_consumer_new(const char *uri, const char *ca_file, int tls_port);
void raw_consumer_free(raw_consumer *raw);

/* Opens a channel and consumes; closes it, so that what is unacknowledged goes back to the queue. */
bool raw_consumer_subscribe(raw_consumer *raw, const char *queue, int prefetch, bool no_ack);
bool raw_consumer_unsubscribe(raw_consumer *raw);

/* Handles that many messages, and acknowledges each unless it was subscribed without. */
bool raw_consumer_handle(raw_consumer *raw, int messages, raw_handler *handle, void *user);

#endif
